#!/bin/sh
# vm.sh: run the tests on an aarch64 Linux kernel, which qemu-system-aarch64 emulates;
# on an aarch64 machine just run them. User-mode emulation would not do: it does not see
# code that was changed through another mapping.
#
# The environment chooses:
#   VM_PKGS=…       these packages, as for go test (default: ./internal/... ./cmd/...)
#   VM_RUN=REGEXP   these tests only
#   VM_ARGS=…       further arguments for each test program (-test.v); all output is shown
#   VM_CPU=max      every feature that QEMU knows, pointer authentication, BTI and SVE among
#                   them, which is slower (default: cortex-a57, which has none of them)
#   VM_LINUX=6.1    the newest kernel of that series; 6.1 lacks some of the walls (default: the
#                   newest at hand). With a slash in it, a kernel's file name
#   VM_MINUTES=60   the limit of everything; a package has thirty of them
#
# Programs are built here and run there, as a user without rights, each in its package's
# folder of a read-only copy of this tree. There is one processor: with more, this
# emulator shows stale code by itself. What the machine's console showed is kept in
# ${KLINK_CACHE:-.cache}/vm/console.log.
set -eu
me=vm.sh
cd "$(dirname "$0")/.."
. scripts/apt.sh

# What does not run in the machine, where there is no shell, no Go, no compiler and no
# binutils. All of it comes to the same on every host, and `make test` runs it. A line is:
#   package | one test, as a regular expression, or all | why
excluded() {
	cat <<-'LIST'
		cmd/klink | ^TestHostileFilesAreBounded$ | builds klink with Go and counts processor time
		internal/cli | ^TestExecute$ | runs sh
		internal/kernel | ^TestEveryByte$ | compares with GNU ld
		internal/kernel | ^TestLiveDifferencesAreSeen$ | compares with GNU ld
		internal/kpi | ^TestCompile | compiles with gcc
		internal/kernel | ^TestLines$ | compares with addr2line
		internal/testing/corpus | all | compares with GNU ld
		internal/testing/layers | all | asks Go what imports what
		internal/testing/oracle | all | compares with GNU ld
		internal/testing/stacks | ^TestChoices$ | compares with GNU ld
		internal/unwind | ^TestRows$ | compares with readelf
		internal/unwind | ^TestReadelfIsHeard$ | runs readelf
	LIST
}

go=${GO:-go}
cpu=${VM_CPU:-cortex-a57}
minutes=${VM_MINUTES:-60}
export CGO_ENABLED=0
# shellcheck disable=SC2086 # a list of patterns
set -- ${VM_PKGS:-./internal/... ./cmd/...}

if [ "$(uname -m)" = aarch64 ]; then
	scripts/tools.sh ld-arm64
	# shellcheck disable=SC2086 # a list of words
	exec "$go" test -timeout "${minutes}m" ${VM_RUN:+-run "$VM_RUN"} "$@" ${VM_ARGS:+-args $VM_ARGS}
fi

cache=$(cache_dir)
case ${VM_LINUX-} in
*/*)
	scripts/tools.sh vm
	kernel=$VM_LINUX
	[ -f "$kernel" ] || die "no file $kernel"
	;;
*)
	scripts/tools.sh vm "${VM_LINUX-}"
	kernel=$cache/tools/vm/linux${VM_LINUX:+-$VM_LINUX}
	;;
esac
qemu=$cache/tools/bin/qemu-system-aarch64
[ -x "$qemu" ] || qemu=qemu-system-aarch64
# The architected algorithm of pointer authentication takes an emulator far longer.
[ "$cpu" != max ] || cpu=max,pauth-impdef=on

# One run at a time: the programs lie in one folder.
vm=$cache/vm
mkdir -p "$vm"
exec 8>"$vm/lock"
flock -n 8 || { echo "$me: waiting for another run" >&2 && flock 8; }
rm -rf "$vm/tests" "$vm"/*.cpio
mkdir "$vm/tests"

export GOOS=linux GOARCH=arm64
pkgs=$("$go" list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@")
[ -n "$pkgs" ] || die "no tests in $*"
: >"$vm/programs"
build=
for p in $pkgs; do
	dir=${p#*/}
	skip=$(excluded | awk -F ' *\\| *' -v dir="$dir" '$1 == dir { print $2 }' | paste -sd '|')
	excluded | awk -F ' *\\| *' -v dir="$dir" '$1 == dir {
		gsub(/[$^]/, "", $2); printf "--    %-28s %s is not run: it %s\n", $1, $2, $3 }'
	[ "$skip" != all ] || continue
	build="$build $p"
	printf '%s\t%s' "$dir" "$vm/tests/${p##*/}.test" >>"$vm/programs"
	printf '\t%s' -test.paniconexit0 -test.timeout=30m ${VM_RUN:+"-test.run=$VM_RUN"} \
		${skip:+"-test.skip=$skip"} ${VM_ARGS-} >>"$vm/programs"
	echo >>"$vm/programs"
done
# shellcheck disable=SC2086 # a list of names
[ -z "$build" ] || "$go" test -c -ldflags=-s -o "$vm/tests/" $build
"$go" build -ldflags=-s -o "$vm/init" ./internal/testing/vm/init
unset GOOS GOARCH
"$go" build -o "$vm/boot" ./internal/testing/vm/boot

TMPDIR=$vm exec "$vm/boot" -qemu "$qemu" -cpu "$cpu" -kernel "$kernel" -init "$vm/init" \
	-limit "${minutes}m" -console "$vm/console.log" ${VM_ARGS:+-v} <"$vm/programs"
