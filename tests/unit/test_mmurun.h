/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For mmurun's own tests: a folder that looks to it like a build, with a mmusuite
 * that is a script, and like a kernel, with modules that consist of their .modinfo. QEMU is
 * a script too: what mmurun makes of it is tested, not QEMU.
 */
#ifndef TESTS_UNIT_TEST_MMURUN_H
#define TESTS_UNIT_TEST_MMURUN_H

#include <stdarg.h>

#include "tests/unit/test_framework.h"

#define FAKE_RELEASE "9.9.9-fake"

struct stage {
	char *dir;	      /* goes away with the case */
	char *mmurun;	      /* a copy of it in dir/build/tools */
	char image[PATH_MAX]; /* of the fake kernel */
	char output[PATH_MAX];
};

/* Path below the stage's folder; malloc'd. */
static UNUSED char *stage_path(const struct stage *s, const char *fmt, ...)
{
	char *name = NULL, *path = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&name, fmt, ap) < 0 || asprintf(&path, "%s/%s", s->dir, name) < 0)
		test_error("out of memory");
	va_end(ap);
	free(name);
	return path;
}

static UNUSED void put_file(const char *path, const void *data, size_t len, mode_t mode)
{
	char *copy = strdup(path);
	int fd;

	for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(copy, 0755);
		*slash = '/';
	}
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len || fchmod(fd, mode) || close(fd))
		test_error("%s: %s", path, strerror(errno));
	free(copy);
}

static UNUSED void put_script(const char *path, const char *body)
{
	char *text = NULL;

	if (asprintf(&text, "#!/bin/sh\n%s", body) < 0)
		test_error("out of memory");
	put_file(path, text, strlen(text), 0755);
	free(text);
}

static UNUSED void shell(const char *fmt, ...)
{
	char *command = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&command, fmt, ap) < 0)
		test_error("out of memory");
	va_end(ap);
	if (system(command))
		test_error("failed: %s", command);
	free(command);
}

/* The mmusuite of the stage: lists one case; else does what body says. */
static UNUSED void stage_suite(const struct stage *s, const char *body)
{
	char *text = NULL, *path = stage_path(s, "build/tools/mmusuite");

	if (asprintf(&text,
		     "for a in \"$@\"; do case $a in --list) echo mmu/x.a; exit 0;; esac; done\n%s",
		     body) < 0)
		test_error("out of memory");
	put_script(path, text);
	free(text);
	free(path);
}

/*
 * A QEMU: $console is the file to write the console to, "$*" holds the environment's name.
 * init's own lines start with "# @lab.".
 */
static UNUSED void stage_qemu(const struct stage *s, const char *body)
{
	char *text = NULL, *path = stage_path(s, "qemu");

	if (asprintf(
		    &text,
		    "for a in \"$@\"; do case $a in file,*path=*) console=${a#*path=};; esac; done\n"
		    "%s",
		    body) < 0)
		test_error("out of memory");
	put_script(path, text);
	setenv("MMUSCOPE_QEMU", path, 1);
	free(text);
	free(path);
}

/* A module that has nothing but .modinfo: entries are "key=value", ended by NULL. */
static UNUSED void stage_module(const struct stage *s, const char *file, const char *first, ...)
{
	char *path = stage_path(s, "%s", file), *source = stage_path(s, "module.s");
	FILE *f;
	va_list ap;

	put_file(path, "", 0, 0644);
	f = fopen(source, "w");
	if (!f)
		test_error("%s: %s", source, strerror(errno));
	fprintf(f, ".section .modinfo,\"a\"\n");
	va_start(ap, first);
	for (const char *entry = first; entry; entry = va_arg(ap, const char *))
		fprintf(f, ".asciz \"%s\"\n", entry);
	va_end(ap);
	fclose(f);
	shell("as -o '%s' '%s'", path, source);
	free(path);
	free(source);
}

#define MODULE_DIR "lib/modules/" FAKE_RELEASE "/kernel/"

/* A stage with a kernel that has kvm, kvm-amd and kvm-intel, and a suite that passes. */
static UNUSED struct stage make_stage(void)
{
	struct stage s = {.dir = temp_dir()};
	char image[0x300] = {};
	char *tools = stage_path(&s, "build/tools/init");

	put_file(tools, "", 0, 0755);
	free(tools);
	shell("cp '%s' '%s/build/tools/mmurun'", program_path("../../tools/mmurun"), s.dir);
	s.mmurun = stage_path(&s, "build/tools/mmurun");
	stage_suite(&s, "exit 4");

	memcpy(image + 0x202, "HdrS", 4);
	image[0x20e] = 0x80;
	strcpy(image + 0x280, FAKE_RELEASE " (somebody) #1");
	snprintf(s.image, sizeof(s.image), "%s/boot/vmlinuz-" FAKE_RELEASE, s.dir);
	snprintf(s.output, sizeof(s.output), "%s/output", s.dir);
	put_file(s.image, image, sizeof(image), 0644);
	stage_module(&s, MODULE_DIR "virt/lib/irqbypass.ko", "depends=", NULL);
	stage_module(&s, MODULE_DIR "arch/x86/kvm/kvm.ko", "depends=irqbypass",
		     "parmtype=tdp_mmu:bool", "parmtype=nx_huge_pages:bool", NULL);
	stage_module(&s, MODULE_DIR "arch/x86/kvm/kvm-amd.ko", "depends=kvm,ccp",
		     "parmtype=npt:bool", "parmtype=nested:int", NULL);
	stage_module(&s, MODULE_DIR "arch/x86/kvm/kvm-intel.ko", "depends=kvm", "parmtype=ept:bool",
		     "parmtype=nested:bool", NULL);
	return s;
}

/* Start mmurun with up to six arguments, its output in the stage. */
static UNUSED struct program start_mmurun(const struct stage *s, const char *const *args)
{
	const char *argv[16] = {s->mmurun};
	int n = 1;

	for (; *args && n < 15; args++)
		argv[n++] = *args;
	unsetenv("MMUSCOPE_KMSG");
	unsetenv("MMUSCOPE_COMMAND");
	return program_start(argv);
}

#define MMURUN_START(s, ...) start_mmurun(s, (const char *const[]){__VA_ARGS__, NULL})

/* Run it to its end; the status is in .status as program_end() gives it. */
#define MMURUN(s, ...)                                            \
	({                                                        \
		struct program p_ = MMURUN_START(s, __VA_ARGS__); \
		p_.status = program_end(&p_);                     \
		p_;                                               \
	})

/* In the lab with the stage's kernel. */
#define LAB(s)	"--vm", "--kernel", (s)->image, "--output", (s)->output
#define HOST(s) "--host", "--output", (s)->output

/* The last line, without its newline; malloc'd. */
static UNUSED char *last_line(const char *text)
{
	char *copy = strdup(text), *line;
	size_t len = strlen(copy);

	if (len && copy[len - 1] == '\n')
		copy[len - 1] = '\0';
	line = strrchr(copy, '\n');
	line = strdup(line ? line + 1 : copy);
	free(copy);
	return line;
}

#define EXPECT_LAST(p, line) EXPECT_STREQ(last_line((p)->text), line, "of\n%s", (p)->text)

#define EXPECT_HAS(p, part) EXPECT(strstr((p)->text, part), "\"%s\" is not in\n%s", part, (p)->text)

#endif
