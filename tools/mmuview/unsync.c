// SPDX-License-Identifier: GPL-2.0-only
/*
 * The collection of what is out of sync below a root that is zapped.
 */
#include <stdio.h>

#include "tools/mmuview/views.h"

#define LEAVES 4
#define MAX    16 /* pages of one collection */

struct page {
	u64 level, gfn;
};

/* Three last-level tables side by side, and one that shares the top level only. */
static gva_t leaf_gva(const struct vm *vm, u32 i)
{
	return vm->test_gva + (i < 3 ? i * SZ_2M : level_size(vm->mode, 4));
}

/* A guest that has used four last-level tables and then written to each. */
static void make_unsync(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	u32 i;

	for (i = 0; i < LEAVES; i++)
		vm_map(vm, leaf_gva(vm, i), vm->mem->gpa + i * SZ_4K, SZ_4K, 1,
		       PTE_W | PTE_A | PTE_D);
	op_clear(v);
	for (i = 0; i < LEAVES; i++)
		op_add(v, .kind = AGENT_READ, .addr = leaf_gva(vm, i));
	for (i = 0; i < LEAVES; i++)
		op_set_pte(v, &vm->as, leaf_gva(vm, i), 1,
			   (vm->mem->gpa + MiB + i * SZ_4K) | PTE_P | PTE_W | PTE_A | PTE_D);
	vcpu_exec(v);
}

static void print_pages(const struct page *page, u32 n)
{
	u32 i;

	printf("Unsync pages as they are found below the root\n\n  index ");
	for (i = 0; i < n; i++)
		printf("%3u", i);
	printf("\n  level ");
	for (i = 0; i < n; i++)
		printf("%3lu", page[i].level);
	printf("\n\nThe same as a tree\n\n");
	for (i = 0; i < n; i++)
		printf("  [%u] %*slevel %lu, table at gfn %#lx%s\n", i,
		       (int)(2 * (page[0].level - page[i].level)), "", page[i].level, page[i].gfn,
		       page[i].level == 1 ? ", unsync" : "");
	printf("\nThe way up from each leaf, when it is zapped\n\n");
}

static void print_way(const struct event *e)
{
	static const char *const names[] = {"parent2", "parent3", "parent4", "parent5"};
	u64 gfn[ARRAY_LEN(names)];
	u32 i, n = 0;

	while (n < ARRAY_LEN(names) && (gfn[n] = event_arg(e, names[n])) != 0)
		n++;
	printf("  leaf [%lu]  levels", event_arg(e, "index"));
	for (i = 0; i < n; i++)
		printf(" %u", i + 2);
	printf(", tables");
	for (i = 0; i < n; i++)
		printf(" %#lx", gfn[i]);
	printf("\n");
}

void view_unsync(const struct view_options *opt)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48));
	struct memslot *other = slot_add(vm, 5, 512 * MiB, SZ_4K, MEM_ANON, 0);
	struct page page[MAX];
	struct events ev;
	struct event e;
	u32 n = 0;

	(void)opt;
	make_unsync(vm);
	ev = events_start(vm, 1 << 12);
	/* A memslot goes, and with it all tables, the root first. */
	slot_delete(other);
	while (events_read(&ev, &e, 1)) {
		if (event_is(&e, "kvm_mmu_unsync_walk") && n < MAX) {
			page[n].level = event_arg(&e, "level");
			page[n].gfn = event_arg(&e, "gfn");
			if (++n == event_arg(&e, "nr"))
				print_pages(page, n);
		} else if (event_is(&e, "kvm_mmu_unsync_parents")) {
			print_way(&e);
		}
	}
	events_stop(&ev);
	vm_destroy(vm);
}
