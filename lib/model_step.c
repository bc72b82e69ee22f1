// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's accesses: what the manuals allow each to come to, and what the model's memory is afterwards.
 */
#include <string.h>

#include "model_priv.h"

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

u64 model_width_mask(const struct model *m)
{
	return m->width == 8 ? ~0ull : 0xffffffff;
}

/*
 * Linux 6.1's shadow MMU renews an MMIO translation when it synchronises the table, though a memslot
 * has come there since: shadow/mmio.slot_before_sync. True of an access that may meet one.
 */
bool model_renewed_mmio(struct model *m, gpa_t gpa)
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
bool model_hidden_store(const struct model *m, const struct frame *f, u32 kind, gpa_t gpa)
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
		o->mask = model_width_mask(m);
		note_mmio(m, o->gpa);
		return s->kind == STEP_READ || s->kind == STEP_WRITE;
	case WHERE_FRAME:
		break;
	}
	if (model_renewed_mmio(m, o->gpa))
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
	if (model_hidden_store(m, f, s->kind, o->gpa))
		return false;
	cell = model_cell(m, f, o->gpa);
	if (cell < 0)
		return false;
	o->value = f->cell[cell].value;
	o->mask = ~f->cell[cell].may & model_width_mask(m);
	return true;
}

/*
 * The store of an access whose one outcome is known, or that is left open until the batch has run.
 */
static void store(struct model *m, const struct step *s, const struct expect *e, u64 value,
		  u64 compare)
{
	struct open_store *open = &m->open;
	u64 width = model_width_mask(m);
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
bool model_loses_smap(const struct model *m, const struct step *s)
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
		o->mask != model_width_mask(m) || is_own_entry(m, o));
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

	if (!nr || model_loses_smap(m, s))
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
	value &= model_width_mask(m);
	compare &= model_width_mask(m);
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
	if (!nr || model_loses_smap(m, s) || (s->kind == STEP_XADD && m->rmw_reads_first))
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
	*value = model_entry(m, &s->entry) & model_width_mask(m);
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

bool model_access_step(struct model *m, const struct step *s)
{
	if (s->kind != STEP_EXEC && s->place == PLACE_MIDDLE)
		return model_middle_step(m, s);
	return s->kind != STEP_EXEC && s->place == PLACE_CROSS ? model_crossing_step(m, s)
							       : access_step(m, s);
}
