// SPDX-License-Identifier: GPL-2.0-only
/*
 * SMEP and SMAP: the kernel neither executes user pages nor, with RFLAGS.AC
 * clear, touches their data (SDM vol. 3 4.6.1).
 *
 * Neither is a right in an entry: both depend on control registers that change
 * while translations stay cached. Shadow paging has a special difficulty. With
 * CR0.WP=0 the kernel may write a read-only user page, for which the hypervisor
 * has no entry: it makes the page a writable kernel page until ring 3 comes
 * back. Such a page is no longer a user page to the processor, so that neither
 * SMEP nor SMAP would apply to it: the hypervisor must forbid execution itself
 * (411c588dfb86), also when the guest has EFER.NX=0 (844a5fe219cf), and must not
 * find the page again when SMAP is switched on later (0be0226f07d1).
 *
 * Loads of descriptors are accesses of the kernel, whatever runs, and AC does
 * not excuse them (4f4aa80e3b88).
 */
#include "mmuscope.h"

/* The page under test: a function at 0 and data at 64. */
#define VALUE 0x5eef
#define DATA  64

static struct vm *vm_with_page(const struct paging_mode *m, u64 bits)
{
	struct vm *vm = vm_create(m);

	place_function(vm, vm->mem->gpa, VALUE);
	vm_map(vm, vm->test_gva, vm->mem->gpa, SZ_4K, 1, bits);
	return vm;
}

static void clear_wp(struct vcpu *v)
{
	guest_set_cr(v, 0, guest_get_cr(v, 0) & ~CR0_WP);
}

static void set_cr4(struct vcpu *v, u64 bits)
{
	guest_set_cr(v, 4, guest_get_cr(v, 4) | bits);
}

static void clear_cr4(struct vcpu *v, u64 bits)
{
	guest_set_cr(v, 4, guest_get_cr(v, 4) & ~bits);
}

/* The error code of a kernel's or user's fetch with SMEP on always has F. */
TEST(smep_toggled, .what = "SMEP switched on and off applies to user pages already executed",
     .modes = MODES_64 | MODE(PM_32))
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	u32 i;

	require_cpu(CPU_SMEP);
	vm = vm_with_page(t->mode, PTE_W | PTE_U);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	vm_map(vm, gva + SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_W);
	for (i = 0; i < 3; i++) {
		EXPECT_VALUE(__guest_exec(v, gva), VALUE, "SMEP off, round %u", i);
		set_cr4(v, CR4_SMEP);
		EXPECT_PF(__guest_exec(v, gva), PFERR_P | PFERR_F, gva, "SMEP on, round %u", i);
		EXPECT_VALUE(__user_exec(v, gva), VALUE, "ring 3, round %u", i);
		EXPECT_PF(__guest_exec(v, gva), PFERR_P | PFERR_F, gva, "SMEP on, after ring 3");
		EXPECT_VALUE(__guest_exec(v, gva + SZ_4K), VALUE, "a kernel page, round %u", i);
		EXPECT_OK(__guest_write(v, gva + DATA, i), "data, round %u", i);
		clear_cr4(v, CR4_SMEP);
	}
}

TEST(smap_toggled,
     .what = "SMAP switched on and off applies to user pages already used; AC lifts it",
     .modes = MODES_PAGED)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t at;
	u32 i;

	require_cpu(CPU_SMAP);
	vm = vm_with_page(t->mode, PTE_W | PTE_U);
	v = vm->vcpu[0];
	at = vm->test_gva + DATA;
	vm_map(vm, at - DATA + SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_W);
	for (i = 0; i < 3; i++) {
		EXPECT_OK(__guest_write(v, at, i), "SMAP off, round %u", i);
		set_cr4(v, CR4_SMAP);
		EXPECT_PF(__guest_read(v, at), PFERR_P, at, "read, round %u", i);
		EXPECT_PF(__guest_write(v, at, 77), PFERR_P | PFERR_W, at, "write, round %u", i);
		EXPECT_VALUE(guest_op(v, .kind = AGENT_READ, .addr = at, .flags = AGENT_AC), i,
			     "read with AC, round %u", i);
		EXPECT_OK(guest_op(v, .kind = AGENT_WRITE, .addr = at, .flags = AGENT_AC,
				   .value = 100 + i),
			  "write with AC, round %u", i);
		EXPECT_PF(__guest_read(v, at), PFERR_P, at, "read without AC, round %u", i);
		EXPECT_VALUE(__user_read(v, at), 100 + i, "ring 3, round %u", i);
		EXPECT_VALUE(__guest_read(v, at + SZ_4K), 100 + i, "a kernel page, round %u", i);
		clear_cr4(v, CR4_SMAP);
	}
}

static const char *const nx_variants[] = {"nx", "no_nx", NULL};
static const char *const smep_fixes[] = {"411c588dfb86", "844a5fe219cf", "5f0b819995e1", NULL};

TEST(smep_without_wp,
     .what = "a read-only user page written by the kernel with CR0.WP=0 stays subject to SMEP",
     .modes = MODES_64 | MODE(PM_32), .variants = nx_variants, .fixes = smep_fixes)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	u32 i;

	require_cpu(CPU_SMEP);
	vm = vm_with_page(t->mode, PTE_U);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	if (t->mode->long_mode && t->variant_idx)
		guest_wrmsr(v, MSR_EFER, guest_rdmsr(v, MSR_EFER) & ~EFER_NX);
	clear_wp(v);
	set_cr4(v, CR4_SMEP);
	for (i = 0; i < 2; i++) {
		EXPECT_OK(__guest_write(v, gva + DATA, i), "round %u", i);
		EXPECT_PF(__guest_exec(v, gva), PFERR_P | PFERR_F, gva, "round %u", i);
		EXPECT_VALUE(__user_read(v, gva + DATA), i, "ring 3, round %u", i);
		EXPECT_VALUE(__user_exec(v, gva), VALUE, "ring 3, round %u", i);
		EXPECT_PF(__user_write(v, gva + DATA, 9), PFERR_P | PFERR_W | PFERR_U, gva + DATA,
			  "ring 3, round %u", i);
		EXPECT_PF(__guest_exec(v, gva), PFERR_P | PFERR_F, gva, "again, round %u", i);
	}
}

static const char *const smap_fixes[] = {"0be0226f07d1", NULL};

TEST(smap_after_write_without_wp,
     .what = "a read-only user page written by the kernel with CR0.WP=0 is subject to SMAP later",
     .modes = MODES_PAGED, .fixes = smap_fixes)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t at;
	u32 i;

	require_cpu(CPU_SMAP);
	vm = vm_with_page(t->mode, PTE_U);
	v = vm->vcpu[0];
	at = vm->test_gva + DATA;
	clear_wp(v);
	for (i = 0; i < 2; i++) {
		EXPECT_OK(__guest_write(v, at, i), "round %u", i);
		set_cr4(v, CR4_SMAP);
		EXPECT_PF(__guest_read(v, at), PFERR_P, at, "round %u", i);
		EXPECT_PF(__guest_write(v, at, 9), PFERR_P | PFERR_W, at, "round %u", i);
		EXPECT_VALUE(__user_read(v, at), i, "ring 3, round %u", i);
		clear_cr4(v, CR4_SMAP);
		EXPECT_VALUE(__guest_read(v, at), i, "SMAP off again, round %u", i);
	}
}

TEST(ac_write_without_wp,
     .what = "with CR0.WP=0 a write under AC to a read-only user page does not lift SMAP from it",
     .modes = MODES_PAGED)
{
	struct vm *vm;
	struct vcpu *v;
	struct agent_result res;
	gva_t at;

	require_cpu(CPU_SMAP);
	vm = vm_with_page(t->mode, PTE_U);
	v = vm->vcpu[0];
	at = vm->test_gva + DATA;
	clear_wp(v);
	set_cr4(v, CR4_SMAP);
	EXPECT_PF(__guest_read(v, at), PFERR_P, at, "before");
	EXPECT_OK(guest_op(v, .kind = AGENT_WRITE, .addr = at, .flags = AGENT_AC, .value = 3));
	res = __guest_read(v, at);
	/*
	 * The shadow entry is a kernel page's now; the role tells SMAP && !WP from
	 * SMAP off, but not this access from those without AC.
	 */
	if (mmu_kind() == MMU_SHADOW && res.status == AGENT_OK)
		test_xfail("Documentation/virt/kvm/x86/mmu.rst, \"Emulating cr0.wp\"",
			   "SMAP does not protect a user page made writable for CR0.WP=0");
	EXPECT_PF(res, PFERR_P, at, "after");
}

#define LDT_SELECTOR 7			   /* first descriptor of the LDT, RPL 3 */
#define FLAT_DATA    0x00cff3000000ffffull /* DPL 3, accessed */

static const char *const implicit_fixes[] = {"4f4aa80e3b88", NULL};

TEST(implicit_access,
     .what = "SMAP keeps loads of descriptors from user pages, with AC set and in ring 3 too",
     .modes = MODE(PM_LA48), .fixes = implicit_fixes)
{
	struct vm *vm;
	struct vcpu *v;
	struct kvm_sregs sregs;
	struct agent_result res;
	gva_t gva;
	const struct agent_op load = {.kind = AGENT_LOAD_FS, .value = LDT_SELECTOR};
	struct agent_op user = load, ac = load;

	require_cpu(CPU_SMAP);
	vm = vm_create(t->mode);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	user.flags = AGENT_USER;
	ac.flags = AGENT_AC;
	*(u64 *)vm->mem->hva = FLAT_DATA;
	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
	guest_read(v, VM_TABLES_GPA); /* past the agent's start */
	sregs = vcpu_sregs(v);
	sregs.ldt = (struct kvm_segment){
		.base = gva, .limit = 0xfff, .selector = 0x38, .type = 2, .present = 1};
	vcpu_set_sregs(v, &sregs);

	EXPECT_OK(guest_op_op(v, load), "SMAP off");
	EXPECT_OK(guest_op_op(v, user), "SMAP off, ring 3");
	set_cr4(v, CR4_SMAP);
	EXPECT_PF(guest_op_op(v, load), PFERR_P, gva, "SMAP on");
	EXPECT_PF(guest_op_op(v, user), PFERR_P, gva, "SMAP on, ring 3");
	res = guest_op_op(v, ac);
	if (host_is_tcg() && res.status == AGENT_OK)
		test_xfail("QEMU 7.2, target/i386/cpu.h, cpu_mmu_index_kernel",
			   "TCG lets RFLAGS.AC excuse the load of a descriptor");
	EXPECT_PF(res, PFERR_P, gva, "SMAP on, AC set");
}
