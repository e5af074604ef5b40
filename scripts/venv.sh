#!/bin/sh
# Makes a Python environment with the packages of a requirements file; does nothing when it is there
# and was made from the same file by the same Python.
# usage: venv.sh FOLDER REQUIREMENTS
set -eu
folder=$1
requirements=$2

identity=$(python3 --version; cat "$requirements")
[ "$(cat "$folder/made-from" 2>/dev/null)" != "$identity" ] || exit 0

echo "venv: making $folder from $requirements"
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --disable-pip-version-check -q -r "$requirements"
# Last, so that an interrupted installation is not taken for a whole one.
printf '%s\n' "$identity" > "$folder/made-from"
