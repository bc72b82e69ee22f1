/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The user-space KVM: the ABI of <linux/kvm.h> as functions with the names and errors of the system calls, over the
 * in-tree MMU and the software CPU. Also the calls by which a program changes the memory that it has given to guests:
 * the kernel's MMU is told by the kernel when those happen, this one by being called for them.
 *
 * File descriptors are real ones (of an unlinked memory file), so that they can't collide with others. All may be called
 * from any thread. Nothing survives fork(): a child must not use its parent's VMs.
 */
#ifndef X86_KVM_KVM_H
#define X86_KVM_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- system calls: -1 and errno on failure --------------------------------------- */

/* @path is not looked at but for its being "/dev/kvm". */
int intree_open(const char *path, int flags);
int intree_ioctl(int fd, unsigned long request, void *arg);
int intree_close(int fd);

/*
 * mmap(2): of a vCPU's descriptor, its kvm_run and dirty ring; of anything else, memory that guests can be given.
 * MAP_HUGETLB memory needs no pool: its size is modelled, the host's pages below it are small.
 */
void *intree_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int intree_munmap(void *addr, size_t len);
int intree_mprotect(void *addr, size_t len, int prot);
/*
 * madvise(2) as far as it matters to guests: MADV_DONTNEED, MADV_REMOVE, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
 * MADV_COLLAPSE; others change nothing. Pages of MADV_HUGEPAGE memory are 2 MiB when first touched by a guest.
 */
int intree_madvise(void *addr, size_t len, int advice);
void *intree_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr);
/* How many bytes of the range are modelled as transparent huge pages now. */
size_t intree_huge_bytes(const void *addr, size_t len);
/* Whether any page of the range was accessed by a guest since the last such call (clear_young, as the kernel's reclaim asks). */
bool intree_age(void *addr, size_t len);

/* --- parameters --------------------------------------------------------------------- */

/*
 * Sets the parameters that VMs created from now on get: "k=v,k=v" as --config has them; nx_huge_pages*
 * and eager_page_split, which the kernel lets be changed at any time, also reach VMs that are there. NULL: done; else a
 * message (valid until the next call) that names the parameter and the value.
 */
const char *intree_config(const char *config);
/* As sysfs would show it; false: there is no such parameter. */
bool intree_param(const char *name, char *value, size_t size);

/* --- turns ------------------------------------------------------------------------------ */

/*
 * With parameter interleave=SEED threads take turns, in an order that the seed decides and that is
 * the same each time: those that are announced, from intree_thread_begin() on, and the one that announces
 * them, until it has waited for all of them. Wherever they are, one of them runs at a time. x86/kvm/sched.h has
 * the rules. Setting the parameter starts the order anew.
 */
int intree_thread_new(void);	      /* its number; 0: no turns are taken */
void intree_thread_begin(int number); /* the new thread's first call */
void intree_thread_end(void);	      /* its last one */
void intree_thread_wait(int number);  /* for its end; before pthread_join() */
/* Another thread has to do something first: instead of sched_yield() in a loop. */
void intree_relax(void);
/* A hash of all turns since the parameter was set: the same order, the same number. */
uint64_t intree_order(void);

/* --- what only this engine can show --------------------------------------------------- */

struct kvm;
struct kvm_vcpu;
/* The VM of @vm_fd (see x86/mmu/mmu.h), NULL when it is none. Look only while no vCPU runs. */
struct kvm *intree_kvm(int vm_fd);
struct kvm_vcpu *intree_vcpu(int vcpu_fd);
/* The @nth allocation of the MMU's from now on fails, once; 0: none does. For tests. */
void intree_fail_alloc(uint64_t nth);
/* mmu_check() of all VMs and what their vCPUs' TLBs have; prints what is broken on stderr. How much is. */
int intree_check(void);

#endif
