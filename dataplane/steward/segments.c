/* SPDX-License-Identifier: Apache-2.0 */
/* Segment files: `<log dir>/<topic>-<partition>/<20 digits>.log` and `.sidecar`. A file is durable, with its name, before the log is told
 * of it (RELIABILITY.md D4). */
#include "dataplane/steward/steward_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/log/recover.h"
#include "shm/base/logging.h"
#include "shm/segment/sidecar.h"

void mr_partition_path(const struct mr_node_config *config, const struct mr_topic_partition *partition, char *path)
{
    snprintf(path, MR_STEWARD_PATH_MAX, "%s/%s-%u", config->log_dirs.item[partition->directory], partition->topic->name, partition->index);
}

void steward_segment_path(struct mr_steward *steward, const struct mr_topic_partition *partition, uint64_t base_offset, const char *suffix, char *path)
{
    char directory[MR_STEWARD_PATH_MAX];
    mr_partition_path(steward->options.config, partition, directory);
    snprintf(path, MR_STEWARD_PATH_MAX, "%.1000s/%020llu%s", directory, (unsigned long long)base_offset, suffix);
}

static void fail(struct mr_steward *steward, struct mr_topic_partition *partition, uint64_t base_offset, int rc, const char *what, bool wrote)
{
    /* Nothing was written when a file or its blocks could not be had: that is no reason to take a disk out of service. */
    if (rc == -EMFILE || rc == -ENFILE || (!wrote && (rc == -ENOMEM || rc == -EDQUOT))) {
        if (!steward->said_space)
            mr_say_error("%s-%u: cannot %s segment %llu: %s; %s", partition->topic->name, partition->index, what, (unsigned long long)base_offset,
                         strerror(-rc), rc == -EDQUOT ? "raise the quota: produce is refused until then"
                                                      : "raise the limit of open files (ulimit -n) or free memory: produce is refused until then");
        steward->said_space = true;
        rc = -ENOSPC;
    }
    struct mr_log_event event = {
        .kind = MR_LOG_EVENT_SEGMENT_FAILED, .partition = partition->log, .base_offset = base_offset, .result = rc};
    if (rc != -ENOSPC || !steward->said_space)
        mr_say_error("%s-%u: cannot %s segment %llu: %s; %s", partition->topic->name, partition->index, what, (unsigned long long)base_offset,
                     strerror(-rc), rc == -ENOSPC ? "free space in the log directory: produce is refused until then" : "the log directory goes offline");
    if (rc == -ENOSPC)
        steward->said_space = true;
    steward_answer(steward, partition, &event);
}

static struct mr_segment_files *find(struct mr_topic_partition *partition, uint64_t base_offset)
{
    struct mr_segment_files *files = partition->segments;
    while (files != NULL && files->base_offset != base_offset)
        files = files->next;
    return files;
}

static void forget(struct mr_steward *steward, struct mr_topic_partition *partition, uint64_t base_offset)
{
    for (struct mr_segment_files **at = &partition->segments; *at != NULL; at = &(*at)->next) {
        struct mr_segment_files *files = *at;
        if (files->base_offset != base_offset)
            continue;
        *at = files->next;
        mr_disk_close(steward->options.disk, files->file);
        mr_disk_close(steward->options.disk, files->side_file);
        free(files);
        return;
    }
}

void steward_rest_segment(struct mr_steward *steward, struct mr_topic_partition *partition, uint64_t base_offset)
{
    forget(steward, partition, base_offset);
}

/* A file that is there already is opened: recovery leaves the tail's, and a dead daemon may have made the next one ahead. But never one that
 * by its sidecar is of another topic, partition or segment. */
static int check_owner(struct mr_disk *disk, const struct mr_topic_partition *partition, uint64_t base_offset, const char *side_path)
{
    struct mr_sidecar_header header;
    uint8_t bytes[MR_SIDECAR_HEADER_BYTES];
    int file = mr_disk_open(disk, side_path, MR_DISK_READ_ONLY, NULL);
    if (file < 0)
        return file == -ENOENT ? 0 : file;
    int64_t n = mr_disk_read(disk, file, bytes, sizeof bytes, 0);
    mr_disk_close(disk, file);
    if (n != (int64_t)sizeof bytes || mr_sidecar_header_check(bytes, &header) != 0)
        return n < 0 ? (int)n : 0; /* not written yet */
    return mr_sidecar_header_is_of(&header, &partition->topic->id, partition->index, base_offset) ? 0 : -EEXIST;
}

/* Both: a write that fails for want of space would take the log directory offline. */
static int allocate(struct mr_steward *steward, const struct mr_segment_files *files, const struct mr_log_action *action)
{
    struct mr_disk *disk = steward->options.disk;
    int rc = mr_disk_allocate(disk, files->file, 0, mr_align_up(action->bytes, MR_BLOCK_BYTES));
    if (rc == 0)
        rc = mr_disk_allocate(disk, files->side_file, 0, mr_align_up(action->side_bytes, MR_BLOCK_BYTES));
    if (rc == 0)
        rc = mr_disk_sync(disk, files->file);
    if (rc == 0)
        rc = mr_disk_sync(disk, files->side_file);
    return rc;
}

static void announce(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_segment_files *files, uint64_t bytes)
{
    struct mr_log_event event = {.kind = MR_LOG_EVENT_SEGMENT, .partition = partition->log, .base_offset = files->base_offset,
                                 .file = files->file, .side_file = files->side_file, .allocated_bytes = bytes};
    steward_answer(steward, partition, &event);
}

void steward_make_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    struct mr_disk *disk = steward->options.disk;
    struct millrace_error err;
    char path[MR_STEWARD_PATH_MAX], side_path[MR_STEWARD_PATH_MAX], directory[MR_STEWARD_PATH_MAX];
    uint64_t bytes = mr_align_up(action->bytes, MR_BLOCK_BYTES);

    struct mr_segment_files *files = calloc(1, sizeof *files);
    steward_segment_path(steward, partition, action->base_offset, ".log", path);
    steward_segment_path(steward, partition, action->base_offset, ".sidecar", side_path);
    int rc = files == NULL ? -ENOMEM : check_owner(disk, partition, action->base_offset, side_path);
    if (rc != 0) {
        free(files);
        fail(steward, partition, action->base_offset, rc, rc == -EEXIST ? "write over files of another topic as" : "open", false);
        return;
    }
    mr_partition_path(steward->options.config, partition, directory);
    files->base_offset = action->base_offset;
    files->file = mr_disk_open(disk, path, MR_DISK_CREATE | MR_DISK_DIRECT, &err);
    files->side_file = files->file < 0 ? -1 : mr_disk_open(disk, side_path, MR_DISK_CREATE | MR_DISK_DIRECT, &err);
    if (files->side_file < 0)
        rc = files->file < 0 ? files->file : files->side_file;
    if (rc == 0)
        rc = allocate(steward, files, action);
    if (rc == 0)
        rc = mr_disk_sync_directory(disk, directory);
    if (rc != 0) {
        if (files->file >= 0)
            mr_disk_close(disk, files->file);
        if (files->side_file >= 0)
            mr_disk_close(disk, files->side_file);
        free(files);
        fail(steward, partition, action->base_offset, rc, "create", false);
        return;
    }
    files->next = partition->segments;
    partition->segments = files;
    announce(steward, partition, files, bytes);
}

void steward_allocate_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    struct mr_segment_files *files = find(partition, action->base_offset);
    uint64_t bytes = mr_align_up(action->bytes, MR_BLOCK_BYTES);
    mr_assert(files != NULL);
    int rc = allocate(steward, files, action);
    if (rc != 0)
        fail(steward, partition, action->base_offset, rc, "allocate", false);
    else
        announce(steward, partition, files, bytes);
}

void steward_forget(struct mr_steward *steward, struct mr_topic_partition *partition)
{
    struct mr_steward_notice notice = {.kind = MR_STEWARD_FORGOTTEN, .partition = partition};
    while (partition->segments != NULL)
        forget(steward, partition, partition->segments->base_offset);
    if (++partition->topic->slots.forgotten == partition->topic->partition_count)
        steward_release_slots(steward, partition->topic);
    steward_notify(steward, &notice);
}

void steward_close_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    struct mr_disk *disk = steward->options.disk;
    struct mr_segment_files *files = find(partition, action->base_offset);
    char directory[MR_STEWARD_PATH_MAX];
    mr_assert(files != NULL);
    struct millrace_error err;
    mr_partition_path(steward->options.config, partition, directory);
    int rc = mr_segment_cut(disk, directory, action->base_offset, action->bytes, action->side_bytes, &err);
    steward_attend(steward);
    if (rc == 0)
        steward_write_shortcuts(steward, partition, action);
    steward_attend(steward);
    if (rc == 0)
        rc = mr_disk_sync_directory(disk, directory);
    if (rc != 0) {
        fail(steward, partition, action->base_offset, rc, "close", true);
        return;
    }
    forget(steward, partition, action->base_offset);
    struct mr_log_event event = {.kind = MR_LOG_EVENT_SEGMENT_CLOSED, .partition = partition->log, .base_offset = action->base_offset};
    steward_answer(steward, partition, &event);
}

void steward_delete_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action)
{
    static const char *const suffixes[] = {".log", ".sidecar", ".cut", ".snapshot", ".index", ".timeindex"};
    char path[MR_STEWARD_PATH_MAX];
    forget(steward, partition, action->base_offset);
    for (uint32_t i = 0; i < MR_COUNT_OF(suffixes); i++) {
        steward_attend(steward);
        steward_segment_path(steward, partition, action->base_offset, suffixes[i], path);
        int rc = mr_disk_unlink(steward->options.disk, path);
        if (rc != 0 && rc != -ENOENT)
            mr_say_warn("cannot delete '%s': %s; remove it by hand", path, strerror(-rc));
    }
}
