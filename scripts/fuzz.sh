#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time each (default 30s), or the named
# ones only, and ends with a table: target, seconds, executions, inputs that widened
# coverage, and whether it found something. It goes on after a finding, which Go writes to
# the package's testdata/fuzz and which is in the target's log, and fails in the end.
#
#	scripts/fuzz.sh [TIME [TARGET…]]
#
# FUZZ_PARALLEL is how many workers a target has (default 1), FUZZ_LOGS where the logs go
# (default $KLINK_CACHE/fuzz).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
shift || true
go=${GO:-go}
logs=${FUZZ_LOGS:-${KLINK_CACHE:-.cache}/fuzz}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
rows=$logs/table
: >"$rows"
found=0

targets() {
	grep -rlE --include='*_test.go' '^func Fuzz' cmd internal | xargs -r -n1 dirname | sort -u | while read -r dir; do
		grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
			echo "$dir $target"
		done
	done
}

while read -r dir target; do
	if (($# > 0)) && [[ " $* " != *" $target "* ]]; then
		continue
	fi
	echo "== $dir $target ($time)"
	log=$logs/$target.log
	result=none
	start=$(date +%s)
	"$go" test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel "${FUZZ_PARALLEL:-1}" </dev/null >"$log" 2>&1 || {
		result=FOUND
		found=1
		tail -n 40 "$log"
	}
	# The last report of a run: "fuzz: elapsed: 3s, execs: 12 (4/sec), new interesting: 5 (total: 6)".
	execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -n1 | cut -d' ' -f2 || true)
	wider=$(grep -oE 'new interesting: [0-9]+' "$log" | tail -n1 | cut -d' ' -f3 || true)
	printf '%-18s %-16s %8d %12d %8d  %s\n' "${dir#internal/}" "$target" $(($(date +%s) - start)) "${execs:-0}" "${wider:-0}" "$result" >>"$rows"
	tail -n1 "$rows"
done < <(targets)

if [[ ! -s $rows ]]; then
	echo "no fuzz target ${*:-at all}" >&2
	exit 2
fi
printf '\n%-18s %-16s %8s %12s %8s  %s\n' package target seconds executions wider found
cat "$rows"
awk '{ s += $3; n += $4 } END { printf "%d targets, %d s, %d executions; logs in '"$logs"'\n", NR, s, n }' "$rows"
exit $found
