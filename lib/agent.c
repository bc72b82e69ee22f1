// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills mailboxes, reads answers, and says in words how an answer differs from
 * what was expected.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "test.h"

void op_clear(struct vcpu *v)
{
	struct agent_mailbox *mb = v->mailbox;

	memset(mb->results, 0, mb->nr_ops * sizeof(mb->results[0]));
	mb->nr_ops = 0;
	mb->nr_done = 0;
}

u32 op_add_op(struct vcpu *v, struct agent_op op)
{
	struct agent_mailbox *mb = v->mailbox;

	if (mb->nr_ops >= AGENT_BATCH)
		test_error("more than %d operations in a batch", AGENT_BATCH);
	memset(&mb->results[mb->nr_ops], 0, sizeof(mb->results[0]));
	mb->ops[mb->nr_ops] = op;
	return mb->nr_ops++;
}

struct agent_result op_result(struct vcpu *v, u32 index)
{
	if (index >= v->mailbox->nr_ops)
		test_error("result %u of a batch of %u", index, v->mailbox->nr_ops);
	return v->mailbox->results[index];
}

struct agent_result guest_op_op(struct vcpu *v, struct agent_op op)
{
	op_clear(v);
	op_add_op(v, op);
	vcpu_exec(v);
	return op_result(v, 0);
}

u64 guest_do_op(struct vcpu *v, struct agent_op op, const char *file, int line)
{
	struct agent_result res = guest_op_op(v, op);
	char text[256];

	if (res.status != AGENT_OK)
		test_end_at(TEST_FAIL, NULL, file, line,
			    "vCPU %u: operation %u at %#lx, which must succeed: %s", v->id, op.kind,
			    op.addr, result_text(&res, text, sizeof(text)));
	return res.value;
}

static gpa_t entry_of(const struct aspace *as, gva_t gva, int level)
{
	gpa_t at = aspace_pte_gpa(as, gva, level);

	if (!at)
		test_error("gva %#lx has no entry at level %d", gva, level);
	return at;
}

u32 op_set_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level, u64 pte)
{
	return op_add(v, .kind = AGENT_SET_PTE, .addr = entry_of(as, gva, level), .value = pte,
		      .size = as->mode->pte_size);
}

void guest_set_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level, u64 pte)
{
	guest_do(v, .kind = AGENT_SET_PTE, .addr = entry_of(as, gva, level), .value = pte,
		 .size = as->mode->pte_size);
}

u64 guest_get_pte(struct vcpu *v, const struct aspace *as, gva_t gva, int level)
{
	return guest_do(v, .kind = AGENT_GET_PTE, .addr = entry_of(as, gva, level),
			.size = as->mode->pte_size);
}

void place_function(struct vm *vm, gpa_t gpa, u32 value)
{
	u8 code[6] = {0xb8, value, value >> 8, value >> 16, value >> 24, 0xc3};

	memcpy(vm_hva(vm, gpa), code, sizeof(code)); /* mov $value, %eax; ret */
}

const char *pferr_text(u64 error, char *buf, size_t size)
{
	static const struct {
		u64 bit;
		const char *name;
	} bits[] = {
		{PFERR_P, "P"},	      {PFERR_W, "W"}, {PFERR_U, "U"},
		{PFERR_RSVD, "RSVD"}, {PFERR_F, "F"}, {PFERR_PK, "PK"},
	};
	size_t i, n = 0;

	snprintf(buf, size, "none");
	for (i = 0; i < ARRAY_LEN(bits); i++)
		if ((error & bits[i].bit) && n < size)
			n += snprintf(buf + n, size - n, "%s%s", n ? "|" : "", bits[i].name);
	return buf;
}

const char *result_text(const struct agent_result *res, char *buf, size_t size)
{
	char bits[64];

	switch (res->status) {
	case AGENT_NOT_RUN:
		snprintf(buf, size, "not executed");
		break;
	case AGENT_OK:
		snprintf(buf, size, "ok, value %#lx", res->value);
		break;
	case AGENT_FAULT:
		if (res->vector == PF_VECTOR)
			snprintf(buf, size, "#PF, error %#lx (%s), cr2 %#lx, at rip %#lx",
				 res->error, pferr_text(res->error, bits, sizeof(bits)), res->cr2,
				 res->rip);
		else
			snprintf(buf, size, "vector %u, error %#lx, at rip %#lx", res->vector,
				 res->error, res->rip);
		break;
	case AGENT_BAD_OP:
		snprintf(buf, size, "the agent does not have this operation in this mode");
		break;
	case AGENT_TIMED_OUT:
		snprintf(buf, size, "a bounded wait ran out, last value %#lx", res->value);
		break;
	default:
		snprintf(buf, size, "status %u", res->status);
	}
	return buf;
}

static void mismatch(const char *file, int line, const char *what, const char *want,
		     const struct agent_result *res, const char *fmt, va_list ap)
{
	char text[256], context[512];

	vsnprintf(context, sizeof(context), fmt + 1, ap); /* the macros put a blank first */
	test_fail_soft(file, line, "%s%s%s\n  expected: %s\n  got:      %s", what,
		       context[0] ? ": " : "", context, want, result_text(res, text, sizeof(text)));
}

void expect_ok_at(const char *file, int line, const char *what, struct agent_result res,
		  const char *fmt, ...)
{
	va_list ap;

	test_count_check_at(file, line);
	if (res.status == AGENT_OK)
		return;
	va_start(ap, fmt);
	mismatch(file, line, what, "ok", &res, fmt, ap);
	va_end(ap);
}

void expect_value_at(const char *file, int line, const char *what, struct agent_result res,
		     u64 want, const char *fmt, ...)
{
	char text[64];
	va_list ap;

	test_count_check_at(file, line);
	if (res.status == AGENT_OK && res.value == want)
		return;
	snprintf(text, sizeof(text), "ok, value %#lx", want);
	va_start(ap, fmt);
	mismatch(file, line, what, text, &res, fmt, ap);
	va_end(ap);
}

void expect_fault_at(const char *file, int line, const char *what, struct agent_result res,
		     u32 vector, u64 error, u64 cr2, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	struct agent_result want = {.status = AGENT_FAULT,
				    .vector = vector,
				    .error = error,
				    .cr2 = cr2,
				    .rip = res.rip};

	test_count_check_at(file, line);
	if (res.status == AGENT_FAULT && res.vector == vector && res.error == error &&
	    (vector != PF_VECTOR || res.cr2 == cr2))
		return;
	va_start(ap, fmt);
	mismatch(file, line, what, result_text(&want, text, sizeof(text)), &res, fmt, ap);
	va_end(ap);
}
