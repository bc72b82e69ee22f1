/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MMU as the hypervisor around it sees it: the objects that both share, and the
 * calls in. The objects are embedded in the hypervisor's own. Names are those that the
 * field uses for KVM's MMU.
 *
 * Locks, outermost first: slots_lock (the hypervisor's: one memslot change at a time),
 * mmu_lock (hw.h), the small locks in struct kvm. A vCPU thread reads memslots between
 * hw_rcu_read_lock() and unlock; the hypervisor holds that around everything it does for a
 * vCPU outside the guest.
 */
#ifndef X86_MMU_MMU_H
#define X86_MMU_MMU_H

#include "x86/arch/mutants.h"
#include "x86/arch/paging.h"
#include "x86/arch/regs.h"
#include "x86/arch/svm.h"
#include "x86/arch/ept.h"
#include "x86/mmu/hw.h"
#include "x86/mmu/list.h"
#include "x86/mmu/params.h"
#include "x86/mmu/stats.h"

#define PAGE_SHIFT	     12
#define PG_LEVEL_4K	     1
#define PG_LEVEL_2M	     2
#define PG_LEVEL_1G	     3
#define KVM_NR_PAGE_SIZES    3
#define KVM_PAGES_PER(level) (1ull << (9 * ((level)-1))) /* 4 KiB frames in a page of level */

#define INVALID_PAGE (~0ull) /* no root */
#define UNMAPPED_GVA (~0ull)
#define INVALID_GPA  (~0ull)

#define KVM_ADDRESS_SPACES 2 /* normal, SMM */
#define KVM_PREV_ROOTS	   3

/* Requests to a vCPU, seen before it enters the guest. */
#define KVM_REQ_TLB_FLUSH	  BIT(0) /* the vCPU's whole TLB */
#define KVM_REQ_MMU_FREE_OBSOLETE BIT(1) /* kvm_mmu_free_obsolete_roots() */
#define KVM_REQ_MMU_SYNC	  BIT(2) /* kvm_mmu_sync_roots() */
#define KVM_REQ_HV		  BIT(8) /* from here up: the hypervisor's own */

struct kvm_mmu_page;
struct kvm_rmap_head {
	u64 val; /* 0: none; else a pointer to an SPTE, or to a pte_list_desc with bit 0 set */
};

/* --- memslots ---------------------------------------------------------------- */

/* Why a huge page may not cover these frames: how many reasons there are. */
struct kvm_lpage_info {
	int disallow_lpage;
};

/* kvm_memory_slot.flags: about to be deleted or moved; faults on it try again. */
#define KVM_MEMSLOT_INVALID BIT(16)

struct kvm_memory_slot {
	gfn_t base_gfn;
	u64 npages;
	u64 hva;   /* of base_gfn */
	u32 flags; /* KVM_MEM_* as in <linux/kvm.h> */
	u16 id, as_id;
	u64 *dirty_bitmap; /* the hypervisor's; NULL unless logging by bitmap */
	/* Set by the hypervisor until kvm_mmu_slot_apply_flags() has been told that it logs; atomically. */
	bool log_starting;
	struct { /* the MMU's; indices count from base_gfn's own huge page */
		struct kvm_rmap_head *rmap[KVM_NR_PAGE_SIZES]; /* NULL: not allocated (yet) */
		struct kvm_lpage_info *lpage_info[KVM_NR_PAGE_SIZES]; /* [0] unused */
		u16 *gfn_write_track; /* how many track writes to a frame; NULL: nobody */
	} arch;
};

/* Of flags: KVM_MEM_LOG_DIRTY_PAGES and KVM_MEM_READONLY. */
#define SLOT_LOG_DIRTY BIT(0)
#define SLOT_READONLY  BIT(1)

static inline bool slot_logs_dirty(const struct kvm_memory_slot *slot)
{
	return slot->flags & SLOT_LOG_DIRTY;
}

/* The slots of one address space, sorted by base_gfn; replaced as a whole. */
struct kvm_memslots {
	u64 generation; /* bit 63: an update is going on */
	unsigned int nr;
	struct kvm_memory_slot *slot[];
};
#define KVM_MEMSLOT_GEN_UPDATE BIT(63)

static inline u64 slot_index(const struct kvm_memory_slot *slot, gfn_t gfn, int level)
{
	return (gfn >> (9 * (level - 1))) - (slot->base_gfn >> (9 * (level - 1)));
}

static inline u64 gfn_to_hva(const struct kvm_memory_slot *slot, gfn_t gfn)
{
	return slot->hva + ((gfn - slot->base_gfn) << PAGE_SHIFT);
}

/* --- what the MMU keeps of a VM -------------------------------------------------- */

#define KVM_MMU_HASH_BITS 10
#define KVM_MMU_HASH_SIZE (1u << KVM_MMU_HASH_BITS)

struct kvm_mmu_arch {
	struct spte_format *format; /* of SPTEs; see spte_format() */

	/* Shadow pages: by gfn and role, and in order of age. mmu_lock for write. */
	struct list *page_hash; /* KVM_MMU_HASH_SIZE of them */
	struct list active_mmu_pages;
	struct list zapped_obsolete_pages;
	struct list possible_nx_huge_pages; /* tables that stand only for the NX workaround */
	u64 nr_possible_nx_huge_pages;
	u64 n_used_mmu_pages, n_requested_mmu_pages, n_max_mmu_pages;
	u64 indirect_shadow_pages;  /* guest tables that are shadowed: else no write matters */
	u8 mmu_valid_gen;	    /* shadow pages of another generation are obsolete */
	bool shadow_root_allocated; /* rmaps and write tracking exist */

	/* The TDP MMU: under mmu_lock for write, or for read with tdp_pages_lock. */
	struct list tdp_mmu_roots;
	struct list tdp_mmu_pages;
	struct hw_spinlock tdp_pages_lock;
	u64 tdp_mmu_page_count;

	/*
	 * From when a slot's arch is made or copied until the slot is in memslots: else rmaps that the
	 * first shadow root brings would go to the old one only. Inside slots_lock.
	 */
	struct hw_spinlock slots_arch_lock;
	struct hw_spinlock unsync_lock; /* marking pages unsync with mmu_lock for read */
	u64 split_failed;
};

struct kvm {
	struct mmu_params params;			   /* fixed from creation on */
	struct kvm_memslots *memslots[KVM_ADDRESS_SPACES]; /* see kvm_memslots() */
	/* The invalidation sequence; mmu_lock for write, or after reading it a retry check. */
	u64 mmu_invalidate_seq;
	u64 mmu_invalidate_in_progress;
	gfn_t mmu_invalidate_start, mmu_invalidate_end;	  /* gfns, while in progress */
	bool manual_dirty_log_protect, initially_all_set; /* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
	bool disable_nx_huge_pages;			  /* KVM_CAP_VM_DISABLE_NX_HUGE_PAGES */
	unsigned int nr_vcpus;
	struct kvm_vcpu **vcpus; /* nr_vcpus of them */
	u64 check_work; /* what the latest mmu_check() took, in nanoseconds at most; counted, not measured */
	struct mmu_trace *trace; /* NULL: events are not recorded; see trace.h */
	struct kvm_mmu_arch arch;
	/* Counters change with each fault of any vCPU: away from what each fault only reads. */
	u64 stat_pad_before[8];
	struct kvm_vm_stats stat;
	u64 stat_pad_after[8];
};

/* --- what it keeps of a vCPU ------------------------------------------------------ */

/*
 * What a shadow page was made for; equal roles and gfn share a page. A page's role is part of
 * the key, so that whatever changes the meaning of a guest table is here.
 */
union kvm_mmu_page_role {
	u32 word;
	struct {
		u32 level : 4; /* of the page in the shadow tables */
		u32 has_4_byte_gpte : 1;
		u32 quadrant : 2; /* which part of a 4-byte table, or of what it spans */
		u32 direct : 1;	  /* maps gfn + index, no guest table is behind it */
		u32 access : 3;	  /* ACC_*: what the path of guest entries down to here allows */
		u32 invalid : 1;  /* being zapped, kept as it is a root in use */
		u32 efer_nx : 1;
		u32 cr0_wp : 1;
		u32 smep_andnot_wp : 1;
		u32 smap_andnot_wp : 1;
		u32 ad_disabled : 1;
		u32 guest_mode : 1;  /* a nested guest's */
		u32 passthrough : 1; /* no guest table at this level: depth differs */
		u32 ept_guest : 1;   /* guest's entries have EPT's format */
		u32 smm : 1;	     /* address space */
		u32 no_pse : 1;	     /* 4-byte entries without PSE: no page is large */
		u32 : 10;
	};
};

/* The role of a vCPU's paging as a whole: the root's, and what only faults depend on. */
union kvm_cpu_role {
	u64 as_u64;
	struct {
		union kvm_mmu_page_role
			base; /* level: the guest's number of levels, 0: no paging */
		u32 valid : 1;
		u32 cr0_pg : 1;
		u32 cr4_pse : 1;
		u32 cr4_pke : 1;
		u32 cr4_smap : 1;
		u32 cr4_smep : 1;
		u32 cr4_la57 : 1;
		u32 efer_lma : 1;
		u32 gbpages : 1;
		u32 amd : 1;
		u32 maxphyaddr : 6;
		u32 : 16;
	};
};
_Static_assert(sizeof(union kvm_cpu_role) == 8, "compared as one word");

#define ACC_EXEC  1u
#define ACC_WRITE 2u /* the bit of PTE_W */
#define ACC_USER  4u /* the bit of PTE_U */
#define ACC_ALL	  7u

struct kvm_mmu_root_info {
	gpa_t pgd; /* the guest's CR3 (nCR3, EPTP) that the root is for; TDP: 0 */
	hpa_t hpa; /* INVALID_PAGE: none */
};

struct x86_exception;
struct kvm_page_fault;

#define KVM_MMU_RSVD_LEVELS (PAGING_MAX_LEVEL + 1)

struct rsvd_bits {
	u64 mask[2][KVM_MMU_RSVD_LEVELS]; /* [entry has PS][level] */
	bool exec_only_bad;		  /* EPT: X without R is a misconfiguration */
	u64 bad_mt_xwr;			  /* EPT: bit n: low bits (R, W, X, type) of n are bad */
};

/* How one kind of guest translates and how its translations are shadowed. */
struct kvm_mmu {
	union kvm_cpu_role cpu_role;	   /* the guest's */
	union kvm_mmu_page_role root_role; /* of the tables that the hardware walks */
	struct kvm_mmu_root_info root;	   /* in use, or hpa INVALID_PAGE: to be loaded */
	struct kvm_mmu_root_info prev_roots[KVM_PREV_ROOTS];
	u64 *pae_root;		    /* four PDPTEs below 4 GiB, when the root's level is PAE's */
	u64 *pml4_root, *pml5_root; /* on top of a PAE guest's, where the hardware walks 4 or 5 */

	/* Set up by role; guest side. */
	const struct paging_mode *guest_mode; /* format of the guest's tables; NULL: EPT's */
	bool nested_ept;		      /* they are EPT */
	u8 permissions[32]; /* [error code / 2]: bit per ACC_*: a fault; see role.c */
	u32 pkru_mask;
	struct rsvd_bits guest_rsvd;  /* in guest entries */
	struct rsvd_bits shadow_rsvd; /* in SPTEs, as the hardware sees them: mmio, checks */

	gpa_t (*get_guest_pgd)(struct kvm_vcpu *vcpu);
	u64 (*get_pdptr)(struct kvm_vcpu *vcpu, int index);
	int (*page_fault)(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault);
	void (*inject_page_fault)(struct kvm_vcpu *vcpu, const struct x86_exception *e);
	gpa_t (*gva_to_gpa)(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gva_t gva, u64 access,
			    struct x86_exception *e);
};

/* Objects that a fault may need, stocked before mmu_lock is taken. */
struct kvm_mmu_memory_cache {
	unsigned int nobjs;
	void *objects[40];
};

/* The guest's registers that translation depends on. The hypervisor keeps them up to date. */
struct kvm_paging_regs {
	u64 cr0, cr3, cr4, efer;
	u64 pdptrs[4]; /* PAE: loaded with CR3 */
	u64 rflags;    /* AC */
	u32 pkru;
	u8 cpl;
	/* From CPUID. */
	u8 maxphyaddr;
	bool gbpages, nx, amd, la57;
	bool smm;	 /* in system management mode: address space 1 */
	bool guest_mode; /* a nested guest is running */
	/* The nested guest's tables, while guest_mode: */
	bool nested_npt; /* L1 uses nested paging for it: nested_cr3 is in use */
	u64 nested_cr3;
	u64 l1_cr0, l1_cr4, l1_efer; /* L1's own: the format of its nested tables */
};

struct kvm_vcpu {
	struct kvm *kvm;
	unsigned int vcpu_idx;
	u64 requests; /* KVM_REQ_*, atomically */
	struct kvm_paging_regs regs;

	struct kvm_mmu *mmu;	   /* the one in use: root_mmu or guest_mmu */
	struct kvm_mmu *walk_mmu;  /* that translates the running guest's gva: mmu or nested_mmu */
	struct kvm_mmu root_mmu;   /* L1 */
	struct kvm_mmu guest_mmu;  /* L2 by L1's nested tables */
	struct kvm_mmu nested_mmu; /* L2's gva to its gpa; no roots */

	struct kvm_mmu_memory_cache pte_list_desc_cache, shadow_page_cache, shadowed_info_cache,
		page_header_cache;

	/* The latest MMIO access, by frame, if it belongs to the current slots. */
	gva_t mmio_gva;
	gfn_t mmio_gfn;
	unsigned int mmio_access;
	u64 mmio_gen;

	u64 last_zap_gen; /* write flooding: */
	gfn_t last_pt_write_gfn;
	unsigned int last_pt_write_count;
	struct kvm_vcpu_stats stat;
};

/* The slots of the address space that the vCPU is in, or of @as_id. Under hw_rcu_read_lock() or slots_lock. */
static inline struct kvm_memslots *kvm_memslots(struct kvm *kvm, int as_id)
{
	return __atomic_load_n(&kvm->memslots[as_id], __ATOMIC_ACQUIRE);
}

static inline struct kvm_memslots *kvm_vcpu_memslots(struct kvm_vcpu *vcpu)
{
	return kvm_memslots(vcpu->kvm, vcpu->regs.smm);
}

/* The slot that has @gfn, or NULL. */
struct kvm_memory_slot *gfn_to_memslot(struct kvm_memslots *slots, gfn_t gfn);
static inline struct kvm_memory_slot *kvm_vcpu_gfn_to_memslot(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	return gfn_to_memslot(kvm_vcpu_memslots(vcpu), gfn);
}

/* --- set-up -------------------------------------------------------------------------- */

/* @kvm's params are set, the rest zero. 0 or -ENOMEM. */
int kvm_mmu_init_vm(struct kvm *kvm);
/* All vCPUs are gone. Zaps what is left and frees everything. */
void kvm_mmu_uninit_vm(struct kvm *kvm);
int kvm_mmu_create(struct kvm_vcpu *vcpu);
void kvm_mmu_destroy(struct kvm_vcpu *vcpu);

/*
 * The guest's paging mode, as vcpu->regs has it, may have changed: computes roles and points mmu and
 * walk_mmu to what is in use; drops the current root when its role no longer is right (it may stay
 * among the previous ones). Cheap when nothing changed. kvm_mmu_reset_context() always drops all roots, and
 * kvm_mmu_after_set_cpuid() also whatever depends on CPUID.
 */
void kvm_init_mmu(struct kvm_vcpu *vcpu);
void kvm_mmu_reset_context(struct kvm_vcpu *vcpu);
void kvm_mmu_after_set_cpuid(struct kvm_vcpu *vcpu);

/*
 * The guest loaded CR3 (vcpu->regs.cr3 is new): makes the root of it current if it is among the previous
 * ones; else a root is to be loaded. Shadow paging only; nothing under TDP, but when smm or nested
 * state changed. @flush: the load also invalidates translations: not with CR3's bit 63 (CR4.PCIDE).
 */
void kvm_mmu_new_pgd(struct kvm_vcpu *vcpu, gpa_t new_pgd, bool flush);

/*
 * To be called before each entry: has a root if there was none and hands it to hw_load_root().
 * 0; -ENOMEM; -ENOSPC; 1: the guest's CR3 points to no memory: triple fault; -EAGAIN: into a slot that is
 * being moved or deleted: try again after hw_rcu_read_unlock() and lock.
 */
int kvm_mmu_reload(struct kvm_vcpu *vcpu);
/* Drops the vCPU's roots of all three MMUs. */
void kvm_mmu_unload(struct kvm_vcpu *vcpu);
void kvm_mmu_free_obsolete_roots(struct kvm_vcpu *vcpu);

/* --- exits ----------------------------------------------------------------------------- */

struct x86_exception {
	u8 vector;
	u32 error_code;
	u64 address;		/* gva (CR2), or gpa for a nested fault */
	bool nested_page_fault; /* it's the nested tables' fault: L1 is to get an exit */
	u64 nested_error;	/* NPF error code or EPT qualification for L1 */
	bool ept_misconfig;
};

enum ret_pf {
	RET_PF_CONTINUE, /* within the pipeline only: not decided yet */
	RET_PF_RETRY,	 /* run the guest again */
	RET_PF_EMULATE,	 /* the access is to be emulated: MMIO, or a write to a shadowed table */
	RET_PF_INVALID,	 /* the SPTE is no MMIO one */
	RET_PF_FIXED,	 /* as RETRY, an SPTE was installed */
	RET_PF_SPURIOUS, /* as RETRY, somebody else had */
	RET_PF_INJECTED, /* the guest gets a page fault: it has been handed to inject_page_fault */
};

/*
 * A fault that the hardware took. TDP: @addr is the gpa, @error_code PFERR_* (with NPF_*) where P, W and F
 * say what was tried and P whether the entry was present; shadow paging: the gva, and the page fault's code as the
 * hardware pushed it. Returns enum ret_pf, or -EFAULT (the host has no memory there), -ENOMEM, -EINTR.
 * For RET_PF_EMULATE *@emulate_gpa is where the access goes, frame exact.
 */
int kvm_mmu_page_fault(struct kvm_vcpu *vcpu, u64 addr, u64 error_code, gpa_t *emulate_gpa);
/* An EPT misconfiguration at @gpa (that is: an MMIO SPTE). The same results. */
int kvm_mmu_misconfig(struct kvm_vcpu *vcpu, gpa_t gpa);

/* INVLPG, INVPCID of one address, by the guest, which exited with it. Shadow paging. */
void kvm_mmu_invlpg(struct kvm_vcpu *vcpu, gva_t gva);
void kvm_mmu_invpcid_gva(struct kvm_vcpu *vcpu, gva_t gva, u16 pcid);
/* The guest flushed: all that its tables said before must be forgotten: MOV CR3, CR4 bits, INVPCID types. */
void kvm_mmu_sync_roots(struct kvm_vcpu *vcpu);
void kvm_mmu_sync_prev_roots(struct kvm_vcpu *vcpu);

/*
 * Translates by the running guest's tables, as an access with PFERR_W, PFERR_U, PFERR_F in @access would; sets
 * A and D only if @access has PFERR_W or is no mere look (see below). INVALID_GPA: *@e has the fault.
 */
gpa_t kvm_mmu_gva_to_gpa(struct kvm_vcpu *vcpu, gva_t gva, u64 access, struct x86_exception *e);
/* PFERR_* that says it is the processor's own access, whatever CPL is (SMAP). */
#define PFERR_IMPLICIT BIT(48)

/*
 * @bytes at @gpa have been written for the guest by the hypervisor (emulation). Shadow pages of that table follow,
 * or go. @new: the new content.
 */
void kvm_mmu_track_write(struct kvm_vcpu *vcpu, gpa_t gpa, const void *new, unsigned int bytes);
/*
 * A write to a shadowed table was not emulated for some reason: unshadows it, so that the guest can
 * do it itself. True: there was something to unshadow. */
bool kvm_mmu_unprotect_page(struct kvm_vcpu *vcpu, gfn_t gfn);

/* --- memslots ---------------------------------------------------------------------------- */

/* Allocates slot->arch for the new @slot (npages set). 0 or -ENOMEM, with nothing allocated. */
int kvm_mmu_slot_create(struct kvm *kvm, struct kvm_memory_slot *slot);
void kvm_mmu_slot_free(struct kvm_memory_slot *slot);
/* @slot has come to memslots: its frames may be tables already, of the other address space. */
void kvm_mmu_slot_added(struct kvm *kvm, struct kvm_memory_slot *slot);
/* @slot is marked invalid for new faults or gone from memslots already: forget all of it. */
void kvm_mmu_flush_slot(struct kvm *kvm, struct kvm_memory_slot *slot);
/* The generation of memslots has become @gen: MMIO SPTEs of older ones count no more. */
void kvm_mmu_invalidate_mmio_sptes(struct kvm *kvm, u64 gen);
/*
 * Flags of a slot changed (@new is in memslots): logging went on (protect or clear D, split eagerly) or
 * off (huge pages may come back); READONLY is a delete and an add to the hypervisor.
 */
void kvm_mmu_slot_apply_flags(struct kvm *kvm, u32 old_flags, struct kvm_memory_slot *new);
/*
 * Logs again the writes to frames @offset + the bits of @mask (not 0), of @slot. mmu_lock for write; the caller
 * flushes before user space sees the bitmap.
 */
void kvm_mmu_log_dirty_masked(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t offset,
			      u64 mask);
/* KVM_SET_NR_MMU_PAGES, KVM_GET_NR_MMU_PAGES; 0: default. */
void kvm_mmu_change_mmu_pages(struct kvm *kvm, u64 pages);
u64 kvm_mmu_default_pages(struct kvm *kvm);

/* The hypervisor's: a page of @slot is about to become writable, or was written for the guest. */
void kvm_mark_page_dirty(struct kvm *kvm, struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot,
			 gfn_t gfn);

/* --- the host's memory changes -------------------------------------------------------------- */

struct kvm_gfn_range {
	struct kvm_memory_slot *slot;
	gfn_t start, end; /* within the slot */
	bool may_block;
};

/*
 * The notification sequence: begin (mmu_lock for write), unmap of each range, end. Faults that looked
 * their page up before the end do so again. kvm_mmu_unmap_gfn_range(): whether a flush is owed, mmu_lock held for write;
 * @flush: one is owed already, for other ranges, which is done when the walk lets go of the lock.
 */
void kvm_mmu_invalidate_begin(struct kvm *kvm, gfn_t start, gfn_t end);
void kvm_mmu_invalidate_end(struct kvm *kvm);
bool kvm_mmu_unmap_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range, bool flush);
/* Whether any page of the range was accessed since it was last aged; age: forgets it. mmu_lock for write. */
bool kvm_mmu_age_gfn_range(struct kvm *kvm, struct kvm_gfn_range *range);

/* --- housekeeping ----------------------------------------------------------------------------- */

/* Zaps everything, a page at a time or by generation. */
void kvm_mmu_zap_all(struct kvm *kvm);
void kvm_mmu_zap_all_fast(struct kvm *kvm);
/* Recovers a share (1/ratio) of the tables that the NX workaround split; the worker's step. */
void kvm_mmu_recover_nx_huge_pages(struct kvm *kvm);

/*
 * Checks every invariant of the VM's structures, tables and memslots. All vCPUs are out of the guest and
 * none is in the MMU. @report is called with a line for each that is broken. How many were. Guest tables in sync are
 * compared strictly with params.check at 3 only: where nobody but the guest writes them.
 */
int mmu_check(struct kvm *kvm, void (*report)(void *arg, const char *line), void *arg);
/*
 * Whether the current root's tables give at least what the processor remembers: the @size bytes from @addr (gva under shadow
 * paging, else gpa) are at @hpa, may be written if @writable. 0; 1: no, and @report was called. Between exit and entry, by the
 * vCPU's thread, with mmu_lock for write and no flush pending.
 */
int mmu_check_translation(struct kvm_vcpu *vcpu, u64 addr, u64 size, hpa_t hpa, bool writable,
			  void (*report)(void *arg, const char *line), void *arg);
/* The same of what it remembers of an entry that spans @size bytes: that it points to the table at @hpa. */
int mmu_check_table(struct kvm_vcpu *vcpu, u64 addr, u64 size, hpa_t hpa,
		    void (*report)(void *arg, const char *line), void *arg);

#endif
