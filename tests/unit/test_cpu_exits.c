// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU and who runs it: intercepts, ports, nested page faults, what is
 * not implemented, code that changes, and locked operations from two threads.
 */
#include <pthread.h>

#include "test_cpu_box.h"
#include "x86/arch/svm.h"

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
	EXPECT_EQ(cpu->exit.delivering.type, EVENT_NONE);
	*page_entry(b, NESTED, 0x50000) = 0x50000 | PTE_P | PTE_W | PTE_U;

	EXPECT_EXIT(b, EXIT_NPF);
	EXPECT_EQ(memory(b, 0x50000, 4), 0x1234567d);
	EXPECT_EQ(cpu->gpr[GPR_RAX], 5);
	EXPECT_EQ(cpu->exit.gpa, STACK - 8);
	EXPECT_EQ(cpu->exit.delivering.vector, UD_VECTOR, "what was being delivered");
	EXPECT_EQ(cpu->gpr[GPR_RSP], STACK);
	*page_entry(b, NESTED, STACK - 8) = ((STACK - 8) & ~0xfffull) | PTE_P | PTE_W | PTE_U;
	e = cpu->exit.delivering;
	cpu_inject(cpu, &e);
	EXPECT_EQ_NAMED(exit_namer, cpu_run(cpu, 1), EXIT_BUDGET);
	EXPECT_EQ(cpu->rip, CODE + 5);
	EXPECT_EQ(memory(b, STACK - 40, 8), CODE + 13, "RIP of UD2");
}

TEST(fault_in_delivery, .what = "an intercepted fault in the delivery of another names both")
{
	struct box *b = BOX(nested);
	struct cpu *cpu = &b->cpu;
	struct cpu_event e;

	go_long(b);
	*(u64 *)(b->arena.base + 0xb008) = 0x00209b0000000000; /* 8: code */
	cpu->gdtr = (struct cpu_table){.base = 0xb000, .limit = 15};
	put_gate(b, UD_VECTOR, CODE + 5, 8, 0x8e, 0);
	cpu->intercept.exceptions = BIT(PF_VECTOR);
	*page_entry(b, TABLES, STACK - 8) = 0;
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(cpu->exit.event.vector, PF_VECTOR);
	EXPECT_EQ(cpu->exit.event.error, PFERR_W);
	EXPECT_EQ(cpu->exit.event.cr2, STACK - 8);
	EXPECT_EQ(cpu->exit.delivering.vector, UD_VECTOR);
	*page_entry(b, TABLES, STACK - 8) = ((STACK - 8) & ~0xfffull) | PTE_P | PTE_W | PTE_U;
	e = cpu->exit.delivering;
	cpu_inject(cpu, &e);
	EXPECT_EQ_NAMED(exit_namer, cpu_run(cpu, 1), EXIT_BUDGET);
	EXPECT_EQ(cpu->rip, CODE + 5);
}

/* --- memory that is a device ------------------------------------------------------------- */

CODE_BLOB(device, "	movl $0x50004, %esi\n"
		  "	addl (%rsi), %ebx\n"
		  "	lock xaddw %bx, 8(%rsi)\n"
		  "	movl $0x7100, %edi\n"
		  "	movsl\n"
		  "	pushq (%rsi)\n"
		  "	movl %ebx, 0x50ffe\n" /* two bytes of it are memory */
		  "	hlt\n");

/* Lets the guest run into the page that is missing, claims it. */
static void expect_claim(struct box *b)
{
	EXPECT_EXIT(b, EXIT_EXCEPTION);
	EXPECT_EQ(b->cpu.exit.event.cr2 / SZ_4K, 0x50);
	EXPECT(cpu_claim_page(&b->cpu, b->cpu.exit.event.cr2));
}

static void expect_mmio(struct box *b, gva_t gva, unsigned int size, bool write, u64 value)
{
	EXPECT_EXIT(b, EXIT_MMIO);
	EXPECT_EQ(b->cpu.exit.gva, gva);
	EXPECT_EQ(b->cpu.exit.size, size);
	EXPECT_EQ(b->cpu.exit.write, write);
	if (write)
		EXPECT_EQ(b->cpu.exit.value, value);
	cpu_answer_mmio(&b->cpu, value);
}

TEST(mmio, .what = "accesses to a claimed page are asked for one by one, then it is over")
{
	struct box *b = BOX(device);

	go_long(b);
	*page_entry(b, TABLES, 0x50000) = 0;
	b->cpu.intercept.exceptions = BIT(PF_VECTOR);
	b->cpu.gpr[GPR_RBX] = 1;
	expect_claim(b);
	expect_mmio(b, 0x50004, 4, false, 0x10);
	expect_claim(b); /* the next instruction, the page is nobody's again */
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0x11);
	expect_mmio(b, 0x5000c, 2, false, 0x2000);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0x11, "nothing has happened yet");
	expect_mmio(b, 0x5000c, 2, true, 0x2011);
	expect_claim(b);
	EXPECT_EQ(b->cpu.gpr[GPR_RBX], 0x2000, "XADD's old value");
	expect_mmio(b, 0x50004, 4, false, 0x12345678);
	expect_claim(b);
	EXPECT_EQ(memory(b, 0x7100, 4), 0x12345678, "MOVS");
	expect_mmio(b, 0x50008, 8, false, 0x1122334455667788);
	expect_claim(b);
	EXPECT_EQ(memory(b, STACK - 8, 8), 0x1122334455667788, "PUSH");
	expect_mmio(b, 0x50ffe, 2, true, 0x2000); /* its part of four bytes */
	EXPECT_EXIT(b, EXIT_HLT);
	EXPECT_EQ(memory(b, 0x51000, 2), 0);
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
