# `make demo` installs audiotrans and converts the shipped violin; `make test` runs every check.
# Both may be run again at any time. Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUTPUT := demo/violin_to_piano.wav

# The stamps carry the interpreter's version, so that another PYTHON makes the environment anew.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE    := $(VENV)/.made-with-$(VERSION)
TORCH   := $(VENV)/.torch-installed
CORE    := $(VENV)/.core-installed
WEB     := $(VENV)/.web-installed
DEV     := $(VENV)/.dev-installed
DOCS    := $(VENV)/.docs-installed

# Small builds first: without an NVIDIA card, Linux needs no CUDA. Where PyTorch's index of CPU builds cannot be reached,
# the attempt fails within seconds, and the next command brings what PyPI has.
CPU_INDEX := https://download.pytorch.org/whl/cpu
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# A process for each core, four at most: every one compiles its own code the first time (tests/conftest.py).
PYTEST  := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m 'not docs'

.DELETE_ON_ERROR:
.PHONY: help venv demo serve test quick docs lint format clean

help:
	@echo "make demo    install into $(VENV), convert data/violin.wav to piano, name the files to open"
	@echo "make serve   install the page into $(VENV) and open it in your browser; Ctrl-C ends it"
	@echo "make test    install what the tests need, then ruff, mypy and pytest"
	@echo "make quick   the fast tests alone: unit and properties, about a minute"
	@echo "make docs    build the documentation into site/ (a warning fails it), and run every command in it"
	@echo "make lint    the checks that run no code: ruff and mypy"
	@echo "make format  let ruff rewrite what it can"
	@echo "make clean   remove the environment, the demo and the caches"

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "audiotrans needs Python 3.10 or newer; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "making $(VENV) with $(PYTHON) ($(VERSION))"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "No environment could be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@# The pip that came with the interpreter may be years old.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

$(TORCH): $(MADE) constraints.txt
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
	  $(INSTALL) --quiet --no-deps --retries 0 --timeout 5 --index-url $(CPU_INDEX) torch 2>/dev/null || \
	  echo "no CPU build of PyTorch could be had from $(CPU_INDEX): taking PyPI's"; \
	fi
	@touch $@

# Installed in editable form: only a change of dependencies asks for another install.
$(CORE): $(TORCH) pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(WEB): $(TORCH) pyproject.toml constraints.txt
	$(INSTALL) --editable '.[web]'
	@touch $(CORE) $@

$(DEV): $(TORCH) pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $(CORE) $(WEB) $@

venv: $(MADE)

demo: $(CORE)
	@mkdir -p $(dir $(OUTPUT))
	$(BIN)/audiotrans convert data/violin.wav --to piano -o $(OUTPUT) --force
	@echo
	@echo "Open these two and listen:"
	@echo "  before  $(CURDIR)/data/violin.wav"
	@echo "  after   $(CURDIR)/$(OUTPUT)"

$(DOCS): $(DEV)
	$(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m pytest -q -m docs

serve: $(WEB)
	$(BIN)/audiotrans serve --open --example data/violin.wav --example data/piano.wav

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(PYTEST)

quick: $(DEV)
	$(PYTEST) -q -m 'not slow and not e2e' tests/unit tests/properties

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
