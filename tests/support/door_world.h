/* SPDX-License-Identifier: Apache-2.0 */
/* A whole node within the test: door, reactors, steward, a directory below /tmp, disk by threads. */
#ifndef MR_TESTS_SUPPORT_DOOR_WORLD_H
#define MR_TESTS_SUPPORT_DOOR_WORLD_H

#include "dataplane/door/door.h"
#include "tests/support/raw_client.h"

#define DOOR_WORLD_REACTORS 2u

extern const char *door_world_sets[4]; /* key=value, before the start; NULL: none */
extern uint64_t door_world_pin_grace_ms; /* before the start; a reader that pins memory which others need is turned out after it */

/** Start the node; it stays until door_world_stop(). */
void door_world_start(void);

/** Stop it as a signal does. @return what mr_door_stop() said */
bool door_world_stop(void);

/** Its control process is a thread here; door_world_start() has started it. */
void door_world_start_control(void);
void door_world_stop_control(void);

/** Descriptors open in this process. */
uint32_t door_world_fds(void);

/** Wait until at most so many descriptors are open. @return false: after 5 s there are still more */
bool door_world_settles(uint32_t fds);

#endif
