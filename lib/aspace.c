// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds page tables in guest memory, one loop over the table of paging modes.
 * The low memory that maps slot 0 is built once per VM and linked into every
 * address space, as kernels share their half.
 */
#include <string.h>

#include "aspace.h"
#include "test.h"

gpa_t vm_alloc_table(struct vm *vm)
{
	gpa_t gpa = vm->next_table;

	if (gpa + SZ_4K > VM_SYSTEM_SIZE)
		test_error("no page-table frame left: %llu in use",
			   (VM_SYSTEM_SIZE - VM_TABLES_GPA) / SZ_4K);
	vm->next_table += SZ_4K;
	return gpa;
}

static void store_entry(struct vm *vm, const struct paging_mode *m, gpa_t at, u64 pte)
{
	void *p = vm_hva(vm, at);

	if (m->pte_size == 4)
		*(volatile u32 *)p = pte;
	else
		*(volatile u64 *)p = pte;
}

static u64 load_entry(struct vm *vm, const struct paging_mode *m, gpa_t at)
{
	void *p = vm_hva(vm, at);

	return m->pte_size == 4 ? *(volatile u32 *)p : *(volatile u64 *)p;
}

/* An entry of @level that points to @table. PAE's PDPTEs have no W and U: reserved. */
static u64 link_entry(const struct paging_mode *m, int level, gpa_t table)
{
	if (m->id == PM_PAE && level == 3)
		return table | PTE_P;
	return table | PTE_P | PTE_W | PTE_U;
}

/* Walks to the entry of @gva at @level, making tables on the way if @make. */
static gpa_t find_entry(const struct aspace *as, gva_t gva, int level, bool make)
{
	const struct paging_mode *m = as->mode;
	gpa_t table = as->root, at;
	u64 pte;
	int l;

	if (level < 1 || level > m->levels)
		test_error("level %d: mode %s has levels 1 to %d", level, m->name, m->levels);
	for (l = m->levels;; l--) {
		at = table + level_index(m, gva, l) * m->pte_size;
		if (l == level)
			return at;
		pte = load_entry(as->vm, m, at);
		if (!(pte & PTE_P) && make) {
			pte = link_entry(m, l, vm_alloc_table(as->vm));
			store_entry(as->vm, m, at, pte);
		}
		if (!(pte & PTE_P) || pte_is_leaf(m, pte, l))
			return 0;
		table = pte_addr(m, pte, l);
	}
}

gpa_t aspace_pte_gpa(const struct aspace *as, gva_t gva, int level)
{
	return find_entry(as, gva, level, false);
}

u64 aspace_get_pte(const struct aspace *as, gva_t gva, int level)
{
	gpa_t at = find_entry(as, gva, level, false);

	return at ? load_entry(as->vm, as->mode, at) : 0;
}

void aspace_set_pte(const struct aspace *as, gva_t gva, int level, u64 pte)
{
	gpa_t at = find_entry(as, gva, level, false);

	if (!at)
		test_error("gva %#lx has no entry at level %d to set", gva, level);
	store_entry(as->vm, as->mode, at, pte);
}

void aspace_make_tables(const struct aspace *as, gva_t gva, int level)
{
	if (!find_entry(as, gva, level, true))
		test_error("gva %#lx: a large page is mapped above level %d", gva, level);
}

void aspace_link(const struct aspace *as, gva_t gva, int level, gpa_t table)
{
	aspace_make_tables(as, gva, level);
	aspace_set_pte(as, gva, level, link_entry(as->mode, level, table));
}

void aspace_map(const struct aspace *as, gva_t gva, gpa_t gpa, u64 size, int level, u64 bits)
{
	const struct paging_mode *m = as->mode;
	u64 page, done;

	if (!m->levels) {
		if (gva != gpa)
			test_error("gva %#lx to gpa %#lx: without paging they are equal", gva, gpa);
		return;
	}
	if (level < 1 || level > m->levels || !m->level[level].leaf)
		test_error("mode %s maps no pages at level %d", m->name, level);
	page = level_size(m, level);
	if ((gva | gpa | size) & (page - 1))
		test_error("mapping %#lx -> %#lx + %#lx is not aligned to %#lx", gva, gpa, size,
			   page);
	for (done = 0; done < size; done += page) {
		aspace_make_tables(as, gva + done, level);
		aspace_set_pte(as, gva + done, level, pte_make_leaf(m, gpa + done, level, bits));
	}
}

/*
 * What is shared of slot 0's mapping: the table one below the root, except in
 * 32-bit paging, whose root holds the leaf tables itself.
 */
static void map_system(const struct aspace *as)
{
	struct vm *vm = as->vm;
	gpa_t gpa;

	for (gpa = SZ_4K; gpa < VM_SYSTEM_SIZE; gpa += SZ_4K) {
		u64 bits = PTE_W;

		if (gpa >= vm->user_start && gpa < vm->user_end)
			bits |= PTE_U;
		aspace_map(as, gpa, gpa, SZ_4K, 1, bits);
	}
}

/*
 * PAE's four PDPTEs are registers, loaded with CR3 (SDM vol. 3 4.4.1): one that
 * is added later does not exist for the processor. So all are there from the start.
 */
static void fill_pdpt(const struct aspace *as)
{
	int i;

	for (i = 0; i < 4; i++)
		aspace_make_tables(as, (gva_t)i << 30, 2);
}

struct aspace aspace_create(struct vm *vm)
{
	const struct paging_mode *m = vm->mode;
	struct aspace as = {.vm = vm, .mode = m};
	u32 i, shared;

	if (!m->levels)
		return as;
	as.root = vm_alloc_table(vm);
	if (!vm->system_table) {
		map_system(&as);
		vm->system_table = as.root;
		if (m->id == PM_PAE)
			fill_pdpt(&as);
		return as;
	}
	shared = m->id == PM_32 ? VM_SYSTEM_SIZE / SZ_4M : 1;
	for (i = 0; i < shared; i++)
		store_entry(vm, m, as.root + i * m->pte_size,
			    load_entry(vm, m, vm->system_table + i * m->pte_size));
	if (m->id == PM_PAE)
		fill_pdpt(&as);
	return as;
}
