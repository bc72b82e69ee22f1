// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's steps, between batches: memslots, dirty logs, and changes of the memory below.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine.h"
#include "model_priv.h"
#include "test.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define MAX_PERIOD 20 /* milliseconds */

static void set_gpa(struct model *m, gpa_t gpa)
{
	for (u32 i = 0; i < PROGRAM_FRAMES; i++)
		m->frame[PROGRAM_TABLES + i].gpa += gpa - m->mem_gpa;
	m->mem_gpa = gpa;
}

static void forget_mmio(struct model *m)
{
	memset(m->was_mmio, 0, sizeof(m->was_mmio));
}

/*
 * What translations said of the memslot is gone once KVM has dropped it; what they said of entries
 * is as old as before, and stays allowed.
 */
static bool slot_step(struct model *m, const struct step *s)
{
	gpa_t gpa;

	switch (s->kind) {
	case STEP_DELETE:
		if (!m->slot_there)
			return false;
		slot_delete(m->vm->mem);
		forget_mmio(m);
		m->slot_there = false;
		m->logging = false;
		m->vm->mem->flags = 0;
		model_forget_dirty(m, false);
		if (!m->together)
			return true;
		slot_readd(m->vm->mem);
		m->slot_there = true;
		return true;
	case STEP_ADD:
		if (m->slot_there)
			return false;
		slot_readd(m->vm->mem);
		m->slot_there = true;
		return true;
	case STEP_MOVE:
		gpa = s->number ? AWAY_GPA : HOME_GPA;
		if (!m->slot_there || gpa == m->mem_gpa)
			return false;
		slot_move(m->vm->mem, gpa);
		forget_mmio(m);
		set_gpa(m, gpa);
		return true;
	default:
		return false;
	}
}

/* @count frames from @first on, in @size bytes from @at on. */
static bool zero_step(struct model *m, u32 first, u32 count, u64 at, u64 size)
{
	struct frame *frame = &m->frame[PROGRAM_TABLES + first];

	/* A host that changes a table behind the guest's back is out of the game. */
	for (u32 i = 0; i < count; i++)
		if (frame[i].walked)
			return false;
	memory_madvise(&m->vm->mem->mem, at, size, MADV_DONTNEED);
	for (struct frame *f = frame; f < frame + count; f++) {
		f->zeroed = true;
		f->fresh = !m->together;
		f->young = false;
		if (m->together)
			continue;
		for (int i = 0; i < NR_CELLS; i++)
			model_store_unlogged(m, f, i, 0);
		f->head = 0;
		f->function = false;
	}
	return true;
}

/* Advice on memory that the kernel may not have means for: whether it's taken doesn't matter. */
static void advise(struct model *m, u64 at, u64 size, int advice)
{
	int ret = engine()->madvise((u8 *)m->vm->mem->hva + at, size, advice);

	(void)ret;
}

/* Nothing runs: what is idle stays so. */
static bool age_step(struct model *m, u64 at, u64 size)
{
	u8 *hva = (u8 *)m->vm->mem->hva + at;
	bool used;

	if (!engine()->age)
		return false;
	used = engine()->age(hva, size);
	if (m->together)
		return true;
	m->res->judged++;
	for (u32 i = 0; i < PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[PROGRAM_TABLES + i];

		if (f->hva < hva || f->hva >= hva + size)
			continue;
		if (f->young && !used)
			model_wrong(m, m->step, "step %u: frame %u was used, and is idle",
				    m->step + 1, i);
		f->young = f->fresh = false;
	}
	if (engine()->age(hva, size))
		model_wrong(m, m->step, "step %u: pages that nobody used are not idle",
			    m->step + 1);
	return true;
}

/* Where the alias begins and ends in the data's memory: in the middle of a large page, or a page out of step. */
static bool alias_step(struct model *m, u32 kind)
{
	u64 large = level_size(m->m, 2), from = m->m->id == PM_32 ? 0 : large;
	u64 start = kind == 1 ? from + 2 * SZ_4K : 0, shift = kind == 2 ? SZ_4K : 0;
	u64 end = kind == 1 ? from + 3 * large + 256 * SZ_4K : MEM_SIZE - SZ_4K;

	/* shadow/mmio.slot_before_sync: memory that came where MMIO was used */
	if (kind == m->alias_kind || (m->kernel && m->shadow))
		return false;
	if (m->alias_kind)
		slot_delete(m->alias);
	m->alias_kind = kind;
	if (!kind)
		return true;
	if (m->m->id == PM_32 && kind == 1)
		start = 5 * SZ_4K;
	if (!m->alias) {
		m->alias = slot_add_hva(m->vm, 3, ALIAS_GPA + start, end - start,
					(u8 *)m->vm->mem->hva + start + shift, 0);
		return true;
	}
	m->alias->gpa = ALIAS_GPA + start;
	m->alias->size = end - start;
	m->alias->hva = (u8 *)m->vm->mem->hva + start + shift;
	slot_readd(m->alias);
	return true;
}

/*
 * Three periods of the thread that makes pages huge again. Where it is a matter of minutes, or of nothing, nobody
 * waits.
 */
static bool recover_step(void)
{
	struct timespec wait = {0};
	char period[32];
	long ms;

	if (!engine_param_bool("nx_huge_pages", false) ||
	    !engine_param("nx_huge_pages_recovery_period_ms", period, sizeof(period)))
		return false;
	ms = strtol(period, NULL, 10);
	if (ms < 1 || ms > MAX_PERIOD)
		return false;
	wait.tv_nsec = 3 * ms * 1000000;
	nanosleep(&wait, NULL);
	return true;
}

bool model_host_step(struct model *m, const struct step *s)
{
	struct memory *mem = &m->vm->mem->mem;
	u64 block =
		(s->number % PROGRAM_BLOCKS + (m->m->id == PM_32 ? 0 : 1)) * level_size(m->m, 2);
	u64 size = level_size(m->m, 2);
	u32 frame = s->number % PROGRAM_FRAMES;
	long pages;

	/* Whatever else the host does may make idle what was used. */
	for (u32 i = 0; i < PROGRAM_FRAMES && s->kind != STEP_AGE; i++)
		m->frame[PROGRAM_TABLES + i].fresh = m->frame[PROGRAM_TABLES + i].young = false;
	switch (s->kind) {
	case STEP_LOG:
	case STEP_LOG_TABLES:
	case STEP_DIRTY_GET:
	case STEP_DIRTY_CLEAR:
	case STEP_DIRTY_LOOK:
	case STEP_CLEAR_LOG:
		return model_log_step(m, s);
	case STEP_AGE:
		return age_step(m, block, size);
	case STEP_ALIAS:
		return alias_step(m, s->number % 3);
	case STEP_ZERO:
		return zero_step(m, frame, 1, m->frame[PROGRAM_TABLES + frame].gpa - m->mem_gpa,
				 SZ_4K);
	case STEP_ZERO_BLOCK:
		return zero_step(m, s->number % PROGRAM_BLOCKS * 4, 4, block, size);
	case STEP_PROTECT:
		/*
		 * A store that comes between is EFAULT from KVM_RUN, as it should be: then the mapping changes otherwise,
		 * which its users are told of as well.
		 */
		memory_mprotect(mem, block, size,
				m->together && m->kernel ? PROT_READ | PROT_WRITE | PROT_EXEC
							 : PROT_READ);
		memory_mprotect(mem, block, size, PROT_READ | PROT_WRITE);
		return true;
	case STEP_NR_PAGES:
		pages = 64 + s->value % 64;
		vm_ioctl(m->vm, KVM_SET_NR_MMU_PAGES, (void *)pages);
		return true;
	case STEP_HUGE:
		advise(m, 0, MEM_SIZE, s->number ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		return true;
	case STEP_COLLAPSE:
		advise(m, block, size, MADV_COLLAPSE);
		return true;
	case STEP_PAGEOUT:
		advise(m, block, size, MADV_PAGEOUT);
		return true;
	case STEP_REFILL:
		for (u32 i = 0; i < PROGRAM_FRAMES; i++)
			if (!m->frame[PROGRAM_TABLES + i].function)
				model_fill_function(&m->frame[PROGRAM_TABLES + i]);
		return true;
	case STEP_RECOVER:
		return recover_step();
	case STEP_APART:
		return true;
	default:
		return slot_step(m, s);
	}
}
