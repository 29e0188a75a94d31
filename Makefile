# Everything is set up in .venv, from the package registry, with the versions in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test quick check docs bench audit clean

demo: .venv/ready
	$(BIN)/robustbench-aigi run mini --out runs/mini

# Two processes with a thread each: most tests are too small for two threads to share. Files stay whole, for their fixtures.
test: .venv/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --strict-skips

# Without whole runs, trainings and large networks.
quick: .venv/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# CIFAKE=PATH attacks CIFAKE instead of mini.
bench: .venv/ready-dev
	$(BIN)/python -m tests.benchmarks.perturbations
	$(BIN)/python -m tests.benchmarks.training_images
	$(BIN)/python -m tests.benchmarks.gradients
	$(BIN)/python -m tests.benchmarks.memory
	$(BIN)/python -m tests.benchmarks.planned
	$(BIN)/python -m tests.benchmarks.building $(if $(CIFAKE),--cifake $(CIFAKE))
	$(BIN)/python -m tests.benchmarks.speed $(if $(CIFAKE),--cifake $(CIFAKE))

check: .venv/ready-dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

# The site, in site/, built without a network. Its search needs a server: python3 -m http.server --directory site
docs: .venv/ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.venv/bin/python:
	@echo "making .venv (the download is about 3 GB; two to five minutes)"
	$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install -c constraints.txt -e .
	@touch $@

# Every extra, so that no test of an optional part is skipped unseen. torchattacks pins an old requests, so it comes
# without what it depends on, all of which is there.
.venv/ready-dev: .venv/ready
	$(BIN)/pip install -c constraints.txt -e '.[every,docs,dev]'
	$(BIN)/pip install -c constraints.txt --no-deps torchattacks
	@$(BIN)/python -c "import art"  # it writes a file the first time, over which two processes at once stumble
	@touch $@

# Known holes in what .venv holds. Strict: a package that could not be looked up fails, where pip-audit would say "none known".
audit: .venv/ready
	test -x .audit/bin/pip-audit || { $(PYTHON) -m venv .audit && .audit/bin/pip install pip-audit; }
	.audit/bin/pip-audit --strict --skip-editable --path $$(echo .venv/lib/python3*/site-packages)

clean:
	rm -rf .venv .audit runs dist build site
