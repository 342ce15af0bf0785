#!/bin/bash
# Downloads, at the versions of constraints.txt, the wheels that a machine with PyTorch but without network lacks.
# They go into .gpu/wheels, for Python 3.12 on Linux x86-64. On that machine, in the root of the working tree:
#   python3 -m pip install --no-index --no-deps --upgrade --target .gpu/site .gpu/wheels/*.whl
#   export PYTHONPATH=.gpu/site:$PWD
# What such machines have beside PyTorch is left out (huggingface_hub, accelerate, scikit-learn, matplotlib ...), and
# SimpleITK, for its size: no step reads volumes.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(
    diffusers transformers monai pytorch-ignite nibabel termcolor
    jsonschema jsonschema-specifications referencing rpds-py importlib_metadata
)
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
rm -rf .gpu/wheels
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]/#/--platform=}" --constraint constraints.txt --dest .gpu/wheels "${packages[@]}"
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --constraint constraints.txt --wheel-dir .gpu/wheels fire # has no wheel
ls -l .gpu/wheels
du -sh .gpu/wheels
