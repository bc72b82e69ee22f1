// SPDX-License-Identifier: GPL-2.0-only
/*
 * Access to memory that user space named, as the kernel's copies to and from it: an address where
 * nothing is, is an error and no crash. The kernel itself is asked to copy.
 */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "x86/kvm/internal.h"

static int copy(void *user, void *ours, size_t size, bool write)
{
	struct iovec local = {ours, size}, remote = {user, size};
	ssize_t n;

	if (!size)
		return 0;
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
