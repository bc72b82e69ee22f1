/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's tracepoints, for engine "kvm": its MMU tells what it does as kvmmmu/kvm_mmu_get_page and so on, the names that
 * lib/events.h has for an MMU of our own. Recorded in an instance of the machine's own tracing, so that whatever else
 * is traced stays as it is.
 */
#ifndef LIB_TRACEFS_H
#define LIB_TRACEFS_H

/*
 * Records tracepoint @event ("kvmmmu/kvm_mmu_prepare_zap_page") of this thread from now on. Skips the case where there
 * is no tracing. One at a time in the machine: for .exclusive cases whose .restore is tracefs_stop().
 */
void tracefs_start(const char *event);
/* The lines so far; malloc'd. An error when some were lost. */
char *tracefs_lines(void);
void tracefs_stop(void);

#endif
