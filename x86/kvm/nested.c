// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM's instructions as a guest hypervisor executes them: VMRUN and #VMEXIT, which exchange
 * L1's registers for L2's and back; VMLOAD, VMSAVE, STGI, CLGI, INVLPGA.
 *
 * Each change between L1 and L2 flushes and synchronises, whatever TLB_CONTROL and the ASID
 * say: both use one tag in the TLB, and each has memory that is the other's.
 */
#include <string.h>

#include "x86/kvm/internal.h"

/* --- who may ----------------------------------------------------------------------------- */

static bool may(struct vcpu *v)
{
	u64 needs = CR0_PE | CR0_PG;

	if (!(guest_efer(v) & EFER_SVME) || (guest_cr0(v) & needs) != needs) {
		inject_exception(v, UD_VECTOR, false, 0);
		return false;
	}
	if (v->cpu.mmu.cpl) {
		inject_exception(v, GP_VECTOR, true, 0);
		return false;
	}
	return true;
}

static u64 operand(const struct vcpu *v)
{
	u64 rax = v->cpu.gpr[GPR_RAX];

	return v->cpu.code_bytes == 8 ? rax : (u32)rax;
}

static bool frame_valid(const struct vcpu *v, gpa_t gpa)
{
	return !(gpa & (SZ_4K - 1)) && !(gpa >> v->kvm.regs.maxphyaddr);
}

/* --- what VMRUN checks ------------------------------------------------------------------- */

static bool map_valid(const struct vcpu *v, gpa_t gpa, u64 size)
{
	gpa &= ~(SZ_4K - 1);
	return !((gpa + size - 1) >> v->kvm.regs.maxphyaddr);
}

static bool pat_valid(u64 pat)
{
	for (unsigned int i = 0; i < 64; i += 8) {
		u64 type = pat >> i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool event_valid(u64 event)
{
	u64 type = event >> SVM_EVENT_TYPE_SHIFT & 7, vector = event & SVM_EVENT_VECTOR;

	if (!(event & SVM_EVENT_VALID))
		return true;
	switch (type) {
	case SVM_EVENT_INTR:
	case SVM_EVENT_NMI:
	case SVM_EVENT_SOFT:
		return true;
	case SVM_EVENT_EXCEPTION:
		return vector < 32 && vector != 2;
	}
	return false;
}

bool svm_controls_valid(const struct vcpu *v, const struct vmcb *c)
{
	u8 flush = c->tlb_control;

	if (!(c->intercept_misc2 & SVM_INTERCEPT_VMRUN) || !c->asid)
		return false;
	if (c->nested_control & SVM_NESTED_PAGING) {
		if (!vm_tdp(v->vm) || c->nested_cr3 >> v->kvm.regs.maxphyaddr)
			return false;
	}
	if (!map_valid(v, c->msrpm_base, SVM_MSRPM_SIZE) ||
	    !map_valid(v, c->iopm_base, SVM_IOPM_SIZE))
		return false;
	if (flush != SVM_TLB_KEEP && flush != SVM_TLB_FLUSH_ALL && flush != SVM_TLB_FLUSH_ASID &&
	    flush != SVM_TLB_FLUSH_LOCAL)
		return false;
	return event_valid(c->event_inj);
}

bool svm_state_valid(const struct vcpu *v, const struct vmcb *c)
{
	if (!(c->efer & EFER_SVME) || (c->efer & ~v->cpu.efer_valid))
		return false;
	if ((!(c->cr0 & CR0_CD) && (c->cr0 & CR0_NW)) || c->cr0 >> 32)
		return false;
	if (c->dr6 >> 32 || c->dr7 >> 32 || (c->cr4 & ~v->cpu.cr4_valid))
		return false;
	if ((c->efer & EFER_LME) && (c->cr0 & CR0_PG)) {
		if (!(c->cr4 & CR4_PAE) || !(c->cr0 & CR0_PE))
			return false;
		if (c->cr3 >> v->kvm.regs.maxphyaddr)
			return false;
		if ((c->cs.attrib & SEG_L) && (c->cs.attrib & SEG_DB))
			return false;
	}
	return !(c->nested_control & SVM_NESTED_PAGING) || pat_valid(c->g_pat);
}

/* --- registers ----------------------------------------------------------------------------- */

static struct cpu_segment load_segment(struct svm_segment s)
{
	return (struct cpu_segment){
		.sel = s.selector, .attr = s.attrib, .limit = s.limit, .base = s.base};
}

static struct svm_segment save_segment(const struct cpu_segment *s)
{
	return (struct svm_segment){
		.selector = s->sel, .attrib = s->attr, .limit = s->limit, .base = s->base};
}

static void save_host(struct vcpu *v)
{
	struct svm_host *h = &v->svm.host;
	const struct cpu *c = &v->cpu;

	*h = (struct svm_host){
		.es = c->seg[SEG_ES],
		.cs = c->seg[SEG_CS],
		.ss = c->seg[SEG_SS],
		.ds = c->seg[SEG_DS],
		.gdtr = c->gdtr,
		.idtr = c->idtr,
		.cr0 = guest_cr0(v),
		.cr3 = guest_cr3(v),
		.cr4 = guest_cr4(v),
		.efer = guest_efer(v),
		.rflags = c->rflags,
		.rip = c->exit.next_rip,
		.rsp = c->gpr[GPR_RSP],
		.rax = c->gpr[GPR_RAX],
		.cr8 = c->cr8,
		.pat = c->pat,
		.tsc_offset = c->tsc_offset,
	};
}

static bool pae(u64 cr0, u64 cr4, u64 efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* The MMU follows; what is to be translated from here on is another guest's. */
static void switch_mmu(struct vcpu *v)
{
	const struct kvm_paging_regs *r = &v->kvm.regs;

	cpu_abandon(&v->cpu);
	cpu_sync(&v->cpu);
	v->emul.active = false;
	v->role_key = 0;
	regs_to_mmu(v);
	kvm_mmu_new_pgd(&v->kvm, r->guest_mode && r->nested_npt ? r->nested_cr3 : r->cr3, true);
}

void svm_guest_mode(struct vcpu *v)
{
	struct kvm_paging_regs *r = &v->kvm.regs;
	const struct svm *s = &v->svm;

	r->guest_mode = true;
	r->nested_npt = s->vmcb.nested_control & SVM_NESTED_PAGING;
	r->nested_cr3 = s->vmcb.nested_cr3;
	r->l1_cr0 = s->host.cr0;
	r->l1_cr4 = s->host.cr4;
	r->l1_efer = s->host.efer;
	stat_set(v, guest_mode, 1);
	switch_mmu(v);
}

static void load_guest(struct vcpu *v)
{
	const struct vmcb *m = &v->svm.vmcb;
	struct cpu *c = &v->cpu;
	u64 efer = m->efer & ~EFER_LMA;

	if ((efer & EFER_LME) && (m->cr0 & CR0_PG))
		efer |= EFER_LMA;
	c->seg[SEG_ES] = load_segment(m->es);
	c->seg[SEG_CS] = load_segment(m->cs);
	c->seg[SEG_SS] = load_segment(m->ss);
	c->seg[SEG_DS] = load_segment(m->ds);
	c->gdtr = (struct cpu_table){.base = m->gdtr.base, .limit = m->gdtr.limit};
	c->idtr = (struct cpu_table){.base = m->idtr.base, .limit = m->idtr.limit};
	c->rflags = m->rflags | RFLAGS_FIXED;
	c->rip = m->rip;
	c->gpr[GPR_RSP] = m->rsp;
	c->gpr[GPR_RAX] = m->rax;
	c->cr2 = m->cr2;
	c->dr[6] = m->dr6 | 0xffff0ff0;
	c->dr[7] = m->dr7 | 0x400;
	c->mmu.cpl = m->cr0 & CR0_PE ? m->cpl & 3 : 0;
	c->shadow = m->int_state & SVM_INT_SHADOW ? 1 : 0;
	c->tsc_offset += m->tsc_offset;
	if (m->int_control & SVM_V_INTR_MASKING)
		c->cr8 = m->int_control & 15;
	if (m->nested_control & SVM_NESTED_PAGING)
		c->pat = m->g_pat;
	guest_put_paging(v, m->cr0 | CR0_ET, m->cr3, m->cr4, efer);
}

/* What L1 wants delivered as if it happened in L2. */
static void inject(struct vcpu *v)
{
	const struct vmcb *m = &v->svm.vmcb;
	u64 inj = m->event_inj;
	struct cpu_event event = {.vector = inj & SVM_EVENT_VECTOR};

	if (!(inj & SVM_EVENT_VALID))
		return;
	switch (inj >> SVM_EVENT_TYPE_SHIFT & 7) {
	case SVM_EVENT_INTR:
		event.type = EVENT_INTR;
		break;
	case SVM_EVENT_NMI:
		event.type = EVENT_NMI;
		event.vector = 2;
		break;
	case SVM_EVENT_EXCEPTION:
		event.type = EVENT_EXCEPTION;
		event.has_error = inj & SVM_EVENT_ERROR;
		event.error = inj >> 32;
		event.cr2 = m->cr2;
		break;
	case SVM_EVENT_SOFT:
		event.type = EVENT_SOFT;
		/* It returns to next_rip, where there is one. */
		if (m->next_rip - m->rip <= 15)
			event.len = m->next_rip - m->rip;
		break;
	}
	cpu_inject(&v->cpu, &event);
}

/* Writes the fields of the VMCB from @first up to @end, excluded. */
#define PUT_FIELDS(v, m, first, end)                                             \
	guest_write(&(v)->kvm, (v)->svm.vmcb_gpa + offsetof(struct vmcb, first), \
		    (u8 *)(m) + offsetof(struct vmcb, first),                    \
		    offsetof(struct vmcb, end) - offsetof(struct vmcb, first))

static void vmrun_failed(struct vcpu *v, struct vmcb *m)
{
	m->exit_code = SVM_EXIT_INVALID;
	m->exit_info1 = m->exit_info2 = 0;
	PUT_FIELDS(v, m, exit_code, exit_int_info);
}

static void vmrun(struct vcpu *v)
{
	struct svm *s = &v->svm;
	struct vmcb *m = &s->vmcb;
	gpa_t gpa = operand(v);
	bool ok;

	if (v->smm) {
		inject_exception(v, UD_VECTOR, false, 0);
		return;
	}
	if (!s->hsave_pa || !frame_valid(v, gpa) || guest_read(&v->kvm, gpa, m, sizeof(*m))) {
		inject_exception(v, GP_VECTOR, true, 0);
		return;
	}
	s->vmcb_gpa = gpa;
	if (!svm_controls_valid(v, m) || !svm_state_valid(v, m)) {
		vmrun_failed(v, m);
		skip_insn(v);
		return;
	}
	save_host(v);
	load_guest(v);
	s->gif_clear = false;
	s->run_pending = true;
	svm_guest_mode(v);
	ok = !intercepted(m, SVM_EXIT_MSR) ||
	     !guest_read(&v->kvm, m->msrpm_base & ~(SZ_4K - 1), s->msrpm, sizeof(s->msrpm));
	if (ok && !v->kvm.regs.nested_npt && pae(m->cr0, m->cr4, guest_efer(v)))
		ok = guest_load_pdptrs(v, m->cr3);
	if (!ok) {
		s->run_pending = false;
		svm_vmexit(v, SVM_EXIT_INVALID, 0, 0);
		return;
	}
	inject(v);
}

/* --- #VMEXIT ------------------------------------------------------------------------------- */

static u64 pack_event(const struct cpu_event *e)
{
	static const u64 types[] = {
		[EVENT_INTR] = SVM_EVENT_INTR,
		[EVENT_NMI] = SVM_EVENT_NMI,
		[EVENT_EXCEPTION] = SVM_EVENT_EXCEPTION,
		[EVENT_SOFT] = SVM_EVENT_SOFT,
	};
	u64 packed;

	if (e->type == EVENT_NONE)
		return 0;
	packed = SVM_EVENT_VALID | types[e->type] << SVM_EVENT_TYPE_SHIFT | e->vector;
	if (e->type == EVENT_EXCEPTION && e->has_error)
		packed |= SVM_EVENT_ERROR | (u64)e->error << 32;
	return packed;
}

static void save_guest(struct vcpu *v, struct vmcb *m)
{
	const struct cpu *c = &v->cpu;

	m->es = save_segment(&c->seg[SEG_ES]);
	m->cs = save_segment(&c->seg[SEG_CS]);
	m->ss = save_segment(&c->seg[SEG_SS]);
	m->ds = save_segment(&c->seg[SEG_DS]);
	m->gdtr.base = c->gdtr.base;
	m->gdtr.limit = c->gdtr.limit;
	m->idtr.base = c->idtr.base;
	m->idtr.limit = c->idtr.limit;
	m->cpl = c->mmu.cpl;
	m->efer = guest_efer(v);
	m->cr4 = guest_cr4(v);
	m->cr3 = guest_cr3(v);
	m->cr0 = guest_cr0(v);
	m->dr7 = c->dr[7];
	m->dr6 = c->dr[6];
	m->rflags = c->rflags;
	m->rip = c->rip;
	m->rsp = c->gpr[GPR_RSP];
	m->rax = c->gpr[GPR_RAX];
	m->cr2 = c->cr2;
	m->int_state = (m->int_state & ~SVM_INT_SHADOW) | (c->shadow ? SVM_INT_SHADOW : 0);
	if (m->int_control & SVM_V_INTR_MASKING)
		m->int_control = (m->int_control & ~SVM_V_TPR) | c->cr8;
	if (m->nested_control & SVM_NESTED_PAGING)
		m->g_pat = c->pat;
	/* What was on its way and will not arrive. */
	m->exit_int_info =
		pack_event(c->event.type != EVENT_NONE ? &c->event : &c->exit.delivering);
	m->event_inj = 0;
}

static void put_vmcb(struct vcpu *v, const struct vmcb *m)
{
	/* Memory that L1 has taken from its own VMCB meanwhile is L1's loss. */
	PUT_FIELDS(v, m, int_control, nested_control);
	PUT_FIELDS(v, m, event_inj, nested_cr3);
	PUT_FIELDS(v, m, next_rip, reserved4);
	PUT_FIELDS(v, m, es, fs);
	PUT_FIELDS(v, m, gdtr, ldtr);
	PUT_FIELDS(v, m, idtr, tr);
	PUT_FIELDS(v, m, cpl, reserved6);
	PUT_FIELDS(v, m, efer, reserved7);
	PUT_FIELDS(v, m, cr4, reserved8);
	PUT_FIELDS(v, m, rsp, reserved9);
	PUT_FIELDS(v, m, rax, star);
	PUT_FIELDS(v, m, cr2, reserved10);
	PUT_FIELDS(v, m, g_pat, reserved11);
}

static void load_host(struct vcpu *v)
{
	const struct svm_host *h = &v->svm.host;
	struct cpu *c = &v->cpu;

	c->seg[SEG_ES] = h->es;
	c->seg[SEG_CS] = h->cs;
	c->seg[SEG_SS] = h->ss;
	c->seg[SEG_DS] = h->ds;
	c->gdtr = h->gdtr;
	c->idtr = h->idtr;
	c->rflags = (h->rflags & ~FLAG_VM) | RFLAGS_FIXED;
	c->rip = h->rip;
	c->gpr[GPR_RSP] = h->rsp;
	c->gpr[GPR_RAX] = h->rax;
	c->dr[7] = 0x400;
	c->mmu.cpl = 0;
	c->cr8 = h->cr8;
	c->pat = h->pat;
	c->tsc_offset = h->tsc_offset;
	c->shadow = 0;
	c->event.type = EVENT_NONE;
	c->exit.delivering.type = EVENT_NONE;
	guest_put_paging(v, h->cr0 | CR0_PE, h->cr3, h->cr4, h->efer);
}

static void end_guest_mode(struct vcpu *v)
{
	v->kvm.regs.guest_mode = false;
	v->kvm.regs.nested_npt = false;
	v->svm.step = v->svm.brief = v->svm.walk_reads = v->svm.run_pending = false;
	stat_set(v, guest_mode, 0);
}

void svm_vmexit(struct vcpu *v, u64 code, u64 info1, u64 info2)
{
	struct svm *s = &v->svm;
	struct vmcb *m = &s->vmcb;

	save_guest(v, m);
	m->exit_code = code;
	m->exit_info1 = info1;
	m->exit_info2 = info2;
	m->next_rip = s->next_rip;
	s->next_rip = 0;
	put_vmcb(v, m);
	end_guest_mode(v);
	s->gif_clear = true;
	load_host(v);
	switch_mmu(v);
	if (!vm_tdp(v->vm) && pae(s->host.cr0, s->host.cr4, s->host.efer) &&
	    !guest_load_pdptrs(v, s->host.cr3))
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_TRIPLE_FAULT, __ATOMIC_SEQ_CST);
}

void svm_leave(struct vcpu *v)
{
	v->svm.gif_clear = false;
	if (!v->kvm.regs.guest_mode)
		return;
	end_guest_mode(v);
	switch_mmu(v);
}

/* --- the other instructions ---------------------------------------------------------------- */

static void vmload(struct vcpu *v, const struct vmcb *m)
{
	struct cpu *c = &v->cpu;

	c->seg[SEG_FS] = load_segment(m->fs);
	c->seg[SEG_GS] = load_segment(m->gs);
	c->seg[SEG_TR] = load_segment(m->tr);
	c->seg[SEG_LDTR] = load_segment(m->ldtr);
	c->kernel_gs_base = m->kernel_gs_base;
	c->star = m->star;
	c->lstar = m->lstar;
	c->cstar = m->cstar;
	c->sfmask = m->sfmask;
	c->sysenter_cs = m->sysenter_cs;
	c->sysenter_esp = m->sysenter_esp;
	c->sysenter_eip = m->sysenter_eip;
}

static void vmsave(const struct vcpu *v, struct vmcb *m)
{
	const struct cpu *c = &v->cpu;

	m->fs = save_segment(&c->seg[SEG_FS]);
	m->gs = save_segment(&c->seg[SEG_GS]);
	m->tr = save_segment(&c->seg[SEG_TR]);
	m->ldtr = save_segment(&c->seg[SEG_LDTR]);
	m->kernel_gs_base = c->kernel_gs_base;
	m->star = c->star;
	m->lstar = c->lstar;
	m->cstar = c->cstar;
	m->sfmask = c->sfmask;
	m->sysenter_cs = c->sysenter_cs;
	m->sysenter_esp = c->sysenter_esp;
	m->sysenter_eip = c->sysenter_eip;
}

static void vmload_vmsave(struct vcpu *v, bool save)
{
	const size_t first = offsetof(struct vmcb, es);
	gpa_t gpa = operand(v);
	struct vmcb m;

	if (!frame_valid(v, gpa) ||
	    guest_read(&v->kvm, gpa + first, (u8 *)&m + first, sizeof(m) - first)) {
		inject_exception(v, GP_VECTOR, true, 0);
		return;
	}
	if (save) {
		vmsave(v, &m);
		guest_write(&v->kvm, gpa + first, (u8 *)&m + first,
			    offsetof(struct vmcb, cr2) - first);
	} else {
		vmload(v, &m);
	}
	skip_insn(v);
}

int svm_handle_insn(struct vcpu *v, const char *name)
{
	static const char *const names[] = {"vmrun", "vmload", "vmsave", "stgi", "clgi", "invlpga"};
	size_t i;

	for (i = 0; i < ARRAY_LEN(names) && strcmp(name, names[i]); i++)
		;
	if (i == ARRAY_LEN(names))
		return -ENOSYS;
	if (!may(v))
		return 1;
	switch (i) {
	case 0:
		vmrun(v);
		return 1;
	case 1:
	case 2:
		vmload_vmsave(v, i == 2);
		return 1;
	case 3:
	case 4:
		v->svm.gif_clear = i == 4;
		break;
	case 5:
		/* Of whatever ASID: nothing of another one outlives a VMRUN. */
		kvm_mmu_invlpg(&v->kvm, operand(v));
		break;
	}
	skip_insn(v);
	return 1;
}

/* --- MSRs ---------------------------------------------------------------------------------- */

void svm_set_capable(struct vcpu *v)
{
	if (v->svm.capable && !(v->svm.vm_cr & VM_CR_SVMDIS))
		v->cpu.efer_valid |= EFER_SVME;
	else
		v->cpu.efer_valid &= ~EFER_SVME;
}

bool svm_write_hsave(struct vcpu *v, u64 value, bool host)
{
	if (!host && !frame_valid(v, value))
		return false;
	v->svm.hsave_pa = value & ~(SZ_4K - 1);
	return true;
}

bool svm_write_vm_cr(struct vcpu *v, u64 value)
{
	u64 mask = 0x1f;

	if (value & ~mask)
		return false;
	if (v->svm.vm_cr & VM_CR_LOCK)
		mask &= ~(VM_CR_LOCK | VM_CR_SVMDIS);
	value = (v->svm.vm_cr & ~mask) | (value & mask);
	if ((value & VM_CR_SVMDIS) && (guest_efer(v) & EFER_SVME))
		return false;
	v->svm.vm_cr = value;
	svm_set_capable(v);
	return true;
}
