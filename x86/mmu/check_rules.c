// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of check_rules.h.
 */
#include "x86/mmu/check_rules.h"

#include "x86/mmu/spte.h"

const char *rule_leaf(const struct leaf_facts *f)
{
	u64 frames = KVM_PAGES_PER(f->level);

	if (f->writable && !f->mmu_writable)
		return "W without MMU_WRITABLE";
	if (f->mmu_writable && !f->host_writable)
		return "MMU_WRITABLE without HOST_WRITABLE";
	if (f->writable && f->accessed_tracked)
		return "W in an entry that tracks access";
	if ((f->ad_mode == 1) != f->role_ad_disabled)
		return "A/D mode is not the role's";
	if (!f->role_ad_disabled && (f->ad_mode == 2) != f->role_nested)
		return "write protection besides D is for nested guests";
	if (f->gfn & (frames - 1) || f->hpa & (frames * SZ_4K - 1))
		return "a page that is not aligned to its size";
	if (!f->has_slot)
		return "maps a frame that is in no slot";
	if (!f->slot_has_all)
		return "a huge page reaches out of its slot";
	if (f->writable && f->slot_readonly)
		return "W in a read-only slot";
	if (f->level > PG_LEVEL_4K && f->mmu_writable && f->lpage_disallowed)
		return "a writable huge page where lpage_info forbids one";
	if (f->mmu_writable && f->shadowed)
		return "MMU_WRITABLE for a frame whose table is shadowed";
	if (f->writable && f->log_by_d && f->dirty && f->logged && !f->in_log)
		return "D though a frame isn't in the dirty log";
	if (f->writable && !f->log_by_d && f->logged && !f->in_log)
		return "W though a frame isn't in the dirty log";
	if (!f->host_known)
		return NULL;
	if (!f->host_present)
		return "the host has no page there";
	if (f->host_hpa != f->hpa)
		return "another frame than the host has there";
	if (f->level > f->host_level)
		return "larger than the host's page";
	if (f->writable && !f->host_lets_write)
		return "W though the host's page is read-only";
	return NULL;
}

const char *rule_entry(const struct entry_facts *f)
{
	u64 spte = f->spte;

	if (spte & f->rsvd_addr)
		return "address bits beyond the host's";
	if (!f->high_bits_free && spte & ((BIT(63) - 1) & ~(BIT(52) - 1)))
		return "bits 62:52 are reserved where PAE's tables may be";
	if (f->leaf && f->level > PG_LEVEL_1G)
		return "a leaf above level 3";
	if (f->level == PG_LEVEL_4K && spte & PTE_PS)
		return "bit 7 at level 1";
	if (!f->ept)
		return NULL;
	if ((spte & (EPT_R | EPT_W)) == EPT_W)
		return "W without R: a misconfiguration";
	if (f->leaf && !(EPT_MT_VALID & BIT((spte & EPT_MT_MASK) >> EPT_MT_SHIFT)))
		return "a memory type that does not exist";
	if (!f->leaf && spte & (EPT_MT_MASK | EPT_IPAT | EPT_PS))
		return "reserved bits in an entry that points on";
	return NULL;
}

const char *rule_guest(const struct guest_facts *f)
{
	unsigned int allowed = f->access & f->sp_access, got = f->spte_access;

	if (f->outside_writes && (!f->present || (f->keeps_ad && !f->accessed)))
		return NULL;
	if (!f->present)
		return "the guest's entry is not present";
	if (f->keeps_ad && !f->accessed)
		return "the guest's entry has A clear";
	if (f->maps_page != (f->spte_leaf || f->spte_child_direct))
		return "the guest's entry is of the other kind: page or table";
	if (f->gfn != f->spte_gfn)
		return "the guest's entry has another frame";
	if (!f->spte_leaf)
		return NULL;
	/* Without CR0.WP the kernel may write what is read-only; then it is not the user's. */
	if (!f->cr0_wp && got & ACC_WRITE && !(got & ACC_USER))
		got &= ~ACC_WRITE;
	if (got & ~allowed)
		return "more rights than the guest's entries give";
	if (f->keeps_ad && got & ACC_WRITE && !f->dirty)
		return "W though the guest's entry has D clear";
	return NULL;
}
