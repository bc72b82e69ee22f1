// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text without a C library: see text.h.
 */
#include <stdarg.h>

#include "x86/mmu/text.h"

void text_init(struct text *t, char *buf, size_t size)
{
	t->buf = buf;
	t->size = size;
	t->len = 0;
	if (size)
		buf[0] = 0;
}

static void put(struct text *t, char c)
{
	if (t->len + 1 < t->size) {
		t->buf[t->len] = c;
		t->buf[t->len + 1] = 0;
	}
	t->len++;
}

void text_str(struct text *t, const char *s)
{
	while (*s)
		put(t, *s++);
}

static void put_number(struct text *t, u64 value, unsigned int base)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(t, digits[--n]);
}

static void put_signed(struct text *t, s64 value)
{
	if (value < 0)
		put(t, '-');
	put_number(t, value < 0 ? -(u64)value : (u64)value, 10);
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	for (; *fmt; fmt++) {
		bool is_long = false;

		if (*fmt != '%') {
			put(t, *fmt);
			continue;
		}
		if (*++fmt == 'l') {
			is_long = true;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			text_str(t, va_arg(args, const char *));
			break;
		case 'c':
			put(t, va_arg(args, int));
			break;
		case 'd':
			put_signed(t, is_long ? va_arg(args, long) : va_arg(args, int));
			break;
		case 'u':
			put_number(t,
				   is_long ? va_arg(args, unsigned long)
					   : va_arg(args, unsigned int),
				   10);
			break;
		case 'x':
			text_str(t, "0x");
			put_number(t,
				   is_long ? va_arg(args, unsigned long)
					   : va_arg(args, unsigned int),
				   16);
			break;
		default:
			MMU_BUG_ON(*fmt);
		}
	}
	va_end(args);
}

void text_role(struct text *t, union kvm_mmu_page_role role)
{
	text_printf(t, "l%u", (unsigned int)role.level);
	if (role.has_4_byte_gpte)
		text_printf(t, " 4byte q%u", (unsigned int)role.quadrant);
	text_str(t, role.direct ? " direct " : " ");
	put(t, role.access & ACC_USER ? 'u' : '-');
	put(t, role.access & ACC_WRITE ? 'w' : '-');
	put(t, role.access & ACC_EXEC ? 'x' : '-');
	text_str(t, role.efer_nx ? " nx" : " !nx");
	text_str(t, role.cr0_wp ? " wp" : " !wp");
	text_str(t, role.smep_andnot_wp ? " smep!wp" : "");
	text_str(t, role.smap_andnot_wp ? " smap!wp" : "");
	text_str(t, role.ad_disabled ? " !ad" : "");
	text_str(t, role.no_pse ? " !pse" : "");
	text_str(t, role.guest_mode ? " nested" : "");
	text_str(t, role.passthrough ? " passthrough" : "");
	text_str(t, role.ept_guest ? " ept" : "");
	text_str(t, role.smm ? " smm" : "");
	text_str(t, role.invalid ? " invalid" : "");
}
