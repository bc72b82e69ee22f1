/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An iterator over the entries of the TDP MMU's tables: each entry of a range of guest
 * frames, a table's entry before those of the table that it points to. Entries may
 * change meanwhile; the iterator holds the value that it saw. Within a section of
 * hw_rcu_read_lock(), as are all pointers into tables that it gives.
 */
#ifndef X86_MMU_TDP_ITER_H
#define X86_MMU_TDP_ITER_H

#include "x86/mmu/internal.h"

struct tdp_iter {
	/* Of the entry that the iterator is at. */
	u64 *sptep;
	u64 old_spte; /* its value when the iterator came, or looked last */
	gfn_t gfn;    /* first frame that it spans */
	int level;
	int as_id;
	bool valid;   /* false: the tables are at their end */
	bool yielded; /* the lock was dropped: the next step begins anew from the root */

	int root_level, min_level;
	gfn_t next_gfn;			    /* where a walk from the root has to go to get on */
	gfn_t yielded_gfn;		    /* next_gfn when the last walk from the root began */
	u64 *pt_path[PAGING_MAX_LEVEL + 1]; /* by level: the table that the iterator is in */
};

static inline u64 tdp_read_spte(const u64 *sptep)
{
	return __atomic_load_n(sptep, __ATOMIC_ACQUIRE);
}

/* The table that an entry of @level points to, NULL if it points to none. */
static inline u64 *tdp_child_pt(u64 spte, int level)
{
	if (!is_shadow_present_pte(spte) || is_last_spte(spte, level))
		return NULL;
	return hw_va(spte_to_hpa(spte));
}

/* A root's role; it may become invalid while somebody without mmu_lock looks. */
static inline union kvm_mmu_page_role tdp_role(const struct kvm_mmu_page *sp)
{
	union kvm_mmu_page_role role = {
		.word = __atomic_load_n(&sp->role.word, __ATOMIC_RELAXED),
	};

	return role;
}

/* Frames that a tree with @root spans: those from here on have no entry in it. */
static inline gfn_t tdp_root_end(const struct kvm_mmu_page *root)
{
	return 1ull << (9 * tdp_role(root).level);
}

/* To the root's entry for @gfn; goes no deeper than @min_level later on. */
void tdp_iter_start(struct tdp_iter *iter, const struct kvm_mmu_page *root, int min_level,
		    gfn_t gfn);
void tdp_iter_next(struct tdp_iter *iter);
/* After the lock or the RCU section was left: down from the root again to where it was. */
void tdp_iter_restart(struct tdp_iter *iter);

/* Frames [@start, @end), which have to be within the tree. */
#define tdp_for_each_pte_min_level(iter, root, min_level, start, end) \
	for (tdp_iter_start(&(iter), (root), (min_level), (start));   \
	     (iter).valid && (iter).gfn < (end); tdp_iter_next(&(iter)))
#define tdp_for_each_pte(iter, root, start, end) \
	tdp_for_each_pte_min_level(iter, root, PG_LEVEL_4K, start, end)

#endif
