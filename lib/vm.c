// SPDX-License-Identifier: GPL-2.0-only
/*
 * Creates VMs: opens the engine, lays out guest memory, loads the agent and
 * sets vCPUs up to start in the asked paging mode.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "aspace.h"
#include "probe.h"
#include "test.h"
#include "vm.h"
#include "vm_internal.h"

const struct cpu_feature CPU_PGE = {1, 0, 3, 13, "PGE"};
const struct cpu_feature CPU_PCID = {1, 0, 2, 17, "PCID"};
const struct cpu_feature CPU_INVPCID = {7, 0, 1, 10, "INVPCID"};
const struct cpu_feature CPU_SMEP = {7, 0, 1, 7, "SMEP"};
const struct cpu_feature CPU_SMAP = {7, 0, 1, 20, "SMAP"};
const struct cpu_feature CPU_PKU = {7, 0, 2, 3, "PKU"};
const struct cpu_feature CPU_LA57 = {7, 0, 2, 16, "LA57"};
const struct cpu_feature CPU_NX = {0x80000001, 0, 3, 20, "NX"};
const struct cpu_feature CPU_GBPAGES = {0x80000001, 0, 3, 26, "1 GiB pages"};
const struct cpu_feature CPU_PSE36 = {1, 0, 3, 17, "PSE-36"};
const struct cpu_feature CPU_SVM = {0x80000001, 0, 2, 2, "SVM"};
const struct cpu_feature CPU_VMX = {1, 0, 2, 5, "VMX"};
const struct cpu_feature CPU_POPCNT = {1, 0, 2, 23, "POPCNT"};

#define MAX_CPUID 256

int __kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = engine()->ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

int kvm_ioctl_at(int fd, unsigned long request, void *arg, const char *name, const char *file,
		 int line)
{
	int ret = __kvm_ioctl(fd, request, arg);

	if (ret < 0)
		test_end_at(TEST_FAIL, NULL, file, line, "%s: %s", name, strerror(-ret));
	return ret;
}

int kvm_open_or_skip(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	fd = engine()->open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		test_skip("/dev/kvm: %s (engine %s)", strerror(errno), engine()->name);
	return fd;
}

int kvm_cap(struct vm *vm, long cap)
{
	int ret = __kvm_ioctl(vm ? vm->fd : kvm_open_or_skip(), KVM_CHECK_EXTENSION, (void *)cap);

	return ret < 0 ? 0 : ret;
}

int require_cap_at(struct vm *vm, long cap, const char *name)
{
	int value = kvm_cap(vm, cap);

	REQUIRE(value > 0, "%s", name);
	return value;
}

void vm_enable_cap(struct vm *vm, u32 cap, u64 arg0)
{
	struct kvm_enable_cap enable = {.cap = cap, .args = {arg0}};

	vm_ioctl(vm, KVM_ENABLE_CAP, &enable);
}

static struct kvm_cpuid2 *supported_cpuid(void)
{
	static struct kvm_cpuid2 *cpuid;

	if (cpuid)
		return cpuid;
	cpuid = calloc(1, sizeof(*cpuid) + MAX_CPUID * sizeof(cpuid->entries[0]));
	cpuid->nent = MAX_CPUID;
	kvm_ioctl_at(kvm_open_or_skip(), KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID",
		     __FILE__, __LINE__);
	return cpuid;
}

static struct kvm_cpuid_entry2 *cpuid_leaf(struct kvm_cpuid2 *cpuid, u32 leaf, u32 subleaf)
{
	u32 i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == subleaf)
			return &cpuid->entries[i];
	return NULL;
}

bool cpu_has(const struct cpu_feature *f)
{
	struct kvm_cpuid_entry2 *e = cpuid_leaf(supported_cpuid(), f->leaf, f->subleaf);
	u32 reg;

	if (!e)
		return false;
	reg = f->reg == 0 ? e->eax : f->reg == 1 ? e->ebx : f->reg == 2 ? e->ecx : e->edx;
	return reg >> f->bit & 1;
}

u32 cpu_maxphyaddr(void)
{
	struct kvm_cpuid_entry2 *e = cpuid_leaf(supported_cpuid(), 0x80000008, 0);

	return e ? e->eax & 0xff : 36;
}

static void set_cpuid(struct vcpu *v)
{
	size_t size = sizeof(struct kvm_cpuid2) + MAX_CPUID * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *cpuid = malloc(size);
	struct kvm_cpuid_entry2 *e;

	memcpy(cpuid, supported_cpuid(), size);
	e = cpuid_leaf(cpuid, 0x80000008, 0);
	if (v->vm->config.maxphyaddr && e)
		e->eax = (e->eax & ~0xffu) | v->vm->config.maxphyaddr;
	if (v->vm->config.cpuid)
		v->vm->config.cpuid(cpuid);
	vcpu_ioctl(v, KVM_SET_CPUID2, cpuid);
	free(cpuid);
}

static struct kvm_segment segment(u16 selector, bool code, bool long_mode)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 11 : 3,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code && long_mode,
		.db = !(code && long_mode),
	};
}

/* The processor as the agent's entry expects it: paging on, flat segments. */
static void set_start_state(struct vcpu *v)
{
	const struct paging_mode *m = v->vm->mode;
	struct kvm_sregs s = vcpu_sregs(v);
	struct kvm_regs r = {.rflags = RFLAGS_FIXED, .rip = v->vm->entry, .rdi = v->id};
	u64 stacks = 0;
	int ret;

	s.cs = segment(0x08, true, m->long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(0x10, false, m->long_mode);
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | (m->levels ? CR0_PG : 0);
	s.cr3 = v->vm->as.root;
	s.cr4 = v->vm->config.cr4;
	if (m->id == PM_32)
		s.cr4 |= CR4_PSE;
	if (m->pte_size == 8)
		s.cr4 |= CR4_PAE;
	if (m->id == PM_LA57)
		s.cr4 |= CR4_LA57;
	s.efer = 0;
	if (m->long_mode)
		s.efer |= EFER_LME | EFER_LMA;
	if (m->pte_size == 8 && cpu_has(&CPU_NX))
		s.efer |= EFER_NX;
	ret = __vcpu_set_sregs(v, &s);
	if (ret) {
		skip_if_partial(v->vm, false, NULL);
		test_fail("KVM_SET_SREGS for mode %s: %s", m->name, strerror(-ret));
	}

	image_symbol(v->vm->image, "cpu_stacks", &stacks);
	r.rsp = stacks + (v->id + 1) * AGENT_STACK_SIZE;
	vcpu_set_regs(v, &r);
}

static struct vcpu *vcpu_create(struct vm *vm, u32 id)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	u64 mailboxes = 0;
	int ret;

	v->vm = vm;
	v->id = id;
	ret = __kvm_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)(long)id);
	if (ret < 0)
		test_fail("KVM_CREATE_VCPU %u: %s", id, strerror(-ret));
	v->fd = ret;
	v->run_size = __kvm_ioctl(kvm_open_or_skip(), KVM_GET_VCPU_MMAP_SIZE, NULL);
	v->run = engine()->mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		test_fail("mmap of vCPU %u's run structure: %s", id, strerror(errno));
	if (!image_symbol(vm->image, "mailboxes", &mailboxes))
		test_error("%s has no symbol \"mailboxes\"", vm->image->name);
	v->mailbox = vm_hva(vm, mailboxes + id * sizeof(*v->mailbox));
	set_cpuid(v);
	set_start_state(v);
	return v;
}

static void require_mode(const struct paging_mode *m)
{
	if (m->id == PM_LA57)
		require_cpu(CPU_LA57);
}

static gva_t first_test_gva(const struct paging_mode *m)
{
	switch (m->id) {
	case PM_LA57:
		return 1ull << 48;
	case PM_LA48:
		return 1ull << 39;
	case PM_PAE:
	case PM_32:
		return 1ull << 30;
	default:
		return VM_MEM_GPA;
	}
}

static void load_agent(struct vm *vm)
{
	int bits = vm->mode->long_mode ? 64 : 32;
	const char *error;

	vm->image = bits == 64 ? &agent_image64 : &agent_image32;
	error = image_load(vm->image, bits, vm->system->hva, VM_TABLES_GPA, &vm->entry);
	if (error)
		test_error("guest image refused: %s", error);
	if (!image_symbol(vm->image, "user_start", &vm->user_start) ||
	    !image_symbol(vm->image, "user_end", &vm->user_end))
		test_error("%s lacks user_start or user_end", vm->image->name);
}

struct vm *vm_create_with(const struct vm_config *config)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	u32 i, n = config->no_vcpus ? 0 : config->nr_vcpus ? config->nr_vcpus : 1;
	u64 identity = 0xfffbc000;
	int ret;

	vm->config = *config;
	vm->mode = config->mode ? config->mode : paging_mode(PM_LA48);
	if (n > VM_MAX_VCPUS)
		test_error("%u vCPUs: at most %u", n, VM_MAX_VCPUS);
	vm->kvm_fd = kvm_open_or_skip();
	if (n)
		require_mode(vm->mode);
	ret = __kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL);
	if (ret == -ENODEV || ret == -ENOTTY || ret == -EOPNOTSUPP)
		test_skip("KVM_CREATE_VM: %s", strerror(-ret));
	if (ret < 0)
		test_fail("KVM_CREATE_VM: %s", strerror(-ret));
	vm->fd = ret;
	vm->stats_fd = -1;
	/* Intel without unrestricted guest needs both; others don't mind. */
	__kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	__kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	if (config->early)
		config->early(vm);
	if (config->dirty_ring_entries)
		vm_enable_dirty_ring(vm);
	if (config->irqchip)
		vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);

	vm->next_table = VM_TABLES_GPA;
	vm->test_gva = first_test_gva(vm->mode);
	vm->system = slot_add(vm, 0, 0, VM_SYSTEM_SIZE, MEM_ANON, 0);
	load_agent(vm);
	if (config->mem_size != VM_NO_MEM)
		vm->mem = slot_add(vm, 1, config->mem_gpa ? config->mem_gpa : VM_MEM_GPA,
				   config->mem_size ? config->mem_size : 16 * MiB, config->backing,
				   config->mem_flags);
	vm->as = aspace_create(vm);
	for (i = 0; i < n; i++) {
		vm->vcpu[i] = vcpu_create(vm, i);
		vm->nr_vcpus++;
	}
	vm_register(vm);
	test_on_failure(vm_report, vm);
	return vm;
}

void vm_destroy(struct vm *vm)
{
	u32 i;

	test_on_failure_drop(vm_report, vm);
	vm_unregister(vm);
	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		vcpu_drop_timer(v);
		vcpu_drop_ring(v);
		engine()->munmap(v->run, v->run_size);
		if (v->stats_fd > 0)
			engine()->close(v->stats_fd);
		engine()->close(v->fd);
		free(v);
	}
	if (vm->stats_fd >= 0)
		engine()->close(vm->stats_fd);
	engine()->close(vm->fd);
	for (i = 0; i < VM_MAX_SLOTS; i++)
		if (vm->slots[i].vm)
			memory_free(&vm->slots[i].mem);
	free(vm);
}
