/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: what is asked of the control process through the broker, and the list, which the broker has itself. */
#include "shm/client/client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES_MAX (1u << 30)

static int name_too_long(struct millrace_error *err)
{
    return mr_err(err, EINVAL, "a topic's name has at most %d characters", MR_TOPIC_NAME_MAX);
}

/* The change is named once, so that asking again after -EAGAIN does it once at most. */
static int change(struct millrace_client *client, enum mr_message_type type, const char *topic, uint32_t partitions, const char *config,
                  struct millrace_error *err)
{
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    bool begun = false;
    struct mr_message_topic_change request = {.partition_count = partitions};

    if (err != NULL)
        *err = (struct millrace_error){0};
    if (strlen(topic) >= sizeof request.topic)
        return name_too_long(err);
    if (config != NULL && strlen(config) >= sizeof request.config)
        return mr_err(err, EINVAL, "the configuration of topic '%s' is longer than %zu bytes", topic, sizeof request.config - 1);
    if (mr_uuid_random(&request.change) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    strcpy(request.topic, topic);
    if (config != NULL)
        strcpy(request.config, config);
    int rc = mr_client_request_control(client, &request.header, sizeof request, type, &reply, MR_MESSAGE_DONE, sizeof reply.done, fds, &fd_count,
                                       MR_CLIENT_REQUEST_MS, &begun, err);
    if (rc == -ENOENT && type == MR_MESSAGE_TOPIC_DELETE && begun) { /* nothing is left of it, not even the note that it was us */
        if (err != NULL)
            *err = (struct millrace_error){0};
        rc = 0;
    }
    return rc;
}

MR_CLIENT_EXPORT int millrace_topic_create(struct millrace_client *client, const char *topic, uint32_t partitions, const char *config,
                                           struct millrace_error *err)
{
    return change(client, MR_MESSAGE_TOPIC_CREATE, topic, partitions, config, err);
}

MR_CLIENT_EXPORT int millrace_topic_alter(struct millrace_client *client, const char *topic, const char *config, struct millrace_error *err)
{
    return change(client, MR_MESSAGE_TOPIC_ALTER, topic, 0, config, err);
}

MR_CLIENT_EXPORT int millrace_topic_add_partitions(struct millrace_client *client, const char *topic, uint32_t partitions, struct millrace_error *err)
{
    return change(client, MR_MESSAGE_TOPIC_PARTITIONS, topic, partitions, NULL, err);
}

MR_CLIENT_EXPORT int millrace_topic_delete(struct millrace_client *client, const char *topic, struct millrace_error *err)
{
    return change(client, MR_MESSAGE_TOPIC_DELETE, topic, 0, NULL, err);
}

/* The text that came in a memfd, terminated. */
static int take_text(const union mr_message *reply, const int *fds, uint32_t fd_count, char **json, struct millrace_error *err)
{
    uint64_t bytes = reply->list.bytes, done = 0;

    if (fd_count != 1 || bytes > TEXT_BYTES_MAX)
        return mr_err(err, EPROTO, "the broker's answer came without its memory");
    char *text = malloc(bytes + 1);
    if (text == NULL)
        return mr_err(err, ENOMEM, "no memory for an answer of %llu bytes", (unsigned long long)bytes);
    while (done < bytes) {
        ssize_t got = pread(fds[0], text + done, bytes - done, (off_t)done);
        if (got <= 0) {
            free(text);
            return mr_err(err, EIO, "the broker's answer is cut short");
        }
        done += (uint64_t)got;
    }
    text[done] = 0;
    *json = text;
    return 0;
}

static int ask_for_text(struct millrace_client *client, struct mr_message_header *request, uint32_t bytes, enum mr_message_type type, char **json,
                        struct millrace_error *err)
{
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    *json = NULL;
    int rc = mr_client_request(client, request, bytes, type, &reply, MR_MESSAGE_LIST, sizeof reply.list, fds, &fd_count, MR_CLIENT_REQUEST_MS, err);
    if (rc != 0)
        return rc;
    rc = take_text(&reply, fds, fd_count, json, err);
    mr_client_close_fds(fds, fd_count);
    return rc;
}

MR_CLIENT_EXPORT int millrace_topic_list(struct millrace_client *client, char **json, struct millrace_error *err)
{
    struct mr_message_topic_list request;

    return ask_for_text(client, &request.header, sizeof request, MR_MESSAGE_TOPIC_LIST, json, err);
}

MR_CLIENT_EXPORT int millrace_topic_describe(struct millrace_client *client, const char *topic, char **json, struct millrace_error *err)
{
    struct mr_message_topic_describe request = {0};

    *json = NULL;
    if (strlen(topic) >= sizeof request.topic)
        return name_too_long(err);
    strcpy(request.topic, topic);
    return ask_for_text(client, &request.header, sizeof request, MR_MESSAGE_TOPIC_DESCRIBE, json, err);
}

MR_CLIENT_EXPORT int millrace_topic_trim(struct millrace_client *client, const char *topic, uint32_t partition, uint64_t before_offset,
                                         struct millrace_error *err)
{
    struct mr_message_topic_trim request = {.partition = partition, .before_offset = before_offset};
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    if (strlen(topic) >= sizeof request.topic)
        return name_too_long(err);
    strcpy(request.topic, topic);
    return mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_TOPIC_TRIM, &reply, MR_MESSAGE_TRIMMED, sizeof reply.trimmed, fds,
                             &fd_count, MR_CLIENT_REQUEST_MS, err);
}
