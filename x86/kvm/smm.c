// SPDX-License-Identifier: GPL-2.0-only
/*
 * System management mode: an SMI saves the processor's state at SMBASE, in the layout of
 * AMD64 processors, and continues in 16-bit code there; RSM takes the state back from
 * memory, as the handler has left it. In between the vCPU is in address space 1.
 */
#include <string.h>

#include "x86/kvm/internal.h"

#define SAVE_OFFSET 0xfe00
#define SAVE_SIZE   0x200
#define HANDLER	    0x8000
#define REVISION    0x20064
#define SMBASE_MASK 0x20000 /* of REVISION: SMBASE may be moved by the handler */

/* Offsets from SAVE_OFFSET, APM vol. 2 table 10-1. */
enum {
	SAVE_ES = 0x00, /* 16 bytes each: ES CS SS DS FS GS GDTR LDTR IDTR TR */
	SAVE_GDTR = 0x60,
	SAVE_LDTR = 0x70,
	SAVE_IDTR = 0x80,
	SAVE_TR = 0x90,
	SAVE_HALTED = 0xc9, /* auto halt restart */
	SAVE_EFER = 0xd0,
	SAVE_REVISION = 0xfc,
	SAVE_SMBASE = 0x100,
	SAVE_CR4 = 0x148,
	SAVE_CR3 = 0x150,
	SAVE_CR0 = 0x158,
	SAVE_DR7 = 0x160,
	SAVE_DR6 = 0x168,
	SAVE_RFLAGS = 0x170,
	SAVE_RIP = 0x178,
	SAVE_R15 = 0x180, /* … downwards to RAX */
};

static void put(u8 *save, unsigned int at, u64 value, unsigned int size)
{
	memcpy(save + at, &value, size);
}

static u64 get(const u8 *save, unsigned int at, unsigned int size)
{
	u64 value = 0;

	memcpy(&value, save + at, size);
	return value;
}

static void put_segment(u8 *save, unsigned int at, const struct cpu_segment *s)
{
	put(save, at, s->sel, 2);
	put(save, at + 2, s->attr, 2);
	put(save, at + 4, s->limit, 4);
	put(save, at + 8, s->base, 8);
}

static struct cpu_segment get_segment(const u8 *save, unsigned int at)
{
	return (struct cpu_segment){
		.sel = get(save, at, 2),
		.attr = get(save, at + 2, 2),
		.limit = get(save, at + 4, 4),
		.base = get(save, at + 8, 8),
	};
}

static void save_state(struct vcpu *v, u8 *save)
{
	const struct cpu *c = &v->cpu;

	for (unsigned int i = SEG_ES; i <= SEG_GS; i++)
		put_segment(save, SAVE_ES + 16 * i, &c->seg[i]);
	put_segment(save, SAVE_LDTR, &c->seg[SEG_LDTR]);
	put_segment(save, SAVE_TR, &c->seg[SEG_TR]);
	put(save, SAVE_GDTR + 4, c->gdtr.limit, 4);
	put(save, SAVE_GDTR + 8, c->gdtr.base, 8);
	put(save, SAVE_IDTR + 4, c->idtr.limit, 4);
	put(save, SAVE_IDTR + 8, c->idtr.base, 8);
	put(save, SAVE_HALTED, v->mp_state == KVM_MP_STATE_HALTED, 1);
	put(save, SAVE_EFER, guest_efer(v), 8);
	put(save, SAVE_REVISION, REVISION, 4);
	put(save, SAVE_SMBASE, v->smbase, 4);
	put(save, SAVE_CR4, guest_cr4(v), 8);
	put(save, SAVE_CR3, guest_cr3(v), 8);
	put(save, SAVE_CR0, guest_cr0(v), 8);
	put(save, SAVE_DR7, c->dr[7], 8);
	put(save, SAVE_DR6, c->dr[6], 8);
	put(save, SAVE_RFLAGS, c->rflags, 8);
	put(save, SAVE_RIP, c->rip, 8);
	for (unsigned int i = 0; i < GPR_COUNT; i++)
		put(save, SAVE_R15 + 8 * (15 - i), c->gpr[i], 8);
}

void smm_enter(struct vcpu *v)
{
	const struct cpu_segment data = {.attr = SEG_P | SEG_S | SEG_G | 3, .limit = 0xffffffff};
	struct cpu *c = &v->cpu;
	u8 save[SAVE_SIZE] = {0};

	cpu_abandon(c);
	save_state(v, save);
	v->smm = true;
	v->kvm.regs.smm = true;
	/* In SMM's own memory; where there is none the handler won't find its way back. */
	if (guest_write(&v->kvm, (u64)v->smbase + SAVE_OFFSET, save, sizeof(save))) {
		v->smm = v->kvm.regs.smm = false;
		__atomic_fetch_or(&v->kvm.requests, KVM_REQ_TRIPLE_FAULT, __ATOMIC_SEQ_CST);
		return;
	}
	/* RSM returns to the nested guest; until then it is as if there were none. */
	v->svm.smm_guest = v->kvm.regs.guest_mode;
	v->kvm.regs.guest_mode = false;
	v->in_nmi = c->nmi_blocked;
	c->nmi_blocked = true;
	c->rflags = RFLAGS_FIXED;
	c->rip = HANDLER;
	c->shadow = 0;
	c->dr[7] = 0x400;
	c->idtr = (struct cpu_table){0};
	for (unsigned int i = SEG_ES; i <= SEG_GS; i++)
		c->seg[i] = data;
	c->seg[SEG_CS].sel = v->smbase >> 4;
	c->seg[SEG_CS].base = v->smbase;
	c->mmu.cpl = 0;
	guest_set_paging(v, guest_cr0(v) & ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG), guest_cr3(v), 0,
			 0);
}

/* Whether the handler has left control registers that can be loaded. */
static bool state_valid(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
	if ((cr4 & ~v->cpu.cr4_valid) || (efer & ~v->cpu.efer_valid) || cr0 >> 32)
		return false;
	if ((cr0 & CR0_PG) && !(cr0 & CR0_PE))
		return false;
	if ((efer & EFER_LMA) && !(cr4 & CR4_PAE))
		return false;
	return !((cr0 & CR0_PG) && (efer & EFER_LMA) && cr3 >> v->kvm.regs.maxphyaddr);
}

static int shutdown(struct vcpu *v)
{
	__atomic_fetch_or(&v->kvm.requests, KVM_REQ_TRIPLE_FAULT, __ATOMIC_SEQ_CST);
	return 1;
}

int smm_leave(struct vcpu *v)
{
	u64 cr0, cr3, cr4, efer;
	struct cpu *c = &v->cpu;
	u8 save[SAVE_SIZE];

	if (guest_read(&v->kvm, (u64)v->smbase + SAVE_OFFSET, save, sizeof(save)))
		return shutdown(v);
	cr0 = get(save, SAVE_CR0, 8);
	cr3 = get(save, SAVE_CR3, 8);
	cr4 = get(save, SAVE_CR4, 8);
	efer = get(save, SAVE_EFER, 8);
	if (!(cr0 & CR0_PG))
		efer &= ~EFER_LMA;
	if (!state_valid(v, cr0, cr3, cr4, efer))
		return shutdown(v);
	for (unsigned int i = SEG_ES; i <= SEG_GS; i++)
		c->seg[i] = get_segment(save, SAVE_ES + 16 * i);
	c->seg[SEG_LDTR] = get_segment(save, SAVE_LDTR);
	c->seg[SEG_TR] = get_segment(save, SAVE_TR);
	c->gdtr.limit = get(save, SAVE_GDTR + 4, 4);
	c->gdtr.base = get(save, SAVE_GDTR + 8, 8);
	c->idtr.limit = get(save, SAVE_IDTR + 4, 4);
	c->idtr.base = get(save, SAVE_IDTR + 8, 8);
	c->dr[7] = get(save, SAVE_DR7, 4) | 0x400;
	c->dr[6] = get(save, SAVE_DR6, 4) | 0xffff0ff0;
	c->rflags = get(save, SAVE_RFLAGS, 4) | RFLAGS_FIXED;
	c->rip = get(save, SAVE_RIP, 8);
	for (unsigned int i = 0; i < GPR_COUNT; i++)
		c->gpr[i] = get(save, SAVE_R15 + 8 * (15 - i), 8);
	if (REVISION & SMBASE_MASK)
		v->smbase = get(save, SAVE_SMBASE, 4);
	if (get(save, SAVE_HALTED, 1) & 1)
		v->mp_state = KVM_MP_STATE_HALTED;
	c->mmu.cpl = cr0 & CR0_PE ? SEG_DPL(c->seg[SEG_SS].attr) : 0;
	c->nmi_blocked = v->in_nmi;
	cpu_abandon(c);
	v->smm = false;
	v->kvm.regs.guest_mode = v->svm.smm_guest;
	v->svm.smm_guest = false;
	guest_set_paging(v, cr0, cr3, cr4, efer);
	if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA) && !guest_load_pdptrs(v, cr3))
		return shutdown(v);
	return 1;
}
