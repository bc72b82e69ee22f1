// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab without a kernel: what is loaded in which order with which parameters, and how
 * the ends of a boot are told apart. QEMU is a script that prints what init and
 * mmusuite would and writes a console.
 */
#include "tests/unit/test_mmurun.h"

static bool have(const char *program)
{
	char *command = NULL;
	bool found;

	if (asprintf(&command, "command -v %s >/dev/null 2>&1", program) < 0)
		test_error("out of memory");
	found = !system(command);
	free(command);
	return found;
}

/* what comes behind "  load " in the plan, without the paths, on one line */
static char *loads(const char *plan)
{
	char *all = strdup("");

	for (const char *p = plan; (p = strstr(p, "  load ")); p++) {
		const char *word = p + strlen("  load ");
		int len = strstr(word, " from ") - word;
		char *longer = NULL;

		if (asprintf(&longer, "%s%s%.*s", all, *all ? ", " : "", len, word) < 0)
			test_error("out of memory");
		all = longer;
	}
	return all;
}

TEST(order, .what = "a module is loaded after what it depends on, with its own parameters")
{
	struct stage s = make_stage();
	struct program p = MMURUN(&s, LAB(&s), "--dry-run", "--config", "npt=0,tdp_mmu=0,nested=1");

	EXPECT_EQ(p.status, 0);
	/* ccp is no file: it is part of the kernel */
	EXPECT_STREQ(loads(p.text), "irqbypass, kvm tdp_mmu=0, kvm_amd npt=0 nested=1", "%s",
		     p.text);
	EXPECT_HAS(&p, "kvm.lab.npt=0,tdp_mmu=0,nested=1\n  kernel " FAKE_RELEASE " ");
}

TEST(defaults, .what = "without --config the lab runs with nested paging and without")
{
	struct stage s = make_stage();
	struct program p = MMURUN(&s, LAB(&s), "--dry-run");

	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(loads(p.text), "irqbypass, kvm, kvm_amd npt=1, irqbypass, kvm, kvm_amd npt=0");
}

TEST(unknown_parameter, .what = "a parameter that no module has is refused before a boot")
{
	struct stage s = make_stage();
	struct program p = MMURUN(&s, LAB(&s), "--config", "npt=0,tpd_mmu=0");

	EXPECT_EQ(p.status, 2);
	EXPECT_HAS(&p, "--config npt=0,tpd_mmu=0: no KVM module of " FAKE_RELEASE
		       " has a parameter 'tpd_mmu'; there are:");
	EXPECT_LINE(&p, "  kvm: tdp_mmu nx_huge_pages");
	EXPECT_LINE(&p, "  kvm_amd: npt nested");
	EXPECT(access(s.output, F_OK), "an output directory for a usage error");
}

TEST(intel, .what = "a parameter of kvm_intel needs a host that nests VMX")
{
	struct stage s = make_stage();
	struct program p = MMURUN(&s, LAB(&s), "--dry-run", "--config", "ept=0");

	if (p.status == 0) {
		EXPECT_STREQ(loads(p.text), "irqbypass, kvm, kvm_intel ept=0");
	} else {
		EXPECT_EQ(p.status, 2);
		EXPECT_HAS(&p, "--config ept=0: only kvm_intel has that");
	}
}

TEST(override, .what = "--modules replaces kvm*.ko by name, at any depth, and nothing else")
{
	struct stage s = make_stage();
	char *dir = stage_path(&s, "mine"), *want = stage_path(&s, "mine/deep/down/kvm.ko");
	struct program p;

	stage_module(&s, "mine/deep/down/kvm.ko", "depends=irqbypass", "parmtype=brand_new:int",
		     NULL);
	stage_module(&s, "mine/irqbypass.ko", "depends=", NULL);
	p = MMURUN(&s, LAB(&s), "--dry-run", "--modules", dir, "--config", "npt=1,brand_new=2");
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(loads(p.text), "irqbypass, kvm brand_new=2, kvm_amd npt=1");
	EXPECT_HAS(&p, want);
	EXPECT(!strstr(p.text, "mine/irqbypass"), "%s", p.text);

	p = MMURUN(&s, LAB(&s), "--dry-run", "--modules", stage_path(&s, "boot"));
	EXPECT_EQ(p.status, 2);
	EXPECT_HAS(&p, "no kvm*.ko in it or below");
}

TEST(compressed, .what = "modules are read through xz, zstd and gzip")
{
	static const char *const packers[] = {"xz", "zstd -q --rm", "gzip"};
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("xz") && have("zstd") && have("gzip"), "(tools/setup.sh lab)");
	for (int i = 0; i < 3; i++) {
		shell("cd '%s/%sarch/x86/kvm' && %s kvm.ko", s.dir, MODULE_DIR, packers[i]);
		p = MMURUN(&s, LAB(&s), "--dry-run", "--config", "tdp_mmu=1");
		EXPECT_EQ(p.status, 0, "%s", p.text);
		EXPECT_STREQ(loads(p.text), "irqbypass, kvm tdp_mmu=1, kvm_amd", "%s", packers[i]);
		shell("cd '%s/%sarch/x86/kvm' && rm kvm.ko.* && cp ../../../virt/lib/irqbypass.ko .",
		      s.dir, MODULE_DIR);
		stage_module(&s, MODULE_DIR "arch/x86/kvm/kvm.ko", "depends=irqbypass",
			     "parmtype=tdp_mmu:bool", NULL);
	}
}

TEST(damaged, .what = "a file that is no module is named, with 12")
{
	struct stage s = make_stage();
	char *path = stage_path(&s, MODULE_DIR "arch/x86/kvm/kvm.ko");
	struct program p;

	put_file(path, "\177ELF cut short", 14, 0644);
	p = MMURUN(&s, LAB(&s), "--dry-run");
	EXPECT_EQ(p.status, 12);
	EXPECT_HAS(&p, "arch/x86/kvm/kvm.ko: no kernel module");
}

TEST(builtin, .what = "what is part of the image has its parameters on the command line")
{
	struct stage s = make_stage();
	static const char info[] = "kvm.parmtype=tdp_mmu:bool\0kvm_amd.parmtype=npt:bool\0";
	char *path = stage_path(&s, "lib/modules/" FAKE_RELEASE "/modules.builtin.modinfo");
	struct program p;

	shell("rm -r '%s/%sarch'", s.dir, MODULE_DIR);
	put_file(path, info, sizeof(info) - 1, 0644);
	p = MMURUN(&s, LAB(&s), "--dry-run", "--config", "npt=0,tdp_mmu=0");
	EXPECT_EQ(p.status, 0, "%s", p.text);
	EXPECT_STREQ(loads(p.text), "");
	EXPECT_HAS(&p, "\n  command line kvm_amd.npt=0 kvm.tdp_mmu=0\n");
	p = MMURUN(&s, LAB(&s), "--dry-run", "--config", "ntp=0");
	EXPECT_EQ(p.status, 2);
}

TEST(not_a_kernel, .what = "--kernel names what it takes when it gets something else")
{
	struct stage s = make_stage();
	struct program p = MMURUN(&s, "--kernel", s.mmurun);

	EXPECT_EQ(p.status, 2);
	EXPECT_HAS(&p, "not a bzImage");
	p = MMURUN(&s, "--kernel", stage_path(&s, "build"));
	EXPECT_EQ(p.status, 2);
	EXPECT_HAS(&p, "no arch/x86/boot/bzImage in it");
}

TEST(built_tree, .what = "--kernel takes a built tree: its image and its modules")
{
	struct stage s = make_stage();
	struct program p;

	shell("mkdir -p '%s/tree/arch/x86/boot' && mv '%s' '%s/tree/arch/x86/boot/bzImage' && "
	      "mv '%s/%sarch/x86/kvm' '%s/%svirt' '%s/tree/arch/x86/' && rm -r '%s/lib'",
	      s.dir, s.image, s.dir, s.dir, MODULE_DIR, s.dir, MODULE_DIR, s.dir, s.dir);
	p = MMURUN(&s, "--kernel", stage_path(&s, "tree"), "--dry-run", "--config", "npt=0");
	EXPECT_EQ(p.status, 0, "%s", p.text);
	EXPECT_STREQ(loads(p.text), "irqbypass, kvm, kvm_amd npt=0");
	p = MMURUN(&s, "--kernel", stage_path(&s, "tree/arch/x86/boot/bzImage"), "--dry-run",
		   "--config", "npt=0");
	EXPECT_STREQ(loads(p.text), "irqbypass, kvm, kvm_amd npt=0", "%s", p.text);
}

/* Boots, as told by what QEMU prints and how it ends. */

#define HELLO "echo '# @lab.hello 9.9.9-fake #1'\necho 'init: hello 9.9.9-fake' >$console\n"
#define ONE                                                                                 \
	"printf 'KTAP version 1\\n1..1\\n  KTAP version 1\\n  # Subtest: mmu/x\\n  1..2\\n" \
	"  # start: mmu/x.a\\n  ok 1 mmu/x.a\\n'\n"
#define TWO	"printf '  # start: mmu/x.b\\n'\n"
#define REST	"printf '  ok 2 mmu/x.b\\nok 1 mmu/x\\n'\n"
#define DONE(n) "echo '# @lab.exit " #n "'\n"

static const struct {
	const char *what, *body;
	int status;
	const char *last, *line, *has;
} boots[] = {
	{"in order", HELLO ONE TWO REST DONE(0), 0, "# 2 passed, 0 failed, 0 skipped",
	 "ok 1 kvm.lab.npt=1", "  # @kernel 9.9.9-fake #1\n"},
	{"a failed case", HELLO ONE TWO "printf '  not ok 2 mmu/x.b\\nnot ok 1 mmu/x\\n'\n" DONE(1),
	 1, "# 1 passed, 1 failed, 0 skipped", "not ok 1 kvm.lab.npt=1",
	 "rerun: ./run_tests.sh --vm --kernel "},
	{"no boot: panic",
	 "printf '[    0.1] early\\r\\n[    0.5] Kernel panic - not syncing: VFS: no root\\r\\n' "
	 ">$console",
	 10, "# 0 passed, 1 failed, 0 skipped",
	 "not ok 1 kvm.lab.npt=1 # ERROR the kernel did not boot: it panicked: VFS: no root",
	 "\n  # [    0.5] Kernel panic - not syncing: VFS: no root\n"},
	{"no boot: reset", "echo 'some noise' >$console", 10, "# 0 passed, 1 failed, 0 skipped",
	 "not ok 1 kvm.lab.npt=1 # ERROR the kernel did not boot: it reset the machine",
	 "\n  # some noise\n"},
	{"panic in a case",
	 HELLO ONE TWO "printf '[    9.9] Kernel panic - not syncing: Fatal exception\\r\\n"
		       "[    9.9] the tail\\r\\n' >>$console",
	 11, "# 1 passed, 1 failed, 0 skipped", "    not ok 2 mmu/x.b",
	 "\n    # [    9.9] the tail\n"},
	{"panic between cases",
	 HELLO ONE "printf '[    9.9] Kernel panic - not syncing: Oh\\r\\n' >>$console", 11,
	 "# 1 passed, 1 failed, 0 skipped", "  not ok 1 mmu/x",
	 "# FAIL: kvm.lab.npt=1: the kernel died under test: it panicked: Oh\n"},
	{"reset in a case", HELLO ONE TWO, 11, "# 1 passed, 1 failed, 0 skipped",
	 "    not ok 2 mmu/x.b", "the kernel died under test: it reset the machine"},
	{"QEMU stays after a panic",
	 HELLO ONE TWO "printf '[    9.9] Kernel panic - not syncing: Oh\\r\\n' >>$console\n"
		       "exec sleep 1000",
	 11, "# 1 passed, 1 failed, 0 skipped", "    not ok 2 mmu/x.b", "it panicked: Oh"},
	{"QEMU killed", HELLO ONE TWO "kill -9 $$", 12, "# 1 passed, 1 failed, 0 skipped",
	 "    not ok 2 mmu/x.b # ERROR QEMU was killed by signal 9", ""},
	{"QEMU refuses", "echo 'no such machine' >&2\nexit 1", 12,
	 "# 0 passed, 1 failed, 0 skipped",
	 "not ok 1 kvm.lab.npt=1 # ERROR QEMU ended with status 1", "\n  # no such machine\n"},
	{"module refused",
	 HELLO "printf '[    3.1] kvm: version magic is wrong\\r\\n' >>$console\n"
	       "echo '# @lab.error module kvm.ko: Exec format error'",
	 12, "# 0 passed, 1 failed, 0 skipped",
	 "not ok 1 kvm.lab.npt=1 # ERROR the lab could not be set up: module kvm.ko: Exec format "
	 "error",
	 "version magic is wrong"},
	{"suite dies", HELLO ONE TWO "echo '# @lab.exit signal 11 (Segmentation fault)'", 12,
	 "# 1 passed, 1 failed, 0 skipped",
	 "    not ok 2 mmu/x.b # ERROR mmusuite ended with signal 11 (Segmentation fault)", ""},
	{"a warning between two cases",
	 HELLO ONE TWO REST "printf '[    8.1] WARNING: CPU: 0 PID: 7 at mmu.c:1 f+0x1/0x2\\r\\n' "
			    ">>$console\n" DONE(0),
	 1, "# 2 passed, 1 failed, 0 skipped", "not ok 1 kvm.lab.npt=1",
	 "the kernel complained outside of any case: WARNING: CPU: 0 PID: 7 at mmu.c:1"},
	{"a warning before the hello",
	 "printf '[    0.1] WARNING: CPU: 0 PID: 0 at x.c:1 f+0x1/0x2\\r\\n' >$console\n"
	 "echo 'init: hello' >>$console\necho '# @lab.hello 9.9.9-fake #1'\n" ONE TWO REST DONE(0),
	 0, "# 2 passed, 0 failed, 0 skipped", "ok 1 kvm.lab.npt=1", ""},
	{"all skipped", HELLO "echo 'ok 1 mmu/x # SKIP none'\n" DONE(4), 4,
	 "# 0 passed, 0 failed, 1 skipped", "ok 1 kvm.lab.npt=1 # SKIP", ""},
};

TEST(boots, .what = "boot failure, panic, a broken environment and failed cases are told apart",
     .timeout = 120)
{
	struct stage s = make_stage();

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	for (size_t i = 0; i < sizeof(boots) / sizeof(boots[0]); i++) {
		struct program p;

		stage_qemu(&s, boots[i].body);
		p = MMURUN(&s, LAB(&s), "--config", "npt=1");
		EXPECT_EQ(p.status, boots[i].status, "%s: %s", boots[i].what, p.text);
		EXPECT_LAST(&p, boots[i].last);
		EXPECT_LINE(&p, boots[i].line);
		EXPECT_HAS(&p, boots[i].has);
	}
}

TEST(no_qemu, .what = "a QEMU that is not there is named, with the remedy, and 12")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	setenv("MMUSCOPE_QEMU", "/nonexistent/qemu", 1);
	p = MMURUN(&s, LAB(&s), "--config", "npt=1");
	EXPECT_EQ(p.status, 12);
	EXPECT_HAS(&p, "/nonexistent/qemu does not start: No such file or directory "
		       "('tools/setup.sh lab' installs QEMU)");
	EXPECT_LAST(&p, "# 0 passed, 1 failed, 0 skipped");
}

TEST(silence, .what = "a kernel that says nothing did not boot; one that stops saying hangs")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	stage_qemu(&s, "exec sleep 1000");
	p = MMURUN(&s, LAB(&s), "--config", "npt=1", "--boot-timeout", "1");
	EXPECT_EQ(p.status, 10);
	EXPECT_HAS(&p, "the kernel did not boot: no sign of life from init for 1 s");
	stage_qemu(&s, HELLO ONE TWO "exec sleep 1000");
	p = MMURUN(&s, LAB(&s), "--config", "npt=1", "--hang-timeout", "1");
	EXPECT_EQ(p.status, 11);
	EXPECT_HAS(&p, "    not ok 2 mmu/x.b # TIMEOUT the kernel died under test: no line for ");
	EXPECT_LAST(&p, "# 1 passed, 1 failed, 0 skipped");
}

TEST(worst, .what = "of two environments the more telling exit status, and the sum")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	stage_qemu(&s, HELLO ONE "case $* in *lab.npt=0/*) printf 'oops' >&2; exit 3;; esac\n" TWO
				 "printf '  not ok 2 mmu/x.b\\nnot ok 1 mmu/x\\n'\n" DONE(1));
	p = MMURUN(&s, LAB(&s));
	EXPECT_EQ(p.status, 12, "%s", p.text);
	EXPECT_LINE(&p, "1..2");
	EXPECT_LINE(&p, "not ok 1 kvm.lab.npt=1");
	EXPECT_LINE(&p, "not ok 2 kvm.lab.npt=0 # ERROR QEMU ended with status 3");
	EXPECT_LAST(&p, "# 2 passed, 2 failed, 0 skipped");
}

TEST(command, .what = "QEMU gets the image, an archive with the plan, and parameters of the image")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	/* the archive is looked into while it is there */
	stage_qemu(&s, "prev=; for a in \"$@\"; do [ \"$prev\" = -initrd ] && "
		       "cpio -i --quiet --to-stdout mmuscope/plan <\"$a\" | sed 's/^/# plan /'; "
		       "prev=$a; done\n" HELLO DONE(4));
	p = MMURUN(&s, LAB(&s), "--config", "npt=0", "--seed", "9", "mmu/*");
	EXPECT_EQ(p.status, 4, "%s", p.text);
	EXPECT_LINE(&p, "  # plan module irqbypass.ko");
	EXPECT_LINE(&p, "  # plan module kvm_amd.ko npt=0");
	EXPECT_LINE(&p, "  # plan env MMUSCOPE_ENV=kvm.lab.npt=0");
	EXPECT_LINE(&p, "  # plan env MMUSCOPE_KMSG=1");
	EXPECT_LINE(&p, "  # plan env MMUSCOPE_STRICT=1");
	EXPECT_LINE(&p, "  # plan arg /mmuscope/tools/mmusuite");
	EXPECT_LINE(&p, "  # plan arg mmu/*");
	shell("grep -q -- \"'-kernel' '%s'\" '%s/kvm.lab.npt=0/command'", s.image, s.output);
	shell("grep -qx '%s' '%s/kvm.lab.npt=0/kernel'", FAKE_RELEASE, s.output);
}

TEST(fuzz, .what = "mmufuzz in place of the suite: its options, and the files of what it finds")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	put_script(stage_path(&s, "build/tools/mmufuzz"), "");
	stage_qemu(&s, "prev=; for a in \"$@\"; do [ \"$prev\" = -initrd ] && "
		       "cpio -i --quiet --to-stdout mmuscope/plan <\"$a\" | "
		       "sed -n 's/^arg /# plan /p'; prev=$a; done\n" HELLO
		       "printf 'KTAP version 1\\n1..1\\n# start: fuzz/random\\n'\n"
		       "printf '# @file 7.shrunk mode la48\\n# @file 7.shrunk\\n'\n"
		       "printf '# @file ../evil x\\n# @file .evil x\\n'\n"
		       "printf '# finding: seed 7\\nnot ok 1 fuzz/random\\n'\n" DONE(1));
	p = MMURUN(&s, LAB(&s), "--config", "npt=0", "--seed", "9", "--fuzz", "30", "--", "--mode",
		   "la48");
	EXPECT_EQ(p.status, 1, "%s", p.text);
	EXPECT_LINE(&p, "  # plan /mmuscope/tools/mmufuzz");
	EXPECT_LINE(&p, "  # plan 30");
	EXPECT_LINE(&p, "  # plan --mode");
	EXPECT_LINE(&p, "  # finding: seed 7");
	EXPECT_LINE(&p, "  not ok 1 fuzz/random");
	EXPECT_HAS(&p, "--config npt=0 --seed 9 --fuzz 30 -- --mode la48\n");
	shell("printf 'mode la48\\n\\n' | cmp - '%s/kvm.lab.npt=0/7.shrunk'", s.output);
	shell("! find '%s' -name '*evil*' | grep .", s.output);
}

TEST(comma, .what = "a comma of the configuration's is not one of QEMU's options")
{
	struct stage s = make_stage();
	struct program p;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	stage_qemu(&s, "for a in \"$@\"; do case $a in file,*) echo \"# $a\";; esac; done\n"
		       "echo '# @lab.hello 9.9.9-fake'\n" DONE(4));
	p = MMURUN(&s, LAB(&s), "--config", "npt=1,tdp_mmu=0");
	EXPECT_EQ(p.status, 4, "%s", p.text);
	EXPECT_HAS(&p, "/kvm.lab.npt=1,,tdp_mmu=0/console.log\n");
}

TEST(interrupted, .what = "Ctrl-C in the lab: the sum of what ran, no QEMU left, 130")
{
	struct stage s = make_stage();
	struct program p;
	int keep, line;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	stage_qemu(&s, HELLO ONE TWO "exec sleep 1000");
	line = lifeline(&keep);
	p = MMURUN_START(&s, LAB(&s));
	ASSERT(program_read(&p, "# start: mmu/x.b\n"), "%s", p.text);
	kill(p.pid, SIGINT);
	EXPECT_EQ(program_end(&p), 130);
	expect_all_dead(line, keep);
	EXPECT_LINE(&p, "    ok 2 mmu/x.b # SKIP interrupted");
	EXPECT_LAST(&p, "# 1 passed, 0 failed, 1 skipped");
}

TEST(killed, .what = "kill -9 of mmurun leaves no QEMU")
{
	struct stage s = make_stage();
	struct program p;
	int keep, line;

	REQUIRE(have("cpio"), "(tools/setup.sh lab)");
	stage_qemu(&s, HELLO ONE TWO "exec sleep 1000");
	line = lifeline(&keep);
	p = MMURUN_START(&s, LAB(&s), "--config", "npt=1");
	ASSERT(program_read(&p, "# start: mmu/x.b\n"), "%s", p.text);
	kill(p.pid, SIGKILL);
	EXPECT_EQ(program_end(&p), -SIGKILL);
	expect_all_dead(line, keep);
}
