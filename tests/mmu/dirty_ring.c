// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a ring per vCPU: an entry for each page at its first write
 * since the last reset, in the order of the writes.
 *
 * A page enters the ring of the vCPU whose fault made it writable or, with Intel's
 * page-modification log, whose write made it dirty. The host takes entries at any
 * time, and a reset protects their pages again, several neighbours at once. A ring
 * that is nearly full makes its vCPU exit before it enters the guest, so that
 * nothing is overwritten. What can go wrong: a page that is not protected by the
 * reset and never reported again, an entry lost when the ring runs over, a
 * protection that another vCPU's TLB does not know.
 */
#include <errno.h>

#include "slots.h"

#define LOG	KVM_MEM_LOG_DIRTY_PAGES
#define ENTRIES 256 /* the smallest ring: a page */

/* The pages in @want, in this order, are what the ring of @v holds; takes them. */
static void expect_ring(struct vcpu *v, u32 slot, const u64 *want, u32 count, const char *when)
{
	struct dirty_entry got[ENTRIES];
	u32 n = dirty_ring_collect(v, got, ENTRIES), i;

	EXPECT_EQ(n, count, "%s: entries", when);
	for (i = 0; i < n && i < count; i++) {
		EXPECT_EQ(got[i].slot, slot, "%s: entry %u", when, i);
		EXPECT_EQ(got[i].page, want[i], "%s: entry %u", when, i);
	}
}

static void write_pages(struct vcpu *v, const struct memslot *s, const u64 *page, u32 count)
{
	u32 i;

	op_clear(v);
	for (i = 0; i < count; i++)
		op_add(v, .kind = AGENT_WRITE, .size = 4, .value = i,
		       .addr = window(v->vm, s->gpa + page[i] * SZ_4K));
	vcpu_exec(v);
	for (i = 0; i < count; i++)
		if (op_result(v, i).status != AGENT_OK)
			EXPECT_OK(op_result(v, i));
}

struct drain {
	struct dirty_bitmap got;
	u32 slot, full_exits, most, doubles;
};

/* Takes all entries of @v into @d. */
static u32 drain(struct vcpu *v, struct drain *d)
{
	struct dirty_entry e[ENTRIES];
	u32 n = dirty_ring_collect(v, e, ENTRIES), i;

	for (i = 0; i < n; i++) {
		EXPECT_EQ(e[i].slot, d->slot);
		if (dirty_test(&d->got, e[i].page))
			d->doubles++;
		if (e[i].page < d->got.pages)
			d->got.bits[e[i].page / 64] |= 1ull << (e[i].page % 64);
	}
	return n;
}

static bool on_full(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct drain *d = arg;
	u32 n;

	if (run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
		return false;
	d->full_exits++;
	n = drain(v, d);
	if (n > d->most)
		d->most = n;
	EXPECT_EQ(vm_dirty_ring_reset(v->vm), n);
	return true;
}

TEST(exact, .what = "entries are the pages written, in order, once until the reset",
     .modes = MODE(PM_LA48) | MODE(PM_32), .variants = (const char *const[]){"4k", "thp", NULL})
{
	/*
	 * Neighbours in both directions, across a multiple of 64 and of 512, far apart; and one
	 * that lies within 64 pages of the first of those before it and not of the last.
	 */
	static const u64 page[] = {5,	6,   7,	  63,  64,  12,	 11,  10,   9,
				   300, 700, 760, 650, 511, 512, 513, 1023, 0};
	static const u64 some[] = {6, 513, 9};
	const u32 n = ARRAY_LEN(page);
	/* Asked first: the probe forks, and a fork has every page of the guest mapped anew. */
	const bool partial = kvm_is_partial();
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M, .dirty_ring_entries = ENTRIES,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	struct vcpu *v = vm->vcpu[0];
	struct drain d = {.got = dirty_bitmap_alloc(s), .slot = s->id};
	struct dirty_bitmap b = dirty_bitmap_alloc(s);
	int round;

	number_frames(s->hva, s->size, 1);
	window_map(vm, s->gpa, s->size, t->variant_idx ? 2 : 1);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = window(vm, s->gpa), .arg = SZ_4K,
		 .value = 1024);
	slot_set_flags(s, LOG);
	expect_ring(v, s->id, NULL, 0, "logging began");
	/*
	 * A read may enter a page that it is the first to map, and the first write
	 * to a huge page takes its mapping apart: map everything in small pages.
	 */
	v->other_exit = on_full;
	v->arg = &d;
	write4(v, window(vm, s->gpa), 0);
	write4(v, window(vm, s->gpa + SZ_2M), 0);
	guest_do(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = window(vm, s->gpa), .arg = SZ_4K,
		 .value = 1024);
	drain(v, &d);
	vm_dirty_ring_reset(vm);
	v->other_exit = NULL;
	EXPECT_EQ(__dirty_get(s, &b), -ENXIO, "a bitmap beside the ring");
	for (round = 0; round < 3; round++) {
		write_pages(v, s, page, n);
		expect_ring(v, s->id, page, n, "written");
		write_pages(v, s, page, n);
		if (partial) /* emulates these stores, and each is an entry */
			dirty_ring_collect(v, (struct dirty_entry[ENTRIES]){}, ENTRIES);
		else
			expect_ring(v, s->id, NULL, 0, "taken, not reset, written again");
		EXPECT_EQ(vm_dirty_ring_reset(vm), partial ? 2 * n : n, "pages reset");
	}
	write_pages(v, s, some, ARRAY_LEN(some));
	expect_ring(v, s->id, some, ARRAY_LEN(some), "some of them");
	number_frames(s->hva, s->size, 1);
	guest_do(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = window(vm, s->gpa), .arg = SZ_4K,
		 .value = 1024);
	expect_ring(v, s->id, NULL, 0, "read by the guest, written by the host");
}

TEST(full, .what = "a ring that fills makes the vCPU exit, and nothing is lost")
{
	struct vm *vm;
	struct memslot *s;
	struct drain d = {0};
	struct vcpu *v;

	/* It may not come back from KVM_RUN once the ring was full. */
	REQUIRE(!kvm_is_partial(), "a KVM that is not partial");
	vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M, .mem_flags = LOG,
		       .dirty_ring_entries = ENTRIES);
	s = vm->mem;
	d.got = dirty_bitmap_alloc(s);
	d.slot = s->id;
	v = vm->vcpu[0];
	window_map(vm, s->gpa, s->size, 1);
	v->other_exit = on_full;
	v->arg = &d;
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = window(vm, s->gpa), .arg = SZ_4K,
		 .value = 1000, .arg2 = 1);
	drain(v, &d);
	EXPECT_GE(d.full_exits, 1000 / ENTRIES);
	EXPECT_LE(d.most, ENTRIES);
	/* A page may be entered just before the exit, and again when the store is made after it. */
	EXPECT_LE(d.doubles, d.full_exits);
	EXPECT_EQ(dirty_count(&d.got), 1000, "pages reported of those written");
	EXPECT(!dirty_test(&d.got, 1000) && dirty_test(&d.got, 999));
	expect_frames(v, s->gpa, 1000 * SZ_4K, 1, "contents");
}

TEST(two_vcpus, .what = "each vCPU has its ring")
{
	static const u64 first[] = {1, 2, 40, 8}, second[] = {100, 3};
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = SZ_2M,
				  .mem_flags = LOG, .dirty_ring_entries = ENTRIES);
	struct memslot *s = vm->mem;
	int round;

	window_map(vm, s->gpa, s->size, 1);
	for (round = 0; round < 2; round++) {
		write_pages(vm->vcpu[0], s, first, 4);
		write_pages(vm->vcpu[1], s, second, 2);
		expect_ring(vm->vcpu[1], s->id, second, 2, "the second vCPU");
		expect_ring(vm->vcpu[0], s->id, first, 4, "the first vCPU");
		EXPECT_EQ(vm_dirty_ring_reset(vm), 6);
	}
}

#define COUNTER 8 /* page of the word that both vCPUs count up; the next two are one's own */

/* Waits until the guest has written all three words once more. */
static void wait_for_writes(const struct memslot *s)
{
	u32 seen[3], i;

	for (i = 0; i < 3; i++)
		seen[i] = *frame_word(s->hva, (COUNTER + i) * SZ_4K);
	for (i = 0; i < 3; i++)
		WAIT_UNTIL(*frame_word(s->hva, (COUNTER + i) * SZ_4K) != seen[i], "counter %u", i);
}

/* Tries again until the host has taken entries. */
static bool retry_full(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	return run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
}

TEST(running, .what = "pages that running vCPUs go on writing come up after each reset")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = SZ_2M,
				  .mem_flags = LOG, .dirty_ring_entries = ENTRIES);
	struct memslot *s = vm->mem;
	struct drain d = {.got = dirty_bitmap_alloc(s), .slot = s->id};
	const gva_t gva = window(vm, s->gpa);
	u32 i, round;

	window_map(vm, s->gpa, s->size, 1);
	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];

		v->other_exit = retry_full;
		op_clear(v);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = gva + COUNTER * SZ_4K, .value = 1);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = gva + (COUNTER + 1 + i) * SZ_4K,
		       .value = 1);
		op_add(v, .kind = AGENT_LOOP, .arg = 2, .value = 1u << 30, .addr = gva);
		vcpu_start(v);
	}
	for (round = 0; round < 10; round++) {
		wait_for_writes(s);
		memset(d.got.bits, 0, d.got.pages / 8);
		/* What the processor logs itself is in the ring when the vCPU next leaves the guest. */
		WAIT_UNTIL(drain(vm->vcpu[0], &d) + drain(vm->vcpu[1], &d) == 0 &&
				   dirty_count(&d.got) >= 3,
			   "round %u: entries", round);
		vm_dirty_ring_reset(vm);
		EXPECT_EQ(d.got.bits[0], 7ull << COUNTER, "pages written since the reset");
		EXPECT_EQ(dirty_count(&d.got), 3);
	}
	*frame_word(s->hva, 0) = 1;
	for (i = 0; i < 2; i++)
		vcpu_join(vm->vcpu[i]);
}
