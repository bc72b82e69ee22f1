// SPDX-License-Identifier: GPL-2.0-only
/*
 * The generator. Steps that have nothing to do with each other find nothing, so it works on a few
 * favourite addresses: it keeps track of what the tables hold, so that most entries it sets are on
 * the way to one of those, most accesses go there, and an entry that was just used is the
 * likeliest to be changed next.
 */
#include <string.h>

#include "random_priv.h"

/* --- entries ------------------------------------------------------------------------------ */

static u64 random_flags(struct gen *g, int level)
{
	u64 f = 0;

	f |= gen_chance(g, 95) ? PTE_P : 0;
	f |= gen_chance(g, level > 1 ? 90 : 75) ? PTE_W : 0;
	f |= gen_chance(g, level > 1 ? 85 : 65) ? PTE_U : 0;
	f |= gen_chance(g, 40) ? PTE_A : 0;
	f |= gen_chance(g, 25) ? PTE_D : 0;
	f |= gen_chance(g, level == 1 ? 25 : 2) ? PTE_G : 0;
	f |= gen_chance(g, 5) ? PTE_NX : 0;
	f |= gen_chance(g, 3) ? PTE_PCD : 0;
	f |= gen_chance(g, 3) ? PTE_PWT : 0;
	f |= gen_chance(g, 1) && gen_chance(g, 50) ? BIT(51) : 0;
	f |= gen_chance(g, 1) && gen_chance(g, 50) ? BIT(48) : 0;
	f |= gen_chance(g, 1) && level > 1 ? PTE_PS : 0;
	if (gen_chance(g, 15))
		f |= PTE_PKEY(gen_below(g, 4));
	if (level > 1 && gen_chance(g, 1))
		f |= gen_chance(g, 70) ? BIT(12) : BIT(13);
	return f;
}

static struct entry_spec to_target(struct gen *g, enum target_kind kind, u64 flags)
{
	u32 n = target_counts[kind];

	/* What was walked as a table once is nothing that the host may discard: some frames hardly ever are. */
	if (kind == TARGET_FRAME && gen_chance(g, 90))
		n -= 4;
	return (struct entry_spec){kind, gen_below(g, n), flags};
}

/* What is likely to make sense at @level. */
static struct entry_spec random_entry(struct gen *g, int level)
{
	u64 f = random_flags(g, level);
	u32 dice = gen_below(g, 100);

	if (dice < 2)
		return (struct entry_spec){TARGET_RAW, 0, 0};
	if (level == 1) {
		if (dice < 75)
			return to_target(g,
					 gen_chance(g, g->away ? 50 : 5)    ? TARGET_AWAY
					 : gen_chance(g, g->alias ? 30 : 1) ? TARGET_ALIAS
									    : TARGET_FRAME,
					 f & ~PTE_PS);
		if (dice < 88)
			return to_target(g, TARGET_TABLE, f & ~PTE_PS);
		return to_target(g, dice < 96 ? TARGET_HOLE : TARGET_RO, f & ~PTE_PS);
	}
	if (level <= 3 && dice < (level == 2 ? 25 : 12)) {
		f |= PTE_PS | (gen_chance(g, 25) ? PTE_G : 0);
		return to_target(g,
				 level > 2			    ? TARGET_GIANT
				 : gen_chance(g, g->alias ? 30 : 1) ? TARGET_ALIAS_BLOCK
								    : TARGET_BLOCK,
				 f & ~BIT(13));
	}
	if (dice > 97)
		return to_target(g, dice == 98 ? TARGET_FRAME : TARGET_HOLE, f);
	return to_target(g, TARGET_TABLE, f);
}

/*
 * Walks the favourite path as far as the tables go; where: the table and index of each level's
 * entry. How many.
 */
static int follow(struct gen *g, const u8 *path, u8 table[], u8 index[])
{
	const struct paging_mode *m = g->p->mode;
	u32 t = g->root[g->vcpu];
	int n = 0;

	for (int level = m->levels; level >= 1; level--) {
		u32 i = path[m->levels - level] - 1;
		const struct entry_spec *e;

		if (m->id == PM_PAE && level == 3) {
			t = g->pdpte[3 * t + i % 3];
			continue;
		}
		table[n] = t;
		index[n++] = i;
		e = &g->entry[t][i];
		if (e->target != TARGET_TABLE || !(e->bits & PTE_P) || level == 1)
			break;
		t = e->number;
	}
	return n;
}

static const u8 *some_path(struct gen *g, u8 scratch[PAGING_MAX_LEVEL])
{
	u32 i;

	if (gen_chance(g, 90))
		return g->favourite[gen_below(g, FAVOURITES)];
	memcpy(scratch, g->favourite[gen_below(g, FAVOURITES)], PAGING_MAX_LEVEL);
	i = gen_below(g, g->p->mode->levels);
	scratch[i] = 1 + gen_below(g, PROGRAM_INDICES);
	return scratch;
}

static void add_set(struct gen *g, u32 table, u32 index, struct entry_spec e)
{
	program_add(g->p, (struct step){.kind = STEP_SET,
					.vcpu = g->vcpu,
					.table = table,
					.index = index + 1,
					.entry = e});
	g->entry[table][index] = e;
}

/* Sets an entry that some favourite's walk meets; often only its flags. */
void gen_edit(struct gen *g)
{
	int top = g->p->mode->id == PM_PAE ? 2 : g->p->mode->levels, n, k;
	u8 table[PAGING_MAX_LEVEL], index[PAGING_MAX_LEVEL], scratch[PAGING_MAX_LEVEL];
	struct entry_spec e;

	n = follow(g, some_path(g, scratch), table, index);
	k = gen_chance(g, 70) ? n - 1 : (int)gen_below(g, n);
	if (gen_chance(g, 5)) {
		table[k] = gen_below(g, PROGRAM_TABLES);
		index[k] = gen_below(g, PROGRAM_INDICES);
	}
	e = g->entry[table[k]][index[k]];
	if (gen_chance(g, 40) && e.target != TARGET_RAW) {
		static const u64 bits[] = {PTE_P, PTE_W, PTE_U, PTE_A, PTE_D, PTE_G, PTE_NX};

		e.bits ^= bits[gen_below(g, ARRAY_LEN(bits))];
		if (gen_chance(g, 30))
			e.bits |= PTE_P;
	} else {
		e = random_entry(g, top - k);
	}
	add_set(g, table[k], index[k], e);
}

/* Whether an entry ends a walk at @level in a fault, most likely. */
static bool is_broken(const struct entry_spec *e, int level)
{
	if (!(e->bits & PTE_P) || (e->bits & (BIT(51) | BIT(48))) || e->target == TARGET_RAW)
		return true;
	if (level == 1)
		return false;
	if (e->bits & (BIT(13) | (level > 3 ? PTE_G | PTE_PS : 0)))
		return true;
	if (e->bits & PTE_PS)
		return e->target != TARGET_BLOCK && e->target != TARGET_GIANT &&
		       e->target != TARGET_ALIAS_BLOCK;
	return e->target != TARGET_TABLE;
}

/* Makes a favourite address lead somewhere. */
void gen_map(struct gen *g, const u8 *path)
{
	int top = g->p->mode->id == PM_PAE ? 2 : g->p->mode->levels, n, k, tries;
	u8 table[PAGING_MAX_LEVEL], index[PAGING_MAX_LEVEL];

	for (tries = 0; tries < PAGING_MAX_LEVEL; tries++) {
		struct entry_spec e;

		n = follow(g, path, table, index);
		for (k = 0; k < n; k++)
			if (is_broken(&g->entry[table[k]][index[k]], top - k))
				break;
		if (k == n)
			return;
		e = random_entry(g, top - k);
		e.bits |= PTE_P | (gen_chance(g, 90) ? PTE_W : 0) | (gen_chance(g, 75) ? PTE_U : 0);
		e.bits &= ~PTE_NX;
		if (!is_broken(&e, top - k))
			add_set(g, table[k], index[k], e);
	}
}

/* --- steps ---------------------------------------------------------------------------------- */

/*
 * Whether the walk goes on in what is no memory of the guest's: no manual tells what comes of an access there, and it
 * would be left out.
 */
static bool leads_astray(struct gen *g, const u8 *path)
{
	int top = g->p->mode->id == PM_PAE ? 2 : g->p->mode->levels, n;
	u8 table[PAGING_MAX_LEVEL], index[PAGING_MAX_LEVEL];
	const struct entry_spec *e;

	n = follow(g, path, table, index);
	e = &g->entry[table[n - 1]][index[n - 1]];
	return n < top && (e->bits & PTE_P) && !(e->bits & PTE_PS) &&
	       (e->target == TARGET_HOLE || e->target == TARGET_RO || e->target == TARGET_ALIAS ||
		(e->target == TARGET_AWAY && !g->away));
}

void gen_access(struct gen *g)
{
	static const u8 kinds[] = {STEP_READ,  STEP_READ,    STEP_READ,	 STEP_READ,
				   STEP_WRITE, STEP_WRITE,   STEP_WRITE, STEP_EXEC,
				   STEP_EXEC,  STEP_CMPXCHG, STEP_XADD,	 STEP_CMPXCHG_WRONG};
	u8 scratch[PAGING_MAX_LEVEL];
	struct step s = {.kind = kinds[gen_below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	memcpy(s.path, some_path(g, scratch), sizeof(s.path));
	if (leads_astray(g, s.path) && gen_chance(g, 85))
		gen_map(g, s.path);
	s.flags = (gen_chance(g, 45) ? STEP_USER : 0) | (gen_chance(g, 15) ? STEP_AC : 0);
	s.place = gen_chance(g, 50) ? PLACE_DATA : gen_below(g, 4);
	if (s.kind <= STEP_WRITE && gen_chance(g, 9))
		s.place = gen_chance(g, 60) ? PLACE_CROSS : PLACE_MIDDLE;
	if (s.kind == STEP_EXEC)
		s.place = 0;
	else if (s.kind != STEP_READ && s.place != PLACE_DATA && s.place != PLACE_CROSS &&
		 s.kind != STEP_XADD)
		s.entry = random_entry(g, 1 + gen_below(g, 2));
	else if (s.kind == STEP_XADD && s.place < PLACE_DATA)
		s.entry.bits = PTE_W << gen_below(g, 3);
	else if (s.kind != STEP_READ)
		s.entry.bits = gen_below(g, 0x10000);
	program_add(g->p, s);
}

void gen_flush_of(struct gen *g, const u8 *path)
{
	struct step s = {.kind = STEP_INVLPG, .vcpu = g->vcpu};
	u32 dice = gen_below(g, 100);

	memcpy(s.path, path, sizeof(s.path));
	if (dice >= 45 && dice < 65) {
		s.kind = STEP_INVPCID;
		s.number = gen_below(g, 4);
		s.pcid = gen_chance(g, 50) ? 0 : gen_below(g, 4);
	} else if (dice >= 65) {
		s.kind = STEP_CR3;
		s.number = gen_chance(g, 50) ? g->root[g->vcpu] : gen_below(g, PROGRAM_ROOTS);
		s.pcid = gen_chance(g, 40) ? s.number : gen_below(g, 3);
		s.flags = gen_chance(g, 55) ? STEP_NOFLUSH : 0;
		g->root[g->vcpu] = s.number;
		memset(s.path, 0, sizeof(s.path));
	}
	program_add(g->p, s);
}

static void add_flush(struct gen *g)
{
	u8 scratch[PAGING_MAX_LEVEL];

	gen_flush_of(g, some_path(g, scratch));
}

static void add_register(struct gen *g)
{
	static const u8 kinds[] = {STEP_WP,  STEP_WP,	STEP_SMEP,  STEP_SMAP, STEP_PGE,
				   STEP_PKE, STEP_PKRU, STEP_PCIDE, STEP_NX,   STEP_PSE};
	struct step s = {.kind = kinds[gen_below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	s.number = gen_below(g, 2);
	if (s.kind == STEP_PSE && g->p->mode->id != PM_32)
		s.kind = STEP_SMEP;
	if (s.kind == STEP_NX || s.kind == STEP_PSE)
		s.number = gen_chance(g, 80);
	if (s.kind == STEP_PKRU) {
		s.number = 0;
		s.value = gen_next(g) & 0xfc;
	}
	program_add(g->p, s);
}

static void add_host(struct gen *g)
{
	static const u8 kinds[] = {
		STEP_DELETE,	 STEP_MOVE,	  STEP_LOG,	    STEP_LOG,	    STEP_DIRTY_GET,
		STEP_DIRTY_GET,	 STEP_DIRTY_GET,  STEP_DIRTY_CLEAR, STEP_ZERO,	    STEP_PROTECT,
		STEP_PROTECT,	 STEP_NR_PAGES,	  STEP_HUGE,	    STEP_COLLAPSE,  STEP_PAGEOUT,
		STEP_LOG_TABLES, STEP_DIRTY_LOOK, STEP_CLEAR_LOG,   STEP_CLEAR_LOG, STEP_AGE,
		STEP_ALIAS,	 STEP_REFILL,	  STEP_REFILL};
	struct step s = {.kind = kinds[gen_below(g, ARRAY_LEN(kinds))]};
	u8 max = step_formats[s.kind].max;

	if (!g->slot_there)
		s.kind = STEP_ADD;
	else if (g->logging && s.kind == STEP_LOG && gen_chance(g, 60))
		s.kind = STEP_DIRTY_GET;
	else if (max)
		s.number = gen_below(g, max + 1);
	if (s.kind == STEP_MOVE)
		s.number = !g->away;
	if (s.kind == STEP_LOG)
		s.number = !g->logging;
	if (s.kind == STEP_NR_PAGES)
		s.value = gen_below(g, 64);
	if (s.kind == STEP_LOG_TABLES)
		s.number = !g->log_tables;
	if (s.kind == STEP_CLEAR_LOG)
		s.value = gen_chance(g, 50) ? BIT(gen_below(g, PROGRAM_FRAMES))
					    : 1 + gen_below(g, 0xffff);
	program_add(g->p, s);
	if (s.kind == STEP_DELETE || s.kind == STEP_ADD)
		g->slot_there = s.kind == STEP_ADD;
	if (s.kind == STEP_DELETE)
		g->logging = false;
	if (s.kind == STEP_MOVE)
		g->away = s.number;
	if (s.kind == STEP_LOG)
		g->logging = s.number;
	if (s.kind == STEP_LOG_TABLES)
		g->log_tables = s.number;
	if (s.kind == STEP_ALIAS)
		g->alias = s.number;
}

static void add_smm(struct gen *g)
{
	static const u8 kinds[] = {STEP_SMM_WRITE, STEP_SMM_READ, STEP_SMM_SET};
	struct step s = {.kind = kinds[gen_below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	if (s.kind == STEP_SMM_SET) {
		s.table = gen_below(g, PROGRAM_TABLES);
		s.index = 1 + gen_below(g, PROGRAM_INDICES);
		s.entry = random_entry(g, 1 + gen_below(g, 2));
		g->entry[s.table][s.index - 1] = s.entry;
	} else {
		s.number = gen_below(g, PROGRAM_FRAMES - 4);
		s.value = s.kind == STEP_SMM_WRITE ? gen_below(g, 0x10000) : 0;
	}
	program_add(g->p, s);
}

static void add_pdpte(struct gen *g)
{
	struct step s = {.kind = STEP_PDPTE, .vcpu = g->vcpu};

	s.number = gen_below(g, 3 * PROGRAM_ROOTS);
	s.entry = (struct entry_spec){TARGET_TABLE, gen_below(g, PROGRAM_TABLES), PTE_P};
	g->pdpte[s.number] = s.entry.number;
	g->root[g->vcpu] = s.number / 3;
	program_add(g->p, s);
}

void gen_access_of(struct gen *g, const u8 *path)
{
	u32 n = g->p->nr_steps;

	gen_access(g);
	memcpy(g->p->steps[n].path, path, PAGING_MAX_LEVEL);
}

void gen_cr3(struct gen *g, u32 root, u32 pcid, bool noflush)
{
	program_add(g->p, (struct step){.kind = STEP_CR3,
					.vcpu = g->vcpu,
					.number = root,
					.pcid = pcid,
					.flags = noflush ? STEP_NOFLUSH : 0});
	g->root[g->vcpu] = root;
}

static void add_step(struct gen *g)
{
	u32 dice = gen_below(g, 1000);

	if (g->o->vcpus > 1 && gen_chance(g, 8))
		g->vcpu = gen_below(g, g->o->vcpus);
	if (!g->slot_there && gen_chance(g, 10))
		add_host(g);
	else if (dice < 560)
		gen_access(g);
	else if (dice < 740)
		gen_edit(g);
	else if (dice < 850)
		add_flush(g);
	else if (dice < 880)
		add_register(g);
	else if (dice < 882)
		add_smm(g);
	else if (dice < 884 && g->p->mode->id == PM_PAE)
		add_pdpte(g);
	else if (dice < 898)
		gen_idiom(g);
	else if (dice < 900)
		gen_special(g);
	else if (dice < 900u + g->races)
		gen_together(g);
	else if (dice < 980 || !g->o->host)
		gen_map(g, g->favourite[gen_below(g, FAVOURITES)]);
	else
		add_host(g);
}

/* What most operating systems do first. */
static void start_vcpu(struct gen *g)
{
	struct step s = {.vcpu = g->vcpu, .number = 1};

	s.kind = STEP_PGE;
	if (gen_chance(g, 60))
		program_add(g->p, s);
	s.kind = STEP_PCIDE;
	if (g->p->mode->long_mode && gen_chance(g, 50))
		program_add(g->p, s);
	s.kind = STEP_PSE;
	s.number = 0;
	if (g->p->mode->id == PM_32 && gen_chance(g, 15))
		program_add(g->p, s);
}

void program_random(struct program *p, const struct random_options *o)
{
	struct gen g = {.p = p, .o = o, .state = o->seed * 0x2545f4914f6cdd1dull + 1};
	u32 i, k;

	program_init(p, o->mode);
	p->nr_vcpus = o->vcpus;
	p->backing = o->thp ? MEM_THP : MEM_ANON;
	p->log = o->log;
	g.slot_there = true;
	/* A race of three is much likelier to meet somebody in the midst of something. */
	g.races = gen_chance(&g, 12 * o->vcpus) ? 70 : 4;
	for (i = 0; i < 3 * PROGRAM_ROOTS; i++)
		g.pdpte[i] = i % PROGRAM_TABLES;
	for (i = 0; i < FAVOURITES; i++)
		for (k = 0; k < PAGING_MAX_LEVEL; k++)
			g.favourite[i][k] = k >= o->mode->levels ? 0
					    : i && gen_chance(&g, 60)
						    ? g.favourite[i - 1][k]
						    : 1 + gen_below(&g, PROGRAM_INDICES);
	for (i = 0; i < FAVOURITES; i++)
		gen_map(&g, g.favourite[i]);
	for (g.vcpu = 0; g.vcpu < o->vcpus; g.vcpu++)
		start_vcpu(&g);
	g.vcpu = 0;
	while (p->nr_steps < o->steps)
		add_step(&g);
}
