/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel under test as files: its image, its modules, and what the modules say of
 * themselves (dependencies and parameters, from .modinfo). From these comes the
 * order in which the lab's init loads them and which of them gets which parameter.
 */
#ifndef TOOLS_MMURUN_MODULES_H
#define TOOLS_MMURUN_MODULES_H

#include "tools/mmurun/mmurun.h"

struct module {
	char *name; /* as files and parameters have it, with '_' for '-' */
	char *path; /* where it lies; NULL when it is part of the kernel image */
	int fd;	    /* the ELF file, decompressed; -1 when part of the image */
	char *info; /* .modinfo: "key=value", NUL-terminated, one after the other */
	size_t info_len;
};

struct module_file {
	char *name, *path;
};

#define MAX_MODULES 64

struct kernel {
	char *image;   /* path of the bzImage */
	char *version; /* release, e.g. "6.1.0-13-amd64" */
	char *tree;    /* folder of the modules, NULL when there is none */
	struct module_file *files;
	size_t nr_files;
	struct module modules[MAX_MODULES]; /* those that were asked for, each opened once */
	int nr_modules;
};

enum vendor {
	VENDOR_AMD,
	VENDOR_INTEL,
};

/* What init is to load, in order, each with its parameters ("a=1 b=2", may be empty). */
struct load_plan {
	struct {
		struct module *module;
		char *params;
		bool optional; /* a test skips without it */
	} load[MAX_MODULES];
	int nr;
	char *cmdline; /* parameters of what is part of the image: "kvm.a=1 ..." */
};

/*
 * Find the kernel that @o asks for (or the newest whole one in the cache) and its
 * modules. Returns EXIT_PASS; else EXIT_USAGE for a path that is no kernel, EXIT_BROKEN for a
 * kernel that is not there, after a message.
 */
enum exit_code kernel_open(struct kernel *k, const struct options *o);

/*
 * Work out what to load for "k=v,k=v" (may be empty) on a CPU of @vendor. Returns EXIT_PASS, or
 * after a message EXIT_USAGE for a parameter that no KVM module has, EXIT_BROKEN for a module
 * that can't be read.
 */
enum exit_code kernel_plan(struct kernel *k, const char *config, enum vendor vendor,
			   struct load_plan *plan);

/* Does a parameter of this config belong to kvm_intel alone (or to kvm_amd alone)? */
bool kernel_config_needs(struct kernel *k, const char *config, enum vendor vendor);

void load_plan_free(struct load_plan *plan);

#endif
