/* SPDX-License-Identifier: Apache-2.0 */
/* The last guard (RELIABILITY.md S8): a SIGBUS while a thread touches session memory maps zeros over that memory, so that the thread goes on,
 * and marks the session, which the door then closes. Seals should make it impossible; memory errors and kernels differ. A SIGBUS anywhere
 * else ends the process as it always would. */
#ifndef MR_DOOR_GUARD_H
#define MR_DOOR_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/base/err.h"

#define MR_GUARD_ARENAS_MAX 65536u

/** Install the handler. Once. */
int mr_guard_install(struct millrace_error *err) MR_MUST_USE;

/** Watch over [base, base + bytes). The door's thread. @return a number for the other calls, or -1: the table is full (the arena goes unwatched) */
int mr_guard_add(void *base, uint64_t bytes);
void mr_guard_remove(int arena);

/** True once after a SIGBUS hit this arena. */
bool mr_guard_was_hit(int arena);

/** True when any arena was hit since the last call: then look at each. Cheap. */
bool mr_guard_any_hit(void);

#endif
