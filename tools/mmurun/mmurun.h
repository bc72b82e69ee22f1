/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of mmurun share: the options, an environment to run in, and the
 * exit codes. mmurun is one process that starts others and reads what they say; it
 * has no threads, so that a child asked to die with its parent really does.
 */
#ifndef TOOLS_MMURUN_H
#define TOOLS_MMURUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The codes that run_tests.sh documents. A run with several takes the most telling. */
enum exit_code {
	EXIT_PASS = 0,
	EXIT_FAILED = 1, /* a case failed */
	EXIT_USAGE = 2,
	EXIT_NOTHING = 4,	/* nothing could run */
	EXIT_NO_BOOT = 10,	/* the kernel under test did not boot */
	EXIT_DIED = 11,		/* it panicked or hung under test */
	EXIT_BROKEN = 12,	/* the environment is broken: says nothing of the kernel */
	EXIT_INTERRUPTED = 130, /* Ctrl-C */
};

/* The more telling of two exit codes; EXIT_NOTHING only stands when nothing else does. */
enum exit_code exit_worse(enum exit_code a, enum exit_code b);

#define MAX_CONFIGS 32

enum run_where {
	WHERE_AUTO, /* the host where it can, the lab where the host can't */
	WHERE_HOST,
	WHERE_LAB,
};

enum run_format {
	FORMAT_AUTO, /* pretty on a terminal, KTAP otherwise */
	FORMAT_PRETTY,
	FORMAT_KTAP,
};

/* The command line, checked. Strings belong to argv. */
struct options {
	const char *engine; /* "kvm", "intree", "qemu" or "all" */
	enum run_where where;
	enum run_format format;
	const char *kernel;		  /* NULL: the distribution's, from the cache */
	const char *modules;		  /* NULL: the kernel's own */
	const char *configs[MAX_CONFIGS]; /* each "k=v[,k=v]"; none: the defaults */
	int nr_configs;
	int jobs;	  /* 0: mmusuite's default */
	int timeout;	  /* seconds a case may take; 0: mmusuite's default */
	int boot_timeout; /* seconds until init's first word */
	int hang_timeout; /* seconds without a line; 0: follows from timeout */
	uint64_t seed;
	bool have_seed;
	const char *output; /* NULL: out/TIME-PID */
	bool unit;	    /* the project's own tests too */
	int fuzz;	    /* seconds of random programs instead of the suite; 0: the suite */
	const char *replay; /* a program for mmufuzz instead of the suite */
	bool list, dry_run, print_needs;
	char **globs; /* NULL-terminated; with fuzz or replay options for mmufuzz */
};

/* Whether mmufuzz runs, and not the suite. */
static inline bool fuzzing(const struct options *o)
{
	return o->fuzz || o->replay;
}

/* What an environment is to run. */
static inline const char *program_name(const struct options *o)
{
	return fuzzing(o) ? "mmufuzz" : "mmusuite";
}

/*
 * Fill @o from the command line. Returns EXIT_PASS, or EXIT_USAGE after a message
 * that names the option, the value and the remedy.
 */
enum exit_code options_parse(struct options *o, int argc, char **argv);

/* Folder of the build that this program is part of ("build"). */
const char *build_dir(void);

/* Print "mmurun: ..." and a newline on stderr. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As asprintf(), but out of memory ends the program. */
char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
