// SPDX-License-Identifier: GPL-2.0-only
/*
 * madvise(), and fork: pages are given back, swapped out, joined to huge ones; a child gets a copy of
 * private memory.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/kvm/host_priv.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define BLOCK (SZ_2M / SZ_4K)

/* The part of a region that a call is about, in its pages. */
struct part {
	struct region *r;
	u64 first, end;
};

/* The next part of [*@at, @end) in the model; false: none. Moves *@at behind it. */
static bool next_part(u64 *at, u64 end, struct part *p)
{
	unsigned int i;

	for (i = 0; host_regions && i < host_regions->nr; i++) {
		struct region *r = host_regions->r[i];
		u64 from = *at > r->start ? *at : r->start, to = end < r->end ? end : r->end;

		if (from >= to)
			continue;
		*p = (struct part){r, (from - r->start) >> PAGE_SHIFT,
				   (to - r->start) >> PAGE_SHIFT};
		*at = to;
		return true;
	}
	return false;
}

/* Other frames, with nothing in them. The old ones keep their content for a while. */
static int renew_frames(const struct part *p)
{
	struct region *r = p->r;
	u64 n = p->end - p->first, i, hpa;
	u64 align = r->level == PG_LEVEL_1G ? SZ_1G : n >= BLOCK ? SZ_2M : SZ_4K;

	hpa = arena_alloc(n << PAGE_SHIFT, r->start + (p->first << PAGE_SHIFT), align);
	if (!hpa)
		return -ENOMEM;
	region_drop_frames(r, p->first, n);
	for (i = 0; i < n; i++)
		page_set(r, p->first + i, hpa + (i << PAGE_SHIFT));
	return map_pages(r, p->first, n);
}

static void unmap_pages(const struct part *p, u64 keep)
{
	u64 i;

	for (i = p->first; i < p->end; i++)
		page_set(p->r, i, page_word(p->r, i) & (~PAGE_FLAGS | PAGE_OWN | keep));
}

static int dontneed(const struct part *p)
{
	struct region *r = p->r;
	u64 i;

	if (r->kind == ANON_PRIVATE)
		return renew_frames(p);
	if (r->kind == FILE_PRIVATE) {
		region_drop_frames(r, p->first, p->end - p->first);
		for (i = p->first; i < p->end; i++)
			page_set(r, i, 0);
		return map_pages(r, p->first, p->end - p->first);
	}
	unmap_pages(p, 0);
	return 0;
}

static int remove_pages(const struct part *p)
{
	u64 start = p->r->start + (p->first << PAGE_SHIFT);

	if (p->r->kind == ANON_SHARED)
		return renew_frames(p);
	if (p->r->kind != FILE_SHARED)
		return -EINVAL;
	unmap_pages(p, 0);
	return madvise((void *)start, (p->end - p->first) << PAGE_SHIFT, MADV_REMOVE) ? -errno : 0;
}

static void page_out(const struct part *p)
{
	u64 i, word;

	for (i = p->first; i < p->end; i++) {
		word = page_word(p->r, i);
		if (!(word & PAGE_PRESENT))
			continue;
		/* The zero page is dropped, not written out. */
		page_set(p->r, i,
			 (word & (~PAGE_FLAGS | PAGE_OWN)) |
				 (word & PAGE_WRITE || p->r->kind != ANON_PRIVATE ? PAGE_USED : 0));
	}
}

static int collapse(const struct part *p)
{
	u64 hva = p->r->start + (p->first << PAGE_SHIFT), at, i;
	int ret;

	if (p->r->kind != ANON_PRIVATE || p->r->level > PG_LEVEL_4K)
		return -EINVAL;
	for (at = (hva + SZ_2M - 1) & ~(SZ_2M - 1);
	     at + SZ_2M <= p->r->start + (p->end << PAGE_SHIFT); at += SZ_2M) {
		i = (at - p->r->start) >> PAGE_SHIFT;
		if (page_word(p->r, i) & PAGE_HUGE)
			continue;
		ret = make_huge(p->r, i);
		if (ret)
			return ret;
	}
	return 0;
}

static int advise(const struct part *p, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		return dontneed(p);
	case MADV_REMOVE:
		return remove_pages(p);
	case MADV_PAGEOUT:
		if (p->r->level == PG_LEVEL_4K)
			page_out(p);
		return 0;
	case MADV_COLLAPSE:
		return collapse(p);
	}
	return 0;
}

/* Huge pages that the range takes only a part of are small ones from here on. */
static void split_ends(u64 start, u64 end)
{
	struct region *r = region_find(host_regions, start);

	if (r && (start & (SZ_2M - 1)))
		split_huge(r, (start - r->start) >> PAGE_SHIFT);
	r = region_find(host_regions, end - 1);
	if (r && (end & (SZ_2M - 1)))
		split_huge(r, (end - 1 - r->start) >> PAGE_SHIFT);
}

/* Hugetlb memory can be given back in whole pages only. */
static bool cuts_hugetlb(u64 start, u64 end)
{
	u64 at = start, align;
	struct part p;

	while (next_part(&at, end, &p)) {
		align = p.r->level == PG_LEVEL_1G ? SZ_1G : SZ_2M;
		if (p.r->level > PG_LEVEL_4K &&
		    (((p.r->start + (p.first << PAGE_SHIFT)) | at) & (align - 1)))
			return true;
	}
	return false;
}

static int change_advice(u64 start, u64 end, bool thp)
{
	struct region copy;
	struct part p;
	u64 at = start;
	int ret;

	/* Regions of this advice already need no cut. */
	while (next_part(&at, end, &p)) {
		if (p.r->thp == thp)
			continue;
		ret = regions_cut(p.r->start + (p.first << PAGE_SHIFT));
		if (!ret)
			ret = regions_cut(at);
		if (ret)
			return ret;
		p.r = region_find(host_regions, at - 1);
		copy = *p.r;
		copy.thp = thp;
		ret = region_replace(p.r, &copy);
		if (ret)
			return ret;
	}
	regions_merge();
	return 0;
}

/* Memory that isn't ours: the kernel's doing, announced as it would be. */
static int advise_plain(u64 start, u64 end, int advice)
{
	int ret = 0;

	change_begin(start, end);
	if (madvise((void *)start, end - start, advice))
		ret = -errno;
	change_end();
	return ret;
}

static int advise_range(u64 start, u64 end, int advice)
{
	u64 at = start, from = start, to = end;
	struct part p;
	int ret = 0;

	if (!next_part(&at, end, &p))
		return advise_plain(start, end, advice);
	switch (advice) {
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
		return change_advice(start, end, advice == MADV_HUGEPAGE);
	case MADV_DONTNEED:
	case MADV_REMOVE:
	case MADV_PAGEOUT:
	case MADV_COLLAPSE:
		break;
	default:
		return 0;
	}
	if ((advice == MADV_DONTNEED || advice == MADV_REMOVE) && cuts_hugetlb(start, end))
		return -EINVAL;
	widen_to_huge(&from, &to);
	change_begin(from, to);
	split_ends(start, end);
	for (at = start; !ret && next_part(&at, end, &p);)
		ret = advise(&p, advice);
	change_end();
	return ret;
}

int intree_madvise(void *addr, size_t len, int advice)
{
	u64 start = (u64)addr, end = (start + len + SZ_4K - 1) & ~(SZ_4K - 1);
	int ret = -EINVAL;

	if (!(start & (SZ_4K - 1)) && end >= start) {
		ret = 0;
		if (end != start) {
			host_lock();
			ret = advise_range(start, end, advice);
			host_unlock();
		}
	}
	if (!ret)
		return 0;
	errno = -ret;
	return -1;
}

size_t intree_huge_bytes(const void *addr, size_t len)
{
	u64 start = (u64)addr, end = start + len, at, i;
	struct region *r;
	size_t sum = 0;

	host_lock();
	for (at = (start + SZ_2M - 1) & ~(SZ_2M - 1); at + SZ_2M <= end; at += SZ_2M) {
		r = region_find(host_regions, at);
		if (!r || r->kind != ANON_PRIVATE || r->level > PG_LEVEL_4K || !block_fits(r, at))
			continue;
		i = (at - r->start) >> PAGE_SHIFT;
		/* Those that no guest has touched are what they will be. */
		if ((page_word(r, i) & PAGE_HUGE) || (r->thp && block_empty(r, i)))
			sum += SZ_2M;
	}
	host_unlock();
	return sum;
}

/* --- fork -------------------------------------------------------------------------------- */

/*
 * The child's private memory is a copy, in a memory file of its own, that is made before the fork while
 * no guest runs on it. Both sides have to be told apart from then on in any case: what either
 * allocates later must not be the other's too.
 */
static int child_fd = -1;

/* The parts of [@hpa, @hpa + @size) that have content. */
static void copy_frames(u64 hpa, u64 size)
{
	off_t at = hpa - hw_arena_base, end = at + size, stop;

	while (at < end) {
		at = lseek(arena_fd(), at, SEEK_DATA);
		if (at < 0 || at >= end)
			return;
		stop = lseek(arena_fd(), at, SEEK_HOLE);
		if (stop < 0 || stop > end)
			stop = end;
		while (at < stop) {
			ssize_t n = pwrite(child_fd, (void *)(hw_arena_base + at), stop - at, at);

			if (n <= 0)
				abort();
			at += n;
		}
	}
}

static void copy_region(const struct region *r)
{
	u64 n = region_pages(r), i, count, hpa, word;

	for (i = 0; i < n; i += count) {
		word = page_word(r, i);
		hpa = page_hpa(r, i, word);
		count = 1;
		if (r->file && !(word & PAGE_OWN))
			continue;
		while (i + count < n && (!r->file || (page_word(r, i + count) & PAGE_OWN)) &&
		       page_hpa(r, i + count, page_word(r, i + count)) ==
			       hpa + (count << PAGE_SHIFT))
			count++;
		copy_frames(hpa, count << PAGE_SHIFT);
	}
}

/* What both have then nobody may write, until one of them gets a copy. */
static void share(struct region *r)
{
	u64 n = region_pages(r), i;

	if (r->kind != ANON_PRIVATE || r->level > PG_LEVEL_4K)
		return;
	for (i = 0; i < n; i++)
		if (page_word(r, i) & PAGE_WRITE)
			page_set(r, i, page_word(r, i) & ~PAGE_WRITE);
}

static void before_fork(void)
{
	struct region *r;
	unsigned int i;

	host_lock();
	if (arena_fd() < 0)
		return;
	child_fd = arena_fork_copy();
	if (child_fd < 0)
		abort();
	/* The kernel protects every page of the process, and says so. */
	change_begin(0, 1ull << 47);
	for (i = 0; host_regions && i < host_regions->nr; i++) {
		r = host_regions->r[i];
		if (r->kind == ANON_SHARED || r->kind == FILE_SHARED)
			continue;
		copy_region(r);
		share(r);
	}
}

static void parent_after_fork(void)
{
	if (child_fd >= 0) {
		close(child_fd);
		child_fd = -1;
		change_end();
	}
	host_unlock();
}

static void child_after_fork(void)
{
	struct region *r;
	unsigned int i;
	u64 k;

	host_lists_after_fork();
	if (child_fd >= 0) {
		arena_become(child_fd);
		child_fd = -1;
		for (i = 0; host_regions && i < host_regions->nr; i++) {
			r = host_regions->r[i];
			if (r->kind == ANON_PRIVATE && map_pages(r, 0, region_pages(r)))
				abort();
			for (k = 0; r->kind == FILE_PRIVATE && k < region_pages(r); k++)
				if ((page_word(r, k) & PAGE_OWN) && map_pages(r, k, 1))
					abort();
		}
	}
	host_unlock();
}

static __attribute__((constructor)) void host_init(void)
{
	pthread_atfork(before_fork, parent_after_fork, child_after_fork);
}
