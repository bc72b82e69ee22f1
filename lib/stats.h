/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine's counters by name, from KVM_GET_STATS_FD: pages_4k, pages_2m,
 * pages_1g, mmu_shadow_zapped, mmu_unsync, remote_tlb_flush … of a VM;
 * pf_taken, pf_fixed, pf_fast, pf_spurious … of a vCPU. They tell by which
 * mechanism an outcome came about. Documentation/virt/kvm/api.rst 4.133.
 */
#ifndef LIB_STATS_H
#define LIB_STATS_H

#include "vm.h"

/*
 * The counter now. Skips the case when the engine has no binary statistics or
 * no counter of that name: a channel that is missing is a requirement not met.
 * vcpu_stat() can be asked while the vCPU runs on another thread, except the
 * first time, which waits for it.
 */
u64 vm_stat(struct vm *vm, const char *name);
u64 vcpu_stat(struct vcpu *v, const char *name);
/* Sum of a vCPU counter over all vCPUs. */
u64 vcpus_stat(struct vm *vm, const char *name);
/* Whether there is such a counter; never skips. */
bool vm_has_stat(struct vm *vm, const char *name);
bool vcpu_has_stat(struct vcpu *v, const char *name);

#endif
