// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which function executes which instruction. What is not in the table decodes but
 * is reported as unimplemented.
 */
#include <Zydis/Zydis.h>

#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

/* P: plain (struct insn); E: without an argument. */
#define P(name, fn, arg) [ZYDIS_MNEMONIC_##name] = {exec_##fn, arg, true}
#define I(name, fn, arg) [ZYDIS_MNEMONIC_##name] = {exec_##fn, arg, false}
#define E(name, fn)	 I(name, fn, 0)

/* Sixteen conditions in the order of their encoding. */
#define CONDITIONS(prefix, fn)                                                                \
	P(prefix##O, fn, 0), P(prefix##NO, fn, 1), P(prefix##B, fn, 2), P(prefix##NB, fn, 3), \
		P(prefix##Z, fn, 4), P(prefix##NZ, fn, 5), P(prefix##BE, fn, 6),              \
		P(prefix##NBE, fn, 7), P(prefix##S, fn, 8), P(prefix##NS, fn, 9),             \
		P(prefix##P, fn, 10), P(prefix##NP, fn, 11), P(prefix##L, fn, 12),            \
		P(prefix##NL, fn, 13), P(prefix##LE, fn, 14), P(prefix##NLE, fn, 15)

#define STRING(prefix, op)                                                                \
	I(prefix##B, string, STRING_ARG(op, 1)), I(prefix##W, string, STRING_ARG(op, 2)), \
		I(prefix##D, string, STRING_ARG(op, 4))
#define STRING8(prefix, op) STRING(prefix, op), I(prefix##Q, string, STRING_ARG(op, 8))

/* clang-format off */
static const struct insn_desc table[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	/* arithmetic and logic */
	P(ADD, alu, ALU_ADD), P(OR, alu, ALU_OR), P(ADC, alu, ALU_ADC), P(SBB, alu, ALU_SBB),
	P(AND, alu, ALU_AND), P(SUB, alu, ALU_SUB), P(XOR, alu, ALU_XOR), P(CMP, cmp, 0),
	P(TEST, test, 0), P(INC, one, ONE_INC), P(DEC, one, ONE_DEC), P(NEG, one, ONE_NEG),
	P(NOT, one, ONE_NOT), P(ROL, shift, SHIFT_ROL), P(ROR, shift, SHIFT_ROR),
	P(RCL, shift, SHIFT_RCL), P(RCR, shift, SHIFT_RCR), P(SHL, shift, SHIFT_SHL),
	P(SHR, shift, SHIFT_SHR), P(SAR, shift, SHIFT_SAR), I(SHLD, double_shift, 1),
	I(SHRD, double_shift, 0), P(SHLX, shiftx, SHIFT_SHL), P(SHRX, shiftx, SHIFT_SHR),
	P(SARX, shiftx, SHIFT_SAR), P(RORX, shiftx, SHIFT_ROR), P(MUL, mul, 0), P(IMUL, imul, 0),
	E(MULX, mulx), P(DIV, div, 0), P(IDIV, idiv, 0),
	/* bits */
	P(BT, bit, BIT_TEST), P(BTS, bit, BIT_SET), P(BTR, bit, BIT_RESET),
	P(BTC, bit, BIT_COMPLEMENT), P(BSF, scan, SCAN_BSF), P(BSR, scan, SCAN_BSR),
	P(TZCNT, scan, SCAN_TZCNT), P(LZCNT, scan, SCAN_LZCNT), P(POPCNT, scan, SCAN_POPCNT),
	P(BSWAP, bswap, 0), E(MOVBE, movbe), E(ANDN, andn), I(BLSR, bls, BLS_R),
	I(BLSMSK, bls, BLS_MSK), I(BLSI, bls, BLS_I), E(BEXTR, bextr), E(BZHI, bzhi),
	I(PDEP, pdep_pext, 1), I(PEXT, pdep_pext, 0), I(ADCX, adx, 0), I(ADOX, adx, 11),
	E(CRC32, crc32), I(DAA, bcd, BCD_DAA), I(DAS, bcd, BCD_DAS), I(AAA, bcd, BCD_AAA),
	I(AAS, bcd, BCD_AAS), I(AAM, bcd, BCD_AAM), I(AAD, bcd, BCD_AAD),
	/* movement */
	P(MOV, mov_any, 0), P(MOVZX, mov, 0), P(MOVSX, movsx, 0), P(MOVSXD, movsx, 0), P(LEA, lea, 0),
	P(MOVDIRI, mov, 0), CONDITIONS(CMOV, cmov), CONDITIONS(SET, set), E(XCHG, xchg),
	E(XADD, xadd), E(CMPXCHG, cmpxchg), E(CMPXCHG8B, cmpxchg8b), E(CMPXCHG16B, cmpxchg16b),
	P(CBW, widen, 2), P(CWDE, widen, 4), P(CDQE, widen, 8), P(CWD, widen_pair, 2),
	P(CDQ, widen_pair, 4), P(CQO, widen_pair, 8), E(XLAT, xlat), E(LAHF, lahf),
	E(SAHF, sahf), E(SALC, salc), P(CLC, flag, FLAG_CLC), P(STC, flag, FLAG_STC),
	P(CMC, flag, FLAG_CMC), P(CLD, flag, FLAG_CLD), P(STD, flag, FLAG_STD), P(NOP, nop, 0),
	P(ENDBR32, nop, 0), P(ENDBR64, nop, 0), E(PAUSE, pause), P(LFENCE, nop, 0), E(MFENCE, mfence),
	P(SFENCE, nop, 0), P(PREFETCHT0, nop, 0), P(PREFETCHT1, nop, 0), P(PREFETCHT2, nop, 0),
	P(PREFETCHNTA, nop, 0), P(PREFETCHW, nop, 0), P(PREFETCH, nop, 0), E(SERIALIZE, nop),
	E(CLFLUSH, clflush), E(CLFLUSHOPT, clflush), E(CLWB, clflush), E(RDPID, rdpid),
	STRING8(MOVS, STR_MOVS), STRING8(STOS, STR_STOS), STRING8(LODS, STR_LODS),
	STRING8(SCAS, STR_SCAS), STRING8(CMPS, STR_CMPS), STRING(INS, STR_INS),
	STRING(OUTS, STR_OUTS),
	/* stack and control flow */
	P(PUSH, push, 0), P(POP, pop, 0), E(PUSHA, pusha), E(PUSHAD, pusha), E(POPA, popa),
	E(POPAD, popa), E(ENTER, enter), E(LEAVE, leave), E(PUSHF, pushf), E(PUSHFD, pushf),
	E(PUSHFQ, pushf), E(POPF, popf), E(POPFD, popf), E(POPFQ, popf), CONDITIONS(J, jcc),
	E(JCXZ, jcxz), E(JECXZ, jcxz), E(JRCXZ, jcxz), I(LOOP, loop, 0), I(LOOPE, loop, 1),
	I(LOOPNE, loop, 2), P(JMP, jmp, 0), P(CALL, call, 0), P(RET, ret, 0), E(BOUND, bound),
	I(INT, int, 0), I(INT3, int, 1), I(INTO, int, 2), E(IRET, iret), E(IRETD, iret),
	E(IRETQ, iret), E(SYSCALL, syscall), E(SYSRET, sysret), E(SYSENTER, sysenter),
	E(SYSEXIT, sysexit), E(UD0, ud), E(UD1, ud), E(UD2, ud),
	/* system */
	I(LDS, load_far, SEG_DS), I(LES, load_far, SEG_ES), I(LFS, load_far, SEG_FS),
	I(LGS, load_far, SEG_GS), I(LSS, load_far, SEG_SS), I(LGDT, load_table, 0),
	I(LIDT, load_table, 1), I(SGDT, store_table, 0), I(SIDT, store_table, 1),
	I(LLDT, load_system, SEG_LDTR), I(LTR, load_system, SEG_TR),
	I(SLDT, store_system, SEG_LDTR), I(STR, store_system, SEG_TR), I(VERR, verify, 0),
	I(VERW, verify, 1), I(LAR, inspect, 0), I(LSL, inspect, 1), E(LMSW, lmsw),
	E(SMSW, smsw), E(CLTS, clts), I(RDMSR, msr, 0), I(WRMSR, msr, 1), E(INVLPG, invlpg),
	E(INVPCID, invpcid), E(WBINVD, wbinvd), E(INVD, wbinvd),
	E(HLT, hlt), E(CPUID, cpuid), I(RDTSC, rdtsc, 0), I(RDTSCP, rdtsc, 1),
	I(CLI, cli_sti, 0), I(STI, cli_sti, 1), I(CLAC, clac_stac, 0), I(STAC, clac_stac, 1),
	I(RDPKRU, pkru, 0), I(WRPKRU, pkru, 1), I(XGETBV, xcr, 0), I(XSETBV, xcr, 1),
	E(SWAPGS, swapgs), I(RDFSBASE, read_base, SEG_FS), I(RDGSBASE, read_base, SEG_GS),
	I(WRFSBASE, write_base, SEG_FS), I(WRGSBASE, write_base, SEG_GS), I(IN, in_out, 1),
	I(OUT, in_out, 0), E(VMCALL, outside), E(VMMCALL, outside), E(MONITOR, outside),
	E(MWAIT, outside), E(VMRUN, outside), E(VMLOAD, outside), E(VMSAVE, outside),
	E(CLGI, outside), E(STGI, outside), E(INVLPGA, outside), E(RDPMC, outside),
};
/* clang-format on */

struct insn_desc insn_lookup(u16 mnemonic)
{
	return table[mnemonic];
}
