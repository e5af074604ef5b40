#!/bin/sh
# Installs the Debian packages that are missing; with nothing missing it does nothing and needs
# neither network nor root.
# usage: setup.sh GROUP...   with groups of: build test python fuzz
set -eu

packages_of() {
  case "$1" in
    build) echo "g++ cmake ninja-build pkgconf libhwy-dev nlohmann-json3-dev libfmt-dev" \
                "libcli11-dev libpcre2-dev nettle-dev" ;;
    test) echo "git iproute2 jq libopenmpi-dev openmpi-bin python3 python3-venv libgtest-dev libgmock-dev librapidcheck-dev" ;;
    python) echo "python3 python3-venv python3-dev" ;;
    fuzz) echo "clang libclang-rt-dev" ;;
    *) echo "setup.sh: there is no group '$1'" >&2; exit 2 ;;
  esac
}

wanted=""
for group in "$@"; do
  wanted="$wanted $(packages_of "$group")"
done

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is no Debian system, so nothing is installed. The build needs what these"
  echo "setup: packages of Debian hold:$wanted"
  exit 0
fi

missing=""
for package in $wanted; do
  status=$(dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null || true)
  case "$status" in
    *" ok installed") ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
  as_root=env
elif command -v sudo >/dev/null; then
  as_root="sudo env"
else
  echo "setup: these packages are missing:$missing" >&2
  echo "setup: installing them takes root, and there is no sudo. As root, run" >&2
  echo "setup:   apt-get update && apt-get install -y --no-install-recommends$missing" >&2
  exit 1
fi

echo "setup: installing$missing"
# A failed update is not the end: the lists that are there may be good enough.
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -q ||
  echo "setup: apt-get update failed; going on with the package lists that are here" >&2
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
