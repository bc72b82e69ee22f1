// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests' tables that one vCPU edits while another uses them. Until it flushes, a vCPU may see
 * the old entry or the new one; once it was told of the edit and has flushed, the new one only,
 * and an entry that was not present before takes no flush at all. In between the
 * hypervisor walks the tables, protects them, lets them go out of sync, synchronises them, emulates
 * stores to them, zaps and finds them again: at each step the guest may have got further.
 *
 * Each case is one short race, run under many seeds where the engine has threads take turns
 * (lib/race.h).
 */
#include <sys/mman.h>

#include "frames.h"
#include "race.h"

#define ROUNDS 8
#define FRAMES 64

static struct vm *edit_vm(struct test *t)
{
	struct vm *vm = vm_create(t->mode, .nr_vcpus = 2, .mem_size = FRAMES * SZ_4K);

	number_frames(vm);
	return vm;
}

static u64 page_pte(struct vm *vm, u64 frame)
{
	return frame_pte(vm, frame, PTE_W);
}

/* --- edits and flushes ------------------------------------------------------------------- */

enum flush {
	BY_INVLPG,
	BY_CR3,
	BY_BOTH, /* in turns */
};
static const char *const flushes[] = {"invlpg", "cr3", "both", NULL};

static void op_flush(struct vcpu *v, enum flush how, u32 round, gva_t gva)
{
	if (how == BY_INVLPG || (how == BY_BOTH && round % 2))
		op_invlpg(v, gva);
	else
		op_load_cr3(v, v->vm->as.root);
}

/* The first vCPU gives the page one frame after the other, the second follows. */
static void edit_once(struct test *t, unsigned int seed)
{
	struct vm *vm = edit_vm(t);
	struct vcpu *editor = vm->vcpu[0], *reader = vm->vcpu[1];
	gpa_t edited = race_words(vm);
	u32 before[ROUNDS], after[ROUNDS], r;

	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	race_warm(vm, vm->test_gva);
	for (r = 0; r < ROUNDS; r++) {
		op_set_pte(editor, &vm->as, vm->test_gva, 1, page_pte(vm, 1 + r));
		op_signal(editor, edited, 1 + r);
		before[r] = op_read(reader, vm->test_gva);
		op_flush(reader, t->variant_idx, r + 1, vm->test_gva);
		op_wait(reader, edited, 1 + r);
		op_flush(reader, t->variant_idx, r, vm->test_gva);
		after[r] = op_read(reader, vm->test_gva);
	}
	race_start(vm, seed);
	race_join(vm);
	for (r = 0; r < ROUNDS; r++) {
		EXPECT_GE(op_result(reader, before[r]).value, frame_id(r), "before edit %u", r + 1);
		EXPECT_GE(op_result(reader, after[r]).value, frame_id(1 + r), "after edit %u",
			  r + 1);
		EXPECT_LE(op_result(reader, after[r]).value, frame_id(ROUNDS), "after edit %u",
			  r + 1);
	}
	vm_destroy(vm);
}

TEST(edits, .what = "after a flush a vCPU sees the edits that it was told of, however it ran",
     .modes = MODES_FEW, .variants = flushes,
     .fixes = (const char *const[]){"6dbf79e7164e", "b53e84eed08b", NULL})
{
	race(t, RACE_SEEDS, edit_once);
}

/* --- first use ----------------------------------------------------------------------------- */

enum first {
	LEAF,	   /* the last entry changes frames */
	TABLE,	   /* the one above it changes tables */
	APPEARS,   /* the last entry becomes present */
	APPEARS_2, /* the one above it does */
};
static const char *const firsts[] = {"leaf", "table", "appears", "table_appears", NULL};

/* The entry of a fresh region is changed while the other vCPU uses it for the first time. */
static void first_once(struct test *t, unsigned int seed)
{
	struct vm *vm = edit_vm(t);
	const struct paging_mode *m = vm->mode;
	struct vcpu *editor = vm->vcpu[0], *reader = vm->vcpu[1];
	gpa_t words = race_words(vm), edited = words, using = words + 64;
	bool appears = t->variant_idx >= APPEARS, table = t->variant_idx & 1;
	u64 span = level_size(m, 2), bits = seed % 2 ? PTE_A | PTE_D : 0;
	u32 early[ROUNDS], late[ROUNDS], r;
	gpa_t at, other;
	u64 pte;

	for (r = 0; r < ROUNDS; r++) {
		gva_t gva = vm->test_gva + r * span;

		vm_map(vm, gva, frame_gpa(vm, 2 * r), SZ_4K, 1, PTE_W | bits);
		at = aspace_pte_gpa(&vm->as, gva, table ? 2 : 1);
		if (table) {
			other = vm_alloc_table(vm);
			pte = pte_make_leaf(m, frame_gpa(vm, 2 * r + 1), 1, PTE_W | bits);
			memcpy(vm_hva(vm, other + level_index(m, gva, 1) * m->pte_size), &pte,
			       m->pte_size);
			pte = table_pte(m, 2, other);
		} else {
			pte = pte_make_leaf(m, frame_gpa(vm, 2 * r + 1), 1, PTE_W | bits);
		}
		if (appears)
			aspace_set_pte(&vm->as, gva, table ? 2 : 1, 0);
		op_wait(editor, using, 1 + r);
		op_add(editor, .kind = AGENT_SET_PTE, .addr = at, .size = m->pte_size,
		       .value = pte);
		op_signal(editor, edited, 1 + r);
		op_signal(reader, using, 1 + r);
		early[r] = op_read(reader, gva);
		op_wait(reader, edited, 1 + r);
		if (!appears)
			op_invlpg(reader, gva);
		late[r] = op_read(reader, gva);
	}
	race_start(vm, seed);
	race_join(vm);
	for (r = 0; r < ROUNDS; r++) {
		struct agent_result res = op_result(reader, early[r]);

		EXPECT_VALUE(op_result(reader, late[r]), frame_id(2 * r + 1), "region %u", r);
		if (res.status == AGENT_OK && !appears)
			EXPECT(res.value == frame_id(2 * r) || res.value == frame_id(2 * r + 1),
			       "region %u: %#lx is neither of its frames", r, res.value);
	}
	vm_destroy(vm);
}

TEST(first_use, .what = "a table that is edited beside its first use is mapped as it is now",
     .modes = MODES_FEW, .variants = firsts,
     .fixes = (const char *const[]){"KVM: MMU: Fix race when instantiating a shadow pte (2008)",
				    NULL})
{
	race(t, RACE_SEEDS, first_once);
}

/* --- a page becomes a table -------------------------------------------------------------------- */

/*
 * The second vCPU can write to a frame; the first makes it a table and uses it, while the second
 * stores an entry there by the mapping that it has.
 */
static void becomes_once(struct test *t, unsigned int seed)
{
	struct vm *vm = edit_vm(t);
	const struct paging_mode *m = vm->mode;
	struct vcpu *user = vm->vcpu[0], *writer = vm->vcpu[1];
	gpa_t words = race_words(vm), stored = words, linked = words + 64;
	u64 span = level_size(m, 2), pte[2];
	gva_t base = vm->test_gva + 2 * span;
	u32 early[ROUNDS], late[ROUNDS], r, i;

	for (r = 0; r < ROUNDS; r++) {
		gva_t window = vm->test_gva + r * SZ_4K, gva = base + r * span;
		gpa_t data = frame_gpa(vm, r);

		vm_map(vm, window, data, SZ_4K, 1, PTE_W | PTE_A | PTE_D);
		for (i = 0; i < 2; i++)
			pte[i] = page_pte(vm, 32 + 2 * r + i);
		memset(vm_hva(vm, data), 0, SZ_4K);
		memcpy(vm_hva(vm, data), &pte[0], m->pte_size);
		aspace_make_tables(&vm->as, gva, 2);
		/* It has the translation before the other begins. */
		op_write(writer, window + 2048, 0);
		op_wait(writer, linked, 1 + r);
		op_add(writer, .kind = AGENT_SET_PTE, .addr = window, .size = m->pte_size,
		       .value = pte[1]);
		op_signal(writer, stored, 1 + r);

		op_signal(user, linked, 1 + r);
		op_add(user, .kind = AGENT_SET_PTE, .addr = aspace_pte_gpa(&vm->as, gva, 2),
		       .size = m->pte_size, .value = table_pte(m, 2, data));
		early[r] = op_read(user, gva);
		op_wait(user, stored, 1 + r);
		op_invlpg(user, gva);
		late[r] = op_read(user, gva);
	}
	race_start(vm, seed);
	race_join(vm);
	for (r = 0; r < ROUNDS; r++) {
		u64 got = op_result(user, early[r]).value;

		EXPECT(got == frame_id(32 + 2 * r) || got == frame_id(33 + 2 * r),
		       "table %u: %#lx is neither frame", r, got);
		EXPECT_VALUE(op_result(user, late[r]), frame_id(33 + 2 * r), "table %u", r);
	}
	vm_destroy(vm);
}

TEST(becomes_table, .what = "a store beside a frame's becoming a table counts", .modes = MODES_FEW,
     .fixes = (const char *const[]){"f81602958c11", NULL})
{
	race(t, RACE_SEEDS, becomes_once);
}

/* --- arithmetic on entries ----------------------------------------------------------------------- */

static const char *const ops[] = {"xadd", "or", NULL};

/* Both vCPUs count in an entry that is not present, of a table at @level that is in use. */
static void arithmetic_once(struct test *t, unsigned int seed)
{
	struct vm *vm = edit_vm(t);
	const struct paging_mode *m = vm->mode;
	u64 span = level_size(m, 2), want = 0;
	gva_t gva = vm->test_gva;
	bool or = t->variant_idx;
	u32 i, k;
	gpa_t at;

	vm_map(vm, gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W | PTE_A | PTE_D);
	at = aspace_pte_gpa(&vm->as, gva, 2) + 3 * m->pte_size;
	race_warm(vm, gva);
	for (i = 0; i < 2; i++) {
		for (k = 0; k < 10; k++) {
			u64 value = or ? 2ull << (2 * k + i) : i ? 0x1000 : 2;

			op_add(vm->vcpu[i], .kind = or ? AGENT_OR : AGENT_XADD, .addr = at,
			       .size = 4, .value = value);
			want += value;
		}
		op_read(vm->vcpu[i], gva);
	}
	race_start(vm, seed);
	race_join(vm);
	EXPECT_EQ(*(u32 *)vm_hva(vm, at), want, "the entry, to which each vCPU did it 10 times");
	EXPECT_EQ(aspace_pte_gpa(&vm->as, gva + 3 * span, 2), at);
	vm_destroy(vm);
}

TEST(arithmetic, .what = "locked arithmetic on an entry of a table in use loses nothing",
     .modes = MODES_FEW, .variants = ops,
     .fixes = (const char *const[]){"0e0fee5c539b", "1c2361f667f3", NULL})
{
	race(t, RACE_SEEDS, arithmetic_once);
}

/* --- many address spaces ----------------------------------------------------------------------------- */

enum zap {
	ZAP_SLOT,
	ZAP_LIMIT,
	ZAP_DISCARD,
};
static const char *const zaps[] = {"slot", "limit", "discard", NULL};

#define SPACES 6

/* vCPUs go from space to space while the host zaps what they are in. */
static void spaces_once(struct test *t, unsigned int seed)
{
	struct vm *vm = edit_vm(t);
	struct memslot *other = slot_add(vm, 2, 512 * MiB, SZ_4K, MEM_ANON, 0);
	struct aspace as[SPACES];
	u32 read[2][2 * SPACES], i, k;

	for (k = 0; k < SPACES; k++) {
		as[k] = k ? aspace_create(vm) : vm->as;
		aspace_map(&as[k], vm->test_gva, frame_gpa(vm, 8 + k), SZ_4K, 1, PTE_W);
	}
	race_warm(vm, vm->test_gva);
	race_ready(vm);
	for (i = 0; i < 2; i++)
		for (k = 0; k < 2 * SPACES; k++) {
			op_load_cr3(vm->vcpu[i], as[(i ? 5 * k : k) % SPACES].root);
			read[i][k] = op_read(vm->vcpu[i], vm->test_gva);
		}
	race_start(vm, seed);
	for (k = 0; k < 2; k++) {
		switch (t->variant_idx) {
		case ZAP_SLOT:
			slot_delete(other);
			slot_readd(other);
			break;
		case ZAP_LIMIT:
			__kvm_ioctl(vm->fd, KVM_SET_NR_MMU_PAGES, (void *)(u64)(64 + k));
			break;
		case ZAP_DISCARD:
			/* Not what the spaces show. */
			memory_madvise(&vm->mem->mem, 0, 8 * SZ_4K, MADV_DONTNEED);
			break;
		}
	}
	race_join(vm);
	for (i = 0; i < 2; i++)
		for (k = 0; k < 2 * SPACES; k++)
			EXPECT_VALUE(op_result(vm->vcpu[i], read[i][k]),
				     frame_id(8 + (i ? 5 * k : k) % SPACES), "vCPU %u, load %u", i,
				     k);
	vm_destroy(vm);
}

TEST(spaces, .what = "whatever is zapped meanwhile, a vCPU is in the space that it loaded",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .variants = zaps,
     .fixes = (const char *const[]){"a955cad84cda", "7533377215b6", NULL})
{
	race(t, RACE_SEEDS, spaces_once);
}
