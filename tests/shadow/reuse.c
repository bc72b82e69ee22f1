// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames that change what they are: table at one level, table at another, data;
 * and shadow pages that are kept, found again, or thrown out for want of room.
 *
 * A shadow page belongs to a frame in a role. The same frame may have several at
 * once, and an upper table's presence forbids that another of its roles be out of
 * sync. A table that is written more than a few times between two uses is taken
 * for data: its shadow is thrown out, so that the stores need not be emulated
 * one by one. None of that may be visible but in speed; the counters say whether
 * it happened at all.
 */
#include "frames.h"

static u32 read4(struct vcpu *v, gva_t gva)
{
	return guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva);
}

TEST(kept, .what = "going back to an address space makes no shadow page and drops none",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[8];
	u64 misses = 0, zapped = 0, faults = 0;
	u32 i, round;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	for (i = 0; i < ARRAY_LEN(as); i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], vm->test_gva, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	}
	for (round = 0; round < 4; round++) {
		op_clear(v);
		for (i = 0; i < ARRAY_LEN(as); i++) {
			op_load_cr3(v, as[i].root);
			op_read(v, vm->test_gva);
		}
		vcpu_exec(v);
		for (i = 0; i < ARRAY_LEN(as); i++)
			EXPECT_VALUE(op_result(v, 2 * i + 1), frame_id(i));
		if (!round) {
			misses = vm_stat(vm, "mmu_cache_miss");
			zapped = vm_stat(vm, "mmu_shadow_zapped");
			faults = vcpu_stat(v, "pf_fixed");
		}
	}
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 0);
	EXPECT_EQ(vm_stat(vm, "mmu_shadow_zapped") - zapped, 0);
	EXPECT_EQ(vcpu_stat(v, "pf_fixed") - faults, 0);
}

TEST(synced_not_rebuilt, .what = "a table that is found up to date is linked, not built again",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva, fresh;
	u64 misses, zapped;
	u32 i;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	read4(v, gva);
	guest_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 0, PTE_W));
	misses = vm_stat(vm, "mmu_cache_miss");
	zapped = vm_stat(vm, "mmu_shadow_zapped");
	for (i = 1; i < 6; i++) {
		fresh = gva + i * SZ_2M;
		/* Out of sync, with nothing, or nothing that needs a flush, to catch up with. */
		guest_set_pte(v, &vm->as, gva, 1, frame_pte(vm, 0, PTE_W));
		guest_set_pte(v, &vm->as, gva + i * SZ_4K, 1, frame_pte(vm, i, PTE_W));
		guest_set_pte(v, &vm->as, fresh, 2, aspace_get_pte(&vm->as, gva, 2));
		EXPECT_EQ(read4(v, fresh), frame_id(0));
		EXPECT_EQ(read4(v, fresh + i * SZ_4K), frame_id(i));
	}
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 0);
	EXPECT_EQ(vm_stat(vm, "mmu_shadow_zapped") - zapped, 0);
}

/* A directory whose last page holds data to be, and what it maps when it is one. */
TEST(table_becomes_data, .what = "a directory used as data, as a directory again, and so on",
     .modes = MODE(PM_LA48))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva + 3 * SZ_1G;
	gpa_t pd, leaf = vm_alloc_table(vm);
	u64 link;
	u32 round, i, n = 64, last = 0, read;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	pd = pte_addr(t->mode, aspace_get_pte(&vm->as, gva, 3), 3);
	link = aspace_get_pte(&vm->as, gva, 3);
	for (i = 0; i < n; i++)
		((u64 *)vm_hva(vm, leaf))[i] = frame_pte(vm, i, PTE_W);
	for (round = 0; round < 3; round++) {
		op_clear(v);
		/* As data, still linked or not, with numbers that look like nothing. */
		op_read(v, gva);
		if (round & 1)
			op_set_pte(v, &vm->as, gva, 3, 0);
		op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 8, .addr = pd, .arg = 8, .value = 512,
		       .arg2 = round << 12);
		op_add(v, .kind = AGENT_TOUCH_CHECK, .size = 8, .addr = pd, .arg = 8, .value = 512,
		       .arg2 = round << 12);
		last = v->mailbox->nr_ops - 1;
		/* A directory again: every entry leads to one leaf table. */
		for (i = 0; i < n; i++)
			op_store_entry(v, pd + i * 8, 0);
		for (i = 0; i < n; i++)
			op_store_entry(v, pd + i * 8, table_pte(t->mode, 2, leaf));
		op_set_pte(v, &vm->as, gva, 3, link);
		op_load_cr3(v, vm->as.root);
		read = op_read(v, gva);
		for (i = 1; i < n; i++)
			op_read(v, gva + i * SZ_2M + i * SZ_4K);
		op_store_entry(v, pd, 0);
		op_invlpg(v, gva);
		op_read(v, gva);
		op_store_entry(v, pd, table_pte(t->mode, 2, leaf));
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, last), 512, "round %u", round);
		for (i = 0; i < n; i++)
			EXPECT_VALUE(op_result(v, read + i), frame_id(i), "round %u entry %u",
				     round, i);
		EXPECT_PF(op_result(v, read + n + 2), 0, gva, "round %u", round);
	}
}

TEST(flooded, .what = "a directory that is written again and again stops being one",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva + 3 * SZ_1G;
	u64 flooded, emulated, link;
	gpa_t pd;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	link = aspace_get_pte(&vm->as, gva, 3);
	pd = pte_addr(t->mode, link, 3);
	EXPECT_EQ(read4(v, gva), frame_id(0));
	flooded = vm_stat(vm, "mmu_flooded");
	emulated = vcpu_stat(v, "pf_emulate");
	(void)guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 8, .addr = pd + 8, .arg = 8,
		       .value = 511, .arg2 = 0);
	EXPECT_EQ(vm_stat(vm, "mmu_flooded") - flooded, 1);
	/* A handful is emulated until that is noticed, the rest are ordinary stores. */
	EXPECT_LE(vcpu_stat(v, "pf_emulate") - emulated, 8);
	EXPECT_GE(vcpu_stat(v, "pf_emulate") - emulated, 2);
	/* It still is the directory, and is one again from the next use on. */
	EXPECT_EQ(read4(v, gva), frame_id(0));
	guest_set_pte(v, &vm->as, gva, 2, 0);
	EXPECT_PF(guest_op(v, .kind = AGENT_READ, .size = 4, .addr = gva), 0, gva);
}

/*
 * Two directory entries whose targets wander among leaf tables, a directory, the
 * root and large pages, so that frames have several roles at once. What must be
 * seen follows from the tables in memory after each step.
 */
TEST(levels_mixed,
     .what = "tables that are linked at other levels than their own follow the stores",
     .modes = MODES_FEW, .fixes = (const char *const[]){"CVE-2026-46113", "CVE-2026-53359", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB);
	struct vcpu *v = vm->vcpu[0];
	const struct paging_mode *m = t->mode;
	gva_t a = vm->test_gva + 16 * level_size(m, 2), b = a + 3 * level_size(m, 2);
	gva_t looks[8];
	gpa_t leaf[2], dir;
	u64 ways[6];
	u32 step, i;

	number_frames(vm);
	for (i = 0; i < 2; i++) {
		gva_t home = b + (i + 2) * level_size(m, 2);

		vm_map(vm, home, frame_gpa(vm, 4 * i), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
		vm_map(vm, home + 16 * SZ_4K, frame_gpa(vm, 4 * i + 1), SZ_4K, 1,
		       PTE_W | PTE_A | PTE_D);
		vm_map(vm, home + 19 * SZ_4K, frame_gpa(vm, 4 * i + 2), SZ_4K, 1,
		       PTE_W | PTE_A | PTE_D);
		leaf[i] = pte_addr(m, aspace_get_pte(&vm->as, home, 2), 2);
		ways[i] = table_pte(m, 2, leaf[i]);
	}
	/* The directory itself as a leaf table: its entries name frames that are tables. */
	dir = aspace_pte_gpa(&vm->as, a, 2) & ~(SZ_4K - 1);
	ways[2] = table_pte(m, 2, dir);
	ways[3] = pte_make_leaf(m, vm->mem->gpa + level_size(m, 2), 2, PTE_W | PTE_A | PTE_D);
	ways[4] = 0;
	ways[5] = pte_make_leaf(m, vm->mem->gpa, 2, PTE_W | PTE_A | PTE_D);
	for (step = 0; step < 120; step++) {
		u64 x = test_rand(t);
		gva_t which = x & 1 ? a : b;
		u32 first;

		op_clear(v);
		op_set_pte(v, &vm->as, which, 2, ways[(x >> 8) % 6]);
		if ((x >> 16) % 4 == 0) {
			/* And a leaf table changes under whoever uses it. */
			u32 l = x >> 20 & 1, e = (x >> 24) % 2 ? 16 : 19;

			op_store_entry(v, leaf[l] + e * m->pte_size,
				       frame_pte(vm, 16 + (x >> 32) % 64, PTE_W));
			op_load_cr3(v, vm->as.root);
		}
		for (i = 0; i < 8; i++) {
			looks[i] = (i & 1 ? a : b) + (i & 2 ? 16 : 19) * SZ_4K +
				   (i & 4 ? 0 : level_size(m, 2) - 32 * SZ_4K);
			op_invlpg(v, looks[i]);
		}
		first = op_read(v, looks[0]);
		for (i = 1; i < 8; i++)
			op_read(v, looks[i]);
		vcpu_exec(v);
		for (i = 0; i < 8; i++) {
			gpa_t gpa = walk_gpa(&vm->as, looks[i]);

			if (gpa == ~0ull)
				EXPECT_PF(op_result(v, first + i), 0, looks[i], "step %u", step);
			else
				EXPECT_VALUE(op_result(v, first + i), *(u32 *)vm_hva(vm, gpa),
					     "step %u gva %#lx", step, looks[i]);
		}
	}
}

/*
 * The root itself, which every address uses and which therefore isn't taken for data by being
 * written often; but a store that no entry is written by makes it that, while vCPUs have it
 * loaded. It has to go, and they have to be told.
 */
TEST(root_becomes_data, .what = "a root that is written in pieces stays a root",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = 1 * MiB, .run_ms = 5000);
	u32 size = t->mode->pte_size, top = level_entries(t->mode, t->mode->levels) / 2 + 100;
	gva_t gva = vm->test_gva;
	u32 n, round, first, last;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), 4 * SZ_4K, 1, PTE_W);
	for (round = 0; round < 3; round++) {
		for (n = 0; n < 2; n++)
			EXPECT_EQ(guest_do(vm->vcpu[n], .kind = AGENT_READ, .addr = gva, .size = 4),
				  frame_id(0));
		for (n = 0; n < 2; n++) {
			struct vcpu *v = vm->vcpu[n];

			op_clear(v);
			op_add(v, .kind = AGENT_WRITE, .size = 2, .value = 0x1000 << n,
			       .addr = vm->as.root + top * size);
			first = op_read(v, gva);
			last = op_read(v, gva + (round + 1) * SZ_4K);
			vcpu_exec(v);
			EXPECT_VALUE(op_result(v, first), frame_id(0), "vCPU %u, round %u", n,
				     round);
			EXPECT_VALUE(op_result(v, last), frame_id(round + 1), "vCPU %u, round %u",
				     n, round);
		}
	}
}

/* Where KVM keeps the shadow pages of frame @gfn: one of 4096 lists. */
static u64 bucket(u64 gfn)
{
	return gfn * 0x61c8864680b583ebull >> 52;
}

/* Two frames of slot 1 that share a list, beyond the first 128. */
static void find_neighbours(struct vm *vm, u64 *one, u64 *other)
{
	for (*other = 129; *other < vm->mem->size / SZ_4K; ++*other)
		for (*one = 128; *one < *other; ++*one)
			if (bucket(frame_gpa(vm, *one) / SZ_4K) ==
			    bucket(frame_gpa(vm, *other) / SZ_4K))
				return;
	test_error("no two frames share a list");
}

TEST(neighbours, .what = "tables whose frames share a bucket of the hash are kept apart",
     .modes = MODES_FEW, .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 32 * MiB);
	gva_t at[2] = {vm->test_gva, vm->test_gva + level_size(t->mode, 2)};
	gva_t window = at[1] + level_size(t->mode, 2);
	struct vcpu *v = vm->vcpu[0];
	u64 table[2], round;
	int i;

	number_frames(vm);
	find_neighbours(vm, &table[0], &table[1]);
	for (i = 0; i < 2; i++) {
		u64 pte = frame_pte(vm, i, PTE_W);

		vm_map(vm, window + i * SZ_4K, frame_gpa(vm, table[i]), SZ_4K, 1, PTE_W);
		memset(frame_word(vm, table[i]), 0, SZ_4K);
		memcpy(frame_word(vm, table[i]), &pte, t->mode->pte_size);
		aspace_make_tables(&vm->as, at[i], 2);
		aspace_set_pte(&vm->as, at[i], 2, table_pte(t->mode, 2, frame_gpa(vm, table[i])));
	}
	for (round = 0; round < 4; round++) {
		op_clear(v);
		for (i = 0; i < 2; i++) {
			op_read(v, at[i]);
			op_store_entry(v, window + i * SZ_4K,
				       frame_pte(vm, 10 * (round + 1) + i, PTE_W));
		}
		op_load_cr3(v, vm->as.root);
		vcpu_exec(v);
		for (i = 0; i < 2; i++)
			EXPECT_VALUE(op_result(v, 2 * i), frame_id(10 * round + i));
	}
	if (mmu_kind() == MMU_SHADOW)
		EXPECT_GE(vm_stat(vm, "max_mmu_page_hash_collisions"), 1);
}
