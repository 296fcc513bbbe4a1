#!/bin/sh
# The NEON kernels on another machine: cross-compiles them with the plain build of test_kernels.c and runs that under
# the emulator. Usage: neon.sh SOURCE-ROOT BUILD-FOLDER. Without the tools it says so and is skipped.
set -eu
root=$1
out=$2/kernels_neon
cc=aarch64-linux-gnu-gcc
for tool in "$cc" qemu-aarch64; do
  command -v "$tool" >/dev/null 2>&1 || { echo "1..0 # SKIP $tool is not installed"; exit 0; }
done
mkdir -p "$out"
flags="-std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -fno-math-errno -ffp-contract=off"
flags="$flags -I$root/src -I$root/include"
kernels=$root/src/device/cpu/kernels
build() { "$cc" $flags "$@"; }
# Portable code fuses here anyway, so it stands for the fused reference too.
build -DTEST_PLAIN -static "$root/tests/kernels/test_kernels.c" "$kernels/kernels.c" "$kernels/pack_quantised.c" "$kernels/level_neon.c" \
  "$kernels/level_portable.c" "$root/src/base/cpu.c" -lm \
  -Wl,--defsym=orion_kernels_install_portable_fused=orion_kernels_install_portable -o "$out/test"
exec qemu-aarch64 "$out/test" neon
