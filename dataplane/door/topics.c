/* SPDX-License-Identifier: Apache-2.0 */
/* Topics come, change and go: what the control process wants of them is carried out, on disk first, then with the reactors. */
#include "dataplane/door/door_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/node/trash.h"
#include "shm/base/logging.h"

#define DELETED_LOOK_MS 1000 /* between looks whether sessions still refer to deleted topics */

/* Partitions from `first` on become known to all reactors. */
static void add_partitions(struct mr_door *door, struct mr_topic *topic, uint32_t first, const struct mr_log_recovered *const *recovered)
{
    for (uint32_t p = first; p < topic->partition_count; p++) {
        topic->partitions[p]->head = door_head_partition(topic, p);
        mr_store_release(&topic->partitions[p]->head->owner,
                         (uint64_t)topic->partitions[p]->reactor << 32 | (uint32_t)door->options.registry->generation);
    }
    door->change.awaited += door->options.reactor_count;
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_ADD_TOPIC, .topic = topic, .recovered = recovered, .first_partition = first};
        door_to_reactor(door, r, &message);
    }
}

int mr_door_add_topic(struct mr_door *door, struct mr_topic *topic, const struct mr_log_recovered *const *recovered, struct millrace_error *err)
{
    if (topic->head == NULL) {
        int rc = door_head_make(door->options.memory, topic, door->options.registry->generation, err);
        if (rc != 0)
            return rc;
    }
    mr_store_release(&topic->head->daemon_generation, door->options.registry->generation);
    topic->head->durability = topic->config.durability; /* of an adopted one: the node's configuration may say otherwise now */
    topic->head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
    mr_store_release(&topic->head->partition_count, topic->partition_count);
    add_partitions(door, topic, 0, recovered);
    return 0;
}

void mr_door_begin(struct mr_door *door)
{
    struct mr_reactor_message message = {.kind = MR_REACTOR_BEGIN};
    for (uint32_t r = 0; r < door->options.reactor_count; r++)
        door_to_reactor(door, r, &message);
}

static void finish(struct mr_door *door);

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

/* @return 1; -errno with a message: the topic is as it was */
static int grow(struct mr_door *door, struct mr_topic *topic, uint32_t partition_count, struct millrace_error *err)
{
    const struct mr_door_options *options = &door->options;
    uint32_t before = topic->partition_count;
    int rc = door_head_grow(options->memory, topic, partition_count, err);
    if (rc == 0)
        rc = mr_registry_grow(options->registry, options->home, options->config, options->reactor_count, topic, partition_count, err);
    if (rc != 0)
        return rc;
    door->change.kind = MR_REACTOR_ADD_TOPIC;
    door->change.topic = topic;
    door->change.first_partition = before;
    add_partitions(door, topic, before, NULL);
    return 1;
}

/* Sessions lose it at once, reactors and steward let go of it, then its files get other names. @return 1 */
static int delete(struct mr_door *door, struct mr_topic *topic)
{
    door->change.kind = MR_REACTOR_REMOVE_TOPIC;
    door->change.topic = topic;
    topic->deleted = true;
    if (topic->head == NULL) /* it never had memory, so no reactor knows it: door_topic_changed() follows */
        return 1;
    mr_store_release(&topic->head->deleted, 1);
    door->change.awaited += door->options.reactor_count + topic->partition_count; /* replies, and the steward's notices */
    for (uint32_t r = 0; r < door->options.reactor_count; r++) {
        struct mr_reactor_message message = {.kind = MR_REACTOR_REMOVE_TOPIC, .topic = topic};
        door_to_reactor(door, r, &message);
    }
    return 1;
}

static int apply_topic(struct mr_door *door, struct mr_topic *topic, const struct mr_desired *desired, struct millrace_error *err)
{
    if (topic == NULL)
        return create(door, desired, err);
    if (desired->partition_count < topic->partition_count)
        return mr_err(err, EINVAL, "topic '%s' has %u partitions, and partitions cannot be taken away", topic->name, topic->partition_count);
    if (topic->head == NULL)
        return mr_err(err, ENOMEM, "topic '%s' has no memory: restart the broker when there is room in /dev/shm", topic->name);
    if (desired->partition_count > topic->partition_count)
        return grow(door, topic, desired->partition_count, err);
    return alter(door, topic, desired, err);
}

int door_topic_apply(struct mr_door *door, const struct mr_desired *desired, struct millrace_error *err)
{
    struct mr_topic *topic = mr_registry_find_id(door->options.registry, &desired->topic_id);
    bool gone = desired->kind == MR_DESIRED_GONE;
    door->change = (struct door_change){.number = desired->number};
    int rc = gone && topic == NULL ? 0 : gone ? delete(door, topic) : apply_topic(door, topic, desired, err);
    if (rc == 1 && door->change.awaited == 0)
        finish(door);
    return rc;
}

static void finish_deletion(struct mr_door *door, struct mr_topic *topic)
{
    const struct mr_door_options *options = &door->options;
    struct millrace_error err = {0};
    int rc = mr_registry_remove(options->registry, options->home, options->config, topic, &err);
    if (rc != 0) { /* it is in topics.json still, and without a log; the next start, or the next control process, tries again */
        mr_say_error("topic '%s' is deleted, but its files are not: %s", topic->name, err.text);
    } else {
        door_head_unlink(options->memory, topic);
        topic->next = door->deleted;
        door->deleted = topic;
        mr_trash_look(options->trash);
        mr_say_info("topic '%s' deleted", topic->name);
    }
    door_control_tell(door, door->change.number, rc, err.text);
}

/* Everybody has done what was asked. */
static void finish(struct mr_door *door)
{
    struct mr_topic *topic = door->change.topic;
    door->change.topic = NULL;
    if (door->change.kind == MR_REACTOR_REMOVE_TOPIC) {
        finish_deletion(door, topic);
        return;
    }
    if (door->change.kind == MR_REACTOR_CONFIGURE_TOPIC) {
        topic->config = door->change.config;
        topic->head->message_bytes_max = (uint32_t)topic->config.message_bytes_max;
        mr_say_info("topic '%s' altered", topic->name);
    } else if (door->change.first_partition > 0) {
        mr_store_release(&topic->head->partition_count, topic->partition_count);
        mr_say_info("topic '%s' has %u partitions now", topic->name, topic->partition_count);
    } else if (door->change.result == 0) {
        mr_say_info("topic '%s' created, %u partitions, durability %s", topic->name, topic->partition_count,
                    topic->config.durability == MR_DURABILITY_LEADER ? "leader" : "disk");
    }
    door_control_tell(door, door->change.number, door->change.result,
                      door->change.result == 0 ? "" : "some of the topic's partitions are offline, the broker's log says why");
}

void door_topic_changed(struct mr_door *door, int result)
{
    if (result != 0)
        door->change.result = result;
    if (--door->change.awaited == 0 && door->change.topic != NULL) /* else they were found at start */
        finish(door);
}

/* Does anything of the session refer to the topic? */
static bool refers(const struct mr_session *session, const struct mr_topic *topic)
{
    if (session->request_kind != MR_REQUEST_NONE && session->request_topic == topic)
        return true;
    for (uint32_t i = 0; i < MR_SESSION_PRODUCERS_MAX; i++)
        if (session->producers[i].open && session->producers[i].topic == topic)
            return true;
    for (uint32_t i = 0; i < MR_SESSION_CONSUMERS_MAX; i++)
        if (session->consumers[i].open && session->consumers[i].topic == topic)
            return true;
    for (uint32_t h = 0; h < session->handle_count; h++)
        if (session->handles[h] != NULL && session->handles[h]->partition->topic == topic)
            return true;
    return false;
}

void door_free_deleted(struct mr_door *door, uint64_t now_ms)
{
    if (now_ms < door->deleted_look_ms)
        return;
    door->deleted_look_ms = now_ms + DELETED_LOOK_MS;
    for (struct mr_topic **at = &door->deleted; *at != NULL;) {
        struct mr_topic *topic = *at;
        const struct mr_session *session = door->sessions;
        while (session != NULL && !refers(session, topic))
            session = session->next;
        if (session != NULL) {
            at = &topic->next;
            continue;
        }
        *at = topic->next;
        door_head_unmap(topic);
        mr_topic_free(topic);
    }
}
