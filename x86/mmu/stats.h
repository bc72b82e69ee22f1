/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The counters of a VM and of a vCPU under the names of the kernel's binary statistics. Each is a u64 that is changed
 * atomically (VM) or by its vCPU's thread alone.
 */
#ifndef X86_MMU_STATS_H
#define X86_MMU_STATS_H

#include "x86/arch/types.h"

/* X(name, is a value now rather than a sum) */
#define KVM_VM_STATS(X)                    \
	X(remote_tlb_flush, 0)             \
	X(remote_tlb_flush_requests, 0)    \
	X(mmu_shadow_zapped, 0)            \
	X(mmu_pte_write, 0)                \
	X(mmu_pde_zapped, 0)               \
	X(mmu_flooded, 0)                  \
	X(mmu_recycled, 0)                 \
	X(mmu_cache_miss, 0)               \
	X(mmu_unsync, 1)                   \
	X(pages_4k, 1)                     \
	X(pages_2m, 1)                     \
	X(pages_1g, 1)                     \
	X(nx_lpage_splits, 1)              \
	X(max_mmu_page_hash_collisions, 1) \
	X(max_mmu_rmap_size, 1)

#define KVM_VCPU_STATS(X)          \
	X(pf_taken, 0)             \
	X(pf_fixed, 0)             \
	X(pf_emulate, 0)           \
	X(pf_spurious, 0)          \
	X(pf_fast, 0)              \
	X(pf_mmio_spte_created, 0) \
	X(pf_guest, 0)             \
	X(tlb_flush, 0)            \
	X(invlpg, 0)               \
	X(exits, 0)                \
	X(io_exits, 0)             \
	X(mmio_exits, 0)           \
	X(signal_exits, 0)         \
	X(irq_window_exits, 0)     \
	X(nmi_window_exits, 0)     \
	X(halt_exits, 0)           \
	X(request_irq_exits, 0)    \
	X(irq_exits, 0)            \
	X(insn_emulation, 0)       \
	X(insn_emulation_fail, 0)  \
	X(hypercalls, 0)           \
	X(irq_injections, 0)       \
	X(nmi_injections, 0)       \
	X(nested_run, 0)           \
	X(guest_mode, 1)           \
	X(mmu_loads, 0) /* roots built or looked up: kvm_mmu_load() ran */

#define KVM_STAT_FIELD(name, now) u64 name;
struct kvm_vm_stats {
	KVM_VM_STATS(KVM_STAT_FIELD)
};
struct kvm_vcpu_stats {
	KVM_VCPU_STATS(KVM_STAT_FIELD)
};

#endif
