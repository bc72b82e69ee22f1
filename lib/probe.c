// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds out what this KVM can do by running the agent: once for page faults and
 * ring 3, once for each instruction that partial KVMs are known to lack, each
 * in a VM of its own, since a vCPU that met one does not go on. All in a forked
 * child, so that neither a crash nor a verdict reaches the caller.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "guest_code/programs.h"
#include "probe.h"
#include "test.h"

static const char *const insn_names[PROBE_COUNT] = {
	[PROBE_INT] = "INT n",
	[PROBE_INT3] = "INT3",
	[PROBE_POPCNT] = "POPCNT",
	[PROBE_STAC] = "STAC/CLAC",
	[PROBE_CMPXCHG8B] = "LOCK CMPXCHG8B",
	[PROBE_REP_STOS] = "REP STOS",
	[PROBE_INVPCID] = "INVPCID",
};

/* What the child found out; in shared memory. */
struct findings {
	bool usable;
	bool failed[PROBE_COUNT];
	unsigned int modes;
};

/* How a probe guest ended. */
enum ending {
	ENDED_WELL,
	ENDED_BADLY,
	CANNOT_EXECUTE
};

static struct findings *found;

static bool give_up(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	_exit(run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? CANNOT_EXECUTE : ENDED_BADLY);
}

/* In a child: how operation @op fares in a fresh VM; a fault is a good ending unless @want_ok. */
static enum ending try_op(const struct paging_mode *mode, struct agent_op op, bool want_ok)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		struct vm *vm;
		struct agent_result res;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		test_detach();
		setenv("MMUSCOPE_STRICT", "1", 1); /* no probing from within a probe */
		vm = vm_create(mode, .mem_size = VM_NO_MEM, .run_ms = 5000);
		vm->vcpu[0]->other_exit = give_up;
		res = guest_op_op(vm->vcpu[0], op);
		_exit(res.status == AGENT_BAD_OP || (want_ok && res.status != AGENT_OK)
			      ? ENDED_BADLY
			      : ENDED_WELL);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return ENDED_BADLY;
	return WEXITSTATUS(status);
}

static void probe_guest(void)
{
	const struct paging_mode *la48 = paging_mode(PM_LA48);
	const struct agent_op read = {.kind = AGENT_READ, .addr = VM_TABLES_GPA};
	const struct agent_op fault = {.kind = AGENT_READ, .addr = 0};
	const struct agent_op user = {.kind = AGENT_READ, .addr = 0, .flags = AGENT_USER};
	bool all = true;
	u32 i;

	found->usable = try_op(la48, read, true) == ENDED_WELL &&
			try_op(la48, fault, false) == ENDED_WELL &&
			try_op(la48, user, false) == ENDED_WELL;
	for (i = 0; found->usable && i < PROBE_COUNT; i++) {
		struct agent_op insn = {.kind = AGENT_CALL, .addr = PROGRAM_PROBE, .value = i};

		found->failed[i] = try_op(la48, insn, false) == CANNOT_EXECUTE;
		all &= !found->failed[i];
	}
	/* Modes are doubted only where instructions fail: elsewhere that is a finding for tests. */
	for (i = 0; i < PM_COUNT; i++)
		if (all || try_op(paging_mode(i), read, true) == ENDED_WELL)
			found->modes |= MODE(i);
}

static void run_probe_child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 1);
		dup2(null, 2);
		probe_guest();
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* An engine of our own is whole: what it can't do is its defect, not the host's. */
static void no_probe(struct kvm_probe *p)
{
	*p = (struct kvm_probe){
		.present = true,
		.permitted = true,
		.usable = true,
		.full = true,
		.modes = BIT(PM_COUNT) - 1,
	};
}

static bool is_own_engine(void)
{
	return strcmp(engine()->name, "kvm");
}

static void do_probe(struct kvm_probe *p)
{
	int fd = engine()->open("/dev/kvm", O_RDWR | O_CLOEXEC), version;
	size_t n = 0, i;

	if (fd < 0) {
		p->present = errno != ENOENT && errno != ENXIO && errno != ENODEV;
		snprintf(p->reason, sizeof(p->reason), "/dev/kvm: %s%s", strerror(errno),
			 errno == EACCES ? " (join group kvm, or run as root)" : "");
		return;
	}
	p->present = p->permitted = true;
	version = __kvm_ioctl(fd, KVM_GET_API_VERSION, NULL);
	engine()->close(fd);
	if (version != KVM_API_VERSION) {
		snprintf(p->reason, sizeof(p->reason), "/dev/kvm: API version %d, not %d", version,
			 KVM_API_VERSION);
		return;
	}
	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (found == MAP_FAILED) {
		snprintf(p->reason, sizeof(p->reason), "no memory to probe with");
		return;
	}
	run_probe_child();
	p->usable = p->full = found->usable;
	p->modes = found->modes;
	if (!p->usable)
		snprintf(p->reason, sizeof(p->reason),
			 "/dev/kvm: a minimal guest with a page fault and ring 3 does not run");
	for (i = 0; p->usable && i < PROBE_COUNT; i++) {
		if (!found->failed[i])
			continue;
		p->full = false;
		n += snprintf(p->reason + n, n < sizeof(p->reason) ? sizeof(p->reason) - n : 0,
			      "%s%s", n ? ", " : "partial KVM, guests can't execute ",
			      insn_names[i]);
	}
	for (i = 0; p->usable && i < PM_COUNT; i++)
		if (!(p->modes & MODE(i)) && n < sizeof(p->reason))
			n += snprintf(p->reason + n, sizeof(p->reason) - n, ", guests in mode %s",
				      paging_mode(i)->name);
	munmap(found, sizeof(*found));
}

void kvm_probe(struct kvm_probe *probe)
{
	/* The vCPUs of one VM run into a partial KVM's limits together, each on its thread. */
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct kvm_probe cached;
	static bool done;

	pthread_mutex_lock(&lock);
	if (!done && is_own_engine())
		no_probe(&cached);
	else if (!done)
		do_probe(&cached);
	done = true;
	*probe = cached;
	pthread_mutex_unlock(&lock);
}

bool kvm_is_partial(void)
{
	const char *strict = getenv("MMUSCOPE_STRICT");
	struct kvm_probe p;

	if ((strict && *strict == '1') || is_own_engine())
		return false;
	kvm_probe(&p);
	return p.usable && !p.full;
}

void skip_if_partial(struct vm *vm, bool insn, const char *where)
{
	struct kvm_probe p;

	if (!kvm_is_partial())
		return;
	kvm_probe(&p);
	if (insn)
		test_skip("this KVM can't execute the instruction at %s (%s)", where, p.reason);
	if (!(p.modes & MODE(vm->mode->id)))
		test_skip("this KVM does not run guests in mode %s (%s)", vm->mode->name, p.reason);
}
