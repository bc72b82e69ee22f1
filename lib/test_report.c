// SPDX-License-Identifier: GPL-2.0-only
/*
 * From how a case ended to its result line: the verdict it sent, the signal that
 * ended it, what the kernel said meanwhile, whatever is the most severe.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/test_run.h"

/* Text of kernel reports kept per case. */
#define SPLATS_MAX 65536

/* Only a binary that has an engine can tell; the framework's own tests have none. */
extern __typeof__(mmu_kind) mmu_kind __attribute__((weak));

static void __attribute__((format(printf, 3, 4)))
raise_to(struct running *c, enum test_verdict v, const char *fmt, ...)
{
	va_list ap;

	if (c->has_verdict && c->verdict >= v)
		return;
	c->has_verdict = true;
	c->verdict = v;
	va_start(ap, fmt);
	vsnprintf(c->reason, sizeof(c->reason), fmt, ap);
	va_end(ap);
}

/* --- the kernel's log ------------------------------------------------------ */

static struct running *named(struct runner *r, const char *comm)
{
	struct running *c;
	char *end;
	size_t idx;

	if (strncmp(comm, "mc", 2))
		return NULL;
	idx = strtoul(comm + 2, &end, 16);
	if (end == comm + 2 || *end)
		return NULL;
	for (c = r->running; c; c = c->next)
		if (c->t - r->list->v == (ptrdiff_t)idx)
			return c;
	return NULL;
}

static void charge(struct running *c, const char *text)
{
	size_t old = c->splats ? strlen(c->splats) : 0, len = strlen(text);
	char *longer;

	if (old + len > SPLATS_MAX)
		return;
	longer = realloc(c->splats, old + len + 1);
	if (!longer)
		return;
	memcpy(longer + old, text, len + 1);
	c->splats = longer;
}

/*
 * Lay each new report at the door of the case whose task it names, or, when that is
 * a task of the kernel's, of all that were running: one of them it was.
 */
static void read_splats(struct runner *r)
{
	struct kmsg_block block;
	struct running *c, *only;

	while (r->kmsg && kmsg_next(r->kmsg, &block)) {
		only = named(r, block.comm);
		for (c = r->running; c; c = c->next)
			if (!only || c == only)
				charge(c, block.text);
		free(block.text);
	}
}

static void print_splats(struct runner *r, const char *text)
{
	const char *end;

	for (; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		ktap_diag(&r->ktap, "kernel: %.*s", (int)(end - text), text);
	}
}

void test_report_idle_splats(struct runner *r)
{
	struct kmsg_block block;
	char name[KTAP_NAME_MAX];

	/* a running case will get them */
	if (r->running || !r->kmsg)
		return;
	while (kmsg_next(r->kmsg, &block)) {
		/* the case that did it has its result already, so this is one more */
		snprintf(name, sizeof(name), "%.200s.kernel_log", r->list->suite);
		ktap_start(&r->ktap, name);
		print_splats(r, block.text);
		ktap_result(&r->ktap, false, ++r->done, name, KTAP_NONE, NULL);
		r->failed++;
		free(block.text);
	}
}

/* --- results ---------------------------------------------------------------- */

static void restore(struct runner *r, struct running *c)
{
	pid_t pid, parent = getpid();
	int status, null;

	if (!c->t->tc->restore)
		return;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		sigprocmask(SIG_SETMASK, &r->inherited_mask, NULL);
		null = open("/dev/null", O_RDWR);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		/* it has no business taking long */
		alarm(10);
		c->t->tc->restore();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || status)
		raise_to(c, TEST_ERROR, "its .restore failed: the next cases may suffer");
	else
		ktap_diag(&r->ktap, "its .restore was run");
}

static void print_last_check(struct runner *r, struct running *c)
{
	const char *file = atomic_load(&c->shared->last_file);

	if (file)
		ktap_diag(&r->ktap, "the last expectation was at %s:%d", file,
			  atomic_load(&c->shared->last_line));
	else
		ktap_diag(&r->ktap, "no expectation had been reached");
}

/* A skip counts against a configuration only where the case is meant to run. */
static void print_meant_for(struct runner *r, const struct test_case *tc)
{
	unsigned int here = mmu_kind ? mmu_kind() : 0;
	char names[64];

	ktap_fact(&r->ktap, "meant-for", "%s", test_mmu_names(tc->meant_for, names, sizeof(names)));
	ktap_fact(&r->ktap, "meant-here", "%s",
		  !tc->meant_for || (tc->meant_for & here) ? "yes"
		  : here				   ? "no"
							   : "unknown");
}

static void judge_end(struct runner *r, struct running *c, int status)
{
	if (c->timed_out) {
		ktap_diag(&r->ktap, "still running after %u s", c->timeout);
		print_last_check(r, c);
		restore(r, c);
	} else if (WIFSIGNALED(status)) {
		const char *name = sigabbrev_np(WTERMSIG(status));

		ktap_diag(&r->ktap, "killed by SIG%s", name ? name : "?");
		print_last_check(r, c);
		raise_to(c, TEST_FAIL, "killed by SIG%s", name ? name : "?");
		restore(r, c);
	} else if (!c->has_verdict) {
		raise_to(c, TEST_ERROR, "ended without a verdict (exit status %d)",
			 WEXITSTATUS(status));
		restore(r, c);
	} else if (WEXITSTATUS(status)) {
		raise_to(c, TEST_ERROR, "exit status %d after its verdict", WEXITSTATUS(status));
	}
}

static void print_result(struct runner *r, struct running *c)
{
	static const struct {
		enum ktap_directive directive;
		bool ok;
	} results[] = {
		[TEST_PASS] = {KTAP_NONE, true},	[TEST_SKIP] = {KTAP_SKIP, true},
		[TEST_XFAIL] = {KTAP_XFAIL, true},	[TEST_FAIL] = {KTAP_NONE, false},
		[TEST_TIMEOUT] = {KTAP_TIMEOUT, false}, [TEST_ERROR] = {KTAP_ERROR, false},
	};
	enum test_verdict v = c->timed_out ? TEST_TIMEOUT : c->verdict;
	char reason[1100];

	if (c->timed_out)
		snprintf(reason, sizeof(reason), "after %u s", c->timeout);
	else
		snprintf(reason, sizeof(reason), "%s", c->reason);
	ktap_fact(&r->ktap, "ms", "%lld", (long long)c->took_ms);
	ktap_result(&r->ktap, results[v].ok, ++r->done, c->t->full_name, results[v].directive,
		    reason);
	if (!results[v].ok)
		r->failed++;
	else if (v == TEST_SKIP)
		r->skipped++;
}

void test_report(struct runner *r, struct running *c, int status)
{
	unsigned int soft = atomic_load(&c->shared->soft_failures);

	if (soft)
		raise_to(c, TEST_FAIL, "%u failed expectations", soft);
	read_splats(r);
	if (test_output_flush(&c->output) && c->has_verdict && c->verdict >= TEST_FAIL)
		ktap_diag(&r->ktap, "first of its failures: %s", c->reason);
	if (soft > 20)
		ktap_diag(&r->ktap, "%u failed expectations, of which 20 are shown", soft);
	judge_end(r, c, status);
	if (c->splats) {
		raise_to(c, TEST_FAIL, "the kernel complained");
		print_splats(r, c->splats);
	}
	if (c->has_verdict && c->verdict == TEST_SKIP && !c->timed_out)
		print_meant_for(r, c->t->tc);
	print_result(r, c);
}

void test_report_stuck(struct runner *r, struct running *c)
{
	char path[64], buf[4096];
	FILE *f;

	read_splats(r);
	test_output_flush(&c->output);
	ktap_diag(&r->ktap,
		  "process %d does not end after SIGKILL; its stack in the kernel:", c->pid);
	snprintf(path, sizeof(path), "/proc/%d/stack", c->pid);
	f = fopen(path, "re");
	while (f && fgets(buf, sizeof(buf), f))
		ktap_diag(&r->ktap, "  %s", buf);
	if (f)
		fclose(f);
	print_last_check(r, c);
	if (c->splats)
		print_splats(r, c->splats);
	print_result(r, c);
}
