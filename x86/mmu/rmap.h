/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shadow MMU's own: single SPTEs, reverse maps from a frame or a table to the SPTEs that point
 * to it, parent links, and what page.c, rmap.c, zap.c, shadow.c, direct.c and sync.c share beyond
 * internal.h. All of it under mmu_lock for write unless said otherwise.
 */
#ifndef X86_MMU_RMAP_H
#define X86_MMU_RMAP_H

#include "x86/mmu/internal.h"

/* --- single SPTEs (rmap.c) --------------------------------------------------------------- */

/* Index of @sptep in its table. */
static inline int spte_index(const u64 *sptep)
{
	return ((u64)sptep / sizeof(*sptep)) % SPTE_ENT_PER_PAGE;
}

/* Reads an SPTE that the hardware or a fast page fault may be changing. */
static inline u64 mmu_spte_get(const u64 *sptep)
{
	return __atomic_load_n(sptep, __ATOMIC_ACQUIRE);
}

/*
 * Index of the first of @n words at @t that isn't 0, from @i on; @n if there is none. Most tables are nearly empty, so
 * eight at a time are asked.
 */
static inline u64 mmu_next_used(const u64 *t, u64 i, u64 n)
{
	for (; i < n && i % 8; i++)
		if (mmu_spte_get(&t[i]))
			return i;
	for (; i + 8 <= n; i += 8)
		if (mmu_spte_get(&t[i]) | mmu_spte_get(&t[i + 1]) | mmu_spte_get(&t[i + 2]) |
		    mmu_spte_get(&t[i + 3]) | mmu_spte_get(&t[i + 4]) | mmu_spte_get(&t[i + 5]) |
		    mmu_spte_get(&t[i + 6]) | mmu_spte_get(&t[i + 7]))
			break;
	for (; i < n; i++)
		if (mmu_spte_get(&t[i]))
			break;
	return i;
}

/* For each index @i below @n of a word at @t that isn't 0. */
#define for_each_used(i, t, n) \
	for (i = mmu_next_used(t, 0, n); i < (n); i = mmu_next_used(t, i + 1, n))

/* Sets an entry that is not present (0 or MMIO). The table that @new points to is complete. */
static inline void mmu_spte_set(u64 *sptep, u64 new)
{
	__atomic_store_n(sptep, new, __ATOMIC_RELEASE);
}

/*
 * Replaces an entry, present before and after, that maps the same page. Tells the host of A and D
 * that get lost. True: it takes rights, A or D away that TLBs may hold: a flush is owed. The other
 * one tells nobody.
 */
bool mmu_spte_update(u64 *sptep, u64 new, const struct kvm *kvm);
u64 mmu_spte_update_no_track(u64 *sptep, u64 new);
/* Clears a leaf; the old entry. Counters and the host's A and D follow; the rmap does not. */
u64 mmu_spte_clear_track_bits(struct kvm *kvm, u64 *sptep);
/* Clears an entry that has no A and D of a page in it: a pointer to a table, MMIO. */
static inline void mmu_spte_clear_no_track(u64 *sptep)
{
	__atomic_store_n(sptep, 0, __ATOMIC_RELEASE);
}

/* --- lists of SPTEs (rmap.c) ------------------------------------------------------------- */

/*
 * A list of SPTEs, in a struct kvm_rmap_head, for a frame's mappings of one size and for a table's
 * parents: none; a single one in the head itself; or descriptors, of which only the first is not
 * full.
 */
#define PTE_LIST_EXT 14
struct pte_list_desc {
	struct pte_list_desc *more;
	u32 count; /* in this one */
	u32 below; /* in those behind it */
	u64 *sptes[PTE_LIST_EXT];
};

struct rmap_iterator {
	struct pte_list_desc *desc; /* NULL: the head has the only one */
	unsigned int pos;
};

/*
 * First and next SPTE, or NULL. The list must not change in between: begin again after a removal.
 */
u64 *rmap_get_first(const struct kvm_rmap_head *head, struct rmap_iterator *iter);
u64 *rmap_get_next(struct rmap_iterator *iter);

#define for_each_rmap_spte(head, iter, sptep) \
	for (sptep = rmap_get_first(head, iter); sptep != NULL; sptep = rmap_get_next(iter))

/*
 * Adds; @cache may be NULL: descriptors are allocated then. How many there are now; 0: no memory,
 * only without a cache.
 */
unsigned int pte_list_add(struct kvm_mmu_memory_cache *cache, u64 *sptep,
			  struct kvm_rmap_head *head);
void pte_list_remove(u64 *sptep, struct kvm_rmap_head *head);
/* Forgets all on the list. */
void pte_list_clear(struct kvm_rmap_head *head);
unsigned int pte_list_count(const struct kvm_rmap_head *head);

/* --- rmaps of slots (rmap.c) ------------------------------------------------------------- */

/* A list that outgrows this is emptied. */
#define RMAP_RECYCLE_THRESHOLD 1000

/* The slot of @gfn in address space @as_id; NULL: none (any more). */
static inline struct kvm_memory_slot *gfn_to_slot_of_as(struct kvm *kvm, int as_id, gfn_t gfn)
{
	struct kvm_memslots *slots = kvm_memslots(kvm, as_id);

	return slots ? gfn_to_memslot(slots, gfn) : NULL;
}

/* The one that entries of a page of @role map. */
static inline struct kvm_memory_slot *gfn_to_slot_of_role(struct kvm *kvm,
							  union kvm_mmu_page_role role, gfn_t gfn)
{
	return gfn_to_slot_of_as(kvm, MUTANT(rmap_of_other_space) ? 0 : role.smm, gfn);
}

/* The list of @gfn's mappings of @level; NULL: the slot has no rmaps, so no mappings. */
static inline struct kvm_rmap_head *gfn_to_rmap(const struct kvm_memory_slot *slot, gfn_t gfn,
						int level)
{
	struct kvm_rmap_head *heads =
		__atomic_load_n(&slot->arch.rmap[level - 1], __ATOMIC_ACQUIRE);

	return heads ? &heads[slot_index(slot, gfn, level)] : NULL;
}

/*
 * @sptep, just installed for @gfn with the rights @access (ACC_*) of the guest's entry, joins its
 * rmap; keeps the translation and counts the page. Zaps all of the frame's mappings, and flushes,
 * when there are too many.
 */
void rmap_add(struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot, u64 *sptep, gfn_t gfn,
	      unsigned int access);
/* The same without a vCPU. False: no memory, nothing was done (the SPTE is to be cleared). */
bool rmap_add_nocache(struct kvm *kvm, const struct kvm_memory_slot *slot, u64 *sptep, gfn_t gfn,
		      unsigned int access);
/* Takes @sptep out of its rmap; by the translation that its page has kept. */
void rmap_remove(struct kvm *kvm, u64 *sptep);
/* drop_spte() of a huge page, then the flush, if @flush and one is owed at all. */
void drop_large_spte(struct kvm *kvm, u64 *sptep, bool flush);
/* Drops all on the list. True: there were some: a flush is owed. */
bool kvm_zap_all_rmap_sptes(struct kvm *kvm, struct kvm_rmap_head *head);
/*
 * Takes W away; with @pt_protect also the right to give it back without mmu_lock. True: a flush is
 * owed.
 */
bool spte_write_protect(struct kvm *kvm, u64 *sptep, bool pt_protect);

/* --- parents (rmap.c) -------------------------------------------------------------------- */

/*
 * Makes *@sptep point to @sp's table. What is there (a huge page, dropped; else not present) goes
 * first, @flush then flushes at once. Marks the parents if @sp is unsync or has unsync children.
 */
void link_shadow_page(struct kvm_vcpu *vcpu, u64 *sptep, struct kvm_mmu_page *sp);
/* The same with a huge page's replacement: @cache NULL allocates; false: no memory. */
bool link_shadow_page_from(struct kvm *kvm, struct kvm_mmu_memory_cache *cache, u64 *sptep,
			   struct kvm_mmu_page *sp, bool flush);
/*
 * *@parent_pte does not point to @sp any more: @sp is told; and with *@parent_pte cleared. Also
 * for entries of pae_root and others that are no shadow page.
 */
void mmu_page_remove_parent_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *parent_pte);
void drop_parent_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *parent_pte);

/* --- shadow pages (page.c) --------------------------------------------------------------- */

/* Whether a guest's table is behind @sp: it is indirect and of a level that the guest has. */
static inline bool sp_has_gptes(const struct kvm_mmu_page *sp)
{
	return !sp->role.direct && !sp->role.passthrough;
}

static inline struct list *kvm_page_hash(const struct kvm *kvm, gfn_t gfn)
{
	return &kvm->arch.page_hash[(gfn * 0x61c8864680b583ebull) >> (64 - KVM_MMU_HASH_BITS)];
}

/*
 * All pages that shadow @gfn's guest table and are not obsolete. Zapping (prepare) any page within
 * is fine; committing is not.
 */
#define for_each_gfn_valid_sp_with_gptes(kvm_, sp, gfn_)                                      \
	list_for_each(sp, kvm_page_hash(kvm_, gfn_), hash_link) if (sp->gfn != (gfn_) ||      \
								    !sp_has_gptes(sp) ||      \
								    is_obsolete_sp(kvm_, sp)) \
	{                                                                                     \
	}                                                                                     \
	else

/*
 * A page, new and empty, in the hash and active; without @vcpu from no cache: NULL is no memory
 * then.
 */
struct kvm_mmu_page *mmu_alloc_shadow_page(struct kvm *kvm, struct kvm_vcpu *vcpu, gfn_t gfn,
					   union kvm_mmu_page_role role);
/*
 * kvm_mmu_get_child_sp(vcpu, sptep, …), of internal.h: NULL: *@sptep points to the right page
 * already. Otherwise it does not point to any table when that returns: link_shadow_page() is what
 * comes next.
 */
/* Role of a child below entry @sptep. */
union kvm_mmu_page_role kvm_mmu_child_role(u64 *sptep, bool direct, unsigned int access);
/*
 * The page with @gfn and @role without a vCPU, direct ones only: as found or made; NULL: no memory.
 */
struct kvm_mmu_page *mmu_get_direct_sp(struct kvm *kvm, gfn_t gfn, union kvm_mmu_page_role role);
/* Frees a page that commit_zap has flushed, once nobody can be looking at it. */
void mmu_free_shadow_pages(struct kvm *kvm, struct list *pages);
/*
 * The guest's table at sp->gfn is shadowed (no longer): write tracking or protection, huge pages,
 * counter.
 */
void account_shadowed(struct kvm *kvm, struct kvm_mmu_page *sp);
void unaccount_shadowed(struct kvm *kvm, struct kvm_mmu_page *sp);
/* Write tracking of @gfn, for tables of upper levels. add: protects it and flushes. */
void kvm_write_track_add_gfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn);
void kvm_write_track_remove_gfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn);
/* Allocates what write tracking of @slot needs, unless it has it. 0, -ENOMEM. Any lock. */
int kvm_mmu_alloc_write_track(struct kvm_memory_slot *slot);
static inline void clear_sp_write_flooding_count(u64 *sptep)
{
	__atomic_store_n(&sptep_to_sp(sptep)->write_flooding_count, 0, __ATOMIC_RELAXED);
}

/* --- unsync pages (sync.c) --------------------------------------------------------------- */

/*
 * mmu_sync_page_if_needed(vcpu, sp, invalid_list), of internal.h: true: @sp is in sync (any flush
 * it took is done); false: it could not be: it was zapped, into @invalid_list.
 */

/*
 * Tells @sp's ancestors that an unsync page is below them: by all its parents, or below one entry.
 */
void kvm_mmu_mark_parents_unsync(struct kvm_mmu_page *sp);
void mark_unsync(u64 *sptep);
/* Entry @index of @sp has no unsync page below it any more. */
void clear_unsync_child_bit(struct kvm_mmu_page *sp, int index);
/* @sp is in sync again, or zapped: clears unsync and counts (stat mmu_unsync). */
void kvm_unlink_unsync_page(struct kvm *kvm, struct kvm_mmu_page *sp);
/* Zaps (prepare) all unsync pages below @parent. How many pages went, their children counted. */
int mmu_zap_unsync_children(struct kvm *kvm, struct kvm_mmu_page *parent,
			    struct list *invalid_list);

/* --- zapping (zap.c) --------------------------------------------------------------------- */

/* A fault may need this many pages; make_mmu_pages_available() sees to it. */
#define KVM_MIN_FREE_MMU_PAGES 5

/*
 * As kvm_mmu_prepare_zap_page(); *@nr_zapped: how many pages went. True: more than @sp: lists that
 * were being walked have changed.
 */
bool __kvm_mmu_prepare_zap_page(struct kvm *kvm, struct kvm_mmu_page *sp, struct list *invalid_list,
				int *nr_zapped);
/*
 * The usual end of an operation: commits @invalid_list (which flushes), or flushes alone if
 * @remote_flush. True: flushed.
 */
bool kvm_mmu_remote_flush_or_zap(struct kvm *kvm, struct list *invalid_list, bool remote_flush);

#endif
