// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delta debugging of programs. A candidate is kept when it still fails; each is run afresh by
 * whoever asks.
 */
#include <string.h>

#include "shrink_priv.h"

#define MAX_PAIRS   32 /* steps, of which all pairs are tried */
#define MAX_TRIPLES 16
#define SHORT	    12 /* steps; what stays longer is tried from the other end, too */
#define ORDERS	    40 /* other orders of a race that are tried when one step is dropped */
#define FEW_ORDERS  4  /* … when several are */

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

bool shrink_attempt(struct shrink *s, struct program *p)
{
	struct step *race = NULL;
	u32 orders = p->nr_steps + 1 == s->best->nr_steps ? ORDERS : FEW_ORDERS;
	u64 order;

	if (attempt(s, p))
		return true;
	/* With a step less, who comes when is another matter. */
	for (u32 i = 0; i < p->nr_steps && p->nr_steps <= MAX_PAIRS; i++)
		if (p->steps[i].kind == STEP_TOGETHER)
			race = &p->steps[i];
	if (!race || p->nr_steps >= s->best->nr_steps)
		return false;
	order = race->value;
	for (u32 i = 0; i < orders; i++) {
		race->value = (order + 1 + i) * 0x9e37 & 0xffff;
		if (attempt(s, p))
			return true;
	}
	race->value = order;
	return false;
}

void shrink_drop(struct program *p, u32 from, u32 n)
{
	for (u32 i = from + n; i < p->nr_steps; i++) {
		struct step *s = &p->steps[i];
		u32 first = i > s->number ? i - s->number : 0, end = from + n;

		/* What is repeated is what is left of it. */
		if (s->kind == STEP_AGAIN && end > first)
			s->number -= end - (first > from ? first : from);
	}
	memmove(&p->steps[from], &p->steps[from + n], (p->nr_steps - from - n) * sizeof(*p->steps));
	p->nr_steps -= n;
}

/* Without steps [@from, @from + @n). */
static bool without(struct shrink *s, u32 from, u32 n)
{
	struct program p = {0};
	bool kept;

	program_copy(&p, s->best);
	shrink_drop(&p, from, n);
	kept = shrink_attempt(s, &p);
	program_free(&p);
	return kept;
}

/* From the end, since what comes late is most often not needed; or from the beginning. */
static bool drop_chunks(struct shrink *s, u32 n)
{
	bool any = false, kept;
	u32 end = s->best->nr_steps, from;

	for (from = 0; s->forward && from < s->best->nr_steps && s->tries < s->max;
	     from += kept ? 0 : n) {
		u32 left = s->best->nr_steps - from;

		kept = without(s, from, left < n ? left : n);
		any |= kept;
	}
	while (!s->forward && end && s->tries < s->max) {
		from = end > n ? end - n : 0;
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

bool shrink_replace(struct shrink *s, u32 i, struct step with)
{
	struct program p = {0};
	bool kept;

	if (!memcmp(&with, &s->best->steps[i], sizeof(with)))
		return false;
	program_copy(&p, s->best);
	p.steps[i] = with;
	kept = shrink_attempt(s, &p);
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
		shrink_replace(s, i, with);
	}
	for (k = 0; k < ARRAY_LEN(wanted); k++) {
		with = s->best->steps[i];
		if (with.entry.target == TARGET_RAW)
			continue;
		with.entry.bits |= wanted[k];
		shrink_replace(s, i, with);
	}
}

/* One step where many were, or fewer times. */
static void simplify_many(struct shrink *s, u32 i)
{
	struct step with = s->best->steps[i];

	if (step_has_parts(&with) && step_part(s->best, &s->best->steps[i], 0, &with))
		shrink_replace(s, i, with);
	for (with = s->best->steps[i]; with.kind == STEP_AGAIN && with.value > 1;) {
		with.value /= 2;
		if (!shrink_replace(s, i, with))
			break;
	}
	for (u32 k = 0; k < PAGING_MAX_LEVEL; k++) {
		with = s->best->steps[i];
		if (with.kind != STEP_READ_ALL || with.path[k] || (int)k >= s->best->mode->levels)
			continue;
		with.path[k] = 1;
		shrink_replace(s, i, with);
	}
}

static void simplify_step(struct shrink *s, u32 i)
{
	struct step with = s->best->steps[i];
	u32 flag;

	if (with.vcpu) {
		with.vcpu = 0;
		shrink_replace(s, i, with);
	}
	for (flag = STEP_USER; flag <= STEP_NOFLUSH; flag <<= 1) {
		with = s->best->steps[i];
		with.flags &= ~flag;
		shrink_replace(s, i, with);
	}
	with = s->best->steps[i];
	if (step_is_access(&with) && with.kind != STEP_READ) {
		with.kind =
			with.kind == STEP_EXEC || with.kind == STEP_WRITE ? STEP_READ : STEP_WRITE;
		shrink_replace(s, i, with);
	}
	with = s->best->steps[i];
	if (with.kind != STEP_EXEC && step_is_access(&with) && with.place != PLACE_DATA) {
		with.place = PLACE_DATA;
		shrink_replace(s, i, with);
	}
	if (strchr(step_formats[s->best->steps[i].kind].operands, 'E'))
		simplify_entry(s, i);
	simplify_many(s, i);
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
		shrink_attempt(s, &p);
	}
	if (p.backing != MEM_ANON) {
		p.backing = MEM_ANON;
		shrink_attempt(s, &p);
	}
	if (s->best->log != LOG_BITMAP) {
		program_copy(&p, s->best);
		p.log = LOG_BITMAP;
		shrink_attempt(s, &p);
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
			if (shrink_attempt(s, &p))
				break;
		}
	}
	program_free(&p);
}

/* Steps that are of no use without each other: @n of them, 2 or 3. */
static bool drop_tuples(struct shrink *s, u32 n, u32 most)
{
	struct program p = {0};
	bool any = false;

	if (s->best->nr_steps > most)
		return false;
	for (u32 i = 0; i + 1 < s->best->nr_steps; i++) {
		for (u32 k = i + 1; k < s->best->nr_steps; k++) {
			for (u32 j = k + 1; n == 3 ? j < s->best->nr_steps : j == k + 1; j++) {
				program_copy(&p, s->best);
				if (n == 3)
					shrink_drop(&p, j, 1);
				if (k < p.nr_steps)
					shrink_drop(&p, k, 1);
				shrink_drop(&p, i, 1);
				any |= shrink_attempt(s, &p);
			}
		}
	}
	program_free(&p);
	return any;
}

/* Until nothing goes any more. */
static void shrink(struct shrink *s)
{
	u32 before, i;
	bool again;

	do {
		before = s->best->nr_steps;
		drop_steps(s);
		merge_vcpus(s);
		shrink_by_maps(s);
		drop_steps(s);
		shrink_by_addresses(s);
		shrink_by_parts(s);
		for (i = 0; i < s->best->nr_steps; i++)
			simplify_step(s, i);
		simplify_header(s);
		drop_steps(s);
		again = drop_tuples(s, 2, MAX_PAIRS);
		if (!again && s->best->nr_steps == before)
			again = drop_tuples(s, 3, MAX_TRIPLES);
	} while ((again || s->best->nr_steps < before) && s->tries < s->max);
}

u32 program_shrink(struct program *p, bool (*fails)(void *arg, const struct program *p), void *arg,
		   u32 tries)
{
	struct program other = {0};
	struct shrink s = {.best = p, .fails = fails, .arg = arg, .max = tries};

	program_copy(&other, p);
	shrink(&s);
	if (p->nr_steps > SHORT) {
		s.best = &other;
		s.forward = true;
		shrink(&s);
		if (other.nr_steps < p->nr_steps)
			program_copy(p, &other);
	}
	program_free(&other);
	return s.tries;
}
