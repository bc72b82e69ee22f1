// SPDX-License-Identifier: GPL-2.0-only
/*
 * The entries of the tables that the MMU makes: which bits the VM's format has for what, how an entry comes from
 * a frame and rights, and what can be told from one.
 */
#include "x86/mmu/internal.h"

/* MMIO SPTEs: where the generation's bits are, low ones and the rest. */
#define MMIO_GEN_LOW_SHIFT  3
#define MMIO_GEN_LOW_BITS   8
#define MMIO_GEN_HIGH_SHIFT 52

/* The address bit that makes a PTE-format entry an MMIO one, where it is beyond physical addresses. */
#define MMIO_RESERVED_BIT 51

_Static_assert(MMIO_GEN_LOW_SHIFT + MMIO_GEN_LOW_BITS <= 11, "below SPTE_MMU_PRESENT");
_Static_assert(MMIO_GEN_HIGH_SHIFT + MMIO_GEN_BITS - MMIO_GEN_LOW_BITS <= 63, "below NX");
_Static_assert((REMOVED_SPTE & (SPTE_MMU_PRESENT | EPT_RWX | PTE_P)) == 0,
	       "a removed entry is present to nobody");
_Static_assert((SPTE_MMU_WRITABLE & (EPT_RWX | EPT_A | EPT_D | EPT_PS | PTE_A | PTE_D | PTE_G)) ==
		       0,
	       "software's in both formats");

static void format_init(struct spte_format *f, const struct mmu_params *p)
{
	unsigned int bits = mmu_host_phys_bits(p);

	f->ept = p->ept && mmu_params_tdp(p);
	/* The guest's own A and D come of those in shadow tables: these can't do without. */
	f->ad = p->ad_bits || !mmu_params_tdp(p);
	f->large = PTE_PS;
	f->me_rsvd = SPTE_PTE_ADDR_MASK & ~(BIT(bits) - 1);
	if (f->ept) {
		f->present = EPT_R;
		f->write = EPT_W;
		f->exec = EPT_X;
		f->accessed = EPT_A;
		f->dirty = EPT_D;
		f->memtype = (u64)EPT_MT_WB << EPT_MT_SHIFT | EPT_IPAT;
		f->host_writable = SPTE_HOST_WRITABLE_EPT;
		f->acc_track = EPT_RWX;
		f->acc_saved = EPT_R | EPT_X;
		f->mmio_mask = EPT_RWX | SPTE_MMU_PRESENT;
		f->mmio_value = EPT_W | EPT_X;
	} else {
		f->present = PTE_P;
		f->write = PTE_W;
		f->user = PTE_U;
		f->nx = PTE_NX;
		f->accessed = PTE_A;
		f->dirty = PTE_D;
		f->host_writable = SPTE_HOST_WRITABLE_PT;
		f->acc_track = PTE_P | PTE_W;
		f->acc_saved = PTE_P;
		f->mmio_mask = PTE_P | BIT(MMIO_RESERVED_BIT) | SPTE_MMU_PRESENT;
		f->mmio_value = bits <= MMIO_RESERVED_BIT ? PTE_P | BIT(MMIO_RESERVED_BIT) : 0;
	}
	if (!p->mmio_caching)
		f->mmio_value = 0;
}

int spte_format_init(struct kvm *kvm)
{
	kvm->arch.format = hw_alloc(sizeof(*kvm->arch.format));
	if (!kvm->arch.format)
		return -ENOMEM_;
	format_init(kvm->arch.format, &kvm->params);
	return 0;
}

const struct spte_format *spte_format(const struct kvm *kvm)
{
	return kvm->arch.format;
}

/* --- what an entry says --------------------------------------------------------- */

bool is_mmio_spte(const struct kvm *kvm, u64 spte)
{
	const struct spte_format *f = spte_format(kvm);

	return f->mmio_value && (spte & f->mmio_mask) == f->mmio_value;
}

bool is_writable_pte(u64 spte)
{
	return spte & PTE_W;
}

bool is_executable_pte(const struct kvm *kvm, u64 spte)
{
	const struct spte_format *f = spte_format(kvm);

	return (spte & (f->exec | f->nx)) == f->exec;
}

bool is_access_track_spte(const struct kvm *kvm, u64 spte)
{
	return !spte_ad_enabled(spte) && !(spte & spte_format(kvm)->acc_track);
}

bool is_accessed_spte(const struct kvm *kvm, u64 spte)
{
	if (spte_ad_enabled(spte))
		return spte & spte_format(kvm)->accessed;
	return !is_access_track_spte(kvm, spte);
}

bool is_dirty_spte(const struct kvm *kvm, u64 spte)
{
	if (spte_ad_enabled(spte))
		return spte & spte_format(kvm)->dirty;
	return is_writable_pte(spte);
}

/* --- access tracking -------------------------------------------------------------- */

u64 mark_spte_for_access_track(const struct kvm *kvm, u64 spte)
{
	const struct spte_format *f = spte_format(kvm);

	if (spte_ad_enabled(spte))
		return spte & ~f->accessed;
	if (is_access_track_spte(kvm, spte) || MUTANT(tracking_keeps_rights))
		return spte;
	/*
	 * W isn't kept: it is given back by a write fault, and only if MMU_WRITABLE says so then.
	 */
	return (spte & ~f->acc_track) | (spte & f->acc_saved) << SPTE_SAVED_SHIFT;
}

u64 restore_acc_track_spte(const struct kvm *kvm, u64 spte)
{
	const struct spte_format *f = spte_format(kvm);
	u64 saved = spte >> SPTE_SAVED_SHIFT &
		    (MUTANT(tracking_restores_no_exec) ? f->present : f->acc_saved);

	MMU_BUG_ON(!is_access_track_spte(kvm, spte));
	spte &= ~(f->acc_saved << SPTE_SAVED_SHIFT);
	return spte | saved;
}

/* --- making entries ----------------------------------------------------------------- */

bool make_spte(struct kvm *kvm, struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp,
	       struct kvm_memory_slot *slot, unsigned int pte_access, gfn_t gfn, hpa_t pfn,
	       u64 old_spte, bool prefetch, bool can_unsync, bool host_writable, u64 *new_spte)
{
	const struct spte_format *f = spte_format(kvm);
	int level = sp->role.level;
	hpa_t hpa = pfn & ~(KVM_PAGES_PER(level) * SZ_4K - 1);
	u64 spte = SPTE_MMU_PRESENT | f->memtype | hpa;
	bool wrprot = false;

	MMU_BUG_ON(hpa & ~SPTE_PTE_ADDR_MASK);

	if (sp->role.ad_disabled) {
		spte |= SPTE_AD_DISABLED;
		/* Hardware that knows no other mode finds nothing to write then. */
		if (!f->ept)
			spte |= f->accessed | f->dirty;
	} else {
		if (kvm_mmu_page_ad_need_write_protect(kvm, sp))
			spte |= SPTE_AD_WRPROT;
		if (!prefetch)
			spte |= f->accessed;
	}

	if (level > PG_LEVEL_4K) {
		spte |= f->large;
		if (is_nx_huge_page_enabled(kvm) && !MUTANT(nx_huge_page_executable))
			pte_access &= ~ACC_EXEC;
	}
	spte |= pte_access & ACC_EXEC ? f->exec : f->nx;
	if (pte_access & ACC_USER)
		spte |= f->user;
	/* A nested guest's EPT may have pages that are executed only: its R is ACC_USER. */
	if (!sp->role.ept_guest || !f->ept || pte_access & ACC_USER)
		spte |= f->present;

	if (host_writable)
		spte |= f->host_writable;
	else
		pte_access &= ~ACC_WRITE;

	/* An entry that let this page be written already has been through this. */
	if (pte_access & ACC_WRITE &&
	    !(is_shadow_present_pte(old_spte) && is_last_spte(old_spte, level) &&
	      is_writable_pte(old_spte) && spte_to_hpa(old_spte) == hpa) &&
	    mmu_try_to_unsync_pages(kvm, slot, gfn, can_unsync, prefetch)) {
		pte_access &= ~ACC_WRITE;
		wrprot = true;
	}
	if (pte_access & ACC_WRITE) {
		spte |= f->write | SPTE_MMU_WRITABLE;
		if (!sp->role.ad_disabled)
			spte |= f->dirty;
	}

	if (prefetch)
		spte = mark_spte_for_access_track(kvm, spte);

	if (is_writable_pte(spte) && slot_logs_dirty(slot)) {
		/* A huge page would be logged as its first frame: hugepage_adjust sees to it. */
		MMU_BUG_ON(level > PG_LEVEL_4K && !MUTANT(huge_page_under_log));
		if (!MUTANT(slow_fault_not_logged))
			kvm_mark_page_dirty(kvm, vcpu, slot, gfn);
	}

	*new_spte = spte;
	return wrprot;
}

u64 make_nonleaf_spte(const struct kvm *kvm, const u64 *child_pt, bool ad_disabled)
{
	const struct spte_format *f = spte_format(kvm);
	u64 spte = SPTE_MMU_PRESENT | hw_hpa(child_pt) | f->present | f->write | f->user | f->exec;

	if (ad_disabled)
		spte |= SPTE_AD_DISABLED;
	if (!ad_disabled || !f->ept)
		spte |= f->accessed;
	return spte;
}

static u64 make_spte_executable(const struct kvm *kvm, u64 spte)
{
	const struct spte_format *f = spte_format(kvm);
	bool tracked = is_access_track_spte(kvm, spte);

	if (tracked)
		spte = restore_acc_track_spte(kvm, spte);
	spte = (spte & ~f->nx) | f->exec;
	return tracked ? mark_spte_for_access_track(kvm, spte) : spte;
}

u64 make_huge_page_split_spte(const struct kvm *kvm, u64 huge_spte, int huge_level, int index,
			      bool exec)
{
	int level = huge_level - 1;
	u64 spte = huge_spte +
		   (u64)(index ^ MUTANT(split_wrong_offset)) * KVM_PAGES_PER(level) * SZ_4K;

	MMU_BUG_ON(!is_shadow_present_pte(huge_spte) || !is_large_pte(huge_spte));

	if (level == PG_LEVEL_4K) {
		spte &= ~spte_format(kvm)->large;
		/* What the NX workaround took from the huge page, small ones may have. */
		if (exec)
			spte = make_spte_executable(kvm, spte);
	}
	return spte;
}

/* --- MMIO ------------------------------------------------------------------------------ */

static u64 memslots_generation(struct kvm_vcpu *vcpu)
{
	return __atomic_load_n(&kvm_vcpu_memslots(vcpu)->generation, __ATOMIC_ACQUIRE);
}

static u64 mmio_gen_bits(u64 gen)
{
	u64 low = gen & (BIT(MMIO_GEN_LOW_BITS) - 1);
	u64 high = (gen & MMIO_GEN_MASK) >> MMIO_GEN_LOW_BITS;

	return low << MMIO_GEN_LOW_SHIFT | high << MMIO_GEN_HIGH_SHIFT;
}

u64 make_mmio_spte(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int access)
{
	const struct spte_format *f = spte_format(vcpu->kvm);
	u64 spte = f->mmio_value | mmio_gen_bits(memslots_generation(vcpu));

	MMU_BUG_ON(!f->mmio_value || gfn << PAGE_SHIFT & ~SPTE_PTE_ADDR_MASK);

	spte |= gfn << PAGE_SHIFT;
	/* EPT is for direct tables, where all is allowed, and has W and X for its own use here. */
	if (!f->ept) {
		spte |= access & (ACC_WRITE | ACC_USER);
		if (!(access & ACC_EXEC))
			spte |= PTE_NX;
	}
	return spte;
}

gfn_t get_mmio_spte_gfn(const struct kvm *kvm, u64 spte)
{
	return (spte & SPTE_PTE_ADDR_MASK & ~spte_format(kvm)->mmio_value) >> PAGE_SHIFT;
}

unsigned int get_mmio_spte_access(const struct kvm *kvm, u64 spte)
{
	if (spte_format(kvm)->ept)
		return ACC_ALL;
	return (spte & (ACC_WRITE | ACC_USER)) | (spte & PTE_NX ? 0 : ACC_EXEC);
}

u64 get_mmio_spte_generation(const struct kvm *kvm, u64 spte)
{
	u64 low = spte >> MMIO_GEN_LOW_SHIFT & (BIT(MMIO_GEN_LOW_BITS) - 1);
	u64 high = spte >> MMIO_GEN_HIGH_SHIFT & (MMIO_GEN_MASK >> MMIO_GEN_LOW_BITS);

	(void)kvm;
	return high << MMIO_GEN_LOW_BITS | low;
}

bool check_mmio_spte(struct kvm_vcpu *vcpu, u64 spte)
{
	u64 gen = memslots_generation(vcpu);
	u64 spte_gen = get_mmio_spte_generation(vcpu->kvm, spte);

	/* While slots change, neither what was nor what will be is certain. */
	if (gen & KVM_MEMSLOT_GEN_UPDATE)
		return false;
	trace_mmu(vcpu->kvm, check_mmio_spte, spte, gen & MMIO_GEN_MASK, spte_gen);
	return spte_gen == (gen & MMIO_GEN_MASK) || MUTANT(mmio_generation_ignored);
}
