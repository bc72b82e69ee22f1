// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmufuzz: random programs on guests' page tables, judged by lib/model. Runs campaigns, replays
 * and shrinks their findings, and turns them into test cases.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/mmufuzz/fuzz.h"

volatile sig_atomic_t interrupted;

double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static void read_or_exit(struct program *p, const char *path)
{
	char error[512];

	if (program_read(p, path, error, sizeof(error)))
		return;
	fprintf(stderr, "mmufuzz: %s\n", error);
	exit(2);
}

static int replay(const struct options *o)
{
	struct program p;
	struct trial t;
	enum trial_end end;

	read_or_exit(&p, o->replay);
	if (o->ktap)
		say_in_ktap("fuzz/replay");
	trial_run(&p, o->verbose, &t);
	end = t.end;
	switch (end) {
	case TRIAL_OK:
		say_judged("%lu operations, %lu left out: nothing wrong", t.judged, t.left_out);
		program_free(&p);
		return say_end(0, NULL);
	case TRIAL_SKIPPED:
		say("%s", t.text);
		return say_end(EXIT_SKIPPED, t.text);
	default:
		say("%s", t.text);
	}
	if (o->shrink) {
		u32 tries = trial_shrink(&p, end, o);

		say("# %u steps are left after %u tries", p.nr_steps, tries);
		say_program(&p);
	}
	program_free(&p);
	return say_end(1, NULL);
}

/* The program as a case of its own, its lines as string literals. */
static int convert(const struct options *o)
{
	char line[256];
	struct program p;

	read_or_exit(&p, o->convert);
	printf("TEST(replayed, .what = \"FILL IN: what this program shows\")\n{\n"
	       "\texpect_program(\"mmuscope-program %d\\n\"\n\t\t       \"mode %s\\n\"\n"
	       "\t\t       \"vcpus %u\\n\"\n\t\t       \"backing %s\\n\"",
	       PROGRAM_VERSION, p.mode->name, p.nr_vcpus, p.backing == MEM_THP ? "thp" : "anon");
	for (u32 i = 0; i < p.nr_steps; i++)
		printf("\n\t\t       \"%s\\n\"", step_text(&p, &p.steps[i], line, sizeof(line)));
	printf(");\n}\n");
	program_free(&p);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct options o;

	options_parse(&o, argc, argv);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	if (o.replay)
		return replay(&o);
	if (o.convert)
		return convert(&o);
	return campaign(&o);
}
