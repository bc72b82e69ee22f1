/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of the shadow MMU by itself share: a VM with shadow paging that has one memslot, and a
 * vCPU that nobody runs.
 */
#ifndef TESTS_UNIT_TEST_MMU_VM_H
#define TESTS_UNIT_TEST_MMU_VM_H

#include <stdlib.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"

#define NR_FRAMES 2048

static struct vm *vm;
static struct kvm *kvm;
static struct kvm_vcpu *vcpu;
static struct kvm_memory_slot slot;
static struct kvm_memslots *slots;

/* The VM, with NR_FRAMES frames from 0 on. */
static void make_vm(void)
{
	vm = calloc(1, sizeof(*vm));
	kvm = &vm->kvm;
	ASSERT_EQ(hw_vm_init(vm), 0);
	kvm->params = mmu_params_default();
	kvm->params.tdp = false;
	ASSERT_EQ(kvm_mmu_init_vm(kvm), 0);
	slot = (struct kvm_memory_slot){.npages = NR_FRAMES, .hva = SZ_1G};
	ASSERT_EQ(kvm_mmu_slot_create(kvm, &slot), 0);
	slots = calloc(1, sizeof(*slots) + sizeof(slots->slot[0]));
	slots->nr = 1;
	slots->slot[0] = &slot;
	kvm->memslots[0] = slots;
	kvm->arch.n_max_mmu_pages = 100000;
	vcpu = calloc(1, sizeof(*vcpu));
	vcpu->kvm = kvm;
	ASSERT_EQ(kvm_mmu_create(vcpu), 0);
}

#endif
