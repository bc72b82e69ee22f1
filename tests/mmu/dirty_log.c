// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a bitmap: exactly the pages that the guest wrote since the
 * last look, no page lost.
 *
 * A page is protected when its bit is fetched (or cleared) and marked when the
 * next write faults. A bit is lost when a translation stays or becomes writable
 * without a fault: one that existed when logging began, one in another vCPU's
 * TLB, a huge page that covers 512 pages with one fault, a page written by the
 * hypervisor on the guest's behalf. A lost one shows as what a migration would
 * get wrong: the page's content changed and the log does not say so.
 *
 * A bit too many costs a migration time. KVM allows itself one kind: a page that
 * a read maps while the slot is logged is mapped writable and marked at once. So
 * a page that was read for the first time may be marked; one that was mapped
 * already, or not touched, may not.
 */
#include <errno.h>
#include <sys/mman.h>

#include "slots.h"

#define LOG KVM_MEM_LOG_DIRTY_PAGES

static void mark(struct dirty_bitmap *b, u64 page)
{
	b->bits[page / 64] |= 1ull << (page % 64);
}

/* @got has every bit of @want, and no other one except some of @may. */
static void expect_between(const struct dirty_bitmap *got, const struct dirty_bitmap *want,
			   const struct dirty_bitmap *may, const char *when)
{
	u64 i, missing = 0, extra = 0, first = ~0ull;

	for (i = 0; i < want->pages; i++) {
		bool wrong = dirty_test(want, i) ? !dirty_test(got, i)
						 : dirty_test(got, i) && !dirty_test(may, i);

		if (!wrong)
			continue;
		if (first == ~0ull)
			first = i;
		if (dirty_test(want, i))
			missing++;
		else
			extra++;
	}
	EXPECT(!missing && !extra, "%s: %lu pages missing, %lu too many, the first is page %lu",
	       when, missing, extra, first);
}

static void expect_same(const struct dirty_bitmap *got, const struct dirty_bitmap *want,
			const char *when)
{
	expect_between(got, want, want, when);
}

/* The slot's log, which fetching clears, holds exactly @want. */
static void expect_log(const struct memslot *s, const struct dirty_bitmap *want, const char *when)
{
	struct dirty_bitmap got = dirty_bitmap_alloc(s);

	dirty_get(s, &got);
	expect_same(&got, want, when);
	dirty_bitmap_free(&got);
}

/* Fetches the log without looking at it. */
static void forget_log(const struct memslot *s)
{
	struct dirty_bitmap got = dirty_bitmap_alloc(s);

	dirty_get(s, &got);
	dirty_bitmap_free(&got);
}

static void expect_clean(const struct memslot *s, const char *when)
{
	struct dirty_bitmap none = dirty_bitmap_alloc(s);

	expect_log(s, &none, when);
	dirty_bitmap_free(&none);
}

/*
 * The guest writes some pages and reads others; the log has the former. With
 * @fresh, when they are not all mapped yet, it may have the latter.
 */
static void check_round(struct test *t, const struct memslot *s, bool fresh, const char *when)
{
	const u64 edge[] = {0, 63, 64, s->size / SZ_4K - 1, s->size / SZ_4K / 2};
	struct dirty_bitmap set = dirty_bitmap_alloc(s), got = dirty_bitmap_alloc(s),
			    read = dirty_bitmap_alloc(s);
	struct vcpu *v = s->vm->vcpu[0];
	u32 i;

	op_clear(v);
	for (i = 0; i < 40; i++) {
		u64 page = test_rand(t) % set.pages, other = test_rand(t) % set.pages;

		if (i < ARRAY_LEN(edge) && (test_rand(t) & 1))
			page = edge[i];
		mark(&set, page);
		mark(&read, other);
		op_add(v, .kind = AGENT_READ, .size = 4,
		       .addr = window(s->vm, s->gpa + other * SZ_4K));
		op_add(v, .kind = AGENT_WRITE, .size = 4, .value = i,
		       .addr = window(s->vm, s->gpa + page * SZ_4K + 8));
	}
	vcpu_exec(v);
	for (i = 0; i < 80; i++)
		if (op_result(v, i).status != AGENT_OK)
			EXPECT_OK(op_result(v, i));
	dirty_get(s, &got);
	expect_between(&got, &set, fresh ? &read : &set, when);
	expect_clean(s, "fetched again");
	dirty_bitmap_free(&set);
	dirty_bitmap_free(&got);
	dirty_bitmap_free(&read);
}

static const char *const sizes[] = {"small", "large", "huge", NULL};

TEST(exact, .what = "the log names the pages that were written: small, large and huge pages",
     .modes = MODE(PM_LA48) | MODE(PM_32), .variants = sizes)
{
	const int level = t->variant_idx ? 2 : 1;
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M,
				  .backing = t->variant_idx == 2 ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	struct vcpu *v = vm->vcpu[0];
	const gva_t gva = window(vm, s->gpa);

	window_map(vm, s->gpa, SZ_4M, level);
	/* Half of it is mapped, and written, when logging begins. */
	number_frames(s->hva, SZ_4M, 1);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K, .value = 512);
	slot_set_flags(s, LOG);
	expect_clean(s, "logging began");
	check_round(t, s, true, "first writes");
	guest_do(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = gva, .arg = SZ_4K, .value = 1024);
	forget_log(s);
	check_round(t, s, false, "all pages are mapped");
	check_round(t, s, false, "written, fetched and written");

	number_frames(s->hva, SZ_4M, 0x100);
	expect_clean(s, "written by the host");
	expect_frames(v, s->gpa, SZ_4M, 0x100, "reads");
	expect_clean(s, "read by the guest");

	/* Off and on again: what was written in between is not known, and nothing is forgotten. */
	write4(v, gva, 1);
	slot_set_flags(s, 0);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K, .value = 1024);
	slot_set_flags(s, LOG);
	expect_clean(s, "logging began again");
	check_round(t, s, true, "the second time");
}

TEST(crossing, .what = "a write across two pages marks both")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M, .mem_flags = LOG);
	struct dirty_bitmap want = dirty_bitmap_alloc(vm->mem);

	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	write4(vm->vcpu[0], window(vm, vm->mem->gpa) + 4 * SZ_4K - 2, ~0u);
	mark(&want, 3);
	mark(&want, 4);
	expect_log(vm->mem, &want, "a write to pages 3 and 4");
}

TEST(faulting, .what = "writes that fault mark no page that must not be written")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M, .mem_flags = LOG);
	const gva_t gva = window(vm, vm->mem->gpa), last = gva + 2 * SZ_4K - 4;
	struct dirty_bitmap got = dirty_bitmap_alloc(vm->mem);
	struct vcpu *v = vm->vcpu[0];

	REQUIRE(!kvm_is_partial(), "a whole KVM (partial ones store the half that does not fault)");
	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, 0);
	vm_map(vm, gva + SZ_4K, vm->mem->gpa + SZ_4K, SZ_4K, 1, PTE_W);
	vm_map(vm, gva + 2 * SZ_4K, vm->mem->gpa + 2 * SZ_4K, SZ_4K, 1, 0);
	EXPECT_PF(__guest_write(v, gva, 1), PFERR_P | PFERR_W, gva);
	/* Half of this one may be written, though it is not: page 1 may be marked. */
	EXPECT_PF(__guest_write(v, last, ~0ull), PFERR_P | PFERR_W, gva + 2 * SZ_4K);
	EXPECT_EQ(read4(v, last), 0, "half of a write that faulted");
	dirty_get(vm->mem, &got);
	EXPECT_EQ(got.bits[0] & ~2ull, 0, "pages marked");
}

TEST(two_slots, .what = "two slots have logs of their own")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M, .mem_flags = LOG);
	struct memslot *b = slot_add(vm, 2, vm->mem->gpa + SZ_2M, SZ_2M, MEM_ANON, LOG);
	struct memslot *c = slot_add(vm, 3, b->gpa + SZ_2M, SZ_2M, MEM_ANON, 0);
	struct dirty_bitmap want = dirty_bitmap_alloc(b), none = dirty_bitmap_alloc(b);
	struct vcpu *v = vm->vcpu[0];
	int i;

	window_map(vm, vm->mem->gpa, 3 * SZ_2M, 1);
	for (i = 0; i < 2; i++) {
		write4(v, window(vm, b->gpa), 1);
		write4(v, window(vm, c->gpa), 1);
		write4(v, window(vm, b->gpa - SZ_4K), 1);
		none.bits[7] = 1ull << 63;
		want.bits[0] = 1;
		expect_log(vm->mem, &none, "the lower slot");
		expect_log(b, &want, "the upper slot");
	}
	EXPECT_EQ(__dirty_get(c, &want), -ENOENT, "the log of a slot that is not logged");
}

TEST(clear, .what = "with manual protection fetching keeps, clearing clears what it is told",
     .variants = (const char *const[]){"4k", "thp", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = VM_NO_MEM);
	/* Not a multiple of 64 pages; the last huge page is cut short. */
	struct memory m = memory_alloc(SZ_4M, t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = slot_add_hva(vm, 2, SLOT2_GPA, SZ_4M - 59 * SZ_4K, m.hva, 0);
	struct dirty_bitmap got = dirty_bitmap_alloc(s), want = dirty_bitmap_alloc(s);
	const u64 last = got.pages - 1, tail = last & ~63ull;
	const gva_t gva = window(vm, SLOT2_GPA);
	struct vcpu *v = vm->vcpu[0];
	u64 i;

	vm_manual_dirty_protect(vm, false);
	number_frames(m.hva, SZ_4M, 1);
	window_map(vm, SLOT2_GPA, SZ_4M, 2);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K,
		 .value = last + 1);
	slot_set_flags(s, LOG);
	expect_clean(s, "logging began");

	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K,
		 .value = last + 1);
	for (i = 0; i <= last; i++)
		mark(&want, i);
	expect_log(s, &want, "every page was written");
	expect_log(s, &want, "fetched, not cleared");

	EXPECT_EQ(__dirty_clear(s, &want, 1, 64), -EINVAL, "not at a multiple of 64 pages");
	EXPECT_EQ(__dirty_clear(s, &want, 0, 63), -EINVAL, "not a multiple of 64 pages");
	EXPECT_EQ(__dirty_clear(s, &want, 0, last + 2), -EINVAL, "beyond the slot");
	expect_log(s, &want, "no clearing that was refused");

	/* One group in full, a single bit of another, the cut group at the end. */
	memset(got.bits, 0, (got.pages + 63) / 64 * 8);
	got.bits[1] = ~0ull;
	got.bits[9] = 1ull << 40;
	got.bits[tail / 64] = ~0ull >> (63 - last % 64);
	dirty_clear(s, &got, 64, 64);
	dirty_clear(s, &got, 9 * 64, 128);
	dirty_clear(s, &got, tail, last + 1 - tail);
	want.bits[1] = 0;
	want.bits[9] &= ~(1ull << 40);
	want.bits[tail / 64] = 0;
	expect_log(s, &want, "some were cleared");

	write4(v, gva + 64 * SZ_4K, 7);
	write4(v, gva + 127 * SZ_4K, 7);
	write4(v, gva + (9 * 64 + 40) * SZ_4K, 7);
	write4(v, gva + last * SZ_4K, 7);
	mark(&want, 64);
	mark(&want, 127);
	mark(&want, 9 * 64 + 40);
	mark(&want, last);
	expect_log(s, &want, "some of these were written again");
}

TEST(initially_set, .what = "logs may start full; cleared pages are then logged",
     .variants = (const char *const[]){"4k", "thp", NULL},
     .fixes = (const char *const[]){"7cd1bf039eeb", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	struct dirty_bitmap want = dirty_bitmap_alloc(s), clear = dirty_bitmap_alloc(s);
	const u64 last = want.pages - 1;
	const gva_t gva = window(vm, s->gpa);
	struct vcpu *v = vm->vcpu[0];
	u64 i;

	vm_manual_dirty_protect(vm, true);
	number_frames(s->hva, s->size, 1);
	window_map(vm, s->gpa, s->size, 2);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K,
		 .value = last + 1);
	slot_set_flags(s, LOG);
	for (i = 0; i <= last; i++)
		mark(&want, i);
	expect_log(s, &want, "logging began");
	/* The last pages of the last huge page, and a few in the middle of the first. */
	clear.bits[last / 64] = 7ull << 61;
	clear.bits[3] = 0xf0;
	dirty_clear(s, &clear, last & ~63ull, 64);
	dirty_clear(s, &clear, 3 * 64, 64);
	want.bits[last / 64] &= ~(7ull << 61);
	want.bits[3] &= ~0xf0ull;
	guest_do(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = gva, .arg = SZ_4K,
		 .value = last + 1);
	expect_log(s, &want, "some were cleared, all were read");
	write4(v, gva + last * SZ_4K, 9);
	write4(v, gva + (3 * 64 + 5) * SZ_4K, 9);
	mark(&want, last);
	mark(&want, 3 * 64 + 5);
	expect_log(s, &want, "two of these were written");
}

TEST(tables, .what = "what is written to page tables, by the guest or for it, is logged",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, 4 * SZ_4K, MEM_ANON, LOG);
	const u64 pte = pte_make_leaf(t->mode, vm->mem->gpa, 1, PTE_W);
	struct dirty_bitmap want = dirty_bitmap_alloc(s);
	const u32 size = t->mode->pte_size;
	const gva_t gva = vm->test_gva;
	struct vcpu *v = vm->vcpu[0];
	u64 now = 0;

	mark(&want, 2);
	memcpy((u8 *)s->hva + 2 * SZ_4K, &pte, size);
	aspace_link(&vm->as, gva, 2, SLOT2_GPA + 2 * SZ_4K);
	vm_map(vm, SLOT2_GPA, SLOT2_GPA, s->size, 1, PTE_W);

	read4(v, gva);
	expect_log(s, &want, "A was set");
	guest_invlpg(v, gva);
	read4(v, gva);
	/* With nested paging the processor asks to write to each table that it walks. */
	if (mmu_kind() & MMU_TDP)
		forget_log(s);
	else
		expect_clean(s, "A was set already");
	write4(v, gva, 1);
	expect_log(s, &want, "D was set");
	guest_set_pte(v, &vm->as, gva, 1, pte | PTE_SW0);
	expect_log(s, &want, "the guest stored an entry");
	guest_invlpg(v, gva);
	read4(v, gva);
	expect_log(s, &want, "A was set again");
	guest_op(v, .kind = AGENT_CMPXCHG, .size = size == 8 && !t->mode->long_mode ? 4 : size,
		 .addr = SLOT2_GPA + 2 * SZ_4K, .value = ~0ull, .arg = 0);
	memcpy(&now, (u8 *)s->hva + 2 * SZ_4K, size);
	EXPECT_EQ(now, pte | PTE_SW0 | PTE_A, "after an exchange that compared unequal");
	guest_do(v, .kind = AGENT_SET_PTE, .size = size, .addr = SLOT2_GPA + 2 * SZ_4K,
		 .value = pte);
	expect_log(s, &want, "another store");
	EXPECT_EQ(guest_do(v, .kind = AGENT_CMPXCHG, .size = 4, .addr = SLOT2_GPA + 2 * SZ_4K,
			   .value = (u32)pte, .arg = (u32)(pte | PTE_SW1)),
		  (u32)pte);
	expect_log(s, &want, "a locked exchange");
}

/* An upper table is never out of step, so that each store to it is emulated under shadow paging. */
TEST(upper_table, .what = "stores of each kind to a table of the second level are logged",
     .modes = MODE(PM_LA48) | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_2M);
	struct memslot *s = slot_add(vm, 2, SLOT2_GPA, 4 * SZ_4K, MEM_ANON, LOG);
	struct dirty_bitmap want = dirty_bitmap_alloc(s);
	const gva_t gva = vm->test_gva;
	struct vcpu *v = vm->vcpu[0];
	gpa_t at;
	u32 old;

	mark(&want, 1);
	aspace_link(&vm->as, gva, 3, SLOT2_GPA + SZ_4K);
	vm_map(vm, gva, vm->mem->gpa, SZ_2M, 1, PTE_W);
	vm_map(vm, SLOT2_GPA, SLOT2_GPA, s->size, 1, PTE_W);
	guest_load_cr3(v, &vm->as);
	read4(v, gva);
	at = aspace_pte_gpa(&vm->as, gva, 2);
	forget_log(s);
	old = *frame_word(s->hva, at - SLOT2_GPA);
	EXPECT_EQ(guest_do(v, .kind = AGENT_CMPXCHG, .size = 4, .addr = at, .value = old,
			   .arg = old | PTE_SW0),
		  old);
	expect_log(s, &want, "a locked exchange");
	guest_do(v, .kind = AGENT_OR, .size = 4, .addr = at, .value = PTE_SW1);
	expect_log(s, &want, "a locked or");
	write4(v, at, old | PTE_SW2);
	expect_log(s, &want, "a store");
	EXPECT_EQ(*frame_word(s->hva, at - SLOT2_GPA) & ~PTE_A, (old | PTE_SW2) & ~PTE_A);
	guest_invlpg(v, gva);
	read4(v, gva);
}

TEST(zapped, .what = "pages that the host took away between write and fetch",
     .fixes = (const char *const[]){"3354ef5a592d", NULL},
     .variants = (const char *const[]){"4k", "thp", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	struct dirty_bitmap want = dirty_bitmap_alloc(s);
	const gva_t gva = window(vm, s->gpa);
	struct vcpu *v = vm->vcpu[0];
	u64 i;

	vm_manual_dirty_protect(vm, false);
	window_map(vm, s->gpa, s->size, 2);
	slot_set_flags(s, LOG);
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K, .value = 128);
	for (i = 0; i < 128; i++)
		mark(&want, i);
	memory_madvise(&s->mem, 0, 64 * SZ_4K, MADV_DONTNEED);
	dirty_clear(s, &want, 0, 128);
	memset(want.bits, 0, want.pages / 8);
	expect_log(s, &want, "cleared while not mapped");
	EXPECT_EQ(read4(v, gva + 5 * SZ_4K), 0);
	expect_log(s, &want, "read");
	write4(v, gva + 5 * SZ_4K, 3);
	write4(v, gva + 100 * SZ_4K, 3);
	mark(&want, 5);
	mark(&want, 100);
	expect_log(s, &want, "written");
	EXPECT_EQ(*frame_word(s->hva, 5 * SZ_4K), 3);
}

TEST(upgrade, .what = "a read-only translation that turns writable under logging is logged",
     .variants = sizes, .fixes = (const char *const[]){"404381c5839d", NULL})
{
	const int level = t->variant_idx ? 2 : 1;
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M,
				  .backing = t->variant_idx == 2 ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	struct dirty_bitmap want = dirty_bitmap_alloc(s);
	const gva_t gva = window(vm, s->gpa);
	struct vcpu *v = vm->vcpu[0];

	number_frames(s->hva, s->size, 1);
	vm_map(vm, gva, s->gpa, s->size, level, 0);
	expect_frames(v, s->gpa, s->size, 1, "mapped read-only");
	slot_set_flags(s, LOG);
	expect_frames(v, s->gpa, s->size, 1, "logging began");
	guest_set_pte(v, &vm->as, gva, level, pte_make_leaf(vm->mode, s->gpa, level, PTE_W));
	guest_invlpg(v, gva);
	write4(v, gva + 8, 1);
	mark(&want, 0);
	if (level == 2) {
		write4(v, gva + 200 * SZ_4K + 8, 1);
		mark(&want, 200);
	}
	expect_log(s, &want, "written");
	expect_frames(v, s->gpa, s->size, 1, "contents");
}

#define COUNTERS 3 /* words that the guest counts up: page 8 by both vCPUs, 9 and 10 by one each */

/* Starts both vCPUs adding to their words in an endless loop; page 0 holds the stop word. */
static void start_counting(struct vm *vm)
{
	const gva_t gva = window(vm, vm->mem->gpa);
	u32 i;

	*frame_word(vm->mem->hva, 0) = 0;
	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];

		op_clear(v);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = gva + 8 * SZ_4K, .value = 1);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = gva + (9 + i) * SZ_4K, .value = 1);
		op_add(v, .kind = AGENT_LOOP, .arg = 2, .value = 1u << 30, .addr = gva);
		vcpu_start(v);
	}
}

static void stop_counting(struct vm *vm)
{
	*frame_word(vm->mem->hva, 0) = 1;
	vcpu_join(vm->vcpu[0]);
	vcpu_join(vm->vcpu[1]);
}

/* Notes the counters, then waits until each has moved: a write after the last fetch. */
static void wait_for_writes(struct vm *vm)
{
	u32 seen[COUNTERS], i;

	for (i = 0; i < COUNTERS; i++)
		seen[i] = *frame_word(vm->mem->hva, (8 + i) * SZ_4K);
	for (i = 0; i < COUNTERS; i++)
		WAIT_UNTIL(*frame_word(vm->mem->hva, (8 + i) * SZ_4K) != seen[i], "counter %u", i);
}

/*
 * In each round a page changes after one fetch and before the next, so the next
 * must name it: whatever the vCPUs had in their TLBs.
 */
TEST(running, .what = "pages that running vCPUs go on writing are in each log",
     .variants = (const char *const[]){"get", "clear", NULL},
     .fixes = (const char *const[]){"edde99ce0529", "6dbf79e7164e", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = SZ_2M);
	struct dirty_bitmap got = dirty_bitmap_alloc(vm->mem), want = dirty_bitmap_alloc(vm->mem);
	bool manual = t->variant_idx == 1;
	u32 round, last[COUNTERS], i;

	if (manual)
		vm_manual_dirty_protect(vm, false);
	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	for (i = 0; i < COUNTERS; i++)
		mark(&want, 8 + i);
	start_counting(vm);
	wait_for_writes(vm);
	slot_set_flags(vm->mem, LOG); /* below the running vCPUs */
	for (round = 0; round < 10; round++) {
		wait_for_writes(vm);
		memset(got.bits, 0, got.pages / 8);
		dirty_get(vm->mem, &got);
		if (manual)
			dirty_clear(vm->mem, &got, 0, got.pages);
		expect_same(&got, &want, "written since the last fetch");
	}
	for (i = 0; i < COUNTERS; i++)
		last[i] = *frame_word(vm->mem->hva, (8 + i) * SZ_4K);
	stop_counting(vm);
	dirty_get(vm->mem, &got);
	for (i = 0; i < COUNTERS; i++)
		if (*frame_word(vm->mem->hva, (8 + i) * SZ_4K) != last[i])
			EXPECT(dirty_test(&got, 8 + i), "page %u changed at the end", 8 + i);
}

/*
 * One vCPU, so that nothing else takes its processor away: each exit would
 * refresh its TLB and hide a flush that was forgotten.
 */
TEST(running_alone, .what = "when a fetch returns the vCPU's TLB knows of the protection",
     .timeout = 60)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct dirty_bitmap got = dirty_bitmap_alloc(vm->mem);
	volatile u32 *word = frame_word(vm->mem->hva, 8 * SZ_4K);
	const gva_t gva = window(vm, vm->mem->gpa);
	struct vcpu *v = vm->vcpu[0];
	u32 round, before, spins;

	window_map(vm, vm->mem->gpa, SZ_2M, 1);
	op_clear(v);
	/* 0, 1, 2 … 4999 in the same word: a tight loop, which writes soon after each fetch. */
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva + 8 * SZ_4K, .value = 5000);
	op_add(v, .kind = AGENT_LOOP, .arg = 1, .value = 1u << 30, .addr = gva);
	vcpu_start(v);
	for (round = 0; round < 60; round++) {
		/* The page is writable for the guest, and then no longer. */
		before = *word;
		WAIT_UNTIL(*word != before, "the guest writes, round %u", round);
		if (round % 10) {
			dirty_get(vm->mem, &got);
		} else {
			slot_set_flags(vm->mem, 0);
			before = *word;
			WAIT_UNTIL(*word != before, "the guest writes, not logged");
			slot_set_flags(vm->mem, LOG);
		}
		before = *word;
		for (spins = 0; *word == before && spins < 100000; spins++)
			;
		WAIT_UNTIL(*word != before, "the guest writes again, round %u", round);
		dirty_get(vm->mem, &got);
		EXPECT(dirty_test(&got, 8), "round %u: written after the last fetch", round);
	}
	*frame_word(vm->mem->hva, 0) = 1;
	vcpu_join(v);
}

/* A slot that begins within a huge page: 64 bits of its log may span two. */
TEST(clear_across, .what = "bits that are cleared across two huge pages protect both")
{
	const u64 skip = 32 * SZ_4K, cut = 512 - 32; /* page of the slot where the second begins */
	struct vm *vm = vm_create(paging_mode(PM_NONE), .mem_size = VM_NO_MEM);
	struct memory m = memory_alloc(3 * SZ_2M, MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	struct dirty_bitmap b;
	struct memslot *s;
	u64 i;

	vm_manual_dirty_protect(vm, true);
	s = slot_add_hva(vm, 2, SLOT2_GPA + skip, 2 * SZ_2M, (u8 *)m.hva + skip, 0);
	b = dirty_bitmap_alloc(s);
	memset(m.hva, 0, m.size);
	for (i = 0; i < b.pages; i++)
		write4(v, s->gpa + i * SZ_4K, 1);
	slot_set_flags(s, LOG);
	memset(b.bits, 0, b.pages / 8);
	for (i = cut - 4; i < cut + 4; i++)
		mark(&b, i);
	dirty_clear(s, &b, cut & ~63ull, 64);
	for (i = cut - 4; i < cut + 4; i++)
		write4(v, s->gpa + i * SZ_4K, 2);
	dirty_get(s, &b);
	for (i = cut - 4; i < cut + 4; i++)
		EXPECT(dirty_test(&b, i), "page %lu was written after its bit was cleared", i);
}
