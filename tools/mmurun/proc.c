// SPDX-License-Identifier: GPL-2.0-only
/* Child processes that can't outlive mmurun. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/mmurun/proc.h"

static void child(char *const argv[], char *const env[], const int fds[3], int report, pid_t parent)
{
	sigset_t none;
	int error;

	/* a parent that died before the prctl() will never be seen to die */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(127);
	setsid();
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3; i++) {
		int fd = fds[i];

		if (fd < 0)
			fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (dup2(fd, i) < 0)
			goto fail;
	}
	for (; env && *env; env++)
		putenv(*env);
	execvp(argv[0], argv);
fail:
	error = errno;
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

pid_t proc_start(char *const argv[], char *const env[], int in, int out, int err)
{
	/* kept away from 0 to 2, which the child is about to give new meanings */
	int fds[3] = {in, out, err};
	int report[2], error = 0;
	pid_t parent = getpid(), pid;

	if (pipe2(report, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		close(report[0]);
		for (int i = 0; i < 3; i++)
			if (fds[i] >= 0)
				fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		child(argv, env, fds, report[1], parent);
	}
	close(report[1]);
	/* ends without a byte when the exec has happened */
	if (pid > 0 && read(report[0], &error, sizeof(error)) == sizeof(error)) {
		waitpid(pid, NULL, 0);
		pid = -1;
	} else if (pid < 0) {
		error = errno;
	}
	close(report[0]);
	errno = error;
	return pid;
}

int proc_wait(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status;
}

void proc_kill(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	proc_wait(pid);
}

bool proc_run(char *const argv[], int out)
{
	pid_t pid = proc_start(argv, NULL, -1, out, STDERR_FILENO);
	int status;

	if (pid < 0) {
		fprintf(stderr, "mmurun: %s: %m\n", argv[0]);
		return false;
	}
	status = proc_wait(pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

char *proc_output(char *const argv[], int *exit_status)
{
	char *text = NULL, *bigger;
	size_t len = 0, room = 0;
	int pipefd[2], status;
	ssize_t got = -1;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC))
		return NULL;
	pid = proc_start(argv, NULL, -1, pipefd[1], STDERR_FILENO);
	close(pipefd[1]);
	while (pid > 0) {
		if (len + 1 >= room) {
			room = room ? 2 * room : 4096;
			bigger = realloc(text, room);
			if (!bigger)
				abort();
			text = bigger;
		}
		got = read(pipefd[0], text + len, room - len - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		len += got;
	}
	close(pipefd[0]);
	if (pid < 0)
		return NULL;
	status = proc_wait(pid);
	if (got < 0 || !WIFEXITED(status)) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	if (exit_status)
		*exit_status = WEXITSTATUS(status);
	return text;
}
