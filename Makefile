# Everything is set up in .venv, from the package registry, with the versions in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check clean

demo: .venv/ready
	$(BIN)/robustbench-aigi run mini --out runs/mini

test: .venv/ready-dev
	$(BIN)/python -m pytest

check: .venv/ready-dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

.venv/bin/python:
	@echo "making .venv (the download is about 3 GB; two to five minutes)"
	$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install -c constraints.txt -e .
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs dist build
