// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory-mapped I/O among ordinary pages, under shadow paging.
 *
 * An entry that names no memory is noted in the shadow as an MMIO entry, which
 * carries the guest frame number and is stamped with the memslots' generation, so
 * that the next access is emulated without walking the guest's tables. It must
 * give way when the guest edits its entry, and take the place of a mapping of
 * memory without leaving that one's reverse mapping behind. The number has to
 * come back complete, with its high bits too, which the entry must hide from the
 * processor's speculation. Entries that are not present may hold anything.
 */
#include <sys/mman.h>

#include "frames.h"

struct last {
	gpa_t gpa;
	u64 value;
	u32 count, len;
	bool write;
};

static void answer(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct last *l = arg;
	u32 value;

	(void)v;
	l->gpa = run->mmio.phys_addr;
	l->write = run->mmio.is_write;
	l->len = run->mmio.len;
	l->count++;
	if (l->write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		l->value = value;
	} else {
		value = ~(l->gpa >> 12);
		memcpy(run->mmio.data, &value, sizeof(value));
	}
}

static u32 mmio_value(gpa_t gpa)
{
	return ~(gpa >> 12);
}

static struct vm *create(const struct paging_mode *m, struct last *l)
{
	struct vm *vm = vm_create(m, .mem_size = 1 * MiB);

	number_frames(vm);
	vm->vcpu[0]->mmio = answer;
	vm->vcpu[0]->arg = l;
	return vm;
}

TEST(addresses,
     .what = "MMIO reports the whole guest physical address, beside entries full of bits",
     .modes = MODES_FEW)
{
	struct last l = {0};
	struct vm *vm = create(t->mode, &l);
	struct vcpu *v = vm->vcpu[0];
	gpa_t at[6] = {0xd0000000, 0xdffff000, 0x3ffff000};
	u32 n = 3, i, round;

	if (t->mode->pte_size == 8) {
		at[n++] = (1ull << (cpu_maxphyaddr() - 1)) - SZ_4K;
		at[n++] = (1ull << (cpu_maxphyaddr() - 1)) | 0x12345000;
		at[n++] = (1ull << cpu_maxphyaddr()) - SZ_4K;
	}
	for (i = 0; i < n; i++) {
		gva_t gva = vm->test_gva + 4 * i * SZ_4K;

		vm_map(vm, gva, at[i], SZ_4K, 1, PTE_W | PTE_A | PTE_D);
		vm_map(vm, gva + SZ_4K, frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
		/* Not present, every other bit set. */
		aspace_set_pte(&vm->as, gva + 2 * SZ_4K, 1, ~1ull);
	}
	for (round = 0; round < 3; round++)
		for (i = 0; i < n; i++) {
			gva_t gva = vm->test_gva + 4 * i * SZ_4K;

			l.count = 0;
			EXPECT_PF(
				guest_op(v, .kind = AGENT_READ, .size = 4, .addr = gva + 2 * SZ_4K),
				0, gva + 2 * SZ_4K);
			EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva + 8),
				  mmio_value(at[i]));
			EXPECT_EQ(l.gpa, at[i] + 8);
			EXPECT_EQ(l.write, false);
			(void)guest_do(v, .kind = AGENT_WRITE, .size = 4, .addr = gva + 0xffc,
				       .value = 0x1000 + i);
			EXPECT_EQ(l.gpa, at[i] + 0xffc);
			EXPECT_EQ(l.value, 0x1000 + i);
			EXPECT_EQ(l.count, 2);
			EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4,
						.addr = gva + SZ_4K),
				  frame_id(i));
			EXPECT_EQ(l.count, 2);
		}
}

/* Memory and MMIO trade places in an entry, with every kind of flush. */
TEST(trade_places, .what = "an entry goes from memory to MMIO and back, and to another MMIO page",
     .modes = MODES_FEW, .fixes = (const char *const[]){"aad885e77496", NULL})
{
	struct last l = {0};
	struct vm *vm = create(t->mode, &l);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva + 5 * SZ_4K;
	u64 ways[4];
	u32 want[4], i, n = 64, step[64];

	for (i = 0; i < 2; i++) {
		gpa_t io = 0xd0000000 + i * SZ_4K;

		ways[2 * i] = frame_pte(vm, i, PTE_W);
		want[2 * i] = frame_id(i);
		ways[2 * i + 1] = pte_make_leaf(t->mode, io, 1, PTE_W | PTE_A | PTE_D);
		want[2 * i + 1] = mmio_value(io);
	}
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	op_clear(v);
	for (i = 0; i < n; i++) {
		step[i] = test_rand(t) % 4;
		op_set_pte(v, &vm->as, gva, 1, ways[step[i]]);
		if (i % 5 == 4)
			op_load_cr3(v, vm->as.root);
		else
			op_invlpg(v, gva);
		op_read(v, gva);
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		EXPECT_VALUE(op_result(v, 3 * i + 2), want[step[i]], "step %u way %u", i, step[i]);
	/* The memory that lost its mapping is really no longer mapped. */
	memory_madvise(&vm->mem->mem, 0, 4 * SZ_4K, MADV_DONTNEED);
	op_clear(v);
	op_set_pte(v, &vm->as, gva, 1, ways[0]);
	op_load_cr3(v, vm->as.root);
	op_read(v, gva);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 2), 0);
}

/*
 * A clean page is mapped read-only, so that the first store sets D. If the entry
 * changes to MMIO in between, and the table is out of sync, the store finds a
 * mapping of memory in the shadow where an MMIO entry is to go. No flush was made:
 * the store may reach the old page or the new address, never both.
 */
TEST(over_a_mapping, .what = "a store that finds MMIO where a clean page was mapped",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .fixes = (const char *const[]){"aad885e77496", NULL})
{
	struct last l = {0};
	struct vm *vm = create(t->mode, &l);
	struct vcpu *v = vm->vcpu[0];
	bool count = mmu_kind() == MMU_SHADOW && vm_has_stat(vm, "pages_4k");
	gva_t gva = vm->test_gva;
	gpa_t io = 0xd0000000;
	u64 pages = 0;
	u32 i;

	for (i = 0; i < 8; i++) {
		gva_t at = gva + i * SZ_4K;
		bool old, new;

		/* The first time maps what the guest itself and its tables are in. */
		if (count && i == 1)
			pages = vm_stat(vm, "pages_4k");

		vm_map(vm, at, frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_A);
		op_clear(v);
		op_read(v, at);
		op_set_pte(v, &vm->as, at, 1, pte_make_leaf(t->mode, io, 1, PTE_W | PTE_A | PTE_D));
		op_write(v, at, 0x111 + i);
		l.count = 0;
		vcpu_exec(v);
		old = *frame_word(vm, i) == 0x111 + i;
		new = l.count == 1 && l.write &&l.gpa == io &&l.value == 0x111 + i;
		EXPECT(old != new, "page %u: old page written %d, MMIO %d", i, old, new);
		/* A walk of the page's mappings must not meet what is no mapping any more. */
		memory_madvise(&vm->mem->mem, i * SZ_4K, SZ_4K, MADV_DONTNEED);
	}
	if (count)
		EXPECT_EQ(vm_stat(vm, "pages_4k"), pages, "mappings that are counted");
	guest_load_cr3(v, &vm->as);
	for (i = 0; i < 8; i++)
		EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva + i * SZ_4K),
			  mmio_value(io));
}

TEST(slot_appears, .what = "an MMIO page becomes memory for every alias when a memslot appears",
     .modes = MODE(PM_LA48) | MODE(PM_32), .fixes = (const char *const[]){"56f17dd3fbc4", NULL})
{
	struct last l = {0};
	struct vm *vm = create(t->mode, &l);
	struct vcpu *v = vm->vcpu[0];
	gpa_t gpa = 512 * MiB;
	struct memslot *slot = NULL;
	u32 i, round;

	for (i = 0; i < 16; i++)
		vm_map(vm, vm->test_gva + i * 50 * SZ_4K, gpa, SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (round = 0; round < 4; round++) {
		if (round == 1) {
			slot = slot_add(vm, 5, gpa, 64 * KiB, MEM_ANON, 0);
			*(u32 *)slot->hva = 0x1234;
		} else if (round == 2) {
			slot_delete(slot);
		} else if (round == 3) {
			slot_readd(slot);
		}
		l.count = 0;
		op_clear(v);
		for (i = 0; i < 16; i++)
			op_read(v, vm->test_gva + i * 50 * SZ_4K);
		vcpu_exec(v);
		for (i = 0; i < 16; i++)
			EXPECT_VALUE(op_result(v, i), round & 1 ? 0x1234 : mmio_value(gpa),
				     "round %u alias %u", round, i);
		EXPECT_EQ(l.count, round & 1 ? 0 : 16, "round %u", round);
	}
}

/*
 * A table is synchronised after a slot has come to where its entries found MMIO: what it says
 * hasn't changed, what it means has.
 */
TEST(slot_before_sync, .what = "synchronising a table doesn't renew MMIO where memory is by now",
     .modes = MODES_FEW, .fixes = (const char *const[]){"56f17dd3fbc4", NULL})
{
	struct last l = {0};
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	gpa_t io = 512 * MiB;
	struct memslot *slot;
	u64 emulated;
	u32 i;

	REQUIRE(!kvm_is_partial(), "a KVM that emulates only what it must");
	vm = create(t->mode, &l);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	for (i = 0; i < 4; i++)
		vm_map(vm, gva + i * SZ_4K, io + i * SZ_4K, SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (i = 0; i < 4; i++)
		EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva + i * SZ_4K),
			  mmio_value(io + i * SZ_4K));
	/* Another entry of the same table. */
	guest_set_pte(v, &vm->as, gva + 9 * SZ_4K, 1, frame_pte(vm, 9, PTE_W));
	slot = slot_add(vm, 5, io, 4 * SZ_4K, MEM_ANON, 0);
	for (i = 0; i < 4; i++)
		((u32 *)slot->hva)[i * SZ_4K / 4] = 0x1234 + i;
	guest_load_cr3(v, &vm->as);
	l.count = 0;
	for (i = 0; i < 4; i++) {
		u32 got = guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva + i * SZ_4K);

		/* Linux 6.1 gives such an entry the new generation without looking for a slot. */
		if (engine()->kernel_memory && mmu_kind() == MMU_SHADOW &&
		    got == mmio_value(io + i * SZ_4K))
			test_xfail("arch/x86/kvm/mmu/mmu.c, sync_mmio_spte",
				   "gpa %#lx is a device although a slot has it",
				   (u64)(io + i * SZ_4K));
		EXPECT_EQ(got, 0x1234 + i, "page %u", i);
	}
	EXPECT_EQ(l.count, 0, "MMIO exits");
	/* They are mapped now. */
	if (!vcpu_has_stat(v, "insn_emulation"))
		return;
	emulated = vcpu_stat(v, "insn_emulation");
	for (i = 0; i < 4; i++)
		guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva + i * SZ_4K);
	EXPECT_EQ(vcpu_stat(v, "insn_emulation"), emulated, "reads of memory that are emulated");
}
