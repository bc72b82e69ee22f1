// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to memory that user space named, as the kernel's copies to and from it: an address where
 * nothing is, is an error and no crash. The kernel itself is asked to copy.
 */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "x86/kvm/internal.h"

#define FRAMES 4096

/* Arguments of ioctls mostly lie on the stack of who calls, a few frames up: that is there. */
static bool on_stack(const void *user, size_t size)
{
	u64 at = (u64)user - (u64)__builtin_frame_address(0);

	return at < FRAMES && size < FRAMES - at;
}

static int copy(void *user, void *ours, size_t size, bool write)
{
	struct iovec local = {ours, size}, remote = {user, size};
	ssize_t n;

	if (!size)
		return 0;
	if (on_stack(user, size)) {
		memcpy(write ? user : ours, write ? ours : user, size);
		return 0;
	}
	n = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
		  : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (n == (ssize_t)size)
		return 0;
	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return -EFAULT;
	/* Where that call is forbidden, trust the address. */
	if (write)
		memcpy(user, ours, size);
	else
		memcpy(ours, user, size);
	return 0;
}

int user_read(void *to, const void *user, size_t size)
{
	return copy((void *)user, to, size, false);
}

int user_write(void *user, const void *from, size_t size)
{
	return copy(user, (void *)from, size, true);
}
