/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text without a C library, for events and for what the auditor reports.
 */
#ifndef X86_MMU_TEXT_H
#define X86_MMU_TEXT_H

#include "x86/mmu/mmu.h"

/*
 * Text that grows in a buffer, always terminated; what doesn't fit is counted in len, and lost.
 */
struct text {
	char *buf;
	size_t size, len;
};

void text_init(struct text *t, char *buf, size_t size);
void text_str(struct text *t, const char *s);
/* printf's: %s, %c, %d, %u, %ld, %lu; %x and %lx are written with 0x. Nothing else. */
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A role as words: "l1 q2 direct rwx nx !wp smm". */
void text_role(struct text *t, union kvm_mmu_page_role role);

#endif
