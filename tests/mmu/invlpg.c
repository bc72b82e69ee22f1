// SPDX-License-Identifier: GPL-2.0-only
/*
 * INVLPG: after it the processor uses no translation of the page that contains
 * the address, however large that page is and whether or not it is global, and
 * no cached upper entry at all; other pages it may drop or keep (SDM vol. 3
 * 4.10.4.1, APM vol. 2 5.5.2). It never faults on its operand.
 *
 * A hypervisor with shadow tables intercepts it: it must find what it derived
 * from the entry, which may be one entry or, when it had to split the guest's
 * large page, many, and read an out-of-sync table again; it may look at more
 * (and map ahead what it finds), but must not take an older value for it. It
 * must cope with addresses for which there is no table, or no canonical form.
 */
#include "frames.h"
#include "guest_code/programs.h"

TEST(page, .what = "after INVLPG of any address in it a page is where its entry says",
     .modes = MODES_FEW, .fixes = (const char *const[]){"08e850c6536d", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	static const u32 offset[] = {0, 1, 0x123, 0xfff};
	u32 pages[] = {0, 1, 17, level_entries(t->mode, 1) - 1};
	u32 before[32], after[32], other[32], i;
	gva_t gva;

	number_frames(vm);
	for (i = 0; i < ARRAY_LEN(pages); i++)
		vm_map(vm, vm->test_gva + pages[i] * SZ_4K, frame_gpa(vm, 100 + i), SZ_4K, 1,
		       PTE_W);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(pages); i++)
		op_read(v, vm->test_gva + pages[i] * SZ_4K);
	for (i = 0; i < 32; i++) {
		gva = vm->test_gva + pages[i % 4] * SZ_4K;
		op_set_pte(v, &vm->as, gva, 1, frame_pte(vm, i, PTE_W | USED_BITS(i / 4)));
		before[i] = op_read(v, gva);
		op_invlpg(v, gva + offset[i / 4 % 4]);
		after[i] = op_read(v, gva);
		other[i] = op_read(v, vm->test_gva + pages[(i + 1) % 4] * SZ_4K);
	}
	vcpu_exec(v);
	for (i = 0; i < 32; i++) {
		u32 last = i < 4 ? 100 + i : i - 4, next = i < 3 ? 100 + i + 1 : i - 3;

		EXPECT_FRAME_EITHER(op_result(v, before[i]), last, i, "before, round %u", i);
		EXPECT_VALUE(op_result(v, after[i]), frame_value(i), "after, round %u", i);
		EXPECT_VALUE(op_result(v, other[i]), frame_value(next), "another page, round %u",
			     i);
	}
}

/* Several entries of a table edited, INVLPG for one: that one counts, each other may. */
TEST(one_of_many, .what = "INVLPG of one page makes its edit count whatever else was edited",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 n = 16, i, either[16], exact[16];

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), n * SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < n; i++)
		op_read(v, vm->test_gva + i * SZ_4K);
	for (i = 0; i < n; i++)
		op_set_pte(v, &vm->as, vm->test_gva + i * SZ_4K, 1,
			   frame_pte(vm, n + i, PTE_W | USED_BITS(i)));
	for (i = 0; i < n; i++) {
		op_invlpg(v, vm->test_gva + i * SZ_4K);
		exact[i] = op_read(v, vm->test_gva + i * SZ_4K);
		either[i] = op_read(v, vm->test_gva + (i + 1) % n * SZ_4K);
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++) {
		EXPECT_VALUE(op_result(v, exact[i]), frame_value(n + i), "page %u", i);
		EXPECT_FRAME_EITHER(op_result(v, either[i]), (i + 1) % n, n + (i + 1) % n,
				    "page %u after the INVLPG of page %u", (i + 1) % n, i);
	}
}

/* Slot 1 has 4 KiB host pages, so the hypervisor must map the large page in pieces. */
TEST(large_page, .what = "one INVLPG drops the whole of a large page", .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 16 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 size = level_size(t->mode, 2), step = size / 32;
	u32 op[6][32], i, round, nr = size / SZ_4K;

	number_all_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), size, 2, PTE_W);
	op_clear(v);
	for (i = 0; i < 32; i++)
		op_read(v, vm->test_gva + i * step);
	for (round = 0; round < ARRAY_LEN(op); round++) {
		op_set_pte(v, &vm->as, vm->test_gva, 2,
			   pte_make_leaf(t->mode, frame_gpa(vm, (round + 1) % 3 * nr), 2, PTE_W));
		op_invlpg(v, vm->test_gva + round * 5 * step + 0x234);
		for (i = 0; i < 32; i++)
			op[round][i] = op_read(v, vm->test_gva + i * step);
	}
	vcpu_exec(v);
	for (round = 0; round < ARRAY_LEN(op); round++)
		for (i = 0; i < 32; i++)
			EXPECT_VALUE(op_result(v, op[round][i]),
				     frame_value((round + 1) % 3 * nr + i * (nr / 32)),
				     "round %u, offset %#lx", round, i * step);
}

/* The first round has the hypervisor map what is used, the second one is free of exits. */
TEST(large_page_code, .what = "one INVLPG drops the whole of a large page for fetches as well",
     .modes = MODES_FEW)
{
	static const u32 page[] = {0, 1, 37, 300};
	struct vm *vm = vm_create(t->mode, .mem_size = 16 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 error = t->mode->pte_size == 8 && cpu_has(&CPU_NX) ? PFERR_F : 0;
	u64 leaf = pte_make_leaf(t->mode, vm->mem->gpa, 2, PTE_W);
	u32 op[4][ARRAY_LEN(page)], round, i, stale = 0;

	for (i = 0; i < ARRAY_LEN(page); i++)
		place_function(vm, vm->mem->gpa + page[i] * SZ_4K, 16 + i);
	aspace_make_tables(&vm->as, vm->test_gva, 2);
	op_clear(v);
	for (round = 0; round < ARRAY_LEN(op); round++) {
		op_set_pte(v, &vm->as, vm->test_gva, 2, round % 2 ? leaf & ~PTE_P : leaf);
		op_invlpg(v, vm->test_gva);
		for (i = 0; i < ARRAY_LEN(page); i++)
			op[round][i] = op_add(v, .kind = AGENT_EXEC,
					      .addr = vm->test_gva + page[i] * SZ_4K);
	}
	vcpu_exec(v);
	for (round = 0; round < ARRAY_LEN(op); round++) {
		for (i = 0; i < ARRAY_LEN(page); i++) {
			struct agent_result res = op_result(v, op[round][i]);

			if (round % 2 == 0)
				EXPECT_VALUE(res, 16 + i, "page %u", page[i]);
			else if (i && quirk_invlpg_keeps_code() && res.status == AGENT_OK)
				stale++;
			else
				EXPECT_PF(res, error, vm->test_gva + page[i] * SZ_4K, "page %u",
					  page[i]);
		}
	}
	if (stale)
		test_xfail("QEMU 7.2, accel/tcg/cputlb.c, tlb_flush_page_by_mmuidx_async_0",
			   "TCG: code of %u pages runs on", stale);
}

/*
 * An upper entry gets another table; INVLPG drops every cached upper entry, so
 * its own page is right afterwards even when the address given was reached
 * through that entry alone.
 */
TEST(upper_entry, .what = "after INVLPG no upper entry is used from before", .modes = MODES_PAGED)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u32 op[PAGING_MAX_LEVEL + 1][4], i;
	u64 pte[2];
	gva_t gva;
	int level;

	number_frames(vm);
	op_clear(v);
	for (level = 2; level <= m->levels; level++) {
		if (m->id == PM_PAE && level == 3)
			break; /* PDPTEs are registers: INVLPG does not reload them */
		gva = vm->test_gva + level_size(m, level);
		for (i = 0; i < 2; i++) {
			vm_map(vm, gva + i * level_size(m, level), frame_gpa(vm, 2 * level + i),
			       SZ_4K, 1, PTE_W);
			pte[i] = aspace_get_pte(&vm->as, gva + i * level_size(m, level), level);
		}
		op_read(v, gva);
		for (i = 0; i < 4; i++) {
			op_add(v, .kind = AGENT_SET_PTE, .value = pte[(i + 1) % 2],
			       .size = m->pte_size, .addr = aspace_pte_gpa(&vm->as, gva, level));
			op_invlpg(v, gva);
			op[level][i] = op_read(v, gva);
		}
	}
	vcpu_exec(v);
	for (level = 2; level <= m->levels - (m->id == PM_PAE); level++)
		for (i = 0; i < 4; i++)
			EXPECT_VALUE(op_result(v, op[level][i]),
				     frame_value(2 * level + (i + 1) % 2), "level %d, round %u",
				     level, i);
}

/*
 * Nothing is mapped: INVLPG is harmless, and as an absent entry is never cached
 * what is mapped next works at once, also after a fault at the same address.
 */
TEST(nothing_there, .what = "INVLPG of unmapped and non-canonical addresses does nothing",
     .modes = MODES_FEW)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u32 fault[PAGING_MAX_LEVEL + 1], read[PAGING_MAX_LEVEL + 1], first, last;
	gva_t gva[PAGING_MAX_LEVEL + 1];
	int level;

	number_frames(vm);
	for (level = 1; level <= m->levels; level++) {
		bool pdpte = m->id == PM_PAE && level == 3;

		gva[level] = vm->test_gva + (level == 1 ? 0 : level_size(m, level));
		vm_map(vm, gva[level], frame_gpa(vm, level), SZ_4K, 1, PTE_W);
		read[level] = pdpte; /* which entry to take away below */
	}
	op_clear(v);
	for (level = 1; level <= m->levels; level++) {
		int at = read[level] ? 2 : level;
		u64 pte = aspace_get_pte(&vm->as, gva[level], at);

		aspace_set_pte(&vm->as, gva[level], at, 0);
		op_invlpg(v, gva[level]);
		fault[level] = op_read(v, gva[level]);
		op_invlpg(v, gva[level]);
		op_add(v, .kind = AGENT_SET_PTE, .value = pte, .size = m->pte_size,
		       .addr = aspace_pte_gpa(&vm->as, gva[level], at));
		read[level] = op_read(v, gva[level]);
	}
	first = op_invlpg(v, m->gva_bits > 32 ? 1ull << (m->gva_bits - 1) : 0);
	last = op_invlpg(v, m->gva_bits > 32 ? ~(1ull << (m->gva_bits - 1)) : ~0ull);
	vcpu_exec(v);
	for (level = 1; level <= m->levels; level++) {
		EXPECT_PF(op_result(v, fault[level]), 0, gva[level], "level %d absent", level);
		EXPECT_VALUE(op_result(v, read[level]), frame_value(level), "level %d", level);
	}
	EXPECT_OK(op_result(v, first), "lowest non-canonical address");
	EXPECT_OK(op_result(v, last), "highest non-canonical address");
}

/* Writing and flushing in a tight loop in the guest, without the host in between. */
TEST(remap_loop, .what = "a window moved over 16 frames by entry and INVLPG shows each",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	u32 rounds = 200;

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), 17 * SZ_4K, 1, PTE_W);
	EXPECT_VALUE(guest_op(vm->vcpu[0], .kind = AGENT_CALL, .addr = PROGRAM_REMAP_LOOP,
			      .value = rounds, .arg2 = vm->test_gva),
		     rounds, "rounds that agreed");
}
