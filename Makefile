# Everything runs from a fresh clone with Python 3.11+ and make: the first target that needs it sets up .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The first of these that runs and is new enough, unless PYTHON says which.
PYTHON ?= $(shell for python in python3.11 python3 python3.13 python3.12; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
STAMP := .venv/set-up.stamp
SOURCES := versioned_io dagster_versioned airflow_versioned devservers

# A developer's own settings of these must not reach tests or demo.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV AIRFLOW_HOME DAGSTER_HOME

.PHONY: help demo test check check-types check-rest docs pictures soak azurite fuse e2e dagster dagster-suite ranges core-alone coverage bench bench-peers lock release release-check \
	set-up clean

help: ## say what there is
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

demo: $(STAMP) ## run the main example, both orchestrators for real; KEEP=1 leaves them running to look at
	@KEEP="$(KEEP)" $(BIN)/python -m example_projects.seattle_weather.demo

# Tests make thousands of small stores: in memory, where the machine has a file system for that, no disk holds them up.
SCRATCH := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})

# What has examples in its docstrings; a test compares it with the tree.
EXAMPLES := versioned_io/interfaces/settings.py versioned_io/model versioned_io/processing versioned_io/store \
	versioned_io/platform/ambient.py versioned_io/versioning dagster_versioned airflow_versioned

test: check ## check, then run all tests (the summary is the last line)
	@echo "test: pytest, the examples in docstrings"
	@$(BIN)/python -m pytest --quiet --doctest-modules --numprocesses 2 --durations 0 --durations-min 2 $(EXAMPLES)
	@echo "test: pytest, the tests without servers of orchestrators, on two cores"
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m "not e2e and not soak" --numprocesses 2 --dist worksteal $(ARGS)
	@echo "test: pytest, the tests against real Dagster and Airflow servers"
	@$(BIN)/python -m pytest -m "e2e and not soak" --numprocesses 2 --dist loadfile $(ARGS)

check: $(STAMP) ## lint, format, prose, types, layers
	@$(MAKE) --jobs 2 --output-sync check-types check-rest

check-types:
	@echo "check: mypy --strict"
	@$(BIN)/mypy

check-rest:
	@echo "check: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "check: not formatted: run $(BIN)/ruff format ."; exit 1; }
	@echo "check: prose"
	@$(BIN)/python scripts/check_prose.py
	@echo "check: import-linter"
	@$(BIN)/lint-imports --no-cache

docs: $(STAMP) ## build the documentation site into build/site; a warning fails
	@$(BIN)/python -m scripts.build_docs

pictures: $(STAMP) ## take the pictures of the pages of Dagster and Airflow again; needs chromium
	@$(BIN)/python scripts/take_pictures.py

soak: $(STAMP) azurite ## run the tests that take minutes each: every stage at which maintenance can be killed
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m soak --timeout 3000 --numprocesses 2 --dist worksteal $(ARGS)
	@$(MAKE) ranges

AZURITE := build/azurite/node_modules/.bin/azurite-blob

azurite: $(AZURITE) ## install the Azure server that soak tests against, with npm

$(AZURITE):
	@npm install --silent --no-audit --no-fund --prefix build/azurite azurite@3.35.0

# Needs root. Without FUSE the tests that lose power are skipped and say so.
fuse: ## install what the tests that lose power mount their file system with, from Debian
	@command -v fusermount3 >/dev/null || \
		{ apt-get update -qq && apt-get install --yes --quiet --no-install-recommends fuse3 libfuse3-3 >/dev/null; }

e2e: $(STAMP) ## run only the tests against real Dagster and Airflow servers
	@$(BIN)/python -m pytest -m "e2e and not soak" --numprocesses 2 --dist loadfile $(ARGS)

dagster: $(STAMP) ## run the tests of dagster_versioned at one end of the range that we allow: END=lowest or END=newest
	@TMPDIR=$(SCRATCH) $(BIN)/python scripts/ranges.py dagster $(END) $(ARGS)

ranges: $(STAMP) ## run the tests at the ends of all ranges: lowest and newest Dagster, and the core on its lowest packages
	@TMPDIR=$(SCRATCH) $(BIN)/python scripts/ranges.py all $(ARGS)

dagster-suite: $(STAMP) ## run Dagster's own tests of IO managers with ours in the place of the stock ones
	@TMPDIR=$(SCRATCH) $(BIN)/python scripts/dagster_suite.py $(ARGS)

core-alone: $(STAMP) ## run the core's tests where nothing but the core is installed
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest --timeout 3000 --numprocesses 2 --dist worksteal \
		tests/packaging/test_core_alone.py $(ARGS)

coverage: $(STAMP) ## run the tests without servers, and write which lines they reach to build/coverage
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m "not e2e and not soak" --numprocesses 2 --dist worksteal --timeout 900 \
		--cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(ARGS)

bench: $(STAMP) ## measure beside the peers: QUICK=1 for two minutes, FULL=1, CASES="growth ...", SCALE=, PAGE=docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(CASES) $(if $(QUICK),--quick) $(if $(FULL),--full) $(if $(SCALE),--scale $(SCALE)) \
		$(if $(REPEATS),--repeats $(REPEATS)) $(if $(SEED),--seed $(SEED)) $(if $(WORK),--work $(WORK)) \
		$(if $(PEERS),--peers $(PEERS)) $(if $(PAGE),--page $(PAGE)) $(ARGS)

bench-peers: $(STAMP) ## install the peers: restic, borg, git from Debian (as root); DVC, Oxen, Icechunk, deltalake from PyPI
	@apt-get update -qq && apt-get install --yes --quiet --no-install-recommends restic borgbackup git
	@$(BIN)/python -m benchmarks.install_peers

# Keeps the versions that still fit; UPGRADE=1 takes the newest of everything. Addresses are never written.
lock: $(STAMP) ## write constraints.txt from pyproject.toml; UPGRADE=1 for newer versions
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
		--quiet --output-file constraints.txt
	@echo "lock: constraints.txt has $$(grep -c == constraints.txt) packages"

release: $(STAMP) ## build wheel and sdist into dist/, and try both in empty environments
	@$(BIN)/python scripts/release.py

release-check: $(STAMP) ## the same where the project's address or the date of the release is not set yet
	@$(BIN)/python scripts/release.py --check

set-up: $(STAMP) ## only set up .venv

$(STAMP): pyproject.toml constraints.txt scripts/set_up.py
	@test -n "$(PYTHON)" || { echo "set-up: no Python 3.11 or newer found: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) scripts/set_up.py

clean: ## remove .venv and everything that was built or cached
	@rm -rf .venv .bench-peers build dist .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
