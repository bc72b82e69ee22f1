/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the machinery share: a record for each thread, in which it says which
 * lock it reads under and since when it has been looking at shared structures.
 */
#ifndef X86_KVM_HW_PRIV_H
#define X86_KVM_HW_PRIV_H

#include "x86/kvm/internal.h"

/* Never freed, used again by later threads, so that others may look at it at any time. */
struct hw_thread {
	struct hw_vm *reading; /* whose mmu_lock it has for read */
	u64 epoch;	       /* of its outermost RCU section; 0: in none */
	int used;
	struct hw_thread *next;
	/* From here on the thread's own. */
	unsigned int nesting;
	struct vcpu *vcpu;   /* that it last ran */
	struct vcpu *inside; /* whose guest it is running */
} __attribute__((aligned(128)));

struct hw_callback {
	struct hw_callback *next;
	void (*fn)(void *arg);
	void *arg;
	u64 epoch; /* may run once no section is older */
};

struct hw_vm {
	/* mmu_lock. Tickets for writers, and for readers that met one. */
	u32 next_ticket __attribute__((aligned(64)));
	u32 owner;
	int writer;  /* somebody has it for write, or is about to */
	u32 waiters; /* threads that wait for their ticket or for the lock */
	struct hw_thread *write_owner;

	struct hw_spinlock rcu_lock __attribute__((aligned(64))); /* for the queue */
	struct hw_callback *first, **last;
	u64 nr_callbacks;

	unsigned int invalidating; /* host.c: begins that lack their end; the host's lock */
};

/* memslot.c: no slots, in each address space. hw_vm_fini() frees what there is by memslots_free(). */
int memslots_init(struct vm *vm);

/* Called at each hw_yield_point(), if there is one; sched.c. */
extern void (*hw_yield_hook)(struct kvm *kvm, const char *where);

extern struct hw_thread *hw_threads;
struct hw_thread *hw_thread_new(void);
extern __thread struct hw_thread *hw_thread_self;

static inline struct hw_thread *hw_self(void)
{
	struct hw_thread *t = hw_thread_self;

	return __builtin_expect(!!t, 1) ? t : hw_thread_new();
}

void hw_lock_init(struct hw_vm *hw);
/* Runs the callbacks whose time has come; all of them when no thread can be in a section. */
void hw_rcu_run(struct hw_vm *hw);
void hw_rcu_drain(struct hw_vm *hw);
/* Process-wide: frees @p once no section is older. Any thread, within sections too. */
void hw_rcu_free(void *p, void (*fn)(void *p));

/* hw_table.c: whether @hpa lies in a table that is allocated, given that its block is one of tables. */
bool hw_table_live(hpa_t hpa);

/*
 * Which 2 MiB of the process's address space hold guest memory or tables: how often it
 * was said so, or HW_KNOWN_TABLES. hw.c.
 */
#define HW_KNOWN_TABLES 0x8000u
void hw_known_add(u64 start, u64 size, int count);
void hw_known_tables(u64 block);

/* The second mapping of anonymous guest memory, once there is one; host_arena.c sets them. */
extern u64 hw_arena_base, hw_arena_size;

#endif
