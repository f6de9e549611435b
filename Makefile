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

.PHONY: help demo test check soak azurite e2e bench bench-peers lock set-up clean

help: ## say what there is
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(STAMP) ## run the main example, both orchestrators for real; KEEP=1 leaves them running to look at
	@KEEP="$(KEEP)" $(BIN)/python -m example_projects.seattle_weather.demo

# Tests make thousands of small stores: in memory, where the machine has a file system for that, no disk holds them up.
SCRATCH := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})

test: check ## check, then run all tests (the summary is the last line)
	@echo "test: pytest, the tests without servers of orchestrators, on two cores"
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m "not e2e and not soak" --numprocesses 2 --dist worksteal $(ARGS)
	@echo "test: pytest, the tests against real Dagster and Airflow servers"
	@$(BIN)/python -m pytest -m e2e --numprocesses 2 --dist loadfile $(ARGS)

check: $(STAMP) ## lint, format, types, layers
	@echo "check: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "check: not formatted: run $(BIN)/ruff format ."; exit 1; }
	@echo "check: mypy --strict"
	@$(BIN)/mypy
	@echo "check: import-linter"
	@$(BIN)/lint-imports --no-cache

soak: $(STAMP) azurite ## run the tests that take minutes each: every stage at which maintenance can be killed
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest -m soak --timeout 3000 --numprocesses 2 --dist worksteal $(ARGS)

AZURITE := build/azurite/node_modules/.bin/azurite-blob

azurite: $(AZURITE) ## install the Azure server that soak tests against, with npm

$(AZURITE):
	@npm install --silent --no-audit --no-fund --prefix build/azurite azurite@3.35.0

e2e: $(STAMP) ## run only the tests against real Dagster and Airflow servers
	@$(BIN)/python -m pytest -m e2e --numprocesses 2 --dist loadfile $(ARGS)

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

set-up: $(STAMP) ## only set up .venv

$(STAMP): pyproject.toml constraints.txt scripts/set_up.py
	@test -n "$(PYTHON)" || { echo "set-up: no Python 3.11 or newer found: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) scripts/set_up.py

clean: ## remove .venv and everything that was built or cached
	@rm -rf .venv .bench-peers build dist .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
