#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Tests KVM's MMU: sets up what is missing, builds, and hands over to mmurun. All that
# it does beyond that is in tools/run_tests.help, which --help prints. It may be
# started from any folder: paths among its options are those of that folder.
set -u
root=$(cd "$(dirname "$0")" && pwd) || exit 12
build=${BUILD:-build}
case $build in
/*) ;;
*) build=$root/$build ;;
esac

for option in "$@"; do
	case $option in
	--help) exec cat "$root/tools/run_tests.help" ;;
	--) break ;;
	esac
done

"$root/tools/setup.sh" build || exit $?
if ! output=$(make -s -C "$root" -j2 BUILD="$build" 2>&1 </dev/null); then
	printf '%s\n' "$output" | tail -n 40 >&2
	echo "run_tests.sh: the build failed" >&2
	exit 12
fi

# mmurun knows whether the lab will be used; a wrong option ends here, before any download
needs=$("$build/tools/mmurun" --print-needs "$@") || exit $?
if [ -n "$needs" ]; then
	# shellcheck disable=SC2086 # a list of groups
	"$root/tools/setup.sh" $needs || exit $?
fi
# for the lines that tell how to run one case again
export MMUSCOPE_COMMAND=$0
exec "$build/tools/mmurun" "$@"
