// SPDX-License-Identifier: GPL-2.0-only
/*
 * What mmufuzz says: lines for people, or one case in KTAP for mmurun, which may sit outside of the
 * machine that this one runs in. Then files that were written are said as well, line by line.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ktap.h"
#include "tools/mmufuzz/fuzz.h"

static struct ktap out;
static const char *case_name; /* NULL: to people */

void say_in_ktap(const char *name)
{
	case_name = name;
	out = ktap_stdout();
	ktap_version(&out);
	ktap_plan(&out, 1);
	ktap_start(&out, name);
}

/* vasprintf() that ends the program without memory. */
static char *text_of(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	return text;
}

void say(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = text_of(fmt, ap);
	va_end(ap);
	if (case_name)
		ktap_diag(&out, "%s", text);
	else
		puts(text);
	fflush(stdout);
	free(text);
}

void say_progress(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = text_of(fmt, ap);
	va_end(ap);
	if (case_name)
		ktap_fact(&out, "progress", "%s", text);
	else
		fprintf(stderr, "%s\n", text);
	free(text);
}

void say_judged(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = text_of(fmt, ap);
	va_end(ap);
	if (case_name)
		ktap_fact(&out, "judged", "%s", text);
	else
		printf("# judged %s\n", text);
	free(text);
}

void say_program(const struct program *p)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	program_print(p, f);
	if (!fclose(f) && size)
		say("%.*s", (int)size - 1, text);
	free(text);
}

void say_file(const char *path, const char *name)
{
	char line[KTAP_TEXT_MAX / 2];
	FILE *f = case_name ? fopen(path, "re") : NULL;

	while (f && fgets(line, sizeof(line), f))
		ktap_fact(&out, "file", "%s %.*s", name, (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

int say_end(int status, const char *reason)
{
	if (case_name)
		ktap_result(&out, status == 0 || status == EXIT_SKIPPED, 1, case_name,
			    status == EXIT_SKIPPED ? KTAP_SKIP : KTAP_NONE, reason);
	return status;
}
