/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The oracle: what the manuals allow one access to do, from the guest's page tables as they stand, the control
 * registers and, where translations may be remembered, from what the tables said since the last flush that covers the
 * address. SDM vol. 3 ch. 4; APM vol. 2 ch. 5.
 *
 * It shares no code with the software CPU's walker or with the MMU's reading of guest tables: a mistake made in one
 * of them shows as a difference. It collects the entries on the way first and judges them afterwards, by rules
 * that each stand for one paragraph of the manuals.
 */
#ifndef LIB_ORACLE_H
#define LIB_ORACLE_H

#include "x86/arch/paging.h"
#include "x86/arch/regs.h"

/* What an access depends on besides memory. */
struct oracle_regs {
	u64 cr0, cr3, cr4, efer;
	u64 pdpte[4]; /* PAE: as loaded with CR3; or, with pdpte_in_memory, unused */
	u32 pkru;
	bool ac;	      /* RFLAGS.AC */
	u8 maxphyaddr;	      /* 32 to 52 */
	bool no_gbpages;      /* 1 GiB pages are reserved */
	bool no_pse36;	      /* 4 MiB pages have no address bits above 31 */
	bool amd;	      /* G is reserved in entries of levels 4 and 5 */
	bool pdpte_in_memory; /* AMD with nested paging reads PDPTEs at each walk */
};

enum oracle_kind {
	ORACLE_READ,
	ORACLE_WRITE,
	ORACLE_EXEC
};

struct oracle_access {
	gva_t gva;
	enum oracle_kind kind;
	bool user; /* made at CPL 3 */
};

/* Reads an entry of @size (4 or 8) bytes at @gpa; false: no memory is there. */
typedef bool (*oracle_read)(void *arg, gpa_t gpa, unsigned int size, u64 *entry);

enum oracle_verdict {
	ORACLE_OK,	/* the access reaches gpa */
	ORACLE_PF,	/* page fault with error; CR2 is the address */
	ORACLE_GP,	/* the address isn't canonical */
	ORACLE_NO_TABLE /* an entry is where no memory is: what then happens is no matter of paging */
};

/* An entry on the way, and what may have become of its A and D bits after the access. */
struct oracle_entry {
	gpa_t gpa;
	u64 value; /* as read */
	u8 level;
	u64 must_set; /* PTE_A, PTE_D: set afterwards */
	u64 may_set; /* may be set, by this access or speculatively; everything else is unchanged */
};

struct oracle_outcome {
	enum oracle_verdict verdict;
	u64 error;     /* PF */
	gpa_t gpa;     /* OK: of gva, exact; NO_TABLE: of the entry */
	u8 page_shift; /* OK: size of the page as a power of two */
	bool global;   /* OK: a global translation (CR4.PGE) */
	u8 nr_entries;
	struct oracle_entry entry[PAGING_MAX_LEVEL]; /* from the top */
};

/* The paging mode that the registers select. */
const struct paging_mode *oracle_mode(const struct oracle_regs *r);

/* The one outcome that the tables as they stand give. */
struct oracle_outcome oracle_judge(const struct oracle_regs *r, struct oracle_access access,
				   oracle_read read, void *arg);

/* "ok, gpa 0x…" or "#PF error 0x7 (P|W|U)" in @buf, which it returns. */
const char *oracle_text(const struct oracle_outcome *o, char *buf, size_t size);

/* --- with memory: lib/oracle_stale.c ------------------------------------------------------ */

/*
 * Remembers what entries have held, for accesses that may use older translations. Times are counted in events, one for
 * each call that records something.
 */
struct oracle_history;

struct oracle_history *oracle_history_new(void);
void oracle_history_free(struct oracle_history *h);

/* The entry at @gpa was @old and is something else from now on (the tables themselves say what). */
void oracle_stored(struct oracle_history *h, gpa_t gpa, u64 old);

/*
 * CR3 (with @r's PCID) and PDPTEs were those of @r, and are something else from now on: translations that they gave may
 * be remembered for that PCID, and global ones for all.
 */
void oracle_left_root(struct oracle_history *h, const struct oracle_regs *r);

enum oracle_flush {
	ORACLE_FLUSH_ADDR, /* INVLPG: @gva in current PCID, and global ones; all tables of that PCID */
	ORACLE_FLUSH_ADDR_PCID,	 /* INVPCID 0: @gva in @pcid, not global ones */
	ORACLE_FLUSH_PCID,	 /* MOV CR3, INVPCID 1: @pcid, not global ones */
	ORACLE_FLUSH_NOT_GLOBAL, /* INVPCID 3: all PCIDs, not global ones */
	ORACLE_FLUSH_ALL	 /* INVPCID 2, CR4.PGE toggled, CR0.PG … */
};
void oracle_flushed(struct oracle_history *h, enum oracle_flush what, u16 pcid, gva_t gva);

#define ORACLE_MAX_OUTCOMES 64

/*
 * All outcomes that are allowed: that of the tables as they stand first, then those of translations that may be
 * remembered from what the entries held since the last flush that covers the address. Returns how many; if there are more
 * than ORACLE_MAX_OUTCOMES, or too many combinations of what entries have held, *@overflow says that not all are told.
 * Where anything remembered could play a part, must_set of all outcomes is 0.
 */
unsigned int oracle_allowed(struct oracle_history *h, const struct oracle_regs *r,
			    struct oracle_access access, oracle_read read, void *arg,
			    struct oracle_outcome out[ORACLE_MAX_OUTCOMES], bool *overflow);

/* Whether the last oracle_allowed() looked at anything but the tables as they stand. */
bool oracle_looked_back(const struct oracle_history *h);

#endif
