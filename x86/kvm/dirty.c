// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a bitmap of each slot, and marking pages in it or in the ring.
 */
#include <stdlib.h>
#include <string.h>

#include "x86/kvm/ring.h"
#include "x86/kvm/sched.h"

/* --- the processor's log ------------------------------------------------------------ */

void dirty_log_slots(struct vm *vm, int count)
{
	unsigned int now = __atomic_add_fetch(&vm->nr_logging, count, __ATOMIC_SEQ_CST);

	/*
	 * A vCPU in the guest whose processor doesn't log would set a D bit that is cleared next,
	 * and no later write to that page would be seen.
	 */
	if (count > 0 && now == 1 && mmu_params_pml(&vm->kvm.params))
		hw_request_all(&vm->kvm, KVM_REQ_DIRTY_LOG);
}

/* Where an empty log begins: at its end, or as far from its start as the ring has room for. */
static u16 first_index(const struct vcpu *v)
{
	return dirty_ring_pml_size(v->vm) - 1;
}

struct pml *pml_begin(struct vcpu *v)
{
	/* What a nested guest writes would be logged by addresses that are not this VM's. */
	if (!mmu_params_pml(&v->vm->kvm.params) || v->kvm.regs.guest_mode ||
	    !__atomic_load_n(&v->vm->nr_logging, __ATOMIC_SEQ_CST))
		return NULL;
	v->pml.index = first_index(v);
	return &v->pml;
}

void pml_flush(struct vcpu *v)
{
	struct pml *pml = v->nested.pml;
	unsigned int i, first;

	if (!pml || pml->index == first_index(v))
		return;
	first = first_index(v);
	hw_rcu_read_lock();
	/* From the one that was written first. An index of 0xffff: all of it. */
	for (i = 0; i < (u16)(first - pml->index); i++) {
		gfn_t gfn = pml->entry[first - i] >> PAGE_SHIFT;

		kvm_mark_page_dirty(&v->vm->kvm, &v->kvm, kvm_vcpu_gfn_to_memslot(&v->kvm, gfn),
				    gfn);
	}
	hw_rcu_read_unlock();
	pml->index = first;
}

/*
 * What vCPUs have written by now is in the log: those in the guest leave it, and empty the processor's
 * log before they count as outside.
 */
static void sync_dirty_log(struct vm *vm)
{
	if (mmu_params_pml(&vm->kvm.params))
		hw_request_all(&vm->kvm, KVM_REQ_DIRTY_LOG);
}

/* --- bitmaps ------------------------------------------------------------------------- */

static struct kvm_memory_slot *slot_by_id(struct vm *vm, u32 id, int *err)
{
	struct kvm_memslots *slots;
	unsigned int i;

	*err = -EINVAL;
	if ((id >> 16) >= KVM_ADDRESS_SPACES || (u16)id >= MAX_MEMSLOTS)
		return NULL;
	*err = -ENOENT;
	slots = vm->kvm.memslots[id >> 16];
	for (i = 0; slots && i < slots->nr; i++)
		if (slots->slot[i]->id == (u16)id)
			return slots->slot[i];
	return NULL;
}

struct kvm_memory_slot *dirty_slot(struct vm *vm, u32 id)
{
	int err;

	return slot_by_id(vm, id, &err);
}

/* Fills @buf with the log of @slot and, unless clearing is manual, protects those pages again. */
static void fetch(struct kvm *kvm, struct kvm_memory_slot *slot, u64 *buf, u64 words)
{
	bool flush = false;
	u64 i, mask;

	if (kvm->manual_dirty_log_protect) {
		for (i = 0; i < words; i++)
			buf[i] = __atomic_load_n(&slot->dirty_bitmap[i], __ATOMIC_RELAXED);
		return;
	}
	hw_write_lock(kvm);
	for (i = 0; i < words; i++) {
		buf[i] = 0;
		if (!__atomic_load_n(&slot->dirty_bitmap[i], __ATOMIC_RELAXED))
			continue;
		if (MUTANT(log_read_after_protecting)) {
			kvm_mmu_log_dirty_masked(kvm, slot, i * 64, slot->dirty_bitmap[i]);
			hw_yield_point(kvm, "log protected");
		}
		mask = __atomic_exchange_n(&slot->dirty_bitmap[i], 0, __ATOMIC_SEQ_CST);
		buf[i] = mask;
		flush = true;
		if (MUTANT(log_read_after_protecting))
			continue;
		kvm_mmu_log_dirty_masked(kvm, slot, i * 64,
					 MUTANT(log_get_protects_one) ? mask & -mask : mask);
	}
	hw_write_unlock(kvm);
	if (flush && !MUTANT(log_get_without_flush))
		hw_flush_remote_range(kvm, slot->base_gfn, slot->npages);
}

int dirty_log_get(struct vm *vm, struct kvm_dirty_log *log)
{
	struct kvm_memory_slot *slot;
	u64 words, *buf;
	int ret;

	if (vm->dirty_ring_size)
		return -ENXIO;
	hw_mutex_lock(&vm->slots_lock);
	slot = slot_by_id(vm, log->slot, &ret);
	if (slot && slot->dirty_bitmap) {
		words = (slot->npages + 63) / 64;
		buf = malloc(words * sizeof(u64));
		ret = buf ? 0 : -ENOMEM;
		if (buf) {
			sync_dirty_log(vm);
			fetch(&vm->kvm, slot, buf, words);
			ret = user_write(log->dirty_bitmap, buf, words * sizeof(u64));
			free(buf);
		}
	} else if (slot) {
		ret = -ENOENT;
	}
	pthread_mutex_unlock(&vm->slots_lock);
	return ret;
}

static int clear(struct kvm *kvm, struct kvm_memory_slot *slot,
		 const struct kvm_clear_dirty_log *log)
{
	u64 first = log->first_page, n = log->num_pages, i, mask, word, *bits;
	bool flush = false;
	int ret;

	if (first > slot->npages || n > slot->npages - first ||
	    (n < slot->npages - first && (n & 63)))
		return -EINVAL;
	bits = malloc((n + 63) / 64 * sizeof(u64) + 1);
	if (!bits)
		return -ENOMEM;
	ret = user_read(bits, log->dirty_bitmap, (n + 63) / 64 * sizeof(u64));
	if (ret)
		goto out;
	hw_write_lock(kvm);
	for (i = 0; i < (n + 63) / 64; i++) {
		mask = bits[i];
		if (n - i * 64 < 64)
			mask &= BIT(n - i * 64) - 1;
		if (!mask)
			continue;
		word = __atomic_fetch_and(&slot->dirty_bitmap[first / 64 + i], ~mask,
					  __ATOMIC_SEQ_CST);
		mask &= word;
		if (!mask)
			continue;
		flush = true;
		if (!MUTANT(log_clear_protects_none))
			kvm_mmu_log_dirty_masked(kvm, slot, first + i * 64, mask);
	}
	hw_write_unlock(kvm);
	if (flush && !MUTANT(log_clear_without_flush))
		hw_flush_remote_range(kvm, slot->base_gfn, slot->npages);
out:
	free(bits);
	return ret;
}

int dirty_log_clear(struct vm *vm, struct kvm_clear_dirty_log *log)
{
	struct kvm_memory_slot *slot;
	int ret;

	if (vm->dirty_ring_size)
		return -ENXIO;
	if (log->first_page & 63)
		return -EINVAL;
	hw_mutex_lock(&vm->slots_lock);
	slot = slot_by_id(vm, log->slot, &ret);
	if (slot && slot->dirty_bitmap) {
		sync_dirty_log(vm);
		ret = clear(&vm->kvm, slot, log);
	} else if (slot) {
		ret = -ENOENT;
	}
	pthread_mutex_unlock(&vm->slots_lock);
	return ret;
}

void kvm_mark_page_dirty(struct kvm *kvm, struct kvm_vcpu *vcpu, struct kvm_memory_slot *slot,
			 gfn_t gfn)
{
	struct vm *vm = to_vm(kvm);
	struct vcpu *v = vcpu ? to_vcpu(vcpu) : hw_self()->vcpu;
	u64 offset;

	if (!slot || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return;
	offset = gfn - slot->base_gfn;
	if (MUTANT(dirty_bit_off_by_one) && offset + 1 < slot->npages)
		offset++;
	if (vm->dirty_ring_size) {
		if (v && v->vm == vm)
			dirty_ring_push(v, (u32)slot->as_id << 16 | slot->id, offset);
	} else if (slot->dirty_bitmap) {
		__atomic_fetch_or(&slot->dirty_bitmap[offset / 64], BIT(offset % 64),
				  __ATOMIC_SEQ_CST);
	}
}
