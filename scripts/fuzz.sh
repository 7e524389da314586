#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time each (default 30s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
go=${GO:-go}
grep -rlE --include='*_test.go' '^func Fuzz' cmd internal | xargs -r -n1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort | while read -r target; do
		echo "== $dir $target ($time)"
		"$go" test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x </dev/null
	done
done
