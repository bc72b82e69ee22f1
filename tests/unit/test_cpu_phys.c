// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's physical memory: each size at each alignment, both ends of
 * the arena, compare-and-exchange, and that aligned accesses are not torn.
 */
#include <pthread.h>
#include <string.h>

#include "test.h"
#include "x86/cpu/phys.h"

static struct phys_arena arena;

TEST(sizes, .what = "what is written is read, for each size and alignment, and nothing beside it")
{
	u8 in[64], out[64], around[3 * 64];
	unsigned int size, at, i;

	ASSERT(phys_arena_init(&arena, 2 * SZ_4K));
	for (i = 0; i < sizeof(in); i++)
		in[i] = i + 1;
	for (size = 1; size <= 64; size++)
		for (at = 64; at < 64 + 16; at++) {
			memset(arena.base, 0xee, sizeof(around));
			memset(around, 0xee, sizeof(around));
			memcpy(around + at, in, size);
			ASSERT(phys_write(&arena.phys, at, in, size));
			EXPECT(!memcmp(arena.base, around, sizeof(around)), "size %u at %u", size,
			       at);
			memset(out, 0, sizeof(out));
			ASSERT(phys_read(&arena.phys, at, out, size));
			EXPECT(!memcmp(out, in, size), "size %u at %u", size, at);
			EXPECT(size == 64 || out[size] == 0, "size %u at %u", size, at);
		}
	phys_arena_free(&arena);
}

TEST(ends, .what = "the last byte is there, the next is not, for each operation")
{
	u64 v64 = 7;
	u32 v32 = 7;
	u8 byte = 1;

	ASSERT(phys_arena_init(&arena, 2 * SZ_4K));
	EXPECT(phys_write(&arena.phys, 2 * SZ_4K - 1, &byte, 1));
	EXPECT_EQ(arena.base[2 * SZ_4K - 1], 1);
	EXPECT(!phys_write(&arena.phys, 2 * SZ_4K, &byte, 1));
	EXPECT(!phys_read(&arena.phys, 2 * SZ_4K, &byte, 1));
	EXPECT(!phys_read(&arena.phys, ~0ull, &byte, 1));
	EXPECT(!phys_cmpxchg64(&arena.phys, 2 * SZ_4K, &v64, 1));
	EXPECT(!phys_cmpxchg32(&arena.phys, 2 * SZ_4K, &v32, 1));
	phys_arena_free(&arena);
}

TEST(cmpxchg, .what = "it exchanges what was expected only, and gives what was found")
{
	u64 *at64, v64 = 5;
	u32 *at32, v32 = 5;

	ASSERT(phys_arena_init(&arena, SZ_4K));
	at64 = (u64 *)arena.base;
	at32 = (u32 *)(arena.base + 12);
	*at64 = 0x100000005;
	EXPECT(phys_cmpxchg64(&arena.phys, 0, &v64, 9));
	EXPECT_EQ(v64, 0x100000005);
	EXPECT_EQ(*at64, 0x100000005);
	EXPECT(phys_cmpxchg64(&arena.phys, 0, &v64, 9));
	EXPECT_EQ(v64, 0x100000005);
	EXPECT_EQ(*at64, 9);
	at32[1] = 6;
	EXPECT(phys_cmpxchg32(&arena.phys, 12, &v32, 9));
	EXPECT_EQ(v32, 0);
	EXPECT(phys_cmpxchg32(&arena.phys, 12, &v32, 9));
	EXPECT_EQ(at32[0], 9);
	EXPECT_EQ(at32[1], 6);
	phys_arena_free(&arena);
}

enum {
	ROUNDS = 50000
};
static const unsigned int widths[] = {1, 2, 4, 8};

static void *write_patterns(void *unused)
{
	unsigned int i, w;
	u64 v;

	for (i = 0; i < ROUNDS; i++)
		for (w = 0; w < ARRAY_LEN(widths); w++) {
			v = i & 1 ? ~0ull : 0;
			phys_write(&arena.phys, 8 * w, &v, widths[w]);
		}
	return unused;
}

TEST(torn, .what = "an aligned access of 1, 2, 4 or 8 bytes sees all of a write or nothing")
{
	unsigned int i, w, torn = 0;
	pthread_t writer;
	u64 v;

	ASSERT(phys_arena_init(&arena, SZ_4K));
	ASSERT_EQ(pthread_create(&writer, NULL, write_patterns, NULL), 0);
	for (i = 0; i < ROUNDS; i++)
		for (w = 0; w < ARRAY_LEN(widths); w++) {
			v = 0;
			phys_read(&arena.phys, 8 * w, &v, widths[w]);
			torn += v != 0 && v != ~0ull >> (64 - 8 * widths[w]);
		}
	pthread_join(writer, NULL);
	EXPECT_EQ(torn, 0, "torn reads");
	phys_arena_free(&arena);
}
