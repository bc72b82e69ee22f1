/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMCB: what an AMD processor is told about a guest and tells about its
 * exits, as far as nested paging needs it. APM vol. 2 appendix B, ch. 15.
 * Shared by host and guest.
 */
#ifndef X86_ARCH_SVM_H
#define X86_ARCH_SVM_H

#include "x86/arch/types.h"

#define EFER_SVME    BIT(12)
#define MSR_VM_HSAVE 0xc0010117u /* physical address of the host save area */

/* vmcb.intercept_misc1 */
#define SVM_INTERCEPT_CPUID    BIT(18)
#define SVM_INTERCEPT_HLT      BIT(24)
#define SVM_INTERCEPT_SHUTDOWN BIT(31)
/* vmcb.intercept_misc2; VMRUN is mandatory */
#define SVM_INTERCEPT_VMRUN   BIT(0)
#define SVM_INTERCEPT_VMMCALL BIT(1)

/* vmcb.exit_code */
#define SVM_EXIT_EXCP_BASE 0x40 /* + vector; exit_info1 error code, exit_info2 CR2 */
#define SVM_EXIT_HLT	   0x78
#define SVM_EXIT_SHUTDOWN  0x7f
#define SVM_EXIT_VMMCALL   0x81
#define SVM_EXIT_NPF	   0x400 /* exit_info1 NPF_*, exit_info2 guest physical address */
#define SVM_EXIT_INVALID   (~0ull)

/* An NPF's error code: a page fault's bits, always with U, and these. */
#define NPF_FINAL BIT(32) /* the fault was in translating the final physical address */
#define NPF_TABLE BIT(33) /* it was in translating that of a guest page table */

/* vmcb.tlb_control */
#define SVM_TLB_KEEP	   0
#define SVM_TLB_FLUSH_ALL  1
#define SVM_TLB_FLUSH_ASID 3

struct svm_segment {
	u16 selector;
	u16 attrib; /* descriptor bits 47:40 and 55:52 packed */
	u32 limit;
	u64 base;
};

struct vmcb {
	u16 intercept_cr_read, intercept_cr_write;
	u16 intercept_dr_read, intercept_dr_write;
	u32 intercept_exceptions;
	u32 intercept_misc1;
	u32 intercept_misc2;
	u8 reserved1[0x40 - 0x14];
	u64 iopm_base;
	u64 msrpm_base;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved2[3];
	u64 int_control;
	u64 int_state;
	u64 exit_code;
	u64 exit_info1;
	u64 exit_info2;
	u64 exit_int_info;
	u64 nested_control; /* bit 0: nested paging */
	u8 reserved3[0xa8 - 0x98];
	u64 event_inj;
	u64 nested_cr3;
	u64 lbr;
	u64 clean;
	u64 next_rip;
	u8 reserved4[0x400 - 0xd0];

	struct svm_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved5[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved6;
	u64 efer;
	u8 reserved7[0x548 - 0x4d8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved8[0x5d8 - 0x580];
	u64 rsp;
	u8 reserved9[0x5f8 - 0x5e0];
	u64 rax;
	u8 reserved10[0x640 - 0x600];
	u64 cr2;
	u8 reserved11[0x668 - 0x648];
	u64 g_pat;
	u8 reserved12[0x1000 - 0x670];
} __attribute__((packed));

_Static_assert(offsetof(struct vmcb, iopm_base) == 0x40, "APM vol. 2 B.1");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70, "APM vol. 2 B.1");
_Static_assert(offsetof(struct vmcb, nested_cr3) == 0xb0, "APM vol. 2 B.1");
_Static_assert(offsetof(struct vmcb, es) == 0x400, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, rip) == 0x578, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "APM vol. 2 B.2");
_Static_assert(offsetof(struct vmcb, g_pat) == 0x668, "APM vol. 2 B.2");
_Static_assert(sizeof(struct vmcb) == SZ_4K, "a VMCB fills a frame");

#endif
