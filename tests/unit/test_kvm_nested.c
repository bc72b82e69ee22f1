// SPDX-License-Identifier: GPL-2.0-only
/*
 * SVM for guests of the in-tree engine: events on their way into and out of a nested guest,
 * GIF, exits that go to user space past L1, SMM, and a vCPU's state as a hypervisor. L1 is
 * VMRUN, STGI and HLT; L2 a few bytes, with an IDT whose handlers say by VMMCALL that they
 * were reached.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"

#define SIZE	  (4ull << 20)
#define TABLES	  0x1000 /* identity, for L1, for L2 and, as they have U, nested */
#define L1_CODE	  0x8000
#define L2_CODE	  0x9000
#define VMCB	  0xa000
#define HSAVE	  0xb000
#define IDT	  0xc000
#define GDT	  0xd000
#define HANDLERS  0xe000 /* 16 bytes for each vector */
#define L2_STACK  0x12000
#define NOWHERE	  0x700000
#define SMM_ENTRY 0x38000

#define HANDLER(vector) (HANDLERS + 16ull * (vector))

struct box {
	int vm, vcpu;
	u8 *mem;
	struct kvm_run *run;
	struct vmcb *vmcb;
	bool paging; /* nested */
};

static const char *const ways[] = {"nested paging", "own tables", "shadow paging", NULL};

static int call(int fd, unsigned long request, void *arg)
{
	int ret = intree_ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static void put64(struct box *b, u64 at, u64 value)
{
	memcpy(b->mem + at, &value, 8);
}

static void tables(struct box *b)
{
	const u64 bits = PTE_P | PTE_W | PTE_U;
	int i;

	put64(b, TABLES, 0x2000 | bits);
	put64(b, 0x2000, 0x3000 | bits);
	/* The first 2 MiB by small pages, so that one of them can be taken away. */
	put64(b, 0x3000, 0x4000 | bits);
	put64(b, 0x3008, 0x200000 | bits | PTE_PS);
	/* And somewhere where no memory is. */
	put64(b, 0x3010, 0x40000000 | bits | PTE_PS);
	put64(b, 0x2008, 0x40000000 | bits | PTE_PS);
	for (i = 0; i < 512; i++)
		put64(b, 0x4000 + 8 * i, i * SZ_4K | bits);
}

static void descriptors(struct box *b)
{
	static const u8 handler[] = {0x0f, 0x01, 0xd9}; /* vmmcall */
	u64 i, at;

	put64(b, GDT + 8, 0x00af9b000000ffff);
	put64(b, GDT + 16, 0x00cf93000000ffff);
	for (i = 0; i < 256; i++) {
		at = HANDLER(i);
		memcpy(b->mem + at, handler, sizeof(handler));
		put64(b, IDT + 16 * i,
		      (at & 0xffff) | 8 << 16 | 0x8eull << 40 | (at >> 16 & 0xffff) << 48);
		put64(b, IDT + 16 * i + 8, at >> 32);
	}
}

static void fill_vmcb(struct box *b)
{
	const struct svm_segment code = {0x08, 0xa9b, 0xffffffff, 0};
	const struct svm_segment data = {0x10, 0xc93, 0xffffffff, 0};
	struct vmcb *m = b->vmcb;

	m->intercept_misc2 = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL;
	m->asid = 1;
	m->nested_control = b->paging;
	m->nested_cr3 = TABLES;
	m->cs = code;
	m->ds = m->es = m->ss = data;
	m->gdtr.base = GDT;
	m->gdtr.limit = 23;
	m->idtr.base = IDT;
	m->idtr.limit = 0xfff;
	m->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	m->cr3 = TABLES;
	m->cr4 = CR4_PAE;
	m->efer = EFER_SVME | EFER_LME | EFER_LMA;
	m->dr6 = 0xffff0ff0;
	m->dr7 = 0x400;
	m->rflags = RFLAGS_FIXED;
	m->rip = L2_CODE;
	m->rsp = L2_STACK;
	m->g_pat = 0x0007040600070406;
}

static void registers(struct box *b)
{
	struct kvm_segment code = {.limit = 0xffffffff,
				   .selector = 8,
				   .type = 0xb,
				   .present = 1,
				   .s = 1,
				   .l = 1,
				   .g = 1};
	struct kvm_segment data = {.limit = 0xffffffff,
				   .selector = 16,
				   .type = 3,
				   .present = 1,
				   .s = 1,
				   .db = 1,
				   .g = 1};
	const struct kvm_msr_entry hsave = {.index = MSR_VM_HSAVE, .data = HSAVE};
	union {
		struct kvm_msrs head;
		u8 all[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msrs = {.head.nmsrs = 1};
	struct kvm_sregs s;

	ASSERT_EQ(call(b->vcpu, KVM_GET_SREGS, &s), 0);
	s.cs = code;
	s.ds = s.es = s.ss = data;
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s.cr3 = TABLES;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA | EFER_SVME;
	ASSERT_EQ(call(b->vcpu, KVM_SET_SREGS, &s), 0);
	memcpy(msrs.head.entries, &hsave, sizeof(hsave));
	ASSERT_EQ(call(b->vcpu, KVM_SET_MSRS, &msrs), 1);
}

static void give_cpuid(struct box *b, int kvm)
{
	union {
		struct kvm_cpuid2 head;
		u8 all[sizeof(struct kvm_cpuid2) + 64 * sizeof(struct kvm_cpuid_entry2)];
	} cpuid = {.head.nent = 64};

	ASSERT_EQ(call(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	ASSERT_EQ(call(b->vcpu, KVM_SET_CPUID2, &cpuid), 0);
}

static struct box box(struct test *t, const void *code, size_t size)
{
	static const u8 l1[] = {0x0f, 0x01, 0xd8, 0x0f, 0x01, 0xdc, 0xf4}; /* vmrun; stgi; hlt */
	struct kvm_userspace_memory_region region = {.memory_size = SIZE};
	struct box b = {.paging = t->variant_idx == 0};
	int kvm;

	ASSERT(!intree_config(t->variant_idx == 2 ? "npt=0,check=1" : "npt=1,check=1"));
	kvm = intree_open("/dev/kvm", 0);
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
	b.run = intree_mmap(NULL, 2 * SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, b.vcpu, 0);
	ASSERT(b.run != MAP_FAILED, "the run structure");
	b.vmcb = (struct vmcb *)(b.mem + VMCB);
	give_cpuid(&b, kvm);
	intree_close(kvm);
	tables(&b);
	descriptors(&b);
	fill_vmcb(&b);
	memcpy(b.mem + L1_CODE, l1, sizeof(l1));
	memcpy(b.mem + L2_CODE, code, size);
	registers(&b);
	return b;
}

static void unbox(struct box *b)
{
	munmap(b->run, 2 * SZ_4K);
	intree_close(b->vcpu);
	intree_close(b->vm);
	intree_munmap(b->mem, SIZE);
}

#define L2(...) (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__})

static bool in_guest_mode(struct box *b)
{
	return intree_vcpu(b->vcpu)->regs.guest_mode;
}

/* L1 is about to execute VMRUN. */
static void at_vmrun(struct box *b)
{
	struct kvm_regs regs = {.rip = L1_CODE, .rax = VMCB, .rsp = 0x7000, .rflags = 2};

	ASSERT_EQ(call(b->vcpu, KVM_SET_REGS, &regs), 0);
}

/* The vCPU goes on until L1's HLT; the exit code that L1 has found. */
static u64 finish(struct box *b)
{
	struct kvm_regs regs;

	EXPECT_EQ(call(b->vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b->run->exit_reason, KVM_EXIT_HLT);
	EXPECT(!in_guest_mode(b));
	ASSERT_EQ(call(b->vcpu, KVM_GET_REGS, &regs), 0);
	EXPECT_EQ(regs.rip, L1_CODE + 7);
	EXPECT_EQ(regs.rsp, 0x7000);
	return b->vmcb->exit_code;
}

static u64 vmrun(struct box *b)
{
	at_vmrun(b);
	return finish(b);
}

/* L2 has arrived in the handler of @vector. */
#define EXPECT_HANDLER(b, got, vector)                               \
	do {                                                         \
		EXPECT_EQ(got, SVM_EXIT_VMMCALL, "vector " #vector); \
		EXPECT_EQ((b).vmcb->rip, HANDLER(vector));           \
	} while (0)

#define TAKE_EXCEPTIONS(b) ((b).vmcb->intercept_exceptions = ~0u)

TEST(injection, .what = "an event that L1 injects is delivered, or given back when it can't be",
     .variants = ways)
{
	struct box b = box(t, L2(0x90, 0x0f, 0x01, 0xd9));
	struct vmcb *m = b.vmcb;
	u64 exit, event = SVM_EVENT_VALID | SVM_EVENT_EXCEPTION << SVM_EVENT_TYPE_SHIFT |
			  SVM_EVENT_ERROR | GP_VECTOR | 0x1230ull << 32;

	m->event_inj = SVM_EVENT_VALID | 0x40;
	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, 0x40);
	EXPECT_EQ(m->event_inj & SVM_EVENT_VALID, 0);
	EXPECT_EQ(m->exit_int_info, 0);

	TAKE_EXCEPTIONS(b);
	m->rip = L2_CODE;
	m->rsp = L2_STACK;
	m->event_inj = event;
	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, GP_VECTOR);
	EXPECT_EQ(*(u64 *)(b.mem + m->rsp), 0x1230, "error code");

	/* No stack: what is on its way doesn't arrive. */
	m->rip = L2_CODE;
	m->rsp = NOWHERE;
	m->event_inj = event;
	EXPECT_EQ(vmrun(&b), SVM_EXIT_EXCP_BASE + PF_VECTOR);
	EXPECT_EQ(m->exit_int_info, event);
	EXPECT_EQ(m->exit_info2 & ~(SZ_4K - 1), NOWHERE - SZ_4K);
	EXPECT_EQ(m->rip, L2_CODE);
	m->rsp = L2_STACK;
	m->event_inj = m->exit_int_info;
	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, GP_VECTOR);

	m->event_inj = SVM_EVENT_VALID | 1 << SVM_EVENT_TYPE_SHIFT;
	EXPECT_EQ(vmrun(&b), SVM_EXIT_INVALID, "no such type");
	unbox(&b);
}

static void interrupt(struct box *b, u32 vector)
{
	struct kvm_interrupt irq = {.irq = vector};

	ASSERT_EQ(call(b->vcpu, KVM_INTERRUPT, &irq), 0);
}

TEST(interrupts, .what = "interrupts end L2's turn if L1 intercepts them, else L2 has them",
     .variants = ways)
{
	struct box b = box(t, L2(0x90, 0x90, 0x0f, 0x01, 0xd9));
	struct vmcb *m = b.vmcb;
	struct kvm_sregs s;
	u64 exit;

	m->rflags |= FLAG_IF;
	at_vmrun(&b);
	interrupt(&b, 0x41);
	/* L1's own IF is clear: it comes when L2 allows it. */
	exit = finish(&b);
	EXPECT_HANDLER(b, exit, 0x41);

	m->rip = L2_CODE;
	m->rflags |= FLAG_IF;
	m->intercept_misc1 |= SVM_INTERCEPT_INTR;
	at_vmrun(&b);
	interrupt(&b, 0x42);
	EXPECT_EQ(finish(&b), SVM_EXIT_INTR);
	EXPECT_EQ(m->rip, L2_CODE);
	ASSERT_EQ(call(b.vcpu, KVM_GET_SREGS, &s), 0);
	EXPECT(s.interrupt_bitmap[1] & BIT(2), "it waits for L1");

	/* L2's IF says nothing with masking; L1's is clear. */
	m->int_control = SVM_V_INTR_MASKING;
	EXPECT_EQ(vmrun(&b), SVM_EXIT_VMMCALL);
	/* What is injected arrives before what waits ends the turn. */
	m->int_control = 0;
	m->rip = L2_CODE;
	m->rflags = RFLAGS_FIXED | FLAG_IF;
	m->event_inj = SVM_EVENT_VALID | 0x43;
	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, 0x43);
	unbox(&b);
}

TEST(virtual_interrupt, .what = "L1's virtual interrupt comes when L2 allows it", .variants = ways)
{
	/* nop; sti; nop; nop; vmmcall */
	struct box b = box(t, L2(0x90, 0xfb, 0x90, 0x90, 0x0f, 0x01, 0xd9));
	struct vmcb *m = b.vmcb;
	u64 exit, irq = SVM_V_IRQ | 5ull << SVM_V_PRIO_SHIFT | 0x50ull << SVM_V_VECTOR_SHIFT;

	m->int_control = irq;
	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, 0x50);
	EXPECT_EQ(*(u64 *)(b.mem + m->rsp), L2_CODE + 3, "behind the instruction after STI");
	EXPECT_EQ(m->int_control & SVM_V_IRQ, 0);

	m->rip = L2_CODE;
	m->rflags = RFLAGS_FIXED;
	m->int_control = irq | 6; /* TPR */
	EXPECT_EQ(vmrun(&b), SVM_EXIT_VMMCALL);
	EXPECT_EQ(m->rip, L2_CODE + 4);
	EXPECT(m->int_control & SVM_V_IRQ);

	m->rip = L2_CODE;
	m->rflags = RFLAGS_FIXED;
	m->int_control = irq;
	m->intercept_misc1 |= BIT(SVM_EXIT_VINTR - 0x60);
	EXPECT_EQ(vmrun(&b), SVM_EXIT_VINTR);
	EXPECT_EQ(m->rip, L2_CODE + 3);
	EXPECT(m->int_control & SVM_V_IRQ);
	unbox(&b);
}

TEST(nmi_and_gif, .what = "NMIs, intercepted, not intercepted, and held back by GIF",
     .variants = ways)
{
	struct box b = box(t, L2(0x90, 0x0f, 0x01, 0xd9));
	struct kvm_vcpu_events events;
	struct vmcb *m = b.vmcb;
	u64 exit;

	at_vmrun(&b);
	/* It waits for VMRUN, which sets GIF. */
	to_vcpu(intree_vcpu(b.vcpu))->svm.gif_clear = true;
	ASSERT_EQ(call(b.vcpu, KVM_NMI, NULL), 0);
	exit = finish(&b);
	EXPECT_HANDLER(b, exit, 2);

	/* Intercepted: L1 has it to itself, once it sets GIF; it has an IDT of its own for that. */
	ASSERT_EQ(call(b.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	events.nmi.masked = 0;
	ASSERT_EQ(call(b.vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
	memcpy(b.mem + L1_CODE + 3, (const u8[]){0xf4, 0x90, 0x90, 0xf4}, 4); /* no STGI */
	m->intercept_misc1 |= BIT(SVM_EXIT_NMI - 0x60);
	m->rip = L2_CODE;
	at_vmrun(&b);
	to_vcpu(intree_vcpu(b.vcpu))->svm.gif_clear = true;
	ASSERT_EQ(call(b.vcpu, KVM_NMI, NULL), 0);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_HLT);
	EXPECT_EQ(m->exit_code, SVM_EXIT_NMI);
	ASSERT_EQ(call(b.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
	EXPECT(events.nmi.pending);
	unbox(&b);
}

TEST(faults, .what = "double faults, triple faults, and L2's faults that L1 lets pass",
     .variants = ways)
{
	struct box b = box(t, L2(0x0f, 0x0b)); /* ud2 */
	struct vmcb *m = b.vmcb;
	u64 exit;

	exit = vmrun(&b);
	EXPECT_HANDLER(b, exit, UD_VECTOR);
	m->rip = L2_CODE;
	m->intercept_exceptions = BIT(UD_VECTOR);
	EXPECT_EQ(vmrun(&b), SVM_EXIT_EXCP_BASE + UD_VECTOR);
	/* #UD, then #GP for want of an IDT: #GP and #UD make no double fault, #GP and #GP do. */
	m->intercept_exceptions = BIT(DF_VECTOR);
	m->idtr.limit = 0;
	EXPECT_EQ(vmrun(&b), SVM_EXIT_EXCP_BASE + DF_VECTOR);
	EXPECT_EQ(m->exit_int_info & (SVM_EVENT_VALID | SVM_EVENT_VECTOR),
		  SVM_EVENT_VALID | GP_VECTOR);
	EXPECT_EQ(m->rip, L2_CODE);
	m->intercept_exceptions = 0;
	m->intercept_misc1 = SVM_INTERCEPT_SHUTDOWN;
	EXPECT_EQ(vmrun(&b), SVM_EXIT_SHUTDOWN);
	/* And if L1 does not want that either. */
	m->intercept_misc1 = 0;
	m->rip = L2_CODE;
	at_vmrun(&b);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	EXPECT_EQ(b.run->exit_reason, KVM_EXIT_SHUTDOWN);
	unbox(&b);
}

TEST(past_l1, .what = "ports and devices that L1 passes on are user space's", .variants = ways)
{
	/* out %al, $0x43; mov 0x400010, %eax; vmmcall */
	struct box b =
		box(t, L2(0xe6, 0x43, 0x8b, 0x04, 0x25, 0x10, 0x00, 0x40, 0x00, 0x0f, 0x01, 0xd9));

	at_vmrun(&b);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_IO);
	EXPECT_EQ(b.run->io.port, 0x43);
	EXPECT(in_guest_mode(&b));
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_MMIO);
	EXPECT_EQ(b.run->mmio.phys_addr, 0x40000010);
	memcpy(b.run->mmio.data, "\x78\x56\x34\x12", 4);
	EXPECT_EQ(finish(&b), SVM_EXIT_VMMCALL);
	EXPECT_EQ(b.vmcb->rax, 0x12345678);
	unbox(&b);
}

TEST(smm, .what = "an SMI in L2 runs its handler outside of guest mode and returns to L2",
     .variants = ways)
{
	struct box b = box(t, L2(0xe6, 0x43, 0x90, 0x0f, 0x01, 0xd9));
	static const u8 handler[] = {0xe6, 0x44, 0x0f, 0xaa}; /* out %al, $0x44; rsm */

	memcpy(b.mem + SMM_ENTRY, handler, sizeof(handler));
	at_vmrun(&b);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_IO);
	ASSERT_EQ(call(b.vcpu, KVM_SMI, NULL), 0);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_IO);
	EXPECT_EQ(b.run->io.port, 0x44);
	EXPECT(!in_guest_mode(&b));
	EXPECT_EQ(finish(&b), SVM_EXIT_VMMCALL);
	EXPECT_EQ(b.vmcb->rip, L2_CODE + 3);
	unbox(&b);
}

TEST(state, .what = "a vCPU's state as a hypervisor can be saved, and brought back",
     .variants = ways)
{
	struct box b = box(t, L2(0xf4, 0x90, 0x0f, 0x01, 0xd9));
	union {
		struct kvm_nested_state s;
		u8 all[sizeof(struct kvm_nested_state) + SZ_4K];
	} in, none = {.s = {.format = KVM_STATE_NESTED_FORMAT_SVM, .size = sizeof(none.s)}}, small;

	EXPECT_EQ(call(b.vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NESTED_STATE), sizeof(in));
	at_vmrun(&b);
	EXPECT_EQ(call(b.vcpu, KVM_RUN, NULL), 0);
	ASSERT_EQ(b.run->exit_reason, KVM_EXIT_HLT, "HLT, which L1 passes on");
	EXPECT(in_guest_mode(&b));
	EXPECT_EQ(intree_vcpu(b.vcpu)->stat.guest_mode, 1);
	small.s.size = sizeof(small.s);
	EXPECT_EQ(call(b.vcpu, KVM_GET_NESTED_STATE, &small), -E2BIG);
	EXPECT_EQ(small.s.size, sizeof(in));
	in.s.size = sizeof(in);
	ASSERT_EQ(call(b.vcpu, KVM_GET_NESTED_STATE, &in), 0);
	EXPECT_EQ(in.s.flags, KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_GIF_SET);
	EXPECT_EQ(in.s.hdr.svm.vmcb_pa, VMCB);

	none.s.flags = KVM_STATE_NESTED_GIF_SET;
	EXPECT_EQ(call(b.vcpu, KVM_SET_NESTED_STATE, &none), 0);
	EXPECT(!in_guest_mode(&b));
	EXPECT_EQ(intree_vcpu(b.vcpu)->stat.guest_mode, 0);
	none.s.flags = 0x80;
	EXPECT_EQ(call(b.vcpu, KVM_SET_NESTED_STATE, &none), -EINVAL);
	none.s.flags = 0;
	none.s.format = KVM_STATE_NESTED_FORMAT_VMX;
	EXPECT_EQ(call(b.vcpu, KVM_SET_NESTED_STATE, &none), -EINVAL);

	EXPECT_EQ(call(b.vcpu, KVM_SET_NESTED_STATE, &in), 0);
	EXPECT(in_guest_mode(&b));
	EXPECT_EQ(finish(&b), SVM_EXIT_VMMCALL);
	EXPECT_EQ(b.vmcb->rip, L2_CODE + 2);
	unbox(&b);
}
