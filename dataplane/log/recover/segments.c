/* SPDX-License-Identifier: Apache-2.0 */
/* The closed segments of a partition directory, without reading batches but the last one's header: the start of a large log stays cheap. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct listing {
    struct mr_log_segment *segment;
    uint32_t count, room;
    uint64_t before_offset;
};

static int list_segment(void *context, const char *name, bool is_directory)
{
    struct listing *listing = context;
    uint64_t base_offset;
    if (is_directory || !mr_segment_name_parse(name, "log", &base_offset) || base_offset >= listing->before_offset)
        return 0;
    int rc = mr_recover_grow((void **)&listing->segment, listing->count, &listing->room, sizeof *listing->segment);
    if (rc == 0)
        listing->segment[listing->count++] = (struct mr_log_segment){.base_offset = base_offset};
    return rc;
}

static int by_base(const void *a, const void *b)
{
    uint64_t left = ((const struct mr_log_segment *)a)->base_offset, right = ((const struct mr_log_segment *)b)->base_offset;
    return left < right ? -1 : left > right;
}

/** Read at most bytes of a file. @return its size, or -errno */
static int64_t read_at(struct mr_disk *disk, const char *path, void *buffer, uint64_t bytes, bool from_end, uint64_t position, uint64_t *got)
{
    struct millrace_error ignored;
    int file = mr_disk_open(disk, path, MR_DISK_READ_ONLY, &ignored);
    if (file < 0)
        return file;
    int64_t size = mr_disk_size(disk, file);
    if (from_end)
        position = size >= (int64_t)bytes ? (uint64_t)size - bytes : 0;
    int rc = size < 0 ? (int)size : mr_recover_read(disk, file, buffer, bytes, position, got);
    (void)mr_disk_close(disk, file);
    return rc != 0 ? rc : size;
}

static int read_segment(struct mr_disk *disk, const char *partition_path, struct mr_log_segment *segment, struct millrace_error *err)
{
    char path[MR_RECOVER_PATH_MAX];
    uint8_t bytes[MR_SIDECAR_HEADER_BYTES] = {0};
    struct mr_sidecar_header header;
    uint64_t got = 0;
    mr_segment_path(path, partition_path, segment->base_offset, ".sidecar");
    int64_t size = read_at(disk, path, bytes, sizeof bytes, false, 0, &got);
    if (size == -ENOENT)
        return mr_err(err, EBADMSG, "'%s' is missing: run 'millrace log verify %s'", path, partition_path);
    if (size < 0)
        return mr_err(err, (int)-size, "reading '%s' failed: %s", path, strerror((int)-size));
    if (size == 0) /* recovery left the name of one that was made and never written: not a segment */
        return -ENODATA;
    if (got < sizeof bytes || mr_sidecar_header_check(bytes, &header) != 0 || header.base_offset != segment->base_offset)
        return mr_err(err, EBADMSG, "the header of '%s' is damaged: run 'millrace log verify %s'", path, partition_path);
    segment->salt = header.salt;
    segment->side_bytes = (uint64_t)size;
    segment->max_timestamp_ms = -1;
    uint8_t last_bytes[MR_SIDECAR_ENTRY_BYTES];
    size = read_at(disk, path, last_bytes, sizeof last_bytes, true, 0, &got);
    struct mr_sidecar_entry last = mr_sidecar_entry_read(last_bytes);

    uint8_t batch[MR_BATCH_HEADER_BYTES];
    mr_segment_path(path, partition_path, segment->base_offset, ".log");
    int64_t data_size = read_at(disk, path, batch, sizeof batch, false, last.position, &got);
    if (size < 0 || data_size < 0)
        return mr_err(err, EIO, "reading '%s' failed", path);
    segment->bytes = (uint64_t)data_size;
    if (got == sizeof batch && mr_batch_total_bytes(batch) == last.batch_bytes)
        segment->max_timestamp_ms = mr_batch_max_timestamp(batch);
    segment->inplace_bytes = segment->bytes;
    segment->side_inplace_bytes = segment->side_bytes;
    return 0;
}

int mr_recovery_segments(struct mr_disk *disk, const char *partition_path, uint64_t before_offset, struct mr_log_segment **segments,
                         uint32_t *count, struct millrace_error *err)
{
    struct listing listing = {.before_offset = before_offset};
    int rc = mr_disk_list(disk, partition_path, list_segment, &listing);
    if (rc == -ENOENT)
        rc = 0;
    if (rc != 0)
        mr_err(err, -rc, "listing '%s' failed: %s", partition_path, strerror(-rc));
    if (listing.count > 1)
        qsort(listing.segment, listing.count, sizeof *listing.segment, by_base);
    uint32_t kept = 0;
    for (uint32_t i = 0; rc == 0 && i < listing.count; i++) {
        rc = read_segment(disk, partition_path, &listing.segment[i], err);
        if (rc == 0)
            listing.segment[kept++] = listing.segment[i];
        rc = rc == -ENODATA ? 0 : rc;
    }
    listing.count = kept;
    for (uint32_t i = 0; i < kept; i++)
        listing.segment[i].next_offset = i + 1 < kept ? listing.segment[i + 1].base_offset : before_offset;
    if (kept == 0) {
        free(listing.segment);
        listing.segment = NULL;
    }
    if (rc != 0) {
        free(listing.segment);
        listing = (struct listing){0};
    }
    *segments = listing.segment;
    *count = listing.count;
    return rc;
}
