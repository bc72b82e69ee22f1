// SPDX-License-Identifier: GPL-2.0-only
/* Where the kernel under test and its modules lie. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/mmurun/modules.h"

/* The boot protocol's header: its magic, and the offset of the version text less 0x200. */
#define HDRS_OFFSET    0x202
#define VERSION_OFFSET 0x20e

/* Release of a bzImage, or NULL when the file is none. */
static char *image_version(const char *path)
{
	unsigned char pointer[2];
	char magic[4], text[128];
	char *version = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return NULL;
	if (pread(fd, magic, 4, HDRS_OFFSET) != 4 || memcmp(magic, "HdrS", 4) ||
	    pread(fd, pointer, 2, VERSION_OFFSET) != 2)
		goto out;
	len = pread(fd, text, sizeof(text) - 1, 0x200 + (pointer[0] | pointer[1] << 8));
	if (len <= 0)
		goto out;
	text[len] = '\0';
	text[strcspn(text, " ")] = '\0';
	version = strdup(text);
out:
	close(fd);
	return version;
}

static bool is_dir(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* The first match of a pattern, or NULL. */
static char *glob_last(const char *pattern)
{
	char *found = NULL;
	glob_t matches;

	if (!glob(pattern, 0, NULL, &matches)) {
		found = strdup(matches.gl_pathv[0]);
		/* the newest version, not the first in the alphabet */
		for (size_t i = 1; i < matches.gl_pathc; i++) {
			if (strverscmp(matches.gl_pathv[i], found) <= 0)
				continue;
			free(found);
			found = strdup(matches.gl_pathv[i]);
		}
		globfree(&matches);
	}
	return found;
}

/* The newest whole kernel that setup.sh put into the cache. */
static char *cached_image(char **cache)
{
	const char *set = getenv("MMUSCOPE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	char *pattern, *stamp, *image;

	if (set && *set)
		*cache = strdup(set);
	else if (xdg && *xdg)
		*cache = format("%s/mmuscope", xdg);
	else
		*cache = format("%s/.cache/mmuscope", home && *home ? home : "/tmp");
	pattern = format("%s/kernel/*/complete", *cache);
	stamp = glob_last(pattern);
	free(pattern);
	if (!stamp)
		return NULL;
	pattern = format("%.*sboot/vmlinuz-*", (int)(strlen(stamp) - strlen("complete")), stamp);
	image = glob_last(pattern);
	free(pattern);
	free(stamp);
	return image;
}

/* The folder with this image's modules: beside it as packages lie, or installed. */
static char *modules_of(const char *image, const char *version)
{
	const char *slash = strrchr(image, '/');
	int dir = slash ? (int)(slash - image) : 1;
	const char *base = slash ? image : ".";
	char *candidates[] = {
		format("%.*s/../lib/modules/%s", dir, base, version),
		format("%.*s/../usr/lib/modules/%s", dir, base, version),
		format("/lib/modules/%s", version),
	};
	char *found = NULL;

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		if (!found && is_dir(candidates[i]))
			found = candidates[i];
		else
			free(candidates[i]);
	}
	return found;
}

/* Remember every module below @dir whose name starts with @prefix; false when there is none. */
static bool index_modules(struct kernel *k, const char *dir, const char *prefix)
{
	char *roots[] = {(char *)dir, NULL};
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
	size_t before = k->nr_files;
	FTSENT *entry;

	while (walk && (entry = fts_read(walk))) {
		const char *ko = strstr(entry->fts_name, ".ko");
		struct module_file *more;

		if (entry->fts_info != FTS_F || !ko || !strchr(".", ko[3]) ||
		    strncmp(entry->fts_name, prefix, strlen(prefix)))
			continue;
		/* what kbuild leaves beside a module is not one: kvm.ko.cmd */
		if (ko[3] && strcmp(ko, ".ko.xz") && strcmp(ko, ".ko.zst") && strcmp(ko, ".ko.gz"))
			continue;
		more = realloc(k->files, (k->nr_files + 1) * sizeof(*more));
		if (!more)
			abort();
		k->files = more;
		more[k->nr_files].name = strndup(entry->fts_name, ko - entry->fts_name);
		more[k->nr_files++].path = realpath(entry->fts_path, NULL);
	}
	if (walk)
		fts_close(walk);
	return k->nr_files > before;
}

/* A kernel that was built but not installed. */
static enum exit_code open_tree(struct kernel *k, const char *dir)
{
	char *image = format("%s/arch/x86/boot/bzImage", dir);
	char *packaged;

	k->version = image_version(image);
	if (k->version) {
		k->image = image;
		k->tree = strdup(dir);
		return EXIT_PASS;
	}
	free(image);
	packaged = format("%s/boot/vmlinuz-*", dir);
	k->image = glob_last(packaged);
	free(packaged);
	if (k->image)
		k->version = image_version(k->image);
	if (k->version) {
		k->tree = modules_of(k->image, k->version);
		return EXIT_PASS;
	}
	complain("--kernel %s: no arch/x86/boot/bzImage in it: build the tree with "
		 "'make bzImage modules'",
		 dir);
	return EXIT_USAGE;
}

static enum exit_code open_image(struct kernel *k, const char *path)
{
	char *tree;

	k->version = image_version(path);
	if (!k->version) {
		complain("--kernel %s: not a bzImage: give /boot/vmlinuz-VERSION, a tree's "
			 "arch/x86/boot/bzImage (not vmlinux), or the tree",
			 path);
		return EXIT_USAGE;
	}
	k->image = strdup(path);
	/* the bzImage of a tree has its modules there, not where they may be installed */
	tree = format("%.*s/../../..", (int)(strrchr(path, '/') ? strrchr(path, '/') - path : 1),
		      strrchr(path, '/') ? path : ".");
	k->tree = format("%s/arch/x86/boot", tree);
	if (is_dir(k->tree) && access(tree, R_OK) == 0) {
		free(k->tree);
		k->tree = tree;
	} else {
		free(k->tree);
		free(tree);
		k->tree = modules_of(path, k->version);
	}
	return EXIT_PASS;
}

enum exit_code kernel_open(struct kernel *k, const struct options *o)
{
	enum exit_code ret = EXIT_PASS;
	char *cache = NULL, *image;

	*k = (struct kernel){0};
	if (o->kernel) {
		ret = is_dir(o->kernel) ? open_tree(k, o->kernel) : open_image(k, o->kernel);
	} else {
		image = cached_image(&cache);
		if (!image) {
			complain("no kernel in %s: 'tools/setup.sh kernel' fetches one, or give "
				 "one with --kernel",
				 cache);
			ret = EXIT_BROKEN;
		} else {
			ret = open_image(k, image);
		}
		free(image);
		free(cache);
	}
	if (ret)
		return ret;
	/* what comes first is found first */
	if (o->modules && !index_modules(k, o->modules, "kvm")) {
		complain("--modules %s: no kvm*.ko in it or below: build them with "
			 "'make M=arch/x86/kvm modules'",
			 o->modules);
		return EXIT_USAGE;
	}
	if (k->tree)
		index_modules(k, k->tree, "");
	if (!k->nr_files)
		complain("no modules of %s beside %s or in /lib/modules: taking KVM to be part of "
			 "the image",
			 k->version, k->image);
	return EXIT_PASS;
}
