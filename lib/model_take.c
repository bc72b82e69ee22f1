// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps one after the other: what ends a batch, and steps that stand for others.
 */
#include <stdio.h>

#include "model_priv.h"

#define MAX_PARTS \
	30000 /* of a program: a text of some lines ends in reasonable time, whoever wrote it */

/* One that has no parts, of the host's or appended to the batch. */
static void take_one(struct model *m, const struct step *s)
{
	u32 i = m->step;
	bool done;

	if (step_is_host(s) || step_is_alone(s) || m->open.open ||
	    m->current != &m->vcpu[s->vcpu] || m->nr + MAX_STEP_OPS > AGENT_BATCH ||
	    m->pool_used + 2 * MAX_OUTCOMES > MAX_POOL)
		if (!model_flush_batch(m))
			return;
	m->step = i;
	if (step_is_host(s)) {
		done = model_host_step(m, s);
	} else {
		m->current = &m->vcpu[s->vcpu];
		done = step_is_alone(s) ? model_alone_step(m, s) : model_guest_step(m, s);
	}
	if (!done)
		m->res->left_out++;
	if (!done && m->o->verbose)
		printf("# %u: left out\n", i + 1);
}

/* One more of those that the program's steps stand for. */
static bool may_go_on(struct model *m)
{
	if (m->nr_parts++ < MAX_PARTS)
		return true;
	m->res->left_out++;
	return false;
}

static void take(struct model *m, const struct step *s)
{
	struct step part;

	m->part = 0;
	if (!step_has_parts(s)) {
		take_one(m, s);
		return;
	}
	for (; !m->res->wrong && step_part(m->p, s, m->part, &part); m->part++)
		if (may_go_on(m))
			take_one(m, &part);
}

/* The steps before step @i, again and again. Races and other repetitions among them are left out. */
static void repeat(struct model *m, u32 i)
{
	const struct step *s = &m->p->steps[i];
	u32 first = s->number < i ? i - s->number : 0, k;
	u64 times = s->value < MAX_TIMES ? s->value : MAX_TIMES;

	while (times--) {
		for (k = first; k < i && !m->res->wrong; k++) {
			m->taken = k;
			if (m->p->steps[k].kind == STEP_AGAIN ||
			    m->p->steps[k].kind == STEP_TOGETHER)
				m->res->left_out++;
			else if (may_go_on(m))
				take(m, &m->p->steps[k]);
		}
	}
}

void model_take(struct model *m, u32 i)
{
	m->taken = i;
	m->res->step = i;
	if (m->p->steps[i].kind == STEP_AGAIN)
		repeat(m, i);
	else
		take(m, &m->p->steps[i]);
}
