#!/bin/sh
# test.sh BUILD [SUITE...]: builds, runs the tests, and ends with the line "N passed, N failed" (", N skipped").
set -u

build=$1
shift
suites=
for s in "$@"; do suites="$suites --suite $s"; done

meson compile -C "$build" || { echo "the build failed"; echo "0 passed, 1 failed"; exit 1; }
# Sanitizers make programs slow, and a busy machine too: the limits are for hanging tests, not for slow ones.
meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 6 $suites
status=$?
# Meson counts programs; the single cases are in its log.
meson runpython scripts/count_tests.py "$build/meson-logs/testlog.json" "$status"
