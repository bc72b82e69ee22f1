// SPDX-License-Identifier: GPL-2.0-only
/*
 * Maps host memory of each kind, aligned so that huge pages are possible, and
 * says what is missing where they are not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"
#include "test.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif

static const struct {
	const char *name;
	u64 page_size;
	bool shared, file, hugetlb;
} backings[] = {
	[MEM_ANON] = {"anonymous", SZ_4K, false, false, false},
	[MEM_THP] = {"transparent huge pages", SZ_2M, false, false, false},
	[MEM_HUGETLB_2M] = {"hugetlb 2 MiB", SZ_2M, false, false, true},
	[MEM_HUGETLB_1G] = {"hugetlb 1 GiB", SZ_1G, false, false, true},
	[MEM_MEMFD] = {"memfd", SZ_4K, true, true, false},
	[MEM_MEMFD_2M] = {"memfd hugetlb 2 MiB", SZ_2M, true, true, true},
	[MEM_SHARED] = {"shared anonymous", SZ_4K, true, false, false},
};

const char *mem_backing_name(enum mem_backing backing)
{
	return backings[backing].name;
}

/* Reserves address space so that the mapping can start at a multiple of @align. */
static void *reserve(u64 size, u64 align)
{
	u64 start, aligned;
	void *p = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		test_error("no address space for %lu bytes of guest memory: %s", size + align,
			   strerror(errno));
	start = (u64)p;
	aligned = (start + align - 1) & ~(align - 1);
	if (aligned != start)
		munmap(p, aligned - start);
	munmap((void *)(aligned + size), start + align - aligned);
	return (void *)aligned;
}

static void require_thp(void)
{
	char line[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	REQUIRE(f && !strstr(line, "[never]"),
		"transparent huge pages (/sys/kernel/mm/transparent_hugepage/enabled is not \"never\")");
}

struct memory memory_alloc(u64 size, enum mem_backing backing)
{
	struct memory m = {.backing = backing, .page_size = backings[backing].page_size, .fd = -1};
	u64 align = m.page_size > SZ_2M ? m.page_size : SZ_2M;
	int flags = MAP_FIXED | (backings[backing].shared ? MAP_SHARED : MAP_PRIVATE);
	const struct engine *e = engine();
	unsigned int file = MFD_CLOEXEC;
	int huge = 0;

	m.size = (size + m.page_size - 1) & ~(m.page_size - 1);
	if (backing == MEM_THP && e->kernel_memory)
		require_thp();
	if (backings[backing].hugetlb)
		huge = __builtin_ctzll(m.page_size);
	if (backings[backing].file) {
		/* A model needs no pool of huge pages: it's told the size with the mapping. */
		if (huge && e->kernel_memory)
			file |= MFD_HUGETLB | (unsigned int)huge << MAP_HUGE_SHIFT;
		m.fd = memfd_create("mmuscope", file);
		if (m.fd < 0 || ftruncate(m.fd, m.size))
			test_skip("guest memory of %s: memfd of %lu bytes: %s",
				  backings[backing].name, m.size, strerror(errno));
	} else {
		flags |= MAP_ANONYMOUS;
	}
	if (huge && (m.fd < 0 || !e->kernel_memory))
		flags |= MAP_HUGETLB | huge << MAP_HUGE_SHIFT;
	if (!huge)
		flags |= MAP_NORESERVE;
	m.hva = e->mmap(reserve(m.size, align), m.size, PROT_READ | PROT_WRITE, flags, m.fd, 0);
	if (m.hva == MAP_FAILED)
		test_skip(
			"guest memory of %s: %lu bytes: %s (see /sys/kernel/mm/hugepages/*/nr_hugepages)",
			backings[backing].name, m.size, strerror(errno));
	if (backing == MEM_THP)
		memory_madvise(&m, 0, m.size, MADV_HUGEPAGE);
	else if (!backings[backing].hugetlb)
		e->madvise(m.hva, m.size, MADV_NOHUGEPAGE); /* fails where THP is not built in */
	return m;
}

void memory_free(struct memory *m)
{
	if (m->hva)
		engine()->munmap(m->hva, m->size);
	if (m->fd >= 0)
		close(m->fd);
	m->hva = NULL;
	m->fd = -1;
}

void memory_madvise(struct memory *m, u64 offset, u64 size, int advice)
{
	if (engine()->madvise((char *)m->hva + offset, size, advice))
		test_error("madvise(%s memory + %#lx, %#lx, %d): %s", backings[m->backing].name,
			   offset, size, advice, strerror(errno));
}

void memory_mprotect(struct memory *m, u64 offset, u64 size, int prot)
{
	if (engine()->mprotect((char *)m->hva + offset, size, prot))
		test_error("mprotect(%s memory + %#lx, %#lx, %d): %s", backings[m->backing].name,
			   offset, size, prot, strerror(errno));
}

u64 memory_thp_bytes(const struct memory *m, u64 offset, u64 size)
{
	return engine()->huge_bytes((char *)m->hva + offset, size);
}
