/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Combinations of flags, registers and accesses, by their numbers, and the VM that they are tried in: what the cases of
 * tests/mmu/permutations.c share.
 */
#ifndef TESTS_MMU_PERMUTATIONS_H
#define TESTS_MMU_PERMUTATIONS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/oracle.h"
#include "mmuscope.h"

#define EXEC_AT	  0   /* in each frame: a function that returns FUNCTION + frame */
#define READ_AT	  64  /* DATA + frame */
#define WRITE_AT  128 /* what was last written */
#define FUNCTION  0x1000u
#define DATA	  0x2000u
#define NR_SLOTS  320	/* entries that a batch works on, one combination each */
#define MOVED_BY  SZ_4M /* where a second set of frames is, for entries that lead elsewhere */
#define MAX_UPPER 4

/* Flags of a page's entry. 32-bit paging takes those without NX, RSVD and key. */
static const u64 leaf_bits[] = {PTE_W, PTE_U, PTE_NX, PTE_A, PTE_D};
#define NR_LEAVES (32 + 4) /* all of these, and some that are not present or have reserved bits */

/* Flags of an entry above: rights, not present, reserved. */
#define NR_UPPERS 10

static const struct {
	u16 kind, flags;
	enum oracle_kind oracle;
	u32 at;
	const char *name;
} accesses[] = {
	{AGENT_READ, 0, ORACLE_READ, READ_AT, "read"},
	{AGENT_WRITE, 0, ORACLE_WRITE, WRITE_AT, "write"},
	{AGENT_EXEC, 0, ORACLE_EXEC, EXEC_AT, "fetch"},
	{AGENT_READ, AGENT_AC, ORACLE_READ, READ_AT, "read with AC"},
	{AGENT_WRITE, AGENT_AC, ORACLE_WRITE, WRITE_AT, "write with AC"},
	{AGENT_READ, AGENT_USER, ORACLE_READ, READ_AT, "user read"},
	{AGENT_WRITE, AGENT_USER, ORACLE_WRITE, WRITE_AT, "user write"},
	{AGENT_EXEC, AGENT_USER, ORACLE_EXEC, EXEC_AT, "user fetch"},
};

#define KERNEL_READ 0 /* of these */

/* Control-register state, one bit each. */
#define SET_WP	 BIT(0)
#define SET_NX	 BIT(1)
#define SET_SMEP BIT(2)
#define SET_SMAP BIT(3)
#define SET_PKE	 BIT(4)
#define NR_SETS	 32
#define NR_KEYS	 4
#define PKRU	 0xe4u /* key 0: all; 1: no access; 2: no write; 3: neither */

struct bench {
	struct vm *vm;
	struct vcpu *v;
	const struct paging_mode *m;
	int level;    /* of the entries that map */
	int nr_upper; /* entries above that are varied */
	u32 nr_frames;
	u64 cr0, cr4, efer;
	struct oracle_regs regs; /* of the batch */
	gpa_t upper_gpa[MAX_UPPER], leaf_gpa;
	gpa_t from_gpa, then_gpa; /* where the guest copies the slots' entries from */
	u64 upper[MAX_UPPER];	  /* as the batch sets them, from the lowest level up */
	u64 upper_clean[MAX_UPPER];
	u32 last_write[64]; /* by frame */
	u64 judged;
};

/* One combination of a batch. */
struct combi {
	u64 number;
	u64 leaf;
	u32 access;
	u32 frame;
	u32 slot;
	u32 op;	    /* of the access, in the batch */
	bool twice; /* a kernel read goes before it */
	struct oracle_outcome want, first;
};

static u32 supported_sets(const struct bench *b)
{
	u32 s = SET_WP;

	/* SDM 4.7 wants CR4.PAE for F; the kernel's shadow MMU doesn't: access.fetch_bit_without_pae */
	if (cpu_has(&CPU_NX) && b->m->pte_size == 8)
		s |= SET_NX;
	/* KVM would refuse the change of CR4.SMEP. */
	if (cpu_has(&CPU_SMEP) && !(b->m->id == PM_PAE && quirk_pdpte_refused()))
		s |= SET_SMEP;
	if (cpu_has(&CPU_SMAP))
		s |= SET_SMAP;
	if (cpu_has(&CPU_PKU) && b->m->long_mode)
		s |= SET_PKE;
	return s;
}

static gva_t slot_gva(const struct bench *b, u32 slot)
{
	return b->vm->test_gva + (u64)slot * level_size(b->m, b->level);
}

/* Offset of the slot's target in the memory that its page maps. */
static u64 in_page(const struct bench *b, u32 frame)
{
	if (b->level == 1)
		return 0;
	return (b->level == 3 ? b->vm->mem->gpa : 0) + (u64)frame * SZ_4K;
}

static gpa_t page_gpa(const struct bench *b, u32 frame)
{
	if (b->level == 1)
		return b->vm->mem->gpa + (u64)frame * SZ_4K;
	return b->level == 3 ? 0 : b->vm->mem->gpa;
}

/* Offset of a frame in the memory; the second half of them is the second set. */
static u64 frame_at(const struct bench *b, u32 frame)
{
	return (frame % b->nr_frames) * SZ_4K + (frame < b->nr_frames ? 0 : MOVED_BY);
}

static struct bench *make_bench(const struct paging_mode *m, int level)
{
	static struct bench bench;
	struct bench *b = &bench;
	u32 i;
	int l;

	REQUIRE(level < 3 || (m->long_mode && cpu_has(&CPU_GBPAGES)), "1 GiB pages");
	b->m = m;
	b->level = level;
	b->vm = vm_create(m, .mem_size = 2 * MOVED_BY);
	b->v = b->vm->vcpu[0];
	b->nr_frames = 64;
	for (i = 0; i < 2 * b->nr_frames; i++) {
		u64 at = frame_at(b, i);

		place_function(b->vm, b->vm->mem->gpa + at, FUNCTION + i);
		*(u32 *)((u8 *)b->vm->mem->hva + at + READ_AT) = DATA + i;
	}
	aspace_make_tables(&b->vm->as, b->vm->test_gva, level);
	b->leaf_gpa = aspace_pte_gpa(&b->vm->as, b->vm->test_gva, level);
	b->from_gpa = vm_alloc_table(b->vm);
	b->then_gpa = vm_alloc_table(b->vm);
	/* PAE's PDPTEs are registers. */
	for (l = level + 1; l <= m->levels && !(m->id == PM_PAE && l == 3); l++) {
		b->upper_gpa[b->nr_upper] = aspace_pte_gpa(&b->vm->as, b->vm->test_gva, l);
		b->upper_clean[b->nr_upper] = aspace_get_pte(&b->vm->as, b->vm->test_gva, l);
		b->nr_upper++;
	}
	b->cr0 = guest_get_cr(b->v, 0) & ~CR0_WP;
	b->cr4 = guest_get_cr(b->v, 4);
	b->efer = cpu_has(&CPU_NX) ? guest_rdmsr(b->v, MSR_EFER) & ~EFER_NX : 0;
	return b;
}

/* Where slot @slot's entry is in a table, or a copy of it, that starts at @gpa. */
static gpa_t entry_gpa(const struct bench *b, gpa_t gpa, u32 slot)
{
	return gpa + (u64)slot * b->m->pte_size;
}

static u64 get_entry(const struct bench *b, gpa_t gpa)
{
	void *hva = vm_hva(b->vm, gpa);

	return b->m->pte_size == 8 ? *(volatile u64 *)hva : *(volatile u32 *)hva;
}

static void put_entry(const struct bench *b, gpa_t gpa, u64 entry)
{
	void *hva = vm_hva(b->vm, gpa);

	if (b->m->pte_size == 8)
		*(u64 *)hva = entry;
	else
		*(u32 *)hva = entry;
}

/* The guest copies the first @n slots' entries from @from to @to. */
static void copy_entries(const struct bench *b, gpa_t to, gpa_t from, u32 n)
{
	op_add(b->v, .kind = AGENT_COPY_PTES, .size = b->m->pte_size, .addr = to, .arg = from,
	       .value = n);
}

static u64 reserved_bit(const struct bench *b)
{
	if (b->m->pte_size == 4)
		return 0;
	return b->regs.maxphyaddr < 52 ? BIT(51) : 0;
}

/* Flags of leaf number @i, without P's own cases; @key is its protection key. */
static u64 leaf_flags(const struct bench *b, u32 i, u32 key)
{
	u64 flags = PTE_P;
	u32 bit;

	if (i >= 32) {
		flags = i == 32 ? PTE_W | PTE_U : i == 33 ? PTE_NX | PTE_A : PTE_P | PTE_W | PTE_U;
		if (i >= 34)
			flags |= reserved_bit(b);
		if (i == 35)
			flags &= ~PTE_W;
	} else {
		for (bit = 0; bit < ARRAY_LEN(leaf_bits); bit++)
			if (i >> bit & 1)
				flags |= leaf_bits[bit];
	}
	if (b->m->pte_size == 4)
		flags &= ~PTE_NX;
	else if (b->m->long_mode)
		flags |= PTE_PKEY(key);
	return flags | (b->level > 1 ? PTE_PS : 0);
}

/* What has no say in a table's entry, A and a key, is as @noise has it. */
static u64 upper_flags(const struct bench *b, u32 i, u32 noise)
{
	u64 flags = PTE_P | (noise & 1 ? PTE_A : 0);

	if (b->m->long_mode)
		flags |= PTE_PKEY(noise >> 1 & 3);

	if (i == 8)
		return (flags | PTE_W | PTE_U) & ~PTE_P;
	if (i == 9)
		return flags | PTE_W | PTE_U | reserved_bit(b);
	flags |= (i & 1 ? 0 : PTE_W) | (i & 2 ? 0 : PTE_U);
	if ((i & 4) && b->m->pte_size == 8)
		flags |= PTE_NX;
	return flags;
}

/* --- numbers ---------------------------------------------------------------------- */

static u64 inner_count(void)
{
	return NR_LEAVES * NR_KEYS * ARRAY_LEN(accesses);
}

static u64 outer_count(const struct bench *b)
{
	u64 n = NR_SETS;
	int i;

	for (i = 0; i < b->nr_upper; i++)
		n *= NR_UPPERS;
	return n;
}

/* Puts the batch's registers and upper entries for outer number @outer; false: not on this CPU. */
static bool choose_outer(struct bench *b, u64 outer)
{
	u32 set = outer % NR_SETS, noise = outer * 0x9e3779b1 >> 8;
	int i;

	if (set & ~supported_sets(b))
		return false;
	outer /= NR_SETS;
	b->regs = (struct oracle_regs){
		.cr0 = b->cr0 | (set & SET_WP ? CR0_WP : 0),
		.cr3 = b->vm->as.root,
		.cr4 = b->cr4 | (set & SET_SMEP ? CR4_SMEP : 0) | (set & SET_SMAP ? CR4_SMAP : 0) |
		       (set & SET_PKE ? CR4_PKE : 0),
		.efer = b->efer | (set & SET_NX ? EFER_NX : 0),
		.pkru = set & SET_PKE ? PKRU : 0,
		.maxphyaddr = cpu_maxphyaddr(),
		.no_gbpages = !cpu_has(&CPU_GBPAGES),
		.no_pse36 = !cpu_has(&CPU_PSE36),
	};
	for (i = 0; i < 4 && b->m->id == PM_PAE; i++)
		b->regs.pdpte[i] = aspace_get_pte(&b->vm->as, (gva_t)i << 30, 3);
	for (i = 0; i < b->nr_upper; i++) {
		b->upper[i] = (b->upper_clean[i] & PTE_ADDR_MASK) |
			      upper_flags(b, outer % NR_UPPERS, noise >> 3 * i);
		outer /= NR_UPPERS;
	}
	return true;
}

/*
 * KVM's shadow MMU makes a user page that is written with CR0.WP=0 a kernel page, and loses
 * SMAP's protection of it: smep_smap.ac_write_without_wp. The access that does so is left out.
 */
static bool loses_smap(const struct bench *b, const struct combi *c)
{
	return mmu_kind() == MMU_SHADOW && !(b->regs.cr0 & CR0_WP) && (b->regs.cr4 & CR4_SMAP) &&
	       accesses[c->access].kind == AGENT_WRITE && (accesses[c->access].flags & AGENT_AC);
}

static bool choose_inner(const struct bench *b, u64 inner, u64 number, u32 slot, struct combi *c)
{
	u32 leaf, key;

	c->number = number;
	c->twice = false;
	c->access = inner % ARRAY_LEN(accesses);
	inner /= ARRAY_LEN(accesses);
	key = inner % NR_KEYS;
	leaf = inner / NR_KEYS;
	/* Without keys their variants are all the same. */
	if (key && !(b->regs.cr4 & CR4_PKE))
		return false;
	c->slot = slot;
	c->frame = slot % b->nr_frames;
	c->leaf = pte_make_leaf(b->m, page_gpa(b, c->frame), b->level, 0) & ~(PTE_P | PTE_PS);
	c->leaf |= leaf_flags(b, leaf, key);
	return !(engine()->kernel_memory && loses_smap(b, c));
}

static bool read_above(const struct bench *b, gpa_t gpa, unsigned int size, u64 *entry)
{
	int i;

	for (i = 0; i < b->nr_upper; i++) {
		if (gpa == b->upper_gpa[i]) {
			*entry = b->upper[i];
			return true;
		}
	}
	if (!vm_slot_of(b->vm, gpa))
		return false;
	*entry = size == 8 ? *(u64 *)vm_hva(b->vm, gpa) : *(u32 *)vm_hva(b->vm, gpa);
	return true;
}

static void describe(const struct bench *b, const struct combi *c, char *text, size_t size)
{
	size_t at = snprintf(
		text, size,
		"combination %lu: %s%s, WP %d NX %d SMEP %d SMAP %d PKE %d, entries from "
		"level %d up: %#lx",
		c->number, c->twice ? "read, then " : "", accesses[c->access].name,
		!!(b->regs.cr0 & CR0_WP), !!(b->regs.efer & EFER_NX), !!(b->regs.cr4 & CR4_SMEP),
		!!(b->regs.cr4 & CR4_SMAP), !!(b->regs.cr4 & CR4_PKE), b->level, c->leaf);
	int i;

	for (i = 0; i < b->nr_upper && at < size; i++)
		at += snprintf(text + at, size - at, " %#lx", b->upper[i]);
	if (at < size)
		snprintf(text + at, size - at, "; rerun: MMUSCOPE_PERMUTATION=%lu with this case",
			 c->number);
}

/* --- all of them, or evenly spread ones --- */

static u64 from_env(const char *name, u64 fallback)
{
	const char *text = getenv(name);
	char *end;
	u64 value;

	if (!text || !*text)
		return fallback;
	value = strtoull(text, &end, 0);
	if (*end)
		test_error("%s=%s: give a number", name, text);
	return value;
}

/* How many a case judges if nobody says otherwise. */
static u64 count_of(u64 tdp, u64 shadow, u64 kernel)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	tdp = shadow;
#endif
	return from_env("MMUSCOPE_PERMUTATIONS", engine()->kernel_memory    ? kernel
						 : mmu_kind() == MMU_SHADOW ? shadow
									    : tdp);
}

static u64 gcd(u64 a, u64 b)
{
	return b ? gcd(b, a % b) : a;
}

/* A step near n times the golden ratio that shares no factor with @n: visits all, evenly. */
static u64 even_step(u64 n)
{
	u64 step = n - n * 382 / 1000;

	while (step > 1 && gcd(step, n) != 1)
		step--;
	return step ? step : 1;
}

#endif
