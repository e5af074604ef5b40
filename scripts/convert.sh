#!/bin/sh
# Converts a checkpoint, proves that the files are what the conversion defines, and compares them with
# the source. Called by `make convert`, which has built the command and exports SRC, DST, TO, DTYPE
# and PRESET.
set -eu

# A shell other than bash hands `SRC=~/x` on as it is.
expand_home() {
  case "$1" in
    "~/"*) printf '%s\n' "$HOME/${1#"~/"}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

src=$(expand_home "$SRC")
dst=$(expand_home "$DST")
if [ -z "$src" ]; then
  src=build/sample-hf
  echo "convert: no SRC, so this takes a sample checkpoint with the sizes of '$PRESET'"
  rm -rf "$src"
  build/mxferry sample "$src" --preset "$PRESET"
  if [ -z "$dst" ]; then
    dst=build/sample-$TO
    rm -rf "$dst"
  fi
elif [ -z "$dst" ]; then
  echo "convert: DST is missing. Run: make convert SRC=$src DST=FOLDER" >&2
  exit 2
fi

build/mxferry convert "$src" "$dst" --to "$TO" --dtype "$DTYPE" --verify
# A dtype that cannot hold every value makes a difference, which is no failure.
build/mxferry verify "$src" "$dst" || [ $? -eq 1 ]
