// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps that vCPUs and host take together. Most of it by chance; and what has gone wrong in MMUs: pages that are taken away
 * while others fault on them or on their neighbours, and locked operations on the same word of a page that the hypervisor
 * watches.
 */
#include <string.h>

#include "random_priv.h"

/*
 * Everybody at the same time: accesses to a few pages, edits of what leads there, and a host that takes the pages away or looks
 * at the log; afterwards each vCPU looks at what is left.
 */
static void any_race(struct gen *g)
{
	static const u8 host[] = {STEP_ZERO,	  STEP_ZERO,	  STEP_ZERO,	  STEP_DELETE,
				  STEP_DIRTY_GET, STEP_DIRTY_GET, STEP_CLEAR_LOG, STEP_PROTECT,
				  STEP_PAGEOUT,	  STEP_NR_PAGES,  STEP_AGE,	  STEP_COLLAPSE};
	u32 self = g->vcpu, i, n = 6 + gen_below(g, 18), first, edits = gen_chance(g, 50) ? 15 : 0;
	u32 hosts = g->o->host && g->slot_there ? gen_below(g, 40) : 0;
	u8 kind = host[gen_below(g, ARRAY_LEN(host))];

	if (hosts && (kind == STEP_DIRTY_GET || kind == STEP_CLEAR_LOG) && !g->logging) {
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
		g->logging = true;
	}
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = gen_below(g, 0x10000)});
	for (i = 0; i < n; i++) {
		g->vcpu = gen_below(g, g->o->vcpus);
		first = g->p->nr_steps;
		if (gen_chance(g, i ? hosts : 50)) {
			struct step s = {.kind = gen_chance(g, 80)
							 ? kind
							 : host[gen_below(g, ARRAY_LEN(host))]};
			u8 max = step_formats[s.kind].max;

			s.number = max ? gen_below(g, max + 1) : 0;
			s.value = 1 + gen_below(g, s.kind == STEP_CLEAR_LOG ? 0xffff : 63);
			if (!strchr(step_formats[s.kind].operands, 'V'))
				s.value = 0;
			g->logging &= s.kind != STEP_DELETE;
			program_add(g->p, s);
		} else if (gen_chance(g, edits)) {
			gen_edit(g);
		} else {
			gen_access(g);
			if (g->p->steps[first].kind != STEP_READ)
				g->p->steps[first].place = PLACE_DATA;
			if (g->p->steps[first].kind == STEP_EXEC)
				g->p->steps[first].place = 0;
		}
	}
	program_add(g->p, (struct step){.kind = STEP_APART});
	for (g->vcpu = 0; g->vcpu < g->o->vcpus; g->vcpu++)
		for (i = 0; i < FAVOURITES; i++)
			gen_access_of(g, g->favourite[i]);
	if (g->logging && g->o->host)
		program_add(g->p, (struct step){.kind = STEP_DIRTY_GET});
	g->vcpu = self;
}

static void add_access_to(struct gen *g, enum step_kind kind, const u8 *path, u8 flags)
{
	struct step s = {.kind = kind, .vcpu = g->vcpu, .flags = flags, .place = PLACE_DATA};

	memcpy(s.path, path, sizeof(s.path));
	if (kind != STEP_READ)
		s.entry.bits = 1 + gen_below(g, 0xffff);
	program_add(g->p, s);
}

static void add_map(struct gen *g, const u8 *path, struct entry_spec e)
{
	struct step s = {.kind = STEP_MAP, .vcpu = g->vcpu, .entry = e};

	memcpy(s.path, path, sizeof(s.path));
	program_add(g->p, s);
}

/* All vCPUs have the root of this one, and have flushed. */
static void gather(struct gen *g)
{
	u32 self = g->vcpu, root = g->root[self];

	for (g->vcpu = 0; g->vcpu < g->o->vcpus; g->vcpu++)
		gen_cr3(g, root, 0, false);
	g->vcpu = self;
}

#define NEIGHBOURS 3 /* pages side by side: the fourth is at the table's other end */

/* Neighbours that are used while the host discards them, first mapped or not. */
static void discard_race(struct gen *g)
{
	u32 block = gen_chance(g, 90) ? PROGRAM_BLOCKS - 1 : gen_below(g, PROGRAM_BLOCKS),
	    self = g->vcpu, i, k;
	u32 n = gen_chance(g, 50) ? 3 + gen_below(g, 6) : 12 + gen_below(g, 30);
	bool whole = gen_chance(g, 50), stores = gen_chance(g, 60);
	u32 hosts = 100 * (1 + gen_below(g, 4)) / n;
	u32 pages = whole && gen_chance(g, 70) ? NEIGHBOURS : 1 + gen_below(g, NEIGHBOURS);
	u64 bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	u8 flags = gen_chance(g, 50) ? STEP_USER : STEP_AC, path[NEIGHBOURS][PAGING_MAX_LEVEL];

	for (i = 0; i < pages; i++) {
		memcpy(path[i], g->favourite[0], PAGING_MAX_LEVEL);
		path[i][g->p->mode->levels - 1] = 1 + i;
		add_map(g, path[i], (struct entry_spec){TARGET_FRAME, 4 * block + i, bits});
	}
	gather(g);
	for (i = 0; i < pages; i++)
		add_access_to(g, STEP_WRITE, path[i], flags);
	if (gen_chance(g, 70)) {
		program_add(g->p, (struct step){.kind = STEP_DELETE});
		program_add(g->p, (struct step){.kind = STEP_ADD});
		g->logging = false;
	}
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = gen_below(g, 0x10000)});
	for (i = 0; i < n; i++) {
		g->vcpu = gen_below(g, g->o->vcpus);
		k = gen_below(g, pages);
		if (gen_chance(g, i ? hosts : 50))
			program_add(
				g->p,
				whole ? (struct step){.kind = STEP_ZERO_BLOCK, .number = block}
				      : (struct step){.kind = STEP_ZERO, .number = 4 * block + k});
		else
			add_access_to(g,
				      !stores		  ? STEP_READ
				      : gen_chance(g, 50) ? STEP_WRITE
							  : STEP_XADD,
				      path[k], flags);
	}
	program_add(g->p, (struct step){.kind = STEP_APART});
	for (g->vcpu = 0; g->vcpu < g->o->vcpus; g->vcpu++)
		for (i = 0; i < pages; i++) {
			add_access_to(g, STEP_READ, path[i], flags);
			add_access_to(g, STEP_WRITE, path[i], flags);
		}
	g->vcpu = self;
	if (gen_chance(g, 70))
		program_add(g->p, (struct step){.kind = STEP_REFILL});
	for (i = 0; i < pages; i++) {
		add_access_to(g, STEP_READ, path[i], flags);
		add_map(g, path[i],
			(struct entry_spec){TARGET_FRAME, gen_below(g, PROGRAM_FRAMES - 4), bits});
	}
}

/*
 * One page is used for the first time while the host discards its neighbour in the same table, which whoever maps the one
 * could map ahead.
 */
static void neighbour_race(struct gen *g)
{
	u32 self = g->vcpu, one = PROGRAM_FRAMES - 4 + gen_below(g, 4), other = gen_below(g, 4), i;
	u64 bits = PTE_P | PTE_W | PTE_U;
	u8 flags = gen_chance(g, 50) ? STEP_USER : STEP_AC, path[2][PAGING_MAX_LEVEL];

	for (i = 0; i < 2; i++) {
		memcpy(path[i], g->favourite[0], PAGING_MAX_LEVEL);
		path[i][g->p->mode->levels - 1] = 1 + i;
	}
	add_map(g, path[0], (struct entry_spec){TARGET_FRAME, one, bits | PTE_A | PTE_D});
	/* Not accessed, so that it is not mapped ahead itself. */
	add_map(g, path[1], (struct entry_spec){TARGET_FRAME, other, bits});
	gather(g);
	add_access_to(g, STEP_WRITE, path[0], flags);
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = gen_below(g, 0x10000)});
	program_add(g->p, (struct step){.kind = STEP_ZERO, .number = one});
	for (i = 0; i < g->o->vcpus; i++) {
		g->vcpu = i;
		add_access_to(g, STEP_READ, path[1], flags);
	}
	program_add(g->p, (struct step){.kind = STEP_APART});
	for (g->vcpu = 0; g->vcpu < g->o->vcpus; g->vcpu++)
		add_access_to(g, STEP_READ, path[0], flags);
	g->vcpu = self;
}

/*
 * A page that was only written so far becomes a table while the host takes it out of the log: both want it protected, and
 * neither may rely on the other's flush.
 */
static void table_race(struct gen *g)
{
	u32 self = g->vcpu, writer = (self + 1) % g->o->vcpus, root = g->root[self], i;
	u32 levels = g->p->mode->levels, leaf = PROGRAM_TABLES - 1, up = root;
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u64 bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	struct step set = {.kind = STEP_SET, .vcpu = self};

	if (!g->log_tables)
		program_add(g->p, (struct step){.kind = STEP_LOG_TABLES, .number = 1});
	g->log_tables = true;
	/* Nobody knows it as a table any more. */
	program_add(g->p, (struct step){.kind = STEP_DELETE});
	program_add(g->p, (struct step){.kind = STEP_ADD});
	g->logging = false;
	if (g->p->mode->id == PM_PAE)
		up = g->pdpte[3 * root + (path[0] - 1) % 3];
	for (i = g->p->mode->id == PM_PAE; i + 1 < levels; i++) {
		set.table = up;
		set.index = path[i];
		up = i + 2 == levels ? leaf : PROGRAM_ROOTS + i;
		set.entry = (struct entry_spec){TARGET_TABLE, up, bits};
		g->entry[set.table][set.index - 1] = set.entry;
		program_add(g->p, set);
	}
	gather(g);
	set = (struct step){.kind = STEP_SET, .vcpu = writer, .table = leaf};
	set.index = path[levels - 1];
	set.entry = (struct entry_spec){TARGET_FRAME, gen_below(g, PROGRAM_FRAMES - 4), bits};
	program_add(g->p, set);
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = gen_below(g, 0x10000)});
	program_add(g->p, (struct step){.kind = STEP_DIRTY_GET});
	add_access_to(g, STEP_READ, path, 0);
	set.entry.number = (set.entry.number + 1) % PROGRAM_FRAMES;
	g->entry[leaf][set.index - 1] = set.entry;
	program_add(g->p, set);
	program_add(g->p, (struct step){.kind = STEP_APART});
	set = (struct step){.kind = STEP_INVLPG, .vcpu = self};
	memcpy(set.path, path, sizeof(set.path));
	program_add(g->p, set);
	add_access_to(g, STEP_READ, path, 0);
}

/* Additions to one word of a table's page, whose writes the shadow MMU makes itself. */
static void addition_race(struct gen *g)
{
	u32 self = g->vcpu, n = 4 + gen_below(g, 8), i;
	u64 bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u8 flags = gen_chance(g, 50) ? STEP_USER : STEP_AC;

	add_map(g, path, (struct entry_spec){TARGET_TABLE, g->root[self], bits});
	gather(g);
	add_access_to(g, STEP_READ, path, flags);
	program_add(g->p, (struct step){.kind = STEP_TOGETHER, .value = gen_below(g, 0x10000)});
	for (i = 0; i < n; i++) {
		g->vcpu = i % g->o->vcpus;
		add_access_to(g, STEP_XADD, path, flags);
	}
	program_add(g->p, (struct step){.kind = STEP_APART});
	g->vcpu = self;
	add_access_to(g, STEP_READ, path, flags);
}

void gen_together(struct gen *g)
{
	u32 dice = gen_below(g, 100);

	if (dice < 60 && g->o->host && g->slot_there && !g->away)
		discard_race(g);
	else if (dice < 65 && g->o->vcpus > 1)
		addition_race(g);
	else if (dice < 75 && g->o->host && g->slot_there && !g->away)
		neighbour_race(g);
	else if (dice < 83 && g->o->host && g->slot_there && g->o->vcpus > 1)
		table_race(g);
	else
		any_race(g);
}
