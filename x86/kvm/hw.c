// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine below the MMU: physical memory as the processor sees it, requests to vCPUs,
 * kicks and flushes, roots.
 *
 * A request and an entry to the guest meet like this: who requests sets the request, then
 * looks whether the vCPU is in the guest; the vCPU says that it is in the guest, then looks
 * at its requests. Both orders are sequentially consistent, so one of them sees the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "x86/cpu/wait.h"
#include "x86/kvm/hw_priv.h"
#include "x86/kvm/sched.h"

/* Beyond this many pages it is cheaper to forget everything than to look for them. */
#define RANGE_MAX (64 * 512)

u64 hw_arena_base, hw_arena_size;

#define ADDRESS_BITS 47
static u16 *known;
static pthread_once_t known_once = PTHREAD_ONCE_INIT;
static struct hw_spinlock known_lock;

void (*hw_yield_hook)(struct kvm *kvm, const char *where);

int hw_vm_init(struct vm *vm)
{
	vm->hw = aligned_alloc(128, (sizeof(*vm->hw) + 127) & ~127ul);
	if (!vm->hw)
		return -ENOMEM;
	*vm->hw = (struct hw_vm){0};
	hw_lock_init(vm->hw);
	vm->kvm.vcpus = vm->mmu_vcpu;
	if (!memslots_init(vm))
		return 0;
	hw_vm_fini(vm);
	return -ENOMEM;
}

void hw_vm_fini(struct vm *vm)
{
	if (!vm->hw)
		return;
	memslots_free(vm);
	hw_rcu_drain(vm->hw);
	free(vm->hw);
	vm->hw = NULL;
}

/* --- physical memory ----------------------------------------------------------- */

static void known_init(void)
{
	void *map =
		mmap(NULL, (1ull << (ADDRESS_BITS - 21)) * sizeof(*known), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		abort();
	__atomic_store_n(&known, map, __ATOMIC_RELEASE);
}

void hw_known_add(u64 start, u64 size, int count)
{
	u64 i, last = (start + size - 1) >> 21;

	pthread_once(&known_once, known_init);
	if (!size || last >> (ADDRESS_BITS - 21))
		return;
	hw_spin_lock(&known_lock);
	for (i = start >> 21; i <= last; i++)
		__atomic_store_n(&known[i], known[i] + count, __ATOMIC_RELAXED);
	hw_spin_unlock(&known_lock);
}

void hw_known_tables(u64 block)
{
	hw_known_add(block, SZ_2M, HW_KNOWN_TABLES);
}

void *hw_frame(struct phys *p, hpa_t hpa)
{
	void *frame = (void *)(hpa & ~(SZ_4K - 1));
	u16 what, *map;
	u64 size;

	(void)p;
	/* The size first: it is set after the base. */
	size = __atomic_load_n(&hw_arena_size, __ATOMIC_ACQUIRE);
	if (hpa - __atomic_load_n(&hw_arena_base, __ATOMIC_RELAXED) < size)
		return frame;
	map = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
	if (hpa >> ADDRESS_BITS || !map)
		return NULL;
	what = __atomic_load_n(&map[hpa >> 21], __ATOMIC_RELAXED);
	if (what == HW_KNOWN_TABLES)
		return hw_table_live(hpa) ? frame : NULL;
	return what ? frame : NULL;
}

/* --- requests and kicks ---------------------------------------------------------- */

void hw_kick(struct vcpu *v)
{
	__atomic_store_n(&v->cpu.stop, 1, __ATOMIC_SEQ_CST);
}

bool hw_enter_guest(struct vcpu *v)
{
	hw_self()->vcpu = hw_self()->inside = v;
	__atomic_store_n(&v->mode, IN_GUEST_MODE, __ATOMIC_SEQ_CST);
	if (sched_on())
		sched_point("enter_guest");
	if (!__atomic_load_n(&v->kvm.requests, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&v->run->immediate_exit, __ATOMIC_RELAXED))
		return true;
	hw_self()->inside = NULL;
	__atomic_store_n(&v->mode, OUTSIDE_GUEST_MODE, __ATOMIC_SEQ_CST);
	return false;
}

void hw_leave_guest(struct vcpu *v)
{
	struct hw_vm *hw = v->vm->hw;

	hw_self()->inside = NULL;
	__atomic_store_n(&v->mode, OUTSIDE_GUEST_MODE, __ATOMIC_SEQ_CST);
	/* Who still sets it after this finds its request seen; the next entry is short then. */
	__atomic_store_n(&v->cpu.stop, 0, __ATOMIC_RELAXED);
	if (__atomic_load_n(&hw->nr_callbacks, __ATOMIC_RELAXED))
		hw_rcu_run(hw);
}

/* Sets @req of @v. Whether the vCPU has to be waited for. */
static bool request(struct vcpu *v, u64 req)
{
	if (MUTANT(flush_only_running) &&
	    __atomic_load_n(&v->mode, __ATOMIC_SEQ_CST) != IN_GUEST_MODE)
		return false;
	__atomic_fetch_or(&v->kvm.requests, req, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&v->mode, __ATOMIC_SEQ_CST) != IN_GUEST_MODE)
		return false;
	hw_kick(v);
	return true;
}

static void wait_outside(struct vcpu *v, u64 req)
{
	unsigned int spins = 0;

	/* Its own thread is here, not in the guest; it sees the request when it goes on. */
	if (v == hw_self()->inside)
		return;
	/* A vCPU enters again only with no request left, so it has seen this one then. */
	while (__atomic_load_n(&v->mode, __ATOMIC_SEQ_CST) == IN_GUEST_MODE &&
	       (__atomic_load_n(&v->kvm.requests, __ATOMIC_SEQ_CST) & req)) {
		if (sched_on())
			sched_wait();
		else
			wait_step(&spins);
	}
}

/* Whether any vCPU was in the guest. */
static bool request_and_wait(struct kvm *kvm, u64 req)
{
	unsigned int n = __atomic_load_n(&kvm->nr_vcpus, __ATOMIC_ACQUIRE), i;
	u64 kicked = 0;

	_Static_assert(MAX_VCPUS <= 64, "a bit each");
	for (i = 0; i < n - (MUTANT(flush_skips_last_vcpu) && n > 1); i++)
		if (request(to_vcpu(kvm->vcpus[i]), req))
			kicked |= BIT(i);
	for (i = 0; i < n; i++)
		if (kicked & BIT(i))
			wait_outside(to_vcpu(kvm->vcpus[i]), req);
	return kicked != 0;
}

void hw_request_all(struct kvm *kvm, u64 req)
{
	request_and_wait(kvm, req);
}

/* --- flushes ----------------------------------------------------------------------- */

static void count_flush(struct kvm *kvm, bool kicked)
{
	if (kicked)
		__atomic_fetch_add(&kvm->stat.remote_tlb_flush, 1, __ATOMIC_RELAXED);
}

void hw_flush_remote(struct kvm *kvm)
{
	hw_yield_point(kvm, "flush_remote");
	__atomic_fetch_add(&kvm->stat.remote_tlb_flush_requests, 1, __ATOMIC_RELAXED);
	count_flush(kvm, request_and_wait(kvm, KVM_REQ_TLB_FLUSH));
}

void hw_flush_remote_range(struct kvm *kvm, gfn_t start, u64 pages)
{
	unsigned int n = __atomic_load_n(&kvm->nr_vcpus, __ATOMIC_ACQUIRE), i;
	u64 from = start << PAGE_SHIFT;
	u64 to = (start + pages - MUTANT(flush_range_one_short)) << PAGE_SHIFT;
	struct vcpu *v;

	if (!mmu_params_tdp(&kvm->params) || pages > RANGE_MAX) {
		hw_flush_remote(kvm);
		return;
	}
	hw_yield_point(kvm, "flush_remote_range");
	__atomic_fetch_add(&kvm->stat.remote_tlb_flush_requests, 1, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++) {
		v = to_vcpu(kvm->vcpus[i]);
		hw_spin_lock(&v->flush_lock);
		if (v->flush_gpa_start == v->flush_gpa_end) {
			v->flush_gpa_start = from;
			v->flush_gpa_end = to;
		} else {
			if (from < v->flush_gpa_start && !MUTANT(flush_ranges_not_joined))
				v->flush_gpa_start = from;
			if (to > v->flush_gpa_end && !MUTANT(flush_ranges_not_joined))
				v->flush_gpa_end = to;
		}
		hw_spin_unlock(&v->flush_lock);
	}
	count_flush(kvm, request_and_wait(kvm, KVM_REQ_TLB_FLUSH_GPA));
}

static void count_own(struct vcpu *v)
{
	__atomic_store_n(&v->kvm.stat.tlb_flush, v->kvm.stat.tlb_flush + 1, __ATOMIC_RELAXED);
}

static void flush_all(struct vcpu *v, hpa_t root)
{
	count_own(v);
	tlb_flush_all(v->tlb);
	v->many_roots = false;
	/* Whatever root is loaded next is the only one again. */
	v->root = root;
}

void hw_do_flushes(struct vcpu *v)
{
	const u64 mine = KVM_REQ_TLB_FLUSH | KVM_REQ_TLB_FLUSH_GPA;
	u64 req, start, end;

	if (!(__atomic_load_n(&v->kvm.requests, __ATOMIC_RELAXED) & mine))
		return;
	req = __atomic_fetch_and(&v->kvm.requests, ~mine, __ATOMIC_SEQ_CST) & mine;
	hw_spin_lock(&v->flush_lock);
	start = v->flush_gpa_start;
	end = v->flush_gpa_end;
	v->flush_gpa_start = v->flush_gpa_end = 0;
	hw_spin_unlock(&v->flush_lock);
	/*
	 * By range only what the root in use translated can be found, and only in the address
	 * space that the guest is in.
	 */
	if ((req & KVM_REQ_TLB_FLUSH) || v->many_roots || v->kvm.regs.guest_mode ||
	    v->nested.kind == NESTED_NONE || (end - start) >> PAGE_SHIFT > RANGE_MAX) {
		flush_all(v, v->root);
		return;
	}
	if (start != end) {
		count_own(v);
		tlb_flush_gpa(v->tlb, v->cpu.mmu.asid, &v->nested, start, end);
	}
}

void hw_flush_current(struct kvm_vcpu *vcpu)
{
	flush_all(to_vcpu(vcpu), 0);
}

void hw_flush_gva(struct kvm_vcpu *vcpu, gva_t gva)
{
	struct vcpu *v = to_vcpu(vcpu);

	tlb_invlpga(v->tlb, v->cpu.mmu.asid, gva);
}

void hw_load_root(struct kvm_vcpu *vcpu, hpa_t root, int level)
{
	struct vcpu *v = to_vcpu(vcpu);
	int i;

	if (v->root && (v->root != root || v->root_level != level))
		v->many_roots = true;
	v->root = root;
	v->root_level = level;
	if (mmu_params_tdp(&vcpu->kvm->params)) {
		v->nested.root = root;
		v->nested.levels = level;
		return;
	}
	v->cpu.mmu.cr3 = root;
	if (level == 3)
		for (i = 0; i < 4; i++)
			v->cpu.mmu.pdpte[i] =
				__atomic_load_n((u64 *)hw_va(root) + i, __ATOMIC_RELAXED);
}

/* --- the rest ------------------------------------------------------------------------ */

void hw_yield_point(struct kvm *kvm, const char *where)
{
	void (*hook)(struct kvm *, const char *) =
		__atomic_load_n(&hw_yield_hook, __ATOMIC_RELAXED);

	if (__builtin_expect(!!hook, 0))
		hook(kvm, where);
}

u64 hw_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

void hw_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: bug: %s\n", file, line, what);
	abort();
}
