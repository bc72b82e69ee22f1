// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: creation, its end, and its ioctls but for KVM_RUN.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/kvm/internal.h"
#include "x86/kvm/sched.h"

#define TLB_EVICT    64 /* with a seed: one in so many translations */
#define TLB_PREFETCH 32
#define MAX_MSRS     256

void vcpu_free(struct vcpu *v)
{
	dirty_ring_free(v);
	if (v->run)
		munmap(v->run, RUN_SIZE);
	cpu_fini(&v->cpu);
	if (v->tlb)
		tlb_free(v->tlb);
	pthread_mutex_destroy(&v->mutex);
	stats_object_free(v);
}

/* The last descriptor is closed; the vCPU itself goes with its VM, which may still know it. */
static void vcpu_release(void *object)
{
	struct vcpu *v = object;

	vm_put(v->vm);
}

static int init_cpu(struct vcpu *v)
{
	const struct mmu_params *p = &v->vm->kvm.params;

	if (!cpu_init(&v->cpu))
		return -ENOMEM;
	v->tlb = tlb_new();
	if (!v->tlb)
		return -ENOMEM;
	if (p->seed)
		tlb_set_seed(v->tlb, p->seed + v->id, TLB_EVICT, TLB_PREFETCH);
	v->phys.frame = hw_frame;
	v->phys.arg = v;
	v->cpu.phys = &v->phys;
	v->cpu.tlb = v->tlb;
	/* RDX after RESET: which processor it is. */
	v->cpu.gpr[GPR_RDX] = 0x600;
	v->guest_cr0 = v->cpu.mmu.cr0;
	v->smbase = 0x30000;
	v->mp_state = KVM_MP_STATE_RUNNABLE;
	if (v->vm->irqchip && v->id)
		v->mp_state = KVM_MP_STATE_UNINITIALIZED;
	if (v->id)
		v->cpu.apic_base &= ~BIT(8); /* the bootstrap processor's mark */
	v->kvm.regs.maxphyaddr = 36;
	v->kvm.regs.amd = !p->ept;
	v->kvm.regs.gbpages = vm_tdp(v->vm);
	return 0;
}

static int init_mmu(struct vcpu *v)
{
	int ret;

	v->kvm.kvm = &v->vm->kvm;
	v->kvm.vcpu_idx = v->vm->kvm.nr_vcpus;
	ret = kvm_mmu_create(&v->kvm);
	if (ret)
		return ret;
	v->kvm.root_mmu.inject_page_fault = inject_page_fault;
	v->kvm.guest_mmu.inject_page_fault = inject_page_fault;
	v->kvm.nested_mmu.inject_page_fault = inject_page_fault;
	hw_rcu_read_lock();
	regs_to_mmu(v);
	hw_rcu_read_unlock();
	return 0;
}

static int init_fd(struct vcpu *v)
{
	off_t size = (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * SZ_4K + v->vm->dirty_ring_size;
	int ret = fd_create(FD_VCPU, v, NULL);

	if (ret < 0)
		return ret;
	v->fd = ret;
	ret = -ENOMEM;
	if (ftruncate(v->fd, size))
		return ret;
	v->run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return ret;
	}
	return v->vm->dirty_ring_size ? dirty_ring_alloc(v) : 0;
}

/* With vm->lock held: no two vCPUs are made at once. */
static int vcpu_add(struct vm *vm, u32 id)
{
	unsigned int n = vm->kvm.nr_vcpus;
	struct vcpu *v;
	int ret;

	if (n >= MAX_VCPUS)
		return -EINVAL;
	for (unsigned int i = 0; i < n; i++)
		if (vm->vcpu[i]->id == id)
			return -EEXIST;
	v = stats_object_alloc(sizeof(*v), true, id);
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->id = id;
	v->fd = -1;
	pthread_mutex_init(&v->mutex, NULL);
	ret = init_cpu(v);
	if (ret)
		goto free;
	ret = init_mmu(v);
	if (ret)
		goto free;
	ret = init_fd(v);
	if (ret)
		goto destroy;
	vm->vcpu[n] = v;
	vm->mmu_vcpu[n] = &v->kvm;
	__atomic_fetch_add(&vm->refs, 1, __ATOMIC_RELAXED);
	fd_set_release(v->fd, vcpu_release);
	__atomic_store_n(&vm->kvm.nr_vcpus, n + 1, __ATOMIC_RELEASE);
	return v->fd;
destroy:
	if (v->fd >= 0)
		fd_put(v->fd);
	kvm_mmu_destroy(&v->kvm);
free:
	vcpu_free(v);
	return ret;
}

int vcpu_new(struct vm *vm, u32 id)
{
	int ret;

	if (id >= 4 * MAX_VCPUS)
		return -EINVAL;
	hw_mutex_lock(&vm->lock);
	ret = vcpu_add(vm, id);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* --- registers ------------------------------------------------------------------------------ */

static void get_regs(struct vcpu *v, struct kvm_regs *r)
{
	const struct cpu *c = &v->cpu;

	*r = (struct kvm_regs){
		.rax = c->gpr[GPR_RAX],
		.rbx = c->gpr[GPR_RBX],
		.rcx = c->gpr[GPR_RCX],
		.rdx = c->gpr[GPR_RDX],
		.rsi = c->gpr[GPR_RSI],
		.rdi = c->gpr[GPR_RDI],
		.rsp = c->gpr[GPR_RSP],
		.rbp = c->gpr[GPR_RBP],
		.r8 = c->gpr[8],
		.r9 = c->gpr[9],
		.r10 = c->gpr[10],
		.r11 = c->gpr[11],
		.r12 = c->gpr[12],
		.r13 = c->gpr[13],
		.r14 = c->gpr[14],
		.r15 = c->gpr[15],
		.rip = c->rip,
		.rflags = c->rflags,
	};
}

static void set_regs(struct vcpu *v, const struct kvm_regs *r)
{
	struct cpu *c = &v->cpu;
	const u64 gpr[GPR_COUNT] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				    r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};

	memcpy(c->gpr, gpr, sizeof(gpr));
	c->rip = r->rip;
	c->rflags = r->rflags | RFLAGS_FIXED;
	/* What was queued belongs to where the vCPU was. */
	c->event.type = EVENT_NONE;
	cpu_abandon(c);
	cpu_sync(c);
}

/* The x87 and SSE state as FXSAVE lays it out, which is the beginning of v->xsave. */
static void get_fpu(const struct vcpu *v, struct kvm_fpu *f)
{
	const u8 *x = v->xsave;

	memset(f, 0, sizeof(*f));
	memcpy(&f->fcw, x, 2);
	memcpy(&f->fsw, x + 2, 2);
	f->ftwx = x[4];
	memcpy(&f->last_opcode, x + 6, 2);
	memcpy(&f->last_ip, x + 8, 8);
	memcpy(&f->last_dp, x + 16, 8);
	memcpy(&f->mxcsr, x + 24, 4);
	memcpy(f->fpr, x + 32, sizeof(f->fpr));
	memcpy(f->xmm, x + 160, sizeof(f->xmm));
}

static void set_fpu(struct vcpu *v, const struct kvm_fpu *f)
{
	u8 *x = v->xsave;

	memcpy(x, &f->fcw, 2);
	memcpy(x + 2, &f->fsw, 2);
	x[4] = f->ftwx;
	memcpy(x + 6, &f->last_opcode, 2);
	memcpy(x + 8, &f->last_ip, 8);
	memcpy(x + 16, &f->last_dp, 8);
	memcpy(x + 24, &f->mxcsr, 4);
	memcpy(x + 32, f->fpr, sizeof(f->fpr));
	memcpy(x + 160, f->xmm, sizeof(f->xmm));
}

static void get_debugregs(const struct vcpu *v, struct kvm_debugregs *d)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->db, v->cpu.dr, sizeof(d->db));
	d->dr6 = v->cpu.dr[6];
	d->dr7 = v->cpu.dr[7];
}

static int set_debugregs(struct vcpu *v, const struct kvm_debugregs *d)
{
	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(v->cpu.dr, d->db, sizeof(d->db));
	v->cpu.dr[6] = d->dr6;
	v->cpu.dr[7] = d->dr7;
	return 0;
}

static void get_xcrs(const struct vcpu *v, struct kvm_xcrs *x)
{
	memset(x, 0, sizeof(*x));
	x->nr_xcrs = 1;
	x->xcrs[0].value = v->cpu.xcr0;
}

static int set_xcrs(struct vcpu *v, const struct kvm_xcrs *x)
{
	if (x->nr_xcrs > KVM_MAX_XCRS || x->flags)
		return -EINVAL;
	for (u32 i = 0; i < x->nr_xcrs; i++) {
		u64 value = x->xcrs[i].value;

		if (x->xcrs[i].xcr)
			continue;
		if ((value & ~v->cpu.xcr0_valid) || !(value & 1) || (value & 6) == 4)
			return -EINVAL;
		v->cpu.xcr0 = value;
		break;
	}
	return 0;
}

/* --- events ----------------------------------------------------------------------------------- */

static void get_events(struct vcpu *v, struct kvm_vcpu_events *e)
{
	const struct cpu_event *event = &v->cpu.event;
	u64 requests = __atomic_load_n(&v->kvm.requests, __ATOMIC_RELAXED);

	memset(e, 0, sizeof(*e));
	if (event->type == EVENT_EXCEPTION) {
		e->exception.injected = 1;
		e->exception.nr = event->vector;
		e->exception.has_error_code = event->has_error;
		e->exception.error_code = event->error;
	}
	e->interrupt.injected = event->type == EVENT_INTR || event->type == EVENT_SOFT;
	e->interrupt.soft = event->type == EVENT_SOFT;
	e->interrupt.nr = event->type == EVENT_NONE ? 0 : event->vector;
	e->interrupt.shadow = v->cpu.shadow ? KVM_X86_SHADOW_INT_STI : 0;
	e->nmi.injected = event->type == EVENT_NMI;
	e->nmi.pending = v->nmi_pending || (requests & KVM_REQ_NMI);
	e->nmi.masked = v->cpu.nmi_blocked;
	e->smi.smm = v->smm;
	e->smi.pending = v->smi_pending || (requests & KVM_REQ_SMI);
	e->smi.smm_inside_nmi = v->in_nmi;
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
		   KVM_VCPUEVENT_VALID_SMM;
}

static int set_events(struct vcpu *v, const struct kvm_vcpu_events *e)
{
	const u32 valid = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			  KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	struct cpu_event event = {0};

	if (e->flags & ~valid)
		return -EINVAL;
	if (e->exception.injected && (e->exception.nr > 31 || e->exception.nr == 2))
		return -EINVAL;
	if (e->exception.injected) {
		event.type = EVENT_EXCEPTION;
		event.vector = e->exception.nr;
		event.has_error = e->exception.has_error_code;
		event.error = e->exception.error_code;
		event.cr2 = v->cpu.cr2;
	} else if (e->nmi.injected) {
		event.type = EVENT_NMI;
		event.vector = 2;
	} else if (e->interrupt.injected) {
		event.type = e->interrupt.soft ? EVENT_SOFT : EVENT_INTR;
		event.vector = e->interrupt.nr;
	}
	if (event.type != EVENT_NONE)
		cpu_inject(&v->cpu, &event);
	else
		v->cpu.event.type = EVENT_NONE;
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		v->cpu.shadow = e->interrupt.shadow ? 1 : 0;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		v->nmi_pending = e->nmi.pending;
	v->cpu.nmi_blocked = e->nmi.masked;
	if (e->flags & KVM_VCPUEVENT_VALID_SMM) {
		v->smi_pending = e->smi.pending;
		v->in_nmi = e->smi.smm && e->smi.smm_inside_nmi;
		if (v->smm != !!e->smi.smm) {
			v->smm = e->smi.smm;
			guest_set_paging(v, guest_cr0(v), guest_cr3(v), guest_cr4(v),
					 guest_efer(v));
		}
	}
	return 0;
}

static int set_mp_state(struct vcpu *v, const struct kvm_mp_state *s)
{
	switch (s->mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_HALTED:
		if (v->vm->irqchip || v->vm->split_irqchip)
			break;
		/* fall through */
	default:
		return -EINVAL;
	}
	v->mp_state = s->mp_state;
	return 0;
}

static int interrupt(struct vcpu *v, const struct kvm_interrupt *irq)
{
	if (irq->irq > 255)
		return -EINVAL;
	if (v->vm->irqchip)
		return -ENXIO;
	if (v->irq_pending)
		return -EEXIST;
	v->pending_irq = irq->irq;
	v->irq_pending = true;
	return 0;
}

static int request(struct vcpu *v, u64 req)
{
	__atomic_fetch_or(&v->kvm.requests, req, __ATOMIC_SEQ_CST);
	hw_kick(v);
	return 0;
}

static int set_signal_mask(struct vcpu *v, const struct kvm_signal_mask *mask)
{
	v->sigmask_set = mask;
	if (!mask)
		return 0;
	if (mask->len != 8)
		return -EINVAL;
	sigemptyset(&v->sigmask);
	for (int sig = 1; sig <= 64; sig++)
		if (mask->sigset[(sig - 1) / 8] >> ((sig - 1) % 8) & 1)
			sigaddset(&v->sigmask, sig);
	return 0;
}

/* --- the rest ------------------------------------------------------------------------------------ */

static void translate_gva(struct vcpu *v, struct kvm_translation *t)
{
	struct x86_exception e = {0};
	gpa_t gpa;

	regs_to_mmu(v);
	gpa = kvm_mmu_gva_to_gpa(&v->kvm, t->linear_address, PFERR_IMPLICIT, &e);
	t->physical_address = gpa;
	t->valid = gpa != INVALID_GPA;
	t->writeable = 1;
	t->usermode = 0;
}

static int access_msrs(struct vcpu *v, struct kvm_msrs *msrs, bool write)
{
	u32 i;

	if (msrs->nmsrs > MAX_MSRS)
		return -E2BIG;
	for (i = 0; i < msrs->nmsrs; i++) {
		struct kvm_msr_entry *e = &msrs->entries[i];
		u64 value = e->data;

		if (write ? !msr_write(v, e->index, true, value)
			  : !msr_read(v, e->index, true, &value))
			break;
		e->data = value;
	}
	return i;
}

static int get_cpuid2(const struct vcpu *v, struct kvm_cpuid2 *cpuid)
{
	if (cpuid->nent < v->nr_cpuid)
		return -E2BIG;
	memcpy(cpuid->entries, v->cpuid, v->nr_cpuid * sizeof(v->cpuid[0]));
	cpuid->nent = v->nr_cpuid;
	return 0;
}

static int vcpu_ioctl_locked(struct vcpu *v, unsigned long request_nr, void *arg)
{
	switch (request_nr) {
	case KVM_GET_REGS:
		get_regs(v, arg);
		return 0;
	case KVM_SET_REGS:
		set_regs(v, arg);
		return 0;
	case KVM_GET_SREGS:
		return regs_get_sregs(v, arg);
	case KVM_SET_SREGS:
		return regs_set_sregs(v, arg);
	case KVM_GET_FPU:
		get_fpu(v, arg);
		return 0;
	case KVM_SET_FPU:
		set_fpu(v, arg);
		return 0;
	case KVM_GET_XSAVE:
		memcpy(arg, v->xsave, sizeof(v->xsave));
		return 0;
	case KVM_SET_XSAVE:
		memcpy(v->xsave, arg, sizeof(v->xsave));
		return 0;
	case KVM_GET_XCRS:
		get_xcrs(v, arg);
		return 0;
	case KVM_SET_XCRS:
		return set_xcrs(v, arg);
	case KVM_GET_DEBUGREGS:
		get_debugregs(v, arg);
		return 0;
	case KVM_SET_DEBUGREGS:
		return set_debugregs(v, arg);
	case KVM_GET_MP_STATE:
		((struct kvm_mp_state *)arg)->mp_state = v->mp_state;
		return 0;
	case KVM_SET_MP_STATE:
		return set_mp_state(v, arg);
	case KVM_GET_VCPU_EVENTS:
		get_events(v, arg);
		return 0;
	case KVM_SET_VCPU_EVENTS:
		return set_events(v, arg);
	case KVM_INTERRUPT:
		return interrupt(v, arg);
	case KVM_NMI:
		return request(v, KVM_REQ_NMI);
	case KVM_SMI:
		return request(v, KVM_REQ_SMI);
	case KVM_TRANSLATE:
		translate_gva(v, arg);
		return 0;
	case KVM_GET_MSRS:
		return access_msrs(v, arg, false);
	case KVM_SET_MSRS:
		return access_msrs(v, arg, true);
	case KVM_SET_CPUID2: {
		const struct kvm_cpuid2 *cpuid = arg;

		return cpuid_set(v, cpuid->entries, cpuid->nent);
	}
	case KVM_GET_CPUID2:
		return get_cpuid2(v, arg);
	case KVM_GET_NESTED_STATE:
		return v->vm->kvm.params.ept ? -EINVAL : svm_get_state(v, arg);
	case KVM_SET_NESTED_STATE:
		return v->vm->kvm.params.ept ? -EINVAL : svm_set_state(v, arg);
	}
	return -EINVAL;
}

int vcpu_ioctl_(struct vcpu *v, unsigned long request_nr, void *arg)
{
	int ret;

	switch (request_nr) {
	case KVM_RUN:
		return arg ? -EINVAL : vcpu_run(v);
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(v, arg);
	case KVM_GET_STATS_FD:
		return stats_fd_vcpu(v);
	case KVM_GET_TSC_KHZ:
		/* The time stamp counter is the host's own; its rate isn't known here. */
		return -EIO;
	case KVM_SET_TSC_KHZ:
		return -EINVAL;
	}
	hw_rcu_read_lock();
	audit_begin(v);
	ret = vcpu_ioctl_locked(v, request_nr, arg);
	audit_end(v);
	hw_rcu_read_unlock();
	return ret;
}
