/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The TLB of one logical processor: the most awkward one that the manuals allow.
 * It forgets nothing until told, so that a flush that is missing is missed each
 * time; asked to, it also forgets and prefetches at random, by seed.
 *
 * It holds three kinds of things, tagged as SDM vol. 3 29.4 and APM vol. 2 15.16
 * have them: translations of linear addresses (with nested paging: combined ones),
 * by ASID and PCID, or global in their ASID; translations of guest-physical
 * addresses, by EPT pointer on Intel and by ASID on AMD; and paging-structure
 * entries of both dimensions. With EPT, combined translations are tagged with the
 * EPT pointer too; with NPT a new nCR3 under an old ASID finds old translations.
 *
 * A fault is not reported from memory: when what is remembered denies an access,
 * it is dropped and the tables are walked from the top (SDM vol. 3 4.10.4.1 has
 * the fault drop it; APM vol. 2 5.5.2 walks again).
 *
 * A struct tlb belongs to one thread at a time. Shootdown is the hypervisor's task.
 */
#ifndef X86_CPU_TLB_H
#define X86_CPU_TLB_H

#include "x86/arch/types.h"
#include "x86/cpu/walk.h"

struct tlb;

struct tlb_stats {
	u64 hits;
	u64 misses;
	u64 denied;	/* hits that did not allow the access: walked again */
	u64 dirty;	/* hits of writes whose D was not known to be set: walked again */
	u64 stale;	/* walks from a remembered table that failed: walked again */
	u64 evictions;	/* by seed */
	u64 prefetches; /* by seed: translations added */
	u64 drops;	/* entries dropped because somebody said so */
	u64 entries;	/* held now, of all kinds */
};

/* An empty TLB; NULL: no memory. */
struct tlb *tlb_new(void);
void tlb_free(struct tlb *tlb);

/*
 * From now on, before about one in @evict translations drop a random entry, and
 * after about one in @prefetch look up a random nearby page ahead; 0: never.
 */
void tlb_set_seed(struct tlb *tlb, u64 seed, unsigned int evict, unsigned int prefetch);

/* As walk(), through the TLB. */
struct translation translate(struct tlb *tlb, struct phys *p, const struct mmu_regs *regs,
			     const struct nested *nested, gva_t gva, enum access_kind kind);

struct tlb_stats tlb_stats(const struct tlb *tlb);

/*
 * TLB_GENERATIONS words. A translation of @gva may be used again, for the same registers, rights
 * and kind of access, as long as word gva / 4 KiB % TLB_GENERATIONS is what it was then: it's what
 * a hit would give. The address of the words is the TLB's for good.
 */
const u64 *tlb_generations(const struct tlb *tlb);

/* What one entry says; for auditors. */
struct tlb_entry {
	bool linear; /* of a linear address (or combined); else guest-physical */
	bool table;  /* not a translation: a table that walks of these addresses may begin with */
	u16 asid;
	u64 space; /* EPT: tag of the EPT pointer; otherwise 0 */
	u64 addr, size;
	gpa_t gpa; /* linear ones with nested paging: what the guest's tables say */
	hpa_t hpa;
	u64 perm; /* of a translation: as translation.perm */
};

/* Calls @fn for each entry; it must not change the TLB. */
void tlb_each(const struct tlb *tlb, void (*fn)(void *arg, const struct tlb_entry *e), void *arg);

/* --- what instructions do, in the address space of @asid -------------------- */

/* INVLPG with current @pcid: also @gva's global translations; all tables of @pcid. */
void tlb_invlpg(struct tlb *tlb, u16 asid, u16 pcid, gva_t gva);
/* INVPCID; @type is one of INVPCID_*. */
void tlb_invpcid(struct tlb *tlb, u16 asid, unsigned int type, u16 pcid, gva_t gva);
/* MOV to CR3 of @value, its bit 63 included, while CR4 is @cr4. */
void tlb_mov_cr3(struct tlb *tlb, u16 asid, u64 cr4, u64 value);
/* MOV to CR0 and CR4, as far as bits changed that matter. @pcid is the current one. */
void tlb_mov_cr0(struct tlb *tlb, u16 asid, u64 old, u64 value);
void tlb_mov_cr4(struct tlb *tlb, u16 asid, u16 pcid, u64 old, u64 value);

/* --- what hypervisors do ----------------------------------------------------- */

/* Everything: TLB_CONTROL 1 on AMD. */
void tlb_flush_all(struct tlb *tlb);
/*
 * Linear and combined translations of @asid, and guest-physical ones where they
 * are tagged so: TLB_CONTROL 3 and, keeping global ones, 7; INVVPID types 1 and 3.
 */
void tlb_flush_asid(struct tlb *tlb, u16 asid, bool keep_global);
/* Translations of one address for all PCIDs: INVLPGA, INVVPID type 0. */
void tlb_invlpga(struct tlb *tlb, u16 asid, gva_t gva);
/* INVEPT, single context: combined and guest-physical translations made with @root. */
void tlb_invept(struct tlb *tlb, hpa_t root);
/* INVEPT, all contexts. */
void tlb_invept_all(struct tlb *tlb);
/*
 * What a range of guest-physical addresses, [@start, @end), was translated to:
 * guest-physical and combined translations, and all tables. With NPT, those of
 * @asid; with EPT, those made with @nested->root.
 */
void tlb_flush_gpa(struct tlb *tlb, u16 asid, const struct nested *nested, gpa_t start, gpa_t end);

#endif
