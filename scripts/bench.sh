#!/usr/bin/env bash
# The benchmarks of `make bench`, some 10 minutes: klink beside its peers in one run, in
# turns, and a control wherever there is no peer. BENCHMARKING.md says how to read the
# tables. Figures are only worth something on a quiet machine.
#
#   bench.sh [link|rate|host|switch|call]...    all of them, or these parts
#
# BENCH_RUNS is how many runs of each linker there are.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
runs=${BENCH_RUNS:-11}
cache=${KLINK_CACHE:-$PWD/.cache}
objects=$cache/corpus/linux-cloud/amd64
out=/dev/shm
[ -d $out ] || out=${TMPDIR:-/tmp}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tool NAME: where it is on PATH, in LLVM's folders, or brought by tools.sh.
tool() {
	command -v "$1" && return
	# shellcheck disable=SC2012 # the names are versions
	ls -d /usr/lib/llvm-*/bin/"$1" 2>/dev/null | sort -V | tail -n 1 | grep . && return
	printf '%s\n' "$cache/tools/bin/$1"
}

section() {
	printf '\n== %s\n' "$1"
}

# jitlink_objects: the first modules as llvm-jitlink can take them, in $work/jit. It has one
# name space a process and refuses two definitions of one name, of which Linux's modules
# have a few (init_module), so these get their module's number. One object more refers to
# all, because it links only what is asked for.
jitlink_objects() {
	mkdir "$work/jit"
	nm -g --defined-only "${few[@]}" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort | uniq -d >"$work/names"
	printf '.data\n.globl klink_all\nklink_all:\n' >"$work/all.s"
	n=0
	for f in "${few[@]}"; do
		n=$((n + 1))
		awk -v n=$n '{ print $1, $1 "_" n }' "$work/names" >"$work/map"
		objcopy --redefine-syms="$work/map" "$f" "$work/jit/${f##*/}"
		printf '.quad __this_module_%d\n' $n >>"$work/all.s"
	done
	gcc -c "$work/all.s" -o "$work/all.o"
}

link() {
	lld=$(tool ld.lld)
	jitlink=$(tool llvm-jitlink)
	printf '# %s; %s; llvm-jitlink of %s\n' "$("$lld" --version | head -n 1)" "$(ld --version | head -n 1)" \
		"$("$jitlink" --version | sed -n 's/.*\(LLVM version\)/\1/p')"
	unresolved="-static -z muldefs --unresolved-symbols=ignore-all"
	section "link all cloud modules, images on a tmpfs, page cache warm"
	"$go" run ./internal/testing/linkbench -n "$runs" -out "$out" "$objects"/*.ko -- \
		"ld.lld=$lld $unresolved -o {out}" \
		"ld.lld, 1 thread=$lld --threads=1 $unresolved -o {out}" \
		"ld=ld $unresolved -o {out}" \
		"klink=$PWD/bin/klink link --externals trap -o {out}" \
		"klink, 1 thread=env GOMAXPROCS=1 $PWD/bin/klink link --externals trap -o {out}"
	section "the first 100 of them, which llvm-jitlink links too"
	few=("$objects"/*.ko)
	few=("${few[@]:0:100}")
	jitlink_objects
	jit="$jitlink -noexec -phony-externals -slab-allocate=64Mb -slab-address=0x10000000 -slab-page-size=4096 -entry=klink_all {from:$work/jit} $work/all.o"
	"$go" run ./internal/testing/linkbench -n "$runs" -out "$out" "${few[@]}" -- \
		"ld.lld=$lld $unresolved -o {out}" \
		"ld=ld $unresolved -o {out}" \
		"llvm-jitlink=$jit" \
		"klink=$PWD/bin/klink link --externals trap -o {out}"
}

rate() {
	section "the linker inside of one process, stages on one processor each"
	"$go" run ./internal/testing/linkrate -n "$runs" -out "$out" "$objects"/*.ko
}

host() {
	"$go" build -o "$work/hostbench" ./internal/testing/hostbench
	gcc -O2 -o "$work/dlopen" internal/testing/hostbench/testdata/dlopen.c -ldl
	gcc -O2 -shared -fPIC -nostdlib -o "$work/small.so" internal/testing/hostbench/testdata/small.c
	section "load and unload a small module, 10 to 10,000 modules there"
	"$work/hostbench" -dlopen "$work/dlopen" -so "$work/small.so" latency
	section "the same, whole commands"
	"$work/hostbench" -n 25 -dlopen "$work/dlopen" -so "$work/small.so" -klink bin/klink command
	section "memory"
	"$work/hostbench" memory
}

switch() {
	section "a switch of 1 to 1,000,000 sites"
	"$go" run ./internal/testing/hostbench switch
	section "a switch under a running thread"
	"$go" run ./internal/testing/callcost switch
}

call() {
	section "what a call costs"
	"$go" run ./internal/testing/callcost cost
	section "what it costs to go in and out of a gate"
	"$go" run ./internal/testing/callcost gate
}

printf '# %s, %s processors, %s\n' "$(uname -srm)" "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
printf '# load %s, huge pages %s; %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" \
	"$(sed -n 's/.*\[\(.*\)\].*/\1/p' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)" "$("$go" version)"
[ $# -gt 0 ] || set -- link rate host switch call
for part; do
	case $part in
	link | rate | host | switch | call) $part ;;
	*)
		printf 'usage: bench.sh [link|rate|host|switch|call]...\n' >&2
		exit 2
		;;
	esac
done
