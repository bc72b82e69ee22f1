// SPDX-License-Identifier: GPL-2.0-only
/*
 * The seeded scheduler: the same seed gives the same order whatever the threads' own pace,
 * other seeds give others; locks that are taken over a point are passed on; who waits is
 * left out until there is something to see.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/test.h"
#include "x86/kvm/hw_priv.h"
#include "x86/kvm/sched.h"

#define THREADS 3
#define STEPS	40

struct race {
	pthread_mutex_t lock;
	char order[THREADS * STEPS + 1]; /* who did each step */
	unsigned int done;
	bool slow; /* the threads don't run as fast as they could */
	int go;
};

struct runner {
	struct race *race;
	pthread_t thread;
	int number, index;
};

static void *run(void *arg)
{
	struct runner *r = arg;
	struct race *race = r->race;

	if (race->slow)
		usleep(r->index * 3000);
	intree_thread_begin(r->number);
	while (!race->go)
		intree_relax();
	for (int i = 0; i < STEPS; i++) {
		hw_mutex_lock(&race->lock);
		race->order[race->done++] = (char)('a' + r->index);
		hw_yield_point(NULL, "locked");
		pthread_mutex_unlock(&race->lock);
		if (race->slow && i % 16 == r->index)
			usleep(500);
		hw_yield_point(NULL, "unlocked");
	}
	intree_thread_end();
	return NULL;
}

static u64 order(unsigned int seed, bool slow, char *text)
{
	struct race race = {.lock = PTHREAD_MUTEX_INITIALIZER, .slow = slow};
	struct runner r[THREADS];
	char config[32];
	int i;

	snprintf(config, sizeof(config), "interleave=%u", seed);
	ASSERT_EQ(intree_config(config), NULL);
	for (i = 0; i < THREADS; i++) {
		r[i] = (struct runner){.race = &race, .index = i, .number = intree_thread_new()};
		EXPECT_NE(r[i].number, 0, "thread %d has a number", i);
		if (pthread_create(&r[i].thread, NULL, run, &r[i]))
			test_error("no thread");
	}
	hw_yield_point(NULL, "before");
	race.go = 1;
	for (i = 0; i < THREADS; i++) {
		intree_thread_wait(r[i].number);
		pthread_join(r[i].thread, NULL);
	}
	EXPECT_EQ(race.done, THREADS * STEPS);
	EXPECT(!sched_on(), "turns are over once all were waited for");
	memcpy(text, race.order, sizeof(race.order));
	return intree_order();
}

TEST(same_seed, .what = "a seed gives one order, at whatever pace threads come")
{
	char first[THREADS * STEPS + 1], text[THREADS * STEPS + 1];
	unsigned int seed;
	u64 hash;

	for (seed = 1; seed <= 20; seed++) {
		hash = order(seed, false, first);
		EXPECT_EQ(order(seed, true, text), hash, "seed %u", seed);
		EXPECT_STREQ(text, first, "seed %u", seed);
		EXPECT_EQ(order(seed, false, text), hash, "seed %u", seed);
		EXPECT_STREQ(text, first, "seed %u", seed);
	}
}

TEST(other_seeds, .what = "other seeds give other orders")
{
	char text[100][THREADS * STEPS + 1];
	u64 hash[100];
	int i, k;

	for (i = 0; i < 100; i++) {
		hash[i] = order(1 + i, false, text[i]);
		for (k = 0; k < i; k++) {
			EXPECT_NE(hash[k], hash[i], "seeds %d and %d", 1 + k, 1 + i);
			EXPECT(strcmp(text[k], text[i]), "seeds %d and %d: who did what when",
			       1 + k, 1 + i);
		}
	}
}

static void *end_at_once(void *arg)
{
	intree_thread_begin(*(int *)arg);
	intree_thread_end();
	return NULL;
}

/* The longest of many turns that a guest gets under @seed. */
static s64 longest_slice(unsigned int seed, unsigned int slice)
{
	pthread_t thread;
	char config[64];
	s64 longest = 0, n;
	int number, i;

	snprintf(config, sizeof(config), "interleave_slice=%u,interleave=%u", slice, seed);
	ASSERT_EQ(intree_config(config), NULL);
	number = intree_thread_new();
	if (pthread_create(&thread, NULL, end_at_once, &number))
		test_error("no thread");
	for (i = 0; i < 500; i++) {
		n = sched_slice(1 << 20);
		EXPECT(n >= 1 && n <= 2048, "seed %u: %ld instructions", seed, (long)n);
		longest = n > longest ? n : longest;
	}
	intree_thread_wait(number);
	pthread_join(thread, NULL);
	ASSERT_EQ(intree_config("interleave_slice=0,interleave=0"), NULL);
	return longest;
}

TEST(slices,
     .what = "interleave_slice makes short turns of a guest longer, and not all of them long")
{
	unsigned int seed, single = 0;

	for (seed = 1; seed <= 40; seed++) {
		single += longest_slice(seed, 0) == 1;
		EXPECT(longest_slice(seed, 6) > 32, "seed %u: longer than before", seed);
		EXPECT(longest_slice(seed, 11) > 1024, "seed %u: as long as can be", seed);
	}
	EXPECT(single > 0 && single < 40, "%u seeds of 40 have single steps", single);
}

TEST(off, .what = "without a seed nobody takes part")
{
	ASSERT_EQ(intree_config("interleave=0"), NULL);
	EXPECT_EQ(intree_thread_new(), 0);
	EXPECT(!sched_on(), "the caller takes no part");
	intree_thread_begin(0);
	intree_relax();
	intree_thread_end();
	intree_thread_wait(0);
	EXPECT(!sched_on(), "still not");
}
