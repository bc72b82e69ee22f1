// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest writes to live tables above the leaf: the hypervisor write-protects
 * them, emulates each store, and drops what it had derived from the entry.
 *
 * For the guest the store is an ordinary one, so an entry of any level must
 * have its new meaning after INVLPG at the latest, whatever it was before: a
 * table, another table, nothing, and back. A hypervisor gets this wrong by
 * leaving the page writable when it becomes a table (a mapping made earlier,
 * under another address, stays as it was), by dropping the wrong entry, or by
 * treating a store that is narrower than an entry, or spans two, as if it had
 * hit one whole entry. In each case the old translation lives on, which shows as
 * the number of the old frame.
 *
 * Entries of the last level may be written freely and are followed at the next
 * flush; unsync.c is about them.
 */
#include "frames.h"

#define FRAME_OLD 3
#define FRAME_NEW 4

/* The level above the leaf up to which entries can be changed without loading CR3. */
static int top_level(const struct paging_mode *m)
{
	return m->id == PM_PAE ? 2 : m->levels;
}

/* Changes the entry of @gva at @level to @pte and reads behind it. */
static struct agent_result change(struct vcpu *v, gpa_t at, u64 pte, gva_t gva)
{
	u32 i;

	op_clear(v);
	op_store_entry(v, at, pte);
	op_invlpg(v, gva);
	i = op_read(v, gva);
	vcpu_exec(v);
	return op_result(v, i);
}

TEST(every_level, .what = "a store to an entry of any upper level is followed after INVLPG",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	const struct paging_mode *m = t->mode;
	struct vcpu *v = vm->vcpu[0];
	int level, i;

	number_frames(vm);
	for (level = 2; level <= top_level(m); level++) {
		/* The neighbouring entry leads to the other frame by tables of its own. */
		gva_t gva = vm->test_gva + 8 * SZ_4K, other = gva + level_size(m, level);
		u64 old, new;
		gpa_t at;

		vm_map(vm, gva, frame_gpa(vm, FRAME_OLD), SZ_4K, 1, PTE_W);
		vm_map(vm, other, frame_gpa(vm, FRAME_NEW), SZ_4K, 1, PTE_W);
		at = aspace_pte_gpa(&vm->as, gva, level);
		old = aspace_get_pte(&vm->as, gva, level);
		new = aspace_get_pte(&vm->as, other, level);
		ASSERT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva),
			  frame_id(FRAME_OLD));
		for (i = 0; i < 3; i++) {
			EXPECT_VALUE(change(v, at, new, gva), frame_id(FRAME_NEW), "level %d",
				     level);
			EXPECT_PF(change(v, at, 0, gva), 0, gva, "level %d", level);
			EXPECT_VALUE(change(v, at, old, gva), frame_id(FRAME_OLD), "level %d",
				     level);
			EXPECT_PF(change(v, at, old & ~PTE_P, gva), 0, gva, "level %d", level);
			/* From not present to present no flush is owed. */
			op_clear(v);
			op_store_entry(v, at, new);
			op_read(v, gva);
			op_store_entry(v, at, old);
			op_invlpg(v, gva);
			op_read(v, gva);
			vcpu_exec(v);
			EXPECT_VALUE(op_result(v, 1), frame_id(FRAME_NEW), "level %d", level);
			EXPECT_VALUE(op_result(v, 4), frame_id(FRAME_OLD), "level %d", level);
		}
		aspace_set_pte(&vm->as, other, level, 0);
	}
}

/* Two neighbouring entries of a page directory with a frame behind each. */
struct pair {
	struct vm *vm;
	struct vcpu *v;
	gva_t gva[2];
	gpa_t at[2];
	u64 pte[2], spare; /* spare leads to FRAME_NEW + 1 */
};

static struct pair pair_create(const struct paging_mode *m)
{
	struct pair p = {.vm = vm_create(m, .mem_size = 1 * MiB)};
	gva_t third;
	int i;

	p.v = p.vm->vcpu[0];
	number_frames(p.vm);
	for (i = 0; i < 2; i++) {
		p.gva[i] = p.vm->test_gva + (4 + i) * level_size(m, 2);
		vm_map(p.vm, p.gva[i], frame_gpa(p.vm, FRAME_OLD + i), SZ_4K, 1, PTE_W);
		p.at[i] = aspace_pte_gpa(&p.vm->as, p.gva[i], 2);
		p.pte[i] = aspace_get_pte(&p.vm->as, p.gva[i], 2);
	}
	third = p.gva[1] + level_size(m, 2);
	vm_map(p.vm, third, frame_gpa(p.vm, FRAME_NEW + 1), SZ_4K, 1, PTE_W);
	p.spare = aspace_get_pte(&p.vm->as, third, 2);
	return p;
}

/* Both entries as they are in memory, from what the guest sees. */
static void pair_check(struct pair *p, u32 first, u32 second, const char *what)
{
	u32 want[2] = {first, second};
	int i;

	op_clear(p->v);
	for (i = 0; i < 2; i++)
		op_invlpg(p->v, p->gva[i]);
	for (i = 0; i < 2; i++)
		op_read(p->v, p->gva[i]);
	vcpu_exec(p->v);
	for (i = 0; i < 2; i++) {
		if (want[i])
			EXPECT_VALUE(op_result(p->v, 2 + i), want[i], "%s, entry %d", what, i);
		else
			EXPECT_PF(op_result(p->v, 2 + i), 0, p->gva[i], "%s, entry %d", what, i);
	}
}

static void pair_write(struct pair *p, gpa_t at, u32 size, u64 value)
{
	(void)guest_do(p->v, .kind = AGENT_WRITE, .addr = at, .size = size, .value = value);
}

TEST(partial_stores, .what = "stores of part of an entry, and of two halves of neighbours, count",
     .modes = MODES_FEW)
{
	struct pair p = pair_create(t->mode);
	u32 one = frame_id(FRAME_OLD), two = frame_id(FRAME_NEW), three = frame_id(FRAME_NEW + 1);
	u32 size = t->mode->pte_size, round;
	u64 joint;

	for (round = 0; round < 2; round++) {
		pair_check(&p, one, two, "as built");
		pair_write(&p, p.at[0], 1, 0);
		pair_check(&p, 0, two, "low byte of the first cleared");
		pair_write(&p, p.at[0], 1, p.pte[0]);
		pair_check(&p, one, two, "low byte of the first restored");
		pair_write(&p, p.at[1], 2, p.spare);
		pair_write(&p, p.at[1] + 2, 2, p.spare >> 16);
		pair_check(&p, one, three, "second rewritten in two 16-bit stores");
		pair_write(&p, p.at[1], 4, p.pte[1]);
		pair_check(&p, one, two, "second rewritten in a 32-bit store");
		/* The upper half of the first and the lower half of the second at once. */
		if (size == 8) {
			pair_write(&p, p.at[1] - 2, 2, 0);
			pair_write(&p, p.at[1] - 1, 4, (u64)(p.spare & 0xffffff) << 8);
		} else {
			joint = (p.pte[0] >> 16) | (u64)(p.spare & 0xffff) << 16;
			pair_write(&p, p.at[0] + 2, 4, joint);
			pair_write(&p, p.at[1] + 2, 2, p.spare >> 16);
		}
		pair_check(&p, one, three, "a store over the border of both");
		pair_write(&p, p.at[1], 4, p.pte[1]);
	}
}

TEST(crossing_store, .what = "a store that begins in a data page and ends in a table counts",
     .modes = MODE(PM_LA48))
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	gpa_t data = vm_alloc_table(vm), pd, spare;
	int level;

	number_frames(vm);
	/* Allocated in a row: the directory behind @data is the entry 0 of test_gva's. */
	pd = vm_alloc_table(vm);
	ASSERT_EQ(pd, data + SZ_4K);
	aspace_make_tables(&vm->as, gva, 3);
	aspace_link(&vm->as, gva, 3, pd);
	vm_map(vm, gva, frame_gpa(vm, FRAME_OLD), SZ_4K, 1, PTE_W);
	vm_map(vm, gva + SZ_2M, frame_gpa(vm, FRAME_NEW), SZ_4K, 1, PTE_W);
	spare = aspace_get_pte(&vm->as, gva + SZ_2M, 2);

	for (level = 0; level < 3; level++) {
		u64 old = aspace_get_pte(&vm->as, gva, 2);

		EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = gva),
			  frame_id(level & 1 ? FRAME_NEW : FRAME_OLD));
		guest_write(v, pd - 4, (spare & 0xffffffff) << 32 | 0x12345678);
		EXPECT_EQ(*((u32 *)vm_hva(vm, pd) - 1), 0x12345678);
		EXPECT_EQ(*(u32 *)vm_hva(vm, pd), (u32)spare);
		EXPECT_VALUE(change(v, data, 0, gva), frame_id(level & 1 ? FRAME_OLD : FRAME_NEW),
			     "round %d", level);
		spare = old;
	}
}

TEST(emulated, .what = "each store to an upper table is emulated and drops one entry",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct pair p = pair_create(t->mode);
	u64 writes, emulated, zapped, misses;
	int i;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	/* The first store ever also maps the frame that the tables are in. */
	guest_set_pte(p.v, &p.vm->as, p.gva[1], 2, p.pte[1]);
	pair_check(&p, frame_id(FRAME_OLD), frame_id(FRAME_NEW), "as built");
	writes = vm_stat(p.vm, "mmu_pte_write");
	emulated = vcpu_stat(p.v, "pf_emulate");
	zapped = vm_stat(p.vm, "mmu_shadow_zapped");
	misses = vm_stat(p.vm, "mmu_cache_miss");
	for (i = 0; i < 10; i++) {
		guest_set_pte(p.v, &p.vm->as, p.gva[1], 2, 0);
		guest_set_pte(p.v, &p.vm->as, p.gva[1], 2, p.pte[1]);
		pair_check(&p, frame_id(FRAME_OLD), frame_id(FRAME_NEW), "after two stores");
	}
	EXPECT_EQ(vm_stat(p.vm, "mmu_pte_write") - writes, 20);
	EXPECT_EQ(vcpu_stat(p.v, "pf_emulate") - emulated, 20);
	/* The table below stayed what it was: neither dropped nor built again. */
	EXPECT_EQ(vm_stat(p.vm, "mmu_shadow_zapped") - zapped, 0);
	EXPECT_EQ(vm_stat(p.vm, "mmu_cache_miss") - misses, 0);
	/* A store to a page that is no table costs nothing. */
	(void)guest_do(p.v, .kind = AGENT_WRITE, .addr = p.gva[0], .size = 4, .value = 1);
	EXPECT_EQ(vm_stat(p.vm, "mmu_pte_write") - writes, 20);
}
