#!/bin/sh
# run-on-newer-cpu.sh [LEVEL [PART]]: runs the compute kernels' tests on an emulated processor that this machine need not
# be: builds them into one static program, boots Linux with it as all there is, in Bochs on one thread, and prints what it
# said. LEVEL is avx512 (the default) or any other of tests/kernels, PART a part of a test's name. It takes minutes.
#
# Debian's packages: bochs bochs-term bochsbios vgabios isolinux syslinux-common genisoimage cpio busybox-static, and
# a linux-image-*-cloud-amd64 unpacked anywhere, whose boot/vmlinuz-* is to be named in KERNEL.
#   BOCHS     another emulator than `bochs` (which is 2.7); DISPLAY_LIBRARY=nogui if that has no terminal
#   CPU       its processor; corei7_skylake_x by default, which has no more than AVX-512. Bochs 3.0 adds FEATURES to it:
#             "avx512vnni avx512bf16 amx amx_bf16 amx_int8"; LEVEL is then "avx512 with vnni", "avx512 with bf16" or amx
# Bochs 2.7 rounds halfway cases of float to half up instead of to even: there "elementwise values" and "conversions" fail
# at any level, AVX2 too. Nothing that an emulator runs says how fast it is.
set -eu

level=${1:-avx512}
part=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
bochs=${BOCHS:-bochs}
display=${DISPLAY_LIBRARY:-term}
for tool in cc "$bochs" genisoimage cpio busybox script; do
  command -v "$tool" >/dev/null 2>&1 || { echo "run-on-newer-cpu: $tool is not installed" >&2; exit 2; }
done
if [ ! -f "${KERNEL:-}" ]; then echo "run-on-newer-cpu: KERNEL names no vmlinuz" >&2; exit 2; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- the program: as tests/kernels/meson.build has it, with its plain main ----
kernels=$root/src/device/cpu/kernels
avx2="-mavx2 -mfma -mf16c"
compile() {
  out=$1
  file=$2
  shift 2
  cc -std=gnu11 -D_GNU_SOURCE -O2 -fno-math-errno -ffp-contract=off -I"$root/src" -I"$root/include" "$@" \
    -c "$file" -o "$work/$out.o"
}
compile portable "$kernels/level_portable.c" -O3
compile fused "$kernels/level_portable.c" -O3 -mfma \
  -Dorion_kernels_install_portable=orion_kernels_install_portable_fused
compile avx2 "$kernels/level_avx2.c" -O3 $avx2
avx512="$avx2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512"
compile avx2_vnni "$kernels/level_avx2_vnni.c" -O3 $avx2 -mavxvnni
compile avx512 "$kernels/level_avx512.c" -O3 $avx512
compile avx512_vnni "$kernels/level_avx512_vnni.c" -O3 $avx512 -mavx512vnni
compile kernels "$kernels/kernels.c"
compile pack "$kernels/pack_quantised.c"
compile cpu "$root/src/base/cpu.c"
compile test "$root/tests/kernels/test_kernels.c" -DTEST_PLAIN
mkdir -p "$work/files/proc" "$work/disc"
cc -static "$work"/*.o -lm -o "$work/files/test"

# ---- a disc that boots it ----
cp "$(command -v busybox)" "$work/files/busybox"
cat >"$work/files/init" <<END
#!/busybox sh
/busybox mount -t proc proc /proc
/busybox grep -m1 'model name' /proc/cpuinfo
/test '$level' ${part:+'$part'}
echo "status: \$?"
/busybox sleep 1
/busybox reboot -f
END
chmod +x "$work/files/init"
(cd "$work/files" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$work/disc/initrd"
cp "$KERNEL" "$work/disc/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/disc/"
# One instruction is a tick of the emulated clock. Bochs 2.7 gives a wrong size for compacted state, after which Linux
# would leave AVX off; a reboot by triple fault ends the emulator.
cat >"$work/disc/isolinux.cfg" <<END
default orion
label orion
kernel vmlinuz
append initrd=initrd console=ttyS0,115200 quiet nokaslr mitigations=off panic=-1 reboot=t no5lvl tsc=reliable tsc_early_khz=100000 lapic=notscdeadline ${KERNEL_OPTIONS-clearcpuid=xsavec,xsaves,xgetbv1}
END
genisoimage -quiet -o "$work/disc.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
  "$work/disc"

# ---- the machine ----
features=${FEATURES:-}
if [ "$features" ]; then features=", add_features=\"$features\""; fi
cat >"$work/machine" <<END
megs: 512
cpu: model=${CPU:-corei7_skylake_x}, ips=100000000, reset_on_triple_fault=0$features
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/said
display_library: $display
clock: sync=none, time0=utc
log: $work/log
panic: action=fatal
error: action=ignore
info: action=ignore
END
echo c >"$work/go"
run="'$bochs' -q -unlock -f '$work/machine'"
if [ "$bochs" = bochs ]; then run="$run -rc '$work/go'"; fi  # Debian's waits in its debugger
: >"$work/said"
TERM=xterm nice -n 15 script -qfec "$run" /dev/null </dev/null >/dev/null 2>&1 || true
tr -d '\r' <"$work/said" | grep -v '^\['
tr -d '\r' <"$work/said" | grep -q '^status: 0$'
