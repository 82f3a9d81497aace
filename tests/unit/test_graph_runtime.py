"""Exported graphs as converters: their facts, their tiles, and what they refuse. The graphs here do next to nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.convert.graph_runtime import METADATA, GraphConverter, GraphFacts, graph_tiles
from audiotrans.errors import AudiotransError, UsageError

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'audiotrans[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'audiotrans[export]'")

RATE = 16_000
OPTIONS = {
    "strength": 100.0,
    "seed": 0,
    "articulation": 1.5,
    "shifts": 1,
    "vibrato": 0.0,
    "remove_vibrato": 0.0,
}
FACTS = GraphFacts("toy", ("violin", "piano"), "violin", "piano", RATE, 512, 128, 2048 * 16, 1024, 256, OPTIONS)


def write_graph(path: Path, text: str | None = None) -> Path:
    """Write a graph that halves what it is given."""
    from onnx import TensorProto, helper

    sizes = ["channels", "samples"]
    given = [
        helper.make_tensor_value_info("wave", TensorProto.FLOAT, sizes),
        helper.make_tensor_value_info("level_db", TensorProto.FLOAT, ["frames"]),
    ]
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["wave", "half"], ["sound"])], "toy", given,
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, sizes)], [half],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if text is not None:
        model.metadata_props.add(key=METADATA, value=text)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def graph(tmp_path: Path) -> GraphConverter:
    return GraphConverter(write_graph(tmp_path / "toy.onnx", FACTS.to_json()), threads=1)


@pytest.mark.parametrize("length", [1, 1024, 300_000, 327_680, 333_333, 1_000_000, 2_000_001])
def test_tiles_begin_where_the_noise_repeats_and_their_cores_are_the_whole(length):
    tiles = graph_tiles(FACTS, length)
    assert (tiles[0].start, tiles[0].begin, tiles[-1].end, tiles[-1].stop) == (0, 0, length, length)
    for tile, following in pairwise(tiles):
        assert tile.end == following.begin
    for tile in tiles:
        assert tile.start % FACTS.period == 0
        assert tile.begin in (0, tile.start + FACTS.margin)
        assert tile.stop == min(length, tile.end + FACTS.margin)
        assert tile.end - tile.begin < 35 * RATE


def test_tiles_join_to_the_whole(graph):
    sound = np.random.default_rng(0).normal(size=(2, 90 * RATE + 77)).astype(np.float32)
    np.testing.assert_allclose(graph.convert(sound, RATE, to="piano"), sound / 2, atol=1e-6)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (8_000, 2), (16_000, 3)])
def test_other_rates_and_any_channels(graph, rate, channels):
    sound = np.sin(np.arange(rate) * 2 * np.pi * 300 / rate)[None].repeat(channels, 0)
    found = graph.convert(sound, rate, to="piano")
    assert found.shape == sound.shape
    np.testing.assert_allclose(found[:, 500:-500], sound[:, 500:-500] / 2, atol=1e-3)


def test_silence_stays_silence(graph):
    assert not graph.convert(np.zeros((2, 5000)), RATE, to="piano").any()


def test_facts_are_read_as_they_were_written():
    assert GraphFacts.from_json(FACTS.to_json(), Path("x.onnx")) == FACTS


@pytest.mark.parametrize(
    "changed",
    ["", "[]", "{}", json.dumps({"version": 1}), json.dumps({**json.loads(FACTS.to_json()), "version": 2}),
     replace(FACTS, period=0).to_json(), replace(FACTS, fade=3).to_json()],
)  # fmt: skip
def test_broken_facts_are_one_line_that_names_the_file(tmp_path, changed):
    with pytest.raises(AudiotransError, match=r"toy\.onnx .*export it again"):
        GraphConverter(write_graph(tmp_path / "toy.onnx", changed))


def test_what_is_no_graph_of_ours_is_refused(tmp_path):
    with pytest.raises(AudiotransError, match=r"no graph .*missing\.onnx"):
        GraphConverter(tmp_path / "missing.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09broken")
    with pytest.raises(AudiotransError, match=r"broken\.onnx is not a graph that ONNX Runtime"):
        GraphConverter(tmp_path / "broken.onnx")
    with pytest.raises(AudiotransError, match=r"other\.onnx is no graph of ours"):
        GraphConverter(write_graph(tmp_path / "other.onnx"))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"to": "violin"}, "translates violin to piano, not violin to violin: audiotrans export toy makes another"),
        ({"to": "piano", "source": "piano"}, "not piano to piano"),
        ({"to": "piano", "articulation": 2.0}, r"--articulation 2: .* holds 1\.5; audiotrans export toy makes another"),
        ({"to": "piano", "strength": 50.0}, "--strength 50"),
        ({"to": "piano", "seed": 3}, "--seed 3"),
        ({"to": "piano", "phase": "pghi"}, "--phase pghi: a graph keeps the source's phases"),
    ],
)
def test_what_a_graph_does_not_hold_is_refused(graph, asked: dict[str, Any], line):
    with pytest.raises(UsageError, match=line):
        graph.options(**asked)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--model", "GRAPH", "--runtime", "torch"],
            r"--runtime torch does not run --model .*: leave",
        ),
        (
            ["--runtime", "onnx"],
            "first audiotrans export violin-piano --to DOMAIN -o model.onnx, then",
        ),
        (["--runtime", "tflite"], "--runtime 'tflite': choose torch or onnx"),
        (["--model", "GRAPH", "--samples", "2"], "--samples 2: a graph holds one seed"),
        (["--model", "GRAPH", "--device", "cuda"], "--device cuda: graphs run on the CPU"),
        (["--model", "GRAPH", "--seed", "1"], "--seed 1: .*holds 0"),
        (["--model", "GRAPH", "--stream"], "--stream needs a model, not a graph"),
    ],
)
def test_the_command_refuses_what_graphs_cannot_do_in_one_line(graph, tmp_path, arguments, line):
    sound = [] if "--stream" in arguments else [str(tmp_path / "a.wav")]
    given = [str(graph.path) if each == "GRAPH" else each for each in arguments]
    done = CliRunner().invoke(main, ["convert", *sound, "--to", "piano", *given])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert re.search(line, done.stderr), done.stderr


def test_the_command_converts_with_a_graph(graph, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(5000, 0.5), RATE, subtype="FLOAT")
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "a.wav"), "--to", "piano", "--model", str(graph.path)])
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(soundfile.read(tmp_path / "a.piano.wav")[0], 0.25, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-o", "model.pt"], r"-o model\.pt: the name of a file of the format onnx ends in \.onnx"),
        (["-o", "model.onnx", "--format", "torchscript"], r"ends in \.ts"),
        (["-o", "model.onnx", "--format", "coreml"], "unknown format 'coreml': choose one of onnx, torchscript"),
        (["-o", "model.onnx", "--strength", "0"], "strength 0 is the input itself"),
        (["-o", "THERE"], r"toy\.onnx exists already: use --force"),
        (["-o", "model.onnx", "--to", "flute"], "unknown domain of this model 'flute'"),
    ],
)
def test_export_refuses_before_any_work(graph, arguments, line):
    given = [str(graph.path) if each == "THERE" else each for each in arguments]
    done = CliRunner().invoke(main, ["export", "violin-piano", "--to", "piano", *given])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert re.search(line, done.stderr), done.stderr


def test_what_it_holds_may_be_said_and_what_lies_outside_chosen(graph):
    found = graph.options("piano", articulation=1.5, vibrato=30.0, phase="auto")
    assert (found.source, found.articulation, found.shifts, found.vibrato) == ("violin", 1.5, 1, 30.0)
    assert graph.domain_check("violin") is None
