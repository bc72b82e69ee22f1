// SPDX-License-Identifier: GPL-2.0-only
/*
 * Emulation: accesses that the tables can't be made to allow, because a device is there, a
 * read-only slot, or a guest table that the MMU shadows and must see written.
 *
 * The software CPU executes the instruction itself; only its accesses to the page in question
 * come here, one after the other, each to be translated with the rights of the access, and then
 * carried out in memory or by user space.
 */
#include <string.h>

#include "x86/kvm/internal.h"

int emulate_start(struct vcpu *v, gva_t gva, gpa_t gpa)
{
	struct cpu *c = &v->cpu;

	(void)gpa;
	stat_inc(v, insn_emulation);
	/* Events have no instruction whose accesses could be answered. */
	if (c->exit.delivering.type != EVENT_NONE) {
		struct kvm_run *run = v->run;

		run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
		run->internal.ndata = 2;
		run->internal.data[0] = c->exit.delivering.vector;
		run->internal.data[1] = c->exit.error;
		cpu_inject(c, &c->exit.delivering);
		return 0;
	}
	if (!v->emul.active || v->emul.rip != c->rip) {
		memset(&v->emul, 0, sizeof(v->emul));
		v->emul.active = true;
		v->emul.rip = c->rip;
	}
	return cpu_claim_page(c, gva) ? 1 : emulation_failure(v);
}

/* User space is asked; the answer comes with the next KVM_RUN. */
static int exit_mmio(struct vcpu *v, gpa_t gpa)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	struct kvm_run *run = v->run;

	v->emul.gpa = gpa;
	v->emul.size = e->size;
	v->emul.write = e->write;
	v->emul.rip = v->cpu.rip;
	v->mmio_pending = true;
	stat_inc(v, mmio_exits);
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = e->size;
	run->mmio.is_write = e->write;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (e->write)
		memcpy(run->mmio.data, &e->value, e->size);
	return 0;
}

static int read_memory(struct vcpu *v, gpa_t gpa)
{
	struct cpu *c = &v->cpu;
	unsigned int size = c->exit.size;
	u64 value = 0;

	if (guest_read(&v->kvm, gpa, &value, size))
		return exit_mmio(v, gpa);
	v->emul.have_read = true;
	v->emul.read_gpa = gpa;
	v->emul.read_size = size;
	v->emul.read_value = value;
	v->emul.read_answer = c->mmio.nr_answers;
	cpu_answer_mmio(c, value);
	return 1;
}

/* Of a size and alignment that memory can exchange in one access. */
static bool exchangeable(gpa_t gpa, unsigned int size)
{
	return !(size & (size - 1)) && !(gpa & (size - 1));
}

static int write_memory(struct vcpu *v, gpa_t gpa)
{
	struct cpu *c = &v->cpu;
	unsigned int size = c->exit.size;
	u64 value = c->exit.value, seen = v->emul.read_value;
	int ret;

	hw_yield_point(&v->vm->kvm, "emulate_write");
	if (!MUTANT(emulated_exchange_not_atomic) && v->emul.have_read && v->emul.read_gpa == gpa &&
	    v->emul.read_size == size && exchangeable(gpa, size)) {
		ret = guest_cmpxchg(&v->kvm, gpa, &seen, value, size);
		if (ret == 1) {
			/* Somebody else wrote in between: the instruction reads again. */
			v->emul.have_read = false;
			cpu_retract_mmio(c, v->emul.read_answer);
			return 1;
		}
	} else {
		ret = guest_write(&v->kvm, gpa, &value, size);
	}
	if (ret)
		return exit_mmio(v, gpa);
	v->emul.have_read = false;
	kvm_mmu_track_write(&v->kvm, gpa, &value, size);
	cpu_answer_mmio(c, 0);
	return 1;
}

int emulate_mmio_exit(struct vcpu *v)
{
	const struct cpu_exit_info *e = &v->cpu.exit;
	struct x86_exception fault = {0};
	u64 access = e->access == ACCESS_WRITE ? PFERR_W : 0;
	gpa_t gpa;

	if (e->implicit)
		access |= PFERR_IMPLICIT;
	else if (v->cpu.mmu.cpl == 3)
		access |= PFERR_U;
	gpa = kvm_mmu_gva_to_gpa(&v->kvm, e->gva, access, &fault);
	if (gpa == INVALID_GPA) {
		inject_page_fault(&v->kvm, &fault);
		return 1;
	}
	return e->write ? write_memory(v, gpa) : read_memory(v, gpa);
}

int emulate_complete(struct vcpu *v)
{
	u64 value = 0;

	v->mmio_pending = false;
	/* Somewhere else by now: the access is over, its instruction won't be resumed. */
	if (v->cpu.rip != v->emul.rip || !v->cpu.mmio.nr_pages) {
		cpu_abandon(&v->cpu);
		return 0;
	}
	if (!v->emul.write)
		memcpy(&value, v->run->mmio.data, v->emul.size);
	cpu_answer_mmio(&v->cpu, value);
	return 0;
}
