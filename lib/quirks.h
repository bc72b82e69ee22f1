/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Known defects of processors and kernels that many cases would meet at once.
 * Each quirk has one case that shows it as an expected failure; all others step
 * around exactly that condition by asking here, and stay strict everywhere else.
 */
#ifndef LIB_QUIRKS_H
#define LIB_QUIRKS_H

#include "agent.h"

/* Whether this host's processor is QEMU's TCG (CPUID 0x40000000). */
bool host_is_tcg(void);

/*
 * QEMU 7.2's TCG leaves P out of the error code of a reserved-bit fault, although
 * RSVD can't be set without it (SDM vol. 3 4.7). Seen by guests under
 * two-dimensional paging only. Shown by mmu/reserved.error_code_present.
 */
bool quirk_rsvd_without_p(void);

/*
 * QEMU 7.2's TCG sets A in PAE's PDPTEs, where the bit is reserved; a hypervisor
 * that then checks them refuses MOV CR3 and MOV CR4. Two-dimensional paging only.
 * Shown by mmu/ad_bits.pdpte_untouched.
 */
bool quirk_pdpte_accessed(void);

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
