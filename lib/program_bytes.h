/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs as a few bytes a step, for fuzzers that change bytes: every string of bytes is a program, and changing or
 * dropping one changes or drops little of it.
 */
#ifndef LIB_PROGRAM_BYTES_H
#define LIB_PROGRAM_BYTES_H

#include "program.h"

#define PROGRAM_BYTES_STEP 7 /* bytes of a step */

/* Whatever @bytes are: a program of (@len - 1) / PROGRAM_BYTES_STEP steps. */
void program_from_bytes(struct program *p, const u8 *bytes, size_t len);

/*
 * The bytes of @p, to be freed; *@len of them. Values and keys that have too many bits for it lose the
 * upper ones; everything else is what program_from_bytes() gives back.
 */
u8 *program_to_bytes(const struct program *p, size_t *len);

#endif
