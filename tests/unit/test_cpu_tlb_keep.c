// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's TLB beyond flushes: faults that old entries could cause,
 * pages that are smaller here than in the guest's tables, what is not kept at
 * all, many entries at once, and forgetting and prefetching by seed.
 */
#include "test_cpu_tlb.h"

/* Entry of level 1 for the page @n pages behind GVA's. */
static u64 *page_entry(int n)
{
	return (u64 *)guest_hva(&g, g.table[1]) + level_index(g.mode, GVA, 1) + n;
}

TEST(agrees, .what = "the first look gives what a walk gives, the second too, in every mode")
{
	static const struct {
		enum paging_mode_id id;
		int leaf;
	} guests[] = {{PM_LA57, 1}, {PM_LA57, 2}, {PM_LA48, 1}, {PM_LA48, 2}, {PM_PAE, 1},
		      {PM_PAE, 2},  {PM_32, 1},	  {PM_32, 2},	{PM_NONE, 0}};
	struct translation want, got;
	unsigned int i, k, times;
	gva_t gva;

	for (i = 0; i < ARRAY_LEN(guests); i++) {
		for (k = 0; k < ARRAY_LEN(kinds); k++) {
			init(kinds[k], guests[i].id, guests[i].leaf);
			gva = guests[i].id == PM_NONE ? FINAL_GPA : GVA;
			want = walk(g.phys, &g.regs, &g.nested, gva, W);
			for (times = 0; times < 3; times++) {
				got = look(gva, W);
				EXPECT_EQ(got.outcome, WALK_OK);
				EXPECT_EQ(got.gva, want.gva, "guest %u nested %u", i, k);
				EXPECT_EQ(got.gpa, want.gpa, "guest %u nested %u", i, k);
				EXPECT_EQ(got.hpa, want.hpa, "guest %u nested %u", i, k);
				EXPECT_EQ(got.perm, want.perm, "guest %u nested %u", i, k);
				EXPECT_EQ(got.level, want.level, "guest %u nested %u", i, k);
				EXPECT_EQ(got.shift, want.shift, "guest %u nested %u", i, k);
				EXPECT_EQ(got.guest_shift, want.guest_shift, "guest %u", i);
			}
			EXPECT_EQ(tlb_stats(tlb).hits, guests[i].id == PM_NONE ? 0 : 2);
			fini();
		}
	}
}

TEST(upper_half, .what = "addresses of the upper half, and 32 bits of those without long mode")
{
	const gva_t high = 0xffff800000000000ull | GVA;
	struct translation tr;

	init(NESTED_NONE, PM_LA48, 1);
	((u64 *)guest_hva(&g, GUEST_ROOT))[256] = get_entry(&g, 4);
	ASSERT_EQ(look(high, R).hpa, FINAL_GPA);
	*page_entry(0) += MOVED;
	EXPECT_EQ(look(high, R).hpa, FINAL_GPA, "kept");
	tlb_invlpg(tlb, 1, 0, GVA);
	EXPECT_EQ(look(high, R).hpa, FINAL_GPA, "another address dropped");
	tlb_invlpg(tlb, 1, 0, high);
	EXPECT_EQ(look(high, R).hpa, FINAL_GPA + MOVED);
	fini();

	init(NESTED_NONE, PM_PAE, 1);
	tr = look(GVA | 5ull << 32, R);
	EXPECT_EQ(tr.hpa, FINAL_GPA);
	EXPECT_EQ(tr.gva, GVA);
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 1, "the same address");
	fini();
}

TEST(fault_from_table,
     .what = "a fault that comes of an old table is looked into, and not reported")
{
	const gpa_t copy = GUEST_ROOT + 128 * KiB;
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
		memcpy(guest_hva(&g, copy), guest_hva(&g, g.table[1]), SZ_4K);
		g.table[1] = copy;
		set_entry(&g, 2, copy | PTE_P | PTE_W | PTE_U);
		*page_entry(1) = (GUEST_PAGE + MOVED) | PTE_P | PTE_W;
		EXPECT_EQ(look(GVA + SZ_4K, W).gpa, FINAL_GPA + MOVED, "in the new table");
		EXPECT_EQ(tlb_stats(tlb).stale, 1);
		EXPECT_OUTCOME(look(GVA + 2 * SZ_4K, W), WALK_PF, PFERR_W, "really not there");
		fini();
	}
}

TEST(fault_from_nested_table, .what = "the same for old nested tables")
{
	const hpa_t copy = NESTED_ROOT + 2 * MiB;
	unsigned int k;
	hpa_t old;

	for (k = 1; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		*page_entry(1) = (GUEST_PAGE + SZ_4K) | PTE_P;
		ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
		old = get_nested(&g, FINAL_GPA, 2) & PTE_ADDR_MASK;
		memcpy(g.arena.base + copy, g.arena.base + old, SZ_4K);
		set_nested(&g, FINAL_GPA + SZ_4K, 1, 0);
		set_nested(&g, FINAL_GPA, 2, get_nested(&g, FINAL_GPA, 2) + copy - old);
		EXPECT_EQ(look(GVA + SZ_4K, R).outcome, WALK_OK, "nested %u", k);
		EXPECT_EQ(tlb_stats(tlb).stale, 1);
		set_nested(&g, FINAL_GPA + 2 * SZ_4K, 1, 0);
		*page_entry(2) = (GUEST_PAGE + 2 * SZ_4K) | PTE_P;
		EXPECT_NE(look(GVA + 2 * SZ_4K, R).outcome, WALK_OK, "really not there");
		fini();
	}
}

TEST(fault_from_moved_table,
     .what = "where a guest's table is, is remembered, and the guest's fault does not change that")
{
	unsigned int k, times;
	gpa_t table;

	for (k = 1; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
		/* the hypervisor moves the table's frame, in which page 1 is then mapped */
		table = g.table[1];
		memcpy(guest_hva(&g, table + MOVED), guest_hva(&g, table), SZ_4K);
		set_nested(&g, table, 1, get_nested(&g, table, 1) + MOVED);
		g.table[1] += MOVED;
		*page_entry(1) = GUEST_PAGE | PTE_P;
		for (times = 0; times < 2; times++)
			EXPECT_OUTCOME(look(GVA + SZ_4K, R), WALK_PF, 0, "nested %u", k);
		tlb_invlpg(tlb, 1, 0, GVA);
		EXPECT_OUTCOME(look(GVA + SZ_4K, R), WALK_PF, 0, "nested %u", k);
		tlb_flush_gpa(tlb, 1, &g.nested, table, table + SZ_4K);
		EXPECT_OUTCOME(look(GVA + SZ_4K, R), WALK_OK, 0, "nested %u", k);
		fini();
	}
}

TEST(fragments, .what = "INVLPG drops all of a guest's large page, though it is kept in small ones")
{
	static const struct {
		enum paging_mode_id id;
		gva_t first, last, behind; /* in the page, and behind it */
	} rows[] = {{PM_LA48, 0x12200000, 0x123ff000, 0x12400000},
		    {PM_PAE, 0x12200000, 0x123ff000, 0x12400000},
		    {PM_32, 0x12000000, 0x123ff000, 0x12400000}};
	unsigned int i, k;
	gpa_t was;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		for (k = 1; k < ARRAY_LEN(kinds); k++) {
			init(kinds[k], rows[i].id, 2);
			ASSERT_EQ(look(rows[i].first, R).shift, 12);
			was = look(rows[i].last, R).gpa;
			set_entry(&g, 2, get_entry(&g, 2) - 4 * MiB);
			EXPECT_EQ(look(rows[i].last, R).gpa, was, "kept");
			tlb_invlpg(tlb, 1, 0, rows[i].behind);
			EXPECT_EQ(look(rows[i].last, R).gpa, was, "an address behind it");
			tlb_invlpg(tlb, 1, 0, rows[i].first);
			EXPECT_EQ(look(rows[i].last, R).gpa, was - 4 * MiB, "row %u nested %u", i,
				  k);
			fini();
		}
}

TEST(resized, .what = "a large page broken up without a flush: old until flushed, then new")
{
	const gpa_t table = GUEST_ROOT + 128 * KiB;
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 2);
		ASSERT_EQ(look(GVA, W).gpa, GUEST_PAGE + 0x145678);
		set_entry(&g, 2, table | PTE_P | PTE_W | PTE_U);
		g.table[1] = table;
		*page_entry(0) = (GUEST_PAGE + MOVED) | PTE_P;
		EXPECT_EQ(look(GVA, W).gpa, GUEST_PAGE + 0x145678, "nested %u", k);
		tlb_invlpg(tlb, 1, 0, GVA);
		EXPECT_OUTCOME(look(GVA, W), WALK_PF, PFERR_P | PFERR_W, "nested %u", k);
		EXPECT_EQ(look(GVA, R).gpa, FINAL_GPA + MOVED, "nested %u", k);
		fini();
	}
}

TEST(merged, .what = "a small page that becomes part of a large one is gone once it has denied")
{
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		set_entry(&g, 1, GUEST_PAGE | PTE_P);
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA);
		set_entry(&g, 2, (GUEST_PAGE + 2 * MiB) | PTE_P | PTE_W | PTE_PS);
		EXPECT_EQ(look(GVA, R).gpa, FINAL_GPA, "nested %u: kept", k);
		/* drops the table, not the page */
		tlb_invpcid(tlb, 1, INVPCID_ADDR, 0, GVA + SZ_4K);
		EXPECT_EQ(look(GVA, R).gpa, FINAL_GPA, "nested %u: kept", k);
		EXPECT_EQ(look(GVA, W).gpa, GUEST_PAGE + 2 * MiB + 0x145678, "nested %u", k);
		EXPECT_EQ(look(GVA, R).gpa, GUEST_PAGE + 2 * MiB + 0x145678, "nested %u", k);
		fini();
	}
}

TEST(fault_drops_all,
     .what = "a fault drops each translation of its address, of any size, global too")
{
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		/* a small page, and a large one around it that a neighbour brought in */
		init(kinds[k], PM_LA48, 1);
		if (k)
			map_nested(&g, kinds[k], 4, 2);
		g.regs.cr4 |= CR4_PCIDE;
		g.regs.cr3 |= 6;
		set_entry(&g, 1, GUEST_PAGE | PTE_P);
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA);
		set_entry(&g, 2, (GUEST_PAGE + 2 * MiB) | PTE_P | PTE_PS);
		tlb_invpcid(tlb, 1, INVPCID_ADDR, 6, GVA + SZ_4K);
		ASSERT_EQ(look(GVA + SZ_4K, R).guest_shift, 21);
		set_entry(&g, 2, 0);
		EXPECT_EQ(look(GVA, R).gpa, FINAL_GPA, "the small one");
		EXPECT_OUTCOME(look(GVA, W), WALK_PF, PFERR_W, "nested %u", k);
		EXPECT_OUTCOME(look(GVA, R), WALK_PF, 0, "nested %u", k);
		fini();

		/* this PCID's own, and a global one that another brought in */
		init(kinds[k], PM_LA48, 1);
		g.regs.cr4 |= CR4_PCIDE | CR4_PGE;
		set_entry(&g, 1, GUEST_PAGE | PTE_P);
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA);
		set_entry(&g, 1, (GUEST_PAGE + MOVED) | PTE_P | PTE_G);
		g.regs.cr3 |= 6;
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA + MOVED);
		g.regs.cr3 &= ~CR3_PCID_MASK;
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA);
		set_entry(&g, 1, 0);
		EXPECT_OUTCOME(look(GVA, W), WALK_PF, PFERR_W, "nested %u", k);
		EXPECT_OUTCOME(look(GVA, R), WALK_PF, 0, "nested %u", k);
		fini();
	}
}

TEST(unpaged, .what = "without paging no linear translation is kept")
{
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		g.regs.cr0 &= ~CR0_PG;
		ASSERT_EQ(look(FINAL_GPA, W).gpa, FINAL_GPA);
		g.regs.cr0 |= CR0_PG;
		EXPECT_OUTCOME(look(FINAL_GPA, R), WALK_PF, 0, "nested %u", k);
		ASSERT_EQ(look(GVA, R).gpa, FINAL_GPA);
		g.regs.cr0 &= ~CR0_PG;
		EXPECT_EQ(look(GVA & 0xffffff, R).gpa, GVA & 0xffffff, "nested %u", k);
		fini();
	}
}

TEST(global, .what = "a global translation serves every PCID, while PGE is on")
{
	init(NESTED_NONE, PM_LA48, 1);
	g.regs.cr4 |= CR4_PGE | CR4_PCIDE;
	set_entry(&g, 1, get_entry(&g, 1) | PTE_G);
	look(GVA, R);
	g.regs.cr3 |= 9;
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 1, "another PCID");
	g.regs.asid = 2;
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 1, "another ASID");
	g.regs.asid = 1;
	g.regs.cr4 &= ~CR4_PGE;
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 1, "PGE off");
	fini();

	init(NESTED_NONE, PM_LA48, 1);
	g.regs.cr4 |= CR4_PCIDE;
	look(GVA, R);
	g.regs.cr3 |= 9;
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 0, "not global: another PCID");
	g.regs.cr4 &= ~CR4_PCIDE;
	look(GVA, R);
	EXPECT_EQ(tlb_stats(tlb).hits, 1, "without PCIDs it is 0, whatever CR3 has");
	fini();
}

TEST(ept_pointers,
     .what = "with EPT translations are by pointer; with NPT a new root changes nothing")
{
	const hpa_t copy = NESTED_ROOT + 4 * MiB;
	unsigned int k;

	for (k = 1; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		ASSERT_EQ(look(GVA, R).hpa, GUEST_BASE + FINAL_GPA);
		memcpy(g.arena.base + copy, g.arena.base + NESTED_ROOT, SZ_4K);
		g.nested.root = copy;
		set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) + MOVED);
		EXPECT_EQ(look(GVA, R).hpa,
			  GUEST_BASE + FINAL_GPA + (kinds[k] == NESTED_EPT ? MOVED : 0));
		g.nested.root = NESTED_ROOT;
		EXPECT_EQ(look(GVA, R).hpa, GUEST_BASE + FINAL_GPA, "the first is still there");
		/* guest-physical translations: Intel's serve all VPIDs, AMD's one ASID */
		g.regs.asid = 2;
		EXPECT_EQ(look(GVA, R).hpa,
			  GUEST_BASE + FINAL_GPA + (kinds[k] == NESTED_EPT ? 0 : MOVED));
		fini();
	}
}

static u64 generation(void)
{
	return tlb_generations(tlb)[GVA / SZ_4K % TLB_GENERATIONS];
}

TEST(generation, .what = "hits leave the generation alone, whatever drops something changes it")
{
	u64 before, entries;

	init(NESTED_NPT, PM_LA48, 1);
	look(GVA, R);
	before = generation();
	entries = tlb_stats(tlb).entries;
	look(GVA, R);
	tlb_invlpg(tlb, 2, 0, GVA);
	EXPECT_EQ(generation(), before);
	look(GVA, W);
	EXPECT_NE(generation(), before, "replaced, with D set");
	EXPECT_EQ(tlb_stats(tlb).entries, entries, "replaced, not added");
	before = generation();
	tlb_invlpg(tlb, 1, 0, GVA);
	EXPECT_NE(generation(), before, "dropped");
	fini();
}

TEST(many, .what = "eight PCIDs with 512 pages each: all kept, and dropped by PCID and by page")
{
	int pcid, page, bad = 0;
	gva_t base = GVA & ~(SZ_2M - 1);

	init(NESTED_NPT, PM_LA48, 1);
	g.regs.cr4 |= CR4_PCIDE;
	for (page = 0; page < 512; page++)
		((u64 *)guest_hva(&g, g.table[1]))[page] =
			(GUEST_PAGE + page * SZ_4K) | PTE_P | PTE_W;
	for (pcid = 0; pcid < 8; pcid++)
		for (page = 0; page < 512; page++) {
			g.regs.cr3 = GUEST_ROOT | pcid;
			look(base + page * SZ_4K, W);
		}
	EXPECT_EQ(tlb_stats(tlb).misses, 8 * 512);
	EXPECT_GE(tlb_stats(tlb).entries, 8 * 512);
	memset(guest_hva(&g, g.table[1]), 0, SZ_4K);
	tlb_invpcid(tlb, 1, INVPCID_SINGLE, 3, 0);
	for (page = 0; page < 512; page += 2)
		tlb_invlpg(tlb, 1, 6, base + page * SZ_4K);
	EXPECT_EQ(tlb_stats(tlb).drops, 512 + 256 + 2 * 3, "and the tables of both PCIDs");
	for (pcid = 0; pcid < 8; pcid++)
		for (page = 0; page < 512; page++) {
			bool dropped = pcid == 3 || (pcid == 6 && page % 2 == 0);
			struct translation tr;

			g.regs.cr3 = GUEST_ROOT | pcid;
			tr = look(base + page * SZ_4K, W);
			bad += dropped ? tr.outcome != WALK_PF
				       : tr.hpa != GUEST_BASE + GUEST_PAGE + page * SZ_4K;
		}
	EXPECT_EQ(bad, 0, "wrong answers");
	fini();
}

TEST(eviction, .what = "asked to forget by seed it does, the same for the same seed")
{
	u64 first = 0;
	int run, i;

	for (run = 0; run < 2; run++) {
		init(NESTED_EPT, PM_LA48, 1);
		tlb_set_seed(tlb, 42, 4, 0);
		look(GVA, R);
		*page_entry(0) += MOVED;
		for (i = 0; look(GVA, R).gpa == FINAL_GPA; i++)
			ASSERT_LT(i, 10000, "never forgotten");
		EXPECT_GE(tlb_stats(tlb).evictions, 1);
		EXPECT_EQ(tlb_stats(tlb).drops, 0);
		if (run)
			EXPECT_EQ(tlb_stats(tlb).evictions, first);
		first = tlb_stats(tlb).evictions;
		fini();
	}
}

TEST(prefetching, .what = "asked to prefetch it does: pages nearby, never a fault, never D")
{
	unsigned int k;
	int i, ahead = 0;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		tlb_set_seed(tlb, 7, 0, 1);
		for (i = 1; i <= 4; i++)
			*page_entry(i) = (GUEST_PAGE + i * SZ_4K) | (i == 2 ? 0 : PTE_P) | PTE_W;
		for (i = 0; i < 100; i++) {
			EXPECT_EQ(look(GVA, W).outcome, WALK_OK);
			tlb_invlpg(tlb, 1, 0, GVA);
		}
		EXPECT_EQ(tlb_stats(tlb).prefetches, 3, "each page once");
		for (ahead = 0, i = 1; i <= 4; i++) {
			EXPECT_EQ(*page_entry(i) & (PTE_A | PTE_D), i == 2 ? 0 : PTE_A, "page %d",
				  i);
			*page_entry(i) = 0;
			ahead += look(GVA + i * SZ_4K, R).outcome == WALK_OK;
		}
		EXPECT_EQ(ahead, 3, "translations that were there before an access");
		fini();
	}
	/* not across the end of the lower half, and of 4 GiB */
	init(NESTED_NONE, PM_PAE, 1);
	tlb_set_seed(tlb, 7, 0, 1);
	for (i = 0; i < 4; i++)
		g.regs.pdpte[i] = g.regs.pdpte[0];
	for (i = 0; i < 512; i++)
		((u64 *)guest_hva(&g, g.table[2]))[i] = g.table[1] | PTE_P | PTE_W;
	for (i = 0; i < 512; i++)
		((u64 *)guest_hva(&g, g.table[1]))[i] = GUEST_PAGE | PTE_P | PTE_W;
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(look(0xfffff000, R).outcome, WALK_OK);
		tlb_invlpg(tlb, 1, 0, 0xfffff000);
	}
	EXPECT_EQ(tlb_stats(tlb).prefetches, 0);
	fini();
}

/* An entry of the four pages from GVA on, or above them, becomes something else. */
static void edit(struct test *t)
{
	static const u64 bits[] = {PTE_P, PTE_W, PTE_U, PTE_NX, PTE_A, PTE_D, PTE_G, BIT(45)};
	u64 r = test_rand(t), *entry = page_entry(r % 4);

	r /= 4;
	if (r % 4 == 0)
		entry = guest_hva(&g, entry_gpa(&g, 2 + r / 4 % 3));
	r /= 16;
	if (r % 4 == 0)
		*entry = (*entry & ~PTE_ADDR_MASK) | PTE_P |
			 (GUEST_ROOT + (r / 4 % 16 + (r / 64 % 2 ? 0 : 2048)) * SZ_4K);
	else if (r % 4 == 1)
		*entry |= PTE_P | PTE_W | PTE_U;
	else
		*entry ^= bits[r / 4 % ARRAY_LEN(bits)];
}

TEST(random_edits,
     .what = "after random changes: no fault that a walk has not, and no difference flushed")
{
	static const u64 cr4s[] = {0, CR4_SMEP, CR4_SMAP, CR4_PGE};
	unsigned int k, i, faults = 0, old = 0, ok = 0;
	struct translation got, want;
	enum access_kind kind;
	gva_t gva;
	u64 r;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		g.nested.ad = true;
		for (i = 0; i < 20000; i++) {
			r = test_rand(t);
			if (i % 64 == 0) {
				map_guest(&g, PM_LA48, 1);
				*page_entry(1) = *page_entry(2) = *page_entry(3) = *page_entry(0);
				tlb_flush_all(tlb);
			}
			edit(t);
			g.regs.cr4 = CR4_PAE | cr4s[r % 4];
			g.regs.cpl = r / 4 % 2 * 3;
			g.regs.cr0 ^= r / 8 % 8 ? 0 : CR0_WP;
			gva = GVA + r / 64 % 4 * SZ_4K;
			kind = r / 256 % 3;
			if (r / 1024 % 8 == 0)
				tlb_flush_all(tlb);
			got = look(gva, kind);
			want = walk(g.phys, &g.regs, &g.nested, gva, kind);
			ok += got.outcome == WALK_OK;
			if (r / 1024 % 8 == 0) {
				EXPECT_EQ_NAMED(outcome_namer, got.outcome, want.outcome);
				EXPECT_EQ(got.hpa, want.hpa);
				EXPECT_EQ(got.error, want.error);
			} else if (got.outcome == WALK_PF && kinds[k] == NESTED_NONE) {
				faults++;
				EXPECT_OUTCOME(want, WALK_PF, got.error, "step %u", i);
			} else {
				old += want.outcome != WALK_OK || want.hpa != got.hpa;
			}
		}
		fini();
	}
	EXPECT_GT(faults, 1000);
	EXPECT_GT(old, 1000, "looks that found something old");
	EXPECT_GT(ok, 4000);
}
