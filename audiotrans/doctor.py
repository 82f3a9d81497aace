"""What this installation has and can do, found by trying it: libraries, devices, formats, models, places."""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiotrans import __version__
from audiotrans.audio import read, write
from audiotrans.audio.formats import CONTAINERS
from audiotrans.convert.converter import DEFAULT_MODEL, load
from audiotrans.errors import EXTRAS, AudiotransError
from audiotrans.evaluation.soundfont import find_player, find_soundfont
from audiotrans.processes import usable_cores
from audiotrans.training.engine import cpu_has_bf16
from audiotrans.weights import read_weights, shipped_by_name

Facts = dict[str, Any]

CORE = (
    "torch", "numpy", "scipy", "soundfile", "soxr", "av", "mutagen", "click", "yaml", "pydantic", "safetensors", "tqdm",
)  # fmt: skip
"""Modules that every installation has."""

NEIGHBOURS = ("torchaudio", "torchvision")
"""Modules that we do not need, but that often stand beside torch and do not load with it."""

PURPOSES = {
    "phase": "every --phase but auto, source and network",
    "photo": "models of photos",
    "plot": "figures",
    "train": "TensorBoard logs of training",
    "eval": "scores and listening pages",
    "hub": "models from the Hugging Face hub, hf:owner/name",
    "web": "the page of audiotrans serve",
    "export": "models as one graph of waves",
    "ray": "big folders on a cluster",
}
"""What each extra is for."""

DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow"}
"""Names that modules are installed by, where these differ."""

IMPORT = """
import importlib, json, sys
out = sys.stdout
sys.stdout = sys.stderr
for name in sys.argv[1:]:
    print(json.dumps([name, None]), file=out, flush=True)
    try:
        importlib.import_module(name)
        said = ""
    except BaseException as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, ModuleNotFoundError) else "absent"
        if isinstance(error, ModuleNotFoundError) and error.name != name:
            said = f"it needs {error.name}, which is not installed"
    print(json.dumps([name, said]), file=out, flush=True)
"""

IMPORT_SECONDS = 300
"""A first import on a cold disk may take a minute."""

LEAST_FREE_GB = 1.0


def examine() -> Facts:
    """Try what this installation is made of.

    Returns:
        Plain values, JSON-ready. ``faults`` are lines of what does not work though it should, ``advice`` of what could
        be added, each with the way to get it.
    """
    faults: list[str] = []
    advice: list[str] = []
    facts: Facts = {
        "audiotrans": __version__,
        "installed_in": str(Path(__file__).parent),
        "python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
        "libraries": _libraries(faults, advice),
        "devices": _devices(faults, advice),
        "formats": _formats(faults),
        "models": _models(faults),
        "programs": _programs(advice),
        "places": _places(faults),
    }
    return facts | {"faults": faults, "advice": advice}


def _libraries(faults: list[str], advice: list[str]) -> Facts:
    found: Facts = {}
    wanted: dict[str, list[str]] = {}
    for name, said in imported((*CORE, *EXTRAS, *NEIGHBOURS)).items():
        number = _version(name)
        if said == "" or (said == "absent" and name in NEIGHBOURS):
            found |= {name: number or "without a version"} if said == "" else {}
            continue
        found[name] = "not installed" if said == "absent" else f"{number or 'installed'}, but does not load"
        if said == "absent" and name in EXTRAS:
            wanted.setdefault(EXTRAS[name], []).append(name)
        elif name in NEIGHBOURS:
            torch_number = f"torch {torch.__version__}"
            advice.append(f"{name} {number} does not load beside {torch_number} ({said}): audiotrans does not need it")
        else:
            faults.append(
                f"{name} does not load ({said}): pip install --force-reinstall {DISTRIBUTIONS.get(name, name)}"
            )
    for extra, names in wanted.items():
        advice.append(f'for {PURPOSES[extra]} ({", ".join(names)}): pip install "audiotrans[{extra}]"')
    return found


def imported(names: Sequence[str]) -> dict[str, str]:
    """Import modules in a process of their own, which some of them may end.

    Returns:
        For each name ``""`` where it loads, ``absent`` where it is not installed, else what it said.
    """
    found: dict[str, str] = {}
    while waiting := [name for name in names if name not in found]:
        command = [sys.executable, "-c", IMPORT, *waiting]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS)  # noqa: S603
            lines, end = done.stdout.splitlines(), f"it ends the program, exit code {done.returncode}"
        except subprocess.TimeoutExpired as late:
            lines, end = _text(late.stdout).splitlines(), f"it takes more than {IMPORT_SECONDS} s"
        begun = ""
        for name, said in map(json.loads, lines):
            begun, found = name, found | ({} if said is None else {name: " ".join(said.split())[:200]})
        if begun not in found:
            found[begun or waiting[0]] = end
    return found


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _version(module: str) -> str:
    try:
        return version(DISTRIBUTIONS.get(module, module))
    except PackageNotFoundError:
        return ""


def _devices(faults: list[str], advice: list[str]) -> Facts:
    precision = "computes in bf16" if cpu_has_bf16() else "no bf16, so training is in float32"
    facts: Facts = {"cpu": f"{usable_cores()} cores, torch uses {torch.get_num_threads()} threads, {precision}"}
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    for name in names:
        label = torch.cuda.get_device_properties(name).name if name.startswith("cuda") else "Apple's GPU"
        try:
            spectrum = torch.stft(torch.ones(8192, device=name), 2048, 512, return_complex=True)
            facts[name] = f"{label}, {'computes' if spectrum.isfinite().all() else 'gives wrong numbers'}"
        except RuntimeError as error:
            facts[name] = f"{label}, does not compute"
            faults.append(f"{name} ({label}) does not compute ({' '.join(str(error).split())[:200]}): use --device cpu")
    if shutil.which("nvidia-smi") and not torch.cuda.device_count():
        advice.append(f"there is an NVIDIA card, but torch {torch.__version__} does not use it: see README, Install")
    return facts


def _formats(faults: list[str]) -> Facts:
    """Write and read a tenth of a second in every format."""
    wave = (0.1 * np.sin(2 * np.pi * 440 * np.arange(4410) / 44_100)).astype(np.float32)[None]
    works, fails = [], []
    with tempfile.TemporaryDirectory(prefix="audiotrans-") as folder:
        for suffix in CONTAINERS:
            path = Path(folder) / f"tone{suffix}"
            try:
                write(path, wave, 44_100)
                again, _ = read(path)
                works.append(suffix) if again.size else fails.append(suffix)
            except AudiotransError as error:
                fails.append(suffix)
                faults.append(
                    f"{suffix} files cannot be written and read ({error}): pip install --upgrade soundfile av"
                )
    return {"written_and_read": " ".join(works)} | ({"fail": " ".join(fails)} if fails else {})


def _models(faults: list[str]) -> Facts:
    facts: Facts = {}
    for name, path in shipped_by_name().items():
        try:
            read_weights(path)
            facts[name] = f"{path.stat().st_size / 1e6:.1f} MB, loads"
            if name == DEFAULT_MODEL:
                facts[name] += f"; a second of sound takes {_seconds_of_one():.2f} s"
        except AudiotransError as error:
            facts[name] = "does not work"
            faults.append(f"the model {name} does not work ({error}): install audiotrans again")
    if not facts:
        faults.append("no model is shipped with this installation: install audiotrans again")
    return facts


def _seconds_of_one() -> float:
    model = load(device="cpu")
    wave = (0.1 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.float32)
    model.convert(wave, 44_100, to=model.domains[1])  # the first time prepares
    began = time.perf_counter()
    out = model.convert(wave, 44_100, to=model.domains[1])
    if not math.isfinite(float(np.abs(out).max())):
        raise AudiotransError("it gives numbers that are not finite")
    return time.perf_counter() - began


def _programs(advice: list[str]) -> Facts:
    facts: Facts = {}
    looks: dict[str, Callable[[], object]] = {
        "soundfont_player": find_player,
        "soundfont": lambda: find_soundfont(None),
    }
    for name, look in looks.items():
        try:
            facts[name] = str(look())
        except AudiotransError as error:
            facts[name] = None
            advice.append(f"for the baseline that plays notes (evaluate): {error}")
    return facts


def _places(faults: list[str]) -> Facts:
    facts: Facts = {}
    for name, place in _folders():
        try:
            with tempfile.NamedTemporaryFile(dir=place):
                pass
            free = shutil.disk_usage(place).free / 1e9
            facts[name] = f"{place}, {free:.1f} GB free"
            if free < LEAST_FREE_GB:
                faults.append(f"{place} has {free:.2f} GB left: make room")
        except OSError as error:
            facts[name] = f"{place}, cannot be written"
            faults.append(f"{place} cannot be written ({error.strerror}): set TMPDIR to a folder that can")
    return facts


def _folders() -> Iterator[tuple[str, Path]]:
    yield "temporary_files", Path(tempfile.gettempdir())
    yield "here", Path.cwd()
