/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mmusuite's two parts: what to run (mmusuite.c) and running one test binary
 * (binary.c, process.c).
 */
#ifndef TOOLS_MMUSUITE_H
#define TOOLS_MMUSUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/kmsg.h"
#include "lib/ktap.h"

struct options {
	const char *tests;  /* folder with the suites' folders */
	const char *suites; /* "mmu,tdp,shadow" */
	const char *jobs, *seed;
	unsigned int binaries; /* to run at once */
	const char *listed;    /* the cases' names, a line each; NULL: the binaries are asked */
	unsigned int timeout;  /* seconds */
	bool list;
	char **globs;
	int nr_globs;
};

/* A test binary with at least one case that is asked for. */
struct binary {
	char *path;
	char *name; /* "mmu/invlpg" */
	char **cases;
	bool *seen; /* per case: its result has come */
	size_t nr_cases;
	char *problem; /* why its cases could not be listed, else NULL */
	pid_t pid;     /* of its run, else 0; -1: it could not be started */
	int out;       /* what that prints */
};

struct totals {
	unsigned long passed, failed, skipped, xfailed;
};

/*
 * Ask a binary for its cases that match opt's globs. False when there are none;
 * with b->problem set and true when it could not say.
 */
bool binary_list(struct binary *b, const struct options *opt);
/* The same from opt->listed. */
bool binary_listed(struct binary *b, const struct options *opt);
void binary_free(struct binary *b);

/* Start a run of it, unless it was started. What it prints waits for binary_run(). */
void binary_start(struct binary *b, const struct options *opt);
/* End a run that binary_run() won't look at. */
void binary_drop(struct binary *b);

/*
 * Run it, pass its lines on to k (one level down) and print its own result as
 * number `nr`. Adds to *t. Whenever another process has ended, ended(arg) is called. Returns false when the run was
 * interrupted by a signal.
 */
bool binary_run(struct binary *b, const struct options *opt, struct ktap *k, struct kmsg *kmsg,
		unsigned long nr, struct totals *t, void (*ended)(void *arg), void *arg);

/* --- processes ------------------------------------------------------------ */

/*
 * Start argv[0] with stdout and stderr on a pipe, whose reading end becomes *out
 * (non-blocking). Dies with us. Returns its pid, or -1 with errno.
 */
pid_t process_start(char *const *argv, int *out);

enum process_event {
	PROCESS_OUTPUT,
	PROCESS_END,
	PROCESS_SILENT,
	PROCESS_SIGNAL,
	PROCESS_OTHER
};

/*
 * Wait until there is output (which is handed to the splitter), until the process
 * has ended, until timeout_ms have passed without output, or until somebody wants
 * us to stop (SIGINT, SIGTERM, SIGHUP); or until another process has ended.
 */
enum process_event process_wait(pid_t pid, int out, int64_t timeout_ms, struct ktap_splitter *split,
				void (*fn)(const char *line, void *arg), void *arg);

/* Whether it has ended; process_end() is still to be called. */
bool process_has_ended(pid_t pid);

/* Kill it if it still runs, and whatever it has left behind. Returns its wait status. */
int process_end(pid_t pid);

/* Block the signals that process_wait() tells of; become the reaper of orphans. */
void process_init(void);

#endif /* TOOLS_MMUSUITE_H */
