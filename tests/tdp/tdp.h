/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of two-dimensional paging share: numbered frames, the count of
 * mapped pages by size, and module parameters changed for the length of a case.
 *
 * Most of these cases run a guest without paging: no guest tables then, hence
 * no mappings of table frames among the counts, and gva == gpa. Without paging
 * the shadow MMU uses direct maps as well, so the counts hold there too.
 */
#ifndef TESTS_TDP_TDP_H
#define TESTS_TDP_TDP_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmuscope.h"

/* How many leaf entries of each size the hypervisor has, over the whole VM. */
struct pages {
	u64 p4k, p2m, p1g;
};

/* Whether the counts are known to mean something; a partial KVM keeps them at 0. */
static inline bool counted(void)
{
	return mmu_kind() != 0;
}

static inline void require_counts(void)
{
	REQUIRE(counted(), "a KVM that counts its mappings (module parameter npt or ept)");
}

static inline void require_tdp(unsigned int kinds)
{
	REQUIRE(mmu_kind() & kinds, "%s",
		kinds == MMU_TDP       ? "two-dimensional paging"
		: kinds == MMU_TDP_MMU ? "the TDP MMU"
				       : "another kind of MMU");
}

static inline const struct paging_mode *no_paging(void)
{
	return paging_mode(PM_NONE);
}

static inline struct pages pages_now(struct vm *vm)
{
	return (struct pages){vm_stat(vm, "pages_4k"), vm_stat(vm, "pages_2m"),
			      vm_stat(vm, "pages_1g")};
}

/* Stores @base + index in the first word of each of @count frames from @hva. */
static inline void number_frames(void *hva, u64 count, u32 base)
{
	u64 i;

	for (i = 0; i < count; i++)
		*(volatile u32 *)((u8 *)hva + i * SZ_4K) = base + i;
}

/* The first word of frame @index from @hva. */
static inline u32 frame_word(const void *hva, u64 index)
{
	return *(const volatile u32 *)((const u8 *)hva + index * SZ_4K);
}

/* The guest reads @count frames from @gva; each must hold @base + index. */
static inline void expect_frames(struct vcpu *v, gva_t gva, u64 count, u32 base, const char *when)
{
	u64 same = guest_do(v, .kind = AGENT_TOUCH_CHECK, .addr = gva, .size = 4, .arg = SZ_4K,
			    .value = count, .arg2 = base);

	EXPECT_EQ(same, count, "%s: frame %#lx is the first that does not hold its number", when,
		  (u64)(gva + same * SZ_4K));
}

/* The guest stores @base + index in each of @count frames from @gva. */
static inline void write_frames(struct vcpu *v, gva_t gva, u64 count, u32 base)
{
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .addr = gva, .size = 4, .arg = SZ_4K, .value = count,
		 .arg2 = base);
}

/* Skips unless @size bytes at @offset are in huge pages of the host. */
static inline void require_thp(const struct memory *m, u64 offset, u64 size)
{
	u64 got = memory_thp_bytes(m, offset, size);

	REQUIRE(got >= size, "%lu KiB of transparent huge pages (the host gave %lu)",
		(u64)(size / KiB), (u64)(got / KiB));
}

#endif
