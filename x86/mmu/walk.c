// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU's reading of guest tables: one walk for every format that a guest, or a guest
 * hypervisor for its own guest, may have. A walk collects the entries of the whole path,
 * judges the access by all of them, and only then stores A and D, each by
 * compare-and-exchange against what it judged: where an entry has changed, the walk starts
 * again. SDM vol. 3 4.6-4.8 and 29.3.3; APM vol. 2 5.4 and 15.25.
 *
 * Tables are read through the host's mapping. One that is not in guest memory, or that the
 * host has nothing behind, makes the access a fault on an entry that is not present.
 */
#include "x86/mmu/internal.h"

enum step {
	STEP_OK,
	STEP_FAULT, /* walker->fault is complete */
	STEP_AGAIN,
};

/* A walk on its way. */
struct walk {
	struct guest_walker *out;
	struct kvm_vcpu *vcpu;
	struct kvm_mmu *mmu;
	u64 addr;
	u64 access;    /* PFERR_*, NPF_* of the access */
	u64 ept_right; /* EPT: R, W, X of all entries so far */
};

/* --- single entries ----------------------------------------------------------------- */

static bool keeps_ad(const struct kvm_mmu *mmu)
{
	return !mmu->cpu_role.base.ad_disabled;
}

static u64 accessed_bit(const struct kvm_mmu *mmu)
{
	return mmu->nested_ept ? EPT_A : PTE_A;
}

static u64 dirty_bit(const struct kvm_mmu *mmu)
{
	return mmu->nested_ept ? EPT_D : PTE_D;
}

bool is_present_gpte(const struct kvm_mmu *mmu, u64 gpte)
{
	return gpte & (mmu->nested_ept ? EPT_RWX : PTE_P);
}

unsigned int gpte_access(const struct kvm_mmu *mmu, u64 gpte)
{
	unsigned int access = 0;

	if (mmu->nested_ept) {
		access |= gpte & EPT_R ? ACC_USER : 0;
		access |= gpte & EPT_W ? ACC_WRITE : 0;
		access |= gpte & EPT_X ? ACC_EXEC : 0;
		return access;
	}
	access |= gpte & PTE_W ? ACC_WRITE : 0;
	access |= gpte & PTE_U ? ACC_USER : 0;
	access |= gpte & PTE_NX ? 0 : ACC_EXEC;
	return access;
}

void protect_clean_gpte(const struct kvm_mmu *mmu, unsigned int *access, u64 gpte)
{
	if (keeps_ad(mmu) && !(gpte & dirty_bit(mmu)))
		*access &= ~ACC_WRITE;
}

bool gpte_accessed(const struct kvm_mmu *mmu, u64 gpte)
{
	return !keeps_ad(mmu) || (gpte & accessed_bit(mmu));
}

/* Whether the entry maps a page, as against pointing to a table. It has no reserved bits. */
static bool maps_page(const struct kvm_mmu *mmu, u64 gpte, int level)
{
	if (level == PG_LEVEL_4K)
		return true;
	if (!(gpte & PTE_PS) || level > PG_LEVEL_1G)
		return false;
	return !mmu->cpu_role.base.has_4_byte_gpte || mmu->cpu_role.cr4_pse ||
	       MUTANT(pse_always_on);
}

gfn_t gpte_to_gfn(const struct kvm_mmu *mmu, u64 gpte, int level)
{
	u64 size = 1ull << LEVEL_SHIFT(level);

	if (!mmu->nested_ept)
		return pte_addr(mmu->guest_mode, gpte, level) >> PAGE_SHIFT;
	return (gpte & EPT_ADDR_MASK & ~(size - 1)) >> PAGE_SHIFT;
}

/* --- how tables are laid out, by format --------------------------------------------------- */

static const struct paging_mode *table_mode(const struct kvm_mmu *mmu)
{
	if (mmu->guest_mode)
		return mmu->guest_mode;
	/* EPT's tables are indexed as those of long mode. */
	return paging_mode(mmu->cpu_role.base.level == 5 ? PM_LA57 : PM_LA48);
}

/* Where the table is that the pointer or entry @from points to. */
static gpa_t table_addr(const struct kvm_mmu *mmu, u64 from)
{
	return from & (mmu->cpu_role.base.has_4_byte_gpte ? PTE32_ADDR_MASK : PTE_ADDR_MASK);
}

/* --- faults ------------------------------------------------------------------------------- */

/*
 * What L1 is told of its tables' fault, AMD's way: P and RSVD as found, the rest of the access.
 */
static u64 npf_error(const struct walk *w, u64 error)
{
	return error | PFERR_U | (w->access & (NPF_FINAL | NPF_TABLE));
}

/* Intel's way. */
static u64 ept_qualification(const struct walk *w)
{
	u64 q = (w->ept_right & EPT_RWX) << EPTV_ENTRY_SHIFT;

	if (w->access & PFERR_W)
		q |= EPTV_WRITE;
	else
		q |= w->access & PFERR_F ? EPTV_FETCH : EPTV_READ;
	/* The processor's update of a table reads as well. */
	if (w->access & NPF_TABLE)
		q |= EPTV_READ;
	if (w->access & (NPF_FINAL | NPF_TABLE))
		q |= EPTV_GVA;
	if (w->access & NPF_FINAL)
		q |= EPTV_FINAL;
	return q;
}

/* The walk ends with @error, of P, RSVD and PK, and what the access was. */
static enum step fault(struct walk *w, u64 error)
{
	struct x86_exception *e = &w->out->fault;
	const union kvm_cpu_role role = w->mmu->cpu_role;

	error |= w->access & (PFERR_W | PFERR_U);
	if ((w->access & PFERR_F) &&
	    (role.base.efer_nx || role.cr4_smep || w->mmu->nested_ept || MUTANT(fetch_bit_always)))
		error |= PFERR_F;
	__builtin_memset(e, 0, sizeof(*e));
	e->vector = PF_VECTOR;
	e->error_code = error;
	e->address = w->addr;
	if (w->mmu == &w->vcpu->guest_mmu) {
		e->nested_page_fault = true;
		e->ept_misconfig = w->mmu->nested_ept && (error & PFERR_RSVD);
		e->nested_error = w->mmu->nested_ept ? ept_qualification(w) : npf_error(w, error);
	}
	trace_mmu(w->vcpu->kvm, kvm_mmu_walker_error, error);
	return STEP_FAULT;
}

gpa_t translate_table_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gpa_t gpa, u64 access,
			  struct x86_exception *e)
{
	if (mmu != &vcpu->nested_mmu)
		return gpa;
	if (!(access & NPF_FINAL))
		access |= NPF_TABLE;
	/* To nested tables every access is a user's. */
	return vcpu->guest_mmu.gva_to_gpa(vcpu, &vcpu->guest_mmu, gpa, access | PFERR_U, e);
}

/* --- reading ------------------------------------------------------------------------------ */

/* Where the @size bytes at @gpa are in the host, and whether the slot lets them be written. */
static bool locate(struct kvm_vcpu *vcpu, gpa_t gpa, u64 *hva, bool *writable)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa >> PAGE_SHIFT);

	if (slot == NULL)
		return false;
	*hva = gfn_to_hva(slot, gpa >> PAGE_SHIFT) + (gpa & (SZ_4K - 1));
	*writable = !(slot->flags & SLOT_READONLY);
	return true;
}

/* Reads the entry for w->addr at @level of the table at @table. */
static enum step read_entry(struct walk *w, gpa_t table, int level)
{
	const struct paging_mode *m = table_mode(w->mmu);
	struct guest_walker *out = w->out;
	u64 access = keeps_ad(w->mmu) ? PFERR_W | NPF_TABLE : NPF_TABLE;
	gpa_t gpa = table + (u64)level_index(m, w->addr, level) * m->pte_size;
	u64 entry = 0;

	out->table_gfn[level] = table >> PAGE_SHIFT;
	gpa = translate_table_gpa(w->vcpu, w->mmu, gpa, access, &out->fault);
	if (gpa == INVALID_GPA)
		return STEP_FAULT;
	out->pte_gpa[level] = gpa;
	if (!locate(w->vcpu, gpa, &out->pte_hva[level], &out->pte_writable[level]) ||
	    !hw_read(w->vcpu->kvm, out->pte_hva[level], &entry, m->pte_size))
		return fault(w, 0);
	out->ptes[level] = entry;
	return STEP_OK;
}

/* Whether the walk may go on by @entry, found at @level. */
static enum step judge_entry(struct walk *w, u64 entry, int level)
{
	trace_mmu(w->vcpu->kvm, kvm_mmu_paging_element, entry, level);
	w->ept_right &= entry;
	if (!is_present_gpte(w->mmu, entry) &&
	    !(MUTANT(reserved_before_present) && is_rsvd_gpte(w->mmu, entry, level)))
		return fault(w, 0);
	if (is_rsvd_gpte(w->mmu, entry, level))
		return fault(w, PFERR_P | PFERR_RSVD);
	return STEP_OK;
}

/* The first table: @level is its level. */
static enum step first_table(struct walk *w, gpa_t *table, int *level)
{
	struct kvm_mmu *mmu = w->mmu;
	const struct paging_mode *m = table_mode(mmu);
	enum step step;
	u64 entry;

	*level = m->levels;
	/* Beyond what the tables of the second dimension can say is nothing. */
	if (mmu == &w->vcpu->guest_mmu && m->long_mode && w->addr >> m->gva_bits)
		return fault(w, 0);
	if (*level != 3) {
		*table = table_addr(mmu, mmu->get_guest_pgd(w->vcpu));
		return STEP_OK;
	}
	/* PAE: the top is four registers, without rights and without A. */
	entry = mmu->get_pdptr(w->vcpu, level_index(m, w->addr, 3));
	w->out->ptes[3] = entry;
	step = judge_entry(w, entry, 3);
	*table = table_addr(mmu, entry);
	*level = 2;
	return step;
}

/* --- A and D ------------------------------------------------------------------------------ */

/* Gives the entry at @level the bits @add. */
static enum step store_bits(struct walk *w, int level, u64 add)
{
	struct guest_walker *out = w->out;
	struct kvm *kvm = w->vcpu->kvm;
	gfn_t gfn = out->pte_gpa[level] >> PAGE_SHIFT;
	u64 entry = out->ptes[level];
	struct kvm_memory_slot *slot;
	int r;

	/* A table in ROM works if its bits need no setting; where they do, they stay clear. */
	if (!out->pte_writable[level] && !MUTANT(rom_tables_get_bits))
		return STEP_OK;
	if (add & accessed_bit(w->mmu))
		trace_mmu(kvm, kvm_mmu_set_accessed_bit, out->pte_gpa[level]);
	if (add & dirty_bit(w->mmu))
		trace_mmu(kvm, kvm_mmu_set_dirty_bit, out->pte_gpa[level]);
	r = hw_cmpxchg(kvm, out->pte_hva[level], &entry, entry | add, table_mode(w->mmu)->pte_size);
	if (r != 0)
		return r < 0 ? fault(w, 0) : STEP_AGAIN;
	slot = kvm_vcpu_gfn_to_memslot(w->vcpu, gfn);
	if (slot != NULL && !MUTANT(table_update_not_logged))
		kvm_mark_page_dirty(kvm, w->vcpu, slot, gfn);
	out->ptes[level] |= add;
	return STEP_OK;
}

static enum step update_ad(struct walk *w)
{
	struct guest_walker *out = w->out;
	u64 a = accessed_bit(w->mmu), d = dirty_bit(w->mmu), want;
	enum step step;
	int level;

	if (!keeps_ad(w->mmu))
		return STEP_OK;
	level = MUTANT(accessed_in_leaf_only) ? out->level : out->max_level;
	for (; level >= out->level; level--) {
		want = (level == out->level || MUTANT(dirty_above_leaf)) && (w->access & PFERR_W)
			       ? a | d
			       : a;
		want &= ~out->ptes[level];
		if (!want)
			continue;
		step = store_bits(w, level, want);
		if (step != STEP_OK)
			return step;
	}
	return STEP_OK;
}

/* --- the walk ----------------------------------------------------------------------------- */

/* The rights of the page, once its entry is known; then A and D. */
static enum step finish(struct walk *w)
{
	struct guest_walker *out = w->out;
	struct kvm_mmu *mmu = w->mmu;
	u64 leaf = out->ptes[out->level], error;
	const struct paging_mode *m = table_mode(mmu);
	unsigned int pkey = 0;
	enum step step;
	gpa_t gpa;

	if (mmu->cpu_role.efer_lma)
		pkey = (leaf >> PTE_PKEY_SHIFT) & 15;
	if (MUTANT(accessed_before_check))
		update_ad(w);
	error = permission_fault(w->vcpu, mmu, out->pte_access, pkey, w->access);
	if (error)
		return fault(w, error);

	gpa = (gpte_to_gfn(mmu, leaf, out->level) << PAGE_SHIFT) |
	      (w->addr & (level_size(m, out->level) - 1) & ~(SZ_4K - 1) &
	       ~(MUTANT(large_page_of_32_as_2m) ? SZ_2M : 0));
	gpa = translate_table_gpa(w->vcpu, mmu, gpa, (w->access & (PFERR_W | PFERR_F)) | NPF_FINAL,
				  &out->fault);
	if (gpa == INVALID_GPA)
		return STEP_FAULT;
	out->gfn = gpa >> PAGE_SHIFT;

	step = update_ad(w);
	/* Until a write sets D no SPTE may let one pass. */
	if (step == STEP_OK && !MUTANT(clean_page_writable))
		protect_clean_gpte(mmu, &out->pte_access, out->ptes[out->level]);
	return step;
}

static enum step walk_once(struct walk *w)
{
	struct guest_walker *out = w->out;
	unsigned int access = ACC_ALL;
	enum step step;
	gpa_t table = 0;
	int level;

	w->ept_right = EPT_RWX;
	step = first_table(w, &table, &level);
	out->max_level = level;
	for (; step == STEP_OK; level--) {
		out->level = level;
		out->pt_access[level] = access;
		step = read_entry(w, table, level);
		if (step != STEP_OK)
			break;
		hw_yield_point(w->vcpu->kvm, "guest entry read");
		step = judge_entry(w, out->ptes[level], level);
		if (step != STEP_OK)
			break;
		if (MUTANT(rights_of_leaf_alone))
			access = ACC_ALL;
		access &= gpte_access(w->mmu, out->ptes[level]);
		out->pte_access = access;
		if (maps_page(w->mmu, out->ptes[level], level))
			return finish(w);
		table = table_addr(w->mmu, out->ptes[level]);
	}
	return step;
}

bool walk_guest(struct guest_walker *walker, struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, u64 addr,
		u64 error_code)
{
	struct walk w = {.out = walker, .vcpu = vcpu, .mmu = mmu, .addr = addr};
	enum step step;

	w.access =
		error_code & (PFERR_W | PFERR_U | PFERR_F | PFERR_IMPLICIT | NPF_FINAL | NPF_TABLE);
	if (mmu == &vcpu->guest_mmu)
		w.access |= PFERR_U;
	trace_mmu(vcpu->kvm, kvm_mmu_pagetable_walk, addr, error_code);
	do {
		step = walk_once(&w);
	} while (step == STEP_AGAIN);
	return step == STEP_OK;
}

bool gpte_changed(struct kvm_vcpu *vcpu, const struct guest_walker *walker, int level)
{
	unsigned int size = vcpu->mmu->cpu_role.base.has_4_byte_gpte ? 4 : 8;
	u64 hva, now = 0;
	bool writable;

	return !locate(vcpu, walker->pte_gpa[level], &hva, &writable) ||
	       !hw_read(vcpu->kvm, hva, &now, size) || now != walker->ptes[level];
}

/* --- translation for the hypervisor ------------------------------------------------------- */

gpa_t nonpaging_gva_to_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gva_t gva, u64 access,
			   struct x86_exception *e)
{
	return translate_table_gpa(vcpu, mmu, gva, (access & (PFERR_W | PFERR_F)) | NPF_FINAL, e);
}

gpa_t paging_gva_to_gpa(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gva_t gva, u64 access,
			struct x86_exception *e)
{
	struct guest_walker walker;

	if (!walk_guest(&walker, vcpu, mmu, gva, access)) {
		*e = walker.fault;
		return INVALID_GPA;
	}
	return (walker.gfn << PAGE_SHIFT) | (gva & (SZ_4K - 1));
}

gpa_t kvm_mmu_gva_to_gpa(struct kvm_vcpu *vcpu, gva_t gva, u64 access, struct x86_exception *e)
{
	struct x86_exception unused;

	return vcpu->walk_mmu->gva_to_gpa(vcpu, vcpu->walk_mmu, gva, access, e ? e : &unused);
}
