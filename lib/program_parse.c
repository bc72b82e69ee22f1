// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads programs from text that may be damaged or made to harm: every number is bounded, every
 * line is of limited length, and nothing is believed that is not spelled out in the tables of
 * lib/program.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define MAX_LINE  256
#define MAX_FILE  (16u << 20)
#define MAX_WORDS 12

struct parser {
	struct program *p;
	const char *name;
	u32 line;
	char *error;
	size_t error_size;
	char *word[MAX_WORDS];
	u32 nr_words, next;
};

static bool __attribute__((format(printf, 2, 3))) wrong(struct parser *c, const char *fmt, ...)
{
	size_t n = snprintf(c->error, c->error_size, "%s:%u: ", c->name, c->line);
	va_list ap;

	va_start(ap, fmt);
	if (n < c->error_size)
		vsnprintf(c->error + n, c->error_size - n, fmt, ap);
	va_end(ap);
	return false;
}

static const char *next_word(struct parser *c)
{
	return c->next < c->nr_words ? c->word[c->next++] : NULL;
}

/* Takes the next word if it is @word. */
static bool take(struct parser *c, const char *word)
{
	if (c->next >= c->nr_words || strcmp(c->word[c->next], word))
		return false;
	c->next++;
	return true;
}

static bool to_number(const char *text, u64 max, u64 *value)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 0);
	return !errno && !*end && *value <= max;
}

static bool get_number(struct parser *c, const char *what, u64 max, u64 *value)
{
	const char *w = next_word(c);

	if (!w)
		return wrong(c, "%s is missing: give a number from 0 to %#lx", what, max);
	if (!to_number(w, max, value))
		return wrong(c, "%s '%s': give a number from 0 to %#lx", what, w, max);
	return true;
}

/* "t3[2]" */
static bool get_location(struct parser *c, struct step *s)
{
	const char *w = next_word(c);
	unsigned int table, index;
	int end = 0;

	if (!w || strlen(w) > 8 || sscanf(w, "t%1u[%1u]%n", &table, &index, &end) != 2 || !end ||
	    w[end] || table >= PROGRAM_TABLES || index < 1 || index > PROGRAM_INDICES)
		return wrong(c, "entry '%s': give t0[1] to t%d[%d]", w ? w : "", PROGRAM_TABLES - 1,
			     PROGRAM_INDICES);
	s->table = table;
	s->index = index;
	return true;
}

static bool get_flags(struct parser *c, const char *w, const char *letters, struct entry_spec *e)
{
	const struct entry_flag *f;
	char key[2] = "";
	u64 k;

	for (; *letters; letters++) {
		if (*letters == 'k') {
			key[0] = letters[1];
			if (!key[0] || !strchr("0123456789abcdef", key[0]))
				return wrong(c, "'%s': k is followed by a key, 0 to f", w);
			k = strtoull(key, NULL, 16);
			e->bits |= PTE_PKEY(k);
			letters++;
			continue;
		}
		for (f = entry_flags; f->letter && f->letter != *letters; f++)
			;
		if (!f->letter)
			return wrong(c, "'%s': flag '%c' is none of pwutcadsgxromn and k0 to kf", w,
				     *letters >= ' ' && *letters <= '~' ? *letters : '?');
		e->bits |= f->bit;
	}
	return true;
}

/* "f3+pwu", or a number. */
static bool get_entry(struct parser *c, struct entry_spec *e)
{
	const char *w = next_word(c), *plus, *letter;
	char number[4] = "";
	u64 value;

	*e = (struct entry_spec){0};
	if (!w)
		return wrong(c, "an entry is missing: give one like f3+pwu, or a number");
	if (*w >= '0' && *w <= '9') {
		if (!to_number(w, ~0ull, &e->bits))
			return wrong(c, "'%s' is no number", w);
		return true;
	}
	plus = strchr(w, '+');
	letter = strchr(target_letters + 1, *w);
	if (!plus || !letter || plus == w + 1 || plus - w > 3)
		return wrong(
			c,
			"entry '%s': give a target like t3, f4, b1, g0, h0, r0, a2, l4 or m1, '+' and flags",
			w);
	memcpy(number, w + 1, plus - w - 1);
	e->target = letter - target_letters;
	if (!to_number(number, target_counts[e->target] - 1, &value))
		return wrong(c, "entry '%s': there are %c0 to %c%d", w, *w, *w,
			     target_counts[e->target] - 1);
	e->number = value;
	return get_flags(c, w, plus + 1, e);
}

/* "1.2.3.4" or, with @place, "1.2.3.4/c2"; with @any "*" may stand for all indices. */
static bool get_path(struct parser *c, struct step *s, bool place, bool any)
{
	const char *w = next_word(c), *at = w;
	int levels = c->p->mode->levels, i;

	if (!w)
		return wrong(c, "an address is missing: give %d indices, like 1.2", levels);
	for (i = 0; i < levels; i++) {
		if ((*at < '1' || *at > '0' + PROGRAM_INDICES) && !(any && *at == '*'))
			break;
		s->path[i] = *at == '*' ? 0 : *at - '0';
		at++;
		if (i + 1 < levels && *at++ != '.')
			break;
	}
	if (i < levels || *at != (place ? '/' : 0))
		return wrong(c, "address '%s': in mode %s give %d indices of 1 to %d%s", w,
			     c->p->mode->name, levels, PROGRAM_INDICES,
			     place ? " and a place, like 1.2/c1"
			     : any ? ", or * for all of them"
				   : "");
	if (!place)
		return true;
	for (i = 0; i < PLACES; i++) {
		if (!strcmp(at + 1, place_names[i])) {
			s->place = i;
			return true;
		}
	}
	return wrong(c, "address '%s': the place is one of c1 c2 c3 c4 data cross middle", w);
}

static bool get_operand(struct parser *c, struct step *s, char operand)
{
	const struct step_format *f = &step_formats[s->kind];
	u64 n;

	switch (operand) {
	case 'L':
		return get_location(c, s);
	case 'E':
		return get_entry(c, &s->entry);
	case 'G':
	case 'P':
	case 'W':
		return get_path(c, s, operand == 'G', operand == 'W');
	case 'A':
		if (take(c, "user"))
			s->flags |= STEP_USER;
		if (take(c, "ac"))
			s->flags |= STEP_AC;
		return true;
	case 'N':
		if (!get_number(c, f->name, f->max, &n))
			return false;
		s->number = n;
		return true;
	case 'V':
		return get_number(c, f->name, 0xffffffff, &s->value);
	case 'C':
		if (!take(c, "pcid"))
			return wrong(c, "%s: give \"pcid N\"", f->name);
		if (!get_number(c, "pcid", 3, &n))
			return false;
		s->pcid = n;
		return true;
	default:
		if (take(c, "noflush"))
			s->flags |= STEP_NOFLUSH;
		return true;
	}
}

static bool parse_step(struct parser *c)
{
	struct step s = {0};
	const char *who = next_word(c), *name = next_word(c);
	bool host = !strcmp(who, "host");
	u64 vcpu = 0;
	int kind;

	if (!host && (*who != 'v' || !to_number(who + 1, c->p->nr_vcpus - 1, &vcpu)))
		return wrong(c, "'%s': a step begins with \"host\" or with a vCPU, v0 to v%u", who,
			     c->p->nr_vcpus - 1);
	s.vcpu = vcpu;
	for (kind = host ? STEP_HOST : 0; kind < (host ? STEP_KINDS : STEP_HOST); kind++)
		if (name && !strcmp(name, step_formats[kind].name))
			break;
	if (kind == (host ? STEP_KINDS : STEP_HOST))
		return wrong(c, "'%s' is no step that %s can take", name ? name : "",
			     host ? "the host" : "a vCPU");
	s.kind = kind;
	for (const char *o = step_formats[kind].operands; *o; o++)
		if (!get_operand(c, &s, *o))
			return false;
	if (c->next < c->nr_words)
		return wrong(c, "'%s' is too much after \"%s\"", c->word[c->next], name);
	if (c->p->nr_steps == PROGRAM_MAX_STEPS)
		return wrong(c, "more than %d steps", PROGRAM_MAX_STEPS);
	program_add(c->p, s);
	return true;
}

static bool parse_mode(struct parser *c)
{
	const char *w = next_word(c);

	for (int i = 0; w && i < PM_NONE; i++) {
		if (!strcmp(w, paging_mode(i)->name)) {
			c->p->mode = paging_mode(i);
			return true;
		}
	}
	return wrong(c, "mode '%s': give la57, la48, pae or 32", w ? w : "");
}

/* "log ring", which may come between the header and the first step. */
static bool parse_log(struct parser *c)
{
	const char *w = next_word(c);

	for (int i = 0; w && i < LOG_KINDS; i++) {
		if (strcmp(w, log_names[i]))
			continue;
		c->p->log = i;
		return c->next == c->nr_words || wrong(c, "'%s' is too much", c->word[c->next]);
	}
	return wrong(c, "log '%s': give bitmap, manual, initially-set or ring", w ? w : "");
}

/* Header lines come first, in one order. */
static bool parse_header(struct parser *c, u32 number)
{
	static const char *const names[] = {"mmuscope-program", "mode", "vcpus", "backing"};
	const char *w;
	u64 n;

	if (!take(c, names[number]))
		return wrong(c, "'%s': line \"%s …\" is expected here", c->word[0], names[number]);
	switch (number) {
	case 0:
		if (!get_number(c, "version", ~0ull, &n))
			return false;
		if (n != PROGRAM_VERSION)
			return wrong(c, "version %lu: this is for version %d", n, PROGRAM_VERSION);
		break;
	case 1:
		if (!parse_mode(c))
			return false;
		break;
	case 2:
		if (!get_number(c, "vcpus", PROGRAM_VCPUS, &n))
			return false;
		if (!n)
			return wrong(c, "vcpus 0: give a number from 1 to %d", PROGRAM_VCPUS);
		c->p->nr_vcpus = n;
		break;
	case 3:
		w = next_word(c);
		if (!w || (strcmp(w, "anon") && strcmp(w, "thp")))
			return wrong(c, "backing '%s': give anon or thp", w ? w : "");
		c->p->backing = strcmp(w, "thp") ? MEM_ANON : MEM_THP;
		break;
	}
	if (c->next < c->nr_words)
		return wrong(c, "'%s' is too much", c->word[c->next]);
	return true;
}

static bool split(struct parser *c, char *line)
{
	char *save = NULL, *w;

	c->nr_words = c->next = 0;
	line[strcspn(line, "#")] = 0;
	for (w = strtok_r(line, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
		if (c->nr_words == MAX_WORDS)
			return wrong(c, "more than %d words", MAX_WORDS);
		c->word[c->nr_words++] = w;
	}
	return true;
}

static bool parse_lines(struct parser *c, const char *text, size_t len)
{
	char line[MAX_LINE];
	u32 header = 0;

	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		c->line++;
		if (n >= sizeof(line))
			return wrong(c, "the line has %zu bytes: at most %d", n, MAX_LINE - 1);
		if (memchr(text, 0, n))
			return wrong(c, "a zero byte: this is no text");
		memcpy(line, text, n);
		line[n] = 0;
		text += end ? n + 1 : n;
		len -= end ? n + 1 : n;
		if (!split(c, line))
			return false;
		if (!c->nr_words)
			continue;
		if (header == 4 && !c->p->nr_steps && take(c, "log")) {
			if (!parse_log(c))
				return false;
			continue;
		}
		if (header < 4 ? !parse_header(c, header++) : !parse_step(c))
			return false;
	}
	if (header < 4)
		return wrong(
			c,
			"the text ends before its header is complete: mmuscope-program, mode, vcpus, backing");
	return true;
}

bool program_parse(struct program *p, const char *name, const char *text, size_t len, char *error,
		   size_t error_size)
{
	struct parser c = {.p = p, .name = name, .error = error, .error_size = error_size};

	program_init(p, paging_mode(PM_LA48));
	if (len > MAX_FILE)
		return wrong(&c, "%zu bytes: at most %u", len, MAX_FILE);
	if (parse_lines(&c, text, len))
		return true;
	program_free(p);
	return false;
}

bool program_read(struct program *p, const char *path, char *error, size_t error_size)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t len = 0, room = 0, n;
	bool ok;

	program_init(p, paging_mode(PM_LA48));
	if (!f) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return false;
	}
	do {
		if (len == room) {
			room = room ? room * 2 : 4096;
			text = realloc(text, room);
			if (!text)
				abort();
		}
		n = fread(text + len, 1, room - len, f);
		len += n;
	} while (n && len <= MAX_FILE);
	if (ferror(f)) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		ok = false;
	} else {
		ok = program_parse(p, path, text, len, error, error_size);
	}
	fclose(f);
	free(text);
	return ok;
}
