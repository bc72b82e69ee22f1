/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a run tells: live, as KTAP or in a form for people, and at the end a summary
 * with what failed and how to run exactly that again. Everything is also
 * kept in the output directory as results.ktap.
 */
#ifndef TOOLS_MMURUN_REPORT_H
#define TOOLS_MMURUN_REPORT_H

#include <stdio.h>

#include "lib/ktap.h"
#include "tools/mmurun/mmurun.h"

enum verdict {
	VERDICT_PASS,
	VERDICT_SKIP,
	VERDICT_XFAIL,
	VERDICT_FAIL,
	VERDICT_TIMEOUT,
	VERDICT_ERROR,
	NR_VERDICTS
};

struct counts {
	unsigned int passed, failed, skipped;
};

/* Something to come back to in the summary. */
struct noted {
	enum verdict verdict;
	char *env, *name, *reason, *rerun;
};

struct report {
	bool pretty, live, colour; /* live: a terminal, with a line of progress */
	struct ktap out, file;	   /* stdout (KTAP only) and DIR/results.ktap */
	const char *dir;
	struct counts total, env_counts;
	struct noted *noted;
	size_t nr_noted;
	unsigned int envs; /* results of environments printed so far */
	const char *env;   /* the one that runs */
	int env_cases;	   /* how many it will have */
	int env_ended;	   /* how many have a result */
	bool env_failed;   /* one of its lines was "not ok" */
	char *running;	   /* the case that started last */
};

/* @dir stays the caller's; its results.ktap is created. False after a message. */
bool report_open(struct report *r, enum run_format format, const char *dir, unsigned int nr_envs);

/* @cases: how many there will be, for the line of progress. */
void report_env_start(struct report *r, const char *env, int cases);

/* A line of KTAP below the environment; @level counts from the environment's own lines. */
void report_line(struct report *r, unsigned int level, const char *line);

/* A fact about the environment, "# @key value" in KTAP; people see only what @people says. */
void report_fact(struct report *r, const char *key, const char *value, bool people);

/* Progress: a case has started. */
void report_started(struct report *r, const char *name);

/*
 * A case has ended. @text is what it printed (lines), @rerun the command that runs
 * it alone; both may be NULL. The case's KTAP line is report_line()'s business.
 */
void report_case(struct report *r, enum verdict verdict, const char *name, const char *reason,
		 const char *text, const char *rerun);

/* The environment is done, with the reason when it could not run or did not end well. */
void report_env_end(struct report *r, enum exit_code code, const char *reason);

/* A remark to the reader, in either format. */
void report_note(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The summary; its last line is "N passed, N failed, N skipped". */
void report_close(struct report *r);

#endif
