// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor's look at what vCPUs hold: their roots against the counts in pages, and whether a
 * translation that a processor remembers is one that the tables still give.
 */
#include "x86/mmu/check.h"

#include "x86/mmu/text.h"

/* A page that roots of vCPUs are, and how many. */
struct held {
	struct kvm_mmu_page *sp;
	int count;
};

/* There is room for all that vCPUs can have. */
struct holders {
	struct held *held;
	size_t nr, max;
};

static void hold(struct check *c, struct holders *h, struct kvm_mmu_page *sp)
{
	size_t i;

	if (!check_set_has(&c->pages, sp)) {
		check_report(c, "a vCPU's root is no page that is known");
		return;
	}
	for (i = 0; i < h->nr && h->held[i].sp != sp; i++)
		;
	if (i == h->nr)
		h->held[h->nr++].sp = sp;
	h->held[i].count++;
}

static bool is_root(const struct kvm_mmu_root_info *root)
{
	return root->hpa && root->hpa != INVALID_PAGE;
}

static void hold_roots(struct check *c, struct holders *h, const struct kvm_mmu *mmu)
{
	int i;

	if (is_root(&mmu->root) && root_to_sp(mmu->root.hpa)) {
		hold(c, h, root_to_sp(mmu->root.hpa));
	} else if (is_root(&mmu->root)) {
		for (i = 0; mmu->pae_root && i < 4; i++)
			if (mmu->pae_root[i] & PTE_P)
				hold(c, h, root_to_sp(spte_to_hpa(mmu->pae_root[i])));
	}
	for (i = 0; i < KVM_PREV_ROOTS; i++)
		if (is_root(&mmu->prev_roots[i]))
			hold(c, h, root_to_sp(mmu->prev_roots[i].hpa));
}

void check_roots(struct check *c)
{
	struct holders h = {.max = c->kvm->nr_vcpus * 2ul * (4 + KVM_PREV_ROOTS)};
	size_t i;

	if (h.max)
		h.held = hw_alloc(h.max * sizeof(*h.held));
	if (h.max && !h.held) {
		check_report(c, "no memory for the check");
		return;
	}
	for (i = 0; i < c->kvm->nr_vcpus; i++) {
		hold_roots(c, &h, &c->kvm->vcpus[i]->root_mmu);
		hold_roots(c, &h, &c->kvm->vcpus[i]->guest_mmu);
	}
	for (i = 0; i < h.nr; i++) {
		struct kvm_mmu_page *sp = h.held[i].sp;

		/* The TDP MMU holds a valid root as well, and others may be walking one. */
		check_page_not(c,
			       sp->tdp_mmu_page
				       ? sp->root_count < h.held[i].count + !sp->role.invalid
				       : sp->root_count != h.held[i].count,
			       sp, "root_count is not how many vCPUs have it");
	}
	for (i = 0; i < c->pages.size; i++) {
		const struct kvm_mmu_page *sp = c->pages.slot[i];
		size_t k;

		if (!sp || sp->tdp_mmu_page || !sp->root_count)
			continue;
		for (k = 0; k < h.nr && h.held[k].sp != sp; k++)
			;
		check_page_not(c, k == h.nr, sp, "counted as a root that no vCPU has");
	}
	hw_free(h.held);
}

/* --- what a TLB has ----------------------------------------------------------------------- */

/* Whether an entry lets reads through in the hardware's eyes. */
static bool hw_present(const struct spte_format *fmt, u64 entry)
{
	return entry & (fmt->ept ? EPT_RWX : PTE_P);
}

/* The way of an address: down to a leaf, to an entry that spans @size bytes, or to where it ends. */
struct way {
	u64 entry;
	int level;
	bool pdpte, may_write;
};

static struct way find_way(struct kvm_vcpu *vcpu, u64 addr, u64 size)
{
	const struct spte_format *fmt = spte_format(vcpu->kvm);
	struct kvm_mmu *mmu = vcpu->mmu;
	u64 *table = hw_va(mmu->root.hpa & ~(SZ_4K - 1));
	struct way w = {.level = mmu->root_role.level, .may_write = true};

	for (;; w.level--) {
		w.pdpte = w.level == 3 && table == mmu->pae_root && !mmu->pml4_root;
		w.entry = mmu_spte_get(&table[SPTE_INDEX(addr, w.level) & (w.pdpte ? 3 : 511)]);
		if (!hw_present(fmt, w.entry))
			return w;
		w.may_write &= w.pdpte || is_writable_pte(w.entry);
		if (w.level == PG_LEVEL_4K || (!w.pdpte && is_large_pte(w.entry)) ||
		    BIT(LEVEL_SHIFT(w.level)) == size)
			return w;
		table = hw_va(spte_to_hpa(w.entry));
	}
}

static int forgotten(struct kvm_vcpu *vcpu, const struct way *w, const char *what, u64 addr,
		     hpa_t hpa, const char *broken, void (*report)(void *arg, const char *line),
		     void *arg)
{
	char line[200];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_printf(&t, "vCPU %u remembers %lx -> %lx%s, but %s: entry %lx at level %d",
		    vcpu->vcpu_idx, addr, hpa, what, broken, w->entry, w->level);
	if (report)
		report(arg, line);
	return 1;
}

int mmu_check_translation(struct kvm_vcpu *vcpu, u64 addr, u64 size, hpa_t hpa, bool writable,
			  void (*report)(void *arg, const char *line), void *arg)
{
	const struct spte_format *fmt = spte_format(vcpu->kvm);
	const char *broken = NULL;
	u64 end = addr + size, span;
	struct way w;

	if (!is_root(&vcpu->mmu->root))
		return 0;
	/* What was remembered as one may have become several, as long as they say the same. */
	for (; !broken && addr != end; hpa += span, addr += span) {
		w = find_way(vcpu, addr, 0);
		span = BIT(LEVEL_SHIFT(w.level)) - (addr & (BIT(LEVEL_SHIFT(w.level)) - 1));
		if (span > end - addr)
			span = end - addr;
		if (!hw_present(fmt, w.entry) || is_mmio_spte(vcpu->kvm, w.entry))
			broken = "nothing is mapped";
		else if (spte_to_hpa(w.entry) + (addr & (BIT(LEVEL_SHIFT(w.level)) - 1)) != hpa)
			broken = "another frame is mapped";
		else if (writable && !w.may_write)
			broken = "it is read-only";
		if (broken)
			return forgotten(vcpu, &w, writable ? " writable" : "", addr, hpa, broken,
					 report, arg);
	}
	return 0;
}

int mmu_check_table(struct kvm_vcpu *vcpu, u64 addr, u64 size, hpa_t hpa,
		    void (*report)(void *arg, const char *line), void *arg)
{
	struct way w;

	if (!is_root(&vcpu->mmu->root))
		return 0;
	w = find_way(vcpu, addr, size);
	if (BIT(LEVEL_SHIFT(w.level)) == size && hw_present(spte_format(vcpu->kvm), w.entry) &&
	    (w.pdpte || !is_large_pte(w.entry)) && spte_to_hpa(w.entry) == (hpa & ~(SZ_4K - 1)))
		return 0;
	return forgotten(vcpu, &w, " as a table", addr, hpa, "none or another is there", report,
			 arg);
}
