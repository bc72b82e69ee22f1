// SPDX-License-Identifier: GPL-2.0-only
/*
 * The framework tests itself: fixtures/bad holds one case for every way in which a
 * case can go wrong; here each is run and what the runner says about it is looked
 * at, line by line, and so are the exit status and what is left behind.
 */
#include "tests/unit/test_framework.h"

/* Run fixtures/bad with up to six arguments. */
static struct program start_bad(const char *a, const char *b, const char *c, const char *d,
				const char *e, const char *f)
{
	const char *argv[] = {program_path("fixtures/bad"), a, b, c, d, e, f, NULL};

	/* ours must not decide for the program under test; what a test sets comes later */
	if (!getenv("FIXTURE_KMSG"))
		unsetenv("MMUSCOPE_KMSG");
	unsetenv("MMUSCOPE_ENV");
	return program_start(argv);
}

static struct program run_bad(const char *a, const char *b, const char *c, const char *d,
			      const char *e, const char *f)
{
	struct program p = start_bad(a, b, c, d, e, f);

	program_end(&p);
	return p;
}

static int exit_status(const struct program *p)
{
	return WIFEXITED(p->status) ? WEXITSTATUS(p->status) : -1;
}

/* --- verdicts --------------------------------------------------------------- */

struct outcome {
	const char *name; /* the fixture's case */
	int status;
	const char *result;  /* its result line, behind "ok 1 fixtures/bad.name" */
	const char *diag[6]; /* lines that are there */
};

#define BAD "tests/unit/fixtures/bad.c"

static const struct outcome outcomes[] = {
	{"pass", 0, "ok", {}},
	{"segfault", 1, "not ok", {"# about to crash", "# killed by SIGSEGV"}},
	{"exit0", 1, "not ok # ERROR ended without a verdict (exit status 0)", {}},
	{"exit3", 1, "not ok # ERROR ended without a verdict (exit status 3)", {}},
	{"hang", 1, "not ok # TIMEOUT after 1 s", {"# still running after 1 s"}},
	{"hang_reports", 1, "not ok # TIMEOUT after 1 s", {"# the guest is at rip 0x1234"}},
	{"hang_deaf", 1, "not ok # TIMEOUT after 1 s", {}},
	{"flood", 1, "not ok # TIMEOUT after 1 s", {"# all work and no play"}},
	{"long_output", 1, "not ok", {"# line 0", "# line 139", "# line 1940", "# line 1999"}},
	{"nothing", 1, "not ok # ERROR asserted nothing", {}},
	{"soft",
	 1,
	 "not ok",
	 {"#   1 + 1 = 0x2 (2)", "#   3     = 0x3 (3)", "#   \"one\"", "# still running"}},
	{"soft_many", 1, "not ok", {"# 50 failed expectations, of which 20 are shown"}},
	{"soft_then_skip", 1, "not ok", {}},
	{"soft_then_error", 1, "not ok # ERROR and the test is broken", {}},
	{"hard", 1, "not ok", {"#   2     = TWO 0x2 (2)", "#   minus = -1 (0xffffffffffffffff)"}},
	{"fails", 1, "not ok", {}},
	{"errs", 1, "not ok # ERROR no memory", {}},
	{"skips", 4, "ok # SKIP no luck in two lines", {"# @meant-for shadow"}},
	{"requires", 4, "ok # SKIP requires 1 > 2", {"# @meant-here yes"}},
	{"requires_text", 4, "ok # SKIP requires KVM_CAP_X", {}},
	{"xfails", 0, "ok # XFAIL CVE-2000-1: known to be broken", {}},
	{"hooks", 1, "not ok", {"# report one", "# report two", "# cleanup one", "# cleanup two"}},
	{"cleanup_fails", 1, "not ok # ERROR the hook fails as well", {"# cleanup still runs"}},
	{"hook_fails", 1, "not ok # ERROR the hook fails as well", {"# cleanup still runs"}},
	{"orphan", 0, "ok", {}},
	{"forked_failure", 1, "not ok", {}},
	{"forked_return",
	 1,
	 "not ok # ERROR a process that the case forked returned from its body",
	 {}},
	{"garbage",
	 0,
	 "ok",
	 {"# ok 1 fixtures/bad.fails", "# 1..0", "#  start: fixtures/bad.pass",
	  "# nul ? esc \\x1b[31m bell \\x07?no newline at the end"}},
	{"restored", 1, "not ok", {"# killed by SIGABRT", "# its .restore was run"}},
	{"restore_fails", 1, "not ok # ERROR its .restore failed: the next cases may suffer", {}},
	{"inside", 0, "ok", {"# name mc0"}},
};
#define NR_OUTCOMES (sizeof(outcomes) / sizeof(outcomes[0]))

TEST(outcome, .what = "each way to misbehave gives its own result and no other")
{
	unsigned int i, j;

	for (i = 0; i < NR_OUTCOMES; i++) {
		const struct outcome *o = &outcomes[i];
		struct program p = run_bad("--timeout", "1", o->name, NULL, NULL, NULL);
		const char *directive = strchr(o->result, '#');
		int word = directive ? (int)(directive - o->result - 1) : (int)strlen(o->result);
		char line[300];

		snprintf(line, sizeof(line), "%.*s 1 fixtures/bad.%s%s%s", word, o->result, o->name,
			 directive ? " " : "", directive ?: "");
		EXPECT_LINE(&p, line);
		EXPECT_EQ(count_lines(p.text, "ok ") + count_lines(p.text, "not ok "), 1);
		EXPECT_EQ(exit_status(&p), o->status, "%s", o->name);
		for (j = 0; j < 6 && o->diag[j]; j++)
			EXPECT_LINE(&p, o->diag[j]);
	}
}

TEST(document, .what = "a run's lines in full, from the version to the last result")
{
	struct program p = run_bad("--seed", "7", "pass", "skips", NULL, NULL);
	char *ms;

	/* the only line that differs from run to run */
	while ((ms = strstr(p.text, "# @ms ")))
		memmove(ms, strchr(ms, '\n') + 1, strlen(strchr(ms, '\n')));
	EXPECT_STREQ(p.text, "KTAP version 1\n"
			     "# seed: 7\n"
			     "1..2\n"
			     "# start: fixtures/bad.pass\n"
			     "ok 1 fixtures/bad.pass\n"
			     "# start: fixtures/bad.skips\n"
			     "# @meant-for shadow\n"
			     "# @meant-here unknown\n"
			     "ok 2 fixtures/bad.skips # SKIP no luck in two lines\n");
	EXPECT_EQ(exit_status(&p), 0, "a skip among passes");
}

TEST(soft_failures_are_capped, .what = "20 failures of a case are printed, 50 are counted")
{
	struct program p = run_bad("soft_many", NULL, NULL, NULL, NULL, NULL);

	EXPECT_EQ(count_lines(p.text, "# " BAD), 20);
}

TEST(output_is_capped, .what = "of a long output 200 lines are kept, and the first failure")
{
	struct program p = run_bad("long_output", NULL, NULL, NULL, NULL, NULL);

	EXPECT_EQ(count_lines(p.text, "# line "), 200);
	EXPECT_LINE(&p, "# … 1803 lines more …");
	EXPECT_EQ(count_lines(p.text, "# first of its failures: " BAD), 1);
	EXPECT(strstr(p.text, "# line 1998\n# line 1999\n# first of"), "%s", p.text);
	EXPECT_NO_LINE(&p, "# line 140");
	EXPECT_NO_LINE(&p, "# line 1939");
}

TEST(hooks_order, .what = "failure hooks run once, cleanups at the end, latest first")
{
	struct program p = run_bad("hooks", NULL, NULL, NULL, NULL, NULL);
	const char *two = strstr(p.text, "# report two"), *one = strstr(p.text, "# report one");
	const char *c2 = strstr(p.text, "# cleanup two"), *c1 = strstr(p.text, "# cleanup one");

	ASSERT(two && one && c2 && c1);
	EXPECT(two < one && one < c2 && c2 < c1, "%s", p.text);
	EXPECT_EQ(count_lines(p.text, "# report"), 3, "the third came with the second failure");
	EXPECT_EQ(count_lines(p.text, "# dropped"), 0);
}

TEST(hard_ends_the_case, .what = "nothing runs behind a failed ASSERT")
{
	struct program p = run_bad("hard", NULL, NULL, NULL, NULL, NULL);

	EXPECT_NO_LINE(&p, "# not reached");
}

TEST(restore_runs, .what = "a killed case's .restore has its effect")
{
	char *path = NULL;

	ASSERT(asprintf(&path, "%s/restored", temp_dir()) > 0);
	setenv("FIXTURE_RESTORE", path, 1);
	run_bad("restored", NULL, NULL, NULL, NULL, NULL);
	EXPECT(access(path, F_OK) == 0);
}

/* --- processes ---------------------------------------------------------------- */

TEST(orphan_is_killed, .what = "what a case leaves running is dead before the next starts")
{
	int keep, line = lifeline(&keep);
	struct program p = run_bad("orphan", NULL, NULL, NULL, NULL, NULL);
	const char *at = strstr(p.text, "# orphan ");

	ASSERT(at);
	EXPECT_EQ(kill(atoi(at + 9), 0), -1);
	expect_all_dead(line, keep);
}

TEST(interrupted, .what = "a signal ends the run and all its processes, and says what ran",
     .variants = (const char *const[]){"int", "term", "hup", NULL})
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	int keep, line = lifeline(&keep);
	struct program p = start_bad("hang_forked", NULL, NULL, NULL, NULL, NULL);

	ASSERT(program_read(&p, "# both are there\n"));
	kill(p.pid, signals[t->variant_idx]);
	EXPECT_EQ(program_end(&p), 130);
	EXPECT_EQ(count_lines(p.text, "# interrupted by "), 1, "%s", p.text);
	EXPECT(strstr(p.text, ": fixtures/bad.hang_forked\n"));
	expect_all_dead(line, keep);
}

TEST(runner_killed, .what = "kill -9 of the runner leaves no process")
{
	int keep, line = lifeline(&keep);
	struct program p = start_bad("hang_forked", NULL, NULL, NULL, NULL, NULL);

	ASSERT(program_read(&p, "# both are there\n"));
	kill(p.pid, SIGKILL);
	EXPECT_EQ(program_end(&p), -SIGKILL);
	expect_all_dead(line, keep);
}

/* fixtures/bad's exit status for one case, with descriptors closed: bit n stands for n. */
static int run_with_closed(unsigned int closed, const char *name)
{
	const char *argv[] = {program_path("fixtures/bad"), name, NULL};
	pid_t pid = test_fork();
	int fd, status;

	if (pid == 0) {
		unsetenv("MMUSCOPE_KMSG");
		for (fd = 0; fd < 3; fd++)
			if (closed & (1u << fd))
				close(fd);
		execv(argv[0], (char *const *)argv);
		_exit(126);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(closed_descriptors, .what = "a run with 0, 1 or 2 closed is a run like any other")
{
	unsigned int closed;

	for (closed = 0; closed < 8; closed++) {
		EXPECT_EQ(run_with_closed(closed, "inside"), 0, "mask %u", closed);
		EXPECT_EQ(run_with_closed(closed, "fails"), 1, "mask %u", closed);
		EXPECT_EQ(run_with_closed(closed, "exit0"), 1, "mask %u", closed);
	}
}

TEST(stdin_is_empty, .what = "a case does not eat the runner's input")
{
	int fds[2];

	ASSERT(!pipe(fds) && write(fds[1], "x", 1) == 1);
	ASSERT(dup2(fds[0], STDIN_FILENO) == STDIN_FILENO);
	EXPECT_EQ(run_with_closed(0, "inside"), 0);
}

TEST(reader_gone, .what = "a run whose output nobody reads ends by itself")
{
	int keep, line = lifeline(&keep);
	struct program p = start_bad("hang_forked", NULL, NULL, NULL, NULL, NULL);
	int status;

	ASSERT(program_read(&p, "# both are there\n"));
	close(p.out);
	ASSERT_EQ(waitpid(p.pid, &status, 0), p.pid);
	EXPECT_EQ(WEXITSTATUS(status), 1);
	expect_all_dead(line, keep);
}

/* --- several at once ------------------------------------------------------------ */

TEST(parallel, .what = "--jobs 2 runs two cases side by side, --jobs 1 does not")
{
	struct program p;

	make_fifo();
	p = run_bad("--jobs", "2", "--timeout", "20", "meet_?", NULL);
	EXPECT_EQ(exit_status(&p), 0, "%s", p.text);
	p = run_bad("--jobs", "1", "--timeout", "1", "meet_?", NULL);
	EXPECT_EQ(exit_status(&p), 1);
	EXPECT_LINE(&p, "not ok 1 fixtures/bad.meet_a # TIMEOUT after 1 s");
}

TEST(parallel_output,
     .what = "with several at once a case's lines stand together before its result")
{
	struct program p;

	make_fifo();
	p = run_bad("--jobs", "2", "--timeout", "20", "meet_?", NULL);
	EXPECT(strstr(p.text, "# b one\n# @ms "), "%s", p.text);
	EXPECT(strstr(p.text, "# a one\n# a two\n# @ms "), "%s", p.text);
	EXPECT_EQ(exit_status(&p), 0);
}

TEST(exclusive, .what = "an .exclusive case starts when all others have ended")
{
	struct program p = run_bad("--jobs", "4", "--timeout", "20", "alone", "two_*");
	const char *start = strstr(p.text, "# start: fixtures/bad.alone\n");

	ASSERT(start);
	EXPECT_EQ(count_lines(p.text, "ok "), 5, "%s", p.text);
	EXPECT_EQ(count_lines(start, "# start: "), 1, "%s", p.text);
	EXPECT_EQ(count_lines(start, "ok "), 1, "%s", p.text);
	EXPECT_LINE(&p, "# @timeout 77");
}

/* --- choosing ------------------------------------------------------------------- */

TEST(globs, .what = "what a glob matches, and the order of --list")
{
	static const struct {
		const char *glob, *list;
	} rows[] = {
#define V    "fixtures/bad.two_variants."
#define ALL4 V "la57.x\n" V "la57.y\n" V "la48.x\n" V "la48.y\n"
		{"fixtures/bad.two_variants.la48.y", V "la48.y\n"},
		{"fixtures/bad.two_variants", ALL4},
		{"two_variants", ALL4},
		{"two_variants.la57.x", V "la57.x\n"},
		{"*.la48.*", V "la48.x\n" V "la48.y\n"},
		{"pass", "fixtures/bad.pass\n"},
		{"fixtures/bad.pas?", "fixtures/bad.pass\n"},
		{"variants", ""},
		{"mmu/*", ""},
	};
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct program p = run_bad("--list", rows[i].glob, NULL, NULL, NULL, NULL);

		EXPECT_STREQ(p.text, rows[i].list, "glob %s", rows[i].glob);
		EXPECT_EQ(exit_status(&p), *rows[i].list ? 0 : 4, "glob %s", rows[i].glob);
	}
}

TEST(list_whole, .what = "suite/file selects all; source order, exclusive cases last")
{
	struct program all = run_bad("--list", NULL, NULL, NULL, NULL, NULL);
	struct program file = run_bad("--list", "fixtures/bad", NULL, NULL, NULL, NULL);
	const char *first = "fixtures/bad.pass\nfixtures/bad.segfault\nfixtures/bad.exit0\n";
	const char *last = "\nfixtures/bad.hang_forked\nfixtures/bad.alone\n";

	EXPECT_STREQ(all.text, file.text);
	EXPECT(!strncmp(all.text, first, strlen(first)), "%s", all.text);
	ASSERT_GT(all.len, strlen(last));
	EXPECT_STREQ(all.text + all.len - strlen(last), last);
}

TEST(list_verbose, .what = "--list --verbose tells what is recorded with a case")
{
	struct program p = run_bad("--list", "--verbose", "alone", "skips", "soft", NULL);

	EXPECT_LINE(&p, "  fixes: CVE-2022-1789");
	EXPECT_LINE(&p, "  timeout: 77");
	EXPECT_LINE(&p, "  exclusive");
	EXPECT_LINE(&p, "  meant-for: shadow");
	EXPECT_LINE(&p, "  what: fails softly and goes on");
}

TEST(nothing_matches, .what = "a run without a matching case says so and exits 4")
{
	struct program p = run_bad("no_such_case", NULL, NULL, NULL, NULL, NULL);

	EXPECT_STREQ(p.text, "KTAP version 1\n1..0 # SKIP no case matches\n");
	EXPECT_EQ(exit_status(&p), 4);
}

TEST(bad_options, .what = "a bad value is named with its option and the remedy; exit 2")
{
	static const struct {
		const char *option, *value, *message;
	} rows[] = {
		{"--jobs", "0", "--jobs '0': give a number from 1 to 256"},
		{"--jobs", "x", "--jobs 'x': give a number from 1 to 256"},
		{"--timeout", "-1", "--timeout '-1': give a number from 1 to 86400"},
		{"--timeout", "1s", "--timeout '1s': give a number from 1 to 86400"},
		{"--seed", "", "--seed '': give a number (64 bits) or \"random\""},
		{"--seed", "99999999999999999999",
		 "--seed '99999999999999999999': give a number (64 bits) or \"random\""},
	};
	struct program p;
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = run_bad(rows[i].option, rows[i].value, "pass", NULL, NULL, NULL);
		EXPECT_LINE(&p, rows[i].message);
		EXPECT_EQ(exit_status(&p), 2, "%s %s", rows[i].option, rows[i].value);
	}
	p = run_bad("--frobnicate", NULL, NULL, NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 2);
	EXPECT(strstr(p.text, "frobnicate") && strstr(p.text, "--help"), "%s", p.text);
	p = run_bad("--help", NULL, NULL, NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 0);
	EXPECT(strstr(p.text, "--jobs N"));
}

/* --- seeds ------------------------------------------------------------------------ */

/* What the case printed of its random numbers; malloc'd. */
static char *draw_line(const char *seed, const char *glob, const char *start)
{
	struct program p = run_bad("--seed", seed, glob, NULL, NULL, NULL);
	char *at = strstr(p.text, start);

	ASSERT(at, "%s", p.text);
	return strndup(at, strcspn(at, "\n"));
}

static char *draw(const char *seed, const char *glob)
{
	return draw_line(seed, glob, "# la48 y 1 ");
}

TEST(seeds, .what = "a case's numbers depend on --seed and its name, not on what else runs")
{
	char *one = draw("1", "two_variants.la48.y");
	struct program p = run_bad("--seed", "random", "two_variants.la48.y", NULL, NULL, NULL);
	char *at = strstr(p.text, "# seed: "), *seed, *numbers;

	EXPECT_STREQ(draw("1", "two_variants"), one);
	EXPECT_STREQ(draw("0x1", "two_variants"), one);
	EXPECT(strcmp(draw("2", "two_variants"), one));
	EXPECT(strcmp(draw_line("1", "two_variants", "# la48 x 0 ") + 11, one + 11));

	ASSERT(at);
	seed = strndup(at + 8, strcspn(at + 8, "\n"));
	EXPECT(strcmp(seed, "1"));
	numbers = draw(seed, "two_variants");
	EXPECT(has_line(p.text, numbers), "seed %s gave %s, then\n%s", seed, numbers, p.text);
}

/* --- the kernel's log --------------------------------------------------------------- */

TEST(splat_fails_case, .what = "a complaint of the kernel fails the case that ran, with its text")
{
	struct program p;

	make_kernel_log();
	p = run_bad("pass", "splat", NULL, NULL, NULL, NULL);
	EXPECT_LINE(&p, "ok 1 fixtures/bad.pass");
	EXPECT_LINE(&p, "not ok 2 fixtures/bad.splat");
	EXPECT_LINE(&p, "# kernel: ---[ end trace 0000000000000000 ]---");
	EXPECT_EQ(count_lines(p.text, "# kernel: "), 4, "%s", p.text);
	EXPECT_EQ(exit_status(&p), 1);
}

TEST(splat_names_case, .what = "of several running cases the one named by Comm: is failed")
{
	struct program p;

	make_fifo();
	make_kernel_log();
	p = run_bad("--jobs", "2", "--timeout", "20", "splat_?*", NULL);
	EXPECT(has_line(p.text, "ok 1 fixtures/bad.splat_of_other") ||
		       has_line(p.text, "ok 2 fixtures/bad.splat_of_other"),
	       "%s", p.text);
	EXPECT(has_line(p.text, "not ok 1 fixtures/bad.splat_victim") ||
		       has_line(p.text, "not ok 2 fixtures/bad.splat_victim"),
	       "%s", p.text);
}

TEST(splat_while_idle, .what = "a complaint while no case runs is a failure of its own")
{
	static const char record[] = "4,1,1,-;BUG: sleeping function called";
	int log = make_kernel_log();
	struct program p;

	ASSERT(write(log, record, strlen(record)) > 0);
	p = run_bad("pass", NULL, NULL, NULL, NULL, NULL);
	EXPECT_LINE(&p, "not ok 1 fixtures/bad.kernel_log");
	EXPECT_LINE(&p, "# kernel: BUG: sleeping function called");
	EXPECT_LINE(&p, "ok 2 fixtures/bad.pass");
	EXPECT_EQ(exit_status(&p), 1);
}

TEST(splat_not_watched, .what = "without being asked to, the kernel's log is left alone")
{
	struct program p;

	make_kernel_log();
	unsetenv("MMUSCOPE_KMSG");
	p = run_bad("splat", NULL, NULL, NULL, NULL, NULL);
	EXPECT_LINE(&p, "ok 1 fixtures/bad.splat");
}
