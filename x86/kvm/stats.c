// SPDX-License-Identifier: GPL-2.0-only
/*
 * Binary statistics. A VM and a vCPU lie in a memory file of their own, behind a header and descriptors that
 * tell where in them the counters are, so that reading the file shows counters as they are now.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/kvm/internal.h"

#define NAME_SIZE 48
#define HEAD	  (4 * SZ_4K) /* header, id, descriptors; the object follows */

struct head {
	struct kvm_stats_header header;
	char id[NAME_SIZE];
	struct {
		u8 desc[sizeof(struct kvm_stats_desc)];
		char name[NAME_SIZE];
	} desc[];
};

/* At the end of the head, for ourselves. */
struct tail {
	size_t size;
	int fd;
};

struct counter {
	const char *name;
	bool now;
};

#define COUNTER(name, now) {#name, now},
static const struct counter vm_counters[] = {KVM_VM_STATS(COUNTER)};
static const struct counter vcpu_counters[] = {KVM_VCPU_STATS(COUNTER)};

_Static_assert(sizeof(struct kvm_stats_desc) + NAME_SIZE == sizeof(((struct head *)0)->desc[0]),
	       "a name follows its descriptor at once");
_Static_assert(sizeof(struct head) +
			       ARRAY_LEN(vcpu_counters) * sizeof(((struct head *)0)->desc[0]) +
			       sizeof(struct tail) <=
		       HEAD,
	       "the head has room");

static struct tail *tail_of(void *object)
{
	return (struct tail *)object - 1;
}

static void describe(struct head *h, const struct counter *c, u32 n, u32 data)
{
	struct kvm_stats_desc d;
	u32 i;

	h->header = (struct kvm_stats_header){
		.name_size = NAME_SIZE,
		.num_desc = n,
		.id_offset = offsetof(struct head, id),
		.desc_offset = offsetof(struct head, desc),
		.data_offset = data,
	};
	for (i = 0; i < n; i++) {
		d = (struct kvm_stats_desc){
			.flags = (c[i].now ? KVM_STATS_TYPE_INSTANT : KVM_STATS_TYPE_CUMULATIVE) |
				 KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10,
			.size = 1,
			.offset = i * sizeof(u64),
		};
		memcpy(h->desc[i].desc, &d, sizeof(d));
		snprintf(h->desc[i].name, NAME_SIZE, "%s", c[i].name);
	}
}

void *stats_object_alloc(size_t size, bool vcpu, unsigned long id)
{
	size_t all = HEAD + ((size + SZ_4K - 1) & ~(SZ_4K - 1));
	int fd = memfd_create(vcpu ? "kvm-vcpu-stats" : "kvm-vm-stats", MFD_CLOEXEC);
	struct head *h;
	void *object;

	if (fd < 0)
		return NULL;
	h = ftruncate(fd, all) ? MAP_FAILED
			       : mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED) {
		close(fd);
		return NULL;
	}
	object = (u8 *)h + HEAD;
	*tail_of(object) = (struct tail){.size = all, .fd = fd};
	snprintf(h->id, sizeof(h->id), vcpu ? "kvm-%d/vcpu-%lu" : "kvm-%d/%lu", getpid(), id);
	if (vcpu)
		describe(h, vcpu_counters, ARRAY_LEN(vcpu_counters),
			 HEAD + offsetof(struct kvm_vcpu, stat));
	else
		describe(h, vm_counters, ARRAY_LEN(vm_counters), HEAD + offsetof(struct kvm, stat));
	return object;
}

void stats_object_free(void *object)
{
	if (!object)
		return;
	close(tail_of(object)->fd);
	munmap((u8 *)object - HEAD, tail_of(object)->size);
}

/* A description of its own, so that its position is; for reading. */
static int stats_fd(void *object)
{
	int own = tail_of(object)->fd, fd;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* no /proc */
		fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int stats_fd_vm(struct vm *vm)
{
	return stats_fd(vm);
}

int stats_fd_vcpu(struct vcpu *v)
{
	return stats_fd(v);
}
