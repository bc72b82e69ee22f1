// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rights that depend on how the processor is set, and on what stands above a
 * table: shadow pages of several roles alive at the same time.
 *
 * What an entry allows depends on CR0.WP, CR4.SMEP, CR4.SMAP and EFER.NX, and on
 * the rights of the entries above. A shadow page has all that baked in, so it
 * is found again only under the same settings and the same inherited rights: they
 * are in its key (its role). If one is missing there, a mapping made under the
 * lenient setting is found again under the strict one, and an access that must
 * fault passes, or the other way round and a fault never ends. It shows only when
 * the guest goes back and forth while both kinds are cached.
 *
 * The rules that the model below states in a few lines: SDM vol. 3 4.6 and 4.7.
 */
#include <stdio.h>

#include "frames.h"

/*
 * A tree with two entries at level 3 (64-bit), two at level 2 and four pages:
 * directories and last-level tables are shared, so that the same table is
 * reached with different rights.
 */
#define PAGES 4

struct rig {
	struct vm *vm;
	struct vcpu *v;
	const struct paging_mode *m;
	bool nx, smep_cpu, smap_cpu;
	u32 tops;	 /* 2 in 64-bit modes, else 1 */
	u64 leaf[PAGES]; /* rights: PTE_W, PTE_U, PTE_NX */
	u64 mid[2], top[2];
	bool wp, smep, smap, nxe;
	gpa_t pt;
	u32 steps;
};

static gva_t rig_gva(const struct rig *r, u32 top, u32 mid, u32 page)
{
	return r->vm->test_gva + (u64)top * SZ_1G + mid * level_size(r->m, 2) + (page + 16) * SZ_4K;
}

static struct rig rig_create(const struct paging_mode *m)
{
	struct rig r = {.m = m, .wp = true};
	gpa_t pd = 0;
	u32 i;

	r.vm = vm_create(m, .mem_size = 1 * MiB);
	r.v = r.vm->vcpu[0];
	r.tops = m->long_mode ? 2 : 1;
	r.nx = r.nxe = m->pte_size == 8 && cpu_has(&CPU_NX);
	/* Where TCG marks PDPTEs as accessed, a change of CR4.SMEP, which loads them, is #GP. */
	r.smep_cpu = cpu_has(&CPU_SMEP) && !(m->id == PM_PAE && quirk_pdpte_accessed());
	r.smap_cpu = cpu_has(&CPU_SMAP);
	number_frames(r.vm);
	for (i = 0; i < PAGES; i++) {
		r.leaf[i] = PTE_W | PTE_U;
		vm_map(r.vm, rig_gva(&r, 0, 0, i), frame_gpa(r.vm, i), SZ_4K, 1,
		       r.leaf[i] | PTE_A | PTE_D);
		place_function(r.vm, frame_gpa(r.vm, i), 0x600 + i);
		frame_word(r.vm, i)[64] = frame_id(i);
	}
	r.pt = pte_addr(m, aspace_get_pte(&r.vm->as, rig_gva(&r, 0, 0, 0), 2), 2);
	aspace_link(&r.vm->as, rig_gva(&r, 0, 1, 0), 2, r.pt);
	if (r.tops == 2) {
		pd = pte_addr(m, aspace_get_pte(&r.vm->as, r.vm->test_gva, 3), 3);
		aspace_link(&r.vm->as, rig_gva(&r, 1, 0, 0), 3, pd);
	}
	for (i = 0; i < 2; i++)
		r.mid[i] = r.top[i] = PTE_W | PTE_U;
	return r;
}

/* What the architecture says about one access, given the settings of the moment. */
static bool allowed(const struct rig *r, u32 kind, u32 flags, u32 top, u32 mid, u32 page,
		    u64 *error)
{
	u64 both = r->leaf[page] & r->mid[mid] & (r->tops == 2 ? r->top[top] : ~0ull);
	u64 any = r->leaf[page] | r->mid[mid] | (r->tops == 2 ? r->top[top] : 0);
	bool user = flags & AGENT_USER, write = kind == AGENT_WRITE, fetch = kind == AGENT_EXEC;
	bool user_page = both & PTE_U, ok = true;

	*error = PFERR_P | (write ? PFERR_W : 0) | (user ? PFERR_U : 0) |
		 (fetch && (r->nxe || r->smep) ? PFERR_F : 0);
	if ((any & PTE_NX) && !r->nxe) {
		*error |= PFERR_RSVD;
		return false;
	}
	if (user && !user_page)
		ok = false;
	if (write && !(both & PTE_W) && (user || r->wp))
		ok = false;
	if (fetch && (any & PTE_NX))
		ok = false;
	if (fetch && !user && user_page && r->smep)
		ok = false;
	if (!fetch && !user && user_page && r->smap && !(flags & AGENT_AC))
		ok = false;
	return ok;
}

static const struct {
	u32 kind, flags;
} accesses[] = {
	{AGENT_READ, 0},	  {AGENT_WRITE, 0},	     {AGENT_EXEC, 0},
	{AGENT_READ, AGENT_USER}, {AGENT_WRITE, AGENT_USER}, {AGENT_EXEC, AGENT_USER},
	{AGENT_READ, AGENT_AC},	  {AGENT_WRITE, AGENT_AC},
};

struct wanted {
	u32 index, access, page, step;
	gva_t gva;
	bool ok;
	u64 error;
	char state[64];
};

static void op_settings(struct rig *r)
{
	u64 cr4 = (r->m->pte_size == 8 ? CR4_PAE : CR4_PSE) | (r->smep ? CR4_SMEP : 0) |
		  (r->smap ? CR4_SMAP : 0);

	op_add(r->v, .kind = AGENT_WRITE_CR, .addr = 0,
	       .value = CR0_PE | CR0_ET | CR0_NE | CR0_PG | (r->wp ? CR0_WP : 0));
	op_add(r->v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4);
	if (r->nx)
		op_add(r->v, .kind = AGENT_WRMSR, .addr = MSR_EFER,
		       .value = (r->m->long_mode ? EFER_LME | EFER_LMA : 0) |
				(r->nxe ? EFER_NX : 0));
	/* A processor need not look again at what it has cached unless it is told to. */
	op_load_cr3(r->v, r->vm->as.root);
}

/*
 * Two gaps that KVM's shadow paging is known to have and that are avoided here:
 * pages that were used with EFER.NX set are found again with it clear
 * (tests/mmu/roles.c has a case for that), and SMAP is blind to a read-only user
 * page after a store to it with CR0.WP clear and AC set (tests/mmu/smep_smap.c).
 */
static bool has_shadow_gaps(void)
{
	return !(mmu_kind() & MMU_TDP);
}

/* Appends one access and notes what must come of it. */
static void op_access(struct rig *r, struct wanted *w, u32 access, u32 top, u32 mid, u32 page)
{
	u32 kind = accesses[access].kind, flags = accesses[access].flags;

	*w = (struct wanted){.access = access, .page = page, .step = r->steps};
	w->gva = rig_gva(r, top, mid, page) + (kind == AGENT_EXEC ? 0 : 256);
	w->ok = allowed(r, kind, flags, top, mid, page, &w->error);
	w->index = op_add(r->v, .kind = kind, .flags = flags, .size = 4, .addr = w->gva,
			  .value = frame_id(page));
	snprintf(w->state, sizeof(w->state), "%s%s%s%s", r->wp ? "WP " : "", r->smep ? "SMEP " : "",
		 r->smap ? "SMAP " : "", r->nxe ? "NXE" : "");
}

static void check(struct rig *r, const struct wanted *w, u32 n)
{
	static const char *const names[] = {"read",	  "write",     "exec",	  "user read",
					    "user write", "user exec", "AC read", "AC write"};
	u32 i;

	vcpu_exec(r->v);
	for (i = 0; i < r->v->mailbox->nr_ops; i++)
		if (r->v->mailbox->ops[i].kind >= AGENT_SET_PTE)
			EXPECT_OK(op_result(r->v, i), "operation %u: an edit or a setting", i);
	for (i = 0; i < n; i++) {
		const struct wanted *x = &w[i];
		struct agent_result res = quirk_fix_rsvd(op_result(r->v, x->index));
		u32 kind = accesses[x->access].kind;

		if (!x->ok)
			EXPECT_PF(res, x->error, x->gva, "step %u: %s of page %u, %s", x->step,
				  names[x->access], x->page, x->state);
		else if (kind == AGENT_WRITE)
			EXPECT_OK(res, "step %u: %s of page %u, %s", x->step, names[x->access],
				  x->page, x->state);
		else
			EXPECT_VALUE(res, kind == AGENT_EXEC ? 0x600 + x->page : frame_id(x->page),
				     "step %u: %s of page %u, %s", x->step, names[x->access],
				     x->page, x->state);
	}
}

static u64 random_rights(struct test *t, const struct rig *r)
{
	u64 x = test_rand(t);

	/* NX is rare, or with EFER.NX clear hardly anything but RSVD would be seen. */
	return (x & (PTE_W | PTE_U)) | (r->nx && (x >> 8) % 4 == 0 ? PTE_NX : 0);
}

/* Edits one entry and flushes what it reaches. */
static void op_edit(struct test *t, struct rig *r)
{
	u64 rights = random_rights(t, r);
	u32 which = test_rand(t) % 8, i = test_rand(t) % PAGES;
	gva_t gva = rig_gva(r, 0, 0, i);

	if (which == 0 && r->tops == 2) {
		u32 e = i & 1;

		gva = rig_gva(r, e, 0, 0);
		r->top[e] = rights & ~PTE_NX;
		op_set_pte(r->v, &r->vm->as, gva, 3,
			   (aspace_get_pte(&r->vm->as, gva, 3) & PTE_ADDR_MASK) | PTE_P | PTE_A |
				   r->top[e]);
	} else if (which < 3) {
		u32 e = i & 1;

		gva = rig_gva(r, 0, e, 0);
		r->mid[e] = rights;
		op_set_pte(r->v, &r->vm->as, gva, 2, r->pt | PTE_P | PTE_A | rights);
	} else {
		r->leaf[i] = rights;
		op_set_pte(r->v, &r->vm->as, gva, 1, frame_pte(r->vm, i, rights));
	}
	op_load_cr3(r->v, r->vm->as.root);
}

TEST(back_and_forth,
     .what = "rights follow WP, SMEP, SMAP, NX and every entry through many changes",
     .modes = MODES_FEW,
     .fixes = (const char *const[]){"d28c6cfbbc5e", "9645bb56b31a", "411c588dfb86", "0be0226f07d1",
				    "844a5fe219cf", "5f0b819995e1", "9e7b0e7fba45", "b1bd5cba3306",
				    "CVE-2021-38198", NULL})
{
	static struct wanted w[AGENT_BATCH];
	struct rig r = rig_create(t->mode);
	u32 batch, n, k, max = r.smap_cpu ? 8 : 6;
	bool gap;

	for (batch = 0; batch < 2; batch++) {
		op_clear(r.v);
		n = 0;
		while (r.v->mailbox->nr_ops < AGENT_BATCH - 40) {
			u64 x = test_rand(t);

			r.steps++;
			if (x & 1)
				op_edit(t, &r);
			x >>= 8;
			r.wp = x & 1;
			r.smep = r.smep_cpu && (x & 2);
			r.smap = r.smap_cpu && (x & 4);
			r.nxe = r.nx && ((x & 0x18) || has_shadow_gaps());
			op_settings(&r);
			gap = r.smap && !r.wp && has_shadow_gaps();
			for (k = 0; k < 8; k++) {
				x = test_rand(t);
				op_access(&r, &w[n++], (x >> 8) % (gap ? 7 : max),
					  x >> 16 & (r.tops - 1), x >> 24 & 1, (x >> 32) % PAGES);
			}
		}
		check(&r, w, n);
	}
}

/*
 * The orders that made real bugs, in a row and without chance: for every
 * setting, a page used under the lenient one first, then under the strict one.
 */
TEST(lenient_first, .what = "what a lenient setting mapped is not found again under the strict one",
     .modes = MODES_FEW,
     .fixes = (const char *const[]){"411c588dfb86", "0be0226f07d1", "9645bb56b31a", NULL})
{
	static struct wanted w[AGENT_BATCH];
	struct rig r = rig_create(t->mode);
	u32 n = 0, round, i, k, max = r.smap_cpu ? 8 : 6;

	op_clear(r.v);
	r.leaf[0] = PTE_U;
	r.leaf[1] = PTE_W;
	r.leaf[2] = 0;
	r.leaf[3] = PTE_U | PTE_W | (r.nx ? PTE_NX : 0);
	for (i = 0; i < PAGES; i++)
		op_set_pte(r.v, &r.vm->as, rig_gva(&r, 0, 0, i), 1, frame_pte(r.vm, i, r.leaf[i]));
	op_load_cr3(r.v, r.vm->as.root);
	for (round = 0; round < 20; round++) {
		bool gap;
		u32 which = round % 10 / 2, strict = round & 1;

		r.steps = round;
		r.wp = which == 0 ? strict : which == 1;
		r.smep = r.smep_cpu && (which == 2 ? strict : which == 4);
		r.smap = r.smap_cpu && (which == 3 ? strict : which == 4 && strict);
		r.nxe = r.nx && (which != 1 || strict || has_shadow_gaps());
		gap = r.smap && !r.wp && has_shadow_gaps();
		op_settings(&r);
		/* A write with WP clear comes first: it makes the page the supervisor's own. */
		for (i = 0; i < PAGES; i++)
			for (k = 0; k < (gap ? 7 : max); k++)
				op_access(&r, &w[n++], (k + 1) % (gap ? 7 : max), 0, 0, i);
	}
	check(&r, w, n);
}

/*
 * With WP clear a supervisor's store to a read-only page is a store like others:
 * it sets D in the entry it went through, also where another address read the
 * same frame before (c22885050e65).
 */
TEST(wp_clear_sets_dirty, .what = "a store to a read-only page with CR0.WP clear sets D",
     .modes = MODES_FEW, .fixes = (const char *const[]){"c22885050e65", NULL})
{
	struct vm *vm = vm_create(t->mode, .mem_size = 1 * MiB);
	struct vcpu *v = vm->vcpu[0];
	gva_t a = vm->test_gva, b = a + 64 * SZ_4K;
	u32 i;

	number_frames(vm);
	for (i = 0; i < 4; i++) {
		vm_map(vm, a + i * SZ_4K, frame_gpa(vm, i), SZ_4K, 1, i & 1 ? PTE_U : 0);
		vm_map(vm, b + i * SZ_4K, frame_gpa(vm, i), SZ_4K, 1, i & 1 ? PTE_U : 0);
	}
	guest_set_cr(v, 0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	for (i = 0; i < 4; i++) {
		if (i & 2)
			(void)guest_do(v, .kind = AGENT_READ, .addr = a + i * SZ_4K);
		guest_write(v, b + i * SZ_4K, 1);
		(void)guest_do(v, .kind = AGENT_READ, .addr = a + i * SZ_4K);
		EXPECT(!(aspace_get_pte(&vm->as, a + i * SZ_4K, 1) & PTE_D), "page %u was read", i);
		EXPECT(aspace_get_pte(&vm->as, b + i * SZ_4K, 1) & PTE_D, "page %u was written", i);
		guest_write(v, a + i * SZ_4K, 2);
		EXPECT(aspace_get_pte(&vm->as, a + i * SZ_4K, 1) & PTE_D, "page %u, other address",
		       i);
		EXPECT_EQ(*frame_word(vm, i), 2);
	}
}

TEST(both_kept, .what = "going back to a setting finds the shadow pages made under it",
     .modes = MODE(PM_LA48), .meant_for = MMU_SHADOW)
{
	struct rig r = rig_create(t->mode);
	u64 misses = 0, zapped = 0;
	u32 i;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	for (i = 0; i < 10; i++) {
		if (i == 2) { /* both made, from here on they are found */
			misses = vm_stat(r.vm, "mmu_cache_miss");
			zapped = vm_stat(r.vm, "mmu_shadow_zapped");
		}
		r.wp = i & 1;
		op_clear(r.v);
		op_settings(&r);
		op_read(r.v, rig_gva(&r, 0, 0, 0) + 256);
		vcpu_exec(r.v);
		EXPECT_VALUE(op_result(r.v, r.v->mailbox->nr_ops - 1), frame_id(0));
	}
	EXPECT_EQ(vm_stat(r.vm, "mmu_cache_miss") - misses, 0);
	EXPECT_EQ(vm_stat(r.vm, "mmu_shadow_zapped") - zapped, 0);
}

TEST(nx_off_first,
     .what = "bit 63 is reserved with EFER.NX clear, and forbids fetches once it is set",
     .modes = MODE(PM_LA48) | MODE(PM_PAE),
     .fixes = (const char *const[]){"9645bb56b31a", "844a5fe219cf", NULL})
{
	static struct wanted w[AGENT_BATCH];
	struct rig r = rig_create(t->mode);
	u32 n = 0, i, k, half, max = r.smap_cpu ? 8 : 6;

	require_cpu(CPU_NX);
	r.leaf[1] |= PTE_NX;
	r.leaf[3] |= PTE_NX;
	for (i = 1; i < PAGES; i += 2)
		aspace_set_pte(&r.vm->as, rig_gva(&r, 0, 0, i), 1, frame_pte(r.vm, i, r.leaf[i]));
	op_clear(r.v);
	for (half = 0; half < 2; half++) {
		r.steps = half;
		r.nxe = half;
		op_settings(&r);
		/* Pages without the bit come first: nor may what is mapped ahead pass. */
		for (i = 0; i < PAGES; i++)
			for (k = 0; k < max; k++)
				op_access(&r, &w[n++], k, 0, 0, i * 2 % PAGES + i / 2);
	}
	check(&r, w, n);
}

/*
 * A directory's shadow belongs to the rights granted above it, not to those that
 * one of its entries goes on to take away. Keyed by the latter, two entries of
 * one directory would need two shadows in one place, and drive each other out.
 */
TEST(directory_settles,
     .what = "addresses below one directory with different rights do not fault on",
     .modes = MODES_FEW, .meant_for = MMU_SHADOW,
     .fixes = (const char *const[]){"CVE-2021-38198", "b1bd5cba3306", "d28c6cfbbc5e", NULL})
{
	struct rig r;
	u64 faults = 0, misses = 0;
	u32 i, k;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	r = rig_create(t->mode);
	r.mid[0] = 0;
	aspace_set_pte(&r.vm->as, rig_gva(&r, 0, 0, 0), 2, r.pt | PTE_P | PTE_A);
	for (i = 0; i < 6; i++) {
		if (i == 2) {
			faults = vcpu_stat(r.v, "pf_fixed");
			misses = vm_stat(r.vm, "mmu_cache_miss");
		}
		op_clear(r.v);
		for (k = 0; k < 2 * r.tops; k++)
			op_read(r.v, rig_gva(&r, k / 2, k % 2, i % PAGES) + 256);
		for (k = 0; k < r.tops; k++)
			op_write(r.v, rig_gva(&r, k, 1, i % PAGES) + 256, frame_id(i % PAGES));
		vcpu_exec(r.v);
		for (k = 0; k < 2 * r.tops; k++)
			EXPECT_VALUE(op_result(r.v, k), frame_id(i % PAGES), "round %u", i);
		for (k = 0; k < r.tops; k++)
			EXPECT_OK(op_result(r.v, 2 * r.tops + k), "round %u", i);
	}
	EXPECT_EQ(vcpu_stat(r.v, "pf_fixed") - faults, 0);
	EXPECT_EQ(vm_stat(r.vm, "mmu_cache_miss") - misses, 0);
}
