# Every target works as the first command on a machine that has only make and Python 3.11 to 3.13:
# it creates .venv and installs there once; a change of pyproject.toml or requirements.txt installs anew.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PEERS := $(VENV)/.installed-peers
OLDEST_VENV := .venv-oldest
OLDEST := $(OLDEST_VENV)/.installed
DEMO := runs/demo
# Processes that run tests side by side. Each simulates four devices, and takes up to 5 GB.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick test-peers test-oldest test-robust test-fuzz lint docs docs-test

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(INSTALLED)  ## create .venv and install the package with its dependencies

demo: $(INSTALLED)  ## train BigGAN on Fashion-MNIST on this machine and draw what it learnt
	$(PY) -m biggan_jax.train --config=configs/fashion_mnist.py --workdir=$(DEMO)
	$(PY) -m biggan_jax.evaluate --workdir=$(DEMO)
	@echo "The pictures are in $(DEMO)/samples/; the newest is $$(ls -t $(DEMO)/samples/*.png | head -n 1)"

test: $(INSTALLED)  ## run the tests
	$(PYTEST) -m "not peers"

test-quick: $(INSTALLED)  ## run the quick tests of every room
	$(PYTEST) -m "not peers and not slow"

# pytest exits with 5 where no test carries the mark.
test-peers: $(PEERS)  ## run the tests that compare with other packages (installs the extra `peers`)
	$(PYTEST) -m peers || [ $$? -eq 5 ]

test-oldest: $(OLDEST)  ## run the quick tests with the oldest versions that requirements.txt allows
	$(OLDEST_VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not peers and not slow"

test-robust: $(INSTALLED)  ## try kills, damaged files and bad input, and count what survives (minutes)
	$(PY) tests/robustness/run.py

test-fuzz: $(INSTALLED)  ## fuzz every reader of a file, for a minute each
	$(PY) tests/robustness/run.py --fuzz

lint: $(INSTALLED)  ## check style, docstrings, formatting, the layers of imports and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright --pythonpath $(PY)

docs: $(INSTALLED)  ## build the documentation into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

docs-test: $(INSTALLED)  ## run every command of README and docs/ in a fresh folder, at small sizes
	$(PY) tests/docs/run_commands.py

$(INSTALLED): pyproject.toml setup.py requirements.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: '$(PYTHON)' was not found. Install Python 3.11 to 3.13, or name one: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "error: $$($(PYTHON) --version) does not fit: biggan_jax needs Python 3.11 to 3.13." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),setup)" >&2; \
	  exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "error: $(PYTHON) could not create $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@echo "Installing into $(VENV): about 2.5 GB, some minutes the first time"
	$(PY) -m pip install --quiet --editable '.[dev,docs]'
	@touch $@

# uv chooses the oldest version of each package that requirements.txt lists, and the newest of all others.
$(OLDEST): pyproject.toml setup.py requirements.txt
	$(PYTHON) -m venv --clear $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet uv
	cd $(OLDEST_VENV) && bin/python -m uv pip install --quiet --python bin/python --resolution lowest-direct \
	  --editable ..
	cd $(OLDEST_VENV) && bin/python -m uv pip install --quiet --python bin/python pytest pytest-xdist setuptools pyyaml av
	@touch $@

$(PEERS): $(INSTALLED)
	$(PY) -m pip install --quiet --editable '.[peers]'
	@touch $@
