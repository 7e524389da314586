#!/bin/sh
# rare.sh: bring what assemblers and linkers are tested with themselves, for the
# relocation types that compilers hardly write.
#
#   rare.sh fetch    download, check and unpack, once
#   rare.sh paths    print the folders, a line each, without looking
#
# From the source packages of Debian 12: of llvm-toolchain-19 the tests of JITLink,
# RuntimeDyld and lld that are for x86-64 and aarch64, of binutils the linker's and the
# assembler's. They go to ${KLINK_CACHE:-.cache}/corpus/rare/{llvm,binutils}. Their
# licences are Apache-2.0 with LLVM exceptions and GPL-3.0; they are never committed.
set -eu
me=rare.sh
. "$(dirname "$0")/apt.sh"

cache=$(cache_dir)
rare=$cache/corpus/rare

# llvm DEST FOLDER: the tests out of the sources in FOLDER.
llvm() {
	set -- "$1" "$2"/llvm-toolchain-19_*.orig.tar.xz
	tar -xJf "$2" -C "$1" --strip-components=1 --wildcards \
		'*/llvm/test/ExecutionEngine/JITLink/*' '*/llvm/test/ExecutionEngine/RuntimeDyld/*' \
		'*/lld/test/ELF/*' '*/llvm/LICENSE.TXT'
}

binutils() {
	set -- "$1" "$2"/binutils_*.orig.tar.xz
	tar -xJf "$2" -C "$1" --strip-components=1 --wildcards \
		'*/ld/testsuite/ld-aarch64/*' '*/ld/testsuite/ld-x86-64/*' '*/ld/testsuite/ld-elf/*' \
		'*/gas/testsuite/gas/aarch64/*' '*/gas/testsuite/gas/i386/*' '*/gas/testsuite/gas/elf/*' '*/COPYING3'
}

# source_of NAME PKG: corpus/rare/NAME, out of the source package.
source_of() {
	[ -f "$rare/$1.stamp" ] && return
	if [ -z "${apt-}" ]; then apt_open_source "$cache" bookworm; fi
	rm -rf "${rare:?}/$1" "$rare/$1.new" "$rare/$1.src"
	mkdir -p "$rare/$1.new"
	apt_source "$rare/$1.src" "$2"
	"$1" "$rare/$1.new" "$rare/$1.src" || die "cannot unpack the source of $2"
	(cd "$rare/$1.src" && sha256sum ./*) >"$rare/$1.new/SHA256SUMS"
	rm -rf "$rare/$1.src"
	mv "$rare/$1.new" "$rare/$1"
	touch "$rare/$1.stamp"
}

fetch() {
	mkdir -p "$rare"
	apt_lock "$cache"
	source_of binutils binutils
	source_of llvm llvm-toolchain-19
}

case ${1-} in
fetch) fetch ;;
paths) printf '%s\n' "$rare/llvm" "$rare/binutils" ;;
*)
	printf 'usage: rare.sh fetch|paths\n' >&2
	exit 2
	;;
esac
