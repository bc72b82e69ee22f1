// SPDX-License-Identifier: GPL-2.0-only
/*
 * Judges one access by the tables as they stand. The entries on the way are taken top to bottom, until one ends the
 * walk; what is wrong with the last one decides between "not present" and "reserved"; otherwise the rights of all of
 * them together are held against the access, rule by rule.
 */
#include <stdio.h>
#include <string.h>

#include "oracle_priv.h"

const struct paging_mode *oracle_mode(const struct oracle_regs *r)
{
	if (!(r->cr0 & CR0_PG))
		return paging_mode(PM_NONE);
	if (!(r->cr4 & CR4_PAE))
		return paging_mode(PM_32);
	if (!(r->efer & EFER_LME))
		return paging_mode(PM_PAE);
	return paging_mode(r->cr4 & CR4_LA57 ? PM_LA57 : PM_LA48);
}

/* Bits @hi down to @lo, none when hi < lo. */
static inline u64 bits(int hi, int lo)
{
	if (hi < lo)
		return 0;
	return (~0ull >> (63 - hi)) & (~0ull << lo);
}

/* Does the entry map a page, at this level and with these registers? SDM tables 4-4 to 4-20. */
static bool maps_page(const struct oracle_walk *w, u64 e)
{
	if (w->level == 1)
		return true;
	if (!(e & PTE_PS))
		return false;
	switch (w->mode->id) {
	case PM_32:
		return w->level == 2 && (w->r->cr4 & CR4_PSE);
	case PM_PAE:
		return w->level == 2;
	default:
		return w->level == 2 || w->level == 3;
	}
}

/* PAE's PDPTEs have rights and A bits of no kind, and reserved bits of their own. */
static bool is_pdpte(const struct oracle_walk *w)
{
	return w->mode->id == PM_PAE && w->level == 3;
}

/* The bits that must be 0 in a present entry. SDM 4.3, 4.4.2, 4.5.4. */
static u64 must_be_zero(const struct oracle_walk *w, bool page)
{
	const struct oracle_regs *r = w->r;
	int level = w->level;
	u64 zero;

	if (w->mode->id == PM_32) {
		/* Bits 20:13 are address bits 39:32, as far as the processor has them. */
		int have = r->no_pse36 ? 32 : r->maxphyaddr > 40 ? 40 : r->maxphyaddr;

		return level == 2 && page ? bits(21, 13 + (have - 32)) : 0;
	}
	if (is_pdpte(w))
		return bits(63, r->maxphyaddr) | bits(8, 5) | bits(2, 1);
	zero = bits(51, r->maxphyaddr);
	if (!(r->efer & EFER_NX))
		zero |= PTE_NX;
	if (w->mode->id == PM_PAE)
		zero |= bits(62, 52);
	if (level >= 4)
		zero |= PTE_PS | (r->amd ? PTE_G : 0); /* APM vol. 2 5.3.3, figure 5-20 */
	if (level == 3 && r->no_gbpages)
		zero |= PTE_PS;
	if (page && level == 2)
		zero |= bits(20, 13);
	if (page && level == 3)
		zero |= bits(29, 13);
	return zero;
}

static gpa_t page_base(const struct oracle_walk *w)
{
	u64 e = w->last;

	if (w->mode->id == PM_32) {
		if (w->level == 1)
			return e & bits(31, 12);
		return (e & bits(31, 22)) | (e & bits(20, 13)) << 19;
	}
	return e & bits(51, w->mode->level[w->level].shift);
}

static void go_to(struct oracle_walk *w, gpa_t table, int level)
{
	w->level = level;
	w->at = table + (u64)level_index(w->mode, w->gva, level) * w->mode->pte_size;
}

enum oracle_end oracle_begin(struct oracle_walk *w, const struct oracle_regs *r,
			     const struct paging_mode *mode, gva_t gva)
{
	*w = (struct oracle_walk){.r = r, .mode = mode, .gva = gva, .all = ~0ull};
	switch (mode->id) {
	case PM_32:
		go_to(w, r->cr3 & bits(31, 12), 2);
		break;
	case PM_PAE:
		if (r->pdpte_in_memory) {
			go_to(w, r->cr3 & bits(31, 5), 3);
		} else {
			/* The top level is in registers, which were checked when they were loaded. */
			u64 top = r->pdpte[gva >> 30 & 3];

			if (!(top & PTE_P))
				return ORACLE_ABSENT;
			go_to(w, top & bits(51, 12), 2);
		}
		break;
	default:
		go_to(w, r->cr3 & bits(51, 12), mode->levels);
	}
	return ORACLE_GOES_ON;
}

enum oracle_end oracle_take(struct oracle_walk *w, u64 value)
{
	bool pdpte = is_pdpte(w), page;

	w->last = value;
	w->any |= value;
	if (!pdpte)
		w->all &= value;
	if (!(value & PTE_P))
		return ORACLE_ABSENT;
	page = !pdpte && maps_page(w, value);
	if (value & must_be_zero(w, page))
		return ORACLE_RESERVED;
	if (page)
		return ORACLE_PAGE;
	go_to(w, value & (w->mode->id == PM_32 ? bits(31, 12) : bits(51, 12)), w->level - 1);
	return ORACLE_GOES_ON;
}

/* SDM 4.6.2: the page's key forbids the access. */
static bool key_forbids(const struct oracle_walk *w, struct oracle_access a)
{
	const struct oracle_regs *r = w->r;
	unsigned int key;

	if (!(r->cr4 & CR4_PKE) || !w->mode->long_mode || a.kind == ORACLE_EXEC ||
	    !(w->all & PTE_U))
		return false;
	key = w->last >> PTE_PKEY_SHIFT & 15;
	if (r->pkru >> (2 * key) & 1)
		return true;
	return a.kind == ORACLE_WRITE && (r->pkru >> (2 * key + 1) & 1) &&
	       (a.user || (r->cr0 & CR0_WP));
}

/* SDM 4.6.1: who may do what. */
static bool rights_forbid(const struct oracle_walk *w, struct oracle_access a)
{
	const struct oracle_regs *r = w->r;
	bool user_page = w->all & PTE_U;

	if (a.user && !user_page)
		return true;
	if (a.kind == ORACLE_EXEC) {
		if (w->mode->pte_size == 8 && (r->efer & EFER_NX) && (w->any & PTE_NX))
			return true;
		return !a.user && user_page && (r->cr4 & CR4_SMEP);
	}
	if (!a.user && user_page && (r->cr4 & CR4_SMAP) && !r->ac)
		return true;
	return a.kind == ORACLE_WRITE && !(w->all & PTE_W) && (a.user || (r->cr0 & CR0_WP));
}

/* SDM 4.7: the error code. */
static u64 error_code(const struct oracle_walk *w, enum oracle_end end, struct oracle_access a,
		      bool key)
{
	const struct oracle_regs *r = w->r;
	u64 error = 0;

	if (end != ORACLE_ABSENT)
		error |= PFERR_P;
	if (a.kind == ORACLE_WRITE)
		error |= PFERR_W;
	if (a.user)
		error |= PFERR_U;
	if (end == ORACLE_RESERVED)
		error |= PFERR_RSVD;
	if (a.kind == ORACLE_EXEC &&
	    ((r->cr4 & CR4_SMEP) || (w->mode->pte_size == 8 && (r->efer & EFER_NX))))
		error |= PFERR_F;
	if (key)
		error |= PFERR_PK;
	return error;
}

void oracle_finish(const struct oracle_walk *w, enum oracle_end end, struct oracle_access access,
		   struct oracle_outcome *o)
{
	bool key = end == ORACLE_PAGE && key_forbids(w, access);

	o->error = 0;
	o->gpa = 0;
	o->page_shift = 0;
	o->global = false;
	if (end != ORACLE_PAGE || key || rights_forbid(w, access)) {
		o->verdict = ORACLE_PF;
		o->error = error_code(w, end, access, key);
		return;
	}
	o->verdict = ORACLE_OK;
	o->page_shift = w->mode->level[w->level].shift;
	o->gpa = page_base(w) | (w->gva & bits(o->page_shift - 1, 0));
	o->global = (w->r->cr4 & CR4_PGE) && (w->last & PTE_G);
}

/* What A and D must and may be afterwards. SDM 4.8. */
static void mark_accessed(struct oracle_outcome *o, const struct oracle_walk *w,
			  enum oracle_end end, struct oracle_access a)
{
	for (int i = 0; i < o->nr_entries; i++) {
		struct oracle_entry *e = &o->entry[i];
		bool last = i == o->nr_entries - 1;

		if (w->mode->id == PM_PAE && e->level == 3)
			continue;
		if (o->verdict == ORACLE_OK) {
			e->must_set = PTE_A | (last && a.kind == ORACLE_WRITE ? PTE_D : 0);
			e->may_set = e->must_set;
		} else if (!last || end == ORACLE_PAGE) {
			/*
			 * Entries that were used to get further may have been marked; the page's own too,
			 * since a processor may mark it before it looks at rights; D never.
			 */
			e->may_set = PTE_A;
		}
	}
}

bool oracle_canonical(const struct paging_mode *mode, gva_t *gva)
{
	u64 top;

	if (!mode->long_mode) {
		*gva = (u32)*gva;
		return true;
	}
	top = *gva >> (mode->gva_bits - 1);
	return top == 0 || top == bits(64 - mode->gva_bits, 0);
}

struct oracle_outcome oracle_judge(const struct oracle_regs *r, struct oracle_access a,
				   oracle_read read, void *arg)
{
	const struct paging_mode *mode = oracle_mode(r);
	struct oracle_outcome o = {.verdict = ORACLE_OK};
	struct oracle_walk w;
	enum oracle_end end;

	if (!oracle_canonical(mode, &a.gva)) {
		o.verdict = ORACLE_GP;
		return o;
	}
	if (!mode->levels) {
		o.gpa = a.gva;
		o.page_shift = 12;
		return o;
	}
	end = oracle_begin(&w, r, mode, a.gva);
	while (end == ORACLE_GOES_ON) {
		struct oracle_entry *e = &o.entry[o.nr_entries];

		e->level = w.level;
		e->gpa = w.at;
		if (!read(arg, w.at, mode->pte_size, &e->value)) {
			o.verdict = ORACLE_NO_TABLE;
			o.gpa = w.at;
			return o;
		}
		o.nr_entries++;
		end = oracle_take(&w, e->value);
	}
	oracle_finish(&w, end, a, &o);
	mark_accessed(&o, &w, end, a);
	return o;
}

const char *oracle_text(const struct oracle_outcome *o, char *buf, size_t size)
{
	static const char *const names[] = {"P", "W", "U", "RSVD", "F", "PK"};
	size_t at;

	switch (o->verdict) {
	case ORACLE_OK:
		snprintf(buf, size, "ok, gpa %#lx", o->gpa);
		break;
	case ORACLE_GP:
		snprintf(buf, size, "#GP");
		break;
	case ORACLE_NO_TABLE:
		snprintf(buf, size, "no memory for the entry at gpa %#lx", o->gpa);
		break;
	case ORACLE_PF:
		at = snprintf(buf, size, "#PF error %#lx (", o->error);
		for (unsigned int i = 0, n = 0; i < ARRAY_LEN(names) && at < size; i++)
			if (o->error >> i & 1)
				at += snprintf(buf + at, size - at, "%s%s", n++ ? "|" : "",
					       names[i]);
		if (at < size)
			snprintf(buf + at, size - at, ")");
	}
	return buf;
}
