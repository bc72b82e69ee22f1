// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bounded run of random programs on page tables, each access judged by the oracle; tools/mmufuzz
 * is the same without bounds. MMUSCOPE_PROGRAMS sets how many programs a case runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mmuscope.h"
#include "model.h"
#include "random_program.h"

#define KERNEL_COUNT 6
#define OWN_COUNT    8
#define NR_STEPS     400
#define SHRINK_TRIES 400

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* In a process of its own, since the engine isn't trusted any more. */
static bool fails(void *arg, const struct program *p)
{
	const double *until = arg;
	const struct model_options o = {0};
	struct model_result res;
	int status = 0;
	pid_t pid;

	if (now() > *until)
		return false;
	pid = test_fork();
	if (!pid) {
		test_detach();
		alarm(20);
		model_run(p, &o, &res);
		_exit(res.wrong ? 33 : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 33;
}

static void report(struct program *p, const struct random_options *r,
		   const struct model_result *res)
{
	double until = now() + 8;

	p->nr_steps = res->step + 1;
	program_shrink(p, fails, &until, SHRINK_TRIES);
	test_diag("as a file for mmufuzz --replay:");
	program_print(p, stdout);
	fflush(stdout);
	test_fail("%s\n  program %lu of mode %s, %u vCPUs", res->text, r->seed, r->mode->name,
		  r->vcpus);
}

static void run(struct test *t, struct random_options r)
{
	const char *given = getenv("MMUSCOPE_PROGRAMS");
	u64 count = given && *given	      ? strtoull(given, NULL, 0)
		    : engine()->kernel_memory ? KERNEL_COUNT
					      : OWN_COUNT;
	const struct model_options o = {0};
	double started = now();
	u64 judged = 0;

	REQUIRE(!kvm_is_partial(), "a KVM that is not partial");
	r.mode = t->mode;
	r.steps = NR_STEPS;
	for (r.seed = t->seed & 0xffffffff; count--; r.seed++) {
		struct model_result res;
		struct program p;

		program_random(&p, &r);
		model_run(&p, &o, &res);
		test_count_check();
		judged += res.judged;
		if (res.wrong)
			report(&p, &r, &res);
		program_free(&p);
	}
	test_diag("judged %lu operations in %.2f s", judged, now() - started);
}

TEST(one_vcpu,
     .what = "random edits of tables, accesses and flushes: nothing that the manuals forbid",
     .modes = MODES_PAGED)
{
	run(t, (struct random_options){.vcpus = 1});
}

TEST(several_vcpus, .what = "the same on three vCPUs in turns: each keeps what it did not flush",
     .modes = MODES_PAGED)
{
	run(t, (struct random_options){.vcpus = 3});
}

TEST(host_changes, .what = "the same with memslots, dirty logs and host memory changing in between",
     .modes = MODES_PAGED)
{
	run(t, (struct random_options){
		       .vcpus = 2, .host = true, .thp = engine()->kernel_memory ? 0 : 1});
}
