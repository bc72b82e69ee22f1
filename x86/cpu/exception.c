// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts and exceptions on their way through the IDT: gates, stacks, frames
 * and error codes (SDM vol. 3 ch. 6), and what becomes of faults on that way.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

static bool contributory(u8 vector)
{
	return vector == DE_VECTOR || (vector >= TS_VECTOR && vector <= GP_VECTOR);
}

bool combine_events(const struct cpu_event *first, struct cpu_event *second)
{
	if (first->type != EVENT_EXCEPTION)
		return true;
	if (first->vector == DF_VECTOR &&
	    (contributory(second->vector) || second->vector == PF_VECTOR))
		return false;
	if ((contributory(first->vector) && contributory(second->vector)) ||
	    (first->vector == PF_VECTOR &&
	     (contributory(second->vector) || second->vector == PF_VECTOR)))
		*second = (struct cpu_event){
			.type = EVENT_EXCEPTION, .vector = DF_VECTOR, .has_error = true};
	return true;
}

/* External to the program: bit 0 of an error code that names a selector. */
static unsigned int ext_bit(const struct cpu_event *e)
{
	return e->type != EVENT_SOFT;
}

static void deliver_real(struct cpu *cpu, const struct cpu_event *e, u64 rip)
{
	u32 at = e->vector * 4;
	struct cpu_segment cs = cpu->seg[SEG_CS];
	u16 offset;

	if (at + 3 > cpu->idtr.limit)
		raise_fault(cpu, GP_VECTOR, at * 2 + 2 + ext_bit(e));
	offset = sys_read(cpu, cpu->idtr.base + at, 2);
	cs.sel = sys_read(cpu, cpu->idtr.base + at + 2, 2);
	cs.base = (u32)cs.sel << 4;
	push(cpu, 2, cpu->rflags);
	push(cpu, 2, cpu->seg[SEG_CS].sel);
	push(cpu, 2, rip);
	cpu->rflags &= ~(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC);
	set_cs(cpu, &cs, 0);
	cpu->next_rip = offset;
}

struct gate {
	u16 sel;
	u8 type, dpl, ist;
	bool present;
	u64 offset;
};

static struct gate read_gate(struct cpu *cpu, const struct cpu_event *e)
{
	bool long_mode = cpu->mmu.efer & EFER_LMA;
	u32 bytes = long_mode ? 16 : 8, at = e->vector * bytes;
	u32 error = e->vector * 8 + 2 + ext_bit(e);
	struct gate g;
	u64 lo;

	if (at + bytes - 1 > cpu->idtr.limit)
		raise_fault(cpu, GP_VECTOR, error);
	lo = sys_read(cpu, cpu->idtr.base + at, 8);
	g.offset = (lo & 0xffff) | (lo >> 32 & 0xffff0000);
	g.sel = lo >> 16;
	g.ist = lo >> 32 & 7;
	g.type = lo >> 40 & 0x1f;
	g.dpl = lo >> 45 & 3;
	g.present = lo >> 47 & 1;
	if (long_mode)
		g.offset |= sys_read(cpu, cpu->idtr.base + at + 8, 8) << 32;
	if (g.type == 5 && !long_mode)
		unimplemented(cpu); /* task gate */
	if (g.type != 14 && g.type != 15 && (long_mode || (g.type != 6 && g.type != 7)))
		raise_fault(cpu, GP_VECTOR, error);
	if (e->type == EVENT_SOFT && g.dpl < cpl(cpu))
		raise_fault(cpu, GP_VECTOR, error);
	if (!g.present)
		raise_fault(cpu, NP_VECTOR, error);
	return g;
}

static struct cpu_segment gate_code(struct cpu *cpu, const struct gate *g, unsigned int ext)
{
	u32 error = (g->sel & ~3u) | ext;
	struct descriptor d;
	struct cpu_segment s;

	if (!(g->sel & ~3))
		raise_fault(cpu, GP_VECTOR, ext);
	if (!read_descriptor(cpu, g->sel, &d))
		raise_fault(cpu, GP_VECTOR, error);
	s = unpack_descriptor(&d);
	if (!(s.attr & SEG_S) || !(s.attr & SEG_CODE) || SEG_DPL(s.attr) > cpl(cpu))
		raise_fault(cpu, GP_VECTOR, error);
	if ((cpu->mmu.efer & EFER_LMA) && (!(s.attr & SEG_L) || (s.attr & SEG_DB)))
		raise_fault(cpu, GP_VECTOR, error);
	if (!(s.attr & SEG_P))
		raise_fault(cpu, NP_VECTOR, error);
	mark_accessed(cpu, &d);
	s.attr |= SEG_TYPE_A;
	return s;
}

/* A field of the TSS, which must lie within its limit. */
static u64 read_tss(struct cpu *cpu, unsigned int at, unsigned int size, unsigned int ext)
{
	const struct cpu_segment *tr = &cpu->seg[SEG_TR];

	if (at + size - 1 > tr->limit)
		raise_fault(cpu, TS_VECTOR, (tr->sel & ~3u) | ext);
	return sys_read(cpu, tr->base + at, size);
}

/* The stack of an inner ring outside long mode: SS and ESP. */
static u64 inner_stack(struct cpu *cpu, unsigned int ring, unsigned int ext, struct cpu_segment *ss)
{
	bool wide = cpu->seg[SEG_TR].attr & 8; /* a 32-bit TSS */
	u64 sp;
	u16 sel;

	if (wide) {
		sp = read_tss(cpu, 4 + ring * 8, 4, ext);
		sel = read_tss(cpu, 8 + ring * 8, 2, ext);
	} else {
		sp = read_tss(cpu, 2 + ring * 4, 2, ext);
		sel = read_tss(cpu, 4 + ring * 4, 2, ext);
	}
	if (!(sel & ~3))
		raise_fault(cpu, TS_VECTOR, ext);
	*ss = stack_segment(cpu, sel, ring, TS_VECTOR, ext);
	return sp;
}

/* Pushes below @sp in the new stack segment, which isn't loaded yet. */
static u64 push_in(struct cpu *cpu, const struct cpu_segment *ss, u64 sp, unsigned int size,
		   u64 value)
{
	u64 mask = ss->attr & SEG_DB ? 0xffffffff : 0xffff;

	if (cpu->mmu.efer & EFER_LMA) {
		sp -= size;
		if (!canonical(cpu, sp))
			raise_fault(cpu, SS_VECTOR, 0);
		lin_write(cpu, sp, size, value);
		return sp;
	}
	sp = (sp & ~mask) | ((sp - size) & mask);
	if (ss->attr & SEG_TYPE_E ? (sp & mask) <= ss->limit : (sp & mask) + size - 1 > ss->limit)
		raise_fault(cpu, SS_VECTOR, (ss->sel & ~3u));
	lin_write(cpu, (u32)(ss->base + (sp & mask)), size, value);
	return sp;
}

static void deliver_protected(struct cpu *cpu, const struct cpu_event *e, u64 rip, u64 flags)
{
	bool long_mode = cpu->mmu.efer & EFER_LMA, inner;
	unsigned int ext = ext_bit(e), ring, size;
	struct cpu_segment old_ss = cpu->seg[SEG_SS], ss = old_ss, cs;
	u64 old_sp = cpu->gpr[GPR_RSP], sp = old_sp;
	struct gate g = read_gate(cpu, e);

	cs = gate_code(cpu, &g, ext);
	ring = cs.attr & SEG_TYPE_E ? cpl(cpu) : SEG_DPL(cs.attr);
	inner = ring < cpl(cpu);
	size = long_mode ? 8 : g.type & 8 ? 4 : 2;
	if (long_mode) {
		if (g.ist)
			sp = read_tss(cpu, 28 + g.ist * 8, 8, ext);
		else if (inner)
			sp = read_tss(cpu, 4 + ring * 8, 8, ext);
		if (!canonical(cpu, sp))
			raise_fault(cpu, SS_VECTOR, ext);
		sp &= ~15ull;
		if (inner)
			ss = (struct cpu_segment){.sel = ring, .attr = ring << 5};
	} else if (inner) {
		sp = inner_stack(cpu, ring, ext, &ss);
	}

	/* The frame is written with the rights of the new ring. */
	cpu->mmu.cpl = ring;
	if (inner || long_mode) {
		sp = push_in(cpu, &ss, sp, size, old_ss.sel);
		sp = push_in(cpu, &ss, sp, size, old_sp);
	}
	sp = push_in(cpu, &ss, sp, size, flags);
	sp = push_in(cpu, &ss, sp, size, cpu->seg[SEG_CS].sel);
	sp = push_in(cpu, &ss, sp, size, rip);
	if (e->has_error)
		sp = push_in(cpu, &ss, sp, size, e->error);

	cs.sel = (g.sel & ~3) | ring;
	set_cs(cpu, &cs, ring);
	cpu->seg[SEG_SS] = ss;
	cpu->gpr[GPR_RSP] = sp;
	cpu->rflags &= ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (!(g.type & 1))
		cpu->rflags &= ~FLAG_IF;
	cpu->next_rip = size == 8 ? g.offset : size == 4 ? (u32)g.offset : (u16)g.offset;
}

void deliver_event(struct cpu *cpu)
{
	const struct cpu_event *e = &cpu->delivering;
	u64 rip = cpu->rip, flags = cpu->rflags;

	/* Software interrupts return behind the instruction; faults resume it. */
	if (e->type == EVENT_SOFT)
		rip += e->len;
	if (!in_64(cpu))
		rip = (u32)rip;
	if (e->type == EVENT_EXCEPTION && e->vector != DB_VECTOR)
		flags |= FLAG_RF;
	if (e->type == EVENT_EXCEPTION && e->vector == PF_VECTOR)
		cpu->cr2 = e->cr2;
	if (protected_mode(cpu))
		deliver_protected(cpu, e, rip, flags);
	else
		deliver_real(cpu, e, rip);
	if (e->type == EVENT_NMI)
		cpu->nmi_blocked = true;
}

EXEC(int)
{
	static const u8 fixed[] = {0, BP_VECTOR, OF_VECTOR};
	u8 vector = insn->arg ? fixed[insn->arg] : insn->op[0].imm;

	if (vector == OF_VECTOR && insn->arg == 2 && !(cpu->rflags & FLAG_OF))
		return;
	cpu->event = (struct cpu_event){.type = EVENT_SOFT, .vector = vector, .len = insn->len};
	/* INT3, INTO are exceptions to those who intercept them. */
	if (insn->arg && (cpu->intercept.exceptions >> vector & 1)) {
		cpu->exit.event = cpu->event;
		cpu->event.type = EVENT_NONE;
		leave(cpu, EXIT_EXCEPTION);
	}
	/* It is delivered from where it stands: RIP moves with the delivery. */
	cpu->next_rip = cpu->rip;
}

EXEC(ud)
{
	raise_ud(cpu);
}

EXEC(bound)
{
	const struct operand *op = &insn->op[1];
	unsigned int size = insn->size, shift = 64 - 8 * size;
	u64 at = effective(cpu, insn, op);
	s64 index = (s64)(op_read(cpu, insn, 0) << shift);
	s64 low = (s64)(mem_read(cpu, op->seg, at, size) << shift);
	s64 high = (s64)(mem_read(cpu, op->seg, at + size, size) << shift);

	if (index < low || index > high)
		raise_fault(cpu, BR_VECTOR, NO_ERROR);
}
