// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests that are hypervisors, without nested paging: the nested guest (L2) translates by its
 * own tables into the physical space of the agent (L1), as L1's other memory. Where KVM
 * shadows L1's tables it shadows L2's in the same way, and must keep both apart; with two-
 * dimensional paging L2's tables are the processor's. What L2 does that L1 intercepts must
 * reach L1, all else must work as if there were no hypervisor in between. APM vol. 2
 * 15.5-15.15.
 */
#include <string.h>

#include "guest_code/programs.h"
#include "mmuscope.h"
#include "x86/arch/svm.h"

struct nested {
	struct vm *vm;
	struct vcpu *v;
	struct vmcb *vmcb;
	gpa_t vmcb_gpa;
	struct aspace as; /* L2's; no tables if it has no paging */
	gva_t gva;	  /* of the test's memory, to L2 */
	gpa_t code;
};

enum stub {
	STUB_READ,
	STUB_WRITE,
	STUB_EXEC,
	STUB_FREE /* for the case's own code */
};

static const u8 stubs[3][16] = {
	[STUB_READ] = {0x8b, 0x07, 0x0f, 0x01, 0xd9},  /* mov (di), %eax; vmmcall */
	[STUB_WRITE] = {0x89, 0x37, 0x0f, 0x01, 0xd9}, /* mov %esi, (di); vmmcall */
	[STUB_EXEC] = {0xff, 0xd7, 0x0f, 0x01, 0xd9},  /* call *di; vmmcall */
};

static struct aspace bare_aspace(struct vm *vm, const struct paging_mode *mode)
{
	struct aspace as = {.vm = vm, .mode = mode, .root = vm_alloc_table(vm)};
	int i;

	for (i = 0; mode->id == PM_PAE && i < 4; i++)
		aspace_make_tables(&as, (gva_t)i << 30, 2);
	return as;
}

static struct aspace l2_tables(struct nested *n, const struct paging_mode *mode, gpa_t gpa)
{
	struct aspace as = bare_aspace(n->vm, mode);

	aspace_map(&as, 0, 0, VM_SYSTEM_SIZE, 2, PTE_W);
	aspace_map(&as, n->gva, gpa, 4 * SZ_4K, 1, PTE_W);
	return as;
}

static void fill_vmcb(struct nested *n, const struct paging_mode *mode)
{
	struct svm_segment code = {0x08, mode->long_mode ? 0xa9b : 0xc9b, 0xffffffff, 0};
	struct svm_segment data = {0x10, 0xc93, 0xffffffff, 0};
	struct vmcb *c = n->vmcb;

	c->intercept_exceptions = ~0u;
	c->intercept_misc1 = SVM_INTERCEPT_HLT | SVM_INTERCEPT_SHUTDOWN;
	c->intercept_misc2 = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL;
	c->asid = 1;
	c->cs = code;
	c->ds = c->es = c->ss = c->fs = c->gs = data;
	c->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | (mode->levels ? CR0_PG : 0);
	c->cr3 = n->as.root;
	c->cr4 = mode->pte_size == 8 ? CR4_PAE : CR4_PSE;
	if (mode->id == PM_LA57)
		c->cr4 |= CR4_LA57;
	c->efer = EFER_SVME | (mode->long_mode ? EFER_LME | EFER_LMA : 0) |
		  (mode->pte_size == 8 ? EFER_NX : 0);
	c->dr6 = 0xffff0ff0;
	c->dr7 = 0x400;
	c->rflags = RFLAGS_FIXED;
	c->g_pat = 0x0007040600070406ull;
}

static struct nested nested_create(struct test *t, const struct paging_mode *mode)
{
	struct nested n = {0};

	require_cpu(CPU_SVM);
	if ((t->mode->id == PM_PAE || mode->id == PM_PAE) && quirk_pdpte_accessed())
		test_xfail(
			"QEMU TCG, see quirk_pdpte_accessed()",
			"the processor sets A in PAE's PDPTEs, and KVM checks those at VMRUN and #VMEXIT");
	n.vm = vm_create(t->mode, .mem_size = 4 * MiB);
	n.v = n.vm->vcpu[0];
	n.gva = n.vm->mem->gpa;
	if (mode->levels) {
		n.gva = mode->long_mode ? 1ull << 39 : 1ull << 30;
		n.as = l2_tables(&n, mode, n.vm->mem->gpa);
	}
	n.code = vm_alloc_table(n.vm);
	memcpy(vm_hva(n.vm, n.code), stubs, sizeof(stubs));
	n.vmcb_gpa = vm_alloc_table(n.vm);
	n.vmcb = vm_hva(n.vm, n.vmcb_gpa);
	fill_vmcb(&n, mode);
	return n;
}

static u64 run(struct nested *n, enum stub stub, gva_t addr, u64 value)
{
	n->vmcb->rip = n->code + 16 * stub;
	n->vmcb->rsp = n->code + SZ_4K - 16;
	n->vmcb->rax = 0;
	return guest_do(n->v, .kind = AGENT_CALL, .addr = PROGRAM_VMRUN, .value = n->vmcb_gpa,
			.arg = addr, .arg2 = value);
}

static u32 *mem_word(struct nested *n, u64 page)
{
	return (u32 *)((u8 *)n->vm->mem->hva + page * SZ_4K);
}

#define EXPECT_L2_PF(n, got, code, addr, ...)                                       \
	do {                                                                        \
		EXPECT_EQ(got, (u64)SVM_EXIT_EXCP_BASE + PF_VECTOR, ##__VA_ARGS__); \
		EXPECT_EQ((n)->vmcb->exit_info1, (u64)(code), ##__VA_ARGS__);       \
		EXPECT_EQ((n)->vmcb->exit_info2, (u64)(addr), ##__VA_ARGS__);       \
	} while (0)

/* Reads, writes and executes; @i tells rounds apart. */
static void check_access(struct nested *n, u32 i)
{
	*mem_word(n, 0) = 100 + i;
	EXPECT_EQ(run(n, STUB_READ, n->gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n->vmcb->rax, 100 + i);
	EXPECT_EQ(run(n, STUB_WRITE, n->gva + SZ_4K, 200 + i), SVM_EXIT_VMMCALL);
	EXPECT_EQ(*mem_word(n, 1), 200 + i);
	place_function(n->vm, n->vm->mem->gpa + 2 * SZ_4K, 300 + i);
	EXPECT_EQ(run(n, STUB_EXEC, n->gva + 2 * SZ_4K, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n->vmcb->rax, 300 + i);
}

TEST(translates, .what = "L2 uses memory by its own tables, in L1's own paging mode",
     .modes = MODES_PAGED)
{
	struct nested n = nested_create(t, t->mode);
	gpa_t mem = n.vm->mem->gpa;
	u64 exit;
	u32 i;

	for (i = 0; i < 3; i++)
		check_access(&n, i);
	EXPECT(aspace_get_pte(&n.as, n.gva, 1) & PTE_A, "A");
	EXPECT_EQ(aspace_get_pte(&n.as, n.gva, 1) & PTE_D, 0, "D after a read");
	EXPECT(aspace_get_pte(&n.as, n.gva + SZ_4K, 1) & PTE_D, "D after a write");

	/* L1 edits L2's tables. */
	*mem_word(&n, 3) = 4711;
	guest_set_pte(n.v, &n.as, n.gva, 1, (mem + 3 * SZ_4K) | PTE_P);
	EXPECT_EQ(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(n.vmcb->rax, 4711, "remapped");
	exit = run(&n, STUB_WRITE, n.gva + 4, 1);
	EXPECT_L2_PF(&n, exit, PFERR_P | PFERR_W, n.gva + 4, "read-only");
	guest_set_pte(n.v, &n.as, n.gva, 1, 0);
	exit = run(&n, STUB_READ, n.gva + 8, 1);
	EXPECT_L2_PF(&n, exit, 0, n.gva + 8, "gone");
	guest_set_pte(n.v, &n.as, n.gva, 1, mem | PTE_P | PTE_W);
	if (t->mode->pte_size == 8) {
		guest_set_pte(n.v, &n.as, n.gva + 2 * SZ_4K, 1, (mem + 2 * SZ_4K) | PTE_P | PTE_NX);
		exit = run(&n, STUB_EXEC, n.gva + 2 * SZ_4K, 0);
		EXPECT_L2_PF(&n, exit, PFERR_P | PFERR_F, n.gva + 2 * SZ_4K, "no-execute");
		guest_set_pte(n.v, &n.as, n.gva + 2 * SZ_4K, 1, (mem + 2 * SZ_4K) | PTE_P);
	}
	check_access(&n, 7);
}

/*
 * Linux 6.1 with npt=0 loses L1 at the first VMRUN or #VMEXIT between five levels and another mode.
 * Where in nested_svm_vmexit() or before it isn't known; with npt=1 and on the in-tree engine it works.
 */
static bool la57_lost(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)arg;
	if (run->exit_reason == KVM_EXIT_SHUTDOWN && engine()->kernel_memory &&
	    mmu_kind() == MMU_SHADOW && v->vm->mode->id == PM_LA57)
		test_xfail("arch/x86/kvm/svm/nested.c, 5-level L1 with npt=0",
			   "KVM_EXIT_SHUTDOWN on the way between L1 with five levels and L2");
	return false;
}

TEST(modes, .what = "L2 in another paging mode than L1, turn by turn with L1's own accesses",
     .modes = MODES_64)
{
	static const enum paging_mode_id ids[] = {PM_NONE, PM_32, PM_PAE, PM_LA48};
	struct nested n;
	u32 i, round;

	for (i = 0; i < ARRAY_LEN(ids); i++) {
		if (ids[i] == PM_PAE && quirk_pdpte_accessed())
			continue;
		n = nested_create(t, paging_mode(ids[i]));
		n.v->other_exit = la57_lost;
		vm_map(n.vm, 1ull << 40, n.vm->mem->gpa, 4 * SZ_4K, 1, PTE_W);
		for (round = 0; round < 3; round++) {
			check_access(&n, round);
			guest_write(n.v, (1ull << 40) + SZ_4K, 5000 + round);
			EXPECT_EQ(run(&n, STUB_READ, n.gva + SZ_4K, 0), SVM_EXIT_VMMCALL);
			EXPECT_EQ(n.vmcb->rax, 5000 + round, "%s", paging_mode(ids[i])->name);
		}
		vm_destroy(n.vm);
	}
}

TEST(two_roots, .what = "L2 with two CR3s, and edits in the one that is not in use",
     .modes = MODES_PAGED)
{
	struct nested n = nested_create(t, t->mode);
	struct aspace second = l2_tables(&n, t->mode, n.vm->mem->gpa + 4 * SZ_4K);
	gpa_t mem = n.vm->mem->gpa;
	u32 i;

	for (i = 0; i < 16; i++)
		*mem_word(&n, i) = 300 + i;
	for (i = 0; i < 4; i++) {
		n.vmcb->cr3 = n.as.root;
		EXPECT_EQ(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 300, "round %u", i);
		guest_set_pte(n.v, &second, n.gva, 1, (mem + (8 + i) * SZ_4K) | PTE_P);
		n.vmcb->cr3 = second.root;
		EXPECT_EQ(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
		EXPECT_EQ(n.vmcb->rax, 308 + i, "round %u", i);
	}
}

static void intercept(struct vmcb *c, u32 code, bool on)
{
	u8 *bits = (u8 *)c;

	if (on)
		bits[code / 8] |= 1u << code % 8;
	else
		bits[code / 8] &= ~(1u << code % 8);
}

TEST(intercepts, .what = "instructions reach L1 if it wants them, else they are executed",
     .modes = MODES_64 | MODE(PM_32))
{
	static const struct {
		const char *what;
		u32 code;
		u8 skip; /* bytes before the instruction in question */
		u8 len;
		bool always; /* there is nobody else to execute it */
		u8 bytes[10];
	} insns[] = {
		{"CPUID", SVM_EXIT_CPUID, 0, 2, false, {0x0f, 0xa2}},
		{"HLT", SVM_EXIT_HLT, 0, 1, true, {0xf4}},
		{"RDTSC", SVM_EXIT_RDTSC, 0, 2, false, {0x0f, 0x31}},
		{"WBINVD", SVM_EXIT_WBINVD, 0, 2, false, {0x0f, 0x09}},
		{"INVLPG", SVM_EXIT_INVLPG, 0, 3, false, {0x0f, 0x01, 0x3f}},
		{"MOV from CR3", SVM_EXIT_READ_CR + 3, 0, 3, false, {0x0f, 0x20, 0xd8}},
		{"MOV to CR3",
		 SVM_EXIT_WRITE_CR + 3,
		 3,
		 6,
		 false,
		 {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}},
		{"MOV to CR0",
		 SVM_EXIT_WRITE_CR + 0,
		 3,
		 6,
		 false,
		 {0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0}},
		{"MOV to CR4",
		 SVM_EXIT_WRITE_CR + 4,
		 3,
		 6,
		 false,
		 {0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0}},
		{"RDMSR", SVM_EXIT_MSR, 5, 7, false, {0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32}},
		{"OUT", SVM_EXIT_IOIO, 0, 2, true, {0xe6, 0x80}},
		{"VMRUN", SVM_EXIT_VMRUN, 0, 3, true, {0x0f, 0x01, 0xd8}},
		{"VMLOAD", SVM_EXIT_VMLOAD, 0, 3, true, {0x0f, 0x01, 0xda}},
		{"STGI", SVM_EXIT_STGI, 0, 3, true, {0x0f, 0x01, 0xdc}},
	};
	struct nested n = nested_create(t, t->mode);
	u8 *code = (u8 *)vm_hva(n.vm, n.code) + 16 * STUB_FREE;
	gpa_t maps = vm_alloc_table(n.vm);
	u64 exit;
	u32 i;

	memset(vm_hva(n.vm, maps), 0xff, SZ_4K);
	for (i = 1; i < 5; i++)
		memset(vm_hva(n.vm, vm_alloc_table(n.vm)), 0xff, SZ_4K);
	n.vmcb->msrpm_base = n.vmcb->iopm_base = maps;
	for (i = 0; i < ARRAY_LEN(insns); i++) {
		static const u8 vmmcall[] = {0x0f, 0x01, 0xd9};

		/* NOPs up to VMMCALL. */
		memset(code, 0x90, 16);
		memcpy(code, insns[i].bytes, insns[i].len);
		memcpy(code + 13, vmmcall, sizeof(vmmcall));

		intercept(n.vmcb, insns[i].code, true);
		exit = run(&n, STUB_FREE, n.gva, 0);
		EXPECT_EQ(exit, insns[i].code, "%s", insns[i].what);
		EXPECT_EQ(n.vmcb->rip, n.code + 16 * STUB_FREE + insns[i].skip, "%s",
			  insns[i].what);
		if (insns[i].code == SVM_EXIT_IOIO)
			EXPECT_EQ(n.vmcb->exit_info1 >> 16, 0x80, "port");
		if (insns[i].always)
			continue;
		intercept(n.vmcb, insns[i].code, false);
		exit = run(&n, STUB_FREE, n.gva, 0);
		EXPECT_EQ(exit, SVM_EXIT_VMMCALL, "%s, not intercepted", insns[i].what);
	}
	check_access(&n, 1);
}

TEST(refused, .what = "VMRUN refuses what no processor could run", .modes = MODES_64 | MODE(PM_32))
{
	struct nested n = nested_create(t, t->mode);
	struct vmcb good = *n.vmcb;
	u32 i;

	for (i = 0; i < 7; i++) {
		*n.vmcb = good;
		switch (i) {
		case 0:
			n.vmcb->asid = 0;
			break;
		case 1:
			n.vmcb->intercept_misc2 &= ~SVM_INTERCEPT_VMRUN;
			break;
		case 2:
			n.vmcb->efer &= ~EFER_SVME;
			break;
		case 3:
			n.vmcb->cr0 |= CR0_NW;
			break;
		case 4:
			n.vmcb->dr7 |= 1ull << 32;
			break;
		case 5:
			n.vmcb->cr0 |= 1ull << 32;
			break;
		case 6:
			n.vmcb->cr4 |= 1ull << 31;
			break;
		}
		/* The upper half is told wrongly by some. */
		EXPECT_EQ((u32)run(&n, STUB_READ, n.gva, 0), (u32)SVM_EXIT_INVALID, "%u", i);
	}
	*n.vmcb = good;
	check_access(&n, 1);
}

TEST(counts, .what = "nested_run counts what was run, and guest_mode is over with the exit",
     .modes = MODE(PM_LA48))
{
	struct nested n = nested_create(t, t->mode);
	u64 before;
	u32 i;

	EXPECT_EQ(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	before = vcpu_stat(n.v, "nested_run");
	for (i = 0; i < 5; i++)
		EXPECT_EQ(run(&n, STUB_READ, n.gva, 0), SVM_EXIT_VMMCALL);
	EXPECT_EQ(vcpu_stat(n.v, "nested_run") - before, 5);
	EXPECT_EQ(vcpu_stat(n.v, "guest_mode"), 0);
	n.vmcb->asid = 0;
	EXPECT_EQ((u32)run(&n, STUB_READ, n.gva, 0), (u32)SVM_EXIT_INVALID);
	EXPECT_EQ(vcpu_stat(n.v, "nested_run") - before, 5, "one that was refused");
}
