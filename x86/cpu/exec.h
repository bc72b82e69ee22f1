/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the execution unit share: the decoded form of an instruction,
 * access to its operands, and the ways out of it. Not for users of the CPU.
 *
 * A fault or an exit leaves the instruction by a jump to cpu_run(), which puts the
 * general registers, RFLAGS and CPL back. Stores wait until the instruction is
 * complete. So an instruction may change general registers at will; anything else
 * it changes last, after all that can fail.
 */
#ifndef X86_CPU_EXEC_H
#define X86_CPU_EXEC_H

#include "x86/cpu/cpu.h"

typedef void (*exec_fn)(struct cpu *cpu, const struct insn *insn);

enum operand_kind {
	OPND_NONE,
	OPND_REG,
	OPND_HIGH,
	OPND_MEM,
	OPND_IMM,
	OPND_FAR,
	OPND_SEG,
	OPND_CR,
	OPND_DR
};

#define NO_REG	0xff
#define RIP_REG 0xfe

struct operand {
	u8 kind;
	u8 size;	       /* bytes */
	u8 reg;		       /* REG, HIGH (AH … BH as 0 … 3), SEG, CR, DR: number */
	u8 seg;		       /* MEM: segment */
	u8 base, index, scale; /* MEM: NO_REG when absent */
	u16 sel;	       /* FAR: selector */
	u64 imm;	       /* MEM: displacement; IMM, FAR: value, sign-extended */
};

enum rep_kind {
	REP_NONE,
	REP_E,
	REP_NE
};

struct insn {
	exec_fn quick; /* as exec, for an instruction in a block (quick.c) */
	exec_fn exec;
	u8 arg; /* what tells apart instructions that share a function */
	u8 len;
	u8 size;  /* operand size in bytes */
	u8 asize; /* address size in bytes */
	u8 rep;	  /* enum rep_kind; REP_E is also plain REP */
	bool lock;
	bool plain;  /* changes no general register before all that can fail */
	bool simple; /* plain, and changes nothing that the CPU looks at between instructions */
	bool ends;   /* the one after it may not be the next one */
	bool far;    /* JMP, CALL and RET that load CS */
	u8 seg;	     /* of the first implicit memory operand: DS, or what a prefix says */
	u8 nr_ops;
	u16 mnemonic; /* ZydisMnemonic */
	u64 amask;    /* of the bits that an address has */
	struct operand op[4];
	u8 bytes[15]; /* as fetched */
};

/* --- ways out (exception.c, cpu.c) --------------------------------------- */

#define NO_ERROR (~0u)

/* Raises a fault; @error is NO_ERROR when the vector has none. */
void raise_fault(struct cpu *cpu, u8 vector, u32 error) __attribute__((noreturn, cold));
void raise_pf(struct cpu *cpu, u64 error, gva_t gva) __attribute__((noreturn, cold));
/* Leaves cpu_run() with @reason; cpu->exit holds the particulars. */
void leave(struct cpu *cpu, enum cpu_exit reason) __attribute__((noreturn, cold));
/* For a corner of an implemented instruction that is missing. */
void unimplemented(struct cpu *cpu) __attribute__((noreturn, cold));

/* Leaves with EXIT_INSN if one of the ICPT_* in @which is intercepted. */
void intercept(struct cpu *cpu, u64 which);

#define raise_ud(cpu) raise_fault(cpu, UD_VECTOR, NO_ERROR)
#define raise_gp(cpu) raise_fault(cpu, GP_VECTOR, 0)

#define NP_VECTOR 11
#define TS_VECTOR 10
#define SS_VECTOR 12
#define AC_VECTOR 17
#define BR_VECTOR 5
#define OF_VECTOR 4
#define BP_VECTOR 3

/* Delivers cpu->event through the IDT. */
void deliver_event(struct cpu *cpu);
/*
 * A fault came up while @first was being delivered (type EVENT_NONE: none). Returns
 * what is to be delivered now; false: the processor shuts down.
 */
bool combine_events(const struct cpu_event *first, struct cpu_event *second);

/* --- decoding (decode.c) -------------------------------------------------- */

#define MAX_INSN 15 /* bytes */

enum decode_mode {
	DECODE_16,
	DECODE_32,
	DECODE_64
};

enum decode_result {
	DECODE_OK,
	DECODE_MORE, /* there may be an instruction if more bytes follow */
	DECODE_TOO_LONG,
	DECODE_INVALID
};

/* The instruction that begins at @bytes, of which there are @n. */
enum decode_result decode_insn(struct insn *insn, enum decode_mode mode, const u8 *bytes,
			       unsigned int n);
/* Name of the instruction, a static string. */
const char *insn_name(const struct insn *insn);

struct insn_desc {
	exec_fn exec;
	u8 arg;
	bool plain; /* as in struct insn, for near transfers and POP of a register */
};
/* By mnemonic; exec is NULL for what is not implemented. (table.c) */
struct insn_desc insn_lookup(u16 mnemonic);

/* What executes @insn, which is simple, in a block: insn->exec, or something quicker. (quick.c) */
exec_fn quick_exec(const struct insn *insn);

/* --- blocks (block.c) ------------------------------------------------------ */

#define BLOCK_WORDS 10 /* of 8 bytes: what a block's code may span */
#define BLOCK_INSNS 24

/*
 * Instructions that follow one another in a page: simple ones, the last of which may
 * be a branch; or a single one of the others.
 */
struct block {
	const u8 *host; /* where the code is */
	struct insn *insn;
	u16 next; /* in the same bucket: its number; 0: none */
	u8 mode;  /* enum decode_mode */
	u8 nr, nr_words;
	u8 len; /* bytes */
	/* The code, from the aligned word on that it begins in, and which bits of these it is. */
	struct {
		u64 value, mask;
	} word[BLOCK_WORDS];
}
__attribute__((aligned(64))); /* so that entering one touches as few lines of the cache as can be */

struct insn_cache *insn_cache_new(void);
void insn_cache_free(struct insn_cache *cache);
/*
 * The block at cpu->rip, as memory has it now, of which at least one instruction lies
 * in the limit of CS. It's valid until the next call. Renews the context.
 */
const struct block *fetch(struct cpu *cpu);

/* --- memory (mem.c) -------------------------------------------------------- */

static inline u64 size_mask(unsigned int size)
{
	return size == 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

static inline bool in_64(const struct cpu *cpu)
{
	return cpu->code_bytes == 8;
}

static inline bool canonical(const struct cpu *cpu, u64 addr)
{
	unsigned int shift = cpu->mmu.cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

	return (u64)((s64)(addr << shift) >> shift) == addr;
}

static inline bool protected_mode(const struct cpu *cpu)
{
	return cpu->mmu.cr0 & CR0_PE;
}

static inline u8 cpl(const struct cpu *cpu)
{
	return cpu->mmu.cpl;
}

/* Offset of a memory operand in its segment; also what LEA gives (before its own truncation). */
static inline u64 effective(struct cpu *cpu, const struct insn *insn, const struct operand *op)
{
	u64 ea = op->imm;

	if (op->base < GPR_COUNT)
		ea += cpu->gpr[op->base];
	else if (op->base == RIP_REG)
		ea += cpu->next_rip;
	if (op->index != NO_REG)
		ea += cpu->gpr[op->index] * op->scale;
	return ea & insn->amask;
}

/* Linear address of @size bytes at @offset of @seg; raises #GP, #SS or #AC. */
gva_t linear(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size,
	     enum access_kind kind);
/* Reads or writes 1, 2, 4 or 8 bytes; a write waits for the end of the instruction. */
u64 mem_read(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size);
void mem_write(struct cpu *cpu, unsigned int seg, u64 offset, unsigned int size, u64 value);
/* The same by linear address, without a segment. */
u64 lin_read(struct cpu *cpu, gva_t gva, unsigned int size, enum access_kind kind);
void lin_write(struct cpu *cpu, gva_t gva, unsigned int size, u64 value);
/* As the processor itself does for descriptor tables and the TSS: as supervisor. */
u64 sys_read(struct cpu *cpu, gva_t gva, unsigned int size);
void sys_write(struct cpu *cpu, gva_t gva, unsigned int size, u64 value);
/* Host pointer to the byte at @gva after a translation for @kind. */
u8 *lin_host(struct cpu *cpu, gva_t gva, enum access_kind kind);
/* What a translation depends on besides the TLB; CR0, CR3, PKRU and the like are the epoch's. */
static inline u64 page_context(const struct cpu *cpu)
{
	return cpu->epoch << 4 | cpu->mmu.cpl << 2 | cpu->mmu.implicit << 1 |
	       !!(cpu->rflags & FLAG_AC);
}

/* To be done before recent_host() when anything of that may have changed. */
static inline void renew_context(struct cpu *cpu)
{
	cpu->context = page_context(cpu);
}

/* Host address of @gva if its page was used lately in the present context; NULL otherwise. */
static inline u8 *recent_host(const struct cpu *cpu, gva_t gva, enum access_kind kind)
{
	const struct cpu_page *p = &cpu->pages[kind][gva / SZ_4K % CPU_PAGES];

	if (__builtin_expect(p->page != gva / SZ_4K ||
				     p->generation != cpu->generations[gva / SZ_4K % CPU_PAGES] ||
				     p->context != cpu->context,
			     0))
		return NULL;
	return p->host + gva % SZ_4K;
}

/* Whether a store of up to 8 bytes at @host changes the block that is being executed. */
static inline bool hits_code(const struct cpu *cpu, const u8 *host)
{
	return (uintptr_t)host + 7 - (uintptr_t)cpu->code < cpu->code_len + 7;
}

/* Carries out the stores that wait. */
void commit_stores(struct cpu *cpu);
/* Misaligned locked operations take turns. */
void split_lock(void);
void split_unlock(void);

/* --- operands (inline: the way of most instructions) ----------------------- */

static inline u64 gpr_read(const struct cpu *cpu, unsigned int reg, unsigned int size)
{
	return cpu->gpr[reg] & size_mask(size);
}

/* 4-byte writes clear the upper half, smaller ones keep the rest. */
static inline void gpr_write(struct cpu *cpu, unsigned int reg, unsigned int size, u64 value)
{
	if (size >= 4)
		cpu->gpr[reg] = value & size_mask(size);
	else
		cpu->gpr[reg] = (cpu->gpr[reg] & ~size_mask(size)) | (value & size_mask(size));
}

static inline u64 op_read(struct cpu *cpu, const struct insn *insn, unsigned int i)
{
	const struct operand *op = &insn->op[i];

	switch (op->kind) {
	case OPND_REG:
		return gpr_read(cpu, op->reg, op->size);
	case OPND_HIGH:
		return cpu->gpr[op->reg] >> 8 & 0xff;
	case OPND_MEM:
		return mem_read(cpu, op->seg, effective(cpu, insn, op), op->size);
	default:
		return op->imm;
	}
}

static inline void op_write(struct cpu *cpu, const struct insn *insn, unsigned int i, u64 value)
{
	const struct operand *op = &insn->op[i];

	switch (op->kind) {
	case OPND_REG:
		gpr_write(cpu, op->reg, op->size, value);
		break;
	case OPND_HIGH:
		cpu->gpr[op->reg] = (cpu->gpr[op->reg] & ~0xff00ull) | (value & 0xff) << 8;
		break;
	default:
		mem_write(cpu, op->seg, effective(cpu, insn, op), op->size, value);
	}
}

/*
 * Operand 0 = change(operand 0, @src), atomically when the instruction is locked.
 * change() sets the flags; it may be called more than once. Returns the old value.
 */
typedef u64 (*change_fn)(struct cpu *cpu, u64 old, u64 src, unsigned int size, unsigned int arg);
u64 op_change(struct cpu *cpu, const struct insn *insn, change_fn change, u64 src,
	      unsigned int arg);

static inline void set_flag(struct cpu *cpu, u64 flag, bool on)
{
	cpu->rflags = on ? cpu->rflags | flag : cpu->rflags & ~flag;
}

/* ZF, SF and PF of a result that fits @size. Flags are computed without branches. */
static inline u64 result_flags(u64 r, unsigned int size)
{
	u64 zero = !(r & size_mask(size)), even = !__builtin_parity(r & 0xff);

	return zero * FLAG_ZF | even * FLAG_PF | (r >> (8 * size - 1) & 1) * FLAG_SF;
}

#define FLAGS_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline void set_arith(struct cpu *cpu, u64 flags)
{
	cpu->rflags = (cpu->rflags & ~FLAGS_ARITH) | flags;
}

/* Whether condition @cc (0 … 15, as encoded in Jcc) holds. */
static inline bool condition(const struct cpu *cpu, unsigned int cc)
{
	u64 f = cpu->rflags;
	bool less = !(f & FLAG_SF) != !(f & FLAG_OF), is;

	switch (cc >> 1) {
	case 0:
		is = f & FLAG_OF;
		break;
	case 1:
		is = f & FLAG_CF;
		break;
	case 2:
		is = f & FLAG_ZF;
		break;
	case 3:
		is = f & (FLAG_CF | FLAG_ZF);
		break;
	case 4:
		is = f & FLAG_SF;
		break;
	case 5:
		is = f & FLAG_PF;
		break;
	case 6:
		is = less;
		break;
	default:
		is = less || (f & FLAG_ZF);
	}
	return is != (cc & 1);
}

/* --- stack and segments (stack.c, segment.c) ------------------------------- */

/* 2, 4 or 8: how wide the stack pointer is. */
unsigned int stack_bytes(const struct cpu *cpu);
void push(struct cpu *cpu, unsigned int size, u64 value);
u64 pop(struct cpu *cpu, unsigned int size);
/* Adds to RSP as wide as the stack is. */
void move_sp(struct cpu *cpu, s64 by);

struct descriptor {
	u16 sel;
	gva_t at;   /* linear address */
	u64 lo, hi; /* hi: bits 127:64 of a 16-byte system descriptor */
};

/* Reads descriptor @sel of GDT or LDT; false: beyond the limit or null. */
bool read_descriptor(struct cpu *cpu, u16 sel, struct descriptor *d);
struct cpu_segment unpack_descriptor(const struct descriptor *d);
/* Sets the accessed bit in the table, if it is clear. */
void mark_accessed(struct cpu *cpu, struct descriptor *d);
/* MOV to @seg with all checks. */
void load_segment(struct cpu *cpu, unsigned int seg, u16 sel);
/* CS of a far JMP, CALL or of a return to the same or an outer ring, checked. */
struct cpu_segment far_code(struct cpu *cpu, u16 sel, bool ret);
/* SS of @sel for ring @ring; @vector is what a bad one raises (#GP or #TS). */
struct cpu_segment stack_segment(struct cpu *cpu, u16 sel, unsigned int ring, u8 vector,
				 unsigned int ext);
/* After a return to an outer ring: data segments that it may not have become null. */
void drop_inner_segments(struct cpu *cpu);
/* Installs CS, sets CPL and what follows from both. */
void set_cs(struct cpu *cpu, const struct cpu_segment *cs, unsigned int ring);
/* Whether @rip may be jumped to in @cs; raises #GP otherwise. */
void check_rip(struct cpu *cpu, const struct cpu_segment *cs, u64 rip);
void set_flags_checked(struct cpu *cpu, u64 value, unsigned int size);

/* What table.c names. */
#define EXEC(name)                                                \
	void exec_##name(struct cpu *cpu __attribute__((unused)), \
			 const struct insn *insn __attribute__((unused)))

#endif
