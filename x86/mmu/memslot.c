// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory slots as the MMU sees them: finding the one that has a frame, what is kept for each of a slot's frames
 * and huge pages, and the consequences of a slot's coming, going and changing its flags, dirty logging first.
 */
#include "x86/mmu/internal.h"
#include "x86/mmu/rmap.h"

struct kvm_memory_slot *gfn_to_memslot(struct kvm_memslots *slots, gfn_t gfn)
{
	unsigned int low = 0, high = slots->nr;
	struct kvm_memory_slot *slot;

	/* The last one that begins at @gfn or below. */
	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (slots->slot[mid]->base_gfn <= gfn)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return NULL;
	slot = slots->slot[low - 1];
	return gfn - slot->base_gfn < slot->npages ? slot : NULL;
}

/* --- coming and going --------------------------------------------------------------- */

static int alloc_lpage_info(struct kvm_memory_slot *slot, int level)
{
	u64 mask = KVM_PAGES_PER(level) - 1;
	gfn_t end = slot->base_gfn + slot->npages;
	u64 n = slot_index(slot, end - 1, level) + 1;
	struct kvm_lpage_info *info = hw_alloc(n * sizeof(*info));

	if (!info)
		return -ENOMEM_;
	slot->arch.lpage_info[level - 1] = info;

	/*
	 * A huge page in the guest is one in the host only where both are aligned alike. Else,
	 * and where the slot has only part of one, there is a reason against it for good.
	 */
	if (((slot->base_gfn ^ (slot->hva >> PAGE_SHIFT)) & mask) &&
	    !MUTANT(huge_page_misaligned)) {
		for (u64 i = 0; i < n; i++)
			info[i].disallow_lpage = 1;
		return 0;
	}
	if (slot->base_gfn & mask && !MUTANT(huge_page_before_slot))
		info[0].disallow_lpage = 1;
	if (end & mask && !MUTANT(huge_page_past_slot_end))
		info[n - 1].disallow_lpage = 1;
	return 0;
}

int kvm_mmu_slot_create(struct kvm *kvm, struct kvm_memory_slot *slot)
{
	int r = 0;

	__builtin_memset(&slot->arch, 0, sizeof(slot->arch));
	for (int level = PG_LEVEL_2M; level <= PG_LEVEL_1G && !r; level++)
		r = alloc_lpage_info(slot, level);
	if (!r && kvm_memslots_have_rmaps(kvm))
		r = kvm_mmu_alloc_rmaps(slot);
	/* Tables of the guest are shadowed from the start, or once a nested guest's have been. */
	if (!r && (!mmu_params_tdp(&kvm->params) ||
		   __atomic_load_n(&kvm->arch.shadow_root_allocated, __ATOMIC_ACQUIRE)))
		r = kvm_mmu_alloc_write_track(slot);
	if (r)
		kvm_mmu_slot_free(slot);
	return r;
}

void kvm_mmu_slot_free(struct kvm_memory_slot *slot)
{
	for (int i = 0; i < KVM_NR_PAGE_SIZES; i++) {
		hw_free(slot->arch.rmap[i]);
		hw_free(slot->arch.lpage_info[i]);
	}
	hw_free(slot->arch.gfn_write_track);
	__builtin_memset(&slot->arch, 0, sizeof(slot->arch));
}

void kvm_mmu_flush_slot(struct kvm *kvm, struct kvm_memory_slot *slot)
{
	(void)slot;
	/*
	 * Everything, not just what the slot maps: shadow pages of the slot's own frames, were they
	 * to stay, would go on being write-protected and counted in a slot that is gone.
	 */
	if (kvm->params.zap_all_on_slot)
		kvm_mmu_zap_all(kvm);
	else
		kvm_mmu_zap_all_fast(kvm);
}

void kvm_mmu_invalidate_mmio_sptes(struct kvm *kvm, u64 gen)
{
	gen &= ~KVM_MEMSLOT_GEN_UPDATE;
	/*
	 * An MMIO SPTE remembers the generation's low bits, and counts until slots change. When
	 * those bits start over, an old one would count again. The lowest bit tells address
	 * spaces apart.
	 */
	if (gen & ~MMIO_GEN_MASK && !(gen & MMIO_GEN_MASK & ~1ull) &&
	    !MUTANT(mmio_generation_never_wraps))
		kvm_mmu_zap_all_fast(kvm);
}

/* --- flags, dirty logging -------------------------------------------------------------- */

/*
 * Flushes are the caller's: splitting changes no translation, only what it is made of; but what
 * follows takes rights away.
 */
static void split_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start,
			     gfn_t end)
{
	if (kvm_memslots_have_rmaps(kvm)) {
		hw_write_lock(kvm);
		rmap_slot_split_huge(kvm, slot, start, end, PG_LEVEL_4K);
		hw_write_unlock(kvm);
	}
	if (is_tdp_mmu_enabled(kvm)) {
		hw_read_lock(kvm);
		kvm_tdp_mmu_try_split_huge_pages(kvm, slot, start, end, PG_LEVEL_4K, true);
		hw_read_unlock(kvm);
	}
}

/* Writes to pages of @min_level and larger are to be seen as faults. */
static void remove_write_access(struct kvm *kvm, const struct kvm_memory_slot *slot, int min_level)
{
	if (kvm_memslots_have_rmaps(kvm)) {
		hw_write_lock(kvm);
		if (!MUTANT(log_start_protects_none_rmap))
			rmap_slot_write_protect(kvm, slot, min_level);
		hw_write_unlock(kvm);
	}
	if (is_tdp_mmu_enabled(kvm)) {
		hw_read_lock(kvm);
		if (!MUTANT(log_start_protects_none))
			kvm_tdp_mmu_wrprot_slot(kvm, slot, min_level);
		hw_read_unlock(kvm);
	}
}

/* Writes to small pages are to be seen by the D bits that they set. */
static void clear_dirty(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	if (kvm_memslots_have_rmaps(kvm)) {
		hw_write_lock(kvm);
		rmap_slot_clear_dirty(kvm, slot);
		hw_write_unlock(kvm);
	}
	if (is_tdp_mmu_enabled(kvm)) {
		hw_read_lock(kvm);
		kvm_tdp_mmu_clear_dirty_slot(kvm, slot);
		hw_read_unlock(kvm);
	}
}

static void recover_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	/* The tables that go may be in use until the flush: it belongs to the same section. */
	if (kvm_memslots_have_rmaps(kvm)) {
		hw_write_lock(kvm);
		if (!MUTANT(huge_page_never_recovered_rmap) && rmap_slot_recover_huge(kvm, slot))
			hw_flush_remote_range(kvm, slot->base_gfn, slot->npages);
		hw_write_unlock(kvm);
	}
	if (is_tdp_mmu_enabled(kvm)) {
		hw_read_lock(kvm);
		if (kvm_tdp_mmu_recover_huge_pages(kvm, slot))
			hw_flush_remote_range(kvm, slot->base_gfn, slot->npages);
		hw_read_unlock(kvm);
	}
}

void kvm_mmu_slot_apply_flags(struct kvm *kvm, u32 old_flags, struct kvm_memory_slot *new)
{
	if (!((old_flags ^ new->flags) & SLOT_LOG_DIRTY))
		return;
	if (!slot_logs_dirty(new)) {
		recover_huge_pages(kvm, new);
		return;
	}
	/* All frames count as written: there is nothing to watch until user space clears some. */
	if (kvm->manual_dirty_log_protect && kvm->initially_all_set)
		return;
	if (mmu_param_now(&kvm->params, eager_page_split))
		split_huge_pages(kvm, new, new->base_gfn, new->base_gfn + new->npages);
	/*
	 * Each write is seen as a fault, unless the processor logs the D bits that it sets. Then only
	 * huge pages are protected: the log is of small ones.
	 */
	if (mmu_params_pml(&kvm->params)) {
		clear_dirty(kvm, new);
		remove_write_access(kvm, new, PG_LEVEL_2M);
	} else {
		remove_write_access(kvm, new, PG_LEVEL_4K);
	}
	/*
	 * In any case: entries may have been protected before by somebody whose own flush is still
	 * to come, and the log is on when this call is over.
	 */
	hw_yield_point(kvm, "kvm_mmu_slot_apply_flags: flush");
	if (!MUTANT(log_start_without_flush))
		hw_flush_remote_range(kvm, new->base_gfn, new->npages);
}

void kvm_mmu_log_dirty_masked(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t offset, u64 mask)
{
	bool pml = mmu_params_pml(&kvm->params);

	hw_assert_write_locked(kvm);
	/* Huge pages were left alone when logging started this way: now they must go. */
	if (kvm->manual_dirty_log_protect && kvm->initially_all_set) {
		gfn_t first = slot->base_gfn + offset + (u64)__builtin_ctzll(mask);
		gfn_t last = slot->base_gfn + offset + 63 - (u64)__builtin_clzll(mask);

		if (mmu_param_now(&kvm->params, eager_page_split)) {
			if (kvm_memslots_have_rmaps(kvm))
				rmap_slot_split_huge(kvm, slot, first, last + 1, PG_LEVEL_4K);
			if (is_tdp_mmu_enabled(kvm))
				kvm_tdp_mmu_try_split_huge_pages(
					kvm, slot, first, last + !MUTANT(clear_splits_one_less),
					PG_LEVEL_4K, false);
		}
		kvm_mmu_slot_gfn_write_protect(kvm, slot, first, PG_LEVEL_2M);
		/* 64 frames lie in one page of 2 MiB, or in two. */
		if ((first ^ last) >> 9 && !MUTANT(clear_protects_one_huge_page))
			kvm_mmu_slot_gfn_write_protect(kvm, slot, last, PG_LEVEL_2M);
	}

	if (kvm_memslots_have_rmaps(kvm)) {
		if (pml)
			rmap_clear_dirty_masked(kvm, slot, offset, mask);
		else
			rmap_write_protect_masked(kvm, slot, offset, mask);
	}
	if (is_tdp_mmu_enabled(kvm))
		kvm_tdp_mmu_clear_dirty_masked(kvm, slot, slot->base_gfn + offset, mask, !pml);
}
