// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages and the dirty log: a log has a bit per 4 KiB page, so while it is
 * kept no huge page may be writable. Those that exist are split, at once when
 * the log is switched on (or, with KVM_DIRTY_LOG_INITIALLY_SET, when a range of
 * it is cleared) or else at the first write; the TDP MMU alone can do it ahead,
 * when module parameter eager_page_split says so. When the log is switched off,
 * mappings that a huge page could serve are dropped, and the next access makes
 * the huge page again.
 *
 * What can go wrong: a split that computes the frame of a small page wrongly
 * (content), a huge page left or made writable under the log (of all the pages
 * that are written below it at most one is logged), a split that is forgotten
 * or never undone (slow, seen in the counts only).
 */
#include <stdlib.h>

#include "tdp.h"

#define SLOT_SIZE (4 * MiB)
#define FRAMES	  (SLOT_SIZE / SZ_4K)
#define PER_HUGE  (SZ_2M / SZ_4K)
#define HUGE	  (SLOT_SIZE / SZ_2M)
#define LOG	  KVM_MEM_LOG_DIRTY_PAGES

static void manual(struct vm *vm)
{
	vm_manual_dirty_protect(vm, false);
}

static void manual_initially_set(struct vm *vm)
{
	vm_manual_dirty_protect(vm, true);
}

/* A VM whose slot 1 is mapped by huge pages and holds @base + index in each frame. */
static struct vm *huge_vm(void (*early)(struct vm *vm), u32 base)
{
	struct vm *vm =
		vm_create(no_paging(), .mem_size = SLOT_SIZE, .backing = MEM_THP, .early = early);
	struct pages before;

	guest_do(vm->vcpu[0], .kind = AGENT_NOP);
	before = pages_now(vm);
	write_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, base);
	require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	if (counted())
		ASSERT_EQ(pages_now(vm).p2m - before.p2m, HUGE, "huge pages to begin with");
	return vm;
}

/* The log holds exactly the pages of @want, which are @n. */
static void expect_log(struct memslot *s, const u64 *want, u64 n, const char *when)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(s);
	u64 i;

	dirty_get(s, &b);
	EXPECT_EQ(dirty_count(&b), n, "%s: pages in the log", when);
	for (i = 0; i < n; i++)
		EXPECT(dirty_test(&b, want[i]), "%s: page %lu is in the log", when, want[i]);
	dirty_bitmap_free(&b);
}

static bool eager(void)
{
	return mmu_kind() == MMU_TDP_MMU && engine_param_bool("eager_page_split", false);
}

/*
 * Switches the log on over huge pages, writes some pages of each, switches it
 * off; log, content and, if @split_now says which way, the counts.
 */
static void check_log_over_huge(bool split_now)
{
	/* First, last, and two of one group of 64 in the first huge page; one in the second. */
	static const u64 pages[] = {0, 130, 131, PER_HUGE - 1, PER_HUGE + 77};
	struct vm *vm = huge_vm(NULL, 1);
	struct vcpu *v = vm->vcpu[0];
	struct pages huge = pages_now(vm), now;
	u64 i, fixed;

	slot_set_flags(vm->mem, LOG);
	now = pages_now(vm);
	if (counted()) {
		EXPECT_EQ(now.p2m, huge.p2m - (split_now ? HUGE : 0), "log on: 2 MiB mappings");
		EXPECT_EQ(now.p4k, huge.p4k + (split_now ? FRAMES : 0), "log on: 4 KiB mappings");
	}
	fixed = vcpu_stat(v, "pf_fixed");
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "log on");
	EXPECT_EQ(vcpu_stat(v, "pf_fixed"), fixed, "reading needs no fault");
	expect_log(vm->mem, NULL, 0, "before the first write");

	for (i = 0; i < ARRAY_LEN(pages); i++)
		guest_do(v, .kind = AGENT_WRITE, .size = 4,
			 .addr = vm->mem->gpa + pages[i] * SZ_4K + 8, .value = 7);
	if (counted()) {
		now = pages_now(vm);
		EXPECT_EQ(now.p2m, huge.p2m - HUGE, "written: 2 MiB mappings");
		/* Shadow paging and legacy TDP may map neighbours ahead, read-only. */
		EXPECT_GE(now.p4k, huge.p4k + (split_now ? FRAMES : ARRAY_LEN(pages)),
			  "written: 4 KiB mappings");
	}
	expect_log(vm->mem, pages, ARRAY_LEN(pages), "after writes to both huge pages");
	for (i = 0; i < ARRAY_LEN(pages); i++)
		EXPECT_EQ(((u32 *)((u8 *)vm->mem->hva + pages[i] * SZ_4K))[2], 7, "page %lu",
			  pages[i]);
	write_frames(v, vm->mem->gpa, FRAMES, 30000);
	expect_frames(v, vm->mem->gpa, FRAMES, 30000, "all written");

	slot_set_flags(vm->mem, 0);
	expect_frames(v, vm->mem->gpa, FRAMES, 30000, "log off");
	if (counted()) {
		now = pages_now(vm);
		EXPECT_EQ(now.p2m, huge.p2m, "log off and touched: 2 MiB mappings");
		EXPECT_EQ(now.p4k, huge.p4k, "log off and touched: 4 KiB mappings");
	}
	write_frames(v, vm->mem->gpa, FRAMES, 60000);
	for (i = 0; i < FRAMES; i++)
		EXPECT_EQ(frame_word(vm->mem->hva, i), 60000 + i, "frame %lu at the end", i);
}

static const char *const recover_fixes[] = {"87aa9ec939ec", "404381c5839d", NULL};

TEST(log_on_off, .what = "huge pages are split for the dirty log and come back after it",
     .fixes = recover_fixes)
{
	check_log_over_huge(eager());
}

static void restore_eager(void)
{
	engine_param_set("eager_page_split", "Y");
}

TEST(log_on_off_lazy, .what = "the same when huge pages are split at the first write",
     .fixes = recover_fixes, .meant_for = MMU_TDP_MMU, .exclusive = true, .restore = restore_eager)
{
	char was[16];

	require_tdp(MMU_TDP_MMU);
	REQUIRE(engine_param("eager_page_split", was, sizeof(was)), "parameter eager_page_split");
	REQUIRE(engine_param_set("eager_page_split", "N"), "eager_page_split can be written");
	check_log_over_huge(false);
	engine_param_set("eager_page_split", was);
}

TEST(under_log, .what = "memory first touched under the log is mapped by small pages")
{
	static const u64 pages[] = {3, 4, 700};
	struct vm *vm =
		vm_create(no_paging(), .mem_size = SLOT_SIZE, .backing = MEM_THP, .mem_flags = LOG);
	struct vcpu *v = vm->vcpu[0];
	struct dirty_bitmap b;
	struct pages before;
	u64 i;

	number_frames(vm->mem->hva, FRAMES, 1);
	require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	before = pages_now(vm);
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "first touch");
	EXPECT_EQ(pages_now(vm).p2m, before.p2m, "2 MiB mappings after reading");
	/* A page that is mapped writable counts as written; a second reading must add nothing. */
	b = dirty_bitmap_alloc(vm->mem);
	dirty_get(vm->mem, &b);
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "second touch");
	expect_log(vm->mem, NULL, 0, "read only");
	for (i = 0; i < ARRAY_LEN(pages); i++)
		guest_write(v, vm->mem->gpa + pages[i] * SZ_4K + 16, 1);
	EXPECT_EQ(pages_now(vm).p2m, before.p2m, "2 MiB mappings after writing");
	expect_log(vm->mem, pages, ARRAY_LEN(pages), "written");
}

TEST(initially_set, .what = "with an initially set log, clearing a range splits what it covers")
{
	static const u64 pages[] = {64, 127};
	struct vm *vm = huge_vm(manual_initially_set, 1);
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	struct vcpu *v = vm->vcpu[0];
	struct pages huge = pages_now(vm);

	slot_set_flags(vm->mem, LOG);
	dirty_get(vm->mem, &b);
	EXPECT_EQ(dirty_count(&b), FRAMES, "pages in the log at the start");
	EXPECT_EQ(pages_now(vm).p2m, huge.p2m, "2 MiB mappings: nothing is split yet");
	write_frames(v, vm->mem->gpa, FRAMES, 1000); /* no fault needed: all are dirty anyway */

	dirty_clear(vm->mem, &b, 64, 64);
	if (counted())
		EXPECT_EQ(pages_now(vm).p2m, huge.p2m - eager(), "2 MiB mappings after the clear");
	expect_frames(v, vm->mem->gpa, FRAMES, 1000, "cleared");
	dirty_get(vm->mem, &b);
	EXPECT_EQ(dirty_count(&b), FRAMES - 64, "pages in the log after the clear");
	guest_write(v, vm->mem->gpa + pages[0] * SZ_4K + 16, 5);
	guest_write(v, vm->mem->gpa + pages[1] * SZ_4K + 16, 5);
	dirty_get(vm->mem, &b);
	EXPECT_EQ(dirty_count(&b), FRAMES - 64 + 2, "pages in the log after two writes");
	EXPECT(dirty_test(&b, pages[0]) && dirty_test(&b, pages[1]), "both are in the log");
	dirty_clear(vm->mem, &b, 0, FRAMES);
	write_frames(v, vm->mem->gpa, FRAMES, 2000);
	dirty_get(vm->mem, &b);
	EXPECT_EQ(dirty_count(&b), FRAMES, "pages in the log after writing all");
	slot_set_flags(vm->mem, 0);
	expect_frames(v, vm->mem->gpa, FRAMES, 2000, "log off");
	EXPECT_EQ(pages_now(vm).p2m, huge.p2m, "2 MiB mappings after the log");
}

static const char *const clear_fixes[] = {"7cd1bf039eeb", NULL};

TEST(clear_one_page, .what = "clearing one page's bit splits the huge page that it is in",
     .fixes = clear_fixes, .meant_for = MMU_TDP_MMU)
{
	struct vm *vm;
	struct dirty_bitmap b;
	struct pages huge;
	u64 split;

	require_tdp(MMU_TDP_MMU);
	REQUIRE(eager(), "parameter eager_page_split is set");
	vm = huge_vm(manual_initially_set, 1);
	b = dirty_bitmap_alloc(vm->mem);
	huge = pages_now(vm);
	slot_set_flags(vm->mem, LOG);
	memset(b.bits, 0, FRAMES / 8);
	b.bits[PER_HUGE / 64] = 1;
	dirty_clear(vm->mem, &b, PER_HUGE, 64);
	split = huge.p2m - pages_now(vm).p2m;
	/* Split or not, a write must be seen. */
	guest_write(vm->vcpu[0], vm->mem->gpa + SZ_2M + 16, 5);
	dirty_get(vm->mem, &b);
	EXPECT(dirty_test(&b, PER_HUGE), "the page is in the log again");
	EXPECT_EQ(dirty_count(&b), FRAMES, "pages in the log");
	if (!split && engine()->kernel_memory)
		test_xfail("7cd1bf039eeb",
			   "the last huge page of a cleared range is not split ahead");
	EXPECT_EQ(split, 1, "huge pages that were split");
}

TEST(manual_protect, .what = "with manual protection a log that is fetched protects nothing")
{
	static const u64 pages[] = {1, PER_HUGE};
	struct vm *vm = huge_vm(manual, 1);
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	struct vcpu *v = vm->vcpu[0];
	u64 i;

	slot_set_flags(vm->mem, LOG);
	for (i = 0; i < 2; i++)
		guest_write(v, vm->mem->gpa + pages[i] * SZ_4K + 16, 5);
	expect_log(vm->mem, pages, 2, "first look");
	expect_log(vm->mem, pages, 2, "second look");
	dirty_get(vm->mem, &b);
	dirty_clear(vm->mem, &b, 0, FRAMES);
	expect_log(vm->mem, NULL, 0, "cleared");
	for (i = 0; i < 2; i++)
		guest_write(v, vm->mem->gpa + pages[i] * SZ_4K + 16, 6);
	expect_log(vm->mem, pages, 2, "written again");
}

TEST(one_gib, .what = "a page of 1 GiB is mapped whole, split for the log, and comes back",
     .fixes = recover_fixes, .meant_for = MMU_TDP)
{
	static const u64 pages[] = {0, PER_HUGE * 511 + 511};
	struct vm *vm;
	struct vcpu *v;
	struct pages before, now;
	char level[8];
	u64 i;

	require_tdp(MMU_TDP);
	REQUIRE(!engine_param("max_huge_level", level, sizeof(level)) || atoi(level) == 3,
		"SPTEs of 1 GiB (max_huge_level)");
	vm = vm_create(no_paging(), .mem_gpa = SZ_1G, .mem_size = SZ_1G, .backing = MEM_HUGETLB_1G);
	v = vm->vcpu[0];
	guest_do(v, .kind = AGENT_NOP);
	before = pages_now(vm);
	/* One word in each 2 MiB, at another page of each. */
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .addr = vm->mem->gpa, .size = 4,
		 .arg = SZ_2M + SZ_4K, .value = 511, .arg2 = 1);
	now = pages_now(vm);
	EXPECT_EQ(now.p1g - before.p1g, 1, "1 GiB mappings");
	EXPECT_EQ(now.p2m, before.p2m, "2 MiB mappings");
	EXPECT_EQ(now.p4k, before.p4k, "4 KiB mappings");

	slot_set_flags(vm->mem, LOG);
	now = pages_now(vm);
	EXPECT_EQ(now.p1g, before.p1g + !eager(), "log on: 1 GiB mappings");
	EXPECT_EQ(now.p4k, before.p4k + (eager() ? PER_HUGE * 512 : 0), "log on: 4 KiB mappings");
	for (i = 0; i < ARRAY_LEN(pages); i++)
		guest_do(v, .kind = AGENT_WRITE, .size = 4,
			 .addr = vm->mem->gpa + pages[i] * SZ_4K + 8, .value = 7);
	expect_log(vm->mem, pages, ARRAY_LEN(pages), "two pages written");
	EXPECT_EQ(guest_do(v, .kind = AGENT_TOUCH_CHECK, .addr = vm->mem->gpa, .size = 4,
			   .arg = SZ_2M + SZ_4K, .value = 511, .arg2 = 1),
		  511, "words that hold");
	slot_set_flags(vm->mem, 0);
	EXPECT_EQ(guest_do(v, .kind = AGENT_TOUCH_CHECK, .addr = vm->mem->gpa, .size = 4,
			   .arg = SZ_2M + SZ_4K, .value = 511, .arg2 = 1),
		  511, "words that hold after the log");
	now = pages_now(vm);
	EXPECT_EQ(now.p1g - before.p1g, 1, "log off and touched: 1 GiB mappings");
	EXPECT_EQ(now.p4k, before.p4k, "log off and touched: 4 KiB mappings");
}
