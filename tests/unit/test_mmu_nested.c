// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU with nested tables in EPT's format, which no instruction of the software CPU gets a guest
 * into: a vCPU is put into guest mode by hand, L1's tables are built in its memory, accesses
 * are walked by the processor through the tables that the MMU made, and the MMU is told of
 * each violation. What L1 would be told of its own tables' faults is caught.
 */
#include <string.h>
#include <sys/mman.h>

#include "lib/test.h"

#include "x86/cpu/walk_priv.h"
#include "x86/kvm/internal.h"
#include "x86/mmu/internal.h"

#define MiB    (1ull << 20)
#define SIZE   (16 * MiB)
#define TABLES (1 * MiB)
#define DATA   (2 * MiB)
#define L2_GPA SZ_1G /* where L2 sees DATA */
#define WB     (EPT_MT_WB << EPT_MT_SHIFT)
#define PAGE   (EPT_RWX | WB)

struct box {
	int vm, fd;
	u8 *mem;
	struct kvm_vcpu *vcpu;
	u64 next; /* free frame for a table */
	u64 eptp;
};

/* What L1 was told last. */
static struct x86_exception told;
static int nr_told;

static void catch_fault(struct kvm_vcpu *vcpu, const struct x86_exception *e)
{
	(void)vcpu;
	told = *e;
	nr_told++;
}

static u64 *table_at(struct box *b, u64 gpa)
{
	return (u64 *)(b->mem + gpa);
}

static u64 new_table(struct box *b)
{
	u64 gpa = b->next;

	b->next += SZ_4K;
	return gpa;
}

static int levels_of(u64 eptp)
{
	return (int)((eptp & EPTP_LEVELS_MASK) >> EPTP_LEVELS_SHIFT) + 1;
}

static u64 new_eptp(struct box *b, int levels, bool ad)
{
	return new_table(b) | EPT_MT_WB | (u64)(levels - 1) << EPTP_LEVELS_SHIFT |
	       (ad ? EPTP_AD : 0);
}

static unsigned int index_of(u64 gpa, int level)
{
	return gpa >> (12 + 9 * (level - 1)) & 511;
}

/* The entry for @gpa at @level, with tables on the way to it. */
static u64 *entry(struct box *b, u64 gpa, int level)
{
	u64 table = b->eptp & EPT_ADDR_MASK;
	int l;

	for (l = levels_of(b->eptp); l > level; l--) {
		u64 *e = &table_at(b, table)[index_of(gpa, l)];

		if (!*e)
			*e = new_table(b) | EPT_RWX;
		table = *e & EPT_ADDR_MASK;
	}
	return &table_at(b, table)[index_of(gpa, level)];
}

/* L1 runs its guest with @eptp from here on. */
static void use(struct box *b, u64 eptp)
{
	struct kvm_paging_regs *r = &b->vcpu->regs;

	b->eptp = eptp;
	r->guest_mode = r->nested_npt = true;
	r->nested_cr3 = eptp;
	hw_rcu_read_lock();
	kvm_init_mmu(b->vcpu);
	kvm_mmu_new_pgd(b->vcpu, eptp, true);
	hw_rcu_read_unlock();
}

static struct box box(const char *config, int levels, bool ad)
{
	struct kvm_userspace_memory_region region = {.memory_size = SIZE};
	struct box b = {.next = TABLES};
	int kvm;
	u32 i;

	ASSERT(!intree_config(config), "parameters");
	kvm = intree_open("/dev/kvm", 0);
	b.vm = intree_ioctl(kvm, KVM_CREATE_VM, NULL);
	ASSERT_GE(b.vm, 0);
	b.mem = intree_mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT(b.mem != MAP_FAILED, "memory");
	region.userspace_addr = (u64)b.mem;
	ASSERT_EQ(intree_ioctl(b.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	b.fd = intree_ioctl(b.vm, KVM_CREATE_VCPU, NULL);
	ASSERT_GE(b.fd, 0);
	intree_close(kvm);
	b.vcpu = intree_vcpu(b.fd);
	b.vcpu->guest_mmu.inject_page_fault = catch_fault;
	b.vcpu->nested_mmu.inject_page_fault = catch_fault;
	for (i = DATA / SZ_4K; i < SIZE / SZ_4K; i++)
		*(u32 *)(b.mem + i * SZ_4K) = i;
	use(&b, new_eptp(&b, levels, ad));
	nr_told = 0;
	return b;
}

static void report(void *arg, const char *line)
{
	(void)arg;
	EXPECT(false, "%s", line);
}

static void check(struct box *b)
{
	hw_rcu_read_lock();
	EXPECT_EQ(mmu_check(b->vcpu->kvm, report, NULL), 0);
	hw_rcu_read_unlock();
}

static void unbox(struct box *b)
{
	check(b);
	intree_close(b->fd);
	intree_close(b->vm);
	intree_munmap(b->mem, SIZE);
}

/* The processor's way through the tables that the MMU made; true: *@hpa is behind @gpa. */
static bool hardware(struct box *b, u64 gpa, enum access_kind kind, hpa_t *hpa, u64 *violation)
{
	const struct kvm_mmu *mmu = b->vcpu->mmu;
	const struct mmu_regs regs = {.cr0 = CR0_PE, .maxphyaddr = 52};
	const struct nested tables = {
		.kind = NESTED_EPT,
		.root = mmu->root.hpa,
		.levels = mmu->root_role.level,
		.ad = !mmu->root_role.ad_disabled,
		.maxphyaddr = 52,
		.nx = true,
	};
	struct translation t = {.gva = gpa};
	struct walker w = {.phys = &to_vcpu(b->vcpu)->phys,
			   .regs = &regs,
			   .nested = &tables,
			   .kind = kind,
			   .t = &t};
	struct nested_page page;
	enum step step;

	do {
		step = walk_nested(&w, gpa, NESTED_FINAL, &page);
	} while (step == STEP_RETRY);
	*hpa = page.hpa;
	*violation = t.error;
	if (step == STEP_OK)
		return true;
	ASSERT_EQ(t.outcome, WALK_EPT_VIOLATION);
	return false;
}

/* What is behind L2's @gpa, for an access of @kind; NULL: L1 was told of a fault. */
static u32 *look(struct box *b, u64 gpa, enum access_kind kind)
{
	int tries, ret, before = nr_told;
	u64 error, violation;
	gpa_t emulate;
	hpa_t hpa;

	for (tries = 0; tries < 8; tries++) {
		hw_rcu_read_lock();
		ret = kvm_mmu_reload(b->vcpu);
		hw_rcu_read_unlock();
		ASSERT_EQ(ret, 0);
		if (hardware(b, gpa, kind, &hpa, &violation))
			return (u32 *)hw_va(hpa);
		error = violation & EPTV_READ ? PFERR_U : 0;
		error |= violation & EPTV_WRITE ? PFERR_W : 0;
		error |= violation & EPTV_FETCH ? PFERR_F : 0;
		error |= violation & (EPTV_ENTRY_R | EPTV_ENTRY_W | EPTV_ENTRY_X) ? PFERR_P : 0;
		hw_rcu_read_lock();
		ret = kvm_mmu_page_fault(b->vcpu, gpa, error | NPF_FINAL, &emulate);
		hw_rcu_read_unlock();
		if (ret == RET_PF_INJECTED) {
			EXPECT_EQ(nr_told, before + 1);
			EXPECT(told.nested_page_fault);
			EXPECT_EQ(told.address, gpa);
			return NULL;
		}
		ASSERT(ret == RET_PF_FIXED || ret == RET_PF_RETRY || ret == RET_PF_SPURIOUS,
		       "result %d", ret);
	}
	EXPECT(false, "no progress");
	return NULL;
}

static void expect_frame(struct box *b, u64 gpa, u32 frame)
{
	u32 *at = look(b, gpa, ACCESS_READ);

	ASSERT(at != NULL, "%#lx", gpa);
	EXPECT_EQ(*at, frame, "%#lx", gpa);
}

static const char *const configs[] = {"ept=1,ad_bits=1,tdp_mmu=1", "ept=1,ad_bits=0,tdp_mmu=1",
				      "ept=1,ad_bits=1,tdp_mmu=0", NULL};
#define CONFIG configs[t->variant_idx]

TEST(sizes, .what = "pages of each size, by tables of 4 and of 5 levels", .variants = configs)
{
	int levels;

	for (levels = 4; levels <= 5; levels++) {
		struct box b = box(CONFIG, levels, true);

		*entry(&b, L2_GPA, 1) = DATA | PAGE;
		*entry(&b, L2_GPA + SZ_4K, 1) = (DATA + 5 * SZ_4K) | PAGE;
		*entry(&b, L2_GPA + 2 * SZ_2M, 2) = (4 * MiB) | PAGE | EPT_PS;
		*entry(&b, 5 * SZ_1G, 3) = PAGE | EPT_PS;
		expect_frame(&b, L2_GPA, DATA / SZ_4K);
		expect_frame(&b, L2_GPA + SZ_4K, DATA / SZ_4K + 5);
		expect_frame(&b, L2_GPA + 2 * SZ_2M + 7 * SZ_4K, 4 * MiB / SZ_4K + 7);
		expect_frame(&b, 5 * SZ_1G + 6 * MiB, 6 * MiB / SZ_4K);
		if (levels == 5) {
			*entry(&b, 1ull << 50, 1) = DATA | PAGE;
			expect_frame(&b, 1ull << 50, DATA / SZ_4K);
		}
		check(&b);
		unbox(&b);
	}
}

TEST(rights, .what = "R, W and X of all levels together, and what L1 is told of the violation",
     .variants = configs)
{
	static const u64 ways[] = {EPT_R, EPT_R | EPT_W, EPT_R | EPT_X, EPT_X, EPT_RWX};
	static const u64 needs[] = {EPT_R, EPT_W, EPT_X};
	static const u64 says[] = {EPTV_READ, EPTV_WRITE, EPTV_FETCH};
	struct box b = box(CONFIG, 4, true);
	u32 above, leaf, kind;

	for (above = 0; above < ARRAY_LEN(ways); above++) {
		u64 gpa = L2_GPA + above * SZ_2M;
		u64 *up;

		for (leaf = 0; leaf < ARRAY_LEN(ways); leaf++)
			*entry(&b, gpa + leaf * SZ_4K, 1) = (DATA + leaf * SZ_4K) | WB | ways[leaf];
		up = entry(&b, gpa, 2);
		*up = (*up & ~EPT_RWX) | ways[above];
	}
	for (above = 0; above < ARRAY_LEN(ways); above++)
		for (leaf = 0; leaf < ARRAY_LEN(ways); leaf++)
			for (kind = ACCESS_READ; kind <= ACCESS_EXEC; kind++) {
				u64 gpa = L2_GPA + above * SZ_2M + leaf * SZ_4K + 8;
				u64 both = ways[above] & ways[leaf];
				bool got = look(&b, gpa, kind) != NULL;

				EXPECT_EQ(got, (both & needs[kind]) != 0, "%lx, %lx, access %u",
					  ways[above], ways[leaf], kind);
				if (got)
					continue;
				EXPECT(!told.ept_misconfig);
				EXPECT_EQ(told.nested_error,
					  says[kind] | both << EPTV_ENTRY_SHIFT | EPTV_GVA |
						  EPTV_FINAL,
					  "%lx, %lx, access %u", ways[above], ways[leaf], kind);
			}
	look(&b, L2_GPA + 64 * SZ_2M, ACCESS_WRITE);
	EXPECT_EQ(told.nested_error, EPTV_WRITE | EPTV_GVA | EPTV_FINAL, "not present");
	look(&b, 1ull << 48, ACCESS_READ);
	EXPECT_EQ(told.nested_error & EPTV_READ, EPTV_READ, "beyond four levels");
	unbox(&b);
}

TEST(accessed_dirty, .what = "A and D appear in L1's tables if its pointer asks for them",
     .variants = configs)
{
	struct box b = box(CONFIG, 4, true);
	u64 with = b.eptp, without = with & ~EPTP_AD;
	bool host_ad = spte_format(b.vcpu->kvm)->ad;
	u64 gpa = L2_GPA;
	int level;

	*entry(&b, gpa, 1) = DATA | PAGE;
	*entry(&b, gpa + SZ_4K, 1) = (DATA + SZ_4K) | PAGE;
	use(&b, without);
	EXPECT(look(&b, gpa, ACCESS_READ));
	EXPECT(look(&b, gpa, ACCESS_WRITE));
	EXPECT(look(&b, gpa + SZ_4K, ACCESS_READ));
	for (level = 4; level >= 1; level--)
		EXPECT_EQ(*entry(&b, gpa, level) & (EPT_A | EPT_D), 0, "level %d, without", level);
	/* Without A and D of its own a hypervisor offers its guests none. */
	if (!host_ad)
		goto out;
	/* The same tables: what was shadowed for one is not good for the other. */
	use(&b, with);
	EXPECT(look(&b, gpa, ACCESS_READ));
	for (level = 4; level >= 1; level--)
		EXPECT_EQ(*entry(&b, gpa, level) & (EPT_A | EPT_D), EPT_A, "level %d, read", level);
	EXPECT_EQ(*entry(&b, gpa + SZ_4K, 1) & EPT_A, 0, "a page that wasn't used");
	EXPECT(look(&b, gpa, ACCESS_WRITE));
	EXPECT_EQ(*entry(&b, gpa, 1) & (EPT_A | EPT_D), EPT_A | EPT_D, "written");
	EXPECT_EQ(*entry(&b, gpa, 2) & EPT_D, 0, "no D where no page is");
	use(&b, without);
	EXPECT(look(&b, gpa + SZ_4K, ACCESS_WRITE));
	EXPECT_EQ(*entry(&b, gpa + SZ_4K, 1) & (EPT_A | EPT_D), 0, "without, again");
out:
	unbox(&b);
}

TEST(misconfigured, .what = "reserved bits and impossible rights are misconfigurations",
     .variants = configs)
{
	static const struct {
		u64 add;
		int level;
		bool bad;
		const char *what;
	} odd[] = {
		{DATA | WB | EPT_W, 1, true, "W without R"},
		{DATA | WB | EPT_W | EPT_X, 1, true, "W and X without R"},
		{DATA | WB | EPT_X, 1, false, "X alone"},
		{DATA | EPT_RWX | 2 << EPT_MT_SHIFT, 1, true, "memory type 2"},
		{DATA | EPT_RWX | 3 << EPT_MT_SHIFT, 1, true, "memory type 3"},
		{DATA | EPT_RWX | 7 << EPT_MT_SHIFT, 1, true, "memory type 7"},
		{DATA | EPT_RWX | EPT_MT_UC << EPT_MT_SHIFT | EPT_IPAT, 1, false, "IPAT"},
		{DATA | PAGE | BIT(51), 1, true, "an address beyond MAXPHYADDR"},
		{DATA | PAGE | BIT(52) | EPT_SUPPRESS_VE, 1, false, "ignored bits"},
		{DATA | PAGE | EPT_PS, 1, false, "bit 7 at level 1"},
		{4 * MiB | PAGE | EPT_PS | SZ_4K, 2, true, "a page that is not aligned"},
		{PAGE | EPT_PS, 4, true, "a page of level 4"},
	};
	struct box b = box(CONFIG, 4, true);
	u32 i, n = 0;

	for (i = 0; i < ARRAY_LEN(odd); i++) {
		/* Each under an entry of level 4 of its own. */
		u64 gpa = (u64)(i + 1) << 39;
		bool ok;

		*entry(&b, gpa, odd[i].level) = odd[i].add;
		ok = look(&b, gpa, odd[i].add & EPT_R ? ACCESS_READ : ACCESS_EXEC);
		EXPECT_EQ(ok, !odd[i].bad, "%s", odd[i].what);
		if (ok)
			continue;
		EXPECT(told.ept_misconfig, "%s", odd[i].what);
		n++;
	}
	EXPECT_EQ(n, nr_told);
	unbox(&b);
}

/* L1 writes to its table, which the hypervisor sees since the table is shadowed. */
static void write_entry(struct box *b, const u64 *e, u64 value)
{
	u64 gpa = (u64)((const u8 *)e - b->mem);

	hw_rcu_read_lock();
	EXPECT_EQ(guest_write(b->vcpu, gpa, &value, 8), 0);
	kvm_mmu_track_write(b->vcpu, gpa, &value, 8);
	hw_rcu_read_unlock();
}

TEST(edits, .what = "L1's writes to its tables are followed at each level, and roots stay apart",
     .variants = configs)
{
	struct box b = box(CONFIG, 4, true);
	u64 first = b.eptp, second, e;
	int level;

	*entry(&b, L2_GPA, 1) = DATA | PAGE;
	expect_frame(&b, L2_GPA, DATA / SZ_4K);
	write_entry(&b, entry(&b, L2_GPA, 1), (DATA + SZ_4K) | PAGE);
	expect_frame(&b, L2_GPA, DATA / SZ_4K + 1);
	for (level = 4; level >= 1; level--) {
		e = *entry(&b, L2_GPA, level);
		write_entry(&b, entry(&b, L2_GPA, level), 0);
		EXPECT(!look(&b, L2_GPA, ACCESS_READ), "level %d gone", level);
		check(&b);
		write_entry(&b, entry(&b, L2_GPA, level), e);
		expect_frame(&b, L2_GPA, DATA / SZ_4K + 1);
	}
	second = new_eptp(&b, 4, true);
	use(&b, second);
	*entry(&b, L2_GPA, 1) = (DATA + 9 * SZ_4K) | PAGE;
	expect_frame(&b, L2_GPA, DATA / SZ_4K + 9);
	use(&b, first);
	expect_frame(&b, L2_GPA, DATA / SZ_4K + 1);
	use(&b, second);
	expect_frame(&b, L2_GPA, DATA / SZ_4K + 9);
	unbox(&b);
}

TEST(tables, .what = "a violation on L2's own table is told apart from one on its page",
     .variants = configs)
{
	struct box b = box(CONFIG, 4, true);
	struct kvm_paging_regs *r = &b.vcpu->regs;
	struct x86_exception e = {0};
	u64 l2_tables = 8 * MiB, gva = 0x5000;
	gpa_t gpa;
	int level;

	/* L2's tables: identity in its own physical space, which L1 maps at L2_GPA. */
	for (level = 4; level > 1; level--)
		table_at(&b, l2_tables + (4 - level) * SZ_4K)[0] =
			(L2_GPA + (5 - level) * SZ_4K) | PTE_P | PTE_W | PTE_U;
	table_at(&b, l2_tables + 3 * SZ_4K)[5] = (L2_GPA + SZ_2M) | PTE_P | PTE_W;
	for (level = 0; level < 4; level++)
		*entry(&b, L2_GPA + level * SZ_4K, 1) = (l2_tables + level * SZ_4K) | PAGE;
	*entry(&b, L2_GPA + SZ_2M, 1) = DATA | PAGE;
	r->cr0 = CR0_PE | CR0_PG | CR0_WP;
	r->cr4 = CR4_PAE;
	r->efer = EFER_LME | EFER_LMA | EFER_NX;
	r->cr3 = L2_GPA;
	use(&b, b.eptp);
	hw_rcu_read_lock();
	EXPECT_EQ(kvm_mmu_gva_to_gpa(b.vcpu, gva, PFERR_W, &e), DATA);
	EXPECT(table_at(&b, l2_tables + 3 * SZ_4K)[5] & PTE_D, "L2's D");
	EXPECT(*entry(&b, L2_GPA + 3 * SZ_4K, 1) & EPT_D, "D of the page that L2's table is in");

	*entry(&b, L2_GPA + SZ_2M, 1) = DATA | WB | EPT_R;
	gpa = kvm_mmu_gva_to_gpa(b.vcpu, gva, PFERR_W, &e);
	EXPECT_EQ(gpa, INVALID_GPA);
	EXPECT(e.nested_page_fault);
	EXPECT_EQ(e.address, L2_GPA + SZ_2M);
	EXPECT_EQ(e.nested_error, EPTV_WRITE | EPTV_ENTRY_R | EPTV_GVA | EPTV_FINAL);

	/* A and D of L2's tables are to be set: each look at one is a write as well. */
	*entry(&b, L2_GPA + SZ_4K, 1) = 0;
	gpa = kvm_mmu_gva_to_gpa(b.vcpu, gva, 0, &e);
	EXPECT_EQ(gpa, INVALID_GPA);
	EXPECT_EQ(e.address & ~(SZ_4K - 1), L2_GPA + SZ_4K);
	EXPECT_EQ(e.nested_error, EPTV_READ | EPTV_WRITE | EPTV_GVA);

	/* L2's own fault stays L2's. */
	table_at(&b, l2_tables)[0] = 0;
	memset(&e, 0, sizeof(e));
	gpa = kvm_mmu_gva_to_gpa(b.vcpu, gva, PFERR_U, &e);
	EXPECT_EQ(gpa, INVALID_GPA);
	EXPECT(!e.nested_page_fault);
	EXPECT_EQ(e.error_code, PFERR_U);
	EXPECT_EQ(e.address, gva);
	hw_rcu_read_unlock();
	unbox(&b);
}
