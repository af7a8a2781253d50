# `make demo` and `make test` work as the first command in a fresh clone: each sets up .venv first if need be.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
READY = $(VENV)/.ready

# What builds the one dependency that has no wheel, and magic itself; pinned like everything else.
BUILD_TOOLS = setuptools|hatchling|editables|packaging|pathspec|pluggy|trove-classifiers|tomlkit

# Each process starts with files that stand together, since their tests share what takes long to make; one that has
# finished takes tests from another. tests/conftest.py says how many processes.
ON_ALL_CORES = --numprocesses auto --dist worksteal --durations 15

.PHONY: demo test test-all test-fast test-gpu lint format wheel clean

demo: $(READY)  ## caption the sample photos with the embedded models
	$(VENV)/bin/magic caption --images data/photos

test: $(READY)  ## the test suite, offline, on all cores; says what took longest
	$(VENV)/bin/python -m pytest $(ON_ALL_CORES) -m "not long"

test-all: $(READY)  ## with the long tests: many kills, full-size shapes, whole scripts
	$(VENV)/bin/python -m pytest $(ON_ALL_CORES)

test-fast: $(READY)  ## without the slow tests
	$(VENV)/bin/python -m pytest $(ON_ALL_CORES) -m "not slow and not long"

test-gpu: $(READY)  ## the tests that need a CUDA device; make test runs their twins on the CPU
	$(VENV)/bin/python -m pytest -m gpu --durations 15

lint: $(READY)  ## what ruff and mypy find; says `make format` where only the layout is wrong
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/ruff format --check --quiet . || (echo "make format mends the layout" && false)

format: $(READY)  ## sort imports and lay the code out
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

wheel: $(READY)  ## dist/magic-*.whl
	$(VENV)/bin/python -m build --wheel --no-isolation

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "magic needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	grep -E '^($(BUILD_TOOLS))==' requirements.lock > $(VENV)/build-tools.txt
	$(PIP) install --quiet -r $(VENV)/build-tools.txt
	$(PIP) install --quiet --no-build-isolation -r requirements.lock
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) dist build
