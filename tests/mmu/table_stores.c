// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every way to store to a page table in use: whole entries, halves, bytes,
 * locked read-modify-writes, stores that touch two entries or two tables. What
 * counts is what memory holds afterwards.
 *
 * A shadow MMU intercepts such a store and emulates the instruction: a second
 * implementation of OR, XADD or CMPXCHG, on memory that it must look up anew. It
 * is told where the store was and how wide, and must drop whatever was derived
 * from each entry that it touched: from the whole entry if only a byte changed,
 * from the entry after or the table after when it reaches across. The same
 * stores go to a leaf table, which may be out of sync instead, and to an upper
 * one, which is always intercepted.
 */
#include <string.h>

#include "frames.h"

/* How an entry can be stored. All change bit 12 of its address, or clear NX. */
enum store_kind {
	STORE_WHOLE,
	STORE_LOW_HALF,
	STORE_BYTE, /* bits 15:8 */
	STORE_WORD, /* bits 31:16 stay: bits 15:0 */
	STORE_OR,
	STORE_XADD,
	STORE_CMPXCHG,
	STORE_KINDS
};

static const char *const store_names[] = {
	"whole entry", "low half", "one byte", "two bytes", "OR", "XADD", "CMPXCHG",
};

/* Changes the entry at @at from @from to @to, which has bit 12 in addition. */
static void op_store_kind(struct vcpu *v, enum store_kind kind, gpa_t at, u64 from, u64 to)
{
	u32 natural = v->vm->mode->long_mode ? 8 : 4;

	switch (kind) {
	case STORE_WHOLE:
		op_add(v, .kind = AGENT_SET_PTE, .addr = at, .value = to,
		       .size = v->vm->mode->pte_size);
		break;
	case STORE_LOW_HALF:
		op_add(v, .kind = AGENT_WRITE, .addr = at, .value = (u32)to, .size = 4);
		break;
	case STORE_BYTE:
		op_add(v, .kind = AGENT_WRITE, .addr = at + 1, .value = (u8)(to >> 8), .size = 1);
		break;
	case STORE_WORD:
		op_add(v, .kind = AGENT_WRITE, .addr = at, .value = (u16)to, .size = 2);
		break;
	case STORE_OR:
		op_add(v, .kind = AGENT_OR, .addr = at, .value = SZ_4K, .size = natural);
		break;
	case STORE_XADD:
		op_add(v, .kind = AGENT_XADD, .addr = at, .value = SZ_4K, .size = natural);
		break;
	default:
		op_add(v, .kind = AGENT_CMPXCHG, .addr = at, .value = from, .arg = to,
		       .size = natural);
	}
}

/* A pair of adjacent, even-aligned table frames: their addresses differ in bit 12 only. */
static gpa_t table_pair(struct vm *vm)
{
	gpa_t a = vm_alloc_table(vm);

	if (a & SZ_4K)
		a = vm_alloc_table(vm);
	vm_alloc_table(vm);
	return a;
}

TEST(store_kinds, .what = "a store of any width and kind changes the entry that it touches",
     .modes = MODES_FEW)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u64 span = level_size(m, 2), leaf = PTE_W | PTE_A | PTE_D, from, to;
	u32 read[STORE_KINDS][2][2], kind, i;
	gpa_t tables = table_pair(vm);
	gva_t gva;

	number_frames(vm);
	for (i = 0; i < 2; i++) { /* two tables whose first pages are frames 2 and 3 */
		aspace_link(&vm->as, vm->test_gva + i * span, 2, tables + i * SZ_4K);
		aspace_set_pte(&vm->as, vm->test_gva + i * span, 1, frame_pte(vm, 2 + i, leaf));
	}
	op_clear(v);
	for (kind = 0; kind < STORE_KINDS; kind++) {
		for (i = 0; i < 2; i++) { /* in a leaf table, in an upper table */
			if (i) {
				gva = vm->test_gva + (2 + kind) * span;
				aspace_link(&vm->as, gva, 2, tables);
				from = tables | PTE_P | PTE_W | PTE_U | PTE_A;
			} else {
				gva = vm->test_gva + (16 + kind) * SZ_4K;
				from = frame_pte(vm, 2, leaf);
			}
			to = from | SZ_4K;
			aspace_set_pte(&vm->as, gva, i + 1, from);
			read[kind][i][0] = op_read(v, gva);
			op_store_kind(v, kind, aspace_pte_gpa(&vm->as, gva, i + 1), from, to);
			op_invlpg(v, gva);
			read[kind][i][1] = op_read(v, gva);
		}
	}
	vcpu_exec(v);
	for (kind = 0; kind < STORE_KINDS; kind++) {
		for (i = 0; i < 2; i++) {
			EXPECT_VALUE(op_result(v, read[kind][i][0]), frame_value(2), "%s, level %u",
				     store_names[kind], i + 1);
			EXPECT_VALUE(op_result(v, read[kind][i][1]), frame_value(3), "%s, level %u",
				     store_names[kind], i + 1);
		}
	}
}

/* The half of an entry that holds NX alone, of a leaf and of an upper entry. */
TEST(store_high_half, .what = "a store to the upper half of an entry counts",
     .modes = MODES_64 | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 op[2][3], i, j;
	gva_t gva[2] = {vm->test_gva, vm->test_gva + SZ_2M};

	require_cpu(CPU_NX);
	op_clear(v);
	for (i = 0; i < 2; i++) {
		place_function(vm, frame_gpa(vm, i), 0x4200 + i);
		vm_map(vm, gva[i], frame_gpa(vm, i), SZ_4K, 1, 0);
		for (j = 0; j < 3; j++) {
			op[i][j] = op_add(v, .kind = AGENT_EXEC, .addr = gva[i]);
			op_write(v, aspace_pte_gpa(&vm->as, gva[i], i + 1) + 4,
				 j ? 0 : PTE_NX >> 32);
			op_invlpg(v, gva[i]);
		}
	}
	vcpu_exec(v);
	for (i = 0; i < 2; i++) {
		EXPECT_VALUE(op_result(v, op[i][0]), 0x4200 + i, "level %u", i + 1);
		EXPECT_PF(op_result(v, op[i][1]), PFERR_P | PFERR_F, gva[i], "level %u, NX", i + 1);
		EXPECT_VALUE(op_result(v, op[i][2]), 0x4200 + i, "level %u", i + 1);
	}
}

/*
 * One store that spans the last entry of a table and the first of the next
 * frame's, and one that spans two entries of a table. The bytes on both sides
 * change the entries' addresses.
 */
TEST(store_across, .what = "a store across two entries, or two tables, changes both",
     .modes = MODES_FEW)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u64 span = level_size(m, 2), old[2], new[2], value;
	u32 size = m->pte_size, width = m->long_mode ? 8 : 4, op[2][4], i;
	gpa_t tables = table_pair(vm);
	u8 image[16], *at;

	number_all_frames(vm);
	place_function(vm, frame_gpa(vm, 0x10) + 0x40, 0x10);
	place_function(vm, frame_gpa(vm, 0x110) + 0x40, 0x110);
	for (i = 0; i < 2; i++)
		aspace_link(&vm->as, vm->test_gva + i * span, 2, tables + i * SZ_4K);
	op_clear(v);
	for (i = 0; i < 2; i++) {
		/* The pair of pages: across the tables' boundary; in the middle of the first. */
		gva_t gva = i ? vm->test_gva + 64 * SZ_4K : vm->test_gva + span - SZ_4K;

		old[0] = frame_pte(vm, 0x10, PTE_W | PTE_A | PTE_D);
		old[1] = frame_pte(vm, 0x20, PTE_W | PTE_A | PTE_D);
		/* Of the first entry the upper part can be reached, of the second the lower. */
		new[0] = size == 4 ? frame_pte(vm, 0x110, PTE_W | PTE_A | PTE_D)
				   : old[0] | (cpu_has(&CPU_NX) ? PTE_NX : PTE_NX >> 4);
		new[1] = frame_pte(vm, 0x21, PTE_W | PTE_A | PTE_D);
		memcpy(image, &new[0], size);
		memcpy(image + size, &new[1], size);
		at = image + size - width / 2;
		value = 0;
		memcpy(&value, at, width);
		aspace_set_pte(&vm->as, gva, 1, old[0]);
		aspace_set_pte(&vm->as, gva + SZ_4K, 1, old[1]);
		op_read(v, gva);
		op_read(v, gva + SZ_4K);
		op_add(v, .kind = AGENT_WRITE, .size = width, .value = value,
		       .addr = aspace_pte_gpa(&vm->as, gva, 1) + size - width / 2);
		op_invlpg(v, gva);
		op_invlpg(v, gva + SZ_4K);
		op[i][0] = op_read(v, gva);
		op[i][1] = op_read(v, gva + SZ_4K);
		op[i][2] = op_add(v, .kind = AGENT_EXEC, .addr = gva + 0x40);
	}
	vcpu_exec(v);
	for (i = 0; i < 2; i++) {
		EXPECT_VALUE(op_result(v, op[i][0]), frame_value(size == 4 ? 0x110 : 0x10), "%s",
			     i ? "two entries" : "two tables");
		EXPECT_VALUE(op_result(v, op[i][1]), frame_value(0x21), "%s",
			     i ? "two entries" : "two tables");
		if (size == 4 || !cpu_has(&CPU_NX))
			EXPECT_VALUE(op_result(v, op[i][2]), size == 4 ? 0x110 : 0x10);
		else
			EXPECT_PF(op_result(v, op[i][2]), PFERR_P | PFERR_F,
				  (i ? vm->test_gva + 64 * SZ_4K : vm->test_gva + span - SZ_4K) +
					  0x40,
				  "%s, NX", i ? "two entries" : "two tables");
	}
}

#define EXCHANGES 3000

/*
 * The exchange is emulated as long as the table is shadowed, which is over after a few stores
 * without a use of it in between.
 */
TEST(exchanges, .what = "exchanges in an upper table by two vCPUs are all there",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2);
	u64 top = level_entries(t->mode, 2) - 1;
	gva_t gva = vm->test_gva;
	gpa_t at;
	u32 i;

	number_frames(vm);
	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	/* The last entry of the directory, which is not present whatever is added. */
	at = (aspace_pte_gpa(&vm->as, gva, 2) & ~(SZ_4K - 1)) + top * t->mode->pte_size;
	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];

		op_clear(v);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = vm->test_gva + SCRATCH,
		       .value = 1);
		op_add(v, .kind = AGENT_WAIT_GE, .size = 4, .addr = vm->test_gva + SCRATCH,
		       .value = 2);
		op_add(v, .kind = AGENT_XADD, .size = 4, .addr = at, .value = 0x1000);
		op_read(v, gva);
		op_add(v, .kind = AGENT_LOOP, .value = EXCHANGES - 1, .arg = 2);
		vcpu_start(v);
	}
	for (i = 0; i < 2; i++)
		vcpu_join(vm->vcpu[i]);
	EXPECT_EQ(*(u32 *)vm_hva(vm, at), 2u * EXCHANGES * 0x1000, "sum of all that was added");
}
