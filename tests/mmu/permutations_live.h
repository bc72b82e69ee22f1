/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The live cases of tests/mmu/permutations.c. An entry holds one combination and is used, then the guest makes another
 * one of it and uses that after INVLPG, after a load of CR3 or without any flush; in half of the batches the entries
 * above change as well. What was remembered may then be used, as far as no flush covers it: oracle_allowed().
 */
#ifndef TESTS_MMU_PERMUTATIONS_LIVE_H
#define TESTS_MMU_PERMUTATIONS_LIVE_H

#include "permutations.h"

#define LIVE_SLOTS 48

enum {
	FLUSH_NONE,
	FLUSH_INVLPG,
	FLUSH_CR3,
	FLUSHES
};
#define NR_CHANGES (2 * FLUSHES) /* the second half: uppers too */

/* An access, what may come of it, and which operation it is. */
struct live_access {
	const struct combi *c;
	gva_t gva;
	u32 op, serial, nr;
	struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	u64 must, may; /* A and D of the entry */
};

struct live_pair {
	struct combi c[2]; /* before, after */
	struct live_access a[2];
};

struct live {
	struct bench *b;
	struct oracle_history *h;
	u64 leaf[LIVE_SLOTS];
	u64 upper_to[MAX_UPPER], upper_must[MAX_UPPER], upper_may[MAX_UPPER];
	u32 flush;
	bool uppers, pge;
	struct live_pair pair[LIVE_SLOTS];
	u32 serial;
	gpa_t seen_gpa; /* where the guest copies the slots' entries to before it changes them */
	u8 *memory;	/* what the frames should hold */
};

static u64 live_inner_count(void)
{
	return inner_count() * inner_count() * 4;
}

static u64 live_outer_count(const struct bench *b)
{
	return outer_count(b) * 2 * NR_CHANGES;
}

static bool choose_live_outer(struct live *l, u64 outer)
{
	struct bench *b = l->b;
	u32 change = outer % NR_CHANGES, bias = outer / NR_CHANGES % 2;
	u64 digits = outer / NR_CHANGES / 2;
	int i;

	if (!choose_outer(b, digits))
		return false;
	digits /= NR_SETS;
	l->pge = cpu_has(&CPU_PGE) && !(b->m->id == PM_PAE && quirk_pdpte_refused());
	if (l->pge)
		b->regs.cr4 |= CR4_PGE;
	l->flush = change % FLUSHES;
	l->uppers = change >= FLUSHES;
	/* With half of them all rights come first, so that something is remembered. */
	for (i = 0; i < b->nr_upper; i++, digits /= NR_UPPERS) {
		l->upper_to[i] = b->upper[i];
		if (bias)
			l->upper_to[i] = (b->upper_clean[i] & PTE_ADDR_MASK) |
					 upper_flags(b, (digits + 3) % NR_UPPERS, 0);
		else
			b->upper[i] = (b->upper_clean[i] & PTE_ADDR_MASK) | upper_flags(b, 0, 0);
	}
	return true;
}

static bool choose_live_inner(struct live *l, u64 inner, u64 number, u32 slot, struct live_pair *p)
{
	struct bench *b = l->b;
	u64 half[2] = {inner % inner_count(), inner / inner_count() % inner_count()};
	u64 flags = inner / inner_count() / inner_count();
	int i;

	for (i = 0; i < 2; i++) {
		/* Without keys they are all as number 0. */
		if (!(b->regs.cr4 & CR4_PKE))
			half[i] -= half[i] / ARRAY_LEN(accesses) % NR_KEYS * ARRAY_LEN(accesses);
		/* Without a flush that shows on the in-tree engine as well: docs/fuzzing.md. */
		if (!choose_inner(b, half[i], number, slot, &p->c[i]) || loses_smap(b, &p->c[i]))
			return false;
		if ((flags & 1) && l->pge)
			p->c[i].leaf |= PTE_G;
	}
	if (flags & 2) {
		p->c[1].frame += b->nr_frames;
		p->c[1].leaf += MOVED_BY;
	}
	return true;
}

static bool read_live(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	const struct live *l = arg;
	u64 slot = (gpa - l->b->leaf_gpa) / size;

	if (gpa >= l->b->leaf_gpa && slot < LIVE_SLOTS) {
		*entry = l->leaf[slot];
		return true;
	}
	return read_above(l->b, gpa, size, entry);
}

static void live_set(struct live *l, gpa_t gpa, u64 *entry, u64 value)
{
	oracle_stored(l->h, gpa, *entry);
	*entry = value;
	op_add(l->b->v, .kind = AGENT_SET_PTE, .size = l->b->m->pte_size, .addr = gpa,
	       .value = value);
}

/* Gives the slots their first (0) or second (1) entries, all in one operation. */
static void live_set_leaves(struct live *l, u32 n, int which)
{
	struct bench *b = l->b;
	gpa_t from = which ? b->then_gpa : b->from_gpa;
	u32 i;

	for (i = 0; i < n; i++) {
		const struct combi *c = &l->pair[i].c[which];

		oracle_stored(l->h, entry_gpa(b, b->leaf_gpa, c->slot), l->leaf[c->slot]);
		l->leaf[c->slot] = c->leaf;
		put_entry(b, entry_gpa(b, from, c->slot), c->leaf);
	}
	copy_entries(b, b->leaf_gpa, from, n);
}

static void live_load_cr3(struct live *l)
{
	op_add(l->b->v, .kind = AGENT_WRITE_CR, .addr = 3, .value = l->b->vm->as.root);
	oracle_flushed(l->h, ORACLE_FLUSH_PCID, 0, 0);
}

/* Where in a frame the access goes: each writes to a word of its own. */
static u32 live_at(const struct combi *c, bool after)
{
	return accesses[c->access].kind == AGENT_WRITE ? WRITE_AT + (2 * c->slot + after) * 4
						       : accesses[c->access].at;
}

/* Appends the access and works out what may come of it. */
static void live_access(struct live *l, const struct combi *c, struct live_access *a, bool after)
{
	struct bench *b = l->b;
	struct oracle_regs regs = b->regs;
	bool overflow, back;
	u32 i;
	int e;

	a->c = c;
	a->gva = slot_gva(b, c->slot) + in_page(b, c->frame % b->nr_frames) + live_at(c, after);
	a->serial = ++l->serial;
	a->op = op_add(b->v, .kind = accesses[c->access].kind, .flags = accesses[c->access].flags,
		       .size = 4, .addr = a->gva, .value = a->serial);
	regs.ac = accesses[c->access].flags & AGENT_AC;
	a->nr = oracle_allowed(l->h, &regs,
			       (struct oracle_access){a->gva, accesses[c->access].oracle,
						      accesses[c->access].flags & AGENT_USER},
			       read_live, l, a->out, &overflow);
	ASSERT(!overflow, "combination %lu: too many outcomes", c->number);
	back = oracle_looked_back(l->h);
	a->must = a->may = 0;
	if (back && (c->leaf & PTE_P))
		a->may = PTE_A | (accesses[c->access].oracle == ORACLE_WRITE ? PTE_D : 0);
	for (i = 0; i < a->out[0].nr_entries; i++) {
		const struct oracle_entry *entry = &a->out[0].entry[i];

		if (entry->level == b->level) {
			a->must |= entry->must_set;
			a->may |= entry->may_set;
		} else if (entry->level - b->level - 1 < b->nr_upper) {
			l->upper_must[entry->level - b->level - 1] |= entry->must_set;
			l->upper_may[entry->level - b->level - 1] |= entry->may_set;
		}
	}
	for (e = 0; back && e < b->nr_upper; e++)
		l->upper_may[e] |= b->upper[e] & PTE_P ? PTE_A : 0;
}

static bool live_is_allowed(struct live *l, const struct live_access *a, struct agent_result res)
{
	struct bench *b = l->b;
	u32 i;

	for (i = 0; i < a->nr; i++) {
		const struct oracle_outcome *o = &a->out[i];
		u64 at = o->gpa - b->vm->mem->gpa;
		u32 frame = at % MOVED_BY / SZ_4K + (at < MOVED_BY ? 0 : b->nr_frames);

		if (o->verdict == ORACLE_PF) {
			if (res.status == AGENT_FAULT && res.vector == PF_VECTOR &&
			    res.error == o->error && res.cr2 == a->gva)
				return true;
			continue;
		}
		if (res.status != AGENT_OK)
			continue;
		if (accesses[a->c->access].kind != AGENT_WRITE) {
			if (res.value ==
			    (accesses[a->c->access].kind == AGENT_READ ? DATA : FUNCTION) + frame)
				return true;
		} else if (*(u32 *)((u8 *)b->vm->mem->hva + at) == a->serial) {
			*(u32 *)(l->memory + at) = a->serial;
			return true;
		}
	}
	return false;
}

static void live_check(struct live *l, const struct live_pair *p, bool after)
{
	static const char *const how[] = {"no flush", "INVLPG", "CR3"};
	const struct live_access *a = &p->a[after];
	struct agent_result res = quirk_fix_rsvd(op_result(l->b->v, a->op));
	gpa_t table = after ? l->b->leaf_gpa : l->seen_gpa;
	u64 pte = get_entry(l->b, entry_gpa(l->b, table, a->c->slot)), leaf = a->c->leaf;
	char text[512], want[512];
	size_t at = 0;
	u32 i;

	test_count_check();
	if (live_is_allowed(l, a, res) && !(~pte & (leaf | a->must)) && !(pte & ~(leaf | a->may)))
		return;
	for (i = 0; i < a->nr && at < sizeof(want); i++)
		at += snprintf(want + at, sizeof(want) - at, "%s%s", i ? " or " : "",
			       oracle_text(&a->out[i], (char[128]){0}, 128));
	describe(l->b, a->c, text, sizeof(text));
	test_fail_soft(
		__FILE__, __LINE__,
		"%s\n  %s: entry was %#lx (%s), is %#lx, %s%s\n  oracle: %s, A/D must be set "
		"%#lx, may %#lx\n  got:    %s, entry %#lx",
		text, after ? "after the change" : "before the change", p->c[0].leaf,
		accesses[p->c[0].access].name, p->c[1].leaf, how[l->flush],
		l->uppers ? ", entries above changed" : "", want, a->must, a->may,
		result_text(&res, (char[128]){0}, 128), pte);
}

static void live_check_rest(struct live *l, u32 n)
{
	struct bench *b = l->b;
	u32 i, k;
	int e;

	for (e = 0; e < b->nr_upper; e++) {
		u64 got = get_entry(b, b->upper_gpa[e]);

		test_count_check();
		if ((~got & (b->upper[e] | l->upper_must[e])) ||
		    (got & ~(b->upper[e] | l->upper_may[e])))
			test_fail_soft(
				__FILE__, __LINE__,
				"batch of combination %lu: entry of level %d was %#lx, is %#lx; must "
				"be set %#lx, may %#lx",
				l->pair[0].c[0].number, b->level + 1 + e, b->upper[e], got,
				l->upper_must[e], l->upper_may[e]);
	}
	for (i = 0; i < 2 * b->nr_frames && n; i++) {
		u8 *is = (u8 *)b->vm->mem->hva + frame_at(b, i), *was = l->memory + frame_at(b, i);

		if (!memcmp(is + WRITE_AT, was + WRITE_AT, LIVE_SLOTS * 8))
			continue;
		for (k = WRITE_AT; k < WRITE_AT + LIVE_SLOTS * 8; k += 4)
			EXPECT_EQ(*(u32 *)(is + k), *(u32 *)(was + k),
				  "frame %u at %#x after the batch of combination %lu", i, k,
				  l->pair[0].c[0].number);
		memcpy(was + WRITE_AT, is + WRITE_AT, LIVE_SLOTS * 8);
	}
}

/* Registers, entries and a flush of everything. */
static void live_set_up(struct live *l, u32 n)
{
	struct bench *b = l->b;
	struct vcpu *v = b->v;
	u32 i;

	if (b->efer || cpu_has(&CPU_NX))
		op_add(v, .kind = AGENT_WRMSR, .addr = MSR_EFER, .value = b->regs.efer);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = b->regs.cr0);
	for (i = 0; i < (u32)b->nr_upper; i++)
		live_set(l, b->upper_gpa[i], &b->upper[i], b->upper[i]);
	live_set_leaves(l, n, 0);
	if (l->pge)
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = b->regs.cr4 ^ CR4_PGE);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = b->regs.cr4);
	if (b->regs.cr4 & CR4_PKE)
		op_add(v, .kind = AGENT_WRPKRU, .value = b->regs.pkru);
	live_load_cr3(l);
	oracle_flushed(l->h, ORACLE_FLUSH_ALL, 0, 0);
}

static void live_change(struct live *l, u32 n)
{
	struct bench *b = l->b;
	u32 i;

	for (i = 0; l->uppers && i < (u32)b->nr_upper; i++) {
		live_set(l, b->upper_gpa[i], &b->upper[i], l->upper_to[i]);
		l->upper_must[i] = l->upper_may[i] = 0;
	}
	live_set_leaves(l, n, 1);
	if (l->flush == FLUSH_CR3)
		live_load_cr3(l);
	for (i = 0; i < n; i++) {
		const struct combi *c = &l->pair[i].c[1];

		if (l->flush == FLUSH_INVLPG) {
			gva_t gva = slot_gva(b, c->slot);
			u64 at = in_page(b, c->frame % b->nr_frames);
			bool exact =
				accesses[c->access].kind == AGENT_EXEC && quirk_invlpg_keeps_code();

			op_add(b->v, .kind = AGENT_INVLPG, .addr = gva + (exact ? at : 0));
			/* The whole page's, whatever its size. */
			oracle_flushed(l->h, ORACLE_FLUSH_ADDR, 0, gva + at);
		}
		live_access(l, c, &l->pair[i].a[1], true);
	}
}

static void run_live_batch(struct live *l, u32 n)
{
	struct bench *b = l->b;
	u32 i;

	l->h = oracle_history_new();
	memset(l->upper_must, 0, sizeof(l->upper_must));
	memset(l->upper_may, 0, sizeof(l->upper_may));
	op_clear(b->v);
	live_set_up(l, n);
	for (i = 0; i < n; i++)
		live_access(l, &l->pair[i].c[0], &l->pair[i].a[0], false);
	copy_entries(b, l->seen_gpa, b->leaf_gpa, n);
	live_change(l, n);
	vcpu_exec(b->v);
	for (i = 0; i < n; i++) {
		live_check(l, &l->pair[i], false);
		live_check(l, &l->pair[i], true);
	}
	live_check_rest(l, n);
	b->judged += n;
	oracle_history_free(l->h);
}

/* The batch of outer number @outer whose combinations are the @from-th and those after it. */
static void run_live_outer(struct live *l, u64 outer, u64 from)
{
	u64 n = live_inner_count(), step = even_step(n), inner = from * step % n, i;
	u32 used = 0;

	if (!choose_live_outer(l, outer))
		return;
	for (i = 0; i < LIVE_SLOTS && from + i < n; i++, inner = (inner + step) % n)
		if (choose_live_inner(l, inner, outer * n + inner, used, &l->pair[used]))
			used++;
	if (used)
		run_live_batch(l, used);
}

static void run_live_case(struct test *t, int level)
{
	static struct live live;
	struct live *l = &live;
	struct bench *b = l->b = make_bench(t->mode, level);
	u64 count = count_of(12000, 4000, 400);
	u64 one = from_env("MMUSCOPE_PERMUTATION", ~0ull), inner = live_inner_count();
	u64 n = live_outer_count(b), step = even_step(n), outer = t->seed % n, i, round;
	struct timespec from, to;

	REQUIRE(!kvm_is_partial(), "a KVM that is not partial");
	l->seen_gpa = vm_alloc_table(b->vm);
	l->memory = calloc(1, 2 * MOVED_BY);
	if (one != ~0ull) {
		for (i = 0; i < inner && i * even_step(inner) % inner != one % inner; i++)
			;
		/* Again, since what it finds may need tables that the hypervisor knows by then. */
		for (round = 0; round < 4; round++)
			run_live_outer(l, one / inner % n, i / LIVE_SLOTS * LIVE_SLOTS);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (round = 0; round * LIVE_SLOTS < inner && b->judged < count; round++)
		for (i = 0; i < n && b->judged < count; i++, outer = (outer + step) % n)
			run_live_outer(l, outer,
				       (round + i) * LIVE_SLOTS % inner / LIVE_SLOTS * LIVE_SLOTS);
	clock_gettime(CLOCK_MONOTONIC, &to);
	free(l->memory);
	test_diag("judged %lu of %lu live changes in %.2f s", b->judged, n * inner,
		  to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
}

#endif
