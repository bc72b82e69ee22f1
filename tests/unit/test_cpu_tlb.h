/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of the software CPU's TLB share: a guest with tables of each kind and a
 * TLB above it, and one look through it.
 */
#ifndef TESTS_UNIT_TEST_CPU_TLB_H
#define TESTS_UNIT_TEST_CPU_TLB_H

#include "test_cpu_guest.h"
#include "x86/cpu/tlb.h"

#define R ACCESS_READ
#define W ACCESS_WRITE

#define FINAL_GPA (GUEST_PAGE + 0x678)
#define MOVED	  (1 * MiB) /* how far away the new page is */

static const enum nested_kind kinds[] = {NESTED_NONE, NESTED_NPT, NESTED_EPT};

static struct guest g;
static struct tlb *tlb;

static void init(enum nested_kind kind, enum paging_mode_id id, int leaf)
{
	guest_init(&g);
	if (kind != NESTED_NONE)
		map_nested(&g, kind, 4, 1);
	map_guest(&g, id, leaf);
	tlb = tlb_new();
	ASSERT(tlb);
}

static void fini(void)
{
	tlb_free(tlb);
	guest_fini(&g);
}

static struct translation look(gva_t gva, enum access_kind kind)
{
	return translate(tlb, g.phys, &g.regs, &g.nested, gva, kind);
}

#endif
