"""What `benchmarks.fuzz` feeds the command with: whole files of every kind, and the ways in which they are mutated."""

from __future__ import annotations

import fractions
import io
import json
import math
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import load, save

from audiotrans import audio
from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import Recipe, dump_recipe, recipe_from_dict, recipe_to_dict
from audiotrans.training.cache import packed, write_images, write_manifest
from audiotrans.weights import export_weights

SECONDS = 0.4

# What audio.write makes.
WRITTEN = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aiff", ".w64", ".rf64", ".caf", ".au")

# What PyAV's encoders make: FFmpeg's name of the container, codec, rate in Hz, channels.
ENCODED: dict[str, tuple[str, str, int, int]] = {
    "alac.m4a": ("ipod", "alac", 44_100, 2),
    "adts.aac": ("adts", "aac", 44_100, 2),
    "x.ac3": ("ac3", "ac3", 44_100, 2),
    "x.eac3": ("eac3", "eac3", 44_100, 2),
    "x.amr": ("amr", "libopencore_amrnb", 8_000, 1),
    "x.wma": ("asf", "wmav2", 44_100, 2),
    "x.wmv": ("asf", "wmav1", 44_100, 2),
    "x.mp2": ("mp2", "mp2", 44_100, 2),
    "x.tta": ("tta", "tta", 44_100, 2),
    "x.wv": ("wv", "wavpack", 44_100, 2),
    "x.mka": ("matroska", "aac", 44_100, 2),
    "opus.mkv": ("matroska", "libopus", 48_000, 2),
    "x.webm": ("webm", "libopus", 48_000, 2),
    "x.mov": ("mov", "pcm_s16le", 44_100, 2),
    "x.mp4": ("mp4", "aac", 44_100, 2),
    "x.3gp": ("3gp", "libopencore_amrnb", 8_000, 1),
    "x.avi": ("avi", "pcm_s16le", 44_100, 2),
    "mp3.avi": ("avi", "libmp3lame", 44_100, 2),
    "x.flv": ("flv", "libmp3lame", 44_100, 2),
    "x.mpg": ("mpeg", "mp2", 44_100, 2),
    "x.mts": ("mpegts", "aac", 44_100, 2),
    "mp3.wav": ("wav", "libmp3lame", 44_100, 2),
    "adpcm.wav": ("wav", "adpcm_ms", 44_100, 2),
    "alaw.wav": ("wav", "pcm_alaw", 8_000, 1),
    "x.voc": ("voc", "pcm_u8", 22_050, 1),
    "x.rm": ("rm", "ac3", 44_100, 2),
}
VIDEO = (".mkv", ".mov", ".mp4", ".avi", ".mpg")

IMAGING = {"sample_rate": 16_000, "n_fft": 256, "hop_length": 64, "rows": 32}
TINY: dict[str, Any] = {
    "imaging": IMAGING,
    "model": {
        "preset": "tiny", "width": 4, "z_channels": 4, "residual": 0.5, "discriminator_width": 4,
        "discriminator_scales": 1,
    },
    "train": {
        "steps": 1, "crop_frames": 16, "precision": "float32", "log_every": 1, "save_every": 1, "sample_every": 1000,
        "threads": 1,
    },
}  # fmt: skip
PHOTO: dict[str, Any] = {
    "imaging": {"type": "photo", "height": 16, "width": 16, "margin": 2},
    "domains": {"a": "blond", "b": "brown"},
    "model": {
        "preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4,
        "discriminator_scales": 1,
    },
    "losses": {"generator": {"gan": 1, "vae_kl": 0.1, "vae_reconstruction": 10, "cycle_reconstruction": 10}},
}  # fmt: skip


# Whole files ---------------------------------------------------------------------------------------------------------


def sound(rate: int, channels: int, seconds: float = SECONDS) -> np.ndarray:
    """Return float32 (channels, samples): a decaying chord with a trace of noise."""
    time = np.arange(round(rate * seconds)) / rate
    rng = np.random.default_rng(0)
    chord = sum(np.sin(2 * np.pi * 330 * k * time) / k for k in range(1, 6)) * np.exp(-3 * time)
    noise = 1e-3 * rng.standard_normal((channels, len(time)))
    return (0.2 * chord[None] * np.linspace(1, 0.6, channels)[:, None] + noise).astype(np.float32)


def make_sounds(folder: Path) -> None:
    """Write a short sound in every format that our own libraries can write, some with tags and a cover."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in WRITTEN:
        rate = 48_000 if suffix == ".opus" else 44_100
        audio.write(folder / f"x{suffix}", sound(rate, 2), rate, force=True)
    for subtype in ("PCM_U8", "PCM_16", "FLOAT"):
        like = audio.AudioInfo(Path("x"), 44_100, 1, 1, "WAV", subtype)
        audio.write(folder / f"{subtype.lower()}.wav", sound(44_100, 1), 44_100, like=like, force=True)
    joined = (folder / "x.ogg").read_bytes()
    (folder / "chain.ogg").write_bytes(2 * joined)
    (folder / "tagged.mp3").write_bytes((folder / "x.mp3").read_bytes())
    (folder / "tagged.flac").write_bytes((folder / "x.flac").read_bytes())
    (folder / "tagged.m4a").write_bytes((folder / "x.m4a").read_bytes())
    (folder / "tagged.wav").write_bytes((folder / "x.wav").read_bytes())
    _tag(folder)
    for name, how in ENCODED.items():
        encode(folder / name, *how)


def _tag(folder: Path) -> None:
    from audiotrans.audio.formats import Tags, write_tags

    cover = ("image/png", picture("PNG"))
    texts = {"title": "Dvořák 🎻", "artist": "A", "date": "1893", "track": "1/4", "comment": "c" * 300}
    chunks = ((b"bext", bytes(602)), (b"iXML", b"<BWFXML></BWFXML>"))
    for kind, suffix in (("MP3", "mp3"), ("FLAC", "flac"), ("M4A", "m4a"), ("WAV", "wav")):
        path = folder / f"tagged.{suffix}"
        write_tags(path, kind, Tags(texts, cover, chunks if kind == "WAV" else ()), path)


def encode(path: Path, container: str, codec: str, rate: int, channels: int) -> None:
    """Write a short sound, beside moving pictures where the name is a video's."""
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=container) as out:
        video: Any = None
        if path.suffix in VIDEO:
            video = out.add_stream("mpeg2video" if path.suffix == ".mpg" else "mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        stream: Any = out.add_stream(codec, rate=rate, layout=layout)
        wanted = stream.codec_context.codec.audio_formats[0].name
        stream.codec_context.format = wanted
        if codec.startswith("wma"):
            stream.bit_rate = 128_000
        if video is not None:
            for number in range(round(25 * SECONDS)):
                frame: Any = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
                frame.pts = number
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        whole: Any = av.AudioFrame.from_ndarray(sound(rate, channels), format="fltp", layout=layout)
        whole.sample_rate, whole.time_base = rate, fractions.Fraction(1, rate)
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=wanted, layout=layout, rate=rate, frame_size=size)
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def picture(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    """Return a picture's file."""
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    into = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    exif = image.getexif()
    exif[274] = 6
    if kind == "TIFF":
        image.save(into, kind, compression="tiff_lzw")
    elif kind == "BMP":
        image.save(into, kind)
    else:
        image.save(into, kind, exif=exif, icc_profile=_srgb())
    return into.getvalue()


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_photos(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif")):
        (folder / f"x.{suffix}").write_bytes(picture(kind))
    for mode in ("P", "L", "RGBA", "I;16"):
        (folder / f"{mode.replace(';', '')}.png").write_bytes(picture("PNG", mode=mode))
    (folder / "cmyk.jpg").write_bytes(picture("JPEG", mode="CMYK"))


def untrained(values: dict[str, Any], path: Path) -> None:
    recipe = recipe_from_dict(values)
    statistics = json.loads(_statistics()) if recipe.imaging.type == "audio" else None
    with torch.random.fork_rng():
        torch.manual_seed(2)
        weights = AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict()
        export_weights(weights, recipe, path, card={"summary": "untrained"}, half=True, statistics=statistics)


def _statistics() -> str:
    """Return the training-data statistics of the shipped model: those of another imaging, but whole."""
    from audiotrans.weights import open_weights, shipped_models

    for shipped in shipped_models():
        statistics = open_weights(shipped).statistics
        if statistics is not None:
            return json.dumps(statistics)
    return "null"


def make_cache(folder: Path, recipe: Recipe, frames: int = 40) -> None:
    """Write a prepared cache of noise."""
    shutil.rmtree(folder, ignore_errors=True)
    values, items = recipe_to_dict(recipe), []
    shape = (recipe.imaging.image_channels, recipe.imaging.image_rows, frames)
    places = [(domain, split, index) for domain in "ab" for split in ("train", "valid") for index in range(2)]
    for seed, (domain, split, index) in enumerate(places):
        name = f"images/{domain}/{split}-{index}.safetensors"
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        write_images(folder / name, [packed((0.2 * noise).clamp(-1, 1))])
        about = {"domain": domain, "split": split, "recording": str(seed), "file": name, "index": 0}
        items.append({**about, "frames": frames, "source": f"../sound/{'pcm_16' if index else 'x'}.wav"})
    content = {"imaging": values["imaging"], "domains": values["domains"], "items": items, "skipped": []}
    write_manifest(folder, content)


def make_recipes(folder: Path, shipped: Path) -> None:
    """Copy the shipped recipes, and write the tiny ones with every default filled in."""
    shutil.copytree(shipped, folder / "recipe", dirs_exist_ok=True, ignore=shutil.ignore_patterns("cycles", "*.md"))
    shutil.copytree(shipped / "cycles", folder / "cycle", dirs_exist_ok=True)
    for name, values in (("tiny", TINY), ("photo", PHOTO)):
        (folder / "recipe" / f"{name}.yaml").write_text(dump_recipe(recipe_from_dict(values)), encoding="utf-8")


def make_evaluation(folder: Path) -> None:
    """Write a small evaluation and a small cycle run, as the listening page reads them."""
    metrics = {"kad": {"label": "KAD", "unit": "", "better": "lower", "group": "timbre"}}
    clip = {
        "clip": "1", "recording": "1", "sound": "sounds/1.flac", "scores": {"kad": 1.0}, "warnings": [],
    }  # fmt: skip
    rows = [
        {
            "name": name, "kind": kind, "clips": [clip],
            "summary": {"kad": {"mean": 1.0, "low": 0.5, "high": 2.0, "n": 1}},
        }
        for name, kind in (("input", "input"), ("model", "system"), ("truth", "truth"))
    ]  # fmt: skip
    values = {
        "format": "audiotrans-evaluation", "version": 1, "model": "toy", "created_with": "audiotrans",
        "metrics": metrics, "test_set": "pairs", "conclusions": ["yes"],
        "directions": [{"source": "violin", "target": "piano", "systems": rows}],
    }  # fmt: skip
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    audio.write(folder / "sounds" / "1.flac", sound(16_000, 1), 16_000, force=True)
    (folder / "evaluation.json").write_text(json.dumps(values), encoding="utf-8")


# Mutations of bytes --------------------------------------------------------------------------------------------------

EXTREMES = (
    0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32_767, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1,
)  # fmt: skip
TRAILERS = (
    b"TAG" + b"t" * 125,
    b"APETAGEX" + struct.pack("<IIII", 2000, 64, 1, 0) + bytes(40),
    b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16),
    b"LIST" + struct.pack("<I", 60) + b"INFOIART" + bytes(52),
    bytes(700),
    b"\xff" * 900,
)


def mutated(data: bytes, rng: Generator, other: bytes = b"") -> bytes:
    """Change a file in one to six ways, most of them near its beginning.

    Args:
        data: The whole file.
        rng: Decides all.
        other: Another file, for pieces of it.
    """
    changed = bytearray(data)
    for _ in range(1 + int(rng.geometric(0.45))):
        way = BYTE_WAYS[int(rng.integers(len(BYTE_WAYS)))]
        changed = way(changed, rng, other)
    return bytes(changed[: 4 * len(data) + 4096])


def _place(data: bytearray, rng: Generator) -> int:
    size = max(1, len(data))
    where = rng.random()
    if where < 0.5:
        return int(rng.integers(min(size, 200)))
    if where < 0.7:
        return int(rng.integers(min(size, 4000)))
    return int(rng.integers(size))


def _flip(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        if data:
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _random(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    at, count = _place(data, rng), int(rng.integers(1, 40))
    data[at : at + count] = rng.bytes(len(data[at : at + count]))
    return data


def _extreme(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    width = int(rng.choice([1, 2, 4, 8]))
    value = EXTREMES[int(rng.integers(len(EXTREMES)))]
    if rng.random() < 0.3:
        value = int(rng.integers(0, 2**32))
    number = (value % (1 << 8 * width)).to_bytes(width, "big" if rng.random() < 0.5 else "little")
    at = _place(data, rng)
    if rng.random() < 0.6:
        at -= at % 2
    data[at : at + width] = number[: len(data[at : at + width])]
    return data


def _size_of_chunk(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    """Change the number behind (RIFF, AIFF) or before (MP4) a name of four letters."""
    names = [match.start() for match in re.finditer(rb"[A-Za-z0-9 ]{4}", bytes(data[:8192]))]
    if not names:
        return data
    at = names[int(rng.integers(len(names)))] + (4 if rng.random() < 0.6 else -4)
    if at < 0 or at + 4 > len(data):
        return data
    order = "big" if rng.random() < 0.5 else "little"
    if rng.random() < 0.5:
        value = int.from_bytes(data[at : at + 4], order) + int(rng.choice([-9, -2, -1, 1, 2, 8, 1000]))
    else:
        value = EXTREMES[int(rng.integers(len(EXTREMES)))]
    data[at : at + 4] = (value % 2**32).to_bytes(4, order)
    return data


def _cut(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    return data[: max(1, int(rng.integers(1, len(data) + 1)))]


def _append(data: bytearray, rng: Generator, other: bytes) -> bytearray:
    choice = int(rng.integers(len(TRAILERS) + 2))
    if choice < len(TRAILERS):
        return data + TRAILERS[choice]
    return data + (other[:20_000] if choice == len(TRAILERS) else rng.bytes(int(rng.integers(1, 5000))))


def _prepend(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    heads = (b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256), b"\xef\xbb\xbf", bytes(3), b"\n", rng.bytes(40))
    return bytearray(heads[int(rng.integers(len(heads)))]) + data


def _delete(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 2 + len(data) // 4))]
    return data or bytearray(b"\0")


def _repeat(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    at = _place(data, rng)
    piece = data[at : at + int(rng.integers(1, 2 + len(data) // 4))]
    return data[:at] + piece * int(rng.integers(2, 5)) + data[at:]


def _fill(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    at, count = _place(data, rng), int(rng.integers(1, 2000))
    data[at : at + count] = bytes([int(rng.choice([0, 255, 32, 65]))]) * len(data[at : at + count])
    return data


def _splice(data: bytearray, rng: Generator, other: bytes) -> bytearray:
    at, there = _place(data, rng), int(rng.integers(len(other) + 1))
    return data[:at] + other[there : there + 40_000]


def _swap(data: bytearray, rng: Generator, _: bytes) -> bytearray:
    a, b, count = _place(data, rng), _place(data, rng), int(rng.integers(1, 300))
    low, high = min(a, b), max(a, b)
    count = min(count, high - low, len(data) - high)
    data[low : low + count], data[high : high + count] = data[high : high + count], data[low : low + count]
    return data


ByteWay = Callable[[bytearray, Generator, bytes], bytearray]
BYTE_WAYS: tuple[ByteWay, ...] = (
    _flip, _flip, _random, _random, _extreme, _extreme, _extreme, _size_of_chunk, _size_of_chunk, _size_of_chunk, _cut,
    _append, _prepend, _delete, _repeat, _fill, _splice, _swap,
)  # fmt: skip


# Mutations of text and of values -------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, 10**30, 2**63, -(2**63), "", " ", "a", "0", "nan",
    "null", "../../../etc/passwd", "/etc/passwd", "a" * 3000, "\u0000", "\ufffd", "🎻", "\ud800", [], {},
    [[]], [None], {"a": None}, {"": 1}, [1, 2, 3], math.nan, math.inf, -math.inf,
)  # fmt: skip
WORDS = (
    "nan", ".nan", ".inf", "-.inf", "null", "~", "true", "-1", "0", "1e400", "99999999999999999999", "[", "]", "{",
    "}", "[]", "{}", "''", '"', "&a", "*a", "<<: *a", "!!python/object/apply:os.system ['true']", "!!binary aGk=", "? ",
    "|", ">", "2026-01-01", "0o17", "0x1f", "1:30", "%TAG ! x", "---", "...", "\t", "\x00", "\u2028", "🎻", "#", ": :",
    "- -",
)  # fmt: skip


def mutated_text(text: str, rng: Generator) -> bytes:
    """Change a text in one to six ways: lines, words and, now and then, bytes."""
    lines = text.splitlines()
    for _ in range(1 + int(rng.geometric(0.5))):
        lines = _changed_lines(lines, rng)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return mutated(data, rng) if rng.random() < 0.15 else data


def _changed_lines(lines: list[str], rng: Generator) -> list[str]:
    at, way = int(rng.integers(len(lines) or 1)), int(rng.integers(7))
    word = WORDS[int(rng.integers(len(WORDS)))]
    if not lines or way == 0:
        return [*lines[:at], word, *lines[at:]]
    if way == 1:
        return [*lines[:at], *lines[at + 1 :]]
    if way == 2:
        other = lines[int(rng.integers(len(lines)))]
        return [*lines[:at], other, *lines[at:]]
    if way == 3:
        indent = " " * int(rng.integers(9))
        return [*lines[:at], indent + lines[at].lstrip(), *lines[at + 1 :]]
    parts = re.split(r"([\w.+-]+)", lines[at])
    if len(parts) > 2:
        place = 1 + 2 * int(rng.integers((len(parts) - 1) // 2))
        if way == 4:
            number = ODD[int(rng.integers(len(ODD)))]
            word = str(number) if not isinstance(number, str) else json.dumps(number)
        parts[place] = word if way < 6 else parts[place][:-1]
    return [*lines[:at], "".join(parts), *lines[at + 1 :]]


def mutated_values(values: Any, rng: Generator) -> Any:
    """Change one to four places of nested plain values."""
    changed = json.loads(json.dumps(values))
    for _ in range(int(rng.integers(1, 5))):
        changed = _changed_value(changed, rng)
    return changed


def _changed_value(values: Any, rng: Generator, depth: int = 0) -> Any:
    stop = rng.random() < 0.25 and depth
    if isinstance(values, dict) and values and not stop:
        key = list(values)[int(rng.integers(len(values)))]
        way = rng.random()
        if way < 0.08:
            return {name: value for name, value in values.items() if name != key}
        if way < 0.14:
            return {(f"{name}x" if name == key else name): value for name, value in values.items()}
        return {**values, key: _changed_value(values[key], rng, depth + 1)}
    if isinstance(values, list) and values and not stop:
        at = int(rng.integers(len(values)))
        if rng.random() < 0.15:
            return values[:at] + values[at + 1 :] if rng.random() < 0.5 else [*values, values[at]]
        return [*values[:at], _changed_value(values[at], rng, depth + 1), *values[at + 1 :]]
    return _changed_leaf(values, rng, depth)


def _changed_leaf(value: Any, rng: Generator, depth: int) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{") and rng.random() < 0.8:  # JSON within JSON
        try:
            return json.dumps(_changed_value(json.loads(value), rng, depth))
        except ValueError:
            pass
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4:
        return value * [0, -1, 2, 1000, 10**9][int(rng.integers(5))]
    return nested(int(rng.integers(700))) if rng.random() < 0.02 else ODD[int(rng.integers(len(ODD)))]


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


def mutated_json(text: str, rng: Generator) -> bytes:
    """Change a JSON file: its values, or its text."""
    way = rng.random()
    if way < 0.25:
        return mutated_text(text, rng)
    if way < 0.28:  # too deep for a parser that calls itself
        return text.replace(":", ":" + "[" * 100_000, 1).encode()
    return json.dumps(mutated_values(json.loads(text), rng)).encode("utf-8", "surrogatepass")


def mutated_safetensors(data: bytes, rng: Generator) -> bytes:
    """Change a safetensors file: its bytes, its header's values, or its tensors."""
    way = rng.random()
    if way < 0.3:
        return mutated(data, rng)
    if way < 0.85:
        size = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + size])
        if rng.random() < 0.8 and "__metadata__" in head:
            head["__metadata__"] = _mutated_texts(head["__metadata__"], rng)
        else:
            head = mutated_values(head, rng)
        text = json.dumps(head).encode("utf-8", "surrogatepass")
        return len(text).to_bytes(8, "little") + text + data[8 + size :]
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return save(mutated_tensors(load(data), rng), metadata=metadata)


def _mutated_texts(texts: dict[str, str], rng: Generator) -> dict[str, str]:
    """Change one or two entries of a header, whose values are texts, most of them JSON."""
    changed = dict(texts)
    for key in rng.choice(list(texts), int(rng.integers(1, 3))):
        try:
            changed[key] = json.dumps(mutated_values(json.loads(texts[key]), rng))
        except ValueError:
            changed[key] = str(ODD[int(rng.integers(len(ODD)))])
    if rng.random() < 0.1:
        del changed[str(rng.choice(list(changed)))]
    return changed


def mutated_tensors(tensors: dict[str, Any], rng: Generator) -> dict[str, Any]:
    """Change some tensors: their shape, type or values, or leave them out."""
    changed = dict(tensors)
    for _ in range(int(rng.integers(1, 4))):
        name = list(changed)[int(rng.integers(len(changed)))]
        value, way = changed[name], int(rng.integers(7))
        if way == 0 and len(changed) > 1:
            del changed[name]
        elif way == 1:
            changed[name + "x"] = value.clone()
        elif way == 2:
            changed[name] = torch.full_like(value, math.nan) if value.is_floating_point() else value * 0
        elif way == 3:
            changed[name] = value.reshape(-1)[: int(rng.integers(1, 5))].clone()
        elif way == 4:
            changed[name] = value.to([torch.int64, torch.uint8, torch.bool, torch.float64][int(rng.integers(4))])
        elif way == 5:
            changed[name] = value.float() * float(rng.choice([1e38, -1e38, 0, math.inf]))
        else:
            changed[name] = torch.zeros(0)
    return changed


class Mark:
    """A pickle that would leave a file behind, if someone ran it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def mutated_checkpoint(data: bytes, rng: Generator, mark: Path) -> bytes:
    """Change a checkpoint: its bytes, or values of its state; or put code into it."""
    way = rng.random()
    if way < 0.4:
        return mutated(data, rng)
    state = torch.load(io.BytesIO(data), weights_only=True)
    if way < 0.45:
        state["recipe"] = Mark(mark)
    else:
        for _ in range(int(rng.integers(1, 4))):
            state = _changed_state(state, rng)
    into = io.BytesIO()
    torch.save(state, into)
    return into.getvalue()


def _changed_state(state: Any, rng: Generator, depth: int = 0) -> Any:
    if isinstance(state, dict) and state:
        key = list(state)[int(rng.integers(len(state)))]
        if rng.random() < 0.1:
            return {name: value for name, value in state.items() if name != key}
        return {**state, key: _changed_state(state[key], rng, depth + 1)}
    if isinstance(state, list | tuple) and state and rng.random() < 0.8:
        at = int(rng.integers(len(state)))
        return [*state[:at], _changed_state(state[at], rng, depth + 1), *state[at + 1 :]]
    if isinstance(state, torch.Tensor) and rng.random() < 0.8:
        return mutated_tensors({"x": state}, rng).get("x", torch.zeros(3))
    if isinstance(state, str) and state[:1] == "{":
        return json.dumps(mutated_values(json.loads(state), rng))
    odd = ODD[int(rng.integers(len(ODD)))]
    return "x" if odd == "\ud800" else odd
