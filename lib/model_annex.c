// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steps in memory that programs have no names for: a memslot of some hundred pages, which begins within a huge page, for
 * what takes more pages, or more mappings of one, than programs have. Each judges itself. On the in-tree engine, in long mode.
 */
#include <string.h>
#include <sys/mman.h>

#include "engine.h"
#include "model_priv.h"
#include "stats.h"
#include "test.h"

#define SKIPPED	     32		     /* pages of the first huge page, where the slot begins */
#define SECOND	     (512 - SKIPPED) /* page of the slot where the second one does */
#define PAGES	     1024
#define BYTES	     (PAGES * SZ_4K)
#define WINDOW_INDEX 5 /* of every root: large pages over the slot */
#define CROWD_INDEX  6 /* of every root: entries of 4 KiB, most of them to the slot's first page */
#define CROWD	     1016 /* and from here on to two pages */
#define MOST	     5	  /* pages that a step writes */

static const u64 LEAF = PTE_A | PTE_D | PTE_W;

static gva_t part(const struct model *m, u64 index)
{
	return index << m->m->level[m->m->levels].shift;
}

static struct aspace root(const struct model *m, u32 i)
{
	return (struct aspace){m->vm, m->m, m->root[i]};
}

/* What the first root has of @gva on, the others have as well. */
static void share(struct model *m, gva_t gva)
{
	struct aspace first = root(m, 0), other;
	int top = m->m->levels;

	for (u32 i = 1; i < PROGRAM_ROOTS; i++) {
		other = root(m, i);
		aspace_set_pte(&other, gva, top, aspace_get_pte(&first, gva, top));
	}
}

static bool make(struct model *m)
{
	struct aspace as = root(m, 0);
	struct memory mem;

	if (m->annex)
		return true;
	if (m->kernel || m->machine || !m->m->long_mode)
		return false;
	mem = memory_alloc(3 * SZ_2M, MEM_THP);
	m->annex = slot_add_hva(m->vm, ANNEX_SLOT, ANNEX_GPA + SKIPPED * SZ_4K, BYTES,
				(u8 *)mem.hva + SKIPPED * SZ_4K, 0);
	m->annex->mem = mem;
	aspace_map(&as, part(m, WINDOW_INDEX), ANNEX_GPA, 3 * SZ_2M, 2, LEAF);
	share(m, part(m, WINDOW_INDEX));
	return true;
}

static void run(struct model *m)
{
	vcpu_exec(m->current->v);
	m->res->judged += m->current->v->mailbox->nr_ops;
	op_clear(m->current->v);
}

static void write_pages(struct model *m, const u32 *page, u32 n)
{
	gva_t start = part(m, WINDOW_INDEX) + SKIPPED * SZ_4K;

	for (u32 i = 0; i < n; i++)
		op_add(m->current->v, .kind = AGENT_WRITE, .addr = start + page[i] * SZ_4K,
		       .value = i);
	run(m);
}

static bool in_log(const struct model *m, const struct dirty_bitmap *b, u32 page)
{
	return m->log == LOG_RING ? m->annex_seen[page / 64] >> page % 64 & 1 : dirty_test(b, page);
}

/* The log's pages, which go out of it; those that were written must be among them. */
static void take(struct model *m, struct dirty_bitmap *b, const u32 *page, u32 n)
{
	memset(m->annex_seen, 0, sizeof(m->annex_seen));
	if (m->log == LOG_RING)
		model_take_ring(m);
	else
		dirty_get(m->annex, b);
	for (u32 i = 0; i < n; i++)
		if (!in_log(m, b, page[i]))
			model_wrong(m, m->step,
				    "step %u: page %u of the annex was written and is not in the "
				    "log",
				    m->step + 1, page[i]);
}

static void clear(struct model *m, struct dirty_bitmap *b, const u32 *page, u32 n)
{
	u32 first = PAGES, end = 0;

	memset(b->bits, 0, PAGES / 8);
	for (u32 i = 0; i < n; i++) {
		b->bits[page[i] / 64] |= 1ull << page[i] % 64;
		first = page[i] < first ? page[i] & ~63u : first;
		end = page[i] >= end ? (page[i] | 63) + 1 : end;
	}
	dirty_clear(m->annex, b, first, end - first);
}

/* Clearing a bit of a huge page splits it, so that no write has to. */
static bool splits(const struct model *m, const u32 *page, u32 n)
{
	bool second = false;

	for (u32 i = 0; i < n; i++)
		second |= page[i] >= SECOND;
	return second && mmu_kind() == MMU_TDP_MMU && m->log == LOG_INITIALLY_SET &&
	       engine_param_bool("eager_page_split", false);
}

/* Pages here and there are written while the log is on, taken out of it, and written again. */
static void strew(struct model *m, const u32 *page, u32 n)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(m->annex);
	bool by_hand = m->log == LOG_MANUAL || m->log == LOG_INITIALLY_SET;
	u64 before = vm_stat(m->vm, "pages_2m"), huge;

	write_pages(m, page, n);
	write_pages(m, (u32[]){SECOND + 100}, 1);
	huge = vm_stat(m->vm, "pages_2m");
	slot_set_flags(m->annex, KVM_MEM_LOG_DIRTY_PAGES);
	if (m->log == LOG_INITIALLY_SET)
		clear(m, &b, page, n);
	if (huge > before && splits(m, page, n) && vm_stat(m->vm, "pages_2m") >= huge)
		model_wrong(m, m->step, "step %u: clearing the log split no huge page",
			    m->step + 1);
	for (u32 i = 0; i < 2; i++) {
		write_pages(m, page, n);
		take(m, &b, page, n);
		if (by_hand)
			clear(m, &b, page, n);
	}
	slot_set_flags(m->annex, 0);
	dirty_bitmap_free(&b);
}

bool model_strew_step(struct model *m, const struct step *s)
{
	u32 page[MOST], n = 1 + s->value % MOST, wide = m->log == LOG_RING ? 128 : 64;
	u64 dice = s->value / MOST;

	if (!make(m))
		return false;
	/* Around the second huge page's beginning, within a word of the log; where there is none, further. */
	for (u32 i = 0; i < n; i++) {
		dice = (dice + 1) * 0x9e3779b97f4a7c15ull;
		page[i] = dice >> 61 ? (SECOND & ~63) + (dice >> 32) % wide : SECOND;
	}
	strew(m, page, n);
	return true;
}

static void set_crowd(struct model *m, u32 n)
{
	struct aspace as = root(m, 0);
	gva_t gva = part(m, CROWD_INDEX);
	u64 entry = m->annex->gpa | PTE_P | PTE_W;

	for (u32 i = 0; i < 1024; i++)
		aspace_set_pte(&as, gva + i * SZ_4K, 1,
			       i < n		? entry
			       : i == CROWD	? (entry + SZ_4K) | PTE_A
			       : i == CROWD + 1 ? entry | PTE_A
						: 0);
}

/*
 * A page is mapped about as often as a shadow MMU will have it, and last of all ahead, beside another one. Then it is
 * discarded, and must be gone for all of them.
 */
bool model_crowd_step(struct model *m, const struct step *s)
{
	gva_t gva = part(m, CROWD_INDEX);
	struct vcpu *v = m->current->v;
	u32 n = 998 + s->value % 4, ones, none;
	struct agent_result got;

	if (!m->shadow || !make(m))
		return false;
	if (!aspace_pte_gpa(&(struct aspace){m->vm, m->m, m->root[0]}, gva, 1)) {
		struct aspace as = root(m, 0);

		aspace_make_tables(&as, gva, 1);
		aspace_make_tables(&as, gva + 512 * SZ_4K, 1);
		share(m, gva);
	}
	/* Nobody has them mapped, so that the host may change the entries. */
	memory_madvise(&m->annex->mem, SKIPPED * SZ_4K, 2 * SZ_4K, MADV_DONTNEED);
	set_crowd(m, n);
	op_add(v, .kind = AGENT_WRITE, .addr = gva, .value = 1, .size = 4);
	ones = op_add(v, .kind = AGENT_TOUCH_READ, .addr = gva, .arg = SZ_4K, .value = n,
		      .size = 4);
	op_add(v, .kind = AGENT_READ, .addr = gva + CROWD * SZ_4K, .size = 4);
	vcpu_exec(v);
	got = op_result(v, ones);
	if (got.status != AGENT_OK || got.value != n)
		model_wrong(m, m->step, "step %u: of %u mappings of a page %lu have it",
			    m->step + 1, n, got.value);
	memory_madvise(&m->annex->mem, SKIPPED * SZ_4K, SZ_4K, MADV_DONTNEED);
	op_clear(v);
	none = op_add(v, .kind = AGENT_TOUCH_READ, .addr = gva, .arg = SZ_4K, .value = n,
		      .size = 4);
	vcpu_exec(v);
	got = op_result(v, none);
	if (got.status != AGENT_OK || got.value)
		model_wrong(m, m->step,
			    "step %u: a page that was discarded is there for %lu of %u mappings",
			    m->step + 1, got.value, n);
	op_clear(v);
	m->res->judged += 2;
	return true;
}
