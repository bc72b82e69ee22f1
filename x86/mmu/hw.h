/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that the MMU asks of the machine and of the hypervisor around it: frames for
 * tables, the memory behind guest frames, locks, and flushes. x86/kvm provides it
 * in user space; somebody who links the MMU elsewhere provides it there.
 *
 * A host physical address is the address at which the hypervisor sees the frame:
 * hpa == (u64)pointer. Guest memory's frames are seen at a second mapping, so that
 * host memory that was given back and its successor have different hpa.
 */
#ifndef X86_MMU_HW_H
#define X86_MMU_HW_H

#include "x86/arch/types.h"

struct kvm;
struct kvm_vcpu;

static inline void *hw_va(hpa_t hpa)
{
	return (void *)hpa;
}

static inline hpa_t hw_hpa(const void *va)
{
	return (hpa_t)va;
}

/* --- memory for the MMU ---------------------------------------------------- */

/*
 * A zeroed frame for a table; NULL: no memory. @low: its address fits in 32 bits (the
 * four PDPTEs of PAE paging, which CR3 points to). Any thread, no lock needed.
 */
void *hw_table_alloc(bool low);
void hw_table_free(void *table);
/*
 * Tables come from blocks of 2 MiB, whose first frame has a word for each other one:
 * what the MMU remembers of a table, found from the address of any entry in it.
 */
static inline void **hw_table_owner(const void *entry)
{
	u64 block = (u64)entry & ~(SZ_2M - 1);

	return (void **)block + (((u64)entry - block) / SZ_4K);
}

/* Zeroed; NULL: no memory. */
void *hw_alloc(size_t size);
void hw_free(void *p);

/* --- guest memory ------------------------------------------------------------ */

/* What is behind a host virtual address. */
struct hw_page {
	hpa_t hpa;     /* of the 4 KiB frame */
	bool writable; /* the host's mapping lets it be written */
	u8 level;      /* size of the host's page: PG_LEVEL_* */
};

/*
 * Looks up, faulting in, the page at @hva for reading or for writing. 0; -EFAULT: nothing
 * is mapped there or not with that right; -EINTR: a signal is pending. A page that is
 * good to be written is reported writable for a read too. May take time, takes the
 * host's own locks: not to be called with mmu_lock held.
 */
int hw_faultin(struct kvm *kvm, u64 hva, bool write, struct hw_page *page);
/*
 * As hw_faultin(), of a page that is there already, for prefetching; never faults
 * in, may be called with mmu_lock held. False: it isn't there (or not writable).
 */
bool hw_page_present(struct kvm *kvm, u64 hva, bool write, struct hw_page *page);
/* Marks the host's page accessed or dirty on behalf of an SPTE that goes away. */
void hw_set_accessed(hpa_t hpa);
void hw_set_dirty(hpa_t hpa);

/*
 * Reads guest memory through the host's mapping, as the hypervisor's own accesses do:
 * @size 1, 2, 4 or 8 bytes, aligned, in one access. False: not mapped there.
 */
bool hw_read(struct kvm *kvm, u64 hva, void *value, unsigned int size);
/* Compare and exchange, 4 or 8 bytes. -EFAULT; 0: exchanged; 1: *@expected had another value. */
int hw_cmpxchg(struct kvm *kvm, u64 hva, u64 *expected, u64 desired, unsigned int size);

/* --- mmu_lock ---------------------------------------------------------------- */

/*
 * One per VM, for many readers or one writer. Not recursive. Writers don't starve.
 * Readers run at once, without a shared cache line to bounce.
 */
void hw_write_lock(struct kvm *kvm);
void hw_write_unlock(struct kvm *kvm);
void hw_read_lock(struct kvm *kvm);
void hw_read_unlock(struct kvm *kvm);
/* Whether somebody waits for the lock that the caller has: a hint to let go of it. */
bool hw_lock_contended(struct kvm *kvm);
/* Asserts, in builds that check. */
void hw_assert_write_locked(struct kvm *kvm);
void hw_assert_locked(struct kvm *kvm);

/* A small lock for short sections; nests inside mmu_lock. */
struct hw_spinlock {
	int locked;
};
void hw_spin_lock(struct hw_spinlock *l);
void hw_spin_unlock(struct hw_spinlock *l);

/*
 * Sections in which tables that were just unlinked may still be looked at, and
 * freeing once all sections that had begun by then are over. Sections may nest.
 */
void hw_rcu_read_lock(void);
void hw_rcu_read_unlock(void);
void hw_rcu_defer(struct kvm *kvm, void (*fn)(void *arg), void *arg);
/* Waits for the sections that have begun. Not within one, not with mmu_lock held. */
void hw_rcu_synchronize(struct kvm *kvm);

/*
 * A place where another vCPU's work could come between: does nothing, except under the
 * seeded scheduler, which may run somebody else here. @where: a static string.
 */
void hw_yield_point(struct kvm *kvm, const char *where);

/* In a loop that waits for what another thread does. */
void hw_relax(void);

/* --- flushes, roots ---------------------------------------------------------- */

/*
 * No vCPU uses a translation that its TLB had before this call, once it returns: running
 * vCPUs have left the guest, all flush before they enter it again.
 */
void hw_flush_remote(struct kvm *kvm);
/* The same for guest frames [@start, @start + @pages); with shadow paging, everything. */
void hw_flush_remote_range(struct kvm *kvm, gfn_t start, u64 pages);
/*
 * Sets request bits @req (KVM_REQ_*) of all vCPUs. Those in the guest leave it; when this
 * returns, none is there that has not seen the request.
 */
void hw_request_all(struct kvm *kvm, u64 req);
/* The current vCPU's own TLB, before it enters the guest again: all of it, or one gva. */
void hw_flush_current(struct kvm_vcpu *vcpu);
void hw_flush_gva(struct kvm_vcpu *vcpu, gva_t gva);
/* Root @root of @level levels is the one to run with (hpa; PAE: of the four PDPTEs). */
void hw_load_root(struct kvm_vcpu *vcpu, hpa_t root, int level);

/* Nanoseconds of a monotonic clock. */
u64 hw_now(void);

/* An invariant is broken: reports, and aborts the process. */
void hw_bug(const char *file, int line, const char *what) __attribute__((noreturn));
#define MMU_BUG_ON(cond)                                   \
	do {                                               \
		if (__builtin_expect(!!(cond), 0))         \
			hw_bug(__FILE__, __LINE__, #cond); \
	} while (0)

#endif
