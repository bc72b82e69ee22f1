/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the oracle's parts share: a walk of the tables, entry by entry. Whoever walks reads the entries, or chooses
 * what they may be taken for (oracle_stale.c), and hands them in.
 */
#ifndef LIB_ORACLE_PRIV_H
#define LIB_ORACLE_PRIV_H

#include "oracle.h"

/* As far as it has come. */
struct oracle_walk {
	const struct oracle_regs *r;
	const struct paging_mode *mode;
	gva_t gva;
	gpa_t at; /* of the next entry */
	u8 level; /* of the next entry; after the end, of the last */
	u64 all;  /* bits that all entries with rights have */
	u64 any;  /* bits that some entry has */
	u64 last; /* the last entry */
};

enum oracle_end {
	ORACLE_GOES_ON,
	ORACLE_PAGE,	/* the last entry maps the page */
	ORACLE_ABSENT,	/* it isn't present */
	ORACLE_RESERVED /* it has a reserved bit set */
};

/* Begins a walk to @gva, which is canonical, with paging on. ABSENT: by a register that is no entry. */
enum oracle_end oracle_begin(struct oracle_walk *w, const struct oracle_regs *r,
			     const struct paging_mode *mode, gva_t gva);

/* The entry at w->at is @value. */
enum oracle_end oracle_take(struct oracle_walk *w, u64 value);

/*
 * What @access comes to after a walk that ended with @end: verdict, error, gpa, page_shift and global of @o, which is
 * otherwise left alone.
 */
void oracle_finish(const struct oracle_walk *w, enum oracle_end end, struct oracle_access access,
		   struct oracle_outcome *o);

/* Whether @gva is an address at all in @mode; outside long mode it is cut to 32 bits. */
bool oracle_canonical(const struct paging_mode *mode, gva_t *gva);

#endif
