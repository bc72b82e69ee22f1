// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's second dimension: AMD's nested tables and their faults (APM
 * vol. 2 15.25), Intel's EPT with its rights, misconfigurations, A and D, and the
 * exit qualification (SDM vol. 3 29.3, table 28-7).
 */
#include "test_cpu_guest.h"

#define R ACCESS_READ
#define W ACCESS_WRITE
#define X ACCESS_EXEC

#define FINAL_GPA (GUEST_PAGE + 0x678)

/* Nested tables of each kind and depth, and each size of page. */
static const struct nest {
	enum nested_kind kind;
	int levels, leaf;
} nests[] = {
	{NESTED_NPT, 4, 1}, {NESTED_NPT, 4, 2}, {NESTED_NPT, 5, 1}, {NESTED_NPT, 5, 2},
	{NESTED_NPT, 3, 1}, {NESTED_NPT, 3, 2}, {NESTED_NPT, 2, 1}, {NESTED_NPT, 2, 2},
	{NESTED_EPT, 4, 1}, {NESTED_EPT, 4, 2}, {NESTED_EPT, 5, 1}, {NESTED_EPT, 5, 2},
};

static const struct {
	enum paging_mode_id id;
	int leaf;
} guests[] = {
	{PM_LA57, 1}, {PM_LA57, 2}, {PM_LA48, 1}, {PM_LA48, 2}, {PM_PAE, 1},
	{PM_PAE, 2},  {PM_32, 1},   {PM_32, 2},	  {PM_NONE, 0},
};

TEST(translates, .what = "each guest on each kind of nested tables: address, size, rights")
{
	static const u64 offset[] = {0, 0x678, 0x145678};
	struct translation tr;
	struct guest g;
	unsigned int i, j;
	u64 gpa;
	int size;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(nests); i++) {
		for (j = 0; j < ARRAY_LEN(guests); j++) {
			map_nested(&g, nests[i].kind, nests[i].levels, nests[i].leaf);
			map_guest(&g, guests[j].id, guests[j].leaf);
			gpa = GUEST_PAGE + offset[guests[j].leaf];
			if (guests[j].id == PM_32 && guests[j].leaf == 2)
				gpa = GUEST_PAGE + 0x345678;
			if (guests[j].id == PM_NONE) {
				gpa = 0x678123;
				tr = walk(g.phys, &g.regs, &g.nested, gpa, W);
			} else {
				tr = guest_walk(&g, W);
			}
			EXPECT_OUTCOME(tr, WALK_OK, 0, "nest %u guest %u", i, j);
			EXPECT_EQ(tr.gpa, gpa, "nest %u guest %u", i, j);
			EXPECT_EQ(tr.hpa, GUEST_BASE + gpa, "nest %u guest %u", i, j);
			EXPECT_EQ(tr.perm, PTE_W | PTE_U | PTE_D | PERM_NESTED, "nest %u guest %u",
				  i, j);
			size = nests[i].leaf;
			if (guests[j].id != PM_NONE && guests[j].leaf < size)
				size = guests[j].leaf;
			EXPECT_EQ(tr.level, size, "nest %u guest %u", i, j);
		}
	}
	guest_fini(&g);
}

/* --- AMD ------------------------------------------------------------------ */

TEST(npt_final, .what = "the page itself: rights, reserved bits and presence, at any level")
{
	static const struct row {
		u64 clear, set;
		enum access_kind kind;
		bool no_nx;
		u64 error; /* 0: allowed; U and FINAL go without saying */
	} rows[] = {
		{0, 0, R, false, 0},
		{PTE_W, 0, R, false, 0},
		{PTE_W, 0, X, false, 0},
		{PTE_W, 0, W, false, PFERR_P | PFERR_W},
		{PTE_U, 0, R, false, PFERR_P | PFERR_U},
		{PTE_U, 0, W, false, PFERR_P | PFERR_W},
		{PTE_U, 0, X, false, PFERR_P | PFERR_F},
		{PTE_U, 0, X, true, PFERR_P | PFERR_U},
		{0, PTE_NX, X, false, PFERR_P | PFERR_F},
		{0, PTE_NX, R, false, 0},
		{0, PTE_NX, W, false, 0},
		{0, PTE_NX, R, true, PFERR_P | PFERR_RSVD},
		{0, BIT(40), W, false, PFERR_P | PFERR_RSVD | PFERR_W},
		{0, BIT(51), X, false, PFERR_P | PFERR_RSVD | PFERR_F},
		{0, BIT(52), R, false, 0},
		{PTE_P, BIT(40) | PTE_NX, R, true, PFERR_U},
		{PTE_P, 0, W, false, PFERR_W},
		{PTE_P, 0, X, false, PFERR_F},
		{PTE_P, 0, X, true, PFERR_U},
	};
	unsigned int i, depth, leaf;
	struct translation tr;
	struct guest g;
	u64 error;
	int level;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		for (depth = 4; depth <= 5; depth++)
			for (leaf = 1; leaf <= 2; leaf++)
				for (level = leaf; level <= (int)depth; level++) {
					map_nested(&g, NESTED_NPT, depth, leaf);
					/* unpaged: the tables of a guest would fault at first */
					map_guest(&g, PM_NONE, 0);
					g.nested.nx = !r->no_nx;
					set_nested(&g, FINAL_GPA, level,
						   (get_nested(&g, FINAL_GPA, level) & ~r->clear) |
							   r->set);
					error = r->error ? r->error | PFERR_U | NPF_FINAL : 0;
					tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA, r->kind);
					EXPECT_OUTCOME(tr, error ? WALK_NPF : WALK_OK, error,
						       "row %u depth %u leaf %u level %d", i, depth,
						       leaf, level);
					EXPECT_EQ(tr.gpa, FINAL_GPA);
				}
	}
	guest_fini(&g);
}

TEST(npt_tables, .what = "a guest's tables: any access is a user's write, marked as a table's")
{
	static const struct row {
		u64 clear, set;
		u64 error; /* U, W and TABLE go without saying */
	} rows[] = {
		{PTE_W, 0, PFERR_P},
		{PTE_U, 0, PFERR_P},
		{PTE_P, 0, 0},
		{0, BIT(45), PFERR_P | PFERR_RSVD},
	};
	static const enum access_kind kinds[] = {R, W, X};
	struct translation tr;
	unsigned int i, j, k;
	struct guest g;
	gpa_t table;
	int level;
	u64 want;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		for (j = 0; j < ARRAY_LEN(guests) - 1; j++) {
			const struct paging_mode *m = paging_mode(guests[j].id);

			for (level = m->levels; level >= guests[j].leaf; level--) {
				for (k = 0; k < ARRAY_LEN(kinds); k++) {
					map_nested(&g, NESTED_NPT, 4, 1);
					map_guest(&g, guests[j].id, guests[j].leaf);
					table = entry_gpa(&g, level);
					set_nested(&g, table, 1,
						   (get_nested(&g, table, 1) & ~rows[i].clear) |
							   rows[i].set);
					tr = guest_walk(&g, kinds[k]);
					want = rows[i].error | PFERR_U | PFERR_W | NPF_TABLE;
					EXPECT_OUTCOME(tr, WALK_NPF, want, "row %u %s level %d", i,
						       m->name, level);
					EXPECT_EQ(tr.gpa, table, "row %u %s level %d", i, m->name,
						  level);
				}
			}
		}
	}
	/* not executable: tables may be */
	map_nested(&g, NESTED_NPT, 4, 1);
	map_guest(&g, PM_LA48, 1);
	table = entry_gpa(&g, 1);
	set_nested(&g, table, 1, get_nested(&g, table, 1) | PTE_NX);
	EXPECT_OUTCOME(guest_walk(&g, X), WALK_OK, 0, "NX of a table's page");
	guest_fini(&g);
}

TEST(npt_order, .what = "a guest's fault comes before that of the page it would have reached")
{
	struct guest g;

	guest_init(&g);
	map_nested(&g, NESTED_NPT, 4, 1);
	map_guest(&g, PM_LA48, 1);
	set_nested(&g, FINAL_GPA, 1, 0);
	set_entry(&g, 1, get_entry(&g, 1) & ~(u64)PTE_W);
	EXPECT_OUTCOME(guest_walk(&g, W), WALK_PF, PFERR_P | PFERR_W, "guest");
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_NPF, PFERR_U | NPF_FINAL, "nested");
	guest_fini(&g);
}

TEST(npt_dirty, .what = "nested entries get A, and D where the guest or a walk writes")
{
	const u64 ad = PTE_A | PTE_D;
	struct guest g;
	int level;

	guest_init(&g);
	map_nested(&g, NESTED_NPT, 5, 1);
	map_guest(&g, PM_LA48, 1);
	EXPECT_EQ(guest_walk(&g, R).perm & PERM_NESTED_D, 0);
	EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & ad, PTE_A);
	for (level = 2; level <= 5; level++)
		EXPECT_EQ(get_nested(&g, FINAL_GPA, level) & ad, PTE_A, "level %d", level);
	for (level = 1; level <= 4; level++)
		EXPECT_EQ(get_nested(&g, entry_gpa(&g, level), 1) & ad, ad, "table %d", level);
	EXPECT_EQ(guest_walk(&g, W).perm & PERM_NESTED_D, PERM_NESTED_D);
	EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & ad, ad);
	EXPECT_EQ(get_nested(&g, FINAL_GPA + SZ_4K, 1) & ad, 0, "a neighbour");
	guest_fini(&g);
}

TEST(npt_width, .what = "addresses beyond what the nested tables can express are not present")
{
	static const struct {
		int levels;
		gpa_t gpa;
	} rows[] = {{2, 1ull << 32}, {3, 1ull << 32}, {4, 1ull << 48}};
	struct guest g;
	unsigned int i;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		map_nested(&g, NESTED_NPT, rows[i].levels, 1);
		map_guest(&g, PM_LA48, 1);
		g.regs.maxphyaddr = 52;
		/* in the low bits it is an address that is mapped */
		set_entry(&g, 1, get_entry(&g, 1) | rows[i].gpa);
		EXPECT_OUTCOME(guest_walk(&g, R), WALK_NPF, PFERR_U | NPF_FINAL, "row %u", i);
	}
	map_nested(&g, NESTED_EPT, 4, 1);
	map_guest(&g, PM_LA48, 1);
	g.regs.maxphyaddr = 52;
	set_entry(&g, 1, get_entry(&g, 1) | 1ull << 48);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_EPT_VIOLATION, EPTV_READ | EPTV_GVA | EPTV_FINAL,
		       "EPT");
	guest_fini(&g);
}

TEST(npt_pae_guest, .what = "PAE's PDPTEs are read from memory, and checked, by each walk")
{
	struct guest g;

	guest_init(&g);
	map_nested(&g, NESTED_NPT, 4, 1);
	map_guest(&g, PM_PAE, 1);
	memset(g.regs.pdpte, 0, sizeof(g.regs.pdpte));
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_OK, 0, "the registers are not used");
	EXPECT_EQ(get_entry(&g, 3) & PTE_A, 0, "a PDPTE has no A");
	set_entry(&g, 3, get_entry(&g, 3) | PTE_W);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_PF, PFERR_P | PFERR_RSVD, "reserved");
	set_entry(&g, 3, 0);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_PF, 0, "not present");
	guest_fini(&g);
}

/* --- Intel ---------------------------------------------------------------- */

TEST(ept_rights, .what = "all of R, W and X, at each level, for each access")
{
	static const enum access_kind kinds[] = {R, W, X};
	static const u64 bit[] = {[R] = EPT_R, [W] = EPT_W, [X] = EPT_X};
	unsigned int k, depth, exec_only;
	struct translation tr;
	struct guest g;
	int level, leaf;
	u64 rwx, q;

	guest_init(&g);
	for (depth = 4; depth <= 5; depth++)
		for (leaf = 1; leaf <= 2; leaf++)
			for (level = leaf; level <= (int)depth; level++)
				for (rwx = 0; rwx < 8; rwx++)
					for (k = 0; k < 6; k++) {
						exec_only = k / 3;
						map_nested(&g, NESTED_EPT, depth, leaf);
						map_guest(&g, PM_NONE, 0);
						g.nested.no_exec_only = !exec_only;
						set_nested(&g, FINAL_GPA, level,
							   (get_nested(&g, FINAL_GPA, level) &
							    ~EPT_RWX) |
								   rwx);
						tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA,
							  kinds[k % 3]);
						if (rwx == 2 || rwx == 6 ||
						    (rwx == 4 && !exec_only)) {
							EXPECT_OUTCOME(tr, WALK_EPT_MISCONFIG, 0,
								       "level %d rwx %lu", level,
								       (unsigned long)rwx);
							EXPECT_EQ(tr.gpa, FINAL_GPA);
							continue;
						}
						q = bit[kinds[k % 3]] | rwx << 3 | BIT(7) | BIT(8);
						EXPECT_OUTCOME(tr,
							       rwx & bit[kinds[k % 3]]
								       ? WALK_OK
								       : WALK_EPT_VIOLATION,
							       q, "level %d rwx %lu", level,
							       (unsigned long)rwx);
						EXPECT_EQ(tr.gpa, FINAL_GPA);
					}
	guest_fini(&g);
}

TEST(ept_accumulated, .what = "a violation reports the rights of all levels, anded")
{
	struct translation tr;
	struct guest g;

	guest_init(&g);
	map_nested(&g, NESTED_EPT, 4, 1);
	map_guest(&g, PM_NONE, 0);
	set_nested(&g, FINAL_GPA, 3, get_nested(&g, FINAL_GPA, 3) & ~(u64)EPT_X);
	set_nested(&g, FINAL_GPA, 1, get_nested(&g, FINAL_GPA, 1) & ~(u64)EPT_W);
	tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA, W);
	EXPECT_OUTCOME(tr, WALK_EPT_VIOLATION, EPTV_WRITE | EPTV_ENTRY_R | EPTV_GVA | EPTV_FINAL,
		       "write");
	tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA, X);
	EXPECT_OUTCOME(tr, WALK_EPT_VIOLATION, EPTV_FETCH | EPTV_ENTRY_R | EPTV_GVA | EPTV_FINAL,
		       "fetch");
	EXPECT_EQ(walk(g.phys, &g.regs, &g.nested, FINAL_GPA, R).perm & PERM_NESTED,
		  PERM_NESTED_R | PERM_NESTED_D);
	guest_fini(&g);
}

TEST(ept_misconfig, .what = "each bit of each entry, and each memory type")
{
	static const struct row {
		int depth, leaf, level, maxphyaddr;
		u64 mask;
		bool no_gbpages;
	} rows[] = {
		{5, 1, 5, 40, 0x000fff00000000f8, false}, {4, 1, 4, 40, 0x000fff00000000f8, false},
		{4, 1, 4, 52, 0x00000000000000f8, false}, {4, 1, 3, 40, 0x000fff0000000078, false},
		{4, 1, 3, 40, 0x000fff00000000f8, true},  {4, 3, 3, 40, 0x000fff003ffff000, false},
		{4, 1, 2, 36, 0x000ffff000000078, false}, {4, 2, 2, 40, 0x000fff00001ff000, false},
		{4, 1, 1, 40, 0x000fff0000000000, false}, {4, 1, 1, 51, 0x0008000000000000, false},
	};
	static const bool valid_type[8] = {
		[0] = true, [1] = true, [4] = true, [5] = true, [6] = true};
	struct translation tr;
	struct guest g;
	unsigned int i;
	u64 entry, type;
	int bit;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		for (bit = 3; bit < 64; bit++) {
			/* bit 7 would make a page of it; a leaf's type is tested below */
			if (bit == 7 && r->level < 4 && !r->no_gbpages)
				continue;
			if (r->level == r->leaf && bit < 6)
				continue;
			/* another table, which may hold anything: ones above are beyond the arena */
			if (r->level > r->leaf && BIT(bit) >= SZ_4K && BIT(bit) < ARENA_SIZE)
				continue;
			map_nested(&g, NESTED_EPT, r->depth, r->leaf == 3 ? 2 : r->leaf);
			map_guest(&g, PM_NONE, 0);
			g.nested.maxphyaddr = r->maxphyaddr;
			g.nested.no_gbpages = r->no_gbpages;
			entry = get_nested(&g, FINAL_GPA, r->level);
			if (r->leaf == 3)
				entry = EPT_RWX | EPT_PS;
			set_nested(&g, FINAL_GPA, r->level, entry | BIT(bit));
			tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA, R);
			EXPECT_EQ(tr.outcome == WALK_EPT_MISCONFIG, !!(r->mask & BIT(bit)),
				  "row %u bit %d: %s", i, bit, walk_outcome_name(tr.outcome));
		}
	}
	for (i = 1; i <= 2; i++)
		for (type = 0; type < 8; type++) {
			map_nested(&g, NESTED_EPT, 4, i);
			map_guest(&g, PM_NONE, 0);
			entry = get_nested(&g, FINAL_GPA, i) & ~EPT_MT_MASK;
			set_nested(&g, FINAL_GPA, i, entry | type << EPT_MT_SHIFT);
			tr = walk(g.phys, &g.regs, &g.nested, FINAL_GPA, R);
			EXPECT_OUTCOME(tr, valid_type[type] ? WALK_OK : WALK_EPT_MISCONFIG, 0,
				       "level %u type %lu", i, (unsigned long)type);
		}
	/* an entry that is not present may hold anything */
	map_nested(&g, NESTED_EPT, 4, 1);
	map_guest(&g, PM_NONE, 0);
	set_nested(&g, FINAL_GPA, 1, ~EPT_RWX);
	EXPECT_OUTCOME(walk(g.phys, &g.regs, &g.nested, FINAL_GPA, R), WALK_EPT_VIOLATION,
		       EPTV_READ | EPTV_GVA | EPTV_FINAL, "not present");
	/* misconfiguration, though an entry above would deny the access */
	map_nested(&g, NESTED_EPT, 4, 1);
	map_guest(&g, PM_NONE, 0);
	set_nested(&g, FINAL_GPA, 3, get_nested(&g, FINAL_GPA, 3) & ~(u64)EPT_W);
	set_nested(&g, FINAL_GPA, 1, EPT_W);
	EXPECT_OUTCOME(walk(g.phys, &g.regs, &g.nested, FINAL_GPA, W), WALK_EPT_MISCONFIG, 0,
		       "denied above");
	guest_fini(&g);
}

TEST(ept_tables,
     .what = "a guest's tables are read, and written when A or D is set; with A/D, both")
{
	static const struct row {
		bool ad;
		u64 rights; /* of the table's page */
		u64 guest;  /* bits its entry has already */
		enum access_kind kind;
		u64 error; /* 0: allowed; GVA goes without saying */
	} rows[] = {
		{false, EPT_R | EPT_W, 0, X, 0},
		{false, EPT_R, 0, R, EPTV_WRITE | EPTV_ENTRY_R},
		{false, EPT_R, PTE_A, R, 0},
		{false, EPT_R, PTE_A | PTE_D, W, 0},
		{false, EPT_X, PTE_A | PTE_D, X, EPTV_READ | EPTV_ENTRY_X},
		{false, 0, PTE_A | PTE_D, W, EPTV_READ},
		{true, EPT_R | EPT_W, 0, X, 0},
		{true, EPT_R, PTE_A | PTE_D, R, EPTV_READ | EPTV_WRITE | EPTV_ENTRY_R},
		{true, EPT_R | EPT_X, 0, X, EPTV_READ | EPTV_WRITE | EPTV_ENTRY_R | EPTV_ENTRY_X},
		{true, 0, 0, R, EPTV_READ | EPTV_WRITE},
	};
	struct translation tr;
	unsigned int i, j;
	struct guest g;
	gpa_t table;
	int level;
	u64 error;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		for (j = 0; j < ARRAY_LEN(guests) - 1; j++) {
			const struct paging_mode *m = paging_mode(guests[j].id);

			for (level = m->levels; level >= guests[j].leaf; level--) {
				if (m->id == PM_PAE && level == 3)
					continue;
				map_nested(&g, NESTED_EPT, 4, 1);
				map_guest(&g, guests[j].id, guests[j].leaf);
				g.nested.ad = r->ad;
				table = entry_gpa(&g, level);
				set_nested(&g, table, 1,
					   (get_nested(&g, table, 1) & ~EPT_RWX) | r->rights);
				set_entry(&g, level, get_entry(&g, level) | r->guest);
				tr = guest_walk(&g, r->kind);
				error = r->error ? r->error | EPTV_GVA : 0;
				EXPECT_OUTCOME(tr, error ? WALK_EPT_VIOLATION : WALK_OK, error,
					       "row %u %s level %d", i, m->name, level);
				if (error)
					EXPECT_EQ(tr.gpa, table, "row %u %s level %d", i, m->name,
						  level);
			}
		}
	}
	/* D alone missing: a write */
	map_nested(&g, NESTED_EPT, 4, 1);
	map_guest(&g, PM_LA48, 1);
	set_entry(&g, 1, get_entry(&g, 1) | PTE_A);
	table = entry_gpa(&g, 1);
	set_nested(&g, table, 1, get_nested(&g, table, 1) & ~(u64)EPT_W);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_OK, 0, "read");
	EXPECT_OUTCOME(guest_walk(&g, W), WALK_EPT_VIOLATION,
		       EPTV_WRITE | EPTV_ENTRY_R | EPTV_ENTRY_X | EPTV_GVA, "write");
	EXPECT_EQ(get_entry(&g, 1) & PTE_D, 0);
	guest_fini(&g);
}

TEST(ept_dirty, .what = "A and D in EPT entries if the pointer asks for them, else never")
{
	const u64 ad = EPT_A | EPT_D;
	struct guest g;
	int level, on;

	guest_init(&g);
	for (on = 0; on <= 1; on++) {
		map_nested(&g, NESTED_EPT, 4, 1);
		map_guest(&g, PM_LA48, 1);
		g.nested.ad = on;
		EXPECT_EQ(guest_walk(&g, R).perm & PERM_NESTED_D, on ? 0 : PERM_NESTED_D);
		for (level = 1; level <= 4; level++) {
			EXPECT_EQ(get_nested(&g, FINAL_GPA, level) & ad, on ? EPT_A : 0, "level %d",
				  level);
			EXPECT_EQ(get_nested(&g, entry_gpa(&g, level), 1) & ad, on ? ad : 0,
				  "table %d", level);
		}
		EXPECT_EQ(guest_walk(&g, W).perm & PERM_NESTED_D, PERM_NESTED_D);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 1) & ad, on ? ad : 0);
		EXPECT_EQ(get_nested(&g, FINAL_GPA, 2) & ad, on ? EPT_A : 0);
	}
	guest_fini(&g);
}

TEST(ept_pdptes, .what = "loading PDPTEs reads them, for no linear address, even with A/D")
{
	struct translation tr;
	u64 loaded[4] = {0};
	struct guest g;
	int ad;

	guest_init(&g);
	for (ad = 0; ad <= 1; ad++) {
		map_nested(&g, NESTED_EPT, 4, 1);
		map_guest(&g, PM_PAE, 1);
		g.nested.ad = ad;
		set_nested(&g, GUEST_ROOT, 1, get_nested(&g, GUEST_ROOT, 1) & ~(u64)EPT_W);
		tr = walk_load_pdptes(g.phys, &g.regs, &g.nested, g.regs.cr3, loaded);
		EXPECT_OUTCOME(tr, WALK_OK, 0, "ad %d", ad);
		EXPECT_EQ(loaded[0], g.regs.pdpte[0]);
		EXPECT_EQ(get_nested(&g, GUEST_ROOT, 1) & EPT_D, 0);
		set_nested(&g, GUEST_ROOT, 1, (get_nested(&g, GUEST_ROOT, 1) & ~EPT_RWX) | EPT_X);
		tr = walk_load_pdptes(g.phys, &g.regs, &g.nested, g.regs.cr3, loaded);
		EXPECT_OUTCOME(tr, WALK_EPT_VIOLATION, EPTV_READ | EPTV_ENTRY_X, "ad %d", ad);
		EXPECT_EQ(tr.gpa, GUEST_ROOT);
	}
	guest_fini(&g);
}
