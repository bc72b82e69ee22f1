#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make coverage: which lines of x86/mmu the suite reaches on the in-tree engine, all its
# default configurations and some more together. Prints the lines that are left, each with its reason,
# a line for each file, and last the whole: "x86/mmu: COVERED of LINES lines, PERCENT %".
#
#   tools/coverage.sh [OPTION of mmurun | GLOB]...
#
# Reasons come from tools/coverage.reasons: lines of FILE, TEXT and REASON with tabs between
# them; the first whose FILE and TEXT (extended regular expressions) match tells. Lines that only
# the engine's unit tests reach say so instead, and there is a second figure with those: the suite
# has no broken invariants for the auditor to speak of, and no guest with EPT of its own.
#
# Exit status: 0, 1 where the suite alone reaches less than 95 % or a case failed, 12 when nothing
# can be told.
set -u
cd "$(dirname "$0")/.." || exit 12

build=${BUILD:-build}/coverage
make -s -j2 BUILD="$build" COVERAGE=1 suite || exit 12
find "$build" -name '*.gcda' -delete

# Both MMUs, and what no default has.
case " $* " in
*" --config"*) ;;
*)
	for config in intree.npt=1 intree.npt=0 \
		intree.npt=1,maxphyaddr=52,nx_huge_pages=force,max_huge_level=2 \
		intree.npt=1,tdp_mmu=0,ad_bits=0,nx_huge_pages=force \
		intree.npt=1,zap_all_on_slot=1,mmio_caching=0,interleave=3 \
		intree.npt=0,flush_on_reuse=1,eager_page_split=0,interleave=5 \
		intree.ept=1 intree.ept=1,ad_bits=0 \
		intree.ept=1,tdp_mmu=0,maxphyaddr=52,nx_huge_pages=force; do
		set -- --config "${config#intree.}" "$@"
	done
	;;
esac
"$build/tools/mmurun" --engine intree --timeout 120 --output "$build/out" "$@" >"$build/run.log" 2>&1
passed=$?
tail -n 1 "$build/run.log"
[ $passed = 0 ] || echo "coverage: the suite ended with $passed: see $build/run.log" >&2

lines_of() {
	local source note
	for source in x86/mmu/*.c; do
		note=$build/${source%.c}.gcno
		[ -f "$note" ] && gcov --stdout "$note" 2>/dev/null
	done
}

lines_of >"$build/suite.gcov"
for unit in "$build"/tests/unit/test_mmu_* "$build"/tests/unit/test_kvm_*; do
	case $unit in
	*.[od]) continue ;;
	esac
	"$unit" >"$build/unit.log" 2>&1 ||
		{ echo "coverage: ${unit##*/} failed" >&2 && passed=1; }
done
lines_of >"$build/unit.gcov"

awk -F: '
	# a line is COUNT:NUMBER:TEXT; headers come once with each file that includes them
	FILENAME == "tools/coverage.reasons" {
		if (/^#/ || !NF)
			next
		split($0, field, "\t")
		in_file[++rules] = field[1]; like[rules] = field[2]; why[rules] = field[3]
		next
	}
	$2 + 0 == 0 {
		if ($3 == "Source")
			file = $4
		next
	}
	file !~ /^x86\/mmu\// || $1 ~ /^ *-$/ { next }
	{
		line = $2 + 0
		if (!((file, line) in count)) {
			count[file, line] = 0
			lines[file]++
			if (line > last[file])
				last[file] = line
			text[file, line] = substr($0, length($1) + length($2) + 3)
		}
		if ($1 !~ /[#=]/) {
			if (FILENAME ~ /suite/)
				count[file, line] = 1
			if (!((file, line) in any)) {
				any[file, line] = 1
				with_units[file]++
			}
		}
	}
	function reason(file, text,   i) {
		for (i = 1; i <= rules; i++)
			if (file ~ in_file[i] && text ~ like[i])
				return why[i]
		return "no case reaches it"
	}
	END {
		for (file in lines)
			order[++n] = file
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && order[j] < order[j - 1]; j--) {
				file = order[j]; order[j] = order[j - 1]; order[j - 1] = file
			}
		for (i = 1; i <= n; i++) {
			file = order[i]
			for (line = 1; line <= last[file]; line++) {
				if (!((file, line) in count))
					continue
				if (count[file, line]) {
					covered[file]++
					continue
				}
				shown = text[file, line]
				sub(/^[ \t]+/, "", shown)
				printf "%s:%d: %s  [%s]\n", file, line, shown,
					(file, line) in any ? "unit tests" : reason(file, shown)
			}
		}
		for (i = 1; i <= n; i++) {
			file = order[i]
			all += lines[file]; reached += covered[file]; both += with_units[file]
			printf "%-28s %5d of %5d lines, %5.1f %%, with unit tests %5.1f %%\n", file ":",
				covered[file], lines[file], 100 * covered[file] / lines[file],
				100 * with_units[file] / lines[file]
		}
		if (!all)
			exit 12
		printf "x86/mmu, with unit tests: %d of %d lines, %.1f %%\n", both, all, 100 * both / all
		printf "x86/mmu: %d of %d lines, %.1f %%\n", reached, all, 100 * reached / all
		exit 100 * reached < 95 * all
	}' tools/coverage.reasons "$build/suite.gcov" "$build/unit.gcov" || exit $?
[ $passed = 0 ] || exit 1
