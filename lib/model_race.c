// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps that are taken together: each vCPU has its batch, and the host its steps, and all go on at the same time. Where
 * the engine has threads take turns the order is the seed's.
 *
 * What comes of a single access then depends on the order, so it isn't judged; what is left when all have ended is.
 * Each word holds what it held before or what one of the stores put there, additions are neither lost nor made twice,
 * each page that changed since it was taken out of the log is in it, and from then on every access is judged by memory as it
 * is: whoever goes on using a page, an entry or a table that has been taken away shows.
 */
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "model_priv.h"
#include "test.h"

#define MAX_TOGETHER 256
#define MAX_TRIES    20000 /* of a host that waits for a vCPU, which may be stuck */

struct race {
	u32 first, end;
	u64 value[MAX_TOGETHER]; /* that were stored */
	u32 nr_values;
	u32 ran[PROGRAM_VCPUS][MAX_TOGETHER], nr_ran[PROGRAM_VCPUS]; /* steps by operation */
	bool zeroes, replaces, stores, sets;
};

/* --- which steps --------------------------------------------------------------------------- */

static bool takes_part(const struct step *s)
{
	switch (s->kind) {
	case STEP_SET:
	case STEP_READ:
	case STEP_WRITE:
	case STEP_EXEC:
	case STEP_XADD:
	case STEP_INVLPG:
	case STEP_DELETE:
	case STEP_LOG:
	case STEP_LOG_TABLES:
	case STEP_DIRTY_GET:
	case STEP_DIRTY_CLEAR:
	case STEP_DIRTY_LOOK:
	case STEP_CLEAR_LOG:
	case STEP_ZERO:
	case STEP_PROTECT:
	case STEP_NR_PAGES:
	case STEP_HUGE:
	case STEP_COLLAPSE:
	case STEP_PAGEOUT:
	case STEP_AGE:
	case STEP_ZERO_BLOCK:
		return true;
	default:
		return false;
	}
}

static void find_end(struct model *m, struct race *r)
{
	const struct program *p = m->p;

	for (r->end = r->first; r->end < p->nr_steps && r->end - r->first < MAX_TOGETHER;
	     r->end++) {
		const struct step *s = &p->steps[r->end];

		if (!takes_part(s))
			return;
		r->zeroes |= s->kind == STEP_ZERO || s->kind == STEP_ZERO_BLOCK;
		r->replaces |= s->kind == STEP_DELETE;
		r->sets |= s->kind == STEP_SET;
		r->stores |= s->kind == STEP_WRITE;
	}
}

static struct cell *cell_of_set(struct model *m, const struct step *s, struct frame **f)
{
	*f = &m->frame[s->table % PROGRAM_TABLES];
	return &(*f)->cell[(s->index - 1) % PROGRAM_INDICES];
}

/* Whoever walks while others store may find any of it. */
static void foresee_sets(struct model *m, const struct race *r)
{
	struct frame *f;

	for (u32 i = r->first; i < r->end; i++) {
		const struct step *s = &m->p->steps[i];
		struct cell *c;

		if (s->kind != STEP_SET)
			continue;
		c = cell_of_set(m, s, &f);
		for (u32 k = 0; k < m->vm->nr_vcpus; k++)
			oracle_stored(m->vcpu[k].history, f->gpa + cell_offset(m, c - f->cell),
				      model_entry(m, &s->entry) & cell_mask(m, c - f->cell));
	}
}

static bool may_run(struct model *m, const struct race *r, const struct step *s)
{
	if (s->kind == STEP_SET || s->kind == STEP_INVLPG)
		return true;
	/* What is stored has a place of its own, so that it can be told from what else is there. */
	if ((s->kind == STEP_WRITE || s->kind == STEP_XADD) && s->place != PLACE_DATA)
		return false;
	/* Code that was zeroed, and devices, run no functions and make no exchanges. */
	if ((r->zeroes || r->replaces) && s->kind == STEP_EXEC)
		return false;
	if (r->replaces && s->kind == STEP_XADD)
		return false;
	return model_may_race(m, s, r->replaces);
}

static void add_operation(struct model *m, struct race *r, u32 i)
{
	const struct step *s = &m->p->steps[i];
	struct model_vcpu *v = &m->vcpu[s->vcpu];
	struct agent_op op;
	struct frame *f;
	u64 value = 0;

	m->current = v;
	if (!may_run(m, r, s)) {
		m->res->left_out++;
		return;
	}
	if (s->kind == STEP_SET) {
		struct cell *c = cell_of_set(m, s, &f);

		op = (struct agent_op){.kind = AGENT_SET_PTE,
				       .size = m->m->pte_size,
				       .addr = f->gpa + cell_offset(m, c - f->cell),
				       .value = model_entry(m, &s->entry)};
	} else if (s->kind == STEP_INVLPG) {
		op = (struct agent_op){.kind = AGENT_INVLPG, .addr = model_address(m, s)};
	} else {
		op = model_race_op(m, s, &value);
	}
	if (s->kind == STEP_WRITE)
		r->value[r->nr_values++] = value;
	r->ran[s->vcpu][r->nr_ran[s->vcpu]++] = i;
	op_add_op(v->v, op);
}

/* --- the run -------------------------------------------------------------------------------- */

static void set_seed(struct model *m, u64 seed)
{
	char text[16];

	if (!engine()->turns)
		return;
	/* Most of what a guest does between two accesses is no matter to others. */
	if (!m->raced)
		engine_param_set("interleave_slice", "6");
	m->raced = true;
	snprintf(text, sizeof(text), "%u", (u32)seed);
	engine_param_set("interleave", text);
}

void model_race_end(struct model *m)
{
	if (!m->raced)
		return;
	engine_param_set("interleave", "0");
	engine_param_set("interleave_slice", "0");
}

/* What was taken out of the log is copied afterwards, as whoever moves a guest does. */
static void copy_taken(struct model *m)
{
	for (u32 i = 0; i < PROGRAM_TABLES + PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[i];

		for (int k = 0; k < NR_CELLS && f->taken; k++)
			f->copy[k] = model_load(m, f, k);
		f->taken = false;
	}
}

/* One of the vCPUs, by @seed, has come as far as to what follows step @step. */
static void await(struct model *m, const struct race *r, u32 step, u64 seed)
{
	u32 i = seed % m->vm->nr_vcpus, before = 0, tries;

	while (before + 1 < r->nr_ran[i] && r->ran[i][before] < step)
		before++;
	for (tries = 0; tries < MAX_TRIES; tries++) {
		if (*(volatile u32 *)&m->vcpu[i].v->mailbox->current_op >= before)
			return;
		vcpu_relax();
	}
}

static void host_steps(struct model *m, const struct race *r, u64 seed)
{
	for (u32 i = r->first; i < r->end && !m->res->wrong; i++) {
		const struct step *s = &m->p->steps[i];

		if (!step_is_host(s))
			continue;
		await(m, r, i, seed >> 8);
		for (u64 k = 0; k < seed % 5; k++)
			vcpu_relax();
		seed = seed * 0x9e3779b97f4a7c15ull >> 3;
		m->step = i;
		if (!model_host_step(m, s))
			m->res->left_out++;
		copy_taken(m);
	}
}

static void run(struct model *m, const struct race *r, u64 seed)
{
	u32 i;

	for (i = 0; i < PROGRAM_TABLES + PROGRAM_FRAMES; i++) {
		m->frame[i].taken = true;
		m->frame[i].zeroed = false;
	}
	copy_taken(m);
	m->together = true;
	set_seed(m, seed);
	for (i = 0; i < m->vm->nr_vcpus; i++)
		if (r->nr_ran[i])
			vcpu_start(m->vcpu[i].v);
	host_steps(m, r, seed);
	for (i = 0; i < m->vm->nr_vcpus; i++)
		if (r->nr_ran[i])
			vcpu_join(m->vcpu[i].v);
	m->together = false;
}

/* --- what is left ----------------------------------------------------------------------------- */

static u64 width_of(const struct model *m)
{
	return m->width == 8 ? ~0ull : 0xffffffff;
}

static void check_answers(struct model *m, const struct race *r, u64 *added)
{
	char text[128];

	for (u32 i = 0; i < m->vm->nr_vcpus; i++) {
		for (u32 k = 0; k < r->nr_ran[i]; k++) {
			struct agent_result res = m->vcpu[i].v->mailbox->results[k];
			const struct step *s = &m->p->steps[r->ran[i][k]];

			m->res->judged++;
			if (res.status != AGENT_OK &&
			    (res.status != AGENT_FAULT || res.vector != PF_VECTOR))
				model_wrong(m, r->ran[i][k], "step %u, together with others: %s",
					    r->ran[i][k] + 1,
					    result_text(&res, text, sizeof(text)));
			if (s->kind == STEP_XADD && res.status == AGENT_OK)
				*added += model_entry(m, &s->entry) & width_of(m);
		}
	}
}

static bool is_data(const struct model *m, const struct race *r, const struct frame *f, u64 now)
{
	u64 width = width_of(m), before = f->cell[DATA_CELL].value;

	if (now == before || (f->zeroed && !now))
		return true;
	if ((now & ~width) != (before & ~width) && (now & ~width || !f->zeroed))
		return false;
	for (u32 i = 0; i < r->nr_values; i++)
		if ((now & width) == r->value[i])
			return true;
	return false;
}

static bool is_entry(struct model *m, const struct race *r, struct frame *f, int cell, u64 now)
{
	u64 ad = PTE_A | PTE_D;
	struct frame *other;

	if (!((now ^ f->cell[cell].value) & ~ad) || (f->zeroed && !now))
		return true;
	for (u32 i = r->first; i < r->end; i++) {
		const struct step *s = &m->p->steps[i];

		if (s->kind == STEP_SET && cell_of_set(m, s, &other) == &f->cell[cell] &&
		    !((now ^ (model_entry(m, &s->entry) & cell_mask(m, cell))) & ~ad))
			return true;
	}
	return false;
}

/* Takes memory over as it is. @xadds: additions were made, so that data may hold any sum. */
static void settle(struct model *m, const struct race *r, bool xadds, u64 *gained)
{
	for (u32 i = 0; i < NR_FRAMES; i++) {
		struct frame *f = &m->frame[i];
		bool log = f->is_table ? m->log_tables : m->logging;

		for (int k = 0; k < NR_CELLS; k++) {
			u64 now = model_load(m, f, k), before = f->cell[k].value;

			if (k == DATA_CELL ? !xadds && !is_data(m, r, f, now)
					   : !is_entry(m, r, f, k, now))
				model_wrong(m, r->end - 1,
					    "steps %u to %u, together: gpa %#lx holds %#lx, which "
					    "nobody stored (before: %#lx)",
					    r->first + 1, r->end, f->gpa + cell_offset(m, k), now,
					    before);
			if (k == DATA_CELL)
				*gained += (now - before) & width_of(m);
			if (now != before)
				model_store_unlogged(m, f, k, now);
			else
				f->cell[k].may = model_set_ahead(m, k, now);
			f->reached = true;
			/* What the host does isn't logged. */
			if (log && !f->read_only && now != f->copy[k] && (now || !f->zeroed))
				f->dirty = true;
		}
		if (f->zeroed) {
			f->head = 0;
			f->function = false;
			f->zeroed = false;
		}
	}
}

static bool nothing_else_changes_data(const struct race *r)
{
	return !r->zeroes && !r->replaces && !r->stores && !r->sets;
}

u32 model_together(struct model *m, u32 first)
{
	static __thread struct race r;
	u64 seed = 1 + m->p->steps[first - 1].value, added = 0, gained = 0;
	bool xadds = false;
	u32 i;

	r = (struct race){.first = first};
	find_end(m, &r);
	if (r.end == first)
		return first;
	foresee_sets(m, &r);
	for (i = first; i < r.end; i++) {
		if (!step_is_host(&m->p->steps[i]))
			add_operation(m, &r, i);
		xadds |= m->p->steps[i].kind == STEP_XADD;
	}
	m->step = m->res->step = r.end - 1;
	run(m, &r, seed);
	m->step = r.end - 1;
	check_answers(m, &r, &added);
	settle(m, &r, xadds, &gained);
	if (xadds && nothing_else_changes_data(&r) && ((gained ^ added) & width_of(m)))
		model_wrong(m, r.end - 1,
			    "steps %u to %u, together: additions of %#lx in all have come to %#lx",
			    first + 1, r.end, added & width_of(m), gained & width_of(m));
	for (i = 0; i < m->vm->nr_vcpus; i++)
		op_clear(m->vcpu[i].v);
	return r.end;
}
