// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the suite against each of the deliberate defects of x86/arch/mutants.h, in a build
 * that has them, and says which case notices. For each one the case that is expected to
 * comes first; else the whole suite, configuration by configuration, until a case fails
 * that passes without the mutant. At last the whole suite with the MMU's own checks.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/ktap.h"
#include "x86/arch/mutants.h"

static const char usage[] =
	"usage: mutants --build DIR [OPTION]... [NAME]...\n"
	"\n"
	"Runs the suite of DIR, made by 'make MUTANTS=1', against all mutants, or those that are\n"
	"named. Prints a line for each, then \"N mutants, N caught, N survived\".\n"
	"\n"
	"  --build DIR      the build\n"
	"  --list           print the mutants and end\n"
	"  --expected       try only the case that is expected to notice\n"
	"  --one-config     only the configuration in which it is expected to show\n"
	"  --all-cases      don't begin with that one: find out which case is the first\n"
	"  --jobs N         mutants at a time (default: one a processor)\n"
	"  --timeout SECS   for a case (default 20)\n"
	"  --markdown FILE  put the table into FILE, in place of the one that is there\n"
	"  --help           this text\n"
	"\n"
	"Exit status: 0 all were caught, 1 some survived, 2 usage, 12 the build can't be run.\n";

/* The whole suite runs in these, in this order. */
static const char *const configs[] = {
	"npt=1",
	"npt=0",
	"npt=1,tdp_mmu=0",
	"ept=1,ad_bits=0",
};
/* The same with the MMU's own checks, which count when no case notices. */
static const char *const checked[] = {
	"npt=0,check=1",
	"npt=1,check=1",
	"npt=1,tdp_mmu=0,check=1",
	"ept=1,ad_bits=0,check=1",
};

struct mutant {
	const char *name, *area, *config, *expected, *what, *like;
	bool asked;
	/* The result. */
	bool done;
	char *caught_by; /* NULL: nothing did */
	const char *caught_in;
	const char *how; /* "", or what became of the case besides failing */
};

static struct mutant mutants[] = {
#define MUTANT_ROW(name, area, config, expected, what, like) \
	{#name, area, config, expected, what, like, false, false, NULL, NULL, ""},
	MUTANTS(MUTANT_ROW)
#undef MUTANT_ROW
};

#define NR_MUTANTS (sizeof(mutants) / sizeof(mutants[0]))

static char *suite, *tests;
static const char *timeout = "20";
static bool only_expected, one_config, all_cases;
static volatile sig_atomic_t interrupted;

static void *must(void *p)
{
	if (!p) {
		perror("mutants");
		exit(12);
	}
	return p;
}

/* --- a run of the suite ------------------------------------------------------------- */

struct run {
	const char *config, *mutant; /* "": none */
	const char *glob;	     /* NULL: all cases */
	char *const *except;	     /* cases that fail anyway; NULL-terminated, or NULL */
	/* The first case that failed; NULL: none. */
	char *failed;
	const char *how;
	unsigned long results; /* cases that ended, skipped ones not counted */
};

static bool listed(char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static void take_line(const char *line, void *arg)
{
	struct run *r = arg;
	struct ktap_line l;

	/* Level 0 is the binaries'. */
	if (ktap_parse_line(line, &l) != KTAP_RESULT || l.level != 1)
		return;
	if (l.directive != KTAP_SKIP)
		r->results++;
	if (l.ok || r->failed || listed(r->except, l.name))
		return;
	r->failed = must(strdup(l.name));
	r->how = l.directive == KTAP_TIMEOUT ? "hangs" : l.directive == KTAP_ERROR ? "dies" : "";
}

static pid_t start(const struct run *r, int *out)
{
	char *argv[] = {suite,		 "--tests",	  tests, "--timeout",
			(char *)timeout, (char *)r->glob, NULL};
	pid_t parent = getpid(), pid;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		setpgid(0, 0);
		setenv("MMUSCOPE_ENGINE", "intree", 1);
		setenv("MMUSCOPE_CONFIG", r->config, 1);
		setenv("MMUSCOPE_MUTANT", r->mutant, 1);
		setenv("MMUSCOPE_SEEDS", "full", 1);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(suite, argv);
		_exit(126);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

/* Runs until the first failure. False: the suite can't be run. */
static bool run_suite(struct run *r)
{
	struct ktap_splitter split = {0};
	char buf[8192];
	int out, status;
	pid_t pid;
	ssize_t n;

	r->failed = NULL;
	r->how = "";
	r->results = 0;
	pid = start(r, &out);
	if (pid < 0)
		return false;
	while (!r->failed && !interrupted && (n = read(out, buf, sizeof(buf))) > 0)
		ktap_split(&split, buf, (size_t)n, take_line, r);
	/* What it started ends with it. */
	if (r->failed || interrupted)
		kill(pid, SIGKILL);
	else
		ktap_split_end(&split, take_line, r);
	close(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return r->failed || interrupted || (WIFEXITED(status) && WEXITSTATUS(status) <= 4);
}

/* --- what fails without any mutant ---------------------------------------------------- */

struct verdict {
	struct verdict *next;
	char *name;
	const char *config;
	bool fails;
};
static struct verdict *verdicts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool fails_anyway(const char *name, const char *config)
{
	struct run r = {.config = config, .mutant = "", .glob = name};
	struct verdict *v;
	int known = -1;

	pthread_mutex_lock(&lock);
	for (v = verdicts; v; v = v->next)
		if (!strcmp(v->name, name) && !strcmp(v->config, config))
			known = v->fails;
	pthread_mutex_unlock(&lock);
	if (known >= 0)
		return known;
	run_suite(&r);
	v = must(calloc(1, sizeof(*v)));
	v->name = must(strdup(name));
	v->config = config;
	v->fails = r.failed != NULL;
	free(r.failed);
	pthread_mutex_lock(&lock);
	v->next = verdicts;
	verdicts = v;
	pthread_mutex_unlock(&lock);
	return v->fails;
}

/* --- one mutant ------------------------------------------------------------------------- */

static bool try_cases(struct mutant *m, const char *config, const char *glob)
{
	struct run r = {.config = config, .mutant = m->name, .glob = glob};
	char **except = NULL;
	size_t n = 0;
	bool caught = false;

	for (;;) {
		r.except = except;
		if (!run_suite(&r)) {
			fprintf(stderr, "mutants: %s can't be run\n", suite);
			exit(12);
		}
		if (!r.failed)
			break;
		if (!fails_anyway(r.failed, config)) {
			m->caught_by = r.failed;
			m->caught_in = config;
			m->how = r.how;
			caught = true;
			break;
		}
		except = must(realloc(except, (n + 2) * sizeof(*except)));
		except[n++] = r.failed;
		except[n] = NULL;
	}
	while (n)
		free(except[--n]);
	free(except);
	return caught;
}

static void try_mutant(struct mutant *m)
{
	size_t i;

	if (!all_cases && *m->expected && try_cases(m, m->config, m->expected))
		return;
	if (only_expected || interrupted)
		return;
	/* Where it is expected to show. */
	if (*m->config && try_cases(m, m->config, NULL))
		return;
	if (one_config)
		return;
	for (i = 0; i < sizeof(configs) / sizeof(configs[0]) && !interrupted; i++)
		if (strcmp(configs[i], m->config) && try_cases(m, configs[i], NULL))
			return;
	for (i = 0; i < sizeof(checked) / sizeof(checked[0]) && !interrupted; i++) {
		if (!try_cases(m, checked[i], NULL))
			continue;
		m->how = "auditor";
		return;
	}
}

static size_t next_mutant;

static void print_result(const struct mutant *m)
{
	if (!m->caught_by)
		printf("%s, SURVIVED\n", m->name);
	else
		printf("%s, caught by %s~%s%s%s\n", m->name, m->caught_by, m->caught_in,
		       *m->how ? ", " : "", m->how);
	fflush(stdout);
}

static void *worker(void *arg)
{
	struct mutant *m;

	for (;;) {
		pthread_mutex_lock(&lock);
		while (next_mutant < NR_MUTANTS && !mutants[next_mutant].asked)
			next_mutant++;
		m = next_mutant < NR_MUTANTS ? &mutants[next_mutant++] : NULL;
		pthread_mutex_unlock(&lock);
		if (!m || interrupted)
			return arg;
		try_mutant(m);
		if (interrupted)
			return arg;
		pthread_mutex_lock(&lock);
		m->done = true;
		print_result(m);
		pthread_mutex_unlock(&lock);
	}
}

/* --- the document ------------------------------------------------------------------------- */

static void write_table(FILE *f, unsigned int n, unsigned int caught)
{
	const struct mutant *m;

	fputs("| mutant | area | what is wrong | like | caught by |\n"
	      "| --- | --- | --- | --- | --- |\n",
	      f);
	for (m = mutants; m < mutants + NR_MUTANTS; m++) {
		fprintf(f, "| `%s` | %s | %s | %s | ", m->name, m->area, m->what, m->like);
		if (m->caught_by)
			fprintf(f, "`%s` (%s%s%s) |\n", m->caught_by, m->caught_in,
				*m->how ? "; " : "", m->how);
		else
			fputs("SURVIVED |\n", f);
	}
	fprintf(f, "\n%u mutants, %u caught, %u survived\n", n, caught, n - caught);
}

/* The table that is in @path already, and the line that sums it up, give way to the new one. */
static bool write_markdown(const char *path, unsigned int n, unsigned int caught)
{
	bool in_table = false, written = false;
	char *old = NULL, *line, *rest;
	size_t size = 0;
	FILE *f;

	f = fopen(path, "re");
	if (f && getdelim(&old, &size, 0, f) < 0)
		old = NULL;
	if (f)
		fclose(f);
	f = fopen(path, "we");
	if (!f) {
		fprintf(stderr, "mutants: %s: %s\n", path, strerror(errno));
		return false;
	}
	for (rest = old; rest && *rest && (line = strsep(&rest, "\n"));) {
		if (!strncmp(line, "| mutant |", 10)) {
			in_table = true;
			written = true;
			write_table(f, n, caught);
		}
		if (in_table && *line != '|' && *line && !strstr(line, " mutants, "))
			in_table = false;
		if (!in_table)
			fprintf(f, "%s\n", line);
		else if (strstr(line, " survived"))
			in_table = false;
	}
	if (!written)
		write_table(f, n, caught);
	free(old);
	return !fclose(f);
}

/* --- the command line ------------------------------------------------------------------------ */

static void list(void)
{
	const struct mutant *m;

	for (m = mutants; m < mutants + NR_MUTANTS; m++)
		printf("%s\t%s\t%s\t%s\t%s\n", m->name, m->area, m->config, m->expected, m->what);
}

static bool ask_for(const char *name)
{
	struct mutant *m;

	for (m = mutants; m < mutants + NR_MUTANTS; m++) {
		if (strcmp(m->name, name))
			continue;
		m->asked = true;
		return true;
	}
	fprintf(stderr, "mutants: there is none called '%s'; see --list\n", name);
	return false;
}

static void interrupt(int sig)
{
	interrupted = sig;
}

static char *below(const char *dir, const char *name)
{
	char *path;

	return must(asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"build", required_argument, NULL, 'b'},
		{"list", no_argument, NULL, 'l'},
		{"expected", no_argument, NULL, 'e'},
		{"one-config", no_argument, NULL, 'o'},
		{"all-cases", no_argument, NULL, 'a'},
		{"jobs", required_argument, NULL, 'j'},
		{"timeout", required_argument, NULL, 't'},
		{"markdown", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	long jobs = sysconf(_SC_NPROCESSORS_ONLN), i;
	struct sigaction act = {.sa_handler = interrupt};
	const char *build = NULL, *markdown = NULL;
	unsigned int n = 0, caught = 0;
	time_t begin = time(NULL);
	pthread_t thread[64];
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			build = optarg;
			break;
		case 'l':
			list();
			return 0;
		case 'e':
			only_expected = true;
			break;
		case 'o':
			one_config = true;
			break;
		case 'a':
			all_cases = true;
			break;
		case 'j':
			jobs = atol(optarg);
			break;
		case 't':
			timeout = optarg;
			break;
		case 'm':
			markdown = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs("mutants: see --help\n", stderr);
			return 2;
		}
	}
	if (!build || jobs < 1 || jobs > 64 || (markdown && optind < argc)) {
		fputs(!build		      ? "mutants: --build DIR is missing; see --help\n"
		      : jobs < 1 || jobs > 64 ? "mutants: --jobs: give a number from 1 to 64\n"
					      : "mutants: the table is of all mutants: name none\n",
		      stderr);
		return 2;
	}
	for (i = optind; i < argc; i++)
		if (!ask_for(argv[i]))
			return 2;
	for (i = 0; optind == argc && i < (long)NR_MUTANTS; i++)
		mutants[i].asked = true;
	suite = below(build, "tools/mmusuite");
	tests = below(build, "tests");
	if (access(suite, X_OK)) {
		fprintf(stderr, "mutants: %s: %s\n", suite, strerror(errno));
		return 12;
	}

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	for (i = 0; i < jobs; i++)
		if (pthread_create(&thread[i], NULL, worker, NULL))
			return 12;
	for (i = 0; i < jobs; i++)
		pthread_join(thread[i], NULL);
	if (interrupted)
		return 130;

	for (i = 0; i < (long)NR_MUTANTS; i++) {
		n += mutants[i].done;
		caught += mutants[i].done && mutants[i].caught_by;
	}
	if (markdown && !write_markdown(markdown, n, caught))
		return 12;
	fprintf(stderr, "%lld s\n", (long long)(time(NULL) - begin));
	printf("%u mutants, %u caught, %u survived\n", n, caught, n - caught);
	return n != caught;
}
