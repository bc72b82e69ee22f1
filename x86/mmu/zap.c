// SPDX-License-Identifier: GPL-2.0-only
/*
 * How shadow pages go: in two steps. Preparing takes a page out of everything that leads to it and
 * puts it on a list; committing the list flushes the TLBs once for all of them and frees them.
 * Above that: zapping everything, at once or by generation, and keeping to the limit on pages by
 * recycling the oldest.
 */
#include "x86/mmu/rmap.h"

#define ENOSPC_ 28

#define KVM_MIN_ALLOC_MMU_PAGES		     64
#define KVM_MEMSLOT_PAGES_TO_MMU_PAGES_RATIO 50
#define KVM_REFILL_PAGES		     25
/* Pages that are zapped between looks at who waits for mmu_lock. */
#define BATCH_ZAP_PAGES 10

/* --- one page ---------------------------------------------------------------------------- */

int mmu_page_zap_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *spte, struct list *invalid_list)
{
	u64 pte = mmu_spte_get(spte);
	struct kvm_mmu_page *child;
	int nr_zapped = 0;

	if (!is_shadow_present_pte(pte)) {
		if (is_mmio_spte(kvm, pte))
			mmu_spte_clear_no_track(spte);
		return 0;
	}
	if (is_last_spte(pte, sp->role.level)) {
		drop_spte(kvm, spte);
		return 0;
	}
	child = spte_to_child_sp(pte);
	drop_parent_pte(kvm, child, spte);
	/* A nested guest's tables that nothing leads to are hardly ever found again. */
	if (mmu_params_tdp(&kvm->params) && invalid_list && child->role.guest_mode &&
	    !child->parent_ptes.val)
		__kvm_mmu_prepare_zap_page(kvm, child, invalid_list, &nr_zapped);
	return nr_zapped;
}

/*
 * All entries of a last-level page that no processor uses any more, nor will: vCPUs have left the
 * guest since it became obsolete, and leave its root before they enter again. So entries don't
 * change by themselves, and a page goes at a fraction of the cost of dropping each entry safely.
 */
static void zap_obsolete_leaves(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	struct kvm_memory_slot *slot = NULL;
	struct kvm_rmap_head *head;
	int dropped = 0;
	gfn_t gfn;
	u64 spte, i;

	for_each_used(i, sp->spt, SPTE_ENT_PER_PAGE)
	{
		spte = mmu_spte_get(&sp->spt[i]);
		mmu_spte_clear_no_track(&sp->spt[i]);
		if (!is_shadow_present_pte(spte))
			continue;
		dropped++;
		if (is_accessed_spte(kvm, spte))
			hw_set_accessed(spte_to_hpa(spte));
		if (is_dirty_spte(kvm, spte))
			hw_set_dirty(spte_to_hpa(spte));
		/* Neighbours mostly lie in the same slot. */
		gfn = kvm_mmu_page_get_gfn(sp, i);
		if (!slot || gfn - slot->base_gfn >= slot->npages)
			slot = gfn_to_slot_of_role(kvm, sp->role, gfn);
		head = slot ? gfn_to_rmap(slot, gfn, PG_LEVEL_4K) : NULL;
		if (head)
			pte_list_remove(&sp->spt[i], head);
	}
	if (dropped)
		kvm_update_page_stats(kvm, PG_LEVEL_4K, -dropped);
}

static void unlink_parents(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	struct rmap_iterator iter;
	u64 *sptep;

	while ((sptep = rmap_get_first(&sp->parent_ptes, &iter)) != NULL)
		drop_parent_pte(kvm, sp, sptep);
}

bool __kvm_mmu_prepare_zap_page(struct kvm *kvm, struct kvm_mmu_page *sp, struct list *invalid_list,
				int *nr_zapped)
{
	union kvm_mmu_page_role role = sp->role;
	bool list_unstable, zapped_root = false;
	u64 i;

	hw_assert_write_locked(kvm);
	/* Slots are looked up, and not only vCPUs come here: whoever sets registers drops roots. */
	hw_rcu_read_lock();
	trace_mmu(kvm, kvm_mmu_prepare_zap_page, sp->gfn, role.word, (u64)sp->root_count);
	vm_stat_add(kvm, mmu_shadow_zapped, 1);
	*nr_zapped = mmu_zap_unsync_children(kvm, sp, invalid_list);
	if (role.level == PG_LEVEL_4K && is_obsolete_sp(kvm, sp))
		zap_obsolete_leaves(kvm, sp);
	else
		for_each_used(i, sp->spt, SPTE_ENT_PER_PAGE) *nr_zapped +=
			mmu_page_zap_pte(kvm, sp, &sp->spt[i], invalid_list);
	unlink_parents(kvm, sp);
	list_unstable = *nr_zapped;

	if (!role.invalid && sp_has_gptes(sp))
		unaccount_shadowed(kvm, sp);
	if (sp->unsync)
		kvm_unlink_unsync_page(kvm, sp);
	/* A root that vCPUs have in use has been emptied; it goes when the last of them puts it. */
	list_del(&sp->link);
	if (!sp->root_count) {
		(*nr_zapped)++;
		list_add(&sp->link, invalid_list);
		kvm->arch.n_used_mmu_pages--;
	} else {
		zapped_root = !is_obsolete_sp(kvm, sp);
	}
	if (sp->nx_huge_page_disallowed)
		unaccount_nx_huge_page(kvm, sp);
	role.invalid = 1;
	__atomic_store_n(&sp->role.word, role.word, __ATOMIC_RELEASE);
	/*
	 * After the page is marked: whoever sees the request must find that its root is to be
	 * dropped.
	 */
	if (zapped_root && !MUTANT(root_request_missing))
		hw_request_all(kvm, KVM_REQ_MMU_FREE_OBSOLETE);
	hw_rcu_read_unlock();
	return list_unstable;
}

bool kvm_mmu_prepare_zap_page(struct kvm *kvm, struct kvm_mmu_page *sp, struct list *invalid_list)
{
	int nr_zapped;

	return __kvm_mmu_prepare_zap_page(kvm, sp, invalid_list, &nr_zapped);
}

void kvm_mmu_commit_zap_page(struct kvm *kvm, struct list *invalid_list)
{
	if (list_empty(invalid_list))
		return;
	hw_yield_point(kvm, "commit_zap");
	/* Also what makes sure that the page frames that were mapped may be given back. */
	if (!MUTANT(commit_without_flush))
		hw_flush_remote(kvm);
	mmu_free_shadow_pages(kvm, invalid_list);
}

bool kvm_mmu_remote_flush_or_zap(struct kvm *kvm, struct list *invalid_list, bool remote_flush)
{
	if (list_empty(invalid_list)) {
		if (remote_flush)
			hw_flush_remote(kvm);
		return remote_flush;
	}
	kvm_mmu_commit_zap_page(kvm, invalid_list);
	return true;
}

void mmu_put_root(struct kvm *kvm, hpa_t root, struct list *invalid_list)
{
	struct kvm_mmu_page *sp = root_to_sp(root);

	hw_assert_write_locked(kvm);
	MMU_BUG_ON(!sp || sp->tdp_mmu_page || sp->root_count <= 0);
	if (!--sp->root_count && sp->role.invalid)
		kvm_mmu_prepare_zap_page(kvm, sp, invalid_list);
}

/* --- everything -------------------------------------------------------------------------- */

/* Lets whoever waits for mmu_lock have it. True: it was let go of. */
static bool zap_resched(struct kvm *kvm)
{
	if (!hw_lock_contended(kvm))
		return false;
	hw_write_unlock(kvm);
	hw_yield_point(kvm, "zap_resched");
	hw_write_lock(kvm);
	return true;
}

/*
 * Zaps pages of another generation than the current one. New pages are added at the other end, so
 * that the first one that is not obsolete is the end of them. mmu_lock is let go of without a
 * flush: all vCPUs have been told to leave their obsolete roots, and do so, with their TLBs, before
 * they enter the guest again.
 */
static void zap_obsolete_pages(struct kvm *kvm)
{
	struct list *active = &kvm->arch.active_mmu_pages;
	struct kvm_mmu_page *sp;
	int nr_zapped, batch = 0;

	while (!list_empty(active)) {
		sp = list_last(active, struct kvm_mmu_page, link);
		/* Zapped ones are on another list, or on none. */
		MMU_BUG_ON(sp->role.invalid);
		if (!is_obsolete_sp(kvm, sp))
			break;
		if (batch >= BATCH_ZAP_PAGES) {
			batch = 0;
			if (zap_resched(kvm))
				continue;
		}
		__kvm_mmu_prepare_zap_page(kvm, sp, &kvm->arch.zapped_obsolete_pages, &nr_zapped);
		/* A root in use counts too: emptying it was work. */
		batch += nr_zapped ? nr_zapped : 1;
	}
	kvm_mmu_commit_zap_page(kvm, &kvm->arch.zapped_obsolete_pages);
}

void kvm_mmu_zap_all_fast(struct kvm *kvm)
{
	hw_yield_point(kvm, "zap_all_fast");
	hw_write_lock(kvm);
	trace_mmu(kvm, kvm_mmu_zap_all_fast, kvm->arch.mmu_valid_gen, kvm->arch.n_used_mmu_pages);
	if (MUTANT(slot_delete_keeps_pages)) {
		hw_write_unlock(kvm);
		return;
	}
	/* Two will do: all pages of the old one are gone when this returns. */
	__atomic_store_n(&kvm->arch.mmu_valid_gen, !kvm->arch.mmu_valid_gen, __ATOMIC_RELEASE);
	/*
	 * In the same section as the request, or a vCPU could answer it and find its root still
	 * valid.
	 */
	if (is_tdp_mmu_enabled(kvm))
		kvm_tdp_mmu_invalidate_all_roots(kvm);
	if (!MUTANT(obsolete_root_stays_loaded))
		hw_request_all(kvm, KVM_REQ_MMU_FREE_OBSOLETE);
	zap_obsolete_pages(kvm);
	hw_write_unlock(kvm);
	if (is_tdp_mmu_enabled(kvm))
		kvm_tdp_mmu_zap_invalidated_roots(kvm);
}

/*
 * Page by page, the oldest first, as many as there are now: vCPUs that go on running make new ones
 * as fast as we can zap, but those need not go. Here roots stay valid until it is their turn: what
 * is zapped is flushed before mmu_lock is let go of.
 */
void kvm_mmu_zap_all(struct kvm *kvm)
{
	struct list *active = &kvm->arch.active_mmu_pages, invalid;
	int nr_zapped, batch = 0;
	u64 left;

	list_init(&invalid);
	hw_yield_point(kvm, "zap_all");
	hw_write_lock(kvm);
	for (left = kvm->arch.n_used_mmu_pages; left && !list_empty(active); left--) {
		__kvm_mmu_prepare_zap_page(kvm, list_last(active, struct kvm_mmu_page, link),
					   &invalid, &nr_zapped);
		batch += nr_zapped ? nr_zapped : 1;
		if (batch >= BATCH_ZAP_PAGES && hw_lock_contended(kvm)) {
			batch = 0;
			kvm_mmu_commit_zap_page(kvm, &invalid);
			zap_resched(kvm);
		}
	}
	kvm_mmu_commit_zap_page(kvm, &invalid);
	if (is_tdp_mmu_enabled(kvm)) {
		kvm_tdp_mmu_zap_all(kvm);
		hw_flush_remote(kvm);
	}
	hw_write_unlock(kvm);
}

/* --- the limit --------------------------------------------------------------------------- */

static u64 available_pages(const struct kvm *kvm)
{
	if (kvm->arch.n_max_mmu_pages <= kvm->arch.n_used_mmu_pages)
		return 0;
	return kvm->arch.n_max_mmu_pages - kvm->arch.n_used_mmu_pages;
}

/*
 * Zaps the oldest @nr pages, or a few more that hang on them. Roots in use only would have to be
 * made again.
 */
static void zap_oldest_mmu_pages(struct kvm *kvm, u64 nr)
{
	struct list *active = &kvm->arch.active_mmu_pages, *l, *prev, invalid;
	struct kvm_mmu_page *sp;
	u64 total = 0;
	int nr_zapped;
	bool unstable;

	list_init(&invalid);
	for (l = active->prev; l != active && total < nr; l = prev) {
		prev = l->prev;
		sp = container_of(l, struct kvm_mmu_page, link);
		if (sp->root_count)
			continue;
		unstable = __kvm_mmu_prepare_zap_page(kvm, sp, &invalid, &nr_zapped);
		total += nr_zapped;
		/* @prev may have gone along. */
		if (unstable)
			prev = active->prev;
	}
	kvm_mmu_commit_zap_page(kvm, &invalid);
	vm_stat_add(kvm, mmu_recycled, total);
}

int make_mmu_pages_available(struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	u64 available = available_pages(kvm);

	hw_assert_write_locked(kvm);
	if (available >= KVM_MIN_FREE_MMU_PAGES || MUTANT(page_limit_ignored))
		return 0;
	zap_oldest_mmu_pages(kvm, KVM_REFILL_PAGES - available);
	/* One will do: the limit is no hard one, a fault may go beyond it by a few. */
	return available_pages(kvm) ? 0 : -ENOSPC_;
}

u64 kvm_mmu_default_pages(struct kvm *kvm)
{
	struct kvm_memslots *slots;
	u64 pages = 0;
	unsigned int as_id, i;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACES; as_id++) {
		slots = kvm_memslots(kvm, as_id);
		for (i = 0; slots && i < slots->nr; i++)
			pages += slots->slot[i]->npages;
	}
	pages /= KVM_MEMSLOT_PAGES_TO_MMU_PAGES_RATIO;
	return pages > KVM_MIN_ALLOC_MMU_PAGES ? pages : KVM_MIN_ALLOC_MMU_PAGES;
}

void kvm_mmu_change_mmu_pages(struct kvm *kvm, u64 pages)
{
	u64 goal = pages ? pages : kvm_mmu_default_pages(kvm);

	hw_write_lock(kvm);
	kvm->arch.n_requested_mmu_pages = pages;
	if (kvm->arch.n_used_mmu_pages > goal) {
		zap_oldest_mmu_pages(kvm, kvm->arch.n_used_mmu_pages - goal);
		/* Those in use stay, and are what the limit is then. */
		goal = kvm->arch.n_used_mmu_pages;
	}
	kvm->arch.n_max_mmu_pages = goal;
	hw_write_unlock(kvm);
}

/* --- unshadowing ------------------------------------------------------------------------- */

bool kvm_mmu_unprotect_page(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_mmu_page *sp;
	struct list invalid;
	bool found = false;

	if (!__atomic_load_n(&kvm->arch.indirect_shadow_pages, __ATOMIC_ACQUIRE))
		return false;
	list_init(&invalid);
	hw_yield_point(kvm, "unprotect_page");
	hw_write_lock(kvm);
	for_each_gfn_valid_sp_with_gptes(kvm, sp, gfn)
	{
		found = true;
		kvm_mmu_prepare_zap_page(kvm, sp, &invalid);
	}
	kvm_mmu_commit_zap_page(kvm, &invalid);
	hw_write_unlock(kvm);
	return found;
}
