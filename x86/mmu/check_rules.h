/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What must be true of single things in the MMU's state, as rules over plain values: they know
 * nothing of how the state is held, so that whoever has read it from elsewhere can apply them
 * too.
 */
#ifndef X86_MMU_CHECK_RULES_H
#define X86_MMU_CHECK_RULES_H

#include "x86/mmu/mmu.h"

/* An SPTE that maps a page, and what is around it. */
struct leaf_facts {
	int level;
	gfn_t gfn; /* first frame */
	hpa_t hpa;
	bool writable, host_writable, mmu_writable, accessed_tracked;
	u8 ad_mode; /* SPTE_AD_MODE_MASK: 0 A and D, 1 none, 2 both, and write protection */
	bool role_ad_disabled, role_nested; /* nested: while there is a log of D bits */
	/* The slot; nothing more is known when there is none. */
	bool has_slot, slot_has_all, slot_readonly;
	bool lpage_disallowed;		/* huge: there is a reason against it */
	bool executable, nx_workaround; /* no huge page is to be executable */
	bool shadowed;	      /* 4 KiB: it is write-tracked, or a table in sync is shadowed there */
	bool logged, in_log;  /* by bitmap; the bits of all frames are set */
	bool log_by_d, dirty; /* writes set D, and the processor logs that; D */
	bool splits_logged; /* the log is on, and what it protects is split into small pages first */
	/* 4 KiB, nested paging: one of 2 MiB could be there, and no fetch asked for small ones. */
	bool fits_huge;
	/* The host's page, as it is now. */
	bool host_known, host_present, host_lets_write;
	hpa_t host_hpa;
	u8 host_level;
};

/* The first rule that is broken, in words; NULL: none. */
const char *rule_leaf(const struct leaf_facts *f);

/*
 * The bits of a present entry, against what the walking processor and the other parts of the MMU
 * expect.
 */
struct entry_facts {
	u64 spte;
	int level;
	bool leaf, ept;
	bool high_bits_free; /* bits 62:52 may be used: not below PAE roots */
	u64 rsvd_addr;	     /* address bits beyond the host's */
};
const char *rule_entry(const struct entry_facts *f);

/* A guest's entry and the SPTE that stands for it, of a table that is in sync. */
struct guest_facts {
	bool present, accessed, keeps_ad, dirty;
	/*
	 * Tables are written from outside as well, which nobody sees: an entry that no processor
	 * has used yet says nothing about the SPTE.
	 */
	bool outside_writes;
	bool maps_page;		/* by level and PS */
	gfn_t gfn;		/* of the page, or of the table it points to */
	unsigned int access;	/* ACC_*, of this entry */
	unsigned int sp_access; /* of the path down to it */
	bool cr0_wp;
	/* The SPTE: */
	bool spte_leaf;
	gfn_t spte_gfn;		  /* of what it maps, or of the child */
	bool spte_child_direct;	  /* not a leaf: the child maps a large page of the guest */
	unsigned int spte_access; /* leaf: W, and U and X where the format has them, as ACC_* */
};
const char *rule_guest(const struct guest_facts *f);

#endif
