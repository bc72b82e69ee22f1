/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * struct insn's arg, by the function that reads it, and the few helpers that the
 * instruction files have from one another.
 */
#ifndef X86_CPU_OPS_H
#define X86_CPU_OPS_H

#include "x86/cpu/exec.h"

enum alu_op {
	ALU_ADD,
	ALU_OR,
	ALU_ADC,
	ALU_SBB,
	ALU_AND,
	ALU_SUB,
	ALU_XOR
};
enum one_op {
	ONE_INC,
	ONE_DEC,
	ONE_NEG,
	ONE_NOT
};
enum shift_op {
	SHIFT_ROL,
	SHIFT_ROR,
	SHIFT_RCL,
	SHIFT_RCR,
	SHIFT_SHL,
	SHIFT_SHR,
	SHIFT_SAR
};
enum bit_op {
	BIT_TEST,
	BIT_SET,
	BIT_RESET,
	BIT_COMPLEMENT
};
enum scan_op {
	SCAN_BSF,
	SCAN_BSR,
	SCAN_TZCNT,
	SCAN_LZCNT,
	SCAN_POPCNT
};
enum bls_op {
	BLS_R,
	BLS_MSK,
	BLS_I
};
enum bcd_op {
	BCD_DAA,
	BCD_DAS,
	BCD_AAA,
	BCD_AAS,
	BCD_AAM,
	BCD_AAD
};
enum flag_op {
	FLAG_CLC,
	FLAG_STC,
	FLAG_CMC,
	FLAG_CLD,
	FLAG_STD
};
enum string_op {
	STR_MOVS,
	STR_STOS,
	STR_LODS,
	STR_SCAS,
	STR_CMPS,
	STR_INS,
	STR_OUTS
};
#define STRING_ARG(op, size) ((op) << 4 | (size))
#define STRING_OP(arg)	     ((arg) >> 4)
#define STRING_SIZE(arg)     ((arg)&15)

static inline u64 add_flags(u64 a, u64 b, u64 r, unsigned int size)
{
	unsigned int top = 8 * size - 1;
	u64 carry = ((a & b) | ((a | b) & ~r)) >> top & 1, over = ((a ^ r) & (b ^ r)) >> top & 1;

	return result_flags(r, size) | ((a ^ b ^ r) & FLAG_AF) | carry * FLAG_CF | over * FLAG_OF;
}

static inline u64 sub_flags(u64 a, u64 b, u64 r, unsigned int size)
{
	unsigned int top = 8 * size - 1;
	u64 borrow = ((~a & b) | ((~a | b) & r)) >> top & 1;
	u64 over = ((a ^ b) & (a ^ r)) >> top & 1;

	return result_flags(r, size) | ((a ^ b ^ r) & FLAG_AF) | borrow * FLAG_CF | over * FLAG_OF;
}

/* Sets *@result to @a @op @b; returns what RFLAGS, now @flags, become. */
static inline u64 alu_flags(u64 flags, u64 a, u64 b, unsigned int size, enum alu_op op, u64 *result)
{
	u64 mask = size_mask(size), carry = flags & FLAG_CF, r, f;

	b &= mask;
	switch (op) {
	case ALU_ADD:
		r = (a + b) & mask;
		f = add_flags(a, b, r, size);
		break;
	case ALU_ADC:
		r = (a + b + carry) & mask;
		f = add_flags(a, b, r, size);
		break;
	case ALU_SUB:
		r = (a - b) & mask;
		f = sub_flags(a, b, r, size);
		break;
	case ALU_SBB:
		r = (a - b - carry) & mask;
		f = sub_flags(a, b, r, size);
		break;
	case ALU_AND:
		r = a & b;
		f = result_flags(r, size);
		break;
	case ALU_OR:
		r = a | b;
		f = result_flags(r, size);
		break;
	default:
		r = a ^ b;
		f = result_flags(r, size);
	}
	*result = r;
	return (flags & ~FLAGS_ARITH) | f;
}

/* change_fn of ADD … XOR; arg is enum alu_op. */
u64 change_alu(struct cpu *cpu, u64 a, u64 b, unsigned int size, unsigned int op);
/* change_fn of shifts and rotates; arg is enum shift_op. */
u64 change_shift(struct cpu *cpu, u64 a, u64 count, unsigned int size, unsigned int op);
/* The flags of a - b. */
void compare(struct cpu *cpu, u64 a, u64 b, unsigned int size);

/* One element of INS or OUTS (port.c). */
void string_io(struct cpu *cpu, const struct insn *insn, unsigned int size, bool in);

/* Far JMP or CALL; far RET (far.c). */
void far_jump(struct cpu *cpu, const struct insn *insn, bool call);
void far_return(struct cpu *cpu, const struct insn *insn);

/* Reports why @gva can't be accessed: a page fault or an exit (mem.c). */
void fail_access(struct cpu *cpu, const struct translation *t, gva_t gva, enum access_kind kind)
	__attribute__((noreturn, cold));
u64 read_tsc(const struct cpu *cpu);

/* The functions that table.c names; insn->arg is what the enums above say. */
EXEC(adx);
EXEC(alu);
EXEC(andn);
EXEC(bcd);
EXEC(bextr);
EXEC(bit);
EXEC(bls);
EXEC(bound);
EXEC(bswap);
EXEC(bzhi);
EXEC(call);
EXEC(clac_stac);
EXEC(clflush);
EXEC(cli_sti);
EXEC(clts);
EXEC(cmov);
EXEC(cmp);
EXEC(cmpxchg);
EXEC(cmpxchg16b);
EXEC(cmpxchg8b);
EXEC(cpuid);
EXEC(crc32);
EXEC(div);
EXEC(double_shift);
EXEC(enter);
EXEC(flag);
EXEC(hlt);
EXEC(idiv);
EXEC(imul);
EXEC(in_out);
EXEC(inspect);
EXEC(int);
EXEC(invlpg);
EXEC(invpcid);
EXEC(iret);
EXEC(jcc);
EXEC(jcxz);
EXEC(jmp);
EXEC(lahf);
EXEC(lea);
EXEC(leave);
EXEC(lmsw);
EXEC(load_far);
EXEC(load_system);
EXEC(load_table);
EXEC(loop);
EXEC(mfence);
EXEC(mov);
EXEC(mov_any);
EXEC(mov_cr);
EXEC(mov_dr);
EXEC(mov_seg);
EXEC(movbe);
EXEC(movsx);
EXEC(msr);
EXEC(mul);
EXEC(mulx);
EXEC(nop);
EXEC(one);
EXEC(outside);
EXEC(pause);
EXEC(pdep_pext);
EXEC(pkru);
EXEC(pop);
EXEC(popa);
EXEC(popf);
EXEC(push);
EXEC(pusha);
EXEC(pushf);
EXEC(rdpid);
EXEC(rdtsc);
EXEC(read_base);
EXEC(ret);
EXEC(sahf);
EXEC(salc);
EXEC(scan);
EXEC(set);
EXEC(shift);
EXEC(shiftx);
EXEC(smsw);
EXEC(store_system);
EXEC(store_table);
EXEC(string);
EXEC(swapgs);
EXEC(syscall);
EXEC(sysenter);
EXEC(sysexit);
EXEC(sysret);
EXEC(test);
EXEC(ud);
EXEC(verify);
EXEC(wbinvd);
EXEC(widen);
EXEC(widen_pair);
EXEC(write_base);
EXEC(xadd);
EXEC(xchg);
EXEC(xcr);
EXEC(xlat);

#endif
