// SPDX-License-Identifier: GPL-2.0-only
/*
 * The oracle's memory: a processor may go on using what an entry said at any time since the last flush that covers
 * the address, and for each level on its own, since paging-structure caches hold the upper ones. So each entry keeps
 * the values it has had with the time at which each ended, each flush the time when it came, and an access is judged with
 * every combination of what its entries may still be taken for.
 *
 * That allows more than any one processor does. What it does not allow is wrong on all of them.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle_priv.h"

#define BUCKETS	  256
#define MAX_COMBI 512 /* combinations that are tried for an access */
#define MAX_ROOTS 32

/* An entry held @value until @until. Those that ended later come first. */
struct past {
	gpa_t gpa;
	u64 value, until;
	struct past *next;
};

/* The last flush of some address in a page of 1 << @shift bytes; in a hash of their own. */
struct addr_flush {
	gva_t page;
	u16 pcid; /* or GLOBAL */
	u8 shift;
	u64 when;
	u64 upper; /* GLOBAL: since when upper entries were remembered then, by other PCIDs */
	struct addr_flush *next;
};

#define GLOBAL 0x1000 /* translations that are, of whichever PCID */

/* A root that was in use until @until. */
struct left_root {
	u64 cr3, pdpte[4], until;
	u64 base; /* CR3 without what is no address */
	u16 pcid;
};

struct oracle_history {
	u64 now;
	struct past *past[BUCKETS];
	struct addr_flush *addr[BUCKETS];
	u64 pcid_flush[4096]; /* when all of a PCID's were dropped */
	u64 local_flush;      /* all that are not global */
	u64 all_flush;
	bool dirty; /* anything remembered at all */
	bool looked_back;
	struct left_root root[MAX_ROOTS];
	unsigned int nr_roots;
	bool roots_lost; /* there were more */
};

struct oracle_history *oracle_history_new(void)
{
	return calloc(1, sizeof(struct oracle_history));
}

static void forget_all(struct oracle_history *h)
{
	for (int i = 0; i < BUCKETS; i++) {
		while (h->past[i]) {
			struct past *p = h->past[i];

			h->past[i] = p->next;
			free(p);
		}
		while (h->addr[i]) {
			struct addr_flush *f = h->addr[i];

			h->addr[i] = f->next;
			free(f);
		}
	}
	h->dirty = false;
	h->nr_roots = 0;
	h->roots_lost = false;
}

void oracle_history_free(struct oracle_history *h)
{
	if (h)
		forget_all(h);
	free(h);
}

static unsigned int bucket(u64 key)
{
	return (key * 0x9e3779b97f4a7c15ull) >> 56;
}

void oracle_stored(struct oracle_history *h, gpa_t gpa, u64 old)
{
	struct past **link = &h->past[bucket(gpa)], **first = link, *p;

	h->now++;
	if (!(old & PTE_P))
		return; /* what is not present is not remembered */
	/* The same value once more was held until now; A and D make no other translation. */
	while (*link &&
	       ((*link)->gpa != gpa || ((*link)->value | PTE_A | PTE_D) != (old | PTE_A | PTE_D)))
		link = &(*link)->next;
	p = *link;
	if (p) {
		*link = p->next;
	} else {
		p = malloc(sizeof(*p));
		if (!p)
			abort();
		p->gpa = gpa;
		p->value = old;
		h->dirty = true;
	}
	p->until = h->now;
	p->next = *first;
	*first = p;
}

static u16 pcid_of(const struct oracle_regs *r)
{
	return r->cr4 & CR4_PCIDE ? r->cr3 & CR3_PCID_MASK : 0;
}

static u64 base_of(const struct oracle_regs *r)
{
	return r->cr3 & ~(r->cr4 & CR4_PCIDE ? (u64)CR3_PCID_MASK : 0x1full);
}

void oracle_left_root(struct oracle_history *h, const struct oracle_regs *r)
{
	struct left_root left = {
		.cr3 = r->cr3, .pcid = pcid_of(r), .until = ++h->now, .base = base_of(r)};
	unsigned int i;

	memcpy(left.pdpte, r->pdpte, sizeof(left.pdpte));
	for (i = 0; i < h->nr_roots; i++)
		if (h->root[i].cr3 == left.cr3 && h->root[i].pcid == left.pcid &&
		    !memcmp(h->root[i].pdpte, left.pdpte, sizeof(left.pdpte)))
			break;
	if (i == MAX_ROOTS) {
		h->roots_lost = true;
		return;
	}
	h->root[i] = left;
	if (i == h->nr_roots)
		h->nr_roots++;
	h->dirty = true;
}

static struct addr_flush *find_addr(const struct oracle_history *h, u16 pcid, gva_t gva, u8 shift)
{
	struct addr_flush *f;

	for (f = h->addr[bucket(gva >> shift)]; f; f = f->next)
		if (f->page == gva >> shift && f->pcid == pcid && f->shift == shift)
			return f;
	return NULL;
}

/* When some address in the page around @gva was flushed last; 0: never. */
static u64 addr_flushed(const struct oracle_history *h, u16 pcid, gva_t gva, u8 shift)
{
	const struct addr_flush *f = find_addr(h, pcid, gva, shift);

	return f ? f->when : 0;
}

static u64 later(u64 a, u64 b)
{
	return a > b ? a : b;
}

/* When all that @pcid had for @gva was dropped but what is global; upper entries are never that. */
static u64 local_since(const struct oracle_history *h, u16 pcid, gva_t gva)
{
	return later(later(h->all_flush, h->local_flush),
		     later(h->pcid_flush[pcid], addr_flushed(h, pcid, gva, 12)));
}

/* Of a large page that is remembered all goes, whichever of its addresses is flushed. */
static void flush_addr(struct oracle_history *h, u16 pcid, gva_t gva)
{
	static const u8 shifts[] = {12, 21, 22, 30};

	for (unsigned int i = 0; i < ARRAY_LEN(shifts); i++) {
		gva_t page = gva >> shifts[i];
		struct addr_flush *f = find_addr(h, pcid, gva, shifts[i]);

		if (!f) {
			f = calloc(1, sizeof(*f));
			if (!f)
				abort();
			f->page = page;
			f->pcid = pcid;
			f->shift = shifts[i];
			f->next = h->addr[bucket(page)];
			h->addr[bucket(page)] = f;
		}
		f->when = h->now;
	}
}

/*
 * INVLPG drops upper entries of the current PCID only. By those of another one a global translation of the same
 * address may be made anew, for all PCIDs (SDM vol. 3 4.10.4.1): since when upper entries may be remembered for it.
 */
static void flush_global_addr(struct oracle_history *h, gva_t gva)
{
	struct addr_flush *f;

	flush_addr(h, GLOBAL, gva);
	f = find_addr(h, GLOBAL, gva, 12);
	f->upper = h->now;
	for (unsigned int i = 0; i < h->nr_roots; i++) {
		u64 since = local_since(h, h->root[i].pcid, gva);

		if (since < f->upper)
			f->upper = since;
	}
}

void oracle_flushed(struct oracle_history *h, enum oracle_flush what, u16 pcid, gva_t gva)
{
	h->now++;
	switch (what) {
	case ORACLE_FLUSH_ADDR:
		flush_addr(h, pcid, gva);
		flush_global_addr(h, gva);
		break;
	case ORACLE_FLUSH_ADDR_PCID:
		flush_addr(h, pcid, gva);
		break;
	case ORACLE_FLUSH_PCID:
		h->pcid_flush[pcid & 0xfff] = h->now;
		break;
	case ORACLE_FLUSH_NOT_GLOBAL:
		h->local_flush = h->now;
		break;
	case ORACLE_FLUSH_ALL:
		h->all_flush = h->now;
		if (h->dirty)
			forget_all(h);
		break;
	}
}

/* The values that the entry at @gpa had, the one that ended last first. */
static const struct past *past_of(const struct oracle_history *h, gpa_t gpa)
{
	const struct past *p = h->past[bucket(gpa)];

	while (p && p->gpa != gpa)
		p = p->next;
	return p;
}

/* Reads entries as they stand, and notes when the last older value of any of them ended. */
struct noting {
	const struct oracle_history *h;
	oracle_read read;
	void *arg;
	u64 latest;
};

static bool read_noting(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	struct noting *n = arg;
	const struct past *p;

	if (!n->read(n->arg, gpa, size, entry))
		return false;
	p = past_of(n->h, gpa);
	if (p)
		n->latest = later(n->latest, p->until);
	return true;
}

/* All walks with what their entries may be taken for. */
struct search {
	struct oracle_history *h;
	struct oracle_access access;
	oracle_read read;
	void *arg;
	u64 since;	  /* entries may be taken for what they have held since then, */
	u64 page_since;	  /* one that maps a page since then */
	u64 global_since; /* one that maps a global page */
	bool global_only; /* only translations that are global count */
	u16 pcid;
	unsigned int tries;
	struct oracle_outcome *out;
	unsigned int nr;
	bool overflow;
	struct oracle_entry entry[PAGING_MAX_LEVEL];
};

/* When a translation by the last entry of @w must have been dropped. */
static u64 page_dropped(const struct search *s, const struct oracle_walk *w, bool global)
{
	u8 shift = w->mode->level[w->level].shift;
	u64 when = global ? s->global_since : 0;

	return shift == 12 ? when
			   : later(when, addr_flushed(s->h, global ? GLOBAL : s->pcid,
						      s->access.gva, shift));
}

/*
 * What the walk @w, which was ended by a page and of which something is remembered, comes to. The last entry held until
 * @until what it is taken for.
 */
static void found(struct search *s, const struct oracle_walk *w, unsigned int nr_entries, u64 until)
{
	struct oracle_outcome o;
	unsigned int i;

	oracle_finish(w, ORACLE_PAGE, s->access, &o);
	if ((s->global_only && !o.global) || until <= page_dropped(s, w, o.global))
		return;
	for (i = 0; i < s->nr; i++)
		if (s->out[i].verdict == o.verdict && s->out[i].error == o.error &&
		    s->out[i].gpa == o.gpa)
			return;
	if (s->nr == ORACLE_MAX_OUTCOMES) {
		s->overflow = true;
		return;
	}
	/* Which entries then are marked is not told: the old ones may not even be there. */
	for (i = 0; i < nr_entries; i++) {
		o.entry[i] = s->entry[i];
		o.entry[i].must_set = 0;
		o.entry[i].may_set = PTE_A | PTE_D;
	}
	o.nr_entries = nr_entries;
	s->out[s->nr++] = o;
}

static void explore(struct search *s, const struct oracle_walk *w, unsigned int depth,
		    bool remembered);

/* The entry at w->at is taken for @value, which it held until @until. */
static void take(struct search *s, const struct oracle_walk *w, unsigned int depth, u64 value,
		 u64 until, bool remembered)
{
	struct oracle_walk next = *w;
	enum oracle_end end = oracle_take(&next, value);

	s->entry[depth] = (struct oracle_entry){.gpa = w->at, .value = value, .level = w->level};
	if (end == ORACLE_GOES_ON) {
		explore(s, &next, depth + 1, remembered);
		return;
	}
	if (++s->tries > MAX_COMBI)
		s->overflow = true;
	/* "Not present" and reserved bits are not remembered. */
	else if (remembered && end == ORACLE_PAGE && until > s->page_since)
		found(s, &next, depth + 1, until);
}

/* Goes on from @w with all that the next entry may be taken for. */
static void explore(struct search *s, const struct oracle_walk *w, unsigned int depth,
		    bool remembered)
{
	/* A and D make no other translation, but PAE's PDPTEs have other bits there. */
	u64 same = w->mode->id == PM_PAE && w->level == 3 ? 0 : PTE_A | PTE_D;
	const struct past *p;
	u64 now;

	if (!s->read(s->arg, w->at, w->mode->pte_size, &now))
		return;
	p = past_of(s->h, w->at);
	if (p && p->until > s->since)
		s->h->looked_back = true;
	take(s, w, depth, now, ~0ull, remembered);
	for (; p && p->until > s->since && !s->overflow; p = p->next)
		if (p->gpa == w->at && (p->value | same) != (now | same))
			take(s, w, depth, p->value, p->until, true);
}

/* All walks from @r's root; @remembered: from a root that was left, so that all is. */
static void search(struct search *s, const struct oracle_regs *r, u64 since, u64 page_since,
		   bool global_only, bool remembered)
{
	struct oracle_walk w;

	s->since = since;
	s->page_since = page_since;
	s->global_only = global_only;
	s->tries = 0;
	s->h->looked_back |= remembered;
	if (oracle_begin(&w, r, oracle_mode(r), s->access.gva) == ORACLE_GOES_ON)
		explore(s, &w, 0, remembered);
}

/* Whether two roots lead to the same tables. */
static bool same_tables(u64 base, const u64 *pdpte, u64 base2, const u64 *pdpte2)
{
	return base == base2 && !memcmp(pdpte, pdpte2, 4 * sizeof(*pdpte));
}

/* Whether a left root before the @n-th that counts for global translations has its tables. */
static bool seen_before(const struct oracle_history *h, unsigned int n, u64 since)
{
	const struct left_root *left = &h->root[n];

	for (unsigned int i = 0; i < n; i++)
		if (h->root[i].until > since &&
		    same_tables(h->root[i].base, h->root[i].pdpte, left->base, left->pdpte))
			return true;
	return false;
}

unsigned int oracle_allowed(struct oracle_history *h, const struct oracle_regs *r,
			    struct oracle_access access, oracle_read read, void *arg,
			    struct oracle_outcome out[ORACLE_MAX_OUTCOMES], bool *overflow)
{
	struct search s = {.h = h, .access = access, .read = read, .arg = arg, .out = out, .nr = 1};
	struct noting n = {.h = h, .read = read, .arg = arg};
	u16 pcid = pcid_of(r);
	const struct addr_flush *f;
	u64 local, global, upper;
	unsigned int i;

	*overflow = h->roots_lost;
	h->looked_back = false;
	if (!h->dirty || !(r->cr0 & CR0_PG)) {
		out[0] = oracle_judge(r, access, read, arg);
		return 1;
	}
	out[0] = oracle_judge(r, access, read_noting, &n);
	if (out[0].verdict == ORACLE_GP || !oracle_canonical(oracle_mode(r), &s.access.gva))
		return 1;
	s.pcid = pcid;
	f = find_addr(h, GLOBAL, access.gva, 12);
	s.global_since = global = later(h->all_flush, f ? f->when : 0);
	upper = f && f->when == global ? f->upper : global;
	local = local_since(h, pcid, access.gva);
	if (n.latest > local)
		search(&s, r, local, local, false, false);
	if (upper < local && (r->cr4 & CR4_PGE) && n.latest > upper)
		search(&s, r, upper, global, true, false);
	for (i = 0; i < h->nr_roots; i++) {
		const struct left_root *left = &h->root[i];
		struct oracle_regs old = *r;

		old.cr3 = left->cr3;
		memcpy(old.pdpte, left->pdpte, sizeof(old.pdpte));
		if (left->pcid == pcid && left->until > local && left->cr3 != r->cr3)
			search(&s, &old, local, local, false, true);
		/* What the current tables have held for global translations was tried above. */
		if (left->until > upper && (r->cr4 & CR4_PGE) &&
		    !same_tables(left->base, left->pdpte, base_of(r), r->pdpte) &&
		    !seen_before(h, i, upper))
			search(&s, &old, upper, global, true, true);
	}
	*overflow |= s.overflow;
	for (i = 0; h->looked_back && i < out[0].nr_entries; i++)
		out[0].entry[i].must_set = 0;
	return s.nr;
}

bool oracle_looked_back(const struct oracle_history *h)
{
	return h->looked_back;
}
