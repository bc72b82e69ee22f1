// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads guest images with libelf. An image comes with the test binary and
 * should be sound, but a build that went wrong must end in a sentence, not in a
 * guest that triple-faults: everything is checked before anything is copied.
 */
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "test.h"

extern const u8 agent64_start[], agent64_end[], agent32_start[], agent32_end[];

const struct image agent_image64 = {agent64_start, 0, "agent64.elf"};
const struct image agent_image32 = {agent32_start, 0, "agent32.elf"};

static size_t image_size(const struct image *image)
{
	if (image == &agent_image64)
		return agent64_end - agent64_start;
	if (image == &agent_image32)
		return agent32_end - agent32_start;
	return image->size;
}

static Elf *image_elf(const struct image *image)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		test_error("libelf: %s", elf_errmsg(-1));
	/* libelf takes a writable pointer but only reads without ELF_C_WRITE. */
	return elf_memory((char *)image->data, image_size(image));
}

static char why[256];

#define refuse(...) (snprintf(why, sizeof(why), __VA_ARGS__), why)

static const char *check_header(const struct image *image, Elf *elf, int bits, GElf_Ehdr *eh)
{
	int class = bits == 64 ? ELFCLASS64 : ELFCLASS32;
	int machine = bits == 64 ? EM_X86_64 : EM_386;

	if (image_size(image) < SELFMAG || memcmp(image->data, ELFMAG, SELFMAG))
		return refuse("%s: bad magic: not an ELF file", image->name);
	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, eh))
		return refuse("%s: truncated or malformed ELF header (%s)", image->name,
			      elf_errmsg(-1));
	if (eh->e_ident[EI_CLASS] != class)
		return refuse("%s: wrong class: %d-bit guest, ELF class %d", image->name, bits,
			      eh->e_ident[EI_CLASS]);
	if (eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse("%s: wrong machine: big-endian", image->name);
	if (eh->e_machine != machine)
		return refuse("%s: wrong machine: %d, wanted %d", image->name, eh->e_machine,
			      machine);
	if (eh->e_type != ET_EXEC)
		return refuse("%s: not an executable (e_type %d)", image->name, eh->e_type);
	return NULL;
}

static const char *check_segments(const struct image *image, Elf *elf, const GElf_Ehdr *eh,
				  u64 mem_size)
{
	size_t n, i, j, size = image_size(image);
	bool entry_found = false, any = false;
	GElf_Phdr a, b;

	if (elf_getphdrnum(elf, &n))
		return refuse("%s: truncated program headers (%s)", image->name, elf_errmsg(-1));
	for (i = 0; i < n; i++) {
		if (!gelf_getphdr(elf, i, &a))
			return refuse("%s: truncated program headers (%s)", image->name,
				      elf_errmsg(-1));
		if (a.p_type != PT_LOAD || !a.p_memsz)
			continue;
		any = true;
		if (a.p_filesz > a.p_memsz)
			return refuse("%s: segment %zu: %lu bytes of file in %lu of memory",
				      image->name, i, a.p_filesz, a.p_memsz);
		if (a.p_offset > size || a.p_filesz > size - a.p_offset)
			return refuse(
				"%s: truncated file: segment %zu ends at %#lx, the file at %#zx",
				image->name, i, a.p_offset + a.p_filesz, size);
		if (a.p_paddr > mem_size || a.p_memsz > mem_size - a.p_paddr)
			return refuse(
				"%s: segment %zu outside memory: %#lx + %#lx, memory ends at %#lx",
				image->name, i, a.p_paddr, a.p_memsz, mem_size);
		if ((a.p_flags & PF_X) && eh->e_entry >= a.p_vaddr &&
		    eh->e_entry - a.p_vaddr < a.p_memsz)
			entry_found = true;
		for (j = 0; j < i; j++) {
			if (!gelf_getphdr(elf, j, &b) || b.p_type != PT_LOAD || !b.p_memsz)
				continue;
			if (a.p_paddr < b.p_paddr + b.p_memsz && b.p_paddr < a.p_paddr + a.p_memsz)
				return refuse(
					"%s: overlapping segments %zu (%#lx + %#lx) and %zu (%#lx + %#lx)",
					image->name, j, b.p_paddr, b.p_memsz, i, a.p_paddr,
					a.p_memsz);
		}
	}
	if (!any)
		return refuse("%s: no loadable segment", image->name);
	if (!entry_found)
		return refuse("%s: entry point %#lx is in no executable segment", image->name,
			      eh->e_entry);
	return NULL;
}

const char *image_load(const struct image *image, int bits, void *mem, u64 mem_size, u64 *entry)
{
	Elf *elf = image_elf(image);
	const char *error;
	GElf_Ehdr eh;
	GElf_Phdr ph;
	size_t n, i;

	error = check_header(image, elf, bits, &eh);
	if (!error)
		error = check_segments(image, elf, &eh, mem_size);
	if (!error) {
		elf_getphdrnum(elf, &n);
		for (i = 0; i < n; i++) {
			gelf_getphdr(elf, i, &ph);
			if (ph.p_type != PT_LOAD || !ph.p_memsz)
				continue;
			memcpy((u8 *)mem + ph.p_paddr, image->data + ph.p_offset, ph.p_filesz);
			/* Fresh guest memory is zero; don't populate it for .bss. */
		}
		*entry = eh.e_entry;
	}
	elf_end(elf);
	return error;
}

/* Calls @fn for each symbol until it returns true. */
static bool for_each_symbol(const struct image *image,
			    bool (*fn)(const GElf_Sym *sym, const char *name, void *arg), void *arg)
{
	Elf *elf = image_elf(image);
	Elf_Scn *scn = NULL;
	bool found = false;

	while (!found && (scn = elf_nextscn(elf, scn))) {
		Elf_Data *data;
		GElf_Shdr sh;
		GElf_Sym sym;
		size_t i;

		if (!gelf_getshdr(scn, &sh) || sh.sh_type != SHT_SYMTAB || !sh.sh_entsize)
			continue;
		data = elf_getdata(scn, NULL);
		for (i = 0; data && !found && i < sh.sh_size / sh.sh_entsize; i++)
			if (gelf_getsym(data, i, &sym))
				found = fn(&sym, elf_strptr(elf, sh.sh_link, sym.st_name), arg);
	}
	elf_end(elf);
	return found;
}

struct lookup {
	const char *name;
	u64 addr;
	u64 best;
	char *buf;
	size_t size;
};

static bool match_name(const GElf_Sym *sym, const char *name, void *arg)
{
	struct lookup *l = arg;

	if (!name || sym->st_shndx == SHN_UNDEF || strcmp(name, l->name))
		return false;
	l->addr = sym->st_value;
	return true;
}

bool image_symbol(const struct image *image, const char *name, u64 *value)
{
	struct lookup l = {.name = name};

	if (!for_each_symbol(image, match_name, &l))
		return false;
	*value = l.addr;
	return true;
}

/* Assembly labels have no size, so the nearest symbol below wins; of two there, the function. */
static bool match_addr(const GElf_Sym *sym, const char *name, void *arg)
{
	int type = GELF_ST_TYPE(sym->st_info);
	struct lookup *l = arg;

	if (!name || !*name || sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS ||
	    sym->st_value > l->addr || sym->st_value < l->best || type > STT_FUNC ||
	    (sym->st_value == l->best && type != STT_FUNC))
		return false;
	l->best = sym->st_value;
	snprintf(l->buf, l->size, "%s+%#lx", name, l->addr - sym->st_value);
	return false;
}

const char *image_symbolise(const struct image *image, u64 addr, char *buf, size_t size)
{
	struct lookup l = {.addr = addr, .buf = buf, .size = size};
	u64 end = 0;

	snprintf(buf, size, "?");
	if (image_symbol(image, "image_end", &end) && addr < end)
		for_each_symbol(image, match_addr, &l);
	return buf;
}
