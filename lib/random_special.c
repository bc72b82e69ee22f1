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

/* Links @path below @root by tables of its own. The last one's number. */
static u32 lay(struct gen *g, const u8 *path, u32 root)
{
	u32 table = root, levels = g->p->mode->levels, i;
	u32 first = PROGRAM_ROOTS + gen_below(g, PROGRAM_TABLES - PROGRAM_ROOTS - levels + 2);

	for (i = 0; i + 1 < levels; i++) {
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
	table = lay(g, path, home);
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

/*
 * A few tables are reached with all kinds of rights on the way, so that each is shadowed many times; all change, and
 * CR3 is loaded.
 */
static void rights_fan(struct gen *g)
{
	static const u64 rights[] = {RIGHTS, PTE_P | PTE_W, PTE_P | PTE_U, PTE_P};
	u32 levels = g->p->mode->levels, root = g->root[g->vcpu], i, k, c, round;
	u32 leaf = PROGRAM_TABLES - 4, last = PROGRAM_ROOTS + levels - 3;
	u32 frame = gen_below(g, PROGRAM_FRAMES);
	u8 path[PAGING_MAX_LEVEL] = {1, 1, 1, 1, 1};

	for (i = 0; i < 4; i++)
		put_set(g, root, 1 + i, TARGET_TABLE, PROGRAM_ROOTS, rights[i]);
	for (k = 0; k < 2; k++)
		put_set(g, PROGRAM_ROOTS, 1 + k, TARGET_TABLE, PROGRAM_ROOTS + 1,
			RIGHTS | (k ? PTE_NX : 0));
	if (levels == 5)
		put_set(g, PROGRAM_ROOTS + 1, 1, TARGET_TABLE, last, RIGHTS);
	for (c = 0; c < 4; c++)
		put_set(g, last, 1 + c, TARGET_TABLE, leaf + c, RIGHTS);
	for (round = 0; round < 2; round++) {
		for (c = 0; c < 4; c++)
			put_set(g, leaf + c, 1, TARGET_FRAME, (frame + round + c) % PROGRAM_FRAMES,
				RIGHTS);
		put_cr3(g, root, g->p->mode->long_mode ? root : 0, false);
		for (i = 0; i < 32; i++) {
			path[0] = 1 + i / 8;
			path[1] = 1 + i / 4 % 2;
			path[levels - 2] = 1 + i % 4;
			put_access(g, STEP_READ, path, 0);
		}
	}
}

/* All frames are written again and again, each time as if for the first time, and nobody looks at the ring. */
static void fill_ring(struct gen *g)
{
	u32 bottom = g->p->mode->levels - 1, round, i;
	u8 path[PAGING_MAX_LEVEL];

	if (!g->logging)
		put(g, STEP_LOG, NULL, 1);
	g->logging = true;
	some_path(g, path);
	for (i = 0; i < PROGRAM_BLOCKS; i++) {
		path[bottom - 1] = 1 + i;
		put_map(g, path, TARGET_BLOCK, i, RIGHTS | PTE_PS);
		put(g, STEP_INVLPG, path, 0);
	}
	for (round = 0; round < 16; round++) {
		for (i = 0; i < PROGRAM_FRAMES; i++) {
			path[bottom - 1] = 1 + i / 4;
			path[bottom] = 1 + i % 4;
			put_access(g, STEP_WRITE, path, 0);
		}
		for (i = 0; i < PROGRAM_BLOCKS; i++)
			put(g, STEP_PROTECT, NULL, i);
	}
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
}
