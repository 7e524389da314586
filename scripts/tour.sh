#!/usr/bin/env bash
# The main job on real objects: `make run`. Commands are shown as they are typed.
set -euo pipefail
cd "$(dirname "$0")/.."
klink=$PWD/bin/klink
arch=${ARCH:-amd64}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The fixtures have the machine in their names; the tour does without.
for f in net/kernel.o net/bpf.kmod bus_space/kernel.o bus_space/bus_space_debug.kmod \
	bus_space/bus_space_xh.kmod bus_space/bus_space_reorder.kmod bus_space/bus_space_trace.kmod \
	layers/kernel.o layers/one.kmod layers/two.kmod layers/three.kmod layers/three_impl.o; do
	mkdir -p "$work/${f%%/*}"
	cp "testdata/objs/${f%.*}.$arch.${f##*.}" "$work/$f"
done

# The second story's reader is a program like any other.
"${CC:-gcc}" -O2 -o "$work/bus_space/ringread" examples/ringread.c

# Each story in the folder of its modules.
root=$PWD
for story in bpf:net bus_space:bus_space layers:layers; do
	cd "$work/${story#*:}"
	"$klink" run -x "$root/examples/${story%:*}.klink"
done
