// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tells by CPUID which processor runs the guests, and so which of its defects
 * they see.
 */
#include <cpuid.h>
#include <string.h>

#include "engine.h"
#include "quirks.h"
#include "test.h"

bool host_is_tcg(void)
{
	u32 eax, reg[3];

	if (!strcmp(engine()->name, "qemu"))
		return true;
	/* The in-tree engine brings its own processor. */
	if (strcmp(engine()->name, "kvm"))
		return false;
	__cpuid(1, eax, reg[0], reg[1], reg[2]);
	if (!(reg[1] & BIT(31))) /* leaf 0x40000000 means something under a hypervisor only */
		return false;
	__cpuid(0x40000000, eax, reg[0], reg[1], reg[2]);
	return !memcmp(reg, "TCGTCGTCGTCG", sizeof(reg));
}

bool tcg_walks(void)
{
	return engine()->machine || ((mmu_kind() & MMU_TDP) && host_is_tcg());
}

bool quirk_rsvd_without_p(void)
{
	return tcg_walks();
}

bool quirk_pdpte_accessed(void)
{
	return tcg_walks();
}

bool quirk_busy_tss(void)
{
	return host_is_tcg();
}

bool quirk_pdpte_refused(void)
{
	return quirk_pdpte_accessed() && !engine()->machine;
}

bool quirk_invlpg_keeps_code(void)
{
	return tcg_walks();
}

bool quirk_rmw_reads_first(void)
{
	return host_is_tcg();
}

struct agent_result quirk_fix_rsvd(struct agent_result res)
{
	if (res.status == AGENT_FAULT && res.vector == PF_VECTOR && (res.error & PFERR_RSVD) &&
	    quirk_rsvd_without_p())
		res.error |= PFERR_P;
	return res;
}
