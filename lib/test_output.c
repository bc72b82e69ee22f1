// SPDX-License-Identifier: GPL-2.0-only
/*
 * The output of a case, made into KTAP diagnostics: its first and its last lines
 * are kept, so that neither a flood nor the report at its end is lost.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/test_priv.h"

static void take_line(const char *line, void *arg)
{
	struct test_output *o = arg;
	unsigned long nr = o->lines++;
	char **slot;

	if (nr < TEST_HEAD_LINES) {
		if (o->direct) {
			ktap_quote(o->ktap, line, strlen(line));
			return;
		}
		slot = &o->head[nr];
	} else {
		slot = &o->tail[(nr - TEST_HEAD_LINES) % TEST_TAIL_LINES];
	}
	free(*slot);
	*slot = strdup(line);
}

void test_output_feed(struct test_output *o, const char *data, size_t len)
{
	ktap_split(&o->split, data, len, take_line, o);
}

static void put(struct test_output *o, char **slot)
{
	if (*slot)
		ktap_quote(o->ktap, *slot, strlen(*slot));
	free(*slot);
	*slot = NULL;
}

bool test_output_flush(struct test_output *o)
{
	unsigned long i, behind, left_out = 0;

	ktap_split_end(&o->split, take_line, o);
	for (i = 0; i < TEST_HEAD_LINES; i++)
		put(o, &o->head[i]);
	behind = o->lines > TEST_HEAD_LINES ? o->lines - TEST_HEAD_LINES : 0;
	if (behind > TEST_TAIL_LINES) {
		left_out = behind - TEST_TAIL_LINES;
		ktap_diag(o->ktap, "… %lu lines more …", left_out);
	}
	for (i = behind > TEST_TAIL_LINES ? left_out : 0; i < behind; i++)
		put(o, &o->tail[i % TEST_TAIL_LINES]);
	o->lines = 0;
	return left_out;
}
