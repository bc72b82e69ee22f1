// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest's registers mean for its paging: roles, from which everything else
 * follows: which of a vCPU's MMUs is in use, the format of the guest's tables with its
 * reserved bits, and which access of which rights faults. Tables are made when the role
 * changes, so that a walk looks things up instead of looking at registers.
 */
#include "x86/mmu/internal.h"

/* Bits @hi down to @lo; none when @hi is below. */
static u64 bits(int hi, int lo)
{
	return hi < lo ? 0 : (hi == 63 ? ~0ull : BIT(hi + 1) - 1) & ~(BIT(lo) - 1);
}

/* --- roles ---------------------------------------------------------------------- */

union kvm_cpu_role kvm_calc_cpu_role(const struct kvm_paging_regs *regs)
{
	union kvm_cpu_role role = {.as_u64 = 0};
	bool wp = regs->cr0 & CR0_WP;

	role.valid = 1;
	role.amd = regs->amd;
	role.gbpages = regs->gbpages;
	role.maxphyaddr = regs->maxphyaddr;
	role.base.access = ACC_ALL;
	role.base.smm = regs->smm;
	role.base.guest_mode = regs->guest_mode;
	if (!(regs->cr0 & CR0_PG)) {
		role.base.direct = 1;
		return role;
	}
	role.cr0_pg = 1;
	role.cr4_pse = !!(regs->cr4 & CR4_PSE);
	role.cr4_smep = !!(regs->cr4 & CR4_SMEP);
	role.cr4_smap = !!(regs->cr4 & CR4_SMAP);
	role.efer_lma = !!(regs->efer & EFER_LMA);
	role.base.cr0_wp = wp;
	role.base.smep_andnot_wp = role.cr4_smep && !wp;
	role.base.smap_andnot_wp = role.cr4_smap && !wp;
	/* 4-byte entries have no such bit, nor is it said of a fetch that it was one. */
	role.base.efer_nx = (regs->efer & EFER_NX) && (regs->cr4 & CR4_PAE);
	if (role.efer_lma) {
		role.cr4_la57 = !!(regs->cr4 & CR4_LA57);
		role.cr4_pke = !!(regs->cr4 & CR4_PKE);
		role.base.level = role.cr4_la57 ? 5 : 4;
	} else if (regs->cr4 & CR4_PAE) {
		role.base.level = 3;
	} else {
		role.base.level = 2;
		role.base.has_4_byte_gpte = 1;
		role.base.no_pse = !role.cr4_pse && !MUTANT(role_without_pse);
	}
	return role;
}

/* L1's nested tables, AMD's: L1's own paging mode, where each access is a user's. */
static union kvm_cpu_role calc_npt_role(const struct kvm_paging_regs *regs)
{
	struct kvm_paging_regs l1 = *regs;

	/* No rule about supervisors takes part, whatever L1's registers say. */
	l1.cr0 = regs->l1_cr0 | CR0_PG | CR0_WP;
	l1.cr4 = regs->l1_cr4 & ~(CR4_SMEP | CR4_SMAP | CR4_PKE);
	l1.efer = regs->l1_efer;
	l1.smm = false;
	return kvm_calc_cpu_role(&l1);
}

/* Intel's: the pointer to them says it all. */
static union kvm_cpu_role calc_ept_role(const struct kvm_paging_regs *regs)
{
	union kvm_cpu_role role = {.as_u64 = 0};
	int levels = ((regs->nested_cr3 & EPTP_LEVELS_MASK) >> EPTP_LEVELS_SHIFT) + 1;

	role.valid = 1;
	role.gbpages = 1;
	role.maxphyaddr = regs->maxphyaddr;
	role.base.access = ACC_ALL;
	role.base.guest_mode = 1;
	role.base.ept_guest = 1;
	role.base.level = levels == 5 ? 5 : 4;
	role.base.ad_disabled = !(regs->nested_cr3 & EPTP_AD);
	return role;
}

/* Depth of the tables of the second dimension: what reaches all that the guest can address. */
static int tdp_root_level(const struct kvm_vcpu *vcpu)
{
	return vcpu->regs.maxphyaddr > 48 ? 5 : 4;
}

/* The role of roots that map guest memory as it is. */
static union kvm_mmu_page_role calc_tdp_root_role(const struct kvm_vcpu *vcpu)
{
	union kvm_mmu_page_role role = {.word = 0};

	role.level = tdp_root_level(vcpu);
	role.direct = 1;
	role.access = ACC_ALL;
	role.efer_nx = 1;
	role.cr0_wp = 1;
	role.ad_disabled = !spte_format(vcpu->kvm)->ad;
	role.smm = vcpu->regs.smm && !MUTANT(role_without_smm);
	role.guest_mode = vcpu->regs.guest_mode;
	return role;
}

/* The role of roots that shadow a guest's own tables. The hardware has no 32-bit roots here. */
static union kvm_mmu_page_role calc_shadow_root_role(const struct kvm_vcpu *vcpu,
						     union kvm_cpu_role cpu_role)
{
	union kvm_mmu_page_role role = cpu_role.base;

	if (role.level < 3)
		role.level = 3;
	role.cr0_wp &= !MUTANT(role_without_wp);
	role.efer_nx |= MUTANT(role_without_nx);
	role.smep_andnot_wp &= !MUTANT(role_without_smep);
	role.smap_andnot_wp &= !MUTANT(role_without_smap);
	role.ad_disabled = !spte_format(vcpu->kvm)->ad;
	return role;
}

/*
 * The role of roots that shadow L1's nested tables; the hardware's depth is that of the second
 * dimension.
 */
static union kvm_mmu_page_role calc_nested_root_role(const struct kvm_vcpu *vcpu,
						     union kvm_cpu_role cpu_role)
{
	union kvm_mmu_page_role role = cpu_role.base;

	/* Where L1 keeps no A and D, an SPTE may have rights that it must not have where L1 does. */
	role.ad_disabled = !spte_format(vcpu->kvm)->ad || cpu_role.base.ad_disabled;
	if (cpu_role.base.ept_guest)
		return role;
	role.level = tdp_root_level(vcpu);
	/* L1 may have more in its tables than its addresses need. */
	if (role.level < cpu_role.base.level)
		role.level = cpu_role.base.level;
	/* Two levels more to the hardware than to L1 have tables of their own: pml4_root. */
	role.passthrough = role.level == 5 && cpu_role.base.level == 4;
	return role;
}

/* --- which access faults ------------------------------------------------------------ */

/*
 * Whether an access of kind @code (PFERR_W, PFERR_U, PFERR_F) faults for the rights @acc of the
 * page. PFERR_RSVD, which says nothing about an access, stands for AC: SMAP does not apply.
 */
static bool access_faults(const struct kvm_mmu *mmu, u64 code, unsigned int acc)
{
	const union kvm_cpu_role role = mmu->cpu_role;
	bool write = code & PFERR_W, fetch = code & PFERR_F;

	if (mmu->nested_ept) {
		/* W implies R, or the entry is misconfigured. ACC_USER is R. */
		if (write)
			return !(acc & ACC_WRITE);
		return !(acc & (fetch ? ACC_EXEC : ACC_USER));
	}
	if (fetch && role.base.efer_nx && !(acc & ACC_EXEC))
		return true;
	if (code & PFERR_U)
		return !(acc & ACC_USER) || (write && !(acc & ACC_WRITE));
	if (write && role.base.cr0_wp && !(acc & ACC_WRITE))
		return true;
	if (!(acc & ACC_USER))
		return false;
	return fetch ? role.cr4_smep : role.cr4_smap && !(code & PFERR_RSVD);
}

static void update_permissions(struct kvm_mmu *mmu)
{
	unsigned int i, acc;

	__builtin_memset(mmu->permissions, 0, sizeof(mmu->permissions));
	if (!mmu->cpu_role.cr0_pg && !mmu->nested_ept)
		return;
	for (i = 0; i < ARRAY_LEN(mmu->permissions); i++)
		for (acc = 0; acc <= ACC_ALL; acc++)
			if (access_faults(mmu, (u64)i << 1, acc))
				mmu->permissions[i] |= 1u << acc;
}

/* Index of two bits of pkru_mask: which of a key's bits forbid such an access. */
static unsigned int pkru_index(u64 code, unsigned int acc)
{
	unsigned int write = (code & PFERR_W) != 0, user = (code & PFERR_U) != 0;
	unsigned int fetch = (code & PFERR_F) != 0, user_page = (acc & ACC_USER) != 0;

	return 2 * (write | user << 1 | fetch << 2 | user_page << 3);
}

static void update_pkru_mask(struct kvm_mmu *mmu)
{
	static const u64 codes[] = {0, PFERR_U, PFERR_W, PFERR_W | PFERR_U};
	unsigned int i;

	mmu->pkru_mask = 0;
	if (mmu->nested_ept || !mmu->cpu_role.cr4_pke)
		return;
	/* Keys are about data in user pages: bit 0 forbids all access, bit 1 writes. */
	for (i = 0; i < ARRAY_LEN(codes); i++) {
		bool heeds_wd = (codes[i] & PFERR_W) &&
				((codes[i] & PFERR_U) || mmu->cpu_role.base.cr0_wp ||
				 MUTANT(pkey_write_ignores_wp));

		mmu->pkru_mask |= (heeds_wd ? 3u : 1u) << pkru_index(codes[i], ACC_USER);
	}
}

u64 permission_fault(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, unsigned int pte_access,
		     unsigned int pkey, u64 error_code)
{
	u64 code = error_code & (PFERR_W | PFERR_U | PFERR_F), fault = 0;

	if (mmu->pkru_mask) {
		u32 forbids = vcpu->regs.pkru >> (2 * pkey);

		if (forbids & (mmu->pkru_mask >> pkru_index(code, pte_access)) & 3)
			fault = PFERR_P | PFERR_PK;
	}
	/* AC lets the supervisor's explicit accesses pass SMAP, not the processor's own. */
	if ((vcpu->regs.rflags & RFLAGS_AC) &&
	    (!(error_code & PFERR_IMPLICIT) || MUTANT(ac_on_implicit_access)))
		code |= PFERR_RSVD;
	if (mmu->permissions[code >> 1] & (1u << pte_access))
		fault |= PFERR_P;
	return fault;
}

/* --- reserved bits ------------------------------------------------------------------ */

static void rsvd_32(struct rsvd_bits *r, const union kvm_cpu_role role)
{
	int top = role.maxphyaddr < 40 ? role.maxphyaddr : 40;

	/* A 4 MiB entry has address bits 39:32 in 20:13; without PSE it is none. */
	if (role.cr4_pse)
		r->mask[1][2] = bits(21, top > 32 ? top - 19 : 13);
}

static void rsvd_pae(struct rsvd_bits *r, const union kvm_cpu_role role)
{
	u64 high = bits(62, role.maxphyaddr) | (role.base.efer_nx ? 0 : PTE_NX);

	r->mask[0][1] = r->mask[1][1] = high;
	r->mask[0][2] = high;
	r->mask[1][2] = high | bits(20, 13);
	/* A PDPTE is a register: it grants no rights and maps no page. */
	r->mask[0][3] = r->mask[1][3] = bits(63, role.maxphyaddr) | bits(8, 5) | bits(2, 1);
}

static void rsvd_long(struct rsvd_bits *r, const union kvm_cpu_role role)
{
	u64 high = bits(51, role.maxphyaddr + MUTANT(maxphyaddr_off_by_one)) |
		   (role.base.efer_nx || MUTANT(nx_not_reserved) ? 0 : PTE_NX);
	int level;

	r->mask[0][1] = r->mask[1][1] = high;
	r->mask[0][2] = r->mask[0][3] = high;
	r->mask[1][2] = high | bits(20, 13);
	r->mask[1][3] = high | bits(29, 13) | (role.gbpages ? 0 : PTE_PS);
	for (level = 4; level <= 5; level++)
		r->mask[0][level] = r->mask[1][level] = high | PTE_PS | (role.amd ? PTE_G : 0);
}

/* EPT, a guest's or our own. @exec_only: entries with X and not R are allowed. */
static void rsvd_ept(struct rsvd_bits *r, u64 high, bool gbpages, bool exec_only)
{
	unsigned int low;
	int level;

	r->mask[0][1] = r->mask[1][1] = high;
	r->mask[0][2] = r->mask[0][3] = high | bits(6, 3);
	r->mask[1][2] = high | bits(20, 12);
	r->mask[1][3] = high | bits(29, 12) | (gbpages ? 0 : EPT_PS);
	for (level = 4; level <= 5; level++)
		r->mask[0][level] = r->mask[1][level] = high | bits(7, 3);
	r->exec_only_bad = !exec_only;
	for (low = 0; low < 64; low++) {
		unsigned int rwx = low & EPT_RWX, type = low >> EPT_MT_SHIFT;

		if (!(EPT_MT_VALID & BIT(type)) || (rwx & (EPT_R | EPT_W)) == EPT_W ||
		    (rwx == EPT_X && !exec_only))
			r->bad_mt_xwr |= BIT(low);
	}
}

static void update_guest_rsvd(struct kvm_mmu *mmu)
{
	const union kvm_cpu_role role = mmu->cpu_role;
	struct rsvd_bits *r = &mmu->guest_rsvd;

	__builtin_memset(r, 0, sizeof(*r));
	if (mmu->nested_ept)
		rsvd_ept(r, bits(51, role.maxphyaddr), role.gbpages, true);
	else if (!role.cr0_pg)
		return;
	else if (role.efer_lma)
		rsvd_long(r, role);
	else if (role.base.has_4_byte_gpte)
		rsvd_32(r, role);
	else
		rsvd_pae(r, role);
}

/* What the processor that walks our tables would refuse. */
static void update_shadow_rsvd(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu)
{
	const struct spte_format *fmt = spte_format(vcpu->kvm);
	struct rsvd_bits *r = &mmu->shadow_rsvd;
	union kvm_cpu_role host = {.as_u64 = 0};

	__builtin_memset(r, 0, sizeof(*r));
	if (fmt->ept) {
		rsvd_ept(r, fmt->me_rsvd, true, true);
		return;
	}
	host.base.efer_nx = 1;
	host.gbpages = 1;
	host.maxphyaddr = 52;
	if (mmu->root_role.level == 3)
		rsvd_pae(r, host);
	else
		rsvd_long(r, host);
	for (int level = 1; level <= PAGING_MAX_LEVEL; level++) {
		r->mask[0][level] |= fmt->me_rsvd;
		r->mask[1][level] |= fmt->me_rsvd;
	}
}

bool is_rsvd_gpte(const struct kvm_mmu *mmu, u64 gpte, int level)
{
	const struct rsvd_bits *r = &mmu->guest_rsvd;

	if (gpte & r->mask[!!(gpte & PTE_PS)][level])
		return true;
	return mmu->nested_ept && (r->bad_mt_xwr & BIT(gpte & 0x3f));
}

/* --- where the guest's tables begin ------------------------------------------------- */

static gpa_t get_guest_cr3(struct kvm_vcpu *vcpu)
{
	return vcpu->regs.cr3;
}

static gpa_t get_nested_cr3(struct kvm_vcpu *vcpu)
{
	return vcpu->regs.nested_cr3;
}

static u64 get_pdptr_register(struct kvm_vcpu *vcpu, int index)
{
	return vcpu->regs.pdptrs[index];
}

/* As AMD's processors do under nested paging: from memory, each time. */
static bool read_pdptr(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, u64 cr3, int index, u64 *pdptr)
{
	struct x86_exception e;
	gpa_t gpa = (u32)cr3 & ~31u;
	struct kvm_memory_slot *slot;

	gpa = translate_table_gpa(vcpu, mmu, gpa + 8 * index, PFERR_W | NPF_TABLE, &e);
	if (gpa == INVALID_GPA)
		return false;
	slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa >> PAGE_SHIFT);
	return slot != NULL &&
	       hw_read(vcpu->kvm, gfn_to_hva(slot, gpa >> PAGE_SHIFT) + (gpa & (SZ_4K - 1)), pdptr,
		       8);
}

static u64 get_pdptr_memory(struct kvm_vcpu *vcpu, int index)
{
	u64 pdptr;

	if (!read_pdptr(vcpu, vcpu->walk_mmu, vcpu->regs.cr3, index, &pdptr))
		return vcpu->regs.pdptrs[index];
	return pdptr;
}

static u64 get_nested_pdptr(struct kvm_vcpu *vcpu, int index)
{
	u64 pdptr;

	if (!read_pdptr(vcpu, &vcpu->guest_mmu, vcpu->regs.nested_cr3, index, &pdptr))
		return 0;
	return pdptr;
}

/* --- putting it together ---------------------------------------------------------------- */

static const struct paging_mode *role_mode(union kvm_cpu_role role)
{
	if (role.base.ept_guest)
		return NULL;
	if (!role.cr0_pg)
		return paging_mode(PM_NONE);
	if (role.efer_lma)
		return paging_mode(role.cr4_la57 ? PM_LA57 : PM_LA48);
	return paging_mode(role.base.has_4_byte_gpte ? PM_32 : PM_PAE);
}

/*
 * The current root was made for another role. It may be wanted again, so it joins the previous
 * ones; one that hangs on pae_root and its like can't, because there is only one of those.
 */
static void retire_root(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu)
{
	int i;

	if (mmu->root.hpa == INVALID_PAGE)
		return;
	if (root_to_sp(mmu->root.hpa) == NULL) {
		kvm_mmu_free_roots(vcpu->kvm, mmu, KVM_MMU_ROOT_CURRENT);
		return;
	}
	kvm_mmu_free_roots(vcpu->kvm, mmu, KVM_MMU_ROOT_PREVIOUS(KVM_PREV_ROOTS - 1));
	for (i = KVM_PREV_ROOTS - 1; i > 0; i--)
		mmu->prev_roots[i] = mmu->prev_roots[i - 1];
	mmu->prev_roots[0] = mmu->root;
	mmu->root.hpa = INVALID_PAGE;
	mmu->root.pgd = 0;
}

/* @mmu becomes one of these roles. False: it was already. */
static bool set_roles(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, union kvm_cpu_role cpu_role,
		      union kvm_mmu_page_role root_role)
{
	if (mmu->cpu_role.as_u64 == cpu_role.as_u64 && mmu->root_role.word == root_role.word)
		return false;
	if (mmu->root_role.word != root_role.word)
		retire_root(vcpu, mmu);
	mmu->cpu_role = cpu_role;
	mmu->root_role = root_role;
	mmu->guest_mode = role_mode(cpu_role);
	mmu->nested_ept = cpu_role.base.ept_guest;
	mmu->gva_to_gpa =
		cpu_role.cr0_pg || mmu->nested_ept ? paging_gva_to_gpa : nonpaging_gva_to_gpa;
	update_permissions(mmu);
	update_pkru_mask(mmu);
	update_guest_rsvd(mmu);
	if (root_role.word)
		update_shadow_rsvd(vcpu, mmu);
	return true;
}

static void init_root_mmu(struct kvm_vcpu *vcpu)
{
	union kvm_cpu_role cpu_role = kvm_calc_cpu_role(&vcpu->regs);
	bool tdp = mmu_params_tdp(&vcpu->kvm->params);
	struct kvm_mmu *mmu = &vcpu->root_mmu;

	if (!set_roles(vcpu, mmu, cpu_role,
		       tdp ? calc_tdp_root_role(vcpu) : calc_shadow_root_role(vcpu, cpu_role)))
		return;
	mmu->get_guest_pgd = get_guest_cr3;
	mmu->get_pdptr = tdp && cpu_role.amd ? get_pdptr_memory : get_pdptr_register;
	mmu->page_fault = mmu->root_role.direct ? direct_page_fault : shadow_page_fault;
}

static void init_guest_mmu(struct kvm_vcpu *vcpu)
{
	union kvm_cpu_role cpu_role =
		vcpu->kvm->params.ept ? calc_ept_role(&vcpu->regs) : calc_npt_role(&vcpu->regs);
	struct kvm_mmu *mmu = &vcpu->guest_mmu;

	if (!set_roles(vcpu, mmu, cpu_role, calc_nested_root_role(vcpu, cpu_role)))
		return;
	mmu->get_guest_pgd = get_nested_cr3;
	mmu->get_pdptr = get_nested_pdptr;
	mmu->page_fault = shadow_page_fault;
}

static void init_nested_mmu(struct kvm_vcpu *vcpu)
{
	union kvm_cpu_role cpu_role = kvm_calc_cpu_role(&vcpu->regs);
	union kvm_mmu_page_role no_root = {.word = 0};
	struct kvm_mmu *mmu = &vcpu->nested_mmu;

	if (!set_roles(vcpu, mmu, cpu_role, no_root))
		return;
	mmu->get_guest_pgd = get_guest_cr3;
	mmu->get_pdptr = cpu_role.amd ? get_pdptr_memory : get_pdptr_register;
	mmu->page_fault = NULL;
}

void kvm_init_mmu(struct kvm_vcpu *vcpu)
{
	if (vcpu->regs.guest_mode && vcpu->regs.nested_npt) {
		init_guest_mmu(vcpu);
		init_nested_mmu(vcpu);
		vcpu->mmu = &vcpu->guest_mmu;
		vcpu->walk_mmu = &vcpu->nested_mmu;
	} else {
		init_root_mmu(vcpu);
		vcpu->mmu = &vcpu->root_mmu;
		vcpu->walk_mmu = &vcpu->root_mmu;
	}
}

void kvm_mmu_reset_context(struct kvm_vcpu *vcpu)
{
	kvm_mmu_unload(vcpu);
	kvm_init_mmu(vcpu);
}

void kvm_mmu_after_set_cpuid(struct kvm_vcpu *vcpu)
{
	kvm_mmu_unload(vcpu);
	/* A role of no validity equals none that is computed. */
	vcpu->root_mmu.cpu_role.as_u64 = 0;
	vcpu->guest_mmu.cpu_role.as_u64 = 0;
	vcpu->nested_mmu.cpu_role.as_u64 = 0;
	kvm_init_mmu(vcpu);
}
