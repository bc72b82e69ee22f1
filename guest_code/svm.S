// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest as a hypervisor: one VMRUN. svm_vmrun(vmcb, di, si) runs the nested
 * guest of the VMCB at this physical address with di and si in its registers
 * until its next #VMEXIT. VMRUN saves and restores rax, rsp, rflags and the
 * control registers itself (APM vol. 2 15.5); the rest is saved here.
 */
	.text
	.globl	svm_vmrun
svm_vmrun:
#ifdef __x86_64__
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	clgi
	vmrun	%rax
	stgi
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
#else
	pushl	%ebx
	pushl	%ebp
	pushl	%esi
	pushl	%edi
	movl	20(%esp), %eax
	movl	24(%esp), %edi
	movl	28(%esp), %esi
	clgi
	vmrun	%eax
	stgi
	popl	%edi
	popl	%esi
	popl	%ebp
	popl	%ebx
#endif
	ret
	.section .note.GNU-stack, "", @progbits
