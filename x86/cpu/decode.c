// SPDX-License-Identifier: GPL-2.0-only
/*
 * From bytes to struct insn, by Zydis, remembered in a cache. An entry of the cache
 * is found by the physical address of the code and used only if the bytes there
 * are still those that were decoded: self-modifying code and a hypervisor that
 * changes memory need no further attention.
 */
#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/exec.h"

#define MAX_INSN   15
#define CACHE_SIZE 4096 /* a power of two */

enum decode_mode {
	DECODE_16,
	DECODE_32,
	DECODE_64,
	DECODE_MODES
};

struct cached_insn {
	hpa_t hpa;
	u64 bytes[2], mask[2];
	u8 mode; /* enum decode_mode + 1; 0: empty */
	struct insn insn;
};

struct insn_cache {
	ZydisDecoder decoder[DECODE_MODES];
	struct cached_insn entry[CACHE_SIZE];
};

struct insn_cache *insn_cache_new(void)
{
	struct insn_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	ZydisDecoderInit(&cache->decoder[DECODE_16], ZYDIS_MACHINE_MODE_LEGACY_16,
			 ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&cache->decoder[DECODE_32], ZYDIS_MACHINE_MODE_LEGACY_32,
			 ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&cache->decoder[DECODE_64], ZYDIS_MACHINE_MODE_LONG_64,
			 ZYDIS_STACK_WIDTH_64);
	return cache;
}

void insn_cache_free(struct insn_cache *cache)
{
	free(cache);
}

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
}

/* Decodes what was gathered; false: there may be an instruction if more bytes follow. */
static bool decode(struct cpu *cpu, struct insn *insn, enum decode_mode mode, const u8 *bytes,
		   unsigned int n)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZyanStatus status;

	status = ZydisDecoderDecodeFull(&cpu->icache->decoder[mode], bytes, n, &z, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA && n < MAX_INSN)
		return false;
	if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		raise_gp(cpu);
	if (!ZYAN_SUCCESS(status))
		raise_ud(cpu);
	translate_insn(insn, &z, operands, mode == DECODE_64);
	memcpy(insn->bytes, bytes, z.length);
	return true;
}

static const struct insn *accept(struct cpu *cpu, const struct insn *insn)
{
	u64 next = cpu->rip + insn->len;

	cpu->next_rip = in_64(cpu) ? next : (u32)next;
	if (!in_64(cpu) && cpu->rip + insn->len - 1 > cpu->seg[SEG_CS].limit)
		raise_gp(cpu);
	return insn;
}

/*
 * Code may be changed by another processor meanwhile, so it's read by atomic accesses
 * like anything else: 16 bytes at any address, by the aligned words around them.
 */
static void load_code(const u8 *host, u64 bytes[2])
{
	const u64 *word = (const u64 *)((uintptr_t)host & ~7ul);
	unsigned int shift = 8 * ((uintptr_t)host & 7);
	u64 w[3];

	for (unsigned int i = 0; i < 3; i++)
		w[i] = __atomic_load_n(&word[i], __ATOMIC_RELAXED);
	bytes[0] = shift ? w[0] >> shift | w[1] << (64 - shift) : w[0];
	bytes[1] = shift ? w[1] >> shift | w[2] << (64 - shift) : w[1];
}

static void copy_code(u8 *to, const u8 *host, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		to[i] = __atomic_load_n(host + i, __ATOMIC_RELAXED);
}

/* An instruction that begins in one page and may end in the next. */
static const struct insn *fetch_across(struct cpu *cpu, gva_t gva, const u8 *host,
				       enum decode_mode mode, struct cached_insn *c)
{
	unsigned int here = SZ_4K - (gva & (SZ_4K - 1));
	gva_t next = in_64(cpu) ? gva + here : (u32)(gva + here);
	u8 bytes[MAX_INSN];

	c->mode = 0;
	here = here < MAX_INSN ? here : MAX_INSN;
	copy_code(bytes, host, here);
	if (!decode(cpu, &c->insn, mode, bytes, here)) {
		if (in_64(cpu) && !canonical(cpu, next))
			raise_gp(cpu);
		copy_code(bytes + here, lin_host(cpu, next, ACCESS_EXEC), MAX_INSN - here);
		decode(cpu, &c->insn, mode, bytes, MAX_INSN);
	}
	return accept(cpu, &c->insn);
}

const struct insn *fetch(struct cpu *cpu)
{
	enum decode_mode mode = cpu->code_bytes == 8   ? DECODE_64
				: cpu->code_bytes == 4 ? DECODE_32
						       : DECODE_16;
	const struct cpu_segment *cs = &cpu->seg[SEG_CS];
	struct cached_insn *c;
	u64 bytes[2];
	hpa_t hpa;
	gva_t gva;
	u8 *host;

	if (mode == DECODE_64) {
		gva = cpu->rip;
		if (!canonical(cpu, gva))
			raise_gp(cpu);
	} else {
		if (cpu->rip > cs->limit)
			raise_gp(cpu);
		gva = (u32)(cs->base + cpu->rip);
	}
	host = code_host(cpu, gva, &hpa);
	c = &cpu->icache->entry[hpa % CACHE_SIZE];
	if ((gva & (SZ_4K - 1)) > SZ_4K - 24)
		return fetch_across(cpu, gva, host, mode, c);
	load_code(host, bytes);
	if (c->mode == mode + 1 && c->hpa == hpa && !((bytes[0] ^ c->bytes[0]) & c->mask[0]) &&
	    !((bytes[1] ^ c->bytes[1]) & c->mask[1]))
		return accept(cpu, &c->insn);
	c->mode = 0;
	decode(cpu, &c->insn, mode, (const u8 *)bytes, MAX_INSN);
	c->hpa = hpa;
	memcpy(c->bytes, bytes, sizeof(bytes));
	memset(c->mask, 0, sizeof(c->mask));
	memset(c->mask, 0xff, c->insn.len);
	c->mode = mode + 1;
	return accept(cpu, &c->insn);
}
