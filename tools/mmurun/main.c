// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmurun: the outer loop of a test run. In each environment (the in-tree engine, the host's
 * KVM, the lab, with which parameters: see choose.c) it has mmusuite run, one after the
 * other, and tells what came out. See tools/run_tests.help for what it promises.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/probe.h"
#include "tools/mmurun/choose.h"
#include "tools/mmurun/proc.h"
#include "tools/mmurun/run.h"

volatile int interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int patience(const struct options *o)
{
	if (o->hang_timeout)
		return o->hang_timeout;
	/* a case's own limit ends it first; some have a longer one than the default */
	return (o->timeout ? o->timeout : 60) * 2 + 20;
}

void complain(const char *fmt, ...)
{
	va_list ap;

	fputs("mmurun: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

char *format(const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	return text;
}

const char *build_dir(void)
{
	static char dir[PATH_MAX];
	ssize_t len;

	if (!*dir) {
		len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
		dir[len > 0 ? len : 0] = '\0';
		/* BUILD/tools/mmurun */
		dirname(dirname(dir));
	}
	return dir;
}

enum exit_code exit_worse(enum exit_code a, enum exit_code b)
{
	static const enum exit_code order[] = {
		EXIT_NOTHING, EXIT_PASS,   EXIT_FAILED,	     EXIT_NO_BOOT,
		EXIT_DIED,    EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_USAGE,
	};
	enum exit_code worse = a;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (order[i] == a || order[i] == b)
			worse = order[i];
	return worse;
}

/*
 * Which CPU the lab gives its kernel, and that every configuration can be loaded. TCG
 * has AMD's virtualisation only; the host's KVM nests that of its own CPU.
 */
static enum exit_code prepare_lab(struct choice *c, struct kernel *kernel)
{
	struct kvm_probe probe = {0};
	bool nested_amd, nested_intel;

	kvm_probe(&probe);
	nested_amd = probe.full && host_nests(VENDOR_AMD);
	nested_intel = probe.full && host_nests(VENDOR_INTEL);
	for (int i = 0; i < c->nr; i++) {
		struct env *env = &c->envs[i];
		struct load_plan plan;
		enum exit_code code;

		if (env->kind != ENV_LAB)
			continue;
		if (kernel_config_needs(kernel, env->config, VENDOR_INTEL)) {
			if (!nested_intel) {
				complain("--config %s: only kvm_intel has that, and VMX needs an "
					 "Intel host whose KVM nests it; QEMU alone emulates AMD",
					 env->config);
				return EXIT_USAGE;
			}
			env->vendor = VENDOR_INTEL;
			env->nested = true;
		} else {
			env->nested = nested_amd;
		}
		code = kernel_plan(kernel, env->config, env->vendor, &plan);
		load_plan_free(&plan);
		if (code)
			return code;
	}
	return EXIT_PASS;
}

/* What would be started, without starting it. */
static void print_plans(struct choice *c, struct kernel *kernel)
{
	for (int i = 0; i < c->nr; i++) {
		const struct env *env = &c->envs[i];
		struct load_plan plan;

		printf("%s\n", env->name);
		if (env->kind != ENV_LAB)
			continue;
		printf("  kernel %s %s\n", kernel->version, kernel->image);
		printf("  cpu %s\n", env->nested ? "host, nested" : "max, emulated");
		if (!kernel_plan(kernel, env->config, env->vendor, &plan)) {
			for (int j = 0; j < plan.nr; j++)
				printf("  load %s%s%s from %s\n", plan.load[j].module->name,
				       *plan.load[j].params ? " " : "", plan.load[j].params,
				       plan.load[j].module->path);
			if (*plan.cmdline)
				printf("  command line %s\n", plan.cmdline);
		}
		load_plan_free(&plan);
	}
}

/*
 * Names of the cases that match, to print or only to count. Returns how many. They are left in
 * *@keep, unless NULL, if all is well with them.
 */
static int list_cases(const struct options *o, enum env_kind kind, bool print, char **keep)
{
	const struct env env = {.kind = kind};
	const struct run run = {.o = o, .env = &env};
	char **argv = program_argv(&run, build_dir()), *names;
	int nr = 0, status = 0;
	size_t n = 0;

	while (argv[n])
		n++;
	argv[n] = "--list";
	names = proc_output(argv, &status);
	free(argv);
	for (const char *c = names; c && *c; c++)
		nr += *c == '\n';
	if (names && print)
		fputs(names, stdout);
	if (keep && names && !status)
		*keep = names;
	else
		free(names);
	return nr;
}

/* Fill in how many cases each environment will have. Returns how many there are in all. */
static int count_cases(const struct options *o, struct choice *c, bool print, char **names)
{
	int unit = o->unit ? list_cases(o, ENV_UNIT, print, NULL) : 0;
	/* mmufuzz's campaign or replay is one case */
	int suites = fuzzing(o) ? 1 : list_cases(o, ENV_HOST, print, names);

	for (int i = 0; i < c->nr; i++)
		c->envs[i].cases = c->envs[i].kind == ENV_UNIT ? unit : suites;
	return unit + suites;
}

/* The output directory, with "latest" beside it when its name is ours to choose. */
static char *make_output(const struct options *o)
{
	char stamp[32], *dir, *link, *path;
	time_t at = time(NULL);

	if (o->output) {
		path = format("%s/", o->output);
		for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
			*slash = '\0';
			if (mkdir(path, 0755) && errno != EEXIST) {
				complain("--output %s: %s: %s", o->output, path, strerror(errno));
				free(path);
				return NULL;
			}
			*slash = '/';
		}
		free(path);
		return realpath(o->output, NULL);
	}
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", localtime(&at));
	dir = format("out/%s-%d", stamp, getpid());
	if ((mkdir("out", 0755) && errno != EEXIST) || mkdir(dir, 0755)) {
		complain("%s: %s: give a folder with --output", dir, strerror(errno));
		free(dir);
		return NULL;
	}
	/* by a rename, so that there always is one, whoever else runs */
	link = format("out/.latest-%d", getpid());
	if (!symlink(dir + strlen("out/"), link) && rename(link, "out/latest"))
		unlink(link);
	free(link);
	return dir;
}

/* The names of the cases in a file, which saves each environment the asking. NULL: it's to ask. */
static char *write_names(const char *dir, const char *names)
{
	char *path = format("%s/cases", dir);
	FILE *f = names ? fopen(path, "we") : NULL;
	bool ok = f && fputs(names, f) >= 0;

	if (f && fclose(f))
		ok = false;
	if (ok)
		return path;
	free(path);
	return NULL;
}

static enum exit_code run_env(const struct options *o, const struct env *env, struct report *report,
			      struct kernel *kernel, const char *dir, const char *names)
{
	struct run run = {.o = o, .env = env, .report = report, .kernel = kernel, .names = names};
	enum exit_code code = EXIT_BROKEN;
	char *reason = NULL;

	run.dir = format("%s/%s", dir, env->name);
	report_env_start(report, env->name, env->cases);
	if (env->kind == ENV_HOST)
		reason = host_config_mismatch(env->config);
	if (reason) {
		code = EXIT_NOTHING;
	} else if (mkdir(run.dir, 0755) && errno != EEXIST) {
		reason = format("%s: %s", run.dir, strerror(errno));
	} else {
		code = env->kind == ENV_LAB ? lab_run(&run, &reason) : host_run(&run, &reason);
	}
	/* whatever went wrong before there was a stream counts as well */
	if (code == EXIT_BROKEN && !report->env_failed) {
		char *rerun = rerun_command(&run, env->name);

		report_case(report, VERDICT_ERROR, env->name, reason, NULL, rerun);
		free(rerun);
	}
	report_env_end(report, code, reason);
	free(reason);
	free(run.dir);
	return code;
}

static void catch_signals(void)
{
	struct sigaction act = {.sa_handler = on_signal};
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &act, NULL);
	/* a reader that went away ends the output, not the run's cleaning up */
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	enum exit_code code, worst = EXIT_NOTHING;
	struct options o;
	struct choice choice = {0};
	struct kernel kernel = {0};
	struct report report;
	char *dir, *names = NULL, *list;

	code = options_parse(&o, argc, argv);
	if (code)
		return code;
	if (o.list && o.print_needs)
		return EXIT_PASS;
	if (o.list)
		return count_cases(&o, &choice, true, NULL) ? EXIT_PASS : EXIT_NOTHING;
	code = choose(&o, &choice);
	if (code)
		return code;
	if (o.print_needs) {
		if (choice.lab || choice.envs[0].kind == ENV_QEMU)
			puts(choice.lab && !o.kernel ? "lab kernel" : "lab");
		return EXIT_PASS;
	}
	if (choice.lab) {
		code = kernel_open(&kernel, &o);
		if (!code)
			code = prepare_lab(&choice, &kernel);
		if (code)
			return code;
	}
	if (o.dry_run) {
		print_plans(&choice, &kernel);
		return EXIT_PASS;
	}
	if (!count_cases(&o, &choice, false, &names)) {
		complain("no case matches '%s': see --list", *o.globs ? *o.globs : "*");
		return EXIT_NOTHING;
	}
	if (!o.have_seed && getrandom(&o.seed, 4, 0) != 4)
		o.seed = time(NULL);
	catch_signals();
	dir = make_output(&o);
	if (!dir || !report_open(&report, o.format, dir, choice.nr))
		return EXIT_BROKEN;
	if (*choice.intree_note)
		report_note(&report, "%s", choice.intree_note);
	if (*choice.host_note)
		report_note(&report, "%s", choice.host_note);
	report_note(&report, "seed %llu", (unsigned long long)o.seed);
	list = write_names(dir, names);
	for (int i = 0; i < choice.nr && !interrupted; i++)
		worst = exit_worse(worst,
				   run_env(&o, &choice.envs[i], &report, &kernel, dir, list));
	report_close(&report);
	free(list);
	free(names);
	free(dir);
	return interrupted ? EXIT_INTERRUPTED : worst;
}
