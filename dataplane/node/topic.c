/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node/topic.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mr_uuid_text(const struct mr_uuid *id, char *text)
{
    for (uint32_t i = 0; i < sizeof id->bytes; i++)
        sprintf(text + 2 * i, "%02x", id->bytes[i]);
}

bool mr_uuid_parse(const char *text, struct mr_uuid *id)
{
    if (text == NULL || strlen(text) != 2 * sizeof id->bytes)
        return false;
    for (uint32_t i = 0; i < sizeof id->bytes; i++) {
        unsigned value;
        if (!isxdigit((unsigned char)text[2 * i]) || !isxdigit((unsigned char)text[2 * i + 1]) || sscanf(text + 2 * i, "%2x", &value) != 1)
            return false;
        id->bytes[i] = (uint8_t)value;
    }
    return true;
}

bool mr_uuid_equal(const struct mr_uuid *a, const struct mr_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

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

int mr_topic_name_check(const char *name, struct millrace_error *err)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > MR_TOPIC_NAME_MAX)
        return mr_err(err, EINVAL, "topic name '%.40s%s' has %zu characters, allowed are 1 to %d", name, bytes > 40 ? "..." : "", bytes,
                      MR_TOPIC_NAME_MAX);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return mr_err(err, EINVAL, "topic name '%s' is not allowed", name);
    for (const char *at = name; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && *at != '.' && *at != '_' && *at != '-')
            return mr_err(err, EINVAL, "topic name '%s' has '%c'; allowed are ASCII letters, digits, '.', '_' and '-'", name, *at);
    return 0;
}

struct mr_topic *mr_topic_new(const char *name, const struct mr_uuid *id, uint32_t partition_count, const struct mr_topic_config *config)
{
    struct mr_topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL)
        return NULL;
    topic->partitions = aligned_alloc(MR_CACHE_LINE, partition_count * sizeof *topic->partitions);
    topic->slots.piece = calloc(MR_SLOT_PIECES_MAX, sizeof *topic->slots.piece);
    if (topic->partitions == NULL || topic->slots.piece == NULL) {
        free(topic->partitions);
        free(topic->slots.piece);
        free(topic);
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
