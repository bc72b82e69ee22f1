// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watcher on the kernel's log: which lines open a report, where reports end, and
 * that harmless lines, other programs' lines and damaged records are passed over.
 * The log is a socket here, one datagram per record as /dev/kmsg has it.
 */
#include "lib/kmsg.h"
#include "tests/unit/test_framework.h"

TEST(splats, .what = "lines that open a report")
{
	static const char *const lines[] = {
		"------------[ cut here ]------------",
		"WARNING: CPU: 1 PID: 312 at arch/x86/kvm/mmu/mmu.c:845 x+0x12/0x34 [kvm]",
		"WARNING: possible circular locking dependency detected",
		"WARNING: possible recursive locking detected",
		"WARNING: inconsistent lock state",
		"WARNING: suspicious RCU usage",
		"INFO: possible recursive locking detected",
		"INFO: trying to register non-static key.",
		"BUG: unable to handle page fault for address: ffffc90000a00000",
		"BUG: kernel NULL pointer dereference, address: 0000000000000010",
		"BUG: KASAN: use-after-free in foo+0x1/0x2",
		"BUG: KCSAN: data-race in a / b",
		"BUG: KMSAN: uninit-value in foo+0x1/0x2",
		"BUG: sleeping function called from invalid context at mm/slab.h:42",
		"BUG: scheduling while atomic: mc1/123/0x00000002",
		"BUG: Bad page state in process mc1  pfn:12345",
		"UBSAN: shift-out-of-bounds in arch/x86/kvm/mmu/mmu.c:12:34",
		"kernel BUG at arch/x86/kvm/mmu/mmu.c:123!",
		"Oops: 0002 [#1] PREEMPT SMP NOPTI",
		"invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
		"divide error: 0000 [#2] SMP",
		"stack segment: 0000 [#1] SMP",
		"general protection fault, probably for non-canonical address 0xdead000000000100",
		"watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [mc1:312]",
		"NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
		"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
		"rcu: INFO: rcu_sched self-detected stall on CPU",
		"INFO: task mc1:312 blocked for more than 120 seconds.",
		"list_add corruption. next->prev should be prev",
		"list_del corruption, ffff888000000000->next is LIST_POISON1",
		"refcount_t: underflow; use-after-free.",
		"kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
		"Kernel panic - not syncing: Fatal exception",
	};
	unsigned int i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		EXPECT(kmsg_is_splat(lines[i]), "%s", lines[i]);
}

TEST(no_splats, .what = "lines that do not")
{
	static const char *const lines[] = {
		"",
		"kvm: Nested Virtualization enabled",
		"kvm_amd: TSC scaling supported",
		"kvm: loading out-of-tree module taints kernel.",
		"kvm: module verification failed: signature and/or required key missing",
		"Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
		"traps: foo[12] general protection fault ip:55d0 sp:7ffe error:0 in foo[55d0+1000]",
		"mc1[12]: segfault at 0 ip 0000 sp 0000 error 4 in bad[5555+2000]",
		"kvm [312]: vcpu0, guest rIP: 0x1000 unhandled rdmsr: 0xc0010015",
		"clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
		"CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-1-amd64 #1",
		"Call Trace:",
		" <TASK>",
		"[#1] a list item",
		"x86/mm: Checked W+X mappings: passed, no W+X pages found.",
		"debug: DEBUG: nothing",
	};
	unsigned int i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		EXPECT(!kmsg_is_splat(lines[i]), "%s", lines[i]);
	EXPECT(kmsg_is_end("---[ end trace 0000000000000000 ]---"));
	EXPECT(kmsg_is_end("---[ end Kernel panic - not syncing: x ]---"));
	EXPECT(!kmsg_is_end("------------[ cut here ]------------"));
}

static const char *message(const char *record)
{
	static char buf[256];

	strcpy(buf, record);
	return kmsg_message(buf);
}

TEST(record, .what = "the message in a record; what programs have logged is nobody's report")
{
	EXPECT_STREQ(message("4,12,345,-;BUG: x\n SUBSYSTEM=pci\n"), "BUG: x");
	EXPECT_STREQ(message("6,12,345,c,caller=T1;a;b"), "a;b");
	EXPECT_STREQ(message("0,1,2,-;"), "");
	EXPECT_STREQ(message("12,12,345,-;BUG: by a program"), NULL);
	EXPECT_STREQ(message("30,12,345,-;BUG: by a daemon"), NULL);
	EXPECT_STREQ(message("garbage"), NULL);
	EXPECT_STREQ(message("4,12,345"), NULL);
	EXPECT_STREQ(message(""), NULL);
	EXPECT_STREQ(message(";x"), NULL);
}

static int log_fd;

/* One record per line of text. */
static void say(const char *text)
{
	char *copy = strdup(text), *rest = copy, *line, record[600];

	while ((line = strsep(&rest, "\n"))) {
		int n = snprintf(record, sizeof(record), "4,1,1,-;%s\n", line);

		if (*line && send(log_fd, record, (size_t)n, 0) != n)
			test_error("send: %s", strerror(errno));
	}
	free(copy);
}

static struct kmsg *make_log(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds))
		test_error("socketpair: %s", strerror(errno));
	log_fd = fds[1];
	return kmsg_open_fd(fds[0]);
}

TEST(blocks, .what = "reports are cut out of the log whole, with the task they name")
{
	static const char warning[] = "------------[ cut here ]------------\n"
				      "WARNING: CPU: 0 PID: 7 at foo.c:1 foo+0x1/0x2 [kvm]\n"
				      "Modules linked in: kvm_amd kvm\n"
				      "CPU: 0 PID: 7 Comm: mc1f Not tainted 6.1.0 #1\n"
				      "Call Trace:\n <TASK>\n a+0x1/0x2\n b+0x1/0x2\n </TASK>\n"
				      "---[ end trace 0000000000000000 ]---\n";
	static const char lockdep[] = "WARNING: suspicious RCU usage\n"
				      "CPU: 1 PID: 9 Comm: kworker/1:0 Tainted: G W 6.1.0 #1\n";
	struct kmsg *k = make_log();
	struct kmsg_block b;

	EXPECT(!kmsg_next(k, &b), "an empty log");
	say("kvm: something harmless");
	EXPECT(!kmsg_next(k, &b), "a harmless line");

	say("noise before");
	say(warning);
	say("noise between");
	say(warning);
	say("noise behind");
	ASSERT(kmsg_next(k, &b));
	EXPECT_STREQ(b.text, warning);
	EXPECT_STREQ(b.comm, "mc1f");
	ASSERT(kmsg_next(k, &b));
	EXPECT_STREQ(b.text, warning);
	EXPECT(!kmsg_next(k, &b));

	/* without an end marker it lasts until silence */
	say(lockdep);
	ASSERT(kmsg_next(k, &b));
	EXPECT_STREQ(b.text, lockdep);
	EXPECT_STREQ(b.comm, "kworker/1:0");
	EXPECT(!kmsg_next(k, &b));
}

TEST(blocks_adjacent, .what = "a report without an end is closed by the next one's beginning")
{
	struct kmsg *k = make_log();
	struct kmsg_block b;

	say("BUG: KASAN: use-after-free in foo\nl1\nl2\nl3\nl4\nl5\nl6\nl7\nl8\nl9");
	say("------------[ cut here ]------------\nWARNING: x\n---[ end trace 0 ]---");
	ASSERT(kmsg_next(k, &b));
	EXPECT(strstr(b.text, "l9\n") && !strstr(b.text, "cut here"), "%s", b.text);
	ASSERT(kmsg_next(k, &b));
	EXPECT_STREQ(b.text,
		     "------------[ cut here ]------------\nWARNING: x\n---[ end trace 0 ]---\n");
	EXPECT(!kmsg_next(k, &b));
}

TEST(blocks_preamble, .what = "a line of its own before the rule belongs to the report")
{
	struct kmsg *k = make_log();
	struct kmsg_block b;

	say("list_add corruption. prev->next should be next\n------------[ cut here ]------------");
	say("kernel BUG at lib/list_debug.c:26!\n---[ end trace 0 ]---");
	ASSERT(kmsg_next(k, &b));
	EXPECT(strstr(b.text, "list_add") && strstr(b.text, "end trace"), "%s", b.text);
	EXPECT(!kmsg_next(k, &b));
}

TEST(block_long, .what = "a very long report is cut, and consumed whole")
{
	struct kmsg *k = make_log();
	struct kmsg_block b;
	size_t nr = 0;
	char *p;
	int i;

	say("BUG: long");
	for (i = 0; i < 160; i++)
		say("one more line");
	say("---[ end trace 0 ]---");
	ASSERT(kmsg_next(k, &b));
	for (p = b.text; (p = strchr(p, '\n')); p++)
		nr++;
	EXPECT_EQ(nr, 151);
	EXPECT(strstr(b.text, "… 12 lines more\n"), "%s", b.text);
	EXPECT(!kmsg_next(k, &b));
}

TEST(device, .what = "the real log, where it may be written: read from the opening on, not before")
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char before[64], after[64], rec[8192];
	struct kmsg *k;
	ssize_t n;

	REQUIRE(fd >= 0, "permission to write /dev/kmsg");
	snprintf(before, sizeof(before), "mmuscope: test %d, before\n", (int)getpid());
	snprintf(after, sizeof(after), "mmuscope: test %d, after\n", (int)getpid());
	ASSERT(write(fd, before, strlen(before)) > 0);
	unsetenv("MMUSCOPE_KMSG_FD");
	k = kmsg_open();
	REQUIRE(k, "permission to read /dev/kmsg");
	ASSERT(write(fd, after, strlen(after)) > 0);
	before[strcspn(before, "\n")] = after[strcspn(after, "\n")] = '\0';
	do {
		n = read(kmsg_fd(k), rec, sizeof(rec) - 1);
		ASSERT_GT(n, 0, "the line has not come: %s", strerror(errno));
		rec[n] = '\0';
		EXPECT(!strstr(rec, before), "%s", rec);
	} while (!strstr(rec, after));
	kmsg_close(k);
}
