"""Pairs: the same notes in both domains, prepared, cut at the same places, and asked for at the source's level."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.recipe import check_trains, load_recipe, recipe_from_dict, recipe_to_dict
from audiotrans.spectrogram.imaging import AudioImaging, relevel
from audiotrans.training import sound_images
from audiotrans.training.cache import packed, write_images
from audiotrans.training.checkpoints import load_checkpoint
from audiotrans.training.data import Feed, ImageCache, PairedCache, at, gains_db
from audiotrans.training.engine import Trainer
from audiotrans.training.prep import prepare_sounds
from audiotrans.training.run import train
from tests.fakes import assert_same, fake_cache, image, tiny_recipe

CPU = torch.device("cpu")
RATE = 16_000
CROP = 16
GAINS = (-30.0, 3.0)

pytestmark = pytest.mark.usefixtures("no_board")


def recipe(pairs, *, gains=None, share=1.0, weight=1.0, **train):
    """Return the tiny recipe with pairs; nothing is changed of its crops unless it is asked for."""
    chosen = {"gain_range_db": gains, "pairs_share": share, "gain_db": 0, "dither": 0, **train}
    tiny = recipe_to_dict(tiny_recipe(train=chosen))
    losses = {"generator": {"gan": 1.0, "vae_reconstruction": 1.0, "paired": weight}}
    return recipe_from_dict(tiny | {"pairs": str(pairs), "losses": losses})


@pytest.fixture
def pairs(tmp_path):
    """A cache of two pairs that were cut in unlike pieces, 45 and 47 columns; a column's value tells its place.

    A's columns are relative to 10 dB above its level, B's to their own number below it.
    """
    root = fake_cache(tmp_path / "pairs", recipe("any"))
    content = json.loads((root / "manifest.json").read_text())
    items = []
    for domain, cuts in (("a", (45,)), ("b", (20, 27))):
        for split, index in (("train", 0), ("train", 1), ("valid", 0)):
            parts, levels, first = [], [], 0
            for frames in cuts:
                columns = torch.arange(first, first + frames)
                parts.append(packed((100 * index + columns).to(torch.uint8).expand(1, 32, frames)))
                level = torch.full((frames,), 10.0) if domain == "a" else -columns.float() / 2
                levels.append(packed(level[None, None] / 50))
                first += frames
            name = f"images/{domain}/{split}{index}.safetensors"
            write_images(root / name, [*parts, *levels])
            found = [
                {"domain": domain, "split": split, "recording": str(index), "source": name, "file": name, "index": i,
                 "level": i + len(cuts), "frames": frames}
                for i, frames in enumerate(cuts)
            ]  # fmt: skip
            items.append({**found[0], "frames": sum(cuts), "gap": 0, "joined": found[1:]})
    (root / "manifest.json").write_text(json.dumps(content | {"items": items, "paired": True}))
    return root


def test_both_sides_are_cut_at_the_same_place_however_they_lie_in_their_files(pairs):
    data, starts = PairedCache(pairs), set()
    for step in range(60):
        found = data.sample_pairs(step, 2, CROP, 0)
        assert found["a"].shape == found["b"].shape == (2, 1, 32, CROP)
        assert torch.equal(found["a"], found["b"])
        first = ((found["a"][:, 0, 0, 0] + 1) * 127.5).round().long()
        starts |= {(int(n) // 100, int(n) % 100) for n in first}
        torch.testing.assert_close(found["level_a"], torch.full((2, 1, 1, CROP), 10.0), atol=0.2, rtol=0)
        wanted = -(first[:, None] % 100 + torch.arange(CROP)) / 2.0
        torch.testing.assert_close(found["level_b"][:, 0, 0], wanted, atol=0.2, rtol=0)
    assert {index for index, _ in starts} == {0, 1}
    assert min(place for _, place in starts) < 4
    assert max(place for _, place in starts) > 45 - CROP - 4
    again = PairedCache(pairs).sample_pairs(59, 2, CROP, 0)
    assert all(torch.equal(found[name], again[name]) for name in again)
    assert not torch.equal(found["a"], data.sample_pairs(59, 2, CROP, 1)["a"])


def test_a_pair_shorter_than_a_crop_is_filled(pairs):
    found = PairedCache(pairs).sample_pairs(0, 1, 64, 0)
    assert all(x.shape[-1] == 64 for x in found.values())


def both(data, step):
    """Return the pairs of a step of two."""
    parts = [data.sample_pairs(at(step, image), 1, CROP, 0) for image in (0, 1)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def test_the_other_side_is_asked_for_at_the_level_of_this_one(pairs):
    with Feed(recipe(pairs), ImageCache(pairs), CPU, pairs=PairedCache(pairs)) as feed:
        crops, found = feed.take(3), both(feed.pairs, 3)
    assert crops.targets.keys() == {"true_ab", "true_ba"}
    assert torch.equal(crops.a, found["a"])
    higher = found["level_b"] - found["level_a"]  # B lies lower here: relative to A's level it looks softer
    torch.testing.assert_close(crops.targets["true_ab"], relevel(found["b"], higher))
    torch.testing.assert_close(crops.targets["true_ba"], relevel(found["a"], -higher))
    assert crops.targets["true_ab"].mean() < crops.b.mean()


def test_a_gain_is_one_for_crop_pair_and_teacher(pairs):
    with Feed(recipe(pairs, gains=GAINS), ImageCache(pairs), CPU, pairs=PairedCache(pairs)) as feed:
        loud = feed.take(3)
    with Feed(recipe(pairs), ImageCache(pairs), CPU, pairs=PairedCache(pairs)) as feed:
        plain = feed.take(3)
    for d, crop, name in (("a", loud.a, "true_ab"), ("b", loud.b, "true_ba")):
        gain = loud.targets[f"gain_{d}"]
        assert torch.equal(loud.targets[f"plain_{d}"], getattr(plain, d))
        torch.testing.assert_close(crop, relevel(getattr(plain, d), gain))
        torch.testing.assert_close(loud.targets[name], relevel(plain.targets[name], gain))


def test_pairs_stay_pairs_when_they_are_transposed(pairs):
    with Feed(recipe(pairs, transpose=3), ImageCache(pairs), CPU, pairs=PairedCache(pairs)) as feed:
        crops, found = feed.take(1), both(feed.pairs, 1)
    assert torch.equal(crops.a, crops.b)
    assert crops.a.shape == found["a"].shape


def test_some_of_the_steps_are_of_pairs(pairs):
    with Feed(recipe(pairs, share=0.35), ImageCache(pairs), CPU, pairs=PairedCache(pairs)) as feed:
        count = sum("true_ab" in feed._draw(step).targets for step in range(200))
    assert 50 < count < 90


def test_gains_lie_in_their_range_and_most_near_the_upper_end():
    gains = gains_db(4000, recipe("any", gains=GAINS), 0, "a", 1)
    assert gains.shape == (4000, 1, 1, 1)
    assert GAINS[0] <= gains.min() < -25
    assert 2.9 < gains.max() <= GAINS[1]
    assert float(gains.mean()) == pytest.approx(3 - 33 / 3, abs=0.6)
    assert float(gains.median()) == pytest.approx(3 - 33 / 4, abs=0.9)


@pytest.mark.parametrize("db", [-20.0, 6.0])
def test_a_louder_image_is_that_of_the_louder_sound(db):
    imaging = AudioImaging(tiny_recipe().imaging)
    noise = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32)
    wave = torch.from_numpy(0.01 * noise * np.linspace(0, 1, RATE, dtype=np.float32))
    image, _ = imaging.to_image(wave, -40.0)
    wanted, _ = imaging.to_image(wave * 10 ** (db / 20), -40.0)
    torch.testing.assert_close(relevel(image, torch.tensor(db)), wanted, atol=2e-3, rtol=0)


def test_the_teacher_sees_the_crops_as_they_were_and_is_asked_for_as_much_louder(pairs):
    asked = recipe_to_dict(recipe(pairs, gains=GAINS)) | {"teacher": "someone"}
    asked["losses"] = {"generator": {"imitation": 1.0, "vae_reconstruction": 1.0}}
    shown = []

    def teach(images, domain):
        shown.append((domain, images))
        return images

    trainer = Trainer(recipe_from_dict(asked), 1, CPU, teach)
    a = image((2, 1, 32, CROP), 0)
    gain = torch.tensor([-20.0, 0.0]).reshape(2, 1, 1, 1)
    targets = {"plain_a": a, "plain_b": a, "gain_a": gain, "gain_b": gain}
    t = trainer._with_targets(trainer.model(relevel(a, gain), a), targets)
    assert [domain for domain, _ in shown] == ["a", "b"]
    assert torch.equal(shown[0][1], a)
    torch.testing.assert_close(t.wanted_ab, relevel(a, gain))


def test_the_term_is_reported_in_steps_of_pairs_alone(pairs):
    trainer, a = Trainer(recipe(pairs), 1, CPU), image((2, 1, 32, CROP), 0)
    assert "generator/paired" not in trainer.train_step(a, a)
    assert trainer.train_step(a, a, targets={"true_ab": a, "true_ba": a})["generator/paired"] > 0


def test_each_turn_of_the_discriminators_has_real_crops_of_its_own(pairs):
    asked = recipe(pairs, share=0, weight=0, discriminator_batch=3, discriminator_steps=2)
    with Feed(asked, ImageCache(pairs), CPU) as feed:
        crops = feed.take(0)
    assert len(crops.more["a"]) == 2 * 3 - 2
    trainer, turns = Trainer(asked, 1, CPU), []
    step = trainer.discriminators.forward

    def noted(t, **options):
        if options["training"]:
            turns.append(options["shown"])
        return step(t, **options)

    trainer.discriminators.forward = noted
    trainer.train_step(crops.a, crops.b, crops.more)
    for d, own in (("a", crops.a), ("b", crops.b)):
        assert torch.equal(torch.cat([turn[d] for turn in turns]), torch.cat([own, crops.more[d]]))
    assert [len(turn["a"]) for turn in turns] == [3, 3]
    assert len(turns[1]["ab"]) == 3  # a past translation beside the step's own


def conditional(pairs, **parts):
    """Return the recipe with discriminators that see the source; they learn in steps of pairs alone."""
    values = recipe_to_dict(recipe(pairs, **parts))
    return recipe_from_dict(values | {"model": values["model"] | {"conditional_discriminator": True, "residual": 0.0}})


def test_a_conditional_discriminator_sees_the_source_beside_translation_and_truth(pairs):
    trainer, asked = Trainer(conditional(pairs, batch_size=2), 1, CPU), []
    trainer.discriminators.image.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    a, b, true_ab, true_ba = (image((2, 1, 32, CROP), seed) for seed in range(4))
    found = trainer.train_step(a, b, targets={"true_ab": true_ab, "true_ba": true_ba})
    assert {"generator/gan", "discriminator/image", "health/d_real_a"} <= set(found)
    of_generator, of_discriminators = asked
    for made, source in (("b", a), ("a", b)):
        assert of_generator[made].shape == (2, 2, 32, CROP)
        assert torch.equal(of_generator[made][:, 1:], source)
    for side, truth, source in (("b", true_ab, a), ("a", true_ba, b)):
        seen = of_discriminators[side]
        assert torch.equal(seen, torch.cat([torch.cat([truth, source], 1), of_generator[side]]))


def matching(pairs, **losses):
    """Return the conditional recipe whose generator asks D for its layers alone."""
    generator = {"feature_matching": 1.0, "vae_reconstruction": 1.0} | losses
    return recipe_from_dict(recipe_to_dict(conditional(pairs)) | {"losses": {"generator": generator}})


def test_features_are_matched_of_what_d_is_shown_of_translation_and_truth(pairs):
    trainer, asked = Trainer(matching(pairs), 1, CPU), []
    trainer.discriminators.image.register_forward_hook(lambda _, given, gave: asked.append((given[0], gave[1])))
    a, b, true_ab, true_ba = (image((2, 1, 32, CROP), seed) for seed in range(4))
    before = [p.clone() for p in trainer.discriminators.image.parameters()]
    found = trainer.train_step(a, b, targets={"true_ab": true_ab, "true_ba": true_ba})
    (_, made), (truth, true), _ = asked  # the last is D's own step
    for side, other, source in (("b", true_ab, a), ("a", true_ba, b)):
        assert torch.equal(truth[side], torch.cat([other, source], 1))
    apart = [
        float(((x.detach() - y).abs().mean((1, 2, 3)) / (y.abs().mean((1, 2, 3)) + 1e-3)).mean())
        for side in "ab"
        for x, y in zip(made[side], true[side], strict=True)
    ]
    assert float(found["generator/feature_matching"]) == pytest.approx(2 * sum(apart) / len(apart), rel=1e-4)
    assert not all(torch.equal(*both) for both in zip(before, trainer.discriminators.image.parameters(), strict=True))
    assert not {"generator/feature_matching", "generator/gan"} & set(trainer.train_step(a, b))  # no pairs


def test_features_ask_for_the_truth(pairs):
    trainer = Trainer(matching(pairs, vae_reconstruction=0.0), 1, CPU)
    a, b = image((1, 1, 32, CROP), 0), image((1, 1, 32, CROP), 1)
    targets, of_d = {"true_ab": b, "true_ba": a}, trainer.discriminators_adam
    of_d.param_groups[0]["lr"] = 0.0
    trainer._set_learning_rates = lambda: None
    trainer.model_adam.param_groups[0]["lr"] = 2e-3
    found = [float(trainer.train_step(a, b, targets=targets)["generator/feature_matching"]) for _ in range(30)]
    assert min(found[-5:]) < 0.8 * found[0]


def test_layers_are_those_of_a_conditional_discriminator(pairs):
    with pytest.raises(UsageError, match=r"feature_matching compares pairs.*model\.conditional_discriminator to true"):
        recipe_from_dict(recipe_to_dict(recipe(pairs)) | {"losses": {"generator": {"feature_matching": 1}}})


@pytest.mark.parametrize("latent", [0.0, 1.0])
def test_it_says_and_learns_nothing_of_crops_that_are_no_pairs(pairs, latent):
    values = recipe_to_dict(conditional(pairs))
    losses = {"generator": {"gan": 1, "vae_reconstruction": 1, "vae_kl": latent}, "discriminator": {"image": 1}}
    losses["discriminator"] |= {"latent": latent} if latent else {}
    trainer = Trainer(recipe_from_dict(values | {"losses": losses}), 1, CPU)
    before = [p.clone() for p in trainer.discriminators.image.parameters()]
    found = trainer.train_step(image((1, 1, 32, CROP), 0), image((1, 1, 32, CROP), 1))
    assert not {"generator/gan", "discriminator/image"} & set(found)
    assert ("discriminator/latent" in found) == bool(latent)
    assert all(torch.equal(*both) for both in zip(before, trainer.discriminators.image.parameters(), strict=True))
    a = image((1, 1, 32, CROP), 0)
    trainer.train_step(a, a, targets={"true_ab": a, "true_ba": a})
    assert not all(torch.equal(*both) for both in zip(before, trainer.discriminators.image.parameters(), strict=True))


def test_the_truth_it_sees_is_as_noisy_as_the_translation(pairs):
    trainer, asked = Trainer(conditional(pairs, dither=0.05), 1, CPU), []
    trainer.discriminators.image.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    flat = torch.zeros((1, 1, 32, CROP))
    trainer.train_step(flat, flat, targets={"true_ab": flat, "true_ba": flat})
    assert float((asked[1]["b"][0, 0]).std()) == pytest.approx(0.05, rel=0.2)


def test_its_truth_has_all_of_the_noise_where_translations_bring_some_of_their_own(pairs):
    values = recipe_to_dict(conditional(pairs, dither=0.05))
    trainer = Trainer(recipe_from_dict(values | {"model": values["model"] | {"residual": 1.0}}), 1, CPU)
    flat = torch.zeros((1, 1, 32, CROP))
    t = trainer._with_targets(trainer.model(flat, flat), {"true_ab": flat, "true_ba": flat})
    shown = trainer._dithered(t, [0])
    torch.testing.assert_close(shown["ab"], t.ab.clamp(-1, 1))
    assert float(shown["b"].std()) == pytest.approx(0.05, rel=0.2)


def test_a_conditional_discriminator_needs_pairs_and_sees_each_once(pairs):
    with pytest.raises(UsageError, match=r"conditional_discriminator learns from pairs: name a cache.*--paired"):
        conditional("", weight=0)
    with pytest.raises(UsageError, match=r"discriminator_batch 3: a conditional discriminator sees.*set it to 1"):
        conditional(pairs, discriminator_batch=3)
    with pytest.raises(UsageError, match=r"discriminator_steps 2: a conditional discriminator sees.*set it to 1"):
        conditional(pairs, discriminator_steps=2)
    values = recipe_to_dict(conditional(pairs))
    values |= {"losses": {"generator": {"vae_kl": 1}}, "train": values["train"] | {"discriminator_batch": 3}}
    with pytest.raises(UsageError, match="discriminator_batch 3: a conditional"):  # D learns beside T, too
        recipe_from_dict(values)


@pytest.mark.parametrize(
    ("losses", "share", "message"),
    [
        (
            {"gan": 1, "paired": 8},
            0.9,
            r"in steps without pairs, where gan and paired say nothing: .*pairs_share to 1,",
        ),
        ({"feature_matching": 1}, 0.5, r"in steps without pairs, where feature_matching say"),
        ({"imitation": 1}, 0.5, r"in steps of pairs, where imitation say nothing: set train\.pairs_share to 0, or add"),
    ],
)
def test_a_run_has_a_loss_for_every_step(pairs, losses, share, message, tmp_path):
    values = recipe_to_dict(conditional(pairs, share=0.5)) | {"teacher": "someone"}

    def asked(share, **more):
        losses_of = {"generator": losses | more, "discriminator": {"image": 1, "latent": 0}}
        return recipe_from_dict(values | {"losses": losses_of, "train": values["train"] | {"pairs_share": share}})

    with pytest.raises(UsageError, match=message):
        train(asked(share), pairs, tmp_path / "run", teach=lambda images, domain: images)
    assert not (tmp_path / "run").exists()
    check_trains(asked(share, vae_reconstruction=1))
    if "imitation" not in losses:
        check_trains(asked(1.0))


def test_of_pairs_the_teacher_is_not_asked(pairs):
    asked = recipe_to_dict(recipe(pairs)) | {"teacher": "someone"}
    asked["losses"] = {"generator": {"imitation": 1.0, "paired": 1.0}}
    shown = []
    trainer = Trainer(recipe_from_dict(asked), 1, CPU, lambda images, domain: shown.append(domain) or images)
    a = image((2, 1, 32, CROP), 0)
    assert "generator/imitation" not in trainer.train_step(a, a, targets={"true_ab": a, "true_ba": a})
    assert shown == []


def test_a_run_of_it_in_pieces_ends_alike(pairs, tmp_path):
    cache = fake_cache(tmp_path / "cache", tiny_recipe())
    asked = conditional(pairs, share=0.5, gains=GAINS, equalise_db=6, dither=0.01, seed=4)
    generator = {"gan": 1.0, "feature_matching": 1.0, "vae_reconstruction": 1.0, "paired": 1.0}
    asked = recipe_from_dict(recipe_to_dict(asked) | {"losses": {"generator": generator}})
    assert_same(*whole_and_in_pieces(asked, cache, tmp_path))


def whole_and_in_pieces(asked, cache, folder):
    """Return the last states of a run, and of one that was stopped after two steps and went on."""
    whole = train(asked, cache, folder / "whole", progress=False)

    class Stop(Exception):
        pass

    def stop(model, step, folder):
        if step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(asked, cache, folder / "pieces", progress=False, on_sample=stop)
    resumed = train(asked, cache, folder / "pieces", progress=False, resume=True)
    return load_checkpoint(whole)[0], load_checkpoint(resumed)[0]


def test_two_steps_and_two_more_are_four(pairs, tmp_path):
    cache = fake_cache(tmp_path / "cache", tiny_recipe())
    asked = recipe(
        pairs,
        gains=GAINS,
        share=0.5,
        discriminator_batch=3,
        discriminator_steps=2,
        equalise_db=6,
        dither=0.01,
        seed=4,
    )
    assert_same(*whole_and_in_pieces(asked, cache, tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    paired = ["generator/paired" in line for line in lines if "generator/gan" in line]
    assert set(paired[:2]) == set(paired[2:]) == {True, False}


def test_a_recipe_names_what_is_missing(pairs, tmp_path):
    with pytest.raises(UsageError, match=r"paired needs pairs.*prep --paired.*or leave the loss out"):
        recipe("")
    with pytest.raises(UsageError, match="pairs_share above 0"):
        recipe("somewhere", share=0)
    with pytest.raises(UsageError, match=r"3 to -30 dB: the lower one comes first"):
        recipe("somewhere", gains=(3, -30))
    photos = {"imaging": {"type": "photo"}, "losses": {"generator": {"gan": 1}}}
    with pytest.raises(UsageError, match="pairs is for sounds, not photos: set it to ''"):
        recipe_from_dict(photos | {"pairs": "somewhere"})
    with pytest.raises(UsageError, match="gain_range_db is for sounds, not photos: set it to null"):
        recipe_from_dict(photos | {"train": {"gain_range_db": GAINS}})
    plain = fake_cache(tmp_path / "cache", tiny_recipe())
    with pytest.raises(AudiotransError, match=r"holds no pairs; make it with: audiotrans prep PAIRS --paired"):
        train(recipe(plain), plain, tmp_path / "run", progress=False)
    with pytest.raises(AudiotransError, match=r"nowhere holds no prepared data; .*prep PAIRS --paired -o \S*nowhere$"):
        PairedCache(tmp_path / "nowhere")


# prep --paired ------------------------------------------------------------------------------------------------------


def note(path, seconds=0.5, *, hz=440.0, loud=0.3, fall=1.0):
    """Write a tone that dies away."""
    time = np.arange(round(seconds * RATE)) / RATE
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, loud * np.sin(2 * np.pi * hz * time) * np.exp(-fall * time), RATE)


@pytest.fixture
def source(tmp_path):
    for index in range(4):
        note(tmp_path / f"source/violin/tune{index}x.wav", 1 + index / 4, hz=440 + 20 * index, fall=0)
        note(tmp_path / f"source/piano/tune{index}x.flac", 1.1 + index / 4, hz=440 + 20 * index, loud=0.1, fall=9)
    return tmp_path / "source"


def prep(source, output, **options):
    asked = tiny_recipe()
    chosen = {"settings": asked.imaging, "crop_frames": CROP, "workers": 1, "progress": False, "paired": True}
    return prepare_sounds(source, output, **chosen | options)


def test_twins_are_prepared_as_pairs(source, tmp_path, monkeypatch):
    monkeypatch.setattr(sound_images, "PART_SECONDS", 0.6)  # so that the sides are cut in unlike places
    out = tmp_path / "pairs"
    prep(source, out)
    data = PairedCache(out)
    stems = [{d: item["source"].rsplit("/")[-1].split(".")[0] for d, item in pair.items()} for pair in data.pairs]
    assert stems
    assert all(pair["a"] == pair["b"] for pair in stems)
    assert {item["split"] for item in data.manifest["items"]} == {"train", "valid"}
    # The level is that of the sound around each column: the violin's stays, the piano's falls with the note.
    found = data.sample_pairs(0, 8, CROP, 0)
    imaging = AudioImaging(tiny_recipe().imaging)
    for item in data.pairs[0].values():
        wave = torch.from_numpy(soundfile.read(item["source"], dtype="float32")[0])[None]
        meter = imaging.level_meter()
        meter.update(wave)
        wanted = torch.from_numpy(meter.levels_db() - meter.level_db()).float()
        level = data._level(item, 0, item["frames"])[0, 0]
        assert len(level) == len(wanted)
        torch.testing.assert_close(level, wanted.clamp(-50, 50), atol=0.21, rtol=0)
        whole, _ = imaging.to_image(wave)
        torch.testing.assert_close(data.read(item), whole[0], atol=1 / 255 + 1e-3, rtol=0)
    assert found["level_a"].std() < 1
    again = prep(source, out)
    assert (again.built, again.reused) == (0, 8)


def test_what_is_asked_for_is_the_other_sound_s_image_at_this_one_s_level(source, tmp_path):
    prep(source, tmp_path / "pairs")
    data, imaging = PairedCache(tmp_path / "pairs"), AudioImaging(tiny_recipe().imaging)
    pair, waves, meters, levels = data.pairs[0], {}, {}, {}
    frames = pair["a"]["frames"]
    for d, item in pair.items():
        waves[d] = torch.from_numpy(soundfile.read(item["source"], dtype="float32")[0])[None]
        meters[d] = imaging.level_meter()
        meters[d].update(waves[d])
        levels[d] = data._level(item, 0, frames)
    # How loud the two files are as a whole does not matter.
    level = np.resize(meters["a"].levels_db(), imaging.stft.frames(waves["b"].shape[1]))
    wanted, _ = imaging.to_image(waves["b"], level + meters["b"].level_db() - meters["a"].level_db())
    wanted, image = wanted[0, ..., :frames], data.read(pair["b"], 0, frames)
    found = relevel(image, levels["b"] - levels["a"])
    assert (found - wanted).abs().mean() < 0.1 * (image - wanted).abs().mean()


def test_what_a_conversion_made_of_a_sound_is_its_twin(source, tmp_path):
    for name, side in (("violin", "violin"), ("piano", "piano")):
        for index, path in enumerate(sorted((source / side).iterdir())):
            made = f".{name}" if index % 2 == (name == "piano") else ""  # as `convert` names its outputs
            path.rename(path.with_name(f"take_{index}{made}{path.suffix}"))
    prep(source, tmp_path / "pairs")
    data = PairedCache(tmp_path / "pairs")
    items = data.manifest["items"]
    assert {item["recording"] for item in items} == {"take"}  # one recording never parts
    stems = [{d: item["source"].rsplit("/")[-1].split(".")[0] for d, item in pair.items()} for pair in data.pairs]
    assert stems == [{"a": f"take_{index}", "b": f"take_{index}"} for index in range(4)]


def test_pairs_are_refused_that_are_none(source, tmp_path):
    def refused(kind, text):
        with pytest.raises(kind, match=text):
            prep(source, tmp_path / "out")

    note(source / "piano/more.wav")
    refused(UsageError, r"^more of piano has no twin in violin: .*add it, remove this one, or leave --paired out$")
    note(source / "violin/more.wav", 1.2)
    refused(AudiotransError, r"more.wav lasts 1.20 s, its twin .*more.wav 0.50 s: .*0.5 s at most; cut them alike")
    note(source / "violin/more.wav", loud=0)
    refused(AudiotransError, r"violin/more.wav: silent: .*; mend it, or remove it and its twin$")


@pytest.mark.parametrize("pattern", ["tune2*", "*2x.flac"])
def test_a_weight_of_either_name_makes_a_pair_so_many_times_as_likely(source, tmp_path, pattern):
    for split in ("train", "valid"):  # so that it is known which pairs there are
        for side in ("violin", "piano"):
            (source / split / side).mkdir(parents=True)
    for path in [*source.glob("violin/*"), *source.glob("piano/*")]:
        path.rename(source / ("valid" if "tune0" in path.name else "train") / path.parent.name / path.name)
    for side in ("violin", "piano"):
        (source / side).rmdir()
    prep(source, tmp_path / "pairs", weights=[(pattern, 5.0), ("tune2*", 0.1)])
    data = PairedCache(tmp_path / "pairs")
    assert [{d: item.get("weight", 1) for d, item in pair.items()} for pair in data.pairs] == [
        {"a": weight, "b": weight} for weight in (1, 5, 1)
    ]
    starts, sums = data._starts(CROP)
    weights = torch.diff(sums, prepend=torch.zeros(1, dtype=sums.dtype))
    torch.testing.assert_close(weights, torch.tensor(starts) * torch.tensor([1.0, 5.0, 1.0], dtype=torch.float64))


def test_the_command_prepares_pairs_and_weighs_files(source, tmp_path):
    recipe_path, out = tmp_path / "r.yaml", tmp_path / "out"
    imaging = {"sample_rate": RATE, "n_fft": 256, "hop_length": 64, "rows": 32}
    recipe_path.write_text(json.dumps({"imaging": imaging, "train": {"crop_frames": CROP}}))
    assert load_recipe(recipe_path).train.crop_frames == CROP

    def call(*options):
        command = ["prep", str(source), "-o", str(out), "--recipe", str(recipe_path), "-q", *options]
        return CliRunner().invoke(main, command)

    assert call("--paired").exit_code == 0
    assert len(PairedCache(out).pairs) in (2, 3)
    assert call("--weight", "tune1*=3").exit_code == 0
    data = ImageCache(out)
    weights = {"tune1" in i["source"]: i.get("weight", 1) for i in data.manifest["items"]}
    assert weights == {True: 3, False: 1}
    for wrong in ("tune1*", "tune1*=often", "=5", "5"):
        result = call("--weight", wrong)
        assert (result.exit_code, "write NAME*=NUMBER" in result.output) == (2, True)
    with pytest.raises(UsageError, match=r"weight of tune1: no file has such a name; \* stands for any letters"):
        prep(source, out, weights=[("tune1", 5.0)])
    with pytest.raises(UsageError, match=r"weight 1e\+300 of t\*: above 0 and below 1e\+30"):
        prep(source, out, weights=[("t*", 1e300)])
    with pytest.raises(UsageError, match=r"weight 0 of x\*: above 0"):
        prep(source, out, weights=[("x*", 0.0)])


def test_a_weight_makes_a_file_so_many_times_as_likely(tmp_path):
    root = fake_cache(tmp_path / "cache", tiny_recipe())
    content = json.loads((root / "manifest.json").read_text())
    next(i for i in content["items"] if (i["domain"], i["split"]) == ("a", "train"))["weight"] = 3.0
    (root / "manifest.json").write_text(json.dumps(content))
    places, sums = ImageCache(root)._places("train", CROP, False)["a"]
    weights = torch.diff(sums, prepend=torch.zeros(1, dtype=sums.dtype))
    share = sum(float(w) for (item, _), w in zip(places, weights, strict=True) if item.get("weight")) / weights.sum()
    assert float(share) == pytest.approx(0.75)
