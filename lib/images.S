// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest images as bytes in the library, so that a test binary is one file.
 */
	.section .rodata
	.globl	agent64_start, agent64_end, agent32_start, agent32_end
	.balign	16
agent64_start:
	.incbin	AGENT64
agent64_end:
	.balign	16
agent32_start:
	.incbin	AGENT32
agent32_end:
	.section .note.GNU-stack, "", @progbits
