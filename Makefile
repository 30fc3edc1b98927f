# Every target installs what it needs, pinned by constraints.txt, into .venv.
# The two that matter: `make benchmark` and `make test`.

PYTHON ?= python3
SUITE ?= quick smoothing-quick
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup benchmark test test-slow lint tables site audit models bench clean

help:
	@echo "make benchmark   set up, run the suites '$(SUITE)', build tables and pages (SUITE=name for another)"
	@echo "make test        lint, types and tests"
	@echo "make test-slow   the exhaustive checks"
	@echo "make lint        ruff and mypy only"
	@echo "make tables      paper tables from recorded results, into results/tables"
	@echo "make site        static pages from recorded results, into site/public"
	@echo "make audit       check recorded answers against each other, and every witness again"
	@echo "make models      train shipped networks that are missing or whose recipe changed"
	@echo "make bench       how fast the runner, the pages and the methods are"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

benchmark: setup
	for suite in $(SUITE); do $(BIN)/sokbench run $$suite && $(BIN)/sokbench audit $$suite || exit 1; done
	$(BIN)/sokbench tables
	$(BIN)/sokbench site
	@echo "open site/public/index.html"

tables site audit: setup
	$(BIN)/sokbench $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/sokbench leaderboard check
	$(BIN)/pytest -n 2 --dist loadscope -m "not slow"

test-slow: setup
	$(BIN)/pytest -m slow

models: setup
	$(BIN)/python -m models.train --all

bench: setup
	for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv site/public .pytest_cache .mypy_cache .ruff_cache *.egg-info
