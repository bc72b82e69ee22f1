// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segment registers and descriptors: loading with the checks of SDM vol. 3 5.5-5.8,
 * and the instructions that load descriptor tables.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

bool read_descriptor(struct cpu *cpu, u16 sel, struct descriptor *d)
{
	const struct cpu_segment *ldt = &cpu->seg[SEG_LDTR];
	u32 at = sel & ~7u, limit = cpu->gdtr.limit;
	u64 base = cpu->gdtr.base;

	if (sel & 4) {
		if (!(ldt->attr & SEG_P))
			return false;
		base = ldt->base;
		limit = ldt->limit;
	} else if (!at) {
		return false;
	}
	if (at + 7 > limit)
		return false;
	d->sel = sel;
	d->at = base + at;
	d->lo = sys_read(cpu, d->at, 8);
	d->hi = 0;
	/* In long mode system descriptors have 16 bytes. */
	if ((cpu->mmu.efer & EFER_LMA) && !(d->lo >> 44 & 1)) {
		if (at + 15 > limit)
			return false;
		d->hi = sys_read(cpu, d->at + 8, 8);
	}
	return true;
}

struct cpu_segment unpack_descriptor(const struct descriptor *d)
{
	struct cpu_segment s = {
		.sel = d->sel,
		.attr = (d->lo >> 40 & 0xff) | (d->lo >> 44 & 0xf00),
		.limit = (d->lo & 0xffff) | (d->lo >> 32 & 0xf0000),
		.base = (d->lo >> 16 & 0xffffff) | (d->lo >> 32 & 0xff000000) | d->hi << 32,
	};

	if (s.attr & SEG_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

void mark_accessed(struct cpu *cpu, struct descriptor *d)
{
	if (d->lo >> 40 & SEG_TYPE_A)
		return;
	d->lo |= SEG_TYPE_A << 40;
	sys_write(cpu, d->at + 5, 1, d->lo >> 40);
}

static void load_null(struct cpu *cpu, unsigned int seg, u16 sel)
{
	struct cpu_segment *s = &cpu->seg[seg];

	if (seg == SEG_SS && (!in_64(cpu) || cpl(cpu) == 3 || (sel & 3) != cpl(cpu)))
		raise_gp(cpu);
	s->sel = sel;
	s->attr = seg == SEG_SS ? cpl(cpu) << 5 : 0;
	s->limit = 0;
	s->base = 0;
}

struct cpu_segment stack_segment(struct cpu *cpu, u16 sel, unsigned int ring, u8 vector,
				 unsigned int ext)
{
	u32 error = (sel & ~3u) | ext;
	struct descriptor d;
	struct cpu_segment s;

	if (!read_descriptor(cpu, sel, &d))
		raise_fault(cpu, vector, error);
	s = unpack_descriptor(&d);
	if ((sel & 3u) != ring || SEG_DPL(s.attr) != ring || !(s.attr & SEG_S) ||
	    (s.attr & SEG_CODE) || !(s.attr & SEG_TYPE_W))
		raise_fault(cpu, vector, error);
	if (!(s.attr & SEG_P))
		raise_fault(cpu, SS_VECTOR, error);
	mark_accessed(cpu, &d);
	s.attr |= SEG_TYPE_A;
	return s;
}

void load_segment(struct cpu *cpu, unsigned int seg, u16 sel)
{
	u32 error = sel & ~3u;
	struct descriptor d;
	struct cpu_segment s;
	unsigned int dpl;

	if (!protected_mode(cpu)) {
		cpu->seg[seg].sel = sel;
		cpu->seg[seg].base = (u32)sel << 4;
		return;
	}
	if (!(sel & ~3)) {
		load_null(cpu, seg, sel);
		return;
	}
	if (seg == SEG_SS) {
		cpu->seg[seg] = stack_segment(cpu, sel, cpl(cpu), GP_VECTOR, 0);
		return;
	}
	if (!read_descriptor(cpu, sel, &d))
		raise_fault(cpu, GP_VECTOR, error);
	s = unpack_descriptor(&d);
	dpl = SEG_DPL(s.attr);
	if (!(s.attr & SEG_S) || ((s.attr & SEG_CODE) && !(s.attr & SEG_TYPE_W)))
		raise_fault(cpu, GP_VECTOR, error);
	/* All but conforming code must be at most as privileged as CPL and RPL. */
	if (!((s.attr & SEG_CODE) && (s.attr & SEG_TYPE_E)) && (dpl < cpl(cpu) || dpl < (sel & 3u)))
		raise_fault(cpu, GP_VECTOR, error);
	if (!(s.attr & SEG_P))
		raise_fault(cpu, NP_VECTOR, error);
	mark_accessed(cpu, &d);
	s.attr |= SEG_TYPE_A;
	cpu->seg[seg] = s;
}

void drop_inner_segments(struct cpu *cpu)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned int i = 0; i < ARRAY_LEN(data); i++) {
		struct cpu_segment *s = &cpu->seg[data[i]];
		bool conforming = (s->attr & SEG_CODE) && (s->attr & SEG_TYPE_E);

		if (!conforming && SEG_DPL(s->attr) < cpl(cpu)) {
			s->sel = 0;
			s->attr = 0;
			s->base = 0;
			s->limit = 0;
		}
	}
}

void set_cs(struct cpu *cpu, const struct cpu_segment *cs, unsigned int ring)
{
	cpu->seg[SEG_CS] = *cs;
	cpu->mmu.cpl = ring;
	if ((cpu->mmu.efer & EFER_LMA) && (cs->attr & SEG_L))
		cpu->code_bytes = 8;
	else
		cpu->code_bytes = cs->attr & SEG_DB ? 4 : 2;
}

/* --- instructions ----------------------------------------------------------------- */

EXEC(mov_seg)
{
	u16 sel = op_read(cpu, insn, 1);

	if (insn->op[0].reg == SEG_CS)
		raise_ud(cpu);
	load_segment(cpu, insn->op[0].reg, sel);
	if (insn->op[0].reg == SEG_SS)
		cpu->shadow = 2;
}

/* MOV, which may have a segment or control register on either side. */
EXEC(mov_any)
{
	u8 to = insn->op[0].kind, from = insn->op[1].kind;

	if (to == OPND_SEG) {
		exec_mov_seg(cpu, insn);
	} else if (from == OPND_SEG) {
		op_write(cpu, insn, 0, cpu->seg[insn->op[1].reg].sel);
	} else if (to == OPND_CR || from == OPND_CR) {
		exec_mov_cr(cpu, insn);
	} else if (to == OPND_DR || from == OPND_DR) {
		exec_mov_dr(cpu, insn);
	} else {
		op_write(cpu, insn, 0, op_read(cpu, insn, 1));
	}
}

/* LDS, LES, LFS, LGS, LSS: arg is the segment. */
EXEC(load_far)
{
	const struct operand *op = &insn->op[1];
	u64 at = effective(cpu, insn, op), offset;
	unsigned int size = insn->size;

	if (op->kind != OPND_MEM)
		raise_ud(cpu);
	offset = mem_read(cpu, op->seg, at, size);
	load_segment(cpu, insn->arg,
		     mem_read(cpu, op->seg, (at + size) & size_mask(insn->asize), 2));
	op_write(cpu, insn, 0, offset);
}

static void ring_0(struct cpu *cpu)
{
	if (cpl(cpu))
		raise_gp(cpu);
}

/* CR4.UMIP keeps these from rings above 0. */
static void user_instruction(struct cpu *cpu)
{
	if ((cpu->mmu.cr4 & CR4_UMIP) && cpl(cpu))
		raise_gp(cpu);
}

/* LGDT (arg 0) and LIDT (1). */
EXEC(load_table)
{
	const struct operand *op = &insn->op[0];
	struct cpu_table *table = insn->arg ? &cpu->idtr : &cpu->gdtr;
	u64 at = effective(cpu, insn, op), base;
	u16 limit;

	ring_0(cpu);
	intercept(cpu, ICPT_TABLES);
	limit = mem_read(cpu, op->seg, at, 2);
	at = (at + 2) & size_mask(insn->asize);
	base = mem_read(cpu, op->seg, at, in_64(cpu) ? 8 : 4);
	if (in_64(cpu)) {
		if (!canonical(cpu, base))
			raise_gp(cpu);
	} else if (insn->size == 2) {
		base &= 0xffffff;
	}
	table->limit = limit;
	table->base = base;
}

/* SGDT (0) and SIDT (1). */
EXEC(store_table)
{
	const struct operand *op = &insn->op[0];
	const struct cpu_table *table = insn->arg ? &cpu->idtr : &cpu->gdtr;
	u64 at = effective(cpu, insn, op);

	user_instruction(cpu);
	intercept(cpu, ICPT_TABLES);
	mem_write(cpu, op->seg, at, 2, table->limit);
	at = (at + 2) & size_mask(insn->asize);
	mem_write(cpu, op->seg, at, in_64(cpu) ? 8 : 4, table->base);
}

/* LLDT and LTR: arg is the segment. */
EXEC(load_system)
{
	bool tr = insn->arg == SEG_TR;
	u16 sel = op_read(cpu, insn, 0);
	struct descriptor d;
	struct cpu_segment s;
	unsigned int type;

	if (!protected_mode(cpu))
		raise_ud(cpu);
	ring_0(cpu);
	intercept(cpu, ICPT_TABLES);
	if (!tr && !(sel & ~3)) {
		cpu->seg[SEG_LDTR] = (struct cpu_segment){.sel = sel};
		return;
	}
	if ((sel & 4) || !read_descriptor(cpu, sel, &d))
		raise_fault(cpu, GP_VECTOR, sel & ~3u);
	s = unpack_descriptor(&d);
	type = s.attr & (SEG_TYPE | SEG_S);
	if (tr ? type != 9 && (type != 1 || (cpu->mmu.efer & EFER_LMA)) : type != 2)
		raise_fault(cpu, GP_VECTOR, sel & ~3u);
	if (!(s.attr & SEG_P))
		raise_fault(cpu, NP_VECTOR, sel & ~3u);
	if (tr) {
		s.attr |= 2; /* busy */
		sys_write(cpu, d.at + 5, 1, d.lo >> 40 | 2);
	}
	cpu->seg[insn->arg] = s;
}

/* SLDT and STR. */
EXEC(store_system)
{
	if (!protected_mode(cpu))
		raise_ud(cpu);
	user_instruction(cpu);
	intercept(cpu, ICPT_TABLES);
	op_write(cpu, insn, 0, cpu->seg[insn->arg].sel);
}

/* VERR (arg 0) and VERW (1). */
EXEC(verify)
{
	u16 sel = op_read(cpu, insn, 0);
	struct descriptor d;
	bool ok = false;

	if (!protected_mode(cpu))
		raise_ud(cpu);
	if (read_descriptor(cpu, sel, &d)) {
		struct cpu_segment s = unpack_descriptor(&d);
		bool code = s.attr & SEG_CODE, conforming = code && (s.attr & SEG_TYPE_E);

		ok = s.attr & SEG_S;
		if (insn->arg ? code || !(s.attr & SEG_TYPE_W) : code && !(s.attr & SEG_TYPE_W))
			ok = false;
		if (!conforming && (SEG_DPL(s.attr) < cpl(cpu) || SEG_DPL(s.attr) < (sel & 3u)))
			ok = false;
	}
	set_flag(cpu, FLAG_ZF, ok);
}

/* LAR (arg 0) and LSL (1). */
EXEC(inspect)
{
	u16 sel = op_read(cpu, insn, 1), types;
	struct descriptor d;
	struct cpu_segment s;
	bool ok, conforming;

	if (!protected_mode(cpu))
		raise_ud(cpu);
	set_flag(cpu, FLAG_ZF, false);
	if (!read_descriptor(cpu, sel, &d))
		return;
	s = unpack_descriptor(&d);
	conforming = (s.attr & SEG_S) && (s.attr & SEG_CODE) && (s.attr & SEG_TYPE_E);
	/* System types that have rights, or a limit: LDT, TSS; and gates for LAR. */
	if (cpu->mmu.efer & EFER_LMA)
		types = insn->arg ? 0x0a04 : 0x1a04;
	else
		types = insn->arg ? 0x0a0e : 0x1a3e;
	ok = (s.attr & SEG_S) || (types >> (s.attr & SEG_TYPE) & 1);
	if (!conforming && (SEG_DPL(s.attr) < cpl(cpu) || SEG_DPL(s.attr) < (sel & 3u)))
		ok = false;
	if (!ok)
		return;
	set_flag(cpu, FLAG_ZF, true);
	op_write(cpu, insn, 0, insn->arg ? s.limit : d.lo >> 32 & 0xffff00);
}
