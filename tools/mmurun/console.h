/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The console of the kernel under test, read as it is written: whether it panicked, what it
 * complained about, and the lines that somebody who looks for the cause wants to see.
 */
#ifndef TOOLS_MMURUN_CONSOLE_H
#define TOOLS_MMURUN_CONSOLE_H

#include <stdbool.h>

#include "lib/ktap.h"

#define CONSOLE_STORY 120 /* lines kept from the first complaint on */
#define CONSOLE_TAIL  25  /* lines kept when there was none */

struct console {
	const char *path; /* the file that QEMU writes; the caller's */
	int fd;
	struct ktap_splitter splitter;
	bool hello;	 /* init has said that it is alive */
	char *panic;	 /* what the kernel panicked with, or NULL */
	char *complaint; /* the first WARN, BUG and so on after the hello, or NULL */
	bool story;	 /* the lines begin with a complaint or a panic */
	char *lines[CONSOLE_STORY];
	int nr_lines;
};

void console_open(struct console *c, const char *path);

/* Read what is new. The file need not be there yet. */
void console_watch(struct console *c);

/* The lines worth showing, as text to free(). */
char *console_text(const struct console *c);

void console_close(struct console *c);

#endif
