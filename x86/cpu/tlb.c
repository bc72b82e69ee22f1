// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TLB: look-up, filling, and the rules of forgetting. The rules are SDM vol. 3
 * 4.10.4 for instructions, 29.4.3 for EPT and VPID, APM vol. 2 5.5.3 and 15.16 for
 * AMD; where they leave room, as little as possible is dropped.
 */
#include <stdlib.h>

#include "x86/arch/mutants.h"
#include "x86/arch/regs.h"
#include "x86/cpu/pscache.h"
#include "x86/cpu/tlb.h"

struct tlb {
	struct pscache cache;
	struct tlb_stats stats;
	u64 random; /* state of the generator */
	unsigned int evict, prefetch;
};

struct tlb *tlb_new(void)
{
	return calloc(1, sizeof(struct tlb));
}

void tlb_free(struct tlb *tlb)
{
	if (tlb)
		pscache_fini(&tlb->cache);
	free(tlb);
}

struct tlb_stats tlb_stats(const struct tlb *tlb)
{
	struct tlb_stats s = tlb->stats;

	s.drops = tlb->cache.drops;
	s.entries = pscache_count(&tlb->cache);
	return s;
}

const u64 *tlb_generations(const struct tlb *tlb)
{
	return tlb->cache.generation;
}

void tlb_each(const struct tlb *tlb, void (*fn)(void *arg, const struct tlb_entry *e), void *arg)
{
	const struct cached *c, *end;
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++) {
		c = tlb->cache.store[kind].entries;
		for (end = c + tlb->cache.store[kind].nr; c < end; c++)
			fn(arg, &(struct tlb_entry){
					.linear = kind == CACHED_PAGE || kind == CACHED_TABLE,
					.table = kind == CACHED_TABLE || kind == CACHED_NTABLE,
					.asid = c->key.asid,
					.space = c->key.space,
					.addr = c->key.number << c->key.shift,
					.size = BIT(c->key.shift),
					.gpa = c->gpa,
					.hpa = c->hpa,
					.perm = c->perm,
				});
	}
}

void tlb_set_seed(struct tlb *tlb, u64 seed, unsigned int evict, unsigned int prefetch)
{
	tlb->random = seed;
	tlb->evict = evict;
	tlb->prefetch = prefetch;
}

/* A step of a Weyl sequence, mixed. */
static u64 next_random(struct tlb *tlb)
{
	u64 x = tlb->random += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

/* --- dropping by rule ----------------------------------------------------------- */

#define ANY_PCID -1

enum which_tables {
	TABLES_OF_GVA,
	TABLES_ALL
};

/* Linear or combined entries to be dropped. */
struct linear_rule {
	u16 asid;
	int pcid;    /* or ANY_PCID */
	bool global; /* global translations too */
	bool one;    /* of gva only */
	gva_t gva;
	enum which_tables tables;
};

static bool match_page(const struct cached *e, const void *arg)
{
	const struct linear_rule *r = arg;

	if (e->key.asid != r->asid)
		return false;
	if (MUTANT(cpu_invlpg_keeps_global) && r->one && e->key.pcid == PCID_GLOBAL)
		return false;
	if (e->key.pcid == PCID_GLOBAL ? !r->global : r->pcid != ANY_PCID && e->key.pcid != r->pcid)
		return false;
	/* all fragments of the page that the guest's entry maps */
	if (MUTANT(cpu_invlpg_one_fragment) && r->one)
		return r->gva >> e->key.shift == e->key.number;
	return !r->one ||
	       (r->gva >> e->guest_shift) == (e->key.number << e->key.shift >> e->guest_shift);
}

static bool match_table(const struct cached *e, const void *arg)
{
	const struct linear_rule *r = arg;

	if (e->key.asid != r->asid || (r->pcid != ANY_PCID && e->key.pcid != r->pcid))
		return false;
	return r->tables == TABLES_ALL || (r->gva >> e->key.shift) == e->key.number;
}

static void drop_linear(struct tlb *tlb, struct linear_rule rule)
{
	pscache_drop_if(&tlb->cache, CACHED_PAGE, match_page, &rule);
	if (!(MUTANT(cpu_invlpg_keeps_tables) && rule.one))
		pscache_drop_if(&tlb->cache, CACHED_TABLE, match_table, &rule);
}

void tlb_invlpg(struct tlb *tlb, u16 asid, u16 pcid, gva_t gva)
{
	drop_linear(tlb, (struct linear_rule){.asid = asid,
					      .pcid = pcid,
					      .global = true,
					      .one = true,
					      .gva = gva,
					      .tables = TABLES_ALL});
}

void tlb_invpcid(struct tlb *tlb, u16 asid, unsigned int type, u16 pcid, gva_t gva)
{
	struct linear_rule rule = {.asid = asid, .pcid = pcid, .tables = TABLES_ALL};

	switch (type) {
	case INVPCID_ADDR:
		rule.one = true;
		rule.gva = gva;
		rule.tables = TABLES_OF_GVA;
		break;
	case INVPCID_SINGLE:
		break;
	case INVPCID_ALL_GLOBAL:
		rule.global = true;
		/* fall through */
	case INVPCID_ALL:
		rule.pcid = MUTANT(cpu_invpcid_all_one) ? pcid : ANY_PCID;
		break;
	default:
		return;
	}
	drop_linear(tlb, rule);
}

void tlb_mov_cr3(struct tlb *tlb, u16 asid, u64 cr4, u64 value)
{
	bool pcide = cr4 & CR4_PCIDE;

	if (pcide && value & CR3_NOFLUSH)
		return;
	drop_linear(tlb, (struct linear_rule){.asid = asid,
					      .pcid = pcide && !MUTANT(cpu_cr3_drops_pcid_0)
							      ? value & CR3_PCID_MASK
							      : 0,
					      .tables = TABLES_ALL});
}

void tlb_mov_cr0(struct tlb *tlb, u16 asid, u64 old, u64 value)
{
	if (old & CR0_PG && !(value & CR0_PG))
		tlb_invpcid(tlb, asid, INVPCID_ALL_GLOBAL, 0, 0);
}

void tlb_mov_cr4(struct tlb *tlb, u16 asid, u16 pcid, u64 old, u64 value)
{
	u64 changed = old ^ value;

	if ((changed & CR4_PGE && !MUTANT(cpu_pge_keeps_global)) ||
	    (changed & CR4_PCIDE && !(value & CR4_PCIDE)))
		tlb_invpcid(tlb, asid, INVPCID_ALL_GLOBAL, 0, 0);
	else if (changed & CR4_PAE || (changed & CR4_SMEP && value & CR4_SMEP))
		drop_linear(tlb, (struct linear_rule){.asid = asid,
						      .pcid = pcid,
						      .global = true,
						      .tables = TABLES_ALL});
}

static bool match_all(const struct cached *e, const void *arg)
{
	(void)e;
	(void)arg;
	return true;
}

void tlb_flush_all(struct tlb *tlb)
{
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++)
		pscache_drop_if(&tlb->cache, kind, match_all, NULL);
}

/* Guest-physical entries with an ASID are AMD's: Intel's have an EPT pointer. */
static bool match_asid(const struct cached *e, const void *arg)
{
	return !e->key.space && e->key.asid == *(const u16 *)arg;
}

void tlb_flush_asid(struct tlb *tlb, u16 asid, bool keep_global)
{
	drop_linear(tlb, (struct linear_rule){.asid = asid,
					      .pcid = ANY_PCID,
					      .global = !keep_global,
					      .tables = TABLES_ALL});
	pscache_drop_if(&tlb->cache, CACHED_GPA, match_asid, &asid);
	pscache_drop_if(&tlb->cache, CACHED_NTABLE, match_asid, &asid);
}

void tlb_invlpga(struct tlb *tlb, u16 asid, gva_t gva)
{
	drop_linear(tlb, (struct linear_rule){.asid = asid,
					      .pcid = ANY_PCID,
					      .global = true,
					      .one = true,
					      .gva = gva,
					      .tables = TABLES_OF_GVA});
}

/* @arg: a tag, or NULL for all that there are. */
static bool match_space(const struct cached *e, const void *arg)
{
	return arg ? e->key.space == *(const u64 *)arg : e->key.space;
}

static void drop_space(struct tlb *tlb, const u64 *space)
{
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++)
		pscache_drop_if(&tlb->cache, kind, match_space, space);
}

void tlb_invept(struct tlb *tlb, hpa_t root)
{
	u64 space = pscache_space(&(struct nested){.kind = NESTED_EPT, .root = root});

	drop_space(tlb, &space);
}

void tlb_invept_all(struct tlb *tlb)
{
	drop_space(tlb, NULL);
}

/* Guest-physical addresses to be dropped, in one address space of them. */
struct gpa_rule {
	u64 space;
	u16 asid; /* compared unless there is a space */
	gpa_t start, last;
};

static bool in_space(const struct cached *e, const struct gpa_rule *r)
{
	return r->space ? e->key.space == r->space : !e->key.space && e->key.asid == r->asid;
}

static bool overlaps(const struct gpa_rule *r, gpa_t gpa, u8 shift)
{
	return gpa <= r->last && gpa + (BIT(shift) - 1) >= r->start;
}

static bool match_gpa(const struct cached *e, const void *arg)
{
	return in_space(e, arg) && overlaps(arg, e->key.number << e->key.shift, e->key.shift);
}

static bool match_combined(const struct cached *e, const void *arg)
{
	return in_space(e, arg) && overlaps(arg, e->gpa, e->key.shift);
}

static bool match_space_tables(const struct cached *e, const void *arg)
{
	return in_space(e, arg);
}

void tlb_flush_gpa(struct tlb *tlb, u16 asid, const struct nested *nested, gpa_t start, gpa_t end)
{
	struct gpa_rule rule = {
		.space = pscache_space(nested), .asid = asid, .start = start, .last = end - 1};

	if (start >= end)
		return;
	pscache_drop_if(&tlb->cache, CACHED_GPA, match_gpa, &rule);
	pscache_drop_if(&tlb->cache, CACHED_NTABLE, match_gpa, &rule);
	if (!MUTANT(cpu_gpa_flush_keeps_combined))
		pscache_drop_if(&tlb->cache, CACHED_PAGE, match_combined, &rule);
	pscache_drop_if(&tlb->cache, CACHED_TABLE, match_space_tables, &rule);
}

/* Sizes of pages, and spans of entries that point on, over all modes. */
static const u8 page_shifts[] = {12, 21, 22, 30};
static const u8 table_shifts[] = {21, 22, 30, 39, 48};

/* --- translation ---------------------------------------------------------------- */

static const struct cached *find_page(const struct tlb *tlb, const struct mmu_regs *regs,
				      const struct nested *nested, gva_t gva)
{
	u64 space = pscache_space(nested);
	u16 pcid = pscache_pcid(regs);
	const struct cached *e;
	struct cached_key key;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(page_shifts); i++) {
		key = cached_key(CACHED_PAGE, page_shifts[i], regs->asid, pcid, space, gva);
		e = pscache_find(&tlb->cache, &key);
		if (e)
			return e;
		if (!(regs->cr4 & CR4_PGE))
			continue;
		key = cached_key(CACHED_PAGE, page_shifts[i], regs->asid, PCID_GLOBAL, space, gva);
		e = pscache_find(&tlb->cache, &key);
		if (e)
			return e;
	}
	return NULL;
}

static void remember(struct tlb *tlb, const struct mmu_regs *regs, const struct nested *nested,
		     gva_t gva, const struct translation *t)
{
	u64 offset = BIT(t->shift) - 1;

	if (!(regs->cr0 & CR0_PG))
		return; /* no linear translation; the guest-physical one is there */
	pscache_add(&tlb->cache,
		    &(struct cached){
			    .key = cached_key(CACHED_PAGE, t->shift, regs->asid,
					      t->perm & PTE_G ? PCID_GLOBAL : pscache_pcid(regs),
					      pscache_space(nested), gva),
			    .guest_shift = t->guest_shift,
			    .gpa = t->gpa & ~offset,
			    .hpa = t->hpa & ~offset,
			    .perm = t->perm,
		    });
}

static bool hit_permits(const struct mmu_regs *regs, const struct cached *e, enum access_kind kind)
{
	static const u64 nested[] = {[ACCESS_READ] = PERM_NESTED_R,
				     [ACCESS_WRITE] = PERM_NESTED_W,
				     [ACCESS_EXEC] = PERM_NESTED_X};

	return e->perm & nested[kind] && walk_permits(regs, e->perm, kind, NULL);
}

/* Drops what is remembered of @addr under @space at each of @shifts; returns how many were old. */
static u32 drop_at(struct tlb *tlb, enum cached_kind kind, u16 asid, u16 pcid, u64 space, u64 addr,
		   const u8 *shifts, unsigned int nr)
{
	u32 old = 0;

	while (nr-- > 0) {
		struct cached_key key = cached_key(kind, shifts[nr], asid, pcid, space, addr);

		old += pscache_drop(&tlb->cache, &key);
	}
	return old;
}

/*
 * What a fault drops before it is reported: the linear address's translations and
 * tables, and if it is the second dimension's fault, the guest-physical address's.
 * Returns whether something of it is older than this translation.
 */
static bool drop_faulting(struct tlb *tlb, const struct mmu_regs *regs, const struct nested *nested,
			  gva_t gva, const struct translation *t)
{
	u64 space = pscache_space(nested);
	u16 asid = regs->asid, pcid = pscache_pcid(regs);
	u32 old = drop_at(tlb, CACHED_PAGE, asid, PCID_GLOBAL, space, gva, page_shifts,
			  ARRAY_LEN(page_shifts));

	old += drop_at(tlb, CACHED_PAGE, asid, pcid, space, gva, page_shifts,
		       ARRAY_LEN(page_shifts));
	old += drop_at(tlb, CACHED_TABLE, asid, pcid, space, gva, table_shifts,
		       ARRAY_LEN(table_shifts));
	if (t->outcome == WALK_NPF || t->outcome == WALK_EPT_VIOLATION ||
	    t->outcome == WALK_EPT_MISCONFIG) {
		asid = pscache_gpa_asid(nested, asid);
		old += drop_at(tlb, CACHED_GPA, asid, 0, space, t->gpa, page_shifts,
			       ARRAY_LEN(page_shifts));
		old += drop_at(tlb, CACHED_NTABLE, asid, 0, space, t->gpa, table_shifts,
			       ARRAY_LEN(table_shifts));
	}
	return old;
}

/* Looks up a page nearby ahead of its use, as a read; no fault comes of it. */
static void prefetch(struct tlb *tlb, struct phys *p, const struct mmu_regs *regs,
		     const struct nested *nested, gva_t gva)
{
	gva_t ahead = gva + (next_random(tlb) % 4 + 1) * SZ_4K;
	unsigned int bits = walk_mode(regs)->gva_bits;
	struct translation t;

	/* not past the end of the half of the address space that gva is in */
	if (!(regs->cr0 & CR0_PG) || (gva ^ ahead) >> (bits - 1) & 1)
		return;
	if (find_page(tlb, regs, nested, ahead))
		return;
	t = walk_cached(p, regs, nested, ahead, ACCESS_READ, &tlb->cache);
	if (t.outcome != WALK_OK)
		return;
	remember(tlb, regs, nested, ahead, &t);
	tlb->stats.prefetches++;
}

struct translation translate(struct tlb *tlb, struct phys *p, const struct mmu_regs *regs,
			     const struct nested *nested, gva_t gva, enum access_kind kind)
{
	const u64 dirty = PTE_D | PERM_NESTED_D;
	struct translation t;
	const struct cached *e;
	struct cached_key unfit;

	tlb->cache.clock++;
	if (tlb->evict && next_random(tlb) % tlb->evict == 0 && pscache_count(&tlb->cache)) {
		pscache_drop_nth(&tlb->cache, next_random(tlb) % pscache_count(&tlb->cache));
		tlb->stats.evictions++;
	}
	if (nested && nested->kind == NESTED_NONE)
		nested = NULL;
	if (!walk_mode(regs)->long_mode)
		gva = (u32)gva;
	e = regs->cr0 & CR0_PG ? find_page(tlb, regs, nested, gva) : NULL;
	if (e && hit_permits(regs, e, kind)) {
		if (kind != ACCESS_WRITE || (e->perm & dirty) == dirty) {
			tlb->stats.hits++;
			return (struct translation){
				.outcome = WALK_OK,
				.level = e->key.shift < 21   ? 1
					 : e->key.shift < 30 ? 2
							     : 3,
				.shift = e->key.shift,
				.guest_shift = e->guest_shift,
				.gva = gva,
				.gpa = e->gpa | (gva & (BIT(e->key.shift) - 1)),
				.hpa = e->hpa | (gva & (BIT(e->key.shift) - 1)),
				.perm = e->perm,
			};
		}
		tlb->stats.dirty++;
	} else if (e) {
		tlb->stats.denied++;
	} else {
		tlb->stats.misses++;
	}
	if (e) {
		unfit = e->key;
		pscache_drop(&tlb->cache, &unfit);
	}

	t = walk_cached(p, regs, nested, gva, kind, &tlb->cache);
	/* A full log is no fault: it says nothing of what is remembered. */
	while (t.outcome != WALK_OK && t.outcome != WALK_PML_FULL &&
	       drop_faulting(tlb, regs, nested, gva, &t)) {
		tlb->stats.stale++;
		t = walk_cached(p, regs, nested, gva, kind, &tlb->cache);
	}
	if (t.outcome != WALK_OK)
		return t;
	remember(tlb, regs, nested, gva, &t);
	if (tlb->prefetch && next_random(tlb) % tlb->prefetch == 0)
		prefetch(tlb, p, regs, nested, gva);
	return t;
}
