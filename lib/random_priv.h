/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the generator's parts share: random_program.c (single steps, and how many of which), random_idioms.c (short
 * sequences that belong together), random_special.c (those for one mechanism each) and random_races.c (what is taken at
 * the same time).
 */
#ifndef LIB_RANDOM_PRIV_H
#define LIB_RANDOM_PRIV_H

#include "random_program.h"

#define FAVOURITES 4

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
	u8 races; /* how many of 1000 steps begin what is done together */
};

/* splitmix64 */
static inline u64 gen_next(struct gen *g)
{
	u64 z = g->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline u32 gen_below(struct gen *g, u32 n)
{
	return (gen_next(g) >> 32) * n >> 32;
}

static inline bool gen_chance(struct gen *g, u32 percent)
{
	return gen_below(g, 100) < percent;
}

/* An access of any kind to some address that is likely to be mapped; to @path. */
void gen_access(struct gen *g);
void gen_access_of(struct gen *g, const u8 *path);
/* Flushes what the vCPU remembers of @path, one way or another. */
void gen_flush_of(struct gen *g, const u8 *path);
/* Sets an entry that some favourite's walk meets; often only its flags. */
void gen_edit(struct gen *g);
void gen_cr3(struct gen *g, u32 root, u32 pcid, bool noflush);
/* Makes @path lead somewhere. */
void gen_map(struct gen *g, const u8 *path);

/* One of the sequences. */
void gen_idiom(struct gen *g);
/* One of the sequences that are for one mechanism each, in random_special.c, if it makes sense in this program. */
void gen_special(struct gen *g);
/* Steps of all vCPUs and of the host that are taken at the same time. */
void gen_together(struct gen *g);

#endif
