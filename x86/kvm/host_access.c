// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypervisor's own accesses to guest memory through the model of host memory.
 */
#include "x86/kvm/host_priv.h"

#include <sys/mman.h>

static void set_flag(hpa_t hpa, u8 flag)
{
	u8 *flags = arena_flags(hpa);

	/* Most often it is set already, and a look is cheaper. */
	if (flags && !(__atomic_load_n(flags, __ATOMIC_RELAXED) & flag))
		__atomic_fetch_or(flags, flag, __ATOMIC_RELAXED);
}

void hw_set_accessed(hpa_t hpa)
{
	set_flag(hpa, FRAME_ACCESSED);
}

void hw_set_dirty(hpa_t hpa)
{
	set_flag(hpa, FRAME_DIRTY);
}

/* --- the hypervisor's own accesses ---------------------------------------------------- */

/*
 * The frame to read at @hva, without faulting: also one that no guest has touched has its
 * content. Takes no lock.
 */
static void *readable(u64 hva)
{
	struct region *r = region_find(__atomic_load_n(&host_regions, __ATOMIC_ACQUIRE), hva);
	struct hw_page page;
	u64 i;

	if (!r)
		return plain_page(hva, false, &page) ? NULL : (u8 *)page.hpa + hva % SZ_4K;
	if (!(r->prot & (PROT_READ | PROT_WRITE)))
		return NULL;
	i = (hva - r->start) >> PAGE_SHIFT;
	if (r->file && !(page_word(r, i) & PAGE_OWN) &&
	    r->file_off + (i << PAGE_SHIFT) >= r->file_len && !in_file(r, i))
		return NULL;
	return (u8 *)page_hpa(r, i, page_word(r, i)) + hva % SZ_4K;
}

bool hw_read(struct kvm *kvm, u64 hva, void *value, unsigned int size)
{
	const void *at;

	(void)kvm;
	hw_rcu_read_lock();
	at = readable(hva);
	if (at) {
		switch (size) {
		case 1:
			*(u8 *)value = __atomic_load_n((const u8 *)at, __ATOMIC_ACQUIRE);
			break;
		case 2:
			*(u16 *)value = __atomic_load_n((const u16 *)at, __ATOMIC_ACQUIRE);
			break;
		case 4:
			*(u32 *)value = __atomic_load_n((const u32 *)at, __ATOMIC_ACQUIRE);
			break;
		default:
			*(u64 *)value = __atomic_load_n((const u64 *)at, __ATOMIC_ACQUIRE);
		}
	}
	hw_rcu_read_unlock();
	return at != NULL;
}

void *host_write_begin(struct kvm *kvm, u64 hva)
{
	struct hw_page page;
	struct region *r;
	bool there;

	for (;;) {
		if (hw_faultin(kvm, hva, true, &page))
			return NULL;
		/* It may have moved since; while we have the lock it doesn't. */
		hw_rcu_read_lock();
		hw_spin_lock(&host_copy_lock);
		r = region_find(__atomic_load_n(&host_regions, __ATOMIC_ACQUIRE), hva);
		there = r ? page_lookup(r, hva, true, &page) : !plain_page(hva, true, &page);
		if (there)
			return (u8 *)page.hpa + hva % SZ_4K;
		host_write_end();
	}
}

void host_write_end(void)
{
	hw_spin_unlock(&host_copy_lock);
	hw_rcu_read_unlock();
}

int hw_cmpxchg(struct kvm *kvm, u64 hva, u64 *expected, u64 desired, unsigned int size)
{
	void *at = host_write_begin(kvm, hva);
	u32 low = *expected;
	bool done;

	if (!at)
		return -EFAULT;
	if (size == 4) {
		done = __atomic_compare_exchange_n((u32 *)at, &low, (u32)desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*expected = low;
	} else {
		done = __atomic_compare_exchange_n((u64 *)at, expected, desired, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	host_write_end();
	return done ? 0 : 1;
}
