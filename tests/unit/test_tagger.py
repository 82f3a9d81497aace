"""The tagger: its reading of checkpoints on files made by hand, and what it hears in the shipped sounds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.tagger import INSTRUMENTS, TAGS, tag, tagger, tagger_available, tags_and_embedding, taken_for
from audiotrans.evaluation.tagger.bundle import read_bundle

DATA = Path(__file__).parents[2] / "data"
MAGIC = bytes.fromhex("57fb808b247547db")

needs_weights = pytest.mark.skipif(not tagger_available(), reason="needs the weights of musicnn")


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def block(entries: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """Lay entries out as a table's block, each name shortened by what it shares with the one before."""
    made, before = b"", b""
    for name, value in entries:
        shared = 0
        while shared < min(len(name), len(before)) and name[shared] == before[shared]:
            shared += 1
        made += varint(shared) + varint(len(name) - shared) + varint(len(value)) + name[shared:] + value
        before = name
    return made + struct.pack("<II", 0, 1) + bytes([compression]) + bytes(4)


def entry(shape: tuple[int, ...], offset: int, size: int, kind: int = 1) -> bytes:
    """Write the message that says where a tensor lies; zeros are left out, as the format has it."""
    dims = b"".join(b"\x12" + varint(len(dim)) + dim for dim in (b"\x08" + varint(length) for length in shape))
    message = b"\x08" + varint(kind) + b"\x12" + varint(len(dims)) + dims
    if offset:
        message += b"\x20" + varint(offset)
    return message + b"\x28" + varint(size) + b"\x35" + bytes(4)


def write_checkpoint(folder: Path, entries: list[tuple[bytes, bytes]], data: bytes, compression: int = 0) -> None:
    first = block([(b"", b"\x08\x01"), *entries], compression)
    handle = varint(0) + varint(len(first) - 5)
    last = block([(b"z", handle)])
    footer = (varint(0) + varint(0) + varint(len(first)) + varint(len(last) - 5)).ljust(40, b"\0") + MAGIC
    (folder / ".index").write_bytes(first + last + footer)
    (folder / ".data").write_bytes(data)


class TestBundle:
    def test_tensors_are_read_by_name(self, tmp_path: Path) -> None:
        one, other = np.arange(200, dtype="<f4").reshape(20, 10), np.array([7.0], "<f4")
        entries = [
            (b"layer/bias", entry((1,), 800, 4)),
            (b"layer/kernel", entry((20, 10), 0, 800)),
            (b"step", entry((), 0, 8, kind=9)),  # an integer is none of ours
        ]
        write_checkpoint(tmp_path, entries, one.tobytes() + other.tobytes())
        found = read_bundle(tmp_path / ".index", tmp_path / ".data")
        assert sorted(found) == ["layer/bias", "layer/kernel"]
        np.testing.assert_array_equal(found["layer/kernel"], one)
        np.testing.assert_array_equal(found["layer/bias"], other)

    @pytest.mark.parametrize(
        ("entries", "compression", "reason"),
        [
            ([(b"x", entry((2,), 0, 4))], 0, "not that of its shape"),
            ([(b"x", entry((2,), 4, 8))], 0, "beyond the file's end"),
            ([(b"x", entry((1,), 0, 4))], 1, "compressed"),
        ],
    )
    def test_what_cannot_be_read_is_refused(
        self, tmp_path: Path, entries: list[tuple[bytes, bytes]], compression: int, reason: str
    ) -> None:
        write_checkpoint(tmp_path, entries, bytes(8), compression)
        with pytest.raises(AudiotransError, match=reason):
            read_bundle(tmp_path / ".index", tmp_path / ".data")

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"no table at all")
        with pytest.raises(AudiotransError, match="does not end as one"):
            read_bundle(tmp_path / "x", tmp_path / "x")
        with pytest.raises(AudiotransError, match="cannot read"):
            read_bundle(tmp_path / "missing", tmp_path / "x")


def test_the_likeliest_instrument_counts_and_other_tags_do_not() -> None:
    tags = np.zeros((2, len(TAGS)), np.float32)
    tags[:, TAGS.index("classical")], tags[:, TAGS.index("strings")] = 0.9, 0.8
    tags[0, TAGS.index("violin")], tags[1, TAGS.index("flute")] = 0.5, 0.4
    assert taken_for(tags) == "violin"
    assert taken_for(tags[:0]) is None
    assert set(INSTRUMENTS) < set(TAGS)


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tagger.load_network.cache_clear()
    monkeypatch.setattr(tagger, "_checkpoint", lambda: None)
    with pytest.raises(AudiotransError, match="pip install --no-deps musicnn"):
        tag(np.ones((1, 16_000), np.float32), 16_000)


@needs_weights
class TestTag:
    @pytest.mark.parametrize("name", ["violin", "piano"])
    def test_the_shipped_sounds_are_what_they_are(self, name: str) -> None:
        wave, rate = soundfile.read(DATA / f"{name}.wav", dtype="float32", always_2d=True)
        assert taken_for(tag(wave.T, rate)) == name

    def test_level_and_channels_do_not_count(self) -> None:
        wave, rate = soundfile.read(DATA / "violin.wav", dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)[None, : 4 * rate]
        twice = np.concatenate([mono, mono])
        np.testing.assert_allclose(tag(0.05 * twice, rate), tag(mono, rate), atol=2e-3)

    def test_windows_are_a_second_apart_and_silence_has_none(self) -> None:
        noise = np.random.default_rng(0).standard_normal((1, 8 * 16_000)).astype(np.float32)
        tags, embedding = tags_and_embedding(noise, 16_000)
        assert (tags.shape, embedding.shape) == ((6, 50), (6, 200))
        assert len(tag(np.zeros((2, 16_000), np.float32), 16_000)) == 0
        noise[:, 4 * 16_000 :] = 0
        assert len(tag(noise, 16_000)) == 5  # the window from 5 s on is silent
        assert len(tag(noise[:, :8_000], 16_000)) == 1  # a short sound is repeated

    def test_what_is_no_sound_is_refused(self) -> None:
        with pytest.raises(AudiotransError):
            tag(np.zeros((1, 0), np.float32), 16_000)
        with pytest.raises(AudiotransError):
            tag(np.full((1, 16_000), np.nan, np.float32), 16_000)
