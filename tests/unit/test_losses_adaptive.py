"""The adaptive contrast: a Gaussian's part of the KL is known, T learns the rest."""

from __future__ import annotations

import math

import pytest
import torch

from audiotrans.model.avb_gtn import AVBGTN, Discriminators, LossSettings
from audiotrans.model.losses import GENERATOR_LOSSES, contrast
from audiotrans.model.nets import net_settings
from tests.fakes import image
from tests.unit.test_losses import outputs


def adaptive_model() -> AVBGTN:
    torch.manual_seed(0)
    return AVBGTN(net_settings(preset="tiny", kl="adaptive"), 1)


def test_the_known_part_of_the_adaptive_term_is_the_kl_of_a_gaussian():
    z = 0.4 * torch.randn(200_000, generator=torch.Generator().manual_seed(0)) + 1.5
    found = contrast(z, (z - 1.5) / 0.4, torch.tensor(0.4))
    exact = 0.5 * (1.5**2 + 0.4**2 - 1) - math.log(0.4)
    assert float(found) == pytest.approx(exact, abs=0.01)  # the mean of 200,000 samples


def test_moments_are_of_the_encoder_that_made_each_latent_and_t_sees_what_they_whiten(monkeypatch):
    net, settings = adaptive_model(), net_settings(preset="tiny", kl="adaptive")
    asked, seen = [], []

    def moments(x, domain, generator):
        del generator
        asked.append((x, domain))
        mean = torch.full_like(net.encode(x, domain, net.noise(x, None)), float(len(asked)))
        return torch.stack([mean, 2 * mean])

    monkeypatch.setattr(net, "moments", moments)
    t = net(image((1, 1, 32, 32), 1), image((1, 1, 32, 32), 2))
    assert [domain for _, domain in asked] == ["a", "b", "b", "a"]
    for (found, _), wanted in zip(asked, (t.a, t.b, t.ab, t.ba), strict=True):
        assert found is wanted
    discriminators = Discriminators(settings, 1)
    discriminators.latent.register_forward_pre_hook(lambda _, args: seen.append(args))
    discriminators(t, training=False)
    ((_, latents),) = seen
    white = [(z - number) / (2 * number) for number, z in enumerate((t.z_a, t.z_b, t.z_ab, t.z_ba), start=1)]
    torch.testing.assert_close(latents, torch.cat([white[pair] for pair in (0, 3, 1, 2)]))  # a, ba, b, ab


def test_an_adaptive_models_terms_hold_ts_part_and_the_known_part():
    net, generator = adaptive_model(), torch.Generator().manual_seed(1)
    x = torch.rand(1, 1, 32, 32, generator=generator) * 2 - 1
    t = net(x, -x, generator)
    assert t.moments is not None
    assert t.moments.shape == (4, 2, *t.z_a.shape)
    assert not t.moments.requires_grad
    z = (t.z_a, t.z_b, t.z_ab, t.z_ba)
    known = [contrast(one, (one - m) / s, s) for one, (m, s) in zip(z, t.moments, strict=True)]
    v = outputs(posterior=(1, 2, 3, 4))
    settings = LossSettings(kl="adaptive")
    wanted = (1 + 2) / 10 + known[0] + known[1]
    assert GENERATOR_LOSSES["vae_kl"](t, v, settings).item() == pytest.approx(wanted.item(), rel=1e-5)
    cycle = wanted + (3 + 4) / 10 + known[2] + known[3]
    assert GENERATOR_LOSSES["cycle_kl"](t, v, settings).item() == pytest.approx(cycle.item(), rel=1e-5)


def test_moments_are_those_of_many_draws():
    net = adaptive_model()
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    found = torch.stack([net.moments(x, "a", torch.Generator().manual_seed(i)) for i in range(60)]).mean(0)
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        z = torch.stack([net.encode(x, "a", net.noise(x, generator)) for _ in range(200)])
    spread = z.var(0).mean((2, 3), keepdim=True).sqrt()
    assert torch.allclose(found[0], z.mean(0), atol=float(spread.max()) * 0.35)  # 200 samples: .07 of a spread, 5 sigma
    # The mean of three samples is itself uncertain: r is wider than q by the root of 4 / 3.
    assert torch.allclose(found[1], (spread * math.sqrt(4 / 3)).expand_as(found[1]), rtol=0.1)
