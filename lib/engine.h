/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The seam: an engine is an implementation of the KVM ABI, <linux/kvm.h>, behind
 * four calls that mean what the system calls of the same name mean, errno
 * included. Nothing above asks which engine it has, except to require a feature.
 */
#ifndef LIB_ENGINE_H
#define LIB_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct engine {
	const char *name;
	/* Opens /dev/kvm; a file descriptor, or -1 and errno. */
	int (*open)(const char *path, int flags);
	/* As ioctl(2): -1 and errno on failure. */
	int (*ioctl)(int fd, unsigned long request, void *arg);
	/* As mmap(2), for vCPU run structures and dirty rings. */
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*close)(int fd);
};

/*
 * The engine that MMUSCOPE_ENGINE names ("kvm" when unset). An unknown name
 * ends the case as an error.
 */
const struct engine *engine(void);

/*
 * The value of module parameter @name ("npt", "tdp_mmu", …) of whichever of
 * kvm, kvm_amd and kvm_intel has it, without the newline. False when none has
 * it or it can't be read.
 */
bool engine_param(const char *name, char *value, size_t size);

/* engine_param() as a truth value: "Y", "1" … are true; @fallback when unknown. */
bool engine_param_bool(const char *name, bool fallback);

/*
 * The kind of MMU that the guests of this engine get, one of MMU_TDP_MMU,
 * MMU_TDP_LEGACY and MMU_SHADOW (lib/test.h), or 0 when it can't be told.
 */
unsigned int mmu_kind(void);

#endif
