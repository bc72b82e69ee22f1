// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults beside whatever takes away what they are about to map.
 *
 * A fault finds out things one after the other: the slot, the page behind it, what the guest's
 * tables say; and only at the end, with the lock, it installs an entry. Each of these may have
 * changed by then, and whoever changed it has found no entry to remove. So each is checked again,
 * or the change waits. Here vCPUs fault while the host discards pages, replaces slots or fetches
 * the log, and while another vCPU edits their tables; when all is over nothing of the old may be
 * left: what the guest reads is what the host has there.
 *
 * Bodies are small, so that they can be run under hundreds of orders, each with its seed.
 */
#include <string.h>
#include <sys/mman.h>

#include "race.h"
#include "slots.h"

#define PAGES 6
#define SEEDS 150

/* Each vCPU of @vm reads, or writes at offset 8, the PAGES frames from @gpa, @rounds times. */
static void start_touching(struct vm *vm, gpa_t gpa, u32 rounds, bool write)
{
	u32 i, r, n;

	for (i = 0; i < vm->nr_vcpus; i++) {
		op_clear(vm->vcpu[i]);
		for (r = 0; r < rounds; r++)
			for (n = 0; n < PAGES; n++)
				op_add(vm->vcpu[i], .kind = write ? AGENT_XADD : AGENT_READ,
				       .size = 4,
				       .addr = window(vm, gpa + (i ? PAGES - 1 - n : n) * SZ_4K) +
					       8 * write,
				       .value = write);
		vcpu_start(vm->vcpu[i]);
	}
}

static void join_all(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++)
		vcpu_join(vm->vcpu[i]);
}

/* All vCPUs read in the frames from @gpa what the host has put there now. */
static void expect_now(struct vm *vm, gpa_t gpa, void *hva, u32 base)
{
	u32 i;

	number_frames(hva, PAGES * SZ_4K, base);
	for (i = 0; i < vm->nr_vcpus; i++)
		expect_frames(vm->vcpu[i], gpa, PAGES * SZ_4K, base, "afterwards");
}

/* Waits until @v is at operation @op of its batch, or beyond. */
static void wait_op(struct vcpu *v, u32 op)
{
	u32 tries = 0;

	while (*(volatile u32 *)&v->mailbox->current_op < op && tries++ < 200000)
		vcpu_relax();
}

#define WINDOWS 24

/*
 * A page is discarded when a vCPU is just getting to it, or to a page near it: those may be
 * mapped ahead when they are there but not mapped, for which a slot that is replaced sees.
 */
static void discard_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M);
	struct memory *m = &vm->mem->mem;
	u32 i, n, page;

	number_frames(m->hva, WINDOWS * SZ_4K, 1000);
	window_map(vm, vm->mem->gpa, WINDOWS * SZ_4K, 1);
	if (seed & 4) {
		guest_do(vm->vcpu[0], .kind = AGENT_TOUCH_WRITE, .size = 4, .arg = SZ_4K,
			 .addr = window(vm, vm->mem->gpa), .value = WINDOWS);
		slot_delete(vm->mem);
		slot_readd(vm->mem);
	}
	for (i = 0; i < 2; i++) {
		op_clear(vm->vcpu[i]);
		for (n = 0; n < WINDOWS; n++)
			op_add(vm->vcpu[i], .kind = seed & 1 ? AGENT_XADD : AGENT_READ, .size = 4,
			       .addr = window(vm, vm->mem->gpa + n * SZ_4K) + 8 * (seed & 1),
			       .value = 1);
		vcpu_start(vm->vcpu[i]);
	}
	for (i = 0; i < WINDOWS; i++) {
		page = seed & 4 ? (i & ~7) + (i + seed) % 8 : i;
		wait_op(vm->vcpu[seed >> 3 & 1], i);
		memory_madvise(m, page * SZ_4K, seed & 2 ? (WINDOWS - page) * SZ_4K : SZ_4K,
			       MADV_DONTNEED);
	}
	join_all(vm);
	number_frames(m->hva, WINDOWS * SZ_4K, seed * 1000);
	for (i = 0; i < 2; i++)
		expect_frames(vm->vcpu[i], vm->mem->gpa, WINDOWS * SZ_4K, seed * 1000,
			      "afterwards");
	vm_destroy(vm);
}

TEST(discard, .what = "a page that is discarded beside faults on it is mapped by nobody",
     .modes = MODE(PM_LA48) | MODE(PM_NONE),
     .fixes = (const char *const[]){"4a42d848db95", "82d811ff5665", NULL})
{
	race(t, SEEDS, discard_body);
}

static void answer(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
}

static void replace_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M);
	struct memory other = memory_alloc(SZ_2M, MEM_ANON);
	struct memslot *s = slot_add(vm, 2, 512 * MiB, SZ_2M, MEM_ANON, 0);
	u32 i;

	number_frames(s->hva, PAGES * SZ_4K, 1000);
	number_frames(other.hva, PAGES * SZ_4K, 2000);
	window_map(vm, s->gpa, PAGES * SZ_4K, 1);
	for (i = 0; i < 2; i++)
		vm->vcpu[i]->mmio = answer;
	start_touching(vm, s->gpa, 2, false);
	slot_delete(s);
	if (seed & 1)
		s->hva = other.hva;
	slot_readd(s);
	if (seed & 2) {
		slot_delete(s);
		slot_readd(s);
	}
	join_all(vm);
	expect_now(vm, s->gpa, s->hva, seed * 1000);
	memory_free(&other);
	vm_destroy(vm);
}

TEST(replace, .what = "a slot that is replaced beside faults on it is mapped by nobody",
     .modes = MODE(PM_LA48) | MODE(PM_NONE),
     .fixes = (const char *const[]){"a955cad84cda", "18c841e1f411", NULL})
{
	race(t, SEEDS, replace_body);
}

/* Copies what the log names now. */
static void copy_logged(struct memslot *s, struct dirty_bitmap *b, u8 *copy)
{
	u64 i;

	dirty_get(s, b);
	for (i = 0; i < PAGES; i++)
		if (dirty_test(b, i))
			memcpy(copy + i * SZ_4K, (u8 *)s->hva + i * SZ_4K, SZ_4K);
}

static void log_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M,
				  .mem_flags = seed & 1 ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	static u8 copy[PAGES * SZ_4K];
	u32 i;

	window_map(vm, vm->mem->gpa, PAGES * SZ_4K, 1);
	start_touching(vm, vm->mem->gpa, 6, true);
	wait_op(vm->vcpu[0], seed / 2 % 4);
	if (!(seed & 1))
		slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	memcpy(copy, vm->mem->hva, sizeof(copy));
	for (i = 0; i < 12; i++) {
		wait_op(vm->vcpu[i & 1], 3 * i);
		copy_logged(vm->mem, &b, copy);
	}
	join_all(vm);
	copy_logged(vm->mem, &b, copy);
	for (i = 0; i < PAGES; i++)
		EXPECT(!memcmp(copy + i * SZ_4K, (u8 *)vm->mem->hva + i * SZ_4K, SZ_4K),
		       "page %u of the copy is what the guest wrote", i);
	dirty_bitmap_free(&b);
	vm_destroy(vm);
}

TEST(log, .what = "a write beside a fetch of the log is in this one or the next",
     .modes = MODE(PM_LA48) | MODE(PM_NONE),
     .fixes = (const char *const[]){"edde99ce0529", "6dbf79e7164e", "ba3a6120a4e7", NULL})
{
	race(t, SEEDS, log_body);
}

/* One vCPU uses addresses, the other one changes the entries of their tables, on each level. */
static void edit_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M);
	struct vcpu *user = vm->vcpu[0], *editor = vm->vcpu[1];
	struct aspace other = aspace_create(vm);
	gva_t gva = window(vm, vm->mem->gpa);
	u64 link = 0, bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	u32 i, got;

	number_frames(vm->mem->hva, 64 * SZ_4K, 1000);
	window_map(vm, vm->mem->gpa, PAGES * SZ_4K, 1);
	aspace_map(&other, gva, vm->mem->gpa + 16 * SZ_4K, PAGES * SZ_4K, 1, PTE_W | PTE_U);
	link = aspace_get_pte(&other, gva, 2);
	op_clear(user);
	op_clear(editor);
	for (i = 0; i < PAGES; i++)
		op_add(user, .kind = seed & 2 ? AGENT_XADD : AGENT_READ, .size = 4,
		       .addr = gva + i * SZ_4K + (seed & 2 ? 8 : 0), .value = 1);
	for (i = 0; i < PAGES; i++) {
		if (i == PAGES / 2 && (seed & 1))
			op_set_pte(editor, &vm->as, gva, 2, link);
		op_set_pte(editor, &vm->as, gva + i * SZ_4K, 1,
			   (vm->mem->gpa + (32 + i) * SZ_4K) | bits);
	}
	vcpu_start(user);
	vcpu_start(editor);
	join_all(vm);
	op_clear(user);
	op_add(user, .kind = AGENT_WRITE_CR, .addr = 3, .value = vm->as.root);
	for (i = 0; i < PAGES; i++)
		got = op_add(user, .kind = AGENT_READ, .size = 4, .addr = gva + i * SZ_4K);
	vcpu_exec(user);
	for (i = 0; i < PAGES; i++)
		EXPECT_VALUE(op_result(user, got + 1 - PAGES + i), 1000 + (seed & 1 ? 16 : 32) + i,
			     "page %u", i);
	vm_destroy(vm);
}

TEST(edit, .what = "an entry that is changed beside a fault that walks it is followed",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	race(t, SEEDS, edit_body);
}

/*
 * A page that was written as data becomes a table, while the log takes its protection for its
 * own: what TLBs have of it must be flushed by who needs the table protected.
 */
static void table_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M,
				  .mem_flags = KVM_MEM_LOG_DIRTY_PAGES);
	struct vcpu *user = vm->vcpu[0], *writer = vm->vcpu[1];
	struct dirty_bitmap b = dirty_bitmap_alloc(vm->mem);
	gpa_t table = vm->mem->gpa + 9 * SZ_4K, words = vm->mem->gpa + 10 * SZ_4K;
	gva_t gva = 3 * vm->test_gva / 2, go = window(vm, words), done = go + 4;
	u64 bits = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	u32 first, last;

	number_frames(vm->mem->hva, 8 * SZ_4K, 1000);
	window_map(vm, vm->mem->gpa, 16 * SZ_4K, 1);
	aspace_make_tables(&vm->as, gva, 2);
	op_clear(writer);
	op_add(writer, .kind = AGENT_SET_PTE, .addr = window(vm, table), .size = t->mode->pte_size,
	       .value = vm->mem->gpa | bits);
	op_add(writer, .kind = AGENT_WRITE, .addr = go, .value = 1, .size = 4);
	vcpu_exec(writer);
	op_clear(user);
	op_set_pte(user, &vm->as, gva, 2, table | PTE_P | PTE_W | PTE_U | PTE_A);
	first = op_add(user, .kind = AGENT_READ, .addr = gva, .size = 4);
	op_add(user, .kind = AGENT_WRITE, .addr = go, .value = 2, .size = 4);
	op_add(user, .kind = AGENT_WAIT_EQ, .addr = done, .value = 1, .size = 4);
	op_add(user, .kind = AGENT_INVLPG, .addr = gva);
	last = op_add(user, .kind = AGENT_READ, .addr = gva, .size = 4);
	op_clear(writer);
	op_add(writer, .kind = AGENT_WAIT_EQ, .addr = go, .value = 2, .size = 4);
	op_add(writer, .kind = AGENT_SET_PTE, .addr = window(vm, table), .size = t->mode->pte_size,
	       .value = (vm->mem->gpa + 2 * SZ_4K) | bits);
	op_add(writer, .kind = AGENT_WRITE, .addr = done, .value = 1, .size = 4);
	vcpu_start(user);
	vcpu_start(writer);
	if (seed & 1)
		wait_op(user, 1);
	dirty_get(vm->mem, &b);
	join_all(vm);
	EXPECT_VALUE(op_result(user, first), 1000);
	EXPECT_VALUE(op_result(user, last), 1002);
	dirty_bitmap_free(&b);
	vm_destroy(vm);
}

TEST(table, .what = "a table that the log protects as well is protected in every TLB",
     .modes = MODE(PM_LA48) | MODE(PM_32),
     .fixes = (const char *const[]){"6dbf79e7164e", "f81602958c11", NULL})
{
	race(t, 2 * SEEDS, table_body);
}

#define SPACES 14

/*
 * With many tables to be zapped whoever does it lets others have the lock in between, who must
 * not come to use what is about to go.
 */
static void generation_body(struct test *t, unsigned int seed)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = SZ_2M, .run_ms = 8000);
	struct memslot *s = slot_add(vm, 2, 512 * MiB, SZ_4K, MEM_ANON, 0);
	struct aspace as[SPACES];
	gva_t gva = vm->test_gva;
	u32 i, k;

	number_frames(vm->mem->hva, SPACES * SZ_4K, 1000);
	for (i = 0; i < SPACES; i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], gva, vm->mem->gpa + i * SZ_4K, SZ_4K, 1, PTE_W);
	}
	for (k = 0; k < 2; k++) {
		op_clear(vm->vcpu[k]);
		for (i = 0; i < SPACES; i++) {
			op_add(vm->vcpu[k], .kind = AGENT_WRITE_CR, .addr = 3, .value = as[i].root);
			op_add(vm->vcpu[k], .kind = AGENT_READ, .addr = gva, .size = 4);
		}
		if (!k)
			vcpu_exec(vm->vcpu[0]);
		vcpu_start(vm->vcpu[k]);
	}
	wait_op(vm->vcpu[0], seed % 8);
	slot_delete(s);
	join_all(vm);
	for (k = 0; k < 2; k++)
		for (i = 0; i < SPACES; i++)
			EXPECT_VALUE(op_result(vm->vcpu[k], 2 * i + 1), 1000 + i);
	vm_destroy(vm);
}

TEST(generation, .what = "tables that are being zapped are used by nobody any more",
     .modes = MODE(PM_LA48) | MODE(PM_PAE))
{
	race(t, SEEDS, generation_body);
}
