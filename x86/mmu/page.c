// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shadow pages as objects: made from what a vCPU has in stock, found again by the guest
 * table's frame and the role, and what it means for a frame of the guest to be a table that
 * is shadowed: writes to it have to be seen.
 */
#include "x86/mmu/rmap.h"

/* --- what an entry translates ------------------------------------------------------------ */

gfn_t kvm_mmu_page_get_gfn(struct kvm_mmu_page *sp, int index)
{
	if (sp->role.passthrough)
		return sp->gfn;
	if (sp->shadowed_translation)
		return __atomic_load_n(&sp->shadowed_translation[index], __ATOMIC_RELAXED) >>
		       PAGE_SHIFT;
	return sp->gfn + index * KVM_PAGES_PER(sp->role.level);
}

unsigned int kvm_mmu_page_get_access(struct kvm_mmu_page *sp, int index)
{
	if (sp_has_gptes(sp))
		return __atomic_load_n(&sp->shadowed_translation[index], __ATOMIC_RELAXED) &
		       ACC_ALL;
	return sp->role.access;
}

void kvm_mmu_page_set_translation(struct kvm_mmu_page *sp, int index, gfn_t gfn,
				  unsigned int access)
{
	if (sp_has_gptes(sp))
		__atomic_store_n(&sp->shadowed_translation[index], gfn << PAGE_SHIFT | access,
				 __ATOMIC_RELAXED);
	else
		MMU_BUG_ON(gfn != kvm_mmu_page_get_gfn(sp, index));
}

/* --- write tracking ---------------------------------------------------------------------- */

bool kvm_gfn_is_write_tracked(const struct kvm_memory_slot *slot, gfn_t gfn)
{
	const u16 *track;

	if (!slot)
		return false;
	track = __atomic_load_n(&slot->arch.gfn_write_track, __ATOMIC_ACQUIRE);
	return track &&
	       __atomic_load_n(&track[slot_index(slot, gfn, PG_LEVEL_4K)], __ATOMIC_ACQUIRE);
}

static void update_write_track(struct kvm_memory_slot *slot, gfn_t gfn, int count)
{
	u16 *track;

	/* As with rmaps: a slot that was made just while they were being allocated. */
	if (!slot->arch.gfn_write_track && kvm_mmu_alloc_write_track(slot))
		hw_bug(__FILE__, __LINE__, "no memory for a slot's write tracking");
	track = &slot->arch.gfn_write_track[slot_index(slot, gfn, PG_LEVEL_4K)];
	MMU_BUG_ON(*track + count < 0 || *track + count > 0xffff);
	__atomic_store_n(track, *track + count, __ATOMIC_RELEASE);
}

void kvm_write_track_add_gfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn)
{
	hw_assert_write_locked(kvm);
	update_write_track(slot, gfn, 1);
	/* A huge page over it would have to be read-only as a whole. */
	kvm_mmu_gfn_disallow_lpage(slot, gfn, 1);
	if (!MUTANT(upper_table_not_protected) &&
	    kvm_mmu_slot_gfn_write_protect(kvm, slot, gfn, PG_LEVEL_4K))
		hw_flush_remote(kvm);
}

void kvm_write_track_remove_gfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn)
{
	hw_assert_write_locked(kvm);
	update_write_track(slot, gfn, -1);
	kvm_mmu_gfn_disallow_lpage(slot, gfn, -1);
}

/* @gfn of @slot holds a table of @level that is shadowed, once more than before. */
static void watch_table(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn, int level)
{
	if (level > PG_LEVEL_4K) {
		kvm_write_track_add_gfn(kvm, slot, gfn);
		return;
	}
	if (!MUTANT(table_below_huge_page))
		kvm_mmu_gfn_disallow_lpage(slot, gfn, 1);
	if (!MUTANT(table_not_protected) &&
	    kvm_mmu_slot_gfn_write_protect(kvm, slot, gfn, PG_LEVEL_4K) &&
	    !MUTANT(table_protected_without_flush))
		hw_flush_remote_range(kvm, gfn, 1);
}

static void unwatch_table(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn, int level)
{
	if (level > PG_LEVEL_4K)
		kvm_write_track_remove_gfn(kvm, slot, gfn);
	else if (!MUTANT(table_below_huge_page) && !MUTANT(disallow_never_undone))
		kvm_mmu_gfn_disallow_lpage(slot, gfn, -1);
}

/*
 * A table of an upper level is tracked: each write to it is emulated. One of the last level is
 * merely write-protected, as the first write may make it unsync instead. In all address spaces,
 * as the guest may write to it by either.
 *
 * A slot may be missing: in the other space, or because the hypervisor takes it from memslots
 * before its pages are zapped. When a slot goes, all shadow pages do before another takes its
 * place; but one may come, so sp->watched says where there is something to undo.
 */
void account_shadowed(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	struct kvm_memory_slot *slot;
	int i;

	/*
	 * Whoever emulates a write to this frame either sees the counter, or has written before the
	 * table is read to be shadowed. See kvm_mmu_track_write().
	 */
	__atomic_fetch_add(&kvm->arch.indirect_shadow_pages, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < KVM_ADDRESS_SPACES; i++) {
		slot = gfn_to_slot_of_as(kvm, i, sp->gfn);
		if (!slot || (MUTANT(track_one_space) && (unsigned int)i != sp->role.smm))
			continue;
		watch_table(kvm, slot, sp->gfn, sp->role.level);
		sp->watched |= BIT(i);
	}
}

void kvm_mmu_slot_added(struct kvm *kvm, struct kvm_memory_slot *slot)
{
	struct kvm_mmu_page *sp;

	if (!__atomic_load_n(&kvm->arch.indirect_shadow_pages, __ATOMIC_ACQUIRE))
		return;
	hw_write_lock(kvm);
	list_for_each(sp, &kvm->arch.active_mmu_pages, link)
	{
		if (!sp_has_gptes(sp) || sp->gfn - slot->base_gfn >= slot->npages ||
		    sp->watched & BIT(slot->as_id))
			continue;
		watch_table(kvm, slot, sp->gfn, sp->role.level);
		sp->watched |= BIT(slot->as_id);
	}
	hw_write_unlock(kvm);
}

void unaccount_shadowed(struct kvm *kvm, struct kvm_mmu_page *sp)
{
	struct kvm_memory_slot *slot;
	int i;

	MMU_BUG_ON(!kvm->arch.indirect_shadow_pages);
	__atomic_fetch_sub(&kvm->arch.indirect_shadow_pages, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < KVM_ADDRESS_SPACES; i++) {
		slot = sp->watched & BIT(i) ? gfn_to_slot_of_as(kvm, i, sp->gfn) : NULL;
		if (slot)
			unwatch_table(kvm, slot, sp->gfn, sp->role.level);
	}
	sp->watched = 0;
}

static int alloc_all_rmaps(struct kvm *kvm)
{
	struct kvm_memslots *slots;
	unsigned int as_id, i;
	int r;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACES; as_id++) {
		slots = kvm_memslots(kvm, as_id);
		for (i = 0; slots && i < slots->nr; i++) {
			r = kvm_mmu_alloc_rmaps(slots->slot[i]);
			if (!r)
				r = kvm_mmu_alloc_write_track(slots->slot[i]);
			if (r)
				return r;
		}
	}
	/* Rmaps are looked at only by those who see this. */
	__atomic_store_n(&kvm->arch.shadow_root_allocated, true, __ATOMIC_RELEASE);
	return 0;
}

int mmu_first_shadow_root_alloc(struct kvm *kvm)
{
	int r;

	if (__atomic_load_n(&kvm->arch.shadow_root_allocated, __ATOMIC_ACQUIRE))
		return 0;
	hw_spin_lock(&kvm->arch.slots_arch_lock);
	r = alloc_all_rmaps(kvm);
	hw_spin_unlock(&kvm->arch.slots_arch_lock);
	return r;
}

/* --- making and finding ------------------------------------------------------------------ */

/* The objects of a page, none or all. */
static struct kvm_mmu_page *alloc_objects(struct kvm_vcpu *vcpu, bool direct)
{
	struct kvm_mmu_page *sp;

	if (vcpu) {
		sp = kvm_mmu_memory_cache_alloc(&vcpu->page_header_cache);
		sp->spt = kvm_mmu_memory_cache_alloc(&vcpu->shadow_page_cache);
		if (!direct)
			sp->shadowed_translation =
				kvm_mmu_memory_cache_alloc(&vcpu->shadowed_info_cache);
		return sp;
	}
	MMU_BUG_ON(!direct);
	sp = hw_alloc(sizeof(*sp));
	if (!sp)
		return NULL;
	sp->spt = hw_table_alloc(false);
	if (!sp->spt) {
		hw_free(sp);
		return NULL;
	}
	return sp;
}

struct kvm_mmu_page *mmu_alloc_shadow_page(struct kvm *kvm, struct kvm_vcpu *vcpu, gfn_t gfn,
					   union kvm_mmu_page_role role)
{
	struct kvm_mmu_page *sp = alloc_objects(vcpu, role.direct);

	if (!sp)
		return NULL;
	sp->gfn = gfn;
	sp->role = role;
	sp->mmu_valid_gen = kvm->arch.mmu_valid_gen;
	list_init(&sp->possible_nx_huge_page_link);
	__atomic_store_n(hw_table_owner(sp->spt), sp, __ATOMIC_RELEASE);
	/*
	 * The newest is first: whoever looks for the oldest, or the obsolete ones, begins at the
	 * end.
	 */
	if (MUTANT(new_pages_at_wrong_end))
		list_add_tail(&sp->link, &kvm->arch.active_mmu_pages);
	else
		list_add(&sp->link, &kvm->arch.active_mmu_pages);
	list_add(&sp->hash_link, kvm_page_hash(kvm, gfn));
	kvm->arch.n_used_mmu_pages++;
	if (sp_has_gptes(sp))
		account_shadowed(kvm, sp);
	return sp;
}

/*
 * The page of @gfn and @role, or NULL. With @vcpu an unsync one is brought up to date; one that
 * can't be is zapped, and counts as not found.
 */
static struct kvm_mmu_page *find_shadow_page(struct kvm *kvm, struct kvm_vcpu *vcpu, gfn_t gfn,
					     union kvm_mmu_page_role role)
{
	struct kvm_mmu_page *sp, *found = NULL;
	u64 collisions = 0;
	struct list invalid;

	list_init(&invalid);
	list_for_each(sp, kvm_page_hash(kvm, gfn), hash_link)
	{
		if (sp->role.invalid || (is_obsolete_sp(kvm, sp) && !MUTANT(obsolete_page_found)))
			continue;
		if (sp->gfn != gfn) {
			collisions++;
			continue;
		}
		if (sp->role.word != role.word) {
			/*
			 * As an upper table writes to it are tracked, so that no shadow of it may
			 * be out of sync; as it is used differently now, the old one had better go.
			 */
			if (role.level > PG_LEVEL_4K && sp->unsync)
				kvm_mmu_prepare_zap_page(kvm, sp, &invalid);
			continue;
		}
		if (!role.direct) {
			if (sp->unsync && !MUTANT(reuse_skips_sync) &&
			    !mmu_sync_page_if_needed(vcpu, sp, &invalid))
				break;
			__atomic_store_n(&sp->write_flooding_count, 0, __ATOMIC_RELAXED);
		}
		found = sp;
		break;
	}
	if (!found)
		vm_stat_add(kvm, mmu_cache_miss, 1);
	kvm_mmu_commit_zap_page(kvm, &invalid);
	if (collisions > kvm->stat.max_mmu_page_hash_collisions)
		__atomic_store_n(&kvm->stat.max_mmu_page_hash_collisions, collisions,
				 __ATOMIC_RELAXED);
	return found;
}

static struct kvm_mmu_page *get_shadow_page(struct kvm *kvm, struct kvm_vcpu *vcpu, gfn_t gfn,
					    union kvm_mmu_page_role role)
{
	struct kvm_mmu_page *sp;
	bool created = false;

	hw_assert_write_locked(kvm);
	sp = find_shadow_page(kvm, vcpu, gfn, role);
	if (!sp) {
		sp = mmu_alloc_shadow_page(kvm, vcpu, gfn, role);
		created = true;
	}
	if (sp)
		trace_mmu(kvm, kvm_mmu_get_page, gfn, role.word, created);
	return sp;
}

struct kvm_mmu_page *kvm_mmu_get_shadow_page(struct kvm_vcpu *vcpu, gfn_t gfn,
					     union kvm_mmu_page_role role)
{
	return get_shadow_page(vcpu->kvm, vcpu, gfn, role);
}

struct kvm_mmu_page *mmu_get_direct_sp(struct kvm *kvm, gfn_t gfn, union kvm_mmu_page_role role)
{
	MMU_BUG_ON(!role.direct);
	return get_shadow_page(kvm, NULL, gfn, role);
}

union kvm_mmu_page_role kvm_mmu_child_role(u64 *sptep, bool direct, unsigned int access)
{
	union kvm_mmu_page_role role = sptep_to_sp(sptep)->role;

	role.level--;
	role.access = MUTANT(role_without_access) ? ACC_ALL : access;
	role.direct = direct;
	role.passthrough = 0;
	if (MUTANT(direct_page_without_access) && direct)
		role.access = ACC_ALL;
	/*
	 * A 4-byte table has 1024 entries: a directory is shadowed by four pages, one for each GiB,
	 * told apart by the root's quadrant; a table by two. The 4 MiB entry of the guest is two of
	 * the shadow: even and odd ones lead to the lower and the upper half.
	 */
	if (role.has_4_byte_gpte) {
		MMU_BUG_ON(role.level != PG_LEVEL_4K);
		role.quadrant = spte_index(sptep) & !MUTANT(role_without_quadrant);
	}
	return role;
}

struct kvm_mmu_page *kvm_mmu_get_child_sp(struct kvm_vcpu *vcpu, u64 *sptep, gfn_t gfn, bool direct,
					  unsigned int access)
{
	union kvm_mmu_page_role role = kvm_mmu_child_role(sptep, direct, access);
	u64 spte = mmu_spte_get(sptep);
	struct kvm_mmu_page *child;

	if (is_shadow_present_pte(spte) && !is_large_pte(spte)) {
		child = spte_to_child_sp(spte);
		if (child->gfn == gfn && child->role.word == role.word)
			return NULL;
		/*
		 * The guest's entry has changed its table or its meaning, unseen: while its own
		 * table was out of sync, while the vCPU was on its way here, or by a write behind
		 * the guest's back. What is made by the new meaning doesn't belong into the old
		 * table.
		 */
		drop_parent_pte(vcpu->kvm, child, sptep);
		hw_yield_point(vcpu->kvm, "child replaced");
		hw_flush_remote(vcpu->kvm);
	}
	return kvm_mmu_get_shadow_page(vcpu, gfn, role);
}

hpa_t mmu_alloc_root(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned int quadrant, int level)
{
	union kvm_mmu_page_role role = vcpu->mmu->root_role;
	struct kvm_mmu_page *sp;

	MMU_BUG_ON(quadrant && !role.has_4_byte_gpte);
	role.level = level;
	role.quadrant = quadrant;
	sp = kvm_mmu_get_shadow_page(vcpu, gfn, role);
	sp->root_count++;
	return hw_hpa(sp->spt);
}

/* --- the end ----------------------------------------------------------------------------- */

static void free_shadow_page(void *arg)
{
	struct kvm_mmu_page *sp = arg;

	hw_table_free(sp->spt);
	hw_free(sp->shadowed_translation);
	hw_free(sp);
}

void mmu_free_shadow_pages(struct kvm *kvm, struct list *pages)
{
	struct kvm_mmu_page *sp, *next;

	list_for_each_safe(sp, next, pages, link)
	{
		MMU_BUG_ON(!sp->role.invalid || sp->root_count || sp->parent_ptes.val);
		list_del(&sp->hash_link);
		list_del(&sp->link);
		/* A vCPU that walks tables without mmu_lock may be in this one still. */
		hw_rcu_defer(kvm, free_shadow_page, sp);
	}
}
