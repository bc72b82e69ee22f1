/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual machines, their vCPUs and memslots, on whichever engine is in use.
 *
 * A function foo() fails the case when the engine refuses; its twin __foo()
 * returns 0 or a positive result, or -errno. Everything belongs to the VM and
 * goes with vm_destroy(); a case that ends without it loses nothing, its
 * process ends too.
 *
 * A VM's guest physical memory:
 *	0        16 MiB  slot 0, "system": guest image at 1 MiB, page tables from
 *	                 4 MiB; mapped gva == gpa, supervisor only, in every address space
 *	256 MiB  …       slot 1, "memory": what the test works on; vm->mem
 *	                 (config.mem_gpa and .mem_size)
 */
#ifndef LIB_VM_H
#define LIB_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "engine.h"
#include "guest_code/agent_abi.h"
#include "image.h"
#include "memory.h"
#include "x86/arch/paging.h"
#include "x86/arch/regs.h"

#define VM_MAX_VCPUS   AGENT_MAX_CPUS
#define VM_MAX_SLOTS   64
#define VM_SYSTEM_SIZE (16 * MiB)
#define VM_TABLES_GPA  (4 * MiB)
#define VM_MEM_GPA     (256 * MiB)
#define VM_NO_MEM      (~0ull) /* config.mem_size: no slot 1 */

struct vm;

struct memslot {
	struct vm *vm;
	u32 id;	   /* slot number in bits 15:0, address space (1: SMM) in 31:16 */
	u32 flags; /* KVM_MEM_* */
	gpa_t gpa;
	u64 size; /* bytes; 0: no such slot */
	struct memory mem;
	void *hva; /* host address of gpa; mem.hva unless the slot shows part of it */
};

struct vcpu {
	struct vm *vm;
	u32 id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	struct agent_mailbox *mailbox; /* host's view */

	/* Called for each MMIO exit of a batch; without one such an exit fails the case. */
	void (*mmio)(struct vcpu *v, struct kvm_run *run, void *arg);
	/* Called for AGENT_SYNC with its value; without one it fails the case. */
	void (*sync)(struct vcpu *v, u64 value, void *arg);
	/*
	 * Called for any other exit of a batch; returns whether the vCPU is to be
	 * run again (false: the exit fails the case).
	 */
	bool (*other_exit)(struct vcpu *v, struct kvm_run *run, void *arg);
	void *arg;	       /* for the three above */
	u64 mmio_exits, exits; /* counted since creation */

	/* lib's own */
	struct kvm_dirty_gfn *ring; /* mapped by the first dirty_ring_collect() */
	u32 ring_next;		    /* place of the next entry to take */
	pthread_t thread;
	int turn; /* the thread's number where threads take turns, or 0 */
	bool threaded;
	pid_t runner; /* the thread that is inside vcpu_exec(), or 0 */
	volatile sig_atomic_t stalled;
	timer_t timer; /* against batches that don't end */
	bool timer_made;
	volatile bool timer_armed;
	volatile u64 running_since; /* CLOCK_MONOTONIC, ns; 0: no batch runs */
	pthread_t timer_thread;	    /* the timer's signal goes to this one */
	pid_t timer_tid;
	int stats_fd; /* 0: not asked for yet */
};

/* An address space: page tables in slot 0, made by the host or live by the guest. */
struct aspace {
	struct vm *vm;
	const struct paging_mode *mode;
	gpa_t root; /* what goes into CR3, without PCID */
};

struct vm_config {
	const struct paging_mode *mode; /* required */
	u32 nr_vcpus;			/* 0: one */
	bool no_vcpus;			/* none at all */
	u64 mem_size;			/* bytes of slot 1; 0: 16 MiB; VM_NO_MEM: none */
	gpa_t mem_gpa;			/* 0: VM_MEM_GPA */
	enum mem_backing backing;
	u32 mem_flags;		/* KVM_MEM_LOG_DIRTY_PAGES … for slot 1 */
	u32 maxphyaddr;		/* CPUID 0x80000008 EAX[7:0]; 0: as supported */
	u64 cr4;		/* bits to have set in addition from the start */
	bool irqchip;		/* in-kernel irqchip */
	u32 dirty_ring_entries; /* per vCPU; 0: no dirty ring */
	u32 run_ms;		/* a batch that runs longer is a stalled vCPU; 0: 15000 */
	/* Called between KVM_CREATE_VM and anything else, to enable capabilities. */
	void (*early)(struct vm *vm);
	/* Called with the CPUID that a vCPU will get, to edit it. */
	void (*cpuid)(struct kvm_cpuid2 *cpuid);
};

struct vm {
	int kvm_fd, fd, stats_fd;
	struct vm_config config;
	const struct paging_mode *mode;
	const struct image *image;
	struct memslot slots[VM_MAX_SLOTS];
	struct memslot *system;		 /* slot 0 */
	struct memslot *mem;		 /* slot 1, or NULL */
	struct vcpu *vcpu[VM_MAX_VCPUS]; /* nr_vcpus of them, from 0 */
	u32 nr_vcpus;
	struct aspace as;	  /* the address space that vCPUs start in */
	gpa_t next_table;	  /* bump allocator of page tables */
	gpa_t system_table;	  /* what maps slot 0 in every address space */
	u64 entry;		  /* guest_entry */
	u64 user_start, user_end; /* the image's ring 3 pages */
	gva_t test_gva;		  /* start of linear addresses for the test's own mappings */
};

/*
 * vm_create(mode, .nr_vcpus = 2, .backing = MEM_THP, …): a VM whose vCPUs stand
 * at the agent's entry in @mode. Skips where KVM or the mode is not there.
 */
#define vm_create(mode_, ...) vm_create_with(&(struct vm_config){.mode = (mode_), ##__VA_ARGS__})
struct vm *vm_create_with(const struct vm_config *config);
void vm_destroy(struct vm *vm);

/* Opens the engine's /dev/kvm, skipping the case with the reason when that fails. */
int kvm_open_or_skip(void);

/* KVM_CHECK_EXTENSION on the VM, or on /dev/kvm when @vm is NULL; 0: not there. */
int kvm_cap(struct vm *vm, long cap);
/* Skips unless the capability is there. Returns its value. */
#define require_cap(vm, cap) require_cap_at(vm, cap, #cap)
int require_cap_at(struct vm *vm, long cap, const char *name);

/* KVM_ENABLE_CAP on the VM. */
void vm_enable_cap(struct vm *vm, u32 cap, u64 arg0);

/* A bit of the supported CPUID (KVM_GET_SUPPORTED_CPUID). */
struct cpu_feature {
	u32 leaf, subleaf;
	u8 reg; /* 0 eax, 1 ebx, 2 ecx, 3 edx */
	u8 bit;
	const char *name;
};
extern const struct cpu_feature CPU_PGE, CPU_PCID, CPU_INVPCID, CPU_SMEP, CPU_SMAP, CPU_PKU,
	CPU_LA57, CPU_NX, CPU_GBPAGES, CPU_PSE36, CPU_SVM, CPU_VMX, CPU_POPCNT;
bool cpu_has(const struct cpu_feature *f);
#define require_cpu(f) REQUIRE(cpu_has(&(f)), "guest CPU feature %s", (f).name)
/* What guests are told about the width of physical addresses, in bits. */
u32 cpu_maxphyaddr(void);

/* --- ioctls --------------------------------------------------------------- */

/* -errno or the result. */
int __kvm_ioctl(int fd, unsigned long request, void *arg);
#define vm_ioctl(vm, req, arg)	kvm_ioctl_at((vm)->fd, req, arg, #req, __FILE__, __LINE__)
#define vcpu_ioctl(v, req, arg) kvm_ioctl_at((v)->fd, req, arg, #req, __FILE__, __LINE__)
int kvm_ioctl_at(int fd, unsigned long request, void *arg, const char *name, const char *file,
		 int line);

/* --- memslots -------------------------------------------------------------- */

/* Raw KVM_SET_USER_MEMORY_REGION; 0 or -errno. @size 0 deletes. */
int __vm_set_region(struct vm *vm, u32 id, u32 flags, gpa_t gpa, u64 size, void *hva);
/* Adds slot @id backed by new memory. The slot may be bigger than @size: see memory_alloc(). */
struct memslot *slot_add(struct vm *vm, u32 id, gpa_t gpa, u64 size, enum mem_backing backing,
			 u32 flags);
/* Adds slot @id that shows existing host memory, for aliases and offsets. Not owned. */
struct memslot *slot_add_hva(struct vm *vm, u32 id, gpa_t gpa, u64 size, void *hva, u32 flags);
/* Deletes; its memory stays mapped on the host until vm_destroy(). slot_readd() undoes it. */
void slot_delete(struct memslot *slot);
void slot_readd(struct memslot *slot);
void slot_move(struct memslot *slot, gpa_t gpa);
void slot_set_flags(struct memslot *slot, u32 flags);
/* The slot of @gpa in address space 0, or NULL. */
struct memslot *vm_slot_of(struct vm *vm, gpa_t gpa);
/* Host address of guest physical @gpa; fails the case outside every slot. */
void *vm_hva(struct vm *vm, gpa_t gpa);

/* --- vCPUs ----------------------------------------------------------------- */

/* KVM_RUN once; 0 or -errno. */
int __vcpu_run(struct vcpu *v);
struct kvm_regs vcpu_regs(struct vcpu *v);
void vcpu_set_regs(struct vcpu *v, const struct kvm_regs *regs);
struct kvm_sregs vcpu_sregs(struct vcpu *v);
void vcpu_set_sregs(struct vcpu *v, const struct kvm_sregs *sregs);
int __vcpu_set_sregs(struct vcpu *v, const struct kvm_sregs *sregs);
/* "KVM_EXIT_IO" …; "KVM_EXIT_?" for what this version does not know. */
const char *exit_reason_name(u64 reason);

/* Prints everything known about the VM's vCPUs; registered as a failure hook by vm_create(). */
void vm_report(void *vm);
/* Prints the walk of @gva through the tables at @cr3 in @mode, an entry a line. */
void report_walk(struct vm *vm, const struct paging_mode *mode, u64 cr3, gva_t gva);
/* The mode that a vCPU's control registers select. */
const struct paging_mode *sregs_mode(const struct kvm_sregs *sregs);

#endif
