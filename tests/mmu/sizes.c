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

/* Every 4 KiB frame of slot 1 starts with its own index. */
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

TEST(map_4k, .what = "4 KiB pages reach the frames that their entries name",
     .modes = MODES_PAGED)
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
