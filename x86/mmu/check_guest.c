// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor's comparison of a shadow page that counts as in sync with the guest's table as it
 * is in memory.
 */
#include "x86/mmu/check.h"

/* Enough of a struct kvm_mmu to read entries of the format that @role says. */
static void format_of_role(struct kvm_mmu *mmu, union kvm_mmu_page_role role)
{
	__builtin_memset(mmu, 0, sizeof(*mmu));
	mmu->nested_ept = role.ept_guest;
	mmu->cpu_role.base = role;
	mmu->cpu_role.base.ad_disabled = 0;
	mmu->cpu_role.cr4_pse = !role.no_pse;
	if (!role.ept_guest)
		mmu->guest_mode = paging_mode(role.has_4_byte_gpte ? PM_32 : PM_LA57);
}

/* Which entry of the guest's table entry @index of @sp stands for. */
static unsigned int guest_index(const struct kvm_mmu_page *sp, unsigned int index)
{
	if (!sp->role.has_4_byte_gpte)
		return index;
	/* Two pages for a table, four for a directory, in which an entry stands for two. */
	if (sp->role.level == PG_LEVEL_4K)
		return sp->role.quadrant * SPTE_ENT_PER_PAGE + index;
	return sp->role.quadrant * (SPTE_ENT_PER_PAGE / 2) + index / 2;
}

static bool maps_page(const struct kvm_mmu_page *sp, u64 gpte)
{
	if (sp->role.level == PG_LEVEL_4K)
		return true;
	return gpte & PTE_PS && sp->role.level <= PG_LEVEL_1G && !sp->role.no_pse;
}

/* What @spte lets through, as ACC_*. Only what can be seen in it. */
static unsigned int spte_access(struct kvm *kvm, u64 spte)
{
	const struct spte_format *fmt = spte_format(kvm);
	unsigned int access = is_writable_pte(spte) ? ACC_WRITE : 0;

	/* EPT shadows EPT only, whose R counts as U. */
	if (spte & (fmt->ept ? EPT_R : fmt->user))
		access |= ACC_USER;
	if (is_executable_pte(kvm, spte) && !is_access_track_spte(kvm, spte))
		access |= ACC_EXEC;
	return access;
}

static void check_one(struct check *c, struct kvm_mmu_page *sp, const struct kvm_mmu *mmu,
		      int index, u64 spte, u64 gpte, bool rom)
{
	struct guest_facts f = {.sp_access = sp->role.access, .cr0_wp = sp->role.cr0_wp};
	int level = sp->role.level;
	const char *broken;

	f.spte_leaf = is_last_spte(spte, level);
	f.outside_writes = c->kvm->params.check < 3;
	f.present = is_present_gpte(mmu, gpte);
	/* Whether EPT keeps A and D is not in the role. A table in ROM need not have them. */
	f.keeps_ad = !sp->role.ept_guest && !rom;
	f.accessed = gpte_accessed(mmu, gpte);
	f.dirty = gpte & PTE_D;
	f.access = gpte_access(mmu, gpte);
	f.maps_page = maps_page(sp, gpte);
	f.gfn = f.maps_page
			? gpte_to_gfn(mmu, gpte, level)
			: (gpte & (sp->role.has_4_byte_gpte ? PTE32_ADDR_MASK : PTE_ADDR_MASK)) >>
				  PAGE_SHIFT;
	/* The guest's 4 MiB are two of ours. */
	if (f.maps_page && sp->role.has_4_byte_gpte && level == PG_LEVEL_2M)
		f.gfn += (index & 1) * KVM_PAGES_PER(PG_LEVEL_2M);
	if (f.spte_leaf) {
		f.spte_gfn = kvm_mmu_page_get_gfn(sp, index);
		f.spte_access = spte_access(c->kvm, spte);
	} else {
		struct kvm_mmu_page *child = spte_to_child_sp(spte);

		if (!check_set_has(&c->pages, child))
			return;
		f.spte_gfn = child->gfn;
		f.spte_child_direct = child->role.direct;
	}
	broken = rule_guest(&f);
	if (broken)
		check_report_entry(c, sp, index, spte, broken);
}

void check_guest_begin(struct check *c, struct check_guest *g, struct kvm_mmu_page *sp)
{
	g->sp = sp;
	g->slot = gfn_to_slot_of_as(c->kvm, sp->role.smm, sp->gfn);
	g->hva = g->slot ? gfn_to_hva(g->slot, sp->gfn) : 0;
	format_of_role(&g->mmu, sp->role);
}

void check_guest_entry(struct check *c, const struct check_guest *g, int index, u64 spte)
{
	unsigned int size = g->sp->role.has_4_byte_gpte ? 4 : 8;
	u64 gpte = 0;

	if (g->slot && !hw_read(c->kvm, g->hva + guest_index(g->sp, index) * size, &gpte, size))
		return;
	check_one(c, g->sp, &g->mmu, index, spte, gpte, g->slot && g->slot->flags & SLOT_READONLY);
}
