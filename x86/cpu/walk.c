// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's dimension of a walk: from CR3 to a guest-physical address in each
 * paging mode, the rights of SDM vol. 3 4.6, error codes of 4.7, A and D of 4.8.
 */
#include <assert.h>

#include "x86/arch/ept.h"
#include "x86/arch/regs.h"
#include "x86/cpu/walk.h"
#include "x86/cpu/walk_priv.h"

const struct paging_mode *walk_mode(const struct mmu_regs *regs)
{
	if (!(regs->cr0 & CR0_PG))
		return paging_mode(PM_NONE);
	if (!(regs->cr4 & CR4_PAE))
		return paging_mode(PM_32);
	if (!(regs->efer & EFER_LMA))
		return paging_mode(PM_PAE);
	return paging_mode(regs->cr4 & CR4_LA57 ? PM_LA57 : PM_LA48);
}

const char *walk_outcome_name(enum walk_outcome outcome)
{
	static const char *const names[] = {
		[WALK_OK] = "ok",
		[WALK_PF] = "#PF",
		[WALK_NPF] = "NPF",
		[WALK_EPT_VIOLATION] = "EPT violation",
		[WALK_EPT_MISCONFIG] = "EPT misconfiguration",
		[WALK_PML_FULL] = "page-modification log full",
		[WALK_BUS] = "nothing at the physical address",
		[WALK_PDPTE] = "invalid PDPTE",
	};

	return outcome < ARRAY_LEN(names) ? names[outcome] : "?";
}

enum step walk_end(struct walker *w, enum walk_outcome outcome, u64 error)
{
	w->t->outcome = outcome;
	w->t->error = error;
	return STEP_DONE;
}

static bool is_user(const struct mmu_regs *regs)
{
	return regs->cpl == 3 && !regs->implicit;
}

/* The part of an error code that depends on the access alone. */
static u64 access_error(const struct mmu_regs *regs, enum access_kind kind)
{
	u64 error = is_user(regs) ? PFERR_U : 0;

	if (kind == ACCESS_WRITE)
		error |= PFERR_W;
	if (kind == ACCESS_EXEC &&
	    (regs->cr4 & CR4_SMEP || (regs->cr4 & CR4_PAE && regs->efer & EFER_NX)))
		error |= PFERR_F;
	return error;
}

/* Whether PKRU forbids data accesses of @kind to a user page with this key. */
static bool pkey_denies(const struct mmu_regs *regs, u64 perm, enum access_kind kind)
{
	unsigned int rights = regs->pkru >> (2 * PERM_PKEY(perm)) & 3;

	if (!(regs->efer & EFER_LMA) || !(regs->cr4 & CR4_PKE) || !(perm & PTE_U) ||
	    kind == ACCESS_EXEC)
		return false;
	if (rights & 1)
		return true;
	return rights & 2 && kind == ACCESS_WRITE && (is_user(regs) || regs->cr0 & CR0_WP);
}

bool walk_permits(const struct mmu_regs *regs, u64 perm, enum access_kind kind, u64 *error)
{
	bool user = is_user(regs), ok, keyed;

	if (!(regs->cr0 & CR0_PG))
		return true;
	keyed = pkey_denies(regs, perm, kind);
	if (kind == ACCESS_EXEC) {
		ok = !(perm & PTE_NX && regs->efer & EFER_NX);
		if (user)
			ok &= !!(perm & PTE_U);
		else if (perm & PTE_U)
			ok &= !(regs->cr4 & CR4_SMEP);
	} else {
		ok = !keyed;
		if (user)
			ok &= !!(perm & PTE_U);
		else if (perm & PTE_U && regs->cr4 & CR4_SMAP)
			ok &= regs->ac && !regs->implicit;
		if (kind == ACCESS_WRITE && (user || regs->cr0 & CR0_WP))
			ok &= !!(perm & PTE_W);
	}
	if (!ok && error)
		*error = access_error(regs, kind) | PFERR_P | (keyed ? PFERR_PK : 0);
	return ok;
}

enum step walk_read(struct walker *w, hpa_t pa, unsigned int size, u64 *entry)
{
	*entry = 0;
	if (phys_read(w->phys, pa, entry, size))
		return STEP_OK;
	w->t->hpa = pa;
	return walk_end(w, WALK_BUS, 0);
}

enum step walk_set(struct walker *w, hpa_t pa, unsigned int size, u64 *entry, u64 bits)
{
	u64 found = *entry, new = *entry | bits;
	u32 found32 = found;
	bool there;

	if ((*entry & bits) == bits)
		return STEP_OK;
	if (size == 8) {
		there = phys_cmpxchg64(w->phys, pa, &found, new);
	} else {
		there = phys_cmpxchg32(w->phys, pa, &found32, new);
		found = found32;
	}
	if (!there) {
		w->t->hpa = pa;
		return walk_end(w, WALK_BUS, 0);
	}
	if (found != *entry)
		return STEP_RETRY;
	*entry = new;
	return STEP_OK;
}

bool format_leaf(const struct table_format *f, int level, u64 entry)
{
	if (f->mode->id == PM_32 && !f->pse)
		return level == 1;
	return pte_is_leaf(f->mode, entry, level);
}

u64 format_reserved(const struct table_format *f, int level, u64 entry)
{
	bool leaf = format_leaf(f, level, entry);
	u64 reserved = 0;

	if (f->mode->id == PM_32) {
		/* PSE-36: bits 20:13 are address bits 39:32, as far as there are any */
		if (leaf && level == 2) {
			unsigned int width = f->maxphyaddr < 40 ? f->maxphyaddr : 40;

			reserved = f->no_pse36 ? BITS(21, 13) : BITS(21, width - 32 + 13);
		}
		return entry & reserved;
	}
	if (f->maxphyaddr < 52)
		reserved |= BITS(51, f->maxphyaddr);
	if (!f->nx)
		reserved |= PTE_NX;
	if (f->mode->id == PM_PAE) {
		reserved |= BITS(62, 52);
		if (level == 3)
			reserved |= PTE_NX | BITS(8, 5) | BITS(2, 1);
	} else if (level >= 4) {
		reserved |= PTE_PS;
		if (f->amd)
			reserved |= PTE_G;
	} else if (level == 3 && f->no_gbpages) {
		reserved |= PTE_PS;
	}
	/* a large page's address, less the bit that is PAT */
	if (leaf && level > 1)
		reserved |= BITS(f->mode->level[level].shift - 1, 13);
	return entry & reserved;
}

u64 format_root(const struct table_format *f, u64 cr3)
{
	switch (f->mode->id) {
	case PM_32:
		return cr3 & PTE32_ADDR_MASK;
	case PM_PAE:
		return cr3 & BITS(31, 5);
	default:
		return cr3 & PTE_ADDR_MASK;
	}
}

u64 format_accumulate(const struct table_format *f, int level, u64 entry, u64 perm)
{
	if (!format_has_rights(f, level))
		return perm;
	perm &= entry | ~(PTE_W | PTE_U);
	if (f->nx && f->mode->pte_size == 8)
		perm |= entry & PTE_NX;
	return perm;
}

static struct table_format guest_format(const struct mmu_regs *regs)
{
	return (struct table_format){
		.mode = walk_mode(regs),
		.maxphyaddr = regs->maxphyaddr,
		.nx = regs->efer & EFER_NX,
		.pse = regs->cr4 & CR4_PSE,
		.amd = regs->amd,
		.no_gbpages = regs->no_gbpages,
		.no_pse36 = regs->no_pse36,
	};
}

/* Where a walk stands: the table to index next. */
struct position {
	int level;
	gpa_t table;
	hpa_t table_hpa;
	bool located; /* table_hpa is known */
	u64 perm;     /* accumulated above */
};

static struct cached_key table_key(const struct walker *w, const struct table_format *f, gva_t gva,
				   int level)
{
	return cached_key(CACHED_TABLE, f->mode->level[level].shift, w->regs->asid,
			  pscache_pcid(w->regs), pscache_space(w->nested), gva);
}

/* The top table, or PAE's directory by its register. */
static enum step walk_begin(struct walker *w, const struct table_format *f, gva_t gva,
			    struct position *at)
{
	u64 pdpte;

	*at = (struct position){.level = f->mode->levels, .perm = PTE_W | PTE_U};
	at->table = format_root(f, w->regs->cr3);
	if (f->mode->id == PM_PAE && !(w->nested && w->nested->kind == NESTED_NPT)) {
		pdpte = w->regs->pdpte[level_index(f->mode, gva, 3)];
		if (!(pdpte & PTE_P))
			return walk_end(w, WALK_PF, access_error(w->regs, w->kind));
		at->table = pdpte & PTE_ADDR_MASK;
		at->level = 2;
	}
	return STEP_OK;
}

/* Goes on from the lowest table on the way to @gva that is remembered. */
static void recall_table(const struct walker *w, const struct table_format *f, gva_t gva,
			 struct position *at)
{
	const struct cached *e;
	struct cached_key key;
	int level;

	if (!w->cache)
		return;
	for (level = 2; level <= at->level; level++) {
		key = table_key(w, f, gva, level);
		e = pscache_find(w->cache, &key);
		if (e) {
			*at = (struct position){.level = level - 1,
						.table = e->gpa,
						.table_hpa = e->hpa,
						.located = true,
						.perm = e->perm};
			return;
		}
	}
}

/* Finds where in memory the current table is. */
static enum step locate_table(struct walker *w, const struct table_format *f, gva_t gva,
			      gpa_t entry_gpa, int top, struct position *at)
{
	struct nested_page page;
	struct cached entry;
	enum step step;

	if (at->located)
		return STEP_OK;
	step = walk_nested(w, entry_gpa, NESTED_TABLE, &page);
	if (step != STEP_OK)
		return step;
	at->table_hpa = page.hpa - (entry_gpa - at->table);
	at->located = true;
	if (w->cache && at->level < top) {
		entry = (struct cached){
			.key = table_key(w, f, gva, at->level + 1),
			.gpa = at->table,
			.hpa = at->table_hpa,
			.perm = at->perm,
		};
		pscache_add(w->cache, &entry);
	}
	return STEP_OK;
}

/* Sets A and D in a guest's entry, which is a write to the guest's memory. */
static enum step set_guest_bits(struct walker *w, const struct table_format *f, gpa_t gpa,
				hpa_t hpa, u64 *entry, u64 bits)
{
	struct nested_page page;
	enum step step;

	if ((*entry & bits) == bits)
		return STEP_OK;
	if (w->nested &&
	    (w->nested->tables_read || (w->nested->kind == NESTED_EPT && !w->nested->ad))) {
		/* so far it was only read */
		step = walk_nested(w, gpa, NESTED_TABLE_SET, &page);
		if (step != STEP_OK)
			return step;
		hpa = page.hpa;
	}
	return walk_set(w, hpa, f->mode->pte_size, entry, bits);
}

/* From the mapping of the guest's page and its nested page to the result. */
static enum step walk_final(struct walker *w, gpa_t gpa, u64 perm, u8 guest_shift)
{
	struct nested_page page;
	enum step step = walk_nested(w, gpa, NESTED_FINAL, &page);
	struct translation *t = w->t;

	if (step != STEP_OK)
		return step;
	t->outcome = WALK_OK;
	t->gpa = gpa;
	t->hpa = page.hpa;
	t->perm = perm | page.perm;
	t->guest_shift = guest_shift;
	t->shift = page.shift < guest_shift ? page.shift : guest_shift;
	if (t->shift == 63)
		t->shift = 12;
	t->level = t->shift < 21 ? 1 : t->shift < 30 ? 2 : 3;
	return STEP_OK;
}

static enum step walk_guest(struct walker *w, gva_t gva)
{
	struct table_format f = guest_format(w->regs);
	u64 entry, perm, error, offset, bits;
	struct position at;
	gpa_t entry_gpa;
	hpa_t entry_hpa;
	enum step step;
	u8 shift;
	int top;

	if (f.mode->id == PM_NONE)
		return walk_final(w, gva, PTE_W | PTE_U | PTE_D, 63);
	step = walk_begin(w, &f, gva, &at);
	if (step != STEP_OK)
		return step;
	top = at.level;
	recall_table(w, &f, gva, &at);
	for (;; at.level--) {
		offset = (u64)level_index(f.mode, gva, at.level) * f.mode->pte_size;
		entry_gpa = at.table + offset;
		step = locate_table(w, &f, gva, entry_gpa, top, &at);
		if (step != STEP_OK)
			return step;
		entry_hpa = at.table_hpa + offset;
		step = walk_read(w, entry_hpa, f.mode->pte_size, &entry);
		if (step != STEP_OK)
			return step;
		error = access_error(w->regs, w->kind);
		if (!(entry & PTE_P))
			return walk_end(w, WALK_PF, error);
		if (format_reserved(&f, at.level, entry))
			return walk_end(w, WALK_PF, error | PFERR_P | PFERR_RSVD);
		at.perm = format_accumulate(&f, at.level, entry, at.perm);
		if (format_leaf(&f, at.level, entry))
			break;
		if (format_has_rights(&f, at.level)) {
			step = set_guest_bits(w, &f, entry_gpa, entry_hpa, &entry, PTE_A);
			if (step != STEP_OK)
				return step;
		}
		at.table = pte_addr(f.mode, entry & ~PTE_PS, at.level);
		at.located = false;
	}

	perm = at.perm;
	if (w->regs->cr4 & CR4_PGE)
		perm |= entry & PTE_G;
	if (f.mode->long_mode)
		perm |= entry & BITS(62, PTE_PKEY_SHIFT);
	if (!walk_permits(w->regs, perm, w->kind, &error))
		return walk_end(w, WALK_PF, error);
	bits = w->kind == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A;
	step = set_guest_bits(w, &f, entry_gpa, entry_hpa, &entry, bits);
	if (step != STEP_OK)
		return step;
	perm |= entry & PTE_D;
	shift = f.mode->level[at.level].shift;
	return walk_final(w, pte_addr(f.mode, entry, at.level) | (gva & (BIT(shift) - 1)), perm,
			  shift);
}

struct translation walk_cached(struct phys *p, const struct mmu_regs *regs,
			       const struct nested *nested, gva_t gva, enum access_kind kind,
			       struct pscache *cache)
{
	struct translation t;
	struct walker w = {.phys = p, .regs = regs, .cache = cache, .kind = kind, .t = &t};

	assert(regs->maxphyaddr >= 32 && regs->maxphyaddr <= 52);
	if (nested && nested->kind != NESTED_NONE)
		w.nested = nested;
	if (!walk_mode(regs)->long_mode)
		gva = (u32)gva;
	do {
		t = (struct translation){.gva = gva};
	} while (walk_guest(&w, gva) == STEP_RETRY);
	return t;
}

struct translation walk(struct phys *p, const struct mmu_regs *regs, const struct nested *nested,
			gva_t gva, enum access_kind kind)
{
	return walk_cached(p, regs, nested, gva, kind, NULL);
}

struct translation walk_load_pdptes(struct phys *p, const struct mmu_regs *regs,
				    const struct nested *nested, u64 cr3, u64 pdpte[4])
{
	struct table_format f = {.mode = paging_mode(PM_PAE), .maxphyaddr = regs->maxphyaddr};
	struct translation t = {.outcome = WALK_OK};
	struct walker w = {.phys = p, .regs = regs, .kind = ACCESS_READ, .t = &t};
	gpa_t gpa = format_root(&f, cr3);
	struct nested_page page;
	enum step step;
	u64 loaded[4];
	int i;

	if (nested && nested->kind != NESTED_NONE)
		w.nested = nested;
	do {
		t = (struct translation){.outcome = WALK_OK};
		step = walk_nested(&w, gpa, NESTED_TABLE_PDPTE, &page);
	} while (step == STEP_RETRY);
	if (step != STEP_OK)
		return t;
	for (i = 0; i < 4; i++) {
		if (walk_read(&w, page.hpa + 8 * i, 8, &loaded[i]) != STEP_OK)
			return t;
		if (loaded[i] & PTE_P && format_reserved(&f, 3, loaded[i])) {
			t.outcome = WALK_PDPTE;
			t.gpa = gpa + 8 * i;
			return t;
		}
	}
	for (i = 0; i < 4; i++)
		pdpte[i] = loaded[i];
	return t;
}
