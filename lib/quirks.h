/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Known defects of processors and kernels that many cases would meet at once.
 * Each quirk has one case that shows it as an expected failure; all others step
 * around exactly that condition by asking here, and stay strict everywhere else.
 */
#ifndef LIB_QUIRKS_H
#define LIB_QUIRKS_H

#include "agent.h"

/* Whether the processor is QEMU's TCG: this host's (CPUID 0x40000000), or engine "qemu"'s. */
bool host_is_tcg(void);

/* Whether TCG walks guests' tables: under shadow paging it is the hypervisor that does. */
bool tcg_walks(void);

/*
 * QEMU 7.2's TCG leaves P out of the error code of a reserved-bit fault, although
 * RSVD can't be set without it (SDM vol. 3 4.7). Not under shadow paging. Shown by mmu/reserved.error_code_present.
 */
bool quirk_rsvd_without_p(void);

/*
 * QEMU 7.2's TCG sets A in PAE's PDPTEs, where the bit is reserved; a hypervisor
 * that then checks them refuses MOV CR3 and MOV CR4. Not under shadow paging.
 * Shown by mmu/ad_bits.pdpte_untouched.
 */
bool quirk_pdpte_accessed(void);

/* Whether there is such a hypervisor. */
bool quirk_pdpte_refused(void);

/*
 * QEMU 7.2's TCG: INVLPG in a large page leaves what it knows of code elsewhere in that page, so
 * that a fetch there still goes where the old entry led. Below a KVM with two-dimensional paging only.
 * Shown by mmu/invlpg.large_page_code.
 */
bool quirk_invlpg_keeps_code(void);

/*
 * QEMU 7.2's TCG aborts ("invalid tss type") when a 32-bit guest comes from ring 3 by a TSS whose descriptor says
 * busy, as it does after RSM.
 */
bool quirk_busy_tss(void);

/*
 * QEMU's TCG with one thread, as the lab has it, makes a locked read-modify-write of a load and a
 * store: where neither is allowed, the fault says that it was a read, and a comparison that
 * fails writes nothing. Shown by
 * mmu/access.exchange_is_a_write.
 */
bool quirk_rmw_reads_first(void);

/* @res with P added to a reserved-bit fault's error code where that quirk is. */
struct agent_result quirk_fix_rsvd(struct agent_result res);

#endif
