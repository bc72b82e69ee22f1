// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watcher on the kernel's log. What counts as a splat is a table of phrases;
 * a report extends from such a line to its end marker, or, for the kinds that have
 * none, to where the log falls silent.
 */
#include "lib/kmsg.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A report longer than this is cut; what follows is still consumed. */
#define BLOCK_LINES 150
/* How long the log has to be silent for an open report to be complete. */
#define QUIET_MS 200

/* Only at the start of a message: elsewhere these words occur in harmless ones. */
static const char *const splat_starts[] = {
	"------------[ cut here ]",
	"WARNING: ",
	"BUG: ",
	"kernel BUG at ",
	"Oops",
	"general protection fault",
	"unable to handle ",
	"Unable to handle ",
	"UBSAN: ",
	"kernel tried to execute NX-protected page",
	"refcount_t: ",
	"Kernel panic - ",
	"INFO: trying to register non-static key",
	"INFO: possible recursive locking",
	"INFO: possible circular locking",
	"INFO: inconsistent lock state",
};

static const char *const splat_phrases[] = {
	"KASAN: ",
	"KCSAN: ",
	"KMSAN: ",
	"BUG: soft lockup",
	"detected hard LOCKUP",
	"possible circular locking dependency",
	"possible recursive locking",
	"possible irq lock inversion",
	"inconsistent lock state",
	"suspicious RCU usage",
	"list_add corruption",
	"list_add double add",
	"list_del corruption",
	"detected stalls on CPUs/tasks",
	"self-detected stall on CPU",
	"rcu: INFO: rcu_preempt detected",
	"new suspected memory leaks",
};

bool kmsg_is_splat(const char *text)
{
	const char *p;
	size_t i;

	for (i = 0; i < sizeof(splat_starts) / sizeof(splat_starts[0]); i++)
		if (!strncmp(text, splat_starts[i], strlen(splat_starts[i])))
			return true;
	for (i = 0; i < sizeof(splat_phrases) / sizeof(splat_phrases[0]); i++)
		if (strstr(text, splat_phrases[i]))
			return true;
	if (!strncmp(text, "INFO: task ", 11) && strstr(text, " blocked for more than "))
		return true;
	/* "invalid opcode: 0000 [#1] PREEMPT SMP": every kind of die() counts itself */
	p = strstr(text, ": ");
	p = p ? strstr(p, " [#") : NULL;
	return p && isdigit((unsigned char)p[3]) && text[0] != '[';
}

bool kmsg_is_end(const char *text)
{
	return !strncmp(text, "---[ end ", 9);
}

char *kmsg_message(char *rec)
{
	unsigned long prefix;
	char *text, *end;

	prefix = strtoul(rec, &end, 10);
	if (end == rec || *end != ',')
		return NULL;
	/* the bits above the level are syslog's facility; the kernel's is 0 */
	if (prefix >> 3)
		return NULL;
	text = strchr(end, ';');
	if (!text)
		return NULL;
	text++;
	text[strcspn(text, "\n")] = '\0';
	return text;
}

struct kmsg {
	int fd;
	char rec[8192];
	char *pushed_back; /* a line that belongs to the next report */
};

struct kmsg *kmsg_open_fd(int fd)
{
	struct kmsg *k = calloc(1, sizeof(*k));
	int flags = fcntl(fd, F_GETFL);

	if (!k || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		free(k);
		return NULL;
	}
	k->fd = fd;
	return k;
}

struct kmsg *kmsg_open(void)
{
	const char *inherited = getenv("MMUSCOPE_KMSG_FD");
	struct kmsg *k;
	int fd;

	if (inherited && *inherited) {
		fd = atoi(inherited);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		return kmsg_open_fd(fd);
	}
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	/* where a host restricts the log, opening works and seeking or reading does not */
	k = lseek(fd, 0, SEEK_END) < 0 ? NULL : kmsg_open_fd(fd);
	if (!k)
		close(fd);
	return k;
}

int kmsg_fd(const struct kmsg *k)
{
	return k->fd;
}

void kmsg_close(struct kmsg *k)
{
	if (!k)
		return;
	close(k->fd);
	free(k->pushed_back);
	free(k);
}

/* The next line that the kernel logged; waits up to timeout_ms. NULL when there is none. */
static char *next_line(struct kmsg *k, int timeout_ms)
{
	struct pollfd pfd = {.fd = k->fd, .events = POLLIN};
	ssize_t n;
	char *text;

	if (k->pushed_back) {
		text = strcpy(k->rec, k->pushed_back);
		free(k->pushed_back);
		k->pushed_back = NULL;
		return text;
	}
	for (;;) {
		n = read(k->fd, k->rec, sizeof(k->rec) - 1);
		if (n > 0) {
			k->rec[n] = '\0';
			text = kmsg_message(k->rec);
			if (text)
				return text;
		} else if (n == 0) {
			return NULL;
		} else if (errno == EAGAIN) {
			if (!timeout_ms || poll(&pfd, 1, timeout_ms) <= 0)
				return NULL;
		} else if (errno != EPIPE && errno != EINTR) {
			/* EPIPE: records were overwritten unread; go on behind them */
			return NULL;
		}
	}
}

static void find_comm(const char *text, char *comm, size_t size)
{
	const char *p = strstr(text, " Comm: ");
	size_t n;

	if (!p || comm[0])
		return;
	p += strlen(" Comm: ");
	n = strcspn(p, " ");
	if (n >= size)
		n = size - 1;
	memcpy(comm, p, n);
	comm[n] = '\0';
}

bool kmsg_next(struct kmsg *k, struct kmsg_block *block)
{
	unsigned int lines = 0;
	size_t size;
	FILE *out;
	char *line;

	do {
		line = next_line(k, 0);
		if (!line)
			return false;
	} while (!kmsg_is_splat(line));

	block->text = NULL;
	block->comm[0] = '\0';
	out = open_memstream(&block->text, &size);
	if (!out)
		return false;
	do {
		/*
		 * The next report begins. Not so right after the start: some reports
		 * have a line or two of their own before the rule.
		 */
		if (lines > 8 && !strncmp(line, "------------[ cut here ]", 24)) {
			k->pushed_back = strdup(line);
			break;
		}
		if (lines++ < BLOCK_LINES)
			fprintf(out, "%s\n", line);
		find_comm(line, block->comm, sizeof(block->comm));
		if (kmsg_is_end(line))
			break;
		line = next_line(k, QUIET_MS);
	} while (line);
	if (lines > BLOCK_LINES)
		fprintf(out, "… %u lines more\n", lines - BLOCK_LINES);
	return !fclose(out);
}
