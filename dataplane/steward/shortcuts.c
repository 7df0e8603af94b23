/* SPDX-License-Identifier: Apache-2.0 */
/* What is written beside a segment when it is closed, so that others need not read all of it: the state of producers at its end, for the next start,
 * and its two indexes, for who seeks. Without them they read; so a failure is said, and nothing else. Each is a temporary file until it is whole and
 * durable (RELIABILITY.md D8); the directory is synced by the caller. */
#include "dataplane/steward/steward_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/logging.h"
#include "shm/segment/checkpoint.h"
#include "shm/segment/index.h"

static int replace(struct mr_disk *disk, const char *path, const uint8_t *bytes, size_t size)
{
    struct millrace_error err;
    char temporary[MR_STEWARD_PATH_MAX + 4];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int file = mr_disk_open(disk, temporary, MR_DISK_CREATE, &err);
    int rc = file < 0 ? file : 0;
    if (rc == 0 && mr_disk_write(disk, file, bytes, size, 0) != (int64_t)size)
        rc = -EIO;
    if (rc == 0)
        rc = mr_disk_sync(disk, file);
    if (file >= 0)
        mr_disk_close(disk, file);
    return rc == 0 ? mr_disk_rename(disk, temporary, path) : rc;
}

/* Kafka's producer snapshot beside the next segment: the state of producers before its first offset. */
static int write_snapshot(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    char path[MR_STEWARD_PATH_MAX];
    size_t bytes = mr_snapshot_bytes(action->producer_count);
    uint8_t *buffer = malloc(bytes);
    struct mr_snapshot_producer *producers = calloc(action->producer_count + 1u, sizeof *producers);
    int rc = buffer == NULL || producers == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        for (uint32_t i = 0; i < action->producer_count; i++) {
            producers[i].producer_id = action->producers[i].producer_id;
            producers[i].epoch = action->producers[i].epoch;
            producers[i].last_sequence = action->producers[i].last_sequence;
            producers[i].last_offset = action->producers[i].last_offset;
            producers[i].timestamp_ms = action->producers[i].active_ms;
            producers[i].coordinator_epoch = -1;
            producers[i].transaction_first_offset = -1;
        }
        int64_t encoded = mr_snapshot_encode(producers, action->producer_count, buffer, bytes);
        mr_assert(encoded == (int64_t)bytes);
        steward_segment_path(steward, partition, action->next_offset, ".snapshot", path);
        rc = replace(steward->options.disk, path, buffer, bytes);
    }
    free(buffer);
    free(producers);
    return rc;
}

static int write_indexes(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    char path[MR_STEWARD_PATH_MAX];
    uint8_t *buffer = malloc((size_t)action->index_count * MR_TIME_INDEX_ENTRY_BYTES);
    if (buffer == NULL)
        return -ENOMEM;
    size_t bytes = mr_index_encode(action->index, action->index_count, action->base_offset, buffer);
    steward_segment_path(steward, partition, action->base_offset, ".index", path);
    int rc = replace(steward->options.disk, path, buffer, bytes);
    if (rc == 0) {
        bytes = mr_time_index_encode(action->index, action->index_count, action->base_offset, buffer);
        steward_segment_path(steward, partition, action->base_offset, ".timeindex", path);
        rc = replace(steward->options.disk, path, buffer, bytes);
    }
    free(buffer);
    return rc;
}

void steward_write_shortcuts(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    int rc = action->producer_count > 0 ? write_snapshot(steward, partition, action) : 0;
    if (rc != 0)
        mr_say_warn("%s-%u: no producer snapshot at %llu: %s", partition->topic->name, partition->index, (unsigned long long)action->next_offset,
                    strerror(-rc));
    steward_attend(steward);
    rc = action->index_count > 0 ? write_indexes(steward, partition, action) : 0;
    if (rc != 0)
        mr_say_warn("%s-%u: no indexes of segment %llu: %s", partition->topic->name, partition->index, (unsigned long long)action->base_offset,
                    strerror(-rc));
}
