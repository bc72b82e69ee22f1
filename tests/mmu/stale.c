// SPDX-License-Identifier: GPL-2.0-only
/*
 * Translations whose entries are gone: nobody may still use one when the host takes the page.
 *
 * Entries go for many reasons that are the hypervisor's own: a table is synchronised, its shadow
 * is recycled to keep to a limit, a page has more mappings than anybody wants to visit. From then
 * on the reverse map doesn't name them, so that a later unmapping of the page finds nothing, and
 * flushes nothing. Hence each of them owes its flush then, even if the guest doesn't need it. In
 * these tests a vCPU comes to hold such a translation, the host discards the page, and what the
 * vCPU reads must be the new page's content, which is 0.
 *
 * And the reverse: a translation that lets a table be written must go when the table is
 * protected, whoever's it is, or the next edit goes unseen.
 */
#include <sys/mman.h>

#include "frames.h"

/* The host gives frame @i back: it reads as 0 from now on. */
static void discard(struct vm *vm, u32 i)
{
	memory_madvise(&vm->mem->mem, i * SZ_4K, SZ_4K, MADV_DONTNEED);
}

/*
 * While the table is out of sync the host makes its page read-only and writable again, so that
 * nobody has it mapped writable: then synchronising it protects nothing, and what it drops is
 * the only reason to flush.
 */
TEST(synchronised, .what = "a page that a synchronised table maps no more is gone for all vCPUs",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = 1 * MiB);
	struct vcpu *editor = vm->vcpu[0], *other = vm->vcpu[1];
	gva_t gva = vm->test_gva;
	u32 round, old, new;
	gpa_t table;
	u64 value;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	table = aspace_pte_gpa(&vm->as, gva, 1) & ~(SZ_4K - 1);
	for (round = 0; round < 4; round++) {
		old = round;
		new = round + 1;
		EXPECT_EQ(guest_do(editor, .kind = AGENT_READ, .addr = gva, .size = 4),
			  frame_value(old));
		guest_set_pte(editor, &vm->as, gva, 1, frame_pte(vm, new, PTE_W | PTE_A | PTE_D));
		memory_mprotect(&vm->system->mem, table, SZ_4K, PROT_READ);
		memory_mprotect(&vm->system->mem, table, SZ_4K, PROT_READ | PROT_WRITE);
		/* It hasn't flushed: either page will do. */
		EXPECT_FRAME_EITHER(guest_op(other, .kind = AGENT_READ, .addr = gva, .size = 4),
				    old, new, "round %u, before", round);
		guest_load_cr3(editor, &vm->as);
		discard(vm, old);
		value = guest_do(other, .kind = AGENT_READ, .addr = gva, .size = 4);
		EXPECT(value == 0 || value == frame_value(new), "round %u: read %#lx", round,
		       value);
		guest_load_cr3(other, &vm->as);
	}
}

TEST(protected_again, .what = "a table that was synchronised is protected for all vCPUs",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0], *writer = vm->vcpu[1];
	/* Never used, so that synchronising finds nothing to drop for it. */
	gva_t gva = vm->test_gva, unused = gva + 300 * SZ_4K;
	u32 round;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (round = 0; round < 4; round++) {
		EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = gva, .size = 4),
			  frame_value(round));
		guest_set_pte(writer, &vm->as, unused, 1, frame_pte(vm, round, 0));
		guest_load_cr3(v, &vm->as);
		EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = gva, .size = 4),
			  frame_value(round));
		/* By what the writer's processor remembers of the table's page. */
		guest_set_pte(writer, &vm->as, gva, 1,
			      frame_pte(vm, round + 1, PTE_W | PTE_A | PTE_D));
		if (round & 1)
			guest_load_cr3(v, &vm->as);
		else
			guest_invlpg(v, gva);
		EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = gva, .size = 4),
			  frame_value(round + 1), "round %u", round);
	}
}

#define TABLES	  120
#define MMU_PAGES 64 /* the least that KVM_SET_NR_MMU_PAGES takes */

TEST(recycled, .what = "pages whose tables were recycled are gone for the vCPU that used them",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = TABLES * SZ_2M);
	struct vcpu *v = vm->vcpu[0];
	u64 size = level_size(t->mode, 2), i;

	for (i = 0; i < TABLES; i++) {
		*(u32 *)vm_hva(vm, frame_gpa(vm, i * 512)) = frame_value(i);
		vm_map(vm, vm->test_gva + i * size, frame_gpa(vm, i * 512), SZ_4K, 1, 0);
	}
	op_clear(v);
	for (i = 0; i < TABLES; i++)
		op_read(v, vm->test_gva + i * size);
	vcpu_exec(v);
	for (i = 0; i < TABLES; i++)
		EXPECT_VALUE(op_result(v, i), frame_value(i));
	/* The oldest go, without the vCPU's running in between. */
	vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)MMU_PAGES);
	for (i = 0; i < TABLES; i++) {
		discard(vm, i * 512);
		EXPECT_EQ(
			guest_do(v, .kind = AGENT_READ, .addr = vm->test_gva + i * size, .size = 4),
			0, "table %lu", i);
	}
}

/* Reverse maps of more entries than this are emptied. */
#define MANY 1000

/*
 * What makes it too many has to be mapped ahead, beside another page that is used: an access of
 * its own would be tried again, and have the page mapped once more.
 */
TEST(many_mappings, .what = "a page that had too many mappings is gone for the vCPU that used them",
     .modes = MODE(PM_LA48) | MODE(PM_32), .fixes = (const char *const[]){"53a27b39ff4d", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva, last;
	u64 n, i;

	for (n = MANY - 2; n <= MANY + 2; n++, gva += 1024 * SZ_4K) {
		/* Not accessed before, so that none of these is mapped ahead. */
		for (i = 0; i < n; i++)
			vm_map(vm, gva + i * SZ_4K, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
		last = gva + 1016 * SZ_4K;
		vm_map(vm, last, frame_gpa(vm, 1), SZ_4K, 1, PTE_A);
		vm_map(vm, last + SZ_4K, frame_gpa(vm, 0), SZ_4K, 1, PTE_A);
		*(u32 *)vm_hva(vm, frame_gpa(vm, 1)) = 2;
		guest_do(v, .kind = AGENT_WRITE, .addr = gva, .value = 1, .size = 4);
		EXPECT_EQ(guest_do(v, .kind = AGENT_TOUCH_READ, .addr = gva, .arg = SZ_4K,
				   .value = n, .size = 4),
			  n, "%lu mappings", n);
		EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = last, .size = 4), 2);
		discard(vm, 0);
		EXPECT_EQ(guest_do(v, .kind = AGENT_TOUCH_READ, .addr = gva, .arg = SZ_4K,
				   .value = n, .size = 4),
			  0, "%lu mappings of a page that was discarded", n);
	}
}

/* Of a list in several blocks, from either end. */
TEST(mappings_taken_off, .what = "a page is gone for the mappings that are left of many",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	const u32 all = 60;
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 round, left, i, first;

	for (round = 0; round < 8; round++, gva += 64 * SZ_4K) {
		left = round / 2 * 15 + 3;
		*(u32 *)vm_hva(vm, frame_gpa(vm, 0)) = frame_value(round);
		for (i = 0; i < all; i++)
			vm_map(vm, gva + i * SZ_4K, frame_gpa(vm, 0), SZ_4K, 1, 0);
		op_clear(v);
		for (i = 0; i < all; i++)
			op_read(v, gva + i * SZ_4K);
		/* The oldest or the newest ones. */
		for (i = left; i < all; i++) {
			gva_t at = gva + (round & 1 ? i : all - 1 - i) * SZ_4K;

			op_set_pte(v, &vm->as, at, 1, 0);
			op_invlpg(v, at);
		}
		vcpu_exec(v);
		for (i = 0; i < all; i++)
			EXPECT_VALUE(op_result(v, i), frame_value(round));
		discard(vm, 0);
		op_clear(v);
		first = round & 1 ? 0 : all - left;
		for (i = first; i < first + left; i++)
			op_read(v, gva + i * SZ_4K);
		vcpu_exec(v);
		for (i = 0; i < left; i++)
			EXPECT_VALUE(op_result(v, i), 0, "round %u, mapping %u of %u", round, i,
				     left);
	}
}
