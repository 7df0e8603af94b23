/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: create and list, until the control process does it. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/base/logging.h"

int mr_topic_make_head(struct mr_memory *memory, struct mr_topic *topic, uint64_t generation, struct millrace_error *err)
{
    char name[80];
    void *piece;
    mr_topic_head_name(&topic->id, name);
    mr_memory_unlink(memory, name, false);
    int rc = mr_memory_create(memory, name, mr_align_up(mr_head_bytes(topic->partition_count), 4096), false, -1, NULL, &topic->head_file, err);
    if (rc != 0)
        return rc;
    /* The slot file begins empty; readers get its descriptor with the head's. */
    mr_topic_slots_name(&topic->id, name);
    mr_memory_unlink(memory, name, false);
    rc = mr_memory_grow(memory, name, 0, (uint64_t)MR_SLOT_PIECE_SLOTS * topic->slot_bytes, &piece, err);
    if (rc != 0) {
        mr_topic_head_name(&topic->id, name);
        mr_memory_unlink(memory, name, false);
        mr_memory_unmap(&topic->head_file);
        return rc;
    }
    if (mr_steward_slots_begin(topic, piece) != 0) {
        mr_memory_unlink(memory, name, false);
        mr_topic_head_name(&topic->id, name);
        mr_memory_unlink(memory, name, false);
        mr_memory_unmap(&topic->head_file);
        return mr_err(err, ENOMEM, "no memory for topic '%s'", topic->name);
    }
    topic->head = topic->head_file.base;
    struct mr_head *head = topic->head;
    head->version = MR_HEAD_VERSION;
    head->partition_capacity = topic->partition_count;
    head->boot_id = memory->boot_id;
    head->topic_id = topic->id;
    snprintf(head->name, sizeof head->name, "%s", topic->name);
    head->durability = topic->config.durability;
    head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
    head->slot_bytes = topic->slot_bytes;
    head->extent_bytes = topic->extent_bytes;
    mr_store_relaxed(&head->daemon_generation, generation);
    mr_store_release(&head->partition_count, topic->partition_count);
    head->magic = MR_HEAD_MAGIC; /* last: a head without it was never finished */
    return 0;
}

int mr_door_add_topic(struct mr_door *door, struct mr_topic *topic, const struct mr_log_recovered *const *recovered, struct millrace_error *err)
{
    if (topic->head == NULL) {
        int rc = mr_topic_make_head(door->options.memory, topic, door->options.registry->generation, err);
        if (rc != 0)
            return rc;
    }
    mr_store_release(&topic->head->daemon_generation, door->options.registry->generation);
    struct mr_head_partition *heads = (struct mr_head_partition *)(void *)((uint8_t *)topic->head + MR_HEAD_PARTITIONS_POSITION);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        topic->partitions[p].head = &heads[p];
        mr_store_release(&heads[p].owner, (uint64_t)topic->partitions[p].reactor << 32 | (uint32_t)door->options.registry->generation);
    }
    door->creating_awaited += door->options.reactor_count;
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_ADD_TOPIC, .topic = topic, .recovered = recovered};
        door_to_reactor(door, r, &message);
    }
    return 0;
}

void mr_door_begin(struct mr_door *door)
{
    struct mr_reactor_message message = {.kind = MR_REACTOR_BEGIN};
    for (uint32_t r = 0; r < door->options.reactor_count; r++)
        door_to_reactor(door, r, &message);
}

void door_topic_create(struct mr_session *session, const struct mr_message_topic_create *message)
{
    struct mr_door *door = session->door;
    struct millrace_error err = {0};
    struct mr_topic *topic;
    char name[257], config[sizeof message->config + 1];

    if (door->creating != NULL) {
        door_send_error(session, message->header.request, EAGAIN, "another topic is being created: try again");
        return;
    }
    snprintf(name, sizeof name, "%.256s", message->topic);
    snprintf(config, sizeof config, "%.*s", (int)sizeof message->config, message->config);
    int rc = mr_registry_create(door->options.registry, door->options.home, door->options.config, door->options.reactor_count, name,
                                message->partition_count, config, &topic, &err);
    if (rc == 0) {
        struct millrace_error ignored;
        rc = mr_door_add_topic(door, topic, NULL, &err);
        if (rc != 0 && mr_registry_discard(door->options.registry, door->options.home, door->options.config, topic, &ignored) != 0)
            mr_say_warn("%s; topic '%s' gets its memory at the next start", ignored.text, name);
    }
    if (rc != 0) {
        door_send_error(session, message->header.request, rc, err.text);
        return;
    }
    door->creating_result = 0;
    session->request = message->header.request;
    session->request_kind = MR_REQUEST_TOPIC;
    door->creating = topic;
    door->creator = session;
}

void door_topic_added(struct mr_door *door, const struct mr_reactor_reply *reply)
{
    if (reply->result != 0)
        door->creating_result = reply->result;
    if (--door->creating_awaited > 0)
        return;
    struct mr_session *session = door->creator;
    struct mr_topic *topic = door->creating;
    door->creator = NULL;
    door->creating = NULL;
    if (topic != NULL && door->creating_result == 0)
        mr_say_info("topic '%s' created, %u partitions, durability %s", topic->name, topic->partition_count,
                    topic->config.durability == MR_DURABILITY_LEADER ? "leader" : "disk");
    if (session == NULL)
        return;
    session->request_kind = MR_REQUEST_NONE;
    if (session->state == MR_SESSION_CLOSING)
        door_session_settle(session);
    else if (door->creating_result != 0)
        door_send_error(session, session->request, door->creating_result, "some of the topic's partitions are offline, the broker's log says why");
    else
        door_send_done(session, session->request);
}

void door_topic_list(struct mr_session *session, const struct mr_message_topic_list *message)
{
    struct millrace_error err = {0};
    char *text = mr_registry_json(session->door->options.registry);
    uint64_t bytes = text != NULL ? strlen(text) : 0;
    int fd = text != NULL ? memfd_create("millrace-topics", MFD_CLOEXEC) : -1;
    int rc = fd < 0 || write(fd, text, bytes) != (ssize_t)bytes ? -ENOMEM : 0;
    free(text);
    if (rc != 0) {
        mr_err(&err, ENOMEM, "the broker has no memory for the list");
        door_send_error(session, message->header.request, rc, err.text);
    } else {
        struct mr_message_list reply = {
            .header = {.bytes = sizeof reply, .type = MR_MESSAGE_LIST, .abi_version = MR_ABI_VERSION, .request = message->header.request}, .bytes = bytes};
        door_send(session, &reply, &fd, 1);
    }
    if (fd >= 0)
        close(fd);
}
