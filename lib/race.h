/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Races, again and again: where the engine has threads take turns by a seed, one body
 * runs under many seeds, each a different interleaving that is the same whenever it is run;
 * elsewhere it runs a few times with threads that are as free as they are.
 *
 *	static void body(struct test *t, unsigned int seed)
 *	{
 *		struct vm *vm = vm_create(…, .nr_vcpus = 2);
 *
 *		… vcpu_start(vm->vcpu[i]); what the host does meanwhile; vcpu_join() …
 *		vm_destroy(vm);
 *	}
 *	TEST(…) { race(t, 200, body); }
 *
 * The body does everything from the VM's creation on, so that nothing is left of the seed before.
 * The first seed that fails ends the case, and is named by a line that says how to run it alone: with
 * parameter interleave=SEED in MMUSCOPE_CONFIG the body runs under that seed only.
 */
#ifndef LIB_RACE_H
#define LIB_RACE_H

#include "test.h"

void race(struct test *t, unsigned int seeds, void (*body)(struct test *t, unsigned int seed));

#endif
