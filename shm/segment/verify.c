/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/verify_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/segment/segment.h"

#define SMALL_FILE_BYTES_MAX (256u << 20)
#define EPOCHS_MAX           65536

/* Snapshots and the epoch checkpoint: a bad one is rebuilt from the log by the next start, hence a warning. */
static int verify_small(struct verify *v, const char *path, bool is_snapshot, uint64_t offset)
{
    static struct mr_epoch_start epochs[EPOCHS_MAX];
    uint64_t bytes = 0, done = 0;
    int64_t got = 1, checked = -EBADMSG;
    int fd = mr_verify_open(path, false, &bytes);

    if (fd < 0)
        return mr_err(v->err, -fd, "cannot open %s: %s", path, strerror(-fd));
    uint8_t *data = bytes <= SMALL_FILE_BYTES_MAX ? malloc(bytes + 1) : NULL;
    while (data != NULL && done < bytes && (got = read(fd, data + done, bytes - done)) > 0)
        done += (uint64_t)got;
    int error = got < 0 ? errno : 0;
    close(fd);
    if (data != NULL && error == 0)
        checked = is_snapshot ? mr_snapshot_check(data, done) : mr_epochs_decode((const char *)data, done, epochs, EPOCHS_MAX);
    free(data);
    if (error != 0)
        return mr_err(v->err, error, "reading %s: %s", path, strerror(error));
    if (is_snapshot && checked >= 0 && offset > v->snapshot_max) {
        v->snapshot_max = offset;
        snprintf(v->snapshot_path, sizeof v->snapshot_path, "%s", path);
    }
    if (checked < 0)
        mr_verify_find(v, path, 0, 0, false,
             checked == -ENOTSUP ? "of an unknown version: the next start rebuilds it" : "damaged: the next start rebuilds it");
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Base offsets of all segments, ascending; the caller frees them. Small files are checked in passing. */
static int list(struct verify *v, const char *directory, uint64_t **offsets, size_t *count)
{
    size_t capacity = 0;
    struct dirent *entry;
    int rc = 0;
    DIR *dir = opendir(directory);

    *offsets = NULL;
    *count = 0;
    if (dir == NULL)
        return mr_err(v->err, errno, "cannot open directory %s: %s", directory, strerror(errno));
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        char path[PATH_MAX];
        uint64_t offset = 0;
        bool is_snapshot = mr_segment_name_parse(entry->d_name, "snapshot", &offset);
        if (is_snapshot || strcmp(entry->d_name, "leader-epoch-checkpoint") == 0) {
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
            rc = verify_small(v, path, is_snapshot, offset);
        }
        if (mr_segment_name_parse(entry->d_name, "sidecar", &offset))
            v->flags |= MR_VERIFY_SIDECAR; /* then each should have one: no copy for others */
        if (!mr_segment_name_parse(entry->d_name, "log", &offset))
            continue;
        if (*count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            uint64_t *more = realloc(*offsets, capacity * sizeof **offsets);
            if (more == NULL) {
                rc = mr_err(v->err, ENOMEM, "no memory for the names of %zu segments", capacity);
                break;
            }
            *offsets = more;
        }
        (*offsets)[(*count)++] = offset;
    }
    closedir(dir);
    if (*count > 0)
        qsort(*offsets, *count, sizeof **offsets, by_offset);
    return rc;
}

int mr_verify_partition(const char *directory, unsigned flags, mr_verify_each *each, void *context, struct mr_verify_report *report,
                        struct millrace_error *err)
{
    struct verify v = {.flags = flags, .each = each, .context = context, .report = report, .err = err, .epoch = -1};
    uint64_t *offsets;
    size_t count;

    memset(report, 0, sizeof *report);
    int rc = list(&v, directory, &offsets, &count);
    if (rc == 0)
        rc = mr_verify_grow(&v, MR_VERIFY_BUFFER_BYTES);
    if (count > 0)
        report->first_offset = report->next_offset = offsets[0];
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char name[MR_SEGMENT_NAME_BYTES_MAX], path[PATH_MAX], reason[128];
        mr_segment_name(name, offsets[i], "log");
        snprintf(path, sizeof path, "%s/%s", directory, name);
        bool seam = (flags & MR_VERIFY_COMPACTED) != 0 ? offsets[i] >= report->next_offset : offsets[i] == report->next_offset;
        if (i > 0 && v.whole && !seam) {
            snprintf(reason, sizeof reason, "the segment before ends at offset %" PRIu64, report->next_offset);
            mr_verify_find(&v, path, 0, offsets[i], true, reason);
        }
        rc = mr_verify_one(&v, path, offsets[i], i + 1 == count);
    }
    /* A snapshot is written when what lies before it is durable. While a daemon writes, it may be younger than our list of segments. */
    if (rc == 0 && (flags & MR_VERIFY_LIVE) == 0 && v.snapshot_max > report->next_offset && report->errors == 0) {
        char reason[160];
        snprintf(reason, sizeof reason, "records up to offset %" PRIu64 " were here when this was written, and the log ends at %" PRIu64, v.snapshot_max,
                 report->next_offset);
        mr_verify_find(&v, v.snapshot_path, 0, report->next_offset, true, reason);
    }
    free(offsets);
    free(v.buffer);
    return rc;
}
