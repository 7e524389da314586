#!/bin/sh
# runner.sh: build the runner, the native program that executes module code.
#
#   runner.sh            rebuild internal/runner/runner.{amd64,arm64} in place, and record
#                        the tools' versions
#   runner.sh --check    rebuild into a temporary folder and compare, where the version
#                        that internal/runner/VERSIONS records is present; elsewhere it
#                        must build, and lie where it should
#
# The source is internal/runner/src; a file whose name begins with a machine is that
# machine's. The programs do not depend on the folder or on the day. `tools.sh
# compilers` brings what is missing.
set -eu
me=runner.sh
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"

case ${1-} in
'' | --check) ;;
*)
	printf 'usage: runner.sh [--check]\n' >&2
	exit 2
	;;
esac
[ "$(uname -m)" = x86_64 ] || die "the runner is built on x86-64, this is $(uname -m)"
cd "$here/.."
"$here/tools.sh" compilers
eval "$("$here/tools.sh" env)"

cd internal/runner
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# No libc, no relocation at its start, no thread-local canary, nothing but general
# registers in handlers; and nothing in the file that tells when or where it was made.
cflags="-std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector
	-fno-pic -fno-pie -fno-common -fno-asynchronous-unwind-tables -mgeneral-regs-only
	-fno-ident -frandom-seed=klink"
# -z max-page-size: addresses in memory and in the file agree in pages of every size.
ldflags="-static -nostdlib -no-pie -s -Wl,-T,src/runner.ld,-z,noexecstack,-z,max-page-size=0x10000,--build-id=none,--fatal-warnings"

# prefix MACHINE: of the names of its tools.
prefix() {
	[ "$1" = amd64 ] || echo aarch64-linux-gnu-
}

# machine_flags MACHINE: handlers push flags (no red zone); atomics are inline, as
# there is no libgcc.
machine_flags() {
	case $1 in
	amd64) echo "-mno-red-zone -fcf-protection=none" ;;
	arm64) echo "-mno-outline-atomics -mbranch-protection=none" ;;
	esac
}

# sources MACHINE: its files and those of all machines, in a fixed order.
sources() {
	for _f in src/*.c src/*.S; do
		case $_f in
		src/"$1"_*) echo "$_f" ;;
		src/amd64_* | src/arm64_*) ;;
		*) echo "$_f" ;;
		esac
	done
}

# build MACHINE: the program, in $tmp.
build() {
	# shellcheck disable=SC2046,SC2086 # words
	LC_ALL=C "$(prefix "$1")gcc" $cflags $(machine_flags "$1") $ldflags -o "$tmp/runner.$1" $(sources "$1") ||
		die "cannot build runner.$1"
	chmod 644 "$tmp/runner.$1"
	# No segment may be both written and executed.
	if "$(prefix "$1")readelf" -lW "$tmp/runner.$1" | grep -E '^ *(LOAD|GNU_STACK).* (RWE|WE) '; then
		die "runner.$1 has a segment that is writable and executable"
	fi
}

# versions MACHINE: a line a tool whose output the program is.
versions() {
	_p=$(prefix "$1")
	printf 'gcc.%s\t%s\n' "$1" "$("${_p}gcc" --version | head -n 1)"
	printf 'as.%s\t%s\n' "$1" "$("${_p}gcc" -Wa,--version -c -x assembler /dev/null -o /dev/null | head -n 1)"
	printf 'ld.%s\t%s\n' "$1" "$("${_p}gcc" -Wl,--version 2>/dev/null | head -n 1)"
}

bad=0
for machine in amd64 arm64; do
	build "$machine"
	versions "$machine" >"$tmp/versions.$machine"
	if [ "${1-}" != --check ]; then
		cp "$tmp/runner.$machine" "runner.$machine.new" && mv "runner.$machine.new" "runner.$machine"
		printf '%s: runner.%s: %d bytes\n' "$me" "$machine" "$(wc -c <"runner.$machine")"
	elif [ "$(grep "\.$machine	" VERSIONS)" != "$(cat "$tmp/versions.$machine")" ]; then
		printf '%s: runner.%s builds, but is not compared (another version of the compiler)\n' "$me" "$machine"
	elif cmp -s "$tmp/runner.$machine" "runner.$machine"; then
		printf '%s: runner.%s is what its source gives\n' "$me" "$machine"
	else
		printf '%s: runner.%s differs from what its source gives\n' "$me" "$machine" >&2
		bad=1
	fi
done
if [ "${1-}" != --check ]; then cat "$tmp/versions.amd64" "$tmp/versions.arm64" >VERSIONS; fi
[ "$bad" -eq 0 ]
