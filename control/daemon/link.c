/* SPDX-License-Identifier: Apache-2.0 */
#include "control/daemon/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/session/socket.h"

#define ANSWER_MS      5000
#define LIST_BYTES_MAX (256u << 20)

struct unsent {
    struct unsent *next;
    int fd; /* -1: none */
    alignas(8) uint8_t message[];
};

void mr_link_init(struct mr_link *link)
{
    *link = (struct mr_link){.socket = -1};
    link->unsent_end = &link->unsent;
}

void mr_link_close(struct mr_link *link)
{
    while (link->unsent != NULL) {
        struct unsent *unsent = link->unsent;
        link->unsent = unsent->next;
        if (unsent->fd >= 0)
            close(unsent->fd);
        free(unsent);
    }
    if (link->socket >= 0)
        close(link->socket);
    mr_link_init(link);
}

static char *read_list(int fd, uint64_t bytes)
{
    uint64_t done = 0;
    char *text = bytes <= LIST_BYTES_MAX ? malloc(bytes + 1) : NULL;
    while (text != NULL && done < bytes) {
        ssize_t got = pread(fd, text + done, bytes - done, (off_t)done);
        if (got <= 0) {
            free(text);
            return NULL;
        }
        done += (uint64_t)got;
    }
    if (text != NULL)
        text[done] = '\0';
    return text;
}

/* The answer to our greeting. @return 0; -errno with a message */
static int take_welcome(struct mr_link *link, struct mr_control_welcome *welcome, char **list, struct millrace_error *err)
{
    alignas(8) uint8_t message[MR_MESSAGE_BYTES_MAX];
    const struct mr_message_header *header = (const void *)message;
    const struct mr_message_error *refusal = (const void *)message;
    struct pollfd ready = {.fd = link->socket, .events = POLLIN};
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count = 0;

    if (poll(&ready, 1, ANSWER_MS) <= 0)
        return mr_err(err, ETIMEDOUT, "millraced did not answer for %d ms", ANSWER_MS);
    int bytes = mr_session_receive(link->socket, message, sizeof message, fds, &fd_count);
    int rc = 0;
    if (bytes < 0)
        rc = mr_err(err, EAGAIN, "millraced went away");
    else if (header->type == MR_MESSAGE_ERROR && header->bytes == sizeof *refusal)
        rc = mr_err(err, refusal->code > 0 ? refusal->code : EPROTO, "%.*s", (int)sizeof refusal->text - 1, refusal->text);
    else if (header->type != MR_CONTROL_WELCOME || header->bytes != sizeof *welcome || fd_count != 1)
        rc = mr_err(err, EPROTO, "millraced is of another version: run millraced and millrace-control of one release");
    if (rc == 0) {
        memcpy(welcome, message, sizeof *welcome);
        welcome->home[sizeof welcome->home - 1] = '\0';
        *list = read_list(fds[0], welcome->topics_bytes);
        if (*list == NULL)
            rc = mr_err(err, ENOMEM, "millraced's list of topics, %llu bytes, cannot be read", (unsigned long long)welcome->topics_bytes);
    }
    for (uint32_t f = 0; f < fd_count; f++)
        close(fds[f]);
    return rc;
}

int mr_link_open(struct mr_link *link, const char *path, struct mr_control_welcome *welcome, char **list, struct millrace_error *err)
{
    char tried[MR_SESSION_PATH_MAX];
    struct mr_control_hello hello = {.control_version = MR_CONTROL_VERSION};

    link->socket = mr_session_connect(path, tried, err);
    if (link->socket < 0) {
        int rc = link->socket;
        link->socket = -1;
        return rc;
    }
    mr_message_begin(&hello.header, sizeof hello, MR_CONTROL_HELLO, 1);
    int rc = mr_session_send(link->socket, &hello, NULL, 0);
    if (rc != 0)
        rc = mr_err(err, EAGAIN, "millraced went away");
    if (rc == 0)
        rc = take_welcome(link, welcome, list, err);
    if (rc != 0)
        mr_link_close(link);
    return rc;
}

bool mr_link_has_unsent(const struct mr_link *link)
{
    return link->unsent != NULL;
}

int mr_link_send_unsent(struct mr_link *link)
{
    while (link->unsent != NULL) {
        struct unsent *unsent = link->unsent;
        int rc = mr_session_send(link->socket, unsent->message, &unsent->fd, unsent->fd >= 0);
        if (rc != 0)
            return rc == -EPIPE || rc == -ECONNRESET ? -EPIPE : 0;
        link->unsent = unsent->next;
        if (link->unsent == NULL)
            link->unsent_end = &link->unsent;
        if (unsent->fd >= 0)
            close(unsent->fd);
        free(unsent);
    }
    return 0;
}

int mr_link_send(struct mr_link *link, const struct mr_message_header *message, int fd)
{
    if (link->socket < 0)
        return -EPIPE;
    if (link->unsent == NULL) {
        int rc = mr_session_send(link->socket, message, &fd, fd >= 0);
        if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
            return rc == 0 ? 0 : -EPIPE;
    }
    struct unsent *unsent = malloc(sizeof *unsent + message->bytes);
    if (unsent == NULL)
        return -EPIPE; /* it begins anew, with a new table */
    unsent->next = NULL;
    unsent->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    memcpy(unsent->message, message, message->bytes);
    if (fd >= 0 && unsent->fd < 0) {
        free(unsent);
        return -EPIPE;
    }
    *link->unsent_end = unsent;
    link->unsent_end = &unsent->next;
    return 0;
}

int mr_link_receive(struct mr_link *link, void *message, size_t room)
{
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count = 0;
    int rc = mr_session_receive(link->socket, message, room, fds, &fd_count);
    for (uint32_t f = 0; f < fd_count; f++)
        close(fds[f]);
    if (rc == -EAGAIN)
        return rc;
    const struct mr_message_header *header = message;
    return rc < 0 || header->type == MR_MESSAGE_CLOSING ? -EPIPE : rc;
}
