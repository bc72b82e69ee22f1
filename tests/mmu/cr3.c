// SPDX-License-Identifier: GPL-2.0-only
/*
 * Switching address spaces: after a load of CR3 every access goes through the
 * tables of the new root as they are in memory at that moment, whichever of them
 * were edited while another space was active. Only global pages and, with PCID
 * and bit 63 of the operand, translations of the same PCID may outlive the load
 * (SDM vol. 3 4.10.4.1, APM vol. 2 5.5).
 *
 * Under shadow paging a load of CR3 is where the hypervisor pays what it put
 * off: leaf tables that the guest may write freely ("out of sync") must be read
 * again. It remembers the last few roots so as not to build them anew, and each
 * of them, not only the one in use, may have gone out of date. Tables shared by
 * several spaces must be known as stale below each of them. What is missed shows
 * as a read from the frame that an entry named before its edit.
 */
#include <string.h>

#include "frames.h"

/* An entry that alternates between two values, each leading to a frame of its own. */
struct target {
	gva_t gva;
	gpa_t entry;
	u64 pte[2];
	u32 frame[2];
	u32 now; /* index of what is in memory */
};

#define TARGETS 3 /* of each space: entries at level 1, at level 2 and in the root */

struct space {
	struct aspace as;
	struct target target[TARGETS];
};

/* Two subtrees at entries of @level, the second only lent: its table serves the first too. */
static struct target make_target(struct vm *vm, const struct aspace *as, gva_t gva, gva_t other,
				 int level, u32 frame)
{
	struct target t = {.gva = gva, .frame = {frame, frame + 1}};

	aspace_map(as, gva, frame_gpa(vm, frame), SZ_4K, 1, PTE_W);
	aspace_map(as, other, frame_gpa(vm, frame + 1), SZ_4K, 1, PTE_W);
	t.entry = aspace_pte_gpa(as, gva, level);
	t.pte[0] = aspace_get_pte(as, gva, level);
	t.pte[1] = aspace_get_pte(as, other, level);
	if (frame / 2 % 4) { /* PAE has no such bits in its PDPTEs */
		u64 used =
			as->mode->id == PM_PAE && level == 3 ? 0 : PTE_A | (level == 1 ? PTE_D : 0);

		t.pte[0] |= used;
		t.pte[1] |= used;
	}
	return t;
}

static struct space make_space(struct vm *vm, u32 frame)
{
	const struct paging_mode *m = vm->mode;
	u64 top = level_size(m, m->levels), pde = level_size(m, 2);
	struct space s = {.as = aspace_create(vm)};
	gva_t gva = vm->test_gva;

	s.target[0] = make_target(vm, &s.as, gva, gva + SZ_4K, 1, frame);
	s.target[1] = make_target(vm, &s.as, gva + pde, gva + 2 * pde, 2, frame + 2);
	if (m->levels == 2)
		top *= 4; /* not on the entries just used */
	s.target[2] = make_target(vm, &s.as, gva + top, gva + 2 * top, m->levels, frame + 4);
	return s;
}

static u32 toggle(struct vcpu *v, struct target *t)
{
	t->now ^= 1;
	return op_add(v, .kind = AGENT_SET_PTE, .addr = t->entry, .value = t->pte[t->now],
		      .size = v->vm->mode->pte_size);
}

#define MAX_SPACES 16
#define STEPS	   80

/*
 * Random walk: edit an entry of some space, which may be active or not, load the
 * root of some space, read one of its targets.
 */
static void edit_and_switch(struct test *t, struct vm *vm, struct space *spaces, u32 nr)
{
	struct vcpu *v = vm->vcpu[0];
	struct {
		u32 op, space, target, frame;
	} read[STEPS];
	u32 i, space, target;

	op_clear(v);
	for (i = 0; i < nr * TARGETS; i++) { /* so that every entry has been used */
		op_load_cr3(v, spaces[i / TARGETS].as.root);
		op_read(v, spaces[i / TARGETS].target[i % TARGETS].gva);
	}
	for (i = 0; i < STEPS; i++) {
		space = test_rand(t) % nr;
		target = test_rand(t) % TARGETS;
		toggle(v, &spaces[space].target[target]);
		if (test_rand(t) % 4) /* mostly look at what was edited, at once */
			op_load_cr3(v, spaces[test_rand(t) % nr].as.root);
		else
			space = test_rand(t) % nr;
		op_load_cr3(v, spaces[space].as.root);
		read[i].op = op_read(v, spaces[space].target[target].gva);
		read[i].space = space;
		read[i].target = target;
		read[i].frame =
			spaces[space].target[target].frame[spaces[space].target[target].now];
	}
	vcpu_exec(v);
	for (i = 0; i < STEPS; i++)
		EXPECT_VALUE(op_result(v, read[i].op), frame_value(read[i].frame),
			     "%u spaces, step %u: space %u, target %u", nr, i, read[i].space,
			     read[i].target);
}

TEST(edits_between_loads,
     .what = "an edit in an active or inactive address space counts from the next CR3 load",
     .modes = MODES_PAGED, .fixes = (const char *const[]){"b53e84eed08b", "07ffaf343e34", NULL})
{
	static const u32 counts[] = {1, 2, 3, 5, MAX_SPACES};
	struct vm *vm = vm_create(t->mode);
	struct space spaces[MAX_SPACES];
	u32 i;

	number_frames(vm);
	for (i = 0; i < MAX_SPACES; i++)
		spaces[i] = make_space(vm, i * 2 * TARGETS);
	for (i = 0; i < ARRAY_LEN(counts); i++)
		edit_and_switch(t, vm, spaces, counts[i]);
}

TEST(many_spaces, .what = "address spaces beyond the number of remembered roots stay apart",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[40];
	u32 order[3 * ARRAY_LEN(as)], op[ARRAY_LEN(order)], i, n = ARRAY_LEN(as);

	number_frames(vm);
	for (i = 0; i < n; i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], vm->test_gva, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
		order[i] = i;
		order[2 * n - 1 - i] = i;
		order[2 * n + i] = test_rand(t) % n;
	}
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(order); i++) {
		op_load_cr3(v, as[order[i]].root);
		op[i] = op_read(v, vm->test_gva);
		op_write(v, vm->test_gva + SCRATCH, 0x1000 + i);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(order); i++)
		EXPECT_VALUE(op_result(v, op[i]), frame_value(order[i]), "load %u, space %u", i,
			     order[i]);
	for (i = 0; i < n; i++)
		EXPECT_GE(*frame_scratch(vm, i), 0x1000 + n, "space %u wrote to its own frame", i);
	/* The last writer of a frame is the last load of its space. */
	for (i = 2 * n; i < ARRAY_LEN(order); i++)
		EXPECT_GE(*frame_scratch(vm, order[i]), 0x1000 + i, "load %u", i);
}

TEST(reload, .what = "loading CR3 with the value that it has shows every edit so far, each time",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 op[24], i;

	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	op_clear(v);
	op_read(v, vm->test_gva);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		op_set_pte(v, &vm->as, vm->test_gva, 1, frame_pte(vm, i + 1, PTE_W | USED_BITS(i)));
		op_load_cr3(v, vm->as.root);
		op[i] = op_read(v, vm->test_gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++)
		EXPECT_VALUE(op_result(v, op[i]), frame_value(i + 1), "round %u", i);
}

/* The same leaf table in each of several spaces, edited in one of them, read in the others. */
TEST(shared_table, .what = "an edit of a leaf table counts in every address space that shares it",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[6];
	u32 op[ARRAY_LEN(as)][ARRAY_LEN(as)], i, j, n = ARRAY_LEN(as);
	gpa_t table = vm_alloc_table(vm);

	number_frames(vm);
	for (i = 0; i < n; i++) {
		as[i] = aspace_create(vm);
		aspace_link(&as[i], vm->test_gva, 2, table);
	}
	aspace_set_pte(&as[0], vm->test_gva, 1, frame_pte(vm, n, PTE_W));
	op_clear(v);
	for (i = 0; i < n; i++) {
		op_load_cr3(v, as[i].root);
		op_read(v, vm->test_gva);
	}
	for (i = 0; i < n; i++) {
		op_load_cr3(v, as[i].root);
		op_read(v, vm->test_gva);
		op_set_pte(v, &as[i], vm->test_gva, 1, frame_pte(vm, i, PTE_W | USED_BITS(i)));
		for (j = 0; j < n; j++) {
			op_load_cr3(v, as[(i + 1 + j) % n].root);
			op[i][j] = op_read(v, vm->test_gva);
		}
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++)
			EXPECT_VALUE(op_result(v, op[i][j]), frame_value(i),
				     "edited in space %u, read in space %u", i, (i + 1 + j) % n);
}

/* Appends stores that make the frame at @to hold what the table at @from does. */
static void op_copy_table(struct vcpu *v, gpa_t to, gpa_t from)
{
	u32 size = v->vm->mode->pte_size, i;
	u64 pte;

	for (i = 0; i < SZ_4K / size; i++) {
		pte = 0;
		memcpy(&pte, vm_hva(v->vm, from + i * size), size);
		if (pte)
			op_add(v, .kind = AGENT_SET_PTE, .addr = to + i * size, .value = pte,
			       .size = size);
	}
}

TEST(root_reused, .what = "a frame serves as leaf table, as root and as leaf table again",
     .modes = MODES_FEW)
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	struct aspace other = aspace_create(vm), reborn = {.vm = vm, .mode = m};
	u64 last = level_size(m, 2) - SZ_4K; /* the frame's last entry, which no root here uses */
	gva_t gva = vm->test_gva;
	u32 leaf[2][8], root[8], i;

	number_frames(vm);
	reborn.root = vm_alloc_table(vm);
	aspace_link(&vm->as, gva, 2, reborn.root);
	aspace_map(&other, gva, frame_gpa(vm, 100), SZ_4K, 1, PTE_W);
	op_clear(v);
	op_copy_table(v, reborn.root, other.root);
	for (i = 0; i < ARRAY_LEN(root); i++) {
		op_load_cr3(v, vm->as.root);
		op_set_pte(v, &vm->as, gva + last, 1, frame_pte(vm, 2 * i, PTE_W));
		leaf[0][i] = op_read(v, gva + last);
		op_load_cr3(v, reborn.root);
		root[i] = op_read(v, gva);
		op_set_pte(v, &vm->as, gva + last, 1, frame_pte(vm, 2 * i + 1, PTE_W));
		op_load_cr3(v, vm->as.root);
		leaf[1][i] = op_read(v, gva + last);
		/* Unmapped here, mapped anew above: that takes no flush. */
		op_set_pte(v, &vm->as, gva + last, 1, 0);
		op_invlpg(v, gva + last);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(root); i++) {
		EXPECT_VALUE(op_result(v, leaf[0][i]), frame_value(2 * i), "as a leaf, round %u",
			     i);
		EXPECT_VALUE(op_result(v, root[i]), frame_value(100), "as the root, round %u", i);
		EXPECT_VALUE(op_result(v, leaf[1][i]), frame_value(2 * i + 1),
			     "as a leaf again, round %u", i);
	}
}

/*
 * Shadow paging only: the hypervisor itself would have to read that root. With
 * nested paging the processor does, and runs into the same fault for ever.
 */
TEST(root_outside_memory,
     .what = "a root outside every memslot shuts down its vCPU and disturbs no other",
     .modes = MODE(PM_LA48) | MODE(PM_PAE), .meant_for = MMU_SHADOW,
     .fixes = (const char *const[]){"CVE-2009-2287", NULL})
{
	struct vm *vm;
	struct kvm_sregs sregs;
	struct vcpu *v;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	vm = vm_create(t->mode, .nr_vcpus = 2);
	v = vm->vcpu[0];
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 7), SZ_4K, 1, PTE_W);
	EXPECT_VALUE(__guest_read(v, vm->test_gva), frame_value(7));
	sregs = vcpu_sregs(v);
	sregs.cr3 = 0x50000000;
	/* Refusing it is as good. */
	if (__vcpu_set_sregs(v, &sregs) == 0) {
		EXPECT_EQ(__vcpu_run(v), 0);
		EXPECT_EQ_NAMED(exit_reason_name, v->run->exit_reason, KVM_EXIT_SHUTDOWN);
	}
	EXPECT_VALUE(__guest_read(vm->vcpu[1], vm->test_gva), frame_value(7));
}

/*
 * With PCIDs a load drops the translations of its own PCID, or with bit 63 set
 * possibly none. So after a load without the bit the answer is certain, after one
 * with it the old frame is allowed too, until INVLPG.
 */
TEST(pcid, .what = "CR3 loads under PCID, with and without bit 63", .modes = MODE(PM_LA48))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[5];
	u32 plain[ARRAY_LEN(as)], kept[ARRAY_LEN(as)], dropped[ARRAY_LEN(as)], cr3, i;
	u32 n = ARRAY_LEN(as);

	require_cpu(CPU_PCID);
	number_frames(vm);
	for (i = 0; i < n; i++) {
		as[i] = aspace_create(vm);
		aspace_map(&as[i], vm->test_gva, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
		as[i].root |= i + 1;
	}
	guest_set_cr(v, 4, guest_get_cr(v, 4) | CR4_PCIDE);
	op_clear(v);
	for (i = 0; i < n; i++) {
		op_load_cr3(v, as[i].root);
		plain[i] = op_read(v, vm->test_gva);
	}
	for (i = 0; i < n; i++)
		op_add(v, .kind = AGENT_SET_PTE, .size = 8,
		       .addr = aspace_pte_gpa(&(struct aspace){vm, t->mode, as[i].root & ~0xfffull},
					      vm->test_gva, 1),
		       .value = frame_pte(vm, 10 + i, PTE_W));
	for (i = 0; i < n; i++) {
		op_load_cr3(v, as[i].root | CR3_NOFLUSH);
		cr3 = op_add(v, .kind = AGENT_READ_CR, .addr = 3);
		kept[i] = op_read(v, vm->test_gva);
		if (i % 2)
			op_invlpg(v, vm->test_gva);
		else
			op_load_cr3(v, as[i].root);
		dropped[i] = op_read(v, vm->test_gva);
	}
	vcpu_exec(v);
	for (i = 0; i < n; i++) {
		EXPECT_VALUE(op_result(v, plain[i]), frame_value(i), "PCID %u", i + 1);
		EXPECT_FRAME_EITHER(op_result(v, kept[i]), i, 10 + i, "PCID %u, bit 63", i + 1);
		EXPECT_VALUE(op_result(v, dropped[i]), frame_value(10 + i), "PCID %u", i + 1);
	}
	EXPECT_VALUE(op_result(v, cr3), as[n - 1].root, "bit 63 does not read back");
	guest_load_cr3(v, &vm->as);
	guest_set_cr(v, 4, guest_get_cr(v, 4) & ~CR4_PCIDE);
	EXPECT_FAULT(
		guest_op(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = vm->as.root | CR3_NOFLUSH),
		GP_VECTOR, 0, "bit 63 is reserved without PCIDs");
}

/* PDPTEs are registers: what memory says counts with the next load, be it of the same value. */
TEST(pdpte_changed, .what = "loading the CR3 that is loaded follows changed PDPTEs",
     .modes = MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[2];
	gva_t gva = vm->test_gva;
	u64 pdpte[2];
	u32 round, read, s;

	number_frames(vm);
	for (s = 0; s < 2; s++) {
		as[s] = aspace_create(vm);
		aspace_map(&as[s], gva, frame_gpa(vm, s), SZ_4K, 1, PTE_W);
		pdpte[s] = aspace_get_pte(&as[s], gva, 3);
	}
	guest_load_cr3(v, &as[0]);
	for (round = 0; round < 6; round++) {
		/* The same twice, as well. */
		s = round / 2 % 2;
		op_clear(v);
		op_add(v, .kind = AGENT_SET_PTE, .addr = aspace_pte_gpa(&as[0], gva, 3), .size = 8,
		       .value = pdpte[s]);
		op_load_cr3(v, as[0].root);
		read = op_read(v, gva);
		vcpu_exec(v);
		EXPECT_VALUE(op_result(v, read), frame_value(s), "round %u", round);
	}
}
