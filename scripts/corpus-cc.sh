#!/bin/sh
# corpus-cc.sh: what compilers make of a few sources under many options.
#
#   corpus-cc.sh FOLDER    build FOLDER/GOARCH/*.o for both machines, if they are not those
#                          of these compilers, sources and options
#
# gcc and clang, -O0 and -O2, with and without -fPIC, every code model that there is; the
# sources below `full` also with sections of their own, branch protection and -fcommon.
# rustc: optimisation, relocation and code models. A combination that a compiler does not
# know is left out. The file `packages` lists the compilers and how many objects there are.
set -eu
me=corpus-cc.sh
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"
[ $# -eq 1 ] || { printf 'usage: corpus-cc.sh FOLDER\n' >&2; exit 2; }

"$here/tools.sh" compilers
eval "$("$here/tools.sh" env)"
mkdir -p "$1"
to=$(cd "$1" && pwd)
cd "$here/.."

full="testdata/corpus/refs.c testdata/objs/matrix/all.c testdata/corpus/classes.cc"
plain="testdata/objs/data/*.c testdata/objs/got/*.c testdata/objs/ldst/*.c
	testdata/objs/weak_undef/*.c testdata/objs/comdat/*.cc testdata/objs/gnu_unique/*.cc testdata/objs/unwind/unwind.cc"
rust="testdata/objs/rust/*.rs"

# compiler NAME MACHINE: the program and the flags of every object.
compiler() {
	_flags="-c -w -Itestdata/objs/include -ffreestanding -fno-ident -frandom-seed=1"
	case $1.$2 in
	gcc.amd64) echo "gcc $_flags" ;;
	gcc.arm64) echo "aarch64-linux-gnu-gcc $_flags" ;;
	g++.amd64) echo "g++ $_flags -std=c++17" ;;
	g++.arm64) echo "aarch64-linux-gnu-g++ $_flags -std=c++17" ;;
	clang*.amd64) echo "$1 ${_flags% *} --target=x86_64-linux-gnu" ;;
	clang*.arm64) echo "$1 ${_flags% *} --target=aarch64-linux-gnu" ;;
	rustc.amd64) echo "rustc --edition 2021 --crate-type lib --emit obj --target x86_64-unknown-linux-gnu -C panic=abort -C codegen-units=1" ;;
	rustc.arm64) echo "rustc --edition 2021 --crate-type lib --emit obj --target aarch64-unknown-linux-gnu -C panic=abort -C codegen-units=1" ;;
	esac
}

# models MACHINE: the code models of C compilers.
models() {
	if [ "$1" = amd64 ]; then echo "small medium kernel large"; else echo "tiny small large"; fi
}

# line OUT PROGRAM ARG...: a command, a line, for xargs; one that fails on an empty
# source is none of the compiler's.
line() {
	printf '%s\n' "$*"
}

# c_lines MACHINE: a line for each object of C and C++, its name first.
c_lines() {
	for _family in gcc clang; do
		for _pic in no-pic PIC; do
			for _model in $(models "$1"); do
				_prog=$(compiler $_family "$1")
				# shellcheck disable=SC2086 # words
				$_prog -f$_pic -mcmodel="$_model" -x c /dev/null -o /dev/null 2>/dev/null || continue
				for _o in O0 O2; do
					c_sources "$1" $_family "$_o-$_pic-$_model" "-$_o -f$_pic -mcmodel=$_model"
				done
			done
		done
	done
}

# c_sources MACHINE FAMILY TAG FLAGS: all sources with these flags.
c_sources() {
	_cf=-fcf-protection=full
	[ "$1" = amd64 ] || _cf=-mbranch-protection=standard
	for _s in $full $plain; do
		_base=$(echo "${_s#testdata/*/}" | tr / _)
		case $_s.$2 in
		*.cc.gcc) _prog=$(compiler g++ "$1") ;;
		*.cc.clang) _prog=$(compiler clang "$1") && _prog="$_prog -std=c++17" ;;
		*) _prog=$(compiler "$2" "$1") ;;
		esac
		line "$_base-$2-$3" "$_prog $4 $_s"
		case " $full " in
		*" $_s "*)
			line "$_base-$2-$3-sections" "$_prog $4 -ffunction-sections -fdata-sections $_s"
			line "$_base-$2-$3-cf" "$_prog $4 $_cf $_s"
			case $_s in *.c) line "$_base-$2-$3-common" "$_prog $4 -fcommon $_s" ;; esac
			;;
		esac
	done
}

rust_lines() {
	_models="small kernel large"
	[ "$1" = amd64 ] || _models="tiny small large"
	for _s in $rust; do
		for _o in 0 2 s; do
			for _r in static pic; do
				for _model in $_models; do
					_base=$(basename "$_s")
					line "$_base-rustc-$_o-$_r-$_model" "$(compiler rustc "$1") -C opt-level=$_o -C relocation-model=$_r -C code-model=$_model $_s"
				done
			done
		done
	done
}

# versions MACHINE: what the objects depend on.
versions() {
	for _c in gcc g++ clang rustc; do
		$(compiler $_c "$1" | cut -d' ' -f1) --version | head -n 1
	done
	$(compiler gcc "$1" | cut -d' ' -f1) -Wa,--version -c -x assembler /dev/null -o /dev/null | head -n 1
	# shellcheck disable=SC2086 # names
	printf 'sources %s\n' "$(cat $full $plain $rust testdata/objs/include/* scripts/corpus-cc.sh | sha256sum | cut -d' ' -f1)"
}

build() {
	versions "$1" >"$to/$1.versions"
	if [ -f "$to/$1/packages" ] && cmp -s "$to/$1.versions" "$to/$1/packages"; then
		rm "$to/$1.versions"
		return
	fi
	rm -rf "${to:?}/$1" "$to/$1.new"
	mkdir "$to/$1.new"
	{ c_lines "$1"; rust_lines "$1"; } >"$to/$1.lines"
	# shellcheck disable=SC2016 # $0 and $@ are the inner shell's
	xargs -P "$(nproc)" -L 1 sh -c '_out=$0.o; "$@" -o "'"$to/$1.new"'/$_out" || { echo "cannot build $_out" >&2; exit 255; }' <"$to/$1.lines" ||
		die "the compilers' objects for $1 cannot be built"
	rm "$to/$1.lines"
	mv "$to/$1.versions" "$to/$1.new/packages"
	mv "$to/$1.new" "$to/$1"
}

exec 8>"$to/lock"
flock 8
for machine in amd64 arm64; do build $machine 8>&-; done
