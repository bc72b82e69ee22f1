// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system calls that change host memory. Each does what the kernel's does to the process's own
 * mapping, and tells the VMs whose slots it touches before.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "x86/kvm/host_priv.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#define BLOCK (SZ_2M / SZ_4K)

static u64 round_up(u64 size, u64 to)
{
	return (size + to - 1) & ~(to - 1);
}

static u64 region_align(const struct region *r)
{
	return r->level == PG_LEVEL_1G ? SZ_1G : SZ_2M;
}

int map_pages(struct region *r, u64 i, u64 n)
{
	u64 end = i + n, hpa, count, off;
	int flags, fd;

	for (; i < end; i += count) {
		u64 word = page_word(r, i);
		bool own = !r->file || (word & PAGE_OWN);

		hpa = page_hpa(r, i, word);
		for (count = 1; i + count < end; count++) {
			word = page_word(r, i + count);
			if (page_hpa(r, i + count, word) != hpa + (count << PAGE_SHIFT) ||
			    own != (!r->file || (word & PAGE_OWN)))
				break;
		}
		fd = own ? arena_fd() : r->file->fd;
		off = own ? hpa - hw_arena_base : r->file_off + (i << PAGE_SHIFT);
		flags = MAP_FIXED | MAP_NORESERVE |
			(own || r->kind == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE);
		if (mmap((void *)(r->start + (i << PAGE_SHIFT)), count << PAGE_SHIFT, r->prot,
			 flags, fd, off) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

/* Takes [@start, @end) out of the model. Within a change. */
static int forget(u64 start, u64 end, bool drop)
{
	int ret = regions_cut(start);

	if (!ret)
		ret = regions_cut(end);
	if (!ret)
		regions_remove(start, end, drop);
	return ret;
}

/* --- mmap ------------------------------------------------------------------------------ */

static struct region *region_new(u64 start, u64 len, int prot)
{
	struct region *r = calloc(1, sizeof(*r));
	struct pages *p = calloc(1, sizeof(*p));

	if (!r || !p)
		goto fail;
	p->refs = 1;
	p->bytes = round_up(len / SZ_4K * sizeof(u64), SZ_4K);
	p->word = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->word == MAP_FAILED)
		goto fail;
	r->start = start;
	r->end = start + len;
	r->prot = prot;
	r->level = PG_LEVEL_4K;
	r->page = p->word;
	r->pages = p;
	return r;
fail:
	free(r);
	free(p);
	return NULL;
}

/* The second mapping of the part of a file that @r is of. 0 or -errno. */
static int map_file(struct region *r, int fd, u64 off)
{
	u64 len = r->end - r->start;
	struct file *f = calloc(1, sizeof(*f));
	struct stat st;
	void *map = MAP_FAILED;
	int ret;

	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->size = len;
	f->fd = dup(fd);
	f->map = f->fd >= 0 && !fstat(fd, &st) ? reserve_space(len, r->start, region_align(r)) : 0;
	if (f->map) {
		map = mmap((void *)f->map, len, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, off);
		/* A file that was opened to be read; nobody may get the right to write. */
		if (map == MAP_FAILED)
			map = mmap((void *)f->map, len, PROT_READ,
				   MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, off);
	}
	if (map == MAP_FAILED) {
		ret = f->map ? -errno : -ENOMEM;
		if (f->map)
			munmap((void *)f->map, len);
		if (f->fd >= 0)
			close(f->fd);
		free(f);
		return ret;
	}
	hw_known_add(f->map, len, 1);
	r->file = f;
	r->file_off = off;
	r->file_len = st.st_size;
	r->base = f->map;
	return 0;
}

static int map_new(struct region *r, int flags, int fd, u64 off)
{
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
	u64 len = r->end - r->start;
	int ret;

	if (flags & MAP_ANONYMOUS) {
		r->kind = shared ? ANON_SHARED : ANON_PRIVATE;
		r->base = arena_alloc(len, r->start, len < SZ_2M ? SZ_4K : region_align(r));
		if (!r->base)
			return -ENOMEM;
	} else {
		r->kind = shared ? FILE_SHARED : FILE_PRIVATE;
		ret = map_file(r, fd, off);
		if (ret)
			return ret;
	}
	ret = map_pages(r, 0, region_pages(r));
	return ret ? ret : regions_add(r);
}

static void region_undo(struct region *r)
{
	if (!r->file && r->base)
		arena_free(r->base, r->end - r->start);
	region_free_later(r);
}

void *host_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	u64 start = (u64)addr, align = SZ_2M;
	u8 level = PG_LEVEL_4K;
	bool fixed = flags & MAP_FIXED, reserved = false;
	struct region *r;
	int ret = -EINVAL;

	if (flags & MAP_HUGETLB) {
		unsigned int shift = (unsigned int)flags >> MAP_HUGE_SHIFT & 63;

		if (shift && shift != 21 && shift != 30)
			goto fail;
		level = shift == 30 ? PG_LEVEL_1G : PG_LEVEL_2M;
		align = level == PG_LEVEL_1G ? SZ_1G : SZ_2M;
	}
	if (!len || (off & (SZ_4K - 1)))
		goto fail;
	len = round_up(len, level == PG_LEVEL_4K ? SZ_4K : align);
	if (fixed && (start & (level == PG_LEVEL_4K ? SZ_4K - 1 : align - 1)))
		goto fail;
	if (!fixed) {
		start = reserve_space(len, 0, align);
		reserved = true;
		ret = -ENOMEM;
		if (!start)
			goto fail;
	}
	ret = -ENOMEM;
	r = region_new(start, len, prot);
	if (!r)
		goto unreserve;
	r->level = level;
	host_lock();
	change_begin(start, start + len);
	ret = forget(start, start + len, true);
	if (!ret)
		ret = map_new(r, flags, fd, off);
	if (ret)
		region_undo(r);
	change_end();
	host_unlock();
	if (!ret)
		return (void *)start;
unreserve:
	if (reserved)
		munmap((void *)start, len);
fail:
	errno = -ret;
	return MAP_FAILED;
}

/* --- munmap, mprotect, mremap -------------------------------------------------------------- */

static int result(int ret)
{
	if (!ret)
		return 0;
	errno = -ret;
	return -1;
}

static bool valid_range(const void *addr, size_t *len)
{
	u64 start = (u64)addr;

	*len = round_up(*len, SZ_4K);
	return !(start & (SZ_4K - 1)) && start + *len >= start;
}

int intree_munmap(void *addr, size_t len)
{
	u64 start = (u64)addr, from = start, to;
	int ret;

	if (!valid_range(addr, &len) || !len)
		return result(-EINVAL);
	to = start + len;
	host_lock();
	widen_to_huge(&from, &to);
	change_begin(from, to);
	ret = forget(start, start + len, true);
	if (!ret && munmap(addr, len))
		ret = -errno;
	change_end();
	host_unlock();
	return result(ret);
}

/* Does @fn to each region within [@start, @end), which have been cut there. */
static int each_region(u64 start, u64 end, int (*fn)(struct region *r, void *arg), void *arg)
{
	struct region *r;
	unsigned int i;
	int ret;

	for (i = 0; host_regions && i < host_regions->nr; i++) {
		r = host_regions->r[i];
		if (r->start < start || r->end > end)
			continue;
		ret = fn(r, arg);
		if (ret)
			return ret;
	}
	return 0;
}

static int set_prot(struct region *r, void *arg)
{
	struct region copy = *r;

	copy.prot = *(int *)arg;
	return copy.prot == r->prot ? 0 : region_replace(r, &copy);
}

int intree_mprotect(void *addr, size_t len, int prot)
{
	u64 start = (u64)addr, from = start, to;
	int ret;

	if (!valid_range(addr, &len))
		return result(-EINVAL);
	if (!len)
		return 0;
	to = start + len;
	host_lock();
	widen_to_huge(&from, &to);
	change_begin(from, to);
	ret = mprotect(addr, len, prot) ? -errno : 0;
	if (!ret)
		ret = regions_cut(start);
	if (!ret)
		ret = regions_cut(start + len);
	if (!ret)
		ret = each_region(start, start + len, set_prot, &prot);
	regions_merge();
	change_end();
	host_unlock();
	return result(ret);
}

struct move {
	u64 from, to;
};

/* The region at its new address; the old one is taken out later, its frames kept. */
static int move_region(struct region *r, void *arg)
{
	const struct move *m = arg;
	struct region *n = malloc(sizeof(*n));
	u64 i;
	int ret;

	if (!n)
		return -ENOMEM;
	*n = *r;
	n->start = r->start - m->from + m->to;
	n->end = r->end - m->from + m->to;
	if (((m->to - m->from) & (SZ_2M - 1)) && r->level == PG_LEVEL_4K)
		for (i = 0; i < region_pages(r); i++)
			page_set(r, i, page_word(r, i) & ~PAGE_HUGE);
	__atomic_add_fetch(&n->pages->refs, 1, __ATOMIC_RELAXED);
	if (n->file)
		__atomic_add_fetch(&n->file->refs, 1, __ATOMIC_RELAXED);
	ret = map_pages(n, 0, region_pages(n));
	if (!ret)
		ret = regions_add(n);
	if (ret)
		region_free_later(n);
	return ret;
}

/* Both ranges have no guest's translations any more. */
static int move_all(u64 from, u64 len, u64 to)
{
	struct move m = {from, to};
	struct region *r;
	u64 at = from;
	int ret = forget(to, to + len, true);

	if (!ret)
		ret = regions_cut(from);
	if (!ret)
		ret = regions_cut(from + len);
	while (!ret && at < from + len) {
		r = region_find(host_regions, at);
		if (!r)
			return -EFAULT;
		at = r->end;
		ret = move_region(r, &m);
	}
	if (ret)
		return ret;
	regions_remove(from, from + len, false);
	return munmap((void *)from, len) ? -errno : 0;
}

void *intree_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	u64 from = (u64)addr, to = (u64)new_addr, lo, hi;
	bool ours;
	int ret;

	if (!valid_range(addr, &old_len) || !new_len || !old_len) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	new_len = round_up(new_len, SZ_4K);
	host_lock();
	ours = region_find(host_regions, from) != NULL;
	host_unlock();
	if (!(flags & MREMAP_FIXED) && new_len <= old_len) {
		if (new_len < old_len && intree_munmap((u8 *)addr + new_len, old_len - new_len))
			return MAP_FAILED;
		return addr;
	}
	ret = -EINVAL;
	if (!(flags & MREMAP_MAYMOVE) || (to & (SZ_4K - 1)) || !ours)
		goto fail;
	if (flags & MREMAP_FIXED) {
		if (from < to + new_len && to < from + old_len)
			goto fail;
		if (new_len > old_len) {
			/* What grows is new memory; the rest is moved below it. */
			if (host_mmap((void *)(to + old_len), new_len - old_len,
				      PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
				return MAP_FAILED;
		}
	} else {
		void *fresh = host_mmap(NULL, new_len, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (fresh == MAP_FAILED)
			return fresh;
		to = (u64)fresh;
	}
	if (new_len < old_len && intree_munmap((u8 *)addr + new_len, old_len - new_len))
		return MAP_FAILED;
	if (new_len < old_len)
		old_len = new_len;
	host_lock();
	/* One change of both, so that no fault sees half of it. */
	lo = from;
	hi = from + old_len;
	widen_to_huge(&lo, &hi);
	change_begin(lo, hi);
	lo = to;
	hi = to + old_len;
	widen_to_huge(&lo, &hi);
	change_begin(lo, hi);
	ret = move_all(from, old_len, to);
	change_end();
	host_unlock();
	if (!ret)
		return (void *)to;
fail:
	errno = -ret;
	return MAP_FAILED;
}
