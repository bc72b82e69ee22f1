// SPDX-License-Identifier: GPL-2.0-only
/*
 * MMIO: what the guest does where no memslot is becomes an exit with the exact
 * address, size and data, again and again, until a memslot appears there.
 *
 * The first access faults, finds no slot and is emulated. Both outcomes are
 * remembered: the translation table gets an entry that faults in a telling way
 * and carries the address and the generation of the memslots, and the vCPU
 * notes the last such linear and physical address. Either note can outlive what
 * it says: when slots change, when the guest points the linear address
 * elsewhere, or when the next access has other rights than the first one. Then
 * memory is taken for a device, a device for memory, or a device is reached
 * where a page fault was due.
 *
 * The generation of slots wraps after some hundred thousand changes, which is
 * out of reach for a test at some milliseconds each.
 */
#include <errno.h>
#include <sys/mman.h>

#include "slots.h"

#define MMIO_GPA (SLOT2_GPA + 64 * MiB)
#define RAM	 0x10000

static u64 ones(u32 bytes)
{
	return bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
}

TEST(exits, .what = "each access exits once with its address, size and data",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	static const u32 offset[] = {0, 0x10, 0x123, 0xff0};
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	const u64 pattern = 0x8877665544332211ull;
	struct vcpu *v = vm->vcpu[0];
	struct mmio_log log;
	u32 size;
	size_t i;

	window_map(vm, MMIO_GPA, SZ_4M, 1);
	mmio_watch(v, &log);
	for (size = 1; size <= (t->mode->long_mode ? 8 : 4); size *= 2) {
		for (i = 0; i < ARRAY_LEN(offset); i++) {
			gpa_t gpa = MMIO_GPA + i * SZ_4K + offset[i];

			log = (struct mmio_log){.answer = pattern};
			EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .size = size,
					      .addr = window(vm, gpa)),
				     pattern & ones(size), "%u bytes at %#lx", size, gpa);
			guest_do(v, .kind = AGENT_WRITE, .size = size, .addr = window(vm, gpa),
				 .value = ~pattern);
			EXPECT_EQ(log.count, 2, "a read and a write of %u bytes", size);
			EXPECT_MMIO(&log, 0, gpa, size, false, pattern & ones(size));
			EXPECT_MMIO(&log, 1, gpa, size, true, ~pattern & ones(size));
		}
	}

	/* A locked exchange is a read and a write. */
	log = (struct mmio_log){.answer = 5};
	EXPECT_VALUE(guest_op(v, .kind = AGENT_XADD, .size = 4, .addr = window(vm, MMIO_GPA),
			      .value = 3),
		     5);
	EXPECT_MMIO(&log, 0, MMIO_GPA, 4, false, 5);
	EXPECT_MMIO(&log, 1, MMIO_GPA, 4, true, 8);
}

TEST(crossing, .what = "an access across two pages goes to both, each part to its own",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	const gva_t a = window(vm, MMIO_GPA), b = window(vm, MMIO_GPA + SZ_2M);
	struct mmio_log log = {.answer = 0x44332211};
	struct vcpu *v = vm->vcpu[0];
	u8 *ram = vm->mem->hva;

	/* a: two MMIO pages, not in order. b: memory, then MMIO, then memory. */
	vm_map(vm, a, MMIO_GPA + SZ_4K, SZ_4K, 1, PTE_W);
	vm_map(vm, a + SZ_4K, MMIO_GPA, SZ_4K, 1, PTE_W);
	vm_map(vm, b, vm->mem->gpa, SZ_4K, 1, PTE_W);
	vm_map(vm, b + SZ_4K, MMIO_GPA, SZ_4K, 1, PTE_W);
	vm_map(vm, b + 2 * SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_W);
	memset(ram, 0x99, SZ_4K);
	mmio_watch(v, &log);

	write4(v, a + SZ_4K - 1, 0xddccbbaa);
	EXPECT_EQ(log.count, 2);
	EXPECT_MMIO(&log, 0, MMIO_GPA + 2 * SZ_4K - 1, 1, true, 0xaa);
	EXPECT_MMIO(&log, 1, MMIO_GPA, 3, true, 0xddccbb);
	EXPECT_EQ(read4(v, a + SZ_4K - 2), 0x22112211);
	EXPECT_EQ(log.count, 4);
	EXPECT_MMIO(&log, 2, MMIO_GPA + 2 * SZ_4K - 2, 2, false, 0x2211);
	EXPECT_MMIO(&log, 3, MMIO_GPA, 2, false, 0x2211);

	log.count = 0;
	EXPECT_EQ(read4(v, b + SZ_4K - 1), 0x33221199);
	write4(v, b + SZ_4K - 3, 0xddccbbaa);
	EXPECT_EQ(log.count, 2);
	EXPECT_MMIO(&log, 0, MMIO_GPA, 3, false, 0x332211);
	EXPECT_MMIO(&log, 1, MMIO_GPA, 1, true, 0xdd);
	EXPECT_EQ(ram[SZ_4K - 4], 0x99);
	EXPECT_EQ(ram[SZ_4K - 3], 0xaa);
	EXPECT_EQ(ram[SZ_4K - 1], 0xcc);

	log.count = 0;
	write4(v, b + 2 * SZ_4K - 1, 0xddccbbaa);
	EXPECT_EQ(log.count, 1);
	EXPECT_MMIO(&log, 0, MMIO_GPA + SZ_4K - 1, 1, true, 0xaa);
	EXPECT_EQ(ram[0], 0xbb);
	EXPECT_EQ(ram[2], 0xdd);
	EXPECT_EQ(ram[3], 0x99);
}

TEST(large, .what = "MMIO behind large guest pages: each 4 KiB frame keeps its address",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))
{
	static const u32 frame[] = {0, 511, 1, 256, 511, 0};
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	size_t i;

	window_map(vm, MMIO_GPA, SZ_4M, 2);
	for (i = 0; i < ARRAY_LEN(frame); i++)
		expect_mmio_read(v, MMIO_GPA + frame[i] * SZ_4K, 0x100 + i, "in a large page");
	if (!t->mode->long_mode || !cpu_has(&CPU_GBPAGES))
		return;
	vm_map(vm, vm->test_gva + 4 * GiB, 4 * GiB, SZ_1G, 3, PTE_W);
	for (i = 0; i < 3; i++) {
		struct mmio_log log = {.answer = i};
		gpa_t at = frame[i] * (SZ_2M + SZ_4K);

		mmio_watch(v, &log);
		EXPECT_EQ(read4(v, vm->test_gva + 4 * GiB + at), i);
		EXPECT_MMIO(&log, 0, 4 * GiB + at, 4, false, i);
	}
}

TEST(becomes_ram, .what = "a slot that appears where MMIO was is memory at once, and back",
     .modes = MODE(PM_LA48) | MODE(PM_32) | MODE(PM_NONE),
     .fixes = (const char *const[]){"56f17dd3fbc4", NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_2M, MEM_ANON);
	int round, i;

	number_frames(m.hva, SZ_2M, RAM);
	window_map(vm, MMIO_GPA, SZ_2M, 1);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 2; i++) {
			expect_mmio_read(vm->vcpu[i], MMIO_GPA + SZ_4K, 0x11, "no slot");
			expect_mmio_read(vm->vcpu[i], MMIO_GPA + 2 * SZ_4K, 0x22, "no slot");
			expect_mmio_read(vm->vcpu[i], MMIO_GPA, 0x33, "no slot");
		}
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, SZ_2M, m.hva), 0);
		for (i = 0; i < 2; i++)
			expect_frames(vm->vcpu[i], MMIO_GPA, SZ_2M, RAM, "a slot came");
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, 0, m.hva), 0);
	}
	/* A change of other slots leaves it what it is. */
	for (round = 0; round < 3; round++) {
		slot_set_flags(vm->mem, round % 2 ? 0 : KVM_MEM_LOG_DIRTY_PAGES);
		expect_mmio_read(vm->vcpu[0], MMIO_GPA, 0x44, "another slot changed");
	}
}

TEST(remap, .what = "the guest points a linear address from MMIO to other MMIO, to memory, back",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32),
     .fixes = (const char *const[]){"56f17dd3fbc4", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	const gpa_t target[] = {MMIO_GPA,	    MMIO_GPA + SZ_4K, VM_MEM_GPA,	   MMIO_GPA,
				VM_MEM_GPA + SZ_4K, VM_MEM_GPA,	      MMIO_GPA + 5 * SZ_4K};
	const gva_t gva = vm->test_gva;
	struct vcpu *v = vm->vcpu[0];
	struct mmio_log log;
	size_t i;

	number_frames(vm->mem->hva, SZ_2M, RAM);
	vm_map(vm, gva, MMIO_GPA, SZ_4K, 1, PTE_W);
	mmio_watch(v, &log);
	for (i = 0; i < 2 * ARRAY_LEN(target); i++) {
		gpa_t gpa = target[i % ARRAY_LEN(target)];
		bool ram = gpa < SLOT2_GPA;
		u32 got, r;

		log = (struct mmio_log){.answer = 0xd0 + i};
		op_clear(v);
		op_set_pte(v, &vm->as, gva, 1, pte_make_leaf(t->mode, gpa, 1, PTE_W));
		/* In the second round the flush is a reload of CR3. */
		if (i < ARRAY_LEN(target))
			op_add(v, .kind = AGENT_INVLPG, .addr = gva);
		else
			op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = vm->as.root);
		r = op_add(v, .kind = AGENT_READ, .size = 4, .addr = gva);
		vcpu_exec(v);
		got = op_result(v, r).value;
		EXPECT_EQ(got, ram ? RAM + (gpa - VM_MEM_GPA) / SZ_4K : 0xd0 + i, "step %zu", i);
		EXPECT_EQ(log.count, ram ? 0 : 1, "exits in step %zu", i);
		if (log.count)
			EXPECT_MMIO(&log, 0, gpa, 4, false, 0xd0 + i);
	}
}

TEST(rights,
     .what = "rights are checked before a device is reached, also where it was reached before",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	const gva_t gva = vm->test_gva, user = gva + SZ_4K, none = gva + 2 * SZ_4K;
	struct vcpu *v = vm->vcpu[0];
	struct mmio_log log = {.answer = 7};
	int i;

	vm_map(vm, gva, MMIO_GPA, SZ_4K, 1, 0); /* read-only, supervisor */
	vm_map(vm, user, MMIO_GPA + SZ_4K, SZ_4K, 1, PTE_U);
	vm_map(vm, none, MMIO_GPA + 2 * SZ_4K, SZ_4K, 1, PTE_W);
	mmio_watch(v, &log);
	for (i = 0; i < 2; i++) {
		EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .size = 4, .addr = gva), 7);
		EXPECT_EQ(log.count, 1);
		log.count = 0;
		EXPECT_PF(__guest_write(v, gva, 1), PFERR_P | PFERR_W, gva);
		EXPECT_PF(__user_read(v, gva), PFERR_P | PFERR_U, gva);
		EXPECT_PF(__user_write(v, gva, 1), PFERR_P | PFERR_U | PFERR_W, gva);
		EXPECT_EQ(log.count, 0, "exits of accesses that must fault");

		EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .size = 4, .addr = user,
				      .flags = AGENT_USER),
			     7);
		EXPECT_EQ(log.count, 1);
		log.count = 0;
		EXPECT_PF(__user_write(v, user, 1), PFERR_P | PFERR_U | PFERR_W, user);
		EXPECT_EQ(log.count, 0);
	}
	write4(v, none, 1);
	EXPECT_EQ(log.count, 1);
	guest_set_pte(v, &vm->as, none, 1, 0);
	guest_invlpg(v, none);
	EXPECT_PF(__guest_write(v, none, 1), PFERR_W, none, "no longer present");
	EXPECT_EQ(log.count, 1);
}

TEST(becomes_ram_remote, .what = "a vCPU that polls a device sees the memory that replaces it")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_2M, MEM_ANON);
	struct mmio_log log = {.answer = 0x5a5a};
	struct vcpu *v = vm->vcpu[1];
	int i;

	window_map(vm, MMIO_GPA, SZ_2M, 1);
	number_frames(m.hva, SZ_2M, RAM);
	mmio_watch(v, &log);
	for (i = 0; i < 2; i++) {
		log.count = 0;
		op_clear(v);
		op_add(v, .kind = AGENT_SPIN_READ, .size = 4, .addr = window(vm, MMIO_GPA),
		       .value = log.answer, .arg = 1000000);
		vcpu_start(v);
		WAIT_UNTIL(__atomic_load_n(&log.count, __ATOMIC_ACQUIRE) > 3,
			   "the device is polled");
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, SZ_2M, m.hva), 0);
		vcpu_join(v);
		EXPECT_VALUE(op_result(v, 0), RAM, "round %d", i);
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, 0, m.hva), 0);
	}
}

static bool note_internal_error(struct vcpu *v, struct kvm_run *run, void *arg)
{
	bool *seen = arg;

	(void)v;
	if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR)
		return false;
	*seen = true;
	return true;
}

/* KVM also queues a #UD, which arrives when the vCPU is run again in spite of the error. */
TEST(fetch, .what = "fetching instructions from MMIO is an internal error; memory there runs")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_4K, MEM_ANON);
	const gva_t gva = window(vm, MMIO_GPA);
	struct vcpu *v = vm->vcpu[0];
	struct agent_result res;
	bool seen = false;

	REQUIRE(!kvm_is_partial(), "a whole KVM (partial ones retry the fetch for ever)");
	vm_map(vm, gva, MMIO_GPA, SZ_4K, 1, PTE_W);
	v->other_exit = note_internal_error;
	v->arg = &seen;
	op_clear(v);
	op_add(v, .kind = AGENT_EXEC, .addr = gva);
	vcpu_exec(v);
	res = op_result(v, 0);
	EXPECT(seen, "the fetch ended in KVM_EXIT_INTERNAL_ERROR");
	EXPECT_FAULT(res, UD_VECTOR, 0);
	EXPECT_EQ(res.rip, gva);
	v->other_exit = NULL;
	slot_add_hva(vm, 2, MMIO_GPA, SZ_4K, m.hva, 0);
	place_function(vm, MMIO_GPA, 0x12345678);
	EXPECT_VALUE(__guest_exec(v, gva), 0x12345678);
}

/*
 * Under shadow paging KVM walks the tables and gives the guest a #PF. With
 * two-dimensional paging it takes the processor's walk for an access to a device
 * and exits with the table's address; what the guest then reads is up to the VMM.
 */
static void expect_no_table(struct vcpu *v, gva_t gva)
{
	struct mmio_log log = {.answer = 0};
	struct agent_result res;
	u32 i;

	mmio_watch(v, &log);
	res = __guest_read(v, gva);
	v->mmio = NULL;
	if (!log.count)
		EXPECT_PF(res, 0, gva);
	else
		EXPECT(mmu_kind() & MMU_TDP, "an MMIO exit at gpa %#lx", log.event[0].gpa);
	for (i = 0; i < log.count && i < MMIO_EVENTS; i++)
		EXPECT_EQ(log.event[i].gpa & ~(SZ_4K - 1), MMIO_GPA);
}

TEST(tables, .what = "a page table where no memory is leads nowhere, until memory comes",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_4K, MEM_ANON);
	struct vcpu *v = vm->vcpu[0];
	u64 pte = pte_make_leaf(t->mode, vm->mem->gpa + 3 * SZ_4K, 1, PTE_W);
	int i;

	number_frames(vm->mem->hva, SZ_2M, RAM);
	memcpy(m.hva, &pte, t->mode->pte_size);
	aspace_link(&vm->as, vm->test_gva, 2, MMIO_GPA);
	for (i = 0; i < 2; i++) {
		expect_no_table(v, vm->test_gva);
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, SZ_4K, m.hva), 0);
		EXPECT_EQ(read4(v, vm->test_gva), RAM + 3);
		ASSERT_EQ(__vm_set_region(vm, 2, 0, MMIO_GPA, 0, m.hva), 0);
		guest_load_cr3(v, &vm->as);
	}
}

TEST(root, .what = "CR3 where no memory is: the vCPU stops, the host and the VM live on",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .fixes = (const char *const[]){"CVE-2009-2287", NULL},
     .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct vcpu *v = vm->vcpu[0];
	struct kvm_sregs good, bad;
	struct kvm_regs regs;
	int ret;

	REQUIRE(!(mmu_kind() & MMU_TDP),
		"shadow paging (else the processor walks, and KVM lets it try for ever)");
	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	*frame_word(vm->mem->hva, 0) = RAM;
	EXPECT_EQ(read4(v, window(vm, vm->mem->gpa)), RAM);
	/* Completes the exit of the agent's last OUT before the state is saved. */
	v->run->immediate_exit = 1;
	EXPECT_EQ(__vcpu_run(v), -EINTR);
	v->run->immediate_exit = 0;
	good = vcpu_sregs(v);
	regs = vcpu_regs(v);
	bad = good;
	bad.cr3 = MMIO_GPA;
	ret = __vcpu_set_sregs(v, &bad);
	if (!ret) {
		/* PAE's PDPTEs can't be read; elsewhere the first fetch can't be translated. */
		op_clear(v);
		ret = __vcpu_run(v);
		EXPECT(ret < 0 || v->run->exit_reason == KVM_EXIT_SHUTDOWN ||
			       v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR,
		       "KVM_RUN gave %d, %s", ret, exit_reason_name(v->run->exit_reason));
	} else {
		EXPECT_EQ(ret, -EINVAL, "KVM_SET_SREGS");
	}
	vcpu_set_sregs(v, &good);
	vcpu_set_regs(v, &regs);
	EXPECT_EQ(read4(v, window(vm, vm->mem->gpa)), RAM, "with the good CR3 again");
}

/*
 * The VMM edits a guest table (as a device may, by DMA) below a translation that
 * exists but is read-only for the sake of dirty logging. The next write faults on
 * it, finds MMIO in the guest's entry, and the old translation has to go in full:
 * afterwards the host takes the page away that it led to.
 */
TEST(behind_ram,
     .what = "MMIO that takes the place of a translation to memory leaves nothing of it",
     .modes = MODE(PM_LA48) | MODE(PM_32), .fixes = (const char *const[]){"aad885e77496", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M, .mem_flags = KVM_MEM_LOG_DIRTY_PAGES);
	struct dirty_bitmap log = dirty_bitmap_alloc(vm->mem);
	const gva_t gva = window(vm, vm->mem->gpa);
	struct mmio_log exits = {.answer = 0x77};
	struct vcpu *v = vm->vcpu[0];
	u32 i;

	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	mmio_watch(v, &exits);
	for (i = 0; i < 8; i++)
		write4(v, gva + i * SZ_4K, RAM + i);
	dirty_get(vm->mem, &log);
	for (i = 0; i < 8; i++)
		aspace_set_pte(&vm->as, gva + i * SZ_4K, 1,
			       pte_make_leaf(t->mode, MMIO_GPA + i * SZ_4K, 1, PTE_W));
	for (i = 0; i < 8; i++) {
		/* Nobody flushed, so the guest may still reach the page. */
		exits.count = 0;
		write4(v, gva + i * SZ_4K, 0xd0 + i);
		if (exits.count)
			EXPECT_MMIO(&exits, 0, MMIO_GPA + i * SZ_4K, 4, true, 0xd0 + i);
		else
			EXPECT_EQ(*frame_word(vm->mem->hva, i * SZ_4K), 0xd0 + i);
	}
	memory_madvise(&vm->mem->mem, 0, SZ_2M, MADV_DONTNEED);
	guest_load_cr3(v, &vm->as);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(read4(v, gva + i * SZ_4K), 0x77, "page %u after a flush", i);
	dirty_get(vm->mem, &log);
	slot_delete(vm->mem);
	EXPECT_EQ(read4(v, gva), 0x77);
}

/* How many bits of the slots' generation an MMIO entry has room for; each change counts two. */
#define GENERATIONS (1u << 19)

/*
 * A page that was MMIO is told from one that is by the generation of the slots, or by as much of
 * it as fits. When that starts over, what is left from the same time of the last round must go.
 */
TEST(generation_wraps, .what = "MMIO of half a million changes of slots ago is none",
     .modes = MODE(PM_LA48) | MODE(PM_NONE), .timeout = 60,
     .fixes = (const char *const[]){"56f17dd3fbc4", NULL})
{
	struct vm *vm;
	struct vcpu *v;
	struct mmio_log log = {.answer = 0xabcd};
	struct memslot *other, *s;
	gpa_t gpa = 512 * MiB;
	u64 emulated;
	u32 i;

	REQUIRE(!engine()->kernel_memory, "an engine that changes slots within a microsecond");
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	mmio_watch(v, &log);
	other = slot_add(vm, 2, 600 * MiB, SZ_4K, MEM_ANON, 0);
	window_map(vm, gpa, SZ_4K, 1);
	/* The second time by the entry alone: what the vCPU remembers is of another page. */
	expect_mmio_read(v, gpa, 0xabcd, "no slot");
	for (i = 1; i < GENERATIONS / 2; i++)
		slot_set_flags(other, i & 1 ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	s = slot_add(vm, 3, gpa, SZ_4K, MEM_ANON, 0);
	*(u32 *)s->hva = 0x1234;
	log.count = 0;
	EXPECT_EQ(read4(v, window(vm, gpa)), 0x1234);
	EXPECT_EQ(log.count, 0, "MMIO exits");
	emulated = vcpu_stat(v, "insn_emulation");
	EXPECT_EQ(read4(v, window(vm, gpa)), 0x1234);
	EXPECT_EQ(vcpu_stat(v, "insn_emulation"), emulated, "reads of memory that are emulated");
}
