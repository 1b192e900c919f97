# Everything runs in .venv, which the first target that needs it makes. `make help` lists the targets.
PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
ARGS ?=
# uv looks where pip was told to look for local wheels.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-this-tree

.PHONY: help setup demo test test-slow check bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install Engrain into it with its development tools

# Redone when the dependencies change; uv where there is one (faster), pip otherwise.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@echo "==> setup: installing Engrain into $(VENV) (once; some minutes, mostly torch)"
	@set -e; \
	if command -v uv >/dev/null 2>&1; then \
		echo "==> setup: with $$(uv --version)"; \
		[ -x $(BIN)/python ] || uv venv --quiet --python '>=3.11' $(VENV); \
		uv pip install --python $(BIN)/python --constraint $(CONSTRAINTS) --editable '.[dev]'; \
	else \
		echo "==> setup: with pip of $$($(PYTHON) --version)"; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| { echo "setup: $(PYTHON) is older than 3.11; run: make PYTHON=/path/to/python3.11"; exit 1; }; \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
			--constraint $(CONSTRAINTS) --editable '.[dev]'; \
	fi
	@touch $@

demo: $(STAMP)  ## teach a small model a fictional library and compare it with retrieval (minutes)
	@echo "==> demo: engrain demo $(ARGS)"
	@$(BIN)/engrain demo $(ARGS)

test: $(STAMP)  ## the quick tests (ARGS="-k store" for some of them)
	@echo "==> test: the quick tests"
	@$(BIN)/python -m pytest $(ARGS)

test-slow: $(STAMP)  ## the slow tests: whole runs, every block of the documentation
	@echo "==> test-slow: the slow tests (many minutes)"
	@$(BIN)/python -m pytest -m slow $(ARGS)

check: $(STAMP)  ## lint, formatting, types
	@echo "==> check: ruff check"
	@$(BIN)/ruff check
	@echo "==> check: ruff format"
	@$(BIN)/ruff format --check
	@echo "==> check: mypy"
	@$(BIN)/mypy

bench: $(STAMP)  ## run benchmarks/NAME.py (make bench NAME=...), which writes benchmarks/results/NAME.json
	@[ -f "benchmarks/$(NAME).py" ] \
		|| { echo "bench: no benchmark '$(NAME)'; choose one: make bench NAME=" $$(cd benchmarks 2>/dev/null && ls *.py | sed 's/\.py$$//'); exit 2; }
	@echo "==> bench: benchmarks/$(NAME).py $(ARGS)"
	@$(BIN)/python benchmarks/$(NAME).py $(ARGS)

clean:  ## remove what the tools left behind; never runs/ and never .venv
	@echo "==> clean: caches and build outputs"
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
