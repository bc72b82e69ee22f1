// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's registers, the processor's and the MMU's view of them.
 *
 * With two-dimensional paging the processor runs with the guest's own control registers.
 * Under shadow paging it translates by our tables: CR0.PG and WP, EFER.NX and CR4.PAE are
 * set, CR3 is ours, and what the guest believes is kept beside (guest_cr0 and so on). The
 * widths of code, stack and of the IDT follow from CR0.PE, EFER.LMA and CS, which are the
 * guest's own in both cases, so that a guest in real mode executes as in real mode while its
 * addresses go through tables.
 */
#include <string.h>

#include "x86/kvm/internal.h"

#define CR0_RESERVED                                                                        \
	(~(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | \
	   CR0_CD | CR0_PG))
#define CR4_PAGING  (CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PKE)
#define EFER_PAGING (EFER_LME | EFER_LMA | EFER_NX)
#define HOST_ASID   1
#define HPA_BITS    48 /* host addresses of user space are below */

u64 guest_cr0(const struct vcpu *v)
{
	return vm_tdp(v->vm) ? v->cpu.mmu.cr0 : v->guest_cr0;
}

u64 guest_cr3(const struct vcpu *v)
{
	return vm_tdp(v->vm) ? v->cpu.mmu.cr3 : v->guest_cr3;
}

u64 guest_cr4(const struct vcpu *v)
{
	return vm_tdp(v->vm) ? v->cpu.mmu.cr4 : v->guest_cr4;
}

u64 guest_efer(const struct vcpu *v)
{
	return vm_tdp(v->vm) ? v->cpu.mmu.efer : v->guest_efer;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static u8 host_maxphyaddr(const struct vm *vm)
{
	u8 bits = vm->kvm.params.maxphyaddr;

	return bits < HPA_BITS ? HPA_BITS : bits;
}

/* --- to the MMU ------------------------------------------------------------------------ */

#define KEY_SMM	   BIT(62)
#define KEY_NESTED BIT(61)
#define KEY_NPT	   BIT(60)

static u64 paging_key(const struct kvm_paging_regs *r)
{
	u64 key = (r->cr0 & (CR0_PE | CR0_PG | CR0_WP)) | (r->cr4 & CR4_PAGING) << 32;

	key |= (r->guest_mode ? KEY_NESTED : 0) | (r->nested_npt ? KEY_NPT : 0);
	return key | (r->efer & EFER_PAGING) << 4 | (r->smm ? KEY_SMM : 0) | BIT(63);
}

bool guest_load_pdptrs(struct vcpu *v, u64 cr3)
{
	u64 reserved = ~0ull << v->kvm.regs.maxphyaddr | 0x1e6, pdpte[4];

	if (guest_read(&v->kvm, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		return false;
	for (unsigned int i = 0; i < 4; i++)
		if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
			return false;
	memcpy(v->kvm.regs.pdptrs, pdpte, sizeof(pdpte));
	if (vm_tdp(v->vm))
		memcpy(v->cpu.mmu.pdpte, pdpte, sizeof(pdpte));
	return true;
}

static void copy_to_mmu(struct vcpu *v)
{
	struct kvm_paging_regs *r = &v->kvm.regs;

	r->cr0 = guest_cr0(v);
	r->cr3 = guest_cr3(v);
	r->cr4 = guest_cr4(v);
	r->efer = guest_efer(v);
	r->rflags = v->cpu.rflags;
	r->pkru = v->cpu.mmu.pkru;
	r->cpl = v->cpu.mmu.cpl;
	r->smm = v->smm;
}

void regs_to_mmu(struct vcpu *v)
{
	struct kvm_paging_regs *r = &v->kvm.regs;
	u64 key;

	copy_to_mmu(v);
	/* With NPT the processor has no such registers, and the MMU reads memory as it does. */
	if (vm_tdp(v->vm))
		memcpy(r->pdptrs, v->cpu.mmu.pdpte, sizeof(r->pdptrs));
	key = paging_key(r);
	if (key == v->role_key)
		return;
	v->role_key = key;
	kvm_init_mmu(&v->kvm);
}

/* The role changed in a way that the roots don't survive. */
static void reset_mmu(struct vcpu *v)
{
	copy_to_mmu(v);
	v->role_key = paging_key(&v->kvm.regs);
	kvm_mmu_reset_context(&v->kvm);
}

/* --- to the processor ------------------------------------------------------------------- */

static void tdp_to_cpu(struct vcpu *v)
{
	const struct mmu_params *p = &v->vm->kvm.params;
	struct kvm_mmu *mmu = v->kvm.mmu;

	v->nested = (struct nested){
		.kind = p->ept ? NESTED_EPT : NESTED_NPT,
		.root = mmu->root.hpa,
		.levels = mmu->root_role.level,
		.ad = p->ad_bits,
		.maxphyaddr = host_maxphyaddr(v->vm),
		.nx = true,
		.tables_read = v->svm.walk_reads,
		.pml = pml_begin(v),
	};
	v->cpu.nested = &v->nested;
	v->cpu.mmu.maxphyaddr = p->maxphyaddr;
	v->cpu.mmu.no_gbpages = !v->kvm.regs.gbpages;
}

static void shadow_to_cpu(struct vcpu *v)
{
	struct kvm_mmu *mmu = v->kvm.mmu;
	struct mmu_regs *r = &v->cpu.mmu;
	u64 cr0 = v->guest_cr0 | CR0_PG | CR0_WP, cr4 = v->guest_cr4 | CR4_PAE;
	u64 efer = v->guest_efer | EFER_NX;

	/* Without paging there is neither SMEP nor SMAP nor are there keys, but here there would be. */
	if (!(v->guest_cr0 & CR0_PG))
		cr4 &= ~(CR4_SMEP | CR4_SMAP | CR4_PKE);
	r->cr4 = cr4;
	if (mmu->root_role.level == 3)
		memcpy(r->pdpte, hw_va(mmu->root.hpa & ~0x1full), sizeof(r->pdpte));
	r->cr3 = mmu->root.hpa;
	if (cr4 & CR4_PCIDE)
		r->cr3 |= v->guest_cr3 & CR3_PCID_MASK;
	r->maxphyaddr = host_maxphyaddr(v->vm);
	r->no_gbpages = false;
	if (r->cr0 == cr0 && r->efer == efer)
		return;
	r->cr0 = cr0;
	r->efer = efer;
	cpu_sync(&v->cpu);
}

void regs_to_cpu(struct vcpu *v)
{
	struct cpu_intercepts *icpt = &v->cpu.intercept;

	*icpt = (struct cpu_intercepts){0};
	v->cpu.mmu.asid = HOST_ASID;
	v->cpu.mmu.amd = !v->vm->kvm.params.ept;
	if (vm_tdp(v->vm)) {
		icpt->insns = v->invpcid_hidden ? ICPT_INVPCID : 0;
		tdp_to_cpu(v);
	} else {
		icpt->exceptions = BIT(PF_VECTOR);
		icpt->cr_read = icpt->cr_write = BIT(0) | BIT(3) | BIT(4);
		icpt->insns = ICPT_INVLPG | ICPT_INVPCID;
		icpt->msr = msr_intercept;
		icpt->arg = v;
		shadow_to_cpu(v);
	}
	if (v->kvm.regs.guest_mode)
		svm_to_cpu(v);
}

/* --- flushes that the guest asks for, under shadow paging ---------------------------------- */

void guest_flush_pcid(struct vcpu *v, u16 pcid)
{
	struct kvm_mmu *mmu = v->kvm.mmu;
	u16 current = guest_cr4(v) & CR4_PCIDE ? guest_cr3(v) & CR3_PCID_MASK : 0;

	if (vm_tdp(v->vm)) {
		hw_flush_current(&v->kvm);
		return;
	}
	if (pcid == current) {
		/* When the root is loaded, which comes first. */
		if (!MUTANT(cr3_load_skips_sync))
			__atomic_fetch_or(&v->kvm.requests, KVM_REQ_MMU_SYNC, __ATOMIC_RELAXED);
		hw_flush_current(&v->kvm);
	}
	if (!(guest_cr4(v) & CR4_PCIDE))
		return;
	/* A root that is found again with bit 63 set must not have what was to be forgotten. */
	for (unsigned int i = 0; i < KVM_PREV_ROOTS; i++)
		if (mmu->prev_roots[i].hpa != INVALID_PAGE &&
		    (mmu->prev_roots[i].pgd & CR3_PCID_MASK) == pcid &&
		    !MUTANT(pcid_flush_keeps_prev_root)) {
			kvm_mmu_sync_prev_roots(&v->kvm);
			hw_flush_current(&v->kvm);
			return;
		}
	/* What the TLB has of it is found by the tag alone. */
	if (pcid != current)
		hw_flush_current(&v->kvm);
}

void guest_flush_all(struct vcpu *v)
{
	if (!vm_tdp(v->vm)) {
		if (!MUTANT(full_flush_skips_root))
			kvm_mmu_sync_roots(&v->kvm);
		if (!MUTANT(full_flush_skips_prev_roots))
			kvm_mmu_sync_prev_roots(&v->kvm);
	}
	hw_flush_current(&v->kvm);
}

/* --- control registers --------------------------------------------------------------------- */

static bool cr0_valid(u64 cr0)
{
	if ((cr0 & CR0_RESERVED) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
		return false;
	return !(cr0 & CR0_PG) || (cr0 & CR0_PE);
}

/* What is left to do once CR0, CR4 and EFER are new: the MMU's role, flushes. Shadow paging. */
static void after_cr0(struct vcpu *v, u64 old)
{
	u64 changed = old ^ v->guest_cr0;

	if (changed == CR0_WP && !(v->guest_cr0 & CR0_PG)) {
		copy_to_mmu(v);
		return;
	}
	if ((changed & CR0_PG) && !(v->guest_cr0 & CR0_PG))
		guest_flush_all(v);
	if (changed & (CR0_PG | CR0_WP))
		reset_mmu(v);
	else
		copy_to_mmu(v);
}

static bool write_cr0(struct vcpu *v, u64 value)
{
	u64 old = v->guest_cr0, efer = v->guest_efer;

	if (value >> 32)
		return false;
	value = (value & ~CR0_RESERVED) | CR0_ET;
	if (!cr0_valid(value))
		return false;
	if ((value & ~old & CR0_PG) && (efer & EFER_LME)) {
		if (!(v->guest_cr4 & CR4_PAE) || (v->cpu.seg[SEG_CS].attr & SEG_L))
			return false;
		efer |= EFER_LMA;
	}
	if (old & ~value & CR0_PG) {
		if (v->cpu.code_bytes == 8 || (v->guest_cr4 & CR4_PCIDE))
			return false;
		efer &= ~EFER_LMA;
	}
	if (((old ^ value) & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, v->guest_cr4, efer) &&
	    !guest_load_pdptrs(v, v->guest_cr3))
		return false;
	v->guest_cr0 = value;
	v->guest_efer = efer;
	after_cr0(v, old);
	return true;
}

static bool cr3_legal(struct vcpu *v, u64 cr3)
{
	return !(cr3 >> v->kvm.regs.maxphyaddr);
}

static bool write_cr3(struct vcpu *v, u64 value)
{
	bool flush = true, pae = pae_paging(v->guest_cr0, v->guest_cr4, v->guest_efer);
	u64 pdptrs[4];
	u16 pcid = 0;

	memcpy(pdptrs, v->kvm.regs.pdptrs, sizeof(pdptrs));
	if (!(v->guest_efer & EFER_LMA))
		value = (u32)value;
	if (v->guest_cr4 & CR4_PCIDE) {
		flush = !(value & CR3_NOFLUSH);
		value &= ~CR3_NOFLUSH;
		pcid = value & CR3_PCID_MASK;
	}
	if (value != v->guest_cr3 || pae) {
		if (!cr3_legal(v, value) || (pae && !guest_load_pdptrs(v, value)))
			return false;
		if (value != v->guest_cr3) {
			v->guest_cr3 = value;
			copy_to_mmu(v);
			kvm_mmu_new_pgd(&v->kvm, value, flush);
		} else if (memcmp(pdptrs, v->kvm.regs.pdptrs, sizeof(pdptrs)) &&
			   !MUTANT(pdptes_kept)) {
			/* PDPTEs may be new where CR3 isn't. */
			kvm_mmu_unload(&v->kvm);
		}
	}
	if (flush)
		guest_flush_pcid(v, pcid);
	return true;
}

static bool write_cr4(struct vcpu *v, u64 value)
{
	u64 old = v->guest_cr4, changed = old ^ value;
	u64 loads = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;

	if (value & ~v->cpu.cr4_valid)
		return false;
	if (v->guest_efer & EFER_LMA) {
		if (!(value & CR4_PAE) || (changed & CR4_LA57))
			return false;
	} else if (value & CR4_PCIDE) {
		return false;
	}
	if ((value & ~old & CR4_PCIDE) && (v->guest_cr3 & CR3_PCID_MASK))
		return false;
	if ((changed & loads) && pae_paging(v->guest_cr0, value, v->guest_efer) &&
	    !guest_load_pdptrs(v, v->guest_cr3))
		return false;
	v->guest_cr4 = value;
	if (changed & CR4_PAGING)
		reset_mmu(v);
	else
		copy_to_mmu(v);
	/* Roots that were remembered without PCIDs must not be found by bit 63. */
	if (value & ~old & CR4_PCIDE)
		kvm_mmu_unload(&v->kvm);
	if ((changed & CR4_PGE) || (old & ~value & CR4_PCIDE))
		guest_flush_all(v);
	else if ((changed & CR4_PAE) || (value & ~old & CR4_SMEP))
		guest_flush_pcid(v, value & CR4_PCIDE ? v->guest_cr3 & CR3_PCID_MASK : 0);
	return true;
}

bool guest_write_cr(struct vcpu *v, unsigned int nr, u64 value)
{
	switch (nr) {
	case 0:
		return write_cr0(v, value);
	case 3:
		return write_cr3(v, value);
	case 4:
		return write_cr4(v, value);
	}
	return false;
}

bool guest_write_efer(struct vcpu *v, u64 value)
{
	u64 old = guest_efer(v);

	if (value & ~v->cpu.efer_valid)
		return false;
	if (((value ^ old) & EFER_LME) && (guest_cr0(v) & CR0_PG))
		return false;
	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	if (vm_tdp(v->vm)) {
		v->cpu.mmu.efer = value;
		if (!(value & EFER_SVME))
			svm_leave(v);
		regs_to_mmu(v);
		return true;
	}
	v->guest_efer = value;
	if (!(value & EFER_SVME))
		svm_leave(v);
	if ((value ^ old) & EFER_PAGING)
		reset_mmu(v);
	else
		copy_to_mmu(v);
	return true;
}

void guest_put_paging(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
	if (vm_tdp(v->vm)) {
		v->cpu.mmu.cr0 = cr0;
		v->cpu.mmu.cr3 = cr3;
		v->cpu.mmu.cr4 = cr4;
		v->cpu.mmu.efer = efer;
	} else {
		v->guest_cr0 = cr0;
		v->guest_cr3 = cr3;
		v->guest_cr4 = cr4;
		v->guest_efer = efer;
		/* What the width of code depends on; the rest comes with the entry. */
		v->cpu.mmu.cr0 = cr0 | CR0_PG | CR0_WP;
		v->cpu.mmu.efer = efer | EFER_NX;
	}
	cpu_sync(&v->cpu);
}

void guest_set_paging(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
	bool same = guest_cr0(v) == cr0 && guest_cr3(v) == cr3 && guest_cr4(v) == cr4 &&
		    guest_efer(v) == efer && !!(v->role_key & KEY_SMM) == v->smm &&
		    !!(v->role_key & KEY_NESTED) == v->kvm.regs.guest_mode;

	guest_put_paging(v, cr0, cr3, cr4, efer);
	if (!(efer & EFER_SVME))
		svm_leave(v);
	if (same) {
		copy_to_mmu(v);
		return;
	}
	reset_mmu(v);
	hw_flush_current(&v->kvm);
}

/* --- KVM_GET_SREGS, KVM_SET_SREGS ------------------------------------------------------------ */

static struct kvm_segment get_segment(const struct cpu_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SEG_TYPE,
		.present = !!(s->attr & SEG_P),
		.dpl = SEG_DPL(s->attr),
		.db = !!(s->attr & SEG_DB),
		.s = !!(s->attr & SEG_S),
		.l = !!(s->attr & SEG_L),
		.g = !!(s->attr & SEG_G),
		.avl = s->attr >> 8 & 1,
		.unusable = !(s->attr & SEG_P),
	};
}

static struct cpu_segment set_segment(const struct kvm_segment *k)
{
	struct cpu_segment s = {.sel = k->selector, .limit = k->limit, .base = k->base};

	s.attr = (k->type & SEG_TYPE) | (k->s ? SEG_S : 0) | (k->dpl & 3) << 5 |
		 (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0) | (k->avl & 1) << 8;
	if (k->present && !k->unusable)
		s.attr |= SEG_P;
	return s;
}

int regs_get_sregs(struct vcpu *v, struct kvm_sregs *s)
{
	const struct cpu *c = &v->cpu;

	memset(s, 0, sizeof(*s));
	s->cs = get_segment(&c->seg[SEG_CS]);
	s->ds = get_segment(&c->seg[SEG_DS]);
	s->es = get_segment(&c->seg[SEG_ES]);
	s->fs = get_segment(&c->seg[SEG_FS]);
	s->gs = get_segment(&c->seg[SEG_GS]);
	s->ss = get_segment(&c->seg[SEG_SS]);
	s->tr = get_segment(&c->seg[SEG_TR]);
	s->ldt = get_segment(&c->seg[SEG_LDTR]);
	s->gdt = (struct kvm_dtable){.base = c->gdtr.base, .limit = c->gdtr.limit};
	s->idt = (struct kvm_dtable){.base = c->idtr.base, .limit = c->idtr.limit};
	s->cr0 = guest_cr0(v);
	s->cr2 = c->cr2;
	s->cr3 = guest_cr3(v);
	s->cr4 = guest_cr4(v);
	s->cr8 = c->cr8;
	s->efer = guest_efer(v);
	s->apic_base = c->apic_base;
	if (v->irq_pending)
		s->interrupt_bitmap[v->pending_irq / 64] |= BIT(v->pending_irq % 64);
	return 0;
}

static bool sregs_valid(struct vcpu *v, const struct kvm_sregs *s)
{
	if (!cr0_valid(s->cr0) || (s->cr4 & ~v->cpu.cr4_valid) || (s->efer & ~v->cpu.efer_valid))
		return false;
	if ((s->efer & EFER_LME) && (s->cr0 & CR0_PG)) {
		/* Long mode in full, or not at all. */
		if (!(s->cr4 & CR4_PAE) || !(s->efer & EFER_LMA) || !cr3_legal(v, s->cr3))
			return false;
	} else if ((s->efer & EFER_LMA) || s->cs.l) {
		return false;
	}
	return true;
}

int regs_set_sregs(struct vcpu *v, const struct kvm_sregs *s)
{
	struct cpu *c = &v->cpu;

	if (!sregs_valid(v, s))
		return -EINVAL;
	cpu_abandon(c);
	c->gdtr = (struct cpu_table){.base = s->gdt.base, .limit = s->gdt.limit};
	c->idtr = (struct cpu_table){.base = s->idt.base, .limit = s->idt.limit};
	c->seg[SEG_CS] = set_segment(&s->cs);
	c->seg[SEG_DS] = set_segment(&s->ds);
	c->seg[SEG_ES] = set_segment(&s->es);
	c->seg[SEG_FS] = set_segment(&s->fs);
	c->seg[SEG_GS] = set_segment(&s->gs);
	c->seg[SEG_SS] = set_segment(&s->ss);
	c->seg[SEG_TR] = set_segment(&s->tr);
	c->seg[SEG_LDTR] = set_segment(&s->ldt);
	/* As in a VMCB, CPL is that of the stack segment. */
	c->mmu.cpl = s->cr0 & CR0_PE ? s->ss.dpl & 3 : 0;
	c->cr2 = s->cr2;
	c->cr8 = s->cr8 & 15;
	c->apic_base = s->apic_base;
	guest_set_paging(v, s->cr0, s->cr3, s->cr4, s->efer);
	if (pae_paging(s->cr0, s->cr4, s->efer))
		guest_load_pdptrs(v, s->cr3);
	v->irq_pending = false;
	for (unsigned int i = 0; i < 256 && !v->irq_pending; i++) {
		if (!(s->interrupt_bitmap[i / 64] >> (i % 64) & 1))
			continue;
		v->irq_pending = true;
		v->pending_irq = i;
	}
	return 0;
}
