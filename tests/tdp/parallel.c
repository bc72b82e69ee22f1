// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults in parallel: several vCPUs fault on the same and on neighbouring pages
 * while the host changes memslots, discards pages or fetches the dirty log.
 *
 * Faults of the TDP MMU run side by side and install entries by compare and
 * exchange: one wins, the others find the entry there. A loser that frees the
 * winner's table, or installs its own in its place, loses writes; so vCPUs count
 * in memory with locked additions and no count may be lost.
 *
 * A change by the host is finished when its system call returns. A fault that
 * began before and ends after must notice (mmu_invalidate_seq), and every other
 * vCPU's TLB must have been flushed, even when the walk that zapped had to yield
 * in between. So in the second half one vCPU holds a translation while it spins
 * in the guest, the host changes what is below and then says so through memory,
 * and the vCPU's next access must see the change. Nothing may make the vCPU
 * leave the guest meanwhile; a timer tick of the host will sometimes, hence
 * several rounds.
 */
#include <stdlib.h>

#include "tdp.h"

#define FRAMES 512
#define CONTROL \
	(512 * MiB + 33 * SZ_4K) /* gpa of slot 2: words by which guest and host synchronise */
#define READY (CONTROL + 0)
#define GO    (CONTROL + 64)
#define STOP  (CONTROL + 128)
#define DONE  (CONTROL + 192)
#define START (CONTROL + 256)

static volatile u32 *word(struct vm *vm, gpa_t gpa)
{
	return vm_hva(vm, gpa);
}

static struct vm *parallel_vm(u32 vcpus, u64 size, enum mem_backing backing, u32 flags)
{
	struct vm *vm = vm_create(no_paging(), .nr_vcpus = vcpus, .mem_size = size,
				  .backing = backing, .mem_flags = flags);
	u32 i, op;

	slot_add(vm, 2, CONTROL, SZ_4K, MEM_ANON, 0);
	/* What a long batch needs of slot 0 is mapped before counting starts. */
	for (i = 0; i < vcpus; i++) {
		op_clear(vm->vcpu[i]);
		for (op = 0; op < FRAMES + 2; op++)
			op_add(vm->vcpu[i], .kind = AGENT_READ, .addr = CONTROL, .size = 4);
		vcpu_exec(vm->vcpu[i]);
	}
	return vm;
}

/* Adds operations by which vCPUs start together. */
static void op_meet(struct vcpu *v, u32 vcpus)
{
	op_add(v, .kind = AGENT_XADD, .size = 4, .addr = READY, .value = 1);
	op_add(v, .kind = AGENT_WAIT_GE, .size = 4, .addr = READY, .value = vcpus);
}

static const char *const sizes[] = {"small", "huge", NULL};

TEST(same_pages, .what = "vCPUs that fault on the same pages share one mapping of each",
     .variants = sizes)
{
	struct vm *vm = parallel_vm(2, FRAMES * SZ_4K * 2, t->variant_idx ? MEM_THP : MEM_ANON, 0);
	struct pages before = pages_now(vm), now;
	u64 i, page;

	for (i = 0; i < 2; i++) {
		op_clear(vm->vcpu[i]);
		op_meet(vm->vcpu[i], 2);
		for (page = 0; page < FRAMES; page++)
			op_add(vm->vcpu[i], .kind = AGENT_XADD, .size = 4,
			       .addr = vm->mem->gpa + 2 * page * SZ_4K, .value = 1 + i * 0x10000);
		vcpu_start(vm->vcpu[i]);
	}
	for (i = 0; i < 2; i++)
		vcpu_join(vm->vcpu[i]);
	now = pages_now(vm);
	for (page = 0; page < FRAMES; page++)
		EXPECT_EQ(frame_word(vm->mem->hva, 2 * page), 0x10002, "page %lu", 2 * page);
	if (!counted())
		return;
	if (t->variant_idx) {
		require_thp(&vm->mem->mem, 0, vm->mem->size);
		EXPECT_EQ(now.p2m - before.p2m, vm->mem->size / SZ_2M, "2 MiB mappings");
		EXPECT_EQ(now.p4k, before.p4k, "4 KiB mappings");
	} else {
		EXPECT_EQ(now.p4k - before.p4k, FRAMES, "4 KiB mappings");
	}
}

TEST(neighbours, .what = "vCPUs that fault on neighbouring pages fill the same tables")
{
	const u32 vcpus = 4;
	struct vm *vm = parallel_vm(vcpus, FRAMES * SZ_4K * 2, MEM_ANON, 0);
	struct pages before = pages_now(vm);
	u64 i;

	for (i = 0; i < vcpus; i++) {
		op_clear(vm->vcpu[i]);
		op_meet(vm->vcpu[i], vcpus);
		op_add(vm->vcpu[i], .kind = AGENT_TOUCH_WRITE, .size = 4,
		       .addr = vm->mem->gpa + i * SZ_4K, .arg = vcpus * SZ_4K,
		       .value = 2 * FRAMES / vcpus, .arg2 = i * 10000 + 1);
		vcpu_start(vm->vcpu[i]);
	}
	for (i = 0; i < vcpus; i++)
		vcpu_join(vm->vcpu[i]);
	for (i = 0; i < 2 * FRAMES; i++)
		EXPECT_EQ(frame_word(vm->mem->hva, i), i % vcpus * 10000 + 1 + i / vcpus,
			  "frame %lu", i);
	if (counted())
		EXPECT_EQ(pages_now(vm).p4k - before.p4k, 2 * FRAMES, "4 KiB mappings");
}

static void answer_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

/*
 * Starts vCPUs that add 1 to each of @pages words, a page apart, over and over
 * until told to stop; and that, if @extra, read there each time round.
 */
static void start_counting(struct vm *vm, u64 pages, gpa_t extra)
{
	u32 i;
	u64 page;

	*word(vm, STOP) = 0;
	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		v->mmio = answer_mmio;
		op_clear(v);
		for (page = 0; page < pages; page++)
			op_add(v, .kind = AGENT_XADD, .size = 4,
			       .addr = vm->mem->gpa + page * SZ_4K + 8, .value = 1);
		if (extra)
			op_add(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = extra, .arg = SZ_4K,
			       .value = 8);
		op_add(v, .kind = AGENT_LOOP, .addr = STOP, .value = 1000000,
		       .arg = pages + !!extra);
		vcpu_start(v);
	}
}

/* Stops them; each word must hold as many as were added. */
static void stop_counting(struct vm *vm, u64 pages, bool extra)
{
	u64 sum = 0, page;
	u32 i;

	*word(vm, STOP) = 1;
	for (i = 0; i < vm->nr_vcpus; i++) {
		vcpu_join(vm->vcpu[i]);
		sum += op_result(vm->vcpu[i], pages + extra).value + 1;
	}
	for (page = 0; page < pages; page++)
		EXPECT_EQ(((u32 *)((u8 *)vm->mem->hva + page * SZ_4K))[2], (u32)sum,
			  "additions in page %lu", page);
}

/* Waits until the vCPUs have gone round once more. */
static void wait_round(struct vm *vm)
{
	volatile u32 *count = word(vm, vm->mem->gpa + 8);
	u32 was = *count;
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (*count == was) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > 10)
			test_fail("the vCPUs make no progress");
		vcpu_relax();
	}
}

static const char *const invalid_fixes[] = {"a955cad84cda", "18c841e1f411", "7533377215b6",
					    "CVE-2026-64561", NULL};

TEST(slot_delete_add, .what = "slots come and go beside vCPUs that fault", .fixes = invalid_fixes)
{
	struct vm *vm = parallel_vm(2, 64 * SZ_4K, MEM_ANON, 0);
	struct memslot *s = slot_add(vm, 3, CONTROL + SZ_2M, SZ_2M, MEM_ANON, 0);
	int round;

	start_counting(vm, 64, s->gpa);
	for (round = 0; round < 12; round++) {
		slot_delete(s);
		wait_round(vm);
		slot_readd(s);
		wait_round(vm);
	}
	stop_counting(vm, 64, true);
}

static const char *const discard_fixes[] = {"82d811ff5665", "4a42d848db95", NULL};

TEST(discard_beside, .what = "the host discards pages beside and below vCPUs that fault",
     .fixes = discard_fixes)
{
	struct vm *vm = parallel_vm(2, SZ_4M, MEM_THP, 0);
	int round;

	start_counting(vm, 64, vm->mem->gpa + 80 * SZ_4K);
	for (round = 0; round < 20; round++) {
		/* Part of the huge page in use, then all of the other one. */
		memory_madvise(&vm->mem->mem, (80 + round % 8) * SZ_4K, 4 * SZ_4K, MADV_DONTNEED);
		memory_madvise(&vm->mem->mem, SZ_2M, SZ_2M, MADV_DONTNEED);
		wait_round(vm);
	}
	stop_counting(vm, 64, true);
}

/* Copies what the log names, as migration does. */
static void copy_dirty(struct memslot *s, struct dirty_bitmap *b, u8 *copy)
{
	u64 i;

	dirty_get(s, b);
	for (i = 0; i < b->pages; i++)
		if (dirty_test(b, i))
			memcpy(copy + i * SZ_4K, (u8 *)s->hva + i * SZ_4K, SZ_4K);
}

static const char *const log_fixes[] = {"edde99ce0529", "3354ef5a592d", "ba3a6120a4e7", NULL};

TEST(migrate, .what = "copying what the dirty log names gives all that vCPUs wrote",
     .variants = sizes, .fixes = log_fixes)
{
	struct vm *vm = parallel_vm(2, SZ_2M, t->variant_idx ? MEM_THP : MEM_ANON, 0);
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	u8 *copy = malloc(vm->mem->size);
	u64 i;
	int round;

	start_counting(vm, 64, 0);
	wait_round(vm);
	for (round = 0; round < 3; round++) {
		slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
		memcpy(copy, vm->mem->hva, vm->mem->size);
		for (i = 0; i < 4; i++) {
			wait_round(vm);
			copy_dirty(vm->mem, &b, copy);
		}
		if (round < 2)
			slot_set_flags(vm->mem, 0);
	}
	stop_counting(vm, 64, false);
	copy_dirty(vm->mem, &b, copy);
	for (i = 0; i < vm->mem->size / SZ_4K; i++)
		EXPECT(!memcmp(copy + i * SZ_4K, (u8 *)vm->mem->hva + i * SZ_4K, SZ_4K),
		       "page %lu of the copy is what the guest wrote", i);
	free(copy);
	dirty_bitmap_free(&b);
}

/* What the host changes below a vCPU that holds the translation. */
enum change {
	DISCARD,
	DISCARD_HUGE,
	DISCARD_MANY,
	LOG_ON,
	LOG_GET,
	LOG_CLEAR,
	SLOT_OTHER
};
static const char *const changes[] = {"discard", "discard_huge", "discard_many", "log_on",
				      "log_get", "log_clear",	 "slot_other",	 NULL};

static void manual(struct vm *vm)
{
	vm_manual_dirty_protect(vm, false);
}

static bool logs(enum change c)
{
	return c == LOG_ON || c == LOG_GET || c == LOG_CLEAR;
}

/* Makes the change of round @k. */
static void make_change(struct vm *vm, enum change c, u32 k, struct dirty_bitmap *b,
			struct memory *other)
{
	struct memslot *s = vm->mem;

	switch (c) {
	case DISCARD:
		memory_madvise(&s->mem, 0, SZ_4K, MADV_DONTNEED);
		break;
	case DISCARD_HUGE:
	case DISCARD_MANY:
		memory_madvise(&s->mem, 0, s->size, MADV_DONTNEED);
		break;
	case LOG_ON:
		slot_set_flags(s, 0);
		slot_set_flags(s, KVM_MEM_LOG_DIRTY_PAGES);
		break;
	case LOG_GET:
		dirty_get(s, b);
		break;
	case LOG_CLEAR:
		dirty_get(s, b);
		dirty_clear(s, b, 0, b->pages);
		break;
	case SLOT_OTHER:
		((volatile u32 *)other[k & 1].hva)[2] = 0;
		slot_delete(s);
		s->hva = other[k & 1].hva;
		slot_readd(s);
		break;
	}
}

static const char *const flush_fixes[] = {"a835429cda91", "048f49809c52", "33a3164161fc",
					  "315f02c60d94", "6dbf79e7164e", NULL};

#define BATCH 4 /* rounds that one batch of the guest has */

/*
 * In each round the guest waits for START, writes the page, says so, spins on
 * the host's word, and accesses the page again: what it wrote must be gone with
 * the page, or the second write must be in the log.
 *
 * A round in which the vCPU left the guest for another reason shows no stale
 * translation, so rounds go on until enough of them were undisturbed: two faults
 * and the flush itself are the exits of such a one. A busy host may let no round
 * pass without; that a flush was asked for is visible in the counter all the same.
 */
static void op_round(struct vcpu *v, gpa_t page, u32 k)
{
	op_add(v, .kind = AGENT_WAIT_EQ, .size = 4, .addr = START, .value = k);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = page + 8, .value = k);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = READY, .value = k);
	op_add(v, .kind = AGENT_WAIT_EQ, .size = 4, .addr = GO, .value = k);
	op_add(v, .kind = AGENT_READ, .size = 4, .addr = page + 8);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = page + 16, .value = k);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = DONE, .value = k);
}

static void wait_word(struct vcpu *v, volatile u32 *p, u32 value)
{
	while (*p != value && !v->stalled)
		vcpu_relax();
}

TEST(flushed, .what = "a finished change is seen by a vCPU that never left the guest",
     .variants = changes, .fixes = flush_fixes)
{
	/* A new slot makes the vCPU leave the guest anyway. */
	const u32 max_rounds = t->variant_idx == SLOT_OTHER ? 8 : 32, enough = 8;
	enum change c = t->variant_idx;
	struct vm *vm = vm_create(no_paging(), .nr_vcpus = 1,
				  .mem_size = c == DISCARD_MANY ? 16 * MiB : SZ_2M,
				  .backing = c == DISCARD_HUGE ? MEM_THP : MEM_ANON,
				  .mem_flags = c == LOG_GET ? KVM_MEM_LOG_DIRTY_PAGES : 0,
				  .early = c == LOG_CLEAR ? manual : NULL);
	struct memory other[2] = {memory_alloc(SZ_2M, MEM_ANON), memory_alloc(SZ_2M, MEM_ANON)};
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	u32 k = 0, i, undisturbed = 0;
	struct vcpu *v = vm->vcpu[0];
	gpa_t page = vm->mem->gpa;

	slot_add(vm, 2, CONTROL, SZ_4K, MEM_ANON, 0);
	if (c == LOG_CLEAR)
		slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	v->mmio = answer_mmio;
	if (c == DISCARD_MANY)
		write_frames(v, page, vm->mem->size / SZ_4K, 1);
	vcpu_stat(v, "exits"); /* from now on it can be read while the vCPU runs */
	while (k < max_rounds && undisturbed < enough) {
		op_clear(v);
		for (i = 1; i <= BATCH; i++)
			op_round(v, page, k + i);
		vcpu_start(v);
		for (i = 0; i < BATCH; i++) {
			u64 exits = vcpu_stat(v, "exits");
			u64 flushes = vm_stat(vm, "remote_tlb_flush_requests");

			k++;
			*word(vm, START) = k;
			wait_word(v, word(vm, READY), k);
			make_change(vm, c, k, &b, other);
			*word(vm, GO) = k;
			wait_word(v, word(vm, DONE), k);
			undisturbed += vcpu_stat(v, "exits") - exits <= 3;
			if (counted() && c != SLOT_OTHER)
				EXPECT_GT(vm_stat(vm, "remote_tlb_flush_requests"), flushes,
					  "round %u: flushes that were asked for", k);
			if (logs(c)) {
				dirty_get(vm->mem, &b);
				EXPECT(dirty_test(&b, 0),
				       "round %u: a write after the change is in the log", k);
			}
			EXPECT_EQ(((volatile u32 *)vm->mem->hva)[4], k,
				  "round %u: a write after the change is in the memory of now", k);
		}
		vcpu_join(v);
		for (i = 0; i < BATCH; i++)
			EXPECT_VALUE(op_result(v, 7 * i + 4), logs(c) ? k - BATCH + 1 + i : 0,
				     "round %u: what was written before the change",
				     k - BATCH + 1 + i);
	}
	test_diag("@rounds %u, undisturbed %u", k, undisturbed);
	dirty_bitmap_free(&b);
}
