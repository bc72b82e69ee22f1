/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the MMU did, event by event, under the names of the kernel's kvmmmu tracepoints (kvm_mmu_get_page,
 * kvm_mmu_load …), and the roots that vCPUs stand on. Only an MMU of our own shows this: with engine "kvm" the cases that ask
 * skip.
 *
 *	struct events ev = events_start(vm, 1024);
 *	…
 *	while (events_read(&ev, &e, 1))
 *		if (event_is(&e, "kvm_mmu_load"))
 *			EXPECT_EQ(event_arg(&e, "vcpu"), 0);
 *	events_stop(&ev);
 */
#ifndef LIB_EVENTS_H
#define LIB_EVENTS_H

#include "vm.h"

struct event {
	u64 seq; /* consecutive; a gap: there were more than events_start() was told */
	u64 ns;	 /* of a monotonic clock */
	int id;
	u64 args[6];
};

struct events {
	struct vm *vm;
	u64 pos; /* what has been read */
};

#define NO_ROOT (~0ull)

/* Whether this engine shows events and roots; the other one skips the case unless it does. */
bool has_events(void);
void require_events(void);

/* Records the VM's events from now on, of which the latest @max stay. One recording a VM at a time. */
struct events events_start(struct vm *vm, size_t max);
/* Copies up to @max events that were not read yet, the oldest first. How many. */
size_t events_read(struct events *ev, struct event *e, size_t max);
/* Before the VM is destroyed. */
void events_stop(struct events *ev);

const char *event_name(const struct event *e);
bool event_is(const struct event *e, const char *name);
/* The event's argument of that name (see MMU_EVENTS in x86/mmu/trace.h); an error if it has none. */
u64 event_arg(const struct event *e, const char *arg);
/* "kvm_mmu_load: vcpu=0 root_hpa=0x… pgd=0x…" */
const char *event_text(const struct event *e, char *buf, size_t size);
/* The name of kvm_page_fault's argument "stage": a function's; NULL beyond the last one. */
const char *event_stage_name(u64 stage);

/*
 * The auditor's check of the MMU's state (x86/mmu/mmu.h) and of what TLBs have, as it is made after
 * exits: how much is broken, and the first of it. Not while vCPUs run. Of all VMs that there are.
 */
u32 vm_audit(struct vm *vm, char *first, size_t size);

/* The table that the vCPU's hardware walk begins with, or NO_ROOT: to be loaded. Not while it runs. */
u64 vcpu_root_hpa(struct vcpu *v);
/* Those of the @i-th previous root, from 0, latest first; CR3 in *@pgd. Beyond the last: NO_ROOT. */
u64 vcpu_prev_root(struct vcpu *v, u32 i, u64 *pgd);

#endif
