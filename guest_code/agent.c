// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent: takes batches of typed operations from its vCPU's mailbox,
 * executes each so that a fault is an answer rather than an end, and tells the
 * host when the batch is done. What an operation means stands in agent_abi.h.
 */
#include "guest_code/runtime.h"
#include "guest_code/programs.h"

#define SIZED_FN(name)                                                   \
	extern char name##4 [];                                          \
	static void *name(u32 size)                                      \
	{                                                                \
		return size == 4 ? (void *)name##4 : SIZED8(name, size); \
	}
#ifdef __x86_64__
#define SIZED8(name, size) ((size) == 8 ? (void *)name##8 : NULL)
extern char user_read8[], user_write8[], user_cmpxchg8[], user_or8[], user_xadd8[];
#else
#define SIZED8(name, size) NULL
#endif
extern char user_read1[], user_read2[], user_write1[], user_write2[];
extern char user_exec[], user_touch_read[], user_touch_write[], user_load_fs[];
SIZED_FN(user_read)
SIZED_FN(user_write)
SIZED_FN(user_cmpxchg)
SIZED_FN(user_or)
SIZED_FN(user_xadd)

static void *user_code(const struct agent_op *op, u32 size)
{
	switch (op->kind) {
	case AGENT_READ:
		return size == 1 ? user_read1 : size == 2 ? user_read2 : user_read(size);
	case AGENT_WRITE:
		return size == 1 ? user_write1 : size == 2 ? user_write2 : user_write(size);
	case AGENT_EXEC:
		return user_exec;
	case AGENT_CMPXCHG:
		return user_cmpxchg(size);
	case AGENT_OR:
		return user_or(size);
	case AGENT_XADD:
		return user_xadd(size);
	case AGENT_TOUCH_READ:
		return user_touch_read;
	case AGENT_TOUCH_WRITE:
		return user_touch_write;
	case AGENT_LOAD_FS:
		return user_load_fs;
	}
	return NULL;
}

static u64 load(unsigned long addr, u32 size)
{
	switch (size) {
	case 1:
		return *(volatile u8 *)addr;
	case 2:
		return *(volatile u16 *)addr;
	case 4:
		return *(volatile u32 *)addr;
	}
	return *(volatile u64 *)addr;
}

static void store(unsigned long addr, u32 size, u64 value)
{
	switch (size) {
	case 1:
		*(volatile u8 *)addr = value;
		break;
	case 2:
		*(volatile u16 *)addr = value;
		break;
	case 4:
		*(volatile u32 *)addr = value;
		break;
	default:
		*(volatile u64 *)addr = value;
	}
}

static unsigned long call(unsigned long addr)
{
	unsigned long ret = addr;

	asm volatile("call *%0"
		     : "+a"(ret)
		     :
		     : "cx", "dx", "memory", "cc"
#ifdef __x86_64__
		       ,
		       "si", "di", "r8", "r9", "r10", "r11"
#endif
	);
	return ret & 0xffffffff;
}

static void set_ac(bool on)
{
#ifdef __x86_64__
	if (on)
		asm volatile("pushfq; orl $0x40000, (%%rsp); popfq" : : : "memory", "cc");
	else
		asm volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "memory", "cc");
#else
	if (on)
		asm volatile("pushfl; orl $0x40000, (%%esp); popfl" : : : "memory", "cc");
	else
		asm volatile("pushfl; andl $~0x40000, (%%esp); popfl" : : : "memory", "cc");
#endif
}

static void copy_ptes(unsigned long to, unsigned long from, u32 size, u32 n)
{
	for (; n--; to += size, from += size) {
		/* what a store of its own is atomic for, without a call: there are many */
		if (size == sizeof(long))
			*(volatile long *)to = *(volatile long *)from;
		else
			pte_store(to, size, pte_load(from, size));
	}
}

static void invpcid(const struct agent_op *op)
{
	struct {
		u64 pcid, addr;
	} desc = {op->value, op->addr};
	unsigned long type = op->arg;

	asm volatile("invpcid %1, %0" : : "r"(type), "m"(desc) : "memory");
}

static u32 wait_for(const struct agent_op *op, u32 size, u64 *seen)
{
	u64 tries = op->arg ? op->arg : 100000000;

	while (tries--) {
		*seen = load(op->addr, size);
		if (op->kind == AGENT_WAIT_EQ && *seen == op->value)
			return AGENT_OK;
		if (op->kind == AGENT_WAIT_NE && *seen != op->value)
			return AGENT_OK;
		if (op->kind == AGENT_WAIT_GE && *seen >= op->value)
			return AGENT_OK;
		asm volatile("pause");
	}
	return AGENT_TIMED_OUT;
}

static u32 spin(const struct agent_op *op, u32 size, u64 *seen)
{
	u64 tries = op->arg ? op->arg : 100000000;
	volatile u32 *stop = (volatile u32 *)(unsigned long)op->arg2;

	while (tries--) {
		if (op->kind == AGENT_SPIN_WRITE)
			store(op->addr, size, op->value);
		else
			*seen = load(op->addr, size);
		if (op->kind == AGENT_SPIN_READ && *seen != op->value)
			return AGENT_OK;
		if (stop && *stop)
			return AGENT_OK;
		this_cpu()->progress++;
	}
	return AGENT_TIMED_OUT;
}

/* Runs @op in ring 0; a fault leaves by guest_longjmp(). Returns enum agent_status. */
static u32 execute(struct guest_cpu *cpu, const struct agent_op *op, u32 size, u64 *value)
{
	unsigned long addr = op->addr, entry;
	u64 i;

	switch (op->kind) {
	case AGENT_NOP:
		break;
	case AGENT_READ:
		*value = load(addr, size);
		break;
	case AGENT_WRITE:
		store(addr, size, op->value);
		break;
	case AGENT_EXEC:
		*value = call(addr);
		break;
	case AGENT_CMPXCHG:
		if (size == 4)
			*value = __sync_val_compare_and_swap((u32 *)addr, (u32)op->value,
							     (u32)op->arg);
#ifdef __x86_64__
		else if (size == 8)
			*value = __sync_val_compare_and_swap((u64 *)addr, op->value, op->arg);
#endif
		else
			return AGENT_BAD_OP;
		break;
	case AGENT_OR:
		if (size == 4)
			asm volatile("lock orl %1, %0" : "+m"(*(u32 *)addr) : "r"((u32)op->value));
#ifdef __x86_64__
		else if (size == 8)
			asm volatile("lock orq %1, %0" : "+m"(*(u64 *)addr) : "r"(op->value));
#endif
		else
			return AGENT_BAD_OP;
		break;
	case AGENT_XADD:
		if (size == 4)
			*value = __sync_fetch_and_add((u32 *)addr, (u32)op->value);
#ifdef __x86_64__
		else if (size == 8)
			*value = __sync_fetch_and_add((u64 *)addr, op->value);
#endif
		else
			return AGENT_BAD_OP;
		break;
	case AGENT_SET_PTE:
		pte_store(addr, op->size ? op->size : size, op->value);
		break;
	case AGENT_GET_PTE:
		*value = pte_load(addr, op->size ? op->size : size);
		break;
	case AGENT_COPY_PTES:
		copy_ptes(addr, op->arg, size, op->value);
		break;
	case AGENT_PT_SET:
	case AGENT_PT_GET:
		entry = pt_entry(op->addr, op->arg);
		if (!entry)
			return AGENT_BAD_OP;
		if (op->kind == AGENT_PT_SET)
			pte_store(entry, pt_current_mode()->pte_size, op->value);
		else
			*value = pte_load(entry, pt_current_mode()->pte_size);
		break;
	case AGENT_ARM_FIXUP:
		cpu->fixup.addr = op->addr;
		cpu->fixup.value = op->value;
		cpu->fixup.size = size;
		cpu->fixup.armed = true;
		break;
	case AGENT_INVLPG:
		asm volatile("invlpg (%0)" : : "r"(addr) : "memory");
		break;
	case AGENT_INVPCID:
		invpcid(op);
		break;
	case AGENT_WRITE_CR:
		write_cr(addr, op->value);
		break;
	case AGENT_READ_CR:
		*value = read_cr(addr);
		break;
	case AGENT_WRMSR:
		wrmsr(addr, op->value);
		break;
	case AGENT_RDMSR:
		*value = rdmsr(addr);
		break;
	case AGENT_WRPKRU:
		asm volatile("wrpkru" : : "a"((u32)op->value), "c"(0), "d"(0) : "memory");
		break;
	case AGENT_RDPKRU: {
		u32 pkru, edx;

		asm volatile("rdpkru" : "=a"(pkru), "=d"(edx) : "c"(0));
		*value = pkru;
		break;
	}
	case AGENT_WBINVD:
		asm volatile("wbinvd" : : : "memory");
		break;
	case AGENT_LOAD_FS:
		asm volatile("mov %w0, %%fs" : : "r"((u32)op->value) : "memory");
		break;
	case AGENT_TOUCH_READ:
		for (i = 0; i < op->value; i++, addr += op->arg) {
			*value += load(addr, size);
			cpu->progress = i + 1;
		}
		break;
	case AGENT_TOUCH_WRITE:
		for (i = 0; i < op->value; i++, addr += op->arg) {
			store(addr, size, op->arg2 + i);
			cpu->progress = i + 1;
		}
		break;
	case AGENT_TOUCH_CHECK:
		for (i = 0; i < op->value; i++, addr += op->arg) {
			if (load(addr, size) != op->arg2 + i)
				break;
			cpu->progress = i + 1;
		}
		*value = i;
		break;
	case AGENT_WAIT_EQ:
	case AGENT_WAIT_NE:
	case AGENT_WAIT_GE:
		return wait_for(op, size, value);
	case AGENT_SPIN_READ:
	case AGENT_SPIN_WRITE:
		return spin(op, size, value);
	case AGENT_OUT:
		to_host(addr, op->value);
		break;
	case AGENT_IN:
		*value = inl(addr);
		break;
	case AGENT_HLT:
		asm volatile("hlt" : : : "memory");
		break;
	case AGENT_SYNC:
		to_host(PORT_SYNC, op->value);
		break;
	case AGENT_RDTSC: {
		u32 lo, hi;

		asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
		*value = lo | (u64)hi << 32;
		break;
	}
	case AGENT_CALL:
		return run_program(cpu, op, value);
	default:
		return AGENT_BAD_OP;
	}
	return AGENT_OK;
}

static u32 natural_size(const struct agent_op *op)
{
	bool narrow = op->kind == AGENT_TOUCH_READ || op->kind == AGENT_TOUCH_WRITE;

	if (op->size)
		return op->size;
	/* Ring 3's loops are 4 bytes wide in every mode. */
	if ((op->flags & AGENT_USER) && narrow)
		return 4;
	if (op->kind == AGENT_SET_PTE || op->kind == AGENT_GET_PTE || op->kind == AGENT_ARM_FIXUP ||
	    op->kind == AGENT_COPY_PTES)
		return pt_current_mode()->pte_size == 8 ? 8 : 4;
	return sizeof(long);
}

/* What the operation whose result is @res came to when an exception ended it, or ring 3 did. */
static void answer(struct guest_cpu *cpu, const struct agent_op *op, struct agent_result *res,
		   bool fault)
{
	cpu->catching = false;
	if (!fault) {
		res->value = cpu->user_value;
		res->status = AGENT_OK;
		return;
	}
	if (op->flags & AGENT_AC)
		set_ac(false);
	res->vector = cpu->fault.vector;
	res->error = cpu->fault.error;
	res->cr2 = cpu->fault.cr2;
	res->rip = cpu->fault.rip;
	res->value = op->kind >= AGENT_TOUCH_READ ? cpu->progress : 0;
	res->status = AGENT_FAULT;
}

/* May not return, but end in run_batch()'s guest_setjmp(). */
static void run_op(struct guest_cpu *cpu, const struct agent_op *op, struct agent_result *res)
{
	u32 size = natural_size(op);
	u64 value = 0;
	void *code;

	if (op->kind >= AGENT_TOUCH_READ)
		cpu->progress = 0;
	if (op->flags & AGENT_USER) {
		code = user_code(op, size);
		cpu->catching = true;
		if (code && op->kind >= AGENT_TOUCH_READ)
			enter_user(cpu, code, op->addr, op->arg, op->value, op->arg2);
		if (code)
			enter_user(cpu, code, op->addr, op->value, op->arg, 0);
		cpu->catching = false;
		res->status = AGENT_BAD_OP;
		return;
	}
	if (sizeof(long) == 4 && size == 8 && op->kind < AGENT_SET_PTE) {
		res->status = AGENT_BAD_OP;
		return;
	}
	cpu->catching = true;
	if (op->flags & AGENT_AC)
		set_ac(true);
	res->status = execute(cpu, op, size, &value);
	if (op->flags & AGENT_AC)
		set_ac(false);
	cpu->catching = false;
	res->value = value;
}

/*
 * Whether the loop that ends in operation @i goes round again. It counts in
 * its own result, which the host clears when it fills the mailbox.
 */
static bool loop_again(struct agent_mailbox *mb, u32 i)
{
	const struct agent_op *op = &mb->ops[i];
	struct agent_result *res = &mb->results[i];

	res->status = op->arg <= i ? AGENT_OK : AGENT_BAD_OP;
	if (res->status != AGENT_OK || res->value >= op->value)
		return false;
	if (op->addr && *(volatile u32 *)(unsigned long)op->addr)
		return false;
	res->value++;
	return true;
}

/* Operation @i is done: the number of the next one. */
static u32 next_op(struct agent_mailbox *mb, u32 i)
{
	bool stop = (mb->ops[i].flags & AGENT_STOP) && mb->results[i].status != AGENT_OK;

	mb->nr_done = ++i;
	return stop ? AGENT_BATCH : i;
}

static void run_from(struct guest_cpu *cpu, struct agent_mailbox *mb, u32 i)
{
	u32 end = mb->nr_ops < AGENT_BATCH ? mb->nr_ops : AGENT_BATCH;

	while (i < end) {
		const struct agent_op *op = &mb->ops[i];
		struct agent_result *res = &mb->results[i];

		/* Else the compiler computes both addresses anew at each use. */
		asm("" : "+r"(op), "+r"(res));
		mb->current_op = i;
		if (op->kind != AGENT_LOOP) {
			run_op(cpu, op, res);
		} else if (loop_again(mb, i)) {
			i -= op->arg;
			continue;
		}
		mb->nr_done = ++i;
		if ((op->flags & AGENT_STOP) && res->status != AGENT_OK)
			return;
	}
}

/*
 * Goes on after the operation that was running, which didn't end by itself: @came says how. This and what it calls are no
 * part of run_batch(), since guest_setjmp() keeps registers from its caller.
 */
static void __attribute__((noinline))
go_on(struct guest_cpu *cpu, struct agent_mailbox *mb, int came)
{
	u32 i = 0;

	if (came) {
		i = mb->current_op;
		answer(cpu, &mb->ops[i], &mb->results[i], came == 1);
		i = next_op(mb, i);
	}
	run_from(cpu, mb, i);
}

static void run_batch(struct guest_cpu *cpu, struct agent_mailbox *mb)
{
	go_on(cpu, mb, guest_setjmp(&cpu->recover));
}

void guest_main(u32 index);
void guest_main(u32 index)
{
	struct agent_mailbox *mb = &mailboxes[index];

	runtime_init(index);
	mb->magic = AGENT_MAGIC;
	mb->cpu = index;
	for (;;) {
		run_batch(&cpus[index], mb);
		to_host(PORT_DONE, index);
	}
}
