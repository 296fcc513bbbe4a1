#!/bin/sh
# The kernels of aarch64 on another machine, each level with the flags that the library's build gives it:
# - compiled for arm64 macOS by clang (object files; the declarations are in ../ane/darwin);
# - cross-compiled for Linux with the plain build of test_kernels.c, which the emulator then runs on a processor that has
#   everything: NEON with all tests, its dot products, I8MM and BF16 with those of the products that they are for.
# Usage: neon.sh SOURCE-ROOT BUILD-FOLDER. What is not installed is skipped, and said so.
set -eu
root=$1
out=$2/kernels_neon
kernels=$root/src/device/cpu/kernels
flags="-std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -Wno-unused-parameter -fno-math-errno -ffp-contract=off"
flags="$flags -I$root/src -I$root/include"
mkdir -p "$out"
has() { command -v "$1" >/dev/null 2>&1; }
# Every level's object file, by the compiler and options that follow its folder.
levels() {
  to=$1
  shift
  mkdir -p "$to" && "$@" $flags -c "$kernels/level_neon.c" -o "$to/neon.o" || return 1
  for with in dotprod i8mm:dotprod+i8mm bf16; do
    "$@" $flags -march=armv8.2-a+"${with#*:}" -c "$kernels/level_neon_${with%:*}.c" -o "$to/neon_${with%:*}.o" || return 1
  done
}

failed=0
title='every level compiles for arm64-apple-macos'
if ! has clang; then
  echo "ok - $title # SKIP clang is not installed"
elif levels "$out/macos" clang --target=arm64-apple-macos13 -nostdlibinc -isystem "$root/tests/ane/darwin"; then
  echo "ok - $title"
else
  echo "not ok - $title"
  failed=1
fi

cc=aarch64-linux-gnu-gcc
if ! has $cc || ! has qemu-aarch64; then
  echo "ok - every level passes its tests # SKIP $cc or qemu-aarch64 is not installed"
  echo 1..2
  exit $failed
fi
levels "$out/linux" $cc
# Portable code fuses here anyway, so it stands for the fused reference too.
$cc $flags -DTEST_PLAIN -static "$root/tests/kernels/test_kernels.c" "$kernels/kernels.c" "$kernels/pack_quantised.c" \
  "$kernels/level_portable.c" "$root/src/base/cpu.c" "$out"/linux/*.o -lm \
  -Wl,--defsym=orion_kernels_install_portable_fused=orion_kernels_install_portable -o "$out/test"
run() { qemu-aarch64 -cpu max "$out/test" "$@" | grep -v '^1\.\.' | sed -E 's/^((not )?ok) [0-9]+/\1/'; }
{
  run neon
  run "neon with dotprod" "rounded rows"
  run "neon with i8mm" "rounded rows"
  run "neon with bf16" "matrix instructions"
  run "neon with bf16" "ceilings"
} >"$out/said"
cat "$out/said"
echo "1..$(($(grep -c -E '^(not )?ok' "$out/said") + 1))"
! grep -q '^not ok' "$out/said" || failed=1
exit $failed
