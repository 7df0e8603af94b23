/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mr_topic_head_name(const struct mr_uuid *id, char *name)
{
    char text[33];
    mr_uuid_text(id, text);
    snprintf(name, 80, "head.%s", text);
}

void mr_topic_slots_name(const struct mr_uuid *id, char *name)
{
    char text[33];
    mr_uuid_text(id, text);
    snprintf(name, 80, "slots.%s", text);
}

void mr_topic_extent_name(const struct mr_uuid *id, uint32_t partition, uint32_t file_id, char *name)
{
    char text[33];
    mr_uuid_text(id, text);
    snprintf(name, 80, "extent.%s.%u.%u", text, partition, file_id);
}

int mr_topic_grow(struct mr_topic *topic, uint32_t partition_count)
{
    uint32_t before = topic->partition_count;
    struct mr_topic_partition **grown = realloc(topic->partitions, partition_count * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    topic->partitions = grown;
    for (uint32_t p = before; p < partition_count; p++) {
        struct mr_topic_partition *partition = aligned_alloc(MR_CACHE_LINE, sizeof *partition);
        if (partition == NULL) {
            mr_topic_shrink(topic, before);
            return -ENOMEM;
        }
        memset(partition, 0, sizeof *partition);
        partition->topic = topic;
        partition->index = p;
        partition->next_file_id = 1;
        topic->partitions[p] = partition;
        topic->partition_count = p + 1;
    }
    return 0;
}

void mr_topic_shrink(struct mr_topic *topic, uint32_t partition_count)
{
    while (topic->partition_count > partition_count)
        free(topic->partitions[--topic->partition_count]);
}

struct mr_topic *mr_topic_new(const char *name, const struct mr_uuid *id, uint32_t partition_count, const struct mr_topic_config *config,
                              const char *lines)
{
    struct mr_topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL)
        return NULL;
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->id = *id;
    topic->config = *config;
    topic->slots_fd = -1;
    topic->head_file.read_fd = -1;
    topic->slots.piece = calloc(MR_SLOT_PIECES_MAX, sizeof *topic->slots.piece);
    topic->lines = strdup(lines);
    if (topic->slots.piece == NULL || topic->lines == NULL || mr_topic_grow(topic, partition_count) != 0) {
        mr_topic_free(topic);
        return NULL;
    }
    return topic;
}

void mr_topic_free(struct mr_topic *topic)
{
    mr_topic_shrink(topic, 0);
    free(topic->partitions);
    free(topic->slots.piece);
    free(topic->slots.free);
    free(topic->lines);
    free(topic);
}
