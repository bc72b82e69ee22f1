// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which cases there are and which of them are asked for: expansion of the
 * registered cases into their variants, names, globs, per-case seeds, --list.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/test_priv.h"

/* The linker's bounds of the section that TEST() fills; absent in a binary without cases. */
extern const struct test_case *const __start_mmuscope_tests[] __attribute__((weak));
extern const struct test_case *const __stop_mmuscope_tests[] __attribute__((weak));

static void *must(void *p)
{
	if (!p) {
		perror("test list");
		exit(1);
	}
	return p;
}

/* "a.b", malloc'd */
static char *join(const char *a, const char *b)
{
	char *s = NULL;

	if (asprintf(&s, "%s.%s", a, b) < 0)
		s = NULL;
	return must(s);
}

/* "…/tests/mmu/invlpg.c" -> "mmu/invlpg" */
static char *suite_of(const char *path)
{
	const char *start = path + strlen(path), *dot;
	int slashes = 0;
	char *s;

	while (start > path) {
		if (start[-1] == '/' && ++slashes == 2)
			break;
		start--;
	}
	s = must(strdup(start));
	dot = strrchr(s, '.');
	if (dot)
		s[dot - s] = '\0';
	return s;
}

/* The compiler may emit the cases in any order; a binary's cases come from one file. */
static int by_line(const void *a, const void *b)
{
	const struct test_case *x = *(const struct test_case *const *)a;
	const struct test_case *y = *(const struct test_case *const *)b;
	int c = strcmp(x->file, y->file);

	return c ? c : (x->line > y->line) - (x->line < y->line);
}

static bool matches(const struct test *t, const char *suite, const struct test_options *opt)
{
	const char *short_name = t->full_name + strlen(suite) + 1;
	char *case_name;
	bool match;
	int i;

	if (!opt->nr_globs)
		return true;
	case_name = join(suite, t->tc->name);
	for (i = 0, match = false; i < opt->nr_globs && !match; i++) {
		const char *glob = opt->globs[i];

		match = !fnmatch(glob, t->full_name, 0) || !fnmatch(glob, suite, 0) ||
			!fnmatch(glob, case_name, 0) || !fnmatch(glob, short_name, 0) ||
			!fnmatch(glob, t->tc->name, 0);
	}
	free(case_name);
	return match;
}

/* A case's seed depends on the run's and on its name alone, not on what else is selected. */
static uint64_t case_seed(uint64_t seed, const char *name)
{
	uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */
	struct test mix;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3ull;
	mix.rand_state = h ^ (seed * 0x9e3779b97f4a7c15ull);
	return test_rand(&mix);
}

static void add(struct test_list *list, const struct test_case *tc, const struct paging_mode *mode,
		unsigned int variant_idx, const struct test_options *opt)
{
	struct test t = {.tc = tc, .mode = mode};
	char *name = join(list->suite, tc->name), *longer;

	if (mode) {
		longer = join(name, mode->name);
		free(name);
		name = longer;
	}
	if (tc->variants) {
		t.variant_idx = variant_idx;
		t.variant = tc->variants[variant_idx];
		longer = join(name, t.variant);
		free(name);
		name = longer;
	}
	t.full_name = name;
	t.seed = t.rand_state = case_seed(opt->seed, name);
	if (!matches(&t, list->suite, opt)) {
		free(name);
		return;
	}
	list->v = must(realloc(list->v, (list->nr + 1) * sizeof(*list->v)));
	list->v[list->nr++] = t;
}

static void add_variants(struct test_list *list, const struct test_case *tc,
			 const struct paging_mode *mode, const struct test_options *opt)
{
	unsigned int i;

	if (!tc->variants)
		add(list, tc, mode, 0, opt);
	else
		for (i = 0; tc->variants[i]; i++)
			add(list, tc, mode, i, opt);
}

void test_list_build(struct test_list *list, const struct test_options *opt)
{
	size_t nr = (size_t)(__stop_mmuscope_tests - __start_mmuscope_tests), i;
	const struct test_case **cases = must(calloc(nr + 1, sizeof(*cases)));
	int id, pass;

	if (nr)
		memcpy(cases, __start_mmuscope_tests, nr * sizeof(*cases));
	qsort(cases, nr, sizeof(*cases), by_line);
	*list = (struct test_list){.suite = nr ? suite_of(cases[0]->file) : must(strdup(""))};

	/* those that need the machine for themselves go last */
	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < nr; i++) {
			if (cases[i]->exclusive != pass)
				continue;
			if (!cases[i]->modes) {
				add_variants(list, cases[i], NULL, opt);
				continue;
			}
			for (id = 0; id < PM_COUNT; id++)
				if (cases[i]->modes & MODE(id))
					add_variants(list, cases[i], paging_mode(id), opt);
		}
	}
	free(cases);
}

const char *test_mmu_names(unsigned int mask, char *buf, size_t size)
{
	if (!mask)
		return "all";
	snprintf(buf, size, "%s%s%s", mask & MMU_TDP_MMU ? ",tdp-mmu" : "",
		 mask & MMU_TDP_LEGACY ? ",tdp-legacy" : "", mask & MMU_SHADOW ? ",shadow" : "");
	return buf + 1;
}

static void print_details(const struct test_case *tc)
{
	char kinds[64];
	size_t i;

	if (tc->what)
		printf("  what: %s\n", tc->what);
	for (i = 0; tc->fixes && tc->fixes[i]; i++)
		printf("  fixes: %s\n", tc->fixes[i]);
	printf("  meant-for: %s\n", test_mmu_names(tc->meant_for, kinds, sizeof(kinds)));
	if (tc->timeout)
		printf("  timeout: %u\n", tc->timeout);
	if (tc->exclusive)
		printf("  exclusive\n");
}

void test_list_print(const struct test_list *list, bool verbose)
{
	size_t i;

	for (i = 0; i < list->nr; i++) {
		puts(list->v[i].full_name);
		if (verbose)
			print_details(list->v[i].tc);
	}
}
