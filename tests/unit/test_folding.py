"""Convolutions before the enlargement: the same as after it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d, interpolate

from audiotrans.model.nets import EnlargedConv, UnfoldedConv, unfold
from tests.fakes import image

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))
FACTORS = st.tuples(st.integers(1, 5), st.integers(1, 4))
KERNELS = st.sampled_from([1, 3, 5, 7])


@given(SIZES, FACTORS, KERNELS)
def test_an_enlarged_convolution_is_that_of_the_enlarged_image(size, factors, kernel):
    layer, x = EnlargedConv(3, 2, kernel, factors), image((2, 3, *size), 0)
    large = interpolate(x, scale_factor=[float(factor) for factor in factors])
    wanted = conv2d(large, layer.weight, layer.bias, padding=kernel // 2)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


@given(SIZES, FACTORS, KERNELS)
def test_an_unfolded_convolution_is_that_of_the_unfolded_image(size, factors, kernel):
    rows, frames = factors
    layer, x = UnfoldedConv(3, 2, kernel, factors), image((2, 3 * rows * frames, *size), 0)
    wanted = conv2d(unfold(x, factors), layer.weight, layer.bias, padding=kernel // 2)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [EnlargedConv, UnfoldedConv])
def test_gradients_and_parameters_are_those_of_a_plain_layer(kind):
    factors = (4, 2)
    layer, plain = kind(3, 2, 5, factors).double(), nn.Conv2d(3, 2, 5, padding=2).double()
    assert layer.load_state_dict(plain.state_dict())  # the same names and shapes, and no others
    inputs = 3 * 8 if kind is UnfoldedConv else 3
    x = image((1, inputs, 3, 4), 1).double()
    large = unfold(x, factors) if kind is UnfoldedConv else interpolate(x, scale_factor=[4.0, 2.0])
    for one, seen in ((layer, x), (plain, large)):
        one(seen).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad)


def test_unfolding_puts_row_factors_on_rows_and_frame_factors_on_frames():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert unfold(x, (3, 2))[0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_unfolding_with_equal_factors_orders_places_in_the_same_way():
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert unfold(x, (2, 2))[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
