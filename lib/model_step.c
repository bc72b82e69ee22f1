// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's accesses: what the manuals allow each to come to, and what the model's memory is afterwards.
 */
#include <string.h>

#include "engine.h"
#include "model_priv.h"
#include "quirks.h"
#include "test.h"

gva_t model_address(const struct model *m, const struct step *s)
{
	gva_t gva = 0;

	for (int i = 0; i < m->m->levels; i++) {
		int level = m->m->levels - i;
		u64 index = m->index[(s->path[i] - 1) % PROGRAM_INDICES];

		if (m->m->id == PM_PAE && level == 3)
			index = 1 + (s->path[i] - 1) % 3;
		gva |= index << m->m->level[level].shift;
	}
	/* Canonical: the last entry of the top table is the upper half's. */
	if (m->m->long_mode && gva >> (m->m->gva_bits - 1) & 1)
		gva |= ~0ull << m->m->gva_bits;
	return gva;
}

#define PSE36_ABOVE_64G 0x1e0000u /* bits 39:36 of the address are bits 20:17 of the entry */

/* KVM's shadow MMU reserves what leads above 64 GiB in the entry of a 4 MiB page: sizes.pse36_above_64g. */
static bool pse36_refused(const struct model *m, u64 entry)
{
	return m->kernel && m->shadow && m->m->id == PM_32 && (entry & PTE_P) && (entry & PTE_PS) &&
	       (entry & PSE36_ABOVE_64G);
}

/* The oracle reads an entry. */
static bool read_entry(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	struct model *m = arg;
	struct frame *f;
	int cell;

	*entry = 0;
	if (model_where(m, gpa, &f) != WHERE_FRAME || (f->read_only && !m->shadow) ||
	    model_in_alias(m, gpa)) {
		/*
		 * What a table does that is in MMIO is no matter of paging, nor what one does that a processor
		 * can't mark; a shadow MMU goes by it as it is. What entries have held is known by
		 * their own slot's addresses.
		 */
		m->bad = true;
		return false;
	}
	cell = model_cell(m, f, gpa);
	if (cell < 0 || cell == DATA_CELL) {
		/*
		 * The next page's in a crossing access: 0, or what maps slot 0. But the first of a frame
		 * of data is what was stored across its edge, perhaps in this very batch.
		 */
		if (!f->is_table && !(gpa % SZ_4K))
			m->bad = true;
		memcpy(entry, f->hva + gpa % SZ_4K, size);
		return true;
	}
	f->walked = true;
	*entry = f->cell[cell].value;
	m->large_seen |= (*entry & PTE_P) && (*entry & PTE_PS);
	m->bad |= pse36_refused(m, *entry);
	if (m->nr_touched == MAX_TOUCHED) {
		m->bad = true;
		return true;
	}
	m->touched[m->nr_touched].frame = f;
	m->touched[m->nr_touched++].cell = cell;
	return true;
}

u32 model_judge(struct model *m, const struct step *s, gva_t gva, enum oracle_kind kind,
		struct oracle_outcome *out)
{
	struct model_vcpu *v = m->current;
	struct oracle_regs regs = v->regs;
	bool overflow;
	u32 nr;

	regs.ac = (s->flags & STEP_AC) && !(s->flags & STEP_USER);
	m->nr_touched = 0;
	m->bad = false;
	nr = oracle_allowed(v->history, &regs,
			    (struct oracle_access){gva, kind, s->flags & STEP_USER}, read_entry, m,
			    out, &overflow);
	/* By an entry as it was. */
	for (u32 i = 0; i < nr && m->kernel && m->shadow && m->m->id == PM_32; i++)
		m->bad |= out[i].verdict == ORACLE_OK && out[i].gpa >> 36;
	return m->bad || overflow || nr > MAX_OUTCOMES ? 0 : nr;
}

void model_mark(struct model *m, const struct oracle_outcome *out, bool write, bool certain)
{
	bool back = oracle_looked_back(m->current->history);
	u32 i;

	/* QEMU 7.2's TCG marks an entry before it finds a reserved bit set. */
	if (out->verdict == ORACLE_PF && (out->error & PFERR_RSVD) && m->rsvd_without_p)
		certain = false;
	if (back || !certain) {
		for (i = 0; i < m->nr_touched; i++) {
			struct cell *c = &m->touched[i].frame->cell[m->touched[i].cell];

			if ((c->value & PTE_P) && !m->touched[i].frame->read_only)
				c->may |= (PTE_A | (write ? PTE_D : 0)) & ~c->value;
		}
		return;
	}
	for (i = 0; i < out->nr_entries; i++) {
		struct frame *f;
		struct cell *c;
		int cell;

		if (model_where(m, out->entry[i].gpa, &f) != WHERE_FRAME || f->read_only)
			continue;
		cell = model_cell(m, f, out->entry[i].gpa);
		if (cell < 0)
			continue;
		c = &f->cell[cell];
		if (out->entry[i].must_set & ~c->value & ~c->may &&
		    !model_in_alias(m, out->entry[i].gpa))
			model_touch(m, f);
		c->value |= out->entry[i].must_set;
		c->may |= out->entry[i].may_set;
		c->may &= ~c->value;
	}
}

static u64 width_mask(const struct model *m)
{
	return m->width == 8 ? ~0ull : 0xffffffff;
}

/*
 * Linux 6.1's shadow MMU renews an MMIO translation when it synchronises the table, though a memslot
 * has come there since: shadow/mmio.slot_before_sync. True of an access that may meet one.
 */
static bool renewed_mmio(struct model *m, gpa_t gpa)
{
	u64 *word, bit;

	return m->kernel && m->shadow && model_was_mmio(m, gpa, &word, &bit) && (*word & bit);
}

/* What an access to a device leaves behind. */
static void note_mmio(struct model *m, gpa_t gpa)
{
	u64 *word, bit;

	if (model_was_mmio(m, gpa, &word, &bit))
		*word |= bit;
}

/*
 * KVM watches a page table by its guest-physical address, and does not see what is stored by way of another slot over the
 * same memory.
 */
static bool hidden_store(const struct model *m, const struct frame *f, u32 kind, gpa_t gpa)
{
	return f->walked && kind != STEP_READ && kind != STEP_EXEC && model_in_alias(m, gpa);
}

/* Fills what is known of the value at @o->gpa. False: no manual tells what the access does. */
static bool fill_outcome(struct model *m, const struct step *s, struct outcome *o)
{
	struct frame *f = NULL;
	int cell;

	switch (model_where(m, o->gpa, &f)) {
	case WHERE_UNKNOWN:
		return false;
	case WHERE_HOLE:
		if (m->machine)
			return false;
		o->mmio = true;
		o->value = mmio_value(o->gpa, m->width);
		o->mask = width_mask(m);
		note_mmio(m, o->gpa);
		return s->kind == STEP_READ || s->kind == STEP_WRITE;
	case WHERE_FRAME:
		break;
	}
	if (renewed_mmio(m, o->gpa))
		return false;
	if (s->kind == STEP_EXEC) {
		o->value = f->number;
		o->mask = 0xffffffff;
		return f->function && !f->is_table;
	}
	if (f->read_only && s->kind != STEP_READ) {
		o->mmio = true;
		return s->kind == STEP_WRITE;
	}
	if (hidden_store(m, f, s->kind, o->gpa))
		return false;
	cell = model_cell(m, f, o->gpa);
	if (cell < 0)
		return false;
	o->value = f->cell[cell].value;
	o->mask = ~f->cell[cell].may & width_mask(m);
	return true;
}

/*
 * The store of an access whose one outcome is known, or that is left open until the batch has run.
 */
static void store(struct model *m, const struct step *s, const struct expect *e, u64 value,
		  u64 compare)
{
	struct open_store *open = &m->open;
	u64 width = width_mask(m);
	bool certain = e->nr == 1;
	u32 k;

	if (s->kind == STEP_READ || s->kind == STEP_EXEC || s->kind == STEP_CMPXCHG_WRONG)
		return;
	*open = (struct open_store){
		.kind = s->kind, .index = m->nr - 1, .value = value, .compare = compare};
	for (u32 i = 0; i < e->nr; i++) {
		const struct outcome *o = &e->out[i];
		struct frame *f;

		if (o->verdict != ORACLE_OK || o->mmio || model_where(m, o->gpa, &f) != WHERE_FRAME)
			continue;
		open->frame[open->nr] = f;
		open->cell[open->nr] = model_cell(m, f, o->gpa);
		/* Two ways to one place: it can't be told which one was taken. */
		for (k = 0; k < open->nr; k++)
			open->unlogged[k] |= open->frame[k] == f && model_in_alias(m, o->gpa);
		open->unlogged[open->nr] = model_in_alias(m, o->gpa);
		if (s->kind != STEP_WRITE && (f->cell[open->cell[open->nr]].may & width))
			certain = false;
		open->nr++;
	}
	if (!open->nr)
		return;
	if (certain) {
		struct cell *c = &open->frame[0]->cell[open->cell[0]];

		if (s->kind == STEP_XADD)
			value += c->value;
		value = (c->value & ~width) | (value & width);
		if (open->unlogged[0])
			model_store_unlogged(m, open->frame[0], open->cell[0], value);
		else
			model_store(m, open->frame[0], open->cell[0], value);
		return;
	}
	open->open = true;
}

static const struct {
	u16 agent;
	enum oracle_kind oracle;
	bool is_read;
} kinds[] = {
	[STEP_READ] = {AGENT_READ, ORACLE_READ, true},
	[STEP_WRITE] = {AGENT_WRITE, ORACLE_WRITE, false},
	[STEP_EXEC] = {AGENT_EXEC, ORACLE_EXEC, true},
	[STEP_CMPXCHG] = {AGENT_CMPXCHG, ORACLE_WRITE, true},
	[STEP_CMPXCHG_WRONG] = {AGENT_CMPXCHG, ORACLE_WRITE, true},
	[STEP_XADD] = {AGENT_XADD, ORACLE_WRITE, true},
};

/*
 * A shadow MMU makes a user page that is written with CR0.WP=0 a kernel page, and loses SMAP's
 * protection of it: mmu/smep_smap.ac_write_without_wp.
 */
static bool loses_smap(const struct model *m, const struct step *s)
{
	const struct oracle_regs *r = &m->current->regs;

	return m->shadow && !(r->cr0 & CR0_WP) && (r->cr4 & CR4_SMAP) &&
	       kinds[s->kind].oracle == ORACLE_WRITE && (s->flags & STEP_AC);
}

/* Whether the access that was judged last reaches an entry of its own way there. */
static bool is_own_entry(struct model *m, const struct outcome *o)
{
	struct frame *f;
	int cell;

	if (model_where(m, o->gpa, &f) != WHERE_FRAME)
		return false;
	cell = model_cell(m, f, o->gpa);
	for (u32 i = 0; i < m->nr_touched; i++)
		if (m->touched[i].frame == f && m->touched[i].cell == cell)
			return true;
	return false;
}

/*
 * Exchanges that the environment gets wrong. Linux 6.1's emulator goes round for ever on one by
 * a stale MMIO translation: it reads the device and compares with memory (docs/fuzzing.md). For TCG
 * with one thread an exchange is a load and a store, which is the same only where both are made and
 * the walk for the store does not change what was loaded.
 */
static bool wrong_exchange(struct model *m, const struct step *s, const struct outcome *o, u32 nr)
{
	if (s->kind < STEP_CMPXCHG)
		return false;
	if (m->kernel && m->shadow && oracle_looked_back(m->current->history))
		return true;
	return m->rmw_reads_first &&
	       (s->kind == STEP_CMPXCHG_WRONG || nr > 1 || o->verdict != ORACLE_OK ||
		o->mask != width_mask(m) || is_own_entry(m, o));
}

u16 model_agent_flags(const struct step *s)
{
	return (s->flags & STEP_USER ? AGENT_USER : 0) | (s->flags & STEP_AC ? AGENT_AC : 0);
}

/* What is in none of the places that the access may reach, beginning with @value. */
static u64 value_of_none(const struct outcome *o, u32 nr, u64 value)
{
	u64 flip = PTE_SW0;
	u32 i = 0;

	while (i < nr && flip < BIT(31)) {
		if (o[i].verdict != ORACLE_OK || o[i].mmio || ((o[i].value ^ value) & o[i].mask)) {
			i++;
			continue;
		}
		flip <<= 1;
		value ^= flip;
		i = 0;
	}
	return value;
}

static bool access_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	gva_t gva = model_address(m, s) +
		    (s->kind == STEP_EXEC ? FN_AT : cell_offset(m, s->place % NR_CELLS));
	struct outcome *o = &m->pool[m->pool_used];
	u64 value = model_entry(m, &s->entry), compare = 0;
	bool write = kinds[s->kind].oracle == ORACLE_WRITE, certain = true;
	struct frame *f;
	struct expect *e;
	u32 nr = model_judge(m, s, gva, kinds[s->kind].oracle, out), i;

	if (!nr || loses_smap(m, s))
		return false;
	for (i = 0; i < nr; i++) {
		o[i] = (struct outcome){.verdict = out[i].verdict,
					.error = out[i].error,
					.gpa = out[i].gpa,
					.cr2 = gva};
		if (out[i].verdict == ORACLE_OK && !fill_outcome(m, s, &o[i]))
			return false;
	}
	if (wrong_exchange(m, s, o, nr))
		return false;
	/*
	 * KVM's emulator takes the address of an MMIO page from the last access there, and does not
	 * come by the entries.
	 */
	for (i = 0; i < nr && m->kernel && m->shadow; i++)
		certain &= !o[i].mmio;
	model_mark(m, &out[0], write, certain);
	/* Marking may have changed the very word. */
	for (i = 0; i < nr; i++)
		if (out[i].verdict == ORACLE_OK)
			fill_outcome(m, s, &o[i]);
	for (i = 0; i < nr; i++)
		if (out[i].verdict == ORACLE_OK && !o[i].mmio)
			compare = o[i].value;
	if (s->kind == STEP_CMPXCHG_WRONG)
		compare = value_of_none(o, nr, compare ^ PTE_SW0);
	value &= width_mask(m);
	compare &= width_mask(m);
	e = model_expect(m, (struct agent_op){
				    .kind = kinds[s->kind].agent,
				    .flags = model_agent_flags(s),
				    .size = s->kind == STEP_EXEC ? 0 : m->width,
				    .addr = gva,
				    .value = write && s->kind >= STEP_CMPXCHG &&
							     s->kind <= STEP_CMPXCHG_WRONG
						     ? compare
						     : value,
				    .arg = value,
			    });
	if (nr == 1 && o->verdict == ORACLE_OK && !o->mmio &&
	    model_where(m, o->gpa, &f) == WHERE_FRAME)
		f->young |= f->fresh;
	e->nr = nr;
	e->is_read = kinds[s->kind].is_read;
	e->stored = value;
	m->pool_used += nr;
	store(m, s, e, value, compare);
	return true;
}

bool model_may_race(struct model *m, const struct step *s, bool tables)
{
	static __thread struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	gva_t gva = model_address(m, s) +
		    (s->kind == STEP_EXEC ? FN_AT : cell_offset(m, s->place % NR_CELLS));
	u32 i, nr;

	if (s->kind != STEP_EXEC && s->place >= PLACE_CROSS)
		return false;
	nr = model_judge(m, s, gva, kinds[s->kind].oracle, out);
	if (!nr || loses_smap(m, s) || (s->kind == STEP_XADD && m->rmw_reads_first))
		return false;
	for (i = 0; i < m->nr_touched && tables; i++)
		if (!m->touched[i].frame->is_table)
			return false;
	for (i = 0; i < nr; i++) {
		struct outcome o = {.gpa = out[i].gpa};

		if (out[i].verdict == ORACLE_OK &&
		    (!fill_outcome(m, s, &o) || model_in_alias(m, o.gpa)))
			return false;
	}
	return true;
}

struct agent_op model_race_op(const struct model *m, const struct step *s, u64 *value)
{
	*value = model_entry(m, &s->entry) & width_mask(m);
	return (struct agent_op){
		.kind = kinds[s->kind].agent,
		.flags = model_agent_flags(s),
		.size = s->kind == STEP_EXEC ? 0 : m->width,
		.addr = model_address(m, s) +
			(s->kind == STEP_EXEC ? FN_AT : cell_offset(m, s->place % NR_CELLS)),
		.value = *value,
		.arg = *value,
	};
}

/* --- across the end of a page --------------------------------------------------------------- */

/* The data frame that an outcome reaches, or NULL where that is no matter for a crossing access. */
static struct frame *plain_frame(struct model *m, const struct oracle_outcome *o)
{
	struct frame *f;

	if (o->verdict != ORACLE_OK || model_where(m, o->gpa, &f) != WHERE_FRAME || f->is_table ||
	    f->read_only || renewed_mmio(m, o->gpa) || hidden_store(m, f, STEP_WRITE, o->gpa))
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
static bool crossing_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome first[ORACLE_MAX_OUTCOMES],
		second[ORACLE_MAX_OUTCOMES];
	gva_t gva = model_address(m, s) + SZ_4K - 2, next = gva + 2;
	enum oracle_kind kind = kinds[s->kind].oracle;
	bool write = kind == ORACLE_WRITE, certain;
	struct outcome *o = &m->pool[m->pool_used];
	u32 a = model_judge(m, s, gva, kind, first), b, i, k, n = 0;
	u64 value = model_entry(m, &s->entry) & 0xffffffff;
	struct expect *e;

	/* Not across the end of all addresses. */
	if (!a || s->kind > STEP_WRITE || loses_smap(m, s) || !(m->m->long_mode ? next : (u32)next))
		return false;
	b = model_judge(m, s, next, kind, second);
	if (!b || (write && (a > 1 || b > 1)))
		return false;
	/*
	 * An emulator has made the first half when it translates the second one: on the kernel that stays where the second
	 * page faults (docs/fuzzing.md), and it may change the second page's way.
	 */
	if (write && m->shadow &&
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
	e = model_expect(m, (struct agent_op){.kind = kinds[s->kind].agent,
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
static bool middle_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	u32 size = m->m->pte_size, half = 4 * size, at = cell_offset(m, 0) + size / 2;
	gva_t gva = model_address(m, s) + at;
	u64 value = model_entry(m, &s->entry), low, high;
	enum oracle_kind kind = kinds[s->kind].oracle;
	struct outcome *o = &m->pool[m->pool_used];
	struct frame *f = NULL;
	struct expect *e;

	/* A processor in 32-bit mode makes two accesses of eight bytes. */
	if (s->kind > STEP_WRITE || m->width != size || loses_smap(m, s) ||
	    model_judge(m, s, gva, kind, out) != 1)
		return false;
	o[0] = (struct outcome){.verdict = out[0].verdict,
				.error = out[0].error,
				.gpa = out[0].gpa,
				.cr2 = gva,
				.mask = width_mask(m)};
	if (o->verdict == ORACLE_OK && (model_where(m, o->gpa, &f) != WHERE_FRAME || f->read_only ||
					hidden_store(m, f, s->kind, o->gpa)))
		return false;
	model_mark(m, &out[0], kind == ORACLE_WRITE, true);
	value &= width_mask(m);
	if (f) {
		low = f->cell[0].value;
		high = f->cell[1].value;
		o->value = (low & width_mask(m)) >> half | high << half;
		o->mask = ~(f->cell[0].may >> half | f->cell[1].may << half) & width_mask(m);
	}
	e = model_expect(m, (struct agent_op){.kind = kinds[s->kind].agent,
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

bool model_access_step(struct model *m, const struct step *s)
{
	if (s->kind != STEP_EXEC && s->place == PLACE_MIDDLE)
		return middle_step(m, s);
	return s->kind != STEP_EXEC && s->place == PLACE_CROSS ? crossing_step(m, s)
							       : access_step(m, s);
}
