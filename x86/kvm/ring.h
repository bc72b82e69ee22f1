/* SPDX-License-Identifier: GPL-2.0-only */
/* What the two forms of the dirty log share. */
#ifndef X86_KVM_RING_H
#define X86_KVM_RING_H

#include "x86/kvm/hw_priv.h"

/* The slot that KVM_GET_DIRTY_LOG calls @id (address space in the high half); NULL: none. slots_lock. */
struct kvm_memory_slot *dirty_slot(struct vm *vm, u32 id);
/* Enters a page into the ring of @v; its thread. */
void dirty_ring_push(struct vcpu *v, u32 slot, u64 offset);

#endif
