// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping sizes: in every paging mode a page of each size that the mode has
 * reaches exactly the frames that its entry names.
 *
 * The hypervisor must combine two sizes, the guest's and the host's, into the
 * smaller of both, and compute the frame from an entry whose low address bits
 * mean different things at each level (PAT and, in 32-bit paging, PSE-36). A
 * wrong offset inside a large page, or a large mapping that spills over what
 * backs it, shows as a word that comes from the wrong frame. So every page
 * holds its own number, written by the host, and the guest reads them through
 * mappings whose order differs from that of the frames.
 */
#include "mmuscope.h"

/* Every 4 KiB frame of slot 1 starts with its own number, from 1. */
static void number_frames(struct vm *vm)
{
	u64 i;

	for (i = 0; i < vm->mem->size / SZ_4K; i++)
		*(u32 *)((u8 *)vm->mem->hva + i * SZ_4K) = i + 1;
}

/* Maps slot 1 backwards with pages of @level and checks every frame from both sides. */
static void check_level(struct vm *vm, int level)
{
	u64 page = level_size(vm->mode, level), pages = vm->mem->size / page, i;
	u64 small = page / SZ_4K;
	struct vcpu *v = vm->vcpu[0];

	for (i = 0; i < pages; i++)
		vm_map(vm, vm->test_gva + i * page, vm->mem->gpa + (pages - 1 - i) * page, page,
		       level, PTE_W);
	op_clear(v);
	for (i = 0; i < pages; i++)
		op_add(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = vm->test_gva + i * page,
		       .arg = SZ_4K, .value = small, .arg2 = (pages - 1 - i) * small + 1);
	vcpu_exec(v);
	for (i = 0; i < pages; i++)
		EXPECT_VALUE(op_result(v, i), small, "page %lu", i);

	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = vm->test_gva, .arg = SZ_4K,
	       .value = pages * small, .arg2 = 0x1000000);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0));
	for (i = 0; i < pages * small; i++)
		EXPECT_EQ(*(u32 *)((u8 *)vm->mem->hva + (pages - 1 - i / small) * page +
				   i % small * SZ_4K),
			  0x1000000 + i, "frame written as number %lu", i);
}

TEST(map_4k, .what = "4 KiB pages reach the frames that their entries name", .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 2 * MiB);

	number_frames(vm);
	check_level(vm, 1);
}

TEST(map_large, .what = "2 MiB (4 MiB) pages reach the frames that their entries name",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB);

	number_frames(vm);
	check_level(vm, 2);
}

/* Reads the numbers of @frames frames from @gva on, which must start with @first. */
static void expect_frames(struct vcpu *v, gva_t gva, u64 frames, u32 first, const char *what)
{
	EXPECT_VALUE(guest_op(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = gva, .arg = SZ_4K,
			      .value = frames, .arg2 = first),
		     frames, "%s", what);
}

TEST(map_1g, .what = "1 GiB pages reach what there is of the frames that their entries name",
     .modes = MODES_64)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	u64 frames;

	require_cpu(CPU_GBPAGES);
	/* Memory fills the end of one GiB and the start of the next. */
	vm = vm_create(t->mode, .mem_gpa = 2 * SZ_1G - SZ_2M, .mem_size = SZ_4M);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	frames = SZ_2M / SZ_4K;
	number_frames(vm);
	/* In the opposite order, a hole of a GiB between. */
	vm_map(vm, gva, 2 * SZ_1G, SZ_1G, 3, PTE_W);
	vm_map(vm, gva + 2 * SZ_1G, SZ_1G, SZ_1G, 3, PTE_W);
	expect_frames(v, gva, frames, frames + 1, "start of the upper GiB");
	expect_frames(v, gva + 3 * SZ_1G - SZ_2M, frames, 1, "end of the lower GiB");
	EXPECT_PF(__guest_read(v, gva + SZ_1G), 0, gva + SZ_1G, "between");
	guest_write(v, gva + SZ_2M - SZ_4K, 77);
	EXPECT_EQ(*(u32 *)((u8 *)vm->mem->hva + SZ_4M - SZ_4K), 77);
}

TEST(mixed, .what = "one range mapped with pages of every size is one range", .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_gpa = SZ_1G, .mem_size = 16 * MiB);
	const struct paging_mode *m = t->mode;
	u64 large = level_size(m, 2), small = large / SZ_4K;
	gva_t gva = vm->test_gva;
	struct vcpu *v = vm->vcpu[0];
	gpa_t gpa = vm->mem->gpa;

	number_frames(vm);
	/* Small, large, small but for a hole, large: neighbouring entries of one directory. */
	vm_map(vm, gva, gpa, large, 1, PTE_W);
	vm_map(vm, gva + large, gpa + large, large, 2, PTE_W);
	vm_map(vm, gva + 2 * large, gpa + 2 * large, large, 1, PTE_W);
	aspace_set_pte(&vm->as, gva + 2 * large + 9 * SZ_4K, 1, 0);
	vm_map(vm, gva + 3 * large, gpa + 3 * large, large, 2, PTE_W);
	expect_frames(v, gva, 2 * small + 9, 1, "up to the hole");
	EXPECT_PF(__guest_read(v, gva + 2 * large + 9 * SZ_4K), 0, gva + 2 * large + 9 * SZ_4K);
	expect_frames(v, gva + 2 * large + 10 * SZ_4K, 2 * small - 10, 2 * small + 11,
		      "behind the hole");
	/* The large page's frames once more, one of them at an odd place. */
	vm_map(vm, gva + 5 * large, gpa + large + 3 * SZ_4K, SZ_4K, 1, PTE_W);
	guest_write(v, gva + 5 * large, 4242);
	EXPECT_EQ(guest_read(v, gva + large + 3 * SZ_4K) & 0xffffffff, 4242);
	if (!m->long_mode || !cpu_has(&CPU_GBPAGES))
		return;
	vm_map(vm, gva + SZ_1G, SZ_1G, SZ_1G, 3, PTE_W);
	EXPECT_EQ(guest_read(v, gva + SZ_1G + large + 3 * SZ_4K) & 0xffffffff, 4242);
	expect_frames(v, gva + SZ_1G + large + 4 * SZ_4K, 3 * small - 4, small + 5, "1 GiB page");
}

TEST(no_paging, .what = "without paging every frame is at its own address, and gaps are nobody's",
     .modes = MODE(PM_NONE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	u64 frames = SZ_4M / SZ_4K, i;

	number_frames(vm);
	/* A second view of the same memory, one frame off. */
	slot_add_hva(vm, 5, 0xc0000000, SZ_2M, (u8 *)vm->mem->hva + SZ_4K, 0);
	expect_frames(v, vm->mem->gpa, frames, 1, "memory");
	expect_frames(v, 0xc0000000, SZ_2M / SZ_4K, 2, "second view");
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = 0xc0000000, .arg = SZ_4K,
	       .value = SZ_2M / SZ_4K, .arg2 = 5000);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0));
	for (i = 0; i < SZ_2M / SZ_4K; i++)
		EXPECT_EQ(*(u32 *)((u8 *)vm->mem->hva + (i + 1) * SZ_4K), 5000 + i, "frame %lu", i);
	expect_frames(v, vm->mem->gpa + SZ_4K, SZ_2M / SZ_4K, 5000, "memory again");
}

TEST(paging_toggled, .what = "switching paging off and on changes what an address means at once",
     .modes = MODE(PM_32) | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->mem->gpa + SZ_4K; /* mapped to another frame than its own */
	u64 cr0 = guest_get_cr(v, 0), pdpte[4];
	u32 i, j, on;

	for (j = 0; j < 4 && t->mode->id == PM_PAE; j++)
		pdpte[j] = aspace_get_pte(&vm->as, j * SZ_1G, 3) & ~PTE_A;
	number_frames(vm);
	/* PAE's first GiB has tables of its own already. */
	vm_map(vm, gva, vm->mem->gpa + 5 * SZ_4K, SZ_4K, 1, PTE_W);
	for (i = 0; i < 3; i++) {
		op_clear(v);
		op_add(v, .kind = AGENT_READ, .addr = gva);
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0 & ~CR0_PG);
		op_add(v, .kind = AGENT_READ, .addr = gva);
		/* What quirk_pdpte_accessed() is about would make the next one fault. */
		for (j = 0; j < 4 && t->mode->id == PM_PAE; j++)
			op_set_pte(v, &vm->as, j * SZ_1G, 3, pdpte[j]);
		on = op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0);
		op_add(v, .kind = AGENT_READ, .addr = gva);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, 0), 6, "paging on, round %u", i);
		EXPECT_OK(op_result(v, 1), "CR0.PG=0, round %u", i);
		EXPECT_VALUE(op_result(v, 2), 2, "paging off, round %u", i);
		EXPECT_OK(op_result(v, on), "CR0.PG=1, round %u", i);
		EXPECT_VALUE(op_result(v, on + 1), 6, "paging on again, round %u", i);
	}
}

TEST(pse36, .what = "a 4 MiB page of 32-bit paging reaches memory above 4 GiB",
     .modes = MODE(PM_32))
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;

	require_cpu(CPU_PSE36);
	vm = vm_create(t->mode, .mem_gpa = 0x980000000ull, .mem_size = 8 * MiB);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	number_frames(vm);
	/* The same bits 31:22 without bits 39:32: other memory. */
	slot_add(vm, 5, 0x80000000, SZ_4M, MEM_ANON, 0);
	*(u32 *)vm_hva(vm, 0x80000000) = 99999;
	vm_map(vm, gva, vm->mem->gpa + SZ_4M, SZ_4M, 2, PTE_W);
	vm_map(vm, gva + SZ_4M, vm->mem->gpa, SZ_4M, 2, PTE_W);
	vm_map(vm, gva + 2 * SZ_4M, 0x80000000, SZ_4M, 2, PTE_W);
	expect_frames(v, gva, 1024, 1025, "upper page");
	expect_frames(v, gva + SZ_4M, 1024, 1, "lower page");
	EXPECT_VALUE(__guest_read(v, gva + 2 * SZ_4M), 99999, "below 4 GiB");
	guest_write(v, gva + 7 * SZ_4K, 3);
	EXPECT_EQ(*(u32 *)((u8 *)vm->mem->hva + SZ_4M + 7 * SZ_4K), 3);
}

TEST(pse36_above_64g, .what = "and memory above 64 GiB, up to 40 bits of address",
     .modes = MODE(PM_32))
{
	struct vm *vm;
	struct agent_result res;

	require_cpu(CPU_PSE36);
	REQUIRE(cpu_maxphyaddr() >= 40, "40 bits of physical address");
	vm = vm_create(t->mode, .mem_gpa = 0x3800000000ull, .mem_size = SZ_4M);
	*(u32 *)vm->mem->hva = 77777;
	vm_map(vm, vm->test_gva, vm->mem->gpa, SZ_4M, 2, PTE_W);
	res = __guest_read(vm->vcpu[0], vm->test_gva);
	if (engine()->kernel_memory && mmu_kind() == MMU_SHADOW && res.status == AGENT_FAULT &&
	    res.vector == PF_VECTOR && (res.error & PFERR_RSVD))
		test_xfail("arch/x86/kvm/mmu/mmu.c, __reset_rsvds_bits_mask",
			   "shadow paging takes PSE-36 for 36 bits: bits 20:17 are reserved");
	EXPECT_VALUE(res, 77777);
}

static const char *const backings[] = {"anon", "thp", "hugetlb", NULL};

TEST(over_host_pages,
     .what = "guest pages of each size over host pages of each size show the right frames",
     .modes = MODES_PAGED, .variants = backings)
{
	static const enum mem_backing backing[] = {MEM_ANON, MEM_THP, MEM_HUGETLB_2M};
	struct vm *vm = vm_create(t->mode, .mem_gpa = SZ_1G, .mem_size = 8 * MiB,
				  .backing = backing[t->variant_idx]);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	int level, top = t->mode->long_mode && cpu_has(&CPU_GBPAGES) ? 3 : 2;
	u64 frames = vm->mem->size / SZ_4K, i;

	number_frames(vm);
	for (level = 1; level <= top; level++, gva += SZ_1G / 4) {
		if (level == 3)
			gva = vm->test_gva + SZ_1G;
		vm_map(vm, gva, vm->mem->gpa, level == 3 ? SZ_1G : vm->mem->size, level, PTE_W);
		/* A frame off the boundary first, so that what is mapped must be aligned down. */
		EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = gva + 5 * MiB, .size = 4),
			     5 * MiB / SZ_4K + 1, "level %d", level);
		expect_frames(v, gva, frames, 1, "all of it");
	}
	/* Writes by the last mapping are seen through the first. */
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva - SZ_1G / 4, .arg = SZ_4K,
	       .value = frames, .arg2 = 7000);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0));
	expect_frames(v, vm->test_gva, frames, 7000, "through small pages");
	for (i = 0; i < frames; i++)
		EXPECT_EQ(*(u32 *)((u8 *)vm->mem->hva + i * SZ_4K), 7000 + i, "frame %lu", i);
}
