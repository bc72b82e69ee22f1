// SPDX-License-Identifier: GPL-2.0-only
/*
 * Engine "kvm", which is the system calls themselves, the choice of the engine,
 * and what its module parameters say.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "test.h"

static int kvm_open(const char *path, int flags)
{
	return open(path, flags);
}

static int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static const struct engine engines[] = {
	{"kvm", kvm_open, kvm_ioctl, mmap, close},
};

const struct engine *engine(void)
{
	const char *name = getenv("MMUSCOPE_ENGINE");
	size_t i;

	if (!name || !*name)
		name = "kvm";
	for (i = 0; i < ARRAY_LEN(engines); i++)
		if (!strcmp(engines[i].name, name))
			return &engines[i];
	test_error("MMUSCOPE_ENGINE=%s: no such engine (there is: kvm)", name);
}

bool engine_param(const char *name, char *value, size_t size)
{
	static const char *const modules[] = {"kvm_amd", "kvm_intel", "kvm"};
	char path[256];
	size_t i;
	FILE *f;

	for (i = 0; i < ARRAY_LEN(modules); i++) {
		bool got;

		snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", modules[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		got = fgets(value, size, f);
		fclose(f);
		if (!got)
			return false;
		value[strcspn(value, "\n")] = 0;
		return true;
	}
	return false;
}

bool engine_param_bool(const char *name, bool fallback)
{
	char value[32];

	if (!engine_param(name, value, sizeof(value)))
		return fallback;
	return strchr("YyTt123456789", value[0]);
}

unsigned int mmu_kind(void)
{
	char value[32];

	if (!engine_param("npt", value, sizeof(value)) &&
	    !engine_param("ept", value, sizeof(value)))
		return 0;
	if (!strchr("Yy1", value[0]))
		return MMU_SHADOW;
	return engine_param_bool("tdp_mmu", false) ? MMU_TDP_MMU : MMU_TDP_LEGACY;
}
