// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads binary statistics: a header, descriptors with names, and values at
 * offsets that the descriptors give.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stats.h"
#include "test.h"

/* 0 and the value, or -errno: -ENOENT when there is no such counter. */
static int read_stat(int fd, const char *name, u64 *value)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	size_t desc_size;
	u32 i;
	int ret = -ENOENT;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return -EIO;
	desc_size = sizeof(*desc) + header.name_size;
	desc = malloc(desc_size);
	for (i = 0; i < header.num_desc; i++) {
		if (pread(fd, desc, desc_size, header.desc_offset + i * desc_size) !=
		    (ssize_t)desc_size) {
			ret = -EIO;
			break;
		}
		if (strncmp(desc->name, name, header.name_size))
			continue;
		ret = pread(fd, value, sizeof(*value), header.data_offset + desc->offset) ==
				      sizeof(*value)
			      ? 0
			      : -EIO;
		break;
	}
	free(desc);
	return ret;
}

static int stats_fd(int fd)
{
	return __kvm_ioctl(fd, KVM_GET_STATS_FD, NULL);
}

static int vm_read(struct vm *vm, const char *name, u64 *value)
{
	if (vm->stats_fd < 0)
		vm->stats_fd = stats_fd(vm->fd);
	return vm->stats_fd < 0 ? -ENOTTY : read_stat(vm->stats_fd, name, value);
}

/* The descriptor is kept: asking for one waits for KVM_RUN to return, reading does not. */
static int vcpu_read(struct vcpu *v, const char *name, u64 *value)
{
	if (!v->stats_fd)
		v->stats_fd = stats_fd(v->fd);
	return v->stats_fd < 0 ? -ENOTTY : read_stat(v->stats_fd, name, value);
}

static u64 require_read(int ret, const char *kind, const char *name, u64 value)
{
	REQUIRE(ret != -ENOTTY, "binary statistics (KVM_GET_STATS_FD)");
	REQUIRE(ret != -ENOENT, "%s statistic %s", kind, name);
	if (ret)
		test_error("reading %s statistic %s: %s", kind, name, strerror(-ret));
	return value;
}

u64 vm_stat(struct vm *vm, const char *name)
{
	u64 value = 0;
	int ret = vm_read(vm, name, &value);

	return require_read(ret, "VM", name, value);
}

u64 vcpu_stat(struct vcpu *v, const char *name)
{
	u64 value = 0;
	int ret = vcpu_read(v, name, &value);

	return require_read(ret, "vCPU", name, value);
}

u64 vcpus_stat(struct vm *vm, const char *name)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < vm->nr_vcpus; i++)
		sum += vcpu_stat(vm->vcpu[i], name);
	return sum;
}

bool vm_has_stat(struct vm *vm, const char *name)
{
	u64 value;

	return !vm_read(vm, name, &value);
}

bool vcpu_has_stat(struct vcpu *v, const char *name)
{
	u64 value;

	return !vcpu_read(v, name, &value);
}
