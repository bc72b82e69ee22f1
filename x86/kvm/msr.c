// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers: those that the software CPU has; EFER, which the MMU depends
 * on; and a few that guests and VMMs expect to be there and that do nothing.
 */
#include "x86/kvm/internal.h"

#define MSR_APIC_BASE 0x1b

/* Registers without effect: kept, in vcpu.soft_msr from @slot on. */
struct soft_range {
	u32 first, count;
	u8 slot;
	bool read_only;
	u64 value; /* of read-only ones, and at first */
};

static const struct soft_range soft[] = {
	{0x3a, 1, 0, false, 0},		  /* feature control */
	{0x8b, 1, 1, false, 0x100000000}, /* microcode revision */
	{0xfe, 1, 2, true, 0x508},	  /* MTRRs: 8 variable, fixed, WC */
	{0x179, 1, 3, true, 0},		  /* machine check banks: none */
	{0x17a, 1, 4, false, 0},	  /* machine check status */
	{0x200, 16, 5, false, 0},	  /* variable MTRRs */
	{0x250, 1, 21, false, 0x0606060606060606},
	{0x258, 2, 22, false, 0x0606060606060606},
	{0x268, 8, 24, false, 0x0606060606060606},
	{0x2ff, 1, 32, false, 0x806},  /* MTRR default type */
	{0xce, 1, 33, true, 0},	       /* platform info */
	{0xc0010010, 1, 34, false, 0}, /* SYSCFG */
	{0xc0010015, 1, 35, false, 0}, /* HWCR */
	{0xc001001f, 1, 36, false, 0}, /* north bridge configuration */
	{0xc0010140, 2, 37, false, 0}, /* OS visible workarounds */
};

static u64 *soft_msr(struct vcpu *v, u32 msr, const struct soft_range **range)
{
	for (u32 i = 0; i < ARRAY_LEN(soft); i++) {
		*range = &soft[i];
		if (msr - soft[i].first < soft[i].count)
			return &v->soft_msr[soft[i].slot + msr - soft[i].first];
	}
	return NULL;
}

bool msr_read(struct vcpu *v, u32 msr, bool host, u64 *value)
{
	const struct soft_range *range;
	u64 *kept;

	(void)host;
	if (msr == MSR_EFER) {
		*value = guest_efer(v);
		return true;
	}
	if ((msr == MSR_VM_HSAVE || msr == MSR_VM_CR) && !v->vm->kvm.params.ept) {
		*value = msr == MSR_VM_CR ? v->svm.vm_cr : v->svm.hsave_pa;
		return true;
	}
	if (cpu_has_msr(msr))
		return cpu_read_msr(&v->cpu, msr, value);
	kept = soft_msr(v, msr, &range);
	*value = kept ? *kept ^ range->value : 0;
	return kept;
}

bool msr_write(struct vcpu *v, u32 msr, bool host, u64 value)
{
	const struct soft_range *range;
	u64 *kept;

	if (msr == MSR_EFER)
		return guest_write_efer(v, value);
	if (msr == MSR_VM_HSAVE && !v->vm->kvm.params.ept)
		return svm_write_hsave(v, value, host);
	if (msr == MSR_VM_CR && !v->vm->kvm.params.ept)
		return svm_write_vm_cr(v, value);
	if (msr == MSR_APIC_BASE && value >> v->kvm.regs.maxphyaddr)
		return false;
	if (cpu_has_msr(msr))
		return cpu_write_msr(&v->cpu, msr, value);
	kept = soft_msr(v, msr, &range);
	if (!kept || (range->read_only && !(host && value == range->value)))
		return false;
	/* Kept as the difference, so that a new vCPU's zeros are the initial values. */
	*kept = value ^ range->value;
	return true;
}

int msr_index_list(struct kvm_msr_list *list)
{
	static const u32 of_the_cpu[] = {
		0x10,	    MSR_APIC_BASE, 0x174,      0x175,	   0x176,      0x1a0,
		0x277,	    MSR_EFER,	   0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
		0xc0000100, 0xc0000101,	   0xc0000102, 0xc0000103,
	};
	u32 n = ARRAY_LEN(of_the_cpu), room = list->nmsrs, at = n;

	for (u32 i = 0; i < ARRAY_LEN(soft); i++)
		n += soft[i].count;
	list->nmsrs = n;
	if (room < n)
		return -E2BIG;
	for (u32 i = 0; i < at; i++)
		list->indices[i] = of_the_cpu[i];
	for (u32 i = 0; i < ARRAY_LEN(soft); i++)
		for (u32 j = 0; j < soft[i].count; j++)
			list->indices[at++] = soft[i].first + j;
	return 0;
}

/* Shadow paging: the processor's EFER is ours. */
bool msr_intercept(void *arg, u32 msr, bool write)
{
	(void)arg;
	(void)write;
	return msr == MSR_EFER;
}
