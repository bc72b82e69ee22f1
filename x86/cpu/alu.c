// SPDX-License-Identifier: GPL-2.0-only
/*
 * Integer arithmetic and logic: ADD to XOR, INC to NEG, shifts and rotates,
 * multiplication and division. Flags that the SDM (vol. 2) leaves undefined are
 * given some value.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

void compare(struct cpu *cpu, u64 a, u64 b, unsigned int size)
{
	b &= size_mask(size);
	set_arith(cpu, sub_flags(a, b, (a - b) & size_mask(size), size));
}

u64 change_alu(struct cpu *cpu, u64 a, u64 b, unsigned int size, unsigned int op)
{
	u64 r;

	cpu->rflags = alu_flags(cpu->rflags, a, b, size, op, &r);
	return r;
}

EXEC(alu)
{
	u64 src = op_read(cpu, insn, 1);

	op_change(cpu, insn, change_alu, src, insn->arg);
}

EXEC(cmp)
{
	compare(cpu, op_read(cpu, insn, 0), op_read(cpu, insn, 1), insn->op[0].size);
}

EXEC(test)
{
	u64 r = op_read(cpu, insn, 0) & op_read(cpu, insn, 1);

	set_arith(cpu, result_flags(r, insn->op[0].size));
}

static u64 change_one(struct cpu *cpu, u64 a, u64 unused, unsigned int size, unsigned int op)
{
	u64 mask = size_mask(size), carry = cpu->rflags & FLAG_CF, r;

	(void)unused;
	switch (op) {
	case ONE_INC:
		r = (a + 1) & mask;
		set_arith(cpu, (add_flags(a, 1, r, size) & ~FLAG_CF) | carry);
		return r;
	case ONE_DEC:
		r = (a - 1) & mask;
		set_arith(cpu, (sub_flags(a, 1, r, size) & ~FLAG_CF) | carry);
		return r;
	case ONE_NEG:
		r = -a & mask;
		set_arith(cpu, sub_flags(0, a, r, size));
		return r;
	default:
		return ~a & mask;
	}
}

EXEC(one)
{
	op_change(cpu, insn, change_one, 0, insn->arg);
}

/* --- shifts and rotates ---------------------------------------------------- */

static u64 rotate_carry(struct cpu *cpu, u64 a, unsigned int n, unsigned int size, bool left)
{
	unsigned int bits = 8 * size;
	unsigned __int128 wide = a | (unsigned __int128)(cpu->rflags & FLAG_CF) << bits;
	unsigned __int128 mask = ((unsigned __int128)1 << (bits + 1)) - 1;
	u64 r;

	n %= bits + 1;
	if (!n)
		return a;
	if (!left)
		n = bits + 1 - n;
	wide = (wide << n | wide >> (bits + 1 - n)) & mask;
	r = (u64)wide & size_mask(size);
	set_flag(cpu, FLAG_CF, wide >> bits & 1);
	return r;
}

static u64 rotate(struct cpu *cpu, u64 a, unsigned int n, unsigned int size, unsigned int op)
{
	unsigned int bits = 8 * size, top = bits - 1;
	u64 r = a, carry;

	switch (op) {
	case SHIFT_ROL:
		if (n % bits)
			r = (a << n % bits | a >> (bits - n % bits)) & size_mask(size);
		set_flag(cpu, FLAG_CF, r & 1);
		break;
	case SHIFT_ROR:
		if (n % bits)
			r = (a >> n % bits | a << (bits - n % bits)) & size_mask(size);
		set_flag(cpu, FLAG_CF, r >> top & 1);
		break;
	case SHIFT_RCL:
		r = rotate_carry(cpu, a, n, size, true);
		break;
	default:
		r = rotate_carry(cpu, a, n, size, false);
	}
	carry = cpu->rflags & FLAG_CF;
	if (op == SHIFT_ROL || op == SHIFT_RCL)
		set_flag(cpu, FLAG_OF, (r >> top & 1) ^ carry);
	else
		set_flag(cpu, FLAG_OF, (r >> top ^ r >> (top - 1)) & 1);
	return r;
}

u64 change_shift(struct cpu *cpu, u64 a, u64 count, unsigned int size, unsigned int op)
{
	unsigned int n = count & (size == 8 ? 63 : 31), bits = 8 * size, top = bits - 1;
	u64 r, f = 0;
	s64 wide;

	if (!n)
		return a;
	switch (op) {
	case SHIFT_SHL:
		r = (n < bits ? a << n : 0) & size_mask(size);
		if (n <= bits && (a >> (bits - n) & 1))
			f |= FLAG_CF;
		if ((r >> top & 1) ^ (f & FLAG_CF))
			f |= FLAG_OF;
		break;
	case SHIFT_SHR:
		r = n < bits ? a >> n : 0;
		if (n <= bits && (a >> (n - 1) & 1))
			f |= FLAG_CF;
		if (a >> top & 1)
			f |= FLAG_OF;
		break;
	case SHIFT_SAR:
		wide = (s64)(a << (64 - bits)) >> (64 - bits);
		r = (u64)(wide >> n) & size_mask(size);
		if (wide >> (n - 1) & 1)
			f |= FLAG_CF;
		break;
	default:
		return rotate(cpu, a, n, size, op);
	}
	set_arith(cpu, f | result_flags(r, size));
	return r;
}

EXEC(shift)
{
	u64 count = op_read(cpu, insn, 1);

	op_change(cpu, insn, change_shift, count, insn->arg);
}

/* SHLD and SHRD; arg: left. The count is operand 2. */
EXEC(double_shift)
{
	unsigned int size = insn->op[0].size, bits = 8 * size;
	unsigned int n = op_read(cpu, insn, 2) & (size == 8 ? 63 : 31);
	u64 a = op_read(cpu, insn, 0), b = op_read(cpu, insn, 1), r, f;

	if (!n) {
		op_write(cpu, insn, 0, a);
		return;
	}
	/* Beyond 16 bits a 16-bit result is undefined: what follows is as good as any. */
	n = (n - 1) % bits + 1;
	if (insn->arg) {
		r = n < bits ? a << n | b >> (bits - n) : b;
		f = a >> (bits - n) & 1 ? FLAG_CF : 0;
	} else {
		r = n < bits ? a >> n | b << (bits - n) : b;
		f = a >> (n - 1) & 1 ? FLAG_CF : 0;
	}
	r &= size_mask(size);
	if ((a ^ r) >> (bits - 1) & 1)
		f |= FLAG_OF;
	op_write(cpu, insn, 0, r);
	set_arith(cpu, f | result_flags(r, size));
}

/* SHLX, SHRX, SARX (operands: destination, value, count) and RORX: no flags. */
EXEC(shiftx)
{
	u64 flags = cpu->rflags;
	u64 a = op_read(cpu, insn, 1), n = op_read(cpu, insn, 2);
	u64 r = change_shift(cpu, a, n, insn->op[0].size, insn->arg);

	cpu->rflags = flags;
	op_write(cpu, insn, 0, r);
}

/* --- multiplication and division -------------------------------------------- */

static s64 sign_extend(u64 v, unsigned int size)
{
	return (s64)(v << (64 - 8 * size)) >> (64 - 8 * size);
}

/* The double-width result or dividend: AX, DX:AX … */
static void write_pair(struct cpu *cpu, unsigned int size, unsigned __int128 v)
{
	if (size == 1) {
		gpr_write(cpu, GPR_RAX, 2, v);
		return;
	}
	gpr_write(cpu, GPR_RAX, size, v);
	gpr_write(cpu, GPR_RDX, size, v >> (8 * size));
}

static unsigned __int128 read_pair(const struct cpu *cpu, unsigned int size)
{
	if (size == 1)
		return gpr_read(cpu, GPR_RAX, 2);
	return gpr_read(cpu, GPR_RAX, size) | (unsigned __int128)gpr_read(cpu, GPR_RDX, size)
						      << (8 * size);
}

static void multiply_flags(struct cpu *cpu, bool overflow, u64 r, unsigned int size)
{
	set_arith(cpu, (overflow ? FLAG_CF | FLAG_OF : 0) |
			       (result_flags(r, size) & (FLAG_SF | FLAG_PF)));
}

EXEC(mul)
{
	unsigned int size = insn->op[0].size;
	unsigned __int128 r =
		(unsigned __int128)gpr_read(cpu, GPR_RAX, size) * op_read(cpu, insn, 0);

	write_pair(cpu, size, r);
	multiply_flags(cpu, r >> (8 * size), r, size);
}

EXEC(imul)
{
	unsigned int size = insn->op[0].size;
	/* one operand: AX times it; two: op0 times op1; three: op1 times op2 */
	u64 a = insn->nr_ops == 1 ? gpr_read(cpu, GPR_RAX, size)
				  : op_read(cpu, insn, insn->nr_ops == 3 ? 1 : 0);
	u64 b = op_read(cpu, insn, insn->nr_ops == 1 ? 0 : insn->nr_ops - 1);
	__int128 r = (__int128)sign_extend(a, size) * sign_extend(b, size);

	if (insn->nr_ops == 1)
		write_pair(cpu, size, r);
	else
		op_write(cpu, insn, 0, r);
	multiply_flags(cpu, r != sign_extend(r, size), r, size);
}

EXEC(mulx)
{
	unsigned int size = insn->op[0].size;
	unsigned __int128 r =
		(unsigned __int128)gpr_read(cpu, GPR_RDX, size) * op_read(cpu, insn, 2);

	op_write(cpu, insn, 1, r);
	op_write(cpu, insn, 0, r >> (8 * size));
}

static void write_quotient(struct cpu *cpu, unsigned int size, u64 quotient, u64 remainder)
{
	gpr_write(cpu, GPR_RAX, size, quotient);
	if (size == 1)
		cpu->gpr[GPR_RAX] = (cpu->gpr[GPR_RAX] & ~0xff00ull) | (remainder & 0xff) << 8;
	else
		gpr_write(cpu, GPR_RDX, size, remainder);
}

EXEC(div)
{
	unsigned int size = insn->op[0].size;
	unsigned __int128 a = read_pair(cpu, size), q;
	u64 b = op_read(cpu, insn, 0);

	if (!b)
		raise_fault(cpu, DE_VECTOR, NO_ERROR);
	q = a / b;
	if (q > size_mask(size))
		raise_fault(cpu, DE_VECTOR, NO_ERROR);
	write_quotient(cpu, size, q, a % b);
}

EXEC(idiv)
{
	unsigned int size = insn->op[0].size, spare = 128 - 16 * size;
	__int128 a = (__int128)(read_pair(cpu, size) << spare) >> spare, q;
	s64 b = sign_extend(op_read(cpu, insn, 0), size);

	/* The most negative dividend by -1 overflows in C too. */
	if (!b || (b == -1 && a == (__int128)((unsigned __int128)1 << 127)))
		raise_fault(cpu, DE_VECTOR, NO_ERROR);
	q = a / b;
	if (q != sign_extend(q, size))
		raise_fault(cpu, DE_VECTOR, NO_ERROR);
	write_quotient(cpu, size, q, a % b);
}
