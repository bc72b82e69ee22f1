// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where anonymous guest memory lives: one sparse memory file, all of which is mapped once,
 * shared. A frame's address in that mapping is its host physical address. User space sees
 * frames at other addresses, where parts of the file are mapped again.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/kvm/host_priv.h"

#define ARENA_SIZE (256 * GiB)
#define KEEP	   (256 * MiB) /* freed memory whose content stays */

struct extent {
	struct extent *next;
	u64 hpa, size;
	bool punched;
};

static int fd = -1;
static u64 next; /* from here up nothing was given out */
static u8 *flags;
static struct extent *oldest, **newest = &oldest;
static u64 kept; /* bytes freed and not punched */

u64 reserve_space(u64 size, u64 like, u64 align)
{
	u64 p, start;
	void *m = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (m == MAP_FAILED)
		return 0;
	p = (u64)m;
	start = p + ((like - p) & (align - 1));
	if (start > p)
		munmap(m, start - p);
	if (start + size < p + size + align)
		munmap((void *)(start + size), p + size + align - start - size);
	return start;
}

static int new_file(void)
{
	int f = memfd_create("guest memory", MFD_CLOEXEC);

	if (f >= 0 && ftruncate(f, ARENA_SIZE)) {
		close(f);
		f = -1;
	}
	return f;
}

static bool arena_init(void)
{
	u64 base;

	if (fd >= 0)
		return true;
	fd = new_file();
	if (fd < 0)
		return false;
	base = reserve_space(ARENA_SIZE, 0, SZ_1G);
	flags = mmap(NULL, ARENA_SIZE / SZ_4K, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!base || flags == MAP_FAILED ||
	    mmap((void *)base, ARENA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
		if (base)
			munmap((void *)base, ARENA_SIZE);
		close(fd);
		fd = -1;
		return false;
	}
	madvise((void *)base, ARENA_SIZE, MADV_DONTDUMP);
	next = base;
	/* The size last: who sees it sees the base. */
	__atomic_store_n(&hw_arena_base, base, __ATOMIC_RELEASE);
	__atomic_store_n(&hw_arena_size, ARENA_SIZE, __ATOMIC_RELEASE);
	return true;
}

static void punch(struct extent *e)
{
	if (e->punched)
		return;
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, e->hpa - hw_arena_base, e->size);
	memset(flags + ((e->hpa - hw_arena_base) >> PAGE_SHIFT), 0, e->size >> PAGE_SHIFT);
	e->punched = true;
	kept -= e->size;
}

static void append(u64 hpa, u64 size, bool punched)
{
	struct extent *e;

	if (!size)
		return;
	e = calloc(1, sizeof(*e));
	if (!e) /* the address space is lost, nothing else */
		return;
	*e = (struct extent){.hpa = hpa, .size = size, .punched = punched};
	*newest = e;
	newest = &e->next;
	if (!punched)
		kept += size;
}

/* Out of what was freed, the longest ago first. */
static u64 reuse(u64 size, u64 like, u64 align)
{
	struct extent **at, *e;
	u64 start, end;

	for (at = &oldest; (e = *at); at = &e->next) {
		start = e->hpa + ((like - e->hpa) & (align - 1));
		end = e->hpa + e->size;
		if (start + size > end || start < e->hpa)
			continue;
		punch(e);
		*at = e->next;
		if (newest == &e->next)
			newest = at;
		append(e->hpa, start - e->hpa, true);
		append(start + size, end - start - size, true);
		free(e);
		return start;
	}
	return 0;
}

u64 arena_alloc(u64 size, u64 like, u64 align)
{
	u64 start;

	if (!arena_init())
		return 0;
	start = next + ((like - next) & (align - 1));
	if (start + size > hw_arena_base + hw_arena_size)
		return reuse(size, like, align);
	append(next, start - next, true);
	next = start + size;
	return start;
}

void arena_free(u64 hpa, u64 size)
{
	struct extent *e;

	append(hpa, size, false);
	for (e = oldest; e && kept > KEEP; e = e->next)
		punch(e);
}

int arena_fd(void)
{
	return fd;
}

bool arena_resident(u64 hpa, u64 pages, unsigned char *vec)
{
	return !mincore((void *)hpa, pages << PAGE_SHIFT, vec);
}

u8 *arena_flags(u64 hpa)
{
	u64 offset = hpa - hw_arena_base;

	return offset < hw_arena_size ? flags + (offset >> PAGE_SHIFT) : NULL;
}

int arena_fork_copy(void)
{
	return new_file();
}

void arena_become(int new)
{
	if (mmap((void *)hw_arena_base, ARENA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, new, 0) == MAP_FAILED)
		abort();
	close(fd);
	fd = new;
}
