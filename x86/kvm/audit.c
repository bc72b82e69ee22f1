// SPDX-License-Identifier: GPL-2.0-only
/*
 * When the auditor runs: mmu_check() of a VM with params.check, and of what its vCPUs' TLBs hold.
 *
 * An audit looks at everything, so its cost grows with the VM. What it costs is counted (not measured, so that a
 * run with one vCPU does the same each time). Each exit that may have changed something, each return to user space and
 * each change from outside earns the VM a little; when enough is there, an audit is made before the next entry or
 * at the return to user space.
 *
 * With check=2 there is no budget: an audit follows every exit that may have changed something.
 *
 * What is certain: what is broken and stays so is found when the VM is destroyed at the latest. With one
 * vCPU also after about cost / EARNED_EXIT exits that may have changed something. What a missing flush left in a
 * TLB is found only if the audit comes before another flush takes it away.
 *
 * The auditor is alone: vCPUs' threads pass a gate when they leave the guest and when they enter it, and an audit is
 * made only when no other is between; else one of the next exits tries again. vCPUs in the guest may go on. Who
 * works on the VM from outside has slots_lock or mmu_lock; a change of host memory shows no half-done state outside of
 * mmu_lock. The TLB of a vCPU is looked at by its own thread.
 */
#include <stdio.h>

#include "x86/kvm/hw_priv.h"

/* In nanoseconds, at most: an audit of tables that are nearly empty takes less. */
#define EARNED_EXIT    2000
#define EARNED_RETURN  4000
#define EARNED_OUTSIDE 15000
#define TLB_ENTRY      40

static void report(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "mmu_check: %s\n", line);
}

static int vm_check(struct vm *vm)
{
	return mmu_check(&vm->kvm, report, NULL);
}

/* --- the TLB ----------------------------------------------------------------------------------- */

struct tlb_audit {
	struct vcpu *v;
	bool nested;
	u64 space;
	int broken;
};

static void check_entry(void *arg, const struct tlb_entry *e)
{
	struct tlb_audit *a = arg;
	struct vcpu *v = a->v;
	struct kvm_vcpu *vcpu = &v->kvm;

	/* Of other nested tables: they are tagged, and not in use. */
	if (a->space ? e->space != a->space : e->asid != v->cpu.mmu.asid)
		return;
	if (e->table && e->linear && a->nested)
		/* The guest's own: all that counts is that it is still there. */
		a->broken += mmu_check_translation(vcpu, e->gpa & ~(SZ_4K - 1), SZ_4K,
						   e->hpa & ~(SZ_4K - 1), false, report, NULL);
	else if (e->table)
		a->broken += mmu_check_table(vcpu, e->addr, e->size, e->hpa, report, NULL);
	else
		a->broken += mmu_check_translation(
			vcpu, e->linear && a->nested ? e->gpa : e->addr, e->size, e->hpa,
			e->perm & (a->nested ? PERM_NESTED_W : PTE_W), report, NULL);
}

/* What @v's TLB has, unless it is about to be flushed; mmu_lock. How much is broken. */
static int check_tlb(struct vcpu *v)
{
	struct tlb_audit a = {.v = v};

	/* Roots change with a flush, or leave translations that tags or a later flush keep away. */
	if (v->many_roots || v->root != v->kvm.mmu->root.hpa ||
	    (__atomic_load_n(&v->kvm.requests, __ATOMIC_SEQ_CST) &
	     (KVM_REQ_TLB_FLUSH | KVM_REQ_TLB_FLUSH_GPA | KVM_REQ_MMU_FREE_OBSOLETE)))
		return 0;
	a.nested = v->nested.kind != NESTED_NONE;
	if (v->nested.kind == NESTED_EPT)
		a.space = (v->nested.root & PTE_ADDR_MASK) | 1;
	tlb_each(v->tlb, check_entry, &a);
	return a.broken;
}

/* --- when ---------------------------------------------------------------------------------------- */

static bool on(const struct vm *vm)
{
	return vm->kvm.params.check;
}

void audit_begin(struct vcpu *v)
{
	int *gate = &v->vm->audit.gate, n = __atomic_load_n(gate, __ATOMIC_RELAXED);

	if (!on(v->vm))
		return;
	for (;;) {
		if (n >= 0 && __atomic_compare_exchange_n(gate, &n, n + 1, false, __ATOMIC_ACQUIRE,
							  __ATOMIC_RELAXED))
			return;
		if (n < 0)
			hw_relax();
		n = __atomic_load_n(gate, __ATOMIC_RELAXED);
	}
}

void audit_end(struct vcpu *v)
{
	if (on(v->vm))
		__atomic_sub_fetch(&v->vm->audit.gate, 1, __ATOMIC_RELEASE);
}

static void changed(struct vm *vm, u64 earned)
{
	__atomic_add_fetch(&vm->audit.earned, earned, __ATOMIC_RELAXED);
	__atomic_store_n(&vm->audit.changed, true, __ATOMIC_RELEASE);
}

void audit_outside(struct vm *vm)
{
	if (on(vm))
		changed(vm, EARNED_OUTSIDE);
}

void audit_exit(struct vcpu *v, enum cpu_exit reason, bool returns)
{
	if (!on(v->vm))
		return;
	switch (reason) {
	case EXIT_CR:
	case EXIT_INVLPG:
	case EXIT_INVPCID:
	case EXIT_INSN:
	case EXIT_EXCEPTION:
	case EXIT_NPF:
	case EXIT_EPT_VIOLATION:
	case EXIT_EPT_MISCONFIG:
	case EXIT_MMIO:
		changed(v->vm, EARNED_EXIT);
		break;
	default:
		break;
	}
	if (returns)
		__atomic_add_fetch(&v->vm->audit.earned, EARNED_RETURN, __ATOMIC_RELAXED);
}

/* Other vCPUs in the guest may have written what only the processor's own log has so far. */
static bool may_be_unlogged(struct vcpu *v)
{
	struct kvm *kvm = &v->vm->kvm;
	unsigned int i, n = __atomic_load_n(&kvm->nr_vcpus, __ATOMIC_ACQUIRE);

	if (!__atomic_load_n(&v->vm->nr_logging, __ATOMIC_SEQ_CST))
		return false;
	for (i = 0; i < n; i++)
		if (__atomic_load_n(&to_vcpu(kvm->vcpus[i])->mode, __ATOMIC_SEQ_CST) ==
		    IN_GUEST_MODE)
			return true;
	return false;
}

static u64 cost(struct vcpu *v)
{
	return v->vm->kvm.check_work + tlb_stats(v->tlb).entries * TLB_ENTRY;
}

void audit(struct vcpu *v)
{
	struct vm *vm = v->vm;
	int alone = 1;

	if (!on(vm) || !__atomic_load_n(&vm->audit.changed, __ATOMIC_ACQUIRE))
		return;
	if (vm->kvm.params.check == 1 &&
	    __atomic_load_n(&vm->audit.earned, __ATOMIC_RELAXED) < cost(v))
		return;
	if (!__atomic_compare_exchange_n(&vm->audit.gate, &alone, -1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return;
	if (!pthread_mutex_trylock(&vm->slots_lock)) {
		if (!may_be_unlogged(v)) {
			__atomic_store_n(&vm->audit.changed, false, __ATOMIC_RELAXED);
			__atomic_store_n(&vm->audit.earned, 0, __ATOMIC_RELAXED);
			MMU_BUG_ON(vm_check(vm));
			hw_write_lock(&vm->kvm);
			MMU_BUG_ON(check_tlb(v));
			hw_write_unlock(&vm->kvm);
		}
		pthread_mutex_unlock(&vm->slots_lock);
	}
	__atomic_store_n(&vm->audit.gate, 1, __ATOMIC_RELEASE);
}

int audit_all(struct vm *vm)
{
	int broken = vm_check(vm);
	unsigned int i;

	hw_rcu_read_lock();
	hw_write_lock(&vm->kvm);
	for (i = 0; i < vm->kvm.nr_vcpus; i++)
		broken += check_tlb(vm->vcpu[i]);
	hw_write_unlock(&vm->kvm);
	hw_rcu_read_unlock();
	return broken;
}

void audit_last(struct vm *vm)
{
	if (on(vm))
		MMU_BUG_ON(audit_all(vm));
}
