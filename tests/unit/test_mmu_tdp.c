// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDP MMU by itself: a VM with a memslot and vCPUs that never run. Faults are made up,
 * with frames that nobody looks into.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"
#include "x86/mmu/tdp.h"

#define NR_FRAMES  (4 * 512ull)
#define FRAMES_HPA (64 * SZ_1G) /* behind frame 0 */
#define NR_VCPUS   2

static struct vm *vm;
static struct kvm *kvm;
static struct vcpu *vcpus;
static struct kvm_memory_slot slot;
static struct kvm_memslots *slots;

static void init(enum mmu_nx_huge nx)
{
	int i;

	vm = calloc(1, sizeof(*vm));
	kvm = &vm->kvm;
	ASSERT_EQ(hw_vm_init(vm), 0);
	kvm->params = mmu_params_default();
	kvm->params.nx_huge_pages = nx;
	kvm->params.nx_huge_pages_recovery_ratio = 2;
	ASSERT_EQ(kvm_mmu_init_vm(kvm), 0);
	slot = (struct kvm_memory_slot){.npages = NR_FRAMES, .hva = SZ_1G};
	ASSERT_EQ(kvm_mmu_slot_create(kvm, &slot), 0);
	slots = calloc(1, sizeof(*slots) + sizeof(slots->slot[0]));
	slots->nr = 1;
	slots->slot[0] = &slot;
	kvm->memslots[0] = slots;
	vcpus = calloc(NR_VCPUS, sizeof(*vcpus));
	for (i = 0; i < NR_VCPUS; i++) {
		struct kvm_vcpu *v = &vcpus[i].kvm;

		v->kvm = kvm;
		vcpus[i].vm = vm;
		ASSERT_EQ(kvm_mmu_create(v), 0);
		v->mmu->root_role = (union kvm_mmu_page_role){
			.level = 4,
			.direct = 1,
			.access = ACC_ALL,
		};
		v->mmu->root.hpa = kvm_tdp_mmu_get_vcpu_root_hpa(v);
		ASSERT(v->mmu->root.hpa != INVALID_PAGE);
	}
}

static void fini(void)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		kvm_mmu_destroy(&vcpus[i].kvm);
	kvm_mmu_uninit_tdp_mmu(kvm);
	EXPECT_EQ(kvm->stat.pages_4k + kvm->stat.pages_2m + kvm->stat.pages_1g, 0);
	EXPECT_EQ(kvm->stat.nx_lpage_splits, 0);
	kvm_mmu_uninit_vm(kvm);
	kvm_mmu_slot_free(&slot);
	/* the slots are ours, not the hypervisor's to free */
	memset(kvm->memslots, 0, sizeof(kvm->memslots));
	hw_vm_fini(vm);
	free(slots);
	free(vcpus);
	free(vm);
}

/* An access to @gfn that faulted, with a host page of @level behind it; @access: PFERR_*. */
static int fault(int vcpu, gfn_t gfn, u64 access, int level)
{
	struct kvm_vcpu *v = &vcpus[vcpu].kvm;
	struct kvm_page_fault f = {
		.addr = gfn << PAGE_SHIFT,
		.gfn = gfn,
		.write = access & PFERR_W,
		.exec = access & PFERR_F,
		.is_tdp = true,
		.nx_huge_page_workaround_enabled = is_nx_huge_page_enabled(kvm),
		.max_level = PG_LEVEL_1G,
		.slot = &slot,
		.pfn = FRAMES_HPA + (gfn << PAGE_SHIFT),
		.map_writable = true,
		.host_level = level,
	};
	int ret;

	hw_rcu_read_lock();
	ASSERT_EQ(mmu_topup_memory_caches(v, false), 0);
	hw_read_lock(kvm);
	ret = kvm_tdp_mmu_map(v, &f);
	hw_read_unlock(kvm);
	hw_rcu_read_unlock();
	return ret;
}

/* The SPTE that maps @gfn, or the last one on the way; its level. */
static u64 spte_of(gfn_t gfn, int *level)
{
	u64 sptes[PAGING_MAX_LEVEL + 1];
	int root_level;

	hw_rcu_read_lock();
	*level = kvm_tdp_mmu_get_walk(&vcpus[0].kvm, gfn << PAGE_SHIFT, sptes, &root_level);
	hw_rcu_read_unlock();
	EXPECT_EQ(root_level, 4);
	return sptes[*level];
}

static void expect_mapped(gfn_t gfn, int level)
{
	int at;
	u64 spte = spte_of(gfn, &at);
	hpa_t hpa = FRAMES_HPA + (gfn << PAGE_SHIFT);

	EXPECT(is_shadow_present_pte(spte), "frame %#lx", gfn);
	EXPECT_EQ(at, level, "frame %#lx", gfn);
	EXPECT_EQ(spte_to_hpa(spte), hpa & ~(KVM_PAGES_PER(level) * SZ_4K - 1), "frame %#lx", gfn);
}

TEST(sizes, .what = "a fault maps the host's size, and the next one finds it mapped")
{
	init(NX_HUGE_OFF);
	EXPECT_EQ(fault(0, 3, PFERR_W, PG_LEVEL_4K), RET_PF_FIXED);
	expect_mapped(3, PG_LEVEL_4K);
	EXPECT_EQ(fault(1, 3, PFERR_W, PG_LEVEL_4K), RET_PF_SPURIOUS, "a root that both have");
	EXPECT_EQ(fault(0, 512 + 77, 0, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(512 + 200, PG_LEVEL_2M);
	EXPECT_EQ(kvm->stat.pages_4k, 1);
	EXPECT_EQ(kvm->stat.pages_2m, 1);
	/* The slot ends before the 1 GiB page would. */
	EXPECT_EQ(fault(0, 2 * 512, 0, PG_LEVEL_1G), RET_PF_FIXED);
	expect_mapped(2 * 512, PG_LEVEL_2M);
	/* A huge page where small ones were takes their place, and the reverse. */
	EXPECT_EQ(fault(0, 3, PFERR_W, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(3, PG_LEVEL_2M);
	EXPECT_EQ(kvm->stat.pages_4k, 0);
	slot.flags = SLOT_LOG_DIRTY;
	EXPECT_EQ(fault(0, 512 + 5, 0, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(512 + 5, PG_LEVEL_4K);
	EXPECT_EQ(kvm->stat.pages_2m, 2);
	EXPECT_EQ(fault(0, BIT(36), 0, PG_LEVEL_4K), RET_PF_EMULATE, "beyond the tables");
	fini();
}

TEST(split_protect_age, .what = "a huge page is split to all its frames; W and A go where told")
{
	struct kvm_gfn_range range = {.slot = &slot, .end = NR_FRAMES};
	const struct spte_format *fmt;
	int level;
	gfn_t gfn;

	init(NX_HUGE_OFF);
	fmt = spte_format(kvm);
	EXPECT_EQ(fault(0, 512, PFERR_W, PG_LEVEL_2M), RET_PF_FIXED);
	hw_read_lock(kvm);
	EXPECT(kvm_tdp_mmu_age_gfn_range(kvm, &range));
	EXPECT(!kvm_tdp_mmu_age_gfn_range(kvm, &range), "aged already");
	kvm_tdp_mmu_try_split_huge_pages(kvm, &slot, 0, NR_FRAMES, PG_LEVEL_4K, true);
	hw_read_unlock(kvm);
	EXPECT_EQ(kvm->stat.pages_2m, 0);
	EXPECT_EQ(kvm->stat.pages_4k, 512);
	for (gfn = 512; gfn < 1024; gfn++)
		expect_mapped(gfn, PG_LEVEL_4K);

	hw_write_lock(kvm);
	kvm_tdp_mmu_clear_dirty_masked(kvm, &slot, 512 + 64, 1 | BIT(63), true);
	hw_write_unlock(kvm);
	EXPECT(is_writable_pte(spte_of(512 + 63, &level)));
	EXPECT(!is_writable_pte(spte_of(512 + 64, &level)));
	EXPECT(is_mmu_writable_spte(spte_of(512 + 64, &level)), "a fast fault may bring W back");
	EXPECT(is_writable_pte(spte_of(512 + 65, &level)));
	EXPECT(!is_writable_pte(spte_of(512 + 127, &level)));
	EXPECT(is_writable_pte(spte_of(512 + 128, &level)));
	hw_read_lock(kvm);
	EXPECT(kvm_tdp_mmu_clear_dirty_slot(kvm, &slot));
	EXPECT(!(spte_of(512, &level) & fmt->dirty));
	EXPECT(kvm_tdp_mmu_wrprot_slot(kvm, &slot, PG_LEVEL_4K));
	EXPECT(!kvm_tdp_mmu_wrprot_slot(kvm, &slot, PG_LEVEL_4K), "nothing is left");
	hw_read_unlock(kvm);
	hw_write_lock(kvm);
	EXPECT(kvm_tdp_mmu_write_protect_gfn(kvm, &slot, 600, PG_LEVEL_4K));
	EXPECT(!is_mmu_writable_spte(spte_of(600, &level)), "for good");
	EXPECT(kvm_tdp_mmu_zap_leafs(kvm, 0, 520, 530, true, false));
	EXPECT(!kvm_tdp_mmu_zap_leafs(kvm, 0, 520, 530, true, false), "nothing is left");
	EXPECT_EQ(kvm->stat.pages_4k, 502);
	kvm_tdp_mmu_zap_all(kvm);
	hw_write_unlock(kvm);
	EXPECT_EQ(kvm->stat.pages_4k, 0);
	EXPECT_EQ(kvm->arch.tdp_mmu_page_count, 0);
	fini();
}

TEST(nx, .what = "small pages made for a fetch keep a huge one away until they are recovered")
{
	init(NX_HUGE_FORCE);
	EXPECT_EQ(fault(0, 5, 0, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(5, PG_LEVEL_2M);
	EXPECT_EQ(fault(0, 5, PFERR_F, PG_LEVEL_2M), RET_PF_FIXED);
	EXPECT_EQ(fault(0, 515, PFERR_F, PG_LEVEL_2M), RET_PF_FIXED);
	EXPECT_EQ(fault(0, 6, 0, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(5, PG_LEVEL_4K);
	expect_mapped(6, PG_LEVEL_4K);
	EXPECT_EQ(kvm->stat.nx_lpage_splits, 2);
	EXPECT_EQ(kvm->stat.pages_2m, 0);
	kvm_mmu_recover_nx_huge_pages(kvm);
	EXPECT_EQ(kvm->stat.nx_lpage_splits, 1);
	EXPECT_EQ(kvm->stat.pages_4k, 1);
	EXPECT_EQ(fault(0, 6, 0, PG_LEVEL_2M), RET_PF_FIXED);
	expect_mapped(6, PG_LEVEL_2M);
	fini();
}

TEST(roots, .what = "an invalid root is used by nobody new, and goes with the last who has it")
{
	struct kvm_mmu_page *old;
	int i;

	init(NX_HUGE_OFF);
	old = root_to_sp(vcpus[0].kvm.mmu->root.hpa);
	EXPECT_EQ(vcpus[1].kvm.mmu->root.hpa, vcpus[0].kvm.mmu->root.hpa);
	EXPECT_EQ(old->root_count, 3);
	EXPECT_EQ(fault(0, 3, PFERR_W, PG_LEVEL_4K), RET_PF_FIXED);
	hw_write_lock(kvm);
	kvm_tdp_mmu_invalidate_all_roots(kvm);
	hw_write_unlock(kvm);
	EXPECT(old->role.invalid);
	kvm_tdp_mmu_zap_invalidated_roots(kvm);
	kvm_tdp_mmu_zap_invalidated_roots(kvm);
	EXPECT_EQ(kvm->stat.pages_4k, 0);
	EXPECT_EQ(old->root_count, 2);
	for (i = 0; i < NR_VCPUS; i++) {
		hpa_t root = kvm_tdp_mmu_get_vcpu_root_hpa(&vcpus[i].kvm);

		EXPECT(root != hw_hpa(old->spt));
		kvm_tdp_mmu_put_root(kvm, old);
		vcpus[i].kvm.mmu->root.hpa = root;
	}
	EXPECT(list_first(&kvm->arch.tdp_mmu_roots, struct kvm_mmu_page, link) != old);
	EXPECT_EQ(fault(1, 3, PFERR_W, PG_LEVEL_4K), RET_PF_FIXED);
	fini();
}

struct worker {
	pthread_t thread;
	int vcpu;
	u64 fixed;
	bool *stop;
};

static void *fault_in(void *arg)
{
	struct worker *w = arg;
	unsigned int seed = w->vcpu;

	while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		gfn_t gfn = (unsigned int)rand_r(&seed) % NR_FRAMES;

		if (fault(w->vcpu, gfn, PFERR_W, 1 + rand_r(&seed) % 2) == RET_PF_FIXED)
			__atomic_fetch_add(&w->fixed, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool all_got_on(struct worker *w)
{
	int i;

	for (i = 0; i < NR_VCPUS; i++)
		if (__atomic_load_n(&w[i].fixed, __ATOMIC_RELAXED) < 200)
			return false;
	return true;
}

TEST(parallel, .what = "faults beside zaps and splits leave as many entries as are counted")
{
	struct worker workers[NR_VCPUS];
	u64 small = 0, huge = 0;
	struct tdp_iter iter;
	bool stop = false;
	u64 rounds;
	int i;

	init(NX_HUGE_OFF);
	for (i = 0; i < NR_VCPUS; i++) {
		workers[i] = (struct worker){.vcpu = i, .stop = &stop};
		ASSERT_EQ(pthread_create(&workers[i].thread, NULL, fault_in, &workers[i]), 0);
	}
	for (rounds = 0; rounds < 300 || !all_got_on(workers); rounds++) {
		gfn_t gfn = rounds * 37 % NR_FRAMES;

		hw_write_lock(kvm);
		kvm_tdp_mmu_zap_leafs(kvm, 0, gfn, gfn + 300, true, false);
		hw_write_unlock(kvm);
		hw_read_lock(kvm);
		kvm_tdp_mmu_try_split_huge_pages(kvm, &slot, gfn, NR_FRAMES, PG_LEVEL_4K, true);
		kvm_tdp_mmu_wrprot_slot(kvm, &slot, PG_LEVEL_4K);
		hw_read_unlock(kvm);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_VCPUS; i++)
		pthread_join(workers[i].thread, NULL);
	hw_rcu_read_lock();
	tdp_for_each_pte(iter, root_to_sp(vcpus[0].kvm.mmu->root.hpa), 0, NR_FRAMES)
	{
		EXPECT(!is_removed_spte(iter.old_spte));
		if (!is_shadow_present_pte(iter.old_spte))
			continue;
		if (iter.level == PG_LEVEL_4K)
			small++;
		else if (is_large_pte(iter.old_spte))
			huge++;
	}
	hw_rcu_read_unlock();
	EXPECT_EQ(kvm->stat.pages_4k, small);
	EXPECT_EQ(kvm->stat.pages_2m, huge);
	fini();
}
