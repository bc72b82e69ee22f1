/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The entries of the tables that the MMU makes, in the format of the processor's nested or shadow tables (PTE_*) or of
 * EPT, with the MMU's own bits where both formats leave them free. A struct kvm's format follows from its params; what can differ
 * between formats is asked of spte_format().
 */
#ifndef X86_MMU_SPTE_H
#define X86_MMU_SPTE_H

#include "x86/mmu/mmu.h"

/* Bits that are the MMU's in either format. */
#define SPTE_MMU_PRESENT   BIT(11) /* maps or points on; clear in MMIO and in removed ones */
#define SPTE_AD_MODE_SHIFT 52
#define SPTE_AD_MODE_MASK  (3ull << SPTE_AD_MODE_SHIFT)
#define SPTE_AD_ENABLED	   (0ull << SPTE_AD_MODE_SHIFT)
#define SPTE_AD_DISABLED   (1ull << SPTE_AD_MODE_SHIFT) /* no A and D: access tracking instead */
#define SPTE_AD_WRPROT \
	(2ull << SPTE_AD_MODE_SHIFT) /* A and D, but dirty logging needs protection */
#define SPTE_SAVED_SHIFT 54	     /* access tracking: what was taken away; three bits */
#define SPTE_MMU_WRITABLE \
	BIT(10) /* no shadowed table is in the page: W may be set without mmu_lock */
/*
 * The host lets the page be written: one of these, as is_host_writable_pte() knows. PAE entries have bits 62:52
 * reserved, and bit 9 is EPT's D. An EPT leaf shows by its memory type, write-back, which no other format's entry has.
 */
#define SPTE_HOST_WRITABLE_PT  BIT(9)
#define SPTE_HOST_WRITABLE_EPT BIT(57)
#define SPTE_EPT_LEAF	       BIT(4)
#define SPTE_PTE_ADDR_MASK     PTE_ADDR_MASK

/* Not present, not MMIO: what a vCPU finds while an entry is being replaced. Not zero: 0 may be taken. */
#define REMOVED_SPTE 0x5a0ull

/*
 * MMIO SPTEs: the frame, the access and 19 bits of the generation, in an entry that the hardware refuses: EPT: W and X
 * without R; otherwise P with a reserved address bit. Bits as the formats allow: see spte.c.
 */
#define MMIO_GEN_BITS 19
#define MMIO_GEN_MASK ((1ull << MMIO_GEN_BITS) - 1)

struct spte_format {
	bool ept;
	u64 present;	     /* what a present entry has: P; EPT: R */
	u64 write;	     /* W */
	u64 user;	     /* PTE_U; 0 with EPT */
	u64 exec;	     /* EPT: X; 0 otherwise */
	u64 nx;		     /* PTE_NX; 0 with EPT */
	u64 accessed, dirty; /* the format's A and D bits */
	bool ad;	     /* the hardware's A and D are used */
	u64 large;	     /* PS */
	u64 memtype;	     /* EPT: write-back; 0 otherwise */
	u64 host_writable;   /* SPTE_HOST_WRITABLE_* */
	u64 acc_track;	/* bits that access tracking takes away: EPT: R, W, X; otherwise P, W */
	u64 acc_saved;	/* those of them that it saves and gives back: EPT: R, X; otherwise P */
	u64 mmio_value; /* of the bits that make an SPTE an MMIO one; 0: MMIO isn't cached */
	u64 mmio_mask;
	u64 me_rsvd; /* address bits beyond maxphyaddr */
};

/* Sets up the VM's from its params: 0 or -ENOMEM. */
int spte_format_init(struct kvm *kvm);
/* Bits of the host's physical addresses: these are user-space addresses, so 48 in any case. */
static inline unsigned int mmu_host_phys_bits(const struct mmu_params *p)
{
	return p->maxphyaddr > 48 ? p->maxphyaddr : 48;
}
/* The format of @kvm's tables. Valid as long as the VM. */
const struct spte_format *spte_format(const struct kvm *kvm);

static inline bool is_shadow_present_pte(u64 spte)
{
	return spte & SPTE_MMU_PRESENT;
}

static inline bool is_removed_spte(u64 spte)
{
	return spte == REMOVED_SPTE;
}

/* Of a present entry. PS is bit 7 in both formats. */
static inline bool is_large_pte(u64 spte)
{
	return spte & PTE_PS;
}

static inline bool is_last_spte(u64 spte, int level)
{
	return level == PG_LEVEL_4K || is_large_pte(spte);
}

/* Address of the page or table. */
static inline hpa_t spte_to_hpa(u64 spte)
{
	return spte & SPTE_PTE_ADDR_MASK;
}

static inline struct kvm_mmu_page *spte_to_child_sp(u64 spte)
{
	return *(struct kvm_mmu_page **)hw_table_owner(hw_va(spte_to_hpa(spte)));
}

static inline bool spte_ad_enabled(u64 spte)
{
	return (spte & SPTE_AD_MODE_MASK) != SPTE_AD_DISABLED;
}

static inline bool spte_ad_need_write_protect(u64 spte)
{
	return (spte & SPTE_AD_MODE_MASK) != SPTE_AD_ENABLED;
}

static inline bool is_host_writable_pte(u64 spte)
{
	return spte & (spte & SPTE_EPT_LEAF ? SPTE_HOST_WRITABLE_EPT : SPTE_HOST_WRITABLE_PT);
}

static inline bool is_mmu_writable_spte(u64 spte)
{
	return spte & SPTE_MMU_WRITABLE;
}

bool is_mmio_spte(const struct kvm *kvm, u64 spte);
bool is_writable_pte(u64 spte); /* bit 1 in both formats */
bool is_executable_pte(const struct kvm *kvm, u64 spte);
bool is_accessed_spte(const struct kvm *kvm, u64 spte);
bool is_dirty_spte(const struct kvm *kvm, u64 spte);
bool is_access_track_spte(const struct kvm *kvm, u64 spte);
u64 mark_spte_for_access_track(const struct kvm *kvm, u64 spte);
u64 restore_acc_track_spte(const struct kvm *kvm, u64 spte);

/*
 * A leaf for frame @pfn (hpa) at @level in @sp. @pte_access: ACC_* that the guest's entries allow; @host_writable; @prefetch
 * entries start out not accessed where tracking needs that; @can_unsync as for mmu_try_to_unsync_pages(). Marks the page dirty
 * when the entry is writable. True: the page had to be left write-protected (a shadowed table is in it).
 */
bool make_spte(struct kvm *kvm, struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp,
	       struct kvm_memory_slot *slot, unsigned int pte_access, gfn_t gfn, hpa_t pfn,
	       u64 old_spte, bool prefetch, bool can_unsync, bool host_writable, u64 *new_spte);
u64 make_nonleaf_spte(const struct kvm *kvm, const u64 *child_pt, bool ad_disabled);
/* Entry @index of the table that replaces huge leaf @huge_spte of @level; the small page inherits its rights, is executable if @exec. */
u64 make_huge_page_split_spte(const struct kvm *kvm, u64 huge_spte, int huge_level, int index,
			      bool exec);
u64 make_mmio_spte(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access);
gfn_t get_mmio_spte_gfn(const struct kvm *kvm, u64 spte);
unsigned int get_mmio_spte_access(const struct kvm *kvm, u64 spte);
u64 get_mmio_spte_generation(const struct kvm *kvm, u64 spte);
bool check_mmio_spte(struct kvm_vcpu *vcpu, u64 spte); /* of the current generation */

#endif
