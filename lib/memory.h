/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Host memory for guests: which kind of page backs a memslot decides how large
 * the hypervisor may map it and what can happen below it.
 */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

#include "x86/arch/types.h"

enum mem_backing {
	MEM_ANON, /* private anonymous, 4 KiB pages only (MADV_NOHUGEPAGE) */
	MEM_THP,  /* private anonymous, 2 MiB pages where the kernel finds some (MADV_HUGEPAGE) */
	MEM_HUGETLB_2M, /* private hugetlbfs; skips where the kernel's pool has too few pages */
	MEM_HUGETLB_1G,
	MEM_MEMFD,    /* shared file mapping of a memfd, 4 KiB pages */
	MEM_MEMFD_2M, /* shared, hugetlbfs */
	MEM_SHARED,   /* shared anonymous */
};

struct memory {
	void *hva;
	u64 size; /* bytes */
	int fd;	  /* of a memfd, else -1 */
	enum mem_backing backing;
	u64 page_size; /* what backs it at best: SZ_4K, SZ_2M or SZ_1G */
};

const char *mem_backing_name(enum mem_backing backing);

/*
 * Maps @size bytes (a multiple of 4 KiB; rounded up to the huge page size),
 * aligned to the larger of 2 MiB and the page size. Not populated. Skips the
 * case, naming the requirement, where the host has no such pages.
 */
struct memory memory_alloc(u64 size, enum mem_backing backing);

/* Unmaps; what guests still use of it goes away under them. */
void memory_free(struct memory *m);

/*
 * Host-side changes below a guest, as the system calls of the same names; they
 * fail the case as an error when the call fails. @offset and @size in bytes.
 */
void memory_madvise(struct memory *m, u64 offset, u64 size, int advice);
void memory_mprotect(struct memory *m, u64 offset, u64 size, int prot);

/*
 * How many bytes of [@offset, @offset + @size) transparent huge pages back
 * now (with engine "kvm": AnonHugePages of smaps).
 */
u64 memory_thp_bytes(const struct memory *m, u64 offset, u64 size);

#endif
