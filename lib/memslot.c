// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memslots: guest physical memory as the host gives it to the engine.
 */
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "vm.h"

int __vm_set_region(struct vm *vm, u32 id, u32 flags, gpa_t gpa, u64 size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = id,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (u64)hva,
	};

	return __kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void set_region(struct memslot *s)
{
	int ret = __vm_set_region(s->vm, s->id, s->flags, s->gpa, s->size, s->hva);

	if (ret)
		test_fail("KVM_SET_USER_MEMORY_REGION slot %u flags %#x gpa %#lx size %#lx: %s",
			  s->id, s->flags, s->gpa, s->size, strerror(-ret));
}

static struct memslot *free_slot(struct vm *vm, u32 id)
{
	struct memslot *unused = NULL;
	int i;

	for (i = VM_MAX_SLOTS - 1; i >= 0; i--) {
		if (!vm->slots[i].vm)
			unused = &vm->slots[i];
		else if (vm->slots[i].id == id)
			test_error("slot %u exists already", id);
	}
	if (!unused)
		test_error("more than %d memslots", VM_MAX_SLOTS);
	return unused;
}

struct memslot *slot_add_hva(struct vm *vm, u32 id, gpa_t gpa, u64 size, void *hva, u32 flags)
{
	struct memslot *s = free_slot(vm, id);

	*s = (struct memslot){
		.vm = vm, .id = id, .flags = flags, .gpa = gpa, .size = size, .hva = hva};
	s->mem.fd = -1;
	set_region(s);
	return s;
}

struct memslot *slot_add(struct vm *vm, u32 id, gpa_t gpa, u64 size, enum mem_backing backing,
			 u32 flags)
{
	struct memory mem = memory_alloc(size, backing);
	struct memslot *s = slot_add_hva(vm, id, gpa, mem.size, mem.hva, flags);

	s->mem = mem;
	return s;
}

void slot_delete(struct memslot *s)
{
	int ret = __vm_set_region(s->vm, s->id, 0, s->gpa, 0, s->hva);

	if (ret)
		test_fail("deleting slot %u: %s", s->id, strerror(-ret));
}

void slot_readd(struct memslot *s)
{
	set_region(s);
}

void slot_move(struct memslot *s, gpa_t gpa)
{
	s->gpa = gpa;
	set_region(s);
}

void slot_set_flags(struct memslot *s, u32 flags)
{
	s->flags = flags;
	set_region(s);
}

struct memslot *vm_slot_of(struct vm *vm, gpa_t gpa)
{
	int i;

	for (i = 0; i < VM_MAX_SLOTS; i++) {
		struct memslot *s = &vm->slots[i];

		if (s->vm && !(s->id >> 16) && gpa >= s->gpa && gpa - s->gpa < s->size)
			return s;
	}
	return NULL;
}

void *vm_hva(struct vm *vm, gpa_t gpa)
{
	struct memslot *s = vm_slot_of(vm, gpa);

	if (!s)
		test_error("gpa %#lx is in no memslot", gpa);
	return (u8 *)s->hva + (gpa - s->gpa);
}
