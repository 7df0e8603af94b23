/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/session/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int mr_session_send(int socket, const void *message, const int *fds, uint32_t fd_count)
{
    const struct mr_message_header *header = message;
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = header->bytes};
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * MR_MESSAGE_FDS_MAX)];
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};

    mr_assert(fd_count <= MR_MESSAGE_FDS_MAX && header->bytes <= MR_MESSAGE_BYTES_MAX);
    if (fd_count > 0) {
        memset(control, 0, sizeof control);
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&packet);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return 0; /* a seqpacket goes whole or not at all */
}

int mr_session_receive(int socket, void *message, size_t room, int *fds, uint32_t *fd_count)
{
    const struct mr_message_header *header = message;
    struct iovec part = {.iov_base = message, .iov_len = room};
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * MR_MESSAGE_FDS_MAX)];
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

    *fd_count = 0;
    ssize_t bytes;
    bool was_reset = false;

    errno = 0;
    do {
        /* A peer that died with unread messages leaves an error that is told once, before what it had sent: that still counts. */
        was_reset |= errno == ECONNRESET;
        errno = 0;
        bytes = recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (bytes < 0 && (errno == EINTR || (errno == ECONNRESET && !was_reset)));
    if (bytes < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&packet); cmsg != NULL; cmsg = CMSG_NXTHDR(&packet, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        uint32_t count = (uint32_t)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof fd);
            if (*fd_count < MR_MESSAGE_FDS_MAX)
                fds[(*fd_count)++] = fd;
            else
                close(fd);
        }
    }
    if (bytes == 0)
        return -ECONNRESET;
    /* MSG_CTRUNC: more descriptors than any message has, or, with fewer, this process had no number left for one: then the message counts, and who
     * needs the descriptor finds it missing. */
    bool too_many = (packet.msg_flags & MSG_CTRUNC) != 0 && *fd_count == MR_MESSAGE_FDS_MAX;
    if (too_many || (packet.msg_flags & MSG_TRUNC) != 0 || (size_t)bytes < sizeof *header || header->bytes != (uint64_t)bytes)
        return -EBADMSG;
    return (int)bytes;
}

bool mr_session_default_path(uint32_t index, uint32_t broker_id, char path[MR_SESSION_PATH_MAX])
{
    const char *folder = index == 0 ? getenv("XDG_RUNTIME_DIR") : "/run";

    if (index > 1 || folder == NULL || folder[0] != '/')
        return false;
    int length = snprintf(path, MR_SESSION_PATH_MAX, "%s/millrace/%u.sock", folder, broker_id);
    return length > 0 && (uint32_t)length < MR_SESSION_PATH_MAX;
}

void mr_session_listen_path(const char *given, uint32_t broker_id, char path[MR_SESSION_PATH_MAX])
{
    if (given[0] != 0)
        snprintf(path, MR_SESSION_PATH_MAX, "%s", given);
    else if (!mr_session_default_path(0, broker_id, path))
        (void)mr_session_default_path(1, broker_id, path);
}

static int connect_to(const char *path, struct millrace_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return mr_err(err, ENAMETOOLONG, "the socket's path '%s' is longer than the %zu bytes that a Unix socket allows", path,
                      sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return mr_err(err, errno, "socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int code = errno;
    close(fd);
    if (code == ECONNREFUSED)
        return mr_err(err, code, "no broker listens on '%s': start one with `millrace up`", path);
    if (code == EAGAIN)
        return mr_err(err, code, "the broker at '%s' does not take up connections now: it hangs, or has very many of them waiting", path);
    if (code == EACCES)
        return mr_err(err, code, "'%s' may not be used by this user: see millrace.socket.mode in the broker's configuration", path);
    return mr_err(err, code, "connecting to '%s': %s", path, strerror(code));
}

int mr_session_connect(const char *given, char path[MR_SESSION_PATH_MAX], struct millrace_error *err)
{
    char first[MR_SESSION_PATH_MAX], second[MR_SESSION_PATH_MAX];
    struct stat st;

    if (given == NULL || given[0] == 0)
        given = getenv("MILLRACE_SOCKET");
    if (given != NULL && given[0] != 0) {
        snprintf(path, MR_SESSION_PATH_MAX, "%s", given);
        if (strlen(given) < MR_SESSION_PATH_MAX && stat(given, &st) != 0 && errno == ENOENT)
            return mr_err(err, ENOENT, "no broker: '%s' does not exist; start one with `millrace up`", given);
        return connect_to(given, err);
    }
    bool has_first = mr_session_default_path(0, 0, first);
    bool has_second = mr_session_default_path(1, 0, second);
    if (has_first && stat(first, &st) == 0) {
        strcpy(path, first);
        return connect_to(first, err);
    }
    if (has_second && stat(second, &st) == 0) {
        strcpy(path, second);
        return connect_to(second, err);
    }
    strcpy(path, has_first ? first : second);
    return mr_err(err, ENOENT,
                  "no broker on this host: neither '%s' nor '%s' exists; start one with `millrace up`, or name its socket in "
                  "MILLRACE_SOCKET",
                  has_first ? first : "$XDG_RUNTIME_DIR/millrace/0.sock", second);
}
