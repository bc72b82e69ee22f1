/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the MMU share among themselves: the shadow page, the fault on its way through
 * the pipeline, and each part's calls.
 */
#ifndef X86_MMU_INTERNAL_H
#define X86_MMU_INTERNAL_H

#include "x86/mmu/mmu.h"
#include "x86/mmu/spte.h"
#include "x86/mmu/trace.h"

#define EPERM_	1
#define EFAULT_ 14
#define EEXIST_ 17
#define ENOMEM_ 12
#define EAGAIN_ 11
#define EIO_	5

#define SPTE_ENT_PER_PAGE	512
#define LEVEL_SHIFT(level)	(PAGE_SHIFT + 9 * ((level)-1)) /* of tables that the MMU makes */
#define SPTE_INDEX(addr, level) (((addr) >> LEVEL_SHIFT(level)) & (SPTE_ENT_PER_PAGE - 1))

/*
 * A table that the MMU made, for the TDP MMU and for the shadow MMU alike: a shadow page. It is found from any of its
 * entries by sptep_to_sp().
 */
struct kvm_mmu_page {
	struct list link;      /* active_mmu_pages, an invalid list, or the TDP MMU's */
	struct list hash_link; /* shadow MMU: its bucket */
	union kvm_mmu_page_role role;
	u8 mmu_valid_gen;
	bool tdp_mmu_page;
	bool unsync; /* guest's table may have changed without this one */
	u8 watched;  /* shadow MMU: bit per address space whose slot knows that gfn is a table */
	bool nx_huge_page_disallowed; /* stands here only because of the NX workaround */
	bool nx_huge_page_possible;   /* … and would be a huge page else: for the auditor */
	int root_count; /* vCPU roots (and previous roots) that it is; TDP MMU: references, atomic */
	gfn_t gfn;	/* of the guest's table; direct: first frame that it maps */
	u64 *spt;
	/*
	 * Per entry: gfn << PAGE_SHIFT | ACC_*, what the guest's entry said when the SPTE was made; NULL for direct pages, whose
	 * entries follow from gfn and role.access.
	 */
	u64 *shadowed_translation;
	unsigned int unsync_children; /* entries whose subtree has unsync pages */
	u64 unsync_child_bitmap[SPTE_ENT_PER_PAGE / 64];
	struct kvm_rmap_head parent_ptes; /* shadow MMU: SPTEs that point here */
	u64 *ptep;			  /* TDP MMU: the one that does; NULL: root or unlinked */
	bool zap_scheduled;		  /* TDP MMU: an invalid root whose tables still stand */
	int write_flooding_count;
	struct list possible_nx_huge_page_link;
	struct kvm *kvm; /* TDP MMU: for deferred freeing */
};

/* The shadow page whose table @sptep is in; that of the table at @hpa. */
static inline struct kvm_mmu_page *sptep_to_sp(const u64 *sptep)
{
	return __atomic_load_n(hw_table_owner(sptep), __ATOMIC_RELAXED);
}

static inline struct kvm_mmu_page *to_shadow_page(hpa_t hpa)
{
	return sptep_to_sp(hw_va(hpa));
}

static inline struct kvm_mmu_page *root_to_sp(hpa_t root)
{
	return root == INVALID_PAGE ? NULL : to_shadow_page(root & ~0xfffull);
}

/*
 * Whether the dirty log can't go by D in @sp's entries: what the processor logs of a nested guest's
 * writes are not this VM's addresses. Where it logs nothing, nothing goes by D either; and the bit
 * that would say so is a reserved one in PAE's entries.
 */
static inline bool kvm_mmu_page_ad_need_write_protect(const struct kvm *kvm,
						      const struct kvm_mmu_page *sp)
{
	return sp->role.guest_mode && mmu_params_pml(&kvm->params);
}

static inline bool is_obsolete_sp(struct kvm *kvm, const struct kvm_mmu_page *sp)
{
	/* vCPUs ask this of their roots also without mmu_lock. */
	union kvm_mmu_page_role role = {.word = __atomic_load_n(&sp->role.word, __ATOMIC_ACQUIRE)};

	return role.invalid ||
	       sp->mmu_valid_gen != __atomic_load_n(&kvm->arch.mmu_valid_gen, __ATOMIC_ACQUIRE);
}

static inline bool is_tdp_mmu_enabled(const struct kvm *kvm)
{
	return mmu_params_tdp(&kvm->params) && kvm->params.tdp_mmu;
}

/* Whether slots have rmaps: not as long as the TDP MMU alone is in use. */
static inline bool kvm_memslots_have_rmaps(const struct kvm *kvm)
{
	return !is_tdp_mmu_enabled(kvm) ||
	       __atomic_load_n(&kvm->arch.shadow_root_allocated, __ATOMIC_ACQUIRE);
}

/* Adds to a VM's counter; any thread. */
#define vm_stat_add(kvm, name, n) __atomic_fetch_add(&(kvm)->stat.name, (n), __ATOMIC_RELAXED)
/* Adds to a vCPU's counter; its own thread, others may read. */
#define vcpu_stat_inc(vcpu, name) \
	__atomic_store_n(&(vcpu)->stat.name, (vcpu)->stat.name + 1, __ATOMIC_RELAXED)

/* A leaf SPTE of @level appeared (+1) or went (-1): pages_4k and so on. */
static inline void kvm_update_page_stats(struct kvm *kvm, int level, int count)
{
	u64 *stat = level == PG_LEVEL_4K   ? &kvm->stat.pages_4k
		    : level == PG_LEVEL_2M ? &kvm->stat.pages_2m
					   : &kvm->stat.pages_1g;

	__atomic_fetch_add(stat, (s64)count, __ATOMIC_RELAXED);
}

/* --- the fault (fault.c) ----------------------------------------------------------- */

/*
 * A page fault and what each stage finds out about it. Stages, in order: MMIO by SPTE; write tracking; fast
 * path; topping up caches; resolving the frame; staleness check under mmu_lock; mapping.
 */
struct kvm_page_fault {
	u64 addr;	/* gpa (direct) or gva as the hardware reported it */
	u64 error_code; /* PFERR_* */
	bool exec, write, present, rsvd, user;
	bool prefetch; /* nobody accesses it: must not have side effects */
	bool is_tdp;   /* taken in the second dimension */
	bool nx_huge_page_workaround_enabled;
	bool huge_page_disallowed; /* by the NX workaround, and the access is a fetch */
	bool write_fault_to_shadow_pgtable; /* the guest writes to a table that translates this very access */
	u8 max_level;			    /* what the slot, the MMU and the guest allow */
	u8 req_level;			    /* what the host's page allows as well */
	u8 goal_level;			    /* what will be mapped */
	gpa_t gpa; /* indirect: what the guest's tables say; direct: addr */
	gfn_t gfn;
	struct kvm_memory_slot *slot; /* NULL: MMIO */
	u64 mmu_seq;
	hpa_t pfn; /* hpa of the frame of gfn (address, not a number) */
	u64 hva;
	bool map_writable; /* the host allows writing */
	u8 host_level;
};

/*
 * kvm_faultin_pfn(): RET_PF_CONTINUE with pfn, map_writable, slot, mmu_seq set, or what else ends the fault; -EFAULT …
 * @access: what the guest's entries allow (ACC_*), for the MMIO cache.
 */
int kvm_faultin_pfn(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, unsigned int access);
/* With mmu_lock: the root is obsolete or an invalidation covers fault->hva's frame: try again. */
bool is_page_fault_stale(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* notifier.c. A change of @gfn's memory is going on, or one was completed since @mmu_seq was read; with mmu_lock: certain. */
bool mmu_invalidate_retry_gfn(const struct kvm *kvm, u64 mmu_seq, gfn_t gfn);
/* fault->gfn is write-tracked or shadowed in a way that a write to it must be emulated; lockless. */
bool page_fault_handle_page_track(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* RET_PF_INVALID, or the fault has been resolved without mmu_lock. */
int fast_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* The direct fault handler (TDP, and guests without paging). */
int direct_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* Marks *sptep an MMIO SPTE of @gfn in the current generation. */
void mark_mmio_spte(struct kvm_vcpu *vcpu, u64 *sptep, gfn_t gfn, unsigned int access);
/* The vCPU's latest MMIO access: forgets that of @gva's page, or any. */
#define MMIO_GVA_ANY  (~0ull)
#define MMIO_GVA_NONE (~0ull) /* mmio_gva: the access is known by its frame only */
#define MMIO_GEN_NONE (~0ull)
static inline void vcpu_clear_mmio_info(struct kvm_vcpu *vcpu, gva_t gva)
{
	if (gva == MMIO_GVA_ANY || vcpu->mmio_gva == (gva & ~(SZ_4K - 1)))
		vcpu->mmio_gen = MMIO_GEN_NONE;
}
int mmu_topup_memory_caches(struct kvm_vcpu *vcpu, bool maybe_indirect); /* 0, -ENOMEM */
void mmu_free_memory_caches(struct kvm_vcpu *vcpu);
void *kvm_mmu_memory_cache_alloc(struct kvm_mmu_memory_cache *mc); /* never fails after a top-up */

/* --- huge pages (huge.c) -------------------------------------------------------------- */

/* Sets req_level and goal_level from the slot, the host and the NX workaround. mmu_lock held. */
void kvm_mmu_hugepage_adjust(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* At @level an SPTE that points to a table stands in the way of fault->goal_level: goal_level goes down if that
 * table is there for the NX workaround. */
void disallowed_hugepage_adjust(struct kvm_page_fault *fault, u64 spte, int level);
/* Largest level at which @slot's @gfn may be mapped, its lpage_info and @max considered; host page of @host_level. */
int kvm_mmu_max_mapping_level(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			      int host_level, int max);
/* lpage_info: a frame may no more (count 1) or may again (-1) be part of a huge page. */
void kvm_mmu_gfn_disallow_lpage(const struct kvm_memory_slot *slot, gfn_t gfn, int count);
/* NX workaround bookkeeping of table @sp; mmu_lock for write or tdp_pages_lock as its lists need. */
void account_nx_huge_page(struct kvm *kvm, struct kvm_mmu_page *sp, bool nx_huge_page_possible);
void unaccount_nx_huge_page(struct kvm *kvm, struct kvm_mmu_page *sp);
static inline bool is_nx_huge_page_enabled(const struct kvm *kvm)
{
	return mmu_param_now(&kvm->params, nx_huge_pages) == NX_HUGE_FORCE &&
	       !kvm->disable_nx_huge_pages;
}

/* --- roles (role.c), guest walks (walk.c) ------------------------------------------------ */

union kvm_cpu_role kvm_calc_cpu_role(const struct kvm_paging_regs *regs);
/* PFERR_* of a fault for an access of rights @pte_access (ACC_*) and key @pkey by @error_code; 0: permitted. */
u64 permission_fault(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, unsigned int pte_access,
		     unsigned int pkey, u64 error_code);
bool is_rsvd_gpte(const struct kvm_mmu *mmu, u64 gpte, int level);

/* A walk through the guest's tables. */
struct guest_walker {
	int level;			       /* of the entry that maps the page */
	int max_level;			       /* of the table that the walk began with */
	gfn_t table_gfn[PAGING_MAX_LEVEL + 1]; /* by level: the table */
	u64 ptes[PAGING_MAX_LEVEL + 1];	       /* by level: the entry, A and D as they are now */
	gpa_t pte_gpa[PAGING_MAX_LEVEL + 1];
	u64 pte_hva[PAGING_MAX_LEVEL + 1];
	bool pte_writable[PAGING_MAX_LEVEL + 1];
	unsigned int
		pt_access[PAGING_MAX_LEVEL +
			  1]; /* by level: ACC_* of the entries above it: a table's role.access */
	unsigned int pte_access; /* of all of them */
	gfn_t gfn;		 /* 4 KiB frame of addr */
	struct x86_exception fault;
};

/* Walks @mmu's guest tables for @addr, setting A and D. True: found; else walker->fault. */
bool walk_guest(struct guest_walker *walker, struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, u64 addr,
		u64 error_code);
/* Rights of one guest entry alone (ACC_*); A (and D for writes) clear take part if @mmu keeps them. */
unsigned int gpte_access(const struct kvm_mmu *mmu, u64 gpte);
bool is_present_gpte(const struct kvm_mmu *mmu, u64 gpte);
/* Whether an entry's A (leaf: and D) leave the SPTE as it is wanted: D clear takes ACC_WRITE away. */
void protect_clean_gpte(const struct kvm_mmu *mmu, unsigned int *access, u64 gpte);
bool gpte_accessed(const struct kvm_mmu *mmu, u64 gpte);
gfn_t gpte_to_gfn(const struct kvm_mmu *mmu, u64 gpte,
		  int level); /* of a leaf at @level: first frame */
/* Reads @walker's entry at @level again: true if it has changed since. */
bool gpte_changed(struct kvm_vcpu *vcpu, const struct guest_walker *walker, int level);
/* gpa of L2 to gpa of L1, where @mmu's tables lie in a space that is translated itself. */
gpa_t translate_table_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gpa_t gpa, u64 access,
			  struct x86_exception *e);

/* The two forms of kvm_mmu.gva_to_gpa. */
gpa_t nonpaging_gva_to_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gva_t gva, u64 access,
			   struct x86_exception *e);
gpa_t paging_gva_to_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gva_t gva, u64 access,
			struct x86_exception *e);

/* --- roots (roots.c) ------------------------------------------------------------------------ */

#define KVM_MMU_ROOT_CURRENT	 BIT(0)
#define KVM_MMU_ROOT_PREVIOUS(i) BIT(1 + (i))
#define KVM_MMU_ROOTS_ALL	 (BIT(1 + KVM_PREV_ROOTS) - 1)
void kvm_mmu_free_roots(struct kvm *kvm, struct kvm_mmu *mmu, u64 roots_to_free);
bool is_obsolete_root(struct kvm *kvm, hpa_t root);

/* --- the shadow MMU (page.c, rmap.c, shadow.c, sync.c, zap.c) --------------------------------- */

/*
 * The shadow page of @gfn and @role: an existing one (synchronised, when it is unsync) or a new one, whose guest table
 * is write-protected from here on. *@created tells.
 */
struct kvm_mmu_page *kvm_mmu_get_shadow_page(struct kvm_vcpu *vcpu, gfn_t gfn,
					     union kvm_mmu_page_role role);
/* A child's role and page below @sptep, to be linked there; NULL: *@sptep points to it already. */
struct kvm_mmu_page *kvm_mmu_get_child_sp(struct kvm_vcpu *vcpu, u64 *sptep, gfn_t gfn, bool direct,
					  unsigned int access);
hpa_t mmu_alloc_root(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int quadrant, int level);
void mmu_put_root(struct kvm *kvm, hpa_t root,
		  struct list *invalid_list); /* root_count--, zap when invalid */
/* gfn that entry @index of @sp maps; its ACC_*. */
gfn_t kvm_mmu_page_get_gfn(struct kvm_mmu_page *sp, int index);
unsigned int kvm_mmu_page_get_access(struct kvm_mmu_page *sp, int index);
void kvm_mmu_page_set_translation(struct kvm_mmu_page *sp, int index, gfn_t gfn,
				  unsigned int access);

/* Maps a direct fault with shadow pages. mmu_lock for write. RET_PF_*. */
int direct_map(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* The fault handler of guests with paging under shadow paging. */
int shadow_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
/* Installs a leaf. @host_writable: the host lets it be written. RET_PF_*. */
int mmu_set_spte(struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot, u64 *sptep,
		 unsigned int pte_access, gfn_t gfn, hpa_t pfn, struct kvm_page_fault *fault);
/* Lockless descent: the last SPTE on the way of @addr in the root in use, its level; NULL: none. */
u64 *fast_pf_get_last_sptep(struct kvm_vcpu *vcpu, u64 addr, u64 *spte, int *level);
/* All SPTEs on the way of @addr, sptes[level]; the lowest level reached; *@root_level. */
int get_walk(struct kvm_vcpu *vcpu, u64 addr, u64 *sptes, int *root_level);

/*
 * A frame is to be mapped writable: 0 if it may; -EPERM if a table in it is shadowed and must stay protected. With
 * @can_unsync leaf tables become unsync instead. @prefetch: refuses where it would have to change anything.
 */
int mmu_try_to_unsync_pages(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			    bool can_unsync, bool prefetch);
void mmu_sync_children(struct kvm_vcpu *vcpu, struct kvm_mmu_page *parent);
bool mmu_sync_page_if_needed(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp,
			     struct list *invalid_list);
bool is_unsync_root(hpa_t root);

bool kvm_mmu_prepare_zap_page(struct kvm *kvm, struct kvm_mmu_page *sp, struct list *invalid_list);
void kvm_mmu_commit_zap_page(struct kvm *kvm, struct list *invalid_list);
int make_mmu_pages_available(struct kvm_vcpu *vcpu); /* 0, -ENOSPC */
/* One SPTE goes: rmap, host's A and D, counters. Whether a flush is owed. */
void drop_spte(struct kvm *kvm, u64 *sptep);
/* Whatever *sptep is: leaf, table (then its parent link), MMIO. Children of a direct-mapped nested tree are zapped. */
int mmu_page_zap_pte(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *spte,
		     struct list *invalid_list);

/* Shadow MMU's share of each slot operation (rmap.c, slot.c). True: a flush is owed. mmu_lock for write. */
int kvm_mmu_alloc_rmaps(struct kvm_memory_slot *slot); /* 0, -ENOMEM */
int mmu_first_shadow_root_alloc(
	struct kvm *kvm); /* 0, -ENOMEM; takes slots as they are; any lock */
bool rmap_slot_write_protect(struct kvm *kvm, const struct kvm_memory_slot *slot, int from_level);
bool rmap_slot_clear_dirty(struct kvm *kvm, const struct kvm_memory_slot *slot);
bool rmap_write_protect_gfn(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			    int from_level);
void rmap_write_protect_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t offset,
			       u64 mask);
void rmap_clear_dirty_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t offset,
			     u64 mask);
bool rmap_unmap_range(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start, gfn_t end);
bool rmap_age_range(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start, gfn_t end);
void rmap_slot_split_huge(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t start,
			  gfn_t end, int target_level);
bool rmap_slot_recover_huge(struct kvm *kvm, const struct kvm_memory_slot *slot);
/* Write-protects @gfn in rmaps and TDP MMU, from 4 KiB up to what holds it. mmu_lock for write. */
bool kvm_mmu_slot_gfn_write_protect(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn,
				    int min_level);
bool kvm_gfn_is_write_tracked(const struct kvm_memory_slot *slot, gfn_t gfn);

/* --- the TDP MMU (tdp_mmu.c, tdp_slot.c) ------------------------------------------------------- */

hpa_t kvm_tdp_mmu_get_vcpu_root_hpa(
	struct kvm_vcpu *vcpu); /* INVALID_PAGE: no memory. Takes mmu_lock itself */
void kvm_tdp_mmu_put_root(struct kvm *kvm,
			  struct kvm_mmu_page *root); /* no lock held, or for read */
int kvm_tdp_mmu_map(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault); /* mmu_lock for read */
/* These return whether a flush is owed. Locks as named. */
bool kvm_tdp_mmu_zap_leafs(struct kvm *kvm, int as_id, gfn_t start, gfn_t end, bool can_yield,
			   bool flush);				   /* write */
bool kvm_tdp_mmu_zap_sp(struct kvm *kvm, struct kvm_mmu_page *sp); /* write */
void kvm_tdp_mmu_zap_all(struct kvm *kvm);			   /* write */
void kvm_tdp_mmu_invalidate_all_roots(struct kvm *kvm);		   /* write */
void kvm_tdp_mmu_zap_invalidated_roots(struct kvm *kvm); /* takes it for read; in bounded steps */
bool kvm_tdp_mmu_unmap_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range,
				 bool flush);				      /* write */
bool kvm_tdp_mmu_age_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range); /* any */
bool kvm_tdp_mmu_wrprot_slot(struct kvm *kvm, const struct kvm_memory_slot *slot,
			     int min_level);						/* read */
bool kvm_tdp_mmu_clear_dirty_slot(struct kvm *kvm, const struct kvm_memory_slot *slot); /* read */
void kvm_tdp_mmu_clear_dirty_masked(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
				    u64 mask, bool wrprot); /* write */
bool kvm_tdp_mmu_write_protect_gfn(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
				   int min_level); /* write */
void kvm_tdp_mmu_try_split_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot,
				      gfn_t start, gfn_t end, int target_level,
				      bool shared); /* read if shared, else write */
bool kvm_tdp_mmu_recover_huge_pages(struct kvm *kvm, const struct kvm_memory_slot *slot); /* read */
int kvm_tdp_mmu_get_walk(struct kvm_vcpu *vcpu, u64 addr, u64 *sptes,
			 int *root_level); /* lockless */
u64 *kvm_tdp_mmu_fast_pf_get_last_sptep(struct kvm_vcpu *vcpu, u64 addr, u64 *spte,
					int *level); /* lockless */
void kvm_mmu_uninit_tdp_mmu(struct kvm *kvm);

#endif
