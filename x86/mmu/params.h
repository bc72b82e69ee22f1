/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What can be configured of the MMU, under the names of the kernel's module
 * parameters where it has one. A VM copies them when it is created.
 */
#ifndef X86_MMU_PARAMS_H
#define X86_MMU_PARAMS_H

#include "x86/arch/types.h"

enum mmu_nx_huge {
	NX_HUGE_OFF,
	NX_HUGE_AUTO, /* as off: the software CPU has no iTLB multihit erratum */
	NX_HUGE_FORCE,
};

struct mmu_params {
	bool npt;	       /* AMD: nested paging; 0: shadow paging */
	bool ept;	       /* an Intel processor with EPT instead of an AMD one */
	bool tdp;	       /* two-dimensional paging at all; 0: shadow paging */
	bool tdp_mmu;	       /* the TDP MMU for it, else the shadow MMU's direct maps */
	bool ad_bits;	       /* the format's accessed and dirty bits (eptad) */
	bool pml;	       /* Intel: dirty logging by the processor's page-modification log */
	bool eager_page_split; /* huge pages are split when dirty logging starts */
	bool mmio_caching;     /* SPTEs remember that a frame is MMIO */
	bool flush_on_reuse;   /* roots that are used again are flushed always */
	bool zap_all_on_slot;  /* deleting a slot zaps all pages one by one, not by generation */
	unsigned int nx_huge_pages; /* enum mmu_nx_huge */
	unsigned int
		nx_huge_pages_recovery_ratio; /* 1/ratio of them are zapped a period; 0: none */
	unsigned int nx_huge_pages_recovery_period_ms; /* 0: derived from the ratio */
	unsigned int
		maxphyaddr; /* bits of physical addresses, of the host and for guests: 36 to 52 */
	unsigned int max_huge_level;   /* largest SPTE: 1 (4 KiB) to 3 (1 GiB) */
	unsigned int check;	       /* mmu_check() 1: when due; 2: after every exit */
	unsigned int seed;	       /* software CPU: evicts and prefetches by this; 0: never */
	unsigned int interleave;       /* threads take turns by this seed; 0: they run freely */
	unsigned int interleave_slice; /* a guest's turn: up to 2^this instructions at the least */
};

/* The defaults. */
struct mmu_params mmu_params_default(void);

/*
 * Sets parameter @name of @len characters to the text @value. NULL: done; else what is wrong with
 * it, a static string. Booleans take Y, N, 1, 0, y, n, on, off; nx_huge_pages also auto and force.
 */
const char *mmu_param_set(struct mmu_params *p, const char *name, size_t len, const char *value);
/* The value of @name as sysfs would show it ("Y", "2"); false: there is no such parameter. */
bool mmu_param_get(const struct mmu_params *p, const char *name, char *value, size_t size);
/* The names, NULL-terminated, each followed by a line that describes it. */
struct mmu_param_doc {
	const char *name, *what;
};
const struct mmu_param_doc *mmu_param_docs(void);

/* Parameter @field as it is now: of those that may be changed while the VM runs. */
#define mmu_param_now(p, field) __atomic_load_n(&(p)->field, __ATOMIC_RELAXED)

/* Whether guests get two-dimensional paging: tdp and the vendor's npt or ept. */
static inline bool mmu_params_tdp(const struct mmu_params *p)
{
	return p->tdp && (p->npt || p->ept);
}

/* Whether the processor logs the D bits that it sets. */
static inline bool mmu_params_pml(const struct mmu_params *p)
{
	return p->pml && p->ept && p->tdp && p->ad_bits;
}

#endif
