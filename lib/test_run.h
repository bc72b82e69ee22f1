/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The runner's state, shared by its loop (test_run.c) and by what makes results of
 * it (test_report.c).
 */
#ifndef LIB_TEST_RUN_H
#define LIB_TEST_RUN_H

#include <signal.h>

#include "lib/kmsg.h"
#include "lib/test_priv.h"

/* How far the ending of a case by force has come. */
enum stage {
	RUNNING,
	ASKED,	/* its time is up, it has been asked to say where it is */
	KILLED, /* SIGKILL was sent */
	GONE,	/* reported; to be released */
};

struct running {
	struct running *next;
	struct test *t;
	pid_t pid; /* also its process group */
	int out_fd, verdict_fd;
	bool out_eof, verdict_eof;
	struct test_shared *shared;
	struct test_output output;
	unsigned int timeout;		    /* seconds */
	int64_t started, deadline, took_ms; /* milliseconds of CLOCK_MONOTONIC */
	enum stage stage;
	bool timed_out;
	bool has_verdict;
	enum test_verdict verdict; /* the most severe so far */
	char reason[1000];
	char *splats; /* reports in the kernel's log that are laid at its door */
};

struct runner {
	const struct test_options *opt;
	struct test_list *list;
	struct ktap ktap;
	struct kmsg *kmsg; /* NULL when the kernel's log is not watched */
	struct running *running;
	unsigned int nr_running;
	sigset_t inherited_mask;
	int signal_fd;
	int interrupted; /* the signal */
	unsigned long done, failed, skipped;
};

/* Print the result of a case that has ended with a wait(2) status. */
void test_report(struct runner *r, struct running *c, int status);
/* The same for one that does not go away after SIGKILL. */
void test_report_stuck(struct runner *r, struct running *c);
/* Report what the kernel has complained of while no case was running. */
void test_report_idle_splats(struct runner *r);

#endif /* LIB_TEST_RUN_H */
