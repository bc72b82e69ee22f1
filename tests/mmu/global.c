// SPDX-License-Identifier: GPL-2.0-only
/*
 * Global pages: with CR4.PGE a translation whose leaf has G may outlive a load
 * of CR3, and must not outlive INVLPG of it, a change of CR4.PGE in either
 * direction or paging being switched off. Without CR4.PGE, and in an entry that
 * points to a table, the bit means nothing (SDM vol. 3 4.10.2.4 and 4.10.4.1,
 * APM vol. 2 5.5). So after a CR3 load alone the old frame and the new one are
 * both right; what is tested is that the other flushes reach global pages too.
 *
 * A hypervisor with shadow tables may ignore the bit, but the flushes that are
 * its guest's last resort (toggling PGE, switching paging off and on) come along
 * paths of their own, each of which has to read out-of-sync tables again.
 */
#include "frames.h"

/*
 * Switches CR4.PGE on, with expectations about nothing but that it can be done;
 * the value of CR4. In PAE paging that loads the PDPTEs, and #GP if one of them
 * has a reserved bit. A bit 5 there is not the guest's: under nested paging
 * QEMU's emulated processor marks PDPTEs as accessed, which no processor does.
 */
static u64 enable_pge(struct vcpu *v)
{
	u64 cr4 = guest_get_cr(v, 4) | CR4_PGE;
	struct agent_result res;

	require_cpu(CPU_PGE);
	res = guest_op(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4);
	if (res.status == AGENT_FAULT && res.vector == GP_VECTOR && v->vm->mode->id == PM_PAE &&
	    (aspace_get_pte(&v->vm->as, 0, 3) & PTE_A))
		test_xfail("QEMU 7.2, target/i386/tcg/sysemu/excp_helper.c, mmu_translate",
			   "accessed bit set in a PDPTE, where it is reserved");
	EXPECT_OK(res);
	return cr4;
}

TEST(outlives_cr3_load, .what = "a global page may outlive a CR3 load and not an INVLPG",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .cr4 = CR4_PGE);
	struct vcpu *v = vm->vcpu[0];
	u32 loaded[8], flushed[8], i;

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 100), SZ_4K, 1, PTE_W | PTE_G);
	op_clear(v);
	op_read(v, vm->test_gva);
	for (i = 0; i < ARRAY_LEN(loaded); i++) {
		op_set_pte(v, &vm->as, vm->test_gva, 1, frame_pte(vm, i, PTE_W | PTE_G));
		op_load_cr3(v, vm->as.root);
		loaded[i] = op_read(v, vm->test_gva);
		op_invlpg(v, vm->test_gva);
		flushed[i] = op_read(v, vm->test_gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(loaded); i++) {
		EXPECT_FRAME_EITHER(op_result(v, loaded[i]), i ? i - 1 : 100, i, "round %u", i);
		EXPECT_VALUE(op_result(v, flushed[i]), frame_value(i), "round %u", i);
	}
}

/* Small and large global pages; both directions of the change flush. */
TEST(pge_toggled, .what = "a change of CR4.PGE drops every translation, in both directions",
     .modes = MODES_FEW, .fixes = (const char *const[]){"b53e84eed08b", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .mem_size = 16 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 nr = level_size(m, 2) / SZ_4K, op[10][3], i;
	gva_t local = vm->test_gva, global = local + SZ_4K, large = local + level_size(m, 2);
	u64 cr4;

	number_frames(vm);
	vm_map(vm, local, frame_gpa(vm, 100), SZ_4K, 1, PTE_W);
	vm_map(vm, global, frame_gpa(vm, 101), SZ_4K, 1, PTE_W | PTE_G);
	vm_map(vm, large, frame_gpa(vm, nr), level_size(m, 2), 2, PTE_W | PTE_G);
	cr4 = enable_pge(v);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		op_read(v, local);
		op_read(v, global);
		op_read(v, large);
		op_set_pte(v, &vm->as, local, 1, frame_pte(vm, 2 * i, PTE_W | USED_BITS(i / 2)));
		op_set_pte(v, &vm->as, global, 1,
			   frame_pte(vm, 2 * i + 1, PTE_W | PTE_G | USED_BITS(i / 2)));
		op_set_pte(v, &vm->as, large, 2,
			   pte_make_leaf(m, frame_gpa(vm, (i + 1) % 3 * nr), 2, PTE_W | PTE_G));
		op_write_cr4(v, i % 2 ? cr4 : cr4 & ~CR4_PGE);
		op[i][0] = op_read(v, local);
		op[i][1] = op_read(v, global);
		op[i][2] = op_read(v, large);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		EXPECT_VALUE(op_result(v, op[i][0]), frame_value(2 * i), "round %u", i);
		EXPECT_VALUE(op_result(v, op[i][1]), frame_value(2 * i + 1), "round %u", i);
		EXPECT_VALUE(op_result(v, op[i][2]), frame_value((i + 1) % 3 * nr), "round %u", i);
	}
}

/* Where G means nothing, or no longer, a CR3 load drops the translation. */
TEST(not_global, .what = "G has no effect in an upper entry, or once it is removed",
     .modes = MODES_FEW)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .cr4 = CR4_PGE);
	struct vcpu *v = vm->vcpu[0];
	gva_t removed = vm->test_gva, upper = removed + level_size(m, 2);
	u32 op[2];

	number_frames(vm);
	vm_map(vm, upper, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	aspace_set_pte(&vm->as, upper, 2, aspace_get_pte(&vm->as, upper, 2) | PTE_G);
	vm_map(vm, removed, frame_gpa(vm, 2), SZ_4K, 1, PTE_W | PTE_G);
	op_clear(v);
	op_read(v, upper);
	op_set_pte(v, &vm->as, upper, 1, frame_pte(vm, 11, PTE_W));
	op_load_cr3(v, vm->as.root);
	op[0] = op_read(v, upper);
	op_read(v, removed);
	op_set_pte(v, &vm->as, removed, 1, frame_pte(vm, 2, PTE_W));
	op_invlpg(v, removed);
	op_read(v, removed);
	op_set_pte(v, &vm->as, removed, 1, frame_pte(vm, 12, PTE_W));
	op_load_cr3(v, vm->as.root);
	op[1] = op_read(v, removed);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, op[0]), frame_value(11), "G in an upper entry");
	EXPECT_VALUE(op_result(v, op[1]), frame_value(12), "G removed");
}

TEST(without_pge, .what = "G has no effect while CR4.PGE is 0",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 op;

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_G);
	op_clear(v);
	op_read(v, vm->test_gva);
	op_set_pte(v, &vm->as, vm->test_gva, 1, frame_pte(vm, 10, PTE_W | PTE_G));
	op_load_cr3(v, vm->as.root);
	op = op_read(v, vm->test_gva);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, op), frame_value(10));
}

/*
 * The same address is a global page in one space and a local one in another. In
 * the other the global translation may still serve, until INVLPG; nothing of
 * the local one may come back with the first.
 */
TEST(two_spaces, .what = "a global page gives way in another space after INVLPG",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .cr4 = CR4_PGE);
	struct vcpu *v = vm->vcpu[0];
	struct aspace other = aspace_create(vm);
	u32 op[4][4], i;

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_G);
	aspace_map(&other, vm->test_gva, frame_gpa(vm, 1), SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < 4; i++) {
		op_load_cr3(v, vm->as.root);
		op[i][0] = op_read(v, vm->test_gva);
		op_load_cr3(v, other.root);
		op[i][1] = op_read(v, vm->test_gva);
		op_invlpg(v, vm->test_gva);
		op[i][2] = op_read(v, vm->test_gva);
		op_write(v, vm->test_gva + SCRATCH, 0x100 + i);
		op_load_cr3(v, vm->as.root);
		op[i][3] = op_read(v, vm->test_gva);
		op_write(v, vm->test_gva + SCRATCH, 0x200 + i);
	}
	vcpu_exec(v);
	for (i = 0; i < 4; i++) {
		EXPECT_VALUE(op_result(v, op[i][0]), frame_value(0), "round %u", i);
		EXPECT_FRAME_EITHER(op_result(v, op[i][1]), 0, 1, "round %u", i);
		EXPECT_VALUE(op_result(v, op[i][2]), frame_value(1), "round %u", i);
		EXPECT_VALUE(op_result(v, op[i][3]), frame_value(0), "round %u", i);
	}
	EXPECT_EQ(*frame_scratch(vm, 0), 0x203);
	EXPECT_EQ(*frame_scratch(vm, 1), 0x103);
}

/*
 * Only 32-bit guests can do this and go on. Stores made while paging is off go
 * through another set of shadow tables, under which the guest's tables must be
 * watched just as well.
 */
TEST(paging_toggled, .what = "edits made while paging is off count once it is on again",
     .modes = MODE(PM_PAE) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t local = vm->test_gva, global = local + SZ_4K;
	u32 op[8][3], i;
	u64 cr0;

	number_frames(vm);
	vm_map(vm, local, frame_gpa(vm, 100), SZ_4K, 1, PTE_W);
	vm_map(vm, global, frame_gpa(vm, 101), SZ_4K, 1, PTE_W | PTE_G);
	enable_pge(v);
	cr0 = guest_get_cr(v, 0);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		op_read(v, local);
		op_read(v, global);
		if (i % 2) /* before or after the switch */
			op_set_pte(v, &vm->as, local, 1, frame_pte(vm, 2 * i, PTE_W));
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0 & ~CR0_PG);
		if (i % 2 == 0)
			op_set_pte(v, &vm->as, local, 1, frame_pte(vm, 2 * i, PTE_W));
		op_set_pte(v, &vm->as, global, 1, frame_pte(vm, 2 * i + 1, PTE_W | PTE_G));
		op[i][2] = op_read(v, frame_gpa(vm, 50 + i));
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0);
		op[i][0] = op_read(v, local);
		op[i][1] = op_read(v, global);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		EXPECT_VALUE(op_result(v, op[i][2]), frame_value(50 + i), "paging off, round %u",
			     i);
		EXPECT_VALUE(op_result(v, op[i][0]), frame_value(2 * i), "round %u", i);
		EXPECT_VALUE(op_result(v, op[i][1]), frame_value(2 * i + 1), "round %u", i);
	}
}

/* Global translations are of no PCID: INVLPG drops them whichever is current. */
TEST(other_pcid, .what = "INVLPG drops a global translation that another PCID made",
     .modes = MODE(PM_LA48), .fixes = (const char *const[]){"07ffaf343e34", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace a = aspace_create(vm), b = aspace_create(vm);
	u32 round, first, last;

	require_cpu(CPU_PCID);
	number_frames(vm);
	aspace_map(&a, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_G);
	guest_set_cr(v, 4, guest_get_cr(v, 4) | CR4_PCIDE | CR4_PGE);
	for (round = 0; round < 4; round++) {
		op_clear(v);
		op_load_cr3(v, a.root | 1 | CR3_NOFLUSH);
		first = op_read(v, vm->test_gva);
		op_load_cr3(v, b.root | 2);
		op_add(v, .kind = AGENT_SET_PTE, .size = 8,
		       .addr = aspace_pte_gpa(&a, vm->test_gva, 1),
		       .value = frame_pte(vm, round + 1, PTE_W | PTE_G));
		op_invlpg(v, vm->test_gva);
		op_load_cr3(v, a.root | 1 | CR3_NOFLUSH);
		last = op_read(v, vm->test_gva);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, first), frame_value(round), "round %u, before", round);
		EXPECT_VALUE(op_result(v, last), frame_value(round + 1), "round %u, after", round);
	}
}
