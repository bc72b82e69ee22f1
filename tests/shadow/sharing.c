// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables out of sync that are reached by more than one way: one last-level
 * table below two directories, in one or in several address spaces.
 *
 * There is one shadow page for such a table (as long as the rights above it
 * agree), and each of its parents, and theirs, must learn that it is out of
 * sync: later a flush starts from one root and follows only the marks it finds.
 * And an address that was never used may be read right after the store, without
 * any flush, since nothing of it can be in a TLB: linking a table, or a directory
 * with such tables below, at a new place has to catch up first.
 *
 * The hypervisor also has to keep what catching up finds in order: an edit may
 * point a writable mapping at another table, which then has to be protected.
 */
#include "frames.h"

static u32 read4(struct vcpu *v, gva_t gva)
{
	return guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva);
}

/* The second place of the leaf table: below another directory where there is one. */
static gva_t far_from(const struct paging_mode *m, gva_t gva)
{
	return gva + (m->id == PM_32 ? 1 : m->id == PM_PAE ? 1 : 5) * SZ_1G;
}

/* Links the leaf table of @gva in @as at @at in @to. */
static void share(const struct aspace *as, gva_t gva, const struct aspace *to, gva_t at)
{
	aspace_link(to, at, 2, pte_addr(as->mode, aspace_get_pte(as, gva, 2), 2));
}

TEST(two_parents, .what = "an edit below two directories is seen through both after a flush",
     .modes = MODES_FEW, .fixes = (const char *const[]){"07ffaf343e34", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace b = aspace_create(vm), c = aspace_create(vm);
	const struct aspace *spaces[] = {&vm->as, &b, &c};
	gva_t gva = vm->test_gva, far = far_from(t->mode, gva);
	u32 step, i, n = 0;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	share(&vm->as, gva, &vm->as, far);
	share(&vm->as, gva, &b, gva);
	share(&vm->as, gva, &c, far);
	for (i = 0; i < 3; i++) {
		guest_load_cr3(v, spaces[i]);
		EXPECT_EQ(read4(v, i == 2 ? far : gva), frame_id(0));
	}
	/* Edit in one space, read in another, for every pair; @from is loaded before. */
	for (step = 0; step < 18; step++) {
		u32 from = step % 3, to = step / 3 % 3, r1, r2;

		n++;
		op_clear(v);
		op_load_cr3(v, spaces[from]->root);
		op_read(v, from == 2 ? far : gva);
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, n, PTE_W));
		op_load_cr3(v, spaces[to]->root);
		r1 = op_read(v, to == 2 ? far : gva);
		n++;
		/* And once more where the first one left it. */
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, n, PTE_W));
		op_load_cr3(v, spaces[from]->root);
		r2 = op_read(v, from == 2 ? far : gva);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, r1), frame_id(n - 1), "from %u to %u", from, to);
		EXPECT_VALUE(op_result(v, r2), frame_id(n), "from %u to %u, back", from, to);
	}
	/* Both places of one space, by INVLPG of each. */
	guest_load_cr3(v, &vm->as);
	read4(v, gva);
	read4(v, far);
	op_clear(v);
	op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, n + 1, PTE_W));
	op_invlpg(v, far);
	op_read(v, far);
	op_invlpg(v, gva);
	op_read(v, gva);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 2), frame_id(n + 1));
	EXPECT_VALUE(op_result(v, 4), frame_id(n + 1));
}

TEST(new_parent, .what = "a table that is linked while out of sync is followed in its new space",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace b = aspace_create(vm);
	gva_t gva = vm->test_gva, far = far_from(t->mode, gva), beside = far + SZ_4K;
	u32 fresh, later;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	vm_map(vm, gva + SZ_4K, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	share(&vm->as, gva, &b, far);
	read4(v, gva);
	op_clear(v);
	/* B's tables are used once, so that the link is the only thing missing in it. */
	op_load_cr3(v, b.root);
	op_load_cr3(v, vm->as.root);
	op_read(v, gva);
	op_read(v, gva + SZ_4K);
	op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 2, PTE_W));
	op_load_cr3(v, b.root);
	fresh = op_read(v, far);
	op_read(v, beside);
	/* Out of sync still or again; no trap tells of this store. */
	op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 3, PTE_W));
	op_set_pte(v, &vm->as, gva + SZ_4K, 1, frame_pte(vm, 4, PTE_W));
	op_load_cr3(v, b.root);
	later = op_read(v, far);
	op_read(v, beside);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, fresh), frame_id(2));
	EXPECT_VALUE(op_result(v, fresh + 1), frame_id(1));
	EXPECT_VALUE(op_result(v, later), frame_id(3));
	EXPECT_VALUE(op_result(v, later + 1), frame_id(4));
}

TEST(linked_while_unsync,
     .what = "linked under a second entry between two stores, a table is followed in both spaces",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace b = aspace_create(vm);
	gva_t gva = vm->test_gva, far = far_from(t->mode, gva);
	u64 link, own = 0;
	gpa_t at;
	u32 r[3];

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	/* B has its own directory there, with A's root entry borrowed in it later. */
	aspace_map(&b, far, frame_gpa(vm, 9), SZ_4K, 1, PTE_W);
	link = aspace_get_pte(&vm->as, gva, 2);
	own = aspace_get_pte(&b, far, 2);
	at = aspace_pte_gpa(&b, far, 2);
	guest_load_cr3(v, &b);
	EXPECT_EQ(read4(v, far), frame_id(9));
	guest_load_cr3(v, &vm->as);
	EXPECT_EQ(read4(v, gva), frame_id(0));
	op_clear(v);
	/* B becomes current first, so that its load can't be what catches up. */
	op_load_cr3(v, b.root);
	op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 1, PTE_W));
	op_store_entry(v, at, link);
	op_invlpg(v, far);
	r[0] = op_read(v, far);
	op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 2, PTE_W));
	op_load_cr3(v, b.root);
	r[1] = op_read(v, far);
	op_store_entry(v, at, own);
	op_invlpg(v, far);
	op_read(v, far);
	op_load_cr3(v, vm->as.root);
	r[2] = op_read(v, gva);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, r[0]), frame_id(1));
	EXPECT_VALUE(op_result(v, r[1]), frame_id(2));
	EXPECT_VALUE(op_result(v, r[2]), frame_id(2));
}

/* Two pages of one leaf table get frames @frame and @frame + 1. */
static void op_edit_both(struct vm *vm, gva_t gva, u32 frame)
{
	op_set_pte(vm->vcpu[0], &vm->as, gva, 1, frame_pte(vm, frame, PTE_W));
	op_set_pte(vm->vcpu[0], &vm->as, gva + 40 * SZ_4K, 1, frame_pte(vm, frame + 1, PTE_W));
}

/*
 * The first address that is used at the new place is looked up in the guest's
 * tables anyway; what counts is the second one, which the table that was just
 * linked maps already.
 */
TEST(fresh_address, .what = "addresses never used see the last stores without a flush",
     .modes = MODES_PAGED, .fixes = (const char *const[]){"65855ed8b034", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	int level, top = t->mode->id == PM_PAE ? 2 : t->mode->levels;
	gva_t gva = vm->test_gva, far = 40 * SZ_4K;
	u32 i, k, frame = 0, r[2];

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	vm_map(vm, gva + far, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	/* The entry at @level is copied to a place not present; what hangs below is shared. */
	for (level = 2; level <= top; level++) {
		u64 entry = aspace_get_pte(&vm->as, gva, level);

		for (i = 0; i < 3; i++) {
			gva_t fresh = gva + (3 + i) * level_size(t->mode, level);

			op_clear(v);
			op_load_cr3(v, vm->as.root);
			op_read(v, gva);
			op_read(v, gva + far);
			/* Then once more, while the table below is out of sync already. */
			for (k = 0; k < 2; k++) {
				frame += 2;
				op_edit_both(vm, gva, frame);
				op_set_pte(v, &vm->as, fresh, level, entry);
				r[k] = op_read(v, fresh);
				op_read(v, fresh + far);
				op_set_pte(v, &vm->as, fresh, level, 0);
				op_invlpg(v, fresh);
				op_invlpg(v, fresh + far);
			}
			vcpu_exec(v);
			for (k = 0; k < 4; k++)
				EXPECT_VALUE(op_result(v, r[k / 2] + k % 2),
					     frame_id(frame - 2 + k), "level %d, entry %u, page %u",
					     level, i, k);
		}
	}
}

TEST(maps_a_table, .what = "an edit that maps another live table writable has that table watched",
     .modes = MODES_FEW, .fixes = (const char *const[]){"36a2e6774bfb", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t victim = vm->test_gva, window = victim + 2 * level_size(t->mode, 2);
	gpa_t table;
	u32 round, size = t->mode->pte_size;

	number_frames(vm);
	vm_map(vm, victim, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	vm_map(vm, window, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	table = pte_addr(t->mode, aspace_get_pte(&vm->as, victim, 2), 2);
	for (round = 0; round < 4; round++) {
		u64 rw = table | PTE_P | PTE_W | PTE_A | PTE_D;
		u32 r, s;

		op_clear(v);
		op_read(v, victim);
		op_write(v, window, frame_id(1));
		/* Both tables are out of sync when the flush comes, or one of them. */
		if (round & 1)
			op_set_pte(v, &vm->as, victim + SZ_4K, 1, frame_pte(vm, 20, PTE_W));
		if (round & 2) {
			op_set_pte(v, &vm->as, window, 1, rw & ~PTE_W);
			op_invlpg(v, window);
			op_add(v, .kind = AGENT_READ, .size = 4, .addr = window);
		}
		op_set_pte(v, &vm->as, window, 1, rw);
		op_load_cr3(v, vm->as.root);
		op_read(v, victim);
		op_add(v, .kind = AGENT_SET_PTE, .addr = window, .size = size,
		       .value = frame_pte(vm, 2 + round, PTE_W));
		op_invlpg(v, victim);
		r = op_read(v, victim);
		/* And by CR3 instead of INVLPG. */
		op_add(v, .kind = AGENT_SET_PTE, .addr = window, .size = size,
		       .value = frame_pte(vm, 10 + round, PTE_W));
		op_load_cr3(v, vm->as.root);
		s = op_read(v, victim);
		op_set_pte(v, &vm->as, window, 1, frame_pte(vm, 1, PTE_W));
		op_load_cr3(v, vm->as.root);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, r), frame_id(2 + round), "round %u", round);
		EXPECT_VALUE(op_result(v, s), frame_id(10 + round), "round %u", round);
		EXPECT_EQ(*frame_word(vm, 1), frame_id(1));
	}
}
