#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Set-up: installs what a group of mmuscope's parts needs and is not there yet.
#
#   tools/setup.sh GROUP...
#     build    compiler, make, libelf, zlib, Zydis, the macros of static probes
#     lab      QEMU and the tools that make its initramfs
#     lint     shellcheck, clang, clang-format
#     kernel   the distribution's kernel, unpacked into the cache (not installed)
#
# Nothing is touched, and the network is not used, when everything is there. The
# kernel lies in $MMUSCOPE_CACHE/kernel/VERSION (default ~/.cache/mmuscope) and
# appears there by one rename when it is whole; `setup.sh kernel --refresh` looks
# for a newer one. Exit status: 0 all there, 2 usage, 12 something is missing and
# can't be installed (what, and how to get it, is printed).
set -u

cache=${MMUSCOPE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mmuscope}
apt_options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=1 -o Acquire::http::Timeout=30)
export DEBIAN_FRONTEND=noninteractive
exec 3>&2

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 12
}

# group | what to look for | Debian's and Ubuntu's package | Fedora's package
packages='
build|cmd gcc|gcc|gcc
build|cmd make|make|make
build|hdr linux/kvm.h|libc6-dev|glibc-devel
build|lib libc.a|libc6-dev|glibc-static
build|hdr libelf.h|libelf-dev|elfutils-libelf-devel
build|hdr zlib.h|zlib1g-dev|zlib-devel
build|hdr Zydis/Zydis.h|libzydis-dev|zydis-devel
build|hdr sys/sdt.h|systemtap-sdt-dev|systemtap-sdt-devel
lab|cmd qemu-system-x86_64|qemu-system-x86|qemu-system-x86-core
lab|cmd cpio|cpio|cpio
lab|cmd xz|xz-utils|xz
lab|cmd zstd|zstd|zstd
lint|cmd shellcheck|shellcheck|ShellCheck
lint|cmd clang|clang|clang
lint|cmd clang-format|clang-format|clang-tools-extra
'

# Is it there? Asked of the thing itself, not of a package database: a QEMU of
# one's own counts, and the same question works on every distribution.
present() {
	case $1 in
	cmd) command -v "$2" >/dev/null 2>&1 ;;
	hdr) printf '#include <%s>\n' "$2" | gcc -E - >/dev/null 2>&1 ;;
	lib) case $(gcc -print-file-name="$2" 2>/dev/null) in /*) true ;; *) false ;; esac ;;
	esac
}

# missing GROUP: sets debian and fedora to the packages that are not there
missing() {
	local group kind what deb rpm
	debian='' fedora=''
	while IFS='|' read -r group what deb rpm; do
		[ "$group" = "$1" ] || continue
		kind=${what%% *}
		present "$kind" "${what#* }" && continue
		case " $debian " in *" $deb "*) ;; *) debian="$debian $deb" ;; esac
		fedora="$fedora $rpm"
	done <<<"$packages"
	debian=${debian# } fedora=${fedora# }
}

# Sets root to what goes before a command that only root may run. Asks for sudo's
# password where somebody is there to answer.
can_be_root() {
	root=()
	[ "$(id -u)" != 0 ] || return 0
	root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
	command -v sudo >/dev/null 2>&1 || return 1
	sudo -n true >/dev/null 2>&1 || { [ -t 0 ] && sudo -v; }
}

how_to() {
	say "missing for $1: $debian"
	say "  Debian, Ubuntu: sudo apt-get install $debian"
	say "  Fedora:         sudo dnf install $fedora"
}

install_group() {
	local group=$1
	missing "$group"
	[ -n "$debian" ] || return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		how_to "$group"
		die "there is no apt-get here: install them and run this again"
	fi
	if ! can_be_root; then
		how_to "$group"
		die "neither root nor sudo here: install them and run this again"
	fi
	say "installing for $group: $debian"
	# an installation that was killed half-way is finished first
	[ -z "$(dpkg --audit 2>/dev/null)" ] || quietly "${root[@]}" dpkg --configure -a
	# a machine that is new, or old, has no lists of packages or stale ones: ask before doing
	# shellcheck disable=SC2086 # a list of names
	apt-get install --simulate --no-install-recommends $debian >/dev/null 2>&1 || update_lists
	# shellcheck disable=SC2086
	quietly "${root[@]}" apt-get "${apt_options[@]}" install -y -q --no-install-recommends $debian ||
		{
			# the lists may name versions that are gone
			update_lists
			# shellcheck disable=SC2086
			quietly "${root[@]}" apt-get "${apt_options[@]}" install -y -q \
				--no-install-recommends $debian
		}
	missing "$group"
	if [ -n "$debian" ]; then
		how_to "$group"
		die "apt-get could not install them (no network?): install them and run this again"
	fi
}

# once in a run: twice would not find more
update_lists() {
	[ -z "${lists_updated-}" ] || return 0
	lists_updated=yes
	can_be_root || return 0
	say "updating the lists of packages"
	quietly "${root[@]}" apt-get "${apt_options[@]}" update -q
}

# output only if it fails, and never on stdout, which belongs to the test run
quietly() {
	local output status
	output=$("$@" 2>&1 </dev/null)
	status=$?
	[ $status = 0 ] || printf '%s\n' "$output" | tail -n 15 >&2
	return $status
}

# The newest whole kernel in the cache, or nothing. `complete` was written before
# the rename that made the folder appear; a folder without it is none of ours.
cached_kernel() {
	local dir
	for dir in "$cache"/kernel/*/; do
		[ -e "$dir/complete" ] && basename "$dir"
	done | sort -V | tail -n 1
}

# what the distribution's kernel is made of: names of packages, on one line
kernel_packages() {
	local meta image version
	for meta in linux-image-amd64 linux-image-virtual linux-image-generic; do
		image=$(apt-cache depends "$meta" 2>/dev/null |
			awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
		[ -n "$image" ] || continue
		version=${image#linux-image-}
		# Ubuntu has the modules in a package of their own
		apt-cache show "linux-modules-$version" 2>/dev/null |
			awk -v image="$image" '/^Package:/ && !modules { modules = " " $2 }
				END { print image modules }'
		return 0
	done
	return 1
}

download_kernel() {
	local names
	names=$(kernel_packages) || return 1
	# on the terminal itself: who calls this may hold back the rest
	say "fetching $names (about 70 MB) into $cache" 2>&3
	# shellcheck disable=SC2086
	(cd "$1" && quietly apt-get "${apt_options[@]}" -o APT::Sandbox::User=root \
		download -q $names)
}

no_kernel() {
	say "missing for the lab: the distribution's kernel"
	say "  Debian: linux-image-amd64; Ubuntu: linux-image-virtual (fetched by apt-get download)"
	say "  elsewhere: run_tests.sh --kernel /boot/vmlinuz-VERSION, its modules in /lib/modules"
	say "  Fedora:    sudo dnf install kernel-core kernel-modules-core"
	die "$@"
}

fetch_kernel() {
	local tmp version module
	if [ "${1-}" != --refresh ] && [ -n "$(cached_kernel)" ]; then
		return 0
	fi
	mkdir -p "$cache/kernel" 2>/dev/null
	[ -w "$cache/kernel" ] ||
		die "the cache $cache can't be written: set MMUSCOPE_CACHE to a folder that can"
	# One fetch at a time: who comes second finds the first one's kernel. The lock
	# goes with its holder however that ends, so every .tmp folder found under it
	# was left by a run that died.
	exec 9>"$cache/kernel/.lock" || die "the cache $cache can't be written"
	flock 9
	rm -rf "$cache"/kernel/.tmp.*
	if [ "${1-}" != --refresh ] && [ -n "$(cached_kernel)" ]; then
		exec 9>&-
		return 0
	fi
	command -v apt-get >/dev/null 2>&1 || no_kernel "there is no apt-get here to fetch it"
	tmp=$(mktemp -d "$cache/kernel/.tmp.XXXXXX") || die "no room in the cache $cache"
	download_kernel "$tmp" >/dev/null 2>&1 || {
		update_lists
		download_kernel "$tmp" || {
			rm -rf "$tmp"
			no_kernel "apt-get could not fetch it (no network?)"
		}
	}
	for module in "$tmp"/*.deb; do
		dpkg -x "$module" "$tmp/all" || die "dpkg -x $module failed (disk full?)"
	done
	version=$(basename "$(echo "$tmp"/all/boot/vmlinuz-*)")
	version=${version#vmlinuz-}
	keep_kernel "$tmp" "$version" || {
		rm -rf "$tmp"
		die "the kernel could not be put into the cache $cache (disk full?)"
	}
	rm -rf "$tmp"
	exec 9>&-
	say "kernel $version is in the cache"
}

# keep_kernel TMP VERSION: the few files of the package that the lab may need, on
# disk before the rename that makes them visible
keep_kernel() {
	local tmp=$1 version=$2 from=$1/all to=$1/keep dir
	[ -d "$from/lib" ] || from=$1/all/usr
	mkdir -p "$to/boot" "$to/lib/modules/$version/kernel" &&
		cp "$tmp/all/boot/vmlinuz-$version" "$to/boot/" || return 1
	for dir in arch crypto lib mm virt drivers/block/zram drivers/crypto/ccp; do
		[ -d "$from/lib/modules/$version/kernel/$dir" ] || continue
		mkdir -p "$(dirname "$to/lib/modules/$version/kernel/$dir")" &&
			cp -r "$from/lib/modules/$version/kernel/$dir" \
				"$to/lib/modules/$version/kernel/$dir" || return 1
	done
	(cd "$tmp" && for deb in *.deb; do echo "$deb"; done) >"$to/complete" && sync "$to" &&
		sync -f "$to" || return 1
	# an older unpacking of the same version steps aside: it can't be renamed over
	[ ! -e "$cache/kernel/$version" ] || mv -T "$cache/kernel/$version" "$tmp/old" || return 1
	mv -T "$to" "$cache/kernel/$version"
}

[ $# -gt 0 ] || {
	say "usage: tools/setup.sh build|lab|lint|kernel [--refresh]..."
	exit 2
}
while [ $# -gt 0 ]; do
	case $1 in
	build | lab | lint) install_group "$1" ;;
	kernel)
		if [ "${2-}" = --refresh ]; then
			fetch_kernel --refresh
			shift
		else
			fetch_kernel
		fi
		;;
	*)
		say "unknown group '$1' (build, lab, lint or kernel)"
		exit 2
		;;
	esac
	shift
done
exit 0
