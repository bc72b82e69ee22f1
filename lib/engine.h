/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The seam: an engine is an implementation of the KVM ABI, <linux/kvm.h>, behind
 * calls that mean what the system calls of the same name mean, errno included.
 * Nothing above asks which engine it has, except to require a feature.
 *
 * Memory that guests are given, and the vCPUs' shared structures, are mapped and
 * changed by the engine's calls: the kernel's MMU hears of a change from the
 * kernel, another one has to be called for it.
 */
#ifndef LIB_ENGINE_H
#define LIB_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Of an engine that can have threads take turns, in an order that a seed decides and that the same
 * seed gives again (x86/kvm/kvm.h): what lib/vcpu.c tells it of the threads it starts.
 */
struct engine_turns {
	int (*announce)(void);	   /* a thread is about to be started: its number, or 0 */
	void (*begin)(int number); /* the thread's own first call */
	void (*end)(void);
	void (*wait)(int number); /* for its end */
	void (*relax)(void);	  /* somebody else has to do something first */
	uint64_t (*order)(void);  /* a hash of all turns since the seed was set */
};

struct engine {
	const char *name;
	/* Opens /dev/kvm; a file descriptor, or -1 and errno. */
	int (*open)(const char *path, int flags);
	/* As ioctl(2): -1 and errno on failure. */
	int (*ioctl)(int fd, unsigned long request, void *arg);
	int (*close)(int fd);
	/* As mmap(2), for vCPU run structures, dirty rings and guests' memory. */
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *addr, size_t len);
	int (*mprotect)(void *addr, size_t len, int prot);
	int (*madvise)(void *addr, size_t len, int advice);
	void *(*mremap)(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr);
	/* How many bytes of the range transparent huge pages back now. */
	size_t (*huge_bytes)(const void *addr, size_t len);
	/* As engine_param() and engine_param_set(). NULL: there are no parameters. */
	bool (*param)(const char *name, char *value, size_t size);
	bool (*param_set)(const char *name, const char *value);
	/*
	 * Whether a guest accessed any page of the range since the last such call, as reclaim asks
	 * the MMU. NULL: only the kernel can ask that.
	 */
	bool (*age)(void *addr, size_t len);
	/* Lets the @nth of the hypervisor's allocations from now on fail; 0: none. NULL: can't. */
	void (*fail_alloc)(uint64_t nth);
	/*
	 * Guests' memory is the kernel's: shared copy-on-write after fork(2), merged by KSM,
	 * swapped to a device, taken from pools of huge pages, seen in /proc/self. Otherwise it's a model of all
	 * that except fork and KSM.
	 */
	bool kernel_memory;
	/*
	 * There is no hypervisor: guests' memory is a machine's RAM, with no MMIO, nothing read-only
	 * and nothing that changes, and no kind of MMU but the processor's.
	 */
	bool machine;
	const struct engine_turns *turns; /* NULL: threads run freely, always */
};

/*
 * The engine that MMUSCOPE_ENGINE names ("kvm" when unset). An unknown name
 * ends the case as an error, as do parameters in MMUSCOPE_CONFIG that engine "intree",
 * which takes them from there, does not have.
 */
const struct engine *engine(void);

/* Whether engine @name is part of this build. */
bool engine_built(const char *name);

/*
 * The value of module parameter @name ("npt", "tdp_mmu", …) of whichever of
 * kvm, kvm_amd and kvm_intel has it, without the newline. False when none has
 * it or it can't be read.
 */
bool engine_param(const char *name, char *value, size_t size);

/* engine_param() as a truth value: "Y", "1" … are true; @fallback when unknown. */
bool engine_param_bool(const char *name, bool fallback);

/*
 * Changes parameter @name of module kvm; false where that is refused. Cases that do it are
 * exclusive, and put it back.
 */
bool engine_param_set(const char *name, const char *value);

/*
 * What is wrong with "k=v[,k=v]" as parameters of engine "intree", or NULL; valid until the
 * next call. The names that it has, separated by ", ".
 */
const char *engine_config_error(const char *config);
const char *engine_config_names(void);

/*
 * The kind of MMU that the guests of this engine get, one of MMU_TDP_MMU,
 * MMU_TDP_LEGACY and MMU_SHADOW (lib/test.h), or 0 when it can't be told.
 * A kernel is asked once in a process, the in-tree engine each time.
 */
unsigned int mmu_kind(void);

#endif
