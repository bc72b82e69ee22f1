/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty logging: which pages of a slot the guest wrote since the last look, by
 * bitmap (KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG) or by ring
 * (KVM_CAP_DIRTY_LOG_RING). The slot needs KVM_MEM_LOG_DIRTY_PAGES.
 */
#ifndef LIB_DIRTY_H
#define LIB_DIRTY_H

#include "vm.h"

/* A bit per 4 KiB page of a slot; page 0 is the slot's first. */
struct dirty_bitmap {
	u64 *bits;
	u64 pages;
};

struct dirty_bitmap dirty_bitmap_alloc(const struct memslot *slot);
void dirty_bitmap_free(struct dirty_bitmap *b);
bool dirty_test(const struct dirty_bitmap *b, u64 page);
/* How many pages are marked; the first one (or ~0ull). */
u64 dirty_count(const struct dirty_bitmap *b);
u64 dirty_first(const struct dirty_bitmap *b);

/* Fetches the log; without manual protection (below) that also clears it. 0 or -errno. */
int __dirty_get(const struct memslot *slot, struct dirty_bitmap *b);
void dirty_get(const struct memslot *slot, struct dirty_bitmap *b);
/*
 * Clears pages [@first, @first + @pages) that @b marks and protects them again.
 * @first is a multiple of 64; @pages too, unless it reaches the slot's end.
 */
int __dirty_clear(const struct memslot *slot, const struct dirty_bitmap *b, u64 first, u64 pages);
void dirty_clear(const struct memslot *slot, const struct dirty_bitmap *b, u64 first, u64 pages);
/*
 * KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 for the VM: fetching no longer clears. With
 * @initially_set new logs start with every bit set. Skips where unsupported.
 * For vm_config.early, or any time before a slot starts logging.
 */
void vm_manual_dirty_protect(struct vm *vm, bool initially_set);

/* One entry of a dirty ring. */
struct dirty_entry {
	u32 slot; /* number, address space in bits 31:16 */
	u64 page; /* offset in the slot, 4 KiB units */
};

/*
 * Takes what the vCPU's ring holds, at most @max entries, and hands the ring's
 * places back (they become usable after vm_dirty_ring_reset()). The VM needs
 * config.dirty_ring_entries.
 */
u32 dirty_ring_collect(struct vcpu *v, struct dirty_entry *entries, u32 max);
/* KVM_RESET_DIRTY_RINGS: protects the collected pages again; their number. */
u32 vm_dirty_ring_reset(struct vm *vm);

#endif
