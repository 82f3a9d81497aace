"""Photos: pixels <-> images, files of every kind, CelebA's attribute file."""

from __future__ import annotations

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from audiotrans.errors import AudiotransError, UsageError
from audiotrans.photo.celeba import Attributes, Condition, parse_condition, parse_domain, read_partition
from audiotrans.photo.images import PhotoImaging, PhotoSettings
from audiotrans.photo.pillow import find_photos, read_photo, without_warnings, write_photo


def pixels_of(height: int = 30, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (218, 178), (301, 57)])
def test_an_unchanged_image_gives_back_the_photo_itself(size):
    imaging = PhotoImaging(PhotoSettings(height=32, width=32))
    pixels = pixels_of(*size)
    image, context = imaging.to_image(pixels)
    assert image.shape[2] >= 32
    assert image.shape[3] >= 32
    np.testing.assert_array_equal(imaging.from_image(image, context), pixels)


def test_only_the_change_of_an_image_is_scaled_up():
    imaging = PhotoImaging(PhotoSettings(height=16, width=16))
    pixels = pixels_of(64, 64) // 2  # room to get brighter
    image, context = imaging.to_image(pixels)
    brighter = imaging.from_image(image + 20 / 127.5, context)
    np.testing.assert_array_equal(brighter.astype(int) - pixels, 20)


def test_a_prepared_face_is_the_cut_of_units_recipe():
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[20:198] = 200  # rows 20 .. 197, as in UNIT's script
    prepared = PhotoImaging(PhotoSettings(height=128, width=128, margin=4)).prepare(pixels)
    assert prepared.shape == (3, 132, 132)
    assert prepared.min() == prepared.max() == 200


@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 256), (48, 96), (96, 48)])
def test_prepared_photos_keep_their_proportions(height, width):
    disc = np.zeros((120, 200, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:120, :200]
    disc[(rows - 60) ** 2 + (columns - 100) ** 2 < 30**2] = 255
    prepared = PhotoImaging(PhotoSettings(height=height, width=width, margin=0)).prepare(disc)[0] > 127
    tall, wide = prepared.any(1).sum(), prepared.any(0).sum()
    assert abs(int(tall) - int(wide)) <= 2  # a disc stays a disc, to a pixel at each side


def test_settings_refuse_sizes_that_are_none():
    with pytest.raises(ValueError, match="height 8"):
        PhotoSettings(height=8)
    with pytest.raises(ValueError, match="margin -1"):
        PhotoSettings(margin=-1)


def test_pixels_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="give \\(height, width, 3\\)"):
        PhotoImaging(PhotoSettings()).to_image(np.zeros((4, 4), dtype=np.uint8))


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_every_kind_of_photo_becomes_colour(tmp_path):
    grey = np.tile(np.linspace(0, 255, 20).astype(np.uint8), (10, 1))
    colour = Image.fromarray(np.dstack([grey] * 3))
    kinds = {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.png": colour.quantize(256),
        "cmyk.jpg": colour.convert("CMYK"),
        "web.webp": colour,
    }
    for name, image in kinds.items():
        pixels = read_photo(save(tmp_path / name, image))
        assert pixels.shape == (10, 20, 3)
        # Lossy formats and palettes of 256 colours lose a little.
        assert np.abs(pixels.astype(int) - grey[..., None]).max() <= 12, name


def test_transparency_is_laid_on_white(tmp_path):
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    clear[:2, :, 3] = 255
    pixels = read_photo(save(tmp_path / "alpha.png", Image.fromarray(clear)))
    assert pixels[:2].max() == 0
    assert pixels[2:].min() == 255


def test_photos_are_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by a quarter to the right
    path = save(tmp_path / "turned.jpg", Image.fromarray(pixels_of(20, 30)), exif=exif)
    assert read_photo(path).shape == (30, 20, 3)


def test_a_photo_with_broken_exif_is_read_as_it_lies(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "hello world"
    path = save(tmp_path / "odd.jpg", Image.fromarray(pixels_of(20, 30)), exif=exif)
    path.write_bytes(path.read_bytes().replace(b"\x01\x0e\x00\x02", b"\x01\x01\x00\x02"))  # a text for a number
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(path))
    assert read_photo(path).shape == (20, 30, 3)


def test_what_libtiff_says_of_a_damaged_photo_is_kept_from_the_terminal(tmp_path, capfd):
    path = save(tmp_path / "x.tif", Image.fromarray(pixels_of()), compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[20:2000] = b"\xff" * 1980
    path.write_bytes(data)
    with pytest.raises(AudiotransError, match=r"x\.tif is broken or cut short"):
        read_photo(path)
    assert capfd.readouterr() == ("", "")


def test_warnings_of_pillow_are_kept_from_the_user_and_no_others(tmp_path):
    exif = Image.Exif()
    exif[0x0132] = "2020:01:01 00:00:00"
    path = save(tmp_path / "odd.jpg", Image.fromarray(pixels_of(20, 30)), exif=exif)
    path.write_bytes(path.read_bytes().replace(b"\x01\x32\x00\x02", b"\x01\x32\x00\x0c"))  # doubles, beyond the end
    with pytest.warns(UserWarning, match=r"larger than file|Truncated File Read"):
        read_photo(path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with without_warnings(), ThreadPoolExecutor(4) as pool:
            list(pool.map(read_photo, [path] * 20))
        assert not seen
        warnings.warn("of others", stacklevel=1)
        assert len(seen) == 1


@pytest.mark.parametrize("size", [(4, 4000), (4000, 4)])
def test_a_strip_is_refused_before_it_fills_the_memory(size):
    imaging = PhotoImaging(PhotoSettings(height=128, width=128))
    with pytest.raises(AudiotransError, match=f"{size[1]} x {size[0]} pixels is too long and narrow"):
        imaging.to_image(np.zeros((*size, 3), dtype=np.uint8))
    assert imaging.to_image(np.zeros((2, 400, 3), dtype=np.uint8))[0].shape == (1, 3, 128, 25_600)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = io.BytesIO()
    Image.fromarray(pixels_of(64, 64)).save(whole, "JPEG")
    files = {"cut.jpg": whole.getvalue()[:600], "text.jpg": b"hello, I am a letter", "empty.png": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    Image.new("L", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "folder.jpg").mkdir()
    return {name: folder / name for name in [*files, "huge.png", "folder.jpg", "missing.jpg"]}


def test_what_is_no_photo_gets_one_line_that_names_it(tmp_path):
    expected = {
        "cut.jpg": "cut short", "text.jpg": "not a photo", "empty.png": "not a photo", "huge.png": "too large",
        "folder.jpg": "is a folder", "missing.jpg": "does not exist",
    }  # fmt: skip
    for name, path in broken_files(tmp_path).items():
        with pytest.raises(AudiotransError, match=expected[name]) as caught:
            read_photo(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_written_photos_come_back(tmp_path, name):
    pixels = np.full((20, 30, 3), (200, 100, 50), dtype=np.uint8)
    write_photo(tmp_path / "new" / name, pixels)
    found = read_photo(tmp_path / "new" / name)
    assert np.abs(found.astype(int) - pixels).max() <= (0 if name == "a.png" else 4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]  # nothing left beside it


def test_an_existing_photo_is_kept_unless_forced(tmp_path):
    write_photo(tmp_path / "a.png", pixels_of(seed=1))
    with pytest.raises(UsageError, match="--force"):
        write_photo(tmp_path / "a.png", pixels_of(seed=2))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), pixels_of(seed=1))
    write_photo(tmp_path / "a.png", pixels_of(seed=2), force=True)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), pixels_of(seed=2))


def test_photos_are_found_by_suffix_and_in_order(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_photos([tmp_path])] == ["a.PNG", "b.jpg", "c.webp"]
    assert [p.name for p in find_photos([tmp_path / "*.jpg"])] == ["b.jpg"]
    with pytest.raises(AudiotransError, match="there is no such file"):
        find_photos([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="matches no photo"):
        find_photos([tmp_path / "*.gif"])


ROWS = {"1.jpg": (1, -1, -1), "2.jpg": (-1, 1, -1), "3.jpg": (1, 1, -1), "4.jpg": (1, -1, 1), "5.jpg": (-1, -1, 1)}


def attribute_file(root: Path, rows: dict[str, tuple[int, ...]] | None = None, count: int | None = None) -> Path:
    rows = ROWS if rows is None else rows
    lines = [str(len(rows) if count is None else count), "Blond_Hair Brown_Hair Male "]
    lines += [f"{name} {' '.join(f'{value:2d}' for value in values)}" for name, values in rows.items()]
    (root / "list_attr_celeba.txt").write_text("\r\n".join(lines) + "\r\n", encoding="ascii", newline="")
    return root


def test_domains_by_attribute_leave_out_what_is_in_both(tmp_path):
    attributes = Attributes(attribute_file(tmp_path))
    blond, brown = Condition("Blond_Hair", 1), Condition("Brown_Hair", 1)
    assert attributes.select(blond, brown) == (["1.jpg", "4.jpg"], ["2.jpg"], 1)
    assert attributes.select(blond, brown, [Condition("Male", -1)]) == (["1.jpg"], ["2.jpg"], 1)


def test_conditions_and_domains_are_read_as_they_are_written():
    assert parse_condition("Male=-1") == Condition("Male", -1)
    assert str(parse_condition("Smiling")) == "Smiling=1"
    assert parse_domain("blond") == ("blond", Condition("Blond_Hair", 1))
    assert parse_domain("serious=Smiling=-1") == ("serious", Condition("Smiling", -1))
    with pytest.raises(UsageError, match="ATTRIBUTE=1 or ATTRIBUTE=-1"):
        parse_condition("Male=0")


def test_an_unknown_attribute_is_told_with_the_nearest_name(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'Male'"):
        Attributes(attribute_file(tmp_path)).where(Condition("Mal", 1))


@pytest.mark.parametrize(
    ("rows", "count", "message"),
    [({"1.jpg": (1, -1)}, None, "line 3"), ({"1.jpg": (1, -1, 0)}, None, "line 3"), (ROWS, 7, "announces 7")],
)
def test_a_damaged_attribute_file_is_refused_with_its_line(tmp_path, rows, count, message):
    with pytest.raises(AudiotransError, match=message):
        Attributes(attribute_file(tmp_path, rows, count))


def test_the_partition_file_is_optional_and_checked(tmp_path):
    assert read_partition(tmp_path) is None
    (tmp_path / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 1\n3.jpg 2\n")
    assert read_partition(tmp_path) == {"1.jpg": "train", "2.jpg": "valid", "3.jpg": "test"}
    (tmp_path / "list_eval_partition.txt").write_text("1.jpg 0\n2.jpg 7\n")
    with pytest.raises(AudiotransError, match="line 2"):
        read_partition(tmp_path)


def swapping_profile() -> bytes:
    """Make a colour profile of linear light whose red is sRGB's green, and its green sRGB's red."""
    colours = {
        b"rXYZ": (0.3851, 0.7169, 0.0971), b"gXYZ": (0.4361, 0.2225, 0.0139), b"bXYZ": (0.1431, 0.0606, 0.7141),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }  # fmt: skip

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    data = {tag: b"XYZ \0\0\0\0" + b"".join(map(fixed, xyz)) for tag, xyz in colours.items()}
    data |= {tag: b"curv\0\0\0\0\0\0\0\0" for tag in (b"rTRC", b"gTRC", b"bTRC")}  # no entries: the identity
    table, body, start = b"", b"", 128 + 4 + 12 * len(data)
    for tag, content in data.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    head = struct.pack(">I", size) + b"lcms" + bytes([2, 0x20, 0, 0]) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + b"".join(map(fixed, colours[b"wtpt"]))
    return head.ljust(128, b"\0") + struct.pack(">I", len(data)) + table + body


def test_colours_are_read_as_their_profile_means_them(tmp_path):
    colour = Image.new("RGB", (4, 4), (255, 0, 0))
    path = save(tmp_path / "red.png", colour, icc_profile=swapping_profile())
    np.testing.assert_allclose(read_photo(path)[0, 0], (0, 255, 0), atol=3)  # rounded primaries
    broken = save(tmp_path / "broken.png", colour, icc_profile=b"no profile")
    np.testing.assert_array_equal(read_photo(broken)[0, 0], (255, 0, 0))
    grey = save(tmp_path / "grey.png", colour.convert("L"), icc_profile=swapping_profile())
    assert read_photo(grey).shape == (4, 4, 3)
