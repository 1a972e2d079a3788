# Everything happens in .venv; beforehand only make and Python 3.11 or newer need to be there.
#
#   make PYTHON=/path/to/python3 test     uses that interpreter for a new .venv
#
# Stamps in .venv say what is installed, so that a target reinstalls only what has changed.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What the checks read; a folder that does not exist yet is left out.
CODE := $(wildcard src tests examples bench)

# The first interpreter that is new enough and can make a venv. It is run, not just looked up:
# version managers leave commands on the path that only say "not found".
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c "$(SUITABLE)" >/dev/null 2>&1 && { echo "$$p"; break; }; done)

# Two pips must not work on one .venv at a time.
.NOTPARALLEL:

.PHONY: help setup demo demo-fleet test kills check format bench docs lock clean

help:  ## show this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.project  ## make .venv with the pinned dependencies and the project in it

demo: setup  ## run the order fulfilment example, killed in the middle and resumed, and as a program
	@$(BIN)/python examples/killed.py
	@echo; echo "python examples/order_fulfillment.py"
	@$(BIN)/python examples/order_fulfillment.py

demo-fleet: setup $(VENV)/.cluster  ## run three runners on one PostgreSQL, and kill one of them
	@$(BIN)/python -m examples.fleet

test: setup $(VENV)/.cluster  ## run the tests and the doctests
	$(BIN)/python -m pytest

kills: setup  ## kill processes CYCLES times (2000) and cut the power as often, from SEED (1) on
	$(BIN)/python -m tests.durability.hunt --cycles $(or $(CYCLES),2000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.durability.crash_points
	$(BIN)/python -m tests.durability.power --images $(or $(CYCLES),2000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.stores.sqlite.flips --count $(or $(CYCLES),2000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.durability.hunt --cycles $(or $(CYCLES),2000) --seed $(or $(SEED),1) --postgres

check: $(VENV)/.project $(VENV)/.dev  ## format, lint and types
	$(BIN)/python -m ruff format --check $(CODE)
	$(BIN)/python -m ruff check $(CODE)
	$(BIN)/python -m mypy $(CODE)
	$(BIN)/python -m basedpyright

format: $(VENV)/.project $(VENV)/.dev  ## format the code and mend what ruff can mend
	$(BIN)/python -m ruff check --fix-only $(CODE)
	$(BIN)/python -m ruff format $(CODE)

bench: setup $(VENV)/.cluster  ## run the benchmarks
	$(BIN)/python -m bench

docs: $(VENV)/.project $(VENV)/.docs  ## build the documentation into site/
	$(BIN)/python -m mkdocs build --strict --quiet

# Without a header and without index lines: what is pinned, not where it came from.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

lock: $(VENV)/.dev  ## pin anew what requirements/*.in ask for (UPGRADE=1: in new versions)
	cd requirements && for name in test cluster dev docs; do \
		../$(LOCK) $(if $(UPGRADE),--upgrade) $$name.in --output-file $$name.txt || exit 1; done

clean:  ## remove everything that make has made
	rm -rf $(VENV) site dist .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests $(wildcard bench examples) -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------- stamps

$(VENV)/.created:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Treadle needs Python 3.11 or newer, with venv (Debian: python3-venv); none was found." >&2; \
		echo "Say where one is: make PYTHON=/path/to/python3 setup" >&2; exit 1; fi
	@"$(PYTHON)" -c "$(SUITABLE)" 2>/dev/null || { \
		echo "Treadle needs Python 3.11 or newer, with venv (Debian: python3-venv)." >&2; \
		echo "$(PYTHON) will not do: $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	rm -rf $(VENV)
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.test: $(VENV)/.created requirements/test.txt
	$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@

# Large, and not built for every machine: without them the tests of Dask and Ray are skipped, and say why.
$(VENV)/.cluster: $(VENV)/.test requirements/cluster.txt
	@$(PIP) install --require-hashes -r requirements/cluster.txt || \
		echo "The cluster libraries could not be installed here: the tests of Dask and Ray are skipped." >&2
	@touch $@

$(VENV)/.dev: $(VENV)/.test requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.test requirements/docs.txt
	$(PIP) install --require-hashes -r requirements/docs.txt
	@touch $@

# Editable, so that an edit of the code needs no reinstall. The pinned build back end is used.
$(VENV)/.project: $(VENV)/.test pyproject.toml
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
