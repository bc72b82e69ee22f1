// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host changes the memory behind a slot: pages go away, lose rights, are
 * replaced, copied on write, split and collapsed, while the guest has them
 * mapped.
 *
 * The hypervisor's translations are a copy of the host's page tables; each
 * change below is announced to it before it happens and its translations must
 * be gone by then. One that stays shows as two memories: the guest goes on with
 * a page that the host's own address no longer leads to. A fault that runs at
 * the same time has looked the page up before the change and must not install
 * it after; the hypervisor counts changes and tries again. And rights that the
 * host lacks, because the page is shared copy-on-write or protected, the guest
 * must not get, not even when it only reads first and writes later.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slots.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define A 0x10000
#define B 0x20000

static const enum mem_backing backing[] = {MEM_ANON, MEM_THP, MEM_MEMFD, MEM_MEMFD_2M};
static const char *const backing_names[] = {"anon", "thp", "memfd", "hugetlb", NULL};

/* Host memory of @size at @mem's place is dropped: the next access finds zeroes. */
static void drop(struct memory *mem, u64 offset, u64 size)
{
	memory_madvise(mem, offset, size, mem->fd < 0 ? MADV_DONTNEED : MADV_REMOVE);
}

static void expect_zeroes(struct vcpu *v, gpa_t gpa, u64 size)
{
	EXPECT_VALUE(guest_op(v, .kind = AGENT_TOUCH_READ, .size = 4, .addr = window(v->vm, gpa),
			      .arg = SZ_4K, .value = size / SZ_4K),
		     0, "dropped pages from gpa %#lx", gpa);
}

static void guest_number(struct vcpu *v, gpa_t gpa, u64 size, u32 base)
{
	guest_do(v, .kind = AGENT_TOUCH_WRITE, .size = 4, .addr = window(v->vm, gpa), .arg = SZ_4K,
		 .value = size / SZ_4K, .arg2 = base);
}

TEST(dropped, .what = "pages that the host drops are zero for both, and theirs together again",
     .variants = backing_names)
{
	enum mem_backing kind = backing[t->variant_idx];
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = 8 * MiB, .backing = kind);
	struct memslot *s = vm->mem;
	struct vcpu *v = vm->vcpu[0];
	const u64 part = s->mem.page_size == SZ_2M && s->mem.fd >= 0 ? SZ_2M : 3 * SZ_4K;
	u64 i;

	window_map(vm, s->gpa, s->size, s->mem.page_size == SZ_2M ? 2 : 1);
	guest_number(v, s->gpa, s->size, A);
	/* A part in the middle, then the last pages, then everything. */
	drop(&s->mem, SZ_4M, part);
	expect_zeroes(v, s->gpa + SZ_4M, part);
	expect_frames(v, s->gpa, SZ_4M, A, "before the part");
	expect_frames(v, s->gpa + SZ_4M + part, s->size - SZ_4M - part, A + (SZ_4M + part) / SZ_4K,
		      "behind the part");
	write4(v, window(vm, s->gpa + SZ_4M), B);
	EXPECT_EQ(*frame_word(s->hva, SZ_4M), B, "the host's view");
	drop(&s->mem, s->size - part, part);
	expect_zeroes(v, s->gpa + s->size - part, part);
	guest_number(v, s->gpa, s->size, B);
	drop(&s->mem, 0, s->size);
	expect_zeroes(v, s->gpa, s->size);
	guest_number(v, s->gpa, s->size, A);
	for (i = 0; i < s->size / SZ_4K; i += 37)
		EXPECT_EQ(*frame_word(s->hva, i * SZ_4K), A + i);
	number_frames(s->hva, s->size, B);
	expect_frames(v, s->gpa, s->size, B, "written by the host");
}

TEST(aliases, .what = "a page in three slots is dropped from each of them")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M);
	struct memslot *s = vm->mem;
	const gpa_t other[] = {SLOT2_GPA, SLOT2_GPA + 3 * SZ_4K};
	struct vcpu *v = vm->vcpu[0];

	slot_add_hva(vm, 2, other[0], 2 * SZ_4K, (u8 *)s->hva + SZ_2M - 2 * SZ_4K, 0);
	slot_add_hva(vm, 3, other[1], SZ_4K, (u8 *)s->hva + SZ_2M - SZ_4K, KVM_MEM_READONLY);
	window_map(vm, s->gpa, SZ_2M, 1);
	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	guest_number(v, s->gpa, SZ_2M, A);
	expect_frames(v, other[0], 2 * SZ_4K, A + 510, "the second slot");
	expect_frames(v, other[1], SZ_4K, A + 511, "the third slot");
	memory_madvise(&s->mem, SZ_2M - SZ_4K, SZ_4K, MADV_DONTNEED);
	expect_zeroes(v, other[0] + SZ_4K, SZ_4K);
	expect_zeroes(v, other[1], SZ_4K);
	expect_frames(v, other[0], SZ_4K, A + 510, "its neighbour");
	write4(v, window(vm, other[0] + SZ_4K), B);
	expect_frames(v, s->gpa + SZ_2M - SZ_4K, SZ_4K, B, "the first slot");
	expect_frames(v, other[1], SZ_4K, B, "the third slot");
}

/* A partial KVM emulates the access, and its emulator takes what it can't reach for MMIO. */
#define REQUIRE_EFAULT() REQUIRE(!kvm_is_partial(), "a whole KVM (EFAULT from KVM_RUN)")

/* Runs one operation that the host's memory does not allow: KVM_RUN says EFAULT. */
static void expect_efault(struct vcpu *v, u32 kind, gva_t gva, u32 value, const char *when)
{
	int ret;

	op_clear(v);
	op_add(v, .kind = kind, .size = 4, .addr = gva, .value = value);
	do
		ret = __vcpu_run(v);
	while (ret == -EINTR || ret == -EAGAIN);
	EXPECT_EQ(ret, -EFAULT, "%s", when);
}

TEST(mprotect, .what = "memory that the host may not write or read: EFAULT, then it goes on",
     .variants = (const char *const[]){"4k", "thp", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	const gva_t gva = window(vm, s->gpa + SZ_2M);
	volatile u32 *word = frame_word(s->hva, SZ_2M);
	struct vcpu *v = vm->vcpu[0];

	REQUIRE_EFAULT();
	window_map(vm, s->gpa, s->size, t->variant_idx ? 2 : 1);
	guest_number(v, s->gpa, s->size, A);
	memory_mprotect(&s->mem, SZ_2M, SZ_4K, PROT_READ);
	EXPECT_EQ(read4(v, gva), A + 512, "read while it can be read only");
	write4(v, gva + SZ_4K, B); /* its neighbour is as it was */
	expect_efault(v, AGENT_WRITE, gva, B, "a write to memory that can be read only");
	EXPECT_EQ(*word, A + 512);
	memory_mprotect(&s->mem, SZ_2M, SZ_4K, PROT_READ | PROT_WRITE);
	vcpu_exec(v);
	EXPECT_OK(op_result(v, 0), "the same write goes on");
	EXPECT_EQ(*word, B);

	memory_mprotect(&s->mem, 0, s->size, PROT_NONE);
	expect_efault(v, AGENT_READ, gva, 0, "a read of memory without rights");
	memory_mprotect(&s->mem, 0, s->size, PROT_READ);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 0), B, "the same read goes on");
	expect_efault(v, AGENT_WRITE, gva, A, "read-only again");
	memory_mprotect(&s->mem, 0, s->size, PROT_READ | PROT_WRITE);
	vcpu_exec(v);
	EXPECT_EQ(*word, A);
	expect_frames(v, s->gpa, SZ_2M, A, "contents");
}

TEST(moved, .what = "the backing is moved away and other memory comes in its place")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M);
	struct memory away = memory_alloc(SZ_2M, MEM_ANON);
	u8 *hva = vm->mem->hva;
	const gpa_t gpa = vm->mem->gpa;
	struct vcpu *v = vm->vcpu[0];

	REQUIRE_EFAULT();
	window_map(vm, gpa, SZ_4M, 1);
	guest_number(v, gpa, SZ_4M, A);
	ASSERT(engine()->mremap(hva, SZ_2M, SZ_2M, MREMAP_MAYMOVE | MREMAP_FIXED, away.hva) ==
	       away.hva);
	expect_efault(v, AGENT_READ, window(vm, gpa + SZ_4K), 0, "a hole");
	ASSERT(engine()->mmap(hva, SZ_2M, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == hva);
	vcpu_exec(v);
	EXPECT_VALUE(op_result(v, 0), 0, "new memory");
	guest_number(v, gpa, SZ_2M, B);
	EXPECT_EQ(*frame_word(away.hva, SZ_4K), A + 1, "memory that was moved away");
	EXPECT_EQ(*frame_word(hva, SZ_4K), B + 1);
	/* Back again, over what is there. */
	ASSERT(engine()->mremap(away.hva, SZ_2M, SZ_2M, MREMAP_MAYMOVE | MREMAP_FIXED, hva) == hva);
	expect_frames(v, gpa, SZ_4M, A, "the first memory");
}

/* The forked process: answers with what it finds in two words, then writes both. */
static void child(volatile u32 *words[2], int from, int to)
{
	u32 seen[2];
	char go;

	while (read(from, &go, 1) == 1) {
		seen[0] = *words[0];
		seen[1] = *words[1];
		*words[0] = *words[1] = B + 99;
		if (write(to, seen, sizeof(seen)) != sizeof(seen))
			break;
	}
	_exit(0);
}

TEST(fork, .what = "after a fork the guest's memory and the other process's part at each write",
     .variants = (const char *const[]){"4k", "thp", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_2M,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memslot *s = vm->mem;
	volatile u32 *words[2] = {frame_word(s->hva, 5 * SZ_4K), frame_word(s->hva, 6 * SZ_4K)};
	struct vcpu *v = vm->vcpu[0];
	int down[2], up[2];
	u32 seen[2];
	pid_t pid;

	REQUIRE(engine()->kernel_memory,
		"memory of the kernel's, which fork() shares copy-on-write");
	window_map(vm, s->gpa, SZ_2M, t->variant_idx ? 2 : 1);
	guest_number(v, s->gpa, SZ_2M, A);
	ASSERT_EQ(pipe(down), 0);
	ASSERT_EQ(pipe(up), 0);
	pid = test_fork();
	if (!pid) {
		close(down[1]);
		child(words, down[0], up[1]);
	}
	/* One page is read before it is written, so that it is mapped while shared. */
	EXPECT_EQ(read4(v, window(vm, s->gpa + 5 * SZ_4K)), A + 5);
	write4(v, window(vm, s->gpa + 5 * SZ_4K), B);
	write4(v, window(vm, s->gpa + 6 * SZ_4K), B + 1);
	ASSERT_EQ(write(down[1], "", 1), 1);
	ASSERT_EQ(read(up[0], seen, sizeof(seen)), sizeof(seen));
	EXPECT_EQ(seen[0], A + 5, "the guest's write in the other process");
	EXPECT_EQ(seen[1], A + 6, "the guest's write in the other process");
	EXPECT_EQ(read4(v, window(vm, s->gpa + 5 * SZ_4K)), B);
	EXPECT_EQ(read4(v, window(vm, s->gpa + 6 * SZ_4K)), B + 1);
	EXPECT_EQ(*words[0], B, "the host's view");
	expect_frames(v, s->gpa + 7 * SZ_4K, SZ_2M - 7 * SZ_4K, A + 7, "untouched pages");
	close(down[1]);
	waitpid(pid, NULL, 0);
}

TEST(private_file, .what = "a private file mapping is copied at the guest's write, the file stays")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = VM_NO_MEM);
	struct memory file = memory_alloc(SZ_2M, MEM_MEMFD);
	struct vcpu *v = vm->vcpu[0];
	u8 *hva;

	number_frames(file.hva, SZ_2M, A);
	hva = engine()->mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.fd, 0);
	ASSERT(hva != MAP_FAILED);
	slot_add_hva(vm, 2, SLOT2_GPA, SZ_2M, hva, 0);
	window_map(vm, SLOT2_GPA, SZ_2M, 1);
	expect_frames(v, SLOT2_GPA, SZ_2M, A, "the file");
	*frame_word(file.hva, 9 * SZ_4K) = B;
	EXPECT_EQ(read4(v, window(vm, SLOT2_GPA + 9 * SZ_4K)), B,
		  "a page that is still the file's");
	guest_number(v, SLOT2_GPA, 16 * SZ_4K, B + 0x100);
	EXPECT_EQ(*frame_word(file.hva, 3 * SZ_4K), A + 3, "the guest's write in the file");
	*frame_word(file.hva, 3 * SZ_4K) = 1;
	expect_frames(v, SLOT2_GPA, 16 * SZ_4K, B + 0x100, "the guest's own pages");
	EXPECT_EQ(*frame_word(hva, 3 * SZ_4K), B + 0x103, "the host's view");
	expect_frames(v, SLOT2_GPA + SZ_2M / 2, SZ_2M / 2, A + 256, "the rest of the file");
}

TEST(huge_pages, .what = "huge pages of the host are split and collapsed under the guest")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .mem_size = SZ_4M, .backing = MEM_THP);
	struct memslot *s = vm->mem;
	struct vcpu *v = vm->vcpu[0];
	int err;

	window_map(vm, s->gpa, SZ_4M, 2);
	guest_number(v, s->gpa, SZ_4M, A);
	REQUIRE(memory_thp_bytes(&s->mem, 0, SZ_4M) == SZ_4M, "transparent huge pages");
	memory_mprotect(&s->mem, 100 * SZ_4K, SZ_4K, PROT_READ);
	expect_frames(v, s->gpa, SZ_4M, A, "split");
	memory_mprotect(&s->mem, 100 * SZ_4K, SZ_4K, PROT_READ | PROT_WRITE);
	guest_number(v, s->gpa, SZ_4M, B);
	memory_madvise(&s->mem, 200 * SZ_4K, SZ_4K, MADV_DONTNEED);
	expect_zeroes(v, s->gpa + 200 * SZ_4K, SZ_4K);
	write4(v, window(vm, s->gpa + 200 * SZ_4K), B + 200);
	expect_frames(v, s->gpa, SZ_4M, B, "split further");

	err = engine()->madvise(s->hva, SZ_4M, MADV_COLLAPSE) ? errno : 0;
	REQUIRE(err != EINVAL, "MADV_COLLAPSE (Linux 6.1)");
	ASSERT_EQ(err, 0, "MADV_COLLAPSE");
	expect_frames(v, s->gpa, SZ_4M, B, "collapsed");
	guest_number(v, s->gpa, SZ_4M, A);
	EXPECT_EQ(*frame_word(s->hva, 300 * SZ_4K), A + 300, "the host's view");
	EXPECT_EQ(*frame_word(s->hva, SZ_4M - SZ_4K), A + 1023, "the host's view");
}

/* Both vCPUs add to a word of their own page for ever; page 0 holds the stop word. */
static void start_adding(struct vm *vm)
{
	u32 i;

	for (i = 0; i < 2; i++) {
		struct vcpu *v = vm->vcpu[i];

		op_clear(v);
		op_add(v, .kind = AGENT_XADD, .size = 4, .value = 1,
		       .addr = window(vm, vm->mem->gpa + (1 + i) * SZ_2M));
		op_add(v, .kind = AGENT_LOOP, .arg = 1, .value = 1u << 30,
		       .addr = window(vm, vm->mem->gpa));
		vcpu_start(v);
	}
}

static void stop_adding(struct vm *vm)
{
	*frame_word(vm->mem->hva, 0) = 1;
	vcpu_join(vm->vcpu[0]);
	vcpu_join(vm->vcpu[1]);
}

TEST(running, .what = "pages dropped below vCPUs that fault on them all the time",
     .fixes = (const char *const[]){"4a42d848db95", NULL},
     .variants = (const char *const[]){"4k", "thp", NULL})
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = 6 * MiB,
				  .backing = t->variant_idx ? MEM_THP : MEM_ANON);
	struct memory *m = &vm->mem->mem;
	volatile u32 *word[2] = {frame_word(m->hva, SZ_2M), frame_word(m->hva, 2 * SZ_2M)};
	u32 round, i, before;

	window_map(vm, vm->mem->gpa, 6 * MiB, t->variant_idx ? 2 : 1);
	start_adding(vm);
	for (round = 0; round < 8; round++) {
		/* What the guest adds to from here on is what the host sees. */
		memory_madvise(m, SZ_2M, SZ_4M, MADV_DONTNEED);
		for (i = 0; i < 2; i++) {
			before = *word[i];
			WAIT_UNTIL(*word[i] != before, "vCPU %u, round %u", i, round);
		}
	}
	EXPECT_EQ(round, 8);
	stop_adding(vm);
}

static bool retry_efault(struct vcpu *v, struct kvm_run *run, void *arg)
{
	(void)v;
	(void)run;
	(void)arg;
	return errno == EFAULT;
}

TEST(running_protected, .what = "pages protected below vCPUs that write to them all the time")
{
	struct vm *vm = vm_create(paging_mode(PM_LA48), .nr_vcpus = 2, .mem_size = 6 * MiB);
	struct memory *m = &vm->mem->mem;
	volatile u32 *word[2] = {frame_word(m->hva, SZ_2M), frame_word(m->hva, 2 * SZ_2M)};
	u32 round, i, before, after;
	u64 exits;

	REQUIRE_EFAULT();
	window_map(vm, vm->mem->gpa, 6 * MiB, 1);
	for (i = 0; i < 2; i++)
		vm->vcpu[i]->other_exit = retry_efault;
	start_adding(vm);
	for (round = 0; round < 4; round++) {
		const u64 *runs = &vm->vcpu[round % 2]->exits;

		i = round % 2;
		memory_mprotect(m, (1 + i) * SZ_2M, SZ_4K, PROT_READ);
		before = *word[i];
		exits = __atomic_load_n(runs, __ATOMIC_ACQUIRE);
		WAIT_UNTIL(__atomic_load_n(runs, __ATOMIC_ACQUIRE) > exits + 2,
			   "vCPU %u gets EFAULT", i);
		after = *word[i];
		EXPECT_EQ(after, before, "vCPU %u wrote to protected memory", i);
		memory_mprotect(m, (1 + i) * SZ_2M, SZ_4K, PROT_READ | PROT_WRITE);
		WAIT_UNTIL(*word[i] != before, "vCPU %u goes on", i);
	}
	stop_adding(vm);
}
