# One file for people and machines: `make` alone lists what there is.
# Works with GNU make 3.81 and newer (macOS ships 3.81).

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; exit; fi; \
  done; echo python3)
endif

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Many tests wait for processes of theirs: three workers keep two cores busy.
WORKERS := -n 3 --dist worksteal

# The tests start some hundred Pythons; empty means that compiled modules are kept, whatever is set.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help dev test sim chaos soak audit sbom bench lint format docs screenshots lock clean

help: ## list the targets
	@echo "Snorri, an event-sourced saga store on NATS JetStream"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PYTHON=... chooses the interpreter (3.11 or newer), ARGS=... goes to snorri dev, pytest, the simulation or the benchmark."

dev: $(VENV)/.runtime ## start everything on this machine, dashboard included
	@$(BIN)/snorri dev $(ARGS)

test: $(VENV)/.test lint ## style, types and all tests, with a real broker and a real browser
	@$(BIN)/python -m tests.browser_setup
	@$(BIN)/python -m tests.fault_tools
	@$(BIN)/python -m pytest $(WORKERS) -m "not browser" $(ARGS)
	@$(BROWSER_TESTS)

sim: $(VENV)/.test ## thousands of simulated runs by seed (ARGS="--seeds 1000 --jobs 2"; ARGS=mutants)
	@$(BIN)/python -m tests.simulation $(ARGS)

chaos: $(VENV)/.test ## thousands of sagas while everything is killed (ARGS="--sagas 10000 --seed 7 --report")
	@$(BIN)/python -m tests.chaos $(ARGS)

audit: $(VENV)/.audit ## known vulnerabilities of what the lock file names (needs a network)
	@$(BIN)/python -m tests.supply audit $(ARGS)

sbom: $(VENV)/.test ## write snorri.cdx.json: all we are made of, with hashes (CycloneDX)
	@$(BIN)/python -m tests.supply sbom

soak: $(VENV)/.test ## steady load for half an hour, in which nothing may grow (ARGS="--minutes 120")
	@$(BIN)/python -m tests.chaos.mixed.soak $(ARGS)

bench: $(VENV)/.test ## benchmarks against the raw broker, in one run
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# Apart from the others: Playwright keeps an event loop running in the process that it tests from.
# Each worker has a browser and an installation of its own.
# Exit code 5 means that ARGS chose none of them.
BROWSER_TESTS = if [ -d tests/browser ]; then \
  $(BIN)/python -m pytest $(WORKERS) -m browser tests/browser $(ARGS) \
  || { code=$$?; [ "$$code" -eq 5 ] && [ -n "$(ARGS)" ] || exit $$code; }; fi

lint: $(VENV)/.test ## style and types only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.test ## put the code into its form, mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.test ## write the parts of docs/ that are made from the code
	@$(BIN)/python -m tests.docs.generate

screenshots: $(VENV)/.test ## take the pictures of docs/images anew, from a running installation
	@$(BIN)/python -m tests.browser_setup
	@$(BIN)/python -m tests.screenshots

# Every hash of every file of a release is kept, so one lock serves all platforms and Pythons.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --no-config \
  --generate-hashes --no-header --quiet --extra fast --group build

lock: ## pin the dependencies anew (needs uv on PATH; ARGS=--upgrade for newer ones)
	@$(LOCK) $(ARGS) --output-file requirements.txt
	@$(LOCK) $(ARGS) --extra test --constraint requirements.txt --output-file requirements-test.txt
	@$(LOCK) $(ARGS) --extra test --group audit --constraint requirements-test.txt --output-file requirements-audit.txt

$(VENV)/.audit: requirements-audit.txt | $(VENV)/.test
	@echo "installing what the audit needs (once)"
	@$(PIP_INSTALL) --require-hashes -r requirements-audit.txt
	@touch $@

clean: ## remove the environment, caches and the local data directory
	rm -rf $(VENV) .snorri .pytest_cache .ruff_cache .hypothesis build dist test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Snorri needs Python 3.11 or newer; \"$(PYTHON)\" is not. Install one and say: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "\"$(PYTHON)\" has no venv module. On Debian and Ubuntu: apt-get install python3-venv. Then run make again."; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# The stamps are as old as the last install: a changed requirements file installs again, an unchanged one costs nothing.
$(VENV)/.runtime: requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing what Snorri needs (once)"
	@$(PIP_INSTALL) --require-hashes -r requirements.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements-test.txt pyproject.toml | $(BIN)/python
	@echo "installing what Snorri and its tests need (once)"
	@$(PIP_INSTALL) --require-hashes -r requirements-test.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime
