/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's own complaints. A watcher reads /dev/kmsg from the moment it was
 * opened and picks the splats out of it (WARN, BUG, Oops, sanitizer and lockdep
 * reports, stalls …), each as one block of text, so that the case that was
 * running can be failed with the report attached.
 */
#ifndef LIB_KMSG_H
#define LIB_KMSG_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether a line of the kernel log opens a report that no test may cause. text
 * is the message alone, without level, time stamp or newline.
 */
bool kmsg_is_splat(const char *text);

/* Whether a line closes the report that is open. */
bool kmsg_is_end(const char *text);

/*
 * The message of one /dev/kmsg record ("level,seq,time,flags;message\n KEY=value\n"):
 * cuts rec after the first line and returns where the message begins. NULL when the
 * record is malformed, or was not logged by the kernel but written by a program.
 */
char *kmsg_message(char *rec);

struct kmsg_block {
	char *text;    /* the report's lines, with newlines; malloc'd, the caller's */
	char comm[16]; /* the task named in the report, "" when none is */
};

struct kmsg;

/*
 * Watch what the kernel logs from now on. With MMUSCOPE_KMSG_FD in the
 * environment its value is a descriptor of /dev/kmsg opened by the program that
 * started this one: reading goes on where that one's last child stopped, so that
 * nothing is lost between two. NULL when it can't be read (errno tells why).
 */
struct kmsg *kmsg_open(void);

/* As kmsg_open(), on an open descriptor, which becomes non-blocking and is owned from now on. */
struct kmsg *kmsg_open_fd(int fd);

/*
 * The next report, if one is there. Waits only while one has begun and is not
 * complete, at most a fifth of a second per line. False when there is none.
 */
bool kmsg_next(struct kmsg *k, struct kmsg_block *block);

/* The descriptor, for handing down by MMUSCOPE_KMSG_FD. */
int kmsg_fd(const struct kmsg *k);

void kmsg_close(struct kmsg *k);

#endif /* LIB_KMSG_H */
