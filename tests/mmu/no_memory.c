// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hypervisor runs out of memory: each allocation from a VM's creation on fails once. The call
 * during which it does may say so, ENOMEM and nothing else, or do without; tried again it
 * succeeds, and the guest notices nothing. Engine "kvm" would need the kernel's fault injection.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mmuscope.h"
#include "x86/arch/regs.h"

#define SIZE  (4 * MiB)
#define CODE  0x1000
#define DIR   0x2000
#define TABLE 0x3000
#define PAGES 3 /* that the guest writes to */

static const u32 written[PAGES] = {0x8000, 2 * MiB + 0x5000, 2 * MiB + 0x6000};

struct bare {
	struct kvm_userspace_memory_region region;
	struct kvm_run *run;
	int vm, vcpu;
	bool paged;
	u32 failed; /* calls */
};

/* Repeats what failed for want of memory, this time with enough. */
static int try(struct bare *b, int fd, unsigned long request, void *arg, const char *name)
{
	int ret = __kvm_ioctl(fd, request, arg);

	if (ret != -ENOMEM)
		goto out;
	b->failed++;
	engine()->fail_alloc(0);
	ret = __kvm_ioctl(fd, request, arg);
out:
	EXPECT_GE(ret, 0, "%s", name);
	return ret;
}

static void set_up_vcpu(struct bare *b)
{
	struct kvm_segment code = {.limit = ~0u, .present = 1, .s = 1, .g = 1, .db = 1};
	struct kvm_segment data = code;
	struct kvm_sregs sregs;

	code.type = 11;
	code.selector = 8;
	data.type = 3;
	data.selector = 16;
	ASSERT_EQ(__kvm_ioctl(b->vcpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
	sregs.cr0 = CR0_PE | CR0_ET | (b->paged ? CR0_PG : 0);
	sregs.cr3 = DIR;
	try(b, b->vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

static void run(struct bare *b, u8 value)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rax = value};
	u8 *mem = (u8 *)b->region.userspace_addr;
	u32 i;

	ASSERT_EQ(__kvm_ioctl(b->vcpu, KVM_SET_REGS, &regs), 0);
	if (try(b, b->vcpu, KVM_RUN, NULL, "KVM_RUN") < 0)
		return;
	EXPECT_EQ(b->run->exit_reason, KVM_EXIT_HLT);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(mem[written[i]], value, "page %u", i);
}

/* mov %al, (address) for each page; hlt. And tables that map all memory as it is. */
static void fill_memory(u8 *mem)
{
	u32 i;

	for (i = 0; i < PAGES; i++) {
		mem[CODE + 5 * i] = 0xa2;
		memcpy(mem + CODE + 5 * i + 1, &written[i], 4);
	}
	mem[CODE + 5 * i] = 0xf4;
	*(u32 *)(mem + DIR) = TABLE | PTE_P | PTE_W;
	for (i = 0; i < 1024; i++)
		((u32 *)(mem + TABLE))[i] = i << 12 | PTE_P | PTE_W;
}

/* A VM's life with the @nth allocation failing; how many calls did. */
static u32 live(u8 *mem, bool paged, u32 nth)
{
	struct bare b = {
		.region = {.memory_size = SIZE, .userspace_addr = (u64)mem},
		.paged = paged,
	};
	int kvm = kvm_open_or_skip(), run_size = __kvm_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);

	engine()->fail_alloc(nth);
	b.vm = try(&b, kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	ASSERT_GE(b.vm, 0);
	try(&b, b.vm, KVM_SET_USER_MEMORY_REGION, &b.region, "KVM_SET_USER_MEMORY_REGION");
	b.vcpu = try(&b, b.vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	ASSERT_GE(b.vcpu, 0);
	b.run = engine()->mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, b.vcpu, 0);
	ASSERT(b.run != MAP_FAILED);
	set_up_vcpu(&b);
	run(&b, 1);
	b.region.flags = KVM_MEM_LOG_DIRTY_PAGES;
	try(&b, b.vm, KVM_SET_USER_MEMORY_REGION, &b.region, "a log");
	run(&b, 2);
	b.region.flags = 0;
	try(&b, b.vm, KVM_SET_USER_MEMORY_REGION, &b.region, "no log");
	run(&b, 3);
	engine()->fail_alloc(0);
	engine()->munmap(b.run, run_size);
	engine()->close(b.vcpu);
	engine()->close(b.vm);
	return b.failed;
}

static const char *const ways[] = {"unpaged", "paged", NULL};

TEST(each_once, .what = "each allocation fails once: ENOMEM, and then all goes on",
     .variants = ways)
{
	struct memory memory;
	u32 nth, failed = 0, quiet = 0;

	REQUIRE(engine()->fail_alloc != NULL, "allocations of the hypervisor's that can be failed");
	/* The auditor needs memory too. */
	ASSERT(engine_config_error("check=0") == NULL);
	memory = memory_alloc(SIZE, MEM_THP);
	fill_memory(memory.hva);
	/* Some do without what they didn't get, so the end is where many in a row make no call fail. */
	for (nth = 1; quiet < 50 && nth < 2000; nth++) {
		u32 n = live(memory.hva, t->variant_idx == 1, nth);

		EXPECT_LE(n, 1u, "allocation %u", nth);
		failed += n;
		quiet = n ? 0 : quiet + 1;
	}
	EXPECT_GT(failed, 10u);
	test_diag("%u calls failed of %u times", failed, nth);
	memory_free(&memory);
}
