// SPDX-License-Identifier: GPL-2.0-only
/*
 * Engine "qemu": as much of the KVM ABI as it takes to run the agent on a machine of QEMU's own
 * (lib/machine.h). What is judged there is QEMU's processor by itself, and so is the judge: nothing
 * between the guest's access and the oracle is of KVM or of ours.
 *
 * A VM is one vCPU and RAM from 0 up, of which memslots are parts: no MMIO, nothing read-only, no
 * change of a slot. What asks for more skips, naming what it asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine_priv.h"
#include "guest_code/agent_abi.h"
#include "machine.h"
#include "test.h"
#include "x86/arch/regs.h"

#define MAX_VMS	  8
#define MAX_SLOTS 64
#define RUN_SIZE  8192
#define IO_AT	  4096 /* of a run structure: the data of an exit for I/O */

_Static_assert(sizeof(struct kvm_run) <= IO_AT, "room for it");

struct slot {
	u32 id;
	u64 gpa, size, hva;
};

/* Its descriptors are the machine's: the VM's is the RAM, the vCPU's is the bell. */
struct qemu_vm {
	struct machine *machine;
	struct slot slot[MAX_SLOTS];
	u32 nr_slots;
	bool begun;
	struct kvm_run *run;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

static struct qemu_vm *vms[MAX_VMS];
static struct machine *spare; /* the next VM's: it has been asked for its CPUID */
static int kvm_fd = -1;

#define unsupported(...) test_skip("engine qemu: " __VA_ARGS__)

/* A forked process has its parent's machines in memory, but they are not its own. */
static struct machine *spare_machine(void)
{
	if (!spare || spare->owner != getpid())
		spare = machine_start();
	return spare;
}

static int qemu_open(const char *path, int flags)
{
	(void)path;
	kvm_fd = open("/dev/null", flags);
	return kvm_fd;
}

static int create_vm(void)
{
	for (u32 i = 0; i < MAX_VMS; i++) {
		if (vms[i] && vms[i]->machine->owner == getpid())
			continue;
		vms[i] = calloc(1, sizeof(*vms[i]));
		vms[i]->machine = spare_machine();
		spare = NULL;
		return vms[i]->machine->ram;
	}
	unsupported("more than %d VMs", MAX_VMS);
}

static void destroy_vm(struct qemu_vm **vm)
{
	machine_end((*vm)->machine);
	free(*vm);
	*vm = NULL;
}

static int supported_cpuid(struct kvm_cpuid2 *cpuid)
{
	if (cpuid->nent < MACHINE_LEAVES) {
		errno = E2BIG;
		return -1;
	}
	cpuid->nent = MACHINE_LEAVES;
	machine_cpuid(spare_machine(), cpuid->entries);
	return 0;
}

static int system_ioctl(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return 0;
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return supported_cpuid(arg);
	case KVM_CREATE_VM:
		return create_vm();
	}
	unsupported("request %#lx of /dev/kvm", request);
}

/* --- memory --------------------------------------------------------------------------- */

/* What the test has in @hva already, page by page, so that the rest stays unused. */
static void keep_content(u8 *ram, const u8 *hva, u64 size)
{
	static const u8 zero[SZ_4K];

	for (u64 at = 0; at < size; at += SZ_4K)
		if (memcmp(hva + at, zero, SZ_4K))
			memcpy(ram + at, hva + at, SZ_4K);
}

/* The slot's host memory becomes the machine's. */
static int set_region(struct qemu_vm *vm, const struct kvm_userspace_memory_region *r)
{
	int ram_fd = vm->machine->ram;
	void *ram;

	if (r->flags)
		unsupported("memslots with flags %#x", r->flags);
	if (r->guest_phys_addr + r->memory_size > MACHINE_RAM)
		unsupported("memory at gpa %#llx", r->guest_phys_addr);
	for (u32 i = 0; i < vm->nr_slots; i++) {
		const struct slot *s = &vm->slot[i];

		if (s->id == r->slot)
			unsupported("a change of memslot %u", r->slot);
		if (r->userspace_addr < s->hva + s->size &&
		    s->hva < r->userspace_addr + r->memory_size)
			unsupported("two memslots with the same memory");
	}
	if (vm->nr_slots == MAX_SLOTS)
		unsupported("more than %d memslots", MAX_SLOTS);
	ram = mmap(NULL, r->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd,
		   r->guest_phys_addr);
	if (ram == MAP_FAILED)
		return -1;
	keep_content(ram, (u8 *)r->userspace_addr, r->memory_size);
	if (mremap(ram, r->memory_size, r->memory_size, MREMAP_MAYMOVE | MREMAP_FIXED,
		   (void *)r->userspace_addr) == MAP_FAILED)
		return -1;
	vm->slot[vm->nr_slots++] =
		(struct slot){r->slot, r->guest_phys_addr, r->memory_size, r->userspace_addr};
	return 0;
}

static int vm_request(struct qemu_vm *vm, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_CHECK_EXTENSION:
	case KVM_SET_IDENTITY_MAP_ADDR: /* what only KVM's real mode needs */
	case KVM_SET_TSS_ADDR:
		return 0;
	case KVM_SET_USER_MEMORY_REGION:
		return set_region(vm, arg);
	case KVM_CREATE_VCPU:
		if (arg)
			unsupported("more than one vCPU");
		return vm->machine->bell;
	}
	unsupported("request %#lx of a VM", request);
}

/* --- the vCPU --------------------------------------------------------------------------- */

static void require_same_cpuid(const struct qemu_vm *vm, const struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 has[MACHINE_LEAVES];

	machine_cpuid(vm->machine, has);
	if (cpuid->nent != MACHINE_LEAVES || memcmp(has, cpuid->entries, sizeof(has)))
		unsupported("another CPUID than the processor's");
}

static int run_vcpu(struct qemu_vm *vm)
{
	struct machine *m = vm->machine;

	if (!vm->begun)
		machine_begin(m, &vm->regs, &vm->sregs);
	vm->begun = true;
	switch (machine_run(m, &vm->run->immediate_exit)) {
	case MACHINE_STOPPED:
		vm->run->exit_reason = KVM_EXIT_INTR;
		errno = EINTR;
		return -1;
	case MACHINE_SHUTDOWN:
		vm->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	case MACHINE_OUT:
		break;
	}
	vm->run->exit_reason = KVM_EXIT_IO;
	vm->run->io.direction = KVM_EXIT_IO_OUT;
	vm->run->io.size = 4;
	vm->run->io.count = 1;
	vm->run->io.port = m->exit->port;
	vm->run->io.data_offset = IO_AT;
	*(u32 *)((u8 *)vm->run + IO_AT) = m->exit->value;
	return 0;
}

static int get_registers(struct qemu_vm *vm, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	if (vm->begun && !machine_registers(vm->machine, &vm->regs, &vm->sregs)) {
		errno = EIO;
		return -1;
	}
	if (regs)
		*regs = vm->regs;
	if (sregs)
		*sregs = vm->sregs;
	return 0;
}

static int vcpu_request(struct qemu_vm *vm, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_RUN:
		return run_vcpu(vm);
	case KVM_GET_REGS:
		return get_registers(vm, arg, NULL);
	case KVM_GET_SREGS:
		return get_registers(vm, NULL, arg);
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
		if (vm->begun)
			unsupported("other registers, once the machine runs");
		if (request == KVM_SET_REGS)
			vm->regs = *(struct kvm_regs *)arg;
		else
			vm->sregs = *(struct kvm_sregs *)arg;
		return 0;
	case KVM_SET_CPUID2:
		require_same_cpuid(vm, arg);
		return 0;
	}
	unsupported("request %#lx of a vCPU", request);
}

/* --- all of them --------------------------------------------------------------------------- */

static struct qemu_vm **vm_of(int fd, bool *is_vcpu)
{
	for (u32 i = 0; i < MAX_VMS; i++) {
		if (!vms[i] || vms[i]->machine->owner != getpid())
			continue;
		*is_vcpu = fd == vms[i]->machine->bell;
		if (*is_vcpu || fd == vms[i]->machine->ram)
			return &vms[i];
	}
	return NULL;
}

static int qemu_ioctl(int fd, unsigned long request, void *arg)
{
	bool is_vcpu;
	struct qemu_vm **vm = vm_of(fd, &is_vcpu);

	if (vm)
		return is_vcpu ? vcpu_request(*vm, request, arg) : vm_request(*vm, request, arg);
	if (fd == kvm_fd)
		return system_ioctl(request, arg);
	errno = EBADF;
	return -1;
}

static int qemu_close(int fd)
{
	bool is_vcpu;
	struct qemu_vm **vm = vm_of(fd, &is_vcpu);

	if (!vm)
		return close(fd);
	if (!is_vcpu)
		destroy_vm(vm);
	return 0;
}

static void *qemu_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	bool is_vcpu;
	struct qemu_vm **vm = fd < 0 ? NULL : vm_of(fd, &is_vcpu);
	void *p = mmap(addr, len, prot, vm ? flags | MAP_ANONYMOUS : flags, vm ? -1 : fd, offset);

	if (vm && p != MAP_FAILED)
		(*vm)->run = p;
	return p;
}

static int qemu_mprotect(void *addr, size_t len, int prot)
{
	unsupported("mprotect(%p, %#zx, %d)", addr, len, prot);
}

/* Of memory that is no machine's yet. */
static int qemu_madvise(void *addr, size_t len, int advice)
{
	if (advice != MADV_HUGEPAGE && advice != MADV_NOHUGEPAGE)
		unsupported("madvise(%p, %#zx, %d)", addr, len, advice);
	return madvise(addr, len, advice);
}

static void *qemu_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	unsupported("mremap(%p, %#zx, %#zx, %d, %p)", addr, old_len, new_len, flags, new_addr);
}

static size_t qemu_huge_bytes(const void *addr, size_t len)
{
	(void)addr;
	(void)len;
	return 0;
}

const struct engine engine_qemu = {
	.name = "qemu",
	.open = qemu_open,
	.ioctl = qemu_ioctl,
	.close = qemu_close,
	.mmap = qemu_mmap,
	.munmap = munmap,
	.mprotect = qemu_mprotect,
	.madvise = qemu_madvise,
	.mremap = qemu_mremap,
	.huge_bytes = qemu_huge_bytes,
	.machine = true,
};
