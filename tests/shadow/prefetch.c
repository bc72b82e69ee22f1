// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mapping ahead: when one entry of a last-level table is faulted in, the
 * hypervisor maps its neighbours too, eight at a time, if their pages are at hand.
 *
 * That must not be visible. A neighbour that is not present, has reserved bits
 * set, or was never accessed (its A bit has to be set by the access that will
 * come) may not be mapped; one that is clean may not be mapped writable (D); one
 * below an entry that denies something may not have it; and nobody has written
 * it, so the dirty log may not name it. The same holds for the one entry that
 * INVLPG reads again in a table out of sync.
 */
#include "frames.h"

#define GROUP 8

/* What the entries of a group of eight are; the access in the middle is to the fourth. */
enum kind {
	ABSENT,
	FRESH,
	CLEAN,
	MIDDLE,
	READONLY,
	USER,
	RESERVED,
	PLAIN
};

/* Whether there is an address bit that the guest may not use; else that entry is a plain one. */
static bool has_reserved(struct vm *vm)
{
	return vm->mode->pte_size == 8 && cpu_maxphyaddr() < 52;
}

static u64 entry(struct vm *vm, u32 i)
{
	u64 pte = frame_pte(vm, i, PTE_W);

	switch (i) {
	case ABSENT: /* all the rest of it looks fine, but for P */
		return pte & ~PTE_P;
	case FRESH:
		return pte & ~(PTE_A | PTE_D);
	case CLEAN:
		return pte & ~PTE_D;
	case READONLY:
		return pte & ~PTE_W;
	case USER:
		return pte | PTE_U;
	case RESERVED:
		return has_reserved(vm) ? pte | BIT(51) : pte;
	}
	return pte;
}

static gva_t place(struct vm *vm, u32 i)
{
	return vm->test_gva + (64 + i) * SZ_4K;
}

/* Everything but the middle entry is as it was before anybody came near. */
static void check_untouched(struct vm *vm, const char *when)
{
	u32 i;

	for (i = 0; i < GROUP; i++)
		if (i != MIDDLE)
			EXPECT_EQ(aspace_get_pte(&vm->as, place(vm, i), 1), entry(vm, i),
				  "entry %u after %s", i, when);
}

/* What an access to each neighbour gives, and what it leaves in the entry. */
static void check_each(struct vm *vm, const char *when)
{
	struct vcpu *v = vm->vcpu[0];
	u32 i, first;

	op_clear(v);
	first = op_read(v, place(vm, 0));
	for (i = 1; i < GROUP; i++)
		op_read(v, place(vm, i));
	vcpu_exec(v);
	EXPECT_PF(op_result(v, first + ABSENT), 0, place(vm, ABSENT), "%s", when);
	for (i = FRESH; i < GROUP; i++) {
		if (i == RESERVED && has_reserved(vm))
			EXPECT_PF(quirk_fix_rsvd(op_result(v, first + i)), PFERR_P | PFERR_RSVD,
				  place(vm, i), "%s", when);
		else
			EXPECT_VALUE(op_result(v, first + i), frame_id(i), "%s, entry %u", when, i);
	}
	EXPECT_EQ(aspace_get_pte(&vm->as, place(vm, FRESH), 1), entry(vm, FRESH) | PTE_A, "%s",
		  when);
	EXPECT_EQ(aspace_get_pte(&vm->as, place(vm, CLEAN), 1), entry(vm, CLEAN), "%s", when);

	op_clear(v);
	for (i = 0; i < GROUP; i++)
		op_write(v, place(vm, i), frame_id(i));
	vcpu_exec(v);
	EXPECT_PF(op_result(v, READONLY), PFERR_P | PFERR_W, place(vm, READONLY), "%s", when);
	EXPECT_OK(op_result(v, PLAIN));
	EXPECT_OK(op_result(v, CLEAN));
	EXPECT_EQ(aspace_get_pte(&vm->as, place(vm, FRESH), 1), entry(vm, FRESH) | PTE_A | PTE_D,
		  "%s", when);
	EXPECT_EQ(aspace_get_pte(&vm->as, place(vm, CLEAN), 1), entry(vm, CLEAN) | PTE_D, "%s",
		  when);
}

static struct vm *create(const struct paging_mode *m)
{
	struct vm *vm = vm_create(m, .mem_size = 1 * MiB);
	u32 i;

	number_frames(vm);
	/* Present on the host, so that nothing but the entry keeps a page from being mapped. */
	for (i = 0; i < GROUP; i++)
		vm_map(vm, place(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	for (i = 0; i < GROUP; i++)
		aspace_set_pte(&vm->as, place(vm, i), 1, entry(vm, i));
	return vm;
}

TEST(around_a_fault, .what = "entries around one that is faulted in are neither used nor changed",
     .modes = MODES_FEW, .fixes = (const char *const[]){"c22885050e65", NULL})
{
	struct vm *vm = create(t->mode);
	struct vcpu *v = vm->vcpu[0];

	EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = place(vm, MIDDLE)),
		  frame_id(MIDDLE));
	check_untouched(vm, "a read");
	guest_write(v, place(vm, MIDDLE), frame_id(MIDDLE));
	check_untouched(vm, "a write");
	check_each(vm, "after a fault");
}

TEST(by_invlpg, .what = "INVLPG in a table out of sync uses no entry that it may not use",
     .modes = MODES_FEW, .fixes = (const char *const[]){"08e850c6536d", NULL})
{
	struct vm *vm = create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 i, round;

	for (i = 0; i < GROUP; i++)
		aspace_set_pte(&vm->as, place(vm, i), 1, frame_pte(vm, 20 + i, PTE_W));
	for (round = 0; round < 2; round++) {
		op_clear(v);
		/* All used through the TLB and the shadow, then replaced by what create() made. */
		for (i = 0; i < GROUP; i++)
			op_read(v, place(vm, i));
		for (i = 0; i < GROUP; i++)
			op_set_pte(v, &vm->as, place(vm, i), 1, entry(vm, i));
		for (i = 0; round == 0 && i < GROUP; i++)
			op_invlpg(v, place(vm, i));
		if (round)
			op_load_cr3(v, vm->as.root);
		vcpu_exec(v);
		for (i = 0; i < GROUP; i++)
			EXPECT_VALUE(op_result(v, i), frame_id(20 + i));
		check_untouched(vm, round ? "CR3 load" : "INVLPG");
		check_each(vm, round ? "after CR3 load" : "after INVLPG");
		op_clear(v);
		for (i = 0; i < GROUP; i++)
			op_set_pte(v, &vm->as, place(vm, i), 1, frame_pte(vm, 20 + i, PTE_W));
		op_load_cr3(v, vm->as.root);
		vcpu_exec(v);
	}
}

TEST(inherited, .what = "a neighbour mapped ahead has no more rights than the entries above grant",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 round, i;

	number_frames(vm);
	for (i = 0; i < GROUP; i++)
		vm_map(vm, place(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_U | PTE_A | PTE_D);
	for (round = 0; round < 2; round++) {
		u64 pde = aspace_get_pte(&vm->as, place(vm, 0), 2) | PTE_W | PTE_U;

		/* The directory denies writing, then ring 3. */
		guest_set_pte(v, &vm->as, place(vm, 0), 2, pde & ~(round ? PTE_U : PTE_W));
		guest_load_cr3(v, &vm->as);
		(void)guest_do(v, .kind = AGENT_READ, .addr = place(vm, MIDDLE));
		for (i = 0; i < GROUP; i++) {
			gva_t gva = place(vm, i);

			if (round)
				EXPECT_PF(__user_read(v, gva), PFERR_P | PFERR_U, gva);
			else
				EXPECT_PF(__guest_write(v, gva, 0), PFERR_P | PFERR_W, gva);
		}
	}
}

TEST(dirty_log, .what = "mapping ahead marks no page dirty and lets no write pass unlogged",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm =
		vm_create(t->mode, .mem_size = 1 * MiB, .mem_flags = KVM_MEM_LOG_DIRTY_PAGES);
	struct vcpu *v = vm->vcpu[0];
	struct dirty_bitmap log = dirty_bitmap_alloc(vm->mem);
	u32 i, round;

	number_frames(vm);
	for (i = 0; i < 16; i++)
		vm_map(vm, place(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (round = 0; round < 2; round++) {
		u32 base = round * 8;

		dirty_get(vm->mem, &log);
		if (round)
			guest_write(v, place(vm, base + MIDDLE), 1);
		else
			(void)guest_do(v, .kind = AGENT_READ, .addr = place(vm, base + MIDDLE));
		dirty_get(vm->mem, &log);
		/* The page itself may be named for a read that mapped it writable; no other. */
		EXPECT_LE(dirty_count(&log), 1, "after an access to one page");
		if (round || dirty_count(&log))
			EXPECT(dirty_test(&log, base + MIDDLE));
		for (i = 0; i < GROUP; i++) {
			guest_write(v, place(vm, base + i), 2);
			dirty_get(vm->mem, &log);
			EXPECT(dirty_test(&log, base + i), "page %u", base + i);
			EXPECT_EQ(dirty_count(&log), 1, "page %u", base + i);
		}
	}
	dirty_bitmap_free(&log);
}

/*
 * An entry next to the one that is used maps the very table. Mapping it ahead writable would
 * put the table out of sync, for a write that may never come.
 */
TEST(stays_in_sync, .what = "mapping a table's own page ahead leaves the table in sync",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .meant_for = MMU_SHADOW,
     .fixes = (const char *const[]){"f1c4a88c41ea", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	gpa_t table;
	u64 unsync;
	u32 i;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	table = aspace_pte_gpa(&vm->as, gva, 1) & ~(SZ_4K - 1);
	for (i = 1; i < 8; i++)
		vm_map(vm, gva + i * SZ_4K, table, SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	/* The page is there and may be written, while it is no table yet. */
	guest_write(v, table + SZ_4K - 16, 0);
	unsync = vm_stat(vm, "mmu_unsync");
	EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = gva, .size = 4), frame_id(0));
	EXPECT_EQ(vm_stat(vm, "mmu_unsync"), unsync, "tables out of sync");
	/* A write that does come puts it there. */
	guest_write(v, gva + 3 * SZ_4K + SZ_4K - 16, 0);
	EXPECT_EQ(vm_stat(vm, "mmu_unsync"), unsync + 1, "tables out of sync");
}
