#!/bin/sh
# Installs the wheel in build/wheels into Python environments, over one of the same version, and
# leaves everything else in them as it is.
# usage: install-wheel.sh FOLDER...
set -eu
for folder in "$@"; do
  "$folder/bin/python" -m pip install --disable-pip-version-check -q --no-deps --force-reinstall \
    build/wheels/mxferry-*.whl
done
