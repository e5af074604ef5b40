#!/bin/sh
# Runs fuzz targets of build/fuzz, each for SECONDS, JOBS of them at once, and prints a table. What
# they keep goes to build/fuzz/corpus, what breaks a promise to build/fuzz/found.
# usage: [JOBS=1] fuzz.sh SECONDS [TARGET...]
set -eu
build=build/fuzz
seconds=$1
shift
mkdir -p "$build/corpus" "$build/found" "$build/log"
[ $# -gt 0 ] || set -- $(ls fuzz/corpus)
export build seconds
# Files in memory where the machine has a place for them.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

printf '%s\n' "$@" | xargs -P "${JOBS:-1}" -I '{}' sh -c '
  mkdir -p "$build/corpus/{}"
  case {} in
    config | file | header | index | sharding) dictionary=-dict=fuzz/json.dict ;;
    regex) dictionary=-dict=fuzz/regex.dict ;;
    *) dictionary= ;;
  esac
  "$build/fuzz_{}" "$build/corpus/{}" "fuzz/corpus/{}" $dictionary -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=1024 -artifact_prefix="$build/found/{}_" -print_final_stats=1 \
    >"$build/log/{}" 2>&1 || touch "$build/log/{}.failed"
'

# The last "cov: N" of a log, and what its first line of counters counts.
failed=0
printf '%-10s %12s %10s %16s\n' target executions per_second 'edges covered'
for target in "$@"; do
  log="$build/log/$target"
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  all=$(sed -n 's/.*(\([0-9]*\) inline 8-bit counters).*/\1/p' "$log" | head -n 1)
  printf '%-10s %12s %10s %16s' "$target" "${runs:--}" "${rate:--}" "${covered:--} of ${all:--}"
  if [ -e "$log.failed" ]; then
    printf '  FAILED, see %s' "$log"
    rm "$log.failed"
    failed=1
  fi
  printf '\n'
done
exit $failed
