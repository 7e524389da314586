#!/bin/sh
# objs.sh: build the fixtures of testdata/objs from their sources.
#
#   objs.sh            rebuild all of them in place, and record the tools' versions
#   objs.sh --check    rebuild into a temporary folder and compare, where the
#                      version that testdata/objs/VERSIONS records is present
#
# What is built, and how, stands in testdata/objs/objs.table. The objects do not
# depend on the folder or on the day. `tools.sh compilers` brings what is missing.
set -eu
me=objs.sh
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"

case ${1-} in
'' | --check) ;;
*)
	printf 'usage: objs.sh [--check]\n' >&2
	exit 2
	;;
esac
[ "$(uname -m)" = x86_64 ] || die "fixtures are built on x86-64, this is $(uname -m)"
"$here/tools.sh" compilers
eval "$("$here/tools.sh" env)"

objs=$here/../testdata/objs
cd "$objs"
objs=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# program COMPILER MACHINE: what to run.
program() {
	case $1.$2 in
	clang.* | rustc.*) echo "$1" ;;
	as.amd64) echo gcc ;;
	as.arm64) echo aarch64-linux-gnu-gcc ;;
	*.amd64) echo "$1" ;;
	*.arm64) echo "aarch64-linux-gnu-$1" ;;
	esac
}

# usual_flags COMPILER MACHINE SOURCE OUTPUT: the flags of every row.
usual_flags() {
	case $1 in
	rustc)
		_t=x86_64-unknown-linux-gnu
		[ "$2" = arm64 ] && _t=aarch64-unknown-linux-gnu
		echo "--edition 2021 --crate-type lib --emit obj --target $_t -C panic=abort -C codegen-units=1 -C debuginfo=0"
		return
		;;
	as) echo "-c" && return ;;
	esac
	_f="-c -Iinclude -ffreestanding -fno-pic -fno-common -fno-stack-protector -fcf-protection=none -fno-ident -Wall -Wno-unused-function"
	[ "$2" = arm64 ] && _f="-c -Iinclude -ffreestanding -fno-pic -fno-common -fno-stack-protector -mno-outline-atomics -fno-ident -Wall -Wno-unused-function"
	case $1 in
	clang) _f="$_f --target=$([ "$2" = amd64 ] && echo x86_64 || echo aarch64)-linux-gnu -fasynchronous-unwind-tables" ;;
	*) _f="$_f -frandom-seed=$4" ;;
	esac
	echo "$_f -ffile-prefix-map=$objs=."
}

# What a module is compiled with: the headers of klink's kernel, as klink cc does it.
kpi_flags="-nostdinc -I../../internal/kpi/include -D_KERNEL -D_MODULE -DDIAGNOSTIC -fasynchronous-unwind-tables -fno-strict-aliasing"

# expand MACHINE FLAG...: the flags of a row, for this machine.
expand() {
	_m=$1
	shift
	for _w; do
		case $_m.$_w in
		amd64.@kernel) echo "-mcmodel=kernel -mno-red-zone -mgeneral-regs-only" ;;
		arm64.@kernel) echo "-mgeneral-regs-only" ;;
		amd64.@cf) echo "-fcf-protection=full" ;;
		arm64.@cf) echo "-mbranch-protection=standard" ;;
		amd64.@kpi) echo "$kpi_flags -isystem $(gcc -print-file-name=include) -Wa,-mshared" ;;
		arm64.@kpi) echo "$kpi_flags -isystem $(aarch64-linux-gnu-gcc -print-file-name=include) -moutline-atomics" ;;
		*.@*) die "objs.table: no flags are called $_w" ;;
		*) echo "$_w" ;;
		esac
	done
}

# build OUTPUT MACHINE COMPILER SOURCE FLAG...: one object, in $tmp.
build() {
	_out=${1%.*}.$2.${1##*.} _machine=$2 _cc=$3
	_src=$(echo "$4" | sed "s/{m}/$2/")
	mkdir -p "$tmp/${1%/*}"
	if [ "$_cc" = ar ]; then
		_members=$(echo "$_src" | tr , '\n' | sed "s/\$/.$2.o/")
		# shellcheck disable=SC2086 # words
		(cd "$tmp/${1%/*}" && "$(program ar "$2")" rcD "${_out##*/}" $_members)
		return
	fi
	_id=$1
	shift 4
	_flags=$(expand "$_machine" "$@")
	# shellcheck disable=SC2046,SC2086 # words
	"$(program "$_cc" "$_machine")" $(usual_flags "$_cc" "$_machine" "$_src" "$_id") $_flags \
		-o "$tmp/$_out" "$_src" || die "cannot build $_out"
}

# versions: a line a tool: the words that rows depend on, and its first line.
versions() {
	for _m in amd64 arm64; do
		for _c in gcc g++; do
			printf '%s.%s\t%s\n' "$_c" "$_m" "$("$(program $_c $_m)" --version | head -n 1)"
		done
		printf 'as.%s\t%s\n' "$_m" "$("$(program gcc $_m)" -Wa,--version -c -x assembler /dev/null -o /dev/null | head -n 1)"
	done
	for _c in clang rustc; do
		printf '%s\t%s\n' $_c "$($_c --version | head -n 1)"
	done
}

# usable COMPILER MACHINE: are the tools of this row those that are recorded?
usable() {
	case $1 in
	clang | rustc) _need=$1 ;;
	as | ar) _need="as.$2" ;;
	*) _need="$1.$2 as.$2" ;;
	esac
	for _u in $_need; do
		_line=$(grep "^$_u	" "$tmp/versions")
		grep -qxF "$_line" VERSIONS || return 1
	done
}

versions >"$tmp/versions"
rows=$tmp/rows
grep -v '^#' objs.table | grep . >"$rows"
built=0 skipped=0 bad=0
while read -r out machines compiler source flags; do
	[ "$machines" = both ] && machines='amd64 arm64'
	for machine in $machines; do
		if [ "${1-}" = --check ] && ! usable "$compiler" "$machine"; then
			skipped=$((skipped + 1))
			continue
		fi
		# shellcheck disable=SC2086 # words
		build "$out" "$machine" "$compiler" "$source" $flags
		built=$((built + 1))
		file=${out%.*}.$machine.${out##*.}
		if [ "${1-}" != --check ]; then
			mv "$tmp/$file" "$file.new" && cp "$file.new" "$tmp/$file" && mv "$file.new" "$file"
		elif ! cmp -s "$tmp/$file" "$file"; then
			printf '%s: %s differs from what its source gives\n' "$me" "$file" >&2
			bad=$((bad + 1))
		fi
	done
done <"$rows"

if [ "${1-}" != --check ]; then
	cp "$tmp/versions" VERSIONS
	printf '%s: %d objects built\n' "$me" "$built"
	exit 0
fi
# An object without a row would never be rebuilt.
for file in */*.o */*.kmod */*.a; do
	stem=${file%.*} ext=${file##*.}
	grep -q "^${stem%.*}\.${ext}[[:space:]]" "$rows" && continue
	printf '%s: %s has no line in objs.table\n' "$me" "$file" >&2
	bad=$((bad + 1))
done
printf '%s: %d objects compared, %d differ, %d not compared (another version of the compiler)\n' \
	"$me" "$built" "$bad" "$skipped"
[ "$bad" -eq 0 ]
