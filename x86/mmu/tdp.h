/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two halves of the TDP MMU share: tdp_mmu.c has roots, faults and the changing
 * of entries, tdp_slot.c what happens to ranges of frames.
 *
 * Who holds mmu_lock for read changes an entry by compare-and-exchange only, and never
 * one that is REMOVED_SPTE: that one belongs to whoever froze it. Who holds it for write
 * still shares entries with the hardware and with fast page faults.
 *
 * A table that is taken out is freed when the RCU sections of that moment are over. The one
 * who takes it out is within one until the flush is done, so no vCPU walks a freed table.
 */
#ifndef X86_MMU_TDP_H
#define X86_MMU_TDP_H

#include "x86/mmu/tdp_iter.h"

/*
 * The root after @prev (NULL: the first) of address space @as_id (negative: any), held; lets
 * go of @prev. @valid_only: not those that are invalid. NULL at the end.
 */
struct kvm_mmu_page *tdp_next_root(struct kvm *kvm, struct kvm_mmu_page *prev, int as_id,
				   bool valid_only);
/* A loop that is left early has to put @root. */
#define for_each_tdp_root(kvm, root, as_id, valid_only)                              \
	for (root = tdp_next_root((kvm), NULL, (as_id), (valid_only)); root != NULL; \
	     root = tdp_next_root((kvm), root, (as_id), (valid_only)))

/*
 * Replaces the entry, if it still is iter->old_spte. False: it isn't, and iter->old_spte is what
 * it is now.
 * All that follows from the change is done, but for the flush.
 */
bool tdp_set_spte_atomic(struct kvm *kvm, struct tdp_iter *iter, u64 new_spte);
/* Replaces the entry, whatever it is. mmu_lock for write. */
void tdp_set_spte(struct kvm *kvm, struct tdp_iter *iter, u64 new_spte);
/* Clears @bits of a present leaf, and no others. Any lock. False: it isn't one any more. */
bool tdp_clear_spte_bits(struct kvm *kvm, struct tdp_iter *iter, u64 bits);
/* Empties the entry, flushes before anybody can fill it. mmu_lock for read. False as above. */
bool tdp_zap_spte_atomic(struct kvm *kvm, struct tdp_iter *iter);

/*
 * If somebody waits for mmu_lock, and the iterator has got on since it was last dropped: drops
 * and retakes it, after a flush if @flush. True: it was dropped; the caller is to take the next
 * step.
 */
bool tdp_iter_cond_resched(struct kvm *kvm, struct tdp_iter *iter, bool flush, bool shared);

/* A table that nobody knows yet, to hang below the entry that @iter is at. */
void tdp_init_child_sp(struct kvm *kvm, struct kvm_mmu_page *sp, const struct tdp_iter *iter);
/* Has the entry point to @sp, if it is iter->old_spte still; false: @sp is the caller's. */
bool tdp_link_sp(struct kvm *kvm, struct tdp_iter *iter, struct kvm_mmu_page *sp);
/* An empty table and its header; NULL: no memory. The reverse, for one that was never linked. */
struct kvm_mmu_page *tdp_alloc_sp(void);
void tdp_free_sp(struct kvm_mmu_page *sp);

#endif
