// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's walk of the guest's own tables: what each entry does to an
 * access, entry by entry and bit by bit. What is expected is written out here as
 * the manuals' tables have it (SDM vol. 3 4.3-4.8), not computed as the walk does.
 */
#include <pthread.h>

#include "test_cpu_guest.h"

#define R ACCESS_READ
#define W ACCESS_WRITE
#define X ACCESS_EXEC

/* Each mode with each level at which it maps pages. */
static const struct shape {
	enum paging_mode_id id;
	int leaf;
} shapes[] = {
	{PM_LA57, 1}, {PM_LA57, 2}, {PM_LA57, 3}, {PM_LA48, 1}, {PM_LA48, 2},
	{PM_LA48, 3}, {PM_PAE, 1},  {PM_PAE, 2},  {PM_32, 1},	{PM_32, 2},
};

/* Whether entries at @level have rights, A and so on. */
static bool plain_entry(const struct guest *g, int level)
{
	return !(g->mode->id == PM_PAE && level == 3);
}

TEST(translates, .what = "each mode and size of page, with A at all levels and D after a write")
{
	static const u64 offset[] = {0, 0x678, 0x145678, 0x12345678};
	struct translation tr;
	struct guest g;
	unsigned int i;
	int level;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(shapes); i++) {
		const struct shape *s = &shapes[i];
		const char *name = paging_mode(s->id)->name;
		u64 want = GUEST_PAGE + offset[s->leaf];

		map_guest(&g, s->id, s->leaf);
		if (s->id == PM_32 && s->leaf == 2)
			want = GUEST_PAGE + 0x345678;
		if (s->leaf == 3)
			want = GUEST_PAGE_1G + offset[3];
		tr = guest_walk(&g, R);
		EXPECT_OUTCOME(tr, WALK_OK, 0, "%s %d", name, s->leaf);
		EXPECT_EQ(tr.gpa, want, "%s %d", name, s->leaf);
		EXPECT_EQ(tr.hpa, want, "%s %d", name, s->leaf);
		EXPECT_EQ(tr.level, s->leaf);
		EXPECT_EQ(tr.shift, g.mode->level[s->leaf].shift);
		EXPECT_EQ(tr.guest_shift, tr.shift);
		EXPECT_EQ(tr.perm, PTE_W | PTE_U | PERM_NESTED, "%s %d", name, s->leaf);
		for (level = g.mode->levels; level >= s->leaf; level--)
			EXPECT_EQ(get_entry(&g, level) & (PTE_A | PTE_D),
				  plain_entry(&g, level) ? PTE_A : 0, "%s level %d", name, level);
		tr = guest_walk(&g, W);
		EXPECT_EQ(tr.perm, PTE_W | PTE_U | PTE_D | PERM_NESTED, "%s %d", name, s->leaf);
		for (level = g.mode->levels; level >= s->leaf; level--)
			EXPECT_EQ(get_entry(&g, level) & PTE_D, level == s->leaf ? PTE_D : 0,
				  "%s level %d", name, level);
	}
	map_guest(&g, PM_NONE, 0);
	tr = walk(g.phys, &g.regs, NULL, 0xffffffff00001234, W);
	EXPECT_EQ(tr.outcome, WALK_OK);
	EXPECT_EQ(tr.hpa, 0x1234);
	guest_fini(&g);
}

TEST(not_present, .what = "an entry without P ends the walk with P clear, whatever else it has")
{
	struct guest g;
	unsigned int i;
	int level;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(shapes); i++) {
		for (level = shapes[i].leaf; level <= paging_mode(shapes[i].id)->levels; level++) {
			map_guest(&g, shapes[i].id, shapes[i].leaf);
			set_entry(&g, level, ~(u64)PTE_P);
			EXPECT_OUTCOME(guest_walk(&g, W), WALK_PF, PFERR_W, "%s level %d",
				       g.mode->name, level);
			g.regs.cpl = 3;
			EXPECT_OUTCOME(guest_walk(&g, R), WALK_PF, PFERR_U, "%s level %d",
				       g.mode->name, level);
			EXPECT_EQ(get_entry(&g, level) | PTE_P, g.mode->pte_size == 4 ? ~0u : ~0ull,
				  "untouched");
		}
	}
	guest_fini(&g);
}

TEST(reserved, .what = "each bit of each entry: reserved where the manual's tables say so")
{
	enum {
		AMD = 1,
		NO_NX = 2,
		NO_PSE36 = 4,
		NO_GBPAGES = 8
	};
	static const struct row {
		enum paging_mode_id id;
		int leaf, level, maxphyaddr;
		u64 mask;
		u32 how;
	} rows[] = {
		{PM_LA57, 1, 5, 40, 0x000fff0000000080, 0},
		{PM_LA57, 1, 5, 40, 0x000fff0000000180, AMD},
		{PM_LA57, 1, 4, 40, 0x000fff0000000080, 0},
		{PM_LA57, 1, 1, 52, 0, 0},
		{PM_LA48, 1, 4, 40, 0x000fff0000000080, 0},
		{PM_LA48, 1, 4, 40, 0x000fff0000000180, AMD},
		{PM_LA48, 1, 4, 52, 0x0000000000000080, 0},
		{PM_LA48, 1, 4, 36, 0x800ffff000000080, NO_NX},
		{PM_LA48, 1, 3, 40, 0x000fff0000000000, 0},
		{PM_LA48, 1, 3, 40, 0x000fff0000000080, NO_GBPAGES},
		{PM_LA48, 3, 3, 40, 0x000fff003fffe000, 0},
		{PM_LA48, 3, 3, 40, 0x800fff003fffe000, NO_NX},
		{PM_LA48, 1, 2, 46, 0x000fc00000000000, 0},
		{PM_LA48, 2, 2, 40, 0x000fff00001fe000, 0},
		{PM_LA48, 1, 1, 40, 0x000fff0000000000, 0},
		{PM_LA48, 1, 1, 51, 0x0008000000000000, 0},
		{PM_LA48, 1, 1, 40, 0x800fff0000000000, NO_NX},
		{PM_PAE, 1, 2, 40, 0x7fffff0000000000, 0},
		{PM_PAE, 1, 2, 52, 0x7ff0000000000000, 0},
		{PM_PAE, 2, 2, 36, 0x7ffffff0001fe000, 0},
		{PM_PAE, 1, 1, 36, 0x7ffffff000000000, 0},
		{PM_PAE, 1, 1, 40, 0xffffff0000000000, NO_NX},
		{PM_32, 1, 2, 40, 0, 0},
		{PM_32, 2, 2, 40, 0x200000, 0},
		{PM_32, 2, 2, 52, 0x200000, 0},
		{PM_32, 2, 2, 36, 0x3e0000, 0},
		{PM_32, 2, 2, 32, 0x3fe000, 0},
		{PM_32, 2, 2, 40, 0x3fe000, NO_PSE36},
		{PM_32, 1, 1, 40, 0, 0},
	};
	struct translation tr;
	struct guest g;
	unsigned int i;
	u64 entry;
	int bit;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		for (bit = 1; bit < 8 * paging_mode(r->id)->pte_size; bit++) {
			/* this would make a large page of it, except where it must not */
			if (bit == 7 && r->level > r->leaf && r->level < 4 &&
			    !(r->how & NO_GBPAGES))
				continue;
			map_guest(&g, r->id, r->leaf);
			g.regs.maxphyaddr = r->maxphyaddr;
			g.regs.amd = r->how & AMD;
			g.regs.no_pse36 = r->how & NO_PSE36;
			g.regs.no_gbpages = r->how & NO_GBPAGES;
			if (r->how & NO_NX)
				g.regs.efer &= ~EFER_NX;
			entry = get_entry(&g, r->level);
			set_entry(&g, r->level, entry | BIT(bit));
			tr = guest_walk(&g, R);
			EXPECT_EQ(tr.outcome == WALK_PF && tr.error == (PFERR_P | PFERR_RSVD),
				  !!(r->mask & BIT(bit)), "row %u bit %d: %s, error %#lx", i, bit,
				  walk_outcome_name(tr.outcome), (unsigned long)tr.error);
		}
	}
	guest_fini(&g);
}

TEST(page_size_bit, .what = "bit 7 at level 2 is ignored in 32-bit paging without PSE")
{
	struct translation tr;
	struct guest g;

	guest_init(&g);
	map_guest(&g, PM_32, 1);
	g.regs.cr4 = 0;
	set_entry(&g, 2, get_entry(&g, 2) | PTE_PS);
	tr = guest_walk(&g, R);
	EXPECT_OUTCOME(tr, WALK_OK, 0, "PSE=0");
	EXPECT_EQ(tr.hpa, GUEST_PAGE + 0x678);
	EXPECT_EQ(tr.level, 1);
	map_guest(&g, PM_32, 2);
	set_entry(&g, 2, 0x00c00000 | 0x5a << 13 | PTE_PS | PTE_P);
	tr = guest_walk(&g, R);
	EXPECT_EQ(tr.hpa, 0x5a00f45678, "PSE-36");
	guest_fini(&g);
}

/* Rights of all entries, a processor's state, an access: the fault, or none. */
static const struct right {
	u64 entry; /* W, U, NX */
	u64 cr4;
	u32 state; /* letters below */
	enum access_kind kind;
	u64 error; /* 0: allowed */
} rights[] = {
#define USER 1u
#define WP   2u
#define AC   4u
#define IMPL 8u
	/* supervisor's pages, supervisor's accesses */
	{0, 0, 0, R, 0},
	{0, 0, 0, W, 0},
	{0, 0, WP, W, PFERR_P | PFERR_W},
	{0, 0, WP, X, 0},
	{PTE_W, 0, WP, W, 0},
	{PTE_NX, 0, WP, X, PFERR_P | PFERR_F},
	{PTE_NX, 0, WP, R, 0},
	{PTE_NX | PTE_W, 0, WP, W, 0},
	{0, CR4_SMEP | CR4_SMAP, WP, R, 0},
	{0, CR4_SMEP | CR4_SMAP, WP, X, 0},
	{PTE_W, CR4_SMEP | CR4_SMAP, WP, W, 0},
	/* supervisor's pages, user's accesses */
	{PTE_W, 0, USER | WP, R, PFERR_P | PFERR_U},
	{PTE_W, 0, USER | WP, W, PFERR_P | PFERR_U | PFERR_W},
	{PTE_W, 0, USER | WP, X, PFERR_P | PFERR_U | PFERR_F},
	{PTE_W, 0, USER | WP | IMPL, R, 0},
	{PTE_W, 0, USER | WP | IMPL, W, 0},
	{0, 0, USER | WP | IMPL, W, PFERR_P | PFERR_W},
	/* user's pages, user's accesses: SMEP, SMAP, WP and AC play no part */
	{PTE_U, 0, USER, R, 0},
	{PTE_U, 0, USER, X, 0},
	{PTE_U, 0, USER, W, PFERR_P | PFERR_U | PFERR_W},
	{PTE_U, 0, USER | WP, W, PFERR_P | PFERR_U | PFERR_W},
	{PTE_U | PTE_W, 0, USER, W, 0},
	{PTE_U | PTE_W | PTE_NX, 0, USER, W, 0},
	{PTE_U | PTE_NX, 0, USER, X, PFERR_P | PFERR_U | PFERR_F},
	{PTE_U | PTE_W, CR4_SMEP | CR4_SMAP, USER | WP, R, 0},
	{PTE_U | PTE_W, CR4_SMEP | CR4_SMAP, USER | WP, W, 0},
	{PTE_U | PTE_W, CR4_SMEP | CR4_SMAP, USER | WP, X, 0},
	/* user's pages, supervisor's accesses */
	{PTE_U, 0, 0, W, 0},
	{PTE_U, 0, WP, W, PFERR_P | PFERR_W},
	{PTE_U, 0, WP, X, 0},
	{PTE_U, CR4_SMEP, WP, X, PFERR_P | PFERR_F},
	{PTE_U, CR4_SMEP, WP | AC, X, PFERR_P | PFERR_F},
	{PTE_U, CR4_SMEP, WP, R, 0},
	{PTE_U, CR4_SMAP, WP, X, 0},
	{PTE_U, CR4_SMAP, WP, R, PFERR_P},
	{PTE_U, CR4_SMAP, WP | AC, R, 0},
	{PTE_U, CR4_SMAP, WP | AC | IMPL, R, PFERR_P},
	{PTE_U, CR4_SMAP, USER | WP | AC | IMPL, R, PFERR_P},
	{PTE_U, 0, USER | WP | IMPL, R, 0},
	{PTE_U | PTE_W, CR4_SMAP, WP, W, PFERR_P | PFERR_W},
	{PTE_U | PTE_W, CR4_SMAP, WP | AC, W, 0},
	{PTE_U, CR4_SMAP, WP | AC, W, PFERR_P | PFERR_W},
	{PTE_U, CR4_SMAP, AC, W, 0},
	{PTE_U, CR4_SMAP, 0, W, PFERR_P | PFERR_W},
	{PTE_U | PTE_NX, 0, WP, X, PFERR_P | PFERR_F},
};

static void set_state(struct guest *g, const struct right *r)
{
	g->regs.cr4 |= r->cr4;
	g->regs.cpl = r->state & USER ? 3 : 0;
	g->regs.ac = r->state & AC;
	g->regs.implicit = r->state & IMPL;
	if (!(r->state & WP))
		g->regs.cr0 &= ~CR0_WP;
}

/* The error code that 32-bit paging has: F with SMEP only. */
static u64 error_in(const struct guest *g, const struct right *r)
{
	if (g->mode->pte_size == 4 && !(r->cr4 & CR4_SMEP))
		return r->error & ~PFERR_F;
	return r->error;
}

TEST(rights, .what = "rights taken away at one level, whichever, are taken away")
{
	unsigned int i, j;
	struct guest g;
	int level;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(shapes); i++) {
		for (level = shapes[i].leaf; level <= paging_mode(shapes[i].id)->levels; level++) {
			for (j = 0; j < ARRAY_LEN(rights); j++) {
				const struct right *r = &rights[j];
				u64 entry, error;

				map_guest(&g, shapes[i].id, shapes[i].leaf);
				if (!plain_entry(&g, level) ||
				    (g.mode->pte_size == 4 && r->entry & PTE_NX))
					continue;
				set_state(&g, r);
				entry = get_entry(&g, level) & ~(PTE_W | PTE_U);
				set_entry(&g, level, entry | r->entry);
				error = error_in(&g, r);
				EXPECT_OUTCOME(guest_walk(&g, r->kind), error ? WALK_PF : WALK_OK,
					       error, "%s level %d row %u", g.mode->name, level, j);
				if (error)
					EXPECT_EQ(get_entry(&g, g.leaf) & (PTE_A | PTE_D), 0,
						  "a leaf refused");
			}
		}
	}
	guest_fini(&g);
}

TEST(fetch_bit, .what = "a fault has F for a fetch if NX or SMEP is on, in any mode")
{
	static const struct row {
		enum paging_mode_id id;
		bool nx, smep, f;
	} rows[] = {
		{PM_LA48, false, false, false}, {PM_LA48, true, false, true},
		{PM_LA48, false, true, true},	{PM_PAE, false, false, false},
		{PM_PAE, true, false, true},	{PM_PAE, false, true, true},
		{PM_32, false, false, false},	{PM_32, true, false, false},
		{PM_32, false, true, true},
	};
	struct guest g;
	unsigned int i;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		map_guest(&g, rows[i].id, 1);
		set_entry(&g, 1, 0);
		g.regs.efer &= ~EFER_NX;
		if (rows[i].nx)
			g.regs.efer |= EFER_NX;
		if (rows[i].smep)
			g.regs.cr4 |= CR4_SMEP;
		EXPECT_OUTCOME(guest_walk(&g, X), WALK_PF, rows[i].f ? PFERR_F : 0, "row %u", i);
		EXPECT_OUTCOME(guest_walk(&g, R), WALK_PF, 0, "row %u", i);
	}
	guest_fini(&g);
}

TEST(pkeys, .what = "PKRU's AD and WD, for data, for user pages, in long mode with PKE")
{
	enum {
		AD = 1,
		WD = 2,
		KEY = 11
	};
	static const struct row {
		enum paging_mode_id id;
		bool pke;
		u64 leaf; /* W, U, NX */
		u32 pkru; /* of the key; all others forbid everything, or nothing */
		u32 state;
		enum access_kind kind;
		u64 error;
	} rows[] = {
		{PM_LA48, true, PTE_U | PTE_W, 0, USER | WP, W, 0},
		{PM_LA48, true, PTE_U | PTE_W, AD, USER | WP, R, PFERR_P | PFERR_U | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, AD, USER | WP, X, 0},
		{PM_LA48, true, PTE_U | PTE_W, AD, WP, R, PFERR_P | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, AD, USER | WP | IMPL, R, PFERR_P | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, WD, USER | WP, R, 0},
		{PM_LA48, true, PTE_U | PTE_W, WD, USER | WP, W,
		 PFERR_P | PFERR_U | PFERR_W | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, WD, USER, W, PFERR_P | PFERR_U | PFERR_W | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, WD, WP, W, PFERR_P | PFERR_W | PFERR_PK},
		{PM_LA48, true, PTE_U | PTE_W, WD, 0, W, 0},
		{PM_LA48, true, PTE_U | PTE_W, AD, 0, W, PFERR_P | PFERR_W | PFERR_PK},
		/* PK is also set when something else forbids the access as well */
		{PM_LA48, true, PTE_U, WD, USER | WP, W, PFERR_P | PFERR_U | PFERR_W | PFERR_PK},
		{PM_LA48, true, PTE_U, 0, USER | WP, W, PFERR_P | PFERR_U | PFERR_W},
		/* a supervisor's page has no key */
		{PM_LA48, true, PTE_W, AD | WD, WP, W, 0},
		{PM_LA48, true, PTE_W, AD, USER | WP, R, PFERR_P | PFERR_U},
		{PM_LA48, false, PTE_U | PTE_W, AD | WD, USER | WP, W, 0},
		{PM_LA57, true, PTE_U | PTE_W, AD, USER | WP, R, PFERR_P | PFERR_U | PFERR_PK},
	};
	unsigned int i, others;
	struct guest g;
	int leaf;

	guest_init(&g);
	for (i = 0; i < 6 * ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i / 6];
		struct right state = {.state = r->state, .cr4 = r->pke ? CR4_PKE : 0};

		others = i % 2 ? ~0u : 0;
		leaf = i / 2 % 3 + 1;
		map_guest(&g, r->id, leaf);
		set_state(&g, &state);
		g.regs.pkru = (others & ~(3u << 2 * KEY)) | r->pkru << 2 * KEY;
		set_entry(&g, leaf,
			  (get_entry(&g, leaf) & ~(PTE_U | PTE_W)) | r->leaf | PTE_PKEY(KEY));
		EXPECT_OUTCOME(guest_walk(&g, r->kind), r->error ? WALK_PF : WALK_OK, r->error,
			       "row %u leaf %d", i / 6, leaf);
	}
	/* bits 62:59 are a key in a page's entry only */
	map_guest(&g, PM_LA48, 1);
	g.regs.cr4 |= CR4_PKE;
	g.regs.pkru = ~3u;
	set_entry(&g, 2, get_entry(&g, 2) | PTE_PKEY(KEY));
	EXPECT_OUTCOME(guest_walk(&g, W), WALK_OK, 0, "key in a table's entry");
	guest_fini(&g);
}

TEST(global, .what = "a translation is global by its leaf, with PGE")
{
	struct guest g;

	guest_init(&g);
	map_guest(&g, PM_LA48, 1);
	set_entry(&g, 1, get_entry(&g, 1) | PTE_G);
	EXPECT_EQ(guest_walk(&g, R).perm & PTE_G, 0, "PGE=0");
	g.regs.cr4 |= CR4_PGE;
	EXPECT_EQ(guest_walk(&g, R).perm & PTE_G, PTE_G);
	map_guest(&g, PM_LA48, 1);
	g.regs.cr4 |= CR4_PGE;
	set_entry(&g, 2, get_entry(&g, 2) | PTE_G);
	EXPECT_EQ(guest_walk(&g, R).perm & PTE_G, 0, "only a table's entry");
	guest_fini(&g);
}

TEST(pdptes, .what = "PAE walks by the loaded PDPTEs; loading checks reserved bits")
{
	struct translation tr;
	u64 loaded[4] = {0};
	struct guest g;
	int bit;

	guest_init(&g);
	map_guest(&g, PM_PAE, 1);
	memset(guest_hva(&g, GUEST_ROOT), 0, 32);
	EXPECT_OUTCOME(guest_walk(&g, R), WALK_OK, 0, "memory says otherwise");
	g.regs.pdpte[0] = 0;
	EXPECT_OUTCOME(guest_walk(&g, W), WALK_PF, PFERR_W, "the register does");

	map_guest(&g, PM_PAE, 1);
	for (bit = 1; bit < 64; bit++) {
		const u64 mask = 0xffffff00000001e6;
		u64 *top = guest_hva(&g, GUEST_ROOT + 0x20);

		top[3] = BIT(bit);
		tr = walk_load_pdptes(g.phys, &g.regs, NULL, GUEST_ROOT + 0x20, loaded);
		EXPECT_EQ(tr.outcome, WALK_OK, "bit %d, not present", bit);
		EXPECT_EQ(loaded[3], top[3]);
		top[3] |= PTE_P;
		tr = walk_load_pdptes(g.phys, &g.regs, NULL, GUEST_ROOT + 0x20, loaded);
		EXPECT_EQ(tr.outcome, mask & BIT(bit) ? WALK_PDPTE : WALK_OK, "bit %d", bit);
		EXPECT_EQ(loaded[3] & PTE_P, mask & BIT(bit) ? 0 : PTE_P, "bit %d", bit);
		top[3] = 0;
	}
	guest_fini(&g);
}

TEST(bus, .what = "a table where nothing is")
{
	struct translation tr;
	struct guest g;

	guest_init(&g);
	map_guest(&g, PM_LA48, 1);
	set_entry(&g, 2, 0xff12345000 | PTE_P | PTE_W);
	tr = guest_walk(&g, R);
	EXPECT_OUTCOME(tr, WALK_BUS, 0, "bus");
	EXPECT_EQ(tr.hpa, 0xff12345000 + 8 * 0x145);
	guest_fini(&g);
}

/* Physical memory in which somebody changes an entry just before the @n-th access. */
struct meddler {
	struct phys phys;
	struct guest *g;
	int n;
	int level;
	u64 entry;
};

static void *meddle(struct phys *p, hpa_t pa)
{
	struct meddler *m = p->arg;

	if (m->n-- == 0)
		set_entry(m->g, m->level, m->entry);
	return m->g->arena.phys.frame(&m->g->arena.phys, pa);
}

TEST(changed_meanwhile,
     .what = "an entry that changes under a walk is read again, not written over")
{
	struct guest g;
	unsigned int i;
	int level, n;

	guest_init(&g);
	for (i = 0; i < ARRAY_LEN(shapes); i++) {
		n = 0;
		for (level = paging_mode(shapes[i].id)->levels; level >= shapes[i].leaf; level--) {
			struct meddler m = {.phys = {meddle, &m}, .g = &g, .level = level};

			map_guest(&g, shapes[i].id, shapes[i].leaf);
			if (!plain_entry(&g, level))
				continue;
			/* two accesses a level: it is read, then exchanged */
			m.n = n + 1;
			g.phys = &m.phys;
			EXPECT_OUTCOME(guest_walk(&g, W), WALK_PF, PFERR_W, "%s level %d: gone",
				       g.mode->name, level);
			EXPECT_EQ(get_entry(&g, level), 0, "%s level %d", g.mode->name, level);

			map_guest(&g, shapes[i].id, shapes[i].leaf);
			m.entry = get_entry(&g, level) | PTE_SW1;
			m.n = n + 1;
			EXPECT_OUTCOME(guest_walk(&g, W), WALK_OK, 0, "%s level %d: changed",
				       g.mode->name, level);
			EXPECT_EQ(get_entry(&g, level) & (PTE_SW1 | PTE_A), PTE_SW1 | PTE_A,
				  "%s level %d", g.mode->name, level);
			g.phys = &g.arena.phys;
			n += 2;
		}
	}
	guest_fini(&g);
}

static struct guest shared;

static void *walk_until_stopped(void *stop)
{
	struct translation tr;
	u64 bad = 0;

	while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE)) {
		tr = walk(shared.phys, &shared.regs, NULL, GVA, ACCESS_WRITE);
		bad += tr.outcome == WALK_OK ? tr.hpa != GUEST_PAGE + 0x678
					     : tr.outcome != WALK_PF || tr.error != PFERR_W;
	}
	return (void *)bad;
}

TEST(threads, .what = "two walkers set A and D in an entry that a third keeps taking away")
{
	enum {
		ROUNDS = 4000
	};
	u64 clean, was, *entry, revived = 0, dirty = 0, others = 0;
	pthread_t walkers[2];
	int i, j, stop = 0;
	void *bad;

	guest_init(&shared);
	map_guest(&shared, PM_LA48, 1);
	clean = get_entry(&shared, 1);
	entry = guest_hva(&shared, entry_gpa(&shared, 1));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&walkers[i], NULL, walk_until_stopped, &stop), 0);
	for (i = 0; i < ROUNDS; i++) {
		__atomic_store_n(entry, clean, __ATOMIC_RELEASE);
		/* now and then until a walker has been here, else for a short while */
		for (j = 0; i % 16 == 0 || j < i % 64; j++)
			if (__atomic_load_n(entry, __ATOMIC_ACQUIRE) & PTE_D && i % 16 == 0)
				break;
		was = __atomic_exchange_n(entry, 0, __ATOMIC_ACQ_REL);
		dirty += !!(was & PTE_D);
		others |= (was ^ clean) & ~(PTE_A | PTE_D);
		for (j = 0; j < 32; j++)
			revived += __atomic_load_n(entry, __ATOMIC_ACQUIRE) != 0;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < 2; i++) {
		pthread_join(walkers[i], &bad);
		EXPECT_EQ((u64)bad, 0, "walker %d: neither mapped nor not present", i);
	}
	EXPECT_EQ(revived, 0, "an entry that was taken away came back");
	EXPECT_EQ(others, 0, "bits that are not A or D changed");
	EXPECT_GE(dirty, ROUNDS / 16, "D found set");
	guest_fini(&shared);
}
