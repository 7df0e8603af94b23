/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked about topics and needs no control process: the list, a description, and trimming. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* @param text freed. @return 0 with a memfd of the caller's that holds it; -ENOMEM */
static int text_memfd(char *text, int *fd, uint64_t *bytes)
{
    *bytes = text != NULL ? strlen(text) : 0;
    *fd = text != NULL ? memfd_create("millrace-topics", MFD_CLOEXEC) : -1;
    int rc = *fd < 0 || write(*fd, text, *bytes) != (ssize_t)*bytes ? -ENOMEM : 0;
    free(text);
    if (rc != 0 && *fd >= 0)
        close(*fd);
    return rc;
}

static void send_text(struct mr_session *session, uint64_t request, char *text)
{
    struct mr_message_list reply = {.header = {.bytes = sizeof reply, .type = MR_MESSAGE_LIST, .abi_version = MR_ABI_VERSION, .request = request}};
    int fd;
    int rc = text_memfd(text, &fd, &reply.bytes);
    if (rc != 0) {
        door_send_error(session, request, rc, "the broker has no memory for the answer");
        return;
    }
    door_send(session, &reply, &fd, 1);
    close(fd);
}

int door_topics_memfd(struct mr_door *door, int *fd, uint64_t *bytes)
{
    return text_memfd(mr_registry_json(door->options.registry), fd, bytes);
}

void door_topic_list(struct mr_session *session, const struct mr_message_topic_list *message)
{
    send_text(session, message->header.request, mr_registry_json(session->door->options.registry));
}

void door_topic_describe(struct mr_session *session, const struct mr_message_topic_describe *message)
{
    const struct mr_topic *topic = door_find_topic(session, message->topic, message->header.request);
    if (topic != NULL)
        send_text(session, message->header.request, mr_registry_describe(topic, session->door->options.config));
}

void door_topic_trim(struct mr_session *session, const struct mr_message_topic_trim *message)
{
    struct mr_topic *topic = door_find_topic(session, message->topic, message->header.request);
    char text[400];
    if (topic == NULL)
        return;
    if (message->partition >= topic->partition_count) {
        snprintf(text, sizeof text, "topic '%s' has no partition %u: it has %u", topic->name, message->partition, topic->partition_count);
        door_send_error(session, message->header.request, EINVAL, text);
        return;
    }
    struct mr_topic_partition *partition = topic->partitions[message->partition];
    struct mr_reactor_message trim = {.kind = MR_REACTOR_TRIM, .partition = partition, .offset = message->before_offset, .context = session};
    session->request = message->header.request;
    session->request_kind = MR_REQUEST_TRIM;
    session->request_topic = topic;
    door_to_reactor(session->door, partition->reactor, &trim);
}

void door_topic_trimmed(struct mr_session *session, const struct mr_reactor_reply *reply)
{
    const struct mr_topic_partition *partition = reply->partition;
    uint64_t visible = mr_load_relaxed(&partition->head->visible);
    char text[400];

    session->request_kind = MR_REQUEST_NONE;
    if (session->state == MR_SESSION_CLOSING) {
        door_session_settle(session);
        return;
    }
    if (reply->result != 0) {
        if (reply->result == -ERANGE)
            snprintf(text, sizeof text, "%s-%u ends at offset %llu: nothing beyond it can be trimmed", partition->topic->name, partition->index,
                     (unsigned long long)visible);
        else
            snprintf(text, sizeof text, "%s-%u cannot be trimmed: %s", partition->topic->name, partition->index,
                     reply->result == -EIO ? "it is offline, the broker's log says why" : strerror(-reply->result));
        door_send_error(session, session->request, reply->result, text);
        return;
    }
    struct mr_message_trimmed done = {
        .header = {.bytes = sizeof done, .type = MR_MESSAGE_TRIMMED, .abi_version = MR_ABI_VERSION, .request = session->request},
        .log_start = mr_load_relaxed(&partition->head->log_start)};
    door_send(session, &done, NULL, 0);
}
