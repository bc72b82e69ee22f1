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
#define MSR_VM_CR    0xc0010114u
#define VM_CR_LOCK   BIT(3) /* SVMDIS can't be changed */
#define VM_CR_SVMDIS BIT(4) /* EFER.SVME can't be set */

/* vmcb.intercept_misc1 */
#define SVM_INTERCEPT_INTR     BIT(0)
#define SVM_INTERCEPT_CPUID    BIT(18)
#define SVM_INTERCEPT_HLT      BIT(24)
#define SVM_INTERCEPT_SHUTDOWN BIT(31)
/* vmcb.intercept_misc2; VMRUN is mandatory */
#define SVM_INTERCEPT_VMRUN   BIT(0)
#define SVM_INTERCEPT_VMMCALL BIT(1)

/*
 * vmcb.exit_code. Up to 0xbf it is the number of the bit that intercepts it, counted from the
 * VMCB's beginning.
 */
#define SVM_EXIT_READ_CR    0x00 /* + register */
#define SVM_EXIT_WRITE_CR   0x10
#define SVM_EXIT_READ_DR    0x20
#define SVM_EXIT_WRITE_DR   0x30
#define SVM_EXIT_EXCP_BASE  0x40 /* + vector; exit_info1 error code, exit_info2 CR2 */
#define SVM_EXIT_INTR	    0x60
#define SVM_EXIT_NMI	    0x61
#define SVM_EXIT_SMI	    0x62
#define SVM_EXIT_VINTR	    0x64
#define SVM_EXIT_CR0_SEL    0x65 /* write that changes more of CR0 than TS and MP */
#define SVM_EXIT_IDTR_READ  0x66
#define SVM_EXIT_GDTR_READ  0x67
#define SVM_EXIT_LDTR_READ  0x68
#define SVM_EXIT_TR_READ    0x69
#define SVM_EXIT_IDTR_WRITE 0x6a
#define SVM_EXIT_GDTR_WRITE 0x6b
#define SVM_EXIT_LDTR_WRITE 0x6c
#define SVM_EXIT_TR_WRITE   0x6d
#define SVM_EXIT_RDTSC	    0x6e
#define SVM_EXIT_RDPMC	    0x6f
#define SVM_EXIT_CPUID	    0x72
#define SVM_EXIT_INVD	    0x76
#define SVM_EXIT_PAUSE	    0x77
#define SVM_EXIT_HLT	    0x78
#define SVM_EXIT_INVLPG	    0x79
#define SVM_EXIT_INVLPGA    0x7a
#define SVM_EXIT_IOIO	    0x7b /* exit_info1 SVM_IO_*, exit_info2 RIP behind it */
#define SVM_EXIT_MSR	    0x7c /* exit_info1: 1 for a write */
#define SVM_EXIT_SHUTDOWN   0x7f
#define SVM_EXIT_VMRUN	    0x80
#define SVM_EXIT_VMMCALL    0x81
#define SVM_EXIT_VMLOAD	    0x82
#define SVM_EXIT_VMSAVE	    0x83
#define SVM_EXIT_STGI	    0x84
#define SVM_EXIT_CLGI	    0x85
#define SVM_EXIT_RDTSCP	    0x87
#define SVM_EXIT_WBINVD	    0x89
#define SVM_EXIT_MONITOR    0x8a
#define SVM_EXIT_MWAIT	    0x8b
#define SVM_EXIT_XSETBV	    0x8d
#define SVM_EXIT_INVPCID    0xa2
#define SVM_EXIT_NPF	    0x400 /* exit_info1 NPF_*, exit_info2 guest physical address */
#define SVM_EXIT_INVALID    (~0ull)

/* exit_info1 of SVM_EXIT_IOIO; the port is in bits 31:16. */
#define SVM_IO_IN	  BIT(0)
#define SVM_IO_STRING	  BIT(2)
#define SVM_IO_REP	  BIT(3)
#define SVM_IO_SIZE_SHIFT 4 /* bits 6:4: 1, 2, 4 bytes */

/* vmcb.event_inj, exit_int_info; the error code is in bits 63:32. */
#define SVM_EVENT_VECTOR     0xffull
#define SVM_EVENT_TYPE_SHIFT 8
#define SVM_EVENT_INTR	     0ull
#define SVM_EVENT_NMI	     2ull
#define SVM_EVENT_EXCEPTION  3ull
#define SVM_EVENT_SOFT	     4ull
#define SVM_EVENT_ERROR	     BIT(11) /* there is an error code */
#define SVM_EVENT_VALID	     BIT(31)

/* vmcb.int_control */
#define SVM_V_TPR	   0xffull
#define SVM_V_IRQ	   BIT(8)
#define SVM_V_PRIO_SHIFT   16
#define SVM_V_IGN_TPR	   BIT(20)
#define SVM_V_INTR_MASKING BIT(24) /* RFLAGS.IF is about virtual interrupts only */
#define SVM_V_VECTOR_SHIFT 32
#define SVM_INT_SHADOW	   BIT(0) /* vmcb.int_state */
#define SVM_NESTED_PAGING  BIT(0) /* vmcb.nested_control */

/* An NPF's error code: a page fault's bits, always with U, and these. */
#define NPF_FINAL BIT(32) /* the fault was in translating the final physical address */
#define NPF_TABLE BIT(33) /* it was in translating that of a guest page table */

/* vmcb.tlb_control */
#define SVM_TLB_KEEP	    0
#define SVM_TLB_FLUSH_ALL   1
#define SVM_TLB_FLUSH_ASID  3
#define SVM_TLB_FLUSH_LOCAL 7 /* the ASID's, but for global ones */

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
	u32 intercept_misc3;
	u8 reserved1[0x40 - 0x18];
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
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved10[0x668 - 0x648];
	u64 g_pat;
	u8 reserved11[0x1000 - 0x670];
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
