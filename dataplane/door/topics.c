/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: what the control process wants of them is carried out, on disk first, then with the reactors. And the list. */
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
    topic->head->durability = topic->config.durability; /* of an adopted one: the node's configuration may say otherwise now */
    topic->head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
    struct mr_head_partition *heads = (struct mr_head_partition *)(void *)((uint8_t *)topic->head + MR_HEAD_PARTITIONS_POSITION);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        topic->partitions[p].head = &heads[p];
        mr_store_release(&heads[p].owner, (uint64_t)topic->partitions[p].reactor << 32 | (uint32_t)door->options.registry->generation);
    }
    door->change.awaited += door->options.reactor_count;
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

/* @return 1: the reactors are taking it up; -errno with a message */
static int create(struct mr_door *door, const struct mr_desired *desired, struct millrace_error *err)
{
    struct mr_topic *topic;
    int rc = mr_registry_create(door->options.registry, door->options.home, door->options.config, door->options.reactor_count, desired, &topic, err);
    if (rc != 0)
        return rc;
    rc = mr_door_add_topic(door, topic, NULL, err);
    if (rc != 0) {
        struct millrace_error ignored;
        if (mr_registry_discard(door->options.registry, door->options.home, door->options.config, topic, &ignored) != 0)
            mr_say_warn("%s; topic '%s' gets its memory at the next start", ignored.text, desired->name);
        return rc;
    }
    door->change.kind = MR_REACTOR_ADD_TOPIC;
    door->change.topic = topic;
    return 1;
}

/* @return 0: nothing to change; 1; -errno with a message */
static int alter(struct mr_door *door, struct mr_topic *topic, const struct mr_desired *desired, struct millrace_error *err)
{
    if (strcmp(topic->lines, desired->config) == 0)
        return 0;
    int rc = mr_topic_config_parse(&door->change.config, door->options.config, desired->config, err);
    if (rc == 0 && door->change.config.durability != topic->config.durability)
        rc = mr_err(err, EINVAL, "topic '%s': millrace.durability stays as it was when the topic was made: make another topic", topic->name);
    if (rc == 0)
        rc = mr_registry_alter(door->options.registry, door->options.home, topic, desired->config, err);
    if (rc != 0)
        return rc;
    door->change.kind = MR_REACTOR_CONFIGURE_TOPIC;
    door->change.topic = topic;
    door->change.awaited += door->options.reactor_count;
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_CONFIGURE_TOPIC, .topic = topic, .config = &door->change.config};
        door_to_reactor(door, r, &message);
    }
    return 1;
}

int door_topic_apply(struct mr_door *door, const struct mr_desired *desired, struct millrace_error *err)
{
    struct mr_topic *topic = mr_registry_find_id(door->options.registry, &desired->topic_id);
    int rc;

    if (desired->kind == MR_DESIRED_GONE)
        rc = topic == NULL ? 0 : mr_err(err, ENOSYS, "topics cannot be deleted in this version");
    else if (topic == NULL)
        rc = create(door, desired, err);
    else if (desired->partition_count != topic->partition_count)
        rc = mr_err(err, ENOSYS, "the number of partitions cannot be changed in this version");
    else
        rc = alter(door, topic, desired, err);
    if (rc == 1) {
        door->change.number = desired->number;
        door->change.result = 0;
    }
    return rc;
}

void door_topic_changed(struct mr_door *door, const struct mr_reactor_reply *reply)
{
    struct mr_topic *topic = door->change.topic;
    if (reply->result != 0)
        door->change.result = reply->result;
    if (--door->change.awaited > 0)
        return;
    door->change.topic = NULL;
    if (topic == NULL) /* found at start */
        return;
    if (door->change.kind == MR_REACTOR_CONFIGURE_TOPIC) {
        topic->config = door->change.config;
        topic->head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
        mr_say_info("topic '%s' altered", topic->name);
    } else if (door->change.result == 0) {
        mr_say_info("topic '%s' created, %u partitions, durability %s", topic->name, topic->partition_count,
                    topic->config.durability == MR_DURABILITY_LEADER ? "leader" : "disk");
    }
    door_control_tell(door, door->change.number, door->change.result,
                      door->change.result == 0 ? "" : "some of the topic's partitions are offline, the broker's log says why");
}

int door_topics_memfd(struct mr_door *door, int *fd, uint64_t *bytes)
{
    char *text = mr_registry_json(door->options.registry);
    *bytes = text != NULL ? strlen(text) : 0;
    *fd = text != NULL ? memfd_create("millrace-topics", MFD_CLOEXEC) : -1;
    int rc = *fd < 0 || write(*fd, text, *bytes) != (ssize_t)*bytes ? -ENOMEM : 0;
    free(text);
    if (rc != 0 && *fd >= 0)
        close(*fd);
    return rc;
}

void door_topic_list(struct mr_session *session, const struct mr_message_topic_list *message)
{
    struct mr_message_list reply = {
        .header = {.bytes = sizeof reply, .type = MR_MESSAGE_LIST, .abi_version = MR_ABI_VERSION, .request = message->header.request}};
    int fd;
    int rc = door_topics_memfd(session->door, &fd, &reply.bytes);
    if (rc != 0) {
        door_send_error(session, message->header.request, rc, "the broker has no memory for the list");
        return;
    }
    door_send(session, &reply, &fd, 1);
    close(fd);
}
