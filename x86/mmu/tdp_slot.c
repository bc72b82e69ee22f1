// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDP MMU, what happens to ranges of frames: zapping, ageing, protection and cleaning
 * for the dirty log, splitting and recovering of huge pages. Each walks the tree of each
 * root; long walks let go of mmu_lock for who waits, with the root held and what is owed
 * flushed first.
 *
 * Unmapping and ageing take invalid roots too, as their tables refer to the host's pages
 * until they are zapped. What only concerns the guest's next accesses leaves those out.
 */
#include "x86/mmu/tdp.h"

static bool is_leaf(const struct tdp_iter *iter)
{
	return is_shadow_present_pte(iter->old_spte) && is_last_spte(iter->old_spte, iter->level);
}

static gfn_t slot_end(const struct kvm_memory_slot *slot)
{
	return slot->base_gfn + slot->npages;
}

/* --- zapping ------------------------------------------------------------------------- */

static bool zap_leafs(struct kvm *kvm, struct kvm_mmu_page *root, gfn_t start, gfn_t end,
		      bool can_yield, bool flush)
{
	struct tdp_iter iter;

	hw_rcu_read_lock();
	tdp_for_each_pte(iter, root, start, end)
	{
		if (can_yield && tdp_iter_cond_resched(kvm, &iter, flush, false)) {
			flush = false;
			continue;
		}
		if (!is_leaf(&iter))
			continue;
		tdp_set_spte(kvm, &iter, 0);
		flush = true;
	}
	hw_rcu_read_unlock();
	/* Tables stay, so that there is nothing but the leafs to flush, whenever that is. */
	return flush;
}

bool kvm_tdp_mmu_zap_leafs(struct kvm *kvm, int as_id, gfn_t start, gfn_t end, bool can_yield,
			   bool flush)
{
	struct kvm_mmu_page *root;

	hw_assert_write_locked(kvm);
	for_each_tdp_root(kvm, root, as_id, false) flush =
		zap_leafs(kvm, root, start, end, can_yield, flush);
	return flush;
}

bool kvm_tdp_mmu_unmap_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range, bool flush)
{
	return kvm_tdp_mmu_zap_leafs(kvm, MUTANT(unmap_one_space) ? 0 : range->slot->as_id,
				     range->start, range->end, range->may_block, flush);
}

bool kvm_tdp_mmu_zap_sp(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	struct tdp_iter iter = {
		.sptep = sp->ptep,
		.gfn = sp->gfn,
		.level = sp->role.level + 1,
		.as_id = sp->role.smm,
	};

	hw_assert_write_locked(kvm);
	MMU_BUG_ON(!sp->tdp_mmu_page);
	/* A root, or a table that is out already. */
	if (!sp->ptep)
		return false;
	iter.old_spte = tdp_read_spte(sp->ptep);
	MMU_BUG_ON(!is_shadow_present_pte(iter.old_spte) ||
		   spte_to_hpa(iter.old_spte) != hw_hpa(sp->spt));
	tdp_set_spte(kvm, &iter, 0);
	return true;
}

/* Empties all entries of @level; what hangs below them goes with them. Whether there was any. */
static bool zap_level(struct kvm *kvm, struct kvm_mmu_page *root, int level, bool shared)
{
	bool zapped = false, flush = false;
	struct tdp_iter iter;

	hw_rcu_read_lock();
	tdp_for_each_pte_min_level(iter, root, level, 0, tdp_root_end(root))
	{
		/* Readers don't flush: only a root that nobody runs on is zapped by them. */
		if (tdp_iter_cond_resched(kvm, &iter, flush, shared)) {
			flush = false;
			continue;
		}
		while (iter.level == level && is_shadow_present_pte(iter.old_spte)) {
			if (!shared)
				tdp_set_spte(kvm, &iter, 0);
			else if (!tdp_set_spte_atomic(kvm, &iter, 0))
				continue;
			zapped = true;
			flush = !shared;
		}
	}
	if (flush)
		hw_flush_remote(kvm);
	hw_rcu_read_unlock();
	return zapped;
}

/*
 * Bottom up, so that between two looks at who waits for the lock it is no more than one table
 * of leafs that goes, or one of tables emptied before.
 */
static void zap_root(struct kvm *kvm, struct kvm_mmu_page *root, bool shared)
{
	int level;

	for (level = PG_LEVEL_2M; level <= root->role.level; level++)
		zap_level(kvm, root, level, shared);
}

void kvm_tdp_mmu_zap_all(struct kvm *kvm)
{
	struct kvm_mmu_page *root;

	hw_assert_write_locked(kvm);
	for_each_tdp_root(kvm, root, -1, false) zap_root(kvm, root, false);
}

void kvm_tdp_mmu_invalidate_all_roots(struct kvm *kvm)
{
	struct kvm_mmu_page *root;

	hw_assert_write_locked(kvm);
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	list_for_each(root, &kvm->arch.tdp_mmu_roots, link)
	{
		union kvm_mmu_page_role role = root->role;

		if (role.invalid)
			continue;
		/* The TDP MMU's reference is whose who zaps it from now on. */
		root->zap_scheduled = true;
		role.invalid = 1;
		__atomic_store_n(&root->role.word, role.word, __ATOMIC_RELEASE);
	}
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
}

/* A root that waits to be zapped, with the TDP MMU's reference to it; NULL: there is none. */
static struct kvm_mmu_page *take_scheduled_root(struct kvm *kvm)
{
	struct kvm_mmu_page *root, *found = NULL;

	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	list_for_each(root, &kvm->arch.tdp_mmu_roots, link)
	{
		if (!root->zap_scheduled)
			continue;
		root->zap_scheduled = false;
		found = root;
		break;
	}
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
	return found;
}

/*
 * No flush: no vCPU is in the guest with an invalid root, as it was kicked for it, and it flushes
 * when it has loaded another one. Nor does a fault fill the tables again: under mmu_lock it finds
 * its root invalid.
 */
void kvm_tdp_mmu_zap_invalidated_roots(struct kvm *kvm)
{
	struct kvm_mmu_page *root;

	hw_read_lock(kvm);
	while ((root = take_scheduled_root(kvm))) {
		zap_root(kvm, root, true);
		kvm_tdp_mmu_put_root(kvm, root);
	}
	hw_read_unlock(kvm);
}

/* --- ageing -------------------------------------------------------------------------- */

/*
 * Forgets that the page was accessed. The host asks, and is told by the answer: marking its page
 * accessed, as when such an entry goes, would have it ask the same again.
 */
static bool age_leaf(struct kvm *kvm, struct tdp_iter *iter)
{
	u64 old_spte = iter->old_spte, new_spte;

	do {
		if (!is_shadow_present_pte(old_spte) || !is_last_spte(old_spte, iter->level) ||
		    !is_accessed_spte(kvm, old_spte))
			return false;
		if (spte_ad_enabled(old_spte))
			new_spte = old_spte &
				   ~(MUTANT(age_keeps_accessed) ? 0 : spte_format(kvm)->accessed);
		else
			new_spte = mark_spte_for_access_track(kvm, old_spte);
	} while (!__atomic_compare_exchange_n(iter->sptep, &old_spte, new_spte, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	/* Where W says that the page may be dirty, and went with the rest. */
	if (is_dirty_spte(kvm, old_spte) && !is_dirty_spte(kvm, new_spte))
		hw_set_dirty(spte_to_hpa(old_spte));
	iter->old_spte = new_spte;
	trace_mmu(kvm, kvm_tdp_mmu_spte_changed, (u64)iter->as_id, iter->gfn, (u64)iter->level,
		  old_spte, new_spte);
	return true;
}

bool kvm_tdp_mmu_age_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range)
{
	struct kvm_mmu_page *root;
	struct tdp_iter iter;
	bool young = false;

	hw_assert_locked(kvm);
	for_each_tdp_root(kvm, root, range->slot->as_id, false)
	{
		hw_rcu_read_lock();
		tdp_for_each_pte(iter, root, range->start, range->end)
		{
			if (is_leaf(&iter))
				young |= age_leaf(kvm, &iter);
		}
		hw_rcu_read_unlock();
	}
	return young;
}

/* --- the dirty log --------------------------------------------------------------------- */

static bool wrprot_range(struct kvm *kvm, struct kvm_mmu_page *root, gfn_t start, gfn_t end,
			 int min_level)
{
	struct tdp_iter iter;
	bool changed = false;

	hw_rcu_read_lock();
	tdp_for_each_pte_min_level(iter, root, min_level, start, end)
	{
		/* What is owed is flushed before anybody trusts the log: at the end. */
		if (tdp_iter_cond_resched(kvm, &iter, false, true))
			continue;
		/* SPTE_MMU_WRITABLE stays, for the fast page fault to make the page writable again. */
		if (is_leaf(&iter) && is_writable_pte(iter.old_spte))
			changed |= tdp_clear_spte_bits(kvm, &iter, spte_format(kvm)->write);
	}
	hw_rcu_read_unlock();
	return changed;
}

bool kvm_tdp_mmu_wrprot_slot(struct kvm *kvm, const struct kvm_memory_slot *slot, int min_level)
{
	struct kvm_mmu_page *root;
	bool flush = false;

	hw_assert_locked(kvm);
	for_each_tdp_root(kvm, root, slot->as_id, true) flush |=
		wrprot_range(kvm, root, slot->base_gfn, slot_end(slot), min_level);
	return flush;
}

/* The bit whose coming shows a write to the page: W where D isn't kept or can't be relied on. */
static u64 dirty_bit(struct kvm *kvm, u64 spte, bool wrprot)
{
	const struct spte_format *fmt = spte_format(kvm);

	return wrprot || spte_ad_need_write_protect(spte) ? fmt->write : fmt->dirty;
}

bool kvm_tdp_mmu_clear_dirty_slot(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	struct kvm_mmu_page *root;
	struct tdp_iter iter;
	bool changed = false;
	u64 bit;

	hw_assert_locked(kvm);
	for_each_tdp_root(kvm, root, slot->as_id, true)
	{
		hw_rcu_read_lock();
		tdp_for_each_pte(iter, root, slot->base_gfn, slot_end(slot))
		{
			if (tdp_iter_cond_resched(kvm, &iter, false, true))
				continue;
			if (!is_leaf(&iter))
				continue;
			bit = dirty_bit(kvm, iter.old_spte, false);
			if (iter.old_spte & bit)
				changed |= tdp_clear_spte_bits(kvm, &iter, bit);
		}
		hw_rcu_read_unlock();
	}
	return changed;
}

void kvm_tdp_mmu_clear_dirty_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
				    u64 mask, bool wrprot)
{
	struct kvm_mmu_page *root;
	struct tdp_iter iter;
	gfn_t start, end;
	u64 bit;

	hw_assert_write_locked(kvm);
	if (!mask)
		return;
	start = gfn + __builtin_ctzll(mask);
	end = gfn + 64 - __builtin_clzll(mask) - MUTANT(log_range_one_short);
	for_each_tdp_root(kvm, root, slot->as_id, true)
	{
		hw_rcu_read_lock();
		tdp_for_each_pte(iter, root, start, end)
		{
			if (iter.level > PG_LEVEL_4K || !(mask & BIT(iter.gfn - gfn)) ||
			    !is_leaf(&iter))
				continue;
			bit = dirty_bit(kvm, iter.old_spte, wrprot);
			if (iter.old_spte & bit)
				tdp_clear_spte_bits(kvm, &iter, bit);
		}
		hw_rcu_read_unlock();
	}
}

bool kvm_tdp_mmu_write_protect_gfn(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
				   int min_level)
{
	struct kvm_mmu_page *root;
	struct tdp_iter iter;
	bool changed = false;
	u64 bits;

	hw_assert_write_locked(kvm);
	for_each_tdp_root(kvm, root, slot->as_id, true)
	{
		hw_rcu_read_lock();
		tdp_for_each_pte_min_level(iter, root, min_level, gfn, gfn + 1)
		{
			/* Also when W is gone already: a fast page fault must not bring it back. */
			bits = spte_format(kvm)->write | SPTE_MMU_WRITABLE;
			if (is_leaf(&iter) && (iter.old_spte & bits))
				changed |= tdp_clear_spte_bits(kvm, &iter, bits);
		}
		hw_rcu_read_unlock();
	}
	return changed;
}

/* --- huge pages ------------------------------------------------------------------------ */

/* Replaces the huge leaf by a table of small ones. False: it's another entry now. */
static bool split_huge_page(struct kvm *kvm, struct tdp_iter *iter, struct kvm_mmu_page *sp)
{
	u64 huge_spte = iter->old_spte;
	int level = iter->level, i;
	/* Small pages may be executed where huge ones may not. */
	bool exec = level - 1 == PG_LEVEL_4K && is_nx_huge_page_enabled(kvm);
	gfn_t gfn = iter->gfn;

	tdp_init_child_sp(kvm, sp, iter);
	for (i = 0; i < SPTE_ENT_PER_PAGE; i++)
		sp->spt[i] = make_huge_page_split_spte(kvm, huge_spte, level, i, exec);
	if (!tdp_link_sp(kvm, iter, sp))
		return false;
	/* The huge page has been subtracted with the change of its entry. */
	kvm_update_page_stats(kvm, level - 1, SPTE_ENT_PER_PAGE);
	trace_mmu(kvm, kvm_mmu_split_huge_page, gfn, huge_spte, (u64)level, 0);
	return true;
}

/* False: no memory. */
static bool split_range(struct kvm *kvm, struct kvm_mmu_page *root, gfn_t start, gfn_t end,
			int target_level, bool shared)
{
	struct kvm_mmu_page *sp = NULL;
	struct tdp_iter iter;
	bool ok = true;

	hw_rcu_read_lock();
	/* A table that came for a page of 1 GiB is walked next: its entries are split in turn. */
	tdp_for_each_pte_min_level(iter, root, target_level + 1, start, end)
	{
		if (tdp_iter_cond_resched(kvm, &iter, false, shared))
			continue;
		while (is_leaf(&iter)) {
			if (!sp)
				sp = tdp_alloc_sp();
			if (!sp) {
				ok = false;
				break;
			}
			if (split_huge_page(kvm, &iter, sp))
				sp = NULL;
		}
		if (!ok) {
			trace_mmu(kvm, kvm_mmu_split_huge_page, iter.gfn, iter.old_spte,
				  (u64)iter.level, -(u64)ENOMEM_);
			break;
		}
	}
	hw_rcu_read_unlock();
	if (sp)
		tdp_free_sp(sp);
	return ok;
}

void kvm_tdp_mmu_try_split_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot,
				      gfn_t start, gfn_t end, int target_level, bool shared)
{
	struct kvm_mmu_page *root;

	hw_assert_locked(kvm);
	for_each_tdp_root(kvm, root, slot->as_id, true)
	{
		if (split_range(kvm, root, start, end, target_level, shared))
			continue;
		/* What is still huge is split by the first write to it. */
		__atomic_fetch_add(&kvm->arch.split_failed, 1, __ATOMIC_RELAXED);
		kvm_tdp_mmu_put_root(kvm, root);
		return;
	}
}

/* The largest level at which the host's page of @gfn could be mapped now. */
static int possible_level(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn)
{
	struct hw_page page;

	if (!hw_page_present(kvm, gfn_to_hva(slot, gfn + MUTANT(recover_looks_at_next) * 512),
			     false, &page))
		return PG_LEVEL_4K;
	return kvm_mmu_max_mapping_level(kvm, slot, gfn, page.level, PG_LEVEL_1G);
}

/* Takes tables out where a huge page could stand; the next access makes it. */
bool kvm_tdp_mmu_recover_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	gfn_t start = slot->base_gfn, end = slot_end(slot);
	struct kvm_mmu_page *root;
	struct tdp_iter iter;
	bool flush = false;

	hw_assert_locked(kvm);
	for_each_tdp_root(kvm, root, slot->as_id, true)
	{
		hw_rcu_read_lock();
		tdp_for_each_pte_min_level(iter, root, PG_LEVEL_2M, start, end)
		{
			if (tdp_iter_cond_resched(kvm, &iter, flush, true)) {
				flush = false;
				continue;
			}
			/* A huge page that reaches out of the slot can't be. */
			if (iter.level > PG_LEVEL_1G || iter.gfn < start ||
			    iter.gfn + KVM_PAGES_PER(iter.level) > end)
				continue;
			while (tdp_child_pt(iter.old_spte, iter.level) &&
			       possible_level(kvm, slot, iter.gfn) >=
				       iter.level + MUTANT(huge_page_never_recovered))
				flush |= tdp_set_spte_atomic(kvm, &iter, 0);
		}
		/*
		 * Whoever fills the entry before this maps the same frames: the host's pages
		 * can't change below mmu_lock. But the tables are not free until it's done.
		 */
		if (flush)
			hw_flush_remote(kvm);
		flush = false;
		hw_rcu_read_unlock();
	}
	return false;
}
