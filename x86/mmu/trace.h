/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MMU's events under the names of the kernel's kvmmmu tracepoints. An event is an id and up
 * to six numbers; it goes to the VM's ring, if it has one, and is a USDT probe of provider
 * "mmuscope" (sys/sdt.h). Readers and the text form are in trace.c.
 */
#ifndef X86_MMU_TRACE_H
#define X86_MMU_TRACE_H

#include "x86/mmu/mmu.h"

/* X(name, names of the arguments) */
#define MMU_EVENTS(X)                                                            \
	X(kvm_mmu_pagetable_walk, "addr pferr")                                  \
	X(kvm_mmu_paging_element, "pte level")                                   \
	X(kvm_mmu_set_accessed_bit, "gpa")                                       \
	X(kvm_mmu_set_dirty_bit, "gpa")                                          \
	X(kvm_mmu_walker_error, "pferr")                                         \
	X(kvm_mmu_get_page, "gfn role created")                                  \
	X(kvm_mmu_sync_page, "gfn role")                                         \
	X(kvm_mmu_unsync_page, "gfn role")                                       \
	X(kvm_mmu_prepare_zap_page, "gfn role root_count")                       \
	X(mark_mmio_spte, "sptep gfn access gen")                                \
	X(handle_mmio_page_fault, "addr gfn access")                             \
	X(fast_page_fault, "vcpu gpa error_code sptep old_spte ret")             \
	X(kvm_mmu_zap_all_fast, "mmu_valid_gen mmu_used_pages")                  \
	X(check_mmio_spte, "spte kvm_gen spte_gen")                              \
	X(kvm_mmu_set_spte, "gfn spte sptep level")                              \
	X(kvm_mmu_spte_requested, "gfn pfn level")                               \
	X(kvm_tdp_mmu_spte_changed, "as_id gfn level old_spte new_spte")         \
	X(kvm_mmu_split_huge_page, "gfn spte level errno")                       \
	X(kvm_mmu_load, "vcpu root_hpa pgd")                                     \
	X(kvm_mmu_unsync_walk, "index level gfn nr")                             \
	X(kvm_mmu_unsync_parents, "index level parent2 parent3 parent4 parent5") \
	X(kvm_page_fault, "vcpu addr error_code stage ns")

enum mmu_event_id {
#define MMU_EVENT_ID(name, args) MMU_EV_##name,
	MMU_EVENTS(MMU_EVENT_ID)
#undef MMU_EVENT_ID
	MMU_EV_COUNT
};

/*
 * What event kvm_page_fault's stage is: X(id, name). The whole fault comes last and includes the
 * others; the check for staleness is part of mapping and comes before it.
 */
#define MMU_FAULT_STAGES(X)                            \
	X(STAGE_MMIO, "handle_mmio_page_fault")        \
	X(STAGE_TRACK, "page_fault_handle_page_track") \
	X(STAGE_FAST, "fast_page_fault")               \
	X(STAGE_TOPUP, "mmu_topup_memory_caches")      \
	X(STAGE_FAULTIN, "kvm_faultin_pfn")            \
	X(STAGE_STALE, "is_page_fault_stale")          \
	X(STAGE_MAP, "map")                            \
	X(STAGE_WHOLE, "kvm_mmu_page_fault")

enum mmu_fault_stage {
#define MMU_FAULT_STAGE_ID(id, name) id,
	MMU_FAULT_STAGES(MMU_FAULT_STAGE_ID)
#undef MMU_FAULT_STAGE_ID
};

/*
 * How many tracers are attached to each event's probe: they count here themselves, since the
 * probes are made with semaphores, so that nothing is computed for a probe that nobody has.
 */
#define MMU_PROBE_SEMAPHORE(name, args) extern unsigned short mmuscope_##name##_semaphore;
MMU_EVENTS(MMU_PROBE_SEMAPHORE)
#undef MMU_PROBE_SEMAPHORE

/*
 * Records event @name: trace_mmu(kvm, kvm_mmu_set_accessed_bit, gpa). Costs two tests when nobody
 * listens.
 */
#define trace_mmu(kvm_, name, ...)                                                                \
	do {                                                                                      \
		if (__builtin_expect(__atomic_load_n(&(kvm_)->trace, __ATOMIC_RELAXED) != NULL || \
					     mmuscope_##name##_semaphore,                         \
				     0))                                                          \
			mmu_trace_emit((kvm_), MMU_EV_##name, (u64[6]){__VA_ARGS__});             \
	} while (0)

void mmu_trace_emit(struct kvm *kvm, enum mmu_event_id id, const u64 args[6]);

/* --- readers ------------------------------------------------------------------- */

struct mmu_trace_event {
	u64 seq; /* consecutive from 1 on; a gap: events were overwritten before they were read */
	u64 ns;	 /* hw_now() */
	enum mmu_event_id id;
	u64 args[6];
};

/*
 * Records @kvm's events from now on, the latest @events of them (a power of two is made of it). 0
 * or -ENOMEM. Starting anew forgets what was recorded. Start and stop are one thread's at a time;
 * events and readers may go on meanwhile. What was started must be stopped before the VM is
 * destroyed.
 */
int mmu_trace_start(struct kvm *kvm, size_t events);
void mmu_trace_stop(struct kvm *kvm);
/*
 * Copies up to @max events that come after the first *@pos ones and sets *@pos to the last one's
 * seq. *@pos 0: from the oldest that is there. How many were copied; an event that is just being
 * written ends the copy before it.
 */
size_t mmu_trace_read(struct kvm *kvm, u64 *pos, struct mmu_trace_event *events, size_t max);

const char *mmu_event_name(enum mmu_event_id id);
/* Index in args of event @id's argument @name, or -1. */
int mmu_event_arg(enum mmu_event_id id, const char *name);
/*
 * The event as a line without an end: "kvm_mmu_get_page: gfn=0x401 role=l1 uwx nx wp created=1".
 * As snprintf(): always terminated, the result is the length that it would have had.
 */
size_t mmu_event_text(const struct mmu_trace_event *e, char *buf, size_t size);

#endif
