// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes that are not of one whole entry: across the end of a page, by two translations, and across the middle
 * of two entries.
 */
#include "model_priv.h"

/* The data frame that an outcome reaches, or NULL where that is no matter for a crossing access. */
static struct frame *plain_frame(struct model *m, const struct oracle_outcome *o)
{
	struct frame *f;

	if (o->verdict != ORACLE_OK || model_where(m, o->gpa, &f) != WHERE_FRAME || f->is_table ||
	    f->read_only || model_renewed_mmio(m, o->gpa) ||
	    model_hidden_store(m, f, STEP_WRITE, o->gpa))
		return NULL;
	return f;
}

static u64 tail_of(const struct model *m, const struct frame *f)
{
	return f->cell[LAST_CELL].value >> tail_shift(m) & 0xffff;
}

/* Whether the access that was judged last is translated by what a store ends in, @first_half of it. */
static bool is_touched(struct model *m, const struct oracle_outcome *first_half)
{
	struct frame *f;

	if (first_half->verdict != ORACLE_OK || model_where(m, first_half->gpa, &f) != WHERE_FRAME)
		return false;
	for (u32 i = 0; i < m->nr_touched; i++)
		if (m->touched[i].frame == f && m->touched[i].cell == LAST_CELL)
			return true;
	return false;
}

/* Four bytes, half of them on each page. Either page's fault may come; stores want certainty. */
bool model_crossing_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome first[ORACLE_MAX_OUTCOMES],
		second[ORACLE_MAX_OUTCOMES];
	gva_t gva = model_address(m, s) + SZ_4K - 2, next = gva + 2;
	enum oracle_kind kind = s->kind == STEP_WRITE ? ORACLE_WRITE : ORACLE_READ;
	bool write = kind == ORACLE_WRITE, certain;
	struct outcome *o = &m->pool[m->pool_used];
	u32 a = model_judge(m, s, gva, kind, first), b, i, k, n = 0;
	u64 value = model_entry(m, &s->entry) & 0xffffffff;
	struct expect *e;

	/* Not across the end of all addresses. */
	if (!a || s->kind > STEP_WRITE || model_loses_smap(m, s) ||
	    !(m->m->long_mode ? next : (u32)next))
		return false;
	b = model_judge(m, s, next, kind, second);
	if (!b || (write && (a > 1 || b > 1)))
		return false;
	/*
	 * An emulator has made the first half when it translates the second one: on the kernel that stays where the second
	 * page faults (docs/fuzzing.md), and it may change the second page's way.
	 */
	if (write && m->emulates &&
	    (second[0].verdict != ORACLE_OK ? m->kernel : is_touched(m, first)))
		return false;
	for (i = 0; i < a; i++)
		if (first[i].verdict == ORACLE_OK && !plain_frame(m, &first[i]))
			return false;
	for (i = 0; i < b; i++)
		if (second[i].verdict == ORACLE_OK && !plain_frame(m, &second[i]))
			return false;
	for (i = 0; i < a + b; i++) {
		const struct oracle_outcome *f = i < a ? &first[i] : &second[i - a];

		if (f->verdict == ORACLE_OK)
			continue;
		if (n == MAX_OUTCOMES)
			return false;
		o[n++] = (struct outcome){
			.verdict = f->verdict, .error = f->error, .cr2 = i < a ? gva : next};
	}
	certain = !n && a == 1 && b == 1;
	for (i = 0; i < a; i++) {
		for (k = 0; k < b; k++) {
			if (first[i].verdict != ORACLE_OK || second[k].verdict != ORACLE_OK)
				continue;
			if (n == MAX_OUTCOMES)
				return false;
			o[n++] = (struct outcome){.verdict = ORACLE_OK,
						  .gpa = first[i].gpa,
						  .value = tail_of(m, plain_frame(m, &first[i])) |
							   (u64)plain_frame(m, &second[k])->head
								   << 16,
						  .mask = 0xffffffff};
		}
	}
	model_mark(m, &second[0], write, certain);
	model_judge(m, s, gva, kind, first);
	model_mark(m, &first[0], write, certain);
	e = model_expect(m,
			 (struct agent_op){.kind = s->kind == STEP_WRITE ? AGENT_WRITE : AGENT_READ,
					   .flags = model_agent_flags(s),
					   .size = 4,
					   .addr = gva,
					   .value = value});
	e->nr = n;
	e->is_read = !write;
	m->pool_used += n;
	if (write && certain) {
		struct frame *f = plain_frame(m, &first[0]), *g = plain_frame(m, &second[0]);
		u64 may = f->cell[LAST_CELL].may;

		model_store_unlogged(m, f, LAST_CELL,
				     (f->cell[LAST_CELL].value & ~(0xffffull << tail_shift(m))) |
					     (value & 0xffff) << tail_shift(m));
		/* A and D, of an entry that the access was translated by, are in the other bytes. */
		f->cell[LAST_CELL].may = may;
		g->head = value >> 16;
		if (!model_in_alias(m, first[0].gpa))
			model_touch(m, f);
		if (!model_in_alias(m, second[0].gpa))
			model_touch(m, g);
	}
	return true;
}

/*
 * Across the first two entries that programs use of a page, which are neighbours. Only where one outcome is allowed, since
 * nothing settles half a store.
 */
bool model_middle_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	u32 size = m->m->pte_size, half = 4 * size, at = cell_offset(m, 0) + size / 2;
	gva_t gva = model_address(m, s) + at;
	u64 value = model_entry(m, &s->entry), low, high;
	enum oracle_kind kind = s->kind == STEP_WRITE ? ORACLE_WRITE : ORACLE_READ;
	struct outcome *o = &m->pool[m->pool_used];
	struct frame *f = NULL;
	struct expect *e;

	/* A processor in 32-bit mode makes two accesses of eight bytes. */
	if (s->kind > STEP_WRITE || m->width != size || model_loses_smap(m, s) ||
	    model_judge(m, s, gva, kind, out) != 1)
		return false;
	o[0] = (struct outcome){.verdict = out[0].verdict,
				.error = out[0].error,
				.gpa = out[0].gpa,
				.cr2 = gva,
				.mask = model_width_mask(m)};
	if (o->verdict == ORACLE_OK && (model_where(m, o->gpa, &f) != WHERE_FRAME || f->read_only ||
					model_hidden_store(m, f, s->kind, o->gpa)))
		return false;
	model_mark(m, &out[0], kind == ORACLE_WRITE, true);
	value &= model_width_mask(m);
	if (f) {
		low = f->cell[0].value;
		high = f->cell[1].value;
		o->value = (low & model_width_mask(m)) >> half | high << half;
		o->mask = ~(f->cell[0].may >> half | f->cell[1].may << half) & model_width_mask(m);
	}
	e = model_expect(m,
			 (struct agent_op){.kind = s->kind == STEP_WRITE ? AGENT_WRITE : AGENT_READ,
					   .flags = model_agent_flags(s),
					   .size = m->width,
					   .addr = gva,
					   .value = value});
	e->nr = 1;
	e->is_read = kind != ORACLE_WRITE;
	m->pool_used++;
	if (!f || kind != ORACLE_WRITE)
		return true;
	for (int i = 0; i < 2; i++) {
		struct cell *c = &f->cell[i];
		u64 may = c->may, lower = (1ull << half) - 1, kept = i ? ~lower : lower;

		model_store_unlogged(m, f, i,
				     (c->value & kept) | (i ? value >> half : value << half));
		c->may = may & kept;
	}
	if (!model_in_alias(m, o->gpa))
		model_touch(m, f);
	return true;
}
