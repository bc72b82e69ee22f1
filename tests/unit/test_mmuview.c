// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmuview: that each view shows what it is about, and that wrong options are named.
 */
#include "lib/engine.h"
#include "tests/unit/test_framework.h"

#define EXPECT_HAS(p, part) EXPECT(strstr((p)->text, part), "\"%s\" is not in\n%s", part, (p)->text)

static void require_intree(void)
{
	REQUIRE(engine_built("intree"), "a build with the in-tree engine");
}

/* Runs mmuview with up to five arguments; the status is checked. */
static struct program mmuview(int status, const char *const args[5])
{
	const char *argv[7] = {program_path("../../tools/mmuview")};
	struct program p;

	memcpy(argv + 1, args, 5 * sizeof(args[0]));
	p = program_start(argv);
	EXPECT_EQ(program_end(&p), status, "%s", args[0]);
	return p;
}

#define MMUVIEW(status, ...) mmuview(status, (const char *const[5]){__VA_ARGS__})

TEST(wrong, .what = "a wrong option or view is named and ends with 2")
{
	static const struct {
		const char *args[5], *says;
	} wrong[] = {
		{{NULL}, "give one of unsync, roots, loads, fault"},
		{{"tables"}, "tables: no such view"},
		{{"roots", "loads"}, "give one of"},
		{{"--vcpus", "9", "roots"}, "--vcpus 9: give a number from 1 to 8"},
		{{"--faults", "x", "fault"}, "give a number from 1 to 4096"},
		{{"--config", "nonsense=1", "roots"}, "--config: "},
		{{"--config", "npt=0", "fault"}, "about two-dimensional paging"},
	};

	require_intree();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct program p = mmuview(2, wrong[i].args);

		EXPECT_HAS(&p, wrong[i].says);
	}
}

TEST(help, .what = "--help explains each view and ends with 0")
{
	struct program p = MMUVIEW(0, "--help");

	EXPECT_HAS(&p, "\n  unsync   ");
	EXPECT_HAS(&p, "\n  roots    ");
	EXPECT_HAS(&p, "\n  loads    ");
	EXPECT_HAS(&p, "\n  fault    ");
	EXPECT_HAS(&p, "\nExit status: 0 ");
}

TEST(unsync, .what = "the order of levels, and the way up from each leaf")
{
	struct program p;

	require_intree();
	p = MMUVIEW(0, "unsync");
	EXPECT_HAS(&p, "  index   0  1  2  3  4  5  6  7  8\n");
	EXPECT_HAS(&p, "  level   4  3  2  1  1  1  3  2  1\n");
	EXPECT_HAS(&p, "  leaf [3]  levels 2 3 4, tables 0x");
	EXPECT_HAS(&p, "  leaf [4]  levels 2 3 4, tables 0x");
	EXPECT_HAS(&p, "  leaf [5]  levels 2 3 4, tables 0x");
	EXPECT_HAS(&p, "  leaf [8]  levels 2 3 4, tables 0x");
}

TEST(roots, .what = "roots come to be when vCPUs run; a previous one needs no load")
{
	struct program p;

	require_intree();
	p = MMUVIEW(0, "--vcpus", "2", "roots");
	EXPECT_HAS(&p, "  vcpu[1]  no root yet\n");
	EXPECT_HAS(&p, "  vcpu[1]  root_hpa 0x");
	EXPECT_HAS(&p, " previous   0 ");
	EXPECT_HAS(&p, " -          1 ");
	EXPECT_HAS(&p, " current    0 ");
}

TEST(loads, .what = "an idle guest loads no roots, a busy one many, unless all are remembered")
{
	struct program p;
	const char *idle, *busy;

	require_intree();
	p = MMUVIEW(0, "--samples", "3", "--interval", "20", "loads");
	idle = strstr(p.text, "         0 |@@@");
	/* A machine that is busy with other things may leave the guest no time in some of them. */
	busy = strstr(p.text, "     >=100 |@");
	EXPECT(idle && busy && idle < busy, "%s", p.text);
	p = MMUVIEW(0, "--samples=2", "--interval=20", "--tasks=4", "loads");
	EXPECT(!strstr(p.text, ">=100 |@"), "%s", p.text);
}

TEST(fault, .what = "a fault's stages as a call graph")
{
	struct program p;

	require_intree();
	p = MMUVIEW(0, "--faults", "100", "fault");
	EXPECT_HAS(&p, "  kvm_mmu_page_fault()\n");
	EXPECT_HAS(&p, "      kvm_faultin_pfn()\n");
	EXPECT_HAS(&p, "      map()\n");
	EXPECT_HAS(&p, "          is_page_fault_stale()\n");
	EXPECT_HAS(&p, "      handle_mmio_page_fault()\n");
	p = MMUVIEW(0, "--config", "ept=1,tdp_mmu=0", "fault");
	EXPECT_HAS(&p, "      map()\n");
}
