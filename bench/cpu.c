// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest instructions a second of the software CPU, on the loop of loop.S, beside QEMU's TCG and Bochs, which boot
 * the same sector. Each machine runs the loop with two numbers of rounds; the difference of the times is the loop's,
 * without firmware and start-up.
 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PER_ROUND 16
#define LOAD_AT	  0x7c00
#define ROUNDS_AT 4

extern const u8 loop_image[], loop_image_end[];
__asm__(".section .rodata\n"
	"loop_image: .incbin \"" LOOP_BIN "\"\n"
	"loop_image_end:\n"
	".previous\n");

/* Seconds that @rounds take here. */
static double run_here(u32 rounds)
{
	const struct engine *e = engine();
	struct kvm_userspace_memory_region region = {.memory_size = SZ_2M};
	struct kvm_regs regs = {.rflags = RFLAGS_FIXED, .rip = LOAD_AT};
	int run_size = e->ioctl(kvm_open_or_skip(), KVM_GET_VCPU_MMAP_SIZE, NULL), vm, vcpu;
	struct kvm_sregs sregs;
	struct kvm_run *run;
	u64 start;
	u8 *mem;

	mem = e->mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(mem + LOAD_AT, loop_image, loop_image_end - loop_image);
	memcpy(mem + LOAD_AT + ROUNDS_AT, &rounds, sizeof(rounds));
	region.userspace_addr = (u64)mem;
	vm = e->ioctl(kvm_open_or_skip(), KVM_CREATE_VM, NULL);
	if (e->ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		test_error("memory region: %s", strerror(errno));
	vcpu = e->ioctl(vm, KVM_CREATE_VCPU, NULL);
	run = e->mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (e->ioctl(vcpu, KVM_GET_SREGS, &sregs))
		test_error("KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs.base = sregs.cs.selector = 0;
	if (e->ioctl(vcpu, KVM_SET_SREGS, &sregs) || e->ioctl(vcpu, KVM_SET_REGS, &regs))
		test_error("KVM_SET_SREGS: %s", strerror(errno));
	start = bench_now();
	if (e->ioctl(vcpu, KVM_RUN, NULL))
		test_error("KVM_RUN: %s", strerror(errno));
	start = bench_now() - start;
	if (run->exit_reason != KVM_EXIT_IO)
		test_error("the loop ended with %s", exit_reason_name(run->exit_reason));
	e->munmap(run, run_size);
	e->close(vcpu);
	e->close(vm);
	e->munmap(mem, SZ_2M);
	return start / 1e9;
}

static void write_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		test_error("%s: %s", path, strerror(errno));
	close(fd);
}

/* A floppy of 1.44 MB with the sector in front. */
static void write_floppy(const char *path, u32 rounds)
{
	u8 *image = calloc(1, 1474560);

	memcpy(image, loop_image, loop_image_end - loop_image);
	memcpy(image + ROUNDS_AT, &rounds, sizeof(rounds));
	write_file(path, image, 1474560);
	free(image);
}

/*
 * Seconds until the program ends; -1: it can't be run, or took more than a minute. It gets a terminal of its own,
 * since Bochs wants one.
 */
static double run_machine(char *const argv[])
{
	u64 start = bench_now();
	int master, status;
	pid_t pid = forkpty(&master, NULL, NULL, NULL);
	char buf[4096];

	if (pid < 0)
		return -1;
	if (!pid) {
		alarm(60);
		setenv("TERM", "vt100", 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	while (read(master, buf, sizeof(buf)) > 0)
		;
	waitpid(pid, &status, 0);
	close(master);
	if (WIFSIGNALED(status) || WEXITSTATUS(status) == 127)
		return -1;
	return (bench_now() - start) / 1e9;
}

static double run_qemu(u32 rounds)
{
	char floppy[] = "loop.img";
	char *argv[] = {"qemu-system-x86_64",
			"-nodefaults",
			"-display",
			"none",
			"-accel",
			"tcg",
			"-no-reboot",
			"-drive",
			"file=loop.img,format=raw,if=floppy",
			"-boot",
			"a",
			"-device",
			"isa-debug-exit,iobase=0xf4",
			NULL};

	write_floppy(floppy, rounds);
	return run_machine(argv);
}

static double run_bochs(u32 rounds)
{
	static const char rc[] = "cpu: model=corei7_skylake_x, count=1, ips=50000000\n"
				 "megs: 32\n"
				 "romimage: file=/usr/share/bochs/BIOS-bochs-latest\n"
				 "vgaromimage: file=/usr/share/vgabios/vgabios.bin\n"
				 "floppya: 1_44=loop.img, status=inserted\n"
				 "boot: floppy\n"
				 "floppy_bootsig_check: disabled=0\n"
				 "display_library: term\n"
				 "sound: driver=dummy\n"
				 "plugin_ctrl: speaker=0, gameport=0, parallel=0\n"
				 "clock: sync=none\n"
				 "log: bochs.log\n"
				 "panic: action=fatal\n";
	char *argv[] = {"bochs", "-q", "-f", "bochsrc", "-rc", "commands", NULL};

	write_floppy("loop.img", rounds);
	write_file("bochsrc", rc, sizeof(rc) - 1);
	write_file("commands", "c\n", 2);
	return run_machine(argv);
}

/* Million instructions a second, from the times of two numbers of rounds; -1: not measured. */
static double rate(double (*run)(u32 rounds), u32 rounds)
{
	double few = run(rounds / 4), many = few < 0 ? -1 : run(rounds + rounds / 4);

	if (few < 0 || many <= few)
		return -1;
	return (double)rounds * PER_ROUND / (many - few) / 1e6;
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/mmuscope-bench-XXXXXX";
	double here, qemu, bochs;
	u32 rounds;

	bench_start(argc, argv, "Guest instructions a second, beside QEMU's TCG and Bochs.");
	rounds = bench_quick() ? 1000000 : 10000000;
	if (!mkdtemp(dir) || chdir(dir))
		test_error("%s: %s", dir, strerror(errno));
	here = rate(run_here, rounds / 2);
	qemu = rate(run_qemu, rounds * 4);
	bochs = rate(run_bochs, rounds / 2);
	if (qemu > 0)
		bench_print(&(struct bench_figure){"cpu.instructions", here, "Minsn/s", "QEMU TCG",
						   qemu, 0, MORE});
	else
		bench_note("qemu-system-x86_64 can't be run here (package qemu-system-x86)");
	if (bochs > 0)
		bench_print(&(struct bench_figure){"cpu.instructions_bochs", here, "Minsn/s",
						   "Bochs", bochs, 1, MORE});
	else
		bench_note("bochs can't be run here (packages bochs, bochs-term)");
	if (qemu <= 0 && bochs <= 0)
		bench_print(&(struct bench_figure){"cpu.instructions", here, "Minsn/s", NULL, 0, 0,
						   MORE});
	unlink("loop.img");
	unlink("bochsrc");
	unlink("commands");
	unlink("bochs.log");
	if (chdir("/") || rmdir(dir))
		bench_note("%s stays behind: %s", dir, strerror(errno));
	return 0;
}
