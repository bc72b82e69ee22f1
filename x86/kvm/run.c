// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN: what user space has answered is completed, requests are carried out, the
 * processor runs, its exits are dealt with, until one is for user space.
 *
 * A signal ends KVM_RUN as it would end the system call. The guest runs in slices with signals
 * blocked; between slices a look at what is pending decides. The guest's exits that don't go
 * to user space cost no system call.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "x86/cpu/wait.h"
#include "x86/kvm/internal.h"
#include "x86/kvm/sched.h"

/* Instructions between two looks for signals: a few 100 us; and what an exit counts as. */
#define SLICE	  20000
#define EXIT_COST 200

/* The caller's mask, or what KVM_SET_SIGNAL_MASK put in its place. */
struct run_signals {
	sigset_t old, wanted;
};

static void signals_begin(struct vcpu *v, struct run_signals *s)
{
	sigset_t block;

	/* What the processor raises for our own mistakes stays deadly and visible. */
	sigfillset(&block);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGILL);
	sigdelset(&block, SIGFPE);
	sigdelset(&block, SIGTRAP);
	sigdelset(&block, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &block, &s->old);
	s->wanted = v->sigmask_set ? v->sigmask : s->old;
}

static bool signal_pending(const struct run_signals *s)
{
	sigset_t pending;

	if (sigpending(&pending))
		return false;
	for (int sig = 1; sig < _NSIG; sig++)
		if (sigismember(&pending, sig) == 1 && !sigismember(&s->wanted, sig))
			return true;
	return false;
}

static void signals_end(const struct run_signals *s)
{
	pthread_sigmask(SIG_SETMASK, &s->old, NULL);
}

static int interrupted(struct vcpu *v)
{
	v->run->exit_reason = KVM_EXIT_INTR;
	stat_inc(v, signal_exits);
	return -EINTR;
}

/* --- completion of the last exit ---------------------------------------------------------- */

static void complete_io(struct vcpu *v)
{
	struct cpu *c = &v->cpu;
	u64 value = 0;

	v->io_pending = false;
	/* User space may have sent the vCPU elsewhere meanwhile. */
	if (c->rip != v->io_rip)
		return;
	if (v->io_size)
		memcpy(&value, (u8 *)v->run + SZ_4K, v->io_size);
	if (v->io_string) {
		cpu_answer_io(c, value);
		return;
	}
	switch (v->io_size) {
	case 1:
		c->gpr[GPR_RAX] = (c->gpr[GPR_RAX] & ~0xffull) | value;
		break;
	case 2:
		c->gpr[GPR_RAX] = (c->gpr[GPR_RAX] & ~0xffffull) | value;
		break;
	case 4:
		c->gpr[GPR_RAX] = value;
		break;
	}
	c->exit.next_rip = v->io_next;
	skip_insn(v);
}

static int complete(struct vcpu *v)
{
	if (v->io_pending)
		complete_io(v);
	if (v->mmio_pending)
		return emulate_complete(v);
	return 0;
}

/* --- before the guest ----------------------------------------------------------------------- */

static bool take_request(struct vcpu *v, u64 req)
{
	if (!(__atomic_load_n(&v->kvm.requests, __ATOMIC_RELAXED) & req))
		return false;
	__atomic_fetch_and(&v->kvm.requests, ~req, __ATOMIC_SEQ_CST);
	return true;
}

/* Whether an instruction waits for its remaining answers: nothing may come in between. */
static bool within_insn(const struct vcpu *v)
{
	return v->cpu.mmio.nr_answers || v->cpu.io_answered;
}

static void inject_events(struct vcpu *v)
{
	struct cpu *c = &v->cpu;
	struct cpu_event event = {0};

	c->want_window = false;
	/* GIF comes back by STGI, which exits. */
	if (v->svm.gif_clear)
		return;
	if (v->kvm.regs.guest_mode && !within_insn(v) && svm_take_events(v))
		goto window;
	if (within_insn(v) || c->event.type != EVENT_NONE)
		goto window;
	if (v->smi_pending && !v->smm) {
		v->smi_pending = false;
		smm_enter(v);
	} else if (v->nmi_pending && !c->nmi_blocked && !c->shadow) {
		v->nmi_pending = false;
		stat_inc(v, nmi_injections);
		event.type = EVENT_NMI;
		event.vector = 2;
		cpu_inject(c, &event);
	} else if (v->irq_pending && cpu_interruptible(c)) {
		v->irq_pending = false;
		stat_inc(v, irq_injections);
		event.type = EVENT_INTR;
		event.vector = v->pending_irq;
		cpu_inject(c, &event);
	}
window:
	if (v->kvm.regs.guest_mode)
		c->want_window = svm_wants_window(v);
	else if (!v->svm.gif_clear)
		c->want_window = v->irq_pending || v->run->request_interrupt_window;
}

/* 1: on with it; 0: to user space; -errno. */
static int handle_requests(struct vcpu *v)
{
	if (!__atomic_load_n(&v->kvm.requests, __ATOMIC_ACQUIRE))
		return 1;
	if (take_request(v, KVM_REQ_MMU_FREE_OBSOLETE))
		kvm_mmu_free_obsolete_roots(&v->kvm);
	if (take_request(v, KVM_REQ_MMU_SYNC))
		kvm_mmu_sync_roots(&v->kvm);
	take_request(v, KVM_REQ_DIRTY_LOG);
	if (take_request(v, KVM_REQ_TRIPLE_FAULT) &&
	    !(v->kvm.regs.guest_mode && svm_triple_fault(v))) {
		v->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	}
	if (take_request(v, KVM_REQ_SMI))
		v->smi_pending = true;
	if (take_request(v, KVM_REQ_NMI))
		v->nmi_pending = true;
	if (take_request(v, KVM_REQ_RING_FULL) && dirty_ring_soft_full(v)) {
		/* It stays full until user space empties it. */
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_RING_FULL, __ATOMIC_SEQ_CST);
		v->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
		return 0;
	}
	return 1;
}

/* A halted vCPU of a VM with interrupt controllers waits here. 1: it runs again; -EINTR. */
static int wait_halted(struct vcpu *v, struct run_signals *s)
{
	const struct timespec tick = {.tv_nsec = 200000};

	while (v->mp_state == KVM_MP_STATE_HALTED || v->mp_state == KVM_MP_STATE_UNINITIALIZED) {
		u64 wake = KVM_REQ_SMI | KVM_REQ_NMI | KVM_REQ_TRIPLE_FAULT;

		if ((__atomic_load_n(&v->kvm.requests, __ATOMIC_ACQUIRE) & wake) ||
		    v->nmi_pending || v->smi_pending || (v->irq_pending && svm_irq_open(v))) {
			v->mp_state = KVM_MP_STATE_RUNNABLE;
			break;
		}
		audit_end(v);
		hw_rcu_read_unlock();
		if (sched_on())
			sched_wait();
		else
			ppoll(NULL, 0, &tick, NULL);
		hw_rcu_read_lock();
		audit_begin(v);
		if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_RELAXED) || signal_pending(s))
			return interrupted(v);
	}
	return 1;
}

/* Has a root, all is flushed that is to be. 1: enter; 0, -errno: to user space. */
static int prepare_entry(struct vcpu *v)
{
	int ret = handle_requests(v);

	if (ret <= 0)
		return ret;
	inject_events(v);
	regs_to_mmu(v);
	ret = kvm_mmu_reload(&v->kvm);
	/* Another root is to be loaded, should L1 be the one to be told. */
	while (ret == 1 && v->kvm.regs.guest_mode && svm_triple_fault(v))
		ret = kvm_mmu_reload(&v->kvm);
	if (ret == 1) {
		v->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	}
	if (ret)
		return ret;
	/* A load may have asked for it. */
	if (take_request(v, KVM_REQ_MMU_SYNC))
		kvm_mmu_sync_roots(&v->kvm);
	hw_do_flushes(v);
	regs_to_cpu(v);
	return 1;
}

static void publish(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	run->if_flag = !!(v->cpu.rflags & FLAG_IF);
	run->cr8 = v->cpu.cr8;
	run->apic_base = v->cpu.apic_base;
	run->flags = v->smm ? KVM_RUN_X86_SMM : 0;
	run->ready_for_interrupt_injection =
		cpu_interruptible(&v->cpu) && !v->irq_pending && !v->svm.gif_clear;
}

/* The processor runs; under the seeded scheduler in slices, between which others have their turns. */
static enum cpu_exit run_guest(struct vcpu *v, s64 budget)
{
	u64 end = v->cpu.insns + budget;
	enum cpu_exit reason;

	if (!sched_on())
		return cpu_run(&v->cpu, budget);
	do {
		reason = cpu_run(&v->cpu, sched_slice(end - v->cpu.insns));
		sched_point("guest");
	} while (reason == EXIT_BUDGET && (s64)(end - v->cpu.insns) > 0);
	return reason;
}

static int run_loop(struct vcpu *v, struct run_signals *s)
{
	unsigned int waits = 0;
	s64 left = SLICE;
	int ret;

	for (;;) {
		enum cpu_exit reason;
		u64 before;

		if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_RELAXED))
			return interrupted(v);
		if (left <= 0) {
			if (signal_pending(s))
				return interrupted(v);
			left = SLICE;
		}
		ret = wait_halted(v, s);
		if (ret <= 0)
			return ret;
		hw_yield_point(&v->vm->kvm, "vcpu_run");
		ret = prepare_entry(v);
		if (ret == -EAGAIN) {
			/* CR3 points into a slot that is on its way: who moves it waits for us. */
			left -= EXIT_COST;
			audit_end(v);
			hw_rcu_read_unlock();
			wait_step(&waits);
			hw_rcu_read_lock();
			audit_begin(v);
			continue;
		}
		if (ret <= 0)
			return ret;
		audit(v);
		left -= EXIT_COST;
		if (!hw_enter_guest(v))
			continue;
		audit_end(v);
		hw_rcu_read_unlock();
		before = v->cpu.insns;
		reason = run_guest(v, left > 0 && !v->svm.step && !v->svm.brief ? left : 1);
		left -= v->cpu.insns - before;
		pml_flush(v);
		hw_leave_guest(v);
		audit_begin(v);
		hw_rcu_read_lock();
		svm_ran(v);
		if (reason != EXIT_BUDGET)
			stat_inc(v, exits);
		regs_to_mmu(v);
		ret = handle_exit(v, reason);
		audit_exit(v, reason, ret <= 0);
		if (ret <= 0)
			return ret;
	}
}

int vcpu_run(struct vcpu *v)
{
	struct run_signals signals;
	int ret;

	/* An application processor that nobody has started. */
	if (v->mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return -EAGAIN;
	signals_begin(v, &signals);
	audit_begin(v);
	hw_rcu_read_lock();
	v->run->exit_reason = KVM_EXIT_UNKNOWN;
	regs_to_mmu(v);
	ret = complete(v);
	if (ret >= 0)
		ret = run_loop(v, &signals);
	publish(v);
	audit(v);
	hw_rcu_read_unlock();
	audit_end(v);
	signals_end(&signals);
	return ret;
}
