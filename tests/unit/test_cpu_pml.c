// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's page-modification log (SDM vol. 3 29.3.6): which accesses are
 * logged, in what order, and what a full log does.
 */
#include "test_cpu_guest.h"
#include "x86/cpu/tlb.h"

#define R ACCESS_READ
#define W ACCESS_WRITE

#define AD   (EPT_A | EPT_D)
#define LAST (PML_ENTRIES - 1)

static struct pml pml;

/* A guest without paging, whose gpas the tests walk directly. */
static void begin(struct guest *g, int leaf)
{
	map_nested(g, NESTED_EPT, 4, leaf);
	map_guest(g, PM_NONE, 0);
	g->nested.ad = true;
	g->nested.pml = &pml;
	memset(&pml, 0xee, sizeof(pml));
	pml.index = LAST;
}

static struct translation go(struct guest *g, gpa_t gpa, enum access_kind kind)
{
	return walk(g->phys, &g->regs, &g->nested, gpa, kind);
}

TEST(order, .what = "each page that becomes dirty, once, from the log's end down")
{
	static const gpa_t gpa[] = {0x5123, 0x4fff, 0x700000, 0x1000};
	struct guest g;
	unsigned int i;

	guest_init(&g);
	begin(&g, 1);
	for (i = 0; i < ARRAY_LEN(gpa); i++) {
		EXPECT_OUTCOME(go(&g, gpa[i], R), WALK_OK, 0, "read");
		EXPECT_EQ(pml.index, LAST - i, "a read makes nothing dirty");
		EXPECT_OUTCOME(go(&g, gpa[i], W), WALK_OK, 0, "write");
		EXPECT_OUTCOME(go(&g, gpa[i] ^ 8, W), WALK_OK, 0, "again");
		EXPECT_EQ(pml.index, LAST - i - 1);
		EXPECT_EQ(pml.entry[LAST - i], gpa[i] & ~0xfffull);
	}
	EXPECT_EQ(pml.entry[pml.index], 0xeeeeeeeeeeeeeeeeull);

	/* In a large page it's the small one that was written which is named. */
	begin(&g, 2);
	go(&g, 0x345678, W);
	go(&g, 0x3fe000, W);
	EXPECT_EQ(pml.index, LAST - 1, "a D bit is set once");
	EXPECT_EQ(pml.entry[LAST], 0x345000);

	/* Neither A alone, nor a write that is refused, nor EPT without D bits. */
	begin(&g, 1);
	set_nested(&g, 0x5000, 1, get_nested(&g, 0x5000, 1) & ~(u64)EPT_W);
	EXPECT_EQ(go(&g, 0x5000, W).outcome, WALK_EPT_VIOLATION);
	g.nested.ad = false;
	EXPECT_OUTCOME(go(&g, 0x6000, W), WALK_OK, 0, "no A and D");
	EXPECT_EQ(pml.index, LAST);
	guest_fini(&g);
}

TEST(tables, .what = "the guest's own tables count as written when they are walked")
{
	struct guest g;
	int level;

	guest_init(&g);
	begin(&g, 1);
	map_guest(&g, PM_LA48, 1);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_OK, 0, "read");
	for (level = 4; level >= 1; level--)
		EXPECT_EQ(pml.entry[LAST - 4 + level], g.table[level], "level %d", level);
	EXPECT_EQ(pml.index, LAST - 4);
	EXPECT_OUTCOME(guest_walk(&g, W), WALK_OK, 0, "write");
	EXPECT_EQ(pml.entry[LAST - 4], GUEST_PAGE);
	EXPECT_EQ(pml.index, LAST - 5);
	guest_fini(&g);
}

TEST(full, .what = "a full log stops what would set A or D before it does, and nothing else")
{
	const gpa_t a = 0x5000, b = 0x6000, far = 0x700000;
	struct translation tr;
	struct guest g;

	guest_init(&g);
	begin(&g, 1);
	pml.index = 0;
	EXPECT_OUTCOME(go(&g, a, W), WALK_OK, 0, "the last entry");
	EXPECT_EQ(pml.index, 0xffff);
	EXPECT_EQ(pml.entry[0], a);
	EXPECT_OUTCOME(go(&g, a, W), WALK_OK, 0, "dirty already");

	tr = go(&g, b + 8, W);
	EXPECT_OUTCOME(tr, WALK_PML_FULL, 0, "to become dirty");
	EXPECT_EQ(tr.gpa, b + 8);
	EXPECT_EQ(get_nested(&g, b, 1) & AD, 0);
	/* Setting A needs no entry, but asks for room all the same: of a page, of a table. */
	EXPECT_OUTCOME(go(&g, b, R), WALK_PML_FULL, 0, "to become accessed");
	EXPECT_OUTCOME(go(&g, far, R), WALK_PML_FULL, 0, "a table");
	EXPECT_EQ(get_nested(&g, far, 2) & AD, 0);
	EXPECT_EQ(pml.index, 0xffff);
	/* A fault that there would be anyway comes first. */
	set_nested(&g, b, 1, get_nested(&g, b, 1) & ~(u64)EPT_W);
	EXPECT_EQ(go(&g, b, W).outcome, WALK_EPT_VIOLATION);
	set_nested(&g, b, 1, get_nested(&g, b, 1) | EPT_W);

	/* With room again the access is made. */
	pml.index = LAST;
	EXPECT_OUTCOME(go(&g, b, W), WALK_OK, 0, "again");
	EXPECT_EQ(get_nested(&g, b, 1) & AD, AD);
	EXPECT_EQ(pml.entry[LAST], b);
	EXPECT_EQ(pml.index, LAST - 1);
	guest_fini(&g);
}

TEST(remembered, .what = "what the TLB has as dirty is not logged again until it is flushed")
{
	struct tlb *tlb = tlb_new();
	struct guest g;

	ASSERT(tlb);
	guest_init(&g);
	begin(&g, 1);
	map_guest(&g, PM_LA48, 1);
	EXPECT_OUTCOME(translate(tlb, g.phys, &g.regs, &g.nested, GVA, W), WALK_OK, 0, "first");
	EXPECT_EQ(pml.index, LAST - 5);
	set_nested(&g, GUEST_PAGE, 1, get_nested(&g, GUEST_PAGE, 1) & ~(u64)EPT_D);
	EXPECT_OUTCOME(translate(tlb, g.phys, &g.regs, &g.nested, GVA, W), WALK_OK, 0, "TLB");
	EXPECT_EQ(pml.index, LAST - 5);
	EXPECT_EQ(get_nested(&g, GUEST_PAGE, 1) & EPT_D, 0);
	tlb_flush_gpa(tlb, g.regs.asid, &g.nested, GUEST_PAGE, GUEST_PAGE + SZ_4K);
	pml.index = 0xffff;
	EXPECT_OUTCOME(translate(tlb, g.phys, &g.regs, &g.nested, GVA, W), WALK_PML_FULL, 0,
		       "full");
	pml.index = LAST;
	EXPECT_OUTCOME(translate(tlb, g.phys, &g.regs, &g.nested, GVA, W), WALK_OK, 0, "flushed");
	EXPECT_EQ(pml.entry[LAST], GUEST_PAGE);
	guest_fini(&g);
	tlb_free(tlb);
}
