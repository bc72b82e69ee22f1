// SPDX-License-Identifier: GPL-2.0-only
/*
 * What mappings must be told apart by: the same guest table reached with other
 * rights above it, under another CR0.WP or EFER.NX, or a large page mapped by two
 * entries with different rights.
 *
 * A shadow MMU caches what it makes of a guest table and finds it again by a
 * key, the role. What a large guest page covers has no guest table at all; a
 * table of the hypervisor's own stands in, and its key is the frame and the
 * rights. A right left out of the key, or taken from the wrong level, makes the
 * second user of the cache see the first one's rights: a write that must fault
 * goes through, or a fault that the hypervisor finds nothing to mend for repeats
 * for ever. access.c tries the combinations in bulk; here are the histories that
 * went wrong, one at a time.
 */
#include <string.h>

#include "mmuscope.h"

static u64 large_leaf(struct vm *vm, u64 bits)
{
	return pte_make_leaf(vm->mode, vm->mem->gpa, 2, bits);
}

static struct agent_result invlpg_then_write(struct vcpu *v, gva_t gva, u64 value)
{
	op_clear(v);
	op_add(v, .kind = AGENT_INVLPG, .addr = gva);
	op_add(v, .kind = AGENT_WRITE, .addr = gva, .value = value, .size = 4);
	vcpu_exec(v);
	return op_result(v, 1);
}

static const char *const wp_fixes[] = {"mmu: segregate shadow pages with different cr0.wp (2010)",
				       NULL};

TEST(wp_toggled, .what = "what the kernel wrote with CR0.WP=0 is read-only for it with CR0.WP=1",
     .modes = MODES_PAGED, .fixes = wp_fixes)
{
	static const u64 bits[] = {0, PTE_U};
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u64 cr0 = guest_get_cr(v, 0);
	gva_t gva;
	u32 i, j;

	for (i = 0; i < ARRAY_LEN(bits); i++) {
		gva = vm->test_gva + i * level_size(t->mode, 2);
		vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, bits[i]);
		for (j = 0; j < 3; j++) {
			guest_set_cr(v, 0, cr0 & ~CR0_WP);
			EXPECT_OK(__guest_write(v, gva, 10 + j), "bits %#lx, WP=0", bits[i]);
			guest_set_cr(v, 0, cr0 | CR0_WP);
			EXPECT_PF(__guest_write(v, gva, 1), PFERR_P | PFERR_W, gva,
				  "bits %#lx, WP=1", bits[i]);
			EXPECT_VALUE(__guest_read(v, gva), 10 + j);
			if (bits[i] & PTE_U) {
				EXPECT_VALUE(__user_read(v, gva), 10 + j);
				EXPECT_PF(__user_write(v, gva, 1), PFERR_P | PFERR_W | PFERR_U,
					  gva);
			}
		}
	}
}

TEST(user_after_write_without_wp,
     .what = "with CR0.WP=0 kernel writes and ring 3 reads of a read-only user page alternate",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 i;

	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_U);
	vm_map(vm, gva + SZ_4K, vm->mem->gpa, SZ_4K, 1, 0);
	guest_set_cr(v, 0, guest_get_cr(v, 0) & ~CR0_WP);
	for (i = 0; i < 4; i++) {
		EXPECT_OK(__guest_write(v, gva, i), "round %u", i);
		EXPECT_VALUE(__user_read(v, gva), i, "round %u", i);
		EXPECT_PF(__user_write(v, gva, 9), PFERR_P | PFERR_W | PFERR_U, gva, "round %u", i);
		EXPECT_OK(__guest_write(v, gva + SZ_4K, i), "a kernel page, round %u", i);
		EXPECT_PF(__user_read(v, gva + SZ_4K), PFERR_P | PFERR_U, gva + SZ_4K,
			  "a kernel page, round %u", i);
	}
}

/* EFER.NX is cached with translations, so each switch comes with a flush. */
static void set_nx(struct vcpu *v, bool on)
{
	u64 efer = guest_rdmsr(v, MSR_EFER);

	guest_wrmsr(v, MSR_EFER, on ? efer | EFER_NX : efer & ~EFER_NX);
	guest_load_cr3(v, &v->vm->as);
}

#define VALUE 0x1234

TEST(nx_on, .what = "bit 63 is reserved until EFER.NX is set, then it forbids execution",
     .modes = MODES_64 | MODE(PM_PAE))
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;

	require_cpu(CPU_NX);
	REQUIRE(!kvm_is_partial(), "EFER.NX=0 takes effect");
	vm = vm_create(t->mode);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	place_function(vm, vm->mem->gpa, VALUE);
	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_U | PTE_NX);
	vm_map(vm, gva + SZ_4K, vm->mem->gpa, SZ_4K, 1, PTE_U);
	set_nx(v, false);
	EXPECT_PF(quirk_fix_rsvd(__user_read(v, gva)), PFERR_P | PFERR_U | PFERR_RSVD, gva);
	EXPECT_PF(quirk_fix_rsvd(__user_exec(v, gva)), PFERR_P | PFERR_U | PFERR_RSVD, gva);
	EXPECT_VALUE(__user_exec(v, gva + SZ_4K), VALUE, "without NX in the entry");
	set_nx(v, true);
	EXPECT_OK(__user_read(v, gva));
	EXPECT_PF(__user_exec(v, gva), PFERR_P | PFERR_U | PFERR_F, gva);
	EXPECT_VALUE(__user_exec(v, gva + SZ_4K), VALUE, "without NX in the entry");
}

static const char *const nx_fixes[] = {"9645bb56b31a", NULL};

TEST(nx_off_again, .what = "bit 63 is reserved once more when EFER.NX is cleared",
     .modes = MODES_64 | MODE(PM_PAE), .fixes = nx_fixes)
{
	struct vm *vm;
	struct vcpu *v;
	struct agent_result res;
	gva_t gva;

	require_cpu(CPU_NX);
	REQUIRE(!kvm_is_partial(), "EFER.NX=0 takes effect");
	vm = vm_create(t->mode);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	vm_map(vm, gva, vm->mem->gpa, 2 * SZ_4K, 1, PTE_U | PTE_NX);
	EXPECT_OK(__user_read(v, gva));
	set_nx(v, false);
	/* One that was never mapped, then one that was. */
	EXPECT_PF(quirk_fix_rsvd(__user_read(v, gva + SZ_4K)), PFERR_P | PFERR_U | PFERR_RSVD,
		  gva + SZ_4K);
	res = __user_read(v, gva);
	/* The role of shadow pages says NX whatever the guest's EFER is. */
	if (engine()->kernel_memory && mmu_kind() == MMU_SHADOW && res.status == AGENT_OK)
		test_xfail("arch/x86/kvm/mmu/mmu.c, kvm_init_shadow_mmu: root_role.efer_nx = true",
			   "a page mapped with EFER.NX=1 is found again with EFER.NX=0");
	EXPECT_PF(quirk_fix_rsvd(res), PFERR_P | PFERR_U | PFERR_RSVD, gva);
}

static const char *const alias_fixes[] = {"d28c6cfbbc5e", NULL};

TEST(large_alias_rights, .what = "two large entries for one page with different rights keep them",
     .modes = MODES_PAGED, .fixes = alias_fixes)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	u64 page = level_size(t->mode, 2);
	gva_t rw = vm->test_gva, ro = rw + page, sup = rw + 2 * page;
	u32 i;

	vm_map(vm, rw, vm->mem->gpa, page, 2, PTE_W | PTE_U);
	vm_map(vm, ro, vm->mem->gpa, page, 2, PTE_U);
	vm_map(vm, sup, vm->mem->gpa, page, 2, PTE_W);
	for (i = 0; i < 3; i++) {
		u64 off = i % 2 * SZ_4K;

		EXPECT_OK(__user_write(v, rw + off, i), "round %u", i);
		EXPECT_VALUE(__user_read(v, ro + off), i, "round %u", i);
		EXPECT_PF(__user_write(v, ro + off, 9), PFERR_P | PFERR_W | PFERR_U, ro + off);
		EXPECT_PF(__guest_write(v, ro + off, 9), PFERR_P | PFERR_W, ro + off);
		EXPECT_PF(__user_read(v, sup + off), PFERR_P | PFERR_U, sup + off);
		EXPECT_OK(__guest_write(v, sup + off, 100 + i), "round %u", i);
		EXPECT_VALUE(__user_read(v, rw + off), 100 + i, "round %u", i);
	}
}

static const char *const direct_fixes[] = {
	"9e7b0e7fba45", "mmu: fix conflict access permissions in direct sp (2010)", NULL};

TEST(clean_alias_becomes_dirty,
     .what = "a write that makes a clean large page dirty leaves its read-only alias read-only",
     .modes = MODES_PAGED, .fixes = direct_fixes)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	u64 page = level_size(t->mode, 2);
	gva_t rw = vm->test_gva, ro = rw + page;

	/* While clean, the writable page has the same rights in the shadow as its alias. */
	vm_map(vm, rw, vm->mem->gpa, page, 2, PTE_W);
	vm_map(vm, ro, vm->mem->gpa, page, 2, 0);
	guest_read(v, ro);
	guest_read(v, rw);
	EXPECT_OK(__guest_write(v, rw, 5));
	EXPECT_VALUE(__guest_read(v, ro), 5);
	EXPECT_PF(__guest_write(v, ro, 6), PFERR_P | PFERR_W, ro);
	EXPECT_PF(__guest_write(v, ro + SZ_4K, 6), PFERR_P | PFERR_W, ro + SZ_4K);
	EXPECT_OK(__guest_write(v, rw + SZ_4K, 7));
	EXPECT_VALUE(__guest_read(v, rw), 5);
}

TEST(large_rights_changed,
     .what = "new rights of a large page's entry hold for all of it after INVLPG",
     .modes = MODES_PAGED, .fixes = direct_fixes)
{
	struct vm *vm = vm_create(t->mode, .mem_size = SZ_4M);
	struct vcpu *v = vm->vcpu[0];
	u64 page = level_size(t->mode, 2);
	gva_t gva = vm->test_gva, alias = gva + page;
	u32 i;

	vm_map(vm, gva, vm->mem->gpa, page, 2, PTE_W);
	vm_map(vm, alias, vm->mem->gpa, page, 2, PTE_W);
	for (i = 0; i < 3; i++) {
		EXPECT_OK(__guest_write(v, gva, i), "round %u", i);
		EXPECT_OK(__guest_write(v, gva + 7 * SZ_4K, i), "round %u", i);
		guest_set_pte(v, &vm->as, gva, 2, large_leaf(vm, 0));
		EXPECT_PF(invlpg_then_write(v, gva, 9), PFERR_P | PFERR_W, gva, "round %u", i);
		EXPECT_PF(__guest_write(v, gva + 7 * SZ_4K, 9), PFERR_P | PFERR_W, gva + 7 * SZ_4K,
			  "round %u", i);
		EXPECT_OK(__guest_write(v, alias + 7 * SZ_4K, 20 + i), "alias, round %u", i);
		EXPECT_VALUE(__guest_read(v, gva + 7 * SZ_4K), 20 + i, "round %u", i);
		guest_set_pte(v, &vm->as, gva, 2, large_leaf(vm, PTE_W));
		EXPECT_OK(invlpg_then_write(v, gva, i), "writable again, round %u", i);
	}
}

/*
 * Upper entries with different rights over one directory. What an access finds
 * further down must not leak into what is cached for the tables above: if a walk
 * through the read-only entry of the directory makes the directory itself count
 * as read-only, it is later shared with the path that really is, and with it the
 * writable entry that was filled in meanwhile.
 */
static const char *const inherited_fixes[] = {"CVE-2021-38198", NULL};
/* The accesses before the final checks: address a or b, capital: behind the writable entry. */
static const char *const histories[] = {"aAb", "abA", "baB", "BbAa"};

TEST(inherited_rights, .what = "paths that share tables have each the rights of their own entries",
     .modes = MODES_64, .fixes = inherited_fixes)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u64 big = level_size(t->mode, 3), dir = level_size(t->mode, 2);
	u64 ro = PTE_P | PTE_U, rw = PTE_P | PTE_W | PTE_U;
	const u64 denied = PFERR_P | PFERR_W | PFERR_U;
	const char *step;
	gpa_t low, high, pd;
	u32 i;

	for (i = 0; i < ARRAY_LEN(histories); i++) {
		gva_t a = vm->test_gva + 4 * i * big, b = a + big;

		/* In the directory a read-only entry, then a writable one. */
		vm_map(vm, a, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
		vm_map(vm, a + dir, vm->mem->gpa + SZ_4K, SZ_4K, 1, PTE_W | PTE_U);
		low = pte_addr(t->mode, aspace_get_pte(&vm->as, a, 2), 2);
		high = pte_addr(t->mode, aspace_get_pte(&vm->as, a + dir, 2), 2);
		pd = pte_addr(t->mode, aspace_get_pte(&vm->as, a, 3), 3);
		aspace_set_pte(&vm->as, a, 2, low | ro);
		aspace_set_pte(&vm->as, a + dir, 2, high | rw);
		/* Above the directory a writable entry, a, and a read-only one, b. */
		aspace_set_pte(&vm->as, b, 3, pd | ro);

		for (step = histories[i]; *step; step++) {
			gva_t at = (*step | 32) == 'a' ? a : b;

			if (*step == 'A')
				EXPECT_OK(__user_write(v, at + dir, i), "%s", histories[i]);
			else
				EXPECT_OK(__user_read(v, at + (*step == 'B' ? dir : 0)), "%s",
					  histories[i]);
		}
		EXPECT_PF(__user_write(v, b + dir, 9), denied, b + dir, "%s", histories[i]);
		EXPECT_OK(__user_write(v, a + dir, 30 + i), "%s", histories[i]);
		EXPECT_PF(__user_write(v, b + dir, 9), denied, b + dir, "%s", histories[i]);
		EXPECT_VALUE(__user_read(v, b + dir), 30 + i, "%s", histories[i]);
		EXPECT_PF(__user_write(v, a, 9), denied, a, "%s", histories[i]);
		EXPECT_PF(__user_write(v, b, 9), denied, b, "%s", histories[i]);
	}
}

TEST(parents_rights_on_neighbours,
     .what = "pages mapped ahead have the rights that the entry above leaves them",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 i;

	memset(vm->mem->hva, 1, 16 * SZ_4K); /* only what the host has is mapped ahead */
	/* Leaves allow everything and look used; the directory entry leaves the kernel reading. */
	vm_map(vm, gva, vm->mem->gpa, 16 * SZ_4K, 1, PTE_W | PTE_U | PTE_A | PTE_D);
	aspace_set_pte(&vm->as, gva, 2, aspace_get_pte(&vm->as, gva, 2) & ~(PTE_W | PTE_U));
	guest_read(v, gva + 4 * SZ_4K);
	for (i = 0; i < 8; i++) {
		gva_t at = gva + i * SZ_4K;

		EXPECT_PF(__guest_write(v, at, 1), PFERR_P | PFERR_W, at, "page %u", i);
		EXPECT_PF(__user_read(v, at), PFERR_P | PFERR_U, at, "page %u", i);
		EXPECT_OK(__guest_read(v, at), "page %u", i);
	}
}
