// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which of a nested guest's exits are its hypervisor's, and what that one is told; events
 * that end the nested guest's turn; what the processor is to intercept meanwhile.
 */
#include <string.h>

#include "x86/kvm/internal.h"

static bool wants(const struct vcpu *v, u64 code)
{
	return intercepted(&v->svm.vmcb, code);
}

/* A #VMEXIT that the instruction at RIP causes. */
static int insn_exit(struct vcpu *v, u64 code, u64 info1, u64 info2)
{
	v->svm.next_rip = v->cpu.exit.next_rip;
	svm_vmexit(v, code, info1, info2);
	return 1;
}

static int step(struct vcpu *v)
{
	v->svm.step = true;
	return 1;
}

/* --- by instruction ------------------------------------------------------------------------ */

struct insn_code {
	const char *mnemonic;
	u8 code;
	bool own;  /* SVM's own: privileges are checked first */
	bool runs; /* the processor can execute it, if only it isn't intercepted */
	u64 icpt;  /* ICPT_* that makes it exit */
};

static const struct insn_code insn_codes[] = {
	{"sidt", SVM_EXIT_IDTR_READ, false, true, ICPT_TABLES},
	{"sgdt", SVM_EXIT_GDTR_READ, false, true, ICPT_TABLES},
	{"sldt", SVM_EXIT_LDTR_READ, false, true, ICPT_TABLES},
	{"str", SVM_EXIT_TR_READ, false, true, ICPT_TABLES},
	{"lidt", SVM_EXIT_IDTR_WRITE, false, true, ICPT_TABLES},
	{"lgdt", SVM_EXIT_GDTR_WRITE, false, true, ICPT_TABLES},
	{"lldt", SVM_EXIT_LDTR_WRITE, false, true, ICPT_TABLES},
	{"ltr", SVM_EXIT_TR_WRITE, false, true, ICPT_TABLES},
	{"rdtsc", SVM_EXIT_RDTSC, false, true, ICPT_RDTSC},
	{"rdtscp", SVM_EXIT_RDTSCP, false, true, ICPT_RDTSC},
	{"invd", SVM_EXIT_INVD, false, true, ICPT_WBINVD},
	{"wbinvd", SVM_EXIT_WBINVD, false, true, ICPT_WBINVD},
	{"pause", SVM_EXIT_PAUSE, false, true, ICPT_PAUSE},
	{"xsetbv", SVM_EXIT_XSETBV, false, true, ICPT_XSETBV},
	{"rdpmc", SVM_EXIT_RDPMC, false, false, 0},
	{"monitor", SVM_EXIT_MONITOR, false, false, 0},
	{"mwait", SVM_EXIT_MWAIT, false, false, 0},
	{"vmmcall", SVM_EXIT_VMMCALL, false, false, 0},
	{"invlpga", SVM_EXIT_INVLPGA, true, false, 0},
	{"vmrun", SVM_EXIT_VMRUN, true, false, 0},
	{"vmload", SVM_EXIT_VMLOAD, true, false, 0},
	{"vmsave", SVM_EXIT_VMSAVE, true, false, 0},
	{"stgi", SVM_EXIT_STGI, true, false, 0},
	{"clgi", SVM_EXIT_CLGI, true, false, 0},
};

static int exit_insn(struct vcpu *v)
{
	const struct insn_code *i = insn_codes, *end = i + ARRAY_LEN(insn_codes);

	while (i < end && strcmp(v->cpu.exit.mnemonic, i->mnemonic))
		i++;
	if (i == end)
		return -ENOSYS;
	/* A fault comes before the exit; the instruction's own handler raises it. */
	if (i->own && (v->cpu.mmu.cpl || !(guest_efer(v) & EFER_SVME)))
		return -ENOSYS;
	if (wants(v, i->code))
		return insn_exit(v, i->code, 0, 0);
	return i->runs ? step(v) : -ENOSYS;
}

static int exit_io(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	u64 info = (u64)e->port << 16 | (u64)e->size << SVM_IO_SIZE_SHIFT;
	u16 bits = 0xffff, mask = ((1u << e->size) - 1) << e->port % 8;

	if (!wants(v, SVM_EXIT_IOIO))
		return -ENOSYS;
	/* A bitmap that can't be read forbids. */
	guest_read(&v->kvm, (v->svm.vmcb.iopm_base & ~(SZ_4K - 1)) + e->port / 8, &bits, 2);
	if (!(bits & mask))
		return -ENOSYS;
	info |= (e->in ? SVM_IO_IN : 0) | (e->string ? SVM_IO_STRING : 0) |
		(e->rep ? SVM_IO_REP : 0);
	return insn_exit(v, SVM_EXIT_IOIO, info, e->next_rip);
}

/* Two bits a register, reads and writes, of three ranges; others exit always. */
static bool wants_msr(const struct svm *s, u32 msr, bool write)
{
	static const u32 first[] = {0, 0xc0000000, 0xc0010000};

	if (!intercepted(&s->vmcb, SVM_EXIT_MSR))
		return false;
	for (unsigned int i = 0; i < ARRAY_LEN(first); i++) {
		u32 bit = 2 * (msr - first[i]) + write;

		if (msr - first[i] < 0x2000)
			return s->msrpm[0x800 * i + bit / 8] >> bit % 8 & 1;
	}
	return true;
}

static bool msr_exits(void *arg, u32 msr, bool write)
{
	const struct vcpu *v = arg;

	/* SVME may go by a write of EFER. */
	return msr == MSR_EFER || wants_msr(&v->svm, msr, write);
}

static int exit_cr(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	u64 value = e->value, changed;

	if (wants(v, (e->write ? SVM_EXIT_WRITE_CR : SVM_EXIT_READ_CR) + e->nr))
		return insn_exit(v, (e->write ? SVM_EXIT_WRITE_CR : SVM_EXIT_READ_CR) + e->nr, 0,
				 0);
	if (e->nr || !e->write)
		return -ENOSYS;
	if (wants(v, SVM_EXIT_CR0_SEL) && strcmp(e->mnemonic, "clts")) {
		changed = (value ^ guest_cr0(v)) & ~(CR0_TS | CR0_MP);
		if (!strcmp(e->mnemonic, "lmsw"))
			changed &= CR0_PE | CR0_EM;
		if (changed)
			return insn_exit(v, SVM_EXIT_CR0_SEL, 0, 0);
	}
	return vm_tdp(v->vm) ? step(v) : -ENOSYS;
}

static int exit_exception(struct vcpu *v)
{
	const struct cpu_event *event = &v->cpu.exit.event;

	/* Whose page fault it is only the tables tell. */
	if (event->vector == PF_VECTOR && !vm_tdp(v->vm))
		return -ENOSYS;
	svm_exception(v, event);
	return 1;
}

static int exit_if(struct vcpu *v, u64 code, u64 info1)
{
	return wants(v, code) ? insn_exit(v, code, info1, 0) : -ENOSYS;
}

int svm_handle_exit(struct vcpu *v, enum cpu_exit reason)
{
	const struct cpu_exit_info *e = &v->cpu.exit;

	switch (reason) {
	case EXIT_HLT:
		return exit_if(v, SVM_EXIT_HLT, 0);
	case EXIT_CPUID:
		return exit_if(v, SVM_EXIT_CPUID, 0);
	case EXIT_INVLPG:
		return exit_if(v, SVM_EXIT_INVLPG, 0);
	case EXIT_INVPCID:
		return v->invpcid_hidden ? -ENOSYS : exit_if(v, SVM_EXIT_INVPCID, 0);
	case EXIT_DR:
		return exit_if(v, (e->write ? SVM_EXIT_WRITE_DR : SVM_EXIT_READ_DR) + e->nr, 0);
	case EXIT_MSR:
		if (wants_msr(&v->svm, e->nr, e->write))
			return insn_exit(v, SVM_EXIT_MSR, e->write, 0);
		return -ENOSYS;
	case EXIT_CR:
		return exit_cr(v);
	case EXIT_IO:
		return exit_io(v);
	case EXIT_INSN:
		return exit_insn(v);
	case EXIT_EXCEPTION:
		return exit_exception(v);
	case EXIT_SHUTDOWN:
		return svm_triple_fault(v) ? 1 : -ENOSYS;
	default:
		return -ENOSYS;
	}
}

/* --- faults -------------------------------------------------------------------------------- */

void svm_exception(struct vcpu *v, const struct cpu_event *event)
{
	struct cpu *c = &v->cpu;
	const u64 code = SVM_EXIT_EXCP_BASE;

	if (wants(v, code + event->vector)) {
		/* INT3 and INTO leave as the instructions that they are: RIP is behind them. */
		if (event->type == EVENT_SOFT)
			v->svm.next_rip = c->exit.next_rip;
		svm_vmexit(v, code + event->vector, event->has_error ? event->error : 0,
			   event->vector == PF_VECTOR ? event->cr2 : 0);
		return;
	}
	if (!cpu_inject_fault(c, &c->exit.delivering, event)) {
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_TRIPLE_FAULT, __ATOMIC_SEQ_CST);
		return;
	}
	if (c->event.vector == DF_VECTOR && wants(v, code + DF_VECTOR)) {
		/* The first of the two is what was on its way. */
		c->event.type = EVENT_NONE;
		svm_vmexit(v, code + DF_VECTOR, 0, 0);
	}
}

void svm_nested_fault(struct vcpu *v, u64 error, gpa_t gpa)
{
	svm_vmexit(v, SVM_EXIT_NPF, error, gpa);
}

bool svm_table_write(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	struct x86_exception fault = {0}, unused;
	u64 access = e->access == ACCESS_WRITE ? PFERR_W : e->access == ACCESS_EXEC ? PFERR_F : 0;
	u64 user = v->cpu.mmu.cpl == 3 ? PFERR_U : 0;
	bool ok;

	/* Which of ring 3's accesses was the processor's own isn't known. */
	ok = kvm_mmu_gva_to_gpa(&v->kvm, e->gva, access | user, &fault) != INVALID_GPA;
	if (!ok && user)
		ok = kvm_mmu_gva_to_gpa(&v->kvm, e->gva, access | PFERR_IMPLICIT, &unused) !=
		     INVALID_GPA;
	if (ok) {
		v->svm.walk_reads = v->svm.brief = true;
		return true;
	}
	inject_page_fault(&v->kvm, &fault);
	return false;
}

bool svm_triple_fault(struct vcpu *v)
{
	if (!wants(v, SVM_EXIT_SHUTDOWN))
		return false;
	svm_vmexit(v, SVM_EXIT_SHUTDOWN, 0, 0);
	return true;
}

/* --- events -------------------------------------------------------------------------------- */

static bool irq_masked(const struct vcpu *v)
{
	const struct svm *s = &v->svm;

	/* With masking L1's own IF counts, as VMRUN found it. */
	if (s->vmcb.int_control & SVM_V_INTR_MASKING)
		return !(s->host.rflags & FLAG_IF);
	return !(v->cpu.rflags & FLAG_IF);
}

/* Whether L1 has an interrupt for L2, and TPR lets it pass. */
static bool virtual_irq(const struct vcpu *v)
{
	u64 control = v->svm.vmcb.int_control, tpr = control & SVM_V_TPR & 15;

	if (!(control & SVM_V_IRQ))
		return false;
	if (control & SVM_V_INTR_MASKING)
		tpr = v->cpu.cr8;
	return (control & SVM_V_IGN_TPR) || (control >> SVM_V_PRIO_SHIFT & 15) > tpr;
}

static bool take_virtual(struct vcpu *v)
{
	struct vmcb *m = &v->svm.vmcb;
	struct cpu_event event = {.type = EVENT_INTR,
				  .vector = m->int_control >> SVM_V_VECTOR_SHIFT};

	if (!virtual_irq(v) || !cpu_interruptible(&v->cpu))
		return false;
	if (wants(v, SVM_EXIT_VINTR)) {
		svm_vmexit(v, SVM_EXIT_VINTR, 0, 0);
		return true;
	}
	m->int_control &= ~SVM_V_IRQ;
	cpu_inject(&v->cpu, &event);
	return true;
}

static bool event_exit(struct vcpu *v, u64 code)
{
	svm_vmexit(v, code, 0, 0);
	return true;
}

bool svm_take_events(struct vcpu *v)
{
	bool waits = v->cpu.event.type != EVENT_NONE;
	bool irq = v->irq_pending && wants(v, SVM_EXIT_INTR) && !irq_masked(v);
	bool nmi = v->nmi_pending && wants(v, SVM_EXIT_NMI);
	bool smi = v->smi_pending && !v->smm && wants(v, SVM_EXIT_SMI);

	if (waits) {
		/* What is on its way arrives first. */
		v->svm.brief |= irq || nmi || smi;
		return true;
	}
	v->cpu.exit.delivering.type = EVENT_NONE;
	if (smi)
		return event_exit(v, SVM_EXIT_SMI);
	if (nmi)
		return event_exit(v, SVM_EXIT_NMI);
	if (irq)
		return event_exit(v, SVM_EXIT_INTR);
	/* L0's own, delivered to L2 as if it were one guest. */
	if (v->smi_pending || v->nmi_pending || (v->irq_pending && cpu_interruptible(&v->cpu)))
		return false;
	return take_virtual(v);
}

bool svm_wants_window(const struct vcpu *v)
{
	/* One that L1 masks does not come for L2's allowing it. */
	if (v->irq_pending &&
	    !(wants(v, SVM_EXIT_INTR) && (v->svm.vmcb.int_control & SVM_V_INTR_MASKING)))
		return true;
	return (v->run->request_interrupt_window && !v->irq_pending) || virtual_irq(v);
}

bool svm_irq_open(const struct vcpu *v)
{
	if (v->svm.gif_clear)
		return false;
	if (v->kvm.regs.guest_mode && wants(v, SVM_EXIT_INTR))
		return !irq_masked(v);
	return v->cpu.rflags & FLAG_IF;
}

/* --- intercepts ------------------------------------------------------------------------------ */

void svm_to_cpu(struct vcpu *v)
{
	struct cpu_intercepts *icpt = &v->cpu.intercept;
	const struct vmcb *m = &v->svm.vmcb;

	icpt->exceptions |= m->intercept_exceptions;
	icpt->cr_read |= m->intercept_cr_read;
	icpt->cr_write |= m->intercept_cr_write;
	icpt->dr_read |= m->intercept_dr_read;
	icpt->dr_write |= m->intercept_dr_write;
	icpt->msr = msr_exits;
	icpt->arg = v;
	if (wants(v, SVM_EXIT_INVLPG))
		icpt->insns |= ICPT_INVLPG;
	if (wants(v, SVM_EXIT_INVPCID))
		icpt->insns |= ICPT_INVPCID;
	if (v->svm.step)
		return;
	if (wants(v, SVM_EXIT_CR0_SEL))
		icpt->cr_write |= BIT(0);
	for (size_t i = 0; i < ARRAY_LEN(insn_codes); i++)
		if (wants(v, insn_codes[i].code))
			icpt->insns |= insn_codes[i].icpt;
}

void svm_ran(struct vcpu *v)
{
	v->svm.step = v->svm.brief = v->svm.walk_reads = false;
	if (!v->svm.run_pending)
		return;
	v->svm.run_pending = false;
	stat_inc(v, nested_run);
}
