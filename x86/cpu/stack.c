// SPDX-License-Identifier: GPL-2.0-only
/* The stack: PUSH, POP, ENTER, LEAVE, PUSHF, POPF and near control transfers. */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

unsigned int stack_bytes(const struct cpu *cpu)
{
	if (in_64(cpu))
		return 8;
	return cpu->seg[SEG_SS].attr & SEG_DB ? 4 : 2;
}

/* A 16-bit stack pointer leaves the rest of ESP alone, a 32-bit one doesn't. */
void move_sp(struct cpu *cpu, s64 by)
{
	gpr_write(cpu, GPR_RSP, stack_bytes(cpu), cpu->gpr[GPR_RSP] + by);
}

void push(struct cpu *cpu, unsigned int size, u64 value)
{
	u64 sp = (cpu->gpr[GPR_RSP] - size) & size_mask(stack_bytes(cpu));

	mem_write(cpu, SEG_SS, sp, size, value);
	move_sp(cpu, -(s64)size);
}

u64 pop(struct cpu *cpu, unsigned int size)
{
	u64 value = mem_read(cpu, SEG_SS, gpr_read(cpu, GPR_RSP, stack_bytes(cpu)), size);

	move_sp(cpu, size);
	return value;
}

EXEC(push)
{
	u64 value;

	if (insn->op[0].kind == OPND_SEG)
		value = cpu->seg[insn->op[0].reg].sel;
	else
		value = op_read(cpu, insn, 0);
	push(cpu, insn->size, value);
}

EXEC(pop)
{
	u64 value = pop(cpu, insn->size);

	if (insn->op[0].kind == OPND_SEG) {
		load_segment(cpu, insn->op[0].reg, value);
		if (insn->op[0].reg == SEG_SS)
			cpu->shadow = 2;
		return;
	}
	/* An address based on RSP uses it as it is after the pop. */
	op_write(cpu, insn, 0, value);
}

EXEC(pusha)
{
	u64 sp = cpu->gpr[GPR_RSP];

	for (unsigned int r = 0; r < 8; r++)
		push(cpu, insn->size, r == GPR_RSP ? sp : cpu->gpr[r]);
}

EXEC(popa)
{
	for (int r = 7; r >= 0; r--) {
		u64 value = pop(cpu, insn->size);

		if (r != GPR_RSP)
			gpr_write(cpu, r, insn->size, value);
	}
}

EXEC(enter)
{
	unsigned int level = insn->op[1].imm & 31, size = insn->size, width = stack_bytes(cpu);
	u64 frame, bp = cpu->gpr[GPR_RBP];

	push(cpu, size, bp);
	frame = cpu->gpr[GPR_RSP];
	for (unsigned int i = 1; i < level; i++) {
		bp -= size;
		push(cpu, size, mem_read(cpu, SEG_SS, bp & size_mask(width), size));
	}
	if (level)
		push(cpu, size, frame);
	gpr_write(cpu, GPR_RBP, size, frame);
	move_sp(cpu, -(s64)(insn->op[0].imm & 0xffff));
	/* The frame must be writable down to its end, though nothing is written there. */
	lin_host(cpu, linear(cpu, SEG_SS, gpr_read(cpu, GPR_RSP, width), 1, ACCESS_WRITE),
		 ACCESS_WRITE);
}

EXEC(leave)
{
	gpr_write(cpu, GPR_RSP, stack_bytes(cpu), cpu->gpr[GPR_RBP]);
	gpr_write(cpu, GPR_RBP, insn->size, pop(cpu, insn->size));
}

EXEC(pushf)
{
	push(cpu, insn->size, cpu->rflags & ~(FLAG_VM | FLAG_RF));
}

/* POPF and IRET: what the current ring may change (SDM vol. 2, POPF). */
void set_flags_checked(struct cpu *cpu, u64 value, unsigned int size)
{
	u64 may = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;

	if (cpl(cpu) <= (cpu->rflags & FLAG_IOPL) >> 12)
		may |= FLAG_IF;
	if (cpl(cpu) == 0)
		may |= FLAG_IOPL;
	may &= size_mask(size);
	cpu->rflags = (cpu->rflags & ~may) | (value & may) | RFLAGS_FIXED;
}

EXEC(popf)
{
	set_flags_checked(cpu, pop(cpu, insn->size), insn->size);
	cpu->rflags &= ~FLAG_RF;
}

/* --- near transfers ------------------------------------------------------------ */

void check_rip(struct cpu *cpu, const struct cpu_segment *cs, u64 rip)
{
	if ((cpu->mmu.efer & EFER_LMA) && (cs->attr & SEG_L)) {
		if (!canonical(cpu, rip))
			raise_gp(cpu);
	} else if (rip > cs->limit) {
		raise_gp(cpu);
	}
}

static void jump(struct cpu *cpu, const struct insn *insn, u64 rip)
{
	rip &= size_mask(insn->size);
	check_rip(cpu, &cpu->seg[SEG_CS], rip);
	cpu->next_rip = rip;
}

static u64 target(struct cpu *cpu, const struct insn *insn)
{
	if (insn->op[0].kind == OPND_IMM)
		return cpu->next_rip + insn->op[0].imm;
	return op_read(cpu, insn, 0);
}

EXEC(jcc)
{
	if (condition(cpu, insn->arg))
		jump(cpu, insn, target(cpu, insn));
}

/* JCXZ, JECXZ, JRCXZ: by address size. */
EXEC(jcxz)
{
	if (!gpr_read(cpu, GPR_RCX, insn->asize))
		jump(cpu, insn, target(cpu, insn));
}

/* LOOP (arg 0), LOOPE (1), LOOPNE (2). */
EXEC(loop)
{
	u64 count = (cpu->gpr[GPR_RCX] - 1) & size_mask(insn->asize);
	bool zf = cpu->rflags & FLAG_ZF;

	gpr_write(cpu, GPR_RCX, insn->asize, count);
	if (count && (insn->arg == 0 || zf == (insn->arg == 1)))
		jump(cpu, insn, target(cpu, insn));
}

EXEC(jmp)
{
	if (insn->far)
		far_jump(cpu, insn, false);
	else
		jump(cpu, insn, target(cpu, insn));
}

EXEC(call)
{
	u64 to, back = cpu->next_rip;

	if (insn->far) {
		far_jump(cpu, insn, true);
		return;
	}
	to = target(cpu, insn);
	jump(cpu, insn, to);
	push(cpu, insn->size, back);
}

EXEC(ret)
{
	u64 rip;

	if (insn->far) {
		far_return(cpu, insn);
		return;
	}
	rip = mem_read(cpu, SEG_SS, gpr_read(cpu, GPR_RSP, stack_bytes(cpu)), insn->size);
	jump(cpu, insn, rip);
	move_sp(cpu, insn->size);
	if (insn->nr_ops)
		move_sp(cpu, insn->op[0].imm & 0xffff);
}
