/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the /dev/kvm of this host can do. A KVM may be absent, forbidden, or
 * partial: some execute guest kernel code by emulation and know only part of
 * the instruction set. A probe guest finds out, so that what can't run skips
 * with the reason.
 */
#ifndef LIB_PROBE_H
#define LIB_PROBE_H

#include <stdbool.h>

struct kvm_probe {
	bool present;	    /* the device is there */
	bool permitted;	    /* and may be opened */
	bool usable;	    /* a guest ran, page faults and ring 3 included */
	bool full;	    /* and every instruction that the probe guest tries could be executed */
	unsigned int modes; /* MODE() mask: paging modes whose guests start; all when full */
	char reason[256];   /* what is wrong, if anything; one line */
};

/*
 * Probes the current engine; the first call runs guests (some milliseconds),
 * later ones answer from memory. Never ends a case. It forks, which has all memory
 * of a VM that exists already mapped anew: ask before vm_create().
 */
void kvm_probe(struct kvm_probe *probe);

/*
 * Whether this is a partial KVM, for what such ones are known to get wrong rather
 * than refuse (EFER.NX=0 has no effect on ring 3). Never under MMUSCOPE_STRICT=1,
 * and not where no guest runs at all.
 */
bool kvm_is_partial(void);

struct vm;
/*
 * For use where something failed that never fails on a whole KVM: skips the
 * case when this is a partial KVM that is known not to do it (@insn: the guest
 * met an instruction that can't be executed; otherwise: guests of the VM's mode
 * do not start), and returns otherwise. Under MMUSCOPE_STRICT=1, as in the lab,
 * where the kernel is what is being tested, it always returns.
 */
void skip_if_partial(struct vm *vm, bool insn, const char *where);

#endif
