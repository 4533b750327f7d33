# `make demo` and `make test` work on a fresh clone: each does its own set-up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COVERAGE := --cov --cov-report=term

.PHONY: help setup redis postgres chromium demo ui test test-long test-compat coverage lint types imports pytest wheel docs format lock clean

help:
	@echo "make demo       run the main job on a real Airflow against a local HubSpot;"
	@echo "                CONTACTS=path uses your file, HUBPREFS_TOKEN=... your HubSpot account as well"
	@echo "make ui         start Airflow with a local HubSpot and the example DAGs, to look at; PORT=... is its port"
	@echo "make test       run all that CI checks: lint, types, import contracts, tests, the wheel"
	@echo "make test-long  run the same with more waits, seeds, kills and examples, and with coverage"
	@echo "make test-compat  try the wheel in Airflow 2.11, 3.1, 3.2 and 3.3 (VERSIONS=3.1.8: one of them)"
	@echo "make coverage   run the tests with coverage, which must be 90 % of the lines and branches"
	@echo "make docs       build the documentation, with warnings as errors; it prints where it is"
	@echo "make lint       make types       make imports       make pytest       make wheel       run one of the checks"
	@echo "make format     format the code, and fix what ruff can fix"
	@echo "make setup      create the development environment in $(VENV), and nothing else"
	@echo "make lock       resolve requirements/dev.in into requirements/dev.txt"
	@echo "make clean      remove all that these commands create"
	@echo "PYTHON=python3.13 make test uses another interpreter than python3"

$(READY): requirements/dev.txt setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; PYTHON=... names another one")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)

# Without a network it is to give up soon; without root, or on another system, at once.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20

# The tests of the shared budget start a Redis of their own. Without redis-server pytest skips them and says so.
redis:
	@command -v redis-server > /dev/null \
		|| { $(APT) update && $(APT) install -y redis-server; } > redis.log 2>&1 \
		|| echo "redis-server is missing and could not be installed (see redis.log): pytest skips the tests that need it"

# The tests of databases start a PostgreSQL of their own. Without it pytest skips them and says so.
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null \
		|| { $(APT) update && $(APT) install -y postgresql; } > postgres.log 2>&1 \
		|| echo "PostgreSQL is missing and could not be installed (see postgres.log): pytest skips the tests that need it"

# The tests that look at pages in a real browser. Without it pytest skips them and says so.
chromium:
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null \
		|| { $(APT) update && $(APT) install -y chromium; } > chromium.log 2>&1 \
		|| echo "chromium is missing and could not be installed (see chromium.log): pytest skips the tests that need it"

demo: $(READY)
	@$(BIN)/python demo/run.py

ui: $(READY)
	@$(BIN)/python demo/ui.py

test: lint types imports pytest wheel docs

test-long: export HUBPREFS_TEST_LONG = 1
test-long: PYTEST_OPTIONS = --timeout=1800 $(COVERAGE)
test-long: test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

pytest: $(READY) redis postgres chromium
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=40 $(PYTEST_OPTIONS)

# Coverage takes half as much time again: it is no part of `make test`.
coverage: PYTEST_OPTIONS = $(COVERAGE)
coverage: pytest

wheel: $(READY)
	rm -rf dist build/wheel
	$(BIN)/python -m build --no-isolation --sdist --wheel --outdir dist . > build.log 2>&1 || { cat build.log; exit 1; }
	@rm -rf build.log build
	$(BIN)/python tests/check_wheel.py dist/*.whl dist/*.tar.gz

# Nothing is fetched. -n: a name that is not found is a warning, and so an error.
docs: $(READY)
	@rm -rf docs/_build
	$(BIN)/sphinx-build -q -W --keep-going -n -d docs/_build/doctrees docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

# Each version has an environment in .compat, which is used again. Some 400 MB and a minute of downloads each.
test-compat: wheel
	$(BIN)/python tests/compat/run.py dist/*.whl dist/*.tar.gz

# The packages that benchmarks/bulk.py compares this one with have an environment of their own.
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
	rm -rf $(VENV) benchmarks/.venv .demo .ui .compat build docs/_build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis \
		.coverage* redis.log postgres.log chromium.log
