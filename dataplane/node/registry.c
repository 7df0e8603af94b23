/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/registry.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/node/partition_dirs.h"

#define FORMAT_VERSION 2 /* 1: all values of each topic as they were when it was made, instead of its own lines */
#define SLOT_BYTES     (32u << 10)

static const char *durability_word(uint32_t durability)
{
    return durability == MR_DURABILITY_LEADER ? "leader" : "disk";
}

/* Spread: neighbours in a topic on different reactors and directories, topics begin at different ones. */
static void place(struct mr_topic *topic, uint32_t first, const struct mr_node_config *config, uint32_t reactor_count)
{
    uint32_t start;
    memcpy(&start, topic->id.bytes, sizeof start);
    for (uint32_t p = first; p < topic->partition_count; p++) {
        topic->partitions[p]->reactor = (start + p) % reactor_count;
        topic->partitions[p]->directory = (start + p) % config->log_dirs.count;
    }
}

static void set_sizes(struct mr_topic *topic, const struct mr_node_config *config)
{
    topic->slot_bytes = SLOT_BYTES;
    topic->extent_bytes = (uint32_t)config->extent_bytes;
}

/* @param shown for people: with what it has by its own lines and the node's, else what is stored */
static json_t *topic_json(const struct mr_topic *topic, bool shown)
{
    char id[MR_UUID_CHARS + 1];
    mr_uuid_text(&topic->id, id);
    json_t *item = json_pack("{s:s, s:s, s:i, s:s}", "name", topic->name, "id", id, "partitions", (int)topic->partition_count, "config", topic->lines);
    if (item != NULL && shown)
        json_object_update_new(item, json_pack("{s:s, s:I, s:I, s:I, s:I}", "durability", durability_word(topic->config.durability), "segment.bytes",
                                               (json_int_t)topic->config.segment_bytes, "retention.bytes", (json_int_t)topic->config.retention_bytes,
                                               "max.message.bytes", (json_int_t)topic->config.message_bytes_max, "retention.ms",
                                               (json_int_t)topic->config.retention_ms));
    return item;
}

static int save(const struct mr_registry *registry, const struct mr_datadir *home, struct millrace_error *err)
{
    json_t *topics = json_array();
    for (const struct mr_topic *topic = registry->topics; topic != NULL; topic = topic->next)
        json_array_append_new(topics, topic_json(topic, false));
    json_t *root = json_pack("{s:i, s:I, s:o}", "version", FORMAT_VERSION, "generation", (json_int_t)registry->generation, "topics", topics);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL)
        return mr_err(err, ENOMEM, "no memory to write topics.json");
    int rc = mr_datadir_replace(home, "topics.json", text, strlen(text), 0600, err);
    free(text);
    return rc;
}

/* Version 1 had no lines: what it names is the topic's own. */
static int lines_of_1(const json_t *item, char lines[MR_TOPIC_CONFIG_BYTES])
{
    const char *durability;
    json_int_t segment, retention, message;
    if (json_unpack((json_t *)(uintptr_t)item, "{s:s, s:I, s:I, s:I}", "durability", &durability, "segment.bytes", &segment, "retention.bytes", &retention,
                    "max.message.bytes", &message) != 0)
        return -EBADMSG;
    snprintf(lines, MR_TOPIC_CONFIG_BYTES, "millrace.durability=%s\nsegment.bytes=%lld\nretention.bytes=%lld\nmax.message.bytes=%lld\n", durability,
             (long long)segment, (long long)retention, (long long)message);
    return 0;
}

static void add(struct mr_registry *registry, struct mr_topic *topic)
{
    topic->next = registry->topics;
    registry->topics = topic;
    registry->topic_count++;
    registry->partition_count += topic->partition_count;
}

static void take_out(struct mr_registry *registry, struct mr_topic *topic)
{
    struct mr_topic **at = &registry->topics;
    while (*at != topic)
        at = &(*at)->next;
    *at = topic->next;
    registry->topic_count--;
    registry->partition_count -= topic->partition_count;
}

/* @return 0; -EBADMSG: the file is damaged; -EINVAL with a message: what it says no longer fits the node's configuration; -ENOMEM */
static int load_topic(struct mr_registry *registry, const json_t *item, int64_t version, const struct mr_node_config *config, uint32_t reactor_count,
                      struct millrace_error *err)
{
    const char *name, *id_text, *lines = NULL;
    char old_lines[MR_TOPIC_CONFIG_BYTES];
    int partitions;
    struct mr_topic_config topic_config;
    struct mr_uuid id;
    struct millrace_error why;

    if (json_unpack((json_t *)(uintptr_t)item, "{s:s, s:s, s:i, s?s}", "name", &name, "id", &id_text, "partitions", &partitions, "config", &lines) != 0 ||
        !mr_uuid_parse(id_text, &id) || partitions < 1 || partitions > (int)MR_PARTITIONS_MAX || mr_topic_name_check(name, &why) != 0)
        return -EBADMSG;
    if (version == 1) {
        if (lines_of_1(item, old_lines) != 0)
            return -EBADMSG;
        lines = old_lines;
    }
    if (lines == NULL || strlen(lines) >= MR_TOPIC_CONFIG_BYTES)
        return -EBADMSG;
    int rc = mr_topic_config_parse(&topic_config, config, lines, &why);
    if (rc != 0)
        return mr_err(err, -rc, "topic '%s': %s", name, why.text);
    struct mr_topic *topic = mr_topic_new(name, &id, (uint32_t)partitions, &topic_config, lines);
    if (topic == NULL)
        return -ENOMEM;
    set_sizes(topic, config);
    place(topic, 0, config, reactor_count);
    mr_partition_dirs_find(topic, config); /* where it lies, whatever log.dirs would now say */
    add(registry, topic);
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
        int64_t version = root != NULL ? json_integer_value(json_object_get(root, "version")) : 0;
        int rc = version < 1 || version > FORMAT_VERSION ? -EBADMSG : 0;
        registry->generation = (uint64_t)json_integer_value(json_object_get(root, "generation"));
        size_t index;
        json_t *item;
        json_array_foreach(json_object_get(root, "topics"), index, item)
            if (rc == 0)
                rc = load_topic(registry, item, version, config, reactor_count, err);
        json_decref(root);
        free(text);
        if (rc == -EINVAL)
            return rc;
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

struct mr_topic *mr_registry_find_id(const struct mr_registry *registry, const struct mr_uuid *id)
{
    struct mr_topic *topic = registry->topics;
    while (topic != NULL && !mr_uuid_equal(&topic->id, id))
        topic = topic->next;
    return topic;
}

int mr_registry_create(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                       const struct mr_desired *desired, struct mr_topic **out, struct millrace_error *err)
{
    struct mr_topic_config topic_config;
    const char *name = desired->name;

    int rc = mr_topic_name_check(name, err);
    if (rc == 0)
        rc = mr_topic_config_parse(&topic_config, config, desired->config, err);
    if (rc != 0)
        return rc;
    if (desired->partition_count == 0 || desired->partition_count > MR_PARTITIONS_MAX)
        return mr_err(err, EINVAL, "topic '%s': %u partitions; allowed are 1 to %u", name, desired->partition_count, MR_PARTITIONS_MAX);
    if (mr_registry_find(registry, name) != NULL)
        return mr_err(err, EEXIST, "topic '%s' is here under another id, made before the control process knew it", name);
    struct mr_topic *topic = mr_topic_new(name, &desired->topic_id, desired->partition_count, &topic_config, desired->config);
    if (topic == NULL)
        return mr_err(err, ENOMEM, "no memory for topic '%s'", name);
    set_sizes(topic, config);
    place(topic, 0, config, reactor_count);
    rc = mr_partition_dirs_make(topic, 0, config, err);
    if (rc != 0)
        mr_partition_dirs_remove(topic, 0, config);
    add(registry, topic);
    if (rc == 0)
        rc = save(registry, home, err);
    if (rc != 0) {
        take_out(registry, topic);
        mr_topic_free(topic);
        return rc;
    }
    *out = topic;
    return 0;
}

int mr_registry_alter(struct mr_registry *registry, const struct mr_datadir *home, struct mr_topic *topic, const char *lines, struct millrace_error *err)
{
    char *before = topic->lines;
    topic->lines = strdup(lines);
    int rc = topic->lines == NULL ? mr_err(err, ENOMEM, "no memory for the configuration of topic '%s'", topic->name) : save(registry, home, err);
    if (rc != 0) {
        free(topic->lines);
        topic->lines = before;
        return rc;
    }
    free(before);
    return 0;
}

int mr_registry_grow(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, uint32_t reactor_count,
                     struct mr_topic *topic, uint32_t partition_count, struct millrace_error *err)
{
    uint32_t before = topic->partition_count;
    if (partition_count > MR_PARTITIONS_MAX || mr_topic_grow(topic, partition_count) != 0)
        return mr_err(err, ENOMEM, "no memory for %u partitions of topic '%s'", partition_count, topic->name);
    place(topic, before, config, reactor_count);
    int rc = mr_partition_dirs_make(topic, before, config, err);
    if (rc == 0)
        rc = save(registry, home, err);
    if (rc != 0) {
        mr_partition_dirs_remove(topic, before, config);
        mr_topic_shrink(topic, before);
        return rc;
    }
    registry->partition_count += partition_count - before;
    return 0;
}

int mr_registry_remove(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                       struct millrace_error *err)
{
    int rc = mr_partition_dirs_trash(topic, config, err);
    if (rc != 0)
        return rc;
    take_out(registry, topic);
    rc = save(registry, home, err);
    if (rc != 0)
        add(registry, topic);
    return rc;
}

int mr_registry_discard(struct mr_registry *registry, const struct mr_datadir *home, const struct mr_node_config *config, struct mr_topic *topic,
                        struct millrace_error *err)
{
    take_out(registry, topic);
    int rc = save(registry, home, err);
    if (rc != 0) {
        add(registry, topic);
        return rc;
    }
    mr_partition_dirs_remove(topic, 0, config);
    mr_topic_free(topic);
    return 0;
}

void mr_registry_release(struct mr_registry *registry)
{
    while (registry->topics != NULL) {
        struct mr_topic *topic = registry->topics;
        registry->topics = topic->next;
        mr_topic_free(topic);
    }
}

char *mr_registry_json(const struct mr_registry *registry)
{
    json_t *topics = json_array();
    for (const struct mr_topic *topic = registry->topics; topic != NULL; topic = topic->next)
        json_array_insert_new(topics, 0, topic_json(topic, true));
    char *text = json_dumps(topics, 0);
    json_decref(topics);
    return text;
}

char *mr_registry_describe(const struct mr_topic *topic, const struct mr_node_config *config)
{
    json_t *item = topic_json(topic, true), *partitions = json_array();
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        const struct mr_topic_partition *partition = topic->partitions[p];
        const struct mr_head_partition *head = partition->head;
        bool online = head != NULL && mr_load_relaxed(&head->state) == MR_PARTITION_ONLINE;
        json_t *one = json_pack("{s:i, s:s, s:i, s:s, s:I, s:I, s:I, s:I}", "partition", (int)p, "state", online ? "online" : "offline", "reactor",
                                (int)partition->reactor, "directory", config->log_dirs.item[partition->directory], "log.start",
                                (json_int_t)(head != NULL ? mr_load_relaxed(&head->log_start) : 0), "committed",
                                (json_int_t)(head != NULL ? mr_load_relaxed(&head->visible) : 0), "durable",
                                (json_int_t)(head != NULL ? mr_load_relaxed(&head->durable) : 0), "log.end",
                                (json_int_t)(head != NULL ? mr_load_relaxed(&head->log_end) : 0));
        json_array_append_new(partitions, one);
    }
    json_object_set_new(item, "log", partitions);
    char *text = item != NULL ? json_dumps(item, 0) : NULL;
    json_decref(item);
    return text;
}
