// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables out of sync: the guest writes its last-level tables without a trap,
 * and the hypervisor catches up when the guest flushes.
 *
 * At the first store to a write-protected last-level table the hypervisor lets
 * the page become writable and notes, in every table above, that something
 * below is out of sync. The debt is paid by INVLPG (one entry), by a CR3 load or
 * a toggle of CR4.PGE (everything below the root), and when such a table is
 * linked at an address that could not be in the TLB. After paying, the page is
 * protected again, so that the next store is noticed. Wherever the debt is lost
 * (a table with two parents of which one was told, the last index of a parent,
 * the seventeenth table when sixteen fit into a batch) the guest keeps seeing the
 * old frame after its own flush.
 *
 * Between the store and the flush both translations are right; nothing here
 * looks at an address in between, unless it was never used before.
 */
#include "frames.h"

/* Indices in a last-level table that have one neighbour or none on their side. */
static u32 edge_indices(const struct paging_mode *m, u32 *idx)
{
	u32 n = level_entries(m, 1);
	u32 all[] = {0, 1, n / 2 - 1, n / 2, n - 2, n - 1};

	memcpy(idx, all, sizeof(all));
	return ARRAY_LEN(all);
}

enum flush {
	BY_INVLPG,
	BY_CR3,
	BY_PGE,
	BY_OTHER_CR3,
	NR_FLUSHES
};

static void op_flush(struct vcpu *v, enum flush flush, const struct aspace *other, gva_t gva)
{
	u64 cr4 = v->vm->config.cr4 | (v->vm->mode->pte_size == 8 ? CR4_PAE : CR4_PSE) |
		  (v->vm->mode->id == PM_LA57 ? CR4_LA57 : 0);

	switch (flush) {
	case BY_INVLPG:
		op_invlpg(v, gva);
		break;
	case BY_CR3:
		op_load_cr3(v, v->vm->as.root);
		break;
	case BY_PGE:
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4 | CR4_PGE);
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4);
		break;
	default:
		op_load_cr3(v, other->root);
		op_load_cr3(v, v->vm->as.root);
	}
}

TEST(edges, .what = "edits at the edges of a last-level table take effect with each kind of flush",
     .modes = MODES_FEW, .fixes = (const char *const[]){"b53e84eed08b", "fce0657ff9f1", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace other = aspace_create(vm);
	u32 idx[8], first[8], n = edge_indices(t->mode, idx), i, step;

	number_frames(vm);
	for (i = 0; i < n; i++)
		vm_map(vm, vm->test_gva + idx[i] * SZ_4K, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < n; i++)
		first[i] = op_read(v, vm->test_gva + idx[i] * SZ_4K);
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		EXPECT_VALUE(op_result(v, first[i]), frame_id(i));

	/* Twice round, since the first flush of a kind must leave things ready for the next. */
	for (step = 1; step <= 2 * NR_FLUSHES; step++) {
		enum flush flush = (step - 1) % NR_FLUSHES;

		op_clear(v);
		for (i = 0; i < n; i++)
			op_set_pte(v, &vm->as, vm->test_gva + idx[i] * SZ_4K, 1,
				   frame_pte(vm, step * 8 + i, PTE_W));
		for (i = 0; i < (flush == BY_INVLPG ? n : 1); i++)
			op_flush(v, flush, &other, vm->test_gva + idx[i] * SZ_4K);
		for (i = 0; i < n; i++)
			first[i] = op_read(v, vm->test_gva + idx[i] * SZ_4K);
		vcpu_exec(v);
		for (i = 0; i < n; i++)
			EXPECT_VALUE(op_result(v, first[i]), frame_id(step * 8 + i),
				     "flush kind %d, index %u, step %u", flush, idx[i], step);
	}
}

TEST(down_and_up, .what = "rights taken away, and given back, in a table out of sync",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva + 9 * SZ_4K;
	u32 round, down, gone, up;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	guest_write(v, gva, frame_id(0));
	for (round = 0; round < 4; round++) {
		op_clear(v);
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 0, 0));
		op_flush(v, round & 1 ? BY_CR3 : BY_INVLPG, NULL, gva);
		down = op_write(v, gva, 1);
		op_set_pte(v, &vm->as, gva, 1, 0);
		op_flush(v, round & 2 ? BY_CR3 : BY_INVLPG, NULL, gva);
		gone = op_read(v, gva);
		/* Present again, then writable: neither owes a flush to be followed. */
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 1, 0));
		op_read(v, gva);
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 1, PTE_W));
		op_flush(v, BY_INVLPG, NULL, gva);
		up = op_write(v, gva, 0x100 + round);
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 0, PTE_W));
		op_flush(v, BY_CR3, NULL, gva);
		op_write(v, gva, frame_id(0));
		vcpu_exec(v);
		EXPECT_PF(op_result(v, down), PFERR_P | PFERR_W, gva, "round %u", round);
		EXPECT_PF(op_result(v, gone), 0, gva, "round %u", round);
		EXPECT_OK(op_result(v, up), "round %u", round);
		EXPECT_EQ(*frame_word(vm, 1), 0x100 + round);
		EXPECT_EQ(*frame_word(vm, 0), frame_id(0));
	}
}

/*
 * Addresses whose tables are spread over first and last indices of what is
 * above them. The last-level tables are all different.
 */
#define SPREAD 40

static gva_t spread(struct vm *vm, u32 i)
{
	const struct paging_mode *m = vm->mode;
	u64 tables = level_entries(m, 2);

	if (m->id == PM_32) /* one directory: from 1 GiB up, and its last entries */
		return i < SPREAD / 2 ? vm->test_gva + i * SZ_4M
				      : (tables - 1 - (i - SPREAD / 2)) * SZ_4M;
	if (i % 2)
		i = tables - 1 - i;
	/* Directories 0 and the last one that the top-level entry holds. */
	if (i % 4 < 2)
		return vm->test_gva + i * SZ_2M;
	return vm->test_gva + (m->id == PM_PAE ? 2 : 511) * SZ_1G + i * SZ_2M;
}

TEST(many_tables, .what = "one CR3 load follows edits in many last-level tables",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 i, step;

	number_frames(vm);
	for (i = 0; i < SPREAD; i++)
		vm_map(vm, spread(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	for (step = 0; step < 3; step++) {
		op_clear(v);
		for (i = 0; i < SPREAD; i++)
			op_set_pte(v, &vm->as, spread(vm, i), 1,
				   frame_pte(vm, (i + step * 50) % 256, PTE_W));
		op_flush(v, step == 1 ? BY_PGE : BY_CR3, NULL, 0);
		for (i = 0; i < SPREAD; i++)
			op_read(v, spread(vm, i));
		vcpu_exec(v);
		for (i = 0; i < SPREAD; i++)
			EXPECT_VALUE(op_result(v, v->mailbox->nr_ops - SPREAD + i),
				     frame_id((i + step * 50) % 256), "table %u, step %u", i, step);
	}
}

TEST(counts, .what = "each edited table is out of sync once, until a CR3 load",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 before, zapped, misses, invlpg;
	u32 i, step;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	for (i = 0; i < SPREAD; i++)
		vm_map(vm, spread(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < SPREAD; i++)
		op_read(v, spread(vm, i));
	/* The first store ever also maps the frame that the tables are in. */
	op_set_pte(v, &vm->as, spread(vm, 0), 1, frame_pte(vm, 0, PTE_W));
	op_load_cr3(v, vm->as.root);
	vcpu_exec(v);
	before = vm_stat(vm, "mmu_unsync");
	zapped = vm_stat(vm, "mmu_shadow_zapped");
	misses = vm_stat(vm, "mmu_cache_miss");
	invlpg = vcpu_stat(v, "invlpg");
	for (step = 1; step <= 2; step++) {
		op_clear(v);
		for (i = 0; i < 2 * SPREAD; i++)
			op_set_pte(v, &vm->as, spread(vm, i % SPREAD), 1,
				   frame_pte(vm, i % SPREAD + step * 50, PTE_W));
		op_invlpg(v, spread(vm, 0));
		vcpu_exec(v);
		/* INVLPG follows one entry and leaves its table writable. */
		EXPECT_EQ(vm_stat(vm, "mmu_unsync") - before, SPREAD, "step %u", step);
		guest_load_cr3(v, &vm->as);
		EXPECT_EQ(vm_stat(vm, "mmu_unsync"), before, "step %u", step);
		EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = spread(vm, 7)),
			  frame_id(7 + step * 50));
	}
	EXPECT_EQ(vcpu_stat(v, "invlpg") - invlpg, 2);
	/* Catching up updates shadow pages in place; none is dropped, none is made. */
	EXPECT_EQ(vm_stat(vm, "mmu_shadow_zapped") - zapped, 0);
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 0);
}
