// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables edited while they are in use: an entry at any level changes from
 * any state to any other (absent, writable, read-only, user, another frame, a
 * large page, another table) and the accesses after the flush get exactly what
 * memory says. Where no flush is needed none is made: an absent entry is never
 * cached, and a page fault drops the translation that it was raised for, so an
 * entry that became more permissive may cost one stale fault and no more (SDM
 * vol. 3 4.10.4.3, APM vol. 2 5.5.2).
 *
 * Under shadow paging a store to an upper table is intercepted and drops what
 * was derived from the entry: a whole subtree, with its leaf tables, may go out
 * of use and come back. Leaf tables are not intercepted for long; they are left
 * out of sync and read again at the flush, page by page, in batches, found
 * through marks in all tables above. Each way to lose one (the mark, the last
 * index, the second batch, the protection for the next round) leaves a stale
 * translation, which the frames' numbers show.
 */
#include "frames.h"

#define MAX_STATES 10

/* What an entry can be, and what follows for the two ends of what it spans. */
struct state {
	const char *name;
	u64 pte;
	bool present, writable, user;
	u32 first, last; /* frames reached at the span's first and last page */
};

/* One entry and its states. */
struct subject {
	gva_t gva; /* of the first page */
	u64 span;
	int level;
	bool reload; /* PAE's PDPTEs are registers: only a CR3 load reads them */
	gpa_t entry;
	u32 nr;
	struct state state[MAX_STATES];
};

static void add_state(struct subject *s, struct state state)
{
	state.present = state.pte & PTE_P;
	if (s->nr == MAX_STATES)
		test_error("more than %d states", MAX_STATES);
	s->state[s->nr++] = state;
}

/* A subtree below an entry of @level of its own, first and last page mapped; its entry. */
static u64 make_subtree(struct vm *vm, gva_t lent, int level, u32 first, u32 last)
{
	u64 span = level_size(vm->mode, level);

	vm_map(vm, lent, frame_gpa(vm, first), SZ_4K, 1, PTE_W | PTE_U);
	vm_map(vm, lent + span - SZ_4K, frame_gpa(vm, last), SZ_4K, 1, PTE_W | PTE_U);
	return aspace_get_pte(&vm->as, lent, level);
}

static struct subject leaf_subject(struct vm *vm, gva_t gva)
{
	struct subject s = {.gva = gva, .span = SZ_4K, .level = 1};

	aspace_make_tables(&vm->as, gva, 1);
	s.entry = aspace_pte_gpa(&vm->as, gva, 1);
	add_state(&s, (struct state){.name = "absent"});
	add_state(&s,
		  (struct state){
			  .name = "read-only", .pte = frame_pte(vm, 1, 0), .first = 1, .last = 1});
	add_state(&s, (struct state){.name = "writable",
				     .pte = frame_pte(vm, 1, PTE_W),
				     .writable = true,
				     .first = 1,
				     .last = 1});
	add_state(&s, (struct state){.name = "writable user",
				     .pte = frame_pte(vm, 1, PTE_W | PTE_U),
				     .writable = true,
				     .user = true,
				     .first = 1,
				     .last = 1});
	add_state(&s, (struct state){.name = "other frame",
				     .pte = frame_pte(vm, 2, PTE_W | PTE_U),
				     .writable = true,
				     .user = true,
				     .first = 2,
				     .last = 2});
	add_state(&s, (struct state){.name = "other frame, used",
				     .pte = frame_pte(vm, 2, PTE_W | PTE_U | PTE_A | PTE_D),
				     .writable = true,
				     .user = true,
				     .first = 2,
				     .last = 2});
	add_state(&s, (struct state){.name = "read-only, used",
				     .pte = frame_pte(vm, 1, PTE_A | PTE_D),
				     .first = 1,
				     .last = 1});
	add_state(&s, (struct state){.name = "other frame, read-only user",
				     .pte = frame_pte(vm, 2, PTE_U),
				     .user = true,
				     .first = 2,
				     .last = 2});
	return s;
}

/* @lent: two spans of @level that lend their tables. Large pages lie at slot 1's @large. */
static struct subject upper_subject(struct vm *vm, gva_t gva, gva_t lent, int level)
{
	const struct paging_mode *m = vm->mode;
	struct subject s = {.gva = gva, .span = level_size(m, level), .level = level};
	u32 pages = s.span / SZ_4K;
	u64 a = make_subtree(vm, lent, level, 1, 2);
	u64 b = make_subtree(vm, lent + s.span, level, 3, 4);

	if (level < m->levels)
		aspace_make_tables(&vm->as, gva, level);
	s.entry = aspace_pte_gpa(&vm->as, gva, level);
	s.reload = m->id == PM_PAE && level == 3;
	add_state(&s, (struct state){.name = "absent"});
	add_state(&s, (struct state){.name = "table",
				     .pte = a,
				     .writable = true,
				     .user = true,
				     .first = 1,
				     .last = 2});
	add_state(&s, (struct state){.name = "other table",
				     .pte = b,
				     .writable = true,
				     .user = true,
				     .first = 3,
				     .last = 4});
	if (!s.reload) {
		add_state(&s, (struct state){.name = "read-only table",
					     .pte = a & ~PTE_W,
					     .user = true,
					     .first = 1,
					     .last = 2});
		add_state(&s, (struct state){.name = "supervisor table",
					     .pte = a & ~PTE_U,
					     .writable = true,
					     .first = 1,
					     .last = 2});
	}
	if (level == 2) {
		u32 big = pages; /* first frame of the second large page of slot 1 */

		add_state(&s, (struct state){
				      .name = "large page",
				      .pte = pte_make_leaf(m, frame_gpa(vm, big), 2, PTE_W | PTE_U),
				      .writable = true,
				      .user = true,
				      .first = big,
				      .last = 2 * big - 1});
		add_state(&s, (struct state){.name = "read-only supervisor large page",
					     .pte = pte_make_leaf(m, frame_gpa(vm, big), 2, 0),
					     .first = big,
					     .last = 2 * big - 1});
		add_state(&s, (struct state){.name = "other large page",
					     .pte = pte_make_leaf(m, frame_gpa(vm, 2 * big), 2,
								  PTE_W | PTE_U),
					     .writable = true,
					     .user = true,
					     .first = 2 * big,
					     .last = 3 * big - 1});
	}
	return s;
}

/* One access to a subject and what its state wants from it. */
struct check {
	u32 op;
	const struct state *from, *to;
	gva_t gva;
	bool write, user;
	u32 frame;
};

struct checks {
	struct check list[AGENT_BATCH];
	u32 nr;
};

static void add_check(struct checks *c, u32 op, const struct state *from, const struct state *to,
		      gva_t gva, bool write, bool user, u32 frame)
{
	c->list[c->nr++] = (struct check){op, from, to, gva, write, user, frame};
}

static void expect_check(struct vcpu *v, int level, const struct check *c)
{
	struct agent_result res = op_result(v, c->op);
	u64 error = (c->write ? PFERR_W : 0) | (c->user ? PFERR_U : 0);

	if (!c->to->present)
		EXPECT_PF(res, error, c->gva, "level %d, %s -> %s", level, c->from->name,
			  c->to->name);
	else if ((c->write && !c->to->writable) || (c->user && !c->to->user))
		EXPECT_PF(res, error | PFERR_P, c->gva, "level %d, %s -> %s", level, c->from->name,
			  c->to->name);
	else if (c->write)
		EXPECT_OK(res, "level %d, %s -> %s, write", level, c->from->name, c->to->name);
	else
		EXPECT_VALUE(res, frame_value(c->frame), "level %d, %s -> %s, gva %#lx", level,
			     c->from->name, c->to->name, c->gva);
}

/* Uses @s as it is in every way that it may be used, so that all is cached. */
static void op_use(struct vcpu *v, const struct subject *s)
{
	op_user_read(v, s->gva);
	op_write(v, s->gva + SCRATCH, 1);
	op_read(v, s->gva + s->span - SZ_4K);
}

static void op_checks(struct vcpu *v, struct checks *c, const struct subject *s,
		      const struct state *from, const struct state *to)
{
	gva_t last = s->gva + s->span - SZ_4K;

	add_check(c, op_read(v, s->gva), from, to, s->gva, false, false, to->first);
	add_check(c, op_write(v, s->gva + SCRATCH, 2), from, to, s->gva + SCRATCH, true, false, 0);
	add_check(c, op_user_read(v, s->gva), from, to, s->gva, false, true, to->first);
	if (s->span > SZ_4K)
		add_check(c, op_read(v, last), from, to, last, false, false, to->last);
}

static u32 op_store(struct vcpu *v, const struct subject *s, const struct state *to)
{
	return op_add(v, .kind = AGENT_SET_PTE, .addr = s->entry, .value = to->pte,
		      .size = v->vm->mode->pte_size);
}

/* Every state to every other, flushed by INVLPG or a CR3 load in turn. */
static void check_transitions(struct vm *vm, const struct subject *s)
{
	static struct checks c;
	struct vcpu *v = vm->vcpu[0];
	const struct state *from, *to;
	u32 i, j;

	for (i = 0; i < s->nr; i++) {
		c.nr = 0;
		op_clear(v);
		for (j = 0; j < s->nr; j++) {
			from = &s->state[i];
			to = &s->state[j];
			op_store(v, s, from);
			op_load_cr3(v, vm->as.root);
			op_use(v, s);
			op_store(v, s, to);
			if (!s->reload && (i + j) % 2) {
				op_invlpg(v, s->gva + 0x123);
				op_invlpg(v, s->gva + s->span - 1);
			} else {
				op_load_cr3(v, vm->as.root);
			}
			op_checks(v, &c, s, from, to);
		}
		vcpu_exec(v);
		for (j = 0; j < c.nr; j++)
			expect_check(v, s->level, &c.list[j]);
	}
}

TEST(transitions, .what = "an entry at any level goes from any state to any other",
     .modes = MODES_PAGED, .fixes = (const char *const[]){"9e7b0e7fba45", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .mem_size = 16 * MiB);
	struct subject s;
	gva_t gva;
	int level;

	number_all_frames(vm);
	s = leaf_subject(vm, vm->test_gva + 8 * level_size(m, 2));
	check_transitions(vm, &s);
	for (level = 2; level <= m->levels; level++) {
		gva = vm->test_gva + level_size(m, level); /* PAE's PDPTEs: 2 is the subject's … */
		if (m->id == PM_PAE && level == 3)
			gva = 3ull << 30; /* … and there are only four, so 1 and 2 lend */
		s = upper_subject(vm, gva,
				  gva == 3ull << 30 ? 1ull << 30 : gva + level_size(m, level),
				  level);
		check_transitions(vm, &s);
	}
}

static bool allows_more(const struct state *from, const struct state *to)
{
	return from->present && to->present && from->first == to->first &&
	       to->writable >= from->writable && to->user >= from->user;
}

/*
 * Without any flush: absent to present must work at once; more rights for the
 * same frame may raise one stale fault, and the retry must succeed.
 */
TEST(no_flush_needed,
     .what = "entries that become present or allow more need no flush, at most a stale fault",
     .modes = MODES_FEW,
     .fixes = (const char *const[]){"KVM: Sync SPTEs when injecting page fault (2020)", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .mem_size = 16 * MiB);
	struct vcpu *v = vm->vcpu[0];
	static struct checks c;
	struct subject s[2];
	const struct state *from, *to;
	u32 i, j, k;

	number_all_frames(vm);
	s[0] = leaf_subject(vm, vm->test_gva);
	s[1] = upper_subject(vm, vm->test_gva + level_size(m, 2),
			     vm->test_gva + 2 * level_size(m, 2), 2);
	for (k = 0; k < ARRAY_LEN(s); k++) {
		c.nr = 0;
		op_clear(v);
		for (i = 0; i < s[k].nr; i++) {
			for (j = 0; j < s[k].nr; j++) {
				from = &s[k].state[i];
				to = &s[k].state[j];
				if (from->present && (i == j || !allows_more(from, to)))
					continue;
				op_store(v, &s[k], from);
				op_load_cr3(v, vm->as.root);
				op_use(v, &s[k]);
				op_store(v, &s[k], to);
				if (from->present) { /* these may fault once each */
					op_write(v, s[k].gva + SCRATCH, 3);
					op_user_read(v, s[k].gva);
				}
				op_checks(v, &c, &s[k], from, to);
			}
		}
		vcpu_exec(v);
		for (i = 0; i < c.nr; i++)
			expect_check(v, s[k].level, &c.list[i]);
	}
}

/* The guest's own fault handler repairs the entry and returns, as every kernel does. */
TEST(repaired_by_handler, .what = "a page-fault handler that repairs the entry makes progress",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 size = t->mode->pte_size, op[24], i;
	gva_t gva = vm->test_gva;

	number_frames(vm);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(op); i++, gva += SZ_4K) {
		/* By turns: absent, read-only, read-only and used before; each to another frame. */
		vm_map(vm, gva, frame_gpa(vm, i), SZ_4K, 1, 0);
		if (i % 3 == 0)
			aspace_set_pte(&vm->as, gva, 1, 0);
		if (i % 3 == 2)
			op_read(v, gva);
		op_add(v, .kind = AGENT_ARM_FIXUP, .addr = aspace_pte_gpa(&vm->as, gva, 1),
		       .value = frame_pte(vm, 100 + i, PTE_W), .size = size);
		op_write(v, gva + SCRATCH, 0x1000 + i);
		op[i] = op_read(v, gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		EXPECT_VALUE(op_result(v, op[i]), frame_value(100 + i), "page %u", i);
		EXPECT_EQ(*frame_scratch(vm, 100 + i), 0x1000 + i, "page %u", i);
		EXPECT_EQ(*frame_scratch(vm, i), 0, "page %u: the write was repeated", i);
	}
}

/*
 * Many leaf tables, edited at their first, a middle and their last entry before
 * one flush. They hang below the first and the last entries of several upper
 * tables, so that every index that a search for them could miss is there. In
 * 32-bit paging a table has two shadows; the middle entry and the last one have
 * the same index in them.
 */
#define TABLES	48
#define ENTRIES 3

static gva_t nth_table_gva(const struct vm *vm, u32 i)
{
	const struct paging_mode *m = vm->mode;
	u64 pde = level_size(m, 2);
	u32 per = 512; /* entries of an upper table; of a 32-bit root the upper half */
	gva_t base = vm->test_gva;

	if (m->pte_size == 4)
		base = 0x80000000; /* entries 512 to 1023 of the root */
	else if (i >= TABLES / 2)
		base += m->id == PM_PAE ? level_size(m, 3) : 511 * level_size(m, 3);
	i %= m->pte_size == 4 ? TABLES : TABLES / 2;
	return base + (i % 2 ? per - 1 - i / 2 : i / 2) * pde;
}

static gva_t nth_page_gva(const struct vm *vm, u32 table, u32 entry)
{
	u32 last = level_entries(vm->mode, 1) - 1;
	u32 index[ENTRIES] = {0, last / 2, last};

	return nth_table_gva(vm, table) + index[entry] * SZ_4K;
}

static void many_tables_round(struct vm *vm, u32 round, bool by_invlpg)
{
	struct vcpu *v = vm->vcpu[0];
	u32 i, n = TABLES * ENTRIES, op[TABLES * ENTRIES];

	op_clear(v);
	for (i = 0; i < n; i++)
		op_set_pte(v, &vm->as, nth_page_gva(vm, i / ENTRIES, i % ENTRIES), 1,
			   frame_pte(vm, (i + 7 * round) % n, PTE_W | USED_BITS(i / ENTRIES)));
	if (!by_invlpg)
		op_load_cr3(v, vm->as.root);
	for (i = 0; i < n; i++) {
		if (by_invlpg)
			op_invlpg(v, nth_page_gva(vm, i / ENTRIES, i % ENTRIES));
		op[i] = op_read(v, nth_page_gva(vm, i / ENTRIES, i % ENTRIES));
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		EXPECT_VALUE(op_result(v, op[i]), frame_value((i + 7 * round) % n),
			     "round %u, table %u, entry %u, gva %#lx", round, i / ENTRIES,
			     i % ENTRIES, nth_page_gva(vm, i / ENTRIES, i % ENTRIES));
}

TEST(many_tables, .what = "many leaf tables edited before one CR3 load, or an INVLPG for each",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	u32 i;

	number_frames(vm);
	for (i = 0; i < TABLES * ENTRIES; i++)
		vm_map(vm, nth_page_gva(vm, i / ENTRIES, i % ENTRIES), frame_gpa(vm, i), SZ_4K, 1,
		       PTE_W);
	for (i = 0; i < 4; i++)
		many_tables_round(vm, i, i == 2);
}

/* As above with rights instead of frames: writable, read-only, writable … */
TEST(many_rights, .what = "many pages of one table lose and regain the right to be written",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 n = 64, i, round, lost[64], back[64];

	number_frames(vm);
	for (i = 0; i < n; i++)
		vm_map(vm, vm->test_gva + i * SZ_4K, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
	for (round = 0; round < 2; round++) {
		op_clear(v);
		op_add(v, .kind = AGENT_TOUCH_WRITE, .addr = vm->test_gva + SCRATCH, .arg = SZ_4K,
		       .value = n, .arg2 = 0x1000, .size = 4);
		for (i = 0; i < n; i++)
			op_set_pte(v, &vm->as, vm->test_gva + i * SZ_4K, 1,
				   frame_pte(vm, i, USED_BITS(round)));
		op_load_cr3(v, vm->as.root);
		for (i = 0; i < n; i++)
			lost[i] = op_write(v, vm->test_gva + i * SZ_4K + SCRATCH, 0x2000 + i);
		for (i = 0; i < n; i++)
			op_set_pte(v, &vm->as, vm->test_gva + i * SZ_4K, 1,
				   frame_pte(vm, i, PTE_W | USED_BITS(round)));
		op_load_cr3(v, vm->as.root);
		op_add(v, .kind = AGENT_TOUCH_CHECK, .addr = vm->test_gva + SCRATCH, .arg = SZ_4K,
		       .value = n, .arg2 = 0x1000, .size = 4);
		for (i = 0; i < n; i++)
			back[i] = op_write(v, vm->test_gva + i * SZ_4K + SCRATCH, 0x3000 + i);
		vcpu_exec(v);
		for (i = 0; i < n; i++) {
			EXPECT_PF(op_result(v, lost[i]), PFERR_P | PFERR_W,
				  vm->test_gva + i * SZ_4K + SCRATCH, "page %u", i);
			EXPECT_OK(op_result(v, back[i]), "page %u", i);
			EXPECT_EQ(*frame_scratch(vm, i), 0x3000 + i, "page %u", i);
		}
		EXPECT_VALUE(op_result(v, back[0] - 1), n, "what was stored before stays");
	}
}
