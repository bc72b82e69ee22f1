// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps that stand for many: what shows only after so many mappings, tables or writes is a program of few steps by them. They
 * are nothing of their own, each is run and judged as its parts.
 */
#include "program.h"

#define SPREAD_TABLES 4

bool step_has_parts(const struct step *s)
{
	return s->kind >= STEP_FILL && s->kind <= STEP_READ_ALL;
}

/* Entries of one table: the one of number @n from that of @part on. */
static bool next_entry(struct step *part, u32 n)
{
	part->index += n;
	return part->index <= PROGRAM_INDICES;
}

static bool fill_part(struct step *part, u32 n)
{
	u32 count = target_counts[part->entry.target];

	if (count)
		part->entry.number = (part->entry.number + n) % count;
	return next_entry(part, n);
}

static bool fan_part(struct step *part, u32 n)
{
	static const u64 other[PROGRAM_INDICES] = {0, PTE_U, PTE_W, PTE_NX};

	if (part->entry.target != TARGET_RAW)
		part->entry.bits ^= other[n % PROGRAM_INDICES];
	return next_entry(part, n);
}

static bool spread_part(struct step *part, u32 n)
{
	part->table += n;
	return n < SPREAD_TABLES && part->table < PROGRAM_TABLES;
}

static bool read_part(struct step *part, const struct program *p, u32 n)
{
	for (int i = p->mode->levels - 1; i >= 0; i--) {
		if (part->path[i])
			continue;
		part->path[i] = 1 + n % PROGRAM_INDICES;
		n /= PROGRAM_INDICES;
	}
	part->place = PLACE_DATA;
	return !n;
}

bool step_part(const struct program *p, const struct step *s, u32 n, struct step *part)
{
	*part = *s;
	part->kind = s->kind == STEP_READ_ALL ? STEP_READ : STEP_SET;
	switch (s->kind) {
	case STEP_FILL:
		return fill_part(part, n);
	case STEP_FAN:
		return fan_part(part, n);
	case STEP_SPREAD:
		return spread_part(part, n);
	default:
		return read_part(part, p, n);
	}
}
