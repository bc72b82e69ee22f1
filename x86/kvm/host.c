// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of host memory: what is behind a host virtual address, and telling the VMs before it
 * changes. Pages of memory that intree_mmap() gave out are faulted in, copied on write and made of huge
 * pages as the kernel does with a process's memory; other memory is always there, at its own address.
 *
 * A change and a fault meet by the invalidation sequence: the change begins, takes the pages out of
 * all guests, then alters the model, then ends. A fault that looked a page up before finds the sequence
 * moved or in progress.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "x86/kvm/host_priv.h"
#include "x86/kvm/sched.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define BLOCK (SZ_2M / SZ_4K)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vm *vms;
u64 host_generation;
struct hw_spinlock host_copy_lock;

void host_lock(void)
{
	hw_mutex_lock(&lock);
}

void host_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void host_register(struct vm *vm)
{
	host_lock();
	vm->next = vms;
	vms = vm;
	host_unlock();
}

void host_unregister(struct vm *vm)
{
	struct vm **at;

	host_lock();
	for (at = &vms; *at && *at != vm; at = &(*at)->next)
		;
	if (*at)
		*at = vm->next;
	host_unlock();
}

void host_lists_after_fork(void)
{
	vms = NULL;
	host_copy_lock.locked = 0;
}

/* Memory that the model has is known already, by its arena or its file. */
void host_slot_added(u64 hva, u64 size)
{
	hw_known_add(hva, size, 1);
}

void host_slot_removed(u64 hva, u64 size)
{
	hw_known_add(hva, size, -1);
}

/* --- telling the VMs ------------------------------------------------------------- */

/* The part of @slot that [@start, @end) of host memory is; false: none. */
static bool slot_range(struct kvm_memory_slot *slot, u64 start, u64 end,
		       struct kvm_gfn_range *range)
{
	u64 last = slot->hva + (slot->npages << PAGE_SHIFT);

	if (start < slot->hva)
		start = slot->hva;
	if (end > last)
		end = last;
	if (start >= end)
		return false;
	*range = (struct kvm_gfn_range){
		.slot = slot,
		.start = slot->base_gfn + ((start - slot->hva) >> PAGE_SHIFT),
		.end = slot->base_gfn + ((end - slot->hva + SZ_4K - 1) >> PAGE_SHIFT),
		.may_block = true,
	};
	return true;
}

#define for_each_slot(kvm, as, slots, i)            \
	for (as = 0; as < KVM_ADDRESS_SPACES; as++) \
		for (slots = kvm_memslots(kvm, as), i = 0; slots && i < slots->nr; i++)

static void vm_change_begin(struct vm *vm, u64 start, u64 end)
{
	struct kvm *kvm = &vm->kvm;
	struct kvm_memslots *slots;
	struct kvm_gfn_range range;
	gfn_t from = ~0ull, to = 0;
	bool flush = false;
	unsigned int as, i;

	for_each_slot(kvm, as, slots, i)
	{
		if (!slot_range(slots->slot[i], start, end, &range))
			continue;
		from = range.start < from ? range.start : from;
		to = range.end > to ? range.end : to;
	}
	if (!to)
		return;
	audit_outside(vm);
	hw_yield_point(kvm, "invalidate");
	hw_write_lock(kvm);
	vm->hw->invalidating++;
	kvm_mmu_invalidate_begin(kvm, from, to);
	for_each_slot(kvm, as, slots, i)
	{
		if (!slot_range(slots->slot[i], start, end, &range))
			continue;
		if (!(MUTANT(unmap_first_slot) && flush))
			flush = kvm_mmu_unmap_gfn_range(kvm, &range, flush);
	}
	if (flush && !MUTANT(unmap_without_flush))
		hw_flush_remote(kvm);
	hw_write_unlock(kvm);
}

void change_begin(u64 start, u64 end)
{
	struct vm *vm;

	__atomic_add_fetch(&host_generation, 1, __ATOMIC_SEQ_CST);
	for (vm = vms; vm; vm = vm->next)
		vm_change_begin(vm, start, end);
}

void change_end(void)
{
	struct vm *vm;

	__atomic_add_fetch(&host_generation, 1, __ATOMIC_SEQ_CST);
	for (vm = vms; vm; vm = vm->next) {
		if (!vm->hw->invalidating)
			continue;
		hw_write_lock(&vm->kvm);
		for (; vm->hw->invalidating; vm->hw->invalidating--)
			kvm_mmu_invalidate_end(&vm->kvm);
		hw_write_unlock(&vm->kvm);
	}
}

/* --- huge pages ---------------------------------------------------------------------- */

bool block_fits(const struct region *r, u64 hva)
{
	u64 start = hva & ~(SZ_2M - 1);

	return start >= r->start && start + SZ_2M <= r->end;
}

static u64 block_first(const struct region *r, u64 i)
{
	u64 hva = r->start + (i << PAGE_SHIFT);

	return ((hva & ~(SZ_2M - 1)) - r->start) >> PAGE_SHIFT;
}

bool block_empty(const struct region *r, u64 i)
{
	u64 end = i + BLOCK;

	for (; i < end; i++)
		if (page_word(r, i) & PAGE_FLAGS)
			return false;
	return true;
}

/* How many pages of the block from page @i on, at most @most, lie behind each other in the arena. */
static u64 run_of(const struct region *r, u64 i, u64 most)
{
	u64 hpa = page_hpa(r, i, page_word(r, i)), n = 1;

	while (n < most && page_hpa(r, i + n, page_word(r, i + n)) == hpa + (n << PAGE_SHIFT))
		n++;
	return n;
}

static bool contiguous(const struct region *r, u64 i)
{
	return !(page_hpa(r, i, page_word(r, i)) & (SZ_2M - 1)) && run_of(r, i, BLOCK) == BLOCK;
}

/* Memory of huge pages that the process has touched and no guest: each page of it is there. */
static void split_untouched(struct region *r, u64 i)
{
	unsigned char vec[BLOCK];
	u64 first, hpa, n;

	if (!r->thp || !block_fits(r, r->start + (i << PAGE_SHIFT)))
		return;
	first = block_first(r, i);
	hpa = page_hpa(r, first, page_word(r, first));
	if (!block_empty(r, first) || !contiguous(r, first) || !arena_resident(hpa, BLOCK, vec))
		return;
	for (n = 0; n < BLOCK && !(vec[n] & 1); n++)
		;
	if (n == BLOCK)
		return;
	for (n = 0; n < BLOCK; n++)
		page_set(r, first + n, (hpa + (n << PAGE_SHIFT)) | PAGE_PRESENT | PAGE_WRITE);
}

void split_huge(struct region *r, u64 i)
{
	u64 end;

	if (i >= region_pages(r))
		return;
	if (!(page_word(r, i) & PAGE_HUGE)) {
		split_untouched(r, i);
		return;
	}
	i = block_first(r, i);
	for (end = i + BLOCK; i < end; i++)
		page_set(r, i, page_word(r, i) & ~PAGE_HUGE);
}

void widen_to_huge(u64 *start, u64 *end)
{
	struct region *r = region_find(host_regions, *start);

	if (r && (page_word(r, (*start - r->start) >> PAGE_SHIFT) & PAGE_HUGE))
		*start &= ~(SZ_2M - 1);
	r = region_find(host_regions, *end - 1);
	if (r && (page_word(r, (*end - 1 - r->start) >> PAGE_SHIFT) & PAGE_HUGE))
		*end = (*end + SZ_2M - 1) & ~(SZ_2M - 1);
}

/* What the block that begins with page @i holds, to @to. */
static void copy_block(const struct region *r, u64 i, u8 *to)
{
	unsigned char resident[BLOCK];
	u64 n, k, run;
	u8 *from;

	for (n = 0; n < BLOCK; n += run) {
		run = run_of(r, i + n, BLOCK - n);
		from = (u8 *)page_hpa(r, i + n, page_word(r, i + n));
		if (!arena_resident((u64)from, run, resident))
			continue;
		for (k = 0; k < run; k++)
			if (resident[k] & 1)
				memcpy(to + ((n + k) << PAGE_SHIFT), from + (k << PAGE_SHIFT),
				       SZ_4K);
	}
}

int make_huge(struct region *r, u64 i)
{
	u64 n, hpa;
	int ret = 0;

	if (!contiguous(r, i)) {
		hpa = arena_alloc(SZ_2M, 0, SZ_2M);
		if (!hpa)
			return -ENOMEM;
		hw_spin_lock(&host_copy_lock);
		copy_block(r, i, (u8 *)hpa);
		region_drop_frames(r, i, BLOCK);
		for (n = 0; n < BLOCK; n++)
			page_set(r, i + n, hpa + (n << PAGE_SHIFT));
		hw_spin_unlock(&host_copy_lock);
		ret = map_pages(r, i, BLOCK);
	}
	for (n = 0; n < BLOCK; n++) {
		hpa = page_hpa(r, i + n, page_word(r, i + n));
		page_set(r, i + n, hpa | PAGE_PRESENT | PAGE_WRITE | PAGE_HUGE);
	}
	return ret;
}

/* --- faults --------------------------------------------------------------------------- */

bool page_lookup(const struct region *r, u64 hva, bool write, struct hw_page *page)
{
	u64 i = (hva - r->start) >> PAGE_SHIFT, word = page_word(r, i), head;

	/* Of a page of hugetlb the fault noted the first frame. */
	if (r->level > PG_LEVEL_4K && !(word & PAGE_PRESENT)) {
		head = hva & ~((r->level == PG_LEVEL_1G ? SZ_1G : SZ_2M) - 1);
		if (head >= r->start)
			word |= page_word(r, (head - r->start) >> PAGE_SHIFT) & PAGE_FLAGS;
	}
	if (!(word & PAGE_PRESENT) || !(r->prot & (write ? PROT_WRITE : PROT_READ | PROT_WRITE)))
		return false;
	page->writable = (word & PAGE_WRITE) && (r->prot & PROT_WRITE);
	if (write && !page->writable)
		return false;
	page->hpa = page_hpa(r, i, word);
	page->level = r->level > PG_LEVEL_4K ? r->level
		      : word & PAGE_HUGE     ? PG_LEVEL_2M
					     : PG_LEVEL_4K;
	return true;
}

/* What the process has touched itself is there, as far as the memory file knows. */
static void scan_block(struct region *r, u64 i)
{
	u64 first = 0, last = region_pages(r), hpa, k;
	unsigned char vec[BLOCK];
	u64 hva = r->start + (i << PAGE_SHIFT);

	if ((hva & ~(SZ_2M - 1)) > r->start)
		first = block_first(r, i);
	k = (((hva & ~(SZ_2M - 1)) + SZ_2M) - r->start) >> PAGE_SHIFT;
	if (k < last)
		last = k;
	/* In one call where frames lie in order, which is nearly always. */
	hpa = page_hpa(r, first, page_word(r, first));
	for (k = first; k < last; k++)
		if (page_hpa(r, k, page_word(r, k)) != hpa + ((k - first) << PAGE_SHIFT))
			break;
	if (k <= i) { /* not up to the page itself */
		first = i;
		hpa = page_hpa(r, i, page_word(r, i));
		k = i + 1;
	}
	if (!arena_resident(hpa, k - first, vec))
		return;
	for (last = k, k = first; k < last; k++) {
		u64 word = page_word(r, k);

		if ((vec[k - first] & 1) && !(word & PAGE_FLAGS))
			page_set(r, k, page_hpa(r, k, word) | PAGE_PRESENT | PAGE_WRITE);
	}
}

/* The page is there now, and with it the whole huge page that it is part of. */
static void page_arrives(struct region *r, u64 i)
{
	u64 hva = r->start + (i << PAGE_SHIFT), head = hva;

	if (r->level > PG_LEVEL_4K)
		head &= ~((r->level == PG_LEVEL_1G ? SZ_1G : SZ_2M) - 1);
	page_set(r, i, page_hpa(r, i, page_word(r, i)) | PAGE_PRESENT | PAGE_WRITE);
	if (head < hva && head >= r->start) {
		i = (head - r->start) >> PAGE_SHIFT;
		page_set(r, i, page_hpa(r, i, page_word(r, i)) | PAGE_PRESENT | PAGE_WRITE);
	}
}

static void fault_anon_private(struct region *r, u64 i, bool write)
{
	u64 hva = r->start + (i << PAGE_SHIFT), word = page_word(r, i);
	u64 from = hva, to = hva + SZ_4K;

	if (r->level > PG_LEVEL_4K) {
		page_arrives(r, i);
		return;
	}
	if (r->thp && block_fits(r, hva) && block_empty(r, block_first(r, i)) &&
	    !make_huge(r, block_first(r, i)))
		return;
	if (!(word & PAGE_FLAGS)) {
		scan_block(r, i);
		word = page_word(r, i);
	}
	if (word & PAGE_USED) {
		page_set(r, i, page_hpa(r, i, word) | PAGE_PRESENT | PAGE_WRITE);
	} else if (!(word & PAGE_PRESENT)) {
		/* Never written: a read finds the zero page, which nobody may write. */
		page_set(r, i, page_hpa(r, i, word) | PAGE_PRESENT | (write ? PAGE_WRITE : 0));
	} else if (write && !(word & PAGE_WRITE)) {
		/* Of a huge page that a fork shared only this page becomes the process's own. */
		widen_to_huge(&from, &to);
		change_begin(from, to);
		split_huge(r, i);
		page_set(r, i, page_word(r, i) | PAGE_WRITE);
		change_end();
	}
}

/* Whether the process has written to its private copy of a file's page without our knowing. */
static bool copied_by_process(u64 hva)
{
	u64 entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool read;

	if (fd < 0)
		return false;
	read = pread(fd, &entry, sizeof(entry), (hva >> PAGE_SHIFT) * 8) == sizeof(entry);
	close(fd);
	return read && (entry & BIT(63)) && !(entry & BIT(61));
}

/* 0, or -ENOMEM. */
static int copy_file_page(struct region *r, u64 i, const void *from)
{
	u64 hva = r->start + (i << PAGE_SHIFT), hpa = arena_alloc(SZ_4K, 0, SZ_4K);
	int ret;

	if (!hpa)
		return -ENOMEM;
	change_begin(hva, hva + SZ_4K);
	hw_spin_lock(&host_copy_lock);
	memcpy((void *)hpa, from, SZ_4K);
	page_set(r, i, hpa | PAGE_PRESENT | PAGE_WRITE | PAGE_OWN);
	hw_spin_unlock(&host_copy_lock);
	ret = map_pages(r, i, 1);
	change_end();
	return ret;
}

bool in_file(const struct region *r, u64 i)
{
	struct stat st;

	return !fstat(r->file->fd, &st) && r->file_off + (i << PAGE_SHIFT) < (u64)st.st_size;
}

/* Of a private file that page @hva is still the file's, which faults don't note. */
static bool file_page_shared(const struct region *r, u64 hva, struct hw_page *page)
{
	u64 i = (hva - r->start) >> PAGE_SHIFT;

	if (r->kind != FILE_PRIVATE || (page_word(r, i) & PAGE_OWN) ||
	    !(r->prot & (PROT_READ | PROT_WRITE)) || !in_file(r, i) || copied_by_process(hva))
		return false;
	*page = (struct hw_page){.hpa = page_hpa(r, i, page_word(r, i)), .level = PG_LEVEL_4K};
	return true;
}

static int fault_file(struct region *r, u64 i, bool write, struct hw_page *page)
{
	u64 word = page_word(r, i), hva = r->start + (i << PAGE_SHIFT);
	int ret;

	if (word & PAGE_OWN) {
		page_set(r, i, word | PAGE_PRESENT | PAGE_WRITE);
		page_lookup(r, hva, write, page);
		return 0;
	}
	if (!in_file(r, i))
		return -EFAULT;
	if (r->kind == FILE_SHARED) {
		page_arrives(r, i);
		page_lookup(r, hva, write, page);
		return 0;
	}
	if (copied_by_process(hva)) {
		ret = copy_file_page(r, i, (void *)hva);
	} else if (write) {
		ret = copy_file_page(r, i, (void *)page_hpa(r, i, word));
	} else {
		/* Not noted as present, so that each fault looks whose the page is. */
		*page = (struct hw_page){.hpa = page_hpa(r, i, word), .level = PG_LEVEL_4K};
		return 0;
	}
	if (ret)
		return ret;
	page_lookup(r, hva, write, page);
	return 0;
}

static int fault_slow(u64 hva, bool write, struct hw_page *page)
{
	struct region *r;
	int ret = 0;
	u64 i;

	host_lock();
	r = region_find(host_regions, hva);
	if (!r) {
		ret = 1;
	} else if (!page_lookup(r, hva, write, page)) {
		i = (hva - r->start) >> PAGE_SHIFT;
		if (!(r->prot & (write ? PROT_WRITE : PROT_READ | PROT_WRITE))) {
			ret = -EFAULT;
		} else if (r->file) {
			ret = fault_file(r, i, write, page);
		} else {
			if (r->kind == ANON_PRIVATE)
				fault_anon_private(r, i, write);
			else
				page_arrives(r, i);
			if (!page_lookup(r, hva, write, page))
				ret = -EFAULT;
		}
	}
	host_unlock();
	return ret;
}

int plain_page(u64 hva, bool write, struct hw_page *page)
{
	static __thread struct {
		u64 hva, generation;
		bool writable;
	} seen[64], *s;
	u64 generation = __atomic_load_n(&host_generation, __ATOMIC_SEQ_CST) + 1;
	u64 addr = hva & ~(SZ_4K - 1);

	s = &seen[(addr >> PAGE_SHIFT) % ARRAY_LEN(seen)];
	if (s->hva != addr || s->generation != generation || (write && !s->writable)) {
		if (addr >> 47)
			return -EFAULT;
		s->writable = !madvise((void *)addr, SZ_4K, MADV_POPULATE_WRITE);
		s->generation = 0;
		if (!s->writable && (write || madvise((void *)addr, SZ_4K, MADV_POPULATE_READ)))
			return -EFAULT;
		s->hva = addr;
		s->generation = generation;
	}
	*page = (struct hw_page){.hpa = addr, .writable = s->writable, .level = PG_LEVEL_4K};
	return 0;
}

int hw_faultin(struct kvm *kvm, u64 hva, bool write, struct hw_page *page)
{
	struct region *r;
	bool found;
	int ret;

	(void)kvm;
	hw_rcu_read_lock();
	r = region_find(__atomic_load_n(&host_regions, __ATOMIC_ACQUIRE), hva);
	found = r && page_lookup(r, hva, write, page);
	hw_rcu_read_unlock();
	if (found)
		return 0;
	ret = r ? fault_slow(hva, write, page) : 1;
	return ret == 1 ? plain_page(hva, write, page) : ret;
}

bool hw_page_present(struct kvm *kvm, u64 hva, bool write, struct hw_page *page)
{
	struct region *r;
	bool found;

	(void)kvm;
	hw_rcu_read_lock();
	r = region_find(__atomic_load_n(&host_regions, __ATOMIC_ACQUIRE), hva);
	found = r ? page_lookup(r, hva, write, page) || (!write && file_page_shared(r, hva, page))
		  : !plain_page(hva, write, page);
	hw_rcu_read_unlock();
	return found;
}

/* --- age -------------------------------------------------------------------------------- */

static bool vm_age(struct vm *vm, u64 start, u64 end)
{
	struct kvm *kvm = &vm->kvm;
	struct kvm_memslots *slots;
	struct kvm_gfn_range range;
	bool young = false;
	unsigned int as, i;

	audit_outside(vm);
	hw_write_lock(kvm);
	for_each_slot(kvm, as, slots, i) if (slot_range(slots->slot[i], start, end, &range))
		young |= kvm_mmu_age_gfn_range(kvm, &range);
	/* A bits are set again only by translations that the processor doesn't have. */
	if (young)
		hw_flush_remote(kvm);
	hw_write_unlock(kvm);
	return young;
}

bool intree_age(void *addr, size_t len)
{
	u64 start = (u64)addr & ~(SZ_4K - 1), end = ((u64)addr + len + SZ_4K - 1) & ~(SZ_4K - 1);
	bool young = false;
	struct region *r;
	struct vm *vm;
	u8 *flags;
	u64 hva, i;

	host_lock();
	for (vm = vms; vm; vm = vm->next)
		young |= vm_age(vm, start, end);
	/* And what SPTEs that have gone since left behind. */
	for (hva = start; hva < end; hva += SZ_4K) {
		r = region_find(host_regions, hva);
		if (!r)
			continue;
		i = (hva - r->start) >> PAGE_SHIFT;
		flags = arena_flags(page_hpa(r, i, page_word(r, i)));
		if (flags && (__atomic_load_n(flags, __ATOMIC_RELAXED) & FRAME_ACCESSED)) {
			young = true;
			__atomic_fetch_and(flags, (u8)~FRAME_ACCESSED, __ATOMIC_RELAXED);
		}
	}
	host_unlock();
	return young;
}
