"""The adversarial KL on problems with known answers; `benchmarks.avb_toys` says what each of them is."""

from __future__ import annotations

import math

import pytest

from benchmarks import avb_toys as toys
from benchmarks.contrast_toys import found_by

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("mode", "steps"), [("linear", 1300), ("softplus", 1500), ("paper", 1000)])
def test_a_gaussian_posterior_is_drawn_to_the_prior(mode, steps):
    mean, spread, loss = toys.gaussian_posterior(mode, steps)
    assert abs(mean) < 0.1
    assert 0.9 < spread < 1.1
    assert loss == pytest.approx(2 * math.log(2), abs=0.02)  # T cannot tell the two apart any more


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 1.0), (1.5, 0.7)])
def test_a_known_kl_is_recovered_within_a_tenth(mean, spread):
    assert toys.recovered_kl(mean, spread, steps=700) == pytest.approx(toys.gaussian_kl(mean, spread), rel=0.1)


@pytest.mark.parametrize("mode", toys.ADVERSARIAL)
@pytest.mark.parametrize(("mean", "spread"), [(2.0, 0.5), (-0.5, 1.5), (0.3, 0.2)])
def test_one_step_with_the_best_t_moves_the_posterior_towards_the_prior(mode, mean, spread):
    assert toys.step_with_optimal_contrast(mode, mean, spread) < 0


def test_two_modes_that_no_gaussian_can_hold():
    found, gaussian = toys.folded_posterior(steps=1500), toys.folded_gaussian(steps=400)
    assert 0.4 < found.left < 0.6  # both modes, evenly: the problem is symmetric
    # What a Gaussian loses by leaving one mode out is log 2; the encoder that takes noise in recovers most of it.
    assert gaussian.elbo == pytest.approx(found.evidence - math.log(2), abs=0.05)
    assert found.elbo > gaussian.elbo + 0.8 * math.log(2)
    assert found.elbo < found.evidence + 0.01  # the histogram's error


def test_four_points_share_the_prior_out_where_gaussians_leave_gaps():
    found, gaussian = toys.four_points("linear", steps=1000), toys.four_points(None, steps=1000)
    for result in (found, gaussian):
        assert result.nll < 0.1  # both tell the points apart
    assert found.elbo > gaussian.elbo + 0.2
    assert found.elbo == pytest.approx(-toys.LOG_4, abs=0.12)  # the bound; 1,000 steps do not quite reach it
    assert found.mixture < gaussian.mixture / 3


def test_the_quadrature_agrees_with_a_closed_form():
    # Far from the fold one of the two values of z explains x alone: x ~ N(0, 1 + noise^2) for either sign.
    variance = 1 + toys.FOLD_NOISE**2
    alone = -0.5 * 9 / variance - 0.5 * math.log(2 * math.pi * variance)
    assert toys.folded_evidence(3.0) == pytest.approx(alone + math.log(2), abs=1e-3)


def test_alone_t_loses_sight_of_a_kl_in_many_dimensions_and_the_adaptive_contrast_does_not():
    plain, adaptive = (found_by(16, 0.05, adaptive=flag, steps=600) for flag in (False, True))
    assert plain.exact == pytest.approx(2.997, abs=1e-3)
    assert plain.accuracy > 0.99  # T makes no mistakes,
    assert plain.estimate < 0.4 * plain.exact  # and so learns no more
    assert adaptive.estimate == pytest.approx(adaptive.exact, rel=0.1)
    assert adaptive.accuracy < 0.7  # it is still in doubt
