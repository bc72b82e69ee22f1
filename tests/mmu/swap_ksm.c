// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that the host's kernel merges with other pages of the same
 * content (KSM) or swaps out.
 *
 * Merging replaces a page that the guest may have mapped writable by a shared
 * one that nobody may write to. A translation that keeps or regains the right
 * lets the guest write into every other owner of that page: the neighbour with
 * the same content changes. Swapping writes a page out unless it is known to be
 * clean, and the guest's writes are known by the hypervisor only: one that it
 * does not pass on is lost, and the page comes back with its older content.
 *
 * Both change the whole machine for a moment, so the cases run alone and put
 * things back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "slots.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define KSM_RUN	   "/sys/kernel/mm/ksm/run"
#define ZRAM	   "/dev/zram0"
#define ZRAM_SIZE  "/sys/block/zram0/disksize"
#define ZRAM_RESET "/sys/block/zram0/reset"
#define SWAP_BYTES (64 * MiB)

/* 0 or -errno. */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The number in a file, or -1. */
static long get(const char *path)
{
	long value = -1;
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

static void ksm_stop(void)
{
	if (!engine()->kernel_memory)
		return;
	put(KSM_RUN, "0");
}

static void stop_ksm(void *arg)
{
	(void)arg;
	ksm_stop();
}

static void ksm_start(void)
{
	long run = get(KSM_RUN);
	int err;

	REQUIRE(engine()->kernel_memory, "memory of the kernel's, which KSM merges");
	REQUIRE(run >= 0, "KSM (" KSM_RUN ")");
	REQUIRE(run == 0, "KSM that nobody else uses (" KSM_RUN " is %ld)", run);
	REQUIRE(get("/proc/self/ksm_merging_pages") >= 0,
		"/proc/self/ksm_merging_pages (Linux 5.19)");
	err = put(KSM_RUN, "1");
	REQUIRE(!err, "the right to switch KSM on (" KSM_RUN ": %s)", strerror(-err));
	test_cleanup(stop_ksm, NULL);
}

/* Waits until @pages of this process are merged; skips if KSM does not get there. */
static void ksm_wait(long pages)
{
	struct timespec now, start;
	long merged;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		sched_yield();
		merged = get("/proc/self/ksm_merging_pages");
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (merged < pages && now.tv_sec - start.tv_sec < 6);
	REQUIRE(merged >= pages, "KSM that merges %ld pages within 6 s (it merged %ld)", pages,
		merged);
}

#define PAIRS 16

static const char *const logging[] = {"plain", "logged", NULL};

TEST(merge, .what = "merged pages are shared until one is written, the others stay",
     .variants = logging, .fixes = (const char *const[]){"f082d86ea685", NULL}, .exclusive = true,
     .restore = ksm_stop)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = SZ_2M,
				  .mem_flags = t->variant_idx ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	struct memslot *s = vm->mem;
	struct vcpu *v = vm->vcpu[0];
	const gva_t gva = window(vm, s->gpa), busy = gva + 100 * SZ_4K, stop = gva + 101 * SZ_4K;
	u32 i, added;

	window_map(vm, s->gpa, SZ_2M, 1);
	/* Pages 2n and 2n + 1 have the same content; the guest has them mapped writable. */
	for (i = 0; i < 2 * PAIRS; i++)
		write4(v, gva + i * SZ_4K, 0xabc000 + i / 2);
	/* Another vCPU writes to a page of the same area all the time. */
	op_clear(vm->vcpu[1]);
	op_add(vm->vcpu[1], .kind = AGENT_XADD, .size = 4, .addr = busy, .value = 1);
	op_add(vm->vcpu[1], .kind = AGENT_LOOP, .arg = 1, .value = 1u << 30, .addr = stop);
	vcpu_start(vm->vcpu[1]);
	memory_madvise(&s->mem, 0, 101 * SZ_4K, MADV_MERGEABLE);
	ksm_start();
	ksm_wait(2 * PAIRS);
	ksm_stop();
	*frame_word(s->hva, 101 * SZ_4K) = 1;
	vcpu_join(vm->vcpu[1]);
	added = op_result(vm->vcpu[1], 1).value + 1;
	EXPECT_EQ(*frame_word(s->hva, 100 * SZ_4K), added,
		  "additions while KSM looked at the page");

	for (i = 0; i < 2 * PAIRS; i += 2) {
		/* Half of them are read first, and so mapped as what they are now. */
		if (i % 4)
			EXPECT_EQ(read4(v, gva + i * SZ_4K), 0xabc000 + i / 2, "merged page %u", i);
		write4(v, gva + i * SZ_4K, 0xdef000 + i);
		EXPECT_EQ(*frame_word(s->hva, (i + 1) * SZ_4K), 0xabc000 + i / 2,
			  "page %u when its like was written", i + 1);
		EXPECT_EQ(read4(v, gva + (i + 1) * SZ_4K), 0xabc000 + i / 2);
		EXPECT_EQ(*frame_word(s->hva, i * SZ_4K), 0xdef000 + i, "the host's view");
	}
	memory_madvise(&s->mem, 0, 101 * SZ_4K, MADV_UNMERGEABLE);
	for (i = 0; i < 2 * PAIRS; i++)
		EXPECT_EQ(read4(v, gva + i * SZ_4K), i % 2 ? 0xabc000 + i / 2 : 0xdef000 + i,
			  "unmerged page %u", i);
}

static void swap_undo(void)
{
	if (!engine()->kernel_memory)
		return;
	swapoff(ZRAM);
	put(ZRAM_RESET, "1");
}

static void undo_swap(void *arg)
{
	(void)arg;
	swap_undo();
}

/* A compressed RAM disk as swap, with the header that mkswap would write. */
static void swap_start(void)
{
	struct {
		u8 boot[1024];
		u32 version, last_page, bad_pages;
		u8 rest[SZ_4K - 1024 - 12 - 10];
		char magic[10];
	} *header = calloc(1, sizeof(*header));
	char size[32];
	int fd, err;

	_Static_assert(sizeof(*header) == SZ_4K, "the header fills the first page");
	if (!engine()->kernel_memory)
		return; /* a model has somewhere to put its pages */
	REQUIRE(!access(ZRAM_SIZE, F_OK), "a zram device (modprobe zram)");
	REQUIRE(get(ZRAM_SIZE) == 0, "a zram device that nobody uses (" ZRAM_SIZE ")");
	snprintf(size, sizeof(size), "%llu", SWAP_BYTES);
	err = put(ZRAM_SIZE, size);
	REQUIRE(!err, "a zram device that can be set up (" ZRAM_SIZE ": %s)", strerror(-err));
	test_cleanup(undo_swap, NULL);
	header->version = 1;
	header->last_page = SWAP_BYTES / SZ_4K - 1;
	memcpy(header->magic, "SWAPSPACE2", 10);
	fd = open(ZRAM, O_RDWR | O_CLOEXEC);
	if (fd < 0 || write(fd, header, sizeof(*header)) != sizeof(*header) || fsync(fd))
		test_error("writing the swap header to " ZRAM ": %s", strerror(errno));
	close(fd);
	free(header);
	if (swapon(ZRAM, SWAP_FLAG_PREFER | 100))
		test_skip("swapon(" ZRAM "): %s", strerror(errno));
}

/* How many pages of @m are in swap: bit 62 of their pagemap entries. A model takes what it's told. */
static u64 swapped(const struct memory *m)
{
	u64 entry, i, n = 0;
	int fd;

	if (!engine()->kernel_memory)
		return m->size / SZ_4K;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	for (i = 0; fd >= 0 && i < m->size / SZ_4K; i++)
		if (pread(fd, &entry, 8, ((u64)m->hva / SZ_4K + i) * 8) == 8 && (entry >> 62 & 1))
			n++;
	if (fd >= 0)
		close(fd);
	return n;
}

/* Pushes all of @m out; most of it must have gone, or the test tests nothing. */
static void swap_out(struct memory *m)
{
	u64 tries, n = 0;

	for (tries = 0; tries < 20 && n < m->size / SZ_4K * 9 / 10; tries++) {
		memory_madvise(m, 0, m->size, MADV_PAGEOUT);
		n = swapped(m);
	}
	REQUIRE(n >= m->size / SZ_4K * 9 / 10, "memory that is swapped out (%lu of %lu pages are)",
		n, (u64)(m->size / SZ_4K));
}

static const char *const sizes[] = {"4k", "thp", "logged", NULL};

TEST(swap, .what = "pages that were swapped out come back with the guest's last write",
     .variants = sizes, .fixes = (const char *const[]){"9ed5520dd3c9", NULL}, .exclusive = true,
     .restore = swap_undo)
{
	bool huge = t->variant_idx == 1;
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M,
				  .backing = huge ? MEM_THP : MEM_ANON,
				  .mem_flags = t->variant_idx == 2 ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	struct memslot *s = vm->mem;
	const gva_t gva = window(vm, s->gpa);
	struct vcpu *v = vm->vcpu[0];
	u32 round, base = 0x1000;

	window_map(vm, s->gpa, s->size, huge ? 2 : 1);
	swap_start();
	number_frames(s->hva, s->size, base);
	expect_frames(v, s->gpa, s->size, base, "before");
	for (round = 0; round < 4; round++) {
		swap_out(&s->mem);
		switch (round) {
		case 0: /* read back: clean pages with a copy in swap */
			expect_frames(v, s->gpa, s->size, base, "read back");
			base += 0x1000;
			guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K,
				 .value = s->size / SZ_4K, .arg2 = base);
			break;
		case 1: /* only the guest wrote them since; the host reads them back */
			EXPECT_EQ(*frame_word(s->hva, 77 * SZ_4K), base + 77);
			expect_frames(v, s->gpa, s->size, base, "read back after a write");
			break;
		case 2: /* written without being read */
			base += 0x1000;
			guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = gva, .arg = SZ_4K,
				 .value = s->size / SZ_4K, .arg2 = base);
			break;
		}
	}
	EXPECT_EQ(*frame_word(s->hva, 99 * SZ_4K), base + 99, "the host's view");
	expect_frames(v, s->gpa, s->size, base, "at the end");
}
