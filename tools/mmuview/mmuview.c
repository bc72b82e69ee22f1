// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmuview shows the in-tree MMU at work on small demonstration guests, one view a call.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mmuview/views.h"

static const char help[] =
	"usage: mmuview [OPTION]... VIEW\n"
	"\n"
	"Runs a small guest on the in-tree engine and shows how its MMU goes about it. Needs no\n"
	"/dev/kvm and no privileges.\n"
	"\n"
	"Views\n"
	"  unsync   Shadow paging. The guest may write its last-level tables without a trap; such a\n"
	"           table is then out of sync. When a table goes, what is out of sync below it goes\n"
	"           first. The view lists the pages of one such collection in the order in which they\n"
	"           are found: down to the first leaf, then on from there (depth first). For each\n"
	"           leaf it lists the tables on the way up to the root.\n"
	"  roots    Shadow paging. A vCPU's hardware walk begins at a root that belongs to the\n"
	"           guest's CR3. The view shows the root of each vCPU before and after the guest\n"
	"           switches tasks, and for a row of CR3 loads whether the root was current, among\n"
	"           the three previous ones, or had to be loaded (kvm_mmu_load).\n"
	"  loads    Shadow paging. How many roots are loaded a second, sample by sample, by an idle\n"
	"           guest and by one that switches between tasks all the time, as histograms. With up\n"
	"           to four tasks (--tasks) all roots are remembered, and the busy guest looks idle.\n"
	"  fault    Two-dimensional paging. The functions that a page fault goes through, indented as\n"
	"           they call each other, with the mean time in each and its share of the whole.\n"
	"\n"
	"Options\n"
	"  --vcpus N      roots: vCPUs, 1 to 8 (default 4)\n"
	"  --tasks N      roots, loads: the guest's tasks, each with a CR3, 1 to 32 (default 8)\n"
	"  --samples N    loads: samples per guest, 1 to 1000 (default 10)\n"
	"  --interval MS  loads: milliseconds of a sample (default 100)\n"
	"  --max N        loads: loads a second where the histogram ends (default 100)\n"
	"  --step N       loads: width of a line of it (default 10)\n"
	"  --faults N     fault: faults to average over, 1 to 4096 (default 1000)\n"
	"  --config K=V[,K=V]  parameters of the MMU, such as ept=1 or tdp_mmu=0\n"
	"  --help         this text\n"
	"\n"
	"Times include what it takes to note them, some tens of nanoseconds a line.\n"
	"\n"
	"Exit status: 0 done, 1 the guest or the MMU went wrong, 2 usage.\n";

static const struct view {
	const char *name;
	const char *npt; /* what the view is about */
	void (*show)(const struct view_options *opt);
} views[] = {
	{"unsync", "0", view_unsync},
	{"roots", "0", view_roots},
	{"loads", "0", view_loads},
	{"fault", NULL, view_fault},
};

static void __attribute__((noreturn)) usage(const char *what, const char *why)
{
	fprintf(stderr, "mmuview: %s: %s (see --help)\n", what, why);
	exit(2);
}

static u32 number(const char *name, const char *text, u32 min, u32 max)
{
	char *end, what[64], why[64];
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n < min || n > max) {
		snprintf(what, sizeof(what), "--%s %.40s", name, text);
		snprintf(why, sizeof(why), "give a number from %u to %u", min, max);
		usage(what, why);
	}
	return (u32)n;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		size_t offset;
		u32 min, max;
	} numbers[] = {
		{"vcpus", offsetof(struct view_options, vcpus), 1, VM_MAX_VCPUS},
		{"tasks", offsetof(struct view_options, tasks), 1, 32},
		{"samples", offsetof(struct view_options, samples), 1, 1000},
		{"interval", offsetof(struct view_options, interval_ms), 1, 60000},
		{"max", offsetof(struct view_options, max), 1, 100000000},
		{"step", offsetof(struct view_options, step), 1, 100000000},
		{"faults", offsetof(struct view_options, faults), 1, 4096},
	};
	struct view_options opt = {.vcpus = 4,
				   .tasks = 8,
				   .samples = 10,
				   .interval_ms = 100,
				   .max = 100,
				   .step = 10,
				   .faults = 1000};
	struct option options[ARRAY_LEN(numbers) + 3] = {{0}};
	const struct view *view = NULL;
	const char *error;
	size_t i;
	int c;

	for (i = 0; i < ARRAY_LEN(numbers); i++)
		options[i] = (struct option){numbers[i].name, required_argument, NULL, (int)i};
	options[i++] = (struct option){"config", required_argument, NULL, 'c'};
	options[i++] = (struct option){"help", no_argument, NULL, 'h'};
	setenv("MMUSCOPE_ENGINE", "intree", 1);
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'c':
			error = engine_config_error(optarg);
			if (error)
				usage("--config", error);
			setenv("MMUSCOPE_CONFIG", optarg, 1);
			break;
		case '?':
			return 2;
		default:
			*(u32 *)((char *)&opt + numbers[c].offset) =
				number(numbers[c].name, optarg, numbers[c].min, numbers[c].max);
		}
	}
	if (optind + 1 != argc)
		usage("VIEW", "give one of unsync, roots, loads, fault");
	for (i = 0; i < ARRAY_LEN(views); i++)
		if (!strcmp(views[i].name, argv[optind]))
			view = &views[i];
	if (!view)
		usage(argv[optind], "no such view; there are unsync, roots, loads, fault");
	if (!engine_built("intree"))
		usage(argv[optind], "this build is without the in-tree engine");
	if (view->npt)
		engine_param_set("npt", view->npt);
	else if (mmu_kind() == MMU_SHADOW)
		usage(argv[optind], "is about two-dimensional paging, which --config turns off");
	view->show(&opt);
	return 0;
}
