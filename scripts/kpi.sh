#!/bin/sh
# kpi.sh: build klink's own kernel object, which implements the headers for modules.
#
#   kpi.sh            rebuild internal/kpi/klink.{amd64,arm64}.o in place, and record
#                     the tools' versions
#   kpi.sh --check    rebuild into a temporary folder and compare, where the version
#                     that internal/kpi/VERSIONS records is present; elsewhere it must build
#
# The source is internal/kpi/src; a file whose name begins with a machine is that
# machine's. The objects do not depend on the folder or on the day. `tools.sh
# compilers` brings what is missing.
set -eu
me=kpi.sh
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"

case ${1-} in
'' | --check) ;;
*)
	printf 'usage: kpi.sh [--check]\n' >&2
	exit 2
	;;
esac
[ "$(uname -m)" = x86_64 ] || die "the kernel object is built on x86-64, this is $(uname -m)"
cd "$here/.."
"$here/tools.sh" compilers
eval "$("$here/tools.sh" env)"

cd internal/kpi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# It implements memcpy and what libgcc has: the compiler must not turn its loops into
# calls of them. It is called with any stack, so it has no canaries of its own; and with
# vector registers that are the caller's, so it uses none.
cflags="-c -std=gnu11 -O2 -Wall -Wextra -Werror -nostdinc -Iinclude -I../runner/src
	-ffreestanding -fno-tree-loop-distribute-patterns -fno-stack-protector -mgeneral-regs-only
	-fno-pic -fno-pie -fno-common -fno-strict-aliasing -fasynchronous-unwind-tables
	-fno-ident -frandom-seed=klink"

# prefix MACHINE: of the names of its tools.
prefix() {
	[ "$1" = amd64 ] || echo aarch64-linux-gnu-
}

# machine_flags MACHINE: -mshared keeps the relocation of every jump to a global name,
# so that calls inside the object follow their symbols, too; atomics are inline, as they
# are what it implements.
machine_flags() {
	case $1 in
	amd64) echo "-fcf-protection=none -Wa,-mshared" ;;
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

# build MACHINE: the object, in $tmp. One relocatable file; of its names those in the
# lists stay global, and become weak: the user's kernel objects, which are linked with
# it into the module "kernel", win.
build() {
	_objects=
	for _s in $(sources "$1"); do
		_o=$tmp/$1.${_s##*/}.o
		# shellcheck disable=SC2046,SC2086 # words
		LC_ALL=C "$(prefix "$1")gcc" $cflags $(machine_flags "$1") -o "$_o" "$_s" || die "cannot build $_s for $1"
		_objects="$_objects $_o"
	done
	# shellcheck disable=SC2086 # words
	"$(prefix "$1")ld" -r -o "$tmp/joined.$1.o" $_objects || die "cannot join the objects of $1"
	cat names.txt "$1_names.txt" >"$tmp/names.$1" 2>/dev/null || cp names.txt "$tmp/names.$1"
	"$(prefix "$1")objcopy" --keep-global-symbols="$tmp/names.$1" --weaken "$tmp/joined.$1.o" "$tmp/klink.$1.o"
	chmod 644 "$tmp/klink.$1.o"
	_missing=$("$(prefix "$1")nm" -u "$tmp/klink.$1.o")
	[ -z "$_missing" ] || die "klink.$1.o lacks" "$_missing"
}

# versions MACHINE: a line a tool whose output the object is.
versions() {
	_p=$(prefix "$1")
	printf 'gcc.%s\t%s\n' "$1" "$("${_p}gcc" --version | head -n 1)"
	printf 'as.%s\t%s\n' "$1" "$("${_p}gcc" -Wa,--version -c -x assembler /dev/null -o /dev/null | head -n 1)"
	printf 'ld.%s\t%s\n' "$1" "$("${_p}ld" --version | head -n 1)"
}

bad=0
for machine in amd64 arm64; do
	build "$machine"
	versions "$machine" >"$tmp/versions.$machine"
	if [ "${1-}" != --check ]; then
		cp "$tmp/klink.$machine.o" "klink.$machine.o.new" && mv "klink.$machine.o.new" "klink.$machine.o"
		printf '%s: klink.%s.o: %d bytes\n' "$me" "$machine" "$(wc -c <"klink.$machine.o")"
	elif [ "$(grep "\.$machine	" VERSIONS)" != "$(cat "$tmp/versions.$machine")" ]; then
		printf '%s: klink.%s.o builds, but is not compared (another version of the compiler)\n' "$me" "$machine"
	elif cmp -s "$tmp/klink.$machine.o" "klink.$machine.o"; then
		printf '%s: klink.%s.o is what its source gives\n' "$me" "$machine"
	else
		printf '%s: klink.%s.o differs from what its source gives\n' "$me" "$machine" >&2
		bad=1
	fi
done
if [ "${1-}" != --check ]; then cat "$tmp/versions.amd64" "$tmp/versions.arm64" >VERSIONS; fi
[ "$bad" -eq 0 ]
