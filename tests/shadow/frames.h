/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of this folder share: frames of slot 1 that carry their own
 * number, entries that name them, and a small walker that says where a linear
 * address leads by the tables as they are in guest memory now.
 */
#ifndef TESTS_SHADOW_FRAMES_H
#define TESTS_SHADOW_FRAMES_H

#include <string.h>

#include "mmuscope.h"

/* One mode of each shape of table; five levels are but one more of the same. */
#define MODES_FEW (MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))

/* Guest physical address of 4 KiB frame @n of slot 1. */
static inline gpa_t frame_gpa(struct vm *vm, u64 n)
{
	return vm->mem->gpa + n * SZ_4K;
}

/* The first word of frame @n, on the host. */
static inline u32 *frame_word(struct vm *vm, u64 n)
{
	return vm_hva(vm, frame_gpa(vm, n));
}

/* What number_frames() puts there: no frame has 0, none looks like an entry. */
static inline u32 frame_id(u64 n)
{
	return 0x5a000000 + n + 1;
}

/* Every 4 KiB frame of slot 1 starts with its own number. */
static inline void number_frames(struct vm *vm)
{
	u64 n;

	for (n = 0; n < vm->mem->size / SZ_4K; n++)
		*frame_word(vm, n) = frame_id(n);
}

/* A last-level entry for frame @n. A and D are set so that edits alone change it. */
static inline u64 frame_pte(struct vm *vm, u64 n, u64 bits)
{
	return pte_make_leaf(vm->mode, frame_gpa(vm, n), 1, bits | PTE_A | PTE_D);
}

/* An entry of @level (2 …) that points to @table. */
static inline u64 table_pte(const struct paging_mode *m, int level, gpa_t table)
{
	if (m->id == PM_PAE && level == 3)
		return table | PTE_P;
	return table | PTE_P | PTE_W | PTE_U | PTE_A;
}

/* Appends a 4-byte read. */
static inline u32 op_read(struct vcpu *v, gva_t gva)
{
	return op_add(v, .kind = AGENT_READ, .size = 4, .addr = gva);
}

/* Appends a 4-byte write. */
static inline u32 op_write(struct vcpu *v, gva_t gva, u32 value)
{
	return op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = gva, .value = value);
}

static inline u32 op_invlpg(struct vcpu *v, gva_t gva)
{
	return op_add(v, .kind = AGENT_INVLPG, .addr = gva);
}

static inline u32 op_load_cr3(struct vcpu *v, u64 cr3)
{
	return op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = cr3);
}

/* Appends a store of an entry at guest physical @at, in slot 0. */
static inline u32 op_store_entry(struct vcpu *v, gpa_t at, u64 pte)
{
	return op_add(v, .kind = AGENT_SET_PTE, .addr = at, .value = pte,
		      .size = v->vm->mode->pte_size);
}

/*
 * Where @gva leads by the tables in memory: its guest physical address, or
 * ~0ull when an entry is not present. Rights are not looked at.
 */
static inline gpa_t walk_gpa(const struct aspace *as, gva_t gva)
{
	const struct paging_mode *m = as->mode;
	gpa_t table = as->root;
	int l;

	for (l = m->levels;; l--) {
		void *p = vm_hva(as->vm, table + level_index(m, gva, l) * m->pte_size);
		u64 pte = m->pte_size == 4 ? *(volatile u32 *)p : *(volatile u64 *)p;

		if (!(pte & PTE_P))
			return ~0ull;
		table = pte_addr(m, pte, l);
		if (pte_is_leaf(m, pte, l))
			return table + (gva & (level_size(m, l) - 1));
	}
}

#endif
