/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extended page tables: Intel's format of the second dimension, the pointer to
 * them and what an exit says about them. The indices are those of 4- and 5-level
 * paging (paging.h); entries differ. SDM vol. 3 29.3 (EPT), 25.6.11 (EPTP),
 * table 28-7 (exit qualification). AMD's nested paging has the formats of
 * paging.h; what its faults add to a page fault's error code is in svm.h.
 */
#ifndef X86_ARCH_EPT_H
#define X86_ARCH_EPT_H

#include "x86/arch/types.h"

/* Bits of an entry. One with R, W and X clear is not present. */
#define EPT_R		BIT(0)
#define EPT_W		BIT(1)
#define EPT_X		BIT(2)
#define EPT_RWX		(EPT_R | EPT_W | EPT_X)
#define EPT_MT_SHIFT	3 /* leaf: memory type, bits 5:3 */
#define EPT_MT_MASK	(7ull << EPT_MT_SHIFT)
#define EPT_IPAT	BIT(6) /* leaf: the guest's PAT is ignored */
#define EPT_PS		BIT(7) /* maps a page, levels 2 and 3 */
#define EPT_A		BIT(8) /* accessed, if EPTP_AD */
#define EPT_D		BIT(9) /* dirty, leaf only, if EPTP_AD */
#define EPT_ADDR_MASK	0x000ffffffffff000ull
#define EPT_SUPPRESS_VE BIT(63)

/* Memory types that a leaf may have; the others are a misconfiguration. */
enum ept_memory_type {
	EPT_MT_UC = 0,
	EPT_MT_WC = 1,
	EPT_MT_WT = 4,
	EPT_MT_WP = 5,
	EPT_MT_WB = 6,
};
/* One bit for each of them. */
#define EPT_MT_VALID (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6))

/* The extended-page-table pointer. */
#define EPTP_MT_MASK	  7ull
#define EPTP_LEVELS_SHIFT 3 /* number of levels less one, bits 5:3 */
#define EPTP_LEVELS_MASK  (7ull << EPTP_LEVELS_SHIFT)
#define EPTP_AD		  BIT(6) /* accessed and dirty bits are kept */

/* An EPT violation's exit qualification. */
#define EPTV_READ	 BIT(0) /* the access: a data read */
#define EPTV_WRITE	 BIT(1) /* a data write */
#define EPTV_FETCH	 BIT(2) /* an instruction fetch */
#define EPTV_ENTRY_R	 BIT(3) /* R, W, X of all entries on the path, anded */
#define EPTV_ENTRY_W	 BIT(4)
#define EPTV_ENTRY_X	 BIT(5)
#define EPTV_ENTRY_SHIFT 3
#define EPTV_GVA	 BIT(7) /* the guest linear address is valid */
#define EPTV_FINAL	 BIT(8) /* with EPTV_GVA: its translation, not an entry on the way to it */

_Static_assert((EPT_RWX & (EPT_MT_MASK | EPT_IPAT | EPT_PS | EPT_A | EPT_D)) == 0, "SDM 29.3.2");
_Static_assert((EPT_MT_MASK | EPT_IPAT | EPT_PS) == 0xf8, "bits 7:3, reserved at levels 4 and 5");
_Static_assert(EPT_RWX << EPTV_ENTRY_SHIFT == (EPTV_ENTRY_R | EPTV_ENTRY_W | EPTV_ENTRY_X),
	       "an entry's rights go into the qualification by one shift");
_Static_assert((EPT_MT_VALID & (BIT(2) | BIT(3) | BIT(7))) == 0, "types 2, 3 and 7 are reserved");
_Static_assert(((6 | 3 << EPTP_LEVELS_SHIFT | EPTP_AD) & 0xfff) == 0x5e,
	       "write-back, four levels, A/D: a common pointer's low bits");

#endif
