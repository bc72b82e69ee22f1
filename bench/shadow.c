// SPDX-License-Identifier: GPL-2.0-only
/*
 * What shadow paging costs a guest, each beside a reference of the same run:
 *  - a fault on a page that the guest's tables map and the shadow's don't, beside the same fault with two-dimensional
 *    paging (engine "intree", which can do both) and the host's own minor fault. Only every eighth page is mapped, so
 *    that none is mapped ahead;
 *  - a load of CR3 whose root is the current or a previous one, beside an exit that does next to nothing; and one whose
 *    root isn't, beside the former;
 *  - a store to a last-level table that is in sync, beside one that is out of sync already; and that beside a store to
 *    ordinary memory. Tables come into sync again by a load of CR3, whose cost is given per table.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "guest_code/programs.h"

#define ROUNDS 9
#define STRIDE (8 * SZ_4K)
#define TABLES 400
#define SPACES 6

static u32 faults = 16384, loads = 20000;

static void figure(const char *name, double value, const char *against, double reference)
{
	bench_print(&(struct bench_figure){name, value, "ns", against, reference, 0, LESS});
}

/* Of this thread, which all runs on: what else the machine does shall not count. */
static u64 cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Nanoseconds that the batch of @v takes. */
static double run(struct vcpu *v)
{
	u64 start = cpu_now();

	vcpu_exec(v);
	return cpu_now() - start;
}

/* A VM that may have any number of shadow pages. */
static struct vm *make_vm(u64 size)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = size, .run_ms = 120000);

	vm_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)100000l);
	return vm;
}

static double touch(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];

	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = vm->test_gva, .arg = STRIDE,
	       .value = faults);
	return run(v);
}

/* Nanoseconds a fault. */
static double fault_cost(void)
{
	struct vm *vm = make_vm((u64)faults * SZ_4K);
	double cost[ROUNDS], first;
	u32 i;

	memset(vm->mem->hva, 1, vm->mem->size);
	for (i = 0; i < faults; i++)
		vm_map(vm, vm->test_gva + (u64)i * STRIDE, vm->mem->gpa + (u64)i * SZ_4K, SZ_4K, 1,
		       PTE_W | PTE_A | PTE_D);
	touch(vm);
	for (i = 0; i < ROUNDS; i++) {
		slot_delete(vm->mem);
		slot_readd(vm->mem);
		first = touch(vm);
		cost[i] = (first - touch(vm)) / faults;
	}
	vm_destroy(vm);
	return bench_median(cost, ROUNDS);
}

static double host_fault(void)
{
	double cost[ROUNDS];
	u64 i, start;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		volatile u8 *p = mmap(NULL, (u64)faults * SZ_4K, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			test_error("mmap");
		madvise((void *)p, (u64)faults * SZ_4K, MADV_NOHUGEPAGE);
		start = cpu_now();
		for (i = 0; i < faults; i++)
			p[i * SZ_4K] = 1;
		cost[round] = (double)(cpu_now() - start) / faults;
		munmap((void *)p, (u64)faults * SZ_4K);
	}
	return bench_median(cost, ROUNDS);
}

static void measure_faults(bool both)
{
	double shadow = fault_cost(), tdp;

	figure("shadow.fault", shadow, "host's minor fault", host_fault());
	if (!both)
		return;
	engine_param_set("npt", "1");
	tdp = fault_cost();
	engine_param_set("npt", "0");
	figure("shadow.fault_two_dimensional", shadow, "with two-dimensional paging", tdp);
}

/* --- CR3 ------------------------------------------------------------------------------ */

/* Nanoseconds a load, with the first @n of the CR3s at @list in turn. */
static double switch_cost(struct vm *vm, gpa_t list, u32 n, bool load_each)
{
	struct vcpu *v = vm->vcpu[0];
	bool counted = vcpu_has_stat(v, "mmu_loads");
	u64 before = 0, diff;
	double ns;

	op_clear(v);
	op_add(v, .kind = AGENT_CALL, .addr = PROGRAM_CR3_LOOP, .arg = list, .arg2 = n,
	       .value = n * 2);
	vcpu_exec(v);
	op_clear(v);
	op_add(v, .kind = AGENT_CALL, .addr = PROGRAM_CR3_LOOP, .arg = list, .arg2 = n,
	       .value = loads);
	if (counted)
		before = vcpu_stat(v, "mmu_loads");
	ns = run(v) / loads;
	if (counted) {
		diff = vcpu_stat(v, "mmu_loads") - before;
		if (load_each ? diff < loads : diff > 2)
			test_error("%lu roots loaded by %u loads of CR3", diff, loads);
	}
	return ns;
}

static double exit_cost(struct vcpu *v)
{
	op_clear(v);
	op_add(v, .kind = AGENT_CALL, .addr = PROGRAM_CPUID_LOOP, .value = loads);
	return run(v) / loads;
}

static void measure_cr3(void)
{
	struct vm *vm = make_vm(SZ_2M);
	double none[ROUNDS], cached[ROUNDS], uncached[ROUNDS], hit;
	gpa_t list = vm_alloc_table(vm);
	u64 *cr3 = vm_hva(vm, list);
	u32 i;

	for (i = 0; i < SPACES; i++)
		cr3[i] = aspace_create(vm).root;
	for (i = 0; i < ROUNDS; i++) {
		none[i] = exit_cost(vm->vcpu[0]);
		cached[i] = switch_cost(vm, list, 2, false);
		uncached[i] = switch_cost(vm, list, SPACES, true);
	}
	hit = bench_median(cached, ROUNDS);
	figure("shadow.cr3_cached", hit, "a CPUID exit", bench_median(none, ROUNDS));
	figure("shadow.cr3_uncached", bench_median(uncached, ROUNDS), "with a cached root", hit);
	vm_destroy(vm);
}

/* --- stores to tables -------------------------------------------------------------------- */

/* Nanoseconds a store; one to each of TABLES pages from @gva on, @rounds times. */
static double store_cost(struct vcpu *v, gva_t gva, u32 rounds)
{
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 8, .addr = gva, .arg = SZ_4K, .value = TABLES);
	if (rounds > 1)
		op_add(v, .kind = AGENT_LOOP, .arg = 1, .value = rounds - 1);
	return run(v) / TABLES / rounds;
}

static double load_cr3(struct vcpu *v)
{
	op_clear(v);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = v->vm->as.root);
	return run(v);
}

static void measure_stores(void)
{
	struct vm *vm = make_vm(SZ_2M);
	double in[ROUNDS], out[ROUNDS], plain[ROUNDS], sync[ROUNDS], dirty;
	gva_t data = vm->test_gva + SZ_1G;
	struct vcpu *v = vm->vcpu[0];
	gpa_t tables;
	u32 i;

	vm_map(vm, data, vm->mem->gpa, TABLES * SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	for (i = 0; i < TABLES; i++)
		vm_map(vm, vm->test_gva + i * SZ_2M, vm->mem->gpa + i * SZ_4K, SZ_4K, 1,
		       PTE_W | PTE_A | PTE_D);
	tables = aspace_pte_gpa(&vm->as, vm->test_gva, 1);
	if (aspace_pte_gpa(&vm->as, vm->test_gva + (TABLES - 1) * SZ_2M, 1) !=
	    tables + (TABLES - 1) * SZ_4K)
		test_error("the tables aren't next to each other");
	tables += 511 * 8; /* entries that nobody uses */
	op_clear(v);
	op_add(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = vm->test_gva, .arg = SZ_2M,
	       .value = TABLES);
	vcpu_exec(v);
	store_cost(v, tables, 1);
	for (i = 0; i < ROUNDS; i++) {
		dirty = load_cr3(v);
		sync[i] = (dirty - load_cr3(v)) / TABLES;
		in[i] = store_cost(v, tables, 1);
		if (vm_stat(vm, "mmu_unsync") < TABLES)
			test_error("the stores have not made all tables unsync");
		out[i] = store_cost(v, tables, 20);
		store_cost(v, data, 1);
		plain[i] = store_cost(v, data, 20);
	}
	dirty = bench_median(out, ROUNDS);
	figure("shadow.write_in_sync", bench_median(in, ROUNDS), "out of sync", dirty);
	figure("shadow.write_out_of_sync", dirty, "to ordinary memory",
	       bench_median(plain, ROUNDS));
	figure("shadow.sync_table", bench_median(sync, ROUNDS), "the store that needs it",
	       bench_median(in, ROUNDS));
	vm_destroy(vm);
}

int main(int argc, char **argv)
{
	bool intree;

	bench_start(argc, argv,
		    "The cost of shadow paging: faults, loads of CR3, stores to tables.");
	if (bench_quick()) {
		faults /= 8;
		loads /= 10;
	}
	intree = !strcmp(engine()->name, "intree");
	if (intree)
		engine_param_set("npt", "0");
	if (mmu_kind() != MMU_SHADOW) {
		bench_note("guests have two-dimensional paging here: nothing to measure");
		return 0;
	}
	measure_faults(intree);
	measure_cr3();
	measure_stores();
	return 0;
}
