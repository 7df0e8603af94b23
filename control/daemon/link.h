/* SPDX-License-Identifier: Apache-2.0 */
/* The control process's way to the data plane of its node: the attach socket, greeted as control (shm/abi/control.h). One thread. */
#ifndef MR_CONTROL_LINK_H
#define MR_CONTROL_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "shm/abi/control.h"
#include "shm/base/err.h"

struct mr_link {
    int socket; /* -1: it is not there */
    struct unsent *unsent, **unsent_end;
};

void mr_link_init(struct mr_link *link);

/**
 * Connect and greet. Blocks for the answer, 5 s at most.
 * @param welcome filled in. @param list set to the data plane's list of topics, to free()
 * @return 0; -ENOENT, -ECONNREFUSED, -EAGAIN: nobody is there yet; -EBUSY, -EPROTO, -EACCES with a message that says what to do; else -errno likewise
 */
int mr_link_open(struct mr_link *link, const char *path, struct mr_control_welcome *welcome, char **list, struct millrace_error *err) MR_MUST_USE;
void mr_link_close(struct mr_link *link);

/** Send, or keep it until there is room. @param fd -1: none. @return 0; -EPIPE: the data plane is gone */
int mr_link_send(struct mr_link *link, const struct mr_message_header *message, int fd) MR_MUST_USE;

/** Send what waits. @return 0; -EPIPE */
int mr_link_send_unsent(struct mr_link *link) MR_MUST_USE;
bool mr_link_has_unsent(const struct mr_link *link);

/** The next message. @return its bytes; -EAGAIN: none now; -EPIPE: the data plane is gone, or stops */
int mr_link_receive(struct mr_link *link, void *message, size_t room) MR_MUST_USE;

#endif
