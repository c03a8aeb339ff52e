# Python and make are all that must be there. `make setup PYTHON=python3.12` takes another Python.
PYTHON ?= python3
PY := .venv/bin/python
# a Python that was asked for must be the environment's; the default one only has to make it
SETUP = $(PYTHON) scripts/setup_env.py $(if $(filter file default,$(origin PYTHON)),,--same-python)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types constraints dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv from constraints.txt, where it is not up to date
	@$(SETUP)

demo: setup ## a real Airflow loads two weeks of a local Binance into a local S3; KEEP=1 stays up, ARGS="..." for more
	@$(PY) scripts/demo.py $(if $(KEEP),--keep) $(ARGS)

test: setup ## all tests that take minutes at most; ARGS="-k word" for some of them
	$(PY) -m pytest $(ARGS)

lint: setup ## style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup ## mypy, strict
	$(PY) -m mypy

constraints: setup ## write constraints.txt anew with the newest versions that go together
	$(PY) scripts/pin.py

dist: setup ## wheel and source distribution
	$(PY) -m build --outdir dist

clean: ## remove what builds, tests and the demo leave (not .venv)
	rm -rf .demo dist build htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
