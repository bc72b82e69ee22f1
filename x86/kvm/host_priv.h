/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model of host memory: regions, each a range of addresses that intree_mmap() gave out, and what
 * is behind each of their pages. One word a page, zero where nothing has happened yet.
 *
 * Readers look a page up without locks, within an RCU section; whoever changes something has the
 * host's lock, tells the VMs first, and replaces regions and their array as a whole.
 */
#ifndef X86_KVM_HOST_PRIV_H
#define X86_KVM_HOST_PRIV_H

#include "x86/kvm/hw_priv.h"

/* region.page[]: address of the frame (0: region.base + offset) and flags. */
#define PAGE_PRESENT BIT(0) /* has been faulted in */
#define PAGE_WRITE   BIT(1) /* may be written, if the region may: else the zero page, or the file's */
#define PAGE_HUGE    BIT(2) /* part of a transparent huge page */
#define PAGE_USED    BIT(3) /* not present, but has content: swapped out */
#define PAGE_OWN     BIT(4) /* private file: has been copied */
#define PAGE_FLAGS   (SZ_4K - 1)

enum region_kind {
	ANON_PRIVATE,
	ANON_SHARED,
	FILE_SHARED,
	FILE_PRIVATE,
};

/* Parts of a region that was split share these. */
struct pages {
	u64 *word;
	size_t bytes;
	int refs;
};

struct file {
	int fd;
	u64 map, size; /* the second mapping */
	int refs;
};

struct region {
	u64 start, end;
	int prot;
	enum region_kind kind;
	u8 level; /* 2, 3: hugetlb */
	bool thp; /* MADV_HUGEPAGE */
	u64 base; /* frame of start, unless its word says otherwise */
	u64 *page;
	struct pages *pages;
	struct file *file;
	u64 file_off; /* of start, in the file and from file->map + map_off */
	u64 file_len; /* bytes of the file that existed at mmap time, from offset 0 */
};

struct regions {
	unsigned int nr;
	struct region *r[];
};

extern struct regions *host_regions; /* NULL: none */

static inline struct region *region_find(struct regions *rs, u64 hva)
{
	unsigned int lo = 0, hi = rs ? rs->nr : 0, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (hva >= rs->r[mid]->end)
			lo = mid + 1;
		else
			hi = mid;
	}
	return rs && lo < rs->nr && hva >= rs->r[lo]->start ? rs->r[lo] : NULL;
}

static inline u64 page_hpa(const struct region *r, u64 i, u64 word)
{
	return word & ~PAGE_FLAGS ? word & ~PAGE_FLAGS : r->base + (i << PAGE_SHIFT);
}

static inline u64 page_word(const struct region *r, u64 i)
{
	return __atomic_load_n(&r->page[i], __ATOMIC_ACQUIRE);
}

static inline void page_set(struct region *r, u64 i, u64 word)
{
	__atomic_store_n(&r->page[i], word, __ATOMIC_RELEASE);
}

static inline u64 region_pages(const struct region *r)
{
	return (r->end - r->start) >> PAGE_SHIFT;
}

/* --- host_arena.c ------------------------------------------------------------ */

/* Fresh zero frames of @size bytes, whose address is that of @like modulo @align. 0: no memory. */
u64 arena_alloc(u64 size, u64 like, u64 align);
/* They keep their content for a while, for whoever wrongly still looks at them. */
void arena_free(u64 hpa, u64 size);
int arena_fd(void); /* -1: nothing allocated yet */
bool arena_resident(u64 hpa, u64 pages, unsigned char *vec);
u8 *arena_flags(u64 hpa); /* of a frame; NULL: not in the arena */
#define FRAME_ACCESSED 1
#define FRAME_DIRTY    2
int arena_fork_copy(void); /* a new, empty memory file of the same size */
void arena_become(int fd); /* in the child: it's the arena now */
/* Reserves @size bytes of address space at @like modulo @align; 0: none. */
u64 reserve_space(u64 size, u64 like, u64 align);

/* --- host.c ------------------------------------------------------------------- */

/*
 * Between the two calls, faults on [@start, @end) try again, and nothing of it is mapped in any
 * guest. The host's lock is held. After several begins one end ends all.
 */
void change_begin(u64 start, u64 end);
void change_end(void);
/* The huge pages that [@start, @end) cuts are to be told of as a whole. */
void widen_to_huge(u64 *start, u64 *end);
/* Makes the process's own mapping of pages [@i, @i + @n) of @r what the model says. 0 or -errno. */
int map_pages(struct region *r, u64 i, u64 n);
void split_huge(struct region *r, u64 i); /* if page i is part of a huge page */
/* Makes the block whose first page is @i huge, copying what is there unless it is contiguous. */
int make_huge(struct region *r, u64 i);
bool block_empty(const struct region *r, u64 i);
bool block_fits(const struct region *r, u64 hva); /* the 2 MiB around hva lie in r */
/* A generation of plain memory's mappings: grows with each change that we are told of. */
extern u64 host_generation;
/* Around copying a page's content elsewhere, and around writes that the hypervisor makes. */
extern struct hw_spinlock host_copy_lock;
/* The page if it is there with the right; no locks. */
bool page_lookup(const struct region *r, u64 hva, bool write, struct hw_page *page);
/* Whether page i's file goes that far now. */
bool in_file(const struct region *r, u64 i);
/* Memory that is none of ours: 0, or -EFAULT where nothing is mapped; remembered for a while. */
int plain_page(u64 hva, bool write, struct hw_page *page);
/* Where to write at @hva, which stays there until host_write_end(); NULL: it may not be written. */
void *host_write_begin(struct kvm *kvm, u64 hva);
void host_write_end(void);
void host_lists_after_fork(void);

/* --- host_regions.c ---------------------------------------------------------------- */

int regions_add(struct region *r);
/* Cuts regions at @at, so that none goes across. 0 or -ENOMEM. */
int regions_cut(u64 at);
/* Takes the regions within [@start, @end) out; they must have been cut. @drop: their frames go too. */
void regions_remove(u64 start, u64 end, bool drop);
/* Replaces @old by a copy of it that the caller changed; 0 or -ENOMEM. */
int region_replace(struct region *old, const struct region *copy);
/* Joins neighbours that differ in nothing any more. */
void regions_merge(void);
void region_drop_frames(struct region *r, u64 i, u64 n);
void region_free_later(struct region *r);

#endif
