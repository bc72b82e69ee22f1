// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options and output of the benchmarks.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static bool json, quick;

void bench_start(int argc, char **argv, const char *what)
{
	const char *config;
	char *unchecked;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--quick")) {
			quick = true;
		} else if (!strcmp(argv[i], "--help")) {
			printf("usage: %s [--json] [--quick]\n\n%s\n\n"
			       "  --json   a JSON object a figure, one a line\n"
			       "  --quick  a tenth of the work; the figures are rough\n\n"
			       "A line: name, value, unit, what it is compared with in the same run, ratio.\n"
			       "MMUSCOPE_ENGINE and MMUSCOPE_CONFIG choose what is measured (default: intree).\n",
			       argv[0], what);
			exit(0);
		} else {
			fprintf(stderr, "%s: %s: no such option (--help)\n", argv[0], argv[i]);
			exit(2);
		}
	}
	setenv("MMUSCOPE_ENGINE", "intree", 0);
	/* Nothing is measured with the auditor at work, unless it is asked for. */
	config = getenv("MMUSCOPE_CONFIG");
	if (asprintf(&unchecked, "check=0%s%s", config && *config ? "," : "",
		     config ? config : "") > 0)
		setenv("MMUSCOPE_CONFIG", unchecked, 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

bool bench_quick(void)
{
	return quick;
}

void bench_print(const struct bench_figure *f)
{
	double ratio = f->against && f->reference != 0 ? f->value / f->reference : 0;
	bool met = f->better == LESS ? ratio <= f->target : ratio >= f->target;

	if (json) {
		printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", f->name, f->value,
		       f->unit);
		if (f->against)
			printf(", \"against\": \"%s\", \"reference\": %.6g, \"ratio\": %.4g",
			       f->against, f->reference, ratio);
		if (f->target != 0)
			printf(", \"target\": %.4g, \"met\": %s", f->target,
			       met ? "true" : "false");
		printf("}\n");
		return;
	}
	printf("%-34s %12.5g %-10s", f->name, f->value, f->unit);
	if (f->against)
		printf(" %s: %.5g, ratio %.3g", f->against, f->reference, ratio);
	if (f->target != 0)
		printf(" (target: at %s %.3g: %s)", f->better == LESS ? "most" : "least", f->target,
		       met ? "met" : "MISSED");
	printf("\n");
}

void bench_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# ", json ? stderr : stdout);
	vfprintf(json ? stderr : stdout, fmt, ap);
	fputc('\n', json ? stderr : stdout);
	va_end(ap);
}

u64 bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, int n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
