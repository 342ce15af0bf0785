# SPDX-License-Identifier: Apache-2.0
# make demo: environment, phantom data, training, generation, pictures.   make test: lint, types, tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo configs test lint validate

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
SEED ?= 0
WORKERS ?= 2

BUNDLE := bundles/prostate_mri_textual_inversion
RUN := $(PY) -m monai.bundle run
DEMO := demo
CONCEPTS := negative positive
PICTURES := $(foreach concept,$(CONCEPTS),$(DEMO)/generated_$(concept)/contact_sheet.png)
# MONAI warns against configs of strangers at every run; these are our own.
export PYTHONWARNINGS := ignore:parsing config_file:UserWarning

help:
	@echo "make demo   environment, phantom studies, training and generation on the embedded base model (offline, CPU)"
	@echo "make test   ruff, mypy and pytest; SLOW=1 adds the slow tests, WORKERS=4 takes four processes, ARGS='-k name' is passed on to pytest"
	@echo "make lint   ruff and mypy alone"
	@echo "make configs   the configs of the textual-inversion bundles, from configs/textual_inversion"
	@echo "make validate   the checks of all bundles, with a step of training and of generation each"

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt setuptools
	$(PY) -m pip install --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $@

demo: $(PICTURES)
	@echo
	@echo "The word of each finding, under 1 MB, loads in diffusers too:"
	@ls $(DEMO)/training/embeddings/*.safetensors
	@echo "The pictures, a row a sequence: T2W, ADC, high-b-value DWI:"
	@for picture in $(PICTURES); do echo "$(CURDIR)/$$picture"; done

$(DEMO)/picai/.complete: $(INSTALLED)
	$(PY) -m medti_components phantoms prostate_mri --output_dir $(DEMO)/picai --num_negative 120 --num_positive 120 --seed $(SEED)
	touch $@

# An interrupted training goes on where it was.
$(DEMO)/training/.complete: $(DEMO)/picai/.complete
	$(RUN) training --config_file "['$(BUNDLE)/configs/train.json','configs/embedded.json']" \
	  --dataset_dir $(DEMO)/picai --output_dir $(DEMO)/training --cache_dir $(DEMO)/cache --seed $(SEED) --resume true
	touch $@

$(DEMO)/generated_%/contact_sheet.png: $(DEMO)/training/.complete
	$(RUN) generating --config_file "['$(BUNDLE)/configs/inference.json','configs/embedded.json']" \
	  --embeddings $(DEMO)/training/embeddings --output_dir $(@D) \
	  --prompt '<prostate_mri_$*>' --num_images 16 --seed $(SEED)

# The tests check that they are up to date.
configs:
	$(PYTHON) configs/write_configs.py

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# One core per test process: PyTorch's threads only wait for each other where several processes share the cores.
test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile $(if $(SLOW),,-m "not slow") $(ARGS)

# The tests do the same but for the steps, which they take with other settings.
validate: $(INSTALLED)
	$(PY) -m medti_components validate --all
