// SPDX-License-Identifier: GPL-2.0-only
/*
 * Idioms that single random steps hardly ever make: many steps that have to fit together until some mechanism of a
 * hypervisor's MMU has anything to do.
 */
#include <string.h>

#include "random_priv.h"

#define RIGHTS (PTE_P | PTE_W | PTE_U)

static struct step *put(struct gen *g, enum step_kind kind, const u8 *path, u32 number)
{
	struct step s = {.kind = kind, .number = number};

	if (kind < STEP_HOST)
		s.vcpu = g->vcpu;
	if (path)
		memcpy(s.path, path, sizeof(s.path));
	program_add(g->p, s);
	return &g->p->steps[g->p->nr_steps - 1];
}

static void put_map(struct gen *g, const u8 *path, enum target_kind kind, u32 number, u64 flags)
{
	put(g, STEP_MAP, path, 0)->entry = (struct entry_spec){kind, number, flags};
}

static void put_set(struct gen *g, u32 table, u32 index, enum target_kind kind, u32 number,
		    u64 flags)
{
	struct step *s = put(g, STEP_SET, NULL, 0);

	s->table = table;
	s->index = index;
	s->entry = (struct entry_spec){kind, number, flags};
	g->entry[table][index - 1] = s->entry;
}

static void put_cr3(struct gen *g, u32 root, u32 pcid, bool noflush)
{
	struct step *s = put(g, STEP_CR3, NULL, root);

	s->pcid = pcid;
	s->flags = noflush ? STEP_NOFLUSH : 0;
	g->root[g->vcpu] = root;
}

static void put_access(struct gen *g, enum step_kind kind, const u8 *path, u32 flags)
{
	struct step *s = put(g, kind, path, 0);

	s->flags = flags;
	s->place = kind == STEP_EXEC ? 0 : PLACE_DATA;
	if (kind == STEP_WRITE)
		s->entry.bits = gen_below(g, 0x10000);
}

static void some_path(struct gen *g, u8 path[PAGING_MAX_LEVEL])
{
	memcpy(path, g->favourite[gen_below(g, FAVOURITES)], PAGING_MAX_LEVEL);
}

/* A large page is used, changed, and flushed by the address of another place in it. */
static void flush_beside(struct gen *g)
{
	u8 path[PAGING_MAX_LEVEL], beside[PAGING_MAX_LEVEL];
	u32 bottom = g->p->mode->levels - 1, block = gen_below(g, PROGRAM_BLOCKS);
	u64 flags = RIGHTS | PTE_PS | (gen_chance(g, 30) ? PTE_G : 0);

	some_path(g, path);
	memcpy(beside, path, sizeof(beside));
	beside[bottom] = 1 + (path[bottom] + gen_below(g, 3)) % PROGRAM_INDICES;
	put_map(g, path, TARGET_BLOCK, block, flags);
	put(g, STEP_INVLPG, path, 0);
	put_access(g, gen_chance(g, 50) ? STEP_READ : STEP_WRITE, path, 0);
	if (gen_chance(g, 50))
		put_access(g, STEP_READ, beside, 0);
	put_map(g, path, TARGET_BLOCK, (block + gen_below(g, 3)) % PROGRAM_BLOCKS,
		gen_chance(g, 50) ? flags : flags ^ (gen_chance(g, 50) ? PTE_P : PTE_W));
	put(g, STEP_INVLPG, beside, 0);
	put_access(g, gen_chance(g, 50) ? STEP_READ : STEP_WRITE, path, 0);
	put_access(g, STEP_READ, beside, 0);
}

/* Links @path below @root by @n tables of its own. The last one's number. */
static u32 lay(struct gen *g, const u8 *path, u32 root, u32 n)
{
	u32 table = root, levels = g->p->mode->levels, i;
	u32 first = PROGRAM_ROOTS + gen_below(g, PROGRAM_TABLES - PROGRAM_ROOTS - levels + 2);

	for (i = 0; i < n; i++) {
		put_set(g, table, path[i], TARGET_TABLE, first + i, RIGHTS);
		table = first + i;
	}
	return table;
}

/* A global page that one PCID has used is changed and flushed while another one is in use. */
static void global_elsewhere(struct gen *g)
{
	u32 home = gen_below(g, PROGRAM_ROOTS), away = (home + 1) % PROGRAM_ROOTS, table, frame;
	u8 path[PAGING_MAX_LEVEL];
	u32 levels = g->p->mode->levels, rounds = 1 + gen_below(g, 2);

	some_path(g, path);
	frame = gen_below(g, PROGRAM_FRAMES);
	put(g, STEP_PCIDE, NULL, 1);
	put(g, STEP_PGE, NULL, 1);
	table = lay(g, path, home, levels - 1);
	put_set(g, table, path[levels - 1], TARGET_FRAME, frame, RIGHTS | PTE_G);
	put_cr3(g, home, 1, false);
	for (u32 i = 0; i < rounds; i++) {
		put_access(g, STEP_READ, path, 0);
		put_cr3(g, away, 2, gen_chance(g, 50));
		put_set(g, table, path[levels - 1], TARGET_FRAME, (frame + 1 + i) % PROGRAM_FRAMES,
			RIGHTS | PTE_G);
		put(g, gen_chance(g, 90) ? STEP_INVLPG : STEP_INVPCID, path,
		    gen_chance(g, 50) ? 2 : 0);
		put_cr3(g, home, 1, true);
		put_access(g, STEP_READ, path, 0);
	}
}

/* A step that has parts, all of which are stores to tables. */
static void put_sets(struct gen *g, enum step_kind kind, u32 table, u32 index,
		     enum target_kind target, u32 number)
{
	struct step *s = put(g, kind, NULL, 0), part;

	s->table = table;
	s->index = index;
	s->entry = (struct entry_spec){target, number, RIGHTS};
	for (u32 n = 0; step_part(g->p, s, n, &part); n++)
		g->entry[part.table][part.index - 1] = part.entry;
}

/*
 * A few tables are reached with all kinds of rights on the way, so that each is shadowed many times; all change, and
 * CR3 is loaded, or registers that count among what makes shadow pages differ.
 */
static void rights_fan(struct gen *g)
{
	static const u8 registers[] = {STEP_WP, STEP_NX, STEP_SMEP};
	u32 levels = g->p->mode->levels, root = g->root[g->vcpu], i;
	u32 leaf = PROGRAM_TABLES - 4, last = PROGRAM_ROOTS + levels - 3;
	u32 frame = gen_below(g, PROGRAM_FRAMES);
	bool flags = gen_chance(g, 40);
	u8 all[PAGING_MAX_LEVEL] = {0};

	put_sets(g, STEP_FAN, root, 1, TARGET_TABLE, PROGRAM_ROOTS);
	put_sets(g, STEP_FAN, PROGRAM_ROOTS, 1, TARGET_TABLE, PROGRAM_ROOTS + 1);
	if (levels == 5)
		put_set(g, PROGRAM_ROOTS + 1, 1, TARGET_TABLE, last, RIGHTS);
	put_sets(g, STEP_FILL, last, 1, TARGET_TABLE, leaf);
	if (levels == 5)
		all[2] = 1;
	all[levels - 1] = 1;
	for (i = 0; i < 3; i++) {
		put_sets(g, STEP_SPREAD, leaf, 1, TARGET_FRAME, (frame + i) % PROGRAM_FRAMES);
		if (flags)
			put(g, registers[i], NULL, gen_below(g, 2));
		else
			put_cr3(g, root, root, false);
		put(g, STEP_READ_ALL, all, 0);
	}
	if (g->o->host && gen_chance(g, 50)) {
		put(g, STEP_NR_PAGES, NULL, 0);
		put(g, STEP_READ_ALL, all, 0);
	}
}

/* A page is written again and again, each time as if for the first time, and nobody looks at the ring. */
static void fill_ring(struct gen *g)
{
	u32 frame = gen_below(g, PROGRAM_FRAMES);
	u8 path[PAGING_MAX_LEVEL];

	if (!g->logging)
		put(g, STEP_LOG, NULL, 1);
	g->logging = true;
	some_path(g, path);
	put_map(g, path, TARGET_FRAME, frame, RIGHTS);
	put(g, STEP_INVLPG, path, 0);
	put_access(g, STEP_WRITE, path, 0);
	put(g, STEP_PROTECT, NULL, frame / 4);
	put(g, STEP_AGAIN, NULL, 2)->value = 200 + gen_below(g, 100);
}

/* Code breaks a huge page up, which comes back after a while. */
static void break_up(struct gen *g)
{
	u8 path[PAGING_MAX_LEVEL];

	some_path(g, path);
	put_map(g, path, TARGET_BLOCK, gen_below(g, PROGRAM_BLOCKS), RIGHTS | PTE_PS);
	put(g, STEP_INVLPG, path, 0);
	put_access(g, STEP_EXEC, path, 0);
	put_access(g, gen_chance(g, 50) ? STEP_READ : STEP_WRITE, path, 0);
	put(g, STEP_RECOVER, NULL, 0);
	put_access(g, STEP_READ, path, 0);
	path[g->p->mode->levels - 1] = 1 + gen_below(g, PROGRAM_INDICES);
	put_access(g, gen_chance(g, 70) ? STEP_EXEC : STEP_WRITE, path, 0);
	put_access(g, STEP_READ, path, 0);
}

/* A user page is the processor's own to read, with SMAP on. */
static void read_descriptor(struct gen *g)
{
	u8 path[PAGING_MAX_LEVEL];

	some_path(g, path);
	put_map(g, path, TARGET_FRAME, gen_below(g, PROGRAM_FRAMES), RIGHTS);
	put(g, STEP_SMAP, NULL, 1);
	put(g, STEP_INVLPG, path, 0);
	if (gen_chance(g, 50))
		put_access(g, STEP_READ, path, STEP_AC);
	put(g, STEP_LOAD_FS, path, 0)->flags = gen_below(g, 4);
}

/* A way through a table that is in a read-only memslot. */
static void rom_table(struct gen *g)
{
	u32 levels = g->p->mode->levels, root = g->root[g->vcpu], table;
	u8 path[PAGING_MAX_LEVEL];

	some_path(g, path);
	if (g->p->mode->id == PM_PAE)
		table = g->pdpte[3 * root + (path[0] - 1) % 3];
	else
		table = levels == 2 ? root : lay(g, path, root, levels - 2);
	put_set(g, table, path[levels - 2], TARGET_RO, gen_below(g, PROGRAM_RO_FRAMES), RIGHTS);
	put(g, STEP_INVLPG, path, 0);
	for (u32 i = 0; i < 3; i++) {
		path[levels - 1] = 1 + gen_below(g, PROGRAM_INDICES);
		put_access(g, gen_chance(g, 50) ? STEP_READ : STEP_WRITE, path, 0);
	}
}

/* What shows in counters only, and roots that are none. */
static void watch(struct gen *g)
{
	static const u8 kinds[] = {STEP_FLOOD, STEP_IDLE, STEP_LOST_ROOT};
	enum step_kind kind = kinds[gen_below(g, ARRAY_LEN(kinds))];
	u8 path[PAGING_MAX_LEVEL];

	some_path(g, path);
	if (kind == STEP_LOST_ROOT) {
		put(g, kind, NULL, gen_below(g, 4));
		return;
	}
	put_map(g, path, TARGET_FRAME, gen_below(g, PROGRAM_FRAMES), RIGHTS | PTE_A);
	put(g, STEP_INVLPG, path, 0);
	put(g, kind, path, 0);
}

/* Many pages, and many mappings, that have no names. The latter are dear. */
static void annex(struct gen *g)
{
	if (gen_chance(g, 93))
		put(g, STEP_STREW, NULL, 0)->value = gen_below(g, 0x10000);
	else
		put(g, STEP_CROWD, NULL, 0)->value = gen_below(g, 4);
}

void gen_special(struct gen *g)
{
	u32 dice = gen_below(g, 100);

	if (dice < 35)
		flush_beside(g);
	else if (dice < 60 && g->p->mode->long_mode)
		global_elsewhere(g);
	else if (dice < 70 && g->p->mode->long_mode)
		rights_fan(g);
	else if (dice < 74 && g->o->host && g->slot_there && g->p->log == LOG_RING)
		fill_ring(g);
	else if (dice >= 74 && dice < 84 && g->o->host && g->slot_there)
		break_up(g);
	else if (dice >= 84 && dice < 90)
		read_descriptor(g);
	else if (dice >= 90 && dice < 92)
		rom_table(g);
	else if (dice >= 92 && dice < 97 && g->o->host)
		watch(g);
	else if (dice >= 97 && g->o->host && g->p->mode->long_mode)
		annex(g);
}
