// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/engine.h"
#include "tools/mmufuzz/fuzz.h"

static const char usage[] =
	"usage: mmufuzz [OPTION]...\n"
	"\n"
	"Runs random programs on guests' page tables and judges every access by the manuals.\n"
	"\n"
	"  --engine NAME    kvm, intree or qemu (default: $MMUSCOPE_ENGINE, else intree)\n"
	"  --config K=V,..  parameters of engine intree; check=1 audits its tables at every exit\n"
	"  --time SECS      stop after so many seconds (default 60; 0: never)\n"
	"  --processor-time count --time by what each process had of a processor, for busy machines\n"
	"  --programs N     stop after so many programs\n"
	"  --jobs N         processes (default 2)\n"
	"  --seed N         of the first program (default 1); the next has the next number\n"
	"  --steps N        steps of a program (default 12800; kvm: 3200)\n"
	"  --mode NAME      la57, la48, pae or 32 (default: each in turn)\n"
	"  --vcpus N        1 to 4 (default: by seed)\n"
	"  --no-host        no steps of the host\n"
	"  --keep-going     go on after a finding (default: stop at the first)\n"
	"  --no-shrink      leave findings as they are\n"
	"  --shrink-time S  seconds for that, at most, for each finding (default 120)\n"
	"  --tries N        programs tried to shrink a finding (default 20000)\n"
	"  --output DIR     where findings go (default out/fuzz)\n"
	"  --resume         go on where the campaign of that DIR stopped\n"
	"  --replay FILE    run that program; with --shrink also print it made smaller\n"
	"  --verbose        with --replay: each step and what came of it\n"
	"  --convert FILE   print the program as a test case in C\n"
	"  --quiet          no progress\n"
	"  --ktap           say it as one KTAP case, files included: for run_tests.sh\n"
	"  --help           this text\n"
	"\n"
	"Exit status: 0 nothing found, 1 a finding, 2 usage or a broken file, 4 nothing could be run.\n";

static void __attribute__((noreturn)) bad(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "mmufuzz: --%s '%s': %s\n", option, value, wanted);
	exit(2);
}

static u64 number(const char *option, const char *value, u64 min, u64 max)
{
	char *end, wanted[96];
	u64 n;

	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || end == value || *end || *value == '-' || n < min || n > max) {
		snprintf(wanted, sizeof(wanted), "give a number from %lu to %lu", min, max);
		bad(option, value, wanted);
	}
	return n;
}

static double seconds(const char *option, const char *value)
{
	char *end;
	double n = strtod(value, &end);

	if (end == value || *end || !(n >= 0) || n > 1e9)
		bad(option, value, "give a number of seconds");
	return n;
}

static const struct paging_mode *mode(const char *option, const char *value)
{
	for (int i = 0; i < PM_NONE; i++)
		if (!strcmp(paging_mode(i)->name, value))
			return paging_mode(i);
	bad(option, value, "give la57, la48, pae or 32");
}

enum {
	OPT_ENGINE = 256,
	OPT_CONFIG,
	OPT_TIME,
	OPT_PROGRAMS,
	OPT_JOBS,
	OPT_SEED,
	OPT_STEPS,
	OPT_MODE,
	OPT_VCPUS,
	OPT_NO_HOST,
	OPT_KEEP_GOING,
	OPT_SHRINK,
	OPT_NO_SHRINK,
	OPT_PROCESSOR_TIME,
	OPT_SHRINK_TIME,
	OPT_TRIES,
	OPT_OUTPUT,
	OPT_RESUME,
	OPT_REPLAY,
	OPT_VERBOSE,
	OPT_CONVERT,
	OPT_QUIET,
	OPT_KTAP,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"engine", 1, 0, OPT_ENGINE},
	{"config", 1, 0, OPT_CONFIG},
	{"time", 1, 0, OPT_TIME},
	{"programs", 1, 0, OPT_PROGRAMS},
	{"jobs", 1, 0, OPT_JOBS},
	{"seed", 1, 0, OPT_SEED},
	{"steps", 1, 0, OPT_STEPS},
	{"mode", 1, 0, OPT_MODE},
	{"vcpus", 1, 0, OPT_VCPUS},
	{"no-host", 0, 0, OPT_NO_HOST},
	{"keep-going", 0, 0, OPT_KEEP_GOING},
	{"shrink", 0, 0, OPT_SHRINK},
	{"no-shrink", 0, 0, OPT_NO_SHRINK},
	{"processor-time", 0, 0, OPT_PROCESSOR_TIME},
	{"shrink-time", 1, 0, OPT_SHRINK_TIME},
	{"tries", 1, 0, OPT_TRIES},
	{"output", 1, 0, OPT_OUTPUT},
	{"resume", 0, 0, OPT_RESUME},
	{"replay", 1, 0, OPT_REPLAY},
	{"verbose", 0, 0, OPT_VERBOSE},
	{"convert", 1, 0, OPT_CONVERT},
	{"quiet", 0, 0, OPT_QUIET},
	{"ktap", 0, 0, OPT_KTAP},
	{"help", 0, 0, OPT_HELP},
	{0, 0, 0, 0},
};

static void take(struct options *o, int c, const char *name, char *value)
{
	switch (c) {
	case OPT_ENGINE:
		o->engine = value;
		break;
	case OPT_CONFIG:
		o->config = value;
		break;
	case OPT_TIME:
		o->seconds = seconds(name, value);
		break;
	case OPT_PROGRAMS:
		o->programs = number(name, value, 1, ~0ull);
		break;
	case OPT_JOBS:
		o->jobs = number(name, value, 1, 64);
		break;
	case OPT_SEED:
		o->seed = number(name, value, 0, ~0ull);
		o->seed_given = true;
		break;
	case OPT_STEPS:
		o->steps = number(name, value, 1, PROGRAM_MAX_STEPS - 100);
		break;
	case OPT_MODE:
		o->mode = mode(name, value);
		break;
	case OPT_VCPUS:
		o->vcpus = number(name, value, 1, PROGRAM_VCPUS);
		break;
	case OPT_NO_HOST:
		o->no_host = true;
		break;
	case OPT_KEEP_GOING:
		o->keep_going = true;
		break;
	case OPT_SHRINK:
		o->shrink = true;
		break;
	case OPT_NO_SHRINK:
		o->shrink = false;
		break;
	case OPT_PROCESSOR_TIME:
		o->processor_time = true;
		break;
	case OPT_SHRINK_TIME:
		o->shrink_seconds = seconds(name, value);
		break;
	case OPT_TRIES:
		o->tries = number(name, value, 1, 1000000);
		break;
	case OPT_OUTPUT:
		o->output = value;
		break;
	case OPT_RESUME:
		o->resume = true;
		break;
	case OPT_REPLAY:
		o->replay = value;
		break;
	case OPT_VERBOSE:
		o->verbose = true;
		break;
	case OPT_CONVERT:
		o->convert = value;
		break;
	case OPT_QUIET:
		o->quiet = true;
		break;
	case OPT_KTAP:
		o->ktap = true;
		break;
	case OPT_HELP:
		fputs(usage, stdout);
		exit(0);
	}
}

static void choose_engine(struct options *o)
{
	const char *error;

	if (!o->engine)
		o->engine = getenv("MMUSCOPE_ENGINE");
	if (!o->engine || !*o->engine)
		o->engine = "intree";
	if (strcmp(o->engine, "kvm") && strcmp(o->engine, "intree") && strcmp(o->engine, "qemu"))
		bad("engine", o->engine, "give kvm, intree or qemu");
	if (!engine_built(o->engine))
		bad("engine", o->engine, "this build does not have it");
	if (!o->config)
		o->config = getenv("MMUSCOPE_CONFIG");
	if (!o->config)
		o->config = "";
	if (*o->config && !strcmp(o->engine, "kvm"))
		bad("config", o->config,
		    "the kernel's parameters are those of its modules: see run_tests.sh --vm");
	if (!strcmp(o->engine, "qemu")) {
		if (*o->config)
			bad("config", o->config, "engine qemu has no parameters");
		o->no_host = true;
		if (!o->vcpus)
			o->vcpus = 1;
	}
	error = *o->config ? engine_config_error(o->config) : NULL;
	if (error)
		bad("config", o->config, error);
	setenv("MMUSCOPE_ENGINE", o->engine, 1);
	setenv("MMUSCOPE_CONFIG", o->config, 1);
}

void options_parse(struct options *o, int argc, char **argv)
{
	int c, index = 0, replay_shrink;

	*o = (struct options){.seed = 1,
			      .seconds = 60,
			      .jobs = 2,
			      .tries = 20000,
			      .shrink_seconds = 120,
			      .shrink = true,
			      .output = "out/fuzz"};
	for (c = 1, replay_shrink = 0; c < argc; c++)
		replay_shrink |= !strcmp(argv[c], "--shrink");
	while ((c = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		if (c == '?')
			exit(2);
		take(o, c, long_options[index].name, optarg);
	}
	if (optind < argc)
		bad("", argv[optind], "there are options only; see --help");
	if (o->replay && !replay_shrink)
		o->shrink = false;
	choose_engine(o);
	/* Making a VM costs as much as some hundreds of steps; a kernel in QEMU has time for so many only. */
	if (!o->steps)
		o->steps = strcmp(o->engine, "kvm") ? 12800 : 3200;
}
