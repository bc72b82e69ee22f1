// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long a VM takes to create, run one instruction of and destroy: a bare VM of one vCPU and one memslot, by the
 * ABI alone, since a suite pays this hundreds of times. Compared with fork() and exit of a process, which each case
 * pays too.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 101

static void fail_unless(bool ok, const char *what)
{
	if (!ok)
		test_error("%s", what);
}

/* Creates a VM whose vCPU executes HLT at address 0 in real mode. */
static void create_run_destroy(void *mem, int run_size)
{
	const struct engine *e = engine();
	struct kvm_userspace_memory_region region = {.memory_size = SZ_2M,
						     .userspace_addr = (u64)mem};
	struct kvm_regs regs = {.rflags = RFLAGS_FIXED};
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vm, vcpu;

	vm = e->ioctl(kvm_open_or_skip(), KVM_CREATE_VM, NULL);
	fail_unless(vm >= 0, "KVM_CREATE_VM");
	fail_unless(!e->ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "memory region");
	vcpu = e->ioctl(vm, KVM_CREATE_VCPU, NULL);
	fail_unless(vcpu >= 0, "KVM_CREATE_VCPU");
	run = e->mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	fail_unless(run != MAP_FAILED, "mmap");
	fail_unless(!e->ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	fail_unless(!e->ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	fail_unless(!e->ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	fail_unless(!e->ioctl(vcpu, KVM_RUN, NULL), "KVM_RUN");
	fail_unless(run->exit_reason == KVM_EXIT_HLT, "KVM_EXIT_HLT");
	e->munmap(run, run_size);
	e->close(vcpu);
	e->close(vm);
}

int main(int argc, char **argv)
{
	double vm[ROUNDS], child[ROUNDS];
	int rounds, i, run_size;
	void *mem;
	u64 start;

	bench_start(argc, argv, "VM create-run-destroy.");
	rounds = bench_quick() ? 11 : ROUNDS;
	run_size = engine()->ioctl(kvm_open_or_skip(), KVM_GET_VCPU_MMAP_SIZE, NULL);
	mem = engine()->mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
	fail_unless(mem != MAP_FAILED, "mmap of guest memory");
	memset(mem, 0xf4, 16);
	create_run_destroy(mem, run_size);
	for (i = 0; i < rounds; i++) {
		start = bench_now();
		create_run_destroy(mem, run_size);
		vm[i] = (bench_now() - start) / 1e6;
		start = bench_now();
		if (!fork())
			_exit(0);
		wait(NULL);
		child[i] = (bench_now() - start) / 1e6;
	}
	bench_print(&(struct bench_figure){"vm.create_run_destroy", bench_median(vm, rounds), "ms",
					   "1 ms", 1, 1, LESS});
	bench_print(&(struct bench_figure){"vm.create_run_destroy_process",
					   bench_median(vm, rounds), "ms", "fork and exit",
					   bench_median(child, rounds), 0, LESS});
	return 0;
}
