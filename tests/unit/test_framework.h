/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the framework's own tests: run a program to its end and look at what it
 * printed. Programs are found relative to the running test binary.
 */
#ifndef TESTS_UNIT_TEST_FRAMEWORK_H
#define TESTS_UNIT_TEST_FRAMEWORK_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/test.h"

#define UNUSED __attribute__((unused))

/* Path of `relative` as seen from the running binary's folder; malloc'd. */
static UNUSED char *program_path(const char *relative)
{
	char exe[PATH_MAX], *path = NULL;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		test_error("/proc/self/exe: %s", strerror(errno));
	exe[n] = '\0';
	*strrchr(exe, '/') = '\0';
	if (asprintf(&path, "%s/%s", exe, relative) < 0)
		test_error("out of memory");
	if (access(path, X_OK))
		test_error("%s: %s", path, strerror(errno));
	return path;
}

struct program {
	pid_t pid;
	int out;    /* its stdout and stderr */
	char *text; /* what it has printed so far */
	size_t len;
	int status; /* wait(2)'s, once it has ended */
};

/* Start argv[0]; argv ends with NULL. */
static UNUSED struct program program_start(const char *const *argv)
{
	struct program p = {};
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		test_error("pipe: %s", strerror(errno));
	p.pid = test_fork();
	if (p.pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(126);
	}
	close(fds[1]);
	p.out = fds[0];
	p.text = calloc(1, 1);
	return p;
}

/* Read on until `until` has been printed, or to the end of the output when it is NULL. */
static UNUSED bool program_read(struct program *p, const char *until)
{
	char buf[4096];
	ssize_t n;

	while (!until || !strstr(p->text, until)) {
		n = read(p->out, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return !until;
		p->text = realloc(p->text, p->len + (size_t)n + 1);
		if (!p->text)
			test_error("out of memory");
		memcpy(p->text + p->len, buf, (size_t)n);
		p->len += (size_t)n;
		p->text[p->len] = '\0';
	}
	return true;
}

/* Read the rest, wait for the end. Returns the exit status, or -signal. */
static UNUSED int program_end(struct program *p)
{
	program_read(p, NULL);
	close(p->out);
	while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(p->status) ? -WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

/* Whether one of the lines is exactly this one (indent included). */
static UNUSED bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);
	const char *p;

	for (p = text; (p = strstr(p, line)); p++)
		if ((p == text || p[-1] == '\n') && (p[len] == '\n' || !p[len]))
			return true;
	return false;
}

/* How many lines begin so. */
static UNUSED unsigned int count_lines(const char *text, const char *start)
{
	unsigned int nr = 0;
	const char *p;

	for (p = text; *p; p = strchrnul(p, '\n'), p += *p == '\n')
		nr += !strncmp(p, start, strlen(start));
	return nr;
}

#define EXPECT_LINE(p, line) \
	EXPECT(has_line((p)->text, line), "\"%s\" is not among\n%s", line, (p)->text)
#define EXPECT_NO_LINE(p, line) \
	EXPECT(!has_line((p)->text, line), "\"%s\" is among\n%s", line, (p)->text)

/*
 * A pipe whose writing end every process inherits that is started from now on: it
 * reads as ended once the last of them is dead. Nothing has to be guessed or waited
 * for by the clock.
 */
static UNUSED int lifeline(int *keep)
{
	int fds[2];

	if (pipe(fds) < 0)
		test_error("pipe: %s", strerror(errno));
	fcntl(fds[0], F_SETFD, FD_CLOEXEC);
	*keep = fds[1];
	return fds[0];
}

/* Wait for that end; `keep` is our own copy. A survivor makes the case time out. */
static UNUSED void expect_all_dead(int fd, int keep)
{
	char c;

	close(keep);
	EXPECT_EQ(read(fd, &c, 1), 0, "the lifeline's end");
	close(fd);
}

static UNUSED void remove_dir(void *dir)
{
	char *cmd = NULL;

	if (asprintf(&cmd, "rm -rf '%s'", (char *)dir) < 0 || system(cmd))
		test_diag("could not remove %s", (char *)dir);
	free(cmd);
}

/* A new folder that goes away with the case; malloc'd path. */
static UNUSED char *temp_dir(void)
{
	char *dir = strdup("/tmp/mmuscope-test-XXXXXX");

	if (!mkdtemp(dir))
		test_error("mkdtemp: %s", strerror(errno));
	test_cleanup(remove_dir, dir);
	return dir;
}

static UNUSED void make_fifo(void)
{
	char *path = NULL;

	if (asprintf(&path, "%s/fifo", temp_dir()) < 0 || mkfifo(path, 0600) < 0)
		test_error("mkfifo: %s", strerror(errno));
	setenv("FIXTURE_FIFO", path, 1);
}

/*
 * A kernel log of our own: the programs started from now on watch one end of a
 * socket, the fixtures write to the other. Returns the writing end.
 */
static UNUSED int make_kernel_log(void)
{
	char fd[16];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		test_error("socketpair: %s", strerror(errno));
	snprintf(fd, sizeof(fd), "%d", fds[0]);
	setenv("MMUSCOPE_KMSG_FD", fd, 1);
	setenv("MMUSCOPE_KMSG", "1", 1);
	snprintf(fd, sizeof(fd), "%d", fds[1]);
	setenv("FIXTURE_KMSG", fd, 1);
	return fds[1];
}

#endif /* TESTS_UNIT_TEST_FRAMEWORK_H */
