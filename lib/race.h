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
 * parameter interleave=SEED in MMUSCOPE_CONFIG the body runs under that seed only. MMUSCOPE_TURNS=1 in the
 * environment prints each turn; MMUSCOPE_FREE=1 lets threads run freely there too, for comparison.
 */
#ifndef LIB_RACE_H
#define LIB_RACE_H

#include "agent.h"
#include "test.h"

/*
 * So many unless there is a reason. An everyday run takes a twelfth of them, others each time (they follow
 * from --seed); with MMUSCOPE_SEEDS=full it's all, from 1 up, with MMUSCOPE_SEEDS=N so many for every case.
 */
#define RACE_SEEDS 24

void race(struct test *t, unsigned int seeds, void (*body)(struct test *t, unsigned int seed));

/*
 * What vCPUs and the host meet by: words in a frame of slot 0 that only grow, at the same address
 * for guests in every address space and without paging.
 */
static inline gpa_t race_words(struct vm *vm)
{
	return vm_alloc_table(vm);
}

static inline void op_signal(struct vcpu *v, gpa_t word, u32 value)
{
	op_add(v, .kind = AGENT_WRITE, .addr = word, .value = value, .size = 4);
}

static inline void op_wait(struct vcpu *v, gpa_t word, u32 value)
{
	op_add(v, .kind = AGENT_WAIT_GE, .addr = word, .value = value, .size = 4);
}

/* The host's: says that the word has come to @value; waits until it has. */
void race_signal(struct vm *vm, gpa_t word, u32 value);
void race_wait(struct vm *vm, gpa_t word, u32 value);

/* Appends to each vCPU's batch that it has come to where the race begins; race_start() waits for all. */
void race_ready(struct vm *vm);
/*
 * Starts all vCPUs with the batches they have. Returns when they have come to race_ready(), and some
 * turns later, by @seed.
 */
void race_start(struct vm *vm, unsigned int seed);
/* Waits for their ends. */
void race_join(struct vm *vm);

/*
 * Has each vCPU run a first batch that reads @gva, so that what the agent itself needs is mapped
 * before the race begins; 0: no address. Leaves the batches empty.
 */
void race_warm(struct vm *vm, gva_t gva);

#endif
