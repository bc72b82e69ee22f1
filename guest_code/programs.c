// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest programs that programs.h numbers.
 */
#include "guest_code/runtime.h"
#include "guest_code/programs.h"
#include "x86/arch/svm.h"

static u32 remap_loop(struct guest_cpu *cpu, const struct agent_op *op, u64 *value)
{
	u32 size = pt_current_mode()->pte_size;
	unsigned long window = op->arg2;
	unsigned long entry = pt_entry(window, 1);
	u64 i;

	if (!entry)
		return AGENT_BAD_OP;
	for (i = 0; i < op->value; i++) {
		unsigned long source = window + (i % 16 + 1) * SZ_4K;
		unsigned long other = pt_entry(source, 1);

		if (!other)
			return AGENT_BAD_OP;
		pte_store(entry, size, pte_load(other, size));
		asm volatile("invlpg (%0)" : : "r"(window) : "memory");
		if (*(volatile u32 *)window != *(volatile u32 *)source)
			break;
		cpu->progress = i + 1;
	}
	*value = i;
	return AGENT_OK;
}

static u32 probe(const struct agent_op *op, u64 *value)
{
	static u64 word[4];
	struct {
		u64 pcid, addr;
	} desc = {0, 0};
	unsigned long out = 0, count = 4;
	void *to = word;

	switch (op->value) {
	case PROBE_INT:
		asm volatile("int $0x1f"); /* present in the IDT, caught like any exception */
		break;
	case PROBE_INT3:
		asm volatile("int3");
		break;
	case PROBE_POPCNT:
		asm volatile("popcnt %1, %0" : "=r"(out) : "r"(0xfful));
		break;
	case PROBE_STAC:
		asm volatile("stac; clac");
		break;
	case PROBE_CMPXCHG8B:
		pte_store((unsigned long)word, 8, 8);
		out = pte_load((unsigned long)word, 8);
		break;
	case PROBE_REP_STOS:
		asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x5a) : "memory");
		out = *(volatile u32 *)word;
		break;
	case PROBE_INVPCID:
		asm volatile("invpcid %1, %0" : : "r"((unsigned long)INVPCID_ALL), "m"(desc));
		break;
	default:
		return AGENT_BAD_OP;
	}
	*value = out;
	return AGENT_OK;
}

void svm_vmrun(unsigned long vmcb, unsigned long di, unsigned long si);

static u8 host_save[AGENT_MAX_CPUS][SZ_4K] __attribute__((aligned(4096)));

static u32 vmrun(struct guest_cpu *cpu, const struct agent_op *op, u64 *value)
{
	u64 efer = rdmsr(MSR_EFER);

	if (!(efer & EFER_SVME))
		wrmsr(MSR_EFER, efer | EFER_SVME);
	wrmsr(MSR_VM_HSAVE, (unsigned long)host_save[cpu - cpus]);
	svm_vmrun(op->value, op->arg, op->arg2);
	*value = ((volatile struct vmcb *)(unsigned long)op->value)->exit_code;
	return AGENT_OK;
}

static u64 rdtsc(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

static void longest_gap(struct guest_cpu *cpu, const struct agent_op *op, u64 *value)
{
	volatile u32 *stop = (volatile u32 *)(unsigned long)op->arg2;
	u64 last = rdtsc(), now, longest = 0;
	unsigned long page = 0;

	while (!*stop) {
		(void)*(volatile u32 *)(unsigned long)(op->arg + page * SZ_4K);
		now = rdtsc();
		if (now - last > longest)
			longest = now - last;
		last = now;
		if (++page == op->value)
			page = 0;
		cpu->progress++;
	}
	*value = longest;
}

static void cr3_loop(const struct agent_op *op)
{
	const unsigned long *cr3 = (const unsigned long *)(unsigned long)op->arg;
	unsigned long k = 0;
	u64 i;

	for (i = 0; i < op->value; i++) {
		asm volatile("mov %0, %%cr3" : : "r"(cr3[k]) : "memory");
		if (++k == op->arg2)
			k = 0;
	}
}

static void cpuid_loop(const struct agent_op *op)
{
	u64 i;

	for (i = 0; i < op->value; i++) {
		unsigned long a = 0, c = 0;

		asm volatile("cpuid" : "+a"(a), "+c"(c) : : "ebx", "edx");
	}
}

u32 run_program(struct guest_cpu *cpu, const struct agent_op *op, u64 *value)
{
	switch (op->addr) {
	case PROGRAM_REMAP_LOOP:
		return remap_loop(cpu, op, value);
	case PROGRAM_VMRUN:
		return vmrun(cpu, op, value);
	case PROGRAM_PROBE:
		return probe(op, value);
	case PROGRAM_LONGEST_GAP:
		longest_gap(cpu, op, value);
		return AGENT_OK;
	case PROGRAM_CR3_LOOP:
		cr3_loop(op);
		return AGENT_OK;
	case PROGRAM_CPUID_LOOP:
		cpuid_loop(op);
		return AGENT_OK;
	}
	return AGENT_BAD_OP;
}
