// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to a whole slot, or to some of its frames, done by rmaps: dirty logging by
 * write protection or by D, unmapping, ageing, splitting huge pages ahead of logging and letting
 * them come back after it. All with mmu_lock held for write; the operations on whole slots let go
 * of it when somebody waits, having flushed what they owe by then.
 */
#include "x86/mmu/rmap.h"

#define ENOSPC_ 28

#define KVM_MAX_HUGEPAGE_LEVEL PG_LEVEL_1G

/* --- the arrays -------------------------------------------------------------------------- */

static u64 slot_entries(const struct kvm_memory_slot *slot, int level)
{
	return slot_index(slot, slot->base_gfn + slot->npages - 1, level) + 1;
}

/* Sets *@where to new memory unless it is set; whoever comes second gives his own back. */
static int alloc_once(void **where, size_t size)
{
	void *expected = NULL, *p;

	if (__atomic_load_n(where, __ATOMIC_ACQUIRE))
		return 0;
	p = hw_alloc(size);
	if (!p)
		return -ENOMEM_;
	if (!__atomic_compare_exchange_n(where, &expected, p, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		hw_free(p);
	return 0;
}

int kvm_mmu_alloc_rmaps(struct kvm_memory_slot *slot)
{
	int level, r;

	for (level = PG_LEVEL_4K; level <= KVM_MAX_HUGEPAGE_LEVEL; level++) {
		r = alloc_once((void **)&slot->arch.rmap[level - 1],
			       slot_entries(slot, level) * sizeof(struct kvm_rmap_head));
		if (r)
			return r;
	}
	return 0;
}

int kvm_mmu_alloc_write_track(struct kvm_memory_slot *slot)
{
	return alloc_once((void **)&slot->arch.gfn_write_track,
			  slot->npages * sizeof(*slot->arch.gfn_write_track));
}

/* --- walking a slot ---------------------------------------------------------------------- */

/* Does something to all on @head, which is @slot's of @level. True: a flush is owed. */
typedef bool (*rmap_fn)(struct kvm *kvm, const struct kvm_memory_slot *slot,
			struct kvm_rmap_head *head, int level);

/* Lets others have mmu_lock if they wait for it; nothing is owed when they get it. */
static void rmap_resched(struct kvm *kvm, bool *flush)
{
	if (!hw_lock_contended(kvm))
		return;
	if (*flush)
		hw_flush_remote(kvm);
	*flush = false;
	hw_write_unlock(kvm);
	hw_yield_point(kvm, "rmap_resched");
	hw_write_lock(kvm);
}

/* @fn for all lists of levels @from to @to that have frames in [@start, @end). */
static bool for_each_rmap_range(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start,
				gfn_t end, int from, int to, bool can_yield, rmap_fn fn)
{
	struct kvm_rmap_head *heads;
	bool flush = false;
	int level;
	u64 i, last;

	hw_assert_write_locked(kvm);
	if (start >= end)
		return false;
	for (level = from; level <= to; level++) {
		heads = __atomic_load_n(&slot->arch.rmap[level - 1], __ATOMIC_ACQUIRE);
		if (!heads)
			continue;
		last = slot_index(slot, end - 1 - MUTANT(rmap_walk_misses_last), level);
		for (i = slot_index(slot, start, level); i <= last; i++) {
			if (!heads[i].val)
				continue;
			flush |= fn(kvm, slot, &heads[i], level);
			if (can_yield)
				rmap_resched(kvm, &flush);
		}
	}
	return flush;
}

static bool for_each_rmap_slot(struct kvm *kvm, const struct kvm_memory_slot *slot, int from,
			       int to, rmap_fn fn)
{
	return for_each_rmap_range(kvm, slot, slot->base_gfn, slot->base_gfn + slot->npages, from,
				   to, true, fn);
}

/* --- dirty logging ----------------------------------------------------------------------- */

static bool rmap_write_protect(struct kvm *kvm, struct kvm_rmap_head *head, bool pt_protect)
{
	struct rmap_iterator iter;
	bool flush = false;
	u64 *sptep;

	/* Each of them, whatever came of the others. */
	for_each_rmap_spte(head, &iter, sptep)
	{
		flush &= !MUTANT(last_alias_decides_flush);
		flush |= spte_write_protect(kvm, sptep, pt_protect);
		if (MUTANT(protect_first_alias_only))
			break;
	}
	return flush;
}

static bool slot_rmap_write_protect(struct kvm *kvm, const struct kvm_memory_slot *slot,
				    struct kvm_rmap_head *head, int level)
{
	(void)slot;
	(void)level;
	return rmap_write_protect(kvm, head, false);
}

bool rmap_slot_write_protect(struct kvm *kvm, const struct kvm_memory_slot *slot, int from_level)
{
	return for_each_rmap_slot(kvm, slot, from_level, KVM_MAX_HUGEPAGE_LEVEL,
				  slot_rmap_write_protect);
}

bool rmap_write_protect_gfn(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			    int from_level)
{
	struct kvm_rmap_head *head;
	bool flush = false;
	int level;

	for (level = from_level; level <= KVM_MAX_HUGEPAGE_LEVEL; level++) {
		head = gfn_to_rmap(slot, gfn, level);
		if (head)
			flush |= rmap_write_protect(kvm, head, true);
	}
	return flush;
}

bool kvm_mmu_slot_gfn_write_protect(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn,
				    int min_level)
{
	bool flush = false;

	if (kvm_memslots_have_rmaps(kvm))
		flush |= rmap_write_protect_gfn(kvm, slot, gfn, min_level);
	if (is_tdp_mmu_enabled(kvm))
		flush |= kvm_tdp_mmu_write_protect_gfn(kvm, slot, gfn, min_level);
	return flush;
}

/* Entries whose D bit does not count for the log are protected, the others lose D. */
static bool spte_clear_dirty(struct kvm *kvm, u64 *sptep)
{
	u64 spte = mmu_spte_get(sptep);

	if (spte_ad_need_write_protect(spte)) {
		if (!is_writable_pte(spte))
			return false;
		spte = __atomic_fetch_and(sptep, ~PTE_W, __ATOMIC_ACQ_REL);
		/* Without a D bit, having been writable is what tells that the page is dirty. */
		if (is_writable_pte(spte) && !spte_ad_enabled(spte))
			hw_set_dirty(spte_to_hpa(spte));
		return is_writable_pte(spte);
	}
	if (!(spte & spte_format(kvm)->dirty))
		return false;
	return mmu_spte_update(sptep, spte & ~spte_format(kvm)->dirty, kvm);
}

static bool rmap_clear_dirty(struct kvm *kvm, const struct kvm_memory_slot *slot,
			     struct kvm_rmap_head *head, int level)
{
	struct rmap_iterator iter;
	bool flush = false;
	u64 *sptep;

	(void)slot;
	(void)level;
	for_each_rmap_spte(head, &iter, sptep) flush |= spte_clear_dirty(kvm, sptep);
	return flush;
}

bool rmap_slot_clear_dirty(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	return for_each_rmap_slot(kvm, slot, PG_LEVEL_4K, PG_LEVEL_4K, rmap_clear_dirty);
}

/* @fn for the 4 KiB mappings of frames @offset + the bits of @mask. */
static void for_each_rmap_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t offset,
				 u64 mask, rmap_fn fn)
{
	struct kvm_rmap_head *head;

	hw_assert_write_locked(kvm);
	for (; mask; mask &= mask - 1) {
		head = gfn_to_rmap(slot, slot->base_gfn + offset + __builtin_ctzll(mask),
				   PG_LEVEL_4K);
		if (head)
			fn(kvm, slot, head, PG_LEVEL_4K);
	}
}

void rmap_write_protect_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t offset,
			       u64 mask)
{
	for_each_rmap_masked(kvm, slot, offset, mask, slot_rmap_write_protect);
}

void rmap_clear_dirty_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t offset,
			     u64 mask)
{
	for_each_rmap_masked(kvm, slot, offset, mask, rmap_clear_dirty);
}

/* --- the host's memory ------------------------------------------------------------------- */

static bool slot_rmap_unmap(struct kvm *kvm, const struct kvm_memory_slot *slot,
			    struct kvm_rmap_head *head, int level)
{
	(void)slot;
	(void)level;
	return kvm_zap_all_rmap_sptes(kvm, head);
}

bool rmap_unmap_range(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start, gfn_t end)
{
	return for_each_rmap_range(kvm, slot, start, end, PG_LEVEL_4K,
				   MUTANT(rmap_small_pages_only) ? PG_LEVEL_4K
								 : KVM_MAX_HUGEPAGE_LEVEL,
				   false, slot_rmap_unmap);
}

/*
 * Whether the page was accessed, which is then forgotten. TLBs may go on without setting A again:
 * no flush.
 */
static bool mmu_spte_age(struct kvm *kvm, u64 *sptep)
{
	u64 spte = mmu_spte_get(sptep), new;

	if (!is_accessed_spte(kvm, spte))
		return false;
	if (spte_ad_enabled(spte)) {
		__atomic_fetch_and(sptep, ~spte_format(kvm)->accessed, __ATOMIC_ACQ_REL);
		return true;
	}
	/* A fast page fault may be making it writable just now: take the entry as it is then. */
	do {
		new = mark_spte_for_access_track(kvm, spte);
	} while (!__atomic_compare_exchange_n(sptep, &spte, new, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	/* What says that it is dirty is W, which has just been taken away. */
	if (is_writable_pte(spte))
		hw_set_dirty(spte_to_hpa(spte));
	return true;
}

static bool slot_rmap_age(struct kvm *kvm, const struct kvm_memory_slot *slot,
			  struct kvm_rmap_head *head, int level)
{
	struct rmap_iterator iter;
	bool young = false;
	u64 *sptep;

	(void)slot;
	(void)level;
	for_each_rmap_spte(head, &iter, sptep) young |= mmu_spte_age(kvm, sptep);
	return young;
}

bool rmap_age_range(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start, gfn_t end)
{
	return for_each_rmap_range(kvm, slot, start, end, PG_LEVEL_4K, KVM_MAX_HUGEPAGE_LEVEL,
				   false, slot_rmap_age);
}

/* --- huge pages -------------------------------------------------------------------------- */

/*
 * Replaces *@huge_sptep, which maps frames of @slot, by a table of the next smaller pages. 0;
 * -ENOMEM, -ENOSPC: as it was.
 */
static int split_huge_page(struct kvm *kvm, const struct kvm_memory_slot *slot, u64 *huge_sptep)
{
	struct kvm_mmu_page *huge_sp = sptep_to_sp(huge_sptep), *sp;
	u64 huge_spte = mmu_spte_get(huge_sptep), spte, *sptep;
	int level = huge_sp->role.level, i = spte_index(huge_sptep);
	gfn_t gfn = kvm_mmu_page_get_gfn(huge_sp, i) & ~(KVM_PAGES_PER(level) - 1);
	union kvm_mmu_page_role role;
	bool flush = false, exec;

	if (kvm->arch.n_used_mmu_pages + KVM_MIN_FREE_MMU_PAGES >= kvm->arch.n_max_mmu_pages)
		return -ENOSPC_;
	/* Direct, also where the guest maps the page: it says nothing of smaller ones. */
	role = kvm_mmu_child_role(huge_sptep, true, kvm_mmu_page_get_access(huge_sp, i));
	exec = role.level == PG_LEVEL_4K && (role.access & ACC_EXEC) &&
	       is_nx_huge_page_enabled(kvm);
	sp = mmu_get_direct_sp(kvm, gfn, role);
	if (!sp)
		return -ENOMEM_;
	for (i = 0; i < SPTE_ENT_PER_PAGE; i++) {
		sptep = &sp->spt[i];
		/*
		 * The table may stand already, for another entry of the same role: what it maps is
		 * right. But below an entry that points further on, or that can't be made, some of
		 * what the huge page maps is not mapped any more, and no later unmapping of that
		 * would find it to flush.
		 */
		spte = mmu_spte_get(sptep);
		if (is_shadow_present_pte(spte)) {
			flush |= !is_last_spte(spte, role.level);
			continue;
		}
		mmu_spte_set(sptep, make_huge_page_split_spte(kvm, huge_spte, level, i, exec));
		if (!rmap_add_nocache(kvm, slot, sptep, kvm_mmu_page_get_gfn(sp, i), role.access)) {
			mmu_spte_clear_no_track(sptep);
			flush = true;
		}
	}
	return link_shadow_page_from(kvm, NULL, huge_sptep, sp, flush) ? 0 : -ENOMEM_;
}

static bool slot_rmap_split_huge(struct kvm *kvm, const struct kvm_memory_slot *slot,
				 struct kvm_rmap_head *head, int level)
{
	struct rmap_iterator iter;
	struct kvm_mmu_page *sp;
	u64 *sptep, spte;
	gfn_t gfn;
	int r;

restart:
	for_each_rmap_spte(head, &iter, sptep)
	{
		sp = sptep_to_sp(sptep);
		if (sp->role.invalid)
			continue;
		gfn = kvm_mmu_page_get_gfn(sp, spte_index(sptep));
		spte = mmu_spte_get(sptep);
		r = split_huge_page(kvm, slot, sptep);
		trace_mmu(kvm, kvm_mmu_split_huge_page, gfn, spte, level, (u64)r);
		if (!r)
			goto restart;
		/* It is split when it is written to. */
		kvm->arch.split_failed++;
		break;
	}
	return false;
}

void rmap_slot_split_huge(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start,
			  gfn_t end, int target_level)
{
	int level;

	/*
	 * Only what nested guests use beside the TDP MMU. Without that, huge pages are split as they
	 * are written to: all of it would be done with everybody locked out.
	 */
	if (!is_tdp_mmu_enabled(kvm))
		return;
	/* The largest first: what they are split into is split in turn. */
	for (level = KVM_MAX_HUGEPAGE_LEVEL; level > target_level; level--)
		for_each_rmap_range(kvm, slot, start, end, level, level, true,
				    slot_rmap_split_huge);
}

/* Drops what is mapped smaller than it could be now, for the next fault to map it larger. */
static bool slot_rmap_recover_huge(struct kvm *kvm, const struct kvm_memory_slot *slot,
				   struct kvm_rmap_head *head, int level)
{
	struct rmap_iterator iter;
	struct kvm_mmu_page *sp;
	struct hw_page page;
	bool flush = false;
	u64 *sptep;
	gfn_t gfn;

restart:
	for_each_rmap_spte(head, &iter, sptep)
	{
		sp = sptep_to_sp(sptep);
		/* Indirect: the guest itself maps it by pages of this size. */
		if (!sp->role.direct)
			continue;
		gfn = kvm_mmu_page_get_gfn(sp, spte_index(sptep));
		if (!hw_page_present(kvm, gfn_to_hva(slot, gfn), false, &page) ||
		    kvm_mmu_max_mapping_level(kvm, slot, gfn, page.level, KVM_MAX_HUGEPAGE_LEVEL) <=
			    level)
			continue;
		drop_spte(kvm, sptep);
		flush = true;
		goto restart;
	}
	return flush;
}

bool rmap_slot_recover_huge(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	return for_each_rmap_slot(kvm, slot, PG_LEVEL_4K, KVM_MAX_HUGEPAGE_LEVEL - 1,
				  slot_rmap_recover_huge);
}
