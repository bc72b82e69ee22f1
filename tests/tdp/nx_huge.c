// SPDX-License-Identifier: GPL-2.0-only
/*
 * Executable huge pages: on processors with the iTLB multihit erratum
 * (CVE-2018-12207) a guest could halt the machine by executing from a page whose
 * size it changes. With kvm.nx_huge_pages set, the hypervisor maps huge pages
 * not executable; an instruction fetch then splits one into small pages, of
 * which the fetched ones may be executed. That is counted in nx_lpage_splits.
 * Data accesses must go on as if nothing had happened, the small pages must show
 * the same frames, and a data access may not join them to a huge page again
 * while the guest executes from there.
 *
 * The parameter can be changed while guests run: everything is zapped then.
 */
#include "tdp.h"

#define SLOT_SIZE (4 * MiB)
#define FRAMES	  (SLOT_SIZE / SZ_4K)
#define HUGE	  (SLOT_SIZE / SZ_2M)

static const char *const nx_fixes[] = {"CVE-2018-12207", NULL};

static void restore_nx(void)
{
	engine_param_set("nx_huge_pages", "auto");
}

static void set_nx(const char *value)
{
	char was[16];

	REQUIRE(engine_param("nx_huge_pages", was, sizeof(was)), "kvm.nx_huge_pages");
	REQUIRE(strcmp(was, "never"), "kvm.nx_huge_pages that is not fixed to \"never\"");
	REQUIRE(engine_param_set("nx_huge_pages", value), "kvm.nx_huge_pages can be written");
	test_cleanup((void (*)(void *))restore_nx, NULL);
}

/* A VM on huge pages with numbered frames and a function at +256 of the frames below. */
static const u64 code[] = {3, 4, 511, 600};

static struct vm *code_vm(void (*early)(struct vm *vm))
{
	struct vm *vm =
		vm_create(no_paging(), .mem_size = SLOT_SIZE, .backing = MEM_THP, .early = early);
	u64 i;

	number_frames(vm->mem->hva, FRAMES, 1);
	require_thp(&vm->mem->mem, 0, SLOT_SIZE);
	for (i = 0; i < ARRAY_LEN(code); i++)
		place_function(vm, vm->mem->gpa + code[i] * SZ_4K + 256, 0x1234 + i);
	guest_do(vm->vcpu[0], .kind = AGENT_NOP);
	return vm;
}

static void run_code(struct vm *vm)
{
	u64 i;

	for (i = 0; i < ARRAY_LEN(code); i++)
		EXPECT_EQ(guest_exec(vm->vcpu[0], vm->mem->gpa + code[i] * SZ_4K + 256), 0x1234 + i,
			  "function in frame %lu", code[i]);
}

TEST(split_by_fetch, .what = "with nx_huge_pages a fetch splits the huge page, data does not",
     .fixes = nx_fixes, .meant_for = MMU_TDP, .exclusive = true, .restore = restore_nx)
{
	struct vm *vm;
	struct pages before, now;
	u64 splits;

	require_tdp(MMU_TDP);
	set_nx("Y");
	vm = code_vm(NULL);
	before = pages_now(vm);
	expect_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 1, "data");
	now = pages_now(vm);
	EXPECT_EQ(now.p2m - before.p2m, HUGE, "2 MiB mappings after data accesses");
	splits = vm_stat(vm, "nx_lpage_splits");
	run_code(vm);
	now = pages_now(vm);
	EXPECT_EQ(now.p2m, before.p2m, "2 MiB mappings after fetches from both huge pages");
	/* Without the TDP MMU neighbours are mapped ahead, up to eight at a time. */
	EXPECT_GE(now.p4k - before.p4k, ARRAY_LEN(code), "4 KiB mappings");
	EXPECT_LE(now.p4k - before.p4k, ARRAY_LEN(code) * (mmu_kind() == MMU_TDP_MMU ? 1 : 8),
		  "4 KiB mappings");
	EXPECT_EQ(vm_stat(vm, "nx_lpage_splits") - splits, HUGE, "splits");
	expect_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 1, "data after fetches");
	EXPECT_EQ(pages_now(vm).p2m, before.p2m, "data accesses join nothing");
	write_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 7000);
	run_code(vm);
	EXPECT_EQ(frame_word(vm->mem->hva, 600), 7600, "a written frame on the host");
	EXPECT_EQ(vm_stat(vm, "nx_lpage_splits") - splits, HUGE, "splits at the end");

	/* Off: everything is zapped, fetches make huge pages again. */
	ASSERT(engine_param_set("nx_huge_pages", "N"));
	run_code(vm);
	expect_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 7000, "workaround off");
	EXPECT_EQ(pages_now(vm).p2m - before.p2m, HUGE, "2 MiB mappings, workaround off");
	EXPECT_EQ(vm_stat(vm, "nx_lpage_splits"), 0, "splits, workaround off");
}

#ifndef KVM_CAP_VM_DISABLE_NX_HUGE_PAGES
#define KVM_CAP_VM_DISABLE_NX_HUGE_PAGES 220
#endif

static void opt_out(struct vm *vm)
{
	require_cap(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES);
	vm_enable_cap(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0);
}

TEST(vm_opts_out, .what = "a VM that opted out of the workaround keeps its huge pages",
     .fixes = nx_fixes, .meant_for = MMU_TDP, .exclusive = true, .restore = restore_nx)
{
	struct vm *vm;
	struct pages before;

	require_tdp(MMU_TDP);
	set_nx("Y");
	vm = code_vm(opt_out);
	before = pages_now(vm);
	run_code(vm);
	expect_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 1, "data");
	EXPECT_EQ(pages_now(vm).p2m - before.p2m, HUGE, "2 MiB mappings");
	EXPECT_EQ(vm_stat(vm, "nx_lpage_splits"), 0, "splits");
}

TEST(executable_huge, .what = "without the workaround a fetch maps a huge page at once")
{
	struct vm *vm;
	struct pages before;

	require_counts();
	REQUIRE(!engine_param_bool("nx_huge_pages", false), "kvm.nx_huge_pages is off");
	vm = code_vm(NULL);
	before = pages_now(vm);
	run_code(vm);
	EXPECT_EQ(pages_now(vm).p2m - before.p2m, HUGE, "2 MiB mappings");
	EXPECT_EQ(pages_now(vm).p4k, before.p4k, "4 KiB mappings");
}

static void restore_recovery(void)
{
	engine_param_set("nx_huge_pages_recovery_period_ms", "0");
	engine_param_set("nx_huge_pages_recovery_ratio", "60");
	restore_nx();
}

/* Tables that a fetch had made are zapped after a while; the vCPU is outside the guest then. */
TEST(recovered, .what = "what was zapped for a huge page to come back is in nobody's TLB",
     .fixes = (const char *const[]){"CVE-2018-12207", "048f49809c52", "33a3164161fc", NULL},
     .meant_for = MMU_TDP, .exclusive = true, .restore = restore_recovery)
{
	struct vm *vm;
	struct timespec tick = {.tv_nsec = 5000000};
	u64 i, splits;
	int tries;

	require_tdp(MMU_TDP);
	set_nx("Y");
	test_cleanup((void (*)(void *))restore_recovery, NULL);
	REQUIRE(engine_param_set("nx_huge_pages_recovery_period_ms", "20") &&
			engine_param_set("nx_huge_pages_recovery_ratio", "1"),
		"kvm.nx_huge_pages_recovery_period_ms can be written");
	vm = code_vm(NULL);
	splits = vm_stat(vm, "nx_lpage_splits");
	run_code(vm);
	for (i = 0; i < ARRAY_LEN(code); i++)
		EXPECT_EQ(guest_do(vm->vcpu[0], .kind = AGENT_READ, .size = 4,
				   .addr = vm->mem->gpa + code[i] * SZ_4K),
			  code[i] + 1);
	for (tries = 0; tries < 1000 && vm_stat(vm, "nx_lpage_splits") > splits; tries++)
		nanosleep(&tick, NULL);
	EXPECT_EQ(vm_stat(vm, "nx_lpage_splits"), splits, "tables that stand for a fetch");
	for (i = 0; i < ARRAY_LEN(code); i++) {
		memory_madvise(&vm->mem->mem, code[i] * SZ_4K, SZ_4K, MADV_DONTNEED);
		EXPECT_EQ(guest_do(vm->vcpu[0], .kind = AGENT_READ, .size = 4,
				   .addr = vm->mem->gpa + code[i] * SZ_4K),
			  0, "frame %lu, discarded", code[i]);
	}
}
