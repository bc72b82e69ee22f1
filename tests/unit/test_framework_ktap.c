// SPDX-License-Identifier: GPL-2.0-only
/*
 * KTAP lines: the parser on good, odd and broken ones and on random bytes, the
 * splitter of streams, and the writer read back by the parser.
 */
#include "lib/ktap.h"
#include "tests/unit/test_framework.h"

static const struct {
	const char *line;
	struct ktap_line want;
} rows[] = {
	{"KTAP version 1", {.type = KTAP_VERSION, .number = 1}},
	{"TAP version 13\n", {.type = KTAP_VERSION, .number = 13}},
	{"KTAP version", {.type = KTAP_UNKNOWN}},
	{"KTAP version 1x", {.type = KTAP_UNKNOWN}},
	{"1..12", {.type = KTAP_PLAN, .number = 12}},
	{"    1..0 # SKIP none\n", {.type = KTAP_PLAN, .level = 2, .number = 0}},
	{"1..", {.type = KTAP_UNKNOWN}},
	{"1..x", {.type = KTAP_UNKNOWN}},
	{"1..2x", {.type = KTAP_UNKNOWN}},
	{"ok", {.type = KTAP_RESULT, .ok = true}},
	{"ok 3", {.type = KTAP_RESULT, .ok = true, .number = 3}},
	{"ok 3 mmu/a.b\r\n", {.type = KTAP_RESULT, .ok = true, .number = 3, .name = "mmu/a.b"}},
	{"not ok 3 - a b", {.type = KTAP_RESULT, .number = 3, .name = "a b"}},
	{"not  ok 3 a", {.type = KTAP_UNKNOWN}},
	{"okay", {.type = KTAP_UNKNOWN}},
	{"not okay", {.type = KTAP_UNKNOWN}},
	{"OK 1", {.type = KTAP_UNKNOWN}},
	{"  ok 1 a # SKIP no KVM",
	 {.type = KTAP_RESULT,
	  .level = 1,
	  .ok = true,
	  .number = 1,
	  .name = "a",
	  .directive = KTAP_SKIP,
	  .text = "no KVM"}},
	{"ok 1 a # skip",
	 {.type = KTAP_RESULT, .ok = true, .number = 1, .name = "a", .directive = KTAP_SKIP}},
	{"ok 1 # SKIP", {.type = KTAP_RESULT, .ok = true, .number = 1, .directive = KTAP_SKIP}},
	{"ok 1 a # XFAIL x: y",
	 {.type = KTAP_RESULT,
	  .ok = true,
	  .number = 1,
	  .name = "a",
	  .directive = KTAP_XFAIL,
	  .text = "x: y"}},
	{"not ok 1 a # TIMEOUT after 3 s",
	 {.type = KTAP_RESULT,
	  .number = 1,
	  .name = "a",
	  .directive = KTAP_TIMEOUT,
	  .text = "after 3 s"}},
	{"not ok 1 a # ERROR # twice",
	 {.type = KTAP_RESULT,
	  .number = 1,
	  .name = "a",
	  .directive = KTAP_ERROR,
	  .text = "# twice"}},
	{"not ok 1 a # TODO",
	 {.type = KTAP_RESULT, .number = 1, .name = "a", .directive = KTAP_TODO}},
	{"not ok 1 a # SKIPPED x",
	 {.type = KTAP_RESULT, .number = 1, .name = "a", .text = "SKIPPED x"}},
	{"ok 1 a#b # c#",
	 {.type = KTAP_RESULT, .ok = true, .number = 1, .name = "a#b", .text = "c#"}},
	{"ok 1a b", {.type = KTAP_RESULT, .ok = true, .name = "1a b"}},
	{"ok 99999999999999999999 a",
	 {.type = KTAP_RESULT, .ok = true, .name = "99999999999999999999 a"}},
	{"  # start: mmu/a.b.pae", {.type = KTAP_START, .level = 1, .name = "mmu/a.b.pae"}},
	{"#start: a", {.type = KTAP_DIAG, .text = "start: a"}},
	{"#  start: a", {.type = KTAP_DIAG, .text = " start: a"}},
	{"# Subtest: mmu/a", {.type = KTAP_SUBTEST, .name = "mmu/a"}},
	{"# @kernel 6.1.0 #1 SMP", {.type = KTAP_FACT, .name = "kernel", .text = "6.1.0 #1 SMP"}},
	{"# @flag", {.type = KTAP_FACT, .name = "flag"}},
	{"# @ at", {.type = KTAP_DIAG, .text = "@ at"}},
	{"#", {.type = KTAP_DIAG}},
	{"#   indented", {.type = KTAP_DIAG, .text = "  indented"}},
	{"# a\tb\033[1m", {.type = KTAP_DIAG, .text = "a b?[1m"}},
	{"Bail out! fire", {.type = KTAP_BAIL, .text = "fire"}},
	{"", {.type = KTAP_UNKNOWN}},
	{"   ", {.type = KTAP_UNKNOWN, .level = 1}},
	{"\tok 1", {.type = KTAP_UNKNOWN}},
	{"ok 1 a\nnot ok 2 b", {.type = KTAP_RESULT, .ok = true, .number = 1, .name = "a"}},
};

TEST(parse, .what = "every field of each kind of line")
{
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct ktap_line *want = &rows[i].want;
		struct ktap_line got;

		/* what was there before must not shine through */
		memset(&got, 0x55, sizeof(got));
		EXPECT_EQ(ktap_parse_line(rows[i].line, &got), want->type, "'%s'", rows[i].line);
		EXPECT_EQ(got.type, want->type, "'%s'", rows[i].line);
		EXPECT_EQ(got.level, want->level, "'%s'", rows[i].line);
		EXPECT_EQ(got.ok, want->ok, "'%s'", rows[i].line);
		EXPECT_EQ(got.number, want->number, "'%s'", rows[i].line);
		EXPECT_EQ(got.directive, want->directive, "'%s'", rows[i].line);
		EXPECT_STREQ(got.name, want->name, "'%s'", rows[i].line);
		EXPECT_STREQ(got.text, want->text, "'%s'", rows[i].line);
	}
}

static bool is_clean(const char *s, size_t size)
{
	size_t i, len = strnlen(s, size);

	for (i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return len < size;
}

TEST(parse_garbage,
     .what = "random bytes and damaged lines: never out of bounds, always clean text")
{
	static const char pieces[][16] = {"ok",	  "not ok", " # ",     "1..",
					  "SKIP", "# @",    "start: ", "KTAP version ",
					  "  ",	  "99",	    "- ",      "Subtest: "};
	unsigned int round, i;

	for (round = 0; round < 20000; round++) {
		size_t len = test_rand(t) % 200, pos = 0;
		/* exactly as large as the line: a sanitizer sees a step beyond */
		char *line = malloc(len + 32);
		struct ktap_line l;

		while (pos < len) {
			const char *piece = pieces[test_rand(t) % 12];

			if (test_rand(t) % 2) {
				memcpy(line + pos, piece, strlen(piece));
				pos += strlen(piece);
			} else {
				line[pos++] = (char)(test_rand(t) % 255 + 1);
			}
		}
		line[pos] = '\0';
		line = realloc(line, pos + 1);
		ktap_parse_line(line, &l);
		if (l.type > KTAP_BAIL || l.directive > KTAP_ERROR ||
		    !is_clean(l.name, sizeof(l.name)) || !is_clean(l.text, sizeof(l.text))) {
			for (i = 0; i < pos; i++)
				test_diag("%02x", (unsigned char)line[i]);
			test_fail("round %u", round);
		}
		free(line);
	}
	test_count_check();
}

TEST(parse_long, .what = "names and texts longer than the fields are cut")
{
	static char line[8192];
	struct ktap_line l;
	size_t n;

	n = (size_t)sprintf(line, "ok 1 ");
	memset(line + n, 'n', 2000);
	strcpy(line + n + 2000, " # SKIP ");
	memset(line + n + 2008, 'r', 4000);
	EXPECT_EQ(ktap_parse_line(line, &l), KTAP_RESULT);
	EXPECT_EQ(strlen(l.name), KTAP_NAME_MAX - 1);
	EXPECT_EQ(l.directive, KTAP_SKIP);
	EXPECT_EQ(strlen(l.text), KTAP_TEXT_MAX - 1);
}

struct lines {
	char text[20000];
	unsigned int nr;
};

static void take(const char *line, void *arg)
{
	struct lines *l = arg;

	strcat(strcat(l->text, line), "|");
	l->nr++;
}

TEST(split, .what = "the same lines however a stream is cut; NUL becomes '?'")
{
	static const char stream[] = "one\n\ntwo\0three\nno newline";
	static struct lines got;
	struct ktap_splitter s = {};
	unsigned int round;
	size_t pos, n;

	for (round = 0; round < 200; round++) {
		got.text[0] = '\0';
		for (pos = 0; pos < sizeof(stream) - 1; pos += n) {
			n = 1 + test_rand(t) % 9;
			if (n > sizeof(stream) - 1 - pos)
				n = sizeof(stream) - 1 - pos;
			ktap_split(&s, stream + pos, n, take, &got);
		}
		ktap_split_end(&s, take, &got);
		ASSERT_STREQ(got.text, "one||two?three|no newline|");
	}
}

TEST(split_long, .what = "a line without end is cut, nothing of it is lost")
{
	static char stream[10000];
	static struct lines got;
	struct ktap_splitter s = {};

	memset(stream, 'x', sizeof(stream));
	ktap_split(&s, stream, sizeof(stream), take, &got);
	ktap_split_end(&s, take, &got);
	EXPECT_EQ(got.nr, 3);
	EXPECT_EQ(strlen(got.text), sizeof(stream) + 3);
}

TEST(write, .what = "what the writer writes, to the byte")
{
	static const char nul[] = "a\0b";
	struct ktap k = {.level = 1};
	char buf[1000];
	int fds[2];
	ssize_t n;

	ASSERT(!pipe(fds));
	k.fd = fds[1];
	ktap_version(&k);
	ktap_subtest(&k, "mmu/a");
	ktap_plan(&k, 2);
	ktap_start(&k, "mmu/a.b");
	ktap_fact(&k, "key", "%d\n%d", 1, 2);
	ktap_diag(&k, "one\n\n  two\n");
	ktap_quote(&k, nul, 3);
	ktap_quote(&k, "Subtest: x", 10);
	ktap_result(&k, true, 1, "mmu/a.b", KTAP_NONE, "not shown");
	ktap_result(&k, false, 2, "mmu/a.c", KTAP_ERROR, "two\nlines");
	ktap_result(&k, true, 3, "mmu/a.d", KTAP_SKIP, NULL);
	close(fds[1]);
	n = read(fds[0], buf, sizeof(buf) - 1);
	ASSERT_GT(n, 0);
	buf[n] = '\0';
	EXPECT_STREQ(buf, "  KTAP version 1\n"
			  "  # Subtest: mmu/a\n"
			  "  1..2\n"
			  "  # start: mmu/a.b\n"
			  "  # @key 1 2\n"
			  "  # one\n"
			  "  # \n"
			  "  #   two\n"
			  "  # a\\x00b\n"
			  "  #  Subtest: x\n"
			  "  ok 1 mmu/a.b\n"
			  "  not ok 2 mmu/a.c # ERROR two lines\n"
			  "  ok 3 mmu/a.d # SKIP\n");
}

TEST(write_gone, .what = "a writer without a reader notices and stays silent")
{
	struct ktap k = {};
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ASSERT(!pipe(fds));
	close(fds[0]);
	k.fd = fds[1];
	ktap_version(&k);
	EXPECT(k.gone);
}
