/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bits of the control registers, EFER and RFLAGS, and numbers of vectors and
 * MSRs, as far as the MMU depends on them. SDM vol. 3 2.5, 6.15; APM vol. 2 3.1.
 * Shared by host and guest; names as the manuals have them.
 */
#ifndef X86_ARCH_REGS_H
#define X86_ARCH_REGS_H

#include "x86/arch/types.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_PSE	     BIT(4)
#define CR4_PAE	     BIT(5)
#define CR4_PGE	     BIT(7)
#define CR4_OSFXSR   BIT(9)
#define CR4_UMIP     BIT(11)
#define CR4_LA57     BIT(12)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE    BIT(17)
#define CR4_OSXSAVE  BIT(18)
#define CR4_SMEP     BIT(20)
#define CR4_SMAP     BIT(21)
#define CR4_PKE	     BIT(22)

#define CR3_PCID_MASK 0xfffull
#define CR3_NOFLUSH   BIT(63) /* keep the PCID's translations on this load */

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NX	 BIT(11)

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_AC    BIT(18)

#define MSR_EFER 0xc0000080u

#define DE_VECTOR 0
#define DB_VECTOR 1
#define NM_VECTOR 7
#define UD_VECTOR 6
#define DF_VECTOR 8
#define GP_VECTOR 13
#define PF_VECTOR 14

/* INVPCID types, SDM vol. 2. */
#define INVPCID_ADDR	   0
#define INVPCID_SINGLE	   1
#define INVPCID_ALL_GLOBAL 2
#define INVPCID_ALL	   3

#endif
