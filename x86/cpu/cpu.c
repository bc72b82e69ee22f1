// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processor's loop: deliver what waits, fetch, execute, commit; and the ways
 * out of an instruction, all of which end here.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/exec.h"

enum {
	JUMP_NONE,
	JUMP_FAULT,
	JUMP_EXIT
};

static void __attribute__((noreturn)) jump_out(struct cpu *cpu, int why)
{
	/* by this name, which sanitizers know */
	longjmp(*(jmp_buf *)cpu->jump, why);
}

void raise_fault(struct cpu *cpu, u8 vector, u32 error)
{
	cpu->fault = (struct cpu_event){.type = EVENT_EXCEPTION,
					.vector = vector,
					.has_error = error != NO_ERROR && protected_mode(cpu),
					.error = error == NO_ERROR ? 0 : error};
	jump_out(cpu, JUMP_FAULT);
}

void raise_pf(struct cpu *cpu, u64 error, gva_t gva)
{
	cpu->fault = (struct cpu_event){.type = EVENT_EXCEPTION,
					.vector = PF_VECTOR,
					.has_error = true,
					.error = error,
					.cr2 = gva};
	cpu->exit.implicit = cpu->mmu.implicit;
	jump_out(cpu, JUMP_FAULT);
}

void leave(struct cpu *cpu, enum cpu_exit reason)
{
	cpu->exit.reason = reason;
	jump_out(cpu, JUMP_EXIT);
}

void unimplemented(struct cpu *cpu)
{
	leave(cpu, EXIT_UNIMPLEMENTED);
}

void intercept(struct cpu *cpu, u64 which)
{
	if (cpu->intercept.insns & which)
		leave(cpu, EXIT_INSN);
}

/* What restore() puts back; the general registers only if @all. */
static inline void save(struct cpu *cpu, bool all)
{
	if (all)
		memcpy(cpu->saved.gpr, cpu->gpr, sizeof(cpu->gpr));
	cpu->saved.all = all;
	cpu->saved.rflags = cpu->rflags;
	cpu->saved.cpl = cpu->mmu.cpl;
}

static void restore(struct cpu *cpu)
{
	if (cpu->saved.all)
		memcpy(cpu->gpr, cpu->saved.gpr, sizeof(cpu->gpr));
	cpu->rflags = cpu->saved.rflags;
	cpu->mmu.cpl = cpu->saved.cpl;
	cpu->mmu.implicit = false;
	cpu->nr_stores = 0;
}

/* What the processor was doing, for the exit. */
static void describe(struct cpu *cpu)
{
	const struct insn *insn = cpu->insn;

	cpu->exit.delivering = cpu->delivering;
	cpu->exit.len = 0;
	cpu->exit.mnemonic = NULL;
	cpu->exit.next_rip = cpu->rip;
	if (!insn)
		return;
	cpu->exit.len = insn->len;
	cpu->exit.mnemonic = insn_name(insn);
	cpu->exit.next_rip = cpu->rip + insn->len;
	if (!in_64(cpu))
		cpu->exit.next_rip = (u32)cpu->exit.next_rip;
	memcpy(cpu->exit.bytes, insn->bytes, sizeof(cpu->exit.bytes));
}

/* After a fault: what is delivered next, or which exit it is. False: exit. */
static bool take_fault(struct cpu *cpu)
{
	struct cpu_event fault = cpu->fault;

	if (cpu->intercept.exceptions >> fault.vector & 1) {
		cpu->exit.reason = EXIT_EXCEPTION;
		cpu->exit.event = fault;
		return false;
	}
	cpu_abandon(cpu);
	if (!combine_events(&cpu->delivering, &fault)) {
		cpu->exit.reason = EXIT_SHUTDOWN;
		return false;
	}
	/* The second of two faults isn't intercepted, but what becomes of them may be. */
	if (fault.vector == DF_VECTOR && (cpu->intercept.exceptions >> DF_VECTOR & 1)) {
		cpu->exit.reason = EXIT_EXCEPTION;
		cpu->exit.event = fault;
		return false;
	}
	cpu->event = fault;
	cpu->delivering.type = EVENT_NONE;
	return true;
}

static void deliver(struct cpu *cpu)
{
	cpu->delivering = cpu->event;
	cpu->event.type = EVENT_NONE;
	cpu->insn = NULL;
	cpu->shadow = 0;
	deliver_event(cpu);
	commit_stores(cpu);
	cpu->rip = cpu->next_rip;
	cpu->delivering.type = EVENT_NONE;
}

/* A single step is over: #DB, which comes after the instruction (SDM vol. 3 17.3.1.4). */
static void single_step(struct cpu *cpu)
{
	cpu->dr[6] |= BIT(14);
	cpu->event = (struct cpu_event){.type = EVENT_EXCEPTION, .vector = DB_VECTOR};
}

/* Executes any instruction. */
static void __attribute__((noinline)) step(struct cpu *cpu, const struct insn *insn)
{
	bool trap = cpu->rflags & FLAG_TF;

	cpu->insn = insn;
	cpu->next_rip = cpu->rip + insn->len;
	if (!in_64(cpu))
		cpu->next_rip = (u32)cpu->next_rip;
	cpu->mmio.next = 0;
	if (!insn->plain)
		save(cpu, true);
	if (__builtin_expect(!insn->exec, 0))
		unimplemented(cpu);
	insn->exec(cpu, insn);
	if (cpu->nr_stores)
		commit_stores(cpu);
	cpu->rip = cpu->next_rip;
	cpu->insns++;
	cpu->rflags &= ~FLAG_RF;
	cpu->io_answered = false;
	cpu->mmio.nr_pages = cpu->mmio.nr_answers = 0;
	if (cpu->shadow)
		cpu->shadow--;
	if (__builtin_expect(trap, 0) && cpu->event.type == EVENT_NONE)
		single_step(cpu);
}

/* Whether there is something that step() has to do besides executing the instruction. */
static bool needs_step(const struct cpu *cpu)
{
	return (cpu->rflags & (FLAG_TF | FLAG_RF)) || cpu->shadow || cpu->io_answered ||
	       cpu->mmio.nr_pages;
}

/* Whether all of @block lies in CS, so that RIP needs neither checks nor wrapping in it. */
static bool in_limit(const struct cpu *cpu, const struct block *block)
{
	return in_64(cpu) || cpu->rip + block->len <= cpu->seg[SEG_CS].limit;
}

/*
 * Executes what is at RIP, up to @max instructions: some or all of a block, as long as
 * nothing happens to its code. By itself, since setjmp() keeps registers from cpu_run().
 */
static void __attribute__((noinline)) run_block(struct cpu *cpu, u64 max)
{
	const struct insn *insn, *end;
	const struct block *block;
	u64 rip = cpu->rip, insns = cpu->insns;

	cpu->insn = NULL;
	block = fetch(cpu);
	insn = block->insn;
	if (!insn->simple || needs_step(cpu) || !in_limit(cpu, block)) {
		step(cpu, insn);
		return;
	}
	cpu->code = block->host;
	cpu->code_len = block->len;
	cpu->stale = false;
	end = insn + (max < block->nr ? max : block->nr);
	do {
		cpu->insn = insn;
		cpu->saved.rflags = cpu->rflags;
		cpu->rip = rip;
		rip += insn->len;
		cpu->next_rip = rip;
		insn->quick(cpu, insn);
		cpu->insns = ++insns;
		if (__builtin_expect(cpu->nr_stores | cpu->stale, 0)) {
			commit_stores(cpu);
			if (cpu->stale)
				break;
		}
	} while (++insn < end);
	cpu->rip = cpu->next_rip;
}

/* Whether what is in pages[] may still be used: its owner may have changed the registers. */
static void see_registers(struct cpu *cpu)
{
	static const struct nested none;
	const struct nested *nested = cpu->nested ? cpu->nested : &none;
	struct mmu_regs mmu = cpu->mmu;

	/* These are in page_context(). */
	mmu.cpl = 0;
	mmu.ac = mmu.implicit = false;
	if (cpu->seen.epoch == cpu->epoch && cpu->seen.tlb == cpu->tlb &&
	    !memcmp(&cpu->seen.mmu, &mmu, sizeof(mmu)) &&
	    !memcmp(&cpu->seen.nested, nested, sizeof(*nested)))
		return;
	cpu->seen.epoch = ++cpu->epoch;
	cpu->seen.tlb = cpu->tlb;
	memcpy(&cpu->seen.mmu, &mmu, sizeof(mmu));
	memcpy(&cpu->seen.nested, nested, sizeof(*nested));
}

enum cpu_exit cpu_run(struct cpu *cpu, u64 max_insns)
{
	u64 end = cpu->insns + max_insns < max_insns ? ~0ull : cpu->insns + max_insns;
	jmp_buf out;

	cpu->jump = &out;
	see_registers(cpu);
	cpu->generations = tlb_generations(cpu->tlb);
	cpu->insn = NULL;
	cpu->delivering.type = EVENT_NONE;
	cpu->exit.event.type = EVENT_NONE;
	cpu->exit.delivering.type = EVENT_NONE;
	save(cpu, false);
	switch (_setjmp(out)) {
	case JUMP_FAULT:
		restore(cpu);
		if (!take_fault(cpu)) {
			describe(cpu);
			return cpu->exit.reason;
		}
		break;
	case JUMP_EXIT:
		restore(cpu);
		describe(cpu);
		return cpu->exit.reason;
	}
	while (cpu->insns < end) {
		if (__atomic_load_n(&cpu->stop, __ATOMIC_RELAXED))
			return cpu->exit.reason = EXIT_INTERRUPT;
		save(cpu, cpu->event.type != EVENT_NONE);
		if (__builtin_expect(cpu->event.type != EVENT_NONE, 0)) {
			deliver(cpu);
			cpu->insns++;
		} else if (__builtin_expect(cpu->want_window, 0) && cpu_interruptible(cpu)) {
			return cpu->exit.reason = EXIT_WINDOW;
		} else {
			run_block(cpu, end - cpu->insns);
		}
	}
	return cpu->exit.reason = EXIT_BUDGET;
}

void cpu_answer_io(struct cpu *cpu, u64 value)
{
	cpu->io_answered = true;
	cpu->io_value = value;
}

bool cpu_interruptible(const struct cpu *cpu)
{
	return (cpu->rflags & FLAG_IF) && !cpu->shadow && cpu->event.type == EVENT_NONE;
}

void cpu_abandon(struct cpu *cpu)
{
	cpu->mmio.nr_pages = cpu->mmio.nr_answers = 0;
	cpu->io_answered = false;
}

void cpu_retract_mmio(struct cpu *cpu, unsigned int count)
{
	if (count < cpu->mmio.nr_answers)
		cpu->mmio.nr_answers = count;
}

void cpu_inject(struct cpu *cpu, const struct cpu_event *event)
{
	cpu_abandon(cpu);
	cpu->event = *event;
}

bool cpu_inject_fault(struct cpu *cpu, const struct cpu_event *first, const struct cpu_event *fault)
{
	struct cpu_event event = *fault;

	if (!combine_events(first, &event))
		return false;
	cpu_inject(cpu, &event);
	return true;
}

void cpu_sync(struct cpu *cpu)
{
	struct cpu_segment cs = cpu->seg[SEG_CS];

	cpu->rflags |= RFLAGS_FIXED;
	set_cs(cpu, &cs, cpu->mmu.cpl);
}

bool cpu_init(struct cpu *cpu)
{
	memset(cpu, 0, sizeof(*cpu));
	cpu->icache = insn_cache_new();
	if (!cpu->icache)
		return false;
	for (unsigned int i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct cpu_segment){.attr = SEG_P | SEG_S | 3, .limit = 0xffff};
	cpu->seg[SEG_CS] = (struct cpu_segment){
		.sel = 0xf000, .attr = SEG_P | SEG_S | 0xb, .limit = 0xffff, .base = 0xffff0000};
	cpu->seg[SEG_LDTR].attr = SEG_P | 2;
	cpu->seg[SEG_TR].attr = SEG_P | 0xb;
	cpu->gdtr.limit = 0xffff;
	cpu->idtr.limit = 0xffff;
	cpu->rip = 0xfff0;
	cpu->mmu.cr0 = CR0_ET | CR0_NW | CR0_CD;
	cpu->mmu.maxphyaddr = 52;
	cpu->dr[6] = 0xffff0ff0;
	cpu->dr[7] = 0x400;
	cpu->xcr0 = 1;
	cpu->pat = 0x0007040600070406;
	cpu->apic_base = 0xfee00900;
	cpu->misc_enable = 1;
	/* VME to OSXMMEXCPT, and those by name */
	cpu->cr4_valid = 0x7ff | CR4_UMIP | CR4_LA57 | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |
			 CR4_SMEP | CR4_SMAP | CR4_PKE;
	cpu->efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
	cpu->xcr0_valid = 7;
	cpu_sync(cpu);
	return true;
}

void cpu_fini(struct cpu *cpu)
{
	insn_cache_free(cpu->icache);
	cpu->icache = NULL;
}

const char *cpu_exit_name(enum cpu_exit reason)
{
	static const char *const names[] = {
		[EXIT_BUDGET] = "budget",
		[EXIT_INTERRUPT] = "interrupt",
		[EXIT_WINDOW] = "interrupt window",
		[EXIT_HLT] = "HLT",
		[EXIT_IO] = "I/O",
		[EXIT_CPUID] = "CPUID",
		[EXIT_MSR] = "MSR",
		[EXIT_CR] = "control register",
		[EXIT_DR] = "debug register",
		[EXIT_INVLPG] = "INVLPG",
		[EXIT_INVPCID] = "INVPCID",
		[EXIT_INSN] = "instruction",
		[EXIT_EXCEPTION] = "exception",
		[EXIT_NPF] = "nested page fault",
		[EXIT_EPT_VIOLATION] = "EPT violation",
		[EXIT_EPT_MISCONFIG] = "EPT misconfiguration",
		[EXIT_MMIO] = "MMIO",
		[EXIT_BUS] = "bus error",
		[EXIT_PML_FULL] = "page-modification log full",
		[EXIT_SHUTDOWN] = "shutdown",
		[EXIT_UNIMPLEMENTED] = "unimplemented instruction",
	};

	return reason < ARRAY_LEN(names) && names[reason] ? names[reason] : "?";
}
