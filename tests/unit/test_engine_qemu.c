// SPDX-License-Identifier: GPL-2.0-only
/*
 * Engine "qemu": what it says when a guest, or QEMU itself, goes wrong, and that nothing of it is
 * left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mmuscope.h"
#include "tests/unit/test_framework.h"

static struct program run_fixture(const char *name)
{
	const char *argv[] = {program_path("fixtures/vm"), name, NULL};
	struct program p;

	REQUIRE(!system("command -v qemu-system-x86_64 >/dev/null"), "qemu-system-x86_64");
	setenv("MMUSCOPE_ENGINE", "qemu", 1);
	p = program_start(argv);
	program_end(&p);
	return p;
}

#define EXPECT_TEXT(p, part) EXPECT(strstr((p).text, part), "\"%s\" is not in\n%s", part, (p).text)

TEST(fault, .what = "an unexpected fault is reported with registers and the page walk")
{
	struct program p = run_fixture("fault");

	EXPECT_TEXT(p, "got:      #PF, error 0x3 (P|W), cr2 0x8000000000");
	EXPECT_TEXT(p, "walk of 0x8000000000, mode la48, cr3 0x400000");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.fault");
}

TEST(stall, .what = "a guest that never comes back is stopped and reported with where it is")
{
	struct program p = run_fixture("stall");

	EXPECT_TEXT(p, "vCPU 0 did not come back: operation 1 of 2 was running after ");
	EXPECT(strstr(p.text, "wait_for+") || strstr(p.text, "run_from+") ||
		       strstr(p.text, "execute+") || strstr(p.text, "go_on+"),
	       "no symbol in\n%s", p.text);
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.stall");
}

TEST(triple_fault, .what = "a triple fault is an exit, with the registers it left")
{
	struct program p = run_fixture("triple_fault");

	EXPECT_TEXT(p, "unexpected exit KVM_EXIT_SHUTDOWN");
	EXPECT_TEXT(p, "cr3 0xfff000");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.triple_fault");
}

TEST(dead_qemu, .what = "a QEMU that ends is a failure, with its last words")
{
	char path[] = "/tmp/mmuscope-qemu-XXXXXX";
	int fd = mkstemp(path);
	struct program p;

	ASSERT(fd >= 0);
	/* The shell becomes QEMU, which so has us for a parent and ends with us. */
	dprintf(fd, "#!/bin/sh\n(sleep 3; kill $$) &\nexec qemu-system-x86_64 \"$@\"\n");
	fchmod(fd, 0700);
	close(fd);
	setenv("MMUSCOPE_QEMU", path, 1);
	p = run_fixture("case_timeout");
	unlink(path);
	EXPECT_TEXT(p, "QEMU ended, wait status 0; its last words: ");
	EXPECT_TEXT(p, "terminating on signal 15");
	EXPECT_LINE(&p, "not ok 1 fixtures/vm.case_timeout");
}

TEST(no_kvm, .what = "what there is none of without a hypervisor skips by name")
{
	struct program p = run_fixture("stall_thread");

	EXPECT_TEXT(p, "# SKIP engine qemu: more than one vCPU");
}

TEST(no_qemu, .what = "without QEMU a case skips; one that does not start is an error")
{
	struct program p;

	setenv("MMUSCOPE_QEMU", "/nonexistent/qemu", 1);
	p = run_fixture("fault");
	EXPECT_TEXT(p, "# SKIP engine qemu: /nonexistent/qemu: No such file or directory");
	setenv("MMUSCOPE_QEMU", "false", 1);
	p = run_fixture("fault");
	EXPECT_TEXT(p, "false did not start");
	EXPECT_TEXT(p, "not ok 1 fixtures/vm.fault # ERROR");
}
