// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor: compares everything that the MMU knows in two places, and what it made with what
 * it was made from. It changes nothing. This file: the run of a check, what is told of it, single
 * entries, and the VM's counters.
 */
#include "x86/mmu/check.h"

#include "x86/mmu/text.h"

#define LINE 320

/* --- sets ---------------------------------------------------------------------------- */

static size_t set_place(const struct check_set *s, const void *p)
{
	size_t i = ((u64)p >> 4) * 0x9e3779b97f4a7c15ull >> 32;

	for (i &= s->size - 1; s->slot[i] != NULL && s->slot[i] != p; i = (i + 1) & (s->size - 1))
		;
	return i;
}

static bool set_grow(struct check *c, struct check_set *s)
{
	struct check_set bigger = {.size = s->size ? 2 * s->size : 256};
	size_t i;

	bigger.slot = hw_alloc(bigger.size * sizeof(*bigger.slot));
	if (bigger.slot == NULL) {
		c->no_memory = true;
		return false;
	}
	for (i = 0; i < s->size; i++)
		if (s->slot[i] != NULL)
			bigger.slot[set_place(&bigger, s->slot[i])] = s->slot[i];
	bigger.nr = s->nr;
	hw_free(s->slot);
	*s = bigger;
	return true;
}

bool check_set_add(struct check *c, struct check_set *s, const void *p)
{
	size_t i;

	if (2 * s->nr >= s->size && !set_grow(c, s))
		return false;
	i = set_place(s, p);
	if (s->slot[i] == p)
		return false;
	s->slot[i] = p;
	s->nr++;
	return true;
}

bool check_set_has(const struct check_set *s, const void *p)
{
	return s->size && p != NULL && s->slot[set_place(s, p)] == p;
}

/* --- reports ------------------------------------------------------------------------------ */

void check_report(struct check *c, const char *what)
{
	c->broken++;
	if (c->report)
		c->report(c->arg, what);
}

void check_values(struct check *c, const char *what, u64 is, u64 ought)
{
	char line[LINE];
	struct text t;

	if (is == ought)
		return;
	text_init(&t, line, sizeof(line));
	text_printf(&t, "%s: is %lu, ought to be %lu", what, is, ought);
	check_report(c, line);
}

static void text_page(struct text *t, const struct kvm_mmu_page *sp)
{
	text_printf(t, "%s page gfn=%lx [", sp->tdp_mmu_page ? "TDP" : "shadow", sp->gfn);
	text_role(t, sp->role);
	text_printf(t, "] roots=%d%s", sp->root_count, sp->unsync ? " unsync" : "");
}

void check_report_page(struct check *c, const struct kvm_mmu_page *sp, const char *what)
{
	char line[LINE];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_page(&t, sp);
	text_printf(&t, ": %s", what);
	check_report(c, line);
}

void check_report_entry(struct check *c, const struct kvm_mmu_page *sp, int index, u64 spte,
			const char *what)
{
	char line[LINE];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_page(&t, sp);
	text_printf(&t, " entry %d gfn=%lx spte=%lx: %s", index,
		    kvm_mmu_page_get_gfn((struct kvm_mmu_page *)sp, index), spte, what);
	check_report(c, line);
}

/* --- single entries ----------------------------------------------------------------------- */

/*
 * Whether a fault would map a huge page where @sp, a last-level table of nested paging, maps a small one. What a fetch had
 * split stays small as long as it is to be recovered.
 */
static bool fits_huge(struct check *c, const struct kvm_mmu_page *sp, const struct leaf_facts *f,
		      const struct kvm_memory_slot *slot)
{
	if (f->level != PG_LEVEL_4K || !sp->role.direct || !mmu_params_tdp(&c->kvm->params) ||
	    !f->host_present || f->host_level == PG_LEVEL_4K || slot_logs_dirty(slot))
		return false;
	/* Tables that were there before the fetch are not accounted. */
	if (sp->nx_huge_page_disallowed || is_nx_huge_page_enabled(c->kvm))
		return false;
	return kvm_mmu_max_mapping_level(c->kvm, slot, f->gfn, f->host_level, PG_LEVEL_2M) >
	       PG_LEVEL_4K;
}

/* Whether writes to @gfn have to be seen because of a table that is shadowed there. */
static bool is_shadowed(struct kvm *kvm, const struct kvm_memory_slot *slot, gfn_t gfn)
{
	struct kvm_mmu_page *sp;

	if (kvm_gfn_is_write_tracked(slot, gfn))
		return true;
	if (!kvm->arch.indirect_shadow_pages)
		return false;
	for_each_gfn_valid_sp_with_gptes(kvm, sp, gfn)
	{
		if (!sp->unsync)
			return true;
	}
	return false;
}

static void slot_facts(struct check *c, const struct kvm_mmu_page *sp, struct leaf_facts *f,
		       const struct kvm_memory_slot *slot)
{
	u64 offset = f->gfn - slot->base_gfn, frames = KVM_PAGES_PER(f->level), n;
	struct hw_page page;

	f->slot_has_all = f->gfn >= slot->base_gfn && offset + frames <= slot->npages;
	f->slot_readonly = slot->flags & SLOT_READONLY;
	if (!f->slot_has_all)
		return;
	if (f->level > PG_LEVEL_4K)
		f->lpage_disallowed =
			slot->arch.lpage_info[f->level - 1] &&
			slot->arch.lpage_info[f->level - 1][slot_index(slot, f->gfn, f->level)]
					.disallow_lpage != 0;
	else if (f->mmu_writable)
		f->shadowed = is_shadowed(c->kvm, slot, f->gfn);
	f->logged = slot_logs_dirty(slot) && slot->dirty_bitmap &&
		    !__atomic_load_n(&slot->log_starting, __ATOMIC_ACQUIRE);
	f->in_log = f->logged;
	for (n = 0; f->in_log && f->writable && n < frames; n++)
		f->in_log =
			__atomic_load_n(&slot->dirty_bitmap[(offset + n) / 64], __ATOMIC_RELAXED) &
			BIT((offset + n) % 64);
	/* Of a huge page the host may have noted those frames only that were touched. */
	f->host_known = true;
	for (n = 0; n < frames && !f->host_present; n++)
		f->host_present =
			hw_page_present(c->kvm, gfn_to_hva(slot, f->gfn + n), false, &page);
	if (f->host_present) {
		f->host_hpa = page.hpa - (n - 1) * SZ_4K;
		f->host_level = page.level;
		f->host_lets_write = page.writable;
	}
	f->fits_huge = fits_huge(c, sp, f, slot);
	f->splits_logged = sp->role.direct && is_tdp_mmu_enabled(c->kvm) && f->logged &&
			   !c->kvm->arch.split_failed &&
			   mmu_param_now(&c->kvm->params, eager_page_split);
}

static void check_leaf(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte)
{
	struct leaf_facts f = {.level = sp->role.level};
	struct kvm_memory_slot *slot;
	const char *broken;

	f.gfn = kvm_mmu_page_get_gfn(sp, index) & ~(KVM_PAGES_PER(f.level) - 1);
	f.hpa = spte_to_hpa(spte);
	f.writable = is_writable_pte(spte);
	f.host_writable = is_host_writable_pte(spte);
	f.mmu_writable = is_mmu_writable_spte(spte);
	f.accessed_tracked = is_access_track_spte(c->kvm, spte);
	f.ad_mode = (spte & SPTE_AD_MODE_MASK) >> SPTE_AD_MODE_SHIFT;
	f.role_ad_disabled = sp->role.ad_disabled;
	f.role_nested = sp->role.guest_mode && mmu_params_pml(&c->kvm->params);
	/* vCPUs are outside the guest: nothing is left in the processors' logs. */
	f.log_by_d = mmu_params_pml(&c->kvm->params) && !spte_ad_need_write_protect(spte);
	f.dirty = spte_ad_enabled(spte) && is_dirty_spte(c->kvm, spte);
	f.executable = is_executable_pte(c->kvm, spte);
	f.nx_workaround = is_nx_huge_page_enabled(c->kvm);
	slot = gfn_to_slot_of_as(c->kvm, sp->role.smm, f.gfn);
	f.has_slot = slot != NULL;
	if (slot)
		slot_facts(c, sp, &f, slot);
	broken = rule_leaf(&f);
	check_entry_not(c, broken != NULL, sp, index, spte, broken);
}

static void check_mmio(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte)
{
	struct kvm_memslots *slots = kvm_memslots(c->kvm, sp->role.smm);
	u64 now = slots ? slots->generation & MMIO_GEN_MASK : 0;
	u64 gen = get_mmio_spte_generation(c->kvm, spte);
	gfn_t gfn = get_mmio_spte_gfn(c->kvm, spte);

	check_entry_not(c, sp->role.level != PG_LEVEL_4K, sp, index, spte, "MMIO above level 1");
	check_entry_not(c, sp->role.direct && gfn != kvm_mmu_page_get_gfn(sp, index), sp, index,
			spte, "MMIO of another frame");
	/* Newer: the distance, in a circle, is more than half of it. */
	if (((now - gen) & MMIO_GEN_MASK) > MMIO_GEN_MASK / 2)
		check_report_entry(c, sp, index, spte, "MMIO of a generation to come");
	else if (slots && now == gen && gfn_to_memslot(slots, gfn))
		check_report_entry(c, sp, index, spte, "MMIO where a slot is");
}

void check_entry(struct check *c, struct kvm_mmu_page *sp, int index, u64 spte, bool live)
{
	const struct spte_format *fmt = spte_format(c->kvm);
	struct entry_facts f = {.spte = spte, .level = sp->role.level};
	const char *broken;

	c->work += CHECK_WORK_ENTRY;
	if (!is_shadow_present_pte(spte)) {
		if (is_mmio_spte(c->kvm, spte)) {
			if (live && c->slots_stable)
				check_mmio(c, sp, index, spte);
		} else if (spte) {
			check_report_entry(c, sp, index, spte,
					   is_removed_spte(spte) ? "frozen, and nobody is at work"
								 : "neither empty nor present");
		}
		return;
	}
	f.leaf = is_last_spte(spte, f.level);
	f.ept = fmt->ept;
	f.high_bits_free = mmu_params_tdp(&c->kvm->params);
	f.rsvd_addr = fmt->me_rsvd;
	broken = rule_entry(&f);
	check_entry_not(c, broken != NULL, sp, index, spte, broken);
	if (!f.leaf || f.level > PG_LEVEL_1G)
		return;
	c->leafs[f.level]++;
	if (live && c->slots_stable)
		check_leaf(c, sp, index, spte);
}

/* --- the VM ------------------------------------------------------------------------------- */

static void check_nx_list(struct check *c)
{
	struct kvm_mmu_arch *arch = &c->kvm->arch;
	struct kvm_mmu_page *sp;
	u64 n = 0;

	list_for_each(sp, &arch->possible_nx_huge_pages, possible_nx_huge_page_link)
	{
		n++;
		if (!check_set_has(&c->pages, sp)) {
			check_report(c, "a page on possible_nx_huge_pages that is nowhere else");
			return;
		}
		check_page_not(c, !sp->nx_huge_page_disallowed || !sp->role.direct, sp,
			       "on possible_nx_huge_pages without reason");
	}
	check_values(c, "nr_possible_nx_huge_pages", arch->nr_possible_nx_huge_pages, n);
	check_values(c, "nx_lpage_splits", c->kvm->stat.nx_lpage_splits, n);
}

static void check_counters(struct check *c)
{
	struct kvm_vm_stats *stat = &c->kvm->stat;

	check_values(c, "pages_4k", __atomic_load_n(&stat->pages_4k, __ATOMIC_RELAXED),
		     c->leafs[1]);
	check_values(c, "pages_2m", __atomic_load_n(&stat->pages_2m, __ATOMIC_RELAXED),
		     c->leafs[2]);
	check_values(c, "pages_1g", __atomic_load_n(&stat->pages_1g, __ATOMIC_RELAXED),
		     c->leafs[3]);
	check_values(c, "mmu_unsync", __atomic_load_n(&stat->mmu_unsync, __ATOMIC_RELAXED),
		     c->unsync);
	check_values(c, "indirect_shadow_pages", c->kvm->arch.indirect_shadow_pages, c->indirect);
}

int mmu_check(struct kvm *kvm, void (*report)(void *arg, const char *line), void *arg)
{
	struct check c = {.kvm = kvm, .report = report, .arg = arg, .slots_stable = true};
	int as_id;

	hw_rcu_read_lock();
	hw_write_lock(kvm);
	for (as_id = 0; as_id < KVM_ADDRESS_SPACES; as_id++) {
		struct kvm_memslots *slots = kvm_memslots(kvm, as_id);

		if (slots && slots->generation & KVM_MEMSLOT_GEN_UPDATE)
			c.slots_stable = false;
	}
	c.work = 1000;
	check_shadow_collect(&c);
	check_tdp_collect(&c);
	if (c.no_memory) {
		check_report(&c, "no memory for the check");
	} else {
		check_shadow(&c);
		check_tdp(&c);
		check_roots(&c);
		check_nx_list(&c);
		check_counters(&c);
	}
	kvm->check_work = c.work;
	hw_write_unlock(kvm);
	hw_rcu_read_unlock();
	hw_free(c.pages.slot);
	return c.broken;
}
