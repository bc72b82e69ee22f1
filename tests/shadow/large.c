// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large pages of the guest and of the host, which need not agree.
 *
 * A large guest page over small host pages is shadowed by a table that has no
 * guest table behind it (a direct one), keyed by the page and the rights of the
 * entry; small guest pages over a large host page are shadowed one by one. An
 * entry of the guest's directory may turn from a large page into a table that
 * lies at the very address of that page, and back: then old and new child agree
 * in their frame number and differ in their role only. And a large page may cover
 * the guest's tables, even those that map it: the part that is a table must be
 * mapped small and protected, or the guest's stores go unseen, or never end.
 */
#include <sys/mman.h>

#include "frames.h"

static u32 read4(struct vcpu *v, gva_t gva)
{
	return guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva);
}

/* The linear addresses of two large pages, and one of small ones behind them. */
static gva_t big(struct vm *vm, u32 i)
{
	return vm->test_gva + (8 + i) * level_size(vm->mode, 2);
}

static u64 big_pte(struct vm *vm, u32 i, u64 bits)
{
	return pte_make_leaf(vm->mode, vm->mem->gpa + i * level_size(vm->mode, 2), 2,
			     bits | PTE_A | PTE_D);
}

static const char *const backings[] = {"small", "thp", "hugetlb", NULL};
static const enum mem_backing backing[] = {MEM_ANON, MEM_THP, MEM_HUGETLB_2M};

TEST(alias_rights, .what = "a large page mapped twice with different rights keeps them apart",
     .modes = MODES_FEW,
     .fixes = (const char *const[]){"d28c6cfbbc5e", "9e7b0e7fba45", "404381c5839d", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB,
				  .backing = t->mode->id == PM_LA48 ? MEM_THP : MEM_ANON);
	struct vcpu *v = vm->vcpu[0];
	u64 off = 5 * SZ_4K;
	u32 round;

	number_frames(vm);
	vm_map(vm, big(vm, 0), vm->mem->gpa, level_size(t->mode, 2), 2, PTE_W);
	vm_map(vm, big(vm, 1), vm->mem->gpa, level_size(t->mode, 2), 2, 0);
	for (round = 0; round < 4; round++) {
		u32 a = round & 1, b = !a;

		/* Clean first: a read may not make the page writable without setting D. */
		EXPECT_EQ(read4(v, big(vm, a) + off), frame_id(5));
		EXPECT_EQ(read4(v, big(vm, b) + off), frame_id(5));
		EXPECT_EQ(aspace_get_pte(&vm->as, big(vm, a), 2) & PTE_D, 0, "round %u", round);
		EXPECT_OK(__guest_write(v, big(vm, a) + off, frame_id(5)), "round %u", round);
		EXPECT(aspace_get_pte(&vm->as, big(vm, a), 2) & PTE_D, "round %u", round);
		EXPECT_PF(__guest_write(v, big(vm, b) + off, 0), PFERR_P | PFERR_W,
			  big(vm, b) + off, "round %u", round);
		EXPECT_OK(__guest_write(v, big(vm, a) + 2 * off, frame_id(10)), "round %u", round);
		EXPECT_EQ(*frame_word(vm, 5), frame_id(5));
		/* The two trade their rights. */
		op_clear(v);
		op_set_pte(v, &vm->as, big(vm, a), 2, big_pte(vm, 0, 0) & ~PTE_D);
		op_set_pte(v, &vm->as, big(vm, b), 2, big_pte(vm, 0, PTE_W) & ~PTE_D);
		op_invlpg(v, big(vm, a));
		op_invlpg(v, big(vm, b));
		vcpu_exec(v);
	}
}

TEST(host_pages, .what = "the host takes single pages from below large and small guest pages",
     .modes = MODE(PM_LA48), .variants = backings)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 4 * MiB, .backing = backing[t->variant_idx]);
	struct vcpu *v = vm->vcpu[0];
	u64 unit = vm->mem->mem.backing == MEM_HUGETLB_2M ? SZ_2M : SZ_4K;
	u32 i, first, round;

	number_frames(vm);
	vm_map(vm, big(vm, 0), vm->mem->gpa, SZ_2M, 2, PTE_W);
	for (i = 0; i < 16; i++)
		vm_map(vm, big(vm, 2) + i * SZ_4K, frame_gpa(vm, 15 - i), SZ_4K, 1, PTE_W);
	for (round = 0; round < 3; round++) {
		op_clear(v);
		op_add(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = big(vm, 0), .arg = SZ_4K,
		       .value = 512, .arg2 = frame_id(0));
		first = op_read(v, big(vm, 2));
		for (i = 1; i < 16; i++)
			op_read(v, big(vm, 2) + i * SZ_4K);
		op_write(v, big(vm, 0) + 9 * SZ_4K + 8, 0x900 + round);
		op_write(v, big(vm, 2) + 4 * SZ_4K + 8, 0xb00 + round);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, 0), 512, "round %u", round);
		for (i = 0; i < 16; i++)
			EXPECT_VALUE(op_result(v, first + i), frame_id(15 - i), "round %u", round);
		EXPECT_EQ(frame_word(vm, 9)[2], 0x900 + round);
		EXPECT_EQ(frame_word(vm, 11)[2], 0xb00 + round);

		memory_madvise(&vm->mem->mem, unit == SZ_4K ? 9 * SZ_4K : 0, unit, MADV_DONTNEED);
		EXPECT_EQ(read4(v, big(vm, 0) + 9 * SZ_4K), 0, "round %u", round);
		EXPECT_EQ(read4(v, big(vm, 2) + 6 * SZ_4K), 0, "round %u", round);
		number_frames(vm);
	}
}

/*
 * The directory entry at big(0) goes through large page, table in that very
 * page, other large page, nothing, in every order of two.
 */
TEST(page_or_table, .what = "an entry changes between a large page and a table at the same address",
     .modes = MODES_FEW, .fixes = (const char *const[]){"CVE-2026-46113", "CVE-2026-53359", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u64 size = level_size(t->mode, 2), states[4];
	u32 idx[] = {1, 2, 300, 511}, round, i, n, step[200];
	gpa_t table = vm->mem->gpa;

	number_frames(vm);
	for (i = 0; i < 4; i++) {
		u64 pte = frame_pte(vm, 1000 + idx[i], PTE_W);

		memcpy((u8 *)vm_hva(vm, table) + idx[i] * t->mode->pte_size, &pte,
		       t->mode->pte_size);
	}
	states[0] = big_pte(vm, 0, PTE_W);
	states[1] = table_pte(t->mode, 2, table);
	states[2] = big_pte(vm, 1, PTE_W);
	states[3] = 0;
	aspace_make_tables(&vm->as, big(vm, 0), 2);
	op_clear(v);
	for (n = 0; n < ARRAY_LEN(step); n++) {
		/* Each state is followed by each other one at some time. */
		step[n] = n % 4 == 0 ? n / 4 % 4 : test_rand(t) % 4;
		op_set_pte(v, &vm->as, big(vm, 0), 2, states[step[n]]);
		op_invlpg(v, big(vm, 0) + idx[n % 4] * SZ_4K);
		op_read(v, big(vm, 0) + idx[n % 4] * SZ_4K);
		op_invlpg(v, big(vm, 0) + idx[(n + 1) % 4] * SZ_4K);
		op_read(v, big(vm, 0) + idx[(n + 1) % 4] * SZ_4K);
	}
	vcpu_exec(v);
	for (n = 0; n < ARRAY_LEN(step); n++)
		for (round = 0; round < 2; round++) {
			u32 page = idx[(n + round) % 4];
			struct agent_result res = op_result(v, n * 5 + 2 + 2 * round);
			u64 want[] = {page, 1000 + page, size / SZ_4K + page};

			if (step[n] == 3)
				EXPECT_PF(res, 0, big(vm, 0) + page * SZ_4K, "step %u", n);
			else
				EXPECT_VALUE(res, frame_id(want[step[n]]), "step %u, state %u", n,
					     step[n]);
		}
}

/* Tables in slot 1, under a large page of the guest and of the host. */
TEST(covers_tables, .what = "stores to tables through a large page that covers them are followed",
     .modes = MODE(PM_LA48) | MODE(PM_32), .variants = backings,
     .fixes = (const char *const[]){"7751babd3c6d", "39fda5d873eb", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB, .backing = backing[t->variant_idx]);
	struct vcpu *v = vm->vcpu[0];
	u32 size = t->mode->pte_size, round, i, last = 0, r;
	gpa_t table = frame_gpa(vm, 77);
	gva_t gva = big(vm, 3), at = big(vm, 0) + 77 * SZ_4K;

	number_frames(vm);
	for (i = 0; i < 2; i++)
		vm_map(vm, big(vm, i), vm->mem->gpa, level_size(t->mode, 2), 2,
		       PTE_W | PTE_A | PTE_D);
	aspace_make_tables(&vm->as, gva, 2);
	for (round = 0; round < 3; round++) {
		/* Data first: all of the large page is used and writable. */
		op_clear(v);
		op_set_pte(v, &vm->as, gva, 2, 0);
		op_load_cr3(v, vm->as.root);
		op_write(v, big(vm, 0) + 76 * SZ_4K, frame_id(76));
		op_add(v, .kind = AGENT_SET_PTE, .addr = big(vm, 1) + 77 * SZ_4K, .size = size,
		       .value = frame_pte(vm, 100 + round, PTE_W));
		op_set_pte(v, &vm->as, gva, 2, table_pte(t->mode, 2, table));
		r = op_read(v, gva);
		for (i = 0; i < 4; i++) {
			/* Through either large page, ended by INVLPG or CR3. */
			op_add(v, .kind = AGENT_SET_PTE,
			       .addr = i & 1 ? at : at + big(vm, 1) - big(vm, 0), .size = size,
			       .value = frame_pte(vm, 110 + 4 * round + i, PTE_W));
			if (i & 2)
				op_load_cr3(v, vm->as.root);
			else
				op_invlpg(v, gva);
			last = op_read(v, gva);
			op_write(v, gva + 4, i);
		}
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, r), frame_id(100 + round), "round %u", round);
		for (i = 0; i < 4; i++) {
			EXPECT_VALUE(op_result(v, last - 4 * (3 - i)),
				     frame_id(110 + 4 * round + i), "round %u store %u", round, i);
			EXPECT_EQ(frame_word(vm, 110 + 4 * round + i)[1], i);
		}
	}
	EXPECT_EQ(*frame_word(vm, 76), frame_id(76));
}

TEST(covers_own_tables, .what = "a large page over its own tables can be written, entries included",
     .modes = MODES_FEW, .fixes = (const char *const[]){"7751babd3c6d", "39fda5d873eb", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 size = t->mode->pte_size, i, r[6];
	gva_t window = big(vm, 0), gva = big(vm, 4);
	gpa_t base = VM_TABLES_GPA, at, top;
	u64 self;

	/* The tables of slot 0 start on a large page's boundary; all are in this window. */
	number_frames(vm);
	vm_map(vm, window, base, level_size(t->mode, 2), 2, PTE_W | PTE_A | PTE_D);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	ASSERT_LT(vm->next_table, base + SZ_2M);
	at = aspace_pte_gpa(&vm->as, gva, 1);
	top = aspace_pte_gpa(&vm->as, window, 2);
	self = aspace_get_pte(&vm->as, window, 2);
	op_clear(v);
	op_read(v, gva);
	for (i = 0; i < 3; i++) {
		/* Another page's entry; then the window's own, rewritten through itself. */
		op_add(v, .kind = AGENT_SET_PTE, .addr = window + (at - base), .size = size,
		       .value = frame_pte(vm, 1 + i, PTE_W));
		op_invlpg(v, gva);
		r[i] = op_read(v, gva);
		op_add(v, .kind = AGENT_SET_PTE, .addr = window + (top - base), .size = size,
		       .value = self | PTE_SW0);
		op_invlpg(v, window);
		r[3 + i] = op_write(v, window + SZ_2M - 64, 0x40 + i);
	}
	/* Last the window takes its own right to write away. */
	op_add(v, .kind = AGENT_SET_PTE, .addr = window + (top - base), .size = size,
	       .value = self & ~PTE_W);
	op_invlpg(v, window);
	i = op_write(v, window + SZ_2M - 64, 1);
	vcpu_exec(v);
	EXPECT_PF(op_result(v, i), PFERR_P | PFERR_W, window + SZ_2M - 64);
	for (i = 0; i < 3; i++) {
		EXPECT_VALUE(op_result(v, r[i]), frame_id(1 + i));
		EXPECT_OK(op_result(v, r[3 + i]));
	}
	EXPECT_EQ(*(u32 *)vm_hva(vm, base + SZ_2M - 64), 0x42);
}

TEST(gigabyte, .what = "1 GiB guest pages over small host pages, and tables in their place",
     .modes = MODES_64)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	u32 i, round, first;
	u64 page, table;

	require_cpu(CPU_GBPAGES);
	vm = vm_create(t->mode, .mem_size = 4 * MiB, .mem_gpa = SZ_1G);
	v = vm->vcpu[0];
	gva = vm->test_gva + 4 * SZ_1G;
	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 700), SZ_4K, 1, PTE_W);
	vm_map(vm, gva + SZ_2M, vm->mem->gpa, SZ_2M, 2, PTE_W);
	table = aspace_get_pte(&vm->as, gva, 3);
	page = pte_make_leaf(t->mode, SZ_1G, 3, PTE_W | PTE_A);
	for (round = 0; round < 6; round++) {
		op_clear(v);
		op_set_pte(v, &vm->as, gva, 3, round & 1 ? table : page);
		op_invlpg(v, gva);
		op_invlpg(v, gva + SZ_2M + 5 * SZ_4K);
		first = op_read(v, gva);
		op_read(v, gva + SZ_2M + 5 * SZ_4K);
		op_read(v, gva + SZ_2M + 511 * SZ_4K);
		op_write(v, gva + SZ_2M + 5 * SZ_4K + 8, round);
		vcpu_exec(v);
		for (i = 0; i < 3; i++) {
			u32 in_page[] = {0, 512 + 5, 1023}, in_table[] = {700, 5, 511};

			EXPECT_VALUE(op_result(v, first + i),
				     frame_id(round & 1 ? in_table[i] : in_page[i]),
				     "round %u read %u", round, i);
		}
		EXPECT_EQ(frame_word(vm, round & 1 ? 5 : 517)[2], round);
		page ^= PTE_D;
	}
}

/* A table forbids a huge page over it. Once its shadow is gone nothing does. */
TEST(huge_again, .what = "where a table was there may be a huge page again", .modes = MODE(PM_LA48),
     .meant_for = MMU_SHADOW)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 8 * MiB, .backing = MEM_THP);
	struct vcpu *v = vm->vcpu[0];
	gpa_t table = frame_gpa(vm, 77);
	gva_t gva = big(vm, 3);
	struct memslot *other;
	u64 huge;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	number_frames(vm);
	REQUIRE(memory_thp_bytes(&vm->mem->mem, 0, SZ_2M) == SZ_2M, "transparent huge pages");
	other = slot_add(vm, 4, 600 * MiB, SZ_4K, MEM_ANON, 0);
	vm_map(vm, big(vm, 0), vm->mem->gpa, SZ_2M, 2, PTE_W | PTE_A | PTE_D);
	aspace_make_tables(&vm->as, gva, 2);
	op_clear(v);
	op_read(v, big(vm, 0));
	vcpu_exec(v);
	huge = vm_stat(vm, "pages_2m");
	EXPECT_GE(huge, 1, "2 MiB mappings");
	op_clear(v);
	op_add(v, .kind = AGENT_SET_PTE, .addr = big(vm, 0) + 77 * SZ_4K, .size = 8,
	       .value = frame_pte(vm, 100, PTE_W));
	op_set_pte(v, &vm->as, gva, 2, table_pte(t->mode, 2, table));
	op_read(v, gva);
	/* For reads it might stay as it is. */
	op_write(v, big(vm, 0) + 8, 1);
	op_set_pte(v, &vm->as, gva, 2, 0);
	op_load_cr3(v, vm->as.root);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 2), frame_id(100));
	EXPECT_EQ(vm_stat(vm, "pages_2m"), huge - 1, "2 MiB mappings while there is a table");
	/* All shadow pages go. */
	slot_delete(other);
	op_clear(v);
	op_read(v, big(vm, 0));
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 0), frame_id(0));
	EXPECT_EQ(vm_stat(vm, "pages_2m"), huge, "2 MiB mappings");
}

TEST(gigabyte_over_tables, .what = "a 1 GiB page that covers a table leaves stores to it seen",
     .modes = MODE(PM_LA48))
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva, over;
	gpa_t table;
	u32 round;

	require_cpu(CPU_GBPAGES);
	vm = vm_create(t->mode, .mem_size = SZ_1G, .mem_gpa = SZ_1G, .backing = MEM_HUGETLB_1G);
	v = vm->vcpu[0];
	over = vm->test_gva + 4 * SZ_1G;
	gva = vm->test_gva;
	table = frame_gpa(vm, 77);
	*frame_word(vm, 0) = frame_id(0);
	vm_map(vm, over, SZ_1G, SZ_1G, 3, PTE_W | PTE_A | PTE_D);
	aspace_make_tables(&vm->as, gva, 2);
	guest_write(v, over, frame_id(0));
	guest_set_pte(v, &vm->as, gva, 2, table_pte(t->mode, 2, table));
	for (round = 100; round < 106; round++) {
		*frame_word(vm, round) = frame_id(round);
		op_clear(v);
		op_add(v, .kind = AGENT_SET_PTE, .addr = over + 77 * SZ_4K, .size = 8,
		       .value = frame_pte(vm, round, PTE_W));
		op_invlpg(v, gva);
		op_read(v, gva);
		op_write(v, over + 8, round);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, 2), frame_id(round), "round %u", round);
	}
}
