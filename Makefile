# Shoal. `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo up check test services toolchain bench

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

# One stamp a set of extras, made again when the project file or the pins change.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Shoal needs Python 3.11, 3.12 or 3.13; say which: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing shoal[$*] into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

demo: $(VENV)/.installed-demo ## Set up, then the first voyage: six devices enrol, serve and learn (ARGS="--exit --out DIR")
	@$(BIN)/shoal demo digits $(ARGS)

up: $(VENV)/.installed-demo ## Set up, then the whole system on embedded defaults until Ctrl-C (ARGS="--help")
	@$(BIN)/shoal up $(ARGS)

check: $(VENV)/.installed-dev ## Format, lint, types, import contracts, unit tests; under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/architecture tests/numerics shoal controller agent dashboard scenarios

services: ## Install Mosquitto, PostgreSQL and Chromium where that may be done (root on a Debian-like system)
	@bash tests/services.sh

toolchain: $(VENV)/.installed-dev ## Install the converters' own Python (3 GiB in the user's cache; once for each state of its pins)
	@$(BIN)/shoal toolchain install

test: $(VENV)/.installed-dev services toolchain ## Set up, then run all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 2 --dist loadfile

bench: $(VENV)/.installed-dev ## Run all benchmarks, one JSON line a case; writes benchmarks/results.json (ARGS="--quick")
	@$(BIN)/python -m benchmarks $(ARGS)
