/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A boot sector that every machine can start: it enters flat 32-bit protected
 * mode, runs a loop of ordinary instructions `rounds` times and ends the machine
 * (QEMU: isa-debug-exit; Bochs: port 0x8900; KVM: the first OUT is an exit). The
 * same code measures all of them. The host patches `rounds`, at offset 4.
 */
	.code16
	.globl	_start
_start:
	jmp	boot
	nop
	nop
rounds:
	.long	0
boot:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	gdtr
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $flat

	.code32
flat:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0x9000, %esp
	movl	rounds, %ecx
	movl	$0x10000, %esi
	xorl	%eax, %eax
	movl	$1, %edx
loop:					/* 16 instructions a round */
	movl	(%esi), %ebx
	addl	%edx, %ebx
	movl	%ebx, (%esi)
	xorl	%ebx, %eax
	roll	$3, %eax
	leal	7(%eax, %edx, 4), %edi
	andl	$0xffc, %edi
	movl	0x20000(%edi), %ebp
	addl	%ebp, %eax
	pushl	%eax
	call	leaf
	popl	%edx
	decl	%ecx
	jnz	loop
	jmp	done
leaf:
	imull	$13, %edx, %edx		/* with the RET: the other two */
	ret
done:
	movw	$0x8900, %dx
	movl	$text, %esi
	movl	$8, %ecx
	cld
	rep outsb
	movw	$0xf4, %dx
	movb	$0, %al
	outb	%al, %dx
	cli
	hlt
text:
	.ascii	"Shutdown"
	.align	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdtr:
	.word	23
	.long	gdt
	.org	510
	.word	0xaa55
