// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty bitmaps and dirty rings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "dirty.h"
#include "test.h"
#include "vm_internal.h"

struct dirty_bitmap dirty_bitmap_alloc(const struct memslot *slot)
{
	struct dirty_bitmap b = {.pages = slot->size / SZ_4K};

	b.bits = calloc((b.pages + 63) / 64, sizeof(u64));
	return b;
}

void dirty_bitmap_free(struct dirty_bitmap *b)
{
	free(b->bits);
	b->bits = NULL;
}

bool dirty_test(const struct dirty_bitmap *b, u64 page)
{
	return page < b->pages && (b->bits[page / 64] >> (page % 64) & 1);
}

u64 dirty_count(const struct dirty_bitmap *b)
{
	u64 i, n = 0;

	for (i = 0; i < (b->pages + 63) / 64; i++)
		n += __builtin_popcountll(b->bits[i]);
	return n;
}

u64 dirty_first(const struct dirty_bitmap *b)
{
	u64 i;

	for (i = 0; i < (b->pages + 63) / 64; i++)
		if (b->bits[i])
			return i * 64 + __builtin_ctzll(b->bits[i]);
	return ~0ull;
}

int __dirty_get(const struct memslot *slot, struct dirty_bitmap *b)
{
	struct kvm_dirty_log log = {.slot = slot->id, .dirty_bitmap = b->bits};

	return __kvm_ioctl(slot->vm->fd, KVM_GET_DIRTY_LOG, &log);
}

void dirty_get(const struct memslot *slot, struct dirty_bitmap *b)
{
	int ret = __dirty_get(slot, b);

	if (ret < 0)
		test_fail("KVM_GET_DIRTY_LOG slot %u: %s", slot->id, strerror(-ret));
}

int __dirty_clear(const struct memslot *slot, const struct dirty_bitmap *b, u64 first, u64 pages)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot->id,
		.first_page = first,
		.num_pages = pages,
		.dirty_bitmap = b->bits + first / 64,
	};

	return __kvm_ioctl(slot->vm->fd, KVM_CLEAR_DIRTY_LOG, &log);
}

void dirty_clear(const struct memslot *slot, const struct dirty_bitmap *b, u64 first, u64 pages)
{
	int ret = __dirty_clear(slot, b, first, pages);

	if (ret < 0)
		test_fail("KVM_CLEAR_DIRTY_LOG slot %u pages %lu + %lu: %s", slot->id, first, pages,
			  strerror(-ret));
}

void vm_manual_dirty_protect(struct vm *vm, bool initially_set)
{
	int have = require_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	if (initially_set)
		REQUIRE(have & KVM_DIRTY_LOG_INITIALLY_SET, "KVM_DIRTY_LOG_INITIALLY_SET");
	vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			      (initially_set ? KVM_DIRTY_LOG_INITIALLY_SET : 0));
}

#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

void vm_enable_dirty_ring(struct vm *vm)
{
	u64 bytes = vm->config.dirty_ring_entries * sizeof(struct kvm_dirty_gfn);
	u32 cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
	int max = kvm_cap(vm, cap);

	if (!max) {
		cap = KVM_CAP_DIRTY_LOG_RING;
		max = require_cap(vm, KVM_CAP_DIRTY_LOG_RING);
	}
	REQUIRE(bytes <= (u64)max, "a dirty ring of %lu bytes (at most %d)", bytes, max);
	vm_enable_cap(vm, cap, bytes);
}

static size_t ring_size(const struct vm *vm)
{
	return vm->config.dirty_ring_entries * sizeof(struct kvm_dirty_gfn);
}

static void map_ring(struct vcpu *v)
{
	v->ring = engine()->mmap(NULL, ring_size(v->vm), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
				 KVM_DIRTY_LOG_PAGE_OFFSET * SZ_4K);
	if (v->ring == MAP_FAILED)
		test_fail("mmap of the dirty ring of vCPU %u: %s", v->id, strerror(errno));
}

void vcpu_drop_ring(struct vcpu *v)
{
	if (v->ring)
		engine()->munmap(v->ring, ring_size(v->vm));
	v->ring = NULL;
}

u32 dirty_ring_collect(struct vcpu *v, struct dirty_entry *entries, u32 max)
{
	u32 n = 0;

	if (!v->ring)
		map_ring(v);
	while (n < max) {
		struct kvm_dirty_gfn *g = &v->ring[v->ring_next % v->vm->config.dirty_ring_entries];

		if (!(__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		entries[n++] = (struct dirty_entry){g->slot, g->offset};
		__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		v->ring_next++;
	}
	return n;
}

u32 vm_dirty_ring_reset(struct vm *vm)
{
	return vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL);
}
