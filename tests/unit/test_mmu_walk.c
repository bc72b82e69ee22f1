// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU's reading of guest tables: rights by role against what the manuals say in other words,
 * walks of each format, and those of a guest hypervisor's tables, for which the engine's guests
 * have no instruction yet. Also events.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"
#include "x86/mmu/internal.h"

#define FRAMES 64

/* A VM with one slot of FRAMES frames at gpa 0 and a vCPU, and the frame that comes next. */
struct rig {
	struct vm *vm;
	struct vcpu *v;
	struct kvm_memslots *slots, *own_slots; /* ours, those of the VM meanwhile */
	struct kvm_memory_slot slot;
	u8 *mem;
	gfn_t free;
};

static void rig_create(struct rig *r, const char *config)
{
	const char *eq = strchr(config, '=');

	memset(r, 0, sizeof(*r));
	r->vm = calloc(1, sizeof(*r->vm));
	r->v = calloc(1, sizeof(*r->v));
	r->slots = calloc(1, sizeof(*r->slots) + sizeof(void *));
	r->mem = aligned_alloc(SZ_4K, FRAMES * SZ_4K);
	ASSERT(r->vm && r->v && r->slots && r->mem);
	memset(r->mem, 0, FRAMES * SZ_4K);
	r->vm->kvm.params = mmu_params_default();
	ASSERT(!mmu_param_set(&r->vm->kvm.params, config, (size_t)(eq - config), eq + 1));
	r->slot = (struct kvm_memory_slot){.npages = FRAMES, .hva = (u64)r->mem};
	r->slots->nr = 1;
	r->slots->slot[0] = &r->slot;
	ASSERT_EQ(hw_vm_init(r->vm), 0);
	ASSERT_EQ(kvm_mmu_init_vm(&r->vm->kvm), 0);
	r->own_slots = r->vm->kvm.memslots[0];
	r->vm->kvm.memslots[0] = r->slots;
	r->v->vm = r->vm;
	r->v->kvm.kvm = &r->vm->kvm;
	ASSERT_EQ(kvm_mmu_create(&r->v->kvm), 0);
	r->v->kvm.regs = (struct kvm_paging_regs){.cr0 = CR0_PE | CR0_PG | CR0_WP,
						  .cr4 = CR4_PAE,
						  .efer = EFER_LME | EFER_LMA | EFER_NX,
						  .maxphyaddr = 40,
						  .gbpages = true,
						  .amd = true};
	r->free = 1;
}

static void rig_destroy(struct rig *r)
{
	kvm_mmu_destroy(&r->v->kvm);
	kvm_mmu_uninit_vm(&r->vm->kvm);
	r->vm->kvm.memslots[0] = r->own_slots;
	hw_vm_fini(r->vm);
	free(r->mem);
	free(r->slots);
	free(r->v);
	free(r->vm);
}

static u64 *frame(struct rig *r, gfn_t gfn)
{
	ASSERT_LT(gfn, FRAMES);
	return (u64 *)(r->mem + gfn * SZ_4K);
}

/* The entry of @level for @addr in 8-byte tables from @root on; makes those above, with @table. */
static u64 *entry(struct rig *r, gfn_t root, int levels, int level, u64 addr, u64 table)
{
	u64 *e;

	for (;; levels--) {
		e = frame(r, root) + SPTE_INDEX(addr, levels);
		if (levels == level)
			return e;
		if (!*e)
			*e = r->free++ << PAGE_SHIFT | table;
		root = (*e & PTE_ADDR_MASK) >> PAGE_SHIFT;
	}
}

static bool walk_it(struct rig *r, struct guest_walker *w, u64 addr, u64 code)
{
	kvm_init_mmu(&r->v->kvm);
	return walk_guest(w, &r->v->kvm, r->v->kvm.walk_mmu, addr, code);
}

/* SDM vol. 3 4.6, said again: may the access be made? */
static bool manual_allows(const struct kvm_paging_regs *regs, unsigned int acc, u64 code)
{
	bool user_page = acc & ACC_USER, writable = acc & ACC_WRITE, exec = acc & ACC_EXEC;
	bool wp = regs->cr0 & CR0_WP, smep = regs->cr4 & CR4_SMEP, smap = regs->cr4 & CR4_SMAP;
	bool explicit_ac = (regs->rflags & RFLAGS_AC) && !(code & PFERR_IMPLICIT);

	if (code & PFERR_F && (regs->efer & EFER_NX) && !exec)
		return false;
	if (code & PFERR_U) {
		if (!user_page)
			return false;
		return !(code & PFERR_W) || writable;
	}
	if (code & PFERR_F)
		return !user_page || !smep;
	if (user_page && smap && !explicit_ac)
		return false;
	return !(code & PFERR_W) || writable || !wp;
}

TEST(rights, .what = "each access by each right in each setting is as the manual has it")
{
	static const u64 codes[] = {0,
				    PFERR_W,
				    PFERR_F,
				    PFERR_IMPLICIT,
				    PFERR_W | PFERR_IMPLICIT,
				    PFERR_U,
				    PFERR_U | PFERR_W,
				    PFERR_U | PFERR_F};
	struct rig r;
	unsigned int set, i, acc;

	rig_create(&r, "npt=0");
	for (set = 0; set < 32; set++) {
		struct kvm_paging_regs *regs = &r.v->kvm.regs;

		regs->cr0 = CR0_PE | CR0_PG | (set & 1 ? CR0_WP : 0);
		regs->cr4 = CR4_PAE | (set & 2 ? CR4_SMEP : 0) | (set & 4 ? CR4_SMAP : 0);
		regs->efer = EFER_LME | EFER_LMA | (set & 8 ? EFER_NX : 0);
		regs->rflags = set & 16 ? RFLAGS_AC : 0;
		kvm_init_mmu(&r.v->kvm);
		for (i = 0; i < ARRAY_LEN(codes); i++)
			for (acc = 0; acc <= ACC_ALL; acc++)
				EXPECT_EQ(permission_fault(&r.v->kvm, r.v->kvm.mmu, acc, 0,
							   codes[i]) == 0,
					  manual_allows(regs, acc, codes[i]),
					  "setting %#x rights %u code %#lx", set, acc, codes[i]);
	}
	rig_destroy(&r);
}

TEST(keys, .what = "protection keys forbid data accesses to user pages")
{
	struct rig r;
	struct kvm_paging_regs *regs;

	rig_create(&r, "npt=1");
	regs = &r.v->kvm.regs;
	regs->cr4 |= CR4_PKE;
	regs->pkru = 1u << 2 | 2u << 4; /* key 1: no access, key 2: no writes */
	kvm_init_mmu(&r.v->kvm);
#define FAULT(acc, key, code) permission_fault(&r.v->kvm, r.v->kvm.mmu, acc, key, code)
	EXPECT_EQ(FAULT(ACC_ALL, 1, PFERR_U), PFERR_P | PFERR_PK);
	EXPECT_EQ(FAULT(ACC_ALL, 1, 0), PFERR_P | PFERR_PK);
	EXPECT_EQ(FAULT(ACC_ALL, 1, PFERR_U | PFERR_F), 0);
	EXPECT_EQ(FAULT(ACC_ALL & ~ACC_USER, 1, PFERR_W), 0);
	EXPECT_EQ(FAULT(ACC_ALL, 2, PFERR_U), 0);
	EXPECT_EQ(FAULT(ACC_ALL, 2, PFERR_U | PFERR_W), PFERR_P | PFERR_PK);
	EXPECT_EQ(FAULT(ACC_ALL, 2, PFERR_W), PFERR_P | PFERR_PK);
	regs->cr0 &= ~CR0_WP;
	kvm_init_mmu(&r.v->kvm);
	EXPECT_EQ(FAULT(ACC_ALL, 2, PFERR_W), 0);
	EXPECT_EQ(FAULT(ACC_ALL, 2, PFERR_U | PFERR_W), PFERR_P | PFERR_PK);
	EXPECT_EQ(FAULT(ACC_ALL, 3, PFERR_U | PFERR_W), 0);
#undef FAULT
	rig_destroy(&r);
}

TEST(four_levels, .what = "frame, rights by level, A and D, and each way not to get there")
{
	const u64 addr = 0x123456789abcull, table = PTE_P | PTE_W | PTE_U;
	struct guest_walker w;
	struct rig r;
	u64 *leaf, *dir, *root;
	gfn_t cr3;

	rig_create(&r, "npt=0");
	cr3 = r.free++;
	r.v->kvm.regs.cr3 = cr3 << PAGE_SHIFT;
	leaf = entry(&r, cr3, 4, 1, addr, table);
	dir = entry(&r, cr3, 4, 2, addr, table);
	root = entry(&r, cr3, 4, 4, addr, table);

	EXPECT(!walk_it(&r, &w, addr, PFERR_W));
	EXPECT_EQ(w.fault.error_code, PFERR_W);
	EXPECT_EQ(w.fault.address, addr);
	EXPECT_EQ(*root & PTE_A, 0);

	*leaf = 0x20000 | PTE_P | PTE_W | PTE_U;
	*dir &= ~PTE_U;
	ASSERT(walk_it(&r, &w, addr, 0));
	EXPECT_EQ(w.gfn, 0x20);
	EXPECT_EQ(w.level, 1);
	EXPECT_EQ(w.max_level, 4);
	EXPECT_EQ(w.pt_access[4], ACC_ALL);
	EXPECT_EQ(w.pt_access[2], ACC_ALL);
	EXPECT_EQ(w.pt_access[1], ACC_ALL & ~ACC_USER);
	EXPECT_EQ(w.pte_access, ACC_EXEC, "clean: not for writing");
	EXPECT_EQ(w.table_gfn[4], cr3);
	EXPECT(!gpte_changed(&r.v->kvm, &w, 1));
	EXPECT_EQ(*leaf & (PTE_A | PTE_D), PTE_A);
	EXPECT_EQ(*root & (PTE_A | PTE_D), PTE_A);
	ASSERT(walk_it(&r, &w, addr, PFERR_W));
	EXPECT_EQ(*leaf & (PTE_A | PTE_D), PTE_A | PTE_D);
	EXPECT_EQ(w.pte_access, ACC_EXEC | ACC_WRITE);
	*leaf &= ~PTE_A;
	EXPECT(gpte_changed(&r.v->kvm, &w, 1));

	EXPECT(!walk_it(&r, &w, addr, PFERR_U));
	EXPECT_EQ(w.fault.error_code, PFERR_P | PFERR_U);
	EXPECT_EQ(*leaf & PTE_A, 0, "an access refused");
	*dir |= BIT(45);
	EXPECT(!walk_it(&r, &w, addr, PFERR_F));
	EXPECT_EQ(w.fault.error_code, PFERR_P | PFERR_RSVD | PFERR_F);
	*dir = BIT(30) | table;
	EXPECT(!walk_it(&r, &w, addr, 0));
	EXPECT_EQ(w.fault.error_code, 0, "a table where there is no memory");

	/* A table in ROM keeps what it has. */
	*dir = (w.table_gfn[1] << PAGE_SHIFT) | table;
	*entry(&r, cr3, 4, 2, addr, table) = 0x200000 | table | PTE_PS;
	r.slot.flags = SLOT_READONLY;
	ASSERT(walk_it(&r, &w, addr, PFERR_W));
	EXPECT_EQ(w.level, 2);
	EXPECT_EQ(w.gfn, 0x200 + (addr >> 12 & 511));
	EXPECT_EQ(*dir & (PTE_A | PTE_D), 0);
	rig_destroy(&r);
}

TEST(two_levels, .what = "4-byte entries, PSE-36, and CR4.PSE clear")
{
	struct guest_walker w;
	struct rig r;
	u32 *dir;

	rig_create(&r, "npt=0");
	r.v->kvm.regs.efer = 0;
	r.v->kvm.regs.cr4 = CR4_PSE;
	r.v->kvm.regs.cr3 = r.free << PAGE_SHIFT;
	dir = (u32 *)frame(&r, r.free);
	dir[3] = 5 << 22 | 1 << 13 | PTE_PS | PTE_P | PTE_W;
	ASSERT(walk_it(&r, &w, (3u << 22) + 0x5678, PFERR_W));
	EXPECT_EQ(w.gfn, (BIT(32) + (5ull << 22) + 0x5000) >> PAGE_SHIFT);
	EXPECT_EQ(w.max_level, 2);
	dir[3] |= BIT(21);
	EXPECT(!walk_it(&r, &w, 3u << 22, 0));
	EXPECT_EQ(w.fault.error_code, PFERR_P | PFERR_RSVD);
	r.v->kvm.regs.cr4 = 0;
	dir[3] = 2u << PAGE_SHIFT | PTE_PS | PTE_P;
	((u32 *)frame(&r, 2))[5] = 7u << PAGE_SHIFT | PTE_P;
	ASSERT(walk_it(&r, &w, (3u << 22) + 0x5678, 0));
	EXPECT_EQ(w.gfn, 7);
	EXPECT_EQ(w.level, 1);
	EXPECT(r.v->kvm.mmu->root_role.no_pse);
	rig_destroy(&r);
}

/* L2 and L1 both with 4-level tables: L2's frame n is L1's n + 16, by 4 KiB pages. */
static u64 *map_nested(struct rig *r, gfn_t ncr3, gfn_t gfn, u64 bits, u64 table)
{
	u64 *e = entry(r, ncr3, 4, 1, gfn << PAGE_SHIFT, table);

	*e = (gfn + 16) << PAGE_SHIFT | bits;
	return e;
}

TEST(nested_npt, .what = "L2's tables by L1's: frames, A and D in both, faults for L1 as AMD's")
{
	const u64 table = PTE_P | PTE_W | PTE_U, gva = 0x3000;
	struct x86_exception e;
	struct guest_walker w;
	u64 *n[8], *leaf;
	struct rig r;
	gfn_t ncr3, i;

	rig_create(&r, "npt=1");
	r.free = 32;
	ncr3 = r.free++;
	for (i = 0; i < 8; i++)
		n[i] = map_nested(&r, ncr3, i, table, table);
	r.v->kvm.regs.guest_mode = true;
	r.v->kvm.regs.nested_npt = true;
	r.v->kvm.regs.nested_cr3 = ncr3 << PAGE_SHIFT;
	r.v->kvm.regs.l1_cr0 = CR0_PE | CR0_PG;
	r.v->kvm.regs.l1_cr4 = CR4_PAE;
	r.v->kvm.regs.l1_efer = EFER_LME | EFER_LMA | EFER_NX;
	/* L2's frames 1 to 4 are its tables, 5 its page. */
	r.v->kvm.regs.cr3 = 1 << PAGE_SHIFT;
	for (i = 1; i < 4; i++)
		frame(&r, 16 + i)[0] = (i + 1) << PAGE_SHIFT | table;
	leaf = &frame(&r, 16 + 4)[3];
	*leaf = 5 << PAGE_SHIFT | table;

	ASSERT(walk_it(&r, &w, gva, PFERR_W));
	EXPECT_EQ(w.gfn, 16 + 5);
	EXPECT_EQ(w.pte_gpa[1], (16 + 4) * SZ_4K + 3 * 8);
	EXPECT_EQ(*leaf & (PTE_A | PTE_D), PTE_A | PTE_D);
	EXPECT_EQ(*n[5] & (PTE_A | PTE_D), PTE_A | PTE_D);
	EXPECT_EQ(*n[4] & (PTE_A | PTE_D), PTE_A | PTE_D, "walks write");
	EXPECT_EQ(kvm_mmu_gva_to_gpa(&r.v->kvm, gva + 5, 0, &e), (16 + 5) * SZ_4K + 5);

	*n[5] &= ~PTE_W;
	EXPECT(!walk_it(&r, &w, gva, PFERR_W));
	EXPECT(w.fault.nested_page_fault);
	EXPECT_EQ(w.fault.address, 5 * SZ_4K);
	EXPECT_EQ(w.fault.nested_error, PFERR_P | PFERR_W | PFERR_U | NPF_FINAL);
	*n[3] = 0;
	EXPECT(!walk_it(&r, &w, gva, 0));
	EXPECT(w.fault.nested_page_fault);
	EXPECT_EQ(w.fault.address, 3 * SZ_4K);
	EXPECT_EQ(w.fault.nested_error, PFERR_W | PFERR_U | NPF_TABLE);
	*leaf = 0;
	*n[3] = 19 << PAGE_SHIFT | table;
	EXPECT(!walk_it(&r, &w, gva, 0));
	EXPECT(!w.fault.nested_page_fault);
	EXPECT_EQ(w.fault.error_code, 0);

	/* What the hardware faults on: L1's tables alone, with the code that it gave. */
	EXPECT(!walk_guest(&w, &r.v->kvm, r.v->kvm.mmu, 0x9000, PFERR_F | PFERR_U | NPF_FINAL));
	EXPECT_EQ(w.fault.nested_error, PFERR_F | PFERR_U | NPF_FINAL);
	EXPECT_EQ(r.v->kvm.mmu->root_role.level, 4);
	EXPECT(r.v->kvm.mmu->root_role.guest_mode && !r.v->kvm.mmu->root_role.direct);
	rig_destroy(&r);
}

TEST(nested_ept, .what = "L1's tables in EPT's format: rights, misconfigurations, qualifications")
{
	const u64 table = EPT_RWX, rwx = EPT_RWX | (u64)EPT_MT_WB << EPT_MT_SHIFT;
	struct guest_walker w;
	struct rig r;
	gfn_t root;
	u64 *e;

	rig_create(&r, "ept=1");
	r.free = 32;
	root = r.free++;
	r.v->kvm.regs.amd = false;
	r.v->kvm.regs.guest_mode = true;
	r.v->kvm.regs.nested_npt = true;
	r.v->kvm.regs.nested_cr3 = root << PAGE_SHIFT | EPTP_AD | 3 << EPTP_LEVELS_SHIFT | 6;
	kvm_init_mmu(&r.v->kvm);
	e = map_nested(&r, root, 5, rwx, table);
#define WALK(code) walk_guest(&w, &r.v->kvm, r.v->kvm.mmu, 5 * SZ_4K, code)
	ASSERT(WALK(PFERR_W | NPF_FINAL));
	EXPECT_EQ(w.gfn, 21);
	EXPECT_EQ(w.pte_access, ACC_ALL);
	EXPECT_EQ(*e & (EPT_A | EPT_D), EPT_A | EPT_D);

	*e = (*e & ~EPT_RWX) | EPT_X;
	EXPECT(WALK(PFERR_F | NPF_FINAL));
	EXPECT_EQ(w.pte_access, ACC_EXEC);
	EXPECT(!WALK(NPF_FINAL));
	EXPECT_EQ(w.fault.nested_error, EPTV_READ | EPTV_ENTRY_X | EPTV_GVA | EPTV_FINAL);
	EXPECT(!w.fault.ept_misconfig);
	*e = (*e & ~EPT_RWX) | EPT_W;
	EXPECT(!WALK(PFERR_W | NPF_FINAL));
	EXPECT(w.fault.ept_misconfig);
	*e = 21 << PAGE_SHIFT | EPT_RWX | 2 << EPT_MT_SHIFT;
	EXPECT(!WALK(0));
	EXPECT(w.fault.ept_misconfig, "memory type 2");
	*e = 0;
	EXPECT(!WALK(PFERR_W | NPF_TABLE));
	EXPECT_EQ(w.fault.nested_error, EPTV_READ | EPTV_WRITE | EPTV_GVA);
	/* Without A and D there is nothing to set, and nothing to wait for. */
	*e = 21 << PAGE_SHIFT | rwx;
	r.v->kvm.regs.nested_cr3 &= ~EPTP_AD;
	kvm_init_mmu(&r.v->kvm);
	ASSERT(WALK(0));
	EXPECT_EQ(w.pte_access, ACC_ALL);
	EXPECT_EQ(*e & (EPT_A | EPT_D), 0);
#undef WALK
	rig_destroy(&r);
}

TEST(events, .what = "the ring keeps the latest events, in order, and they can be read as text")
{
	struct mmu_trace_event e[8];
	char line[200];
	struct rig r;
	struct kvm *kvm;
	u64 pos = 0, i;

	rig_create(&r, "npt=1");
	kvm = &r.vm->kvm;
	trace_mmu(kvm, kvm_mmu_walker_error, 1);
	EXPECT_EQ(mmu_trace_read(kvm, &pos, e, 8), 0);
	ASSERT_EQ(mmu_trace_start(kvm, 3), 0);
	for (i = 0; i < 6; i++)
		trace_mmu(kvm, kvm_mmu_set_accessed_bit, 0x1000 * i);
	EXPECT_EQ(mmu_trace_read(kvm, &pos, e, 2), 2);
	EXPECT_EQ(e[0].seq, 3, "four are kept");
	EXPECT_EQ(e[0].args[0], 0x2000);
	EXPECT_EQ(mmu_trace_read(kvm, &pos, e, 8), 2);
	EXPECT_EQ(e[1].args[0], 0x5000);
	trace_mmu(kvm, kvm_mmu_get_page, 0x401,
		  (union kvm_mmu_page_role){.level = 1, .access = 5, .smm = 1, .cr0_wp = 1}.word,
		  1);
	ASSERT_EQ(mmu_trace_read(kvm, &pos, e, 8), 1);
	EXPECT_EQ(mmu_event_text(e, line, sizeof(line)), strlen(line));
	EXPECT_STREQ(line, "kvm_mmu_get_page: gfn=0x401 role=l1 u-x !nx wp smm created=1");
	EXPECT_EQ(mmu_event_text(e, line, 10), 60);
	EXPECT_STREQ(line, "kvm_mmu_g");
	EXPECT_EQ(mmu_event_arg(MMU_EV_kvm_mmu_get_page, "created"), 2);
	EXPECT_EQ(mmu_event_arg(MMU_EV_kvm_mmu_get_page, "creat"), -1);
	mmu_trace_stop(kvm);
	rig_destroy(&r);
}
