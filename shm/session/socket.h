/* SPDX-License-Identifier: Apache-2.0 */
/* The attach socket, both ends: whole messages (shm/abi/message.h) and descriptors over Unix seqpacket, and where the socket lies.
 * Nothing here blocks. Any thread. */
#ifndef MR_SESSION_SOCKET_H
#define MR_SESSION_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/abi/message.h"
#include "shm/base/err.h"

/** As long as sockaddr_un allows, terminator included. */
#define MR_SESSION_PATH_MAX 108u

/** Any message that may arrive. Which member is meant, header.type says; its size was checked only against header.bytes. */
union mr_message {
    struct mr_message_header header;
    struct mr_message_welcome welcome;
    struct mr_message_error error;
    struct mr_message_done done;
    struct mr_message_producer_opened producer_opened;
    struct mr_message_ring ring;
    struct mr_message_consumer_opened consumer_opened;
    struct mr_message_subscribed subscribed;
    struct mr_message_extent extent;
    struct mr_message_segment_is segment_is;
    struct mr_message_time_is time_is;
    struct mr_message_list list;
    struct mr_message_trimmed trimmed;
    uint8_t bytes[MR_MESSAGE_BYTES_MAX];
};

/** Fill in a header. @param type enum mr_message_type or enum mr_control_message_type */
static inline void mr_message_begin(struct mr_message_header *header, uint32_t bytes, uint16_t type, uint64_t request)
{
    *header = (struct mr_message_header){.bytes = bytes, .type = type, .abi_version = MR_ABI_VERSION, .request = request};
}

/**
 * Send one message; its length is in its header.
 * @param fds stay the caller's. @param fd_count at most MR_MESSAGE_FDS_MAX
 * @return 0; -EAGAIN (the peer does not read); -EPIPE, -ECONNRESET (it is gone). Never blocks, raises no signal.
 */
int mr_session_send(int socket, const void *message, const int *fds, uint32_t fd_count) MR_MUST_USE;

/**
 * Receive one message.
 * @param message aligned to 8, of `room` bytes
 * @param fds room for MR_MESSAGE_FDS_MAX, close-on-exec; the caller closes *fd_count of them, also after an error
 * @return bytes of the message; -EAGAIN (none now); -ECONNRESET (end); -EBADMSG (cut, shorter than a header or not as long as it says,
 *         or more descriptors than allowed). Never blocks.
 */
int mr_session_receive(int socket, void *message, size_t room, int *fds, uint32_t *fd_count) MR_MUST_USE;

/**
 * Where this user's daemon number `broker_id` listens: $XDG_RUNTIME_DIR/millrace/ID.sock, or /run/millrace/ID.sock.
 * @param index 0, 1: the first and second place to look. @return false: no such place (index too large, or the variable is unset)
 */
bool mr_session_default_path(uint32_t index, uint32_t broker_id, char path[MR_SESSION_PATH_MAX]);

/**
 * Where a daemon listens.
 * @param given a path; "": the first default path that this user has
 */
void mr_session_listen_path(const char *given, uint32_t broker_id, char path[MR_SESSION_PATH_MAX]);

/**
 * Connect to a daemon.
 * @param given  a path; NULL or "": MILLRACE_SOCKET, else the first default path of broker 0 that exists
 * @param path   set to the path that was tried last, for messages
 * @return a connected socket, close-on-exec; -ENOENT, -ECONNREFUSED (nobody there), -EACCES, -ENAMETOOLONG with a message
 */
int mr_session_connect(const char *given, char path[MR_SESSION_PATH_MAX], struct millrace_error *err) MR_MUST_USE;

#endif
