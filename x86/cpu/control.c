// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control registers and MSRs: what may be written when, and what a write does to
 * the TLB (SDM vol. 3 2.5, 4.10.4; vol. 4).
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

#define CR3_PWT BIT(3)
#define CR3_PCD BIT(4)

#define MSR_TSC		   0x10
#define MSR_APIC_BASE	   0x1b
#define MSR_SYSENTER_CS	   0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MISC_ENABLE	   0x1a0
#define MSR_PAT		   0x277
#define MSR_STAR	   0xc0000081
#define MSR_LSTAR	   0xc0000082
#define MSR_CSTAR	   0xc0000083
#define MSR_SFMASK	   0xc0000084
#define MSR_FS_BASE	   0xc0000100
#define MSR_GS_BASE	   0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX	   0xc0000103

u64 read_tsc(const struct cpu *cpu)
{
	return __builtin_ia32_rdtsc() + cpu->tsc_offset;
}

static u16 pcid(const struct cpu *cpu)
{
	return cpu->mmu.cr4 & CR4_PCIDE ? cpu->mmu.cr3 & CR3_PCID_MASK : 0;
}

/*
 * PAE paging keeps its top level in registers, which MOV to CR loads. Fails with
 * WALK_PDPTE for #GP; nested faults are told as walk() does. With NPT there are no
 * such registers.
 */
static bool load_pdptes(struct cpu *cpu, struct mmu_regs *new, struct translation *t)
{
	if (!(new->cr0 &CR0_PG) || !(new->cr4 &CR4_PAE) || (new->efer &EFER_LMA))
		return true;
	if (cpu->nested && cpu->nested->kind == NESTED_NPT)
		return true;
	*t = walk_load_pdptes(cpu->phys, new, cpu->nested, new->cr3, new->pdpte);
	return t->outcome == WALK_OK;
}

static bool write_cr0(struct cpu *cpu, u64 value, struct translation *t)
{
	struct mmu_regs new = cpu->mmu;
	u64 old = cpu->mmu.cr0, valid = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE |
					CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

	if (value >> 32)
		return false;
	value = (value & valid) | CR0_ET;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return false;
	new.cr0 = value;
	if ((value & ~old & CR0_PG) && (new.efer &EFER_LME)) {
		if (!(new.cr4 &CR4_PAE) || (cpu->seg[SEG_CS].attr & SEG_L))
			return false;
		new.efer |= EFER_LMA;
	}
	if (old & ~value & CR0_PG) {
		if (in_64(cpu) || (new.cr4 &CR4_PCIDE))
			return false;
		new.efer &= ~EFER_LMA;
	}
	if (((old ^ value) & (CR0_PG | CR0_CD | CR0_NW)) && !load_pdptes(cpu, &new, t))
		return false;
	cpu->mmu = new;
	tlb_mov_cr0(cpu->tlb, cpu->mmu.asid, old, value);
	cpu_sync(cpu);
	return true;
}

static bool write_cr3(struct cpu *cpu, u64 value, struct translation *t)
{
	struct mmu_regs new = cpu->mmu;
	u64 kept = value;

	if (new.efer & EFER_LMA) {
		if (new.cr4 & CR4_PCIDE)
			kept &= ~CR3_NOFLUSH;
		if (kept >> new.maxphyaddr)
			return false;
	} else {
		kept = (u32)kept;
	}
	new.cr3 = kept;
	if (!load_pdptes(cpu, &new, t))
		return false;
	cpu->mmu = new;
	tlb_mov_cr3(cpu->tlb, cpu->mmu.asid, cpu->mmu.cr4, value);
	return true;
}

static bool write_cr4(struct cpu *cpu, u64 value, struct translation *t)
{
	struct mmu_regs new = cpu->mmu;
	u64 old = cpu->mmu.cr4, loads = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;

	if (value & ~cpu->cr4_valid)
		return false;
	if (new.efer & EFER_LMA) {
		if (!(value & CR4_PAE) || ((old ^ value) & CR4_LA57))
			return false;
	} else if (value & CR4_PCIDE) {
		return false;
	}
	if ((value & ~old & CR4_PCIDE) && (new.cr3 &CR3_PCID_MASK))
		return false;
	new.cr4 = value;
	if (((old ^ value) & loads) && !load_pdptes(cpu, &new, t))
		return false;
	tlb_mov_cr4(cpu->tlb, cpu->mmu.asid, pcid(cpu), old, value);
	cpu->mmu = new;
	return true;
}

static bool write_cr(struct cpu *cpu, unsigned int nr, u64 value, struct translation *t)
{
	cpu->epoch++;
	switch (nr) {
	case 0:
		return write_cr0(cpu, value, t);
	case 2:
		cpu->cr2 = value;
		return true;
	case 3:
		return write_cr3(cpu, value, t);
	case 4:
		return write_cr4(cpu, value, t);
	case 8:
		if (value >> 4)
			return false;
		cpu->cr8 = value;
		return true;
	}
	return false;
}

bool cpu_write_cr(struct cpu *cpu, unsigned int nr, u64 value)
{
	struct translation t;

	return write_cr(cpu, nr, value, &t);
}

static void write_cr_or_raise(struct cpu *cpu, unsigned int nr, u64 value)
{
	struct translation t = {.outcome = WALK_PDPTE};

	if (write_cr(cpu, nr, value, &t))
		return;
	if (t.outcome == WALK_PDPTE || t.outcome == WALK_OK)
		raise_gp(cpu);
	fail_access(cpu, &t, value, ACCESS_READ);
}

static void leave_cr(struct cpu *cpu, unsigned int nr, bool write, u8 gpr, u64 value)
{
	cpu->exit.nr = nr;
	cpu->exit.write = write;
	cpu->exit.gpr = gpr;
	cpu->exit.value = value;
	leave(cpu, EXIT_CR);
}

EXEC(mov_cr)
{
	bool write = insn->op[0].kind == OPND_CR;
	unsigned int nr = insn->op[!write].reg, gpr = insn->op[write].reg;
	unsigned int size = in_64(cpu) ? 8 : 4;
	u64 value;

	if ((nr != 0 && nr != 2 && nr != 3 && nr != 4 && nr != 8))
		raise_ud(cpu);
	if (cpl(cpu))
		raise_gp(cpu);
	if (write) {
		value = gpr_read(cpu, gpr, size);
		if (cpu->intercept.cr_write >> nr & 1)
			leave_cr(cpu, nr, true, gpr, value);
		write_cr_or_raise(cpu, nr, value);
		return;
	}
	value = nr == 0	  ? cpu->mmu.cr0
		: nr == 2 ? cpu->cr2
		: nr == 3 ? cpu->mmu.cr3
		: nr == 4 ? cpu->mmu.cr4
			  : cpu->cr8;
	if (cpu->intercept.cr_read >> nr & 1)
		leave_cr(cpu, nr, false, gpr, value);
	gpr_write(cpu, gpr, size, value);
}

EXEC(lmsw)
{
	u64 low = CR0_PE | CR0_MP | CR0_EM | CR0_TS, value = op_read(cpu, insn, 0);

	if (cpl(cpu))
		raise_gp(cpu);
	/* It can set PE but not clear it. */
	value = (cpu->mmu.cr0 & ~(low & ~CR0_PE)) | (value & low);
	if (cpu->intercept.cr_write & 1)
		leave_cr(cpu, 0, true, 0, value);
	write_cr_or_raise(cpu, 0, value);
}

EXEC(smsw)
{
	if ((cpu->mmu.cr4 & CR4_UMIP) && cpl(cpu))
		raise_gp(cpu);
	if (cpu->intercept.cr_read & 1)
		leave_cr(cpu, 0, false, 0, cpu->mmu.cr0);
	op_write(cpu, insn, 0, cpu->mmu.cr0);
}

EXEC(clts)
{
	if (cpl(cpu))
		raise_gp(cpu);
	if (cpu->intercept.cr_write & 1)
		leave_cr(cpu, 0, true, 0, cpu->mmu.cr0 & ~CR0_TS);
	cpu->mmu.cr0 &= ~CR0_TS;
}

/* Breakpoints are kept, not acted on. */
EXEC(mov_dr)
{
	bool write = insn->op[0].kind == OPND_DR;
	unsigned int nr = insn->op[!write].reg, gpr = insn->op[write].reg;
	unsigned int size = in_64(cpu) ? 8 : 4;
	u64 value = gpr_read(cpu, gpr, size);

	if (nr > 7 || ((nr == 4 || nr == 5) && (cpu->mmu.cr4 & BIT(3))))
		raise_ud(cpu);
	if (cpl(cpu))
		raise_gp(cpu);
	if ((write ? cpu->intercept.dr_write : cpu->intercept.dr_read) >> nr & 1) {
		cpu->exit.nr = nr;
		cpu->exit.write = write;
		cpu->exit.gpr = gpr;
		cpu->exit.value = value;
		leave(cpu, EXIT_DR);
	}
	if (nr == 4 || nr == 5)
		nr += 2;
	if (!write) {
		gpr_write(cpu, gpr, size, cpu->dr[nr]);
		return;
	}
	if (nr >= 6) {
		if (value >> 32)
			raise_gp(cpu);
		value = nr == 6 ? (value & 0x1e00f) | 0xfffe0ff0 : (value & 0xffff2fff) | 0x400;
	}
	cpu->dr[nr] = value;
}

/* --- MSRs ---------------------------------------------------------------------------- */

static u64 *msr_field(struct cpu *cpu, u32 msr)
{
	switch (msr) {
	case MSR_APIC_BASE:
		return &cpu->apic_base;
	case MSR_SYSENTER_CS:
		return &cpu->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &cpu->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &cpu->sysenter_eip;
	case MSR_MISC_ENABLE:
		return &cpu->misc_enable;
	case MSR_PAT:
		return &cpu->pat;
	case MSR_EFER:
		return &cpu->mmu.efer;
	case MSR_STAR:
		return &cpu->star;
	case MSR_LSTAR:
		return &cpu->lstar;
	case MSR_CSTAR:
		return &cpu->cstar;
	case MSR_SFMASK:
		return &cpu->sfmask;
	case MSR_FS_BASE:
		return &cpu->seg[SEG_FS].base;
	case MSR_GS_BASE:
		return &cpu->seg[SEG_GS].base;
	case MSR_KERNEL_GS_BASE:
		return &cpu->kernel_gs_base;
	case MSR_TSC_AUX:
		return &cpu->tsc_aux;
	}
	return NULL;
}

bool cpu_has_msr(u32 msr)
{
	static struct cpu none;

	return msr == MSR_TSC || msr_field(&none, msr);
}

bool cpu_read_msr(struct cpu *cpu, u32 msr, u64 *value)
{
	u64 *field = msr_field(cpu, msr);

	*value = field ? *field : msr == MSR_TSC ? read_tsc(cpu) : 0;
	return field || msr == MSR_TSC;
}

static bool pat_valid(u64 pat)
{
	for (unsigned int i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
			return false;
	return true;
}

bool cpu_write_msr(struct cpu *cpu, u32 msr, u64 value)
{
	u64 *field = msr_field(cpu, msr);

	switch (msr) {
	case MSR_TSC:
		cpu->tsc_offset += value - read_tsc(cpu);
		return true;
	case MSR_EFER:
		if (value & ~cpu->efer_valid)
			return false;
		if (((value ^ cpu->mmu.efer) & EFER_LME) && (cpu->mmu.cr0 & CR0_PG))
			return false;
		value = (value & ~EFER_LMA) | (cpu->mmu.efer & EFER_LMA);
		cpu->epoch++;
		break;
	case MSR_PAT:
		if (!pat_valid(value))
			return false;
		break;
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP:
		if (!canonical(cpu, value))
			return false;
		break;
	case MSR_TSC_AUX:
		if (value >> 32)
			return false;
		break;
	}
	if (!field)
		return false;
	*field = value;
	return true;
}

/* RDMSR (arg 0) and WRMSR (1). */
EXEC(msr)
{
	u32 msr = cpu->gpr[GPR_RCX];
	u64 value = gpr_read(cpu, GPR_RAX, 4) | gpr_read(cpu, GPR_RDX, 4) << 32;

	if (cpl(cpu))
		raise_gp(cpu);
	if ((cpu->intercept.insns & ICPT_MSR) || !cpu_has_msr(msr) ||
	    (cpu->intercept.msr && cpu->intercept.msr(cpu->intercept.arg, msr, insn->arg))) {
		cpu->exit.nr = msr;
		cpu->exit.write = insn->arg;
		cpu->exit.value = value;
		leave(cpu, EXIT_MSR);
	}
	if (insn->arg) {
		if (!cpu_write_msr(cpu, msr, value))
			raise_gp(cpu);
		return;
	}
	cpu_read_msr(cpu, msr, &value);
	gpr_write(cpu, GPR_RAX, 4, value);
	gpr_write(cpu, GPR_RDX, 4, value >> 32);
}
