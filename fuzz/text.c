// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer's target for replay files: whatever the bytes are, the parser says what is wrong with them or gives a
 * program whose text gives the same program again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/program.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static char *printed(const struct program *p, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	if (!f)
		abort();
	program_print(p, f);
	fclose(f);
	return text;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	char error[512] = "", *first, *second;
	size_t len, len2;
	struct program p, q;

	if (!program_parse(&p, "input", (const char *)data, size, error, sizeof(error))) {
		if (strncmp(error, "input:", 6))
			abort();
		return 0;
	}
	first = printed(&p, &len);
	if (!program_parse(&q, "again", first, len, error, sizeof(error))) {
		fprintf(stderr, "%s\n%s", error, first);
		abort();
	}
	second = printed(&q, &len2);
	if (len != len2 || memcmp(first, second, len)) {
		fprintf(stderr, "%s\nis read as\n%s", first, second);
		abort();
	}
	free(first);
	free(second);
	program_free(&p);
	program_free(&q);
	return 0;
}
