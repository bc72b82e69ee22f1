/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files behind vm.h share and tests have no use for.
 */
#ifndef LIB_VM_INTERNAL_H
#define LIB_VM_INTERNAL_H

#include "vm.h"

/* The list of live VMs, for the report when the case's time is up. */
void vm_register(struct vm *vm);
void vm_unregister(struct vm *vm);
void vcpu_drop_timer(struct vcpu *v);
/* Enables the dirty ring with config.dirty_ring_entries, or skips. */
void vm_enable_dirty_ring(struct vm *vm);
void vcpu_drop_ring(struct vcpu *v);

#endif
