// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stages of a page fault with two-dimensional paging, and the time in each.
 */
#include <stdio.h>
#include <string.h>

#include "tools/mmuview/views.h"

/* What calls what: the whole, its stages, and what is part of one of those. */
static const struct {
	const char *name;
	int depth;
} graph[] = {
	{"kvm_mmu_page_fault", 0},
	{"handle_mmio_page_fault", 1},
	{"page_fault_handle_page_track", 1},
	{"fast_page_fault", 1},
	{"mmu_topup_memory_caches", 1},
	{"kvm_faultin_pfn", 1},
	{"map", 1},
	{"is_page_fault_stale", 2},
};

struct stage {
	u64 count, ns;
};

static void add(struct stage *stages, const struct event *e)
{
	const char *name = event_stage_name(event_arg(e, "stage"));
	size_t i;

	for (i = 0; i < ARRAY_LEN(graph); i++) {
		if (name && !strcmp(graph[i].name, name)) {
			stages[i].count++;
			stages[i].ns += event_arg(e, "ns");
		}
	}
}

static void print_graph(const struct stage *stages)
{
	u64 faults = stages[0].count ? stages[0].count : 1;
	double whole = (double)stages[0].ns / faults, named = 0;
	size_t i;

	printf("  %8s %6s %8s  %s\n", "ns", "share", "calls", "function");
	for (i = 0; i < ARRAY_LEN(graph); i++) {
		double ns = (double)stages[i].ns / faults;

		if (graph[i].depth == 1)
			named += ns;
		if (stages[i].count)
			printf("  %8.0f %5.1f%% %8lu  %*s%s()\n", ns,
			       whole > 0 ? 100 * ns / whole : 0, stages[i].count,
			       4 * graph[i].depth, "", graph[i].name);
	}
	printf("  %8.0f %5.1f%% %8s  %*s(between them)\n", whole - named,
	       whole > 0 ? 100 * (whole - named) / whole : 0, "", 4, "");
}

static void show(struct vm *vm, struct events *ev, const char *title, struct agent_op op)
{
	struct stage stages[ARRAY_LEN(graph)] = {{0}};
	struct event e;

	while (events_read(ev, &e, 1)) /* what came before */
		;
	op_clear(vm->vcpu[0]);
	op_add_op(vm->vcpu[0], op);
	vcpu_exec(vm->vcpu[0]);
	while (events_read(ev, &e, 1))
		if (event_is(&e, "kvm_page_fault"))
			add(stages, &e);
	printf("%s\n\n", title);
	print_graph(stages);
	printf("\n");
}

static void answer(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
}

void view_fault(const struct view_options *opt)
{
	u64 size = (u64)opt->faults * SZ_4K;
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = size, .run_ms = 60000);
	gva_t mmio = vm->test_gva + SZ_1G;
	struct events ev;

	memset(vm->mem->hva, 1, size);
	vm_map(vm, vm->test_gva, vm->mem->gpa, size, 1, PTE_W | PTE_A | PTE_D);
	/* Beside the memory, in no slot. */
	vm_map(vm, mmio, 0xd0000000, SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	vm->vcpu[0]->mmio = answer;
	(void)guest_do(vm->vcpu[0], .kind = AGENT_NOP);
	ev = events_start(vm, (size_t)opt->faults * 16 + 4096);
	show(vm, &ev, "Pages of memory, touched for the first time (mean a fault)",
	     (struct agent_op){.kind = AGENT_TOUCH_READ,
			       .size = 4,
			       .addr = vm->test_gva,
			       .arg = SZ_4K,
			       .value = opt->faults});
	show(vm, &ev, "A device's register, read again and again (the first read finds no entry)",
	     (struct agent_op){
		     .kind = AGENT_TOUCH_READ, .size = 4, .addr = mmio, .arg = 0, .value = 16});
	events_stop(&ev);
	vm_destroy(vm);
}
