// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accessed and dirty bits: an access sets A in every entry that it used, a write
 * sets D in the leaf as well, and nothing else changes (SDM vol. 3 4.8, APM
 * vol. 2 5.4.2).
 *
 * With two-dimensional paging the processor does this. Under shadow paging the
 * hypervisor must: it sets A when it walks the guest's tables for a fault, and
 * maps a page whose D is clear read-only, so that the first write faults and D
 * can be set. Errors that this invites: setting A before the rights are checked,
 * mapping a clean page writable (by a read, by mapping neighbours ahead, by the
 * treatment of CR0.WP=0), sharing a mapping between two guest entries of which
 * only one is dirty, setting D above the leaf. A guest that clears the bits and
 * invalidates must see them set again.
 *
 * A processor may set A speculatively, so upper entries on the path of a faulting
 * access may have it or not; D, and A in the leaf that refused, must stay clear.
 */
#include <string.h>

#include "mmuscope.h"

#define AD (PTE_A | PTE_D)

static const struct agent_op reads[] = {
	{.kind = AGENT_READ},
	{.kind = AGENT_READ, .flags = AGENT_USER},
	{.kind = AGENT_EXEC},
	{.kind = AGENT_EXEC, .flags = AGENT_USER},
};
static const struct agent_op writes[] = {
	{.kind = AGENT_WRITE, .value = 5},
	{.kind = AGENT_WRITE, .value = 6, .flags = AGENT_USER},
	{.kind = AGENT_OR, .value = 8},
	{.kind = AGENT_XADD, .value = 1, .flags = AGENT_USER},
	{.kind = AGENT_CMPXCHG, .value = ~0u, .arg = 1}, /* fails to compare, writes back */
};

/* A fresh address whose tables, all but PAE's root, are its own. */
static gva_t fresh_gva(struct vm *vm, u32 i)
{
	int level = vm->mode->id == PM_PAE ? 2 : vm->mode->levels;

	return vm->test_gva + i * level_size(vm->mode, level);
}

/* The uppermost level with A bits: PAE's PDPTEs have none. */
static int top_level(const struct paging_mode *m)
{
	return m->id == PM_PAE ? 2 : m->levels;
}

/* Expects entries of @gva from the top to @leaf to be what aspace_map() made plus A (and D). */
static void expect_path(struct vm *vm, gva_t gva, int leaf, u64 leaf_bits, const char *what)
{
	int level;

	for (level = top_level(vm->mode); level >= leaf; level--)
		EXPECT_EQ(aspace_get_pte(&vm->as, gva, level) & AD,
			  level == leaf ? leaf_bits : (u64)PTE_A, "%s: level %d of gva %#lx", what,
			  level, gva);
}

static int max_leaf(const struct paging_mode *m)
{
	return m->long_mode && cpu_has(&CPU_GBPAGES) ? 3 : 2;
}

TEST(set_by_access,
     .what = "each kind of access sets A at every level, and D in the leaf if it writes",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_gpa = SZ_1G, .mem_size = SZ_2M);
	struct vcpu *v = vm->vcpu[0];
	u32 n = ARRAY_LEN(reads) + ARRAY_LEN(writes), i, k = 0;
	u64 page, before;
	gva_t gva;
	int leaf;

	place_function(vm, vm->mem->gpa, 0x77);
	op_clear(v);
	for (leaf = 1; leaf <= max_leaf(t->mode); leaf++) {
		page = level_size(t->mode, leaf);
		for (i = 0; i < n; i++) {
			struct agent_op op =
				i < ARRAY_LEN(reads) ? reads[i] : writes[i - ARRAY_LEN(reads)];

			gva = fresh_gva(vm, k++);
			vm_map(vm, gva, vm->mem->gpa, page, leaf, PTE_W | PTE_U | PTE_SW0);
			op.addr = gva + (op.kind == AGENT_EXEC ? 0 : 64);
			op.size = 4;
			op_add_op(v, op);
		}
	}
	vcpu_exec(v);
	for (k = 0, leaf = 1; leaf <= max_leaf(t->mode); leaf++) {
		for (i = 0; i < n; i++, k++) {
			bool write = i >= ARRAY_LEN(reads);

			gva = fresh_gva(vm, k);
			EXPECT_OK(op_result(v, k), "access %u at level %d", i, leaf);
			expect_path(vm, gva, leaf, PTE_A | (write ? PTE_D : 0),
				    write ? "after a write" : "after a read");
			before =
				pte_make_leaf(t->mode, vm->mem->gpa, leaf, PTE_W | PTE_U | PTE_SW0);
			EXPECT_EQ(aspace_get_pte(&vm->as, gva, leaf) & ~AD, before,
				  "the rest of the entry");
		}
	}
}

/* An access that must fault on the rights of the leaf (or of the entry above it). */
struct refusal {
	u64 leaf, upper; /* bits besides P; upper: of level 2 */
	u16 kind, flags;
	u64 cr4;
	bool nx; /* needs NX in the entries */
};

#define FULL (PTE_W | PTE_U)
static const struct refusal refusals[] = {
	{PTE_W, FULL, AGENT_READ, AGENT_USER, 0, false},
	{PTE_W, FULL, AGENT_WRITE, AGENT_USER, 0, false},
	{PTE_W, FULL, AGENT_EXEC, AGENT_USER, 0, false},
	{PTE_U, FULL, AGENT_WRITE, AGENT_USER, 0, false},
	{PTE_U, FULL, AGENT_WRITE, 0, 0, false},
	{0, FULL, AGENT_WRITE, 0, 0, false},
	{FULL, PTE_U, AGENT_WRITE, 0, 0, false},
	{FULL, PTE_U, AGENT_WRITE, AGENT_USER, 0, false},
	{FULL, PTE_W, AGENT_READ, AGENT_USER, 0, false},
	{FULL | PTE_NX, FULL, AGENT_EXEC, 0, 0, true},
	{FULL | PTE_NX, FULL, AGENT_EXEC, AGENT_USER, 0, true},
	{FULL, FULL | PTE_NX, AGENT_EXEC, AGENT_USER, 0, true},
	{FULL, FULL, AGENT_EXEC, 0, CR4_SMEP, false},
	{FULL, FULL, AGENT_READ, 0, CR4_SMAP, false},
	{FULL, FULL, AGENT_WRITE, 0, CR4_SMAP, false},
};

static bool refusal_possible(const struct paging_mode *m, const struct refusal *r)
{
	if (r->nx && (m->pte_size != 8 || !cpu_has(&CPU_NX)))
		return false;
	if ((r->cr4 & CR4_SMEP) && !cpu_has(&CPU_SMEP))
		return false;
	return !(r->cr4 & CR4_SMAP) || cpu_has(&CPU_SMAP);
}

static const char *const refused_fixes[] = {"8cbc70696f14", NULL};

TEST(refused_sets_nothing,
     .what = "an access refused for its rights sets neither A nor D in the leaf",
     .modes = MODES_PAGED, .fixes = refused_fixes)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u64 cr4 = guest_get_cr(v, 4), want;
	u32 i;

	for (i = 0; i < ARRAY_LEN(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct agent_result res;
		gva_t gva = fresh_gva(vm, i);
		int level;

		if (!refusal_possible(t->mode, r))
			continue;
		/* A change of CR4.SMEP would be refused. */
		if ((r->cr4 & CR4_SMEP) && t->mode->id == PM_PAE && quirk_pdpte_accessed())
			continue;
		vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, r->leaf);
		want = aspace_get_pte(&vm->as, gva, 1);
		aspace_set_pte(&vm->as, gva, 2,
			       (aspace_get_pte(&vm->as, gva, 2) & ~FULL) | r->upper);
		if (guest_get_cr(v, 4) != (cr4 | r->cr4))
			guest_set_cr(v, 4, cr4 | r->cr4);
		res = guest_op(v, .kind = r->kind, .flags = r->flags, .addr = gva, .size = 4);
		EXPECT_EQ(res.status, AGENT_FAULT, "refusal %u", i);
		EXPECT_EQ(res.vector, PF_VECTOR, "refusal %u", i);
		EXPECT_EQ(aspace_get_pte(&vm->as, gva, 1), want, "leaf of refusal %u", i);
		for (level = 2; level <= top_level(t->mode); level++)
			EXPECT_EQ(aspace_get_pte(&vm->as, gva, level) & PTE_D, 0,
				  "refusal %u level %d", i, level);
	}
}

TEST(read_then_write, .what = "a page read first gets D with its first write, and only then",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva;
	int leaf;

	for (leaf = 1; leaf <= 2; leaf++) {
		gva = fresh_gva(vm, leaf);
		vm_map(vm, gva, vm->mem->gpa, level_size(t->mode, leaf), leaf, FULL);
		guest_read(v, gva);
		expect_path(vm, gva, leaf, PTE_A, "after a read");
		EXPECT_OK(__user_read(v, gva + 8));
		expect_path(vm, gva, leaf, PTE_A, "after two reads");
		guest_write(v, gva, 1);
		expect_path(vm, gva, leaf, AD, "after a write");
	}
}

static const char *const wp_fixes[] = {"c22885050e65", NULL};

TEST(dirty_without_wp,
     .what = "a kernel's write to a read-only page with CR0.WP=0 sets D, in each of two entries",
     .modes = MODES_PAGED, .fixes = wp_fixes)
{
	static const u64 bits[] = {0, PTE_U};
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	gva_t a, b;
	int leaf;
	u32 i;

	guest_set_cr(v, 0, guest_get_cr(v, 0) & ~CR0_WP);
	for (leaf = 1; leaf <= 2; leaf++) {
		for (i = 0; i < ARRAY_LEN(bits); i++) {
			u64 page = level_size(t->mode, leaf);

			/* Neighbours in one table: a large page's mapping may be shared by both. */
			a = fresh_gva(vm, leaf * 2 + i);
			b = a + page;
			if (leaf == top_level(t->mode))
				b = fresh_gva(vm, 16 + i);
			vm_map(vm, a, vm->mem->gpa, page, leaf, bits[i]);
			vm_map(vm, b, vm->mem->gpa, page, leaf, bits[i]);
			guest_read(v, a);
			expect_path(vm, a, leaf, PTE_A, "after a read");
			guest_write(v, a, 1);
			expect_path(vm, a, leaf, AD, "after a write");
			EXPECT_EQ(aspace_get_pte(&vm->as, b, leaf) & AD, 0, "the other entry");
			guest_write(v, b, 2);
			expect_path(vm, b, leaf, AD, "after a write through the other entry");
			EXPECT_EQ(guest_read(v, a), 2);
		}
	}
}

TEST(per_entry, .what = "of two entries for one page the one that was used gets the bits",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	int leaf;

	for (leaf = 1; leaf <= 2; leaf++) {
		u64 page = level_size(t->mode, leaf);
		gva_t a = fresh_gva(vm, 4 * leaf), b = fresh_gva(vm, 4 * leaf + 1);

		vm_map(vm, a, vm->mem->gpa, page, leaf, PTE_W);
		vm_map(vm, b, vm->mem->gpa, page, leaf, PTE_W);
		guest_write(v, a, 41);
		EXPECT_EQ(aspace_get_pte(&vm->as, b, leaf) & AD, 0, "level %d, unused", leaf);
		EXPECT_EQ(guest_read(v, b), 41);
		expect_path(vm, b, leaf, PTE_A, "read through the other entry");
		guest_write(v, b, 42);
		expect_path(vm, b, leaf, AD, "written through the other entry");
	}
}

TEST(set_again,
     .what = "bits that the guest cleared and invalidated are set again by the next access",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	int leaf, level;
	u64 pte;

	for (leaf = 1; leaf <= 2; leaf++) {
		gva_t gva = fresh_gva(vm, leaf);

		vm_map(vm, gva, vm->mem->gpa, level_size(t->mode, leaf), leaf, PTE_W);
		guest_write(v, gva, 1);
		pte = aspace_get_pte(&vm->as, gva, leaf);
		EXPECT_EQ(pte & AD, (u64)AD);

		guest_set_pte(v, &vm->as, gva, leaf, pte & ~PTE_D);
		guest_invlpg(v, gva);
		guest_read(v, gva);
		expect_path(vm, gva, leaf, PTE_A, "D cleared, then read");
		guest_write(v, gva, 2);
		expect_path(vm, gva, leaf, AD, "D cleared, then written");

		guest_set_pte(v, &vm->as, gva, leaf, pte & ~AD);
		guest_invlpg(v, gva);
		EXPECT_EQ(aspace_get_pte(&vm->as, gva, leaf), pte & ~AD, "cleared, no access yet");
		guest_read(v, gva);
		expect_path(vm, gva, leaf, PTE_A, "A and D cleared, then read");

		for (level = leaf + 1; level <= top_level(t->mode); level++)
			guest_set_pte(v, &vm->as, gva, level,
				      aspace_get_pte(&vm->as, gva, level) & ~PTE_A);
		guest_invlpg(v, gva);
		guest_write(v, gva, 3);
		expect_path(vm, gva, leaf, AD, "A cleared above, then written");
	}
}

TEST(neighbours_untouched,
     .what = "mapping ahead neither sets nor forestalls a neighbour's A and D",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 i;

	/* Only what the host has already is mapped ahead. */
	memset(vm->mem->hva, 1, 32 * SZ_4K);
	/* Pages 0 to 15 are unused, 16 to 31 were accessed before and are clean. */
	vm_map(vm, gva, vm->mem->gpa, 16 * SZ_4K, 1, PTE_W);
	vm_map(vm, gva + 16 * SZ_4K, vm->mem->gpa + 16 * SZ_4K, 16 * SZ_4K, 1, PTE_W | PTE_A);
	guest_read(v, gva + 4 * SZ_4K);
	guest_read(v, gva + 20 * SZ_4K);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(aspace_get_pte(&vm->as, gva + i * SZ_4K, 1) & AD,
			  i == 4 || i >= 16 ? (u64)PTE_A : 0, "page %u before its turn", i);
	op_clear(v);
	for (i = 0; i < 32; i++)
		op_add(v, .kind = i % 2 ? AGENT_WRITE : AGENT_READ, .addr = gva + i * SZ_4K);
	vcpu_exec(v);
	for (i = 0; i < 32; i++) {
		EXPECT_OK(op_result(v, i));
		EXPECT_EQ(aspace_get_pte(&vm->as, gva + i * SZ_4K, 1) & AD, i % 2 ? (u64)AD : PTE_A,
			  "page %u after its access", i);
	}
}

TEST(crossing_write, .what = "a write across a page boundary makes both pages dirty",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;

	vm_map(vm, gva, vm->mem->gpa + SZ_4K, SZ_4K, 1, PTE_W);
	vm_map(vm, gva + SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_W);
	EXPECT_OK(guest_op(v, .kind = AGENT_WRITE, .addr = gva + SZ_4K - 2, .size = 4,
			   .value = 0x44332211));
	expect_path(vm, gva, 1, AD, "first page");
	expect_path(vm, gva + SZ_4K, 1, AD, "second page");
	EXPECT_EQ(*(u16 *)((u8 *)vm->mem->hva + 2 * SZ_4K - 2), 0x2211);
	EXPECT_EQ(*(u16 *)vm->mem->hva, 0x4433);
}

TEST(tables_become_dirty, .what = "storing A and D makes the tables' own pages dirty in the log",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	struct dirty_bitmap b;
	gpa_t table;

	vm_map(vm, gva, vm->mem->gpa, 2 * SZ_4K, 1, PTE_W);
	table = aspace_pte_gpa(&vm->as, gva, 1);
	guest_read(v, VM_TABLES_GPA);
	slot_set_flags(vm->system, KVM_MEM_LOG_DIRTY_PAGES);
	b = dirty_bitmap_alloc(vm->system);
	dirty_get(vm->system, &b);
	EXPECT(!dirty_test(&b, table / SZ_4K), "before any access");
	guest_read(v, gva);
	dirty_get(vm->system, &b);
	EXPECT(dirty_test(&b, table / SZ_4K), "after A was set in the table at %#lx", table);
	guest_write(v, gva, 1);
	dirty_get(vm->system, &b);
	EXPECT(dirty_test(&b, table / SZ_4K), "after D was set in the table at %#lx", table);
	expect_path(vm, gva, 1, AD, "read and written");
	dirty_bitmap_free(&b);
}

TEST(pdpte_untouched, .what = "PAE's PDPTEs have no A and D bits", .modes = MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u64 before = aspace_get_pte(&vm->as, gva, 3), after;

	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_W);
	guest_write(v, gva, 1);
	expect_path(vm, gva, 1, AD, "written");
	after = aspace_get_pte(&vm->as, gva, 3);
	if (quirk_pdpte_accessed() && after == (before | PTE_A))
		test_xfail("QEMU 7.2, target/i386/tcg/sysemu/excp_helper.c, mmu_translate",
			   "TCG set A in the PDPTE: %#lx", after);
	EXPECT_EQ(after, before);
}
