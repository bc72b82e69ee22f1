// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs made smaller by other names: tables become those that a map makes by itself, a root the one that vCPUs begin with,
 * addresses equal ones, and steps alike one that stands for them. What was needed to have the others may then be left out.
 */
#include <string.h>

#include "shrink_priv.h"

#define MAX_ALIKE 32 /* steps, of which each is tried with the others' addresses */

static bool has(const struct step *s, char operand)
{
	return strchr(step_formats[s->kind].operands, operand);
}

static bool has_path(const struct step *s)
{
	return has(s, 'G') || has(s, 'P');
}

static u8 swapped(u8 number, u32 a, u32 b)
{
	return number == a ? b : number == b ? a : number;
}

/* Tables @a and @b in each other's place. */
static void swap_tables(struct program *p, u32 a, u32 b)
{
	for (u32 i = 0; i < p->nr_steps; i++) {
		struct step *s = &p->steps[i];

		if (has(s, 'L'))
			s->table = swapped(s->table, a, b);
		if (has(s, 'E') && s->entry.target == TARGET_TABLE)
			s->entry.number = swapped(s->entry.number, a, b);
	}
}

static void swap_roots(struct program *p, u32 a, u32 b)
{
	swap_tables(p, a, b);
	for (u32 i = 0; i < p->nr_steps; i++) {
		struct step *s = &p->steps[i];

		if (s->kind == STEP_CR3)
			s->number = swapped(s->number, a, b);
		if (s->kind == STEP_PDPTE)
			s->number = swapped(s->number / 3, a, b) * 3 + s->number % 3;
	}
}

/*
 * An entry that is set becomes one that is mapped, for an address that is used later: the steps that made the tables may
 * then be left out.
 */
static void map_for_set(struct shrink *s, u32 i)
{
	for (u32 k = i + 1; k < s->best->nr_steps && s->best->steps[i].kind == STEP_SET; k++) {
		const struct step *use = &s->best->steps[k];
		struct step with = {
			.kind = STEP_MAP, .vcpu = use->vcpu, .entry = s->best->steps[i].entry};

		if (!step_is_access(use))
			continue;
		memcpy(with.path, use->path, sizeof(with.path));
		shrink_replace(s, i, with);
	}
}

/* A link to a table is left out when the table is one that a map would put there. */
static void drop_link(struct shrink *s, u32 i)
{
	struct program p = {0};
	const struct step link = s->best->steps[i];
	bool kept = false;

	if (link.kind != STEP_SET || link.entry.target != TARGET_TABLE)
		return;
	for (int level = 0; level + 1 < s->best->mode->levels && !kept; level++) {
		program_copy(&p, s->best);
		swap_tables(&p, link.entry.number, PROGRAM_ROOTS + level);
		shrink_drop(&p, i, 1);
		kept = shrink_attempt(s, &p);
	}
	program_free(&p);
}

/* A store to some address that is a table's becomes one to the table. */
static void set_for_store(struct shrink *s, u32 i)
{
	struct step from = s->best->steps[i], with = {.kind = STEP_SET, .vcpu = from.vcpu};

	if (from.kind != STEP_WRITE || from.place >= PROGRAM_INDICES)
		return;
	with.index = from.place + 1;
	with.entry = from.entry;
	for (with.table = 0; with.table < PROGRAM_TABLES; with.table++)
		if (shrink_replace(s, i, with))
			return;
}

/* The first root that is loaded becomes the one that is in use before: what is mapped for it may be mapped before it is loaded. */
static void first_root(struct shrink *s)
{
	struct program p = {0};
	u32 i;

	for (i = 0; i < s->best->nr_steps && s->best->steps[i].kind != STEP_CR3; i++)
		;
	if (i == s->best->nr_steps || !s->best->steps[i].number)
		return;
	program_copy(&p, s->best);
	swap_roots(&p, 0, s->best->steps[i].number);
	shrink_attempt(s, &p);
	program_free(&p);
}

/* A root is loaded that might as well be the first. */
static void drop_load(struct shrink *s, u32 i)
{
	struct program p = {0};
	const struct step load = s->best->steps[i];

	if (load.kind != STEP_CR3 || !load.number)
		return;
	program_copy(&p, s->best);
	swap_roots(&p, 0, load.number);
	shrink_drop(&p, i, 1);
	shrink_attempt(s, &p);
	program_free(&p);
}

void shrink_by_maps(struct shrink *s)
{
	u32 i;

	for (i = 0; i < s->best->nr_steps && s->best->nr_steps <= MAX_ALIKE; i++)
		set_for_store(s, i);
	for (i = s->best->nr_steps; i-- > 0;)
		drop_load(s, i);
	first_root(s);
	for (i = s->best->nr_steps; i-- > 0;)
		map_for_set(s, i);
	for (i = s->best->nr_steps; i-- > 0;)
		drop_link(s, i);
}

void shrink_by_addresses(struct shrink *s)
{
	for (u32 i = 0; i < s->best->nr_steps && s->best->nr_steps <= MAX_ALIKE; i++) {
		for (u32 k = 0; k < i; k++) {
			struct step with = s->best->steps[i];
			const struct step *other = &s->best->steps[k];

			if (!has_path(&with) || !has_path(other))
				continue;
			memcpy(with.path, other->path, sizeof(with.path));
			if (shrink_replace(s, i, with))
				break;
		}
	}
}

/* How many steps of one kind there are from step @i on. */
static u32 run_length(const struct program *p, u32 i)
{
	u32 n = 1;

	while (i + n < p->nr_steps && p->steps[i + n].kind == p->steps[i].kind)
		n++;
	return n;
}

/* Reads side by side, which one step makes at each index of some level. */
static void fold_reads(struct shrink *s, u32 i, u32 n)
{
	struct program p = {0};
	bool kept = false;

	for (int level = s->best->mode->levels - 1; level >= 0 && !kept; level--) {
		program_copy(&p, s->best);
		p.steps[i].kind = STEP_READ_ALL;
		p.steps[i].flags = p.steps[i].place = 0;
		p.steps[i].path[level] = 0;
		shrink_drop(&p, i + 1, n - 1);
		kept = shrink_attempt(s, &p);
	}
	program_free(&p);
}

/* Of some maps the first is kept; the others' entries are filled into the last table that it makes. */
static void fold_maps(struct shrink *s, u32 i, u32 n)
{
	int bottom = s->best->mode->levels - 1;
	struct program p = {0};
	struct step *fill;

	program_copy(&p, s->best);
	fill = &p.steps[i + 1];
	fill->kind = STEP_FILL;
	fill->table = PROGRAM_ROOTS + bottom - 1;
	fill->index = p.steps[i].path[bottom];
	fill->entry = p.steps[i].entry;
	memset(fill->path, 0, sizeof(fill->path));
	shrink_drop(&p, i + 2, n - 2);
	shrink_attempt(s, &p);
	program_free(&p);
}

void shrink_by_parts(struct shrink *s)
{
	for (u32 i = 0; i < s->best->nr_steps && s->best->nr_steps <= MAX_ALIKE; i++) {
		u32 n = run_length(s->best, i);
		u8 kind = s->best->steps[i].kind;

		if (kind == STEP_READ && n >= 2)
			fold_reads(s, i, n);
		if (kind == STEP_MAP && n >= 3)
			fold_maps(s, i, n);
	}
}
