"""Laws of recipes: what is dumped is loaded, what is misspelt is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotrans.errors import UsageError
from audiotrans.model.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, KL_TERMS
from audiotrans.model.nets import PRESETS
from audiotrans.recipe import Recipe, dump_recipe, load_recipe, recipe_from_dict, recipe_to_dict
from audiotrans.spectrogram.phase import PHASES

# YAML keeps every float and every printable text; names may look like numbers, dates or booleans.
names = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12) | st.sampled_from(
    ["null", "yes", "1e3", "2020-01-01", "~", " x", "a: b", "#"]
)
weights = st.floats(1e-9, 1e9)
optional = st.fixed_dictionaries

imaging = optional(
    {},
    optional={
        "sample_rate": st.sampled_from([8_000, 44_100, 96_000]),
        "n_fft": st.sampled_from([1024, 2048]),
        "hop_length": st.sampled_from([64, 128]),
        "rows": st.sampled_from([64, 128]),
        "channels": st.sampled_from([1, 2]),
        "phase": st.sampled_from(sorted(set(PHASES) - {"network"})),  # that one needs another representation,
    },
)
model = optional(
    {},
    optional={
        "preset": st.sampled_from(sorted(set(PRESETS) - {"unit-exact"})),  # takes mu2 and none only
        "kl": st.sampled_from(sorted(KL_TERMS)),
        "residual": st.floats(0, 1),
        "width": st.none() | st.integers(1, 256),
        "blocks": st.integers(0, 9),
        "norm_eps": st.floats(1e-12, 0.1),
        "discriminator_norm": st.sampled_from(["spectral", "instance", "both", "none"]),
        "latent_discriminator": st.sampled_from(["local", "patch", "global"]),
    },
)
losses = optional(
    {},
    optional={
        "gan": st.sampled_from(["bce", "lsgan", "hinge"]),
        "generator": st.dictionaries(
            st.sampled_from(sorted({*GENERATOR_LOSSES} - {"imitation", "paired", "feature_matching"})),
            weights,
            min_size=1,
        ),
        # With a KL that reads T, T must be trained, and with a loss that reads D, D.
        "discriminator": st.dictionaries(st.sampled_from(sorted(DISCRIMINATOR_LOSSES)), weights).map(
            lambda given: {"image": 1.0, "latent": 1.0, **given}
        ),
        "identity_steps": st.integers(0, 10**6),
    },
)
train = optional(
    {},
    optional={
        "steps": st.integers(1, 10**7),
        "learning_rate": st.floats(1e-12, 1),
        "betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
        "decay_from": st.floats(0, 1),
        "precision": st.sampled_from(["bf16", "float32"]),
        "channels_last": st.booleans(),
        "seed": st.integers(0, 2**62 - 1),
    },
)
domains = st.tuples(names, names).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: {"a": pair[0], "b": pair[1]})
recipes = optional(
    {},
    optional={"imaging": imaging, "model": model, "losses": losses, "train": train, "domains": domains, "cache": names},
)


@settings(max_examples=30)
@given(values=recipes)
def test_loading_a_dump_gives_the_recipe(values):
    recipe = recipe_from_dict(values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        again = load_recipe(path)
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)
    for part, keys in values.items():
        kept = recipe_to_dict(recipe)[part]
        if part in ("train", "imaging"):
            assert all(kept[key] == (list(v) if isinstance(v, tuple) else v) for key, v in keys.items())
        if part == "model":  # what a preset says itself is dumped as null
            assert all(v is None or getattr(recipe.model, key) == v for key, v in keys.items())


def paths(values: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List every key of a nested dict with its parents."""
    found = []
    for key, value in values.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += paths(value, (*before, key))
    return found


KEYS = paths(recipe_to_dict(Recipe()))


@given(path=st.sampled_from(KEYS), data=st.data())
def test_any_misspelt_key_is_refused_by_name(path, data):
    values = recipe_to_dict(Recipe())
    parent: Any = values
    for key in path[:-1]:
        parent = parent[key]
    name = path[-1]
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = data.draw(
        st.sampled_from(
            [name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name[:at] + "x" + name[at + 1 :]]
        )
    )
    # A weight that is left out is no mistake, and `bs` is as near to `as` as to `b`: known names are left alone.
    if wrong in parent or not wrong or wrong in GENERATOR_LOSSES or wrong in DISCRIMINATOR_LOSSES:
        return
    parent[wrong] = parent.pop(name)
    with pytest.raises(UsageError) as error:
        recipe_from_dict(values, "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    named = repr(wrong) if path[0] == "losses" and len(path) == 3 else ".".join([*path[:-1], wrong])
    assert named in message
    if len(name) > 3:  # one letter off a long name is always near
        assert "Did you mean" in message


values_of_any_kind = st.none() | st.text(max_size=5) | st.lists(st.integers(), max_size=2) | st.integers() | st.floats()


@settings(max_examples=150)
@given(path=st.sampled_from(KEYS), value=values_of_any_kind)
def test_any_value_is_taken_whole_or_refused_in_one_line(path, value):
    values: dict[str, Any] = {}
    parent = values
    for key in path[:-1]:
        parent = parent.setdefault(key, {})
    parent[path[-1]] = value
    try:
        recipe = recipe_from_dict(values)
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert recipe_from_dict(yaml.safe_load(dump_recipe(recipe))) == recipe
    assert "\n" not in refusal
