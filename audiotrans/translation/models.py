"""Models by name or by path: those shipped with the package and those that users trained themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from audiotrans.errors import AudiotransError, UsageError, nearest

if TYPE_CHECKING:
    import torch

    from audiotrans.translation.convert import Converter

DEFAULT_MODEL = "violin-piano"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelEntry:
    """A shipped model, known from its file's header alone.

    Attributes:
        name: what ``--model`` takes.
        path: of its weights.
        domains: names of its two domains.
        summary: one line from its card.
    """

    name: str
    path: Path
    domains: tuple[str, str]
    summary: str

    def __str__(self) -> str:
        """Return the line that a user sees."""
        size = self.path.stat().st_size / 1e6
        return f"{self.name}: {self.domains[0]} <-> {self.domains[1]}, {size:.1f} MB. {self.summary}".rstrip()


def list_models() -> list[ModelEntry]:
    """List the shipped models, by name."""
    return [_entry(path) for path in _shipped()]


def load(name_or_path: str | Path = DEFAULT_MODEL, *, device: str = "auto") -> Converter:
    """Load a model with everything that converting needs.

    Args:
        name_or_path: a shipped model's name, or a weights file.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: for a name that no model has, or a device that is not there.
        AudiotransError: for a file that is not a model of ours.
    """
    path = find(name_or_path)
    target = choose_device(device)
    from audiotrans.training.checkpoints import read_weights
    from audiotrans.translation.convert import Converter

    model, recipe, _ = read_weights(path)
    return Converter(model, recipe, target)


def export_run(run: Path, output: Path, *, summary: str = "", half: bool = False, force: bool = False) -> Path:
    """Write the averaged weights of a training run as a model.

    Args:
        run: folder of the run, or a checkpoint.
        output: a ``.safetensors`` file.
        summary: one line for the model's card.
        half: whether to store float16.
        force: whether to overwrite an output that exists.

    Returns:
        ``output``.

    Raises:
        UsageError: for an output of another kind, or one that exists.
        AudiotransError: for a run without a readable checkpoint.
    """
    if output.suffix != SUFFIX:
        raise UsageError(f"-o {output}: the name of a weights file ends in {SUFFIX}")
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: use --force to overwrite it")
    from audiotrans.training.checkpoints import export_weights, load_checkpoint
    from audiotrans.training.engine import CHECKPOINT_NAME

    state, recipe = load_checkpoint(run / CHECKPOINT_NAME if run.is_dir() else run)
    card = {"summary": summary, "steps": state["step"]}
    export_weights(state["ema"], recipe, output, card=card, half=half)
    return output


def find(name_or_path: str | Path) -> Path:
    """Return the weights file of a name or path.

    Raises:
        UsageError: listing the names that exist.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a {SUFFIX} file (audiotrans export-weights makes one of a run)")
    shipped = {entry.stem: entry for entry in _shipped()}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    names = ", ".join(shipped) or "none"
    hint = nearest(str(name_or_path), shipped)
    raise UsageError(f"no model {str(name_or_path)!r}: shipped are {names}; or give the path of a {SUFFIX} file.{hint}")


def choose_device(name: str) -> torch.device:
    """Turn a user's word into a device.

    Raises:
        UsageError: for an unknown word, or CUDA where there is none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdigit() or (not index and ":" not in name)):
        raise UsageError(f"unknown device {name!r}: choose auto, cpu, cuda or cuda:0, cuda:1, ...")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"no device {name!r} here ({count} CUDA devices are usable): use --device cpu or auto")
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Set how many CPU threads torch uses in this process; None leaves it alone.

    Raises:
        UsageError: for fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise UsageError(f"threads {threads}: give 1 or more")
    import torch

    torch.set_num_threads(threads)


def _shipped() -> Iterator[Path]:
    folder = Path(str(resources.files("audiotrans"))) / "weights"
    yield from sorted(folder.glob(f"*{SUFFIX}"))


def _entry(path: Path) -> ModelEntry:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # reads the header only
            metadata = file.metadata() or {}
        domains = json.loads(metadata["recipe"])["domains"]
        summary = json.loads(metadata.get("card", "{}")).get("summary", "")
        return ModelEntry(path.stem, path, (domains["a"], domains["b"]), summary)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AudiotransError(f"{path} is not a model of audiotrans ({error})") from error
