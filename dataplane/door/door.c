/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/logging.h"

#define STOP_WAIT_MS 30000
#define RETRY_MS     10
#define HIT_LOOK_MS  1000 /* the guard cannot ring the bell from its signal handler */

static int bind_socket(struct mr_door *door, const char *path, const char *mode, struct millrace_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof address.sun_path)
        return mr_err(err, ENAMETOOLONG, "millrace.socket=%s is longer than %zu bytes", path, sizeof address.sun_path - 1);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    snprintf(door->socket_path, sizeof door->socket_path, "%s", path);
    door->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (door->listener < 0)
        return mr_err(err, errno, "socket: %s", strerror(errno));
    /* A socket file without a listener is what a dead daemon left; one that answers is a daemon of another data directory. */
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = connect(probe, (struct sockaddr *)&address, sizeof address);
    int why = errno;
    close(probe);
    if (rc == 0 || why == EAGAIN)
        return mr_err(err, EADDRINUSE, "another millraced listens on %s; set millrace.socket or broker.id to tell them apart", path);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return mr_err(err, EEXIST, "millrace.socket=%s is there already and not a socket: name another path", path);
    unlink(path);
    mode_t before = umask(0777 & ~(mode_t)strtol(mode, NULL, 8));
    rc = bind(door->listener, (struct sockaddr *)&address, sizeof address);
    why = errno;
    umask(before);
    if (rc != 0)
        return mr_err(err, why, "cannot bind %s: %s; set millrace.socket to a path in a directory that you may write", path, strerror(why));
    if (listen(door->listener, 1024) != 0)
        return mr_err(err, errno, "cannot listen on %s: %s", path, strerror(errno));
    return 0;
}

int mr_door_open(struct mr_door **out, const struct mr_door_options *options, const char *socket_path, struct millrace_error *err)
{
    struct mr_door *door = calloc(1, sizeof *door);
    if (door == NULL)
        return mr_err(err, ENOMEM, "no memory for the door");
    door->options = *options;
    door->listener = -1;
    door->secured_awaited = options->reactor_count;
    struct rlimit files = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    door->fd_max = files.rlim_cur / 2 > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)(files.rlim_cur / 2);
    door->epoll = epoll_create1(EPOLL_CLOEXEC);
    door->no_membarrier = syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) != 0;
    int rc = mr_guard_install(err);
    if (rc == 0)
        rc = door->epoll < 0 ? mr_err(err, errno, "epoll: %s", strerror(errno)) : bind_socket(door, socket_path, options->config->socket_mode, err);
    if (rc == 0) {
        struct epoll_event listener = {.events = EPOLLIN, .data.ptr = &door->listener};
        struct epoll_event bell = {.events = EPOLLIN, .data.ptr = door->options.bell};
        if (epoll_ctl(door->epoll, EPOLL_CTL_ADD, door->listener, &listener) != 0 ||
            epoll_ctl(door->epoll, EPOLL_CTL_ADD, door->options.bell->eventfd, &bell) != 0)
            rc = mr_err(err, errno, "epoll: %s", strerror(errno));
    }
    if (rc != 0) {
        if (door->listener >= 0)
            close(door->listener);
        free(door);
        return rc;
    }
    if (door->no_membarrier)
        mr_say_info("membarrier is refused here: clients fence after each commit, some 20 ns each");
    *out = door;
    return 0;
}

static void take_reply(struct mr_door *door, const struct mr_reactor_reply *reply)
{
    switch (reply->kind) {
    case MR_REACTOR_ADD_TOPIC:
    case MR_REACTOR_CONFIGURE_TOPIC:
    case MR_REACTOR_REMOVE_TOPIC:
        door_topic_changed(door, reply->result);
        break;
    case MR_REACTOR_SET_HANDLES:
        door_handles_set(reply->context, reply->handles);
        break;
    case MR_REACTOR_CLOSE_HANDLES:
        door_handles_returned(mr_ring_session_owner(reply->ring), reply->handles, reply->handle_count);
        break;
    case MR_REACTOR_CLOSE_RING: {
        struct mr_session *session = mr_ring_session_owner(reply->ring);
        free(reply->handles);
        door_ring_returned(session, reply->ring);
        break;
    }
    case MR_REACTOR_UNSUBSCRIBE:
        door_unsubscribed(reply->subscriber);
        break;
    case MR_REACTOR_FIND_SEGMENT:
        door_segment_found(reply->context, reply);
        break;
    case MR_REACTOR_FIND_TIME:
        door_time_found(reply->context, reply);
        break;
    case MR_REACTOR_TRIM:
        door_topic_trimmed(reply->context, reply);
        break;
    case MR_REACTOR_STOP:
        door->stops_awaited--;
        break;
    case MR_REACTOR_POISONED:
        door_session_poison(mr_ring_session_owner(reply->ring), mr_ring_session_reason(reply->ring));
        break;
    case MR_REACTOR_HELD:
        door_held(reply->subscriber);
        break;
    default:
        mr_assert(!"unknown reply of a reactor");
    }
}

/* S8: the guard put zeros in the place of somebody's memory. */
static MR_COLD void close_hit_sessions(struct mr_door *door)
{
    struct mr_session *next;
    for (struct mr_session *session = door->sessions; session != NULL; session = next) {
        next = session->next;
        bool hit = false;
        for (const struct mr_session_ring *ring = session->rings; ring != NULL; ring = ring->next)
            hit |= mr_guard_was_hit(ring->arena);
        for (uint32_t c = 0; c < MR_SESSION_CONSUMERS_MAX; c++)
            hit |= session->consumers[c].open && mr_guard_was_hit(session->consumers[c].pins_arena);
        if (hit)
            door_session_poison(session, MR_POISON_BUS_ERROR);
    }
}

static bool take_mail(struct mr_door *door)
{
    if (mr_guard_any_hit())
        close_hit_sessions(door);
    struct mr_reactor_reply reply;
    struct mr_steward_notice notice;
    bool any = false;
    for (uint32_t r = 0; r < door->options.reactor_count; r++)
        while (mr_mailbox_receive(&door->options.replies[r], &reply)) {
            take_reply(door, &reply);
            any = true;
        }
    while (mr_mailbox_receive(door->options.notices, &notice)) {
        any = true;
        if (notice.kind == MR_STEWARD_FORGOTTEN)
            door_topic_changed(door, 0);
        else if (notice.kind != MR_STEWARD_SECURED)
            door_extent_notice(door, &notice);
        else if (--door->secured_awaited == 0 && door->options.secured != NULL)
            door->options.secured(door->options.context);
    }
    return any;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* One round: sleep up to timeout_ms, then take what came. @return true when a signal asks to stop */
static bool round_once(struct mr_door *door, int signal_fd, int timeout_ms)
{
    struct epoll_event events[64];
    bool signalled = false;

    mr_bell_sleep(door->options.bell);
    if (take_mail(door) || door->has_table_left)
        timeout_ms = 0;
    if (door->retry && timeout_ms > RETRY_MS)
        timeout_ms = RETRY_MS;
    int count = epoll_wait(door->epoll, events, MR_COUNT_OF(events), timeout_ms);
    mr_bell_wake(door->options.bell);
    take_mail(door);
    for (int i = 0; i < count; i++) {
        void *pointer = events[i].data.ptr;
        if (pointer == &door->listener) {
            door_accept(door);
        } else if (pointer == NULL) {
            struct signalfd_siginfo info;
            signalled |= read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info;
        } else if (pointer != door->options.bell) {
            door_session_event(pointer, (events[i].events & EPOLLOUT) != 0); /* perhaps closed by an earlier event, but not freed before the sweep (I4) */
        }
    }
    if (count == 0 && timeout_ms > 0)
        door_listen(door, true);
    if (door->retry)
        door_retry(door);
    door->has_table_left = door_control_read(door);
    if (door->deleted != NULL)
        door_free_deleted(door, now_ms());
    if (door->lingering_count > 0)
        door_look_at_lingering(door, now_ms());
    door_sweep(door);
    return signalled;
}

static void watch_signals(struct mr_door *door, int signal_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int rc = epoll_ctl(door->epoll, EPOLL_CTL_ADD, signal_fd, &event);
    mr_assert(rc == 0 || errno == EEXIST);
}

void mr_door_serve(struct mr_door *door, int signal_fd)
{
    watch_signals(door, signal_fd);
    while (!round_once(door, signal_fd, HIT_LOOK_MS))
        ;
}

/* True if there are no sessions but those that linger. */
static bool are_quiet(const struct mr_door *door)
{
    const struct mr_session *session = door->sessions;
    while (session != NULL && session->lingers && door_session_is_quiet(session))
        session = session->next;
    return session == NULL;
}

bool mr_door_stop(struct mr_door *door, int signal_fd)
{
    struct mr_session *next;
    door->stopping = true;
    watch_signals(door, signal_fd);
    unlink(door->socket_path);
    for (struct mr_session *session = door->sessions; session != NULL; session = next) {
        next = session->next;
        struct mr_message_header closing = {.bytes = sizeof closing, .type = MR_MESSAGE_CLOSING, .abi_version = MR_ABI_VERSION};
        if (session->state != MR_SESSION_CLOSING)
            door_send(session, &closing, NULL, 0);
        door_session_close(session, NULL);
    }
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_STOP};
        door->stops_awaited++;
        door_to_reactor(door, r, &message);
    }
    uint64_t deadline_ms = now_ms() + STOP_WAIT_MS;
    while (door->stops_awaited > 0 || !are_quiet(door))
        if (round_once(door, signal_fd, 10) || now_ms() > deadline_ms)
            return false;
    door_drop_lingering(door);
    return true;
}

void mr_door_close(struct mr_door *door)
{
    if (door == NULL)
        return;
    close(door->listener);
    close(door->epoll);
    while (door->users != NULL) {
        struct door_user *user = door->users;
        door->users = user->next;
        free(user);
    }
    door_free_deleted(door, UINT64_MAX); /* no session is left to refer to them */
    free(door);
}
