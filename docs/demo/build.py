"""Build the demo page: its files, ONNX Runtime for browsers from npm, and the graphs of a model.

    python docs/demo/build.py -o site
    python -m http.server --directory site

The folder is static: any web server shows it, and nothing leaves the visitor's browser.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path

from audiotrans.convert.converter import Converter, load
from audiotrans.convert.graph_export import export_graph
from audiotrans.weights import find, open_weights

HERE = Path(__file__).resolve().parent
PAGE = ("index.html", "style.css", "page.js", "worker.js", "level.js")
PACKAGE = "onnxruntime-web"
VERSION = "1.22.0"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def fetch_runtime(folder: Path) -> Path:
    """Get the runtime from npm into a folder; return where its files lie.

    Raises:
        SystemExit: with one line, without npm or where npm cannot get it.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed: it brings onnxruntime-web; or name a folder with --runtime")
    command = [npm, "pack", "--prefer-offline", "--loglevel=error", f"{PACKAGE}@{VERSION}"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)  # noqa: S603  # fixed arguments
    if done.returncode:
        raise SystemExit(f"npm could not get {PACKAGE}@{VERSION}: see above")
    with tarfile.open(folder / f"{PACKAGE}-{VERSION}.tgz") as archive:
        for name in RUNTIME:
            archive.extract(f"package/dist/{name}", folder, filter="data")
    return folder / "package" / "dist"


def copy_files(output: Path, runtime: Path) -> None:
    """Copy the page and the runtime."""
    (output / "ort").mkdir(parents=True, exist_ok=True)
    for name in PAGE:
        shutil.copy(HERE / name, output)
    for name in RUNTIME:
        shutil.copy(runtime / name, output / "ort")


def write_graphs(output: Path, converter: Converter, model: str, summary: str) -> None:
    """Export each direction, and list them for the page."""
    listed = []
    for to in reversed(converter.domains):
        name = f"to_{to}.onnx"
        options = converter.options(to)
        done = export_graph(converter, options, output / name, model=model, summary=summary, force=True)
        listed.append({"file": name, **asdict(done.facts)})
        print(done)
    (output / "graphs.json").write_text(json.dumps(listed), encoding="utf-8")


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the site")
    parser.add_argument("--model", default="violin-piano", help="a shipped model's name, or a weights file")
    parser.add_argument("--runtime", type=Path, help="folder with the runtime's files, in place of npm")
    chosen = parser.parse_args()
    path = find(chosen.model)
    with tempfile.TemporaryDirectory() as scratch:
        copy_files(chosen.output, chosen.runtime or fetch_runtime(Path(scratch)))
    summary = str(open_weights(path).card.get("summary", ""))
    write_graphs(chosen.output, load(path, device="cpu"), path.stem, summary)


if __name__ == "__main__":
    main()
