#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the suite, or random programs, in the lab against each of the defects of
# tools/defects/table, in the configurations where it should show, and says which
# case caught it, or after how long. What the unmodified rebuild fails as well
# does not count as caught; random programs must find nothing there.

set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
table=$here/table
suite=${MMUSCOPE_RUN_TESTS:-$root/run_tests.sh}
doc=$root/docs/defects.md
modules=/tmp/defects
output=
full=
all_configs=
fresh=
recheck=
write_doc=
dry_run=
random=
seconds=300
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
	  --random         random programs instead of the suite (default --output is
	                   out/defects-random then)
	  --time SECONDS   for each defect with --random, shared evenly between its
	                   configurations (default 300); what was not found in less
	                   runs again

	Without a NAME all defects run. The rest goes to run_tests.sh, e.g.
	-- --timeout 10 'shadow/*'; with --random to mmufuzz, e.g. -- --no-shrink. The
	last line is "N defects, N caught, N survived", or "… found, … not found".
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

# fuzz NAME CONFIG SECONDS: sets $status to the runner's exit code, and $found to
# "SECONDS OPERATIONS STEPS" when a program was wrong, or when the kernel died.
fuzz() {
	local dir=$output/$1.$2
	found=
	status=0
	rm -rf "$dir"
	mkdir -p "$dir"
	"$suite" --vm --modules "$modules/$1" --config "$2" --fuzz "$3" --seed 1 --hang-timeout 60 --format ktap \
		--output "$dir/run" -- "${suite_args[@]}" >"$dir/ktap" 2>"$dir/stderr" \
		</dev/null || status=$?
	case $status in
	1 | 11)
		found=$(awk '
			/# finding: seed/ && !after { after = $6; operations = $8 }
			/# @progress .* operations,/ && !after { last = $3; judged = $6 }
			/# shrunk to/ && !steps { steps = $4 }
			END { print after ? after : last + 0, after ? operations : judged + 0,
			      steps ? steps : "-" }' "$dir/ktap") ;;
	esac
}

# The unmodified modules must run for as long as any others will, and be found right.
fuzz_baseline() {
	local config=$1
	awk -F '\t' -v config="$config" -v seconds="$2" '
		$1 == "none" && $2 == config && $4 >= seconds { known = 1 }
		END { exit !known }' "$results" && return
	need none
	fuzz none "$config" "$2"
	[ "$status" -eq 0 ] ||
		die 12 "the unmodified modules: run_tests.sh exits $status under $config," \
			"see $output/none.$config/"
	printf 'none\t%s\tnot found\t%s\n' "$config" "$2" >>"$results"
	printf 'none, nothing found in %s s (%s)\n' "$2" "$config"
}

fuzz_examine() {
	local name=$1 config each after operations steps mute=''
	need "$name"
	each=$((seconds / $(configs "$name" | wc -l)))
	for config in $(configs "$name"); do
		fuzz_baseline "$config" "$each"
		fuzz "$name" "$config" "$each"
		if [ -n "$found" ]; then
			read -r after operations steps <<<"$found"
			printf '%s\t%s\tfound\t%s\t%s\t%s\n' "$name" "$config" "$after" \
				"$operations" "$steps" >>"$results"
			printf '%s, found after %s s, %s operations (%s)\n' "$name" "$after" \
				"$operations" "$config"
			return
		fi
		if [ "$status" -ne 0 ]; then
			printf 'campaign: %s under %s says nothing: run_tests.sh exits %d, see %s\n' \
				"$name" "$config" "$status" "$output/$name.$config/" >&2
			mute=y
		fi
	done
	if [ -n "$mute" ]; then
		errors=$((errors + 1))
		return
	fi
	printf '%s\t-\tnot found\t%s\n' "$name" "$seconds" >>"$results"
	printf '%s, NOT FOUND\n' "$name"
}

# Whether the results have an answer for the defect that is as good as this campaign's.
known() {
	awk -F '\t' -v name="$1" -v random="$random" -v seconds="$seconds" '
		$1 == name && (!random || $3 == "found" || $4 >= seconds) { known = 1 }
		END { exit !known }' "$results"
}

need() {
	[ -e "$modules/$1/kvm.ko" ] || "$here/build.sh" --output "$modules" "$1" >/dev/null ||
		die 12 "$1 could not be built"
}

# doc_column NAME COLUMN: what the documentation's table has there, the name being column 2.
doc_column() {
	awk -F ' *[|] *' -v name="\`$1\`" -v column="$2" '$2 == name { print $column }' "$doc"
}

# doc_case NAME: case and configuration out of the documentation's table.
doc_case() {
	[ -e "$doc" ] || return 0
	# shellcheck disable=SC2016 # the quotes are the document's
	doc_column "$1" 7 | sed -n 's/^`\([^`]*\/[^`]*\)` (\(.*\))$/\1 \2/p'
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
	printf '| defect | area | shows with | what goes wrong | like | caught by | random programs |\n'
	printf '| --- | --- | --- | --- | --- | --- | --- |\n'
	all_names | while read -r name; do
		printf "| \`%s\` | %s | %s | %s | %s | %s | %s |\n" "$name" \
			"$(field "$name" area)" "$(field "$name" configs | sed 's/;/; /g')" \
			"$(field "$name" what)" "$(field "$name" like)" "$(catcher "$name")" \
			"$(finder "$name")"
	done
}

finder() {
	local new=''
	[ -z "$random" ] || new=$(awk -F '\t' -v name="$1" '
		$1 == name && $3 == "found" { by = $4 " s (" $2 ")" }
		$1 == name && $3 == "not found" { lives = $4 }
		END { if (by) print by; else if (lives) print "not in " lives " s" }
	' "$results")
	printf '%s' "${new:-$(doc_column "$1" 8)}"
}

catcher() {
	local new=''
	[ -n "$random" ] || new=$(awk -F '\t' -v name="$1" '
		$1 == name && $3 == "caught" { by = "`" $4 "` (" $2 ")" }
		$1 == name && $3 == "survived" { lives = lives (lives ? "; " : "") $2 }
		END { if (by) print by; else if (lives) print "**survived** (" lives ")" }
	' "$results")
	printf '%s' "${new:-$(doc_column "$1" 7)}"
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
	--modules|--output|--time)
		[ $# -ge 2 ] || die 2 "$1 needs a value, see --help"
		case $1 in
		--modules) modules=$2 ;;
		--output) output=$2 ;;
		--time)
			[[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die 2 "--time $2: give a number of seconds"
			seconds=$2 ;;
		esac
		shift ;;
	--random) random=y ;;
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

output=${output:-$root/out/defects${random:+-random}}
[ -z "$fresh" ] || rm -rf "$output"
mkdir -p "$output" "$modules" || die 12 "can't create $output or $modules"
output=$(cd "$output" && pwd)
modules=$(cd "$modules" && pwd)
results=$output/results.tsv
touch "$results"

errors=0
for name in "${names[@]}"; do
	[ -z "$dry_run" ] || break
	known "$name" || "${random:+fuzz_}examine" "$name"
done

[ -z "$write_doc" ] || write_doc
total=${#names[@]}
hits=0
lost=0
for name in "${names[@]}"; do
	case $(awk -F '\t' -v name="$name" '$1 == name { print $3 }' "$results" | sort -u) in
	caught* | found*) hits=$((hits + 1)) ;;
	survived | 'not found') lost=$((lost + 1)) ;;
	esac
done
if [ "$total" -ne $((hits + lost)) ]; then
	printf '%d without an answer\n' $((total - hits - lost))
fi
if [ -n "$random" ]; then
	printf '%d defects, %d found, %d not found\n' "$total" "$hits" "$lost"
else
	printf '%d defects, %d caught, %d survived\n' "$total" "$hits" "$lost"
fi
[ "$errors" -eq 0 ] || exit 12
[ "$hits" -eq "$total" ]
