// SPDX-License-Identifier: GPL-2.0-only
/*
 * 32-bit paging and PAE, whose tables have other shapes than the ones that
 * shadow them.
 *
 * A 32-bit table holds 1024 entries of 4 bytes; its shadow holds 512 of 8. So a
 * directory becomes four shadow directories (one for each GiB), a last-level
 * table two, told apart by a quadrant in their key, and one 4 MiB entry of the
 * guest is two neighbouring entries in the shadow. Losing the quadrant, or
 * following a store in one half only, leaves old frames at addresses whose bit 21
 * or bits 31:30 differ from those that were looked at. SDM vol. 3 4.3.
 *
 * PAE's four top entries are registers, loaded with CR3: a change of them in
 * memory counts from the next load on, and two sets of them may lie in one
 * frame. SDM vol. 3 4.4.1, APM vol. 2 5.2.3.
 */
#include "frames.h"

/* A directory entry in each quarter of the linear addresses, none of slot 0's. */
static const u32 pdes[] = {0x20, 0x1ff, 0x200, 0x3ff};

/* Offsets into the 4 MiB of an entry: the first and last page of either half. */
static const u32 pages[] = {0, 511, 512, 1023};

static gva_t place(u32 pde, u32 page)
{
	return (gva_t)pdes[pde] * SZ_4M + (gva_t)pages[page] * SZ_4K;
}

/* Frame of @page in the table number @set for directory entry @pde. */
static u32 frame_of(u32 set, u32 pde, u32 page)
{
	return set * 16 + pde * 4 + page;
}

/* Makes the leaf table @set for every entry; fills @out with what points to it. */
static void make_set(struct vm *vm, u32 set, u64 *out)
{
	u32 i, j;

	for (i = 0; i < ARRAY_LEN(pdes); i++) {
		gpa_t table = vm_alloc_table(vm);

		aspace_link(&vm->as, place(i, 0), 2, table);
		for (j = 0; j < ARRAY_LEN(pages); j++)
			aspace_map(&vm->as, place(i, j), frame_gpa(vm, frame_of(set, i, j)), SZ_4K,
				   1, PTE_W);
		out[i] = aspace_get_pte(&vm->as, place(i, 0), 2) | PTE_A;
	}
}

static void check_entry(struct vm *vm, u32 i, u32 set, const char *what)
{
	struct vcpu *v = vm->vcpu[0];
	u32 j;

	op_clear(v);
	for (j = 0; j < ARRAY_LEN(pages); j++)
		op_read(v, place(i, j));
	vcpu_exec(v);
	for (j = 0; j < ARRAY_LEN(pages); j++)
		EXPECT_VALUE(op_result(v, j), frame_id(frame_of(set, i, j)),
			     "%s: entry %#x page %u", what, pdes[i], pages[j]);
}

static void store_pde(struct vm *vm, u32 i, u64 pde)
{
	struct vcpu *v = vm->vcpu[0];
	u32 j;

	op_clear(v);
	op_set_pte(v, &vm->as, place(i, 0), 2, pde);
	for (j = 0; j < ARRAY_LEN(pages); j++)
		op_invlpg(v, place(i, j));
	vcpu_exec(v);
}

TEST(directory_entries, .what = "a store to a 32-bit directory changes both halves of its 4 MiB",
     .modes = MODE(PM_32), .fixes = (const char *const[]){"fce0657ff9f1", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 a[4], b[4];
	u32 i, j, round;

	number_frames(vm);
	make_set(vm, 1, b);
	make_set(vm, 0, a);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < ARRAY_LEN(pdes); i++)
			check_entry(vm, i, 0, "as built");
		for (i = 0; i < ARRAY_LEN(pdes); i++) {
			store_pde(vm, i, b[i]);
			check_entry(vm, i, 1, "other table");
			/* The other quarters have not moved. */
			for (j = 0; j < ARRAY_LEN(pdes); j++)
				check_entry(vm, j, j <= i, "neighbours");
		}
		for (i = 0; i < ARRAY_LEN(pdes); i++) {
			gpa_t big = vm->mem->gpa + SZ_4M;

			store_pde(vm, i, pte_make_leaf(t->mode, big, 2, PTE_W | PTE_A | PTE_D));
			op_clear(v);
			for (j = 0; j < ARRAY_LEN(pages); j++)
				op_read(v, place(i, j));
			vcpu_exec(v);
			for (j = 0; j < ARRAY_LEN(pages); j++)
				EXPECT_VALUE(op_result(v, j), frame_id(1024 + pages[j]),
					     "4 MiB page at %#x page %u", pdes[i], pages[j]);
			store_pde(vm, i, 0);
			op_clear(v);
			for (j = 0; j < ARRAY_LEN(pages); j++)
				op_read(v, place(i, j));
			vcpu_exec(v);
			for (j = 0; j < ARRAY_LEN(pages); j++)
				EXPECT_PF(op_result(v, j), 0, place(i, j), "entry %#x", pdes[i]);
			store_pde(vm, i, a[i]);
			check_entry(vm, i, 0, "table again");
		}
	}
}

TEST(table_halves, .what = "a store to one half of a 32-bit table leaves the other half alone",
     .modes = MODE(PM_32), .fixes = (const char *const[]){"fce0657ff9f1", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 a[4];
	u32 i, j, k, first, set[4] = {0};

	number_frames(vm);
	make_set(vm, 0, a);
	check_entry(vm, 1, 0, "as built");
	for (k = 0; k < 8; k++) {
		i = k % 4;
		set[i]++;
		op_clear(v);
		op_set_pte(v, &vm->as, place(1, i), 1,
			   frame_pte(vm, frame_of(set[i], 1, i), PTE_W));
		if (k < 4)
			op_invlpg(v, place(1, i));
		else
			op_load_cr3(v, vm->as.root);
		first = op_read(v, place(1, 0));
		for (j = 1; j < 4; j++)
			op_read(v, place(1, j));
		vcpu_exec(v);
		for (j = 0; j < 4; j++)
			EXPECT_VALUE(op_result(v, first + j), frame_id(frame_of(set[j], 1, j)),
				     "page %u after a store for page %u", pages[j], pages[i]);
	}
}

TEST(shadow_pages, .what = "a 32-bit table has one shadow page for each half that is used",
     .modes = MODE(PM_32), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva + 8 * SZ_4M;
	u64 misses;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	vm_map(vm, gva + 1023 * SZ_4K, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	(void)guest_do(v, .kind = AGENT_NOP);
	misses = vm_stat(vm, "mmu_cache_miss");
	(void)guest_do(v, .kind = AGENT_READ, .addr = gva);
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 1);
	(void)guest_do(v, .kind = AGENT_READ, .addr = gva + 1023 * SZ_4K);
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 2);
	(void)guest_do(v, .kind = AGENT_READ, .addr = gva);
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 2);
}

TEST(pae_top_entries, .what = "PAE's four top entries count from the load of CR3 on",
     .modes = MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace other = aspace_create(vm);
	gva_t gva[3];
	u32 i, round, first;

	number_frames(vm);
	for (i = 0; i < 3; i++) {
		gva[i] = (i + 1) * SZ_1G + (i * 100 + 3) * SZ_2M;
		vm_map(vm, gva[i], frame_gpa(vm, i), SZ_4K, 1, PTE_W);
		aspace_map(&other, gva[i], frame_gpa(vm, 8 + i), SZ_4K, 1, PTE_W);
	}
	for (round = 0; round < 6; round++) {
		/* Entry round % 3 + 1 trades directories with the other space. */
		u32 e = round % 3;
		u64 mine = aspace_get_pte(&vm->as, gva[e], 3);
		u64 theirs = aspace_get_pte(&other, gva[e], 3);

		op_clear(v);
		for (i = 0; i < 3; i++)
			op_read(v, gva[i]);
		op_set_pte(v, &vm->as, gva[e], 3, theirs);
		op_set_pte(v, &other, gva[e], 3, mine);
		op_load_cr3(v, vm->as.root);
		first = op_read(v, gva[0]);
		op_read(v, gva[1]);
		op_read(v, gva[2]);
		op_load_cr3(v, other.root);
		for (i = 0; i < 3; i++)
			op_read(v, gva[i]);
		op_load_cr3(v, vm->as.root);
		vcpu_exec(v);
		for (i = 0; i < 3; i++) {
			bool swapped = (round < 3) == (i <= round % 3);

			EXPECT_VALUE(op_result(v, first + i), frame_id(swapped ? 8 + i : i),
				     "round %u, address %u", round, i);
			EXPECT_VALUE(op_result(v, first + 4 + i), frame_id(swapped ? i : 8 + i),
				     "round %u, address %u, other space", round, i);
		}
	}
	/* A directory that is taken away, and one that serves two entries. */
	op_clear(v);
	op_set_pte(v, &vm->as, gva[0], 3, 0);
	op_set_pte(v, &vm->as, gva[2], 3, aspace_get_pte(&vm->as, gva[1], 3));
	op_load_cr3(v, vm->as.root);
	op_read(v, gva[0]);
	op_read(v, gva[1] + SZ_1G);
	vcpu_exec(v);
	EXPECT_PF(op_result(v, 3), 0, gva[0]);
	EXPECT_VALUE(op_result(v, 4), frame_id(1));
}

TEST(pae_roots_in_one_frame, .what = "PAE roots that differ in CR3 bits 11:5 only are two roots",
     .modes = MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as = vm->as;
	gpa_t root = as.root;
	u64 *pdpt = vm_hva(vm, root);
	gva_t gva = vm->test_gva;
	u32 i, first;

	number_frames(vm);
	/* Eight copies of the four entries; the second entry has its own directory in each. */
	for (i = 0; i < 8; i++) {
		as.root = root + i * 480;
		if (i) {
			memcpy(&pdpt[i * 60], pdpt, 4 * sizeof(*pdpt));
			pdpt[i * 60 + 1] = 0;
		}
		aspace_map(&as, gva, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	}
	op_clear(v);
	for (i = 0; i < 24; i++) {
		op_load_cr3(v, root + i * 5 % 8 * 480);
		first = op_read(v, gva);
	}
	vcpu_exec(v);
	ASSERT_EQ(first, 47);
	for (i = 0; i < 24; i++)
		EXPECT_VALUE(op_result(v, 2 * i + 1), frame_id(i * 5 % 8), "root %u", i * 5 % 8);
}
