// SPDX-License-Identifier: GPL-2.0-only
/* Following the console of the kernel under test. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/kmsg.h"
#include "tools/mmurun/console.h"
#include "tools/mmurun/mmurun.h"

static const char panic_words[] = "Kernel panic - not syncing";

void console_open(struct console *c, const char *path)
{
	*c = (struct console){.path = path, .fd = -1};
}

static void keep(struct console *c, const char *line)
{
	int room = c->story ? CONSOLE_STORY : CONSOLE_TAIL;

	if (c->nr_lines == room && c->story)
		return;
	if (c->nr_lines == room) {
		free(c->lines[0]);
		memmove(c->lines, c->lines + 1, --c->nr_lines * sizeof(c->lines[0]));
	}
	c->lines[c->nr_lines++] = strdup(line);
}

static void forget(struct console *c)
{
	while (c->nr_lines)
		free(c->lines[--c->nr_lines]);
}

static void take_line(const char *text, void *arg)
{
	struct console *c = arg;
	char *line = strdup(text), *clean = line;
	const char *message, *panic;
	bool splat;

	/* without what a terminal would act on: the \r of every line, colours */
	for (const char *from = text; *from; from++)
		if (*from == '\t' || (unsigned char)*from >= ' ')
			*clean++ = *from;
	*clean = '\0';

	/* "[    1.234567] message" */
	message = *line == '[' ? strstr(line, "] ") : NULL;
	message = message ? message + 2 : line;
	if (!strncmp(line, "init: hello", 11))
		c->hello = true;
	panic = strstr(message, panic_words);
	splat = c->hello && message != line && kmsg_is_splat(message);
	if ((panic || splat) && !c->story) {
		forget(c);
		c->story = true;
	}
	if (panic && !c->panic) {
		panic += strlen(panic_words);
		c->panic = strdup(panic + strspn(panic, ": "));
	}
	if (splat && !c->complaint)
		c->complaint = strdup(message);
	keep(c, line);
	free(line);
}

void console_watch(struct console *c)
{
	char data[8192];
	ssize_t len;

	if (c->fd < 0)
		c->fd = open(c->path, O_RDONLY | O_CLOEXEC);
	while (c->fd >= 0 && (len = read(c->fd, data, sizeof(data))) > 0)
		ktap_split(&c->splitter, data, len, take_line, c);
}

char *console_text(const struct console *c)
{
	char *text = strdup("");

	for (int i = 0; i < c->nr_lines; i++) {
		char *longer = format("%s%s\n", text, c->lines[i]);

		free(text);
		text = longer;
	}
	return text;
}

void console_close(struct console *c)
{
	forget(c);
	free(c->panic);
	free(c->complaint);
	if (c->fd >= 0)
		close(c->fd);
}
