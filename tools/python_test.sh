#!/usr/bin/env bash
# Builds the Python package in a virtual environment of its own, kept in build-python/, and runs its
# tests there. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/setup.sh build python
venv="$PWD/build-python/venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 CMAKE_BUILD_PARALLEL_LEVEL="${JOBS:-$(nproc)}"
"$venv/bin/python" -c 'import torch' 2>/dev/null || "$venv/bin/python" tools/install_torch_cpu.py
"$venv/bin/pip" install --quiet scikit-build-core nanobind safetensors pytest
"$venv/bin/pip" install --quiet --no-build-isolation .
cd python/tests # the installed package, not the folder python/tnl
"$venv/bin/python" -m pytest -q "$@"
