"""``audiotrans export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audiotrans.cli.convert import conversion_options
from audiotrans.cli.parameters import MODEL
from audiotrans.errors import UsageError
from audiotrans.options import OPTIONS, options_of

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=MODEL)
@click.option("-o", "--output", type=PATH, required=True, help="File to write: .onnx, or .ts for torchscript.")
@click.option("--format", "kind", default="onnx", show_default=True, help="onnx or torchscript.")
@conversion_options("phase", "vibrato", "remove_vibrato")
@click.option("--check", type=PATH, multiple=True, metavar="SOUND", help="A sound to measure by too; may be repeated.")
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
def export(model: str, output: Path, kind: str, check: tuple[Path, ...], force: bool, **options: Any) -> None:
    """Write a model as one graph from wave to wave, for other programs: ONNX, or TorchScript.

    MODEL is a shipped model's name or a weights file, such as export-weights makes of a training run. The graph holds
    one direction (--to) at the settings that are given here. It takes and gives samples at the model's rate, any number
    of channels and any length. What it gives is compared with convert's sound, and the file is kept only if they agree.
    """
    asked = options_of({name: value for name in OPTIONS if (value := options.get(name)) is not None})
    from audiotrans.convert.converter import Converter, converter_of
    from audiotrans.convert.graph_export import export_graph
    from audiotrans.processes import choose_device
    from audiotrans.weights import find, open_weights

    stored = open_weights(find(model))
    converter = converter_of(stored, choose_device("cpu"))
    if not isinstance(converter, Converter):
        raise UsageError(f"{model} translates photos: only models of sounds can be exported")
    complete = converter.complete(asked)
    summary = str(stored.card.get("summary", ""))
    done = export_graph(converter, complete, output, kind=kind, model=model, summary=summary, check=check, force=force)
    click.echo(str(done))
