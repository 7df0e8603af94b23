/* SPDX-License-Identifier: Apache-2.0 */
/* A session's life: accept, messages in, its end. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shm/base/logging.h"
#include "shm/session/socket.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define UNKNOWN_MAX 16u
#define SESSION_FDS 4u /* socket, pidfd, wake, doorbell */

void door_send_error(struct mr_session *session, uint64_t request, int code, const char *text)
{
    struct mr_message_error message = {.header = {.bytes = sizeof message, .type = MR_MESSAGE_ERROR, .abi_version = MR_ABI_VERSION, .request = request},
                                       .code = code < 0 ? -code : code};
    snprintf(message.text, sizeof message.text, "%s", text);
    door_send(session, &message, NULL, 0);
}

void door_send_done(struct mr_session *session, uint64_t request)
{
    struct mr_message_done message = {.header = {.bytes = sizeof message, .type = MR_MESSAGE_DONE, .abi_version = MR_ABI_VERSION, .request = request}};
    door_send(session, &message, NULL, 0);
}

void door_to_reactor(struct mr_door *door, uint32_t reactor, const struct mr_reactor_message *message)
{
    while (!mr_mailbox_send(&door->options.messages[reactor], message)) {
        mr_bell_ring(door->options.messages[reactor].bell);
        usleep(50);
    }
    mr_bell_ring(door->options.messages[reactor].bell);
}

static int watch(struct mr_door *door, int fd, void *pointer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = pointer};
    return epoll_ctl(door->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static void destroy(struct mr_session *session)
{
    struct mr_door *door = session->door;
    struct mr_session **at = &door->sessions;
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    door->session_count--;
    while (session->rings != NULL)
        door_ring_free(session, session->rings);
    for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
        door_consumer_free(session, &session->consumers[c]);
    for (uint32_t h = 0; h < session->handle_count; h++)
        free(session->handles[h]);
    free(session->handles);
    if (session->socket >= 0)
        close(session->socket);
    if (session->pidfd >= 0)
        close(session->pidfd);
    if (session->wake >= 0)
        close(session->wake);
    if (session->wake_client >= 0)
        close(session->wake_client);
    if (session->doorbell >= 0)
        close(session->doorbell);
    door->fd_count -= SESSION_FDS;
    if (session->user != NULL)
        session->user->sessions--;
    else if (!session->is_control)
        door->unknown_count--;
    free(session);
}

/* Nothing is made for it; it reads why as the answer to what it asks first. */
static void turn_away(struct mr_door *door, int fd, const struct ucred *who, const struct millrace_error *err)
{
    struct mr_message_error message = {.header = {.bytes = sizeof message, .type = MR_MESSAGE_ERROR, .abi_version = MR_ABI_VERSION}, .code = err->code};
    snprintf(message.text, sizeof message.text, "%s", err->text);
    int rc = mr_session_send(fd, &message, NULL, 0);
    (void)rc;
    close(fd);
    door->fd_count -= SESSION_FDS;
    if (door_quota_is_news(door, who->uid))
        mr_say_warn("pid %d was turned away: %s", (int)who->pid, err->text);
}

/* Quotas must not keep the control process out: who may be it is asked what it is before it is turned away. */
static bool may_be_control(const struct mr_door *door, const struct ucred *who)
{
    return door->control.session == NULL && (who->uid == geteuid() || who->uid == 0) && door->unknown_count < UNKNOWN_MAX;
}

/* @return a descriptor of the process that attached; -1: none is to be had */
static int open_pidfd(int socket, pid_t pid)
{
    int pidfd = -1;
    socklen_t bytes = sizeof pidfd;
    /* Of the very process, also when it is of another pid namespace, or its number was given to another meanwhile. From Linux 6.5 on. */
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0)
        return pidfd;
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

void door_accept(struct mr_door *door)
{
    struct millrace_error err = {0};
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    int fd = accept4(door->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            door_listen(door, false); /* the backlog waits until something was freed */
        return; /* else it is gone again */
    }
    if (door->stopping || door->session_count >= MR_SESSIONS_MAX || !door_take_fds(door, SESSION_FDS)) {
        close(fd);
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
        door->fd_count -= SESSION_FDS;
        close(fd);
        return;
    }
    struct door_user *user = door_quota_attach(door, credentials.uid, &err);
    if (user == NULL && !may_be_control(door, &credentials)) {
        turn_away(door, fd, &credentials, &err);
        return;
    }
    struct mr_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        if (user != NULL)
            user->sessions--;
        door->fd_count -= SESSION_FDS;
        close(fd);
        return;
    }
    session->door = door;
    session->user = user;
    door->unknown_count += user == NULL;
    session->socket = fd;
    session->pid = credentials.pid;
    session->uid = credentials.uid;
    session->id = ++door->next_session_id;
    session->pidfd = open_pidfd(fd, credentials.pid);
    /* Not an eventfd: both sides would share its file, and a client that clears O_NONBLOCK there and fills the counter would hang the
     * reactor in its next write. The ends of a pipe are files of their own. */
    int wake[2] = {-1, -1};
    int rc = pipe2(wake, O_NONBLOCK | O_CLOEXEC);
    session->wake_client = wake[0];
    session->wake = wake[1];
    (void)fcntl(wake[1], F_SETPIPE_SZ, 4096); /* tokens that nobody reads; 16 pages each would use up the user's share of pipes */
    session->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
        session->consumers[c].pins_fd = -1;
    session->next = door->sessions;
    door->sessions = session;
    door->session_count++;
    int room = 1 << 20; /* pushes of descriptors to a client that is busy reading */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    /* Hang-up of the socket tells of most deaths; the pidfd of those that left the socket to a child. */
    if (rc != 0 || session->doorbell < 0 || watch(door, fd, session) != 0 || (session->pidfd >= 0 && watch(door, session->pidfd, session) != 0)) {
        mr_say_warn("cannot take a session of pid %d: %s; raise the limit of open files (ulimit -n)", (int)session->pid, strerror(errno));
        destroy(session);
    }
}

static bool has_size(struct mr_session *session, const struct mr_message_header *header, uint32_t bytes)
{
    if (header->bytes == bytes)
        return true;
    door_session_poison(session, MR_POISON_MESSAGE);
    return false;
}

static void hello(struct mr_session *session, const struct mr_message_hello *message)
{
    struct mr_door *door = session->door;
    int fds[2] = {session->wake_client, session->doorbell};
    if (session->state != MR_SESSION_GREETING) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    if (session->user == NULL) {
        struct millrace_error err;
        session->user = door_quota_attach(door, session->uid, &err);
        if (session->user == NULL) {
            door_send_error(session, message->header.request, err.code, err.text);
            door_session_close(session, NULL);
            return;
        }
        door->unknown_count--;
    }
    if (message->abi_version != MR_ABI_VERSION) {
        char text[200];
        snprintf(text, sizeof text, "this program's libmillrace speaks ABI %u, the broker ABI %u: link it against the broker's version",
                 message->abi_version, MR_ABI_VERSION);
        door_send_error(session, message->header.request, EPROTO, text);
        return;
    }
    snprintf(session->client, sizeof session->client, "%.63s", message->client);
    session->state = MR_SESSION_READY;
    struct mr_message_welcome welcome = {
        .header = {.bytes = sizeof welcome, .type = MR_MESSAGE_WELCOME, .abi_version = MR_ABI_VERSION, .request = message->header.request},
        .session_id = session->id, .daemon_generation = door->options.registry->generation, .data_id = door->options.data_id,
        .reactor_count = door->options.reactor_count, .fences = door->no_membarrier,
        .delivery_timeout_ms = (uint32_t)door->options.config->delivery_timeout_ms};
    door_send(session, &welcome, fds, 2);
    close(session->wake_client);
    session->wake_client = -1;
    mr_say_debug("session %llu: pid %d uid %d (%s) attached", (unsigned long long)session->id, (int)session->pid, (int)session->uid, session->client);
}

static void dispatch(struct mr_session *session, const struct mr_message_header *header, const int *fds, uint32_t fd_count)
{
    if (session->is_control) {
        door_control_message(session, header, fds, fd_count);
        return;
    }
    /* RING_MAPPED answers us; everything else is a request, one at a time (I3). */
    if (header->type != MR_MESSAGE_RING_MAPPED && session->request_kind != MR_REQUEST_NONE) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    if (header->type != MR_MESSAGE_HELLO && header->type != MR_CONTROL_HELLO && session->state == MR_SESSION_GREETING) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    const void *message = header;
    switch (header->type) {
    case MR_MESSAGE_HELLO:
        if (has_size(session, header, sizeof(struct mr_message_hello)))
            hello(session, message);
        break;
    case MR_CONTROL_HELLO:
        if (session->state != MR_SESSION_GREETING)
            door_session_poison(session, MR_POISON_MESSAGE);
        else if (has_size(session, header, sizeof(struct mr_control_hello)))
            door_control_hello(session, message);
        break;
    case MR_MESSAGE_OPEN_PRODUCER:
        if (has_size(session, header, sizeof(struct mr_message_open_producer)))
            door_open_producer(session, message);
        break;
    case MR_MESSAGE_RING_MAPPED:
        if (has_size(session, header, sizeof(struct mr_message_ring_mapped)))
            door_ring_mapped(session, message);
        break;
    case MR_MESSAGE_OPEN_CONSUMER:
        if (has_size(session, header, sizeof(struct mr_message_open_consumer)))
            door_open_consumer(session, message);
        break;
    case MR_MESSAGE_SUBSCRIBE:
        if (has_size(session, header, sizeof(struct mr_message_subscribe)))
            door_subscribe(session, message);
        break;
    case MR_MESSAGE_SEGMENT:
        if (has_size(session, header, sizeof(struct mr_message_segment)))
            door_find_segment(session, message);
        break;
    case MR_MESSAGE_FIND_TIME:
        if (has_size(session, header, sizeof(struct mr_message_find_time)))
            door_find_time(session, message);
        break;
    case MR_MESSAGE_TOPIC_CREATE:
    case MR_MESSAGE_TOPIC_ALTER:
    case MR_MESSAGE_TOPIC_PARTITIONS:
    case MR_MESSAGE_TOPIC_DELETE:
        if (has_size(session, header, sizeof(struct mr_message_topic_change)))
            door_control_ask(session, message);
        break;
    case MR_MESSAGE_TOPIC_LIST:
        if (has_size(session, header, sizeof(struct mr_message_topic_list)))
            door_topic_list(session, message);
        break;
    case MR_MESSAGE_TOPIC_DESCRIBE:
        if (has_size(session, header, sizeof(struct mr_message_topic_describe)))
            door_topic_describe(session, message);
        break;
    case MR_MESSAGE_TOPIC_TRIM:
        if (has_size(session, header, sizeof(struct mr_message_topic_trim)))
            door_topic_trim(session, message);
        break;
    case MR_MESSAGE_CLOSE_PRODUCER:
        if (has_size(session, header, sizeof(struct mr_message_close)))
            door_close_producer(session, message);
        break;
    case MR_MESSAGE_CLOSE_CONSUMER:
        if (has_size(session, header, sizeof(struct mr_message_close)))
            door_close_consumer(session, message);
        break;
    default:
        door_session_poison(session, MR_POISON_MESSAGE);
    }
}

/* The socket or the pidfd of a session has news. Descriptors that a client sends are closed unseen (I2); only the control process's are looked at.
 * What it asks while it does not read our answers waits in the socket. */
void door_session_event(struct mr_session *session, bool has_room)
{
    alignas(8) uint8_t message[MR_MESSAGE_BYTES_MAX];

    if (has_room)
        door_send_unsent(session);
    for (uint32_t i = 0; i < 16 && session->state != MR_SESSION_CLOSING && session->unsent == NULL; i++) {
        int fds[MR_MESSAGE_FDS_MAX];
        uint32_t fd_count = 0;
        int rc = mr_session_receive(session->socket, message, sizeof message, fds, &fd_count);
        if (rc >= 0)
            dispatch(session, (const struct mr_message_header *)(const void *)message, fds, fd_count);
        for (uint32_t f = 0; f < fd_count; f++)
            close(fds[f]);
        if (rc == -EAGAIN)
            break;
        if (rc == -EBADMSG) {
            door_session_poison(session, MR_POISON_MESSAGE);
            return;
        }
        if (rc < 0) {
            door_session_close(session, NULL);
            return;
        }
    }
    /* This event would come again for ever. */
    if ((session->state != MR_SESSION_CLOSING || session->lingers) && door_process_ended(session)) {
        door_session_close(session, NULL);
        door_session_forget(session);
    }
}

void door_session_poison(struct mr_session *session, enum mr_poison_reason reason)
{
    if (session->state == MR_SESSION_CLOSING)
        return;
    mr_say_warn("session %llu of pid %d (uid %d, %s) broke the protocol (reason %d) and is closed", (unsigned long long)session->id,
                (int)session->pid, (int)session->uid, session->client, (int)reason);
    door_session_close(session, NULL);
}

void door_session_close(struct mr_session *session, const char *why)
{
    struct mr_door *door = session->door;
    if (session->state == MR_SESSION_CLOSING)
        return;
    session->state = MR_SESSION_CLOSING;
    if (why != NULL)
        mr_say_info("session %llu of pid %d is closed: %s", (unsigned long long)session->id, (int)session->pid, why);
    door_drop_unsent(session);
    session->lingers = door_may_read_on(session);
    door->lingering_count += session->lingers;
    epoll_ctl(door->epoll, EPOLL_CTL_DEL, session->socket, NULL);
    if (session->pidfd >= 0 && !session->lingers)
        epoll_ctl(door->epoll, EPOLL_CTL_DEL, session->pidfd, NULL);
    shutdown(session->socket, SHUT_RDWR);
    door_tell_of_mail(session); /* a client that is busy finds out by reading it */
    for (struct mr_session_ring *ring = session->rings; ring != NULL; ring = ring->next) {
        if (!ring->mapped || ring->leaving)
            continue;
        struct mr_reactor_message message = {.kind = MR_REACTOR_CLOSE_RING, .ring = ring->ring};
        ring->leaving = true;
        session->replies_awaited++;
        door_to_reactor(door, ring->reactor, &message);
    }
    for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
        if (session->consumers[c].open && session->lingers)
            door_unlist_all(&session->consumers[c]);
        else if (session->consumers[c].open)
            session->replies_awaited += door_unsubscribe_all(session, &session->consumers[c]);
    if (session == door->control.session)
        door_control_lost(door);
    door_session_settle(session);
}

/* Of a session that lingers: nothing of it counts any more. */
void door_session_forget(struct mr_session *session)
{
    struct mr_door *door = session->door;
    if (!session->lingers)
        return;
    session->lingers = false;
    door->lingering_count--;
    epoll_ctl(door->epoll, EPOLL_CTL_DEL, session->pidfd, NULL);
    for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
        if (session->consumers[c].open)
            session->replies_awaited += door_unsubscribe_all(session, &session->consumers[c]);
    door_session_settle(session);
}

/* Closed, and no thread has anything to say about it. */
bool door_session_is_quiet(const struct mr_session *session)
{
    return session->state == MR_SESSION_CLOSING && session->replies_awaited == 0 && session->sets_awaited == 0 && session->returns_awaited == 0 &&
           session->request_kind != MR_REQUEST_SEGMENT && session->request_kind != MR_REQUEST_TRIM;
}

static bool is_settled(const struct mr_session *session)
{
    return door_session_is_quiet(session) && !session->lingers;
}

/* One thing less to wait for; at the last one the session may go. */
void door_session_settle(struct mr_session *session)
{
    if (is_settled(session))
        session->door->any_settled = true;
    else if (session->state == MR_SESSION_READY && session->request_kind == MR_REQUEST_CLOSE && session->replies_awaited == 0)
        door_consumer_closed(session);
}

/* I4: at the end of a round, when nothing on the stack knows a session. */
void door_sweep(struct mr_door *door)
{
    struct mr_session *next;
    if (!door->any_settled)
        return;
    door->any_settled = false;
    for (struct mr_session *session = door->sessions; session != NULL; session = next) {
        next = session->next;
        if (is_settled(session))
            destroy(session);
    }
    door_listen(door, true);
}

void door_listen(struct mr_door *door, bool listens)
{
    struct epoll_event event = {.events = listens ? EPOLLIN : 0, .data.ptr = &door->listener};
    if (door->deaf == !listens)
        return;
    door->deaf = !listens;
    if (epoll_ctl(door->epoll, EPOLL_CTL_MOD, door->listener, &event) != 0)
        mr_say_warn("cannot watch the socket for programs that attach: %s", strerror(errno));
}
