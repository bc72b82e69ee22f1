// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host does to the memory behind guest frames: the invalidation sequence, which makes faults that
 * have looked a frame up before a change try again, and unmapping and ageing, in the rmaps and in the TDP MMU.
 */
#include "x86/mmu/internal.h"

/*
 * Faults look at these four without mmu_lock first, as a hint, and again with it. The sequence counts changes
 * that are complete; while one is going on, its frames are refused altogether.
 */
void kvm_mmu_invalidate_begin(struct kvm *kvm, gfn_t start, gfn_t end)
{
	u64 others = kvm->mmu_invalidate_in_progress;

	hw_assert_write_locked(kvm);
	/* Several at a time: the frames from the first to the last of any of them. */
	if (others && kvm->mmu_invalidate_start < start)
		start = kvm->mmu_invalidate_start;
	if (others && kvm->mmu_invalidate_end > end)
		end = kvm->mmu_invalidate_end;
	__atomic_store_n(&kvm->mmu_invalidate_start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&kvm->mmu_invalidate_end, end, __ATOMIC_RELAXED);
	__atomic_store_n(&kvm->mmu_invalidate_in_progress, others + 1, __ATOMIC_RELEASE);
}

void kvm_mmu_invalidate_end(struct kvm *kvm)
{
	hw_assert_write_locked(kvm);
	MMU_BUG_ON(!kvm->mmu_invalidate_in_progress);
	/*
	 * In this order: whoever sees that nothing is in progress any more must see that the
	 * sequence has moved.
	 */
	__atomic_store_n(&kvm->mmu_invalidate_seq, kvm->mmu_invalidate_seq + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&kvm->mmu_invalidate_in_progress, kvm->mmu_invalidate_in_progress - 1,
			 __ATOMIC_RELEASE);
}

bool mmu_invalidate_retry_gfn(const struct kvm *kvm, u64 mmu_seq, gfn_t gfn)
{
	if (!MUTANT(retry_ignores_progress) &&
	    __atomic_load_n(&kvm->mmu_invalidate_in_progress, __ATOMIC_ACQUIRE) &&
	    gfn >= __atomic_load_n(&kvm->mmu_invalidate_start, __ATOMIC_RELAXED) &&
	    gfn < __atomic_load_n(&kvm->mmu_invalidate_end, __ATOMIC_RELAXED) -
			    MUTANT(retry_range_one_short))
		return true;
	return __atomic_load_n(&kvm->mmu_invalidate_seq, __ATOMIC_ACQUIRE) != mmu_seq &&
	       !MUTANT(retry_ignores_sequence);
}

bool kvm_mmu_unmap_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range, bool flush)
{
	hw_assert_write_locked(kvm);
	if (MUTANT(unmap_does_nothing))
		return flush;
	range->end -= MUTANT(unmap_misses_last_page);
	if (kvm_memslots_have_rmaps(kvm))
		flush |= rmap_unmap_range(kvm, range->slot, range->start, range->end);
	if (is_tdp_mmu_enabled(kvm))
		flush = kvm_tdp_mmu_unmap_gfn_range(kvm, range, flush);
	return flush;
}

bool kvm_mmu_age_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range)
{
	bool young = false;

	hw_assert_write_locked(kvm);
	if (kvm_memslots_have_rmaps(kvm))
		young = rmap_age_range(kvm, range->slot, range->start, range->end);
	if (is_tdp_mmu_enabled(kvm) && !MUTANT(age_tells_old))
		young |= kvm_tdp_mmu_age_gfn_range(kvm, range);
	return young;
}
