// SPDX-License-Identifier: GPL-2.0-only
/*
 * The runner: one process per case, as many at a time as asked for, each in a
 * process group of its own that ends with it. What happens to a case (output, a
 * verdict, an end, time running out, a complaint of the kernel) arrives in one
 * loop around poll(2); test_report.c turns it into the case's result.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/test_run.h"

/* After its time a case has this long to report where it is (see SIGUSR2 below) … */
#define GRACE_MS 1000
/* … and after SIGKILL this long to be gone; what is not by then is stuck in the kernel. */
#define DEATH_MS 20000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "test runner: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- starting a case ------------------------------------------------------ */

static void __attribute__((noreturn))
child(const struct runner *r, struct running *c, int out_fd, int verdict_fd, pid_t parent)
{
	char name[16];
	int null;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* the runner may have died before the line above took effect */
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	/* so that a kernel report's "Comm:" tells whose it is */
	snprintf(name, sizeof(name), "mc%zx", (size_t)(c->t - r->list->v));
	prctl(PR_SET_NAME, name);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &r->inherited_mask, NULL);

	null = open("/dev/null", O_RDONLY);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	close(out_fd);
	close(c->out_fd);
	close(c->verdict_fd);
	close(r->signal_fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_case_run(c->t, c->shared, verdict_fd);
}

static void start_case(struct runner *r, struct test *t)
{
	struct running *c = calloc(1, sizeof(*c));
	bool alone = r->opt->jobs == 1 || t->tc->exclusive;
	int out[2], verdict[2];
	pid_t parent = getpid();

	if (!c || pipe2(out, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, verdict) < 0)
		die("pipe");
	c->shared = mmap(NULL, sizeof(*c->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->shared == MAP_FAILED)
		die("mmap");
	c->t = t;
	c->out_fd = out[0];
	c->verdict_fd = verdict[0];
	c->output.ktap = &r->ktap;
	c->output.direct = alone;
	c->timeout = t->tc->timeout > r->opt->timeout ? t->tc->timeout : r->opt->timeout;
	c->started = now_ms();
	c->deadline = c->started + 1000ll * c->timeout;

	ktap_start(&r->ktap, t->full_name);
	if (c->timeout != r->opt->timeout)
		ktap_fact(&r->ktap, "timeout", "%u", c->timeout);

	c->pid = fork();
	if (c->pid < 0)
		die("fork");
	if (c->pid == 0)
		child(r, c, out[1], verdict[1], parent);
	/* in both processes: neither may rely on the other having been first */
	setpgid(c->pid, c->pid);
	close(out[1]);
	close(verdict[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	c->next = r->running;
	r->running = c;
	r->nr_running++;
}

/* --- while it runs -------------------------------------------------------- */

/* At most max bytes: a flood must not keep the loop from its other duties. */
static void read_output(struct running *c, size_t max)
{
	char buf[16384];
	ssize_t n;

	while (max) {
		n = read(c->out_fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		if (n == 0) {
			c->out_eof = true;
			return;
		}
		test_output_feed(&c->output, buf, (size_t)n);
		max -= (size_t)n < max ? (size_t)n : max;
	}
}

static void read_verdicts(struct running *c)
{
	struct test_record rec;
	ssize_t n;

	for (;;) {
		n = recv(c->verdict_fd, &rec, sizeof(rec), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			c->verdict_eof = true;
		if (n != sizeof(rec))
			return;
		if (c->has_verdict && rec.verdict <= c->verdict)
			continue;
		c->has_verdict = true;
		c->verdict = rec.verdict;
		rec.text[sizeof(rec.text) - 1] = '\0';
		strcpy(c->reason, rec.text);
	}
}

/* A step further with a case whose time is up. */
static void on_deadline(struct runner *r, struct running *c)
{
	switch (c->stage) {
	case RUNNING:
		/*
		 * Whoever drives a VM in the case catches this one and prints where the
		 * guest is; in any other case it just ends it.
		 */
		c->timed_out = true;
		c->stage = ASKED;
		c->deadline = now_ms() + GRACE_MS;
		kill(c->pid, SIGUSR2);
		break;
	case ASKED:
		c->stage = KILLED;
		c->deadline = now_ms() + DEATH_MS;
		kill(-c->pid, SIGKILL);
		break;
	case KILLED:
		test_report_stuck(r, c);
		c->stage = GONE;
		break;
	case GONE:
		break;
	}
}

/*
 * End what the case left running in its group. We are their subreaper, so they can
 * be waited for: the next case starts without them.
 */
static int sweep(struct running *c)
{
	int status = 0;

	kill(-c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	while (waitpid(-c->pid, NULL, 0) > 0 || errno == EINTR)
		;
	return status;
}

static void finish(struct runner *r, struct running *c)
{
	int status = sweep(c);

	read_output(c, 1 << 20);
	read_verdicts(c);
	c->stage = GONE;
	c->took_ms = now_ms() - c->started;
	test_report(r, c, status);
}

static void reap(struct runner *r)
{
	struct running *c;
	siginfo_t info;

	for (c = r->running; c; c = c->next) {
		info.si_pid = 0;
		/* leave it a zombie: its group's number must stay taken until the sweep */
		if (c->stage != GONE &&
		    !waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
		    info.si_pid == c->pid)
			finish(r, c);
	}
}

static void release_gone(struct runner *r)
{
	struct running **p = &r->running, *c;

	while ((c = *p)) {
		if (c->stage != GONE) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		r->nr_running--;
		close(c->out_fd);
		close(c->verdict_fd);
		munmap(c->shared, sizeof(*c->shared));
		free(c->splats);
		free(c);
	}
}

static void read_signals(struct runner *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			r->interrupted = (int)info.ssi_signo;
}

/* Wait for the next event and deal with it. */
static void step(struct runner *r)
{
	struct pollfd fds[2 + 2 * r->nr_running];
	nfds_t nr = 0, i = 2;
	struct running *c;
	int64_t next = INT64_MAX, now = now_ms();
	int wait;

	fds[nr++] = (struct pollfd){.fd = r->signal_fd, .events = POLLIN};
	/* errors are told unasked: nobody reads our results any more */
	fds[nr++] = (struct pollfd){.fd = r->ktap.fd};
	for (c = r->running; c; c = c->next) {
		/* a negative descriptor is passed over by poll */
		fds[nr++] = (struct pollfd){.fd = c->out_eof ? -1 : c->out_fd, .events = POLLIN};
		fds[nr++] = (struct pollfd){.fd = c->verdict_eof ? -1 : c->verdict_fd,
					    .events = POLLIN};
		if (c->deadline < next)
			next = c->deadline;
	}
	wait = next > now + 60000 ? 60000 : next > now ? (int)(next - now) : 0;
	if (poll(fds, nr, wait) < 0 && errno != EINTR)
		die("poll");
	for (c = r->running; c; c = c->next, i += 2) {
		if (fds[i].revents)
			read_output(c, 65536);
		if (fds[i + 1].revents)
			read_verdicts(c);
		if (now_ms() >= c->deadline)
			on_deadline(r, c);
	}
	if (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL))
		r->ktap.gone = true;
	read_signals(r);
	reap(r);
	release_gone(r);
}

static void interrupt(struct runner *r)
{
	struct running *c;

	for (c = r->running; c; c = c->next) {
		sweep(c);
		ktap_diag(&r->ktap, "interrupted by %s: %s",
			  r->ktap.gone ? "a closed output" : strsignal(r->interrupted),
			  c->t->full_name);
		c->stage = GONE;
	}
	release_gone(r);
}

static bool may_start(const struct runner *r, const struct test *t)
{
	if (!r->nr_running)
		return true;
	return r->nr_running < r->opt->jobs && !t->tc->exclusive;
}

static void set_up_signals(struct runner *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &r->inherited_mask);
	/* an ignored SIGCHLD would be inherited through exec and eat the exit statuses */
	signal(SIGCHLD, SIG_DFL);
	/* a closed stdout is seen as a failed write */
	signal(SIGPIPE, SIG_IGN);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signal_fd < 0)
		die("signalfd");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int test_run_all(struct test_list *list, const struct test_options *opt)
{
	struct runner r = {.opt = opt, .list = list, .ktap = ktap_stdout()};
	const char *env = getenv("MMUSCOPE_ENV");
	size_t next = 0;

	ktap_version(&r.ktap);
	if (!list->nr) {
		ktap_raw(&r.ktap, "1..0 # SKIP no case matches");
		return 4;
	}
	set_up_signals(&r);
	if (opt->kmsg) {
		r.kmsg = kmsg_open();
		if (!r.kmsg)
			ktap_diag(&r.ktap, "the kernel log is not watched: %s", strerror(errno));
	}
	ktap_diag(&r.ktap, "seed: %llu", (unsigned long long)opt->seed);
	if (env && *env)
		ktap_diag(&r.ktap, "environment: %s", env);
	ktap_plan(&r.ktap, list->nr);

	while (!r.interrupted && !r.ktap.gone && (next < list->nr || r.running)) {
		while (next < list->nr && may_start(&r, &list->v[next])) {
			test_report_idle_splats(&r);
			start_case(&r, &list->v[next++]);
		}
		step(&r);
	}
	if (r.interrupted || r.ktap.gone) {
		interrupt(&r);
		return r.interrupted ? 130 : 1;
	}
	test_report_idle_splats(&r);
	kmsg_close(r.kmsg);
	close(r.signal_fd);
	return r.failed ? 1 : r.skipped == list->nr ? 4 : 0;
}
