/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The seeded scheduler: with parameter interleave=SEED the threads that user space announces
 * run one at a time, and where they change places is decided by a generator with that seed.
 * The same program with the same seed then does the same things in the same order.
 *
 * The rules:
 * - A thread that announces another one takes part from then on, until all that were
 *   announced have ended and it has waited for them; the announced ones take part from their
 *   first call to their last.
 * - A thread that takes part runs only while it has the baton, wherever it is: within the
 *   engine, in a guest, or in user space's own code. So when the others arrive doesn't matter:
 *   one that is chosen and has not come yet is waited for.
 * - The baton changes hands only at points: hw_yield_point(), the taking and dropping of
 *   mmu_lock, the entry to a call, the end of a slice of guest instructions, whose length is
 *   drawn, and each time that a thread finds that it has to wait (a lock, a vCPU that is to
 *   leave the guest, an RCU section). Who goes on is drawn among those that can; now and then
 *   a thread is put to sleep for a drawn number of points, so that others get through
 *   whole operations while it stands in the middle of one.
 * - Whoever waits for another thread outside the engine has to say so: intree_thread_wait(),
 *   intree_relax(). Anything else blocks with the baton in its hand.
 * - MMUSCOPE_TURNS=1 in the environment prints each point that is passed, and who goes on there.
 * - Threads that were not announced (the NX recovery worker, a program's own) run freely
 *   beside them; what they do is not replayed.
 */
#ifndef X86_KVM_SCHED_H
#define X86_KVM_SCHED_H

#include <pthread.h>
#include <stdbool.h>

#include "x86/arch/types.h"

struct sched_thread;
/* Of this thread; NULL: it takes no part. */
extern __thread struct sched_thread *sched_self;

static inline bool sched_on(void)
{
	return __builtin_expect(!!sched_self, 0);
}

/*
 * Begins anew with @seed, at the next thread that is announced; 0: none takes part. The limit of a guest's slice is
 * 2^@slice instructions at least, 0 to 11: short slices are what most of the time goes into.
 */
void sched_seed(unsigned int seed, unsigned int slice);
/* Another thread may go on here. @where: a static string. Only if sched_on(). */
void sched_point(const char *where);
/* The caller can't go on until another thread has done something. Only if sched_on(). */
void sched_wait(void);
/* How many instructions the guest may run until the next point, at most @most. */
s64 sched_slice(s64 most);
void sched_after_fork(void);

/* pthread_mutex_lock() of what may be held over a point. */
void hw_mutex_lock(pthread_mutex_t *m);

#endif
