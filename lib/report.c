// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is printed when a case fails: for each vCPU its registers, where it was
 * by name, the operation it was at and the walk of the address in question, so
 * that a report from a CI log is enough to start from.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "test.h"
#include "vm.h"

const char *exit_reason_name(u64 reason)
{
#define NAME(x) \
	case x: \
		return #x
	switch (reason) {
		NAME(KVM_EXIT_UNKNOWN);
		NAME(KVM_EXIT_EXCEPTION);
		NAME(KVM_EXIT_IO);
		NAME(KVM_EXIT_HYPERCALL);
		NAME(KVM_EXIT_DEBUG);
		NAME(KVM_EXIT_HLT);
		NAME(KVM_EXIT_MMIO);
		NAME(KVM_EXIT_IRQ_WINDOW_OPEN);
		NAME(KVM_EXIT_SHUTDOWN);
		NAME(KVM_EXIT_FAIL_ENTRY);
		NAME(KVM_EXIT_INTR);
		NAME(KVM_EXIT_SET_TPR);
		NAME(KVM_EXIT_TPR_ACCESS);
		NAME(KVM_EXIT_NMI);
		NAME(KVM_EXIT_INTERNAL_ERROR);
		NAME(KVM_EXIT_SYSTEM_EVENT);
		NAME(KVM_EXIT_IOAPIC_EOI);
		NAME(KVM_EXIT_X86_RDMSR);
		NAME(KVM_EXIT_X86_WRMSR);
		NAME(KVM_EXIT_DIRTY_RING_FULL);
		NAME(KVM_EXIT_X86_BUS_LOCK);
		NAME(KVM_EXIT_NOTIFY);
	}
#undef NAME
	return "KVM_EXIT_?";
}

const struct paging_mode *sregs_mode(const struct kvm_sregs *s)
{
	if (!(s->cr0 & CR0_PG))
		return paging_mode(PM_NONE);
	if (!(s->cr4 & CR4_PAE))
		return paging_mode(PM_32);
	if (!(s->efer & EFER_LMA))
		return paging_mode(PM_PAE);
	return paging_mode(s->cr4 & CR4_LA57 ? PM_LA57 : PM_LA48);
}

void report_walk(struct vm *vm, const struct paging_mode *m, u64 cr3, gva_t gva)
{
	gpa_t table = m->id == PM_PAE ? cr3 & 0xffffffe0 : cr3 & PTE_ADDR_MASK, at;
	int l;

	test_diag("  walk of %#lx, mode %s, cr3 %#lx:", gva, m->name, cr3);
	for (l = m->levels; l >= 1; l--) {
		u64 pte;

		at = table + level_index(m, gva, l) * m->pte_size;
		if (!vm_slot_of(vm, at)) {
			test_diag("    level %d: entry at gpa %#lx: in no memslot", l, at);
			return;
		}
		pte = m->pte_size == 4 ? *(u32 *)vm_hva(vm, at) : *(u64 *)vm_hva(vm, at);
		test_diag("    level %d [%3u] at gpa %#lx: %#018lx %s%s%s%s%s%s%s%s", l,
			  level_index(m, gva, l), at, pte, pte & PTE_P ? "P" : "-",
			  pte & PTE_W ? "W" : "-", pte & PTE_U ? "U" : "-", pte & PTE_A ? "A" : "-",
			  pte & PTE_D ? "D" : "-", l > 1 && (pte & PTE_PS) ? " PS" : "",
			  pte & PTE_G ? " G" : "", m->pte_size == 8 && (pte & PTE_NX) ? " NX" : "");
		if (!(pte & PTE_P) || pte_is_leaf(m, pte, l))
			return;
		table = pte_addr(m, pte, l);
	}
}

static void report_op(struct vcpu *v)
{
	struct agent_mailbox *mb = v->mailbox;
	struct agent_op *op;

	if (mb->magic != AGENT_MAGIC || mb->current_op >= mb->nr_ops) {
		test_diag("  agent: %s", mb->magic == AGENT_MAGIC ? "idle" : "has not started");
		return;
	}
	op = &mb->ops[mb->current_op];
	test_diag(
		"  agent: %u of %u operations done; at kind %u flags %#x addr %#lx value %#lx arg %#lx",
		mb->nr_done, mb->nr_ops, op->kind, op->flags, op->addr, op->value, op->arg);
}

static bool accesses(u16 kind)
{
	return kind < AGENT_SET_PTE || (kind >= AGENT_TOUCH_READ && kind <= AGENT_SPIN_WRITE);
}

/* The last page fault's, else what the running operation touches, else CR2. */
static gva_t interesting_address(struct vcpu *v, const struct kvm_sregs *s)
{
	struct agent_mailbox *mb = v->mailbox;
	u32 i;

	for (i = mb->nr_ops; i > 0 && i <= AGENT_BATCH; i--)
		if (mb->results[i - 1].status == AGENT_FAULT &&
		    mb->results[i - 1].vector == PF_VECTOR)
			return mb->results[i - 1].cr2;
	if (mb->nr_ops && mb->current_op < mb->nr_ops && accesses(mb->ops[mb->current_op].kind))
		return mb->ops[mb->current_op].addr;
	return s->cr2;
}

static void report_vcpu(struct vcpu *v)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	char where[128];
	int err = __kvm_ioctl(v->fd, KVM_GET_REGS, &r);

	if (!err)
		err = __kvm_ioctl(v->fd, KVM_GET_SREGS, &s);
	test_diag("vCPU %u, last exit %s:", v->id, exit_reason_name(v->run->exit_reason));
	if (err) {
		test_diag("  registers: %s", strerror(-err));
		return;
	}
	test_diag("  rip %#llx %s  rsp %#llx  rflags %#llx", r.rip,
		  image_symbolise(v->vm->image, r.rip, where, sizeof(where)), r.rsp, r.rflags);
	test_diag("  rax %#llx rbx %#llx rcx %#llx rdx %#llx rsi %#llx rdi %#llx rbp %#llx", r.rax,
		  r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp);
	test_diag("  cr0 %#llx cr2 %#llx cr3 %#llx cr4 %#llx efer %#llx cpl %u", s.cr0, s.cr2,
		  s.cr3, s.cr4, s.efer, s.cs.selector & 3);
	report_op(v);
	if (s.cr0 & CR0_PG)
		report_walk(v->vm, sregs_mode(&s), s.cr3, interesting_address(v, &s));
}

void vm_report(void *arg)
{
	struct vm *vm = arg;
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		/* Registers of a vCPU that runs on another thread are out of reach until it stops. */
		if (v->runner && v->runner != gettid() && !v->stalled) {
			test_diag("vCPU %u: running", v->id);
			report_op(v);
			continue;
		}
		report_vcpu(v);
	}
}
