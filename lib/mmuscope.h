/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one header that tests include: VMs and memslots (vm.h), page tables
 * (aspace.h), what the guest does (agent.h), counters (stats.h), dirty logs
 * (dirty.h), the MMU's events (events.h), host memory (memory.h), known defects
 * of processors (quirks.h) and the test framework (test.h).
 */
#ifndef LIB_MMUSCOPE_H
#define LIB_MMUSCOPE_H

#include "agent.h"
#include "aspace.h"
#include "dirty.h"
#include "events.h"
#include "memory.h"
#include "probe.h"
#include "quirks.h"
#include "stats.h"
#include "test.h"
#include "vm.h"

#endif
