// SPDX-License-Identifier: GPL-2.0-only
/*
 * Protection keys: bits 62:59 of a user page's leaf name one of 16 keys, and
 * PKRU takes data access or writing away per key, from ring 3 and from the
 * kernel (SDM vol. 3 4.6.2). Fetches and kernel pages are not concerned; CR0.WP=0
 * lets the kernel write against WD, not against AD. Error codes say PK when the
 * key forbids the access, whatever else forbids it.
 *
 * PKRU changes by an instruction that no hypervisor sees, so an MMU in software
 * would have to keep it out of what it caches. KVM offers the feature with
 * two-dimensional paging only, where the processor does the checks and the
 * hypervisor's part is to load the right PKRU, to switch CR4.PKE, and to walk by
 * the same rules when it emulates.
 */
#include <string.h>

#include "mmuscope.h"

#define NO_FAULT ~0ull
#define NR_KEYS	 16

static const u64 page_bits[] = {PTE_W | PTE_U, PTE_U, PTE_W};

struct setting {
	bool wp, pke;
	u32 pkru;
};

static const struct agent_op accesses[] = {
	{.kind = AGENT_READ},
	{.kind = AGENT_WRITE},
	{.kind = AGENT_READ, .flags = AGENT_USER},
	{.kind = AGENT_WRITE, .flags = AGENT_USER},
	{.kind = AGENT_EXEC, .flags = AGENT_USER},
};
#define NR_ACCESSES ARRAY_LEN(accesses)

static u64 expected_error(const struct setting *s, const struct agent_op *a, u64 bits, u32 key)
{
	bool write = a->kind == AGENT_WRITE, user = a->flags & AGENT_USER;
	bool ad = s->pkru >> (2 * key) & 1, wd = s->pkru >> (2 * key + 1) & 1;
	bool denied, pk;

	denied = (user && !(bits & PTE_U)) || (write && !(bits & PTE_W) && (user || s->wp));
	pk = s->pke && (bits & PTE_U) && a->kind != AGENT_EXEC &&
	     (ad || (write && wd && (user || s->wp)));
	if (!denied && !pk)
		return NO_FAULT;
	return PFERR_P | (write ? PFERR_W : 0) | (user ? PFERR_U : 0) |
	       (a->kind == AGENT_EXEC ? PFERR_F : 0) | (pk ? PFERR_PK : 0);
}

static gva_t page_gva(struct vm *vm, u32 key, u32 i)
{
	return vm->test_gva + (key * ARRAY_LEN(page_bits) + i) * SZ_4K;
}

static void check_setting(struct vm *vm, const struct setting *s, u64 cr0, u64 cr4)
{
	struct vcpu *v = vm->vcpu[0];
	u32 key, i, j, first, k;

	op_clear(v);
	/* WRPKRU exists only while CR4.PKE=1. */
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4 | CR4_PKE);
	op_add(v, .kind = AGENT_WRPKRU, .value = s->pkru);
	op_add(v, .kind = AGENT_RDPKRU);
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 4, .value = cr4 | (s->pke ? CR4_PKE : 0));
	op_add(v, .kind = AGENT_WRITE_CR, .addr = 0, .value = cr0 | (s->wp ? CR0_WP : 0));
	first = v->mailbox->nr_ops;
	for (key = 0; key < NR_KEYS; key++) {
		for (i = 0; i < ARRAY_LEN(page_bits); i++) {
			for (j = 0; j < NR_ACCESSES; j++) {
				struct agent_op op = accesses[j];

				op.addr = page_gva(vm, key, i) + (op.kind == AGENT_EXEC ? 0 : 64);
				op.size = 4;
				op_add_op(v, op);
			}
		}
	}
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 2), s->pkru, "PKRU");
	for (i = 0; i < first; i++)
		EXPECT_OK(op_result(v, i), "setting up");
	for (i = first; i < v->mailbox->nr_ops; i++) {
		u32 page = (i - first) / NR_ACCESSES;
		const struct agent_op *a = &accesses[(i - first) % NR_ACCESSES];
		u64 error, bits = page_bits[page % ARRAY_LEN(page_bits)];

		k = page / ARRAY_LEN(page_bits);
		error = expected_error(s, a, bits, k);
		if (error == NO_FAULT)
			EXPECT_OK(op_result(v, i),
				  "kind %u flags %u, key %u, bits %#lx, PKRU %#x WP %d PKE %d",
				  a->kind, a->flags, k, bits, s->pkru, s->wp, s->pke);
		else
			EXPECT_PF(op_result(v, i), error, v->mailbox->ops[i].addr,
				  "kind %u flags %u, key %u, bits %#lx, PKRU %#x WP %d PKE %d",
				  a->kind, a->flags, k, bits, s->pkru, s->wp, s->pke);
	}
}

TEST(rights, .what = "PKRU takes data access and writing away from user pages by key",
     .modes = MODES_64, .meant_for = MMU_TDP)
{
	static const u32 patterns[] = {0, ~0u, 0x55555555, 0xaaaaaaaa, 0x1b1b1b1b, 0};
	struct vm *vm;
	struct vcpu *v;
	u64 cr0, cr4;
	u32 key, i, n;

	require_cpu(CPU_PKU);
	vm = vm_create(t->mode);
	v = vm->vcpu[0];
	for (key = 0; key < NR_KEYS; key++) {
		for (i = 0; i < ARRAY_LEN(page_bits); i++) {
			n = key * ARRAY_LEN(page_bits) + i;
			place_function(vm, vm->mem->gpa + n * SZ_4K, n);
			vm_map(vm, page_gva(vm, key, i), vm->mem->gpa + n * SZ_4K, SZ_4K, 1,
			       page_bits[i] | PTE_PKEY(key));
		}
	}
	cr0 = guest_get_cr(v, 0) & ~CR0_WP;
	cr4 = guest_get_cr(v, 4);
	for (i = 0; i < 4 * ARRAY_LEN(patterns); i++) {
		struct setting s = {.wp = i & 1, .pke = i & 2, .pkru = patterns[i / 4]};

		/* Key 0 is that of ring 3's stack; the last pattern is random. */
		if (i / 4 == ARRAY_LEN(patterns) - 1)
			s.pkru = test_rand(t);
		s.pkru &= ~3u;
		check_setting(vm, &s, cr0, cr4);
	}
}

TEST(large_page, .what = "keys in the leaf of a large page count, bits 62:59 above a leaf do not",
     .modes = MODES_64, .meant_for = MMU_TDP)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t large, small;

	require_cpu(CPU_PKU);
	vm = vm_create(t->mode, .cr4 = CR4_PKE);
	v = vm->vcpu[0];
	large = vm->test_gva;
	small = large + SZ_1G;
	vm_map(vm, large, vm->mem->gpa, SZ_2M, 2, PTE_W | PTE_U | PTE_PKEY(3));
	vm_map(vm, small, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U | PTE_PKEY(4));
	aspace_set_pte(&vm->as, small, 2, aspace_get_pte(&vm->as, small, 2) | PTE_PKEY(3));
	EXPECT_OK(guest_op(v, .kind = AGENT_WRPKRU, .value = 1 << 6)); /* AD of key 3 */
	EXPECT_PF(__user_read(v, large + SZ_4K), PFERR_P | PFERR_U | PFERR_PK, large + SZ_4K);
	EXPECT_PF(__guest_write(v, large, 1), PFERR_P | PFERR_W | PFERR_PK, large);
	EXPECT_OK(__user_write(v, small, 2));
	EXPECT_OK(guest_op(v, .kind = AGENT_WRPKRU, .value = 2 << 8)); /* WD of key 4 */
	EXPECT_VALUE(__user_read(v, large), 2);
	EXPECT_VALUE(__user_read(v, small), 2);
	EXPECT_PF(__user_write(v, small, 3), PFERR_P | PFERR_W | PFERR_U | PFERR_PK, small);
}

TEST(key_changed, .what = "a live change of a page's key counts after INVLPG", .modes = MODES_64,
     .meant_for = MMU_TDP)
{
	struct vm *vm;
	struct vcpu *v;
	gva_t gva;
	u32 key;

	require_cpu(CPU_PKU);
	vm = vm_create(t->mode, .cr4 = CR4_PKE);
	v = vm->vcpu[0];
	gva = vm->test_gva;
	vm_map(vm, gva, vm->mem->gpa, SZ_4K, 1, PTE_W | PTE_U);
	EXPECT_OK(
		guest_op(v, .kind = AGENT_WRPKRU, .value = 0x99999998)); /* odd keys WD, even AD */
	for (key = 1; key < NR_KEYS; key++) {
		guest_set_pte(v, &vm->as, gva, 1,
			      vm->mem->gpa | PTE_P | PTE_W | PTE_U | PTE_PKEY(key));
		guest_invlpg(v, gva);
		if (key % 2)
			EXPECT_OK(__user_read(v, gva), "key %u", key);
		else
			EXPECT_PF(__user_read(v, gva), PFERR_P | PFERR_U | PFERR_PK, gva, "key %u",
				  key);
		EXPECT_PF(__user_write(v, gva, 1), PFERR_P | PFERR_W | PFERR_U | PFERR_PK, gva,
			  "key %u", key);
	}
}

static void answer_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
}

TEST(emulated, .what = "keys count as much for accesses that the hypervisor carries out",
     .modes = MODES_64)
{
	const u64 bits = PTE_W | PTE_U;
	struct vm *vm;
	struct vcpu *v;
	u32 wp, rights, i;
	u64 cr0;

	require_cpu(CPU_PKU);
	vm = vm_create(t->mode);
	v = vm->vcpu[0];
	v->mmio = answer_mmio;
	/* A device's page, with key 1. */
	vm_map(vm, vm->test_gva, 0xd0000000, SZ_4K, 1, bits | 1ull << 59);
	cr0 = guest_get_cr(v, 0);
	guest_set_cr(v, 4, guest_get_cr(v, 4) | CR4_PKE);
	for (wp = 0; wp < 2; wp++) {
		guest_set_cr(v, 0, wp ? cr0 | CR0_WP : cr0 & ~CR0_WP);
		for (rights = 0; rights < 4; rights++) {
			struct setting s = {.wp = wp, .pke = true, .pkru = rights << 2};

			guest_do(v, .kind = AGENT_WRPKRU, .value = s.pkru);
			for (i = 0; i < NR_ACCESSES - 1; i++) {
				struct agent_op op = accesses[i];
				u64 want = expected_error(&s, &op, bits, 1);

				op.addr = vm->test_gva;
				op.size = 4;
				if (want == NO_FAULT)
					EXPECT_OK(guest_op_op(v, op), "WP %u, key %u, access %u",
						  wp, rights, i);
				else
					EXPECT_PF(guest_op_op(v, op), want, vm->test_gva,
						  "WP %u, key %u, access %u", wp, rights, i);
			}
		}
	}
	guest_do(v, .kind = AGENT_WRPKRU, .value = 0);
}
