"""Options of a conversion: said once, and from there in the command line, recipes, converters, chains and streams."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.errors import UsageError
from audiotrans.options import BY_MODEL, OPTIONS, ConvertOptions, completed, flag, for_stream, options_of
from audiotrans.recipe import Recipe
from tests.standins import Identity, converter

ROOT = Path(__file__).resolve().parents[2]

ADDED = """    warmth: float | None = option(
        None, "Warmth", least=0, most=3, unit="dB", ends="0 is cold", neutral=0.0, by_model=True,
        streaming=0.0, sound=True, logarithmic=True,
    )

    def __post_init__"""
"""A field of `ConvertOptions` that nobody has thought of yet."""

USED = """
import sys, types
from pathlib import Path
text = Path("audiotrans/options.py").read_text().replace("    def __post_init__", {added!r}, 1)
module = sys.modules["audiotrans.options"] = types.ModuleType("audiotrans.options")
exec(compile(text, "options.py", "exec"), module.__dict__)

import pytest
from click.testing import CliRunner
from audiotrans.cli import main
from audiotrans.convert.photos import PhotoConverter
from audiotrans.errors import UsageError
from audiotrans.options import ConvertOptions, for_stream
from audiotrans.recipe import recipe_from_dict, recipe_to_dict
from audiotrans.training.export import export_run
from audiotrans.weights import open_weights
from tests.standins import Identity, converter

help = " ".join(CliRunner().invoke(main, ["convert", "--help"]).stdout.split())
assert "--warmth DB Warmth, 0 to 3. [default: the model's, 0 with --stream]" in help
recipe = recipe_from_dict({{"warmth": {{"b": 2}}}})
assert recipe_to_dict(recipe)["warmth"] == {{"a": 0.0, "b": 2.0}}
model = converter(Identity())
model.recipe = recipe
assert model.options("piano").warmth == 2
assert model.options("violin").warmth == model.options("piano", "piano").warmth == 0
assert model.options("piano", warmth=1).warmth == 1
assert for_stream(ConvertOptions("piano")).warmth == 0
out = Path({out!r})
export_run(Path("violin-piano"), out, {{"warmth": {{"piano": 1}}}})
assert open_weights(out).recipe.own("warmth", "b") == 1
with pytest.raises(UsageError, match=r"warmth 4 is outside 0\\.\\.3 dB \\(0 is cold\\)"):
    model.options("piano", warmth=4)
with pytest.raises(UsageError, match="warmth.b: .*less than or equal to 3"):
    recipe_from_dict({{"warmth": {{"b": 9}}}})
with pytest.raises(UsageError, match="warmth needs a logarithmic representation"):
    losses = {{"generator": {{"gan": 1}}}}
    recipe_from_dict({{"warmth": {{"b": 1}}, "imaging": {{"representation": "magnitude_phase"}}, "losses": losses}})
with pytest.raises(UsageError, match="warmth 1 is for sound: leave --warmth out"):
    PhotoConverter.complete(object(), ConvertOptions("brown", warmth=1))
"""


def test_a_new_option_is_one_field(tmp_path: Path) -> None:
    code = USED.format(added=ADDED, out=str(tmp_path / "m.safetensors"))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_field_says_what_is_known_of_it() -> None:
    assert list(OPTIONS) == [item.name for item in fields(ConvertOptions)]
    shown = CliRunner().invoke(main, ["convert", "--help"]).stdout
    for name, info in OPTIONS.items():
        assert f"{flag(name)} " in shown
        assert (info.least is None) == (info.most is None) == (info.kind is str)
    recipe = Recipe()
    for name, info in BY_MODEL.items():
        assert info.neutral is not None
        assert {recipe.own(name, side) for side in ("a", "b")} == {info.neutral}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("strength", 101, r"strength 101 is outside 0\.\.100 \(0 is the input, 100 the whole translation\)"),
        ("strength", "much", "strength 'much': give a number"),
        ("strength", None, "strength None: give a number"),
        ("seed", 1.5, "seed 1.5: give a whole number"),
        ("seed", True, "seed True: give a whole number"),
        ("shifts", 9, r"shifts 9 is outside 1\.\.8 \(1 is the fastest\)"),
        ("remove_vibrato", -1, r"remove_vibrato -1 is outside 0\.\.100 percent"),
        ("phase", 3, "phase 3: give a name"),
    ],
)
def test_values_are_refused_by_name(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConvertOptions(**{"to": "piano", name: value})


def test_names_are_refused_with_todays_or_the_nearest() -> None:
    with pytest.raises(UsageError, match="the option passes is called shifts now"):
        options_of({"to": "piano", "passes": 2})
    with pytest.raises(UsageError, match="the option straighten is called remove_vibrato now"):
        converter(Identity()).options("piano", straighten=50)
    with pytest.raises(UsageError, match=r"unknown option 'shfits': known are to, .*Did you mean 'shifts'\?"):
        options_of({"to": "piano", "shfits": 2})
    with pytest.raises(UsageError, match=r"the option tilt is gone: .*train\.equalise_db; leave it out"):
        options_of({"to": "piano", "tilt": -2})


def test_completing_twice_changes_nothing() -> None:
    model = converter(Identity(), articulation=(1.2, 1.5), shifts=3)
    once = model.options("piano")
    assert (once.source, once.articulation, once.shifts) == ("violin", 1.5, 3)
    assert model.complete(once) == once


def test_photos_have_domains_and_nothing_to_fill_in() -> None:
    found = completed(ConvertOptions("brown"), ("blond", "brown"))
    assert found == ConvertOptions("brown", "blond")


def test_streams_take_the_quickest_where_nothing_is_asked() -> None:
    quick = for_stream(ConvertOptions("piano", shifts=4))
    assert (quick.shifts, quick.remove_vibrato, quick.articulation) == (4, 0, None)
