// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots: the tables that a vCPU's hardware walk begins with. Making or finding them, keeping a few that were in use
 * before for the next time that the guest loads the same CR3, and letting go of them.
 *
 * A root is a shadow page, counted by root_count; or, where the hardware's tables are deeper than the guest's or have PAE's
 * short top, a table of the vCPU's own (pae_root, pml4_root, pml5_root) whose entries are roots.
 */
#include "x86/mmu/internal.h"

/* --- letting go ---------------------------------------------------------------------- */

bool is_obsolete_root(struct kvm *kvm, hpa_t root)
{
	struct kvm_mmu_page *sp;

	if (root == INVALID_PAGE)
		return false;
	sp = root_to_sp(root);
	/* A table of the vCPU's own can't tell; it is cheap to make again. */
	return !sp || is_obsolete_sp(kvm, sp);
}

/* The TDP MMU's roots have atomic counts, and are let go of without mmu_lock. True: done. */
static bool put_tdp_mmu_root(struct kvm *kvm, struct kvm_mmu_root_info *root)
{
	struct kvm_mmu_page *sp = root_to_sp(root->hpa);

	if (!sp || !sp->tdp_mmu_page)
		return false;
	root->hpa = INVALID_PAGE;
	root->pgd = 0;
	kvm_tdp_mmu_put_root(kvm, sp);
	return true;
}

static void put_root(struct kvm *kvm, struct kvm_mmu *mmu, struct kvm_mmu_root_info *root,
		     struct list *invalid_list)
{
	if (root_to_sp(root->hpa)) {
		mmu_put_root(kvm, root->hpa, invalid_list);
	} else if (mmu->pae_root) {
		for (int i = 0; i < 4; i++) {
			u64 entry = mmu->pae_root[i];

			if (!entry)
				continue;
			mmu_put_root(kvm, spte_to_hpa(entry), invalid_list);
			__atomic_store_n(&mmu->pae_root[i], 0, __ATOMIC_RELAXED);
		}
	}
	root->hpa = INVALID_PAGE;
	root->pgd = 0;
}

static struct kvm_mmu_root_info *root_of(struct kvm_mmu *mmu, int i)
{
	return i ? &mmu->prev_roots[i - 1] : &mmu->root;
}

void kvm_mmu_free_roots(struct kvm *kvm, struct kvm_mmu *mmu, u64 roots_to_free)
{
	struct list invalid_list;
	u64 left = 0;

	_Static_assert(KVM_MMU_ROOT_CURRENT == BIT(0) && KVM_MMU_ROOT_PREVIOUS(0) == BIT(1),
		       "bits are in root_of()'s order");

	for (int i = 0; i <= KVM_PREV_ROOTS; i++) {
		struct kvm_mmu_root_info *root = root_of(mmu, i);

		if (roots_to_free & BIT(i) && root->hpa != INVALID_PAGE &&
		    !put_tdp_mmu_root(kvm, root))
			left |= BIT(i);
	}
	if (!left)
		return;

	list_init(&invalid_list);
	hw_yield_point(kvm, "kvm_mmu_free_roots: mmu_lock");
	hw_write_lock(kvm);
	for (int i = 0; i <= KVM_PREV_ROOTS; i++) {
		if (left & BIT(i))
			put_root(kvm, mmu, root_of(mmu, i), &invalid_list);
	}
	kvm_mmu_commit_zap_page(kvm, &invalid_list);
	hw_write_unlock(kvm);
}

static void free_obsolete(struct kvm *kvm, struct kvm_mmu *mmu)
{
	u64 obsolete = 0;

	for (int i = 0; i <= KVM_PREV_ROOTS; i++) {
		if (is_obsolete_root(kvm, root_of(mmu, i)->hpa))
			obsolete |= BIT(i);
	}
	kvm_mmu_free_roots(kvm, mmu, obsolete);
}

void kvm_mmu_free_obsolete_roots(struct kvm_vcpu *vcpu)
{
	free_obsolete(vcpu->kvm, &vcpu->root_mmu);
	free_obsolete(vcpu->kvm, &vcpu->guest_mmu);
}

void kvm_mmu_unload(struct kvm_vcpu *vcpu)
{
	kvm_mmu_free_roots(vcpu->kvm, &vcpu->root_mmu, KVM_MMU_ROOTS_ALL);
	kvm_mmu_free_roots(vcpu->kvm, &vcpu->guest_mmu, KVM_MMU_ROOTS_ALL);
	vcpu_clear_mmio_info(vcpu, MMIO_GVA_ANY);
}

/* --- making --------------------------------------------------------------------------- */

static bool guest_has_4_levels(const struct kvm_mmu *mmu)
{
	return mmu->cpu_role.base.level >= 4;
}

static int alloc_own_table(u64 **table, bool low)
{
	if (*table)
		return 0;
	*table = hw_table_alloc(low);
	if (!*table)
		return -ENOMEM_;
	/* No shadow page: root_to_sp() says so by this. */
	__atomic_store_n(hw_table_owner(*table), NULL, __ATOMIC_RELAXED);
	return 0;
}

/* The vCPU's own tables, when they are first needed. */
static int alloc_special_roots(struct kvm_mmu *mmu)
{
	int level = mmu->root_role.level, r;

	/* Roots that stand alone. */
	if (level >= 4 && (mmu->root_role.direct || guest_has_4_levels(mmu)))
		return 0;
	/* CR3 has 32 bits where the processor walks PAE tables. */
	r = alloc_own_table(&mmu->pae_root, true);
	if (!r && level >= 4)
		r = alloc_own_table(&mmu->pml4_root, false);
	if (!r && level >= 5)
		r = alloc_own_table(&mmu->pml5_root, false);
	return r;
}

static int alloc_direct_roots(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	int level = mmu->root_role.level, r;

	hw_write_lock(vcpu->kvm);
	r = make_mmu_pages_available(vcpu);
	if (r)
		goto out;
	if (level >= 4) {
		mmu->root.hpa = mmu_alloc_root(vcpu, 0, 0, level);
	} else {
		for (int i = 0; i < 4; i++) {
			gfn_t gfn = (gfn_t)i << (30 - PAGE_SHIFT);
			u64 entry = mmu_alloc_root(vcpu, gfn, 0, 2) | PTE_P;

			__atomic_store_n(&mmu->pae_root[i], entry, __ATOMIC_RELAXED);
		}
		mmu->root.hpa = hw_hpa(mmu->pae_root);
	}
	/* Not a guest's table: any will do. */
	mmu->root.pgd = 0;
out:
	hw_write_unlock(vcpu->kvm);
	return r;
}

/* 0; 1: a table at @gfn can't be, there is no memory; -EAGAIN. */
static int check_root_gfn(struct kvm_vcpu *vcpu, gfn_t gfn)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);

	if (!slot)
		return !MUTANT(root_outside_memory);
	/*
	 * Neither may the guest be shut down for memory that it has, nor its table be counted in
	 * a slot whose counts are about to go.
	 */
	return slot->flags & KVM_MEMSLOT_INVALID ? -EAGAIN_ : 0;
}

/*
 * Guests with 2 or 3 levels: four tables of level 2, by PDPTE, or a quarter each of the guest's directory;
 * on top of them PAE's four entries, which are a table's first ones too where the hardware walks 4 or 5 levels.
 */
static void alloc_pae_roots(struct kvm_vcpu *vcpu, gfn_t root_gfn, const u64 *pdptrs)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	bool guest_pae = mmu->cpu_role.base.level == 3;
	u64 bits = PTE_P;

	if (mmu->root_role.level >= 4) {
		bits |= PTE_W | PTE_U | PTE_A;
		__atomic_store_n(&mmu->pml4_root[0], hw_hpa(mmu->pae_root) | bits,
				 __ATOMIC_RELAXED);
		mmu->root.hpa = hw_hpa(mmu->pml4_root);
		if (mmu->root_role.level >= 5) {
			__atomic_store_n(&mmu->pml5_root[0], hw_hpa(mmu->pml4_root) | bits,
					 __ATOMIC_RELAXED);
			mmu->root.hpa = hw_hpa(mmu->pml5_root);
		}
	} else {
		mmu->root.hpa = hw_hpa(mmu->pae_root);
	}
	for (unsigned int i = 0; i < 4; i++) {
		u64 entry = 0;

		if (!guest_pae || pdptrs[i] & PTE_P) {
			gfn_t gfn =
				guest_pae ? (pdptrs[i] & PTE_ADDR_MASK) >> PAGE_SHIFT : root_gfn;
			/* Only the 4-byte format spreads a table over several. */
			unsigned int quadrant = mmu->cpu_role.base.level == 2 ? i : 0;

			entry = mmu_alloc_root(vcpu, gfn, quadrant, 2) | bits;
		}
		__atomic_store_n(&mmu->pae_root[i], entry, __ATOMIC_RELAXED);
	}
}

static int alloc_shadow_roots(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	gpa_t pgd = mmu->get_guest_pgd(vcpu);
	gfn_t root_gfn = (pgd & PTE_ADDR_MASK) >> PAGE_SHIFT;
	u64 pdptrs[4] = {0};
	int r;

	r = check_root_gfn(vcpu, root_gfn);
	/* Read before mmu_lock is taken: they may come from guest memory. */
	for (int i = 0; i < 4 && !r && mmu->cpu_role.base.level == 3; i++) {
		pdptrs[i] = mmu->get_pdptr(vcpu, i);
		if (pdptrs[i] & PTE_P)
			r = check_root_gfn(vcpu, (pdptrs[i] & PTE_ADDR_MASK) >> PAGE_SHIFT);
	}
	if (!r)
		r = mmu_first_shadow_root_alloc(vcpu->kvm);
	if (r)
		return r;

	hw_yield_point(vcpu->kvm, "alloc_shadow_roots: mmu_lock");
	hw_write_lock(vcpu->kvm);
	r = make_mmu_pages_available(vcpu);
	if (!r) {
		if (guest_has_4_levels(mmu))
			mmu->root.hpa = mmu_alloc_root(vcpu, root_gfn, 0, mmu->root_role.level);
		else
			alloc_pae_roots(vcpu, root_gfn, pdptrs);
		mmu->root.pgd = pgd;
	}
	hw_write_unlock(vcpu->kvm);
	return r;
}

static int kvm_mmu_load(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	bool direct = mmu->root_role.direct;
	int r;

	vcpu_stat_inc(vcpu, mmu_loads);
	if (direct && is_tdp_mmu_enabled(vcpu->kvm)) {
		mmu->root.hpa = kvm_tdp_mmu_get_vcpu_root_hpa(vcpu);
		mmu->root.pgd = 0;
		r = mmu->root.hpa == INVALID_PAGE ? -ENOMEM_ : 0;
	} else {
		r = mmu_topup_memory_caches(vcpu, !direct);
		if (!r)
			r = alloc_special_roots(mmu);
		if (!r)
			r = direct ? alloc_direct_roots(vcpu) : alloc_shadow_roots(vcpu);
	}
	if (r)
		return r;

	/* Shadow pages that were there already may have fallen behind the guest's tables. */
	kvm_mmu_sync_roots(vcpu);
	trace_mmu(vcpu->kvm, kvm_mmu_load, vcpu->vcpu_idx, mmu->root.hpa, mmu->root.pgd);
	/* The frames may have been a root before, of another time or vCPU. */
	if (!MUTANT(root_load_without_flush))
		hw_flush_current(vcpu);
	return 0;
}

int kvm_mmu_reload(struct kvm_vcpu *vcpu)
{
	int r = 0;

	if (vcpu->mmu->root.hpa == INVALID_PAGE)
		r = kvm_mmu_load(vcpu);
	if (!r)
		hw_load_root(vcpu, vcpu->mmu->root.hpa, vcpu->mmu->root_role.level);
	return r;
}

/* --- the guest loads CR3 ------------------------------------------------------------------- */

static bool is_root_usable(struct kvm *kvm, const struct kvm_mmu_root_info *root, gpa_t pgd,
			   union kvm_mmu_page_role role)
{
	/* That it isn't obsolete comes first: an obsolete page's role may still look right. */
	return root->hpa != INVALID_PAGE && !is_obsolete_root(kvm, root->hpa) &&
	       (role.direct || root->pgd == pgd || MUTANT(prev_root_of_other_pgd)) &&
	       __atomic_load_n(&root_to_sp(root->hpa)->role.word, __ATOMIC_RELAXED) == role.word;
}

/*
 * Makes the root for @pgd current: the current one moves to the front of the previous ones, and those before the one that is
 * found move back by one. Not found: all move, the last is let go of.
 */
static bool fast_pgd_switch(struct kvm_vcpu *vcpu, struct kvm_mmu *mmu, gpa_t pgd)
{
	union kvm_mmu_page_role role = mmu->root_role;
	struct kvm_mmu_root_info found = {.hpa = INVALID_PAGE}, last;
	struct kvm *kvm = vcpu->kvm;
	int i;

	/* There is one pae_root, which the next root needs. */
	if (mmu->root.hpa != INVALID_PAGE && !root_to_sp(mmu->root.hpa))
		kvm_mmu_free_roots(kvm, mmu, KVM_MMU_ROOT_CURRENT);
	if (is_root_usable(kvm, &mmu->root, pgd, role))
		return true;

	for (i = 0; i < KVM_PREV_ROOTS; i++) {
		if (is_root_usable(kvm, &mmu->prev_roots[i], pgd, role)) {
			found = mmu->prev_roots[i];
			break;
		}
	}
	if (mmu->root.hpa == INVALID_PAGE) {
		/* Nothing to keep: close the gap, if there is one. */
		for (; i < KVM_PREV_ROOTS; i++)
			mmu->prev_roots[i] =
				i + 1 < KVM_PREV_ROOTS
					? mmu->prev_roots[i + 1]
					: (struct kvm_mmu_root_info){.hpa = INVALID_PAGE};
		mmu->root = found;
		return found.hpa != INVALID_PAGE;
	}

	last = mmu->prev_roots[KVM_PREV_ROOTS - 1];
	for (int j = i < KVM_PREV_ROOTS ? i : KVM_PREV_ROOTS - 1; j > 0; j--)
		mmu->prev_roots[j] = mmu->prev_roots[j - 1];
	mmu->prev_roots[0] = mmu->root;
	mmu->root = found;
	if (found.hpa != INVALID_PAGE)
		return true;
	/* As the current one, it is let go of in the usual way. */
	mmu->root = last;
	kvm_mmu_free_roots(kvm, mmu, KVM_MMU_ROOT_CURRENT);
	return false;
}

void kvm_mmu_new_pgd(struct kvm_vcpu *vcpu, gpa_t new_pgd, bool flush)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	hpa_t old = mmu->root.hpa;
	bool tdp = mmu->root_role.direct && mmu_params_tdp(&vcpu->kvm->params);

	/* What is remembered of a gva belongs to the old tables. */
	vcpu_clear_mmio_info(vcpu, MMIO_GVA_ANY);
	if (!fast_pgd_switch(vcpu, mmu, new_pgd))
		return; /* loading the new root will synchronise and flush */

	/* The processor's own tags tell guests' address spaces apart; shadow tables have none. */
	if (flush || vcpu->kvm->params.flush_on_reuse || (mmu->root.hpa != old && !tdp))
		hw_flush_current(vcpu);
	if ((flush && !MUTANT(cr3_load_skips_sync)) || vcpu->kvm->params.flush_on_reuse)
		__atomic_fetch_or(&vcpu->requests, KVM_REQ_MMU_SYNC, __ATOMIC_ACQ_REL);
	if (!mmu->root_role.direct)
		__atomic_store_n(&root_to_sp(mmu->root.hpa)->write_flooding_count, 0,
				 __ATOMIC_RELAXED);
}
