/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the user-space KVM share: the VM and the vCPU around those of the MMU, and each part's calls.
 */
#ifndef X86_KVM_INTERNAL_H
#define X86_KVM_INTERNAL_H

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>

#include "x86/cpu/cpu.h"
#include "x86/kvm/kvm.h"
#include "x86/kvm/nested.h"
#include "x86/mmu/mmu.h"

#define MAX_VCPUS    64
#define MAX_MEMSLOTS 32764 /* an address space */
#define MAX_CPUID    256
#define RUN_SIZE \
	(3 *     \
	 SZ_4K) /* kvm_run, PIO data, coalesced MMIO; the ring follows at DIRTY_LOG_PAGE_OFFSET */

/* Requests beyond the MMU's. */
#define KVM_REQ_SMI	      (KVM_REQ_HV << 0)
#define KVM_REQ_NMI	      (KVM_REQ_HV << 1)
#define KVM_REQ_TRIPLE_FAULT  (KVM_REQ_HV << 2)
#define KVM_REQ_RING_FULL     (KVM_REQ_HV << 3)
#define KVM_REQ_TLB_FLUSH_GPA (KVM_REQ_HV << 4) /* a range; hw_do_flushes() clears it */
#define KVM_REQ_DIRTY_LOG     (KVM_REQ_HV << 5) /* only leave the guest: pml_flush() is on the way */

/* Where a vCPU is; for kicks. */
enum vcpu_mode {
	OUTSIDE_GUEST_MODE, /* it looks at requests before it enters */
	IN_GUEST_MODE,	    /* it must be kicked, and waited for */
};

struct vcpu;

struct vm {
	struct kvm kvm; /* the MMU's part; first */
	int fd;
	int refs;		      /* open descriptors of the VM, its vCPUs and statistics */
	pthread_mutex_t lock;	      /* vCPU creation, capabilities */
	pthread_mutex_t slots_lock;   /* memslots, dirty logs */
	struct vcpu *vcpu[MAX_VCPUS]; /* by index of creation */
	struct kvm_vcpu *mmu_vcpu[MAX_VCPUS]; /* what kvm.vcpus points to */
	u32 dirty_ring_size;		      /* bytes; 0: none */
	bool dirty_ring_acq_rel;
	unsigned int nr_logging; /* slots that log, or are about to; atomically */
	bool irqchip, split_irqchip;
	bool nx_huge_cap_used;
	u64 tss_addr, identity_map_addr;
	struct vm *next; /* all VMs, for the host model; host's lock */

	/* With params.check; audit.c. */
	struct {
		int gate;     /* threads at work for vCPUs; -1: the auditor is */
		u64 earned;   /* towards the next audit */
		bool changed; /* something may have, since the latest */
	} audit;

	/* mmu_lock and its readers, RCU's callbacks: hw.c */
	struct hw_vm *hw;
	pthread_t nx_worker;
	bool nx_worker_runs, nx_worker_stop;
	pthread_cond_t nx_worker_wake; /* with lock */
};

struct vcpu {
	struct kvm_vcpu kvm; /* the MMU's part; first */
	struct vm *vm;
	u32 id; /* KVM_CREATE_VCPU's */
	int fd;
	pthread_mutex_t mutex;	    /* one ioctl at a time */
	struct kvm_run *run;	    /* RUN_SIZE bytes, shared with user space */
	struct kvm_dirty_gfn *ring; /* dirty_ring_size bytes */
	u32 ring_dirty, ring_reset; /* indices that only grow: filled, handed back */

	struct cpu cpu;
	struct phys phys;
	struct tlb *tlb;
	struct nested nested;		    /* the second dimension, cpu.nested when TDP */
	struct svm svm;			    /* the guest's own guests */
	struct pml pml;			    /* what nested.pml points to while slots log */
	enum vcpu_mode mode;		    /* atomically */
	u64 flush_gpa_start, flush_gpa_end; /* with KVM_REQ_TLB_FLUSH_GPA, hw.c */
	struct hw_spinlock flush_lock;	    /* for these two */
	hpa_t root; /* hw_load_root()'s: what the cpu is to run with, and its number of levels */
	int root_level;
	bool many_roots; /* the TLB may have translations made with other roots than that */

	struct kvm_cpuid_entry2 cpuid[MAX_CPUID];
	u32 nr_cpuid;
	u32 mp_state;
	bool smm, in_nmi;
	u32 smbase;
	u64 guest_cr0, guest_cr3, guest_cr4,
		guest_efer; /* shadow paging: what the guest thinks; the cpu has others */
	u64 role_key;	    /* of the registers that kvm_init_mmu() last saw */
	bool smi_pending;
	bool invpcid_hidden; /* by CPUID: #UD */
	bool sigmask_set;
	sigset_t sigmask;    /* KVM_SET_SIGNAL_MASK: while it runs */
	u64 io_rip, io_next; /* with io_pending: the instruction, and the one after it */
	u8 io_size;	     /* of an IN that waits; 0: OUT */
	bool io_string;	     /* INS, OUTS: the processor completes it */
	u8 xsave[4096];	     /* x87 and SSE state, which the cpu lacks, kept for user space */
	u64 soft_msr[64];    /* MSRs without effect, see msr.c */
	u8 pending_irq;	     /* KVM_INTERRUPT */
	bool irq_pending, nmi_pending;
	bool io_pending, mmio_pending; /* the last exit awaits user space's answer */
	/* An instruction that is being emulated, because of where it reads or writes; see emulate.c. */
	struct {
		bool active;
		u64 rip;
		gpa_t gpa;     /* the access that went to user space */
		u8 size, done; /* of that access; bytes answered so far: 8 at a time */
		u64 value;
		bool write;
		/* The latest read of memory: a write to the same place is exchanged against it. */
		bool have_read;
		gpa_t read_gpa;
		u8 read_size, read_answer; /* … and how many answers there were before it */
		u64 read_value;
	} emul;
};

static inline struct vm *to_vm(struct kvm *kvm)
{
	return container_of(kvm, struct vm, kvm);
}

static inline struct vcpu *to_vcpu(struct kvm_vcpu *vcpu)
{
	return container_of(vcpu, struct vcpu, kvm);
}

/* Counts; the vCPU's own thread, while others may read. */
#define stat_inc(v, name) \
	__atomic_store_n(&(v)->kvm.stat.name, (v)->kvm.stat.name + 1, __ATOMIC_RELAXED)

#define stat_set(v, name, value) __atomic_store_n(&(v)->kvm.stat.name, (value), __ATOMIC_RELAXED)

/* All of these return 0 (or a positive result) or -errno unless said otherwise. */

/* fd.c: descriptors. */
enum fd_kind {
	FD_SYSTEM,
	FD_VM,
	FD_VCPU,
	FD_STATS,
};
int fd_create(enum fd_kind kind, void *object, void (*release)(void *object));
void fd_set_release(int fd, void (*release)(void *object));
/* The object and its kind, held until fd_put(); NULL: not one of ours. */
void *fd_get(int fd, enum fd_kind *kind);
void fd_put(int fd);
/* Whether user space's memory of @size bytes (its ends are looked at) can be read: else -EFAULT. */
bool user_access(const void *p, size_t size);
/* Parameters that new VMs get; system.c. */
struct mmu_params params_now(void);

/* system.c, vm.c, vcpu.c: ioctls by kind. */
int system_ioctl(unsigned long request, void *arg);
int vm_ioctl_(struct vm *vm, unsigned long request, void *arg);
int vcpu_ioctl_(struct vcpu *v, unsigned long request, void *arg);
int vm_new(unsigned long type);	     /* a descriptor */
int vcpu_new(struct vm *vm, u32 id); /* a descriptor */
void vm_put(struct vm *vm);
/* What the kernel's module parameters let be changed while VMs run, as far as @old and @new differ. */
void vm_change_params(struct vm *vm, const struct mmu_params *old, const struct mmu_params *new);
/* Calls @fn for each VM there is. */
void fd_each_vm(void (*fn)(struct vm *vm, void *arg), void *arg);
/*
 * audit.c: mmu_check(), and what vCPUs' TLBs have, reported on stderr; how much is broken. While no
 * vCPU runs.
 */
int audit_all(struct vm *vm);
/* With params.check. Around all that is done for a vCPU but running the guest: */
void audit_begin(struct vcpu *v);
void audit_end(struct vcpu *v);
/* Somebody else changes, or is about to change, what the VM's tables depend on. */
void audit_outside(struct vm *vm);
/* The vCPU has left the guest, which has been dealt with. @returns: to user space. */
void audit_exit(struct vcpu *v, enum cpu_exit reason, bool returns);
/* Here everything is in order, if ever: an audit, if it is due. Between audit_begin() and audit_end(). */
void audit(struct vcpu *v);
/* Before the VM is taken apart. */
void audit_last(struct vm *vm);
void vcpu_free(struct vcpu *v); /* with its VM */
int check_extension(struct vm *vm, long cap);

/* cpuid.c, msr.c, regs.c */
int cpuid_supported(struct kvm_cpuid2 *cpuid);
int cpuid_set(struct vcpu *v, const struct kvm_cpuid_entry2 *entries, u32 nent);
void cpuid_execute(struct vcpu *v);
/* Copies the guest's registers from the cpu to kvm.regs, where the MMU looks. */
void regs_to_mmu(struct vcpu *v);
/* The cpu's registers, intercepts and nested tables follow what the guest's are and the MMU's mode is. */
void regs_to_cpu(struct vcpu *v);
int regs_get_sregs(struct vcpu *v, struct kvm_sregs *s);
int regs_set_sregs(struct vcpu *v, const struct kvm_sregs *s);
/* The guest's MOV to CR0, 3, 4, EFER where they exit; true: done, false: #GP. */
bool guest_write_cr(struct vcpu *v, unsigned int nr, u64 value);
bool guest_write_efer(struct vcpu *v, u64 value);
u64 guest_cr0(const struct vcpu *v);
u64 guest_cr3(const struct vcpu *v);
u64 guest_cr4(const struct vcpu *v);
u64 guest_efer(const struct vcpu *v);
/* Sets all four together, unchecked, and everything that follows from a change of them. */
void guest_set_paging(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer);
/* Sets them and no more: the MMU is the caller's to tell. */
void guest_put_paging(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer);
/* Reads the PDPTEs at @cr3; false: reserved bits, or no memory, and the old ones stay. */
bool guest_load_pdptrs(struct vcpu *v, u64 cr3);
/* The guest's INVPCID or MOV to CR3 drops @pcid; CR4.PGE and the like drop everything. */
void guest_flush_pcid(struct vcpu *v, u16 pcid);
void guest_flush_all(struct vcpu *v);
/* After an instruction that was carried out for the guest. */
void skip_insn(struct vcpu *v);
void inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error);
/* kvm_mmu.inject_page_fault. */
void inject_page_fault(struct kvm_vcpu *vcpu, const struct x86_exception *e);
static inline bool vm_tdp(const struct vm *vm)
{
	return mmu_params_tdp(&vm->kvm.params);
}

/* msr.c */
bool msr_read(struct vcpu *v, u32 msr, bool host, u64 *value);
bool msr_write(struct vcpu *v, u32 msr, bool host, u64 value);
int msr_index_list(struct kvm_msr_list *list);
bool msr_intercept(void *arg, u32 msr, bool write);

/* run.c, exit.c, emulate.c, smm.c */
int vcpu_run(struct vcpu *v);
/* The CPU left the guest: 1 to go on, 0 to return to user space (kvm_run is filled), -errno. */
int handle_exit(struct vcpu *v, enum cpu_exit reason);
/* KVM_EXIT_INTERNAL_ERROR with the instruction's bytes; 0. */
int emulation_failure(struct vcpu *v);
/* RET_PF_EMULATE at @gva: has the instruction executed with accesses to that page answered by us. */
int emulate_start(struct vcpu *v, gva_t gva, gpa_t gpa);
int emulate_mmio_exit(struct vcpu *v); /* EXIT_MMIO of the cpu */
int emulate_complete(struct vcpu *v);  /* user space has answered */
void smm_enter(struct vcpu *v);
int smm_leave(struct vcpu *v); /* RSM */

/* memslot.c, dirty.c, ring.c, stats.c */
int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region);
void memslots_free(struct vm *vm);
int dirty_log_get(struct vm *vm, struct kvm_dirty_log *log);
int dirty_log_clear(struct vm *vm, struct kvm_clear_dirty_log *log);
/*
 * A slot is to be logged, or is no more: call before the one and after the other. vCPUs have
 * the processor log what they write from then on, or until then. Under slots_lock.
 */
void dirty_log_slots(struct vm *vm, int count);
/* The vCPU left the guest: empties the processor's log into the dirty log, oldest first. */
void pml_flush(struct vcpu *v);
/* The log for the processor's next run, empty; NULL: it isn't to log. */
struct pml *pml_begin(struct vcpu *v);
int dirty_ring_enable(struct vm *vm, u32 bytes);
int dirty_ring_alloc(struct vcpu *v);
void dirty_ring_free(struct vcpu *v);
int dirty_ring_reset(struct vm *vm);
bool dirty_ring_soft_full(struct vcpu *v);
/* How much the processor may log until it has to exit, so that the ring has room for it. */
unsigned int dirty_ring_pml_size(const struct vm *vm);
int stats_fd_vm(struct vm *vm);
int stats_fd_vcpu(struct vcpu *v);
/*
 * struct vm and struct vcpu must come from here: zeroed, in memory that the statistics descriptors share, so
 * that reading those shows counters as they are. @vcpu: which of the two it is; @id: its number, or the VM's.
 */
void *stats_object_alloc(size_t size, bool vcpu, unsigned long id);
void stats_object_free(void *object);

/* usercopy.c: user space's memory, which may not be there: 0 or -EFAULT. */
int user_read(void *to, const void *user, size_t size);
int user_write(void *user, const void *from, size_t size);

/* guest_mem.c: the hypervisor's own accesses to guest memory, dirty logging included; 0 or -EFAULT. */
int guest_read(struct kvm_vcpu *vcpu, gpa_t gpa, void *buf, unsigned int size);
int guest_write(struct kvm_vcpu *vcpu, gpa_t gpa, const void *buf, unsigned int size);
/* As guest_write() of 1, 2, 4 or 8 bytes, if memory has *@expected; 1: it hasn't, and *@expected says what. */
int guest_cmpxchg(struct kvm_vcpu *vcpu, gpa_t gpa, u64 *expected, u64 value, unsigned int size);

/* hw.c: VM's locks and RCU; entering and leaving the guest; kicks. */
int hw_vm_init(struct vm *vm);
void hw_vm_fini(struct vm *vm);
/* Sets mode to IN_GUEST_MODE and returns true if no request and no signal is there; else stays out. */
bool hw_enter_guest(struct vcpu *v);
void hw_leave_guest(struct vcpu *v);
void hw_kick(struct vcpu *v); /* leaves the guest soon; doesn't wait */
/* Carries out what was asked of the vCPU's TLB since it last entered. */
void hw_do_flushes(struct vcpu *v);
/* What the cpu sees at a physical address: struct phys's frame(). */
void *hw_frame(struct phys *p, hpa_t hpa);

/*
 * host.c: the model of the host's memory; see kvm.h for its system calls. intree_mmap() of what isn't a vCPU's
 * descriptor is host_mmap().
 */
void *host_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
/* A VM's slots are told of changes from here on, until the other call. */
void host_register(struct vm *vm);
void host_unregister(struct vm *vm);
/* While held, host memory doesn't change; memslots are replaced with it held. Inside slots_lock, outside mmu_lock. */
void host_lock(void);
void host_unlock(void);
/* The hva range has become, or has ceased to be, part of a memslot: hw_frame() lets the cpu reach it. */
void host_slot_added(u64 hva, u64 size);
void host_slot_removed(u64 hva, u64 size);

#endif
