/* SPDX-License-Identifier: GPL-2.0-only */
/* The environments of a run, chosen from the options and from what this machine has. */
#ifndef TOOLS_MMURUN_CHOOSE_H
#define TOOLS_MMURUN_CHOOSE_H

#include "tools/mmurun/run.h"

/* in-tree engine, host and lab for each configuration, and the project's own tests */
#define MAX_ENVS (3 * MAX_CONFIGS + 1)

struct choice {
	struct env envs[MAX_ENVS];
	int nr;
	bool lab;	       /* one of them is in the lab */
	char host_note[400];   /* why the host is not used, or not trusted alone */
	char intree_note[400]; /* what of the in-tree engine is left out, and why */
};

/* EXIT_PASS, or another code after a message. */
enum exit_code choose(const struct options *o, struct choice *c);

#endif
