// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU as one sees it with a tracer: not what the guest gets, but the way that it comes about.
 *
 * A table is zapped: before it goes, so does what is out of sync below it. The collection descends to the first such
 * leaf before it turns to the next branch, and names a table once, on the way to the first leaf below it: levels
 * 4 3 2 1 1 1 3 2 1 for three leaves under one directory and one in another half of the tree. While it goes through the
 * leaves, the way to each is known, from level 2 up: 2 3 4.
 *
 * Each vCPU stands on the root for its own CR3, so roots of vCPUs differ, and change as the guest switches between
 * tasks. Roots that were in use before are remembered, three of them: a CR3 among those needs no new root, any
 * other one does. So an idle guest loads none, and one that is busy with more tasks than that one per switch.
 *
 * With two-dimensional paging the root is the hypervisor's own, and what CR3 holds doesn't matter. There a fault goes
 * through stages, whose order is pinned here, and the time in each is known.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "tracefs.h"

/* --- the collection of what is out of sync --------------------------------------------------- */

#define LEAVES 4

/* Three last-level tables side by side, and one that shares the top level only. */
static gva_t leaf_gva(struct vm *vm, u32 i)
{
	return vm->test_gva + (i < 3 ? i * SZ_2M : level_size(vm->mode, 4));
}

/* The frame of the table of @level on the way to @gva. */
static u64 table_gfn(struct vm *vm, gva_t gva, int level)
{
	return aspace_pte_gpa(&vm->as, gva, level) / SZ_4K;
}

/* What the collection must name: each table before the first leaf below it. */
static u32 expected_order(struct vm *vm, int *level, u64 *gfn)
{
	u64 last[PAGING_MAX_LEVEL + 1] = {0};
	u32 i, n = 0;
	int l;

	for (i = 0; i < LEAVES; i++) {
		for (l = vm->mode->levels; l >= 1; l--) {
			u64 table = table_gfn(vm, leaf_gva(vm, i), l);

			if (table == last[l])
				continue;
			last[l] = table;
			level[n] = l;
			gfn[n++] = table;
		}
	}
	return n;
}

static void map_leaves(struct vm *vm)
{
	u32 i;

	number_frames(vm);
	for (i = 0; i < LEAVES; i++)
		vm_map(vm, leaf_gva(vm, i), frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
}

/* The guest uses each leaf, then writes to it. */
static void make_unsync(struct vm *vm, struct vcpu *v)
{
	u32 i;

	op_clear(v);
	for (i = 0; i < LEAVES; i++)
		op_read(v, leaf_gva(vm, i));
	for (i = 0; i < LEAVES; i++)
		op_set_pte(v, &vm->as, leaf_gva(vm, i), 1, frame_pte(vm, 10 + i, PTE_W));
	vcpu_exec(v);
	EXPECT_EQ(vm_stat(vm, "mmu_unsync"), LEAVES);
}

/* What was zapped comes back as the guest has written it, though its flush is still to come. */
static void check_new_frames(struct vm *vm, struct vcpu *v)
{
	u32 i;

	op_clear(v);
	for (i = 0; i < LEAVES; i++)
		op_read(v, leaf_gva(vm, i));
	vcpu_exec(v);
	for (i = 0; i < LEAVES; i++)
		EXPECT_VALUE(op_result(v, i), frame_id(10 + i));
}

static void check_parents(struct vm *vm, const struct event *e, u32 leaf)
{
	static const char *const names[] = {"parent2", "parent3", "parent4", "parent5"};
	u32 i;

	EXPECT_EQ(event_arg(e, "level"), 1);
	for (i = 0; i < ARRAY_LEN(names); i++) {
		int level = (int)i + 2;

		EXPECT_EQ(event_arg(e, names[i]),
			  level <= vm->mode->levels ? table_gfn(vm, leaf_gva(vm, leaf), level) : 0,
			  "leaf %u, %s", leaf, names[i]);
	}
}

TEST(depth_first, .what = "zapping a root collects what is out of sync below it depth first",
     .modes = MODES_64, .meant_for = MMU_SHADOW)
{
	static const int levels[] = {4, 3, 2, 1, 1, 1, 3, 2, 1};
	struct vm *vm;
	struct vcpu *v;
	struct memslot *other;
	u32 i, n, skip, walked = 0, leaves = 0;
	u64 gfn[4 * LEAVES * PAGING_MAX_LEVEL];
	int level[ARRAY_LEN(gfn)];
	struct event e;
	struct events ev;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	require_events();
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	other = slot_add(vm, 5, 512 * MiB, SZ_4K, MEM_ANON, 0);
	map_leaves(vm);
	n = expected_order(vm, level, gfn);
	skip = t->mode->levels -
	       4; /* the fifth level stands before the sequence, and adds nothing */
	ASSERT_EQ(n, ARRAY_LEN(levels) + skip);
	for (i = 0; i < ARRAY_LEN(levels); i++)
		ASSERT_EQ(level[i + skip], levels[i]);

	make_unsync(vm, v);

	/* A slot goes, and with it all tables, the oldest first: the root. */
	ev = events_start(vm, 1 << 12);
	slot_delete(other);
	while (events_read(&ev, &e, 1)) {
		if (event_is(&e, "kvm_mmu_unsync_walk")) {
			ASSERT_LT(walked, n);
			EXPECT_EQ(event_arg(&e, "index"), walked);
			EXPECT_EQ(event_arg(&e, "level"), level[walked], "page %u", walked);
			EXPECT_EQ(event_arg(&e, "gfn"), gfn[walked], "page %u", walked);
			EXPECT_EQ(event_arg(&e, "nr"), n);
			walked++;
		} else if (event_is(&e, "kvm_mmu_unsync_parents")) {
			ASSERT_LT(leaves, LEAVES);
			check_parents(vm, &e, leaves++);
		}
	}
	events_stop(&ev);
	EXPECT_EQ(walked, n);
	EXPECT_EQ(leaves, LEAVES);
	EXPECT_EQ(vm_stat(vm, "mmu_unsync"), 0);
	check_new_frames(vm, v);
}

#define MAX_ZAPPED 64

/* The frames of the tables that go with @slot, in the order in which they are zapped. */
static u32 zapped_gfns(struct vm *vm, struct memslot *slot, u64 *gfn)
{
	struct events ev;
	struct event e;
	char *lines, *line, *rest;
	u32 n = 0;

	if (has_events()) {
		ev = events_start(vm, 1 << 12);
		slot_delete(slot);
		while (events_read(&ev, &e, 1) && n < MAX_ZAPPED)
			if (event_is(&e, "kvm_mmu_prepare_zap_page"))
				gfn[n++] = event_arg(&e, "gfn");
		events_stop(&ev);
		return n;
	}
	tracefs_start("kvmmmu/kvm_mmu_prepare_zap_page");
	slot_delete(slot);
	lines = tracefs_lines();
	tracefs_stop();
	for (line = strtok_r(lines, "\n", &rest); line && n < MAX_ZAPPED;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *at = strstr(line, " gfn ");

		if (at && sscanf(at, " gfn %lx", &gfn[n]) == 1)
			n++;
	}
	free(lines);
	return n;
}

TEST(zap_order, .what = "what is out of sync below a root is zapped with it, in depth-first order",
     .modes = MODES_64, .meant_for = MMU_SHADOW, .exclusive = true, .restore = tracefs_stop)
{
	struct memslot *other;
	struct vm *vm;
	struct vcpu *v;
	u64 gfn[MAX_ZAPPED];
	u32 i, n, at;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	other = slot_add(vm, 5, 512 * MiB, SZ_4K, MEM_ANON, 0);
	map_leaves(vm);
	make_unsync(vm, v);
	n = zapped_gfns(vm, other, gfn);
	for (at = 0; at < n && gfn[at] != vm->as.root / SZ_4K; at++)
		;
	ASSERT_LT(at + LEAVES, n, "the root's place among %u tables", n);
	for (i = 0; i < LEAVES; i++)
		EXPECT_EQ(gfn[at + 1 + i], table_gfn(vm, leaf_gva(vm, i), 1), "leaf %u", i);
	check_new_frames(vm, v);
}

/* --- roots ------------------------------------------------------------------------------------- */

#define VCPUS  4
#define SPACES 8
#define KEPT   4 /* the current root and three previous ones */

/* Address spaces that all map one page, each to a frame of its own. */
static void make_spaces(struct vm *vm, struct aspace *as)
{
	u32 i;

	number_frames(vm);
	for (i = 0; i < SPACES; i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], vm->test_gva, frame_gpa(vm, i), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	}
}

/* The vCPU loads the CR3s of @n spaces from @first on, @rounds times, and reads in each. */
static void switch_spaces(struct vcpu *v, const struct aspace *as, u32 first, u32 n, u32 rounds)
{
	u32 i;

	op_clear(v);
	for (i = 0; i < n * rounds; i++) {
		op_load_cr3(v, as[first + i % n].root);
		op_read(v, v->vm->test_gva);
	}
	vcpu_exec(v);
	for (i = 0; i < n * rounds; i++)
		EXPECT_VALUE(op_result(v, 2 * i + 1), frame_id(first + i % n), "switch %u", i);
}

TEST(roots_differ, .what = "each vCPU stands on the root for its CR3, which changes as that does",
     .modes = MODE(PM_LA48) | MODE(PM_LA57) | MODE(PM_32), .meant_for = MMU_SHADOW)
{
	struct aspace as[SPACES];
	u64 root[VCPUS], before;
	struct vm *vm;
	u32 i, j;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	require_events();
	vm = vm_create(t->mode, .nr_vcpus = VCPUS, .mem_size = 1 * MiB);
	make_spaces(vm, as);
	for (i = 0; i < VCPUS; i++) {
		EXPECT_EQ(vcpu_root_hpa(vm->vcpu[i]), NO_ROOT, "before vCPU %u runs", i);
		switch_spaces(vm->vcpu[i], as, i, 1, 1);
		root[i] = vcpu_root_hpa(vm->vcpu[i]);
		EXPECT_NE(root[i], NO_ROOT);
		for (j = 0; j < i; j++)
			EXPECT_NE(root[i], root[j], "vCPUs %u and %u", i, j);
	}
	if (t->mode->id == PM_32)
		return; /* a table of the vCPU's own, whose entries change instead */
	for (i = 0; i < VCPUS; i++) {
		before = vcpu_root_hpa(vm->vcpu[i]);
		switch_spaces(vm->vcpu[i], as, i + VCPUS, 1, 1);
		EXPECT_NE(vcpu_root_hpa(vm->vcpu[i]), before, "vCPU %u, new CR3", i);
		switch_spaces(vm->vcpu[i], as, i, 1, 1);
		EXPECT_EQ(vcpu_root_hpa(vm->vcpu[i]), before, "vCPU %u, the old CR3", i);
	}
	/* One CR3, one root, whoever loads it. */
	for (i = 0; i < VCPUS; i++) {
		switch_spaces(vm->vcpu[i], as, 0, 1, 1);
		EXPECT_EQ(vcpu_root_hpa(vm->vcpu[i]), root[0], "vCPU %u", i);
	}
}

TEST(tdp_root_stays,
     .what = "with two-dimensional paging vCPUs share a root that CR3 doesn't change",
     .modes = MODE(PM_LA48) | MODE(PM_32), .meant_for = MMU_TDP)
{
	struct aspace as[SPACES];
	u64 root = NO_ROOT;
	struct vm *vm;
	u32 i;

	REQUIRE(mmu_kind() != MMU_SHADOW, "two-dimensional paging");
	require_events();
	vm = vm_create(t->mode, .nr_vcpus = VCPUS, .mem_size = 1 * MiB);
	make_spaces(vm, as);
	for (i = 0; i < VCPUS; i++) {
		switch_spaces(vm->vcpu[i], as, i, 4, 3);
		if (!i)
			root = vcpu_root_hpa(vm->vcpu[0]);
		EXPECT_NE(root, NO_ROOT);
		EXPECT_EQ(vcpu_root_hpa(vm->vcpu[i]), root, "vCPU %u", i);
		EXPECT_EQ(vcpu_stat(vm->vcpu[i], "mmu_loads"), 1, "vCPU %u", i);
	}
}

TEST(previous_roots, .what = "a CR3 among the previous roots needs no load, one that isn't does",
     .modes = MODES_64, .meant_for = MMU_SHADOW)
{
	struct aspace as[SPACES];
	u64 loads = 0, misses, pgd;
	bool counted;
	struct vm *vm;
	struct vcpu *v;
	u32 i;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	make_spaces(vm, as);
	/* Shadow pages are made once; that a root is loaded again doesn't make any. */
	misses = vm_stat(vm, "mmu_cache_miss");
	switch_spaces(v, as, 0, SPACES, 1);
	EXPECT_GE(vm_stat(vm, "mmu_cache_miss") - misses, SPACES);
	misses = vm_stat(vm, "mmu_cache_miss");
	/* The kernel does not count loads. */
	counted = vcpu_has_stat(v, "mmu_loads");

	/* As many as are kept, in turn: each is there when it's its turn again. */
	switch_spaces(v, as, 0, KEPT, 1);
	loads = counted ? vcpu_stat(v, "mmu_loads") : 0;
	switch_spaces(v, as, 0, KEPT, 5);
	if (counted)
		EXPECT_EQ(vcpu_stat(v, "mmu_loads") - loads, 0, "%u spaces in turn", KEPT);
	if (has_events())
		for (i = 1; i < KEPT; i++) {
			/* The latest first. */
			EXPECT_NE(vcpu_prev_root(v, i - 1, &pgd), NO_ROOT);
			EXPECT_EQ(pgd, as[KEPT - 1 - i].root, "previous root %u", i - 1);
		}
	/* One more than that: the oldest is dropped just before it would be wanted. */
	switch_spaces(v, as, 0, KEPT + 1, 1);
	loads = counted ? vcpu_stat(v, "mmu_loads") : 0;
	switch_spaces(v, as, 0, KEPT + 1, 5);
	if (counted)
		EXPECT_EQ(vcpu_stat(v, "mmu_loads") - loads, 5 * (KEPT + 1), "%u spaces in turn",
			  KEPT + 1);
	/* Back and forth between two. */
	switch_spaces(v, as, 6, 2, 1);
	loads = counted ? vcpu_stat(v, "mmu_loads") : 0;
	switch_spaces(v, as, 6, 2, 20);
	if (counted)
		EXPECT_EQ(vcpu_stat(v, "mmu_loads") - loads, 0, "two spaces");
	EXPECT_EQ(vm_stat(vm, "mmu_cache_miss") - misses, 0);
}

TEST(load_events, .what = "a load of a root tells which CR3 it's for; an idle guest has none",
     .modes = MODES_64, .meant_for = MMU_SHADOW)
{
	struct aspace as[SPACES];
	u32 sample, loads, i;
	struct events ev;
	struct event e;
	struct vm *vm;
	struct vcpu *v;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	require_events();
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	make_spaces(vm, as);
	switch_spaces(v, as, 0, SPACES, 1);
	ev = events_start(vm, 1 << 14);
	for (sample = 0; sample < 4; sample++) {
		bool busy = sample % 2;

		if (busy) {
			switch_spaces(v, as, 0, SPACES, 15);
		} else {
			op_clear(v);
			for (i = 0; i < 500; i++)
				op_read(v, vm->test_gva);
			vcpu_exec(v);
		}
		for (loads = 0; events_read(&ev, &e, 1);) {
			if (!event_is(&e, "kvm_mmu_load"))
				continue;
			EXPECT_EQ(event_arg(&e, "vcpu"), 0);
			EXPECT_EQ(event_arg(&e, "pgd"), as[loads % SPACES].root, "load %u", loads);
			loads++;
		}
		EXPECT_EQ(loads, busy ? SPACES * 15 : 0, "%s", busy ? "busy" : "idle");
	}
	events_stop(&ev);
	EXPECT_EQ(vcpu_root_hpa(v) != NO_ROOT, true);
}

/* --- the stages of a fault --------------------------------------------------------------------- */

TEST(fault_stages, .what = "a fault of two-dimensional paging goes through its stages in order",
     .modes = MODE(PM_LA48), .meant_for = MMU_TDP)
{
	static const char *const stages[] = {
		"page_fault_handle_page_track", "fast_page_fault",
		"mmu_topup_memory_caches",	"kvm_faultin_pfn",
		"is_page_fault_stale",		"map",
		"kvm_mmu_page_fault",
	};
	u64 sum = 0, stale = 0, whole = 0;
	u32 n = 0, all = 0;
	struct events ev;
	struct event e;
	struct vm *vm;
	struct vcpu *v;

	REQUIRE(mmu_kind() != MMU_SHADOW, "two-dimensional paging");
	require_events();
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	(void)guest_do(v, .kind = AGENT_NOP);
	ev = events_start(vm, 1 << 12);
	EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(0));
	while (events_read(&ev, &e, 1)) {
		u64 ns;

		if (!event_is(&e, "kvm_page_fault"))
			continue;
		all++;
		if (event_arg(&e, "addr") / SZ_4K != frame_gpa(vm, 0) / SZ_4K)
			continue;
		ns = event_arg(&e, "ns");
		ASSERT_LT(n, ARRAY_LEN(stages), "stage %s",
			  event_stage_name(event_arg(&e, "stage")));
		EXPECT_STREQ(event_stage_name(event_arg(&e, "stage")), stages[n]);
		if (n == ARRAY_LEN(stages) - 1)
			whole = ns;
		else if (n == 4)
			stale = ns;
		else
			sum += ns;
		n++;
	}
	events_stop(&ev);
	EXPECT_EQ(n, ARRAY_LEN(stages));
	EXPECT_GE(all, n);
	EXPECT_LE(sum, whole);
	EXPECT_LE(stale, whole);
}

/* --- events as text ---------------------------------------------------------------------------- */

/* An unsync table, MMIO, and pages of a guest whose tables are written under it. */
static void many_things(struct vm *vm, struct vcpu *v)
{
	op_clear(v);
	op_read(v, vm->test_gva);
	op_set_pte(v, &vm->as, vm->test_gva, 1, frame_pte(vm, 10, PTE_W));
	op_read(v, vm->test_gva);
	op_load_cr3(v, vm->as.root);
	op_write(v, vm->test_gva, 1);
	vcpu_exec(v);
	slot_delete(slot_add(vm, 5, 512 * MiB, SZ_4K, MEM_ANON, 0));
	(void)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva);
}

TEST(events_as_text, .what = "an event's text has its name, and each argument with its value",
     .modes = MODES_PAGED)
{
	static const char *const numbers[] = {"level", "created", "vcpu"}, *const addresses[] = {
										   "gfn", "addr",
										   "root_hpa"};
	char text[300], want[100], cut[8];
	u32 n = 0, roles = 0, last = 0;
	struct events ev;
	struct event e;
	struct vm *vm;
	struct vcpu *v;

	require_events();
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	/* Too few for what comes: the latest stay. */
	ev = events_start(vm, 40);
	many_things(vm, v);
	while (events_read(&ev, &e, 1)) {
		const char *role;
		u32 i;

		EXPECT_GT(e.seq, last);
		last = e.seq;
		n++;
		event_text(&e, text, sizeof(text));
		snprintf(want, sizeof(want), "%s: ", event_name(&e));
		EXPECT(!strncmp(text, want, strlen(want)), "%s", text);
		EXPECT_EQ(strlen(event_text(&e, cut, sizeof(cut))), sizeof(cut) - 1);
		EXPECT(!strncmp(text, cut, sizeof(cut) - 1), "%s", cut);
		for (i = 0; i < ARRAY_LEN(numbers); i++) {
			snprintf(want, sizeof(want), " %s=", numbers[i]);
			if (!strstr(text, want))
				continue;
			snprintf(want, sizeof(want), " %s=%ld", numbers[i],
				 (long)event_arg(&e, numbers[i]));
			EXPECT(strstr(text, want), "%s in %s", want, text);
		}
		for (i = 0; i < ARRAY_LEN(addresses); i++) {
			snprintf(want, sizeof(want), " %s=", addresses[i]);
			if (!strstr(text, want))
				continue;
			snprintf(want, sizeof(want), " %s=%#lx", addresses[i],
				 (u64)event_arg(&e, addresses[i]));
			EXPECT(strstr(text, event_arg(&e, addresses[i]) ? want : "=0x0"),
			       "%s in %s", want, text);
		}
		role = strstr(text, " role=l");
		roles += role != NULL;
		if (event_is(&e, "kvm_page_fault")) {
			snprintf(want, sizeof(want), " stage=%s",
				 event_stage_name(event_arg(&e, "stage")));
			EXPECT(strstr(text, want), "%s in %s", want, text);
		}
		/* Each table of a 32-bit guest is shadowed by two, a directory by four. */
		if (role && mmu_kind() == MMU_SHADOW && t->mode->id == PM_32 &&
		    !strstr(role, "direct"))
			EXPECT(strstr(role, " 4byte q"), "%s", text);
	}
	events_stop(&ev);
	EXPECT_EQ(n, 64, "as many as there is room for, a power of two");
	EXPECT_GT(last, 64u);
	EXPECT(roles || mmu_kind() == MMU_TDP_MMU, "pages come with their role");
}

/* --- the auditor -------------------------------------------------------------------------------- */

/* The MMU's own entry of @level for @addr, below the vCPU's root, whose address is the host's. */
static u64 *spte_of(struct vcpu *v, u64 addr, int root_level, int level)
{
	u64 *table = (u64 *)vcpu_root_hpa(v);

	for (; root_level > level; root_level--)
		table = (u64 *)(table[addr >> (12 + 9 * (root_level - 1)) & 511] & PTE_ADDR_MASK);
	return &table[addr >> (12 + 9 * (level - 1)) & 511];
}

/* All other cases trust it to speak. */
TEST(auditor, .what = "the auditor notices an entry that leads elsewhere, and one that is missing",
     .modes = MODE(PM_LA48))
{
	u64 addr, *leaf, *dir, was;
	char said[300] = "";
	char bits[8] = "";
	int levels = 4;
	struct vm *vm;
	struct vcpu *v;

	require_events();
	vm = vm_create(t->mode, .mem_size = 1 * MiB);
	v = vm->vcpu[0];
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 3), SZ_4K, 1, PTE_W);
	EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(3));
	addr = mmu_kind() == MMU_SHADOW ? vm->test_gva : frame_gpa(vm, 3);
	if (mmu_kind() != MMU_SHADOW && engine_param("maxphyaddr", bits, sizeof(bits)) &&
	    atoi(bits) == 52)
		levels = 5;
	EXPECT_EQ(vm_audit(vm, said, sizeof(said)), 0, "%s", said);

	leaf = spte_of(v, addr, levels, 1);
	was = *leaf;
	*leaf = was ^ SZ_4K;
	/* The processor remembers the one that was there. */
	EXPECT_GE(vm_audit(vm, said, sizeof(said)), 2);
	EXPECT(strstr(said, "another frame"), "%s", said);
	*leaf = 0;
	EXPECT_GE(vm_audit(vm, said, sizeof(said)), 1, "an entry less than are counted");
	*leaf = was;
	EXPECT_EQ(vm_audit(vm, said, sizeof(said)), 0, "%s", said);

	dir = spte_of(v, addr, levels, 2);
	was = *dir;
	*dir = 0;
	EXPECT_GE(vm_audit(vm, said, sizeof(said)), 1, "a table that nothing leads to");
	*dir = was;
	EXPECT_EQ(vm_audit(vm, said, sizeof(said)), 0, "%s", said);
	EXPECT_EQ((u32)guest_do(v, .kind = AGENT_READ, .size = 4, .addr = vm->test_gva),
		  frame_id(3));
}
