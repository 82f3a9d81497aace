"""Where prep finds sounds, what it calls their recordings, and which of these it holds out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audiotrans.errors import UsageError
from audiotrans.training.sources import IRMAS_CLASSES, assign_splits, find_sources, recording_of


def touch(path: Path) -> None:
    """Make a file: finding sounds looks at names only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for index in range(6):
        touch(tmp_path / "source/violin" / f"tune{index}x.wav")
        touch(tmp_path / "source/piano" / f"song{index}x.wav")
    return tmp_path / "source"


def test_a_link_to_the_folder_of_both_domains_does_not_mix_them(source: Path) -> None:
    try:
        (source / "violin" / "all").symlink_to(source, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    sounds = find_sources(source, "violin", "piano").sounds
    assert [sound.domain for sound in sounds] == ["a"] * 6 + ["b"] * 6


def test_a_file_that_both_domains_hold_is_refused(source: Path) -> None:
    try:
        (source / "violin" / "more").symlink_to(source / "piano", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    (source / "violin" / "gone.wav").symlink_to(source / "nowhere.wav")  # what reading it will say
    with pytest.raises(UsageError, match=r"song0x\.wav .* are one file, in violin and in piano: the domains must be"):
        find_sources(source, "violin", "piano")


class TestRecordings:
    @pytest.mark.parametrize(
        ("name", "recording"),
        [
            ("[pia][pop_roc]1281__1.wav", "1281"),
            ("112__[pia][nod][cla]1392__3.wav", "1392"),
            ("[gel][dru][pop_roc]0829__2.wav", "0829"),
            ("1281__2.wav", "1281"),
            ("borea_00.ogg", "borea"),
            ("borea_03.ogg", "borea"),
            ("cd1/borea__12.ogg", "cd1/borea"),
            ("fugue-07-e-flat-major_bwv852.ogg", "fugue-07-e-flat-major_bwv852"),
            ("01.flac", "01"),
            ("_01.flac", "_01"),
            ("take 2.wav", "take 2"),
        ],
    )
    def test_name(self, name: str, recording: str) -> None:
        assert recording_of(Path(name)) == recording


class TestSplit:
    NAMES = tuple(f"recording {index}" for index in range(200))

    def test_share_is_near_the_fraction(self) -> None:
        held_out = sum(side == "valid" for side in assign_splits(self.NAMES, 0.1, 0).values())
        # Binomial: 20 expected, standard deviation 4.2.
        assert 8 <= held_out <= 32

    def test_same_seed_same_split_and_other_seed_other_split(self) -> None:
        assert assign_splits(self.NAMES, 0.1, 3) == assign_splits(reversed(self.NAMES), 0.1, 3)
        assert assign_splits(self.NAMES, 0.1, 3) != assign_splits(self.NAMES, 0.1, 4)

    def test_adding_moves_none_of_the_others(self) -> None:
        before = assign_splits(self.NAMES[:60], 0.1, 0)
        after = assign_splits(self.NAMES, 0.1, 0)
        assert {name: after[name] for name in before} == before

    @pytest.mark.parametrize("count", [2, 3, 5])
    @pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
    def test_two_or_more_give_each_side_one(self, count: int, fraction: float) -> None:
        for seed in range(20):
            assert set(assign_splits(self.NAMES[:count], fraction, seed).values()) == {"train", "valid"}

    def test_a_single_one_is_for_training(self) -> None:
        assert assign_splits(["only"], 0.999, 0) == {"only": "train"}


class TestSources:
    def test_irmas_tree_by_name_and_code(self, tmp_path: Path) -> None:
        for code in IRMAS_CLASSES.values():
            for clip in (1, 2):
                touch(tmp_path / "IRMAS-TrainingData" / code / f"007__[{code}][nod][cla]12__{clip}.wav")
        for root in (tmp_path, tmp_path / "IRMAS-TrainingData"):
            for name, code in IRMAS_CLASSES.items():
                other = "trumpet" if code != "tru" else "voice"
                found = find_sources(root, name, IRMAS_CLASSES[other])
                assert [sound.path.parent.name for sound in found.sounds] == [code] * 2 + [IRMAS_CLASSES[other]] * 2
                assert {sound.recording for sound in found.sounds} == {"12"}
        assert find_sources(tmp_path, "Acoustic Guitar", "pia").names == {"a": "Acoustic Guitar", "b": "pia"}

    def test_unknown_irmas_class_is_named_with_the_nearest(self, tmp_path: Path) -> None:
        for code in ("vio", "pia"):
            touch(tmp_path / code / f"[{code}][cla]1__1.wav")
        with pytest.raises(UsageError, match=r"unknown IRMAS class 'violn'.*violin \(vio\).*Did you mean 'violin'\?"):
            find_sources(tmp_path, "violn", "piano")
        with pytest.raises(UsageError, match=r"no folder flu \(flute\)"):
            find_sources(tmp_path, "flute", "piano")

    @pytest.mark.parametrize("folder", ["", "Part1", "IRMAS-TestingData-Part1/Part1"])
    def test_irmas_testing_part_is_called_what_it_is(self, tmp_path: Path, folder: str) -> None:
        for name in ("(02) dont kill the whale-1", "01 - Solo-3"):
            touch(tmp_path / folder / f"{name}.wav")
            (tmp_path / folder / f"{name}.txt").write_text("vio\t\r\npia\t\r\n")
        with pytest.raises(UsageError, match=r"IRMAS' testing part: .* needs the training part, IRMAS-TrainingData"):
            find_sources(tmp_path, "violin", "piano")
        (tmp_path / folder / "01 - Solo-3.txt").write_text("recorded in May")
        with pytest.raises(UsageError, match="has no folder 'violin'"):
            find_sources(tmp_path, "violin", "piano")

    def test_missing_domain_names_what_there_is(self, source: Path) -> None:
        with pytest.raises(UsageError, match=r"no folder 'viola': it has piano, violin.*Did you mean 'violin'\?"):
            find_sources(source, "viola", "piano")

    def test_missing_source(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="nowhere is not a folder"):
            find_sources(tmp_path / "nowhere", "violin", "piano")

    def test_same_domain_twice(self, source: Path) -> None:
        with pytest.raises(UsageError, match="both domains are 'piano'"):
            find_sources(source, "piano", "piano")
        with pytest.raises(UsageError, match="are the same folder"):
            find_sources(source, "piano", f"other={source / 'piano'}")
        with pytest.raises(UsageError, match="one lies in the other"):
            find_sources(source, "piano", f"all={source}")

    def test_folder_without_sounds(self, source: Path) -> None:
        shutil.rmtree(source / "piano")
        (source / "piano").mkdir()
        (source / "piano/notes.txt").write_text("no sound")
        with pytest.raises(UsageError, match=r"no sounds for 'piano' in .*\.wav"):
            find_sources(source, "violin", "piano")

    def test_paths_given(self, source: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere [1]"
        shutil.move(source / "violin", elsewhere)
        found = find_sources(source, f"fiddle={elsewhere}", "keys=piano")
        assert found.names == {"a": "fiddle", "b": "keys"}
        assert len(found.sounds) == 12
        with pytest.raises(UsageError, match=r"'fiddle'.*give an existing one"):
            find_sources(source, "fiddle=nowhere", "piano")
        with pytest.raises(UsageError, match="gives no path"):
            find_sources(source, "fiddle=", "piano")
        with pytest.raises(UsageError, match="write violin=strings/violin"):
            find_sources(source, "strings/violin", "piano")

    def test_linked_folders_are_followed_and_circles_end(self, source: Path, tmp_path: Path) -> None:
        library = tmp_path / "library"
        shutil.move(source / "violin", library / "bach")
        (source / "violin").mkdir()
        (source / "violin/bach").symlink_to(library / "bach", target_is_directory=True)
        (library / "bach/again").symlink_to(source / "violin", target_is_directory=True)
        found = [sound for sound in find_sources(source, "violin", "piano").sounds if sound.domain == "a"]
        assert [sound.key for sound in found] == [f"bach/tune{index}x.wav" for index in range(6)]

    def test_half_a_split_is_refused(self, source: Path, tmp_path: Path) -> None:
        shutil.move(source, tmp_path / "whole/train")
        with pytest.raises(UsageError, match="no valid/violin, valid/piano"):
            find_sources(tmp_path / "whole", "violin", "piano")

    def test_hidden_files_are_not_sounds(self, source: Path) -> None:
        before = find_sources(source, "violin", "piano")
        (source / "violin/._tune0x.wav").write_bytes(b"shadow")
        assert find_sources(source, "violin", "piano") == before
