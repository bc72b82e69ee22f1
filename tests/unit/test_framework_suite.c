// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmusuite: nesting, selection, exit statuses, and that every case has exactly one
 * result whatever its binary does. The binary that breaks the rules is
 * fixtures/dying, told by FIXTURE_HOW.
 */
#include "tests/unit/test_framework.h"

/* A --tests folder with these fixtures as mmu/NAME. */
static char *make_tests(const char *a, const char *b)
{
	const char *names[] = {a, b};
	char *dir = temp_dir(), path[PATH_MAX], fixture[64];
	int i;

	snprintf(path, sizeof(path), "%s/mmu", dir);
	ASSERT(!mkdir(path, 0700));
	for (i = 0; i < 2 && names[i]; i++) {
		snprintf(path, sizeof(path), "%s/mmu/%s", dir, names[i]);
		snprintf(fixture, sizeof(fixture), "fixtures/%s", names[i]);
		ASSERT(!symlink(program_path(fixture), path), "%s", path);
	}
	return dir;
}

static struct program start_suite(const char *dir, const char *a, const char *b, const char *c,
				  const char *d)
{
	const char *argv[] = {
		program_path("../../tools/mmusuite"), "--tests", dir, a, b, c, d, NULL};

	if (!getenv("FIXTURE_KMSG"))
		unsetenv("MMUSCOPE_KMSG");
	unsetenv("MMUSCOPE_ENV");
	return program_start(argv);
}

static struct program run_suite(const char *dir, const char *a, const char *b, const char *c,
				const char *d)
{
	struct program p = start_suite(dir, a, b, c, d);

	program_end(&p);
	return p;
}

static int exit_status(const struct program *p)
{
	return WIFEXITED(p->status) ? WEXITSTATUS(p->status) : -1;
}

TEST(document, .what = "two levels, one document")
{
	struct program p = run_suite(make_tests("bad", "dying"), "pass", "mmu/dying.*", NULL, NULL);
	char *ms;

	while ((ms = strstr(p.text, "  # @ms ")))
		memmove(ms, strchr(ms, '\n') + 1, strlen(strchr(ms, '\n')));
	EXPECT_STREQ(p.text, "KTAP version 1\n"
			     "1..2\n"
			     "  KTAP version 1\n"
			     "  # Subtest: mmu/bad\n"
			     "  1..1\n"
			     "  # seed: 1\n"
			     "  # start: fixtures/bad.pass\n"
			     "  ok 1 fixtures/bad.pass\n"
			     "ok 1 mmu/bad\n"
			     "  KTAP version 1\n"
			     "  # Subtest: mmu/dying\n"
			     "  1..2\n"
			     "  # seed: 1\n"
			     "  # start: mmu/dying.one\n"
			     "  ok 1 mmu/dying.one\n"
			     "  # start: mmu/dying.two\n"
			     "  ok 2 mmu/dying.two\n"
			     "ok 2 mmu/dying\n"
			     "# 3 passed, 0 failed, 0 skipped\n");
	EXPECT_EQ(exit_status(&p), 0);
}

struct death {
	const char *how;
	int status;
	const char *lines[8];
};

#define ONE "  ok 1 mmu/dying.one"

static const struct death deaths[] = {
	{"well", 0, {ONE, "  ok 2 mmu/dying.two", "ok 1 mmu/dying"}},
	{"fails", 1, {ONE, "  not ok 2 mmu/dying.two", "not ok 1 mmu/dying"}},
	{"at-once",
	 1,
	 {"  not ok 1 mmu/dying.one # ERROR not run: mmu/dying ended with exit status 3",
	  "  not ok 2 mmu/dying.two # ERROR not run: mmu/dying ended with exit status 3",
	  "not ok 1 mmu/dying"}},
	{"between",
	 1,
	 {ONE, "  not ok 2 mmu/dying.two # ERROR not run: mmu/dying ended by SIGKILL",
	  "not ok 1 mmu/dying"}},
	{"inside",
	 1,
	 {ONE, "  not ok 2 mmu/dying.two # ERROR was running: mmu/dying ended by SIGABRT",
	  "not ok 1 mmu/dying"}},
	{"short",
	 1,
	 {ONE, "  not ok 2 mmu/dying.two # ERROR not run: mmu/dying ended with exit status 0",
	  "not ok 1 mmu/dying"}},
	{"late-crash",
	 1,
	 {ONE, "  ok 2 mmu/dying.two", "not ok 1 mmu/dying # ERROR ended by SIGABRT"}},
	{"late-1",
	 1,
	 {ONE, "  ok 2 mmu/dying.two", "not ok 1 mmu/dying # ERROR ended with exit status 1"}},
	{"garbage",
	 0,
	 {ONE, "  # \\x01\\x02 ok", "  # ==12==ERROR: Sanitizer", "  #   ok 3 mmu/dying.two",
	  "  # ok 1 mmu/dying.one", "  # ok", "  ok 2 mmu/dying.two"}},
	{"list-crash",
	 1,
	 {"  1..0", "not ok 1 mmu/dying # ERROR ended by SIGSEGV when asked for its cases"}},
	{"list-error",
	 1,
	 {"not ok 1 mmu/dying # ERROR ended with exit status 127 when asked for its cases: "
	  "dying: libfoo.so.1 not found"}},
	{"list-none", 4, {"1..0 # SKIP no case matches"}},
};

TEST(deaths, .what = "each case has one result, however its binary ends")
{
	char *dir = make_tests("dying", NULL);
	unsigned int i, j;

	for (i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
		struct program p;

		setenv("FIXTURE_HOW", deaths[i].how, 1);
		p = run_suite(dir, NULL, NULL, NULL, NULL);
		for (j = 0; j < 8 && deaths[i].lines[j]; j++)
			EXPECT_LINE(&p, deaths[i].lines[j]);
		EXPECT_EQ(exit_status(&p), deaths[i].status, "%s", deaths[i].how);
		if (strncmp(deaths[i].how, "list", 4))
			EXPECT_EQ(count_lines(p.text, "  ok ") + count_lines(p.text, "  not ok "),
				  2, "%s\n%s", deaths[i].how, p.text);
	}
}

TEST(silence, .timeout = 60, .what = "a binary that says nothing any more is killed and reported")
{
	struct program p;
	int keep, line;

	setenv("FIXTURE_HOW", "silent", 1);
	line = lifeline(&keep);
	/* twice the time of a case, and ten seconds */
	p = run_suite(make_tests("dying", NULL), "--timeout", "1", NULL, NULL);
	EXPECT_LINE(&p, "  not ok 2 mmu/dying.two # ERROR was running: mmu/dying was silent for "
			"12 s and was killed");
	EXPECT_EQ(exit_status(&p), 1);
	expect_all_dead(line, keep);
}

/* A case of the first opens a FIFO for reading, the second for writing: each waits for the other. */
TEST(binaries, .what = "--binaries 2 runs two side by side, the first's results first")
{
	char *dir = make_tests("bad", "dying"), fifo[PATH_MAX];
	const char *first, *second;
	struct program p;

	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	ASSERT(!mkfifo(fifo, 0600));
	setenv("FIXTURE_FIFO", fifo, 1);
	setenv("FIXTURE_HOW", "meet", 1);
	p = run_suite(dir, "--binaries", "2", "meet_a", "mmu/dying.*");
	EXPECT_EQ(exit_status(&p), 0, "%s", p.text);
	EXPECT_LINE(&p, "# 3 passed, 0 failed, 0 skipped");
	first = strstr(p.text, "ok 1 mmu/bad");
	second = strstr(p.text, "# Subtest: mmu/dying");
	EXPECT(first && second && first < second, "%s", p.text);
}

TEST(exit_status, .what = "4 when all is skipped, 0 for an expected failure, 1 for a failure")
{
	char *dir = make_tests("bad", NULL);
	struct program p;

	p = run_suite(dir, "skips", NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 4);
	EXPECT_LINE(&p, "ok 1 mmu/bad # SKIP every case was skipped");
	p = run_suite(dir, "skips", "pass", NULL, NULL);
	EXPECT_EQ(exit_status(&p), 0);
	EXPECT_LINE(&p, "# 1 passed, 0 failed, 1 skipped");
	p = run_suite(dir, "xfails", NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 0);
	EXPECT_LINE(&p, "# 0 passed, 0 failed, 1 skipped");
	p = run_suite(dir, "fails", "pass", "skips", NULL);
	EXPECT_EQ(exit_status(&p), 1);
	EXPECT_LINE(&p, "# 1 passed, 1 failed, 1 skipped");
	EXPECT_LINE(&p, "not ok 1 mmu/bad");
	p = run_suite(dir, "no_such_case", NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 4);
}

TEST(options, .what = "options reach the binaries; bad ones are refused with exit 2")
{
	char *dir = make_tests("bad", NULL);
	struct program p;

	p = run_suite(dir, "--seed", "5", "pass", NULL);
	EXPECT_LINE(&p, "  # seed: 5");
	p = run_suite(dir, "--timeout", "1", "hang", NULL);
	EXPECT_LINE(&p, "  not ok 1 fixtures/bad.hang # TIMEOUT after 1 s");
	p = run_suite(dir, "--list", "pass", NULL, NULL);
	EXPECT_STREQ(p.text, "fixtures/bad.pass\n");
	p = run_suite(dir, "--suites", "tdp", NULL, NULL);
	EXPECT_EQ(exit_status(&p), 4, "no such folder, nothing to run");
	p = run_suite(dir, "--timeout", "soon", NULL, NULL);
	EXPECT_EQ(exit_status(&p), 2);
	EXPECT_LINE(&p, "--timeout 'soon': give a number of seconds from 1 to 86400");
	p = run_suite("/no/such/folder", NULL, NULL, NULL, NULL);
	EXPECT_EQ(exit_status(&p), 2);
	EXPECT_LINE(&p, "--tests '/no/such/folder': No such file or directory");
}

TEST(interrupted, .what = "a signal ends the run, the binary and its cases")
{
	char *dir = make_tests("bad", NULL);
	int keep, line = lifeline(&keep);
	struct program p = start_suite(dir, "hang_forked", NULL, NULL, NULL);

	ASSERT(program_read(&p, "# both are there\n"));
	kill(p.pid, SIGINT);
	EXPECT_EQ(program_end(&p), 130);
	EXPECT(strstr(p.text, "  # interrupted by Terminated: fixtures/bad.hang_forked\n"), "%s",
	       p.text);
	EXPECT_LINE(&p, "# interrupted");
	expect_all_dead(line, keep);
}

TEST(killed, .what = "kill -9 of mmusuite leaves no process")
{
	char *dir = make_tests("bad", NULL);
	int keep, line = lifeline(&keep);
	struct program p = start_suite(dir, "hang_forked", NULL, NULL, NULL);

	ASSERT(program_read(&p, "# both are there\n"));
	kill(p.pid, SIGKILL);
	EXPECT_EQ(program_end(&p), -SIGKILL);
	expect_all_dead(line, keep);
}

TEST(kernel_log, .what = "what the kernel says as a binary ends is charged to that binary")
{
	struct program p;

	make_kernel_log();
	setenv("FIXTURE_HOW", "late-splat", 1);
	p = run_suite(make_tests("bad", "dying"), "pass", "mmu/dying.*", NULL, NULL);
	EXPECT_LINE(&p, "  not ok 3 mmu/dying.kernel_log");
	EXPECT_LINE(&p, "not ok 2 mmu/dying");
	EXPECT_LINE(&p, "ok 1 mmu/bad");
	EXPECT_EQ(exit_status(&p), 1);
}

TEST(kernel_log_shared, .what = "binaries read on where the one before stopped: nothing twice")
{
	struct program p;

	make_kernel_log();
	p = run_suite(make_tests("bad", "dying"), "splat", "mmu/dying.*", NULL, NULL);
	EXPECT_LINE(&p, "  not ok 1 fixtures/bad.splat");
	EXPECT_LINE(&p, "ok 2 mmu/dying");
	EXPECT_LINE(&p, "# 2 passed, 1 failed, 0 skipped");
}
