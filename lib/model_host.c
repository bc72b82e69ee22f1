// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's steps, between batches: memslots, dirty logs, and changes of the memory below.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"
#include "model_priv.h"
#include "test.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static void set_gpa(struct model *m, gpa_t gpa)
{
	for (u32 i = 0; i < PROGRAM_FRAMES; i++)
		m->frame[PROGRAM_TABLES + i].gpa += gpa - m->mem_gpa;
	m->mem_gpa = gpa;
}

static void forget_dirty(struct model *m)
{
	for (u32 i = 0; i < NR_FRAMES; i++)
		m->frame[i].dirty = false;
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
		if (!m->slot_there || m->logging == !!s->number)
			return false;
		slot_set_flags(m->vm->mem, s->number ? KVM_MEM_LOG_DIRTY_PAGES : 0);
		m->logging = s->number;
		forget_dirty(m);
		return true;
	}
}

void model_dirty_check(struct model *m)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(m->vm->mem);

	dirty_get(m->vm->mem, &b);
	for (u32 i = 0; i < PROGRAM_FRAMES; i++) {
		struct frame *f = &m->frame[PROGRAM_TABLES + i];

		m->res->judged++;
		if (f->dirty && !dirty_test(&b, (f->gpa - m->mem_gpa) / SZ_4K))
			model_wrong(
				m, m->step,
				"step %u: the dirty log lacks frame %u at gpa %#lx, which was written",
				m->step + 1, i, f->gpa);
		f->dirty = false;
	}
	dirty_bitmap_free(&b);
}

/* The dirty log was fetched just now: a second look must find nothing. */
static void check_clean(struct model *m)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(m->vm->mem);

	dirty_get(m->vm->mem, &b);
	if (dirty_count(&b))
		model_wrong(m, m->step,
			    "step %u: page %lu is in the dirty log again, though nothing ran",
			    m->step + 1, dirty_first(&b));
	dirty_bitmap_free(&b);
}

static bool zero_step(struct model *m, u32 number)
{
	struct frame *f = &m->frame[PROGRAM_TABLES + number % PROGRAM_FRAMES];
	bool logging = m->logging;
	u64 at = f->gpa - m->mem_gpa;

	/* A host that changes a table behind the guest's back is out of the game. */
	if (f->walked)
		return false;
	memory_madvise(&m->vm->mem->mem, at, SZ_4K, MADV_DONTNEED);
	m->logging = false; /* the host's writes are not logged */
	for (int i = 0; i < NR_CELLS; i++)
		model_store(m, f, i, 0);
	m->logging = logging;
	f->head = 0;
	f->function = false;
	return true;
}

/* Advice on memory that the kernel may not have means for: whether it's taken doesn't matter. */
static void advise(struct model *m, u64 at, u64 size, int advice)
{
	int ret = engine()->madvise((u8 *)m->vm->mem->hva + at, size, advice);

	(void)ret;
}

bool model_host_step(struct model *m, const struct step *s)
{
	struct memory *mem = &m->vm->mem->mem;
	u64 block =
		(s->number % PROGRAM_BLOCKS + (m->m->id == PM_32 ? 0 : 1)) * level_size(m->m, 2);
	u64 size = level_size(m->m, 2);
	long pages;

	switch (s->kind) {
	case STEP_DIRTY_GET:
	case STEP_DIRTY_CLEAR:
		if (!m->logging)
			return false;
		model_dirty_check(m);
		if (s->kind == STEP_DIRTY_CLEAR)
			check_clean(m);
		return true;
	case STEP_ZERO:
		return zero_step(m, s->number);
	case STEP_PROTECT:
		memory_mprotect(mem, block, size, PROT_READ);
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
	default:
		return slot_step(m, s);
	}
}
