/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The paging modes of x86 as one table: how many levels a mode has, which bits
 * of a linear address index each, how wide an entry is and which levels may
 * map a page. One loop over this table walks, builds and prints every mode;
 * nothing else in the tree knows a shift by heart. Shared by host and guest.
 *
 * Levels are numbered from the leaf: 1 maps 4 KiB, 2 maps 2 MiB (4 MiB in
 * 32-bit paging), 3 maps 1 GiB, 4 and 5 only point on. SDM vol. 3 ch. 4.3-4.5,
 * APM vol. 2 ch. 5.2-5.3.
 */
#ifndef X86_ARCH_PAGING_H
#define X86_ARCH_PAGING_H

#include "x86/arch/types.h"

/* Bits of an entry; the same position in every mode that has the bit. */
#define PTE_P	       BIT(0) /* present */
#define PTE_W	       BIT(1) /* writable */
#define PTE_U	       BIT(2) /* user */
#define PTE_PWT	       BIT(3)
#define PTE_PCD	       BIT(4)
#define PTE_A	       BIT(5) /* accessed */
#define PTE_D	       BIT(6) /* dirty, leaf only */
#define PTE_PS	       BIT(7) /* maps a page, levels 2 and 3 */
#define PTE_PAT	       BIT(7) /* level 1 */
#define PTE_G	       BIT(8) /* global, leaf only */
#define PTE_SW0	       BIT(9) /* ignored by the processor, as the next two */
#define PTE_SW1	       BIT(10)
#define PTE_SW2	       BIT(11)
#define PTE_NX	       BIT(63) /* no execute; reserved while EFER.NX=0 */
#define PTE_PKEY_SHIFT 59      /* protection key, bits 62:59 of a user leaf */
#define PTE_PKEY(k)    ((u64)(k) << PTE_PKEY_SHIFT)

/* Address bits of an 8-byte entry; those at MAXPHYADDR and above are reserved. */
#define PTE_ADDR_MASK 0x000ffffffffff000ull
/* Address bits of a 4-byte entry that points on or maps 4 KiB. */
#define PTE32_ADDR_MASK 0xfffff000ull

/* A page fault's error code, SDM vol. 3 4.7. */
#define PFERR_P	   BIT(0) /* the translation was present: a protection violation */
#define PFERR_W	   BIT(1) /* the access was a write */
#define PFERR_U	   BIT(2) /* the access was made at CPL 3 */
#define PFERR_RSVD BIT(3) /* a reserved bit was set in an entry on the path */
#define PFERR_F	   BIT(4) /* the access was an instruction fetch (NX or SMEP on) */
#define PFERR_PK   BIT(5) /* a protection key forbade it */

enum paging_mode_id {
	PM_LA57,
	PM_LA48,
	PM_PAE,
	PM_32,
	PM_NONE,
	PM_COUNT
};

#define PAGING_MAX_LEVEL 5

struct paging_level {
	u8 shift;  /* lowest bit of the linear address that indexes here */
	u8 bits;   /* how many bits index */
	bool leaf; /* an entry may map a page */
};

struct paging_mode {
	enum paging_mode_id id;
	const char *name;
	u8 levels;   /* 0: no paging */
	u8 pte_size; /* bytes of an entry */
	u8 gva_bits; /* width of a linear address */
	bool long_mode;
	struct paging_level level[PAGING_MAX_LEVEL + 1]; /* by level, [0] unused */
};

static const struct paging_mode paging_modes[PM_COUNT] = {
	[PM_LA57] = {PM_LA57,
		     "la57",
		     5,
		     8,
		     57,
		     true,
		     {{0},
		      {12, 9, true},
		      {21, 9, true},
		      {30, 9, true},
		      {39, 9, false},
		      {48, 9, false}}},
	[PM_LA48] = {PM_LA48,
		     "la48",
		     4,
		     8,
		     48,
		     true,
		     {{0}, {12, 9, true}, {21, 9, true}, {30, 9, true}, {39, 9, false}}},
	[PM_PAE] = {PM_PAE,
		    "pae",
		    3,
		    8,
		    32,
		    false,
		    {{0}, {12, 9, true}, {21, 9, true}, {30, 2, false}}},
	[PM_32] = {PM_32, "32", 2, 4, 32, false, {{0}, {12, 10, true}, {22, 10, true}}},
	[PM_NONE] = {PM_NONE, "none", 0, 0, 32, false, {{0}}},
};

_Static_assert(sizeof(u64) * 512 == SZ_4K, "a table of 8-byte entries fills a frame");
_Static_assert(sizeof(u32) * 1024 == SZ_4K, "a table of 4-byte entries fills a frame");

/* The mode of @id; @id must be one of the enum's. */
static inline const struct paging_mode *paging_mode(enum paging_mode_id id)
{
	return &paging_modes[id];
}

/* Bytes that one entry at @level spans: 4 KiB, 2 MiB, … */
static inline u64 level_size(const struct paging_mode *m, int level)
{
	return 1ull << m->level[level].shift;
}

/* Index of @gva in its table at @level. */
static inline u32 level_index(const struct paging_mode *m, gva_t gva, int level)
{
	return (gva >> m->level[level].shift) & ((1u << m->level[level].bits) - 1);
}

/* Entries in a table at @level. */
static inline u32 level_entries(const struct paging_mode *m, int level)
{
	return 1u << m->level[level].bits;
}

/* Whether @pte, found at @level, maps a page (as against pointing to a table). */
static inline bool pte_is_leaf(const struct paging_mode *m, u64 pte, int level)
{
	return level == 1 || (m->level[level].leaf && (pte & PTE_PS));
}

/*
 * The physical address in @pte at @level: of the page if it is a leaf, of the
 * next table otherwise. A 4 MiB entry keeps address bits 39:32 in bits 20:13
 * (PSE-36).
 */
static inline gpa_t pte_addr(const struct paging_mode *m, u64 pte, int level)
{
	if (m->pte_size == 4) {
		if (level == 2 && (pte & PTE_PS))
			return (pte & 0xffc00000u) | (((pte >> 13) & 0xff) << 32);
		return pte & PTE32_ADDR_MASK;
	}
	if (level > 1 && pte_is_leaf(m, pte, level))
		return pte & PTE_ADDR_MASK & ~(level_size(m, level) - 1);
	return pte & PTE_ADDR_MASK;
}

/* An entry at @level for @pa with @bits; adds P, and PS to a large leaf. */
static inline u64 pte_make_leaf(const struct paging_mode *m, gpa_t pa, int level, u64 bits)
{
	u64 pte = pa | bits | PTE_P;

	if (level == 1)
		return pte;
	if (m->pte_size == 4)
		pte = (pa & 0xffc00000u) | (((pa >> 32) & 0xff) << 13) | bits | PTE_P;
	return pte | PTE_PS;
}

#endif
