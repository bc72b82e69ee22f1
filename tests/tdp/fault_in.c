// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fault-in: the first access to a page makes the hypervisor map it, with the
 * largest page that guest memory, its memslot and the host's backing allow.
 *
 * A mapping of 2 MiB or 1 GiB is right only when the host backs all of it with
 * one page, when guest and host addresses agree in the bits below that size and
 * when all of it lies in the memslot; the slot's first and last part often do
 * not. The size that the guest's own entry has must not matter. A rule that is
 * too generous gives the guest frames that are not its own, which shows as a
 * wrong number in a frame; a rule that is too strict shows in the counts of
 * mappings by size only. And one fault is to be enough for one mapping: what
 * needs more is slow, what needs none was mapped when nobody asked for it.
 */
#include "tdp.h"

#define SLOT_SIZE (4 * MiB)
#define FRAMES	  (SLOT_SIZE / SZ_4K)

static const char *const backings[] = {"anonymous", "thp",    "hugetlb_2m", "memfd",
				       "memfd_2m",  "shared", NULL};
static const enum mem_backing backing_of[] = {MEM_ANON,	 MEM_THP,      MEM_HUGETLB_2M,
					      MEM_MEMFD, MEM_MEMFD_2M, MEM_SHARED};

static u64 leaves(const struct pages *p, u64 page_size)
{
	return page_size == SZ_2M ? p->p2m : p->p4k;
}

TEST(host_page_size, .what = "a page is mapped in the host's size, with one fault",
     .variants = backings)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = SLOT_SIZE,
				  .backing = backing_of[t->variant_idx]);
	u64 size = vm->mem->mem.page_size, want = SLOT_SIZE / size;
	struct vcpu *v = vm->vcpu[0];
	struct pages before, after;
	u64 fixed, i;

	require_counts();
	guest_do(v, .kind = AGENT_NOP);
	before = pages_now(vm);
	fixed = vcpu_stat(v, "pf_fixed");
	write_frames(v, vm->mem->gpa, FRAMES, 1);
	after = pages_now(vm);
	if (size == SZ_2M && vm->mem->mem.backing == MEM_THP)
		require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	EXPECT_EQ(leaves(&after, size) - leaves(&before, size), want, "mappings of %#lx", size);
	if (size != SZ_4K)
		EXPECT_EQ(after.p4k, before.p4k, "mappings of 4 KiB");
	if (size != SZ_2M)
		EXPECT_EQ(after.p2m, before.p2m, "mappings of 2 MiB");
	EXPECT_EQ(after.p1g, before.p1g, "mappings of 1 GiB");
	EXPECT_EQ(vcpu_stat(v, "pf_fixed") - fixed, want, "faults that made a mapping");
	for (i = 0; i < FRAMES; i++)
		EXPECT_EQ(frame_word(vm->mem->hva, i), 1 + i, "frame %lu as the host sees it", i);

	fixed = vcpu_stat(v, "pf_fixed");
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "second touch");
	EXPECT_EQ(vcpu_stat(v, "pf_fixed"), fixed, "faults of a second touch");
}

static const char *const guest_sizes[] = {"guest_4k", "guest_2m", NULL};

TEST(guest_page_size, .what = "the guest's page size does not limit the host's",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .variants = guest_sizes, .meant_for = MMU_TDP)
{
	struct vm *vm;
	struct pages before, after;

	require_tdp(MMU_TDP);
	vm = vm_create(t->mode, .mem_size = SLOT_SIZE, .backing = MEM_THP);
	vm_map(vm, vm->test_gva, vm->mem->gpa, SLOT_SIZE, t->variant_idx + 1, PTE_W);
	before = pages_now(vm);
	write_frames(vm->vcpu[0], vm->test_gva, FRAMES, 1);
	after = pages_now(vm);
	require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	EXPECT_EQ(after.p2m - before.p2m, SLOT_SIZE / SZ_2M, "mappings of 2 MiB");
	expect_frames(vm->vcpu[0], vm->test_gva, FRAMES, 1, "second touch");
}

/*
 * Adds slot 2 at @gpa showing @size bytes of huge-page memory from @offset, lets
 * the guest touch all of it and checks numbers and sizes.
 */
static void check_slot(struct vm *vm, struct memory *m, gpa_t gpa, u64 offset, u64 size,
		       u64 want_2m, const char *what)
{
	u64 frames = size / SZ_4K, small = frames - want_2m * (SZ_2M / SZ_4K);
	struct memslot *s = slot_add_hva(vm, 2, gpa, size, (u8 *)m->hva + offset, 0);
	struct vcpu *v = vm->vcpu[0];
	struct pages before, after;

	number_frames(s->hva, frames, 1000);
	/* The new slot left nothing mapped of the agent either: all that it will need. */
	guest_do(v, .kind = AGENT_TOUCH_CHECK);
	guest_do(v, .kind = AGENT_TOUCH_WRITE);
	before = pages_now(vm);
	expect_frames(v, gpa, frames, 1000, what);
	write_frames(v, gpa, frames, 5000);
	after = pages_now(vm);
	if (counted()) {
		EXPECT_EQ(after.p2m - before.p2m, want_2m, "%s: mappings of 2 MiB", what);
		EXPECT_EQ(after.p4k - before.p4k, small, "%s: mappings of 4 KiB", what);
	}
	EXPECT_EQ(frame_word(s->hva, 0), 5000, "%s: first frame", what);
	EXPECT_EQ(frame_word(s->hva, frames - 1), 5000 + frames - 1, "%s: last frame", what);
	slot_delete(s);
	s->vm = NULL; /* the number is free again */
}

static const char *const slot_fixes[] = {"ef057cbf825e", "99894a799f09", NULL};

TEST(slot_boundaries, .what = "no huge page leaves its slot or starts out of step with the host",
     .fixes = slot_fixes)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = VM_NO_MEM);
	struct memory m = memory_alloc(8 * MiB, MEM_THP);
	gpa_t gpa = VM_MEM_GPA;

	number_frames(m.hva, m.size / SZ_4K, 1);
	require_thp(&m, 0, m.size);
	check_slot(vm, &m, gpa, 0, 4 * MiB, 2, "aligned");
	check_slot(vm, &m, gpa + SZ_4K, 0, 4 * MiB, 0, "guest ahead of the host by a page");
	check_slot(vm, &m, gpa, SZ_2M - SZ_4K, 4 * MiB, 0, "host ahead of the guest");
	check_slot(vm, &m, gpa + MiB, MiB, 4 * MiB, 1, "one whole huge page between two halves");
	check_slot(vm, &m, gpa, 0, SZ_2M + 64 * KiB, 1, "a tail of 16 pages");
	check_slot(vm, &m, gpa, 0, SZ_2M - SZ_4K, 0, "a page less than a huge page");
	check_slot(vm, &m, gpa + 64 * KiB, 64 * KiB, MiB, 0, "inside one huge page");
	check_slot(vm, &m, gpa + SZ_4K, SZ_4K, 4 * MiB, 1, "a page after the start of a huge page");
}

TEST(slot_neighbours, .what = "a huge page does not spill into the slot beside it",
     .fixes = slot_fixes)
{
	/* Three slots share guest huge pages; each shows other memory, in step with the guest. */
	static const u64 start[] = {0, MiB, 3 * MiB}, end[] = {MiB, 3 * MiB, 4 * MiB};
	struct vm *vm = vm_create(no_paging(), .mem_size = VM_NO_MEM);
	struct memory m[3];
	u64 i, frames;
	u32 base;

	for (i = 0; i < 3; i++) {
		m[i] = memory_alloc(4 * MiB, MEM_THP);
		base = 10000 * (i + 1);
		number_frames(m[i].hva, FRAMES, base);
		slot_add_hva(vm, 2 + i, VM_MEM_GPA + start[i], end[i] - start[i],
			     (u8 *)m[i].hva + start[i], 0);
	}
	for (i = 0; i < 3; i++) {
		frames = (end[i] - start[i]) / SZ_4K;
		base = 10000 * (i + 1) + start[i] / SZ_4K;
		expect_frames(vm->vcpu[0], VM_MEM_GPA + start[i], frames, base, "read");
		write_frames(vm->vcpu[0], VM_MEM_GPA + start[i], frames, base + 100000);
	}
	for (i = 0; i < 3 * FRAMES; i++) {
		u64 slot = i / FRAMES, at = i % FRAMES * SZ_4K;
		bool shown = at >= start[slot] && at < end[slot];

		EXPECT_EQ(frame_word(m[slot].hva, i % FRAMES),
			  10000 * (slot + 1) + i % FRAMES + (shown ? 100000 : 0),
			  "memory %lu, frame %llu, %s a slot", slot, i % FRAMES,
			  shown ? "in" : "outside of");
	}
}

TEST(huge_page_of_holes, .what = "memory that is half huge pages is mapped so")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = SLOT_SIZE, .backing = MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	struct pages before, after;

	require_counts();
	number_frames(vm->mem->hva, FRAMES, 1);
	require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	/* A page given back makes the host split the huge page around it. */
	memory_madvise(&vm->mem->mem, SZ_2M + SZ_4K, SZ_4K, MADV_DONTNEED);
	number_frames((u8 *)vm->mem->hva + SZ_2M + SZ_4K, 1, 1 + 512 + 1);
	guest_do(v, .kind = AGENT_NOP);
	before = pages_now(vm);
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "first touch");
	after = pages_now(vm);
	EXPECT_EQ(after.p2m - before.p2m, 1, "mappings of 2 MiB");
	EXPECT_EQ(after.p4k - before.p4k, SZ_2M / SZ_4K, "mappings of 4 KiB");
}
