/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KTAP version 1 as test binaries, mmusuite and mmurun speak it: a
 * line writer that nests by indent, and a parser of single lines that copes with
 * any bytes whatever. Beyond plain KTAP the dialect has
 *
 *	# start: NAME		before a case runs
 *	# @key value		a fact, for machines
 *
 * and the directives XFAIL, TIMEOUT and ERROR besides SKIP.
 */
#ifndef LIB_KTAP_H
#define LIB_KTAP_H

#include <stdbool.h>
#include <stddef.h>

/* --- parser -------------------------------------------------------------- */

#define KTAP_NAME_MAX 256
#define KTAP_TEXT_MAX 1024

enum ktap_type {
	KTAP_UNKNOWN, /* not KTAP: garbage, console noise, an empty line */
	KTAP_VERSION, /* "KTAP version 1" ("TAP version 13" as well); number */
	KTAP_PLAN,    /* "1..N"; number is N */
	KTAP_RESULT,  /* "ok"/"not ok"; ok, number, name, directive, text (the reason) */
	KTAP_START,   /* "# start: NAME"; name */
	KTAP_SUBTEST, /* "# Subtest: NAME"; name */
	KTAP_FACT,    /* "# @key value"; name (the key), text (the value) */
	KTAP_DIAG,    /* any other "# …"; text */
	KTAP_BAIL,    /* "Bail out!"; text */
};

enum ktap_directive {
	KTAP_NONE,
	KTAP_SKIP,
	KTAP_XFAIL,
	KTAP_TODO,
	KTAP_TIMEOUT,
	KTAP_ERROR,
};

struct ktap_line {
	enum ktap_type type;
	unsigned int level; /* nesting: leading spaces / 2 */
	bool ok;
	unsigned long number; /* 0 when the line has none */
	enum ktap_directive directive;
	char name[KTAP_NAME_MAX]; /* truncated when longer; control characters are '?' */
	char text[KTAP_TEXT_MAX]; /* likewise */
};

/*
 * Parse one line (NUL-terminated, with or without its newline; nothing behind a
 * newline is looked at). Every field of *out is set. Returns out->type.
 */
enum ktap_type ktap_parse_line(const char *line, struct ktap_line *out);

/* "SKIP", "XFAIL" …; NULL for KTAP_NONE. */
const char *ktap_directive_name(enum ktap_directive d);

/*
 * Splits a stream into lines for the parser. Zero-initialise; feed it whatever
 * read(2) gave. fn is called with each line, without its newline, NUL-terminated;
 * NUL bytes become '?', lines of more than about 4000 bytes are cut into several.
 */
struct ktap_splitter {
	size_t len;
	char buf[4096];
};
void ktap_split(struct ktap_splitter *s, const char *data, size_t len,
		void (*fn)(const char *line, void *arg), void *arg);
/* Deliver what is left when the stream ended without a newline. */
void ktap_split_end(struct ktap_splitter *s, void (*fn)(const char *line, void *arg), void *arg);

/* --- writer -------------------------------------------------------------- */

/*
 * Every line leaves by one write(2), so that it survives whatever happens next
 * and never mixes with another writer's. Line breaks and control characters in
 * names and reasons become spaces.
 */
struct ktap {
	int fd;
	unsigned int level; /* nesting, two spaces each */
	bool gone;	    /* the reader is gone: a write failed; nothing more is written */
};

/*
 * A writer on stdout. Those of descriptors 0 to 2 that are closed become /dev/null
 * first, so that nothing that is opened later takes their places.
 */
struct ktap ktap_stdout(void);

void ktap_version(struct ktap *k);
void ktap_plan(struct ktap *k, unsigned long n);
void ktap_subtest(struct ktap *k, const char *name);
void ktap_start(struct ktap *k, const char *name);
/* reason may be NULL or empty. */
void ktap_result(struct ktap *k, bool ok, unsigned long number, const char *name,
		 enum ktap_directive directive, const char *reason);
void ktap_fact(struct ktap *k, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* One or several lines of diagnostics; each gets its "# ". */
void ktap_diag(struct ktap *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * One line of foreign output as a diagnostic. Bytes that are not text are shown
 * escaped, and a line that would read as "# start:" or the like is set off by one more space.
 */
void ktap_quote(struct ktap *k, const char *line, size_t len);
/* A line as it is, indented to the level of k: for passing on what was parsed. */
void ktap_raw(struct ktap *k, const char *line);

#endif /* LIB_KTAP_H */
