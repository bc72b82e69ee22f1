// SPDX-License-Identifier: GPL-2.0-only
/*
 * The generator. Steps that have nothing to do with each other find nothing, so it works on a few
 * favourite addresses: it keeps track of what the tables hold, so that most entries it sets are on
 * the way to one of those, most accesses go there, and an entry that was just used is the
 * likeliest to be changed next.
 */
#include <string.h>

#include "random_program.h"

#define FAVOURITES 4
#define RECENT	   6

struct gen {
	struct program *p;
	const struct random_options *o;
	u64 state;
	struct entry_spec entry[PROGRAM_TABLES][PROGRAM_INDICES]; /* as the steps so far set them */
	u8 favourite[FAVOURITES][PAGING_MAX_LEVEL];
	u8 root[PROGRAM_VCPUS];
	u8 pdpte[3 * PROGRAM_ROOTS];
	u8 vcpu;
	bool slot_there, away, logging, log_tables;
	u8 alias;
};

/* splitmix64 */
static u64 next(struct gen *g)
{
	u64 z = g->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static u32 below(struct gen *g, u32 n)
{
	return (next(g) >> 32) * n >> 32;
}

static bool chance(struct gen *g, u32 percent)
{
	return below(g, 100) < percent;
}

/* --- entries ------------------------------------------------------------------------------ */

static u64 random_flags(struct gen *g, int level)
{
	u64 f = 0;

	f |= chance(g, 95) ? PTE_P : 0;
	f |= chance(g, level > 1 ? 90 : 75) ? PTE_W : 0;
	f |= chance(g, level > 1 ? 85 : 65) ? PTE_U : 0;
	f |= chance(g, 40) ? PTE_A : 0;
	f |= chance(g, 25) ? PTE_D : 0;
	f |= chance(g, level == 1 ? 25 : 2) ? PTE_G : 0;
	f |= chance(g, 5) ? PTE_NX : 0;
	f |= chance(g, 3) ? PTE_PCD : 0;
	f |= chance(g, 3) ? PTE_PWT : 0;
	f |= chance(g, 1) && chance(g, 50) ? BIT(51) : 0;
	f |= chance(g, 1) && chance(g, 50) ? BIT(48) : 0;
	f |= chance(g, 1) && level > 1 ? PTE_PS : 0;
	if (chance(g, 15))
		f |= PTE_PKEY(below(g, 4));
	if (level > 1 && chance(g, 1))
		f |= chance(g, 70) ? BIT(12) : BIT(13);
	return f;
}

static struct entry_spec to_target(struct gen *g, enum target_kind kind, u64 flags)
{
	return (struct entry_spec){kind, below(g, target_counts[kind]), flags};
}

/* What is likely to make sense at @level. */
static struct entry_spec random_entry(struct gen *g, int level)
{
	u64 f = random_flags(g, level);
	u32 dice = below(g, 100);

	if (dice < 2)
		return (struct entry_spec){TARGET_RAW, 0, 0};
	if (level == 1) {
		if (dice < 75)
			return to_target(g,
					 chance(g, g->away ? 50 : 5)	? TARGET_AWAY
					 : chance(g, g->alias ? 30 : 1) ? TARGET_ALIAS
									: TARGET_FRAME,
					 f & ~PTE_PS);
		if (dice < 88)
			return to_target(g, TARGET_TABLE, f & ~PTE_PS);
		return to_target(g, dice < 96 ? TARGET_HOLE : TARGET_RO, f & ~PTE_PS);
	}
	if (level <= 3 && dice < (level == 2 ? 25 : 12)) {
		f |= PTE_PS | (chance(g, 25) ? PTE_G : 0);
		return to_target(g,
				 level > 2			? TARGET_GIANT
				 : chance(g, g->alias ? 30 : 1) ? TARGET_ALIAS_BLOCK
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

	if (chance(g, 90))
		return g->favourite[below(g, FAVOURITES)];
	memcpy(scratch, g->favourite[below(g, FAVOURITES)], PAGING_MAX_LEVEL);
	i = below(g, g->p->mode->levels);
	scratch[i] = 1 + below(g, PROGRAM_INDICES);
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
static void set_something(struct gen *g)
{
	int top = g->p->mode->id == PM_PAE ? 2 : g->p->mode->levels, n, k;
	u8 table[PAGING_MAX_LEVEL], index[PAGING_MAX_LEVEL], scratch[PAGING_MAX_LEVEL];
	struct entry_spec e;

	n = follow(g, some_path(g, scratch), table, index);
	k = chance(g, 70) ? n - 1 : (int)below(g, n);
	if (chance(g, 5)) {
		table[k] = below(g, PROGRAM_TABLES);
		index[k] = below(g, PROGRAM_INDICES);
	}
	e = g->entry[table[k]][index[k]];
	if (chance(g, 40) && e.target != TARGET_RAW) {
		static const u64 bits[] = {PTE_P, PTE_W, PTE_U, PTE_A, PTE_D, PTE_G, PTE_NX};

		e.bits ^= bits[below(g, ARRAY_LEN(bits))];
		if (chance(g, 30))
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
static void map_favourite(struct gen *g, const u8 *path)
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
		e.bits |= PTE_P | (chance(g, 90) ? PTE_W : 0) | (chance(g, 75) ? PTE_U : 0);
		e.bits &= ~PTE_NX;
		if (!is_broken(&e, top - k))
			add_set(g, table[k], index[k], e);
	}
}

/* --- steps ---------------------------------------------------------------------------------- */

static void add_access(struct gen *g)
{
	static const u8 kinds[] = {STEP_READ,  STEP_READ,    STEP_READ,	 STEP_READ,
				   STEP_WRITE, STEP_WRITE,   STEP_WRITE, STEP_EXEC,
				   STEP_EXEC,  STEP_CMPXCHG, STEP_XADD,	 STEP_CMPXCHG_WRONG};
	u8 scratch[PAGING_MAX_LEVEL];
	struct step s = {.kind = kinds[below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	memcpy(s.path, some_path(g, scratch), sizeof(s.path));
	s.flags = (chance(g, 45) ? STEP_USER : 0) | (chance(g, 15) ? STEP_AC : 0);
	s.place = chance(g, 50) ? PLACE_DATA : below(g, 4);
	if (s.kind <= STEP_WRITE && chance(g, 9))
		s.place = chance(g, 60) ? PLACE_CROSS : PLACE_MIDDLE;
	if (s.kind == STEP_EXEC)
		s.place = 0;
	else if (s.kind != STEP_READ && s.place != PLACE_DATA && s.place != PLACE_CROSS &&
		 s.kind != STEP_XADD)
		s.entry = random_entry(g, 1 + below(g, 2));
	else if (s.kind == STEP_XADD && s.place < PLACE_DATA)
		s.entry.bits = PTE_W << below(g, 3);
	else if (s.kind != STEP_READ)
		s.entry.bits = below(g, 0x10000);
	program_add(g->p, s);
}

static void add_flush_of(struct gen *g, const u8 *path)
{
	struct step s = {.kind = STEP_INVLPG, .vcpu = g->vcpu};
	u32 dice = below(g, 100);

	memcpy(s.path, path, sizeof(s.path));
	if (dice >= 45 && dice < 65) {
		s.kind = STEP_INVPCID;
		s.number = below(g, 4);
		s.pcid = chance(g, 50) ? 0 : below(g, 4);
	} else if (dice >= 65) {
		s.kind = STEP_CR3;
		s.number = chance(g, 50) ? g->root[g->vcpu] : below(g, PROGRAM_ROOTS);
		s.pcid = chance(g, 40) ? s.number : below(g, 3);
		s.flags = chance(g, 55) ? STEP_NOFLUSH : 0;
		g->root[g->vcpu] = s.number;
		memset(s.path, 0, sizeof(s.path));
	}
	program_add(g->p, s);
}

static void add_flush(struct gen *g)
{
	u8 scratch[PAGING_MAX_LEVEL];

	add_flush_of(g, some_path(g, scratch));
}

static void add_register(struct gen *g)
{
	static const u8 kinds[] = {STEP_WP,  STEP_WP,	STEP_SMEP,  STEP_SMAP, STEP_PGE,
				   STEP_PKE, STEP_PKRU, STEP_PCIDE, STEP_NX,   STEP_PSE};
	struct step s = {.kind = kinds[below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	s.number = below(g, 2);
	if (s.kind == STEP_PSE && g->p->mode->id != PM_32)
		s.kind = STEP_SMEP;
	if (s.kind == STEP_NX || s.kind == STEP_PSE)
		s.number = chance(g, 80);
	if (s.kind == STEP_PKRU) {
		s.number = 0;
		s.value = next(g) & 0xfc;
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
		STEP_ALIAS};
	struct step s = {.kind = kinds[below(g, ARRAY_LEN(kinds))]};
	u8 max = step_formats[s.kind].max;

	if (!g->slot_there)
		s.kind = STEP_ADD;
	else if (g->logging && s.kind == STEP_LOG && chance(g, 60))
		s.kind = STEP_DIRTY_GET;
	else if (max)
		s.number = below(g, max + 1);
	if (s.kind == STEP_MOVE)
		s.number = !g->away;
	if (s.kind == STEP_LOG)
		s.number = !g->logging;
	if (s.kind == STEP_NR_PAGES)
		s.value = below(g, 64);
	if (s.kind == STEP_LOG_TABLES)
		s.number = !g->log_tables;
	if (s.kind == STEP_CLEAR_LOG)
		s.value = chance(g, 50) ? BIT(below(g, PROGRAM_FRAMES)) : 1 + below(g, 0xffff);
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
	struct step s = {.kind = kinds[below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};

	if (s.kind == STEP_SMM_SET) {
		s.table = below(g, PROGRAM_TABLES);
		s.index = 1 + below(g, PROGRAM_INDICES);
		s.entry = random_entry(g, 1 + below(g, 2));
		g->entry[s.table][s.index - 1] = s.entry;
	} else {
		s.number = below(g, PROGRAM_FRAMES - 4);
		s.value = s.kind == STEP_SMM_WRITE ? below(g, 0x10000) : 0;
	}
	program_add(g->p, s);
}

static void add_pdpte(struct gen *g)
{
	struct step s = {.kind = STEP_PDPTE, .vcpu = g->vcpu};

	s.number = below(g, 3 * PROGRAM_ROOTS);
	s.entry = (struct entry_spec){TARGET_TABLE, below(g, PROGRAM_TABLES), PTE_P};
	g->pdpte[s.number] = s.entry.number;
	g->root[g->vcpu] = s.number / 3;
	program_add(g->p, s);
}

static void add_access_of(struct gen *g, const u8 *path)
{
	u32 n = g->p->nr_steps;

	add_access(g);
	memcpy(g->p->steps[n].path, path, PAGING_MAX_LEVEL);
}

static void add_cr3(struct gen *g, u32 root, u32 pcid, bool noflush)
{
	program_add(g->p, (struct step){.kind = STEP_CR3,
					.vcpu = g->vcpu,
					.number = root,
					.pcid = pcid,
					.flags = noflush ? STEP_NOFLUSH : 0});
	g->root[g->vcpu] = root;
}

/* An address is used, its way changed, perhaps while another root is in use, flushed, and used again. */
static void edit_and_flush(struct gen *g)
{
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	u32 home = g->root[g->vcpu], other = below(g, PROGRAM_ROOTS), n;
	bool leave = chance(g, 60);

	add_access_of(g, path);
	if (leave)
		add_cr3(g, other, other, true);
	set_something(g);
	n = g->p->nr_steps;
	add_flush_of(g, path);
	if (leave && g->p->steps[n].kind == STEP_INVPCID && chance(g, 70))
		g->p->steps[n].pcid = home;
	if (leave)
		add_cr3(g, home, home, true);
	add_access_of(g, path);
	add_access_of(g, path);
}

/* An address is used with a bit of a register this way and that way. */
static void toggle_and_use(struct gen *g)
{
	static const u8 kinds[] = {STEP_WP, STEP_SMEP, STEP_SMAP, STEP_NX, STEP_PSE, STEP_PKE};
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	struct step s = {.kind = kinds[below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};
	u32 i, first = chance(g, 50);

	for (i = 0; i < 3; i++) {
		s.number = (first + i) & 1;
		program_add(g->p, s);
		add_access_of(g, path);
		if (chance(g, 50))
			add_access_of(g, path);
	}
}

/* Another vCPU uses what this one then changes. */
static void edit_beside(struct gen *g)
{
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	u32 self = g->vcpu, other = below(g, g->o->vcpus);

	g->vcpu = other;
	add_access_of(g, path);
	g->vcpu = self;
	add_access_of(g, path);
	set_something(g);
	add_flush_of(g, path);
	add_access_of(g, path);
	g->vcpu = other;
	add_flush_of(g, path);
	add_access_of(g, path);
}

/* A page is written again and again while the host looks what is dirty. */
static void write_and_look(struct gen *g)
{
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	u32 i;

	if (g->slot_there && !g->logging) {
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
		g->logging = true;
	}
	for (i = 0; i < 3; i++) {
		u32 n = g->p->nr_steps;

		add_access_of(g, path);
		if (g->p->steps[n].kind == STEP_READ)
			g->p->steps[n].kind = STEP_WRITE;
		if (chance(g, 30))
			g->p->steps[n].place = PLACE_DATA;
		program_add(g->p, (struct step){.kind = chance(g, 40)	? STEP_DIRTY_GET
							: chance(g, 30) ? STEP_DIRTY_LOOK
									: STEP_CLEAR_LOG,
						.value = 1 + below(g, 0xffff)});
	}
}

/*
 * Everybody at the same time: accesses to a few pages, edits of what leads there, and a host that takes the pages away or looks
 * at the log; afterwards each vCPU looks at what is left.
 */
static void add_together(struct gen *g)
{
	static const u8 host[] = {STEP_ZERO,	  STEP_ZERO,	  STEP_ZERO,	  STEP_DELETE,
				  STEP_DIRTY_GET, STEP_DIRTY_GET, STEP_CLEAR_LOG, STEP_PROTECT,
				  STEP_PAGEOUT,	  STEP_NR_PAGES,  STEP_AGE,	  STEP_COLLAPSE};
	u32 self = g->vcpu, i, n = 6 + below(g, 18), first, edits = chance(g, 50) ? 15 : 0;
	u32 hosts = g->o->host && g->slot_there ? below(g, 40) : 0;
	u8 kind = host[below(g, ARRAY_LEN(host))];

	if (hosts && (kind == STEP_DIRTY_GET || kind == STEP_CLEAR_LOG) && !g->logging) {
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
		g->logging = true;
	}
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = below(g, 0x10000)});
	for (i = 0; i < n; i++) {
		g->vcpu = below(g, g->o->vcpus);
		first = g->p->nr_steps;
		if (chance(g, hosts)) {
			struct step s = {.kind = chance(g, 80) ? kind
							       : host[below(g, ARRAY_LEN(host))]};
			u8 max = step_formats[s.kind].max;

			s.number = max ? below(g, max + 1) : 0;
			s.value = 1 + below(g, s.kind == STEP_CLEAR_LOG ? 0xffff : 63);
			if (!strchr(step_formats[s.kind].operands, 'V'))
				s.value = 0;
			g->logging &= s.kind != STEP_DELETE;
			program_add(g->p, s);
		} else if (chance(g, edits)) {
			set_something(g);
		} else {
			add_access(g);
			if (g->p->steps[first].kind != STEP_READ)
				g->p->steps[first].place = PLACE_DATA;
			if (g->p->steps[first].kind == STEP_EXEC)
				g->p->steps[first].place = 0;
		}
	}
	program_add(g->p, (struct step){.kind = STEP_APART});
	for (g->vcpu = 0; g->vcpu < g->o->vcpus; g->vcpu++)
		for (i = 0; i < FAVOURITES; i++)
			add_access_of(g, g->favourite[i]);
	if (g->logging && g->o->host)
		program_add(g->p, (struct step){.kind = STEP_DIRTY_GET});
	g->vcpu = self;
}

/* A page is dropped, used, and aged; then used in all ways. */
static void age_and_use(struct gen *g)
{
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	u32 frame = below(g, PROGRAM_FRAMES), i;

	if (chance(g, 60))
		program_add(g->p, (struct step){.kind = STEP_ZERO, .number = frame});
	program_add(g->p, (struct step){.kind = STEP_MAP,
					.vcpu = g->vcpu,
					.path = {path[0], path[1], path[2], path[3], path[4]},
					.entry = {TARGET_FRAME, frame, PTE_P | PTE_W | PTE_U}});
	program_add(g->p, (struct step){.kind = STEP_INVLPG,
					.vcpu = g->vcpu,
					.path = {path[0], path[1], path[2], path[3], path[4]}});
	for (i = 0; i < 3; i++) {
		add_access_of(g, path);
		program_add(g->p, (struct step){.kind = STEP_AGE, .number = frame / 4});
	}
	add_access_of(g, path);
}

/*
 * The address is used with two roots and PCIDs, one of the two sees it change, and flushes what the other one has of
 * it.
 */
static void flush_from_afar(struct gen *g)
{
	const u8 *path = g->favourite[below(g, FAVOURITES)];
	u32 home = below(g, PROGRAM_ROOTS), away = (home + 1 + below(g, 2)) % PROGRAM_ROOTS;
	u32 pcid = 1 + below(g, 3), dice = below(g, 5), n;
	struct step flush = {.kind = STEP_INVPCID, .vcpu = g->vcpu, .pcid = pcid};

	program_add(g->p, (struct step){.kind = STEP_PCIDE, .vcpu = g->vcpu, .number = 1});
	add_cr3(g, home, pcid, chance(g, 50));
	map_favourite(g, path);
	add_access_of(g, path);
	set_something(g);
	add_access_of(g, path);
	add_cr3(g, away, pcid == 3 ? 1 : pcid + 1, true);
	map_favourite(g, path);
	n = g->root[g->vcpu];
	g->root[g->vcpu] = home;
	set_something(g); /* on the way that the other root has */
	g->root[g->vcpu] = n;
	memcpy(flush.path, path, sizeof(flush.path));
	flush.number = below(g, 4);
	if (dice == 0)
		flush = (struct step){.kind = STEP_PGE, .vcpu = g->vcpu, .number = below(g, 2)};
	if (dice == 1)
		flush.kind = STEP_INVLPG;
	program_add(g->p, flush);
	add_cr3(g, home, pcid, true);
	add_access_of(g, path);
	add_access_of(g, path);
}

/* Huge pages below, the log, and bits taken out of it here and there. */
static void clear_and_write(struct gen *g)
{
	u32 block = below(g, PROGRAM_BLOCKS), i;
	const u8 *path = g->favourite[below(g, FAVOURITES)];

	if (g->logging)
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 0});
	if (chance(g, 40))
		program_add(g->p, (struct step){.kind = STEP_COLLAPSE, .number = block});
	for (i = 0; i < 3; i++)
		add_access_of(g, g->favourite[below(g, FAVOURITES)]);
	program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
	g->logging = true;
	for (i = 0; i < 3; i++) {
		program_add(g->p, (struct step){.kind = STEP_CLEAR_LOG,
						.value = (1 + below(g, 15)) << 4 * block |
							 (chance(g, 30) ? BIT(below(g, 16)) : 0)});
		add_access_of(g, path);
		add_access_of(g, g->favourite[below(g, FAVOURITES)]);
	}
	program_add(g->p, (struct step){.kind = STEP_DIRTY_LOOK});
}

static void add_idiom(struct gen *g)
{
	u32 dice = below(g, 100);

	if (dice < 25)
		edit_and_flush(g);
	else if (dice < 45)
		toggle_and_use(g);
	else if (dice < 60 && g->p->mode->long_mode)
		flush_from_afar(g);
	else if (dice < 75 || !g->o->host)
		edit_beside(g);
	else if (dice < 82)
		age_and_use(g);
	else if (dice < 90 && g->slot_there)
		clear_and_write(g);
	else
		write_and_look(g);
}

static void add_step(struct gen *g)
{
	u32 dice = below(g, 1000);

	if (g->o->vcpus > 1 && chance(g, 8))
		g->vcpu = below(g, g->o->vcpus);
	if (!g->slot_there && chance(g, 10))
		add_host(g);
	else if (dice < 560)
		add_access(g);
	else if (dice < 740)
		set_something(g);
	else if (dice < 850)
		add_flush(g);
	else if (dice < 880)
		add_register(g);
	else if (dice < 882)
		add_smm(g);
	else if (dice < 884 && g->p->mode->id == PM_PAE)
		add_pdpte(g);
	else if (dice < 900)
		add_idiom(g);
	else if (dice < 905)
		add_together(g);
	else if (dice < 975 || !g->o->host)
		map_favourite(g, g->favourite[below(g, FAVOURITES)]);
	else
		add_host(g);
}

/* What most operating systems do first. */
static void start_vcpu(struct gen *g)
{
	struct step s = {.vcpu = g->vcpu, .number = 1};

	s.kind = STEP_PGE;
	if (chance(g, 60))
		program_add(g->p, s);
	s.kind = STEP_PCIDE;
	if (g->p->mode->long_mode && chance(g, 50))
		program_add(g->p, s);
	s.kind = STEP_PSE;
	s.number = 0;
	if (g->p->mode->id == PM_32 && chance(g, 15))
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
	for (i = 0; i < 3 * PROGRAM_ROOTS; i++)
		g.pdpte[i] = i % PROGRAM_TABLES;
	for (i = 0; i < FAVOURITES; i++)
		for (k = 0; k < PAGING_MAX_LEVEL; k++)
			g.favourite[i][k] = k >= o->mode->levels  ? 0
					    : i && chance(&g, 60) ? g.favourite[i - 1][k]
								  : 1 + below(&g, PROGRAM_INDICES);
	for (i = 0; i < FAVOURITES; i++)
		map_favourite(&g, g.favourite[i]);
	for (g.vcpu = 0; g.vcpu < o->vcpus; g.vcpu++)
		start_vcpu(&g);
	g.vcpu = 0;
	while (p->nr_steps < o->steps)
		add_step(&g);
}
