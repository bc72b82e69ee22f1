// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every combination: the flags of the entry that maps a page, those of each entry above it, the control registers and
 * PKRU, the kind of access and the ring, each judged by the oracle (lib/oracle.h), A and D bits included.
 *
 * It catches what nobody thought of: a combination is not chosen because somebody expects a mistake there. Under shadow
 * paging each is decided three times (the walk in software, the entry that is made of it, the key under which it
 * is found again); with two-dimensional paging the processor decides, and the hypervisor must keep out of it.
 *
 * The combinations of a mode are numbered. A run takes as many as MMUSCOPE_PERMUTATIONS says for each case (see
 * count_of() for the default), in steps that are coprime to their number, so that they are spread evenly; a failure prints
 * the combination and its number, and MMUSCOPE_PERMUTATION=NUMBER runs the batch of that one alone.
 *
 * The cases "live" take pairs of them, of which the second takes the place of the first, which may still be remembered.
 */
#include "permutations.h"
#include "permutations_live.h"

/* --- a batch ------------------------------------------------------------------------ */

/* What the oracle reads: the entries as the batch sets them, everything else from memory. */
struct view {
	const struct bench *b;
	const struct combi *c;
};

static bool read_entry(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	const struct view *view = arg;
	const struct bench *b = view->b;

	if (gpa == entry_gpa(b, b->leaf_gpa, view->c->slot)) {
		*entry = view->c->leaf;
		return true;
	}
	return read_above(b, gpa, size, entry);
}

/* What the oracle says of access number @access by the page of @c. */
static struct oracle_outcome judge(const struct bench *b, const struct combi *c, u32 access)
{
	struct view view = {b, c};
	struct oracle_regs regs = b->regs;

	regs.ac = accesses[access].flags & AGENT_AC;
	return oracle_judge(&regs,
			    (struct oracle_access){slot_gva(b, c->slot) + in_page(b, c->frame) +
							   accesses[access].at,
						   accesses[access].oracle,
						   accesses[access].flags & AGENT_USER},
			    read_entry, &view);
}

static void add_access(const struct bench *b, const struct combi *c, u32 access)
{
	static u32 serial;

	op_add(b->v, .kind = accesses[access].kind, .flags = accesses[access].flags, .size = 4,
	       .addr = slot_gva(b, c->slot) + in_page(b, c->frame) + accesses[access].at,
	       .value = ++serial);
}

/* Adds what of A and D of its entry of @level the accesses of @c set, or may set. */
static void marks(const struct combi *c, int level, u64 *must, u64 *may)
{
	const struct oracle_outcome *const each[] = {&c->want, c->twice ? &c->first : NULL};

	for (u32 i = 0; i < ARRAY_LEN(each) && each[i]; i++) {
		for (u32 e = 0; e < each[i]->nr_entries; e++) {
			if (each[i]->entry[e].level != level)
				continue;
			*must |= each[i]->entry[e].must_set;
			*may |= each[i]->entry[e].may_set;
		}
	}
}

/* Holds the guest's answers against the oracle's. @pte: the entry as it was afterwards. */
static void check(struct bench *b, struct combi *c, const struct agent_op *op,
		  struct agent_result res, u64 pte)
{
	const struct oracle_outcome *o = &c->want;
	u64 must = 0, may = 0, value = 0;
	char text[512], want[128];
	bool ok;

	marks(c, b->level, &must, &may);
	res = quirk_fix_rsvd(res);
	b->judged++;
	test_count_check();
	switch (accesses[c->access].kind) {
	case AGENT_READ:
		value = DATA + c->frame;
		break;
	case AGENT_EXEC:
		value = FUNCTION + c->frame;
		break;
	}
	if (o->verdict == ORACLE_OK) {
		ok = res.status == AGENT_OK &&
		     (accesses[c->access].kind == AGENT_WRITE || res.value == value);
		if (accesses[c->access].kind == AGENT_WRITE)
			b->last_write[c->frame] = op->value;
	} else {
		ok = o->verdict == ORACLE_PF && res.status == AGENT_FAULT &&
		     res.vector == PF_VECTOR && res.error == o->error && res.cr2 == op->addr;
	}
	ok = ok && (c->leaf | must) == (pte & (c->leaf | must)) && !(pte & ~(c->leaf | may));
	if (ok)
		return;
	describe(b, c, text, sizeof(text));
	test_fail_soft(
		__FILE__, __LINE__,
		"%s\n  oracle: %s, A/D must be set %#lx, may %#lx\n  got:    %s%s, entry %#lx",
		text, oracle_text(o, want, sizeof(want)), must, may,
		result_text(&res, (char[128]){0}, 128),
		res.status == AGENT_OK && res.value != value ? " (another value)" : "", pte);
}

static void check_uppers(struct bench *b, const struct combi *c, u32 n)
{
	int i;
	u32 j;

	for (i = 0; i < b->nr_upper; i++) {
		u64 must = 0, may = 0, got = get_entry(b, b->upper_gpa[i]);

		for (j = 0; j < n; j++)
			marks(&c[j], b->level + 1 + i, &must, &may);
		test_count_check();
		if ((got & (b->upper[i] | must)) != (b->upper[i] | must) ||
		    (got & ~(b->upper[i] | may)))
			test_fail_soft(
				__FILE__, __LINE__,
				"batch of combination %lu: entry of level %d was %#lx, is %#lx; must "
				"be set %#lx, may %#lx",
				c[0].number, b->level + 1 + i, b->upper[i], got, must, may);
	}
}

static void run_batch(struct bench *b, struct combi *c, u32 n)
{
	struct vcpu *v = b->v;
	u32 i, first;
	int l;

	if (!n)
		return;
	op_clear(v);
	if (b->efer || cpu_has(&CPU_NX))
		op_add(v, .kind = AGENT_WRMSR, .addr = MSR_EFER, .value = b->regs.efer);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = b->regs.cr0);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = b->regs.cr4);
	if (b->regs.cr4 & CR4_PKE)
		op_add(v, .kind = AGENT_WRPKRU, .value = b->regs.pkru);
	for (l = 0; l < b->nr_upper; l++)
		op_add(v, .kind = AGENT_SET_PTE, .size = b->m->pte_size, .addr = b->upper_gpa[l],
		       .value = b->upper[l]);
	/* All entries first, then the flush: a processor may look ahead at any entry. */
	for (i = 0; i < n; i++)
		put_entry(b, entry_gpa(b, b->from_gpa, c[i].slot), c[i].leaf);
	copy_entries(b, b->leaf_gpa, b->from_gpa, n);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = b->vm->as.root);
	first = v->mailbox->nr_ops;
	for (i = 0; i < n; i++) {
		if (c[i].twice) {
			c[i].first = judge(b, &c[i], KERNEL_READ);
			add_access(b, &c[i], KERNEL_READ);
		}
		c[i].want = judge(b, &c[i], c[i].access);
		c[i].op = v->mailbox->nr_ops;
		add_access(b, &c[i], c[i].access);
	}
	vcpu_exec(v);
	for (i = 0; i < first; i++)
		ASSERT_EQ(op_result(v, i).status, AGENT_OK, "setting up, operation %u", i);
	for (i = 0; i < n; i++)
		check(b, &c[i], &v->mailbox->ops[c[i].op], op_result(v, c[i].op),
		      get_entry(b, entry_gpa(b, b->leaf_gpa, c[i].slot)));
	check_uppers(b, c, n);
	for (i = 0; i < b->nr_frames; i++)
		EXPECT_EQ(*(u32 *)((u8 *)b->vm->mem->hva + i * SZ_4K + WRITE_AT), b->last_write[i],
			  "frame %u after the batch of combination %lu", i, c[0].number);
}

/* --- all of them, or evenly spread ones ------------------------------------------------ */

/* Each access at once, and after a read that may have left something behind. */
static u64 plain_count(void)
{
	return 2 * inner_count();
}

/*
 * Runs the combinations of outer number @outer; @some: at most so many of them, those from the
 * @from-th on in the order of steps.
 */
static void run_outer(struct bench *b, u64 outer, u64 from, u64 some)
{
	static struct combi combi[NR_SLOTS];
	u64 n = plain_count(), step = even_step(n), i, inner = from * step % n;
	u32 used = 0;

	if (!choose_outer(b, outer))
		return;
	for (i = from; i < n && i < from + some; i++, inner = (inner + step) % n) {
		if (!choose_inner(b, inner % inner_count(), outer * n + inner, used, &combi[used]))
			continue;
		combi[used].twice = inner >= inner_count();
		if (++used == NR_SLOTS) {
			run_batch(b, combi, used);
			used = 0;
		}
	}
	run_batch(b, combi, used);
}

static void run_case(struct test *t, int level)
{
	struct bench *b = make_bench(t->mode, level);
	u64 count = count_of(140000, 12000, 500);
	u64 one = from_env("MMUSCOPE_PERMUTATION", ~0ull);
	u64 n = outer_count(b), step = even_step(n), outer = t->seed % n, i, round;
	struct timespec from, to;

	/* The host's NX is in force in ring 3 there, and so on: not an oracle's matter. */
	REQUIRE(!kvm_is_partial(), "a KVM that is not partial");
	if (one != ~0ull) {
		run_outer(b, one / plain_count() % n, 0, plain_count());
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (round = 0; round * NR_SLOTS < plain_count() && b->judged < count; round++)
		for (i = 0; i < n && b->judged < count; i++, outer = (outer + step) % n)
			run_outer(b, outer, round * NR_SLOTS, NR_SLOTS);
	clock_gettime(CLOCK_MONOTONIC, &to);
	test_diag("judged %lu of %lu combinations in %.2f s", b->judged, n * plain_count(),
		  to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
}

TEST(small, .what = "4 KiB pages: every combination of flags, registers and accesses",
     .modes = MODES_PAGED)
{
	run_case(t, 1);
}

TEST(large, .what = "2 and 4 MiB pages: the same", .modes = MODES_PAGED)
{
	run_case(t, 2);
}

TEST(huge, .what = "1 GiB pages: the same", .modes = MODES_64)
{
	run_case(t, 3);
}

TEST(live, .what = "4 KiB pages: one combination becomes another, with and without the flush",
     .modes = MODES_PAGED)
{
	run_live_case(t, 1);
}

TEST(live_large, .what = "2 and 4 MiB pages: the same", .modes = MODES_PAGED)
{
	run_live_case(t, 2);
}
