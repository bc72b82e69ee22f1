/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs programs (lib/program.h) in a VM and judges what comes of them.
 *
 * The model knows what every entry and every word of the program's frames holds, what the
 * processors' registers are and, by the oracle, what each may remember. For each step it works out
 * what the manuals allow before the step is run, in batches for the agent; after each batch the
 * answers are held against that and all of the frames against the model. What one store does where
 * two outcomes are allowed is looked up in memory then, so the model never has to guess. A step
 * whose outcome no manual tells (a page table where there is no memory, say) is left out.
 */
#ifndef LIB_MODEL_H
#define LIB_MODEL_H

#include "program.h"

struct model_result {
	bool wrong; /* the engine did what is not allowed; else all is well */
	u32 step; /* the step that showed it, or the last one of its batch; before: the one that it has come to */
	char text[1024]; /* what was expected, what came */
	u64 judged;	 /* steps that were run and judged */
	u64 left_out;
};

/*
 * Kinds of behaviour that a run has shown, one flag each: what was done in which mode and ring, how many outcomes were
 * allowed, which of them came, with which error code. The same number stands for the same behaviour in all runs; two
 * may share one.
 */
#define MODEL_BEHAVIOURS_SHIFT 14
#define MODEL_BEHAVIOURS       BIT(MODEL_BEHAVIOURS_SHIFT)

struct model_options {
	bool verbose;	/* each step and what came of it on stdout */
	bool impatient; /* a batch that takes 0.1 s on our own engine is stuck */
	u8 *behaviours; /* MODEL_BEHAVIOURS flags that model_run() sets; NULL: nobody wants to know */
};

/*
 * Runs @p in a VM of its own. Skips the case, or ends the process outside of one, where the mode
 * isn't there; an exit that no guest may cause ends it as a failure, as everywhere.
 */
void model_run(const struct program *p, const struct model_options *o, struct model_result *res);

/* For test cases: runs a program given as text and fails the case when something is wrong. */
void expect_program(const char *text);

#endif
