// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access rights and error codes: for every combination of rights in a leaf and
 * in one entry above it, each kind of access from each ring under each setting
 * of CR0.WP, EFER.NX, CR4.SMEP and CR4.SMAP does what the manuals say (SDM
 * vol. 3 4.6 and 4.7, APM vol. 2 5.6).
 *
 * Under shadow paging the hypervisor decides rights twice: when it walks the
 * guest's tables in software, and in the entries it makes, which must never
 * allow more than the guest's do under the control registers of the moment.
 * What it made under one setting it finds again under the next, by a key that
 * must hold everything that mattered (rights of the entries above, WP, NX, SMEP
 * and SMAP without WP). So one leaf table hangs below all the upper entries,
 * and all settings run on the same tables in one VM, in random order, with the
 * accesses shuffled. A forgotten part of the key shows as an access that goes
 * through, or faults, for the rights of another path or another setting; an
 * endless fault as a vCPU that does not come back.
 *
 * The expected outcome is computed by expected_error() below, a small model of
 * what the manuals say, and by a copy of what the memory must hold.
 */
#include "mmuscope.h"

#define NO_FAULT ~0ull

/* Rights of an entry: all with P, and two without, where the rest is ignored. */
static const u64 rights[] = {
	PTE_P | PTE_W | PTE_U,
	PTE_P | PTE_U,
	PTE_P | PTE_W,
	PTE_P,
	PTE_P | PTE_W | PTE_U | PTE_NX,
	PTE_P | PTE_U | PTE_NX,
	PTE_P | PTE_W | PTE_NX,
	PTE_P | PTE_NX,
	PTE_W | PTE_U,
	PTE_NX,
};
#define NR_RIGHTS ARRAY_LEN(rights)
/* Below the uppermost levels only these leaves: everything, a little, nothing. */
static const u32 few_leaves[] = {0, 5, 7, 9};

struct setting {
	bool wp, nx, smep, smap;
};

struct access {
	u16 kind;  /* AGENT_READ, AGENT_WRITE or AGENT_EXEC */
	u16 flags; /* AGENT_USER, AGENT_AC */
	const char *name;
};

static const struct access accesses[] = {
	{AGENT_READ, 0, "read"},
	{AGENT_WRITE, 0, "write"},
	{AGENT_EXEC, 0, "fetch"},
	{AGENT_READ, AGENT_AC, "read with AC"},
	{AGENT_WRITE, AGENT_AC, "write with AC"},
	{AGENT_READ, AGENT_USER, "user read"},
	{AGENT_WRITE, AGENT_USER, "user write"},
	{AGENT_EXEC, AGENT_USER, "user fetch"},
};

/* An address, the rights on its path from the top, and the frame it reaches. */
struct place {
	gva_t gva;
	u64 entry[2];
	u32 nr_entries;
	u32 frame;
};

struct grid {
	struct vm *vm;
	u32 word[NR_RIGHTS]; /* what the data word of each frame must hold */
	u64 cr0, cr4, efer;  /* without the bits that settings change */
	struct place *places;
	u32 nr_places;
	u32 nr_low; /* places[] starts with these: rights at levels 1 and 2 only */
};

#define FUNCTION_VALUE 0x1000 /* what the function in frame 0 returns; + frame */
#define DATA_OFFSET    64
#define SPREAD	       16 /* first index used at an upper level */
#define LARGE_SPREAD   64 /* first index used for large leaves */

/* The error code of the fault that @a must meet, or NO_FAULT. */
static u64 expected_error(const struct paging_mode *m, const struct setting *s,
			  const struct access *a, const struct place *p)
{
	bool write = a->kind == AGENT_WRITE, fetch = a->kind == AGENT_EXEC;
	bool user = a->flags & AGENT_USER, ac = a->flags & AGENT_AC;
	bool nx_on = s->nx && m->pte_size == 8, no_exec = false, bad;
	u64 error = (write ? PFERR_W : 0) | (user ? PFERR_U : 0);
	u64 common = PTE_W | PTE_U;
	u32 i;

	if (fetch && (nx_on || s->smep))
		error |= PFERR_F;
	for (i = 0; i < p->nr_entries; i++) {
		if (!(p->entry[i] & PTE_P))
			return error;
		error |= PFERR_P;
		if ((p->entry[i] & PTE_NX) && !nx_on)
			return error | PFERR_RSVD;
		error &= ~PFERR_P;
		common &= p->entry[i];
		no_exec |= p->entry[i] & PTE_NX;
	}
	if (fetch)
		bad = no_exec || (user ? !(common & PTE_U) : (common & PTE_U) && s->smep);
	else if (user)
		bad = !(common & PTE_U) || (write && !(common & PTE_W));
	else
		bad = ((common & PTE_U) && s->smap && !ac) || (write && !(common & PTE_W) && s->wp);
	return bad ? error | PFERR_P : NO_FAULT;
}

/* 32-bit entries have no NX. */
static u64 bits_of(const struct paging_mode *m, u32 i)
{
	return m->pte_size == 8 ? rights[i] : rights[i] & ~PTE_NX;
}

static struct place *add_place(struct grid *g, gva_t gva, u32 frame)
{
	struct place *p = &g->places[g->nr_places++];

	*p = (struct place){.gva = gva, .frame = frame};
	return p;
}

/* The leaf table that all paths share: entry i has rights i and frame i. */
static gpa_t make_leaf_table(struct vm *vm)
{
	const struct paging_mode *m = vm->mode;
	gva_t gva = vm->test_gva + SPREAD * level_size(m, 2);
	u32 i;

	aspace_make_tables(&vm->as, gva, 1);
	for (i = 0; i < NR_RIGHTS; i++)
		aspace_set_pte(&vm->as, gva + i * SZ_4K, 1,
			       (vm->mem->gpa + i * SZ_4K) | bits_of(m, i));
	return pte_addr(m, aspace_get_pte(&vm->as, gva, 2), 2);
}

/* Every upper right at @level over @leaves of the shared table @below (of @level - 1). */
static void add_upper(struct grid *g, int level, gpa_t below, const u32 *leaves, u32 nr_leaves)
{
	const struct paging_mode *m = g->vm->mode;
	u32 i, j, leaf;

	for (i = 0; i < NR_RIGHTS; i++) {
		gva_t gva = g->vm->test_gva + (SPREAD + i) * level_size(m, level);

		aspace_make_tables(&g->vm->as, gva, level);
		aspace_set_pte(&g->vm->as, gva, level, below | bits_of(m, i));
		for (j = 0; j < nr_leaves; j++) {
			struct place *p;

			leaf = leaves ? leaves[j] : j;
			p = add_place(g, gva + leaf * SZ_4K, leaf);
			p->entry[0] = bits_of(m, i);
			p->entry[1] = bits_of(m, leaf);
			p->nr_entries = 2;
		}
	}
}

/* Every right in a large leaf at @level, over frame 0. */
static void add_large(struct grid *g, int level)
{
	const struct paging_mode *m = g->vm->mode;
	u32 i;

	for (i = 0; i < NR_RIGHTS; i++) {
		gva_t gva = g->vm->test_gva + (LARGE_SPREAD + i) * level_size(m, level);
		struct place *p = add_place(g, gva, 0);

		aspace_make_tables(&g->vm->as, gva, level);
		aspace_set_pte(&g->vm->as, gva, level, g->vm->mem->gpa | PTE_PS | bits_of(m, i));
		p->entry[0] = bits_of(m, i);
		p->nr_entries = 1;
	}
}

static struct grid *make_grid(const struct paging_mode *m)
{
	static struct place places[1024];
	static struct grid grid = {.places = places};
	struct grid *g = &grid;
	gpa_t below, next;
	int level;
	u32 i;

	g->vm = vm_create(m, .mem_gpa = SZ_1G, .mem_size = SZ_2M);
	for (i = 0; i < NR_RIGHTS; i++)
		place_function(g->vm, g->vm->mem->gpa + i * SZ_4K, FUNCTION_VALUE + i);
	below = make_leaf_table(g->vm);
	add_upper(g, 2, below, NULL, NR_RIGHTS);
	add_large(g, 2);
	g->nr_low = g->nr_places;
	/* PAE's PDPTEs have no rights. */
	for (level = 3; level <= m->levels && m->long_mode; level++) {
		next = vm_alloc_table(g->vm);
		*(u64 *)vm_hva(g->vm, next) = below | PTE_P | PTE_W | PTE_U;
		below = next;
		add_upper(g, level, below, few_leaves, ARRAY_LEN(few_leaves));
	}
	if (m->long_mode && cpu_has(&CPU_GBPAGES))
		add_large(g, 3);
	return g;
}

/*
 * Appends what puts the vCPU into setting @s. EFER.NX is part of what the TLB
 * has cached, hence the load of CR3.
 */
static void op_setting(struct grid *g, const struct setting *s)
{
	struct vcpu *v = g->vm->vcpu[0];
	u64 cr0 = g->cr0 | (s->wp ? CR0_WP : 0);
	u64 cr4 = g->cr4 | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0);

	if (cpu_has(&CPU_NX))
		op_add(v, .kind = AGENT_WRMSR, .addr = MSR_EFER,
		       .value = g->efer | (s->nx ? EFER_NX : 0));
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = g->vm->as.root);
}

/* Checks one answer against the model, and moves the model's memory on. */
static void check_access(struct grid *g, const struct setting *s, const struct access *a,
			 const struct place *p, const struct agent_op *op, struct agent_result res)
{
	u64 error = expected_error(g->vm->mode, s, a, p), want = 0;

	if (error == NO_FAULT) {
		if (a->kind == AGENT_WRITE)
			g->word[p->frame] = op->value;
		if (a->kind == AGENT_READ)
			want = g->word[p->frame];
		if (a->kind == AGENT_EXEC)
			want = FUNCTION_VALUE + p->frame;
		/* What a write from ring 3 leaves in rax means nothing. */
		if (res.status == AGENT_OK && a->kind == AGENT_WRITE)
			res.value = 0;
	}
	if (error == NO_FAULT)
		EXPECT_VALUE(res, want,
			     "%s, upper %#lx leaf %#lx, WP %d NX %d SMEP %d SMAP %d, gva %#lx",
			     a->name, p->entry[0], p->entry[p->nr_entries - 1], s->wp, s->nx,
			     s->smep, s->smap, p->gva);
	else
		EXPECT_PF(quirk_fix_rsvd(res), error, op->addr,
			  "%s, upper %#lx leaf %#lx, WP %d NX %d SMEP %d SMAP %d", a->name,
			  p->entry[0], p->entry[p->nr_entries - 1], s->wp, s->nx, s->smep, s->smap);
}

/*
 * KVM's shadow MMU makes a user page that is written with CR0.WP=0 a kernel page,
 * and loses SMAP's protection of it; smep_smap.ac_write_without_wp shows that.
 * Here the access that does so is left out.
 */
static bool loses_smap(const struct setting *s, const struct access *a, const struct place *p)
{
	u64 common = p->entry[0] & p->entry[p->nr_entries - 1];

	return mmu_kind() == MMU_SHADOW && !s->wp && s->smap && a->kind == AGENT_WRITE &&
	       (a->flags & AGENT_AC) && (common & PTE_U) && !(common & PTE_W);
}

/* One batch: the setting, then the accesses that @order names. */
static void run_batch(struct grid *g, const struct setting *s, const u32 *order, u32 n)
{
	static u32 serial;
	struct vcpu *v = g->vm->vcpu[0];
	u32 i, first;

	op_clear(v);
	op_setting(g, s);
	first = v->mailbox->nr_ops;
	for (i = 0; i < n; i++) {
		const struct access *a = &accesses[order[i] % ARRAY_LEN(accesses)];
		const struct place *p = &g->places[order[i] / ARRAY_LEN(accesses)];

		op_add(v, .kind = loses_smap(s, a, p) ? AGENT_NOP : a->kind, .flags = a->flags,
		       .size = 4, .value = ++serial,
		       .addr = p->gva + (a->kind == AGENT_EXEC ? 0 : DATA_OFFSET));
	}
	vcpu_exec(v);
	for (i = 0; i < first; i++)
		EXPECT_OK(op_result(v, i), "setting up");
	for (i = 0; i < n; i++)
		if (v->mailbox->ops[first + i].kind != AGENT_NOP)
			check_access(g, s, &accesses[order[i] % ARRAY_LEN(accesses)],
				     &g->places[order[i] / ARRAY_LEN(accesses)],
				     &v->mailbox->ops[first + i], op_result(v, first + i));
	for (i = 0; i < NR_RIGHTS; i++)
		EXPECT_EQ(*(u32 *)((u8 *)g->vm->mem->hva + i * SZ_4K + DATA_OFFSET), g->word[i],
			  "frame %u", i);
}

static void shuffle(struct test *t, u32 *a, u32 n)
{
	u32 i, j, tmp;

	for (i = n; i > 1; i--) {
		j = test_rand(t) % i;
		tmp = a[i - 1];
		a[i - 1] = a[j];
		a[j] = tmp;
	}
}

/*
 * Shuffles [0, @n) and moves a random choice of @keep of what is @above or more
 * behind the rest; returns how many are to be used. What is below @above is
 * always among them.
 */
static u32 choose(struct test *t, u32 *order, u32 n, u32 above, u32 keep)
{
	u32 i, used = 0, tmp;

	shuffle(t, order, n);
	for (i = 0; i < n; i++) {
		if (order[i] >= above && !keep)
			continue;
		keep -= order[i] >= above;
		tmp = order[used];
		order[used++] = order[i];
		order[i] = tmp;
	}
	return used;
}

/*
 * Every setting that this CPU has, in random order; under each all accesses to
 * the first @all places and a random choice of @some accesses to the others.
 */
static void run_grid(struct test *t, struct grid *g, u32 all, u32 some)
{
	static u32 order[1024 * ARRAY_LEN(accesses)];
	struct vcpu *v = g->vm->vcpu[0];
	u32 settings[16], n = g->nr_places * ARRAY_LEN(accesses), used, i, done, batch;

	g->cr0 = guest_get_cr(v, 0) & ~CR0_WP;
	g->cr4 = guest_get_cr(v, 4);
	g->efer = cpu_has(&CPU_NX) ? guest_rdmsr(v, MSR_EFER) & ~EFER_NX : 0;
	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = 0; i < 16; i++)
		settings[i] = i;
	/*
	 * Those with EFER.NX=0 (the lower half) come first: KVM's shadow MMU
	 * forgets to tell the two apart on the way back, see roles.nx_off_again.
	 */
	shuffle(t, settings, 8);
	shuffle(t, settings + 8, 8);
	for (i = 0; i < 16; i++) {
		struct setting s = {.wp = settings[i] & 1,
				    .smep = settings[i] & 2,
				    .smap = settings[i] & 4,
				    .nx = settings[i] & 8};

		if ((s.nx && !cpu_has(&CPU_NX)) || (s.smep && !cpu_has(&CPU_SMEP)) ||
		    (s.smap && !cpu_has(&CPU_SMAP)))
			continue;
		/* Ring 3 runs with the host's NX there. */
		if (!s.nx && kvm_is_partial())
			continue;
		/* KVM would refuse the change of CR4.SMEP. */
		if (s.smep && t->mode->id == PM_PAE && quirk_pdpte_accessed())
			continue;
		/* See fetch_bit_without_pae below. */
		if (s.nx && t->mode->id == PM_32 && mmu_kind() == MMU_SHADOW)
			continue;
		used = choose(t, order, n, all * ARRAY_LEN(accesses), some);
		for (done = 0; done < used; done += batch) {
			batch = used - done < 1000 ? used - done : 1000;
			run_batch(g, &s, order + done, batch);
		}
	}
}

static const char *const rights_fixes[] = {"CVE-2021-38198",
					   "9645bb56b31a",
					   "0be0226f07d1",
					   "411c588dfb86",
					   "844a5fe219cf",
					   "d28c6cfbbc5e",
					   NULL};

TEST(rights, .what = "accesses fault, or not, as the rights on the path and the settings say",
     .modes = MODES_PAGED, .fixes = rights_fixes)
{
	struct grid *g = make_grid(t->mode);

	/*
	 * Where the hypervisor decides, all rights at the two lowest levels of the
	 * common mode; a random part where the processor does, and of all else.
	 */
	run_grid(t, g, t->mode->id == PM_LA48 && !(mmu_kind() & MMU_TDP) ? g->nr_low : 0, 200);
}

TEST(fetch_bit_without_pae,
     .what = "in 32-bit paging EFER.NX alone does not make faults report instruction fetches",
     .modes = MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct agent_result res;

	require_cpu(CPU_NX);
	vm_map(vm, vm->test_gva, vm->mem->gpa, SZ_4K, 1, PTE_W);
	guest_wrmsr(v, MSR_EFER, EFER_NX);
	res = __user_exec(v, vm->test_gva);
	/* SDM vol. 3 4.7: I/D needs CR4.PAE as well, unless SMEP is on. KVM looks at NX only. */
	if (engine()->kernel_memory && mmu_kind() == MMU_SHADOW && res.status == AGENT_FAULT &&
	    (res.error & PFERR_F))
		test_xfail("arch/x86/kvm/mmu/paging_tmpl.h, walk_addr_generic",
			   "error code %#lx has F although CR4.PAE=0", res.error);
	EXPECT_PF(res, PFERR_P | PFERR_U, vm->test_gva);
}

TEST(exchange_is_a_write,
     .what = "a locked exchange with a page that allows nothing faults as a write",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct agent_result res;

	aspace_make_tables(&vm->as, vm->test_gva, 1);
	res = guest_op(v, .kind = AGENT_XADD, .size = 4, .addr = vm->test_gva, .value = 1);
	/* SDM vol. 2, LOCK: the destination is written in any case. */
	if (quirk_rmw_reads_first() && res.status == AGENT_FAULT && !(res.error & PFERR_W))
		test_xfail(
			"QEMU 7.2, accel/tcg, one thread: atomic operations are a load and a store",
			"error code %#lx lacks W", res.error);
	EXPECT_PF(res, PFERR_W, vm->test_gva);
}
