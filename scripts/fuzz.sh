#!/bin/sh
# fuzz.sh BUILD SECONDS [NAME...]: runs each fuzz target for so many seconds, from the corpus in the source, from the
# shared test data where there is some, and from what earlier runs found (kept in BUILD/found). A finding is left in
# BUILD/crashes, and the exit status is 1.
set -eu

build=$1
seconds=$2
shift 2
names=$*
if [ -z "$names" ]; then
  for f in tests/fuzz/fuzz_*.c; do
    if [ -f "$f" ]; then names="$names $(basename "$f" .c | sed 's/^fuzz_//')"; fi
  done
fi
if [ -z "$names" ]; then echo "fuzz: there are no targets"; exit 0; fi
for name in $names; do targets="${targets:-} libfuzz_$name"; done
meson compile -C "$build" $targets
# Folders of the shared data by target are listed in tests/fuzz/meson.build; the build writes the list down.
shared=${ORION_SHARED:-../shared}
failed=
mkdir -p "$build/crashes"
for name in $names; do
  found=$build/found/$name
  mkdir -p "$found"
  set -- "$found"
  if [ -d "tests/fuzz/corpus/$name" ]; then set -- "$@" "tests/fuzz/corpus/$name"; fi
  for folder in $(sed -n "s/^$name //p" "$build/tests/fuzz/shared_folders.txt"); do
    if [ -d "$shared/$folder" ]; then set -- "$@" "$shared/$folder"; fi
  done
  dict=
  if [ -f "tests/fuzz/dict/$name.dict" ]; then dict=-dict=tests/fuzz/dict/$name.dict; fi
  echo "fuzz $name: $seconds s"
  log=$build/crashes/$name.log
  if "$build/tests/fuzz/libfuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
      -artifact_prefix="$build/crashes/$name-" $dict "$@" >"$log" 2>&1; then
    grep -E 'stat::number_of_executed_units|stat::new_units_added' "$log" || true
  else
    failed="$failed $name"
    tail -n 40 "$log"
  fi
done
if [ -n "$failed" ]; then
  echo "fuzz: findings in$failed; inputs and logs are in $build/crashes"
  exit 1
fi
echo "fuzz: nothing found"
