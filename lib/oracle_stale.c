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

#include "oracle.h"

#define BUCKETS	   256
#define MAX_COMBI  512 /* combinations that are tried for an access */
#define MAX_READS  8
#define MAX_ROOTS  32
#define MAX_VALUES 48 /* that one entry may be taken for */

/* An entry held @value until @until. */
struct past {
	gpa_t gpa;
	u64 value, until;
	struct past *next;
};

/* The last flush of one address; in a hash of their own. */
struct addr_flush {
	gva_t page;
	u16 pcid;
	u64 local, global; /* when translations of that PCID, and global ones, were dropped */
	struct addr_flush *next;
};

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
	struct past *p;

	h->now++;
	if (!(old & PTE_P))
		return; /* what is not present is not remembered */
	/* The same value once more was held until now; A and D make no other translation. */
	for (p = h->past[bucket(gpa)]; p; p = p->next) {
		if (p->gpa == gpa && (p->value | PTE_A | PTE_D) == (old | PTE_A | PTE_D)) {
			p->until = h->now;
			return;
		}
	}
	p = malloc(sizeof(*p));
	if (!p)
		abort();
	*p = (struct past){gpa, old, h->now, h->past[bucket(gpa)]};
	h->past[bucket(gpa)] = p;
	h->dirty = true;
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

static struct addr_flush *find_addr(struct oracle_history *h, u16 pcid, gva_t gva)
{
	struct addr_flush *f;

	for (f = h->addr[bucket(gva >> 12)]; f; f = f->next)
		if (f->page == gva >> 12 && f->pcid == pcid)
			return f;
	return NULL;
}

static struct addr_flush *make_addr(struct oracle_history *h, u16 pcid, gva_t gva)
{
	struct addr_flush *f = find_addr(h, pcid, gva);

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		abort();
	f->page = gva >> 12;
	f->pcid = pcid;
	f->next = h->addr[bucket(gva >> 12)];
	h->addr[bucket(gva >> 12)] = f;
	return f;
}

void oracle_flushed(struct oracle_history *h, enum oracle_flush what, u16 pcid, gva_t gva)
{
	struct addr_flush *f;

	h->now++;
	switch (what) {
	case ORACLE_FLUSH_ADDR:
		f = make_addr(h, pcid, gva);
		f->local = h->now;
		f->global = h->now;
		break;
	case ORACLE_FLUSH_ADDR_PCID:
		make_addr(h, pcid, gva)->local = h->now;
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

static u64 later(u64 a, u64 b)
{
	return a > b ? a : b;
}

/*
 * One try: which of the values that each read could give it does give. What the reads up to the first whose pick
 * changed could give is known from the try before.
 */
struct choice {
	struct oracle_history *h;
	oracle_read read;
	void *arg;
	u64 since;
	unsigned int nr_reads, nr_known;
	unsigned int pick[MAX_READS], count[MAX_READS];
	bool there[MAX_READS];
	u64 value[MAX_READS][MAX_VALUES]; /* the current one first */
	bool stale;			  /* some read gave an old value */
	bool overflow;			  /* some entry had more */
};

/* What read @n could give. */
static void look_up(struct choice *c, unsigned int n, gpa_t gpa, unsigned int size)
{
	const struct past *p;
	unsigned int count = 1;

	c->count[n] = 1;
	c->there[n] = c->read(c->arg, gpa, size, &c->value[n][0]);
	for (p = c->there[n] ? c->h->past[bucket(gpa)] : NULL; p; p = p->next) {
		if (p->gpa != gpa || p->until <= c->since)
			continue;
		if (count == MAX_VALUES) {
			c->overflow = true;
			break;
		}
		c->value[n][count++] = p->value;
	}
	c->count[n] = count;
}

static bool read_choice(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	struct choice *c = arg;
	unsigned int n = c->nr_reads++;

	if (n >= MAX_READS)
		return c->read(c->arg, gpa, size, entry);
	if (n >= c->nr_known) {
		look_up(c, n, gpa, size);
		c->nr_known = n + 1;
	}
	*entry = c->value[n][c->pick[n]];
	c->stale |= c->pick[n] > 0;
	return c->there[n];
}

/* The next combination; false: that was the last. */
static bool advance(struct choice *c)
{
	int n;

	for (n = (int)(c->nr_reads < MAX_READS ? c->nr_reads : MAX_READS) - 1; n >= 0; n--) {
		if (c->pick[n] + 1 < c->count[n]) {
			c->pick[n]++;
			c->nr_known = n + 1;
			memset(&c->pick[n + 1], 0, (MAX_READS - n - 1) * sizeof(c->pick[0]));
			c->nr_reads = 0;
			c->stale = false;
			return true;
		}
	}
	return false;
}

static void start(struct choice *c, struct oracle_history *h, oracle_read read, void *arg,
		  u64 since)
{
	c->h = h;
	c->read = read;
	c->arg = arg;
	c->since = since;
	c->nr_reads = c->nr_known = 0;
	memset(c->pick, 0, sizeof(c->pick));
	c->stale = c->overflow = false;
}

static bool same(const struct oracle_outcome *a, const struct oracle_outcome *b)
{
	return a->verdict == b->verdict && a->error == b->error && a->gpa == b->gpa;
}

/*
 * Takes @o, which @c's picks have led to, and what all picks after them lead to; @global_only: only translations that are
 * global; @other: the root is another one, so that what its tables hold now is remembered as well.
 */
static unsigned int collect(struct choice *c, const struct oracle_regs *r,
			    struct oracle_access access, struct oracle_outcome o, bool global_only,
			    bool other, struct oracle_outcome *out, unsigned int nr, bool *overflow)
{
	unsigned int tries = 0, i;

	for (;; o = oracle_judge(r, access, read_choice, c)) {
		if (++tries > MAX_COMBI || c->overflow) {
			*overflow = true;
			return nr;
		}
		if (!c->stale && !other)
			goto next;
		c->h->looked_back = true;
		if (o.verdict == ORACLE_NO_TABLE || (global_only && !o.global))
			goto next;
		/* A fault comes from memory of rights only, never from "not present" or reserved bits. */
		if (o.verdict == ORACLE_PF && (!(o.error & PFERR_P) || (o.error & PFERR_RSVD)))
			goto next;
		for (i = 0; i < nr && !same(&out[i], &o); i++)
			;
		if (i < nr)
			goto next;
		if (nr == ORACLE_MAX_OUTCOMES) {
			*overflow = true;
			return nr;
		}
		/* Which entries then are marked is not told: the old ones may not even be there. */
		for (i = 0; i < o.nr_entries; i++) {
			o.entry[i].must_set = 0;
			o.entry[i].may_set = PTE_A | PTE_D;
		}
		out[nr++] = o;
next:
		if (!advance(c))
			return nr;
	}
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
	u16 pcid = pcid_of(r);
	struct addr_flush *f;
	struct choice c;
	u64 local, global;
	unsigned int nr = 1, i;

	*overflow = h->roots_lost;
	h->looked_back = false;
	if (!h->dirty || !(r->cr0 & CR0_PG)) {
		out[0] = oracle_judge(r, access, read, arg);
		return nr;
	}
	f = find_addr(h, pcid, access.gva);
	global = later(h->all_flush, f ? f->global : 0);
	local = later(later(h->all_flush, h->local_flush),
		      later(h->pcid_flush[pcid], f ? f->local : 0));
	start(&c, h, read, arg, local);
	out[0] = oracle_judge(r, access, read_choice, &c);
	if (out[0].verdict == ORACLE_GP)
		return nr;
	nr = collect(&c, r, access, out[0], false, false, out, nr, overflow);
	if (global < local && (r->cr4 & CR4_PGE)) {
		start(&c, h, read, arg, global);
		nr = collect(&c, r, access, oracle_judge(r, access, read_choice, &c), true, false,
			     out, nr, overflow);
	}
	for (i = 0; i < h->nr_roots; i++) {
		const struct left_root *left = &h->root[i];
		struct oracle_regs old = *r;

		old.cr3 = left->cr3;
		memcpy(old.pdpte, left->pdpte, sizeof(old.pdpte));
		if (left->pcid == pcid && left->until > local && left->cr3 != r->cr3) {
			start(&c, h, read, arg, local);
			nr = collect(&c, &old, access, oracle_judge(&old, access, read_choice, &c),
				     false, true, out, nr, overflow);
		}
		/* What the current tables have held for global translations was tried above. */
		if (left->until > global && (r->cr4 & CR4_PGE) &&
		    !same_tables(left->base, left->pdpte, base_of(r), r->pdpte) &&
		    !seen_before(h, i, global)) {
			start(&c, h, read, arg, global);
			nr = collect(&c, &old, access, oracle_judge(&old, access, read_choice, &c),
				     true, true, out, nr, overflow);
		}
	}
	for (i = 0; h->looked_back && i < out[0].nr_entries; i++)
		out[0].entry[i].must_set = 0;
	return nr;
}

bool oracle_looked_back(const struct oracle_history *h)
{
	return h->looked_back;
}
