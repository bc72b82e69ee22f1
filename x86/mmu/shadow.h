/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files that install SPTEs share: the way down through shadow tables, and single
 * entries of guest tables that become SPTEs. shadow.c (faults of guests with paging), direct.c
 * (everything else), sync.c and write.c.
 */
#ifndef X86_MMU_SHADOW_H
#define X86_MMU_SHADOW_H

#include "x86/mmu/internal.h"
#include "x86/mmu/rmap.h"

/* How many entries are mapped at a time, when their pages are at hand; a power of two. */
#define PTE_PREFETCH_NUM 8

/*
 * The way of an address down the tables that the hardware walks. With mmu_lock, or lockless
 * below hw_rcu_read_lock(); then the caller passes on the value of the entry that it has read.
 */
struct shadow_walk {
	u64 addr;
	hpa_t table;
	int level;  /* 0: the end */
	u64 *sptep; /* after shadow_walk_okay() */
};

/* Begins at @root, one of @vcpu's; PAE: below the four top entries, so at level 2. */
void shadow_walk_init(struct shadow_walk *w, struct kvm_vcpu *vcpu, hpa_t root, u64 addr);

static inline bool shadow_walk_okay(struct shadow_walk *w)
{
	if (w->level < PG_LEVEL_4K)
		return false;
	w->sptep = (u64 *)hw_va(w->table) + SPTE_INDEX(w->addr, w->level);
	return true;
}

/* Goes on below the entry, whose value is @spte; ends at a leaf and at what isn't present. */
static inline void shadow_walk_next(struct shadow_walk *w, u64 spte)
{
	if (!is_shadow_present_pte(spte) || is_last_spte(spte, w->level)) {
		w->level = 0;
		return;
	}
	w->table = spte_to_hpa(spte);
	w->level--;
}

/*
 * Goes down by direct pages from where @w is to fault->goal_level, makes the leaf there and
 * maps its neighbours.
 */
int shadow_map_direct(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, struct shadow_walk *w,
		      unsigned int access);
/* Maps the neighbours of *@sptep in a direct last-level page, as far as their pages are there. */
void direct_pte_prefetch(struct kvm_vcpu *vcpu, u64 *sptep);
/*
 * The frame behind @gfn for mapping ahead, writable by the host. NULL: none, not there now;
 * with @write also where a writable mapping would be logged as a write.
 */
struct kvm_memory_slot *prefetch_frame(struct kvm_vcpu *vcpu, gfn_t gfn, bool write, hpa_t *pfn);
/* Flushes what TLBs may have of @pages frames from @gfn that @sp maps. */
void shadow_flush_gfns(struct kvm *kvm, const struct kvm_mmu_page *sp, gfn_t gfn, u64 pages);

/* Whether @sp is of @vcpu's current paging mode, so that its guest entries can be understood. */
bool sync_possible(const struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp);
/*
 * Reads the guest's entry behind entry @index of the last-level page @sp. False: there is no
 * memory.
 */
bool sync_read_gpte(struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp, int index, u64 *gpte);
/* Whether an SPTE may be made of last-level entry @gpte without an access having been made. */
bool sync_gpte_valid(const struct kvm_vcpu *vcpu, u64 gpte);
/* ACC_* of last-level entry @gpte in @sp. */
unsigned int sync_gpte_access(const struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp, u64 gpte);
/*
 * Entry @index of @sp, which is not empty, follows the guest's entry as it is now: 1 if a flush
 * is owed, 0 if not; negative: it can't be read.
 */
int sync_spte(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp, int index);
/* Reads @size bytes of guest memory at @gpa, aligned. */
bool shadow_read_guest(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int size, u64 *value);

#endif
