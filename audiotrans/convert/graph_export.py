"""A model's graph as a file, ONNX or TorchScript, that is kept only if it sounds as `Converter` does."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from audiotrans.audio import Wave, read
from audiotrans.convert.converter import Converter
from audiotrans.convert.effects import noise_period
from audiotrans.convert.graph import SoundGraph
from audiotrans.convert.graph_runtime import INSIDE, METADATA, OUTSIDE, SUFFIX, GraphConverter, GraphFacts
from audiotrans.errors import AudiotransError, UsageError, lookup, names_extras
from audiotrans.files import refuse_existing, replacing
from audiotrans.options import ConvertOptions

if TYPE_CHECKING:
    import onnx

OPSET = 18

LEAST_SNR_DB = 40.0
"""A graph whose sound is further from `Converter`'s than this is not kept; the shipped model's is 100 dB or more."""

CHECK_SECONDS = 20.0
"""Of a sound that is given for checking, so much is taken."""

SMALLEST_STORED = 1024
"""Tensors of fewer numbers are stored as they are."""

SPARSE_COST = 10
"""A number stored with its place takes so many times the bytes, at least, of one without."""


@dataclass(frozen=True)
class Exported:
    """A finished graph.

    Attributes:
        path: of the file.
        facts: what is known of it.
        snr_db: of its sound against `Converter`'s, by what was converted.
    """

    path: Path
    facts: GraphFacts
    snr_db: dict[str, float]

    def __str__(self) -> str:
        """Return the lines that a user sees."""
        size = self.path.stat().st_size / 1e6
        worst = min(self.snr_db.values())
        outside = [f"{name.replace('_', ' ')} ({self.facts.options[name]:g})" for name in OUTSIDE if self._has(name)]
        around = "; ".join(["resampling", *outside])
        return (
            f"{self.path} ({self.facts}, {size:.1f} MB, {self.facts.sample_rate} Hz)\n"
            f"against convert: {worst:.0f} dB SNR or better on {', '.join(self.snr_db)}\n"
            f"not inside, done by convert: {around}"
        )

    def _has(self, name: str) -> bool:
        return bool(self.facts.options[name])


def export_graph(
    converter: Converter,
    options: ConvertOptions,
    output: Path,
    *,
    kind: str = "onnx",
    model: str = "",
    summary: str = "",
    check: Sequence[Path] = (),
    force: bool = False,
) -> Exported:
    """Write one translation of a model as one graph from wave to wave.

    Args:
        converter: the model, on the CPU.
        options: complete, from the converter's `options`.
        output: file to write.
        kind: a name in `KINDS`.
        model: its name, for messages.
        summary: one line from its card.
        check: sounds to convert both ways, beside those that are made for it.
        force: whether to overwrite an output that exists.

    Returns:
        What was written, and how near its sound is to `Converter`'s.

    Raises:
        UsageError: for an output of another kind, or one that exists; for a strength of 0.
        AudiotransError: for a model that no graph can hold, and where the graph's sound is another one.
        MissingLibraryError: naming the extra that is missing.
    """
    suffix, write, load = lookup(KINDS, kind, "format")
    if output.suffix != suffix:
        raise UsageError(f"-o {output}: the name of a file of the format {kind} ends in {suffix}")
    if not options.strength:
        raise UsageError("strength 0 is the input itself: there is nothing to export")
    refuse_existing(output, force)
    facts = _facts(converter, options, model, summary)
    graph = SoundGraph(converter, options).eval()
    with replacing(output) as partial, torch.inference_mode(mode=False), names_extras():
        write(graph, partial, facts)
        found = dict(_measured(converter, options, load(partial), check))
        name, worst = min(found.items(), key=lambda item: item[1])
        if not worst >= LEAST_SNR_DB:  # also not a number
            raise AudiotransError(
                f"{output} was not kept: on {name} its sound is {worst:.0f} dB SNR from that of convert, "
                f"and at least {LEAST_SNR_DB:.0f} dB is wanted"
            )
    return Exported(output, facts, found)


def _facts(converter: Converter, options: ConvertOptions, model: str, summary: str) -> GraphFacts:
    settings, plan = converter.settings, converter.plan_for(options)
    column = settings.hop_length
    values = {name: getattr(options, name) for name in (*INSIDE, *OUTSIDE)}
    return GraphFacts(
        model=model,
        domains=converter.domains,
        source=options.source or "",
        to=options.to,
        sample_rate=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=column,
        period=noise_period(converter.model) * column,
        margin=plan.margin,
        fade=plan.fade,
        options={name: value or 0 for name, value in values.items()},
        summary=summary,
    )


Run = Callable[[Wave], Wave]


def _example(graph: SoundGraph) -> tuple[Tensor, Tensor]:
    """Return arguments to trace with; their length fits neither the hop nor the model's grid."""
    samples = 40 * graph.stft.hop + 17
    wave = torch.rand(2, samples, generator=torch.Generator().manual_seed(0)) - 0.5
    return wave, torch.full((1 + graph.stft.hops(samples),), -20.0)


def _write_onnx(graph: SoundGraph, path: Path, facts: GraphFacts) -> None:
    import onnx
    import onnxscript  # noqa: F401  # torch needs it, and would say so in many lines

    free = torch.export.Dim.DYNAMIC
    given = _example(graph)
    with _quiet(), _naming_versions("onnx", "onnxscript"):
        program = torch.export.export(graph, given, dynamic_shapes=({0: free, 1: free}, {0: free}), strict=False)
        made: Any = torch.onnx.export(
            program, given, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["wave", "level_db"], output_names=["sound"],
        )  # fmt: skip
    model: onnx.ModelProto = made.model_proto
    _store_small(model)
    _name_sizes(model)
    model.producer_name = "audiotrans"
    model.doc_string = f"{facts}: {facts.summary}".strip(": ")
    for key, value in ((METADATA, facts.to_json()), ("sample_rate", str(facts.sample_rate))):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _store_small(model: onnx.ModelProto) -> None:
    """Store what is large in fewer bytes, widened again while a runtime loads it.

    What loses nothing by it, and the noise, becomes float16; of what is nearly all zeros, the others are stored.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored, nodes = [], []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALLEST_STORED:
            stored.append(tensor)
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if name.startswith("noise_") or np.array_equal(half.astype(np.float32), values):
            stored.append(numpy_helper.from_array(half, f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        elif np.count_nonzero(values) * SPARSE_COST < values.size:
            places = np.argwhere(values)
            parts = {"shape": np.array(values.shape), "places": places, "values": values[tuple(places.T)]}
            stored += [numpy_helper.from_array(part, f"{name}_{kind}") for kind, part in parts.items()]
            nodes.append(helper.make_node("ConstantOfShape", [f"{name}_shape"], [f"{name}_zeros"]))
            nodes.append(helper.make_node("ScatterND", [f"{name}_zeros", f"{name}_places", f"{name}_values"], [name]))
        else:
            stored.append(tensor)
    kept = [*nodes, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(stored)
    model.graph.node.extend(kept)


def _name_sizes(model: onnx.ModelProto) -> None:
    """Name the sizes that may vary, and leave those of all that lies between to the runtime."""
    del model.graph.value_info[:]
    names = {"wave": ("channels", "samples"), "level_db": ("frames or 1",), "sound": ("channels", "samples")}
    for value in (*model.graph.input, *model.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, names[value.name], strict=True):
            dim.dim_param = name


def _load_onnx(path: Path) -> Run:
    return GraphConverter(path).run


class _Sound(nn.Module):
    """The traced graph with a default for what whole sounds need not give."""

    def __init__(self, graph: Any) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, wave: Tensor, level_db: Tensor | None = None) -> Tensor:
        """Translate ``(channels, samples)``."""
        measured = torch.full((1,), float("nan"))
        sound: Tensor = self.graph(wave, measured if level_db is None else level_db)
        return sound


def _write_torchscript(graph: SoundGraph, path: Path, facts: GraphFacts) -> None:
    with _quiet(), _naming_versions(), torch.no_grad():
        traced: Any = torch.jit.trace(graph, _example(graph), check_trace=False)  # type: ignore[no-untyped-call]
        sound: Any = torch.jit.freeze(torch.jit.script(_Sound(traced)).eval())
        torch.jit.save(sound, str(path), _extra_files={METADATA: facts.to_json()})


def _load_torchscript(path: Path) -> Run:
    with _quiet():
        sound: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(wave: Wave) -> Wave:
        with torch.inference_mode():
            found: Wave = sound(torch.from_numpy(np.ascontiguousarray(wave))).numpy()
        return found

    return run


KINDS: dict[str, tuple[str, Callable[[SoundGraph, Path, GraphFacts], None], Callable[[Path], Run]]] = {
    "onnx": (SUFFIX, _write_onnx, _load_onnx),
    "torchscript": (".ts", _write_torchscript, _load_torchscript),
}
"""Formats: the end of a file's name, what writes it and what runs it."""


@contextmanager
def _naming_versions(*libraries: str) -> Iterator[None]:
    """Raise `AudiotransError` where torch's exporters fail: which errors they raise changes from release to release."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        found = ", ".join(f"{name} {version(name)}" for name in ("torch", *libraries))
        said = str(error).strip().partition("\n")[0]
        names = " ".join(("torch", *libraries))
        raise AudiotransError(f"no graph can be made with {found} ({said}): try pip install -U {names}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks about themselves from the user."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx")]
    levels = [each.level for each in loud]
    for each in loud:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loud, levels, strict=True):
            each.setLevel(level)


def _measured(
    converter: Converter, options: ConvertOptions, run: Run, check: Sequence[Path]
) -> Iterator[tuple[str, float]]:
    """Yield the SNR of a graph's sounds against `Converter`'s, dB, by what was converted."""
    rate = converter.settings.sample_rate
    plain = {name: getattr(options, name) for name in ("source", *INSIDE)} | dict.fromkeys(OUTSIDE, 0.0)
    sounds = [*made_sounds(rate).items(), *((str(path), _taken(path, rate)) for path in check)]
    for name, wave in sounds:
        wanted = converter.convert(wave, rate, to=options.to, phase="source", **plain)
        yield name, _snr_db(wanted, run(wave))


def _snr_db(wanted: Wave, found: Wave) -> float:
    error = float(np.square(found - wanted, dtype=np.float64).sum())
    power = float(np.square(wanted, dtype=np.float64).sum())
    if not error:
        return math.inf
    return 10 * math.log10(power / error) if power else -math.inf


def _taken(path: Path, rate: int) -> Wave:
    return read(path, sample_rate=rate, seconds=CHECK_SECONDS)[0]


def made_sounds(rate: int) -> dict[str, Wave]:
    """Return sounds to compare graphs by, each ``(channels, samples)``; the same every time.

    Notes that decay, first loud and then 30 dB softer, in stereo; noise; and a short mono sound of odd length.
    """
    rng = np.random.default_rng(0)
    at = np.arange(rate) / rate
    notes = []
    for number, pitch in enumerate((220.0, 329.6, 440.0, 261.6)):
        partials = [np.sin(2 * np.pi * pitch * n * at + n) / n for n in range(1, 9) if pitch * n < rate / 2]
        notes.append(np.sum(partials, axis=0) * np.exp(-3 * at) * (0.2 if number < 2 else 0.006))
    melody = np.concatenate(notes)
    stereo = np.stack([melody, 0.7 * np.roll(melody, 37)]) + 1e-4 * rng.normal(size=(2, len(melody)))
    noise = 0.1 * rng.normal(size=(2, 2 * rate + 1))
    short = 0.1 * np.sin(2 * np.pi * 440 * at[: rate // 3 + 1])[None]
    return {
        "notes": stereo.astype(np.float32),
        "noise": noise.astype(np.float32),
        "a short tone": short.astype(np.float32),
    }
