#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make asan, ubsan, tsan: the in-tree engine under a sanitizer: what runs a guest is built
# with it, in a folder of its own below the build's; then the project's tests of the
# processor, the MMU and the hypervisor run, then the suite.
#
#   tools/sanitize.sh asan|ubsan|asan-ubsan|tsan [OPTION of mmurun | GLOB]...
#
# Options and globs are for the suite, e.g. --config ept=1 'tdp/*'. A report ends the
# case that made it, which is an error then. The exit status is the worse of the two runs'.
set -u
cd "$(dirname "$0")/.." || exit 12

kind=${1-}
case $kind in
asan) sanitizer=address ;;
ubsan) sanitizer=undefined ;;
asan-ubsan) sanitizer=address,undefined ;;
tsan) sanitizer=thread ;;
*)
	echo "usage: tools/sanitize.sh asan|ubsan|asan-ubsan|tsan [OPTION of mmurun | GLOB]..." >&2
	exit 2
	;;
esac
shift
case " $* " in
*" --config"*) ;;
*) set -- --config npt=1 --config npt=0 "$@" ;;
esac
build=${BUILD:-build}/$kind

# Cases end by _exit() with their VMs alive, so there is no moment to look for leaks at.
export ASAN_OPTIONS=exitcode=66:detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=exitcode=66:print_stacktrace=1
export TSAN_OPTIONS=exitcode=66:halt_on_error=1:history_size=4
run=()
# its shadow memory has fixed places, which mappings at random ones may get in the way of
[ "$kind" != tsan ] || ! setarch -R true 2>/dev/null || run=(setarch -R)

unit_tests=('unit/test_cpu_*' 'unit/test_mmu_*' 'unit/test_kvm_*')
# native instructions leave by a signal with any stack pointer, which this one can't follow
[ "$kind" != tsan ] || unit_tests=('unit/test_cpu_[!n]*' 'unit/test_cpu_ne*' "${unit_tests[@]:1}")

make -s -j2 BUILD="$build" SANITIZE="$sanitizer" suite || exit 12

"${run[@]}" "$build/tools/mmusuite" --tests "$build/tests" --suites unit --jobs 2 --timeout 300 \
	"${unit_tests[@]}"
unit=$?
MMUSCOPE_COMMAND="tools/sanitize.sh $kind" "${run[@]}" "$build/tools/mmurun" --engine intree \
	--timeout 300 --output "$build/out" "$@"
suite=$?
[ $suite != 0 ] || suite=$unit
exit $suite
