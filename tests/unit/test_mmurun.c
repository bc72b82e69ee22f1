// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmurun on the host: its command line, the KTAP it makes of mmusuite's, the last line and
 * the exit status. mmusuite is a script that prints what a real one would, or
 * what one would that was cut off.
 */
#include "lib/engine.h"
#include "tests/unit/test_mmurun.h"

static const struct {
	const char *args[4];
	const char *says;
} wrong[] = {
	{{"--bogus"}, "--bogus: no such option"},
	{{"--jobs", "0"}, "--jobs 0: give a number from 1"},
	{{"--jobs", "-1"}, "--jobs -1: give a number from 1"},
	{{"--timeout", "1s"}, "--timeout 1s: give a number"},
	{{"--seed", "x"}, "--seed x: give a number"},
	{{"--seed"}, "--seed: a value is missing"},
	{{"--format", "xml"}, "--format xml: give pretty or ktap"},
	{{"--engine", "tcg"}, "--engine tcg: give kvm, intree, qemu or all"},
	{{"--config", "npt"}, "--config npt: give NAME=VALUE"},
	{{"--config", "npt=1,"}, "--config npt=1,: give NAME=VALUE"},
	{{"--config", "npt=1 b=2"}, "--config npt=1 b=2: give NAME=VALUE"},
	{{"--config", "=1"}, "--config =1: give NAME=VALUE"},
	{{"--kernel", "/nonexistent"}, "--kernel /nonexistent: No such file"},
	{{"--modules", "/dev/null"}, "--modules /dev/null: give the folder"},
	{{"--host", "--vm"}, "--host with --vm"},
	{{"--host", "--modules", "/tmp"}, "--modules with --host"},
	{{"a b"}, "'a b': not a glob"},
	{{"--config", "all", "--config", "npt=1"}, "--config all: give it alone"},
	{{"--engine", "intree", "--vm"}, "--engine intree with --vm: it runs here"},
};

TEST(bad_options, .what = "a bad value is named, with the remedy, and ends with 2")
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *argv[6] = {program_path("../../tools/mmurun")};
		struct program p;

		memcpy(argv + 1, wrong[i].args, sizeof(wrong[i].args));
		p = program_start(argv);
		EXPECT_EQ(program_end(&p), 2, "%s", wrong[i].says);
		EXPECT_HAS(&p, wrong[i].says);
	}
}

TEST(help, .what = "--help documents every exit status and ends with 0")
{
	const char *argv[] = {program_path("../../tools/mmurun"), "--help", NULL};
	struct program p = program_start(argv);

	EXPECT_EQ(program_end(&p), 0);
	EXPECT_HAS(&p, "\nExit status\n  0 ");
	EXPECT_HAS(&p, "\n  12 ");
}

static void require_intree(void)
{
	REQUIRE(engine_built("intree"), "a build with the in-tree engine");
}

TEST(intree_left_out, .what = "an engine that is not built in is said to be, with 4")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(!engine_built("intree"), "a build without the in-tree engine");
	p = MMURUN(&s, "--engine", "intree");
	EXPECT_EQ(p.status, 4);
	EXPECT_HAS(&p, "--engine intree: not built into this version");
}

TEST(intree_defaults,
     .what = "the in-tree engine alone runs with its defaults, or in all its configurations")
{
	struct stage s = make_stage();
	struct program p;

	require_intree();
	p = MMURUN(&s, "--engine", "intree", "--dry-run");
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "intree.npt=1\n");
	p = MMURUN(&s, "--engine", "intree", "--fuzz", "9", "--dry-run");
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "intree.npt=1\nintree.npt=0\n");
	p = MMURUN(&s, "--engine", "intree", "--config", "all", "--dry-run");
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "intree.npt=1\n"
			     "intree.npt=1,ad_bits=0\n"
			     "intree.npt=1,tdp_mmu=0\n"
			     "intree.ept=1\n"
			     "intree.ept=1,ad_bits=0\n"
			     "intree.ept=1,tdp_mmu=0\n"
			     "intree.npt=1,maxphyaddr=52\n"
			     "intree.ept=1,maxphyaddr=52\n"
			     "intree.npt=0\n");
	p = MMURUN(&s, "--engine", "intree", "--config", "npt=0", "--print-needs");
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "", "what it needs");
}

TEST(intree_config, .what = "a parameter that it does not have is named, with those that it has")
{
	static const char *const wrong_configs[] = {"no_such_parameter=1", "npt=1,maxphyaddr=99",
						    "npt=maybe"};
	struct stage s = make_stage();
	struct program p;

	require_intree();
	for (size_t i = 0; i < ARRAY_LEN(wrong_configs); i++) {
		p = MMURUN(&s, "--engine", "intree", "--config", wrong_configs[i]);
		EXPECT_EQ(p.status, 2);
		EXPECT_HAS(&p, wrong_configs[i]);
		EXPECT_HAS(&p, "; engine intree has npt, ");
	}
}

TEST(intree_run, .what = "its configuration reaches the cases, and the command to run one again")
{
	struct stage s = make_stage();
	struct program p;

	require_intree();
	stage_suite(&s, "echo \"# $MMUSCOPE_ENV $MMUSCOPE_ENGINE $MMUSCOPE_CONFIG "
			"$MMUSCOPE_STRICT\"\n"
			"printf 'KTAP version 1\\n1..1\\n  # start: mmu/x.a\\n  not ok 1 mmu/x.a\\n"
			"not ok 1 mmu/x\\n'; exit 1");
	p = MMURUN(&s, "--engine", "intree", "--config", "ept=1,ad_bits=0", "--config", "npt=0",
		   "--seed", "5", "--output", s.output);
	EXPECT_EQ(p.status, 1);
	EXPECT_LINE(&p, "  # intree.ept=1,ad_bits=0 intree ept=1,ad_bits=0 1");
	EXPECT_LINE(&p, "  # intree.npt=0 intree npt=0 1");
	EXPECT_LINE(&p, "#   rerun: ./run_tests.sh --engine intree --config ept=1,ad_bits=0 "
			"--seed 5 mmu/x.a");
	EXPECT_LAST(&p, "# 0 passed, 2 failed, 0 skipped");
}

/* What a suite prints that has one of each verdict. */
static const char each[] = "cat <<'END'\n"
			   "KTAP version 1\n"
			   "1..1\n"
			   "  KTAP version 1\n"
			   "  # Subtest: mmu/x\n"
			   "  1..6\n"
			   "  # start: mmu/x.a\n"
			   "  ok 1 mmu/x.a\n"
			   "  # start: mmu/x.skip\n"
			   "  ok 2 mmu/x.skip # SKIP no such thing here\n"
			   "  # start: mmu/x.known\n"
			   "  ok 3 mmu/x.known # XFAIL erratum 7\n"
			   "  # start: mmu/x.fail\n"
			   "  # got 1, want 2\n"
			   "  not ok 4 mmu/x.fail\n"
			   "  # start: mmu/x.late\n"
			   "  not ok 5 mmu/x.late # TIMEOUT after 30 s\n"
			   "  # start: mmu/x.odd\n"
			   "  not ok 6 mmu/x.odd # ERROR silence\n"
			   "not ok 1 mmu/x\n"
			   "END\n"
			   "exit 1\n";

TEST(verdicts_ktap, .what = "KTAP one level deeper, each verdict counted once, 1 for a failure")
{
	struct stage s = make_stage();
	struct program p;

	stage_suite(&s, each);
	p = MMURUN(&s, HOST(&s), "--seed", "5");
	EXPECT_EQ(p.status, 1);
	EXPECT_STREQ(strndup(p.text, strstr(p.text, "# kept") - p.text),
		     "KTAP version 1\n"
		     "1..1\n"
		     "# seed 5\n"
		     "  KTAP version 1\n"
		     "  # Subtest: kvm.host\n"
		     "  1..1\n"
		     "    KTAP version 1\n"
		     "    # Subtest: mmu/x\n"
		     "    1..6\n"
		     "    # start: mmu/x.a\n"
		     "    ok 1 mmu/x.a\n"
		     "    # start: mmu/x.skip\n"
		     "    ok 2 mmu/x.skip # SKIP no such thing here\n"
		     "    # start: mmu/x.known\n"
		     "    ok 3 mmu/x.known # XFAIL erratum 7\n"
		     "    # start: mmu/x.fail\n"
		     "    # got 1, want 2\n"
		     "    not ok 4 mmu/x.fail\n"
		     "    # start: mmu/x.late\n"
		     "    not ok 5 mmu/x.late # TIMEOUT after 30 s\n"
		     "    # start: mmu/x.odd\n"
		     "    not ok 6 mmu/x.odd # ERROR silence\n"
		     "  not ok 1 mmu/x\n"
		     "  # @meant of 6 cases meant for it 1 skipped\n"
		     "not ok 1 kvm.host\n"
		     "# skipped 1 in kvm.host: no such thing here\n"
		     "# known defect: kvm.host: mmu/x.known: erratum 7\n"
		     "# FAIL: kvm.host: mmu/x.fail\n"
		     "#   rerun: ./run_tests.sh --host --seed 5 mmu/x.fail\n"
		     "# TIMEOUT: kvm.host: mmu/x.late: after 30 s\n"
		     "#   rerun: ./run_tests.sh --host --seed 5 mmu/x.late\n"
		     "# ERROR: kvm.host: mmu/x.odd: silence\n"
		     "#   rerun: ./run_tests.sh --host --seed 5 mmu/x.odd\n");
	EXPECT_LAST(&p, "# 1 passed, 3 failed, 2 skipped");
}

TEST(meant, .what = "a skip where the case is not meant to run does not count against the place")
{
	struct stage s = make_stage();
	struct program p;

	stage_suite(&s, "printf 'KTAP version 1\\n1..3\\n# start: mmu/x.a\\n# @meant-here no\\n"
			"ok 1 mmu/x.a # SKIP a\\n# start: mmu/x.b\\n# @meant-here yes\\n"
			"ok 2 mmu/x.b # SKIP b\\n# start: mmu/x.c\\nok 3 mmu/x.c\\n'");
	p = MMURUN(&s, HOST(&s));
	EXPECT_EQ(p.status, 0);
	EXPECT_LINE(&p, "  # @meant of 2 cases meant for it 1 skipped");
	EXPECT_LAST(&p, "# 1 passed, 0 failed, 2 skipped");
}

TEST(verdicts_pretty, .what = "for people: what failed with its output, and the bare last line")
{
	struct stage s = make_stage();
	struct program p;

	stage_suite(&s, each);
	p = MMURUN(&s, HOST(&s), "--seed", "5", "--format", "pretty");
	EXPECT_EQ(p.status, 1);
	EXPECT_LINE(&p, "FAIL    kvm.host: mmu/x.fail");
	EXPECT_LINE(&p, "      got 1, want 2");
	EXPECT_LINE(&p, "  rerun: ./run_tests.sh --host --seed 5 mmu/x.late");
	EXPECT(!strchr(p.text, '\033'), "escapes, but this is no terminal");
	EXPECT_LAST(&p, "1 passed, 3 failed, 2 skipped");
}

TEST(kept, .what = "the output directory has the stream as it came and the merged one")
{
	struct stage s = make_stage();
	struct program p;

	stage_suite(&s, each);
	p = MMURUN(&s, HOST(&s), "--format", "pretty");
	EXPECT_EQ(p.status, 1);
	EXPECT(!system(stage_path(&s, "build/tools/mmusuite | cmp - %s/kvm.host/results.ktap",
				  s.output)),
	       "the raw stream");
	shell("grep -q '^    not ok 4 mmu/x.fail$' '%s/results.ktap'", s.output);
}

/* Ends of mmusuite that are none of a case's verdicts. */
static const struct {
	const char *body, *last;
	int status;
	const char *line;
} ends[] = {
	/* cut off in the middle of a line while a case runs */
	{"printf 'KTAP version 1\\n1..1\\n  KTAP version 1\\n  # Subtest: mmu/x\\n  1..2\\n"
	 "  # start: mmu/x.a\\n  ok 1 mmu/x.a\\n  # start: mmu/x.b\\n  # hal'; kill -9 $$",
	 "# 1 passed, 1 failed, 0 skipped", 12,
	 "    not ok 2 mmu/x.b # ERROR mmusuite was killed by signal 9"},
	/* between two cases: the environment's own failure */
	{"printf 'KTAP version 1\\n1..1\\n'; exit 3", "# 0 passed, 1 failed, 0 skipped", 12,
	 "not ok 1 kvm.host # ERROR mmusuite ended with 3"},
	/* a binary that fails without a case that does */
	{"printf 'KTAP version 1\\n1..1\\nnot ok 1 mmu/x # ERROR no list\\n'; exit 1",
	 "# 0 passed, 1 failed, 0 skipped", 1, "  not ok 1 mmu/x # ERROR no list"},
	{"printf 'KTAP version 1\\n1..1\\n  # start: mmu/x.a\\n  ok 1 mmu/x.a\\n"
	 "not ok 1 mmu/x # ERROR plan\\n'; exit 1",
	 "# 1 passed, 1 failed, 0 skipped", 1, "  not ok 1 mmu/x # ERROR plan"},
	/* a failure that only the exit status tells */
	{"printf 'KTAP version 1\\n1..1\\nok 1 mmu/x\\n'; exit 1",
	 "# 1 passed, 1 failed, 0 skipped", 12,
	 "not ok 1 kvm.host # ERROR mmusuite reports a failure, but none was seen"},
	/* all skipped */
	{"printf 'KTAP version 1\\n1..1\\nok 1 mmu/x # SKIP no KVM\\n'; exit 4",
	 "# 0 passed, 0 failed, 1 skipped", 4, "ok 1 kvm.host # SKIP"},
	/* noise, bytes that are no text, indents out of bounds */
	{"printf 'KTAP version 1\\n1..1\\n\\033[31m\\377\\n                          ok 1 deep\\n"
	 "not okay\\nok 1 mmu/x\\n'",
	 "# 1 passed, 0 failed, 0 skipped", 0, "  ok 1 mmu/x"},
};

TEST(odd_ends, .what = "a stream that breaks off is completed and its end is told")
{
	struct stage s = make_stage();

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct program p;

		stage_suite(&s, ends[i].body);
		p = MMURUN(&s, HOST(&s));
		EXPECT_EQ(p.status, ends[i].status, "number %zu: %s", i, p.text);
		EXPECT_LINE(&p, ends[i].line);
		EXPECT_LAST(&p, ends[i].last);
	}
}

TEST(not_run, .what = "cases that a dead mmusuite did not come to are counted out")
{
	struct stage s = make_stage();
	struct program p;

	put_script(stage_path(&s, "build/tools/mmusuite"),
		   "case $* in *--list*) printf 'mmu/x.a\\nmmu/x.b\\nmmu/x.c\\n'; exit;; esac\n"
		   "printf 'KTAP version 1\\n1..3\\n# start: mmu/x.a\\nok 1 mmu/x.a\\n'; exit 3");
	p = MMURUN(&s, HOST(&s));
	EXPECT_EQ(p.status, 12);
	EXPECT_LINE(&p, "  # 2 of 3 cases did not run");
	EXPECT_LAST(&p, "# 1 passed, 1 failed, 0 skipped");
}

TEST(arguments, .what = "globs and options reach mmusuite word by word")
{
	struct stage s = make_stage();
	struct program p;
	char want[PATH_MAX + 100];

	stage_suite(&s, "echo \"# $* $MMUSCOPE_ENV\"; exit 4");
	p = MMURUN(&s, HOST(&s), "--jobs", "3", "--timeout", "7", "--seed", "0x10", "mmu/*", "x.a");
	EXPECT_EQ(p.status, 4);
	snprintf(want, sizeof(want),
		 "  # --tests %s/build/tests --jobs 3 --timeout 7 --seed 16 mmu/* x.a kvm.host",
		 s.dir);
	EXPECT_LINE(&p, want);
}

TEST(host_config,
     .what = "a parameter that the host's modules lack skips the host, with the remedy")
{
	struct stage s = make_stage();
	struct program p;

	stage_suite(&s, each);
	p = MMURUN(&s, HOST(&s), "--config", "no_such_parameter=1");
	EXPECT_EQ(p.status, 4);
	EXPECT_LINE(&p, "ok 1 kvm.host.no_such_parameter=1 # SKIP the host's KVM has no parameter "
			"no_such_parameter: use --vm");
}

TEST(no_match, .what = "a glob that matches nothing is told before anything starts")
{
	struct stage s = make_stage();
	struct program p;

	put_script(stage_path(&s, "build/tools/mmusuite"), "exit 4");
	p = MMURUN(&s, HOST(&s), "nothing");
	EXPECT_EQ(p.status, 4);
	EXPECT_HAS(&p, "no case matches 'nothing': see --list");
	EXPECT(access(s.output, F_OK), "an output directory for nothing");
}

TEST(interrupted, .what = "Ctrl-C: what ran is summed up, nothing is left behind, 130")
{
	struct stage s = make_stage();
	struct program p;
	int keep, line;

	stage_suite(&s, "printf 'KTAP version 1\\n1..2\\n  # start: mmu/x.a\\n  ok 1 mmu/x.a\\n"
			"ok 1 mmu/x\\n  # start: mmu/y.a\\n'\nexec sleep 1000");
	line = lifeline(&keep);
	p = MMURUN_START(&s, HOST(&s));
	ASSERT(program_read(&p, "# start: mmu/y.a\n"), "%s", p.text);
	kill(p.pid, SIGINT);
	EXPECT_EQ(program_end(&p), 130);
	expect_all_dead(line, keep);
	EXPECT_LINE(&p, "    ok 1 mmu/y.a # SKIP interrupted");
	EXPECT_LAST(&p, "# 1 passed, 0 failed, 1 skipped");
}

TEST(killed, .what = "kill -9 of mmurun on the host leaves no process")
{
	struct stage s = make_stage();
	struct program p;
	int keep, line;

	stage_suite(&s, "printf 'KTAP version 1\\n1..1\\n  # start: mmu/x.a\\n'\nexec sleep 1000");
	line = lifeline(&keep);
	p = MMURUN_START(&s, HOST(&s));
	ASSERT(program_read(&p, "# start: mmu/x.a\n"), "%s", p.text);
	kill(p.pid, SIGKILL);
	EXPECT_EQ(program_end(&p), -SIGKILL);
	expect_all_dead(line, keep);
}
