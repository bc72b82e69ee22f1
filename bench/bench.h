/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What benchmarks share: a figure is measured beside what it is compared with, in the same run, since this
 * project's machines are noisy; what counts is the ratio. Each file in bench/ is a program that prints its figures, a
 * line each, or as JSON.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>

#include "mmuscope.h"

/* Which way is better. */
enum bench_better {
	LESS,
	MORE
};

struct bench_figure {
	const char *name;
	double value;
	const char *unit;
	const char *against; /* what it is compared with; NULL: nothing */
	double reference;    /* that one's value, same unit */
	double target; /* value / reference should be at most (LESS) or at least this; 0: none */
	enum bench_better better;
};

/* Parses --json, --quick and --help; anything else ends the program with a message. */
void bench_start(int argc, char **argv, const char *what);
/* Whether --quick was given: a tenth of the work, for tests of the benchmark. */
bool bench_quick(void);
/* Prints a figure; value / reference is the ratio. */
void bench_print(const struct bench_figure *f);
/* Something to compare with isn't installed or can't run here: says so, as a comment line. */
void bench_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Nanoseconds of a monotonic clock. */
u64 bench_now(void);
/* The median of @n values; sorts them. */
double bench_median(double *values, int n);

#endif
