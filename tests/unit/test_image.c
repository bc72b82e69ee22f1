// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest images that are damaged: each is the embedded agent with one thing
 * broken, and must be refused with a sentence that names it, before a byte of
 * guest memory has been written. The first case loads the sound image, so that
 * a loader that refuses everything does not pass.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "mmuscope.h"

#define MEM_SIZE (4 * MiB)

extern const u8 agent64_start[], agent64_end[], agent32_start[], agent32_end[];

struct copy {
	u8 *data;
	size_t size;
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph;	     /* the program headers */
	Elf64_Phdr *load[8]; /* those of loadable segments with content */
	int nr_load;
};

/* A copy of the 64-bit agent to damage. */
static struct copy copy_agent(void)
{
	struct copy c = {.size = agent64_end - agent64_start};
	int i;

	c.data = malloc(c.size);
	memcpy(c.data, agent64_start, c.size);
	c.eh = (Elf64_Ehdr *)c.data;
	c.ph = (Elf64_Phdr *)(c.data + c.eh->e_phoff);
	for (i = 0; i < c.eh->e_phnum; i++)
		if (c.ph[i].p_type == PT_LOAD && c.ph[i].p_memsz && c.nr_load < 8)
			c.load[c.nr_load++] = &c.ph[i];
	ASSERT_GE(c.nr_load, 2, "loadable segments of the agent");
	return c;
}

static u8 *memory(void)
{
	static u8 *mem;

	if (!mem)
		mem = malloc(MEM_SIZE);
	memset(mem, 0xcc, MEM_SIZE);
	return mem;
}

/* Loading @size bytes of @data is refused, the reason holds @word, memory is untouched. */
static void expect_refused(const void *data, size_t size, int bits, u64 mem_size, const char *word)
{
	struct image image = {data, size, "damaged.elf"};
	u8 *mem = memory();
	u64 entry = 0x77, i;
	const char *why = image_load(&image, bits, mem, mem_size, &entry);

	EXPECT(why && strstr(why, word), "refused for \"%s\": %s", word, why ? why : "loaded");
	EXPECT(why && strstr(why, image.name), "the reason names the file: %s", why ? why : "none");
	EXPECT_EQ(entry, 0x77, "\"%s\": the entry point was not set", word);
	for (i = 0; i < MEM_SIZE && mem[i] == 0xcc; i++)
		;
	EXPECT_EQ(i, MEM_SIZE, "\"%s\": memory is untouched", word);
}

static void expect_copy_refused(const struct copy *c, const char *word)
{
	expect_refused(c->data, c->size, 64, MEM_SIZE, word);
}

TEST(sound, .what = "the agents are loaded to where their segments say")
{
	struct copy c = copy_agent();
	struct image image = {c.data, c.size, "copy.elf"};
	u64 entry = 0, symbol = 0;
	u8 *mem = memory();
	int i;

	EXPECT_STREQ(image_load(&image, 64, mem, MEM_SIZE, &entry), NULL);
	EXPECT_EQ(entry, c.eh->e_entry);
	for (i = 0; i < c.nr_load; i++)
		EXPECT(!memcmp(mem + c.load[i]->p_paddr, c.data + c.load[i]->p_offset,
			       c.load[i]->p_filesz),
		       "segment %d is in memory", i);
	EXPECT(image_symbol(&image, "mailboxes", &symbol) && symbol, "a symbol is found");
	EXPECT(!image_symbol(&image, "no_such_symbol", &symbol), "another is not");
	EXPECT_STREQ(image_load(&agent_image64, 64, memory(), MEM_SIZE, &entry), NULL);
	EXPECT_STREQ(image_load(&agent_image32, 32, memory(), MEM_SIZE, &entry), NULL);
}

TEST(bad_magic, .what = "what is no ELF file is refused")
{
	struct copy c = copy_agent();
	int i;

	for (i = 0; i < SELFMAG; i++) {
		c.data[i] ^= 0x20;
		expect_copy_refused(&c, "bad magic");
		c.data[i] ^= 0x20;
	}
	expect_refused("", 0, 64, MEM_SIZE, "bad magic");
	expect_refused("\177EL", 3, 64, MEM_SIZE, "bad magic");
	expect_refused("#!/bin/sh\nexit 0\n", 17, 64, MEM_SIZE, "bad magic");
}

TEST(wrong_machine, .what = "an image for another machine, class or purpose is refused")
{
	struct copy c = copy_agent();

	c.eh->e_machine = EM_AARCH64;
	expect_copy_refused(&c, "wrong machine");
	c.eh->e_machine = EM_386;
	expect_copy_refused(&c, "wrong machine");
	c.eh->e_machine = EM_X86_64;
	expect_refused(c.data, c.size, 32, MEM_SIZE, "wrong class");
	expect_refused(agent32_start, agent32_end - agent32_start, 64, MEM_SIZE, "wrong class");
	c.eh->e_type = ET_DYN;
	expect_copy_refused(&c, "not an executable");
	c.eh->e_type = ET_REL;
	expect_copy_refused(&c, "not an executable");
}

TEST(outside_memory, .what = "a segment that leaves guest memory is refused")
{
	struct copy c = copy_agent();
	Elf64_Phdr *ph = c.load[1], was = *ph;
	u64 end = 0;
	int i;

	ph->p_paddr = MEM_SIZE - ph->p_memsz + 1;
	expect_copy_refused(&c, "outside memory");
	ph->p_paddr = MEM_SIZE + SZ_4K;
	expect_copy_refused(&c, "outside memory");
	/* The sum of address and size is small again: 64 bits are over. */
	ph->p_paddr = ~0ull - SZ_4K + 1;
	expect_copy_refused(&c, "outside memory");
	*ph = was;
	ph->p_memsz = ~0ull - ph->p_paddr + 1;
	expect_copy_refused(&c, "outside memory");
	*ph = was;
	for (i = 0; i < c.nr_load; i++)
		if (c.load[i]->p_paddr + c.load[i]->p_memsz > end)
			end = c.load[i]->p_paddr + c.load[i]->p_memsz;
	expect_refused(c.data, c.size, 64, end - 1, "outside memory");
}

TEST(overlapping, .what = "two segments on the same address are refused")
{
	struct copy c = copy_agent();

	c.load[1]->p_paddr = c.load[0]->p_paddr;
	expect_copy_refused(&c, "overlapping segments");
	/* By one byte, at either end and in either order of the headers. */
	c.load[1]->p_paddr = c.load[0]->p_paddr + c.load[0]->p_memsz - 1;
	expect_copy_refused(&c, "overlapping segments");
	c.load[1]->p_paddr = c.load[0]->p_paddr;
	c.load[0]->p_paddr += c.load[1]->p_memsz - 1;
	expect_copy_refused(&c, "overlapping segments");
}

TEST(truncated, .what = "a file that ends early is refused wherever it ends")
{
	struct copy c = copy_agent();
	u64 last = 0;
	int i;

	expect_refused(c.data, SELFMAG, 64, MEM_SIZE, "truncated");
	expect_refused(c.data, sizeof(Elf64_Ehdr) - 1, 64, MEM_SIZE, "truncated");
	expect_refused(c.data, sizeof(Elf64_Ehdr), 64, MEM_SIZE, "truncated");
	expect_refused(c.data, c.eh->e_phoff + sizeof(Elf64_Phdr), 64, MEM_SIZE, "truncated");
	for (i = 0; i < c.nr_load; i++)
		if (c.load[i]->p_offset + c.load[i]->p_filesz > last)
			last = c.load[i]->p_offset + c.load[i]->p_filesz;
	expect_refused(c.data, last - 1, 64, MEM_SIZE, "truncated");
	expect_refused(c.data, last / 2, 64, MEM_SIZE, "truncated");
}

TEST(outside_file, .what = "a segment whose content is not in the file is refused")
{
	struct copy c = copy_agent();
	Elf64_Phdr *ph = c.load[0], was = *ph;

	ph->p_offset = c.size - ph->p_filesz + 1;
	expect_copy_refused(&c, "truncated file");
	ph->p_offset = ~0ull - 16;
	expect_copy_refused(&c, "truncated file");
	*ph = was;
	ph->p_filesz = ph->p_memsz + 1;
	expect_copy_refused(&c, "bytes of file in");
}

TEST(no_entry, .what = "an image that can't be started is refused")
{
	struct copy c = copy_agent();
	u64 was = c.eh->e_entry;
	int i;

	c.eh->e_entry = MEM_SIZE - 1;
	expect_copy_refused(&c, "entry point");
	c.eh->e_entry = 0;
	expect_copy_refused(&c, "entry point");
	c.eh->e_entry = was;
	for (i = 0; i < c.nr_load; i++)
		c.load[i]->p_flags &= ~PF_X;
	expect_copy_refused(&c, "entry point");
	for (i = 0; i < c.eh->e_phnum; i++)
		c.ph[i].p_type = PT_NULL;
	expect_copy_refused(&c, "no loadable segment");
}

TEST(random_damage, .what = "no damage to the headers makes the loader crash or write outside")
{
	struct copy c = copy_agent();
	u64 headers = c.eh->e_phoff + c.eh->e_phnum * sizeof(Elf64_Phdr), i;
	u8 *guarded = malloc(MEM_SIZE + 2 * SZ_4K), *mem = guarded + SZ_4K;
	struct image image = {c.data, c.size, "damaged.elf"};
	u64 entry, refused = 0;

	memset(guarded, 0xcc, MEM_SIZE + 2 * SZ_4K);
	for (i = 0; i < 4000; i++) {
		u64 at = test_rand(t) % headers;
		u8 was = c.data[at];

		c.data[at] = test_rand(t);
		refused += !!image_load(&image, 64, mem, MEM_SIZE, &entry);
		c.data[at] = was;
	}
	for (i = 0; i < SZ_4K; i++) {
		EXPECT_EQ(guarded[i], 0xcc, "byte %lu of what is before memory", i);
		EXPECT_EQ(mem[MEM_SIZE + i], 0xcc, "byte %lu of what is after memory", i);
	}
	EXPECT_GT(refused, 100, "damaged images that were refused");
	free(guarded);
}
