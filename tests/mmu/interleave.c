// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host does while vCPUs fault: whatever comes first at each step, once the host's
 * change is finished every vCPU sees what it came to, and nothing that was written is lost. A fault
 * takes its time, and between any two of its steps the page may be discarded, its slot deleted or moved,
 * its entry zapped or write-protected by somebody else; what it looked up before must not be
 * installed after that.
 *
 * Each case is one short race. On an engine that has threads take turns by a seed it is run
 * under many of them (lib/race.h), elsewhere a few times.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mmuscope.h"
#include "race.h"

#define CPUS	       2
#define PAGES	       2
#define MADV_COLLAPSE_ 25 /* MADV_COLLAPSE, Linux 6.1 */
#define BOTH	       (MODE(PM_NONE) | MODE(PM_LA48))
#define MARK	       0x5eed0000
#define NOTHING	       0xffffffffu /* what MMIO is answered */
#define LOG	       KVM_MEM_LOG_DIRTY_PAGES

/* Words of a page; each vCPU has its own of them. */
enum {
	EARLY = 4,  /* written while the host is at work */
	LATE = 8,   /* written after it */
	TOLD = 16,  /* the host's, after its change */
	COUNT = 32, /* counted in by all */
};

static gva_t at(struct vm *vm, u64 page, u32 word)
{
	return (vm->mode->levels ? vm->test_gva : VM_MEM_GPA) + page * SZ_4K + word * 4;
}

static u32 *host(struct vm *vm, u64 page, u32 word)
{
	return (u32 *)((u8 *)vm->mem->hva + page * SZ_4K) + word;
}

static void answer_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

static void manual(struct vm *vm)
{
	vm_manual_dirty_protect(vm, false);
}

static struct vm *race_vm(struct test *t, enum mem_backing backing, u32 flags,
			  void (*early)(struct vm *))
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = CPUS, .mem_size = SZ_2M, .backing = backing,
				  .mem_flags = early ? 0 : flags, .early = early);
	u32 i;

	if (vm->mode->levels)
		vm_map(vm, vm->test_gva, VM_MEM_GPA, 64 * SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (i = 0; i < CPUS; i++)
		vm->vcpu[i]->mmio = answer_mmio;
	if (early)
		slot_set_flags(vm->mem, flags);
	return vm;
}

/* --- one change ---------------------------------------------------------------------- */

enum change {
	DISCARD,      /* pages of 4 KiB */
	DISCARD_HUGE, /* one of 2 MiB */
	SLOT_DELETE,
	SLOT_ADD,
	SLOT_OTHER, /* other memory in the same place */
	SLOT_READONLY,
	OTHER_SLOT_DELETE,
	LOG_ON,
	LOG_GET,
	LOG_CLEAR,
	COLLAPSE,
	PAGEOUT,
	RECYCLE, /* the limit on the MMU's pages is lowered */
	AGE,
};

static const char *const changes[] = {
	"discard",	 "discard_huge",      "slot_delete", "slot_add", "slot_other",
	"slot_readonly", "other_slot_delete", "log_on",	     "log_get",	 "log_clear",
	"collapse",	 "pageout",	      "recycle",     "age",	 NULL};

struct scene {
	struct vm *vm;
	enum change change;
	struct memory other;
	struct memslot *third; /* OTHER_SLOT_DELETE */
	struct dirty_bitmap log;
};

static struct scene scene_begin(struct test *t)
{
	struct scene s = {.change = t->variant_idx};
	bool huge = s.change == DISCARD_HUGE || s.change == COLLAPSE;
	u32 flags = s.change == LOG_GET || s.change == LOG_CLEAR ? LOG : 0;

	s.vm = race_vm(t, huge ? MEM_THP : MEM_ANON, flags, s.change == LOG_CLEAR ? manual : NULL);
	s.log = dirty_bitmap_alloc(s.vm->mem);
	s.other = memory_alloc(SZ_2M, MEM_ANON);
	s.third = slot_add(s.vm, 3, VM_MEM_GPA + 64 * MiB, SZ_4K, MEM_ANON, 0);
	if (s.change == COLLAPSE)
		memory_madvise(&s.vm->mem->mem, 0, SZ_2M, MADV_NOHUGEPAGE);
	race_warm(s.vm, 0);
	if (s.change == SLOT_ADD)
		slot_delete(s.vm->mem);
	return s;
}

static void scene_end(struct scene *s)
{
	vm_destroy(s->vm);
	memory_free(&s->other);
	dirty_bitmap_free(&s->log);
}

static void make_change(struct scene *s)
{
	struct memslot *slot = s->vm->mem;

	switch (s->change) {
	case DISCARD:
		memory_madvise(&slot->mem, 0, PAGES * SZ_4K, MADV_DONTNEED);
		break;
	case DISCARD_HUGE:
		memory_madvise(&slot->mem, 0, SZ_2M, MADV_DONTNEED);
		break;
	case SLOT_DELETE:
		slot_delete(slot);
		break;
	case SLOT_ADD:
		slot_readd(slot);
		break;
	case SLOT_OTHER:
		slot_delete(slot);
		slot->hva = s->other.hva;
		slot_readd(slot);
		break;
	case SLOT_READONLY:
		slot_delete(slot);
		slot->flags = KVM_MEM_READONLY;
		slot_readd(slot);
		break;
	case OTHER_SLOT_DELETE:
		slot_delete(s->third);
		slot_readd(s->third);
		break;
	case LOG_ON:
		slot_set_flags(slot, LOG);
		break;
	case LOG_GET:
		dirty_get(slot, &s->log);
		break;
	case LOG_CLEAR:
		dirty_get(slot, &s->log);
		dirty_clear(slot, &s->log, 0, s->log.pages);
		break;
	case COLLAPSE:
		memory_madvise(&slot->mem, 0, SZ_2M, MADV_HUGEPAGE);
		/* The kernel may have its reasons not to. */
		engine()->madvise(slot->hva, SZ_2M, MADV_COLLAPSE_);
		break;
	case PAGEOUT:
		memory_madvise(&slot->mem, 0, PAGES * SZ_4K, MADV_PAGEOUT);
		break;
	case RECYCLE:
		__kvm_ioctl(s->vm->fd, KVM_SET_NR_MMU_PAGES, (void *)64);
		break;
	case AGE:
		if (engine()->age)
			engine()->age(slot->hva, SZ_2M);
		break;
	}
}

static bool keeps_memory(enum change c)
{
	return c == SLOT_READONLY || c >= OTHER_SLOT_DELETE;
}

static void change_once(struct test *t, unsigned int seed)
{
	struct scene s = scene_begin(t);
	gpa_t go = race_words(s.vm);
	u32 seen[CPUS][PAGES], i, p;
	enum change c = s.change;

	race_ready(s.vm);
	for (i = 0; i < CPUS; i++) {
		struct vcpu *v = s.vm->vcpu[i];

		for (p = 0; p < PAGES; p++) {
			/* One begins with a read: two faults, the second of them a fast one maybe. */
			if (i)
				op_add(v, .kind = AGENT_READ, .size = 4, .addr = at(s.vm, p, TOLD));
			op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = at(s.vm, p, EARLY + i),
			       .value = 1 + i);
		}
		op_wait(v, go, 1);
		for (p = 0; p < PAGES; p++) {
			seen[i][p] =
				op_add(v, .kind = AGENT_READ, .size = 4, .addr = at(s.vm, p, TOLD));
			op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = at(s.vm, p, LATE + i),
			       .value = 100 + i);
		}
	}
	race_start(s.vm, seed);
	make_change(&s);
	for (p = 0; p < PAGES; p++)
		*host(s.vm, p, TOLD) = MARK + p;
	race_signal(s.vm, go, 1);
	race_join(s.vm);
	if (c == LOG_ON || c == LOG_GET || c == LOG_CLEAR)
		dirty_get(s.vm->mem, &s.log);
	for (p = 0; p < PAGES; p++) {
		if (c == LOG_ON || c == LOG_GET || c == LOG_CLEAR)
			EXPECT(dirty_test(&s.log, p),
			       "page %u: a write after the change is in the log", p);
		for (i = 0; i < CPUS; i++) {
			EXPECT_VALUE(op_result(s.vm->vcpu[i], seen[i][p]),
				     c == SLOT_DELETE ? NOTHING : MARK + p,
				     "vCPU %u reads page %u after the change", i, p);
			EXPECT_EQ(*host(s.vm, p, LATE + i),
				  c == SLOT_DELETE || c == SLOT_READONLY ? 0 : 100 + i,
				  "page %u: what vCPU %u wrote after the change", p, i);
			if (keeps_memory(c) && c != SLOT_READONLY)
				EXPECT_EQ(*host(s.vm, p, EARLY + i), 1 + i,
					  "page %u: what vCPU %u wrote before it", p, i);
		}
	}
	scene_end(&s);
}

TEST(host_change, .what = "a fault beside a change by the host installs nothing of before",
     .modes = BOTH, .variants = changes,
     .fixes = (const char *const[]){"4a42d848db95", "a955cad84cda", "82d811ff5665", NULL})
{
	race(t, RACE_SEEDS, change_once);
}

/* --- many at once ---------------------------------------------------------------------- */

static const char *const sizes[] = {"small", "huge", NULL};

static void count_once(struct test *t, unsigned int seed)
{
	struct vm *vm = race_vm(t, t->variant_idx ? MEM_THP : MEM_ANON, 0, NULL);
	u64 before, now;
	bool huge;
	u32 i, p;

	race_warm(vm, 0);
	before = mmu_kind() ? vm_stat(vm, "pages_4k") + vm_stat(vm, "pages_2m") : 0;
	for (i = 0; i < CPUS; i++)
		for (p = 0; p < 8; p++)
			op_add(vm->vcpu[i], .kind = AGENT_XADD, .size = 4,
			       .addr = at(vm, i ? 7 - p : p, COUNT), .value = 1 + i * 0x100);
	race_start(vm, seed);
	race_join(vm);
	for (p = 0; p < 8; p++)
		EXPECT_EQ(*host(vm, p, COUNT), 0x102, "additions in page %u", p);
	/* Without guest tables there is nothing else that would be mapped meanwhile. */
	if (mmu_kind() && !vm->mode->levels) {
		now = vm_stat(vm, "pages_4k") + vm_stat(vm, "pages_2m");
		/* The kernel may have had no huge page for it. */
		huge = memory_thp_bytes(&vm->mem->mem, 0, SZ_2M);
		EXPECT_EQ(now - before, huge ? 1 : 8, "mappings");
	}
	vm_destroy(vm);
}

TEST(same_pages, .what = "vCPUs that fault on the same pages map each once", .modes = BOTH,
     .variants = sizes)
{
	race(t, RACE_SEEDS, count_once);
}

/* --- migration --------------------------------------------------------------------------- */

enum {
	BY_GET,
	BY_CLEAR,
	STARTED, /* the log is switched on beside the writers */
	HUGE_GET,
	HUGE_CLEAR,
	HUGE_STARTED,
};
static const char *const logs[] = {"get",	 "clear",	 "started", "huge_get",
				   "huge_clear", "huge_started", NULL};

static void copy_logged(struct vm *vm, struct dirty_bitmap *b, u8 *copy, bool clear)
{
	u64 i;

	dirty_get(vm->mem, b);
	if (clear)
		dirty_clear(vm->mem, b, 0, b->pages);
	for (i = 0; i < PAGES; i++)
		if (dirty_test(b, i))
			memcpy(copy + i * SZ_4K, host(vm, i, 0), SZ_4K);
}

static void migrate_once(struct test *t, unsigned int seed)
{
	bool huge = t->variant_idx >= HUGE_GET, clear = t->variant_idx % HUGE_GET == BY_CLEAR;
	bool started = t->variant_idx % HUGE_GET == STARTED;
	struct vm *vm =
		race_vm(t, huge ? MEM_THP : MEM_ANON, started ? 0 : LOG, clear ? manual : NULL);
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	static u8 copy[PAGES * SZ_4K];
	u32 i, p, k;

	race_warm(vm, started ? at(vm, 0, COUNT) : 0);
	memcpy(copy, host(vm, 0, 0), sizeof(copy));
	race_ready(vm);
	for (i = 0; i < CPUS; i++)
		for (k = 0; k < 8; k++)
			for (p = 0; p < PAGES; p++)
				op_add(vm->vcpu[i], .kind = AGENT_XADD, .size = 4,
				       .addr = at(vm, p, COUNT), .value = 1 + i * 0x100);
	race_start(vm, seed);
	if (started) {
		slot_set_flags(vm->mem, LOG);
		memcpy(copy, host(vm, 0, 0), sizeof(copy));
	}
	for (k = 0; k < 4; k++)
		copy_logged(vm, &b, copy, clear);
	race_join(vm);
	copy_logged(vm, &b, copy, clear);
	for (p = 0; p < PAGES; p++) {
		EXPECT_EQ(*host(vm, p, COUNT), 8 * 0x102, "additions in page %u", p);
		EXPECT(!memcmp(copy + p * SZ_4K, host(vm, p, 0), SZ_4K),
		       "page %u of the copy is what the guest wrote", p);
	}
	dirty_bitmap_free(&b);
	vm_destroy(vm);
}

TEST(migrate, .what = "the log names every page after its last write, whatever its writers did",
     .modes = BOTH, .variants = logs,
     .fixes = (const char *const[]){"edde99ce0529", "3354ef5a592d", NULL})
{
	race(t, RACE_SEEDS, migrate_once);
}

/* --- replay ------------------------------------------------------------------------------ */

TEST(replay, .what = "the same seed gives the same order, another one another", .modes = BOTH,
     .variants = (const char *const[]){"get", NULL})
{
	const struct engine_turns *turns = engine()->turns;
	u64 order[5][3];
	char seed[16];
	int i, k;

	REQUIRE(turns, "an engine that has threads take turns");
	for (i = 0; i < 5; i++) {
		for (k = 0; k < 3; k++) {
			snprintf(seed, sizeof(seed), "%d", 1000 + i);
			ASSERT(engine_param_set("interleave", seed));
			migrate_once(t, 1000 + i);
			order[i][k] = turns->order();
			EXPECT_EQ(order[i][k], order[i][0], "seed %d, run %d", 1000 + i, k);
		}
		for (k = 0; k < i; k++)
			EXPECT_NE(order[i][0], order[k][0], "seeds %d and %d", 1000 + i, 1000 + k);
	}
}
