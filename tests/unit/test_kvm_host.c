// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machinery of the user-space KVM by itself: the model of host memory as faults see it, tables,
 * mmu_lock and RCU with several threads. What it does together with guests is the suite's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "x86/kvm/hw_priv.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static u8 *map(size_t size, int flags)
{
	u8 *p = intree_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	ASSERT(p != MAP_FAILED);
	return p;
}

static struct hw_page fault(const void *hva, bool write)
{
	struct hw_page page = {0};

	ASSERT_EQ(hw_faultin(NULL, (u64)hva, write, &page), 0);
	return page;
}

TEST(anonymous, .what = "a page is the zero page until it is written, and another one once dropped")
{
	u8 *p = map(8 * SZ_2M, MAP_PRIVATE);
	struct hw_page page, old;
	u32 word;

	EXPECT(!hw_page_present(NULL, (u64)p, false, &page));
	page = fault(p, false);
	EXPECT(!page.writable);
	EXPECT_EQ(page.level, PG_LEVEL_4K);
	old = fault(p, true);
	EXPECT(old.writable);
	*(u32 *)hw_va(old.hpa) = 7;
	EXPECT_EQ(*(u32 *)p, 7);
	p[SZ_4K] = 1; /* the process's own touch counts as well */
	EXPECT(fault(p + SZ_4K, false).writable);

	EXPECT_EQ(intree_madvise(p, SZ_4K, MADV_DONTNEED), 0);
	EXPECT_EQ(*(u32 *)hw_va(old.hpa), 7, "who still looks at the old frame");
	EXPECT(hw_read(NULL, (u64)p, &word, 4));
	EXPECT_EQ(word, 0);
	EXPECT_NE(fault(p, true).hpa, old.hpa);
	EXPECT_EQ(intree_munmap(p, 8 * SZ_2M), 0);
	EXPECT_EQ(hw_faultin(NULL, (u64)p, false, &page), -EFAULT);
	EXPECT(!hw_read(NULL, (u64)p, &word, 4));
}

TEST(protection, .what = "rights follow mprotect, page by page")
{
	u8 *p = map(SZ_2M, MAP_PRIVATE);
	u64 expected = 0;
	struct hw_page page;

	fault(p + SZ_4K, true);
	EXPECT_EQ(intree_mprotect(p + SZ_4K, SZ_4K, PROT_READ), 0);
	EXPECT(!fault(p + SZ_4K, false).writable);
	EXPECT_EQ(hw_faultin(NULL, (u64)p + SZ_4K, true, &page), -EFAULT);
	EXPECT_EQ(hw_cmpxchg(NULL, (u64)p + SZ_4K, &expected, 1, 8), -EFAULT);
	EXPECT(fault(p + 2 * SZ_4K, true).writable);
	EXPECT_EQ(intree_mprotect(p, SZ_2M, PROT_NONE), 0);
	EXPECT_EQ(hw_faultin(NULL, (u64)p, false, &page), -EFAULT);
	EXPECT_EQ(intree_mprotect(p, SZ_2M, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(hw_cmpxchg(NULL, (u64)p + SZ_4K, &expected, 1, 8), 0);
	EXPECT_EQ(hw_cmpxchg(NULL, (u64)p + SZ_4K, &expected, 2, 8), 1);
	EXPECT_EQ(expected, 1);
}

TEST(huge, .what = "huge pages come at a touch, are split in part and collapsed")
{
	u8 *p = map(2 * SZ_2M, MAP_PRIVATE);
	struct hw_page page;

	EXPECT_EQ((u64)p % SZ_2M, 0);
	EXPECT_EQ(intree_madvise(p, 2 * SZ_2M, MADV_HUGEPAGE), 0);
	page = fault(p + 5 * SZ_4K, false);
	EXPECT_EQ(page.level, PG_LEVEL_2M);
	EXPECT_EQ(page.hpa % SZ_2M, 5 * SZ_4K);
	EXPECT(page.writable);
	EXPECT_EQ(intree_huge_bytes(p, 2 * SZ_2M), 2 * SZ_2M);
	p[9 * SZ_4K] = 3;
	EXPECT_EQ(intree_madvise(p + 7 * SZ_4K, SZ_4K, MADV_DONTNEED), 0);
	EXPECT_EQ(fault(p, false).level, PG_LEVEL_4K);
	EXPECT_EQ(intree_huge_bytes(p, 2 * SZ_2M), SZ_2M);
	EXPECT_EQ(intree_madvise(p, 2 * SZ_2M, MADV_COLLAPSE), 0);
	page = fault(p + 9 * SZ_4K, true);
	EXPECT_EQ(page.level, PG_LEVEL_2M);
	EXPECT_EQ(*(u8 *)hw_va(page.hpa), 3);
	*(u8 *)hw_va(page.hpa) = 4;
	EXPECT_EQ(p[9 * SZ_4K], 4, "the process sees the frames that the guest would");
}

TEST(moved, .what = "mremap moves frames, a private file's page is copied at a write")
{
	u8 *p = map(SZ_2M, MAP_PRIVATE), *q = map(SZ_2M, MAP_PRIVATE);
	hpa_t hpa = fault(p + SZ_4K, true).hpa;
	struct hw_page page;
	int fd = memfd_create("file", MFD_CLOEXEC);

	p[SZ_4K] = 5;
	EXPECT(intree_mremap(p, SZ_2M, SZ_2M, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	EXPECT_EQ(fault(q + SZ_4K, true).hpa, hpa);
	EXPECT_EQ(q[SZ_4K], 5);
	EXPECT_EQ(hw_faultin(NULL, (u64)p, false, &page), -EFAULT);

	ASSERT_EQ(ftruncate(fd, 2 * SZ_4K), 0);
	ASSERT_EQ(pwrite(fd, "a", 1, 0), 1);
	p = intree_mmap(NULL, 3 * SZ_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT(p != MAP_FAILED);
	page = fault(p, false);
	EXPECT(!page.writable);
	page = fault(p, true);
	EXPECT_EQ(*(char *)hw_va(page.hpa), 'a');
	*(char *)hw_va(page.hpa) = 'b';
	EXPECT_EQ(p[0], 'b');
	EXPECT_EQ(hw_faultin(NULL, (u64)p + 2 * SZ_4K, false, &page), -EFAULT, "beyond the file");
	close(fd);
}

TEST(forked, .what = "a child has its own copy of private memory")
{
	u8 *p = map(SZ_2M, MAP_PRIVATE), *s = map(SZ_2M, MAP_SHARED);
	int status;
	pid_t pid;

	*(u8 *)hw_va(fault(p, true).hpa) = 1;
	pid = fork();
	if (!pid) {
		bool right = p[0] == 1;

		p[0] = 2;
		s[0] = 3;
		_exit(!right);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(p[0], 1);
	EXPECT_EQ(s[0], 3);
	EXPECT(!fault(p, false).writable, "shared until it is written");
	EXPECT(fault(p, true).writable);
}

TEST(tables, .what = "the processor reaches live tables and guest memory, and nothing else")
{
	u8 *p = map(SZ_4K, MAP_PRIVATE);
	hpa_t hpa = fault(p, true).hpa;
	u64 *table = hw_table_alloc(false), *low = hw_table_alloc(true);

	ASSERT(table && low);
	EXPECT_EQ((u64)low >> 32, 0);
	EXPECT(hw_frame(NULL, (hpa_t)table + 8) == table);
	table[3] = 1;
	hw_table_free(table);
	EXPECT(!hw_frame(NULL, (hpa_t)table));
	EXPECT(hw_table_alloc(false) == table);
	EXPECT_EQ(table[3], 0);
	EXPECT(hw_frame(NULL, hpa + 5) == hw_va(hpa));
	EXPECT(!hw_frame(NULL, 0x1000));
	EXPECT(!hw_frame(NULL, ~0ull << 13));
	EXPECT(!hw_frame(NULL, (hpa_t)(u64)&hpa));
	hw_table_free(table);
	hw_table_free(low);
}

#define THREADS 4
#define ROUNDS	20000

struct box {
	struct vm vm;
	u64 a, b; /* equal whenever nobody has the lock for write */
	u64 *shared;
	u64 freed;
};

static void *contend(void *arg)
{
	struct box *box = arg;
	struct kvm *kvm = &box->vm.kvm;
	u64 wrong = 0, i;

	for (i = 0; i < ROUNDS; i++) {
		if (i % 16) {
			hw_read_lock(kvm);
			wrong += box->a != box->b;
			hw_read_unlock(kvm);
			continue;
		}
		hw_write_lock(kvm);
		box->a++;
		box->b++;
		hw_write_unlock(kvm);
	}
	return (void *)wrong;
}

static struct box *box_new(void)
{
	struct box *box = calloc(1, sizeof(*box));

	ASSERT_EQ(hw_vm_init(&box->vm), 0);
	return box;
}

static void run_threads(struct box *box, void *(*fn)(void *))
{
	pthread_t thread[THREADS];
	void *wrong;
	int i;

	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&thread[i], NULL, fn, box), 0);
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &wrong);
		EXPECT_EQ((u64)wrong, 0);
	}
}

TEST(lock, .what = "writers exclude everybody, and nobody starves")
{
	struct box *box = box_new();

	run_threads(box, contend);
	EXPECT_EQ(box->a, THREADS * ROUNDS / 16);
	EXPECT_EQ(box->a, box->b);
	hw_vm_fini(&box->vm);
}

struct item {
	u64 value;
	struct box *box;
};

static void item_free(void *arg)
{
	struct item *item = arg;

	__atomic_fetch_add(&item->box->freed, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&item->value, ~0ull, __ATOMIC_RELAXED);
	free(item);
}

static void *replace(void *arg)
{
	struct box *box = arg;
	u64 wrong = 0, i;

	for (i = 0; i < ROUNDS; i++) {
		struct item *item;

		hw_rcu_read_lock();
		item = __atomic_load_n((struct item **)&box->shared, __ATOMIC_ACQUIRE);
		wrong += __atomic_load_n(&item->value, __ATOMIC_RELAXED) == ~0ull;
		if (i % 8 == 0) {
			struct item *new = malloc(sizeof(*new));

			*new = (struct item){i, box};
			item = __atomic_exchange_n((struct item **)&box->shared, new,
						   __ATOMIC_SEQ_CST);
			hw_rcu_defer(&box->vm.kvm, item_free, item);
		}
		hw_rcu_read_unlock();
		if (i % 1024 == 0)
			hw_rcu_synchronize(&box->vm.kvm);
	}
	return (void *)wrong;
}

TEST(rcu, .what = "what was unlinked is freed after the sections that may see it, and all of it")
{
	struct box *box = box_new();
	struct item *item = malloc(sizeof(*item));

	*item = (struct item){1, box};
	box->shared = (u64 *)item;
	run_threads(box, replace);
	hw_vm_fini(&box->vm);
	EXPECT_EQ(box->freed, THREADS * ROUNDS / 8);
}
