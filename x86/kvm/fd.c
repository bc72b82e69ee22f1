// SPDX-License-Identifier: GPL-2.0-only
/*
 * File descriptors of the user-space KVM: real ones, of a memory file, so that no other
 * descriptor of the process has the same number; and the table that says what is behind
 * each. The system calls begin here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "x86/kvm/internal.h"
#include "x86/kvm/sched.h"

struct fd_entry {
	void *object; /* NULL: not ours */
	enum fd_kind kind;
	unsigned int users; /* the open descriptor, and calls that are using it */
	void (*release)(void *object);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fd_entry *entries;
static int nr_entries;
static char system_object;

/* False: no memory. */
static bool make_room(int fd)
{
	int n = nr_entries ? nr_entries : 64;
	struct fd_entry *more;

	while (n <= fd)
		n *= 2;
	if (n == nr_entries)
		return true;
	more = realloc(entries, n * sizeof(*more));
	if (!more)
		return false;
	memset(more + nr_entries, 0, (n - nr_entries) * sizeof(*more));
	entries = more;
	nr_entries = n;
	return true;
}

int fd_create(enum fd_kind kind, void *object, void (*release)(void *object))
{
	static const char *const names[] = {
		[FD_SYSTEM] = "mmuscope-kvm",
		[FD_VM] = "mmuscope-vm",
		[FD_VCPU] = "mmuscope-vcpu",
		[FD_STATS] = "mmuscope-stats",
	};
	int fd = memfd_create(names[kind], MFD_CLOEXEC), ret = fd;

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&lock);
	if (make_room(fd))
		entries[fd] = (struct fd_entry){object, kind, 1, release};
	else
		ret = -ENOMEM;
	pthread_mutex_unlock(&lock);
	if (ret < 0)
		close(fd);
	return ret;
}

void fd_set_release(int fd, void (*release)(void *object))
{
	pthread_mutex_lock(&lock);
	entries[fd].release = release;
	pthread_mutex_unlock(&lock);
}

void *fd_get(int fd, enum fd_kind *kind)
{
	void *object = NULL;

	pthread_mutex_lock(&lock);
	if (fd >= 0 && fd < nr_entries && entries[fd].object) {
		object = entries[fd].object;
		*kind = entries[fd].kind;
		entries[fd].users++;
	}
	pthread_mutex_unlock(&lock);
	return object;
}

void fd_put(int fd)
{
	struct fd_entry gone = {0};

	pthread_mutex_lock(&lock);
	if (!--entries[fd].users) {
		gone = entries[fd];
		memset(&entries[fd], 0, sizeof(entries[fd]));
	}
	pthread_mutex_unlock(&lock);
	if (!gone.object)
		return;
	/* The number stays taken until here, so that nobody finds another object behind it. */
	close(fd);
	if (gone.release)
		gone.release(gone.object);
}

/* --- system calls -------------------------------------------------------------------- */

static int result(int ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

int intree_open(const char *path, int flags)
{
	(void)flags;
	if (strcmp(path, "/dev/kvm"))
		return result(-ENOENT);
	return result(fd_create(FD_SYSTEM, &system_object, NULL));
}

int intree_close(int fd)
{
	enum fd_kind kind;

	if (!fd_get(fd, &kind))
		return close(fd);
	/* Once for this call, once for the descriptor itself. */
	fd_put(fd);
	fd_put(fd);
	return 0;
}

bool user_access(const void *p, size_t size)
{
	u8 first, last;
	struct iovec here[2] = {{&first, 1}, {&last, 1}};
	struct iovec there[2] = {{(void *)p, 1}, {(u8 *)p + (size ? size - 1 : 0), 1}};
	ssize_t n = process_vm_readv(getpid(), here, 2, there, 2, 0);

	/* Where the system call is forbidden, the caller is believed. */
	return n == 2 || (n < 0 && errno != EFAULT);
}

static int vcpu_ioctl(struct vcpu *v, unsigned long request, void *arg)
{
	int ret;

	/* KVM_RUN is interrupted by others without the mutex; nothing else takes long. */
	hw_mutex_lock(&v->mutex);
	ret = vcpu_ioctl_(v, request, arg);
	pthread_mutex_unlock(&v->mutex);
	return ret;
}

int intree_ioctl(int fd, unsigned long request, void *arg)
{
	enum fd_kind kind;
	void *object = fd_get(fd, &kind);
	int ret = -ENOTTY;

	if (!object)
		return result(fcntl(fd, F_GETFD) < 0 ? -EBADF : -ENOTTY);
	if (sched_on())
		sched_point("ioctl");
	/* KVM_SET_SIGNAL_MASK alone takes no argument for an argument. */
	if (_IOC_SIZE(request) && (arg || request != KVM_SET_SIGNAL_MASK) &&
	    !user_access(arg, _IOC_SIZE(request))) {
		fd_put(fd);
		return result(-EFAULT);
	}
	switch (kind) {
	case FD_SYSTEM:
		ret = system_ioctl(request, arg);
		break;
	case FD_VM:
		ret = vm_ioctl_(object, request, arg);
		break;
	case FD_VCPU:
		ret = vcpu_ioctl(object, request, arg);
		break;
	case FD_STATS:
		break;
	}
	fd_put(fd);
	return result(ret);
}

/* Pages of the vCPU: the run structure, or its dirty ring, which is elsewhere. */
static void *vcpu_mmap(struct vcpu *v, void *addr, size_t len, int prot, int flags, off_t offset)
{
	const off_t ring = (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * SZ_4K;
	void *p;

	if (offset + len <= RUN_SIZE)
		return mmap(addr, len, prot, flags, v->fd, offset);
	if (offset < ring || !v->ring || offset - ring + len > v->vm->dirty_ring_size ||
	    !(flags & MAP_SHARED) || (prot & PROT_EXEC)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	/* With an old size of 0, a second mapping of the same shared pages. */
	p = (u8 *)v->ring + (offset - ring);
	if (flags & MAP_FIXED)
		p = mremap(p, 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, addr);
	else
		p = mremap(p, 0, len, MREMAP_MAYMOVE);
	if (p != MAP_FAILED && mprotect(p, len, prot)) {
		munmap(p, len);
		p = MAP_FAILED;
	}
	return p;
}

void *intree_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	enum fd_kind kind;
	void *object = flags & MAP_ANONYMOUS ? NULL : fd_get(fd, &kind), *p = MAP_FAILED;

	if (!object)
		return host_mmap(addr, len, prot, flags, fd, offset);
	errno = ENODEV;
	if (kind == FD_VCPU)
		p = vcpu_mmap(object, addr, len, prot, flags, offset);
	fd_put(fd);
	return p;
}

struct kvm *intree_kvm(int vm_fd)
{
	enum fd_kind kind;
	void *object = fd_get(vm_fd, &kind);

	if (!object)
		return NULL;
	fd_put(vm_fd);
	return kind == FD_VM ? &((struct vm *)object)->kvm : NULL;
}

struct kvm_vcpu *intree_vcpu(int vcpu_fd)
{
	enum fd_kind kind;
	void *object = fd_get(vcpu_fd, &kind);

	if (!object)
		return NULL;
	fd_put(vcpu_fd);
	return kind == FD_VCPU ? &((struct vcpu *)object)->kvm : NULL;
}

void fd_each_vm(void (*fn)(struct vm *vm, void *arg), void *arg)
{
	enum fd_kind kind;

	for (int fd = 0;; fd++) {
		void *object;
		bool over;

		pthread_mutex_lock(&lock);
		over = fd >= nr_entries;
		pthread_mutex_unlock(&lock);
		if (over)
			return;
		object = fd_get(fd, &kind);
		if (!object)
			continue;
		if (kind == FD_VM)
			fn(object, arg);
		fd_put(fd);
	}
}

static void check_one(struct vm *vm, void *broken)
{
	*(int *)broken += audit_all(vm);
}

int intree_check(void)
{
	int broken = 0;

	fd_each_vm(check_one, &broken);
	return broken;
}
