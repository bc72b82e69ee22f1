// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sequences of steps that single ones, taken by chance, hardly ever come to: an address is used, what it depends on
 * changes in some way, and it is used again.
 */
#include <string.h>

#include "random_priv.h"

/* An address is used, its way changed, perhaps while another root is in use, flushed, and used again. */
static void edit_and_flush(struct gen *g)
{
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u32 home = g->root[g->vcpu], other = gen_below(g, PROGRAM_ROOTS), n;
	bool leave = gen_chance(g, 60);

	gen_access_of(g, path);
	if (leave)
		gen_cr3(g, other, other, true);
	gen_edit(g);
	n = g->p->nr_steps;
	gen_flush_of(g, path);
	if (leave && g->p->steps[n].kind == STEP_INVPCID && gen_chance(g, 70))
		g->p->steps[n].pcid = home;
	if (leave)
		gen_cr3(g, home, home, true);
	gen_access_of(g, path);
	gen_access_of(g, path);
}

/* An address is used with a bit of a register this way and that way. */
static void toggle_and_use(struct gen *g)
{
	static const u8 kinds[] = {STEP_WP, STEP_SMEP, STEP_SMAP, STEP_NX, STEP_PSE, STEP_PKE};
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	struct step s = {.kind = kinds[gen_below(g, ARRAY_LEN(kinds))], .vcpu = g->vcpu};
	u32 i, first = gen_chance(g, 50);

	for (i = 0; i < 3; i++) {
		s.number = (first + i) & 1;
		program_add(g->p, s);
		gen_access_of(g, path);
		if (gen_chance(g, 50))
			gen_access_of(g, path);
	}
}

/* Another vCPU uses what this one then changes. */
static void edit_beside(struct gen *g)
{
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u32 self = g->vcpu, other = gen_below(g, g->o->vcpus);

	g->vcpu = other;
	gen_access_of(g, path);
	g->vcpu = self;
	gen_access_of(g, path);
	gen_edit(g);
	gen_flush_of(g, path);
	gen_access_of(g, path);
	g->vcpu = other;
	gen_flush_of(g, path);
	gen_access_of(g, path);
}

/* A page is written again and again while the host looks what is dirty. */
static void write_and_look(struct gen *g)
{
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u32 i;

	if (g->slot_there && !g->logging) {
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
		g->logging = true;
	}
	for (i = 0; i < 3; i++) {
		u32 n = g->p->nr_steps;

		gen_access_of(g, path);
		if (g->p->steps[n].kind == STEP_READ)
			g->p->steps[n].kind = STEP_WRITE;
		if (gen_chance(g, 30))
			g->p->steps[n].place = PLACE_DATA;
		program_add(g->p, (struct step){.kind = gen_chance(g, 40)   ? STEP_DIRTY_GET
							: gen_chance(g, 30) ? STEP_DIRTY_LOOK
									    : STEP_CLEAR_LOG,
						.value = 1 + gen_below(g, 0xffff)});
	}
}

/* A page is dropped, used, and aged; then used in all ways. */
static void age_and_use(struct gen *g)
{
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u32 frame = gen_below(g, PROGRAM_FRAMES), i;

	if (gen_chance(g, 60))
		program_add(g->p, (struct step){.kind = STEP_ZERO, .number = frame});
	program_add(g->p, (struct step){.kind = STEP_MAP,
					.vcpu = g->vcpu,
					.path = {path[0], path[1], path[2], path[3], path[4]},
					.entry = {TARGET_FRAME, frame, PTE_P | PTE_W | PTE_U}});
	program_add(g->p, (struct step){.kind = STEP_INVLPG,
					.vcpu = g->vcpu,
					.path = {path[0], path[1], path[2], path[3], path[4]}});
	for (i = 0; i < 3; i++) {
		gen_access_of(g, path);
		program_add(g->p, (struct step){.kind = STEP_AGE, .number = frame / 4});
	}
	gen_access_of(g, path);
}

/*
 * The address is used with two roots and PCIDs, one of the two sees it change, and flushes what the other one has of
 * it.
 */
static void flush_from_afar(struct gen *g)
{
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];
	u32 home = gen_below(g, PROGRAM_ROOTS), away = (home + 1 + gen_below(g, 2)) % PROGRAM_ROOTS;
	u32 pcid = 1 + gen_below(g, 3), dice = gen_below(g, 5), n;
	struct step flush = {.kind = STEP_INVPCID, .vcpu = g->vcpu, .pcid = pcid};

	program_add(g->p, (struct step){.kind = STEP_PCIDE, .vcpu = g->vcpu, .number = 1});
	gen_cr3(g, home, pcid, gen_chance(g, 50));
	gen_map(g, path);
	gen_access_of(g, path);
	gen_edit(g);
	gen_access_of(g, path);
	gen_cr3(g, away, pcid == 3 ? 1 : pcid + 1, true);
	gen_map(g, path);
	n = g->root[g->vcpu];
	g->root[g->vcpu] = home;
	gen_edit(g); /* on the way that the other root has */
	g->root[g->vcpu] = n;
	memcpy(flush.path, path, sizeof(flush.path));
	flush.number = gen_below(g, 4);
	if (dice == 0)
		flush = (struct step){.kind = STEP_PGE, .vcpu = g->vcpu, .number = gen_below(g, 2)};
	if (dice == 1)
		flush.kind = STEP_INVLPG;
	program_add(g->p, flush);
	gen_cr3(g, home, pcid, true);
	gen_access_of(g, path);
	gen_access_of(g, path);
}

/* Huge pages below, the log, and bits taken out of it here and there. */
static void clear_and_write(struct gen *g)
{
	u32 block = gen_below(g, PROGRAM_BLOCKS), i;
	const u8 *path = g->favourite[gen_below(g, FAVOURITES)];

	if (g->logging)
		program_add(g->p, (struct step){.kind = STEP_LOG, .number = 0});
	if (gen_chance(g, 40))
		program_add(g->p, (struct step){.kind = STEP_COLLAPSE, .number = block});
	for (i = 0; i < 3; i++)
		gen_access_of(g, g->favourite[gen_below(g, FAVOURITES)]);
	program_add(g->p, (struct step){.kind = STEP_LOG, .number = 1});
	g->logging = true;
	for (i = 0; i < 3; i++) {
		program_add(g->p, (struct step){.kind = STEP_CLEAR_LOG,
						.value = (1 + gen_below(g, 15)) << 4 * block |
							 (gen_chance(g, 30) ? BIT(gen_below(g, 16))
									    : 0)});
		gen_access_of(g, path);
		gen_access_of(g, g->favourite[gen_below(g, FAVOURITES)]);
	}
	program_add(g->p, (struct step){.kind = STEP_DIRTY_LOOK});
}

/*
 * A table in a frame of data is changed, and is mapped for nobody when its reader's processor synchronises it: all that it
 * then knows to be gone is what the table said.
 */
static void sync_unmapped(struct gen *g)
{
	u32 self = g->vcpu, other = (self + 1) % g->o->vcpus, root = g->root[self], i;
	u32 levels = g->p->mode->levels, leaf = gen_below(g, PROGRAM_FRAMES - 4), up = root;
	u32 frame = PROGRAM_FRAMES - 4 + gen_below(g, 4);
	u64 bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	struct step set = {.kind = STEP_SET, .vcpu = self}, edit = {.kind = STEP_WRITE},
		    map = {.kind = STEP_MAP, .vcpu = self}, use = {.kind = STEP_READ};

	/* The way to the table, and another one to its words. */
	memcpy(use.path, g->favourite[0], sizeof(use.path));
	use.place = PLACE_DATA;
	memcpy(edit.path, use.path, sizeof(edit.path));
	edit.path[0] = 1 + use.path[0] % 3;
	edit.place = use.path[levels - 1] - 1;
	memcpy(map.path, edit.path, sizeof(map.path));
	map.entry = (struct entry_spec){TARGET_FRAME, leaf, bits};
	program_add(g->p, map);
	if (g->p->mode->id == PM_PAE)
		up = g->pdpte[3 * root + (use.path[0] - 1) % 3];
	for (i = g->p->mode->id == PM_PAE; i + 1 < levels; i++) {
		set.table = up;
		set.index = use.path[i];
		up = PROGRAM_TABLES - 1 - i;
		set.entry = (struct entry_spec){TARGET_TABLE, up, bits};
		if (i + 2 == levels)
			set.entry = (struct entry_spec){TARGET_FRAME, leaf, bits};
		g->entry[set.table][set.index - 1] = set.entry;
		program_add(g->p, set);
	}
	edit.vcpu = use.vcpu = self;
	for (i = 0; i < 2; i++) {
		edit.entry = (struct entry_spec){TARGET_FRAME, frame, bits};
		gen_cr3(g, root, 0, false);
		program_add(g->p, edit);
		g->vcpu = other;
		gen_cr3(g, root, 0, false);
		g->vcpu = self;
		use.vcpu = other;
		program_add(g->p, use);
		edit.entry.number = frame = PROGRAM_FRAMES - 4 + (frame + 1) % 4;
		program_add(g->p, edit);
		program_add(g->p, (struct step){.kind = STEP_PROTECT, .number = leaf / 4});
		/* That flushed; it takes up what it did not flush itself again. */
		program_add(g->p, use);
		gen_cr3(g, root, 0, false);
		program_add(g->p, (struct step){.kind = STEP_ZERO,
						.number = PROGRAM_FRAMES - 4 + (frame + 3) % 4});
		program_add(g->p, use);
	}
	program_add(g->p, (struct step){.kind = STEP_REFILL});
}

void gen_idiom(struct gen *g)
{
	u32 dice = gen_below(g, 100);

	if (dice < 25)
		edit_and_flush(g);
	else if (dice < 45)
		toggle_and_use(g);
	else if (dice < 60 && g->p->mode->long_mode)
		flush_from_afar(g);
	else if (dice < 75 || !g->o->host)
		edit_beside(g);
	else if (dice < 80)
		age_and_use(g);
	else if (dice < 82 && g->o->vcpus > 1 && g->slot_there && !g->away)
		sync_unmapped(g);
	else if (dice < 90 && g->slot_there)
		clear_and_write(g);
	else
		write_and_look(g);
}
