/* SPDX-License-Identifier: Apache-2.0 */
/* One segment: its batches, its sidecar, where it ends, and what that end means. */
#include "shm/segment/verify_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/batch/decompress.h"
#include "shm/segment/segment.h"

#define RECORDS_BYTES_MAX (1u << 30)

void mr_verify_find(struct verify *v, const char *path, uint64_t position, uint64_t offset, bool is_error, const char *reason)
{
    struct mr_verify_finding finding = {path, position, offset, is_error, reason};

    if (is_error)
        v->report->errors++;
    else
        v->report->warnings++;
    if (v->each != NULL)
        v->each(v->context, &finding);
}

int mr_verify_grow(struct verify *v, size_t bytes)
{
    free(v->buffer);
    v->buffer_bytes = bytes;
    v->buffer = aligned_alloc(MR_BLOCK_BYTES, mr_align_up(bytes, MR_BLOCK_BYTES));
    return v->buffer != NULL ? 0 : mr_err(v->err, ENOMEM, "no memory for a buffer of %zu bytes", bytes);
}

int mr_verify_open(const char *path, uint64_t *bytes)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *bytes = (uint64_t)st.st_size;
    return fd;
}

/* Compressed batches have their records checked here; the scan itself stays free of codecs. */
static int check_compressed(void *context, const struct mr_segment_point *at, const uint8_t *batch)
{
    struct verify *v = context;
    struct mr_batch_decompressed records = {0};
    enum mr_batch_reason reason = MR_BATCH_OK;

    if (mr_batch_codec(batch) == MR_BATCH_CODEC_NONE)
        return 0;
    int rc = mr_batch_decompress(batch, (size_t)mr_batch_total_bytes(batch), RECORDS_BYTES_MAX, &records);
    if (rc == -EOPNOTSUPP) {
        v->report->compressed_unchecked++;
        return 0;
    }
    if (rc == 0)
        reason = mr_batch_check_records(batch, records.bytes, records.size_bytes,
                                        (v->flags & MR_VERIFY_COMPACTED) != 0 ? MR_BATCH_CHECK_COMPACTED : 0);
    mr_batch_decompressed_release(&records);
    if (rc == -ENOMEM)
        return rc;
    if (rc != 0)
        mr_verify_find(v, v->path, at->position, at->next_offset, true, "compressed records cannot be decompressed");
    else if (reason != MR_BATCH_OK)
        mr_verify_find(v, v->path, at->position, at->next_offset, true, mr_batch_reason_text(reason));
    return 0;
}

/* A bad spot at the end of the newest segment, with nothing valid behind, is what a crash leaves. */
static bool may_be_torn(enum mr_segment_stop stop)
{
    return stop == MR_SEGMENT_PAST_END || stop == MR_SEGMENT_BAD_HEADER || stop == MR_SEGMENT_BAD_CRC || stop == MR_SEGMENT_NO_SIDECAR;
}

static void judge(struct verify *v, const struct mr_segment_scan_result *r, bool newest, uint64_t log_bytes)
{
    char reason[256];

    v->whole = mr_segment_scan_is_clean(r) && (newest || r->stop == MR_SEGMENT_END_EXACT);
    v->report->is_whole = v->whole;
    v->report->is_open = false;
    if (v->whole)
        return;
    bool is_live = (v->flags & MR_VERIFY_LIVE) != 0;
    bool is_torn = newest && !r->behind && !r->behind_gave_up && may_be_torn(r->stop);
    bool is_ahead = (is_live || (newest && (v->flags & MR_VERIFY_AHEAD) != 0)) &&
                    (r->stop == MR_SEGMENT_NO_SIDECAR || (r->stop == MR_SEGMENT_BAD_SIDECAR_HEADER && v->side_is_blank));
    bool is_uncut = is_live && r->stop == MR_SEGMENT_END_ZEROS && !r->behind && !r->behind_gave_up;
    v->report->is_open = is_live && (is_ahead || is_uncut);
    if (r->behind)
        snprintf(reason, sizeof reason, "%s, with valid batches behind it (from position %" PRIu64 ", offset %" PRIu64 ")",
                 mr_segment_stop_text(r->stop), r->behind_position, r->behind_offset);
    else if (r->stop == MR_SEGMENT_END_ZEROS)
        snprintf(reason, sizeof reason, "ends %" PRIu64 " bytes before the file does, though a newer segment follows%s",
                 log_bytes - r->end.position, is_uncut ? ": it is not closed yet" : "");
    else
        snprintf(reason, sizeof reason, "%s%s%s", mr_segment_stop_text(r->stop), r->batch_reason != MR_BATCH_OK ? ": " : "",
                 r->batch_reason != MR_BATCH_OK ? mr_batch_reason_text(r->batch_reason) : "");
    mr_verify_find(v, v->path, r->end.position, r->end.next_offset, !(is_torn || is_ahead || is_uncut), reason);
}

static bool is_blank(int side_fd)
{
    uint8_t header[MR_SIDECAR_HEADER_BYTES] = {0};
    uint8_t any = 0;

    if (pread(side_fd, header, sizeof header, 0) < 0)
        return false; /* the scan says why */
    for (size_t i = 0; i < sizeof header; i++)
        any |= header[i];
    return any == 0;
}

int mr_verify_one(struct verify *v, const char *log_path, uint64_t base_offset, bool newest)
{
    char side_path[PATH_MAX];
    uint64_t log_bytes = 0, side_bytes = 0;
    size_t stem_bytes = strlen(log_path) - strlen("log");
    int rc = 0;

    if (stem_bytes + sizeof "sidecar" > sizeof side_path)
        return mr_err(v->err, ENAMETOOLONG, "%s", log_path);
    memcpy(side_path, log_path, stem_bytes);
    memcpy(side_path + stem_bytes, "sidecar", sizeof "sidecar");
    int log_fd = mr_verify_open(log_path, &log_bytes);
    if (log_fd < 0)
        return mr_err(v->err, -log_fd, "cannot open %s: %s", log_path, strerror(-log_fd));
    int side_fd = mr_verify_open(side_path, &side_bytes);
    if (side_fd < 0 && side_fd != -ENOENT) {
        rc = mr_err(v->err, -side_fd, "cannot open %s: %s", side_path, strerror(-side_fd));
        close(log_fd);
        return rc;
    }

    v->path = log_path;
    v->side_is_blank = side_fd >= 0 && is_blank(side_fd);
    struct mr_segment_scan_options options = {
        .log = mr_segment_source_fd(log_fd, log_bytes),
        .base_offset = base_offset,
        .start = {.epoch = v->epoch},
        .flags = MR_SEGMENT_SCAN_RESYNC | MR_SEGMENT_SCAN_RECORDS | ((v->flags & MR_VERIFY_COMPACTED) != 0 ? MR_SEGMENT_SCAN_COMPACTED : 0),
        .each = check_compressed,
        .context = v,
    };
    struct mr_segment_scan_result result;
    if (side_fd >= 0)
        options.side = mr_segment_source_fd(side_fd, side_bytes);
    do { /* once more with a larger buffer for every batch that needs one: they only grow */
        options.buffer = v->buffer;
        options.buffer_bytes = v->buffer_bytes;
        mr_segment_scan(&options, &result);
        v->report->batches += result.batch_count;
        v->report->records += result.record_count;
        options.start = result.end;
        if (result.stop == MR_SEGMENT_TOO_LARGE)
            rc = mr_verify_grow(v, result.need_bytes);
    } while (rc == 0 && result.stop == MR_SEGMENT_TOO_LARGE);
    if (rc == 0 && (result.stop == MR_SEGMENT_READ_FAILED || result.stop == MR_SEGMENT_REFUSED))
        rc = mr_err(v->err, -result.error, "reading %s at %" PRIu64 ": %s", log_path, result.end.position, strerror(-result.error));
    if (rc == 0) {
        judge(v, &result, newest, log_bytes);
        v->report->segments++;
        v->report->bytes += result.end.position;
        v->report->next_offset = result.end.next_offset;
        v->epoch = result.end.epoch;
    }
    close(log_fd);
    if (side_fd >= 0)
        close(side_fd);
    return rc;
}

/* Is there a newer segment in its directory? One that cannot be read tells the same as an empty one: opening the segment says why. */
static bool has_newer(const char *log_path, const char *slash, uint64_t base_offset)
{
    char directory[PATH_MAX] = ".";
    struct dirent *entry;
    uint64_t offset;
    bool found = false;

    if (slash != NULL)
        snprintf(directory, sizeof directory, "%.*s", slash == log_path ? 1 : (int)(slash - log_path), log_path);
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return false;
    while (!found && (entry = readdir(dir)) != NULL)
        found = mr_segment_name_parse(entry->d_name, "log", &offset) && offset > base_offset;
    closedir(dir);
    return found;
}

int mr_verify_segment(const char *log_path, unsigned flags, mr_verify_each *each, void *context, struct mr_verify_report *report,
                      struct millrace_error *err)
{
    struct verify v = {.flags = flags, .each = each, .context = context, .report = report, .err = err, .epoch = -1};
    const char *slash = strrchr(log_path, '/');
    uint64_t base_offset;

    memset(report, 0, sizeof *report);
    if (!mr_segment_name_parse(slash != NULL ? slash + 1 : log_path, "log", &base_offset))
        return mr_err(err, EINVAL, "%s: a segment is named by 20 digits and .log", log_path);
    report->first_offset = base_offset;
    bool newest = (flags & MR_VERIFY_ROLLED) == 0 && !has_newer(log_path, slash, base_offset);
    int rc = mr_verify_grow(&v, MR_VERIFY_BUFFER_BYTES);
    if (rc == 0)
        rc = mr_verify_one(&v, log_path, base_offset, newest);
    free(v.buffer);
    return rc;
}
