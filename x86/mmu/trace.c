// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of the MMU: a ring per VM, which any thread adds to without a lock, its readers,
 * the text form, and the static probes, which exist whether there is a ring or not.
 *
 * An entry of the ring is owned by who put BUSY into its seq, and is valid while seq is
 * the number of the event in it. A writer that finds the ring a whole round ahead of itself
 * gives its event up rather than wait.
 */
#include "x86/mmu/internal.h"
#include "x86/mmu/text.h"
#include "x86/mmu/trace.h"

#ifndef __has_include
#define __has_include(x) 0
#endif
#if __has_include(<sys/sdt.h>)
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#else
#define STAP_PROBE6(provider, name, a, b, c, d, e, f) ((void)0)
#endif

#define DEFINE_SEMAPHORE(name, args) \
	unsigned short mmuscope_##name##_semaphore __attribute__((used, section(".probes")));
MMU_EVENTS(DEFINE_SEMAPHORE)

#define BUSY (~0ull)

struct mmu_trace {
	u64 mask;
	u64 last; /* seq of the latest event */
	struct mmu_trace_event ring[];
};

/* --- writing -------------------------------------------------------------------------- */

static void append(struct mmu_trace *t, enum mmu_event_id id, const u64 args[6])
{
	u64 seq = __atomic_add_fetch(&t->last, 1, __ATOMIC_RELAXED);
	struct mmu_trace_event *e = &t->ring[seq & t->mask];
	u64 old = __atomic_exchange_n(&e->seq, BUSY, __ATOMIC_ACQUIRE);
	int i;

	if (old == BUSY)
		return;
	if (old > seq) {
		__atomic_store_n(&e->seq, old, __ATOMIC_RELEASE);
		return;
	}
	/* Each is a release, so that nobody sees part of the new event under the old number. */
	__atomic_store_n(&e->ns, hw_now(), __ATOMIC_RELEASE);
	__atomic_store_n(&e->id, id, __ATOMIC_RELEASE);
	for (i = 0; i < 6; i++)
		__atomic_store_n(&e->args[i], args[i], __ATOMIC_RELEASE);
	__atomic_store_n(&e->seq, seq, __ATOMIC_RELEASE);
}

static void probe(enum mmu_event_id id, const u64 a[6])
{
	(void)a;
	switch (id) {
#define PROBE(name, args)                                                        \
	case MMU_EV_##name:                                                      \
		STAP_PROBE6(mmuscope, name, a[0], a[1], a[2], a[3], a[4], a[5]); \
		break;
		MMU_EVENTS(PROBE)
	default:
		break;
	}
}

void mmu_trace_emit(struct kvm *kvm, enum mmu_event_id id, const u64 args[6])
{
	struct mmu_trace *t;

	probe(id, args);
	hw_rcu_read_lock();
	t = __atomic_load_n(&kvm->trace, __ATOMIC_ACQUIRE);
	if (t != NULL)
		append(t, id, args);
	hw_rcu_read_unlock();
}

/* --- starting and stopping ------------------------------------------------------------------ */

int mmu_trace_start(struct kvm *kvm, size_t events)
{
	struct mmu_trace *t;
	u64 size = 2;

	while (size < events)
		size *= 2;
	t = hw_alloc(sizeof(*t) + size * sizeof(t->ring[0]));
	if (t == NULL)
		return -ENOMEM_;
	t->mask = size - 1;
	mmu_trace_stop(kvm);
	__atomic_store_n(&kvm->trace, t, __ATOMIC_RELEASE);
	return 0;
}

void mmu_trace_stop(struct kvm *kvm)
{
	struct mmu_trace *t = __atomic_exchange_n(&kvm->trace, NULL, __ATOMIC_ACQ_REL);

	if (t != NULL)
		hw_rcu_defer(kvm, hw_free, t);
}

/* --- reading ------------------------------------------------------------------------------ */

/* Copies event @seq. False: it isn't there; *@gone: it has been overwritten. */
static bool copy_event(struct mmu_trace *t, u64 seq, struct mmu_trace_event *out, bool *gone)
{
	const struct mmu_trace_event *e = &t->ring[seq & t->mask];
	u64 before = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
	int i;

	*gone = before != BUSY && before > seq;
	if (before != seq)
		return false;
	out->seq = seq;
	out->ns = __atomic_load_n(&e->ns, __ATOMIC_ACQUIRE);
	out->id = __atomic_load_n(&e->id, __ATOMIC_ACQUIRE);
	for (i = 0; i < 6; i++)
		out->args[i] = __atomic_load_n(&e->args[i], __ATOMIC_ACQUIRE);
	*gone = __atomic_load_n(&e->seq, __ATOMIC_RELAXED) != seq;
	return !*gone;
}

size_t mmu_trace_read(struct kvm *kvm, u64 *pos, struct mmu_trace_event *events, size_t max)
{
	struct mmu_trace *t;
	size_t n = 0;

	hw_rcu_read_lock();
	t = __atomic_load_n(&kvm->trace, __ATOMIC_ACQUIRE);
	while (t != NULL && n < max) {
		u64 last = __atomic_load_n(&t->last, __ATOMIC_ACQUIRE);
		bool gone;

		if (*pos >= last)
			break;
		if (last - *pos > t->mask + 1)
			*pos = last - (t->mask + 1);
		if (copy_event(t, *pos + 1, &events[n], &gone))
			n++;
		else if (!gone)
			break;
		(*pos)++;
	}
	hw_rcu_read_unlock();
	return n;
}

/* --- names and text ----------------------------------------------------------------------- */

static const struct {
	const char *name, *args;
} events[MMU_EV_COUNT] = {
#define NAMES(name, args) [MMU_EV_##name] = {#name, args},
	MMU_EVENTS(NAMES)};

static const char *const stage_names[] = {
#define STAGE_NAME(id, name) [id] = name,
	MMU_FAULT_STAGES(STAGE_NAME)};

/* Whether the word that begins at @s and ends at a blank or the end is @word. */
static bool word_is(const char *s, const char *word)
{
	while (*word && *s == *word) {
		s++;
		word++;
	}
	return !*word && (*s == ' ' || !*s);
}

static const char *next_word(const char *s)
{
	while (*s && *s != ' ')
		s++;
	return *s ? s + 1 : s;
}

const char *mmu_event_name(enum mmu_event_id id)
{
	return id < MMU_EV_COUNT ? events[id].name : "unknown";
}

int mmu_event_arg(enum mmu_event_id id, const char *name)
{
	const char *s = id < MMU_EV_COUNT ? events[id].args : "";
	int i;

	for (i = 0; *s; i++, s = next_word(s))
		if (word_is(s, name))
			return i;
	return -1;
}

static bool is_decimal(const char *arg)
{
	static const char *const names[] = {
		"level",	  "created",	   "root_count", "index",   "nr",
		"vcpu",		  "ret",	   "errno",	 "as_id",   "ns",
		"mmu_used_pages", "mmu_valid_gen", "gen",	 "kvm_gen", "spte_gen",
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		if (word_is(arg, names[i]))
			return true;
	return false;
}

static void text_arg(struct text *t, const char *arg, u64 value)
{
	if (word_is(arg, "role"))
		text_role(t, (union kvm_mmu_page_role){.word = value});
	else if (word_is(arg, "stage") && value < ARRAY_LEN(stage_names))
		text_str(t, stage_names[value]);
	else if (is_decimal(arg))
		text_printf(t, "%ld", (long)value);
	else
		text_printf(t, "%lx", value);
}

size_t mmu_event_text(const struct mmu_trace_event *e, char *buf, size_t size)
{
	const char *arg, *c;
	struct text t;
	int i;

	text_init(&t, buf, size);
	text_printf(&t, "%s:", mmu_event_name(e->id));
	arg = e->id < MMU_EV_COUNT ? events[e->id].args : "";
	for (i = 0; *arg; i++, arg = next_word(arg)) {
		text_str(&t, " ");
		for (c = arg; *c && *c != ' '; c++)
			text_printf(&t, "%c", *c);
		text_str(&t, "=");
		text_arg(&t, arg, e->args[i]);
	}
	return t.len;
}
