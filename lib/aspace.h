/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The page-table builder: address spaces in guest memory for every paging
 * mode, written by the host before the guest runs or live by the guest itself.
 *
 * Under shadow paging the hypervisor watches the guest's own writes to its
 * tables, not the host's: once a vCPU has used an entry, change it with
 * guest_set_pte() and friends (lib/agent.h), not from here.
 */
#ifndef LIB_ASPACE_H
#define LIB_ASPACE_H

#include "vm.h"

/* A new address space that maps slot 0 as every other does, and nothing else. */
struct aspace aspace_create(struct vm *vm);

/* A zeroed frame of slot 0 for a page table; fails the case when there is none left. */
gpa_t vm_alloc_table(struct vm *vm);

/*
 * Where the entry of @gva at @level (1 …) is in guest physical memory; 0 when a
 * level above it is not present or maps a large page. Reads guest memory.
 */
gpa_t aspace_pte_gpa(const struct aspace *as, gva_t gva, int level);
/* The entry itself; 0 when it is not there. */
u64 aspace_get_pte(const struct aspace *as, gva_t gva, int level);
/* Stores an entry from the host; upper levels must exist. */
void aspace_set_pte(const struct aspace *as, gva_t gva, int level, u64 pte);

/*
 * Maps [@gva, @gva + @size) to @gpa with pages of @level (1: 4 KiB, 2: 2 or
 * 4 MiB, 3: 1 GiB) and leaf bits @bits (PTE_W, PTE_U, …; P and PS are added).
 * Missing tables are made with P, W and U set, so that only the leaf decides.
 * All but @bits must be multiples of the page size. Host writes.
 */
void aspace_map(const struct aspace *as, gva_t gva, gpa_t gpa, u64 size, int level, u64 bits);
/* Makes the tables above @level for @gva if they are missing. Host writes. */
void aspace_make_tables(const struct aspace *as, gva_t gva, int level);
/* Points the entry of @gva at @level (2 …) to the table at @table, with P, W and U. */
void aspace_link(const struct aspace *as, gva_t gva, int level, gpa_t table);

/* aspace_map() in the VM's first address space; most tests need no other. */
static inline void vm_map(struct vm *vm, gva_t gva, gpa_t gpa, u64 size, int level, u64 bits)
{
	aspace_map(&vm->as, gva, gpa, size, level, bits);
}

#endif
