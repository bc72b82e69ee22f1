// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks: decoded code, remembered. A block is found by the host address of its code
 * and used only if the bytes there are still those that were decoded. So other
 * processors and a hypervisor may change code at will: it's noticed when a block is
 * entered, which is sooner than the manuals promise (SDM vol. 3 9.1.3). For what the
 * block itself changes, see hits_code().
 */
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/exec.h"

#define NR_BLOCKS  2048
#define NR_INSNS   8192
#define NR_BUCKETS 2048

struct insn_cache {
	u16 bucket[NR_BUCKETS];	       /* number of the first block; 0: none */
	struct block block[NR_BLOCKS]; /* from number 1 on */
	struct insn insn[NR_INSNS];    /* the blocks' */
	unsigned int nr_blocks, used;
	struct block lone; /* an instruction that crosses into another page; not kept */
	struct insn lone_insn;
};

struct insn_cache *insn_cache_new(void)
{
	struct insn_cache *cache = aligned_alloc(64, sizeof(*cache));

	if (!cache)
		return NULL;
	/* The rest is written before it's read, and most of it never. */
	memset(cache->bucket, 0, sizeof(cache->bucket));
	cache->nr_blocks = cache->used = 0;
	return cache;
}

void insn_cache_free(struct insn_cache *cache)
{
	free(cache);
}

/* Whether memory still has what @b was decoded from. By atomic accesses: others may write it. */
static inline bool unchanged(const struct block *b)
{
	const u64 *code = (const u64 *)((uintptr_t)b->host & ~7ul);
	u64 changed = 0;

	for (unsigned int i = 0; i < b->nr_words; i++)
		changed |= (__atomic_load_n(&code[i], __ATOMIC_RELAXED) ^ b->word[i].value) &
			   b->word[i].mask;
	return !changed;
}

static inline u16 *bucket(struct insn_cache *cache, const u8 *host)
{
	uintptr_t at = (uintptr_t)host;

	return &cache->bucket[(at ^ at >> 12) % NR_BUCKETS];
}

/* The block that was decoded from what is at @host, or NULL. */
static inline struct block *find(struct insn_cache *cache, const u8 *host, enum decode_mode mode)
{
	struct block *b;

	for (unsigned int i = *bucket(cache, host); i; i = b->next) {
		b = &cache->block[i];
		if (b->host == host && b->mode == mode)
			return b;
	}
	return NULL;
}

/* Room for the instructions of a block, and for the block; when there is none left, all go. */
static struct insn *new_insns(struct insn_cache *cache)
{
	if (cache->used + BLOCK_INSNS > NR_INSNS || cache->nr_blocks + 1 == NR_BLOCKS) {
		memset(cache->bucket, 0, sizeof(cache->bucket));
		cache->used = cache->nr_blocks = 0;
	}
	return &cache->insn[cache->used];
}

static struct block *new_block(struct insn_cache *cache, const u8 *host, enum decode_mode mode)
{
	u16 *first = bucket(cache, host);
	struct block *b = &cache->block[++cache->nr_blocks];

	b->host = host;
	b->mode = mode;
	b->next = *first;
	*first = cache->nr_blocks;
	return b;
}

static void raise_undecodable(struct cpu *cpu, enum decode_result why)
{
	if (why == DECODE_TOO_LONG)
		raise_gp(cpu);
	raise_ud(cpu);
}

/* An instruction that begins in one page, with the @n bytes at @first, and ends in the next. */
static const struct block *fetch_across(struct cpu *cpu, gva_t next, const u8 *first,
					unsigned int n, enum decode_mode mode)
{
	struct insn_cache *cache = cpu->icache;
	enum decode_result result;
	u8 bytes[MAX_INSN];
	const u8 *host;

	if (in_64(cpu) ? !canonical(cpu, next) : next >> 32) {
		if (in_64(cpu))
			raise_gp(cpu);
		next = (u32)next;
	}
	memcpy(bytes, first, n);
	host = lin_host(cpu, next, ACCESS_EXEC);
	for (unsigned int i = n; i < MAX_INSN; i++)
		bytes[i] = __atomic_load_n(host + i - n, __ATOMIC_RELAXED);
	result = decode_insn(&cache->lone_insn, mode, bytes, MAX_INSN);
	if (result != DECODE_OK)
		raise_undecodable(cpu, result);
	cache->lone_insn.simple = false;
	cache->lone.insn = &cache->lone_insn;
	cache->lone.nr = 1;
	cache->lone.len = cache->lone_insn.len;
	return &cache->lone;
}

/* Decodes what is at @host, which is at @gva. */
static const struct block *__attribute__((noinline))
build(struct cpu *cpu, const u8 *host, gva_t gva, enum decode_mode mode)
{
	struct insn *insn = new_insns(cpu->icache);
	struct block *b = find(cpu->icache, host, mode);
	const u64 *code = (const u64 *)((uintptr_t)host & ~7ul);
	unsigned int start = (uintptr_t)host & 7, at = start, size, nr = 0;
	unsigned int left = (SZ_4K - (gva & (SZ_4K - 1)) + start) / 8;
	enum decode_result result = DECODE_OK;
	u64 word[BLOCK_WORDS] = {0};
	const u8 *bytes = (const u8 *)word;

	size = 8 * (left < BLOCK_WORDS ? left : BLOCK_WORDS);
	for (unsigned int i = 0; i < size / 8; i++)
		word[i] = __atomic_load_n(&code[i], __ATOMIC_RELAXED);
	while (nr < BLOCK_INSNS && at < size) {
		result = decode_insn(&insn[nr], mode, bytes + at, size - at);
		if (result != DECODE_OK || (nr && !insn[nr].simple))
			break;
		at += insn[nr].len;
		nr++;
		if (!insn[0].simple || insn[nr - 1].ends)
			break;
	}
	if (!nr && result == DECODE_MORE)
		return fetch_across(cpu, gva + size - start, bytes + start, size - start, mode);
	if (!nr)
		raise_undecodable(cpu, result);
	cpu->icache->used += nr;
	if (!b)
		b = new_block(cpu->icache, host, mode);
	b->insn = insn;
	b->nr = nr;
	b->len = at - start;
	b->nr_words = (at + 7) / 8;
	for (unsigned int i = 0; i < b->nr_words; i++) {
		b->word[i].value = word[i];
		b->word[i].mask = ~0ull;
	}
	b->word[0].mask <<= 8 * start;
	if (at % 8)
		b->word[b->nr_words - 1].mask &= ~0ull >> (64 - 8 * (at % 8));
	return b;
}

const struct block *fetch(struct cpu *cpu)
{
	enum decode_mode mode = cpu->code_bytes == 8   ? DECODE_64
				: cpu->code_bytes == 4 ? DECODE_32
						       : DECODE_16;
	const struct cpu_segment *cs = &cpu->seg[SEG_CS];
	const struct block *b;
	const u8 *host;
	gva_t gva;

	if (mode == DECODE_64) {
		gva = cpu->rip;
		if (!canonical(cpu, gva))
			raise_gp(cpu);
	} else {
		if (cpu->rip > cs->limit)
			raise_gp(cpu);
		gva = (u32)(cs->base + cpu->rip);
	}
	renew_context(cpu);
	host = recent_host(cpu, gva, ACCESS_EXEC);
	if (__builtin_expect(!host, 0)) {
		host = lin_host(cpu, gva, ACCESS_EXEC);
		renew_context(cpu);
	}
	b = find(cpu->icache, host, mode);
	if (!b || !unchanged(b))
		b = build(cpu, host, gva, mode);
	if (mode != DECODE_64 && cpu->rip + b->insn[0].len - 1 > cs->limit)
		raise_gp(cpu);
	return b;
}
