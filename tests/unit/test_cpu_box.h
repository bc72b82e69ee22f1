/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A machine for the tests of the software CPU: 2 MiB of memory, tables that map it to
 * itself, and a few lines of assembly at 0x8000.
 */
#ifndef TESTS_UNIT_TEST_CPU_BOX_H
#define TESTS_UNIT_TEST_CPU_BOX_H

#include <string.h>

#include "test.h"
#include "x86/cpu/cpu.h"

#define CODE   0x8000u
#define STACK  0x7000u
#define TABLES 0x20000u /* identity map of the first 2 MiB, by 4 KiB pages */
#define NESTED 0x30000u /* nested tables likewise */
#define MEM    (2 * MiB)

/* CODE_BLOB(name, "assembly"): bytes name_start … name_end, which run at CODE. */
#define CODE_BLOB(name, text)                                                        \
	extern const u8 name##_start[], name##_end[];                                \
	asm("	.pushsection .rodata\n	.balign 64\n"                                   \
	    "	.globl " #name "_start, " #name "_end\n" #name "_start:\n" text "\n" \
	    "	.code64\n" #name "_end:\n"                                           \
	    "	.popsection\n")

struct box {
	struct phys_arena arena;
	struct cpu cpu;
};

static inline void box_stop(void *arg)
{
	struct box *b = arg;

	cpu_fini(&b->cpu);
	tlb_free(b->cpu.tlb);
	phys_arena_free(&b->arena);
}

static inline void put_tables(struct box *b, u32 at)
{
	u64 *table = (u64 *)(b->arena.base + at);

	for (unsigned int level = 0; level < 3; level++)
		table[level * 512] = (at + (level + 1) * SZ_4K) | PTE_P | PTE_W | PTE_U;
	for (u64 i = 0; i < 512; i++)
		table[3 * 512 + i] = i * SZ_4K | PTE_P | PTE_W | PTE_U;
}

/* The entry of @pa's page in the tables at @at. */
static inline u64 *page_entry(struct box *b, u32 at, u64 pa)
{
	return (u64 *)(b->arena.base + at + 3 * SZ_4K) + pa / SZ_4K;
}

static inline void box_init(struct box *b, const u8 *start, const u8 *end)
{
	ASSERT(phys_arena_init(&b->arena, MEM));
	ASSERT(cpu_init(&b->cpu));
	b->cpu.phys = &b->arena.phys;
	b->cpu.tlb = tlb_new();
	memcpy(b->arena.base + CODE, start, end - start);
	put_tables(b, TABLES);
	b->cpu.seg[SEG_CS].sel = 0;
	b->cpu.seg[SEG_CS].base = 0;
	b->cpu.rip = CODE;
	b->cpu.gpr[GPR_RSP] = STACK;
}

static inline struct box *box_start(const u8 *start, const u8 *end)
{
	static struct box box;

	box_init(&box, start, end);
	test_cleanup(box_stop, &box);
	return &box;
}

#define BOX(name) box_start(name##_start, name##_end)

/* 64-bit code in ring 0 with flat segments, no IDT. */
static inline void go_long(struct box *b)
{
	struct cpu *cpu = &b->cpu;

	cpu->mmu.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP;
	cpu->mmu.cr3 = TABLES;
	cpu->mmu.cr4 = CR4_PAE;
	cpu->mmu.efer = EFER_LME | EFER_LMA | EFER_NX;
	for (unsigned int i = SEG_ES; i <= SEG_GS; i++)
		cpu->seg[i] = (struct cpu_segment){.sel = i == SEG_CS ? 8 : 0x10,
						   .attr = SEG_P | SEG_S | SEG_G |
							   (i == SEG_CS ? 0xb | SEG_L : 3),
						   .limit = ~0u};
	cpu->idtr.limit = 0;
	cpu->gdtr.limit = 0;
	cpu_sync(cpu);
}

static inline const char *exit_namer(u64 exit)
{
	return cpu_exit_name(exit);
}

#define EXPECT_EXIT(b, want)                                                          \
	EXPECT_EQ_NAMED(exit_namer, cpu_run(&(b)->cpu, 100000), want, "rip %#lx, %s", \
			(b)->cpu.rip, (b)->cpu.exit.mnemonic ? (b)->cpu.exit.mnemonic : "-")

static inline u64 memory(struct box *b, u32 at, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, b->arena.base + at, size);
	return value;
}

/* Gate @vector of an IDT at 0xa000. */
static inline void put_gate(struct box *b, unsigned int vector, u64 handler, u16 sel, u8 type,
			    u8 ist)
{
	u64 *gate = (u64 *)(b->arena.base + 0xa000) + vector * 2;

	gate[0] = (handler & 0xffff) | (u64)sel << 16 | (u64)ist << 32 | (u64)type << 40 |
		  (handler >> 16 & 0xffff) << 48;
	gate[1] = handler >> 32;
	b->cpu.idtr = (struct cpu_table){.base = 0xa000, .limit = 0xfff};
}

#endif
