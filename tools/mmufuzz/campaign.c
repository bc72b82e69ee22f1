// SPDX-License-Identifier: GPL-2.0-only
/*
 * A campaign: workers run one program after the other, each worker a process that says in shared
 * memory which seed it has come to. One that ends has found something; the program is made again
 * from its seed, shrunk and kept, and the worker goes on with the next.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/kmsg.h"
#include "tools/mmufuzz/fuzz.h"

#define PATIENCE 40 /* seconds for one program */

struct worker {
	/* written by the worker's process */
	volatile u64 seed, programs, judged, left_out;
	struct model_result res;
	/* the campaign's own */
	pid_t pid;
	int said; /* what it prints */
	u64 seen_programs;
	double seen_at;
	bool idle; /* does not run any more */
};

struct campaign {
	const struct options *o;
	struct worker *w; /* shared */
	volatile u64 *next_seed;
	u8 *behaviours; /* shared */
	u32 seen_behaviours;
	double started;
	u32 findings;
	bool skipped, stop;
	struct kmsg *kmsg;
};

void choose_program(const struct options *o, u64 seed, struct program *p)
{
	u64 mix = seed * 0x9e3779b97f4a7c15ull;
	struct random_options r = {
		.mode = o->mode ? o->mode : paging_mode(seed % PM_NONE),
		.seed = seed,
		.steps = o->steps,
		.vcpus = o->vcpus	 ? o->vcpus
			 : mix >> 40 & 1 ? 1
					 : 1 + (mix >> 42) % PROGRAM_VCPUS,
		.host = !o->no_host && (mix >> 50 & 3),
		.thp = mix >> 53 & 1,
		.log = mix >> 55 & 1 ? LOG_BITMAP : (mix >> 56) % LOG_KINDS,
	};

	program_random(p, &r);
}

/* Of the time that there is, what has gone: for a worker its own, for the campaign @children that have ended. */
static double spent(const struct campaign *c, bool children)
{
	struct rusage u;

	if (!c->o->processor_time)
		return seconds_now() - c->started;
	getrusage(children ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void work(struct campaign *c, struct worker *w)
{
	struct model_options mo = {.behaviours = c->behaviours};
	u64 last = c->o->programs ? c->o->seed + c->o->programs : ~0ull;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	dup2(w->said, 1);
	dup2(w->said, 2);
	for (;;) {
		struct program p;

		w->seed = __atomic_fetch_add(c->next_seed, 1, __ATOMIC_RELAXED);
		if (w->seed >= last || (c->o->seconds && spent(c, false) > c->o->seconds))
			_exit(0);
		choose_program(c->o, w->seed, &p);
		model_run(&p, &mo, &w->res);
		program_free(&p);
		w->judged += w->res.judged;
		w->left_out += w->res.left_out;
		w->programs++;
		if (w->res.wrong)
			_exit(EXIT_WRONG);
	}
}

static void start(struct campaign *c, struct worker *w)
{
	pid_t pid;

	if (w->said >= 0)
		close(w->said);
	w->said = memfd_create("said", MFD_CLOEXEC);
	w->seen_at = seconds_now();
	fflush(NULL);
	pid = fork();
	if (!pid)
		work(c, w);
	w->pid = pid; /* by the parent only: the worker sees it as well */
	if (pid < 0 || w->said < 0) {
		perror("mmufuzz");
		exit(2);
	}
}

static void totals(const struct campaign *c, u64 *programs, u64 *judged, u64 *left_out)
{
	*programs = *judged = *left_out = 0;
	for (u32 i = 0; i < c->o->jobs; i++) {
		*programs += c->w[i].programs;
		*judged += c->w[i].judged;
		*left_out += c->w[i].left_out;
	}
}

/* --- findings ------------------------------------------------------------------------------ */

static void make_output(const char *dir)
{
	char path[600];
	char *slash;

	snprintf(path, sizeof(path), "%s", dir);
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(path, 0777);
		*slash = '/';
	}
	mkdir(path, 0777);
}

static void describe(const struct campaign *c, u64 seed, const char *what, char *text, size_t size)
{
	/* mmurun's name for this machine and its parameters */
	const char *where = getenv("MMUSCOPE_ENV");
	struct utsname u;

	uname(&u);
	snprintf(text, size, "%s, config \"%s\", kernel %s, seed %lu\n%s",
		 where ? where : c->o->engine, c->o->config, u.release, seed, what);
}

/* Where the finding of @seed goes that ends in @suffix; its name alone from *@name on. */
static void finding_path(const struct campaign *c, u64 seed, const char *suffix, char *path,
			 size_t size, const char **name)
{
	u32 n = snprintf(path, size, "%s/", c->o->output);

	snprintf(path + n, size - n, "%lu.%s", seed, suffix);
	*name = path + n;
}

static void keep_program(const struct campaign *c, u64 seed, const char *suffix,
			 const struct program *p, const char *what)
{
	char path[600], text[8192];
	const char *name;

	finding_path(c, seed, suffix, path, sizeof(path), &name);
	describe(c, seed, what, text, sizeof(text));
	if (!write_program(path, p, text))
		fprintf(stderr, "mmufuzz: %s: %s\n", path, strerror(errno));
	say_file(path, name);
}

static void keep_dmesg(const struct campaign *c, u64 seed, const char *dmesg)
{
	char path[600];
	const char *name;
	FILE *f;

	finding_path(c, seed, "dmesg", path, sizeof(path), &name);
	f = fopen(path, "we");
	if (!f)
		return;
	fputs(dmesg, f);
	fclose(f);
	say_file(path, name);
}

static void keep(struct campaign *c, u64 seed, const char *what, enum trial_end end,
		 const char *dmesg)
{
	u64 programs, judged, left_out;
	struct program p;
	struct trial t;

	c->findings++;
	make_output(c->o->output);
	choose_program(c->o, seed, &p);
	totals(c, &programs, &judged, &left_out);
	say("finding: seed %lu after %.1f s, %lu operations, in %s\n%s", seed, spent(c, true),
	    judged, c->o->output, what);
	keep_program(c, seed, "program", &p, what);
	if (dmesg)
		keep_dmesg(c, seed, dmesg);
	if (!c->o->shrink || end == TRIAL_OK)
		goto out;
	trial_run(&p, false, &t);
	if (t.end == TRIAL_OK || t.end == TRIAL_SKIPPED) {
		say("  it does not come back when the program is run by itself");
		goto out;
	}
	trial_shrink(&p, t.end, c->o);
	trial_run(&p, false, &t);
	say("shrunk to %u steps\n%s", p.nr_steps, t.text);
	say_program(&p);
	keep_program(c, seed, "shrunk", &p, t.text);
out:
	program_free(&p);
}

static void last_words(const struct worker *w, int status, char *text, size_t size)
{
	size_t n = WIFSIGNALED(status)
			   ? snprintf(text, size, "ended by signal %d (%s)\n", WTERMSIG(status),
				      strsignal(WTERMSIG(status)))
			   : snprintf(text, size, "ended with status %d\n", WEXITSTATUS(status));
	ssize_t got = pread(w->said, text + n, size - n - 1, 0);

	text[n + (got > 0 ? got : 0)] = 0;
}

static void worker_ended(struct campaign *c, struct worker *w, int status)
{
	char text[3000];

	w->pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		w->idle = true;
		return;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WRONG) {
		keep(c, w->seed, w->res.text, TRIAL_WRONG, NULL);
	} else {
		last_words(w, status, text, sizeof(text));
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
			fprintf(stderr, "mmufuzz: %s\n", text);
			c->skipped = c->stop = w->idle = true;
			return;
		}
		keep(c, w->seed, text, TRIAL_DIED, NULL);
	}
	if (!c->o->keep_going)
		c->stop = true;
	if (c->stop)
		w->idle = true;
	else
		start(c, w);
}

/* What the kernel complains of is laid at the door of the first worker that runs. */
static void watch_kernel(struct campaign *c)
{
	struct kmsg_block block;

	while (c->kmsg && !c->stop && kmsg_next(c->kmsg, &block)) {
		keep(c, c->w[0].seed, "the kernel complained", TRIAL_OK, block.text);
		free(block.text);
		if (!c->o->keep_going)
			c->stop = true;
	}
}

static void watch_hang(struct worker *w)
{
	double now = seconds_now();

	if (w->programs != w->seen_programs) {
		w->seen_programs = w->programs;
		w->seen_at = now;
	} else if (now - w->seen_at > PATIENCE) {
		kill(w->pid, SIGABRT);
		w->seen_at = now;
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static u32 count_behaviours(const struct campaign *c)
{
	u32 n = 0;

	for (u32 i = 0; i < MODEL_BEHAVIOURS; i++)
		n += c->behaviours[i];
	return n;
}

/* Of those that are still running. */
static u64 lowest_seed(const struct campaign *c)
{
	u64 lowest = *c->next_seed;

	for (u32 i = 0; i < c->o->jobs; i++)
		if (c->w[i].pid && c->w[i].seed < lowest)
			lowest = c->w[i].seed;
	return lowest;
}

static void save_state(const struct campaign *c)
{
	char path[600];
	FILE *f;

	make_output(c->o->output);
	snprintf(path, sizeof(path), "%s/campaign", c->o->output);
	f = fopen(path, "we");
	if (!f)
		return;
	fprintf(f, "next-seed %lu\n", lowest_seed(c));
	fclose(f);
}

static u64 saved_seed(const struct options *o)
{
	char path[600];
	u64 seed;
	FILE *f;

	snprintf(path, sizeof(path), "%s/campaign", o->output);
	f = fopen(path, "re");
	if (!f || fscanf(f, "next-seed %lu", &seed) != 1) {
		fprintf(stderr, "mmufuzz: --resume: %s holds no campaign\n", path);
		exit(2);
	}
	fclose(f);
	return seed;
}

static void progress(struct campaign *c, double *last)
{
	double now = seconds_now();
	u64 programs, judged, left_out;
	u32 behaviours;

	if (now - *last < 5)
		return;
	*last = now;
	totals(c, &programs, &judged, &left_out);
	save_state(c);
	behaviours = count_behaviours(c);
	if (!c->o->quiet)
		say_progress("%.0f s: %lu programs, %lu operations, %.0f a second, %u behaviours "
			     "(+%u), %u findings, at seed %lu",
			     now - c->started, programs, judged, judged / (now - c->started),
			     behaviours, behaviours - c->seen_behaviours, c->findings,
			     lowest_seed(c));
	c->seen_behaviours = behaviours;
}

static bool step(struct campaign *c)
{
	struct timespec wait = {.tv_nsec = 20000000};
	bool running = false;
	int status;

	for (u32 i = 0; i < c->o->jobs; i++) {
		struct worker *w = &c->w[i];

		if (w->pid && waitpid(w->pid, &status, WNOHANG) == w->pid)
			worker_ended(c, w, status);
		if (w->pid)
			watch_hang(w);
		running |= w->pid;
	}
	watch_kernel(c);
	if (running)
		nanosleep(&wait, NULL);
	return running && !interrupted && !c->stop;
}

int campaign(const struct options *o)
{
	struct campaign c = {.o = o, .started = seconds_now()};
	u64 programs, judged, left_out;
	double last = c.started, took;
	size_t size = o->jobs * sizeof(*c.w) + sizeof(u64) + MODEL_BEHAVIOURS;

	if (o->ktap)
		say_in_ktap("fuzz/random");
	c.w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c.w == MAP_FAILED) {
		perror("mmufuzz");
		return 2;
	}
	c.next_seed = (u64 *)(c.w + o->jobs);
	c.behaviours = (u8 *)(c.next_seed + 1);
	*c.next_seed = o->resume ? saved_seed(o) : o->seed;
	if (!strcmp(o->engine, "kvm"))
		c.kmsg = kmsg_open();
	for (u32 i = 0; i < o->jobs; i++) {
		c.w[i].said = -1;
		start(&c, &c.w[i]);
	}
	while (step(&c))
		progress(&c, &last);
	took = seconds_now() - c.started;
	for (u32 i = 0; i < o->jobs; i++) {
		if (!c.w[i].pid)
			continue;
		kill(c.w[i].pid, SIGKILL);
		waitpid(c.w[i].pid, NULL, 0);
	}
	save_state(&c);
	totals(&c, &programs, &judged, &left_out);
	say_judged("%lu operations in %.2f s (%.0f a second), %lu programs, %lu left out, "
		   "%u behaviours, %u findings",
		   judged, took, judged / took, programs, left_out, count_behaviours(&c),
		   c.findings);
	if (c.findings)
		return say_end(1, NULL);
	return c.skipped && !programs ? say_end(EXIT_SKIPPED, "nothing could be run")
				      : say_end(0, NULL);
}
