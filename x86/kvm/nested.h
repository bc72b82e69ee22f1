/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests that are hypervisors: SVM as a guest (L1) sees it. VMRUN puts the vCPU into guest
 * mode, in which it has the nested guest's (L2's) registers and, where L1 asked for nested
 * paging, translates by L1's nested tables as the MMU shadows them; #VMEXIT brings L1's
 * registers back. What is kept of L1 meanwhile is here, not in the host save area, as the
 * manual leaves that to the processor. APM vol. 2 ch. 15.
 */
#ifndef X86_KVM_NESTED_H
#define X86_KVM_NESTED_H

#include <linux/kvm.h>

#include "x86/arch/svm.h"
#include "x86/cpu/cpu.h"

struct vcpu;

#define SVM_MSRPM_SIZE (2 * SZ_4K)
#define SVM_IOPM_SIZE  (3 * SZ_4K)

/* L1's registers that #VMEXIT restores. */
struct svm_host {
	struct cpu_segment es, cs, ss, ds;
	struct cpu_table gdtr, idtr;
	u64 cr0, cr3, cr4, efer;
	u64 rflags, rip, rsp, rax;
	u64 cr8, pat, tsc_offset;
};

struct svm {
	bool capable;	  /* CPUID has SVM */
	bool gif_clear;	  /* GIF is 0: no event comes in */
	bool run_pending; /* VMRUN is executed, L2 has not been entered yet */
	bool smm_guest;	  /* the SMI came in guest mode: RSM returns to it */
	/*
	 * The next entry is for one instruction, without L1's intercepts of single
	 * instructions: L1 wants others of those that leave together. Or, brief: to deliver an
	 * event.
	 */
	bool step, brief;
	bool walk_reads; /* and it only reads L2's tables: see svm_table_write() */
	u64 hsave_pa, vm_cr;
	u64 next_rip; /* for a #VMEXIT that an instruction causes: behind it; else 0 */
	gpa_t vmcb_gpa;
	struct vmcb vmcb; /* as VMRUN found it: control area */
	struct svm_host host;
	u8 msrpm[SVM_MSRPM_SIZE]; /* as VMRUN found it */
};

/* Whether the exit of that code is L1's wish. */
static inline bool intercepted(const struct vmcb *m, u64 code)
{
	const u8 *bits = (const u8 *)m;

	return code < 0xc0 && (bits[code / 8] >> (code % 8) & 1);
}

/* EXIT_INSN of SVM's own instructions: 1: done (or it faulted); -ENOSYS: it is none of them. */
int svm_handle_insn(struct vcpu *v, const char *mnemonic);
/*
 * Exit @reason in guest mode: 1: L1 has got it, or it is dealt with; -ENOSYS: it is not L1's
 * concern.
 */
int svm_handle_exit(struct vcpu *v, enum cpu_exit reason);
/* In guest mode: delivers @event to L2, or to L1 as a #VMEXIT. */
void svm_exception(struct vcpu *v, const struct cpu_event *event);
/* A fault in L1's nested tables. */
void svm_nested_fault(struct vcpu *v, u64 error, gpa_t gpa);
/*
 * The processor must be able to write to a table of L2's, which is protected, since it is one
 * of L1's nested tables as well. Sets A and D in its place, so that the next instruction needs
 * but to read. False: L2's tables don't allow the access, and it has got a fault.
 */
bool svm_table_write(struct vcpu *v);
/* A triple fault in guest mode. False: L1 doesn't want to know. */
bool svm_triple_fault(struct vcpu *v);
/* #VMEXIT: L1's registers are back, and its VMCB says why. */
void svm_vmexit(struct vcpu *v, u64 code, u64 info1, u64 info2);

/*
 * Before each entry in guest mode. Whether an interrupt, NMI or SMI that waits, or L1's
 * virtual interrupt, has made a #VMEXIT or was given to the processor: nothing else may come
 * in.
 */
bool svm_take_events(struct vcpu *v);
/* Whether the entry is to end when L2 can be interrupted. */
bool svm_wants_window(const struct vcpu *v);
/* Whether an external interrupt ends a HLT. */
bool svm_irq_open(const struct vcpu *v);
/* Adds what L1 intercepts to the cpu's intercepts. */
void svm_to_cpu(struct vcpu *v);
/* The cpu has run. */
void svm_ran(struct vcpu *v);

/* Guest mode ends without a #VMEXIT: EFER.SVME is gone. */
void svm_leave(struct vcpu *v);
/* EFER.SVME may be set, or not, by what CPUID and VM_CR say. */
void svm_set_capable(struct vcpu *v);
/* MSRs; false: #GP. */
bool svm_write_hsave(struct vcpu *v, u64 value, bool host);
bool svm_write_vm_cr(struct vcpu *v, u64 value);
/* What VMRUN checks of a VMCB. */
bool svm_controls_valid(const struct vcpu *v, const struct vmcb *c);
bool svm_state_valid(const struct vcpu *v, const struct vmcb *c);
/*
 * The vCPU is in guest mode from here on, with its registers as they are; v->svm.vmcb has the
 * controls.
 */
void svm_guest_mode(struct vcpu *v);

/* KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE; the size of the largest state. */
int svm_get_state(struct vcpu *v, struct kvm_nested_state *user);
int svm_set_state(struct vcpu *v, const struct kvm_nested_state *user);
u32 svm_state_size(void);

#endif
