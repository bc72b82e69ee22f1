// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel modules: finding them by name, reading .modinfo with libelf, and the order
 * and parameters they are loaded with.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/mmurun/modules.h"
#include "tools/mmurun/proc.h"

/* "kvm-amd" and "kvm_amd" are one module */
static bool same_module(const char *a, const char *b, size_t b_len)
{
	size_t i;

	for (i = 0; a[i] && i < b_len; i++)
		if (a[i] != b[i] && !(strchr("-_", a[i]) && strchr("-_", b[i])))
			return false;
	return !a[i] && i == b_len;
}

static const struct module_file *find_file(const struct kernel *k, const char *name, size_t len)
{
	for (size_t i = 0; i < k->nr_files; i++)
		if (same_module(k->files[i].name, name, len))
			return &k->files[i];
	return NULL;
}

/* The module's bytes behind a descriptor, decompressed when its name says so. */
static int open_plain(const char *path)
{
	static const struct {
		const char *suffix;
		char *argv[4];
	} packers[] = {
		{".xz", {"xz", "-dc", NULL, NULL}},
		{".zst", {"zstd", "-dcq", NULL, NULL}},
		{".gz", {"gzip", "-dc", NULL, NULL}},
	};

	for (size_t i = 0; i < sizeof(packers) / sizeof(packers[0]); i++) {
		size_t len = strlen(path), suffix = strlen(packers[i].suffix);
		char *argv[] = {packers[i].argv[0], packers[i].argv[1], (char *)path, NULL};
		int fd;

		if (len < suffix || strcmp(path + len - suffix, packers[i].suffix))
			continue;
		fd = memfd_create("module", MFD_CLOEXEC);
		if (fd >= 0 && !proc_run(argv, fd)) {
			complain("%s: %s can't decompress it", path, argv[0]);
			close(fd);
			return -1;
		}
		return fd;
	}
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool read_info(struct module *m)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	size_t names;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(m->fd, ELF_C_READ, NULL);
	if (!elf || elf_getshdrstrndx(elf, &names))
		goto out;
	while (!m->info && (section = elf_nextscn(elf, section))) {
		const char *name;
		Elf_Data *data;

		if (!gelf_getshdr(section, &header))
			continue;
		name = elf_strptr(elf, names, header.sh_name);
		if (!name || strcmp(name, ".modinfo"))
			continue;
		data = elf_getdata(section, NULL);
		if (!data || !data->d_buf || !data->d_size)
			break;
		m->info = malloc(data->d_size + 1);
		if (!m->info)
			abort();
		memcpy(m->info, data->d_buf, data->d_size);
		m->info[data->d_size] = '\0';
		m->info_len = data->d_size;
	}
out:
	elf_end(elf);
	if (!m->info)
		complain("%s: no kernel module (it has no .modinfo)", m->path);
	return m->info;
}

/*
 * The value of the next "key=" after @prev (NULL: the first), or NULL. Padding
 * between entries reads as empty ones.
 */
static const char *info_next(const struct module *m, const char *key, const char *prev)
{
	const char *end = m->info + m->info_len;
	const char *entry = prev ? prev + strlen(prev) + 1 : m->info;
	size_t len = strlen(key);

	for (; entry < end; entry += strlen(entry) + 1)
		if (!strncmp(entry, key, len) && entry[len] == '=')
			return entry + len + 1;
	return NULL;
}

static bool has_param(const struct module *m, const char *name, size_t len)
{
	const char *parm = NULL;

	while ((parm = info_next(m, "parm", parm)))
		if (!strncmp(parm, name, len) && parm[len] == ':')
			return true;
	/* a parameter without a description has only its type there */
	while ((parm = info_next(m, "parmtype", parm)))
		if (!strncmp(parm, name, len) && parm[len] == ':')
			return true;
	return false;
}

/* What a module that is part of the image says: "MODULE.key=value" entries of one file. */
static bool read_builtin(const struct kernel *k, struct module *m)
{
	char *path = format("%s/modules.builtin.modinfo", k->tree ? k->tree : "");
	FILE *f = fopen(path, "re"), *out;
	char *entry = NULL;
	size_t room = 0, len = strlen(m->name);

	free(path);
	if (!f)
		return false;
	out = open_memstream(&m->info, &m->info_len);
	while (out && getdelim(&entry, &room, '\0', f) > 0)
		if (!strncmp(entry, m->name, len) && entry[len] == '.')
			fprintf(out, "%s%c", entry + len + 1, '\0');
	free(entry);
	fclose(f);
	if (out)
		fclose(out);
	return m->info_len;
}

/* NULL without a message when there is no such module, with *broken set when it is unreadable. */
static struct module *get_module(struct kernel *k, const char *name, size_t len, bool *broken)
{
	const struct module_file *file;
	struct module *m;

	for (int i = 0; i < k->nr_modules; i++)
		if (same_module(k->modules[i].name, name, len))
			return &k->modules[i];
	if (k->nr_modules == MAX_MODULES) {
		complain("more than %d modules to load", MAX_MODULES);
		*broken = true;
		return NULL;
	}
	m = &k->modules[k->nr_modules];
	*m = (struct module){.name = strndup(name, len), .fd = -1};
	for (char *c = m->name; *c; c++)
		if (*c == '-')
			*c = '_';
	file = find_file(k, name, len);
	if (!file) {
		if (!read_builtin(k, m)) {
			free(m->name);
			return NULL;
		}
		k->nr_modules++;
		return m;
	}
	m->path = file->path;
	m->fd = open_plain(m->path);
	if (m->fd < 0 || !read_info(m)) {
		if (m->fd < 0)
			complain("%s: %s", m->path, strerror(errno));
		else
			close(m->fd);
		free(m->name);
		*broken = true;
		return NULL;
	}
	k->nr_modules++;
	return m;
}

static int plan_index(const struct load_plan *plan, const struct module *m)
{
	for (int i = 0; i < plan->nr; i++)
		if (plan->load[i].module == m)
			return i;
	return -1;
}

/* Append a module, what it depends on first. False when one can't be read. */
static bool plan_add(struct kernel *k, struct load_plan *plan, const char *name, size_t len,
		     bool optional, int depth)
{
	bool broken = false;
	struct module *m = get_module(k, name, len, &broken);
	const char *depends;

	if (broken || depth > MAX_MODULES)
		return false;
	/* part of the image, or not there at all, which shows when KVM is looked for */
	if (!m || m->fd < 0 || plan_index(plan, m) >= 0)
		return true;
	for (depends = info_next(m, "depends", NULL); depends && *depends;) {
		size_t dep_len = strcspn(depends, ",");

		if (!plan_add(k, plan, depends, dep_len, optional, depth + 1))
			return false;
		depends += dep_len + (depends[dep_len] == ',');
	}
	plan->load[plan->nr].module = m;
	plan->load[plan->nr].optional = optional;
	plan->load[plan->nr++].params = strdup("");
	return true;
}

static void append(char **list, const char *fmt_prefix, const char *word, size_t len)
{
	char *longer = format("%s%s%s%.*s", *list, **list ? " " : "", fmt_prefix, (int)len, word);

	free(*list);
	*list = longer;
}

static void complain_unknown(struct kernel *k, const char *name, size_t len, const char *config)
{
	static const char *const modules[] = {"kvm", "kvm_amd", "kvm_intel"};
	bool broken = false;

	complain("--config %s: no KVM module of %s has a parameter '%.*s'; there are:", config,
		 k->version, (int)len, name);
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		struct module *m = get_module(k, modules[i], strlen(modules[i]), &broken);
		const char *parm = NULL;

		if (!m)
			continue;
		fprintf(stderr, "  %s:", modules[i]);
		while ((parm = info_next(m, "parmtype", parm)))
			fprintf(stderr, " %.*s", (int)strcspn(parm, ":"), parm);
		fputc('\n', stderr);
	}
}

static const char *vendor_module(enum vendor vendor)
{
	return vendor == VENDOR_AMD ? "kvm_amd" : "kvm_intel";
}

bool kernel_config_needs(struct kernel *k, const char *config, enum vendor vendor)
{
	const char *own = vendor_module(vendor), *other = vendor_module(!vendor);
	bool broken = false;
	struct module *mine = get_module(k, own, strlen(own), &broken);
	struct module *others = get_module(k, other, strlen(other), &broken);

	for (const char *p = config; *p;) {
		size_t name = strcspn(p, "="), all = strcspn(p, ",");

		if (mine && has_param(mine, p, name) && !(others && has_param(others, p, name)))
			return true;
		p += all + (p[all] == ',');
	}
	return false;
}

static bool add_param(struct kernel *k, struct load_plan *plan, const char *config,
		      const char *param, size_t len, enum vendor vendor)
{
	const char *modules[] = {"kvm", vendor_module(vendor)};
	size_t name = strcspn(param, "=");
	bool broken = false, found = false, known = false;

	for (int i = 0; i < 2; i++) {
		struct module *m = get_module(k, modules[i], strlen(modules[i]), &broken);
		int at = m ? plan_index(plan, m) : -1;

		known |= m != NULL;
		if (!m || !has_param(m, param, name))
			continue;
		found = true;
		if (at >= 0) {
			append(&plan->load[at].params, "", param, len);
		} else {
			char *prefix = format("%s.", modules[i]);

			append(&plan->cmdline, prefix, param, len);
			free(prefix);
		}
	}
	if (!found && !known) {
		/* nothing is known of a KVM that is part of the image: whose it is, it knows */
		for (int i = 0; i < 2; i++) {
			char *prefix = format("%s.", modules[i]);

			append(&plan->cmdline, prefix, param, len);
			free(prefix);
		}
		return true;
	}
	if (!found)
		complain_unknown(k, param, name, config);
	return found;
}

enum exit_code kernel_plan(struct kernel *k, const char *config, enum vendor vendor,
			   struct load_plan *plan)
{
	const char *kvm = vendor_module(vendor);

	*plan = (struct load_plan){.cmdline = strdup("")};
	if (!plan_add(k, plan, "kvm", 3, false, 0) ||
	    !plan_add(k, plan, kvm, strlen(kvm), false, 0) ||
	    /* swap to compressed memory, for the cases that have the host page out a guest */
	    !plan_add(k, plan, "zram", 4, true, 0))
		return EXIT_BROKEN;
	for (const char *p = config; *p;) {
		size_t len = strcspn(p, ",");

		if (!add_param(k, plan, config, p, len, vendor))
			return EXIT_USAGE;
		p += len + (p[len] == ',');
	}
	return EXIT_PASS;
}

void load_plan_free(struct load_plan *plan)
{
	for (int i = 0; i < plan->nr; i++)
		free(plan->load[i].params);
	free(plan->cmdline);
	*plan = (struct load_plan){0};
}
