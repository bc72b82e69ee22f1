// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test binary's command line.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/test_priv.h"

static const char usage[] =
	"usage: %s [OPTION]... [GLOB]...\n"
	"\n"
	"Runs its test cases, those that match a GLOB if there are any, and prints KTAP.\n"
	"A GLOB matches suite/file.case.variant, suite/file.case, suite/file,\n"
	"case.variant or case.\n"
	"\n"
	"  --list          print the names of the cases, one a line\n"
	"  --verbose       with --list: what each case pins, fixes it shows, MMUs it is meant for\n"
	"  --jobs N        run up to N cases at once (default 1)\n"
	"  --timeout SECS  time for a case (default 30); one that needs more says so itself\n"
	"  --seed N        seed of the random choices, or \"random\" (default 1)\n"
	"  --kmsg          fail a case when the kernel complains in its log meanwhile;\n"
	"                  MMUSCOPE_KMSG=1 in the environment does the same\n"
	"  --help          this text\n"
	"\n"
	"Exit status: 0 all passed, 1 a case failed, 2 usage, 4 all skipped or none matched,\n"
	"130 interrupted.\n";

static void __attribute__((noreturn))
bad_value(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "%s '%s': %s\n", option, value, wanted);
	exit(2);
}

static unsigned int parse_uint(const char *option, const char *value, unsigned int max)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || end == value || *end || *value == '-' || n < 1 || n > max) {
		char wanted[64];

		snprintf(wanted, sizeof(wanted), "give a number from 1 to %u", max);
		bad_value(option, value, wanted);
	}
	return (unsigned int)n;
}

static uint64_t parse_seed(const char *value)
{
	uint64_t seed;
	char *end;

	if (!strcmp(value, "random")) {
		if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
			perror("getrandom");
			exit(1);
		}
		return seed;
	}
	errno = 0;
	seed = strtoull(value, &end, 0);
	if (errno || end == value || *end || *value == '-')
		bad_value("--seed", value, "give a number (64 bits) or \"random\"");
	return seed;
}

static void parse_options(int argc, char **argv, struct test_options *opt)
{
	static const struct option options[] = {
		{"list", no_argument, NULL, 'l'},	{"verbose", no_argument, NULL, 'v'},
		{"jobs", required_argument, NULL, 'j'}, {"timeout", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'}, {"kmsg", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},	{NULL, 0, NULL, 0},
	};
	const char *env = getenv("MMUSCOPE_KMSG");
	int c;

	*opt = (struct test_options){.jobs = 1, .timeout = 30, .seed = 1};
	opt->kmsg = env && !strcmp(env, "1");
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			opt->list = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'j':
			opt->jobs = parse_uint("--jobs", optarg, 256);
			break;
		case 't':
			opt->timeout = parse_uint("--timeout", optarg, 86400);
			break;
		case 's':
			opt->seed = parse_seed(optarg);
			break;
		case 'k':
			opt->kmsg = true;
			break;
		case 'h':
			printf(usage, argv[0]);
			exit(0);
		default:
			fprintf(stderr, "%s: see --help\n", argv[0]);
			exit(2);
		}
	}
	opt->globs = argv + optind;
	opt->nr_globs = argc - optind;
}

int test_main(int argc, char **argv)
{
	struct test_options opt;
	struct test_list list;

	parse_options(argc, argv, &opt);
	test_list_build(&list, &opt);
	if (opt.list) {
		test_list_print(&list, opt.verbose);
		return fflush(stdout) || ferror(stdout) ? 1 : list.nr ? 0 : 4;
	}
	return test_run_all(&list, &opt);
}
