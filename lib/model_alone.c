// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps that a vCPU and its host make together, with nothing else in the batch: registers that no instruction of the
 * agent's sets, and mechanisms of the in-tree engine that show in counters only.
 */
#include <stdio.h>

#include "engine.h"
#include "model_priv.h"
#include "quirks.h"
#include "stats.h"
#include "test.h"

#define LDT_SELECTOR 7 /* first descriptor of the LDT, RPL 3 */
#define FLOOD_STORES 4 /* to a table in one go; the third is one too many */

/*
 * FS is loaded from an LDT at the address: a read by the processor itself, for which RFLAGS.AC and the ring are no
 * matter. Only where it must fault: what the descriptor holds is any number.
 */
static bool load_fs_step(struct model *m, const struct step *s)
{
	static __thread struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	struct outcome *o = &m->pool[m->pool_used];
	gva_t gva = model_address(m, s);
	struct step read = *s;
	struct kvm_sregs sregs;
	u32 nr, i;

	/* QEMU 7.2's TCG lets AC excuse it: mmu/smep_smap.implicit_access. */
	if (m->machine || host_is_tcg())
		return false;
	read.flags = 0;
	nr = model_judge(m, &read, gva, ORACLE_READ, out);
	for (i = 0; i < nr; i++) {
		if (out[i].verdict != ORACLE_PF)
			return false;
		o[i] = (struct outcome){.verdict = ORACLE_PF, .error = out[i].error, .cr2 = gva};
	}
	if (!nr)
		return false;
	model_mark(m, &out[0], false, false);
	sregs = vcpu_sregs(m->current->v);
	sregs.ldt = (struct kvm_segment){
		.base = gva, .limit = 0xfff, .selector = 0x38, .type = 2, .present = 1};
	vcpu_set_sregs(m->current->v, &sregs);
	model_expect(m, (struct agent_op){.kind = AGENT_LOAD_FS,
					  .flags = model_agent_flags(s),
					  .value = LDT_SELECTOR})
		->nr = nr;
	m->pool_used += nr;
	model_flush_batch(m);
	return true;
}

/* The vCPU is given a root where no memory is, and shuts down; then it goes on as if nothing had been. */
static bool lost_root_step(struct model *m, const struct step *s)
{
	struct vcpu *v = m->current->v;
	struct kvm_sregs sregs;
	u64 cr3;

	/* With nested paging the processor looks for it, and what the kernel makes of PDPTEs there differs. */
	if (!m->shadow || m->machine || (m->kernel && m->m->id == PM_PAE) ||
	    (!m->m->long_mode && quirk_busy_tss()))
		return false;
	sregs = vcpu_sregs(v);
	cr3 = sregs.cr3;
	sregs.cr3 = HOLE_GPA + s->number % 4 * SZ_4K;
	if (__vcpu_set_sregs(v, &sregs))
		return false;
	m->res->judged++;
	if (__vcpu_run(v) || v->run->exit_reason != KVM_EXIT_SHUTDOWN)
		model_wrong(m, m->step,
			    "step %u: a root where no memory is does not shut the vCPU down "
			    "(exit reason %u)",
			    m->step + 1, v->run->exit_reason);
	sregs.cr3 = cr3;
	vcpu_set_sregs(v, &sregs);
	return true;
}

/* Reads, or fetches from, the step's address in a batch of its own. The frame that it certainly came to, or NULL. */
static struct frame *use(struct model *m, const struct step *s, enum step_kind kind)
{
	struct step access = *s;
	struct frame *f = NULL;
	const struct expect *e;
	bool back;

	access.kind = kind;
	access.place = kind == STEP_EXEC ? 0 : PLACE_DATA;
	if (!model_access_step(m, &access))
		return NULL;
	back = oracle_looked_back(m->current->history);
	e = &m->expect[m->nr - 1];
	if (!back && e->nr == 1 && e->out->verdict == ORACLE_OK && !e->out->mmio)
		model_where(m, e->out->gpa, &f);
	return model_flush_batch(m) ? f : NULL;
}

/* Directories on the way to an address that was just used are watched, until they are written again and again. */
static bool flood_step(struct model *m, const struct step *s)
{
	const struct oracle_regs *r = &m->current->regs;
	struct step set = {.kind = STEP_SET, .vcpu = s->vcpu, .entry = {.target = TARGET_RAW}};
	gpa_t gpa = r->cr3 & ~(u64)CR3_PCID_MASK;
	struct frame *table;
	u64 before;
	int cell = 0;

	if (m->kernel || !m->shadow || !use(m, s, STEP_READ))
		return false;
	for (int level = m->m->levels; level >= 2; level--) {
		cell = (s->path[m->m->levels - level] - 1) % PROGRAM_INDICES;
		if (m->m->id == PM_PAE && level == 3) {
			gpa = r->pdpte[1 + cell % 3] & PTE_ADDR_MASK;
			continue;
		}
		if (model_where(m, gpa, &table) != WHERE_FRAME || !table->is_table)
			return false;
		set.entry.bits = table->cell[cell].value;
		if (level > 2 && (set.entry.bits & PTE_PS))
			return false;
		gpa = set.entry.bits & (m->m->pte_size == 8 ? PTE_ADDR_MASK : 0xfffff000);
	}
	set.table = table - m->frame;
	set.index = 1 + cell;
	before = vm_stat(m->vm, "mmu_flooded");
	for (u32 i = 0; i < FLOOD_STORES; i++)
		model_guest_step(m, &set);
	if (model_flush_batch(m) && vm_stat(m->vm, "mmu_flooded") == before)
		model_wrong(m, m->step,
			    "step %u: table %u, a directory in use, was written %u times and goes "
			    "on being watched",
			    m->step + 1, set.table, FLOOD_STORES);
	return true;
}

static u64 faults(struct model *m)
{
	return vcpu_stat(m->current->v, "pf_taken");
}

/*
 * A page that is used for reading and for fetches becomes idle. Whatever fault the next use takes gives the translation
 * back at once and as a whole.
 */
static bool idle_step(struct model *m, const struct step *s)
{
	struct vcpu *v = m->current->v;
	struct frame *f;
	u64 taken, fast;

	if (!engine()->age || m->shadow)
		return false;
	f = use(m, s, STEP_EXEC);
	if (!f || f->is_table || f->read_only || use(m, s, STEP_READ) != f)
		return false;
	engine()->age(f->hva, SZ_4K);
	for (u32 i = 0; i < PROGRAM_FRAMES; i++)
		m->frame[PROGRAM_TABLES + i].fresh = m->frame[PROGRAM_TABLES + i].young = false;
	taken = faults(m);
	fast = vcpu_stat(v, "pf_fast");
	if (use(m, s, STEP_READ) != f)
		return true;
	taken = faults(m) - taken;
	fast = vcpu_stat(v, "pf_fast") - fast;
	if (taken != fast)
		model_wrong(m, m->step, "step %u: of %lu faults on an idle page %lu were fast",
			    m->step + 1, taken, fast);
	taken = faults(m);
	if (use(m, s, STEP_EXEC) == f && faults(m) != taken)
		model_wrong(m, m->step,
			    "step %u: an idle page that was read can't be executed from",
			    m->step + 1);
	return true;
}

bool model_alone_step(struct model *m, const struct step *s)
{
	switch (s->kind) {
	case STEP_LOAD_FS:
		return load_fs_step(m, s);
	case STEP_LOST_ROOT:
		return lost_root_step(m, s);
	case STEP_FLOOD:
		return flood_step(m, s);
	case STEP_IDLE:
		return idle_step(m, s);
	case STEP_STREW:
		return model_strew_step(m, s);
	case STEP_CROWD:
		return model_crowd_step(m, s);
	default:
		return model_smm_step(m, s);
	}
}
