// SPDX-License-Identifier: GPL-2.0-only
/*
 * Last-level guest tables that the guest may write without a trap: marking them and everything
 * above as out of sync, finding them again from a root when the guest flushes, and making their
 * shadow pages follow.
 *
 * A page that is marked has its bit in each parent, that one in its own, and so on: bits are
 * never missing, but may be left behind, and then go when a collection meets them.
 */
#include "x86/mmu/shadow.h"

/* --- marks ---------------------------------------------------------------------------- */

static bool test_bit(const u64 *map, int n)
{
	return map[n / 64] & BIT(n % 64);
}

void mark_unsync(u64 *sptep)
{
	struct kvm_mmu_page *sp = sptep_to_sp(sptep);
	int index = spte_index(sptep);

	/*
	 * The entries on top of a PAE root are of no page: each root below is looked at by
	 * itself.
	 */
	if (!sp || test_bit(sp->unsync_child_bitmap, index))
		return;
	sp->unsync_child_bitmap[index / 64] |= BIT(index % 64);
	__atomic_store_n(&sp->unsync_children, sp->unsync_children + 1, __ATOMIC_RELEASE);
	if (sp->unsync_children == 1 && !MUTANT(unsync_marks_one_level))
		kvm_mmu_mark_parents_unsync(sp);
}

void kvm_mmu_mark_parents_unsync(struct kvm_mmu_page *sp)
{
	struct rmap_iterator iter;
	u64 *sptep;

	for_each_rmap_spte(&sp->parent_ptes, &iter, sptep)
	{
		mark_unsync(sptep);
		if (MUTANT(unsync_marks_one_parent))
			break;
	}
}

void clear_unsync_child_bit(struct kvm_mmu_page *sp, int index)
{
	if (!test_bit(sp->unsync_child_bitmap, index))
		return;
	sp->unsync_child_bitmap[index / 64] &= ~BIT(index % 64);
	__atomic_store_n(&sp->unsync_children, sp->unsync_children - 1, __ATOMIC_RELAXED);
}

static bool sp_unsync(const struct kvm_mmu_page *sp)
{
	return __atomic_load_n(&sp->unsync, __ATOMIC_ACQUIRE);
}

static void kvm_unsync_page(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	trace_mmu(kvm, kvm_mmu_unsync_page, sp->gfn, sp->role.word);
	vm_stat_add(kvm, mmu_unsync, 1);
	/* Before the entry that lets the guest write: who sees a write sees the mark. */
	__atomic_store_n(&sp->unsync, true, __ATOMIC_RELEASE);
	kvm_mmu_mark_parents_unsync(sp);
}

void kvm_unlink_unsync_page(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	trace_mmu(kvm, kvm_mmu_sync_page, sp->gfn, sp->role.word);
	__atomic_store_n(&sp->unsync, false, __ATOMIC_RELAXED);
	vm_stat_add(kvm, mmu_unsync, -1);
}

int mmu_try_to_unsync_pages(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn,
			    bool can_unsync, bool prefetch)
{
	struct kvm_mmu_page *sp;
	bool marking = false;

	if (kvm_gfn_is_write_tracked(slot, gfn))
		return -EPERM_;
	/* Cannot become more than none while mmu_lock is held. */
	if (!__atomic_load_n(&kvm->arch.indirect_shadow_pages, __ATOMIC_RELAXED))
		return 0;
	for_each_gfn_valid_sp_with_gptes(kvm, sp, gfn)
	{
		/* Upper levels are tracked, except by way of another address space. */
		if (!can_unsync || sp->role.level > PG_LEVEL_4K)
			return -EPERM_;
		if (sp_unsync(sp))
			continue;
		if (prefetch && !MUTANT(prefetch_unsyncs))
			return -EEXIST_;
		marking = true;
	}
	if (!marking)
		return 0;
	/* Faults of the TDP MMU come here side by side; nobody takes marks away meanwhile. */
	hw_spin_lock(&kvm->arch.unsync_lock);
	for_each_gfn_valid_sp_with_gptes(kvm, sp, gfn)
	{
		if (!sp->unsync)
			kvm_unsync_page(kvm, sp);
	}
	hw_spin_unlock(&kvm->arch.unsync_lock);
	return 0;
}

/* --- collecting ------------------------------------------------------------------------ */

#define UNSYNC_BATCH 16

/*
 * Unsync pages below a page, depth first, each preceded by the pages on the way to it that have
 * not been named on the way to an earlier one: of levels 4 3 2 1 1 1 3 2 1, say. The first is
 * the page where it began.
 */
struct kvm_mmu_pages {
	unsigned int nr;
	struct {
		struct kvm_mmu_page *sp;
		int index; /* of the entry in its parent that led here */
	} page[UNSYNC_BATCH];
};

/* The way to a last-level page out of such a list: by level, the page and the entry in it. */
struct mmu_page_path {
	struct kvm_mmu_page *parent[PAGING_MAX_LEVEL + 2];
	int index[PAGING_MAX_LEVEL + 2];
};

/* False: that was the last one that there is room for. */
static bool pages_add(struct kvm_mmu_pages *pages, struct kvm_mmu_page *sp, int index)
{
	unsigned int i;

	/* A table with two parents needs attention once; the other way to it is found later. */
	if (sp->unsync)
		for (i = 0; i < pages->nr; i++)
			if (pages->page[i].sp == sp)
				return true;
	pages->page[pages->nr].sp = sp;
	pages->page[pages->nr].index = index;
	pages->nr++;
	return pages->nr < UNSYNC_BATCH;
}

/* How many unsync pages there are below @sp; negative: more than there is room for. */
static int collect_below(struct kvm_mmu_page *sp, struct kvm_mmu_pages *pages)
{
	int leaves = 0, word, ret;

	for (word = 0; word < SPTE_ENT_PER_PAGE / 64; word++) {
		u64 bits = sp->unsync_child_bitmap[word];

		for (; bits; bits &= bits - 1) {
			int index = word * 64 + __builtin_ctzll(bits);
			u64 spte = mmu_spte_get(&sp->spt[index]);
			struct kvm_mmu_page *child;

			ret = 0;
			if (MUTANT(sync_skips_last_index) && index == SPTE_ENT_PER_PAGE - 1)
				spte = 0;
			if (is_shadow_present_pte(spte) && !is_large_pte(spte)) {
				child = spte_to_child_sp(spte);
				if (child->unsync_children) {
					if (!pages_add(pages, child, index))
						return -1;
					ret = collect_below(child, pages);
					if (ret < 0)
						return ret;
				} else if (child->unsync) {
					ret = 1;
					if (!pages_add(pages, child, index))
						return -1;
				}
			}
			if (!ret)
				clear_unsync_child_bit(sp, index);
			leaves += ret;
		}
	}
	return leaves;
}

/* Collects a batch of what is unsync below @sp. False: nothing is. */
static bool unsync_walk(struct kvm *kvm, struct kvm_mmu_page *sp, struct kvm_mmu_pages *pages)
{
	unsigned int i;

	pages->nr = 0;
	if (!sp->unsync_children)
		return false;
	pages_add(pages, sp, -1);
	if (!collect_below(sp, pages))
		return false;
	for (i = 0; i < pages->nr; i++)
		trace_mmu(kvm, kvm_mmu_unsync_walk, i, pages->page[i].sp->role.level,
			  pages->page[i].sp->gfn, pages->nr);
	return true;
}

/* The next last-level page after the one at @i, or pages->nr; @path leads to it. */
static unsigned int pages_next(const struct kvm_mmu_pages *pages, struct mmu_page_path *path,
			       unsigned int i)
{
	for (i++; i < pages->nr; i++) {
		struct kvm_mmu_page *sp = pages->page[i].sp;
		int level = sp->role.level;

		path->index[level + 1] = pages->page[i].index;
		if (level == PG_LEVEL_4K)
			break;
		path->parent[level] = sp;
	}
	return i;
}

static unsigned int pages_first(const struct kvm_mmu_pages *pages, struct mmu_page_path *path)
{
	int level = pages->page[0].sp->role.level;

	path->parent[level] = pages->page[0].sp;
	/* Where clearing the way ends; all others are below. */
	path->parent[level + 1] = NULL;
	return pages_next(pages, path, 0);
}

#define for_each_unsync_sp(pages, path, sp, i)                                                    \
	for (i = pages_first(pages, path); i < (pages)->nr && ((sp = (pages)->page[i].sp), true); \
	     i = pages_next(pages, path, i))

/* Leaf @i of @pages, and the tables above it by level; 0: none of that level. */
static void trace_parents(struct kvm *kvm, const struct kvm_mmu_pages *pages,
			  const struct mmu_page_path *path, unsigned int i)
{
	int level, top = pages->page[0].sp->role.level;
	u64 gfn[PAGING_MAX_LEVEL + 1] = {0};

	for (level = 2; level <= top; level++)
		gfn[level] = path->parent[level]->gfn;
	trace_mmu(kvm, kvm_mmu_unsync_parents, i, pages->page[i].sp->role.level, gfn[2], gfn[3],
		  gfn[4], gfn[5]);
}

/*
 * The leaf at the end of @path is in sync: so is each page above it that has no other such
 * child.
 */
static void path_clear(struct mmu_page_path *path)
{
	int level;

	for (level = 2; path->parent[level]; level++) {
		clear_unsync_child_bit(path->parent[level], path->index[level]);
		if (path->parent[level]->unsync_children && !MUTANT(path_cleared_whole))
			break;
	}
}

int mmu_zap_unsync_children(struct kvm *kvm, struct kvm_mmu_page *parent, struct list *invalid_list)
{
	struct mmu_page_path path;
	struct kvm_mmu_pages pages;
	struct kvm_mmu_page *sp;
	unsigned int i;
	int zapped = 0;

	if (parent->role.level == PG_LEVEL_4K)
		return 0;
	while (unsync_walk(kvm, parent, &pages)) {
		for_each_unsync_sp(&pages, &path, sp, i)
		{
			trace_parents(kvm, &pages, &path, i);
			kvm_mmu_prepare_zap_page(kvm, sp, invalid_list);
			path_clear(&path);
			zapped++;
		}
	}
	return zapped;
}

/* --- following the guest's table ---------------------------------------------------------- */

bool shadow_read_guest(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int size, u64 *value)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa >> PAGE_SHIFT);

	*value = 0;
	if (!slot || (slot->flags & KVM_MEMSLOT_INVALID))
		return false;
	return hw_read(vcpu->kvm, gfn_to_hva(slot, gpa >> PAGE_SHIFT) + (gpa & (SZ_4K - 1)), value,
		       size);
}

bool sync_possible(const struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp)
{
	union kvm_mmu_page_role differs = {.word = sp->role.word ^ vcpu->mmu->root_role.word};

	/* What says where in the tables it is, and below what. */
	differs.level = 0;
	differs.access = 0;
	differs.quadrant = 0;
	differs.passthrough = 0;
	return !sp->role.direct && !differs.word;
}

bool sync_read_gpte(struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp, int index, u64 *gpte)
{
	unsigned int size = sp->role.has_4_byte_gpte ? 4 : 8;
	gpa_t gpa = sp->gfn << PAGE_SHIFT;

	if (sp->role.has_4_byte_gpte)
		index += sp->role.quadrant * SPTE_ENT_PER_PAGE;
	return shadow_read_guest(vcpu, gpa + (u64)index * size, size, gpte);
}

bool sync_gpte_valid(const struct kvm_vcpu *vcpu, u64 gpte)
{
	/* A is set by an access, which has to come first. */
	return is_present_gpte(vcpu->mmu, gpte) &&
	       (gpte_accessed(vcpu->mmu, gpte) || MUTANT(prefetch_ignores_accessed)) &&
	       (!is_rsvd_gpte(vcpu->mmu, gpte, PG_LEVEL_4K) || MUTANT(prefetch_ignores_reserved));
}

unsigned int sync_gpte_access(const struct kvm_vcpu *vcpu, const struct kvm_mmu_page *sp, u64 gpte)
{
	unsigned int access = (MUTANT(prefetch_ignores_parents) ? ACC_ALL : sp->role.access) &
			      gpte_access(vcpu->mmu, gpte);

	protect_clean_gpte(vcpu->mmu, &access, gpte);
	return access;
}

/* Entry *@sptep goes. Whether a flush is owed. */
static int sync_drop(struct kvm *kvm, u64 *sptep, u64 spte)
{
	if (!is_shadow_present_pte(spte)) {
		mmu_spte_clear_no_track(sptep);
		return 0;
	}
	drop_spte(kvm, sptep);
	return 1;
}

int sync_spte(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp, int index)
{
	const struct kvm *kvm = vcpu->kvm;
	u64 *sptep = &sp->spt[index];
	u64 spte = mmu_spte_get(sptep), gpte;
	struct kvm_memory_slot *slot;
	unsigned int access;
	gfn_t gfn;

	if (!sync_possible(vcpu, sp) || !sync_read_gpte(vcpu, sp, index, &gpte))
		return -1;
	if (!sync_gpte_valid(vcpu, gpte))
		return sync_drop(vcpu->kvm, sptep, spte);
	gfn = gpte_to_gfn(vcpu->mmu, gpte, PG_LEVEL_4K);
	access = sync_gpte_access(vcpu, sp, gpte);
	slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);

	if (is_mmio_spte(kvm, spte)) {
		/* It must not look newer than it is where there is memory by now. */
		if (gfn != get_mmio_spte_gfn(kvm, spte) || (slot && !MUTANT(sync_renews_mmio)))
			return sync_drop(vcpu->kvm, sptep, spte);
		mark_mmio_spte(vcpu, sptep, gfn, access);
		return 0;
	}
	if (!is_shadow_present_pte(spte))
		return sync_drop(vcpu->kvm, sptep, spte);
	/* EPT's entry without a right would be one that isn't present. */
	if (MUTANT(sync_keeps_gfn))
		gfn = kvm_mmu_page_get_gfn(sp, index);
	if (gfn != kvm_mmu_page_get_gfn(sp, index) || !slot ||
	    (slot->flags & KVM_MEMSLOT_INVALID) || (!access && spte_format(kvm)->ept))
		return sync_drop(vcpu->kvm, sptep, spte);
	/* A and D of the guest's entry are set, as far as the SPTE relies on it. */
	if (access == kvm_mmu_page_get_access(sp, index) || MUTANT(sync_keeps_rights))
		return 0;

	kvm_mmu_page_set_translation(sp, index, gfn, access);
	/* Nobody has written the page for that: the log shall not say so. */
	if (slot_logs_dirty(slot) && !is_writable_pte(spte))
		access &= ~ACC_WRITE;
	make_spte(vcpu->kvm, vcpu, sp, slot, access, gfn, spte_to_hpa(spte), spte, true, false,
		  is_host_writable_pte(spte), &spte);
	return mmu_spte_update(sptep, spte, kvm);
}

/* All of @sp follows: as sync_spte(); negative: it can't, and has been zapped. */
static int sync_page(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp, struct list *invalid_list)
{
	int flush = 0, ret, i;

	for (i = 0; i < SPTE_ENT_PER_PAGE; i++) {
		if (!mmu_spte_get(&sp->spt[i]))
			continue;
		ret = sync_spte(vcpu, sp, i);
		if (ret < 0) {
			kvm_mmu_prepare_zap_page(vcpu->kvm, sp, invalid_list);
			return ret;
		}
		flush |= ret;
	}
	return flush;
}

bool mmu_sync_page_if_needed(struct kvm_vcpu *vcpu, struct kvm_mmu_page *sp,
			     struct list *invalid_list)
{
	int ret;

	/* It stays writable and marked: that costs nothing until the guest flushes. */
	if (!sp->unsync)
		return true;
	ret = sync_page(vcpu, sp, invalid_list);
	if (ret < 0)
		return false;
	if (ret)
		hw_flush_remote(vcpu->kvm);
	return true;
}

/* From now on the guest's writes to @gfn trap, by whichever address space they come. */
static bool protect_gfn(struct kvm *kvm, gfn_t gfn)
{
	bool flush = false;
	int i;

	for (i = 0; i < KVM_ADDRESS_SPACES; i++) {
		struct kvm_memslots *slots = kvm_memslots(kvm, i);
		struct kvm_memory_slot *slot = slots ? gfn_to_memslot(slots, gfn) : NULL;

		if (slot && !MUTANT(sync_forgets_protection))
			flush |= kvm_mmu_slot_gfn_write_protect(kvm, slot, gfn, PG_LEVEL_4K);
	}
	return flush;
}

static void sync_children(struct kvm_vcpu *vcpu, struct kvm_mmu_page *parent, bool can_yield)
{
	struct kvm *kvm = vcpu->kvm;
	struct mmu_page_path path;
	struct kvm_mmu_pages pages;
	struct kvm_mmu_page *sp;
	struct list invalid_list;
	bool flush = false;
	unsigned int i;

	list_init(&invalid_list);
	while (unsync_walk(kvm, parent, &pages)) {
		bool protected = false;

		/* All of them, and in all TLBs, before the first is read. */
		for_each_unsync_sp(&pages, &path, sp, i) protected |= protect_gfn(kvm, sp->gfn);
		if (protected && !MUTANT(sync_protects_without_flush)) {
			hw_yield_point(kvm, "unsync pages protected");
			kvm_mmu_remote_flush_or_zap(kvm, &invalid_list, true);
			flush = false;
		}
		for_each_unsync_sp(&pages, &path, sp, i)
		{
			trace_parents(kvm, &pages, &path, i);
			kvm_unlink_unsync_page(kvm, sp);
			flush |= sync_page(vcpu, sp, &invalid_list) > 0 &&
				 !MUTANT(sync_change_without_flush);
			path_clear(&path);
		}
		if (MUTANT(sync_first_batch_only))
			break;
		if (can_yield && hw_lock_contended(kvm)) {
			kvm_mmu_remote_flush_or_zap(kvm, &invalid_list, flush);
			flush = false;
			hw_write_unlock(kvm);
			hw_yield_point(kvm, "sync");
			hw_write_lock(kvm);
		}
	}
	kvm_mmu_remote_flush_or_zap(kvm, &invalid_list, flush);
}

void mmu_sync_children(struct kvm_vcpu *vcpu, struct kvm_mmu_page *parent)
{
	sync_children(vcpu, parent, false);
}

/* --- the guest's flushes ------------------------------------------------------------------- */

bool is_unsync_root(hpa_t root)
{
	struct kvm_mmu_page *sp = root_to_sp(root);

	return sp && (sp_unsync(sp) || __atomic_load_n(&sp->unsync_children, __ATOMIC_ACQUIRE));
}

/* @root stays where it is: the vCPU counts as its user. */
static void sync_root(struct kvm_vcpu *vcpu, hpa_t root)
{
	if (!is_unsync_root(root))
		return;
	hw_yield_point(vcpu->kvm, "sync root");
	hw_write_lock(vcpu->kvm);
	sync_children(vcpu, root_to_sp(root), true);
	hw_write_unlock(vcpu->kvm);
}

void kvm_mmu_sync_roots(struct kvm_vcpu *vcpu)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	int i;

	if (mmu->root_role.direct || mmu->root.hpa == INVALID_PAGE)
		return;
	vcpu->mmio_gva = MMIO_GVA_NONE;
	if (mmu->cpu_role.base.level >= 4) {
		sync_root(vcpu, mmu->root.hpa);
		return;
	}
	for (i = 0; mmu->pae_root && i < 4; i++)
		if (mmu->pae_root[i] & PTE_P)
			sync_root(vcpu, mmu->pae_root[i] & SPTE_PTE_ADDR_MASK);
}

void kvm_mmu_sync_prev_roots(struct kvm_vcpu *vcpu)
{
	u64 roots = 0;
	int i;

	for (i = 0; i < KVM_PREV_ROOTS; i++)
		if (is_unsync_root(vcpu->mmu->prev_roots[i].hpa))
			roots |= KVM_MMU_ROOT_PREVIOUS(i);
	/* They are found again by their frame, and synchronised when they are loaded. */
	if (roots)
		kvm_mmu_free_roots(vcpu->kvm, vcpu->mmu, roots);
}
