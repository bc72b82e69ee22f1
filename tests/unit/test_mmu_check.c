// SPDX-License-Identifier: GPL-2.0-only
/*
 * The auditor: what is right passes, and each rule speaks when what it is about is broken. The rules
 * about single things are asked with made-up facts; for the others a VM's state is broken by
 * hand, one thing at a time, and put right again.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"
#include "x86/mmu/check_rules.h"
#include "x86/mmu/rmap.h"
#include "x86/mmu/spte.h"

/* --- rules about single things ------------------------------------------------------------ */

#define BREAKS(rule, field, value, text)                                           \
	do {                                                                       \
		const char *said;                                                  \
                                                                                   \
		f = good;                                                          \
		f.field = (value);                                                 \
		said = rule(&f);                                                   \
		EXPECT(said &&strstr(said, text), "%s: %s", #field, said ?: "ok"); \
	} while (0)

TEST(leaf_rules, .what = "leafs: what is right passes, each thing wrong is told")
{
	static const struct leaf_facts right = {
		.level = 1,
		.gfn = 0x200,
		.hpa = 0x200000,
		.writable = true,
		.host_writable = true,
		.mmu_writable = true,
		.has_slot = true,
		.slot_has_all = true,
		.logged = true,
		.in_log = true,
		.host_known = true,
		.host_present = true,
		.host_lets_write = true,
		.host_hpa = 0x200000,
		.host_level = 1,
	};
	struct leaf_facts good = right, f;

	EXPECT(rule_leaf(&good) == NULL);
	BREAKS(rule_leaf, mmu_writable, false, "W without MMU_WRITABLE");
	BREAKS(rule_leaf, host_writable, false, "MMU_WRITABLE without HOST_WRITABLE");
	BREAKS(rule_leaf, accessed_tracked, true, "tracks access");
	BREAKS(rule_leaf, ad_mode, 1, "A/D mode");
	BREAKS(rule_leaf, role_ad_disabled, true, "A/D mode");
	BREAKS(rule_leaf, ad_mode, 2, "for nested guests");
	BREAKS(rule_leaf, role_nested, true, "for nested guests");
	BREAKS(rule_leaf, hpa, 0x200010, "aligned");
	BREAKS(rule_leaf, has_slot, false, "in no slot");
	BREAKS(rule_leaf, slot_has_all, false, "out of its slot");
	BREAKS(rule_leaf, slot_readonly, true, "read-only slot");
	BREAKS(rule_leaf, shadowed, true, "shadowed");
	BREAKS(rule_leaf, in_log, false, "W though a frame isn't in the dirty log");
	BREAKS(rule_leaf, fits_huge, true, "nothing is against a huge one");
	BREAKS(rule_leaf, host_present, false, "no page there");
	BREAKS(rule_leaf, host_hpa, 0x201000, "another frame");
	BREAKS(rule_leaf, host_lets_write, false, "the host's page is read-only");
	BREAKS(rule_leaf, level, 2, "larger than the host's page");
	good.log_by_d = good.dirty = true;
	EXPECT(rule_leaf(&good) == NULL);
	BREAKS(rule_leaf, in_log, false, "D though a frame isn't in the dirty log");
	good.dirty = good.in_log = false;
	EXPECT(rule_leaf(&good) == NULL, "nothing was written");
	good = right;
	good.level = good.host_level = 2;
	EXPECT(rule_leaf(&good) == NULL);
	BREAKS(rule_leaf, gfn, 0x201, "aligned");
	BREAKS(rule_leaf, lpage_disallowed, true, "lpage_info");
	good.executable = true;
	BREAKS(rule_leaf, nx_workaround, true, "an executable huge page");
	good.executable = false;
	good.host_known = good.host_present = false;
	EXPECT(rule_leaf(&good) == NULL, "the host isn't asked");
}

TEST(entry_rules, .what = "bits of entries: what is right passes, each thing wrong is told")
{
	struct entry_facts good = {
		.spte = PTE_P | PTE_W | 0x1000,
		.level = 1,
		.leaf = true,
		.rsvd_addr = BIT(51),
	};
	const u64 wb = EPT_MT_WB << EPT_MT_SHIFT;
	struct entry_facts f;

	EXPECT(rule_entry(&good) == NULL);
	BREAKS(rule_entry, spte, PTE_P | BIT(51), "address bits");
	BREAKS(rule_entry, spte, PTE_P | BIT(52), "62:52");
	BREAKS(rule_entry, spte, PTE_P | PTE_PS, "bit 7 at level 1");
	BREAKS(rule_entry, level, 4, "above level 3");
	good.high_bits_free = true;
	good.spte |= BIT(52);
	EXPECT(rule_entry(&good) == NULL);
	good = (struct entry_facts){.spte = EPT_RWX | wb, .level = 1, .leaf = true, .ept = true};
	EXPECT(rule_entry(&good) == NULL);
	BREAKS(rule_entry, spte, EPT_W | EPT_X | wb, "W without R");
	BREAKS(rule_entry, spte, EPT_RWX | 2 << EPT_MT_SHIFT, "memory type");
	good.leaf = false;
	good.level = 2;
	BREAKS(rule_entry, spte, EPT_RWX | wb, "points on");
	good.spte = EPT_RWX;
	EXPECT(rule_entry(&good) == NULL);
}

TEST(guest_rules, .what = "SPTEs and guests' entries: what is right passes, what differs is told")
{
	struct guest_facts good = {
		.present = true,
		.accessed = true,
		.keeps_ad = true,
		.dirty = true,
		.maps_page = true,
		.gfn = 7,
		.access = ACC_ALL,
		.sp_access = ACC_ALL,
		.cr0_wp = true,
		.spte_leaf = true,
		.spte_gfn = 7,
		.spte_access = ACC_ALL,
	};
	struct guest_facts f;

	EXPECT(rule_guest(&good) == NULL);
	BREAKS(rule_guest, present, false, "not present");
	BREAKS(rule_guest, accessed, false, "A clear");
	BREAKS(rule_guest, maps_page, false, "page or table");
	BREAKS(rule_guest, spte_gfn, 8, "another frame");
	BREAKS(rule_guest, access, ACC_USER, "more rights");
	BREAKS(rule_guest, sp_access, ACC_USER | ACC_EXEC, "more rights");
	BREAKS(rule_guest, dirty, false, "D clear");
	f = good;
	f.outside_writes = true;
	f.accessed = false;
	EXPECT(rule_guest(&f) == NULL, "not used since it was written");
	f = good;
	f.cr0_wp = false;
	f.access = ACC_EXEC;
	f.spte_access = ACC_WRITE | ACC_EXEC;
	EXPECT(rule_guest(&f) == NULL, "the kernel writes what is read-only");
	f = good;
	f.spte_leaf = f.maps_page = false;
	EXPECT(rule_guest(&f) == NULL, "a table");
}

#undef BREAKS

/* --- a VM's state ------------------------------------------------------------------------- */

#define MiB	(1ull << 20)
#define SIZE	(16 * MiB)
#define TABLES	(1 * MiB)
#define DATA	(2 * MiB)
#define GVA	SZ_1G
#define GVA_1G	(4 * SZ_1G)
#define RIGHTS	(PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define NOWHERE 0xfee00 /* no slot has this frame */

static int vm_fd, vcpu_fd;
static u8 *mem;
static struct kvm *kvm;
static struct kvm_vcpu *vcpu;
static u64 next_table;
/* A page that no list has. */
static struct kvm_mmu_page *stray;

static u64 *guest_entry(u64 root, u64 gva, int level)
{
	int l;

	for (l = 4; l > level; l--) {
		u64 *e = (u64 *)(mem + root) + SPTE_INDEX(gva, l);

		if (!*e) {
			*e = next_table | RIGHTS;
			next_table += SZ_4K;
		}
		root = *e & PTE_ADDR_MASK;
	}
	return (u64 *)(mem + root) + SPTE_INDEX(gva, level);
}

static void fault(u64 addr, u64 code)
{
	int tries, ret = RET_PF_RETRY;

	for (tries = 0; tries < 8 && ret == RET_PF_RETRY; tries++) {
		hw_rcu_read_lock();
		ASSERT_EQ(kvm_mmu_reload(vcpu), 0);
		ret = kvm_mmu_page_fault(vcpu, addr, code, NULL);
		hw_rcu_read_unlock();
	}
	ASSERT(ret == RET_PF_FIXED || ret == RET_PF_SPURIOUS, "result %d", ret);
}

static void make_vm(const char *config)
{
	struct kvm_userspace_memory_region region = {.memory_size = SIZE};
	int fd;

	ASSERT(!intree_config(config), "parameters");
	fd = intree_open("/dev/kvm", 0);
	vm_fd = intree_ioctl(fd, KVM_CREATE_VM, NULL);
	ASSERT_GE(vm_fd, 0);
	mem = intree_mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT(mem != MAP_FAILED, "memory");
	region.userspace_addr = (u64)mem;
	ASSERT_EQ(intree_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
	vcpu_fd = intree_ioctl(vm_fd, KVM_CREATE_VCPU, NULL);
	ASSERT_GE(vcpu_fd, 0);
	intree_close(fd);
	vcpu = intree_vcpu(vcpu_fd);
	kvm = vcpu->kvm;
	next_table = TABLES + SZ_4K;
	vcpu->regs.cr0 = CR0_PE | CR0_PG | CR0_WP;
	vcpu->regs.cr4 = CR4_PAE;
	vcpu->regs.cr3 = TABLES;
	vcpu->regs.efer = EFER_LME | EFER_LMA | EFER_NX;
	vcpu->regs.gbpages = true;
	hw_rcu_read_lock();
	kvm_init_mmu(vcpu);
	hw_rcu_read_unlock();
	stray = hw_alloc(sizeof(*stray));
	ASSERT(stray != NULL);
	stray->spt = hw_table_alloc(false);
	ASSERT(stray->spt != NULL);
	*hw_table_owner(stray->spt) = stray;
}

static void drop_vm(void)
{
	hw_table_free(stray->spt);
	hw_free(stray);
	intree_close(vcpu_fd);
	intree_close(vm_fd);
	intree_munmap(mem, SIZE);
}

static struct kvm_memory_slot *slot_of(gfn_t gfn)
{
	return gfn_to_slot_of_as(kvm, 0, gfn);
}

/* What is looked for among the lines of a check, and whether it was there. */
struct wanted {
	const char *text;
	bool seen;
	char first[400];
};

static void hear(void *arg, const char *line)
{
	struct wanted *w = arg;

	if (!w->first[0])
		snprintf(w->first, sizeof(w->first), "%s", line);
	if (w->text && strstr(line, w->text))
		w->seen = true;
}

static void expect_told(const char *broken, const char *text)
{
	struct wanted w = {.text = text};
	int n;

	hw_rcu_read_lock();
	n = mmu_check(kvm, hear, &w);
	/* Whoever wants no lines is told the number. */
	EXPECT_EQ(mmu_check(kvm, NULL, NULL), n, "%s", broken);
	hw_rcu_read_unlock();
	EXPECT(n > 0 && w.seen, "%s: \"%s\" isn't told; the first of %d: %s", broken, text, n,
	       w.first);
}

static void expect_fine(const char *after)
{
	struct wanted w = {0};

	hw_rcu_read_lock();
	EXPECT_EQ(mmu_check(kvm, hear, &w), 0, "after %s: %s", after, w.first);
	hw_rcu_read_unlock();
}

#define BREAKS(what, value, text)                     \
	do {                                          \
		__typeof__((what) + 0) was_ = (what); \
                                                      \
		what = (value);                       \
		expect_told(#what, text);             \
		what = was_;                          \
		expect_fine(#what);                   \
	} while (0)

/* The shadow page for the guest's table of @level on the way to @gva, or its TDP table. */
static struct kvm_mmu_page *page_at(u64 addr, int level)
{
	struct kvm_mmu_page *sp = root_to_sp(vcpu->mmu->root.hpa);

	while (sp->role.level > level) {
		u64 spte = mmu_spte_get(&sp->spt[SPTE_INDEX(addr, sp->role.level)]);

		ASSERT(is_shadow_present_pte(spte) && !is_large_pte(spte), "level %d",
		       (int)sp->role.level);
		sp = spte_to_child_sp(spte);
	}
	return sp;
}

static void make_shadowed(void)
{
	make_vm("npt=0");
	*guest_entry(TABLES, GVA, 1) = DATA | RIGHTS;
	*guest_entry(TABLES, GVA + SZ_4K, 1) = DATA | RIGHTS;
	*guest_entry(TABLES, GVA + 2 * SZ_4K, 1) = (DATA + SZ_4K) | PTE_P | PTE_A;
	*guest_entry(TABLES, GVA_1G, 3) = RIGHTS | PTE_PS;
	fault(GVA, PFERR_W);
	fault(GVA + SZ_4K, PFERR_W);
	fault(GVA + 2 * SZ_4K, 0);
	fault(GVA_1G + DATA + 5 * SZ_4K, PFERR_W);
	expect_fine("faults");
}

TEST(shadow_lists, .what = "shadow pages: lists, hash, counts and what slots know of tables")
{
	struct kvm_memory_slot *slot;
	struct kvm_mmu_page *root, *leaf, *direct, *page;

	make_shadowed();
	root = page_at(GVA, 4);
	leaf = page_at(GVA, 1);
	direct = page_at(GVA_1G + DATA, 1);
	ASSERT(direct->role.direct && !leaf->role.direct);
	slot = slot_of(leaf->gfn);

	BREAKS(leaf->tdp_mmu_page, true, "a TDP page among shadow pages");
	BREAKS(*hw_table_owner(leaf->spt), root, "its table belongs to another page");
	BREAKS(leaf->role.invalid, 1, "invalid, but active");
	BREAKS(leaf->role.invalid, 1, "invalid, but linked");
	BREAKS(leaf->role.invalid, 1, "in a page that was zapped");
	BREAKS(kvm->arch.n_used_mmu_pages, 1, "n_used_mmu_pages");
	BREAKS(leaf->gfn, leaf->gfn + 1, "in another bucket of the hash");
	list_del(&leaf->link);
	expect_told("not in active_mmu_pages", "in the hash only");
	list_add(&leaf->link, &kvm->arch.active_mmu_pages);
	list_del(&leaf->hash_link);
	expect_told("not in the hash", "shadow pages in the hash");
	list_add(&leaf->hash_link, kvm_page_hash(kvm, leaf->gfn));
	expect_fine("lists");

	BREAKS(slot->arch.gfn_write_track[root->gfn], 3, "write tracking counts wrongly");
	BREAKS(slot->arch.lpage_info[1][slot_index(slot, leaf->gfn, 2)].disallow_lpage, 0,
	       "lacks the table as a reason");
	BREAKS(slot->arch.lpage_info[1][slot_index(slot, leaf->gfn, 2)].disallow_lpage, 77,
	       "reasons against huge pages in a slot");
	/* There are some, and none are allowed: with what may be beyond it this limit wraps to 0. */
	BREAKS(kvm->arch.n_max_mmu_pages, -16ull, "more shadow pages than the limit");
	page = list_first(&kvm->arch.active_mmu_pages, struct kvm_mmu_page, link);
	BREAKS(page->mmu_valid_gen, page->mmu_valid_gen + 1, "of an older generation");
	BREAKS(root->role.level, 6, "no such level");
	BREAKS(direct->gfn, direct->gfn + 1, "not aligned to what it spans");
	BREAKS(leaf->shadowed_translation, NULL, "indirect, without translations");
	BREAKS(kvm->stat.pages_4k, 77, "pages_4k");
	BREAKS(kvm->stat.mmu_unsync, 77, "mmu_unsync");
	BREAKS(kvm->arch.indirect_shadow_pages, 77, "indirect_shadow_pages");

	stray->gfn = leaf->gfn;
	stray->role = leaf->role;
	stray->mmu_valid_gen = leaf->mmu_valid_gen;
	stray->shadowed_translation = leaf->shadowed_translation;
	list_add(&stray->link, &kvm->arch.active_mmu_pages);
	list_add(&stray->hash_link, kvm_page_hash(kvm, stray->gfn));
	expect_told("a copy", "there are two of it");
	list_del(&stray->link);
	list_del(&stray->hash_link);
	expect_fine("a copy");
	drop_vm();
}

TEST(shadow_links, .what = "shadow pages: parents, children, reverse maps, and unsync marks")
{
	struct kvm_mmu_page *dir, *leaf, *direct_dir, *direct;
	struct kvm_rmap_head *head, *other;
	struct kvm_memory_slot *slot;
	struct pte_list_desc *desc;
	u64 *empty;

	make_shadowed();
	dir = page_at(GVA, 2);
	leaf = page_at(GVA, 1);
	direct_dir = page_at(GVA_1G + DATA, 2);
	direct = page_at(GVA_1G + DATA, 1);
	ASSERT(direct_dir->role.direct);
	slot = slot_of(leaf->gfn);
	empty = &dir->spt[300];
	stray->role = leaf->role;

	BREAKS(leaf->parent_ptes.val, (u64)&stray->spt[1], "a parent entry that is in no page");
	BREAKS(leaf->parent_ptes.val, (u64)empty, "but it does not point there");
	BREAKS(dir->unsync_children, 1, "not how many bits are set");
	BREAKS(dir->unsync, 1, "unsync, but no guest's last-level table");
	BREAKS(leaf->unsync, 1, "unsync pages below, but its bit is clear");
	BREAKS(*empty, make_nonleaf_spte(kvm, stray->spt, false), "what is no shadow page");
	BREAKS(*empty, make_nonleaf_spte(kvm, leaf->spt, false), "does not know this parent");
	BREAKS(leaf->role.smm, 1, "role does not belong here");
	BREAKS(direct->gfn, direct->gfn + 512, "the child maps other frames");

	head = gfn_to_rmap(slot, DATA / SZ_4K + 1, 1);
	other = gfn_to_rmap(slot, DATA / SZ_4K + 200, 1);
	ASSERT(head->val && !other->val);
	BREAKS(head->val, 0, "not in its frame's rmap");
	BREAKS(other->val, (u64)&stray->spt[1], "an SPTE that is in no page");
	BREAKS(other->val, head->val, "of a frame that it does not map");
	head = gfn_to_rmap(slot, DATA / SZ_4K, 1);
	ASSERT(head->val & 1, "several map it");
	desc = (struct pte_list_desc *)(head->val & ~1ull);
	BREAKS(desc->below, 5, "an rmap's count");
	drop_vm();
}

TEST(shadow_entries, .what = "shadow pages: what entries map against slots and guests' tables")
{
	struct kvm_mmu_page *leaf;
	u64 *spte;

	make_shadowed();
	leaf = page_at(GVA, 1);
	spte = &leaf->spt[SPTE_INDEX(GVA, 1)];
	BREAKS(*guest_entry(TABLES, GVA, 1), (DATA + SZ_4K) | RIGHTS, "has another frame");
	BREAKS(*guest_entry(TABLES, GVA, 1), DATA | (RIGHTS & ~PTE_W), "more rights");
	BREAKS(*guest_entry(TABLES, GVA, 2), 0x200000 | RIGHTS | PTE_PS, "page or table");
	BREAKS(spte[2], spte[2] | PTE_W, "W without MMU_WRITABLE");
	BREAKS(*spte, *spte ^ SZ_4K, "another frame than the host has there");
	BREAKS(*spte, *spte | PTE_PS, "bit 7 at level 1");
	BREAKS(*spte, *spte | BIT(52), "62:52");
	BREAKS(slot_of(0)->npages, 1, "in no slot");
	BREAKS(slot_of(0)->flags, SLOT_READONLY, "read-only slot");
	drop_vm();
}

TEST(tdp, .what = "the TDP MMU: roots, tables, what leads to them, and entries")
{
	struct kvm_mmu_page *root, *dir, *leaf;
	u64 gpa = DATA, *at, mmio, gen;

	make_vm("npt=1");
	fault(gpa, PFERR_W);
	fault(gpa + 5 * SZ_4K, PFERR_W);
	fault(4 * MiB, PFERR_W);
	expect_fine("faults");
	root = page_at(gpa, 4);
	dir = page_at(gpa, 2);
	leaf = page_at(gpa, 1);
	at = &leaf->spt[SPTE_INDEX(gpa, 1) + 9];
	ASSERT_EQ(*at, 0);

	BREAKS(root->ptep, at, "a root with a parent");
	BREAKS(root->root_count, 0, "a root that nobody holds");
	BREAKS(root->root_count, 1, "how many vCPUs have it");
	BREAKS(leaf->ptep, NULL, "not linked");
	BREAKS(leaf->ptep, at, "the child has another parent");
	BREAKS(kvm->arch.tdp_mmu_page_count, 77, "tdp_mmu_page_count");
	BREAKS(*hw_table_owner(leaf->spt), stray, "no table of the TDP MMU");
	BREAKS(*hw_table_owner(root->spt), stray, "no page that is known");
	BREAKS(leaf->role.access, 0, "role does not belong here");
	BREAKS(leaf->gfn, leaf->gfn + 512, "the child maps other frames");
	BREAKS(leaf->role.direct, 0, "in a tree of the TDP MMU");
	BREAKS(dir->spt[SPTE_INDEX(gpa, 2)], 0, "tables that TDP roots lead to");
	list_del(&leaf->link);
	list_add(&leaf->link, &kvm->arch.tdp_mmu_roots);
	expect_told("a table as a root", "a root with a parent");
	list_del(&leaf->link);
	list_add(&leaf->link, &kvm->arch.tdp_mmu_pages);
	expect_fine("lists");

	stray->role = root->role;
	stray->tdp_mmu_page = true;
	stray->root_count = 1;
	list_add(&stray->link, &kvm->arch.tdp_mmu_roots);
	expect_told("a second root", "there are two of it");
	list_del(&stray->link);
	expect_fine("a second root");

	BREAKS(*at, REMOVED_SPTE, "frozen");
	BREAKS(*at, 2, "neither empty nor present");
	hw_rcu_read_lock();
	mmio = make_mmio_spte(vcpu, NOWHERE, ACC_ALL);
	BREAKS(*at, mmio, "MMIO of another frame");
	BREAKS(dir->spt[SPTE_INDEX(gpa, 2) + 9], mmio, "MMIO above level 1");
	mmio = make_mmio_spte(vcpu, (gpa >> PAGE_SHIFT) + 9, ACC_ALL);
	BREAKS(*at, mmio, "MMIO where a slot is");
	gen = kvm->memslots[0]->generation;
	kvm->memslots[0]->generation = gen + 2;
	mmio = make_mmio_spte(vcpu, (gpa >> PAGE_SHIFT) + 9, ACC_ALL);
	kvm->memslots[0]->generation = gen;
	hw_rcu_read_unlock();
	BREAKS(*at, mmio, "a generation to come");
	/* While memslots change nothing can be said of that. */
	kvm->memslots[0]->generation = gen | KVM_MEMSLOT_GEN_UPDATE;
	*at = mmio;
	expect_fine("a change of slots that is half done");
	*at = 0;
	kvm->memslots[0]->generation = gen;

	BREAKS(kvm->arch.nr_possible_nx_huge_pages, 1, "nr_possible_nx_huge_pages");
	list_add(&leaf->possible_nx_huge_page_link, &kvm->arch.possible_nx_huge_pages);
	expect_told("on the list", "without reason");
	list_del(&leaf->possible_nx_huge_page_link);
	list_add(&stray->possible_nx_huge_page_link, &kvm->arch.possible_nx_huge_pages);
	expect_told("a stray one", "that is nowhere else");
	list_del(&stray->possible_nx_huge_page_link);
	list_init(&leaf->possible_nx_huge_page_link);
	expect_fine("possible_nx_huge_pages");
	drop_vm();
}

TEST(roots, .what = "vCPUs' roots against the counts in pages")
{
	struct kvm_mmu_page *root, *leaf;

	make_shadowed();
	root = page_at(GVA, 4);
	leaf = page_at(GVA, 1);
	BREAKS(vcpu->mmu->root.hpa, hw_hpa(stray->spt), "no page that is known");
	BREAKS(root->root_count, 2, "how many vCPUs have it");
	BREAKS(leaf->root_count, 1, "that no vCPU has");
	BREAKS(vcpu->mmu->prev_roots[0].hpa, vcpu->mmu->root.hpa, "how many vCPUs have it");
	drop_vm();
}

static void expect_translation(u64 addr, u64 size, hpa_t hpa, bool writable, const char *text)
{
	struct wanted w = {.text = text};
	int n;

	hw_rcu_read_lock();
	n = mmu_check_translation(vcpu, addr, size, hpa, writable, hear, &w);
	EXPECT_EQ(mmu_check_translation(vcpu, addr, size, hpa, writable, NULL, NULL), n);
	hw_rcu_read_unlock();
	EXPECT_EQ(n, text != NULL, "%#lx: %s", addr, w.first);
	EXPECT(!text || w.seen, "%#lx: %s", addr, w.first);
}

TEST(translations, .what = "what a processor remembers, against the tables it came from")
{
	struct wanted w = {.text = "none or another is there"};
	hpa_t hpa;

	make_shadowed();
	hpa = spte_to_hpa(page_at(GVA, 1)->spt[SPTE_INDEX(GVA, 1)]);
	expect_translation(GVA, SZ_4K, hpa, true, NULL);
	expect_translation(GVA, SZ_4K, hpa + SZ_4K, true, "another frame is mapped");
	expect_translation(GVA + 2 * SZ_4K, SZ_4K, hpa + SZ_4K, false, NULL);
	expect_translation(GVA + 2 * SZ_4K, SZ_4K, hpa + SZ_4K, true, "it is read-only");
	expect_translation(GVA + 9 * SZ_4K, SZ_4K, hpa, false, "nothing is mapped");
	expect_translation(GVA, SZ_2M, hpa, false, "another frame is mapped");
	hw_rcu_read_lock();
	EXPECT_EQ(mmu_check_table(vcpu, GVA, SZ_2M, hw_hpa(page_at(GVA, 1)->spt), hear, &w), 0);
	EXPECT_EQ(mmu_check_table(vcpu, GVA, SZ_2M, hw_hpa(stray->spt), hear, &w), 1);
	EXPECT(w.seen, "%s", w.first);
	/* Without a root there is nothing to compare with. */
	hpa = vcpu->mmu->root.hpa;
	vcpu->mmu->root.hpa = INVALID_PAGE;
	EXPECT_EQ(mmu_check_translation(vcpu, GVA, SZ_4K, 0, false, hear, &w), 0);
	EXPECT_EQ(mmu_check_table(vcpu, GVA, SZ_2M, 0, hear, &w), 0);
	vcpu->mmu->root.hpa = hpa;
	hw_rcu_read_unlock();
	drop_vm();
}
