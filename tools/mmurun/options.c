// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line. A bad value is answered with the option, the value and what
 * would have been right; nothing has been started or written by then.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mmurun/mmurun.h"

/* the text that run_tests.sh --help prints, so that there is one of it */
__asm__(".section .rodata\n"
	"help_text: .incbin \"tools/run_tests.help\"\n"
	".byte 0\n"
	".previous\n");
extern const char help_text[];

enum {
	OPT_ENGINE = 256,
	OPT_HOST,
	OPT_VM,
	OPT_KERNEL,
	OPT_MODULES,
	OPT_CONFIG,
	OPT_UNIT,
	OPT_LIST,
	OPT_DRY_RUN,
	OPT_PRINT_NEEDS,
	OPT_JOBS,
	OPT_TIMEOUT,
	OPT_BOOT_TIMEOUT,
	OPT_HANG_TIMEOUT,
	OPT_SEED,
	OPT_OUTPUT,
	OPT_FORMAT,
	OPT_FUZZ,
	OPT_REPLAY,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"engine", required_argument, NULL, OPT_ENGINE},
	{"host", no_argument, NULL, OPT_HOST},
	{"vm", no_argument, NULL, OPT_VM},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"modules", required_argument, NULL, OPT_MODULES},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"unit", no_argument, NULL, OPT_UNIT},
	{"list", no_argument, NULL, OPT_LIST},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"print-needs", no_argument, NULL, OPT_PRINT_NEEDS},
	{"jobs", required_argument, NULL, OPT_JOBS},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"boot-timeout", required_argument, NULL, OPT_BOOT_TIMEOUT},
	{"hang-timeout", required_argument, NULL, OPT_HANG_TIMEOUT},
	{"seed", required_argument, NULL, OPT_SEED},
	{"output", required_argument, NULL, OPT_OUTPUT},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"fuzz", required_argument, NULL, OPT_FUZZ},
	{"replay", required_argument, NULL, OPT_REPLAY},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static bool parse_uint(const char *option, const char *text, uint64_t min, uint64_t max,
		       uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (isdigit((unsigned char)*text) && !*end && !errno && *value >= min && *value <= max)
		return true;
	complain("--%s %s: give a number from %llu to %llu", option, text, (unsigned long long)min,
		 (unsigned long long)max);
	return false;
}

static bool parse_int(const char *option, const char *text, int max, int *value)
{
	uint64_t number;

	if (!parse_uint(option, text, 1, max, &number))
		return false;
	*value = number;
	return true;
}

/* "k=v[,k=v]": names as the kernel has them, values without anything a plan would trip over */
static bool config_is_sound(const char *config)
{
	const char *p = config;

	for (;;) {
		size_t name = strspn(p, "abcdefghijklmnopqrstuvwxyz"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
		size_t value;

		if (!name || p[name] != '=')
			break;
		p += name + 1;
		value = strcspn(p, ", \t\n\"/");
		if (!value)
			break;
		p += value;
		if (!*p)
			return true;
		if (*p++ != ',')
			break;
	}
	complain("--config %s: give NAME=VALUE[,NAME=VALUE], e.g. --config npt=1,tdp_mmu=0",
		 config);
	return false;
}

static bool add_config(struct options *o, const char *config)
{
	bool all = !strcmp(config, "all");

	if (!all && !config_is_sound(config))
		return false;
	if (o->nr_configs && (all || !strcmp(o->configs[0], "all"))) {
		complain("--config all: give it alone, it has all the others");
		return false;
	}
	if (o->nr_configs == MAX_CONFIGS) {
		complain("--config %s: at most %d of them", config, MAX_CONFIGS);
		return false;
	}
	for (int i = 0; i < o->nr_configs; i++) {
		if (!strcmp(o->configs[i], config)) {
			complain("--config %s: given twice, leave one out", config);
			return false;
		}
	}
	o->configs[o->nr_configs++] = config;
	return true;
}

static bool parse_format(struct options *o, const char *name)
{
	if (!strcmp(name, "pretty"))
		o->format = FORMAT_PRETTY;
	else if (!strcmp(name, "ktap"))
		o->format = FORMAT_KTAP;
	else
		complain("--format %s: give pretty or ktap", name);
	return o->format != FORMAT_AUTO;
}

/* What is the processor's own business: without a hypervisor there is nothing else to test. */
static const char *const qemu_cases[] = {
	"mmu/permutations", "mmu/random.one_vcpu*", "mmu/access",   "mmu/ad_bits", "mmu/alias",
	"mmu/cr3",	    "mmu/global",	    "mmu/invlpg",   "mmu/invpcid", "mmu/live_edit",
	"mmu/pkeys",	    "mmu/recursive",	    "mmu/reserved", "mmu/roles",   "mmu/sizes",
	"mmu/smep_smap",    "mmu/table_stores",	    NULL,
};

static bool parse_engine(struct options *o, const char *name)
{
	o->engine = name;
	if (!strcmp(name, "kvm") || !strcmp(name, "intree") || !strcmp(name, "qemu") ||
	    !strcmp(name, "all"))
		return true;
	complain("--engine %s: give kvm, intree, qemu or all", name);
	return false;
}

static bool parse_where(struct options *o, enum run_where where)
{
	if (o->where != WHERE_AUTO && o->where != where) {
		complain("--host with --vm: leave both out to have both");
		return false;
	}
	o->where = where;
	return true;
}

static bool exists(const char *option, const char *path, bool must_be_dir)
{
	struct stat st;

	if (stat(path, &st)) {
		complain("--%s %s: %s", option, path, strerror(errno));
		return false;
	}
	if (must_be_dir && !S_ISDIR(st.st_mode)) {
		complain("--%s %s: give the folder that holds the kvm*.ko files", option, path);
		return false;
	}
	return true;
}

static bool parse_one(struct options *o, int opt, char **argv)
{
	switch (opt) {
	case OPT_ENGINE:
		return parse_engine(o, optarg);
	case OPT_HOST:
		return parse_where(o, WHERE_HOST);
	case OPT_VM:
		return parse_where(o, WHERE_LAB);
	case OPT_KERNEL:
		o->kernel = optarg;
		return exists("kernel", optarg, false);
	case OPT_MODULES:
		o->modules = optarg;
		return exists("modules", optarg, true);
	case OPT_CONFIG:
		return add_config(o, optarg);
	case OPT_UNIT:
		return o->unit = true;
	case OPT_LIST:
		return o->list = true;
	case OPT_DRY_RUN:
		return o->dry_run = true;
	case OPT_PRINT_NEEDS:
		return o->print_needs = true;
	case OPT_JOBS:
		return parse_int("jobs", optarg, 1024, &o->jobs);
	case OPT_TIMEOUT:
		return parse_int("timeout", optarg, 86400, &o->timeout);
	case OPT_BOOT_TIMEOUT:
		return parse_int("boot-timeout", optarg, 86400, &o->boot_timeout);
	case OPT_HANG_TIMEOUT:
		return parse_int("hang-timeout", optarg, 86400, &o->hang_timeout);
	case OPT_SEED:
		return o->have_seed = parse_uint("seed", optarg, 0, UINT64_MAX, &o->seed);
	case OPT_OUTPUT:
		o->output = optarg;
		if (*optarg)
			return true;
		complain("--output '': give a folder's name");
		return false;
	case OPT_FORMAT:
		return parse_format(o, optarg);
	case OPT_FUZZ:
		return parse_int("fuzz", optarg, 1000000, &o->fuzz);
	case OPT_REPLAY:
		/* "out/latest" is another folder once this run has its own */
		o->replay = realpath(optarg, NULL);
		return exists("replay", optarg, false);
	case ':':
		complain("%s: a value is missing, see --help", argv[optind - 1]);
		return false;
	default:
		complain("%s: no such option, see --help", argv[optind - 1]);
		return false;
	}
}

enum exit_code options_parse(struct options *o, int argc, char **argv)
{
	int opt;

	*o = (struct options){.boot_timeout = 120};
	while ((opt = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			fputs(help_text, stdout);
			exit(EXIT_PASS);
		}
		if (!parse_one(o, opt, argv))
			return EXIT_USAGE;
	}
	o->globs = argv + optind;
	for (char **glob = o->globs; *glob; glob++) {
		if (!**glob || strpbrk(*glob, "\n \t")) {
			complain("'%s': not a glob for names of cases, e.g. 'mmu/*'", *glob);
			return EXIT_USAGE;
		}
	}
	if (o->fuzz && o->replay) {
		complain("--fuzz with --replay: a replay takes its own time, leave --fuzz out");
		return EXIT_USAGE;
	}
	if (fuzzing(o) && (o->unit || o->list)) {
		complain("--%s with --%s: it is for the suite", o->unit ? "unit" : "list",
			 o->fuzz ? "fuzz" : "replay");
		return EXIT_USAGE;
	}
	if (o->where == WHERE_HOST && (o->kernel || o->modules)) {
		complain("--%s with --host: only the lab takes one, leave --host out",
			 o->kernel ? "kernel" : "modules");
		return EXIT_USAGE;
	}
	/* a kernel to boot is a wish to boot it */
	if (o->kernel || o->modules)
		o->where = WHERE_LAB;
	if (o->engine && !strcmp(o->engine, "qemu")) {
		if (o->nr_configs) {
			complain(
				"--engine qemu with --config: it has no parameters, leave one out");
			return EXIT_USAGE;
		}
		if (!*o->globs && !fuzzing(o))
			o->globs = (char **)qemu_cases;
	}
	if (o->engine && (!strcmp(o->engine, "intree") || !strcmp(o->engine, "qemu")) &&
	    o->where != WHERE_AUTO) {
		complain("--engine %s with --%s: it runs here and needs no KVM, leave one out",
			 o->engine,
			 o->kernel		  ? "kernel"
			 : o->modules		  ? "modules"
			 : o->where == WHERE_HOST ? "host"
						  : "vm");
		return EXIT_USAGE;
	}
	/* a place to run the kernel's KVM is a wish for that engine */
	if (!o->engine)
		o->engine = o->where == WHERE_AUTO ? "all" : "kvm";
	return EXIT_PASS;
}
