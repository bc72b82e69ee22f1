// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps that a vCPU takes in system management mode, which has memslots of its own: of the tables
 * it sees the same memory, and of the data the memory one large page further. The handler of the
 * SMI is made for each step.
 */
#include "engine.h"
#include "model_priv.h"
#include "quirks.h"
#include "smm.h"
#include "test.h"

static bool make_slots(struct model *m)
{
	u64 shift = level_size(m->m, 2);

	if (m->smm[0])
		return true;
	if (!kvm_cap(m->vm, KVM_CAP_X86_SMM) || !kvm_cap(m->vm, KVM_CAP_MULTI_ADDRESS_SPACE) ||
	    (!m->m->long_mode && quirk_busy_tss()))
		return false;
	m->smm[0] = slot_add_hva(m->vm, SMM_SPACE, 0, VM_SYSTEM_SIZE, m->vm->system->hva, 0);
	m->smm[1] = slot_add_hva(m->vm, SMM_SPACE | 1, HOME_GPA, MEM_SIZE - shift,
				 (u8 *)m->vm->mem->hva + shift, 0);
	return true;
}

static void run_handler(struct model *m, u8 *end)
{
	smm_emit_rsm(end);
	vcpu_ioctl(m->current->v, KVM_SMI, NULL);
	op_clear(m->current->v);
	op_add(m->current->v, .kind = AGENT_NOP);
	vcpu_exec(m->current->v);
	op_clear(m->current->v);
	m->res->judged++;
}

static void set_entry(struct model *m, const struct step *s, u8 *p)
{
	struct frame *f = &m->frame[s->table % PROGRAM_TABLES];
	int cell = (s->index - 1) % PROGRAM_INDICES;
	u64 value = model_entry(m, &s->entry);
	u32 gpa = f->gpa + cell_offset(m, cell);

	p = smm_emit_write(p, gpa, value);
	if (m->m->pte_size == 8)
		p = smm_emit_write(p, gpa + 4, value >> 32);
	run_handler(m, p);
	model_store_unlogged(m, f, cell, value);
}

bool model_smm_step(struct model *m, const struct step *s)
{
	u8 *p = smm_handler(m->vm);
	volatile u32 *result = (u32 *)((u8 *)m->vm->system->hva + SMM_RESULT);
	struct frame *f;
	struct cell *c;
	u32 gpa;

	if (!make_slots(m))
		return false;
	if (s->kind == STEP_SMM_SET) {
		/* The first one lets SMM write to what becomes a table later, unseen: smm.tables_mapped. */
		if (m->kernel && m->shadow && m->smm_stored)
			return false;
		m->smm_stored = true;
		set_entry(m, s, p);
		return true;
	}
	if (s->number + 4 >= PROGRAM_FRAMES)
		return false;
	f = &m->frame[PROGRAM_TABLES + s->number];
	gpa = f->gpa - m->mem_gpa + HOME_GPA + DATA_AT;
	f += 4;
	c = &f->cell[DATA_CELL];
	/* KVM watches page tables by their addresses, and this is another one. */
	if (s->kind == STEP_SMM_WRITE && f->walked)
		return false;
	if (s->kind == STEP_SMM_WRITE) {
		run_handler(m, smm_emit_write(p, gpa, s->value));
		model_store_unlogged(m, f, DATA_CELL,
				     (c->value & ~0xffffffffull) | (s->value & 0xffffffff));
		return true;
	}
	*result = ~c->value;
	run_handler(m, smm_emit_copy(p, gpa, SMM_RESULT));
	if (*result != (u32)c->value)
		model_wrong(m, m->step, "step %u: in SMM gpa %#x holds %#x, not %#x", m->step + 1,
			    gpa, *result, (u32)c->value);
	return true;
}
