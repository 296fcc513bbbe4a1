# The front door. Meson does the building; these commands do everything around it, set-up included.
#
#   make         the release binary, build/orion
#   make demo    build it and let a model write (MODEL=... takes yours)
#   make test    build with sanitizers and run every test
#
# Nothing is written outside build/, save the packages that scripts/setup.sh names before it installs them.

MODE_TEST = --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Dtests=true
MODE_FUZZ = --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Dtests=true -Dfuzzers=true
FUZZ_SECONDS ?= 60
CLANG ?= clang
export CLANG

all: release

release:
	@scripts/setup.sh build
	@test -f build/release/build.ninja || meson setup build/release --buildtype=release
	@meson compile -C build/release
	@ln -sfn release/src/cli/orion build/orion

demo: release
	@MODEL="$(MODEL)" TOKENIZER="$(TOKENIZER)" scripts/demo.sh

test:
	@scripts/setup.sh test
	@test -f build/test/build.ninja || meson setup build/test $(MODE_TEST)
	@scripts/test.sh build/test $(T)

fuzz:
	@scripts/setup.sh fuzz
	@test -f build/fuzz/build.ninja || CC=$(CLANG) meson setup build/fuzz $(MODE_FUZZ)
	@scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS) $(T)

clean:
	rm -rf build

help:
	@echo 'make         build/orion, optimised'
	@echo 'make demo    a model writes a text; MODEL=path (and TOKENIZER=path) takes any model'
	@echo 'make test    all tests under AddressSanitizer and UBSan; T=base runs one suite'
	@echo 'make fuzz    each fuzz target for FUZZ_SECONDS=60; T=mil runs one; CLANG=clang names the compiler'
	@echo 'make clean   removes build/'

.PHONY: all release demo test fuzz clean help
