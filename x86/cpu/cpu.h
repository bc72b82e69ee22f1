/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor: its registers and cpu_run(), which executes guest instructions
 * until something happens that its owner asked to see or that it can't do itself.
 *
 * It is the hardware below a hypervisor and knows nothing of one: the owner sets
 * registers and intercepts as a VMCB would, runs, and reads the exit. An
 * instruction is atomic: when it exits, nothing of it has been committed, except
 * for the iterations of a REP that are done. A struct cpu belongs to one thread
 * at a time; several of them may share one struct phys, and locked instructions
 * are real atomic operations on its frames.
 *
 * SDM vol. 1-3; exits carry what the APM (vol. 2 15) says that a #VMEXIT does.
 */
#ifndef X86_CPU_CPU_H
#define X86_CPU_CPU_H

#include "x86/arch/regs.h"
#include "x86/arch/types.h"
#include "x86/cpu/phys.h"
#include "x86/cpu/tlb.h"
#include "x86/cpu/walk.h"

/* Numbers of the general registers and the segments, as instructions encode them. */
enum cpu_gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8, /* … R15 */
	GPR_COUNT = 16
};

enum cpu_seg {
	SEG_ES,
	SEG_CS,
	SEG_SS,
	SEG_DS,
	SEG_FS,
	SEG_GS,
	SEG_LDTR,
	SEG_TR,
	SEG_COUNT
};

#define FLAG_CF	  BIT(0)
#define FLAG_PF	  BIT(2)
#define FLAG_AF	  BIT(4)
#define FLAG_ZF	  BIT(6)
#define FLAG_SF	  BIT(7)
#define FLAG_TF	  BIT(8)
#define FLAG_IF	  BIT(9)
#define FLAG_DF	  BIT(10)
#define FLAG_OF	  BIT(11)
#define FLAG_IOPL (3ull << 12)
#define FLAG_NT	  BIT(14)
#define FLAG_RF	  BIT(16)
#define FLAG_VM	  BIT(17)
#define FLAG_AC	  BIT(18)
#define FLAG_VIF  BIT(19)
#define FLAG_VIP  BIT(20)
#define FLAG_ID	  BIT(21)

/* segment.attr: descriptor bits 47:40 and 55:52, packed as in a VMCB. */
#define SEG_TYPE   0xfu
#define SEG_TYPE_A BIT(0) /* accessed */
#define SEG_TYPE_W BIT(1) /* data: writable; code: readable */
#define SEG_TYPE_E BIT(2) /* data: expand-down; code: conforming */
#define SEG_CODE   BIT(3)
#define SEG_S	   BIT(4) /* code or data, not a system segment */
#define SEG_DPL(a) (((a) >> 5) & 3)
#define SEG_P	   BIT(7) /* clear: the register is unusable (null) */
#define SEG_L	   BIT(9)
#define SEG_DB	   BIT(10)
#define SEG_G	   BIT(11)

/* A segment register with its hidden part. */
struct cpu_segment {
	u16 sel;
	u16 attr;
	u32 limit; /* of the last byte, scaled by G already */
	u64 base;
};

struct cpu_table {
	u64 base;
	u16 limit;
};

enum cpu_event_type {
	EVENT_NONE,
	EVENT_INTR,
	EVENT_NMI,
	EVENT_EXCEPTION,
	EVENT_SOFT
};

/* An interrupt or exception on its way through the IDT. */
struct cpu_event {
	enum cpu_event_type type;
	u8 vector;
	bool has_error;
	u32 error;
	u64 cr2; /* #PF: written to CR2 on delivery */
	u8 len;	 /* EVENT_SOFT, INT3 and INTO: length of the instruction, which is skipped */
};

enum cpu_exit {
	EXIT_BUDGET,	/* max_insns have been executed */
	EXIT_INTERRUPT, /* cpu->stop was set */
	EXIT_WINDOW,	/* cpu->want_window, and an interrupt could be taken now */
	EXIT_HLT,
	EXIT_IO,
	EXIT_CPUID,
	EXIT_MSR,
	EXIT_CR,
	EXIT_DR,
	EXIT_INVLPG,
	EXIT_INVPCID,
	EXIT_INSN,	/* another intercepted instruction: VMMCALL, RDTSC … see mnemonic */
	EXIT_EXCEPTION, /* intercepted vector */
	EXIT_NPF,
	EXIT_EPT_VIOLATION,
	EXIT_EPT_MISCONFIG,
	EXIT_PML_FULL,	   /* an access has an A or D bit to set, and nested->pml no room */
	EXIT_MMIO,	   /* an access to a page of cpu_claim_page(): gva, size, write, value */
	EXIT_BUS,	   /* an access to a physical address with nothing behind it */
	EXIT_SHUTDOWN,	   /* triple fault */
	EXIT_UNIMPLEMENTED /* an instruction, or a corner of one, that this CPU lacks */
};

/*
 * What there is to know about an exit. len and next_rip are those of the
 * instruction, for exits that are due to one: to skip it, set rip = next_rip.
 */
struct cpu_exit_info {
	enum cpu_exit reason;
	u8 len;
	u64 next_rip;
	const char *mnemonic; /* static string, NULL when no instruction is involved */
	u8 bytes[15];	      /* of the instruction */
	/*
	 * What was on its way through the IDT when this happened, if anything. It isn't
	 * delivered; to go on with it, give it to cpu_inject().
	 */
	struct cpu_event delivering;
	struct cpu_event event; /* EXCEPTION: the exception, as cpu_inject() takes it */
	/* NPF, EPT_*, BUS */
	gva_t gva;
	gpa_t gpa;
	u64 error; /* NPF error code or EPT qualification, as walk() gave it */
	enum access_kind access;
	/* IO */
	u16 port;
	u8 size; /* bytes */
	bool in, string, rep;
	/* MMIO, intercepted #PF: the processor's own access (descriptor, TSS), whatever CPL is */
	bool implicit;
	/* CR, DR, MSR, INVLPG (value: address), INVPCID (value: type) */
	u32 nr; /* of the register */
	bool write;
	u8 gpr;		/* which general register a MOV CR or DR uses */
	u64 value;	/* to be written; for OUT and OUTS the data */
	u64 invpcid[2]; /* descriptor: PCID, linear address */
};

/* intercepts.insns: instructions that exit instead of being executed. */
#define ICPT_MSR     BIT(0) /* all of them; see intercepts.msr for a choice */
#define ICPT_INVLPG  BIT(1)
#define ICPT_INVPCID BIT(2)
#define ICPT_RDTSC   BIT(3) /* and RDTSCP */
#define ICPT_WBINVD  BIT(4) /* and INVD */
#define ICPT_XSETBV  BIT(5)
#define ICPT_PAUSE   BIT(6)
#define ICPT_RDPMC   BIT(7)
#define ICPT_TABLES  BIT(8) /* LGDT, LIDT, LLDT, LTR and their stores */

/*
 * HLT, CPUID, IO, VMMCALL, MONITOR and MSRs that the CPU does not have exit always: there
 * is nothing in this model that could answer them.
 */
struct cpu_intercepts {
	u32 exceptions;	       /* by vector */
	u16 cr_read, cr_write; /* by number; LMSW and CLTS count as writes of CR0 */
	u16 dr_read, dr_write;
	u64 insns;
	/* asked per access when set; true: exit */
	bool (*msr)(void *arg, u32 msr, bool write);
	void *arg;
};

struct insn_cache;
struct insn;

/* Accesses to claimed pages that have been answered, in their order; ENTER has most. */
#define CPU_MAX_MMIO 64

struct cpu_mmio {
	u64 page[2];
	u8 nr_pages, nr_answers;
	u8 next; /* the answer to the next access */
	u64 answer[CPU_MAX_MMIO];
};

struct cpu_store {
	u8 *host;
	u8 size;
	u64 value;
};

/* A page that was translated lately: saves asking the TLB again. */
struct cpu_page {
	u64 page;	/* gva >> 12 */
	u64 generation; /* the TLB's word for the page when it was translated */
	u64 context;	/* what else the translation depended on, see mem.c */
	u8 *host;
};

#define CPU_PAGES TLB_GENERATIONS /* for each kind of access; a power of two */

/* Words of memory that one instruction may write: ENTER with 31 levels, each split in two. */
#define CPU_MAX_STORES 80

struct cpu {
	u64 gpr[GPR_COUNT];
	u64 rip;
	u64 rflags;
	struct cpu_segment seg[SEG_COUNT];
	struct cpu_table gdtr, idtr;
	struct mmu_regs mmu; /* cr0, cr3, cr4, efer, pkru, cpl, pdpte … live here */
	u64 cr2, cr8;
	u64 dr[8];
	u64 xcr0;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, apic_base, misc_enable;
	u64 tsc_offset, tsc_aux;

	/* What the processor is able to: writes of other bits are #GP. */
	u64 cr4_valid, efer_valid, xcr0_valid;

	/*
	 * phys->frame() and the TLB are not asked again within a cpu_run() for a page
	 * that was just used, unless the TLB has dropped something.
	 */
	struct phys *phys;
	struct tlb *tlb;
	const struct nested *nested; /* NULL: guest-physical is physical */
	struct cpu_intercepts intercept;

	struct cpu_event event; /* to be delivered before the next instruction */
	u8 shadow;		/* interrupts wait for this many instructions (STI, MOV SS) */
	bool nmi_blocked;	/* until the next IRET */
	bool want_window;
	int stop; /* set with __atomic_store_n() from any thread: leave cpu_run() soon */

	u64 insns; /* executed so far */
	unsigned int pauses;
	struct cpu_exit_info exit;

	/* From here on: cpu_run()'s own. */
	bool io_answered;
	u64 io_value;
	struct cpu_mmio mmio;
	struct cpu_event delivering;
	struct cpu_event fault;
	const struct insn *insn;
	u64 next_rip;
	const u8 *code; /* of the block that is being executed, and its length */
	u64 code_len;
	const u64 *generations; /* the TLB's */
	u64 context;		/* what an entry of pages[] has that is usable in the block */
	/* What epoch says of the registers that an owner may change; see cpu_run(). */
	struct {
		u64 epoch;
		struct mmu_regs mmu;
		struct nested nested;
		const struct tlb *tlb;
	} seen;
	bool stale;    /* the block, or the translation that it was found by, may have changed */
	u8 code_bytes; /* 2, 4, 8: the width that CS gives to instructions and stack */
	u8 nr_stores;
	struct cpu_store store[CPU_MAX_STORES];
	struct {
		u64 gpr[GPR_COUNT], rflags;
		u8 cpl;
		bool all;
	} saved;
	u64 epoch; /* changes with the registers that translation depends on */
	struct cpu_page pages[3][CPU_PAGES]; /* by enum access_kind */
	void *jump;			     /* where raised faults and exits go */
	struct insn_cache *icache;
};

/*
 * Prepares @cpu: state after RESET (SDM vol. 3 table 9-1), all features valid,
 * nothing intercepted, no memory. Returns false when there is no memory for the
 * decode cache. The caller sets phys, tlb and nested.
 */
bool cpu_init(struct cpu *cpu);
/* Frees what cpu_init() took; phys and tlb stay the caller's. */
void cpu_fini(struct cpu *cpu);

/*
 * Runs up to @max_insns instructions (an iteration of REP and the delivery of an
 * event count as one). Returns the reason; cpu->exit has the rest.
 */
enum cpu_exit cpu_run(struct cpu *cpu, u64 max_insns);

/*
 * Answers EXIT_IO: @value is the data of an IN or INS (ignored for OUT). The next
 * cpu_run() executes the instruction with it.
 */
void cpu_answer_io(struct cpu *cpu, u64 value);

/*
 * Has accesses to the linear page of @gva by the instruction at RIP answered by the
 * owner, as a hypervisor does with memory that is a device: EXIT_MMIO for each, until
 * the instruction is complete or faults, which ends the claim. Of an access that crosses into
 * another page, the part in the claimed page is asked for, 1 to 7 bytes. Code and events are not
 * affected. False: it has two such pages already. The page's translation isn't looked
 * at; whether the guest may access it is for the owner to have checked.
 */
bool cpu_claim_page(struct cpu *cpu, gva_t gva);
/*
 * Answers EXIT_MMIO: @value is what a read gets (ignored for a write). The next
 * cpu_run() executes the instruction again, with all answers so far.
 */
void cpu_answer_mmio(struct cpu *cpu, u64 value);

/*
 * Takes back all answers of EXIT_MMIO but the first @count: what was answered with the
 * others is asked again when the instruction is executed again.
 */
void cpu_retract_mmio(struct cpu *cpu, unsigned int count);
/*
 * The instruction at RIP is not to be resumed: forgets its claims and answers. Implied by
 * cpu_inject(), but not by an exception that is intercepted.
 */
void cpu_abandon(struct cpu *cpu);

/* Whether an external interrupt could be delivered now. */
bool cpu_interruptible(const struct cpu *cpu);

/*
 * Has @event delivered before the next instruction. Replaces one that waits. An
 * external interrupt is the caller's to hold back until cpu_interruptible().
 */
void cpu_inject(struct cpu *cpu, const struct cpu_event *event);
/*
 * Has @fault delivered, which the owner found while @first was on its way (exit.delivering): as itself
 * or, where the manuals say so, as a double fault. False: a triple fault, the processor shuts down.
 */
bool cpu_inject_fault(struct cpu *cpu, const struct cpu_event *first,
		      const struct cpu_event *fault);

/*
 * MSRs of the processor itself. False: #GP, or not one that it has; @value
 * of a failed read is 0.
 */
bool cpu_read_msr(struct cpu *cpu, u32 msr, u64 *value);
bool cpu_write_msr(struct cpu *cpu, u32 msr, u64 value);
/* Whether the processor has this MSR at all. */
bool cpu_has_msr(u32 msr);

/*
 * Writes control register @nr (0, 2, 3, 4, 8) as MOV to CR does, with all its
 * checks and TLB effects. False: #GP.
 */
bool cpu_write_cr(struct cpu *cpu, unsigned int nr, u64 value);

/*
 * To be called after the owner changed registers directly: brings what is derived
 * from them (width of code, LMA) up to date. The TLB is the owner's to flush.
 */
void cpu_sync(struct cpu *cpu);

/* Name of a reason, a static string. */
const char *cpu_exit_name(enum cpu_exit reason);

#endif
