// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page fault pipeline: what both kinds of MMU do with a fault before they map anything. In order: MMIO by SPTE;
 * writes that are tracked; the fast path without mmu_lock; topping up caches; resolving the frame; the check, with
 * mmu_lock, that what was found out still holds; mapping, which is the TDP MMU's, direct.c's or shadow.c's.
 */
#include "x86/mmu/internal.h"
#include "x86/mmu/rmap.h"

/* --- how long each stage takes, when somebody listens --------------------------------- */

static u64 stage_begin(const struct kvm_vcpu *vcpu)
{
	return __builtin_expect(__atomic_load_n(&vcpu->kvm->trace, __ATOMIC_RELAXED) != NULL, 0)
		       ? hw_now()
		       : 0;
}

static void stage_end(struct kvm_vcpu *vcpu, const struct kvm_page_fault *fault,
		      enum mmu_fault_stage stage, u64 begin)
{
	if (begin)
		trace_mmu(vcpu->kvm, kvm_page_fault, vcpu->vcpu_idx, fault->addr, fault->error_code,
			  stage, hw_now() - begin);
}

/* --- memory caches ---------------------------------------------------------------------- */

/*
 * What one fault takes at most: a table per level below the root (as roots of PAE paging: four at once), and a
 * descriptor for each new entry of an rmap or a list of parents, prefetched ones too.
 */
#define CACHE_TABLES 6
#define CACHE_DESCS  (1 + PAGING_MAX_LEVEL + 8)

static int topup(struct kvm_mmu_memory_cache *mc, unsigned int min, size_t size, bool table)
{
	_Static_assert(CACHE_DESCS <= ARRAY_LEN(((struct kvm_mmu_memory_cache *)0)->objects),
		       "a cache holds what a fault takes");

	while (mc->nobjs < min) {
		void *p = table ? hw_table_alloc(false) : hw_alloc(size);

		if (!p)
			return -ENOMEM_;
		mc->objects[mc->nobjs++] = p;
	}
	return 0;
}

int mmu_topup_memory_caches(struct kvm_vcpu *vcpu, bool maybe_indirect)
{
	int r;

	r = topup(&vcpu->pte_list_desc_cache, CACHE_DESCS, sizeof(struct pte_list_desc), false);
	if (!r)
		r = topup(&vcpu->shadow_page_cache, CACHE_TABLES, 0, true);
	if (!r && maybe_indirect)
		r = topup(&vcpu->shadowed_info_cache, CACHE_TABLES, SPTE_ENT_PER_PAGE * sizeof(u64),
			  false);
	if (!r)
		r = topup(&vcpu->page_header_cache, CACHE_TABLES, sizeof(struct kvm_mmu_page),
			  false);
	return r;
}

static void free_cache(struct kvm_mmu_memory_cache *mc, void (*free)(void *p))
{
	while (mc->nobjs)
		free(mc->objects[--mc->nobjs]);
}

void mmu_free_memory_caches(struct kvm_vcpu *vcpu)
{
	free_cache(&vcpu->pte_list_desc_cache, hw_free);
	free_cache(&vcpu->shadow_page_cache, hw_table_free);
	free_cache(&vcpu->shadowed_info_cache, hw_free);
	free_cache(&vcpu->page_header_cache, hw_free);
}

void *kvm_mmu_memory_cache_alloc(struct kvm_mmu_memory_cache *mc)
{
	MMU_BUG_ON(!mc->nobjs);
	return mc->objects[--mc->nobjs];
}

/* --- MMIO --------------------------------------------------------------------------------- */

/*
 * What the vCPU remembers of its latest MMIO access counts for one generation of slots in one address space.
 * MMIO_GEN_NONE while slots change.
 */
static u64 mmio_cache_gen(struct kvm_vcpu *vcpu)
{
	u64 gen = __atomic_load_n(&kvm_vcpu_memslots(vcpu)->generation, __ATOMIC_ACQUIRE);

	return gen & KVM_MEMSLOT_GEN_UPDATE ? MMIO_GEN_NONE : gen << 1 | vcpu->regs.smm;
}

/*
 * The page of @addr if the guest's own tables translate it to the frame. Otherwise faults say the frame (direct tables), or
 * it is an address of a nested guest, which means something else when that one is left.
 */
static gva_t mmio_cache_gva(const struct kvm_vcpu *vcpu, u64 addr)
{
	if (vcpu->mmu->root_role.direct || vcpu->mmu != &vcpu->root_mmu)
		return MMIO_GVA_NONE;
	return addr & ~(SZ_4K - 1);
}

static void vcpu_cache_mmio_info(struct kvm_vcpu *vcpu, u64 addr, gfn_t gfn, unsigned int access)
{
	vcpu->mmio_gva = mmio_cache_gva(vcpu, addr);
	vcpu->mmio_gfn = gfn;
	vcpu->mmio_access = access;
	vcpu->mmio_gen = mmio_cache_gen(vcpu);
}

static bool mmio_info_in_cache(struct kvm_vcpu *vcpu, u64 addr, bool direct)
{
	gva_t gva = mmio_cache_gva(vcpu, addr);

	if (vcpu->mmio_gen == MMIO_GEN_NONE ||
	    (vcpu->mmio_gen != mmio_cache_gen(vcpu) && !MUTANT(mmio_cache_stale)))
		return false;
	if (direct)
		return vcpu->mmio_gfn == addr >> PAGE_SHIFT;
	return gva != MMIO_GVA_NONE && vcpu->mmio_gva == gva;
}

void mark_mmio_spte(struct kvm_vcpu *vcpu, u64 *sptep, gfn_t gfn, unsigned int access)
{
	u64 spte = make_mmio_spte(vcpu, gfn, access);

	trace_mmu(vcpu->kvm, mark_mmio_spte, hw_hpa(sptep), gfn,
		  get_mmio_spte_access(vcpu->kvm, spte), get_mmio_spte_generation(vcpu->kvm, spte));
	mmu_spte_set(sptep, spte);
}

/* The hardware came upon reserved bits. RET_PF_INVALID: the MMIO SPTE is an old one. */
static int handle_mmio_page_fault(struct kvm_vcpu *vcpu, u64 addr, bool direct, gfn_t *gfn)
{
	u64 sptes[PAGING_MAX_LEVEL + 1] = {0};
	int leaf, root_level;
	unsigned int access;
	u64 spte;

	if (mmio_info_in_cache(vcpu, addr, direct)) {
		*gfn = vcpu->mmio_gfn;
		return RET_PF_EMULATE;
	}

	hw_rcu_read_lock();
	leaf = get_walk(vcpu, addr, sptes, &root_level);
	hw_rcu_read_unlock();
	/* No entry at all, or zapped since: the access itself will tell. */
	spte = leaf >= PG_LEVEL_4K && leaf <= PAGING_MAX_LEVEL ? sptes[leaf] : 0;
	if (!is_mmio_spte(vcpu->kvm, spte))
		return RET_PF_RETRY;
	if (!check_mmio_spte(vcpu, spte))
		return RET_PF_INVALID;

	*gfn = get_mmio_spte_gfn(vcpu->kvm, spte);
	access = get_mmio_spte_access(vcpu->kvm, spte);
	trace_mmu(vcpu->kvm, handle_mmio_page_fault, direct ? 0 : addr, *gfn, access);
	vcpu_cache_mmio_info(vcpu, addr, *gfn, access);
	return RET_PF_EMULATE;
}

/* --- writes that are tracked ---------------------------------------------------------------- */

bool page_fault_handle_page_track(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	(void)vcpu;
	if (fault->rsvd || !fault->present || !fault->write || !fault->slot)
		return false;
	/* Mapping it again can't help: it will stay protected. */
	return kvm_gfn_is_write_tracked(fault->slot, fault->gfn);
}

/* --- the fast path ---------------------------------------------------------------------------- */

static bool page_fault_can_be_fast(const struct kvm_vcpu *vcpu, const struct kvm_page_fault *fault)
{
	if (fault->rsvd)
		return false;
	/* Not present: then only because access tracking has taken the rights. */
	if (!fault->present)
		return !spte_format(vcpu->kvm)->ad && !MUTANT(tracked_page_slow);
	return fault->write;
}

static bool is_access_allowed(const struct kvm *kvm, const struct kvm_page_fault *fault, u64 spte)
{
	if (!(spte & spte_format(kvm)->present))
		return false;
	if (fault->exec)
		return is_executable_pte(kvm, spte);
	return !fault->write || is_writable_pte(spte);
}

/*
 * One try. RET_PF_INVALID: not a case for this path; RET_PF_RETRY: the entry changed meanwhile. Only direct tables:
 * their entries map the same frame for good, those for a guest's tables only with mmu_lock.
 */
static int fast_page_fault_once(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, u64 **sptepp,
				u64 *old)
{
	struct kvm *kvm = vcpu->kvm;
	u64 spte = 0, new;
	int level = 0;
	u64 *sptep = fast_pf_get_last_sptep(vcpu, fault->addr, &spte, &level);

	*sptepp = sptep;
	*old = spte;
	if (!sptep || !is_shadow_present_pte(spte) || !is_last_spte(spte, level))
		return RET_PF_INVALID;
	/* Another vCPU was faster, or the TLB had an older entry. */
	if (is_access_allowed(kvm, fault, spte))
		return RET_PF_SPURIOUS;

	new = spte;
	if (is_access_track_spte(kvm, spte))
		new = restore_acc_track_spte(kvm, new);
	if (fault->write && (is_mmu_writable_spte(spte) || MUTANT(tracked_write_protected_page))) {
		new |= spte_format(kvm)->write;
		/* One bit would be logged for all of a huge page: it has to be split. */
		if (level > PG_LEVEL_4K && fault->slot && slot_logs_dirty(fault->slot) &&
		    !MUTANT(fast_fault_on_huge_page))
			return RET_PF_INVALID;
	}
	if (new == spte || !is_access_allowed(kvm, fault, new))
		return RET_PF_INVALID;

	if (MUTANT(fast_fault_logs_first) && fault->slot && slot_logs_dirty(fault->slot))
		kvm_mark_page_dirty(kvm, vcpu, fault->slot, fault->gfn);
	hw_yield_point(kvm, "fast_page_fault: exchange");
	if (!__atomic_compare_exchange_n(sptep, &spte, new, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return RET_PF_RETRY;
	/*
	 * After the exchange: whoever clears the log takes W away after it has cleared the bit,
	 * so this one is either set again or the entry protected again.
	 */
	if (is_writable_pte(new) && !is_writable_pte(*old) && fault->slot &&
	    slot_logs_dirty(fault->slot) && !MUTANT(fast_fault_not_logged) &&
	    !MUTANT(fast_fault_logs_first))
		kvm_mark_page_dirty(kvm, vcpu, fault->slot, fault->gfn);
	return RET_PF_FIXED;
}

int fast_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	int ret = RET_PF_INVALID;
	u64 *sptep = NULL, old = 0;

	if (!page_fault_can_be_fast(vcpu, fault))
		return ret;

	/* Keeps tables that are unlinked meanwhile from being freed and used for something else. */
	hw_rcu_read_lock();
	for (int tries = 0; tries < 5; tries++) {
		ret = fast_page_fault_once(vcpu, fault, &sptep, &old);
		if (ret != RET_PF_RETRY)
			break;
		ret = RET_PF_INVALID;
	}
	trace_mmu(vcpu->kvm, fast_page_fault, vcpu->vcpu_idx, fault->addr, fault->error_code,
		  hw_hpa(sptep), old, (u64)ret);
	hw_rcu_read_unlock();

	if (ret != RET_PF_INVALID)
		vcpu_stat_inc(vcpu, pf_fast);
	return ret;
}

/* --- the frame ----------------------------------------------------------------------------------- */

/* Nothing is there: MMIO. */
static int handle_noslot_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault,
			       unsigned int access)
{
	const struct mmu_params *p = &vcpu->kvm->params;

	vcpu_cache_mmio_info(vcpu, fault->addr, fault->gfn, access);
	if (!spte_format(vcpu->kvm)->mmio_value)
		return RET_PF_EMULATE;
	/* A guest that was told of more address bits than there are: no SPTE can say this frame. */
	if (fault->gfn >> (mmu_host_phys_bits(p) - PAGE_SHIFT))
		return RET_PF_EMULATE;
	fault->pfn = INVALID_PAGE;
	fault->map_writable = false;
	fault->host_level = PG_LEVEL_4K;
	return RET_PF_CONTINUE;
}

int kvm_faultin_pfn(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, unsigned int access)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_memory_slot *slot = fault->slot;
	struct hw_page page;
	bool readonly;
	int r;

	/* Before anything is looked up that a change of memory could make wrong. */
	fault->mmu_seq = __atomic_load_n(&kvm->mmu_invalidate_seq, __ATOMIC_ACQUIRE);

	/* Try again once the slot is gone, or elsewhere: its frames must not be mapped any more. */
	if (slot && slot->flags & KVM_MEMSLOT_INVALID && !MUTANT(invalid_slot_mapped))
		return RET_PF_RETRY;
	if (!slot)
		return handle_noslot_fault(vcpu, fault, access);

	/* Spares faulting a page in that is about to go. */
	if (mmu_invalidate_retry_gfn(kvm, fault->mmu_seq, fault->gfn))
		return RET_PF_RETRY;

	readonly = slot->flags & SLOT_READONLY;
	if (readonly && fault->write)
		return RET_PF_EMULATE;
	fault->hva = gfn_to_hva(slot, fault->gfn);
	r = hw_faultin(kvm, fault->hva, fault->write, &page);
	if (r)
		return r;
	hw_yield_point(kvm, "kvm_faultin_pfn: resolved");
	if (MUTANT(sequence_read_late))
		fault->mmu_seq = __atomic_load_n(&kvm->mmu_invalidate_seq, __ATOMIC_ACQUIRE);
	fault->pfn = page.hpa;
	fault->map_writable = (page.writable || MUTANT(cow_page_writable)) &&
			      (!readonly || MUTANT(readonly_slot_writable));
	fault->host_level = page.level;

	/* Spares waiting for mmu_lock where it will be in vain. */
	if (mmu_invalidate_retry_gfn(kvm, fault->mmu_seq, fault->gfn))
		return RET_PF_RETRY;
	return RET_PF_CONTINUE;
}

bool is_page_fault_stale(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	struct kvm_mmu_page *sp = root_to_sp(vcpu->mmu->root.hpa);

	hw_assert_locked(vcpu->kvm);
	if (vcpu->mmu->root.hpa == INVALID_PAGE ||
	    (sp && is_obsolete_sp(vcpu->kvm, sp) && !MUTANT(fault_into_obsolete_root)))
		return true;
	/*
	 * Nothing tells of a root without a shadow page, PAE's, whether it still is good: the
	 * request, which is made with mmu_lock, says that it may not be.
	 */
	if (!sp && __atomic_load_n(&vcpu->requests, __ATOMIC_ACQUIRE) & KVM_REQ_MMU_FREE_OBSOLETE)
		return true;
	return fault->slot && !MUTANT(retry_not_under_lock) &&
	       mmu_invalidate_retry_gfn(vcpu->kvm, fault->mmu_seq, fault->gfn);
}

/* --- direct faults ---------------------------------------------------------------------------------- */

/* Part of the stage that maps. */
static bool stale_stage(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	u64 t = stage_begin(vcpu);
	bool stale = is_page_fault_stale(vcpu, fault);

	stage_end(vcpu, fault, STAGE_STALE, t);
	return stale;
}

static int map_with_tdp_mmu(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	int r = RET_PF_RETRY;

	hw_read_lock(vcpu->kvm);
	if (!stale_stage(vcpu, fault))
		r = kvm_tdp_mmu_map(vcpu, fault);
	hw_read_unlock(vcpu->kvm);
	return r;
}

static int map_with_shadow_pages(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	int r;

	hw_write_lock(vcpu->kvm);
	/*
	 * First: this may zap, and what it zaps may be what the check below would have found
	 * to be all right.
	 */
	r = make_mmu_pages_available(vcpu);
	if (!r)
		r = stale_stage(vcpu, fault) ? RET_PF_RETRY : direct_map(vcpu, fault);
	hw_write_unlock(vcpu->kvm);
	return r;
}

int direct_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	/* Not to be asked again later: another vCPU may be about to change what it depends on. */
	struct kvm_mmu_page *root = root_to_sp(vcpu->mmu->root.hpa);
	bool tdp_mmu = root && root->tdp_mmu_page;
	u64 t;
	int r;

	fault->gpa = fault->addr;
	fault->gfn = fault->addr >> PAGE_SHIFT;
	fault->slot = kvm_vcpu_gfn_to_memslot(vcpu, fault->gfn);
	/* Tables for a guest without paging may be PAE's, whose top entries map no page. */
	if (!fault->is_tdp && fault->max_level > PG_LEVEL_2M)
		fault->max_level = PG_LEVEL_2M;

	t = stage_begin(vcpu);
	r = page_fault_handle_page_track(vcpu, fault) ? RET_PF_EMULATE : RET_PF_CONTINUE;
	stage_end(vcpu, fault, STAGE_TRACK, t);
	if (r != RET_PF_CONTINUE)
		return r;

	t = stage_begin(vcpu);
	r = fast_page_fault(vcpu, fault);
	stage_end(vcpu, fault, STAGE_FAST, t);
	if (r != RET_PF_INVALID)
		return r;

	t = stage_begin(vcpu);
	r = mmu_topup_memory_caches(vcpu, false);
	stage_end(vcpu, fault, STAGE_TOPUP, t);
	if (r)
		return r;

	t = stage_begin(vcpu);
	r = kvm_faultin_pfn(vcpu, fault, ACC_ALL);
	stage_end(vcpu, fault, STAGE_FAULTIN, t);
	if (r != RET_PF_CONTINUE)
		return r;

	hw_yield_point(vcpu->kvm, "direct_page_fault: mmu_lock");
	t = stage_begin(vcpu);
	r = tdp_mmu ? map_with_tdp_mmu(vcpu, fault) : map_with_shadow_pages(vcpu, fault);
	stage_end(vcpu, fault, STAGE_MAP, t);
	return r;
}

/* --- all faults ---------------------------------------------------------------------------------------- */

static int do_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault)
{
	int r;

	vcpu_stat_inc(vcpu, pf_taken);
	r = vcpu->mmu->page_fault(vcpu, fault);
	MMU_BUG_ON(r == RET_PF_INVALID || r == RET_PF_CONTINUE);

	if (r == RET_PF_FIXED)
		vcpu_stat_inc(vcpu, pf_fixed);
	else if (r == RET_PF_EMULATE)
		vcpu_stat_inc(vcpu, pf_emulate);
	else if (r == RET_PF_SPURIOUS)
		vcpu_stat_inc(vcpu, pf_spurious);
	return r;
}

/* As kvm_mmu_page_fault(), *@gfn for *@emulate_gpa. */
static int handle_page_fault(struct kvm_vcpu *vcpu, struct kvm_page_fault *fault, gfn_t *gfn)
{
	const u64 nested_table = NPF_TABLE | PFERR_W | PFERR_P;
	bool direct = vcpu->mmu->root_role.direct;
	int r = RET_PF_INVALID;

	if (vcpu->mmu->root.hpa == INVALID_PAGE)
		return RET_PF_RETRY;

	if (fault->rsvd) {
		u64 t = stage_begin(vcpu);

		r = handle_mmio_page_fault(vcpu, fault->addr, direct, gfn);
		stage_end(vcpu, fault, STAGE_MMIO, t);
	}
	if (r == RET_PF_INVALID) {
		r = do_page_fault(vcpu, fault);
		*gfn = fault->gfn;
		/*
		 * The processor itself could not set A or D in a guest's table because that is
		 * shadowed, for a guest of the guest's: there is no instruction to emulate.
		 */
		if (r == RET_PF_EMULATE && direct && fault->slot &&
		    (fault->error_code & nested_table) == nested_table &&
		    kvm_mmu_unprotect_page(vcpu, fault->gfn))
			r = RET_PF_RETRY;
	}
	return r;
}

int kvm_mmu_page_fault(struct kvm_vcpu *vcpu, u64 addr, u64 error_code, gpa_t *emulate_gpa)
{
	struct kvm_mmu *mmu = vcpu->mmu;
	struct kvm_page_fault fault = {
		.addr = addr,
		.error_code = error_code,
		.exec = error_code & PFERR_F,
		.write = error_code & PFERR_W,
		.present = error_code & PFERR_P,
		.rsvd = error_code & PFERR_RSVD,
		.user = error_code & PFERR_U,
		.is_tdp =
			mmu_params_tdp(&vcpu->kvm->params) && mmu->page_fault == direct_page_fault,
		.nx_huge_page_workaround_enabled = is_nx_huge_page_enabled(vcpu->kvm),
		.max_level = (u8)vcpu->kvm->params.max_huge_level,
		.req_level = PG_LEVEL_4K,
		.goal_level = PG_LEVEL_4K,
		.host_level = PG_LEVEL_4K,
	};
	u64 t = stage_begin(vcpu);
	gfn_t gfn = 0;
	int r = handle_page_fault(vcpu, &fault, &gfn);

	if (r == RET_PF_EMULATE && emulate_gpa)
		*emulate_gpa = gfn << PAGE_SHIFT | (addr & (SZ_4K - 1));
	stage_end(vcpu, &fault, STAGE_WHOLE, t);
	return r;
}

int kvm_mmu_misconfig(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	gpa_t ignored;

	return kvm_mmu_page_fault(vcpu, gpa, PFERR_RSVD, &ignored);
}
