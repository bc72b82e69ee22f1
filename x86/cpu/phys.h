/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Physical memory: frames of 4 KiB and what a processor can do to them. The
 * frames are somebody else's; this is only the way to them, so that a machine
 * can be put on an arena, on a file or on another program's memory.
 *
 * Accesses are made to host memory with atomic instructions, since vCPUs run on
 * threads of their own and their hypervisor on another: an aligned access of up
 * to 8 bytes is never torn, and no two accesses race as C understands it.
 */
#ifndef X86_CPU_PHYS_H
#define X86_CPU_PHYS_H

#include "x86/arch/types.h"

struct phys {
	/* Host address of the 4 KiB frame that holds @pa; NULL: nothing is there. */
	void *(*frame)(struct phys *p, hpa_t pa);
	void *arg; /* for frame() */
};

/*
 * Read or write @size bytes at @pa, all within one frame. Aligned accesses of
 * 1, 2, 4 and 8 bytes are atomic; others are made of atomic ones, of 8 bytes if
 * @pa and @size allow and of one byte otherwise. False: nothing is there.
 */
bool phys_read(struct phys *p, hpa_t pa, void *buf, unsigned int size);
bool phys_write(struct phys *p, hpa_t pa, const void *buf, unsigned int size);

/*
 * Compare and exchange at @pa, aligned. False: nothing is there. Otherwise
 * *@expected becomes what was found, and the exchange took place if that is what
 * it was before.
 */
bool phys_cmpxchg64(struct phys *p, hpa_t pa, u64 *expected, u64 desired);
bool phys_cmpxchg32(struct phys *p, hpa_t pa, u32 *expected, u32 desired);

/* The plainest physical memory: @size bytes (whole frames) of zeros from 0 up. */
struct phys_arena {
	struct phys phys;
	u8 *base;
	u64 size;
};

/* False: no memory. */
bool phys_arena_init(struct phys_arena *a, u64 size);
void phys_arena_free(struct phys_arena *a);

#endif
