// SPDX-License-Identifier: GPL-2.0-only
/*
 * Expectations hold when they should: over signs, widths, bit-fields, pointers, and
 * with each operand evaluated once. That they fail when they should, and what they
 * print then, is seen from outside in test_framework.c.
 */
#include "tests/unit/test_framework.h"

struct opaque;

static struct {
	unsigned int three : 2;
	signed int minus : 3;
	uint64_t wide : 40;
} bits = {.three = 3, .minus = -2, .wide = 1ull << 39};

TEST(values, .what = "comparison is by mathematical value, whatever the types")
{
	unsigned char byte = 255;
	signed char small = -1;
	uint32_t u32 = UINT32_MAX;
	uint64_t big = UINT64_MAX;
	struct opaque *nowhere = NULL;
	const char *text = "x";

	EXPECT_EQ(byte, 255);
	EXPECT_EQ(small, -1);
	EXPECT_NE(small, byte);
	EXPECT_NE(small, u32);
	EXPECT_NE(-1, big);
	EXPECT_LT(-1, 0u);
	EXPECT_LT(INT64_MIN, -1);
	EXPECT_LT(small, big);
	EXPECT_GT(big, INT64_MAX);
	EXPECT_GE(u32, u32);
	EXPECT_LE(INT64_MIN, INT64_MIN);
	EXPECT_EQ(bits.three, 3);
	EXPECT_EQ(bits.minus, -2);
	EXPECT_EQ(bits.wide, 1ull << 39);
	EXPECT_EQ(true, 1);
	EXPECT_EQ(nowhere, NULL);
	EXPECT_NE(text, NULL);
	EXPECT_STREQ(text, "x");
	EXPECT_STREQ(NULL, NULL);
}

TEST(truth, .what = "each operator over each order of signed and unsigned values")
{
	static const struct {
		struct test_val a, b;
		int order; /* of a to b: -1, 0, 1 */
	} rows[] = {
		{{0, true}, {0, false}, 0},
		{{1, true}, {1, false}, 0},
		{{UINT64_MAX, true}, {UINT64_MAX, true}, 0},
		{{UINT64_MAX, true}, {UINT64_MAX, false}, -1},
		{{UINT64_MAX, true}, {0, false}, -1},
		{{UINT64_MAX - 1, true}, {UINT64_MAX, true}, -1},
		{{1ull << 63, true}, {UINT64_MAX, true}, -1},
		{{1ull << 63, false}, {1, true}, 1},
		{{5, false}, {4, true}, 1},
	};
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct test_val a = rows[i].a, b = rows[i].b;
		int c = rows[i].order;

		EXPECT_EQ(test_compare_(TEST_OP_EQ, a, b), c == 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_NE, a, b), c != 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_LT, a, b), c < 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_LE, a, b), c <= 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_GT, a, b), c > 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_GE, a, b), c >= 0, "row %u", i);
		EXPECT_EQ(test_compare_(TEST_OP_GT, b, a), c < 0, "row %u, the other way", i);
	}
}

TEST(once, .what = "operands are evaluated once, in order")
{
	int calls = 0;

	EXPECT_EQ(++calls, 1);
	EXPECT_LT(calls++, 2);
	EXPECT(calls++ == 2);
	EXPECT_STREQ(calls++ == 3 ? "x" : "y", "x");
	EXPECT_EQ(calls, 4);
}

TEST(dangling_else, .what = "an expectation is one statement")
{
	bool other = false;

	if (other)
		EXPECT(false);
	else
		other = true;
	if (!other)
		EXPECT_EQ(1, 2);
	else
		EXPECT(other);
}

TEST(random, .what = "the generator is splitmix64: values from its definition, state 0")
{
	struct test mine = {};

	EXPECT_EQ(test_rand(&mine), 0xe220a8397b1dcdafull);
	EXPECT_EQ(test_rand(&mine), 0x6e789e6aa1b965f4ull);
	EXPECT_EQ(test_rand(&mine), 0x06c45d188009454full);
}

TEST(modes, .modes = MODES_ALL,
     .what = "a variant for each paging mode, in the name and in t->mode")
{
	static int seen;
	char name[64];

	/* each variant is a process of its own: the counter never gets beyond one */
	EXPECT_EQ(++seen, 1);
	ASSERT(t->mode);
	snprintf(name, sizeof(name), "unit/test_framework_expect.modes.%s", t->mode->name);
	EXPECT_STREQ(t->full_name, name);
	EXPECT_EQ(t->variant, NULL);
	EXPECT_STREQ(t->tc->name, "modes");
}
