/* SPDX-License-Identifier: Apache-2.0 */
/* Make the files what the walk found valid, and nothing more: what only the journal held is written in place, what is behind is cut off,
 * all of it is synced. It can be broken off anywhere and started over from the same journals: it only writes bytes that they hold. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (256u << 10)

/** Bytes of the view that the file does not hold. */
static int write_ranges(struct mr_disk *disk, int file, const struct mr_view *view, uint64_t end)
{
    uint8_t *there = malloc(CHUNK_BYTES);
    int rc = there == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; rc == 0 && i < view->range_count; i++) {
        const struct mr_overlay_range *range = &view->range[i];
        uint64_t range_end = mr_min_u64(range->position + range->bytes, end);
        for (uint64_t at = range->position; rc == 0 && at < range_end;) {
            uint64_t bytes = mr_min_u64(CHUNK_BYTES, range_end - at), got = 0;
            const uint8_t *right = range->memory + (at - range->position);
            rc = mr_recover_read(disk, file, there, bytes, at, &got);
            if (rc == 0 && (got < bytes || memcmp(there, right, bytes) != 0)) {
                int64_t n = mr_disk_write(disk, file, right, bytes, at);
                rc = n < 0 ? (int)n : 0;
            }
            at += bytes;
        }
    }
    free(there);
    return rc;
}

static int settle_stream(struct mr_disk *disk, const char *path, const struct mr_view *view, uint64_t end, struct millrace_error *err)
{
    int file = mr_disk_open(disk, path, MR_DISK_CREATE, err);
    if (file < 0)
        return file;
    int64_t size = mr_disk_size(disk, file);
    int rc = size < 0 ? (int)size : write_ranges(disk, file, view, end);
    if (rc == 0)
        size = mr_disk_size(disk, file);
    if (rc == 0 && size != (int64_t)end)
        rc = mr_disk_truncate(disk, file, end);
    /* Always: after a mere kill, bytes that are only in the page cache were found valid. */
    if (rc == 0)
        rc = mr_disk_sync(disk, file);
    int closed = mr_disk_close(disk, file);
    if (rc == 0)
        rc = closed;
    if (rc != 0)
        return mr_err(err, -rc, "writing what was recovered to '%s' failed: %s; free space or replace the disk, then start again", path,
                      strerror(-rc));
    return 0;
}

int mr_settle_segment(struct mr_recovery *recovery, const char *partition_path, struct mr_segment_files *files, struct millrace_error *err)
{
    char path[MR_RECOVER_PATH_MAX];
    uint64_t side_end = files->result.end.side_position;
    mr_segment_path(path, partition_path, files->base_offset, ".log");
    int rc = settle_stream(recovery->disk, path, &files->data, files->result.end.position, err);
    if (rc != 0)
        return rc;
    mr_segment_path(path, partition_path, files->base_offset, ".sidecar");
    return settle_stream(recovery->disk, path, &files->side, side_end, err);
}

int mr_settle_remove(struct mr_recovery *recovery, const char *partition_path, uint64_t base_offset, struct millrace_error *err)
{
    static const char *const suffix[] = {".log", ".sidecar", ".snapshot", ".index", ".timeindex"};
    for (uint32_t i = 0; i < MR_COUNT_OF(suffix); i++) {
        char path[MR_RECOVER_PATH_MAX];
        mr_segment_path(path, partition_path, base_offset, suffix[i]);
        int rc = mr_disk_unlink(recovery->disk, path);
        if (rc != 0 && rc != -ENOENT)
            return mr_err(err, -rc, "removing '%s' failed: %s", path, strerror(-rc));
    }
    return 0;
}
