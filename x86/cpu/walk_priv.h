/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two dimensions of a walk share: the state of one walk, the format that
 * guest tables and AMD's nested tables have in common, and steps on entries.
 */
#ifndef X86_CPU_WALK_PRIV_H
#define X86_CPU_WALK_PRIV_H

#include "x86/cpu/pscache.h"
#include "x86/cpu/walk.h"

/* How a step of a walk ended. */
enum step {
	STEP_OK,
	STEP_DONE, /* w->t has the outcome: not OK */
	STEP_RETRY /* an entry changed under the walk, which starts again */
};

struct walker {
	struct phys *phys;
	const struct mmu_regs *regs;
	const struct nested *nested; /* NULL: none */
	struct pscache *cache;	     /* NULL: none */
	enum access_kind kind;
	struct translation *t;
};

/* The processor's way to tell which bits of an entry mean what. */
struct table_format {
	const struct paging_mode *mode;
	u8 maxphyaddr;
	bool nx;  /* bit 63 is NX, not reserved */
	bool pse; /* 32-bit: bit 7 at level 2 makes a 4 MiB page, else it is ignored */
	bool amd, no_gbpages, no_pse36;
};

/* Bits @high to @low. */
#define BITS(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))

/* Ends the walk with @outcome; returns STEP_DONE. */
enum step walk_end(struct walker *w, enum walk_outcome outcome, u64 error);

/* Reads the entry of @size bytes at @pa. */
enum step walk_read(struct walker *w, hpa_t pa, unsigned int size, u64 *entry);

/* Sets @bits in it, if some are not, provided that it is still what was read. */
enum step walk_set(struct walker *w, hpa_t pa, unsigned int size, u64 *entry, u64 bits);

bool format_leaf(const struct table_format *f, int level, u64 entry);

/* The reserved bits that are set in a present @entry. */
u64 format_reserved(const struct table_format *f, int level, u64 entry);

/* Whether entries at @level have rights and A: all but PAE's PDPTEs. */
static inline bool format_has_rights(const struct table_format *f, int level)
{
	return f->mode->id != PM_PAE || level < 3;
}

/* Address of the top table in a register that points to one as CR3 does. */
u64 format_root(const struct table_format *f, u64 cr3);

/* Rights of @entry added to those accumulated in @perm: PTE_W, PTE_U, PTE_NX. */
u64 format_accumulate(const struct table_format *f, int level, u64 entry, u64 perm);

/* What an access of the walk to guest-physical memory is. */
enum nested_access {
	NESTED_FINAL,	   /* the access itself, of w->kind */
	NESTED_TABLE,	   /* reading a guest's entry */
	NESTED_TABLE_SET,  /* setting A or D in it */
	NESTED_TABLE_PDPTE /* reading a PDPTE to load it, for no linear address */
};

struct nested_page {
	hpa_t hpa;
	u64 perm; /* PERM_NESTED_* */
	u8 shift; /* 63: no nested paging, no limit */
};

/* Translates @gpa by the second dimension, if there is one. */
enum step walk_nested(struct walker *w, gpa_t gpa, enum nested_access access,
		      struct nested_page *page);

#endif
