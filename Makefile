# `make demo` and `make test` work from a fresh clone; `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT := report.html
# Minutes of `make torture`.
MINUTES ?= 10
# Test processes; each runs torch on one thread.
TEST_WORKERS ?= auto
# More for pytest, as in: make test PYTEST_ARGS="-k stats"
PYTEST_ARGS ?=

PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --no-input \
	--disable-pip-version-check --constraint constraints.txt
# Installed once, and again only when one of these two changes.
INSTALL_INPUTS := pyproject.toml constraints.txt
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench torture $(VENV)
# One step at a time, so that pytest's closing line is the last of `make test`.
.NOTPARALLEL:

help:
	@echo "make demo    check the ICL paper quickly, write $(REPORT), print its path"
	@echo "make test    lint, type check, build the docs, run every test and doctest"
	@echo "make lint    ruff and pyright only"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    build the documentation into site/"
	@echo "make bench   measure training speed against the usual script"
	@echo "make torture kill, cut, flip and fail for ten minutes; nothing may be lost"
	@echo "make .venv   only create the virtual environment, with all extras"

demo: $(CORE)
	@echo "== checking the claims of the ICL paper (quick profile, at most a few minutes)"
	@$(BIN)/lemmata check icl --quick
	@echo "== writing the report"
	@$(BIN)/lemmata report icl -o $(REPORT) --force
	@echo "$(CURDIR)/$(REPORT)"

test: lint docs
	@echo "== tests and doctests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadgroup \
		--cov --cov-report term $(PYTEST_ARGS)

lint: $(DEV)
	@echo "== ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/pre-commit validate-config
	@echo "== pyright"
	@$(BIN)/pyright

format: $(DEV)
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

docs: $(DEV)
	@echo "== documentation"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(CORE)
	@$(BIN)/lemmata bench

torture: $(CORE)
	@$(BIN)/python tests/torture.py --minutes $(MINUTES)

$(VENV): $(DEV)

$(CORE): $(INSTALL_INPUTS)
	@echo "== installing Lemmata into $(VENV) (a minute or more; torch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --editable .
	@touch $@

$(DEV): $(CORE)
	@echo "== installing what the tests and the documentation need"
	@$(PIP_INSTALL) --editable ".[dev]"
	@touch $@
