// SPDX-License-Identifier: GPL-2.0-only
/*
 * The software CPU against the processor that it runs on: each user-mode integer
 * instruction of a list, with random registers, flags and memory, executed by both.
 * Registers, memory, the branch taken and the flags that the manual defines have to
 * agree, and so have the faults.
 *
 * The processor executes in this process: a trampoline loads all registers, jumps
 * to the instruction in a page of its own, and saves them again. The CPU sees a copy
 * of the same memory at the same addresses.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "x86/cpu/cpu.h"

#if defined(__x86_64__)

#include "test_cpu_insns.h"
#include "test_cpu_native.h"

#define TABLES 0x8000ul /* in the CPU's physical memory, behind the data and the code */

/* --- the CPU ---------------------------------------------------------------------- */

static struct phys_arena arena;
static struct cpu cpu;

/* The list that is compared: 64-bit code, or 32-bit code in compatibility mode. */
static bool is_64;
static const u8 *list, *list_end;

/* The page at gva BASE + n is frame n: tables for 2 MiB above BASE. */
static void cpu_setup(void)
{
	const u16 data = SEG_P | SEG_S | 3 << 5 | 3 | SEG_DB | SEG_G;
	u64 *pml4, *pdpt, *pd, *pt;

	if (!phys_arena_init(&arena, 0x10000) || !cpu_init(&cpu))
		test_error("no memory for the CPU");
	pml4 = (u64 *)(arena.base + TABLES);
	pdpt = pml4 + 512;
	pd = pdpt + 512;
	pt = pd + 512;
	pml4[BASE >> 39 & 511] = (TABLES + 0x1000) | PTE_P | PTE_W | PTE_U;
	pdpt[BASE >> 30 & 511] = (TABLES + 0x2000) | PTE_P | PTE_W | PTE_U;
	pd[BASE >> 21 & 511] = (TABLES + 0x3000) | PTE_P | PTE_W | PTE_U;
	for (u64 i = 0; i <= DATA_SIZE / SZ_4K; i++)
		pt[i] = i * SZ_4K | PTE_P | PTE_W | PTE_U;
	cpu.phys = &arena.phys;
	cpu.tlb = tlb_new();
	cpu.mmu.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
	cpu.mmu.cr4 = CR4_PAE;
	cpu.mmu.cr3 = TABLES;
	cpu.mmu.efer = EFER_LME | EFER_LMA | EFER_NX;
	cpu.mmu.cpl = 3;
	cpu.seg[SEG_CS] = (struct cpu_segment){
		.sel = is_64 ? CS_64 : CS_32,
		.attr = SEG_P | SEG_S | 3 << 5 | 0xb | (is_64 ? SEG_L : SEG_DB) | SEG_G,
		.limit = ~0u,
	};
	for (unsigned int i = SEG_ES; i <= SEG_GS; i++) {
		if (i == SEG_CS)
			continue;
		cpu.seg[i] = (struct cpu_segment){0};
		if (i == SEG_SS || (!is_64 && i < SEG_FS))
			cpu.seg[i] = (struct cpu_segment){.sel = SS, .attr = data, .limit = ~0u};
	}
	cpu.intercept.exceptions = ~0u;
	cpu_sync(&cpu);
}

/* --- states ------------------------------------------------------------------------ */

static struct test *test;

static u64 rnd(void)
{
	return test_rand(test);
}

/* Values at which carries, signs and shifts change come up more often than by chance. */
static u64 rnd_value(void)
{
	static const u64 special[] = {0,
				      1,
				      2,
				      0x7f,
				      0x80,
				      0xff,
				      0x7fff,
				      0x8000,
				      0xffff,
				      0x7fffffff,
				      0x80000000,
				      0xffffffff,
				      0x100000000,
				      0x7fffffffffffffff,
				      0x8000000000000000,
				      ~0ull};
	u64 r = rnd();

	switch (r >> 60 & 3) {
	case 0:
		return special[r % ARRAY_LEN(special)];
	case 1:
		return r >> (r & 63);
	default:
		return rnd();
	}
}

/* An address in the data, often near the end of a page. */
static u64 rnd_address(void)
{
	u64 r = rnd();

	if (!(r >> 62 & 3))
		return BASE + 0x1000 + ((r & 1) << 12) - (r >> 8 & 15);
	return BASE + 0x400 + (r >> 8) % 0x2000;
}

struct under_test {
	const u8 *code;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	char text[96];
};

static int gpr_number(ZydisRegister reg)
{
	int id = ZydisRegisterGetId(
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));

	return reg == ZYDIS_REGISTER_NONE || reg == ZYDIS_REGISTER_RIP ? -1 : id;
}

/* Makes memory operands fall into the data. */
static void aim(const struct under_test *u, struct state *s)
{
	for (unsigned int i = 0; i < u->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &u->operand[i];
		int base, index;
		u64 at = rnd_address(), rest;

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    op->mem.type == ZYDIS_MEMOP_TYPE_AGEN || gpr_number(op->mem.base) == GPR_RSP)
			continue;
		base = gpr_number(op->mem.base);
		index = gpr_number(op->mem.index);
		if (u->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B && (rnd() & 7))
			at &= ~15ull;
		if (base < 0)
			continue;
		if (index >= 0 && (rnd() & 1))
			s->gpr[index] = rnd() & 0xff;
		rest = op->mem.disp.value;
		if (index >= 0)
			rest += s->gpr[index] * op->mem.scale;
		if (u->insn.mnemonic == ZYDIS_MNEMONIC_XLAT)
			rest = s->gpr[0] & 0xff;
		s->gpr[base] = at - rest;
	}
}

static void make_state(const struct under_test *u, struct state *s)
{
	for (unsigned int i = 0; i < 16; i++)
		s->gpr[i] = rnd_value();
	s->flags = (rnd() & 0x8d5) | 0x202;
	/* A bit offset in a register may lead far away from its base. */
	if (u->insn.mnemonic >= ZYDIS_MNEMONIC_BT && u->insn.mnemonic <= ZYDIS_MNEMONIC_BTS &&
	    u->operand[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		s->gpr[gpr_number(u->operand[1].reg.value)] = (s64)(rnd() << 50) >> 50;
	if (u->insn.attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		s->gpr[GPR_RCX] = rnd() & 15;
	s->gpr[GPR_RSP] = STACK + (rnd() & 0x7f8);
	if (u->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE || u->insn.mnemonic == ZYDIS_MNEMONIC_ENTER)
		s->gpr[GPR_RBP] = STACK + (rnd() & 0x7f8);
	if (rnd() & 1)
		s->flags |= FLAG_DF;
	aim(u, s);
	for (unsigned int i = 0; i < 8 && !is_64; i++)
		s->gpr[i] = (u32)s->gpr[i];
	if (u->insn.mnemonic == ZYDIS_MNEMONIC_JMP || u->insn.mnemonic == ZYDIS_MNEMONIC_CALL)
		s->gpr[GPR_RAX] = TAKEN;
}

static void make_memory(const struct under_test *u, const struct state *s)
{
	u64 *data = (u64 *)BASE, at = s->gpr[GPR_RSP];

	for (unsigned int i = 0; i < DATA_SIZE / 8; i += 8)
		data[i + (rnd() & 7)] = rnd_value();
	switch (u->insn.mnemonic) {
	case ZYDIS_MNEMONIC_RET:
		*(u64 *)at = TAKEN;
		break;
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPF:
		*(u64 *)at &= ~(FLAG_TF | FLAG_AC | FLAG_NT | FLAG_ID | FLAG_RF);
		break;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
		if (u->operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			u64 target = TAKEN;

			memcpy((void *)s->gpr[gpr_number(u->operand[0].mem.base)], &target, 8);
		}
		break;
	default:
		break;
	}
}

static u64 defined_flags(const struct under_test *u, const struct state *s)
{
	u64 flags = 0x8d5 | FLAG_DF, undefined = 0;

	if (u->insn.cpu_flags)
		undefined = u->insn.cpu_flags->undefined;
	switch (u->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SBB: /* whose AF Zydis takes for undefined */
		undefined = 0;
		break;
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD: {
		const ZydisDecodedOperand *op = &u->operand[u->insn.operand_count_visible - 1];
		unsigned int size = u->operand[0].size, n;
		bool rotate = u->insn.mnemonic != ZYDIS_MNEMONIC_SHL &&
			      u->insn.mnemonic != ZYDIS_MNEMONIC_SHR &&
			      u->insn.mnemonic != ZYDIS_MNEMONIC_SAR;

		n = op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? op->imm.value.u : s->gpr[GPR_RCX];
		n &= size == 64 ? 63 : 31;
		undefined = n == 0 ? 0 : n == 1 ? FLAG_AF : FLAG_AF | FLAG_OF;
		if (rotate && u->insn.mnemonic != ZYDIS_MNEMONIC_SHLD &&
		    u->insn.mnemonic != ZYDIS_MNEMONIC_SHRD)
			undefined &= ~FLAG_AF;
		else if (n > size ||
			 (n == size && !rotate && u->insn.mnemonic != ZYDIS_MNEMONIC_SAR))
			undefined |= FLAG_CF;
		break;
	}
	default:
		break;
	}
	return flags & ~undefined;
}

/* --- comparison ---------------------------------------------------------------------- */

static bool signal_fits(int signo, u8 vector)
{
	switch (vector) {
	case DE_VECTOR:
		return signo == SIGFPE;
	case UD_VECTOR:
		return signo == SIGILL;
	case 3:
		return signo == SIGTRAP;
	default:
		return signo == SIGSEGV || signo == SIGBUS;
	}
}

static void print_state(const char *what, const struct state *s)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	char line[256];
	int n = 0;

	for (unsigned int i = 0; i < 16; i++) {
		n += snprintf(line + n, sizeof(line) - n, " %s=%lx", names[i], s->gpr[i]);
		if (i % 4 == 3) {
			test_diag("%s%s", i == 3 ? what : "      ", line);
			n = 0;
		}
	}
	test_diag("       flags=%lx branch=%s", s->flags, s->taken ? "taken" : "not taken");
}

static const char *differ(const struct under_test *u, const struct state *got)
{
	u64 flags = defined_flags(u, &native_in);

	/* Upper halves mean nothing to 32-bit code. */
	for (unsigned int i = 0; i < 16; i++)
		if ((got->gpr[i] ^ native_out.gpr[i]) & (is_64 ? ~0ull : 0xffffffff))
			return "registers";
	if ((got->flags ^ native_out.flags) & flags)
		return "flags";
	if (got->taken != native_out.taken)
		return "branch";
	if (memcmp(arena.base, (void *)BASE, DATA_SIZE))
		return "memory";
	return NULL;
}

/* Runs one state on both. False: the processor doesn't have the instruction. */
static bool compare_once(const struct under_test *u, bool *failed)
{
	enum cpu_exit exit = EXIT_BUDGET;
	struct state got;
	const char *why;
	int signo;

	make_state(u, &native_in);
	make_memory(u, &native_in);
	memcpy(arena.base, (void *)BASE, DATA_SIZE + SZ_4K);
	memcpy(cpu.gpr, native_in.gpr, sizeof(cpu.gpr));
	cpu.rflags = native_in.flags;
	cpu.rip = SLOT;

	signo = run_native();
	if (signo == SIGILL && u->insn.mnemonic != ZYDIS_MNEMONIC_UD2)
		return false;
	do
		exit = cpu_run(&cpu, 1);
	while (exit == EXIT_BUDGET && cpu.rip == SLOT);

	memcpy(got.gpr, cpu.gpr, sizeof(got.gpr));
	got.flags = cpu.rflags;
	got.taken = cpu.rip == TAKEN;
	test_count_check();
	if (exit == EXIT_EXCEPTION) {
		if (signal_fits(signo, cpu.exit.event.vector))
			return true;
		why = "faults";
	} else if (exit != EXIT_BUDGET) {
		why = cpu_exit_name(exit);
	} else if (signo) {
		why = "faults";
	} else if (cpu.rip != SLOT + u->insn.length && cpu.rip != TAKEN) {
		why = "RIP";
	} else {
		why = differ(u, &got);
	}
	if (!why)
		return true;
	*failed = true;
	test_fail_soft(__FILE__, __LINE__, "%s: %s differ (signal %d, %s, vector %d, flags %#lx)",
		       u->text, why, signo, cpu_exit_name(exit), cpu.exit.event.vector,
		       defined_flags(u, &native_in));
	print_state("before", &native_in);
	print_state("native", &native_out);
	print_state("CPU   ", &got);
	return true;
}

static size_t decode(const u8 *code, struct under_test *u)
{
	static ZydisDecoder decoder;
	static ZydisFormatter formatter;

	if (is_64)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	u->code = code;
	if (!ZYAN_SUCCESS(
		    ZydisDecoderDecodeFull(&decoder, code, list_end - code, &u->insn, u->operand)))
		test_error("Zydis does not decode the list at %#lx", (long)(code - list));
	ZydisFormatterFormatInstruction(&formatter, &u->insn, u->operand,
					u->insn.operand_count_visible, u->text, sizeof(u->text),
					ZYDIS_RUNTIME_ADDRESS_NONE, NULL);
	return u->insn.length;
}

static const char *const widths[] = {"64", "32", NULL};

static void start(struct test *t)
{
	test = t;
	is_64 = t->variant_idx == 0;
	list = is_64 ? insns_start : insns32_start;
	list_end = is_64 ? insns_end : insns32_end;
	native_setup();
	if (!is_64) {
		static const u8 nop = 0x90;

		native_use_32();
		place(&nop, 1);
		native_in.gpr[GPR_RSP] = STACK;
		REQUIRE(run_native() == 0, "32-bit segments of the host's kernel");
	}
	cpu_setup();
}

TEST(user_instructions, .variants = widths,
     .what = "user-mode instructions do what the host's processor does", .timeout = 120)
{
	const char *times = getenv("MMUSCOPE_CPU_STATES");
	unsigned int n = times ? strtoul(times, NULL, 0) : 50, done = 0, missing = 0, bad = 0;
	struct under_test u;
	size_t at = 0;

	start(t);
	while (list + at < list_end) {
		bool failed = false;

		at += decode(list + at, &u);
		place(u.code, u.insn.length);
		for (unsigned int i = 0; i < n && !failed; i++) {
			if (!compare_once(&u, &failed)) {
				test_diag("not on this processor: %s", u.text);
				missing++;
				break;
			}
		}
		bad += failed;
		done++;
	}
	test_diag("@insns %u, of which %u not on this processor, %u wrong", done, missing, bad);
}

/* One state in which some of the pages that it needs are missing. */
static void fault_once(const struct under_test *u, bool *failed)
{
	u64 *pt = (u64 *)(arena.base + TABLES + 3 * SZ_4K);
	struct state *s = &native_in;
	u64 missing = rnd() & 15;
	enum cpu_exit exit;

	make_state(u, s);
	make_memory(u, s);
	memcpy(arena.base, (void *)BASE, DATA_SIZE + SZ_4K);
	memcpy(cpu.gpr, s->gpr, sizeof(cpu.gpr));
	cpu.rflags = s->flags;
	cpu.rip = SLOT;
	for (u64 i = 0; i < DATA_SIZE / SZ_4K; i++)
		pt[i] = i * SZ_4K | PTE_W | PTE_U | (missing >> i & 1 ? 0 : PTE_P);
	tlb_flush_all(cpu.tlb);
	exit = cpu_run(&cpu, 1);
	if (exit != EXIT_EXCEPTION || cpu.exit.event.vector != PF_VECTOR)
		return;
	test_count_check();
	if (!memcmp(cpu.gpr, s->gpr, sizeof(s->gpr)) && cpu.rflags == s->flags && cpu.rip == SLOT &&
	    cpu.mmu.cpl == 3 && !memcmp(arena.base, (void *)BASE, DATA_SIZE))
		return;
	*failed = true;
	test_fail_soft(__FILE__, __LINE__, "%s: something has changed, cr2 %#lx", u->text,
		       cpu.exit.event.cr2);
	print_state("before", s);
	memcpy(native_out.gpr, cpu.gpr, sizeof(native_out.gpr));
	native_out.flags = cpu.rflags;
	print_state("after ", &native_out);
}

TEST(faults_change_nothing, .variants = widths,
     .what = "an instruction that faults leaves registers and memory alone", .timeout = 120)
{
	struct under_test u;
	size_t at = 0;

	start(t);
	while (list + at < list_end) {
		bool failed = false;

		at += decode(list + at, &u);
		place(u.code, u.insn.length);
		for (unsigned int i = 0; i < 50 && !failed; i++)
			fault_once(&u, &failed);
	}
}

#else

TEST(user_instructions)
{
	test_skip("an x86-64 processor to compare with");
}

#endif
