// SPDX-License-Identifier: GPL-2.0-only
/*
 * The choice of the engine: "kvm", which is the system calls themselves, "intree", which
 * is x86/kvm, or "qemu" (engine_qemu.c); and what their parameters say.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "engine_priv.h"
#include "test.h"
#include "x86/arch/types.h"
#ifdef MMUSCOPE_INTREE
#include "x86/kvm/kvm.h"
#include "x86/mmu/params.h"
#endif

/* --- "kvm" ------------------------------------------------------------------ */

static int kvm_open(const char *path, int flags)
{
	return open(path, flags);
}

static int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static void *kvm_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	return mremap(addr, old_len, new_len, flags, new_addr);
}

/* AnonHugePages of the mappings that the range touches. */
static size_t kvm_huge_bytes(const void *addr, size_t len)
{
	u64 from = (u64)addr, to = from + len, start, end, kib, sum = 0;
	bool inside = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < to && end > from;
		else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kib) == 1)
			sum += kib * 1024;
	}
	fclose(f);
	return sum;
}

static bool sysfs_param(const char *name, char *value, size_t size)
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

static bool sysfs_param_set(const char *name, const char *value)
{
	char path[256];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/sys/module/kvm/parameters/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return done;
}

/* --- "intree" --------------------------------------------------------------- */

static bool is_intree(const struct engine *e)
{
	return !strcmp(e->name, "intree");
}

#ifdef MMUSCOPE_INTREE
static const struct engine_turns intree_turns = {
	.announce = intree_thread_new,
	.begin = intree_thread_begin,
	.end = intree_thread_end,
	.wait = intree_thread_wait,
	.relax = intree_relax,
	.order = intree_order,
};

const char *engine_config_error(const char *config)
{
	return intree_config(config);
}

const char *engine_config_names(void)
{
	static char names[1024];
	const struct mmu_param_doc *doc;
	size_t n = 0;

	for (doc = mmu_param_docs(); doc->name && n < sizeof(names); doc++)
		n += snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "", doc->name);
	return names;
}

static bool config_param(const char *name, char *value, size_t size)
{
	char other[8];

	/* A machine has one vendor's module; here both are known, and one is in effect. */
	if (!strcmp(name, "npt") && intree_param("ept", other, sizeof(other)) && *other == 'Y')
		return false;
	if (!strcmp(name, "ept") && intree_param("ept", other, sizeof(other)) && *other != 'Y')
		return false;
	return intree_param(name, value, size);
}

static bool config_param_set(const char *name, const char *value)
{
	char config[128];

	snprintf(config, sizeof(config), "%s=%s", name, value);
	return !intree_config(config);
}

static const char *wrong_config;

static void apply_config(void)
{
	const char *config = getenv("MMUSCOPE_CONFIG"), *error;

	/* Tests have the MMU audited, unless told otherwise. */
	intree_config("check=1");
	error = config && *config ? intree_config(config) : NULL;
	if (error)
		wrong_config = strdup(error);
}

/* Once in a process, so that what a case sets stays. */
static void configure(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, apply_config);
	if (wrong_config)
		test_error("MMUSCOPE_CONFIG=%s: %s", getenv("MMUSCOPE_CONFIG"), wrong_config);
}
#else
const char *engine_config_error(const char *config)
{
	(void)config;
	return "engine intree is not part of this build";
}

const char *engine_config_names(void)
{
	return "";
}

static void configure(void)
{
}
#endif

/* --- either ------------------------------------------------------------------ */

static const struct engine engine_kvm = {
	.name = "kvm",
	.open = kvm_open,
	.ioctl = kvm_ioctl,
	.close = close,
	.mmap = mmap,
	.munmap = munmap,
	.mprotect = mprotect,
	.madvise = madvise,
	.mremap = kvm_mremap,
	.huge_bytes = kvm_huge_bytes,
	.param = sysfs_param,
	.param_set = sysfs_param_set,
	.kernel_memory = true,
};

#ifdef MMUSCOPE_INTREE
static const struct engine engine_intree = {
	.name = "intree",
	.open = intree_open,
	.ioctl = intree_ioctl,
	.close = intree_close,
	.mmap = intree_mmap,
	.munmap = intree_munmap,
	.mprotect = intree_mprotect,
	.madvise = intree_madvise,
	.mremap = intree_mremap,
	.huge_bytes = intree_huge_bytes,
	.param = config_param,
	.param_set = config_param_set,
	.age = intree_age,
	.fail_alloc = intree_fail_alloc,
	.turns = &intree_turns,
};
#endif

static const struct engine *const engines[] = {
	&engine_kvm,
	&engine_qemu,
#ifdef MMUSCOPE_INTREE
	&engine_intree,
#endif
};

static const struct engine *find_engine(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(engines); i++)
		if (!strcmp(engines[i]->name, name))
			return engines[i];
	return NULL;
}

bool engine_built(const char *name)
{
	return find_engine(name);
}

const struct engine *engine(void)
{
	const char *name = getenv("MMUSCOPE_ENGINE");
	const struct engine *e = find_engine(name && *name ? name : "kvm");

	if (!e)
		test_error(
			"MMUSCOPE_ENGINE=%s: no such engine in this build (there is: kvm, qemu%s)",
			name, engine_built("intree") ? ", intree" : "");
	if (is_intree(e))
		configure();
	return e;
}

bool engine_param(const char *name, char *value, size_t size)
{
	const struct engine *e = engine();

	return e->param && e->param(name, value, size);
}

bool engine_param_set(const char *name, const char *value)
{
	const struct engine *e = engine();

	return e->param_set && e->param_set(name, value);
}

bool engine_param_bool(const char *name, bool fallback)
{
	char value[32];

	if (!engine_param(name, value, sizeof(value)))
		return fallback;
	return strchr("YyTt123456789", value[0]);
}

static unsigned int read_mmu_kind(void)
{
	char value[32];

	if (!engine_param("npt", value, sizeof(value)) &&
	    !engine_param("ept", value, sizeof(value)))
		return 0;
	if (!strchr("Yy1", value[0]) || !engine_param_bool("tdp", true))
		return MMU_SHADOW;
	return engine_param_bool("tdp_mmu", false) ? MMU_TDP_MMU : MMU_TDP_LEGACY;
}

unsigned int mmu_kind(void)
{
	/* Each access that is judged may ask, and a kernel answers through files. */
	static _Atomic unsigned int kernel_kind;

	if (is_intree(engine()))
		return read_mmu_kind();
	if (!kernel_kind)
		kernel_kind = read_mmu_kind();
	return kernel_kind;
}
