/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address translation as the processor does it: the guest's page tables in every
 * paging mode and, below them, AMD's or Intel's nested tables. Entries get their
 * accessed and dirty bits by compare-and-exchange; when an entry has changed
 * meanwhile the walk starts again. SDM vol. 3 4.3-4.8, 29.3; APM vol. 2 ch. 5, 15.25.
 *
 * walk() looks at memory each time. What processors actually do, which is to
 * remember, is translate() in tlb.h.
 */
#ifndef X86_CPU_WALK_H
#define X86_CPU_WALK_H

#include "x86/arch/paging.h"
#include "x86/arch/types.h"
#include "x86/cpu/phys.h"

enum access_kind {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_EXEC
};

/* All of a processor's state that translation depends on. */
struct mmu_regs {
	u64 cr0, cr3, cr4, efer;
	u32 pkru;
	bool ac; /* RFLAGS.AC */
	u8 cpl;
	bool implicit; /* this access is the processor's own (descriptor, TSS): a supervisor's */
	u8 maxphyaddr; /* 32 to 52: address bits from here up are reserved in guest entries */
	u64 pdpte[4];  /* PAE without NPT: loaded with CR3, see walk_load_pdptes() */
	u16 asid;      /* ASID or VPID: what the TLB's translations are tagged with */
	bool amd;      /* AMD's choice where the manuals differ, else Intel's */
	bool no_gbpages, no_pse36; /* features that the guest's processor lacks */
};

#define TLB_GENERATIONS 64 /* see tlb_generations() */

enum nested_kind {
	NESTED_NONE,
	NESTED_NPT,
	NESTED_EPT
};

#define PML_ENTRIES 512

/*
 * The page-modification log (SDM vol. 3 29.3.6): the guest-physical addresses, cut to 4 KiB, of
 * accesses that set a D bit in an EPT leaf. It is filled from its end.
 */
struct pml {
	u64 entry[PML_ENTRIES];
	u16 index; /* of the next entry; none is left when it has gone below 0, to 0xffff */
};

/* The second dimension: what nCR3 and the host's registers, or the EPTP, say. */
struct nested {
	enum nested_kind kind;
	hpa_t root;	 /* of the top table; low bits that are no address are ignored */
	int levels;	 /* EPT: 4 or 5; NPT: 4 or 5, also 3 (PAE) and 2 (32-bit) */
	bool ad;	 /* EPT: keep accessed and dirty bits. NPT always does */
	u8 maxphyaddr;	 /* 32 to 52, the host's */
	bool nx;	 /* NPT: the host's EFER.NX */
	bool no_gbpages; /* 1 GiB entries are reserved */
	/* A guest's tables are read, and written only to set a bit: not so on real processors. */
	bool tables_read;
	bool no_exec_only; /* EPT: entries with X and not R are a misconfiguration */
	struct pml *pml;   /* EPT with A and D: log pages that become dirty; NULL: don't */
};

enum walk_outcome {
	WALK_OK,
	WALK_PF,  /* the guest's page fault */
	WALK_NPF, /* #VMEXIT(NPF) */
	WALK_EPT_VIOLATION,
	WALK_EPT_MISCONFIG,
	WALK_PML_FULL, /* A or D is to be set in an EPT entry, and the log has no room: nothing is */
	WALK_BUS,      /* a table is at a physical address with nothing behind it: hpa */
	WALK_PDPTE     /* walk_load_pdptes(): reserved bits, MOV to CR raises #GP */
};

/*
 * translation.perm: rights accumulated over all levels, as the guest's entries
 * have them, with PTE_W, PTE_U, PTE_NX (set only where the mode has it), PTE_G
 * (only with CR4.PGE), PTE_D (of the leaf) and the protection key; and what nested
 * tables add. Without paging, or without nested paging, the respective part
 * allows everything and is dirty.
 */
#define PERM_NESTED_R	BIT(32)
#define PERM_NESTED_W	BIT(33)
#define PERM_NESTED_X	BIT(34)
#define PERM_NESTED_D	BIT(35) /* a write need not set a nested D any more */
#define PERM_NESTED	(PERM_NESTED_R | PERM_NESTED_W | PERM_NESTED_X | PERM_NESTED_D)
#define PERM_PKEY(perm) ((unsigned int)((perm) >> PTE_PKEY_SHIFT) & 15)

struct translation {
	enum walk_outcome outcome;
	u8 level;	/* of the smaller of guest and nested page: 1 to 3 */
	u8 shift;	/* its size as a power of two: 12, 21, 22, 30 */
	u8 guest_shift; /* that of the guest's page alone; 63 without paging */
	u64 error;	/* PF: PFERR_*; NPF: PFERR_* and NPF_*; violation: EPTV_* */
	gva_t gva;	/* as given, cut to 32 bits outside long mode */
	gpa_t gpa;	/* OK: of gva; nested outcomes: what was not translated */
	hpa_t hpa;	/* OK: of gva; BUS: where nothing is */
	u64 perm;	/* OK: see above */
};

/*
 * Translate @gva for an access of @kind. @nested NULL (or of kind NONE): physical
 * addresses of the guest are the host's. Address bits that the mode does not use
 * are ignored; that @gva is canonical is the caller's to check. OK: the access may
 * be made, A bits and, for a write, D bits are set. On any other outcome the
 * accessed bits of entries that point on may have been set, those of the page not.
 */
struct translation walk(struct phys *p, const struct mmu_regs *regs, const struct nested *nested,
			gva_t gva, enum access_kind kind);

/*
 * Read the four PDPTEs that @cr3 points to, as MOV to CR does in PAE mode. They
 * are written to @pdpte if the outcome is OK. Not for NPT, where each walk reads
 * them from memory.
 */
struct translation walk_load_pdptes(struct phys *p, const struct mmu_regs *regs,
				    const struct nested *nested, u64 cr3, u64 pdpte[4]);

/* The paging mode that the registers select. */
const struct paging_mode *walk_mode(const struct mmu_regs *regs);

/*
 * Whether rights @perm (the guest's part) allow an access of @kind; if not, and
 * @error isn't NULL, *@error is the error code of the fault. D bits play no part.
 */
bool walk_permits(const struct mmu_regs *regs, u64 perm, enum access_kind kind, u64 *error);

/* Name of an outcome, a static string. */
const char *walk_outcome_name(enum walk_outcome outcome);

/* --- with memory ---------------------------------------------------------- */

struct pscache;

/*
 * As walk(), beginning at the lowest tables that @cache knows, and leaving there
 * what is found on the way.
 */
struct translation walk_cached(struct phys *p, const struct mmu_regs *regs,
			       const struct nested *nested, gva_t gva, enum access_kind kind,
			       struct pscache *cache);

#endif
