# cspine: every target prepares what it needs (.venv, locked dependencies) by itself. `make help` lists them.
# ARGS passes options on:  make demo ARGS="--study DIR"    make test ARGS="-k spool"
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install the locked dependencies into it
	@$(PYTHON) deploy/bootstrap.py

demo: setup ## send a synthetic neck CT to a local worker and show what comes back
	@$(BIN)/cspine demo $(ARGS)

test: ## run all tests, a file on each core (as root on Debian or Ubuntu: install the missing test peers first)
	@$(PYTHON) deploy/bootstrap.py --peers
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## measure: tests/benchmarks/bench_*.py
	@if ls tests/benchmarks/bench_*.py >/dev/null 2>&1; \
	then $(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' -s $(ARGS); \
	else echo "No benchmark yet: put one into tests/benchmarks/bench_*.py."; fi

COMPILE := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-annotate
lock: ## lock the dependencies anew (needs uv); add ARGS=--upgrade for newer releases
	$(COMPILE) $(ARGS) --extra cpu --extra embedded --extra postgresql --extra train --group dev -o requirements.lock
	$(COMPILE) $(ARGS) --extra gpu --extra embedded --extra postgresql --extra train -o deploy/requirements-gpu.lock
