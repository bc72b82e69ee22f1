// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing single SPTEs of the shadow MMU, and finding them again: for each frame of a slot,
 * and each page size, the list of SPTEs that map it; for each shadow page the list of those
 * that point to it.
 */
#include "x86/mmu/rmap.h"

/* --- single SPTEs ------------------------------------------------------------------------ */

u64 mmu_spte_update_no_track(u64 *sptep, u64 new)
{
	/* Always an exchange: the old value decides about the flush and must be exact. */
	return __atomic_exchange_n(sptep, new, __ATOMIC_ACQ_REL);
}

bool mmu_spte_update(u64 *sptep, u64 new, const struct kvm *kvm)
{
	u64 old = mmu_spte_update_no_track(sptep, new);
	bool flush = false;

	if (!is_shadow_present_pte(old))
		return false;
	/*
	 * Not W of the old entry, but whether it could be set without mmu_lock: somebody may have
	 * taken W away before and not have flushed yet, so that a TLB has a writable entry still.
	 */
	if ((MUTANT(protected_already_no_flush) ? is_writable_pte(old)
						: is_mmu_writable_spte(old)) &&
	    !is_writable_pte(new))
		flush = true;
	if (is_accessed_spte(kvm, old) && !is_accessed_spte(kvm, new)) {
		flush = true;
		hw_set_accessed(spte_to_hpa(old));
	}
	if (is_dirty_spte(kvm, old) && !is_dirty_spte(kvm, new)) {
		flush = true;
		hw_set_dirty(spte_to_hpa(old));
	}
	return flush;
}

u64 mmu_spte_clear_track_bits(struct kvm *kvm, u64 *sptep)
{
	u64 old = __atomic_exchange_n(sptep, 0, __ATOMIC_ACQ_REL);

	if (!is_shadow_present_pte(old))
		return old;
	kvm_update_page_stats(kvm, sptep_to_sp(sptep)->role.level, -1);
	if (is_accessed_spte(kvm, old))
		hw_set_accessed(spte_to_hpa(old));
	if (is_dirty_spte(kvm, old))
		hw_set_dirty(spte_to_hpa(old));
	return old;
}

bool spte_write_protect(struct kvm *kvm, u64 *sptep, bool pt_protect)
{
	u64 spte = mmu_spte_get(sptep);

	if (!is_writable_pte(spte) && !(pt_protect && is_mmu_writable_spte(spte)))
		return false;
	spte &= ~PTE_W;
	if (pt_protect && !MUTANT(fast_write_to_table))
		spte &= ~SPTE_MMU_WRITABLE;
	return mmu_spte_update(sptep, spte, kvm);
}

void drop_spte(struct kvm *kvm, u64 *sptep)
{
	if (is_shadow_present_pte(mmu_spte_clear_track_bits(kvm, sptep)))
		rmap_remove(kvm, sptep);
}

void drop_large_spte(struct kvm *kvm, u64 *sptep, bool flush)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	gfn_t gfn = kvm_mmu_page_get_gfn(sp, spte_index(sptep));

	MMU_BUG_ON(sp->role.level == PG_LEVEL_4K);
	drop_spte(kvm, sptep);
	if (flush)
		hw_flush_remote_range(kvm, gfn & ~(KVM_PAGES_PER(sp->role.level) - 1),
				      KVM_PAGES_PER(sp->role.level));
}

/* --- lists of SPTEs ---------------------------------------------------------------------- */

#define HEAD_MANY 1ull /* the head has a descriptor, not an SPTE */

static struct pte_list_desc *head_desc(const struct kvm_rmap_head *head)
{
	return head->val & HEAD_MANY ? (struct pte_list_desc *)(head->val & ~HEAD_MANY) : NULL;
}

static struct pte_list_desc *desc_alloc(struct kvm_mmu_memory_cache *cache)
{
	return cache ? kvm_mmu_memory_cache_alloc(cache) : hw_alloc(sizeof(struct pte_list_desc));
}

unsigned int pte_list_count(const struct kvm_rmap_head *head)
{
	struct pte_list_desc *desc = head_desc(head);

	return desc ? desc->count + desc->below : head->val != 0;
}

unsigned int pte_list_add(struct kvm_mmu_memory_cache *cache, u64 *sptep,
			  struct kvm_rmap_head *head)
{
	struct pte_list_desc *desc = head_desc(head), *first;

	if (!head->val) {
		head->val = (u64)sptep;
		return 1;
	}
	if (!desc || desc->count == PTE_LIST_EXT) {
		first = desc_alloc(cache);
		if (!first)
			return 0;
		first->more = desc;
		first->below = desc ? desc->count + desc->below : 0;
		first->count = 0;
		if (!desc)
			first->sptes[first->count++] = (u64 *)head->val;
		head->val = (u64)first | HEAD_MANY;
		desc = first;
	}
	desc->sptes[desc->count++] = sptep;
	return desc->count + desc->below;
}

/* The hole is filled from the first descriptor, so that all behind it stay full. */
void pte_list_remove(u64 *sptep, struct kvm_rmap_head *head)
{
	struct pte_list_desc *first = head_desc(head), *desc;
	unsigned int i;

	if (!first) {
		MMU_BUG_ON(head->val != (u64)sptep);
		head->val = 0;
		return;
	}
	for (desc = first; desc; desc = desc->more)
		for (i = 0; i < desc->count; i++)
			if (desc->sptes[i] == sptep)
				goto found;
	hw_bug(__FILE__, __LINE__, "an SPTE is not on its list");
found:
	desc->sptes[i] = first->sptes[--first->count];
	if (first->count)
		return;
	head->val = first->more && !MUTANT(rmap_list_cut) ? (u64)first->more | HEAD_MANY : 0;
	hw_free(first);
}

void pte_list_clear(struct kvm_rmap_head *head)
{
	struct pte_list_desc *desc = head_desc(head), *more;

	for (; desc; desc = more) {
		more = desc->more;
		hw_free(desc);
	}
	head->val = 0;
}

u64 *rmap_get_first(const struct kvm_rmap_head *head, struct rmap_iterator *iter)
{
	iter->desc = head_desc(head);
	iter->pos = 0;
	return iter->desc ? iter->desc->sptes[0] : (u64 *)head->val;
}

u64 *rmap_get_next(struct rmap_iterator *iter)
{
	if (!iter->desc)
		return NULL;
	if (++iter->pos == iter->desc->count) {
		iter->desc = MUTANT(rmap_second_block_lost) ? NULL : iter->desc->more;
		iter->pos = 0;
	}
	return iter->desc ? iter->desc->sptes[iter->pos] : NULL;
}

/* --- rmaps of slots ---------------------------------------------------------------------- */

bool kvm_zap_all_rmap_sptes(struct kvm *kvm, struct kvm_rmap_head *head)
{
	struct rmap_iterator iter;
	u64 *sptep;

	if (!head->val)
		return false;
	for_each_rmap_spte(head, &iter, sptep) mmu_spte_clear_track_bits(kvm, sptep);
	pte_list_clear(head);
	return true;
}

static bool __rmap_add(struct kvm *kvm, struct kvm_mmu_memory_cache *cache,
		       const struct kvm_memory_slot *slot, u64 *sptep, gfn_t gfn,
		       unsigned int access)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	struct kvm_rmap_head *head = gfn_to_rmap(slot, gfn, sp->role.level);
	unsigned int count;

	/* The slot was made while the first shadow root of the VM had rmaps allocated. */
	if (!head) {
		if (kvm_mmu_alloc_rmaps((struct kvm_memory_slot *)slot))
			return false;
		head = gfn_to_rmap(slot, gfn, sp->role.level);
	}
	count = pte_list_add(cache, sptep, head);
	if (!count)
		return false;
	kvm_mmu_page_set_translation(sp, spte_index(sptep), gfn, access);
	kvm_update_page_stats(kvm, sp->role.level, 1);
	if (count > kvm->stat.max_mmu_rmap_size)
		__atomic_store_n(&kvm->stat.max_mmu_rmap_size, count, __ATOMIC_RELAXED);
	if (count > RMAP_RECYCLE_THRESHOLD) {
		kvm_zap_all_rmap_sptes(kvm, head);
		if (!MUTANT(rmap_recycled_without_flush))
			hw_flush_remote_range(kvm, gfn & ~(KVM_PAGES_PER(sp->role.level) - 1),
					      KVM_PAGES_PER(sp->role.level));
	}
	return true;
}

void rmap_add(struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot, u64 *sptep, gfn_t gfn,
	      unsigned int access)
{
	if (!__rmap_add(vcpu->kvm, &vcpu->pte_list_desc_cache, slot, sptep, gfn, access))
		hw_bug(__FILE__, __LINE__, "no memory for a slot's rmaps");
}

bool rmap_add_nocache(struct kvm *kvm, const struct kvm_memory_slot *slot, u64 *sptep, gfn_t gfn,
		      unsigned int access)
{
	return __rmap_add(kvm, NULL, slot, sptep, gfn, access);
}

void rmap_remove(struct kvm *kvm, u64 *sptep)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	gfn_t gfn = kvm_mmu_page_get_gfn(sp, spte_index(sptep));
	struct kvm_memory_slot *slot = gfn_to_slot_of_role(kvm, sp->role, gfn);
	struct kvm_rmap_head *head;

	/* One that is gone from memslots already has its lists freed as a whole. */
	if (!slot)
		return;
	head = gfn_to_rmap(slot, gfn, sp->role.level);
	MMU_BUG_ON(!head);
	pte_list_remove(sptep, head);
}

/* --- parents ----------------------------------------------------------------------------- */

static bool parent_add(struct kvm_mmu_memory_cache *cache, struct kvm_mmu_page *sp, u64 *parent_pte)
{
	return pte_list_add(cache, parent_pte, &sp->parent_ptes);
}

void mmu_page_remove_parent_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *parent_pte)
{
	(void)kvm;
	pte_list_remove(parent_pte, &sp->parent_ptes);
}

void drop_parent_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *parent_pte)
{
	mmu_page_remove_parent_pte(kvm, sp, parent_pte);
	mmu_spte_clear_no_track(parent_pte);
}

bool link_shadow_page_from(struct kvm *kvm, struct kvm_mmu_memory_cache *cache, u64 *sptep,
			   struct kvm_mmu_page *sp, bool flush)
{
	u64 old = mmu_spte_get(sptep);

	if (!parent_add(cache, sp, sptep))
		return false;
	if (is_shadow_present_pte(old)) {
		/* A table in its place would be leaked: its link must have been dropped before. */
		MMU_BUG_ON(!is_large_pte(old));
		drop_large_spte(kvm, sptep, flush);
	}
	mmu_spte_set(sptep, make_nonleaf_spte(kvm, sp->spt, sp->role.ad_disabled));
	if ((sp->unsync || sp->unsync_children) && !MUTANT(link_forgets_unsync))
		mark_unsync(sptep);
	return true;
}

void link_shadow_page(struct kvm_vcpu *vcpu, u64 *sptep, struct kvm_mmu_page *sp)
{
	MMU_BUG_ON(!link_shadow_page_from(vcpu->kvm, &vcpu->pte_list_desc_cache, sptep, sp, true));
}
