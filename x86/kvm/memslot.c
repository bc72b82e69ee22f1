// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_USER_MEMORY_REGION. The slots of an address space are an array that is replaced as a whole. A slot
 * that is to be deleted or moved is marked invalid first, and what is mapped of it goes while faults on it
 * wait; only then it leaves the array.
 */
#include <stdlib.h>
#include <string.h>

#include "x86/kvm/hw_priv.h"
#include "x86/kvm/sched.h"

#define MAX_NR_PAGES ((1ull << 31) - 1)

enum change {
	CREATE,
	DELETE,
	MOVE,
	FLAGS,
};

static struct kvm_memory_slot *find_id(struct kvm_memslots *slots, u16 id)
{
	unsigned int i;

	for (i = 0; slots && i < slots->nr; i++)
		if (slots->slot[i]->id == id)
			return slots->slot[i];
	return NULL;
}

static bool overlaps(const struct kvm_memslots *slots, u16 id, gfn_t base, u64 npages)
{
	unsigned int i;

	for (i = 0; slots && i < slots->nr; i++) {
		const struct kvm_memory_slot *s = slots->slot[i];

		if (s->id != id && base < s->base_gfn + s->npages && s->base_gfn < base + npages)
			return true;
	}
	return false;
}

/* The slots with @old replaced by @new; either may be NULL. */
static struct kvm_memslots *slots_with(const struct kvm_memslots *slots,
				       const struct kvm_memory_slot *old,
				       struct kvm_memory_slot *new)
{
	unsigned int nr = slots ? slots->nr : 0, i, n = 0;
	struct kvm_memslots *s = malloc(sizeof(*s) + (nr + 1) * sizeof(s->slot[0]));

	if (!s)
		return NULL;
	for (i = 0; i < nr; i++) {
		if (new && slots->slot[i]->base_gfn > new->base_gfn) {
			s->slot[n++] = new;
			new = NULL;
		}
		if (slots->slot[i] != old)
			s->slot[n++] = slots->slot[i];
	}
	if (new)
		s->slot[n++] = new;
	s->nr = n;
	return s;
}

/* Makes @slots the ones in use, and lets go of slots_arch_lock; when it returns nobody looks at the older ones any more. */
static void activate(struct vm *vm, int as_id, struct kvm_memslots *slots)
{
	struct kvm *kvm = &vm->kvm;
	struct kvm_memslots *old = kvm->memslots[as_id];
	u64 gen = old->generation;

	/*
	 * A generation with the update bit fits no MMIO SPTE: what is cached of the old slots while
	 * vCPUs still see them is not taken for the new ones'.
	 */
	slots->generation = gen | KVM_MEMSLOT_GEN_UPDATE;
	host_lock();
	__atomic_store_n(&kvm->memslots[as_id], slots, __ATOMIC_SEQ_CST);
	host_unlock();
	hw_spin_unlock(&kvm->arch.slots_arch_lock);
	hw_yield_point(kvm, "memslots");
	hw_rcu_synchronize(kvm);
	gen += KVM_ADDRESS_SPACES;
	kvm_mmu_invalidate_mmio_sptes(kvm, gen);
	__atomic_store_n(&slots->generation, gen, __ATOMIC_RELEASE);
	free(old);
}

static int bitmap_alloc(struct kvm *kvm, struct kvm_memory_slot *new)
{
	u64 words = (new->npages + 63) / 64;

	new->dirty_bitmap = calloc(words, sizeof(u64));
	if (!new->dirty_bitmap)
		return -ENOMEM;
	if (kvm->manual_dirty_log_protect && kvm->initially_all_set &&
	    !MUTANT(initially_set_ignored)) {
		memset(new->dirty_bitmap, 0xff, words * sizeof(u64));
		if (new->npages % 64)
			new->dirty_bitmap[words - 1] = BIT(new->npages % 64) - 1;
	}
	return 0;
}

/* What the new slot needs besides itself. */
static int prepare(struct vm *vm, const struct kvm_memory_slot *old, struct kvm_memory_slot *new,
		   enum change change)
{
	struct kvm *kvm = &vm->kvm;
	int ret = 0;

	if (!(new->flags &KVM_MEM_LOG_DIRTY_PAGES))
		new->dirty_bitmap = NULL;
	else if (old && old->dirty_bitmap)
		new->dirty_bitmap = old->dirty_bitmap;
	else if (!vm->dirty_ring_size)
		ret = bitmap_alloc(kvm, new);
	if (ret)
		return ret;
	if (change == FLAGS) {
		new->arch = old->arch;
		return 0;
	}
	memset(&new->arch, 0, sizeof(new->arch));
	ret = kvm_mmu_slot_create(kvm, new);
	if (ret && new->dirty_bitmap && (!old || new->dirty_bitmap != old->dirty_bitmap))
		free(new->dirty_bitmap);
	return ret;
}

/* @old: what is in the array now, or NULL. @new: what is to be; NULL: delete. Consumes @new on success. */
static int set_slot(struct vm *vm, int as_id, struct kvm_memory_slot *old,
		    struct kvm_memory_slot *new, enum change change)
{
	struct kvm_memory_slot *invalid = NULL, *current = old;
	struct kvm_memslots *with = NULL, *final, *back = NULL;
	struct kvm *kvm = &vm->kvm;
	int ret;

	if (change == DELETE || change == MOVE) {
		hw_spin_lock(&kvm->arch.slots_arch_lock);
		invalid = malloc(sizeof(*invalid));
		if (invalid) {
			*invalid = *old;
			invalid->flags |= KVM_MEMSLOT_INVALID;
			with = slots_with(kvm->memslots[as_id], old, invalid);
		}
		/* To go back by, where a failure must not need memory. */
		back = slots_with(kvm->memslots[as_id], NULL, NULL);
		if (!with || !back) {
			hw_spin_unlock(&kvm->arch.slots_arch_lock);
			free(invalid);
			free(with);
			free(back);
			return -ENOMEM;
		}
		activate(vm, as_id, with);
		kvm_mmu_flush_slot(kvm, invalid);
		current = invalid;
	}
	hw_spin_lock(&kvm->arch.slots_arch_lock);
	/* What the first shadow root brought meanwhile. */
	if (invalid)
		old->arch = invalid->arch;
	ret = new ? prepare(vm, old, new, change) : 0;
	final = ret ? NULL : slots_with(kvm->memslots[as_id], current, new);
	if (!final) {
		if (!ret && new) {
			if (change != FLAGS)
				kvm_mmu_slot_free(new);
			if (new->dirty_bitmap && (!old || new->dirty_bitmap != old->dirty_bitmap))
				free(new->dirty_bitmap);
		}
		if (back)
			activate(vm, as_id, back);
		else
			hw_spin_unlock(&kvm->arch.slots_arch_lock);
		free(invalid);
		return -ENOMEM;
	}
	free(back);
	if (new &&change == CREATE)
		host_slot_added(new->hva, new->npages << PAGE_SHIFT);
	activate(vm, as_id, final);
	free(invalid);
	return 0;
}

/* After the change: the MMU's share, and what the old slot leaves. */
static void commit(struct vm *vm, struct kvm_memory_slot *old, struct kvm_memory_slot *new,
		   enum change change)
{
	struct kvm *kvm = &vm->kvm;

	if ((change == CREATE || change == DELETE) && !kvm->arch.n_requested_mmu_pages)
		kvm_mmu_change_mmu_pages(kvm, 0);
	if (change == CREATE || change == MOVE)
		kvm_mmu_slot_added(kvm, new);
	if (change == FLAGS && !(new->flags &KVM_MEM_READONLY))
		kvm_mmu_slot_apply_flags(kvm, old->flags, new);
	if (new)
		__atomic_store_n(&new->log_starting, false, __ATOMIC_RELEASE);
	if (!old)
		return;
	if (change != FLAGS)
		kvm_mmu_slot_free(old);
	if (old->dirty_bitmap && (!new || new->dirty_bitmap != old->dirty_bitmap))
		free(old->dirty_bitmap);
	if (change == DELETE)
		host_slot_removed(old->hva, old->npages << PAGE_SHIFT);
	free(old);
}

static bool valid(const struct kvm_userspace_memory_region *m)
{
	u64 size = m->memory_size;

	return !(m->flags & ~(u32)(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) &&
	       !((size | m->guest_phys_addr | m->userspace_addr) & (SZ_4K - 1)) &&
	       m->userspace_addr + size >= m->userspace_addr &&
	       m->userspace_addr + size <= (1ull << 47) && (m->slot >> 16) < KVM_ADDRESS_SPACES &&
	       (u16)m->slot < MAX_MEMSLOTS && m->guest_phys_addr + size >= m->guest_phys_addr &&
	       (size >> PAGE_SHIFT) <= MAX_NR_PAGES;
}

/* The last frame that a guest can have. */
static gfn_t max_gfn(const struct kvm *kvm)
{
	unsigned int bits = mmu_params_tdp(&kvm->params) ? kvm->params.maxphyaddr : 52;

	return (1ull << (bits - PAGE_SHIFT)) - 1;
}

static int set_region(struct vm *vm, const struct kvm_userspace_memory_region *m)
{
	int as_id = m->slot >> 16;
	struct kvm_memslots *slots = vm->kvm.memslots[as_id];
	struct kvm_memory_slot *old = find_id(slots, m->slot), *new = NULL;
	gfn_t base = m->guest_phys_addr >> PAGE_SHIFT;
	u64 npages = m->memory_size >> PAGE_SHIFT;
	bool logged, logs;
	enum change change;
	int ret;

	if (!npages) {
		if (!old)
			return -EINVAL;
		change = DELETE;
	} else if (!old) {
		change = CREATE;
	} else {
		if (m->userspace_addr != old->hva || npages != old->npages ||
		    ((m->flags ^ old->flags) & KVM_MEM_READONLY))
			return -EINVAL;
		if (base != old->base_gfn)
			change = MOVE;
		else if (m->flags != old->flags)
			change = FLAGS;
		else
			return 0;
	}
	if ((change == CREATE || change == MOVE) && overlaps(slots, m->slot, base, npages))
		return -EEXIST;
	if ((change == CREATE || change == MOVE) && base + npages - 1 > max_gfn(&vm->kvm))
		return -EINVAL;
	if (change != DELETE) {
		new = calloc(1, sizeof(*new));
		if (!new)
			return -ENOMEM;
		*new = (struct kvm_memory_slot){
			.base_gfn = base,
			.npages = npages,
			.hva = m->userspace_addr,
			.flags = m->flags,
			.id = m->slot,
			.as_id = as_id,
		};
	}
	logged = old && (old->flags & KVM_MEM_LOG_DIRTY_PAGES);
	logs = new && (new->flags &KVM_MEM_LOG_DIRTY_PAGES);
	if (logs && !logged) {
		new->log_starting = true;
		dirty_log_slots(vm, 1);
	}
	ret = set_slot(vm, as_id, old, new, change);
	if (ret)
		free(new);
	else
		commit(vm, old, new, change);
	/* Also when it failed: what it would have been is no more to come. */
	if (ret ? logs && !logged : logged && !logs)
		dirty_log_slots(vm, -1);
	return ret;
}

int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region)
{
	int ret;

	if (!valid(region))
		return -EINVAL;
	hw_mutex_lock(&vm->slots_lock);
	ret = set_region(vm, region);
	pthread_mutex_unlock(&vm->slots_lock);
	return ret;
}

int memslots_init(struct vm *vm)
{
	unsigned int as_id;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACES; as_id++) {
		struct kvm_memslots *slots = calloc(1, sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		slots->generation = as_id;
		vm->kvm.memslots[as_id] = slots;
	}
	return 0;
}

void memslots_free(struct vm *vm)
{
	unsigned int as_id, i;

	for (as_id = 0; as_id < KVM_ADDRESS_SPACES; as_id++) {
		struct kvm_memslots *slots = vm->kvm.memslots[as_id];

		host_lock();
		vm->kvm.memslots[as_id] = NULL;
		host_unlock();
		for (i = 0; slots && i < slots->nr; i++) {
			struct kvm_memory_slot *s = slots->slot[i];

			kvm_mmu_slot_free(s);
			host_slot_removed(s->hva, s->npages << PAGE_SHIFT);
			free(s->dirty_bitmap);
			free(s);
		}
		free(slots);
	}
}
