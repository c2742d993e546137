# On a fresh machine with Python 3.10 or newer and make: each target makes the environment that it needs.
PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers, each with whole files, so that what a file's tests share is made once. More words for pytest:
# make test ARGS="tests/core -x"
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
ARGS ?=
# Checks of style and types run beside the tests.
MAKEFLAGS += --jobs=2

# Python keeps what it compiled: the tests start many processes, and importing torch from its sources takes long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests test-deep coverage test-gpu benchmark-gpu lint docs wheel benchmark clean

demo: $(READY)
	$(BIN)/medcli demo

test: lint tests

tests: $(READY)
	$(PYTEST) $(ARGS)

# The slow and exhaustive tests, which `make test` leaves out.
test-deep: $(READY)
	$(PYTEST) -m deep $(ARGS)

# All tests, and the lines that none of them runs.
coverage: $(READY)
	$(PYTEST) -m "deep or not deep" --cov --cov-report= $(ARGS)
	$(BIN)/python tests/print_coverage.py

# What needs a GPU: its tests, and its speed in numbers (ARGS="--out FOLDER" keeps them as gpu.json and gpu.md). Both say
# so where there is none.
test-gpu: $(READY)
	$(BIN)/python -m pytest tests/gpu -ra $(ARGS)

benchmark-gpu: $(READY)
	$(BIN)/python tests/benchmarks/gpu/bench_gpu.py $(ARGS)

# The last NumPy for Python 3.10 describes its types too vaguely for a strict check.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	if $(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))"; then $(BIN)/mypy; fi

# The pages of docs/, README and the public functions as a site in site/. The variable silences an advertisement.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The built package, installed in an empty environment, runs the demonstration outside the checkout.
wheel: $(READY)
	$(BIN)/python tests/check_wheel.py

# Speed, as ratios measured side by side in one run; not part of the tests.
benchmark: $(READY)
	for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# uv installs in a fraction of pip's time; both read the same pyproject.toml.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable ".[$(EXTRAS)]"
	touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage* demo dist site
