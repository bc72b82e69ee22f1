// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmusuite, the inner loop: runs the test binaries of the suites one after the
 * other, on the host or inside the lab, and prints one KTAP document with a nested
 * one for each. The choice of environments is mmurun's; this one only runs here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mmusuite/mmusuite.h"

static const char usage[] =
	"usage: mmusuite --tests DIR [OPTION]... [GLOB]...\n"
	"\n"
	"Runs the test binaries DIR/SUITE/*, those with a case that matches a GLOB if there\n"
	"are any, and prints nested KTAP.\n"
	"\n"
	"  --tests DIR     where the suites are\n"
	"  --suites LIST   which suites (default mmu,tdp,shadow)\n"
	"  --list          print the names of the cases, one a line\n"
	"  --listed FILE   that list, so that it needn't be made: what is not in it does not run\n"
	"  --jobs N        cases of a binary to run at once (default 1)\n"
	"  --binaries N    binaries to run at once (default 1), where their cases share nothing\n"
	"  --timeout SECS  time for a case (default 30)\n"
	"  --seed N        seed of the random choices, or \"random\" (default 1)\n"
	"  --help          this text\n"
	"\n"
	"With MMUSCOPE_KMSG=1 in the environment complaints in the kernel's log are failures.\n"
	"Exit status: 0 all passed, 1 a case failed, 2 usage, 4 all skipped or none matched,\n"
	"130 interrupted.\n";

struct binaries {
	struct binary *v;
	size_t nr;
};

static void add_binary(struct binaries *all, const char *path, const char *name,
		       const struct options *opt)
{
	struct binary b = {.path = strdup(path), .name = strdup(name)};

	if (!(opt->listed ? binary_listed(&b, opt) : binary_list(&b, opt))) {
		binary_free(&b);
		return;
	}
	all->v = realloc(all->v, (all->nr + 1) * sizeof(*all->v));
	if (!all->v) {
		perror("mmusuite");
		exit(1);
	}
	all->v[all->nr++] = b;
}

static void find_binaries(struct binaries *all, const char *suite, const struct options *opt)
{
	struct dirent **entries;
	char dir[4096];
	int n, i;

	snprintf(dir, sizeof(dir), "%s/%s", opt->tests, suite);
	n = scandir(dir, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		char path[4096 + 300], name[600];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		snprintf(name, sizeof(name), "%.300s/%.255s", suite, entries[i]->d_name);
		if (!stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK))
			add_binary(all, path, name, opt);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static char *read_file(const char *path)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = fopen(path, "re");

	/* all of it: no list has this byte */
	if (!f || (getdelim(&text, &len, '\001', f) < 0 && ferror(f))) {
		fprintf(stderr, "--listed '%s': %s\n", path, strerror(errno));
		exit(2);
	}
	fclose(f);
	return text ? text : strdup("");
}

static unsigned int parse_number(const char *option, const char *value, const char *what,
				 unsigned long max)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (end == value || *end || n < 1 || n > max) {
		fprintf(stderr, "--%s '%s': give a number%s from 1 to %lu\n", option, value, what,
			max);
		exit(2);
	}
	return (unsigned int)n;
}

static void parse_options(int argc, char **argv, struct options *opt)
{
	static const struct option options[] = {
		{"tests", required_argument, NULL, 'd'},
		{"suites", required_argument, NULL, 'u'},
		{"list", no_argument, NULL, 'l'},
		{"listed", required_argument, NULL, 'n'},
		{"jobs", required_argument, NULL, 'j'},
		{"binaries", required_argument, NULL, 'b'},
		{"timeout", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct stat st;
	int c;

	*opt = (struct options){.suites = "mmu,tdp,shadow", .timeout = 30, .binaries = 1};
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt->tests = optarg;
			break;
		case 'u':
			opt->suites = optarg;
			break;
		case 'l':
			opt->list = true;
			break;
		case 'n':
			opt->listed = read_file(optarg);
			break;
		case 'j':
			opt->jobs = optarg;
			break;
		case 'b':
			opt->binaries = parse_number("binaries", optarg, "", 128);
			break;
		case 't':
			opt->timeout = parse_number("timeout", optarg, " of seconds", 86400);
			break;
		case 's':
			opt->seed = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("mmusuite: see --help\n", stderr);
			exit(2);
		}
	}
	opt->globs = argv + optind;
	opt->nr_globs = argc - optind;
	if (!opt->tests) {
		fputs("mmusuite: --tests DIR is missing; see --help\n", stderr);
		exit(2);
	}
	if (stat(opt->tests, &st) || !S_ISDIR(st.st_mode)) {
		fprintf(stderr, "--tests '%s': %s\n", opt->tests,
			errno ? strerror(errno) : "not a folder");
		exit(2);
	}
}

static int list_cases(const struct binaries *all)
{
	int ret = all->nr ? 0 : 4;
	size_t i, j;

	for (i = 0; i < all->nr; i++) {
		if (all->v[i].problem) {
			fprintf(stderr, "mmusuite: %s %s\n", all->v[i].name, all->v[i].problem);
			ret = 1;
			continue;
		}
		for (j = 0; j < all->v[i].nr_cases; j++)
			puts(all->v[i].cases[j]);
	}
	return fflush(stdout) ? 1 : ret;
}

/*
 * The kernel's log, opened once for all binaries: they inherit the descriptor and
 * with it the position, so that what is logged between two is read by the second.
 */
static struct kmsg *watch_kernel_log(struct ktap *k)
{
	const char *env = getenv("MMUSCOPE_KMSG");
	struct kmsg *kmsg;
	char fd[16];

	if (!env || strcmp(env, "1"))
		return NULL;
	kmsg = kmsg_open();
	if (!kmsg) {
		ktap_diag(k, "the kernel log is not watched: %s", strerror(errno));
		return NULL;
	}
	fcntl(kmsg_fd(kmsg), F_SETFD, 0);
	snprintf(fd, sizeof(fd), "%d", kmsg_fd(kmsg));
	setenv("MMUSCOPE_KMSG_FD", fd, 1);
	return kmsg;
}

/* --- several at once ------------------------------------------------------- */

struct crew {
	const struct options *opt;
	struct binary *next, *end; /* those that may be to start */
	struct binary *current;
};

/* Starts binaries ahead of the one whose results are being passed on. */
static void start_more(void *arg)
{
	struct crew *crew = arg;
	unsigned int busy = 0;
	struct binary *b;

	for (b = crew->current; b < crew->next; b++)
		busy += b->pid > 0 && !process_has_ended(b->pid);
	for (; busy < crew->opt->binaries && crew->next < crew->end; busy++)
		binary_start(crew->next++, crew->opt);
}

int main(int argc, char **argv)
{
	struct ktap k = ktap_stdout();
	struct binaries all = {};
	struct totals t = {};
	struct options opt;
	struct kmsg *kmsg;
	char *suites, *suite;
	bool go_on = true;
	struct crew crew;
	char jobs[16];
	size_t i;

	parse_options(argc, argv, &opt);
	process_init();
	suites = strdup(opt.suites);
	while ((suite = strsep(&suites, ",")))
		if (*suite)
			find_binaries(&all, suite, &opt);
	if (opt.list)
		return list_cases(&all);

	ktap_version(&k);
	if (!all.nr) {
		ktap_raw(&k, "1..0 # SKIP no case matches");
		return 4;
	}
	if (!opt.jobs && opt.binaries > all.nr) {
		/* few binaries: their cases by each other's side */
		snprintf(jobs, sizeof(jobs), "%u", opt.binaries / (unsigned int)all.nr);
		opt.jobs = jobs;
	}
	kmsg = watch_kernel_log(&k);
	ktap_plan(&k, all.nr);
	crew = (struct crew){&opt, all.v, all.v + all.nr, NULL};
	for (i = 0; i < all.nr && go_on && !k.gone; i++) {
		crew.current = &all.v[i];
		start_more(&crew);
		go_on = binary_run(&all.v[i], &opt, &k, kmsg, i + 1, &t, start_more, &crew);
	}
	for (i = 0; i < all.nr; i++)
		binary_drop(&all.v[i]);
	if (!go_on) {
		ktap_diag(&k, "interrupted");
		return 130;
	}
	ktap_diag(&k, "%lu passed, %lu failed, %lu skipped", t.passed, t.failed,
		  t.skipped + t.xfailed);
	return k.gone || t.failed ? 1 : t.passed || t.xfailed ? 0 : 4;
}
