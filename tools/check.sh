#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make check: sets up what is missing, lints, runs the in-tree engine under the sanitizers
# (in a part of its configurations, for the time it takes) and in all its configurations, the
# oracle against QEMU's processor, then mmuscope's own tests and the suite as run_tests.sh does, on every engine. The last line,
# "N passed, N failed, N skipped", is over those.
set -u
cd "$(dirname "$0")/.." || exit 12

failed() {
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

# quietly COMMAND...: its output only if it fails, and then it's the end
quietly() {
	local output
	echo "# $*"
	output=$("$@" 2>&1) || {
		printf '%s\n' "$output" | grep -vE '^ *(# (start|@)|ok )' | tail -n 200
		failed
	}
}

tools/setup.sh build lint || exit $?
tools/lint.sh || failed

quietly tools/sanitize.sh asan-ubsan --config npt=1 --config npt=0
# what has several threads
quietly tools/sanitize.sh tsan --config npt=1 --config npt=0 'tdp/[pr]*' 'mmu/races' 'mmu/shootdown' \
	'mmu/memslot' 'mmu/dirty_*' 'mmu/host_changes' 'shadow/rmap' 'shadow/unsync'

quietly ./run_tests.sh --engine intree --config all --format ktap
# the auditor after every exit, not only when it is due
quietly ./run_tests.sh --engine intree --config npt=1,check=2 --config npt=0,check=2 --format ktap \
	'tdp/[!p]*' 'shadow/*' 'mmu/[!p]*'

# the expectations against a processor that is not ours, with no KVM between
if command -v "${MMUSCOPE_QEMU:-qemu-system-x86_64}" >/dev/null; then
	quietly ./run_tests.sh --engine qemu --format ktap mmu/permutations 'mmu/random.one*'
else
	echo "# ./run_tests.sh --engine qemu: left out, qemu-system-x86_64 is not installed"
fi

# A terminal gets the pretty form, which ends in the plain line; KTAP has it behind "# ".
[ -t 1 ] && exec ./run_tests.sh --unit
./run_tests.sh --unit | awk '
	{ print; fflush(); last = $0 }
	END { if (sub(/^# /, "", last)) print last }'
exit "${PIPESTATUS[0]}"
