// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shadow pages, reverse maps and zapping by themselves, without a guest: a VM that has a
 * memslot and nobody running, and tables that are filled by hand.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test_mmu_vm.h"
#include "x86/mmu/rmap.h"

#define PRESENT (SPTE_MMU_PRESENT | PTE_P | PTE_W | SPTE_MMU_WRITABLE)

static void init(void)
{
	make_vm();
	hw_write_lock(kvm);
}

/* Zaps what is left: nothing may be missing from the accounts then. */
static void fini(void)
{
	gfn_t gfn;
	int level;

	hw_write_unlock(kvm);
	kvm_mmu_zap_all(kvm);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 0);
	EXPECT_EQ(kvm->arch.indirect_shadow_pages, 0);
	EXPECT_EQ(kvm->stat.pages_4k + kvm->stat.pages_2m + kvm->stat.pages_1g, 0);
	for (gfn = 0; gfn < NR_FRAMES; gfn++) {
		if (kvm_gfn_is_write_tracked(&slot, gfn))
			EXPECT(false, "frame %#lx is tracked still", gfn);
		for (level = 1; level <= 3; level++)
			if (gfn_to_rmap(&slot, gfn, level)->val)
				EXPECT(false, "frame %#lx is mapped still", gfn);
	}
	kvm_mmu_destroy(vcpu);
	kvm_mmu_uninit_vm(kvm);
	kvm_mmu_slot_free(&slot);
	/* the slots are ours, not the hypervisor's to free */
	memset(kvm->memslots, 0, sizeof(kvm->memslots));
	hw_vm_fini(vm);
	free(slots);
	free(vcpu);
	free(vm);
}

static union kvm_mmu_page_role role_of(int level, unsigned int access)
{
	union kvm_mmu_page_role role = {.level = level, .access = access};

	return role;
}

static struct kvm_mmu_page *table(gfn_t gfn, union kvm_mmu_page_role role)
{
	ASSERT_EQ(mmu_topup_memory_caches(vcpu, true), 0);
	return kvm_mmu_get_shadow_page(vcpu, gfn, role);
}

/* Maps @gfn by entry @index of @sp, which is of the last level. */
static u64 *map(struct kvm_mmu_page *sp, int index, gfn_t gfn)
{
	ASSERT_EQ(mmu_topup_memory_caches(vcpu, true), 0);
	mmu_spte_set(&sp->spt[index], PRESENT | (gfn << PAGE_SHIFT));
	rmap_add(vcpu, &slot, &sp->spt[index], gfn, ACC_ALL);
	return &sp->spt[index];
}

static void link_to(struct kvm_mmu_page *parent, int index, struct kvm_mmu_page *child)
{
	ASSERT_EQ(mmu_topup_memory_caches(vcpu, true), 0);
	link_shadow_page(vcpu, &parent->spt[index], child);
}

TEST(lists, .what = "a list of SPTEs has each that was added and not removed, once")
{
	static const u32 sizes[] = {1, 2, 14, 15, 28, 29, 300};
	struct kvm_rmap_head head = {0};
	static u64 sptes[300];
	struct rmap_iterator iter;
	u32 k, i, n, gone;
	u64 *sptep;

	for (k = 0; k < ARRAY_LEN(sizes); k++) {
		n = sizes[k];
		for (i = 0; i < n; i++)
			EXPECT_EQ(pte_list_add(NULL, &sptes[i], &head), i + 1);
		/* They go in an order of their own, which 11 steps through all of. */
		for (gone = 0; gone < n; gone++) {
			memset(sptes, 0, sizeof(sptes));
			for_each_rmap_spte(&head, &iter, sptep)++ *sptep;
			for (i = 0; i < n; i++)
				EXPECT_EQ(sptes[(i * 11 + 3) % n], i >= gone, "%u of %u gone", gone,
					  n);
			EXPECT_EQ(pte_list_count(&head), n - gone);
			pte_list_remove(&sptes[(gone * 11 + 3) % n], &head);
		}
		EXPECT_EQ(head.val, 0);
		EXPECT_EQ(pte_list_count(&head), 0);
	}
	for (i = 0; i < 40; i++)
		pte_list_add(NULL, &sptes[i], &head);
	pte_list_clear(&head);
	EXPECT_EQ(head.val, 0);
}

TEST(found_again, .what = "a page is found by frame and role, and by nothing less")
{
	struct kvm_mmu_page *sp, *other;
	union kvm_mmu_page_role role;

	init();
	sp = table(5, role_of(1, ACC_ALL));
	EXPECT_EQ(kvm->stat.mmu_cache_miss, 1);
	EXPECT(table(5, role_of(1, ACC_ALL)) == sp, "same frame, same role");
	EXPECT_EQ(kvm->stat.mmu_cache_miss, 1);
	EXPECT(sptep_to_sp(&sp->spt[511]) == sp, "the page of its last entry");
	other = table(5, role_of(1, ACC_ALL & ~ACC_WRITE));
	EXPECT(other != sp, "other access");
	EXPECT(table(6, role_of(1, ACC_ALL)) != sp, "other frame");
	role = role_of(1, ACC_ALL);
	role.cr0_wp = 1;
	EXPECT(table(5, role) != sp, "other CR0.WP");
	EXPECT_EQ(kvm->stat.mmu_cache_miss, 4);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 4);
	EXPECT_EQ(kvm->arch.indirect_shadow_pages, 4);
	/* Of another generation it is not what is looked for. */
	kvm->arch.mmu_valid_gen ^= 1;
	EXPECT(table(5, role_of(1, ACC_ALL)) != sp, "after a change of generation");
	kvm->arch.mmu_valid_gen ^= 1;
	fini();
}

TEST(child_roles, .what = "a child's role follows from its parent's, entry and rights")
{
	union kvm_mmu_page_role role = role_of(2, ACC_ALL), child;
	struct kvm_mmu_page *sp;
	int i;

	init();
	role.has_4_byte_gpte = 1;
	role.quadrant = 3;
	role.cr0_wp = 1;
	sp = table(7, role);
	for (i = 0; i < 4; i++) {
		child = kvm_mmu_child_role(&sp->spt[200 + i], i & 2, ACC_USER);
		EXPECT_EQ(child.level, 1);
		EXPECT_EQ(child.quadrant, i & 1);
		EXPECT_EQ(child.direct, i >> 1);
		EXPECT_EQ(child.access, ACC_USER);
		EXPECT_EQ(child.cr0_wp, 1);
	}
	fini();
}

TEST(existing_child, .what = "an entry's old table stays only if it is the one that is wanted")
{
	struct kvm_mmu_page *top, *a, *b;
	u64 *sptep;

	init();
	top = table(1, role_of(2, ACC_ALL));
	sptep = &top->spt[9];
	mmu_topup_memory_caches(vcpu, true);
	a = kvm_mmu_get_child_sp(vcpu, sptep, 2, false, ACC_ALL);
	link_to(top, 9, a);
	EXPECT(!kvm_mmu_get_child_sp(vcpu, sptep, 2, false, ACC_ALL), "it is linked already");
	mmu_topup_memory_caches(vcpu, true);
	b = kvm_mmu_get_child_sp(vcpu, sptep, 3, false, ACC_ALL);
	EXPECT(b && b != a, "another frame");
	EXPECT_EQ(*sptep, 0);
	EXPECT_EQ(a->parent_ptes.val, 0);
	link_to(top, 9, b);
	mmu_topup_memory_caches(vcpu, true);
	a = kvm_mmu_get_child_sp(vcpu, sptep, 3, true, ACC_ALL);
	EXPECT(a && a != b, "direct, as below a large page at the same address");
	EXPECT_EQ(b->parent_ptes.val, 0);
	link_to(top, 9, a);
	EXPECT(spte_to_child_sp(*sptep) == a, "linked");
	fini();
}

TEST(tables_watched, .what = "a frame is protected as a table of its level, as long as it is one")
{
	struct kvm_lpage_info *info;
	struct kvm_mmu_page *data, *leaf, *upper;
	struct list invalid;
	u64 *at[2];

	init();
	info = slot.arch.lpage_info[PG_LEVEL_2M - 1];
	data = table(1, role_of(1, ACC_ALL));
	at[0] = map(data, 10, 600);
	at[1] = map(data, 11, 601);
	EXPECT_EQ(info[1].disallow_lpage, 0);
	leaf = table(600, role_of(1, ACC_ALL));
	EXPECT(!is_writable_pte(*at[0]) && !is_mmu_writable_spte(*at[0]), "protected");
	EXPECT(!kvm_gfn_is_write_tracked(&slot, 600), "a last-level table may be out of sync");
	EXPECT_EQ(info[1].disallow_lpage, 1);
	upper = table(601, role_of(2, ACC_ALL));
	EXPECT(!is_writable_pte(*at[1]) && !is_mmu_writable_spte(*at[1]), "protected");
	EXPECT(kvm_gfn_is_write_tracked(&slot, 601), "an upper one may not");
	EXPECT_EQ(info[1].disallow_lpage, 2);
	list_init(&invalid);
	kvm_mmu_prepare_zap_page(kvm, upper, &invalid);
	EXPECT(!kvm_gfn_is_write_tracked(&slot, 601), "no table any more");
	kvm_mmu_prepare_zap_page(kvm, leaf, &invalid);
	EXPECT_EQ(info[1].disallow_lpage, 0);
	kvm_mmu_commit_zap_page(kvm, &invalid);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 1);
	fini();
}

TEST(parents, .what = "a page that goes is taken from all that point to it")
{
	struct kvm_mmu_page *top, *leaf;
	struct list invalid;
	int i;

	init();
	top = table(1, role_of(2, ACC_ALL));
	leaf = table(2, role_of(1, ACC_ALL));
	for (i = 0; i < 40; i++)
		link_to(top, i * 5, leaf);
	EXPECT_EQ(pte_list_count(&leaf->parent_ptes), 40);
	map(leaf, 3, 100);
	EXPECT_EQ(kvm->stat.pages_4k, 1);
	list_init(&invalid);
	EXPECT(!kvm_mmu_prepare_zap_page(kvm, leaf, &invalid), "no other page went");
	for (i = 0; i < 512; i++)
		EXPECT_EQ(top->spt[i], 0, "entry %d", i);
	EXPECT_EQ(kvm->stat.pages_4k, 0);
	kvm_mmu_commit_zap_page(kvm, &invalid);
	fini();
}

TEST(many_aliases, .what = "a frame with too many mappings loses them, and is mapped again")
{
	struct kvm_mmu_page *sp[3];
	int i;

	init();
	for (i = 0; i < 3; i++)
		sp[i] = table(1 + i, role_of(1, ACC_ALL));
	for (i = 0; i < RMAP_RECYCLE_THRESHOLD; i++)
		map(sp[i / 512], i % 512, 99);
	EXPECT_EQ(kvm->stat.pages_4k, RMAP_RECYCLE_THRESHOLD);
	EXPECT_EQ(kvm->stat.max_mmu_rmap_size, RMAP_RECYCLE_THRESHOLD);
	map(sp[2], 0, 99);
	EXPECT_EQ(kvm->stat.pages_4k, 0);
	map(sp[2], 0, 99);
	EXPECT_EQ(kvm->stat.pages_4k, 1);
	EXPECT(rmap_unmap_range(kvm, &slot, 99, 100), "a flush is owed");
	EXPECT(!rmap_unmap_range(kvm, &slot, 99, 100), "nothing is left");
	fini();
}

TEST(dirty_log, .what = "protecting and clearing D reach each mapping and say what they owe")
{
	struct kvm_mmu_page *sp;
	u64 *at[3];
	int i;

	init();
	sp = table(1, role_of(1, ACC_ALL));
	for (i = 0; i < 3; i++)
		at[i] = map(sp, i, 64 + 3);
	*at[2] &= ~(PTE_W | SPTE_MMU_WRITABLE);
	rmap_write_protect_masked(kvm, &slot, 64, 1ull << 3);
	for (i = 0; i < 3; i++)
		EXPECT(!is_writable_pte(*at[i]), "alias %d", i);
	EXPECT(is_mmu_writable_spte(*at[0]), "the log does not forbid writing");
	/* The log took W; whoever now forbids writing owes the flush that may not have been. */
	EXPECT(rmap_write_protect_gfn(kvm, &slot, 67, PG_LEVEL_4K), "a flush is owed");
	EXPECT(!is_mmu_writable_spte(*at[0]), "forbidden");
	EXPECT(!rmap_write_protect_gfn(kvm, &slot, 67, PG_LEVEL_4K), "done");
	fini();
}

TEST(by_generation, .what = "zapping by generation spares what a vCPU has as a root, emptied")
{
	struct kvm_mmu_page *root, *leaf;
	struct list invalid;

	init();
	root = table(1, role_of(4, ACC_ALL));
	root->root_count = 2;
	leaf = table(2, role_of(3, ACC_ALL));
	link_to(root, 77, leaf);
	hw_write_unlock(kvm);
	kvm_mmu_zap_all_fast(kvm);
	hw_write_lock(kvm);
	EXPECT(root->role.invalid, "marked");
	EXPECT_EQ(root->spt[77], 0);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 1);
	EXPECT_EQ(kvm->arch.indirect_shadow_pages, 0);
	EXPECT(is_obsolete_root(kvm, hw_hpa(root->spt)), "to be let go of");
	list_init(&invalid);
	mmu_put_root(kvm, hw_hpa(root->spt), &invalid);
	EXPECT(list_empty(&invalid), "one user is left");
	mmu_put_root(kvm, hw_hpa(root->spt), &invalid);
	EXPECT(!list_empty(&invalid), "none is");
	kvm_mmu_commit_zap_page(kvm, &invalid);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 0);
	fini();
}

TEST(oldest_first, .what = "the limit is kept by zapping the oldest, roots in use excepted")
{
	struct kvm_mmu_page *sp[80];
	struct list invalid;
	int i;

	init();
	for (i = 0; i < 80; i++)
		sp[i] = table(i, role_of(2, ACC_ALL));
	sp[3]->root_count = 1;
	hw_write_unlock(kvm);
	kvm_mmu_change_mmu_pages(kvm, 64);
	hw_write_lock(kvm);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 64);
	EXPECT_EQ(kvm->stat.mmu_recycled, 16);
	for (i = 0; i < 80; i++)
		EXPECT_EQ(kvm_gfn_is_write_tracked(&slot, i), i == 3 || i >= 17, "page %d", i);
	EXPECT_EQ(make_mmu_pages_available(vcpu), 0);
	EXPECT_EQ(kvm->arch.n_used_mmu_pages, 64 - 25);
	list_init(&invalid);
	mmu_put_root(kvm, hw_hpa(sp[3]->spt), &invalid);
	EXPECT(list_empty(&invalid), "a page like others");
	fini();
}

TEST(split, .what = "a huge page that is split becomes 512 small ones of the same rights")
{
	union kvm_mmu_page_role role = role_of(2, ACC_ALL);
	struct kvm_mmu_page *sp, *child;
	int i;

	init();
	role.direct = 1;
	mmu_topup_memory_caches(vcpu, true);
	sp = table(0, role);
	mmu_spte_set(&sp->spt[1], PRESENT | PTE_PS | SZ_2M);
	rmap_add(vcpu, &slot, &sp->spt[1], 512, ACC_ALL);
	EXPECT_EQ(kvm->stat.pages_2m, 1);
	rmap_slot_split_huge(kvm, &slot, 0, NR_FRAMES, PG_LEVEL_4K);
	EXPECT_EQ(kvm->stat.pages_2m, 1, "without the TDP MMU nothing is split ahead");
	kvm->params.tdp = true;
	rmap_slot_split_huge(kvm, &slot, 0, NR_FRAMES, PG_LEVEL_4K);
	kvm->params.tdp = false;
	EXPECT_EQ(kvm->stat.pages_2m, 0);
	EXPECT_EQ(kvm->stat.pages_4k, 512);
	ASSERT(is_shadow_present_pte(sp->spt[1]) && !is_large_pte(sp->spt[1]), "a table");
	child = spte_to_child_sp(sp->spt[1]);
	for (i = 0; i < 512; i++)
		EXPECT_EQ(child->spt[i], PRESENT | (SZ_2M + i * SZ_4K), "entry %d", i);
	EXPECT_EQ(kvm->arch.split_failed, 0);
	fini();
}
