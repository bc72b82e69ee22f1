// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random programs as text and data, and the oracle that judges them: what is printed is read back
 * the same, damaged text is refused with a message and without harm, shrinking keeps what is
 * needed, and on random tables the oracle says what the software CPU's walk says.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "program_bytes.h"
#include "random_program.h"
#include "test.h"
#include "x86/cpu/phys.h"
#include "x86/cpu/walk.h"

static char *printed(const struct program *p, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	ASSERT(f);
	program_print(p, f);
	fclose(f);
	return text;
}

static void make(struct program *p, enum paging_mode_id mode, u64 seed)
{
	struct random_options r = {.mode = paging_mode(mode),
				   .seed = seed,
				   .steps = 300,
				   .vcpus = 1 + seed % PROGRAM_VCPUS,
				   .host = seed & 1,
				   .thp = seed & 2};

	program_random(p, &r);
}

TEST(round_trip, .what = "a program that is printed and read is the same program",
     .modes = MODES_PAGED)
{
	for (u64 seed = 1; seed <= 20; seed++) {
		struct program p, q;
		char *first, *second, error[256] = "";
		size_t len, len2;

		make(&p, t->mode->id, seed);
		first = printed(&p, &len);
		ASSERT(program_parse(&q, "x", first, len, error, sizeof(error)), "%s", error);
		EXPECT_EQ(q.nr_steps, p.nr_steps);
		EXPECT_EQ(q.nr_vcpus, p.nr_vcpus);
		EXPECT_EQ(q.mode->id, p.mode->id);
		EXPECT_EQ(q.backing, p.backing);
		EXPECT_EQ(q.log, p.log);
		second = printed(&q, &len2);
		EXPECT_STREQ(first, second);
		free(first);
		free(second);
		program_free(&p);
		program_free(&q);
	}
}

TEST(bytes, .what = "bytes are a program, whatever they are, and a program's bytes give it back",
     .modes = MODES_PAGED)
{
	for (u64 seed = 1; seed <= 20; seed++) {
		char *first, *second, error[256] = "";
		u8 *bytes, noise[600];
		size_t len, len2, n;
		struct program p, q;

		make(&p, t->mode->id, seed);
		/* Values and keys have fewer bits there. */
		bytes = program_to_bytes(&p, &n);
		program_from_bytes(&q, bytes, n);
		EXPECT_EQ(q.nr_steps, p.nr_steps);
		EXPECT_EQ(q.mode->id, p.mode->id);
		EXPECT_EQ(q.nr_vcpus, p.nr_vcpus);
		first = printed(&p, &len);
		second = printed(&q, &len2);
		EXPECT_STREQ(first, second);
		free(first);
		free(second);
		program_free(&p);
		program_free(&q);
		free(bytes);
		for (n = 0; n < sizeof(noise); n++)
			noise[n] = (seed * 1000 + n) * 0x9e3779b97f4a7c15ull >> 40;
		program_from_bytes(&p, noise, sizeof(noise));
		EXPECT_EQ(p.nr_steps, (sizeof(noise) - 1) / PROGRAM_BYTES_STEP);
		first = printed(&p, &len);
		ASSERT(program_parse(&q, "x", first, len, error, sizeof(error)), "%s", error);
		second = printed(&q, &len2);
		EXPECT_STREQ(first, second);
		free(first);
		free(second);
		program_free(&p);
		program_free(&q);
	}
}

static const char many[] = "mmuscope-program 1\n"
			   "mode la48\n"
			   "vcpus 1\n"
			   "backing anon\n"
			   "v0 fill t3[2] f14+pwu\n"
			   "v0 fan t0[1] t9+pwu\n"
			   "v0 spread t7[4] b1+pwus\n"
			   "v0 read-all *.2.*.1\n"
			   "host again 2 0x100\n";

TEST(parts, .what = "steps that stand for many are read, printed and taken apart")
{
	static const struct {
		u32 step, nr, which;
		const char *line;
	} parts[] = {
		{0, 3, 0, "v0 set t3[2] f14+pwu"}, {0, 3, 2, "v0 set t3[4] f0+pwu"},
		{1, 4, 1, "v0 set t0[2] t9+pw"},   {1, 4, 3, "v0 set t0[4] t9+pwux"},
		{2, 3, 2, "v0 set t9[4] b1+pwus"}, {3, 16, 6, "v0 read 2.2.3.1/data"},
	};
	char error[256] = "", line[128], *text;
	struct program p, q;
	struct step part;
	size_t len;
	u8 *bytes;

	ASSERT(program_parse(&p, "x", many, strlen(many), error, sizeof(error)), "%s", error);
	bytes = program_to_bytes(&p, &len);
	program_from_bytes(&q, bytes, len);
	text = printed(&q, &len);
	EXPECT_STREQ(text, many);
	for (u32 i = 0; i < ARRAY_LEN(parts); i++) {
		const struct step *s = &p.steps[parts[i].step];
		u32 n = 0;

		while (step_part(&p, s, n, &part))
			n++;
		EXPECT_EQ(n, parts[i].nr);
		EXPECT(step_has_parts(s) && step_part(&p, s, parts[i].which, &part));
		EXPECT_STREQ(step_text(&p, &part, line, sizeof(line)), parts[i].line);
	}
	EXPECT(!step_has_parts(&p.steps[4]));
	free(bytes);
	free(text);
	program_free(&p);
	program_free(&q);
}

TEST(same_seed, .what = "a seed gives one program, another seed another one")
{
	struct program a, b, c;
	char *x, *y, *z;
	size_t len;

	make(&a, PM_LA48, 5);
	make(&b, PM_LA48, 5);
	make(&c, PM_LA48, 9);
	x = printed(&a, &len);
	y = printed(&b, &len);
	z = printed(&c, &len);
	EXPECT_STREQ(x, y);
	EXPECT(strcmp(x, z), "seeds 5 and 9");
}

#define HEADER "mmuscope-program 1\nmode la48\nvcpus 2\nbacking anon\n"

TEST(messages,
     .what = "what is wrong with a file is said with its line, the value and what is right")
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"",
		 "f:0: the text ends before its header is complete: mmuscope-program, mode, vcpus, backing"},
		{"mmuscope-program 7\n", "f:1: version 7: this is for version 1"},
		{"# hello\nmode la48\n",
		 "f:2: 'mode': line \"mmuscope-program …\" is expected here"},
		{"mmuscope-program 1\nmode none\n", "f:2: mode 'none': give la57, la48, pae or 32"},
		{"mmuscope-program 1\nmode 32\nvcpus 0\n",
		 "f:3: vcpus 0: give a number from 1 to 4"},
		{HEADER "v2 wp 1\n",
		 "f:5: 'v2': a step begins with \"host\" or with a vCPU, v0 to v1"},
		{HEADER "v0 jump 1\n", "f:5: 'jump' is no step that a vCPU can take"},
		{HEADER "host wp 1\n", "f:5: 'wp' is no step that the host can take"},
		{HEADER "v0 wp 2\n", "f:5: wp '2': give a number from 0 to 0x1"},
		{HEADER "v0 wp\n", "f:5: wp is missing: give a number from 0 to 0x1"},
		{HEADER "v0 wp 1 1\n", "f:5: '1' is too much after \"wp\""},
		{HEADER "v0 set t10[1] 0\n", "f:5: entry 't10[1]': give t0[1] to t9[4]"},
		{HEADER "v0 set t1[5] 0\n", "f:5: entry 't1[5]': give t0[1] to t9[4]"},
		{HEADER "v0 set t1[1] f16+p\n", "f:5: entry 'f16+p': there are f0 to f15"},
		{HEADER "v0 set t1[1] f1+pz\n",
		 "f:5: 'f1+pz': flag 'z' is none of pwutcadsgxromn and k0 to kf"},
		{HEADER "v0 set t1[1] f1+pkx\n", "f:5: 'f1+pkx': k is followed by a key, 0 to f"},
		{HEADER "v0 read 1.2.3/c1\n",
		 "f:5: address '1.2.3/c1': in mode la48 give 4 indices of 1 to 4 and a place, like 1.2/c1"},
		{HEADER "v0 read 1.2.3.4/c9\n",
		 "f:5: address '1.2.3.4/c9': the place is one of c1 c2 c3 c4 data cross middle"},
		{HEADER "v0 read *.2.3.4/c1\n",
		 "f:5: address '*.2.3.4/c1': in mode la48 give 4 indices of 1 to 4 and a place, like 1.2/c1"},
		{HEADER "v0 read-all *.2.0.4\n",
		 "f:5: address '*.2.0.4': in mode la48 give 4 indices of 1 to 4, or * for all of them"},
		{HEADER "host again 16 2\n", "f:5: again '16': give a number from 0 to 0xf"},
		{HEADER "log\n", "f:5: log '': give bitmap, manual, initially-set or ring"},
		{HEADER "log ring 1\n", "f:5: '1' is too much"},
		{HEADER "v0 wp 1\nlog ring\n",
		 "f:6: 'log': a step begins with \"host\" or with a vCPU, v0 to v1"},
		{HEADER "v0 cr3 1\n", "f:5: cr3: give \"pcid N\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char error[512] = "";
		struct program p;

		EXPECT(!program_parse(&p, "f", cases[i].text, strlen(cases[i].text), error,
				      sizeof(error)));
		EXPECT_STREQ(error, cases[i].error);
		EXPECT_EQ(p.nr_steps, 0);
	}
}

TEST(hostile, .what = "text that is damaged at random is read or refused, never harmful")
{
	static const char noise[] = "\0\n\xff 0123456789abcdefprwtgh+[]./#v-x";
	u32 refused = 0, taken = 0;

	for (u64 seed = 1; seed <= 3000; seed++) {
		char error[256] = "", *text;
		struct program p, q;
		size_t len, k;

		make(&p, seed % PM_NONE, 1 + seed % 16);
		p.nr_steps = 8;
		text = printed(&p, &len);
		for (k = 1 + test_rand(t) % 3; k; k--)
			text[test_rand(t) % len] = noise[test_rand(t) % (sizeof(noise) - 1)];
		if (test_rand(t) % 4 == 0)
			len = test_rand(t) % len;
		if (program_parse(&q, "f", text, len, error, sizeof(error))) {
			size_t again;
			char *s = printed(&q, &again);

			EXPECT(q.nr_vcpus >= 1 && q.nr_vcpus <= PROGRAM_VCPUS);
			free(s);
			taken++;
		} else {
			EXPECT(error[0], "seed %lu", seed);
			refused++;
		}
		program_free(&q);
		program_free(&p);
		free(text);
	}
	EXPECT(refused > 1000 && taken > 20, "%u refused, %u taken", refused, taken);
}

TEST(sizes, .what = "long lines and many steps are refused")
{
	size_t n = strlen(HEADER), at, steps = PROGRAM_MAX_STEPS + 1;
	char *text = malloc(n + steps * 8), error[256];
	struct program p;

	memcpy(text, HEADER, n);
	memset(text + n, 'a', 1000);
	EXPECT(!program_parse(&p, "f", text, n + 1000, error, sizeof(error)));
	EXPECT_STREQ(error, "f:5: the line has 1000 bytes: at most 255");
	for (at = n; steps--; at += 8)
		memcpy(text + at, "v0 wp 1\n", 8);
	EXPECT(!program_parse(&p, "f", text, at, error, sizeof(error)));
	EXPECT_STREQ(error, "f:100005: more than 100000 steps");
	free(text);
}

/* --- shrinking ------------------------------------------------------------------------------ */

/* "Fails" when WP is cleared after table 3 was written, with a user access somewhere. */
static bool needs_three(void *arg, const struct program *p)
{
	bool set = false, wp = false, user = false;

	++*(u32 *)arg;
	for (u32 i = 0; i < p->nr_steps; i++) {
		const struct step *s = &p->steps[i];

		set |= s->kind == STEP_SET && s->table == 3;
		wp |= set && s->kind == STEP_WP && !s->number;
		user |= step_is_access(s) && (s->flags & STEP_USER);
	}
	return set && wp && user;
}

TEST(shrinks, .what = "what is left after shrinking is what the failure needs")
{
	struct program p;
	u64 seed = 1;
	u32 calls = 0;

	do
		make(&p, PM_LA48, seed++);
	while (!needs_three(&calls, &p));
	calls = 0;
	EXPECT_EQ(program_shrink(&p, needs_three, &calls, 5000), calls);
	EXPECT_EQ(p.nr_steps, 3);
	EXPECT(needs_three(&calls, &p));
	EXPECT_EQ(p.nr_vcpus, 1);
}

/* "Fails" when there is a map, and an entry is set of a table that the root in use leads to. */
static bool needs_root(void *arg, const struct program *p)
{
	u8 root = 0, link = 0, table = 0;
	bool mapped = false;

	++*(u32 *)arg;
	for (u32 i = 0; i < p->nr_steps; i++) {
		const struct step *s = &p->steps[i];

		if (s->kind == STEP_CR3)
			root = s->number;
		if (s->kind == STEP_SET && s->table == root && s->entry.target == TARGET_TABLE) {
			link = s->index;
			table = s->entry.number;
		}
		mapped |= s->kind == STEP_MAP;
		/* what it makes below the root */
		if (s->kind == STEP_MAP && s->path[0] != link) {
			link = s->path[0];
			table = PROGRAM_ROOTS;
		}
		if (mapped && link && s->kind == STEP_SET && s->table == table && s->table != root)
			return true;
	}
	return false;
}

/* "Fails" when a write and a change of WP, and nothing else, are repeated. */
static bool needs_again(void *arg, const struct program *p)
{
	u32 n = p->nr_steps;

	++*(u32 *)arg;
	return n >= 3 && p->steps[n - 1].kind == STEP_AGAIN && p->steps[n - 1].number >= 2 &&
	       p->steps[n - 1].value >= 2 &&
	       p->steps[n - p->steps[n - 1].number - 1].kind == STEP_WRITE &&
	       p->steps[n - 2].kind == STEP_WP;
}

TEST(shrinks_by_names,
     .what = "what only made other tables, roots or repetitions is left out when it shrinks")
{
	static const struct {
		const char *steps, *left;
		bool (*fails)(void *arg, const struct program *p);
	} cases[] = {
		{"v0 cr3 2 pcid 0\n"
		 "v0 set t2[1] t7+pwu\n"
		 "v0 map 1.1.1.1 f0+pwu\n"
		 "v0 set t7[2] f1+pwu\n",
		 "v0 map 1.1.1.1 f0+pwu\nv0 set t3[2] f1+pwu\n", needs_root},
		{"v0 smep 1\n"
		 "v0 write 1.1.1.1/data 0x1\n"
		 "v0 smap 1\n"
		 "v0 read 1.1.1.1/data\n"
		 "v0 wp 0\n"
		 "host again 4 0x100\n",
		 "v0 write 1.1.1.1/data 0x1\nv0 wp 0\nhost again 2 0x2\n", needs_again},
	};

	for (u32 i = 0; i < ARRAY_LEN(cases); i++) {
		char text[512], error[256] = "", *left;
		struct program p;
		u32 calls = 0;
		size_t len;

		len = snprintf(text, sizeof(text), "%s%s", HEADER, cases[i].steps);
		ASSERT(program_parse(&p, "x", text, len, error, sizeof(error)), "%s", error);
		program_shrink(&p, cases[i].fails, &calls, 5000);
		left = printed(&p, &len);
		EXPECT_STREQ(strstr(left, "v0 "), cases[i].left);
		free(left);
		program_free(&p);
	}
}

/* --- the oracle ------------------------------------------------------------------------------- */

#define ARENA	(16 * SZ_4K)
#define NR_WALK 40000

static bool read_arena(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	*entry = 0;
	return phys_read(arg, gpa, entry, size);
}

/* An entry that mostly leads somewhere. */
static u64 random_pte(struct test *t, const struct paging_mode *m)
{
	u64 r = test_rand(t), e = (r >> 8 & 15) * SZ_4K;

	e |= test_rand(t) & test_rand(t) & 0x198;
	e |= (r & 15 ? PTE_P : 0) | (r & 0x30 ? PTE_W : 0) | (r & 0xc0 ? PTE_U : 0);
	if (m->pte_size == 4)
		return e;
	if (!(test_rand(t) % 12))
		e |= PTE_NX;
	if (!(test_rand(t) % 40))
		e |= BIT(40 + test_rand(t) % 23);
	if (!(test_rand(t) % 6))
		e |= PTE_PKEY(test_rand(t) % 16);
	return e;
}

static void fill(struct test *t, struct phys_arena *a, const struct paging_mode *m)
{
	for (u64 at = 0; at < ARENA; at += m->pte_size) {
		u64 e = random_pte(t, m);

		memcpy(a->base + at, &e, m->pte_size);
	}
}

static struct mmu_regs random_regs(struct test *t, const struct paging_mode *m)
{
	static const u64 cr4[] = {CR4_SMEP, CR4_SMAP, CR4_PGE};
	struct mmu_regs r = {.cr0 = CR0_PE | CR0_PG, .maxphyaddr = 36 + test_rand(t) % 17};
	u64 bits = test_rand(t);

	r.amd = bits & 1;
	r.cr0 |= bits & 2 ? CR0_WP : 0;
	for (size_t i = 0; i < ARRAY_LEN(cr4); i++)
		r.cr4 |= bits >> (8 + i) & 1 ? cr4[i] : 0;
	r.efer = bits & 4 && m->pte_size == 8 ? EFER_NX : 0;
	r.cr4 |= m->pte_size == 8 ? CR4_PAE : bits & 8 ? CR4_PSE : 0;
	if (m->long_mode) {
		r.efer |= EFER_LME | EFER_LMA;
		r.cr4 |= (m->id == PM_LA57 ? CR4_LA57 : 0) | (bits & 16 ? CR4_PKE : 0);
		r.pkru = test_rand(t);
	}
	r.cr3 = (bits >> 16 & 15) * SZ_4K;
	r.ac = bits & 32;
	r.cpl = bits & 64 ? 3 : 0;
	r.no_gbpages = !(bits >> 24 & 15);
	return r;
}

TEST(oracle_and_walk, .what = "on random tables the oracle and the software CPU's walk agree",
     .modes = MODES_PAGED)
{
	u32 ok = 0, faults = 0, i;
	struct phys_arena arena;

	ASSERT(phys_arena_init(&arena, ARENA));
	for (i = 0; i < NR_WALK; i++) {
		struct mmu_regs r;
		struct oracle_regs o;
		struct oracle_outcome want;
		struct oracle_access access = {.kind = test_rand(t) % 3};
		struct translation got;
		char text[128];

		if (i % 256 == 0)
			fill(t, &arena, t->mode);
		r = random_regs(t, t->mode);
		access.gva =
			test_rand(t) &
			(t->mode->long_mode ? (1ull << (t->mode->gva_bits - 1)) - 1 : 0xffffffff);
		access.user = r.cpl == 3;
		if (t->mode->id == PM_PAE)
			for (int k = 0; k < 4; k++)
				r.pdpte[k] = (test_rand(t) & 15) * SZ_4K | (test_rand(t) % 8 != 0);
		o = (struct oracle_regs){.cr0 = r.cr0,
					 .cr3 = r.cr3,
					 .cr4 = r.cr4,
					 .efer = r.efer,
					 .pkru = r.pkru,
					 .ac = r.ac,
					 .maxphyaddr = r.maxphyaddr,
					 .no_gbpages = r.no_gbpages,
					 .amd = r.amd};
		memcpy(o.pdpte, r.pdpte, sizeof(o.pdpte));
		want = oracle_judge(&o, access, read_arena, &arena.phys);
		got = walk(&arena.phys, &r, NULL, access.gva, (enum access_kind)access.kind);
		oracle_text(&want, text, sizeof(text));
		switch (want.verdict) {
		case ORACLE_OK:
			ok++;
			EXPECT_EQ(got.outcome, WALK_OK, "%s", text);
			EXPECT_EQ(got.gpa, want.gpa);
			EXPECT_EQ(got.shift, want.page_shift);
			break;
		case ORACLE_PF:
			faults++;
			EXPECT_EQ(got.outcome, WALK_PF, "%s", text);
			EXPECT_EQ(got.error, want.error, "%s", text);
			break;
		default:
			EXPECT_EQ(got.outcome, WALK_BUS, "%s", text);
		}
		for (int k = 0; want.verdict != ORACLE_NO_TABLE && k < want.nr_entries; k++) {
			const struct oracle_entry *e = &want.entry[k];
			u64 now = 0;

			phys_read(&arena.phys, e->gpa, &now, t->mode->pte_size);
			EXPECT_EQ(now & e->must_set, e->must_set, "A and D at level %d", e->level);
			/*
			 * A table may be met at several levels: then another one's bits are there,
			 * too.
			 */
			EXPECT_EQ(now & ~(u64)(PTE_A | PTE_D), e->value & ~(u64)(PTE_A | PTE_D));
		}
	}
	EXPECT(ok > NR_WALK / 50 && faults > NR_WALK / 50, "%u ok, %u faults", ok, faults);
	phys_arena_free(&arena);
}

/* One table of level 1 below a root, in 32-bit paging; what the guest changes in it. */
struct small {
	u32 root[1024], leaf[1024];
};

static bool read_small(void *arg, gpa_t gpa, unsigned int size, u64 *entry)
{
	(void)size;
	if (gpa >= 2 * SZ_4K)
		return false;
	*entry = *(u32 *)((u8 *)arg + gpa);
	return true;
}

TEST(oracle_memory,
     .what = "old translations are allowed until a flush that covers them, global ones longer")
{
	struct small *m = calloc(1, sizeof(*m));
	struct oracle_history *h = oracle_history_new();
	struct oracle_outcome out[ORACLE_MAX_OUTCOMES];
	struct oracle_regs r = {.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr4 = CR4_PGE, .maxphyaddr = 36};
	struct oracle_access write = {.kind = ORACLE_WRITE};
	const gpa_t entry = SZ_4K;
	bool overflow;

	m->root[0] = SZ_4K | PTE_P | PTE_W;
	m->leaf[0] = 0x5000 | PTE_P | PTE_W;
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 1);
	EXPECT_EQ(out[0].gpa, 0x5000);
	EXPECT(!oracle_looked_back(h));

	oracle_stored(h, entry, m->leaf[0]);
	m->leaf[0] = 0x6000 | PTE_P;
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 2);
	EXPECT_EQ(out[0].verdict, ORACLE_PF);
	EXPECT_EQ(out[1].verdict, ORACLE_OK);
	EXPECT_EQ(out[1].gpa, 0x5000);
	EXPECT(oracle_looked_back(h));
	oracle_flushed(h, ORACLE_FLUSH_ADDR, 0, SZ_4K);
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 2, "another page's");
	oracle_flushed(h, ORACLE_FLUSH_ADDR, 0, 0);
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 1, "its own");

	/*
	 * Global, and then not: only what was global survives a load of CR3, from another root
	 * too.
	 */
	m->leaf[0] = 0x7000 | PTE_P | PTE_W | PTE_G;
	oracle_stored(h, entry, m->leaf[0]);
	m->leaf[0] = 0x8000 | PTE_P | PTE_W;
	oracle_flushed(h, ORACLE_FLUSH_PCID, 0, 0);
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 2);
	EXPECT_EQ(out[1].gpa, 0x7000);
	oracle_left_root(h, &r);
	r.cr3 = SZ_4K; /* the leaf table as a root: leads nowhere */
	oracle_flushed(h, ORACLE_FLUSH_PCID, 0, 0);
	m->leaf[0] = 0;
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 2);
	EXPECT_EQ(out[0].verdict, ORACLE_PF);
	EXPECT_EQ(out[1].gpa, 0x7000);
	oracle_flushed(h, ORACLE_FLUSH_ALL, 0, 0);
	EXPECT_EQ(oracle_allowed(h, &r, write, read_small, m, out, &overflow), 1);
	oracle_history_free(h);
	free(m);
}
