// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs a body under seed after seed, and says under which one it failed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "race.h"

#define FREE_SHARE 10 /* where threads run freely, one run for so many seeds */

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

void race(struct test *t, unsigned int seeds, void (*body)(struct test *t, unsigned int seed))
{
	unsigned int seed, first = 1, last = seeds;
	char value[16];

	if (!engine()->turns) {
		for (seed = 1; seed <= (seeds + FREE_SHARE - 1) / FREE_SHARE; seed++)
			body(t, seed);
		return;
	}
	if (engine_param("interleave", value, sizeof(value)) && strcmp(value, "0"))
		first = last = strtoul(value, NULL, 10);
	running.name = t->full_name;
	running.failed = false;
	test_on_failure(name_seed, NULL);
	for (seed = first; seed <= last && !running.failed; seed++) {
		running.seed = seed;
		set_seed(seed);
		body(t, seed);
	}
	test_on_failure_drop(name_seed, NULL);
	set_seed(first == last ? first : 0);
}
