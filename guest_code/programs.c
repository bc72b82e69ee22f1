// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest programs that programs.h numbers.
 */
#include "guest_code/runtime.h"
#include "guest_code/programs.h"

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

u32 run_program(struct guest_cpu *cpu, const struct agent_op *op, u64 *value)
{
	switch (op->addr) {
	case PROGRAM_REMAP_LOOP:
		return remap_loop(cpu, op, value);
	}
	return AGENT_BAD_OP;
}
