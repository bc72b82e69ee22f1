/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How test_cpu_native.c has the processor execute one instruction: memory at a fixed
 * address below 4 GiB, a slot in it for the instruction, and a trampoline that loads
 * all registers, jumps there and saves them again. 32-bit code is reached by a far
 * jump to the segment that Linux has for it, and comes back by another.
 */
#ifndef TESTS_UNIT_TEST_CPU_NATIVE_H
#define TESTS_UNIT_TEST_CPU_NATIVE_H

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "test.h"

#define BASE	  0x10000000ul
#define DATA_SIZE 0x4000ul /* random bytes that instructions access */
#define STACK	  (BASE + 0x3000)
#define SLOT	  (BASE + DATA_SIZE + 0x100) /* the instruction */
#define TAKEN	  (SLOT + 0x40)		     /* where branches of the list go */

#define CS_64 0x33 /* Linux's selectors for user code and data */
#define CS_32 0x23
#define SS    0x2b

/* What the trampoline loads and saves; the assembly below knows the offsets. */
struct state {
	u64 gpr[16];
	u64 flags;
	u64 taken;
};

struct state native_in, native_out;
u64 native_host_sp;
struct {
	u32 offset;
	u16 sel;
} native_far = {SLOT, CS_64};
void native_run(void);
extern char native_fell[], native_taken[];

asm("	.text\n"
    "	.globl native_run, native_fell, native_taken\n"
    "native_run:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; pushfq\n"
    "	mov %rsp, native_host_sp(%rip)\n"
    "	lea native_in+128(%rip), %rsp\n"
    "	popfq\n"
    "	mov native_in(%rip), %rax\n"
    "	mov native_in+8(%rip), %rcx\n"
    "	mov native_in+16(%rip), %rdx\n"
    "	mov native_in+24(%rip), %rbx\n"
    "	mov native_in+32(%rip), %rsp\n"
    "	mov native_in+40(%rip), %rbp\n"
    "	mov native_in+48(%rip), %rsi\n"
    "	mov native_in+56(%rip), %rdi\n"
    "	mov native_in+64(%rip), %r8\n"
    "	mov native_in+72(%rip), %r9\n"
    "	mov native_in+80(%rip), %r10\n"
    "	mov native_in+88(%rip), %r11\n"
    "	mov native_in+96(%rip), %r12\n"
    "	mov native_in+104(%rip), %r13\n"
    "	mov native_in+112(%rip), %r14\n"
    "	mov native_in+120(%rip), %r15\n"
    "	ljmpl *native_far(%rip)\n"
    "native_taken:\n"
    "	movq $1, native_out+136(%rip)\n"
    "	jmp 1f\n"
    "native_fell:\n"
    "	movq $0, native_out+136(%rip)\n"
    "1:	mov %rax, native_out(%rip)\n"
    "	mov %rcx, native_out+8(%rip)\n"
    "	mov %rdx, native_out+16(%rip)\n"
    "	mov %rbx, native_out+24(%rip)\n"
    "	mov %rsp, native_out+32(%rip)\n"
    "	mov %rbp, native_out+40(%rip)\n"
    "	mov %rsi, native_out+48(%rip)\n"
    "	mov %rdi, native_out+56(%rip)\n"
    "	mov %r8, native_out+64(%rip)\n"
    "	mov %r9, native_out+72(%rip)\n"
    "	mov %r10, native_out+80(%rip)\n"
    "	mov %r11, native_out+88(%rip)\n"
    "	mov %r12, native_out+96(%rip)\n"
    "	mov %r13, native_out+104(%rip)\n"
    "	mov %r14, native_out+112(%rip)\n"
    "	mov %r15, native_out+120(%rip)\n"
    "	lea native_out+136(%rip), %rsp\n"
    "	pushfq\n"
    "	mov native_host_sp(%rip), %rsp\n"
    "	popfq; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n");

/* --- the processor --------------------------------------------------------------- */

static sigjmp_buf after_signal;

static void on_signal(int signo)
{
	siglongjmp(after_signal, signo);
}

static void native_setup(void)
{
	static u8 stack[65536];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	void *mem = mmap((void *)BASE, DATA_SIZE + SZ_4K, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (mem != (void *)BASE)
		test_error("no memory at %#lx", BASE);
	sigaltstack(&alt, NULL);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

/* 64-bit code that goes to @to. */
static void put_jump(u8 *at, const void *to)
{
	static const u8 jmp[] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *0(%rip), then the address */

	memcpy(at, jmp, sizeof(jmp));
	memcpy(at + sizeof(jmp), &to, sizeof(to));
}

/* 32-bit code that goes to 64-bit code at @to. */
static void put_far_jump(u8 *at, u32 to)
{
	u8 ljmp[] = {0xea, to, to >> 8, to >> 16, to >> 24, CS_64, 0};

	memcpy(at, ljmp, sizeof(ljmp));
}

/* Places @size bytes of code in the slot, and behind them the way back. */
static void place(const u8 *code, size_t size)
{
	memset((void *)(SLOT - 0x100), 0xcc, SZ_4K);
	memcpy((void *)SLOT, code, size);
	if (native_far.sel == CS_64) {
		put_jump((u8 *)SLOT + size, native_fell);
		put_jump((u8 *)TAKEN, native_taken);
		return;
	}
	put_far_jump((u8 *)SLOT + size, SLOT + 0x80);
	put_jump((u8 *)SLOT + 0x80, native_fell);
	put_far_jump((u8 *)TAKEN, SLOT + 0xa0);
	put_jump((u8 *)SLOT + 0xa0, native_taken);
}

/* Has the slot executed as 32-bit code from now on. */
static void native_use_32(void)
{
	native_far.sel = CS_32;
	/* 64-bit code has null data segments, which 32-bit code can't use. */
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SS));
}

/* Executes what is in the slot. Returns the signal that it got, 0: none. */
static int run_native(void)
{
	int signo = sigsetjmp(after_signal, 1);

	if (!signo)
		native_run();
	return signo;
}

#endif
