// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU's modes, events and exits, each shown by a few lines of assembly
 * at 0x8000: from RESET to long mode and ring 3, double and triple faults, injected
 * events, intercepts, nested page faults, ports, locked operations from two threads.
 */
#include <pthread.h>
#include <string.h>

#include "test.h"
#include "x86/arch/svm.h"
#include "x86/cpu/cpu.h"

#define CODE   0x8000u
#define STACK  0x7000u
#define TABLES 0x20000u /* identity map of the first 2 MiB, by 4 KiB pages */
#define NESTED 0x30000u /* nested tables likewise */
#define MEM    (2 * MiB)

/* CODE_BLOB(name, "assembly"): bytes name_start … name_end; AT(label) is its address. */
#define CODE_BLOB(name, text)                                                        \
	extern const u8 name##_start[], name##_end[];                                \
	asm("	.pushsection .rodata\n"                                                \
	    "	.globl " #name "_start, " #name "_end\n" #name "_start:\n" text "\n" \
	    "	.code64\n" #name "_end:\n"                                           \
	    "	.popsection\n")

struct box {
	struct phys_arena arena;
	struct cpu cpu;
};

static void box_stop(void *arg)
{
	struct box *b = arg;

	cpu_fini(&b->cpu);
	tlb_free(b->cpu.tlb);
	phys_arena_free(&b->arena);
}

static void put_tables(struct box *b, u32 at)
{
	u64 *table = (u64 *)(b->arena.base + at);

	for (unsigned int level = 0; level < 3; level++)
		table[level * 512] = (at + (level + 1) * SZ_4K) | PTE_P | PTE_W | PTE_U;
	for (u64 i = 0; i < 512; i++)
		table[3 * 512 + i] = i * SZ_4K | PTE_P | PTE_W | PTE_U;
}

/* The entry of @pa's page in the tables at @at. */
static u64 *page_entry(struct box *b, u32 at, u64 pa)
{
	return (u64 *)(b->arena.base + at + 3 * SZ_4K) + pa / SZ_4K;
}

static void box_init(struct box *b, const u8 *start, const u8 *end)
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

static struct box *box_start(const u8 *start, const u8 *end)
{
	static struct box box;

	box_init(&box, start, end);
	test_cleanup(box_stop, &box);
	return &box;
}

#define BOX(name) box_start(name##_start, name##_end)

/* 64-bit code in ring 0 with flat segments, no IDT. */
static void go_long(struct box *b)
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

static const char *exit_namer(u64 exit)
{
	return cpu_exit_name(exit);
}

#define EXPECT_EXIT(b, want)                                                          \
	EXPECT_EQ_NAMED(exit_namer, cpu_run(&(b)->cpu, 100000), want, "rip %#lx, %s", \
			(b)->cpu.rip, (b)->cpu.exit.mnemonic ? (b)->cpu.exit.mnemonic : "-")

static u64 memory(struct box *b, u32 at, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, b->arena.base + at, size);
	return value;
}

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

static void put_gate(struct box *b, unsigned int vector, u64 handler, u16 sel, u8 type, u8 ist)
{
	u64 *gate = (u64 *)(b->arena.base + 0xa000) + vector * 2;

	gate[0] = (handler & 0xffff) | (u64)sel << 16 | (u64)ist << 32 | (u64)type << 40 |
		  (handler >> 16 & 0xffff) << 48;
	gate[1] = handler >> 32;
	b->cpu.idtr = (struct cpu_table){.base = 0xa000, .limit = 0xfff};
}

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
	*(u64 *)(b->arena.base + 0x9000 + 36) = 0x6ffb; /* IST1, aligned down to 16 */
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

/* --- exits ---------------------------------------------------------------------------- */

CODE_BLOB(unknown, "	movl $5, %eax\n"
		   "	pxor %xmm1, %xmm2\n");

TEST(unimplemented, .what = "what the CPU lacks is reported by name, address and bytes")
{
	static const u8 bytes[] = {0x66, 0x0f, 0xef, 0xd1};
	struct box *b = BOX(unknown);

	go_long(b);
	EXPECT_EXIT(b, EXIT_UNIMPLEMENTED);
	EXPECT_STREQ(b->cpu.exit.mnemonic, "pxor");
	EXPECT_EQ(b->cpu.rip, CODE + 5);
	EXPECT_EQ(b->cpu.exit.len, 4);
	EXPECT(!memcmp(b->cpu.exit.bytes, bytes, sizeof(bytes)));
}

CODE_BLOB(exits, "	movl $0x20000, %ebx\n"
		 "	movq %rbx, %cr3\n"
		 "	invlpg 0x1234(%rbx)\n"
		 "	movl $0x10, %ecx\n"
		 "	rdmsr\n"
		 "	cpuid\n"
		 "	vmmcall\n"
		 "	addl %eax, 0x5ffffe\n"
		 "	hlt\n");

static bool tsc_only(void *arg, u32 msr, bool write)
{
	return msr == *(u32 *)arg && !write;
}

TEST(intercepts, .what = "intercepted instructions exit before anything of them happened")
{
	struct box *b = BOX(exits);
	struct cpu *cpu = &b->cpu;
	u32 tsc = 0x10;

	go_long(b);
	cpu->intercept.cr_write = BIT(3);
	cpu->intercept.insns = ICPT_INVLPG;
	cpu->intercept.msr = tsc_only;
	cpu->intercept.arg = &tsc;
	cpu->intercept.exceptions = BIT(PF_VECTOR);
	EXPECT_EXIT(b, EXIT_CR);
	EXPECT_EQ(cpu->exit.nr, 3);
	EXPECT(cpu->exit.write);
	EXPECT_EQ(cpu->exit.gpr, GPR_RBX);
	EXPECT_EQ(cpu->exit.value, 0x20000);
	EXPECT_EQ(cpu->rip, CODE + 5);
	cpu->rip = cpu->exit.next_rip;
	EXPECT_EXIT(b, EXIT_INVLPG);
	EXPECT_EQ(cpu->exit.value, 0x21234);
	cpu->rip = cpu->exit.next_rip;
	EXPECT_EXIT(b, EXIT_MSR);
	EXPECT_EQ(cpu->exit.nr, 0x10);
	EXPECT(!cpu->exit.write);
	cpu->rip = cpu->exit.next_rip;
	EXPECT_EXIT(b, EXIT_CPUID);
	cpu->rip = cpu->exit.next_rip;
	EXPECT_EXIT(b, EXIT_INSN);
	EXPECT_STREQ(cpu->exit.mnemonic, "vmmcall");
	cpu->rip = cpu->exit.next_rip;
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(cpu->exit.event.vector, PF_VECTOR);
	EXPECT_EQ(cpu->exit.event.error, PFERR_W);
	EXPECT_EQ(cpu->exit.event.cr2, 0x5ffffe);
	EXPECT_EQ(cpu->cr2, 0, "CR2 is the owner's to write");
}

CODE_BLOB(ports, "	movl $0x7000, %esi\n"
		 "	movl $0x7100, %edi\n"
		 "	movl $3, %ecx\n"
		 "	movl $0x99, %edx\n"
		 "	rep outsw\n"
		 "	movl $2, %ecx\n"
		 "	rep insb\n"
		 "	inb $0x42, %al\n"
		 "	outl %eax, %dx\n"
		 "	hlt\n");

TEST(ports, .what = "IN, OUT and their string forms, one exit an element, data both ways")
{
	struct box *b = BOX(ports);
	struct cpu *cpu = &b->cpu;

	go_long(b);
	memcpy(b->arena.base + 0x7000, "aabbcc", 6);
	for (unsigned int i = 0; i < 3; i++) {
		EXPECT_EXIT(b, EXIT_IO);
		EXPECT_EQ(cpu->exit.port, 0x99);
		EXPECT_EQ(cpu->exit.size, 2);
		EXPECT(!cpu->exit.in && cpu->exit.string && cpu->exit.rep);
		EXPECT_EQ(cpu->exit.value, ('a' + i) * 0x101);
		EXPECT_EQ(cpu->gpr[GPR_RCX], 3 - i);
		cpu_answer_io(cpu, 0);
	}
	for (unsigned int i = 0; i < 2; i++) {
		EXPECT_EXIT(b, EXIT_IO);
		EXPECT(cpu->exit.in && cpu->exit.string);
		cpu_answer_io(cpu, 0x40 + i);
	}
	EXPECT_EXIT(b, EXIT_IO);
	EXPECT_EQ(memory(b, 0x7100, 4), 0x4140);
	EXPECT_EQ(cpu->exit.port, 0x42);
	EXPECT_EQ(cpu->exit.size, 1);
	cpu_answer_io(cpu, 0x17);
	EXPECT_EXIT(b, EXIT_IO);
	EXPECT_EQ(cpu->exit.size, 4);
	EXPECT_EQ(cpu->exit.value & 0xff, 0x17);
	cpu_answer_io(cpu, 0);
	EXPECT_EXIT(b, EXIT_HLT);
}

/* --- nested paging ----------------------------------------------------------------------- */

CODE_BLOB(nested, "	movl $0x50000, %edi\n"
		  "	movl $0x12345678, %eax\n"
		  "	xaddl %eax, (%rdi)\n"
		  "	ud2\n");

TEST(nested, .what = "a nested fault exits without effect, also while an event is delivered")
{
	struct nested nested = {
		.kind = NESTED_NPT, .root = NESTED, .levels = 4, .maxphyaddr = 40, .nx = true};
	struct box *b = BOX(nested);
	struct cpu *cpu = &b->cpu;
	struct cpu_event e;

	go_long(b);
	put_tables(b, NESTED);
	*page_entry(b, NESTED, 0x50000) = 0;
	*page_entry(b, NESTED, STACK - 8) = 0;
	*(u32 *)(b->arena.base + 0x50000) = 5;
	memcpy(b->arena.base + 0xb000, "\0\0\0\0\0\0\0\0\0\0\0\0\0\x9b\x20\0", 16); /* 8: code */
	cpu->gdtr = (struct cpu_table){.base = 0xb000, .limit = 15};
	put_gate(b, UD_VECTOR, CODE + 5, 8, 0x8e, 0);
	cpu->nested = &nested;
	cpu->mmu.asid = 1;
	EXPECT_EXIT(b, EXIT_NPF);
	EXPECT_EQ(cpu->exit.gpa, 0x50000);
	EXPECT_EQ(cpu->exit.error, PFERR_W | PFERR_U | NPF_FINAL);
	EXPECT_EQ(cpu->gpr[GPR_RAX], 0x12345678);
	EXPECT_EQ(cpu->exit.event.type, EVENT_NONE);
	*page_entry(b, NESTED, 0x50000) = 0x50000 | PTE_P | PTE_W | PTE_U;

	EXPECT_EXIT(b, EXIT_NPF);
	EXPECT_EQ(memory(b, 0x50000, 4), 0x1234567d);
	EXPECT_EQ(cpu->gpr[GPR_RAX], 5);
	EXPECT_EQ(cpu->exit.gpa, STACK - 8);
	EXPECT_EQ(cpu->exit.event.vector, UD_VECTOR, "what was being delivered");
	EXPECT_EQ(cpu->gpr[GPR_RSP], STACK);
	*page_entry(b, NESTED, STACK - 8) = ((STACK - 8) & ~0xfffull) | PTE_P | PTE_W | PTE_U;
	e = cpu->exit.event;
	cpu_inject(cpu, &e);
	EXPECT_EQ_NAMED(exit_namer, cpu_run(cpu, 1), EXIT_BUDGET);
	EXPECT_EQ(cpu->rip, CODE + 5);
	EXPECT_EQ(memory(b, STACK - 40, 8), CODE + 13, "RIP of UD2");
}

/* --- self-modifying code, threads ----------------------------------------------------------- */

CODE_BLOB(modify, "	movl $2, %ecx\n"
		  "1:	movl $1, %eax\n"
		  "	addl %eax, %ebx\n"
		  "	movb $7, 1b + 1 - modify_start + 0x8000\n"
		  "	loop 1b\n"
		  "	hlt\n");

TEST(self_modifying, .what = "code that was executed and then changed is decoded again")
{
	struct box *b = BOX(modify);

	go_long(b);
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 8);
}

#define ROUNDS 20000

CODE_BLOB(locked, "	movl $20000, %ecx\n"
		  "1:	lock incq 0x50000\n"
		  "	movl $3, %eax\n"
		  "	lock xaddw %ax, 0x50010\n"
		  "	movl 0x50020, %eax\n"
		  "2:	leal 1(%rax), %edx\n"
		  "	lock cmpxchgl %edx, 0x50020\n"
		  "	jnz 2b\n"
		  "	loop 1b\n"
		  "	hlt\n");

static void *run_thread(void *arg)
{
	cpu_run(arg, ~0ull);
	return NULL;
}

TEST(locked, .what = "locked instructions of two CPUs on two threads lose no update")
{
	struct box *b = BOX(locked);
	struct cpu other;
	pthread_t thread;

	go_long(b);
	ASSERT(cpu_init(&other));
	other.phys = b->cpu.phys;
	other.tlb = tlb_new();
	other.mmu = b->cpu.mmu;
	memcpy(other.seg, b->cpu.seg, sizeof(other.seg));
	other.rip = CODE;
	cpu_sync(&other);
	ASSERT_EQ(pthread_create(&thread, NULL, run_thread, &other), 0);
	EXPECT_EXIT(b, EXIT_BUDGET);
	run_thread(&b->cpu);
	pthread_join(thread, NULL);
	EXPECT_EQ_NAMED(exit_namer, b->cpu.exit.reason, EXIT_HLT);
	EXPECT_EQ_NAMED(exit_namer, other.exit.reason, EXIT_HLT);
	EXPECT_EQ(memory(b, 0x50000, 8), 2 * ROUNDS);
	EXPECT_EQ(memory(b, 0x50010, 2), (u16)(2 * ROUNDS * 3));
	EXPECT_EQ(memory(b, 0x50020, 4), 2 * ROUNDS);
	cpu_fini(&other);
	tlb_free(other.tlb);
}
