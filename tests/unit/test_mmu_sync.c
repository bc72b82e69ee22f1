// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unsync pages in trees that are built by hand: what their ancestors know of them, in which
 * order they are found, and that nothing is left behind. A VM with shadow paging and a memslot,
 * and nobody running.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test_mmu_vm.h"
#include "x86/mmu/rmap.h"

static void init(void)
{
	make_vm();
	ASSERT_EQ(mmu_trace_start(kvm, 1024), 0);
	hw_write_lock(kvm);
}

static void fini(void)
{
	hw_write_unlock(kvm);
	mmu_trace_stop(kvm);
	kvm_mmu_zap_all(kvm);
	EXPECT_EQ(kvm->stat.mmu_unsync, 0);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 0);
	kvm_mmu_destroy(vcpu);
	kvm_mmu_uninit_vm(kvm);
	kvm_mmu_slot_free(&slot);
	/* Not the hypervisor's to free. */
	kvm->memslots[0] = NULL;
	hw_vm_fini(vm);
	free(slots);
	free(vcpu);
	free(vm);
}

/* The page of @level that shadows @gfn, linked at entry @index of @parent, if there is one. */
static struct kvm_mmu_page *table(struct kvm_mmu_page *parent, int index, gfn_t gfn, int level)
{
	union kvm_mmu_page_role role = {.level = level, .access = ACC_ALL};
	struct kvm_mmu_page *sp;

	ASSERT_EQ(mmu_topup_memory_caches(vcpu, true), 0);
	sp = kvm_mmu_get_shadow_page(vcpu, gfn, role);
	if (parent)
		link_shadow_page(vcpu, &parent->spt[index], sp);
	return sp;
}

static void unsync(const struct kvm_mmu_page *sp)
{
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, sp->gfn, true, false), 0);
	EXPECT(sp->unsync);
}

/* Zaps what is unsync below @sp; how many pages were. */
static int zap_below(struct kvm_mmu_page *sp)
{
	struct list invalid;
	int n;

	list_init(&invalid);
	n = mmu_zap_unsync_children(kvm, sp, &invalid);
	kvm_mmu_commit_zap_page(kvm, &invalid);
	return n;
}

static u32 bits_set(const struct kvm_mmu_page *sp)
{
	u32 n = 0, i;

	for (i = 0; i < ARRAY_LEN(sp->unsync_child_bitmap); i++)
		n += __builtin_popcountll(sp->unsync_child_bitmap[i]);
	return n;
}

static void expect_children(const struct kvm_mmu_page *sp, u32 n, const char *what)
{
	EXPECT_EQ(sp->unsync_children, n, "%s", what);
	EXPECT_EQ(bits_set(sp), n, "%s", what);
}

TEST(depth_first, .what = "unsync pages are found depth first, each by the way to it")
{
	static const u64 levels[] = {4, 3, 2, 1, 1, 1, 3, 2, 1};
	/* The tables above each leaf, of levels 2, 3 and 4. */
	static const u64 ways[][3] = {{12, 11, 10}, {12, 11, 10}, {12, 11, 10}, {22, 21, 10}};
	struct mmu_trace_event events[64];
	struct kvm_mmu_page *root, *l3, *l2, *leaf[4];
	u32 i, n, walked = 0, leaves = 0;
	u64 pos = 0;

	init();
	root = table(NULL, 0, 10, 4);
	l3 = table(root, 0, 11, 3);
	l2 = table(l3, 5, 12, 2);
	for (i = 0; i < 3; i++)
		leaf[i] = table(l2, 63 + i, 30 + i, 1);
	/* One that is in sync is not met. */
	table(l2, 511, 40, 1);
	l3 = table(root, 511, 21, 3);
	l2 = table(l3, 0, 22, 2);
	leaf[3] = table(l2, 0, 33, 1);
	for (i = 0; i < 4; i++)
		unsync(leaf[i]);
	expect_children(root, 2, "root");
	EXPECT(is_unsync_root(hw_hpa(root->spt)));

	while (mmu_trace_read(kvm, &pos, events, ARRAY_LEN(events)))
		;
	EXPECT_EQ(zap_below(root), 4);
	n = mmu_trace_read(kvm, &pos, events, ARRAY_LEN(events));
	for (i = 0; i < n; i++) {
		const u64 *a = events[i].args;

		if (events[i].id == MMU_EV_kvm_mmu_unsync_walk) {
			ASSERT_LT(walked, ARRAY_LEN(levels));
			EXPECT_EQ(a[0], walked);
			EXPECT_EQ(a[1], levels[walked], "page %u", walked);
			EXPECT_EQ(a[3], ARRAY_LEN(levels));
			walked++;
		} else if (events[i].id == MMU_EV_kvm_mmu_unsync_parents) {
			ASSERT_LT(leaves, ARRAY_LEN(ways));
			EXPECT_EQ(a[1], 1);
			EXPECT_EQ(a[2], ways[leaves][0], "leaf %u", leaves);
			EXPECT_EQ(a[3], ways[leaves][1], "leaf %u", leaves);
			EXPECT_EQ(a[4], ways[leaves][2], "leaf %u", leaves);
			EXPECT_EQ(a[5], 0, "leaf %u", leaves);
			leaves++;
		}
	}
	EXPECT_EQ(walked, ARRAY_LEN(levels));
	EXPECT_EQ(leaves, ARRAY_LEN(ways));
	expect_children(root, 0, "root, after");
	EXPECT(!is_unsync_root(hw_hpa(root->spt)));
	EXPECT_EQ(kvm->stat.mmu_unsync, 0);
	fini();
}

TEST(many, .what = "more unsync pages than fit into a batch, at all edges of a table's bitmap")
{
	struct kvm_mmu_page *root, *l2;
	u32 i, n = 100;

	init();
	root = table(NULL, 0, 10, 3);
	for (i = 0; i < n; i++) {
		int edge = i % 2 ? 511 - i / 2 : i / 2;

		l2 = table(root, edge, 100 + i, 2);
		unsync(table(l2, edge, 300 + i, 1));
	}
	expect_children(root, n, "root");
	EXPECT_EQ(kvm->stat.mmu_unsync, n);
	EXPECT_EQ(zap_below(root), n);
	expect_children(root, 0, "root, after");
	fini();
}

TEST(two_parents, .what = "each parent of an unsync page knows, also one that is linked later")
{
	struct kvm_mmu_page *root[2], *l2[3], *leaf;
	u32 i;

	init();
	for (i = 0; i < 2; i++) {
		root[i] = table(NULL, 0, 10 + i, 3);
		l2[i] = table(root[i], 7, 20 + i, 2);
	}
	l2[2] = table(root[1], 8, 22, 2);
	leaf = table(l2[0], 1, 30, 1);
	table(l2[1], 2, 30, 1);
	unsync(leaf);
	expect_children(root[0], 1, "first root");
	expect_children(root[1], 1, "second root");
	/* Twice in one directory, and in another one. */
	link_shadow_page(vcpu, &l2[1]->spt[3], leaf);
	link_shadow_page(vcpu, &l2[2]->spt[4], leaf);
	expect_children(l2[1], 2, "directory with two links");
	expect_children(l2[2], 1, "directory linked later");
	expect_children(root[1], 2, "second root, later");

	/* It goes by one way; the others lead to nothing then, and forget it when asked. */
	EXPECT_EQ(zap_below(root[1]), 1);
	expect_children(root[1], 0, "second root, after");
	EXPECT_EQ(kvm->stat.mmu_unsync, 0);
	EXPECT_EQ(zap_below(root[0]), 0);
	expect_children(root[0], 0, "first root, after");
	expect_children(l2[0], 0, "first directory, after");
	fini();
}

TEST(refused, .what = "a frame with a table that has to stay in sync is not given away")
{
	struct kvm_mmu_page *root, *leaf;

	init();
	root = table(NULL, 0, 10, 2);
	leaf = table(root, 0, 30, 1);
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 50, true, true), 0, "no table");
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 10, true, false), -EPERM_, "directory");
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 30, false, false), -EPERM_, "not now");
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 30, true, true), -EEXIST_, "mapping ahead");
	EXPECT(!leaf->unsync);
	expect_children(root, 0, "root");
	unsync(leaf);
	/* What is unsync already may be mapped ahead, but never made writable while in sync. */
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 30, true, true), 0);
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 30, false, false), -EPERM_);
	EXPECT_EQ(kvm->stat.mmu_unsync, 1);
	/* The same frame as a directory: the leaf's shadow goes. */
	table(NULL, 0, 30, 2);
	EXPECT_EQ(kvm->stat.mmu_unsync, 0);
	EXPECT_EQ(mmu_try_to_unsync_pages(kvm, &slot, 30, true, false), -EPERM_, "both");
	fini();
}
