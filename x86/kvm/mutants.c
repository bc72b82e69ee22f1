// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which of the deliberate defects of x86/arch/mutants.h is in effect: the one that MMUSCOPE_MUTANT
 * names. In ordinary builds there are none, and nothing is here.
 */
#include "x86/arch/mutants.h"

#ifdef MMUSCOPE_MUTANTS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mutant_id mutant_selected;

static const char *const names[] = {
#define MUTANT_NAME(name, area, config, expected, what, like) [MUT_##name] = #name,
	MUTANTS(MUTANT_NAME)
#undef MUTANT_NAME
};

/* Before main(): what is chosen holds for the whole process and all that it starts. */
static __attribute__((constructor)) void select_mutant(void)
{
	const char *name = getenv("MMUSCOPE_MUTANT");
	unsigned int i;

	if (!name || !*name)
		return;
	for (i = MUTANT_NONE + 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i], name))
			mutant_selected = i;
	if (mutant_selected == MUTANT_NONE) {
		fprintf(stderr, "MMUSCOPE_MUTANT=%s: there is no such mutant\n", name);
		exit(2);
	}
}
#endif
