// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab's first process: what a kernel booted by mmurun starts as /init.
 *
 * It does what /mmuscope/plan says, one instruction a line, and decides nothing
 * itself: which module gets which parameter was worked out on the host, where
 * the modules can be read at leisure and a mistake can be reported before a boot.
 *
 *	module NAME.ko [PARAMETERS]	load it from /mmuscope/modules
 *	try NAME.ko [PARAMETERS]	the same, but do without it if it does not load
 *	env NAME=VALUE			for the program
 *	arg WORD			the program's argument vector, the path first
 *
 * Everything is told on the second serial port (the results channel) as lines
 * "# @lab.KEY VALUE": hello (we are alive), params (all that are in effect), error
 * (the plan can't be carried out) and exit (the program's status, always the last
 * line). The first serial port stays the kernel's console. The machine is powered
 * off at the end, whatever happened.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define CHANNEL "/dev/ttyS1"
#define PLAN	"/mmuscope/plan"
#define MODULES "/mmuscope/modules/"
#define MAX_ARG 256

static int channel = -1;
static char *prog_argv[MAX_ARG + 1];
static int prog_argc;

/* one line on the channel, in one write so that it can't be torn */
static void __attribute__((format(printf, 2, 3))) tell(const char *key, const char *fmt, ...)
{
	char text[4096], line[4200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text[strcspn(text, "\n")] = '\0';
	dprintf(channel, "# @lab.%s %s\n", key, text);
	/* the console keeps a copy, so that console.log can be read on its own */
	snprintf(line, sizeof(line), "init: %s %s\n", key, text);
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

static _Noreturn void power_off(void)
{
	/* what is still in the port's queue would be lost with the machine */
	tcdrain(channel);
	tcdrain(STDERR_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	/* a kernel without ACPI or APM halts instead: a reset ends QEMU too */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *fmt, ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tell("error", "%s", text);
	power_off();
}

/* Not every kernel has every file system: what is missing is a test's skip. */
static void mount_all(void)
{
	static const struct {
		const char *type, *where, *data;
	} mounts[] = {
		{"proc", "/proc", NULL},
		{"sysfs", "/sys", NULL},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"hugetlbfs", "/dev/hugepages", NULL},
		{"debugfs", "/sys/kernel/debug", NULL},
		{"tracefs", "/sys/kernel/tracing", NULL},
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].where, 0755);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, mounts[i].data))
			fprintf(stderr, "init: mount %s: %s\n", mounts[i].where, strerror(errno));
	}
	symlink("/proc/self/fd", "/dev/fd");
}

/* The channel carries bytes as they are: no echo, no newline translation. */
static void open_channel(void)
{
	struct termios tio;

	channel = open(CHANNEL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (channel < 0) {
		fprintf(stderr, "init: " CHANNEL ": %s\n", strerror(errno));
		power_off();
	}
	if (!tcgetattr(channel, &tio)) {
		cfmakeraw(&tio);
		cfsetspeed(&tio, B115200);
		tcsetattr(channel, TCSANOW, &tio);
	}
}

/* A module that only some cases need: they skip, and the console says why. */
static void __attribute__((format(printf, 1, 2))) do_without(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("init: going on without ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void load_module(char *spec, void (*fail)(const char *fmt, ...))
{
	char path[512];
	char *params = strchr(spec, ' ');
	int fd;

	if (params)
		*params++ = '\0';
	snprintf(path, sizeof(path), MODULES "%s", spec);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, params ? params : "", 0) && errno != EEXIST))
		fail("module %s%s%s: %s", spec, params ? " " : "", params ? params : "",
		     strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void read_plan(void)
{
	FILE *f = fopen(PLAN, "re");
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	if (!f)
		give_up(PLAN ": %s", strerror(errno));
	while ((len = getline(&line, &room, f)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		if (!strncmp(line, "module ", 7)) {
			load_module(line + 7, give_up);
		} else if (!strncmp(line, "try ", 4)) {
			load_module(line + 4, do_without);
		} else if (!strncmp(line, "env ", 4)) {
			putenv(strdup(line + 4));
		} else if (!strncmp(line, "arg ", 4)) {
			if (prog_argc == MAX_ARG)
				give_up(PLAN ": more than %d arguments", MAX_ARG);
			prog_argv[prog_argc++] = strdup(line + 4);
		} else {
			give_up(PLAN ": what is '%s'?", line);
		}
	}
	free(line);
	fclose(f);
	if (!prog_argc)
		give_up(PLAN ": no program");
}

/* One line for each module: "params kvm tdp_mmu=Y ...". */
static void tell_params(const char *module)
{
	char path[512], value[256], line[4096];
	struct dirent *entry;
	size_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters", module);
	dir = opendir(path);
	if (!dir)
		return;
	len = snprintf(line, sizeof(line), "%s", module);
	while ((entry = readdir(dir)) && len < sizeof(line)) {
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(value, sizeof(value), f)) {
			value[strcspn(value, "\n")] = '\0';
			len += snprintf(line + len, sizeof(line) - len, " %s=%s", entry->d_name,
					value);
		}
		fclose(f);
	}
	closedir(dir);
	tell("params", "%s", line);
}

/*
 * Keeps one VM with one vCPU, never run, for as long as the machine is up. The
 * first VM and the last one make KVM switch virtualization on and off on every
 * processor and patch static branches in the kernel's code; QEMU's TCG (7.2)
 * loses its way in such patching now and then, both processors ending in int3
 * for ever, after some fifty VMs. With a VM that stays, nothing is patched.
 */
static void keep_kvm_on(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
		fprintf(stderr, "init: no VM to keep: %s\n", strerror(errno));
}

static void run(void)
{
	pid_t pid = fork(), got;
	int status;

	if (pid < 0)
		give_up("fork: %s", strerror(errno));
	if (!pid) {
		setsid();
		dup2(channel, STDOUT_FILENO);
		execv(prog_argv[0], prog_argv);
		fprintf(stderr, "init: %s: %s\n", prog_argv[0], strerror(errno));
		_exit(127);
	}
	/* orphans of the tests end up here too */
	do {
		got = wait(&status);
	} while (got != pid && (got > 0 || errno == EINTR));
	if (WIFSIGNALED(status))
		tell("exit", "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		tell("exit", "%d", WEXITSTATUS(status));
}

int main(void)
{
	struct utsname uts;

	if (getpid() != 1) {
		fprintf(stderr,
			"init: the lab's first process; mmurun boots it, see docs/lab.md\n");
		return 2;
	}
	/* the kernel has mounted nothing for an initramfs's init: no /dev, no ports */
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_all();
	open_channel();
	uname(&uts);
	tell("hello", "%s %s", uts.release, uts.version);
	putenv("PATH=/mmuscope");
	putenv("HOME=/tmp");
	read_plan();
	if (access("/dev/kvm", R_OK | W_OK))
		give_up("/dev/kvm: %s after loading the modules (has this kernel KVM, and were its "
			"modules found?)",
			strerror(errno));
	tell_params("kvm");
	tell_params("kvm_amd");
	tell_params("kvm_intel");
	keep_kvm_on();
	run();
	power_off();
}
