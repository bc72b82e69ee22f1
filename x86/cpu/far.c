// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transfers that change CS: far JMP, CALL and RET, IRET, and the fast system calls.
 * Call gates, task gates and task switches are reported as unimplemented.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

struct cpu_segment far_code(struct cpu *cpu, u16 sel, bool ret)
{
	u32 error = sel & ~3u;
	struct descriptor d;
	struct cpu_segment s;
	unsigned int dpl;
	bool conforming, allowed;

	if (!(sel & ~3))
		raise_gp(cpu);
	if (!read_descriptor(cpu, sel, &d))
		raise_fault(cpu, GP_VECTOR, error);
	s = unpack_descriptor(&d);
	dpl = SEG_DPL(s.attr);
	if (!(s.attr & SEG_S)) {
		unsigned int type = s.attr & SEG_TYPE;

		/* gates (4, 5, 12) and TSSs (1, 3, 9, 11) lead somewhere, the rest nowhere */
		if (!ret && (0x1a3a >> type & 1))
			unimplemented(cpu);
		raise_fault(cpu, GP_VECTOR, error);
	}
	if (!(s.attr & SEG_CODE))
		raise_fault(cpu, GP_VECTOR, error);
	conforming = s.attr & SEG_TYPE_E;
	if (ret)
		allowed = (sel & 3u) >= cpl(cpu) &&
			  (conforming ? dpl <= (sel & 3u) : dpl == (sel & 3u));
	else
		allowed = conforming ? dpl <= cpl(cpu) : dpl == cpl(cpu) && (sel & 3u) <= cpl(cpu);
	if (!allowed)
		raise_fault(cpu, GP_VECTOR, error);
	if ((cpu->mmu.efer & EFER_LMA) && (s.attr & SEG_L) && (s.attr & SEG_DB))
		raise_fault(cpu, GP_VECTOR, error);
	if (!(s.attr & SEG_P))
		raise_fault(cpu, NP_VECTOR, error);
	mark_accessed(cpu, &d);
	s.attr |= SEG_TYPE_A;
	if (!ret)
		s.sel = (sel & ~3) | cpl(cpu);
	return s;
}

static struct cpu_segment real_code(const struct cpu *cpu, u16 sel)
{
	struct cpu_segment s = cpu->seg[SEG_CS];

	s.sel = sel;
	s.base = (u32)sel << 4;
	return s;
}

void far_jump(struct cpu *cpu, const struct insn *insn, bool call)
{
	const struct operand *op = &insn->op[0];
	u64 offset, back = cpu->next_rip;
	struct cpu_segment cs;
	unsigned int ring = cpl(cpu);
	u16 sel;

	if (op->kind == OPND_FAR) {
		sel = op->sel;
		offset = op->imm;
	} else {
		u64 at = effective(cpu, insn, op);

		offset = mem_read(cpu, op->seg, at, insn->size);
		sel = mem_read(cpu, op->seg, (at + insn->size) & size_mask(insn->asize), 2);
	}
	offset &= size_mask(insn->size);
	cs = protected_mode(cpu) ? far_code(cpu, sel, false) : real_code(cpu, sel);
	check_rip(cpu, &cs, offset);
	if (call) {
		push(cpu, insn->size, cpu->seg[SEG_CS].sel);
		push(cpu, insn->size, back);
	}
	set_cs(cpu, &cs, ring);
	cpu->next_rip = offset;
}

static void return_real(struct cpu *cpu, u16 sel, u64 rip)
{
	struct cpu_segment cs = real_code(cpu, sel);

	check_rip(cpu, &cs, rip);
	set_cs(cpu, &cs, cpl(cpu));
	cpu->next_rip = rip;
}

/* SS of a return: null is allowed to 64-bit code below ring 3. */
static struct cpu_segment return_stack(struct cpu *cpu, const struct cpu_segment *cs, u16 sel)
{
	unsigned int ring = cs->sel & 3;

	if (!(sel & ~3)) {
		if (!(cpu->mmu.efer & EFER_LMA) || !(cs->attr & SEG_L) || ring == 3 ||
		    (sel & 3u) != ring)
			raise_gp(cpu);
		return (struct cpu_segment){.sel = sel, .attr = ring << 5};
	}
	return stack_segment(cpu, sel, ring, GP_VECTOR, 0);
}

void far_return(struct cpu *cpu, const struct insn *insn)
{
	unsigned int size = insn->size, extra = insn->nr_ops ? insn->op[0].imm & 0xffff : 0;
	u64 rip = pop(cpu, size), sp;
	u16 sel = pop(cpu, size);
	struct cpu_segment cs, ss;

	if (!protected_mode(cpu)) {
		return_real(cpu, sel, rip);
		move_sp(cpu, extra);
		return;
	}
	cs = far_code(cpu, sel, true);
	check_rip(cpu, &cs, rip);
	move_sp(cpu, extra);
	if ((sel & 3) == cpl(cpu)) {
		set_cs(cpu, &cs, cpl(cpu));
		cpu->next_rip = rip;
		return;
	}
	sp = pop(cpu, size);
	ss = return_stack(cpu, &cs, pop(cpu, size));
	set_cs(cpu, &cs, sel & 3);
	cpu->seg[SEG_SS] = ss;
	gpr_write(cpu, GPR_RSP, stack_bytes(cpu), sp);
	move_sp(cpu, extra);
	drop_inner_segments(cpu);
	cpu->next_rip = rip;
}

EXEC(iret)
{
	unsigned int size = insn->size;
	bool from_64 = in_64(cpu), outer;
	struct cpu_segment cs, ss;
	u64 rip, flags, sp = 0;
	u16 sel, ss_sel = 0;

	if (protected_mode(cpu) && (cpu->rflags & FLAG_NT)) {
		if (cpu->mmu.efer & EFER_LMA)
			raise_gp(cpu);
		unimplemented(cpu);
	}
	rip = pop(cpu, size);
	sel = pop(cpu, size);
	flags = pop(cpu, size);
	if (!protected_mode(cpu)) {
		return_real(cpu, sel, rip);
		set_flags_checked(cpu, flags, size);
		return;
	}
	if ((flags & FLAG_VM) && size >= 4 && !(cpu->mmu.efer & EFER_LMA) && !cpl(cpu))
		unimplemented(cpu); /* virtual-8086 mode */
	cs = far_code(cpu, sel, true);
	outer = (sel & 3) != cpl(cpu);
	/* 64-bit mode pops the stack pointer always. */
	if (outer || from_64) {
		sp = pop(cpu, size);
		ss_sel = pop(cpu, size);
		ss = return_stack(cpu, &cs, ss_sel);
	}
	check_rip(cpu, &cs, rip);
	set_flags_checked(cpu, flags, size);
	if (size >= 4)
		cpu->rflags = (cpu->rflags & ~FLAG_RF) | (flags & FLAG_RF);
	set_cs(cpu, &cs, sel & 3);
	if (outer || from_64) {
		cpu->seg[SEG_SS] = ss;
		gpr_write(cpu, GPR_RSP, stack_bytes(cpu), sp);
	}
	if (outer)
		drop_inner_segments(cpu);
	cpu->next_rip = rip;
	cpu->nmi_blocked = false;
}

/* --- SYSCALL and its kin: flat segments, whatever the tables say -------------------- */

static struct cpu_segment flat(u16 sel, bool code, unsigned int ring, bool is_64)
{
	return (struct cpu_segment){
		.sel = sel,
		.attr = SEG_P | SEG_S | SEG_G | ring << 5 | (code ? 0xb : 3) |
			(code && is_64 ? SEG_L : SEG_DB),
		.limit = 0xffffffff,
	};
}

static void enter_flat(struct cpu *cpu, u16 cs_sel, u16 ss_sel, unsigned int ring, bool is_64,
		       u64 rip)
{
	struct cpu_segment cs = flat(cs_sel, true, ring, is_64);

	set_cs(cpu, &cs, ring);
	cpu->seg[SEG_SS] = flat(ss_sel, false, ring, false);
	cpu->next_rip = rip;
}

EXEC(syscall)
{
	bool long_mode = cpu->mmu.efer & EFER_LMA;
	u16 sel = cpu->star >> 32;

	if (!(cpu->mmu.efer & EFER_SCE) || !protected_mode(cpu))
		raise_ud(cpu);
	cpu->gpr[GPR_RCX] = cpu->next_rip;
	if (long_mode) {
		u64 rip = in_64(cpu) ? cpu->lstar : cpu->cstar;

		cpu->gpr[GPR_R8 + 3] = cpu->rflags & ~FLAG_RF;
		cpu->rflags &= ~(cpu->sfmask | FLAG_RF);
		cpu->rflags |= RFLAGS_FIXED;
		enter_flat(cpu, sel & ~3, (sel & ~3) + 8, 0, true, rip);
	} else {
		cpu->rflags &= ~(FLAG_VM | FLAG_IF | FLAG_RF);
		enter_flat(cpu, sel & ~3, (sel & ~3) + 8, 0, false, (u32)cpu->star);
	}
}

EXEC(sysret)
{
	u16 sel = cpu->star >> 48;
	u64 rip = cpu->gpr[GPR_RCX];

	if (!(cpu->mmu.efer & EFER_SCE) || !protected_mode(cpu))
		raise_ud(cpu);
	if (cpl(cpu))
		raise_gp(cpu);
	if (insn->size == 8 && !canonical(cpu, rip))
		raise_gp(cpu);
	if (cpu->mmu.efer & EFER_LMA) {
		cpu->rflags = (cpu->gpr[GPR_R8 + 3] &
			       (FLAGS_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT |
				FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID)) |
			      RFLAGS_FIXED;
	} else {
		cpu->rflags |= FLAG_IF;
	}
	if (insn->size == 8)
		enter_flat(cpu, (sel + 16) | 3, (sel + 8) | 3, 3, true, rip);
	else
		enter_flat(cpu, sel | 3, (sel + 8) | 3, 3, false, (u32)rip);
}

EXEC(sysenter)
{
	bool long_mode = cpu->mmu.efer & EFER_LMA;
	u16 sel = cpu->sysenter_cs & ~3;

	if (!protected_mode(cpu) || !sel)
		raise_gp(cpu);
	cpu->rflags &= ~(FLAG_VM | FLAG_IF);
	cpu->gpr[GPR_RSP] = long_mode ? cpu->sysenter_esp : (u32)cpu->sysenter_esp;
	enter_flat(cpu, sel, sel + 8, 0, long_mode,
		   long_mode ? cpu->sysenter_eip : (u32)cpu->sysenter_eip);
}

EXEC(sysexit)
{
	bool is_64 = insn->size == 8;
	u16 sel = (cpu->sysenter_cs & ~3) + (is_64 ? 32 : 16);
	u64 rip = cpu->gpr[GPR_RDX], sp = cpu->gpr[GPR_RCX];

	if (!protected_mode(cpu) || cpl(cpu) || !(cpu->sysenter_cs & ~3ull))
		raise_gp(cpu);
	if (is_64 && (!canonical(cpu, rip) || !canonical(cpu, sp)))
		raise_gp(cpu);
	enter_flat(cpu, sel | 3, (sel + 8) | 3, 3, is_64, is_64 ? rip : (u32)rip);
	cpu->gpr[GPR_RSP] = is_64 ? sp : (u32)sp;
}
