"""Small folders as evaluate, cycle and train write them, made by hand: for tests of the listening page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000

METRICS = {
    "note_f1": {"label": "note F1 to input", "unit": "", "better": "higher", "group": "content"},
    "kad": {"label": "KAD (classifier)", "unit": "", "better": "lower", "group": "timbre"},
    "attack_ms": {"label": "attack", "unit": "ms", "better": "closer to truth", "group": "timbre"},
}

SYSTEMS = (("input", "input"), ("model", "system"), ("copy", "baseline"), ("truth", "truth"))


def write_tone(path: Path, hertz: float = 440.0, seconds: float = 0.5, gain: float = 0.3) -> Path:
    """Write a tone with two partials and an attack, mono; 16-bit for FLAC, float for WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(RATE * seconds)) / RATE
    wave = gain * np.exp(-time) * (np.sin(2 * np.pi * hertz * time) + 0.5 * np.sin(6 * np.pi * hertz * time)) / 1.5
    soundfile.write(path, wave, RATE, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def write_json(path: Path, values: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def evaluation_values(clips: int = 2, systems: tuple[tuple[str, str], ...] = SYSTEMS) -> dict[str, Any]:
    """Return what evaluation.json holds; sounds are named sounds/violin-to-piano/s<system>/<clip>.flac."""
    rows = [
        {
            "name": name,
            "kind": kind,
            "summary": {
                "note_f1": {"mean": 0.9 - 0.1 * at, "low": 0.85 - 0.1 * at, "high": 0.95 - 0.1 * at, "n": clips},
                "kad": {"mean": 0.1 * at, "low": None, "high": None, "n": clips},
                "attack_ms": {"mean": 40.0 - at, "low": 39.5 - at, "high": 40.5 - at, "n": clips},
            },
            "clips": [
                {
                    "clip": f"{clip:02}",
                    "recording": f"{clip:02}",
                    "sound": f"sounds/violin-to-piano/s{at}/{clip:02}.flac",
                    "scores": {"note_f1": 0.8, "attack_ms": None},
                    "warnings": [],
                }
                for clip in range(clips)
            ],
        }
        for at, (name, kind) in enumerate(systems)
    ]
    return {
        "format": "audiotrans-evaluation",
        "version": 1,
        "model": "toy",
        "created_with": "audiotrans 0.1.0",
        "test_set": "pairs",
        "metrics": METRICS,
        "directions": [{"source": "violin", "target": "piano", "systems": rows}],
        "conclusions": ["truth > model on timbre: yes (difference 0.30 [0.20, 0.40])"],
    }


def evaluation_folder(folder: Path, values: dict[str, Any], seconds: float = 0.5) -> Path:
    """Write an evaluation with all its sounds, each system at its own pitch and level."""
    for direction in values["directions"]:
        for at, system in enumerate(direction["systems"]):
            for clip in system["clips"]:
                write_tone(folder / clip["sound"], 220.0 * (at + 1), seconds, 0.5 / (at + 1))
    write_json(folder / "evaluation.json", values)
    return folder


def cycle_folder(folder: Path) -> Path:
    """Write a cycle run of one violin clip and one piano clip; the inputs lie beside it and are named, not copied."""
    items = []
    chains = {
        "violin": ["violin-violin", "violin-piano", "violin-piano-violin"],
        "piano": ["piano-violin"],
    }
    for domain, names in chains.items():
        source = write_tone(folder.parent / f"in-{folder.name}" / f"{domain}.wav", 330.0)
        for at, chain in enumerate(names):
            sound = f"sounds/{chain}/{domain}.wav"
            write_tone(folder / sound, 330.0 + 10 * at)
            about = {"input": str(source), "clip": domain, "domain": domain, "chain": chain, "sound": sound}
            items.append({**about, "scores": {"note_f1": 0.5 + 0.1 * at}})
    values = {
        "format": "audiotrans-cycle",
        "version": 1,
        "model": "toy",
        "model_sha256": "0123456789abcdef",
        "domains": ["violin", "piano"],
        "options": {"seed": 0, "phase": None, "strength": 100},
        "metrics": {"note_f1": METRICS["note_f1"]},
        "chains": [name for names in chains.values() for name in names],
        "means": {item["chain"]: item["scores"] for item in items},
        "items": items,
    }
    write_json(folder / "cycle.json", values)
    return folder


def run_folder(folder: Path, steps: tuple[int, ...] = (10, 20, 30)) -> Path:
    """Write a training run: curves, a sheet and sounds at each step."""
    folder.mkdir(parents=True)
    lines = (json.dumps({"step": step, "loss": 1.0 / step}) for step in range(1, 31))
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for step in steps:
        for label in ("violin 1", "piano 1"):
            for title in ("input", "reconstruction", "translation", "cycle"):
                write_tone(folder / "samples" / f"step_{step:07d}" / f"{label} {title}.wav", 200.0 + step)
        (folder / "samples" / f"step_{step:07d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder
