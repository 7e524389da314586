#!/usr/bin/env bash
# The benchmarks of `make bench`: whole linkers side by side in one run, then what
# happens inside klink. Figures are only worth something on a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
runs=${BENCH_RUNS:-11}
cache=${KLINK_CACHE:-$PWD/.cache}
out=/dev/shm
[ -d $out ] || out=${TMPDIR:-/tmp}

lld=$(command -v ld.lld || true)
[ -n "$lld" ] || lld=$cache/tools/bin/ld.lld

echo "# $(uname -srm), $(nproc) processors, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "# $("$lld" --version | head -n 1); $(ld --version | head -n 1); $("$go" version)"
echo
echo "== link all cloud modules, images on a tmpfs, page cache warm"
"$go" run ./internal/testing/linkbench -n "$runs" -out "$out" "$cache"/corpus/linux-cloud/amd64/*.ko -- \
	"ld.lld=$lld -static -z muldefs --unresolved-symbols=ignore-all -o {out}" \
	"ld=ld -static -z muldefs --unresolved-symbols=ignore-all -o {out}" \
	"klink=$PWD/bin/klink link --externals trap -o {out}"
echo
echo "== load and unload a small module into a host with 10, 1,000, 10,000 modules"
"$go" test -run '^$' -bench 'LoadInto' -benchtime 300x -count 5 ./internal/kernel
echo
echo "== a switch of many sites: compare, trap, turn, write"
"$go" test -run '^$' -bench 'Switch' -count 5 ./internal/patch
echo
echo "== what a call costs"
"$go" run ./internal/testing/callcost cost
echo
echo "== what it costs to go in and out of a gate"
"$go" run ./internal/testing/callcost gate
echo
echo "== a switch under a running thread"
"$go" run ./internal/testing/callcost switch
