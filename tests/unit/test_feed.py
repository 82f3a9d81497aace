"""Crops that are drawn ahead in a thread are the crops that would have been drawn."""

from __future__ import annotations

import threading

import pytest
import torch

from audiotrans.convert.effects import without_rumble
from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import AudioImaging
from audiotrans.training import data as feed
from audiotrans.training.data import Feed, ImageCache, Share
from tests.fakes import fake_cache, tiny_recipe

CPU = torch.device("cpu")
RECIPE = tiny_recipe(train={"discriminator_batch": 5, "match_range": True, "equalise_db": 6, "steps": 6})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fake_cache(tmp_path_factory.mktemp("feed") / "cache", RECIPE)


def feeding(loaders, recipe=RECIPE, prefetch=2):
    return recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"loaders": loaders, "prefetch": prefetch})}
    )


def taken(root, loaders, steps):
    with Feed(feeding(loaders), ImageCache(root), CPU) as found:
        return [found.take(step) for step in steps]


# In order, as training takes them; and out of order, which must not matter either.
@pytest.mark.parametrize("steps", [range(6), [3, 4, 1, 5, 5]], ids=str)
@pytest.mark.parametrize("loaders", [1, 3])
def test_crops_drawn_ahead_are_the_same(root, steps, loaders):
    for one, other in zip(taken(root, loaders, steps), taken(root, None, steps), strict=True):
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.b, other.b)
        assert one.more.keys() == other.more.keys() == {"a", "b"}
        assert all(torch.equal(one.more[domain], other.more[domain]) for domain in "ab")
        assert one.seen.keys() == other.seen.keys() == {"a", "b"}
        assert all(torch.equal(one.seen[domain], other.seen[domain]) for domain in "ab")
        assert (len(one.a), len(one.more["a"]), len(one.seen["a"])) == (2, 3, 2)
        assert one.a.is_contiguous(memory_format=torch.channels_last)


def test_the_next_step_is_drawn_while_this_one_is_used(root, monkeypatch):
    drawn, next_came = [], threading.Event()
    batch = feed.real_crops

    def noted(recipe, data, domain, step, *rest):
        drawn.append((step, threading.current_thread().name.startswith("crops")))
        if step == 1:
            next_came.set()
        return batch(recipe, data, domain, step, *rest)

    monkeypatch.setattr(feed, "real_crops", noted)
    with Feed(feeding(1), ImageCache(root), CPU) as found:
        found.take(0)
        assert next_came.wait(10)  # without being asked for
        found.take(1)
    assert {(step, ahead) for step, ahead in drawn if step < 2} == {(0, False), (1, True)}


def test_as_many_steps_are_drawn_ahead_as_prefetch_says(root):
    with Feed(feeding(2, prefetch=3), ImageCache(root), CPU) as found:
        found.take(0)
        assert list(found._ahead) == [1, 2, 3]
        found.take(1)
        assert list(found._ahead) == [2, 3, 4]
        found.take(4)
        assert list(found._ahead) == [5]


def test_nothing_is_drawn_beyond_the_last_step_or_on_a_cpu(root):
    with Feed(feeding(1), ImageCache(root), CPU) as found:
        found.take(5)
        assert not found._ahead
    with Feed(RECIPE, ImageCache(root), CPU) as found:
        found.take(0)
        assert not found._ahead


def test_a_fault_in_the_thread_arrives(root, tmp_path):
    cache = fake_cache(tmp_path / "cache", RECIPE)
    with Feed(feeding(1, prefetch=1), ImageCache(cache), CPU) as found:
        found.take(0)
        found.take(1)
        found._ahead[2].exception()  # drawn before or after
        for path in (cache / "images").iterdir():
            path.unlink()
        found.data.images._kept.clear()
        found._ahead[2] = found._threads.submit(found._draw, 2)
        with pytest.raises(AudiotransError, match=r"cannot read .*run audiotrans prep again"):
            found.take(2)


def test_encoders_see_what_they_see_in_a_conversion_and_colours_where_they_are_asked_for(root):
    recipe = tiny_recipe(train={"equalise_db": 0})
    rumble = AudioImaging(recipe.imaging).rumble_rows
    assert rumble > 0
    with Feed(recipe, ImageCache(root), CPU) as plain, Feed(RECIPE, ImageCache(root), CPU) as coloured:
        crops = plain.take(0)
        assert (crops.a[..., :rumble, :] > -1).any()
        assert torch.equal(crops.seen["a"], without_rumble(crops.a, AudioImaging(recipe.imaging)))
        found = coloured.take(0)
        assert torch.equal(found.a, crops.a)  # what is asked for stays
        changed = (found.seen["a"] - found.a).abs()[..., rumble:, :]
        assert 0 < changed.max() <= 6 / 50 + 1e-5
        assert (found.seen["a"][..., :rumble, :] == -1).all()


@pytest.mark.parametrize("of", [2, 4])
def test_processes_draw_together_what_one_draws(root, of):
    settings = {"discriminator_steps": 2, "discriminator_batch": 12, "equalise_db": 10}
    whole = tiny_recipe(train=settings | {"batch_size": 4})
    part = tiny_recipe(train=settings | {"batch_size": 4 // of, "discriminator_batch": 12 // of})
    data = ImageCache(root)
    one = Feed(whole, data, CPU).take(3)
    parts = [Feed(part, data, CPU, share=Share(rank, of)).take(3) for rank in range(of)]
    for name in ("a", "b"):
        assert torch.equal(getattr(one, name), torch.cat([getattr(each, name) for each in parts]))
        assert torch.equal(one.seen[name], torch.cat([each.seen[name] for each in parts]))
        first = 8 // of  # of D's first turn, beside a process's own images
        turns = [torch.cat([x.more[name][turn] for x in parts]) for turn in (slice(first), slice(first, None))]
        assert torch.equal(one.more[name], torch.cat(turns))
    accumulated = tiny_recipe(train=settings | {"batch_size": 2, "accumulate": 2, "discriminator_batch": 6})
    assert torch.equal(one.a, Feed(accumulated, data, CPU).take(3).a)
