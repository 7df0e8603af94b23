/* SPDX-License-Identifier: Apache-2.0 */
/* Make the files what the walk found valid, and nothing more: what only the journal held is written in place, what is behind is cut off,
 * all of it is synced. It can be broken off anywhere and started over from the same journals: it only writes bytes that they hold. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/**
 * Bytes of the view that the file does not hold, block by block: an old entry may begin amid a block of which the rest is durable in this
 * place only, and writing any sector of it again could tear that. Such a block is as it should be; what differs is whole in the journal (I1).
 */
static int write_ranges(struct mr_disk *disk, int file, const struct mr_view *view, uint64_t end, struct mr_settled *settled)
{
    uint8_t there[MR_BLOCK_BYTES];
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < view->range_count; i++) {
        const struct mr_overlay_range *range = &view->range[i];
        uint64_t range_end = mr_min_u64(range->position + range->bytes, end);
        for (uint64_t at = range->position, bytes; rc == 0 && at < range_end; at += bytes) {
            const uint8_t *right = range->memory + (at - range->position);
            uint64_t got = 0;
            bytes = mr_min_u64(mr_align_down(at, MR_BLOCK_BYTES) + MR_BLOCK_BYTES, range_end) - at;
            rc = mr_recover_read(disk, file, there, bytes, at, &got);
            if (rc == 0 && (got < bytes || memcmp(there, right, bytes) != 0)) {
                bool was_written = got > 0 && (there[0] != 0 || memcmp(there, there + 1, got - 1) != 0);
                int64_t n = mr_disk_write(disk, file, right, bytes, at);
                rc = n < 0 ? (int)n : 0;
                settled->bytes += bytes;
                settled->mended_blocks += was_written;
            }
        }
    }
    return rc;
}

/** Zeros from the end of the stream to the end of its last block, where there is something else: torn bytes, so the journal has the block. */
static int clear_rest(struct mr_disk *disk, int file, uint64_t end)
{
    static const uint8_t zeros[MR_BLOCK_BYTES];
    uint8_t there[MR_BLOCK_BYTES];
    uint64_t rest = mr_align_up(end, MR_BLOCK_BYTES) - end, got = 0;
    int rc = mr_recover_read(disk, file, there, rest, end, &got);
    if (rc == 0 && memcmp(there, zeros, got) != 0 && mr_disk_write(disk, file, zeros, got, end) < 0)
        rc = -EIO;
    return rc;
}

/* The file is cut at a block's end only: that writes nothing again that is durable already. */
static int settle_stream(struct mr_disk *disk, const char *path, const struct mr_view *view, uint64_t end, struct mr_settled *settled,
                         struct millrace_error *err)
{
    int file = mr_disk_open(disk, path, MR_DISK_CREATE, err);
    if (file < 0)
        return file;
    int rc = write_ranges(disk, file, view, end, settled);
    if (rc == 0)
        rc = clear_rest(disk, file, end);
    int64_t size = rc == 0 ? mr_disk_size(disk, file) : rc;
    rc = size < 0 ? (int)size : 0;
    if (rc == 0 && size > (int64_t)mr_align_up(end, MR_BLOCK_BYTES))
        rc = mr_disk_truncate(disk, file, mr_align_up(end, MR_BLOCK_BYTES));
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

int mr_settle_segment(struct mr_recovery *recovery, const char *partition_path, struct mr_segment_files *files, bool is_tail,
                      struct mr_settled *settled, struct millrace_error *err)
{
    char path[MR_RECOVER_PATH_MAX];
    const struct mr_segment_point *end = &files->result.end;
    settled->made_segments += !files->has_data && end->position > 0;
    mr_segment_path(path, partition_path, files->base_offset, ".log");
    int rc = settle_stream(recovery->disk, path, &files->data, end->position, settled, err);
    mr_segment_path(path, partition_path, files->base_offset, ".sidecar");
    if (rc == 0)
        rc = settle_stream(recovery->disk, path, &files->side, end->side_position, settled, err);
    if (rc == 0 && !is_tail) {
        rc = mr_disk_sync_directory(recovery->disk, partition_path); /* both names, before their last copy in the journal may go */
        if (rc == 0)
            rc = mr_segment_cut(recovery->disk, partition_path, files->base_offset, end->position, end->side_position, err);
    }
    if (rc == 0 && is_tail && files->has_cut) {
        mr_segment_path(path, partition_path, files->base_offset, ".cut");
        rc = mr_disk_unlink(recovery->disk, path); /* the log may grow over what it says */
    }
    return rc;
}

int mr_settle_remove(struct mr_recovery *recovery, const char *partition_path, uint64_t base_offset, struct millrace_error *err)
{
    static const char *const suffix[] = {".log", ".sidecar", ".cut", ".snapshot", ".index", ".timeindex"};
    for (uint32_t i = 0; i < MR_COUNT_OF(suffix); i++) {
        char path[MR_RECOVER_PATH_MAX];
        mr_segment_path(path, partition_path, base_offset, suffix[i]);
        int rc = mr_disk_unlink(recovery->disk, path);
        if (rc != 0 && rc != -ENOENT)
            return mr_err(err, -rc, "removing '%s' failed: %s", path, strerror(-rc));
    }
    return 0;
}
