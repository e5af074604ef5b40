#!/bin/sh
# Builds a wheel of the Python package into build/wheels with the tools in build/wheel-venv, and puts
# the shared libraries into it that a system may not have, so that it can be given to others.
set -eu
python=build/wheel-venv/bin/python

rm -rf build/wheels build/wheels-unrepaired
"$python" -m pip wheel --disable-pip-version-check -q --no-deps --no-build-isolation \
  -w build/wheels-unrepaired .
PATH="$PWD/build/wheel-venv/bin:$PATH" \
  "$python" -m auditwheel repair -w build/wheels build/wheels-unrepaired/*.whl
rm -rf build/wheels-unrepaired
