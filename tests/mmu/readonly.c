// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read-only memslots: reads are memory, writes are MMIO exits that leave the
 * memory as it is (KVM_MEM_READONLY; how a VMM offers ROM and flash).
 *
 * The guest's own entry says writable, so the hypervisor alone takes the right
 * away, in each translation that it makes for such a slot, huge ones as well. A
 * translation made by a read that comes out writable lets the next write
 * through; one that a write fault does not recognise as final faults for ever.
 * The same addresses may become writable memory when the slot is replaced, as
 * flash does when it is programmed, and then nothing of the old rights may stay.
 *
 * Page tables in such a slot can be used as long as nothing has to be stored in
 * them; the hypervisor leaves accessed and dirty bits alone there.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "slots.h"

#define ROM 0x30000

/* A write at @gpa is one MMIO exit; memory at @word keeps @value. */
static void expect_rom_write(struct vcpu *v, gpa_t gpa, volatile u32 *word, u32 value)
{
	struct mmio_log log = {0};

	mmio_watch(v, &log);
	write4(v, window(v->vm, gpa), 0xdead0000 + value);
	v->mmio = NULL;
	EXPECT_EQ(log.count, 1, "gpa %#lx", gpa);
	if (log.count)
		EXPECT_MMIO(&log, 0, gpa, 4, true, 0xdead0000 + value);
	EXPECT_EQ(*word, value, "memory of a read-only slot at gpa %#lx", gpa);
}

TEST(write_exits, .what = "reads are memory, writes are exits and change nothing",
     .modes = MODE(PM_LA48) | MODE(PM_32) | MODE(PM_NONE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, SZ_2M, MEM_ANON, KVM_MEM_READONLY);
	struct mmio_log log = {0};
	struct vcpu *v = vm->vcpu[0];

	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	number_frames(s->hva, SZ_2M, ROM);
	/* Written before it was ever read, then read, then written. */
	expect_rom_write(v, SLOT2_GPA + 9 * SZ_4K, frame_word(s->hva, 9 * SZ_4K), ROM + 9);
	expect_frames(v, SLOT2_GPA, SZ_2M, ROM, "reads");
	expect_rom_write(v, SLOT2_GPA + 9 * SZ_4K, frame_word(s->hva, 9 * SZ_4K), ROM + 9);
	expect_rom_write(v, SLOT2_GPA, frame_word(s->hva, 0), ROM);
	expect_rom_write(v, SLOT2_GPA, frame_word(s->hva, 0), ROM);

	/* A locked addition reads memory; only its result goes out. */
	mmio_watch(v, &log);
	EXPECT_VALUE(guest_op(v, .kind = AGENT_XADD, .size = 4, .addr = window(vm, SLOT2_GPA),
			      .value = 2),
		     ROM);
	EXPECT_EQ(log.count, 1);
	EXPECT_MMIO(&log, 0, SLOT2_GPA, 4, true, ROM + 2);
	EXPECT_EQ(*frame_word(s->hva, 0), ROM);
	v->mmio = NULL;

	/* The host may still change it. */
	number_frames(s->hva, SZ_2M, ROM + 0x1000);
	expect_frames(v, SLOT2_GPA, SZ_2M, ROM + 0x1000, "changed by the host");
}

/* Replaces slot @s by itself with other flags; KVM refuses to change this one in place. */
static void replace(struct memslot *s, u32 flags)
{
	slot_delete(s);
	slot_set_flags(s, flags);
}

static const char *const backings[] = {"4k", "thp", NULL};

TEST(toggle, .what = "a populated slot turns read-only and writable again", .variants = backings)
{
	bool huge = t->variant_idx == 1;
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, SZ_4M, huge ? MEM_THP : MEM_ANON, 0);
	const gpa_t gpa = SLOT2_GPA + SZ_2M + 5 * SZ_4K;
	volatile u32 *word = frame_word(s->hva, SZ_2M + 5 * SZ_4K);
	struct vcpu *v = vm->vcpu[0];
	u32 i;

	window_map(vm, SLOT2_GPA, SZ_4M, huge ? 2 : 1);
	number_frames(s->hva, SZ_4M, ROM);
	for (i = 0; i < 3; i++) {
		expect_frames(v, SLOT2_GPA, SZ_2M, ROM, "writable");
		write4(v, window(vm, gpa), i);
		EXPECT_EQ(*word, i);
		replace(s, KVM_MEM_READONLY);
		expect_rom_write(v, gpa, word, i);
		expect_frames(v, SLOT2_GPA, SZ_2M, ROM, "read-only");
		expect_rom_write(v, gpa, word, i);
		replace(s, i == 1 ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	}
}

TEST(huge, .what = "writes to huge pages of a read-only slot exit, with and without dirty logging",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .fixes = (const char *const[]){"404381c5839d", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, 8 * MiB, MEM_THP, KVM_MEM_READONLY);
	struct vcpu *v = vm->vcpu[0];
	u64 i;

	number_frames(s->hva, s->size, ROM);
	REQUIRE(memory_thp_bytes(&s->mem, 0, s->size) == s->size, "transparent huge pages");
	window_map(vm, SLOT2_GPA, s->size, 2);
	/* Two huge pages are read first, two written first. */
	expect_frames(v, SLOT2_GPA, SZ_4M, ROM, "reads");
	for (i = 0; i < 4; i++)
		expect_rom_write(v, SLOT2_GPA + i * SZ_2M, frame_word(s->hva, i * SZ_2M),
				 ROM + i * 512);
	slot_set_flags(s, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < 4; i++)
		expect_rom_write(v, SLOT2_GPA + i * SZ_2M, frame_word(s->hva, i * SZ_2M),
				 ROM + i * 512);
	expect_frames(v, SLOT2_GPA, s->size, ROM, "after all that");
}

TEST(host_readonly, .what = "a read-only slot of memory that the host itself may only read")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_2M, MEM_MEMFD);
	struct vcpu *v = vm->vcpu[0];

	number_frames(m.hva, SZ_2M, ROM);
	memory_mprotect(&m, 0, SZ_2M, PROT_READ);
	slot_add_hva(vm, 2, SLOT2_GPA, SZ_2M, m.hva, KVM_MEM_READONLY);
	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	expect_rom_write(v, SLOT2_GPA + SZ_4K, frame_word(m.hva, SZ_4K), ROM + 1);
	expect_frames(v, SLOT2_GPA, SZ_2M, ROM, "reads");
	expect_rom_write(v, SLOT2_GPA, frame_word(m.hva, 0), ROM);
	place_function(vm, vm->mem->gpa, 77);
	ASSERT_EQ(pwrite(m.fd, vm->mem->hva, 16, 2 * SZ_4K), 16);
	EXPECT_VALUE(__guest_exec(v, window(vm, SLOT2_GPA + 2 * SZ_4K)), 77, "code in ROM");
}

/*
 * Not with two-dimensional paging on AMD, where the processor asks to write to
 * each table that it walks: KVM takes that for an access to the table's address
 * and lets the guest read the table instead of what it maps.
 */
TEST(tables, .what = "page tables in a read-only slot translate and are never written",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32), .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, SZ_4K, MEM_ANON, KVM_MEM_READONLY);
	const u32 size = t->mode->pte_size;
	struct vcpu *v = vm->vcpu[0];
	u8 before[SZ_4K];
	u64 i;

	REQUIRE(!(mmu_kind() & MMU_TDP),
		"shadow paging (KVM supports no page tables in read-only slots elsewhere)");
	number_frames(vm->mem->hva, SZ_2M, ROM);
	for (i = 0; i < 8; i++) {
		/* The first four have their bits set already, the others would need a store. */
		u64 pte = pte_make_leaf(t->mode, vm->mem->gpa + (i + 20) * SZ_4K, 1,
					PTE_W | (i < 4 ? PTE_A | PTE_D : 0));

		memcpy((u8 *)s->hva + i * size, &pte, size);
	}
	memcpy(before, s->hva, SZ_4K);
	aspace_link(&vm->as, vm->test_gva, 2, SLOT2_GPA);
	for (i = 0; i < 8; i++) {
		gva_t gva = vm->test_gva + i * SZ_4K;

		EXPECT_EQ(read4(v, gva), ROM + 20 + i, "page %lu", i);
		write4(v, gva + 4, i + 1);
		EXPECT_EQ(*frame_word(vm->mem->hva, (20 + i) * SZ_4K + 4), i + 1);
	}
	EXPECT_EQ(memcmp(before, s->hva, SZ_4K), 0, "a table in ROM was written");
}
