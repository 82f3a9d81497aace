"""Every term of the objective: its value by hand, what it reads, and which way it pulls."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from audiotrans.model.avb_gtn import DiscriminatorOutputs, LossSettings, Translation
from audiotrans.model.extra_losses import fine_distance
from audiotrans.model.losses import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    KL_TERMS,
    contrast,
    fake_loss,
    real_loss,
)

PAIRS = ("a", "b", "ab", "ba")
LOG2 = math.log(2)
TENSORS = [f.name for f in fields(Translation) if f.name != "moments"]


def translation(**values: float) -> Translation:
    """Constant tensors, 0 where not named; 24 rows are enough for the fine structure."""
    return Translation(**{name: torch.full((1, 1, 24, 4), float(values.get(name, 0))) for name in TENSORS})


def logits(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.full((1, 1, 3, 2), float(value)) for value in values)


def outputs(
    fake: tuple[float, float] = (0, 0),
    real: tuple[float, float] = (0, 0),
    posterior: tuple[float, ...] = (0, 0, 0, 0),
    prior: tuple[float, ...] = (0, 0, 0, 0),
) -> DiscriminatorOutputs:
    """Constant logits: fake (ab, ba), real (a, b), T's for the pairs a, b, ab, ba; 10 latent dimensions per logit."""
    (ab, ba), (a, b) = logits(*fake), logits(*real)
    return DiscriminatorOutputs([ab], [ba], [a], [b], logits(*posterior), logits(*prior), 10)


def term(name: str, t: Translation, v: DiscriminatorOutputs, **settings: str) -> float:
    return float((GENERATOR_LOSSES | DISCRIMINATOR_LOSSES)[name](t, v, LossSettings(**settings)))  # type: ignore[arg-type]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# What each term reads ------------------------------------------------------------------------------------------------

READS = {
    ("gan", "softplus"): {"fake_ab", "fake_ba"},
    ("vae_kl", "softplus"): {"posterior_a", "posterior_b"},
    ("vae_kl", "linear"): {"posterior_a", "posterior_b"},
    ("vae_kl", "paper"): {"posterior_a", "posterior_b"},
    ("vae_kl", "mu2"): {"mean_a", "mean_b"},
    ("vae_kl", "none"): set(),
    ("cycle_kl", "softplus"): {"posterior_a", "posterior_b", "posterior_ab", "posterior_ba"},
    ("cycle_kl", "paper"): {"posterior_a", "posterior_b", "posterior_ab", "posterior_ba"},
    ("cycle_kl", "mu2"): {"mean_a", "mean_b", "mean_ab", "mean_ba"},
    ("vae_reconstruction", "softplus"): {"a", "b", "aa", "bb"},
    ("cycle_reconstruction", "softplus"): {"a", "b", "aba", "bab"},
    ("identity", "softplus"): {"a", "b", "ab", "ba"},
    ("imitation", "softplus"): {"ab", "ba", "wanted_ab", "wanted_ba"},
    ("paired", "softplus"): {"ab", "ba", "true_ab", "true_ba"},
    ("feature_matching", "softplus"): {"made", "true"},
    ("fine_structure", "softplus"): {"a", "b", "ab", "ba"},
    ("below_notes", "softplus"): {"a", "b", "ab", "ba"},
    ("image", "softplus"): {"fake_ab", "fake_ba", "real_a", "real_b"},
    ("latent", "softplus"): {f"{side}_{pair}" for side in ("posterior", "prior") for pair in PAIRS},
}


@pytest.mark.parametrize(("name", "kl"), READS)
def test_a_term_reads_exactly_what_its_equation_names(name, kl):
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        return (0.3 * torch.randn(shape, generator=generator)).requires_grad_()

    given = {name: leaf(1, 1, 24, 4) for name in TENSORS}
    seen = {key: leaf(1, 1, 3, 2) for key in ("fake_ab", "fake_ba", "real_a", "real_b")}
    seen |= {f"{side}_{pair}": leaf(1, 1, 3, 2) for side in ("posterior", "prior") for pair in PAIRS}
    posterior, prior = (tuple(seen[f"{side}_{pair}"] for pair in PAIRS) for side in ("posterior", "prior"))
    if kl in ("mu2", "none"):  # these models have no T
        posterior = prior = ()
    seen |= {name: leaf(1, 4, 3, 2) for name in ("made", "true")}
    v = DiscriminatorOutputs(
        [seen["fake_ab"]], [seen["fake_ba"]], [seen["real_a"]], [seen["real_b"]], posterior, prior, 10,
        (seen["made"],), (seen["true"],),
    )  # fmt: skip
    loss = (GENERATOR_LOSSES | DISCRIMINATOR_LOSSES)[name](Translation(**given), v, LossSettings(kl=kl))
    assert loss.shape == ()
    read = set()
    if loss.requires_grad:
        loss.backward()
        leaves = (given | seen).items()
        assert all(x.grad is None or x.grad.isfinite().all() for _, x in leaves)
        read = {key for key, x in leaves if x.grad is not None and x.grad.any()}
    assert read == READS[name, kl]


def test_every_term_is_covered_here():
    assert {name for name, _ in READS} == {*GENERATOR_LOSSES, *DISCRIMINATOR_LOSSES}


def test_imitation_is_the_distance_to_what_the_teacher_made():
    t = translation(ab=0.5, wanted_ab=0.2, ba=-0.1, wanted_ba=0.3)
    assert term("imitation", t, outputs()) == pytest.approx(0.7)
    assert term("imitation", replace(t, wanted_ab=None, wanted_ba=None), outputs()) == 0


def test_paired_is_the_distance_to_the_same_notes_in_the_other_domain():
    t = translation(ab=0.5, true_ab=0.2, ba=-0.1, true_ba=0.3)
    assert term("paired", t, outputs()) == pytest.approx(0.7)
    assert term("paired", replace(t, true_ab=None, true_ba=None), outputs()) == 0
    made = torch.full((1, 1, 24, 4), 0.5, requires_grad=True)
    GENERATOR_LOSSES["paired"](replace(t, ab=made), outputs(), LossSettings()).backward()
    torch.testing.assert_close(made.grad, torch.full_like(made, 1 / made.numel()))  # down, towards .2, all alike


def test_feature_matching_is_the_relative_distance_of_d_s_layers():
    made, true = torch.tensor([0.5, -0.5]).reshape(1, 2, 1, 1), torch.tensor([0.4, -0.2]).reshape(1, 2, 1, 1)
    of_ab, of_ba = (made, true), (4 * true, 2 * true)
    v = replace(outputs(), made_layers=(of_ab[0], of_ba[0]), true_layers=(of_ab[1], of_ba[1]))
    assert term("feature_matching", translation(), v) == pytest.approx(0.2 / 0.3 + 1.0, rel=1e-2)
    assert term("feature_matching", translation(), outputs()) == 0  # no pairs


# Eqs. (4) and (5) ----------------------------------------------------------------------------------------------------

SURE = {  # value of "this is real" and of "this is made" at logit 2
    "bce": (softplus(-2), softplus(2)),
    "lsgan": (1.0, 4.0),
    "hinge": (0.0, 3.0),
}


@pytest.mark.parametrize("form", SURE)
def test_adversarial_losses_by_hand(form):
    two, half = [torch.full((2, 1, 3, 3), 2.0)], [torch.full((2, 1, 3, 3), 0.5)]
    assert float(real_loss(two, form)) == pytest.approx(SURE[form][0])
    assert float(fake_loss(two, form)) == pytest.approx(SURE[form][1])
    # Scales weigh alike, however many logits each has.
    both = float(fake_loss([*two, torch.full((2, 1, 1, 1), 0.5)], form))
    assert both == pytest.approx((SURE[form][1] + float(fake_loss(half, form))) / 2)


@pytest.mark.parametrize(
    ("form", "value"), [("bce", softplus(-2) + softplus(1)), ("lsgan", 1 + 4), ("hinge", -2 + 1)]
)  # the generators want their translations, at logits 2 and -1, to be classified as real
def test_the_generators_gan_term_is_the_sum_over_both_directions(form, value):
    assert term("gan", translation(), outputs(fake=(2, -1)), gan=form) == pytest.approx(value)


@pytest.mark.parametrize("form", SURE)
def test_the_gan_term_pulls_logits_up_and_does_not_saturate(form):
    low = torch.full((1, 1, 2, 2), -6.0, requires_grad=True)
    v = DiscriminatorOutputs([low], [torch.zeros(1, 1, 2, 2)])
    GENERATOR_LOSSES["gan"](translation(), v, LossSettings(gan=form)).backward()
    assert low.grad.sum() < -0.9  # a sure discriminator leaves the generators their whole gradient


def test_the_discriminators_image_term_is_eqs_4_and_5_negated():
    v = outputs(fake=(-1, 3), real=(2, 0))
    # -[log D(x_a) + log D(x_b) + log(1 - D(x_ba)) + log(1 - D(x_ab))] at logits 2, 0, 3, -1
    wanted = softplus(-2) + softplus(0) + softplus(3) + softplus(-1)
    assert term("image", translation(), v, gan="bce") == pytest.approx(wanted)
    assert term("image", translation(), v, gan="hinge") == pytest.approx(0 + 1 + 4 + 0)


# Eq. (9) -------------------------------------------------------------------------------------------------------------


def test_ts_own_term_is_eq_9_negated():
    assert term("latent", translation(), outputs()) == pytest.approx(2 * LOG2)  # undecided: q looks like p
    v = outputs(posterior=(1, 2, 3, 4), prior=(-1, -2, -3, 5))
    q = (softplus(-1) + softplus(-2) + softplus(-3) + softplus(-4)) / 4
    p = (softplus(-1) + softplus(-2) + softplus(-3) + softplus(5)) / 4
    assert term("latent", translation(), v) == pytest.approx(q + p)


def test_without_t_its_term_is_zero():
    assert term("latent", translation(), DiscriminatorOutputs([], [])) == 0


# Eqs. (10) - (13) ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kl", "value"), [("linear", 0.0), ("softplus", LOG2), ("paper", -LOG2), ("none", 0.0)])
def test_each_kl_mode_at_an_undecided_t(kl, value):
    zero = torch.zeros(1, 1, 4, 4)
    assert float(KL_TERMS[kl](zero, zero, 1)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("kl", "value"),
    [("linear", 3 / 10), ("softplus", softplus(3) / 10), ("paper", -softplus(-3)), ("mu2", 0.25), ("none", 0.0)],
)  # T = 3, mean = 0.5, ten latent dimensions per logit
def test_each_kl_mode_at_a_fixed_t(kl, value):
    assert float(KL_TERMS[kl](torch.full((2, 1, 3, 3), 3.0), torch.full((2, 4, 3, 3), -0.5), 10)) == pytest.approx(
        value
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kl", KL_TERMS)
def test_kl_modes_survive_a_t_that_is_very_sure(kl, sign):
    t = torch.full((1, 1, 2, 2), 1e4 * sign, requires_grad=True)
    value = KL_TERMS[kl](t, torch.zeros(1, 1, 2, 2, requires_grad=True), 1)
    if value.requires_grad:
        value.backward()
    assert value.isfinite()
    assert t.grad is None or t.grad.isfinite().all()


@pytest.mark.parametrize("kl", ["linear", "softplus", "paper"])
def test_kl_parts_add_up_over_the_pairs_of_eqs_10_to_13(kl):
    values = (0.5, -1.0, 2.0, 3.0)  # T on a, b, ab, ba
    v = outputs(posterior=values)
    one = {"linear": lambda x: x / 10, "softplus": lambda x: softplus(x) / 10, "paper": lambda x: -softplus(-x)}[kl]
    a, b, ab, ba = (one(x) for x in values)
    assert term("vae_kl", translation(), v, kl=kl) == pytest.approx(a + b)  # eqs. (10) and (11)
    assert term("cycle_kl", translation(), v, kl=kl) == pytest.approx(a + ab + b + ba)  # eqs. (12) and (13)


def test_units_kl_parts_are_mean_squares_eqs_2_3_6_7():
    t = translation(mean_a=1, mean_b=2, mean_ab=3, mean_ba=-4)
    assert term("vae_kl", t, DiscriminatorOutputs([], []), kl="mu2") == pytest.approx(1 + 4)
    assert term("cycle_kl", t, DiscriminatorOutputs([], []), kl="mu2") == pytest.approx(1 + 9 + 4 + 16)


def test_likelihood_parts_are_l1_distances():
    t = translation(a=0.1, b=-0.2, aa=0.4, bb=-0.3, aba=-0.4, bab=0.5, ab=0.2, ba=0.3)
    assert term("vae_reconstruction", t, outputs()) == pytest.approx(0.3 + 0.1)
    assert term("cycle_reconstruction", t, outputs()) == pytest.approx(0.5 + 0.7)
    assert term("identity", t, outputs()) == pytest.approx(0.1 + 0.5)


# The sign question: q = N(m, s^2), p = N(0, 1), T* = log q/p ----------------------------------------------------------

QUANTILES = torch.distributions.Normal(0, 1).icdf((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
"""Noise whose plain mean is the expectation over N(0, 1), to about 1e-3 of E eps^2."""


def best_t(z: Tensor, m: float, s: float) -> Tensor:
    """T* of a 1-D Gaussian posterior, frozen: its own m and s take no gradient."""
    return -math.log(s) - (z - m).square() / (2 * s * s) + z.square() / 2


def pull(kl: str, m: float, s: float) -> tuple[float, float, float]:
    """Return a KL term at T* and its gradients with respect to m and s."""
    mean, spread = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (m, s))
    loss = KL_TERMS[kl](best_t(mean + spread * QUANTILES, m, s), mean, 1)
    loss.backward()
    return float(loss.detach()), float(mean.grad), float(spread.grad)


TABLE = [
    # m, s, KL, E softplus, E log sigma, and the gradient of each with respect to m
    (0.5, 1, 0.125, 0.788, -0.663, 0.5, 0.265, 0.235),
    (1, 1, 0.5, 1.082, -0.582, 1.0, 0.602, 0.398),
    (2, 1, 2.0, 2.356, -0.356, 2.0, 1.550, 0.450),
    (4, 1, 8.0, 8.060, -0.060, 4.0, 3.863, 0.137),
    (6, 1, 18.0, 18.004, -0.004, 6.0, 5.988, 0.0125),
    (2, 0.1, 3.81, 3.843, -0.035, 2.0, 1.807, 0.193),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"m={row[0]},s={row[1]}")
def test_the_table_of_kl_modes(row):
    m, s, *wanted = row
    found = [pull(kl, m, s) for kl in ("linear", "softplus", "paper")]
    # Three decimals are printed (KL: two); quantiles add at most 1e-3.
    assert [value for value, _, _ in found] == pytest.approx(wanted[:3], abs=3e-3)
    assert [gradient for _, gradient, _ in found] == pytest.approx(wanted[3:], abs=1.5e-3)
    exact = (m * m + s * s - 1) / 2 - math.log(s)
    assert found[0][0] == pytest.approx(exact, abs=2e-3)
    assert exact - 1e-3 <= found[1][0] <= exact + LOG2  # softplus brackets the KL


@pytest.mark.parametrize("m", [-6.0, -0.5, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("kl", ["linear", "softplus", "paper"])
def test_one_step_with_t_frozen_moves_the_posterior_to_the_prior(kl, m):
    _, gradient, _ = pull(kl, m, 1.0)
    assert abs(m - 0.1 * gradient) < abs(m)


@pytest.mark.parametrize("kl", ["linear", "softplus"])
@pytest.mark.parametrize(("m", "s"), [(3.0, 0.3), (-2.0, 2.0)])
def test_with_t_at_its_best_the_posterior_ends_at_the_prior(kl, m, s):
    for _ in range(150):
        _, dm, ds = pull(kl, m, s)
        m, s = m - 0.1 * dm, s - 0.1 * ds
    assert abs(m) < 0.1
    assert s == pytest.approx(1, abs=0.1)


# Fine structure ------------------------------------------------------------------------------------------------------

ROWS = torch.arange(256.0)


def partials(shift: float = 0.0) -> Tensor:
    """Harmonics every 12 rows, 2 rows wide, on 6 frames; image units."""
    comb = sum(torch.exp(-0.5 * ((ROWS - 20 - 12 * k - shift) / 1.2).square()) for k in range(18))
    return (comb - 0.9)[None, None, :, None].expand(1, 1, -1, 6).clone()


def test_fine_structure_is_zero_at_identity():
    x = partials()
    assert float(fine_distance(x, x)) == pytest.approx(0, abs=1e-3)  # the guard of the cosine costs this much
    t = translation()
    assert term("fine_structure", t, outputs()) == 0  # silence has none


def test_fine_structure_ignores_level_and_smooth_envelopes():
    x = partials()
    envelope = 0.4 * torch.sin(ROWS / 256 * 2 * math.pi)[None, None, :, None]
    assert float(fine_distance(x + 0.3, x)) == pytest.approx(0, abs=1e-3)
    assert float(fine_distance(2 * x, x)) == pytest.approx(0, abs=1e-3)
    # A sine over the whole height bends by 0.4 (2 pi / 256)^2 21^2 / 24 = 0.004 within the moving mean's window.
    assert float(fine_distance(x + envelope, x)) < 0.01


def test_fine_structure_is_large_where_partials_moved():
    x = partials()
    assert float(fine_distance(partials(5), x)) > 1  # crest on trough
    assert float(fine_distance(partials(0.5), x)) < 0.1
    moved = [float(fine_distance(partials(shift), x)) for shift in (0, 1, 2, 3, 4)]
    assert moved == sorted(moved)


def test_fine_structure_counts_both_directions():
    x = partials()
    t = Translation(**dict.fromkeys(TENSORS, x))
    moved = Translation(**{name: partials(5) if name in ("ab", "ba") else x for name in TENSORS})
    assert term("fine_structure", t, outputs()) == pytest.approx(0, abs=2e-3)
    assert term("fine_structure", moved, outputs()) == pytest.approx(2 * float(fine_distance(partials(5), x)))


def test_flat_frames_of_the_source_do_not_count():
    x, y = partials(), partials()
    x[..., 3:], y[..., 3:] = -1, torch.randn(1, 1, 256, 3, generator=torch.Generator().manual_seed(0))
    assert float(fine_distance(y, x)) == pytest.approx(0, abs=1e-3)


def test_the_fine_structures_gradient_is_finite_and_points_downhill():
    source, flat = partials(), torch.full((1, 1, 256, 6), -1.0)
    for made in (partials(1), flat):
        x = made.clone().requires_grad_()
        loss = fine_distance(x, source)
        loss.backward()
        assert x.grad.isfinite().all()
        step = x.detach() - 0.1 * x.grad / x.grad.abs().max()
        assert float(fine_distance(step, source)) < float(loss.detach())
    x = source.clone().requires_grad_()
    fine_distance(x, flat).backward()
    assert x.grad.isfinite().all()


def test_the_known_part_pulls_a_narrow_posterior_apart_and_a_wide_one_together():
    eps = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    for spread, sign in ((0.2, -1), (3.0, 1)):
        s = torch.tensor(spread, requires_grad=True)
        z = s * eps
        contrast(z, z / spread, torch.tensor(spread)).backward()  # r is constant to the gradient
        assert s.grad is not None
        assert float(s.grad) == pytest.approx(spread - 1 / spread, rel=0.05)  # d/ds of the Gaussian's KL
        assert math.copysign(1, float(s.grad)) == sign
