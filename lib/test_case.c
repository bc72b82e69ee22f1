// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inside a case: verdicts, hooks, requirements and expectations. All of it runs in
 * the process forked for the case, or in one that the case has forked. Text goes to
 * stdout, where the runner collects it; verdicts go through a socket of their own.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/test_priv.h"

#define SOFT_PRINTED 20 /* failures of one case that are printed */

struct hook {
	void (*fn)(void *arg);
	void *arg;
	struct hook *next;
};

/* This process's case; me.t is NULL outside one. */
static struct {
	struct test *t;
	struct test_shared *shared;
	int verdict_fd;
	pid_t pid; /* the process forked for the case */
	struct hook *cleanup, *on_failure;
	_Atomic pid_t ending;  /* thread that ends the case, 0 while it runs */
	atomic_bool reporting; /* a thread is running the failure hooks */
} me;

static void send_verdict(enum test_verdict verdict, const char *text)
{
	struct test_record rec = {.verdict = verdict};

	snprintf(rec.text, sizeof(rec.text), "%s", text);
	/* if the runner is gone, so are we soon */
	while (send(me.verdict_fd, &rec, sizeof(rec), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/*
 * One write per call, without stdio: works in a signal handler, and in a process
 * whose stdio another thread has locked. What was printf()ed before is complete
 * lines on a line-buffered stdout, so that the order is kept.
 */
static void vprint(const char *fmt, va_list ap)
{
	char buf[4096];
	int len = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
	size_t done = 0, size;

	if (len < 0)
		return;
	size = (size_t)len < sizeof(buf) - 1 ? (size_t)len : sizeof(buf) - 2;
	if (!size || buf[size - 1] != '\n')
		buf[size++] = '\n';
	while (done < size) {
		ssize_t n = write(STDOUT_FILENO, buf + done, size - done);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EINTR)
			return;
	}
}

void test_diag(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
}

void test_count_check_at(const char *file, int line)
{
	if (!me.t)
		return;
	atomic_fetch_add_explicit(&me.shared->checks, 1, memory_order_relaxed);
	atomic_store_explicit(&me.shared->last_file, file, memory_order_relaxed);
	atomic_store_explicit(&me.shared->last_line, line, memory_order_relaxed);
}

/* --- hooks --------------------------------------------------------------- */

static void push_hook(struct hook **list, void (*fn)(void *), void *arg)
{
	struct hook *h = malloc(sizeof(*h));

	if (!h)
		test_error("out of memory");
	*h = (struct hook){.fn = fn, .arg = arg, .next = *list};
	*list = h;
}

void test_cleanup(void (*fn)(void *), void *arg)
{
	push_hook(&me.cleanup, fn, arg);
}

void test_on_failure(void (*fn)(void *), void *arg)
{
	push_hook(&me.on_failure, fn, arg);
}

void test_on_failure_drop(void (*fn)(void *), void *arg)
{
	struct hook **p, *h;

	for (p = &me.on_failure; *p; p = &(*p)->next) {
		if ((*p)->fn != fn || (*p)->arg != arg)
			continue;
		h = *p;
		*p = h->next;
		free(h);
		return;
	}
}

/*
 * Take each hook off its list before it is called: one that ends the case itself
 * must not be called again on the way out.
 */
static void run_hooks(struct hook **list)
{
	while (*list) {
		struct hook h = **list;

		free(*list);
		*list = h.next;
		h.fn(h.arg);
	}
}

static void report_failure(void)
{
	if (getpid() != me.pid || atomic_exchange(&me.reporting, true))
		return;
	run_hooks(&me.on_failure);
	atomic_store(&me.reporting, false);
}

void test_detach(void)
{
	me.t = NULL;
	me.cleanup = NULL;
	me.on_failure = NULL;
}

/* --- verdicts ------------------------------------------------------------ */

/*
 * Only one thread ends the case; others that arrive stop here for good. The same
 * thread may arrive again, from a hook.
 */
static void become_ender(void)
{
	pid_t self = gettid(), expected = 0;

	if (getpid() != me.pid)
		return;
	if (!atomic_compare_exchange_strong(&me.ending, &expected, self) && expected != self)
		for (;;)
			pause();
}

/* A build that counts which lines run writes that at exit(), which no case gets to. */
static void write_coverage(void)
{
#ifdef MMUSCOPE_COVERAGE
	extern void __gcov_dump(void);

	__gcov_dump();
#endif
}

static void __attribute__((noreturn)) end_process(void)
{
	if (getpid() != me.pid) {
		fflush(NULL);
		_exit(1);
	}
	run_hooks(&me.cleanup);
	fflush(NULL);
	write_coverage();
	_exit(0);
}

static const char *verdict_word(enum test_verdict v)
{
	return v == TEST_ERROR ? "error" : v == TEST_FAIL ? "failed" : "ends";
}

void test_end_at(enum test_verdict verdict, const char *ref, const char *file, int line,
		 const char *fmt, ...)
{
	char msg[1000], reason[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);

	if (!me.t) {
		fprintf(stderr, "%s:%d: %s\n", file, line, msg);
		exit(1);
	}
	become_ender();
	fflush(stdout);
	if (verdict == TEST_XFAIL)
		snprintf(reason, sizeof(reason), "%.200s: %.700s", ref, msg);
	else
		snprintf(reason, sizeof(reason), "%s", msg);
	if (verdict >= TEST_FAIL)
		test_diag("%s:%d: %s: %s", file, line, verdict_word(verdict), msg);
	send_verdict(verdict, reason);
	if (verdict >= TEST_FAIL)
		report_failure();
	end_process();
}

/* A failure whose full text is made: print it, and tell the runner of the first one. */
static void soft_failure(const char *text)
{
	unsigned int nr;

	if (!me.t) {
		fprintf(stderr, "%s\n", text);
		exit(1);
	}
	nr = atomic_fetch_add(&me.shared->soft_failures, 1);
	if (nr < SOFT_PRINTED)
		test_diag("%s", text);
	if (nr == 0)
		send_verdict(TEST_FAIL, text);
	report_failure();
}

void test_fail_soft(const char *file, int line, const char *fmt, ...)
{
	char msg[2000], text[2200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "%s:%d: failed: %s", file, line, msg);
	soft_failure(text);
}

void test_require_failed_(const char *cond, const char *file, int line, const char *fmt, ...)
{
	char msg[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	/* the macro puts a space in front, which is all there is without a text */
	test_end_at(TEST_SKIP, NULL, file, line, "requires %s", msg[1] ? msg + 1 : cond);
}

/* --- expectations -------------------------------------------------------- */

/* Both kinds end here; fmt and ap are the context, with a space in front. */
static void expectation_failed(const struct test_site *site, const char *headline,
			       const char *details, const char *fmt, va_list ap)
{
	char context[600], text[2200];

	vsnprintf(context, sizeof(context), fmt, ap);
	snprintf(text, sizeof(text), "%s:%d: %s failed%s%s%s", site->file, site->line, headline,
		 context[1] ? ":" : "", context[1] ? context : "", details);
	if (site->fatal && me.t)
		become_ender();
	soft_failure(text);
	if (site->fatal)
		end_process();
}

void test_cond_failed_(const struct test_site *site, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	expectation_failed(site, site->a, "", fmt, ap);
	va_end(ap);
}

static bool is_negative(struct test_val v)
{
	return v.is_signed && (int64_t)v.bits < 0;
}

static int compare_values(struct test_val a, struct test_val b)
{
	if (is_negative(a) != is_negative(b))
		return is_negative(a) ? -1 : 1;
	/* of the same sign: two's complement keeps the order */
	return a.bits < b.bits ? -1 : a.bits > b.bits;
}

bool test_compare_(enum test_op op, struct test_val a, struct test_val b)
{
	int c = compare_values(a, b);

	switch (op) {
	case TEST_OP_EQ:
		return c == 0;
	case TEST_OP_NE:
		return c != 0;
	case TEST_OP_LT:
		return c < 0;
	case TEST_OP_LE:
		return c <= 0;
	case TEST_OP_GT:
		return c > 0;
	case TEST_OP_GE:
		return c >= 0;
	}
	return false;
}

static void format_value(char *buf, size_t size, test_namer namer, struct test_val v)
{
	const char *name = namer ? namer(v.bits) : NULL;
	int n = 0;

	if (name)
		n = snprintf(buf, size, "%s ", name);
	if (is_negative(v))
		snprintf(buf + n, size - (size_t)n, "%lld (%#llx)", (long long)v.bits,
			 (unsigned long long)v.bits);
	else
		snprintf(buf + n, size - (size_t)n, "%#llx (%llu)", (unsigned long long)v.bits,
			 (unsigned long long)v.bits);
}

void test_cmp_failed_(const struct test_site *site, test_namer namer, struct test_val a,
		      struct test_val b, const char *fmt, ...)
{
	static const char *const ops[] = {"EQ", "NE", "LT", "LE", "GT", "GE"};
	char headline[500], details[900], va[120], vb[120];
	size_t la = strlen(site->a), lb = strlen(site->b);
	int width = (int)(la > lb ? la : lb);
	va_list ap;

	if (width > 40)
		width = 40;
	format_value(va, sizeof(va), namer, a);
	format_value(vb, sizeof(vb), namer, b);
	snprintf(headline, sizeof(headline), "%s_%s(%s, %s)", site->fatal ? "ASSERT" : "EXPECT",
		 ops[site->op], site->a, site->b);
	snprintf(details, sizeof(details), "\n  %-*.300s = %s\n  %-*.300s = %s", width, site->a, va,
		 width, site->b, vb);
	va_start(ap, fmt);
	expectation_failed(site, headline, details, fmt, ap);
	va_end(ap);
}

bool test_streq_(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

void test_str_failed_(const struct test_site *site, const char *a, const char *b, const char *fmt,
		      ...)
{
	char headline[500], details[1000];
	va_list ap;

	snprintf(headline, sizeof(headline), "%s_STREQ(%s, %s)", site->fatal ? "ASSERT" : "EXPECT",
		 site->a, site->b);
	snprintf(details, sizeof(details), "\n  %s%.400s%s\n  %s%.400s%s", a ? "\"" : "",
		 a ? a : "NULL", a ? "\"" : "", b ? "\"" : "", b ? b : "NULL", b ? "\"" : "");
	va_start(ap, fmt);
	expectation_failed(site, headline, details, fmt, ap);
	va_end(ap);
}

/* --- the process --------------------------------------------------------- */

uint64_t test_rand(struct test *t)
{
	/* splitmix64: one addition and a mixing of bits */
	uint64_t z = t->rand_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

pid_t test_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		test_error("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* the parent may have died before the line above took effect */
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

void test_case_run(struct test *t, struct test_shared *shared, int verdict_fd)
{
	me.t = t;
	me.shared = shared;
	me.verdict_fd = verdict_fd;
	me.pid = getpid();

	t->tc->fn(t);

	if (getpid() != me.pid)
		test_end_at(TEST_ERROR, NULL, t->tc->file, t->tc->line,
			    "a process that the case forked returned from its body");
	become_ender();
	fflush(stdout);
	if (atomic_load(&shared->soft_failures))
		; /* the verdict has been sent */
	else if (!atomic_load(&shared->checks))
		test_end_at(TEST_ERROR, NULL, t->tc->file, t->tc->line, "asserted nothing");
	else
		send_verdict(TEST_PASS, "");
	end_process();
}
