// SPDX-License-Identifier: GPL-2.0-only
/*
 * The seeded scheduler; its rules are in sched.h. All state belongs to whoever has the
 * baton. Passing it is a release and an acquisition, so no two threads that take part
 * look at anything at the same time.
 */
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "x86/cpu/wait.h"
#include "x86/kvm/hw_priv.h"
#include "x86/kvm/sched.h"

#define MAX_THREADS 64
/* Without progress of anybody for so long, nobody will make any. */
#define STUCK_NS 5000000000ull

struct sched_thread {
	int go;	       /* futex: it has been given the baton */
	bool ended;    /* or not announced at all */
	bool waiting;  /* can't go on unless points were passed since … */
	u64 seen;      /* … the count was this */
	int awaits;    /* number of the thread whose end it waits for, or -1 */
	u64 asleep_to; /* not chosen before this many points, if there are others */
};

__thread struct sched_thread *sched_self;

static struct {
	unsigned int seed;
	bool open; /* threads take part */
	u64 random, hash, points;
	u64 idle, idle_since;		 /* waits since somebody last got on */
	unsigned int stay, sleep, slice; /* how this seed behaves: see policy() */
	unsigned int least;		 /* slice's, as user space wants it */
	struct sched_thread thread[MAX_THREADS];
	int nr;
	cpu_set_t processors; /* those that the process had before */
	bool print;	      /* MMUSCOPE_TURNS in the environment: each turn, on stderr */
} s;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static u64 draw(void)
{
	u64 z = (s.random += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void note(u64 what)
{
	s.hash = (s.hash ^ what) * 0x100000001b3;
	s.hash ^= s.hash >> 32;
}

static void note_text(const char *text)
{
	for (; *text; text++)
		note(*text);
}

/*
 * Seeds differ in temper, not only in their choices: some change threads at nearly each
 * point, others seldom; some let a thread stand still for long; guests run one instruction
 * at a time, or thousands.
 */
static void policy(void)
{
	s.stay = draw() % 4;
	s.sleep = 2 + draw() % 5;
	s.slice = draw() % 12;
}

void sched_seed(unsigned int seed, unsigned int slice)
{
	pthread_mutex_lock(&opening);
	s.seed = seed;
	s.least = slice;
	s.random = seed;
	s.hash = 0xcbf29ce484222325;
	s.points = 0;
	policy();
	pthread_mutex_unlock(&opening);
}

static void __attribute__((constructor)) look_at_environment(void)
{
	s.print = getenv("MMUSCOPE_TURNS");
}

static void hook(struct kvm *kvm, const char *where)
{
	(void)kvm;
	if (sched_on())
		sched_point(where);
}

static int number(const struct sched_thread *t)
{
	return t - s.thread;
}

/* --- the baton ------------------------------------------------------------------------ */

static void hand_to(struct sched_thread *t)
{
	__atomic_store_n(&t->go, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &t->go, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void await_baton(struct sched_thread *self)
{
	while (!__atomic_load_n(&self->go, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &self->go, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__atomic_store_n(&self->go, 0, __ATOMIC_RELAXED);
}

static bool can_go(const struct sched_thread *t)
{
	if (t->ended || (t->awaits >= 0 && !s.thread[t->awaits].ended))
		return false;
	return !t->waiting || t->seen != s.points;
}

/* One of those that can go on, the ones awake first; NULL: there is none. @but: not that one. */
static struct sched_thread *choose(const struct sched_thread *but)
{
	struct sched_thread *can[MAX_THREADS], *first = NULL;
	unsigned int n = 0;
	int i;

	for (i = 0; i < s.nr; i++) {
		struct sched_thread *t = &s.thread[i];

		if (t == but || !can_go(t))
			continue;
		if (!first || t->asleep_to < first->asleep_to)
			first = t;
		if (t->asleep_to <= s.points)
			can[n++] = t;
	}
	return n ? can[draw() % n] : first;
}

/* @where thread @self is, and who goes on. */
static void pass(struct sched_thread *self, const char *where, struct sched_thread *next)
{
	note(number(next) + 1);
	if (s.print)
		fprintf(stderr, "%lu: thread %d at %s, %d goes on\n", (unsigned long)s.points,
			number(self), where, number(next));
	if (next == self)
		return;
	hand_to(next);
	await_baton(self);
}

void sched_point(const char *where)
{
	struct sched_thread *self = sched_self, *next = NULL;

	note_text(where);
	s.points++;
	s.idle = 0;
	if (!(draw() & ((1u << s.sleep) - 1)))
		self->asleep_to = s.points + (draw() & ((1u << draw() % 9) - 1));
	else if (draw() & ((1u << s.stay) - 1))
		next = self;
	if (!next)
		next = choose(NULL);
	pass(self, where, next ? next : self);
}

/* Only a thread that takes no part can help; or those that do wait for each other. */
static void nobody_can_go(void)
{
	s.points++;
	if (!s.idle++)
		s.idle_since = hw_now();
	else if (s.idle % 4096 == 0 && hw_now() - s.idle_since > STUCK_NS)
		hw_bug(__FILE__, __LINE__, "threads wait for each other");
	sched_yield();
}

void sched_wait(void)
{
	struct sched_thread *self = sched_self, *next;

	self->waiting = true;
	self->seen = s.points;
	next = choose(self);
	if (next)
		pass(self, "a wait", next);
	else
		nobody_can_go();
	self->waiting = false;
}

s64 sched_slice(s64 most)
{
	unsigned int limit = draw() % (s.slice + 1);
	s64 n = 1 + (draw() & ((1ull << (limit < s.least ? s.least : limit)) - 1));

	return n < most ? n : most;
}

void hw_mutex_lock(pthread_mutex_t *m)
{
	if (!sched_on()) {
		pthread_mutex_lock(m);
		return;
	}
	while (pthread_mutex_trylock(m))
		sched_wait();
}

/* --- who takes part ---------------------------------------------------------------------- */

static struct sched_thread *add_thread(void)
{
	struct sched_thread *t;
	int i;

	for (i = 0; i < s.nr && !s.thread[i].ended; i++)
		;
	if (i == MAX_THREADS)
		return NULL;
	if (i == s.nr)
		s.nr++;
	t = &s.thread[i];
	*t = (struct sched_thread){.awaits = -1};
	return t;
}

/*
 * One of them runs at a time, and on one processor handing over costs a fraction of waking another. Threads begin
 * where their maker is.
 */
static void stay_here(void)
{
	cpu_set_t here;
	int cpu = sched_getcpu();

	CPU_ZERO(&s.processors);
	if (cpu < 0 || sched_getaffinity(0, sizeof(s.processors), &s.processors))
		return;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
}

static void stay_no_longer(void)
{
	if (CPU_COUNT(&s.processors))
		sched_setaffinity(0, sizeof(s.processors), &s.processors);
}

int intree_thread_new(void)
{
	struct sched_thread *t;

	if (!sched_on()) {
		pthread_mutex_lock(&opening);
		if (!s.seed || s.open) {
			pthread_mutex_unlock(&opening);
			return 0;
		}
		s.open = true;
		s.nr = 0;
		sched_self = add_thread();
		stay_here();
		__atomic_store_n(&hw_yield_hook, hook, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&opening);
	}
	t = add_thread();
	return t ? number(t) : 0;
}

void intree_thread_begin(int n)
{
	if (!n)
		return;
	sched_self = &s.thread[n];
	await_baton(sched_self);
}

void intree_thread_end(void)
{
	struct sched_thread *self = sched_self, *next;

	if (!self)
		return;
	sched_self = NULL;
	s.points++;
	self->ended = true;
	/* Whoever announced it is there still, at the least. */
	next = choose(NULL);
	MMU_BUG_ON(!next);
	note(number(next) + 1);
	hand_to(next);
}

void intree_thread_wait(int n)
{
	int i, live = 0;

	if (!n || !sched_on())
		return;
	sched_self->awaits = n;
	while (!s.thread[n].ended)
		sched_wait();
	sched_self->awaits = -1;
	for (i = 0; i < s.nr; i++)
		live += !s.thread[i].ended;
	if (live > 1)
		return;
	sched_self = NULL;
	__atomic_store_n(&hw_yield_hook, NULL, __ATOMIC_RELAXED);
	stay_no_longer();
	s.open = false;
}

void intree_relax(void)
{
	static __thread unsigned int spins;

	if (sched_on())
		sched_wait();
	else
		wait_step(&spins);
}

uint64_t intree_order(void)
{
	return s.hash;
}

void sched_after_fork(void)
{
	sched_self = NULL;
	s.open = false;
	hw_yield_hook = NULL;
}
