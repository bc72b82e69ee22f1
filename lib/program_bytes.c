// SPDX-License-Identifier: GPL-2.0-only
/*
 * A step is seven bytes, and what its kind has no use for is ignored:
 *
 *	0	kind, 6 bits; vCPU, 2 bits
 *	1, 2	address: two bits for each level; place, 3 bits; user, AC; or an entry's table and index; or
 *		number, PCID and noflush
 *	3	target, 4 bits; its number, 4 bits; or a bit for each level whose index is any
 *	4, 5	flags of the entry, or a value
 *	6	number of the step, 5 bits; PCID, 2 bits; noflush
 *
 * The first byte of all is the header: mode, vCPUs, backing, log.
 */
#include <stdlib.h>
#include <string.h>

#include "program_bytes.h"

#define KEY_AT 14 /* bit of the flags' word above the letters: the low bits of the key */

static u64 flags_of(u16 word)
{
	u64 bits = PTE_PKEY(word >> KEY_AT & 3);

	for (int i = 0; entry_flags[i].letter; i++)
		if (word >> i & 1)
			bits |= entry_flags[i].bit;
	return bits;
}

static u16 word_of(u64 bits)
{
	u16 word = (bits >> PTE_PKEY_SHIFT & 3) << KEY_AT;

	for (int i = 0; entry_flags[i].letter; i++)
		if (bits & entry_flags[i].bit)
			word |= 1u << i;
	return word;
}

static bool has(const struct step *s, char operand)
{
	return strchr(step_formats[s->kind].operands, operand);
}

static void get_address(const struct program *p, struct step *s, u16 word, u8 any)
{
	for (int i = 0; i < p->mode->levels; i++)
		s->path[i] = any >> i & 1 ? 0 : 1 + (word >> 2 * i & 3);
	if (has(s, 'G'))
		s->place = (word >> 10 & 7) % PLACES;
	if (has(s, 'A'))
		s->flags = (word >> 13 & 1 ? STEP_USER : 0) | (word >> 14 & 1 ? STEP_AC : 0);
}

static u16 put_address(const struct program *p, const struct step *s)
{
	u16 word = s->place << 10 | (s->flags & STEP_USER ? BIT(13) : 0) |
		   (s->flags & STEP_AC ? BIT(14) : 0);

	for (int i = 0; i < p->mode->levels; i++)
		word |= (s->path[i] ? s->path[i] - 1 : 0) << 2 * i;
	return word;
}

static void get_entry(struct step *s, u8 target, u16 word)
{
	s->entry.target = (target & 15) % TARGET_KINDS;
	if (s->entry.target == TARGET_RAW) {
		s->entry.bits = word;
		return;
	}
	s->entry.number = (target >> 4) % target_counts[s->entry.target];
	s->entry.bits = flags_of(word);
}

static struct step get_step(const struct program *p, const u8 *b)
{
	struct step s = {.kind = (b[0] & 63) % STEP_KINDS};
	u16 word = b[1] | b[2] << 8;
	u8 max = step_formats[s.kind].max;

	if (!step_is_host(&s))
		s.vcpu = (b[0] >> 6) % p->nr_vcpus;
	if (has(&s, 'L')) {
		s.table = b[1] % PROGRAM_TABLES;
		s.index = 1 + b[2] % PROGRAM_INDICES;
	}
	if (has(&s, 'G') || has(&s, 'P') || has(&s, 'W'))
		get_address(p, &s, word, has(&s, 'W') ? b[3] : 0);
	if (has(&s, 'E'))
		get_entry(&s, b[3], b[4] | b[5] << 8);
	if (has(&s, 'N'))
		s.number = (b[6] & 31) % (max + 1);
	if (has(&s, 'C'))
		s.pcid = b[6] >> 5 & 3;
	if (has(&s, 'F') && b[6] >> 7)
		s.flags = STEP_NOFLUSH;
	if (has(&s, 'V'))
		s.value = b[4] | b[5] << 8;
	return s;
}

static void put_step(const struct program *p, const struct step *s, u8 *b)
{
	u16 word = has(s, 'L') ? s->table | (s->index - 1) << 8 : 0, value = s->value;

	b[0] = s->kind | s->vcpu << 6;
	b[3] = b[6] = 0;
	if (has(s, 'G') || has(s, 'P') || has(s, 'W'))
		word = put_address(p, s);
	for (int i = 0; has(s, 'W') && i < p->mode->levels; i++)
		b[3] |= !s->path[i] << i;
	if (has(s, 'E')) {
		b[3] = s->entry.target | s->entry.number << 4;
		value = s->entry.target == TARGET_RAW ? s->entry.bits : word_of(s->entry.bits);
	}
	if (has(s, 'N'))
		b[6] = s->number;
	if (has(s, 'C'))
		b[6] |= s->pcid << 5 | (s->flags & STEP_NOFLUSH ? 1 << 7 : 0);
	b[1] = word;
	b[2] = word >> 8;
	b[4] = value;
	b[5] = value >> 8;
}

void program_from_bytes(struct program *p, const u8 *bytes, size_t len)
{
	u8 header = len ? bytes[0] : 0;

	program_init(p, paging_mode(header % PM_NONE));
	p->nr_vcpus = 1 + (header >> 3 & 3);
	p->backing = header >> 5 & 1 ? MEM_THP : MEM_ANON;
	p->log = header >> 6;
	for (size_t at = 1; at + PROGRAM_BYTES_STEP <= len; at += PROGRAM_BYTES_STEP)
		program_add(p, get_step(p, bytes + at));
}

u8 *program_to_bytes(const struct program *p, size_t *len)
{
	u8 *bytes;

	*len = 1 + (size_t)p->nr_steps * PROGRAM_BYTES_STEP;
	bytes = calloc(1, *len);
	if (!bytes)
		abort();
	bytes[0] = p->mode->id | (p->nr_vcpus - 1) << 3 | (p->backing == MEM_THP ? 1 << 5 : 0) |
		   p->log << 6;
	for (u32 i = 0; i < p->nr_steps; i++)
		put_step(p, &p->steps[i], bytes + 1 + (size_t)i * PROGRAM_BYTES_STEP);
	return bytes;
}
