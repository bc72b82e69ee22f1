// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of the TLB: for each kind a dense array, chained into buckets by a
 * hash of the key. Dense, so that dropping by a rule is a scan and a random victim
 * is an index.
 */
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/pscache.h"

/*
 * Neighbouring pages are looked up one after the other, so their buckets are neighbours
 * as well: only what is above the 512 pages of a table is mixed.
 */
static u32 hash(const struct cached_key *k)
{
	u64 h = k->number >> 9;

	h ^= k->space + k->tag;
	h *= 0x9e3779b97f4a7c15ull;
	return (h >> 32) ^ (k->number & 511);
}

static bool same_key(const struct cached_key *a, const struct cached_key *b)
{
	return a->number == b->number && a->tag == b->tag && a->space == b->space;
}

static u32 *bucket(const struct pscache_store *s, const struct cached_key *key)
{
	return &s->buckets[hash(key) & (s->nr_buckets - 1)];
}

/* Index + 1 of the entry with @key, 0: none. */
static u32 lookup(const struct pscache_store *s, const struct cached_key *key)
{
	u32 i;

	if (!s->by_shift[key->shift])
		return 0;
	for (i = *bucket(s, key); i; i = s->entries[i - 1].next)
		if (same_key(&s->entries[i - 1].key, key))
			return i;
	return 0;
}

/* Takes entry @i out of its chain: whatever pointed to it points to @to. */
static void relink(struct pscache_store *s, u32 i, u32 to)
{
	u32 *link = bucket(s, &s->entries[i].key);

	while (*link != i + 1)
		link = &s->entries[*link - 1].next;
	*link = to;
}

/* What was translated by @key is no longer remembered. Tables are asked for misses only. */
static void gone(struct pscache *c, const struct cached_key *key)
{
	if (key->kind == CACHED_PAGE && key->shift == 12)
		c->generation[key->number % TLB_GENERATIONS]++;
	else if (key->kind == CACHED_PAGE || key->kind == CACHED_GPA)
		for (unsigned int i = 0; i < TLB_GENERATIONS; i++)
			c->generation[i]++;
}

static bool remove_at(struct pscache *c, struct pscache_store *s, u32 i)
{
	bool old = s->entries[i].born < c->clock;
	u32 last = s->nr - 1;

	gone(c, &s->entries[i].key);
	relink(s, i, s->entries[i].next);
	s->by_shift[s->entries[i].key.shift]--;
	if (i != last) {
		relink(s, last, i + 1);
		s->entries[i] = s->entries[last];
	}
	s->nr--;
	return old;
}

static bool grow(struct pscache_store *s)
{
	u32 nr_buckets = s->nr_buckets ? 2 * s->nr_buckets : 64, i, *b;
	struct cached *entries = realloc(s->entries, nr_buckets * sizeof(*entries));
	u32 *buckets;

	if (!entries)
		return false;
	s->entries = entries;
	buckets = calloc(nr_buckets, sizeof(*buckets));
	if (!buckets)
		return false;
	free(s->buckets);
	s->buckets = buckets;
	s->nr_buckets = nr_buckets;
	for (i = 0; i < s->nr; i++) {
		b = bucket(s, &entries[i].key);
		entries[i].next = *b;
		*b = i + 1;
	}
	return true;
}

void pscache_fini(struct pscache *c)
{
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++) {
		free(c->store[kind].entries);
		free(c->store[kind].buckets);
	}
	memset(c, 0, sizeof(*c));
}

const struct cached *pscache_find(const struct pscache *c, const struct cached_key *key)
{
	const struct pscache_store *s = &c->store[key->kind];
	u32 i = lookup(s, key);

	return i ? &s->entries[i - 1] : NULL;
}

void pscache_add(struct pscache *c, const struct cached *entry)
{
	struct pscache_store *s = &c->store[entry->key.kind];
	u32 *b, i = lookup(s, &entry->key);

	if (i)
		remove_at(c, s, i - 1);
	if (s->nr == s->nr_buckets && !grow(s))
		return;
	b = bucket(s, &entry->key);
	s->entries[s->nr] = *entry;
	s->entries[s->nr].born = c->clock;
	s->entries[s->nr].next = *b;
	*b = ++s->nr;
	s->by_shift[entry->key.shift]++;
}

bool pscache_drop(struct pscache *c, const struct cached_key *key)
{
	struct pscache_store *s = &c->store[key->kind];
	u32 i = lookup(s, key);

	if (!i)
		return false;
	c->drops++;
	return remove_at(c, s, i - 1);
}

void pscache_drop_if(struct pscache *c, enum cached_kind kind,
		     bool (*match)(const struct cached *e, const void *arg), const void *arg)
{
	struct pscache_store *s = &c->store[kind];
	u32 i;

	/* from the end: what takes a removed one's place has been looked at */
	for (i = s->nr; i-- > 0;) {
		if (!match(&s->entries[i], arg))
			continue;
		remove_at(c, s, i);
		c->drops++;
	}
}

void pscache_drop_nth(struct pscache *c, u64 nth)
{
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++) {
		if (nth < c->store[kind].nr) {
			remove_at(c, &c->store[kind], nth);
			return;
		}
		nth -= c->store[kind].nr;
	}
}

u64 pscache_count(const struct pscache *c)
{
	u64 nr = 0;
	int kind;

	for (kind = 0; kind < CACHED_KINDS; kind++)
		nr += c->store[kind].nr;
	return nr;
}
