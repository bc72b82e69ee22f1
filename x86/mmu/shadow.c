// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults of guests with paging of their own under shadow paging, and of nested guests in their
 * hypervisor's tables: the guest's tables are walked, what they say is built into shadow
 * tables, and an entry that the guest invalidates is looked at again. The guest writes its
 * tables at any time: whatever was read before mmu_lock is read again once the table in
 * question is protected.
 */
#include "x86/mmu/shadow.h"

/* --- INVLPG --------------------------------------------------------------------------- */

/* Nothing of @gva is remembered as MMIO. */
static void clear_mmio_gva(struct kvm_vcpu *vcpu, gva_t gva)
{
	if (vcpu->mmio_gva == (gva & ~(SZ_4K - 1)))
		vcpu->mmio_gva = MMIO_GVA_NONE;
}

/* Makes an SPTE of a guest entry that nobody has used; nothing is logged as written for it. */
static bool prefetch_gpte(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp, int index)
{
	struct kvm_memory_slot *slot;
	unsigned int access;
	hpa_t pfn;
	gfn_t gfn;
	u64 gpte;

	if (!sync_read_gpte(vcpu, sp, index, &gpte) || !sync_gpte_valid(vcpu, gpte))
		return false;
	gfn = gpte_to_gfn(vcpu->mmu, gpte, PG_LEVEL_4K);
	access = sync_gpte_access(vcpu, sp, gpte);
	if (!access && spte_format(vcpu->kvm)->ept)
		return false;
	slot = prefetch_frame(vcpu, gfn, access & ACC_WRITE, &pfn);
	if (!slot)
		return false;
	if (mmu_spte_get(&sp->spt[index]))
		mmu_page_zap_pte(vcpu->kvm, sp, &sp->spt[index], NULL);
	mmu_set_spte(vcpu, slot, &sp->spt[index], access, gfn, pfn, NULL);
	return true;
}

/*
 * The last-level entry behind @gva in @root's tables, if its table is out of sync, is as the
 * guest's is now.
 */
static void sync_gva(struct kvm_vcpu *vcpu, hpa_t root, gva_t gva)
{
	struct kvm *kvm = vcpu->kvm;
	struct shadow_walk w;
	bool can_prefetch;

	if (root == INVALID_PAGE)
		return;
	can_prefetch = mmu_topup_memory_caches(vcpu, true) == 0;
	hw_yield_point(kvm, "invlpg");
	hw_write_lock(kvm);
	shadow_walk_init(&w, vcpu, root, gva);
	while (shadow_walk_okay(&w)) {
		u64 spte = mmu_spte_get(w.sptep);
		struct kvm_mmu_page *sp = sptep_to_sp(w.sptep);
		int index = spte_index(w.sptep);

		if (sp->unsync) {
			int ret = spte ? sync_spte(vcpu, sp, index) : 0;

			if (ret < 0) {
				mmu_page_zap_pte(kvm, sp, w.sptep, NULL);
				ret = is_shadow_present_pte(spte);
			}
			if (ret)
				hw_flush_remote(kvm);
			if (can_prefetch && !mmu_spte_get(w.sptep) &&
			    !kvm->mmu_invalidate_in_progress && sync_possible(vcpu, sp))
				prefetch_gpte(vcpu, sp, index);
			break;
		}
		if (!sp->unsync_children)
			break;
		shadow_walk_next(&w, spte);
	}
	hw_write_unlock(kvm);
}

static bool is_canonical(const struct kvm_vcpu *vcpu, gva_t gva)
{
	int unused = 64 - (vcpu->regs.cr4 & CR4_LA57 ? 57 : 48);

	return (u64)((s64)(gva << unused) >> unused) == gva;
}

/* Whether the guest's tables are shadowed, so that there is something to follow them. */
static bool has_guest_tables(const struct kvm_mmu *mmu)
{
	return !mmu->root_role.direct && mmu->root_role.word;
}

void kvm_mmu_invlpg(struct kvm_vcpu *vcpu, gva_t gva)
{
	struct kvm_mmu *mmu = vcpu->walk_mmu;
	int i;

	vcpu_stat_inc(vcpu, invlpg);
	if (!is_canonical(vcpu, gva))
		return;
	hw_flush_gva(vcpu, gva);
	clear_mmio_gva(vcpu, gva);
	if (!has_guest_tables(mmu))
		return;
	/*
	 * Global translations go whatever their PCID: all roots that may be used without being
	 * synchronised.
	 */
	if (!MUTANT(invlpg_keeps_unsync))
		sync_gva(vcpu, mmu->root.hpa, gva);
	for (i = 0; i < KVM_PREV_ROOTS && !MUTANT(invlpg_skips_prev_roots); i++)
		sync_gva(vcpu, mmu->prev_roots[i].hpa, gva);
}

static u16 pgd_pcid(const struct kvm_vcpu *vcpu, gpa_t pgd)
{
	return vcpu->regs.cr4 & CR4_PCIDE ? pgd & CR3_PCID_MASK : 0;
}

void kvm_mmu_invpcid_gva(struct kvm_vcpu *vcpu, gva_t gva, u16 pcid)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	bool follow = has_guest_tables(mmu), flush = false;
	int i;

	vcpu_stat_inc(vcpu, invlpg);
	if (pcid == pgd_pcid(vcpu, vcpu->regs.cr3)) {
		flush = true;
		clear_mmio_gva(vcpu, gva);
		if (follow)
			sync_gva(vcpu, mmu->root.hpa, gva);
	}
	for (i = 0; i < KVM_PREV_ROOTS; i++) {
		if (mmu->prev_roots[i].hpa == INVALID_PAGE ||
		    pcid != pgd_pcid(vcpu, mmu->prev_roots[i].pgd))
			continue;
		flush = true;
		if (follow && !MUTANT(invpcid_skips_prev_roots))
			sync_gva(vcpu, mmu->prev_roots[i].hpa, gva);
	}
	if (flush)
		hw_flush_gva(vcpu, gva);
}

/* --- faults ----------------------------------------------------------------------------- */

/* The guest's tables say that it faults. */
static int fault_to_guest(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault,
			  const struct x86_exception *e)
{
	struct kvm_mmu *mmu = vcpu->mmu;

	if (fault->prefetch)
		return RET_PF_RETRY;
	/*
	 * The guest may have given the rights that are missing a moment later, or do so before
	 * it returns, and need not flush then: the fault itself takes away what is cached of
	 * the address, SPTE included.
	 */
	if ((e->error_code & PFERR_P) && !(e->error_code & PFERR_RSVD)) {
		if (mmu != &vcpu->guest_mmu)
			hw_flush_gva(vcpu, fault->addr);
		clear_mmio_gva(vcpu, fault->addr);
		sync_gva(vcpu, mmu->root.hpa, fault->addr);
	}
	mmu->inject_page_fault(vcpu, e);
	return RET_PF_INJECTED;
}

/* The tables on the way of @addr are in use as tables, not written as data. */
static void clear_flood(struct kvm_vcpu *vcpu, u64 addr)
{
	struct shadow_walk w;

	shadow_walk_init(&w, vcpu, vcpu->mmu->root.hpa, addr);
	for (; shadow_walk_okay(&w); shadow_walk_next(&w, mmu_spte_get(w.sptep)))
		clear_sp_write_flooding_count(w.sptep);
}

/* The neighbours of *@sptep, which has just been installed. */
static void pte_prefetch(struct kvm_vcpu *vcpu, u64 *sptep)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	int i, first = spte_index(sptep) & ~(PTE_PREFETCH_NUM - 1);

	if (sp->role.level > PG_LEVEL_4K)
		return;
	if (sp->role.direct) {
		direct_pte_prefetch(vcpu, sptep);
		return;
	}
	if (vcpu->kvm->mmu_invalidate_in_progress && !MUTANT(prefetch_during_unmap))
		return;
	for (i = first; i < first + PTE_PREFETCH_NUM; i++) {
		if (&sp->spt[i] == sptep || is_shadow_present_pte(mmu_spte_get(&sp->spt[i])))
			continue;
		if (!prefetch_gpte(vcpu, sp, i))
			break;
	}
}

/* Builds what @gw found into the shadow tables and installs the leaf. mmu_lock for write. */
static int fetch(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, const struct guest_walker *gw)
{
	struct kvm *kvm = vcpu->kvm;
	struct shadow_walk w;
	int ret;

	/* The root's table is protected since it is a root, but the walk may be older. */
	if (gpte_changed(vcpu, gw, gw->max_level))
		return RET_PF_RETRY;

	shadow_walk_init(&w, vcpu, vcpu->mmu->root.hpa, fault->addr);
	for (; shadow_walk_okay(&w) && w.level > gw->level;
	     shadow_walk_next(&w, mmu_spte_get(w.sptep))) {
		gfn_t table = gw->table_gfn[w.level - 1];
		struct kvm_mmu_page *sp;

		clear_sp_write_flooding_count(w.sptep);
		sp = kvm_mmu_get_child_sp(vcpu, w.sptep, table, false,
					  MUTANT(inherited_rights_of_leaf)
						  ? gw->pte_access
						  : gw->pt_access[w.level - 1]);
		/*
		 * An entry that becomes present needs no flush by the guest: once linked, what is
		 * below is used at once. Last-level tables have been synchronised by the look-up.
		 */
		if (sp && sp->unsync_children && !MUTANT(link_skips_child_sync))
			mmu_sync_children(vcpu, sp);
		/* The table is protected now: is the entry in it what the walk has seen? */
		hw_yield_point(kvm, "table shadowed");
		if (!MUTANT(gpte_not_read_again) && gpte_changed(vcpu, gw, w.level - 1))
			return RET_PF_RETRY;
		if (sp)
			link_shadow_page(vcpu, w.sptep, sp);
		if (fault->write && table == fault->gfn)
			fault->write_fault_to_shadow_pgtable = true;
	}
	/* Only now: the tables on the way have left the huge pages that they lie in. */
	kvm_mmu_hugepage_adjust(vcpu, fault);
	trace_mmu(kvm, kvm_mmu_spte_requested, fault->gfn, fault->pfn, fault->goal_level);

	ret = shadow_map_direct(vcpu, fault, &w, gw->pte_access);
	if (ret >= 0 && ret != RET_PF_SPURIOUS && fault->slot)
		pte_prefetch(vcpu, w.sptep);
	return ret;
}

/*
 * With CR0.WP clear the supervisor writes to read-only pages. There is no such SPTE: it becomes
 * a supervisor's writable page for the time being; a user's access faults and finds its way
 * back. Nor may SMEP be lost by that.
 */
static void adjust_for_cr0_wp(const struct kvm_mmu *mmu, const struct kvm_page_fault *fault,
			      struct guest_walker *gw)
{
	if (!fault->write || fault->user || !fault->slot || (gw->pte_access & ACC_WRITE) ||
	    mmu->cpu_role.base.cr0_wp)
		return;
	gw->pte_access |= ACC_WRITE;
	if (!MUTANT(user_kept_without_wp))
		gw->pte_access &= ~ACC_USER;
	if (mmu->cpu_role.cr4_smep && !MUTANT(smep_lost_without_wp))
		gw->pte_access &= ~ACC_EXEC;
}

int shadow_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	struct kvm *kvm = vcpu->kvm;
	struct guest_walker gw;
	int ret;

	/* A reserved bit can only have been one of an SPTE. */
	if (!walk_guest(&gw, vcpu, mmu, fault->addr, fault->error_code & ~PFERR_RSVD))
		return fault_to_guest(vcpu, fault, &gw.fault);

	fault->gfn = gw.gfn;
	fault->gpa = gw.gfn << PAGE_SHIFT | (fault->addr & (SZ_4K - 1));
	if (fault->max_level > gw.level)
		fault->max_level = gw.level;
	fault->slot = kvm_vcpu_gfn_to_memslot(vcpu, fault->gfn);

	if (page_fault_handle_page_track(vcpu, fault)) {
		clear_flood(vcpu, fault->addr);
		return RET_PF_EMULATE;
	}
	ret = mmu_topup_memory_caches(vcpu, true);
	if (ret)
		return ret;

	/* D can't be set in a table that is read-only memory; the write goes on nevertheless. */
	if (fault->write && !gw.pte_writable[gw.level])
		gw.pte_access = gw.pt_access[gw.level] & gpte_access(mmu, gw.ptes[gw.level]);

	ret = kvm_faultin_pfn(vcpu, fault, gw.pte_access);
	if (ret != RET_PF_CONTINUE)
		return ret;
	adjust_for_cr0_wp(mmu, fault, &gw);

	hw_yield_point(kvm, "frame resolved");
	hw_write_lock(kvm);
	/*
	 * Making room may zap the very root: only then is there any use in asking whether it is
	 * stale.
	 */
	ret = make_mmu_pages_available(vcpu);
	if (ret == 0) {
		ret = RET_PF_RETRY;
		if (!is_page_fault_stale(vcpu, fault))
			ret = fetch(vcpu, fault, &gw);
	}
	hw_write_unlock(kvm);
	return ret;
}
