"""The networks: sizes of layers against the published tables, and what each of them may look at."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm
from torch.nn.utils.parametrize import register_parametrization

from audiotrans.model.avb_gtn import AVBGTN, Discriminators
from audiotrans.model.nets import (
    PRESETS,
    ChannelNorm,
    DiscriminatorNorm,
    ImageDiscriminators,
    ImageLayerNorm,
    LatentDiscriminator,
    NetSettings,
    ResidualBlock,
    SpectralNorm,
    as_recipe,
    decoder,
    encoder,
    iterate_spectral_norms,
    layers,
    net_settings,
    shared_decoder,
    shared_encoder,
    with_coordinate,
    with_preset,
)
from tests.fakes import image

# Counted by hand from the layer tables (kernel area x inputs x outputs + biases); see docs/model.md.
GENERATOR = {
    ("base", 3): 19_978_822, ("base", 4): 19_991_368,
    ("light", 3): 5_006_502, ("light", 4): 5_012_776,
    ("unit-exact", 3): 18_017_286, ("unit-exact", 4): 18_023_688,
}  # fmt: skip
DISCRIMINATORS = {
    ("base", 3): 5_782_786, ("base", 4): 5_786_882,
    ("light", 3): 1_449_602, ("light", 4): 1_451_650,
    ("unit-exact", 3): 25_240_065, ("unit-exact", 4): 25_246_337,
}  # fmt: skip
LATENT = {
    ("base", "local", 3): 933_121, ("base", "local", 4): 935_169,
    ("light", "local", 3): 235_137, ("light", "local", 4): 236_161,
    ("base", "patch", 3): 4_014_081, ("base", "patch", 4): 4_016_129,
    ("base", "global", 3): 4_014_081,
}  # fmt: skip


def parameters(module: nn.Module) -> int:
    """Count the trainable numbers of a module."""
    return sum(p.numel() for p in module.parameters())


def small(preset: str = "base", **changes: object) -> NetSettings:
    return settings(preset, width=4, discriminator_width=4, **changes)


def settings(preset: str, **changes: object) -> NetSettings:
    """UNIT's own table has no noise in the encoder's input, so no other KL term fits it."""
    kl = {"kl": "mu2"} if preset == "unit-exact" else {}
    return net_settings(preset=preset, **{**kl, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("preset", "channels"), GENERATOR)
def test_the_generator_side_has_the_tables_number_of_parameters(preset, channels):
    assert parameters(AVBGTN(settings(preset), channels)) == GENERATOR[preset, channels]


@pytest.mark.parametrize(("preset", "channels"), DISCRIMINATORS)
def test_the_image_discriminators_have_the_tables_number_of_parameters(preset, channels):
    assert parameters(ImageDiscriminators(PRESETS[preset], channels)) == DISCRIMINATORS[preset, channels]


@pytest.mark.parametrize(("preset", "form", "channels"), LATENT)
def test_the_latent_discriminator_has_the_tables_number_of_parameters(preset, form, channels):
    nets = net_settings(preset=preset, latent_discriminator=form)
    assert parameters(LatentDiscriminator(nets, channels)) == LATENT[preset, form, channels]


def test_a_latent_as_wide_as_units_has_the_tables_number_of_parameters():
    settings = net_settings(preset="base", z_channels=256, noise_channels=16)
    assert parameters(AVBGTN(settings, 3)) == 20_152_582
    assert parameters(LatentDiscriminator(settings, 3)) == 957_697


def test_each_layer_of_base_has_the_tables_number_of_parameters():
    nets = PRESETS["base"]
    first, *rest = [parameters(m) for m in encoder(nets, 3) if parameters(m)]
    assert [first, *rest] == [22_016, 131_200, 524_544, 1_180_160, 1_180_160, 1_180_160]
    assert parameters(shared_encoder(nets)) == 1_196_608
    assert parameters(shared_decoder(nets)) == 1_196_800
    # G4 and G5 as convolution + layer norm.
    assert [parameters(m) for m in decoder(nets, 3) if parameters(m)][3:] == [819_328, 256, 204_864, 128, 9_411]


def test_the_coordinate_channel_costs_one_kernel_per_front():
    plain, marked = (ImageDiscriminators(net_settings(preset="base", coordinate=c), 4) for c in (False, True))
    assert parameters(marked) - parameters(plain) == 4 * 1_024  # two scales, two domains


@pytest.mark.parametrize("preset", PRESETS)
def test_encoder_and_decoder_keep_to_the_grid(preset):
    nets = small(preset)
    rows, frames = nets.stride
    inputs = 2 + nets.noise_channels + nets.coordinate
    z = shared_encoder(nets)(encoder(nets, 2)(image((1, inputs, 4 * rows, 6 * frames), 0)))
    assert z.shape == (1, nets.latent, 4, 6)
    made = decoder(nets, 2)(shared_decoder(nets)(z))
    assert made.shape == (1, 2, 4 * rows, 6 * frames)
    assert made.abs().max() < 1  # tanh


def test_unit_exact_has_no_norm_outside_residual_blocks_and_zero_padding():
    nets = PRESETS["unit-exact"]
    outside = [m for part in (encoder(nets, 3), decoder(nets, 3)) for m in part if not isinstance(m, ResidualBlock)]
    assert not [m for m in outside if isinstance(m, (nn.InstanceNorm2d, ImageLayerNorm, ChannelNorm))]
    convs = [m for m in outside if isinstance(m, nn.Conv2d)]
    assert {m.padding_mode for m in convs} == {"zeros"}
    assert [m.kernel_size for m in convs] == [(7, 7), (3, 3), (3, 3), (1, 1)]


def test_a_folded_stem_that_reflects_is_refused():
    with pytest.raises(ValueError, match="padding zeros, not reflect"):
        NetSettings(stem_stride=(4, 2), padding="reflect")


def test_channel_norm_looks_at_one_position_only():
    norm, x = ChannelNorm(6, 1e-5), image((1, 6, 4, 5), 2)
    changed = x.clone()
    changed[..., 3, 4] += 1.0 * torch.arange(6)
    difference = (norm(changed) - norm(x)).abs().amax((0, 1))
    assert difference[3, 4] > 0.1
    difference[3, 4] = 0
    assert difference.max() == 0
    assert norm(x).mean(1).abs().max() < 1e-5  # float32 sums of 6 numbers


def test_a_constant_image_gives_finite_features():
    # Instance norm divides by the spread, which is 0 here: norm_eps must guard it.
    for preset in PRESETS:
        model = AVBGTN(small(preset), 1)
        x = torch.full((1, 1, 64, 64), -1.0)
        made = model.translate(x, "a", "b")
        assert made.isfinite().all()


def test_coordinates_run_from_minus_one_to_one_over_rows():
    nets = PRESETS["spectrogram"]
    x = image((2, 1, 5, 3), 3)
    seen = with_coordinate(x, nets)
    assert seen.shape == (2, 2, 5, 3)
    assert torch.equal(seen[:, :1], x)
    assert seen[1, 1, :, 2].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert with_coordinate(x, PRESETS["base"]) is x


@pytest.mark.parametrize(("scales", "sizes"), [(1, [8]), (2, [8, 4]), (3, [8, 4, 2])])
def test_discriminators_give_logits_at_every_scale(scales, sizes):
    logits, layers = ImageDiscriminators(small(discriminator_scales=scales), 3)({"a": image((2, 3, 128, 128), 4)})
    assert list(logits) == ["a"]
    assert [tuple(x.shape) for x in logits["a"]] == [(2, 1, size, size) for size in sizes]
    of_scale = [layers["a"][4 * scale : 4 * scale + 4] for scale in range(scales)]
    assert len(layers["a"]) == 4 * scales
    for maps, size in zip(of_scale, sizes, strict=True):
        assert [x.shape[2] for x in maps] == [size * 8, size * 4, size * 2, size]


def test_units_own_discriminator_has_one_deep_scale():
    discriminators = ImageDiscriminators(small("unit-exact"), 3)
    assert [tuple(x.shape) for x in discriminators({"a": image((1, 3, 128, 128), 4)})[0]["a"]] == [(1, 1, 2, 2)]


def test_discriminators_of_both_domains_share_their_output_part_and_nothing_else():
    discriminators = ImageDiscriminators(small(discriminator_norm="none"), 1)
    x = image((1, 1, 64, 64), 5)
    sum(logits.sum() for logits in discriminators({"a": x})[0]["a"]).backward()
    touched = {
        name.split(".")[1] for name, p in discriminators.private.named_parameters(prefix="f") if p.grad is not None
    }
    assert touched == {"a0", "a1"}
    assert all(p.grad is not None for p in discriminators.shared.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_discriminators_norm_leaves_maps_of_one_position_alone(training):
    norm, x = DiscriminatorNorm().train(training), image((2, 3, 4, 5), 6)
    assert not list(norm.state_dict())
    assert norm(x[..., :1, :1]).equal(x[..., :1, :1])  # its spread is 0: nothing would be left
    for cut in (x, x[..., :1], x[..., :1, :2]):
        assert norm(cut).mean((2, 3)).abs().max() < 1e-5  # float32 sums of up to 20 numbers
        # 1e-5 beside a variance of 0.04; two neighbours can be nearer to each other.
        assert norm(cut).var((2, 3), unbiased=False) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_discriminators_norm_is_instance_norm_in_either_layout(layout, precision):
    x = (3 + image((2, 3, 7, 5), 6)).to(precision).to(memory_format=layout)
    one, other = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
    found, wanted = DiscriminatorNorm()(one), nn.functional.instance_norm(other.float())
    gradient = image((2, 3, 7, 5), 8)
    found.backward(gradient.to(precision))
    wanted.backward(gradient.to(precision).float())
    assert found.is_contiguous(memory_format=layout)
    # float32 rounds sums; bf16 rounds the results to 8 bits, and what the gradient reads of them.
    near = {"atol": 2e-5, "rtol": 1e-4} if precision == torch.float32 else {"atol": 0.1, "rtol": 0.02}
    torch.testing.assert_close(found.float(), wanted, **near)
    torch.testing.assert_close(one.grad.float(), other.grad.float(), **near)


def test_a_spectral_norms_gradient_is_that_of_its_formula():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, (4, 2))
    register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    for layout in (torch.contiguous_format, torch.channels_last):
        layer.to(memory_format=layout)
        norm, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original
        before = norm._u.clone()
        (layer.weight * image((5, 3, 4, 2), 1)).sum().backward()
        assert torch.equal(norm._u, before)  # to ask for the weight changes nothing
        found, weight.grad = weight.grad, None
        ((weight / (norm._u @ weight.flatten(1) @ norm._v)) * image((5, 3, 4, 2), 1)).sum().backward()
        torch.testing.assert_close(found, weight.grad)
        weight.grad = None
        iterate_spectral_norms(layer)
        wanted = nn.functional.normalize(weight.detach().flatten(1) @ nn.functional.normalize(norm._v, dim=0), dim=0)
        assert float(wanted @ norm._u) == pytest.approx(1, abs=1e-3)  # 15 rounds have nearly found it
        assert not torch.equal(norm._u, before)
    assert sorted(layer.state_dict()) == sorted(torch_spectral_norm(nn.Conv2d(3, 5, (4, 2))).state_dict())


@pytest.mark.parametrize("discriminator_norm", ["instance", "both"])
def test_images_that_fold_to_one_position_have_logits(discriminator_norm):
    discriminators = ImageDiscriminators(small("tiny", discriminator_norm=discriminator_norm), 1)
    (logits,) = discriminators({"b": image((2, 1, 16, 16), 7)})[0]["b"]
    assert logits.shape == (2, 1, 1, 1)
    assert logits.isfinite().all()
    assert logits[0] != logits[1]


def test_discriminators_see_standardised_images():
    x = image((1, 1, 64, 64), 8, -0.5)
    plain, standard = (
        ImageDiscriminators(small("tiny", image_mean=mean, image_std=std), 1)
        for mean, std in ((0.0, 1.0), (-0.5, 0.25))
    )
    standard.load_state_dict(plain.state_dict())
    for ours, wanted in zip(standard({"a": x})[0]["a"], plain({"a": (x + 0.5) / 0.25})[0]["a"], strict=True):
        assert torch.equal(ours, wanted)  # the row coordinate is not scaled with the image
    assert not torch.equal(standard({"a": x})[0]["a"][0], plain({"a": x})[0]["a"][0])


@pytest.mark.parametrize(
    ("preset", "wanted"), [("base", (0, 1)), ("spectrogram", (-0.5, 0.35)), ("tiny", (-0.5, 0.35))]
)
def test_presets_for_sounds_standardise_and_those_for_photos_do_not(preset, wanted):
    nets = net_settings(preset=preset)
    assert (nets.image_mean, nets.image_std) == wanted
    assert net_settings(preset=preset, image_mean=0.0, image_std=2.0).image_std == 2
    assert net_settings(preset=preset, image_mean=0.0).image_mean == 0  # 0 is a value, not "as the preset"


def test_spectral_norm_bounds_every_layer_but_the_last_of_t():
    torch.manual_seed(0)
    discriminators = Discriminators(small("light"), 1)
    layers = [m for m in discriminators.modules() if isinstance(m, nn.Conv2d)]
    free = [m for m in layers if not hasattr(m, "parametrizations")]
    assert free == [discriminators.latent.joint[-1]]
    for layer in set(layers) - set(free):
        norm = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))
        # Power iteration approaches 1 from above and had 15 rounds on a random matrix.
        assert norm == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("form", "size"), [("local", (16, 8)), ("patch", (4, 2)), ("global", (1, 1))]
)  # 64 x 32 image: a latent of 16 x 8
def test_t_gives_logits_on_its_grid_and_starts_undecided(form, size):
    nets = small(latent_discriminator=form)
    (logits,) = LatentDiscriminator(nets, 3)({"b": image((2, 3, 64, 32), 6)}, image((2, nets.latent, 16, 8), 7))
    assert logits.shape == (2, 1, *size)
    assert not logits.any()  # the last layer starts at zero: T = log q/p = 0 says nothing before it has learned


def test_a_local_logit_sees_three_by_three_positions_of_z():
    nets = small(z_channels=4)
    t = LatentDiscriminator(nets, 1)
    nn.init.ones_(t.joint[-1].weight)
    x, z = image((1, 1, 32, 32), 8), image((1, 4, 8, 8), 9).requires_grad_()
    t({"a": x}, z)[0][0, 0, 4, 4].backward()
    rows, columns = z.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert (rows.unique().tolist(), columns.unique().tolist()) == ([3, 4, 5], [3, 4, 5])
    assert t.dimensions(torch.zeros(1, 4, 8, 8)) == 9 * 4


@pytest.mark.parametrize(("form", "side"), [("local", 3), ("patch", 12), ("global", 32)])
def test_a_logit_compares_the_latent_dimensions_that_it_sees(form, side):
    nets = small(z_channels=4, latent_discriminator=form)
    t = LatentDiscriminator(nets, 1)
    nn.init.ones_(t.joint[-1].weight)
    x, z = image((1, 1, 128, 128), 8), image((1, 4, 32, 32), 9).requires_grad_()
    (logits,) = t({"a": x}, z)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = z.grad[0].abs().sum(0).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [side, side]
    assert t.dimensions(z) == side * side * 4


def test_the_dimensions_of_a_global_logit_follow_the_image():
    t = LatentDiscriminator(small(latent_discriminator="global", z_channels=4), 1)
    assert [t.dimensions(torch.zeros(2, 4, h, w)) for h, w in ((8, 8), (16, 5))] == [256, 320]


def test_t_reads_images_of_each_domain_by_its_own_path():
    nets = small()
    t = LatentDiscriminator(nets, 1)
    nn.init.ones_(t.joint[-1].weight)
    x, z = image((1, 1, 32, 32), 8), image((1, nets.latent, 8, 8), 9)
    assert not torch.equal(t({"a": x}, z)[0], t({"b": x}, z)[0])
    t({"a": x}, z)[0].sum().backward()
    assert all(p.grad is None for p in t.image["b"].parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_t_fits_the_latent_grid_of_every_preset(preset):
    nets = small(preset)
    rows, frames = nets.stride
    t = LatentDiscriminator(nets, 1)
    (logits,) = t({"a": image((1, 1, 8 * rows, 6 * frames), 1)}, image((1, nets.latent, 8, 6), 2))
    assert logits.shape == (1, 1, 8, 6)


def test_presets_hold_enough_noise_for_their_latent():
    # An image position carries stride^2 noise numbers per channel: 16 for stride 4. Fewer noise than latent
    # dimensions make q(z|x) singular, and T then has nothing to learn. UNIT's encoder takes none.
    for name, nets in PRESETS.items():
        noise = nets.noise_channels * math.prod(nets.stride)
        assert name == "unit-exact" or noise >= nets.latent


def test_a_recipe_names_a_preset_and_changes_and_null_keeps_the_presets_value():
    values = {"preset": "light", "kl": "linear", "width": 8, "blocks": None}
    settings = NetSettings(**with_preset(values))
    assert settings == net_settings("light", kl="linear", width=8)
    found = as_recipe(settings)
    assert {name: value for name, value in found.items() if value is not None} == {
        "preset": "light", "kl": "linear", "residual": 0.0, "width": 8,
    }  # fmt: skip
    assert NetSettings(**with_preset(found)) == settings
    assert as_recipe(net_settings("light", kl="mu2"))["noise_channels"] is None  # another kl would bring it back


@pytest.mark.parametrize("name", sorted(set(layers(NetSettings())) - set(as_recipe(NetSettings()))))
def test_what_a_preset_alone_decides_is_no_key_of_a_recipe(name):
    with pytest.raises(ValueError, match=f"{name} is decided by the preset: choose among base, light"):
        with_preset({"preset": "light", name: getattr(NetSettings(), name)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"down_kernel": 0}, "stem_kernel, stem_stride and down_kernel must be 1 or more"),
        ({"stem_kernel": (7, 0)}, "must be 1 or more"),
        ({"stem_stride": (0, 1)}, "must be 1 or more"),
        ({"blocks": 10**9}, "blocks 1000000000 must be 100 or less"),
        ({"width": 10**6}, "width 1000000 must be 4096 or less"),
        ({"downs": -1}, "downs -1 must be 0 or more"),
    ],
)
def test_layers_that_cannot_be_built_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        NetSettings(**change)
