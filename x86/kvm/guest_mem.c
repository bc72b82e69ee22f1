// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypervisor's own accesses to guest memory, by the slots and the host's mapping. Aligned accesses of up to
 * 8 bytes are single ones, as other vCPUs see them.
 */
#include <string.h>

#include "x86/kvm/host_priv.h"

/* The largest piece at @gpa that is aligned and not beyond @size. */
static unsigned int piece(gpa_t gpa, unsigned int size)
{
	unsigned int n;

	for (n = 8; n > size || gpa % n; n /= 2)
		;
	return n;
}

static struct kvm_memory_slot *slot_of(struct kvm_vcpu *vcpu, gpa_t gpa, bool write)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gpa >> PAGE_SHIFT);

	if (!slot || (slot->flags & KVM_MEMSLOT_INVALID) ||
	    (write && (slot->flags & KVM_MEM_READONLY) && !MUTANT(readonly_write_lands)))
		return NULL;
	return slot;
}

static u64 hva_of(const struct kvm_memory_slot *slot, gpa_t gpa)
{
	return gfn_to_hva(slot, gpa >> PAGE_SHIFT) + gpa % SZ_4K;
}

int guest_read(struct kvm_vcpu *vcpu, gpa_t gpa, void *buf, unsigned int size)
{
	struct kvm_memory_slot *slot;
	unsigned int n, done;
	int ret = 0;

	hw_rcu_read_lock();
	for (done = 0; done < size; done += n) {
		n = piece(gpa + done, size - done);
		slot = slot_of(vcpu, gpa + done, false);
		if (!slot || !hw_read(vcpu->kvm, hva_of(slot, gpa + done), (u8 *)buf + done, n)) {
			ret = -EFAULT;
			break;
		}
	}
	hw_rcu_read_unlock();
	return ret;
}

static void store(void *to, const void *from, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, from, size);
	switch (size) {
	case 1:
		__atomic_store_n((u8 *)to, value, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((u16 *)to, value, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((u32 *)to, value, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((u64 *)to, value, __ATOMIC_RELEASE);
	}
}

int guest_write(struct kvm_vcpu *vcpu, gpa_t gpa, const void *buf, unsigned int size)
{
	struct kvm_memory_slot *slot;
	unsigned int n, done;
	int ret = 0;
	void *at;

	hw_rcu_read_lock();
	for (done = 0; done < size; done += n) {
		n = piece(gpa + done, size - done);
		slot = slot_of(vcpu, gpa + done, true);
		at = slot ? host_write_begin(vcpu->kvm, hva_of(slot, gpa + done)) : NULL;
		if (!at) {
			ret = -EFAULT;
			break;
		}
		store(at, (const u8 *)buf + done, n);
		host_write_end();
		if (!MUTANT(emulated_write_not_logged))
			kvm_mark_page_dirty(vcpu->kvm, vcpu, slot, (gpa + done) >> PAGE_SHIFT);
	}
	hw_rcu_read_unlock();
	return ret;
}

/* One or two bytes are exchanged as part of their aligned word. */
static int cmpxchg_small(struct kvm_vcpu *vcpu, u64 hva, u64 *expected, u64 value,
			 unsigned int size)
{
	unsigned int shift = hva % 4 * 8;
	u32 mask = (size == 1 ? 0xffu : 0xffffu) << shift, word, old;
	void *at = host_write_begin(vcpu->kvm, hva & ~3ull);
	int ret;

	if (!at)
		return -EFAULT;
	word = __atomic_load_n((u32 *)at, __ATOMIC_ACQUIRE);
	do {
		old = word;
		ret = (old & mask) >> shift != (u32)*expected;
		if (ret)
			break;
	} while (!__atomic_compare_exchange_n((u32 *)at, &word,
					      (old & ~mask) | ((u32)value << shift & mask), false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	host_write_end();
	*expected = (old & mask) >> shift;
	return ret;
}

int guest_cmpxchg(struct kvm_vcpu *vcpu, gpa_t gpa, u64 *expected, u64 value, unsigned int size)
{
	struct kvm_memory_slot *slot;
	int ret = -EFAULT;

	hw_rcu_read_lock();
	slot = slot_of(vcpu, gpa, true);
	if (slot && !(gpa % size)) {
		if (size < 4)
			ret = cmpxchg_small(vcpu, hva_of(slot, gpa), expected, value, size);
		else
			ret = hw_cmpxchg(vcpu->kvm, hva_of(slot, gpa), expected, value, size);
		if (!ret && !MUTANT(emulated_exchange_not_logged))
			kvm_mark_page_dirty(vcpu->kvm, vcpu, slot, gpa >> PAGE_SHIFT);
	}
	hw_rcu_read_unlock();
	return ret;
}
