#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks that each folder includes only what its floor may (docs/DESIGN.md): a
# shortcut through a floor is a dependency that nobody decided on.
set -eu
cd "$(dirname "$0")/.."
status=0

# floor FOLDER PATTERN: quoted includes in FOLDER must match PATTERN
floor() {
	bad=$(grep -rnE '^#[[:space:]]*include[[:space:]]+"' "$1" --include='*.[chS]' |
		grep -vE "include[[:space:]]+\"($2)\"" || true)
	if [ -n "$bad" ]; then
		printf '%s may include %s only:\n%s\n' "$1" "$2" "$bad"
		status=1
	fi
}

floor x86/arch 'x86/arch/[a-z_]+\.h'
floor x86/cpu 'x86/(arch|cpu)/[a-z0-9_]+\.h'
floor x86/mmu 'x86/(arch|mmu)/[a-z0-9_]+\.h'
floor x86/kvm 'x86/(arch|cpu|mmu|kvm)/[a-z0-9_]+\.h'
floor guest_code '(x86/arch|guest_code)/[a-z0-9_]+\.h'
floor lib '(x86/arch/[a-z_]+\.h|x86/(kvm/kvm|mmu/(params|trace))\.h|guest_code/(agent_abi|programs)\.h|(lib/)?[a-z_]+\.h)'
floor tools '(tools/[a-z]+/[a-z_]+\.h|guest_code/programs\.h|lib/[a-z_]+\.h|x86/arch/[a-z_]+\.h)'
floor tests '((tests/unit/[a-z_]+|mmuscope|lib/[a-z_]+|[a-z_]+)\.h|guest_code/(agent_abi|programs)\.h|x86/arch/[a-z_]+\.h|x86/(cpu|mmu|kvm)/[a-z0-9_]+\.h)'
floor fuzz 'lib/[a-z_]+\.h'
floor bench '((bench|mmuscope|lib/[a-z_]+)\.h|guest_code/(agent_abi|programs)\.h|x86/(arch|cpu|mmu|kvm)/[a-z0-9_]+\.h)'
exit $status
