#!/bin/sh
# Installs NeMo AutoModel into a Python environment, without its dependencies: most are for GPUs, and
# those that its gpt-oss adapter and its checkpointing need, Transformers brings. Beside it, in
# FOLDER/nemo-automodel-0.6.0, the last release before its adapter decoded local tensors.
# usage: nemo.sh FOLDER
set -eu
folder=$1
requirements=tests/requirements-nemo.txt
older=0.6.0

identity=$(cat "$requirements"; echo "$older")
[ "$(cat "$folder/nemo-made-from" 2>/dev/null)" != "$identity" ] || exit 0

echo "nemo: installing into $folder"
pip() {
  "$folder/bin/python" -m pip install --disable-pip-version-check -q --no-deps "$@"
}
pip -r "$requirements"
rm -rf "$folder/nemo-automodel-$older"
pip --target "$folder/nemo-automodel-$older" "nemo-automodel==$older"
# Last, so that an interrupted installation is not taken for a whole one.
printf '%s\n' "$identity" > "$folder/nemo-made-from"
