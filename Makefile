# Two commands do everything on a fresh machine with Python 3.10 or newer and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers, each with whole files, so that what a file's tests share is made once. More words for pytest:
# make test ARGS="tests/core -x"
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
ARGS ?=

# Python keeps what it compiled: the tests start many processes, and importing torch from its sources takes long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-deep lint benchmark clean

demo: $(READY)
	$(BIN)/medcli demo

test: lint
	$(PYTEST) $(ARGS)

# The slow, exhaustive cases that `make test` leaves out.
test-deep: $(READY)
	$(PYTEST) -m deep $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Speed, as ratios measured side by side in one run; not part of the tests.
benchmark: $(READY)
	for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# uv installs in a fraction of pip's time; both read the same pyproject.toml.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache demo
