# Shoal. `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo up check test bench services openapi

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# One stamp a set of extras: installing `dev` after `demo` adds to the same environment.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Shoal needs Python 3.11, 3.12 or 3.13; say which: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing shoal[$*] into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

demo: $(VENV)/.installed-demo ## Set up, then sail the digits voyage and leave the dashboard up (ARGS="--exit --out DIR")
	@$(BIN)/shoal demo digits $(ARGS)

up: $(VENV)/.installed-demo ## Set up, then start controller, broker and dashboard on embedded defaults
	@$(BIN)/shoal up $(ARGS)

check: $(VENV)/.installed-dev ## Format, lint, types, import contracts, unit tests; under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/architecture

services: ## Install Mosquitto, PostgreSQL and Chromium where that may be done (root on a Debian-like system)
	@bash tests/services.sh

test: $(VENV)/.installed-dev services ## Set up, then run all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest tests

bench: $(VENV)/.installed-dev ## Run all benchmarks and write benchmarks/results.json
	@$(BIN)/python -m benchmarks

openapi: $(VENV)/.installed-dev ## Write docs/openapi.json anew
	@$(BIN)/python -m controller openapi > docs/openapi.json
