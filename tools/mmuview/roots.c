// SPDX-License-Identifier: GPL-2.0-only
/*
 * The roots that vCPUs stand on, and where the next one comes from.
 */
#include <stdio.h>

#include "tools/mmuview/views.h"

#define MAX_TASKS 32

void make_spaces(struct vm *vm, struct aspace *as, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], vm->test_gva, vm->mem->gpa + i * SZ_4K, SZ_4K, 1,
			   PTE_W | PTE_A | PTE_D);
	}
}

static void switch_to(struct vcpu *v, const struct aspace *as)
{
	op_clear(v);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = as->root);
	op_add(v, .kind = AGENT_READ, .addr = v->vm->test_gva);
	vcpu_exec(v);
}

static void print_roots(struct vm *vm, const char *when)
{
	u32 i;

	printf("%s\n\n", when);
	for (i = 0; i < vm->nr_vcpus; i++) {
		u64 root = vcpu_root_hpa(vm->vcpu[i]);

		if (root == NO_ROOT)
			printf("  vcpu[%u]  no root yet\n", i);
		else
			printf("  vcpu[%u]  root_hpa %#lx\n", i, root);
	}
	printf("\n");
}

/* Where the root for @cr3 will come from. */
static const char *source(struct vcpu *v, u64 current, u64 cr3)
{
	u64 pgd;
	u32 i;

	if (cr3 == current)
		return "current";
	for (i = 0; vcpu_prev_root(v, i, &pgd) != NO_ROOT; i++)
		if (pgd == cr3)
			return "previous";
	return "-";
}

static void print_switches(struct vcpu *v, const struct aspace *as, u32 tasks)
{
	static const u8 order[] = {0, 1, 0, 1, 2, 3, 0, 4, 0, 1, 1};
	u64 current = as[1 % tasks].root, before, after; /* that's where it stands */
	u32 i;

	printf("CR3 loads of vcpu[0]\n\n  %-6s %-10s %-10s %-6s %s\n", "task", "cr3", "root is",
	       "loads", "root_hpa");
	for (i = 0; i < ARRAY_LEN(order); i++) {
		const struct aspace *to = &as[order[i] % tasks];
		const char *from = source(v, current, to->root);

		before = vcpu_stat(v, "mmu_loads");
		switch_to(v, to);
		after = vcpu_stat(v, "mmu_loads");
		printf("  %-6u %#-10lx %-10s %-6lu %#lx\n", order[i] % tasks, to->root, from,
		       after - before, vcpu_root_hpa(v));
		current = to->root;
	}
}

void view_roots(const struct view_options *opt)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = opt->vcpus);
	struct aspace as[MAX_TASKS];
	u32 i;

	make_spaces(vm, as, opt->tasks);
	print_roots(vm, "Before the guest runs");
	for (i = 0; i < vm->nr_vcpus; i++)
		switch_to(vm->vcpu[i], &as[i % opt->tasks]);
	print_roots(vm, "Each vCPU runs a task");
	for (i = 0; i < vm->nr_vcpus; i++)
		switch_to(vm->vcpu[i], &as[(i + 1) % opt->tasks]);
	print_roots(vm, "Each runs the next one");
	print_switches(vm->vcpu[0], as, opt->tasks);
	vm_destroy(vm);
}
