// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's modes and events, each shown by a few lines of assembly: from
 * RESET to long mode and ring 3, real mode, double and triple faults, injected
 * events, traps.
 */
#include "test_cpu_box.h"

/* --- modes ---------------------------------------------------------------------------- */

#define GDT                                                                                       \
	"gdt:	.quad 0, 0x00209b0000000000, 0x00cf93000000ffff\n" /* 8: 64-bit code */           \
	"	.quad 0x00cf9b000000ffff, 0x00cffb000000ffff\n"	   /* 18: 32-bit code; 20|3 */    \
	"	.quad 0x00cff3000000ffff, 0x0020fb0000000000\n" /* 28|3 data, 30|3 64-bit code */ \
	"	.quad 0x0000890090000067, 0\n"			/* 38: TSS at 0x9000 */           \
	"gdt_end:\n"                                                                              \
	"gdtr:	.word gdt_end - gdt - 1\n"                                                         \
	"	.long gdt - boot_start + 0x8000\n"                                                      \
	"	.long 0\n"

CODE_BLOB(boot, "	.code16\n"
		"	cli\n"
		"	xorw %ax, %ax\n"
		"	movw %ax, %ds\n"
		"	movw $0x1234, %bx\n"
		"	pushw %bx\n"
		"	popl %ecx\n" /* and what was above it */
		"	lgdtl gdtr - boot_start + 0x8000\n"
		"	movl %cr0, %eax\n"
		"	orb $1, %al\n"
		"	movl %eax, %cr0\n"
		"	ljmpl $0x18, $prot - boot_start + 0x8000\n"
		"	.code32\n"
		"prot:	movw $0x10, %ax\n"
		"	movw %ax, %ds\n"
		"	movw %ax, %ss\n"
		"	movl $0x6ff0, %esp\n"
		"	pushal\n"
		"	popal\n"
		"	movl %cr4, %eax\n"
		"	orl $0x20, %eax\n"
		"	movl %eax, %cr4\n"
		"	movl $0x20000, %eax\n"
		"	movl %eax, %cr3\n"
		"	movl $0xc0000080, %ecx\n"
		"	rdmsr\n"
		"	orl $0x101, %eax\n" /* LME, SCE */
		"	wrmsr\n"
		"	movl %cr0, %eax\n"
		"	orl $0x80000000, %eax\n"
		"	movl %eax, %cr0\n"
		"	ljmpl $8, $long - boot_start + 0x8000\n"
		"	.code64\n"
		"long:	movl $0x38, %eax\n"
		"	ltr %ax\n"
		"	movl $0xc0000081, %ecx\n" /* STAR: kernel 8, user 0x20|3 */
		"	xorl %eax, %eax\n"
		"	movl $0x00230008, %edx\n"
		"	wrmsr\n"
		"	incl %ecx\n" /* LSTAR */
		"	movl $entry - boot_start + 0x8000, %eax\n"
		"	xorl %edx, %edx\n"
		"	wrmsr\n"
		"	movl $0xc0000084, %ecx\n" /* SFMASK: IF, DF */
		"	movl $0x600, %eax\n"
		"	wrmsr\n"
		"	movl $user - boot_start + 0x8000, %ecx\n"
		"	movl $0x602, %r11d\n"
		"	sysretq\n"
		"user:	movl %cs, %r12d\n"
		"	movl %ss, %r13d\n"
		"	syscall\n"
		"	ud2\n"
		"entry:	movl %cs, %r14d\n"
		"	pushfq\n"
		"	popq %r15\n"
		/* compatibility mode: a 32-bit segment below long mode, and back by RETF */
		"	pushq $8\n"
		"	pushq $back - boot_start + 0x8000\n"
		"	pushq $0x18\n"
		"	pushq $compat - boot_start + 0x8000\n"
		"	lretq\n"
		"	.code32\n"
		"compat: movl $0xffffffff, %eax\n"
		"	incl %eax\n"  /* 0x40 would be a REX prefix in 64-bit mode */
		"	.byte 0x40\n" /* inc %eax */
		"	popl %ebx\n"  /* two 8-byte slots: offset, selector */
		"	popl %edx\n"
		"	popl %edx\n"
		"	pushl %edx\n"
		"	pushl %ebx\n"
		"	lretl\n"
		"	.code64\n"
		"back:	hlt\n"
		"	.balign 8\n" GDT);

TEST(boot, .what = "real mode to long mode, SYSRET, SYSCALL, compatibility mode and back")
{
	struct box *b = BOX(boot);
	struct cpu *cpu = &b->cpu;

	*(u16 *)(b->arena.base + STACK) = 0x5678;
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(cpu->mmu.efer & EFER_LMA, EFER_LMA);
	EXPECT_EQ(cpu->seg[SEG_CS].sel, 8);
	EXPECT_EQ(cpu->seg[SEG_TR].attr & 0xf, 0xb, "busy TSS");
	EXPECT_EQ(cpu->gpr[12], 0x33, "CS in ring 3");
	EXPECT_EQ(cpu->gpr[13], 0x2b, "SS in ring 3");
	EXPECT_EQ(cpu->gpr[14], 8, "CS after SYSCALL");
	EXPECT_EQ(cpu->gpr[15] & (FLAG_IF | FLAG_DF), 0, "SFMASK");
	EXPECT_EQ(cpu->gpr[11] & (FLAG_IF | FLAG_DF), FLAG_IF | FLAG_DF, "R11");
	EXPECT_EQ(cpu->gpr[GPR_RAX], 1, "INC in compatibility mode");
}

CODE_BLOB(real, "	.code16\n"
		"	movw $8, %ax\n"
		"	movw %ax, %es\n"
		"	movw $isr - real_start + 0x8000, %es:4\n" /* vector 0x21 */
		"	movw $0, %es:6\n"
		"	stc\n"
		"	int $0x21\n"
		"	sbbw %di, %di\n" /* CF as IRET put it back */
		"	movw $3, %cx\n"
		"	xorw %dx, %dx\n"
		"1:	addw %cx, %dx\n"
		"	loop 1b\n"
		"	movl $0x12345, %esi\n"
		"	movw %si, %si\n"
		"	hlt\n"
		"isr:	movw $0xbeef, %bx\n"
		"	clc\n"
		"	iretw\n");

TEST(real_mode, .what = "interrupts through the IVT, 16-bit operands and addresses")
{
	struct box *b = BOX(real);

	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0xbeef);
	EXPECT_EQ(b->cpu.gpr[GPR_RDX], 6);
	EXPECT_EQ(b->cpu.gpr[GPR_RSI], 0x12345);
	EXPECT_EQ(b->cpu.gpr[GPR_RSP], STACK);
	EXPECT_EQ(b->cpu.gpr[GPR_RDI], 0xffff, "IRET puts the flags back");
}

/* --- faults on faults ------------------------------------------------------------------- */

CODE_BLOB(faults, "	lgdt gdtr2 - faults_start + 0x8000\n"
		  "	ud2\n"
		  "	hlt\n"
		  "handler: popq %rbx\n"
		  "	hlt\n"
		  "	.balign 8\n"
		  "gdt2:	.quad 0, 0x00209b0000000000\n"
		  "gdtr2:	.word 15\n"
		  "	.quad gdt2 - faults_start + 0x8000\n");

/* "handler" above. */
#define HANDLER (CODE + 8 + 2 + 1)

TEST(double_fault, .what = "a fault in the delivery of #NP is a double fault with error code 0")
{
	struct box *b = BOX(faults);

	go_long(b);
	put_gate(b, UD_VECTOR, HANDLER, 8, 0x0e, 0); /* not present: #NP … */
	put_gate(b, 11, HANDLER, 8, 0x0e, 0);	     /* … and again: #DF */
	put_gate(b, DF_VECTOR, HANDLER, 8, 0x8e, 0);
	b->cpu.gpr[GPR_RBX] = ~0ull;
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.rip, HANDLER + 1);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0, "error code");
	EXPECT_EQ(memory(b, b->cpu.gpr[GPR_RSP], 8), CODE + 8, "RIP of the instruction");
}

TEST(benign_fault, .what = "#NP while #UD is delivered is delivered itself")
{
	struct box *b = BOX(faults);

	go_long(b);
	put_gate(b, UD_VECTOR, HANDLER, 8, 0x0e, 0);
	put_gate(b, 11, HANDLER, 8, 0x8e, 0);
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], UD_VECTOR * 8 + 3, "gate 6 of the IDT, external");
}

TEST(triple_fault, .what = "no gate for #DF either: shutdown, with the state before")
{
	struct box *b = BOX(faults);

	go_long(b);
	b->cpu.gpr[GPR_RBX] = 77;
	EXPECT_EXIT(b, EXIT_SHUTDOWN);
	EXPECT_EQ(b->cpu.rip, CODE + 8);
	EXPECT_EQ(b->cpu.gpr[GPR_RSP], STACK);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 77);
}

TEST(ist, .what = "a gate with an IST entry switches stacks without a change of ring")
{
	struct box *b = BOX(faults);

	go_long(b);
	b->cpu.seg[SEG_TR] =
		(struct cpu_segment){.attr = SEG_P | 0xb, .limit = 103, .base = 0x9000};
	*(u32 *)(b->arena.base + 0x9000 + 36) = 0x6ffb; /* IST1, aligned down to 16 */
	put_gate(b, UD_VECTOR, HANDLER, 8, 0x8e, 1);
	b->cpu.gpr[GPR_RSP] = STACK - 8;
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RSP], 0x6ff0 - 4 * 8);
	EXPECT_EQ(memory(b, 0x6ff0 - 16, 8), STACK - 8, "old RSP");
}

/* --- events --------------------------------------------------------------------------- */

CODE_BLOB(window, "	lgdt gdtr3 - window_start + 0x8000\n"
		  "	sti\n"
		  "	nop\n"
		  "	nop\n"
		  "	hlt\n"
		  "	.balign 64\n"
		  "	incl %ebx\n"
		  "	iretq\n"
		  "	.balign 8\n"
		  "gdt3:	.quad 0, 0x00209b0000000000, 0x00cf93000000ffff\n"
		  "gdtr3:	.word 23\n"
		  "	.quad gdt3 - window_start + 0x8000\n");

TEST(interrupts, .what = "the interrupt window opens an instruction after STI; IRET returns")
{
	struct box *b = BOX(window);
	struct cpu_event e = {.type = EVENT_INTR, .vector = 0x40};

	go_long(b);
	put_gate(b, 0x40, CODE + 64, 8, 0x8e, 0);
	b->cpu.want_window = true;
	EXPECT(!cpu_interruptible(&b->cpu));
	EXPECT_EXIT(b, EXIT_WINDOW);
	EXPECT_EQ(b->cpu.rip, CODE + 8 + 2);
	b->cpu.want_window = false;
	cpu_inject(&b->cpu, &e);
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 1);
	EXPECT_EQ(b->cpu.rflags & FLAG_IF, FLAG_IF);
	EXPECT_EQ(b->cpu.gpr[GPR_RSP], STACK);
	__atomic_store_n(&b->cpu.stop, 1, __ATOMIC_RELAXED);
	EXPECT_EXIT(b, EXIT_INTERRUPT);
}

CODE_BLOB(trap, "	lgdt gdtr4 - trap_start + 0x8000\n"
		"	pushfq\n"
		"	orl $0x100, (%rsp)\n"
		"	popfq\n"
		"	nop\n" /* #DB after it */
		"	hlt\n"
		"	.balign 64\n"
		"	int3\n" /* the handler of #DB; it runs without TF */
		"	hlt\n"
		"	.balign 64\n"
		"	hlt\n"
		"	.balign 8\n"
		"gdt4:	.quad 0, 0x00209b0000000000, 0x00cf93000000ffff\n"
		"gdtr4:	.word 23\n"
		"	.quad gdt4 - trap_start + 0x8000\n");

TEST(traps, .what = "a single step traps after the instruction; INT3 returns behind itself")
{
	struct box *b = BOX(trap);
	u64 sp;

	go_long(b);
	put_gate(b, DB_VECTOR, CODE + 64, 8, 0x8e, 0);
	put_gate(b, 3, CODE + 128, 8, 0x8e, 0);
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.rip, CODE + 128);
	EXPECT_EQ(b->cpu.dr[6] & BIT(14), BIT(14), "DR6.BS");
	sp = b->cpu.gpr[GPR_RSP];
	EXPECT_EQ(memory(b, sp, 8), CODE + 65, "RIP behind INT3");
	EXPECT_EQ(memory(b, sp + 16, 8) & FLAG_TF, 0, "the handler's flags");
	EXPECT_EQ(memory(b, sp + 48, 8), CODE + 8 + 1 + 7 + 1 + 1, "RIP behind the NOP");
	EXPECT_EQ(memory(b, sp + 64, 8) & FLAG_TF, FLAG_TF, "the program's flags");

	/* INT3 is an exception to those who intercept it, and hasn't happened then. */
	b->cpu.rip = CODE + 64;
	b->cpu.intercept.exceptions = BIT(3);
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(b->cpu.exit.event.vector, 3);
	EXPECT_EQ(b->cpu.rip, CODE + 64);
	EXPECT_EQ(b->cpu.gpr[GPR_RSP], sp);
}
