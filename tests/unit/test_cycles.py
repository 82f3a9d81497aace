"""Chains of translations: what they are called, how sounds go through them, and what is kept of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor

from audiotrans.convert.chains import (
    chain_kind,
    check_chains,
    default_chains,
    parse_chain,
    render_chains,
    steps_of,
    write_sound,
)
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.cycle_inputs import CycleClip, CycleRecipe, find_clips, load_cycle_recipe
from audiotrans.evaluation.cycle_results import (
    cycle_values,
    is_finished,
    mean_scores,
    means_table,
    open_folder,
    record_path,
    write_tables,
)
from audiotrans.evaluation.cycles import CYCLE_METRICS, chosen_scores, score_sound, scored_part
from audiotrans.evaluation.scoring import METRICS
from audiotrans.files import write_whole
from audiotrans.options import ConvertOptions
from tests.standins import RATE, Identity, Local, converter, error_db, tone

DOMAINS = ("violin", "piano")
VV, VP, VPV, VVP = (
    tuple({"V": "violin", "P": "piano"}[letter] for letter in name) for name in ("VV", "VP", "VPV", "VVP")
)
PAPER = Path(__file__).parents[2] / "recipes" / "cycles" / "paper.yaml"

HEADER = {"model_sha256": "a", "domains": list(DOMAINS), "chains": ["violin-piano"], "options": {"seed": 0}}


class UpAndDown(Identity):
    """Piano is 20 dB louder than violin, and the other way round; counts its calls."""

    calls = 0

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None) -> Tensor:
        del noise
        self.calls += 1
        return image + 0.4 * ((target == "b") - (source == "b"))  # 100 dB of range over two units


class TestNames:
    @pytest.mark.parametrize("text", ["violin,piano,violin", "V,P,V", "v, p ,V", "V->P->V", "Violin->p->VIOLIN"])
    def test_a_chain_is_read_as_people_write_it(self, text: str) -> None:
        assert parse_chain(text, DOMAINS) == VPV

    @pytest.mark.parametrize(
        ("text", "message"),
        [("violin", "name two domains"), ("violin,,piano", "name two domains"), ("", "name two domains"),
         ("violin,paino", "Did you mean 'piano'"), ("V,X", "unknown domain of this model 'x'")],
    )  # fmt: skip
    def test_a_broken_chain_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            parse_chain(text, DOMAINS)

    def test_letters_that_two_domains_share_are_refused(self) -> None:
        with pytest.raises(UsageError, match="unknown domain"):
            parse_chain("P,V", ("piano", "pipe"))

    def test_the_paper_has_six(self) -> None:
        names = {"violin-violin", "violin-piano", "violin-piano-violin", "piano-piano", "piano-violin"}
        assert {"-".join(chain) for chain in default_chains(DOMAINS)} == names | {"piano-violin-piano"}

    def test_kinds(self) -> None:
        kinds = [chain_kind(chain) for chain in (VV, VP, VPV, VVP)]
        assert kinds == ["reconstruction", "translation", "cycle", "translation"]


class TestRendering:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        soundfile.write(tmp_path / "a.wav", tone(0.8, 2).T, RATE, subtype="FLOAT")
        return tmp_path / "a.wav"

    def test_a_chain_is_one_translation_after_the_other(self, source: Path, tmp_path: Path) -> None:
        model = converter(Local())
        wave = tone(0.8, 2)
        once = model.convert(wave, RATE, to="piano", seed=3)
        twice = model.convert(once, RATE, to="violin", seed=3)
        found = render_chains(model, source, [VP, VPV], ConvertOptions(seed=3), tmp_path)
        sounds = {chain: np.concatenate(list(spool.blocks()), axis=1) for chain, spool in found}
        np.testing.assert_array_equal(sounds[VP], once)
        np.testing.assert_array_equal(sounds[VPV], twice)

    def test_a_step_starts_from_what_would_clip(self, source: Path, tmp_path: Path) -> None:
        model = converter(UpAndDown())
        peaks = {}
        for chain, spool in render_chains(model, source, [VP, VPV], ConvertOptions(), tmp_path):
            peaks[chain] = spool.peak
            wave = np.concatenate(list(spool.blocks()), axis=1)
        assert peaks[VP] > 2  # 0.5 raised by 20 dB
        # Only the image's floor and ceiling keep it from being exact; a clipped middle would leave -10 dB.
        assert error_db(wave, tone(0.8, 2)) < -25

    def test_what_chains_share_is_done_once(self, source: Path, tmp_path: Path) -> None:
        model = UpAndDown()
        chains = [VP, VPV, VVP, (*VPV, "piano")]
        assert steps_of(chains) == 5  # V->P, its V, its P; V->V, its P
        order = [chain for chain, _ in render_chains(converter(model), source, chains, ConvertOptions(), tmp_path)]
        assert model.calls == 5  # a sound of one tile
        assert sorted(order) == sorted(chains)

    def test_the_result_is_written_as_the_input_was(self, source: Path, tmp_path: Path) -> None:
        from audiotrans.audio import probe

        soundfile.write(tmp_path / "b.flac", tone(0.8, 2).T, RATE, subtype="PCM_16")
        ((_, spool),) = [
            (chain, write_sound(spool, tmp_path / "out.flac", probe(tmp_path / "b.flac")))
            for chain, spool in render_chains(
                converter(UpAndDown()), tmp_path / "b.flac", [VP], ConvertOptions(), tmp_path
            )
        ]
        info = soundfile.info(tmp_path / "out.flac")
        assert (info.samplerate, info.channels, info.subtype) == (RATE, 2, "PCM_16")
        wave, _ = soundfile.read(tmp_path / "out.flac")
        assert spool < 1
        assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-3)  # turned down to just below full scale

    def test_a_fault_names_the_file(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "silent.wav", np.zeros(4000), RATE)
        with pytest.raises(AudiotransError, match=r"silent\.wav: the sound is silent"):
            list(render_chains(converter(Identity()), tmp_path / "silent.wav", [VP], ConvertOptions(), tmp_path))

    def test_options_are_checked_before_any_work(self) -> None:
        with pytest.raises(UsageError, match="strength 101"):
            check_chains(converter(Identity()), [VP], ConvertOptions(strength=101))


class TestClips:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("violin/a.wav", "violin/deep/b.wav", "Piano/a.wav"):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "in" / name, tone(0.1).T, RATE)
        return tmp_path / "in"

    def test_folders_tell_domains(self, folder: Path) -> None:
        clips = find_clips([folder], DOMAINS, None, starting=DOMAINS)
        assert {(clip.domain, clip.name) for clip in clips} == {("violin", "a"), ("violin", "b"), ("piano", "a")}
        assert clips[0].seconds == pytest.approx(0.1)
        assert [clip.domain for clip in find_clips([folder / "violin"], DOMAINS, None, starting=DOMAINS)] == [
            "violin"
        ] * 2

    def test_from_tells_where_folders_do_not(self, folder: Path, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "c.wav", tone(0.1).T, RATE)
        with pytest.raises(UsageError, match=r"c\.wav: its domain is not known: use --from"):
            find_clips([tmp_path / "c.wav"], DOMAINS, None, starting=DOMAINS)
        (clip,) = find_clips([tmp_path / "c.wav"], DOMAINS, "piano", starting=DOMAINS)
        assert clip.domain == "piano"
        with pytest.raises(UsageError, match="folder says violin, --from says piano"):
            find_clips([folder], DOMAINS, "piano", starting=DOMAINS)
        with pytest.raises(UsageError, match="Did you mean 'piano'"):
            find_clips([folder], DOMAINS, "paino", starting=DOMAINS)

    def test_domains_that_no_chain_begins_with_are_left_out(self, folder: Path) -> None:
        clips = find_clips([folder], DOMAINS, None, starting=["piano"])
        assert [clip.domain for clip in clips] == ["piano"]
        with pytest.raises(UsageError, match="no chain begins with"):
            find_clips([folder / "violin"], DOMAINS, None, starting=["piano"])

    def test_names_that_meet_get_their_folders(self, folder: Path) -> None:
        soundfile.write(folder / "violin/deep/a.wav", tone(0.1).T, RATE)
        clips = find_clips([folder], DOMAINS, None, starting=["violin"])
        assert {clip.name for clip in clips} == {"violin-a", "deep-a", "b"}
        soundfile.write(folder / "violin/deep/a.flac", tone(0.1).T, RATE)
        with pytest.raises(UsageError, match="would get the same name, 'deep-a'"):
            find_clips([folder], DOMAINS, None, starting=["violin"])


class TestScores:
    def test_an_equal_sound_is_at_every_bound(self) -> None:
        sound = scored_part([tone(0.4)], RATE)
        scores = score_sound(sound, scored_part([tone(0.4)], RATE), "cycle", chosen_scores("all"))
        assert set(scores) == set(CYCLE_METRICS)
        wanted = {name: 1.0 if METRICS[name].better == "higher" else 0.0 for name in CYCLE_METRICS}
        assert scores == pytest.approx(wanted, abs=1e-9)

    def test_a_translation_is_scored_by_what_it_must_keep(self) -> None:
        sound = scored_part([tone(0.3)], RATE)
        scores = score_sound(sound, sound, "translation", chosen_scores("fast"))
        assert set(scores) == {"onset_f1", "loudness_correlation"}
        assert chosen_scores("none") == ()

    def test_what_cannot_be_counted_is_none(self) -> None:
        noise = np.random.default_rng(0).standard_normal((1, RATE // 4)).astype(np.float32)
        silence = scored_part([np.zeros_like(noise)], RATE)
        scores = score_sound(silence, scored_part([noise], RATE), "cycle", ["band_distance_db", "pitch_error_cents"])
        assert scores == {"band_distance_db": None, "pitch_error_cents": None}
        assert mean_scores([scores, {"band_distance_db": 2.0}, {"band_distance_db": 4.0}]) == {
            "band_distance_db": 3.0,
            "pitch_error_cents": None,
        }

    def test_only_a_minute_is_kept_in_memory(self) -> None:
        blocks = (np.full((1, 30 * 1000), 0.1, np.float32) for _ in range(100))
        assert scored_part(blocks, 1000).wave.shape == (1, 60_000)
        assert len(list(blocks)) == 98  # the rest was not even read


class TestRecipe:
    def test_the_paper_recipe_has_the_six_and_the_papers_wording(self) -> None:
        recipe = load_cycle_recipe(PAPER, {})
        chains = [parse_chain(text, DOMAINS) for text in recipe.chains]
        assert set(chains) == {*default_chains(DOMAINS), VVP}

    def test_the_command_line_wins(self, tmp_path: Path) -> None:
        (tmp_path / "r.yaml").write_text("{seed: 3, from: violin, scores: fast, strength: 50}")
        recipe = load_cycle_recipe(tmp_path / "r.yaml", {"seed": 5, "scores": None, "chains": ()})
        assert recipe == CycleRecipe(source="violin", scores="fast", options=ConvertOptions(seed=5, strength=50))
        (tmp_path / "r.yaml").write_text("{articulation: 1.5, remove_vibrato: 20}")
        options = load_cycle_recipe(tmp_path / "r.yaml", {"vibrato": 12}).options
        assert options == ConvertOptions(articulation=1.5, remove_vibrato=20, vibrato=12)

    @pytest.mark.parametrize(
        ("text", "message"),
        [("sed: 3", "sed: unknown key.*Did you mean 'seed'"), ("seed: x", "seed 'x': give a whole number"),
         ("chains: [[violin, piano]]", "give a list of texts"), ("scores: some", "unknown choice of scores"),
         ("seed: true", "seed True: give a whole number"), ("[1]", "must hold keys such as model, chains")],
    )  # fmt: skip
    def test_a_wrong_recipe_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "r.yaml").write_text(text)
        with pytest.raises(UsageError, match=message):
            load_cycle_recipe(tmp_path / "r.yaml", {})


class TestFolder:
    def finish(self, folder: Path, clip: CycleClip) -> Path:
        """Leave the record and the sound of a finished clip."""
        sound = folder / "sounds" / "violin-piano" / "a.wav"
        sound.parent.mkdir(parents=True)
        sound.write_bytes(b"sound")
        items = [{"chain": "violin-piano", "sound": "sounds/violin-piano/a.wav", "scores": {}}]
        record = {"clip": clip.name, "source": str(clip.source), "stamp": clip.stamp, "items": items}
        write_whole(record_path(folder, clip), json.dumps(record))
        return sound

    def test_another_model_or_option_is_refused(self, tmp_path: Path) -> None:
        open_folder(tmp_path / "out", HEADER, force=False)
        open_folder(tmp_path / "out", HEADER, force=False)
        for change, said in (
            ({"model_sha256": "b"}, "made with another model"),
            ({"chains": []}, "made with other chains"),
            ({"options": {"seed": 1}}, "made with seed 0, not 1"),
        ):
            with pytest.raises(UsageError, match=f"{said}: use --force to start over"):
                open_folder(tmp_path / "out", HEADER | change, force=False)

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(UsageError, match="something else"):
            open_folder(tmp_path, HEADER, force=False)
        with pytest.raises(UsageError, match="is a file"):
            open_folder(tmp_path / "file", HEADER, force=False)

    def test_starting_over_removes_only_what_a_run_made(self, tmp_path: Path) -> None:
        clip = CycleClip(tmp_path / "a.wav", "violin", "a", 1.0, (1, 2))
        sound = self.finish(tmp_path, clip)
        (tmp_path / "mine.txt").write_text("x")
        broken = record_path(tmp_path, CycleClip(clip.source, "violin", "b", 1.0, (1, 2)))
        broken.write_text("{")
        open_folder(tmp_path, HEADER, force=True)
        assert not sound.exists()
        assert not broken.exists()
        assert (tmp_path / "mine.txt").exists()
        assert not is_finished(tmp_path, clip)

    def test_a_clip_is_finished_while_file_and_sounds_are_the_same(self, tmp_path: Path) -> None:
        clip = CycleClip((tmp_path / "a.wav").resolve(), "violin", "a", 1.0, (1, 2))
        sound = self.finish(tmp_path, clip)
        assert is_finished(tmp_path, clip)
        assert not is_finished(tmp_path, CycleClip(clip.source, "violin", "a", 1.0, (1, 3)))
        sound.unlink()
        assert not is_finished(tmp_path, clip)

    def test_another_file_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        clip = CycleClip((tmp_path / "a.wav").resolve(), "violin", "a", 1.0, (1, 2))
        self.finish(tmp_path, clip)
        clip.source.write_bytes(b"x")
        with pytest.raises(UsageError, match="under the name 'a'"):
            is_finished(tmp_path, CycleClip(tmp_path / "other" / "a.wav", "violin", "a", 1.0, (1, 2)))


def test_tables_agree_and_hold_no_nan(tmp_path: Path) -> None:
    about = {"input": "a|b.wav", "domain": "violin", "sound": "s"}
    items = [
        {**about, "clip": "a", "chain": "violin", "scores": {}},
        {**about, "clip": "a", "chain": "violin-piano", "scores": {"onset_f1": 0.5, "pitch_error_cents": None}},
        {**about, "clip": "b|c", "chain": "violin-piano", "scores": {"onset_f1": 1.0, "pitch_error_cents": None}},
    ]
    header = {
        "model": "m", "model_sha256": "0" * 64, "domains": list(DOMAINS), "options": {"seed": 0, "phase": None},
        "scores": chosen_scores("all"), "chains": ["violin-piano"], "steps": {"violin-piano": list(VP)},
    }  # fmt: skip
    values = cycle_values(header, items)
    write_tables(tmp_path, values)
    assert json.loads((tmp_path / "cycle.json").read_text()) == values
    assert values["means"] == {"violin-piano": {"onset_f1": 0.75, "pitch_error_cents": None}}
    assert values["metrics"]["onset_f1"]["better"] == "higher"
    table = means_table(values)
    assert "violin -> piano" in table
    assert "0.75" in table
    assert "spectral distance" not in table  # no chain has it
    assert "b\\|c" in (tmp_path / "scores.md").read_text()
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == 3  # the input itself has no scores
    assert lines[1].endswith(",,,,,0.5,")
