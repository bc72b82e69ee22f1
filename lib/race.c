// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs a body under seed after seed, and says under which one it failed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "race.h"

/* A quick run takes one in so many of a case's seeds, and begins where the run's own seed says. */
#define QUICK_SHARE 12
#define MANY_SEEDS  100000
#define FREE_SHARE  10 /* where threads run freely, one run for so many seeds */

static struct {
	const char *name;
	unsigned int seed;
	bool failed;
} running;

static void set_seed(unsigned int seed)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", seed);
	if (!engine_param_set("interleave", text))
		test_error("parameter interleave=%u is refused", seed);
}

/* MMUSCOPE_CONFIG without a seed. */
static const char *other_params(char *buf, size_t size)
{
	const char *config = getenv("MMUSCOPE_CONFIG");
	size_t n = 0;

	buf[0] = 0;
	while (config && *config && n < size) {
		size_t len = strcspn(config, ",");

		if (strncmp(config, "interleave=", 11))
			n += snprintf(buf + n, size - n, "%.*s,", (int)len, config);
		config += len;
		config += *config == ',';
	}
	return buf;
}

static void name_seed(void *arg)
{
	char buf[256];

	(void)arg;
	running.failed = true;
	test_diag(
		"seed %u, order %#lx; rerun: MMUSCOPE_ENGINE=intree MMUSCOPE_CONFIG=%sinterleave=%u"
		" %s -- '%s'",
		running.seed, engine()->turns->order(), other_params(buf, sizeof(buf)),
		running.seed, program_invocation_name, running.name);
}

/* A crash has a seed too. The handler is gone by then, and what brought it here happens again. */
static void on_crash(int sig)
{
	(void)sig;
	name_seed(NULL);
}

static void watch_crashes(bool on)
{
	struct sigaction sa = {.sa_handler = on ? on_crash : SIG_DFL, .sa_flags = SA_RESETHAND};

	sigaction(SIGABRT, &sa, NULL);
#ifndef __SANITIZE_ADDRESS__
	sigaction(SIGSEGV, &sa, NULL);
#endif
}

void race(struct test *t, unsigned int seeds, void (*body)(struct test *t, unsigned int seed))
{
	const char *wanted = getenv("MMUSCOPE_SEEDS");
	unsigned int seed, first = 1, last;
	char value[16];

	if (!engine()->turns)
		seeds = (seeds + FREE_SHARE - 1) / FREE_SHARE;
	if (wanted && atoi(wanted) > 0) {
		seeds = atoi(wanted);
	} else if (engine()->turns && !(wanted && !strcmp(wanted, "full"))) {
		seeds = (seeds + QUICK_SHARE - 1) / QUICK_SHARE;
		first += t->seed % MANY_SEEDS;
	}
	last = first + seeds - 1;
	if (!engine()->turns || getenv("MMUSCOPE_FREE")) {
		for (seed = 1; seed <= seeds; seed++)
			body(t, seed);
		return;
	}
	if (engine_param("interleave", value, sizeof(value)) && strcmp(value, "0"))
		first = last = strtoul(value, NULL, 10);
	running.name = t->full_name;
	running.failed = false;
	test_on_failure(name_seed, NULL);
	watch_crashes(true);
	for (seed = first; seed <= last && !running.failed; seed++) {
		running.seed = seed;
		set_seed(seed);
		body(t, seed);
	}
	watch_crashes(false);
	test_on_failure_drop(name_seed, NULL);
	set_seed(first == last ? first : 0);
}

static u32 *word_at(struct vm *vm, gpa_t word)
{
	return vm_hva(vm, word);
}

void race_signal(struct vm *vm, gpa_t word, u32 value)
{
	__atomic_store_n(word_at(vm, word), value, __ATOMIC_RELEASE);
}

void race_wait(struct vm *vm, gpa_t word, u32 value)
{
	u32 *at = word_at(vm, word), i;

	while (__atomic_load_n(at, __ATOMIC_ACQUIRE) < value) {
		for (i = 0; i < vm->nr_vcpus; i++)
			if (vm->vcpu[i]->stalled)
				test_fail("word %#lx does not come to %u", word, value);
		vcpu_relax();
	}
}

/* The end of the image's own region, which nothing else uses. */
static gpa_t ready_word(const struct vcpu *v)
{
	return VM_SYSTEM_SIZE - SZ_4K + v->id * 64;
}

void race_ready(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		race_signal(vm, ready_word(vm->vcpu[i]), 0);
		op_signal(vm->vcpu[i], ready_word(vm->vcpu[i]), 1);
	}
}

/* Whether its batch has such a place. */
static bool has_ready(struct vcpu *v)
{
	u32 i;

	for (i = 0; i < v->mailbox->nr_ops; i++)
		if (v->mailbox->ops[i].addr == ready_word(v))
			return true;
	return false;
}

void race_start(struct vm *vm, unsigned int seed)
{
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++)
		vcpu_start(vm->vcpu[i]);
	for (i = 0; i < vm->nr_vcpus; i++)
		if (has_ready(vm->vcpu[i]))
			race_wait(vm, ready_word(vm->vcpu[i]), 1);
	for (i = 0; i < seed % 12; i++)
		vcpu_relax();
}

void race_join(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++)
		vcpu_join(vm->vcpu[i]);
}

void race_warm(struct vm *vm, gva_t gva)
{
	u32 i, k;

	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		op_clear(v);
		for (k = 0; k < 100; k++)
			op_add(v, .kind = gva ? AGENT_READ : AGENT_NOP, .addr = gva, .size = 4);
		vcpu_exec(v);
		op_clear(v);
	}
}
