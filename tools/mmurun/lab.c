// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab: the kernel under test booted in QEMU. The first serial port is its console and
 * goes to a file; the second carries the results and is QEMU's stdout, a pipe to here.
 * What matters is telling the ends apart: see verdict() below.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/mmurun/console.h"
#include "tools/mmurun/proc.h"
#include "tools/mmurun/run.h"

/* milliseconds that QEMU may take to go away by itself once the kernel has panicked or init is done */
#define GRACE 3000

struct lab {
	struct run *run;
	struct stream stream;
	pid_t qemu;
	int channel;
	struct console console;
	int64_t launched;
	int64_t give_up; /* set once QEMU is expected to end */
	char *timed_out;
};

static char *lab_path(const struct run *run, const char *name)
{
	return format("%s/%s", run->dir, name);
}

static void write_file(const struct run *run, const char *name, const char *text)
{
	char *path = lab_path(run, name);
	FILE *f = fopen(path, "we");

	if (!f || fputs(text, f) < 0)
		complain("%s: %m", path);
	if (f)
		fclose(f);
	free(path);
}

/* A whole file as a string; NULL when it can't be read. */
static char *read_file(const char *path)
{
	char *cat[] = {"cat", (char *)path, NULL};

	return access(path, R_OK) ? NULL : proc_output(cat, NULL);
}

/* In QEMU's options a comma ends a value: one that is part of it is written twice. */
static char *option_value(const char *text)
{
	char *value = calloc(2, strlen(text) + 1), *to = value;

	if (!value)
		abort();
	for (; *text; text++) {
		if (*text == ',')
			*to++ = ',';
		*to++ = *text;
	}
	return value;
}

/*
 * One thread for all vCPUs: with one each, TCG before QEMU 8.1 may go on executing code that
 * another vCPU has just patched. KVM patches a scheduler path each time its first VM comes or
 * its last one goes, so that about one boot in three hung in a stale breakpoint there.
 * Measured, it costs nothing: most of the time one vCPU waits for the other anyway.
 */
#define TCG "tcg,thread=single"

static char **qemu_argv(const struct run *run, const struct load_plan *plan, const char *initrd)
{
	const char *program = getenv("MMUSCOPE_QEMU");
	char *dir = option_value(run->dir);
	char *console = format("file,id=console,path=%s/console.log", dir);
	/*
	 * loglevel=5 shows warnings and worse on the console. panic=-1 with -no-reboot
	 * ends QEMU at once. The huge pages must be set aside at boot, the large
	 * one above all. A VM's end waits for several grace periods; expedited they
	 * save a fifth of a suite's time and change nothing of what is tested. Nor do
	 * mitigations, which cost more under TCG than on a processor, or clearing
	 * pages twice. The kernel's check that timer interrupts arrive panics where QEMU
	 * gets no processor for a moment.
	 */
	char *append = format("console=ttyS0 loglevel=5 panic=-1 rcupdate.rcu_expedited=1 "
			      "mitigations=off init_on_alloc=0 no_timer_check "
			      "hugepagesz=2M hugepages=64 hugepagesz=1G hugepages=1 %s",
			      plan->cmdline);
	char *argv[] = {
		program && *program ? (char *)program : "qemu-system-x86_64",
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-no-reboot",
		"-machine",
		"pc,hpet=off",
		"-accel",
		run->env->nested ? "kvm" : TCG,
		"-cpu",
		run->env->nested ? "host" : "max",
		"-smp",
		"2",
		"-m",
		"4096",
		"-chardev",
		console,
		"-serial",
		"chardev:console",
		"-chardev",
		"stdio,id=results,signal=off",
		"-serial",
		"chardev:results",
		"-kernel",
		run->kernel->image,
		"-initrd",
		(char *)initrd,
		"-append",
		append,
		NULL,
	};
	char **copy = malloc(sizeof(argv));

	if (!copy)
		abort();
	memcpy(copy, argv, sizeof(argv));
	free(dir);
	return copy;
}

/* Keep what was started in a form that a shell takes. */
static void keep_command(const struct run *run, char *const argv[])
{
	char *text = strdup("");

	for (; *argv; argv++) {
		char *longer = format("%s%s'%s'", text, *text ? " " : "", *argv);

		free(text);
		text = longer;
	}
	write_file(run, "command", text);
	free(text);
}

/* Is it time to stop waiting for QEMU? */
static bool out_of_time(struct lab *lab)
{
	const struct options *o = lab->run->o;

	if (!lab->give_up && (lab->console.panic || lab->stream.lab_exit || lab->stream.lab_error))
		lab->give_up = now() + GRACE;
	if (lab->give_up)
		return now() >= lab->give_up;
	if (!lab->stream.hello) {
		if (now() < lab->launched + o->boot_timeout * 1000)
			return false;
		lab->timed_out = format("no sign of life from init for %d s", o->boot_timeout);
		return true;
	}
	if (now() < lab->stream.last + patience(o) * 1000)
		return false;
	lab->timed_out = format("no line for %d s: it hangs", patience(o));
	return true;
}

static void follow(struct lab *lab)
{
	struct pollfd pfd = {.fd = lab->channel, .events = POLLIN};
	char data[16384];
	ssize_t len;

	while (!interrupted && !out_of_time(lab)) {
		if (poll(&pfd, 1, 250) > 0) {
			len = read(lab->channel, data, sizeof(data));
			if (len < 0 && errno == EINTR)
				continue;
			if (len <= 0)
				return;
			stream_feed(&lab->stream, data, len);
		}
		console_watch(&lab->console);
	}
}

/*
 * How it ended. QEMU's own death says nothing of the kernel. Before init's hello the
 * kernel did not boot; after it a panic, a reset (QEMU ends, nothing said) or
 * silence is the kernel's under test. A module that does not load is an environment
 * that can't tell good from bad: the usual cause is a module of another kernel.
 */
static enum exit_code verdict(struct lab *lab, int status, bool killed, char **reason)
{
	struct stream *s = &lab->stream;
	char *what;

	if (s->lab_error) {
		*reason = format("the lab could not be set up: %s", s->lab_error);
		return EXIT_BROKEN;
	}
	if (s->lab_exit) {
		if (strcmp(s->lab_exit, "0") && strcmp(s->lab_exit, "1") &&
		    strcmp(s->lab_exit, "4")) {
			*reason = format("%s ended with %s", program_name(s->run->o), s->lab_exit);
			return EXIT_BROKEN;
		}
		if (s->failures)
			return EXIT_FAILED;
		if (!strcmp(s->lab_exit, "1")) {
			*reason = format("%s reports a failure, but none was seen",
					 program_name(s->run->o));
			return EXIT_BROKEN;
		}
		return s->ran ? EXIT_PASS : EXIT_NOTHING;
	}
	if (!killed && (!WIFEXITED(status) || WEXITSTATUS(status))) {
		*reason = WIFEXITED(status)
				  ? format("QEMU ended with status %d", WEXITSTATUS(status))
				  : format("QEMU was killed by signal %d", WTERMSIG(status));
		return EXIT_BROKEN;
	}
	what = lab->console.panic ? format("it panicked: %s", lab->console.panic)
	       : lab->timed_out	  ? strdup(lab->timed_out)
				  : strdup("it reset the machine");
	*reason = format("the kernel %s: %s", s->hello ? "died under test" : "did not boot", what);
	free(what);
	return s->hello ? EXIT_DIED : EXIT_NO_BOOT;
}

/* What becomes of a case that was running then. */
static enum verdict broken_off(enum exit_code code, bool hung)
{
	if (code == EXIT_INTERRUPTED)
		return VERDICT_SKIP;
	if (code == EXIT_DIED)
		return hung ? VERDICT_TIMEOUT : VERDICT_FAIL;
	return code == EXIT_FAILED ? VERDICT_FAIL : VERDICT_ERROR;
}

static void tell_times(const struct lab *lab)
{
	int64_t boot = lab->stream.first - lab->launched, all = now() - lab->launched;
	char *text;

	if (!lab->stream.first)
		return;
	text = format("first case %.1f s after the launch of QEMU, %.1f s in all", boot / 1e3,
		      all / 1e3);
	report_fact(lab->run->report, "times", text, true);
	free(text);
}

static enum exit_code boot(struct lab *lab, char *const argv[], char **reason)
{
	char *errors = lab_path(lab->run, "qemu.log"), *tail = NULL;
	int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	enum exit_code code;
	bool killed = false;
	int channel[2], status;

	if (pipe2(channel, O_CLOEXEC)) {
		*reason = format("pipe: %s", strerror(errno));
		free(errors);
		return EXIT_BROKEN;
	}
	lab->launched = now();
	lab->qemu = proc_start(argv, NULL, -1, channel[1], err);
	close(channel[1]);
	if (err >= 0)
		close(err);
	if (lab->qemu < 0) {
		*reason = format("%s does not start: %s ('tools/setup.sh lab' installs QEMU)",
				 argv[0], strerror(errno));
		close(channel[0]);
		free(errors);
		return EXIT_BROKEN;
	}
	lab->channel = channel[0];
	stream_open(&lab->stream, lab->run);
	follow(lab);
	/* out of patience, or interrupted; after a clean end of the stream it goes by itself */
	if (interrupted || lab->timed_out || lab->give_up) {
		killed = true;
		kill(lab->qemu, SIGKILL);
	}
	status = proc_wait(lab->qemu);
	close(channel[0]);
	console_watch(&lab->console);

	if (interrupted) {
		*reason = strdup("interrupted");
		code = EXIT_INTERRUPTED;
	} else {
		code = verdict(lab, status, killed, reason);
	}
	if ((code == EXIT_PASS || code == EXIT_NOTHING) && lab->console.complaint) {
		/* mmusuite sees those that come while a case runs; this one came between two */
		*reason = format("the kernel complained outside of any case: %s",
				 lab->console.complaint);
		code = EXIT_FAILED;
	}
	if (*reason && !interrupted)
		tail = lab->stream.hello || lab->console.nr_lines ? console_text(&lab->console)
								  : read_file(errors);
	tell_times(lab);
	stream_close(&lab->stream, *reason, broken_off(code, lab->timed_out), tail);
	free(tail);
	free(errors);
	free(lab->timed_out);
	return code;
}

enum exit_code lab_run(struct run *run, char **reason)
{
	struct lab lab = {.run = run};
	char *initrd = lab_path(run, "initrd.cpio");
	char *console = lab_path(run, "console.log");
	struct load_plan plan;
	enum exit_code code;
	char **argv;

	code = kernel_plan(run->kernel, run->env->config, run->env->vendor, &plan);
	if (code) {
		*reason = strdup("its modules can't be loaded");
	} else if (!initrd_make(run, &plan, initrd)) {
		*reason = strdup("its initramfs could not be made");
		code = EXIT_BROKEN;
	} else {
		argv = qemu_argv(run, &plan, initrd);
		keep_command(run, argv);
		write_file(run, "kernel", run->kernel->version);
		/* an earlier run's, when it had the same --output */
		unlink(console);
		console_open(&lab.console, console);
		code = boot(&lab, argv, reason);
		console_close(&lab.console);
		free(argv);
	}
	/* megabytes that are made again in no time, unless they are evidence */
	if (code != EXIT_NO_BOOT)
		unlink(initrd);
	load_plan_free(&plan);
	free(console);
	free(initrd);
	return code;
}
