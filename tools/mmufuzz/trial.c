// SPDX-License-Identifier: GPL-2.0-only
/*
 * One program in a process of its own, so that whatever it does to the engine ends there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/test.h"
#include "tools/mmufuzz/fuzz.h"

#define PATIENCE 40 /* seconds; a vCPU that does not come back is noticed after 15 */

static void run_child(const struct program *p, const struct model_options *o,
		      struct model_result *res, int said)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	if (!o->verbose) {
		dup2(said, 1);
		dup2(said, 2);
	}
	alarm(PATIENCE);
	model_run(p, o, res);
	fflush(NULL);
	_exit(res->wrong ? EXIT_WRONG : 0);
}

static void last_words(int said, struct trial *t, int status)
{
	off_t size = lseek(said, 0, SEEK_END);
	size_t n;
	ssize_t got;

	n = WIFSIGNALED(status) ? snprintf(t->text, sizeof(t->text), "ended by signal %d (%s)\n",
					   WTERMSIG(status), strsignal(WTERMSIG(status)))
				: snprintf(t->text, sizeof(t->text), "ended with status %d\n",
					   WEXITSTATUS(status));
	if (size > 3000)
		size = 3000;
	got = pread(said, t->text + n, size, 0);
	t->text[n + (got > 0 ? got : 0)] = 0;
}

static void try_program(const struct program *p, const struct model_options *o, struct trial *t)
{
	struct model_result *res =
		mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int said = memfd_create("said", MFD_CLOEXEC), status = 0;
	pid_t pid;

	*t = (struct trial){0};
	fflush(NULL);
	pid = res == MAP_FAILED || said < 0 ? -1 : fork();
	if (!pid)
		run_child(p, o, res, said);
	if (pid < 0) {
		perror("mmufuzz");
		exit(2);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	t->judged = res->judged;
	t->left_out = res->left_out;
	t->step = res->step;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WRONG) {
		t->end = TRIAL_WRONG;
		memcpy(t->text, res->text, sizeof(res->text));
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
		t->end = TRIAL_SKIPPED;
		last_words(said, t, status);
	} else if (status) {
		t->end = WIFSIGNALED(status) ? TRIAL_DIED : TRIAL_FAILED;
		last_words(said, t, status);
	}
	close(said);
	munmap(res, sizeof(*res));
}

void trial_run(const struct program *p, bool verbose, struct trial *t)
{
	try_program(p, &(struct model_options){.verbose = verbose}, t);
}

struct shrinking {
	enum trial_end end;
	double said; /* when progress was told last */
	double until;
	bool impatient; /* with what does not come back */
};

static bool fails_alike(void *arg, const struct program *p)
{
	struct shrinking *s = arg;
	struct trial t;

	if (interrupted || seconds_now() > s->until)
		return false;
	if (seconds_now() - s->said > 5) {
		s->said = seconds_now();
		say_progress("shrinking, at %u steps", p->nr_steps);
	}
	try_program(p, &(struct model_options){.impatient = s->impatient}, &t);
	return t.end == s->end;
}

u32 trial_shrink(struct program *p, enum trial_end end, const struct options *o)
{
	struct shrinking s = {.end = end,
			      .said = seconds_now(),
			      .until = seconds_now() + o->shrink_seconds,
			      .impatient = end == TRIAL_FAILED};
	struct program whole = {0};
	struct trial t;
	u32 tries;

	/* Nothing after the step that showed it is needed. */
	trial_run(p, false, &t);
	if (t.end == end && t.step + 1 < p->nr_steps) {
		struct program cut = {0};

		program_copy(&cut, p);
		cut.nr_steps = t.step + 1;
		if (fails_alike(&s, &cut))
			program_copy(p, &cut);
		program_free(&cut);
	}
	program_copy(&whole, p);
	tries = program_shrink(p, fails_alike, &s, o->tries);
	/* On a busy machine what is slow may have been taken for what does not come back. */
	if (s.impatient) {
		trial_run(p, false, &t);
		s.impatient = false;
		if (t.end != end) {
			program_copy(p, &whole);
			tries += program_shrink(p, fails_alike, &s, o->tries);
		}
	}
	program_free(&whole);
	return tries;
}

bool write_program(const char *path, const struct program *p, const char *text)
{
	FILE *f = fopen(path, "we");
	bool ok;

	if (!f)
		return false;
	while (text && *text) {
		int n = strcspn(text, "\n");

		fprintf(f, "# %.*s\n", n, text);
		text += n + (text[n] == '\n');
	}
	program_print(p, f);
	ok = !ferror(f);
	return !fclose(f) && ok;
}
