// SPDX-License-Identifier: GPL-2.0-only
/*
 * The firmware of engine "qemu"'s machine, its last 4 KiB: from the reset vector to protected
 * mode, answers the questions to CPUID that struct boot (lib/machine.c) holds, rings the bell,
 * and waits there for registers to go on with. Lies at 4 GiB - 4 KiB, and at AT(0) as well,
 * where every address space of the harness maps it gva == gpa.
 */
#define AT(x) (0xff000 + (x) - qemu_boot)
#define BELL  0xa9

/* struct boot */
#define BOOT	   0x8000
#define BOOT_GO	   (BOOT + 0)
#define BOOT_CR0   (BOOT + 4)
#define BOOT_CR3   (BOOT + 8)
#define BOOT_CR4   (BOOT + 12)
#define BOOT_EFER  (BOOT + 16)
#define BOOT_LONG  (BOOT + 20)
#define BOOT_IP	   (BOOT + 24)
#define BOOT_SP	   (BOOT + 28)
#define BOOT_DI	   (BOOT + 32)
#define BOOT_NR	   (BOOT + 36)
#define BOOT_CPUID (BOOT + 40)

	.section .rodata
	.balign	16
	.globl	qemu_boot
qemu_boot:
	.code32
protected:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	movl	$BOOT_CPUID, %edi
	movl	BOOT_NR, %esi
1:	movl	0(%edi), %eax
	movl	4(%edi), %ecx
	cpuid
	movl	%eax, 8(%edi)
	movl	%ebx, 12(%edi)
	movl	%ecx, 16(%edi)
	movl	%edx, 20(%edi)
	addl	$24, %edi
	decl	%esi
	jnz	1b
	outb	%al, $BELL
2:	pause
	cmpl	$0, BOOT_GO
	je	2b

	movl	BOOT_CR4, %eax
	movl	%eax, %cr4
	movl	BOOT_CR3, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	movl	BOOT_EFER, %eax
	xorl	%edx, %edx
	wrmsr
	movl	BOOT_CR0, %eax
	movl	%eax, %cr0
	cmpl	$0, BOOT_LONG
	jne	3f
	movl	BOOT_SP, %esp
	movl	BOOT_DI, %edi
	jmp	*BOOT_IP
3:	lgdtl	AT(gdtr64)
	ljmp	$8, $AT(long_mode)
	.code64
long_mode:
	movl	BOOT_SP, %esp
	movl	BOOT_DI, %edi
	movl	BOOT_IP, %eax
	jmp	*%rax

	.code16
real_mode:
	cli
	lgdtl	%cs:0xf000 + gdtr32 - qemu_boot
	movl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $AT(protected)

	/* The selectors are those that KVM's vCPUs start with. */
	.macro	gdt bits code
	.balign	8
gdt\bits:
	.quad	0
	.quad	\code
	.quad	0x00cf93000000ffff
gdtr\bits:
	.word	gdtr\bits - gdt\bits - 1
	.long	AT(gdt\bits)
	.endm
	gdt	32 0x00cf9b000000ffff
	gdt	64 0x00af9b000000ffff

	.org	qemu_boot + 0xff0
	jmp	real_mode
	.org	qemu_boot + 0x1000
	.section .note.GNU-stack, "", @progbits
