// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's blocks: that several instructions are executed at once is not to
 * be seen, neither by the guest nor by the owner.
 */
#include "test_cpu_box.h"

/* --- code that changes what comes next --------------------------------------------------- */

/* One store of each kind: quick, queued, by the stack. */
CODE_BLOB(ahead, "	movb $7, 1f + 1 - ahead_start + 0x8000\n"
		 "1:	movl $1, %eax\n"
		 "	incl %esi\n"
		 "	movw $0x0909, 1f + 1 - ahead_start + 0x8000\n"
		 "1:	movl $1, %ecx\n"
		 "	incl %esi\n"
		 "	movl $1f + 8 - ahead_start + 0x8000, %esp\n"
		 "	movabsq $0xf400000000bbf4, %rdi\n"
		 "	push %rdi\n"
		 "1:	nop\n"
		 "	movl $1, %ebx\n"
		 "	hlt\n");

TEST(ahead, .what = "a store into the block that it's in is seen by the next instruction")
{
	struct box *b = BOX(ahead);

	go_long(b);
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RAX], 7);
	EXPECT_EQ(b->cpu.gpr[GPR_RCX], 0x0909);
	EXPECT_EQ(b->cpu.gpr[GPR_RSI], 2);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0, "the HLT that was pushed comes first");
	EXPECT_EQ(b->cpu.insns, 9);
}

/* --- where a run may end ------------------------------------------------------------------ */

CODE_BLOB(work, "	movl $20, %ecx\n"
		"1:	addq %rcx, %rax\n"
		"	movq %rax, 0x9000(, %rcx, 8)\n"
		"	xorq 0x9008(, %rcx, 8), %rax\n"
		"	shll $3, %edx\n"
		"	leaq 5(%rdx, %rax, 2), %rdx\n"
		"	pushq %rdx\n"
		"	call 2f\n"
		"	popq %rbx\n"
		"	movzbl %bl, %esi\n"
		"	decl %ecx\n"
		"	jnz 1b\n"
		"	hlt\n"
		"2:	imull $13, %edx, %edx\n"
		"	adcq $0, %rdi\n"
		"	ret\n");

static void expect_same(const struct cpu *a, const struct cpu *b)
{
	for (unsigned int i = 0; i < GPR_COUNT; i++)
		EXPECT_EQ(a->gpr[i], b->gpr[i], "register %u", i);
	EXPECT_EQ(a->rip, b->rip);
	EXPECT_EQ(a->rflags, b->rflags);
	EXPECT_EQ(a->insns, b->insns);
}

TEST(budget, .what = "a run in pieces of any length is the same as one in one piece")
{
	struct box *whole = BOX(work);

	go_long(whole);
	EXPECT_EXIT(whole, EXIT_HLT);
	for (u64 step = 1; step < 20; step++) {
		static struct box pieces;
		u64 executed = 0;

		box_init(&pieces, work_start, work_end);
		go_long(&pieces);
		while (cpu_run(&pieces.cpu, step) == EXIT_BUDGET) {
			executed += step;
			ASSERT_EQ(pieces.cpu.insns, executed);
		}
		expect_same(&whole->cpu, &pieces.cpu);
		box_stop(&pieces);
	}
}

TEST(evictions, .what = "a TLB that drops entries at random changes nothing")
{
	struct box *whole = BOX(work);
	static struct box other;

	go_long(whole);
	EXPECT_EXIT(whole, EXIT_HLT);
	for (unsigned int evict = 1; evict < 5; evict++) {
		box_init(&other, work_start, work_end);
		go_long(&other);
		tlb_set_seed(other.cpu.tlb, 17, evict, 2);
		EXPECT_EXIT(&other, EXIT_HLT);
		expect_same(&whole->cpu, &other.cpu);
		box_stop(&other);
	}
}

/* --- what happens in the middle --------------------------------------------------------------- */

CODE_BLOB(middle, "	incl %eax\n"
		  "	incl %eax\n"
		  "1:	addl %eax, 0x50000\n"
		  "	incl %eax\n"
		  "	hlt\n");

TEST(fault,
     .what = "a fault in the middle of a block is the instruction's, and what precedes it done")
{
	struct box *b = BOX(middle);
	u64 insn = CODE + 4;

	go_long(b);
	b->cpu.intercept.exceptions = BIT(PF_VECTOR);
	*page_entry(b, TABLES, 0x50000) = 0;
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(b->cpu.exit.event.cr2, 0x50000);
	EXPECT_EQ(b->cpu.rip, insn);
	EXPECT_EQ(b->cpu.exit.len, 7);
	EXPECT_EQ(b->cpu.gpr[GPR_RAX], 2);
	EXPECT_EQ(b->cpu.insns, 2);
	*page_entry(b, TABLES, 0x50000) = 0x50000 | PTE_P | PTE_W;
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RAX], 3);
	EXPECT_EQ(memory(b, 0x50000, 4), 2);
}

TEST(limit, .what = "the limit of CS in the middle of a block")
{
	struct box *b = BOX(middle);

	/* Real mode: 16-bit code, of which the first two are the same. */
	b->cpu.intercept.exceptions = BIT(GP_VECTOR);
	b->cpu.seg[SEG_CS].limit = CODE + 4;
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(b->cpu.rip, CODE + 4);
	EXPECT_EQ(b->cpu.insns, 2);
	EXPECT_EQ(b->cpu.gpr[GPR_RAX], 2);
}

TEST(crossing, .what = "code runs on from one page into another, and faults there")
{
	static const u8 code[] = {0xff, 0xc0, 0xb9, 1, 2, 3, 4, 0xff, 0xc0, 0xf4};

	/* INC; MOV of 5 bytes; INC; HLT: the page ends behind each byte of it. */
	for (unsigned int n = 1; n < sizeof(code); n++) {
		static struct box b;
		unsigned int done = n < 2 ? 0 : n < 7 ? 1 : n < 9 ? 2 : 3;

		box_init(&b, work_start, work_end);
		go_long(&b);
		b.cpu.intercept.exceptions = BIT(PF_VECTOR);
		*page_entry(&b, TABLES, CODE + SZ_4K) = 0;
		b.cpu.rip = CODE + SZ_4K - n;
		memcpy(b.arena.base + b.cpu.rip, code, sizeof(code));
		EXPECT_EXIT(&b, EXIT_EXCEPTION);
		EXPECT_EQ(b.cpu.insns, done, "%u bytes in the first page", n);
		EXPECT_EQ(b.cpu.exit.event.cr2, CODE + SZ_4K);
		*page_entry(&b, TABLES, CODE + SZ_4K) = (CODE + SZ_4K) | PTE_P;
		EXPECT_EXIT(&b, EXIT_HLT);
		EXPECT_EQ(b.cpu.insns, 3);
		EXPECT_EQ(b.cpu.gpr[GPR_RAX], 2);
		EXPECT_EQ(b.cpu.gpr[GPR_RCX], 0x04030201);
		box_stop(&b);
	}
}

/* --- many of them ------------------------------------------------------------------------------- */

TEST(many, .what = "more code than is remembered, twice")
{
	static struct box b;
	u8 *at;

	box_init(&b, work_start, work_end);
	go_long(&b);
	at = b.arena.base + 0x40000;
	for (unsigned int i = 0; i < 30000; i++, at += 10) {
		memcpy(at, "\x48\x05", 2); /* ADD $imm32, %rax; JMP to the next */
		at[2] = i, at[3] = i >> 8, at[4] = at[5] = 0;
		at[6] = 0xeb, at[7] = 2, at[8] = at[9] = 0xcc;
	}
	*at = 0xf4;
	for (int i = 1; i <= 2; i++) {
		b.cpu.rip = 0x40000;
		EXPECT_EXIT(&b, EXIT_HLT);
		EXPECT_EQ(b.cpu.gpr[GPR_RAX], i * (30000ull * 29999 / 2));
		EXPECT_EQ(b.cpu.insns, i * 60000);
	}
	box_stop(&b);
}
