// SPDX-License-Identifier: GPL-2.0-only
/* From bytes to struct insn, by Zydis. */
#include <Zydis/Zydis.h>
#include <string.h>

#include "x86/cpu/exec.h"

const char *insn_name(const struct insn *insn)
{
	return ZydisMnemonicGetString(insn->mnemonic);
}

static u8 segment_number(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS ? reg - ZYDIS_REGISTER_ES
								    : SEG_DS;
}

/* Number of a general register as part of an address. */
static u8 address_register(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return NO_REG;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return RIP_REG;
	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return reg - ZYDIS_REGISTER_RAX;
	if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
		return reg - ZYDIS_REGISTER_EAX;
	return reg - ZYDIS_REGISTER_AX;
}

static bool set_register(struct operand *op, ZydisRegister reg)
{
	op->kind = OPND_REG;
	if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL) {
		op->reg = reg - ZYDIS_REGISTER_AL;
	} else if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
		op->kind = OPND_HIGH;
		op->reg = reg - ZYDIS_REGISTER_AH;
	} else if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B) {
		op->reg = reg - ZYDIS_REGISTER_SPL + GPR_RSP;
	} else if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15) {
		op->reg = (reg - ZYDIS_REGISTER_AX) % GPR_COUNT;
	} else if (reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS) {
		op->kind = OPND_SEG;
		op->reg = reg - ZYDIS_REGISTER_ES;
	} else if (reg >= ZYDIS_REGISTER_CR0 && reg <= ZYDIS_REGISTER_CR15) {
		op->kind = OPND_CR;
		op->reg = reg - ZYDIS_REGISTER_CR0;
	} else if (reg >= ZYDIS_REGISTER_DR0 && reg <= ZYDIS_REGISTER_DR15) {
		op->kind = OPND_DR;
		op->reg = reg - ZYDIS_REGISTER_DR0;
	} else {
		return false; /* of x87, SSE …, which no implemented instruction has */
	}
	return true;
}

static bool set_operand(struct operand *op, const ZydisDecodedOperand *from)
{
	op->size = from->size / 8;
	switch (from->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return set_register(op, from->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		op->kind = OPND_MEM;
		op->seg = segment_number(from->mem.segment);
		op->base = address_register(from->mem.base);
		op->index = address_register(from->mem.index);
		op->scale = from->mem.scale;
		op->imm = from->mem.disp.has_displacement ? from->mem.disp.value : 0;
		return true;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		op->kind = OPND_IMM;
		op->imm = from->imm.value.u;
		return true;
	case ZYDIS_OPERAND_TYPE_POINTER:
		op->kind = OPND_FAR;
		op->sel = from->ptr.segment;
		op->imm = from->ptr.offset;
		return true;
	default:
		return false;
	}
}

static u8 override(const ZydisDecodedInstruction *z, bool is_64)
{
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return SEG_FS;
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return SEG_GS;
	if (is_64)
		return SEG_DS;
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
		return SEG_CS;
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return SEG_SS;
	if (z->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
		return SEG_ES;
	return SEG_DS;
}

/* Whether the instruction may be one of several in a block. */
static bool is_simple(const struct insn *insn)
{
	if (!insn->exec || !insn->plain || insn->lock)
		return false;
	for (unsigned int i = 0; i < insn->nr_ops; i++)
		if (insn->op[i].kind >= OPND_FAR)
			return false;
	return true;
}

static void translate_insn(struct insn *insn, const ZydisDecodedInstruction *z,
			   const ZydisDecodedOperand *operands, bool is_64)
{
	struct insn_desc desc = insn_lookup(z->mnemonic);

	memset(insn, 0, sizeof(*insn));
	insn->exec = desc.exec;
	insn->arg = desc.arg;
	insn->mnemonic = z->mnemonic;
	insn->len = z->length;
	insn->size = z->operand_width / 8;
	insn->asize = z->address_width / 8;
	insn->amask = size_mask(insn->asize);
	insn->lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;
	insn->far = z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
	if (z->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		insn->rep = REP_NE;
	else if (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		insn->rep = REP_E;
	insn->seg = override(z, is_64);
	for (unsigned int i = 0; i < z->operand_count_visible && i < ARRAY_LEN(insn->op); i++) {
		if (!set_operand(&insn->op[i], &operands[i]))
			insn->exec = NULL;
		insn->nr_ops++;
	}
	insn->plain = desc.plain && !insn->far &&
		      (insn->mnemonic != ZYDIS_MNEMONIC_POP || insn->op[0].kind == OPND_REG);
	if (z->operand_count_visible > ARRAY_LEN(insn->op) ||
	    z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		insn->exec = NULL;
	insn->simple = is_simple(insn);
	insn->quick = insn->simple ? quick_exec(insn) : insn->exec;
	insn->ends = z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

enum decode_result decode_insn(struct insn *insn, enum decode_mode mode, const u8 *bytes,
			       unsigned int n)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[] = {
		[DECODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[DECODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[DECODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
	};
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZydisDecoder decoder;
	ZyanStatus status;

	ZydisDecoderInit(&decoder, modes[mode].machine, modes[mode].stack);
	if (n > MAX_INSN)
		n = MAX_INSN;
	status = ZydisDecoderDecodeFull(&decoder, bytes, n, &z, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA && n < MAX_INSN)
		return DECODE_MORE;
	if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return DECODE_TOO_LONG;
	if (!ZYAN_SUCCESS(status))
		return DECODE_INVALID;
	translate_insn(insn, &z, operands, mode == DECODE_64);
	memcpy(insn->bytes, bytes, z.length);
	return DECODE_OK;
}
