// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replays the corpus, tests/corpus/: short programs that together reach what coverage-guided fuzzing reached of the
 * in-tree engine (make fuzz, docs/fuzzing.md), and findings of old. They are part of this program, so that it
 * runs where no files are.
 */
#include <string.h>

#include "mmuscope.h"
#include "model.h"

/* All files one after the other, each after a line "#file NAME". */
extern const char corpus[];
asm(".pushsection .rodata\n"
    "corpus: .incbin \"" CORPUS "\"\n"
    ".byte 0\n"
    ".popsection");

static void replay(const char *name, const struct program *p)
{
	const struct model_options o = {0};
	struct model_result res;

	test_diag("%s", name);
	model_run(p, &o, &res);
	test_count_check();
	if (res.wrong)
		test_fail_soft(__FILE__, __LINE__, "%s: %s", name, res.text);
}

TEST(replay, .what = "each program of the corpus: nothing that the manuals forbid",
     .modes = MODES_PAGED)
{
	static const char mark[] = "#file ";
	const char *at = corpus;
	u32 n = 0;

	while (*at) {
		const char *end = strstr(at + 1, mark);
		char name[128], error[512];
		struct program p;

		if (sscanf(at, "#file %127s", name) != 1)
			test_error("the corpus is damaged");
		end = end ? end : at + strlen(at);
		if (!program_parse(&p, name, at, end - at, error, sizeof(error)))
			test_error("%s", error);
		if (p.mode->id == t->mode->id) {
			replay(name, &p);
			n++;
		}
		program_free(&p);
		at = end;
	}
	test_diag("%u programs", n);
}
