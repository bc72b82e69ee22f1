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

/* Each format, with and without A/D bits, each MMU, 4 levels and 5, and shadow paging. */
static const char *const intree_default[] = {
	"npt=1",	   "npt=1,ad_bits=0",	  "npt=1,tdp_mmu=0",	 "ept=1", "ept=1,ad_bits=0",
	"ept=1,tdp_mmu=0", "npt=1,maxphyaddr=52", "ept=1,maxphyaddr=52", "npt=0",
};
static const char *const lab_default[] = {"npt=1", "npt=0"};
static const char *const host_default[] = {""};

#define NR(array) ((int)(sizeof(array) / sizeof((array)[0])))
_Static_assert(NR(intree_default) <= MAX_CONFIGS, "room for them");

static void add_env(struct choice *c, enum env_kind kind, const char *config)
{
	static const char *const names[] = {
		[ENV_HOST] = "kvm.host",
		[ENV_LAB] = "kvm.lab",
		[ENV_UNIT] = "unit",
		[ENV_INTREE] = "intree",
	};

	c->envs[c->nr++] = (struct env){
		.kind = kind,
		.config = config,
		.name = format("%s%s%s", names[kind], *config ? "." : "", config),
	};
	c->lab |= kind == ENV_LAB;
}

/* One for each --config, or else for each of the @defaults. */
static void add_envs(const struct options *o, struct choice *c, enum env_kind kind,
		     const char *const *defaults, int nr)
{
	for (int i = 0; i < (o->nr_configs ? o->nr_configs : nr); i++)
		add_env(c, kind, o->nr_configs ? o->configs[i] : defaults[i]);
}

static enum exit_code add_intree(const struct options *o, struct choice *c)
{
	bool only = !strcmp(o->engine, "intree");

	if (!engine_built("intree")) {
		if (only)
			complain("--engine intree: not built into this version; kvm is");
		return only ? EXIT_NOTHING : EXIT_PASS;
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
	add_envs(o, c, ENV_INTREE, intree_default, NR(intree_default));
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
	if (host)
		add_envs(o, c, ENV_HOST, host_default, NR(host_default));
	if (lab)
		add_envs(o, c, ENV_LAB, lab_default, NR(lab_default));
}

enum exit_code choose(const struct options *o, struct choice *c)
{
	enum exit_code code = EXIT_PASS;

	*c = (struct choice){0};
	if (o->unit)
		add_env(c, ENV_UNIT, "");
	if (strcmp(o->engine, "kvm"))
		code = add_intree(o, c);
	if (!code && strcmp(o->engine, "intree"))
		add_kvm(o, c);
	return code;
}
