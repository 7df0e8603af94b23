/* SPDX-License-Identifier: Apache-2.0 */
/* The control process's session (shm/abi/control.h). What people want of topics goes to it; what it decided stands in its table, and is carried out
 * here entry by entry: on this disk first, then with the reactors, then it is told so. Without it everything goes on but what needs it.
 *
 *   entry -> (topics.c) files -> topics.json -> reactors -> [all replied] -> APPLIED -> next entry
 *
 *  I1  One entry is under way at a time, and nothing behind it is begun before it is told of.
 *  I2  Carrying out an entry anew changes nothing: a new control process begins with the whole state. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/base/logging.h"
#include "shm/session/socket.h"

#define ENTRIES_A_ROUND 64u /* clients wait meanwhile */

void door_control_hello(struct mr_session *session, const struct mr_control_hello *message)
{
    struct mr_door *door = session->door;
    char text[200];

    if (session->uid != geteuid() && session->uid != 0) {
        door_session_poison(session, MR_POISON_MESSAGE);
        return;
    }
    if (message->control_version != MR_CONTROL_VERSION) {
        snprintf(text, sizeof text, "millrace-control speaks version %u, millraced version %u: run both of one release", message->control_version,
                 MR_CONTROL_VERSION);
        door_send_error(session, message->header.request, EPROTO, text);
        return;
    }
    if (door->control.session != NULL) {
        snprintf(text, sizeof text, "another millrace-control is attached, pid %d", (int)door->control.session->pid);
        door_send_error(session, message->header.request, EBUSY, text);
        return;
    }
    int fd;
    uint64_t bytes;
    int rc = door_topics_memfd(door, &fd, &bytes);
    if (rc != 0) {
        door_send_error(session, message->header.request, rc, "no memory for the list of topics");
        return;
    }
    struct mr_control_welcome welcome = {.data_id = door->options.data_id, .daemon_generation = door->options.registry->generation, .topics_bytes = bytes};
    mr_message_begin(&welcome.header, sizeof welcome, MR_CONTROL_WELCOME, message->header.request);
    if (realpath(door->options.home->path, welcome.home) == NULL)
        snprintf(welcome.home, sizeof welcome.home, "%s", door->options.home->path);
    session->state = MR_SESSION_READY;
    session->is_control = true;
    if (session->user != NULL) /* quotas are for others */
        session->user->sessions--;
    else
        door->unknown_count--;
    session->user = NULL;
    snprintf(session->client, sizeof session->client, "millrace-control");
    door->control.session = session;
    door->control.wants_ids = false;
    bool sent = door_send(session, &welcome, &fd, 1);
    close(fd);
    if (!sent)
        return;
    mr_say_info("millrace-control is attached, pid %d", (int)session->pid);
    door_control_want_ids(door);
}

void door_control_lost(struct mr_door *door)
{
    door->control.session = NULL;
    mr_desired_close(&door->control.table);
    if (!door->stopping)
        mr_say_warn("millrace-control is gone: records flow on, topics cannot be changed until it is back");
    for (struct mr_session *session = door->sessions; session != NULL; session = session->next) {
        if (session->request_kind != MR_REQUEST_TOPIC)
            continue;
        struct mr_message_error lost = {
            .header = {.bytes = sizeof lost, .type = MR_MESSAGE_ERROR, .abi_version = MR_ABI_VERSION, .request = session->request}, .code = EAGAIN, .begun = 1};
        snprintf(lost.text, sizeof lost.text, "millrace-control died over it and is restarting: try again");
        session->request_kind = MR_REQUEST_NONE;
        door_send(session, &lost, NULL, 0);
    }
}

void door_control_ask(struct mr_session *session, const struct mr_message_topic_change *change)
{
    struct mr_door *door = session->door;
    struct mr_control_ask ask = {.uid = session->uid, .pid = (uint32_t)session->pid, .change = *change};

    if (door->control.session == NULL) {
        door_send_error(session, change->header.request, EAGAIN, "millrace-control is restarting: try again");
        return;
    }
    session->ticket = ++door->control.next_ticket;
    session->request = change->header.request;
    session->request_kind = MR_REQUEST_TOPIC;
    mr_message_begin(&ask.header, sizeof ask, MR_CONTROL_ASK, session->ticket);
    door_send(door->control.session, &ask, NULL, 0);
}

void door_control_want_ids(struct mr_door *door)
{
    struct mr_control_want_ids want = {.floor = door->options.producer_ids->floor};

    if (door->control.session == NULL || door->control.wants_ids || !mr_producer_ids_wants(door->options.producer_ids))
        return;
    mr_message_begin(&want.header, sizeof want, MR_CONTROL_WANT_IDS, 0);
    door->control.wants_ids = true;
    door_send(door->control.session, &want, NULL, 0);
}

static void answered(struct mr_door *door, const struct mr_message_error *answer)
{
    struct mr_session *session = door->sessions;
    char text[sizeof answer->text];

    while (session != NULL && !(session->request_kind == MR_REQUEST_TOPIC && session->ticket == answer->header.request))
        session = session->next;
    if (session == NULL) /* it left meanwhile */
        return;
    session->request_kind = MR_REQUEST_NONE;
    if (session->state == MR_SESSION_CLOSING) {
        door_session_settle(session);
        return;
    }
    snprintf(text, sizeof text, "%.*s", (int)sizeof answer->text - 1, answer->text);
    if (answer->code == 0)
        door_send_done(session, session->request);
    else
        door_send_error(session, session->request, answer->code, text);
}

static void take_ids(struct mr_door *door, const struct mr_control_ids *message)
{
    struct millrace_error err;
    door->control.wants_ids = false;
    if (mr_producer_ids_add(door->options.producer_ids, message->first, message->end, &err) != 0)
        mr_say_warn("%s", err.text);
    else
        door_control_want_ids(door); /* one to use, one to spare */
}

static void take_table(struct mr_session *session, const struct mr_control_table *message, const int *fds, uint32_t fd_count)
{
    struct mr_door *door = session->door;
    struct millrace_error err;

    mr_desired_close(&door->control.table);
    if (fd_count != 1)
        door_session_poison(session, MR_POISON_MESSAGE);
    else if (mr_desired_open(&door->control.table, fds[0], message->bytes, &err) != 0)
        door_session_close(session, err.text);
}

void door_control_tell(struct mr_door *door, uint64_t number, int rc, const char *text)
{
    struct mr_control_applied applied = {.number = number, .code = -rc};
    if (door->control.session == NULL)
        return;
    mr_message_begin(&applied.header, sizeof applied, MR_CONTROL_APPLIED, 0);
    snprintf(applied.text, sizeof applied.text, "%s", text);
    door_send(door->control.session, &applied, NULL, 0);
}

void door_control_message(struct mr_session *session, const struct mr_message_header *header, const int *fds, uint32_t fd_count)
{
    struct mr_door *door = session->door;
    const void *message = header;

    if (header->type == MR_CONTROL_TABLE && header->bytes == sizeof(struct mr_control_table))
        take_table(session, message, fds, fd_count);
    else if (header->type == MR_CONTROL_ANSWER && header->bytes == sizeof(struct mr_message_error))
        answered(door, message);
    else if (header->type == MR_CONTROL_IDS && header->bytes == sizeof(struct mr_control_ids))
        take_ids(door, message);
    else if (header->type != MR_CONTROL_HINT) /* which woke us, and that is all */
        door_session_poison(session, MR_POISON_MESSAGE);
}

bool door_control_read(struct mr_door *door)
{
    struct mr_desired entry;
    struct millrace_error err;

    for (uint32_t i = 0; i < ENTRIES_A_ROUND; i++) {
        if (door->change.awaited > 0 || door->stopping)
            return false; /* I1; a reply will come */
        int rc = mr_desired_next(&door->control.table, &entry);
        if (rc == 0)
            return false;
        if (rc < 0) {
            door_session_close(door->control.session, "its table makes no sense");
            return false;
        }
        err.text[0] = '\0';
        rc = door_topic_apply(door, &entry, &err);
        if (rc != 1)
            door_control_tell(door, entry.number, rc, err.text);
    }
    return true;
}
