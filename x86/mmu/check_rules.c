// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of check_rules.h.
 */
#include "x86/mmu/check_rules.h"

#include "x86/mmu/spte.h"

struct rule {
	bool broken;
	const char *what;
};

/* The first that is broken. */
static const char *first_of(const struct rule *rules, size_t nr)
{
	const char *what = NULL;
	size_t i;

	for (i = nr; i-- > 0;)
		what = rules[i].broken ? rules[i].what : what;
	return what;
}

const char *rule_leaf(const struct leaf_facts *f)
{
	u64 frames = KVM_PAGES_PER(f->level);
	bool huge = f->level > PG_LEVEL_4K, host = f->host_known;
	bool unlogged = f->logged && !f->in_log;
	const struct rule rules[] = {
		{f->writable && !f->mmu_writable, "W without MMU_WRITABLE"},
		{f->mmu_writable && !f->host_writable, "MMU_WRITABLE without HOST_WRITABLE"},
		{f->writable && f->accessed_tracked, "W in an entry that tracks access"},
		{(f->ad_mode == 1) != f->role_ad_disabled, "A/D mode is not the role's"},
		{!f->role_ad_disabled && (f->ad_mode == 2) != f->role_nested,
		 "write protection besides D is for nested guests"},
		{f->gfn & (frames - 1) || f->hpa & (frames * SZ_4K - 1),
		 "a page that is not aligned to its size"},
		{!f->has_slot, "maps a frame that is in no slot"},
		{!f->slot_has_all, "a huge page reaches out of its slot"},
		{f->writable && f->slot_readonly, "W in a read-only slot"},
		{huge && f->mmu_writable && f->lpage_disallowed,
		 "a writable huge page where lpage_info forbids one"},
		{huge && f->executable && f->nx_workaround,
		 "an executable huge page under the iTLB multihit workaround"},
		{f->mmu_writable && f->shadowed,
		 "MMU_WRITABLE for a frame whose table is shadowed"},
		{f->writable && f->log_by_d && f->dirty && unlogged,
		 "D though a frame isn't in the dirty log"},
		{f->writable && !f->log_by_d && unlogged,
		 "W though a frame isn't in the dirty log"},
		{huge && f->splits_logged && f->host_writable && !f->mmu_writable,
		 "a huge page that was protected for the log and not split"},
		{f->fits_huge, "a small page where nothing is against a huge one"},
		{host && !f->host_present, "the host has no page there"},
		{host && f->host_hpa != f->hpa, "another frame than the host has there"},
		{host && f->level > f->host_level, "larger than the host's page"},
		{host && f->writable && !f->host_lets_write,
		 "W though the host's page is read-only"},
	};

	return first_of(rules, ARRAY_LEN(rules));
}

const char *rule_entry(const struct entry_facts *f)
{
	u64 spte = f->spte;
	bool known_type = EPT_MT_VALID & BIT((spte & EPT_MT_MASK) >> EPT_MT_SHIFT);
	const struct rule rules[] = {
		{spte & f->rsvd_addr, "address bits beyond the host's"},
		{!f->high_bits_free && spte & ((BIT(63) - 1) & ~(BIT(52) - 1)),
		 "bits 62:52 are reserved where PAE's tables may be"},
		{f->leaf && f->level > PG_LEVEL_1G, "a leaf above level 3"},
		{f->level == PG_LEVEL_4K && spte & PTE_PS, "bit 7 at level 1"},
		{f->ept && (spte & (EPT_R | EPT_W)) == EPT_W, "W without R: a misconfiguration"},
		{f->ept && f->leaf && !known_type, "a memory type that does not exist"},
		{f->ept && !f->leaf && spte & (EPT_MT_MASK | EPT_IPAT | EPT_PS),
		 "reserved bits in an entry that points on"},
	};

	return first_of(rules, ARRAY_LEN(rules));
}

const char *rule_guest(const struct guest_facts *f)
{
	bool unused = !f->present || (f->keeps_ad && !f->accessed);
	unsigned int allowed = f->access & f->sp_access;
	unsigned int got = f->spte_leaf ? f->spte_access : 0;

	/* Without CR0.WP the kernel may write what is read-only; then it is not the user's. */
	if (!f->cr0_wp && got & ACC_WRITE && !(got & ACC_USER))
		got &= ~ACC_WRITE;

	const struct rule rules[] = {
		{!f->present, "the guest's entry is not present"},
		{unused, "the guest's entry has A clear"},
		{f->maps_page != (f->spte_leaf || f->spte_child_direct),
		 "the guest's entry is of the other kind: page or table"},
		{f->gfn != f->spte_gfn, "the guest's entry has another frame"},
		{got & ~allowed, "more rights than the guest's entries give"},
		{f->keeps_ad && got & ACC_WRITE && !f->dirty,
		 "W though the guest's entry has D clear"},
	};

	return f->outside_writes && unused ? NULL : first_of(rules, ARRAY_LEN(rules));
}
