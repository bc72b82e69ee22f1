// SPDX-License-Identifier: GPL-2.0-only
/*
 * KTAP lines: reading and writing them. The parser takes one line at a time and
 * never fails: what it doesn't know is KTAP_UNKNOWN, which is what the noise of
 * a dying program or a kernel console looks like.
 */
#include "lib/ktap.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *const directive_names[] = {
	[KTAP_SKIP] = "SKIP",	    [KTAP_XFAIL] = "XFAIL", [KTAP_TODO] = "TODO",
	[KTAP_TIMEOUT] = "TIMEOUT", [KTAP_ERROR] = "ERROR",
};
#define NR_DIRECTIVES (sizeof(directive_names) / sizeof(directive_names[0]))

const char *ktap_directive_name(enum ktap_directive d)
{
	return d < NR_DIRECTIVES ? directive_names[d] : NULL;
}

/* A byte that would move a cursor, end a line or hide: not for names or reasons. */
static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static void copy_text(char *dst, size_t size, const char *s, size_t len)
{
	size_t i;

	while (len && isspace((unsigned char)*s)) {
		s++;
		len--;
	}
	while (len && isspace((unsigned char)s[len - 1]))
		len--;
	for (i = 0; i < len && i < size - 1; i++)
		dst[i] = s[i] == '\t' ? ' ' : is_control(s[i]) ? '?' : s[i];
	dst[i] = '\0';
}

/* Decimal digits at the start of s; their number, or 0 when none or too large. */
static size_t parse_number(const char *s, size_t len, unsigned long *value)
{
	size_t i;

	*value = 0;
	for (i = 0; i < len && isdigit((unsigned char)s[i]); i++) {
		if (*value > 1000000000ul)
			return 0;
		*value = *value * 10 + (unsigned long)(s[i] - '0');
	}
	return i;
}

static bool has_prefix(const char *s, size_t len, const char *prefix, size_t *skip)
{
	*skip = strlen(prefix);
	return len >= *skip && !memcmp(s, prefix, *skip);
}

/* "[- ]name[ # DIRECTIVE reason]", what follows the number. */
static void parse_description(const char *s, size_t len, struct ktap_line *out)
{
	size_t i, name_len = len, word;
	const char *rest;
	unsigned int d;

	if (len >= 2 && s[0] == '-' && s[1] == ' ') {
		s += 2;
		len -= 2;
		name_len = len;
	}
	for (i = 0; i + 1 < len; i++) {
		if (s[i] == '#' && s[i + 1] == ' ' && (i == 0 || s[i - 1] == ' ')) {
			name_len = i;
			break;
		}
	}
	copy_text(out->name, sizeof(out->name), s, name_len);
	if (name_len == len)
		return;

	rest = s + name_len + 2;
	len -= name_len + 2;
	for (word = 0; word < len && isalpha((unsigned char)rest[word]); word++)
		;
	for (d = KTAP_SKIP; d < NR_DIRECTIVES; d++) {
		if (word == strlen(directive_names[d]) &&
		    !strncasecmp(rest, directive_names[d], word)) {
			out->directive = d;
			rest += word;
			len -= word;
			break;
		}
	}
	copy_text(out->text, sizeof(out->text), rest, len);
}

static enum ktap_type parse_result(const char *s, size_t len, struct ktap_line *out)
{
	size_t n;

	while (len && *s == ' ') {
		s++;
		len--;
	}
	n = parse_number(s, len, &out->number);
	if (n && (n == len || s[n] == ' ')) {
		s += n;
		len -= n;
	} else {
		out->number = 0;
	}
	while (len && *s == ' ') {
		s++;
		len--;
	}
	parse_description(s, len, out);
	return KTAP_RESULT;
}

static enum ktap_type parse_comment(const char *s, size_t len, struct ktap_line *out)
{
	size_t n;

	if (has_prefix(s, len, " start: ", &n)) {
		copy_text(out->name, sizeof(out->name), s + n, len - n);
		return KTAP_START;
	}
	if (has_prefix(s, len, " Subtest: ", &n)) {
		copy_text(out->name, sizeof(out->name), s + n, len - n);
		return KTAP_SUBTEST;
	}
	if (has_prefix(s, len, " @", &n) && len > n && isalpha((unsigned char)s[n])) {
		size_t end = n;

		while (end < len && !isspace((unsigned char)s[end]))
			end++;
		copy_text(out->name, sizeof(out->name), s + n, end - n);
		copy_text(out->text, sizeof(out->text), s + end, len - end);
		return KTAP_FACT;
	}
	/* Only one space belongs to the marker: the rest is the text's indent. */
	if (len && *s == ' ') {
		s++;
		len--;
	}
	for (n = 0; n < len && s[n] == ' ' && n < sizeof(out->text) - 1; n++)
		out->text[n] = ' ';
	copy_text(out->text + n, sizeof(out->text) - n, s + n, len - n);
	return KTAP_DIAG;
}

enum ktap_type ktap_parse_line(const char *line, struct ktap_line *out)
{
	size_t len = strcspn(line, "\r\n"), n;
	unsigned long value;

	out->type = KTAP_UNKNOWN;
	out->ok = false;
	out->number = 0;
	out->directive = KTAP_NONE;
	out->name[0] = out->text[0] = '\0';

	n = strspn(line, " ");
	if (n > len)
		n = len;
	out->level = n / 2;
	line += n;
	len -= n;

	if (has_prefix(line, len, "#", &n)) {
		out->type = parse_comment(line + n, len - n, out);
	} else if (has_prefix(line, len, "ok", &n) && (len == n || line[n] == ' ')) {
		out->ok = true;
		out->type = parse_result(line + n, len - n, out);
	} else if (has_prefix(line, len, "not ok", &n) && (len == n || line[n] == ' ')) {
		out->type = parse_result(line + n, len - n, out);
	} else if (has_prefix(line, len, "1..", &n)) {
		size_t digits = parse_number(line + n, len - n, &value);

		/* "1..0 # SKIP reason" is how a whole file skips in plain TAP */
		if (digits && (n + digits == len || line[n + digits] == ' ')) {
			out->number = value;
			out->type = KTAP_PLAN;
		}
	} else if (has_prefix(line, len, "KTAP version ", &n) ||
		   has_prefix(line, len, "TAP version ", &n)) {
		if (parse_number(line + n, len - n, &value) == len - n && len > n) {
			out->number = value;
			out->type = KTAP_VERSION;
		}
	} else if (has_prefix(line, len, "Bail out!", &n)) {
		copy_text(out->text, sizeof(out->text), line + n, len - n);
		out->type = KTAP_BAIL;
	}
	return out->type;
}

void ktap_split_end(struct ktap_splitter *s, void (*fn)(const char *line, void *arg), void *arg)
{
	if (!s->len)
		return;
	s->buf[s->len] = '\0';
	s->len = 0;
	fn(s->buf, arg);
}

void ktap_split(struct ktap_splitter *s, const char *data, size_t len,
		void (*fn)(const char *line, void *arg), void *arg)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (data[i] == '\n' || s->len == sizeof(s->buf) - 1) {
			s->buf[s->len] = '\0';
			s->len = 0;
			fn(s->buf, arg);
		}
		if (data[i] != '\n')
			s->buf[s->len++] = data[i] ? data[i] : '?';
	}
}

/* --- writer -------------------------------------------------------------- */

struct ktap ktap_stdout(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	return (struct ktap){.fd = STDOUT_FILENO};
}

static void write_all(struct ktap *k, const char *buf, size_t len)
{
	while (len && !k->gone) {
		ssize_t n = write(k->fd, buf, len);

		if (n >= 0) {
			buf += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd pfd = {.fd = k->fd, .events = POLLOUT};

			poll(&pfd, 1, -1);
		} else if (errno != EINTR) {
			k->gone = true;
		}
	}
}

/* Indent, prefix, len bytes of text and a newline, in one write. */
static void put_line(struct ktap *k, const char *prefix, const char *text, size_t len)
{
	char small[1024], *buf = small;
	size_t size = 2 * k->level + strlen(prefix) + len + 1, pos;

	if (size > sizeof(small)) {
		buf = malloc(size);
		if (!buf) {
			k->gone = true;
			return;
		}
	}
	memset(buf, ' ', 2 * k->level);
	pos = 2 * k->level;
	memcpy(buf + pos, prefix, strlen(prefix));
	pos += strlen(prefix);
	memcpy(buf + pos, text, len);
	buf[pos + len] = '\n';
	write_all(k, buf, size);
	if (buf != small)
		free(buf);
}

void ktap_raw(struct ktap *k, const char *line)
{
	put_line(k, "", line, strlen(line));
}

void ktap_version(struct ktap *k)
{
	ktap_raw(k, "KTAP version 1");
}

void ktap_plan(struct ktap *k, unsigned long n)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "1..%lu", n);
	ktap_raw(k, buf);
}

static void put_clean(struct ktap *k, const char *prefix, const char *text)
{
	char buf[KTAP_NAME_MAX + KTAP_TEXT_MAX];
	size_t i;

	for (i = 0; text[i] && i < sizeof(buf); i++)
		buf[i] = is_control(text[i]) ? ' ' : text[i];
	put_line(k, prefix, buf, i);
}

void ktap_subtest(struct ktap *k, const char *name)
{
	put_clean(k, "# Subtest: ", name);
}

void ktap_start(struct ktap *k, const char *name)
{
	put_clean(k, "# start: ", name);
}

void ktap_result(struct ktap *k, bool ok, unsigned long number, const char *name,
		 enum ktap_directive directive, const char *reason)
{
	const char *word = ktap_directive_name(directive);
	char buf[KTAP_NAME_MAX + KTAP_TEXT_MAX];
	char prefix[48];

	snprintf(prefix, sizeof(prefix), "%s %lu ", ok ? "ok" : "not ok", number);
	snprintf(buf, sizeof(buf), "%.*s%s%s%s%.*s", KTAP_NAME_MAX - 1, name, word ? " # " : "",
		 word ? word : "", word && reason && *reason ? " " : "", KTAP_TEXT_MAX - 32,
		 word && reason ? reason : "");
	put_clean(k, prefix, buf);
}

void ktap_fact(struct ktap *k, const char *key, const char *fmt, ...)
{
	char value[KTAP_TEXT_MAX], buf[KTAP_NAME_MAX + KTAP_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	snprintf(buf, sizeof(buf), "%.*s %s", KTAP_NAME_MAX - 1, key, value);
	put_clean(k, "# @", buf);
}

void ktap_diag(struct ktap *k, const char *fmt, ...)
{
	char *text, *line, *next;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (*line || next)
			put_line(k, "# ", line, strlen(line));
		if (next && !*next)
			break;
	}
	free(text);
}

void ktap_quote(struct ktap *k, const char *line, size_t len)
{
	static const char *const reserved[] = {"start:", "Subtest:"};
	const char *prefix = "# ";
	char *buf = malloc(4 * len + 1);
	size_t i, pos = 0, n;

	if (!buf)
		return;
	for (i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (has_prefix(line, len, reserved[i], &n))
			prefix = "#  ";
	for (i = 0; i < len; i++) {
		if (is_control(line[i]) && line[i] != '\t')
			pos += (size_t)sprintf(buf + pos, "\\x%02x", (unsigned char)line[i]);
		else
			buf[pos++] = line[i];
	}
	put_line(k, prefix, buf, pos);
	free(buf);
}
