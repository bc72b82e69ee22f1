// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many aliases of one page: what must happen to a page has to happen to every
 * mapping of it.
 *
 * For each guest frame the hypervisor keeps a list of the shadow entries that
 * map it, one entry in place, then blocks of a handful chained together. It is
 * walked when the frame is write-protected (for the dirty log, or because it
 * became a page table), when the host takes the page away, and when its memslot
 * goes. A walk that ends early, at the first hit, or at the first block, leaves
 * an alias through which the guest writes unnoticed or reads memory that is no
 * longer its own. So one frame is mapped 1, 2, 15 and 300 times, over
 * several tables and address spaces, every alias is used, and then each one that
 * could be left out is tried.
 */
#include <sys/mman.h>

#include "frames.h"

#define PER_TABLE 100
#define MAX_ALIAS 300

/* Alias @i: a hundred in each of three tables that lie far apart. */
static gva_t alias(struct vm *vm, u32 i)
{
	return vm->test_gva + (i / PER_TABLE) * 5 * level_size(vm->mode, 2) +
	       (i % PER_TABLE + 7) * SZ_4K;
}

static void map_aliases(struct vm *vm, u32 from, u32 to, gpa_t gpa, u64 bits)
{
	u32 i;

	for (i = from; i < to; i++)
		vm_map(vm, alias(vm, i), gpa, SZ_4K, 1, bits | PTE_A | PTE_D);
}

/* Stores @value + n at offset @offset of the page through aliases 0 to @n - 1. */
static void write_all(struct vcpu *v, u32 n, u32 offset, u32 value)
{
	u32 i;

	op_clear(v);
	for (i = 0; i < n; i += PER_TABLE)
		op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = alias(v->vm, i) + offset,
		       .arg = SZ_4K, .value = n - i < PER_TABLE ? n - i : PER_TABLE,
		       .arg2 = value + i);
	vcpu_exec(v);
	for (i = 0; i < v->mailbox->nr_ops; i++)
		EXPECT_OK(op_result(v, i));
}

static const u32 counts[] = {1, 2, 15, MAX_ALIAS};

TEST(dirty_log, .what = "fetching the dirty log protects every alias of a page",
     .modes = MODE(PM_LA48) | MODE(PM_32),
     .fixes = (const char *const[]){"f81602958c11", "6dbf79e7164e", "53a27b39ff4d", NULL})
{
	struct vm *vm =
		vm_create(t->mode, .mem_size = 1 * MiB, .mem_flags = KVM_MEM_LOG_DIRTY_PAGES);
	struct vcpu *v = vm->vcpu[0];
	struct dirty_bitmap log = dirty_bitmap_alloc(vm->mem);
	u32 c, k, n;

	for (c = 0; c < ARRAY_LEN(counts); c++) {
		u32 tries[6];

		n = counts[c];
		map_aliases(vm, c ? counts[c - 1] : 0, n, frame_gpa(vm, 5), PTE_W);
		tries[0] = 0;
		tries[1] = n - 1;
		tries[2] = n / 2;
		tries[3] = n > 14 ? n - 14 : n - 1;
		tries[4] = n > 1;
		tries[5] = test_rand(t) % n;
		for (k = 0; k < ARRAY_LEN(tries); k++) {
			write_all(v, n, 0, 1);
			dirty_get(vm->mem, &log);
			EXPECT(dirty_test(&log, 5), "%u aliases written", n);
			EXPECT_EQ(dirty_count(&log), 1);
			guest_write(v, alias(vm, tries[k]), 0x77);
			dirty_get(vm->mem, &log);
			EXPECT(dirty_test(&log, 5), "alias %u of %u", tries[k], n);
			EXPECT_EQ(dirty_count(&log), 1, "alias %u of %u", tries[k], n);
		}
		dirty_get(vm->mem, &log);
		EXPECT_EQ(dirty_count(&log), 0, "nothing was written");
	}
	dirty_bitmap_free(&log);
}

TEST(host_takes_page, .what = "what the host does to a page reaches every alias in every space",
     .modes = MODE(PM_LA48) | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct aspace b = aspace_create(vm);
	u32 i, round, space;

	map_aliases(vm, 0, MAX_ALIAS, frame_gpa(vm, 5), PTE_W);
	for (i = 0; i < 20; i++)
		aspace_map(&b, vm->test_gva + i * 37 * SZ_4K, frame_gpa(vm, 5), SZ_4K, 1,
			   i & 1 ? PTE_W : 0);
	for (round = 1; round <= 3; round++) {
		*frame_word(vm, 5) = round;
		for (space = 0; space < 2; space++) {
			guest_load_cr3(v, space ? &b : &vm->as);
			op_clear(v);
			for (i = 0; i < (space ? 20 : MAX_ALIAS); i++)
				op_read(v, space ? vm->test_gva + i * 37 * SZ_4K : alias(vm, i));
			vcpu_exec(v);
			for (i = 0; i < v->mailbox->nr_ops; i++)
				EXPECT_VALUE(op_result(v, i), round, "space %u alias %u", space, i);
		}
		/* A new page below: the old one is gone, whoever still maps it. */
		memory_madvise(&vm->mem->mem, 5 * SZ_4K, SZ_4K, MADV_DONTNEED);
	}
	guest_load_cr3(v, &vm->as);
	write_all(v, MAX_ALIAS, 64, 1000);
	EXPECT_EQ(frame_word(vm, 5)[16], 1000 + MAX_ALIAS - 1);
}

struct mmio_log {
	u64 reads, wrong;
	gpa_t want;
};

static void answer(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct mmio_log *log = arg;
	u32 value = 0xabcd;

	(void)v;
	log->reads++;
	if (run->mmio.is_write || run->mmio.phys_addr != log->want)
		log->wrong++;
	memcpy(run->mmio.data, &value, sizeof(value));
}

TEST(slot_goes, .what = "a deleted memslot is gone from every alias, and comes back in each",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct memslot *slot = slot_add(vm, 5, 512 * MiB, 64 * KiB, MEM_ANON, 0);
	struct mmio_log log = {.want = slot->gpa + 3 * SZ_4K};
	u32 i, round, n = 24;

	v->mmio = answer;
	v->arg = &log;
	*(u32 *)vm_hva(vm, log.want) = 0x1234;
	for (i = 0; i < n; i++)
		vm_map(vm, alias(vm, i * 11), log.want, SZ_4K, 1, PTE_W);
	for (round = 0; round < 4; round++) {
		if (round & 1)
			slot_delete(slot);
		else if (round)
			slot_readd(slot);
		op_clear(v);
		for (i = 0; i < n; i++)
			op_read(v, alias(vm, i * 11));
		vcpu_exec(v);
		for (i = 0; i < n; i++)
			EXPECT_VALUE(op_result(v, i), round & 1 ? 0xabcd : 0x1234,
				     "round %u alias %u", round, i);
	}
	EXPECT_EQ(log.reads, 2 * n);
	EXPECT_EQ(log.wrong, 0);
}

/*
 * A frame that was data, mapped writable many times, becomes a table: from then
 * on a store through any of the aliases is a store to a live table. @entries are
 * what its first entry gets in turn, @ids what the guest then reads at @gva.
 */
#define TABLE_ALIASES 40

static void check_table(struct vm *vm, u32 first, gpa_t table, gva_t gva, int level,
			const u64 *entries, const u32 *ids, u32 n)
{
	static const u32 tries[] = {0, 1, 13, 14, 15, 16, 29, TABLE_ALIASES - 1};
	struct vcpu *v = vm->vcpu[0];
	u32 k, r, size = vm->mode->pte_size;

	map_aliases(vm, first, first + TABLE_ALIASES, table, PTE_W);
	memset(vm_hva(vm, table), 0, SZ_4K);
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = alias(vm, first) + 16, .arg = SZ_4K,
	       .value = TABLE_ALIASES);
	op_add(v, .kind = AGENT_SET_PTE, .addr = alias(vm, first), .value = entries[0],
	       .size = size);
	op_set_pte(v, &vm->as, gva, level + 1, table_pte(vm->mode, level + 1, table));
	r = op_read(v, gva);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0));
	EXPECT_VALUE(op_result(v, r), ids[0], "level %d, as linked", level);
	for (k = 1; k <= 2 * ARRAY_LEN(tries); k++) {
		u32 a = first + tries[k % ARRAY_LEN(tries)];

		op_clear(v);
		/* Protected again and used, so that each alias is tried from the same state. */
		op_load_cr3(v, vm->as.root);
		op_read(v, gva);
		op_add(v, .kind = AGENT_SET_PTE, .addr = alias(vm, a), .size = size,
		       .value = entries[k % n]);
		op_invlpg(v, gva);
		r = op_read(v, gva);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, r), ids[k % n], "level %d alias %u", level, a - first);
	}
}

TEST(page_becomes_table, .what = "stores through old aliases of a page that is a table now count",
     .modes = MODES_FEW, .fixes = (const char *const[]){"f81602958c11", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	const struct paging_mode *m = t->mode;
	gva_t gva = vm->test_gva + 32 * level_size(m, 2);
	u64 entries[8];
	u32 ids[8], i;

	number_frames(vm);
	for (i = 0; i < 8; i++) {
		entries[i] = frame_pte(vm, 8 + i, 0);
		ids[i] = frame_id(8 + i);
	}
	aspace_make_tables(&vm->as, gva, 2);
	check_table(vm, 0, frame_gpa(vm, 1), gva, 1, entries, ids, 8);
	if (!m->long_mode)
		return;
	/* The same for a directory: its first entry points to one of eight tables. */
	gva = vm->test_gva + 8 * SZ_1G;
	for (i = 0; i < 8; i++) {
		gpa_t leaf = vm_alloc_table(vm);

		*(u64 *)vm_hva(vm, leaf) = entries[i];
		entries[i] = table_pte(m, 2, leaf);
	}
	aspace_make_tables(&vm->as, gva, 3);
	check_table(vm, PER_TABLE, frame_gpa(vm, 2), gva, 2, entries, ids, 8);
}

/*
 * The same with a second vCPU that has an alias in its TLB as writable and stores
 * through it without having left the guest since: write protection has to reach
 * its TLB too, also when the alias looked at last was not writable.
 */
TEST(remote_alias, .what = "a page that becomes a table is protected in the TLBs of other vCPUs",
     .modes = MODE(PM_LA48), .fixes = (const char *const[]){"f81602958c11", "6dbf79e7164e", NULL})
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0], *w = vm->vcpu[1];
	gva_t gva = vm->test_gva + 32 * SZ_1G, turn = vm->test_gva + 64 * SZ_2M;
	gpa_t table = frame_gpa(vm, 1), leaf[2];
	u64 ways[2];
	u32 i, round, r[12];

	number_frames(vm);
	map_aliases(vm, 0, 20, table, PTE_W);
	map_aliases(vm, 20, 21, table, 0);
	vm_map(vm, turn, frame_gpa(vm, 30), SZ_4K, 1, PTE_W);
	*frame_word(vm, 30) = 0;
	memset(vm_hva(vm, table), 0, SZ_4K);
	for (i = 0; i < 2; i++) {
		leaf[i] = vm_alloc_table(vm);
		ways[i] = table_pte(t->mode, 2, leaf[i]);
		*(u64 *)vm_hva(vm, leaf[i]) = frame_pte(vm, 40 + i, 0);
	}
	aspace_make_tables(&vm->as, gva, 3);
	/* Of all aliases the first and the last are read-only, one in between is the other's. */
	write_all(v, 20, 8, 0);
	guest_read(v, alias(vm, 20));
	op_clear(v);
	op_clear(w);
	for (round = 0; round < ARRAY_LEN(r); round++) {
		gva_t a = alias(vm, round);
		u32 at = round * 4;

		op_write(v, turn, at + 1);
		op_add(v, .kind = AGENT_WAIT_EQ, .size = 4, .addr = turn, .value = at + 2);
		op_set_pte(v, &vm->as, gva, 3, table_pte(t->mode, 3, table));
		op_read(v, gva);
		op_write(v, turn, at + 3);
		op_add(v, .kind = AGENT_WAIT_EQ, .size = 4, .addr = turn, .value = at + 4);
		op_invlpg(v, gva);
		r[round] = op_read(v, gva);
		op_set_pte(v, &vm->as, gva, 3, 0);
		op_invlpg(v, gva);
		op_add(v, .kind = AGENT_WRITE, .addr = alias(vm, round + 1), .value = ways[0]);
		op_read(v, alias(vm, 20));

		op_add(w, .kind = AGENT_WAIT_EQ, .size = 4, .addr = turn, .value = at + 1);
		op_add(w, .kind = AGENT_WRITE, .addr = a, .value = ways[0]);
		op_write(w, turn, at + 2);
		op_add(w, .kind = AGENT_WAIT_EQ, .size = 4, .addr = turn, .value = at + 3);
		op_add(w, .kind = AGENT_WRITE, .addr = a, .value = ways[1]);
		op_write(w, turn, at + 4);
	}
	vcpu_start(w);
	vcpu_exec(v);
	vcpu_join(w);
	for (round = 0; round < ARRAY_LEN(r); round++) {
		EXPECT_VALUE(op_result(v, r[round]), frame_id(41), "round %u", round);
		EXPECT_VALUE(op_result(v, r[round] - 4), frame_id(40), "round %u", round);
	}
}
