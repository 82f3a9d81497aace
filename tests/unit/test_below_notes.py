"""The term against rumble: new energy under the source's lowest note, counted by hand."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from audiotrans.model.avb_gtn import DiscriminatorOutputs, LossSettings, Translation
from audiotrans.model.extra_losses import FIRST_NOTE_ROW, RUMBLE_MARGIN, below_notes

ROWS, FRAMES, NOTE = 24, 4, 10

UNDER = NOTE - 2
"""Rows under a note at `NOTE`; the two next to it belong to it."""


def note(row: int = NOTE, channels: int = 1) -> Tensor:
    """A sound with one partial, loudest possible, over the floor."""
    x = torch.full((1, channels, ROWS, FRAMES), -0.9)
    x[:, :, row] = 1.0
    return x


def term(source: Tensor, made: Tensor) -> float:
    """Take the term of one direction; in the other, nothing has changed."""
    return float(both(source, made, source, source))


def both(a: Tensor, ab: Tensor, b: Tensor, ba: Tensor) -> Tensor:
    given = {f.name: torch.zeros_like(a) for f in fields(Translation)} | {"a": a, "ab": ab, "b": b, "ba": ba}
    return below_notes(Translation(**given), DiscriminatorOutputs([], []), LossSettings())


def raised(source: Tensor, rows: slice, by: float) -> Tensor:
    made = source.clone()
    made[:, :, rows] += by
    return made


def wanted(rise: float, positions: int) -> float:
    """Mean excess over the positions that count; one more position guards the division."""
    return (rise - RUMBLE_MARGIN) * positions / (positions + 1)


@pytest.mark.parametrize("change", [-0.5, 0.0, 0.5 * RUMBLE_MARGIN, 0.99 * RUMBLE_MARGIN])
def test_what_does_not_rise_beyond_the_margin_is_free(change):
    x = note()
    assert term(x, x + change) == 0


@pytest.mark.parametrize("first", [UNDER, NOTE - 1, NOTE, NOTE + 1, ROWS - 1])
def test_what_rises_at_or_above_the_lowest_partial_is_free(first):
    x = note()
    assert term(x, raised(x, slice(first, None), 0.6)) == 0


@pytest.mark.parametrize("rise", [0.2, 0.6])
def test_a_uniform_rise_costs_what_exceeds_the_margin(rise):
    x = note()
    value = pytest.approx(wanted(rise, UNDER * FRAMES), rel=1e-5)  # float32
    assert term(x, raised(x, slice(UNDER), rise)) == value
    assert term(x, x + rise) == value  # the rows above add nothing and do not dilute
    assert term(x, raised(x, slice(UNDER - 1, UNDER), rise)) == pytest.approx(wanted(rise, UNDER * FRAMES) / UNDER)


def test_both_directions_count():
    x, low = note(), note(6)
    one, other = term(x, x + 0.6), term(low, low + 0.3)
    assert one > other > 0
    assert float(both(x, x + 0.6, low, low + 0.3)) == pytest.approx(one + other)


@pytest.mark.parametrize(
    "source",
    [
        note(0),
        note(FIRST_NOTE_ROW - 1),
        note(FIRST_NOTE_ROW),
        note(FIRST_NOTE_ROW + 2),
        torch.full((1, 1, 24, 4), -1.0),
    ],
    ids=["rumble", "rumble below the first note", "lowest note", "two rows higher", "silence"],
)
def test_the_rows_without_notes_count_whatever_sounds_there(source):
    value = wanted(0.6, FIRST_NOTE_ROW * FRAMES)
    assert term(source, raised(source, slice(FIRST_NOTE_ROW), 0.6)) == pytest.approx(value, rel=1e-5)
    assert term(source, raised(source, slice(FIRST_NOTE_ROW, None), 0.6)) == 0


def test_rumble_in_the_source_is_not_its_lowest_note():
    x = note()
    x[:, :, 1] = 1.0
    made = raised(x, slice(FIRST_NOTE_ROW, UNDER), 0.6)
    assert term(x, made) == pytest.approx(0.5 * (UNDER - 3) * FRAMES / (UNDER * FRAMES + 1), rel=1e-5)


def test_each_frame_has_its_own_lowest_note():
    x = note()
    x[..., 2:] = note(20)[..., 2:]
    made = raised(x, slice(UNDER, NOTE), 0.6)  # under the second note only
    positions = 2 * UNDER + 2 * 18
    assert term(x, made) == pytest.approx(0.5 * 2 * 2 / (positions + 1), rel=1e-5)


def test_a_faint_row_is_no_note():
    x = note()
    x[:, :, 5] = 0.45  # 27.5 dB below the loudest
    assert term(x, raised(x, slice(UNDER), 0.6)) == pytest.approx(wanted(0.6, UNDER * FRAMES), rel=1e-5)
    x[:, :, 5] = 0.55  # 22.5 dB
    assert term(x, raised(x, slice(UNDER), 0.6)) == pytest.approx(wanted(0.6, 3 * FRAMES), rel=1e-5)


def test_channels_share_their_lowest_note():
    x = note(channels=2)
    x[:, 0] = -0.9  # the note sounds on one side, 25 dB quieter in the mean: still the loudest row
    made = x.clone()
    made[:, 0, :UNDER] += 0.6
    positions = 2 * UNDER * FRAMES
    assert term(x, made) == pytest.approx(0.5 * positions / 2 / (positions + 1), rel=1e-5)


def test_images_of_a_batch_count_alike():
    low, high = note(6), note()
    made = torch.cat([low + 0.3, high])
    of_low = 0.2 * 4 * FRAMES / (4 * FRAMES + 1)
    assert term(torch.cat([low, high]), made) == pytest.approx((of_low + 0) / 2, rel=1e-5)


def test_the_gradient_is_there_only_where_it_rises_and_points_downhill():
    x = note()
    noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    made = (x + noise).requires_grad_()
    loss = both(x, made, x, x)
    loss.backward()
    rises = (noise > RUMBLE_MARGIN) & (torch.arange(ROWS)[:, None] < UNDER)
    assert rises.any()
    assert torch.equal(made.grad != 0, rises)
    assert (made.grad >= 0).all()
    assert float(both(x, made.detach() - made.grad, x, x)) < float(loss.detach())
