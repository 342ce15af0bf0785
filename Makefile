# SPDX-License-Identifier: Apache-2.0
# make demo: environment, phantom data, training, generation, pictures.   make test: lint, types, tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test lint clean_demo

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
SEED ?= 0

help:
	@echo "make demo   environment, phantom studies, training and generation on the embedded base model (offline, CPU)"
	@echo "make test   ruff, mypy and pytest; SLOW=1 adds the slow tests, ARGS='-k name' is passed on to pytest"
	@echo "make lint   ruff and mypy alone"

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt setuptools
	$(PY) -m pip install --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $@

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint
	$(PY) -m pytest $(if $(SLOW),,-m "not slow") $(ARGS)
