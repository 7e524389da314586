#!/bin/sh
# tools.sh: bring the tools that tests, fixtures and benchmarks need.
#
#   tools.sh ld-arm64    aarch64-linux-gnu-ld, the oracle of aarch64's bytes
#   tools.sh compilers   what `make objs` uses: gcc and g++ for both machines, clang, rustc
#   tools.sh bench       ld.lld and llvm-jitlink, to compare speed with
#   tools.sh rare        llvm-mc, yaml2obj and ld.lld of LLVM 19, each with -19 behind its name
#   tools.sh vm [VER]    qemu-system-aarch64, and below tools/vm Linux for it: "linux", the
#                        newest at hand, or "linux-VER", one whose version begins with VER
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
	bench_lld
	bench_jitlink
}

bench_lld() {
	[ -f "$tools/bench.stamp" ] && return
	have ld.lld && return
	bring bench lld || return 0
	wrap ld.lld usr/bin/ld.lld
	"$tools/bin/ld.lld" --version >/dev/null || die "$tools/bin/ld.lld does not run"
	brought bench
}

# Debian keeps llvm-jitlink out of PATH, in a folder of LLVM's version.
bench_jitlink() {
	[ -f "$tools/jitlink.stamp" ] && return
	have llvm-jitlink && return
	for _f in /usr/lib/llvm-*/bin/llvm-jitlink; do [ -x "$_f" ] && return; done
	bring jitlink llvm || return 0
	for _f in "$root"/usr/lib/llvm-*/bin/llvm-jitlink; do wrap llvm-jitlink "${_f#"$root"/}"; done
	"$tools/bin/llvm-jitlink" --version >/dev/null || die "$tools/bin/llvm-jitlink does not run"
	brought jitlink
}

rare() {
	[ -f "$tools/rare.stamp" ] && return
	bring rare llvm-19 lld-19 || return 0
	for _n in llvm-mc yaml2obj llvm-objcopy ld.lld; do
		wrap "$_n-19" "usr/lib/llvm-19/bin/$_n"
		"$tools/bin/$_n-19" --version >/dev/null || die "$tools/bin/$_n-19 does not run"
	done
	brought rare
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

# vm_linux NAME VERSION SUITE...: tools/vm/NAME, the newest cloud kernel for aarch64
# whose version begins with that, of the first of these Debian releases that can be
# had; else false. Its modules are not kept.
vm_linux() {
	_to=$tools/vm/$1 _version=$2
	[ -f "$_to" ] && return
	shift 2
	mkdir -p "$tools/vm"
	apt_lock "$cache"
	[ -f "$_to" ] && return
	for _s; do
		# In a shell of its own: a failure is the end of that release only.
		(vm_linux_of "$_s") && return
	done
	false
}

vm_linux_of() {
	apt_open "$cache" "$1"
	_pkg=$(apt_search "^linux-image-$_version[^-]*(-[0-9]+)?-cloud-arm64\$" | tail -n 1)
	[ -n "$_pkg" ] || die "Debian's lists of $1 have no such linux-image-*-cloud-arm64"
	rm -rf "$tools/vm/.deb"
	apt_unpack "$tools/vm/.deb" "$_pkg:arm64"
	mv "$tools"/vm/.deb/boot/vmlinuz-* "$_to" || die "$_pkg has no kernel"
	rm -rf "$tools/vm/.deb"
}

vm() {
	if ! [ -f "$tools/vm.stamp" ] && ! have qemu-system-aarch64 && bring vm qemu-system-arm; then
		wrap qemu-system-aarch64 usr/bin/qemu-system-aarch64
		"$tools/bin/qemu-system-aarch64" --version >/dev/null || die "$tools/bin/qemu-system-aarch64 does not run"
		brought vm
	fi
	case ${1-} in
	'')
		# Some of the runner's walls need Linux 6.3. Debian 12 began with 6.1.
		vm_linux linux '([7-9]|6\.[1-9][0-9])\.' bookworm trixie || vm_linux linux '6\.' bookworm
		;;
	*[!0-9.]*) die "not a version of Linux: $1" ;;
	*) vm_linux "linux-$1" "$(printf %s "$1" | sed 's/\./\\./g')\." bookworm trixie ;;
	esac || die "no such Linux for aarch64: ${1:-6 or later}"
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
rare) rare ;;
vm) vm "${2-}" ;;
env) env_lines ;;
*)
	printf 'usage: tools.sh ld-arm64|compilers|bench|rare|vm [VERSION]|env\n' >&2
	exit 2
	;;
esac
