/* SPDX-License-Identifier: GPL-2.0-only */
/* The engines that are files of their own, for the table in engine.c. */
#ifndef LIB_ENGINE_PRIV_H
#define LIB_ENGINE_PRIV_H

#include "engine.h"

/* QEMU's processor without any KVM. */
extern const struct engine engine_qemu;

#endif
