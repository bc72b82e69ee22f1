// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/kvm itself: versions, capabilities, creation of VMs; and the parameters that
 * VMs get.
 */
#include <stdio.h>
#include <string.h>

#include "x86/kvm/internal.h"
#include "x86/kvm/sched.h"

static pthread_mutex_t params_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mmu_params params;
static bool params_set;

static struct mmu_params *params_locked(void)
{
	if (!params_set)
		params = mmu_params_default();
	params_set = true;
	return &params;
}

struct mmu_params params_now(void)
{
	struct mmu_params p;

	pthread_mutex_lock(&params_lock);
	p = *params_locked();
	pthread_mutex_unlock(&params_lock);
	return p;
}

struct change {
	struct mmu_params old, new;
};

static void change_one(struct vm *vm, void *arg)
{
	const struct change *c = arg;

	vm_change_params(vm, &c->old, &c->new);
}

const char *intree_config(const char *config)
{
	static char message[256];
	struct mmu_params p = params_now();
	struct change change = {.old = p};
	const char *wrong = NULL;
	bool seeded = false;

	while (*config && !wrong) {
		size_t len = strcspn(config, ","), name = strcspn(config, "=,");
		char value[64];

		if (name >= len) {
			snprintf(message, sizeof(message), "%.*s: no value", (int)len, config);
			return message;
		}
		snprintf(value, sizeof(value), "%.*s", (int)(len - name - 1), config + name + 1);
		wrong = mmu_param_set(&p, config, name, value);
		if (wrong)
			snprintf(message, sizeof(message), "%.*s: %s", (int)len, config, wrong);
		seeded |= !strncmp(config, "interleave=", 11);
		config += len;
		config += *config == ',';
	}
	if (wrong)
		return message;
	pthread_mutex_lock(&params_lock);
	*params_locked() = p;
	pthread_mutex_unlock(&params_lock);
	change.new = p;
	if (seeded)
		sched_seed(p.interleave, p.interleave_slice);
	fd_each_vm(change_one, &change);
	return NULL;
}

bool intree_param(const char *name, char *value, size_t size)
{
	struct mmu_params p = params_now();

	return mmu_param_get(&p, name, value, size);
}

int check_extension(struct vm *vm, long cap)
{
	switch (cap) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_MMU_SHADOW_CACHE_CONTROL:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_HLT:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_X86_SMM:
	case KVM_CAP_BINARY_STATS_FD:
	case KVM_CAP_VM_DISABLE_NX_HUGE_PAGES:
		return 1;
	case KVM_CAP_MULTI_ADDRESS_SPACE:
		return KVM_ADDRESS_SPACES;
	case KVM_CAP_NR_MEMSLOTS:
		return MAX_MEMSLOTS;
	case KVM_CAP_NR_VCPUS:
	case KVM_CAP_MAX_VCPUS:
		return MAX_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return 4 * MAX_VCPUS;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
	case KVM_CAP_DIRTY_LOG_RING:
#ifdef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
#endif
		return 65536 * sizeof(struct kvm_dirty_gfn);
	case KVM_CAP_NESTED_STATE: {
		struct mmu_params p = vm ? vm->kvm.params : params_now();

		return p.ept ? 0 : (int)svm_state_size();
	}
	case KVM_CAP_COALESCED_MMIO:
	default:
		return 0;
	}
}

int system_ioctl(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return vm_new((unsigned long)arg);
	case KVM_CHECK_EXTENSION:
		return check_extension(NULL, (long)arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : (int)RUN_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return cpuid_supported(arg);
	case KVM_GET_MSR_INDEX_LIST:
		return msr_index_list(arg);
	case KVM_GET_MSR_FEATURE_INDEX_LIST: {
		struct kvm_msr_list *list = arg;

		list->nmsrs = 0;
		return 0;
	}
	}
	return -EINVAL;
}
