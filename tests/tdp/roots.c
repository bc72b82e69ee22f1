// SPDX-License-Identifier: GPL-2.0-only
/*
 * Invalid roots: when a memslot changes, the hypervisor does not take its tables
 * apart under the vCPUs but declares every root invalid, tells the vCPUs to
 * load a new one and frees the old ones when nobody uses them any more. A vCPU
 * that is not told goes on with the old memory, or faults for ever, as no new
 * mapping may be made in an invalid root; one that is told while it stands
 * between its fault and the lock must notice there.
 *
 * There is more than one root: vCPUs of a kind share theirs, and system
 * management mode has its own, which is invalidated while the vCPU is in the
 * other one or the reverse. So slots change while vCPUs stand still, while they
 * fault, and while one is in SMM.
 */
#include "lib/smm.h"
#include "tdp.h"

#define FRAMES 64
#define FIRST  SMM_RESULT /* where the SMI handler leaves what it read */
#define SECOND (SMM_RESULT + 4)

static const char *const fixes[] = {"a955cad84cda", "18c841e1f411", "7533377215b6",
				    "CVE-2026-64561", NULL};

/* Slot 1 shows @m from now on. */
static void show(struct memslot *s, struct memory *m)
{
	slot_delete(s);
	s->hva = m->hva;
	slot_readd(s);
}

static void two_memories(struct memory m[2], enum mem_backing backing)
{
	u32 i;

	for (i = 0; i < 2; i++) {
		m[i] = memory_alloc(SZ_2M, backing);
		number_frames(m[i].hva, SZ_2M / SZ_4K, (i + 1) * 10000);
	}
}

TEST(every_vcpu, .what = "after a change of slots every vCPU sees the memory of now",
     .fixes = fixes)
{
	struct vm *vm = vm_create(no_paging(), .nr_vcpus = 4, .mem_size = VM_NO_MEM);
	struct memory m[2];
	struct memslot *s;
	u32 round, i;

	two_memories(m, MEM_ANON);
	s = slot_add_hva(vm, 2, VM_MEM_GPA, SZ_2M, m[0].hva, 0);
	for (round = 0; round < 6; round++) {
		for (i = 0; i < vm->nr_vcpus; i++) {
			/* One of them sits out a round: its root is two changes old then. */
			if (i == round % 4)
				continue;
			expect_frames(vm->vcpu[i], s->gpa, FRAMES, ((round & 1) + 1) * 10000,
				      "slot changed");
		}
		show(s, &m[!(round & 1)]);
	}
	for (i = 0; i < vm->nr_vcpus; i++)
		expect_frames(vm->vcpu[i], s->gpa, FRAMES, 10000, "in the end");
}

static const char *const yield_fixes[] = {"CVE-2021-47094", "b28cb0cd2c5e", NULL};

TEST(many_pages, .what = "roots with thousands of mappings go while vCPUs make more",
     .fixes = yield_fixes)
{
	const u64 frames = 16 * MiB / SZ_4K;
	struct vm *vm = vm_create(no_paging(), .nr_vcpus = 2, .mem_size = 16 * MiB);
	struct memslot *s = slot_add(vm, 2, 512 * MiB, SZ_2M, MEM_ANON, 0);
	struct pages before;
	u32 round, i;

	guest_do(vm->vcpu[0], .kind = AGENT_NOP);
	guest_do(vm->vcpu[1], .kind = AGENT_NOP);
	before = pages_now(vm);
	for (round = 1; round <= 3; round++) {
		for (i = 0; i < 2; i++) {
			struct vcpu *v = vm->vcpu[i];

			op_clear(v);
			op_add(v, .kind = AGENT_TOUCH_WRITE, .size = 4,
			       .addr = vm->mem->gpa + i * SZ_4K, .arg = 2 * SZ_4K,
			       .value = frames / 2, .arg2 = round * 10000);
			vcpu_start(v);
		}
		for (i = 0; i < 4; i++) {
			slot_delete(s);
			slot_readd(s);
		}
		vcpu_join(vm->vcpu[0]);
		vcpu_join(vm->vcpu[1]);
		for (i = 0; i < frames; i++)
			EXPECT_EQ(frame_word(vm->mem->hva, i), round * 10000 + i / 2,
				  "round %u, frame %u", round, i);
	}
	if (counted()) {
		EXPECT_LE(pages_now(vm).p4k, before.p4k + frames, "4 KiB mappings");
		slot_delete(vm->mem);
		guest_do(vm->vcpu[0], .kind = AGENT_NOP);
		guest_do(vm->vcpu[1], .kind = AGENT_NOP);
		EXPECT_LE(pages_now(vm).p4k, before.p4k, "4 KiB mappings without the slot");
	}
}

/* The SMI handler: [gpa] to FIRST, an exit that calls vcpu.sync, [gpa] to SECOND, RSM. */
static void place_handler(struct vm *vm, u32 gpa)
{
	static const u8 sync[] = {0xe6, PORT_SYNC}; /* out %al, $PORT_SYNC */
	u8 *p = smm_emit_copy(smm_handler(vm), gpa, FIRST);

	p = smm_emit(p, sync, sizeof(sync));
	p = smm_emit_copy(p, gpa, SECOND);
	smm_emit_rsm(p);
}

struct spaces {
	struct memslot *normal, *smm;
	struct memory m[2];
	struct memory spare; /* for DISCARD */
	u32 now;	     /* which memory slots show */
	enum {
		BOTH,
		NORMAL_ONLY,
		SMM_ONLY,
		DISCARD
	} change;
	u32 syncs;
};

static void change_slots(struct vcpu *v, u64 value, void *arg)
{
	struct spaces *s = arg;

	(void)v;
	(void)value;
	s->syncs++;
	s->now = !s->now;
	if (s->change == DISCARD) {
		memory_madvise(&s->m[!s->now], 0, SZ_2M, MADV_DONTNEED);
		/* The frames just freed must not be the next ones for the guest too. */
		number_frames((u8 *)s->spare.hva + s->syncs * SZ_2M, SZ_2M / SZ_4K, 0xbad);
		number_frames(s->m[!s->now].hva, SZ_2M / SZ_4K, (s->now + 1) * 10000);
		return;
	}
	if (s->change != SMM_ONLY)
		show(s->normal, &s->m[s->now]);
	if (s->change != NORMAL_ONLY)
		show(s->smm, &s->m[s->now]);
}

static const char *const spaces[] = {"both", "normal", "smm", "discard", NULL};
static const char *const smm_fixes[] = {"CVE-2021-47639", "a955cad84cda", NULL};

TEST(in_smm, .what = "slots that change while a vCPU is in SMM are changed for it, there and after",
     .variants = spaces, .fixes = smm_fixes)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = VM_NO_MEM);
	struct spaces s = {.change = t->variant_idx};
	struct vcpu *v = vm->vcpu[0];
	volatile u32 *first, *second;
	gpa_t gpa = VM_MEM_GPA;
	u32 round, was, now;

	require_cap(vm, KVM_CAP_X86_SMM);
	require_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE);
	slot_add_hva(vm, SMM_SPACE | 0, 0, VM_SYSTEM_SIZE, vm->system->hva, 0);
	two_memories(s.m, t->variant_idx == DISCARD ? MEM_THP : MEM_ANON);
	s.normal = slot_add_hva(vm, 2, gpa, SZ_2M, s.m[0].hva, 0);
	s.smm = slot_add_hva(vm, SMM_SPACE | 2, gpa, SZ_2M, s.m[0].hva, 0);
	place_handler(vm, gpa + 3 * SZ_4K);
	first = vm_hva(vm, FIRST);
	second = vm_hva(vm, SECOND);
	s.spare = memory_alloc(8 * SZ_2M, MEM_THP);
	v->sync = change_slots;
	v->arg = &s;
	for (round = 0; round < 4; round++) {
		was = (s.now + 1) * 10000;
		now = (!s.now + 1) * 10000;
		if (s.change == DISCARD) {
			/* Both slots show the first memory all the time. */
			s.now = 0;
			was = 10000;
			now = 20000;
			number_frames(s.m[0].hva, SZ_2M / SZ_4K, was);
		}
		expect_frames(v, gpa, FRAMES, s.change == SMM_ONLY ? 10000 : was, "before");
		vcpu_ioctl(v, KVM_SMI, NULL);
		/* The SMI comes before the batch, whose accesses are outside of SMM again. */
		expect_frames(v, gpa, FRAMES, s.change == SMM_ONLY ? 10000 : now, "after RSM");
		EXPECT_EQ(s.syncs, round + 1, "changes made in SMM");
		EXPECT_EQ(*first, (s.change == NORMAL_ONLY ? 10000 : was) + 3, "round %u: in SMM",
			  round);
		EXPECT_EQ(*second, (s.change == NORMAL_ONLY ? 10000 : now) + 3,
			  "round %u: in SMM after the change", round);
	}
}

TEST(smm_split, .what = "the dirty log of SMM's slot splits huge pages of SMM only",
     .meant_for = MMU_TDP_MMU)
{
	struct vm *vm;
	struct memslot *smm;
	struct pages both;
	struct spaces s = {.change = NORMAL_ONLY};

	require_tdp(MMU_TDP_MMU);
	REQUIRE(engine_param_bool("eager_page_split", false), "parameter eager_page_split is set");
	vm = vm_create(no_paging(), .mem_size = SZ_2M, .backing = MEM_THP);
	require_cap(vm, KVM_CAP_X86_SMM);
	require_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE);
	number_frames(vm->mem->hva, SZ_2M / SZ_4K, 10000);
	require_thp(&vm->mem->mem, 0, SZ_2M);
	slot_add_hva(vm, SMM_SPACE | 0, 0, VM_SYSTEM_SIZE, vm->system->hva, 0);
	smm = slot_add_hva(vm, SMM_SPACE | 1, vm->mem->gpa, SZ_2M, vm->mem->hva, 0);
	place_handler(vm, vm->mem->gpa + 3 * SZ_4K);
	s.normal = slot_add(vm, 2, 512 * MiB, SZ_2M, MEM_ANON, 0);
	two_memories(s.m, MEM_ANON);
	vm->vcpu[0]->sync = change_slots;
	vm->vcpu[0]->arg = &s;
	/* The handler's second read and the batch after it map the page in both roots. */
	vcpu_ioctl(vm->vcpu[0], KVM_SMI, NULL);
	expect_frames(vm->vcpu[0], vm->mem->gpa, SZ_2M / SZ_4K, 10000, "both spaces");
	both = pages_now(vm);
	EXPECT_EQ(both.p2m, 2, "2 MiB mappings");
	slot_set_flags(smm, KVM_MEM_LOG_DIRTY_PAGES);
	EXPECT_EQ(pages_now(vm).p2m, 1, "2 MiB mappings, logging in SMM");
	EXPECT_EQ(pages_now(vm).p4k - both.p4k, SZ_2M / SZ_4K, "4 KiB mappings, logging in SMM");
	slot_set_flags(vm->mem, KVM_MEM_LOG_DIRTY_PAGES);
	EXPECT_EQ(pages_now(vm).p2m, 0, "2 MiB mappings, logging in both");
	expect_frames(vm->vcpu[0], vm->mem->gpa, SZ_2M / SZ_4K, 10000, "logging");
}
