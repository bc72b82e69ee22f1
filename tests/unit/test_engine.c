// SPDX-License-Identifier: GPL-2.0-only
/*
 * The choice of the engine and its parameters: what environment variables ask for is what
 * cases get, and a mistake in them is said, not passed over.
 */
#include "mmuscope.h"
#include "tests/unit/test_framework.h"

static struct program run_fixture(void)
{
	const char *argv[] = {program_path("fixtures/vm"), "fault", NULL};
	struct program p = program_start(argv);

	program_end(&p);
	return p;
}

TEST(unknown, .what = "an engine that does not exist is an error of the case that asks for it")
{
	struct program p;

	setenv("MMUSCOPE_ENGINE", "tcg", 1);
	p = run_fixture();
	EXPECT(strstr(p.text, "MMUSCOPE_ENGINE=tcg: no such engine in this build (there is: kvm"),
	       "%s", p.text);
	EXPECT(strstr(p.text, "not ok 1 fixtures/vm.fault # ERROR"), "%s", p.text);
}

static void use_intree(const char *config)
{
	REQUIRE(engine_built("intree"), "a build with the in-tree engine");
	setenv("MMUSCOPE_ENGINE", "intree", 1);
	setenv("MMUSCOPE_CONFIG", config, 1);
}

TEST(bad_config, .what = "so is a parameter that the in-tree engine does not have")
{
	struct program p;

	use_intree("npt=1,no_such_parameter=1");
	p = run_fixture();
	EXPECT(strstr(p.text, "MMUSCOPE_CONFIG=npt=1,no_such_parameter=1: no_such_parameter=1: "),
	       "%s", p.text);
	EXPECT(strstr(p.text, "not ok 1 fixtures/vm.fault # ERROR"), "%s", p.text);
}

static const struct {
	const char *config;
	unsigned int kind;
	const char *format,
		*other; /* the parameter of the vendor's module, and of the one not there */
} kinds[] = {
	{"", MMU_TDP_MMU, "npt", "ept"},
	{"npt=1,tdp_mmu=0", MMU_TDP_LEGACY, "npt", "ept"},
	{"npt=0", MMU_SHADOW, "npt", "ept"},
	{"tdp=0", MMU_SHADOW, "npt", "ept"},
	{"ept=1,ad_bits=0", MMU_TDP_MMU, "ept", "npt"},
	{"ept=1,tdp_mmu=0", MMU_TDP_LEGACY, "ept", "npt"},
	{NULL, 0, NULL, NULL},
};

TEST(kind, .what = "the kind of MMU follows from the in-tree engine's parameters")
{
	char value[32];
	size_t i;

	use_intree("");
	for (i = 0; kinds[i].config; i++) {
		const char *error = engine_config_error("npt=1,tdp=1,tdp_mmu=1,ad_bits=1");

		ASSERT(!error, "%s", error);
		error = engine_config_error(kinds[i].config);
		ASSERT(!error, "%s", error);
		EXPECT_EQ(mmu_kind(), kinds[i].kind, "%s", kinds[i].config);
		EXPECT(engine_param(kinds[i].format, value, sizeof(value)), "%s", kinds[i].config);
		EXPECT(!engine_param(kinds[i].other, value, sizeof(value)), "%s", kinds[i].config);
	}
	EXPECT(engine_param_set("nx_huge_pages", "force"));
	EXPECT(engine_param_bool("nx_huge_pages", false));
	EXPECT(!engine_param_set("nx_huge_pages", "perhaps"));
	EXPECT(!engine_param_set("no_such_parameter", "1"));
}
