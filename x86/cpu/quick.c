// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commonest forms of the commonest instructions, each in a function of its own,
 * for those in blocks. These know the everyday case only: memory is aligned, in
 * a plain data segment and in a page that was used lately. For everything else they
 * leave the instruction, of which nothing has been done yet, to insn->exec.
 *
 * A store is done at once here, since it's the last thing that could fail.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

#define INLINE static inline __attribute__((always_inline))

/* Host address of @size bytes at @offset of @seg; NULL: it isn't the everyday case. */
INLINE u8 *quick_host(const struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size,
		      enum access_kind kind)
{
	const struct cpu_segment *s = &cpu->seg[seg];
	gva_t gva = offset;

	if (in_64(cpu)) {
		/* One that isn't canonical is not in pages[]. */
		if (__builtin_expect(seg >= SEG_FS, 0))
			gva += s->base;
	} else {
		/* writable data, not expand-down */
		if ((s->attr & (SEG_P | SEG_CODE | SEG_TYPE_E | SEG_TYPE_W)) !=
			    (SEG_P | SEG_TYPE_W) ||
		    offset + size - 1 > s->limit)
			return NULL;
		gva = (u32)(s->base + offset);
	}
	return __builtin_expect(gva & (size - 1), 0) ? NULL : recent_host(cpu, gva, kind);
}

INLINE u64 quick_load(const u8 *host, unsigned int size)
{
	switch (size) {
	case 1:
		return __atomic_load_n(host, __ATOMIC_ACQUIRE);
	case 2:
		return __atomic_load_n((const u16 *)host, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const u32 *)host, __ATOMIC_ACQUIRE);
	default:
		return __atomic_load_n((const u64 *)host, __ATOMIC_ACQUIRE);
	}
}

INLINE void quick_store(struct cpu *cpu, u8 *host, unsigned int size, u64 value)
{
	switch (size) {
	case 1:
		__atomic_store_n(host, value, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((u32 *)host, value, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((u64 *)host, value, __ATOMIC_RELEASE);
	}
	if (__builtin_expect(hits_code(cpu, host), 0))
		cpu->stale = true;
}

/* --- two operands ---------------------------------------------------------------- */

enum {
	OP_ADD = ALU_ADD,
	OP_OR = ALU_OR,
	OP_ADC = ALU_ADC,
	OP_SBB = ALU_SBB,
	OP_AND = ALU_AND,
	OP_SUB = ALU_SUB,
	OP_XOR = ALU_XOR,
	OP_CMP,
	OP_TEST,
	OP_MOV,
	NR_OPS
};

/* Destination and source: register, memory, immediate. */
enum form {
	RR,
	RI,
	RM,
	MR,
	MI,
	NR_FORMS
};

INLINE void two_operands(struct cpu *cpu, const struct insn *insn, unsigned int op,
			 unsigned int size, enum form form)
{
	const struct operand *to = &insn->op[0], *from = &insn->op[1];
	const struct operand *mem = form == RM ? from : to;
	bool to_mem = form == MR || form == MI, writes = op != OP_CMP && op != OP_TEST;
	u64 a = 0, b, r;
	u8 *host = NULL;

	if (form != RR && form != RI) {
		host = quick_host(cpu, mem->seg, effective(cpu, insn, mem), size,
				  to_mem && writes ? ACCESS_WRITE : ACCESS_READ);
		if (!host) {
			insn->exec(cpu, insn);
			return;
		}
	}
	b = form == RI || form == MI ? from->imm
	    : form == RM	     ? quick_load(host, size)
				     : gpr_read(cpu, from->reg, size);
	if (op != OP_MOV)
		a = to_mem ? quick_load(host, size) : gpr_read(cpu, to->reg, size);
	if (op == OP_MOV)
		r = b;
	else
		cpu->rflags = alu_flags(cpu->rflags, a, b, size,
					op == OP_CMP	? ALU_SUB
					: op == OP_TEST ? ALU_AND
							: (enum alu_op)op,
					&r);
	if (!writes)
		return;
	if (to_mem)
		quick_store(cpu, host, size, r);
	else
		gpr_write(cpu, to->reg, size, r);
}

#define DEFINE(op, size, form)                                               \
	static void op##size##form(struct cpu *cpu, const struct insn *insn) \
	{                                                                    \
		two_operands(cpu, insn, OP_##op, size, form);                \
	}
#define DEFINE_FORMS(op, size) \
	DEFINE(op, size, RR)   \
	DEFINE(op, size, RI) DEFINE(op, size, RM) DEFINE(op, size, MR) DEFINE(op, size, MI)
#define DEFINE_SIZES(op) DEFINE_FORMS(op, 1) DEFINE_FORMS(op, 4) DEFINE_FORMS(op, 8)
#define FORMS(op, size)                                                              \
	{                                                                            \
		op##size##RR, op##size##RI, op##size##RM, op##size##MR, op##size##MI \
	}
#define SIZES(op) [OP_##op] = {FORMS(op, 1), FORMS(op, 4), FORMS(op, 8)}

DEFINE_SIZES(ADD)
DEFINE_SIZES(OR)
DEFINE_SIZES(ADC)
DEFINE_SIZES(SBB)
DEFINE_SIZES(AND)
DEFINE_SIZES(SUB)
DEFINE_SIZES(XOR)
DEFINE_SIZES(CMP)
DEFINE_SIZES(TEST)
DEFINE_SIZES(MOV)

static const exec_fn two_operand_fns[NR_OPS][3][NR_FORMS] = {
	SIZES(ADD), SIZES(OR),	SIZES(ADC), SIZES(SBB),	 SIZES(AND),
	SIZES(SUB), SIZES(XOR), SIZES(CMP), SIZES(TEST), SIZES(MOV),
};

static exec_fn pick_two_operands(const struct insn *insn, unsigned int op)
{
	u8 to = insn->op[0].kind, from = insn->op[1].kind, size = insn->op[0].size;
	enum form form;

	if (size == 2)
		return insn->exec;
	if (to == OPND_REG && from == OPND_REG)
		form = RR;
	else if (to == OPND_REG && from == OPND_IMM)
		form = RI;
	else if (to == OPND_REG && from == OPND_MEM)
		form = RM;
	else if (to == OPND_MEM && from == OPND_REG)
		form = MR;
	else if (to == OPND_MEM && from == OPND_IMM)
		form = MI;
	else
		return insn->exec;
	return two_operand_fns[op][size == 1 ? 0 : size == 4 ? 1 : 2][form];
}

/* --- one register, or two ---------------------------------------------------------- */

INLINE void increment(struct cpu *cpu, const struct insn *insn, unsigned int size, enum alu_op op)
{
	unsigned int reg = insn->op[0].reg;
	u64 carry = cpu->rflags & FLAG_CF, r;
	u64 flags = alu_flags(cpu->rflags, gpr_read(cpu, reg, size), 1, size, op, &r);

	cpu->rflags = (flags & ~FLAG_CF) | carry;
	gpr_write(cpu, reg, size, r);
}

static void inc4(struct cpu *cpu, const struct insn *insn)
{
	increment(cpu, insn, 4, ALU_ADD);
}

static void inc8(struct cpu *cpu, const struct insn *insn)
{
	increment(cpu, insn, 8, ALU_ADD);
}

static void dec4(struct cpu *cpu, const struct insn *insn)
{
	increment(cpu, insn, 4, ALU_SUB);
}

static void dec8(struct cpu *cpu, const struct insn *insn)
{
	increment(cpu, insn, 8, ALU_SUB);
}

static void shift(struct cpu *cpu, const struct insn *insn)
{
	unsigned int reg = insn->op[0].reg, size = insn->op[0].size;
	u64 r = change_shift(cpu, gpr_read(cpu, reg, size), insn->op[1].imm, size, insn->arg);

	gpr_write(cpu, reg, size, r);
}

static void lea(struct cpu *cpu, const struct insn *insn)
{
	gpr_write(cpu, insn->op[0].reg, insn->op[0].size, effective(cpu, insn, &insn->op[1]));
}

/* Of registers and an immediate, 32 bits. */
static void imul4(struct cpu *cpu, const struct insn *insn)
{
	bool three = insn->nr_ops == 3;
	s64 a = (s32)cpu->gpr[insn->op[1].reg];
	s64 b = (s32)(three ? insn->op[2].imm : cpu->gpr[insn->op[0].reg]), r = a * b;
	u64 over = r != (s32)r;

	cpu->gpr[insn->op[0].reg] = (u32)r;
	set_arith(cpu,
		  over * (FLAG_CF | FLAG_OF) | (result_flags((u32)r, 4) & (FLAG_SF | FLAG_PF)));
}

/* --- MOVZX and MOVSX from memory, from registers --------------------------------------- */

INLINE void extend(struct cpu *cpu, const struct insn *insn, bool sign)
{
	const struct operand *to = &insn->op[0], *from = &insn->op[1];
	unsigned int shift = 64 - 8 * from->size;
	u64 v;
	u8 *host;

	if (from->kind == OPND_REG) {
		v = gpr_read(cpu, from->reg, from->size);
	} else {
		host = quick_host(cpu, from->seg, effective(cpu, insn, from), from->size,
				  ACCESS_READ);
		if (!host) {
			insn->exec(cpu, insn);
			return;
		}
		v = quick_load(host, from->size);
	}
	gpr_write(cpu, to->reg, to->size, sign ? (u64)((s64)(v << shift) >> shift) : v);
}

static void movzx(struct cpu *cpu, const struct insn *insn)
{
	extend(cpu, insn, false);
}

static void movsx(struct cpu *cpu, const struct insn *insn)
{
	extend(cpu, insn, true);
}

/* --- the stack and near branches -------------------------------------------------------- */

/*
 * Whether the stack pointer has as many bytes as @insn's operand, 4 or 8: 32-bit code
 * with a 32-bit stack, or 64-bit code.
 */
INLINE bool even_stack(const struct cpu *cpu, const struct insn *insn)
{
	return insn->size == cpu->code_bytes &&
	       (insn->size == 8 || (insn->size == 4 && (cpu->seg[SEG_SS].attr & SEG_DB)));
}

/* False: not the everyday case. */
INLINE bool quick_push(struct cpu *cpu, const struct insn *insn, u64 value)
{
	u64 sp = cpu->gpr[GPR_RSP] - insn->size;
	u8 *host;

	if (!even_stack(cpu, insn))
		return false;
	if (insn->size == 8) {
		host = quick_host(cpu, SEG_SS, sp, 8, ACCESS_WRITE);
		if (!host)
			return false;
		quick_store(cpu, host, 8, value);
	} else {
		sp = (u32)sp;
		host = quick_host(cpu, SEG_SS, sp, 4, ACCESS_WRITE);
		if (!host)
			return false;
		quick_store(cpu, host, 4, value);
	}
	cpu->gpr[GPR_RSP] = sp;
	return true;
}

/* What is on top of the stack, which the caller then takes off; false: not the everyday case. */
INLINE bool quick_top(struct cpu *cpu, const struct insn *insn, u64 *value)
{
	u64 sp = cpu->gpr[GPR_RSP];
	const u8 *host;

	if (!even_stack(cpu, insn))
		return false;
	if (insn->size == 8)
		host = quick_host(cpu, SEG_SS, sp, 8, ACCESS_READ);
	else
		host = quick_host(cpu, SEG_SS, (u32)sp, 4, ACCESS_READ);
	if (!host)
		return false;
	*value = insn->size == 8 ? quick_load(host, 8) : quick_load(host, 4);
	return true;
}

INLINE void quick_drop(struct cpu *cpu, const struct insn *insn, u64 more)
{
	u64 sp = cpu->gpr[GPR_RSP] + insn->size + more;

	cpu->gpr[GPR_RSP] = insn->size == 8 ? sp : (u32)sp;
}

static void push_reg(struct cpu *cpu, const struct insn *insn)
{
	if (!quick_push(cpu, insn, cpu->gpr[insn->op[0].reg]))
		insn->exec(cpu, insn);
}

static void pop_reg(struct cpu *cpu, const struct insn *insn)
{
	u64 value;

	if (!quick_top(cpu, insn, &value)) {
		insn->exec(cpu, insn);
		return;
	}
	quick_drop(cpu, insn, 0);
	cpu->gpr[insn->op[0].reg] = value;
}

/* Whether @rip can be jumped to without further ado. */
INLINE bool quick_target(const struct cpu *cpu, const struct insn *insn, u64 rip)
{
	if (insn->size != cpu->code_bytes)
		return false;
	return insn->size == 8 ? canonical(cpu, rip)
			       : insn->size == 4 && rip <= cpu->seg[SEG_CS].limit;
}

INLINE u64 relative(const struct cpu *cpu, const struct insn *insn)
{
	u64 to = cpu->next_rip + insn->op[0].imm;

	return insn->size == 8 ? to : (u32)to;
}

static void jmp(struct cpu *cpu, const struct insn *insn)
{
	u64 to = relative(cpu, insn);

	if (quick_target(cpu, insn, to))
		cpu->next_rip = to;
	else
		insn->exec(cpu, insn);
}

/* By a table in memory, as compilers make of switches. */
static void jmp_by_memory(struct cpu *cpu, const struct insn *insn)
{
	const struct operand *from = &insn->op[0];
	u8 *host = quick_host(cpu, from->seg, effective(cpu, insn, from), from->size, ACCESS_READ);
	u64 to = host ? quick_load(host, from->size) : 0;

	if (host && quick_target(cpu, insn, to))
		cpu->next_rip = to;
	else
		insn->exec(cpu, insn);
}

static void call(struct cpu *cpu, const struct insn *insn)
{
	u64 to = relative(cpu, insn);

	if (quick_target(cpu, insn, to) && quick_push(cpu, insn, cpu->next_rip))
		cpu->next_rip = to;
	else
		insn->exec(cpu, insn);
}

static void ret(struct cpu *cpu, const struct insn *insn)
{
	u64 to;

	if (!quick_top(cpu, insn, &to) || !quick_target(cpu, insn, to)) {
		insn->exec(cpu, insn);
		return;
	}
	cpu->next_rip = to;
	quick_drop(cpu, insn, insn->nr_ops ? insn->op[0].imm & 0xffff : 0);
}

#define DEFINE_JCC(cc)                                                \
	static void jcc##cc(struct cpu *cpu, const struct insn *insn) \
	{                                                             \
		if (condition(cpu, cc))                               \
			jmp(cpu, insn);                               \
	}

DEFINE_JCC(0)
DEFINE_JCC(1)
DEFINE_JCC(2)
DEFINE_JCC(3)
DEFINE_JCC(4)
DEFINE_JCC(5)
DEFINE_JCC(6)
DEFINE_JCC(7)
DEFINE_JCC(8)
DEFINE_JCC(9)
DEFINE_JCC(10)
DEFINE_JCC(11)
DEFINE_JCC(12)
DEFINE_JCC(13)
DEFINE_JCC(14)
DEFINE_JCC(15)

static const exec_fn jcc_fns[] = {jcc0, jcc1, jcc2,  jcc3,  jcc4,  jcc5,  jcc6,	 jcc7,
				  jcc8, jcc9, jcc10, jcc11, jcc12, jcc13, jcc14, jcc15};

/* --- which is whose -------------------------------------------------------------------- */

exec_fn quick_exec(const struct insn *insn)
{
	const struct operand *op = insn->op;
	bool wide = op[0].kind == OPND_REG && (op[0].size == 4 || op[0].size == 8);
	exec_fn e = insn->exec;

	if (e == exec_alu)
		return pick_two_operands(insn, insn->arg);
	if (e == exec_cmp)
		return pick_two_operands(insn, OP_CMP);
	if (e == exec_test)
		return pick_two_operands(insn, OP_TEST);
	if (e == exec_mov_any)
		return pick_two_operands(insn, OP_MOV);
	if (e == exec_one && wide && insn->arg == ONE_INC)
		return op[0].size == 4 ? inc4 : inc8;
	if (e == exec_one && wide && insn->arg == ONE_DEC)
		return op[0].size == 4 ? dec4 : dec8;
	if (e == exec_shift && wide && op[1].kind == OPND_IMM)
		return shift;
	if (e == exec_lea && wide)
		return lea;
	if (e == exec_imul && wide && op[0].size == 4 && insn->nr_ops > 1 && op[1].kind == OPND_REG)
		return imul4;
	if ((e == exec_mov || e == exec_movsx) && wide &&
	    (op[1].kind == OPND_REG || op[1].kind == OPND_MEM))
		return e == exec_mov ? movzx : movsx;
	if ((e == exec_push || e == exec_pop) && wide)
		return e == exec_push ? push_reg : pop_reg;
	if ((e == exec_jmp || e == exec_call) && op[0].kind == OPND_IMM)
		return e == exec_jmp ? jmp : call;
	if (e == exec_jmp && op[0].kind == OPND_MEM && op[0].size == insn->size)
		return jmp_by_memory;
	if (e == exec_jcc)
		return jcc_fns[insn->arg];
	if (e == exec_ret)
		return ret;
	return e;
}
