// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vCPU side of the in-tree engine by itself: small pieces of 16-bit code run through
 * the ABI, with two-dimensional and with shadow paging: ports, MMIO, HLT, interrupts,
 * signals, registers, SMM.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mmuscope.h"
#include "x86/kvm/kvm.h"

#define CODE 0x1000
#define SIZE (1 * MiB)

struct box {
	int vm, vcpu;
	u8 *mem;
	struct kvm_run *run;
};

static const char *const configs[] = {"npt=1", "npt=1,tdp_mmu=0", "ept=1", "npt=0", NULL};

static int call(int fd, unsigned long request, void *arg)
{
	int ret = intree_ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

/* A vCPU in real mode at CODE, which is @code of @size bytes. */
static struct box box(struct test *t, const void *code, size_t size)
{
	struct kvm_userspace_memory_region region = {.memory_size = SIZE};
	struct kvm_regs regs = {.rip = CODE, .rsp = 0x800, .rflags = 2};
	struct kvm_sregs sregs;
	struct box b;
	int kvm;

	ASSERT(!intree_config(configs[t->variant_idx]), "parameters");
	kvm = intree_open("/dev/kvm", 0);
	ASSERT_GE(kvm, 0);
	b.vm = call(kvm, KVM_CREATE_VM, NULL);
	ASSERT_GE(b.vm, 0);
	b.mem = intree_mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT(b.mem != MAP_FAILED, "memory");
	region.userspace_addr = (u64)b.mem;
	ASSERT_EQ(call(b.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	region.slot = 1u << 16; /* SMM sees the same */
	ASSERT_EQ(call(b.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	b.vcpu = call(b.vm, KVM_CREATE_VCPU, NULL);
	ASSERT_GE(b.vcpu, 0);
	b.run = intree_mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, b.vcpu, 0);
	ASSERT(b.run != MAP_FAILED, "the run structure");
	memcpy(b.mem + CODE, code, size);
	ASSERT_EQ(call(b.vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	ASSERT_EQ(call(b.vcpu, KVM_SET_SREGS, &sregs), 0);
	ASSERT_EQ(call(b.vcpu, KVM_SET_REGS, &regs), 0);
	intree_close(kvm);
	return b;
}

static void unbox(struct box *b)
{
	munmap(b->run, SZ_4K);
	intree_close(b->vcpu);
	intree_close(b->vm);
	intree_munmap(b->mem, SIZE);
}

static struct kvm_regs regs_of(const struct box *b)
{
	struct kvm_regs regs;

	ASSERT_EQ(call(b->vcpu, KVM_GET_REGS, &regs), 0);
	return regs;
}

#define RUN(b, reason)                                          \
	do {                                                    \
		EXPECT_EQ(call((b).vcpu, KVM_RUN, NULL), 0);    \
		ASSERT_EQ((b).run->exit_reason, (u32)(reason)); \
	} while (0)

TEST(ports, .what = "IN, OUT and REP OUTS exit with their data and go on with the answer",
     .variants = configs)
{
	/* in $0x42, %al; out %al, $0x43; mov $0x2000, %si; mov $3, %cx; mov $0x44, %dx; rep outsb; hlt */
	static const u8 code[] = {0xe4, 0x42, 0xe6, 0x43, 0xbe, 0x00, 0x20, 0xb9,
				  3,	0,    0xba, 0x44, 0x00, 0xf3, 0x6e, 0xf4};
	struct box b = box(t, code, sizeof(code));
	u8 *data = (u8 *)b.run + SZ_4K;
	struct kvm_regs regs;
	int i;

	/* The data is in the second page of the three. */
	munmap(b.run, SZ_4K);
	b.run = intree_mmap(NULL, 2 * SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, b.vcpu, 0);
	ASSERT(b.run != MAP_FAILED, "two pages");
	data = (u8 *)b.run + SZ_4K;
	memcpy(b.mem + 0x2000, "xyz", 3);
	RUN(b, KVM_EXIT_IO);
	EXPECT_EQ(b.run->io.direction, KVM_EXIT_IO_IN);
	EXPECT_EQ(b.run->io.port, 0x42);
	EXPECT_EQ(b.run->io.size, 1);
	EXPECT_EQ(b.run->io.data_offset, SZ_4K);
	data[0] = 0x77;
	RUN(b, KVM_EXIT_IO);
	EXPECT_EQ(b.run->io.direction, KVM_EXIT_IO_OUT);
	EXPECT_EQ(b.run->io.port, 0x43);
	EXPECT_EQ(data[0], 0x77);
	/* The instruction completes when the vCPU is run again, even if only that far. */
	regs = regs_of(&b);
	EXPECT_EQ(regs.rip, CODE + 2);
	b.run->immediate_exit = 1;
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), -EINTR);
	b.run->immediate_exit = 0;
	regs = regs_of(&b);
	EXPECT_EQ(regs.rip, CODE + 4);
	for (i = 0; i < 3; i++) {
		RUN(b, KVM_EXIT_IO);
		EXPECT_EQ(b.run->io.port, 0x44);
		EXPECT_EQ(data[0], "xyz"[i]);
	}
	RUN(b, KVM_EXIT_HLT);
	regs = regs_of(&b);
	EXPECT_EQ(regs.rip, CODE + sizeof(code));
	munmap((u8 *)b.run + SZ_4K, SZ_4K);
	unbox(&b);
}

TEST(mmio, .what = "accesses beyond memory exit once each, also across its end",
     .variants = configs)
{
	/* mov $0xffff, %ax; mov %ax, %ds; mov 0x10, %eax (at 1 MiB); inc %eax; mov %eax, 0xe; hlt */
	static const u8 code[] = {0xb8, 0xff, 0xff, 0x8e, 0xd8, 0x66, 0xa1, 0x10,
				  0x00, 0x66, 0x40, 0x66, 0xa3, 0x0e, 0x00, 0xf4};
	struct box b = box(t, code, sizeof(code));

	memset(b.mem + SIZE - 2, 0, 2);
	RUN(b, KVM_EXIT_MMIO);
	EXPECT_EQ(b.run->mmio.phys_addr, SIZE);
	EXPECT_EQ(b.run->mmio.len, 4);
	EXPECT(!b.run->mmio.is_write, "a read");
	memcpy(b.run->mmio.data, "\x21\x43\x65\x87", 4);
	RUN(b, KVM_EXIT_MMIO);
	EXPECT_EQ(b.run->mmio.phys_addr, SIZE);
	EXPECT_EQ(b.run->mmio.len, 2);
	EXPECT(b.run->mmio.is_write, "a write");
	EXPECT_EQ(memcmp(b.run->mmio.data, "\x65\x87", 2), 0);
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(memcmp(b.mem + SIZE - 2, "\x22\x43", 2), 0, "the part that is memory");
	unbox(&b);
}

TEST(interrupts, .what = "KVM_INTERRUPT and KVM_NMI are delivered when the guest lets them",
     .variants = configs)
{
	/* hlt; sti; nop; nop; hlt */
	static const u8 code[] = {0xf4, 0xfb, 0x90, 0x90, 0xf4};
	struct kvm_interrupt irq = {.irq = 0x20};
	struct box b = box(t, code, sizeof(code));

	memcpy(b.mem + 0x20 * 4, "\x00\x30\x00\x00", 4);
	memcpy(b.mem + 2 * 4, "\x10\x30\x00\x00", 4);
	memcpy(b.mem + 0x3000, "\x43\xcf", 2); /* inc %bx; iret */
	memcpy(b.mem + 0x3010, "\x41\xcf", 2); /* inc %cx; iret */
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(call(b.vcpu, KVM_INTERRUPT, &irq), 0);
	EXPECT_EQ(call(b.vcpu, KVM_INTERRUPT, &irq), -EEXIST);
	EXPECT_EQ(call(b.vcpu, KVM_NMI, NULL), 0);
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(regs_of(&b).rbx, 1, "interrupts");
	EXPECT_EQ(regs_of(&b).rcx, 1, "NMIs");
	unbox(&b);
}

TEST(window, .what = "request_interrupt_window exits once interrupts are on", .variants = configs)
{
	static const u8 code[] = {0xfb, 0x90, 0x90, 0xeb, 0xfe}; /* sti; nop; nop; jmp . */
	struct box b = box(t, code, sizeof(code));

	b.run->request_interrupt_window = 1;
	RUN(b, KVM_EXIT_IRQ_WINDOW_OPEN);
	EXPECT_EQ(b.run->ready_for_interrupt_injection, 1);
	EXPECT_EQ(b.run->if_flag, 1);
	unbox(&b);
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

TEST(signal, .what = "a signal ends KVM_RUN with EINTR soon, its handler has run",
     .variants = configs)
{
	static const u8 code[] = {0xeb, 0xfe}; /* jmp . */
	struct sigaction sa = {.sa_handler = on_signal};
	struct itimerspec soon = {.it_value.tv_nsec = 5000000};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct box b = box(t, code, sizeof(code));
	timer_t timer;
	u64 mask[2] = {0};
	struct kvm_signal_mask *block = (void *)mask;

	sigaction(SIGUSR1, &sa, NULL);
	signals = 0;
	ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
	timer_settime(timer, 0, &soon, NULL);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), -EINTR);
	EXPECT_EQ(signals, 1);
	EXPECT_EQ(b.run->exit_reason, KVM_EXIT_INTR);

	/* Blocked by KVM_SET_SIGNAL_MASK it doesn't; another one does. */
	block->len = 8;
	block->sigset[(SIGUSR1 - 1) / 8] = 1 << (SIGUSR1 - 1) % 8;
	EXPECT_EQ(call(b.vcpu, KVM_SET_SIGNAL_MASK, block), 0);
	sigaction(SIGALRM, &sa, NULL);
	raise(SIGUSR1);
	EXPECT_EQ(signals, 2, "outside KVM_RUN it is not blocked");
	signals = 0;
	timer_settime(timer, 0, &soon, NULL);
	alarm(1);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), -EINTR);
	EXPECT_EQ(signals, 2, "both arrived when KVM_RUN was over");
	timer_delete(timer);
	unbox(&b);
}

TEST(smi, .what = "the handler at SMBASE runs in SMM, RSM resumes what it interrupted",
     .variants = configs)
{
	static const u8 code[] = {0xf4, 0x40, 0xf4}; /* hlt; inc %ax; hlt */
	struct box b = box(t, code, sizeof(code));
	struct kvm_vcpu_events events;

	/* out %al, $0x10; mov $7, %bl (lost with RSM); rsm */
	memcpy(b.mem + 0x38000, "\xe6\x10\xb3\x07\x0f\xaa", 6);
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(call(b.vcpu, KVM_SMI, NULL), 0);
	RUN(b, KVM_EXIT_IO);
	EXPECT_EQ(b.run->flags & KVM_RUN_X86_SMM, KVM_RUN_X86_SMM);
	EXPECT_EQ(call(b.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	EXPECT_EQ(events.smi.smm, 1);
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(b.run->flags & KVM_RUN_X86_SMM, 0);
	EXPECT_EQ(regs_of(&b).rax, 1);
	EXPECT_EQ(regs_of(&b).rbx, 0);
	unbox(&b);
}

TEST(failures, .what = "a triple fault and an instruction that the CPU lacks", .variants = configs)
{
	/* lidt 0x2000 (limit 0); ud2 */
	static const u8 triple[] = {0x0f, 0x01, 0x1e, 0x00, 0x20, 0x0f, 0x0b};
	static const u8 lacking[] = {0x0f, 0x58, 0xc1}; /* addps %xmm1, %xmm0 */
	struct box b = box(t, triple, sizeof(triple));

	RUN(b, KVM_EXIT_SHUTDOWN);
	unbox(&b);
	b = box(t, lacking, sizeof(lacking));
	RUN(b, KVM_EXIT_INTERNAL_ERROR);
	EXPECT_EQ(b.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	EXPECT_EQ(b.run->emulation_failure.insn_size, 3);
	EXPECT_EQ(memcmp(b.run->emulation_failure.insn_bytes, lacking, 3), 0);
	EXPECT_EQ(regs_of(&b).rip, CODE);
	unbox(&b);
}

TEST(cpuid, .what = "the supported CPUID is accepted, and CPUID answers by it", .variants = configs)
{
	/* mov $0x80000008, %eax; cpuid; hlt */
	static const u8 code[] = {0x66, 0xb8, 0x08, 0x00, 0x00, 0x80, 0x0f, 0xa2, 0xf4};
	struct box b = box(t, code, sizeof(code));
	int kvm = intree_open("/dev/kvm", 0);
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 64 * sizeof(cpuid->entries[0]));

	ASSERT(cpuid);
	cpuid->nent = 64;
	EXPECT_EQ(call(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	EXPECT_EQ(call(b.vcpu, KVM_SET_CPUID2, cpuid), 0);
	RUN(b, KVM_EXIT_HLT);
	EXPECT_EQ(regs_of(&b).rax & 0xff, 48);
	free(cpuid);
	intree_close(kvm);
	unbox(&b);
}
