#!/bin/sh
# Makes sure that what a build needs is installed: setup.sh build|test|fuzz. Says what is missing, then installs it with
# the system's package manager (Debian, Ubuntu: apt-get; macOS: Homebrew). Does nothing, quickly, if all is there.
set -eu

what=${1:-build}
missing=
system=$(uname -s)

# need TEST DEBIAN-PACKAGE HOMEBREW-PACKAGE: the packages are wanted unless the test succeeds.
need() {
  if sh -c "$1" >/dev/null 2>&1; then return; fi
  if [ "$system" = Darwin ]; then missing="$missing $3"; else missing="$missing $2"; fi
}

# need_lib PKG-CONFIG-NAME DEBIAN-PACKAGE HOMEBREW-PACKAGE
need_lib() { need "pkg-config --exists $1" "$2" "$3"; }

compiles="printf '#include <stdio.h>\nint main(void) { return 0; }\n' | ${CC:-cc} -x c -o /dev/null -"
if [ "$system" = Darwin ] && ! sh -c "$compiles" 2>/dev/null; then
  echo "orion set-up: missing: a C compiler. Run xcode-select --install, then this again." >&2
  exit 1
fi
need "$compiles" "gcc libc6-dev" ""
need "command -v meson" meson meson
need "command -v ninja" ninja-build ninja
need "command -v pkg-config" pkg-config pkg-config
need_lib libpcre2-8 libpcre2-dev pcre2
need_lib libutf8proc libutf8proc-dev utf8proc
need_lib jansson libjansson-dev jansson
need_lib libxxhash libxxhash-dev xxhash
if [ "$what" != build ]; then
  need_lib cmocka libcmocka-dev cmocka
  need_lib ompi-c libopenmpi-dev open-mpi  # training by several processes
  need "command -v mpirun" openmpi-bin open-mpi
fi
if [ "$what" = test ] && [ "$system" != Darwin ]; then  # the bridge to the Neural Engine on its own processor
  need "command -v clang" clang ""
  need "command -v aarch64-linux-gnu-gcc" "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ""
  need "command -v qemu-aarch64" qemu-user ""
fi
if [ "$what" = fuzz ]; then
  fuzzes="echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | ${CLANG:-clang} -x c -fsanitize=fuzzer -o /dev/null -"
  need "$fuzzes" "clang libclang-rt-dev" llvm
fi

missing=${missing# }
if [ -z "$missing" ]; then exit 0; fi

if [ "$system" = Darwin ]; then
  if ! command -v brew >/dev/null; then
    echo "orion set-up: missing: $missing. Install Homebrew (brew.sh), then run this again." >&2
    exit 1
  fi
  echo "orion set-up: installing with brew: $missing"
  exec brew install $missing
fi

if ! command -v apt-get >/dev/null; then
  echo "orion set-up: missing (Debian's names): $missing. Install them with your package manager, then run this again." >&2
  exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "orion set-up: missing: $missing. As root: apt-get install $missing" >&2
    exit 1
  fi
  sudo=sudo
fi
echo "orion set-up: installing with apt-get: $missing"
if ! apt-cache show $missing >/dev/null 2>&1; then $sudo apt-get update -q; fi
install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
# A list of packages that is too old names files that are gone: renew it once.
if ! $install $missing; then
  $sudo apt-get update -q
  $install $missing
fi
