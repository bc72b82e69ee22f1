// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the processor left the guest for, one function per reason.
 */
#include <string.h>

#include "x86/kvm/internal.h"

#define HYPERCALL_ENOSYS 1000
#define HYPERCALL_EPERM	 1

static void deliver(struct vcpu *v, const struct cpu_event *event)
{
	if (v->kvm.regs.guest_mode)
		svm_exception(v, event);
	else if (!cpu_inject_fault(&v->cpu, &v->cpu.exit.delivering, event))
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_TRIPLE_FAULT, __ATOMIC_RELAXED);
}

void inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
	struct cpu_event event = {
		.type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error};

	if (!(guest_cr0(v) & CR0_PE))
		event.has_error = false;
	deliver(v, &event);
}

void inject_page_fault(struct kvm_vcpu *vcpu, const struct x86_exception *e)
{
	struct vcpu *v = to_vcpu(vcpu);
	struct cpu_event event = {
		.type = EVENT_EXCEPTION,
		.vector = PF_VECTOR,
		.has_error = true,
		.error = e->error_code,
		.cr2 = e->address,
	};

	if (e->nested_page_fault) {
		svm_nested_fault(v, e->nested_error, e->address);
		return;
	}
	stat_inc(v, pf_guest);
	deliver(v, &event);
}

static int inject_gp(struct vcpu *v)
{
	inject_exception(v, GP_VECTOR, true, 0);
	return 1;
}

static int inject_ud(struct vcpu *v)
{
	inject_exception(v, UD_VECTOR, false, 0);
	return 1;
}

void skip_insn(struct vcpu *v)
{
	struct cpu *c = &v->cpu;
	const struct cpu_event step = {.type = EVENT_EXCEPTION, .vector = 1};

	c->rip = c->exit.next_rip;
	c->rflags &= ~FLAG_RF;
	if (c->shadow)
		c->shadow--;
	if (c->rflags & FLAG_TF) {
		c->dr[6] |= BIT(14);
		cpu_inject(c, &step);
	}
}

static int skip(struct vcpu *v)
{
	skip_insn(v);
	return 1;
}

int emulation_failure(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	struct cpu_exit_info *e = &v->cpu.exit;

	stat_inc(v, insn_emulation_fail);
	cpu_abandon(&v->cpu);
	memset(&run->emulation_failure, 0, sizeof(run->emulation_failure));
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	if (!e->len)
		return 0;
	run->emulation_failure.ndata = 3;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = e->len;
	memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, e->bytes, e->len);
	return 0;
}

static int unexpected(struct vcpu *v, enum cpu_exit reason)
{
	struct kvm_run *run = v->run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	run->internal.ndata = 3;
	run->internal.data[0] = reason;
	run->internal.data[1] = v->cpu.exit.gpa;
	run->internal.data[2] = v->cpu.exit.gva;
	return 0;
}

/* --- faults ------------------------------------------------------------------------------ */

/* Code where no memory is. It is also an undefined instruction, should the vCPU be run again. */
static int fetch_failure(struct vcpu *v)
{
	/* A nested guest's failure is for itself to bear. */
	bool kernel = v->cpu.mmu.cpl != 3 && !v->kvm.regs.guest_mode;

	v->cpu.exit.len = 0;
	stat_inc(v, insn_emulation);
	if (kernel)
		emulation_failure(v);
	else
		stat_inc(v, insn_emulation_fail);
	inject_ud(v);
	return !kernel;
}

/* The event that was on its way when the fault, now mended, came up goes on. */
static int resume(struct vcpu *v)
{
	if (v->cpu.exit.delivering.type != EVENT_NONE)
		cpu_inject(&v->cpu, &v->cpu.exit.delivering);
	return 1;
}

static int after_fault(struct vcpu *v, int ret, gva_t gva, gpa_t gpa, bool fetch)
{
	struct x86_exception fault = {0};
	gpa_t code;
	u8 byte;

	switch (ret) {
	case RET_PF_RETRY:
	case RET_PF_FIXED:
	case RET_PF_SPURIOUS:
		return resume(v);
	case RET_PF_INJECTED:
		return 1;
	case RET_PF_EMULATE:
		if (v->cpu.exit.delivering.type != EVENT_NONE && !vm_tdp(v->vm) &&
		    kvm_mmu_unprotect_page(&v->kvm, gpa >> PAGE_SHIFT))
			return resume(v);
		if (!fetch)
			return emulate_start(v, gva, gpa);
		/* What is fetched there may be denied or not mapped at all: that comes first. */
		code = kvm_mmu_gva_to_gpa(&v->kvm, gva,
					  PFERR_F | (v->cpu.mmu.cpl == 3 ? PFERR_U : 0), &fault);
		if (code == INVALID_GPA) {
			inject_page_fault(&v->kvm, &fault);
			return 1;
		}
		/* Memory by now, and the guest did not say so: what is stale may be dropped. */
		if (!vm_tdp(v->vm) && !guest_read(&v->kvm, code, &byte, 1)) {
			kvm_mmu_invlpg(&v->kvm, gva);
			return resume(v);
		}
		return fetch_failure(v);
	}
	if (ret == -EFAULT)
		v->run->exit_reason = KVM_EXIT_UNKNOWN;
	/* The instruction, or the event, is to be tried again by the next KVM_RUN. */
	if (ret < 0)
		resume(v);
	return ret < 0 ? ret : unexpected(v, v->cpu.exit.reason);
}

static u64 violation_to_error(u64 qualification)
{
	u64 error = 0;

	error |= qualification & EPTV_READ ? PFERR_U : 0;
	error |= qualification & EPTV_WRITE ? PFERR_W : 0;
	error |= qualification & EPTV_FETCH ? PFERR_F : 0;
	error |= qualification & (EPTV_ENTRY_R | EPTV_ENTRY_W | EPTV_ENTRY_X) ? PFERR_P : 0;
	if (qualification & EPTV_GVA)
		error |= qualification & EPTV_FINAL ? NPF_FINAL : NPF_TABLE;
	return error;
}

static int handle_nested_fault(struct vcpu *v, enum cpu_exit reason)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	bool fetch = e->access == ACCESS_EXEC;
	gpa_t gpa = e->gpa, emulate = gpa;
	gva_t gva = e->gva;
	int ret;

	if (reason == EXIT_EPT_MISCONFIG)
		ret = kvm_mmu_misconfig(&v->kvm, gpa);
	else if (reason == EXIT_EPT_VIOLATION)
		ret = kvm_mmu_page_fault(&v->kvm, gpa, violation_to_error(e->error), &emulate);
	else
		ret = kvm_mmu_page_fault(&v->kvm, gpa, e->error, &emulate);
	if (ret == RET_PF_EMULATE && v->kvm.regs.guest_mode &&
	    (e->error & (NPF_TABLE | PFERR_W)) == (NPF_TABLE | PFERR_W) &&
	    kvm_vcpu_gfn_to_memslot(&v->kvm, emulate >> PAGE_SHIFT))
		ret = svm_table_write(v) ? RET_PF_RETRY : RET_PF_INJECTED;
	return after_fault(v, ret, gva, emulate, fetch);
}

static int handle_exception(struct vcpu *v)
{
	const struct cpu_event *event = &v->cpu.exit.event;
	gva_t gva = event->cr2;
	gpa_t emulate = INVALID_GPA;
	/* EFER.NX is always ours, so that this bit tells. */
	bool fetch = event->error & PFERR_F;
	u64 error = event->error;
	int ret;

	if (event->vector != PF_VECTOR || vm_tdp(v->vm))
		return unexpected(v, EXIT_EXCEPTION);
	/* Which accesses RFLAGS.AC doesn't excuse from SMAP. */
	if (v->cpu.exit.implicit)
		error |= PFERR_IMPLICIT;
	ret = kvm_mmu_page_fault(&v->kvm, gva, error, &emulate);
	return after_fault(v, ret, gva, emulate, fetch);
}

/* --- instructions --------------------------------------------------------------------------- */

static int handle_io(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	struct kvm_run *run = v->run;

	stat_inc(v, io_exits);
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = e->in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = e->size;
	run->io.port = e->port;
	run->io.count = 1;
	run->io.data_offset = SZ_4K;
	memset((u8 *)run + SZ_4K, 0, 8);
	if (!e->in)
		memcpy((u8 *)run + SZ_4K, &e->value, e->size);
	v->io_pending = true;
	v->io_rip = v->cpu.rip;
	v->io_next = e->next_rip;
	v->io_size = e->in ? e->size : 0;
	v->io_string = e->string;
	return 0;
}

static int handle_hlt(struct vcpu *v)
{
	stat_inc(v, halt_exits);
	skip_insn(v);
	if (v->vm->irqchip || v->vm->split_irqchip) {
		v->mp_state = KVM_MP_STATE_HALTED;
		return 1;
	}
	v->run->exit_reason = KVM_EXIT_HLT;
	return 0;
}

static int handle_msr(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	u64 value;

	if (e->write) {
		if (!msr_write(v, e->nr, false, e->value))
			return inject_gp(v);
	} else {
		if (!msr_read(v, e->nr, false, &value))
			return inject_gp(v);
		v->cpu.gpr[GPR_RAX] = (u32)value;
		v->cpu.gpr[GPR_RDX] = value >> 32;
	}
	return skip(v);
}

static int handle_cr(struct vcpu *v)
{
	struct cpu_exit_info *e = &v->cpu.exit;
	u64 value = e->value, low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	if (e->write) {
		/* These change some bits only, and were computed from CR0 as it really is. */
		if (!strcmp(e->mnemonic, "lmsw") || !strcmp(e->mnemonic, "clts"))
			value = (guest_cr0(v) & ~low) | (value & low);
		return guest_write_cr(v, e->nr, value) ? skip(v) : inject_gp(v);
	}
	if (!strcmp(e->mnemonic, "smsw"))
		return emulation_failure(v);
	value = e->nr == 0 ? guest_cr0(v) : e->nr == 3 ? guest_cr3(v) : guest_cr4(v);
	v->cpu.gpr[e->gpr] = v->cpu.code_bytes == 8 ? value : (u32)value;
	return skip(v);
}

static bool canonical(const struct vcpu *v, u64 addr)
{
	unsigned int shift = guest_cr4(v) & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(addr << shift) >> shift) == addr;
}

static int handle_invlpg(struct vcpu *v)
{
	gva_t gva = v->cpu.exit.value;

	if (canonical(v, gva))
		kvm_mmu_invlpg(&v->kvm, gva);
	return skip(v);
}

static int handle_invpcid(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	u64 pcid = e->invpcid[0], gva = e->invpcid[1];

	if (v->invpcid_hidden)
		return inject_ud(v);
	if (e->value > INVPCID_ALL || pcid >> 12)
		return inject_gp(v);
	if (e->value <= INVPCID_SINGLE && pcid && !(guest_cr4(v) & CR4_PCIDE))
		return inject_gp(v);
	if (e->value == INVPCID_ADDR && !canonical(v, gva))
		return inject_gp(v);
	switch (e->value) {
	case INVPCID_ADDR:
		kvm_mmu_invpcid_gva(&v->kvm, gva, pcid);
		break;
	case INVPCID_SINGLE:
		guest_flush_pcid(v, pcid);
		break;
	default:
		guest_flush_all(v);
	}
	return skip(v);
}

static int handle_insn(struct vcpu *v)
{
	const char *name = v->cpu.exit.mnemonic;

	if (svm_handle_insn(v, name) == 1)
		return 1;
	if (!strcmp(name, "vmcall") || !strcmp(name, "vmmcall")) {
		stat_inc(v, hypercalls);
		v->cpu.gpr[GPR_RAX] =
			v->cpu.mmu.cpl ? -(u64)HYPERCALL_EPERM : -(u64)HYPERCALL_ENOSYS;
		if (v->cpu.code_bytes != 8)
			v->cpu.gpr[GPR_RAX] = (u32)v->cpu.gpr[GPR_RAX];
		return skip(v);
	}
	if (!strcmp(name, "rdpmc"))
		return inject_gp(v);
	/* Features that CPUID doesn't offer. */
	return inject_ud(v);
}

static int handle_unimplemented(struct vcpu *v)
{
	const char *name = v->cpu.exit.mnemonic;

	if (name && !strcmp(name, "rsm")) {
		stat_inc(v, insn_emulation);
		return v->smm ? smm_leave(v) : inject_ud(v);
	}
	stat_inc(v, insn_emulation);
	return emulation_failure(v);
}

int handle_exit(struct vcpu *v, enum cpu_exit reason)
{
	if (v->kvm.regs.guest_mode && svm_handle_exit(v, reason) == 1)
		return 1;
	switch (reason) {
	case EXIT_BUDGET:
	case EXIT_INTERRUPT:
		return 1;
	case EXIT_WINDOW:
		/* The loop injects what waits; else user space wanted to know. */
		if (v->irq_pending || !v->run->request_interrupt_window)
			return 1;
		stat_inc(v, irq_window_exits);
		v->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
		return 0;
	case EXIT_HLT:
		return handle_hlt(v);
	case EXIT_IO:
		return handle_io(v);
	case EXIT_CPUID:
		cpuid_execute(v);
		return skip(v);
	case EXIT_MSR:
		return handle_msr(v);
	case EXIT_CR:
		return handle_cr(v);
	case EXIT_INVLPG:
		return handle_invlpg(v);
	case EXIT_INVPCID:
		return handle_invpcid(v);
	case EXIT_INSN:
		return handle_insn(v);
	case EXIT_EXCEPTION:
		return handle_exception(v);
	case EXIT_NPF:
	case EXIT_EPT_VIOLATION:
	case EXIT_EPT_MISCONFIG:
		return handle_nested_fault(v, reason);
	case EXIT_PML_FULL:
		/* It has been emptied. */
		return resume(v);
	case EXIT_MMIO:
		return emulate_mmio_exit(v);
	case EXIT_SHUTDOWN:
		v->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	case EXIT_UNIMPLEMENTED:
		return handle_unimplemented(v);
	case EXIT_DR:
	case EXIT_BUS:
		break;
	}
	return unexpected(v, reason);
}
