#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Random programs alone against each of the deliberate defects of x86/arch/mutants.h: mmufuzz runs in the
# configuration in which the defect is expected to show, with the auditor, until its first finding, which it shrinks. A line
# for each, and "N mutants, N found, N not found" at last. What has been run is kept below --output, and isn't run again.
set -e

usage="usage: random.sh --build DIR [--time SECS] [--jobs N] [--output DIR] [--markdown FILE] [NAME]...

  --build DIR      a build made by 'make MUTANTS=1'
  --time SECS      of a processor's time for each mutant (default 60), so that other load is no matter
  --jobs N         mutants at a time, each with one process (default 2)
  --output DIR     results and findings (default DIR of the build/random-mutants)
  --markdown FILE  the table into FILE, from a line '| mutant | random' on
Exit status: 0 all were found, 1 some weren't, 2 usage."

build='' time=60 jobs=2 output='' markdown=''
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$2 ;;
	--time) time=$2 ;;
	--jobs) jobs=$2 ;;
	--output) output=$2 ;;
	--markdown) markdown=$2 ;;
	--help) echo "$usage"; exit 0 ;;
	-*) echo "random.sh: $1: see --help" >&2; exit 2 ;;
	*) break ;;
	esac
	shift 2
done
if [ ! -x "$build/tools/mutants" ] || [ ! -x "$build/tools/mmufuzz" ]; then
	echo "random.sh: --build '$build': no build with mutants; see --help" >&2
	exit 2
fi
output=${output:-$build/random-mutants}
mkdir -p "$output"

# The configuration, with what an area needs to show anything.
config_of() {
	case $2 in
	nx) echo "$3,nx_huge_pages=force,nx_huge_pages_recovery_ratio=1,nx_huge_pages_recovery_period_ms=5,check=1" ;;
	*) echo "${3%,interleave=*},check=1" ;;
	esac
}

run_one() {
	local name=$1 config said
	config=$(config_of "$@")
	[ -s "$output/$name.result" ] && return
	said=$(MMUSCOPE_MUTANT=$name "$build/tools/mmufuzz" --engine intree --config "$config" \
		--jobs 1 --processor-time --time "$time" --output "$output/$name" --quiet 2>"$output/$name.err" || true)
	printf '%s\n' "$said" >"$output/$name.out"
	awk -v name="$name" -v config="$config" '
		/^finding: seed/ { found = 1; when = $5; operations = $7 }
		/^shrunk to/ { steps = $3 }
		/^# judged/ { judged = $3; ended = 1 }
		END {
			if (found) print name "|found|" when "|" operations "|" (steps != "" ? steps : "-") "|" config
			else if (ended) print name "|NOT FOUND||" judged "||" config
		}' "$output/$name.out" >"$output/$name.result"
	awk -F'|' '{ print $1 ", " ($2 == "found" ? "found after " $3 " s, " $4 " operations, shrunk to " $5 : $2 " in " $4 " operations") " (" $6 ")" }' \
		"$output/$name.result"
}

list() {
	"$build/tools/mutants" --build "$build" --list | awk -F'\t' -v names=" $* " \
		'names == "  " || index(names, " " $1 " ") { print $1, $2, $3 }'
}

export -f run_one config_of
export build output time
list "$@" | xargs -r -P "$jobs" -L 1 bash -c 'run_one "$@"' run_one

table() {
	echo '| mutant | random programs | operations | shrunk to | configuration |'
	echo '| --- | --- | --- | --- | --- |'
	list | while read -r name _; do
		awk -F'|' '{ print "| `" $1 "` | " ($2 == "found" ? $3 " s" : $2) " | " $4 " | " $5 " | " $6 " |" }' \
			"$output/$name.result"
	done
	echo
	sum
}

sum() {
	list "$@" | while read -r name _; do cat "$output/$name.result"; done |
		awk -F'|' '{ n++; found += $2 == "found" }
			END { print n " mutants, " found + 0 " found, " n - found " not found" }'
}

if [ -n "$markdown" ]; then
	sed -i '/^| mutant | random/,$d' "$markdown"
	table >>"$markdown"
fi
sum "$@"
[ "$(sum "$@" | awk '{ print $5 }')" = 0 ]
