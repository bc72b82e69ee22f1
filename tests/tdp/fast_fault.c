// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write-protection and the fast page fault: a page that the hypervisor
 * protected only to learn of the next write is made writable again without the
 * MMU lock, by one atomic exchange of its entry. Nothing else about the page
 * may change, and the page must be marked dirty, after the exchange and each
 * time: a page that becomes writable unmarked is lost by migration.
 *
 * The short way is for pages that the host lets the guest write. One that is
 * protected for another reason (a read-only memslot, a frame shared
 * copy-on-write with another process) looks the same in its W bit and must take
 * the long way: made writable, it would change memory that is somebody else's.
 * The counter pf_fast tells which way was taken.
 */
#include <sys/wait.h>

#include "tdp.h"

#define FRAMES 64
#define LOG    KVM_MEM_LOG_DIRTY_PAGES

static bool tdp(void)
{
	return mmu_kind() & MMU_TDP;
}

/*
 * How many faults it takes to write @pages pages that are in the log no more: none where the
 * processor itself logs (Intel's page-modification log), as it is the D bit that is taken away then.
 */
static u64 faults_for(u64 pages)
{
	return engine_param_bool("pml", false) ? 0 : pages;
}

static void expect_dirty(struct memslot *s, u64 first, u64 n, const char *when)
{
	struct dirty_bitmap b = dirty_bitmap_alloc(s);
	u64 i;

	dirty_get(s, &b);
	EXPECT_EQ(dirty_count(&b), n, "%s: pages in the log", when);
	for (i = first; i < first + n; i++)
		EXPECT(dirty_test(&b, i), "%s: page %lu is in the log", when, i);
	dirty_bitmap_free(&b);
}

TEST(dirty_again, .what = "each write to a page protected for the log marks it, by a fast fault")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K);
	struct vcpu *v = vm->vcpu[0];
	u64 fast, round;

	write_frames(v, vm->mem->gpa, FRAMES, 1);
	slot_set_flags(vm->mem, LOG);
	expect_dirty(vm->mem, 0, 0, "the log is new");
	for (round = 1; round <= 4; round++) {
		fast = vcpu_stat(v, "pf_fast");
		write_frames(v, vm->mem->gpa, FRAMES, round * 1000);
		if (tdp())
			EXPECT_EQ(vcpu_stat(v, "pf_fast") - fast, faults_for(FRAMES),
				  "round %lu: fast faults", round);
		fast = vcpu_stat(v, "pf_fast");
		write_frames(v, vm->mem->gpa, FRAMES, round * 2000);
		if (tdp())
			EXPECT_EQ(vcpu_stat(v, "pf_fast"), fast,
				  "round %lu: faults of a second write", round);
		expect_dirty(vm->mem, 0, FRAMES, "written");
		expect_frames(v, vm->mem->gpa, FRAMES, round * 2000, "reading marks nothing");
		expect_dirty(vm->mem, 0, 0, "read");
	}
	EXPECT_EQ(frame_word(vm->mem->hva, FRAMES - 1), 8000 + FRAMES - 1,
		  "the host sees the last");
}

TEST(kinds_of_write, .what = "every kind of write to a protected page is seen and is done once")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K);
	struct vcpu *v = vm->vcpu[0];
	gpa_t at = vm->mem->gpa;
	u8 *hva = vm->mem->hva;

	write_frames(v, at, FRAMES, 100);
	slot_set_flags(vm->mem, LOG);
	op_clear(v);
	op_add(v, .kind = AGENT_WRITE, .size = 1, .addr = at + SZ_4K - 1, .value = 0x5a);
	op_add(v, .kind = AGENT_XADD, .size = 4, .addr = at + 1 * SZ_4K, .value = 11);
	op_add(v, .kind = AGENT_OR, .size = 4, .addr = at + 2 * SZ_4K, .value = 0x8000);
	op_add(v, .kind = AGENT_CMPXCHG, .size = 4, .addr = at + 3 * SZ_4K, .value = 103, .arg = 7);
	/* Fails to exchange, and yet is a write for the processor. */
	op_add(v, .kind = AGENT_CMPXCHG, .size = 4, .addr = at + 4 * SZ_4K, .value = 1, .arg = 7);
	op_add(v, .kind = AGENT_SET_PTE, .size = 8, .addr = at + 5 * SZ_4K + 8, .value = 9);
	/* Half in page 6, half in page 7. */
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = at + 7 * SZ_4K - 2, .value = 0x11223344);
	vcpu_exec(v);
	expect_dirty(vm->mem, 0, 8, "eight pages");
	EXPECT_EQ(hva[SZ_4K - 1], 0x5a);
	EXPECT_VALUE(op_result(v, 1), 101);
	EXPECT_EQ(frame_word(hva, 1), 112);
	EXPECT_EQ(frame_word(hva, 2), 102 | 0x8000);
	EXPECT_EQ(frame_word(hva, 3), 7);
	EXPECT_EQ(frame_word(hva, 4), 104);
	EXPECT_EQ(((u64 *)(hva + 5 * SZ_4K))[1], 9);
	EXPECT_EQ(*(u16 *)(hva + 7 * SZ_4K - 2), 0x3344);
	EXPECT_EQ(*(u16 *)(hva + 7 * SZ_4K), 0x1122);
}

static void answer_mmio(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)arg;
	memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

TEST(readonly_slot, .what = "a read-only slot's page is never made writable by a fast fault")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = VM_NO_MEM);
	struct vcpu *v = vm->vcpu[0];
	struct memslot *s;
	u64 i, fast;

	require_cap(vm, KVM_CAP_READONLY_MEM);
	s = slot_add(vm, 2, VM_MEM_GPA, FRAMES * SZ_4K, MEM_ANON, KVM_MEM_READONLY | LOG);
	number_frames(s->hva, FRAMES, 1);
	v->mmio = answer_mmio;
	fast = vcpu_stat(v, "pf_fast");
	for (i = 0; i < 2; i++) {
		/* The first writes find nothing mapped, the second ones a readable page. */
		write_frames(v, s->gpa, FRAMES, 5000);
		EXPECT_EQ(v->mmio_exits, (i + 1) * FRAMES, "writes that came out as MMIO");
		expect_frames(v, s->gpa, FRAMES, 1, "after the writes");
	}
	if (tdp())
		EXPECT_EQ(vcpu_stat(v, "pf_fast"), fast, "fast faults");
	expect_dirty(s, 0, 0, "written in vain");
}

static const char *const cow_fixes[] = {"f082d86ea685", NULL};

TEST(copy_on_write, .what = "a frame shared with a forked process is copied, not made writable",
     .fixes = cow_fixes)
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K);
	struct vcpu *v = vm->vcpu[0];
	int go[2], status = 0;
	char byte = 0;
	pid_t pid;
	u64 i;

	write_frames(v, vm->mem->gpa, FRAMES, 1);
	slot_set_flags(vm->mem, LOG);
	ASSERT_EQ(pipe(go), 0);
	pid = test_fork();
	if (!pid) {
		/* Its copy must stay as it was, however often the guest writes. */
		test_detach();
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		for (i = 0; i < FRAMES; i++)
			if (frame_word(vm->mem->hva, i) != 1 + i)
				_exit(1);
		_exit(0);
	}
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "shared");
	expect_dirty(vm->mem, 0, 0, "only read"); /* protects what is writable */
	write_frames(v, vm->mem->gpa, FRAMES, 4000);
	expect_dirty(vm->mem, 0, FRAMES, "copied");
	write_frames(v, vm->mem->gpa, FRAMES, 6000);
	expect_dirty(vm->mem, 0, FRAMES, "written again");
	EXPECT_EQ(write(go[1], &byte, 1), 1);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT(WIFEXITED(status) && !WEXITSTATUS(status),
	       "the other process sees its own memory (status %#x)", (unsigned int)status);
	expect_frames(v, vm->mem->gpa, FRAMES, 6000, "the guest");
	EXPECT_EQ(frame_word(vm->mem->hva, 5), 6005, "the host");
}

TEST(mprotect_readonly, .what = "memory that the host protects is not written by a fast fault")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K);
	struct vcpu *v = vm->vcpu[0];
	int ret;

	write_frames(v, vm->mem->gpa, FRAMES, 1);
	slot_set_flags(vm->mem, LOG);
	expect_dirty(vm->mem, 0, 0, "the log is new");
	memory_mprotect(&vm->mem->mem, 0, FRAMES * SZ_4K, PROT_READ);
	expect_frames(v, vm->mem->gpa, FRAMES, 1, "protected");
	expect_dirty(vm->mem, 0, 0, "read only");
	/* The write fails KVM_RUN, or comes out as MMIO where KVM emulates it. */
	op_clear(v);
	op_add(v, .kind = AGENT_WRITE, .size = 4, .addr = vm->mem->gpa, .value = 77);
	v->mailbox->nr_done = 0;
	ret = __vcpu_run(v);
	EXPECT(ret == -EFAULT || (!ret && v->run->exit_reason == KVM_EXIT_MMIO),
	       "a write to protected memory leaves the guest (%d, %s)", ret,
	       exit_reason_name(v->run->exit_reason));
	EXPECT_EQ(frame_word(vm->mem->hva, 0), 1, "the frame");
	memory_mprotect(&vm->mem->mem, 0, FRAMES * SZ_4K, PROT_READ | PROT_WRITE);
	vcpu_exec(v);
	guest_do(v, .kind = AGENT_WRITE, .size = 4, .addr = vm->mem->gpa, .value = 78);
	EXPECT_EQ(frame_word(vm->mem->hva, 0), 78, "the frame after the write");
	expect_dirty(vm->mem, 0, 1, "written");
}

TEST(two_vcpus, .what = "two vCPUs that fault on the same protected pages both get through")
{
	struct vm *vm = vm_create(no_paging(), .mem_size = FRAMES * SZ_4K, .nr_vcpus = 2);
	u64 round, i, fast = 0;

	write_frames(vm->vcpu[0], vm->mem->gpa, FRAMES, 0);
	memset(vm->mem->hva, 0, vm->mem->size);
	slot_set_flags(vm->mem, LOG);
	for (round = 1; round <= 8; round++) {
		fast = vcpus_stat(vm, "pf_fast");
		for (i = 0; i < 2; i++) {
			struct vcpu *v = vm->vcpu[i];
			u64 page;

			op_clear(v);
			/* Meet in the first page, then both go through all. */
			op_add(v, .kind = AGENT_XADD, .size = 4, .addr = vm->mem->gpa + 64,
			       .value = 1);
			op_add(v, .kind = AGENT_WAIT_GE, .size = 4, .addr = vm->mem->gpa + 64,
			       .value = 2 * round);
			for (page = 0; page < FRAMES; page++)
				op_add(v, .kind = AGENT_XADD, .size = 4,
				       .addr = vm->mem->gpa + page * SZ_4K, .value = 1);
			vcpu_start(v);
		}
		vcpu_join(vm->vcpu[0]);
		vcpu_join(vm->vcpu[1]);
		if (tdp())
			EXPECT_GE(vcpus_stat(vm, "pf_fast") - fast, faults_for(FRAMES),
				  "round %lu: fast faults", round);
		for (i = 0; i < FRAMES; i++)
			EXPECT_EQ(frame_word(vm->mem->hva, i), 2 * round, "round %lu, page %lu",
				  round, i);
		expect_dirty(vm->mem, 0, FRAMES, "both wrote");
	}
}
