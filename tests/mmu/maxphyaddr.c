// SPDX-License-Identifier: GPL-2.0-only
/*
 * MAXPHYADDR: physical addresses have as many bits as CPUID 0x80000008 says.
 * Memory at the very top must be reachable, and address bits above are reserved
 * in every entry and in CR3 (SDM vol. 3 4.1.4, 4.5).
 *
 * A hypervisor may promise the guest fewer bits than the processor has, or more.
 * Under shadow paging it is the one that checks and both work. With
 * two-dimensional paging the processor checks against its own width, so that
 * cases with another width are for shadow paging only. More bits than the host
 * has must not become a mapping, since the tables of the hypervisor have no room
 * for such a frame (86931ff7207b): an access there is MMIO.
 */
#include <string.h>

#include "mmuscope.h"

#define WORD 0xfaceu

static void require_shadow(void)
{
	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging: otherwise the processor's width counts");
}

TEST(top_of_memory, .what = "memory at the highest physical addresses is reachable",
     .modes = MODES_64 | MODE(PM_PAE))
{
	gpa_t end = BIT(cpu_maxphyaddr());
	struct vm *vm = vm_create(t->mode, .mem_gpa = end - SZ_4M, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	gva_t small = vm->test_gva, large = small + SZ_2M;
	u32 *last = (u32 *)((u8 *)vm->mem->hva + SZ_4M - 4);

	vm_map(vm, small, end - SZ_4K, SZ_4K, 1, PTE_W);
	vm_map(vm, large, end - SZ_2M, SZ_2M, 2, PTE_W);
	*last = WORD;
	EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = small + SZ_4K - 4, .size = 4), WORD);
	EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = large + SZ_2M - 4, .size = 4), WORD);
	EXPECT_OK(guest_op(v, .kind = AGENT_WRITE, .addr = large + SZ_2M - 4, .size = 4,
			   .value = WORD + 1));
	EXPECT_EQ(*last, WORD + 1);
}

/*
 * Sets each address bit from @first to 51 in an entry of each level, one at a
 * time, in an address space whose page holds WORD; expects a reserved-bit fault.
 */
static void check_bits_above(struct vm *vm, u32 first)
{
	const struct paging_mode *m = vm->mode;
	int level, top = m->id == PM_PAE ? 2 : m->levels;
	struct vcpu *v = vm->vcpu[0];
	gva_t gva[PAGING_MAX_LEVEL * 52];
	u32 bit, n = 0, i;

	op_clear(v);
	for (level = 1; level <= top; level++) {
		for (bit = first; bit < 52; bit++) {
			gva_t at = vm->test_gva + (bit - first + 1) * level_size(m, level);

			if (level == 1)
				vm_map(vm, at, vm->mem->gpa, SZ_4K, 1, PTE_W);
			else if (level <= 2)
				vm_map(vm, at, vm->mem->gpa, SZ_2M, 2, PTE_W);
			else
				aspace_make_tables(&vm->as, at, level - 1);
			aspace_set_pte(&vm->as, at, level,
				       aspace_get_pte(&vm->as, at, level) | BIT(bit));
			gva[n++] = at;
			op_add(v, .kind = AGENT_READ, .addr = at, .size = 4);
		}
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		EXPECT_PF(quirk_fix_rsvd(op_result(v, i)), PFERR_P | PFERR_RSVD, gva[i],
			  "level %u, bit %u", i / (52 - first) + 1, first + i % (52 - first));
}

TEST(above, .what = "address bits above MAXPHYADDR are reserved at every level",
     .modes = MODES_64 | MODE(PM_PAE))
{
	u32 width = cpu_maxphyaddr();

	REQUIRE(width < 52, "MAXPHYADDR below 52");
	check_bits_above(vm_create(t->mode), width);
}

TEST(lowered, .what = "a guest that is told fewer bits than the host has faults on the difference",
     .modes = MODES_64 | MODE(PM_PAE), .meant_for = MMU_SHADOW)
{
	struct vm *vm;
	struct vcpu *v;

	require_shadow();
	REQUIRE(cpu_maxphyaddr() > 34, "MAXPHYADDR above 34");
	vm = vm_create(t->mode, .maxphyaddr = 34);
	v = vm->vcpu[0];
	/* The highest bit that is left is an address where no memory is. */
	slot_add(vm, 5, BIT(33), SZ_2M, MEM_ANON, 0);
	*(u32 *)vm_hva(vm, BIT(33)) = WORD;
	vm_map(vm, vm->test_gva, BIT(33), SZ_4K, 1, PTE_W);
	EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = vm->test_gva, .size = 4), WORD);
	check_bits_above(vm, 34);
}

struct seen {
	u64 gpa[4];
	u32 n;
};

static void note_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct seen *seen = arg;
	u32 word = WORD;

	(void)v;
	if (seen->n < ARRAY_LEN(seen->gpa))
		seen->gpa[seen->n] = run->mmio.phys_addr;
	seen->n++;
	if (!run->mmio.is_write)
		memcpy(run->mmio.data, &word, sizeof(word));
}

static const char *const raised_fixes[] = {"86931ff7207b", NULL};

TEST(raised, .what = "addresses that the guest may have and the host does not are MMIO, not memory",
     .modes = MODES_64, .fixes = raised_fixes, .meant_for = MMU_SHADOW)
{
	struct vm *vm;
	struct vcpu *v;
	struct seen seen = {.n = 0};
	gpa_t gpa;
	gva_t gva;
	u32 i;

	require_shadow();
	REQUIRE(cpu_maxphyaddr() < 50, "MAXPHYADDR of the host below 50");
	vm = vm_create(t->mode, .maxphyaddr = 52);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	gpa = BIT(50) + vm->mem->gpa; /* without the bit: memory */
	v->mmio = note_mmio;
	v->arg = &seen;
	*(u32 *)vm->mem->hva = 1;
	vm_map(vm, gva, gpa, SZ_4K, 1, PTE_W | PTE_U);
	vm_map(vm, gva + SZ_2M, vm->mem->gpa, SZ_4K, 1, PTE_W);
	for (i = 0; i < 2; i++)
		EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = gva + 8, .size = 4), WORD,
			     "round %u", i);
	EXPECT_OK(guest_op(v, .kind = AGENT_WRITE, .addr = gva + 8, .size = 4, .value = 9));
	EXPECT_EQ(seen.n, 3, "MMIO exits");
	for (i = 0; i < 3; i++)
		EXPECT_EQ(seen.gpa[i], gpa + 8, "exit %u", i);
	EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = gva + SZ_2M, .size = 4), 1,
		     "memory below");
}

/* The processor took the value, and the hypervisor can't enter the guest any more. */
static bool bad_cr3_accepted(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY && (mmu_kind() & MMU_TDP) && host_is_tcg())
		test_xfail("QEMU 7.2, target/i386/tcg/sysemu/misc_helper.c, helper_write_crN",
			   "TCG loads a CR3 beyond MAXPHYADDR, then refuses VMRUN with it");
	return false;
}

TEST(cr3, .what = "CR3 with an address bit above MAXPHYADDR is refused", .modes = MODES_64)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 bit, width = cpu_maxphyaddr();

	REQUIRE(width < 52, "MAXPHYADDR below 52");
	v->other_exit = bad_cr3_accepted;
	for (bit = width; bit < 52; bit++)
		EXPECT_FAULT(guest_op(v, .kind = AGENT_WRITE_CR, .addr = 3,
				      .value = vm->as.root | BIT(bit)),
			     GP_VECTOR, 0, "bit %u", bit);
	EXPECT_EQ(guest_get_cr(v, 3), vm->as.root);
	EXPECT_OK(guest_op(v, .kind = AGENT_READ, .addr = VM_TABLES_GPA), "still there");
}
