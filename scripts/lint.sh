#!/bin/sh
# Checks format and findings of the sources with the tools in build/lint-venv; clang-tidy reads the
# compile commands of build/lint. With --fix it rewrites the format instead.
set -eu
tools=build/lint-venv/bin

# Zero-terminated paths of what is tracked, or is new and not ignored.
sources() {
  git ls-files --cached --others --exclude-standard -z -- "$@"
}

if [ "${1:-}" = --fix ]; then
  sources '*.cc' '*.h' | xargs -0 -r "$tools/clang-format" -i
  sources '*.py' | xargs -0 -r "$tools/ruff" format --no-cache --quiet
  exit 0
fi

failed=""
sources '*.cc' '*.h' | xargs -0 -r "$tools/clang-format" --dry-run -Werror || failed="$failed clang-format"
sources '*.py' | xargs -0 -r "$tools/ruff" format --no-cache --check --quiet || failed="$failed ruff-format"
sources '*.py' | xargs -0 -r "$tools/ruff" check --no-cache --quiet || failed="$failed ruff"
# The consumer project of the installation test and what only libFuzzer needs have no compile
# commands here.
sources 'src/*.cc' 'cli/*.cc' 'bench/*.cc' 'examples/*.cc' 'python/*.cc' 'tests/*.cc' 'fuzz/*.cc' \
  ':!tests/install/*' ':!fuzz/libfuzzer.cc' |
  xargs -0 -r -n 1 -P "$JOBS" "$tools/clang-tidy" -p build/lint --quiet || failed="$failed clang-tidy"

if [ -n "$failed" ]; then
  echo "lint: findings of$failed" >&2
  exit 1
fi
echo "lint: no findings"
