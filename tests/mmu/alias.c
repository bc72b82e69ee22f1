// SPDX-License-Identifier: GPL-2.0-only
/*
 * Aliases: a frame reached through many addresses, a table reached through many
 * upper entries, a frame that is table and data at once. Rights are the sum of
 * what the path denies, so the same table grants different things at different
 * entries; and a store through whatever address changes the one table there is.
 *
 * A shadow MMU keeps one shadow per table and set of inherited rights. Keyed by
 * the wrong rights, a read-only path becomes writable. Before it may trust a
 * shadow it must find and write-protect every mapping of the table's frame,
 * however many there are. When an out-of-sync table, or an upper table with such
 * tables below, gets a further parent, that path must not start out stale, and
 * the new parent must know what there is to synchronise later.
 */
#include <string.h>

#include "frames.h"

/* A mapping of one frame with what it allows. */
struct alias {
	gva_t gva;
	u64 bits;
	u32 read, write, user_read, user_write; /* operations */
};

static void op_accesses(struct vcpu *v, struct alias *a, u32 value)
{
	a->user_read = op_user_read(v, a->gva);
	a->read = op_read(v, a->gva);
	a->write = op_write(v, a->gva + SCRATCH, value);
	a->user_write = op_user_write(v, a->gva + SCRATCH, value + 1);
}

/* CR0.WP is on. */
static void expect_accesses(struct vcpu *v, const struct alias *a, u32 frame, const char *what)
{
	bool w = a->bits & PTE_W, u = a->bits & PTE_U;

	EXPECT_VALUE(op_result(v, a->read), frame_value(frame), "%s, gva %#lx", what, a->gva);
	if (w)
		EXPECT_OK(op_result(v, a->write), "%s, gva %#lx", what, a->gva);
	else
		EXPECT_PF(op_result(v, a->write), PFERR_P | PFERR_W, a->gva + SCRATCH, "%s", what);
	if (u)
		EXPECT_VALUE(op_result(v, a->user_read), frame_value(frame), "%s, gva %#lx", what,
			     a->gva);
	else
		EXPECT_PF(op_result(v, a->user_read), PFERR_P | PFERR_U, a->gva, "%s", what);
	if (w && u)
		EXPECT_OK(op_result(v, a->user_write), "%s, gva %#lx", what, a->gva);
	else
		EXPECT_PF(op_result(v, a->user_write), PFERR_P | PFERR_W | PFERR_U,
			  a->gva + SCRATCH, "%s", what);
}

static const u64 rights[] = {0, PTE_W | PTE_U, PTE_U, PTE_W, 0, PTE_W | PTE_U};

#define LINKS ARRAY_LEN(rights)

TEST(one_frame, .what = "each of many mappings of a frame has its own rights", .modes = MODES_FEW,
     .fixes = (const char *const[]){"d28c6cfbbc5e", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m, .mem_size = 8 * MiB);
	struct vcpu *v = vm->vcpu[0];
	struct alias small[LINKS], large[LINKS];
	u64 big = level_size(m, 2);
	u32 i, round;

	number_frames(vm);
	for (i = 0; i < LINKS; i++) {
		small[i] = (struct alias){vm->test_gva + i * SZ_4K, rights[i], 0, 0, 0, 0};
		large[i] = (struct alias){
			vm->test_gva + (i + 1) * big + 9 * SZ_4K, rights[i], 0, 0, 0, 0};
		vm_map(vm, small[i].gva, frame_gpa(vm, 9), SZ_4K, 1, rights[i]);
		vm_map(vm, large[i].gva & ~(big - 1), frame_gpa(vm, 0), big, 2, rights[i]);
	}
	for (round = 0; round < 2; round++) {
		op_clear(v);
		for (i = 0; i < LINKS; i++) {
			op_accesses(v, &small[i], 0x100 * round + 4 * i);
			op_accesses(v, &large[i], 0x100 * round + 4 * i + 2);
		}
		vcpu_exec(v);
		for (i = 0; i < LINKS; i++) {
			expect_accesses(v, &small[i], 9, "small page");
			expect_accesses(v, &large[i], 9, "large page");
		}
		EXPECT_EQ(*frame_scratch(vm, 9), 0x100 * round + 4 * (LINKS - 1) + 3);
	}
}

static void check_links(struct vcpu *v, const struct aspace *as, struct alias (*links)[LINKS],
			u32 frame, u64 bits, const char *what)
{
	struct alias want;
	u32 s, i;

	op_clear(v);
	for (s = 0; s < 2; s++) {
		op_load_cr3(v, as[s].root);
		for (i = 0; i < LINKS; i++)
			op_accesses(v, &links[s][i], 0x100 * s + 4 * i);
	}
	op_load_cr3(v, as[0].root);
	vcpu_exec(v);
	for (s = 0; s < 2; s++) {
		for (i = 0; i < LINKS; i++) {
			want = links[s][i];
			want.bits &= bits;
			expect_accesses(v, &want, frame, what);
		}
	}
}

TEST(table_with_rights,
     .what = "a leaf table linked with different rights grants each path its own",
     .modes = MODES_PAGED, .fixes = (const char *const[]){"d28c6cfbbc5e", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace as[2] = {vm->as, aspace_create(vm)};
	gpa_t table = vm_alloc_table(vm);
	struct alias links[2][LINKS];
	u32 s, i;

	number_frames(vm);
	for (s = 0; s < 2; s++) {
		for (i = 0; i < LINKS; i++) {
			gva_t gva = vm->test_gva + i * level_size(t->mode, 2);
			u64 bits = rights[(i + s) % LINKS]; /* not alike in both spaces */

			aspace_link(&as[s], gva, 2, table);
			aspace_set_pte(&as[s], gva, 2, table | PTE_P | bits);
			links[s][i] = (struct alias){gva, bits, 0, 0, 0, 0};
		}
	}
	aspace_set_pte(&as[0], vm->test_gva, 1, frame_pte(vm, 1, PTE_W | PTE_U));
	check_links(v, as, links, 1, ~0ull, "as built");
	guest_set_pte(v, &as[0], vm->test_gva, 1, frame_pte(vm, 2, PTE_W | PTE_U));
	check_links(v, as, links, 2, ~0ull, "other frame");
	guest_set_pte(v, &as[0], vm->test_gva, 1, frame_pte(vm, 2, PTE_U));
	check_links(v, as, links, 2, ~PTE_W, "read-only leaf");
	guest_set_pte(v, &as[0], vm->test_gva, 1, frame_pte(vm, 3, PTE_W));
	check_links(v, as, links, 3, ~PTE_U, "supervisor leaf");
	guest_set_pte(v, &as[0], vm->test_gva, 1, frame_pte(vm, 4, PTE_W | PTE_U));
	check_links(v, as, links, 4, ~0ull, "all again");
}

/*
 * A directory linked twice, writable and read-only, with a read-only and a
 * writable table in it: four paths, one of them writable. Whatever is touched
 * first, the directory's shadow must be keyed by what the levels above it grant,
 * not by what the path's lower part happens to deny.
 */
TEST(inherited_rights, .what = "rights denied above or below a shared table stay apart",
     .modes = MODES_64, .fixes = (const char *const[]){"b1bd5cba3306", "CVE-2021-38198", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 4 * MiB);
	struct vcpu *v = vm->vcpu[0];
	u32 write[24][4], first, i;
	int level;

	number_frames(vm);
	for (level = 3; level <= t->mode->levels; level++) {
		u64 span = level_size(t->mode, level), below = level_size(t->mode, level - 1);
		gva_t base = vm->test_gva + 2 * span, path[4];
		u64 pte;

		op_clear(v);
		for (first = 0; first < 4; first++, base += 2 * span) {
			for (i = 0; i < 4; i++)
				path[i] = base + i / 2 * span + i % 2 * below;
			vm_map(vm, path[0], frame_gpa(vm, 1), SZ_4K, 1, PTE_W | PTE_U);
			vm_map(vm, path[1], frame_gpa(vm, 2), SZ_4K, 1, PTE_W | PTE_U);
			pte = aspace_get_pte(&vm->as, path[0], level - 1);
			aspace_set_pte(&vm->as, path[0], level - 1, pte & ~PTE_W);
			pte = aspace_get_pte(&vm->as, path[0], level);
			aspace_link(&vm->as, path[2], level, pte & PTE_ADDR_MASK);
			aspace_set_pte(&vm->as, path[2], level, pte & ~PTE_W);
			for (i = 0; i < 4; i++)
				op_user_read(v, path[(first + i) % 4]);
			for (i = 0; i < 4; i++)
				write[first][i] = op_user_write(v, path[i] + SCRATCH, i);
		}
		vcpu_exec(v);
		for (first = 0; first < 4; first++) {
			for (i = 0; i < 4; i++) {
				struct agent_result res = op_result(v, write[first][i]);

				EXPECT_EQ(res.status, i == 1 ? AGENT_OK : AGENT_FAULT,
					  "level %d, path %u read first, write through path %u",
					  level, first, i);
				if (i != 1 && res.status == AGENT_FAULT)
					EXPECT_EQ(res.error, PFERR_P | PFERR_W | PFERR_U);
			}
		}
	}
}

/* A directory used as leaf table too: its entries then map tables as data. */
TEST(two_levels, .what = "one table serves at two levels, and an edit counts at both",
     .modes = MODES_64 | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva, window = 2 * vm->test_gva;
	u64 pde[2];
	u32 op[8][2], i;

	number_frames(vm);
	for (i = 0; i < 2; i++) {
		vm_map(vm, gva + i * SZ_2M, frame_gpa(vm, i), SZ_4K, 1, PTE_W);
		pde[i] = aspace_get_pte(&vm->as, gva + i * SZ_2M, 2) | PTE_A | PTE_D;
		/* The first entry's accessed bit may be set by then. */
		aspace_set_pte(&vm->as, gva + i * SZ_2M, 1,
			       frame_pte(vm, i, PTE_W | PTE_A | PTE_D));
	}
	aspace_link(&vm->as, window, 2, aspace_pte_gpa(&vm->as, gva, 2));
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		op_set_pte(v, &vm->as, gva, 2, pde[i % 2]);
		op_load_cr3(v, vm->as.root);
		if (i / 2 % 2) /* either level first */
			op[i][0] = op_read(v, gva);
		op[i][1] = op_read(v, window);
		if (i / 2 % 2 == 0)
			op[i][0] = op_read(v, gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		EXPECT_VALUE(op_result(v, op[i][0]), frame_value(i % 2), "as a directory, %u", i);
		EXPECT_VALUE(op_result(v, op[i][1]),
			     (u32)frame_pte(vm, i % 2, PTE_W | PTE_A | PTE_D),
			     "as a leaf table, %u", i);
	}
}

/*
 * Frame @data of slot 1 is in turn a table at @level, its first entry stored
 * through a data mapping by ring 0 or ring 3, and data, filled and read back.
 */
static void table_and_data(struct vm *vm, int level, u32 data, bool user)
{
	const struct paging_mode *m = vm->mode;
	struct vcpu *v = vm->vcpu[0];
	u64 span = level_size(m, level + 1);
	gva_t window = vm->test_gva + data * SZ_4K;
	gva_t gva = vm->test_gva + (2 + 4 * user) * span, lent = gva + span;
	u32 flags = user ? AGENT_USER : 0, size = m->pte_size, read[6][2], check[6], i, j;
	u64 pte[2];

	vm_map(vm, window, frame_gpa(vm, data), SZ_4K, 1, PTE_W | PTE_U);
	for (i = 0; i < 2; i++) {
		vm_map(vm, lent + i * level_size(m, level), frame_gpa(vm, 100 + i), SZ_4K, 1,
		       PTE_W);
		pte[i] = aspace_get_pte(&vm->as, lent + i * level_size(m, level), level);
	}
	aspace_link(&vm->as, gva, level + 1, frame_gpa(vm, data));
	/* So that no half of an entry is left over from the frame's number. */
	memset(vm_hva(vm, frame_gpa(vm, data)), 0, SZ_4K);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(check); i++) {
		for (j = 0; j < 2; j++) {
			op_add(v, .kind = AGENT_WRITE, .addr = window, .value = pte[(i + j) % 2],
			       .size = 4, .flags = flags);
			op_load_cr3(v, vm->as.root);
			read[i][j] = op_read(v, gva);
		}
		op_add(v, .kind = AGENT_SET_PTE, .size = size, .value = 0,
		       .addr = aspace_pte_gpa(&vm->as, gva, level + 1));
		op_invlpg(v, gva);
		op_add(v, .kind = AGENT_TOUCH_WRITE, .addr = window, .arg = 64, .size = 4,
		       .value = SZ_4K / 64, .arg2 = 0x1000 * i, .flags = flags);
		check[i] = op_add(v, .kind = AGENT_TOUCH_CHECK, .addr = window, .arg = 64,
				  .size = 4, .value = SZ_4K / 64, .arg2 = 0x1000 * i);
		op_add(v, .kind = AGENT_WRITE, .addr = window, .value = pte[i % 2], .size = 4,
		       .flags = flags);
		op_add(v, .kind = AGENT_SET_PTE, .size = size,
		       .value = table_pte(m, level + 1, frame_gpa(vm, data)),
		       .addr = aspace_pte_gpa(&vm->as, gva, level + 1));
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(check); i++) {
		for (j = 0; j < 2; j++)
			EXPECT_VALUE(op_result(v, read[i][j]), frame_value(100 + (i + j) % 2),
				     "level %d, ring %u, round %u.%u", level, user ? 3 : 0, i, j);
		EXPECT_VALUE(op_result(v, check[i]), SZ_4K / 64,
			     "level %d, ring %u, data, round %u", level, user ? 3 : 0, i);
	}
}

TEST(table_and_data, .what = "a frame is table and data in turn, written by ring 0 and ring 3",
     .modes = MODES_FEW)
{
	struct vm *vm = vm_create(t->mode);

	number_frames(vm);
	table_and_data(vm, 1, 1, false);
	table_and_data(vm, 1, 2, true);
	if (t->mode->levels > 3) { /* a PAE directory hangs below a register */
		table_and_data(vm, 2, 3, false);
		table_and_data(vm, 2, 4, true);
	}
}

#define MAPPINGS 40

/* A table's frame, mapped writable and written at @MAPPINGS addresses before it is linked. */
static void writable_aliases(struct vm *vm, int level, u32 data)
{
	const struct paging_mode *m = vm->mode;
	struct vcpu *v = vm->vcpu[0];
	gva_t alias = vm->test_gva + data * MAPPINGS * SZ_4K;
	gva_t gva = vm->test_gva + 2 * level_size(m, level + 1),
	      lent = gva + level_size(m, level + 1);
	u32 op[MAPPINGS], i;
	u64 pte[2];

	for (i = 0; i < 2; i++) {
		vm_map(vm, lent + i * level_size(m, level), frame_gpa(vm, 100 + i), SZ_4K, 1,
		       PTE_W);
		pte[i] = aspace_get_pte(&vm->as, lent + i * level_size(m, level), level);
	}
	aspace_link(&vm->as, gva, level + 1, frame_gpa(vm, data));
	memset(vm_hva(vm, frame_gpa(vm, data)), 0, SZ_4K);
	op_clear(v);
	for (i = 0; i < MAPPINGS; i++) {
		vm_map(vm, alias + i * SZ_4K, frame_gpa(vm, data), SZ_4K, 1, PTE_W);
		op_write(v, alias + i * SZ_4K, pte[0]);
	}
	op_read(v, gva);
	for (i = 0; i < MAPPINGS; i++) {
		op_write(v, alias + (i * 7) % MAPPINGS * SZ_4K, pte[i % 2]);
		if (i % 3)
			op_invlpg(v, gva);
		else
			op_load_cr3(v, vm->as.root);
		op[i] = op_read(v, gva);
	}
	vcpu_exec(v);
	for (i = 0; i < MAPPINGS; i++)
		EXPECT_VALUE(op_result(v, op[i]), frame_value(100 + i % 2),
			     "level %d, written through alias %u", level, i * 7 % MAPPINGS);
}

TEST(writable_aliases, .what = "a table's frame has many writable mappings; none is overlooked",
     .modes = MODES_FEW, .fixes = (const char *const[]){"f81602958c11", NULL})
{
	struct vm *vm = vm_create(t->mode);

	number_frames(vm);
	writable_aliases(vm, 1, 1);
	if (t->mode->levels > 3)
		writable_aliases(vm, 2, 2);
}

#define FRESH 4 /* pages of a table that are edited before it is linked anew */

static void op_set_pages(struct vcpu *v, gva_t gva, u32 frame)
{
	u32 i;

	for (i = 0; i < FRESH; i++)
		op_set_pte(v, &v->vm->as, gva + i * SZ_4K, 1,
			   frame_pte(v->vm, frame + i, PTE_W | USED_BITS(i)));
}

/* Index of the first of the reads. */
static u32 op_read_pages(struct vcpu *v, gva_t gva)
{
	u32 first = op_read(v, gva), i;

	for (i = 1; i < FRESH; i++)
		op_read(v, gva + i * SZ_4K);
	return first;
}

static void expect_pages(struct vcpu *v, u32 op, u32 frame, const char *what, u32 nr)
{
	u32 i;

	for (i = 0; i < FRESH; i++)
		EXPECT_VALUE(op_result(v, op + i), frame_value(frame + i), "%s %u, page %u", what,
			     nr, i);
}

/*
 * A leaf table is edited and not flushed, so its first address may still show
 * the old frames. Then an upper entry that was absent links it, or a directory
 * above it: that path was never used, nothing of it can be cached. The first
 * page's fault brings the path about; the others must not find there what was
 * left of the old one.
 */
TEST(fresh_link, .what = "a path made after an edit shows it without a flush", .modes = MODES_PAGED,
     .fixes = (const char *const[]){"65855ed8b034", NULL})
{
	const struct paging_mode *m = t->mode;
	struct vm *vm = vm_create(m);
	struct vcpu *v = vm->vcpu[0];
	u32 fresh[PAGING_MAX_LEVEL + 1], again[PAGING_MAX_LEVEL + 1];
	int level, top = m->id == PM_PAE ? 2 : m->levels;

	number_frames(vm);
	op_clear(v);
	for (level = 2; level <= top; level++) {
		u64 span = level_size(m, level);
		gva_t gva = vm->test_gva + 2 * span, other = gva + span;
		u32 frame = 32 * level;

		vm_map(vm, gva, frame_gpa(vm, frame), FRESH * SZ_4K, 1, PTE_W);
		op_read_pages(v, gva);
		op_set_pages(v, gva, frame + 8);
		aspace_make_tables(&vm->as, other, level);
		op_add(v, .kind = AGENT_SET_PTE, .addr = aspace_pte_gpa(&vm->as, other, level),
		       .value = aspace_get_pte(&vm->as, gva, level), .size = m->pte_size);
		fresh[level] = op_read_pages(v, other);
		op_set_pages(v, gva, frame + 16);
		op_load_cr3(v, vm->as.root);
		again[level] = op_read_pages(v, other);
	}
	vcpu_exec(v);
	for (level = 2; level <= top; level++) {
		expect_pages(v, fresh[level], 32 * level + 8, "linked at level", level);
		expect_pages(v, again[level], 32 * level + 16, "edited again, level", level);
	}
}

/*
 * The same across spaces: the table is already out of sync when the second
 * space links it, is edited once more there, and that space's root is loaded.
 */
TEST(fresh_link_elsewhere,
     .what = "a table edited in one space and linked in another counts there after a load",
     .modes = MODES_FEW, .fixes = (const char *const[]){"65855ed8b034", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct aspace other = aspace_create(vm);
	u64 span = level_size(t->mode, 2);
	u32 fresh[12], loaded[12], i;

	number_all_frames(vm);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(fresh); i++) {
		gva_t gva = vm->test_gva + i * span;

		vm_map(vm, gva, frame_gpa(vm, 32 * i), FRESH * SZ_4K, 1, PTE_W);
		aspace_make_tables(&other, gva, 2);
		op_load_cr3(v, vm->as.root);
		op_read_pages(v, gva);
		op_set_pages(v, gva, 32 * i + 8);
		op_load_cr3(v, other.root);
		op_add(v, .kind = AGENT_SET_PTE, .addr = aspace_pte_gpa(&other, gva, 2),
		       .value = aspace_get_pte(&vm->as, gva, 2), .size = t->mode->pte_size);
		fresh[i] = op_read_pages(v, gva);
		op_set_pages(v, gva, 32 * i + 16);
		op_load_cr3(v, other.root);
		loaded[i] = op_read_pages(v, gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(fresh); i++) {
		expect_pages(v, fresh[i], 32 * i + 8, "linked, round", i);
		expect_pages(v, loaded[i], 32 * i + 16, "loaded, round", i);
	}
}

/*
 * Two leaf tables, each mapping the other's frame, edited through these windows
 * in turn, the windows' own entries as well. Synchronising one must not map the
 * other writable again once that one counts as synchronised.
 */
TEST(tables_map_each_other, .what = "two tables edited through each other stay right",
     .modes = MODES_FEW, .fixes = (const char *const[]){"36a2e6774bfb", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 size = t->mode->pte_size, op[16][2], i, j;
	u64 bits = PTE_W | PTE_A | PTE_D;
	gpa_t table[2];
	gva_t gva[2];

	number_frames(vm);
	for (j = 0; j < 2; j++) {
		gva[j] = vm->test_gva + j * level_size(t->mode, 2);
		vm_map(vm, gva[j], frame_gpa(vm, 100 + j), SZ_4K, 1, PTE_W);
		table[j] = aspace_pte_gpa(&vm->as, gva[j], 1);
	}
	for (j = 0; j < 2; j++) /* its second page shows the other table */
		vm_map(vm, gva[j] + SZ_4K, table[!j], SZ_4K, 1, bits);
	op_clear(v);
	for (i = 0; i < ARRAY_LEN(op); i++) {
		for (j = 0; j < 2; j++)
			op_read(v, gva[j]);
		for (j = 0; j < 2; j++) {
			op_add(v, .kind = AGENT_SET_PTE, .addr = gva[!j] + SZ_4K, .size = size,
			       .value = frame_pte(vm, 2 * i + j, PTE_W));
			op_add(v, .kind = AGENT_SET_PTE, .addr = gva[!j] + SZ_4K + size,
			       .size = size,
			       .value = table[!j] | bits | PTE_P | (i % 2 ? PTE_SW0 : 0));
		}
		op_load_cr3(v, vm->as.root);
		for (j = 0; j < 2; j++)
			op[i][j] = op_read(v, gva[j]);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(op); i++)
		for (j = 0; j < 2; j++)
			EXPECT_VALUE(op_result(v, op[i][j]), frame_value(2 * i + j),
				     "round %u, table %u", i, j);
}
