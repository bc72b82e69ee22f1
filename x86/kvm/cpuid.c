// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what guests can be offered, the same on every host, and what one vCPU was given.
 */
#include <string.h>

#include "x86/kvm/internal.h"

#define SVMD_NP	       BIT(0) /* of 0x8000000a */
#define SVMD_NRIPS     BIT(3)
#define SVMD_FLUSHASID BIT(6)
#define SVM_ASIDS      8
#define F1C_SSE3       BIT(0)
#define F1C_PCID       BIT(17)
#define F1C_MOVBE      BIT(22)
#define F1C_POPCNT     BIT(23)
#define F1C_XSAVE      BIT(26)
#define F1C_OSXSAVE    BIT(27)
#define F1C_HYPERVISOR BIT(31)
#define F7B_FSGSBASE   BIT(0)
#define F7B_BMI1       BIT(3)
#define F7B_SMEP       BIT(7)
#define F7B_BMI2       BIT(8)
#define F7B_INVPCID    BIT(10)
#define F7B_ADX	       BIT(19)
#define F7B_SMAP       BIT(20)
#define F7C_UMIP       BIT(2)
#define F7C_PKU	       BIT(3)
#define F7C_OSPKE      BIT(4)
#define F7C_LA57       BIT(16)
#define F7C_RDPID      BIT(22)
#define E1C_LAHF       BIT(0)
#define E1C_SVM	       BIT(2)
#define E1C_LZCNT      BIT(5)
#define E1D_SYSCALL    BIT(11)
#define E1D_NX	       BIT(20)
#define E1D_GBPAGES    BIT(26)
#define E1D_RDTSCP     BIT(27)
#define E1D_LM	       BIT(29)

/* FPU VME DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFLUSH, FXSR SSE SSE2 kept for user space. */
#define F1D_FEATURES 0x070bab7fu
/* What leaf 0x80000001's EDX repeats of it on AMD. */
#define F1D_REPEATED 0x0103a37fu

struct leaf {
	u32 function, index;
	bool indexed;
	u32 eax, ebx, ecx, edx;
};

static void put_name(struct kvm_cpuid_entry2 *e, const char *name)
{
	memcpy(&e->ebx, name, 4);
	memcpy(&e->edx, name + 4, 4);
	memcpy(&e->ecx, name + 8, 4);
}

static struct kvm_cpuid_entry2 *add(struct kvm_cpuid_entry2 *entries, u32 *n, struct leaf l)
{
	struct kvm_cpuid_entry2 *e = &entries[(*n)++];

	*e = (struct kvm_cpuid_entry2){
		.function = l.function,
		.index = l.index,
		.flags = l.indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = l.eax,
		.ebx = l.ebx,
		.ecx = l.ecx,
		.edx = l.edx,
	};
	return e;
}

#define NR_SUPPORTED 24

/* All leaves, in order; how many. */
static u32 build(struct kvm_cpuid_entry2 *e)
{
	struct mmu_params p = params_now();
	bool intel = p.ept;
	const char *vendor = intel ? "GenuineIntel" : "AuthenticAMD";
	/* Keys are the processor's to check: under shadow paging nobody does. */
	u32 pku = mmu_params_tdp(&p) ? F7C_PKU : 0, n = 0;

	put_name(add(e, &n, (struct leaf){.function = 0, .eax = 0xd}), vendor);
	add(e, &n,
	    (struct leaf){.function = 1,
			  .eax = intel ? 0x000906a0 : 0x00a20f10,
			  .ebx = 0x00010800,
			  .ecx = F1C_PCID | F1C_MOVBE | F1C_POPCNT | F1C_XSAVE | F1C_HYPERVISOR,
			  .edx = F1D_FEATURES});
	if (intel)
		add(e, &n, (struct leaf){.function = 2, .eax = 1});
	add(e, &n, (struct leaf){.function = 4, .indexed = true});
	add(e, &n,
	    (struct leaf){.function = 7,
			  .indexed = true,
			  .ebx = F7B_FSGSBASE | F7B_BMI1 | F7B_SMEP | F7B_BMI2 | F7B_INVPCID |
				 F7B_ADX | F7B_SMAP,
			  .ecx = F7C_UMIP | pku | F7C_LA57 | F7C_RDPID});
	add(e, &n, (struct leaf){.function = 0xb, .indexed = true, .ebx = 1, .ecx = 0x100});
	add(e, &n,
	    (struct leaf){.function = 0xb, .index = 1, .indexed = true, .ebx = 1, .ecx = 0x201});
	add(e, &n,
	    (struct leaf){.function = 0xd, .indexed = true, .eax = 7, .ebx = 832, .ecx = 832});
	add(e, &n, (struct leaf){.function = 0xd, .index = 1, .indexed = true});
	add(e, &n,
	    (struct leaf){.function = 0xd, .index = 2, .indexed = true, .eax = 256, .ebx = 576});
	add(e, &n, (struct leaf){.function = 0x40000000, .eax = 0x40000000});
	put_name(&e[n - 1], "MMUSCOPEKVM");
	put_name(add(e, &n,
		     (struct leaf){.function = 0x80000000, .eax = intel ? 0x80000008 : 0x8000000a}),
		 vendor);
	if (intel)
		e[n - 1].ebx = e[n - 1].ecx = e[n - 1].edx = 0;
	add(e, &n,
	    (struct leaf){.function = 0x80000001,
			  .ecx = E1C_LAHF | E1C_LZCNT | (intel ? 0 : E1C_SVM),
			  .edx = E1D_SYSCALL | E1D_NX | E1D_GBPAGES | E1D_RDTSCP | E1D_LM |
				 (intel ? 0 : F1D_REPEATED)});
	for (u32 i = 0; i < 3; i++) {
		static const char name[48] = "mmuscope software processor";
		u32 words[4];

		memcpy(words, name + 16 * i, 16);
		add(e, &n,
		    (struct leaf){.function = 0x80000002 + i,
				  .eax = words[0],
				  .ebx = words[1],
				  .ecx = words[2],
				  .edx = words[3]});
	}
	add(e, &n, (struct leaf){.function = 0x80000007, .edx = BIT(8)});
	/* Linear addresses of 57 bits; the guest's CR4 decides. */
	add(e, &n, (struct leaf){.function = 0x80000008, .eax = p.maxphyaddr | 57 << 8});
	/* A guest's own guests have nested paging where it has itself. */
	if (!intel)
		add(e, &n,
		    (struct leaf){.function = 0x8000000a,
				  .eax = 1,
				  .ebx = SVM_ASIDS,
				  .edx = SVMD_NRIPS | SVMD_FLUSHASID |
					 (mmu_params_tdp(&p) ? SVMD_NP : 0)});
	return n;
}

int cpuid_supported(struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 entries[NR_SUPPORTED];
	u32 n;

	if (cpuid->nent < 1)
		return -E2BIG;
	n = build(entries);
	if (cpuid->nent < n)
		return -E2BIG;
	memcpy(cpuid->entries, entries, n * sizeof(entries[0]));
	cpuid->nent = n;
	return 0;
}

static const struct kvm_cpuid_entry2 *find(const struct vcpu *v, u32 function, u32 index)
{
	for (u32 i = 0; i < v->nr_cpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &v->cpuid[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

/* Which bits of CR4 go with which feature. */
static u64 cr4_valid(u32 f1c, u32 f7b, u32 f7c)
{
	u64 valid = 0x7ff; /* VME to OSXMMEXCPT: always there */

	valid |= f1c & F1C_PCID ? CR4_PCIDE : 0;
	valid |= f1c & F1C_XSAVE ? CR4_OSXSAVE : 0;
	valid |= f7b & F7B_FSGSBASE ? CR4_FSGSBASE : 0;
	valid |= f7b & F7B_SMEP ? CR4_SMEP : 0;
	valid |= f7b & F7B_SMAP ? CR4_SMAP : 0;
	valid |= f7c & F7C_UMIP ? CR4_UMIP : 0;
	valid |= f7c & F7C_PKU ? CR4_PKE : 0;
	valid |= f7c & F7C_LA57 ? CR4_LA57 : 0;
	return valid;
}

int cpuid_set(struct vcpu *v, const struct kvm_cpuid_entry2 *entries, u32 nent)
{
	struct kvm_paging_regs *r = &v->kvm.regs;
	const struct kvm_cpuid_entry2 *e1, *e7, *ext, *size, *vendor;
	u32 width;

	if (nent > MAX_CPUID)
		return -E2BIG;
	for (u32 i = 0; i < nent; i++) {
		/* Linear addresses have 48 or 57 bits, or the leaf doesn't say. */
		u32 lin = entries[i].eax >> 8 & 0xff;

		if (entries[i].function == 0x80000008 && lin != 0 && lin != 48 && lin != 57)
			return -EINVAL;
	}
	memcpy(v->cpuid, entries, nent * sizeof(*entries));
	v->nr_cpuid = nent;
	e1 = find(v, 1, 0);
	e7 = find(v, 7, 0);
	ext = find(v, 0x80000001, 0);
	size = find(v, 0x80000008, 0);
	vendor = find(v, 0, 0);
	v->cpu.cr4_valid = cr4_valid(e1 ? e1->ecx : 0, e7 ? e7->ebx : 0, e7 ? e7->ecx : 0);
	v->invpcid_hidden = !(e7 && (e7->ebx & F7B_INVPCID));
	v->cpu.efer_valid = EFER_SCE;
	if (ext && (ext->edx & E1D_LM))
		v->cpu.efer_valid |= EFER_LME | EFER_LMA;
	if (ext && (ext->edx & E1D_NX))
		v->cpu.efer_valid |= EFER_NX;
	v->svm.capable = ext && (ext->ecx & E1C_SVM) && !v->vm->kvm.params.ept;
	svm_set_capable(v);
	width = size ? size->eax & 0xff : 36;
	r->maxphyaddr = width < 32 ? 32 : width > 52 ? 52 : width;
	r->gbpages = ext && (ext->edx & E1D_GBPAGES);
	/* The processor's own walk knows of no other kind of entry than it has itself. */
	if (vm_tdp(v->vm))
		r->gbpages = true;
	r->nx = ext && (ext->edx & E1D_NX);
	r->la57 = e7 && (e7->ecx & F7C_LA57);
	r->amd = vendor ? vendor->ebx == 0x68747541 : !v->vm->kvm.params.ept;
	regs_to_mmu(v);
	kvm_mmu_after_set_cpuid(&v->kvm);
	return 0;
}

/* Out of range: Intel answers with the last basic leaf, AMD with zeros. */
static const struct kvm_cpuid_entry2 *find_in_range(const struct vcpu *v, u32 function, u32 index)
{
	const struct kvm_cpuid_entry2 *e = find(v, function, index), *basic;

	if (e || v->kvm.regs.amd)
		return e;
	basic = find(v, 0, 0);
	if (!basic || (function < 0x80000000 && function <= basic->eax) ||
	    (function >> 16) == 0x4000)
		return NULL;
	if (function >= 0x80000000) {
		const struct kvm_cpuid_entry2 *top = find(v, 0x80000000, 0);

		if (top && function <= top->eax)
			return NULL;
	}
	return find(v, basic->eax, index);
}

void cpuid_execute(struct vcpu *v)
{
	struct cpu *c = &v->cpu;
	u32 function = c->gpr[GPR_RAX], index = c->gpr[GPR_RCX], ecx, edx;
	const struct kvm_cpuid_entry2 *e = find_in_range(v, function, index);

	ecx = e ? e->ecx : 0;
	edx = e ? e->edx : 0;
	/* Bits that follow control registers. */
	if (e && e->function == 1 && (ecx & F1C_XSAVE)) {
		ecx &= ~(u32)F1C_OSXSAVE;
		ecx |= guest_cr4(v) & CR4_OSXSAVE ? F1C_OSXSAVE : 0;
	}
	if (e && e->function == 7 && e->index == 0 && (ecx & F7C_PKU)) {
		ecx &= ~(u32)F7C_OSPKE;
		ecx |= guest_cr4(v) & CR4_PKE ? F7C_OSPKE : 0;
	}
	if (!e && function == 0xb) {
		/* Levels that aren't there still say which was asked for. */
		ecx = index & 0xff;
		edx = v->id;
	}
	c->gpr[GPR_RAX] = e ? e->eax : 0;
	c->gpr[GPR_RBX] = e ? e->ebx : 0;
	c->gpr[GPR_RCX] = ecx;
	c->gpr[GPR_RDX] = edx;
}
