// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's assembly: where a vCPU starts, where exceptions arrive, how ring 3
 * is entered, and the accesses that ring 3 makes. The harness starts a vCPU in
 * its final mode with edi = its index and a stack (see runtime.h for sizes).
 */
#define SEL_KDATA 0x10
#define SEL_UCODE 0x1b
#define SEL_UDATA 0x23

	.text
	.globl guest_entry
guest_entry:
#ifdef __x86_64__
	xorl	%ebp, %ebp
	call	guest_main
#else
	xorl	%ebp, %ebp
	pushl	%edi
	call	guest_main
#endif
1:	hlt
	jmp	1b

/*
 * One stub a vector: after it the stack holds vector and error code in every
 * case, then the common part saves the rest of struct trap_frame: what a C function
 * does not preserve by itself.
 */
	.macro	stub vec has_error
	.balign	16
	.if	\has_error == 0
	push	$0
	.endif
	push	$\vec
	jmp	trap_common
	.endm

	.globl	trap_stubs
	.balign	16
trap_stubs:
	.set	v, 0
	.rept	32
	.if	(v == 8) || (v == 10) || (v == 11) || (v == 12) || (v == 13) || (v == 14) || (v == 17) || (v == 21) || (v == 29) || (v == 30)
	stub	v 1
	.else
	stub	v 0
	.endif
	.set	v, v + 1
	.endr

	.balign	16
trap_common:
#ifdef __x86_64__
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbx
	andq	$-16, %rsp
	call	trap_handler
	movq	%rbx, %rsp
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq
#else
	pushal
	cld
	movl	%esp, %ebx
	pushl	%esp
	call	trap_handler
	movl	%ebx, %esp
	popal
	addl	$8, %esp
	iretl
#endif

	.globl	guest_setjmp
guest_setjmp:
#ifdef __x86_64__
	movq	%rbx, 0(%rdi)
	movq	%rbp, 8(%rdi)
	movq	%r12, 16(%rdi)
	movq	%r13, 24(%rdi)
	movq	%r14, 32(%rdi)
	movq	%r15, 40(%rdi)
	leaq	8(%rsp), %rax
	movq	%rax, 48(%rdi)
	movq	(%rsp), %rax
	movq	%rax, 56(%rdi)
#else
	movl	4(%esp), %edx
	movl	%ebx, 0(%edx)
	movl	%ebp, 4(%edx)
	movl	%esi, 8(%edx)
	movl	%edi, 12(%edx)
	leal	4(%esp), %eax
	movl	%eax, 16(%edx)
	movl	(%esp), %eax
	movl	%eax, 20(%edx)
#endif
	xorl	%eax, %eax
	ret

	.globl	guest_longjmp
guest_longjmp:
#ifdef __x86_64__
	movl	%esi, %eax
	movq	0(%rdi), %rbx
	movq	8(%rdi), %rbp
	movq	16(%rdi), %r12
	movq	24(%rdi), %r13
	movq	32(%rdi), %r14
	movq	40(%rdi), %r15
	movq	48(%rdi), %rsp
	jmp	*56(%rdi)
#else
	movl	4(%esp), %edx
	movl	8(%esp), %eax
	movl	0(%edx), %ebx
	movl	4(%edx), %ebp
	movl	8(%edx), %esi
	movl	12(%edx), %edi
	movl	16(%edx), %esp
	jmp	*20(%edx)
#endif

/* user_iret(code, stack, regs[4] = { di, si, cx, dx }) */
	.globl	user_iret
user_iret:
#ifdef __x86_64__
	pushq	$SEL_UDATA
	pushq	%rsi
	pushq	$2
	pushq	$SEL_UCODE
	pushq	%rdi
	movq	0(%rdx), %rdi
	movq	8(%rdx), %rsi
	movq	16(%rdx), %rcx
	movq	24(%rdx), %rdx
	iretq
#else
	movl	4(%esp), %eax
	movl	8(%esp), %ebx
	movl	12(%esp), %edx
	pushl	$SEL_UDATA
	pushl	%ebx
	pushl	$2
	pushl	$SEL_UCODE
	pushl	%eax
	movl	0(%edx), %edi
	movl	4(%edx), %esi
	movl	8(%edx), %ecx
	movl	12(%edx), %edx
	iretl
#endif

/*
 * Ring 3: one function an access. di = address, si = value, cx = second value.
 * UD2 in this section is how it hands back; the result is in rax.
 */
	.section .user.text, "ax"
	.macro	user name
	.globl	\name
\name:
	.endm

#ifdef __x86_64__
#define DI %rdi
#else
#define DI %edi
#endif

user user_read1
	xorl	%eax, %eax
	movb	(DI), %al
	ud2
user user_read2
	xorl	%eax, %eax
	movw	(DI), %ax
	ud2
user user_read4
	movl	(DI), %eax
	ud2
user user_write1
	movl	%esi, %eax
	movb	%al, (DI)
	ud2
user user_write2
	movw	%si, (DI)
	ud2
user user_write4
	movl	%esi, (DI)
	ud2
user user_cmpxchg4
	movl	%esi, %eax
	lock cmpxchgl %ecx, (DI)
	ud2
user user_or4
	lock orl %esi, (DI)
	ud2
user user_xadd4
	movl	%esi, %eax
	lock xaddl %eax, (DI)
	ud2
user user_exec
	call	*DI
	ud2
user user_load_fs
	movw	%si, %fs
	ud2
#ifdef __x86_64__
user user_read8
	movq	(DI), %rax
	ud2
user user_write8
	movq	%rsi, (DI)
	ud2
user user_cmpxchg8
	movq	%rsi, %rax
	lock cmpxchgq %rcx, (DI)
	ud2
user user_or8
	lock orq %rsi, (DI)
	ud2
user user_xadd8
	movq	%rsi, %rax
	lock xaddq %rax, (DI)
	ud2
#endif
/* di = address, si = stride, cx = count; rax = sum of bytes' first word */
user user_touch_read
	xorl	%eax, %eax
1:	testl	%ecx, %ecx
	jz	2f
	addl	(DI), %eax
#ifdef __x86_64__
	addq	%rsi, %rdi
#else
	addl	%esi, %edi
#endif
	decl	%ecx
	jmp	1b
2:	ud2
/* the same, storing edx, edx + 1, … */
user user_touch_write
1:	testl	%ecx, %ecx
	jz	2f
	movl	%edx, (DI)
	incl	%edx
#ifdef __x86_64__
	addq	%rsi, %rdi
#else
	addl	%esi, %edi
#endif
	decl	%ecx
	jmp	1b
2:	ud2

	.section .user.data, "aw"
	.balign	4096
	.globl	user_stacks
user_stacks:
	.skip	8 * 4096

	.section .note.GNU-stack, "", @progbits
