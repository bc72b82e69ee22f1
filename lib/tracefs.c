// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tracepoints by way of tracefs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "tracefs.h"

#define TRACEFS	 "/sys/kernel/tracing"
#define INSTANCE TRACEFS "/instances/mmuscope"

static bool put(const char *file, const char *text)
{
	char path[512];
	bool done;
	int fd;

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

void tracefs_start(const char *event)
{
	char file[256], filter[64];

	/* Where nobody has mounted it yet, as in the lab. */
	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	REQUIRE(!mkdir(INSTANCE, 0700) || errno == EEXIST,
		"the kernel's tracing (" TRACEFS "/instances: %s)", strerror(errno));
	snprintf(file, sizeof(file), INSTANCE "/events/%s", event);
	if (access(file, F_OK)) {
		tracefs_stop();
		test_skip("requires the kernel's tracepoint %s", event);
	}
	snprintf(file, sizeof(file), "events/%s/filter", event);
	snprintf(filter, sizeof(filter), "common_pid == %d", gettid());
	if (!put(file, filter))
		test_error("%s: %s", file, strerror(errno));
	snprintf(file, sizeof(file), "events/%s/enable", event);
	if (!put(file, "1"))
		test_error("%s: %s", file, strerror(errno));
}

char *tracefs_lines(void)
{
	char *text = NULL, *lines = NULL, line[1024];
	size_t size = 0;
	FILE *in = fopen(INSTANCE "/trace", "re"), *out = open_memstream(&text, &size);

	if (!in || !out)
		test_error(INSTANCE "/trace: %s", strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		if (strstr(line, "LOST"))
			test_error("tracing lost events: %s", line);
		if (line[0] != '#')
			fputs(line, out);
	}
	fclose(in);
	if (!fclose(out))
		lines = text;
	if (!lines)
		test_error("out of memory");
	return lines;
}

void tracefs_stop(void)
{
	put("events/enable", "0");
	rmdir(INSTANCE);
}
