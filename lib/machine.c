// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starts QEMU on a firmware of our own (qemu_boot.S), hands registers to it and waits for what
 * the agent rings for. All that passes between us goes by descriptors, so nothing is left behind.
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
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest_code/agent_abi.h"
#include "image.h"
#include "machine.h"
#include "test.h"
#include "x86/arch/regs.h"

#define ROM_SIZE   65536 /* QEMU wants a multiple of this */
#define BOOT_GPA   0x8000
#define START_MS   30000
#define ANSWER_MS  3000
#define LAST_WORDS 800

extern const u8 qemu_boot[4096];

/* At BOOT_GPA; qemu_boot.S knows this layout. */
struct boot {
	u32 go;
	u32 cr0, cr3, cr4, efer, long_mode, ip, sp, di;
	u32 nr_leaves;
	struct boot_leaf {
		u32 leaf, subleaf, eax, ebx, ecx, edx;
	} cpuid[MACHINE_LEAVES];
};

_Static_assert(offsetof(struct boot, ip) == 24, "the place that qemu_boot.S has for it");
_Static_assert(offsetof(struct boot, cpuid) == 40, "the place that qemu_boot.S has for it");

static const struct boot first_words = {
	.nr_leaves = MACHINE_LEAVES,
	.cpuid = {{.leaf = 0},
		  {.leaf = 1},
		  {.leaf = 7},
		  {.leaf = 0x80000000},
		  {.leaf = 0x80000001},
		  {.leaf = 0x80000008}},
};

/* --- the process --------------------------------------------------------------------- */

static const char *qemu(void)
{
	const char *program = getenv("MMUSCOPE_QEMU");

	return program && *program ? program : "qemu-system-x86_64";
}

static int memory_file(const char *name, u64 size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size))
		test_error("memfd of %lu bytes: %s", size, strerror(errno));
	return fd;
}

/* @rom, @bell: what QEMU opens by name, besides the RAM. Does not return. */
static void exec_qemu(const struct machine *m, int rom, int bell, int qmp)
{
	char ram_object[128], rom_path[32], bell_chardev[64];
	const int passed[] = {m->ram, rom, bell};
	const char *const argv[] = {
		qemu(), "-nodefaults", "-no-user-config", "-display", "none",
		/* none of a computer's devices: they only cost time */
		"-machine",
		"microvm,memory-backend=ram,pit=off,pic=off,rtc=off,isa-serial=off,x-option-roms=off",
		"-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", "2048", "-object",
		ram_object, "-bios", rom_path, "-chardev", bell_chardev, "-device",
		"isa-debugcon,iobase=0xa9,chardev=bell", "-chardev", "stdio,id=qmp,signal=off",
		"-mon", "chardev=qmp,mode=control",
		/* so that a triple fault's registers can be asked for */
		"-action", "reboot=shutdown,shutdown=pause", NULL};

	_Static_assert(PORT_BELL == 0xa9 && MACHINE_RAM == 2048 * MiB, "as in the options");
	snprintf(ram_object, sizeof(ram_object),
		 "memory-backend-file,id=ram,mem-path=/proc/self/fd/%d,size=2G,share=on", m->ram);
	snprintf(rom_path, sizeof(rom_path), "/proc/self/fd/%d", rom);
	snprintf(bell_chardev, sizeof(bell_chardev), "file,id=bell,path=/proc/self/fd/%d", bell);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != m->owner)
		_exit(0);
	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		fcntl(passed[i], F_SETFD, 0);
	dup2(qmp, 0);
	dup2(qmp, 1);
	dup2(m->words, 2);
	execvp(argv[0], (char *const *)argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* How it ended, and what it said last. */
static const char *last_words(struct machine *m, int *status)
{
	static char text[LAST_WORDS + 1];
	off_t size = lseek(m->words, 0, SEEK_END);
	ssize_t n;

	*status = 0;
	waitpid(m->pid, status, 0);
	m->pid = 0;
	n = pread(m->words, text, LAST_WORDS, size > LAST_WORDS ? size - LAST_WORDS : 0);
	text[n > 0 ? n : 0] = 0;
	return text;
}

enum heard {
	HEARD_NOTHING,
	HEARD_BELL,
	HEARD_SHUTDOWN, /* a triple fault */
	HEARD_END,
};

static enum heard hear(struct machine *m, int ms)
{
	struct pollfd p[] = {{.fd = m->bell, .events = POLLIN}, {.fd = m->qmp, .events = POLLIN}};
	char text[4096];
	ssize_t n;
	u8 byte;

	if (poll(p, 2, ms) <= 0)
		return HEARD_NOTHING;
	if (p[0].revents)
		return read(m->bell, &byte, 1) == 1 ? HEARD_BELL : HEARD_END;
	n = read(m->qmp, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	return strstr(text, "\"guest-reset\"") ? HEARD_SHUTDOWN : HEARD_NOTHING;
}

static void not_started(struct machine *m, bool ended)
{
	const char *words;
	int status;

	if (!ended)
		kill(m->pid, SIGKILL);
	words = last_words(m, &status);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		test_skip("engine qemu: %s", words);
	test_error("%s did not start%s: %s", qemu(), ended ? "" : " in time", words);
}

static s64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *map_ram(const struct machine *m, gpa_t gpa, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->ram, gpa);

	if (p == MAP_FAILED)
		test_error("mapping a machine's RAM: %s", strerror(errno));
	return p;
}

struct machine *machine_start(void)
{
	struct machine *m = calloc(1, sizeof(*m));
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	int rom = memory_file("firmware", ROM_SIZE), bell[2], qmp[2];
	s64 deadline = now() + START_MS;
	enum heard heard;

	m->owner = getpid();
	m->ram = memory_file("ram", MACHINE_RAM);
	m->words = memory_file("words", 0);
	fcntl(m->words, F_SETFL, O_APPEND);
	if (pwrite(rom, qemu_boot, sizeof(qemu_boot), ROM_SIZE - sizeof(qemu_boot)) < 0 ||
	    pipe2(bell, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp))
		test_error("no descriptors for QEMU: %s", strerror(errno));
	m->boot = map_ram(m, BOOT_GPA, sizeof(*m->boot));
	*m->boot = first_words;
	m->pid = fork();
	if (m->pid < 0)
		test_error("fork: %s", strerror(errno));
	if (!m->pid)
		exec_qemu(m, rom, bell[1], qmp[1]);
	close(rom);
	close(bell[1]);
	close(qmp[1]);
	m->bell = bell[0];
	m->qmp = qmp[0];
	/* Should QEMU be dead already, the bell tells. */
	send(m->qmp, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
	do
		heard = hear(m, 1000);
	while (heard == HEARD_NOTHING && now() < deadline);
	if (heard != HEARD_BELL)
		not_started(m, heard == HEARD_END);
	return m;
}

void machine_end(struct machine *m)
{
	if (m->pid) {
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
	}
	munmap(m->boot, sizeof(*m->boot));
	if (m->exit)
		munmap((void *)((u64)m->exit & ~(SZ_4K - 1)), SZ_4K);
	close(m->ram);
	close(m->words);
	close(m->bell);
	close(m->qmp);
	free(m);
}

/* --- its processor ---------------------------------------------------------------------- */

void machine_cpuid(const struct machine *m, struct kvm_cpuid_entry2 *entries)
{
	for (u32 i = 0; i < MACHINE_LEAVES; i++) {
		const struct boot_leaf *l = &m->boot->cpuid[i];

		entries[i] = (struct kvm_cpuid_entry2){.function = l->leaf,
						       .index = l->subleaf,
						       .eax = l->eax,
						       .ebx = l->ebx,
						       .ecx = l->ecx,
						       .edx = l->edx};
	}
}

void machine_begin(struct machine *m, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	const struct image *image = sregs->cs.l ? &agent_image64 : &agent_image32;
	struct boot *b = m->boot;
	u64 at;

	if (!image_symbol(image, "agent_exit", &at))
		test_error("%s has no symbol \"agent_exit\"", image->name);
	m->exit = (void *)((u8 *)map_ram(m, at & ~(SZ_4K - 1), SZ_4K) + at % SZ_4K);
	m->exit->turn = 1;
	b->cr0 = sregs->cr0;
	b->cr3 = sregs->cr3;
	b->cr4 = sregs->cr4;
	b->efer = sregs->efer & ~EFER_LMA;
	b->long_mode = sregs->cs.l;
	b->ip = regs->rip;
	b->sp = regs->rsp;
	b->di = regs->rdi;
	__atomic_store_n(&b->go, 1, __ATOMIC_RELEASE);
	m->running = true;
}

enum machine_exit machine_run(struct machine *m, const volatile u8 *stop)
{
	enum heard heard = HEARD_NOTHING;
	const char *words;
	int status;

	if (!m->running)
		__atomic_store_n(&m->exit->turn, m->exit->turn + 1, __ATOMIC_RELEASE);
	m->running = true;
	/* A signal may come just before poll(), so not all at once. */
	while (!*stop && heard == HEARD_NOTHING)
		heard = hear(m, 1000);
	switch (heard) {
	case HEARD_BELL:
		m->running = false;
		return MACHINE_OUT;
	case HEARD_SHUTDOWN:
		return MACHINE_SHUTDOWN;
	case HEARD_END:
		words = last_words(m, &status);
		test_fail("QEMU ended, wait status %#x; its last words: %s", status, words);
	case HEARD_NOTHING:
		break;
	}
	return MACHINE_STOPPED;
}

/* --- its registers ------------------------------------------------------------------------ */

/* "RAX=", or "EAX=" in 32-bit modes. */
static u64 find_register(const char *text, const char *name)
{
	char pattern[8];
	const char *at;

	snprintf(pattern, sizeof(pattern), "%s=", name);
	at = strstr(text, pattern);
	if (!at && *name == 'R') {
		*pattern = 'E';
		at = strstr(text, pattern);
	}
	return at ? strtoull(at + strlen(pattern), NULL, 16) : 0;
}

/* Sends the commands and collects what is said until the answer "done". */
static bool ask(struct machine *m, const char *commands, char *text, size_t size)
{
	struct pollfd p = {.fd = m->qmp, .events = POLLIN};
	size_t at = 0;
	ssize_t n;

	if (send(m->qmp, commands, strlen(commands), MSG_NOSIGNAL) < 0)
		return false;
	while (at < size - 1 && poll(&p, 1, ANSWER_MS) > 0) {
		n = read(m->qmp, text + at, size - 1 - at);
		if (n <= 0)
			return false;
		at += n;
		text[at] = 0;
		if (strstr(text, "\"done\""))
			return true;
	}
	return false;
}

bool machine_registers(struct machine *m, struct kvm_regs *r, struct kvm_sregs *s)
{
	static char text[16384];

	if (!m->pid || !ask(m,
			    "{\"execute\":\"stop\"}"
			    "{\"execute\":\"human-monitor-command\",\"arguments\":"
			    "{\"command-line\":\"info registers\"}}"
			    "{\"execute\":\"cont\",\"id\":\"done\"}",
			    text, sizeof(text)))
		return false;
	*r = (struct kvm_regs){
		.rax = find_register(text, "RAX"),
		.rbx = find_register(text, "RBX"),
		.rcx = find_register(text, "RCX"),
		.rdx = find_register(text, "RDX"),
		.rsi = find_register(text, "RSI"),
		.rdi = find_register(text, "RDI"),
		.rsp = find_register(text, "RSP"),
		.rbp = find_register(text, "RBP"),
		.rip = find_register(text, "RIP"),
		.rflags = find_register(text, "RFL"),
	};
	*s = (struct kvm_sregs){
		.cr0 = find_register(text, "CR0"),
		.cr2 = find_register(text, "CR2"),
		.cr3 = find_register(text, "CR3"),
		.cr4 = find_register(text, "CR4"),
		.efer = find_register(text, "EFER"),
		.cs.selector = find_register(text, "CPL"),
	};
	return true;
}
