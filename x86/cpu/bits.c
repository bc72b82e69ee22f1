// SPDX-License-Identifier: GPL-2.0-only
/* Bits and decimal digits: BT to BTC, scans and counts, BMI1 and BMI2, BCD. */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

static u64 change_bit(struct cpu *cpu, u64 a, u64 bit, unsigned int size, unsigned int op)
{
	u64 m = 1ull << (bit & (8 * size - 1));

	set_flag(cpu, FLAG_CF, a & m);
	switch (op) {
	case BIT_SET:
		return a | m;
	case BIT_RESET:
		return a & ~m;
	case BIT_COMPLEMENT:
		return a ^ m;
	default:
		return a;
	}
}

EXEC(bit)
{
	unsigned int size = insn->op[0].size;
	u64 bit = op_read(cpu, insn, 1);
	struct insn moved;

	/* A bit offset in a register reaches beyond the operand, both ways. */
	if (insn->op[0].kind == OPND_MEM && insn->op[1].kind == OPND_REG) {
		s64 offset = (s64)(bit << (64 - 8 * size)) >> (64 - 8 * size);

		moved = *insn;
		moved.op[0].imm += (u64)(offset >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * size;
		insn = &moved;
	}
	if (insn->arg == BIT_TEST)
		change_bit(cpu, op_read(cpu, insn, 0), bit, size, BIT_TEST);
	else
		op_change(cpu, insn, change_bit, bit, insn->arg);
}

EXEC(scan)
{
	unsigned int size = insn->op[0].size, bits = 8 * size;
	u64 v = op_read(cpu, insn, 1), r = bits, f = 0;

	switch (insn->arg) {
	case SCAN_BSF:
	case SCAN_BSR:
		/* Of zero the destination keeps its value, as processors do in fact. */
		if (v)
			op_write(cpu, insn, 0,
				 insn->arg == SCAN_BSF ? __builtin_ctzll(v)
						       : 63 - __builtin_clzll(v));
		set_arith(cpu, v ? 0 : FLAG_ZF | FLAG_PF);
		return;
	case SCAN_TZCNT:
		if (v)
			r = __builtin_ctzll(v);
		f = v ? 0 : FLAG_CF;
		break;
	case SCAN_LZCNT:
		if (v)
			r = __builtin_clzll(v) - (64 - bits);
		f = v ? 0 : FLAG_CF;
		break;
	default:
		r = __builtin_popcountll(v);
	}
	op_write(cpu, insn, 0, r);
	set_arith(cpu, f | (r ? 0 : FLAG_ZF));
}

EXEC(bswap)
{
	u64 v = op_read(cpu, insn, 0);

	/* 16 bits: undefined; processors give zero. */
	op_write(cpu, insn, 0,
		 insn->op[0].size == 8	 ? __builtin_bswap64(v)
		 : insn->op[0].size == 4 ? __builtin_bswap32(v)
					 : 0);
}

EXEC(movbe)
{
	unsigned int size = insn->op[0].size;
	u64 v = op_read(cpu, insn, 1);

	op_write(cpu, insn, 0, __builtin_bswap64(v) >> (64 - 8 * size));
}

/* --- BMI -------------------------------------------------------------------- */

static void sf_zf(struct cpu *cpu, u64 r, unsigned int size, u64 flags)
{
	set_arith(cpu, flags | (result_flags(r, size) & (FLAG_SF | FLAG_ZF)));
}

EXEC(andn)
{
	u64 r = ~op_read(cpu, insn, 1) & op_read(cpu, insn, 2) & size_mask(insn->op[0].size);

	op_write(cpu, insn, 0, r);
	sf_zf(cpu, r, insn->op[0].size, 0);
}

EXEC(bls)
{
	unsigned int size = insn->op[0].size;
	u64 v = op_read(cpu, insn, 1), r;

	switch (insn->arg) {
	case BLS_R:
		r = v & (v - 1);
		break;
	case BLS_MSK:
		r = v ^ (v - 1);
		break;
	default:
		r = v & -v;
	}
	r &= size_mask(size);
	op_write(cpu, insn, 0, r);
	/* CF: BLSI has it for a source that is not zero, the others for zero. */
	sf_zf(cpu, r, size, (insn->arg == BLS_I) == (v != 0) ? FLAG_CF : 0);
}

EXEC(bextr)
{
	unsigned int size = insn->op[0].size, start, length;
	u64 control = op_read(cpu, insn, 2), v = op_read(cpu, insn, 1);

	start = control & 0xff;
	length = control >> 8 & 0xff;
	v = start < 8 * size ? v >> start : 0;
	if (length < 64)
		v &= (1ull << length) - 1;
	op_write(cpu, insn, 0, v);
	set_arith(cpu, v ? 0 : FLAG_ZF);
}

EXEC(bzhi)
{
	unsigned int size = insn->op[0].size, n = op_read(cpu, insn, 2) & 0xff;
	u64 r = op_read(cpu, insn, 1);

	if (n < 8 * size)
		r &= (1ull << n) - 1;
	op_write(cpu, insn, 0, r);
	sf_zf(cpu, r, size, n >= 8 * size ? FLAG_CF : 0);
}

/* PDEP (arg 1) and PEXT. */
EXEC(pdep_pext)
{
	u64 v = op_read(cpu, insn, 1), mask = op_read(cpu, insn, 2), r = 0;
	unsigned int n = 0;

	for (; mask; mask &= mask - 1, n++) {
		u64 low = mask & -mask;

		if (insn->arg)
			r |= v >> n & 1 ? low : 0;
		else
			r |= v & low ? 1ull << n : 0;
	}
	op_write(cpu, insn, 0, r);
}

/* ADCX (arg: FLAG_CF) and ADOX (FLAG_OF's number). */
EXEC(adx)
{
	unsigned int size = insn->op[0].size;
	u64 flag = 1ull << insn->arg;
	unsigned __int128 r = (unsigned __int128)op_read(cpu, insn, 0) + op_read(cpu, insn, 1) +
			      !!(cpu->rflags & flag);

	op_write(cpu, insn, 0, r);
	set_flag(cpu, flag, r >> (8 * size) & 1);
}

EXEC(crc32)
{
	u64 v = op_read(cpu, insn, 1);
	u32 crc = op_read(cpu, insn, 0);

	/* CRC-32C, reflected: the polynomial 0x1edc6f41 with its bits turned round */
	for (unsigned int i = 0; i < insn->op[1].size * 8; i++) {
		u32 bit = (crc ^ v >> i) & 1;

		crc = crc >> 1 ^ (bit ? 0x82f63b78u : 0);
	}
	op_write(cpu, insn, 0, crc);
}

/* --- BCD, not in 64-bit mode (SDM vol. 1 7.3.3) ------------------------------- */

static void decimal_adjust(struct cpu *cpu, bool subtract)
{
	u8 old = cpu->gpr[GPR_RAX], al = old;
	u64 carry = cpu->rflags & FLAG_CF, f = 0;

	if ((al & 15) > 9 || (cpu->rflags & FLAG_AF)) {
		if (subtract && al < 6)
			f |= FLAG_CF;
		al = subtract ? al - 6 : al + 6;
		f |= FLAG_AF | carry;
	}
	if (old > 0x99 || carry) {
		al = subtract ? al - 0x60 : al + 0x60;
		f |= FLAG_CF;
	} else if (!subtract) {
		f &= ~FLAG_CF;
	}
	gpr_write(cpu, GPR_RAX, 1, al);
	set_arith(cpu, f | result_flags(al, 1));
}

static void ascii_adjust(struct cpu *cpu, bool subtract)
{
	u64 ax = gpr_read(cpu, GPR_RAX, 2), f = 0;

	if ((ax & 15) > 9 || (cpu->rflags & FLAG_AF)) {
		ax = subtract ? ax - 0x106 : ax + 0x106;
		f = FLAG_AF | FLAG_CF;
	}
	gpr_write(cpu, GPR_RAX, 2, ax & 0xff0f);
	set_arith(cpu, f | result_flags(ax & 15, 1));
}

EXEC(bcd)
{
	u64 al = gpr_read(cpu, GPR_RAX, 1), ah = gpr_read(cpu, GPR_RAX, 2) >> 8;
	u8 base;

	switch (insn->arg) {
	case BCD_DAA:
	case BCD_DAS:
		decimal_adjust(cpu, insn->arg == BCD_DAS);
		return;
	case BCD_AAA:
	case BCD_AAS:
		ascii_adjust(cpu, insn->arg == BCD_AAS);
		return;
	}
	base = insn->nr_ops ? insn->op[0].imm : 10;
	if (insn->arg == BCD_AAM) {
		if (!base)
			raise_fault(cpu, DE_VECTOR, NO_ERROR);
		ah = al / base;
		al = al % base;
	} else {
		al = (al + ah * base) & 0xff;
		ah = 0;
	}
	gpr_write(cpu, GPR_RAX, 2, al | ah << 8);
	set_arith(cpu, result_flags(al, 1));
}
