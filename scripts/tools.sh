#!/bin/sh
# tools.sh: bring the tools that tests, fixtures and benchmarks need.
#
#   tools.sh ld-arm64    aarch64-linux-gnu-ld, the oracle of aarch64's bytes
#   tools.sh compilers   what `make objs` uses: gcc and g++ for both machines, clang, rustc
#   tools.sh bench       ld.lld, to compare speed with
#   tools.sh env         print the shell lines that put the tools on PATH
#
# They come from Debian, unpacked below ${KLINK_CACHE:-.cache}/tools; nothing is
# installed, and no root is needed. What is on PATH already is not brought,
# except for what fixtures depend on in its exact version (clang, rustc). Each set is fetched once:
# remove the folder to fetch it again. tools/bin holds a wrapper a tool, and
# tools/env the lines that `env` prints.
set -eu
me=tools.sh
. "$(dirname "$0")/apt.sh"

cache=$(cache_dir)
tools=$cache/tools
root=$tools/root

# have NAME...: are all of these on PATH, or brought already?
have() {
	for _n; do
		[ -x "$tools/bin/$_n" ] || command -v "$_n" >/dev/null || return 1
	done
}

# wrap NAME FILE: tools/bin/NAME runs FILE, a path below root, with the
# libraries that were unpacked beside it. The wrapper finds its folder from its
# own name, so that the cache can be moved.
wrap() {
	[ -e "$root/$2" ] || die "the package has no $2"
	mkdir -p "$tools/bin"
	cat >"$tools/bin/.$1.new" <<-WRAPPER
		#!/bin/sh
		root=\$(cd "\$(dirname "\$0")/../root" && pwd) || exit 1
		LD_LIBRARY_PATH=\$root/usr/lib/$triple:\$root/lib/$triple\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
		export LD_LIBRARY_PATH
		exec "\$root/$2" "\$@"
	WRAPPER
	chmod 755 "$tools/bin/.$1.new"
	mv -f "$tools/bin/.$1.new" "$tools/bin/$1"
}

# wrap_all PATTERN: a wrapper for each program of usr/bin that matches.
wrap_all() {
	for _f in "$root"/usr/bin/$1; do
		if [ -e "$_f" ]; then wrap "${_f##*/}" "usr/bin/${_f##*/}"; fi
	done
}

# bring SET PKG...: unpack the packages, and what they need, once.
# A set's stamp names what it holds, and is written last.
bring() {
	_set=$1
	shift
	mkdir -p "$tools"
	apt_lock "$cache"
	[ -f "$tools/$_set.stamp" ] && return 1
	apt_open "$cache"
	_all=$(apt_missing "$@") || exit 1
	for _q in $_all; do
		grep -qxF "$_q" "$tools"/*.stamp 2>/dev/null || printf '%s\n' "$_q"
	done >"$tools/.todo"
	# shellcheck disable=SC2046 # names without blanks
	apt_unpack "$root" $(cat "$tools/.todo")
	stamp=$_all
}

# brought SET: the set is complete and usable.
brought() {
	printf '%s\n' "$stamp" >"$tools/.stamp.new"
	env_lines >"$tools/env"
	mv -f "$tools/.stamp.new" "$tools/$1.stamp"
}

env_lines() {
	# shellcheck disable=SC2016 # $PATH is for the reader's shell
	printf 'PATH="%s/bin:$PATH"\nexport PATH\n' "$tools"
}

ld_arm64() {
	[ -f "$tools/ld-arm64.stamp" ] && return
	have aarch64-linux-gnu-ld && return
	bring ld-arm64 binutils-aarch64-linux-gnu || return 0
	wrap_all 'aarch64-linux-gnu-*'
	aarch64=$tools/bin/aarch64-linux-gnu-ld
	"$aarch64" --version >/dev/null || die "$aarch64 does not run"
	brought ld-arm64
}

bench() {
	[ -f "$tools/bench.stamp" ] && return
	have ld.lld && return
	bring bench lld || return 0
	wrap ld.lld usr/bin/ld.lld
	"$tools/bin/ld.lld" --version >/dev/null || die "$tools/bin/ld.lld does not run"
	brought bench
}

compilers() {
	[ -f "$tools/compilers.stamp" ] && return
	set -- gcc-aarch64-linux-gnu g++-aarch64-linux-gnu clang rustc
	have gcc || set -- "$@" gcc
	have g++ || set -- "$@" g++
	bring compilers "$@" || return 0
	# Rust's core library of the other machine: its dependencies are not run.
	for _a in amd64 arm64; do
		[ "$_a" = "$apt_native" ] || apt_unpack "$root" "libstd-rust-dev:$_a"
	done
	wrap_all 'aarch64-linux-gnu-*'
	for _n in clang rustc gcc g++; do
		if [ -e "$root/usr/bin/$_n" ]; then wrap "$_n" "usr/bin/$_n"; fi
	done
	for _n in aarch64-linux-gnu-gcc aarch64-linux-gnu-g++ clang rustc; do
		have "$_n" || die "no $_n in Debian's packages"
		PATH=$tools/bin:$PATH "$_n" --version >/dev/null || die "$_n does not run"
	done
	brought compilers
}

case $(uname -m) in
x86_64) triple="x86_64-linux-gnu" ;;
aarch64) triple="aarch64-linux-gnu" ;;
*) die "no tools for $(uname -m)" ;;
esac

case ${1-} in
ld-arm64) ld_arm64 ;;
compilers) compilers ;;
bench) bench ;;
env) env_lines ;;
*)
	printf 'usage: tools.sh ld-arm64|compilers|bench|env\n' >&2
	exit 2
	;;
esac
