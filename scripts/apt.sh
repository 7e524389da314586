# shellcheck shell=sh disable=SC2154 # $me is the caller's
#
# apt.sh: Debian packages unpacked into a private folder. Sourced, not run.
#
# Nothing is installed and no root is needed: apt gets its own state, lists,
# cache and sources, so the machine's package database is only read. Lists without a
# good signature are refused, and each package's SHA-256 must be the one in them.
#
#   apt_open CACHE [SUITE] prepare CACHE/apt for the calls below (locked by apt_lock CACHE); with
#                          SUITE take the packages of that Debian release, else the machine's own
#   apt_missing PKG...     print PKG and all they depend on, as far as the machine lacks it
#   apt_search REGEX       print the names of packages that match, oldest version first
#   apt_unpack DEST PKG... download each package and unpack it into DEST; $apt_sha256 is the last one's
#   apt_open_source CACHE [SUITE]  the same as apt_open for source packages, then
#   apt_source DEST PKG            download a source package's files into DEST
#
# The caller sets $me, the name in front of each message. A failure ends the
# script with one line.

# die MESSAGE: one line on stderr, status 1.
die() {
	printf '%s: %s\n' "$me" "$*" >&2
	exit 1
}

# cache_dir: the absolute name of klink's cache folder, made if need be.
cache_dir() {
	_d=${KLINK_CACHE:-.cache}
	mkdir -p "$_d" 2>/dev/null || die "cannot make the cache folder $_d"
	(cd "$_d" && pwd)
}

# apt_lock CACHE: wait until no other run holds the folder, then hold it until
# this script ends. Descriptor 9 is the lock's and is closed in children that
# may live on.
apt_lock() {
	set -- "$1/apt.lock"
	command -v flock >/dev/null || die "needs flock (Debian package util-linux)"
	exec 9>"$1" || die "cannot write $1"
	flock -n 9 && return
	printf '%s: waiting for another run (%s)\n' "$me" "$1" >&2
	flock 9
}

# apt_sources SUITE: a sources list on stdout: the machine's own Debian
# entries, so that its mirror is used, or the public archive's for SUITE.
apt_sources() {
	if [ -z "$1" ]; then
		for _f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
			[ -f "$_f" ] && grep -hE '^deb (\[[^]]*\] )?[^ ]*/debian(-security)?/? ' "$_f"
		done
		# Deb822 files: one paragraph an entry, whole files only.
		for _f in /etc/apt/sources.list.d/*.sources; do
			[ -f "$_f" ] && grep -qE '^URIs:.*/debian(-security)?/?( |$)' "$_f" &&
				cp "$_f" "$apt/parts/"
		done
	fi
	true
}

# apt_default_sources SUITE: the public archive, for a machine that names none.
apt_default_sources() {
	_s=${1:-bookworm} _by=
	[ -f /usr/share/keyrings/debian-archive-keyring.gpg ] &&
		_by='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
	printf 'deb %shttp://deb.debian.org/debian %s main\n' "$_by" "$_s"
	printf 'deb %shttp://deb.debian.org/debian-security %s-security main\n' "$_by" "$_s"
}

apt_open() {
	for _n in apt-get dpkg-deb; do
		command -v $_n >/dev/null || die "needs $_n: not a Debian machine? bring the tools yourself"
	done
	apt_native=$(dpkg --print-architecture)
	# shellcheck disable=SC1091 # there is one on any Debian
	_codename=$(. /etc/os-release 2>/dev/null && printf %s "${VERSION_CODENAME-}")
	if [ "${2-}" = "$_codename" ]; then set -- "$1"; fi
	apt=$1/apt${2:+-$2}${apt_types:+-source}
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts" || die "cannot write $apt"
	rm -f "$apt"/parts/*
	apt_sources "${2-}" >"$apt/sources.list"
	if ! [ -s "$apt/sources.list" ] && ! ls "$apt"/parts/*.sources >/dev/null 2>&1; then
		apt_default_sources "${2-}" >"$apt/sources.list"
	fi
	# Lists of sources in place of those of programs, from the same archives.
	if [ -n "${apt_types-}" ]; then
		sed -i 's/^deb /deb-src /; s/^Types:.*/Types: deb-src/' "$apt/sources.list" $(ls "$apt"/parts/*.sources 2>/dev/null)
	fi
	# The machine's hooks and its list of architectures must not apply here.
	# The proxy and the certificates that it configures do.
	cat >"$apt/conf" <<-CONF
		#clear APT::Architectures;
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear Acquire::IndexTargets::deb::DEP-11;
		#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
		#clear Acquire::IndexTargets::deb::DEP-11-icons;
		#clear Acquire::IndexTargets::deb::CNF;
		APT::Architecture "$apt_native";
		APT::Architectures { "amd64"; "arm64"; };
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		APT::Get::AllowUnauthenticated "false";
		Acquire::AllowInsecureRepositories "false";
		Acquire::AllowWeakRepositories "false";
		Acquire::AllowDowngradeToInsecureRepositories "false";
		APT::Get::List-Cleanup "true";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::http::Timeout "30";
		Acquire::https::Timeout "30";
		Debug::NoLocking "true";
		Dir::State::lists "$apt/lists";
		Dir::State::extended_states "$apt/extended_states";
		Dir::Cache "$apt/cache";
		Dir::Cache::pkgcache "$apt/cache/pkgcache.bin";
		Dir::Cache::srcpkgcache "";
		Dir::Log "$apt";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "$apt/parts";
	CONF
	# A day-old list still names packages that the archive keeps.
	if [ -z "$(find "$apt/updated" -mmin -1440 2>/dev/null)" ]; then apt_update; fi
}

apt_open_source() {
	apt_types=deb-src
	apt_open "$@"
	apt_types=
}

apt_update() {
	printf '%s: reading package lists\n' "$me" >&2
	rm -f "$apt/updated"
	apt_run update || die "cannot read Debian's package lists: $(apt_reason)"
	touch "$apt/updated"
}

# apt_run ARGS: apt-get with the private configuration, its output in $apt/log.
# stdin is closed and its lock descriptor too: a proxy helper may outlive it.
apt_run() {
	LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -c "$apt/conf" "$@" \
		>"$apt/log" 2>&1 </dev/null 9>&-
}

# apt_reason: why the last apt_run failed, in one line.
apt_reason() {
	# The first failed fetch says more than the summary after it.
	_r=$(grep -E '^[EW]: Failed to fetch ' "$apt/log" | head -n 1)
	[ -n "$_r" ] || _r=$(grep '^E: ' "$apt/log" | tail -n 1)
	[ -n "$_r" ] || _r=$(tail -n 1 "$apt/log")
	printf %s "${_r#[EW]: }"
}

apt_missing() {
	apt_run -s --no-install-recommends install "$@" || die "cannot resolve $*: $(apt_reason)"
	# A third field in brackets is the installed version: an upgrade, not missing.
	awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' "$apt/log"
}

apt_search() {
	LC_ALL=C apt-cache -c "$apt/conf" pkgnames 2>/dev/null | grep -E "$1" | sort -V
}

# apt_fetch PKG: the .deb's name on stdout; it lies in $apt/debs, and beside it
# the file sha256, what the lists say that it must be.
apt_fetch() {
	rm -rf "$apt/debs"
	mkdir -p "$apt/debs"
	apt_run --print-uris download "$1" || return 1
	sed -n 's/^.* SHA256:\([0-9a-f]\{64\}\)$/\1/p' "$apt/log" >"$apt/debs/sha256"
	(cd "$apt/debs" && apt_run download "$1") || return 1
	set -- "$apt/debs"/*.deb
	[ -f "$1" ] || return 1
	printf %s "$1"
}

apt_unpack() {
	_dest=$1
	shift
	mkdir -p "$_dest" || die "cannot write $_dest"
	for _p; do
		_deb=$(apt_fetch "$_p") || { apt_update && _deb=$(apt_fetch "$_p"); } ||
			die "cannot fetch $_p: $(apt_reason)"
		_size=$(wc -c <"$_deb")
		apt_sha256=$(sha256sum <"$_deb" | cut -d' ' -f1)
		[ "$apt_sha256" = "$(cat "$apt/debs/sha256")" ] ||
			die "${_deb##*/} has the SHA-256 $apt_sha256, Debian's signed lists say $(cat "$apt/debs/sha256")"
		printf '%s: %s (%d kB, sha256 %s)\n' "$me" "${_deb##*/}" $((_size / 1024)) "$apt_sha256" >&2
		dpkg-deb -x "$_deb" "$_dest" || die "cannot unpack ${_deb##*/}"
		rm -rf "$apt/debs"
	done
}

# apt checks each file against the archive's signed list of sources; here once more.
apt_source() {
	mkdir -p "$1" || die "cannot write $1"
	(cd "$1" && { apt_run --download-only source "$2" || { apt_update && apt_run --download-only source "$2"; }; }) ||
		die "cannot fetch the source of $2: $(apt_reason)"
	(cd "$1" && sed -n '/^Checksums-Sha256:/,/^[^ ]*:$/s/^ \([0-9a-f]\{64\}\) [0-9]* /\1  /p' ./*.dsc | sha256sum -c --ignore-missing --strict --quiet) >&2 ||
		die "a file of the source of $2 has another SHA-256 than its .dsc says"
	(cd "$1" && sha256sum "${2}"_*) | sed "s/^/$me: sha256 /" >&2
}
