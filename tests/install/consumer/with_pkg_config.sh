#!/bin/sh
# Builds and runs the consumer with what pkg-config says; arguments: the compiler and its flags.
set -eu
here=$(dirname "$0")
program=$(mktemp)
trap 'rm -f "$program"' EXIT

# shellcheck disable=SC2046  # pkg-config prints arguments
"$@" -std=c++20 $(pkg-config --cflags mxferry) "$here/consumer.cc" -o "$program" \
  $(pkg-config --libs mxferry)
"$program" "$(pkg-config --modversion mxferry)"
