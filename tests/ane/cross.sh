#!/bin/sh
# The bridge on the processor it is meant for: its files compile for arm64 macOS (object files; the declarations are in darwin/), and
# with the sim and the stand-in they compile for arm64 Linux and run there, under the emulator.
# Usage: cross.sh SOURCE-ROOT BUILD-FOLDER. What is not installed is skipped (scripts/setup.sh test installs it).
set -u
root=$1
out=$2/cross
cc=aarch64-linux-gnu-gcc
mkdir -p "$out/macos" "$out/linux"
echo 1..3

lacks() {  # the first of the tools that is not there
  for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || { echo "$tool"; return 0; }; done
  return 1
}
report() { if [ "$2" = 0 ]; then echo "ok $1 - $3"; else echo "not ok $1 - $3"; failed=1; fi; }
failed=0

title='the bridge compiles for arm64-apple-macos'
if tool=$(lacks clang); then
  echo "ok 1 - $title # SKIP $tool is not installed"
else
  bad=0
  for file in "$root"/src/device/ane/*.c; do
    clang --target=arm64-apple-macos13 -std=gnu11 -O1 -nostdlibinc -isystem "$root/tests/ane/darwin" -I"$root/src" \
      -I"$root/include" -Wall -Wextra -Wno-unused-parameter -Werror -c "$file" -o "$out/macos/$(basename "$file").o" || bad=1
  done
  # Nothing of Apple's may be linked against: it is all looked up when it runs.
  if [ $bad = 0 ] && command -v llvm-nm >/dev/null 2>&1; then
    linked=$(llvm-nm -u "$out"/macos/*.o | grep -E '[ \t]_(objc|sel_|class_|CF|NS|IOSurface|e5rt|kCF|kIO)' || true)
    [ -z "$linked" ] || { echo "# $linked"; bad=1; }
  fi
  report 1 $bad "$title"
fi

build='the bridge, the sim and the stand-in compile for arm64 Linux'
run='programs run through the bridge under the emulator'
if tool=$(lacks "$cc" qemu-aarch64); then
  echo "ok 2 - $build # SKIP $tool is not installed"
  echo "ok 3 - $run # SKIP $tool is not installed"
  exit $failed
fi
ccache=$(command -v ccache || true)
# (the sim's products are compiled once per level of processors: here, the portable one)
flags="-std=gnu11 -D_GNU_SOURCE -DWIDTH=4 -DLEVEL=portable -O1 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off"
flags="$flags -Wall -Wno-unused-parameter -Wno-format-truncation -Wno-maybe-uninitialized -I$root/src -I$root/include -I$root/tests -idirafter /usr/include"
sources=$(ls "$root"/src/base/*.c "$root"/src/ir/*.c "$root"/src/mil/*.c "$root"/src/target/*.c "$root"/src/device/*.c \
  "$root"/src/device/sim/*.c "$root"/src/device/null/*.c "$root"/src/device/ane/*.c | grep -v -e device/registry.c -e device/auto.c)
object_of() { echo "$out/linux/$(echo "${1#"$root"/}" | tr / _).o"; }
library=
for file in $sources; do library="$library $(object_of "$file")"; done
for file in $sources "$root"/tests/ane/cross_*.c "$root"/tests/standin/*.c; do
  object=$(object_of "$file")
  if [ "$object" -nt "$file" ] && [ -z "$(find "$root/src" "$root/include" "$root/tests/standin" -name '*.[hi]*' -newer "$object")" ]; then continue; fi
  echo "$file $object"
done >"$out/list"
bad=0
[ ! -s "$out/list" ] || xargs -P 2 -L 1 sh -c "$ccache $cc $flags -c \$0 -o \$1" <"$out/list" || bad=1
cd "$out/linux" || exit 1
# An archive: files that need libraries which nobody has for arm64 are left aside as long as nothing here needs them.
rm -f libcross.a
if [ $bad = 0 ]; then
  aarch64-linux-gnu-ar rc libcross.a $library &&
    $cc -shared -Wl,--exclude-libs,ALL -Wl,-Bsymbolic ./tests_standin_*.o ./tests_ane_cross_registry.c.o libcross.a -lm -lpthread \
      -o libstandin.so &&
    $cc ./tests_ane_cross_*.o libcross.a -lm -lpthread -ldl -o cross_run || bad=1
fi
report 2 $bad "$build"
[ $bad = 0 ] || { echo "not ok 3 - $run"; exit 1; }
said=$(TMPDIR=$out qemu-aarch64 -L /usr/aarch64-linux-gnu ./cross_run "$out/linux/libstandin.so" 2>&1)
[ "$said" = ok ] || { echo "$said" | sed 's/^/# /'; bad=1; }
report 3 $bad "$run"
exit $failed
