/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Handlers of SMIs, made byte by byte: 16-bit code at SMBASE + 0x8000 with flat segments and no
 * paging, which reads and writes by 32-bit addresses, then RSM (SDM vol. 3 ch. 32). Each
 * smm_emit...() puts code at @p and returns where the next goes.
 */
#ifndef LIB_SMM_H
#define LIB_SMM_H

#include <string.h>

#include "vm.h"

#define SMM_SPACE  (1u << 16)	     /* in a slot's number: the address space of SMM */
#define SMBASE	   0x30000	     /* after a reset; in the system slot */
#define SMM_RESULT (SMBASE + 0x7000) /* where handlers leave what they read */

/* Where the handler of @vm's vCPUs begins; room for 512 bytes at the least. */
static inline u8 *smm_handler(struct vm *vm)
{
	return (u8 *)vm->system->hva + SMBASE + 0x8000;
}

/* @size bytes of code as they are. */
static inline u8 *smm_emit(u8 *p, const void *bytes, u32 size)
{
	memcpy(p, bytes, size);
	return p + size;
}

/* mov $value, (gpa) */
static inline u8 *smm_emit_write(u8 *p, u32 gpa, u32 value)
{
	p = smm_emit(p, "\x66\x67\xc7\x05", 4);
	p = smm_emit(p, &gpa, 4);
	return smm_emit(p, &value, 4);
}

/* mov (gpa), %eax; mov %eax, (to) */
static inline u8 *smm_emit_copy(u8 *p, u32 gpa, u32 to)
{
	p = smm_emit(p, "\x66\x67\xa1", 3);
	p = smm_emit(p, &gpa, 4);
	p = smm_emit(p, "\x66\x67\xa3", 3);
	return smm_emit(p, &to, 4);
}

/* rsm: the end of every handler */
static inline u8 *smm_emit_rsm(u8 *p)
{
	return smm_emit(p, "\x0f\xaa", 2);
}

#endif
