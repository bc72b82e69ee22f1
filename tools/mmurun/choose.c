// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which environments a run has: the in-tree engine in each of its configurations, the host's
 * KVM, the lab.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/engine.h"
#include "lib/probe.h"
#include "tools/mmurun/choose.h"

/*
 * What runs without --config, and what with --config all. In-tree: each format, with and without
 * A/D bits, each MMU, 4 levels and 5, and shadow paging.
 */
static const char *const both_mmus[] = {"npt=1", "npt=0"};
static const char *const intree_all[] = {
	"npt=1",	   "npt=1,ad_bits=0",	  "npt=1,tdp_mmu=0",	 "ept=1", "ept=1,ad_bits=0",
	"ept=1,tdp_mmu=0", "npt=1,maxphyaddr=52", "ept=1,maxphyaddr=52", "npt=0",
};
static const char *const lab_all[] = {"npt=1", "npt=1,tdp_mmu=0", "npt=0"};
static const char *const as_it_is[] = {""};

#define NR(array) ((int)(sizeof(array) / sizeof((array)[0])))
_Static_assert(NR(intree_all) <= MAX_CONFIGS, "room for them");

static void add_env(struct choice *c, enum env_kind kind, const char *config)
{
	static const char *const names[] = {
		[ENV_HOST] = "kvm.host", [ENV_LAB] = "kvm.lab", [ENV_UNIT] = "unit",
		[ENV_INTREE] = "intree", [ENV_QEMU] = "qemu",
	};

	c->envs[c->nr++] = (struct env){
		.kind = kind,
		.config = config,
		.name = format("%s%s%s", names[kind], *config ? "." : "", config),
	};
	c->lab |= kind == ENV_LAB;
}

static bool wants_all(const struct options *o)
{
	return o->nr_configs == 1 && !strcmp(o->configs[0], "all");
}

static void add_each(struct choice *c, enum env_kind kind, const char *const *configs, int nr)
{
	for (int i = 0; i < nr; i++)
		add_env(c, kind, configs[i]);
}

static enum exit_code add_intree(const struct options *o, struct choice *c)
{
	bool only = !strcmp(o->engine, "intree"), brief = only && !fuzzing(o);

	if (!engine_built("intree")) {
		if (only)
			complain("--engine intree: not built into this version; kvm is");
		return only ? EXIT_NOTHING : EXIT_PASS;
	}
	if (wants_all(o)) {
		add_each(c, ENV_INTREE, intree_all, NR(intree_all));
		return EXIT_PASS;
	}
	for (int i = 0; i < o->nr_configs; i++) {
		const char *error = engine_config_error(o->configs[i]);

		if (!error)
			continue;
		/* parameters that only the kernel has are no mistake where its engine runs too */
		if (!only) {
			snprintf(c->intree_note, sizeof(c->intree_note),
				 "engine intree does not run with --config %s: %s", o->configs[i],
				 error);
			return EXIT_PASS;
		}
		complain("--config %s: %s; engine intree has %s", o->configs[i], error,
			 engine_config_names());
		return EXIT_USAGE;
	}
	if (o->nr_configs) {
		add_each(c, ENV_INTREE, o->configs, o->nr_configs);
		return EXIT_PASS;
	}
	/* The suite on it alone is what runs before a commit: the parameters' defaults, in seconds. */
	add_each(c, ENV_INTREE, both_mmus, brief ? 1 : NR(both_mmus));
	if (brief)
		snprintf(c->intree_note, sizeof(c->intree_note),
			 "npt=1 only: --config npt=0 is shadow paging, --config all everything");
	return EXIT_PASS;
}

/* The host where it can, and the lab unless the host's KVM is whole. */
static void add_kvm(const struct options *o, struct choice *c)
{
	bool host = o->where != WHERE_LAB, lab = o->where != WHERE_HOST;
	struct kvm_probe probe = {0};

	if (o->where == WHERE_AUTO) {
		kvm_probe(&probe);
		host = probe.usable;
		lab = !probe.full;
		if (!probe.full)
			snprintf(c->host_note, sizeof(c->host_note), "%s: %s", probe.reason,
				 probe.usable ? "the lab is used as well"
					      : "the lab is used instead");
	}
	/* The host's parameters are what they are: "all" of them is one. */
	if (host && o->nr_configs && !wants_all(o))
		add_each(c, ENV_HOST, o->configs, o->nr_configs);
	else if (host)
		add_each(c, ENV_HOST, as_it_is, NR(as_it_is));
	if (lab && wants_all(o))
		add_each(c, ENV_LAB, lab_all, NR(lab_all));
	else if (lab && o->nr_configs)
		add_each(c, ENV_LAB, o->configs, o->nr_configs);
	else if (lab)
		add_each(c, ENV_LAB, both_mmus, NR(both_mmus));
}

enum exit_code choose(const struct options *o, struct choice *c)
{
	enum exit_code code = EXIT_PASS;

	*c = (struct choice){0};
	if (o->unit)
		add_env(c, ENV_UNIT, "");
	if (!strcmp(o->engine, "qemu")) {
		add_env(c, ENV_QEMU, "");
		return EXIT_PASS;
	}
	if (strcmp(o->engine, "kvm"))
		code = add_intree(o, c);
	if (!code && strcmp(o->engine, "intree"))
		add_kvm(o, c);
	return code;
}
