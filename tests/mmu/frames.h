/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbered frames, for tests that ask "which frame does this address reach
 * now?": 4 KiB frames of slot 1 start with a value of their own, so that one
 * read answers. And the handful of operations that such tests put in batches,
 * always 4 bytes wide, which every mode and ring 3 have.
 */
#ifndef TESTS_MMU_FRAMES_H
#define TESTS_MMU_FRAMES_H

#include "mmuscope.h"

/* The modes of which each has something of its own where five levels are but one more. */
#define MODES_FEW (MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))

#define SCRATCH 0x800 /* offset in a frame of a word that writes may change */

/* What frame @i of slot 1 starts with. */
static inline u64 frame_value(u32 i)
{
	return 0x5a000000 + i;
}

static inline gpa_t frame_gpa(const struct vm *vm, u32 i)
{
	return vm->mem->gpa + i * SZ_4K;
}

/*
 * Entries by turns as an operating system may store them, accessed and dirty
 * already, and without. A shadow of the former may be kept up to date without
 * waiting for an access, which is another path than dropping it.
 */
#define USED_BITS(i) ((i) % 2 ? PTE_A | PTE_D : 0)

/* A 4 KiB entry for frame @i; adds P. */
static inline u64 frame_pte(const struct vm *vm, u32 i, u64 bits)
{
	return frame_gpa(vm, i) | bits | PTE_P;
}

/* An entry for the table at @table that grants every right. PAE's PDPTEs have none to grant. */
static inline u64 table_pte(const struct paging_mode *m, int level, gpa_t table)
{
	return table | PTE_P | (m->id == PM_PAE && level == 3 ? 0 : PTE_W | PTE_U);
}

/* All of them. */
static inline void number_all_frames(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->mem->size / SZ_4K; i++)
		*(u32 *)vm_hva(vm, frame_gpa(vm, i)) = frame_value(i);
}

/*
 * The first 256 frames and 64 of each 2 MiB: touching a page costs the host more than most cases do with it. Who
 * arrives at another one reads 0, which is no frame's value.
 */
static inline void number_frames(struct vm *vm)
{
	u32 i;

	for (i = 0; i < vm->mem->size / SZ_4K; i += i >= 255 && i % 512 >= 63 ? 512 - i % 512 : 1)
		*(u32 *)vm_hva(vm, frame_gpa(vm, i)) = frame_value(i);
}

/* The host's view of frame @i's scratch word. */
static inline u32 *frame_scratch(struct vm *vm, u32 i)
{
	return vm_hva(vm, frame_gpa(vm, i) + SCRATCH);
}

static inline u32 op_read(struct vcpu *v, gva_t gva)
{
	return op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4);
}

static inline u32 op_write(struct vcpu *v, gva_t gva, u32 value)
{
	return op_add(v, .kind = AGENT_WRITE, .addr = gva, .value = value, .size = 4);
}

static inline u32 op_user_read(struct vcpu *v, gva_t gva)
{
	return op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4, .flags = AGENT_USER);
}

static inline u32 op_user_write(struct vcpu *v, gva_t gva, u32 value)
{
	return op_add(v, .kind = AGENT_WRITE, .addr = gva, .value = value, .size = 4,
		      .flags = AGENT_USER);
}

static inline u32 op_invlpg(struct vcpu *v, gva_t gva)
{
	return op_add(v, .kind = AGENT_INVLPG, .addr = gva);
}

static inline u32 op_load_cr3(struct vcpu *v, u64 cr3)
{
	return op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = cr3);
}

static inline u32 op_write_cr4(struct vcpu *v, u64 cr4)
{
	return op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4);
}

/*
 * Which of frames @a and @b a read reached, for outcomes of which the
 * architecture allows two: the one translation may still be cached.
 */
#define EXPECT_FRAME_EITHER(res, a, b, ...)                                                        \
	do {                                                                                       \
		struct agent_result res_ = (res);                                                  \
		EXPECT_OK(res_, __VA_ARGS__);                                                      \
		EXPECT(res_.value == frame_value(a) || res_.value == frame_value(b), __VA_ARGS__); \
	} while (0)

#endif
