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

tools/floors.sh || complain "an include leaves its floor (docs/DESIGN.md)"

# the documents name cases as `suite/file` or `suite/file.case`; they go stale unseen otherwise
# shellcheck disable=SC2016 # the backquotes are markdown's
while read -r name; do
	file=tests/${name%%.*}.c
	case $name in
	*.*) grep -q "^TEST(${name##*.}," "$file" 2>/dev/null ;;
	*) [ -f "$file" ] ;;
	esac || complain "docs/history.md names $name, which does not exist"
done < <(grep -oE '`(mmu|tdp|shadow)/[a-z0-9_]+(\.[a-z0-9_]+)?`' docs/history.md | tr -d '`' | sort -u)

make -s -j2 CC=clang BUILD="$build/clang" || complain "clang has findings"

exit $bad
