// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor's look at the TDP MMU's trees: from the roots down, each table once, and nothing
 * besides.
 */
#include "x86/mmu/check.h"

void check_tdp_collect(struct check *c)
{
	struct kvm_mmu_arch *arch = &c->kvm->arch;
	struct kvm_mmu_page *sp;
	u64 n = 0;

	if (!is_tdp_mmu_enabled(c->kvm))
		return;
	list_for_each(sp, &arch->tdp_mmu_roots, link)
	{
		check_set_add(c, &c->pages, sp);
		check_page_not(c, sp->ptep, sp, "a root with a parent");
		check_page_not(c, sp->root_count <= 0, sp, "a root that nobody holds");
	}
	list_for_each(sp, &arch->tdp_mmu_pages, link)
	{
		n++;
		check_page_not(c, !check_set_add(c, &c->pages, sp), sp, "in two places");
		check_page_not(c, !sp->ptep, sp, "not linked");
	}
	check_values(c, "tdp_mmu_page_count", arch->tdp_mmu_page_count, n);
}

static bool check_child(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte)
{
	struct kvm_mmu_page *child = spte_to_child_sp(spte);
	union kvm_mmu_page_role role = sp->role;

	if (!check_set_has(&c->pages, child) || !child->tdp_mmu_page) {
		check_report_entry(c, sp, index, spte, "points to what is no table of the TDP MMU");
		return false;
	}
	role.level--;
	role.invalid = child->role.invalid;
	check_entry_not(c, child->role.word != role.word, sp, index, spte,
			"the child's role does not belong here");
	check_entry_not(c, child->gfn != sp->gfn + index * KVM_PAGES_PER(sp->role.level), sp, index,
			spte, "the child maps other frames");
	if (child->ptep != &sp->spt[index]) {
		check_report_entry(c, sp, index, spte, "the child has another parent");
		return false;
	}
	return true;
}

/* The tables of the tree below and with @sp; @live: of a root that is valid. */
static u64 check_tree(struct check *c, struct kvm_mmu_page *sp, bool live)
{
	u64 spte, n = 1, i;

	check_page_not(c, *hw_table_owner(sp->spt) != sp, sp, "its table belongs to another page");
	check_page_not(c, !sp->role.direct || !sp->tdp_mmu_page, sp, "in a tree of the TDP MMU");
	c->work += CHECK_WORK_TABLE;
	if (sp->nx_huge_page_disallowed)
		c->nx_disallowed++;
	check_page_not(c, sp->nx_huge_page_possible && list_empty(&sp->possible_nx_huge_page_link),
		       sp,
		       "a fetch split a huge page for it, and it is not on possible_nx_huge_pages");
	for_each_used(i, sp->spt, SPTE_ENT_PER_PAGE)
	{
		spte = mmu_spte_get(&sp->spt[i]);
		check_entry(c, sp, i, spte, live);
		if (!is_shadow_present_pte(spte) || is_last_spte(spte, sp->role.level))
			continue;
		if (check_child(c, sp, i, spte))
			n += check_tree(c, spte_to_child_sp(spte), live);
	}
	return n;
}

void check_tdp(struct check *c)
{
	struct kvm_mmu_page *root, *other;
	u64 tables = 0;

	if (!is_tdp_mmu_enabled(c->kvm))
		return;
	list_for_each(root, &c->kvm->arch.tdp_mmu_roots, link)
	{
		tables += check_tree(c, root, !root->role.invalid) - 1;
		if (root->role.invalid)
			continue;
		list_for_each(other, &c->kvm->arch.tdp_mmu_roots, link)
		{
			check_page_not(c, other != root && other->role.word == root->role.word,
				       root, "there are two of it");
		}
	}
	check_values(c, "tables that TDP roots lead to", tables, c->kvm->arch.tdp_mmu_page_count);
}
