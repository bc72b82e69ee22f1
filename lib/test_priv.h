/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the test framework share among themselves: the list of
 * selected cases (test_list.c), the runner's loop (test_run.c), what a case has
 * said (test_output.c) and the process that a case runs in (test_case.c).
 */
#ifndef LIB_TEST_PRIV_H
#define LIB_TEST_PRIV_H

#include <stdatomic.h>
#include <stddef.h>

#include "lib/ktap.h"
#include "lib/test.h"

/* --- options and selection ----------------------------------------------- */

struct test_options {
	bool list, verbose, kmsg;
	unsigned int jobs;
	unsigned int timeout; /* seconds */
	uint64_t seed;
	char **globs;
	int nr_globs;
};

struct test_list {
	struct test *v;
	size_t nr;
	char *suite; /* "suite/file" of this binary, "" without cases */
};

/* Expand the registered cases, those that match, in the order in which they are to be run. */
void test_list_build(struct test_list *list, const struct test_options *opt);
void test_list_print(const struct test_list *list, bool verbose);
/* "tdp-mmu,shadow" for a mask of MMU_*, "all" for 0. */
const char *test_mmu_names(unsigned int mask, char *buf, size_t size);

/* --- between a case's process and the runner ------------------------------ */

/* Memory that both see: what remains to be known when the case is killed. */
struct test_shared {
	atomic_uint checks;
	atomic_uint soft_failures;
	const char *_Atomic last_file; /* where the latest check was */
	atomic_int last_line;
};

/* A verdict on its way to the runner, one datagram. */
struct test_record {
	enum test_verdict verdict;
	char text[1000]; /* the reason */
};

/* Run a case in the process that has been forked for it. Sends its verdict to verdict_fd. */
void test_case_run(struct test *t, struct test_shared *shared, int verdict_fd)
	__attribute__((noreturn));

/* --- what a case prints --------------------------------------------------- */

#define TEST_HEAD_LINES 140 /* lines of output kept from the start … */
#define TEST_TAIL_LINES 60  /* … and from the end */

/*
 * Collects the output of a case. With several cases at once each one's is held
 * back until its result is there; a case that runs alone has its lines passed on
 * at once, so that they survive whatever it does to the machine.
 */
struct test_output {
	struct ktap *ktap;
	bool direct; /* pass lines on at once */
	unsigned long lines;
	struct ktap_splitter split;
	char *head[TEST_HEAD_LINES]; /* unused when direct */
	char *tail[TEST_TAIL_LINES]; /* a ring */
};

void test_output_feed(struct test_output *o, const char *data, size_t len);
/* Print all that has been held back; true when lines had to be left out. Empties *o. */
bool test_output_flush(struct test_output *o);

/* Returns the exit status: 0, 1, 4, or 130 when interrupted. */
int test_run_all(struct test_list *list, const struct test_options *opt);

#endif /* LIB_TEST_PRIV_H */
