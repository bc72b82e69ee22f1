// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data movement: MOV and its kin, exchanges, conditional moves and flags.
 */
#include "x86/cpu/exec.h"
#include "x86/cpu/ops.h"

/* MOV, MOVZX, and all that only copies: sources are zero-extended as they are read. */
EXEC(mov)
{
	op_write(cpu, insn, 0, op_read(cpu, insn, 1));
}

EXEC(movsx)
{
	unsigned int shift = 64 - 8 * insn->op[1].size;

	op_write(cpu, insn, 0, (u64)((s64)(op_read(cpu, insn, 1) << shift) >> shift));
}

EXEC(lea)
{
	op_write(cpu, insn, 0, effective(cpu, insn, &insn->op[1]));
}

EXEC(cmov)
{
	u64 v = op_read(cpu, insn, 1); /* read, and fault, in any case */

	/* Without a move a 32-bit destination still loses its upper half. */
	op_write(cpu, insn, 0, condition(cpu, insn->arg) ? v : op_read(cpu, insn, 0));
}

EXEC(set)
{
	op_write(cpu, insn, 0, condition(cpu, insn->arg));
}

static u64 change_take(struct cpu *cpu, u64 old, u64 src, unsigned int size, unsigned int arg)
{
	(void)cpu, (void)old, (void)size, (void)arg;
	return src;
}

EXEC(xchg)
{
	struct insn locked;

	/* Locked with or without the prefix, when it is with memory; Zydis has that second or first. */
	locked = *insn;
	locked.lock = true;
	if (insn->op[0].kind != OPND_MEM) {
		locked.op[0] = insn->op[1];
		locked.op[1] = insn->op[0];
	}
	op_write(cpu, &locked, 1,
		 op_change(cpu, &locked, change_take, op_read(cpu, &locked, 1), 0));
}

EXEC(xadd)
{
	u64 src = op_read(cpu, insn, 1);
	u64 old = op_change(cpu, insn, change_alu, src, ALU_ADD);

	if (insn->op[0].kind == OPND_MEM) {
		op_write(cpu, insn, 1, old);
		return;
	}
	/* Both in registers, maybe the same one: the sum is what stays. */
	{
		u64 sum = op_read(cpu, insn, 0);

		op_write(cpu, insn, 1, old);
		op_write(cpu, insn, 0, sum);
	}
}

static u64 change_cmpxchg(struct cpu *cpu, u64 old, u64 src, unsigned int size, unsigned int arg)
{
	u64 want = gpr_read(cpu, GPR_RAX, size);

	(void)arg;
	compare(cpu, want, old, size);
	return want == old ? src : old; /* written in both cases */
}

EXEC(cmpxchg)
{
	u64 old;

	/* A register that is not equal is not written, so it keeps its upper half. */
	if (insn->op[0].kind != OPND_MEM) {
		old = op_read(cpu, insn, 0);
		if (change_cmpxchg(cpu, old, ~old, insn->op[0].size, 0) == old)
			gpr_write(cpu, GPR_RAX, insn->op[0].size, old);
		else
			op_write(cpu, insn, 0, op_read(cpu, insn, 1));
		return;
	}
	old = op_change(cpu, insn, change_cmpxchg, op_read(cpu, insn, 1), 0);

	if (!(cpu->rflags & FLAG_ZF))
		gpr_write(cpu, GPR_RAX, insn->op[0].size, old);
}

static u64 change_cmpxchg8(struct cpu *cpu, u64 old, u64 src, unsigned int size, unsigned int arg)
{
	u64 want = gpr_read(cpu, GPR_RAX, 4) | gpr_read(cpu, GPR_RDX, 4) << 32;

	(void)size, (void)arg;
	set_flag(cpu, FLAG_ZF, want == old);
	return want == old ? src : old;
}

EXEC(cmpxchg8b)
{
	u64 src = gpr_read(cpu, GPR_RBX, 4) | gpr_read(cpu, GPR_RCX, 4) << 32;
	u64 old = op_change(cpu, insn, change_cmpxchg8, src, 0);

	if (!(cpu->rflags & FLAG_ZF)) {
		gpr_write(cpu, GPR_RAX, 4, old);
		gpr_write(cpu, GPR_RDX, 4, old >> 32);
	}
}

/*
 * 16 bytes at once. The host's own CMPXCHG16B needs a compiler option that not every
 * build has, so these take turns with one another and with split locks only.
 */
EXEC(cmpxchg16b)
{
	const struct operand *op = &insn->op[0];
	gva_t gva = linear(cpu, op->seg, effective(cpu, insn, op), 1, ACCESS_WRITE);
	u64 lo, hi;
	u64 *host;
	bool same;

	if (gva & 15)
		raise_gp(cpu);
	host = (u64 *)lin_host(cpu, gva, ACCESS_WRITE);
	split_lock();
	lo = __atomic_load_n(&host[0], __ATOMIC_ACQUIRE);
	hi = __atomic_load_n(&host[1], __ATOMIC_ACQUIRE);
	same = lo == cpu->gpr[GPR_RAX] && hi == cpu->gpr[GPR_RDX];
	if (same) {
		__atomic_store_n(&host[0], cpu->gpr[GPR_RBX], __ATOMIC_RELEASE);
		__atomic_store_n(&host[1], cpu->gpr[GPR_RCX], __ATOMIC_RELEASE);
	}
	split_unlock();
	set_flag(cpu, FLAG_ZF, same);
	if (!same) {
		cpu->gpr[GPR_RAX] = lo;
		cpu->gpr[GPR_RDX] = hi;
	}
}

/* CBW, CWDE, CDQE: arg is the size of the result. */
EXEC(widen)
{
	unsigned int half = insn->arg / 2, shift = 64 - 8 * half;

	gpr_write(cpu, GPR_RAX, insn->arg, (u64)((s64)(cpu->gpr[GPR_RAX] << shift) >> shift));
}

/* CWD, CDQ, CQO: arg is the size of each half. */
EXEC(widen_pair)
{
	bool negative = cpu->gpr[GPR_RAX] >> (8 * insn->arg - 1) & 1;

	gpr_write(cpu, GPR_RDX, insn->arg, negative ? ~0ull : 0);
}

EXEC(xlat)
{
	u64 at = (cpu->gpr[GPR_RBX] + gpr_read(cpu, GPR_RAX, 1)) & size_mask(insn->asize);

	gpr_write(cpu, GPR_RAX, 1, mem_read(cpu, insn->seg, at, 1));
}

EXEC(lahf)
{
	u64 f = (cpu->rflags & 0xd5) | RFLAGS_FIXED;

	cpu->gpr[GPR_RAX] = (cpu->gpr[GPR_RAX] & ~0xff00ull) | f << 8;
}

EXEC(sahf)
{
	cpu->rflags = (cpu->rflags & ~0xd5ull) | (cpu->gpr[GPR_RAX] >> 8 & 0xd5);
}

EXEC(salc)
{
	gpr_write(cpu, GPR_RAX, 1, cpu->rflags & FLAG_CF ? 0xff : 0);
}

EXEC(flag)
{
	switch (insn->arg) {
	case FLAG_CLC:
	case FLAG_STC:
		set_flag(cpu, FLAG_CF, insn->arg == FLAG_STC);
		break;
	case FLAG_CMC:
		cpu->rflags ^= FLAG_CF;
		break;
	default:
		set_flag(cpu, FLAG_DF, insn->arg == FLAG_STD);
	}
}

/* NOP, PAUSE, fences, prefetches, ENDBR: an operand in memory is not touched. */
EXEC(nop)
{
}

/* Guests' stores are releases, which a later load of the guest may overtake on the host. */
EXEC(mfence)
{
	/* a locked operation; ThreadSanitizer knows no fences */
	__atomic_fetch_or(&cpu->stop, 0, __ATOMIC_SEQ_CST);
}

/* CLFLUSH and its kin translate as a read does; caches are not modelled. */
EXEC(clflush)
{
	const struct operand *op = &insn->op[0];

	mem_read(cpu, op->seg, effective(cpu, insn, op), 1);
}

EXEC(rdpid)
{
	op_write(cpu, insn, 0, cpu->tsc_aux);
}

/* --- strings: one iteration a call; with REP the instruction starts over ------ */

static void advance(struct cpu *cpu, unsigned int reg, const struct insn *insn, unsigned int size)
{
	u64 by = cpu->rflags & FLAG_DF ? -(u64)size : size;

	gpr_write(cpu, reg, insn->asize, cpu->gpr[reg] + by);
}

EXEC(string)
{
	unsigned int size = STRING_SIZE(insn->arg), op = STRING_OP(insn->arg);
	u64 si = gpr_read(cpu, GPR_RSI, insn->asize), di = gpr_read(cpu, GPR_RDI, insn->asize);
	bool again = insn->rep != REP_NONE, compares = false;
	u64 left;

	if (again && !gpr_read(cpu, GPR_RCX, insn->asize))
		return;
	switch (op) {
	case STR_MOVS:
		mem_write(cpu, SEG_ES, di, size, mem_read(cpu, insn->seg, si, size));
		break;
	case STR_STOS:
		mem_write(cpu, SEG_ES, di, size, gpr_read(cpu, GPR_RAX, size));
		break;
	case STR_LODS:
		gpr_write(cpu, GPR_RAX, size, mem_read(cpu, insn->seg, si, size));
		break;
	case STR_SCAS:
		compare(cpu, gpr_read(cpu, GPR_RAX, size), mem_read(cpu, SEG_ES, di, size), size);
		compares = true;
		break;
	case STR_CMPS: {
		u64 a = mem_read(cpu, insn->seg, si, size);

		compare(cpu, a, mem_read(cpu, SEG_ES, di, size), size);
		compares = true;
		break;
	}
	default:
		string_io(cpu, insn, size, op == STR_INS);
	}
	if (op == STR_MOVS || op == STR_LODS || op == STR_CMPS || op == STR_OUTS)
		advance(cpu, GPR_RSI, insn, size);
	if (op != STR_LODS && op != STR_OUTS)
		advance(cpu, GPR_RDI, insn, size);
	if (!again)
		return;
	left = gpr_read(cpu, GPR_RCX, insn->asize) - 1;
	gpr_write(cpu, GPR_RCX, insn->asize, left);
	if (compares && !(cpu->rflags & FLAG_ZF) == (insn->rep == REP_E))
		return;
	if (left)
		cpu->next_rip = cpu->rip;
}
