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

# models MACHINE: the code models that there are.
models() {
	if [ "$1" = amd64 ]; then echo "small medium kernel large"; else echo "tiny small large"; fi
}

# c_lines MACHINE: a line for each object of C and C++: its name, and what makes it.
c_lines() {
	for _family in gcc clang; do
		_c=$(compiler $_family "$1")
		if [ $_family = gcc ]; then _cxx=$(compiler g++ "$1"); else _cxx="$_c -std=c++17"; fi
		for _pic in no-pic PIC; do
			for _model in $(models "$1"); do
				# shellcheck disable=SC2086 # words
				$_c -f$_pic -mcmodel="$_model" -x c /dev/null -o /dev/null 2>/dev/null || continue
				for _o in O0 O2; do
					c_sources "$1" "$_family-$_o-$_pic-$_model" "-$_o -f$_pic -mcmodel=$_model"
				done
			done
		done
	done
}

# c_sources MACHINE TAG FLAGS: the lines of all sources with these flags.
c_sources() {
	_cf=-fcf-protection=full
	[ "$1" = amd64 ] || _cf=-mbranch-protection=standard
	for _s in $full $plain; do
		_name=${_s#testdata/*/}
		case $_name in */*) _name=${_name%%/*}_${_name#*/} ;; esac
		case $_s in *.cc) _prog=$_cxx ;; *) _prog=$_c ;; esac
		echo "$_name-$2 $_prog $3 $_s"
		case " $full " in *" $_s "*) ;; *) continue ;; esac
		echo "$_name-$2-sections $_prog $3 -ffunction-sections -fdata-sections $_s"
		echo "$_name-$2-cf $_prog $3 $_cf $_s"
		case $_s in *.c) echo "$_name-$2-common $_prog $3 -fcommon $_s" ;; esac
	done
}

rust_lines() {
	_prog=$(compiler rustc "$1")
	echo '#![no_std]' >"$to/empty.rs"
	for _r in static pic; do
		for _model in $(models "$1"); do
			# shellcheck disable=SC2086 # words
			$_prog -C relocation-model=$_r -C code-model="$_model" "$to/empty.rs" -o "$to/empty.o" 2>/dev/null || continue
			for _s in $rust; do
				for _o in 0 2 s; do
					echo "${_s##*/}-rustc-$_o-$_r-$_model $_prog -C opt-level=$_o -C relocation-model=$_r -C code-model=$_model $_s"
				done
			done
		done
	done
	rm -f "$to/empty.rs" "$to/empty.o"
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

# one OUT PROGRAM ARG...: what xargs runs. An object appears when it is complete, so that
# a build that was stopped goes on where it was.
# shellcheck disable=SC2016 # for the inner shell
one='[ -s "$0.o" ] || { "$@" -o "$0.o.new" && mv "$0.o.new" "$0.o"; } || { echo "cannot build $0.o" >&2; exit 255; }'

build() {
	_new=$to/$1.new
	versions "$1" >"$to/$1.versions"
	if [ -f "$to/$1/packages" ] && cmp -s "$to/$1.versions" "$to/$1/packages"; then
		rm "$to/$1.versions"
		return
	fi
	if ! cmp -s "$to/$1.versions" "$_new/packages"; then rm -rf "$_new"; fi
	mkdir -p "$_new"
	mv "$to/$1.versions" "$_new/packages"
	{ c_lines "$1"; rust_lines "$1"; } | sed "s|^|$_new/|" >"$to/$1.lines"
	printf '%s: building %d objects for %s\n' "$me" "$(wc -l <"$to/$1.lines")" "$1" >&2
	xargs -P "$(nproc)" -L 1 sh -c "$one" <"$to/$1.lines" ||
		die "the compilers' objects for $1 cannot be built"
	# What a rustc that was killed left behind.
	rm -f "$to/$1.lines" "$_new"/*.rcgu.o "$_new"/*.new
	rm -rf "${to:?}/$1"
	mv "$_new" "$to/$1"
}

exec 8>"$to/lock"
flock 8
for machine in amd64 arm64; do build $machine 8>&-; done
