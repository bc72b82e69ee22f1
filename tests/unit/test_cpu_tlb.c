// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the software CPU's TLB remembers, and what makes it forget. Each case fills
 * it, changes tables behind its back and asks again: an address that still leads
 * to the old page was kept, one that leads to the new page was dropped. SDM vol. 3
 * 4.10 and 29.4; APM vol. 2 5.5 and 15.16.
 */
#include "test_cpu_tlb.h"

#define X ACCESS_EXEC

/* Entry of level 1 for the page @n pages behind GVA's, in the table at @table. */
static u64 *page_entry(gpa_t table, int n)
{
	return (u64 *)guest_hva(&g, table) + level_index(g.mode, GVA, 1) + n;
}

/* --- what drops a linear translation --------------------------------------- */

/* Translations held before each operation. Page 1 is global, 0 and 2 are not. */
static const struct slot {
	u16 asid, pcid;
	int page;
} slots[] = {
	{1, 0, 0}, {1, 0, 2}, {1, 5, 0}, {1, 5, 2}, {1, 0, 1}, {2, 0, 0}, {2, 0, 1},
};

static struct translation look_slot(const struct slot *s)
{
	g.regs.asid = s->asid;
	g.regs.cr3 = (g.regs.cr3 & ~CR3_PCID_MASK) | s->pcid;
	return look(GVA + s->page * SZ_4K, R);
}

#define A0 (GVA)
#define A1 (GVA + SZ_4K)
#define NF CR3_NOFLUSH
#define OP(name, ...)          \
	static void name(void) \
	{                      \
		__VA_ARGS__;   \
	}
/* clang-format off */
OP(nothing, (void)0)
OP(invlpg_0, tlb_invlpg(tlb, 1, 5, A0))
OP(invlpg_0_pcid0, tlb_invlpg(tlb, 1, 0, A0 & ~0xfffull))
OP(invlpg_1, tlb_invlpg(tlb, 1, 5, A1))
OP(invlpg_3, tlb_invlpg(tlb, 1, 5, A0 + 3 * SZ_4K))
OP(invpcid_addr_0, tlb_invpcid(tlb, 1, INVPCID_ADDR, 5, A0))
OP(invpcid_addr_1, tlb_invpcid(tlb, 1, INVPCID_ADDR, 5, A1))
OP(invpcid_single, tlb_invpcid(tlb, 1, INVPCID_SINGLE, 5, 0))
OP(invpcid_single_7, tlb_invpcid(tlb, 1, INVPCID_SINGLE, 7, 0))
OP(invpcid_all_global, tlb_invpcid(tlb, 1, INVPCID_ALL_GLOBAL, 5, 0))
OP(invpcid_all, tlb_invpcid(tlb, 1, INVPCID_ALL, 5, 0))
OP(cr3_without_pcid, tlb_mov_cr3(tlb, 1, 0, 0x5005))
OP(cr3_pcid_5, tlb_mov_cr3(tlb, 1, CR4_PCIDE, 0x5005))
OP(cr3_pcid_5_keep, tlb_mov_cr3(tlb, 1, CR4_PCIDE, 0x5005 | NF))
OP(cr3_pcid_0, tlb_mov_cr3(tlb, 1, CR4_PCIDE, 0x5000))
OP(cr0_pg_off, tlb_mov_cr0(tlb, 1, CR0_PG | CR0_PE, CR0_PE))
OP(cr0_pg_on, tlb_mov_cr0(tlb, 1, CR0_PE, CR0_PG | CR0_PE))
OP(cr0_wp, tlb_mov_cr0(tlb, 1, CR0_PG | CR0_WP, CR0_PG))
OP(cr4_pge_off, tlb_mov_cr4(tlb, 1, 5, CR4_PGE, 0))
OP(cr4_pge_on, tlb_mov_cr4(tlb, 1, 5, 0, CR4_PGE))
OP(cr4_pcide_off, tlb_mov_cr4(tlb, 1, 0, CR4_PCIDE, 0))
OP(cr4_pcide_on, tlb_mov_cr4(tlb, 1, 0, 0, CR4_PCIDE))
OP(cr4_smep_on, tlb_mov_cr4(tlb, 1, 5, 0, CR4_SMEP))
OP(cr4_smep_off, tlb_mov_cr4(tlb, 1, 5, CR4_SMEP, 0))
OP(cr4_pae, tlb_mov_cr4(tlb, 1, 0, 0, CR4_PAE))
OP(cr4_smap_pke, tlb_mov_cr4(tlb, 1, 0, 0, CR4_SMAP | CR4_PKE))
OP(flush_all, tlb_flush_all(tlb))
OP(flush_asid, tlb_flush_asid(tlb, 1, false))
OP(flush_asid_0, tlb_flush_asid(tlb, 0, false))
OP(flush_asid_2, tlb_flush_asid(tlb, 2, false))
OP(flush_asid_local, tlb_flush_asid(tlb, 1, true))
OP(invlpga_0, tlb_invlpga(tlb, 1, A0))
OP(invlpga_1, tlb_invlpga(tlb, 1, A1))
OP(invept, tlb_invept(tlb, NESTED_ROOT | 0x5e))
OP(invept_other, tlb_invept(tlb, NESTED_ROOT + SZ_4K))
OP(invept_all, tlb_invept_all(tlb))
OP(flush_gpa, tlb_flush_gpa(tlb, 1, &g.nested, GUEST_PAGE, GUEST_PAGE + 2 * SZ_4K))
OP(flush_gpa_1, tlb_flush_gpa(tlb, 1, &g.nested, GUEST_PAGE + SZ_4K, GUEST_PAGE + 2 * SZ_4K))
OP(flush_gpa_inside, tlb_flush_gpa(tlb, 1, &g.nested, FINAL_GPA, FINAL_GPA + 1))
OP(flush_gpa_before, tlb_flush_gpa(tlb, 1, &g.nested, 0, GUEST_PAGE))
OP(flush_gpa_after, tlb_flush_gpa(tlb, 1, &g.nested, GUEST_PAGE + 3 * SZ_4K, 32 * MiB))
OP(flush_gpa_empty, tlb_flush_gpa(tlb, 1, &g.nested, 0, 0))
/* clang-format on */

TEST(drops, .what = "which translations each instruction drops, by ASID, PCID, address, global")
{
	/* a digit a slot: 1 kept, 0 dropped; with and without nested paging */
	static const struct row {
		void (*op)(void);
		const char *name, *none, *npt, *ept;
	} rows[] = {
#define SAME(op, kept) {op, #op, kept, kept, kept}
#define EACH(op, none, npt, ept)        \
	{                               \
		op, #op, none, npt, ept \
	}
		SAME(nothing, "1111111"),
		SAME(invlpg_0, "1101111"),
		SAME(invlpg_0_pcid0, "0111111"),
		SAME(invlpg_1, "1111011"),
		SAME(invlpg_3, "1111111"),
		SAME(invpcid_addr_0, "1101111"),
		SAME(invpcid_addr_1, "1111111"),
		SAME(invpcid_single, "1100111"),
		SAME(invpcid_single_7, "1111111"),
		SAME(invpcid_all_global, "0000011"),
		SAME(invpcid_all, "0000111"),
		SAME(cr3_without_pcid, "0011111"),
		SAME(cr3_pcid_5, "1100111"),
		SAME(cr3_pcid_5_keep, "1111111"),
		SAME(cr3_pcid_0, "0011111"),
		SAME(cr0_pg_off, "0000011"),
		SAME(cr0_pg_on, "1111111"),
		SAME(cr0_wp, "1111111"),
		SAME(cr4_pge_off, "0000011"),
		SAME(cr4_pge_on, "0000011"),
		SAME(cr4_pcide_off, "0000011"),
		SAME(cr4_pcide_on, "1111111"),
		SAME(cr4_smep_on, "1100011"),
		SAME(cr4_smep_off, "1111111"),
		SAME(cr4_pae, "0011011"),
		SAME(cr4_smap_pke, "1111111"),
		SAME(flush_all, "0000000"),
		SAME(flush_asid, "0000011"),
		SAME(flush_asid_2, "1111100"),
		SAME(flush_asid_local, "0000111"),
		SAME(invlpga_0, "0101111"),
		SAME(invlpga_1, "1111011"),
		EACH(invept, "1111111", "1111111", "0000000"),
		EACH(invept_other, "1111111", "1111111", "1111111"),
		EACH(invept_all, "1111111", "1111111", "0000000"),
		/* by EPT pointer it's for all VPIDs */
		EACH(flush_gpa, "0101011", "0101011", "0101000"),
		EACH(flush_gpa_1, "1111011", "1111011", "1111010"),
		SAME(flush_gpa_before, "1111111"),
		SAME(flush_gpa_after, "1111111"),
		SAME(flush_gpa_empty, "1111111"),
	};
	unsigned int i, k, s;
	char kept[ARRAY_LEN(slots) + 1] = "";

	for (i = 0; i < ARRAY_LEN(rows); i++) {
		for (k = 0; k < ARRAY_LEN(kinds); k++) {
			const char *want[] = {rows[i].none, rows[i].npt, rows[i].ept};
			int n;

			init(kinds[k], PM_LA48, 1);
			g.regs.cr4 |= CR4_PGE | CR4_PCIDE;
			for (n = 0; n < 3; n++)
				*page_entry(g.table[1], n) = (GUEST_PAGE + n * SZ_4K) | PTE_P |
							     PTE_A | (n == 1 ? PTE_G : 0);
			for (s = 0; s < ARRAY_LEN(slots); s++)
				ASSERT_EQ(look_slot(&slots[s]).outcome, WALK_OK);
			for (n = 0; n < 3; n++)
				*page_entry(g.table[1], n) += MOVED;
			rows[i].op();
			for (s = 0; s < ARRAY_LEN(slots); s++)
				kept[s] = look_slot(&slots[s]).gpa < GUEST_PAGE + MOVED ? '1' : '0';
			EXPECT_STREQ(kept, want[k], "%s, nested %u", rows[i].name, k);
			fini();
		}
	}
}

TEST(drops_nested, .what = "which operations make a change of the nested tables seen")
{
	/* for NPT and EPT: the page's entry, and an entry above it */
	static const struct row {
		void (*op)(void);
		const char *name;
		bool npt, ept;
	} rows[] = {
#define ROW(op, npt, ept) {op, #op, npt, ept}
		ROW(nothing, false, false),
		ROW(invlpg_0, false, false),
		ROW(invpcid_all_global, false, false),
		ROW(cr4_pge_off, false, false),
		ROW(cr3_without_pcid, false, false),
		ROW(invlpga_0, false, false),
		ROW(flush_asid_local, true, false),
		ROW(flush_asid, true, false),
		ROW(flush_asid_2, false, false),
		ROW(flush_asid_0, false, false), /* which EPT's entries are not tagged with */
		ROW(flush_all, true, true),
		ROW(invept, false, true),
		ROW(invept_other, false, false),
		ROW(invept_all, false, true),
		ROW(flush_gpa, true, true),
		ROW(flush_gpa_inside, true, true),
		ROW(flush_gpa_before, false, false),
		ROW(flush_gpa_after, false, false),
	};
	hpa_t old_table, new_table = NESTED_ROOT + 2 * MiB;
	unsigned int i, ept, level, paged;
	struct translation tr;
	gva_t gva;
	bool seen;

	for (i = 0; i < 8 * ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i / 8];

		ept = i & 1;
		level = 1 + (i / 2 & 1);
		paged = !(i & 4);
		init(ept ? NESTED_EPT : NESTED_NPT, paged ? PM_LA48 : PM_NONE, paged);
		gva = paged ? GVA : FINAL_GPA;
		ASSERT_EQ(look(gva, R).hpa, GUEST_BASE + FINAL_GPA);
		if (level == 1) {
			set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) + MOVED);
		} else {
			old_table = get_nested(&g, FINAL_GPA, 2) & PTE_ADDR_MASK;
			memcpy(g.arena.base + new_table, g.arena.base + old_table, SZ_4K);
			set_nested(&g, FINAL_GPA, 2,
				   get_nested(&g, FINAL_GPA, 2) + new_table - old_table);
			set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) + MOVED);
		}
		r->op();
		tr = look(gva, R);
		EXPECT_EQ(tr.outcome, WALK_OK);
		seen = ept ? r->ept : r->npt;
		EXPECT_EQ(tr.hpa, GUEST_BASE + FINAL_GPA + (seen ? MOVED : 0),
			  "%s: ept %u level %u paged %u", r->name, ept, level, paged);
		fini();
	}
}

/*
 * Puts copies in the place of all tables on the way to GVA below @level, with page 1
 * moved in the new one of level 1.
 */
static void replace_tables(int level)
{
	const gpa_t copy = 128 * KiB;

	memcpy(guest_hva(&g, g.table[level - 1] + copy), guest_hva(&g, g.table[level - 1]),
	       (level - 1) * SZ_4K);
	for (; level > 1; level--) {
		set_entry(&g, level, get_entry(&g, level) + copy);
		g.table[level - 1] += copy;
	}
	*page_entry(g.table[1], 1) += MOVED;
}

TEST(drops_tables, .what = "which instructions drop remembered tables: seen by a page not used yet")
{
	static const struct row {
		void (*op)(void);
		const char *name;
		bool dropped;
	} rows[] = {
#undef ROW
#define ROW(op, dropped) {op, #op, dropped}
		ROW(nothing, false),
		ROW(invlpg_3, true), /* of any address, for the current PCID */
		ROW(invlpg_0_pcid0, false),
		ROW(invpcid_addr_0, true), /* same span */
		ROW(invpcid_single, true),
		ROW(invpcid_single_7, false),
		ROW(invpcid_all, true),
		ROW(invpcid_all_global, true),
		ROW(cr3_pcid_5, true),
		ROW(cr3_pcid_5_keep, false),
		ROW(cr3_pcid_0, false),
		ROW(cr0_pg_off, true),
		ROW(cr4_pge_off, true),
		ROW(cr4_smep_on, true),
		ROW(flush_all, true),
		ROW(flush_asid_local, true),
		ROW(flush_asid_2, false),
		ROW(invlpga_0, true),
		ROW(flush_gpa_before, true),
	};
	static const enum paging_mode_id ids[] = {PM_LA48, PM_LA57};
	unsigned int i, j, k;
	int level;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		for (j = 0; j < ARRAY_LEN(ids); j++)
			for (k = 0; k < ARRAY_LEN(kinds); k++)
				for (level = 2; level <= paging_mode(ids[j])->levels; level++) {
					init(kinds[k], ids[j], 1);
					g.regs.cr4 |= CR4_PCIDE;
					g.regs.cr3 |= 5;
					*page_entry(g.table[1], 1) =
						(GUEST_PAGE + SZ_4K) | PTE_P | PTE_W;
					ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
					replace_tables(level);
					rows[i].op();
					EXPECT_EQ(look(GVA + SZ_4K, R).gpa,
						  FINAL_GPA + SZ_4K + (rows[i].dropped ? MOVED : 0),
						  "%s, nested %u, level %d", rows[i].name, k,
						  level);
					fini();
				}
}

/* --- rights and dirty bits ---------------------------------------------------- */

TEST(hit_rights, .what = "a hit is judged by the registers of its own time")
{
	static const struct row {
		u64 entry;
		u64 cr0, cr4; /* changed after it was filled by a supervisor's read */
		u8 cpl;
		bool ac;
		u32 pkru;
		enum access_kind kind;
		u64 error;
	} rows[] = {
		{PTE_U | PTE_W, 0, 0, 0, false, 0, R, 0},
		{PTE_U | PTE_W, 0, 0, 3, false, 0, R, 0},
		{PTE_W, 0, 0, 3, false, 0, R, PFERR_P | PFERR_U},
		{PTE_U | PTE_W, 0, CR4_SMAP, 0, false, 0, R, PFERR_P},
		{PTE_U | PTE_W, 0, CR4_SMAP, 0, true, 0, R, 0},
		{PTE_U | PTE_W, 0, CR4_SMEP, 0, false, 0, X, PFERR_P | PFERR_F},
		{PTE_U | PTE_W | PTE_NX, 0, 0, 3, false, 0, X, PFERR_P | PFERR_F | PFERR_U},
		{PTE_U, 0, 0, 0, false, 0, W, PFERR_P | PFERR_W},
		{PTE_U, CR0_WP, 0, 0, false, 0, W, 0},
		{PTE_U | PTE_W | PTE_PKEY(9), 0, CR4_PKE, 3, false, 1u << 18, R,
		 PFERR_P | PFERR_U | PFERR_PK},
		{PTE_U | PTE_W | PTE_PKEY(9), 0, CR4_PKE, 3, false, ~(3u << 18), R, 0},
	};
	unsigned int i, k;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		for (k = 0; k < ARRAY_LEN(kinds); k++) {
			const struct row *r = &rows[i];

			init(kinds[k], PM_LA48, 1);
			set_entry(&g, 1, GUEST_PAGE | PTE_P | r->entry);
			ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
			g.regs.cr0 ^= r->cr0;
			g.regs.cr4 ^= r->cr4;
			g.regs.cpl = r->cpl;
			g.regs.ac = r->ac;
			g.regs.pkru = r->pkru;
			EXPECT_OUTCOME(look(GVA, r->kind), r->error ? WALK_PF : WALK_OK, r->error,
				       "row %u nested %u", i, k);
			EXPECT_EQ(tlb_stats(tlb).denied, !!r->error, "row %u", i);
			EXPECT_EQ(tlb_stats(tlb).misses, 1, "row %u", i);
			fini();
		}
	/* NX means nothing any more once EFER.NX is off */
	init(NESTED_NONE, PM_LA48, 1);
	set_entry(&g, 1, GUEST_PAGE | PTE_P | PTE_NX);
	ASSERT_EQ(look(GVA, R).outcome, WALK_OK);
	g.regs.efer &= ~EFER_NX;
	EXPECT_OUTCOME(look(GVA, X), WALK_OK, 0, "EFER.NX off");
	EXPECT_EQ(tlb_stats(tlb).hits, 1);
	fini();
}

TEST(stale_rights, .what = "rights taken away stay until flushed; rights given are seen at once")
{
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		ASSERT_EQ(look(GVA, W).outcome, WALK_OK);
		set_entry(&g, 1, get_entry(&g, 1) & ~(u64)PTE_W);
		EXPECT_OUTCOME(look(GVA, W), WALK_OK, 0, "not flushed");
		set_entry(&g, 1, 0);
		EXPECT_OUTCOME(look(GVA, W), WALK_OK, 0, "not flushed");
		EXPECT_EQ(tlb_stats(tlb).hits, 2);
		tlb_invlpg(tlb, 1, 0, GVA);
		EXPECT_OUTCOME(look(GVA, W), WALK_PF, PFERR_W, "flushed");
		set_entry(&g, 1, GUEST_PAGE | PTE_P);
		EXPECT_OUTCOME(look(GVA, R), WALK_OK, 0, "present now");
		EXPECT_OUTCOME(look(GVA, W), WALK_PF, PFERR_P | PFERR_W, "read-only");
		set_entry(&g, 1, (GUEST_PAGE + MOVED) | PTE_P | PTE_W);
		EXPECT_EQ(look(GVA, W).gpa, FINAL_GPA + MOVED, "writable now");
		EXPECT_EQ(look(GVA, R).gpa, FINAL_GPA + MOVED, "no old entry remains");
		fini();
	}
}

TEST(stale_nested_rights, .what = "the same for the nested tables' rights")
{
	unsigned int k;
	u64 page;

	for (k = 1; k < ARRAY_LEN(kinds); k++) {
		const u64 w = kinds[k] == NESTED_EPT ? EPT_W : PTE_W;

		init(kinds[k], PM_LA48, 1);
		ASSERT_EQ(look(GVA, W).outcome, WALK_OK);
		page = get_nested(&g, FINAL_GPA, 1);
		set_nested(&g, FINAL_GPA, 1, page & ~w);
		EXPECT_EQ(look(GVA, W).outcome, WALK_OK, "not flushed");
		tlb_flush_all(tlb);
		EXPECT_NE(look(GVA, W).outcome, WALK_OK, "flushed");
		EXPECT_EQ(look(GVA, R).outcome, WALK_OK, "read");
		EXPECT_NE(look(GVA, W).outcome, WALK_OK, "write after read");
		set_nested(&g, FINAL_GPA, 1, page + MOVED);
		EXPECT_EQ(look(GVA, W).hpa, GUEST_BASE + FINAL_GPA + MOVED, "writable now");
		EXPECT_EQ(look(GVA, R).hpa, GUEST_BASE + FINAL_GPA + MOVED, "no old entry");
		/* a violation drops what there was for its address */
		set_nested(&g, FINAL_GPA, 1, page & ~w);
		tlb_flush_all(tlb);
		EXPECT_EQ(look(GVA, R).outcome, WALK_OK);
		set_nested(&g, FINAL_GPA, 1, 0);
		EXPECT_EQ(look(GVA, R).outcome, WALK_OK, "not flushed");
		EXPECT_NE(look(GVA, W).outcome, WALK_OK, "denied");
		EXPECT_NE(look(GVA, R).outcome, WALK_OK, "dropped by the violation");
		fini();
	}
}

TEST(dirty, .what = "a write sets D if it isn't known to be set, and not again until flushed")
{
	unsigned int k;

	for (k = 0; k < ARRAY_LEN(kinds); k++) {
		init(kinds[k], PM_LA48, 1);
		look(GVA, R);
		EXPECT_EQ(get_entry(&g, 1) & (PTE_A | PTE_D), PTE_A);
		look(GVA, W);
		EXPECT_EQ(get_entry(&g, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
		EXPECT_EQ(tlb_stats(tlb).dirty, 1);
		set_entry(&g, 1, get_entry(&g, 1) & ~(PTE_A | PTE_D));
		look(GVA, W);
		EXPECT_EQ(get_entry(&g, 1) & (PTE_A | PTE_D), 0, "not flushed");
		tlb_invlpg(tlb, 1, 0, GVA);
		look(GVA, W);
		EXPECT_EQ(get_entry(&g, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
		fini();
	}
}

TEST(nested_dirty, .what = "and so for nested D bits, which the guest's INVLPG does not bring back")
{
	unsigned int k;

	for (k = 1; k < ARRAY_LEN(kinds); k++) {
		const u64 a = kinds[k] == NESTED_EPT ? EPT_A : PTE_A;
		const u64 d = kinds[k] == NESTED_EPT ? EPT_D : PTE_D;

		init(kinds[k], PM_LA48, 1);
		g.nested.ad = true;
		look(GVA, R);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & (a | d), a);
		look(GVA, W);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & (a | d), a | d);
		set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) & ~(a | d));
		look(GVA, W);
		tlb_invlpg(tlb, 1, 0, GVA);
		look(GVA, W);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & (a | d), 0, "not flushed");
		tlb_flush_all(tlb);
		look(GVA, W);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & (a | d), a | d);
		/* the guest's D is set already, the nested one is not */
		set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) & ~(a | d));
		tlb_flush_all(tlb);
		EXPECT_EQ(look(GVA, R).perm & PTE_D, PTE_D);
		look(GVA, W);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & (a | d), a | d);
		fini();
	}
}
