// SPDX-License-Identifier: GPL-2.0-only
/* The remaining system instructions: TLB, ports, time, interrupt flag, HLT … */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"
#include "x86/cpu/wait.h"

static void ring_0(struct cpu *cpu)
{
	if (cpl(cpu))
		raise_gp(cpu);
}

static u16 pcid(const struct cpu *cpu)
{
	return cpu->mmu.cr4 & CR4_PCIDE ? cpu->mmu.cr3 & CR3_PCID_MASK : 0;
}

EXEC(invlpg)
{
	const struct operand *op = &insn->op[0];
	u64 at = effective(cpu, insn, op);

	ring_0(cpu);
	at += in_64(cpu) && op->seg < SEG_FS ? 0 : cpu->seg[op->seg].base;
	if (!in_64(cpu))
		at = (u32)at;
	if (cpu->intercept.insns & ICPT_INVLPG) {
		cpu->exit.value = at;
		leave(cpu, EXIT_INVLPG);
	}
	/* Of an address that isn't canonical it does nothing. */
	if (!in_64(cpu) || canonical(cpu, at))
		tlb_invlpg(cpu->tlb, cpu->mmu.asid, pcid(cpu), at);
}

EXEC(invpcid)
{
	const struct operand *op = &insn->op[1];
	u64 type = gpr_read(cpu, insn->op[0].reg, in_64(cpu) ? 8 : 4);
	u64 at = effective(cpu, insn, op), lo, hi;

	ring_0(cpu);
	lo = mem_read(cpu, op->seg, at, 8);
	hi = mem_read(cpu, op->seg, (at + 8) & size_mask(insn->asize), 8);
	if (cpu->intercept.insns & ICPT_INVPCID) {
		cpu->exit.value = type;
		cpu->exit.invpcid[0] = lo;
		cpu->exit.invpcid[1] = hi;
		leave(cpu, EXIT_INVPCID);
	}
	if (type > INVPCID_ALL || lo >> 12)
		raise_gp(cpu);
	if (type <= INVPCID_SINGLE && lo && !(cpu->mmu.cr4 & CR4_PCIDE))
		raise_gp(cpu);
	if (type == INVPCID_ADDR && !canonical(cpu, hi))
		raise_gp(cpu);
	tlb_invpcid(cpu->tlb, cpu->mmu.asid, type, lo, hi);
}

/* WBINVD, INVD: caches are not modelled. */
EXEC(wbinvd)
{
	ring_0(cpu);
	intercept(cpu, ICPT_WBINVD);
}

EXEC(hlt)
{
	ring_0(cpu);
	leave(cpu, EXIT_HLT);
}

EXEC(cpuid)
{
	leave(cpu, EXIT_CPUID);
}

/* VMMCALL, VMCALL, MONITOR …: for whoever runs the processor, if for anybody. */
EXEC(outside)
{
	leave(cpu, EXIT_INSN);
}

/* RDTSC (arg 0), RDTSCP (1), both forbidden to ring 3 by CR4.TSD. */
EXEC(rdtsc)
{
	u64 tsc;

	if ((cpu->mmu.cr4 & BIT(2)) && cpl(cpu))
		raise_gp(cpu);
	intercept(cpu, ICPT_RDTSC);
	tsc = read_tsc(cpu);
	gpr_write(cpu, GPR_RAX, 4, tsc);
	gpr_write(cpu, GPR_RDX, 4, tsc >> 32);
	if (insn->arg)
		gpr_write(cpu, GPR_RCX, 4, cpu->tsc_aux);
}

EXEC(cli_sti)
{
	if (protected_mode(cpu) && cpl(cpu) > (cpu->rflags & FLAG_IOPL) >> 12)
		raise_gp(cpu);
	if (insn->arg && !(cpu->rflags & FLAG_IF))
		cpu->shadow = 2;
	set_flag(cpu, FLAG_IF, insn->arg);
}

EXEC(clac_stac)
{
	if (!(cpu->cr4_valid & CR4_SMAP) || cpl(cpu))
		raise_ud(cpu);
	set_flag(cpu, FLAG_AC, insn->arg);
}

EXEC(pkru)
{
	if (!(cpu->mmu.cr4 & CR4_PKE))
		raise_ud(cpu);
	if (gpr_read(cpu, GPR_RCX, 4))
		raise_gp(cpu);
	if (insn->arg) {
		if (gpr_read(cpu, GPR_RDX, 4))
			raise_gp(cpu);
		cpu->mmu.pkru = cpu->gpr[GPR_RAX];
		cpu->epoch++;
		return;
	}
	gpr_write(cpu, GPR_RAX, 4, cpu->mmu.pkru);
	gpr_write(cpu, GPR_RDX, 4, 0);
}

/* XGETBV (arg 0), XSETBV (1): XCR0 is the only one there is. */
EXEC(xcr)
{
	u64 value = gpr_read(cpu, GPR_RAX, 4) | gpr_read(cpu, GPR_RDX, 4) << 32;

	if (!(cpu->mmu.cr4 & CR4_OSXSAVE))
		raise_ud(cpu);
	if (insn->arg)
		ring_0(cpu);
	if (insn->arg)
		intercept(cpu, ICPT_XSETBV);
	if (gpr_read(cpu, GPR_RCX, 4))
		raise_gp(cpu);
	if (insn->arg) {
		/* x87 always; AVX only with SSE. */
		if ((value & ~cpu->xcr0_valid) || !(value & 1) || (value & 6) == 4)
			raise_gp(cpu);
		cpu->xcr0 = value;
		return;
	}
	gpr_write(cpu, GPR_RAX, 4, cpu->xcr0);
	gpr_write(cpu, GPR_RDX, 4, cpu->xcr0 >> 32);
}

EXEC(swapgs)
{
	u64 base = cpu->seg[SEG_GS].base;

	ring_0(cpu);
	cpu->seg[SEG_GS].base = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
}

/* RDFSBASE, RDGSBASE: arg is the segment. */
EXEC(read_base)
{
	if (!(cpu->mmu.cr4 & CR4_FSGSBASE))
		raise_ud(cpu);
	op_write(cpu, insn, 0, cpu->seg[insn->arg].base);
}

EXEC(write_base)
{
	u64 base = op_read(cpu, insn, 0);

	if (!(cpu->mmu.cr4 & CR4_FSGSBASE))
		raise_ud(cpu);
	if (!canonical(cpu, base))
		raise_gp(cpu);
	cpu->seg[insn->arg].base = base;
}

EXEC(pause)
{
	intercept(cpu, ICPT_PAUSE);
	/* who waits for another processor may be in the way of its thread */
	wait_step(&cpu->pauses);
}

/* --- ports --------------------------------------------------------------------------- */

/* Below IOPL the bitmap in the TSS decides (SDM vol. 1 19.5.2). */
static void check_port(struct cpu *cpu, u16 port, unsigned int size)
{
	const struct cpu_segment *tr = &cpu->seg[SEG_TR];
	u32 at, bits;

	if (!protected_mode(cpu) || cpl(cpu) <= (cpu->rflags & FLAG_IOPL) >> 12)
		return;
	if (!(tr->attr & SEG_P) || !(tr->attr & 8) || tr->limit < 103)
		raise_gp(cpu);
	at = sys_read(cpu, tr->base + 102, 2) + port / 8;
	if (at + 1 > tr->limit)
		raise_gp(cpu);
	bits = sys_read(cpu, tr->base + at, 2);
	if (bits >> (port & 7) & ((1u << size) - 1))
		raise_gp(cpu);
}

static void leave_io(struct cpu *cpu, const struct insn *insn, unsigned int size, bool in,
		     bool string, u16 port, u64 value)
{
	cpu->exit.port = port;
	cpu->exit.size = size;
	cpu->exit.in = in;
	cpu->exit.string = string;
	cpu->exit.rep = insn->rep != REP_NONE;
	cpu->exit.value = value;
	leave(cpu, EXIT_IO);
}

EXEC(in_out)
{
	bool in = insn->arg;
	unsigned int size = insn->op[!in].size;
	u16 port = op_read(cpu, insn, in) & (insn->op[in].kind == OPND_IMM ? 0xff : 0xffff);

	check_port(cpu, port, size);
	if (!cpu->io_answered)
		leave_io(cpu, insn, size, in, false, port, in ? 0 : gpr_read(cpu, GPR_RAX, size));
	if (in)
		gpr_write(cpu, GPR_RAX, size, cpu->io_value);
}

void string_io(struct cpu *cpu, const struct insn *insn, unsigned int size, bool in)
{
	u16 port = cpu->gpr[GPR_RDX];
	u64 di = gpr_read(cpu, GPR_RDI, insn->asize), value = 0;

	check_port(cpu, port, size);
	/* Memory is looked at first, so that a fault comes before the port is touched. */
	if (in)
		mem_write(cpu, SEG_ES, di, size, cpu->io_value);
	else
		value = mem_read(cpu, insn->seg, gpr_read(cpu, GPR_RSI, insn->asize), size);
	if (!cpu->io_answered)
		leave_io(cpu, insn, size, in, true, port, value);
}
