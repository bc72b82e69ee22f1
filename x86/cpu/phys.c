// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses to physical memory by atomic instructions of the host, and the arena.
 * Loads acquire and stores release, as x86 orders them; compare-and-exchange is
 * sequentially consistent, as a locked instruction is.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "x86/cpu/phys.h"

static u8 *locate(struct phys *p, hpa_t pa, unsigned int size)
{
	u8 *frame;

	assert(size && (pa & (SZ_4K - 1)) + size <= SZ_4K);
	frame = p->frame(p, pa);
	return frame ? frame + (pa & (SZ_4K - 1)) : NULL;
}

/* The width of the single accesses that an access is made of. */
static unsigned int piece(hpa_t pa, unsigned int size)
{
	if ((size == 2 || size == 4) && pa % size == 0)
		return size;
	return size % 8 == 0 && pa % 8 == 0 ? 8 : 1;
}

static void load(const u8 *from, void *to, unsigned int width)
{
	switch (width) {
	case 1:
		*(u8 *)to = __atomic_load_n(from, __ATOMIC_ACQUIRE);
		break;
	case 2: {
		u16 v = __atomic_load_n((const u16 *)from, __ATOMIC_ACQUIRE);

		memcpy(to, &v, sizeof(v));
		break;
	}
	case 4: {
		u32 v = __atomic_load_n((const u32 *)from, __ATOMIC_ACQUIRE);

		memcpy(to, &v, sizeof(v));
		break;
	}
	default: {
		u64 v = __atomic_load_n((const u64 *)from, __ATOMIC_ACQUIRE);

		memcpy(to, &v, sizeof(v));
	}
	}
}

static void store(u8 *to, const void *from, unsigned int width)
{
	switch (width) {
	case 1:
		__atomic_store_n(to, *(const u8 *)from, __ATOMIC_RELEASE);
		break;
	case 2: {
		u16 v;

		memcpy(&v, from, sizeof(v));
		__atomic_store_n((u16 *)to, v, __ATOMIC_RELEASE);
		break;
	}
	case 4: {
		u32 v;

		memcpy(&v, from, sizeof(v));
		__atomic_store_n((u32 *)to, v, __ATOMIC_RELEASE);
		break;
	}
	default: {
		u64 v;

		memcpy(&v, from, sizeof(v));
		__atomic_store_n((u64 *)to, v, __ATOMIC_RELEASE);
	}
	}
}

bool phys_read(struct phys *p, hpa_t pa, void *buf, unsigned int size)
{
	const u8 *from = locate(p, pa, size);
	unsigned int width = piece(pa, size), i;

	if (!from)
		return false;
	for (i = 0; i < size; i += width)
		load(from + i, (u8 *)buf + i, width);
	return true;
}

bool phys_write(struct phys *p, hpa_t pa, const void *buf, unsigned int size)
{
	u8 *to = locate(p, pa, size);
	unsigned int width = piece(pa, size), i;

	if (!to)
		return false;
	for (i = 0; i < size; i += width)
		store(to + i, (const u8 *)buf + i, width);
	return true;
}

bool phys_cmpxchg64(struct phys *p, hpa_t pa, u64 *expected, u64 desired)
{
	u64 *at = (u64 *)locate(p, pa, sizeof(*at));

	assert(pa % sizeof(*at) == 0);
	if (!at)
		return false;
	__atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return true;
}

bool phys_cmpxchg32(struct phys *p, hpa_t pa, u32 *expected, u32 desired)
{
	u32 *at = (u32 *)locate(p, pa, sizeof(*at));

	assert(pa % sizeof(*at) == 0);
	if (!at)
		return false;
	__atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return true;
}

static void *arena_frame(struct phys *p, hpa_t pa)
{
	struct phys_arena *a = p->arg;

	return pa < a->size ? a->base + (pa & ~(SZ_4K - 1)) : NULL;
}

bool phys_arena_init(struct phys_arena *a, u64 size)
{
	assert(size && size % SZ_4K == 0);
	a->size = size;
	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	a->phys.frame = arena_frame;
	a->phys.arg = a;
	return a->base != MAP_FAILED;
}

void phys_arena_free(struct phys_arena *a)
{
	munmap(a->base, a->size);
}
