// SPDX-License-Identifier: GPL-2.0-only
/*
 * Set-up: the kernel comes into the cache whole or not at all, and what can't be installed
 * is named. apt-get and dpkg are scripts in a folder at the head of PATH, so that nothing
 * is installed and no network is asked.
 */
#include <glob.h>

#include "tests/unit/test_mmurun.h"

#define KERNEL "linux-image-" FAKE_RELEASE

struct fake {
	struct stage s;
	char *cache, *calls;
};

/* A tool that does the real one's work after a line in the list of calls. */
static void fake_tool(const struct fake *f, const char *name, const char *body)
{
	char *path = stage_path(&f->s, "bin/%s", name), *text = NULL;

	if (asprintf(&text, "echo \"%s $*\" >>'%s'\n%s", name, f->calls, body) < 0)
		test_error("out of memory");
	put_script(path, text);
	free(text);
	free(path);
}

static void fake_tools(const struct fake *f)
{
	shell("rm -rf '%s/bin'", f->s.dir);
	fake_tool(f, "apt-cache",
		  "[ $1 = depends ] && [ $2 = linux-image-amd64 ] && "
		  "printf 'linux-image-amd64\\n  Depends: " KERNEL "\\n'");
	fake_tool(f, "apt-get", "case $* in *download*) echo deb >" KERNEL ".deb ;; esac");
	fake_tool(f, "dpkg",
		  "[ $1 = -x ] || exit 0\n"
		  "mkdir -p $3/boot $3/lib/modules/" FAKE_RELEASE "/kernel/arch/x86/kvm\n"
		  "echo image >$3/boot/vmlinuz-" FAKE_RELEASE "\n"
		  "echo module >$3/lib/modules/" FAKE_RELEASE "/kernel/arch/x86/kvm/kvm.ko");
}

static struct fake make_fake(void)
{
	struct fake f = {.s = {.dir = temp_dir()}};
	char *path = NULL;

	REQUIRE(!access("tools/setup.sh", X_OK), "(run it in the project's folder)");
	f.cache = stage_path(&f.s, "cache");
	f.calls = stage_path(&f.s, "calls");
	fake_tools(&f);
	if (asprintf(&path, "%s/bin:%s", f.s.dir, getenv("PATH")) < 0)
		test_error("out of memory");
	setenv("PATH", path, 1);
	setenv("MMUSCOPE_CACHE", f.cache, 1);
	return f;
}

/* Only this folder is searched, until the case ends and its folders are removed. */
static void put_path_back(void *path)
{
	setenv("PATH", path, 1);
}

static void only_path(char *dir)
{
	test_cleanup(put_path_back, strdup(getenv("PATH")));
	setenv("PATH", dir, 1);
}

static struct program setup(const char *what, const char *option)
{
	const char *argv[] = {"/bin/bash", "tools/setup.sh", what, option, NULL};
	struct program p = program_start(argv);

	p.status = program_end(&p);
	return p;
}

static int matches(const struct fake *f, const char *pattern)
{
	char *path = stage_path(&f->s, "%s", pattern);
	glob_t found;
	int nr = 0;

	if (!glob(path, GLOB_PERIOD, NULL, &found)) {
		nr = found.gl_pathc;
		globfree(&found);
	}
	free(path);
	return nr;
}

TEST(fetch, .what = "the kernel comes into the cache once; then nothing is asked any more")
{
	struct fake f = make_fake();
	struct program p = setup("kernel", NULL);

	EXPECT_EQ(p.status, 0, "%s", p.text);
	EXPECT_HAS(&p, "fetching " KERNEL " (about 70 MB) into ");
	EXPECT_EQ(matches(&f, "cache/kernel/" FAKE_RELEASE "/complete"), 1);
	EXPECT_EQ(matches(&f, "cache/kernel/" FAKE_RELEASE "/boot/vmlinuz-" FAKE_RELEASE), 1);
	EXPECT_EQ(matches(&f, "cache/kernel/*/lib/modules/*/kernel/arch/x86/kvm/kvm.ko"), 1);
	EXPECT_EQ(matches(&f, "cache/kernel/.tmp.*"), 0);

	unlink(f.calls);
	p = setup("kernel", NULL);
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "");
	EXPECT(access(f.calls, F_OK), "a tool was called with a warm cache");

	p = setup("kernel", "--refresh");
	EXPECT_EQ(p.status, 0, "%s", p.text);
	EXPECT(!access(f.calls, F_OK), "nothing was asked for --refresh");
	EXPECT_EQ(matches(&f, "cache/kernel/.tmp.*"), 0);
}

TEST(killed, .what = "kill -9 at each step leaves nothing that the next run trusts")
{
	/* each is called by setup.sh itself, which therefore is its parent */
	static const char *const at[] = {"dpkg", "cp", "sync", "mv"};
	struct fake f = make_fake();

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct program p;

		fake_tools(&f);
		/* it does half of its work, and then there is no parent to go on */
		fake_tool(
			&f, at[i],
			"[ \"$1\" != -x ] || { mkdir -p $3/boot && echo half >$3/boot/vmlinuz-" FAKE_RELEASE
			"; }\nkill -9 $PPID");
		p = setup("kernel", NULL);
		EXPECT_EQ(p.status, -SIGKILL, "at %s: %s", at[i], p.text);
		EXPECT_EQ(matches(&f, "cache/kernel/[!.]*"), 0, "killed at %s", at[i]);
		EXPECT_EQ(matches(&f, "cache/kernel/.tmp.*"), 1, "killed at %s", at[i]);

		fake_tools(&f);
		p = setup("kernel", NULL);
		EXPECT_EQ(p.status, 0, "after a death at %s: %s", at[i], p.text);
		EXPECT_EQ(matches(&f, "cache/kernel/" FAKE_RELEASE "/complete"), 1);
		EXPECT_EQ(matches(&f, "cache/kernel/.tmp.*"), 0);
		shell("grep -qx image '%s/kernel/%s/boot/vmlinuz-%s'", f.cache, FAKE_RELEASE,
		      FAKE_RELEASE);
		shell("rm -r '%s/kernel/%s'", f.cache, FAKE_RELEASE);
	}
}

TEST(offline, .what = "a kernel that can't be fetched: 12, and the ways to get one")
{
	struct fake f = make_fake();
	struct program p;

	fake_tool(&f, "apt-get", "echo 'Could not resolve' >&2; exit 100");
	p = setup("kernel", NULL);
	EXPECT_EQ(p.status, 12);
	EXPECT_HAS(&p, "Could not resolve");
	EXPECT_HAS(&p, "Debian: linux-image-amd64");
	EXPECT_HAS(&p, "Fedora:    sudo dnf install kernel-core");
	EXPECT_EQ(matches(&f, "cache/kernel/[!.]*"), 0);
	EXPECT_EQ(matches(&f, "cache/kernel/.tmp.*"), 0);
}

TEST(cache_unwritable, .what = "a cache that can't be written: 12, and the variable to set")
{
	struct program p;

	make_fake();
	setenv("MMUSCOPE_CACHE", "/proc/nowhere", 1);
	p = setup("kernel", NULL);
	EXPECT_EQ(p.status, 12);
	EXPECT_HAS(&p, "the cache /proc/nowhere can't be written: set MMUSCOPE_CACHE");
}

TEST(packages, .what = "without apt-get what is missing is named for Debian and Fedora, with 12")
{
	struct program p;

	REQUIRE(!access("tools/setup.sh", X_OK), "(run it in the project's folder)");
	only_path("/nonexistent");
	p = setup("lab", NULL);
	EXPECT_EQ(p.status, 12);
	EXPECT_LINE(
		&p,
		"setup:   Debian, Ubuntu: sudo apt-get install qemu-system-x86 cpio xz-utils zstd");
	EXPECT_LINE(&p,
		    "setup:   Fedora:         sudo dnf install qemu-system-x86-core cpio xz zstd");
	p = setup("nothing", NULL);
	EXPECT_EQ(p.status, 2);
}

TEST(install, .what = "what is missing is announced and installed, and nothing else")
{
	struct fake f = make_fake();
	struct program p;

	/* zstd is not there until it is installed; the rest is */
	fake_tool(&f, "apt-get",
		  "case $* in *install*zstd*) ;; *) exit 100 ;; esac\n"
		  "printf '#!/bin/sh\\n' >${0%/*}/zstd; chmod +x ${0%/*}/zstd");
	fake_tool(&f, "id", "echo 0");
	fake_tool(&f, "qemu-system-x86_64", "");
	fake_tool(&f, "cpio", "");
	fake_tool(&f, "xz", "");
	shell("cd '%s/bin' && for t in bash sh chmod dirname tail cat; do ln -s $(command -v $t) .; "
	      "done",
	      f.s.dir);
	only_path(stage_path(&f.s, "bin"));
	p = setup("lab", NULL);
	EXPECT_EQ(p.status, 0, "%s", p.text);
	EXPECT_LINE(&p, "setup: installing for lab: zstd");
	p = setup("lab", NULL);
	EXPECT_EQ(p.status, 0);
	EXPECT_STREQ(p.text, "");
}

TEST(help, .what = "run_tests.sh --help needs no set-up")
{
	const char *argv[] = {"/bin/bash", "run_tests.sh", "--vm", "--help", NULL};
	struct fake f = make_fake();
	struct program p;

	shell("rm '%s'/bin/* && cd '%s/bin' && ln -s $(command -v dirname) $(command -v cat) .",
	      f.s.dir, f.s.dir);
	only_path(stage_path(&f.s, "bin"));
	p = program_start(argv);
	EXPECT_EQ(program_end(&p), 0, "%s", p.text);
	EXPECT_HAS(&p, "usage: ./run_tests.sh");
}
