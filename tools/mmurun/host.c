// SPDX-License-Identifier: GPL-2.0-only
/*
 * The suite on this machine: on its own /dev/kvm, or on an engine that needs none. KVM's modules are never reloaded: what
 * somebody else's virtual machines run on is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/probe.h"
#include "tools/mmurun/proc.h"
#include "tools/mmurun/run.h"

/* milliseconds for mmusuite to put back what its cases changed, after it was asked to end */
#define GRACE 5000

static bool read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, size, f);

	if (f)
		fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

/* The value in effect of a KVM module's parameter, and which module has it. */
static bool host_param(const char *name, size_t len, const char **module, char *value, int size)
{
	static const char *const modules[] = {"kvm", "kvm_amd", "kvm_intel"};

	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		char *path = format("/sys/module/%s/parameters/%.*s", modules[i], (int)len, name);
		bool found = read_line(path, value, size);

		free(path);
		*module = modules[i];
		if (found)
			return true;
	}
	return false;
}

/* "1" and "Y" are one value of a bool, and so the kernel prints them */
static bool same_value(const char *asked, size_t len, const char *effective)
{
	static const char yes[] = "1yYtT", no[] = "0nNfF";

	if (strlen(effective) == len && !strncmp(asked, effective, len))
		return true;
	if (strcmp(effective, "Y") && strcmp(effective, "N"))
		return false;
	return strchr(*effective == 'Y' ? yes : no, *asked);
}

char *host_config_mismatch(const char *config)
{
	for (const char *p = config; *p;) {
		size_t len = strcspn(p, ","), name = strcspn(p, "=");
		const char *module;
		char value[128];

		if (!host_param(p, name, &module, value, sizeof(value)))
			return format("the host's KVM has no parameter %.*s: use --vm", (int)name,
				      p);
		if (!same_value(p + name + 1, len - name - 1, value))
			return format("the host runs with %s.%.*s=%s: reload %s with %.*s, or use "
				      "--vm",
				      module, (int)name, p, value, module, (int)len, p);
		p += len + (p[len] == ',');
	}
	return NULL;
}

bool host_nests(enum vendor vendor)
{
	const unsigned int nent = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + nent * sizeof(cpuid->entries[0]));
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool found = false;

	if (cpuid && kvm >= 0) {
		cpuid->nent = nent;
		if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
			cpuid->nent = 0;
		for (unsigned int i = 0; i < cpuid->nent; i++) {
			const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

			if (vendor == VENDOR_AMD && e->function == 0x80000001)
				found |= e->ecx >> 2 & 1; /* SVM */
			if (vendor == VENDOR_INTEL && e->function == 1)
				found |= e->ecx >> 5 & 1; /* VMX */
		}
	}
	if (kvm >= 0)
		close(kvm);
	free(cpuid);
	return found;
}

/* End mmusuite with time to clean up; returns its wait status. */
static int end_suite(pid_t suite)
{
	int64_t deadline = now() + GRACE;
	int status;

	kill(suite, SIGTERM);
	while (now() < deadline) {
		if (waitpid(suite, &status, WNOHANG) == suite)
			return status;
		poll(NULL, 0, 50);
	}
	kill(suite, SIGKILL);
	return proc_wait(suite);
}

static enum exit_code verdict(const struct stream *s, int status, bool ended, char **reason)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (interrupted) {
		*reason = strdup("interrupted");
		return EXIT_INTERRUPTED;
	}
	if (ended) {
		*reason = strdup("no line for a long time: it hangs");
		return EXIT_DIED;
	}
	if (WIFSIGNALED(status)) {
		*reason = format("%s was killed by signal %d", program_name(s->run->o),
				 WTERMSIG(status));
		return EXIT_BROKEN;
	}
	if (code != EXIT_PASS && code != EXIT_FAILED && code != EXIT_NOTHING) {
		*reason = format("%s ended with %d", program_name(s->run->o), code);
		return EXIT_BROKEN;
	}
	if (s->failures)
		return EXIT_FAILED;
	if (code == EXIT_FAILED) {
		*reason =
			format("%s reports a failure, but none was seen", program_name(s->run->o));
		return EXIT_BROKEN;
	}
	return s->ran ? EXIT_PASS : EXIT_NOTHING;
}

static bool host_is_whole(void)
{
	struct kvm_probe probe = {0};

	kvm_probe(&probe);
	return probe.full;
}

enum exit_code host_run(struct run *run, char **reason)
{
	char *log = format("%s/console.log", run->dir);
	char *env_name = format("MMUSCOPE_ENV=%s", run->env->name);
	char *config = format("MMUSCOPE_CONFIG=%s", run->env->config);
	bool own = strcmp(env_engine(run->env), "kvm");
	/* a KVM that was probed and is whole needs no probing from within the cases */
	char *engine = format("MMUSCOPE_ENGINE=%s", env_engine(run->env));
	char *env[] = {env_name, engine, config,
		       own || host_is_whole() ? "MMUSCOPE_STRICT=1" : NULL, NULL};
	char **argv = program_argv(run, build_dir());
	int err = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int limit = patience(run->o);
	int channel[2] = {-1, -1}, status = 0;
	enum exit_code code = EXIT_BROKEN;
	bool ended = false;
	struct stream s;
	pid_t pid = -1;

	if (!pipe2(channel, O_CLOEXEC))
		pid = proc_start(argv, env, -1, channel[1], err);
	if (err >= 0)
		close(err);
	if (channel[1] >= 0)
		close(channel[1]);
	if (pid < 0) {
		*reason = format("%s does not start: %s", argv[0], strerror(errno));
		goto out;
	}
	stream_open(&s, run);
	while (!interrupted && !ended) {
		struct pollfd pfd = {.fd = channel[0], .events = POLLIN};
		char data[16384];
		ssize_t len;

		ended = now() > s.last + limit * 1000;
		if (poll(&pfd, 1, 1000) <= 0)
			continue;
		len = read(channel[0], data, sizeof(data));
		if (len == 0)
			break;
		if (len > 0)
			stream_feed(&s, data, len);
	}
	status = interrupted || ended ? end_suite(pid) : proc_wait(pid);
	code = verdict(&s, status, ended, reason);
	stream_close(&s, *reason,
		     code == EXIT_INTERRUPTED ? VERDICT_SKIP
		     : code == EXIT_DIED      ? VERDICT_TIMEOUT
					      : VERDICT_ERROR,
		     NULL);
out:
	if (channel[0] >= 0)
		close(channel[0]);
	free(argv);
	free(engine);
	free(config);
	free(env_name);
	free(log);
	return code;
}
