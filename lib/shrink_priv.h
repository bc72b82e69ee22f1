/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the shrinker share: shrink.c (what is dropped and made simpler) and shrink_names.c (tables, roots and
 * addresses that become others, so that steps can be dropped).
 */
#ifndef LIB_SHRINK_PRIV_H
#define LIB_SHRINK_PRIV_H

#include "random_program.h"

struct shrink {
	struct program *best;
	bool (*fails)(void *arg, const struct program *p);
	void *arg;
	u32 tries, max;
	bool forward; /* what comes first is dropped first */
};

/* Takes @p over as the best one if it still fails, a race perhaps in another order. */
bool shrink_attempt(struct shrink *s, struct program *p);
/* Drops @n of @p's steps from @from on. */
void shrink_drop(struct program *p, u32 from, u32 n);
/* Tries step @i as @with; whether it stays. */
bool shrink_replace(struct shrink *s, u32 i, struct step with);

/* Entries that are set become ones that are mapped with all their tables; other roots and tables, where that helps. */
void shrink_by_maps(struct shrink *s);
/* Steps' addresses become those of others. */
void shrink_by_addresses(struct shrink *s);
/* Steps alike become one that stands for them. */
void shrink_by_parts(struct shrink *s);

#endif
