#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make check: sets up what is missing, lints, then runs mmuscope's own tests and the
# suite as run_tests.sh does. The last line, "N passed, N failed, N skipped", is over both.
set -u
cd "$(dirname "$0")/.." || exit 12

failed() {
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}

tools/setup.sh build lint || exit $?
tools/lint.sh || failed

# A terminal gets the pretty form, which ends in the plain line; KTAP has it behind "# ".
[ -t 1 ] && exec ./run_tests.sh --unit
./run_tests.sh --unit | awk '
	{ print; fflush(); last = $0 }
	END { if (sub(/^# /, "", last)) print last }'
exit "${PIPESTATUS[0]}"
