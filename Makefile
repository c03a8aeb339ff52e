# Python and make are all that must be there. `make setup PYTHON=python3.12` takes another Python.
PYTHON ?= python3
PY := .venv/bin/python
# a Python that was asked for must be the environment's; the default one only has to make it
SETUP = $(PYTHON) scripts/setup_env.py $(if $(filter file default,$(origin PYTHON)),,--same-python)

# how many processes share the tests: twice two cores, as many tests wait rather than compute; 0 is none but this one
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help setup demo bench test test-model coverage test-system test-distributed test-matrix lint types constraints dist docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv from constraints.txt, where it is not up to date
	@$(SETUP)

demo: setup ## a real Airflow loads two weeks of a local Binance into a local S3; KEEP=1 stays up, ARGS="..." for more
	@$(PY) scripts/demo.py $(if $(KEEP),--keep) $(ARGS)

test: setup ## all tests that take minutes at most; ARGS="-k word" for some of them
	$(PY) -m pytest -n $(WORKERS) $(ARGS)

# each seed is one account: the same seed gives the same case
CASES ?= 100000
SEED ?= 1

test-model: setup ## operator and audit on 100,000 accounts that change between requests; CASES=1000 SEED=7 for others
	MODEL_CASES=$(CASES) MODEL_SEED=$(SEED) $(PY) -m pytest -s tests/integration/test_account_model.py $(ARGS)

coverage: setup ## lines and branches that the tests reach, also in child processes; htmlcov/ shows the rest
	$(PY) -m pytest -n $(WORKERS) --cov --cov-report= $(ARGS)
	$(PY) -m coverage html --quiet
	$(PY) -m coverage report --skip-covered --show-missing --fail-under=95
	$(PY) -m coverage report --include="*/exchange/*,*/lake/*" --skip-covered --show-missing --fail-under=100

test-system: setup ## what needs a whole Airflow and minutes of its own: killed parts, the UI in a browser
	$(PY) scripts/system_setup.py
	$(PY) -m pytest tests/system $(ARGS)

test-distributed: setup ## a backfill on Celery, Redis and PostgreSQL that loses a worker half way
	$(PY) scripts/distributed_setup.py
	$(PY) -m pytest -s tests/distributed $(ARGS)

bench: setup ## this package beside what one would write today; ARGS="--help" for how to measure less
	$(PY) benchmarks/run.py $(ARGS)

test-matrix: setup ## the tests on the oldest and the newest Airflow; VERSIONS="3.1 3.2@3.13" for others, ARGS for pytest
	WORKERS=$(WORKERS) $(PY) scripts/matrix.py $(VERSIONS) -- $(ARGS)

lint: setup ## style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup ## mypy, strict
	$(PY) -m mypy

constraints: setup ## write constraints.txt anew with the newest versions that go together
	$(PY) scripts/pin.py
	$(PY) scripts/matrix.py --pin

dist: setup ## wheel and source distribution, checked
	rm -rf dist
	$(PY) -m build --outdir dist
	$(PY) -m twine check --strict dist/*

docs: setup ## the documentation site, in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

clean: ## remove what builds, tests and the demo leave (not .venv)
	rm -rf .demo dist build site htmlcov .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
