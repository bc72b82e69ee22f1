// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests that are hypervisors: the agent (L1) runs a nested guest (L2) by VMRUN
 * with nested paging. The processor can walk only one pair of tables, so KVM
 * shadows L1's nested page tables: what L2 sees must be what L1's tables say,
 * as of the last flush, although L1 never tells KVM about its edits but by
 * TLB_CONTROL, an ASID or a new nested CR3.
 *
 * What can go wrong is what goes wrong in shadow paging, with its own twists:
 * nested walks are user accesses whatever L2's privilege is, so neither L1's
 * SMEP and SMAP nor L2's CPL may matter; faults must be reported to L1 with
 * the walk's own error code, address and stage (final or table); tables may be
 * in any format L1 itself pages with; cached roots of other nested CR3s must be
 * synchronised as well. APM vol. 2 15.24-15.25.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "guest_code/programs.h"
#include "mmuscope.h"
#include "x86/arch/svm.h"

static const struct cpu_feature CPU_NPT = {0x8000000a, 0, 3, 0, "nested paging"};

/* PAE is in one case only: see nested_create(). */
#define MODES_NPT (MODES_64 | MODE(PM_32))

#define L2_GPA SZ_1G /* where L2 sees the test's memory; identity below 16 MiB */

struct nested {
	struct vm *vm;
	struct vcpu *v;
	struct vmcb *vmcb;
	gpa_t vmcb_gpa;
	struct aspace npt; /* L2 physical to L1 physical, in L1's own paging mode */
	struct aspace l2;  /* L2's linear addresses */
	gva_t gva;	   /* mapped by l2 to L2_GPA, 4 pages of 4 KiB, writable */
	gpa_t code;	   /* the three stubs below, each in 16 bytes */
};

enum stub {
	STUB_READ,
	STUB_WRITE,
	STUB_EXEC
};

static struct aspace bare_aspace(struct vm *vm, const struct paging_mode *mode)
{
	struct aspace as = {.vm = vm, .mode = mode, .root = vm_alloc_table(vm)};
	int i;

	for (i = 0; mode->id == PM_PAE && i < 4; i++)
		aspace_make_tables(&as, (gva_t)i << 30, 2);
	return as;
}

static struct aspace nested_tables(struct nested *n)
{
	struct aspace npt = bare_aspace(n->vm, n->vm->mode);

	aspace_map(&npt, 0, 0, VM_SYSTEM_SIZE, 2, PTE_W | PTE_U);
	return npt;
}

static void place_stubs(struct nested *n)
{
	static const u8 stubs[3][16] = {
		[STUB_READ] = {0x8b, 0x07, 0x0f, 0x01, 0xd9},  /* mov (di), %eax; vmmcall */
		[STUB_WRITE] = {0x89, 0x37, 0x0f, 0x01, 0xd9}, /* mov %esi, (di); vmmcall */
		[STUB_EXEC] = {0xff, 0xd7, 0x0f, 0x01, 0xd9},  /* call *di; vmmcall */
	};

	n->code = vm_alloc_table(n->vm);
	memcpy(vm_hva(n->vm, n->code), stubs, sizeof(stubs));
}

static void fill_vmcb(struct nested *n)
{
	bool lm = n->vm->mode->long_mode;
	struct vmcb *c = n->vmcb;
	struct svm_segment code = {0x08, lm ? 0xa9b : 0xc9b, 0xffffffff, 0};
	struct svm_segment data = {0x10, 0xc93, 0xffffffff, 0};

	c->intercept_exceptions = ~0u;
	c->intercept_misc1 = SVM_INTERCEPT_HLT | SVM_INTERCEPT_SHUTDOWN;
	c->intercept_misc2 = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL;
	c->asid = 1;
	c->nested_control = 1;
	c->nested_cr3 = n->npt.root;
	c->cs = code;
	c->ds = c->es = c->ss = c->fs = c->gs = data;
	c->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	c->cr3 = n->l2.root;
	c->cr4 = n->l2.mode->pte_size == 8 ? CR4_PAE : CR4_PSE;
	c->efer = EFER_SVME | (lm ? EFER_LME | EFER_LMA : 0) |
		  (n->l2.mode->pte_size == 8 ? EFER_NX : 0);
	c->dr6 = 0xffff0ff0;
	c->dr7 = 0x400;
	c->rflags = RFLAGS_FIXED;
	c->g_pat = 0x0007040600070406ull;
}

static struct nested nested_create(struct test *t, enum mem_backing backing, u32 mem_flags)
{
	struct nested n = {0};
	const struct paging_mode *l2_mode = t->mode->long_mode ? paging_mode(PM_LA48) : t->mode;

	require_cpu(CPU_SVM);
	require_cpu(CPU_NPT);
	if (t->mode->id == PM_PAE && quirk_pdpte_accessed())
		test_xfail(
			"QEMU TCG, see quirk_pdpte_accessed()",
			"the processor sets A in PAE's PDPTEs, and KVM checks those at VMRUN and #VMEXIT");
	n.vm = vm_create(t->mode, .mem_size = 4 * MiB, .backing = backing, .mem_flags = mem_flags);
	n.v = n.vm->vcpu[0];
	n.npt = nested_tables(&n);
	aspace_map(&n.npt, L2_GPA, n.vm->mem->gpa, 16 * SZ_4K, 1, PTE_W | PTE_U);
	n.l2 = bare_aspace(n.vm, l2_mode);
	aspace_map(&n.l2, 0, 0, VM_SYSTEM_SIZE, 2, PTE_W);
	n.gva = l2_mode->long_mode ? 1ull << 39 : 1ull << 30;
	aspace_map(&n.l2, n.gva, L2_GPA, 4 * SZ_4K, 1, PTE_W);
	place_stubs(&n);
	n.vmcb_gpa = vm_alloc_table(n.vm);
	n.vmcb = vm_hva(n.vm, n.vmcb_gpa);
	fill_vmcb(&n);
	return n;
}

/* Runs L2 from @stub with @addr and @value until it exits; returns the exit code. */
static u64 run(struct nested *n, enum stub stub, gva_t addr, u64 value)
{
	n->vmcb->rip = n->code + 16 * stub;
	n->vmcb->rsp = n->code + SZ_4K - 16;
	n->vmcb->rax = 0;
	return guest_do(n->v, .kind = AGENT_CALL, .addr = PROGRAM_VMRUN, .value = n->vmcb_gpa,
			.arg = addr, .arg2 = value);
}

/* As run(), after L1 asked for the ASID's translations to be flushed. */
static u64 run_flushed(struct nested *n, enum stub stub, gva_t addr, u64 value)
{
	u64 exit;

	n->vmcb->tlb_control = SVM_TLB_FLUSH_ALL;
	exit = run(n, stub, addr, value);
	n->vmcb->tlb_control = SVM_TLB_KEEP;
	return exit;
}

static u32 *mem_word(struct nested *n, u64 page)
{
	return (u32 *)((u8 *)n->vm->mem->hva + page * SZ_4K);
}

static const char *svm_exit_name(u64 code)
{
	switch (code) {
	case SVM_EXIT_EXCP_BASE + PF_VECTOR:
		return "#PF";
	case SVM_EXIT_HLT:
		return "HLT";
	case SVM_EXIT_SHUTDOWN:
		return "SHUTDOWN";
	case SVM_EXIT_VMMCALL:
		return "VMMCALL";
	case SVM_EXIT_NPF:
		return "NPF";
	case SVM_EXIT_INVALID:
		return "INVALID";
	}
	return NULL;
}

#define EXPECT_EXIT(got, want, ...) EXPECT_EQ_NAMED(svm_exit_name, got, want, ##__VA_ARGS__)
#define EXPECT_NPF(n, got, info1, info2, ...)                                  \
	do {                                                                   \
		EXPECT_EXIT(got, (u64)SVM_EXIT_NPF, ##__VA_ARGS__);            \
		EXPECT_EQ((n)->vmcb->exit_info1, (u64)(info1), ##__VA_ARGS__); \
		EXPECT_EQ((n)->vmcb->exit_info2, (u64)(info2), ##__VA_ARGS__); \
	} while (0)

TEST(maps, .what = "L2 reads, writes and executes what L1's nested tables map, at every page size",
     .modes = MODES_PAGED, .fixes = (const char *const[]){"12ec33a70574", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	u64 large = level_size(t->mode, 2);
	int i;

	for (i = 0; i < 4; i++)
		*mem_word(&n, i) = 100 + i;
	for (i = 0; i < 4; i++) {
		EXPECT_EXIT(run(&n, STUB_READ, n.gva + i * SZ_4K, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 100 + i);
	}
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, 0x55), SVM_EXIT_VMMCALL);
	EXPECT_EQ(*mem_word(&n, 1), 0x55);
	place_function(n.vm, n.vm->mem->gpa + 2 * SZ_4K, 0xabcd);
	EXPECT_EXIT(run(&n, STUB_EXEC, n.gva + 2 * SZ_4K, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 0xabcd);

	/* A large nested page, reached at an offset. */
	aspace_map(&n.npt, 2 * SZ_1G, n.vm->mem->gpa & ~(large - 1), large, 2, PTE_W | PTE_U);
	aspace_map(&n.l2, n.gva + 8 * SZ_4K, 2 * SZ_1G + 3 * SZ_4K, SZ_4K, 1, PTE_W);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva + 8 * SZ_4K, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 103);
	if (t->mode->long_mode && cpu_has(&CPU_GBPAGES)) {
		aspace_map(&n.npt, 3 * SZ_1G, 0, SZ_1G, 3, PTE_W | PTE_U);
		aspace_map(&n.l2, n.gva + 9 * SZ_4K, 3 * SZ_1G + n.vm->mem->gpa + 3 * SZ_4K, SZ_4K,
			   1, PTE_W);
		EXPECT_EXIT(run(&n, STUB_READ, n.gva + 9 * SZ_4K, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 103);
	}
}

TEST(faults, .what = "nested faults reach L1 with the walk's error code, address and stage",
     .modes = MODES_NPT, .fixes = (const char *const[]){"0780516a18f8", "8cbc70696f14", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	gpa_t at = L2_GPA, mem = n.vm->mem->gpa;
	u64 exit;

	aspace_set_pte(&n.npt, at, 1, 0);
	aspace_set_pte(&n.npt, at + SZ_4K, 1, (mem + SZ_4K) | PTE_P | PTE_U);
	aspace_set_pte(&n.npt, at + 2 * SZ_4K, 1, (mem + 2 * SZ_4K) | PTE_P | PTE_W);

	exit = run(&n, STUB_READ, n.gva + 8, 0);
	EXPECT_NPF(&n, exit, PFERR_U | NPF_FINAL, at + 8, "read of a page that is not present");
	exit = run(&n, STUB_WRITE, n.gva + 16, 1);
	EXPECT_NPF(&n, exit, PFERR_U | PFERR_W | NPF_FINAL, at + 16, "write, not present");
	exit = run(&n, STUB_WRITE, n.gva + SZ_4K, 1);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_U | PFERR_W | NPF_FINAL, at + SZ_4K,
		   "write to a read-only page");
	EXPECT_EQ(aspace_get_pte(&n.npt, at + SZ_4K, 1) & PTE_D, 0, "D after a faulting write");
	EXPECT_EXIT(run(&n, STUB_READ, n.gva + SZ_4K, 0), SVM_EXIT_VMMCALL, "read of it");
	exit = run(&n, STUB_READ, n.gva + 2 * SZ_4K, 0);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_U | NPF_FINAL, at + 2 * SZ_4K, "page without U");
	EXPECT_EQ(aspace_get_pte(&n.npt, at + 2 * SZ_4K, 1) & PTE_A, 0, "A after a faulting read");
	if (t->mode->pte_size == 8) {
		aspace_set_pte(&n.npt, at + 3 * SZ_4K, 1,
			       (mem + 3 * SZ_4K) | PTE_P | PTE_W | PTE_U | PTE_NX);
		exit = run(&n, STUB_EXEC, n.gva + 3 * SZ_4K, 0);
		EXPECT_NPF(&n, exit, PFERR_P | PFERR_U | PFERR_F | NPF_FINAL, at + 3 * SZ_4K,
			   "execution of a no-execute page");
	}
}

TEST(pat_bit,
     .what = "bit 7 of a last-level entry is PAT, not a page size; above the sizes it is reserved",
     .modes = MODES_64, .fixes = (const char *const[]){"CVE-2017-12188", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	int top = t->mode->levels;
	u64 pte, exit;

	*mem_word(&n, 0) = 0x1234;
	aspace_set_pte(&n.npt, L2_GPA, 1, n.vm->mem->gpa | PTE_P | PTE_W | PTE_U | PTE_PAT);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 0x1234);

	pte = aspace_get_pte(&n.npt, 0, top);
	aspace_map(&n.npt, level_size(t->mode, top) * 3, n.vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
	aspace_set_pte(&n.npt, level_size(t->mode, top) * 3, top,
		       aspace_get_pte(&n.npt, level_size(t->mode, top) * 3, top) | PTE_PS);
	if (level_size(t->mode, top) * 3 >> cpu_maxphyaddr())
		return; /* L2 has no such physical address */
	aspace_map(&n.l2, n.gva + 8 * SZ_4K, level_size(t->mode, top) * 3, SZ_4K, 1, PTE_W);
	exit = run(&n, STUB_READ, n.gva + 8 * SZ_4K, 0);
	EXPECT_EXIT(exit, (u64)SVM_EXIT_NPF);
	EXPECT_EQ(n.vmcb->exit_info1 & (PFERR_RSVD | PFERR_U | NPF_FINAL),
		  (u64)(PFERR_RSVD | PFERR_U | NPF_FINAL));
	EXPECT_EQ(aspace_get_pte(&n.npt, 0, top), pte | PTE_A);
}

TEST(table_fault, .what = "a fault on one of L2's own tables is told apart from one on the page",
     .modes = MODES_NPT)
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	gpa_t table = aspace_pte_gpa(&n.l2, n.gva, 1) & ~(SZ_4K - 1);
	gpa_t alias = L2_GPA + 8 * SZ_4K; /* L2 sees its table at this address instead */
	u64 exit;

	aspace_set_pte(&n.npt, alias, 1, 0);
	aspace_set_pte(&n.l2, n.gva, 2, alias | PTE_P | PTE_W | PTE_U);
	exit = run(&n, STUB_READ, n.gva, 0);
	EXPECT_EXIT(exit, (u64)SVM_EXIT_NPF);
	EXPECT_EQ(n.vmcb->exit_info1 & (NPF_TABLE | NPF_FINAL | PFERR_P | PFERR_U),
		  (u64)(NPF_TABLE | PFERR_U));
	EXPECT_EQ(n.vmcb->exit_info2 & ~0xfffull, alias);

	guest_set_pte(n.v, &n.npt, alias, 1, table | PTE_P | PTE_W | PTE_U);
	*mem_word(&n, 0) = 77;
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 77);
}

TEST(edits, .what = "L1's edits of its nested tables are what L2 sees after a flush, at each level",
     .modes = MODES_NPT, .fixes = (const char *const[]){"65855ed8b034", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	gpa_t mem = n.vm->mem->gpa, other;
	struct aspace sparse;
	u64 exit;
	int i, level;

	for (i = 0; i < 16; i++)
		*mem_word(&n, i) = 200 + i;
	/* Leaf: another frame, many times; down to read-only; away; back. */
	for (i = 0; i < 8; i++) {
		guest_set_pte(n.v, &n.npt, L2_GPA, 1, (mem + i * SZ_4K) | PTE_P | PTE_W | PTE_U);
		EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 200 + i);
	}
	guest_set_pte(n.v, &n.npt, L2_GPA, 1, mem | PTE_P | PTE_U);
	exit = run_flushed(&n, STUB_WRITE, n.gva, 5);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_W | PFERR_U | NPF_FINAL, L2_GPA, "made read-only");
	guest_set_pte(n.v, &n.npt, L2_GPA, 1, 0);
	exit = run_flushed(&n, STUB_READ, n.gva, 0);
	EXPECT_NPF(&n, exit, PFERR_U | NPF_FINAL, L2_GPA, "taken away");
	guest_set_pte(n.v, &n.npt, L2_GPA, 1, mem | PTE_P | PTE_W | PTE_U);
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva, 6), SVM_EXIT_VMMCALL, "given back, without a flush");
	EXPECT_EQ(*mem_word(&n, 0), 6);

	/* A new leaf table in place of the old one; then edited; then linked elsewhere as well. */
	sparse = bare_aspace(n.vm, t->mode);
	aspace_map(&sparse, L2_GPA, mem + 4 * SZ_4K, 8 * SZ_4K, 1, PTE_W | PTE_U);
	other = aspace_pte_gpa(&sparse, L2_GPA, 1) & ~(SZ_4K - 1);
	guest_set_pte(n.v, &n.npt, L2_GPA, 2, other | PTE_P | PTE_W | PTE_U);
	EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 204, "table replaced");
	guest_set_pte(n.v, &sparse, L2_GPA, 1, (mem + 9 * SZ_4K) | PTE_P | PTE_W | PTE_U);
	aspace_map(&n.l2, n.gva + 12 * SZ_4K, L2_GPA + level_size(t->mode, 2), SZ_4K, 1, PTE_W);
	guest_set_pte(n.v, &n.npt, L2_GPA + level_size(t->mode, 2), 2,
		      other | PTE_P | PTE_W | PTE_U);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva + 12 * SZ_4K, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 209, "edited table under a fresh address");

	/* Each level taken away and given back. */
	for (level = t->mode->levels; level >= 2; level--) {
		u64 pte = aspace_get_pte(&n.npt, L2_GPA, level);

		if (t->mode->id == PM_PAE && level == 3)
			continue; /* when nested PDPTEs are loaded is not pinned here */
		guest_set_pte(n.v, &n.npt, L2_GPA, level, 0);
		if (level_index(t->mode, 0, level) != level_index(t->mode, L2_GPA, level)) {
			exit = run_flushed(&n, STUB_READ, n.gva, 0);
			EXPECT_NPF(&n, exit, PFERR_U | NPF_FINAL, L2_GPA, "level %d gone", level);
		}
		guest_set_pte(n.v, &n.npt, L2_GPA, level, pte);
		EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 209, "level %d back", level);
	}
}

TEST(inherited, .what = "one nested table under two entries of different rights keeps both apart",
     .modes = MODES_64, .fixes = (const char *const[]){"CVE-2021-38198", "b1bd5cba3306", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	u64 pte = aspace_get_pte(&n.npt, L2_GPA, 2), exit;

	/* The next 2 MiB share the leaf table, read-only from above. */
	aspace_set_pte(&n.npt, L2_GPA + SZ_2M, 2, pte & ~PTE_W);
	aspace_map(&n.l2, n.gva + SZ_2M, L2_GPA + SZ_2M, 4 * SZ_4K, 1, PTE_W);

	EXPECT_EXIT(run(&n, STUB_READ, n.gva + SZ_2M, 0), SVM_EXIT_VMMCALL, "read-only side first");
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva, 1), SVM_EXIT_VMMCALL, "writable side");
	exit = run(&n, STUB_WRITE, n.gva + SZ_2M, 2);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_W | PFERR_U | NPF_FINAL, L2_GPA + SZ_2M);
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, 3), SVM_EXIT_VMMCALL, "writable side again");
	exit = run(&n, STUB_WRITE, n.gva + SZ_2M + SZ_4K, 4);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_W | PFERR_U | NPF_FINAL, L2_GPA + SZ_2M + SZ_4K);
	EXPECT_EQ(*mem_word(&n, 0), 1);
	EXPECT_EQ(*mem_word(&n, 1), 3);
}

TEST(ad_bits, .what = "A and D appear in L1's nested entries as L2's accesses demand",
     .modes = MODES_NPT)
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	int level;

	EXPECT_EXIT(run(&n, STUB_READ, n.gva + SZ_4K, 0), SVM_EXIT_VMMCALL);
	for (level = t->mode->levels; level >= 1; level--)
		if (t->mode->id != PM_PAE || level < 3)
			EXPECT(aspace_get_pte(&n.npt, L2_GPA + SZ_4K, level) & PTE_A,
			       "A at level %d after a read", level);
	EXPECT_EQ(aspace_get_pte(&n.npt, L2_GPA + SZ_4K, 1) & PTE_D, 0, "D after a read");
	EXPECT_EQ(aspace_get_pte(&n.npt, L2_GPA + 5 * SZ_4K, 1) & PTE_A, 0, "A of a page not used");
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, 1), SVM_EXIT_VMMCALL);
	EXPECT(aspace_get_pte(&n.npt, L2_GPA + SZ_4K, 1) & PTE_D, "D after a write");
}

TEST(two_roots,
     .what = "two nested CR3s alternate; an edit in the idle one is seen when it is back",
     .modes = MODES_NPT, .fixes = (const char *const[]){"07ffaf343e34", NULL})
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	struct aspace second = nested_tables(&n);
	gpa_t mem = n.vm->mem->gpa;
	int i;

	for (i = 0; i < 16; i++)
		*mem_word(&n, i) = 300 + i;
	aspace_map(&second, L2_GPA, mem + 8 * SZ_4K, 8 * SZ_4K, 1, PTE_W | PTE_U);
	for (i = 0; i < 3; i++) {
		n.vmcb->nested_cr3 = n.npt.root;
		EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 300, "first root, round %d", i);
		n.vmcb->nested_cr3 = second.root;
		EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 308 + i, "second root, round %d", i);
		/* Edit the root in use and flush while the other one is in use. */
		guest_set_pte(n.v, &second, L2_GPA, 1,
			      (mem + (9 + i) * SZ_4K) | PTE_P | PTE_W | PTE_U);
	}
	guest_set_pte(n.v, &n.npt, L2_GPA, 1, (mem + 5 * SZ_4K) | PTE_P | PTE_W | PTE_U);
	EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL); /* second */
	EXPECT_EQ(n.vmcb->rax, 311);
	n.vmcb->nested_cr3 = n.npt.root;
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 305, "flushed while the other root was in use");
}

TEST(l2_tables, .what = "L2 switches between its own address spaces under one nested CR3",
     .modes = MODES_64)
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	struct aspace second = bare_aspace(n.vm, n.l2.mode);
	int i;

	aspace_map(&second, 0, 0, VM_SYSTEM_SIZE, 2, PTE_W);
	aspace_map(&second, n.gva, L2_GPA + 4 * SZ_4K, 4 * SZ_4K, 1, 0);
	*mem_word(&n, 0) = 1;
	*mem_word(&n, 4) = 2;
	for (i = 0; i < 4; i++) {
		n.vmcb->cr3 = i & 1 ? second.root : n.l2.root;
		EXPECT_EXIT(run_flushed(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 1 + (i & 1));
	}
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva, 3), SVM_EXIT_EXCP_BASE + PF_VECTOR);
	EXPECT_EQ(n.vmcb->exit_info1, (u64)(PFERR_P | PFERR_W), "L2's own #PF");
	EXPECT_EQ(n.vmcb->exit_info2, n.gva);
}

TEST(user_access, .what = "nested walks are user accesses: L1's SMEP, SMAP and WP do not matter",
     .modes = MODES_64)
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	u64 cr4 = guest_get_cr(n.v, 4), exit;

	require_cpu(CPU_SMEP);
	require_cpu(CPU_SMAP);
	place_function(n.vm, n.vm->mem->gpa, 0x77);
	guest_set_cr(n.v, 4, cr4 | CR4_SMEP | CR4_SMAP);
	EXPECT_EXIT(run_flushed(&n, STUB_EXEC, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 0x77);
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, 1), SVM_EXIT_VMMCALL);
	guest_set_pte(n.v, &n.npt, L2_GPA, 1, n.vm->mem->gpa | PTE_P | PTE_U);
	exit = run_flushed(&n, STUB_WRITE, n.gva, 1);
	EXPECT_NPF(&n, exit, PFERR_P | PFERR_W | PFERR_U | NPF_FINAL, L2_GPA);
}

TEST(dirty_log, .what = "pages that L2 writes are in the dirty log, each time",
     .modes = MODE(PM_LA48))
{
	struct nested n = nested_create(t, MEM_ANON, KVM_MEM_LOG_DIRTY_PAGES);
	struct dirty_bitmap b = dirty_bitmap_alloc(n.vm->mem);
	int round;

	EXPECT_EXIT(run(&n, STUB_READ, n.gva + SZ_4K, 0), SVM_EXIT_VMMCALL);
	for (round = 0; round < 3; round++) {
		dirty_get(n.vm->mem, &b);
		EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, round), SVM_EXIT_VMMCALL);
		dirty_get(n.vm->mem, &b);
		EXPECT_EQ(dirty_count(&b), 1, "round %d", round);
		EXPECT(dirty_test(&b, 1), "round %d", round);
	}
}

static const char *const log_starts[] = {"empty", "all_set", "no_memory", NULL};

/* The log is switched on, though an allocation fails; splitting the huge page may be left undone. */
static void start_log_without_memory(struct memslot *s, u32 nth)
{
	struct kvm_userspace_memory_region region = {
		.slot = s->id,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = s->gpa,
		.memory_size = s->size,
		.userspace_addr = (u64)s->hva,
	};
	int ret;

	engine()->fail_alloc(nth);
	ret = __kvm_ioctl(s->vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	engine()->fail_alloc(0);
	if (ret == -ENOMEM)
		ret = __kvm_ioctl(s->vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	ASSERT_EQ(ret, 0);
	s->flags = region.flags;
}

TEST(log_over_huge,
     .what = "a log that is switched on over a huge page gets what L2 writes, and nothing else",
     .modes = MODE(PM_LA48), .variants = log_starts)
{
	struct nested n = nested_create(t, MEM_THP, 0);
	struct dirty_bitmap b = dirty_bitmap_alloc(n.vm->mem);
	bool all_set = t->variant_idx == 1, no_memory = t->variant_idx == 2;
	gva_t gva = n.gva + 8 * SZ_4K;
	u64 page, round;

	REQUIRE(!no_memory || engine()->fail_alloc,
		"allocations of the hypervisor's that can be failed");

	memset(n.vm->mem->hva, 0, SZ_2M);
	REQUIRE(memory_thp_bytes(&n.vm->mem->mem, 0, SZ_2M) == SZ_2M, "transparent huge pages");
	if (all_set)
		vm_manual_dirty_protect(n.vm, true);
	aspace_map(&n.npt, 2 * SZ_1G, n.vm->mem->gpa, SZ_2M, 2, PTE_W | PTE_U);
	aspace_map(&n.l2, gva, 2 * SZ_1G, 8 * SZ_4K, 1, PTE_W);
	for (round = 0; round < (no_memory ? 24 : 2); round++) {
		/* By small pages as well: these frames have two entries then. */
		for (page = 0; page < 4; page++)
			EXPECT_EXIT(run(&n, STUB_READ, n.gva + page * SZ_4K, 0), SVM_EXIT_VMMCALL);
		for (page = 0; page < 4; page++)
			EXPECT_EXIT(run(&n, STUB_WRITE, gva + page * SZ_4K, page),
				    SVM_EXIT_VMMCALL);
		if (no_memory)
			start_log_without_memory(n.vm->mem, round + 1);
		else
			slot_set_flags(n.vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
		dirty_get(n.vm->mem, &b);
		EXPECT_EQ(dirty_count(&b), all_set ? n.vm->mem->size / SZ_4K : 0);
		if (all_set)
			dirty_clear(n.vm->mem, &b, 0, n.vm->mem->size / SZ_4K);
		EXPECT_EXIT(run(&n, STUB_READ, gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 0);
		EXPECT_EXIT(run(&n, STUB_WRITE, gva + 3 * SZ_4K, 0x33), SVM_EXIT_VMMCALL);
		EXPECT_EXIT(run(&n, STUB_WRITE, gva + 6 * SZ_4K, 0x66), SVM_EXIT_VMMCALL);
		dirty_get(n.vm->mem, &b);
		EXPECT(dirty_test(&b, 3) && dirty_test(&b, 6), "round %lu", round);
		EXPECT_EQ(dirty_count(&b), 2, "round %lu", round);
		EXPECT_EQ(*mem_word(&n, 3), 0x33);
		EXPECT_EQ(*mem_word(&n, 6), 0x66);
		slot_set_flags(n.vm->mem, 0);
	}
}

/*
 * The processor itself, on its way through L1's tables, sets A in one that is shadowed as a nested
 * table: the write faults, and there is no instruction to emulate.
 */
TEST(own_tables, .what = "L1's own page tables are its nested ones as well: A appears in them",
     .modes = MODES_64)
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	gva_t fresh = L2_GPA + SZ_2M;
	u64 value;

	aspace_map(&n.npt, fresh, n.vm->mem->gpa + 2 * SZ_4K, SZ_4K, 1, PTE_W | PTE_U);
	*mem_word(&n, 0) = 10;
	*mem_word(&n, 2) = 12;
	guest_set_cr(n.v, 3, n.npt.root);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 10);
	EXPECT_EQ(aspace_get_pte(&n.npt, fresh, 2) & PTE_A, 0);
	value = guest_read(n.v, fresh);
	EXPECT_EQ(value & 0xffffffff, 12);
	EXPECT_EQ(aspace_get_pte(&n.npt, fresh, 2) & PTE_A, PTE_A);
	EXPECT_EQ(aspace_get_pte(&n.npt, fresh, 1) & PTE_A, PTE_A);
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva + SZ_4K, 0x11), SVM_EXIT_VMMCALL);
	EXPECT_EQ(*mem_word(&n, 1), 0x11);
	guest_set_cr(n.v, 3, n.vm->as.root);
}

TEST(below, .what = "memory that the host takes away or replaces is gone for L2 too",
     .modes = MODE(PM_LA48))
{
	struct nested n = nested_create(t, MEM_ANON, 0);
	struct memory other = memory_alloc(4 * MiB, MEM_ANON);

	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva, 9), SVM_EXIT_VMMCALL);
	memory_madvise(&n.vm->mem->mem, 0, SZ_4K, MADV_DONTNEED);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 0, "after MADV_DONTNEED");
	EXPECT_EXIT(run(&n, STUB_WRITE, n.gva, 10), SVM_EXIT_VMMCALL);
	EXPECT_EQ(*mem_word(&n, 0), 10);

	*(u32 *)other.hva = 4711;
	slot_delete(n.vm->mem);
	n.vm->mem->hva = other.hva;
	slot_readd(n.vm->mem);
	EXPECT_EXIT(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 4711, "other memory in the slot");
}
