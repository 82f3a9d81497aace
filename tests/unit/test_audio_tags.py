"""What a file says of itself goes with the sound, from any format that says something to any that can."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audiotrans import audio
from audiotrans.audio.formats import Tags, write_tags
from tests.sounds import tones

TEXTS = {
    "title": "Humoreske",
    "artist": "Dvořák",
    "album": "Op. 101",
    "album_artist": "A. D.",
    "composer": "Antonín Dvořák",
    "genre": "Classical",
    "date": "1894",
    "track": "7/8",
    "disc": "1/2",
    "comment": "nahráno doma",
    "copyright": "none",
}
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".opus": "OGG", ".mp3": "MP3", ".m4a": "M4A", ".aiff": "AIFF"}


def cover(kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (24, 24), "teal").save(content, kind)
    return content.getvalue()


def tagged(path: Path, tags: Tags) -> audio.AudioInfo:
    audio.write(path, tones(2), 48_000)
    before, _ = audio.read(path)
    write_tags(path, FORMATS[path.suffix], tags, path)
    np.testing.assert_array_equal(audio.read(path)[0], before)  # tags cost no sample
    return audio.probe(path)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_tags_and_cover_go_from_every_format_to_every_other(tmp_path: Path, source: str, target: str) -> None:
    tags = Tags(TEXTS, ("image/png", cover()))
    info = tagged(tmp_path / f"in{source}", tags)
    assert info.tags == tags
    audio.write(tmp_path / f"out{target}", tones(2), 48_000, like=info)
    assert audio.probe(tmp_path / f"out{target}").tags == tags
    assert audio.probe(tmp_path / f"out{target}").frames == 48_007


def test_a_jpeg_cover_alone_is_kept(tmp_path: Path) -> None:
    info = tagged(tmp_path / "in.mp3", Tags(cover=("image/jpeg", cover("JPEG"))))
    audio.write(tmp_path / "out.m4a", tones(1), 48_000, like=info)
    assert audio.probe(tmp_path / "out.m4a").tags == Tags(cover=("image/jpeg", cover("JPEG")))


def test_the_info_list_of_a_wav_is_read(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 48_000, 1) as file:
        file.title, file.artist = "Humoreske", "A. D."
        file.write(tones(1).T)
    assert audio.probe(tmp_path / "in.wav").tags == Tags({"title": "Humoreske", "artist": "A. D."})


def test_the_time_code_of_a_field_recorder_goes_from_wav_to_wav(tmp_path: Path) -> None:
    bext = bytes(338) + struct.pack("<Q", 123_456_789) + bytes(256)  # samples since midnight
    path = tmp_path / "in.wav"
    soundfile.write(path, tones(1).T, 48_000)
    sound = path.read_bytes()
    chunk = b"bext" + struct.pack("<I", len(bext)) + bext + b"iXML" + struct.pack("<I", 3) + b"<a>\0"
    path.write_bytes(sound[:12] + chunk + sound[12:])
    info = audio.probe(path)
    assert info.tags.chunks == ((b"bext", bext), (b"iXML", b"<a>"))
    audio.write(tmp_path / "out.wav", tones(1), 48_000, like=info)
    made = audio.probe(tmp_path / "out.wav")
    assert made.tags.chunks == info.tags.chunks
    assert (made.frames, made.note) == (48_007, "")
    data = (tmp_path / "out.wav").read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


@pytest.mark.parametrize("suffix", [".caf", ".w64", ".rf64", ".au"])
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    info = tagged(tmp_path / "in.flac", Tags({"title": "x"}, ("image/png", cover())))
    with caplog.at_level(logging.WARNING):
        audio.write(tmp_path / f"out{suffix}", tones(1), 48_000, like=info)
    assert f"out{suffix}: this format does not hold title, cover: left out." in caplog.text
    assert audio.probe(tmp_path / f"out{suffix}").frames == 48_007


def test_a_file_without_tags_gives_the_bytes_that_it_gave(tmp_path: Path) -> None:
    audio.write(tmp_path / "in.wav", tones(1), 48_000)
    info = audio.probe(tmp_path / "in.wav")
    assert not info.tags
    audio.write(tmp_path / "out.wav", audio.read(tmp_path / "in.wav")[0], 48_000, like=info)
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "in.wav").read_bytes()


def test_a_file_that_is_gone_has_no_tags(tmp_path: Path) -> None:
    assert not audio.AudioInfo(tmp_path / "nowhere.wav", 48_000, 1, 1, "WAV", "PCM_16").tags


def test_an_odd_track_number_is_no_fault(tmp_path: Path) -> None:
    info = tagged(tmp_path / "in.flac", Tags({"track": "A1", "title": "x"}))
    audio.write(tmp_path / "out.m4a", tones(1), 48_000, like=info)
    assert audio.probe(tmp_path / "out.m4a").tags.texts["title"] == "x"
