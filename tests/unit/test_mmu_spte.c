// SPDX-License-Identifier: GPL-2.0-only
/*
 * SPTEs in each format: what they say survives what is done to them, and the hardware would take them for what they
 * are meant to be. Also the parameters that formats follow from, and finding slots.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/test.h"

#include "x86/kvm/internal.h"
#include "x86/mmu/internal.h"

static const char *const configs[] = {"npt=1", "npt=0", "ept=1", "ad_bits=0", "maxphyaddr=52"};

/* A VM of one parameter, or two, without slots. */
static struct kvm *kvm_of(const char *first, const char *second)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	const char *config[] = {first, second};

	vm->kvm.params = mmu_params_default();
	for (int i = 0; i < 2 && config[i]; i++) {
		const char *eq = strchr(config[i], '=');

		ASSERT(!mmu_param_set(&vm->kvm.params, config[i], (size_t)(eq - config[i]),
				      eq + 1));
	}
	ASSERT_EQ(hw_vm_init(vm), 0);
	ASSERT_EQ(kvm_mmu_init_vm(&vm->kvm), 0);
	return &vm->kvm;
}

static void kvm_done(struct kvm *kvm)
{
	kvm_mmu_uninit_vm(kvm);
	hw_vm_fini(to_vm(kvm));
	free(to_vm(kvm));
}

static bool shadowed; /* the frame is a table of the guest's */
static const hpa_t hpa = 0x712345678000ull & ~(SZ_2M - 1);

static u64 leaf(struct kvm *kvm, int level, unsigned int access, bool prefetch, bool host_writable)
{
	u16 tracked = shadowed;
	struct kvm_memory_slot slot = {.npages = 1, .arch.gfn_write_track = &tracked};
	struct kvm_mmu_page sp = {
		.role.level = (u32)level,
		.role.ad_disabled = !spte_format(kvm)->ad,
	};
	u64 spte;
	bool wrprot = make_spte(kvm, NULL, &sp, &slot, access, 0, hpa, 0, prefetch, true,
				host_writable, &spte);

	EXPECT_EQ(wrprot, shadowed && host_writable && access & ACC_WRITE);
	return spte;
}

TEST(leaves, .what = "rights, frame and the MMU's own bits are what was asked for")
{
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		struct kvm *kvm = kvm_of(configs[i], NULL);
		const struct spte_format *f = spte_format(kvm);

		for (unsigned int access = 0; access <= ACC_ALL; access++)
			for (int host_writable = 0; host_writable < 2; host_writable++) {
				u64 spte = leaf(kvm, PG_LEVEL_4K, access, false, host_writable);
				bool w = access & ACC_WRITE && host_writable;

				EXPECT(is_shadow_present_pte(spte) && is_last_spte(spte, 1));
				EXPECT(!is_mmio_spte(kvm, spte), "%s", configs[i]);
				EXPECT(!is_access_track_spte(kvm, spte), "%s", configs[i]);
				EXPECT(is_accessed_spte(kvm, spte), "%s", configs[i]);
				EXPECT_EQ(spte_to_hpa(spte), hpa);
				EXPECT_EQ(is_writable_pte(spte), w);
				EXPECT_EQ(is_dirty_spte(kvm, spte), w);
				EXPECT_EQ(is_mmu_writable_spte(spte), w);
				EXPECT_EQ(is_host_writable_pte(spte), host_writable);
				EXPECT_EQ(is_executable_pte(kvm, spte), !!(access & ACC_EXEC));
				EXPECT(!(spte & f->me_rsvd), "%s", configs[i]);
				/* PAE has these reserved. */
				if (!mmu_params_tdp(&kvm->params))
					EXPECT_EQ(spte >> 52 & 0x7ff, 0);
			}
		shadowed = true;
		EXPECT(!is_mmu_writable_spte(leaf(kvm, 1, ACC_ALL, false, true)));
		shadowed = false;
		kvm_done(kvm);
	}
}

TEST(access_tracking, .what = "a tracked entry gives nothing, and gets back all but W")
{
	static const char *const vendors[] = {"npt=1", "ept=1"};

	for (size_t i = 0; i < ARRAY_LEN(vendors); i++)
		for (unsigned int access = 0; access <= ACC_ALL; access++) {
			struct kvm *kvm = kvm_of(vendors[i], "ad_bits=0");
			u64 spte = leaf(kvm, PG_LEVEL_4K, access, false, true);
			u64 tracked = mark_spte_for_access_track(kvm, spte);

			EXPECT(is_shadow_present_pte(tracked));
			EXPECT(is_access_track_spte(kvm, tracked));
			EXPECT(!is_accessed_spte(kvm, tracked));
			EXPECT(!is_mmio_spte(kvm, tracked));
			EXPECT(!(tracked & spte_format(kvm)->acc_track));
			EXPECT_EQ(mark_spte_for_access_track(kvm, tracked), tracked);
			EXPECT_EQ(restore_acc_track_spte(kvm, tracked), spte & ~PTE_W);
			/* The same as what is made when nobody has accessed it. */
			EXPECT_EQ(leaf(kvm, PG_LEVEL_4K, access, true, true), tracked);
			kvm_done(kvm);
		}
}

TEST(ad_bits, .what = "with A and D, prefetched entries lack A, and are young once it is set")
{
	static const char *const vendors[] = {"npt=1", "npt=0", "ept=1"};

	for (size_t i = 0; i < ARRAY_LEN(vendors); i++) {
		struct kvm *kvm = kvm_of(vendors[i], NULL);
		u64 spte = leaf(kvm, PG_LEVEL_4K, ACC_ALL, true, true);

		EXPECT(!is_accessed_spte(kvm, spte));
		spte |= spte_format(kvm)->accessed;
		EXPECT(is_accessed_spte(kvm, spte));
		EXPECT_EQ(mark_spte_for_access_track(kvm, spte),
			  spte & ~spte_format(kvm)->accessed);
		kvm_done(kvm);
	}
}

TEST(splits, .what = "each entry of a split huge page maps its part with the same rights")
{
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		struct kvm *kvm = kvm_of(configs[i], "nx_huge_pages=force");
		u64 huge = leaf(kvm, PG_LEVEL_2M, ACC_ALL, false, true);

		EXPECT(is_large_pte(huge) && !is_executable_pte(kvm, huge));
		for (int j = 0; j < SPTE_ENT_PER_PAGE; j++) {
			u64 spte = make_huge_page_split_spte(kvm, huge, PG_LEVEL_2M, j, j & 1);

			EXPECT_EQ(spte_to_hpa(spte), hpa + (u64)j * SZ_4K);
			EXPECT_EQ(is_executable_pte(kvm, spte), j & 1);
			EXPECT(is_writable_pte(spte) && is_mmu_writable_spte(spte));
			EXPECT(!is_large_pte(spte) && is_host_writable_pte(spte));
		}
		kvm_done(kvm);
	}
}

TEST(mmio, .what = "frame, rights and generation come back, and only as long as slots stay")
{
	static const u64 gens[] = {0, 1, 2, 0xff, 0x100, 0x7fffe, 0x80001};

	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		struct kvm *kvm = kvm_of(configs[i], NULL);
		struct kvm_memslots slots = {0};
		struct kvm_vcpu vcpu = {.kvm = kvm};
		char shown[8];

		kvm->memslots[0] = &slots;
		ASSERT(mmu_param_get(&kvm->params, "mmio_caching", shown, sizeof(shown)));
		EXPECT_EQ(*shown == 'Y', spte_format(kvm)->mmio_value != 0);
		for (size_t g = 0; spte_format(kvm)->mmio_value && g < ARRAY_LEN(gens); g++)
			for (unsigned int access = 0; access <= ACC_ALL; access++) {
				gfn_t gfn = BIT(35) - 1 - g;
				u64 spte;

				slots.generation = gens[g];
				spte = make_mmio_spte(&vcpu, gfn, access);
				EXPECT(is_mmio_spte(kvm, spte) && !is_shadow_present_pte(spte));
				EXPECT_EQ(get_mmio_spte_gfn(kvm, spte), gfn);
				EXPECT_EQ(get_mmio_spte_access(kvm, spte),
					  spte_format(kvm)->ept ? ACC_ALL : access);
				EXPECT(check_mmio_spte(&vcpu, spte));
				slots.generation |= KVM_MEMSLOT_GEN_UPDATE;
				EXPECT(!check_mmio_spte(&vcpu, spte));
				slots.generation = gens[g] + 2;
				EXPECT(!check_mmio_spte(&vcpu, spte));
			}
		kvm->memslots[0] = NULL;
		kvm_done(kvm);
	}
}

TEST(dirty_log, .what = "a writable entry of a logged slot is logged when it is made")
{
	struct kvm *kvm = kvm_of("npt=1", NULL);
	u64 bitmap = 0;
	struct kvm_memory_slot slot = {
		.npages = 1,
		.flags = SLOT_LOG_DIRTY,
		.dirty_bitmap = &bitmap,
	};
	struct kvm_mmu_page sp = {.role.level = PG_LEVEL_4K};
	u64 spte;

	make_spte(kvm, NULL, &sp, &slot, ACC_ALL & ~ACC_WRITE, 0, hpa, 0, false, true, true, &spte);
	EXPECT_EQ(bitmap, 0);
	make_spte(kvm, NULL, &sp, &slot, ACC_ALL, 0, hpa, 0, false, true, true, &spte);
	EXPECT_EQ(bitmap, 1);
	kvm_done(kvm);
}

TEST(exec_only, .what = "what a nested guest's EPT has not readable isn't; direct pages always are")
{
	static const char *const ad[] = {"ad_bits=1", "ad_bits=0"};

	for (unsigned int i = 0; i < 2 * (ACC_ALL + 1); i++) {
		struct kvm *kvm = kvm_of("ept=1", ad[i & 1]);
		unsigned int access = i / 2;
		struct kvm_memory_slot slot = {.npages = 1};
		struct kvm_mmu_page sp = {
			.role.level = PG_LEVEL_4K,
			.role.ad_disabled = i & 1,
			.role.guest_mode = true,
			.role.ept_guest = true,
		};
		u64 spte, want = 0;

		/* Not an EPT entry that there may be. */
		if (access & ACC_WRITE && !(access & ACC_USER))
			access &= ~ACC_WRITE;
		want |= access & ACC_USER ? EPT_R : 0;
		want |= access & ACC_WRITE ? EPT_W : 0;
		want |= access & ACC_EXEC ? EPT_X : 0;
		make_spte(kvm, NULL, &sp, &slot, access, 0, hpa, 0, false, true, true, &spte);
		EXPECT_EQ(spte & EPT_RWX, want, "access %u", access);
		EXPECT(is_shadow_present_pte(spte));
		/* What access tracking takes away it gives back, W apart. */
		make_spte(kvm, NULL, &sp, &slot, access, 0, hpa, 0, true, true, true, &spte);
		if (is_access_track_spte(kvm, spte))
			spte = restore_acc_track_spte(kvm, spte) | (want & EPT_W);
		EXPECT_EQ(spte & EPT_RWX, want, "access %u, prefetched", access);

		sp.role.ept_guest = sp.role.guest_mode = false;
		sp.role.direct = true;
		make_spte(kvm, NULL, &sp, &slot, access, 0, hpa, 0, false, true, true, &spte);
		EXPECT_EQ(spte & EPT_RWX, want | EPT_R, "access %u, direct", access);
		kvm_done(kvm);
	}
}

TEST(log_by_d, .what = "only a nested guest's entries are protected where D is logged")
{
	static const struct {
		const char *first, *second;
		bool pml;
	} rows[] = {{"ept=1", NULL, true},	   {"ept=1", "pml=0", false},
		    {"ept=1", "ad_bits=0", false}, {"ept=1", "tdp=0", false},
		    {"npt=1", NULL, false},	   {"npt=0", NULL, false}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct kvm *kvm = kvm_of(rows[i].first, rows[i].second);
		struct kvm_mmu_page sp = {
			.role.level = PG_LEVEL_4K,
			.role.ad_disabled = !spte_format(kvm)->ad,
		};
		struct kvm_memory_slot slot = {.npages = 1};
		u64 spte;
		char shown[8];

		ASSERT(mmu_param_get(&kvm->params, "pml", shown, sizeof(shown)));
		EXPECT_EQ(*shown == 'Y', rows[i].pml, "row %zu", i);
		for (unsigned int nested = 0; nested < 2; nested++) {
			sp.role.guest_mode = nested;
			make_spte(kvm, NULL, &sp, &slot, ACC_ALL, 0, hpa, 0, false, true, true,
				  &spte);
			EXPECT_EQ((spte & SPTE_AD_MODE_MASK) == SPTE_AD_WRPROT,
				  rows[i].pml && nested, "row %zu nested %u", i, nested);
		}
		kvm_done(kvm);
	}
}

TEST(params, .what = "each parameter takes what it should, says what is wrong, and reads back")
{
	struct mmu_params p = mmu_params_default();
	char value[16];

	for (const struct mmu_param_doc *d = mmu_param_docs(); d->name; d++) {
		EXPECT(d->what && mmu_param_get(&p, d->name, value, sizeof(value)), "%s", d->name);
		EXPECT(mmu_param_set(&p, d->name, strlen(d->name), "?") != NULL, "%s", d->name);
		EXPECT(mmu_param_set(&p, d->name, strlen(d->name), "") != NULL, "%s", d->name);
	}
	EXPECT(mmu_param_set(&p, "np", 2, "1") != NULL);
	EXPECT(mmu_param_set(&p, "maxphyaddr", 10, "53") != NULL);
	EXPECT(mmu_param_set(&p, "seed", 4, "4294967296") != NULL);
	EXPECT(!mmu_param_set(&p, "ept=", 3, "Y") && p.ept && !p.npt);
	EXPECT(!mmu_param_set(&p, "eptad", 5, "off") && !p.ad_bits);
	EXPECT(mmu_param_get(&p, "npt", value, sizeof(value)) && !strcmp(value, "N"));
	EXPECT(!mmu_param_set(&p, "npt", 3, "1") && p.npt && !p.ept);
	EXPECT(!mmu_param_set(&p, "maxphyaddr", 10, "40"));
	EXPECT(mmu_param_get(&p, "maxphyaddr", value, sizeof(value)) && !strcmp(value, "40"));
}
