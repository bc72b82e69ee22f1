// SPDX-License-Identifier: GPL-2.0-only
/*
 * The harness itself: page tables as the builder writes them, in every mode, and
 * what a failing case reports. A report that lacks the address, the walk or the
 * place where a vCPU hangs costs the next person an afternoon.
 */
#include "mmuscope.h"
#include "tests/unit/test_framework.h"

/* Guests run here, be it on the in-tree engine. */
static void require_guests(void)
{
	struct kvm_probe p;

	kvm_probe(&p);
	if (!p.usable && engine_built("intree")) {
		setenv("MMUSCOPE_ENGINE", "intree", 1);
		return;
	}
	REQUIRE(p.usable, "a /dev/kvm that runs guests (%s)", p.reason);
}

static struct program run_fixture(const char *name, const char *timeout)
{
	const char *argv[] = {program_path("fixtures/vm"), "--timeout", timeout, name, NULL};
	struct program p;

	require_guests();
	p = program_start(argv);
	program_end(&p);
	return p;
}

#define EXPECT_TEXT(p, part) EXPECT(strstr((p).text, part), "\"%s\" is not in\n%s", part, (p).text)

TEST(stall, .what = "a vCPU that never returns is stopped and reported with where it was")
{
	struct program p = run_fixture("stall", "30");

	EXPECT_TEXT(p, "vCPU 0 did not come back: operation 1 of 2 was running after ");
	EXPECT_TEXT(p, "at kind 40"); /* AGENT_WAIT_EQ */
	EXPECT_TEXT(p, "walk of 0x400000");
	EXPECT_TEXT(p, "cr3 0x400000");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.stall");
	EXPECT(strstr(p.text, "wait_for+") || strstr(p.text, "run_from+") ||
		       strstr(p.text, "execute+") || strstr(p.text, "go_on+"),
	       "no symbol in\n%s", p.text);
}

TEST(stall_thread, .what = "also one that runs on a thread of its own")
{
	struct program p = run_fixture("stall_thread", "30");

	EXPECT_TEXT(p, "vCPU 1 did not come back: operation 0 of 1 was running after ");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.stall_thread");
}

TEST(case_timeout, .what = "when the case's time is over, what its vCPUs were doing is reported")
{
	struct program p = run_fixture("case_timeout", "1");

	EXPECT_TEXT(p, "vCPU 0 did not come back: operation 0 of 1 was running");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.case_timeout # TIMEOUT after 1 s");
}

TEST(fault, .what = "an unexpected fault is reported with both sides, registers and the page walk")
{
	struct program p = run_fixture("fault", "30");

	EXPECT_TEXT(p, "to page 7");
	EXPECT_TEXT(p, "expected: ok");
	EXPECT_TEXT(p, "got:      #PF, error 0x3 (P|W), cr2 0x8000000000");
	EXPECT_TEXT(p, "walk of 0x8000000000, mode la48, cr3 0x400000");
	EXPECT_TEXT(p, "level 4 [  1]");
	EXPECT_TEXT(p, "level 1 [  0]");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.fault");
}

TEST(surprises, .what = "unexpected exits, refused ioctls and missing counters are named")
{
	struct program mmio = run_fixture("mmio", "30"), refused = run_fixture("refused", "30");
	struct program counter = run_fixture("requirement", "30");

	EXPECT_TEXT(mmio, "unexpected MMIO write at gpa 0x20000000, 8 bytes");
	EXPECT_TEXT(refused, "KVM_SET_USER_MEMORY_REGION slot 5");
	EXPECT_TEXT(refused, "File exists");
	EXPECT_TEXT(counter, "# SKIP requires VM statistic pages_of_gold");
}

/* What maps @gva, found by a walk of our own over raw entries. */
static u64 walk(struct vm *vm, const struct aspace *as, gva_t gva, int *level, gpa_t *pa)
{
	static const u8 shifts[] = {0, 12, 21, 30, 39, 48};
	gpa_t table = as->root;
	int l;

	for (l = as->mode->levels; l >= 1; l--) {
		u8 shift = as->mode->id == PM_32 ? 12 + 10 * (l - 1) : shifts[l];
		u64 mask = as->mode->id == PM_32 ? 1023 : 511, pte;
		u64 index = gva >> shift & mask;

		if (as->mode->id == PM_PAE && l == 3)
			index &= 3;
		if (as->mode->id == PM_32)
			pte = ((u32 *)vm_hva(vm, table))[index];
		else
			pte = ((u64 *)vm_hva(vm, table))[index];
		*level = l;
		if (!(pte & 1))
			return 0;
		*pa = pte & 0x000ffffffffff000ull;
		if (l == 1 || (pte & 0x80)) {
			*pa &= ~((1ull << shift) - 1);
			return pte;
		}
		table = *pa;
	}
	return 0;
}

TEST(page_tables, .what = "the builder's tables mean what was asked for, in every mode",
     .modes = MODES_PAGED)
{
	struct vm *vm;
	struct aspace second;
	gva_t gva;
	gpa_t pa = 0;
	int level, l;
	u64 pte;

	require_guests();
	vm = vm_create(t->mode, .no_vcpus = true);
	gva = vm->test_gva + 3 * SZ_4M;
	for (l = 1; l <= 3; l++) {
		if (l > t->mode->levels || !t->mode->level[l].leaf)
			continue;
		gva = (vm->test_gva & ~(level_size(t->mode, l) - 1)) + level_size(t->mode, l) * l;
		vm_map(vm, gva, l * SZ_1G, level_size(t->mode, l), l, PTE_W | PTE_U);
		pte = walk(vm, &vm->as, gva + SZ_4K / 2, &level, &pa);
		EXPECT_EQ(level, l);
		EXPECT_EQ(pa, l * SZ_1G);
		EXPECT_EQ(pte & (PTE_P | PTE_W | PTE_U), PTE_P | PTE_W | PTE_U);
		EXPECT_EQ(aspace_get_pte(&vm->as, gva, l), pte);
		EXPECT_EQ(walk(vm, &vm->as, gva - SZ_4K, &level, &pa), 0);
	}
	/* Slot 0 is there in every address space, ring 3 only where the image says so. */
	second = aspace_create(vm);
	EXPECT_NE(second.root, vm->as.root);
	for (gva = SZ_4K; gva < VM_SYSTEM_SIZE; gva += SZ_4K) {
		bool user = gva >= vm->user_start && gva < vm->user_end;

		pte = walk(vm, &second, gva, &level, &pa);
		if (pa != gva || level != 1 || !!(pte & PTE_U) != user || !(pte & PTE_W))
			EXPECT(false, "gva %#lx -> %#lx level %d entry %#lx", gva, pa, level, pte);
	}
	EXPECT_EQ(walk(vm, &second, 0, &level, &pa), 0);
	EXPECT_EQ(walk(vm, &second, vm->test_gva, &level, &pa), 0);
}

TEST(backings, .what = "memory of every kind is mapped, aligned, readable and zero",
     .variants = (const char *const[]){"anon", "thp", "hugetlb_2m", "hugetlb_1g", "memfd",
				       "memfd_2m", "shared", NULL})
{
	static const enum mem_backing kinds[] = {MEM_ANON,	 MEM_THP,   MEM_HUGETLB_2M,
						 MEM_HUGETLB_1G, MEM_MEMFD, MEM_MEMFD_2M,
						 MEM_SHARED};
	struct memory m = memory_alloc(SZ_2M + SZ_4K, kinds[t->variant_idx]);

	EXPECT_GE(m.size, SZ_2M + SZ_4K);
	EXPECT_EQ(m.size % m.page_size, 0);
	EXPECT_EQ((u64)m.hva % m.page_size, 0);
	EXPECT_EQ((u64)m.hva % SZ_2M, 0);
	EXPECT_EQ(*(u8 *)m.hva, 0);
	((u8 *)m.hva)[m.size - 1] = 1;
	EXPECT_EQ(m.fd >= 0, m.backing == MEM_MEMFD || m.backing == MEM_MEMFD_2M);
	memory_free(&m);
	EXPECT(!m.hva);
}
