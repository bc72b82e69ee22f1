// SPDX-License-Identifier: GPL-2.0-only
/*
 * One test binary: which of its cases are asked for, and a run of them. The binary's
 * lines are passed on one level down; whatever it does, each of its cases ends up
 * with exactly one result.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/mmusuite/mmusuite.h"

#define LIST_MS	     30000 /* for naming its cases */
#define INTERRUPT_MS 5000  /* for ending in order when we are told to stop */

static void *must(void *p)
{
	if (!p) {
		perror("mmusuite");
		exit(1);
	}
	return p;
}

void binary_free(struct binary *b)
{
	size_t i;

	for (i = 0; i < b->nr_cases; i++)
		free(b->cases[i]);
	free(b->cases);
	free(b->seen);
	free(b->path);
	free(b->name);
	free(b->problem);
}

static void take_name(const char *line, void *arg)
{
	struct binary *b = arg;

	b->cases = must(realloc(b->cases, (b->nr_cases + 1) * sizeof(*b->cases)));
	b->cases[b->nr_cases++] = must(strdup(line));
}

static char *describe_end(int status)
{
	char *s = NULL;
	int n;

	if (WIFSIGNALED(status))
		n = asprintf(&s, "ended by SIG%s", sigabbrev_np(WTERMSIG(status)) ?: "?");
	else
		n = asprintf(&s, "ended with exit status %d", WEXITSTATUS(status));
	return must(n < 0 ? NULL : s);
}

bool binary_list(struct binary *b, const struct options *opt)
{
	char **argv = must(calloc((size_t)opt->nr_globs + 4, sizeof(*argv)));
	struct ktap_splitter *split = must(calloc(1, sizeof(*split)));
	enum process_event event;
	int status, out, i, n = 0;
	pid_t pid;

	argv[n++] = b->path;
	argv[n++] = "--list";
	argv[n++] = "--";
	for (i = 0; i < opt->nr_globs; i++)
		argv[n++] = opt->globs[i];
	pid = process_start(argv, &out);
	free(argv);
	if (pid < 0) {
		perror("mmusuite: fork");
		exit(1);
	}
	do
		event = process_wait(pid, out, LIST_MS, split, take_name, b);
	while (event == PROCESS_OUTPUT || event == PROCESS_OTHER);
	ktap_split_end(split, take_name, b);
	free(split);
	close(out);
	status = process_end(pid);
	if (event == PROCESS_SIGNAL)
		exit(130);
	if (event == PROCESS_SILENT) {
		b->problem = must(strdup("silent when asked for its cases"));
	} else if (status && !(WIFEXITED(status) && WEXITSTATUS(status) == 4)) {
		char *end = describe_end(status);

		/* what it printed is a complaint, not names */
		if (asprintf(&b->problem, "%s when asked for its cases%s%s", end,
			     b->nr_cases ? ": " : "", b->nr_cases ? b->cases[0] : "") < 0)
			must(NULL);
		free(end);
	}
	b->seen = must(calloc(b->nr_cases + 1, sizeof(*b->seen)));
	return b->nr_cases || b->problem;
}

bool binary_listed(struct binary *b, const struct options *opt)
{
	size_t len = strlen(b->name);
	const char *line, *end;

	for (line = opt->listed; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		if (!strncmp(line, b->name, len) && line[len] == '.') {
			char *name = must(strndup(line, end - line));

			take_name(name, b);
			free(name);
		}
	}
	b->seen = must(calloc(b->nr_cases + 1, sizeof(*b->seen)));
	return b->nr_cases;
}

/* --- a run --------------------------------------------------------------- */

struct run {
	struct binary *b;
	struct ktap *k;
	struct totals own;
	unsigned long results;
	unsigned int timeout;	     /* seconds; the longest that a case asked for */
	char current[KTAP_NAME_MAX]; /* latest case started */
};

static void count(struct run *r, const struct ktap_line *l)
{
	r->results++;
	if (!l->ok)
		r->own.failed++;
	else if (l->directive == KTAP_SKIP)
		r->own.skipped++;
	else if (l->directive == KTAP_XFAIL)
		r->own.xfailed++;
	else
		r->own.passed++;
}

/* Whether a result is one that we wait for: of a case without one, or of the kernel's log. */
static bool is_expected(struct binary *b, const char *name)
{
	size_t len = strlen(name), i;

	for (i = 0; i < b->nr_cases; i++) {
		if (!b->seen[i] && !strcmp(b->cases[i], name)) {
			b->seen[i] = true;
			return true;
		}
	}
	return len > 11 && !strcmp(name + len - 11, ".kernel_log");
}

static void take_line(const char *line, void *arg)
{
	struct run *r = arg;
	unsigned long seconds;
	struct ktap_line l;

	switch (ktap_parse_line(line, &l)) {
	case KTAP_VERSION:
	case KTAP_PLAN:
		/* ours are there already; a reader needs them even when the binary dies first */
		return;
	case KTAP_RESULT:
		if (l.level || !is_expected(r->b, l.name))
			break;
		count(r, &l);
		r->current[0] = '\0';
		ktap_raw(r->k, line);
		return;
	case KTAP_START:
		memcpy(r->current, l.name, sizeof(r->current));
		ktap_raw(r->k, line);
		return;
	case KTAP_FACT:
		seconds = strtoul(l.text, NULL, 10);
		if (!strcmp(l.name, "timeout") && seconds > r->timeout && seconds < 86400)
			r->timeout = (unsigned int)seconds;
		ktap_raw(r->k, line);
		return;
	case KTAP_DIAG:
	case KTAP_SUBTEST:
		ktap_raw(r->k, line);
		return;
	case KTAP_BAIL:
	case KTAP_UNKNOWN:
		break;
	}
	/* not from the framework: the dynamic linker, a sanitizer, a dying program */
	if (*line)
		ktap_quote(r->k, line, strlen(line));
}

/* Every case that has no result gets one that says why. */
static void report_missing(struct run *r, const char *why)
{
	char reason[400];
	size_t i;

	for (i = 0; i < r->b->nr_cases; i++) {
		if (r->b->seen[i])
			continue;
		snprintf(reason, sizeof(reason), "%s: %.100s %.200s",
			 !strcmp(r->b->cases[i], r->current) ? "was running" : "not run",
			 r->b->name, why);
		ktap_result(r->k, false, ++r->results, r->b->cases[i], KTAP_ERROR, reason);
		r->own.failed++;
	}
}

/* What the kernel said and no case has been charged with. */
static void report_kernel_log(struct run *r, struct kmsg *kmsg)
{
	char name[KTAP_NAME_MAX], *line, *rest;
	struct kmsg_block block;

	snprintf(name, sizeof(name), "%.200s.kernel_log", r->b->name);
	while (kmsg && kmsg_next(kmsg, &block)) {
		ktap_start(r->k, name);
		for (rest = block.text; (line = strsep(&rest, "\n"));)
			if (*line)
				ktap_diag(r->k, "kernel: %s", line);
		ktap_result(r->k, false, ++r->results, name, KTAP_NONE, NULL);
		r->own.failed++;
		free(block.text);
	}
}

void binary_start(struct binary *b, const struct options *opt)
{
	char **argv = must(calloc((size_t)opt->nr_globs + 9, sizeof(*argv)));
	char timeout[16];
	int n = 0, i;

	if (b->pid || b->problem)
		return;
	snprintf(timeout, sizeof(timeout), "%u", opt->timeout);
	argv[n++] = b->path;
	argv[n++] = "--timeout";
	argv[n++] = timeout;
	if (opt->jobs) {
		argv[n++] = "--jobs";
		argv[n++] = (char *)opt->jobs;
	}
	if (opt->seed) {
		argv[n++] = "--seed";
		argv[n++] = (char *)opt->seed;
	}
	argv[n++] = "--";
	for (i = 0; i < opt->nr_globs; i++)
		argv[n++] = opt->globs[i];
	b->pid = process_start(argv, &b->out);
	free(argv);
}

void binary_drop(struct binary *b)
{
	if (b->pid > 0) {
		process_end(b->pid);
		close(b->out);
	}
	b->pid = 0;
}

/* Returns why it ended, malloc'd; NULL when it was because we were told to stop. */
static char *follow(struct run *r, struct ktap_splitter *split, int *status,
		    void (*ended)(void *arg), void *arg)
{
	pid_t pid = r->b->pid;
	bool interrupted = false;
	enum process_event event;
	int64_t silence;
	char *why = NULL;

	do {
		silence = interrupted ? INTERRUPT_MS : (int64_t)r->timeout * 2000 + 10000;
		event = process_wait(pid, r->b->out, silence, split, take_line, r);
		if (event == PROCESS_SIGNAL) {
			interrupted = true;
			kill(pid, SIGTERM);
		}
		if (event == PROCESS_OTHER)
			ended(arg);
		/* whoever read our results is gone */
		if (r->k->gone && !interrupted) {
			interrupted = true;
			kill(pid, SIGTERM);
		}
	} while (event == PROCESS_OUTPUT || event == PROCESS_SIGNAL || event == PROCESS_OTHER);

	ktap_split_end(split, take_line, r);
	*status = process_end(pid);
	if (interrupted)
		return NULL;
	if (event == PROCESS_SILENT) {
		if (asprintf(&why, "was silent for %lld s and was killed",
			     (long long)silence / 1000) < 0)
			why = NULL;
		return must(why);
	}
	return describe_end(*status);
}

bool binary_run(struct binary *b, const struct options *opt, struct ktap *k, struct kmsg *kmsg,
		unsigned long nr, struct totals *t, void (*ended)(void *arg), void *arg)
{
	struct ktap_splitter *split = must(calloc(1, sizeof(*split)));
	struct run r = {.b = b, .k = k, .timeout = opt->timeout};
	bool all_skipped, ok, clean = false;
	char *why = NULL;
	int status = 0;

	k->level++;
	ktap_version(k);
	ktap_subtest(k, b->name);
	ktap_plan(k, b->problem ? 0 : b->nr_cases);
	if (b->problem) {
		why = must(strdup(b->problem));
	} else {
		binary_start(b, opt);
		if (b->pid < 0) {
			why = must(strdup("could not be started"));
		} else {
			why = follow(&r, split, &status, ended, arg);
			close(b->out);
			b->pid = 0;
			/* how the framework ends; 1 stands for a failed case */
			clean = WIFEXITED(status) &&
				(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 4 ||
				 (WEXITSTATUS(status) == 1 && r.own.failed));
		}
		if (why)
			report_missing(&r, why);
		report_kernel_log(&r, kmsg);
	}
	k->level--;
	free(split);
	if (!why)
		return false;

	ok = clean && !r.own.failed;
	all_skipped = ok && !r.own.passed && !r.own.xfailed;
	if (b->problem || (!clean && !r.own.failed))
		ktap_result(k, false, nr, b->name, KTAP_ERROR, why);
	else
		ktap_result(k, ok, nr, b->name, all_skipped ? KTAP_SKIP : KTAP_NONE,
			    all_skipped ? "every case was skipped" : NULL);
	/* a binary that failed without any failed case counts as one */
	if (!ok && !r.own.failed)
		r.own.failed = 1;
	t->passed += r.own.passed;
	t->failed += r.own.failed;
	t->skipped += r.own.skipped;
	t->xfailed += r.own.xfailed;
	free(why);
	return true;
}
