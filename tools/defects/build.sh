#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Rebuilds the distribution's kvm.ko and kvm-amd.ko, as they are or with one of
# the one-line defects of tools/defects/table put in, so that the suite can be
# asked whether it notices:
#
#	tools/defects/build.sh --output DIR NAME
#	./run_tests.sh --vm --modules DIR/NAME --config npt=0
#
# Nothing is installed but a compiler and make. The kernel's headers and source
# are fetched as packages and unpacked below the cache directory, where the
# object tree is kept as well, so that one more defect costs only the files
# that it changes. No kernel source ever enters the project.

set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
table=$here/table
cache=${MMUSCOPE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmuscope}
jobs=${DEFECTS_JOBS:-1}

usage() {
	cat <<-'END'
	usage: tools/defects/build.sh [--list] [--show NAME] [--output DIR]
	                              [--kernel-version VERSION] NAME...|none|all

	  --list                    names and one-line descriptions, and leave
	  --show NAME               the changed line of NAME as a diff, and leave
	  --output DIR              modules go to DIR/NAME/ (default: below the cache)
	  --kernel-version VERSION  e.g. 6.1.0-56-amd64 (default: the lab's cached
	                            kernel, else what linux-image-amd64 depends on)

	"none" is the unmodified rebuild, "all" is "none" and every defect.
	Exit codes: 0 built, 1 a defect did not apply or build, 2 usage,
	12 something that is needed is missing and could not be set up.
	END
}

say() { printf '%s\n' "defects: $*" >&2; }
die() { local code=$1; shift; say "$*"; exit "$code"; }

# The table's stanzas ------------------------------------------------------

names() { awk '$1 == "name" { print $2 }' "$table"; }

# field NAME KEY: the value of one key of one stanza, empty without it.
field() {
	awk -v name="$1" -v key="$2" '
		$1 == "name" { mine = $2 == name }
		mine && $1 == key { sub(/^[^ \t]+[ \t]+/, ""); print; exit }
	' "$table"
}

known() { [ "$1" = none ] || names | grep -qxF -- "$1"; }

# Set-up -------------------------------------------------------------------

need_packages() {
	local missing=() tool pkg
	for tool in make:make xz:xz-utils cmp:diffutils gcc:gcc flock:util-linux; do
		pkg=${tool#*:}
		command -v "${tool%%:*}" >/dev/null || missing+=("$pkg")
	done
	for pkg in "$@"; do
		command -v "$pkg" >/dev/null || missing+=("$pkg")
	done
	[ ${#missing[@]} -eq 0 ] && return
	local sudo=()
	[ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
	say "installing ${missing[*]}"
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends "${missing[@]}" >&2 </dev/null ||
		die 12 "missing packages: ${missing[*]}; install them with" \
			"'apt-get install ${missing[*]}' as root"
}

default_version() {
	local newest
	newest=$(cd "$cache/kernel" 2>/dev/null && printf '%s\n' [0-9]*-amd64 |
		grep -v '\*' | sort -V | tail -n 1) || true
	[ -n "$newest" ] || newest=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p' | sort -V | tail -n 1)
	[ -n "$newest" ] || die 12 "no kernel in $cache/kernel and apt knows no" \
		"linux-image-amd64: name one with --kernel-version"
	printf '%s\n' "$newest"
}

# fetch DIR PACKAGE[=VERSION]...: downloads packages as files into DIR.
fetch() {
	local dir=$1; shift
	(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download "$@" >/dev/null) ||
		die 12 "could not download $*: is its version still in the archive" \
			"('apt-get update' may be due) and the network there?"
}

# The source in the headers' words: where to look for its own files instead of
# the kernel tree's.
make_external() {
	local kvm=$1/arch/x86/kvm
	# shellcheck disable=SC2016 # make's variables, not the shell's
	sed -i -e 's,-I *$(srctree)/arch/x86/kvm,-I $(src) -I $(src)/mmu,' \
		-e 's,$(srctree)/virt/kvm,$(src)/../../../virt/kvm,' "$kvm/Makefile"
	sed -i -E 's,(define TRACE_INCLUDE_PATH).*,\1 .,' \
		"$kvm/trace.h" "$kvm/mmu/mmutrace.h"
}

# Unpacks headers and pristine source of $version below $base, in place by one
# rename, so that a kill leaves nothing that a later run would trust.
setup() {
	if ! mkdir -p "$cache/kvm-build" 2>/dev/null || ! [ -w "$cache/kvm-build" ]; then
		die 12 "can't write to $cache/kvm-build: set MMUSCOPE_CACHE to a folder that can be"
	fi
	exec 9>"$cache/kvm-build/lock"
	flock -n 9 || { say "waiting for another build"; flock 9; }
	rm -rf "$cache"/kvm-build/*.tmp.*
	if [ ! -e "$base/complete" ]; then
		rm -rf "$base"
		unpack
	fi
	compiler=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' \
		"$base/headers/usr/src/linux-headers-$version/.kernelvariables")
	need_packages ${compiler:+"$compiler"}
}

unpack() {
	local series=${version%%-*} tmp=$base.tmp.$$ pkgver source deb
	series=${series%.*}
	need_packages
	command -v apt-get >/dev/null ||
		die 12 "no apt-get here: kernel source packages are taken from Debian's archive"
	pkgver=$(apt-cache show "linux-headers-$version" 2>/dev/null |
		sed -n 's/^Version: //p' | head -n 1)
	[ -n "$pkgver" ] || die 12 "apt knows no linux-headers-$version: the lab's kernel" \
		"and the archive differ; try 'apt-get update' or --kernel-version"
	say "unpacking headers and source of Linux $version ($pkgver) into $base"
	mkdir -p "$tmp/debs" "$tmp/headers" "$tmp/pristine"
	fetch "$tmp/debs" "linux-headers-$version=$pkgver" \
		"linux-headers-${version%-*}-common=$pkgver" "linux-kbuild-$series=$pkgver"
	for deb in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp/headers"
	done
	sed -i "s,/usr/src/,$base/headers/usr/src/," \
		"$tmp/headers/usr/src/linux-headers-$version/Makefile"
	source=/usr/src/linux-source-$series.tar.xz
	if [ "$(dpkg-query -W -f '${Version}' "linux-source-$series" 2>/dev/null)" != "$pkgver" ]
	then
		fetch "$tmp/debs" "linux-source-$series=$pkgver"
		dpkg-deb --fsys-tarfile "$tmp"/debs/linux-source-*.deb |
			tar -xO ".$source" >"$tmp/source.tar.xz"
		source=$tmp/source.tar.xz
	fi
	tar -xJf "$source" -C "$tmp/pristine" --strip-components=1 \
		"linux-source-$series/arch/x86/kvm" "linux-source-$series/virt/kvm"
	make_external "$tmp/pristine"
	rm -rf "$tmp/debs" "$tmp/source.tar.xz"
	touch "$tmp/complete"
	mv "$tmp" "$base"
}

# Editing and building -----------------------------------------------------

# A build that was killed may have left objects newer than their sources.
reset_tree() {
	if [ -e "$base/building" ]; then
		rm -rf "$tree" "$base/building"
	fi
	mkdir -p "$tree"
	(cd "$base/pristine" && find . -type f -print0) |
		while IFS= read -r -d '' file; do
			cmp -s "$base/pristine/$file" "$tree/$file" ||
				install -D -m 644 "$base/pristine/$file" "$tree/$file"
		done
}

# range FILE FUNCTION: first and last line of a function's definition.
range() {
	awk -v fn="$2(" '
		!start && /^[A-Za-z_]/ && (at = index($0, fn)) &&
			(at == 1 || substr($0, at - 1, 1) !~ /[A-Za-z0-9_]/) { start = NR }
		start && !body && /;$/ { start = 0 }
		start && /^\{/ { body = 1 }
		body && /^\}/ { print start "," NR; exit }
	' "$1"
}

# apply NAME: one line of one function, or it is refused.
apply() {
	local file function edit lines changed
	file=$(field "$1" file)
	function=$(field "$1" function)
	edit=$(field "$1" edit)
	if [ -z "$file" ] || [ -z "$function" ] || [ -z "$edit" ]; then
		say "$1: the table lacks its file, function or edit"
		return 1
	fi
	[ -f "$tree/$file" ] || { say "$1: the kernel has no $file"; return 1; }
	lines=$(range "$tree/$file" "$function")
	[ -n "$lines" ] || { say "$1: no function $function in $file"; return 1; }
	sed -i -E -e "$lines{" -e "$edit" -e '}' "$tree/$file" || return 1
	changed=$(diff "$base/pristine/$file" "$tree/$file" | grep -c '^[<>]' || true)
	[ "$changed" -eq 2 ] && return
	say "$1: the edit changed $((changed / 2)) lines of $function in $file, not one"
	return 1
}

build() {
	local name=$1 out=$output/$1 log=$base/build.log ko
	reset_tree
	[ "$name" = none ] || apply "$name" || return 1
	touch "$base/building"
	if ! nice make -j"$jobs" -C "$base/headers/usr/src/linux-headers-$version" \
		M="$tree/arch/x86/kvm" modules CONFIG_KVM_INTEL= CONFIG_KVM_WERROR= \
		>"$log" 2>&1 </dev/null 9>&-; then
		rm -f "$base/building"
		tail -n 20 "$log" >&2
		say "$name: did not build, see $log"
		return 1
	fi
	rm -f "$base/building"
	rm -rf "$out.tmp"
	mkdir -p "$out.tmp"
	for ko in kvm.ko kvm-amd.ko; do
		objcopy --strip-debug "$tree/arch/x86/kvm/$ko" "$out.tmp/$ko"
	done
	rm -rf "$out"
	mv "$out.tmp" "$out"
	printf '%s\n' "$out"
}

# --------------------------------------------------------------------------

output=
version=
show=
wanted=()
while [ $# -gt 0 ]; do
	case $1 in
	--list)
		for name in $(names); do
			printf '%-32s %s\n' "$name" "$(field "$name" what)"
		done
		exit 0 ;;
	--help|-h) usage; exit 0 ;;
	--output|--kernel-version|--show)
		[ $# -ge 2 ] || die 2 "$1 needs a value, see --help"
		case $1 in
		--output) output=$2 ;;
		--kernel-version) version=$2 ;;
		--show) show=$2; wanted+=("$2") ;;
		esac
		shift ;;
	-*) die 2 "unknown option $1, see --help" ;;
	all) wanted+=(none); mapfile -t -O "${#wanted[@]}" wanted < <(names) ;;
	*) wanted+=("$1") ;;
	esac
	shift
done
[ ${#wanted[@]} -gt 0 ] || { usage >&2; exit 2; }
for name in "${wanted[@]}"; do
	known "$name" || die 2 "no defect is called '$name'; --list names them all"
done

[ -n "$version" ] || version=$(default_version)
mkdir -p "$cache" || die 12 "can't create $cache: set MMUSCOPE_CACHE to a folder that can be"
cache=$(cd "$cache" && pwd)
base=$cache/kvm-build/$version
tree=$base/tree
output=${output:-$base/modules}
mkdir -p "$output" || die 12 "can't create $output"
output=$(cd "$output" && pwd)
setup

if [ -n "$show" ]; then
	reset_tree
	apply "$show" || exit 1
	diff -u "$base/pristine/$(field "$show" file)" "$tree/$(field "$show" file)" || true
	exit 0
fi

failed=0
for name in "${wanted[@]}"; do
	build "$name" || failed=$((failed + 1))
done
[ "$failed" -eq 0 ] || die 1 "$failed of ${#wanted[@]} not built"
