// SPDX-License-Identifier: GPL-2.0-only
/*
 * System management mode: a vCPU in SMM has an address space of its own, with
 * memslots that may show other memory at the same address, or the same.
 *
 * The hypervisor keeps translations of both side by side; a root or a shadow
 * page taken from the wrong one shows the other space's memory. What it does to
 * one space it must do to the other: a guest page table is write-protected for
 * whoever can write to it, a page that the host takes away leaves both, and a
 * write is logged in the slot that it went through.
 *
 * The SMI handler is made here, byte by byte: 16-bit code at SMBASE + 0x8000
 * with flat segments, which reads and writes by 32-bit addresses, then RSM.
 */
#include <sys/mman.h>

#include "lib/smm.h"
#include "slots.h"

#define NORMAL 0x10000
#define SMM    0x20000

/* A VM whose system slot SMM sees as well. */
static struct vm *smm_vm(const struct paging_mode *mode)
{
	struct vm *vm = vm_create(mode, .mem_size = SZ_4M);

	require_cap(vm, KVM_CAP_X86_SMM);
	require_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE);
	slot_add_hva(vm, SMM_SPACE, 0, VM_SYSTEM_SIZE, vm->system->hva, 0);
	window_map(vm, vm->mem->gpa, SZ_4M, 1);
	return vm;
}

/*
 * An SMI, handled before the first operation of the next batch. QEMU 7.2 sets A
 * in PAE's PDPTEs when it walks nested tables; the bit is reserved there, and
 * RSM, which loads them anew, would have to refuse.
 */
static void send_smi(struct vcpu *v)
{
	u64 *pdpte = vm_hva(v->vm, v->vm->as.root);
	int i;

	for (i = 0; i < 4 && v->vm->mode->id == PM_PAE && (mmu_kind() & MMU_TDP); i++)
		pdpte[i] &= ~PTE_A;
	vcpu_ioctl(v, KVM_SMI, NULL);
}

/* In SMM: [gpa] is read, then [gpa + 4] = @value. Returns what was read. */
static u32 smm_access(struct vcpu *v, u32 gpa, u32 value)
{
	volatile u32 *result = frame_word(v->vm->system->hva, SMM_RESULT);
	u8 *p = smm_handler(v->vm);

	*result = 0xdead;
	p = smm_emit_copy(p, gpa, SMM_RESULT);
	p = smm_emit_write(p, gpa + 4, value);
	smm_emit_rsm(p);
	send_smi(v);
	op_clear(v);
	op_add(v, .kind = AGENT_NOP);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0), "the agent after RSM");
	return *result;
}

TEST(two_spaces, .what = "the same address is other memory in SMM, over and over",
     .modes = MODE(PM_LA48) | MODE(PM_32) | MODE(PM_NONE))
{
	struct vm *vm = smm_vm(t->mode);
	struct memslot *s = slot_add(vm, SMM_SPACE | 1, vm->mem->gpa, SZ_4M, MEM_ANON, 0);
	const gpa_t gpa = vm->mem->gpa + 3 * SZ_4K;
	struct mmio_log log = {.answer = 0x99};
	struct vcpu *v = vm->vcpu[0];
	u32 i;

	number_frames(vm->mem->hva, SZ_4M, NORMAL);
	number_frames(s->hva, SZ_4M, SMM);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(read4(v, window(vm, gpa)), NORMAL + 3, "outside of SMM, round %u", i);
		EXPECT_EQ(smm_access(v, gpa, 100 + i), SMM + 3, "in SMM, round %u", i);
		write4(v, window(vm, gpa) + 4, i);
		EXPECT_EQ(*frame_word(s->hva, 3 * SZ_4K + 4), 100 + i, "SMM's memory");
		EXPECT_EQ(*frame_word(vm->mem->hva, 3 * SZ_4K + 4), i, "the other memory");
	}
	slot_delete(s);
	EXPECT_EQ(read4(v, window(vm, gpa)), NORMAL + 3, "SMM's slot was deleted");
	mmio_watch(v, &log);
	EXPECT_EQ(smm_access(v, gpa, 5), 0x99, "SMM finds no slot");
	EXPECT_EQ(log.count, 2);
	EXPECT_MMIO(&log, 0, gpa, 4, false, 0x99);
	EXPECT_MMIO(&log, 1, gpa + 4, 4, true, 5);
}

TEST(dirty_log, .what = "a write is logged in the slot of the space that it was made in",
     .modes = MODE(PM_LA48) | MODE(PM_NONE))
{
	struct vm *vm = smm_vm(t->mode);
	struct memslot *s = slot_add_hva(vm, SMM_SPACE | 1, vm->mem->gpa, SZ_4M, vm->mem->hva, 0);
	struct dirty_bitmap normal = dirty_bitmap_alloc(s), smm = dirty_bitmap_alloc(s);
	struct vcpu *v = vm->vcpu[0];
	int i;

	/* Both have the pages mapped when logging begins. */
	write4(v, window(vm, vm->mem->gpa), 1);
	smm_access(v, vm->mem->gpa + SZ_4K, 1);
	slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	slot_set_flags(s, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < 2; i++) {
		smm_access(v, vm->mem->gpa + SZ_4K, 2);
		dirty_get(vm->mem, &normal);
		dirty_get(s, &smm);
		EXPECT_EQ(dirty_count(&normal), 0, "pages written by SMM only");
		EXPECT_EQ(dirty_count(&smm), 1);
		EXPECT_EQ(dirty_first(&smm), 1);
		write4(v, window(vm, vm->mem->gpa), 2);
		dirty_get(vm->mem, &normal);
		dirty_get(s, &smm);
		EXPECT_EQ(dirty_count(&smm), 0, "pages written outside of SMM only");
		EXPECT_EQ(dirty_count(&normal), 1);
		EXPECT_EQ(dirty_first(&normal), 0);
	}
}

TEST(dropped, .what = "a page that the host drops is gone in SMM too",
     .modes = MODE(PM_LA48) | MODE(PM_NONE))
{
	struct vm *vm = smm_vm(t->mode);
	const gpa_t gpa = vm->mem->gpa + SZ_4M - SZ_4K;
	struct vcpu *v = vm->vcpu[0];
	int i;

	slot_add_hva(vm, SMM_SPACE | 1, vm->mem->gpa, SZ_4M, vm->mem->hva, 0);
	for (i = 0; i < 2; i++) {
		number_frames(vm->mem->hva, SZ_4M, NORMAL);
		EXPECT_EQ(read4(v, window(vm, gpa)), NORMAL + 1023);
		EXPECT_EQ(smm_access(v, gpa, 7), NORMAL + 1023);
		memory_madvise(&vm->mem->mem, 0, SZ_4M, MADV_DONTNEED);
		EXPECT_EQ(smm_access(v, gpa, 8), 0, "in SMM");
		EXPECT_EQ(read4(v, window(vm, gpa)), 0, "outside of SMM");
		EXPECT_EQ(*frame_word(vm->mem->hva, SZ_4M - SZ_4K + 4), 8, "the host's view");
	}
}

/* In SMM: the entry at @gpa gets its low word from @pte. */
static void smm_set_pte(struct vcpu *v, gpa_t gpa, u64 pte)
{
	smm_emit_rsm(smm_emit_write(smm_handler(v->vm), gpa, pte));
	send_smi(v);
}

/* After the SMI, INVLPG of @gva and a read of it. */
static u32 flush_and_read(struct vcpu *v, gva_t gva)
{
	op_clear(v);
	op_add(v, .kind = AGENT_INVLPG, .addr = gva);
	op_add(v, .kind = AGENT_READ, .size = 4, .addr = gva);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 1));
	return op_result(v, 1).value;
}

/* Two leaf tables in slot 1, which both spaces have; their first entries name frames 1 and 2. */
static gpa_t make_tables(struct vm *vm, gva_t gva, gpa_t leaf[2])
{
	int i;

	slot_add_hva(vm, SMM_SPACE | 1, vm->mem->gpa, SZ_4M, vm->mem->hva, 0);
	number_frames(vm->mem->hva, SZ_2M, NORMAL);
	for (i = 0; i < 2; i++) {
		leaf[i] = vm->mem->gpa + SZ_2M + i * SZ_4K;
		*frame_word(vm->mem->hva, SZ_2M + i * SZ_4K) =
			pte_make_leaf(vm->mode, vm->mem->gpa + (i + 1) * SZ_4K, 1, PTE_W);
	}
	aspace_link(&vm->as, gva, 2, leaf[0]);
	return aspace_pte_gpa(&vm->as, gva, 2);
}

#define LINK (PTE_P | PTE_W | PTE_U)

TEST(tables, .what = "tables that SMM changes: the new entry counts after INVLPG",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))
{
	struct vm *vm = smm_vm(t->mode);
	const gva_t gva = vm->test_gva + 8 * MiB;
	struct vcpu *v = vm->vcpu[0];
	gpa_t leaf[2], upper = make_tables(vm, gva, leaf);
	int i;

	EXPECT_EQ(read4(v, gva), NORMAL + 1);
	for (i = 0; i < 3; i++) {
		smm_set_pte(v, upper, leaf[1] | LINK);
		EXPECT_EQ(flush_and_read(v, gva), NORMAL + 2, "an upper entry, round %d", i);
		smm_set_pte(v, upper, leaf[0] | LINK);
		EXPECT_EQ(flush_and_read(v, gva), NORMAL + 1, "an upper entry, round %d", i);
	}
	smm_set_pte(v, leaf[0], pte_make_leaf(t->mode, vm->mem->gpa + 9 * SZ_4K, 1, PTE_W));
	EXPECT_EQ(flush_and_read(v, gva), NORMAL + 9, "a leaf entry");
}

/*
 * KVM takes the right to write to a table away in the space that the vCPU is in
 * (kvm_vcpu_write_protect_gfn()), and SMM keeps a translation that it had
 * before: a store through it goes unseen. Seen with Linux 6.1, where it may
 * only make the older entry count.
 */
TEST(tables_mapped, .what = "the same where SMM could write to the table before it was one",
     .modes = MODE(PM_LA48) | MODE(PM_PAE) | MODE(PM_32))
{
	struct vm *vm = smm_vm(t->mode);
	const gva_t gva = vm->test_gva + 8 * MiB;
	struct vcpu *v = vm->vcpu[0];
	gpa_t leaf[2], upper = make_tables(vm, gva, leaf);
	u32 got[2];

	smm_access(v, leaf[0] + 8, 0);
	smm_access(v, upper + 256, 0);
	EXPECT_EQ(read4(v, gva), NORMAL + 1);
	smm_set_pte(v, leaf[0], pte_make_leaf(t->mode, vm->mem->gpa + 9 * SZ_4K, 1, PTE_W));
	got[0] = flush_and_read(v, gva);
	smm_set_pte(v, upper, leaf[1] | LINK);
	got[1] = flush_and_read(v, gva);
	if (engine()->kernel_memory && (mmu_kind() & MMU_SHADOW) &&
	    (got[0] == NORMAL + 1 || got[1] == NORMAL + 1))
		test_xfail("kvm_vcpu_write_protect_gfn() of one address space",
			   "read %#x and %#x: entries that SMM stored are not seen", got[0],
			   got[1]);
	EXPECT_EQ(got[0], NORMAL + 9, "a leaf entry");
	EXPECT_EQ(got[1], NORMAL + 2, "an upper entry");
}
