// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lab's initramfs: a folder of links to what belongs into it, packed by cpio, which
 * follows them. It is made anew for each boot, which takes a fraction of a
 * second, so there is no cached part that could be out of date.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mmurun/proc.h"
#include "tools/mmurun/run.h"

static const char *const suites[] = {"mmu", "tdp", "shadow"};
#define NR_SUITES (sizeof(suites) / sizeof(suites[0]))

static void make_parents(char *path)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
}

/* @inside leads to @target. Twice is once: two programs may need one library. */
static bool link_to(const char *stage, const char *inside, const char *target)
{
	char *real = realpath(target, NULL);
	char *path = format("%s%s", stage, inside);
	bool ok;

	make_parents(path);
	ok = !symlink(real ? real : target, path) || errno == EEXIST;
	if (!ok)
		complain("%s: %s", path, strerror(errno));
	free(path);
	free(real);
	return ok;
}

/* The shared libraries and the loader of programs, at the paths that they look for them. */
static bool link_libraries(const char *stage, char *const programs[])
{
	char *said = proc_output(programs, NULL), *save = NULL;
	bool ok = said;

	for (char *line = said ? strtok_r(said, "\n", &save) : NULL; line && ok;
	     line = strtok_r(NULL, "\n", &save)) {
		char *path = strstr(line, "=> ");

		/* "PROGRAM:", "libc.so.6 => /lib/... (0x...)", "/lib64/ld-... (0x...)" */
		if (*line != '\t' && *line != ' ')
			continue;
		path = path ? path + 3 : line + strspn(line, " \t");
		if (!strncmp(path, "not found", 9)) {
			complain("%s: a library is missing on this machine", line);
			ok = false;
		}
		if (*path != '/')
			continue;
		path[strcspn(path, " ")] = '\0';
		ok = ok && link_to(stage, path, path);
	}
	if (!said)
		complain("ldd failed on the test programs");
	free(said);
	return ok;
}

/* The programs that go in, for ldd. */
struct programs {
	const char *stage;
	char *word[1024];
	size_t nr;
};
#define NR_WORDS (sizeof(((struct programs *)0)->word) / sizeof(char *))

/* One of the build, at the same place below LAB_ROOT. */
static bool add_program(struct programs *p, const char *name)
{
	char *inside = format(LAB_ROOT "/%s", name);
	bool ok;

	p->word[p->nr] = format("%s/%s", build_dir(), name);
	ok = link_to(p->stage, inside, p->word[p->nr++]);
	free(inside);
	return ok;
}

static bool add_suite(struct programs *p, const char *suite)
{
	char *pattern = format("%s/tests/%s/*", build_dir(), suite);
	bool ok = true;
	glob_t found;

	if (!glob(pattern, 0, NULL, &found)) {
		for (size_t i = 0; i < found.gl_pathc && ok; i++) {
			const char *path = found.gl_pathv[i];
			struct stat st;

			if (stat(path, &st) || !S_ISREG(st.st_mode) || access(path, X_OK) ||
			    p->nr + 1 >= NR_WORDS)
				continue;
			ok = add_program(p, path + strlen(build_dir()) + 1);
		}
		globfree(&found);
	}
	free(pattern);
	return ok;
}

static bool link_programs(const struct options *o, const char *stage)
{
	/* ldd fails for a program that needs no library, which is fine here */
	struct programs p = {
		.stage = stage, .word = {"sh", "-c", "ldd \"$@\" 2>/dev/null || :", "sh"}, .nr = 4};
	size_t first = p.nr;
	bool ok;

	if (fuzzing(o))
		ok = add_program(&p, "tools/mmufuzz");
	else
		ok = add_program(&p, "tools/mmusuite");
	for (size_t i = 0; i < NR_SUITES && ok && !fuzzing(o); i++)
		ok = add_suite(&p, suites[i]);
	if (ok && o->replay)
		ok = link_to(stage, LAB_ROOT "/" LAB_REPLAY, o->replay);
	ok = ok && link_libraries(stage, p.word);
	for (size_t i = first; i < p.nr; i++)
		free(p.word[i]);
	return ok;
}

/*
 * Programs go in without what is for debuggers, which is most of their bytes and has to be unpacked
 * by a processor that is emulated. What can't be stripped stays what it was.
 */
static void strip_programs(char *stage)
{
	char *strip[] = {"sh",
			 "-c",
			 "cd \"$1" LAB_ROOT "\" && for f in tools/* tests/*/*; do\n"
			 "strip --strip-debug -o strip.tmp \"$f\" && mv -f strip.tmp \"$f\"\n"
			 "done 2>/dev/null; rm -f strip.tmp",
			 "sh",
			 stage,
			 NULL};

	proc_run(strip, -1);
}

/* A module goes in as it was read: from our own descriptor of the plain file. */
static bool link_modules(const char *stage, const struct load_plan *plan)
{
	bool ok = true;

	for (int i = 0; i < plan->nr && ok; i++) {
		const struct module *m = plan->load[i].module;
		char *inside = format("%s/mmuscope/modules/%s.ko", stage, m->name);
		char *target = format("/proc/%d/fd/%d", getpid(), m->fd);

		make_parents(inside);
		ok = !symlink(target, inside);
		if (!ok)
			complain("%s: %s", inside, strerror(errno));
		free(inside);
		free(target);
	}
	return ok;
}

static bool write_plan(struct run *run, const char *stage, const struct load_plan *plan)
{
	/* how many is the one wish for a test that no option says */
	const char *permutations = getenv("MMUSCOPE_PERMUTATIONS");
	char *path = format("%s/mmuscope/plan", stage);
	FILE *f = fopen(path, "we");
	char **argv;
	bool ok;

	if (!f) {
		complain("%s: %s", path, strerror(errno));
		free(path);
		return false;
	}
	for (int i = 0; i < plan->nr; i++)
		fprintf(f, "%s %s.ko%s%s\n", plan->load[i].optional ? "try" : "module",
			plan->load[i].module->name, *plan->load[i].params ? " " : "",
			plan->load[i].params);
	/* strict: in the lab the kernel is what is tested, no odd host to make allowances for */
	fprintf(f,
		"env MMUSCOPE_ENGINE=kvm\nenv MMUSCOPE_ENV=%s\nenv MMUSCOPE_KMSG=1\n"
		"env MMUSCOPE_STRICT=1\n",
		run->env->name);
	if (permutations)
		fprintf(f, "env MMUSCOPE_PERMUTATIONS=%.20s\n", permutations);
	argv = program_argv(run, LAB_ROOT);
	for (char **arg = argv; *arg; arg++)
		fprintf(f, "arg %s\n", *arg);
	free(argv);
	ok = !ferror(f);
	ok = !fclose(f) && ok;
	if (!ok)
		complain("%s: %s", path, strerror(errno));
	free(path);
	return ok;
}

bool initrd_make(struct run *run, const struct load_plan *plan, const char *path)
{
	char *stage = format("%s/stage", run->dir);
	char *remove[] = {"rm", "-rf", stage, NULL};
	/* paths come as arguments, so nothing in them is the shell's */
	char *pack[] = {"sh", "-c",  "cd \"$1\" && find . | cpio -o -H newc -L --quiet",
			"sh", stage, NULL};
	static const char *const dirs[] = {"", "/dev", "/proc", "/sys", "/tmp", "/mmuscope"};
	char *init = format("%s/tools/init", build_dir());
	int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool ok = out >= 0;

	if (!ok)
		complain("%s: %s", path, strerror(errno));
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && ok; i++) {
		char *dir = format("%s%s", stage, dirs[i]);

		ok = !mkdir(dir, 0755);
		if (!ok)
			complain("%s: %s", dir, strerror(errno));
		free(dir);
	}
	ok = ok && link_to(stage, "/init", init) && link_programs(run->o, stage) &&
	     link_modules(stage, plan) && write_plan(run, stage, plan);
	if (ok)
		strip_programs(stage);
	if (ok && !proc_run(pack, out)) {
		complain("cpio could not pack the lab's initramfs");
		ok = false;
	}
	if (out >= 0)
		close(out);
	proc_run(remove, -1);
	free(init);
	free(stage);
	return ok;
}
