// SPDX-License-Identifier: GPL-2.0-only
/*
 * How often roots are loaded: a counter that is sampled while the guest runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "guest_code/programs.h"
#include "tools/mmuview/views.h"

#define BAR	  50
#define MAX_TASKS 32

static void print_bar(const char *label, u64 count, u64 most)
{
	u64 scale = most > BAR ? most : BAR, i, len = count * BAR / scale;

	printf("%10s |", label);
	for (i = 0; i < BAR; i++)
		putchar(i < len || (!i && count) ? '@' : ' ');
	printf(" %lu\n", count);
}

void print_histogram(const u64 *values, u32 n, u64 low, u64 high, u64 step)
{
	u64 buckets = (high - low + step - 1) / step, *count, most = 0, b, first, last;
	char label[32];
	u32 i;

	/* One more at either end, for what lies outside. */
	count = calloc(buckets + 2, sizeof(*count));
	if (!count)
		test_error("out of memory");
	for (i = 0; i < n; i++) {
		b = values[i] < low	? 0
		    : values[i] >= high ? buckets + 1
					: (values[i] - low) / step + 1;
		if (++count[b] > most)
			most = count[b];
	}
	for (first = 0; first < buckets + 1 && !count[first]; first++)
		;
	for (last = buckets + 1; last > 0 && !count[last]; last--)
		;
	first = first > 2 ? first - 2 : count[0] ? 0 : 1;
	last = last + 2 < buckets ? last + 2 : last > buckets ? buckets + 1 : buckets;
	printf("%10s |--------------------------------------------------  count\n", "loads/s");
	for (b = first; b <= last; b++) {
		if (!b)
			snprintf(label, sizeof(label), "<%lu", low);
		else
			snprintf(label, sizeof(label), b > buckets ? ">=%lu" : "%lu",
				 b > buckets ? high : low + (b - 1) * step);
		print_bar(label, count[b], most);
	}
	free(count);
}

static void wait_ms(u32 ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	nanosleep(&ts, NULL);
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Runs what is in the vCPU's batch until *@stop, and samples meanwhile. */
static void sample(struct vcpu *v, volatile u32 *stop, const struct view_options *opt)
{
	u64 *rate = calloc(opt->samples, sizeof(*rate)), before, after, start, now, sum = 0;
	u32 i;

	if (!rate)
		test_error("out of memory");
	*stop = 0;
	(void)vcpu_stat(v, "mmu_loads");
	vcpu_start(v);
	before = vcpu_stat(v, "mmu_loads");
	start = now_ns();
	for (i = 0; i < opt->samples; i++) {
		wait_ms(opt->interval_ms);
		after = vcpu_stat(v, "mmu_loads");
		now = now_ns();
		rate[i] = (after - before) * 1000000000ull / (now - start);
		sum += rate[i];
		before = after;
		start = now;
	}
	*stop = 1;
	vcpu_join(v);
	print_histogram(rate, opt->samples, 0, opt->max, opt->step);
	printf("%10s  mean %lu a second, %u samples of %u ms\n\n", "", sum / opt->samples,
	       opt->samples, opt->interval_ms);
	free(rate);
}

void view_loads(const struct view_options *opt)
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .run_ms = 3600000);
	struct vcpu *v = vm->vcpu[0];
	gpa_t list = vm_alloc_table(vm), stop_gpa = vm_alloc_table(vm);
	volatile u32 *stop = vm_hva(vm, stop_gpa);
	u64 *cr3 = vm_hva(vm, list);
	struct aspace as[MAX_TASKS];
	u32 i;

	make_spaces(vm, as, opt->tasks);
	for (i = 0; i < opt->tasks; i++)
		cr3[i] = as[i].root;

	printf("An idle guest: one task, which waits\n\n");
	guest_load_cr3(v, &as[0]);
	op_clear(v);
	op_add(v, .kind = AGENT_WAIT_NE, .size = 4, .addr = stop_gpa, .value = 0, .arg = ~0ull);
	sample(v, stop, opt);

	printf("A busy guest: %u tasks, and it switches from one to the next all the time\n\n",
	       opt->tasks);
	/* Each has been loaded once when counting begins. */
	for (i = 0; i < opt->tasks; i++)
		guest_load_cr3(v, &as[i]);
	op_clear(v);
	op_add(v, .kind = AGENT_CALL, .addr = PROGRAM_CR3_LOOP, .value = 64 * opt->tasks,
	       .arg = list, .arg2 = opt->tasks);
	op_add(v, .kind = AGENT_LOOP, .addr = stop_gpa, .arg = 1, .value = ~0ull);
	sample(v, stop, opt);
	vm_destroy(vm);
}
