"""Mutated files of every kind through the command: each ends in a result or in one clear line.

    python -m benchmarks.fuzz --cases 20000 -o fuzz/                # goes on where it stopped
    python -m benchmarks.fuzz --cases 20000 -o fuzz/ --minutes 5    # a slice of it
    python -m benchmarks.fuzz -o fuzz/ --only 1234                  # one case again; its input stays in fuzz/work-0
    python -m benchmarks.fuzz --cases 600 -o graphs/ --kind onnx    # graphs, which are not among them

A case is decided by its number and the seed. A worker process runs many, each the command's own entry point with its
output caught where a terminal would be; another process watches how much time and memory it takes. What is counted as
a fault: a traceback, a crash, more than 10 s of CPU or 120 s in all, more than 2 GiB, more than one line of error,
lines that are not ours (what C libraries say), code of a file that was run, an output that is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

MOST_CPU_SECONDS = 10.0
MOST_SECONDS = 120.0
MOST_BYTES = 2 << 30
CASES_PER_WORKER = 2000

ROOT = Path(__file__).resolve().parents[1]

# How many of a hundred cases are of each kind.
SHARES = {
    "sound": 63, "stream": 2, "photo": 9, "recipe": 8, "cycle": 1, "manifest": 3, "cache": 2, "checkpoint": 3,
    "model": 7, "classifier": 1, "report": 1,
}  # fmt: skip
ORDER = tuple(np.random.default_rng(0).permutation([kind for kind, share in SHARES.items() for _ in range(share)]))

NAMES = ("x", "a b", "Dvořák 🎻", "-o", "--force", "[1]*", "%s%d", "é" * 120, "quote'\"", "#", "nbsp\u00a0\u202e")

OURS = re.compile(
    r"audiotrans: (warning|error): .+|no sample sheets: .+|this CPU has no bf16 .+"
    r"|no statistics of its training data: .+"
)


def kind_of(case: int) -> str:
    return str(ORDER[case % len(ORDER)])


# One case ------------------------------------------------------------------------------------------------------------


class Bench:
    """A folder of whole files, and a place where each case finds its own.

    Args:
        root: The folder of the whole run.
        seed: Of all mutations.
        number: Of the worker whose it is.
        kind: Of all cases; empty: as `kind_of` says.
    """

    def __init__(self, root: Path, seed: int, number: int = 0, kind: str = "") -> None:
        self.kind = kind
        self.seeds, self.place, self.seed = root / "seeds", root / f"work-{number}", seed
        self.mark = root / f"code-was-run-{number}"

    def make_seeds(self, more: Path | None) -> None:
        """Write the whole files, once; ``more`` is a folder of further sounds."""
        if (self.seeds / "made").exists():
            return
        from audiotrans.recipe import recipe_from_dict
        from benchmarks import fuzz_inputs as inputs

        shutil.rmtree(self.seeds, ignore_errors=True)
        inputs.make_sounds(self.seeds / "sound")
        inputs.make_photos(self.seeds / "photo")
        inputs.make_recipes(self.seeds, ROOT / "recipes")
        inputs.untrained(inputs.TINY, self.seeds / "tiny.safetensors")
        inputs.untrained(inputs.PHOTO, self.seeds / "photo.safetensors")
        inputs.make_cache(self.seeds / "cache", recipe_from_dict(inputs.TINY))
        inputs.make_evaluation(self.seeds / "report")
        for path in sorted(more.iterdir()) if more else []:
            shutil.copy(path, self.seeds / "sound" / f"more-{path.name}")
        if self.kind == "onnx":
            exported = self.run(["export", str(self.seeds / "tiny.safetensors"), "--to", "piano",
                                 "-o", str(self.seeds / "tiny.onnx"), "--force"])  # fmt: skip
            if exported["code"] != 0:
                raise SystemExit(f"the graph cannot be exported: {exported}")
        trained = self.run(["train", str(self.seeds / "recipe" / "tiny.yaml"), "--cache", str(self.seeds / "cache"),
                            "--run", str(self.seeds / "run"), "-q", "--device", "cpu"])  # fmt: skip
        if trained["code"] != 0:
            raise SystemExit(f"the seed run cannot be trained: {trained}")
        (self.seeds / "made").touch()

    def case(self, number: int) -> dict[str, Any]:
        """Prepare and run a case; return what came of it."""
        rng = np.random.default_rng([self.seed, number])
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        kind = self.kind or kind_of(number)
        name, words, wanted = CASES[kind](self, rng)
        found = self.run(words, self.place / "in" if kind == "stream" else None)
        fault = fault_of(found)
        if not fault and found["code"] == 0 and wanted is not None and not any(self.place.glob(wanted)):
            fault = "no output"
        if self.mark.exists():
            self.mark.unlink()
            fault = "code of the file was run"
        said = found["stderr"].strip()
        return {
            "case": number, "kind": kind, "of": name, "code": found["code"], "fault": fault,
            "cpu": round(found["cpu"], 3), "said": said[-2500:] if fault else said[-300:], "words": words,
        }  # fmt: skip

    def run(self, words: list[str], stdin: Path | None = None) -> dict[str, Any]:
        """Run the command in this process as a terminal would see it."""
        self.place.mkdir(parents=True, exist_ok=True)
        code: Any = None
        began = time.process_time()
        with caught(self.place / "stdout", self.place / "stderr", stdin):
            try:
                command(words)
            except SystemExit as end:
                code = end.code
            except BaseException:
                code = traceback.format_exc()
        said = (self.place / "stderr").read_text(encoding="utf-8", errors="replace")
        if isinstance(code, str):
            code, said = "traceback", f"{said}\n{code}"
        return {"code": 0 if code is None else code, "stderr": said, "cpu": time.process_time() - began}

    def pick(self, folder: str, rng: Generator) -> tuple[Path, bytes]:
        """Return one of the whole files of a folder, and its content."""
        paths = sorted(path for path in (self.seeds / folder).iterdir() if path.is_file())
        path = paths[int(rng.integers(len(paths)))]
        return path, path.read_bytes()

    def put(self, name: str, data: bytes) -> Path:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def command(words: list[str]) -> None:
    """Run the command; its word ``load-classifier`` stands for what no command does alone."""
    from audiotrans.cli import main
    from audiotrans.errors import AudiotransError

    if words[0] != "load-classifier":
        main(words, prog_name="audiotrans")
        return
    from audiotrans.evaluation.classifier import InstrumentClassifier

    try:
        InstrumentClassifier.load(words[1])
    except AudiotransError as error:
        print(f"audiotrans: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def fault_of(found: dict[str, Any]) -> str:
    """Say what is wrong with how a run ended; empty if nothing is."""
    lines = found["stderr"].splitlines()
    if found["code"] == "traceback" or any(line.startswith("Traceback ") for line in lines):
        return "traceback"
    errors = [line for line in lines if line.startswith("audiotrans: error: ")]
    if found["code"] not in (0, 1, 2):
        return f"exit code {found['code']}"
    if len(errors) != (found["code"] != 0):
        return f"{len(errors)} lines of error"
    strange = [line for line in lines if not OURS.fullmatch(line)]
    return f"not ours: {strange[0][:200]}" if strange else ""


@contextlib.contextmanager
def caught(out: Path, err: Path, stdin: Path | None) -> Iterator[None]:
    """Let files take the place of the terminal, for Python and for C."""
    kept = [os.dup(number) for number in (0, 1, 2)]
    files = [os.open(stdin or os.devnull, os.O_RDONLY)]
    files += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in (out, err)]
    for number, file in enumerate(files):
        os.dup2(file, number)
    before = sys.stdin
    sys.stdin = open(0, closefd=False)  # a child process has another
    try:
        yield
    finally:
        sys.stdin = before
        sys.stdout.flush()
        sys.stderr.flush()
        for number, (file, terminal) in enumerate(zip(files, kept, strict=True)):
            os.dup2(terminal, number)
            os.close(terminal)
            os.close(file)


Prepared = tuple[str, list[str], str | None]
"""Which whole file was changed, the words of the command, and a pattern of the output to be."""


def _sound(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated

    path, data = bench.pick("sound", rng)
    _, other = bench.pick("sound", rng)
    name = path.name if rng.random() < 0.8 else NAMES[int(rng.integers(len(NAMES)))] + path.suffix
    source = bench.put(name, mutated(data, rng, other))
    model = str(bench.seeds / "tiny.safetensors")
    words = ["convert", "--to", "piano", "--model", model, "--device", "cpu", "--threads", "1", "-q"]
    return path.name, [*words, "-o", str(bench.place / "out"), "--", str(source)], "out/*"


def _stream(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated

    names = ("x.wav", "float.wav", "pcm_16.wav", "x.rf64", "tagged.wav", "adpcm.wav")
    name = names[int(rng.integers(len(names)))]
    bench.put("in", mutated((bench.seeds / "sound" / name).read_bytes(), rng))
    model = str(bench.seeds / "tiny.safetensors")
    return name, ["convert", "--stream", "--to", "piano", "--model", model, "--device", "cpu", "-q"], None


def _photo(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated

    path, data = bench.pick("photo", rng)
    _, other = bench.pick("photo", rng)
    source = bench.put(path.name, mutated(data, rng, other))
    words = ["convert", "--to", "brown", "--model", str(bench.seeds / "photo.safetensors"), "--device", "cpu", "-q"]
    return path.name, [*words, "-o", str(bench.place / "out"), str(source)], "out/*"


def _recipe(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_text

    path, data = bench.pick("recipe", rng)
    return path.name, ["recipe", "show", str(bench.put("x.yaml", mutated_text(data.decode(), rng)))], None


def _cycle(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_text

    path, data = bench.pick("cycle", rng)
    recipe = bench.put("x.yaml", mutated_text(data.decode(), rng))
    words = ["cycle", str(bench.seeds / "sound" / "pcm_16.wav"), "--from", "violin", "--recipe", str(recipe)]
    words += ["--model", str(bench.seeds / "tiny.safetensors"), "--scores", "none", "--device", "cpu", "-q"]
    return path.name, [*words, "--workers", "1", "-o", str(bench.place / "out")], None


def _train(bench: Bench, cache: Path, *more: str) -> list[str]:
    recipe = str(bench.seeds / "recipe" / "tiny.yaml")
    return ["train", recipe, "--cache", str(cache), "--run", str(bench.place / "run"), "--device", "cpu", "-q", *more]


def _manifest(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_json

    cache = Path(shutil.copytree(bench.seeds / "cache", bench.place / "cache"))
    changed = mutated_json((cache / "manifest.json").read_text(encoding="utf-8"), rng)
    (cache / "manifest.json").write_bytes(changed)
    if rng.random() < 0.8:
        return "manifest.json", _train(bench, cache), "run/last.pt"
    for domain in ("violin", "piano"):
        for name in ("x.wav", "pcm_16.wav"):
            bench.put(f"sounds/{domain}/{name}", (bench.seeds / "sound" / name).read_bytes())
    words = ["prep", str(bench.place / "sounds"), "-o", str(cache), "--workers", "1", "-q"]
    return "manifest.json", [*words, "--recipe", str(bench.seeds / "recipe" / "tiny.yaml")], "cache/manifest.json"


def _cache(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_safetensors

    cache = Path(shutil.copytree(bench.seeds / "cache", bench.place / "cache"))
    paths = sorted(cache.rglob("*.safetensors"))
    path = paths[int(rng.integers(len(paths)))]
    path.write_bytes(mutated_safetensors(path.read_bytes(), rng))
    return "images", _train(bench, cache), "run/last.pt"


def _checkpoint(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_checkpoint

    run = Path(shutil.copytree(bench.seeds / "run", bench.place / "run"))
    (run / "last.pt").write_bytes(mutated_checkpoint((run / "last.pt").read_bytes(), rng, bench.mark))
    if rng.random() < 0.5:
        return "last.pt", ["export-weights", str(run), "-o", str(bench.place / "out.safetensors")], "out.safetensors"
    return "last.pt", _train(bench, bench.seeds / "cache", "--resume", "--set", "train.steps=2"), None


def _model(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_safetensors

    data = (bench.seeds / "tiny.safetensors").read_bytes()
    model = bench.put("x.safetensors", mutated_safetensors(data, rng))
    sound = bench.seeds / "sound" / "pcm_16.wav"
    words = ["convert", "--to", "piano", "--model", str(model), "--device", "cpu", "--threads", "1", "-q"]
    return "tiny.safetensors", [*words, "-o", str(bench.place / "out"), str(sound)], "out/*"


def _classifier(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_safetensors

    folder = ROOT / "audiotrans" / "weights" / "classifiers"
    path = next(iter(sorted(folder.glob("*.safetensors"))))
    model = bench.put("x.safetensors", mutated_safetensors(path.read_bytes(), rng))
    return path.name, ["load-classifier", str(model)], None


def _report(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated_json

    folder = Path(shutil.copytree(bench.seeds / "report", bench.place / "in"))
    changed = mutated_json((folder / "evaluation.json").read_text(encoding="utf-8"), rng)
    (folder / "evaluation.json").write_bytes(changed)
    return "evaluation.json", ["report", str(folder), "-o", str(bench.place / "page"), "-q"], "page/index.html"


def _onnx(bench: Bench, rng: Generator) -> Prepared:
    from benchmarks.fuzz_inputs import mutated

    graph = bench.put("x.onnx", mutated((bench.seeds / "tiny.onnx").read_bytes(), rng))
    sound = bench.seeds / "sound" / "pcm_16.wav"
    words = ["convert", "--to", "piano", "--model", str(graph), "--runtime", "onnx", "--threads", "1", "-q"]
    return "tiny.onnx", [*words, "-o", str(bench.place / "out"), str(sound)], "out/*"


CASES: dict[str, Callable[[Bench, Generator], Prepared]] = {
    "sound": _sound, "stream": _stream, "photo": _photo, "recipe": _recipe, "cycle": _cycle, "manifest": _manifest,
    "cache": _cache, "checkpoint": _checkpoint, "model": _model, "classifier": _classifier, "report": _report,
    "onnx": _onnx,
}  # fmt: skip


# The watchdog --------------------------------------------------------------------------------------------------------


def work(bench: Bench, cases: list[int], pipe: Connection) -> None:
    """Run cases in a process of their own, and tell of each when it begins and when it has ended."""
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]  # its import takes longer than a case
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    _keep_models(bench)
    for number in cases:
        pipe.send(number)
        _reset_peak()
        found = bench.case(number)
        pipe.send({**found, "peak": _memory("VmHWM")})


def _keep_models(bench: Bench) -> None:
    """Read the models of whole files once, draw no runs and validate little: the cases are about other files."""
    from audiotrans import weights
    from audiotrans.cli import train
    from audiotrans.convert import converter
    from audiotrans.training import validation

    train._sample_writer = lambda *_: None
    validation.CROPS = 1

    def once(make: Callable[..., Any], path_of: Callable[[Any], Path]) -> Callable[..., Any]:
        kept: dict[Path, Any] = {}

        def made(first: Any, *rest: Any) -> Any:
            path = path_of(first)
            if path.parent != bench.seeds:
                return make(first, *rest)
            if path not in kept:
                kept[path] = make(first, *rest)
            return kept[path]

        return made

    converter.converter_of = once(converter.converter_of, lambda stored: stored.path)
    weights.open_weights = once(weights.open_weights, Path)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(key: str, process: int | str = "self") -> int:
    """Return the memory of a process in bytes; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{key}:\s+(\d+) kB", text)
    return int(found.group(1)) * 1024 if found else 0


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(bench: Bench, cases: list[int], until: float) -> Iterator[dict[str, Any]]:
    """Run cases, and yield what came of each; a worker that hangs, dies or grows too much is replaced."""
    context = multiprocessing.get_context("spawn")
    left = list(cases)
    while left and time.monotonic() < until:
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(bench, left[:CASES_PER_WORKER], there), daemon=True)
        worker.start()
        there.close()
        try:
            for found in _outcomes(worker, here, until, bench.kind):
                left.remove(found["case"])
                yield found
        finally:
            worker.kill()
            worker.join()
            here.close()


def all_watched(benches: list[Bench], cases: list[int], until: float) -> Iterator[dict[str, Any]]:
    """Run cases, shared out among workers."""
    found: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def share(number: int) -> None:
        try:
            for each in watched(benches[number], cases[number :: len(benches)], until):
                found.put(each)
        finally:
            found.put(None)

    threads = [threading.Thread(target=share, args=(number,), daemon=True) for number in range(len(benches))]
    for thread in threads:
        thread.start()
    ended = 0
    while ended < len(threads):
        each = found.get()
        if each is None:
            ended += 1
        else:
            yield each


def _outcomes(worker: Any, pipe: Connection, until: float, kind: str) -> Iterator[dict[str, Any]]:
    case, began, cpu = None, time.monotonic(), 0.0
    while True:
        if not pipe.poll(0.1):
            if case is not None and (fault := _excess(worker.pid, began, cpu)):
                yield _lost(case, fault, kind)
                return
            continue
        try:
            message = pipe.recv()
        except EOFError:
            worker.join()
            if case is not None:
                yield _lost(case, f"crash: exit code {worker.exitcode}", kind)
            return
        case = message if isinstance(message, int) else None
        if case is not None:
            began, cpu = time.monotonic(), _cpu_seconds(worker.pid)
        else:
            late = "hang" if message["cpu"] > MOST_CPU_SECONDS else ""
            large = "memory" if message["peak"] > MOST_BYTES else ""
            yield {**message, "fault": message["fault"] or late or large}
            if time.monotonic() > until:
                return


def _excess(process: int, began: float, cpu: float) -> str:
    """Say what a case takes too much of by now; empty if nothing."""
    if _memory("VmRSS", process) > MOST_BYTES:
        return "memory"
    late = time.monotonic() - began > MOST_SECONDS or _cpu_seconds(process) - cpu > MOST_CPU_SECONDS
    return "hang" if late else ""


def _lost(case: int, fault: str, kind: str) -> dict[str, Any]:
    return {"case": case, "kind": kind or kind_of(case), "of": "", "code": None, "fault": fault, "cpu": 0.0, "said": "",
            "words": [], "peak": 0}  # fmt: skip


# The command ---------------------------------------------------------------------------------------------------------


def summary(outcomes: list[dict[str, Any]]) -> str:
    """Return a table by kind, and the faults."""
    lines = [
        "| input | cases | result | one line | faults | longest, s of CPU | most memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in [*CASES, "all"]:
        of = [found for found in outcomes if kind in ("all", found["kind"])]
        if of:
            well = [found["code"] == 0 for found in of if not found["fault"]]
            longest, peak = max(found["cpu"] for found in of), max(found["peak"] for found in of) / 1e6
            counts = [len(of), sum(well), len(well) - sum(well), len(of) - len(well)]
            lines.append("| " + " | ".join([kind, *map(str, counts), f"{longest:.1f}", f"{peak:.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="Folder of the run; it goes on from there.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="Stop after so many.")
    parser.add_argument(
        "--only", type=int, action="append", help="Run these cases again, and print what comes of them."
    )
    parser.add_argument("--kind", choices=[*SHARES, "onnx"], help="Only cases of this kind.")
    parser.add_argument("--more", type=Path, metavar="FOLDER", help="Further sounds to be mutated.")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    kind = "" if asked.kind in SHARES else asked.kind or ""
    benches = [Bench(asked.output.resolve(), asked.seed, number, kind) for number in range(asked.workers)]
    benches[0].place.mkdir(parents=True, exist_ok=True)
    benches[0].make_seeds(asked.more)
    journal = asked.output / "outcomes.jsonl"
    done = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    if asked.only:
        for found in watched(benches[0], asked.only, float("inf")):
            print(json.dumps(found, indent=1, ensure_ascii=False).replace("\\n", "\n"))
        return
    finished = {found["case"] for found in done}
    cases = [number for number in range(asked.cases) if number not in finished]
    cases = [number for number in cases if asked.kind in (None, "onnx", kind_of(number))]
    with journal.open("a") as file:
        for found in all_watched(benches, cases, time.monotonic() + 60 * asked.minutes):
            done.append(found)
            file.write(json.dumps(found) + "\n")
            file.flush()
            if found["fault"]:
                print(f"{found['case']} {found['kind']} {found['of']}: {found['fault']}", flush=True)
    print(summary(done))
    (asked.output / "summary.md").write_text(summary(done) + "\n")
    sys.exit(any(found["fault"] for found in done))


if __name__ == "__main__":
    main()
