// SPDX-License-Identifier: GPL-2.0-only
/*
 * The second dimension of a walk: from a guest-physical to a physical address.
 * AMD's tables are ordinary ones walked for a user (APM vol. 2 15.25), Intel's
 * have their own format (SDM vol. 3 29.3).
 */
#include <assert.h>

#include "x86/arch/ept.h"
#include "x86/arch/svm.h"
#include "x86/cpu/walk_priv.h"

/* What an access is to the nested tables. */
struct rights {
	bool read, write, exec;
};

/*
 * The processor reads a guest's tables as if it wrote to them where nested D bits
 * are kept, since it may have to set theirs (APM 15.25.6, SDM 29.3.5). That is
 * not so for PDPTEs that are loaded.
 */
static struct rights rights_of(const struct walker *w, enum nested_access access)
{
	bool writes = !w->nested->tables_read && (w->nested->kind == NESTED_NPT || w->nested->ad);

	switch (access) {
	case NESTED_TABLE:
		return (struct rights){.read = true, .write = writes};
	case NESTED_TABLE_SET:
		return (struct rights){.write = true};
	case NESTED_TABLE_PDPTE:
		return (struct rights){.read = true};
	default:
		return (struct rights){.read = w->kind == ACCESS_READ,
				       .write = w->kind == ACCESS_WRITE,
				       .exec = w->kind == ACCESS_EXEC};
	}
}

static bool allows(u64 perm, struct rights r)
{
	return !(r.read && !(perm & PERM_NESTED_R)) && !(r.write && !(perm & PERM_NESTED_W)) &&
	       !(r.exec && !(perm & PERM_NESTED_X));
}

/* --- what is remembered --------------------------------------------------- */

/* A finished translation that serves for @r as it is. */
static bool recall_page(const struct walker *w, gpa_t gpa, struct rights r,
			struct nested_page *page)
{
	static const u8 shifts[] = {12, 21, 22, 30};
	const struct cached *e;
	struct cached_key key;
	unsigned int i;

	if (!w->cache)
		return false;
	for (i = 0; i < ARRAY_LEN(shifts); i++) {
		key = pscache_gpa_key(CACHED_GPA, w->nested, w->regs->asid, shifts[i], gpa);
		e = pscache_find(w->cache, &key);
		if (!e || !allows(e->perm, r) || (r.write && !(e->perm & PERM_NESTED_D)))
			continue;
		page->hpa = e->hpa | (gpa & (BIT(shifts[i]) - 1));
		page->perm = e->perm;
		page->shift = shifts[i];
		return true;
	}
	return false;
}

static void remember_page(const struct walker *w, gpa_t gpa, const struct nested_page *page)
{
	if (!w->cache)
		return;
	pscache_add(w->cache, &(struct cached){
				      .key = pscache_gpa_key(CACHED_GPA, w->nested, w->regs->asid,
							     page->shift, gpa),
				      .hpa = page->hpa & ~(BIT(page->shift) - 1),
				      .perm = page->perm,
			      });
}

/* The lowest table on the way to @gpa that is remembered; *@level is the level it is at. */
static void recall_table(const struct walker *w, const struct paging_mode *m, gpa_t gpa, int *level,
			 hpa_t *table, u64 *perm)
{
	const struct cached *e;
	struct cached_key key;
	int l;

	if (!w->cache)
		return;
	for (l = 2; l <= m->levels; l++) {
		key = pscache_gpa_key(CACHED_NTABLE, w->nested, w->regs->asid, m->level[l].shift,
				      gpa);
		e = pscache_find(w->cache, &key);
		if (e) {
			*level = l - 1;
			*table = e->hpa;
			*perm = e->perm;
			return;
		}
	}
}

static void remember_table(const struct walker *w, const struct paging_mode *m, gpa_t gpa,
			   int level, hpa_t table, u64 perm)
{
	if (!w->cache)
		return;
	pscache_add(w->cache,
		    &(struct cached){
			    .key = pscache_gpa_key(CACHED_NTABLE, w->nested, w->regs->asid,
						   m->level[level].shift, gpa),
			    .hpa = table,
			    .perm = perm,
		    });
}

/* --- AMD ---------------------------------------------------------------------- */

static enum step npf(struct walker *w, gpa_t gpa, enum nested_access access, struct rights r,
		     u64 error)
{
	error |= PFERR_U | (access == NESTED_FINAL ? NPF_FINAL : NPF_TABLE);
	if (r.write)
		error |= PFERR_W;
	if (r.exec && w->nested->nx)
		error |= PFERR_F;
	w->t->gpa = gpa;
	return walk_end(w, WALK_NPF, error);
}

static const struct paging_mode *nested_mode(const struct nested *n)
{
	static const enum paging_mode_id by_levels[] = {
		[2] = PM_32, [3] = PM_PAE, [4] = PM_LA48, [5] = PM_LA57};

	assert(n->levels >= (n->kind == NESTED_EPT ? 4 : 2) && n->levels <= 5);
	return paging_mode(by_levels[n->levels]);
}

static enum step walk_npt(struct walker *w, gpa_t gpa, enum nested_access access,
			  struct nested_page *page)
{
	const struct nested *n = w->nested;
	const struct table_format f = {.mode = nested_mode(n),
				       .maxphyaddr = n->maxphyaddr,
				       .nx = n->nx,
				       .pse = true,
				       .amd = true,
				       .no_gbpages = n->no_gbpages};
	struct rights r = rights_of(w, access);
	hpa_t table = format_root(&f, n->root), at;
	u64 entry, perm = PTE_W | PTE_U;
	int level = f.mode->levels;
	enum step step;

	if (gpa >> f.mode->gva_bits)
		return npf(w, gpa, access, r, 0);
	recall_table(w, f.mode, gpa, &level, &table, &perm);
	for (;; level--) {
		at = table + (u64)level_index(f.mode, gpa, level) * f.mode->pte_size;
		step = walk_read(w, at, f.mode->pte_size, &entry);
		if (step != STEP_OK)
			return step;
		if (!(entry & PTE_P))
			return npf(w, gpa, access, r, 0);
		if (format_reserved(&f, level, entry))
			return npf(w, gpa, access, r, PFERR_P | PFERR_RSVD);
		perm = format_accumulate(&f, level, entry, perm);
		if (format_leaf(&f, level, entry))
			break;
		if (format_has_rights(&f, level)) {
			step = walk_set(w, at, f.mode->pte_size, &entry, PTE_A);
			if (step != STEP_OK)
				return step;
		}
		table = pte_addr(f.mode, entry, level);
		remember_table(w, f.mode, gpa, level, table, perm);
	}

	page->perm = perm & PTE_U ? PERM_NESTED_R : 0;
	if (perm & PTE_U && perm & PTE_W)
		page->perm |= PERM_NESTED_W;
	if (perm & PTE_U && !(perm & PTE_NX))
		page->perm |= PERM_NESTED_X;
	if (!allows(page->perm, r))
		return npf(w, gpa, access, r, PFERR_P);
	step = walk_set(w, at, f.mode->pte_size, &entry, r.write ? PTE_A | PTE_D : PTE_A);
	if (step != STEP_OK)
		return step;
	if (entry & PTE_D)
		page->perm |= PERM_NESTED_D;
	page->shift = f.mode->level[level].shift;
	page->hpa = pte_addr(f.mode, entry, level) | (gpa & (BIT(page->shift) - 1));
	remember_page(w, gpa, page);
	return STEP_OK;
}

/* --- Intel ------------------------------------------------------------------------ */

/* @rights: EPT_R, W and X of all entries on the path, anded. */
static enum step violation(struct walker *w, gpa_t gpa, enum nested_access access, struct rights r,
			   u64 rights)
{
	u64 q = rights << EPTV_ENTRY_SHIFT;

	if (r.read)
		q |= EPTV_READ;
	if (r.write)
		q |= EPTV_WRITE;
	if (r.exec)
		q |= EPTV_FETCH;
	if (access != NESTED_TABLE_PDPTE)
		q |= EPTV_GVA;
	if (access == NESTED_FINAL)
		q |= EPTV_FINAL;
	w->t->gpa = gpa;
	return walk_end(w, WALK_EPT_VIOLATION, q);
}

static bool ept_leaf(int level, u64 entry)
{
	return level == 1 || (level <= 3 && entry & EPT_PS);
}

/* SDM vol. 3 29.3.3.1: what a present entry must not be. */
static bool misconfigured(const struct nested *n, int level, u64 entry)
{
	u64 reserved = n->maxphyaddr < 52 ? BITS(51, n->maxphyaddr) : 0;
	bool leaf = ept_leaf(level, entry);

	if (!(entry & EPT_R) && (entry & EPT_W || n->no_exec_only))
		return true;
	if (leaf && !(EPT_MT_VALID >> ((entry & EPT_MT_MASK) >> EPT_MT_SHIFT) & 1))
		return true;
	if (level >= 4)
		reserved |= BITS(7, 3);
	else if (!leaf)
		reserved |= BITS(6, 3);
	else if (level > 1)
		reserved |= BITS(12 + 9 * (level - 1) - 1, 12);
	if (level == 3 && n->no_gbpages)
		reserved |= EPT_PS;
	return entry & reserved;
}

static u64 ept_perm(u64 rights)
{
	return (rights & EPT_R ? PERM_NESTED_R : 0) | (rights & EPT_W ? PERM_NESTED_W : 0) |
	       (rights & EPT_X ? PERM_NESTED_X : 0);
}

/*
 * Sets A or D. Whichever it is, there has to be room in the log, though only a page that becomes
 * dirty takes it.
 */
static enum step set_ept_bits(struct walker *w, gpa_t gpa, hpa_t at, u64 *entry, u64 bits)
{
	struct pml *pml = w->nested->pml;
	bool dirties = bits & ~*entry & EPT_D;
	enum step step;

	if (pml && (*entry & bits) != bits && pml->index >= PML_ENTRIES) {
		w->t->gpa = gpa;
		return walk_end(w, WALK_PML_FULL, 0);
	}
	step = walk_set(w, at, sizeof(*entry), entry, bits);
	if (step == STEP_OK && pml && dirties)
		pml->entry[pml->index--] = gpa & ~(SZ_4K - 1);
	return step;
}

static enum step walk_ept(struct walker *w, gpa_t gpa, enum nested_access access,
			  struct nested_page *page)
{
	const struct nested *n = w->nested;
	const struct paging_mode *m = nested_mode(n);
	struct rights r = rights_of(w, access);
	hpa_t table = n->root & EPT_ADDR_MASK, at;
	u64 entry, rights = EPT_RWX, bits;
	int level = n->levels;
	enum step step;

	if (gpa >> m->gva_bits)
		return violation(w, gpa, access, r, 0);
	recall_table(w, m, gpa, &level, &table, &rights);
	for (;; level--) {
		at = table + (u64)level_index(m, gpa, level) * sizeof(entry);
		step = walk_read(w, at, sizeof(entry), &entry);
		if (step != STEP_OK)
			return step;
		if (!(entry & EPT_RWX))
			return violation(w, gpa, access, r, 0);
		if (misconfigured(n, level, entry)) {
			w->t->gpa = gpa;
			return walk_end(w, WALK_EPT_MISCONFIG, 0);
		}
		rights &= entry;
		if (ept_leaf(level, entry))
			break;
		if (n->ad) {
			step = set_ept_bits(w, gpa, at, &entry, EPT_A);
			if (step != STEP_OK)
				return step;
		}
		table = entry & EPT_ADDR_MASK;
		remember_table(w, m, gpa, level, table, rights);
	}

	page->perm = ept_perm(rights);
	if (!allows(page->perm, r))
		return violation(w, gpa, access, r, rights);
	if (n->ad) {
		bits = r.write ? EPT_A | EPT_D : EPT_A;
		step = set_ept_bits(w, gpa, at, &entry, bits);
		if (step != STEP_OK)
			return step;
	}
	if (!n->ad || entry & EPT_D)
		page->perm |= PERM_NESTED_D;
	page->shift = m->level[level].shift;
	page->hpa =
		(entry & EPT_ADDR_MASK & ~(BIT(page->shift) - 1)) | (gpa & (BIT(page->shift) - 1));
	remember_page(w, gpa, page);
	return STEP_OK;
}

enum step walk_nested(struct walker *w, gpa_t gpa, enum nested_access access,
		      struct nested_page *page)
{
	if (!w->nested) {
		*page = (struct nested_page){.hpa = gpa, .perm = PERM_NESTED, .shift = 63};
		return STEP_OK;
	}
	assert(w->nested->maxphyaddr >= 32 && w->nested->maxphyaddr <= 52);
	if (recall_page(w, gpa, rights_of(w, access), page))
		return STEP_OK;
	if (w->nested->kind == NESTED_EPT)
		return walk_ept(w, gpa, access, page);
	return walk_npt(w, gpa, access, page);
}
