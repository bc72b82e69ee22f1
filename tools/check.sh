#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make check: sets up what is missing, lints, runs the in-tree engine under the sanitizers
# (in a part of its configurations, for the time it takes), then mmuscope's own tests
# and the suite as run_tests.sh does, on every engine. The last line, "N passed, N failed, N skipped",
# is over those.
set -u
cd "$(dirname "$0")/.." || exit 12

failed() {
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

# sanitize KIND OPTION...: quiet unless it finds something
sanitize() {
	local output
	echo "# tools/sanitize.sh $*"
	output=$(tools/sanitize.sh "$@" 2>&1) || {
		printf '%s\n' "$output" | grep -vE '^ *(# (start|@)|ok )' | tail -n 200
		failed
	}
}

tools/setup.sh build lint || exit $?
tools/lint.sh || failed

sanitize asan --config npt=1 --config npt=0
sanitize ubsan --config ept=1,ad_bits=0 --config npt=0
# the long sweeps of mmu/permutations have no second thread
sanitize tsan --config npt=1 --config npt=0 'tdp/*' 'shadow/*' 'mmu/[!p]*'

# A terminal gets the pretty form, which ends in the plain line; KTAP has it behind "# ".
[ -t 1 ] && exec ./run_tests.sh --unit
./run_tests.sh --unit | awk '
	{ print; fflush(); last = $0 }
	END { if (sub(/^# /, "", last)) print last }'
exit "${PIPESTATUS[0]}"
