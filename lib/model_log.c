// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty logs in all their kinds: of each frame the model knows whether it was certainly written since it was last taken out
 * of the log, and then the log must have it.
 */
#include "engine.h"
#include "model_priv.h"
#include "test.h"

#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

void model_log_set_up(struct model *m)
{
	int manual = kvm_cap(NULL, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	m->log = m->p->log;
	if ((m->log == LOG_MANUAL && !manual) ||
	    (m->log == LOG_INITIALLY_SET && !(manual & KVM_DIRTY_LOG_INITIALLY_SET)) ||
	    (m->log == LOG_RING && !kvm_cap(NULL, KVM_CAP_DIRTY_LOG_RING) &&
	     !kvm_cap(NULL, KVM_CAP_DIRTY_LOG_RING_ACQ_REL)))
		m->log = LOG_BITMAP;
}

/* The slot's frames: [@from, @end). */
static void frames_of(bool tables, u32 *from, u32 *end)
{
	*from = tables ? 0 : PROGRAM_TABLES;
	*end = tables ? PROGRAM_TABLES : PROGRAM_TABLES + PROGRAM_FRAMES;
}

void model_forget_dirty(struct model *m, bool tables)
{
	u32 i, end;

	/* A ring keeps its entries whatever becomes of the slot. */
	for (frames_of(tables, &i, &end); i < end; i++) {
		m->frame[i].dirty = m->frame[i].in_ring = false;
		m->frame[i].reached = m->log == LOG_RING;
	}
}

static struct memslot *slot_of(struct model *m, bool tables)
{
	return tables ? m->vm->system : m->vm->mem;
}

static u64 page_of(struct model *m, const struct frame *f)
{
	return (f->gpa - (f->is_table ? 0 : m->mem_gpa)) / SZ_4K;
}

static void lacks(struct model *m, u32 i, const char *what)
{
	const struct frame *f = &m->frame[i];

	model_wrong(m, m->step, "step %u: the dirty %s lacks %s %u at gpa %#lx, which was written",
		    m->step + 1, what, f->is_table ? "table" : "frame",
		    f->is_table ? i : i - PROGRAM_TABLES, f->gpa);
}

/* A frame is in the log: somebody must have come there. A read may have, where it maps the page writable. */
static void check_reached(struct model *m, u32 i)
{
	const struct frame *f = &m->frame[i];

	if (!f->is_table && !f->reached && !m->together)
		model_wrong(
			m, m->step,
			"step %u: frame %u at gpa %#lx is in the dirty log, though nobody used it",
			m->step + 1, i - PROGRAM_TABLES, f->gpa);
}

/* --- bitmaps ------------------------------------------------------------------------------ */

/* Fetches a slot's bitmap. What it marks is no longer in the log afterwards, unless that is done by hand. */
static void get_bitmap(struct model *m, bool tables, struct dirty_bitmap *b)
{
	u32 i, end;

	dirty_get(slot_of(m, tables), b);
	for (frames_of(tables, &i, &end); i < end; i++) {
		struct frame *f = &m->frame[i];

		m->res->judged++;
		if (f->dirty && !dirty_test(b, page_of(m, f)))
			lacks(m, i, "log");
		if (dirty_test(b, page_of(m, f)))
			check_reached(m, i);
		if (m->log == LOG_BITMAP) {
			f->taken |= dirty_test(b, page_of(m, f));
			f->dirty = f->reached = false;
		}
	}
}

static void take_bitmap(struct model *m, bool tables, bool clear)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(slot_of(m, tables));
	u32 i, end;

	get_bitmap(m, tables, &b);
	if (clear && m->log != LOG_BITMAP) {
		dirty_clear(slot_of(m, tables), &b, 0, b.pages);
		for (frames_of(tables, &i, &end); i < end; i++)
			m->frame[i].taken |= dirty_test(&b, page_of(m, &m->frame[i]));
		model_forget_dirty(m, tables);
	}
	dirty_bitmap_free(&b);
}

/* The log was cleared just now: another look must find nothing. */
static void check_clean(struct model *m, bool tables)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(slot_of(m, tables));

	dirty_get(slot_of(m, tables), &b);
	if (dirty_count(&b))
		model_wrong(m, m->step,
			    "step %u: page %lu is in the dirty log again, though nothing ran",
			    m->step + 1, dirty_first(&b));
	dirty_bitmap_free(&b);
}

/* Clears frames whose bits are in @mask, in the smallest range that has them all. */
static bool clear_some(struct model *m, u32 mask)
{
	struct dirty_bitmap b, some;
	u64 first = ~0ull, last = 0, page;

	if (!m->logging || (m->log != LOG_MANUAL && m->log != LOG_INITIALLY_SET) ||
	    !(mask & 0xffff))
		return false;
	b = dirty_bitmap_alloc(m->vm->mem);
	some = dirty_bitmap_alloc(m->vm->mem);
	get_bitmap(m, false, &b);
	for (u32 i = 0; i < PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[PROGRAM_TABLES + i];

		page = page_of(m, f);
		if (!(mask >> i & 1))
			continue;
		if (first == ~0ull)
			first = page & ~63ull;
		last = page | 63;
		some.bits[page / 64] |= b.bits[page / 64] & 1ull << page % 64;
		f->taken |= dirty_test(&b, page);
		f->dirty = f->reached = false;
	}
	dirty_clear(m->vm->mem, &some, first, last + 1 - first);
	dirty_bitmap_free(&some);
	dirty_bitmap_free(&b);
	return true;
}

/* --- rings -------------------------------------------------------------------------------- */

static struct frame *frame_of_entry(struct model *m, const struct dirty_entry *e)
{
	u32 i, end;

	if (e->slot > 1)
		return NULL;
	for (frames_of(!e->slot, &i, &end); i < end; i++)
		if (page_of(m, &m->frame[i]) == e->page)
			return &m->frame[i];
	return NULL;
}

/* Takes what vCPUs' rings have. How many entries. */
static u32 collect_ring(struct model *m)
{
	struct dirty_entry e[RING_ENTRIES];
	u32 n, i, k, all = 0;

	for (i = 0; i < m->vm->nr_vcpus; i++) {
		n = dirty_ring_collect(m->vm->vcpu[i], e, RING_ENTRIES);
		for (k = 0; k < n; k++) {
			struct frame *f = frame_of_entry(m, &e[k]);

			if (f)
				f->in_ring = true;
			if (e[k].slot == ANNEX_SLOT && e[k].page < 64 * ARRAY_LEN(m->annex_seen))
				m->annex_seen[e[k].page / 64] |= 1ull << e[k].page % 64;
		}
		all += n;
	}
	return all;
}

/*
 * In the midst of a batch, so what is taken may be written again: it counts as collected until the next
 * step that looks.
 */
bool model_ring_full(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct model *m = arg;

	(void)v;
	if (run->exit_reason != KVM_EXIT_DIRTY_RING_FULL || m->log != LOG_RING)
		return false;
	collect_ring(m);
	vm_dirty_ring_reset(m->vm);
	return true;
}

static void take_ring(struct model *m, bool clear)
{
	collect_ring(m);
	for (u32 i = 0; i < PROGRAM_TABLES + PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[i];

		m->res->judged++;
		if (f->dirty && !f->in_ring)
			lacks(m, i, "ring");
		if (f->in_ring)
			check_reached(m, i);
	}
	if (!clear)
		return;
	vm_dirty_ring_reset(m->vm);
	for (u32 i = 0; i < PROGRAM_TABLES + PROGRAM_FRAMES; i++)
		m->frame[i].taken |= m->frame[i].in_ring;
	model_forget_dirty(m, false);
	model_forget_dirty(m, true);
	for (u32 i = 0; i < PROGRAM_TABLES + PROGRAM_FRAMES; i++)
		m->frame[i].reached = false;
}

void model_take_ring(struct model *m)
{
	take_ring(m, true);
}

/* --- steps --------------------------------------------------------------------------------- */

static void take(struct model *m, bool clear)
{
	if (m->log == LOG_RING) {
		take_ring(m, clear);
		return;
	}
	if (m->logging)
		take_bitmap(m, false, clear);
	if (m->log_tables)
		take_bitmap(m, true, clear);
}

void model_dirty_check(struct model *m)
{
	if (m->logging || m->log_tables)
		take(m, true);
}

static bool switch_log(struct model *m, bool tables, bool on)
{
	bool *logging = tables ? &m->log_tables : &m->logging;
	u32 i, end;

	if ((!tables && !m->slot_there) || *logging == on)
		return false;
	slot_set_flags(slot_of(m, tables), on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	*logging = on;
	model_forget_dirty(m, tables);
	for (frames_of(tables, &i, &end); i < end && on && m->log == LOG_INITIALLY_SET; i++)
		m->frame[i].dirty = m->frame[i].reached = true;
	for (frames_of(tables, &i, &end); i < end && on; i++)
		m->frame[i].taken = true;
	return true;
}

bool model_log_step(struct model *m, const struct step *s)
{
	bool ring = m->log == LOG_RING;

	switch (s->kind) {
	case STEP_LOG:
		return switch_log(m, false, s->number & 1);
	case STEP_LOG_TABLES:
		return switch_log(m, true, s->number & 1);
	case STEP_CLEAR_LOG:
		return clear_some(m, s->value);
	default:
		break;
	}
	if (!m->logging && !m->log_tables)
		return false;
	if (s->kind == STEP_DIRTY_LOOK && m->log == LOG_BITMAP)
		return false;
	take(m, s->kind != STEP_DIRTY_LOOK);
	if (s->kind != STEP_DIRTY_CLEAR || m->together)
		return true;
	if (ring && collect_ring(m))
		model_wrong(m, m->step, "step %u: a ring has entries again, though nothing ran",
			    m->step + 1);
	if (!ring && m->logging)
		check_clean(m, false);
	if (!ring && m->log_tables)
		check_clean(m, true);
	return true;
}
