// SPDX-License-Identifier: GPL-2.0-only
/*
 * The regions of the model of host memory, in order of address: an array that is replaced whenever
 * it changes, so that faults can look at it without a lock. The host's lock is held by all callers.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/kvm/host_priv.h"

struct regions *host_regions;

static void publish(struct regions *rs)
{
	struct regions *old = host_regions;

	__atomic_store_n(&host_regions, rs, __ATOMIC_RELEASE);
	if (old)
		hw_rcu_free(old, free);
}

static struct regions *regions_new(unsigned int nr)
{
	return malloc(sizeof(struct regions) + nr * sizeof(struct region *));
}

static void pages_put(struct pages *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	munmap(p->word, p->bytes);
	free(p);
}

static void file_put(struct file *f)
{
	if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	hw_known_add(f->map, f->size, -1);
	munmap((void *)f->map, f->size);
	close(f->fd);
	free(f);
}

static void region_free(void *p)
{
	struct region *r = p;

	pages_put(r->pages);
	file_put(r->file);
	free(r);
}

void region_free_later(struct region *r)
{
	hw_rcu_free(r, region_free);
}

static struct region *region_copy(const struct region *r)
{
	struct region *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	*c = *r;
	__atomic_add_fetch(&c->pages->refs, 1, __ATOMIC_RELAXED);
	if (c->file)
		__atomic_add_fetch(&c->file->refs, 1, __ATOMIC_RELAXED);
	return c;
}

int regions_add(struct region *r)
{
	unsigned int nr = host_regions ? host_regions->nr : 0, i = 0;
	struct regions *rs = regions_new(nr + 1);

	if (!rs)
		return -ENOMEM;
	for (; i < nr && host_regions->r[i]->start < r->start; i++)
		rs->r[i] = host_regions->r[i];
	rs->r[i] = r;
	for (; i < nr; i++)
		rs->r[i + 1] = host_regions->r[i];
	rs->nr = nr + 1;
	publish(rs);
	return 0;
}

int regions_cut(u64 at)
{
	struct region *r = region_find(host_regions, at), *low, *high;
	unsigned int i, n = 0;
	struct regions *rs;
	u64 skip;

	if (!r || r->start == at)
		return 0;
	/* A cut between two huge pages splits neither. */
	if ((at & (SZ_2M - 1)) && (!r->level || r->level == PG_LEVEL_4K))
		split_huge(r, (at - r->start) >> PAGE_SHIFT);
	rs = regions_new(host_regions->nr + 1);
	low = region_copy(r);
	high = region_copy(r);
	if (!rs || !low || !high) {
		free(rs);
		if (low)
			region_free(low);
		if (high)
			region_free(high);
		return -ENOMEM;
	}
	skip = at - r->start;
	low->end = high->start = at;
	high->base += skip;
	high->page += skip >> PAGE_SHIFT;
	high->file_off += skip;
	for (i = 0; i < host_regions->nr; i++) {
		if (host_regions->r[i] != r) {
			rs->r[n++] = host_regions->r[i];
			continue;
		}
		rs->r[n++] = low;
		rs->r[n++] = high;
	}
	rs->nr = n;
	publish(rs);
	region_free_later(r);
	return 0;
}

/* Frames of the arena among pages [@i, @i + @n) that nobody will look up any more. */
void region_drop_frames(struct region *r, u64 i, u64 n)
{
	u64 hpa, from = 0, size = 0, end = i + n;

	for (; i < end; i++) {
		u64 word = page_word(r, i);

		if (r->file && !(word & PAGE_OWN))
			continue;
		hpa = page_hpa(r, i, word);
		if (size && hpa == from + size) {
			size += SZ_4K;
			continue;
		}
		if (size)
			arena_free(from, size);
		from = hpa;
		size = SZ_4K;
	}
	if (size)
		arena_free(from, size);
}

void regions_remove(u64 start, u64 end, bool drop)
{
	unsigned int i, n = 0, nr = host_regions ? host_regions->nr : 0;
	struct regions *rs, *old = host_regions;
	struct region **gone;
	unsigned int nr_gone = 0;

	rs = regions_new(nr);
	gone = malloc((nr + 1) * sizeof(struct region *));
	if (!rs || !gone)
		abort();
	for (i = 0; i < nr; i++) {
		struct region *r = old->r[i];

		if (r->start >= start && r->end <= end)
			gone[nr_gone++] = r;
		else
			rs->r[n++] = r;
	}
	rs->nr = n;
	if (!nr_gone) {
		free(rs);
		free(gone);
		return;
	}
	publish(rs);
	for (i = 0; i < nr_gone; i++) {
		if (drop)
			region_drop_frames(gone[i], 0, region_pages(gone[i]));
		region_free_later(gone[i]);
	}
	free(gone);
}

int region_replace(struct region *old, const struct region *copy)
{
	struct regions *rs = regions_new(host_regions->nr);
	struct region *r = region_copy(copy);
	unsigned int i;

	if (!rs || !r) {
		free(rs);
		if (r)
			region_free(r);
		return -ENOMEM;
	}
	for (i = 0; i < host_regions->nr; i++)
		rs->r[i] = host_regions->r[i] == old ? r : host_regions->r[i];
	rs->nr = host_regions->nr;
	publish(rs);
	region_free_later(old);
	return 0;
}

static bool joins(const struct region *a, const struct region *b)
{
	u64 size = a->end - a->start;

	return a->end == b->start && a->prot == b->prot && a->kind == b->kind &&
	       a->level == b->level && a->thp == b->thp && a->pages == b->pages &&
	       a->file == b->file && a->page + (size >> PAGE_SHIFT) == b->page &&
	       a->base + size == b->base;
}

void regions_merge(void)
{
	struct regions *rs, *old = host_regions;
	struct region *r, *both, *joined;
	unsigned int i;

	for (i = 0; old && i + 1 < old->nr; i++) {
		r = old->r[i];
		if (!joins(r, old->r[i + 1]))
			continue;
		both = region_copy(r);
		rs = regions_new(old->nr - 1);
		if (!both || !rs) { /* they may as well stay apart */
			if (both)
				region_free(both);
			free(rs);
			return;
		}
		both->end = old->r[i + 1]->end;
		memcpy(rs->r, old->r, i * sizeof(rs->r[0]));
		rs->r[i] = both;
		memcpy(rs->r + i + 1, old->r + i + 2, (old->nr - i - 2) * sizeof(rs->r[0]));
		rs->nr = old->nr - 1;
		joined = old->r[i + 1];
		publish(rs);
		region_free_later(r);
		region_free_later(joined);
		old = rs;
		i--; /* the next may join as well */
	}
}
