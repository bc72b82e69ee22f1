// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model's memory and its batches: runs what has been appended, holds every answer against what was allowed and every word of the program's frames against what
 * they should hold.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"
#include "quirks.h"
#include "test.h"

/* --- memory -------------------------------------------------------------------------- */

/* Which of the pages that programs use page @index of a large page is. */
static u32 page_number(const struct model *m, u32 index)
{
	u32 i;

	for (i = 0; i < PROGRAM_INDICES && m->index[i] != index; i++)
		;
	return i;
}

/* The frame at @at in the data's memory. */
static enum where data_frame(struct model *m, u64 at, struct frame **frame)
{
	u64 block = at / level_size(m->m, 2) - (m->m->id == PM_32 ? 0 : 1);
	u32 page = page_number(m, at % level_size(m->m, 2) / SZ_4K);

	if (block >= PROGRAM_BLOCKS || page >= PROGRAM_INDICES)
		return WHERE_UNKNOWN;
	*frame = &m->frame[PROGRAM_TABLES + block * 4 + page];
	(*frame)->reached = true; /* whoever asks does it for an access or a walk */
	return WHERE_FRAME;
}

bool model_in_alias(const struct model *m, gpa_t gpa)
{
	return m->alias_kind && gpa >= m->alias->gpa && gpa - m->alias->gpa < m->alias->size;
}

enum where model_where(struct model *m, gpa_t gpa, struct frame **frame)
{
	u64 at;

	if (gpa < VM_SYSTEM_SIZE) {
		at = (gpa - m->tables) / SZ_4K;
		if (gpa < m->tables || at >= PROGRAM_TABLES)
			return WHERE_UNKNOWN;
		*frame = &m->frame[at];
		return WHERE_FRAME;
	}
	if (m->slot_there && gpa >= m->mem_gpa && gpa - m->mem_gpa < MEM_SIZE)
		return data_frame(m, gpa - m->mem_gpa, frame);
	if (model_in_alias(m, gpa)) {
		at = gpa - m->alias->gpa + ((u8 *)m->alias->hva - (u8 *)m->vm->mem->hva);
		return data_frame(m, at, frame);
	}
	if (gpa >= RO_GPA && gpa < RO_GPA + PROGRAM_RO_FRAMES * SZ_4K) {
		*frame = &m->frame[PROGRAM_TABLES + PROGRAM_FRAMES + (gpa - RO_GPA) / SZ_4K];
		return WHERE_FRAME;
	}
	if (m->annex && gpa >= ANNEX_GPA && gpa - ANNEX_GPA < MEM_SIZE)
		return WHERE_UNKNOWN;
	/* What processors and hypervisors have below 4 GiB: APICs, a TSS. */
	if (gpa >= 0xfec00000 && gpa < BIT(32))
		return WHERE_UNKNOWN;
	return WHERE_HOLE;
}

bool model_was_mmio(struct model *m, gpa_t gpa, u64 **word, u64 *bit)
{
	bool away = gpa >= AWAY_GPA;
	u64 page = (gpa - (away ? AWAY_GPA : HOME_GPA)) / SZ_4K;

	if (gpa < HOME_GPA || page >= MEM_SIZE / SZ_4K)
		return false;
	*word = &m->was_mmio[away][page / 64];
	*bit = 1ull << page % 64;
	return true;
}

u32 cell_offset(const struct model *m, int cell)
{
	return cell == DATA_CELL ? DATA_AT : m->index[cell] * m->m->pte_size;
}

int model_cell(const struct model *m, const struct frame *f, gpa_t gpa)
{
	u32 at = gpa % SZ_4K;

	(void)f;
	for (int i = 0; i < NR_CELLS; i++)
		if (at == cell_offset(m, i))
			return i;
	return -1;
}

u64 cell_mask(const struct model *m, int cell)
{
	return m->m->pte_size == 8 || cell == DATA_CELL ? ~0ull : 0xffffffff;
}

u32 tail_shift(const struct model *m)
{
	return 8 * m->m->pte_size - 16;
}

u64 model_load(const struct model *m, const struct frame *f, int cell)
{
	const u8 *at = f->hva + cell_offset(m, cell);

	return cell_mask(m, cell) == ~0ull ? *(volatile u64 *)at : *(volatile u32 *)at;
}

void model_touch(const struct model *m, struct frame *f)
{
	if ((f->is_table ? m->log_tables : m->logging) && !f->read_only)
		f->dirty = true;
}

void model_store(struct model *m, struct frame *f, int cell, u64 value)
{
	model_store_unlogged(m, f, cell, value);
	model_touch(m, f);
}

u64 model_set_ahead(const struct model *m, int cell, u64 value)
{
	return m->speculates && cell != DATA_CELL && (value & PTE_P) ? PTE_A & ~value : 0;
}

void model_store_unlogged(struct model *m, struct frame *f, int cell, u64 value)
{
	struct cell *c = &f->cell[cell];

	for (u32 i = 0; cell != DATA_CELL && i < m->vm->nr_vcpus; i++)
		oracle_stored(m->vcpu[i].history, f->gpa + cell_offset(m, cell), c->value);
	c->value = value & cell_mask(m, cell);
	c->may = model_set_ahead(m, cell, c->value);
}

u64 model_entry(const struct model *m, const struct entry_spec *e)
{
	const struct frame *data = &m->frame[PROGRAM_TABLES];
	u64 bits = e->bits;
	gpa_t gpa = 0;

	switch (e->target) {
	case TARGET_RAW:
		break;
	case TARGET_TABLE:
		gpa = m->frame[e->number].gpa;
		break;
	case TARGET_FRAME:
		gpa = data[e->number].gpa - m->mem_gpa + HOME_GPA;
		break;
	case TARGET_AWAY:
		gpa = data[e->number].gpa - m->mem_gpa + AWAY_GPA;
		break;
	case TARGET_BLOCK:
		gpa = (data[e->number * 4].gpa - m->mem_gpa + HOME_GPA) &
		      ~(level_size(m->m, 2) - 1);
		break;
	case TARGET_GIANT:
		gpa = HOME_GPA;
		break;
	case TARGET_ALIAS:
		gpa = data[e->number].gpa - m->mem_gpa + ALIAS_GPA;
		break;
	case TARGET_ALIAS_BLOCK:
		gpa = (data[e->number * 4].gpa - m->mem_gpa + ALIAS_GPA) &
		      ~(level_size(m->m, 2) - 1);
		break;
	case TARGET_HOLE:
		gpa = HOLE_GPA + e->number * SZ_4K;
		break;
	case TARGET_RO:
		gpa = RO_GPA + e->number * SZ_4K;
		break;
	}
	/* Bits 62:52 are reserved in PAE's entries; there keys would be nothing but that. */
	if (e->target != TARGET_RAW && !m->m->long_mode)
		bits &= ~(u64)PTE_PKEY(15);
	return (gpa | bits) & (m->m->pte_size == 8 ? ~0ull : 0xffffffff);
}

u64 mmio_value(gpa_t gpa, u32 size)
{
	u64 v = (gpa + 1) * 0x9e3779b97f4a7c15ull;

	return size == 8 ? v : v & ((1ull << (8 * size)) - 1);
}

/* --- a batch ------------------------------------------------------------------------- */

void model_wrong(struct model *m, u32 step, const char *fmt, ...)
{
	va_list ap;

	if (m->res->wrong)
		return;
	m->res->wrong = true;
	m->res->step = step;
	va_start(ap, fmt);
	vsnprintf(m->res->text, sizeof(m->res->text), fmt, ap);
	va_end(ap);
}

struct expect *model_expect(struct model *m, struct agent_op op)
{
	struct expect *e = &m->expect[m->nr++];

	op_add_op(m->current->v, op);
	*e = (struct expect){
		.step = m->step, .taken = m->taken, .part = m->part, .out = &m->pool[m->pool_used]};
	return e;
}

static const struct mmio_write *mmio_write_of(const struct model *m, u32 op)
{
	for (u32 i = 0; i < m->nr_mmio_writes; i++)
		if (m->mmio_write[i].op == op)
			return &m->mmio_write[i];
	return NULL;
}

static bool is_allowed(const struct expect *e, const struct outcome *o,
		       const struct agent_result *res, const struct mmio_write *w)
{
	if (o->verdict == ORACLE_PF)
		return res->status == AGENT_FAULT && res->vector == PF_VECTOR &&
		       res->error == o->error && res->cr2 == o->cr2 && !w;
	if (res->status != AGENT_OK)
		return false;
	if (e->is_read)
		return (res->value & o->mask) == (o->value & o->mask) && !w;
	if (!o->mmio || !w)
		return !o->mmio && !w;
	return w->gpa == o->gpa && w->value == e->stored;
}

/* The step's line, and those of what it stands for. */
static const char *line_of(const struct model *m, const struct expect *e, char *line, size_t size)
{
	const struct step *s = &m->p->steps[e->taken];
	struct step part;
	size_t n;

	step_text(m->p, &m->p->steps[e->step], line, size);
	n = strlen(line);
	if (e->taken != e->step) {
		n += snprintf(line + n, size - n, ": ");
		step_text(m->p, s, line + n, size - n);
		n = strlen(line);
	}
	if (step_has_parts(s) && step_part(m->p, s, e->part, &part)) {
		n += snprintf(line + n, size - n, ": ");
		step_text(m->p, &part, line + n, size - n);
	}
	return line;
}

static void describe_wrong(struct model *m, const struct expect *e, const struct agent_result *res,
			   const struct mmio_write *w)
{
	char line[128], got[128], text[1024];
	size_t n = 0;
	u32 i;

	n += snprintf(text + n, sizeof(text) - n, "step %u: %s\n", e->step + 1,
		      line_of(m, e, line, sizeof(line)));
	for (i = 0; i < e->nr && n < sizeof(text); i++) {
		const struct outcome *o = &e->out[i];

		if (o->verdict == ORACLE_PF)
			n += snprintf(text + n, sizeof(text) - n,
				      "  allowed:  #PF error %#lx (%s) cr2 %#lx\n", o->error,
				      pferr_text(o->error, got, sizeof(got)), o->cr2);
		else
			n += snprintf(text + n, sizeof(text) - n,
				      "  allowed:  ok, at gpa %#lx%s, value %#lx & %#lx\n", o->gpa,
				      o->mmio ? " (MMIO)" : "", o->value, o->mask);
	}
	if (n < sizeof(text))
		n += snprintf(text + n, sizeof(text) - n, "  got:      %s",
			      result_text(res, got, sizeof(got)));
	if (w && n < sizeof(text))
		n += snprintf(text + n, sizeof(text) - n, ", MMIO write of %#lx at gpa %#lx",
			      w->value, w->gpa);
	model_wrong(m, e->step, "%s", text);
}

/* @which of the allowed outcomes came. */
static void note_behaviour(const struct model *m, const struct expect *e, u32 which)
{
	const struct step *s = &m->p->steps[e->step];
	const struct outcome *o = &e->out[which];
	u64 key = s->kind;

	key = key * PM_NONE + m->m->id;
	key = key << 3 | (s->flags & (STEP_USER | STEP_AC | STEP_NOFLUSH));
	key = key << 1 | (s->place == PLACE_CROSS);
	key = key << 2 | (e->nr > 3 ? 3 : e->nr);
	key = key << 1 | !!which;
	key = key << 1 | (e->nr && o->mmio);
	key = key << 16 | (e->nr && o->verdict == ORACLE_PF ? o->error : 0);
	m->o->behaviours[key * 0x9e3779b97f4a7c15ull >> (64 - MODEL_BEHAVIOURS_SHIFT)] = 1;
}

static void judge_one(struct model *m, u32 i)
{
	const struct expect *e = &m->expect[i];
	struct agent_result res = m->current->v->mailbox->results[i];
	const struct mmio_write *w = m->nr_mmio_writes ? mmio_write_of(m, i) : NULL;
	char text[128], line[128];
	u32 k;

	if (m->rsvd_without_p)
		res = quirk_fix_rsvd(res);
	m->res->judged++;
	if (m->o->verbose)
		printf("# %u: %s: %s\n", e->step + 1, line_of(m, e, line, sizeof(line)),
		       result_text(&res, text, sizeof(text)));
	if (!e->nr) {
		if (res.status != AGENT_OK)
			describe_wrong(m, e, &res, w);
		return;
	}
	for (k = 0; k < e->nr; k++) {
		if (!is_allowed(e, &e->out[k], &res, w))
			continue;
		if (m->o->behaviours)
			note_behaviour(m, e, k);
		return;
	}
	describe_wrong(m, e, &res, w);
}

/* Which of the places that the last store may have gone to did it go to? */
static void settle(struct model *m)
{
	struct open_store *s = &m->open;
	struct agent_result *res = &m->current->v->mailbox->results[s->index];
	u64 width = m->width == 8 ? ~0ull : 0xffffffff;

	s->open = false;
	if (res->status != AGENT_OK || mmio_write_of(m, s->index))
		return;
	if (s->kind == STEP_CMPXCHG && (res->value & width) != (s->compare & width))
		return;
	if (s->kind == STEP_XADD)
		s->value += res->value;
	for (u32 i = 0; i < s->nr; i++) {
		struct cell *c = &s->frame[i]->cell[s->cell[i]];
		u64 now = model_load(m, s->frame[i], s->cell[i]);
		u64 want = (c->value & ~width) | (s->value & width);

		if (((now ^ c->value) & ~c->may) && now == (want & cell_mask(m, s->cell[i]))) {
			if (s->unlogged[i])
				model_store_unlogged(m, s->frame[i], s->cell[i], want);
			else
				model_store(m, s->frame[i], s->cell[i], want);
			return;
		}
	}
	/* It's what was there before but for A and D, which may be gone: the entry counts as changed. */
	for (u32 i = 0; i < s->nr; i++) {
		u64 now = model_load(m, s->frame[i], s->cell[i]);

		if (s->nr == 1 || !((now ^ s->value) & width & cell_mask(m, s->cell[i])))
			model_store_unlogged(m, s->frame[i], s->cell[i], now);
	}
	if (s->nr == 1 && !s->unlogged[0])
		model_touch(m, s->frame[0]);
}

/* Every word of every frame; what had been left open of A and D is known then. */
static void check_memory(struct model *m, u32 step)
{
	for (u32 i = 0; i < NR_FRAMES; i++) {
		struct frame *f = &m->frame[i];
		u16 head = *(volatile u16 *)f->hva;

		for (int k = 0; k < NR_CELLS; k++) {
			struct cell *c = &f->cell[k];
			u64 now = model_load(m, f, k);

			if ((now ^ c->value) & ~c->may)
				model_wrong(
					m, step,
					"after the batch that ends with step %u: gpa %#lx holds %#lx, not %#lx (A or D "
					"that may be set in addition: %#lx)",
					step + 1, f->gpa + cell_offset(m, k), now, c->value,
					c->may);
			c->value = now;
			c->may = model_set_ahead(m, k, now);
		}
		/* As an entry it belongs to no place that programs use, but to one that may be walked ahead. */
		if (m->speculates && (f->head & PTE_P))
			f->head |= head & PTE_A;
		if (!f->is_table && head != f->head)
			model_wrong(
				m, step,
				"after the batch that ends with step %u: the frame at gpa %#lx begins with %#x, not %#x",
				step + 1, f->gpa, head, f->head);
	}
}

bool model_flush_batch(struct model *m)
{
	u32 i, step = m->step;

	if (!m->nr)
		return !m->res->wrong;
	step = m->expect[m->nr - 1].step;
	m->nr_mmio_writes = 0;
	vcpu_exec(m->current->v);
	for (i = 0; i < m->nr && !m->res->wrong; i++)
		judge_one(m, i);
	if (m->open.open)
		settle(m);
	if (!m->res->wrong)
		check_memory(m, step);
	op_clear(m->current->v);
	m->nr = 0;
	m->pool_used = 0;
	m->open.open = false;
	return !m->res->wrong;
}

void model_run(const struct program *p, const struct model_options *o, struct model_result *res)
{
	struct model *m = calloc(1, sizeof(*m));
	u32 i;

	*res = (struct model_result){0};
	if (!m)
		abort();
	m->p = p;
	m->o = o;
	m->res = res;
	model_set_up(m);
	for (i = 0; i < p->nr_steps && !res->wrong; i++) {
		m->step = i;
		if (p->steps[i].kind != STEP_TOGETHER)
			model_take(m, i);
		else if (model_flush_batch(m))
			i = model_together(m, i + 1) - 1;
	}
	if (!res->wrong && model_flush_batch(m))
		model_dirty_check(m);
	model_race_end(m);
	for (i = 0; i < p->nr_vcpus; i++)
		oracle_history_free(m->vcpu[i].history);
	vm_destroy(m->vm);
	free(m);
}

void expect_program(const char *text)
{
	struct model_options o = {0};
	struct model_result res;
	struct program p;
	char error[512];

	if (!program_parse(&p, "program", text, strlen(text), error, sizeof(error)))
		test_error("%s", error);
	test_count_check();
	model_run(&p, &o, &res);
	if (res.wrong)
		test_fail("%s", res.text);
	program_free(&p);
}
