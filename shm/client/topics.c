/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: what is asked of the control process through the broker, and the list, which the broker has itself. */
#include "shm/client/client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The change is named once, so that asking again after -EAGAIN does it once at most. */
static int change(struct millrace_client *client, enum mr_message_type type, const char *topic, uint32_t partitions, const char *config,
                  struct millrace_error *err)
{
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    struct mr_message_topic_change request = {.partition_count = partitions};

    if (err != NULL)
        *err = (struct millrace_error){0};
    if (strlen(topic) >= sizeof request.topic)
        return mr_err(err, EINVAL, "a topic's name has at most %d characters", MR_TOPIC_NAME_MAX);
    if (config != NULL && strlen(config) >= sizeof request.config)
        return mr_err(err, EINVAL, "the configuration of topic '%s' is longer than %zu bytes", topic, sizeof request.config - 1);
    if (mr_uuid_random(&request.change) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    strcpy(request.topic, topic);
    if (config != NULL)
        strcpy(request.config, config);
    return mr_client_request_control(client, &request.header, sizeof request, type, &reply, MR_MESSAGE_DONE, sizeof reply.done, fds, &fd_count,
                                     MR_CLIENT_REQUEST_MS, err);
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

MR_CLIENT_EXPORT int millrace_topic_list(struct millrace_client *client, char **json, struct millrace_error *err)
{
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    struct mr_message_topic_list request;

    *json = NULL;
    int rc = mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_TOPIC_LIST, &reply, MR_MESSAGE_LIST, sizeof reply.list,
                               fds, &fd_count, MR_CLIENT_REQUEST_MS, err);
    if (rc != 0)
        return rc;
    if (fd_count != 1 || reply.list.bytes > (1u << 30)) {
        rc = mr_err(err, EPROTO, "the broker's list of topics came without its memory");
        goto out;
    }
    char *text = malloc(reply.list.bytes + 1);
    if (text == NULL) {
        rc = mr_err(err, ENOMEM, "no memory for a list of %llu bytes", (unsigned long long)reply.list.bytes);
        goto out;
    }
    uint64_t done = 0;
    while (done < reply.list.bytes) {
        ssize_t got = pread(fds[0], text + done, reply.list.bytes - done, (off_t)done);
        if (got <= 0)
            break;
        done += (uint64_t)got;
    }
    text[done] = 0;
    if (done < reply.list.bytes) {
        free(text);
        rc = mr_err(err, EIO, "the broker's list of topics is cut short");
        goto out;
    }
    *json = text;
out:
    mr_client_close_fds(fds, fd_count);
    return rc;
}
