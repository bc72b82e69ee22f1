/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a processor remembers of page tables: finished translations and entries
 * that point on, of both dimensions. This is the memory only; walk.c reads and
 * fills it while it walks, and tlb.c has the rules of when it must forget.
 *
 * Addresses are kept as page numbers at the size of the page or of the span of
 * the entry, so that a look-up is one probe a size. It grows without bound. When
 * the host has no memory for it, it forgets, as hardware may.
 */
#ifndef X86_CPU_PSCACHE_H
#define X86_CPU_PSCACHE_H

#include "x86/arch/regs.h"
#include "x86/arch/types.h"
#include "x86/cpu/walk.h"

enum cached_kind {
	CACHED_PAGE,   /* linear address -> page: the TLB proper */
	CACHED_TABLE,  /* linear address -> guest's table */
	CACHED_GPA,    /* guest-physical address -> page */
	CACHED_NTABLE, /* guest-physical address -> nested table */
	CACHED_KINDS
};

#define PCID_GLOBAL 0xffff /* cached.pcid of a global translation */

/*
 * What a thing is found by. Made by cached_key() alone: the fields behind tag are
 * compared as one word. What does not apply to a kind is 0.
 */
struct cached_key {
	u64 number; /* address >> shift */
	u64 space;  /* EPT: from the pointer, see pscache_space(); otherwise 0 */
	union {
		struct {
			u8 kind;  /* enum cached_kind */
			u8 shift; /* size of the page; span of the entry that was read */
			u16 asid;
			u16 pcid;
			u16 zero;
		};
		u64 tag;
	};
};

struct cached {
	struct cached_key key;
	gpa_t gpa;	/* PAGE, TABLE: of the first byte */
	hpa_t hpa;	/* of the first byte of the page or table */
	u64 perm;	/* PAGE, GPA: as translation.perm; else what the walk accumulated */
	u64 born;	/* the cache's own: its clock when this was added */
	u32 next;	/* the cache's own */
	u8 guest_shift; /* PAGE: size of the guest's page, at least that of shift */
};

struct pscache_store {
	struct cached *entries; /* dense */
	u32 *buckets;		/* index + 1 of the first of a chain */
	u32 nr, nr_buckets;	/* the latter a power of two; room for as many entries */
	u32 by_shift[64];	/* how many have each shift */
};

struct pscache {
	struct pscache_store store[CACHED_KINDS];
	u32 fragments; /* pages smaller than the guest's page that they are part of */
	u64 clock;     /* the owner's: entries born before it are old */
	/* One changes when a page of 4 KiB whose number it has goes, all when another page does. */
	u64 generation[TLB_GENERATIONS];
	u64 drops;
};

/* A zeroed struct pscache is an empty one. */
void pscache_fini(struct pscache *c);

/* The entry with @key's key, NULL if there is none; valid until the next change. */
const struct cached *pscache_find(const struct pscache *c, const struct cached_key *key);
/* Remember @entry; takes the place of one with the same key. */
void pscache_add(struct pscache *c, const struct cached *entry);
/* Drop the entry with @key's key. Whether there was one, born before the clock. */
bool pscache_drop(struct pscache *c, const struct cached_key *key);
/* Drop all of @kind that @match. */
void pscache_drop_if(struct pscache *c, enum cached_kind kind,
		     bool (*match)(const struct cached *e, const void *arg), const void *arg);
/* Drop the @nth of all entries. */
void pscache_drop_nth(struct pscache *c, u64 nth);
/* How many entries there are. */
u64 pscache_count(const struct pscache *c);

/* The tag of what is made with these nested tables (NULL: none). */
static inline u64 pscache_space(const struct nested *n)
{
	return n && n->kind == NESTED_EPT ? (n->root & PTE_ADDR_MASK) | 1 : 0;
}

/* The tag is put together in a register: parts stored one by one are slow to read as one. */
static inline struct cached_key cached_key(enum cached_kind kind, u8 shift, u16 asid, u16 pcid,
					   u64 space, u64 address)
{
	return (struct cached_key){
		.number = address >> shift,
		.space = space,
		.tag = (u64)kind | (u64)shift << 8 | (u64)asid << 16 | (u64)pcid << 32,
	};
}

/* What guest-physical kinds are tagged with: EPT's are not tagged with a VPID. */
static inline u16 pscache_gpa_asid(const struct nested *n, u16 asid)
{
	return n->kind == NESTED_EPT ? 0 : asid;
}

/* A key for guest-physical kinds. */
static inline struct cached_key pscache_gpa_key(enum cached_kind kind, const struct nested *n,
						u16 asid, u8 shift, gpa_t gpa)
{
	return cached_key(kind, shift, pscache_gpa_asid(n, asid), 0, pscache_space(n), gpa);
}

/* The PCID that registers select. */
static inline u16 pscache_pcid(const struct mmu_regs *regs)
{
	return regs->cr4 & CR4_PCIDE ? regs->cr3 & CR3_PCID_MASK : 0;
}

#endif
