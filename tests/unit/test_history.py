"""The memory of past translations: what stays, what is drawn, and what a checkpoint holds of it."""

from __future__ import annotations

import io

import torch

from audiotrans.training.history import HistoryBuffer
from tests.fakes import image


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(*numbers: int) -> torch.Tensor:
    """Images ``(n, 1, 2, 3)`` that hold their own number over 64, which float16 keeps exactly."""
    return torch.stack([torch.full((1, 2, 3), number / 64) for number in numbers])


def numbers(images: list[torch.Tensor]) -> list[int]:
    return [round(float(x.mean()) * 64) for x in images]


def test_an_empty_pool_gives_nothing():
    pool = HistoryBuffer(4)
    assert pool.draw("ab", 3, seeded()) == []
    pool.keep("ba", numbered(1))
    assert pool.draw("ab", 3, seeded()) == []  # directions are kept apart
    assert pool.draw("ba", 0, seeded()) == []


def test_draws_are_different_images_and_fewer_while_few_are_kept():
    pool = HistoryBuffer(8)
    pool.keep("ab", numbered(1, 2))
    pool.keep("ab", numbered(3))
    assert sorted(numbers(pool.draw("ab", 9, seeded()))) == [1, 2, 3]
    drawn = pool.draw("ab", 2, seeded(1))
    assert len(set(numbers(drawn))) == 2
    assert all((x.shape, x.dtype) == ((1, 1, 2, 3), torch.float32) for x in drawn)
    assert {n for seed in range(20) for n in numbers(pool.draw("ab", 1, seeded(seed)))} == {1, 2, 3}


def test_draws_depend_on_the_generator_alone():
    pool = HistoryBuffer(8)
    pool.keep("ab", numbered(*range(8)))
    before = torch.get_rng_state()
    one, again, other = (numbers(pool.draw("ab", 5, seeded(seed))) for seed in (0, 0, 1))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_oldest_leave():
    pool = HistoryBuffer(3)
    pool.keep("ab", numbered(1, 2))
    pool.keep("ab", numbered(3, 4))
    assert sorted(numbers(pool.draw("ab", 9, seeded()))) == [2, 3, 4]
    pool.keep("ab", numbered(5, 6, 7, 8))  # more than fit
    assert sorted(numbers(pool.draw("ab", 9, seeded()))) == [6, 7, 8]


def test_a_pool_of_size_zero_keeps_nothing():
    pool = HistoryBuffer(0)
    pool.keep("ab", numbered(1, 2))
    pool.keep("ab", numbered(3))
    assert pool.draw("ab", 1, seeded()) == []
    assert all(len(images) == 0 for images in pool.state_dict().values())


def test_images_are_kept_as_float16_without_history():
    pool, x = HistoryBuffer(2), image((1, 1, 4, 4), 0).requires_grad_()
    given = 0.5 * x
    pool.keep("ab", given)
    kept = pool.state_dict()["ab"]
    assert (kept.dtype, kept.device.type, kept.requires_grad) == (torch.float16, "cpu", False)
    (drawn,) = pool.draw("ab", 1, seeded())
    # Half a unit in the last of 11 bits: 2^-12 of a value below 1.
    torch.testing.assert_close(drawn, given.detach(), atol=2.0**-12, rtol=0)
    drawn.zero_()
    assert torch.equal(pool.draw("ab", 1, seeded())[0], kept.float())  # what was drawn is a copy


def test_a_pool_comes_back_from_a_file():
    pool, again = HistoryBuffer(3), HistoryBuffer(3)
    for number in range(5):
        pool.keep("ab", image((1, 1, 4, 4), number))
        pool.keep("ba", image((1, 1, 4, 4), 10 + number))
    file = io.BytesIO()
    torch.save(pool.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for kept in (pool, again):
        kept.keep("ab", image((1, 1, 4, 4), 20))
    assert pool.images.keys() == again.images.keys() == {"ab", "ba"}
    assert all(torch.equal(images, again.images[name]) for name, images in pool.images.items())
    for x, y in zip(pool.draw("ab", 2, seeded()), again.draw("ab", 2, seeded()), strict=True):
        assert torch.equal(x, y)


def test_a_state_does_not_follow_the_pool():
    pool = HistoryBuffer(3)
    pool.keep("ab", numbered(1))
    state = pool.state_dict()
    pool.keep("ab", numbered(2))
    assert len(state["ab"]) == 1
