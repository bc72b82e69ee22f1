/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a thread waits for another one. There may be more threads than processors, so it must get out of the way; and a
 * yield is not enough for that: the scheduler counts it as a turn, which with busy threads around costs milliseconds. Who
 * sleeps for a moment gives its processor to whoever it waits for, and is back in time.
 */
#ifndef X86_CPU_WAIT_H
#define X86_CPU_WAIT_H

#include <time.h>

#define WAIT_SPINS 200

/* One step of waiting; *@spins counts them, and is 0 at the first. */
static inline void wait_step(unsigned int *spins)
{
	static const struct timespec moment = {.tv_nsec = 20000};

	if (++*spins % WAIT_SPINS)
		__builtin_ia32_pause();
	else
		nanosleep(&moment, NULL);
}

#endif
