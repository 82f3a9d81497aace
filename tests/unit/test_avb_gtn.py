"""The model: what is shared, what depends on what, and how UNIT differs."""

from __future__ import annotations

import pytest
import torch

from audiotrans.errors import UsageError
from audiotrans.model.avb_gtn import AVBGTN, Discriminators, Translation
from audiotrans.model.nets import PRESETS, net_settings
from tests.fakes import image

SIZES = [(1, 1), (7, 9), (32, 30), (33, 47), (40, 64)]
LOCAL = [{"preset": "tiny"}, {"preset": "spectrogram", "width": 8}, {"preset": "tiny", "width": 4, "blocks": 3}]


def model(preset: str = "tiny", channels: int = 1, **changes: object) -> AVBGTN:
    torch.manual_seed(0)
    kl = {"kl": "mu2"} if preset == "unit-exact" else {}  # the only term that its encoder, without noise, can take
    settings = net_settings(preset=preset, **{"width": 4, "discriminator_width": 4, **kl, **changes})  # type: ignore[arg-type]
    return AVBGTN(settings, channels).eval().requires_grad_(False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_both_domains_use_the_very_same_shared_blocks():
    net = AVBGTN(net_settings(preset="tiny"), 1)
    for source in "ab":
        for target in "ab":
            net.zero_grad()
            net.decode(net.encode(image((1, 1, 32, 32), 1), source, torch.zeros(1, 1, 32, 32)), target).sum().backward()
            used = {name.rsplit(".", 1)[0] for name, p in net.named_parameters() if p.grad is not None}
            roots = {".".join(name.split(".")[:2]) if "coders" in name else name.split(".")[0] for name in used}
            assert roots == {f"encoders.{source}", "shared_encoder", "shared_decoder", f"decoders.{target}"}
    names = [id(p) for p in net.parameters()]
    assert len(names) == len(set(names)) == len(net.state_dict())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_translation_has_the_size_of_its_input(preset, size):
    net = model(preset, 2)
    x = image((2, 2, *size), 2)
    made = net.translate(x, "a", "b", net.noise(x, seeded()))
    assert made.shape == x.shape
    assert made.isfinite().all()
    assert made.abs().max() <= 1


@pytest.mark.parametrize("changes", LOCAL)
def test_tiles_with_context_agree_with_the_whole_image(changes):
    net = model(**changes, residual=0.5)
    assert net.local
    step, margin = net.stride[1], net.context_frames
    assert margin % step == 0  # tiles start on the grid
    x = image((1, 1, 32, 5 * margin + 3), 3)
    eps = net.noise(x, seeded())
    whole = net.translate(x, "a", "b", eps)
    for start in (0, 2 * margin, 4 * margin):
        stop = start + margin
        left, right = max(start - margin, 0), stop + margin
        tile = net.translate(x[..., left:right], "a", "b", eps[..., left:right])
        got, wanted = tile[..., start - left : stop - left], whole[..., start:stop]
        # float32 sums in another order, through some twenty layers.
        torch.testing.assert_close(got[..., : wanted.shape[-1]], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", LOCAL)
def test_no_frame_depends_on_what_lies_beyond_the_context(changes):
    net = model(**changes, residual=0.5)
    margin, at = net.context_frames, 2 * net.context_frames
    x = image((1, 1, 32, 4 * margin), 4)
    eps = net.noise(x, seeded())
    before = net.translate(x, "a", "b", eps)
    far_x, far_eps = -x, -eps
    span = slice(at - margin, at + margin + 1)
    far_x[..., span], far_eps[..., span] = x[..., span], eps[..., span]
    assert torch.equal(net.translate(far_x, "a", "b", far_eps)[..., at], before[..., at])
    span = slice(at - margin // 2, at + margin // 2)
    far_x[..., :] = -x
    far_x[..., span] = x[..., span]
    assert not torch.equal(net.translate(far_x, "a", "b", eps)[..., at], before[..., at])  # the probe can see


def test_instance_norm_reaches_across_the_image_and_says_so():
    net = model("light")
    assert not net.local
    x = image((1, 1, 16, 400), 5)
    changed = x.clone()
    changed[..., 380:] = 1
    assert not torch.equal(net.translate(changed, "a", "b")[..., 0], net.translate(x, "a", "b")[..., 0])


def test_no_noise_means_zeros_and_the_input_stays_as_it_was():
    net = model()
    x = image((1, 1, 30, 21), 6)
    kept = x.clone()
    assert torch.equal(net.translate(x, "b", "a"), net.translate(x, "b", "a", torch.zeros(net.noise_shape(x))))
    assert torch.equal(x, kept)


def test_forward_is_made_of_encode_and_decode():
    net = model()
    a, b = image((2, 1, 32, 32), 7), image((2, 1, 32, 32), 8)
    t = net(a, b, seeded(1))
    noise = seeded(1)
    z_a, z_b = net.encode(a, "a", net.noise(a, noise)), net.encode(b, "b", net.noise(b, noise))
    z_ab = net.encode(net.decode(z_a, "b"), "b", net.noise(a, noise))
    z_ba = net.encode(net.decode(z_b, "a"), "a", net.noise(b, noise))
    wanted = {
        "a": a, "b": b, "z_a": z_a, "z_b": z_b, "z_ab": z_ab, "z_ba": z_ba,
        "aa": net.decode(z_a, "a"), "bb": net.decode(z_b, "b"), "ab": net.decode(z_a, "b"), "ba": net.decode(z_b, "a"),
        "aba": net.decode(z_ab, "a"), "bab": net.decode(z_ba, "b"),
    }  # fmt: skip
    for name, value in wanted.items():
        # forward decodes both latents as one batch; float32 sums may differ in their last bits.
        torch.testing.assert_close(getattr(t, name), value, atol=1e-5, rtol=0, msg=name)


def test_the_noise_enters_the_encoder_and_decides_the_latent():
    net = model()
    x = image((1, 1, 32, 32), 9)
    t = net(x, x, seeded(0))
    assert t.z_a is t.mean_a  # q(z|x) is the encoder's output itself
    assert net.encode(x, "a", net.noise(x, seeded(1))).sub(t.z_a).abs().mean() > 1e-3
    assert torch.equal(net(x, x, seeded(0)).aba, t.aba)


@pytest.mark.parametrize("preset", PRESETS)
def test_unit_has_no_t_and_no_noise_in_its_encoder(preset):
    settings = net_settings(preset=preset, width=4, discriminator_width=4, kl="mu2")
    assert Discriminators(settings, 1).latent is None
    net = AVBGTN(settings, 1)
    assert net.noise_shape(torch.zeros(2, 1, 8, 8)) == (2, 0, 8, 8)
    assert net.encoders["a"][0].in_channels == 1 + settings.coordinate


def test_unit_adds_unit_noise_to_the_latent_in_training_only():
    net = model("light", kl="mu2")
    x = image((4, 1, 64, 64), 10)
    t = net(x, x, seeded())
    noise = t.z_a - t.mean_a
    # 4 x 32 x 16 x 16 = 32768 samples: a standard error of 0.004 for the spread, 0.0055 for the mean.
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert net(x, x, seeded(5)).mean_a.equal(t.mean_a)
    again = net.translate(x, "a", "b")
    assert torch.equal(again, net.decode(t.mean_a, "b"))
    assert torch.equal(again, net.translate(x, "a", "b", net.noise(x, seeded(3))))


@pytest.mark.parametrize("size", [(32, 32), (27, 35)])
def test_a_whole_residual_between_equal_decoders_is_the_identity(size):
    net = model(residual=1.0)
    net.decoders["b"].load_state_dict(net.decoders["a"].state_dict())
    x = image((1, 1, *size), 11)
    # x + (G - G) rounds once per addition.
    torch.testing.assert_close(net.translate(x, "a", "b", net.noise(x, seeded())), x, atol=1e-6, rtol=0)


def test_residual_takes_over_its_share_of_what_the_autoencoder_lost():
    x = image((1, 1, 32, 32), 12)
    none, half = model(), model(residual=0.5)
    eps = none.noise(x, seeded())
    wanted = none.translate(x, "a", "b", eps) + 0.5 * (x - none.translate(x, "a", "a", eps))
    torch.testing.assert_close(half.translate(x, "a", "b", eps), wanted.clamp(-1, 1), atol=1e-6, rtol=0)
    assert torch.equal(half.translate(x, "a", "a", eps), none.translate(x, "a", "a", eps))  # reconstructions have none
    t = half(x, x, seeded())
    assert not torch.equal(t.ab, none(x, x, seeded()).ab)
    torch.testing.assert_close(t.aa, none(x, x, seeded()).aa, atol=1e-6, rtol=0)


def recorded(discriminators: Discriminators) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Record what T is asked: images by domain, and latents."""
    asked: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    discriminators.latent.register_forward_pre_hook(lambda _, given: asked.append(given))
    return asked


def test_t_compares_real_and_translated_pairs_against_the_prior():
    settings = net_settings(preset="tiny")
    discriminators, t = (
        Discriminators(settings, 1),
        model("tiny", width=8)(image((1, 1, 32, 32), 1), image((1, 1, 32, 32), 2)),
    )
    torch.nn.init.normal_(discriminators.latent.joint[-1].weight)
    asked = recorded(discriminators)
    outputs = discriminators(t, training=True, generator=seeded())
    ((images, posterior, prior),) = asked
    assert torch.equal(images["a"], torch.cat([t.a, t.ba]))
    assert torch.equal(images["b"], torch.cat([t.b, t.ab]))
    assert torch.equal(posterior, torch.cat([t.z_a, t.z_ba, t.z_b, t.z_ab]))
    assert prior.std() == pytest.approx(1, abs=0.1)  # 4 x 8 x 32 samples: standard error 0.022
    assert (len(outputs.posterior), len(outputs.prior)) == (4, 4)
    assert outputs.dimensions == 9 * 8
    for x, z, domain, logits in zip(
        (t.a, t.b, t.ab, t.ba), (t.z_a, t.z_b, t.z_ab, t.z_ba), "abba", outputs.posterior, strict=True
    ):
        torch.testing.assert_close(discriminators.latent({domain: x}, z)[0], logits)


def test_the_generators_step_asks_only_for_what_it_needs():
    discriminators, t = Discriminators(net_settings(preset="tiny"), 1), model(width=8)(*[image((1, 1, 32, 32), 1)] * 2)
    outputs = discriminators(t, training=False)
    assert outputs.real_a is None
    assert outputs.real_b is None
    assert (len(outputs.posterior), outputs.prior) == (4, ())


def test_d_sees_what_it_is_shown_in_place_of_the_translations_own():
    discriminators, net = Discriminators(net_settings(preset="tiny", discriminator_norm="instance"), 1), model(width=8)
    t = net(image((1, 1, 32, 32), 1), image((1, 1, 32, 32), 2), seeded())
    shown = {name: image((2 + number, 1, 32, 32), 10 + number) for number, name in enumerate(("a", "ab", "ba"))}
    asked = recorded(discriminators)
    outputs = discriminators(t, training=True, generator=seeded(), shown=shown)
    own = discriminators(t, training=True, generator=seeded())
    for name, domain in (("real_a", "a"), ("fake_ab", "b"), ("fake_ba", "a")):
        wanted = discriminators.image({domain: shown[name.split("_")[1]]})[0][domain]
        # Other batches: float32 sums in another order.
        assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(getattr(outputs, name), wanted, strict=True)), name
    assert torch.allclose(outputs.real_b[0], own.real_b[0], atol=1e-5)  # not named: the translation's own
    assert torch.equal(asked[0][0]["a"], torch.cat([t.a, t.ba]))  # T sees no others
    assert all(torch.equal(x, y) for x, y in zip(outputs.posterior, own.posterior, strict=True))


def test_detached_translations_keep_values_without_history():
    net = model().requires_grad_(True)
    t = net(image((1, 1, 32, 32), 1), image((1, 1, 32, 32), 2), seeded())
    cut = t.detached()
    assert t.aba.requires_grad
    absent = {"moments", "wanted_ab", "wanted_ba", "true_ab", "true_ba"}
    assert {getattr(cut, name) for name in absent} == {None}
    for name in set(Translation.__dataclass_fields__) - absent:
        assert not getattr(cut, name).requires_grad
        assert torch.equal(getattr(cut, name), getattr(t, name))


def test_settings_override_their_preset_and_only_that():
    nets = net_settings(preset="base", width=16, discriminator_norm="none", z_channels=0)
    assert (nets.width, nets.discriminator_norm, nets.latent) == (16, "none", 64)
    assert nets.blocks == PRESETS["base"].blocks
    assert net_settings(preset="base") == PRESETS["base"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"residual": 1.5}, "residual 1.5 must lie in 0..1"),
        ({"residual": float("nan")}, "residual nan"),
        ({"width": 0}, "width 0 must be 1 or more"),
        ({"blocks": -1}, "blocks -1 must be 0 or more"),
        ({"norm_eps": 0.0}, "norm_eps 0.0"),
        ({"image_std": 0.0}, "image_std 0.0 must be above 0"),
        ({"image_std": -1.0}, "image_std -1.0 must be above 0"),
        ({"preset": "unit-exact"}, "kl softplus needs noise in the encoder's input: set noise_channels, or kl mu2"),
        ({"noise_channels": 0, "kl": "linear"}, "kl linear needs noise"),
        ({"noise_channels": 0, "kl": "paper"}, "kl paper needs noise"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        net_settings(**changes)


@pytest.mark.parametrize("kl", ["mu2", "none"])
def test_terms_without_t_need_no_noise(kl):
    assert net_settings(preset="unit-exact", kl=kl).noise_channels == 0
    assert net_settings(noise_channels=0, kl=kl).noise_channels == 0


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown model preset 'spectogram'.*Did you mean 'spectrogram'"):
        net_settings(preset="spectogram")
