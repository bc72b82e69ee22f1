/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of memslots, MMIO, dirty logs and host-side changes share: a
 * window of linear addresses onto guest physical memory, frames that carry
 * their own number, a record of MMIO exits, and bounded waits of the host for
 * something that the guest stores.
 */
#ifndef TESTS_MMU_SLOTS_H
#define TESTS_MMU_SLOTS_H

#include <sched.h>
#include <string.h>

#include "mmuscope.h"

/* A second place for slots, apart from the VM's own two. */
#define SLOT2_GPA (512 * MiB)

/* The window: gpa VM_MEM_GPA and above, from vm->test_gva on; gva == gpa without paging. */
static inline gva_t window(const struct vm *vm, gpa_t gpa)
{
	return vm->test_gva + (gpa - VM_MEM_GPA);
}

/* Maps [@gpa, @gpa + @size) in the window, writable and user, with pages of @level. */
static inline void window_map(struct vm *vm, gpa_t gpa, u64 size, int level)
{
	if (vm->mode->levels)
		vm_map(vm, window(vm, gpa), gpa, size, level, PTE_W | PTE_U);
}

/* The first word of the frame at @offset of host memory. */
static inline volatile u32 *frame_word(void *hva, u64 offset)
{
	return (volatile u32 *)((u8 *)hva + offset);
}

/* Stores @base, @base + 1, … in the first words of the frames of [@hva, @hva + @size). */
static inline void number_frames(void *hva, u64 size, u32 base)
{
	u64 i;

	for (i = 0; i < size / SZ_4K; i++)
		*frame_word(hva, i * SZ_4K) = base + i;
}

/* The guest reads the frames of [@gpa, @gpa + @size) and finds @base, @base + 1, … */
static inline void expect_frames(struct vcpu *v, gpa_t gpa, u64 size, u32 base, const char *when)
{
	struct agent_result res =
		guest_op(v, .kind = AGENT_TOUCH_CHECK, .size = 4, .addr = window(v->vm, gpa),
			 .arg = SZ_4K, .value = size / SZ_4K, .arg2 = base);

	EXPECT_VALUE(res, size / SZ_4K, "%s: frames that hold their number, from gpa %#lx", when,
		     gpa);
}

/* A function, so that the value may go unused. */
static inline u32 low_word(u64 value)
{
	return value;
}

#define read4(v, gva) low_word(guest_do(v, .kind = AGENT_READ, .size = 4, .addr = (gva)))
#define write4(v, gva, val) \
	((void)guest_do(v, .kind = AGENT_WRITE, .size = 4, .addr = (gva), .value = (val)))

struct mmio_event {
	gpa_t gpa;
	u32 len;
	bool write;
	u64 data; /* what was written, or the answer that was given */
};

#define MMIO_EVENTS 32

struct mmio_log {
	u32 count; /* of all exits; the first MMIO_EVENTS are kept */
	struct mmio_event event[MMIO_EVENTS];
	u64 answer; /* for reads */
};

static inline void mmio_record(struct vcpu *v, struct kvm_run *run, void *arg)
{
	struct mmio_log *log = arg;
	struct mmio_event e = {
		.gpa = run->mmio.phys_addr, .len = run->mmio.len, .write = run->mmio.is_write};

	(void)v;
	if (e.write) {
		memcpy(&e.data, run->mmio.data, e.len);
	} else {
		memcpy(run->mmio.data, &log->answer, sizeof(log->answer));
		memcpy(&e.data, &log->answer, e.len);
	}
	if (log->count < MMIO_EVENTS)
		log->event[log->count] = e;
	/* whoever started the vCPU may be waiting for it */
	__atomic_store_n(&log->count, log->count + 1, __ATOMIC_RELEASE);
}

/* From here on the vCPU's MMIO exits go to @log. */
static inline void mmio_watch(struct vcpu *v, struct mmio_log *log)
{
	v->mmio = mmio_record;
	v->arg = log;
}

/* Exit number @i was this one. */
#define EXPECT_MMIO(log, i, gpa_, len_, write_, data_)                                    \
	do {                                                                              \
		ASSERT_GT((log)->count, (u32)(i), "MMIO exits at gpa %#lx", (u64)(gpa_)); \
		EXPECT_EQ((log)->event[i].gpa, gpa_, "MMIO exit %u", (u32)(i));           \
		EXPECT_EQ((log)->event[i].len, len_, "MMIO exit %u", (u32)(i));           \
		EXPECT_EQ((log)->event[i].write, write_, "MMIO exit %u", (u32)(i));       \
		EXPECT_EQ((log)->event[i].data, data_, "MMIO exit %u", (u32)(i));         \
	} while (0)

/* A 4-byte read at @gpa in the window is one MMIO exit, and its answer arrives. */
static inline void expect_mmio_read(struct vcpu *v, gpa_t gpa, u32 answer, const char *when)
{
	struct mmio_log log = {.answer = answer};
	u32 got;

	mmio_watch(v, &log);
	got = read4(v, window(v->vm, gpa));
	EXPECT_EQ(got, answer, "%s: gpa %#lx is MMIO", when, gpa);
	EXPECT_EQ(log.count, 1, "%s: exits for gpa %#lx", when, gpa);
	if (log.count)
		EXPECT_MMIO(&log, 0, gpa, 4, false, answer);
	v->mmio = NULL;
}

/* Waits, yielding, until cond holds; the case fails after many yields. */
#define WAIT_UNTIL(cond, ...)                                                    \
	do {                                                                     \
		u64 tries_ = 20000000;                                           \
		while (!(cond) && --tries_)                                      \
			vcpu_relax();                                            \
		if (!tries_)                                                     \
			test_fail("waited in vain for " #cond ". " __VA_ARGS__); \
	} while (0)

#endif
