// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a ring for each vCPU, in memory shared with user space: the vCPU's thread fills entries
 * and marks them dirty, user space takes them and marks them for reset, KVM_RESET_DIRTY_RINGS
 * protects their pages again and hands the entries back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "x86/kvm/ring.h"
#include "x86/kvm/sched.h"

#define MAX_ENTRIES 65536
/* Entries that one run of the guest may need after the ring was found not to be full. */
#define RESERVED 64

static u32 entries(const struct vm *vm)
{
	return vm->dirty_ring_size / sizeof(struct kvm_dirty_gfn);
}

int dirty_ring_enable(struct vm *vm, u32 bytes)
{
	int ret = -EINVAL;

	if (!bytes || (bytes & (bytes - 1)) || bytes < SZ_4K ||
	    bytes < RESERVED * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;
	if (bytes > MAX_ENTRIES * sizeof(struct kvm_dirty_gfn))
		return -E2BIG;
	hw_mutex_lock(&vm->lock);
	if (!vm->dirty_ring_size && !vm->kvm.nr_vcpus) {
		vm->dirty_ring_size = bytes;
		ret = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int dirty_ring_alloc(struct vcpu *v)
{
	void *p;

	if (!v->vm->dirty_ring_size)
		return 0;
	p = mmap(NULL, v->vm->dirty_ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	v->ring = p;
	v->ring_dirty = v->ring_reset = 0;
	return 0;
}

void dirty_ring_free(struct vcpu *v)
{
	if (v->ring)
		munmap(v->ring, v->vm->dirty_ring_size);
	v->ring = NULL;
}

static u32 used(const struct vcpu *v)
{
	return __atomic_load_n(&v->ring_dirty, __ATOMIC_RELAXED) -
	       __atomic_load_n(&v->ring_reset, __ATOMIC_ACQUIRE);
}

unsigned int dirty_ring_pml_size(const struct vm *vm)
{
	u32 share = entries(vm) / 4;

	/* Of a small ring not too much: it would count as full with little in it. */
	return vm->dirty_ring_size && share < PML_ENTRIES ? share : PML_ENTRIES;
}

bool dirty_ring_soft_full(struct vcpu *v)
{
	u32 reserved = RESERVED;

	if (mmu_params_pml(&v->vm->kvm.params))
		reserved += dirty_ring_pml_size(v->vm);
	return v->ring && used(v) >= entries(v->vm) - reserved && !MUTANT(ring_never_full);
}

void dirty_ring_push(struct vcpu *v, u32 slot, u64 offset)
{
	struct kvm_dirty_gfn *g = &v->ring[v->ring_dirty & (entries(v->vm) - 1)];

	MMU_BUG_ON(used(v) >= entries(v->vm));
	g->slot = slot;
	g->offset = offset;
	__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
	__atomic_store_n(&v->ring_dirty, v->ring_dirty + 1, __ATOMIC_RELAXED);
	if (dirty_ring_soft_full(v))
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_RING_FULL, __ATOMIC_SEQ_CST);
}

/* Entries of one slot that lie within 64 pages of each other, to be protected at once. */
struct batch {
	u32 slot;
	u64 offset, mask;
};

static void protect(struct vm *vm, const struct batch *b)
{
	struct kvm_memory_slot *slot;
	u64 last;

	if (!b->mask)
		return;
	slot = dirty_slot(vm, b->slot);
	last = 63 - __builtin_clzll(b->mask);
	/* User space writes these: anything may be there. */
	if (!slot || b->offset >= slot->npages || last >= slot->npages - b->offset)
		return;
	hw_write_lock(&vm->kvm);
	if (!MUTANT(ring_reset_protects_none))
		kvm_mmu_log_dirty_masked(&vm->kvm, slot, b->offset, b->mask);
	hw_write_unlock(&vm->kvm);
}

/* Whether the page fits into the batch, which then has it. */
static bool join(struct batch *b, u32 slot, u64 offset)
{
	u64 delta;

	if (!b->mask || slot != b->slot)
		return false;
	if (offset >= b->offset) {
		delta = offset - b->offset;
		if (delta >= 64)
			return false;
		b->mask |= BIT(delta);
		return true;
	}
	delta = b->offset - offset;
	if (delta >= 64 || (b->mask << delta >> delta != b->mask && !MUTANT(ring_batch_shifts_out)))
		return false;
	b->offset = offset;
	b->mask = b->mask << delta | 1;
	return true;
}

static int reset_ring(struct vm *vm, struct vcpu *v)
{
	struct batch b = {0};
	int count = 0;

	while (v->ring && count < (int)entries(vm)) {
		struct kvm_dirty_gfn *g = &v->ring[v->ring_reset & (entries(vm) - 1)];
		u32 slot;
		u64 offset;

		if (!(__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_RESET))
			break;
		slot = __atomic_load_n(&g->slot, __ATOMIC_RELAXED);
		offset = __atomic_load_n(&g->offset, __ATOMIC_RELAXED);
		__atomic_store_n(&g->flags, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&v->ring_reset, v->ring_reset + 1, __ATOMIC_RELEASE);
		count++;
		if (join(&b, slot, offset))
			continue;
		protect(vm, &b);
		b = (struct batch){slot, offset, 1};
	}
	protect(vm, &b);
	return count;
}

int dirty_ring_reset(struct vm *vm)
{
	unsigned int i, n;
	int count = 0;

	if (!vm->dirty_ring_size)
		return -EINVAL;
	hw_mutex_lock(&vm->slots_lock);
	n = __atomic_load_n(&vm->kvm.nr_vcpus, __ATOMIC_ACQUIRE);
	for (i = 0; i < n; i++)
		count += reset_ring(vm, to_vcpu(vm->kvm.vcpus[i]));
	/* Before anybody else who has slots_lock relies on what was protected: the auditor does. */
	if (count && !MUTANT(ring_reset_without_flush))
		hw_flush_remote(&vm->kvm);
	pthread_mutex_unlock(&vm->slots_lock);
	return count;
}
