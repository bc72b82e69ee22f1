#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make lint: the rules that a program can check. Shell scripts pass shellcheck, C is
# formatted as .clang-format says and compiles without a warning with clang as well as gcc,
# each file starts with its license, no file is too long, and no folder includes one of a
# higher floor. All findings are printed; the exit status is 1 if there was one.
set -u
cd "$(dirname "$0")/.." || exit 12

build=${BUILD:-build}
bad=0

# What git knows, and what it would (a new file is linted before it is added). A tree
# that is no checkout has its files all the same.
all_files() {
	git ls-files --cached --others --exclude-standard 2>/dev/null ||
		find . -path "./$build" -prune -o -path ./out -prune -o -type f -printf '%P\n'
}
everything=$(all_files)

# files REGEX: those whose path matches, less what is deleted but not committed yet
files() {
	grep -E "$1" <<<"$everything" | while read -r f; do
		[ -f "$f" ] && echo "$f"
	done
}

complain() {
	printf 'lint: %s\n' "$*" >&2
	bad=1
}

mapfile -t c_files < <(files '\.[ch]$')
mapfile -t sources < <(files '(\.([chS]|sh|lds)|^Makefile|^\.ci/run)$')
mapfile -t scripts < <(files '(\.sh|^\.ci/run)$')
[ "${#c_files[@]}" -gt 0 ] || complain "no source files found"

shellcheck "${scripts[@]}" || complain "shellcheck has findings"

# other versions format a few things otherwise, which is nobody's mistake
case $(clang-format --version) in
*" version 14."*) formatted=("${c_files[@]}") ;;
*)
	echo "lint: the format is not checked: that takes clang-format 14" >&2
	formatted=()
	;;
esac
for f in "${formatted[@]}"; do
	clang-format --dry-run -Werror "$f" >/dev/null 2>&1 ||
		complain "$f: not formatted: clang-format -i $f"
done

for f in "${sources[@]}"; do
	head -n 2 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-only' ||
		complain "$f: its license is missing from the first lines"
	lines=$(wc -l <"$f")
	[ "$lines" -le 700 ] || complain "$f: $lines lines: split it"
done

# The floors: a folder's files include their own folder and lower floors only. lib
# and the guest share the agent's protocol; the MMU must not know the hardware's model.
floor_of() {
	case $1 in
	x86/arch/*) echo 0 ;;
	x86/cpu/*) echo 1 ;;
	x86/mmu/*) echo 2 ;;
	x86/kvm/*) echo 3 ;;
	guest_code/*) echo 0 ;;
	lib/*) echo 4 ;;
	*) echo 5 ;;
	esac
}
while IFS=: read -r from include; do
	include=${include#*\"}
	include=${include%%\"*}
	if [ -f "$(dirname "$from")/$include" ]; then
		include=$(dirname "$from")/$include
	elif [ ! -f "$include" ]; then
		include=lib/$include
	fi
	if [ "$(floor_of "$from")" -lt "$(floor_of "$include")" ]; then
		complain "$from includes $include, which is of a higher floor"
	fi
	case $from:$include in
	x86/mmu/*:x86/cpu/* | x86/cpu/*:x86/mmu/*)
		complain "$from includes $include: the MMU and the hardware stay apart"
		;;
	x86/*:guest_code/*) complain "$from includes $include: that is the guest's" ;;
	esac
done < <(grep -H '^#include "' "${c_files[@]}")

make -s -j2 CC=clang BUILD="$build/clang" || complain "clang has findings"

exit $bad
