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

#define BUCKETS	  256
#define MAX_COMBI 512 /* combinations that are tried for an access */
#define MAX_READS 8
#define MAX_ROOTS 32

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

void oracle_left_root(struct oracle_history *h, const struct oracle_regs *r)
{
	struct left_root left = {.cr3 = r->cr3, .pcid = pcid_of(r), .until = ++h->now};
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

/* One try: which of the values that each read could give it does give. */
struct choice {
	struct oracle_history *h;
	oracle_read read;
	void *arg;
	u64 since;
	unsigned int nr_reads;
	unsigned int pick[MAX_READS], count[MAX_READS];
	bool stale; /* some read gave an old value */
};

static bool read_choice(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	struct choice *c = arg;
	unsigned int n = c->nr_reads++, i = 0;
	const struct past *p;

	if (!c->read(c->arg, gpa, size, entry))
		return false;
	if (n >= MAX_READS)
		return true;
	c->count[n] = 1;
	for (p = c->h->past[bucket(gpa)]; p; p = p->next) {
		if (p->gpa != gpa || p->until <= c->since)
			continue;
		c->count[n]++;
		if (++i == c->pick[n]) {
			*entry = p->value;
			c->stale = true;
		}
	}
	return true;
}

/* The next combination; false: that was the last. */
static bool advance(struct choice *c)
{
	int n;

	for (n = (int)(c->nr_reads < MAX_READS ? c->nr_reads : MAX_READS) - 1; n >= 0; n--) {
		if (c->pick[n] + 1 < c->count[n]) {
			c->pick[n]++;
			memset(&c->pick[n + 1], 0, (MAX_READS - n - 1) * sizeof(c->pick[0]));
			return true;
		}
	}
	return false;
}

static bool same(const struct oracle_outcome *a, const struct oracle_outcome *b)
{
	return a->verdict == b->verdict && a->error == b->error && a->gpa == b->gpa;
}

/*
 * Tries all that was held after @since; @global_only: only translations that are global;
 * @other: the root is another one, so that what its tables hold now is remembered as well.
 */
static unsigned int collect(struct oracle_history *h, const struct oracle_regs *r,
			    struct oracle_access access, oracle_read read, void *arg, u64 since,
			    bool global_only, bool other, struct oracle_outcome *out,
			    unsigned int nr, bool *overflow)
{
	struct choice c = {.h = h, .read = read, .arg = arg, .since = since};
	unsigned int tries = 0, i;

	do {
		struct oracle_outcome o;

		c.nr_reads = 0;
		c.stale = false;
		o = oracle_judge(r, access, read_choice, &c);
		if (++tries > MAX_COMBI) {
			*overflow = true;
			return nr;
		}
		if (!c.stale && !other)
			continue;
		h->looked_back = true;
		if (o.verdict == ORACLE_NO_TABLE || (global_only && !o.global))
			continue;
		/* A fault comes from memory of rights only, never from "not present" or reserved bits. */
		if (o.verdict == ORACLE_PF && (!(o.error & PFERR_P) || (o.error & PFERR_RSVD)))
			continue;
		for (i = 0; i < nr && !same(&out[i], &o); i++)
			;
		if (i < nr)
			continue;
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
	} while (advance(&c));
	return nr;
}

unsigned int oracle_allowed(struct oracle_history *h, const struct oracle_regs *r,
			    struct oracle_access access, oracle_read read, void *arg,
			    struct oracle_outcome out[ORACLE_MAX_OUTCOMES], bool *overflow)
{
	u16 pcid = pcid_of(r);
	struct addr_flush *f;
	u64 local, global;
	unsigned int nr = 1, i;

	*overflow = h->roots_lost;
	h->looked_back = false;
	out[0] = oracle_judge(r, access, read, arg);
	if (!h->dirty || out[0].verdict == ORACLE_GP || !(r->cr0 & CR0_PG))
		return nr;
	f = find_addr(h, pcid, access.gva);
	global = later(h->all_flush, f ? f->global : 0);
	local = later(later(h->all_flush, h->local_flush),
		      later(h->pcid_flush[pcid], f ? f->local : 0));
	nr = collect(h, r, access, read, arg, local, false, false, out, nr, overflow);
	if (global < local && (r->cr4 & CR4_PGE))
		nr = collect(h, r, access, read, arg, global, true, false, out, nr, overflow);
	for (i = 0; i < h->nr_roots; i++) {
		const struct left_root *left = &h->root[i];
		struct oracle_regs old = *r;

		old.cr3 = left->cr3;
		memcpy(old.pdpte, left->pdpte, sizeof(old.pdpte));
		if (left->pcid == pcid && left->until > local && left->cr3 != r->cr3)
			nr = collect(h, &old, access, read, arg, local, false, true, out, nr,
				     overflow);
		if (left->until > global && (r->cr4 & CR4_PGE))
			nr = collect(h, &old, access, read, arg, global, true, true, out, nr,
				     overflow);
	}
	for (i = 0; h->looked_back && i < out[0].nr_entries; i++)
		out[0].entry[i].must_set = 0;
	return nr;
}

bool oracle_looked_back(const struct oracle_history *h)
{
	return h->looked_back;
}
