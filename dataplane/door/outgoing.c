/* SPDX-License-Identifier: Apache-2.0 */
/* Messages out. A client that does not read its socket, for a callback takes long, or a debugger holds it, fills it with pushes of extents.
 *
 *   replies, rings   wait in a queue until there is room; meanwhile nothing that it asks is read, so that there are never more than one request
 *                    brings about
 *   extents          are not queued: their subscriber has `missed` some. When there is room, it is told all of its partition's anew (EXTENTS)
 *
 * The kernel may also refuse for want of memory, or because this user has too many descriptors on their way (RLIMIT_NOFILE): no event tells when
 * that is over, so it is tried again now and then (door->retry). */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/session/socket.h"

struct door_unsent {
    struct door_unsent *next;
    uint32_t fd_count;
    int fds[MR_MESSAGE_FDS_MAX];
    alignas(8) uint8_t message[];
};

void door_tell_of_mail(struct mr_session *session)
{
    session->mail++;
    for (const struct mr_session_ring *ring = session->rings; ring != NULL; ring = ring->next)
        mr_store_release(&((struct mr_ring_daemon *)ring->memory)->mail, session->mail);
}

static bool is_full(int rc)
{
    return rc == -EAGAIN || rc == -ETOOMANYREFS || rc == -ENOBUFS || rc == -ENOMEM;
}

static void watch_for_room(struct mr_session *session, int rc)
{
    struct mr_door *door = session->door;
    if (rc != -EAGAIN) {
        session->retries = true;
        door->retry = true;
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT | (session->unsent == NULL ? (uint32_t)EPOLLIN : 0), .data.ptr = session};
    if (epoll_ctl(door->epoll, EPOLL_CTL_MOD, session->socket, &event) != 0)
        session->retries = door->retry = true;
}

static void free_unsent(struct mr_session *session, struct door_unsent *unsent)
{
    for (uint32_t f = 0; f < unsent->fd_count; f++)
        close(unsent->fds[f]);
    session->door->fd_count -= unsent->fd_count;
    free(unsent);
}

static bool queue(struct mr_session *session, const struct mr_message_header *message, const int *fds, uint32_t fd_count)
{
    struct door_unsent *unsent = door_take_fds(session->door, fd_count) ? malloc(sizeof *unsent + message->bytes) : NULL;
    if (unsent == NULL)
        return false;
    *unsent = (struct door_unsent){.fd_count = fd_count};
    memcpy(unsent->message, message, message->bytes);
    bool has_all = true;
    for (uint32_t f = 0; f < fd_count; f++) {
        unsent->fds[f] = fcntl(fds[f], F_DUPFD_CLOEXEC, 0);
        has_all = has_all && unsent->fds[f] >= 0;
    }
    if (!has_all) {
        free_unsent(session, unsent);
        return false;
    }
    struct door_unsent **at = &session->unsent;
    while (*at != NULL)
        at = &(*at)->next;
    *at = unsent;
    return true;
}

bool door_send(struct mr_session *session, const void *message, const int *fds, uint32_t fd_count)
{
    int rc = session->unsent != NULL ? -EAGAIN : mr_session_send(session->socket, message, fds, fd_count);
    if (is_full(rc) && session->state != MR_SESSION_CLOSING) {
        bool was_empty = session->unsent == NULL;
        if (queue(session, message, fds, fd_count)) {
            if (was_empty)
                watch_for_room(session, rc);
            rc = 0;
        }
    }
    if (rc != 0 && session->state != MR_SESSION_CLOSING)
        door_session_close(session, is_full(rc) ? "it does not read its socket, and the broker has no memory or descriptors to keep what it asked for"
                                                : "its socket failed");
    door_tell_of_mail(session);
    return rc == 0;
}

void door_drop_unsent(struct mr_session *session)
{
    while (session->unsent != NULL) {
        struct door_unsent *unsent = session->unsent;
        session->unsent = unsent->next;
        free_unsent(session, unsent);
    }
    session->missed = NULL;
    session->retries = false;
}

/* @return 0; -errno: not now (it is noted what was missed), or the session is closed */
static int push(struct mr_subscriber *subscriber, const struct mr_message_extent *message, const int *fd)
{
    struct mr_session *session = subscriber->session;
    if (session->state == MR_SESSION_CLOSING)
        return -EPIPE;
    int rc = session->unsent != NULL ? -EAGAIN : mr_session_send(session->socket, message, fd, fd != NULL ? 1 : 0);
    if (rc == 0 || is_full(rc))
        door_tell_of_mail(session);
    else
        door_session_close(session, "its socket failed");
    return rc;
}

static void note_missed(struct mr_subscriber *subscriber, int rc)
{
    struct mr_session *session = subscriber->session;
    if (!is_full(rc) || session->state == MR_SESSION_CLOSING)
        return;
    if (!subscriber->missed) {
        subscriber->missed = true;
        subscriber->missed_next = session->missed;
        session->missed = subscriber;
    }
    watch_for_room(session, rc);
}

static struct mr_message_extent about(const struct mr_subscriber *subscriber, enum mr_message_type type)
{
    struct mr_message_extent message = {.consumer = subscriber->consumer, .partition = subscriber->partition->index};
    mr_message_begin(&message.header, sizeof message, type, 0);
    return message;
}

void door_push_extent(struct mr_subscriber *subscriber, const struct mr_extent_file *file)
{
    struct mr_message_extent message = about(subscriber, MR_MESSAGE_EXTENT);
    if (subscriber->missed)
        return; /* it comes with the others */
    message.file_id = file->file_id;
    message.bytes = file->bytes;
    note_missed(subscriber, push(subscriber, &message, &file->read_fd));
}

void door_push_gone(struct mr_subscriber *subscriber, uint32_t file_id)
{
    struct mr_message_extent message = about(subscriber, MR_MESSAGE_EXTENT_GONE);
    if (subscriber->missed)
        return;
    message.file_id = file_id;
    note_missed(subscriber, push(subscriber, &message, NULL));
}

static int push_all(struct mr_subscriber *subscriber)
{
    struct mr_message_extent message = about(subscriber, MR_MESSAGE_EXTENTS);
    for (const struct mr_extent_file *file = subscriber->partition->files; file != NULL; file = file->next)
        message.file_id++;
    int rc = push(subscriber, &message, NULL);
    for (const struct mr_extent_file *file = subscriber->partition->files; file != NULL && rc == 0; file = file->next) {
        message = about(subscriber, MR_MESSAGE_EXTENT);
        message.file_id = file->file_id;
        message.bytes = file->bytes;
        rc = push(subscriber, &message, &file->read_fd);
    }
    return rc;
}

void door_push_all(struct mr_subscriber *subscriber)
{
    if (!subscriber->missed)
        note_missed(subscriber, push_all(subscriber));
}

/* Its subscribers are let go of. */
void door_forget_missed(struct mr_session *session, uint32_t consumer)
{
    for (struct mr_subscriber **at = &session->missed; *at != NULL;) {
        if ((*at)->consumer == consumer)
            *at = (*at)->missed_next;
        else
            at = &(*at)->missed_next;
    }
}

void door_send_unsent(struct mr_session *session)
{
    int rc = 0;
    session->retries = false;
    while (session->unsent != NULL && session->state != MR_SESSION_CLOSING) {
        struct door_unsent *unsent = session->unsent;
        rc = mr_session_send(session->socket, unsent->message, unsent->fds, unsent->fd_count);
        if (is_full(rc)) {
            watch_for_room(session, rc);
            return;
        }
        if (rc != 0) {
            door_session_close(session, "its socket failed");
            return;
        }
        session->unsent = unsent->next;
        free_unsent(session, unsent);
        door_tell_of_mail(session);
    }
    while (session->missed != NULL && session->state != MR_SESSION_CLOSING) {
        struct mr_subscriber *subscriber = session->missed;
        rc = push_all(subscriber); /* a socket with room takes one partition's at least: some dozens */
        if (rc != 0) {
            note_missed(subscriber, rc);
            return;
        }
        subscriber->missed = false;
        session->missed = subscriber->missed_next;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (session->state != MR_SESSION_CLOSING && epoll_ctl(session->door->epoll, EPOLL_CTL_MOD, session->socket, &event) != 0)
        door_session_close(session, "its socket cannot be watched");
}

void door_retry(struct mr_door *door)
{
    door->retry = false;
    for (struct mr_session *session = door->sessions; session != NULL; session = session->next)
        if (session->retries)
            door_session_event(session, true); /* not freed before the sweep (I4) */
}
