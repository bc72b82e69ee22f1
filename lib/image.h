/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest images: ELF executables that are embedded in every test binary, loaded
 * into guest memory with libelf and asked for their symbols.
 */
#ifndef LIB_IMAGE_H
#define LIB_IMAGE_H

#include "x86/arch/types.h"

struct image {
	const u8 *data;
	size_t size;
	const char *name; /* for messages */
};

/* The embedded agent for 64-bit guests, and the one for 32-bit modes. */
extern const struct image agent_image64, agent_image32;

/*
 * Copies the loadable segments of @image to their physical addresses in guest
 * memory [0, @mem_size) at @mem and sets @entry. Returns NULL, or why the image
 * was refused, in static storage: bad magic, wrong class or machine, not an
 * executable, truncated, a segment outside memory or outside the file,
 * overlapping segments, an entry point in no executable segment. @mem is
 * untouched then. @bits is 64 or 32.
 */
const char *image_load(const struct image *image, int bits, void *mem, u64 mem_size, u64 *entry);

/* The value of symbol @name; false when the image has none. */
bool image_symbol(const struct image *image, const char *name, u64 *value);

/*
 * Describes @addr as "symbol+0x12" in @buf; "?" where no function or object of
 * the image covers it. Returns @buf.
 */
const char *image_symbolise(const struct image *image, u64 addr, char *buf, size_t size);

#endif
