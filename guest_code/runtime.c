// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptor tables, exceptions and ring 3 of the unikernel guest.
 *
 * An exception is either expected (cpu->catching: control jumps to
 * cpu->recover with the fault recorded), repaired (cpu->fixup: an entry is
 * stored and IRET retries the access, as a kernel's demand paging does), the
 * way back from ring 3, or a panic that is reported to the host.
 */
#include "guest_code/runtime.h"

struct guest_cpu cpus[AGENT_MAX_CPUS];
struct agent_mailbox mailboxes[AGENT_MAX_CPUS] __attribute__((aligned(4096)));
u8 cpu_stacks[AGENT_MAX_CPUS][STACK_SIZE] __attribute__((aligned(STACK_SIZE)));

struct agent_exit agent_exit __attribute__((aligned(16)));

extern char trap_stubs[];
#define NR_VECTORS 32
#define STUB_SIZE  16

#ifdef __x86_64__
struct gate {
	u16 offset0, selector, type, offset1;
	u32 offset2, zero;
};
#else
struct gate {
	u16 offset0, selector, type, offset1;
};
#endif
static struct gate idt[NR_VECTORS] __attribute__((aligned(16)));

struct table_pointer {
	u16 limit;
	unsigned long base;
} __attribute__((packed));

/* A flat segment, SDM vol. 3 3.4.5: limit 4 GiB, present. */
static u64 flat_segment(u8 dpl, bool code)
{
	u64 access = 0x93 | (code ? 8 : 0) | (dpl << 5);
#ifdef __x86_64__
	u64 flags = code ? 0xa : 0xc; /* L for code, else D/B */
#else
	u64 flags = 0xc;
#endif
	return 0xffff | access << 40 | 0xfull << 48 | flags << 52;
}

static void set_gate(int vector, unsigned long handler)
{
	struct gate *g = &idt[vector];

	g->offset0 = handler;
	g->selector = SEL_KCODE;
	g->type = 0x8e00; /* interrupt gate, DPL 0, present */
	g->offset1 = handler >> 16;
#ifdef __x86_64__
	g->offset2 = handler >> 32;
	g->zero = 0;
#endif
}

/* All of it, so that no test counts a page of ours that it is the first to need. */
static void touch_text(void)
{
	extern const char text_start[], text_end[];
	const volatile char *p;

	for (p = text_start; p < text_end; p += 4096)
		(void)*p;
}

void runtime_init(u32 index)
{
	struct guest_cpu *cpu = &cpus[index];
	unsigned long tss = (unsigned long)cpu->tss;
	unsigned long stack0 = (unsigned long)cpu_stacks[index] + STACK_SIZE / 2;
	struct table_pointer gdtr = {sizeof(cpu->gdt) - 1, (unsigned long)cpu->gdt};
	struct table_pointer idtr = {sizeof(idt) - 1, (unsigned long)idt};
	u64 tss_limit = sizeof(cpu->tss) - 1;
	int i;

	cpu->gdt[SEL_KCODE / 8] = flat_segment(0, true);
	cpu->gdt[SEL_KDATA / 8] = flat_segment(0, false);
	cpu->gdt[SEL_UCODE / 8] = flat_segment(3, true);
	cpu->gdt[SEL_UDATA / 8] = flat_segment(3, false);
	cpu->gdt[SEL_TSS / 8] = tss_limit | ((u64)tss & 0xffffff) << 16 | 0x89ull << 40 |
				((u64)tss >> 24 & 0xff) << 56;
#ifdef __x86_64__
	cpu->gdt[SEL_TSS / 8 + 1] = (u64)tss >> 32;
	*(u64 *)(cpu->tss + 4) = stack0; /* RSP0 */
#else
	*(u32 *)(cpu->tss + 4) = stack0; /* ESP0, SS0 */
	*(u32 *)(cpu->tss + 8) = SEL_KDATA;
#endif
	*(u16 *)(cpu->tss + 102) = sizeof(cpu->tss); /* no I/O bitmap */

	touch_text();
	/* Every vCPU writes the same values, so the shared table needs no lock. */
	for (i = 0; i < NR_VECTORS; i++)
		set_gate(i, (unsigned long)trap_stubs + i * STUB_SIZE);

	asm volatile("lgdt %0" : : "m"(gdtr));
	asm volatile("lidt %0" : : "m"(idtr));
	/*
	 * Data segments stay those of ring 3, which ring 0 may use too: IRET
	 * to ring 3 would otherwise clear them in 32-bit modes.
	 */
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_UDATA));
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

void to_host(u16 port, u32 value)
{
	volatile struct agent_exit *e = &agent_exit;
	u32 turn = e->turn;

	if (!turn) {
		outl(port, value);
		return;
	}
	e->port = port;
	e->value = value;
	outb(PORT_BELL, 0);
	while (e->turn == turn)
		asm volatile("pause" : : : "memory");
}

static bool from_user_section(unsigned long ip)
{
	return ip >= (unsigned long)user_start && ip < (unsigned long)user_end;
}

static void panic(struct trap_frame *frame, u64 cr2)
{
	struct agent_mailbox *mb = &mailboxes[this_cpu() - cpus];

	mb->panic.vector = frame->vector;
	mb->panic.error = frame->error;
	mb->panic.cr2 = cr2;
	mb->panic.rip = frame->ip;
	for (;;)
		to_host(PORT_PANIC, frame->vector);
}

void trap_handler(struct trap_frame *frame);
void trap_handler(struct trap_frame *frame)
{
	struct guest_cpu *cpu = this_cpu();
	u64 cr2 = frame->vector == PF_VECTOR ? read_cr(2) : 0;

	if ((frame->cs & 3) && frame->vector == UD_VECTOR && from_user_section(frame->ip)) {
		cpu->user_value = frame->ax;
		guest_longjmp(&cpu->recover, 2);
	}
	if (frame->vector == PF_VECTOR && cpu->fixup.armed) {
		cpu->fixup.armed = false;
		pte_store(cpu->fixup.addr, cpu->fixup.size, cpu->fixup.value);
		return;
	}
	if (!cpu->catching)
		panic(frame, cr2);
	cpu->catching = false;
	cpu->fault.vector = frame->vector;
	cpu->fault.error = frame->error;
	cpu->fault.cr2 = cr2;
	cpu->fault.rip = frame->ip;
	guest_longjmp(&cpu->recover, 1);
}

void enter_user(struct guest_cpu *cpu, void *code, unsigned long di, unsigned long si,
		unsigned long cx, unsigned long dx)
{
	unsigned long regs[4] = {di, si, cx, dx};
	u8 *stack = user_stacks[cpu - cpus] + USER_STACK_SIZE - 16;

	user_iret(code, stack, regs);
}

unsigned long read_cr(int nr)
{
	unsigned long v = 0;

	switch (nr) {
	case 0:
		asm volatile("mov %%cr0, %0" : "=r"(v));
		break;
	case 2:
		asm volatile("mov %%cr2, %0" : "=r"(v));
		break;
	case 3:
		asm volatile("mov %%cr3, %0" : "=r"(v));
		break;
	case 4:
		asm volatile("mov %%cr4, %0" : "=r"(v));
		break;
	}
	return v;
}

void write_cr(int nr, unsigned long v)
{
	switch (nr) {
	case 0:
		asm volatile("mov %0, %%cr0" : : "r"(v) : "memory");
		break;
	case 2:
		asm volatile("mov %0, %%cr2" : : "r"(v) : "memory");
		break;
	case 3:
		asm volatile("mov %0, %%cr3" : : "r"(v) : "memory");
		break;
	case 4:
		asm volatile("mov %0, %%cr4" : : "r"(v) : "memory");
		break;
	}
}

u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}

void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
