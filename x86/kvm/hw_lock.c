// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks and read-copy-update in user space. mmu_lock is a big-reader lock: a reader
 * writes to its own thread's record only, a writer looks at all records. RCU is by
 * epochs: a section notes the epoch it began in, and what was unlinked in an epoch is
 * freed once no section that began before is left.
 *
 * All ordering is by sequentially consistent exchanges and loads instead of fences: on
 * x86 they cost the same, and the thread sanitizer understands them.
 */
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "x86/cpu/wait.h"
#include "x86/kvm/hw_priv.h"
#include "x86/kvm/sched.h"

#define SPINS 200

struct hw_thread *hw_threads;
__thread struct hw_thread *hw_thread_self;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static u64 rcu_epoch = 1;

static void thread_end(void *arg)
{
	struct hw_thread *t = arg;

	hw_thread_self = NULL;
	__atomic_store_n(&t->used, 0, __ATOMIC_RELEASE);
}

/* Only the thread that forks lives on in the child. */
static void thread_after_fork(void)
{
	struct hw_thread *t;

	sched_after_fork();
	for (t = hw_threads; t; t = t->next) {
		if (t == hw_thread_self)
			continue;
		t->reading = NULL;
		t->epoch = 0;
		t->used = 0;
	}
}

static void thread_init(void)
{
	if (pthread_key_create(&thread_key, thread_end) ||
	    pthread_atfork(NULL, NULL, thread_after_fork))
		abort();
}

struct hw_thread *hw_thread_new(void)
{
	struct hw_thread *t;
	int unused = 0;

	pthread_once(&thread_once, thread_init);
	for (t = __atomic_load_n(&hw_threads, __ATOMIC_ACQUIRE); t; t = t->next) {
		unused = 0;
		if (!__atomic_load_n(&t->used, __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&t->used, &unused, 1, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			break;
	}
	if (!t) {
		t = aligned_alloc(sizeof(*t), sizeof(*t));
		if (!t)
			abort();
		*t = (struct hw_thread){.used = 1};
		t->next = __atomic_load_n(&hw_threads, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&hw_threads, &t->next, t, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			;
	}
	t->nesting = 0;
	t->vcpu = t->inside = NULL;
	pthread_setspecific(thread_key, t);
	return hw_thread_self = t;
}

static void relax(unsigned int *spins)
{
	if (sched_on())
		sched_wait();
	else
		wait_step(spins);
}

void hw_relax(void)
{
	if (sched_on())
		sched_wait();
	else
		__builtin_ia32_pause();
}

/* --- mmu_lock ---------------------------------------------------------------- */

void hw_lock_init(struct hw_vm *hw)
{
	hw->last = &hw->first;
}

/* First come, first served. */
static void take_ticket(struct hw_vm *hw)
{
	u32 mine = __atomic_fetch_add(&hw->next_ticket, 1, __ATOMIC_SEQ_CST), now;
	unsigned int spins = 0;

	while ((now = __atomic_load_n(&hw->owner, __ATOMIC_SEQ_CST)) != mine) {
		if (sched_on())
			sched_wait();
		else if (++spins < SPINS)
			__builtin_ia32_pause();
		else
			syscall(SYS_futex, &hw->owner, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
	}
}

static void pass_ticket(struct hw_vm *hw)
{
	u32 next = __atomic_add_fetch(&hw->owner, 1, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(&hw->next_ticket, __ATOMIC_SEQ_CST) != next)
		syscall(SYS_futex, &hw->owner, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

void hw_write_lock(struct kvm *kvm)
{
	struct hw_vm *hw = to_vm(kvm)->hw;
	struct hw_thread *self = hw_self(), *t;
	unsigned int spins = 0;

	MMU_BUG_ON(self->reading == hw);
	MMU_BUG_ON(__atomic_load_n(&hw->write_owner, __ATOMIC_RELAXED) == self);
	if (sched_on())
		sched_point("write_lock");
	__atomic_fetch_add(&hw->waiters, 1, __ATOMIC_RELAXED);
	take_ticket(hw);
	__atomic_store_n(&hw->writer, 1, __ATOMIC_SEQ_CST);
	for (t = __atomic_load_n(&hw_threads, __ATOMIC_SEQ_CST); t; t = t->next)
		while (__atomic_load_n(&t->reading, __ATOMIC_SEQ_CST) == hw)
			relax(&spins);
	__atomic_fetch_sub(&hw->waiters, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&hw->write_owner, self, __ATOMIC_RELAXED);
}

static void maybe_run(struct hw_vm *hw)
{
	if (__builtin_expect(__atomic_load_n(&hw->nr_callbacks, __ATOMIC_RELAXED) > 512, 0))
		hw_rcu_run(hw);
}

void hw_write_unlock(struct kvm *kvm)
{
	struct hw_vm *hw = to_vm(kvm)->hw;

	__atomic_store_n(&hw->write_owner, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&hw->writer, 0, __ATOMIC_SEQ_CST);
	pass_ticket(hw);
	maybe_run(hw);
	if (sched_on())
		sched_point("write_unlock");
}

void hw_read_lock(struct kvm *kvm)
{
	struct hw_vm *hw = to_vm(kvm)->hw;
	struct hw_thread *self = hw_self();

	if (sched_on())
		sched_point("read_lock");
	MMU_BUG_ON(self->reading);
	MMU_BUG_ON(__atomic_load_n(&hw->write_owner, __ATOMIC_RELAXED) == self);
	__atomic_store_n(&self->reading, hw, __ATOMIC_SEQ_CST);
	if (__builtin_expect(!__atomic_load_n(&hw->writer, __ATOMIC_SEQ_CST), 1))
		return;
	/* A writer waits or works. Queue behind it, so that neither side starves. */
	__atomic_store_n(&self->reading, NULL, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&hw->waiters, 1, __ATOMIC_RELAXED);
	take_ticket(hw);
	__atomic_fetch_sub(&hw->waiters, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&self->reading, hw, __ATOMIC_SEQ_CST);
	pass_ticket(hw);
}

void hw_read_unlock(struct kvm *kvm)
{
	struct hw_vm *hw = to_vm(kvm)->hw;
	struct hw_thread *self = hw_self();

	MMU_BUG_ON(self->reading != hw);
	__atomic_store_n(&self->reading, NULL, __ATOMIC_RELEASE);
	maybe_run(hw);
	if (sched_on())
		sched_point("read_unlock");
}

bool hw_lock_contended(struct kvm *kvm)
{
	return __atomic_load_n(&to_vm(kvm)->hw->waiters, __ATOMIC_RELAXED) != 0;
}

void hw_assert_write_locked(struct kvm *kvm)
{
	MMU_BUG_ON(__atomic_load_n(&to_vm(kvm)->hw->write_owner, __ATOMIC_RELAXED) != hw_self());
}

void hw_assert_locked(struct kvm *kvm)
{
	struct hw_vm *hw = to_vm(kvm)->hw;

	MMU_BUG_ON(hw_self()->reading != hw &&
		   __atomic_load_n(&hw->write_owner, __ATOMIC_RELAXED) != hw_self());
}

void hw_spin_lock(struct hw_spinlock *l)
{
	unsigned int spins = 0;

	while (__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&l->locked, __ATOMIC_RELAXED))
			relax(&spins);
}

void hw_spin_unlock(struct hw_spinlock *l)
{
	__atomic_store_n(&l->locked, 0, __ATOMIC_RELEASE);
}

/* --- RCU ----------------------------------------------------------------------- */

void hw_rcu_read_lock(void)
{
	struct hw_thread *self = hw_self();

	if (self->nesting++)
		return;
	__atomic_store_n(&self->epoch, __atomic_load_n(&rcu_epoch, __ATOMIC_SEQ_CST),
			 __ATOMIC_SEQ_CST);
}

void hw_rcu_read_unlock(void)
{
	struct hw_thread *self = hw_self();

	MMU_BUG_ON(!self->nesting);
	if (!--self->nesting)
		__atomic_store_n(&self->epoch, 0, __ATOMIC_RELEASE);
}

/* Sections that began before this epoch may still be there. */
static u64 oldest_epoch(void)
{
	u64 oldest = __atomic_load_n(&rcu_epoch, __ATOMIC_SEQ_CST), e;
	struct hw_thread *t;

	for (t = __atomic_load_n(&hw_threads, __ATOMIC_SEQ_CST); t; t = t->next) {
		e = __atomic_load_n(&t->epoch, __ATOMIC_SEQ_CST);
		if (e && e < oldest)
			oldest = e;
	}
	return oldest;
}

static void queue(struct hw_spinlock *lock, struct hw_callback **first, struct hw_callback ***last,
		  u64 *nr, struct hw_callback *c)
{
	c->next = NULL;
	hw_spin_lock(lock);
	c->epoch = __atomic_add_fetch(&rcu_epoch, 1, __ATOMIC_SEQ_CST);
	if (!*first)
		*last = first;
	**last = c;
	*last = &c->next;
	__atomic_store_n(nr, *nr + 1, __ATOMIC_RELAXED);
	hw_spin_unlock(lock);
}

/* Takes the callbacks up to epoch @oldest off the queue and runs them, in order. */
static void run(struct hw_spinlock *lock, struct hw_callback **first, u64 *nr, u64 oldest)
{
	struct hw_callback *head, *c, **end;
	u64 n = 0;

	hw_spin_lock(lock);
	head = *first;
	for (end = &head; *end && (*end)->epoch <= oldest; end = &(*end)->next)
		n++;
	*first = *end;
	*end = NULL;
	__atomic_store_n(nr, *nr - n, __ATOMIC_RELAXED);
	hw_spin_unlock(lock);
	while ((c = head)) {
		head = c->next;
		c->fn(c->arg);
		free(c);
	}
}

static struct hw_spinlock global_lock;
static struct hw_callback *global_first, **global_last;
static u64 global_nr;

void hw_rcu_run(struct hw_vm *hw)
{
	u64 oldest = oldest_epoch();

	if (__atomic_load_n(&hw->nr_callbacks, __ATOMIC_RELAXED))
		run(&hw->rcu_lock, &hw->first, &hw->nr_callbacks, oldest);
	if (__atomic_load_n(&global_nr, __ATOMIC_RELAXED))
		run(&global_lock, &global_first, &global_nr, oldest);
}

static struct hw_callback *callback(void (*fn)(void *arg), void *arg)
{
	struct hw_callback *c = malloc(sizeof(*c));

	if (!c)
		abort();
	c->fn = fn;
	c->arg = arg;
	return c;
}

void hw_rcu_defer(struct kvm *kvm, void (*fn)(void *arg), void *arg)
{
	struct hw_vm *hw = to_vm(kvm)->hw;

	queue(&hw->rcu_lock, &hw->first, &hw->last, &hw->nr_callbacks, callback(fn, arg));
}

void hw_rcu_free(void *p, void (*fn)(void *p))
{
	queue(&global_lock, &global_first, &global_last, &global_nr, callback(fn, p));
	run(&global_lock, &global_first, &global_nr, oldest_epoch());
}

static void wait_for_sections(void)
{
	u64 epoch = __atomic_add_fetch(&rcu_epoch, 1, __ATOMIC_SEQ_CST);
	unsigned int spins = 0;

	MMU_BUG_ON(hw_self()->nesting);
	while (oldest_epoch() < epoch)
		relax(&spins);
}

void hw_rcu_synchronize(struct kvm *kvm)
{
	wait_for_sections();
	hw_rcu_run(to_vm(kvm)->hw);
}

void hw_rcu_drain(struct hw_vm *hw)
{
	/* Callbacks may defer others. */
	while (__atomic_load_n(&hw->nr_callbacks, __ATOMIC_RELAXED)) {
		wait_for_sections();
		hw_rcu_run(hw);
	}
}
