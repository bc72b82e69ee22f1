/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest programs: functions that run without the host, for loops and sequences
 * that operations can't express. Started by AGENT_CALL with a number from here;
 * numbers are never reused.
 */
#ifndef GUEST_CODE_PROGRAMS_H
#define GUEST_CODE_PROGRAMS_H

#include "guest_code/agent_abi.h"

enum guest_program {
	/*
	 * Rewrites entries and reads behind them: value times, the 4 KiB entry of
	 * arg2 gets the frame that the entry of (arg2 + i % 16 pages + 1 page) names, INVLPG,
	 * and the first word read through it must be that of the frame. Value: rounds that agreed.
	 */
	PROGRAM_REMAP_LOOP = 1,
	/* Executes instruction value of enum probe_insn, for the host's probe. */
	PROGRAM_PROBE = 2,
	/*
	 * VMRUN of the VMCB at gpa value, with arg and arg2 in the nested guest's di and
	 * si. Turns EFER.SVME on; value: the exit code. The rest is in the VMCB.
	 */
	PROGRAM_VMRUN = 3,
	/*
	 * Reads the first word of each of the value pages at arg, over and over, until the word at
	 * arg2 isn't 0. Value: the longest time from one read to the next, in ticks of the TSC.
	 */
	PROGRAM_LONGEST_GAP = 4,
	/* Loads CR3 value times, with the arg2 words at arg in turn. */
	PROGRAM_CR3_LOOP = 5,
	/* CPUID, value times: an exit that does next to nothing. */
	PROGRAM_CPUID_LOOP = 6,
};

/* Instructions that a partial KVM is known to fail on. */
enum probe_insn {
	PROBE_INT, /* INT n through the IDT */
	PROBE_INT3,
	PROBE_POPCNT,
	PROBE_STAC, /* #UD where SMAP is missing, which is fine */
	PROBE_CMPXCHG8B,
	PROBE_REP_STOS,
	PROBE_INVPCID, /* #UD where missing */
	PROBE_COUNT
};

struct guest_cpu;

/* Runs program op->addr; returns enum agent_status and its result in @value. */
u32 run_program(struct guest_cpu *cpu, const struct agent_op *op, u64 *value);

#endif
