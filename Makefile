# make demo   the whole story on the Pima table
# make test   the tests
# make check  everything CI runs: lint, types, import contract, tests
# make bench  the measurements
# make soak   hundreds of kills, a thousand power cuts, every damage: the long form of the crash tests and of fuzzing, with its counts
# make docs   this documentation as a site, in build/site
# make reference   the tables of docs/reference.md, written from the code
# make pictures   the pictures of docs/statistics.md
# make container       the image that serves (TARGET=full: all of it), built with buildah
# make container-test  the checks of that image; as root, with runc
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# The Pima table and the Adult census are not part of the repository: they are used where they lie beside it.
PIMA := $(wildcard ../shared/data/pima-indians-diabetes.csv)
ifneq ($(PIMA),)
export HOMEOSTAT_PIMA ?= $(abspath $(PIMA))
endif
ADULT := $(wildcard ../shared/data/adult.csv.gz)
ifneq ($(ADULT),)
export HOMEOSTAT_ADULT ?= $(abspath $(ADULT))
endif

.PHONY: help demo test check lint types contract bench soak docs reference pictures container container-test lock clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Homeostat needs Python 3.11 or newer; pass PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)
	$(BIN)/homeostat demo

test: $(READY)
	$(BIN)/pytest

check: lint types contract test

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/hadolint Dockerfile

types: $(READY)
	$(BIN)/mypy

contract: $(READY)
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python bench/training.py
	$(BIN)/python bench/false_alarms.py
	$(BIN)/python -m bench.lives
	$(BIN)/python -m bench.monitoring
	$(BIN)/python bench/writers.py
	$(BIN)/python -m bench.serving
	$(BIN)/python -m bench.pages
	$(BIN)/python -m bench.tables

soak: $(READY)
	$(BIN)/pytest --soak --timeout 1800 tests/system/test_power_cut.py tests/system/test_server_kills.py \
		tests/system/test_failed_sync.py tests/system/test_artifact_writer.py tests/system/test_overload.py \
		tests/system/test_failpoints.py tests/system/test_kills.py tests/system/test_rollback.py \
		tests/store/test_fencing.py tests/notifications tests/web/test_contract.py

# The theme's makers announce their next project on every build.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

reference: $(READY)
	$(BIN)/python -m tools.reference

pictures: $(READY)
	$(BIN)/python -m tools.pictures

TARGET ?= serve

container:
	deploy/container/build.sh $(TARGET)

container-test: $(READY)
	HOMEOSTAT_IMAGE=localhost/homeostat:serve $(BIN)/pytest tests/container

# Hash-locked and universal; the output names packages only, never a registry's address. The images get the same versions.
COMPILE := uv pip compile --universal --generate-hashes --no-header --python-version 3.11
COMPILE_IMAGE := $(COMPILE) --no-annotate --constraints requirements.lock
lock:
	$(COMPILE) --extra train --extra mlflow-ui --group dev pyproject.toml -o requirements.lock
	$(COMPILE_IMAGE) pyproject.toml -o deploy/container/requirements-serve.lock
	$(COMPILE_IMAGE) --extra train pyproject.toml -o deploy/container/requirements-full.lock
	echo hatchling | $(COMPILE_IMAGE) - -o deploy/container/requirements-build.lock

clean:
	rm -rf .venv .venv-peers .venv-evidently .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache build dist output bench/out
