// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling a run's results. Two writers get the same KTAP: the file always, stdout
 * when it is not for people; the pretty form is written beside them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/mmurun/report.h"

#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define BOLD   "\033[1m"

static const char *const verdict_words[NR_VERDICTS] = {
	[VERDICT_PASS] = "pass", [VERDICT_SKIP] = "skip",	[VERDICT_XFAIL] = "known",
	[VERDICT_FAIL] = "FAIL", [VERDICT_TIMEOUT] = "TIMEOUT", [VERDICT_ERROR] = "ERROR",
};

static bool is_failure(enum verdict verdict)
{
	return verdict >= VERDICT_FAIL;
}

static const char *paint(const struct report *r, const char *colour)
{
	return r->colour ? colour : "";
}

static const char *plain(const struct report *r)
{
	return r->colour ? "\033[0m" : "";
}

static unsigned int terminal_width(void)
{
	struct winsize size;

	return !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : 80;
}

/* The line of progress: erased before anything else is printed, drawn again after it. */
static void erase_progress(const struct report *r)
{
	if (r->live)
		fputs("\r\033[K", stdout);
}

static void draw_progress(const struct report *r)
{
	const struct counts *c = &r->env_counts;
	char line[512];
	int len;

	if (!r->live || !r->env)
		return;
	len = snprintf(line, sizeof(line), "%s: %u/%d, %u failed  %s", r->env,
		       c->passed + c->failed + c->skipped, r->env_cases, c->failed,
		       r->running				 ? r->running
		       : c->passed + c->failed + c->skipped == 0 ? "starting"
								 : "");
	/* one column short, or some terminals wrap */
	if (len > (int)terminal_width() - 1)
		line[terminal_width() - 1] = '\0';
	printf("\r\033[K%s", line);
	fflush(stdout);
}

static void people(const struct report *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void people(const struct report *r, const char *fmt, ...)
{
	va_list ap;

	if (!r->pretty)
		return;
	erase_progress(r);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	draw_progress(r);
	fflush(stdout);
}

static void put(struct report *r, unsigned int level, void (*fn)(struct ktap *, const char *),
		const char *text)
{
	r->file.level = r->out.level = level;
	fn(&r->file, text);
	if (!r->pretty)
		fn(&r->out, text);
}

static void put_diag(struct ktap *k, const char *text)
{
	ktap_quote(k, text, strlen(text));
}

bool report_open(struct report *r, enum run_format format_asked, const char *dir,
		 unsigned int nr_envs)
{
	bool terminal = isatty(STDOUT_FILENO);
	const char *no_colour = getenv("NO_COLOR");
	char *path = format("%s/results.ktap", dir), plan[32];

	*r = (struct report){.dir = dir};
	r->pretty = format_asked == FORMAT_PRETTY || (format_asked == FORMAT_AUTO && terminal);
	r->live = r->pretty && terminal;
	r->colour = r->live && !(no_colour && *no_colour);
	r->out.fd = STDOUT_FILENO;
	r->file.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (r->file.fd < 0) {
		complain("%s: %s", path, strerror(errno));
		free(path);
		return false;
	}
	free(path);
	snprintf(plan, sizeof(plan), "1..%u", nr_envs);
	put(r, 0, ktap_raw, "KTAP version 1");
	put(r, 0, ktap_raw, plan);
	return true;
}

void report_env_start(struct report *r, const char *env, int cases)
{
	r->env_cases = cases;
	r->env_ended = 0;
	r->env = env;
	r->env_failed = false;
	r->env_counts = (struct counts){0};
	put(r, 1, ktap_raw, "KTAP version 1");
	put(r, 1, ktap_subtest, env);
	draw_progress(r);
}

void report_line(struct report *r, unsigned int level, const char *line)
{
	put(r, level + 1, ktap_raw, line);
}

void report_fact(struct report *r, const char *key, const char *value, bool for_people)
{
	char *line = format("# @%s %s", key, value);

	put(r, 1, ktap_raw, line);
	free(line);
	if (for_people)
		people(r, "%s: %s\n", r->env, value);
}

void report_started(struct report *r, const char *name)
{
	free(r->running);
	r->running = strdup(name);
	draw_progress(r);
}

/* Print text line by line behind a margin. */
static void people_text(const struct report *r, const char *text)
{
	while (text && *text) {
		size_t len = strcspn(text, "\n");

		people(r, "      %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void note_for_later(struct report *r, enum verdict verdict, const char *name,
			   const char *reason, const char *rerun)
{
	struct noted *more = realloc(r->noted, (r->nr_noted + 1) * sizeof(*more));

	if (!more)
		abort();
	r->noted = more;
	more[r->nr_noted++] = (struct noted){
		.verdict = verdict,
		.env = strdup(r->env),
		.name = strdup(name),
		.reason = strdup(reason ? reason : ""),
		.rerun = rerun ? strdup(rerun) : NULL,
	};
}

void report_case(struct report *r, enum verdict verdict, const char *name, const char *reason,
		 const char *text, const char *rerun)
{
	/* the environment's own failure is no case of it */
	if (strcmp(name, r->env))
		r->env_ended++;
	if (is_failure(verdict)) {
		r->env_counts.failed++;
		r->env_failed = true;
	} else if (verdict == VERDICT_PASS) {
		r->env_counts.passed++;
	} else {
		r->env_counts.skipped++;
	}
	if (r->running && !strcmp(r->running, name)) {
		free(r->running);
		r->running = NULL;
	}
	if (verdict != VERDICT_PASS)
		note_for_later(r, verdict, name, reason, rerun);
	if (is_failure(verdict)) {
		people(r, "%s%-7s%s %s: %s%s%s\n", paint(r, RED), verdict_words[verdict], plain(r),
		       r->env, name, reason && *reason ? ": " : "", reason ? reason : "");
		people_text(r, text);
	} else {
		draw_progress(r);
	}
}

static void add_counts(struct counts *sum, const struct counts *more)
{
	sum->passed += more->passed;
	sum->failed += more->failed;
	sum->skipped += more->skipped;
}

void report_env_end(struct report *r, enum exit_code code, const char *reason)
{
	char *env_text = format("%u passed, %u failed, %u skipped", r->env_counts.passed,
				r->env_counts.failed, r->env_counts.skipped);
	int left = r->env_cases - r->env_ended;
	bool ok = code == EXIT_PASS || code == EXIT_NOTHING;
	enum ktap_directive directive = KTAP_NONE;
	const char *env = r->env;

	if (code == EXIT_NOTHING)
		directive = KTAP_SKIP;
	else if (code == EXIT_BROKEN || code == EXIT_NO_BOOT || code == EXIT_INTERRUPTED)
		directive = KTAP_ERROR;
	if (reason)
		put(r, 1, put_diag, reason);
	if (!ok && left > 0) {
		char *text = format("%d of %d cases did not run", left, r->env_cases);

		put(r, 1, put_diag, text);
		people(r, "%s: %s\n", env, text);
		free(text);
	}
	r->envs++;
	r->file.level = r->out.level = 0;
	ktap_result(&r->file, ok, r->envs, env, directive, reason);
	if (!r->pretty)
		ktap_result(&r->out, ok, r->envs, env, directive, reason);

	free(r->running);
	r->running = NULL;
	erase_progress(r);
	r->env = NULL;
	people(r, "%s%s%s: %s%s%s\n", paint(r, BOLD), env, plain(r), env_text, reason ? "; " : "",
	       reason ? reason : "");
	add_counts(&r->total, &r->env_counts);
	r->env_counts = (struct counts){0};
	free(env_text);
}

void report_note(struct report *r, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	put(r, 0, put_diag, text);
	people(r, "%s\n", text);
	free(text);
}

/* One line for each reason to skip, with how many share it. */
static void summarise_skips(struct report *r)
{
	for (size_t i = 0; i < r->nr_noted; i++) {
		const struct noted *first = &r->noted[i];
		bool seen = false;
		unsigned int n = 0;

		for (size_t j = 0; j < r->nr_noted; j++) {
			const struct noted *other = &r->noted[j];

			if (other->verdict != first->verdict || strcmp(other->env, first->env) ||
			    strcmp(other->reason, first->reason))
				continue;
			seen = seen || j < i;
			n++;
		}
		if (first->verdict == VERDICT_SKIP && !seen)
			report_note(r, "skipped %u in %s: %s", n, first->env, first->reason);
	}
}

void report_close(struct report *r)
{
	char *last;

	summarise_skips(r);
	for (size_t i = 0; i < r->nr_noted; i++)
		if (r->noted[i].verdict == VERDICT_XFAIL)
			report_note(r, "known defect: %s: %s: %s", r->noted[i].env,
				    r->noted[i].name, r->noted[i].reason);
	for (size_t i = 0; i < r->nr_noted; i++) {
		const struct noted *n = &r->noted[i];

		if (!is_failure(n->verdict))
			continue;
		report_note(r, "%s: %s%s%s%s%s", verdict_words[n->verdict], n->env,
			    strcmp(n->env, n->name) ? ": " : "",
			    strcmp(n->env, n->name) ? n->name : "", *n->reason ? ": " : "",
			    n->reason);
		if (n->rerun)
			report_note(r, "  rerun: %s", n->rerun);
	}
	report_note(r, "kept in %s", r->dir);
	last = format("%u passed, %u failed, %u skipped", r->total.passed, r->total.failed,
		      r->total.skipped);
	put(r, 0, put_diag, last);
	people(r, "%s%s%s\n",
	       paint(r, r->total.failed	  ? RED
			: r->total.passed ? GREEN
					  : YELLOW),
	       last, plain(r));
	free(last);
	for (size_t i = 0; i < r->nr_noted; i++) {
		free(r->noted[i].env);
		free(r->noted[i].name);
		free(r->noted[i].reason);
		free(r->noted[i].rerun);
	}
	free(r->noted);
	close(r->file.fd);
}
