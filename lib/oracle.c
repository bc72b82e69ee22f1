// SPDX-License-Identifier: GPL-2.0-only
/*
 * Judges one access by the tables as they stand. Three steps: the entries on the way are read, top to bottom, until one
 * ends it; what is wrong with the last one decides between "not present" and "reserved"; otherwise the rights of all
 * of them together are held against the access, rule by rule.
 */
#include <stdio.h>
#include <string.h>

#include "oracle.h"

/* What the walk came to. */
struct path {
	const struct paging_mode *mode;
	struct oracle_entry *entry; /* the outcome's */
	int nr;
	bool not_present, reserved, no_table;
	bool leaf_found;
};

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
static u64 bits(int hi, int lo)
{
	if (hi < lo)
		return 0;
	return (~0ull >> (63 - hi)) & (~0ull << lo);
}

/* Does the entry map a page, at this level and with these registers? SDM tables 4-4 to 4-20. */
static bool maps_page(const struct oracle_regs *r, const struct path *p, u64 e, int level)
{
	if (level == 1)
		return true;
	if (!(e & PTE_PS))
		return false;
	switch (p->mode->id) {
	case PM_32:
		return level == 2 && (r->cr4 & CR4_PSE);
	case PM_PAE:
		return level == 2;
	default:
		return level == 2 || level == 3;
	}
}

/* The bits that must be 0 in a present entry. SDM 4.3, 4.4.2, 4.5.4. */
static u64 must_be_zero(const struct oracle_regs *r, const struct path *p, u64 e, int level)
{
	bool page = maps_page(r, p, e, level);
	u64 zero = 0;

	if (p->mode->id == PM_32) {
		if (level == 2 && page) {
			/* Bits 20:13 are address bits 39:32, as far as the processor has them. */
			int have = r->no_pse36 ? 32 : r->maxphyaddr > 40 ? 40 : r->maxphyaddr;

			zero |= bits(21, 13 + (have - 32));
		}
		return zero;
	}
	zero |= bits(51, r->maxphyaddr);
	if (!(r->efer & EFER_NX))
		zero |= PTE_NX;
	if (p->mode->id == PM_PAE)
		zero |= bits(62, 52);
	if (level >= 4)
		zero |= PTE_PS | (r->amd ? PTE_G : 0); /* APM vol. 2 5.3.3, figure 5-20 */
	if (level == 3 && p->mode->id != PM_PAE && r->no_gbpages)
		zero |= PTE_PS;
	if (page && level == 2)
		zero |= bits(20, 13);
	if (page && level == 3)
		zero |= bits(29, 13);
	return zero;
}

static gpa_t page_base(const struct path *p, u64 e, int level)
{
	if (p->mode->id == PM_32) {
		if (level == 1)
			return e & bits(31, 12);
		return (e & bits(31, 22)) | (e & bits(20, 13)) << 19;
	}
	return e & bits(51, p->mode->level[level].shift);
}

static gpa_t table_base(const struct path *p, u64 e)
{
	return e & (p->mode->id == PM_32 ? bits(31, 12) : bits(51, 12));
}

/* Reads the entries on the way to @gva. */
static void follow(const struct oracle_regs *r, gva_t gva, oracle_read read, void *arg,
		   struct path *p)
{
	int level = p->mode->levels;
	gpa_t table;

	switch (p->mode->id) {
	case PM_32:
		table = r->cr3 & bits(31, 12);
		break;
	case PM_PAE:
		table = r->cr3 & bits(31, 5);
		if (!r->pdpte_in_memory) {
			/* The top level is in registers, which were checked when they were loaded. */
			u64 top = r->pdpte[gva >> 30 & 3];

			p->not_present = !(top & PTE_P);
			if (p->not_present)
				return;
			table = top & bits(51, 12);
			level = 2;
		}
		break;
	default:
		table = r->cr3 & bits(51, 12);
	}
	for (;; level--) {
		struct oracle_entry *e = &p->entry[p->nr];
		u64 zero;

		e->level = level;
		e->gpa = table + (u64)level_index(p->mode, gva, level) * p->mode->pte_size;
		if (!read(arg, e->gpa, p->mode->pte_size, &e->value)) {
			p->no_table = true;
			return;
		}
		p->nr++;
		if (!(e->value & PTE_P)) {
			p->not_present = true;
			return;
		}
		/* PAE's PDPTEs have rights and A bits of no kind, and reserved bits of their own. */
		if (p->mode->id == PM_PAE && level == 3)
			zero = bits(63, r->maxphyaddr) | bits(8, 5) | bits(2, 1);
		else
			zero = must_be_zero(r, p, e->value, level);
		if (e->value & zero) {
			p->reserved = true;
			return;
		}
		if (maps_page(r, p, e->value, level) && !(p->mode->id == PM_PAE && level == 3)) {
			p->leaf_found = true;
			return;
		}
		table = table_base(p, e->value);
	}
}

/* Is @bit set in every entry that has rights? */
static bool in_all(const struct path *p, u64 bit)
{
	for (int i = 0; i < p->nr; i++)
		if (!(p->mode->id == PM_PAE && p->entry[i].level == 3) &&
		    !(p->entry[i].value & bit))
			return false;
	return true;
}

static bool in_any(const struct path *p, u64 bit)
{
	for (int i = 0; i < p->nr; i++)
		if (p->entry[i].value & bit)
			return true;
	return false;
}

/* SDM 4.6.2: the page's key forbids the access. */
static bool key_forbids(const struct oracle_regs *r, const struct path *p, struct oracle_access a)
{
	unsigned int key;

	if (!(r->cr4 & CR4_PKE) || !p->mode->long_mode || a.kind == ORACLE_EXEC ||
	    !in_all(p, PTE_U))
		return false;
	key = p->entry[p->nr - 1].value >> PTE_PKEY_SHIFT & 15;
	if (r->pkru >> (2 * key) & 1)
		return true;
	return a.kind == ORACLE_WRITE && (r->pkru >> (2 * key + 1) & 1) &&
	       (a.user || (r->cr0 & CR0_WP));
}

/* SDM 4.6.1: who may do what. */
static bool rights_forbid(const struct oracle_regs *r, const struct path *p, struct oracle_access a)
{
	bool user_page = in_all(p, PTE_U), writable = in_all(p, PTE_W);
	bool no_exec = p->mode->pte_size == 8 && (r->efer & EFER_NX) && in_any(p, PTE_NX);

	if (a.user && !user_page)
		return true;
	if (a.kind == ORACLE_EXEC)
		return no_exec || (!a.user && user_page && (r->cr4 & CR4_SMEP));
	if (!a.user && user_page && (r->cr4 & CR4_SMAP) && !r->ac)
		return true;
	return a.kind == ORACLE_WRITE && !writable && (a.user || (r->cr0 & CR0_WP));
}

/* SDM 4.7: the error code. */
static u64 error_code(const struct oracle_regs *r, const struct path *p, struct oracle_access a)
{
	u64 error = 0;

	if (!p->not_present)
		error |= PFERR_P;
	if (a.kind == ORACLE_WRITE)
		error |= PFERR_W;
	if (a.user)
		error |= PFERR_U;
	if (p->reserved)
		error |= PFERR_RSVD;
	if (a.kind == ORACLE_EXEC &&
	    ((r->cr4 & CR4_SMEP) || (p->mode->pte_size == 8 && (r->efer & EFER_NX))))
		error |= PFERR_F;
	if (p->leaf_found && key_forbids(r, p, a))
		error |= PFERR_PK;
	return error;
}

/* What A and D must and may be afterwards. SDM 4.8. */
static void mark_accessed(struct path *p, struct oracle_access a, bool done)
{
	for (int i = 0; i < p->nr; i++) {
		struct oracle_entry *e = &p->entry[i];
		bool last = i == p->nr - 1;

		if (p->mode->id == PM_PAE && e->level == 3)
			continue;
		if (done) {
			e->must_set = PTE_A | (last && a.kind == ORACLE_WRITE ? PTE_D : 0);
			e->may_set = e->must_set;
		} else if (!last || p->leaf_found) {
			/*
			 * Entries that were used to get further may have been marked; the page's own too,
			 * since a processor may mark it before it looks at rights; D never.
			 */
			e->may_set = PTE_A;
		}
	}
}

static bool is_canonical(const struct paging_mode *m, gva_t gva)
{
	u64 top = gva >> (m->gva_bits - 1);

	return top == 0 || top == bits(64 - m->gva_bits, 0);
}

struct oracle_outcome oracle_judge(const struct oracle_regs *r, struct oracle_access a,
				   oracle_read read, void *arg)
{
	struct oracle_outcome o = {.verdict = ORACLE_OK};
	struct path p = {.mode = oracle_mode(r), .entry = o.entry};
	const struct oracle_entry *last;
	bool faults;

	if (!p.mode->long_mode)
		a.gva = (u32)a.gva;
	else if (!is_canonical(p.mode, a.gva)) {
		o.verdict = ORACLE_GP;
		return o;
	}
	if (!p.mode->levels) {
		o.gpa = a.gva;
		o.page_shift = 12;
		return o;
	}
	follow(r, a.gva, read, arg, &p);
	faults = p.not_present || p.reserved ||
		 (p.leaf_found && (rights_forbid(r, &p, a) || key_forbids(r, &p, a)));
	if (!p.no_table)
		mark_accessed(&p, a, !faults);
	o.nr_entries = p.nr;
	last = p.nr ? &p.entry[p.nr - 1] : NULL;
	if (p.no_table) {
		o.verdict = ORACLE_NO_TABLE;
		o.gpa = p.entry[p.nr].gpa;
	} else if (faults) {
		o.verdict = ORACLE_PF;
		o.error = error_code(r, &p, a);
	} else {
		o.page_shift = p.mode->level[last->level].shift;
		o.gpa = page_base(&p, last->value, last->level) |
			(a.gva & bits(o.page_shift - 1, 0));
		o.global = (r->cr4 & CR4_PGE) && (last->value & PTE_G);
	}
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
