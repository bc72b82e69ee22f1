/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of mmufuzz share: options.c, main.c (replaying, converting), campaign.c (workers
 * and findings), trial.c (one program in a process of its own), say.c (output).
 */
#ifndef TOOLS_MMUFUZZ_FUZZ_H
#define TOOLS_MMUFUZZ_FUZZ_H

#include <signal.h>

#include "lib/model.h"
#include "lib/random_program.h"

struct options {
	u64 seed;
	bool seed_given;
	double seconds;	       /* 0: no end */
	double shrink_seconds; /* for one finding */
	bool processor_time;   /* seconds are those of each process on a processor */
	u64 programs;	       /* 0: no end */
	u32 jobs, steps, tries;
	u32 vcpus;			/* 0: by seed */
	const struct paging_mode *mode; /* NULL: by seed */
	bool no_host, shrink, resume, keep_going, quiet, verbose, ktap;
	const char *engine, *config, *output, *replay, *convert;
};

/* Ends the process with status 2 and a message on wrong ones. */
void options_parse(struct options *o, int argc, char **argv);

/* The program that a campaign with these options runs for @seed. */
void choose_program(const struct options *o, u64 seed, struct program *p);

enum trial_end {
	TRIAL_OK,
	TRIAL_WRONG, /* an outcome that is not allowed */
	TRIAL_DIED,  /* the process ended, by a signal … */
	TRIAL_FAILED, /* … or by a failure of the harness: a vCPU that does not come back, most of all */
	TRIAL_SKIPPED, /* there is no such engine or mode here */
};

struct trial {
	enum trial_end end;
	u32 step;
	u64 judged, left_out;
	char text[4096]; /* what was wrong, or what the process said last */
};

/* Runs @p in a process of its own. */
void trial_run(const struct program *p, bool verbose, struct trial *t);
/*
 * The exit status by which a worker's process says that it was wrong, or that the engine isn't
 * there.
 */
#define EXIT_WRONG   33
#define EXIT_SKIPPED 4

/* Makes @p smaller as long as it ends as @end; how many were tried. */
u32 trial_shrink(struct program *p, enum trial_end end, const struct options *o);

/* Writes @p to @path with @text as comments before it; false and errno when that fails. */
bool write_program(const char *path, const struct program *p, const char *text);

/* From here on all is said as the KTAP case @name. */
void say_in_ktap(const char *name);
/* Lines of a result; without a newline at the end. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* On stderr, or as a fact of KTAP. */
void say_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How much was judged: on stdout, or as a fact. */
void say_judged(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_program(const struct program *p);
/* In KTAP: what @path holds, for whoever can't read files here, to be kept as @name. */
void say_file(const char *path, const char *name);
/* The case's end, when there is one; @status is that of the process, and is returned. */
int say_end(int status, const char *reason);

/* The exit status of the whole. */
int campaign(const struct options *o);

extern volatile sig_atomic_t interrupted;
double seconds_now(void);

#endif
