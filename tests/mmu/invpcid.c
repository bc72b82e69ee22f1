// SPDX-License-Identifier: GPL-2.0-only
/*
 * INVPCID: type 0 drops one address of one PCID, type 1 a PCID, type 2
 * everything, type 3 everything but global pages; a processor may always drop
 * more. Other types, reserved descriptor bits, a non-canonical address for type
 * 0 and, while CR4.PCIDE=0, a PCID other than 0 in types 0 and 1 raise #GP(0)
 * (SDM vol. 2, INVPCID). It is allowed with paging off, where it means nothing.
 *
 * Shadow paging must intercept it and turn each type into the right walk over
 * the remembered roots, those of other PCIDs included. With paging off there is
 * no such walk to call, which once was an oops of the host.
 */
#include "frames.h"

static u32 op_invpcid(struct vcpu *v, u64 type, u64 pcid, gva_t gva)
{
	return op_add(v, .kind = AGENT_INVPCID, .arg = type, .value = pcid, .addr = gva);
}

#define SPACES 2

/* What one INVPCID must drop: local pages by space, and the global one. */
struct flush {
	u64 type, pcid;
	bool local[SPACES], global;
};

static u32 op_store(struct vcpu *v, const struct aspace *as, gva_t gva, u32 frame, u64 bits)
{
	return op_add(v, .kind = AGENT_SET_PTE, .addr = aspace_pte_gpa(as, gva, 1), .size = 8,
		      .value = frame_pte(v->vm, frame, bits));
}

TEST(types, .what = "each type drops at least what it says, for the PCID it names",
     .modes = MODE(PM_LA48))
{
	static const struct flush flushes[] = {
		{INVPCID_ADDR, 1, {true, false}, false},
		{INVPCID_ADDR, 2, {false, true}, false},
		{INVPCID_SINGLE, 1, {true, false}, false},
		{INVPCID_SINGLE, 2, {false, true}, false},
		{INVPCID_ALL, 0, {true, true}, false},
		{INVPCID_ALL_GLOBAL, 0, {true, true}, true},
	};
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	gva_t local = vm->test_gva, global = 2 * vm->test_gva;
	struct aspace as[SPACES];
	u32 got[SPACES + 1], clean[SPACES + 1], i, s;

	require_cpu(CPU_PCID);
	require_cpu(CPU_INVPCID);
	number_frames(vm);
	for (s = 0; s < SPACES; s++) {
		as[s] = aspace_create(vm);
		aspace_map(&as[s], local, frame_gpa(vm, s), SZ_4K, 1, PTE_W);
	}
	aspace_map(&as[0], global, frame_gpa(vm, SPACES), SZ_4K, 1, PTE_W | PTE_G);
	aspace_link(&as[1], global, t->mode->levels,
		    aspace_get_pte(&as[0], global, t->mode->levels) & PTE_ADDR_MASK);
	guest_set_cr(v, 4, guest_get_cr(v, 4) | CR4_PCIDE | CR4_PGE);

	for (i = 0; i < ARRAY_LEN(flushes); i++) {
		const struct flush *f = &flushes[i];
		u32 old = i * (SPACES + 1), new = old + SPACES + 1;

		op_clear(v);
		for (s = 0; s < SPACES; s++) {
			op_load_cr3(v, as[s].root | (s + 1));
			op_read(v, local);
			op_read(v, global);
			op_store(v, &as[s], local, new + s, PTE_W);
		}
		op_store(v, &as[0], global, new + SPACES, PTE_W | PTE_G);
		op_invpcid(v, f->type, f->pcid, local);
		for (s = 0; s < SPACES; s++) {
			op_load_cr3(v, as[s].root | (s + 1) | CR3_NOFLUSH);
			got[s] = op_read(v, local);
		}
		got[SPACES] = op_read(v, global);
		op_invpcid(v, INVPCID_ALL_GLOBAL, 0, 0);
		for (s = 0; s < SPACES; s++) {
			op_load_cr3(v, as[s].root | (s + 1) | CR3_NOFLUSH);
			clean[s] = op_read(v, local);
		}
		clean[SPACES] = op_read(v, global);
		vcpu_exec(v);
		for (s = 0; s <= SPACES; s++) {
			bool gone = s < SPACES ? f->local[s] : f->global;

			EXPECT_FRAME_EITHER(op_result(v, got[s]), gone ? new + s : old + s, new + s,
					    "type %lu, PCID %lu: page %u", f->type, f->pcid, s);
			EXPECT_VALUE(op_result(v, clean[s]), frame_value(new + s),
				     "all dropped: page %u", s);
		}
	}
}

TEST(bad_operands, .what = "undefined types and reserved bits raise #GP and drop nothing wrongly",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 bad[8], n = 0, i, good, read;

	require_cpu(CPU_INVPCID);
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 5), SZ_4K, 1, PTE_W);
	op_clear(v);
	bad[n++] = op_invpcid(v, 4, 0, 0);
	bad[n++] = op_invpcid(v, 0x80000000, 0, 0);
	bad[n++] = op_invpcid(v, INVPCID_ADDR, 0x1000, vm->test_gva);
	bad[n++] = op_invpcid(v, INVPCID_SINGLE, 1ull << 63, 0);
	bad[n++] = op_invpcid(v, INVPCID_ADDR, 1, vm->test_gva); /* CR4.PCIDE is 0 */
	bad[n++] = op_invpcid(v, INVPCID_SINGLE, 1, 0);
	if (t->mode->long_mode)
		bad[n++] = op_invpcid(v, INVPCID_ADDR, 0, 1ull << 63);
	good = op_invpcid(v, INVPCID_ALL, 0, 0);
	read = op_read(v, vm->test_gva);
	vcpu_exec(v);
	for (i = 0; i < n; i++)
		EXPECT_FAULT(op_result(v, bad[i]), GP_VECTOR, 0, "operand %u", i);
	EXPECT_OK(op_result(v, good));
	EXPECT_VALUE(op_result(v, read), frame_value(5));
}

/* Without PCIDs all is PCID 0; without paging there is nothing to drop. */
TEST(without_pcids, .what = "every type works with CR4.PCIDE=0, and with paging off",
     .modes = MODE(PM_LA48) | MODE(PM_32) | MODE(PM_NONE),
     .fixes = (const char *const[]){"9f46c187e2e6", "CVE-2022-1789", NULL})
{
	struct vm *vm = vm_create(t->mode);
	struct vcpu *v = vm->vcpu[0];
	u32 done[8], read[8], i;

	require_cpu(CPU_INVPCID);
	number_frames(vm);
	vm_map(vm, vm->test_gva, frame_gpa(vm, 0), SZ_4K, 1, PTE_W);
	op_clear(v);
	op_read(v, vm->test_gva);
	for (i = 0; i < ARRAY_LEN(done); i++) {
		if (t->mode->levels)
			op_set_pte(v, &vm->as, vm->test_gva, 1, frame_pte(vm, i + 1, PTE_W));
		done[i] = op_invpcid(v, i % 4, 0, vm->test_gva);
		read[i] = op_read(v, vm->test_gva);
	}
	vcpu_exec(v);
	for (i = 0; i < ARRAY_LEN(done); i++) {
		EXPECT_OK(op_result(v, done[i]), "type %u", i % 4);
		EXPECT_VALUE(op_result(v, read[i]), frame_value(t->mode->levels ? i + 1 : 0),
			     "type %u", i % 4);
	}
}

static void hide_invpcid(struct kvm_cpuid2 *cpuid)
{
	u32 i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == CPU_INVPCID.leaf &&
		    cpuid->entries[i].index == CPU_INVPCID.subleaf)
			cpuid->entries[i].ebx &= ~(1u << CPU_INVPCID.bit);
}

TEST(hidden, .what = "INVPCID is undefined for a guest whose CPUID does not have it",
     .modes = MODE(PM_LA48) | MODE(PM_32))
{
	struct vm *vm = vm_create(t->mode, .cpuid = hide_invpcid);

	EXPECT_FAULT(guest_op(vm->vcpu[0], .kind = AGENT_INVPCID, .arg = INVPCID_ALL), UD_VECTOR,
		     0);
}
