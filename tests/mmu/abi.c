// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ABI's edges: each call issued badly, and the error that it must give. This
 * is the parity test of the engines: the same rows run against the kernel and
 * against the in-tree engine, so a difference between the two is a difference in
 * what user space sees. Programs depend on these errors to find out what a
 * hypervisor can do; an engine that accepts nonsense would hide a test's mistake.
 *
 * A row is one call. Where AMD's and Intel's modules differ, a row allows both.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "slots.h"

#define BAD_POINTER ((void *)16)

/* The call must fail with @want (an errno), or succeed where @want is 0. */
#define ROW(want, fd, request, arg) \
	expect_errno(want, 0, (fd), (request), (void *)(uintptr_t)(arg), #request, __LINE__)
/* The same; some kernels answer @other. */
#define ROW_OR(want, other, fd, request, arg) \
	expect_errno(want, other, (fd), (request), (void *)(uintptr_t)(arg), #request, __LINE__)

static void expect_errno(int want, int other, int fd, unsigned long request, void *arg,
			 const char *name, int line)
{
	int got = __kvm_ioctl(fd, request, arg);

	test_count_check();
	if (got < 0 ? got == -want || (other && got == -other) : want == 0)
		return;
	test_fail_soft(__FILE__, line, "%s: got %d (%s), want %s", name, got,
		       got < 0 ? strerror(-got) : "success", want ? strerror(want) : "success");
}

/* A structure of @size bytes that ends in a table, zeroed. Never freed: the case's process ends. */
static void *with_entries(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		test_error("no memory");
	return p;
}

/* A VM with one vCPU and no guest in it; what follows may spoil it. */
static struct vm *plain_vm(void)
{
	return vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M);
}

static struct vm *empty_vm(void)
{
	return vm_create(paging_mode(PM_LA48), .no_vcpus = true, .mem_size = SZ_4M);
}

TEST(system, .what = "calls on /dev/kvm itself")
{
	int kvm = kvm_open_or_skip();
	struct kvm_cpuid2 *cpuid = with_entries(sizeof(*cpuid) + 2 * sizeof(cpuid->entries[0]));
	struct kvm_msr_list *list = with_entries(sizeof(*list) + sizeof(list->indices[0]));

	ROW(EINVAL, kvm, KVM_GET_API_VERSION, 1);
	ROW(EINVAL, kvm, KVM_GET_VCPU_MMAP_SIZE, 1);
	ROW(EINVAL, kvm, KVM_CREATE_VM, 99);
	ROW(0, kvm, KVM_CHECK_EXTENSION, 100000);
	EXPECT_EQ(__kvm_ioctl(kvm, KVM_CHECK_EXTENSION, (void *)100000), 0);
	EXPECT_EQ(__kvm_ioctl(kvm, KVM_GET_API_VERSION, NULL), KVM_API_VERSION);
	ROW(E2BIG, kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	cpuid->nent = 1;
	ROW(E2BIG, kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	ROW(EFAULT, kvm, KVM_GET_SUPPORTED_CPUID, BAD_POINTER);
	ROW(E2BIG, kvm, KVM_GET_MSR_INDEX_LIST, list);
	EXPECT_GT(list->nmsrs, 0u, "how many there are is told");
	ROW(EFAULT, kvm, KVM_GET_MSR_INDEX_LIST, BAD_POINTER);
	ROW(EINVAL, kvm, _IO(KVMIO, 0xfe), 0);
	ROW(EINVAL, kvm, KVM_RUN, 0);
}

TEST(vm, .what = "calls on a VM: capabilities, vCPUs, pages, irqchip")
{
	struct vm *vm = empty_vm();
	struct kvm_enable_cap cap = {.cap = 0xfffff};
	u64 identity = 0xfffbc000;

	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	cap = (struct kvm_enable_cap){.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {~0ull}};
	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	cap = (struct kvm_enable_cap){.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .flags = 1};
	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	ROW(EFAULT, vm->fd, KVM_ENABLE_CAP, BAD_POINTER);
	ROW(EINVAL, vm->fd, KVM_SET_NR_MMU_PAGES, 5);
	ROW(0, vm->fd, KVM_SET_NR_MMU_PAGES, 100);
	ROW(EINVAL, vm->fd, KVM_CREATE_VCPU, 1u << 20);
	ROW(0, vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	ROW(EFAULT, vm->fd, KVM_SET_IDENTITY_MAP_ADDR, BAD_POINTER);
	ROW(0, vm->fd, KVM_CHECK_EXTENSION, 100000);
	EXPECT_EQ(kvm_cap(vm, KVM_CAP_USER_MEMORY), 1);
	EXPECT_GT(kvm_cap(vm, KVM_CAP_NR_MEMSLOTS), 100);
	ROW(ENOTTY, vm->fd, _IO(KVMIO, 0xfe), 0);
	ROW(ENOTTY, vm->fd, KVM_RUN, 0);
	ROW(EINVAL, vm->fd, KVM_RESET_DIRTY_RINGS, 0);
	ROW(ENXIO, vm->fd, KVM_IRQ_LINE, &(struct kvm_irq_level){.irq = 1});
	ROW(0, vm->fd, KVM_CREATE_IRQCHIP, 0);
	ROW(EEXIST, vm->fd, KVM_CREATE_IRQCHIP, 0);
	EXPECT_GE(__kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)0), 0);
	ROW(EEXIST, vm->fd, KVM_CREATE_VCPU, 0);
	ROW(EINVAL, vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
}

TEST(vm_after_vcpu, .what = "what must come before the first vCPU is refused after it")
{
	struct vm *vm = plain_vm();
	struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {SZ_4K}};

	ROW(EINVAL, vm->fd, KVM_CREATE_IRQCHIP, 0);
	ROW(EEXIST, vm->fd, KVM_CREATE_VCPU, vm->vcpu[0]->id);
	if (kvm_cap(vm, KVM_CAP_DIRTY_LOG_RING) > 0)
		ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &ring);
}

/* A region that is right, for one field at a time to be made wrong. */
static struct kvm_userspace_memory_region region(struct vm *vm)
{
	return (struct kvm_userspace_memory_region){
		.slot = 9,
		.guest_phys_addr = SLOT2_GPA,
		.memory_size = SZ_2M,
		.userspace_addr = (u64)vm->mem->hva,
	};
}

#define REGION(want, ...)                                          \
	do {                                                       \
		struct kvm_userspace_memory_region r = region(vm); \
		__VA_ARGS__;                                       \
		ROW(want, vm->fd, KVM_SET_USER_MEMORY_REGION, &r); \
	} while (0)

TEST(new_region, .what = "a memslot that can't be: sizes, alignment, flags, overlap")
{
	struct vm *vm = plain_vm();

	REGION(EINVAL, r.memory_size += 1);
	REGION(EINVAL, r.memory_size = SZ_4K / 2);
	REGION(EINVAL, r.guest_phys_addr += 1);
	REGION(EINVAL, r.userspace_addr += 1);
	REGION(EINVAL, r.userspace_addr = 1ull << 63);
	REGION(EINVAL, r.flags = 1u << 31);
	REGION(EINVAL, r.flags = 1u << 20);
	REGION(EINVAL, r.slot = 0xffff);
	REGION(EINVAL, r.slot = 9u << 16);
	REGION(EINVAL, r.guest_phys_addr = -SZ_2M; r.memory_size = SZ_4M);
	REGION(EINVAL, r.memory_size = 1ull << 45);
	REGION(EINVAL, r.memory_size = 0);
	REGION(EEXIST, r.guest_phys_addr = vm->mem->gpa);
	REGION(EEXIST, r.guest_phys_addr = vm->mem->gpa - SZ_2M; r.memory_size = SZ_2M + SZ_4K);
	REGION(EEXIST, r.guest_phys_addr = 0; r.memory_size = SZ_4K);
	ROW(EFAULT, vm->fd, KVM_SET_USER_MEMORY_REGION, BAD_POINTER);
	REGION(0);
	REGION(EEXIST, r.slot = 10);
}

TEST(changed_region, .what = "a memslot that is there: what may change of it and what may not")
{
	struct vm *vm = plain_vm();

	REGION(0);
	REGION(0); /* nothing changes */
	REGION(EINVAL, r.memory_size = SZ_4M);
	REGION(EINVAL, r.memory_size = SZ_4K);
	REGION(EINVAL, r.userspace_addr += SZ_2M);
	REGION(EINVAL, r.flags = KVM_MEM_READONLY);
	REGION(0, r.flags = KVM_MEM_LOG_DIRTY_PAGES);
	REGION(EEXIST, r.guest_phys_addr = vm->mem->gpa + SZ_2M);
	REGION(0, r.guest_phys_addr += SZ_4M);
	REGION(0, r.flags = 0; r.guest_phys_addr += SZ_4M);
	REGION(0, r.memory_size = 0);
	REGION(EINVAL, r.memory_size = 0);
	REGION(0, r.flags = KVM_MEM_READONLY);
	REGION(EINVAL);
	REGION(0, r.memory_size = 0);
}

TEST(dirty_log, .what = "dirty logs of slots that have none, and ranges beyond them")
{
	struct vm *vm = plain_vm();
	u64 bits[64] = {0};
	struct kvm_dirty_log get = {.slot = vm->mem->id, .dirty_bitmap = bits};
	struct kvm_clear_dirty_log clear = {
		.slot = vm->mem->id, .num_pages = 64, .dirty_bitmap = bits};

	ROW(ENOENT, vm->fd, KVM_GET_DIRTY_LOG, &get);
	ROW(ENOENT, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	get.slot = 40;
	ROW(ENOENT, vm->fd, KVM_GET_DIRTY_LOG, &get);
	get.slot = 0xffff;
	ROW(EINVAL, vm->fd, KVM_GET_DIRTY_LOG, &get);
	get.slot = 9u << 16;
	ROW(EINVAL, vm->fd, KVM_GET_DIRTY_LOG, &get);
	clear.slot = 9u << 16;
	ROW(EINVAL, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	ROW(EFAULT, vm->fd, KVM_GET_DIRTY_LOG, BAD_POINTER);
	ROW(EFAULT, vm->fd, KVM_CLEAR_DIRTY_LOG, BAD_POINTER);

	slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	get.slot = clear.slot = vm->mem->id;
	ROW(0, vm->fd, KVM_GET_DIRTY_LOG, &get);
	ROW(0, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	clear.first_page = 1;
	ROW(EINVAL, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	clear.first_page = 0;
	clear.num_pages = 3;
	ROW(EINVAL, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	clear.num_pages = 1024 + 64;
	ROW(EINVAL, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	clear.first_page = 1024;
	clear.num_pages = 64;
	ROW(EINVAL, vm->fd, KVM_CLEAR_DIRTY_LOG, &clear);
	get.dirty_bitmap = BAD_POINTER;
	ROW(EFAULT, vm->fd, KVM_GET_DIRTY_LOG, &get);
}

TEST(dirty_ring, .what = "a dirty ring of a size that can't be, and twice")
{
	struct vm *vm = empty_vm();
	int max = require_cap(vm, KVM_CAP_DIRTY_LOG_RING);
	struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {SZ_4K + 8}};
	u64 bits[64] = {0};
	struct kvm_dirty_log get = {.slot = vm->mem->id, .dirty_bitmap = bits};

	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	cap.args[0] = 0;
	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	cap.args[0] = 256;
	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	cap.args[0] = 2ull * max;
	ROW(E2BIG, vm->fd, KVM_ENABLE_CAP, &cap);
	cap.args[0] = SZ_4K;
	ROW(0, vm->fd, KVM_ENABLE_CAP, &cap);
	ROW(EINVAL, vm->fd, KVM_ENABLE_CAP, &cap);
	slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	ROW(ENXIO, vm->fd, KVM_GET_DIRTY_LOG, &get);
	ROW(0, vm->fd, KVM_RESET_DIRTY_RINGS, 0);
}

TEST(vcpu, .what = "calls on a vCPU")
{
	struct vm *vm = plain_vm();
	int fd = vm->vcpu[0]->fd;
	struct kvm_signal_mask mask = {.len = 5};
	struct kvm_mp_state mp = {.mp_state = 99};
	struct kvm_interrupt irq = {.irq = 256};
	struct kvm_debugregs dr = {.flags = 1};
	struct kvm_cpuid2 *cpuid = with_entries(sizeof(*cpuid) + sizeof(cpuid->entries[0]));
	struct kvm_msrs *msrs = with_entries(sizeof(*msrs) + 2 * sizeof(msrs->entries[0]));
	struct kvm_vcpu_events events;

	ROW(EINVAL, fd, KVM_RUN, 1);
	ROW(EINVAL, fd, _IO(KVMIO, 0xfe), 0);
	ROW(EINVAL, fd, KVM_CREATE_VCPU, 0);
	ROW(EFAULT, fd, KVM_SET_REGS, BAD_POINTER);
	ROW(EFAULT, fd, KVM_GET_REGS, BAD_POINTER);
	ROW(EFAULT, fd, KVM_SET_SREGS, BAD_POINTER);
	ROW(EINVAL, fd, KVM_SET_SIGNAL_MASK, &mask);
	ROW(EINVAL, fd, KVM_SET_MP_STATE, &mp);
	ROW(EINVAL, fd, KVM_INTERRUPT, &irq);
	ROW(EINVAL, fd, KVM_SET_DEBUGREGS, &dr);
	dr = (struct kvm_debugregs){.dr7 = 1ull << 40};
	ROW(EINVAL, fd, KVM_SET_DEBUGREGS, &dr);
	cpuid->nent = 100000;
	ROW(E2BIG, fd, KVM_SET_CPUID2, cpuid);
	cpuid->nent = 1;
	ROW(E2BIG, fd, KVM_GET_CPUID2, cpuid);
	msrs->nmsrs = 100000;
	ROW(E2BIG, fd, KVM_SET_MSRS, msrs);
	ROW(E2BIG, fd, KVM_GET_MSRS, msrs);
	msrs->nmsrs = 2;
	msrs->entries[0].index = 0xc0000081; /* STAR */
	msrs->entries[1].index = 0x12345678;
	EXPECT_EQ(__kvm_ioctl(fd, KVM_GET_MSRS, msrs), 1, "an unknown MSR ends the list");
	EXPECT_EQ(__kvm_ioctl(fd, KVM_SET_MSRS, msrs), 1);

	vcpu_ioctl(vm->vcpu[0], KVM_GET_VCPU_EVENTS, &events);
	ROW(0, fd, KVM_SET_VCPU_EVENTS, &events);
	events.flags |= 1u << 31;
	ROW(EINVAL, fd, KVM_SET_VCPU_EVENTS, &events);
	events.flags &= ~(1u << 31);
	events.exception.injected = 1;
	events.exception.nr = 2; /* NMI isn't an exception */
	ROW(EINVAL, fd, KVM_SET_VCPU_EVENTS, &events);
	events.exception.nr = 32;
	ROW(EINVAL, fd, KVM_SET_VCPU_EVENTS, &events);
}

#define SREGS(want, ...)                             \
	do {                                         \
		struct kvm_sregs s = good;           \
		__VA_ARGS__;                         \
		ROW(want, v->fd, KVM_SET_SREGS, &s); \
	} while (0)

TEST(sregs, .what = "control registers that no processor could have")
{
	struct vm *vm = plain_vm();
	struct vcpu *v = vm->vcpu[0];
	struct kvm_sregs good = vcpu_sregs(v), now;

	SREGS(0);
	SREGS(EINVAL, s.cr4 |= BIT(30));
	SREGS(EINVAL, s.cr4 &= ~CR4_PAE);
	SREGS(EINVAL, s.efer &= ~EFER_LMA);
	SREGS(EINVAL, s.efer &= ~EFER_LME);
	SREGS(EINVAL, s.cr3 |= BIT(63));
	if (cpu_maxphyaddr() < 52)
		SREGS(EINVAL, s.cr3 |= BIT(51));
	now = vcpu_sregs(v);
	EXPECT_EQ(now.cr3, good.cr3, "a refused KVM_SET_SREGS changes nothing");
	EXPECT_EQ(now.cr4, good.cr4);
	EXPECT_EQ(now.efer, good.efer);
}

TEST(translate, .what = "KVM_TRANSLATE: what is mapped, what isn't, and what lies above")
{
	struct vm *vm = plain_vm();
	struct vcpu *v = vm->vcpu[0];
	struct kvm_translation tr = {.linear_address = 1 * MiB + 123};

	EXPECT_EQ(__kvm_ioctl(v->fd, KVM_TRANSLATE, &tr), 0);
	EXPECT_EQ(tr.valid, 1);
	EXPECT_EQ(tr.physical_address, 1 * MiB + 123);
	tr = (struct kvm_translation){.linear_address = vm->test_gva};
	EXPECT_EQ(__kvm_ioctl(v->fd, KVM_TRANSLATE, &tr), 0);
	EXPECT_EQ(tr.valid, 0);
	vm_map(vm, vm->test_gva, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
	tr = (struct kvm_translation){.linear_address = vm->test_gva + 8};
	EXPECT_EQ(__kvm_ioctl(v->fd, KVM_TRANSLATE, &tr), 0);
	EXPECT_EQ(tr.valid, 1);
	EXPECT_EQ(tr.physical_address, vm->mem->gpa + 8);
	ROW(EFAULT, v->fd, KVM_TRANSLATE, BAD_POINTER);
}

TEST(descriptors, .what = "descriptors that are closed, and mappings beyond a vCPU's pages")
{
	struct vm *vm = plain_vm();
	int size = __kvm_ioctl(kvm_open_or_skip(), KVM_GET_VCPU_MMAP_SIZE, NULL);
	int fd = __kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)7);
	void *run;

	ASSERT_GE(fd, 0);
	ASSERT_GE(size, (int)sizeof(struct kvm_run));
	run = engine()->mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT(run != MAP_FAILED, "%s", strerror(errno));
	ASSERT_EQ(engine()->close(fd), 0);
	ROW(EBADF, fd, KVM_RUN, 0);
	/* The mapping holds the vCPU; the number stays taken. */
	ROW(EEXIST, vm->fd, KVM_CREATE_VCPU, 7);
	((struct kvm_run *)run)->immediate_exit = 1;
	ROW(EBADF, -1, KVM_RUN, 0);
}

TEST(immediate_exit, .what = "KVM_RUN with immediate_exit set comes back with EINTR at once")
{
	struct vm *vm = plain_vm();
	struct vcpu *v = vm->vcpu[0];
	struct kvm_regs before = vcpu_regs(v), after;

	v->run->immediate_exit = 1;
	ROW(EINTR, v->fd, KVM_RUN, 0);
	ROW(EINTR, v->fd, KVM_RUN, 0);
	after = vcpu_regs(v);
	EXPECT_EQ(after.rip, before.rip, "nothing was executed");
	v->run->immediate_exit = 0;
	EXPECT_OK(guest_op(v, .kind = AGENT_READ, .size = 4, .addr = VM_TABLES_GPA),
		  "and it runs afterwards");
}

TEST(parameters,
     .what = "the in-tree engine's parameters: each has a value, and nonsense is refused")
{
	static const char *const wrong[] = {
		"no_such_parameter=1",
		"npt",
		"npt=",
		"npt=2",
		"tdp_mmu=maybe",
		"nx_huge_pages=sometimes",
		"maxphyaddr=",
		"maxphyaddr=35",
		"maxphyaddr=53",
		"maxphyaddr=4x",
		"max_huge_level=99999999999",
	};
	static const char *const right[] = {"nx_huge_pages=force", "nx_huge_pages=off",
					    "max_huge_level=2", "mmio_caching=0", "tdp_mmu=on"};
	char names[1024], value[32], *name, *rest = names;
	u32 i, n = 0;

	REQUIRE(engine_built("intree"), "engine \"intree\" in this build");
	for (i = 0; i < ARRAY_LEN(wrong); i++)
		EXPECT(engine_config_error(wrong[i]) != NULL, "%s", wrong[i]);
	for (i = 0; i < ARRAY_LEN(right); i++)
		EXPECT(engine_config_error(right[i]) == NULL, "%s", right[i]);
	snprintf(names, sizeof(names), "%s", engine_config_names());
	while ((name = strsep(&rest, ", ")) != NULL) {
		if (!*name)
			continue;
		n++;
		/* The two vendors': one of them is in effect. */
		if (!strcmp(engine()->name, "intree") && strcmp(name, "npt") && strcmp(name, "ept"))
			EXPECT(engine_param(name, value, sizeof(value)) && *value, "%s", name);
	}
	EXPECT_GT(n, 10u);
	EXPECT(!engine_param("no_such_parameter", value, sizeof(value)));
}
