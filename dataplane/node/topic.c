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

struct mr_topic *mr_topic_new(const char *name, const struct mr_uuid *id, uint32_t partition_count, const struct mr_topic_config *config,
                              const char *lines)
{
    struct mr_topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL)
        return NULL;
    topic->partitions = aligned_alloc(MR_CACHE_LINE, partition_count * sizeof *topic->partitions);
    topic->slots.piece = calloc(MR_SLOT_PIECES_MAX, sizeof *topic->slots.piece);
    topic->lines = strdup(lines);
    if (topic->partitions == NULL || topic->slots.piece == NULL || topic->lines == NULL) {
        mr_topic_free(topic);
        return NULL;
    }
    memset(topic->partitions, 0, partition_count * sizeof *topic->partitions);
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->id = *id;
    topic->config = *config;
    topic->partition_count = partition_count;
    topic->slots_fd = -1;
    for (uint32_t p = 0; p < partition_count; p++) {
        topic->partitions[p].topic = topic;
        topic->partitions[p].index = p;
        topic->partitions[p].next_file_id = 1;
    }
    return topic;
}

void mr_topic_free(struct mr_topic *topic)
{
    free(topic->partitions);
    free(topic->slots.piece);
    free(topic->slots.free);
    free(topic->lines);
    free(topic);
}
