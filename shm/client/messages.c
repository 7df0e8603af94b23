/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/client/client_internal.h"

#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void mr_client_close_fds(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

/* RING, RING_GONE, EXTENT, EXTENT_GONE and CLOSING; anything else without a request number is not for us. Takes over the descriptors. */
static int take_push(struct millrace_client *client, const union mr_message *message, const int *fds, uint32_t fd_count)
{
    int rc = 0;

    switch (message->header.type) {
    case MR_MESSAGE_RING:
        if (message->header.bytes != sizeof message->ring || fd_count != 1) {
            rc = fd_count == 0 ? -EMFILE : -EPROTO;
            break;
        }
        rc = mr_client_add_ring(client, &message->ring, fds[0]);
        if (rc == 0) {
            struct mr_message_ring_mapped mapped = {.ring = message->ring.ring};
            mr_message_begin(&mapped.header, sizeof mapped, MR_MESSAGE_RING_MAPPED, 0);
            rc = mr_session_send(client->socket, &mapped, NULL, 0) == 0 ? 0 : -ENOTCONN;
        }
        break;
    case MR_MESSAGE_RING_GONE:
        rc = message->header.bytes == sizeof message->ring && fd_count == 0 ? mr_client_drop_ring(client, message->ring.ring) : -EPROTO;
        break;
    case MR_MESSAGE_EXTENTS:
        if (message->header.bytes == sizeof message->extent && fd_count == 0)
            mr_consumers_expect_extents(client, &message->extent);
        else
            rc = -EPROTO;
        break;
    case MR_MESSAGE_EXTENT:
        if (message->header.bytes != sizeof message->extent || fd_count > 1) {
            rc = -EPROTO;
            break;
        }
        mr_consumers_take_extent(client, &message->extent, fd_count == 1 ? fds[0] : -1);
        return 0;
    case MR_MESSAGE_EXTENT_GONE:
        if (message->header.bytes == sizeof message->extent && fd_count == 0)
            mr_consumers_drop_extent(client, &message->extent);
        else
            rc = -EPROTO;
        break;
    case MR_MESSAGE_CLOSING:
        client->closing = true;
        break;
    default:
        rc = -EPROTO;
    }
    mr_client_close_fds(fds, fd_count);
    return rc;
}

int mr_client_take_pushes(struct millrace_client *client)
{
    union mr_message message;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    if (client->rings != NULL) /* before we read: what comes meanwhile is looked for again */
        client->mail = mr_load_acquire(&client->rings->ring.daemon->mail);
    for (;;) {
        int bytes = mr_session_receive(client->socket, &message, sizeof message, fds, &fd_count);
        if (bytes == -EAGAIN)
            return 0;
        if (bytes < 0) {
            mr_client_close_fds(fds, fd_count);
            return -ENOTCONN;
        }
        int rc = message.header.request == 0 ? take_push(client, &message, fds, fd_count) : 0;
        if (message.header.request != 0)
            mr_client_close_fds(fds, fd_count); /* the reply to a request that was given up */
        if (rc != 0)
            return rc;
    }
}

int mr_client_ask(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                  struct millrace_error *err)
{
    mr_message_begin(request, bytes, type, ++client->request_next);
    int rc = mr_session_send(client->socket, request, NULL, 0);
    if (rc != 0 && rc != -EPIPE && rc != -ECONNRESET) /* else it may have said why before it hung up */
        return mr_err(err, ENOTCONN, "the broker at '%s' went away: %s", client->path, strerror(-rc));
    return 0;
}

int mr_client_answer(struct millrace_client *client, union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds,
                     uint32_t *fd_count, uint64_t deadline_ns, struct millrace_error *err)
{
    uint64_t number = client->request_next, start_ns = 0;

    for (;;) {
        int rc = mr_session_receive(client->socket, reply, sizeof *reply, fds, fd_count);
        if (rc == -EAGAIN) {
            struct pollfd wait = {.fd = client->socket, .events = POLLIN};
            if (deadline_ns == 0)
                return -EINPROGRESS;
            uint64_t now_ns = mr_client_now_ns();
            start_ns = start_ns == 0 ? now_ns : start_ns;
            if (now_ns >= deadline_ns)
                return mr_err(err, ETIMEDOUT, "the broker at '%s' did not answer for %llu ms", client->path,
                              (unsigned long long)((now_ns - start_ns) / 1000000u));
            poll(&wait, 1, (int)((deadline_ns - now_ns) / 1000000u) + 1);
            continue;
        }
        if (rc >= 0 && reply->header.request == 0 && reply->header.type == MR_MESSAGE_ERROR)
            break; /* turned away before we had asked anything */
        if (rc >= 0 && reply->header.request == 0) {
            rc = take_push(client, reply, fds, *fd_count);
            *fd_count = 0;
            if (rc != 0)
                return mr_err(err, -rc,
                              "the broker at '%s' sent a message that this library does not understand, or whose memory it "
                              "cannot map: %s",
                              client->path, strerror(-rc));
            continue;
        }
        if (rc >= 0 && reply->header.request == number)
            break;
        mr_client_close_fds(fds, *fd_count);
        *fd_count = 0;
        if (rc < 0)
            return mr_err(err, rc == -EBADMSG ? EPROTO : ENOTCONN, "the broker at '%s' went away during a request", client->path);
    }
    if (reply->header.type == reply_type && reply->header.bytes == reply_bytes)
        return 0;
    mr_client_close_fds(fds, *fd_count);
    *fd_count = 0;
    if (reply->header.type == MR_MESSAGE_ERROR && reply->header.bytes == sizeof reply->error && reply->error.code > 0) {
        reply->error.text[sizeof reply->error.text - 1] = 0;
        return mr_err(err, reply->error.code, "%s", reply->error.text);
    }
    return mr_err(err, EPROTO, "the broker at '%s' answered a request with type %d of %u bytes where type %d is right", client->path,
                  (int)reply->header.type, reply->header.bytes, (int)reply_type);
}

int mr_client_request(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                      union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds, uint32_t *fd_count,
                      int timeout_ms, struct millrace_error *err)
{
    uint64_t deadline_ns = mr_client_now_ns() + (uint64_t)timeout_ms * 1000000u;

    *fd_count = 0;
    if (client->state != MR_CLIENT_ATTACHED)
        return mr_err(err, ENOTCONN, "not attached to the broker (it is away): try again, or start it with `millrace up`");
    if (client->resume_until_ns != 0)
        deadline_ns = mr_min_u64(deadline_ns, client->resume_until_ns);
    int rc = mr_client_ask(client, request, bytes, type, err);
    return rc != 0 ? rc : mr_client_answer(client, reply, reply_type, reply_bytes, fds, fd_count, deadline_ns, err);
}

int mr_client_request_control(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type,
                              union mr_message *reply, enum mr_message_type reply_type, uint32_t reply_bytes, int *fds, uint32_t *fd_count,
                              int timeout_ms, bool *begun, struct millrace_error *err)
{
    uint64_t until_ns = mr_client_now_ns() + MR_CLIENT_CONTROL_MS * (uint64_t)1000000;

    for (;;) {
        int rc = mr_client_request(client, request, bytes, type, reply, reply_type, reply_bytes, fds, fd_count, timeout_ms, err);
        if (rc == -EAGAIN && begun != NULL)
            *begun |= reply->error.begun != 0;
        if (rc != -EAGAIN || mr_client_now_ns() >= until_ns)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = MR_CLIENT_CHECK_NS}, NULL);
    }
}
