/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes programs by chance, and makes them smaller.
 */
#ifndef LIB_RANDOM_PROGRAM_H
#define LIB_RANDOM_PROGRAM_H

#include "program.h"

struct random_options {
	const struct paging_mode *mode;
	u64 seed;
	u32 steps;
	u32 vcpus; /* 1 to PROGRAM_VCPUS */
	bool host; /* the host takes steps, too */
	bool thp;  /* huge pages below */
	enum log_kind log;
};

/* The same options give the same program, on every machine. @p need not be initialised. */
void program_random(struct program *p, const struct random_options *o);

/*
 * Makes @p smaller while @fails(@arg, program) is true of what is left: drops the steps after the
 * last one needed, chunks of falling size, single steps; then makes what is left simpler (fewer
 * vCPUs, flags and levels of detail; other names for tables, roots and addresses, so that more steps can be dropped). Calls @fails at most @tries times. Returns how often it did.
 */
u32 program_shrink(struct program *p, bool (*fails)(void *arg, const struct program *p), void *arg,
		   u32 tries);

#endif
