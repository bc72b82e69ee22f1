// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reserved bits: setting one in an entry that a translation uses is a page fault
 * with RSVD, whatever the access and its rights; a bit that is not reserved
 * changes nothing; and no bit but P means anything in an entry that is not
 * present (SDM vol. 3 4.3 to 4.5, 4.7; APM vol. 2 5.3).
 *
 * Which bits are reserved depends on the mode, the level, whether the entry is a
 * leaf, EFER.NX, CR4.PSE and CPUID. Under shadow paging the hypervisor has to
 * check all of it wherever it reads a guest's entry, also where it maps
 * neighbours ahead without any fault: an entry whose own bits it drops becomes a
 * mapping that the guest never made. So each bit of each level is tried, single,
 * with the expectation from reserved_bits() below.
 */
#include <string.h>

#include "mmuscope.h"

#define PREFETCH 16 /* more than a hypervisor maps ahead at once */

/* The address bits that a processor has no pins for, in a field of @top bits. */
static u64 above_maxphyaddr(u32 top)
{
	u32 max = cpu_maxphyaddr();

	return max < top ? BIT(top) - BIT(max) : 0;
}

/* Bits @hi to @lo. */
static u64 bits(u32 hi, u32 lo)
{
	return (BIT(hi) << 1) - BIT(lo);
}

/* What is reserved in an entry of @level, with EFER.NX=1, CR4.PSE=1. */
static u64 reserved_bits(const struct paging_mode *m, int level, bool leaf)
{
	u64 mask;

	if (m->pte_size == 4) {
		if (level == 1 || !leaf)
			return 0;
		return BIT(21) | (cpu_has(&CPU_PSE36) ? above_maxphyaddr(40) >> 19 : bits(20, 13));
	}
	mask = above_maxphyaddr(52);
	if (!m->long_mode)
		mask |= bits(62, 52);
	if (!cpu_has(&CPU_NX))
		mask |= PTE_NX;
	if (leaf && level == 2)
		mask |= bits(20, 13);
	if (leaf && level == 3)
		mask |= bits(29, 13);
	if (!leaf && (level > 3 || (level == 3 && !cpu_has(&CPU_GBPAGES))))
		mask |= PTE_PS;
	return mask;
}

/* Bits that may be flipped without changing what the entry means, if not reserved. */
static u64 harmless_bits(const struct paging_mode *m, int level, bool leaf)
{
	u64 mask = PTE_PWT | PTE_PCD | PTE_A | PTE_D | PTE_SW0 | PTE_SW1 | PTE_SW2;

	/* Above level 2 AMD reserves bit 8 where Intel ignores it. */
	if (leaf || level == 2)
		mask |= PTE_G;
	if (leaf)
		mask |= level == 1 ? PTE_PAT : BIT(12); /* PAT */
	if (m->long_mode)
		mask |= bits(62, 52);
	if (m->pte_size == 8 && cpu_has(&CPU_NX))
		mask |= PTE_NX; /* of data */
	return mask;
}

/* One entry with one odd bit, and an address behind it. */
struct probe {
	gva_t gva;
	u64 entry;
	int level;
	bool leaf, reserved;
};

#define MAX_PROBES 512
struct probes {
	struct vm *vm;
	struct probe probe[MAX_PROBES];
	u32 nr;
};

/*
 * A probe for each bit of an entry of @level; @base is the entry without it.
 * Large leaves and tables get different indices, level 1 an address per entry.
 */
static void add_probes(struct probes *s, int level, bool leaf, u64 base)
{
	const struct paging_mode *m = s->vm->mode;
	u64 reserved = reserved_bits(m, level, leaf),
	    all = reserved | harmless_bits(m, level, leaf);
	u32 bit, index = leaf && level > 1 ? 128 : 1;

	for (bit = 1; bit < 8u * m->pte_size; bit++) {
		struct probe *p = &s->probe[s->nr];

		if (!(all & BIT(bit)))
			continue;
		if (s->nr == MAX_PROBES)
			test_error("more than %d probes", MAX_PROBES);
		*p = (struct probe){.gva = s->vm->test_gva + index++ * level_size(m, level),
				    .entry = base | BIT(bit),
				    .level = level,
				    .leaf = leaf,
				    .reserved = reserved & BIT(bit)};
		s->nr++;
		aspace_make_tables(&s->vm->as, p->gva, level);
		aspace_set_pte(&s->vm->as, p->gva, level, p->entry);
	}
}

#define WORD 0x600d

static struct probes *make_probes(struct vm *vm)
{
	static struct probes probes;
	const struct paging_mode *m = vm->mode;
	/* PAE's PDPTEs are a matter of their own. */
	int level, top = m->id == PM_PAE ? 2 : m->levels;
	gpa_t table = vm_alloc_table(vm);
	u64 leaf = pte_make_leaf(m, vm->mem->gpa, 1, PTE_W | PTE_U);

	probes.vm = vm;
	*(u32 *)vm->mem->hva = WORD;
	add_probes(&probes, 1, true, leaf);
	/* A chain of tables whose entries 0 lead to the page. */
	for (level = 2; level <= top; level++) {
		if (m->pte_size == 4)
			*(u32 *)vm_hva(vm, table) = leaf;
		else
			*(u64 *)vm_hva(vm, table) = leaf;
		add_probes(&probes, level, false, table | PTE_P | PTE_W | PTE_U);
		if (level == 2 || (level == 3 && m->long_mode && cpu_has(&CPU_GBPAGES)))
			add_probes(&probes, level, true,
				   pte_make_leaf(m, vm->mem->gpa, level, PTE_W | PTE_U));
		leaf = table | PTE_P | PTE_W | PTE_U;
		table = vm_alloc_table(vm);
	}
	return &probes;
}

static void check_probe(const struct probe *p, struct agent_result read,
			struct agent_result user_write, struct agent_result fetch, bool has_nx)
{
	if (!p->reserved) {
		EXPECT_VALUE(read, WORD, "entry %#lx at level %d", p->entry, p->level);
		EXPECT_OK(user_write, "entry %#lx at level %d", p->entry, p->level);
		return;
	}
	EXPECT_PF(quirk_fix_rsvd(read), PFERR_P | PFERR_RSVD, p->gva, "entry %#lx at level %d",
		  p->entry, p->level);
	EXPECT_PF(quirk_fix_rsvd(user_write), PFERR_P | PFERR_RSVD | PFERR_W | PFERR_U, p->gva,
		  "entry %#lx at level %d", p->entry, p->level);
	EXPECT_PF(quirk_fix_rsvd(fetch), PFERR_P | PFERR_RSVD | (has_nx ? PFERR_F : 0), p->gva,
		  "entry %#lx at level %d", p->entry, p->level);
}

TEST(each_bit, .what = "each reserved bit of each level faults, each other bit does nothing",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode, .mem_gpa = SZ_1G, .mem_size = SZ_4M);
	struct probes *s = make_probes(vm);
	struct vcpu *v = vm->vcpu[0];
	bool has_nx = t->mode->pte_size == 8 && cpu_has(&CPU_NX);
	u32 i, done, n;

	for (done = 0; done < s->nr; done += n) {
		n = s->nr - done < AGENT_BATCH / 3 ? s->nr - done : AGENT_BATCH / 3;
		op_clear(v);
		for (i = done; i < done + n; i++) {
			gva_t gva = s->probe[i].gva;

			op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4);
			op_add(v, .kind = AGENT_WRITE, .addr = gva, .size = 4, .value = WORD,
			       .flags = AGENT_USER);
			/* What is not reserved may well be executable, but is no code. */
			op_add(v, .kind = s->probe[i].reserved ? AGENT_EXEC : AGENT_NOP,
			       .addr = gva);
		}
		vcpu_exec(v);
		for (i = 0; i < n; i++)
			check_probe(&s->probe[done + i], op_result(v, 3 * i),
				    op_result(v, 3 * i + 1), op_result(v, 3 * i + 2), has_nx);
	}
}

/* An 8-byte leaf entry with a reserved bit: above MAXPHYADDR, or PAE's 62. */
static u64 bad_leaf(struct vm *vm, u64 more)
{
	u64 bad = vm->mode->long_mode ? above_maxphyaddr(52) : BIT(62);

	REQUIRE(bad, "MAXPHYADDR below 52");
	return vm->mem->gpa | PTE_P | PTE_W | PTE_U | more | (bad & -bad);
}

TEST(error_code_present, .what = "a reserved-bit fault's error code has P as well",
     .modes = MODES_64 | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	struct agent_result res;

	aspace_make_tables(&vm->as, vm->test_gva, 1);
	aspace_set_pte(&vm->as, vm->test_gva, 1, bad_leaf(vm, 0));
	res = __guest_read(v, vm->test_gva);
	if (quirk_rsvd_without_p() && res.status == AGENT_FAULT && res.error == PFERR_RSVD)
		test_xfail("QEMU 7.2, target/i386/tcg/sysemu/excp_helper.c, mmu_translate",
			   "TCG: error code %#lx", res.error);
	EXPECT_PF(res, PFERR_P | PFERR_RSVD, vm->test_gva);
}

TEST(not_present, .what = "in an entry that is not present no other bit counts, at any level",
     .modes = MODES_PAGED)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	int level, top = t->mode->id == PM_PAE ? 2 : t->mode->levels;

	for (level = 1; level <= top; level++) {
		gva_t gva = vm->test_gva + 5 * level_size(t->mode, level);
		u64 fetch = t->mode->pte_size == 8 && cpu_has(&CPU_NX) ? PFERR_F : 0;

		aspace_make_tables(&vm->as, gva, level);
		aspace_set_pte(&vm->as, gva, level, ~0ull & ~PTE_P);
		EXPECT_PF(__guest_read(v, gva), 0, gva, "level %d", level);
		EXPECT_PF(__user_write(v, gva, 1), PFERR_W | PFERR_U, gva, "level %d", level);
		EXPECT_PF(__user_exec(v, gva), PFERR_U | fetch, gva, "level %d", level);
		EXPECT_EQ(aspace_get_pte(&vm->as, gva, level),
			  (t->mode->pte_size == 8 ? ~0ull : ~0u) & ~PTE_P, "level %d", level);
	}
}

static const char *const prefetch_fixes[] = {
	"mmu: fix forgot reserved bits check in speculative path (2010)", NULL};
static const char *const prefetch_variants[] = {"high_bit", "nx", NULL};

TEST(neighbour, .what = "entries with reserved bits beside one that is used are not mapped ahead",
     .modes = MODES_64 | MODE(PM_PAE), .variants = prefetch_variants, .fixes = prefetch_fixes)
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u64 bad = t->variant_idx ? PTE_NX : bad_leaf(vm, 0);
	gva_t gva = vm->test_gva;
	u32 i;

	if (t->variant_idx) {
		require_cpu(CPU_NX);
		REQUIRE(!kvm_is_partial(), "EFER.NX=0 takes effect");
		guest_wrmsr(v, MSR_EFER, guest_rdmsr(v, MSR_EFER) & ~EFER_NX);
	}
	/*
	 * All look as if they had been used, accessed and dirty, and the host has the
	 * pages: otherwise they would not be mapped ahead anyway.
	 */
	memset(vm->mem->hva, 1, PREFETCH * SZ_4K);
	vm_map(vm, gva, vm->mem->gpa, PREFETCH * SZ_4K, 1, PTE_W | PTE_U | PTE_A | PTE_D);
	for (i = 1; i < PREFETCH; i += 2)
		aspace_set_pte(&vm->as, gva + i * SZ_4K, 1,
			       (vm->mem->gpa + i * SZ_4K) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D |
				       bad);
	guest_read(v, gva + 4 * SZ_4K);
	EXPECT_OK(__user_write(v, gva + 8 * SZ_4K, 1));
	for (i = 0; i < PREFETCH; i++) {
		gva_t at = gva + i * SZ_4K;

		if (i % 2)
			EXPECT_PF(quirk_fix_rsvd(__user_read(v, at)),
				  PFERR_P | PFERR_RSVD | PFERR_U, at, "page %u", i);
		else
			EXPECT_OK(__user_read(v, at), "page %u", i);
	}
}

TEST(repaired, .what = "an access whose fault handler repairs the reserved bit goes through",
     .modes = MODES_64 | MODE(PM_PAE))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 i;

	/* Faults are not cached, so that repairing needs no INVLPG. */
	*(u32 *)vm->mem->hva = WORD;
	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
	for (i = 0; i < 3; i++) {
		op_clear(v);
		op_set_pte(v, &vm->as, gva, 1, bad_leaf(vm, 0));
		op_add(v, .kind = AGENT_INVLPG, .addr = gva);
		op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4);
		op_add(v, .kind = AGENT_ARM_FIXUP, .addr = aspace_pte_gpa(&vm->as, gva, 1),
		       .value = vm->mem->gpa | PTE_P | PTE_W | PTE_U, .size = 8);
		op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4);
		vcpu_exec(v);
		EXPECT_PF(quirk_fix_rsvd(op_result(v, 2)), PFERR_P | PFERR_RSVD, gva, "round %u",
			  i);
		EXPECT_VALUE(op_result(v, 4), WORD, "round %u", i);
	}
}

/*
 * A directory entry with bit 7 set. As a 4 MiB page its first word is WORD's
 * entry below, as a table it maps the page that holds WORD, and only that.
 */
static struct vm *vm_with_odd_directory(const struct paging_mode *m)
{
	struct vm *vm = vm_create(m, .mem_size = SZ_4M);

	*(u32 *)vm->mem->hva = (vm->mem->gpa + SZ_4K) | PTE_P | PTE_W | PTE_A | PTE_D;
	*(u32 *)((u8 *)vm->mem->hva + SZ_4K) = WORD;
	aspace_make_tables(&vm->as, vm->test_gva, 2);
	aspace_set_pte(&vm->as, vm->test_gva, 2, vm->mem->gpa | PTE_P | PTE_W | PTE_PS);
	return vm;
}

static void set_pse(struct vcpu *v, bool on)
{
	u64 cr4 = guest_get_cr(v, 4);

	guest_set_cr(v, 4, on ? cr4 | CR4_PSE : cr4 & ~CR4_PSE);
	guest_load_cr3(v, &v->vm->as);
}

TEST(pse_off, .what = "with CR4.PSE=0 bit 7 of a 32-bit directory entry is ignored",
     .modes = MODE(PM_32))
{
	struct vm *vm = vm_with_odd_directory(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;

	set_pse(v, false);
	EXPECT_VALUE(__guest_read(v, gva), WORD);
	EXPECT_PF(__guest_read(v, gva + SZ_4K), 0, gva + SZ_4K);
}

TEST(pse_toggled, .what = "a directory entry that was used as a 4 MiB page is none with CR4.PSE=0",
     .modes = MODE(PM_32))
{
	struct vm *vm = vm_with_odd_directory(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u32 large = *(u32 *)vm->mem->hva, i;
	struct agent_result res;

	for (i = 0; i < 2; i++) {
		EXPECT_VALUE(__guest_read(v, gva), large, "CR4.PSE=1, round %u", i);
		EXPECT_VALUE(__guest_read(v, gva + SZ_4K), WORD, "CR4.PSE=1, round %u", i);
		set_pse(v, false);
		res = __guest_read(v, gva);
		/* CR4.PSE is not in the role of shadow pages. */
		if (engine()->kernel_memory && mmu_kind() == MMU_SHADOW && res.status == AGENT_OK &&
		    res.value == large)
			test_xfail("arch/x86/kvm/mmu/mmu.c, kvm_init_shadow_mmu",
				   "a 4 MiB page mapped with CR4.PSE=1 is found again with PSE=0");
		EXPECT_VALUE(res, WORD, "CR4.PSE=0, round %u", i);
		EXPECT_PF(__guest_read(v, gva + SZ_4K), 0, gva + SZ_4K, "CR4.PSE=0, round %u", i);
		set_pse(v, true);
	}
}

TEST(pdpte, .what = "reserved bits in a PDPTE of PAE are refused, when CR3 is loaded or when used",
     .modes = MODE(PM_PAE))
{
	static const u8 odd[] = {1, 2, 5, 6, 7, 8, 52, 62, 63};
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t gva = vm->test_gva;
	u64 good = aspace_get_pte(&vm->as, gva, 3);
	struct aspace other = aspace_create(vm);
	struct agent_result load, read;
	u32 i, ignored = 0;

	aspace_map(&other, gva, vm->mem->gpa, SZ_4K, 1, PTE_W);
	good = aspace_get_pte(&other, gva, 3);
	for (i = 0; i < ARRAY_LEN(odd); i++) {
		aspace_set_pte(&other, gva, 3, good | BIT(odd[i]));
		op_clear(v);
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = other.root);
		op_add(v, .kind = AGENT_READ, .addr = gva, .size = 4);
		op_add(v, .kind = AGENT_WRITE_CR, .addr = 3, .value = vm->as.root);
		vcpu_exec(v);
		load = op_result(v, 0);
		read = op_result(v, 1);
		/* AMD's nested paging reads PDPTEs as it walks; TCG does not check the low ones. */
		if (load.status != AGENT_OK) {
			EXPECT_FAULT(load, GP_VECTOR, 0, "bit %u", odd[i]);
		} else if (quirk_pdpte_accessed() && read.status == AGENT_OK && odd[i] < 9) {
			ignored++;
		} else {
			EXPECT_NE(mmu_kind(), MMU_SHADOW, "MOV CR3 is the hypervisor's, bit %u",
				  odd[i]);
			EXPECT_PF(quirk_fix_rsvd(read), PFERR_P | PFERR_RSVD, gva, "bit %u",
				  odd[i]);
		}
		EXPECT_OK(op_result(v, 2), "back");
	}
	aspace_set_pte(&other, gva, 3, good);
	guest_load_cr3(v, &other);
	EXPECT_OK(__guest_read(v, gva), "without odd bits");
	if (ignored)
		test_xfail("QEMU 7.2, target/i386/tcg/sysemu/excp_helper.c, mmu_translate",
			   "TCG ignores %u of %lu reserved bits of a PDPTE", ignored,
			   ARRAY_LEN(odd));
}

static void hide_gbpages(struct kvm_cpuid2 *cpuid)
{
	u32 i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == CPU_GBPAGES.leaf)
			cpuid->entries[i].edx &= ~(u32)BIT(CPU_GBPAGES.bit);
}

/* With two-dimensional paging the processor decides, whatever CPUID says. */
TEST(no_gbpages, .what = "a guest without 1 GiB pages in CPUID faults on PS at level 3",
     .modes = MODES_64, .meant_for = MMU_SHADOW)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;

	REQUIRE(mmu_kind() == MMU_SHADOW, "shadow paging");
	vm = vm_create(t->mode, .mem_gpa = SZ_1G, .cpuid = hide_gbpages);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	vm_map(vm, gva, vm->mem->gpa, SZ_1G, 3, PTE_W | PTE_U);
	vm_map(vm, gva + SZ_1G, vm->mem->gpa, SZ_2M, 2, PTE_W | PTE_U);
	EXPECT_PF(__guest_read(v, gva), PFERR_P | PFERR_RSVD, gva);
	EXPECT_OK(__guest_read(v, gva + SZ_1G), "2 MiB pages stay");
}
