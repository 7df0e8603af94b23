/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/registry.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/node/partition_dirs.h"
#include "shm/abi/message.h"

#define FORMAT_VERSION 1
#define SLOT_BYTES     (32u << 10)

static const char *durability_word(uint32_t durability)
{
    return durability == MR_DURABILITY_LEADER ? "leader" : "disk";
}

/* Spread: neighbours in a topic on different reactors and directories, topics begin at different ones. */
static void place(struct mr_topic *topic, const struct mr_node_config *config, uint32_t reactor_count)
{
    uint32_t start;
    memcpy(&start, topic->id.bytes, sizeof start);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        topic->partitions[p].reactor = (start + p) % reactor_count;
        topic->partitions[p].directory = (start + p) % config->log_dirs.count;
    }
    topic->slot_bytes = SLOT_BYTES;
    topic->extent_bytes = (uint32_t)config->extent_bytes;
}

static json_t *topic_json(const struct mr_topic *topic)
{
    char id[33];
    mr_uuid_text(&topic->id, id);
    return json_pack("{s:s, s:s, s:i, s:s, s:I, s:I, s:I}", "name", topic->name, "id", id, "partitions", (int)topic->partition_count, "durability",
                     durability_word(topic->config.durability), "segment.bytes", (json_int_t)topic->config.segment_bytes, "retention.bytes",
                     (json_int_t)topic->config.retention_bytes, "max.message.bytes", (json_int_t)topic->config.message_bytes_max);
}

static int save(const struct mr_registry *registry, const struct mr_datadir *home, struct millrace_error *err)
{
    json_t *topics = json_array();
    for (const struct mr_topic *topic = registry->topics; topic != NULL; topic = topic->next)
        json_array_append_new(topics, topic_json(topic));
    json_t *root = json_pack("{s:i, s:I, s:o}", "version", FORMAT_VERSION, "generation", (json_int_t)registry->generation, "topics", topics);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL)
        return mr_err(err, ENOMEM, "no memory to write topics.json");
    int rc = mr_datadir_replace(home, "topics.json", text, strlen(text), 0600, err);
    free(text);
    return rc;
}

static int load_topic(struct mr_registry *registry, const json_t *item, const struct mr_node_config *config, uint32_t reactor_count)
{
    const char *name, *id_text, *durability;
    int partitions;
    json_int_t segment, retention, message;
    struct mr_topic_config topic_config = config->topic;
    struct mr_uuid id;
    struct millrace_error err;

    if (json_unpack((json_t *)(uintptr_t)item, "{s:s, s:s, s:i, s:s, s:I, s:I, s:I}", "name", &name, "id", &id_text, "partitions", &partitions, "durability",
                    &durability, "segment.bytes", &segment, "retention.bytes", &retention, "max.message.bytes", &message) != 0 ||
        !mr_uuid_parse(id_text, &id) || partitions < 1 || partitions > (int)MR_PARTITIONS_MAX || mr_topic_name_check(name, &err) != 0)
        return -EBADMSG;
    topic_config.durability = strcmp(durability, "leader") == 0 ? MR_DURABILITY_LEADER : MR_DURABILITY_DISK;
    topic_config.segment_bytes = segment;
    topic_config.retention_bytes = retention;
    topic_config.message_bytes_max = message;
    struct mr_topic *topic = mr_topic_new(name, &id, (uint32_t)partitions, &topic_config);
    if (topic == NULL)
        return -ENOMEM;
    place(topic, config, reactor_count);
    mr_partition_dirs_find(topic, config); /* where it lies, whatever log.dirs would now say */
    topic->next = registry->topics;
    registry->topics = topic;
    registry->topic_count++;
    registry->partition_count += topic->partition_count;
    return 0;
}

int mr_registry_open(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                     struct millrace_error *err)
{
    char *text = NULL;
    memset(registry, 0, sizeof *registry);
    int64_t bytes = mr_datadir_read(home, "topics.json", &text, err);
    if (bytes < 0 && bytes != -ENOENT)
        return (int)bytes;
    if (bytes >= 0) {
        json_error_t where;
        json_t *root = json_loads(text, 0, &where);
        int rc = root == NULL || json_integer_value(json_object_get(root, "version")) != FORMAT_VERSION ? -EBADMSG : 0;
        registry->generation = (uint64_t)json_integer_value(json_object_get(root, "generation"));
        size_t index;
        json_t *item;
        json_array_foreach(json_object_get(root, "topics"), index, item)
            if (rc == 0)
                rc = load_topic(registry, item, config, reactor_count);
        json_decref(root);
        free(text);
        if (rc != 0)
            return mr_err(err, -rc, "'%s/topics.json' is damaged or of another version: put back a copy, or move the data directory away", home->path);
    }
    registry->generation++;
    return save(registry, home, err);
}

struct mr_topic *mr_registry_find(const struct mr_registry *registry, const char *name)
{
    struct mr_topic *topic = registry->topics;
    while (topic != NULL && strcmp(topic->name, name) != 0)
        topic = topic->next;
    return topic;
}

static int parse_config(struct mr_topic_config *topic, const struct mr_node_config *config, const char *text, struct millrace_error *err)
{
    char line[sizeof((struct mr_message_topic_create *)0)->config];
    *topic = config->topic;
    for (const char *at = text; *at != '\0';) {
        size_t bytes = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)bytes, at);
        at += bytes + (at[bytes] == '\n');
        char *equals = strchr(line, '=');
        if (line[0] == '\0')
            continue;
        if (equals == NULL)
            return mr_err(err, EINVAL, "topic config '%s' is not of the form key=value", line);
        *equals = '\0';
        int rc = mr_topic_config_set(topic, line, equals + 1, err);
        if (rc != 0)
            return rc;
    }
    return mr_topic_config_check(topic, config, err);
}

int mr_registry_create(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                       const char *name, uint32_t partition_count, const char *config_text, struct mr_topic **out, struct millrace_error *err)
{
    struct mr_topic_config topic_config;
    struct mr_uuid id;

    int rc = mr_topic_name_check(name, err);
    if (rc == 0)
        rc = parse_config(&topic_config, config, config_text, err);
    if (rc != 0)
        return rc;
    if (partition_count == 0)
        partition_count = (uint32_t)config->partitions_default;
    if (partition_count > MR_PARTITIONS_MAX)
        return mr_err(err, EINVAL, "topic '%s': %u partitions are more than %u", name, partition_count, MR_PARTITIONS_MAX);
    if (mr_registry_find(registry, name) != NULL)
        return mr_err(err, EEXIST, "topic '%s' exists already: millrace topic list", name);
    if (mr_uuid_random(&id) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    struct mr_topic *topic = mr_topic_new(name, &id, partition_count, &topic_config);
    if (topic == NULL)
        return mr_err(err, ENOMEM, "no memory for topic '%s'", name);
    place(topic, config, reactor_count);
    rc = mr_partition_dirs_make(topic, config, err);
    if (rc != 0)
        mr_partition_dirs_remove(topic, config);
    topic->next = registry->topics;
    registry->topics = topic;
    if (rc == 0)
        rc = save(registry, home, err);
    if (rc != 0) {
        registry->topics = topic->next;
        free(topic->partitions);
        free(topic->slots.piece);
        free(topic);
        return rc;
    }
    registry->topic_count++;
    registry->partition_count += partition_count;
    *out = topic;
    return 0;
}

int mr_registry_discard(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                        struct millrace_error *err)
{
    struct mr_topic **at = &registry->topics;
    while (*at != topic)
        at = &(*at)->next;
    *at = topic->next;
    int rc = save(registry, home, err);
    if (rc != 0) {
        *at = topic;
        return rc;
    }
    mr_partition_dirs_remove(topic, config);
    registry->topic_count--;
    registry->partition_count -= topic->partition_count;
    free(topic->partitions);
    free(topic->slots.piece);
    free(topic->slots.free);
    free(topic);
    return 0;
}

void mr_registry_release(struct mr_registry *registry)
{
    while (registry->topics != NULL) {
        struct mr_topic *topic = registry->topics;
        registry->topics = topic->next;
        free(topic->partitions);
        free(topic->slots.piece);
        free(topic->slots.free);
        free(topic);
    }
}

char *mr_registry_json(const struct mr_registry *registry)
{
    json_t *topics = json_array();
    for (const struct mr_topic *topic = registry->topics; topic != NULL; topic = topic->next)
        json_array_insert_new(topics, 0, topic_json(topic));
    char *text = json_dumps(topics, 0);
    json_decref(topics);
    return text;
}
