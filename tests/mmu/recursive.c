// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that map themselves: a root or directory entry that points to its own
 * table, a leaf entry that maps the leaf table it is in, a large page that covers
 * the tables by which it is reached. Kernels use such windows to edit their
 * tables, so a store through one must count like any other after its flush.
 *
 * The hypervisor write-protects a table that it shadows. Here the store that it
 * then intercepts has an address whose translation goes through that same table:
 * to let the store through it would have to drop what it just built, and the next
 * fault builds it again. It must notice and emulate the store, or the guest never
 * gets past it. And a large mapping over such a table must be broken up, or its
 * writable shadow lets stores pass unseen. A guest that hangs shows as a vCPU
 * that does not come back, a store unseen as a read from the wrong frame.
 */
#include "frames.h"

/* A leaf entry that maps its own table, at the first, a middle and the last index. */
TEST(leaf_maps_own_table, .what = "a leaf table edited through its own last-level entry",
     .modes = MODES_FEW, .fixes = (const char *const[]){"39fda5d873eb", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u32 index[] = {0, 5, level_entries(m, 1) - 1}, n = ARRAY_LEN(index);
	u32 read[ARRAY_LEN(index)][4], own[ARRAY_LEN(index)][2], gone[ARRAY_LEN(index)], i, j;
	u64 flags = PTE_W | PTE_A | PTE_D;

	number_frames(vm);
	op_clear(v);
	for (i = 0; i < n; i++) {
		gva_t base = vm->test_gva + i * level_size(m, 2), page = base + 9 * SZ_4K;
		gva_t window = base + index[i] * SZ_4K;
		gpa_t table;

		vm_map(vm, page, frame_gpa(vm, 100), SZ_4K, 1, PTE_W);
		table = aspace_pte_gpa(&vm->as, base, 1);
		vm_map(vm, window, table, SZ_4K, 1, flags);
		op_read(v, page);
		for (j = 0; j < 4; j++) {
			op_add(v, .kind = AGENT_SET_PTE, .addr = window + 9 * m->pte_size,
			       .value = frame_pte(vm, i + 4 * j, PTE_W), .size = m->pte_size);
			op_invlpg(v, page);
			read[i][j] = op_read(v, page);
		}
		/* The very entry by which the store is made: read-only, then as before. */
		op_add(v, .kind = AGENT_SET_PTE, .addr = window + index[i] * m->pte_size,
		       .value = table | PTE_P | PTE_A | PTE_D, .size = m->pte_size);
		op_invlpg(v, window);
		own[i][0] = op_write(v, window + 9 * m->pte_size, 0);
		op_add(v, .kind = AGENT_SET_PTE, .addr = table + index[i] * m->pte_size,
		       .value = table | flags | PTE_P, .size = m->pte_size);
		op_invlpg(v, window);
		own[i][1] = op_write(v, window + 9 * m->pte_size, 0);
		op_invlpg(v, page);
		gone[i] = op_read(v, page);
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++) {
		gva_t base = vm->test_gva + i * level_size(m, 2), window = base + index[i] * SZ_4K;

		for (j = 0; j < 4; j++)
			EXPECT_VALUE(op_result(v, read[i][j]), frame_value(i + 4 * j),
				     "window at index %u, round %u", index[i], j);
		EXPECT_PF(op_result(v, own[i][0]), PFERR_P | PFERR_W, window + 9 * m->pte_size,
			  "window at index %u made read-only through itself", index[i]);
		EXPECT_OK(op_result(v, own[i][1]), "index %u", index[i]);
		EXPECT_PF(op_result(v, gone[i]), 0, base + 9 * SZ_4K,
			  "index %u, unmapped through the window", index[i]);
	}
}

/* Where the window of a table that contains itself at @index, @level shows an entry. */
struct window {
	gva_t gva; /* of the page that shows the table itself */
	gpa_t table;
	int level;
	u32 index;
};

/*
 * Makes the entry of @gva at @level point to the table that it is in. Then that
 * table stands in for each level below as well, and following the entry again and
 * again ends with a page that shows the table itself.
 */
static struct window make_window(struct vm *vm, gva_t gva, int level)
{
	const struct paging_mode *m = vm->mode;
	struct window w = {.level = level, .index = level_index(m, gva, level)};
	int l;

	w.gva = gva;
	for (l = level - 1; l >= 1; l--)
		w.gva |= (gva_t)w.index << m->level[l].shift;
	w.table = aspace_pte_gpa(&vm->as, gva, level) & ~(SZ_4K - 1);
	aspace_set_pte(&vm->as, gva, level, w.table | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D);
	return w;
}

/*
 * In every level but PAE's registers: entries below the window's are edited
 * through it, and seen through it.
 */
TEST(recursive_entry, .what = "a table edited through its recursive entry", .modes = MODES_PAGED,
     .fixes = (const char *const[]){"39fda5d873eb", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	int top = m->id == PM_PAE ? 2 : m->levels, level;
	u32 op[PAGING_MAX_LEVEL + 1][8][2], i;

	number_frames(vm);
	op_clear(v);
	for (level = 2; level <= top; level++) {
		u64 span = level_size(m, level), pte[2];
		gva_t gva = vm->test_gva + 2 * span, page = gva + 2 * span;
		struct window w;

		for (i = 0; i < 2; i++) {
			vm_map(vm, page + i * span, frame_gpa(vm, 2 * level + i), SZ_4K, 1, PTE_W);
			pte[i] = aspace_get_pte(&vm->as, page + i * span, level) | PTE_A;
		}
		w = make_window(vm, gva, level);
		op_read(v, page);
		for (i = 0; i < 8; i++) {
			u32 offset = level_index(m, page, level) * m->pte_size;

			op_add(v, .kind = AGENT_SET_PTE, .addr = w.gva + offset,
			       .value = pte[(i + 1) % 2], .size = m->pte_size);
			op_invlpg(v, page);
			op[level][i][0] = op_read(v, page);
			op[level][i][1] = op_add(v, .kind = AGENT_GET_PTE, .addr = w.gva + offset,
						 .size = m->pte_size);
			if (i == 3) /* a store that changes the recursive entry itself */
				op_add(v, .kind = AGENT_SET_PTE, .size = m->pte_size,
				       .addr = w.gva + w.index * m->pte_size,
				       .value = w.table | PTE_P | PTE_W | PTE_A | PTE_D | PTE_SW0);
		}
	}
	vcpu_exec(v);
	for (level = 2; level <= top; level++) {
		gva_t page = vm->test_gva + 4 * level_size(m, level);
		u64 even = aspace_get_pte(&vm->as, page, level) & ~(u64)PTE_A;

		for (i = 0; i < 8; i++)
			EXPECT_VALUE(op_result(v, op[level][i][0]),
				     frame_value(2 * level + (i + 1) % 2), "level %d, round %u",
				     level, i);
		EXPECT_EQ(op_result(v, op[level][7][1]).value & ~(u64)PTE_A, even,
			  "level %d: the entry read through the window", level);
		EXPECT(aspace_get_pte(&vm->as, vm->test_gva + 2 * level_size(m, level), level) &
			       PTE_SW0,
		       "level %d: the recursive entry was edited through itself", level);
	}
}

/*
 * A large page at @level 2 that covers the directory holding its own entry and a
 * leaf table: slot 1's first frames are these tables, the rest is data.
 */
TEST(large_page_over_tables, .what = "a large page covers the tables by which it is reached",
     .modes = MODES_64 | MODE(PM_PAE),
     .fixes = (const char *const[]){"7751babd3c6d", "39fda5d873eb", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .backing = MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	gva_t window = vm->test_gva, page = window + SZ_2M, more = window + 2 * SZ_2M;
	u32 first[4], leaf[6], dir[6], data[6], i;
	gpa_t pd, pt;

	number_all_frames(vm);
	pd = frame_gpa(vm, 0);
	pt = frame_gpa(vm, 1);
	if (m->id == PM_PAE)
		aspace_set_pte(&vm->as, window, 3, pd | PTE_P);
	else
		aspace_link(&vm->as, window, 3, pd);
	*(u64 *)vm_hva(vm, pd) = 0;
	*(u64 *)vm_hva(vm, pt) = 0;
	vm_map(vm, window, frame_gpa(vm, 0), SZ_2M, 2, PTE_W | PTE_A | PTE_D);
	aspace_link(&vm->as, page, 2, pt);
	aspace_set_pte(&vm->as, page, 1, frame_pte(vm, 300, PTE_W | PTE_A | PTE_D));
	aspace_set_pte(&vm->as, page + SZ_4K, 1, frame_pte(vm, 301, PTE_W | PTE_A | PTE_D));

	op_clear(v);
	op_load_cr3(v, vm->as.root); /* PAE: its PDPTEs were loaded when the vCPU was made */
	first[0] = op_write(v, window + 300 * SZ_4K + SCRATCH, 0x77);
	first[1] = op_read(v, page);
	first[2] = op_read(v, page + SCRATCH);
	for (i = 0; i < 6; i++) {
		/* An entry of the leaf table, an entry of the directory, plain data. */
		op_add(v, .kind = AGENT_SET_PTE, .addr = window + SZ_4K, .size = 8,
		       .value = frame_pte(vm, 310 + i, PTE_W));
		op_invlpg(v, page);
		leaf[i] = op_read(v, page);
		op_add(v, .kind = AGENT_SET_PTE, .addr = window + 16, .size = 8,
		       .value = i % 2 ? pt | PTE_P | PTE_W
				      : pte_make_leaf(m, frame_gpa(vm, 512), 2, PTE_W));
		op_invlpg(v, more);
		dir[i] = op_read(v, more);
		op_write(v, window + 301 * SZ_4K + SCRATCH, 0x100 + i);
		data[i] = op_read(v, page + SZ_4K + SCRATCH);
		/* The large page's own entry, through itself: the same but for an ignored bit. */
		op_add(v, .kind = AGENT_SET_PTE, .addr = window, .size = 8,
		       .value = pte_make_leaf(m, frame_gpa(vm, 0), 2, PTE_W | PTE_A | PTE_D) |
				(i % 2 ? PTE_SW1 : 0));
		op_invlpg(v, window);
	}
	first[3] = op_read(v, window + 300 * SZ_4K);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, first[0]));
	EXPECT_VALUE(op_result(v, first[1]), frame_value(300));
	EXPECT_VALUE(op_result(v, first[2]), 0x77);
	EXPECT_VALUE(op_result(v, first[3]), frame_value(300));
	for (i = 0; i < 6; i++) {
		EXPECT_VALUE(op_result(v, leaf[i]), frame_value(310 + i), "round %u", i);
		EXPECT_VALUE(op_result(v, dir[i]), frame_value(i % 2 ? 310 + i : 512), "round %u",
			     i);
		EXPECT_VALUE(op_result(v, data[i]), 0x100 + i, "round %u", i);
	}
}
