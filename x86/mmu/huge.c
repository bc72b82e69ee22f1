// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages, for the TDP MMU and the shadow MMU alike: how large a page may be mapped, and
 * the workaround for the iTLB multihit erratum (CVE-2018-12207), by which huge pages are not
 * executable and a fetch from one has it mapped by small pages.
 *
 * The tables that stand in a huge page's place only for that are on a list, and a worker
 * zaps a share of them from time to time, so that what is executed no more becomes huge again.
 */
#include "x86/mmu/internal.h"

static hpa_t level_mask(int level)
{
	return (KVM_PAGES_PER(level) << PAGE_SHIFT) - 1;
}

int kvm_mmu_max_mapping_level(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			      int host_level, int max)
{
	const struct kvm_lpage_info *info;

	if (max > host_level && !MUTANT(huge_page_of_small_ones))
		max = host_level;
	if (max > (int)kvm->params.max_huge_level)
		max = kvm->params.max_huge_level;
	for (; max > PG_LEVEL_4K; max--) {
		info = &slot->arch.lpage_info[max - 1][slot_index(slot, gfn, max)];
		if (!__atomic_load_n(&info->disallow_lpage, __ATOMIC_RELAXED))
			break;
	}
	return max < PG_LEVEL_4K ? PG_LEVEL_4K : max;
}

void kvm_mmu_gfn_disallow_lpage(const struct kvm_memory_slot *slot, gfn_t gfn, int count)
{
	int level, now;

	for (level = PG_LEVEL_2M; level <= KVM_NR_PAGE_SIZES - MUTANT(disallow_2m_only); level++) {
		struct kvm_lpage_info *info =
			&slot->arch.lpage_info[level - 1][slot_index(slot, gfn, level)];

		now = __atomic_add_fetch(&info->disallow_lpage, count, __ATOMIC_RELAXED);
		MMU_BUG_ON(now < 0);
	}
}

void kvm_mmu_hugepage_adjust(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	int level;

	fault->huge_page_disallowed = fault->exec && fault->nx_huge_page_workaround_enabled;
	fault->req_level = PG_LEVEL_4K;
	fault->goal_level = PG_LEVEL_4K;
	/* A log has a bit for each small page. */
	if (!fault->slot || fault->max_level == PG_LEVEL_4K ||
	    (slot_logs_dirty(fault->slot) && !(MUTANT(huge_page_under_log) && !fault->write)))
		return;
	level = kvm_mmu_max_mapping_level(vcpu->kvm, fault->slot, fault->gfn, fault->host_level,
					  fault->max_level);
	/* Kept even if it isn't done: what the table will have prevented, when it is counted. */
	fault->req_level = level;
	if (level == PG_LEVEL_4K || fault->huge_page_disallowed)
		return;
	/* The slot's place in both address spaces has been compared when lpage_info was made. */
	MMU_BUG_ON(!MUTANT(huge_page_misaligned) && !MUTANT(huge_page_of_small_ones) &&
		   ((fault->gfn << PAGE_SHIFT) ^ fault->pfn) & level_mask(level) & ~(SZ_4K - 1));
	fault->goal_level = level;
	fault->pfn &= ~level_mask(level);
}

void disallowed_hugepage_adjust(struct kvm_page_fault *fault, u64 spte, int level)
{
	hpa_t between;

	if (level == PG_LEVEL_4K || level != fault->goal_level || !is_shadow_present_pte(spte) ||
	    is_large_pte(spte))
		return;
	if (!__atomic_load_n(&spte_to_child_sp(spte)->nx_huge_page_disallowed, __ATOMIC_RELAXED) ||
	    MUTANT(nx_table_becomes_huge_again))
		return;
	/*
	 * A fetch had the small pages made. A huge page in their place would be split again by the
	 * next one, and so forth. The frame is the one of gfn in the next smaller size.
	 */
	between = level_mask(level) & ~level_mask(level - 1);
	fault->pfn |= (fault->gfn << PAGE_SHIFT) & between;
	fault->goal_level--;
}

void account_nx_huge_page(struct kvm *kvm, struct kvm_mmu_page *sp, bool nx_huge_page_possible)
{
	__atomic_store_n(&sp->nx_huge_page_disallowed, true, __ATOMIC_RELAXED);
	if (nx_huge_page_possible)
		sp->nx_huge_page_possible = true;
	if (!nx_huge_page_possible || !list_empty(&sp->possible_nx_huge_page_link) ||
	    MUTANT(nx_split_not_counted))
		return;
	list_add_tail(&sp->possible_nx_huge_page_link, &kvm->arch.possible_nx_huge_pages);
	kvm->arch.nr_possible_nx_huge_pages++;
	vm_stat_add(kvm, nx_lpage_splits, 1);
}

void unaccount_nx_huge_page(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	__atomic_store_n(&sp->nx_huge_page_disallowed, false, __ATOMIC_RELAXED);
	sp->nx_huge_page_possible = false;
	if (list_empty(&sp->possible_nx_huge_page_link))
		return;
	list_del(&sp->possible_nx_huge_page_link);
	kvm->arch.nr_possible_nx_huge_pages--;
	vm_stat_add(kvm, nx_lpage_splits, -1);
}

/* The frames below @sp are logged, so that they would be mapped by small pages again. */
static bool is_logged(struct kvm *kvm, const struct kvm_mmu_page *sp)
{
	struct kvm_memory_slot *slot = gfn_to_memslot(kvm_memslots(kvm, sp->role.smm), sp->gfn);

	return slot && slot_logs_dirty(slot);
}

/* Finishes what has been zapped. Within the RCU section in which it was. */
static void flush_or_zap(struct kvm *kvm, struct list *invalid, bool flush)
{
	if (!list_empty(invalid))
		kvm_mmu_commit_zap_page(kvm, invalid); /* flushes */
	else if (flush && !MUTANT(nx_recovery_without_flush))
		hw_flush_remote(kvm);
}

void kvm_mmu_recover_nx_huge_pages(struct kvm *kvm)
{
	unsigned int ratio = mmu_param_now(&kvm->params, nx_huge_pages_recovery_ratio);
	struct kvm_mmu_page *sp;
	struct list invalid;
	bool flush = false;
	u64 left;

	list_init(&invalid);
	hw_rcu_read_lock();
	hw_write_lock(kvm);
	left = ratio ? (kvm->arch.nr_possible_nx_huge_pages + ratio - 1) / ratio : 0;
	for (; left && !list_empty(&kvm->arch.possible_nx_huge_pages); left--) {
		sp = list_first(&kvm->arch.possible_nx_huge_pages, struct kvm_mmu_page,
				possible_nx_huge_page_link);
		MMU_BUG_ON(!sp->nx_huge_page_disallowed || !sp->role.direct);
		if (is_logged(kvm, sp))
			unaccount_nx_huge_page(kvm, sp);
		else if (sp->tdp_mmu_page)
			flush |= kvm_tdp_mmu_zap_sp(kvm, sp);
		else
			kvm_mmu_prepare_zap_page(kvm, sp, &invalid);
		if (!hw_lock_contended(kvm))
			continue;
		flush_or_zap(kvm, &invalid, flush);
		flush = false;
		hw_write_unlock(kvm);
		hw_rcu_read_unlock();
		hw_yield_point(kvm, "nx recovery");
		hw_rcu_read_lock();
		hw_write_lock(kvm);
	}
	flush_or_zap(kvm, &invalid, flush);
	hw_write_unlock(kvm);
	hw_rcu_read_unlock();
}
