#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the suite in the lab against each of the defects of tools/defects/table,
# in the configurations where it should show, and says which case caught it.
# What the unmodified rebuild fails as well does not count as caught.

set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
table=$here/table
suite=${MMUSCOPE_RUN_TESTS:-$root/run_tests.sh}
doc=$root/docs/defects.md
modules=/tmp/defects
output=$root/out/defects
full=
all_configs=
fresh=
recheck=
write_doc=
dry_run=
names=()
suite_args=()

usage() {
	cat <<-'END'
	usage: tools/defects/campaign.sh [OPTION]... [NAME]... [-- RUN_TESTS_ARGUMENT...]

	  --modules DIR    built defects, DIR/NAME/*.ko; what is missing is built
	                   (default /tmp/defects)
	  --output DIR     results.tsv and the runs' output (default out/defects); what
	                   results.tsv knows already is not run again
	  --fresh          forget what --output has of earlier campaigns
	  --full           run the whole suite, do not stop at the first case that fails
	  --all-configs    go on to the next configuration when a defect is caught
	  --recheck        try the case that docs/defects.md names first
	  --write-doc      put the results into the table of docs/defects.md
	  --dry-run        run nothing, only count (and write) what --output has

	Without a NAME all defects run. The rest goes to run_tests.sh, e.g.
	-- --timeout 10 'shadow/*'. The last line is "N defects, N caught, N survived".
	Exit codes: 0 all caught, 1 some survived, 2 usage, 12 a run said nothing.
	END
}

die() { local code=$1; shift; printf 'campaign: %s\n' "$*" >&2; exit "$code"; }

field() {
	awk -v name="$1" -v key="$2" '
		$1 == "name" { mine = $2 == name }
		mine && $1 == key { sub(/^[^ \t]+[ \t]+/, ""); print; exit }
	' "$table"
}

all_names() { awk '$1 == "name" { print $2 }' "$table"; }
configs() { field "$1" configs | tr ';' '\n'; }

# run_suite NAME CONFIG [ARGUMENT...]: sets $caught to the first case that fails
# and that the baseline does not, $failures to their number, $status to the
# runner's exit code.
run_suite() {
	local name=$1 config=$2 line case dir known runner
	dir=$output/$name.$config
	known=$output/none.$config.failed
	shift 2
	caught=
	failures=0
	rm -rf "$dir"
	mkdir -p "$dir"
	while IFS= read -r line; do
		printf '%s\n' "$line" >>"$dir/ktap"
		[[ $line =~ ^\ *not\ ok\ [0-9]+\ ([a-z]+/[^ ]+\.[^ ]+|kernel\ log) ]] || continue
		case=${BASH_REMATCH[1]}
		if [ "$name" = none ]; then
			printf '%s\n' "$case" >>"$known.new"
			continue
		fi
		grep -qxF -- "$case" "$known" && continue
		failures=$((failures + 1))
		caught=${caught:-$case}
		[ -n "$full" ] && continue
		kill -TERM "$!" 2>/dev/null || true
		break
	done < <(exec "$suite" --vm --modules "$modules/$name" --config "$config" \
		--format ktap --output "$dir/run" "$@" 2>"$dir/stderr" </dev/null)
	runner=$!
	status=0
	wait "$runner" || status=$?
	if [ -z "$caught" ]; then
		case $status in
		10) caught="(the kernel did not boot)" ;;
		11) caught="(the kernel panicked or hung)" ;;
		esac
	fi
}

# The unmodified modules must pass, or "caught" would mean nothing.
baseline() {
	local config=$1 known=$output/none.$1.failed
	[ -e "$known" ] && return
	need none
	: >"$known.new"
	run_suite none "$config" "${suite_args[@]}"
	[ -z "$caught" ] && [ "$status" -le 1 ] && mv "$known.new" "$known"
	[ -e "$known" ] ||
		die 12 "the unmodified modules: run_tests.sh exits $status under $config," \
			"see $output/none.$config/"
	if [ -s "$known" ]; then
		printf 'campaign: fails without a defect under %s, does not count: %s\n' \
			"$config" "$(sort -u "$known" | tr '\n' ' ')" >&2
	fi
}

need() {
	[ -e "$modules/$1/kvm.ko" ] || "$here/build.sh" --output "$modules" "$1" >/dev/null ||
		die 12 "$1 could not be built"
}

# doc_case NAME: case and configuration out of the documentation's table.
doc_case() {
	[ -e "$doc" ] || return 0
	sed -n "s/^| \`$1\` .*| \`\([^\`]*\/[^\`]*\)\` (\(.*\)) |\$/\1 \2/p" "$doc"
}

record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$results"; }

# try NAME CONFIG [ARGUMENT...]: runs, records and prints; true when caught.
try() {
	local name=$1 config=$2
	baseline "$config"
	run_suite "$@"
	if [ -n "$caught" ]; then
		record "$name" "$config" caught "$caught"
		printf '%s, caught by %s (%s%s)\n' "$name" "$caught" "$config" \
			"${full:+, $failures cases}"
		return 0
	fi
	if [ "$status" -gt 1 ]; then
		printf 'campaign: %s under %s says nothing: run_tests.sh exits %d, see %s\n' \
			"$name" "$config" "$status" "$output/$name.$config/" >&2
		mute=y
	fi
	return 1
}

examine() {
	local name=$1 config case mute='' hit='' lives=()
	need "$name"
	if [ -n "$recheck" ]; then
		read -r case config < <(doc_case "$name") || true
		if [ -n "${case:-}" ] && try "$name" "$config" "$case"; then
			return
		fi
	fi
	for config in $(configs "$name"); do
		if try "$name" "$config" "${suite_args[@]}"; then
			hit=y
			[ -n "$all_configs" ] || break
		else
			lives+=("$config")
		fi
	done
	[ -z "$hit" ] || return 0
	if [ -n "$mute" ]; then
		errors=$((errors + 1))
		return
	fi
	for config in "${lives[@]}"; do
		record "$name" "$config" survived -
	done
	printf '%s, SURVIVED (%s)\n' "$name" "$(field "$name" configs)"
}

# The documentation's rows, with this campaign's results where there are any.
rows() {
	local name
	printf '| defect | area | shows with | what goes wrong | like | caught by |\n'
	printf '| --- | --- | --- | --- | --- | --- |\n'
	all_names | while read -r name; do
		printf "| \`%s\` | %s | %s | %s | %s | %s |\n" "$name" "$(field "$name" area)" \
			"$(field "$name" configs | sed 's/;/; /g')" "$(field "$name" what)" \
			"$(field "$name" like)" "$(catcher "$name")"
	done
}

catcher() {
	local new
	new=$(awk -F '\t' -v name="$1" '
		$1 == name && $3 == "caught" { by = "`" $4 "` (" $2 ")" }
		$1 == name && $3 == "survived" { lives = lives (lives ? "; " : "") $2 }
		END { if (by) print by; else if (lives) print "**survived** (" lives ")" }
	' "$results")
	[ -n "$new" ] || new=$(sed -n "s/^| \`$1\` |.*| \([^|]*\) |\$/\1/p" "$doc")
	printf '%s' "$new"
}

write_doc() {
	rows >"$output/rows"
	awk -v rows="$output/rows" '
		/^\| defect / { while ((getline line < rows) > 0) print line; old = 1 }
		old && /^\|/ { next }
		{ old = 0; print }
	' "$doc" >"$output/doc"
	cat "$output/doc" >"$doc"
}

while [ $# -gt 0 ]; do
	case $1 in
	--modules|--output)
		[ $# -ge 2 ] || die 2 "$1 needs a folder, see --help"
		case $1 in
		--modules) modules=$2 ;;
		--output) output=$2 ;;
		esac
		shift ;;
	--full) full=y ;;
	--all-configs) all_configs=y ;;
	--fresh) fresh=y ;;
	--recheck) recheck=y ;;
	--write-doc) write_doc=y ;;
	--dry-run) dry_run=y ;;
	--help|-h) usage; exit 0 ;;
	--) shift; suite_args=("$@"); break ;;
	-*) die 2 "unknown option $1, see --help" ;;
	*)
		[ -n "$(field "$1" what)" ] || die 2 "no defect is called '$1', see build.sh --list"
		names+=("$1") ;;
	esac
	shift
done
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(all_names)

[ -z "$fresh" ] || rm -rf "$output"
mkdir -p "$output" "$modules" || die 12 "can't create $output or $modules"
output=$(cd "$output" && pwd)
modules=$(cd "$modules" && pwd)
results=$output/results.tsv
touch "$results"

errors=0
for name in "${names[@]}"; do
	[ -z "$dry_run" ] || break
	cut -f 1 "$results" | grep -qxF -- "$name" || examine "$name"
done

[ -z "$write_doc" ] || write_doc
total=${#names[@]}
hits=0
lost=0
for name in "${names[@]}"; do
	case $(awk -F '\t' -v name="$name" '$1 == name { print $3 }' "$results" | sort -u) in
	caught*) hits=$((hits + 1)) ;;
	survived) lost=$((lost + 1)) ;;
	esac
done
if [ "$total" -ne $((hits + lost)) ]; then
	printf '%d without an answer\n' $((total - hits - lost))
fi
printf '%d defects, %d caught, %d survived\n' "$total" "$hits" "$lost"
[ "$errors" -eq 0 ] || exit 12
[ "$hits" -eq "$total" ]
