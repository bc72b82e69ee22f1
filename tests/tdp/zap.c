// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zapping: what the hypervisor has mapped must go when the memory below it
 * goes: with its memslot, or when the host unmaps, discards or exchanges a page.
 * Exactly that: a mapping that stays shows the guest memory that is no longer
 * its own, a mapping too many that goes costs a fault.
 *
 * Ranges are where it goes wrong: the first and the last page, a range across
 * two tables or two gigabytes, a huge page of which a part goes. So the cases
 * number every frame, take a range away and look at both sides of its ends. The
 * counts of mappings tell what a content check can't: that tables of a deleted
 * slot don't pile up.
 */
#include "tdp.h"

#define MADV_COLLAPSE_ 25 /* MADV_COLLAPSE, Linux 6.1 */

#define SMALL 64
#define BIG   (4 * MiB)
#define OTHER (512 * MiB) /* gpa of slot 2 */

static void answer_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

static const char *const delete_fixes[] = {"4e103134b862", "d012a06ab1d2", NULL};

TEST(slot_delete_counts, .what = "deleting a slot drops its mappings, what is left comes back",
     .fixes = delete_fixes)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = BIG, .backing = MEM_THP);
	struct memslot *s = slot_add(vm, 2, OTHER, SMALL * SZ_4K, MEM_ANON, 0);
	struct vcpu *v = vm->vcpu[0];
	struct pages before, now;

	require_counts();
	guest_do(v, .kind = AGENT_NOP);
	write_frames(v, vm->mem->gpa, BIG / SZ_4K, 1);
	require_thp(&vm->mem->mem, 0, BIG);
	write_frames(v, s->gpa, SMALL, 100000);
	before = pages_now(vm);
	EXPECT_GE(before.p2m, BIG / SZ_2M, "2 MiB mappings");

	slot_delete(s);
	v->mmio = answer_mmio;
	expect_frames(v, vm->mem->gpa, BIG / SZ_4K, 1, "the slot that stays");
	EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = s->gpa, .size = 4), 0xffffffff);
	EXPECT_EQ(v->mmio_exits, 1, "the slot that is gone is MMIO");
	now = pages_now(vm);
	EXPECT_LE(now.p4k, before.p4k - SMALL, "4 KiB mappings");
	EXPECT_EQ(now.p2m, before.p2m, "2 MiB mappings");

	slot_delete(vm->mem);
	EXPECT_EQ(guest_do(v, .kind = AGENT_READ, .addr = vm->mem->gpa + SZ_2M, .size = 4),
		  0xffffffff);
	now = pages_now(vm);
	EXPECT_EQ(now.p2m, before.p2m - BIG / SZ_2M, "2 MiB mappings without either slot");
	slot_readd(s);
	slot_readd(vm->mem);
	expect_frames(v, vm->mem->gpa, BIG / SZ_4K, 1, "added again");
	expect_frames(v, s->gpa, SMALL, 100000, "added again");
	EXPECT_EQ(pages_now(vm).p2m, before.p2m, "2 MiB mappings, added again");
}

TEST(delete_add_other, .what = "an address shows the memory that its slot has now",
     .fixes = delete_fixes)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = VM_NO_MEM);
	struct vcpu *v = vm->vcpu[0];
	struct memory small = memory_alloc(BIG, MEM_ANON), huge = memory_alloc(BIG, MEM_THP);
	u64 round, frames = 600; /* of a huge page and a part of the next */
	struct memslot *s = NULL;
	u32 last[2] = {0, 500000};

	number_frames(small.hva, BIG / SZ_4K, last[0]);
	number_frames(huge.hva, BIG / SZ_4K, last[1]);
	s = slot_add_hva(vm, 2, OTHER, BIG, small.hva, 0);
	for (round = 0; round < 12; round++) {
		u64 which = round & 1;

		expect_frames(v, OTHER, frames, last[which], "read");
		last[which] += 1000;
		write_frames(v, OTHER, frames, last[which]);
		EXPECT_EQ(frame_word(which ? huge.hva : small.hva, frames - 1),
			  last[which] + frames - 1, "round %lu: written frame", round);
		EXPECT_EQ(frame_word(which ? small.hva : huge.hva, frames - 1),
			  last[!which] + frames - 1, "round %lu: frame of the other memory", round);
		slot_delete(s);
		s->hva = which ? small.hva : huge.hva;
		slot_readd(s);
	}
}

TEST(create_delete_many, .what = "slots that come and go leave no mappings behind")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = BIG, .backing = MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	struct memslot *s = slot_add(vm, 2, OTHER, 2 * BIG, MEM_ANON, 0);
	struct pages first = {0}, now;
	int round;

	/* One page in each half of two tables, and a huge page. */
	for (round = 0; round < 30; round++) {
		guest_write(v, OTHER + round * SZ_4K, round);
		guest_write(v, OTHER + BIG + round * SZ_4K, round);
		guest_write(v, vm->mem->gpa, round);
		EXPECT_EQ(frame_word(s->hva, round), (u32)round);
		slot_delete(s);
		guest_do(v, .kind = AGENT_NOP);
		now = pages_now(vm);
		if (round == 1)
			first = now;
		if (round > 1 && counted()) {
			EXPECT_EQ(now.p4k, first.p4k, "round %d: 4 KiB mappings", round);
			EXPECT_EQ(now.p2m, first.p2m, "round %d: 2 MiB mappings", round);
		}
		slot_readd(s);
	}
}

/*
 * Frames [@first, @first + @count) of slot 1 are discarded: they read 0, up to 16
 * frames on both sides keep. Leaves them numbered as before.
 */
static void discard(struct vm *vm, u64 first, u64 count, const char *what)
{
	struct vcpu *v = vm->vcpu[0];
	u64 all = vm->mem->size / SZ_4K, end = first + count;
	u64 before = first < 16 ? first : 16, after = all - end < 16 ? all - end : 16;
	gpa_t gpa = vm->mem->gpa;

	memory_madvise(&vm->mem->mem, first * SZ_4K, count * SZ_4K, MADV_DONTNEED);
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = gpa + first * SZ_4K, .arg = SZ_4K,
	       .value = count);
	op_add(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = gpa + (first - before) * SZ_4K,
	       .arg = SZ_4K, .value = before, .arg2 = 1 + first - before);
	op_add(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = gpa + end * SZ_4K, .arg = SZ_4K,
	       .value = after, .arg2 = 1 + end);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 0), 0, "%s: sum of what was discarded", what);
	EXPECT_VALUE(op_result(v, 1), before, "%s: frames before", what);
	EXPECT_VALUE(op_result(v, 2), after, "%s: frames after", what);
	write_frames(v, gpa + first * SZ_4K, count, 1 + first);
	EXPECT_EQ(frame_word(vm->mem->hva, first), 1 + first, "%s: first frame on the host", what);
	EXPECT_EQ(frame_word(vm->mem->hva, end - 1), end, "%s: last frame on the host", what);
}

static const char *const sizes[] = {"small", "huge", NULL};
static const char *const unmap_fixes[] = {"85f013070639", NULL};

TEST(discard_ranges, .what = "MADV_DONTNEED takes exactly its range from the guest",
     .variants = sizes, .fixes = unmap_fixes)
{
	/* A huge page below and two above 1 GiB, so that ranges cross tables of every level. */
	struct vm *vm = vm_create(no_paging(), .mem_gpa = SZ_1G - SZ_2M, .mem_size = 3 * SZ_2M,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	u64 per = SZ_2M / SZ_4K, all = 3 * per;

	number_frames(vm->mem->hva, all, 1);
	expect_frames(vm->vcpu[0], vm->mem->gpa, all, 1, "first touch");
	discard(vm, 0, 1, "first page");
	discard(vm, all - 1, 1, "last page");
	discard(vm, 700, 3, "three pages");
	discard(vm, per - 1, 2, "a page each side of 1 GiB");
	discard(vm, per, per, "one whole table");
	discard(vm, per - 5, per + 10, "a table and some of both neighbours");
	expect_frames(vm->vcpu[0], vm->mem->gpa, all, 1, "in the end");
}

TEST(collapse, .what = "small pages that the host joins to a huge one keep their content")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = BIG, .backing = MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	u64 frames = BIG / SZ_4K;
	struct pages before;

	memory_madvise(&vm->mem->mem, 0, BIG, MADV_NOHUGEPAGE);
	guest_do(v, .kind = AGENT_NOP);
	before = pages_now(vm);
	write_frames(v, vm->mem->gpa, frames, 1);
	if (counted())
		EXPECT_EQ(pages_now(vm).p4k - before.p4k, frames, "4 KiB mappings");
	memory_madvise(&vm->mem->mem, 0, BIG, MADV_HUGEPAGE);
	REQUIRE(!engine()->madvise(vm->mem->hva, BIG, MADV_COLLAPSE_), "MADV_COLLAPSE (%s)",
		strerror(errno));
	require_thp(&vm->mem->mem, 0, BIG);
	expect_frames(v, vm->mem->gpa, frames, 1, "joined");
	write_frames(v, vm->mem->gpa, frames, 9000);
	EXPECT_EQ(frame_word(vm->mem->hva, 0), 9000, "first frame on the host");
	EXPECT_EQ(frame_word(vm->mem->hva, frames - 1), 9000 + frames - 1,
		  "last frame on the host");
	if (counted()) {
		EXPECT_EQ(pages_now(vm).p2m - before.p2m, BIG / SZ_2M, "2 MiB mappings");
		EXPECT_EQ(pages_now(vm).p4k, before.p4k, "4 KiB mappings");
	}
}

static const char *const limit_fixes[] = {"bc8a3d8925a8", NULL};

TEST(mmu_pages_limit, .what = "a huge limit on MMU pages is no limit, a small one costs no content",
     .fixes = limit_fixes)
{
	/* A page in each of 160 tables of 2 MiB: more than the least limit of 64. */
	static const u32 limits[] = {0xffffffff, 0x80000000, 64};
	const u64 tables = 160;
	struct vm *vm = vm_create(no_paging(), .mem_size = tables * SZ_2M);
	struct vcpu *v = vm->vcpu[0];
	u64 i, round, recycled;
	int ret;

	for (i = 0; i < ARRAY_LEN(limits); i++) {
		recycled = vm_stat(vm, "mmu_recycled");
		ret = __kvm_ioctl(vm->fd, KVM_SET_NR_MMU_PAGES, (void *)(u64)limits[i]);
		REQUIRE(ret != -ENOTTY && ret != -EINVAL, "KVM_SET_NR_MMU_PAGES");
		EXPECT_EQ(ret, 0, "KVM_SET_NR_MMU_PAGES %#x", limits[i]);
		for (round = 0; round < 2; round++) {
			guest_do(v, .kind = AGENT_TOUCH_WRITE, .addr = vm->mem->gpa, .size = 4,
				 .arg = SZ_2M, .value = tables, .arg2 = i * 1000 + round);
			EXPECT_EQ(guest_do(v, .kind = AGENT_TOUCH_CHECK, .addr = vm->mem->gpa,
					   .size = 4, .arg = SZ_2M, .value = tables,
					   .arg2 = i * 1000 + round),
				  tables, "limit %#x", limits[i]);
		}
		if (limits[i] > 64)
			EXPECT_EQ(vm_stat(vm, "mmu_recycled"), recycled,
				  "limit %#x: pages recycled", limits[i]);
	}
}

static void widest(struct kvm_cpuid2 *cpuid)
{
	u32 i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0x80000008)
			cpuid->entries[i].eax = (cpuid->entries[i].eax & ~0xffu) | 52;
}

static const char *const maxphyaddr_fixes[] = {"86931ff7207b", NULL};

TEST(beyond_maxphyaddr, .what = "an address beyond the host's MAXPHYADDR maps nothing",
     .modes = MODE(PM_LA48), .fixes = maxphyaddr_fixes)
{
	/*
	 * The guest is told of 52 bits. Its access faults for the reserved bit, as the
	 * processor knows its own width, or is emulated as MMIO; either way nothing
	 * may be left in the tables that the VM's end does not find.
	 */
	u32 bits = cpu_maxphyaddr();
	struct vm *vm;
	struct vcpu *v;
	u64 before;
	int i;

	REQUIRE(bits < 52, "a MAXPHYADDR below 52 bits (here %u)", bits);
	vm = vm_create(t->mode, .cpuid = widest);
	v = vm->vcpu[0];
	v->mmio = answer_mmio;
	vm_map(vm, vm->test_gva, 1ull << bits, SZ_4K, 1, PTE_W);
	vm_map(vm, vm->test_gva + SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_W);
	guest_write(v, vm->test_gva + SZ_4K, 1);
	before = vm_stat(vm, "pages_4k");
	for (i = 0; i < 2; i++) {
		struct agent_result res = __guest_read(v, vm->test_gva);

		if (v->mmio_exits)
			EXPECT_VALUE(res, ~0ull, "MMIO");
		else
			EXPECT(res.status == AGENT_FAULT && res.vector == PF_VECTOR &&
				       (res.error & PFERR_RSVD),
			       "a fault for the reserved bit (status %u, vector %u, error %#lx)",
			       res.status, res.vector, res.error);
	}
	EXPECT_EQ(vm_stat(vm, "pages_4k"), before, "4 KiB mappings");
	slot_delete(vm->mem);
	slot_readd(vm->mem);
	EXPECT_EQ(guest_read(v, vm->test_gva + SZ_4K), 1);
	vm_destroy(vm);
}
