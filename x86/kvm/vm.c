// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM: creation, its ioctls, its end; and the worker that gives huge pages back which
 * the NX workaround split.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "x86/kvm/internal.h"
#include "x86/kvm/sched.h"

/* Milliseconds from one recovery to the next; 0: there is none. vm->lock. */
static u64 nx_period(const struct vm *vm)
{
	const struct mmu_params *p = &vm->kvm.params;
	u64 ms = p->nx_huge_pages_recovery_period_ms;

	if (p->nx_huge_pages != NX_HUGE_FORCE || !p->nx_huge_pages_recovery_ratio)
		return 0;
	/* Unless told otherwise everything comes back within an hour. */
	if (!ms)
		ms = 3600000 / p->nx_huge_pages_recovery_ratio;
	return ms ? ms : 1;
}

static void *nx_worker(void *arg)
{
	struct vm *vm = arg;
	struct timespec until;

	pthread_mutex_lock(&vm->lock);
	while (!vm->nx_worker_stop) {
		u64 ms = nx_period(vm);

		if (!ms) {
			pthread_cond_wait(&vm->nx_worker_wake, &vm->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += ms / 1000;
		until.tv_nsec += ms % 1000 * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		if (pthread_cond_timedwait(&vm->nx_worker_wake, &vm->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&vm->lock);
		kvm_mmu_recover_nx_huge_pages(&vm->kvm);
		pthread_mutex_lock(&vm->lock);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

/* Starts the worker, or has it look at the parameters again. vm->lock. */
static void wake_nx_worker(struct vm *vm)
{
	sigset_t all, old;

	pthread_cond_signal(&vm->nx_worker_wake);
	if (vm->nx_worker_runs || !nx_period(vm))
		return;
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	vm->nx_worker_runs = !pthread_create(&vm->nx_worker, NULL, nx_worker, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void start_nx_worker(struct vm *vm)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->nx_worker_wake, &attr);
	pthread_condattr_destroy(&attr);
	hw_mutex_lock(&vm->lock);
	wake_nx_worker(vm);
	pthread_mutex_unlock(&vm->lock);
}

void vm_change_params(struct vm *vm, const struct mmu_params *old, const struct mmu_params *new)
{
	struct mmu_params *p = &vm->kvm.params;

	hw_mutex_lock(&vm->slots_lock);
	hw_mutex_lock(&vm->lock);
	if (old->eager_page_split != new->eager_page_split)
		__atomic_store_n(&p->eager_page_split, new->eager_page_split, __ATOMIC_RELAXED);
	if (old->nx_huge_pages_recovery_ratio != new->nx_huge_pages_recovery_ratio)
		__atomic_store_n(&p->nx_huge_pages_recovery_ratio,
				 new->nx_huge_pages_recovery_ratio, __ATOMIC_RELAXED);
	if (old->nx_huge_pages_recovery_period_ms != new->nx_huge_pages_recovery_period_ms)
		__atomic_store_n(&p->nx_huge_pages_recovery_period_ms,
				 new->nx_huge_pages_recovery_period_ms, __ATOMIC_RELAXED);
	if (old->nx_huge_pages != new->nx_huge_pages)
		__atomic_store_n(&p->nx_huge_pages, new->nx_huge_pages, __ATOMIC_RELAXED);
	wake_nx_worker(vm);
	pthread_mutex_unlock(&vm->lock);
	/* Mappings of the other kind have to go. */
	if ((old->nx_huge_pages == NX_HUGE_FORCE) != (new->nx_huge_pages == NX_HUGE_FORCE))
		kvm_mmu_zap_all_fast(&vm->kvm);
	pthread_mutex_unlock(&vm->slots_lock);
}

static void stop_nx_worker(struct vm *vm)
{
	hw_mutex_lock(&vm->lock);
	vm->nx_worker_stop = true;
	pthread_cond_signal(&vm->nx_worker_wake);
	pthread_mutex_unlock(&vm->lock);
	if (vm->nx_worker_runs)
		pthread_join(vm->nx_worker, NULL);
	pthread_cond_destroy(&vm->nx_worker_wake);
}

/* Nobody has a descriptor of it, or of anything in it, any more. */
static void vm_free(struct vm *vm)
{
	stop_nx_worker(vm);
	host_unregister(vm);
	audit_last(vm);
	for (unsigned int i = 0; i < vm->kvm.nr_vcpus; i++)
		kvm_mmu_destroy(vm->mmu_vcpu[i]);
	kvm_mmu_uninit_vm(&vm->kvm);
	memslots_free(vm);
	for (unsigned int i = 0; i < vm->kvm.nr_vcpus; i++)
		vcpu_free(vm->vcpu[i]);
	hw_vm_fini(vm);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->slots_lock);
	stats_object_free(vm);
}

void vm_put(struct vm *vm)
{
	if (!__atomic_sub_fetch(&vm->refs, 1, __ATOMIC_ACQ_REL))
		vm_free(vm);
}

static void vm_release(void *object)
{
	vm_put(object);
}

int vm_new(unsigned long type)
{
	static unsigned long next_id;
	struct vm *vm;
	int ret;

	if (type)
		return -EINVAL;
	vm = stats_object_alloc(sizeof(*vm), false,
				__atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED));
	if (!vm)
		return -ENOMEM;
	vm->refs = 1;
	vm->identity_map_addr = 0xfffbc000;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->slots_lock, NULL);
	vm->kvm.params = params_now();
	vm->kvm.vcpus = vm->mmu_vcpu;
	ret = hw_vm_init(vm);
	if (ret)
		goto free;
	ret = kvm_mmu_init_vm(&vm->kvm);
	if (ret)
		goto fini;
	host_register(vm);
	start_nx_worker(vm);
	ret = fd_create(FD_VM, vm, vm_release);
	if (ret < 0) {
		vm_put(vm);
		return ret;
	}
	vm->fd = ret;
	return ret;
fini:
	hw_vm_fini(vm);
free:
	stats_object_free(vm);
	return ret;
}

static int enable_cap(struct vm *vm, const struct kvm_enable_cap *cap)
{
	int ret = 0;

	if (cap->flags)
		return -EINVAL;
	hw_mutex_lock(&vm->lock);
	switch (cap->cap) {
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: {
		u64 allowed = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

		/* The second says something only together with the first. */
		if (cap->args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
			allowed |= KVM_DIRTY_LOG_INITIALLY_SET;
		if (cap->args[0] & ~allowed) {
			ret = -EINVAL;
			break;
		}
		vm->kvm.manual_dirty_log_protect =
			cap->args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
		vm->kvm.initially_all_set = cap->args[0] & KVM_DIRTY_LOG_INITIALLY_SET;
		break;
	}
	case KVM_CAP_DIRTY_LOG_RING:
#ifdef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
#endif
		/* It takes the lock itself. */
		pthread_mutex_unlock(&vm->lock);
		if (cap->args[0] >> 32)
			return -E2BIG;
		ret = dirty_ring_enable(vm, cap->args[0]);
#ifdef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
		if (!ret)
			vm->dirty_ring_acq_rel = cap->cap == KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
#endif
		return ret;
	case KVM_CAP_VM_DISABLE_NX_HUGE_PAGES:
		if (cap->args[0])
			ret = -EINVAL;
		else if (vm->kvm.nr_vcpus)
			ret = -EINVAL;
		else
			vm->kvm.disable_nx_huge_pages = vm->nx_huge_cap_used = true;
		break;
	case KVM_CAP_SPLIT_IRQCHIP:
	default:
		ret = -EINVAL;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int create_irqchip(struct vm *vm)
{
	int ret = 0;

	hw_mutex_lock(&vm->lock);
	if (vm->irqchip || vm->split_irqchip)
		ret = -EEXIST;
	else if (vm->kvm.nr_vcpus)
		ret = -EINVAL;
	else
		vm->irqchip = true;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int set_identity_map_addr(struct vm *vm, const u64 *addr)
{
	int ret = 0;

	hw_mutex_lock(&vm->lock);
	if (vm->kvm.nr_vcpus)
		ret = -EINVAL;
	else
		vm->identity_map_addr = *addr ? *addr : 0xfffbc000;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int set_nr_mmu_pages(struct vm *vm, unsigned long pages)
{
	if (pages < 64)
		return -EINVAL;
	hw_mutex_lock(&vm->slots_lock);
	kvm_mmu_change_mmu_pages(&vm->kvm, pages);
	vm->kvm.arch.n_requested_mmu_pages = pages;
	pthread_mutex_unlock(&vm->slots_lock);
	return 0;
}

int vm_ioctl_(struct vm *vm, unsigned long request, void *arg)
{
	audit_outside(vm);
	switch (request) {
	case KVM_CREATE_VCPU:
		return vcpu_new(vm, (unsigned long)arg);
	case KVM_CHECK_EXTENSION:
		return check_extension(vm, (long)arg);
	case KVM_ENABLE_CAP:
		return enable_cap(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return memslot_set(vm, arg);
	case KVM_GET_DIRTY_LOG:
		return dirty_log_get(vm, arg);
	case KVM_CLEAR_DIRTY_LOG:
		return dirty_log_clear(vm, arg);
	case KVM_RESET_DIRTY_RINGS:
		return vm->dirty_ring_size ? dirty_ring_reset(vm) : -EINVAL;
	case KVM_SET_NR_MMU_PAGES:
		return set_nr_mmu_pages(vm, (unsigned long)arg);
#ifdef KVM_GET_NR_MMU_PAGES
	case KVM_GET_NR_MMU_PAGES:
		return vm->kvm.arch.n_max_mmu_pages;
#endif
	case KVM_SET_TSS_ADDR:
		if ((unsigned long)arg > 0xffffffffu - 3 * SZ_4K)
			return -EINVAL;
		vm->tss_addr = (unsigned long)arg;
		return 0;
	case KVM_SET_IDENTITY_MAP_ADDR:
		return set_identity_map_addr(vm, arg);
	case KVM_CREATE_IRQCHIP:
		return create_irqchip(vm);
	case KVM_IRQ_LINE:
		/* The chips are there in name: vCPUs halt in the kernel, nobody raises interrupts. */
		return vm->irqchip ? -EINVAL : -ENXIO;
	case KVM_GET_STATS_FD:
		return stats_fd_vm(vm);
	}
	return -ENOTTY;
}
