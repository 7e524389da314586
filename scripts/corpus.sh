#!/bin/sh
# corpus.sh: bring the objects that klink is compared with GNU ld on.
#
#   corpus.sh fetch [NAME...]   download and unpack, once; without a name the usual ones
#   corpus.sh paths [NAME...]   print NAME/GOARCH=FOLDER, a line each, without looking
#   corpus.sh link [NAME...]    link all Linux modules of each machine in one command
#
#   linux-cloud     the modules of Debian 12's newest cloud kernel
#   linux-headers   its Module.symvers: the names that the kernel exports; no objects
#   linux-full      the modules of the newest general kernel; only when named
#   musl zlib lua sqlite gmp dietlibc
#                   the static libraries of Debian's -dev packages
#   compilers       what gcc, clang and rustc make of the sources in testdata/corpus and
#                   some of testdata/objs under many options: scripts/corpus-cc.sh
#
# Each lies in ${KLINK_CACHE:-.cache}/corpus/NAME/GOARCH: modules flat, *.ko, decompressed
# where Debian compressed them; of a library LIB.a both the archive and the folder LIB
# of its members, and beside them the objects that start programs. A second member of one name
# is NAME.2.o. The file `packages` names what all came from, with its SHA-256.
# Licences differ, most are the GPL: nothing of it is ever committed.
set -eu
me=corpus.sh
. "$(dirname "$0")/apt.sh"

cache=$(cache_dir)
corpus=$cache/corpus
usual="linux-cloud linux-headers musl zlib lua sqlite gmp dietlibc compilers"

# packages NAME ARCH: the packages that it is made of.
packages() {
	case $1 in
	linux-cloud) newest "^linux-image-6\.1\.0-[0-9]+-cloud-$2\$" ;;
	linux-full) newest "^linux-image-6\.1\.0-[0-9]+-$2\$" ;;
	linux-headers) sed -n 's/^linux-image-\([^ ]*\) .*/linux-headers-\1/p' "$corpus/linux-cloud/$2/packages" ;;
	musl) echo musl-dev ;;
	zlib) echo zlib1g-dev ;;
	lua) echo liblua5.4-dev ;;
	sqlite) echo libsqlite3-dev ;;
	gmp) echo libgmp-dev ;;
	dietlibc) echo dietlibc-dev ;;
	*) die "no corpus is called $1" ;;
	esac
}

newest() {
	_found=$(apt_search "$1" | tail -n 1)
	[ -n "$_found" ] || die "Debian's lists have no $1"
	echo "$_found"
}

# modules FROM TO: all modules below FROM, decompressed.
modules() {
	find "$1" -name '*.ko' -exec mv -t "$2" {} +
	find "$1" -name '*.ko.xz' | while read -r _f; do
		_n=${_f##*/}
		xz -dc "$_f" >"$2/${_n%.xz}" || die "cannot decompress $_f with xz"
	done
	[ "$(find "$2" -name '*.ko' | wc -l)" -gt 0 ] || die "no modules in ${2%.new}"
}

# libraries FROM TO: the archives below FROM, with their members, and the objects beside them.
libraries() {
	find "$1" -name '*.o' -type f -exec mv -t "$2" {} +
	find "$1" -name '*.a' -type f | sort >"$2.list"
	while read -r _f; do
		# An archive without members is for linkers that ask for libm by name.
		[ "$(ar t "$_f" | wc -l)" -gt 0 ] || continue
		_n=${_f##*/}
		[ ! -e "$2/$_n" ] || die "two archives of the name $_n"
		mv "$_f" "$2/$_n"
		members "$2/$_n" "$2/${_n%.a}"
	done <"$2.list"
	rm -f "$2.list"
	[ "$(find "$2" -name '*.o' | wc -l)" -gt 0 ] || die "no objects in ${2%.new}"
}

# members ARCHIVE TO: all its members, those of one name under names of their own.
members() {
	mkdir "$2"
	(cd "$2" && ar x "$1") || die "cannot unpack $1"
	ar t "$1" | sort | uniq -cd >"$2.twice"
	while read -r _count _member; do
		while [ "$_count" -gt 1 ]; do
			mkdir "$2.one"
			(cd "$2.one" && ar xN "$_count" "$1" "$_member") || die "cannot unpack $_member of $1"
			mv "$2.one/$_member" "$2/${_member%.o}.$_count.o"
			rmdir "$2.one"
			_count=$((_count - 1))
		done
		# The plain name is the first: `ar x` left the last there.
		(cd "$2" && ar xN 1 "$1" "$_member") || die "cannot unpack $_member of $1"
	done <"$2.twice"
	rm -f "$2.twice"
	find "$2" -type f ! -name '*.o' -exec sh -c 'for f; do mv "$f" "${f%.*}.o"; done' sh {} +
	[ "$(find "$2" -name '*.o' | wc -l)" -eq "$(ar t "$1" | wc -l)" ] || die "members of $1 are missing"
}

# bring NAME ARCH: the corpus, once. The folder appears when it is complete.
bring() {
	_dir=$corpus/$1/$2
	[ -f "$_dir/packages" ] && return
	if [ -z "${apt-}" ]; then apt_open "$cache" bookworm; fi
	_pkgs=$(packages "$1" "$2") || exit 1
	rm -rf "$_dir" "$_dir.new" "$_dir.deb"
	mkdir -p "$_dir.new"
	for _pkg in $_pkgs; do
		apt_unpack "$_dir.deb" "$_pkg:$2"
		printf '%s %s\n' "$_pkg" "$apt_sha256" >>"$_dir.new/packages"
	done
	case $1 in
	linux-headers) find "$_dir.deb" -name Module.symvers -exec mv -t "$_dir.new" {} + ;;
	linux-*) modules "$_dir.deb" "$_dir.new" ;;
	*) libraries "$_dir.deb" "$_dir.new" ;;
	esac
	rm -rf "$_dir.deb"
	mv "$_dir.new" "$_dir"
}

fetch() {
	mkdir -p "$corpus"
	# Before the lock is taken: it brings the compilers, under the same lock.
	for _name; do
		[ "$_name" != compilers ] || "$(dirname "$0")/corpus-cc.sh" "$corpus/compilers"
	done
	# Who only looks waits for nobody.
	for _name; do
		[ "$_name" = compilers ] || [ -f "$corpus/$_name/amd64/packages" ] && [ -f "$corpus/$_name/arm64/packages" ] || _missing=$_name
	done
	[ -z "${_missing-}" ] || apt_lock "$cache"
	for _name; do
		for _m in amd64 arm64; do
			# The headers are those of the modules that are here.
			if [ "$_name" = linux-headers ]; then bring linux-cloud $_m; fi
			[ "$_name" = compilers ] || bring "$_name" $_m
			_from="our own sources"
			[ "$_name" = compilers ] || _from=$(cut -d' ' -f1 "$corpus/$_name/$_m/packages")
			printf '%s: %d objects of %s\n' "$corpus/$_name/$_m" \
				"$(find "$corpus/$_name/$_m" -name '*.o' -o -name '*.ko' | wc -l)" "$_from"
		done
	done
}

paths() {
	for _name; do
		# Without objects of its own.
		[ "$_name" != linux-headers ] || continue
		for _m in amd64 arm64; do
			printf '%s=%s\n' "$_name/$_m" "$corpus/$_name/$_m"
		done
	done
}

# link: everything that Debian's kernels ship must link, no relocation refused. klink
# says how many modules, relocations, call sites and missing names there were.
link() {
	_klink=$(dirname "$0")/../bin/klink
	for _name; do
		case $_name in linux-headers) continue ;; linux-*) ;; *) continue ;; esac
		for _m in amd64 arm64; do
			_img=$(mktemp "${TMPDIR:-/tmp}/klink-corpus.XXXXXX")
			printf '== %s\n' "$corpus/$_name/$_m"
			"$_klink" link --externals trap -o "$_img" "$corpus/$_name/$_m"/*.ko ||
				{ rm -f "$_img"; die "the modules of $_m do not link"; }
			rm -f "$_img"
		done
	done
}

case ${1-} in
fetch | paths | link)
	_what=$1
	shift
	# shellcheck disable=SC2086 # words
	[ $# -gt 0 ] || set -- $usual
	$_what "$@"
	;;
*)
	printf 'usage: corpus.sh fetch|paths|link [NAME...]\n' >&2
	exit 2
	;;
esac
