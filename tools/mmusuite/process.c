// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test binary as a process: started so that it can't outlive us, waited for
 * together with its output and with our own signals, swept away with all it left.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/mmusuite/mmusuite.h"

#define MAX_PROCESSES 256

static int signal_fd;
static sigset_t inherited_mask;
static pid_t running[MAX_PROCESSES]; /* started and not ended; else 0 */

static void replace(pid_t old, pid_t new)
{
	int i;

	for (i = 0; i < MAX_PROCESSES; i++) {
		if (running[i] == old) {
			running[i] = new;
			return;
		}
	}
}

static bool is_running(pid_t pid)
{
	int i;

	for (i = 0; i < MAX_PROCESSES; i++)
		if (running[i] == pid)
			return true;
	return false;
}

void process_init(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, &inherited_mask);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0) {
		perror("signalfd");
		exit(1);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

pid_t process_start(char *const *argv, int *out)
{
	pid_t parent = getpid(), pid;
	int fds[2], null;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* the parent may have died before the line above took effect */
		if (getppid() != parent)
			_exit(1);
		/* Ctrl-C on the terminal is for us alone, who then end it in order */
		setpgid(0, 0);
		null = open("/dev/null", O_RDONLY);
		if (null >= 0)
			dup2(null, STDIN_FILENO);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		signal(SIGPIPE, SIG_DFL);
		sigprocmask(SIG_SETMASK, &inherited_mask, NULL);
		execv(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(126);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return -1;
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	*out = fds[0];
	replace(0, pid);
	return pid;
}

/* All that is there; true when there was anything. */
static bool read_output(int out, struct ktap_splitter *split,
			void (*fn)(const char *line, void *arg), void *arg)
{
	char buf[16384];
	bool any = false;
	ssize_t n;

	while ((n = read(out, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		ktap_split(split, buf, (size_t)n, fn, arg);
		any = true;
	}
	return any;
}

bool process_has_ended(pid_t pid)
{
	siginfo_t info = {};

	return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

enum process_event process_wait(pid_t pid, int out, int64_t timeout_ms, struct ktap_splitter *split,
				void (*fn)(const char *line, void *arg), void *arg)
{
	struct pollfd fds[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = out, .events = POLLIN},
	};
	struct signalfd_siginfo info;
	bool other;
	int n;

	for (;;) {
		n = poll(fds, 2, timeout_ms > 86400000 ? 86400000 : (int)timeout_ms);
		if (n == 0)
			return PROCESS_SILENT;
		if (n < 0)
			continue;
		other = false;
		while (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo != SIGCHLD)
				return PROCESS_SIGNAL;
			other = true;
		}
		if (process_has_ended(pid)) {
			/* the order matters: what it wrote is complete once it has ended */
			read_output(out, split, fn, arg);
			return PROCESS_END;
		}
		if ((fds[1].revents & POLLIN) && read_output(out, split, fn, arg))
			return PROCESS_OUTPUT;
		if (other)
			return PROCESS_OTHER;
		/* it closed its output without ending: only its end is of interest now */
		if (fds[1].revents & POLLHUP)
			fds[1].fd = -1;
	}
}

/* Orphans of the binary's cases have become our children. */
static void kill_orphans(void)
{
	char path[64];
	FILE *f;
	bool any;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	do {
		any = false;
		f = fopen(path, "re");
		while (f && fscanf(f, "%d", &pid) == 1) {
			if (is_running(pid))
				continue;
			kill(pid, SIGKILL);
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
			any = true;
		}
		if (f)
			fclose(f);
	} while (any);
}

int process_end(pid_t pid)
{
	int status = 0;

	if (!process_has_ended(pid))
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	replace(pid, 0);
	kill_orphans();
	return status;
}
