/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest for the tests of the software CPU's walks: physical memory, one path of
 * guest tables for one address, and nested tables that put the guest's memory
 * somewhere else. Tests change single entries of either and look what happens.
 */
#ifndef TESTS_UNIT_TEST_CPU_GUEST_H
#define TESTS_UNIT_TEST_CPU_GUEST_H

#include <string.h>

#include "test.h"
#include "x86/arch/ept.h"
#include "x86/arch/regs.h"
#include "x86/arch/svm.h"
#include "x86/cpu/phys.h"
#include "x86/cpu/walk.h"

#define GUEST_SIZE    (16 * MiB)
#define GUEST_BASE    (32 * MiB) /* hpa of gpa 0 with nested paging */
#define ARENA_SIZE    (64 * MiB)
#define GUEST_ROOT    (1 * MiB)	    /* gpa of the top table; the others follow */
#define GUEST_PAGE    (8 * MiB)	    /* gpa of the page that is mapped */
#define GUEST_PAGE_1G (5 * SZ_1G)   /* likewise, by a 1 GiB page */
#define NESTED_ROOT   (20 * MiB)    /* hpa of the top nested table; the others follow */
#define GVA	      0x12345678ull /* canonical, and below 4 GiB, in every mode */

struct guest {
	struct phys_arena arena;
	struct phys *phys; /* the arena's, or what a test puts before it */
	const struct paging_mode *mode;
	struct mmu_regs regs;
	struct nested nested;
	hpa_t base; /* hpa of gpa 0 */
	int leaf;
	gpa_t table[PAGING_MAX_LEVEL + 1]; /* of GVA's path, by level */
	hpa_t next_nested;
};

static inline void *guest_hva(struct guest *g, gpa_t gpa)
{
	return g->arena.base + g->base + gpa;
}

static inline gpa_t entry_gpa(const struct guest *g, int level)
{
	return g->table[level] + level_index(g->mode, GVA, level) * g->mode->pte_size;
}

/* GVA's entry at @level. */
static inline u64 get_entry(struct guest *g, int level)
{
	u64 entry = 0;

	memcpy(&entry, guest_hva(g, entry_gpa(g, level)), g->mode->pte_size);
	return entry;
}

static inline void set_entry(struct guest *g, int level, u64 entry)
{
	memcpy(guest_hva(g, entry_gpa(g, level)), &entry, g->mode->pte_size);
	if (g->mode->id == PM_PAE && level == 3)
		g->regs.pdpte[level_index(g->mode, GVA, 3)] = entry;
}

/* Maps GVA to GUEST_PAGE (GUEST_PAGE_1G) at level @leaf, with all rights and no A and D anywhere. */
static inline void map_guest(struct guest *g, enum paging_mode_id id, int leaf)
{
	const struct paging_mode *m = paging_mode(id);
	const u64 rights = PTE_P | PTE_W | PTE_U;
	gpa_t page = leaf == 3 ? GUEST_PAGE_1G : GUEST_PAGE;
	int level;

	g->mode = m;
	g->leaf = leaf;
	memset(guest_hva(g, GUEST_ROOT), 0, PAGING_MAX_LEVEL * SZ_4K);
	g->regs = (struct mmu_regs){.maxphyaddr = 40, .asid = 1};
	if (id != PM_NONE)
		g->regs.cr0 = CR0_PE | CR0_PG | CR0_WP;
	if (id == PM_32)
		g->regs.cr4 = CR4_PSE;
	else if (id != PM_NONE)
		g->regs.cr4 = CR4_PAE;
	if (id == PM_LA57)
		g->regs.cr4 |= CR4_LA57;
	if (m->long_mode)
		g->regs.efer = EFER_LME | EFER_LMA;
	if (m->pte_size == 8)
		g->regs.efer |= EFER_NX;
	g->regs.cr3 = GUEST_ROOT;
	for (level = m->levels; level >= leaf && level; level--) {
		g->table[level] = GUEST_ROOT + (m->levels - level) * SZ_4K;
		if (level == leaf)
			set_entry(g, level, pte_make_leaf(m, page, level, rights));
		else
			set_entry(g, level,
				  (g->table[level] + SZ_4K) |
					  (m->id == PM_PAE && level == 3 ? PTE_P : rights));
	}
}

static inline void guest_init(struct guest *g)
{
	memset(g, 0, sizeof(*g));
	ASSERT(phys_arena_init(&g->arena, ARENA_SIZE));
	g->phys = &g->arena.phys;
}

static inline void guest_fini(struct guest *g)
{
	phys_arena_free(&g->arena);
}

/* The paging mode that has the shape of the nested tables. */
static inline const struct paging_mode *nested_shape(const struct guest *g)
{
	static const enum paging_mode_id ids[] = {[2] = PM_32, [3] = PM_PAE, PM_LA48, PM_LA57};

	return paging_mode(ids[g->nested.levels]);
}

/* Host address of @gpa's nested entry at @level, which has a table. */
static inline void *nested_entry(struct guest *g, gpa_t gpa, int level)
{
	const struct paging_mode *m = nested_shape(g);
	hpa_t table = g->nested.root;
	u64 entry = 0;
	void *at;
	int l;

	for (l = m->levels;; l--) {
		at = g->arena.base + table + level_index(m, gpa, l) * m->pte_size;
		if (l == level)
			return at;
		memcpy(&entry, at, m->pte_size);
		table = entry & (m->pte_size == 4 ? 0xfffff000u : 0xffffffffff000ull);
	}
}

static inline u64 get_nested(struct guest *g, gpa_t gpa, int level)
{
	u64 entry = 0;

	memcpy(&entry, nested_entry(g, gpa, level), nested_shape(g)->pte_size);
	return entry;
}

static inline void set_nested(struct guest *g, gpa_t gpa, int level, u64 entry)
{
	memcpy(nested_entry(g, gpa, level), &entry, nested_shape(g)->pte_size);
}

/* Nested tables that map gpa 0 … GUEST_SIZE to GUEST_BASE with all rights, at @leaf. */
static inline void map_nested(struct guest *g, enum nested_kind kind, int levels, int leaf)
{
	bool ept = kind == NESTED_EPT;
	const struct paging_mode *m;
	u64 bits, entry;
	gpa_t gpa;
	int level;

	g->nested = (struct nested){
		.kind = kind, .root = NESTED_ROOT, .levels = levels, .maxphyaddr = 40, .nx = true};
	g->base = GUEST_BASE;
	m = nested_shape(g);
	memset(g->arena.base + NESTED_ROOT, 0, 1 * MiB);
	g->next_nested = NESTED_ROOT + SZ_4K;
	for (gpa = 0; gpa < GUEST_SIZE; gpa += level_size(m, leaf)) {
		for (level = levels; level > leaf; level--) {
			if (get_nested(g, gpa, level))
				continue;
			bits = ept ? EPT_RWX : PTE_P | PTE_W | PTE_U;
			if (m->id == PM_PAE && level == 3)
				bits = PTE_P;
			set_nested(g, gpa, level, g->next_nested | bits);
			g->next_nested += SZ_4K;
		}
		bits = ept ? EPT_RWX | EPT_MT_WB << EPT_MT_SHIFT : PTE_W | PTE_U;
		entry = ept ? (GUEST_BASE + gpa) | bits | (leaf > 1 ? EPT_PS : 0)
			    : pte_make_leaf(m, GUEST_BASE + gpa, leaf, bits);
		set_nested(g, gpa, leaf, entry);
	}
}

static inline struct translation guest_walk(struct guest *g, enum access_kind kind)
{
	return walk(g->phys, &g->regs, &g->nested, GVA, kind);
}

static inline const char *outcome_namer(u64 outcome)
{
	return walk_outcome_name(outcome);
}

/* Expects @t_ to have @outcome_ and, where it isn't OK, @error_. */
#define EXPECT_OUTCOME(t_, outcome_, error_, fmt, ...)                                             \
	do {                                                                                       \
		struct translation got_ = (t_);                                                    \
		EXPECT_EQ_NAMED(outcome_namer, got_.outcome, outcome_, fmt, ##__VA_ARGS__);        \
		if (got_.outcome == (outcome_) && got_.outcome != WALK_OK)                         \
			EXPECT(got_.error == (u64)(error_), fmt ": error %#lx, not %#lx",          \
			       ##__VA_ARGS__, (unsigned long)got_.error, (unsigned long)(error_)); \
	} while (0)

#endif
