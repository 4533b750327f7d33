# Two commands are a promise: `make demo` and `make test`, each on a fresh clone, each with all its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup redis demo test lint types imports pytest wheel format lock clean

help:
	@echo "make demo    the main job on real Airflow, against a local HubSpot (CONTACTS=... HUBPREFS_TOKEN=...: yours)"
	@echo "make test    everything CI checks: lint, types, import contracts, tests with coverage, wheel"
	@echo "make setup   only the development environment, in $(VENV)"
	@echo "make format  put the code into shape      make lock    resolve requirements/dev.in anew"

$(READY): requirements/dev.txt setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; PYTHON=... names another one")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)

# The tests of the shared budget start a Redis of their own; where none can be installed they are skipped, and say so.
redis:
	@command -v redis-server > /dev/null \
		|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } > redis.log 2>&1 \
		|| echo "redis-server is missing and could not be installed (redis.log): the tests that need one are skipped"

demo: $(READY)
	@$(BIN)/python demo/run.py

test: lint types imports pytest wheel

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

pytest: $(READY) redis
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term

wheel: $(READY)
	rm -rf dist build/wheel
	$(BIN)/python -m build --no-isolation --wheel --outdir dist . > build.log 2>&1 || { cat build.log; exit 1; }
	@rm -rf build.log build
	$(BIN)/python tests/check_wheel.py dist/*.whl

# What benchmarks/bulk.py compares with, apart from everything else.
benchmarks/.venv: benchmarks/requirements.txt
	$(PYTHON) -m venv --clear $@
	$@/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 requirements/dev.in --output-file requirements/dev.txt

clean:
	rm -rf $(VENV) benchmarks/.venv .demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis \
		.coverage* redis.log
