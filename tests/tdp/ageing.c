// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ageing: the host's reclaim asks the hypervisor whether the guest used a page
 * since it last asked, which is the A bit of its mapping, cleared by the
 * question (or, without A bits, a mapping made not present for a while, which
 * must come back with the rights that it had). A page reported as young for
 * ever is never reclaimed; one reported as old too early goes while in use; and
 * one that is reclaimed must be out of the guest's tables before it is written
 * to swap and come back with its content.
 *
 * MADV_PAGEOUT asks that question page by page and leaves young pages alone (up
 * to Linux 6.9; since then it takes them as well). A bit of /proc/self/pagemap
 * tells what was taken. Swap is a zram device made for the test.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/utsname.h>

#include "tdp.h"

#define FRAMES	  64
#define SWAP_SIZE (16 * MiB)
#define PM_SWAP	  BIT(62)

static char zram_dev[32];

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static void drop_swap(void *arg)
{
	char path[64];

	(void)arg;
	swapoff(zram_dev);
	snprintf(path, sizeof(path), "/sys/block/%s/reset", zram_dev + 5);
	write_file(path, "1");
	write_file("/sys/class/zram-control/hot_remove", zram_dev + 9);
}

/* For a case that was killed: whatever swap there is of the size that ours has. */
static void restore_swap(void)
{
	char line[256], name[32];
	u64 kib;
	FILE *f = engine()->kernel_memory ? fopen("/proc/swaps", "re") : NULL;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%31s partition %lu", name, &kib) != 2 ||
		    strncmp(name, "/dev/zram", 9) || kib != (SWAP_SIZE - SZ_4K) / KiB)
			continue;
		snprintf(zram_dev, sizeof(zram_dev), "%s", name);
		drop_swap(NULL);
	}
	if (f)
		fclose(f);
}

/* The kernel can mount nothing on it: swap space is a header with a magic at its end. */
static void format_swap(void)
{
	u32 *header = calloc(1, SZ_4K);
	int fd = open(zram_dev, O_WRONLY | O_CLOEXEC);
	bool done;

	header[1024 / 4] = 1;			      /* version */
	header[1024 / 4 + 1] = SWAP_SIZE / SZ_4K - 1; /* last page */
	memcpy((u8 *)header + SZ_4K - 10, "SWAPSPACE2", 10);
	done = fd >= 0 && write(fd, header, SZ_4K) == (ssize_t)SZ_4K;
	if (fd >= 0)
		close(fd);
	free(header);
	REQUIRE(done, "a zram device that can be written (%s)", zram_dev);
}

/* Adds a zram device of the case's own as swap, until the case ends. */
static void make_swap(void)
{
	char id[16] = "", path[64];
	unsigned int number;
	int fd;

	if (engine()->age)
		return;
	fd = open("/sys/class/zram-control/hot_add", O_RDONLY | O_CLOEXEC);
	REQUIRE(fd >= 0 && read(fd, id, sizeof(id) - 1) > 0,
		"a zram device for swap (module zram, as root)");
	close(fd);
	number = strtoul(id, NULL, 10);
	snprintf(zram_dev, sizeof(zram_dev), "/dev/zram%u", number);
	test_cleanup(drop_swap, NULL);
	snprintf(path, sizeof(path), "/sys/block/zram%u/disksize", number);
	REQUIRE(write_file(path, "16777216"), "the size of a zram device");
	format_swap();
	REQUIRE(!swapon(zram_dev, 0), "swap on %s (%s)", zram_dev, strerror(errno));
}

/* An engine that is asked directly: which frames the latest pageout() took. */
static bool taken[FRAMES];

/* How many of @count frames from @first of @m are swapped out. */
static u64 swapped(const struct memory *m, u64 first, u64 count)
{
	u64 entries[FRAMES], i, n = 0;
	ssize_t want = count * sizeof(u64);
	int fd;

	if (engine()->age) {
		for (i = first; i < first + count; i++)
			n += taken[i];
		return n;
	}
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, entries, want, ((u64)m->hva / SZ_4K + first) * sizeof(u64)) != want)
		test_error("/proc/self/pagemap: %s", strerror(errno));
	close(fd);
	for (i = 0; i < count; i++)
		n += !!(entries[i] & PM_SWAP);
	return n;
}

/* MADV_PAGEOUT leaves pages alone that the guest has used since the last one. */
static bool pageout_asks(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	if (engine()->age)
		return true;
	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	return major < 6 || (major == 6 && minor < 10);
}

static struct vm *aged_vm(u32 flags)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K, .mem_flags = flags);

	write_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 1);
	return vm;
}

static void pageout(struct vm *vm)
{
	struct memory *m = &vm->mem->mem;
	u32 i;

	if (!engine()->age) {
		memory_madvise(m, 0, FRAMES * SZ_4K, MADV_PAGEOUT);
		return;
	}
	/* The kernel's part in it: each page is asked for its age, old ones go. */
	for (i = 0; i < FRAMES; i++) {
		taken[i] = !engine()->age((char *)m->hva + i * SZ_4K, SZ_4K);
		if (taken[i])
			memory_madvise(m, i * SZ_4K, SZ_4K, MADV_PAGEOUT);
	}
}

TEST(idle_goes_used_stays,
     .what = "a page that the guest stopped using is reclaimed, a used one is not",
     .exclusive = true, .restore = restore_swap)
{
	struct vm *vm;
	struct vcpu *v;
	int round;

	make_swap();
	vm = aged_vm(0);
	v = vm->vcpu[0];
	pageout(vm);
	if (pageout_asks())
		EXPECT_EQ(swapped(&vm->mem->mem, 0, FRAMES), 0, "pages just written that went");
	/* Half of the pages stay in use. */
	for (round = 0; round < 3 && pageout_asks(); round++) {
		expect_frames(v, vm->mem->gpa, FRAMES / 2, 1, "in use");
		pageout(vm);
		EXPECT_EQ(swapped(&vm->mem->mem, 0, FRAMES / 2), 0,
			  "round %d: used pages that went", round);
	}
	pageout(vm);
	pageout(vm);
	EXPECT_EQ(swapped(&vm->mem->mem, 0, FRAMES), FRAMES, "idle pages that went");
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "back from swap");
	write_frames(v, vm->mem->gpa, FRAMES, 1000);
	EXPECT_EQ(frame_word(vm->mem->hva, FRAMES - 1), 1000 + FRAMES - 1, "written after swap");
}

static const char *const restore_fixes[] = {"57128468080a", "restored PTE has needed permissions",
					    NULL};

TEST(aged_then_written, .what = "a page that was aged is written without being lost or refused",
     .fixes = restore_fixes, .exclusive = true, .restore = restore_swap)
{
	struct vm *vm;
	struct vcpu *v;
	struct dirty_bitmap b;
	u32 round;

	make_swap();
	vm = aged_vm(KVM_MEM_LOG_DIRTY_PAGES);
	v = vm->vcpu[0];
	b = dirty_bitmap_alloc(vm->mem);
	for (round = 1; round <= 4; round++) {
		/* Protected for the log and aged, in either order; then read, then written. */
		if (round & 1)
			pageout(vm);
		dirty_get(vm->mem, &b);
		if (!(round & 1))
			pageout(vm);
		if (round > 2)
			expect_frames(v, vm->mem->gpa, FRAMES, (round - 1) * 1000, "aged, read");
		write_frames(v, vm->mem->gpa, FRAMES, round * 1000);
		dirty_get(vm->mem, &b);
		EXPECT_EQ(dirty_count(&b), FRAMES, "round %u: pages in the log", round);
		EXPECT_EQ(frame_word(vm->mem->hva, 7), round * 1000 + 7, "round %u: on the host",
			  round);
		/* Out and in again: what was written must have been swapped. */
		pageout(vm);
		pageout(vm);
		EXPECT_EQ(swapped(&vm->mem->mem, 0, FRAMES), FRAMES,
			  "round %u: idle pages that went", round);
		expect_frames(v, vm->mem->gpa, FRAMES, round * 1000, "back from swap");
	}
	dirty_bitmap_free(&b);
}

/*
 * Without A bits ageing takes a mapping's rights away. An access gives all of them back but
 * writing, at once and without the lock; nothing but an access that the mapping never allowed
 * faults after that.
 */
TEST(whole_again, .what = "the first access to an aged page restores it, for fetches as well",
     .fixes = restore_fixes, .exclusive = true)
{
	struct vm *vm;
	struct vcpu *v;
	u64 faults, fast;
	u32 round, i;

	REQUIRE(engine()->age, "an engine that is asked for a page's age");
	vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K);
	v = vm->vcpu[0];
	for (i = 0; i < FRAMES; i++)
		place_function(vm, vm->mem->gpa + i * SZ_4K + 256, 0x100 + i);
	write_frames(v, vm->mem->gpa, FRAMES, 1);
	EXPECT_EQ(guest_exec(v, vm->mem->gpa + 256), 0x100);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < FRAMES; i++)
			engine()->age((char *)vm->mem->hva + i * SZ_4K, SZ_4K);
		guest_do(v, .kind = AGENT_NOP);
		faults = vcpu_stat(v, "pf_taken");
		fast = vcpu_stat(v, "pf_fast");
		expect_frames(v, vm->mem->gpa, FRAMES, 1, "aged");
		faults = vcpu_stat(v, "pf_taken") - faults;
		fast = vcpu_stat(v, "pf_fast") - fast;
		EXPECT(faults == 0 || faults >= FRAMES, "round %u: %lu faults of %u reads", round,
		       faults, FRAMES);
		EXPECT_EQ(fast, faults, "round %u: faults that took the fast path", round);
		faults = vcpu_stat(v, "pf_taken");
		for (i = 0; i < FRAMES; i++)
			EXPECT_EQ(guest_exec(v, vm->mem->gpa + i * SZ_4K + 256), 0x100 + i);
		EXPECT_EQ(vcpu_stat(v, "pf_taken"), faults, "round %u: fetches fault", round);
	}
}
