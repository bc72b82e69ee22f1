/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The views of mmuview. Each makes a guest of its own, watches it and prints what it saw.
 */
#ifndef TOOLS_MMUVIEW_VIEWS_H
#define TOOLS_MMUVIEW_VIEWS_H

#include "lib/mmuscope.h"

struct view_options {
	u32 vcpus;	 /* roots: how many */
	u32 tasks;	 /* loads, roots: address spaces that the busy guest switches between */
	u32 samples;	 /* loads: how many */
	u32 interval_ms; /* loads: of one */
	u32 max, step;	 /* loads: of the histogram */
	u32 faults;	 /* fault: how many to take the mean of */
};

void view_unsync(const struct view_options *opt);
void view_roots(const struct view_options *opt);
void view_loads(const struct view_options *opt);
void view_fault(const struct view_options *opt);

/*
 * Prints how many of @values fall into each step from @low to @high, a line each; what lies outside has a line of its
 * own. Lines at either end that nothing falls into are left out, but for two.
 */
void print_histogram(const u64 *values, u32 n, u64 low, u64 high, u64 step);

/* @n address spaces that all map test_gva, each to a frame of its own. */
void make_spaces(struct vm *vm, struct aspace *as, u32 n);

#endif
