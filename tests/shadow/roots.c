// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots: many of them with little room, and such as are not there.
 *
 * Userspace may limit the shadow pages of a VM. When room runs out the oldest are
 * thrown out, whosoever they are, roots in use excepted; the guest must not
 * notice, not even a second vCPU that stands on tables just thrown out. And a
 * guest may load CR3 with an address that is no memory at all: its next step is a
 * triple fault, its own affair, and the host and the other vCPUs live on.
 */
#include <errno.h>

#include "frames.h"

#define SPACES	  30
#define MIN_PAGES 64 /* the fewest that KVM_SET_NR_MMU_PAGES accepts */

static void limit_pages(struct vm *vm, long pages)
{
	EXPECT_EQ(__kvm_ioctl(vm->fd, KVM_SET_NR_MMU_PAGES, (void *)(MIN_PAGES - 1l)), -EINVAL);
	vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)pages);
}

/* @n address spaces, each with @tables leaf tables and a frame in each. */
static void make_spaces(struct vm *vm, struct aspace *as, u32 n, u32 tables)
{
	u32 i, j;

	for (i = 0; i < n; i++) {
		as[i] = aspace_create(vm);
		for (j = 0; j < tables; j++)
			aspace_map(&as[i], vm->test_gva + j * level_size(vm->mode, 2),
				   frame_gpa(vm, i * tables + j), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	}
}

/* Appends a tour over all spaces; the index of its first operation. */
static u32 op_tour(struct vcpu *v, const struct aspace *as, u32 n, u32 tables)
{
	u32 i, j, first = v->mailbox->nr_ops;

	for (i = 0; i < n; i++) {
		op_load_cr3(v, as[i].root);
		for (j = 0; j < tables; j++)
			op_read(v, v->vm->test_gva + j * level_size(v->vm->mode, 2));
	}
	return first;
}

static void check_tour(struct vcpu *v, u32 first, u32 n, u32 tables, const char *what)
{
	u32 i, j;

	for (i = 0; i < n; i++)
		for (j = 0; j < tables; j++)
			EXPECT_VALUE(op_result(v, first + i * (tables + 1) + 1 + j),
				     frame_id(i * tables + j), "vCPU %u, %s, space %u table %u",
				     v->id, what, i, j);
}

TEST(little_room, .what = "many address spaces with few shadow pages allowed", .modes = MODES_FEW,
     .fixes = (const char *const[]){"f95eec9bed76", "CVE-2026-64561", "2abd5287f083",
				    "bc8a3d8925a8", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[SPACES];
	u32 round, first, i;

	number_frames(vm);
	limit_pages(vm, MIN_PAGES);
	make_spaces(vm, as, SPACES, 2);
	for (round = 0; round < 3; round++) {
		op_clear(v);
		first = op_tour(v, as, SPACES, 2);
		vcpu_exec(v);
		check_tour(v, first, SPACES, 2, "tour");
		/* Edits in spaces that are thrown out, or out of sync, or both. */
		op_clear(v);
		for (i = 0; i < SPACES; i++)
			op_set_pte(v, &as[i], vm->test_gva, 1,
				   frame_pte(vm, 100 + i + 40 * round, PTE_W));
		for (i = 0; i < SPACES; i++) {
			op_load_cr3(v, as[i * 7 % SPACES].root);
			op_read(v, vm->test_gva);
		}
		vcpu_exec(v);
		for (i = 0; i < SPACES; i++)
			EXPECT_VALUE(op_result(v, SPACES + 2 * i + 1),
				     frame_id(100 + i * 7 % SPACES + 40 * round),
				     "edited, space %u", i * 7 % SPACES);
		op_clear(v);
		for (i = 0; i < SPACES; i++)
			op_set_pte(v, &as[i], vm->test_gva, 1, frame_pte(vm, i * 2, PTE_W));
		vcpu_exec(v);
	}
}

TEST(recycled, .what = "with few shadow pages allowed the oldest are recycled, and the limit holds",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[SPACES];
	u64 recycled, zapped;
	u32 first;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	/* Without a limit asked for there is one that goes by the size of the VM. */
	limit_pages(vm, 1000);
	make_spaces(vm, as, SPACES, 2);
	op_clear(v);
	op_tour(v, as, SPACES, 2);
	vcpu_exec(v);
	EXPECT_EQ(vm_stat(vm, "mmu_recycled"), 0);
	zapped = vm_stat(vm, "mmu_shadow_zapped");
	limit_pages(vm, MIN_PAGES);
	/* Lowering the limit throws out at once what is above it. */
	EXPECT_GE(vm_stat(vm, "mmu_shadow_zapped") - zapped, SPACES);
	recycled = vm_stat(vm, "mmu_recycled");
	op_clear(v);
	first = op_tour(v, as, SPACES, 2);
	vcpu_exec(v);
	check_tour(v, first, SPACES, 2, "after the limit");
	EXPECT_GE(vm_stat(vm, "mmu_recycled") - recycled, SPACES);
}

TEST(recycled_under_others, .what = "two vCPUs throw out each other's tables",
     .modes = MODE(PM_LA48) | MODE(PM_32),
     .fixes = (const char *const[]){"f95eec9bed76", "CVE-2026-64561", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB, .nr_vcpus = 2);
	struct aspace as[SPACES];
	u32 i, k;

	number_frames(vm);
	limit_pages(vm, MIN_PAGES);
	make_spaces(vm, as, SPACES, 3);
	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];

		op_clear(v);
		for (k = 0; k < 4; k++)
			op_tour(v, as + i * (SPACES / 2), SPACES / 2, 3);
	}
	vcpu_start(vm->vcpu[1]);
	vcpu_exec(vm->vcpu[0]);
	vcpu_join(vm->vcpu[1]);
	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];
		u32 n = SPACES / 2;

		for (k = 0; k < 4 * n * 4; k++)
			if (k % 4)
				EXPECT_VALUE(op_result(v, k),
					     frame_id((i * n + k / 4 % n) * 3 + k % 4 - 1),
					     "vCPU %u operation %u", i, k);
	}
}

/* One run of a vCPU whose batch will not end: the exit it leaves with. */
static u32 run_bare(struct vcpu *v)
{
	int ret, tries = 100;

	do {
		ret = __vcpu_run(v);
	} while ((ret == -EINTR || ret == -EAGAIN) && tries--);
	return ret ? ~0u : v->run->exit_reason;
}

TEST(root_outside, .what = "CR3 with an address outside every memslot ends that vCPU's guest only",
     .modes = MODES_FEW, .meant_for = MMU_SHADOW,
     .fixes = (const char *const[]){"CVE-2009-2287", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB, .nr_vcpus = 3);
	struct vcpu *v = vm->vcpu[0], *w = vm->vcpu[1], *x = vm->vcpu[2];
	struct kvm_sregs sregs;
	u64 nowhere = 0xe0000000;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	EXPECT_EQ((u32)guest_do(x, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(0));
	/* By the guest's own load. */
	(void)guest_do(v, .kind = AGENT_NOP);
	op_clear(v);
	op_load_cr3(v, nowhere);
	op_read(v, vm->test_gva);
	if (t->mode->id == PM_PAE) {
		/* The four top entries can't be loaded, which the load itself reports. */
		EXPECT_EQ_NAMED(exit_reason_name, run_bare(v), KVM_EXIT_IO);
		EXPECT_FAULT(op_result(v, 0), GP_VECTOR, 0);
		EXPECT_VALUE(op_result(v, 1), frame_id(0));
	} else {
		EXPECT_EQ_NAMED(exit_reason_name, run_bare(v), KVM_EXIT_SHUTDOWN);
	}
	/* By the host, before the first instruction and in the middle of things. */
	sregs = vcpu_sregs(w);
	sregs.cr3 = nowhere;
	vcpu_set_sregs(w, &sregs);
	EXPECT_EQ_NAMED(exit_reason_name, run_bare(w), KVM_EXIT_SHUTDOWN);
	sregs.cr3 = vm->as.root;
	vcpu_set_sregs(w, &sregs);
	EXPECT_EQ((u32)guest_do(w, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(0));
	EXPECT_EQ((u32)guest_do(x, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(0));
}

TEST(root_slot_goes, .what = "a memslot that holds the root goes and comes back",
     .modes = MODE(PM_LA48) | MODE(PM_32), .meant_for = MMU_SHADOW,
     .fixes = (const char *const[]){"CVE-2009-2287", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct memslot *slot = slot_add(vm, 5, 512 * MiB, 64 * KiB, MEM_ANON, 0);
	struct aspace as = vm->as;
	u32 round;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	as.root = slot->gpa + 2 * SZ_4K;
	memcpy(vm_hva(vm, as.root), vm_hva(vm, vm->as.root), SZ_4K);
	guest_load_cr3(v, &as);
	for (round = 0; round < 3; round++) {
		EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
			  frame_id(0));
		slot_delete(slot);
		op_clear(v);
		EXPECT_EQ_NAMED(exit_reason_name, run_bare(v), KVM_EXIT_SHUTDOWN);
		slot_readd(slot);
	}
}

#define NEWEST 35

/* What is thrown out is the oldest: a small set of tables in use stays, whatever was before. */
TEST(newest_stay, .what = "tables in use stay when others are recycled for a new one",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 i, n;
	u64 misses;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	limit_pages(vm, MIN_PAGES);
	for (i = 0; i < 2 * MIN_PAGES; i++)
		vm_map(vm, vm->test_gva + i * SZ_2M, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < 2 * MIN_PAGES; i++)
		op_read(v, vm->test_gva + i * SZ_2M);
	vcpu_exec(v);
	/* The last of these, which are at hand. */
	misses = vm_stat(vm, "mmu_cache_miss");
	op_clear(v);
	for (n = 0; n < 3; n++)
		for (i = 2 * MIN_PAGES - NEWEST; i < 2 * MIN_PAGES; i++)
			op_read(v, vm->test_gva + i * SZ_2M);
	vcpu_exec(v);
	for (i = 0; i < 3 * NEWEST; i++)
		EXPECT_VALUE(op_result(v, i), frame_id(2 * MIN_PAGES - NEWEST + i % NEWEST));
	/* Upper tables are the oldest there are, in use as they may be. */
	EXPECT_LE(vm_stat(vm, "mmu_cache_miss") - misses, 4, "tables that had to be made again");
}
