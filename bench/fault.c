// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of a page fault in the second dimension (or, with npt=0, of a shadow fault on a page that the guest's tables
 * map): the guest touches each page of a memslot once; what the touching itself costs is measured by a second round and
 * taken off. The host's pages are there already, as the MMU's work is what is asked about.
 *
 * It is compared with the host's own minor fault, taken on memory of the same kind by a loop of the same shape: a
 * shared mapping whose pages are there already, and private anonymous memory, where the kernel clears a page each
 * time. Two vCPUs on threads of their own touch separate halves: what matters is their common rate.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 9

static u64 size = 256 * MiB;

/* Nanoseconds a page that one pass over all memory by @vcpus vCPUs takes. */
static double touch(struct vm *vm, u32 vcpus)
{
	u64 part = size / vcpus, start;
	u32 i;

	for (i = 0; i < vcpus; i++) {
		op_clear(vm->vcpu[i]);
		op_add(vm->vcpu[i], .kind = AGENT_TOUCH_READ, .size = 4,
		       .addr = vm->test_gva + i * part, .arg = SZ_4K, .value = part / SZ_4K);
	}
	start = bench_now();
	for (i = 1; i < vcpus; i++)
		vcpu_start(vm->vcpu[i]);
	vcpu_exec(vm->vcpu[0]);
	for (i = 1; i < vcpus; i++)
		vcpu_join(vm->vcpu[i]);
	return (double)(bench_now() - start) / (size / SZ_4K);
}

/* The slot comes back without any mapping. */
static double fault_cost(struct vm *vm, u32 vcpus)
{
	double first, second;

	slot_delete(vm->mem);
	slot_readd(vm->mem);
	first = touch(vm, vcpus);
	second = touch(vm, vcpus);
	return first - second;
}

static double host_fault(int fd)
{
	u64 start, i, sum = 0;
	volatile u8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);

	if (p == MAP_FAILED)
		test_error("mmap");
	madvise((void *)p, size, MADV_NOHUGEPAGE);
	start = bench_now();
	for (i = 0; i < size; i += SZ_4K) {
		if (fd >= 0)
			sum += p[i];
		else
			p[i] = 1;
	}
	start = bench_now() - start;
	munmap((void *)p, size);
	(void)sum;
	return (double)start / (size / SZ_4K);
}

int main(int argc, char **argv)
{
	double one[ROUNDS], two[ROUNDS], anon[ROUNDS], shared[ROUNDS], cost, both;
	int i, fd;
	struct vm *vm;

	bench_start(argc, argv,
		    "The cost of a 4 KiB page fault, beside the host's own minor fault.");
	if (bench_quick())
		size /= 8;
	vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = size, .run_ms = 60000);
	vm_map(vm, vm->test_gva, vm->mem->gpa, size, 1, PTE_W | PTE_U);
	memset(vm->mem->hva, 1, size);
	fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, size))
		test_error("memfd");
	for (i = 0; i < (int)(size / SZ_4K); i++)
		if (pwrite(fd, "1", 1, (u64)i * SZ_4K) != 1)
			test_error("pwrite");
	fault_cost(vm, 1); /* warms up: the guest's A bits, the caches */
	for (i = 0; i < ROUNDS; i++) {
		one[i] = fault_cost(vm, 1);
		anon[i] = host_fault(-1);
		shared[i] = host_fault(fd);
		two[i] = fault_cost(vm, 2);
	}
	cost = bench_median(one, ROUNDS);
	both = bench_median(two, ROUNDS);
	bench_print(&(struct bench_figure){"fault.4k", cost, "ns", "host's minor fault",
					   bench_median(anon, ROUNDS), 1, LESS});
	bench_print(&(struct bench_figure){"fault.4k_shared_memory", cost, "ns",
					   "host's minor fault on shared memory that is there",
					   bench_median(shared, ROUNDS), 0, LESS});
	bench_print(&(struct bench_figure){"fault.4k_2_threads", 1e3 / both, "faults/us",
					   "one thread", 1e3 / cost, 1.8, MORE});
	vm_destroy(vm);
	close(fd);
	return 0;
}
