/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol between a test on the host and the agent in the guest: typed
 * operations in a mailbox per vCPU, executed as a batch, each answered with a
 * value or a fault. Included by host and guest, 32-bit guests as well, so every
 * field has a fixed width and a fixed place.
 *
 * Numbers of operations are never reused: replay files outlive versions.
 */
#ifndef GUEST_CODE_AGENT_ABI_H
#define GUEST_CODE_AGENT_ABI_H

#include "x86/arch/types.h"

#define AGENT_MAGIC	 0x6d6d7573636f7065ull /* "mmuscope" */
#define AGENT_MAX_CPUS	 8
#define AGENT_BATCH	 1024  /* operations in one batch */
#define AGENT_STACK_SIZE 16384 /* of a vCPU's ring 0 stack; see runtime.h */

/* I/O ports by which the guest speaks; each OUT is a KVM_EXIT_IO. */
#define PORT_DONE  0xa6 /* the batch is finished */
#define PORT_SYNC  0xa7 /* AGENT_SYNC: the host acts, then the batch goes on */
#define PORT_PANIC 0xa8 /* an exception that nobody expected; see mailbox.panic */
#define PORT_CHAR  0xe9 /* a character for the test's diagnostics */
#define PORT_BELL  0xa9 /* an outb: see struct agent_exit */

/*
 * Where there is no hypervisor, an OUT does not stop the processor: the agent leaves here what
 * it would have said, rings and waits until turn changes. turn is 0 where there is one.
 */
struct agent_exit {
	u32 turn;
	u32 port, value;
};

/*
 * "size" is 1, 2, 4 or 8 bytes and 0 means the mode's natural width (8 in
 * long mode, else 4). Ring 0 unless AGENT_USER. Unless stated otherwise
 * result.value is 0.
 */
enum agent_op_kind {
	AGENT_NOP = 0,
	/* one access each */
	AGENT_READ = 1,	   /* value of [addr] */
	AGENT_WRITE = 2,   /* [addr] = value */
	AGENT_EXEC = 3,	   /* call addr; value is what it returns in eax */
	AGENT_CMPXCHG = 4, /* lock cmpxchg [addr], arg -> value; value is the old one */
	AGENT_OR = 5,	   /* lock or [addr], value */
	AGENT_XADD = 6,	   /* lock xadd [addr], value; value is the old one */
	/* entries of live page tables */
	AGENT_SET_PTE = 10,   /* atomic store of value at addr, also 8 bytes in 32-bit modes */
	AGENT_GET_PTE = 11,   /* atomic load likewise */
	AGENT_PT_SET = 12,    /* entry of addr at level arg in the current tables = value */
	AGENT_PT_GET = 13,    /* that entry */
	AGENT_ARM_FIXUP = 14, /* at the next #PF store value at addr (size), IRET to retry */
	AGENT_COPY_PTES = 15, /* atomic stores of value entries at addr, as they are at arg */
	/* system */
	AGENT_INVLPG = 20,   /* addr */
	AGENT_INVPCID = 21,  /* type arg, PCID value, addr */
	AGENT_WRITE_CR = 22, /* control register number addr = value */
	AGENT_READ_CR = 23,  /* control register number addr */
	AGENT_WRMSR = 24,    /* MSR addr = value */
	AGENT_RDMSR = 25,    /* MSR addr */
	AGENT_WRPKRU = 26,   /* value */
	AGENT_RDPKRU = 27,
	AGENT_WBINVD = 28,
	AGENT_LOAD_FS = 29, /* selector value: reads its descriptor, an implicit access */
	/* many accesses: addr, addr + arg, … value times */
	AGENT_TOUCH_READ = 30,	/* value: sum; after a fault: how many went well */
	AGENT_TOUCH_WRITE = 31, /* stores arg2, arg2 + 1, … */
	AGENT_TOUCH_CHECK = 32, /* value: index of the first that is not arg2 + index, or count */
	/* between vCPUs; bounded by arg tries (0: 100 million) */
	AGENT_WAIT_EQ = 40, /* until [addr] == value; value is the last one seen */
	AGENT_WAIT_NE = 41, /* until [addr] != value */
	AGENT_WAIT_GE = 42, /* until [addr] >= value */
	/* until reading addr faults or gives another value than "value", or [arg2] (4 bytes) != 0 */
	AGENT_SPIN_READ = 43,
	/* until writing value to addr faults, or [arg2] (4 bytes) != 0 */
	AGENT_SPIN_WRITE = 44,
	AGENT_LOOP =
		45, /* repeat the arg operations before this one, value times, while [addr] (4 bytes, 0: none) == 0 */
	/* with the host */
	AGENT_OUT = 50, /* OUT to port addr, 4 bytes of value */
	AGENT_IN = 51,	/* IN from port addr, 4 bytes */
	AGENT_HLT = 52,
	AGENT_SYNC = 53, /* exit to the host with value, then go on */
	AGENT_RDTSC = 54,
	/* programs: guest functions for what must run without the host */
	AGENT_CALL = 60, /* program number addr, with value, arg, arg2 */
};

#define AGENT_USER BIT(0) /* access from ring 3 */
#define AGENT_AC   BIT(1) /* with RFLAGS.AC set, so that SMAP lets it pass */
#define AGENT_STOP BIT(2) /* if this operation does not end in AGENT_OK, end the batch */

struct agent_op {
	u16 kind;  /* enum agent_op_kind */
	u16 flags; /* AGENT_USER … */
	u32 size;
	u64 addr;
	u64 value;
	u64 arg;
	u64 arg2;
};

enum agent_status {
	AGENT_NOT_RUN = 0,
	AGENT_OK = 1,
	AGENT_FAULT = 2,     /* vector, error, cr2 and rip tell which */
	AGENT_BAD_OP = 3,    /* unknown kind, or one that this mode does not have */
	AGENT_TIMED_OUT = 4, /* a bounded wait ran out */
};

struct agent_result {
	u32 status; /* enum agent_status */
	u32 vector;
	u64 error; /* error code, 0 where the vector has none */
	u64 cr2;   /* #PF only */
	u64 rip;   /* of the faulting instruction */
	u64 value;
};

struct agent_panic {
	u64 vector;
	u64 error;
	u64 cr2;
	u64 rip;
};

struct agent_mailbox {
	u64 magic;
	u32 cpu;
	u32 nr_ops;	/* set by the host */
	u32 nr_done;	/* operations executed, also while the batch runs */
	u32 current_op; /* index of the operation being executed */
	struct agent_panic panic;
	struct agent_op ops[AGENT_BATCH];
	struct agent_result results[AGENT_BATCH];
};

_Static_assert(sizeof(struct agent_op) == 40, "one layout for 32- and 64-bit guests");
_Static_assert(sizeof(struct agent_result) == 40, "one layout for 32- and 64-bit guests");
_Static_assert(offsetof(struct agent_mailbox, panic) == 24, "one layout");
_Static_assert(offsetof(struct agent_mailbox, ops) == 56, "one layout");

#endif
