// SPDX-License-Identifier: GPL-2.0-only
/*
 * Installing SPTEs with the shadow MMU: the walk down its tables, one leaf with its reverse
 * mapping, direct maps (guests without paging, two-dimensional paging without the TDP MMU, and
 * what is below a guest's large page that the host can't map as one), and mapping ahead in
 * them.
 */
#include "x86/mmu/shadow.h"

/* Without mmu_lock: a page that is being zapped has its role marked meanwhile. */
static union kvm_mmu_page_role sp_role(const struct kvm_mmu_page *sp)
{
	union kvm_mmu_page_role role = {.word = __atomic_load_n(&sp->role.word, __ATOMIC_RELAXED)};

	return role;
}

void shadow_walk_init(struct shadow_walk *w, struct kvm_vcpu *vcpu, hpa_t root, u64 addr)
{
	struct kvm_mmu_page *sp = root_to_sp(root);
	struct kvm_mmu *mmu = vcpu->mmu;

	w->addr = addr;
	w->sptep = NULL;
	w->level = 0;
	w->table = 0;
	if (sp) {
		/* A previous root may be of another depth than the one in use. */
		w->table = hw_hpa(sp->spt);
		w->level = sp_role(sp).level;
		return;
	}
	/*
	 * PAE's four entries, and what may be on top of them and always leads to them, are no
	 * shadow pages; they belong to the vCPU and are never among the previous roots.
	 */
	if (root == INVALID_PAGE || root != mmu->root.hpa || !mmu->pae_root)
		return;
	w->table = __atomic_load_n(&mmu->pae_root[(addr >> 30) & 3], __ATOMIC_RELAXED);
	if (!(w->table & PTE_P))
		return;
	w->table &= SPTE_PTE_ADDR_MASK;
	w->level = 2;
}

static bool root_is_tdp_mmu(hpa_t root)
{
	struct kvm_mmu_page *sp = root_to_sp(root);

	return sp && sp->tdp_mmu_page;
}

u64 *fast_pf_get_last_sptep(struct kvm_vcpu *vcpu, u64 addr, u64 *spte, int *level)
{
	hpa_t root = vcpu->mmu->root.hpa;
	struct shadow_walk w;
	u64 *sptep = NULL;

	if (root_is_tdp_mmu(root))
		return kvm_tdp_mmu_fast_pf_get_last_sptep(vcpu, addr, spte, level);
	shadow_walk_init(&w, vcpu, root, addr);
	while (shadow_walk_okay(&w)) {
		sptep = w.sptep;
		*level = w.level;
		*spte = mmu_spte_get(sptep);
		shadow_walk_next(&w, *spte);
	}
	return sptep;
}

int get_walk(struct kvm_vcpu *vcpu, u64 addr, u64 *sptes, int *root_level)
{
	hpa_t root = vcpu->mmu->root.hpa;
	struct shadow_walk w;
	int leaf = -1;

	if (root_is_tdp_mmu(root))
		return kvm_tdp_mmu_get_walk(vcpu, addr, sptes, root_level);
	shadow_walk_init(&w, vcpu, root, addr);
	*root_level = w.level;
	while (shadow_walk_okay(&w)) {
		leaf = w.level;
		sptes[leaf] = mmu_spte_get(w.sptep);
		shadow_walk_next(&w, sptes[leaf]);
	}
	return leaf;
}

void shadow_flush_gfns(struct kvm *kvm, const struct kvm_mmu_page *sp, gfn_t gfn, u64 pages)
{
	/* Frames of this space are what the TLB knows only of a guest that isn't nested. */
	if (sp->role.guest_mode || !mmu_params_tdp(&kvm->params))
		hw_flush_remote(kvm);
	else
		hw_flush_remote_range(kvm, gfn, pages);
}

/* What is in *@sptep, if it doesn't lead to @pfn by a leaf of @gfn, goes. True: a flush is owed. */
static bool make_room(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *sptep, gfn_t gfn, hpa_t pfn)
{
	u64 old = mmu_spte_get(sptep);

	if (!is_shadow_present_pte(old))
		return false;
	if (!is_last_spte(old, sp->role.level)) {
		drop_parent_pte(kvm, spte_to_child_sp(old), sptep);
		return true;
	}
	/* Two frames may be one page on the host: the reverse mapping is the frame's. */
	if (spte_to_hpa(old) == pfn && kvm_mmu_page_get_gfn(sp, spte_index(sptep)) == gfn)
		return false;
	drop_spte(kvm, sptep);
	return true;
}

int mmu_set_spte(struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot, u64 *sptep,
		 unsigned int pte_access, gfn_t gfn, hpa_t pfn, struct kvm_page_fault *fault)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	int level = sp->role.level, ret = RET_PF_FIXED;
	u64 pages = KVM_PAGES_PER(level), old, spte;
	/* Mapped ahead: only pages that the host lets be written come here. */
	bool host_writable = !fault || fault->map_writable;
	bool prefetch = !fault || fault->prefetch;
	bool flush, mapped, wrprot;

	if (!slot) {
		if (is_shadow_present_pte(mmu_spte_get(sptep)) && !MUTANT(mmio_over_mapping_kept)) {
			mmu_page_zap_pte(kvm, sp, sptep, NULL);
			shadow_flush_gfns(kvm, sp, gfn, pages);
		}
		vcpu_stat_inc(vcpu, pf_mmio_spte_created);
		mark_mmio_spte(vcpu, sptep, gfn, pte_access);
		return RET_PF_EMULATE;
	}
	pfn &= ~(pages * SZ_4K - 1);
	flush = make_room(kvm, sp, sptep, gfn, pfn);
	old = mmu_spte_get(sptep);
	mapped = is_shadow_present_pte(old);
	wrprot = make_spte(kvm, vcpu, sp, slot, pte_access, gfn, pfn, old, prefetch, true,
			   host_writable, &spte);
	if (old == spte) {
		ret = RET_PF_SPURIOUS;
	} else {
		if (mapped)
			flush |= mmu_spte_update(sptep, spte, kvm);
		else
			mmu_spte_set(sptep, spte);
		trace_mmu(kvm, kvm_mmu_set_spte, gfn, spte, (u64)sptep, level);
	}
	if (wrprot && fault && fault->write)
		ret = RET_PF_EMULATE;
	if (flush)
		shadow_flush_gfns(kvm, sp, gfn, pages);
	if (!mapped)
		rmap_add(vcpu, slot, sptep, gfn, pte_access);
	else
		kvm_mmu_page_set_translation(sp, spte_index(sptep), gfn, pte_access);
	return ret;
}

struct kvm_memory_slot *prefetch_frame(struct kvm_vcpu *vcpu, gfn_t gfn, bool write, hpa_t *pfn)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
	struct hw_page page;

	if (!slot || (slot->flags &
		      (KVM_MEMSLOT_INVALID | (MUTANT(prefetch_maps_readonly) ? 0 : SLOT_READONLY))))
		return NULL;
	if (write && slot_logs_dirty(slot) && !MUTANT(prefetch_logs))
		return NULL;
	/* The new SPTE's reverse mapping may need a descriptor, which can't be had here. */
	if (!vcpu->pte_list_desc_cache.nobjs)
		return NULL;
	if (!hw_page_present(vcpu->kvm, gfn_to_hva(slot, gfn), true, &page) || !page.writable)
		return NULL;
	*pfn = page.hpa;
	return slot;
}

void direct_pte_prefetch(struct kvm_vcpu *vcpu, u64 *sptep)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	int i, first = spte_index(sptep) & ~(PTE_PREFETCH_NUM - 1);

	/* Without A bits there is no telling what was mapped ahead from what was used. */
	if (sp->role.level > PG_LEVEL_4K || sp->role.ad_disabled)
		return;
	/* Pages that are on their way out would be mapped again. */
	if (vcpu->kvm->mmu_invalidate_in_progress && !MUTANT(prefetch_during_unmap))
		return;
	for (i = first; i < first + PTE_PREFETCH_NUM; i++) {
		unsigned int access = sp->role.access;
		gfn_t gfn = kvm_mmu_page_get_gfn(sp, i);
		struct kvm_memory_slot *slot;
		hpa_t pfn;

		if (is_shadow_present_pte(mmu_spte_get(&sp->spt[i])))
			continue;
		slot = prefetch_frame(vcpu, gfn, access & ACC_WRITE, &pfn);
		if (!slot)
			return;
		mmu_set_spte(vcpu, slot, &sp->spt[i], access, gfn, pfn, NULL);
	}
}

int shadow_map_direct(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, struct shadow_walk *w,
		      unsigned int access)
{
	gfn_t base = fault->gfn;
	int ret;

	for (; shadow_walk_okay(w); shadow_walk_next(w, mmu_spte_get(w->sptep))) {
		struct kvm_mmu_page *sp;

		/* A table that keeps a fetched page small must not become a huge page without X. */
		if (fault->nx_huge_page_workaround_enabled)
			disallowed_hugepage_adjust(fault, mmu_spte_get(w->sptep), w->level);
		base = fault->gfn & ~(KVM_PAGES_PER(w->level) - 1);
		if (w->level == fault->goal_level)
			break;
		sp = kvm_mmu_get_child_sp(vcpu, w->sptep, base, true, access);
		if (!sp)
			continue;
		link_shadow_page(vcpu, w->sptep, sp);
		if (fault->huge_page_disallowed)
			account_nx_huge_page(vcpu->kvm, sp, fault->req_level >= w->level);
	}
	if (w->level == 0 || w->level != fault->goal_level)
		return -EFAULT_;
	ret = mmu_set_spte(vcpu, fault->slot, w->sptep, access, base, fault->pfn, fault);
	return ret;
}

int direct_map(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	struct shadow_walk w;
	int ret;

	kvm_mmu_hugepage_adjust(vcpu, fault);
	trace_mmu(vcpu->kvm, kvm_mmu_spte_requested, fault->gfn, fault->pfn, fault->goal_level);
	shadow_walk_init(&w, vcpu, vcpu->mmu->root.hpa, fault->addr);
	ret = shadow_map_direct(vcpu, fault, &w, ACC_ALL);
	/* What was there already has neighbours that were tried already. */
	if (ret >= 0 && ret != RET_PF_SPURIOUS && fault->slot)
		direct_pte_prefetch(vcpu, w.sptep);
	return ret;
}
