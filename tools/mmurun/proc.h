/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Child processes that can't outlive mmurun. Each is in a session of its own, out of
 * reach of the terminal's Ctrl-C (mmurun decides when it ends), and is killed by the kernel when
 * mmurun dies in whatever way.
 */
#ifndef TOOLS_MMURUN_PROC_H
#define TOOLS_MMURUN_PROC_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Start argv[0] (looked up in PATH) with the three descriptors as its standard ones; -1 stands for
 * /dev/null. env holds NULL-terminated NAME=VALUE additions, or is NULL. Returns the
 * process id, or -1 with errno when it could not be started, a missing program included.
 */
pid_t proc_start(char *const argv[], char *const env[], int in, int out, int err);

/* Wait for it to end; returns the wait status. */
int proc_wait(pid_t pid);

/* Kill it and all of its session's process group, and reap it. */
void proc_kill(pid_t pid);

/* Run a program to its end with output to @out (-1: /dev/null). True when it exited with 0. */
bool proc_run(char *const argv[], int out);

/*
 * All that a program prints on stdout, as a string to free(), whatever its exit status; NULL
 * when it did not start or was killed. *@status (unless NULL): its exit status.
 */
char *proc_output(char *const argv[], int *status);

#endif
