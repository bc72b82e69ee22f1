// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delta debugging of programs. A candidate is kept when it still fails; each is run afresh by
 * whoever asks.
 */
#include <string.h>

#include "random_program.h"

#define MAX_PAIRS 32 /* steps, of which all pairs are tried */

struct shrink {
	struct program *best;
	bool (*fails)(void *arg, const struct program *p);
	void *arg;
	u32 tries, max;
};

/* Takes @p over as the best one if it still fails. */
static bool attempt(struct shrink *s, const struct program *p)
{
	if (s->tries >= s->max)
		return false;
	s->tries++;
	if (!s->fails(s->arg, p))
		return false;
	program_copy(s->best, p);
	return true;
}

/* Without steps [@from, @from + @n). */
static bool without(struct shrink *s, u32 from, u32 n)
{
	struct program p = {0};
	bool kept;

	program_copy(&p, s->best);
	memmove(&p.steps[from], &p.steps[from + n], (p.nr_steps - from - n) * sizeof(*p.steps));
	p.nr_steps -= n;
	kept = attempt(s, &p);
	program_free(&p);
	return kept;
}

/* From the end, since what comes late is most often not needed. */
static bool drop_chunks(struct shrink *s, u32 n)
{
	bool any = false;
	u32 end = s->best->nr_steps;

	while (end && s->tries < s->max) {
		u32 from = end > n ? end - n : 0;

		if (from + 1 <= s->best->nr_steps && end <= s->best->nr_steps &&
		    without(s, from, end - from))
			any = true;
		end = from;
	}
	return any;
}

static void drop_steps(struct shrink *s)
{
	u32 n;
	bool again;

	for (n = s->best->nr_steps / 2; n > 1; n /= 2)
		drop_chunks(s, n);
	do
		again = drop_chunks(s, 1);
	while (again && s->tries < s->max);
}

/* Tries step @i as @with; the program is told whether it may stay. */
static bool replace(struct shrink *s, u32 i, struct step with)
{
	struct program p = {0};
	bool kept;

	if (!memcmp(&with, &s->best->steps[i], sizeof(with)))
		return false;
	program_copy(&p, s->best);
	p.steps[i] = with;
	kept = attempt(s, &p);
	program_free(&p);
	return kept;
}

static void simplify_entry(struct shrink *s, u32 i)
{
	static const u64 often[] = {PTE_D,   PTE_G,  PTE_PCD, PTE_PWT,	    BIT(12), BIT(13),
				    BIT(51), PTE_NX, PTE_A,   PTE_PKEY(15), PTE_PS};
	static const u64 wanted[] = {PTE_U, PTE_W};
	struct step with;
	u32 k;

	for (k = 0; k < ARRAY_LEN(often); k++) {
		with = s->best->steps[i];
		with.entry.bits &= ~often[k];
		replace(s, i, with);
	}
	for (k = 0; k < ARRAY_LEN(wanted); k++) {
		with = s->best->steps[i];
		if (with.entry.target == TARGET_RAW)
			continue;
		with.entry.bits |= wanted[k];
		replace(s, i, with);
	}
}

static void simplify_step(struct shrink *s, u32 i)
{
	struct step with = s->best->steps[i];
	u32 flag;

	if (with.vcpu) {
		with.vcpu = 0;
		replace(s, i, with);
	}
	for (flag = STEP_USER; flag <= STEP_NOFLUSH; flag <<= 1) {
		with = s->best->steps[i];
		with.flags &= ~flag;
		replace(s, i, with);
	}
	with = s->best->steps[i];
	if (step_is_access(&with) && with.kind != STEP_READ) {
		with.kind =
			with.kind == STEP_EXEC || with.kind == STEP_WRITE ? STEP_READ : STEP_WRITE;
		replace(s, i, with);
	}
	with = s->best->steps[i];
	if (with.kind != STEP_EXEC && step_is_access(&with) && with.place != PLACE_DATA) {
		with.place = PLACE_DATA;
		replace(s, i, with);
	}
	if (strchr(step_formats[s->best->steps[i].kind].operands, 'E'))
		simplify_entry(s, i);
}

static void simplify_header(struct shrink *s)
{
	struct program p = {0};
	u32 i, most = 0;

	for (i = 0; i < s->best->nr_steps; i++)
		if (s->best->steps[i].vcpu > most)
			most = s->best->steps[i].vcpu;
	program_copy(&p, s->best);
	if (p.nr_vcpus != most + 1) {
		p.nr_vcpus = most + 1;
		attempt(s, &p);
	}
	if (p.backing != MEM_ANON) {
		p.backing = MEM_ANON;
		attempt(s, &p);
	}
	if (s->best->log != LOG_BITMAP) {
		program_copy(&p, s->best);
		p.log = LOG_BITMAP;
		attempt(s, &p);
	}
	program_free(&p);
}

/* All steps of one vCPU by another one. */
static void merge_vcpus(struct shrink *s)
{
	struct program p = {0};

	for (u32 from = s->best->nr_vcpus - 1; from > 0; from--) {
		for (u32 to = 0; to < from; to++) {
			program_copy(&p, s->best);
			for (u32 i = 0; i < p.nr_steps; i++)
				if (p.steps[i].vcpu == from)
					p.steps[i].vcpu = to;
			if (attempt(s, &p))
				break;
		}
	}
	program_free(&p);
}

/*
 * An entry set becomes one that is mapped with all its tables, for an address that is used later: the steps that made the
 * tables may then be left out.
 */
static void merge_sets(struct shrink *s, u32 i)
{
	for (u32 k = i + 1; k < s->best->nr_steps && s->best->steps[i].kind == STEP_SET; k++) {
		const struct step *use = &s->best->steps[k];
		struct step with = {
			.kind = STEP_MAP, .vcpu = use->vcpu, .entry = s->best->steps[i].entry};

		if (!step_is_access(use))
			continue;
		memcpy(with.path, use->path, sizeof(with.path));
		replace(s, i, with);
	}
}

/* Steps that are of no use without each other. */
static bool drop_pairs(struct shrink *s)
{
	struct program p = {0};
	bool any = false;

	for (u32 i = 0; i + 1 < s->best->nr_steps && s->best->nr_steps <= MAX_PAIRS; i++) {
		for (u32 k = i + 1; k < s->best->nr_steps; k++) {
			u32 n = 0;

			program_copy(&p, s->best);
			for (u32 j = 0; j < p.nr_steps; j++)
				if (j != i && j != k)
					p.steps[n++] = p.steps[j];
			p.nr_steps = n;
			any |= attempt(s, &p);
		}
	}
	program_free(&p);
	return any;
}

u32 program_shrink(struct program *p, bool (*fails)(void *arg, const struct program *p), void *arg,
		   u32 tries)
{
	struct shrink s = {.best = p, .fails = fails, .arg = arg, .max = tries};
	u32 before, i;
	bool again;

	do {
		before = p->nr_steps;
		drop_steps(&s);
		merge_vcpus(&s);
		for (i = p->nr_steps; i-- > 0;)
			merge_sets(&s, i);
		drop_steps(&s);
		for (i = 0; i < p->nr_steps; i++)
			simplify_step(&s, i);
		simplify_header(&s);
		again = drop_pairs(&s);
	} while ((again || p->nr_steps < before) && s.tries < s.max);
	return s.tries;
}
