// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs vCPUs: registers, KVM_RUN, and the watch over a vCPU that does not come
 * back. A timer's signal to the thread of a batch makes KVM_RUN return
 * (immediate_exit covers the moment before it), and what the vCPU was doing is
 * reported instead of a hang. The timer goes on from one batch to the next, which
 * saves short ones two system calls, and finds out when it fires how long the
 * current one has been running.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "probe.h"
#include "test.h"
#include "vm.h"
#include "vm_internal.h"

#define STALL_SIGNAL SIGUSR1
#define CASE_SIGNAL  SIGUSR2 /* the framework: the case's time is nearly up */

#define DEFAULT_MS 15000 /* for a batch */

static struct vm *live[16];

/* Stops every vCPU of @vm at its next chance; async-signal-safe. */
static void stall_all(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		v->stalled = 1;
		v->run->immediate_exit = 1;
		if (v->timer_tid)
			syscall(SYS_tgkill, getpid(), v->timer_tid, STALL_SIGNAL);
	}
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 limit_ns(const struct vcpu *v)
{
	u32 ms = v->vm->config.run_ms;

	return (ms ? ms : DEFAULT_MS) * 1000000ull;
}

static void set_timer(struct vcpu *v, u64 ns)
{
	struct itimerspec when = {
		.it_value = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}};

	timer_settime(v->timer, 0, &when, NULL);
}

/* In the thread of the batch, if one runs. */
static void on_stall(int sig, siginfo_t *info, void *context)
{
	struct vcpu *v = info->si_code == SI_TIMER ? info->si_value.sival_ptr : NULL;
	u64 ran;

	(void)sig;
	(void)context;
	if (!v)
		return;
	if (!v->running_since) {
		v->timer_armed = false;
		return;
	}
	ran = now_ns() - v->running_since;
	if (ran < limit_ns(v)) {
		set_timer(v, limit_ns(v) - ran);
		return;
	}
	v->stalled = 1;
	v->run->immediate_exit = 1;
}

static void on_case_timeout(int sig)
{
	size_t i;

	(void)sig;
	for (i = 0; i < ARRAY_LEN(live); i++)
		if (live[i])
			stall_all(live[i]);
}

void vm_register(struct vm *vm)
{
	struct sigaction stall = {.sa_sigaction = on_stall, .sa_flags = SA_SIGINFO};
	struct sigaction timeout = {.sa_handler = on_case_timeout};
	size_t i;

	sigaction(STALL_SIGNAL, &stall, NULL);
	sigaction(CASE_SIGNAL, &timeout, NULL);
	for (i = 0; i < ARRAY_LEN(live); i++) {
		if (!live[i]) {
			live[i] = vm;
			return;
		}
	}
}

void vm_unregister(struct vm *vm)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(live); i++)
		if (live[i] == vm)
			live[i] = NULL;
}

void vcpu_drop_timer(struct vcpu *v)
{
	if (v->timer_made)
		timer_delete(v->timer);
	v->timer_made = v->timer_armed = false;
}

static void make_timer(struct vcpu *v)
{
	struct sigevent ev = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = STALL_SIGNAL,
		.sigev_value.sival_ptr = v,
	};

	v->timer_thread = pthread_self();
	v->timer_tid = syscall(SYS_gettid);
	ev._sigev_un._tid = v->timer_tid;
	if (timer_create(CLOCK_MONOTONIC, &ev, &v->timer))
		test_error("timer_create: %s", strerror(errno));
	v->timer_made = true;
}

static void batch_begins(struct vcpu *v)
{
	if (v->timer_made && !pthread_equal(v->timer_thread, pthread_self()))
		vcpu_drop_timer(v);
	if (!v->timer_made)
		make_timer(v);
	/* In this order: the timer may fire at any moment, and takes itself out only when idle. */
	v->running_since = now_ns();
	if (!v->timer_armed) {
		v->timer_armed = true;
		set_timer(v, limit_ns(v));
	}
	v->runner = v->timer_tid;
}

static void batch_ends(struct vcpu *v)
{
	v->runner = 0;
	v->running_since = 0;
}

int __vcpu_run(struct vcpu *v)
{
	__atomic_store_n(&v->exits, v->exits + 1, __ATOMIC_RELEASE);
	return __kvm_ioctl(v->fd, KVM_RUN, NULL);
}

struct kvm_regs vcpu_regs(struct vcpu *v)
{
	struct kvm_regs regs;

	vcpu_ioctl(v, KVM_GET_REGS, &regs);
	return regs;
}

void vcpu_set_regs(struct vcpu *v, const struct kvm_regs *regs)
{
	vcpu_ioctl(v, KVM_SET_REGS, (void *)regs);
}

struct kvm_sregs vcpu_sregs(struct vcpu *v)
{
	struct kvm_sregs sregs;

	vcpu_ioctl(v, KVM_GET_SREGS, &sregs);
	return sregs;
}

int __vcpu_set_sregs(struct vcpu *v, const struct kvm_sregs *sregs)
{
	return __kvm_ioctl(v->fd, KVM_SET_SREGS, (void *)sregs);
}

void vcpu_set_sregs(struct vcpu *v, const struct kvm_sregs *sregs)
{
	vcpu_ioctl(v, KVM_SET_SREGS, (void *)sregs);
}

/*
 * KVM could not execute an instruction. On a KVM that is known to lack some
 * that is the host's limit; anywhere else it is a finding.
 */
static void internal_error(struct vcpu *v)
{
	struct kvm_regs r = vcpu_regs(v);
	char where[128];

	image_symbolise(v->vm->image, r.rip, where, sizeof(where));
	skip_if_partial(v->vm, true, where);
	test_fail("vCPU %u: KVM_EXIT_INTERNAL_ERROR, suberror %u, at %s", v->id,
		  v->run->internal.suberror, where);
}

/* Whether the test deals with the exit itself. */
static bool taken_over(struct vcpu *v)
{
	return v->other_exit && v->other_exit(v, v->run, v->arg);
}

static void io_exit(struct vcpu *v, bool *done)
{
	struct kvm_run *run = v->run;
	u32 value = *(u32 *)((u8 *)run + run->io.data_offset);

	switch (run->io.port) {
	case PORT_DONE:
		*done = true;
		return;
	case PORT_SYNC:
		if (v->sync) {
			v->sync(v, value, v->arg);
			return;
		}
		break;
	case PORT_PANIC: {
		struct agent_panic *p = &v->mailbox->panic;
		char where[128];

		test_fail("vCPU %u: guest panic: vector %lu error %#lx cr2 %#lx at %#lx %s", v->id,
			  p->vector, p->error, p->cr2, p->rip,
			  image_symbolise(v->vm->image, p->rip, where, sizeof(where)));
	}
	case PORT_CHAR:
		fputc(value & 0xff, stdout);
		return;
	}
	if (taken_over(v))
		return;
	test_fail("vCPU %u: unexpected I/O at port %#x", v->id, run->io.port);
}

static void handle_exit(struct vcpu *v, bool *done)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		io_exit(v, done);
		return;
	case KVM_EXIT_MMIO:
		v->mmio_exits++;
		if (v->mmio) {
			v->mmio(v, run, v->arg);
			return;
		}
		if (taken_over(v))
			return;
		test_fail("vCPU %u: unexpected MMIO %s at gpa %#llx, %u bytes", v->id,
			  run->mmio.is_write ? "write" : "read", run->mmio.phys_addr,
			  run->mmio.len);
	case KVM_EXIT_INTERNAL_ERROR:
		if (taken_over(v))
			return;
		internal_error(v);
		return;
	}
	if (taken_over(v))
		return;
	if (v->mailbox->magic != AGENT_MAGIC)
		skip_if_partial(v->vm, false, NULL);
	test_fail("vCPU %u: unexpected exit %s (%u)", v->id, exit_reason_name(run->exit_reason),
		  run->exit_reason);
}

void vcpu_exec(struct vcpu *v)
{
	time_t started = time(NULL);
	bool done = false;
	int ret;

	v->mailbox->nr_done = 0;
	batch_begins(v);
	while (!done) {
		ret = __vcpu_run(v);
		if (v->stalled) {
			v->running_since = 0;
			test_fail(
				"vCPU %u did not come back: operation %u of %u was running after %u s",
				v->id, v->mailbox->current_op, v->mailbox->nr_ops,
				(u32)(time(NULL) - started));
		}
		if (ret == -EINTR || ret == -EAGAIN)
			continue;
		if (ret < 0) {
			if (taken_over(v))
				continue;
			test_fail("vCPU %u: KVM_RUN: %s (exit reason %s)", v->id, strerror(-ret),
				  exit_reason_name(v->run->exit_reason));
		}
		handle_exit(v, &done);
	}
	batch_ends(v);
}

static void *thread_main(void *arg)
{
	const struct engine_turns *turns = engine()->turns;
	struct vcpu *v = arg;

	if (turns)
		turns->begin(v->turn);
	vcpu_exec(v);
	if (turns)
		turns->end();
	return NULL;
}

void vcpu_start(struct vcpu *v)
{
	const struct engine_turns *turns = engine()->turns;
	int err;

	v->turn = turns ? turns->announce() : 0;
	err = pthread_create(&v->thread, NULL, thread_main, v);
	if (err)
		test_error("thread for vCPU %u: %s", v->id, strerror(err));
	v->threaded = true;
}

void vcpu_join(struct vcpu *v)
{
	if (v->threaded && v->turn)
		engine()->turns->wait(v->turn);
	if (v->threaded)
		pthread_join(v->thread, NULL);
	v->threaded = false;
}

void vcpu_relax(void)
{
	if (engine()->turns)
		engine()->turns->relax();
	else
		sched_yield();
}
