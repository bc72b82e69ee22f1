/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The integer and address types that host and guest code share. Freestanding:
 * only <stdint.h>, <stdbool.h> and <stddef.h>, which a compiler brings itself.
 *
 * The kinds of address keep the field's names: gva (guest virtual), gpa
 * (guest physical), hpa (host physical, what nested paging turns a gpa into) and
 * gfn (a gpa in 4 KiB frames). A host virtual address is a plain pointer.
 */
#ifndef X86_ARCH_TYPES_H
#define X86_ARCH_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

typedef u64 gva_t;
typedef u64 gpa_t;
typedef u64 hpa_t;
typedef u64 gfn_t;

#define BIT(n)	     (1ull << (n))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define KiB   (1ull << 10)
#define MiB   (1ull << 20)
#define GiB   (1ull << 30)
#define SZ_4K (4 * KiB)
#define SZ_2M (2 * MiB)
#define SZ_4M (4 * MiB)
#define SZ_1G (1 * GiB)

#endif
