// SPDX-License-Identifier: GPL-2.0-only
/*
 * Following mmusuite's KTAP: lines are passed on one level deeper, results become
 * verdicts, and a stream that breaks off is completed, so that what is passed on is
 * whole whatever happened to the machine it came from.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/mmurun/run.h"

void stream_open(struct stream *s, struct run *run)
{
	char *path = format("%s/results.ktap", run->dir);

	*s = (struct stream){.run = run, .last = now(), .meant_here = true};
	s->raw = fopen(path, "we");
	if (!s->raw)
		complain("%s: %m", path);
	free(path);
}

static void add_text(struct stream *s, const char *line)
{
	size_t len = strlen(line);

	if (s->text_len + len + 2 > s->text_room) {
		s->text_room = 2 * (s->text_len + len + 2);
		s->text = realloc(s->text, s->text_room);
		if (!s->text)
			abort();
	}
	s->text_len += sprintf(s->text + s->text_len, "%s\n", line);
}

static void clear_text(struct stream *s)
{
	s->text_len = 0;
	if (s->text)
		*s->text = '\0';
}

static void case_started(struct stream *s, const struct ktap_line *line)
{
	size_t n = s->nr_running + 1;

	s->running = realloc(s->running, n * sizeof(*s->running));
	s->running_level = realloc(s->running_level, n * sizeof(*s->running_level));
	if (!s->running || !s->running_level)
		abort();
	s->running[s->nr_running] = strdup(line->name);
	s->running_level[s->nr_running++] = line->level;
	report_started(s->run->report, line->name);
}

/* Forget that it runs; false when it did not. */
static bool case_ended(struct stream *s, const char *name)
{
	for (size_t i = 0; i < s->nr_running; i++) {
		if (strcmp(s->running[i], name))
			continue;
		free(s->running[i]);
		s->nr_running--;
		for (; i < s->nr_running; i++) {
			s->running[i] = s->running[i + 1];
			s->running_level[i] = s->running_level[i + 1];
		}
		return true;
	}
	return false;
}

static enum verdict verdict_of(const struct ktap_line *line)
{
	switch (line->directive) {
	case KTAP_SKIP:
		return VERDICT_SKIP;
	case KTAP_XFAIL:
	case KTAP_TODO:
		return VERDICT_XFAIL;
	case KTAP_TIMEOUT:
		return VERDICT_TIMEOUT;
	case KTAP_ERROR:
		return VERDICT_ERROR;
	default:
		return line->ok ? VERDICT_PASS : VERDICT_FAIL;
	}
}

static void count(struct stream *s, enum verdict verdict, const char *name, const char *reason)
{
	char *rerun = verdict >= VERDICT_FAIL ? rerun_command(s->run, name) : NULL;

	if (verdict == VERDICT_PASS || verdict >= VERDICT_FAIL || verdict == VERDICT_XFAIL)
		s->ran++;
	if (verdict >= VERDICT_FAIL)
		s->failures++;
	/* a case for another kind of MMU skips here by design */
	if (verdict != VERDICT_SKIP || s->meant_here)
		s->meant++;
	if (verdict == VERDICT_SKIP && s->meant_here)
		s->meant_skipped++;
	s->meant_here = true;
	report_case(s->run->report, verdict, name, reason, s->text, rerun);
	free(rerun);
}

static void result(struct stream *s, const struct ktap_line *line)
{
	unsigned int level = line->level;
	bool leaf = case_ended(s, line->name) || !s->nr[level + 1];
	bool failed = !line->ok;

	/* a parent's line repeats what its children said, unless it fails for a reason of its own */
	if (leaf || (failed && !s->failed[level + 1]))
		count(s, verdict_of(line), line->name, line->text);
	clear_text(s);
	s->nr[level]++;
	if (failed)
		s->failed[level] = true;
	for (unsigned int l = level + 1; l < STREAM_LEVELS; l++) {
		s->nr[l] = 0;
		s->failed[l] = false;
	}
}

/* "# @lab.KEY VALUE" from the lab's init; the rest of the facts are passed on as they are. */
static bool lab_fact(struct stream *s, const struct ktap_line *line)
{
	if (s->run->env->kind != ENV_LAB || strncmp(line->name, "lab.", 4))
		return false;
	if (!strcmp(line->name, "lab.hello")) {
		s->hello = true;
		report_fact(s->run->report, "kernel", line->text, false);
	} else if (!strcmp(line->name, "lab.params")) {
		report_fact(s->run->report, "params", line->text, false);
	} else if (!strcmp(line->name, "lab.error") && !s->lab_error) {
		s->lab_error = strdup(line->text);
	} else if (!strcmp(line->name, "lab.exit")) {
		s->lab_exit = strdup(line->text);
	}
	return true;
}

/* "NAME TEXT": a line of a file that was written in the lab, to be kept here. */
static void keep_file_line(struct stream *s, const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	size_t len = strspn(value, plain);
	char *path;
	FILE *f;

	/* whatever the machine says, it can't name a file elsewhere */
	if (!len || *value == '.' || (value[len] && value[len] != ' '))
		return;
	path = format("%s/%.*s", s->run->dir, (int)len, value);
	f = fopen(path, "ae");
	if (!f || fprintf(f, "%s\n", value[len] ? value + len + 1 : "") < 0)
		complain("%s: %m", path);
	if (f)
		fclose(f);
	free(path);
}

/* What mmufuzz tells as facts; the others are passed on. */
static bool fuzz_fact(struct stream *s, const struct ktap_line *line)
{
	if (!strcmp(line->name, "progress"))
		report_started(s->run->report, line->text);
	if (!strcmp(line->name, "judged"))
		report_fact(s->run->report, "judged", line->text, true);
	else if (!strcmp(line->name, "file") && s->run->env->kind == ENV_LAB)
		keep_file_line(s, line->text);
	else
		return !strcmp(line->name, "file");
	return true;
}

static void take_line(const char *text, void *arg)
{
	struct stream *s = arg;
	struct ktap_line line;
	char *quoted;

	ktap_parse_line(text, &line);
	s->last = now();
	if (line.level + 1 >= STREAM_LEVELS)
		line.type = KTAP_UNKNOWN;
	text += strspn(text, " ");
	switch (line.type) {
	case KTAP_VERSION:
		/* the outermost one was said when the environment started */
		if (line.level == 0)
			return;
		break;
	case KTAP_FACT:
		if (lab_fact(s, &line) || (fuzzing(s->run->o) && fuzz_fact(s, &line)))
			return;
		if (!strcmp(line.name, "meant-here"))
			s->meant_here = strcmp(line.text, "no");
		break;
	case KTAP_START:
		/* what was printed before belongs to nobody */
		if (!s->nr_running)
			clear_text(s);
		if (!s->first)
			s->first = s->last;
		case_started(s, &line);
		break;
	case KTAP_SUBTEST:
		free(s->subtest[line.level]);
		s->subtest[line.level] = strdup(line.name);
		break;
	case KTAP_RESULT:
		/* before the bookkeeping, which may print a summary of it */
		report_line(s->run->report, line.level, text);
		result(s, &line);
		return;
	case KTAP_DIAG:
		add_text(s, line.text);
		break;
	case KTAP_PLAN:
		break;
	default:
		/* noise, or a line cut in two by what killed the machine */
		if (!*text)
			return;
		quoted = format("# %s", text);
		report_line(s->run->report, line.level, quoted);
		add_text(s, text);
		free(quoted);
		return;
	}
	report_line(s->run->report, line.level, text);
}

void stream_feed(struct stream *s, const char *data, size_t len)
{
	if (s->raw) {
		fwrite(data, 1, len, s->raw);
		fflush(s->raw);
	}
	ktap_split(&s->splitter, data, len, take_line, s);
}

/* A result line that the stream should have had. */
static void complete(struct stream *s, unsigned int level, bool ok, const char *name,
		     const char *directive, const char *why)
{
	char *line = format("%s %u %s%s%s%s", ok ? "ok" : "not ok", s->nr[level] + 1, name,
			    directive, *directive ? " " : "", *directive ? why : "");
	struct ktap_line parsed;

	report_line(s->run->report, level, line);
	ktap_parse_line(line, &parsed);
	parsed.level = level;
	snprintf(parsed.text, sizeof(parsed.text), "%s", why);
	result(s, &parsed);
	free(line);
}

static void tell_detail(struct stream *s, unsigned int level, const char *detail)
{
	while (detail && *detail) {
		size_t len = strcspn(detail, "\n");
		char *line = format("%.*s", (int)len, detail), *quoted = format("# %s", line);

		report_line(s->run->report, level, quoted);
		add_text(s, line);
		free(line);
		free(quoted);
		detail += len + (detail[len] == '\n');
	}
}

void stream_close(struct stream *s, const char *why, enum verdict verdict, const char *detail)
{
	static const char *const directives[NR_VERDICTS] = {
		[VERDICT_SKIP] = " # SKIP",
		[VERDICT_ERROR] = " # ERROR",
		[VERDICT_TIMEOUT] = " # TIMEOUT",
	};
	const char *directive = directives[verdict] ? directives[verdict] : "";
	bool ok = verdict == VERDICT_SKIP;
	unsigned int deepest = 0;

	ktap_split_end(&s->splitter, take_line, s);
	if (why && !ok && !s->nr_running) {
		/* between two cases, or before the first */
		tell_detail(s, 0, detail);
		count(s, verdict, s->run->env->name, why);
	}
	while (why && s->nr_running) {
		unsigned int level = s->running_level[0];
		char *name = strdup(s->running[0]);

		tell_detail(s, level, why);
		tell_detail(s, level, detail);
		complete(s, level, ok, name, directive, why);
		free(name);
		/* the detail is long: once is enough */
		detail = NULL;
	}
	/* then the parents that are open, from the inside out; what broke is counted by now */
	for (unsigned int level = 0; why && level < STREAM_LEVELS; level++)
		s->failed[level] = true;
	for (unsigned int level = 1; level < STREAM_LEVELS; level++)
		if (s->nr[level])
			deepest = level;
	for (unsigned int level = deepest; why && level > 0; level--)
		if (s->nr[level])
			complete(s, level - 1, ok,
				 s->subtest[level] ? s->subtest[level] : "unknown", "", why);

	if (s->meant_skipped) {
		char *text =
			format("of %u cases meant for it %u skipped", s->meant, s->meant_skipped);

		report_fact(s->run->report, "meant", text, true);
		free(text);
	}
	for (size_t i = 0; i < s->nr_running; i++)
		free(s->running[i]);
	for (size_t i = 0; i < STREAM_LEVELS; i++)
		free(s->subtest[i]);
	free(s->running);
	free(s->running_level);
	free(s->text);
	free(s->lab_error);
	free(s->lab_exit);
	if (s->raw)
		fclose(s->raw);
}
