// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames for tables, from blocks of 2 MiB aligned to their size, whose first frame has the
 * owner words. The processor may read tables that are allocated and no others, so that a
 * walk through a table that was freed is seen as such.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "x86/kvm/hw_priv.h"
#include "x86/kvm/kvm.h"

#define PER_BLOCK (SZ_2M / SZ_4K)

/* A pool of free frames. Frames that were never used are zero already. */
struct pool {
	struct hw_spinlock lock;
	bool low;
	void *free; /* linked through their owner words */
	u8 *fresh, *fresh_end;
};

static struct pool pools[2] = {{.low = false}, {.low = true}};

/*
 * The owner word of the block's first frame, which is no table, points to this.
 */
struct block {
	u64 live[PER_BLOCK / 64];
	bool low;
};

static struct block *block_of(const void *table)
{
	return *(struct block **)((u64)table & ~(SZ_2M - 1));
}

static void set_live(const void *table, bool live)
{
	unsigned int i = (u64)table % SZ_2M / SZ_4K;
	u64 *word = &block_of(table)->live[i / 64];

	if (live)
		__atomic_fetch_or(word, 1ull << i % 64, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(word, ~(1ull << i % 64), __ATOMIC_RELAXED);
}

bool hw_table_live(hpa_t hpa)
{
	unsigned int i = hpa % SZ_2M / SZ_4K;

	return __atomic_load_n(&block_of((void *)hpa)->live[i / 64], __ATOMIC_RELAXED) >> i % 64 &
	       1;
}

static bool new_block(struct pool *pool)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (pool->low ? MAP_32BIT : 0);
	struct block *b = calloc(1, sizeof(*b));
	u8 *p, *start;

	if (!b)
		return false;
	p = mmap(NULL, 2 * SZ_2M, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED) {
		free(b);
		return false;
	}
	start = (u8 *)(((u64)p + SZ_2M - 1) & ~(SZ_2M - 1));
	if (start > p)
		munmap(p, start - p);
	munmap(start + SZ_2M, p + SZ_2M - start);
	madvise(start, SZ_2M, MADV_NOHUGEPAGE);
	b->low = pool->low;
	*(struct block **)start = b;
	hw_known_tables((u64)start);
	pool->fresh = start + SZ_4K;
	pool->fresh_end = start + SZ_2M;
	return true;
}

/* How many allocations there are to be until one fails, that one included; 0: none. */
static u64 fail_after;

void intree_fail_alloc(uint64_t nth)
{
	__atomic_store_n(&fail_after, nth, __ATOMIC_RELAXED);
}

static bool fails(void)
{
	u64 n = __atomic_load_n(&fail_after, __ATOMIC_RELAXED);

	while (n && !__atomic_compare_exchange_n(&fail_after, &n, n - 1, true, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED))
		;
	return n == 1;
}

void *hw_table_alloc(bool low)
{
	struct pool *pool = &pools[low];
	void *table = NULL;
	bool fresh = false;

	if (fails())
		return NULL;
	hw_spin_lock(&pool->lock);
	if (pool->free) {
		table = pool->free;
		pool->free = *hw_table_owner(table);
	} else if (pool->fresh != pool->fresh_end || new_block(pool)) {
		table = pool->fresh;
		pool->fresh += SZ_4K;
		fresh = true;
	}
	hw_spin_unlock(&pool->lock);
	if (!table)
		return NULL;
	__atomic_store_n(hw_table_owner(table), NULL, __ATOMIC_RELAXED);
	if (!fresh)
		memset(table, 0, SZ_4K);
	set_live(table, true);
	return table;
}

void hw_table_free(void *table)
{
	struct pool *pool;

	if (!table)
		return;
	MMU_BUG_ON(!hw_table_live((hpa_t)table));
	pool = &pools[block_of(table)->low];
	set_live(table, false);
	hw_spin_lock(&pool->lock);
	__atomic_store_n(hw_table_owner(table), pool->free, __ATOMIC_RELAXED);
	pool->free = table;
	hw_spin_unlock(&pool->lock);
}

void *hw_alloc(size_t size)
{
	return fails() ? NULL : calloc(1, size);
}

void hw_free(void *p)
{
	free(p);
}
