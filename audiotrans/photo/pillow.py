"""File <-> pixels: the only user of Pillow."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.files import find_files, refuse_existing, replacing

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from audiotrans.photo.images import Pixels

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

MOST_PIXELS = 64_000_000
"""Largest photo that is read: 0.8 GB of float32, several times over on the way. Few cameras make more."""

JPEG_QUALITY = 95

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, struct.error)
"""What Pillow's decoders raise for broken files."""


def read_photo(path: Path | str) -> Pixels:
    """Read a photo as people see it: upright (EXIF), in the colours of its profile, without transparency.

    Grey becomes grey in three channels, CMYK and palettes are converted, 16 bits become 8, transparency is laid on
    white; of animations the first frame counts. Pillow warns of odd EXIF entries: see `without_warnings`.

    Returns:
        ``(height, width, 3)``, 0 .. 255.

    Raises:
        AudiotransError: naming the file, if it is missing, not an image, broken, cut short or too large.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if path.is_dir():
        raise AudiotransError(f"{path} is a folder, not a photo")
    try:
        with Image.open(path) as photo, _hushed(photo.format):
            _refuse_large(path, photo.size)
            return np.asarray(_in_colour(_in_srgb(_upright(photo))), dtype=np.uint8).copy()
    except FileNotFoundError:
        raise AudiotransError(f"{path} does not exist") from None
    except Image.DecompressionBombError:
        raise AudiotransError(f"{path} is too large: at most {MOST_PIXELS / 1e6:.0f} megapixels") from None
    except UnidentifiedImageError:
        raise AudiotransError(f"{path} is not a photo that can be read: use jpg, png or webp") from None
    except _BROKEN as error:
        raise AudiotransError(f"{path} is broken or cut short: {' '.join(str(error).split())}") from None


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Pillow from warning of odd EXIF entries, and of sizes that `read_photo` checks itself.

    For the thread that starts the readers: Python's filters belong to the whole process, and readers in several
    threads that each set and restored them would leave them wrong.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


_hush = threading.Lock()


@contextlib.contextmanager
def _hushed(kind: str | None) -> Iterator[None]:
    """Keep what libtiff says of a damaged photo, beside its error, from the terminal; one photo after the other."""
    if kind != "TIFF":
        yield
        return
    with _hush:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _upright(photo: PillowImage) -> PillowImage:
    """Return a photo turned as its EXIF says, or as it is where its EXIF is broken: viewers do the same."""
    from PIL import ImageOps

    photo.load()  # a broken photo must not count as broken EXIF
    try:
        return ImageOps.exif_transpose(photo)
    except _BROKEN:
        return photo


def _refuse_large(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        at_most = f"at most {MOST_PIXELS / 1e6:.0f} megapixels; scale it down first"
        raise AudiotransError(f"{path} is too large: {size[0]} x {size[1]} pixels, {at_most}")


def _in_srgb(photo: PillowImage) -> PillowImage:
    """Return a photo in the colour space that all are written in; many phones and cameras use a larger one."""
    from PIL import ImageCms

    profile = photo.info.get("icc_profile")
    if not profile or photo.mode not in ("RGB", "CMYK"):
        return photo
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.profileToProfile(photo, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return photo  # a broken profile, or one for other channels: programs that show photos pass it over too
    return photo if found is None else found


def _in_colour(photo: PillowImage) -> PillowImage:
    """Return any Pillow image in RGB."""
    from PIL import Image

    if photo.mode.startswith("I") or photo.mode == "F":  # 16 bits and more of grey
        values = np.asarray(photo, dtype=np.float64)
        full = 65535.0 if photo.mode.startswith("I") else max(float(values.max(initial=0.0)), 1e-9)
        grey = np.clip(values * (255 / full) + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if "A" in photo.getbands() or "transparency" in photo.info:
        layered = photo.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return photo.convert("RGB")


def write_photo(path: Path | str, pixels: Pixels, *, force: bool = False) -> None:
    """Write a photo beside its name and rename it; the suffix decides the format.

    Args:
        path: ends in one of `PHOTO_SUFFIXES`.
        pixels: ``(height, width, 3)``, 0 .. 255.
        force: whether an existing file may be replaced.

    Raises:
        UsageError: for an unknown suffix, or a file that exists.
        AudiotransError: if the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        raise UsageError(f"{path}: photos are written as {', '.join(PHOTO_SUFFIXES)}")
    refuse_existing(path, force)
    kind = Image.registered_extensions()[path.suffix.lower()]
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, kind, quality=JPEG_QUALITY)  # formats without loss ignore it


def find_photos(paths: Sequence[Path | str]) -> list[Path]:
    """Find the photos that a list of files, folders and patterns means; see `find_files`."""
    return find_files(paths, PHOTO_SUFFIXES, "photo")
