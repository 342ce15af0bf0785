#!/bin/bash
# Downloads, at the versions of constraints.txt, the wheels that a machine with PyTorch but without network lacks.
# They go into .gpu/wheels, for Python 3.12 on Linux x86-64. On that machine, in the root of the working tree:
#   python3 -m pip install --no-index --no-deps --upgrade --target /tmp/site .gpu/wheels/*.whl
#   export PYTHONPATH=/tmp/site:$PWD
# SimpleITK, for its size, and hf-xet, which only downloads need, are left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(
    diffusers lazy-importer importlib_metadata zipp regex
    transformers tokenizers huggingface_hub httpx2 httpcore2 h11 truststore anyio idna
    typer pydantic pydantic_core annotated-types typing-inspection annotated-doc shellingham rich markdown-it-py mdurl Pygments click
    monai pytorch-ignite nibabel fire termcolor
    jsonschema jsonschema-specifications referencing rpds-py attrs typing_extensions
)
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
rm -rf .gpu/wheels
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]/#/--platform=}" --constraint constraints.txt --dest .gpu/wheels "${packages[@]}"
ls -l .gpu/wheels
du -sh .gpu/wheels
