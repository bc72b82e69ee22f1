// SPDX-License-Identifier: GPL-2.0-only
/*
 * What deleting and adding a memslot costs a VM that has a lot mapped: all that the MMU has built goes with the slot.
 * 6 vCPUs map 2048 MiB with 4 KiB pages between them, then wait, while a small memslot is deleted and added, ten
 * times. With engine "intree" the invalidation by generation, which is the default, takes turns with zapping
 * everything page by page (zap_all_on_slot=1) in the same VM; engine "kvm" has the default only.
 *
 * Two more questions. The step that makes everything invalid, before anything is zapped: is it the same for any amount
 * of memory, but for caches that are colder the more was touched before? And for how long does a vCPU that goes on
 * running meanwhile stand still? It watches the time stamp counter and notes the longest gap; what it sees while nothing
 * happens (interrupts, the host's other tasks) is measured beside it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "guest_code/programs.h"
#ifdef MMUSCOPE_INTREE
#include "x86/kvm/kvm.h"
#include "x86/mmu/trace.h"
#endif

#define VCPUS  6
#define ROUNDS 10
#define SMALL  60 /* the slot that comes and goes */
/* Host memory is shown as often as it takes: what counts is the guest's. */
#define CHUNK (512 * MiB)

/* Where a guest's memory lies: in slots from 2 on, all mapped from test_gva on. */
#define BIG_GPA (4096 * MiB)

static struct memslot *small;

static bool intree(void)
{
	return !strcmp(engine()->name, "intree");
}

/* --- the VM ------------------------------------------------------------------- */

static struct vm *make_vm(u64 size, u32 vcpus, int level, struct memory *host)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = vcpus, .mem_size = VM_NO_MEM,
				  .run_ms = 600000);
	u64 chunk = host->size, at;
	u32 id = 2;

	for (at = 0; at < size; at += chunk)
		slot_add_hva(vm, id++, BIG_GPA + at, size - at < chunk ? size - at : chunk,
			     host->hva, 0);
	vm_map(vm, vm->test_gva, BIG_GPA, size, level, PTE_W | PTE_U | PTE_A | PTE_D);
	small = slot_add(vm, SMALL, VM_MEM_GPA, SZ_2M, MEM_ANON, 0);
	return vm;
}

/* Each vCPU reads its share of every @nth page, on a thread of its own. */
static void touch_share(struct vm *vm, u64 size, u32 nth)
{
	u64 part = size / vm->nr_vcpus & ~(nth * SZ_4K - 1);
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		u64 begin = i * part, end = i + 1 == vm->nr_vcpus ? size : begin + part;

		op_clear(vm->vcpu[i]);
		op_add(vm->vcpu[i], .kind = AGENT_TOUCH_READ, .size = 4,
		       .addr = vm->test_gva + begin, .arg = nth * SZ_4K,
		       .value = (end - begin) / (nth * SZ_4K));
		vcpu_start(vm->vcpu[i]);
	}
	for (i = 0; i < vm->nr_vcpus; i++)
		vcpu_join(vm->vcpu[i]);
}

/* Has the hypervisor map all of it with 4 KiB pages. */
static void touch_all(struct vm *vm, u64 size)
{
	/* Neighbours may be mapped ahead, eight at a time. */
	touch_share(vm, size, 8);
	if (vm_stat(vm, "pages_4k") < size / SZ_4K)
		touch_share(vm, size, 1);
	if (vm_stat(vm, "pages_4k") < size / SZ_4K)
		test_error("only %lu pages of 4 KiB are mapped", vm_stat(vm, "pages_4k"));
}

static double delete_and_add(void)
{
	u64 start = bench_now();

	slot_delete(small);
	slot_readd(small);
	return (bench_now() - start) / 1e6;
}

static void choose(struct vm *vm, bool zap_all)
{
#ifdef MMUSCOPE_INTREE
	if (intree())
		intree_kvm(vm->fd)->params.zap_all_on_slot = zap_all;
#else
	(void)vm;
	(void)zap_all;
#endif
}

static double mean(const double *v, int n)
{
	double sum = 0;
	int i;

	for (i = 0; i < n; i++)
		sum += v[i];
	return sum / n;
}

/* --- deletion and addition ------------------------------------------------------- */

static void print(const char *mode, const char *what, double value, const char *unit,
		  const char *against, double reference, double target, enum bench_better better)
{
	char name[64];

	snprintf(name, sizeof(name), "zap.%s_%s", mode, what);
	bench_print(&(struct bench_figure){name, value, unit, against, reference, target, better});
}

static void measure_zap(const char *mode, u64 size, struct memory *host, double target)
{
	struct vm *vm = make_vm(size, VCPUS, 1, host);
	double fast[ROUNDS], all[ROUNDS];
	int i, n = bench_quick() ? 3 : ROUNDS;

	touch_all(vm, size);
	for (i = 0; i < n; i++) {
		choose(vm, false);
		fast[i] = delete_and_add();
		touch_all(vm, size);
		if (!intree())
			continue;
		choose(vm, true);
		all[i] = delete_and_add();
		touch_all(vm, size);
	}
	if (intree())
		/* The report's ratio is that of the old time to the new one. */
		print(mode, "everything", mean(all, n), "ms", "by generation", mean(fast, n),
		      target, MORE);
	else
		print(mode, "generation", mean(fast, n), "ms", NULL, 0, 0, LESS);
	vm_destroy(vm);
}

/* --- how long a vCPU stands still -------------------------------------------------- */

enum meanwhile {
	NOTHING,
	GENERATION,
	EVERYTHING,
	NR_MEANWHILE
};

static double ticks_per_ms(void)
{
	u64 start = bench_now(), tsc = __builtin_ia32_rdtsc(), now;

	do
		now = bench_now();
	while (now - start < 50000000);
	return (__builtin_ia32_rdtsc() - tsc) * 1e6 / (now - start);
}

/* The longest gap of vCPU 0, in ms, while @what happens. */
static double stall(struct vm *vm, u64 size, gpa_t stop_gpa, enum meanwhile what, double per_ms)
{
	volatile u32 *stop = vm_hva(vm, stop_gpa);
	struct vcpu *v = vm->vcpu[0];

	choose(vm, what == EVERYTHING);
	touch_all(vm, size);
	*stop = 0;
	op_clear(v);
	op_add(v, .kind = AGENT_CALL, .addr = PROGRAM_LONGEST_GAP, .arg = vm->test_gva,
	       .value = 4096, .arg2 = stop_gpa);
	vcpu_start(v);
	usleep(20000);
	if (what == NOTHING)
		usleep(20000);
	else
		delete_and_add();
	usleep(5000);
	*stop = 1;
	vcpu_join(v);
	return op_result(v, 0).value / per_ms;
}

static void measure_stall(const char *mode, u64 size, struct memory *host)
{
	struct vm *vm = make_vm(size, VCPUS, 1, host);
	gpa_t stop_gpa = vm_alloc_table(vm);
	double per_ms = ticks_per_ms(), gap[NR_MEANWHILE][ROUNDS], median[NR_MEANWHILE];
	int i, n = bench_quick() ? 1 : 5, what;

	for (i = 0; i < n; i++)
		for (what = NOTHING; what < (intree() ? NR_MEANWHILE : EVERYTHING); what++)
			gap[what][i] = stall(vm, size, stop_gpa, what, per_ms);
	for (what = NOTHING; what < (intree() ? NR_MEANWHILE : EVERYTHING); what++)
		median[what] = bench_median(gap[what], n);
	print(mode, "stall_quiet", median[NOTHING], "ms", NULL, 0, 0, LESS);
	print(mode, "stall_generation", median[GENERATION], "ms",
	      intree() ? "zapping everything" : "nothing going on",
	      median[intree() ? EVERYTHING : NOTHING], 0, LESS);
	vm_destroy(vm);
}

/* --- the step ------------------------------------------------------------------------ */

#ifdef MMUSCOPE_INTREE
/* Microseconds from the beginning of the invalidation to the first page that is zapped. */
static double step_time(struct vm *vm)
{
	struct kvm *kvm = intree_kvm(vm->fd);
	struct mmu_trace_event e;
	u64 pos = 0, begin = 0;
	double us = -1;

	if (mmu_trace_start(kvm, 1 << 14))
		test_error("no memory for events");
	delete_and_add();
	while (us < 0 && mmu_trace_read(kvm, &pos, &e, 1)) {
		if (e.id == MMU_EV_kvm_mmu_zap_all_fast)
			begin = e.ns;
		else if (e.id == MMU_EV_kvm_mmu_prepare_zap_page && begin)
			us = (e.ns - begin) / 1e3;
	}
	mmu_trace_stop(kvm);
	if (us < 0)
		test_error("the events of the invalidation were not found");
	return us;
}

static void measure_steps(struct memory *host)
{
	static const struct {
		u64 mib;
		const char *name;
	} sizes[] = {{64, "step_64M"}, {512, "step_512M"}, {2048, "step_2G"}, {8192, "step_8G"}};
	int i, j, n = bench_quick() ? 1 : 5, nr = bench_quick() ? 2 : ARRAY_LEN(sizes);
	double us[ROUNDS], first = 0;

	for (i = 0; i < nr; i++) {
		struct vm *vm = make_vm(sizes[i].mib * MiB, 2, 2, host);

		for (j = 0; j < n; j++) {
			touch_all(vm, sizes[i].mib * MiB);
			us[j] = step_time(vm);
		}
		bench_median(us, n);
		if (!i)
			first = us[n / 2];
		print("shadow", sizes[i].name, us[n / 2], "us", i ? "with 64 MiB" : NULL, first,
		      i && !bench_quick() ? 4 : 0, LESS);
		vm_destroy(vm);
	}
}
#endif

int main(int argc, char **argv)
{
	struct memory host;
	u64 size = 2048 * MiB;
	const char *mode;

	bench_start(argc, argv,
		    "Deleting and adding a memslot beside 2048 MiB mapped with 4 KiB pages.");
	if (bench_quick())
		size = 256 * MiB;
	host = memory_alloc(CHUNK, MEM_ANON);
	memset(host.hva, 1, host.size);
	if (!intree()) {
		mode = mmu_kind() == MMU_SHADOW ? "shadow" : "tdp";
		measure_zap(mode, size, &host, 0);
		measure_stall(mode, size, &host);
		return 0;
	}
	/* What MMUSCOPE_CONFIG says besides holds for both. */
	engine_param_set("npt", "0");
	measure_zap("shadow", size, &host, bench_quick() ? 0 : 2.1);
	measure_stall("shadow", size, &host);
#ifdef MMUSCOPE_INTREE
	measure_steps(&host);
#endif
	engine_param_set("npt", "1");
	measure_zap("tdp", size, &host, 0);
	measure_stall("tdp", size, &host);
	return 0;
}
