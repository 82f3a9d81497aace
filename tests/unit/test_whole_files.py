from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from audiotrans import audio, files
from audiotrans.errors import AudiotransError, UsageError
from tests.sounds import tones

SUFFIXES = (".wav", ".flac")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_beside_its_place(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.txt"
    files.write_whole(path, "Dvořák\n")
    assert path.read_bytes() == "Dvořák\n".encode()
    with files.replacing(path) as partial:
        partial.write_bytes(b"half")
        assert path.read_bytes() == "Dvořák\n".encode()  # what a killed process would leave
        assert partial.name.startswith(".")
    assert path.read_bytes() == b"half"
    assert names(path.parent) == ["x.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_others_may_read_it_as_far_as_the_user_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_whole(tmp_path / "x", b"")
        with files.replacing(tmp_path / "y") as partial:  # safetensors puts a file of its own in the place
            save_file({"a": torch.zeros(1)}, partial)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"x": 0o640, "y": 0o640}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in ("deep/.0123abcd.partial", ".mine.partial", "deep/x.partial"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == [".mine.partial", "deep"]
    assert names(tmp_path / "deep") == ["x.partial"]


@pytest.mark.parametrize("death", [KeyboardInterrupt, ValueError, AudiotransError])
def test_what_an_error_leaves_behind_is_removed_and_the_error_kept(tmp_path: Path, death: type[BaseException]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def die() -> None:
        with files.replacing(path) as partial:
            partial.write_bytes(b"half")
            raise death("no")

    with pytest.raises(death):
        die()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space is left on the disk; make room"),
        (errno.EROFS, "that disk is read-only"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_what_the_system_says_is_one_line(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(files.WriteError, match=rf"cannot write .*x: {said}"), files.replacing(tmp_path / "x"):
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_libraries_that_hide_the_systems_error_are_understood(tmp_path: Path, library: str) -> None:
    import resource

    limits, tensor = resource.getrlimit(resource.RLIMIT_FSIZE), torch.ones(10_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a real error of the system, as of a full disk
    try:
        with pytest.raises(files.WriteError) as caught, files.replacing(tmp_path / "x") as partial:
            torch.save(tensor, partial) if library == "torch" else save_file({"a": tensor}, partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the disk may be full" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_the_longest_name_that_a_disk_takes_is_written(tmp_path: Path) -> None:
    name = "n" * (files.LONGEST_NAME - 4) + ".wav"
    files.write_whole(tmp_path / name, "x")
    audio.write(tmp_path / name, tones(1), 48_000, force=True)
    assert names(tmp_path) == [name]
    with pytest.raises(files.WriteError, match="the name is too long; choose a shorter one"):
        files.write_whole(tmp_path / f"n{name}", "x")


@pytest.mark.parametrize("stem", ["x", "n" * 300, "ř" * 200, "\udcff" * 260])
def test_short_names_fit_and_keep_their_ending(stem: str) -> None:
    name = files.short_name(stem, ".piano.wav")
    assert name.endswith(".piano.wav")
    assert stem.startswith(name.removesuffix(".piano.wav"))
    size = len(os.fsencode(name))
    assert size <= files.LONGEST_NAME
    assert size > files.LONGEST_NAME - 2 or name == f"{stem}.piano.wav"


def test_a_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "x").write_bytes(content)
    assert files.file_digest(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    assert files.file_digest(tmp_path / "x", "sha1") == hashlib.sha1(content, usedforsecurity=False).hexdigest()


def touched(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files.find_files([folder], SUFFIXES, "sound")]


def linked(place: Path, target: Path) -> None:
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this system makes no links")


def test_linked_folders_are_followed_and_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    touched(tmp_path, "library/bach/1.wav", "library/bach/deep/2.flac", "ds/violin/0.wav", "ds/violin/.hidden/3.wav")
    linked(tmp_path / "ds/violin/bach", tmp_path / "library/bach")
    linked(tmp_path / "library/bach/deep/up", tmp_path / "library")  # back to where it came from
    linked(tmp_path / "ds/violin/self", tmp_path / "ds/violin")
    linked(tmp_path / "ds/violin/gone", tmp_path / "nowhere")
    assert found(tmp_path / "ds") == ["violin/0.wav", "violin/bach/1.wav", "violin/bach/deep/2.flac"]


def test_a_link_to_a_folder_above_itself_does_not_bring_what_lies_beside(tmp_path: Path) -> None:
    touched(tmp_path, "ds/violin/0.wav", "ds/piano/1.wav", "library/bach/2.wav", "library/other/3.wav")
    linked(tmp_path / "ds/violin/up", tmp_path / "ds")
    linked(tmp_path / "ds/violin/bach", tmp_path / "library/bach")
    linked(tmp_path / "library/bach/all", tmp_path / "library")
    assert found(tmp_path / "ds/violin") == ["0.wav", "bach/2.wav"]


def test_a_folder_is_searched_once_by_its_own_name(tmp_path: Path) -> None:
    touched(tmp_path, "z/1.wav")
    linked(tmp_path / "a", tmp_path / "z")
    linked(tmp_path / "z/again", tmp_path / "z")
    assert found(tmp_path) == ["z/1.wav"]


def test_files_that_look_like_sound_but_are_not_read_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touched(tmp_path, "1.wav", "notes.txt", "cover.jpg", "old.ra", "deep/tape.avi", "2.mid", "deep/3.MID")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path) == ["1.wav"]
    assert sorted(record.getMessage().rpartition(": passed over, ")[2] for record in caplog.records) == [
        ".avi cannot be read here: tape.avi.",
        ".mid holds notes, no sound: 2.mid, 3.MID.",
        ".ra cannot be read here: old.ra.",
    ]
    caplog.clear()
    assert files.find_files([tmp_path], (".jpg",), "photo") == [tmp_path / "cover.jpg"]
    assert not caplog.records


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="here every folder can be read")
def test_a_folder_that_must_not_be_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touched(tmp_path, "1.wav", "closed/2.wav")
    (tmp_path / "closed").chmod(0)
    try:
        assert found(tmp_path) == ["1.wav"]
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert "closed: this folder is passed over" in caplog.text


def test_nothing_found_names_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the folder holds no sound file \(\.wav, \.flac\)"):
        found(tmp_path)
