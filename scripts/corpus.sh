#!/bin/sh
# corpus.sh: bring the Linux modules of Debian 12's cloud kernels, of both machines.
#
#   corpus.sh fetch    download and unpack, once
#   corpus.sh paths    print the folders, a line each, without looking
#   corpus.sh link     link all modules of each machine in one command
#
# The newest linux-image-6.1.0-*-cloud-{amd64,arm64} go to
# ${KLINK_CACHE:-.cache}/corpus/{amd64,arm64}/, only their modules, flat: one
# *.ko a file, decompressed where Debian compressed it. They are GPL-2.0 and are
# never committed. `fetch` prints each folder with its count.
set -eu
me=corpus.sh
. "$(dirname "$0")/apt.sh"

cache=$(cache_dir)
corpus=$cache/corpus

# modules ARCH: unpack the newest image's modules into corpus/ARCH.
modules() {
	_arch=$1
	[ -f "$corpus/$_arch.stamp" ] && return
	if [ -z "${apt-}" ]; then apt_open "$cache" bookworm; fi
	_pkg=$(apt_search "^linux-image-6\.1\.0-[0-9]+-cloud-$_arch\$" | tail -n 1)
	[ -n "$_pkg" ] || die "Debian's lists have no linux-image-6.1.0-*-cloud-$_arch"
	rm -rf "${corpus:?}/$_arch" "$corpus/$_arch.new" "$corpus/$_arch.deb"
	apt_unpack "$corpus/$_arch.deb" "$_pkg:$_arch"
	mkdir -p "$corpus/$_arch.new"
	find "$corpus/$_arch.deb" -name '*.ko' -exec mv -t "$corpus/$_arch.new" {} +
	find "$corpus/$_arch.deb" -name '*.ko.xz' | while read -r _f; do
		_to=${_f##*/}
		xz -dc "$_f" >"$corpus/$_arch.new/${_to%.xz}" || die "cannot decompress $_f with xz"
	done
	rm -rf "$corpus/$_arch.deb"
	mv "$corpus/$_arch.new" "$corpus/$_arch"
	printf '%s\n' "$_pkg" >"$corpus/$_arch.stamp"
}

fetch() {
	mkdir -p "$corpus"
	apt_lock "$cache"
	for _m in amd64 arm64; do
		modules "$_m"
		_n=$(find "$corpus/$_m" -name '*.ko' | wc -l)
		[ "$_n" -gt 0 ] || die "$corpus/$_m has no modules: remove $corpus/$_m.stamp and run again"
		printf '%s: %d modules of %s\n' "$corpus/$_m" "$_n" "$(cat "$corpus/$_m.stamp")"
	done
}

# link: everything that Debian ships must link, no relocation refused. klink says how
# many modules, relocations, call sites and missing names there were.
link() {
	_klink=$(dirname "$0")/../bin/klink
	for _m in amd64 arm64; do
		_img=$(mktemp "${TMPDIR:-/tmp}/klink-corpus.XXXXXX")
		printf '== %s\n' "$corpus/$_m"
		"$_klink" link --externals trap -o "$_img" "$corpus/$_m"/*.ko || { rm -f "$_img"; die "the modules of $_m do not link"; }
		rm -f "$_img"
	done
}

case ${1-} in
fetch) fetch ;;
link) link ;;
paths) printf '%s\n' "$corpus/amd64" "$corpus/arm64" ;;
*)
	printf 'usage: corpus.sh fetch|paths|link\n' >&2
	exit 2
	;;
esac
