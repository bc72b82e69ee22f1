/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The host's side of the agent: fill a vCPU's mailbox with operations, run the
 * batch, read the answers. What operations there are stands in
 * guest_code/agent_abi.h.
 *
 *	op_clear(v);
 *	i = op_add(v, .kind = AGENT_WRITE, .addr = gva, .value = 42);
 *	j = op_add(v, .kind = AGENT_READ, .addr = gva, .flags = AGENT_USER);
 *	vcpu_exec(v);
 *	EXPECT_OK(op_result(v, i));
 *	EXPECT_PF(op_result(v, j), PFERR_P | PFERR_U, gva);
 *
 * For one operation at a time there are guest_read() and its kin, which clear
 * and run a batch of one; as everywhere, __guest_x() returns the outcome and
 * guest_x() fails the case when it is a fault.
 */
#ifndef LIB_AGENT_H
#define LIB_AGENT_H

#include "aspace.h"
#include "vm.h"

/* Empties the vCPU's batch and its results. */
void op_clear(struct vcpu *v);
/* Appends an operation; its index in the batch. At most AGENT_BATCH. */
u32 op_add_op(struct vcpu *v, struct agent_op op);
#define op_add(v, ...) op_add_op(v, (struct agent_op){__VA_ARGS__})
/* The answer to operation @index of the last batch. */
struct agent_result op_result(struct vcpu *v, u32 index);

/* Runs the batch on this thread until it is done; fails the case on a surprise. */
void vcpu_exec(struct vcpu *v);
/* The same on a thread of the vCPU's own; vcpu_join() waits for it. */
void vcpu_start(struct vcpu *v);
void vcpu_join(struct vcpu *v);
/* In a loop that waits for what a vCPU does: lets others run. */
void vcpu_relax(void);

/* Runs one operation (discarding the batch) and returns its answer. */
struct agent_result guest_op_op(struct vcpu *v, struct agent_op op);
#define guest_op(v, ...) guest_op_op(v, (struct agent_op){__VA_ARGS__})
/* The same, failing the case unless the answer is AGENT_OK; the value. */
u64 guest_do_op(struct vcpu *v, struct agent_op op, const char *file, int line);
#define guest_do(v, ...) guest_do_op(v, (struct agent_op){__VA_ARGS__}, __FILE__, __LINE__)

#define __guest_read(v, gva)	   guest_op(v, .kind = AGENT_READ, .addr = (gva))
#define __guest_write(v, gva, val) guest_op(v, .kind = AGENT_WRITE, .addr = (gva), .value = (val))
#define __guest_exec(v, gva)	   guest_op(v, .kind = AGENT_EXEC, .addr = (gva))
#define guest_read(v, gva)	   guest_do(v, .kind = AGENT_READ, .addr = (gva))
#define guest_write(v, gva, val) \
	((void)guest_do(v, .kind = AGENT_WRITE, .addr = (gva), .value = (val)))
#define guest_exec(v, gva) guest_do(v, .kind = AGENT_EXEC, .addr = (gva))
/* The same from ring 3. */
#define __user_read(v, gva) guest_op(v, .kind = AGENT_READ, .addr = (gva), .flags = AGENT_USER)
#define __user_write(v, gva, val) \
	guest_op(v, .kind = AGENT_WRITE, .addr = (gva), .value = (val), .flags = AGENT_USER)
#define __user_exec(v, gva) guest_op(v, .kind = AGENT_EXEC, .addr = (gva), .flags = AGENT_USER)

#define guest_invlpg(v, gva) ((void)guest_do(v, .kind = AGENT_INVLPG, .addr = (gva)))
#define guest_set_cr(v, nr, val) \
	((void)guest_do(v, .kind = AGENT_WRITE_CR, .addr = (nr), .value = (val)))
#define guest_get_cr(v, nr) guest_do(v, .kind = AGENT_READ_CR, .addr = (nr))
#define guest_wrmsr(v, msr, val) \
	((void)guest_do(v, .kind = AGENT_WRMSR, .addr = (msr), .value = (val)))
#define guest_rdmsr(v, msr) guest_do(v, .kind = AGENT_RDMSR, .addr = (msr))
/* Loads CR3 with the root of @as: flushes what is not global. */
#define guest_load_cr3(v, as) guest_set_cr(v, 3, (as)->root)

/* Live edits: the guest itself stores the entry. No flush. */
void guest_set_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level, u64 pte);
/* Appends that store to the batch instead of running it. */
u32 op_set_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level, u64 pte);
u64 guest_get_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level);

/*
 * Places a function at guest physical @gpa that returns @value (32 bits) and
 * runs in every mode at any address: for AGENT_EXEC.
 */
void place_function(struct vm *vm, gpa_t gpa, u32 value);

/* --- expectations ------------------------------------------------------------ */

/* "read fault: vector 14 (#PF) error 0x5 (P|U) cr2 0x… rip …" or "ok, value 0x…" in @buf. */
const char *result_text(const struct agent_result *res, char *buf, size_t size);
/* "P|W|U" for an error code. */
const char *pferr_text(u64 error, char *buf, size_t size);

#define EXPECT_OK(res, ...) expect_ok_at(__FILE__, __LINE__, #res, res, " " __VA_ARGS__)
/* The value that the operation gave. */
#define EXPECT_VALUE(res, want, ...) \
	expect_value_at(__FILE__, __LINE__, #res, res, want, " " __VA_ARGS__)
/* A page fault with exactly this error code and CR2. */
#define EXPECT_PF(res, error, cr2, ...) \
	expect_fault_at(__FILE__, __LINE__, #res, res, PF_VECTOR, error, cr2, " " __VA_ARGS__)
/* Any other exception. */
#define EXPECT_FAULT(res, vector, error, ...) \
	expect_fault_at(__FILE__, __LINE__, #res, res, vector, error, 0, " " __VA_ARGS__)

void expect_ok_at(const char *file, int line, const char *what, struct agent_result res,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void expect_value_at(const char *file, int line, const char *what, struct agent_result res,
		     u64 want, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void expect_fault_at(const char *file, int line, const char *what, struct agent_result res,
		     u32 vector, u64 error, u64 cr2, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

#endif
