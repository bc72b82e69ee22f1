// SPDX-License-Identifier: GPL-2.0-only
/*
 * libFuzzer's target: bytes are a program (lib/program_bytes.h), which is run on the in-tree engine in this process and
 * judged, with the auditor on. What is wrong is printed as a replay file for mmufuzz before the process
 * aborts. MMUSCOPE_CONFIG chooses the parameters; default: shadow paging.
 *
 * MMUSCOPE_FUZZ_TEXT=FILE makes replay files: it writes the program of the last input there. With
 * MMUSCOPE_FUZZ_SEEDS=FOLDER that folder gets programs of the generator and those of the repository's corpus as bytes,
 * to begin with.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model.h"
#include "lib/program_bytes.h"
#include "lib/random_program.h"

#define MAX_STEPS 400

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
const char *__asan_default_options(void);

/* What outlives an input is meant to: images, CPUID. */
const char *__asan_default_options(void)
{
	return "detect_leaks=0:handle_sigill=1";
}

static void write_seed(const char *folder, const char *name, const struct program *p)
{
	char path[600];
	size_t len;
	u8 *bytes = program_to_bytes(p, &len);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "we");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(2);
	}
	free(bytes);
}

static void write_corpus(const char *folder)
{
	const char *from = "tests/corpus";
	DIR *dir = opendir(from);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[600], error[512];
		struct program p;

		if (!strstr(e->d_name, ".prog"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", from, e->d_name);
		if (!program_read(&p, path, error, sizeof(error))) {
			fprintf(stderr, "%s\n", error);
			exit(2);
		}
		write_seed(folder, e->d_name, &p);
		program_free(&p);
	}
	if (dir)
		closedir(dir);
}

static void write_seeds(const char *folder)
{
	for (u64 seed = 0; seed < 64; seed++) {
		struct random_options r = {.mode = paging_mode(seed % PM_NONE),
					   .seed = seed,
					   .steps = 30 + seed,
					   .vcpus = 1 + seed / 4 % 3,
					   .host = seed / 16 & 1,
					   .thp = seed / 32};
		struct program p;
		char name[32];

		program_random(&p, &r);
		snprintf(name, sizeof(name), "seed%02lu", seed);
		write_seed(folder, name, &p);
		program_free(&p);
	}
	write_corpus(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *seeds = getenv("MMUSCOPE_FUZZ_SEEDS");

	(void)argc;
	(void)argv;
	setenv("MMUSCOPE_ENGINE", "intree", 1);
	setenv("MMUSCOPE_CONFIG", "npt=0,check=1", 0);
	if (seeds)
		write_seeds(seeds);
	return 0;
}

static void say(const struct program *p, const char *path)
{
	FILE *f = path ? fopen(path, "we") : stderr;

	if (!f) {
		perror(path);
		exit(2);
	}
	program_print(p, f);
	if (path)
		fclose(f);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const struct model_options o = {0};
	struct model_result res;
	struct program p;

	if (size > 1 + MAX_STEPS * PROGRAM_BYTES_STEP)
		return -1;
	program_from_bytes(&p, data, size);
	if (getenv("MMUSCOPE_FUZZ_TEXT"))
		say(&p, getenv("MMUSCOPE_FUZZ_TEXT"));
	model_run(&p, &o, &res);
	if (res.wrong) {
		fprintf(stderr, "%s\n", res.text);
		say(&p, NULL);
		abort();
	}
	program_free(&p);
	return 0;
}
