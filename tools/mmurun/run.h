/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An environment to run the suite in (engine, host or lab, module parameters), and the
 * stream of KTAP that mmusuite sends from there.
 */
#ifndef TOOLS_MMURUN_RUN_H
#define TOOLS_MMURUN_RUN_H

#include <stdio.h>
#include <sys/types.h>

#include "lib/ktap.h"
#include "tools/mmurun/modules.h"
#include "tools/mmurun/report.h"

enum env_kind {
	ENV_HOST,   /* this machine's /dev/kvm */
	ENV_LAB,    /* a kernel in QEMU */
	ENV_UNIT,   /* mmuscope's own tests, which need no KVM */
	ENV_INTREE, /* the in-tree engine, which needs nothing */
	ENV_QEMU,   /* QEMU's processor, which has no KVM */
};

struct env {
	enum env_kind kind;
	char *name;	    /* "kvm.host", "kvm.lab.npt=0", "intree.ept=1" */
	const char *config; /* "k=v,k=v", may be empty */
	enum vendor vendor; /* of the CPU that the lab emulates */
	int cases;	    /* how many match there */
	bool nested;	    /* QEMU runs on the host's KVM */
};

/* All that running an environment needs. */
struct run {
	const struct options *o;
	const struct env *env;
	struct report *report;
	struct kernel *kernel; /* the lab's */
	char *dir;	       /* the environment's own folder of the output */
	const char *names;     /* a file with the names of the suites' cases, or NULL */
};

#define STREAM_LEVELS 8

struct stream {
	struct run *run;
	FILE *raw; /* DIR/results.ktap: the bytes as they came */
	struct ktap_splitter splitter;
	unsigned int nr[STREAM_LEVELS]; /* results seen since the level's last parent */
	bool failed[STREAM_LEVELS];	/* a case failed there or below since then */
	char *subtest[STREAM_LEVELS];
	char **running; /* cases started and not ended, in order */
	unsigned int *running_level;
	size_t nr_running;
	char *text; /* what came since the last result: the next one's output */
	size_t text_len, text_room;
	int64_t last;  /* now() at the last line */
	int64_t first; /* now() at the first case's start, 0 before it */
	unsigned int ran, failures;
	bool meant_here; /* the case that runs; it says so when it skips */
	unsigned int meant, meant_skipped;
	/* what the lab's init has told */
	bool hello;
	char *lab_error, *lab_exit;
};

void stream_open(struct stream *s, struct run *run);
void stream_feed(struct stream *s, const char *data, size_t len);

/*
 * The stream has ended. With a @why, it ended before its time: the cases that were
 * running get @verdict with that reason and @detail (lines, may be NULL), or the
 * environment itself when none was (unless it is a skip).
 */
void stream_close(struct stream *s, const char *why, enum verdict verdict, const char *detail);

/* "kvm", "intree" or "qemu". */
const char *env_engine(const struct env *env);

/*
 * The command line of what runs in the environment, mmusuite or mmufuzz, found below @root as the
 * build has them. NULL-terminated; never freed.
 */
char **program_argv(const struct run *run, const char *root);

/* The command that runs one case again in this environment; free() it. */
char *rerun_command(const struct run *run, const char *name);

/* Run the suite there: host_run() on this machine with any engine. *reason is set, to free(), unless it ended in order. */
enum exit_code host_run(struct run *run, char **reason);
enum exit_code lab_run(struct run *run, char **reason);

/* Why the host's modules are not as the config asks, to free(); NULL when they are. */
char *host_config_mismatch(const char *config);

/* True when the host's KVM offers a nested hypervisor of that vendor. */
bool host_nests(enum vendor vendor);

/*
 * Put init, the suite and the plan's modules into an initramfs at @path. Returns
 * false after a message.
 */
bool initrd_make(struct run *run, const struct load_plan *plan, const char *path);

/* Where the initramfs has the program to replay, below LAB_ROOT. */
#define LAB_ROOT   "/mmuscope"
#define LAB_REPLAY "replay.program"

/* Seconds without a line after which what sends the stream counts as hung. */
int patience(const struct options *o);

/* Set by SIGINT, SIGTERM and SIGHUP. */
extern volatile int interrupted;

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t now(void);

#endif
