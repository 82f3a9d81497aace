"""Who may import whom, and what may load what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "audiotrans"

# A part of the package may import itself and what stands on a lower row; never a neighbour on its own row.
# So sound, photos and the model cannot know each other, and converting knows nothing of training.
ROWS = (
    {"errors"},
    {"cluster"},
    {"files", "options", "processes"},
    {"audio", "photo", "model"},
    {"spectrogram"},
    {"recipe", "hub"},
    {"weights"},
    {"convert"},
    {"training"},
    {"evaluation"},
    {"web", "facts", "doctor"},
    {"cli"},
    {"__init__", "__main__"},
)
RANK = {part: row for row, parts in enumerate(ROWS) for part in parts}

# Stricter than the rows: the training loop sees images, never sound or photographs.
FORBIDDEN = {f"training.{module}": {"audio", "spectrogram", "photo"} for module in ("engine", "run")}

# One door per library, so that each can be replaced by editing one file.
ONLY_USER = {
    "matplotlib": "evaluation.plots",
    "av": "audio",
    "ray": "cluster",
    "soundfile": "audio",
    "soxr": "audio",
    "yaml": "recipe",
}

# Training from a prepared cache runs on a bare machine with none of these.
NOT_FOR_TRAINING = ("av", "click", "librosa", "matplotlib", "mutagen", "scipy", "soundfile", "soxr")


class Import(NamedTuple):
    """One imported module: by whom (dotted, below the package), what (dotted, absolute) and where."""

    importer: str
    target: str
    place: str


def dotted(path: Path, package: Path) -> str:
    """Name a source file below its package: sound/audio.py is sound.audio, web/__init__.py is web."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def absolute(node: ast.ImportFrom, path: Path, package: Path) -> str:
    """Resolve the module of a `from` statement, whose leading dots count folders upwards."""
    if not node.level:
        return node.module or ""
    folder = path.relative_to(package.parent).parts[: -node.level]
    return ".".join((*folder, *(node.module or "").split("."))).rstrip(".")


def targets(node: ast.Import | ast.ImportFrom, path: Path, package: Path) -> list[str]:
    """List the modules that one statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = absolute(node, path, package)
    if module == package.name:  # `from audiotrans import sound` names a part, not a value
        return [f"{module}.{alias.name}" for alias in node.names]
    return [module]


def imports(package: Path) -> Iterator[Import]:
    """Find every import statement of a package, also those inside functions and type-checking blocks."""
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in statements:
            place = f"{path.relative_to(package.parent)}:{node.lineno}"
            yield from (Import(dotted(path, package), target, place) for target in targets(node, path, package))


def inside(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def fault(found: Import) -> str | None:
    """Say what is wrong with one import of the package's own parts, if anything is."""
    root, _, inner = found.target.partition(".")
    if root != "audiotrans" or inner == "__version__":
        return None
    importer, target = found.importer.partition(".")[0], inner.partition(".")[0] or "__init__"
    target = target if target in RANK else "__init__"  # a public name of the package itself
    wrong = importer != target and RANK[target] >= RANK[importer]
    for module, parts in FORBIDDEN.items():
        wrong = wrong or (inside(found.importer, module) and target in parts)
    return f"{found.place}: {importer} may not import {target}" if wrong else None


def test_every_part_of_the_package_has_a_row() -> None:
    parts = {dotted(path, PACKAGE).partition(".")[0] for path in PACKAGE.rglob("*.py")}
    assert parts <= set(RANK)


def test_nobody_imports_upwards_or_sideways() -> None:
    assert [message for found in imports(PACKAGE) if (message := fault(found))] == []


@pytest.mark.parametrize(
    ("file", "statement", "bad"),
    [
        ("spectrogram/stft.py", "import audiotrans.recipe", True),
        ("audio/reading.py", "from audiotrans import model", True),
        ("spectrogram/stft.py", "from audiotrans.errors import UsageError", False),
        ("audio/reading.py", "from .formats import CONTAINERS", False),
        ("photo/pillow.py", "from ..model import nets", True),
        ("spectrogram/stft.py", "def f():\n    from audiotrans import load", True),
        ("model/nets.py", "from audiotrans.spectrogram.stft import STFT", True),
        ("model/nets.py", "from audiotrans import __version__", False),
        ("photo/images.py", "import audiotrans.audio", True),
        ("training/engine.py", "from ..spectrogram import imaging", True),
        ("training/data.py", "from ..spectrogram import imaging", False),
        ("convert/converter.py", "import audiotrans.training.engine", True),
        ("convert/converter.py", "import audiotrans.evaluation.plots", True),
        ("web/server.py", "from audiotrans.cli import main", True),
        ("cli.py", "from audiotrans.web import server", False),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(tmp_path: Path, file: str, statement: str, bad: bool) -> None:
    source = tmp_path / "audiotrans" / file
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(statement, encoding="utf-8")
    assert any(fault(found) for found in imports(tmp_path / "audiotrans")) == bad


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """List the groups of files that import one another, directly or through others."""
    reached = {name: {name} | links for name, links in graph.items()}
    for middle in graph:  # Warshall's closure
        for name in graph:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    groups = {tuple(sorted(b for b in graph if b in reached[a] and a in reached[b])) for a in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def links(package: Path) -> dict[str, set[str]]:
    """Return the files that each file of a package imports anywhere, also in functions and for types alone."""
    files = {dotted(path, package) for path in package.rglob("*.py")}
    found: dict[str, set[str]] = {name: set() for name in files}
    for path in sorted(package.rglob("*.py")):
        own = dotted(path, package)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names]
            module = "" if isinstance(node, ast.Import) else absolute(node, path, package)
            wanted = names if isinstance(node, ast.Import) else [f"{module}.{name}" for name in names]
            for target in (name.removeprefix(f"{package.name}.") for name in wanted):
                inner = target if target in files else target.rpartition(".")[0]
                if inner in files and inner != own:
                    found[own].add(inner)
    return found


def test_no_files_import_one_another_not_even_inside_functions() -> None:
    assert circles(links(PACKAGE)) == []


def test_the_search_for_circles_finds_them(tmp_path: Path) -> None:
    package = tmp_path / "audiotrans"
    for name, text in {
        "a": "from audiotrans.b import x", "b": "def f():\n    from audiotrans import c", "c": "from .a import y",
        "d": "import audiotrans.a",
    }.items():  # fmt: skip
        (package / f"{name}.py").parent.mkdir(exist_ok=True)
        (package / f"{name}.py").write_text(text)
    assert circles(links(package)) == [["a", "b", "c"]]


@pytest.mark.parametrize(("library", "owner"), ONLY_USER.items())
def test_each_library_has_one_door(library: str, owner: str) -> None:
    users = [found for found in imports(PACKAGE) if inside(found.target, library)]
    assert [user.place for user in users if not inside(user.importer, owner)] == [], f"only {owner} imports {library}"


def run(code: str) -> str:
    """Run Python code in a fresh interpreter from the repository root and return its standard output."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "pty", "resource", "syslog", "termios", "tty"}

POSIX_NAMES = {
    "os": {
        "chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg",
        "lchown", "mkfifo", "mknod", "nice", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity", "sendfile",
        "setpgid", "setsid", "statvfs", "sync", "uname", "wait3", "wait4",
    },
    "signal": {
        "SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause", "setitimer",
    },
}  # fmt: skip
"""What Windows lacks of Python's modules."""


def posix_alone(path: Path) -> Iterator[str]:
    """Find what a file uses that Windows lacks, but for imports in a ``try`` and names that it asks for before."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tried = {node for each in ast.walk(tree) if isinstance(each, ast.Try) for node in ast.walk(each)}
    asked = {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("hasattr", "getattr")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in tried:
            yield from (f"{path.name}:{node.lineno} {name.name}" for name in node.names if name.name in POSIX_MODULES)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, ()) and node.attr not in asked:
                yield f"{path.name}:{node.lineno} {node.value.id}.{node.attr}"


def test_nothing_is_used_that_windows_lacks(tmp_path: Path) -> None:
    assert [found for path in sorted(PACKAGE.rglob("*.py")) for found in posix_alone(path)] == []
    (tmp_path / "a.py").write_text("import os, fcntl\ntry:\n    import pwd\nexcept ImportError:\n    os.fork()\n")
    assert list(posix_alone(tmp_path / "a.py")) == ["a.py:1 fcntl", "a.py:5 os.fork"]


REPORT = "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    "code",
    [
        "import sys, audiotrans",
        "import sys, runpy\nsys.argv[:] = ['audiotrans', '--help']\n"
        "try: runpy.run_module('audiotrans', run_name='__main__')\n"
        "except SystemExit as done: assert not done.code, done.code",
    ],
    ids=["import audiotrans", "audiotrans --help"],
)
def test_starting_up_loads_nothing_heavy(code: str) -> None:
    loaded = set(run(f"{code}\n{REPORT}").splitlines()[-1].split())
    assert "audiotrans" in loaded
    assert loaded.isdisjoint({"torch", "librosa", "matplotlib", "numba", "scipy"})


def test_keeping_the_sources_phases_compiles_nothing() -> None:
    code = (
        "import sys, torch\n"
        "from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings\n"
        "imaging = AudioImaging(AudioSettings())\n"
        "imaging.from_image(*imaging.to_image(torch.ones(2, 5000)))"
    )
    assert "numba" not in run(f"{code}\n{REPORT}").split()


@pytest.mark.slow
def test_what_workers_import_before_they_have_a_cache_compiles_nothing() -> None:
    modules = (
        "convert.side_by_side",
        "evaluation.cycles",
        "evaluation.compare.runs",
        "evaluation.evaluator",
        "training.prep",
    )
    code = "import sys, " + ", ".join(f"audiotrans.{module}" for module in modules)
    assert {"numba", "librosa"}.isdisjoint(run(f"{code}\n{REPORT}").split())


def test_training_runs_without_the_sound_libraries() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_FOR_TRAINING)
    code = f"import sys\n{blocked}import audiotrans.training.data, audiotrans.training.run"
    assert "torch" in run(f"{code}\n{REPORT}").split()


def test_public_names_arrive_on_first_use() -> None:
    code = (
        "import audiotrans, sys\n"
        "print({'load', 'AudiotransError', '__version__'} <= set(dir(audiotrans)))\n"
        "print('torch' in sys.modules)\n"
        "print(callable(audiotrans.load))\n"
        "print(hasattr(audiotrans, 'nothing'))"
    )
    assert run(code).split() == ["True", "False", "True", "False"]
