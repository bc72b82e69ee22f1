/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A machine of QEMU's own: one processor by TCG, RAM that is shared with us, and the agent as all
 * of its software. No KVM anywhere. Engine "qemu" (lib/engine_qemu.c) has one for each VM.
 */
#ifndef LIB_MACHINE_H
#define LIB_MACHINE_H

#include <linux/kvm.h>
#include <sys/types.h>

#include "x86/arch/types.h"

#define MACHINE_RAM    (2048 * MiB)
#define MACHINE_LEAVES 6

struct machine {
	pid_t owner, pid; /* who started it; QEMU */
	int ram;	  /* the guest's memory, a memfd */
	int bell;	  /* a byte for each exit; its end is QEMU's */
	int qmp;
	int words;	   /* what QEMU says, a memfd */
	struct boot *boot; /* of the RAM, as is: */
	volatile struct agent_exit *exit;
	bool running; /* and not waiting for machine_run() */
};

/*
 * Starts QEMU and has it wait for machine_begin(). Skips the case where there is none; what else
 * is wrong is an error. QEMU ends with the calling thread at the latest.
 */
struct machine *machine_start(void);
void machine_end(struct machine *m);

/* What the processor says of itself: MACHINE_LEAVES entries. */
void machine_cpuid(const struct machine *m, struct kvm_cpuid_entry2 *entries);

/*
 * Registers for the processor to begin with: general ones rip, rsp and rdi, control registers,
 * and whether its mode is a 64-bit one. Then it runs.
 */
void machine_begin(struct machine *m, const struct kvm_regs *regs, const struct kvm_sregs *sregs);

enum machine_exit {
	MACHINE_OUT,	  /* the agent turns to the host: port and value are in m->exit */
	MACHINE_SHUTDOWN, /* a triple fault */
	MACHINE_STOPPED,  /* *stop was set before */
};

/* Runs it until then. A QEMU that ended fails the case with its last words. */
enum machine_exit machine_run(struct machine *m, const volatile u8 *stop);

/* The registers as they are, asked of QEMU. False when it doesn't answer. */
bool machine_registers(struct machine *m, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif
