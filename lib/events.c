// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events and roots of the in-tree MMU, for tests and tools.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "test.h"
#ifdef MMUSCOPE_INTREE
#include "x86/kvm/kvm.h"
#include "x86/mmu/trace.h"
#endif

bool has_events(void)
{
	return !strcmp(engine()->name, "intree");
}

void require_events(void)
{
	REQUIRE(has_events(),
		"events and roots of the MMU, which engine \"%s\" keeps to itself (intree shows them)",
		engine()->name);
}

#ifdef MMUSCOPE_INTREE
struct events events_start(struct vm *vm, size_t max)
{
	require_events();
	if (mmu_trace_start(intree_kvm(vm->fd), max))
		test_error("no memory for %zu events", max);
	return (struct events){.vm = vm};
}

size_t events_read(struct events *ev, struct event *e, size_t max)
{
	struct mmu_trace_event raw;
	size_t n;

	for (n = 0; n < max && mmu_trace_read(intree_kvm(ev->vm->fd), &ev->pos, &raw, 1); n++) {
		e[n] = (struct event){.seq = raw.seq, .ns = raw.ns, .id = raw.id};
		memcpy(e[n].args, raw.args, sizeof(raw.args));
	}
	return n;
}

void events_stop(struct events *ev)
{
	mmu_trace_stop(intree_kvm(ev->vm->fd));
}

const char *event_name(const struct event *e)
{
	return mmu_event_name(e->id);
}

u64 event_arg(const struct event *e, const char *arg)
{
	int i = mmu_event_arg(e->id, arg);

	if (i < 0)
		test_error("event %s has no argument %s", event_name(e), arg);
	return e->args[i];
}

const char *event_text(const struct event *e, char *buf, size_t size)
{
	struct mmu_trace_event raw = {.seq = e->seq, .ns = e->ns, .id = e->id};

	memcpy(raw.args, e->args, sizeof(raw.args));
	mmu_event_text(&raw, buf, size);
	return buf;
}

const char *event_stage_name(u64 stage)
{
	static const char *const names[] = {
#define NAME(id, name) [id] = name,
		MMU_FAULT_STAGES(NAME)};

	return stage < ARRAY_LEN(names) ? names[stage] : NULL;
}

struct audit {
	char *first;
	size_t size;
};

static void hear_audit(void *arg, const char *line)
{
	struct audit *a = arg;

	if (!a->first[0])
		snprintf(a->first, a->size, "%s", line);
}

u32 vm_audit(struct vm *vm, char *first, size_t size)
{
	struct audit a = {first, size};

	require_events();
	first[0] = 0;
	mmu_check(intree_kvm(vm->fd), hear_audit, &a);
	return intree_check();
}

u64 vcpu_root_hpa(struct vcpu *v)
{
	require_events();
	return intree_vcpu(v->fd)->mmu->root.hpa;
}

u64 vcpu_prev_root(struct vcpu *v, u32 i, u64 *pgd)
{
	const struct kvm_mmu *mmu;

	require_events();
	mmu = intree_vcpu(v->fd)->mmu;
	if (i >= KVM_PREV_ROOTS)
		return NO_ROOT;
	*pgd = mmu->prev_roots[i].pgd;
	return mmu->prev_roots[i].hpa;
}
#else
struct events events_start(struct vm *vm, size_t max)
{
	(void)vm;
	(void)max;
	test_skip("requires the in-tree engine, which this build is without");
}

size_t events_read(struct events *ev, struct event *e, size_t max)
{
	(void)ev;
	(void)e;
	(void)max;
	return 0;
}

void events_stop(struct events *ev)
{
	(void)ev;
}

const char *event_name(const struct event *e)
{
	(void)e;
	return "";
}

u64 event_arg(const struct event *e, const char *arg)
{
	(void)e;
	(void)arg;
	return 0;
}

const char *event_text(const struct event *e, char *buf, size_t size)
{
	(void)e;
	if (size)
		buf[0] = 0;
	return buf;
}

const char *event_stage_name(u64 stage)
{
	(void)stage;
	return NULL;
}

u32 vm_audit(struct vm *vm, char *first, size_t size)
{
	(void)vm;
	if (size)
		first[0] = 0;
	return 0;
}

u64 vcpu_root_hpa(struct vcpu *v)
{
	(void)v;
	test_skip("requires the in-tree engine, which this build is without");
}

u64 vcpu_prev_root(struct vcpu *v, u32 i, u64 *pgd)
{
	(void)i;
	(void)pgd;
	return vcpu_root_hpa(v);
}
#endif

bool event_is(const struct event *e, const char *name)
{
	return !strcmp(event_name(e), name);
}
