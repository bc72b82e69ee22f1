// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE: where a vCPU stands as a hypervisor. In guest
 * mode that is the VMCB's control area as VMRUN found it and, in the VMCB's state area, L1's
 * registers. L2's are the vCPU's.
 */
#include <string.h>

#include "x86/kvm/internal.h"

#define FLAGS \
	(KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING | KVM_STATE_NESTED_GIF_SET)

u32 svm_state_size(void)
{
	return sizeof(struct kvm_nested_state) + sizeof(struct vmcb);
}

static struct svm_segment put_segment(const struct cpu_segment *s)
{
	return (struct svm_segment){
		.selector = s->sel, .attrib = s->attr, .limit = s->limit, .base = s->base};
}

static struct cpu_segment get_segment(struct svm_segment s)
{
	return (struct cpu_segment){
		.sel = s.selector, .attr = s.attrib, .limit = s.limit, .base = s.base};
}

static void put_host(const struct svm_host *h, struct vmcb *m)
{
	m->es = put_segment(&h->es);
	m->cs = put_segment(&h->cs);
	m->ss = put_segment(&h->ss);
	m->ds = put_segment(&h->ds);
	m->gdtr.base = h->gdtr.base;
	m->gdtr.limit = h->gdtr.limit;
	m->idtr.base = h->idtr.base;
	m->idtr.limit = h->idtr.limit;
	m->cr0 = h->cr0;
	m->cr3 = h->cr3;
	m->cr4 = h->cr4;
	m->efer = h->efer;
	m->rflags = h->rflags;
	m->rip = h->rip;
	m->rsp = h->rsp;
	m->rax = h->rax;
	m->g_pat = h->pat;
	m->dr6 = 0xffff0ff0;
	m->dr7 = 0x400;
}

static void get_host(struct vcpu *v, const struct vmcb *m)
{
	v->svm.host = (struct svm_host){
		.es = get_segment(m->es),
		.cs = get_segment(m->cs),
		.ss = get_segment(m->ss),
		.ds = get_segment(m->ds),
		.gdtr = {.base = m->gdtr.base, .limit = m->gdtr.limit},
		.idtr = {.base = m->idtr.base, .limit = m->idtr.limit},
		.cr0 = m->cr0,
		.cr3 = m->cr3,
		.cr4 = m->cr4,
		.efer = m->efer,
		.rflags = m->rflags,
		.rip = m->rip,
		.rsp = m->rsp,
		.rax = m->rax,
		.pat = m->g_pat,
		.cr8 = v->cpu.cr8,
		/* L1's own is what L2's is without what L1 adds. */
		.tsc_offset = v->cpu.tsc_offset - m->tsc_offset,
	};
}

int svm_get_state(struct vcpu *v, struct kvm_nested_state *user)
{
	struct kvm_nested_state state = {.format = KVM_STATE_NESTED_FORMAT_SVM,
					 .size = sizeof(state)};
	const struct svm *s = &v->svm;
	struct vmcb m;
	u32 room;

	if (user_read(&room, &user->size, sizeof(room)))
		return -EFAULT;
	if (v->kvm.regs.guest_mode) {
		state.hdr.svm.vmcb_pa = s->vmcb_gpa;
		state.size += sizeof(m);
		state.flags |= KVM_STATE_NESTED_GUEST_MODE;
		if (s->run_pending)
			state.flags |= KVM_STATE_NESTED_RUN_PENDING;
	}
	if (!s->gif_clear)
		state.flags |= KVM_STATE_NESTED_GIF_SET;
	/* How much it would be is said also where there is no room. */
	if (room < state.size)
		return user_write(&user->size, &state.size, sizeof(room)) ? -EFAULT : -E2BIG;
	if (user_write(user, &state, sizeof(state)))
		return -EFAULT;
	if (!v->kvm.regs.guest_mode)
		return 0;
	m = s->vmcb;
	put_host(&s->host, &m);
	return user_write(user->data.svm[0].vmcb12, &m, sizeof(m));
}

static int enter(struct vcpu *v, const struct kvm_nested_state *state, const struct vmcb *m)
{
	const u64 needs = CR0_PE | CR0_PG;
	struct svm *s = &v->svm;

	if ((state->hdr.svm.vmcb_pa & (SZ_4K - 1)) ||
	    state->hdr.svm.vmcb_pa >> v->kvm.regs.maxphyaddr)
		return -EINVAL;
	/* The state is L1's, which is not what nested paging's checks are about. */
	if (!svm_controls_valid(v, m) || !svm_state_valid(v, m) || (m->cr0 & needs) != needs ||
	    (m->rflags & FLAG_VM))
		return -EINVAL;
	svm_leave(v);
	s->vmcb = *m;
	s->vmcb_gpa = state->hdr.svm.vmcb_pa;
	s->gif_clear = !(state->flags & KVM_STATE_NESTED_GIF_SET);
	s->run_pending = state->flags & KVM_STATE_NESTED_RUN_PENDING;
	memset(s->msrpm, 0xff, sizeof(s->msrpm));
	guest_read(&v->kvm, m->msrpm_base & ~(SZ_4K - 1), s->msrpm, sizeof(s->msrpm));
	get_host(v, m);
	svm_guest_mode(v);
	return 0;
}

int svm_set_state(struct vcpu *v, const struct kvm_nested_state *user)
{
	struct kvm_nested_state state;
	struct vmcb m;

	if (user_read(&state, user, sizeof(state)))
		return -EFAULT;
	if (state.size < sizeof(state) || state.format != KVM_STATE_NESTED_FORMAT_SVM ||
	    (state.flags & ~FLAGS))
		return -EINVAL;
	/* Without SVM there is no way to be anywhere but here. */
	if (!(guest_efer(v) & EFER_SVME))
		return state.flags == KVM_STATE_NESTED_GIF_SET ? 0 : -EINVAL;
	/* In SMM it is off. */
	if (v->smm && (state.flags & KVM_STATE_NESTED_GUEST_MODE))
		return -EINVAL;
	if (!(state.flags & KVM_STATE_NESTED_GUEST_MODE)) {
		svm_leave(v);
		v->svm.gif_clear = !(state.flags & KVM_STATE_NESTED_GIF_SET);
		return 0;
	}
	if (state.size < sizeof(state) + sizeof(m))
		return -EINVAL;
	if (user_read(&m, user->data.svm[0].vmcb12, sizeof(m)))
		return -EFAULT;
	return enter(v, &state, &m);
}
