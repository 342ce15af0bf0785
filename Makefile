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
	@echo "make demo       install, draw phantom studies, train and generate on the embedded base model (offline, CPU)"
	@echo "make test       run ruff, mypy and pytest. SLOW=1 adds the slow tests, WORKERS=4 uses four processes,"
	@echo "                ARGS='-k name' is passed to pytest"
	@echo "make lint       run only ruff and mypy"
	@echo "make configs    write the configs of the textual-inversion bundles from configs/textual_inversion"
	@echo "make validate   check all bundles, with one step of training and one of generation each"

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt setuptools
	$(PY) -m pip install --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $@

demo: $(PICTURES)
	@echo
	@echo "One learned word per finding, each under 1 MB; diffusers loads them too:"
	@ls $(DEMO)/training/embeddings/*.safetensors
	@echo "The pictures, one row per sequence: T2W, ADC, high-b-value DWI:"
	@for picture in $(PICTURES); do echo "$(CURDIR)/$$picture"; done

$(DEMO)/picai/.complete: $(INSTALLED)
	$(PY) -m medti_components phantoms prostate_mri --output_dir $(DEMO)/picai --num_negative 120 --num_positive 120 --seed $(SEED)
	touch $@

# An interrupted training continues from its newest checkpoint, if it has one.
$(DEMO)/training/.complete: $(DEMO)/picai/.complete
	resume=$$(test -n "$$(ls $(DEMO)/training/checkpoints 2>/dev/null)" && echo true || echo false); \
	$(RUN) training --config_file "['$(BUNDLE)/configs/train.json','configs/embedded.json']" \
	  --dataset_dir $(DEMO)/picai --output_dir $(DEMO)/training --cache_dir $(DEMO)/cache --seed $(SEED) --resume $$resume
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

# The tests do the same, but run the two steps with other settings.
validate: $(INSTALLED)
	$(PY) -m medti_components validate --all
