// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memslots: adding, deleting, moving and replacing guest physical memory while
 * translations to it exist.
 *
 * What the hypervisor has mapped for a slot must be gone when the ioctl that
 * removes or moves it returns: the host may give the memory to somebody else at
 * once. It drops the slot's translations, or all of them by making the roots
 * obsolete, and makes every running vCPU leave the guest. What is left behind
 * shows as a read that finds old memory instead of an MMIO exit or the new
 * slot's memory, or as a store that arrives in memory no longer in the guest.
 *
 * A slot's ends matter as well. Host memory comes in pages of 2 MiB, and a slot
 * may start or end inside one, or give it a guest address with another offset
 * inside 2 MiB; then small pages have to be used, or a large translation covers
 * host memory outside of the slot, or names the wrong frames. So every frame
 * carries its own number, on both sides of the ends.
 */
#include <errno.h>

#include "slots.h"

#define OLD 0x10000
#define NEW 0x20000

/* A slot of huge host pages; skips where the kernel gave none. */
static struct memory huge_memory(u64 size)
{
	struct memory m = memory_alloc(size, MEM_THP);

	memset(m.hva, 0, size);
	REQUIRE(memory_thp_bytes(&m, 0, size) == size, "%lu bytes in transparent huge pages", size);
	return m;
}

TEST(replace, .what = "a deleted slot is MMIO at once, a slot in its place shows its own memory",
     .modes = MODES_ALL & ~MODE(PM_LA57))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memory other = memory_alloc(SZ_2M, MEM_ANON);
	struct vcpu *v = vm->vcpu[0];
	void *old = vm->mem->hva;
	const gpa_t gpa = vm->mem->gpa;

	window_map(vm, gpa, SZ_2M, 1);
	number_frames(old, SZ_2M, OLD);
	number_frames(other.hva, SZ_2M, NEW);
	expect_frames(v, gpa, SZ_2M / 2, OLD, "before");
	write4(v, window(vm, gpa) + 8, 1);

	slot_delete(vm->mem);
	expect_mmio_read(v, gpa, 0xabcd, "deleted, read before");
	expect_mmio_read(v, gpa + 511 * SZ_4K, 0xef01, "deleted, never read");

	EXPECT_EQ(__vm_set_region(vm, 1, 0, gpa, SZ_2M, other.hva), 0);
	expect_frames(v, gpa, SZ_2M, NEW, "other memory");
	write4(v, window(vm, gpa) + 8, 2);
	EXPECT_EQ(*frame_word(other.hva, 8), 2);
	EXPECT_EQ(*frame_word(old, 8), 1, "memory that is no longer the guest's");

	slot_delete(vm->mem);
	slot_readd(vm->mem);
	expect_frames(v, gpa, SZ_2M, OLD, "the first memory again");
}

TEST(move, .what = "a moved slot is found at its new address only",
     .modes = MODE(PM_LA48) | MODE(PM_NONE),
     .fixes = (const char *const[]){"invalid memslot step for a moved slot (2012)", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct vcpu *v = vm->vcpu[0];
	const gpa_t from = vm->mem->gpa, to = from + 64 * MiB;

	window_map(vm, from, SZ_2M, 1);
	window_map(vm, to, SZ_2M, 1);
	number_frames(vm->mem->hva, SZ_2M, OLD);
	expect_frames(v, from, SZ_2M, OLD, "before");
	expect_mmio_read(v, to, 0x55, "before");

	slot_move(vm->mem, to);
	expect_mmio_read(v, from + SZ_4K, 0x66, "moved away");
	expect_frames(v, to, SZ_2M, OLD, "moved");
	/* By less than its size, so that every frame's old translation is another's now. */
	slot_move(vm->mem, to + SZ_4K);
	expect_frames(v, to + SZ_4K, SZ_2M - SZ_4K, OLD, "moved by a page");
	expect_mmio_read(v, to, 0x77, "moved by a page");
	slot_move(vm->mem, from);
	expect_frames(v, from, SZ_2M, OLD, "moved back");
}

static void expect_refused(struct vm *vm, int error, u32 id, u32 flags, gpa_t gpa, u64 size,
			   void *hva)
{
	EXPECT_EQ(__vm_set_region(vm, id, flags, gpa, size, hva), -error,
		  "slot %u flags %#x gpa %#lx size %#lx", id, flags, gpa, size);
}

TEST(refused, .what = "overlapping, unaligned and resized slots are refused and change nothing")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memory m = memory_alloc(SZ_4M, MEM_ANON);
	u8 *hva = m.hva, *mem = vm->mem->hva;
	const gpa_t gpa = vm->mem->gpa;

	window_map(vm, gpa, SZ_2M, 1);
	number_frames(mem, SZ_2M, OLD);
	expect_frames(vm->vcpu[0], gpa, SZ_2M, OLD, "before");

	expect_refused(vm, EEXIST, 2, 0, gpa, SZ_2M, hva);
	expect_refused(vm, EEXIST, 2, 0, gpa - SZ_4K, 2 * SZ_4K, hva);
	expect_refused(vm, EEXIST, 2, 0, gpa + SZ_2M - SZ_4K, SZ_2M, hva);
	expect_refused(vm, EEXIST, 2, 0, gpa + SZ_4K, SZ_4K, hva);
	expect_refused(vm, EEXIST, 2, 0, gpa - SZ_4K, SZ_4M, hva);
	expect_refused(vm, EEXIST, 1, 0, 0, SZ_2M, mem); /* moved onto slot 0 */
	expect_refused(vm, EINVAL, 2, 0, SLOT2_GPA + 1, SZ_4K, hva);
	expect_refused(vm, EINVAL, 2, 0, SLOT2_GPA, SZ_4K + 1, hva);
	expect_refused(vm, EINVAL, 2, 0, SLOT2_GPA, SZ_4K, hva + 1);
	expect_refused(vm, EINVAL, 2, 0, SLOT2_GPA, 0, hva); /* nothing to delete */
	expect_refused(vm, EINVAL, 2, 1u << 30, SLOT2_GPA, SZ_4K, hva);
	expect_refused(vm, EINVAL, 2, 0, ~0ull << 12, SZ_2M, hva); /* wraps */
	expect_refused(vm, EINVAL, 0xffff, 0, SLOT2_GPA, SZ_4K, hva);
	expect_refused(vm, EINVAL, 7u << 16, 0, SLOT2_GPA, SZ_4K, hva); /* no such address space */
	/* Of an existing slot only address and logging may change. */
	expect_refused(vm, EINVAL, 1, 0, gpa, SZ_4M, mem);
	expect_refused(vm, EINVAL, 1, 0, gpa, SZ_4K, mem);
	expect_refused(vm, EINVAL, 1, 0, gpa, SZ_2M, hva);
	expect_refused(vm, EINVAL, 1, KVM_MEM_READONLY, gpa, SZ_2M, mem);

	expect_frames(vm->vcpu[0], gpa, SZ_2M, OLD, "after");
}

TEST(many, .what = "forty slots in reverse order: each address finds its own slot",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	enum {
		SLOTS = 40,
		SIZE = 2 * SZ_4K
	};
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memory m = memory_alloc(SLOTS * SIZE, MEM_ANON);
	struct memslot *slot[SLOTS];
	struct vcpu *v = vm->vcpu[0];
	int i;

	number_frames(m.hva, m.size, OLD);
	window_map(vm, SLOT2_GPA, m.size, 1);
	for (i = SLOTS - 1; i >= 0; i--)
		slot[i] = slot_add_hva(vm, 2 + i * 7 % SLOTS, SLOT2_GPA + i * SIZE, SIZE,
				       (u8 *)m.hva + i * SIZE, 0);
	expect_frames(v, SLOT2_GPA, m.size, OLD, "all");
	for (i = 0; i < SLOTS; i += 2)
		slot_delete(slot[i]);
	for (i = 0; i < SLOTS; i++) {
		if (i % 2)
			expect_frames(v, slot[i]->gpa, SIZE, OLD + i * 2, "every other deleted");
		else if (i % 8 == 0)
			expect_mmio_read(v, slot[i]->gpa, i, "every other deleted");
	}
	for (i = 0; i < SLOTS; i += 2)
		slot_readd(slot[i]);
	expect_frames(v, SLOT2_GPA, m.size, OLD, "all again");
}

TEST(offsets, .what = "a slot whose guest and host addresses differ inside 2 MiB",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = VM_NO_MEM);
	struct memory m = huge_memory(16 * MiB);
	struct vcpu *v = vm->vcpu[0];
	const u64 size = 8 * MiB, offset = 5 * SZ_4K;
	void *hva = (u8 *)m.hva + offset;

	number_frames(m.hva, m.size, OLD);
	slot_add_hva(vm, 2, SLOT2_GPA, size, hva, 0);
	window_map(vm, SLOT2_GPA, size, 2);
	expect_frames(v, SLOT2_GPA, size, OLD + offset / SZ_4K, "large guest pages");
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = window(vm, SLOT2_GPA),
		 .arg = SZ_4K, .value = size / SZ_4K, .arg2 = NEW);
	EXPECT_EQ(*frame_word(hva, 0), NEW);
	EXPECT_EQ(*frame_word(hva, SZ_2M), NEW + 512);
	EXPECT_EQ(*frame_word(hva, size - SZ_4K), NEW + size / SZ_4K - 1);
	EXPECT_EQ(*frame_word(m.hva, offset - SZ_4K), OLD + offset / SZ_4K - 1, "before the slot");
	EXPECT_EQ(*frame_word(hva, size), OLD + (size + offset) / SZ_4K, "behind the slot");
}

/* Reads inside [@gpa, @gpa + @size), then just outside: the neighbours are MMIO. */
static void check_ends(struct vm *vm, gpa_t gpa, u64 size, u32 base)
{
	struct vcpu *v = vm->vcpu[0];

	expect_frames(v, gpa, size, base, "the slot");
	expect_mmio_read(v, gpa + size, 0x1234, "right behind the slot");
	expect_mmio_read(v, gpa - SZ_4K, 0x4321, "right before the slot");
}

TEST(ends, .what = "a slot that ends inside a huge page of the host shows nothing beyond",
     .modes = MODE(PM_LA48) | MODE(PM_PAE),
     .fixes = (const char *const[]){"ef057cbf825e", "99894a799f09", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = VM_NO_MEM);
	struct memory m = huge_memory(8 * MiB);
	const gpa_t base = SLOT2_GPA + 4 * MiB;
	const struct {
		u64 start, end;
	} part[] = {
		{0, SZ_2M - SZ_4K},		/* smaller than the host's page */
		{0, 3 * MiB},			/* a tail */
		{1 * MiB, 4 * MiB},		/* a head */
		{SZ_2M + SZ_4K, SZ_4M - SZ_4K}, /* inside one */
		{SZ_4K, 6 * MiB + SZ_4K},	/* both, with whole ones between */
	};
	size_t i;

	number_frames(m.hva, m.size, OLD);
	window_map(vm, SLOT2_GPA, 16 * MiB, 2);
	for (i = 0; i < ARRAY_LEN(part); i++) {
		u64 start = part[i].start, size = part[i].end - start;

		ASSERT_EQ(__vm_set_region(vm, 2, 0, base + start, size, (u8 *)m.hva + start), 0);
		check_ends(vm, base + start, size, OLD + start / SZ_4K);
		ASSERT_EQ(__vm_set_region(vm, 2, 0, base + start, 0, NULL), 0);
	}
}

TEST(neighbours, .what = "two slots that meet inside a huge page of the host stay apart")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = VM_NO_MEM);
	struct memory a = huge_memory(SZ_4M), b = huge_memory(SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	const u64 cut = SZ_2M + 0x80000;

	number_frames(a.hva, a.size, OLD);
	number_frames(b.hva, b.size, NEW);
	slot_add_hva(vm, 2, SLOT2_GPA, cut, a.hva, 0);
	slot_add_hva(vm, 3, SLOT2_GPA + cut, SZ_4M - cut, (u8 *)b.hva + cut, 0);
	window_map(vm, SLOT2_GPA, SZ_4M, 2);
	expect_frames(v, SLOT2_GPA, cut, OLD, "the first slot");
	expect_frames(v, SLOT2_GPA + cut, SZ_4M - cut, NEW + cut / SZ_4K, "the second slot");
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = window(vm, SLOT2_GPA),
		 .arg = SZ_4K, .value = SZ_4M / SZ_4K, .arg2 = 1);
	EXPECT_EQ(*frame_word(a.hva, cut), OLD + cut / SZ_4K, "host memory behind the first slot");
	EXPECT_EQ(*frame_word(b.hva, cut - SZ_4K), NEW + cut / SZ_4K - 1,
		  "host memory before the second slot");
	EXPECT_EQ(*frame_word(b.hva, cut), 1 + cut / SZ_4K);
}

TEST(flags, .what = "switching dirty logging on and off keeps memory and other slots as they are")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memslot *other = slot_add(vm, 2, SLOT2_GPA, SZ_2M, MEM_ANON, 0);
	struct vcpu *v = vm->vcpu[0];
	u32 i;

	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	number_frames(vm->mem->hva, SZ_2M, OLD);
	number_frames(other->hva, SZ_2M, NEW);
	for (i = 0; i < 6; i++) {
		expect_frames(v, vm->mem->gpa, SZ_2M, OLD, "the slot itself");
		expect_frames(v, SLOT2_GPA, SZ_2M, NEW, "the other slot");
		write4(v, window(vm, vm->mem->gpa) + 4, i);
		EXPECT_EQ(*frame_word(vm->mem->hva, 4), i);
		slot_set_flags(vm->mem, i % 2 ? 0 : KVM_MEM_LOG_DIRTY_PAGES);
	}
}

TEST(high, .what = "slots above 4 GiB: the whole frame number counts",
     .modes = MODE(PM_LA48) | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = VM_NO_MEM);
	const u64 bits = cpu_maxphyaddr() < 40 ? cpu_maxphyaddr() : 40;
	const gpa_t gpa[] = {1ull << 32, 3ull << 32, (1ull << bits) - SZ_2M};
	struct memslot *s;
	u32 i;

	/* Each has a twin below 4 GiB in its low 32 bits, where a cut number would land. */
	for (i = 0; i < ARRAY_LEN(gpa); i++) {
		s = slot_add(vm, 2 + i, gpa[i], SZ_2M, MEM_ANON, 0);
		number_frames(s->hva, SZ_2M, OLD + (i << 16));
		vm_map(vm, vm->test_gva + i * SZ_2M, gpa[i], SZ_2M, i == 1 ? 2 : 1, PTE_W);
		EXPECT_VALUE(guest_op(vm->vcpu[0], .kind = AGENT_TOUCH_CHECK, .size = 4,
				      .addr = vm->test_gva + i * SZ_2M, .arg = SZ_4K, .value = 512,
				      .arg2 = OLD + (i << 16)),
			     512, "slot at gpa %#lx", gpa[i]);
	}
}

TEST(tables_replaced, .what = "a slot that holds page tables is replaced: the new tables count",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *tables = slot_add(vm, 2, SLOT2_GPA, SZ_4K, MEM_ANON, 0);
	struct memory other = memory_alloc(SZ_4K, MEM_ANON);
	struct vcpu *v = vm->vcpu[0];
	const u32 size = t->mode->pte_size;
	u64 pte;
	u32 i;

	number_frames(vm->mem->hva, SZ_2M, OLD);
	for (i = 0; i < 16; i++) {
		pte = pte_make_leaf(t->mode, vm->mem->gpa + i * SZ_4K, 1, PTE_W);
		memcpy((u8 *)tables->hva + i * size, &pte, size);
		pte = pte_make_leaf(t->mode, vm->mem->gpa + (i + 100) * SZ_4K, 1, PTE_W);
		memcpy((u8 *)other.hva + i * size, &pte, size);
	}
	aspace_link(&vm->as, vm->test_gva, 2, SLOT2_GPA);
	vm_map(vm, SLOT2_GPA, SLOT2_GPA, SZ_4K, 1, PTE_W); /* where the guest edits them */
	EXPECT_VALUE(guest_op(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = vm->test_gva,
			      .arg = SZ_4K, .value = 16, .arg2 = OLD),
		     16, "the first tables");
	slot_delete(tables);
	ASSERT_EQ(__vm_set_region(vm, 2, 0, SLOT2_GPA, SZ_4K, other.hva), 0);
	guest_load_cr3(v, &vm->as);
	EXPECT_VALUE(guest_op(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = vm->test_gva,
			      .arg = SZ_4K, .value = 16, .arg2 = OLD + 100),
		     16, "the tables put in their place");
	/* And they are watched as the first ones were. */
	guest_set_pte(v, &vm->as, vm->test_gva, 1,
		      pte_make_leaf(t->mode, vm->mem->gpa + 7 * SZ_4K, 1, PTE_W));
	guest_invlpg(v, vm->test_gva);
	EXPECT_EQ(read4(v, vm->test_gva), OLD + 7);
}

/* What the two sides of a race share. */
struct race {
	struct mmio_log log;
	volatile u32 *stop; /* host address of the word that ends the guest's loop */
};

static void stop_at_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct race *race = arg;

	mmio_record(v, run, &race->log);
	*race->stop = 1;
}

/*
 * Starts vCPU 1 in a loop on the first word of slot 2 and returns once the loop
 * runs: after the store that says so, AGENT_SPIN_* starts.
 */
static void start_spin(struct vm *vm, u32 kind, u32 value, struct race *race)
{
	struct vcpu *v = vm->vcpu[1];
	volatile u32 *running = frame_word(vm->mem->hva, 0);

	race->log = (struct mmio_log){.answer = 0x4d4d494f};
	race->stop = frame_word(vm->mem->hva, SZ_4K);
	*race->stop = *running = 0;
	v->mmio = stop_at_mmio;
	v->arg = race;
	op_clear(v);
	op_add(v, .kind = kind == AGENT_SPIN_READ ? AGENT_READ : AGENT_WRITE, .size = 4,
	       .addr = window(vm, SLOT2_GPA), .value = value);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = window(vm, vm->mem->gpa), .value = 1);
	op_add(v, .kind = kind, .size = 4, .addr = window(vm, SLOT2_GPA), .value = value,
	       .arg2 = window(vm, vm->mem->gpa + SZ_4K), .arg = 1000000000);
	vcpu_start(v);
	WAIT_UNTIL(*running, "the loop's start");
}

TEST(delete_remote, .what = "once a slot's deletion returns no other vCPU uses its memory",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, SZ_2M, MEM_ANON, 0);
	volatile u32 *word = frame_word(s->hva, 0);
	struct race race;
	u32 i;

	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	for (i = 0; i < 2; i++) {
		*word = OLD;
		start_spin(vm, AGENT_SPIN_READ, OLD, &race);
		slot_delete(s);
		*word = 0xbad; /* the memory belongs to somebody else now */
		vcpu_join(vm->vcpu[1]);
		EXPECT_VALUE(op_result(vm->vcpu[1], 2), race.log.answer, "round %u, reader", i);
		EXPECT_MMIO(&race.log, 0, SLOT2_GPA, 4, false, race.log.answer);
		slot_readd(s);

		start_spin(vm, AGENT_SPIN_WRITE, NEW, &race);
		slot_delete(s);
		*word = 0xbad;
		vcpu_join(vm->vcpu[1]);
		EXPECT_OK(op_result(vm->vcpu[1], 2), "round %u, writer", i);
		EXPECT_EQ(*word, 0xbad, "round %u: stored by the guest after the deletion", i);
		EXPECT_MMIO(&race.log, 0, SLOT2_GPA, 4, true, NEW);
		slot_readd(s);
	}
}
