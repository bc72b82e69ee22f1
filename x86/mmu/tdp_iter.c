// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps of the iterator over the TDP MMU's tables: down if the entry points to a
 * table, else aside, else up and aside.
 */
#include "x86/mmu/tdp_iter.h"

static gfn_t round_gfn(gfn_t gfn, int level)
{
	return gfn & ~(KVM_PAGES_PER(level) - 1);
}

/* Looks at the entry for next_gfn in the table of iter->level. */
static void enter_table(struct tdp_iter *iter)
{
	iter->gfn = round_gfn(iter->next_gfn, iter->level);
	iter->sptep =
		iter->pt_path[iter->level] + SPTE_INDEX(iter->next_gfn << PAGE_SHIFT, iter->level);
	iter->old_spte = tdp_read_spte(iter->sptep);
}

void tdp_iter_restart(struct tdp_iter *iter)
{
	iter->yielded = false;
	iter->yielded_gfn = iter->next_gfn;
	iter->level = iter->root_level;
	enter_table(iter);
	iter->valid = true;
}

void tdp_iter_start(struct tdp_iter *iter, const struct kvm_mmu_page *root, int min_level,
		    gfn_t gfn)
{
	union kvm_mmu_page_role role = tdp_role(root);

	iter->next_gfn = gfn;
	iter->root_level = role.level;
	iter->min_level = min_level;
	iter->as_id = role.smm;
	iter->pt_path[iter->root_level] = root->spt;
	tdp_iter_restart(iter);
	/* A frame beyond the tree would come out at some other frame's entry. */
	iter->valid = gfn < tdp_root_end(root);
}

static bool step_down(struct tdp_iter *iter)
{
	u64 *child;

	if (iter->level == iter->min_level)
		return false;
	/* Whoever looks at the entry now may have changed it, or another vCPU has. */
	iter->old_spte = tdp_read_spte(iter->sptep);
	child = tdp_child_pt(iter->old_spte, iter->level);
	if (!child)
		return false;
	iter->level--;
	iter->pt_path[iter->level] = child;
	enter_table(iter);
	return true;
}

static bool step_aside(struct tdp_iter *iter)
{
	if (SPTE_INDEX(iter->gfn << PAGE_SHIFT, iter->level) == SPTE_ENT_PER_PAGE - 1)
		return false;
	iter->gfn += KVM_PAGES_PER(iter->level);
	iter->next_gfn = iter->gfn;
	iter->sptep++;
	iter->old_spte = tdp_read_spte(iter->sptep);
	return true;
}

static bool step_up(struct tdp_iter *iter)
{
	if (iter->level == iter->root_level)
		return false;
	iter->level++;
	iter->gfn = round_gfn(iter->gfn, iter->level);
	iter->sptep = iter->pt_path[iter->level] + SPTE_INDEX(iter->gfn << PAGE_SHIFT, iter->level);
	iter->old_spte = tdp_read_spte(iter->sptep);
	return true;
}

void tdp_iter_next(struct tdp_iter *iter)
{
	if (iter->yielded) {
		tdp_iter_restart(iter);
		if (!MUTANT(yield_then_advance))
			return;
		while (step_down(iter))
			;
	}
	if (step_down(iter))
		return;
	do {
		if (step_aside(iter))
			return;
	} while (step_up(iter));
	iter->valid = false;
}
