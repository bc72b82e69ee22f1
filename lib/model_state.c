// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's steps that change tables, translations and registers, and what the oracle is told of them.
 */
#include <string.h>

#include "engine.h"
#include "model_priv.h"
#include "quirks.h"

static u16 current_pcid(const struct oracle_regs *r)
{
	return r->cr4 & CR4_PCIDE ? r->cr3 & CR3_PCID_MASK : 0;
}

static void expect_ok(struct model *m, struct agent_op op)
{
	model_expect(m, op);
}

static void write_cr(struct model *m, int nr, u64 value)
{
	expect_ok(m, (struct agent_op){.kind = AGENT_WRITE_CR, .addr = nr, .value = value});
}

static void set_entry(struct model *m, struct frame *f, int cell, u64 value)
{
	expect_ok(m, (struct agent_op){.kind = AGENT_SET_PTE,
				       .size = m->m->pte_size,
				       .addr = f->gpa + cell_offset(m, cell),
				       .value = value});
	model_store(m, f, cell, value);
}

static bool set_step(struct model *m, const struct step *s)
{
	set_entry(m, &m->frame[s->table % PROGRAM_TABLES], (s->index - 1) % PROGRAM_INDICES,
		  model_entry(m, &s->entry));
	return true;
}

static struct frame *table_at(struct model *m, u64 entry)
{
	gpa_t gpa = entry & (m->m->pte_size == 8 ? PTE_ADDR_MASK : 0xfffff000);
	struct frame *f;

	return entry & PTE_P && !(entry & PTE_PS) && model_where(m, gpa, &f) == WHERE_FRAME &&
			       f->is_table
		       ? f
		       : NULL;
}

/* From the root in use down to level 1, or to level 2 for an entry that is a large page. */
static bool map_step(struct model *m, const struct step *s)
{
	const struct oracle_regs *r = &m->current->regs;
	int last = m->m->levels - (s->entry.bits & PTE_PS && s->entry.target != TARGET_RAW ? 2 : 1);
	struct frame *f = NULL, *next;

	for (int i = 0; i <= last; i++) {
		int cell = (s->path[i] - 1) % PROGRAM_INDICES;

		if (m->m->id == PM_PAE && !i) {
			f = table_at(m, r->pdpte[1 + (s->path[0] - 1) % 3]);
			continue;
		}
		if (!i)
			f = table_at(m, (r->cr3 & ~(u64)CR3_PCID_MASK) | PTE_P);
		if (i == last) {
			set_entry(m, f, cell, model_entry(m, &s->entry));
			return true;
		}
		next = table_at(m, f->cell[cell].value);
		if (!next) {
			next = &m->frame[PROGRAM_ROOTS + i];
			set_entry(m, f, cell, next->gpa | PTE_P | PTE_W | PTE_U);
		}
		f = next;
	}
	return true;
}

static bool cr3_step(struct model *m, const struct step *s)
{
	struct model_vcpu *v = m->current;
	bool pcide = v->regs.cr4 & CR4_PCIDE;
	u16 pcid = pcide ? s->pcid : 0;
	u32 root = s->number % PROGRAM_ROOTS;
	u64 cr3 = m->root[root] | pcid;
	bool keep = pcide && (s->flags & STEP_NOFLUSH);

	oracle_left_root(v->history, &v->regs);
	v->regs.cr3 = cr3;
	memcpy(v->regs.pdpte, m->pdpte[root], sizeof(v->regs.pdpte));
	if (!keep)
		oracle_flushed(v->history, ORACLE_FLUSH_PCID, pcid, 0);
	write_cr(m, 3, cr3 | (keep ? CR3_NOFLUSH : 0));
	return true;
}

static bool invlpg_step(struct model *m, const struct step *s)
{
	u32 places = m->invlpg_keeps_code ? PROGRAM_INDICES * PROGRAM_INDICES : 0;
	int bottom = m->m->levels - 1;
	struct step each = *s;

	expect_ok(m, (struct agent_op){.kind = AGENT_INVLPG, .addr = model_address(m, s)});
	oracle_flushed(m->current->history, ORACLE_FLUSH_ADDR, current_pcid(&m->current->regs),
		       model_address(m, s));
	/* Wherever else in a page of up to 1 GiB programs fetch from. */
	for (u32 i = 0; i < places; i++) {
		each.path[bottom] = 1 + i % PROGRAM_INDICES;
		each.path[bottom - 1] = 1 + i / PROGRAM_INDICES;
		expect_ok(m,
			  (struct agent_op){.kind = AGENT_INVLPG, .addr = model_address(m, &each)});
	}
	return true;
}

static bool invpcid_step(struct model *m, const struct step *s)
{
	static const enum oracle_flush what[] = {
		[INVPCID_ADDR] = ORACLE_FLUSH_ADDR_PCID,
		[INVPCID_SINGLE] = ORACLE_FLUSH_PCID,
		[INVPCID_ALL_GLOBAL] = ORACLE_FLUSH_ALL,
		[INVPCID_ALL] = ORACLE_FLUSH_NOT_GLOBAL,
	};
	u32 type = s->number % 4;
	gva_t gva = model_address(m, s);

	if (!cpu_has(&CPU_INVPCID))
		return false;
	if (type <= INVPCID_SINGLE && s->pcid && !(m->current->regs.cr4 & CR4_PCIDE))
		return false;
	expect_ok(m, (struct agent_op){.kind = AGENT_INVPCID,
				       .addr = gva,
				       .value = type <= INVPCID_SINGLE ? s->pcid : 0,
				       .arg = type});
	oracle_flushed(m->current->history, what[type], s->pcid, gva);
	return true;
}

static bool cr4_step(struct model *m, u64 bit, bool on)
{
	struct oracle_regs *r = &m->current->regs;
	u64 cr4 = on ? r->cr4 | bit : r->cr4 & ~bit;

	/* QEMU's A bit in PDPTEs makes a load of them fail. */
	if (m->m->id == PM_PAE && quirk_pdpte_refused())
		return false;
	if (bit == CR4_PCIDE && (r->cr3 & CR3_PCID_MASK))
		return false; /* #GP, or a CR3 whose low bits come to mean something else */
	write_cr(m, 4, cr4);
	if ((r->cr4 ^ cr4) & CR4_PGE || (r->cr4 & ~cr4 & CR4_PCIDE))
		oracle_flushed(m->current->history, ORACLE_FLUSH_ALL, 0, 0);
	r->cr4 = cr4;
	if (bit == CR4_PKE && on)
		expect_ok(m, (struct agent_op){.kind = AGENT_WRPKRU, .value = r->pkru});
	return true;
}

/* Nothing is remembered afterwards: CR4.PGE goes to and fro. */
static void drop_all(struct model *m)
{
	u64 cr4 = m->current->regs.cr4;

	write_cr(m, 4, cr4 ^ CR4_PGE);
	write_cr(m, 4, cr4);
	oracle_flushed(m->current->history, ORACLE_FLUSH_ALL, 0, 0);
}

/* EFER.NX, and all that is remembered dropped: no manual says what becomes of that. */
static bool nx_step(struct model *m, bool on)
{
	struct oracle_regs *r = &m->current->regs;

	if (!cpu_has(&CPU_NX) || !cpu_has(&CPU_PGE) || m->m->pte_size != 8 ||
	    (m->m->id == PM_PAE && quirk_pdpte_refused()))
		return false;
	/* mmu/roles: pages mapped with NX=1 are found again with NX=0 */
	if (m->kernel && m->shadow)
		return false;
	r->efer = on ? r->efer | EFER_NX : r->efer & ~EFER_NX;
	expect_ok(m, (struct agent_op){.kind = AGENT_WRMSR, .addr = MSR_EFER, .value = r->efer});
	drop_all(m);
	return true;
}

/*
 * A PDPTE is replaced, and loaded with all of that root's. Where other vCPUs have that root their processors may
 * read it at any time, or not before they load it.
 */
static bool pdpte_step(struct model *m, const struct step *s)
{
	struct model_vcpu *v = m->current;
	u32 root = s->number / 3 % PROGRAM_ROOTS, index = 1 + s->number % 3;
	u64 pdpte = m->frame[s->entry.number % PROGRAM_TABLES].gpa | PTE_P;

	if (m->m->id != PM_PAE || quirk_pdpte_accessed() || s->entry.target != TARGET_TABLE)
		return false;
	for (u32 i = 0; i < m->vm->nr_vcpus; i++)
		if (&m->vcpu[i] != v && m->vcpu[i].regs.cr3 == m->root[root])
			return false;
	oracle_left_root(v->history, &v->regs);
	m->pdpte[root][index] = pdpte;
	v->regs.cr3 = m->root[root];
	memcpy(v->regs.pdpte, m->pdpte[root], sizeof(v->regs.pdpte));
	oracle_flushed(v->history, ORACLE_FLUSH_PCID, 0, 0);
	expect_ok(m, (struct agent_op){.kind = AGENT_SET_PTE,
				       .size = 8,
				       .addr = m->root[root] + 8 * index,
				       .value = pdpte});
	write_cr(m, 3, m->root[root]);
	return true;
}

static bool wp_step(struct model *m, bool on)
{
	struct oracle_regs *r = &m->current->regs;

	r->cr0 = on ? r->cr0 | CR0_WP : r->cr0 & ~CR0_WP;
	write_cr(m, 0, r->cr0);
	return true;
}

/*
 * Linux 6.1's shadow MMU finds a page with large mappings again where CR4.PSE=0 makes tables of them:
 * docs/fuzzing.md.
 */
static bool pse_step(struct model *m, bool on)
{
	if (m->m->id != PM_32 || !cpu_has(&CPU_PGE) ||
	    (m->kernel && m->shadow && (m->large_seen || m->p->nr_vcpus > 1)))
		return false;
	/* SDM vol. 3 4.10.4.1 does not name PSE: what was remembered may stay, so it is dropped. */
	if (!cr4_step(m, CR4_PSE, on))
		return false;
	drop_all(m);
	return true;
}

static bool pkru_step(struct model *m, const struct step *s)
{
	struct oracle_regs *r = &m->current->regs;

	if (!(r->cr4 & CR4_PKE))
		return false;
	r->pkru = s->value & ~3u; /* key 0 is the agent's */
	expect_ok(m, (struct agent_op){.kind = AGENT_WRPKRU, .value = r->pkru});
	return true;
}

bool model_guest_step(struct model *m, const struct step *s)
{
	bool on = s->number & 1;

	switch (s->kind) {
	case STEP_SET:
		return set_step(m, s);
	case STEP_MAP:
		return map_step(m, s);
	case STEP_INVLPG:
		return invlpg_step(m, s);
	case STEP_INVPCID:
		return invpcid_step(m, s);
	case STEP_CR3:
		return cr3_step(m, s);
	case STEP_WP:
		return wp_step(m, on);
	case STEP_SMEP:
		return cpu_has(&CPU_SMEP) && cr4_step(m, CR4_SMEP, on);
	case STEP_SMAP:
		return cpu_has(&CPU_SMAP) && cr4_step(m, CR4_SMAP, on);
	case STEP_PGE:
		return cpu_has(&CPU_PGE) && cr4_step(m, CR4_PGE, on);
	case STEP_PKE:
		return cpu_has(&CPU_PKU) && m->m->long_mode && cr4_step(m, CR4_PKE, on);
	case STEP_PCIDE:
		return cpu_has(&CPU_PCID) && m->m->long_mode && cr4_step(m, CR4_PCIDE, on);
	case STEP_NX:
		return nx_step(m, on);
	case STEP_PKRU:
		return pkru_step(m, s);
	case STEP_PSE:
		return pse_step(m, on);
	case STEP_PDPTE:
		return pdpte_step(m, s);
	default:
		return model_access_step(m, s);
	}
}
