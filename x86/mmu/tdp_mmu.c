// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TDP MMU: direct tables from guest frames to the host's, one tree for each kind of
 * vCPU. Faults run side by side under mmu_lock for read and install what they make by
 * compare-and-exchange; the loser frees what it made and lets the guest try again.
 *
 * A root is held by each vCPU that has it among its roots, and by the TDP MMU from the
 * root's making until its tables were zapped after it became invalid. So a tree outlives
 * the vCPUs' comings and goings, and a root whose last reference goes is empty.
 */
#include "x86/mmu/tdp.h"

/* --- tables ---------------------------------------------------------------------- */

static void init_sp(struct kvm *kvm, struct kvm_mmu_page *sp, u64 *ptep, gfn_t gfn,
		    union kvm_mmu_page_role role)
{
	list_init(&sp->link);
	list_init(&sp->hash_link);
	list_init(&sp->possible_nx_huge_page_link);
	sp->role = role;
	sp->gfn = gfn;
	sp->ptep = ptep;
	sp->kvm = kvm;
	sp->tdp_mmu_page = true;
	sp->mmu_valid_gen = kvm->arch.mmu_valid_gen;
	__atomic_store_n(hw_table_owner(sp->spt), sp, __ATOMIC_RELAXED);
}

void tdp_init_child_sp(struct kvm *kvm, struct kvm_mmu_page *sp, const struct tdp_iter *iter)
{
	union kvm_mmu_page_role role = tdp_role(sptep_to_sp(iter->sptep));

	role.level--;
	/* The root may have become invalid; a table is never used by itself. */
	role.invalid = 0;
	init_sp(kvm, sp, iter->sptep, iter->gfn, role);
}

struct kvm_mmu_page *tdp_alloc_sp(void)
{
	struct kvm_mmu_page *sp = hw_alloc(sizeof(*sp));

	if (!sp)
		return NULL;
	sp->spt = hw_table_alloc(false);
	if (!sp->spt) {
		hw_free(sp);
		return NULL;
	}
	return sp;
}

void tdp_free_sp(struct kvm_mmu_page *sp)
{
	__atomic_store_n(hw_table_owner(sp->spt), NULL, __ATOMIC_RELAXED);
	hw_table_free(sp->spt);
	hw_free(sp);
}

static void free_sp_deferred(void *sp)
{
	tdp_free_sp(sp);
}

/*
 * Before the entry points to it, so that whoever takes the table out finds it here.
 * The list's lock is shared, but a table comes once in 512 faults.
 */
static void account_sp(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	list_add(&sp->link, &kvm->arch.tdp_mmu_pages);
	kvm->arch.tdp_mmu_page_count++;
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
}

static void unaccount_sp(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	list_del(&sp->link);
	kvm->arch.tdp_mmu_page_count--;
	if (sp->nx_huge_page_disallowed)
		unaccount_nx_huge_page(kvm, sp);
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
}

bool tdp_link_sp(struct kvm *kvm, struct tdp_iter *iter, struct kvm_mmu_page *sp)
{
	u64 spte = make_nonleaf_spte(kvm, sp->spt, sp->role.ad_disabled);

	account_sp(kvm, sp);
	if (tdp_set_spte_atomic(kvm, iter, spte))
		return true;
	unaccount_sp(kvm, sp);
	return false;
}

/* --- what follows from a change ---------------------------------------------------- */

static void spte_changed(struct kvm *kvm, int as_id, gfn_t gfn, u64 old_spte, u64 new_spte,
			 int level, bool shared);

/* The host's page hears of A and D bits that go away. */
static void note_accessed_dirty(struct kvm *kvm, u64 old_spte, u64 new_spte, bool stays)
{
	if (is_accessed_spte(kvm, old_spte) && !(stays && is_accessed_spte(kvm, new_spte)))
		hw_set_accessed(spte_to_hpa(old_spte));
	if (is_dirty_spte(kvm, old_spte) && !(stays && is_dirty_spte(kvm, new_spte)))
		hw_set_dirty(spte_to_hpa(old_spte));
}

/* Takes what is in @sptep for good. 0: there was nothing. */
static u64 remove_spte(u64 *sptep, bool shared)
{
	u64 old;

	if (!shared) {
		/* No fault can fill it; the hardware and fast faults change only what is present. */
		if (!is_shadow_present_pte(tdp_read_spte(sptep)))
			return 0;
		return __atomic_exchange_n(sptep, REMOVED_SPTE, __ATOMIC_ACQ_REL);
	}
	/*
	 * Also empty entries, so that no fault fills one that nobody will empty again. One that is
	 * frozen already will be emptied by who froze it: it's taken after that.
	 */
	for (;;) {
		old = __atomic_exchange_n(sptep, REMOVED_SPTE, __ATOMIC_ACQ_REL);
		if (!is_removed_spte(old))
			return old;
		while (is_removed_spte(tdp_read_spte(sptep)))
			hw_relax();
	}
}

/* @sp is linked no more: empties it for good, frees it once nobody can be looking at it. */
static void handle_removed_sp(struct kvm *kvm, struct kvm_mmu_page *sp, bool shared)
{
	int level = sp->role.level, i, leafs = 0;

	__atomic_store_n(&sp->ptep, NULL, __ATOMIC_RELAXED);
	unaccount_sp(kvm, sp);
	for (i = 0; i < SPTE_ENT_PER_PAGE; i++) {
		gfn_t gfn = sp->gfn + i * KVM_PAGES_PER(level);
		u64 old = remove_spte(&sp->spt[i], shared);

		if (!is_shadow_present_pte(old))
			continue;
		if (!is_last_spte(old, level)) {
			spte_changed(kvm, sp->role.smm, gfn, old, REMOVED_SPTE, level, shared);
			continue;
		}
		/* As spte_changed() has it for leafs; counted once for the whole table. */
		trace_mmu(kvm, kvm_tdp_mmu_spte_changed, sp->role.smm, gfn, level, old,
			  REMOVED_SPTE);
		note_accessed_dirty(kvm, old, REMOVED_SPTE, false);
		leafs++;
	}
	if (leafs)
		kvm_update_page_stats(kvm, level, -leafs);
	hw_rcu_defer(kvm, free_sp_deferred, sp);
}

/* An entry of @level changed from @old_spte to @new_spte. */
static void spte_changed(struct kvm *kvm, int as_id, gfn_t gfn, u64 old_spte, u64 new_spte,
			 int level, bool shared)
{
	bool was_present = is_shadow_present_pte(old_spte);
	bool is_present = is_shadow_present_pte(new_spte);
	bool was_leaf = was_present && is_last_spte(old_spte, level);
	bool is_leaf = is_present && is_last_spte(new_spte, level);
	bool same_frame = spte_to_hpa(old_spte) == spte_to_hpa(new_spte);

	if (old_spte == new_spte)
		return;
	/* A leaf's frame changes by way of an entry that is empty, with a flush between. */
	MMU_BUG_ON(was_leaf && is_leaf && !same_frame);
	trace_mmu(kvm, kvm_tdp_mmu_spte_changed, (u64)as_id, gfn, (u64)level, old_spte, new_spte);
	if (is_leaf != was_leaf)
		kvm_update_page_stats(kvm, level, is_leaf ? 1 : -1);
	if (was_leaf)
		note_accessed_dirty(kvm, old_spte, new_spte, is_leaf);
	else if (was_present && !(is_present && !is_leaf && same_frame))
		handle_removed_sp(kvm, spte_to_child_sp(old_spte), shared);
}

bool tdp_set_spte_atomic(struct kvm *kvm, struct tdp_iter *iter, u64 new_spte)
{
	u64 old_spte = iter->old_spte;

	MMU_BUG_ON(iter->yielded || is_removed_spte(old_spte));
	if (!__atomic_compare_exchange_n(iter->sptep, &iter->old_spte, new_spte, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
	    !MUTANT(lost_exchange_ignored))
		return false;
	spte_changed(kvm, iter->as_id, iter->gfn, old_spte, new_spte, iter->level, true);
	iter->old_spte = new_spte;
	return true;
}

void tdp_set_spte(struct kvm *kvm, struct tdp_iter *iter, u64 new_spte)
{
	u64 old_spte;

	hw_assert_write_locked(kvm);
	MMU_BUG_ON(iter->yielded);
	old_spte = __atomic_exchange_n(iter->sptep, new_spte, __ATOMIC_ACQ_REL);
	MMU_BUG_ON(is_removed_spte(old_spte));
	spte_changed(kvm, iter->as_id, iter->gfn, old_spte, new_spte, iter->level, false);
	iter->old_spte = new_spte;
}

bool tdp_clear_spte_bits(struct kvm *kvm, struct tdp_iter *iter, u64 bits)
{
	u64 old_spte = iter->old_spte;

	/* A and D that the hardware sets meanwhile stay as they are. */
	while (!__atomic_compare_exchange_n(iter->sptep, &old_spte, old_spte & ~bits, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		iter->old_spte = old_spte;
		if (!is_shadow_present_pte(old_spte) || !is_last_spte(old_spte, iter->level))
			return false;
	}
	spte_changed(kvm, iter->as_id, iter->gfn, old_spte, old_spte & ~bits, iter->level, true);
	iter->old_spte = old_spte & ~bits;
	return true;
}

bool tdp_zap_spte_atomic(struct kvm *kvm, struct tdp_iter *iter)
{
	if (!tdp_set_spte_atomic(kvm, iter, REMOVED_SPTE))
		return false;
	hw_yield_point(kvm, "tdp zap");
	hw_flush_remote_range(kvm, iter->gfn, KVM_PAGES_PER(iter->level));
	/* Nobody else touches a frozen entry. */
	__atomic_store_n(iter->sptep, 0, __ATOMIC_RELEASE);
	iter->old_spte = 0;
	return true;
}

bool tdp_iter_cond_resched(struct kvm *kvm, struct tdp_iter *iter, bool flush, bool shared)
{
	if (iter->next_gfn == iter->yielded_gfn || !hw_lock_contended(kvm))
		return false;
	if (flush && !MUTANT(yield_forgets_flush))
		hw_flush_remote(kvm);
	hw_rcu_read_unlock();
	if (shared)
		hw_read_unlock(kvm);
	else
		hw_write_unlock(kvm);
	hw_yield_point(kvm, "tdp yield");
	if (shared)
		hw_read_lock(kvm);
	else
		hw_write_lock(kvm);
	hw_rcu_read_lock();
	iter->yielded = true;
	return true;
}

/* --- roots ---------------------------------------------------------------------------- */

static bool get_root(struct kvm_mmu_page *root)
{
	int count = __atomic_load_n(&root->root_count, __ATOMIC_RELAXED);

	while (count > 0)
		if (__atomic_compare_exchange_n(&root->root_count, &count, count + 1, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

void kvm_tdp_mmu_put_root(struct kvm *kvm, struct kvm_mmu_page *root)
{
	int count = __atomic_sub_fetch(&root->root_count, 1, __ATOMIC_ACQ_REL);

	MMU_BUG_ON(count < 0);
	if (count)
		return;
	/* The TDP MMU's own reference goes when the root is invalid and zapped. */
	MMU_BUG_ON(!tdp_role(root).invalid || root->zap_scheduled);
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	list_del(&root->link);
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
	hw_rcu_defer(kvm, free_sp_deferred, root);
}

struct kvm_mmu_page *tdp_next_root(struct kvm *kvm, struct kvm_mmu_page *prev, int as_id,
				   bool valid_only)
{
	struct list *head = &kvm->arch.tdp_mmu_roots, *l;
	struct kvm_mmu_page *found = NULL;

	/* Roots whose last reference goes leave the list at any time; @prev is held and stays. */
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	for (l = prev ? prev->link.next : head->next; l != head && !found; l = l->next) {
		struct kvm_mmu_page *root = container_of(l, struct kvm_mmu_page, link);

		if (as_id >= 0 && root->role.smm != (unsigned int)as_id)
			continue;
		if (valid_only && root->role.invalid)
			continue;
		if (get_root(root))
			found = root;
	}
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
	if (prev)
		kvm_tdp_mmu_put_root(kvm, prev);
	return found;
}

/* A root of @role, held for the caller; with tdp_pages_lock. */
static struct kvm_mmu_page *find_root(struct kvm *kvm, union kvm_mmu_page_role role)
{
	struct kvm_mmu_page *root;

	list_for_each(root, &kvm->arch.tdp_mmu_roots, link)
		/* An invalid one's role is never asked for. */
		if (root->role.word == role.word &&
		    (MUTANT(root_not_counted) || get_root(root))) return root;
	return NULL;
}

static struct kvm_mmu_page *find_or_add_root(struct kvm_vcpu *vcpu, struct kvm_mmu_page *new)
{
	union kvm_mmu_page_role role = vcpu->mmu->root_role;
	struct kvm *kvm = vcpu->kvm;
	struct kvm_mmu_page *root;

	/* Roots become invalid under mmu_lock for write: not between the look and the adding. */
	hw_read_lock(kvm);
	hw_spin_lock(&kvm->arch.tdp_pages_lock);
	root = find_root(kvm, role);
	if (!root && new) {
		init_sp(kvm, new, NULL, 0, role);
		new->root_count = 2;
		list_add_tail(&new->link, &kvm->arch.tdp_mmu_roots);
		root = new;
	}
	hw_spin_unlock(&kvm->arch.tdp_pages_lock);
	hw_read_unlock(kvm);
	return root;
}

hpa_t kvm_tdp_mmu_get_vcpu_root_hpa(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu_page *root, *new;

	MMU_BUG_ON(vcpu->mmu->root_role.invalid || !vcpu->mmu->root_role.direct);
	hw_yield_point(vcpu->kvm, "tdp root");
	root = find_or_add_root(vcpu, NULL);
	if (!root) {
		new = tdp_alloc_sp();
		if (!new)
			return INVALID_PAGE;
		root = find_or_add_root(vcpu, new);
		if (root != new)
			tdp_free_sp(new);
	}
	return hw_hpa(root->spt);
}

/* --- faults --------------------------------------------------------------------------- */

/* @spte, a leaf, lets the access that faulted through. */
static bool allows(const struct kvm *kvm, const struct kvm_page_fault *fault, u64 spte)
{
	if (fault->exec)
		return is_executable_pte(kvm, spte);
	if (fault->write)
		return is_writable_pte(spte);
	return spte & spte_format(kvm)->present;
}

static int install_mmio(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, struct tdp_iter *iter)
{
	int ret = fault->prefetch ? RET_PF_RETRY : RET_PF_EMULATE;
	struct kvm *kvm = vcpu->kvm;
	u64 spte;

	/* A leaf here means that a slot has come meanwhile. */
	if (is_shadow_present_pte(iter->old_spte))
		return RET_PF_RETRY;
	if (!spte_format(kvm)->mmio_value)
		return ret;
	spte = make_mmio_spte(vcpu, iter->gfn, ACC_ALL);
	if (spte == iter->old_spte)
		return ret;
	if (!tdp_set_spte_atomic(kvm, iter, spte))
		return RET_PF_RETRY;
	vcpu_stat_inc(vcpu, pf_mmio_spte_created);
	trace_mmu(kvm, mark_mmio_spte, hw_hpa(iter->sptep), iter->gfn, ACC_ALL,
		  get_mmio_spte_generation(kvm, spte));
	return ret;
}

/* The iterator is at the entry of fault->goal_level. */
static int install_leaf(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, struct tdp_iter *iter)
{
	struct kvm_mmu_page *sp = sptep_to_sp(iter->sptep);
	struct kvm *kvm = vcpu->kvm;
	u64 old_spte = iter->old_spte, new_spte;
	bool was_present = is_shadow_present_pte(old_spte);
	bool was_leaf = was_present && is_last_spte(old_spte, iter->level);
	hpa_t pfn = fault->pfn & ~((KVM_PAGES_PER(iter->level) << PAGE_SHIFT) - 1);
	bool wrprot;

	if (was_leaf && spte_to_hpa(old_spte) == pfn &&
	    (fault->prefetch || allows(kvm, fault, old_spte)))
		return RET_PF_SPURIOUS;
	wrprot = make_spte(kvm, vcpu, sp, fault->slot, ACC_ALL, iter->gfn, pfn, old_spte,
			   fault->prefetch, true, fault->map_writable, &new_spte);
	hw_yield_point(kvm, "tdp install");
	if (new_spte != old_spte) {
		if (!tdp_set_spte_atomic(kvm, iter, new_spte))
			return RET_PF_RETRY;
		/* The table that stood here may be walked from what the TLBs know of it. */
		if (was_present && !was_leaf)
			hw_flush_remote_range(kvm, iter->gfn, KVM_PAGES_PER(iter->level));
		trace_mmu(kvm, kvm_mmu_set_spte, iter->gfn, new_spte, hw_hpa(iter->sptep),
			  (u64)iter->level);
	}
	/* Write-protected for a shadowed table in the page. */
	if (wrprot && fault->write)
		return RET_PF_EMULATE;
	return new_spte == old_spte ? RET_PF_SPURIOUS : RET_PF_FIXED;
}

/* Hangs an empty table below the entry, which is empty. */
static bool install_table(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault,
			  struct tdp_iter *iter)
{
	struct kvm_mmu_page *sp = kvm_mmu_memory_cache_alloc(&vcpu->page_header_cache);
	/* It stands in the place of a huge page only because the access is a fetch. */
	bool nx = fault->huge_page_disallowed;
	struct kvm *kvm = vcpu->kvm;

	sp->spt = kvm_mmu_memory_cache_alloc(&vcpu->shadow_page_cache);
	tdp_init_child_sp(kvm, sp, iter);
	/* Before others can see the table, and fill its place with a huge page again. */
	sp->nx_huge_page_disallowed = nx;
	if (!tdp_link_sp(kvm, iter, sp)) {
		tdp_free_sp(sp);
		return false;
	}
	if (nx && fault->req_level >= iter->level) {
		hw_spin_lock(&kvm->arch.tdp_pages_lock);
		/* Gone already? Then it is unaccounted already. */
		if (sp->nx_huge_page_disallowed)
			account_nx_huge_page(kvm, sp, true);
		hw_spin_unlock(&kvm->arch.tdp_pages_lock);
	}
	return true;
}

int kvm_tdp_mmu_map(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	struct kvm_mmu_page *root = root_to_sp(vcpu->mmu->root.hpa);
	struct kvm *kvm = vcpu->kvm;
	struct tdp_iter iter;
	int ret = RET_PF_RETRY;

	/* The hardware's walk ends before such an address; no entry stands for it. */
	if (fault->gfn >= tdp_root_end(root))
		return RET_PF_EMULATE;
	kvm_mmu_hugepage_adjust(vcpu, fault);
	trace_mmu(kvm, kvm_mmu_spte_requested, fault->gfn, fault->pfn, (u64)fault->goal_level);
	hw_rcu_read_lock();
	tdp_for_each_pte(iter, root, fault->gfn, fault->gfn + 1)
	{
		if (fault->nx_huge_page_workaround_enabled)
			disallowed_hugepage_adjust(fault, iter.old_spte, iter.level);
		if (is_removed_spte(iter.old_spte))
			break;
		if (iter.level == fault->goal_level) {
			ret = fault->slot ? install_leaf(vcpu, fault, &iter)
					  : install_mmio(vcpu, fault, &iter);
			break;
		}
		if (tdp_child_pt(iter.old_spte, iter.level))
			continue;
		/* A huge page where small ones are to be: the others come back as they are used. */
		if (is_shadow_present_pte(iter.old_spte) && !tdp_zap_spte_atomic(kvm, &iter))
			break;
		if (!install_table(vcpu, fault, &iter))
			break;
	}
	hw_rcu_read_unlock();
	return ret;
}

/* --- lockless walks ------------------------------------------------------------------ */

int kvm_tdp_mmu_get_walk(struct kvm_vcpu *vcpu, u64 addr, u64 *sptes, int *root_level)
{
	struct kvm_mmu_page *root = root_to_sp(vcpu->mmu->root.hpa);
	gfn_t gfn = addr >> PAGE_SHIFT;
	struct tdp_iter iter;
	int lowest = -1;

	*root_level = tdp_role(root).level;
	tdp_for_each_pte(iter, root, gfn, gfn + 1)
	{
		lowest = iter.level;
		sptes[lowest] = iter.old_spte;
	}
	return lowest;
}

u64 *kvm_tdp_mmu_fast_pf_get_last_sptep(struct kvm_vcpu *vcpu, u64 addr, u64 *spte, int *level)
{
	struct kvm_mmu_page *root = root_to_sp(vcpu->mmu->root.hpa);
	gfn_t gfn = addr >> PAGE_SHIFT;
	struct tdp_iter iter;
	u64 *sptep = NULL;

	tdp_for_each_pte(iter, root, gfn, gfn + 1)
	{
		sptep = iter.sptep;
		*spte = iter.old_spte;
		*level = iter.level;
	}
	return sptep;
}

void kvm_mmu_uninit_tdp_mmu(struct kvm *kvm)
{
	hw_write_lock(kvm);
	kvm_tdp_mmu_invalidate_all_roots(kvm);
	hw_write_unlock(kvm);
	kvm_tdp_mmu_zap_invalidated_roots(kvm);
	/* What is left would be a root that a vCPU, or a walk, still holds. */
	MMU_BUG_ON(!list_empty(&kvm->arch.tdp_mmu_roots));
	MMU_BUG_ON(!list_empty(&kvm->arch.tdp_mmu_pages) || kvm->arch.tdp_mmu_page_count);
}
