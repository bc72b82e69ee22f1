// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU's beginning and end, of a VM and of a vCPU.
 */
#include "x86/mmu/internal.h"

int kvm_mmu_init_vm(struct kvm *kvm)
{
	struct kvm_mmu_arch *arch = &kvm->arch;
	int r;

	list_init(&arch->active_mmu_pages);
	list_init(&arch->zapped_obsolete_pages);
	list_init(&arch->possible_nx_huge_pages);
	list_init(&arch->tdp_mmu_roots);
	list_init(&arch->tdp_mmu_pages);
	arch->n_max_mmu_pages = kvm_mmu_default_pages(kvm);

	r = spte_format_init(kvm);
	if (r)
		return r;
	arch->page_hash = hw_alloc(KVM_MMU_HASH_SIZE * sizeof(*arch->page_hash));
	if (!arch->page_hash) {
		hw_free(arch->format);
		arch->format = NULL;
		return -ENOMEM_;
	}
	for (unsigned int i = 0; i < KVM_MMU_HASH_SIZE; i++)
		list_init(&arch->page_hash[i]);
	return 0;
}

void kvm_mmu_uninit_vm(struct kvm *kvm)
{
	struct kvm_mmu_arch *arch = &kvm->arch;

	/* With its roots' vCPUs gone, nothing holds any page. */
	kvm_mmu_zap_all(kvm);
	if (is_tdp_mmu_enabled(kvm))
		kvm_mmu_uninit_tdp_mmu(kvm);
	MMU_BUG_ON(!list_empty(&arch->active_mmu_pages) || arch->n_used_mmu_pages);
	/* Freeing that was put off may look at the VM. */
	mmu_trace_stop(kvm);
	hw_rcu_synchronize(kvm);
	hw_free(arch->page_hash);
	hw_free(arch->format);
	arch->page_hash = NULL;
	arch->format = NULL;
}

static void init_mmu(struct kvm_mmu *mmu)
{
	mmu->root = (struct kvm_mmu_root_info){.hpa = INVALID_PAGE};
	for (int i = 0; i < KVM_PREV_ROOTS; i++)
		mmu->prev_roots[i] = (struct kvm_mmu_root_info){.hpa = INVALID_PAGE};
}

int kvm_mmu_create(struct kvm_vcpu *vcpu)
{
	init_mmu(&vcpu->root_mmu);
	init_mmu(&vcpu->guest_mmu);
	init_mmu(&vcpu->nested_mmu);
	vcpu->mmu = &vcpu->root_mmu;
	vcpu->walk_mmu = &vcpu->root_mmu;
	vcpu_clear_mmio_info(vcpu, MMIO_GVA_ANY);
	return 0;
}

static void free_own_tables(struct kvm_mmu *mmu)
{
	u64 **tables[] = {&mmu->pae_root, &mmu->pml4_root, &mmu->pml5_root};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		if (*tables[i])
			hw_table_free(*tables[i]);
		*tables[i] = NULL;
	}
}

void kvm_mmu_destroy(struct kvm_vcpu *vcpu)
{
	kvm_mmu_unload(vcpu);
	free_own_tables(&vcpu->root_mmu);
	free_own_tables(&vcpu->guest_mmu);
	mmu_free_memory_caches(vcpu);
}
