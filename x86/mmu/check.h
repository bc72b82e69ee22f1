/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The auditor's own: what its parts share while one check runs.
 */
#ifndef X86_MMU_CHECK_H
#define X86_MMU_CHECK_H

#include "x86/mmu/check_rules.h"
#include "x86/mmu/internal.h"
#include "x86/mmu/rmap.h"

#define CHECK_WORK_ENTRY 60
#define CHECK_WORK_TABLE 300 /* besides its entries that aren't empty */

/* Addresses, each once. */
struct check_set {
	const void **slot;
	size_t size, nr; /* size: a power of two, or 0 */
};

struct check {
	struct kvm *kvm;
	void (*report)(void *arg, const char *line);
	void *arg;
	int broken;
	bool slots_stable; /* no change of memslots is half done */
	bool no_memory;

	struct check_set pages;		  /* shadow pages of all kinds */
	u64 leafs[KVM_NR_PAGE_SIZES + 1]; /* by level, in pages of all kinds */
	u64 unsync, indirect, nx_disallowed;
	u64 work; /* see kvm.check_work */
};

/* False: @p was in @s already, or there is no memory (c->no_memory). */
bool check_set_add(struct check *c, struct check_set *s, const void *p);
bool check_set_has(const struct check_set *s, const void *p);

/* Something is broken: about the VM, about a page, about one of its entries. */
void check_report(struct check *c, const char *what);
void check_report_page(struct check *c, const struct kvm_mmu_page *sp, const char *what);
void check_report_entry(struct check *c, const struct kvm_mmu_page *sp, int index, u64 spte,
			const char *what);

/* What must not be so; and numbers that must be the same. */
static inline void check_page_not(struct check *c, bool broken, const struct kvm_mmu_page *sp,
				  const char *what)
{
	if (broken)
		check_report_page(c, sp, what);
}
static inline void check_entry_not(struct check *c, bool broken, const struct kvm_mmu_page *sp,
				   int index, u64 spte, const char *what)
{
	if (broken)
		check_report_entry(c, sp, index, spte, what);
}
void check_values(struct check *c, const char *what, u64 is, u64 ought);

/*
 * Entry @index of @sp, present or not, by itself: bits, slot, the host's page; counts leafs.
 * @live: the page isn't obsolete, so that what it maps must be right as well.
 */
void check_entry(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte, bool live);

/* The guest's table that a page in sync stands for. check_guest.c */
struct check_guest {
	struct kvm_mmu_page *sp;
	const struct kvm_memory_slot *slot; /* NULL: it is in none */
	u64 hva;
	struct kvm_mmu mmu; /* as far as its format goes */
};
void check_guest_begin(struct check *c, struct check_guest *g, struct kvm_mmu_page *sp);
/* Present entry @index of the page against the guest's. */
void check_guest_entry(struct check *c, const struct check_guest *g, int index, u64 spte);

void check_shadow_collect(struct check *c); /* check_shadow.c */
void check_shadow(struct check *c);
void check_tdp_collect(struct check *c); /* check_tdp.c */
void check_tdp(struct check *c);
void check_roots(struct check *c); /* check_roots.c */

#endif
