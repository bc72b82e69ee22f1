// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor's look at shadow pages: that lists, hash, owners, parents and reverse maps agree
 * with what entries point to, and that what is said of unsync pages above them is so.
 */
#include "x86/mmu/check.h"

/*
 * Slots up to this size have all their reverse maps looked at; of others those that lead to an
 * SPTE.
 */
#define FULL_RMAP_FRAMES (1u << 14)

static bool list_has(const struct kvm_rmap_head *head, const u64 *sptep)
{
	struct rmap_iterator iter;
	u64 *p;

	for_each_rmap_spte(head, &iter, p)
	{
		if (p == sptep)
			return true;
	}
	return false;
}

#define PAGES_BEYOND 16 /* more than a fault may make, and than are found when the limit falls */

/* --- finding them -------------------------------------------------------------------------- */

static void collect(struct check *c, struct kvm_mmu_page *sp)
{
	if (!check_set_add(c, &c->pages, sp))
		return;
	check_page_not(c, sp->tdp_mmu_page, sp, "a TDP page among shadow pages");
	check_page_not(c, *hw_table_owner(sp->spt) != sp, sp, "its table belongs to another page");
}

void check_shadow_collect(struct check *c)
{
	struct kvm_mmu_arch *arch = &c->kvm->arch;
	u64 active = 0, in_hash = 0, roots_zapped = 0, doomed = 0, in_use = 0;
	struct kvm_mmu_page *sp;
	bool obsolete = false;
	unsigned int i;

	if (!arch->page_hash)
		return;
	list_for_each(sp, &arch->active_mmu_pages, link)
	{
		collect(c, sp);
		active++;
		in_use += sp->root_count > 0;
		check_page_not(c, sp->role.invalid, sp, "invalid, but active");
		/* Who looks for the oldest begins at the end. */
		check_page_not(c, obsolete && !is_obsolete_sp(c->kvm, sp), sp,
			       "behind pages of an older generation");
		obsolete |= is_obsolete_sp(c->kvm, sp);
	}
	list_for_each(sp, &arch->zapped_obsolete_pages, link)
	{
		collect(c, sp);
		doomed++;
	}
	/* Nobody has a page that isn't counted. */
	for (i = 0; i < KVM_MMU_HASH_SIZE && (active || doomed || arch->n_used_mmu_pages); i++) {
		list_for_each(sp, &arch->page_hash[i], hash_link)
		{
			in_hash++;
			check_page_not(c, kvm_page_hash(c->kvm, sp->gfn) != &arch->page_hash[i], sp,
				       "in another bucket of the hash");
			if (!check_set_has(&c->pages, sp)) {
				check_page_not(c, !sp->role.invalid || !sp->root_count, sp,
					       "in the hash only");
				collect(c, sp);
				roots_zapped++;
			}
		}
	}
	c->work += i;
	check_values(c, "shadow pages in the hash", in_hash, active + doomed + roots_zapped);
	check_values(c, "n_used_mmu_pages", arch->n_used_mmu_pages, active + roots_zapped);
	/* No hard limit: roots in use stay, and a fault may go beyond it by its tables. */
	if (active - in_use > arch->n_max_mmu_pages + PAGES_BEYOND)
		check_report(c, "more shadow pages than the limit allows");
}

/* --- what slots know of huge pages -------------------------------------------------------- */

/* Reasons against huge pages of @level in @slot that it has for good, as x86/mmu/memslot.c finds them. */
static u64 reasons_for_good(const struct kvm_memory_slot *slot, int level)
{
	u64 mask = KVM_PAGES_PER(level) - 1, n;
	gfn_t end = slot->base_gfn + slot->npages;

	n = slot_index(slot, end - 1, level) + 1;
	if ((slot->base_gfn ^ (slot->hva >> PAGE_SHIFT)) & mask)
		return n;
	if (n == 1)
		return slot->base_gfn & mask || end & mask;
	return !!(slot->base_gfn & mask) + !!(end & mask);
}

/* Tables that are shadowed, or written to by way of the slot, are the others. */
static void check_lpage_counts(struct check *c, const struct kvm_memory_slot *slot)
{
	u64 reasons = reasons_for_good(slot, PG_LEVEL_2M), told = 0, i;
	gfn_t last = slot->base_gfn + slot->npages - 1;

	if (!slot->arch.lpage_info[PG_LEVEL_2M - 1])
		return;
	for (i = 0; i <= slot_index(slot, last, PG_LEVEL_2M); i++)
		told += slot->arch.lpage_info[PG_LEVEL_2M - 1][i].disallow_lpage;
	for (i = 0; i < c->pages.size; i++) {
		const struct kvm_mmu_page *sp = c->pages.slot[i];

		if (!sp || sp->tdp_mmu_page)
			continue;
		/* The slot may be newer than the page. */
		if (is_obsolete_sp(c->kvm, sp))
			return;
		if (!sp->role.invalid && sp_has_gptes(sp) && sp->watched & BIT(slot->as_id) &&
		    sp->gfn >= slot->base_gfn && sp->gfn <= last)
			reasons++;
	}
	check_values(c, "reasons against huge pages in a slot", told, reasons);
}

/* --- a page by itself --------------------------------------------------------------------- */

/* What the slot of address space @as_id must know of the guest's table behind @sp. */
static void check_accounted(struct check *c, struct kvm_mmu_page *sp, int as_id)
{
	struct kvm_memory_slot *slot = gfn_to_slot_of_as(c->kvm, as_id, sp->gfn);
	int tracks = 0, watches = 0, level;
	struct kvm_mmu_page *other;

	if (!slot)
		return;
	list_for_each(other, kvm_page_hash(c->kvm, sp->gfn), hash_link)
	{
		if (other->gfn != sp->gfn || other->role.invalid || !sp_has_gptes(other) ||
		    !(other->watched & BIT(as_id)))
			continue;
		watches++;
		tracks += other->role.level > PG_LEVEL_4K;
	}
	check_page_not(c,
		       (slot->arch.gfn_write_track
				? slot->arch.gfn_write_track[slot_index(slot, sp->gfn, PG_LEVEL_4K)]
				: 0) != tracks,
		       sp, "write tracking counts wrongly");
	for (level = PG_LEVEL_2M; level <= KVM_NR_PAGE_SIZES; level++)
		check_page_not(c,
			       slot->arch.lpage_info[level - 1][slot_index(slot, sp->gfn, level)]
					       .disallow_lpage < watches,
			       sp, "lpage_info lacks the table as a reason");
}

static void check_parents(struct check *c, struct kvm_mmu_page *sp)
{
	struct rmap_iterator iter;
	u64 *parent, spte;

	for_each_rmap_spte(&sp->parent_ptes, &iter, parent)
	{
		struct kvm_mmu_page *owner = sptep_to_sp(parent);

		if (!check_set_has(&c->pages, owner)) {
			check_report_page(c, sp, "a parent entry that is in no page");
			continue;
		}
		spte = mmu_spte_get(parent);
		check_entry_not(c,
				!is_shadow_present_pte(spte) ||
					is_last_spte(spte, owner->role.level) ||
					spte_to_hpa(spte) != hw_hpa(sp->spt),
				owner, spte_index(parent), spte,
				"a child has it as parent, but it does not point there");
	}
}

static void check_unsync(struct check *c, struct kvm_mmu_page *sp)
{
	unsigned int i, bits = 0;

	for (i = 0; i < ARRAY_LEN(sp->unsync_child_bitmap); i++)
		bits += __builtin_popcountll(sp->unsync_child_bitmap[i]);
	check_page_not(c, bits != sp->unsync_children, sp,
		       "unsync_children is not how many bits are set");
	if (!sp->unsync)
		return;
	c->unsync++;
	check_page_not(c, sp->role.level != PG_LEVEL_4K || !sp_has_gptes(sp), sp,
		       "unsync, but no guest's last-level table");
}

static void check_page(struct check *c, struct kvm_mmu_page *sp, bool live)
{
	struct kvm_mmu_page *other;
	int as_id;

	check_page_not(c, sp->role.level < 1 || sp->role.level > PAGING_MAX_LEVEL, sp,
		       "no such level");
	check_page_not(c, sp->role.direct && sp->gfn & (KVM_PAGES_PER(sp->role.level + 1) - 1), sp,
		       "direct, but not aligned to what it spans");
	check_page_not(c, !sp->role.direct && !sp->shadowed_translation, sp,
		       "indirect, without translations");
	check_page_not(c, sp->role.invalid && sp->parent_ptes.val, sp, "invalid, but linked");
	check_parents(c, sp);
	check_unsync(c, sp);
	if (sp->nx_huge_page_disallowed)
		c->nx_disallowed++;
	check_page_not(c, sp->nx_huge_page_possible && list_empty(&sp->possible_nx_huge_page_link),
		       sp,
		       "a fetch split a huge page for it, and it is not on possible_nx_huge_pages");
	if (!sp->role.invalid && sp_has_gptes(sp)) {
		c->indirect++;
		for (as_id = 0; c->slots_stable && as_id < KVM_ADDRESS_SPACES; as_id++)
			check_accounted(c, sp, as_id);
	}
	if (!live)
		return;
	list_for_each(other, kvm_page_hash(c->kvm, sp->gfn), hash_link)
	{
		check_page_not(c,
			       other != sp && other->gfn == sp->gfn &&
				       other->role.word == sp->role.word &&
				       !is_obsolete_sp(c->kvm, other),
			       sp, "there are two of it");
	}
}

/* --- its entries -------------------------------------------------------------------------- */

static void check_child(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte)
{
	struct kvm_mmu_page *child = spte_to_child_sp(spte);
	unsigned int access = sp->role.access;

	if (!check_set_has(&c->pages, child) || child->tdp_mmu_page) {
		check_report_entry(c, sp, index, spte, "points to what is no shadow page");
		return;
	}
	/* A large page that the kernel writes though it is read-only: CR0.WP is clear. */
	if (child->role.direct && !child->role.cr0_wp)
		access |= ACC_WRITE;
	check_entry_not(c, !list_has(&child->parent_ptes, &sp->spt[index]), sp, index, spte,
			"the child does not know this parent");
	check_entry_not(c,
			child->role.level + 1 != sp->role.level ||
				child->role.smm != sp->role.smm ||
				child->role.guest_mode != sp->role.guest_mode ||
				child->role.ad_disabled != sp->role.ad_disabled ||
				child->role.invalid || child->role.access & ~access,
			sp, index, spte, "the child's role does not belong here");
	check_entry_not(c, sp->role.direct && child->gfn != kvm_mmu_page_get_gfn(sp, index), sp,
			index, spte, "the child maps other frames");
	check_entry_not(c,
			(child->unsync || child->unsync_children) &&
				!(sp->unsync_child_bitmap[index / 64] & BIT(index % 64)),
			sp, index, spte, "unsync pages below, but its bit is clear");
}

static void check_rmap(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte)
{
	gfn_t gfn = kvm_mmu_page_get_gfn(sp, index);
	struct kvm_memory_slot *slot = gfn_to_slot_of_as(c->kvm, sp->role.smm, gfn);
	struct kvm_rmap_head *head;

	if (!slot)
		return;
	head = gfn_to_rmap(slot, gfn, sp->role.level);
	check_entry_not(c, !head || !list_has(head, &sp->spt[index]), sp, index, spte,
			"not in its frame's rmap");
}

static void check_page_entries(struct check *c, struct kvm_mmu_page *sp, bool live)
{
	bool in_sync = live && c->slots_stable && sp_has_gptes(sp) && !sp->unsync;
	struct check_guest guest;
	u64 spte, i;

	if (in_sync)
		check_guest_begin(c, &guest, sp);
	c->work += CHECK_WORK_TABLE;
	for_each_used(i, sp->spt, SPTE_ENT_PER_PAGE)
	{
		spte = mmu_spte_get(&sp->spt[i]);
		if (sp->role.invalid) {
			check_report_entry(c, sp, i, spte, "in a page that was zapped");
			continue;
		}
		check_entry(c, sp, i, spte, live);
		if (!is_shadow_present_pte(spte))
			continue;
		if (!is_last_spte(spte, sp->role.level))
			check_child(c, sp, i, spte);
		else if (c->slots_stable)
			check_rmap(c, sp, i, spte);
		if (in_sync)
			check_guest_entry(c, &guest, i, spte);
	}
}

/* --- reverse maps, seen from the slot ----------------------------------------------------- */

static void check_rmap_list(struct check *c, const struct kvm_memory_slot *slot,
			    struct kvm_rmap_head *head, int level, u64 index)
{
	u64 frame = (slot->base_gfn >> (9 * (level - 1))) + index;
	struct rmap_iterator iter;
	unsigned int n = 0;
	u64 *sptep, spte;

	for_each_rmap_spte(head, &iter, sptep)
	{
		struct kvm_mmu_page *sp = sptep_to_sp(sptep);

		n++;
		if (!check_set_has(&c->pages, sp)) {
			check_report(c, "an rmap has an SPTE that is in no page");
			return;
		}
		spte = mmu_spte_get(sptep);
		check_entry_not(
			c,
			!is_shadow_present_pte(spte) || !is_last_spte(spte, sp->role.level) ||
				sp->role.level != (unsigned int)level ||
				sp->role.smm != slot->as_id ||
				kvm_mmu_page_get_gfn(sp, spte_index(sptep)) >> (9 * (level - 1)) !=
					frame,
			sp, spte_index(sptep), spte, "in the rmap of a frame that it does not map");
	}
	check_values(c, "an rmap's count", pte_list_count(head), n);
}

static void check_slot_rmaps(struct check *c, const struct kvm_memory_slot *slot)
{
	gfn_t last = slot->base_gfn + slot->npages - 1;
	int level;
	u64 i, n;

	for (level = PG_LEVEL_4K; level <= KVM_NR_PAGE_SIZES; level++) {
		struct kvm_rmap_head *heads = slot->arch.rmap[level - 1];

		if (!heads || (level == PG_LEVEL_4K && slot->npages > FULL_RMAP_FRAMES))
			continue;
		n = slot_index(slot, last, level) + 1;
		c->work += n;
		for_each_used(i, &heads->val, n)
		{
			check_rmap_list(c, slot, &heads[i], level, i);
		}
	}
}

void check_shadow(struct check *c)
{
	unsigned int as_id, s;
	size_t i;

	for (i = 0; i < c->pages.size; i++) {
		struct kvm_mmu_page *sp = (struct kvm_mmu_page *)c->pages.slot[i];
		bool live;

		if (!sp || sp->tdp_mmu_page)
			continue;
		live = !is_obsolete_sp(c->kvm, sp);
		check_page(c, sp, live);
		check_page_entries(c, sp, live);
	}
	for (as_id = 0; c->slots_stable && as_id < KVM_ADDRESS_SPACES; as_id++) {
		struct kvm_memslots *slots = kvm_memslots(c->kvm, as_id);

		for (s = 0; slots && s < slots->nr; s++) {
			check_slot_rmaps(c, slots->slot[s]);
			check_lpage_counts(c, slots->slot[s]);
		}
	}
}
