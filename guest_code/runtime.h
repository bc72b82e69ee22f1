/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The unikernel's runtime: what a guest has instead of an operating system.
 * Descriptor tables, exceptions that can be caught, ring 3, ports, and a
 * library that edits the page tables the processor is using. One source for
 * long mode and for 32-bit modes.
 */
#ifndef GUEST_CODE_RUNTIME_H
#define GUEST_CODE_RUNTIME_H

#include "guest_code/agent_abi.h"
#include "x86/arch/paging.h"
#include "x86/arch/regs.h"

#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UCODE 0x1b
#define SEL_UDATA 0x23
#define SEL_TSS	  0x28

/*
 * A vCPU's stack. Ring 0 runs in the upper half; what comes from ring 3 enters
 * in the lower half (TSS RSP0), so that it can't overwrite the frames of the
 * code which entered ring 3. this_cpu() counts on size and alignment.
 */
#define STACK_SIZE	AGENT_STACK_SIZE
#define USER_STACK_SIZE 4096

/* What the entry stubs push; entry.S knows this layout. */
struct trap_frame {
#ifdef __x86_64__
	u64 r11, r10, r9, r8, di, si, dx, cx, bx, ax;
	u64 vector, error;
	u64 ip, cs, flags, sp, ss;
#else
	u32 di, si, bp, sp_pusha, bx, dx, cx, ax;
	u32 vector, error;
	u32 ip, cs, flags; /* and sp, ss when it came from ring 3 */
#endif
};

/* Registers that survive a call, and where to go on; entry.S knows this layout. */
struct jump_buf {
	unsigned long reg[8];
};

/* Returns 0, and again with @value once guest_longjmp() was called. */
int guest_setjmp(struct jump_buf *buf) __attribute__((returns_twice));
void guest_longjmp(struct jump_buf *buf, int value) __attribute__((noreturn));

struct guest_cpu {
	u64 gdt[8];
	u8 tss[104] __attribute__((aligned(16)));
	struct jump_buf recover;
	bool catching; /* an exception jumps to recover */
	struct {
		u64 vector, error, cr2, rip;
	} fault; /* the exception that was caught */
	struct {
		bool armed;
		u32 size;
		u64 addr, value;
	} fixup;	       /* AGENT_ARM_FIXUP */
	volatile u64 progress; /* accesses done by the running operation */
	u64 user_value;	       /* rax when ring 3 came back */
};

extern struct guest_cpu cpus[AGENT_MAX_CPUS];
extern struct agent_mailbox mailboxes[AGENT_MAX_CPUS];
extern u8 cpu_stacks[AGENT_MAX_CPUS][STACK_SIZE];
extern u8 user_stacks[AGENT_MAX_CPUS][USER_STACK_SIZE];
extern char user_start[], user_end[];

/* The vCPU this code runs on, from its stack pointer. */
static inline struct guest_cpu *this_cpu(void)
{
	unsigned long sp = (unsigned long)__builtin_frame_address(0);

	return &cpus[(sp - (unsigned long)cpu_stacks) / STACK_SIZE];
}

/* Builds and loads GDT, IDT and TSS of vCPU @index. */
void runtime_init(u32 index);

/*
 * Runs @code in ring 3 with the arguments in di, si, cx and dx; comes back by
 * guest_longjmp() to cpu->recover, with 2 when the code ended as it should
 * (UD2 in the user section; its rax is in cpu->user_value), 1 after a fault.
 */
void enter_user(struct guest_cpu *cpu, void *code, unsigned long di, unsigned long si,
		unsigned long cx, unsigned long dx) __attribute__((noreturn));
void user_iret(void *code, void *stack, unsigned long *regs) __attribute__((noreturn));

/* Page-table library (pt.c): entries of the tables that CR3 points to. */

/* Address of the entry for @gva at @level; 0 when a level above has none. */
unsigned long pt_entry(gva_t gva, int level);
/* Atomic accesses to an entry, 8 bytes wide also in 32-bit modes. */
void pte_store(unsigned long entry, u32 size, u64 pte);
u64 pte_load(unsigned long entry, u32 size);
/* The mode that CR0, CR4 and EFER select now. */
const struct paging_mode *pt_current_mode(void);

static inline void outl(u16 port, u32 value)
{
	asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u32 inl(u16 port)
{
	u32 value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

/* OUT to the host, and wait until it has acted. */
void to_host(u16 port, u32 value);

unsigned long read_cr(int nr);
void write_cr(int nr, unsigned long value);
u64 rdmsr(u32 msr);
void wrmsr(u32 msr, u64 value);

#endif
