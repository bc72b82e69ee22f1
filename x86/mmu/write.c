// SPDX-License-Identifier: GPL-2.0-only
/*
 * Emulated writes to guest memory that may be a shadowed table: entries that were written are
 * dropped from all shadow pages of that table, to be built again from memory when they are
 * used. A page that is written again and again without being used, or in a way that no table is
 * written, is taken for data and zapped.
 */
#include "x86/mmu/shadow.h"

/* How many stores to a table above the leaf without a use of it in between make it data. */
#define FLOOD_LIMIT 3

/*
 * What the entry at *@gpa is now, if one entry was written; else 0. The emulator's value isn't
 * asked: another vCPU may have been faster. Half an 8-byte entry counts as all of it.
 */
static u64 fetch_written_gpte(struct kvm_vcpu *vcpu, gpa_t *gpa, unsigned int *bytes)
{
	u64 gpte = 0;

	if ((vcpu->regs.cr4 & CR4_PAE) && *bytes == 4) {
		*gpa &= ~7ull;
		*bytes = 8;
	}
	if ((*bytes != 4 && *bytes != 8) || *gpa % *bytes != 0 ||
	    !shadow_read_guest(vcpu, *gpa, *bytes, &gpte))
		return 0;
	return gpte;
}

static bool detect_write_flooding(struct kvm_mmu_page *sp)
{
	/* Last-level tables go out of sync instead. */
	if (sp->role.level == PG_LEVEL_4K || MUTANT(flood_never_noticed))
		return false;
	return __atomic_add_fetch(&sp->write_flooding_count, 1, __ATOMIC_RELAXED) >= FLOOD_LIMIT;
}

/* Neither one whole entry nor just the byte with its flags. */
static bool detect_write_misaligned(const struct kvm_mmu_page *sp, gpa_t gpa, unsigned int bytes)
{
	unsigned int size = sp->role.has_4_byte_gpte ? 4 : 8, offset = gpa & (SZ_4K - 1);

	if (bytes == 1 && offset % size == 0)
		return false;
	if (MUTANT(misaligned_write_one_entry))
		return false;
	return bytes < 4 || offset / size != (offset + bytes - 1) / size;
}

/*
 * The SPTEs made of the entry at @gpa of @sp's table: *@nr of them from the one returned; NULL:
 * the entry belongs to another quadrant. A 4-byte directory entry spans two of ours, and a
 * 4-byte table has more than a page of them.
 */
static u64 *written_sptes(struct kvm_mmu_page *sp, gpa_t gpa, int *nr)
{
	unsigned int offset = gpa & (SZ_4K - 1), index, quadrant = 0;

	*nr = 1;
	if (!sp->role.has_4_byte_gpte)
		return &sp->spt[offset / 8];
	index = offset / 4;
	if (sp->role.level == 2) {
		index *= 2;
		*nr = MUTANT(pde_write_drops_half) ? 1 : 2;
	}
	quadrant = index / SPTE_ENT_PER_PAGE;
	if (MUTANT(quadrant_of_write_ignored) ? quadrant != 0 : quadrant != sp->role.quadrant)
		return NULL;
	return &sp->spt[index % SPTE_ENT_PER_PAGE];
}

/* Part of a write that lies within a page. True: a flush is owed. */
static bool written(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned int bytes, struct list *invalid_list)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_mmu_page *sp;
	bool flush = false;
	u64 gpte;

	gpte = fetch_written_gpte(vcpu, &gpa, &bytes);
	for_each_gfn_valid_sp_with_gptes(kvm, sp, gpa >> PAGE_SHIFT)
	{
		u64 *sptep;
		int nr;

		if (detect_write_misaligned(sp, gpa, bytes) || detect_write_flooding(sp)) {
			kvm_mmu_prepare_zap_page(kvm, sp, invalid_list);
			vm_stat_add(kvm, mmu_flooded, 1);
			continue;
		}
		sptep = written_sptes(sp, gpa, &nr);
		if (!sptep)
			continue;
		for (; nr > 0; nr--, sptep++) {
			u64 old = mmu_spte_get(sptep);

			if (!MUTANT(table_write_keeps_entry))
				mmu_page_zap_pte(kvm, sp, sptep, NULL);
			if (gpte && sp->role.level != PG_LEVEL_4K)
				vm_stat_add(kvm, mmu_pde_zapped, 1);
			if (is_shadow_present_pte(old))
				flush = true;
		}
	}
	return flush;
}

void kvm_mmu_track_write(struct kvm_vcpu *vcpu, gpa_t gpa, const void *new, unsigned int bytes)
{
	struct kvm *kvm = vcpu->kvm;
	struct list invalid_list;
	bool flush = false;

	(void)new;
	if (!bytes)
		return;
	/*
	 * The write comes before the question whether anybody shadows anything: a fault that is
	 * about to shadow this table counts it before it reads it, so one of the two sees the
	 * other. That takes a full barrier here, which a locked instruction on the vCPU's own word
	 * is.
	 */
	__atomic_fetch_or(&vcpu->requests, 0, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&kvm->arch.indirect_shadow_pages, __ATOMIC_SEQ_CST))
		return;

	list_init(&invalid_list);
	hw_yield_point(kvm, "table written");
	hw_write_lock(kvm);
	vm_stat_add(kvm, mmu_pte_write, 1);
	while (bytes) {
		unsigned int room = SZ_4K - (gpa & (SZ_4K - 1)), n = bytes < room ? bytes : room;

		flush |= written(vcpu, gpa, n, &invalid_list);
		gpa += n;
		bytes -= n;
	}
	kvm_mmu_remote_flush_or_zap(kvm, &invalid_list, flush && !MUTANT(table_write_no_flush));
	hw_write_unlock(kvm);
}
