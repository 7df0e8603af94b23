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

#include "shm/base/bits.h"
#include "shm/batch/decompress.h"
#include "shm/segment/segment.h"

#define RECORDS_BYTES_MAX (1u << 30)

/* Beside a running daemon: how often a spot is read again. */
#define LIVE_PAUSE_US   20000
#define LIVE_BAD_TRIES  5u  /* what fits together a little later: blocks in flight */
#define LIVE_OPEN_TRIES 50u /* a second: to be placed, cut and synced */
#define LIVE_TRIES_MAX  500u

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

/* Compressed batches have their records checked here; the scan itself stays free of codecs. And what the indexes say of the batch. */
static int check_batch(void *context, const struct mr_segment_point *at, const uint8_t *batch)
{
    struct verify *v = context;
    struct mr_batch_decompressed records = {0};
    enum mr_batch_reason reason = MR_BATCH_OK;

    mr_verify_indexes_batch(v, at->position, batch);
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

struct files {
    int log_fd, side_fd; /* side_fd < 0: there is none */
    uint64_t log_bytes, side_bytes;
};

/* What lies where the scan of a segment has stopped that a running daemon may be writing. */
enum live_end {
    LIVE_DONE,      /* the end of the file */
    LIVE_UNVOUCHED, /* the part of the sidecar that is in its file ends here, too: behind it may be anything */
    LIVE_UNPLACED,  /* the sidecar has gone ahead by a batch whose last block is in a journal, and here still zeros */
    LIVE_BAD,       /* neither: damage, unless it was read while it was written */
};

static void judge(struct verify *v, const struct mr_segment_scan_result *r, bool newest, uint64_t log_bytes, enum live_end live)
{
    char reason[256];
    bool is_live = (v->flags & MR_VERIFY_LIVE) != 0;
    bool is_clean = mr_segment_scan_is_clean(r) && (newest || r->stop == MR_SEGMENT_END_EXACT);

    v->whole = is_clean && live != LIVE_UNPLACED && (newest || live != LIVE_UNVOUCHED);
    v->report->is_whole = v->whole;
    v->report->is_open = !v->whole && (live == LIVE_UNVOUCHED || live == LIVE_UNPLACED);
    if (v->whole)
        return;
    bool is_torn = newest && !is_live && !r->behind && !r->behind_gave_up && may_be_torn(r->stop);
    bool is_ahead = newest && !is_live && (v->flags & MR_VERIFY_AHEAD) != 0 &&
                    (r->stop == MR_SEGMENT_NO_SIDECAR || (r->stop == MR_SEGMENT_BAD_SIDECAR_HEADER && v->side_is_blank));
    if (v->report->is_open)
        snprintf(reason, sizeof reason, "a running node writes here: %s",
                 newest ? "what is behind is not in its files yet" : "the segment is not closed yet");
    else if (r->behind)
        snprintf(reason, sizeof reason, "%s, with valid batches behind it (from position %" PRIu64 ", offset %" PRIu64 ")",
                 mr_segment_stop_text(r->stop), r->behind_position, r->behind_offset);
    else if (r->stop == MR_SEGMENT_END_ZEROS)
        snprintf(reason, sizeof reason, "ends %" PRIu64 " bytes before the file does, though a newer segment follows",
                 log_bytes - r->end.position);
    else
        snprintf(reason, sizeof reason, "%s%s%s", mr_segment_stop_text(r->stop), r->batch_reason != MR_BATCH_OK ? ": " : "",
                 r->batch_reason != MR_BATCH_OK ? mr_batch_reason_text(r->batch_reason) : "");
    mr_verify_find(v, v->path, r->end.position, r->end.next_offset, !(is_torn || is_ahead || v->report->is_open), reason);
}

int mr_verify_open(const char *path, bool direct, uint64_t *bytes)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));

    if (fd < 0 && direct && errno == EINVAL) /* some file systems cannot */
        fd = open(path, O_RDONLY | O_CLOEXEC);
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

/* Both files of a segment. @return 0, and close_files() once; -errno with a message */
static int open_files(struct verify *v, const char *log_path, struct files *files)
{
    bool direct = (v->flags & MR_VERIFY_LIVE) != 0; /* beside direct writes, the page cache may keep zeros that it read ahead */
    char side_path[PATH_MAX];
    size_t stem_bytes = strlen(log_path) - strlen("log");

    if (stem_bytes + sizeof "sidecar" > sizeof side_path)
        return mr_err(v->err, ENAMETOOLONG, "%s", log_path);
    memcpy(side_path, log_path, stem_bytes);
    memcpy(side_path + stem_bytes, "sidecar", sizeof "sidecar");
    files->log_fd = mr_verify_open(log_path, direct, &files->log_bytes);
    if (files->log_fd < 0)
        return mr_err(v->err, -files->log_fd, "cannot open %s: %s", log_path, strerror(-files->log_fd));
    files->side_fd = mr_verify_open(side_path, direct, &files->side_bytes);
    struct stat st;
    if (files->side_fd == -ENOENT && fstat(files->log_fd, &st) == 0 && st.st_nlink == 0) { /* both were deleted since */
        close(files->log_fd);
        return mr_err(v->err, ENOENT, "cannot open %s: %s", log_path, strerror(ENOENT));
    }
    if (files->side_fd < 0 && files->side_fd != -ENOENT) {
        close(files->log_fd);
        return mr_err(v->err, -files->side_fd, "cannot open %s: %s", side_path, strerror(-files->side_fd));
    }
    return 0;
}

static void close_files(struct files *files)
{
    close(files->log_fd);
    if (files->side_fd >= 0)
        close(files->side_fd);
}

/* They grow, and are cut when they are closed. */
static int measure(struct verify *v, struct files *files)
{
    struct stat log, side = {0};

    if (fstat(files->log_fd, &log) != 0 || (files->side_fd >= 0 && fstat(files->side_fd, &side) != 0))
        return mr_err(v->err, errno, "reading %s: %s", v->path, strerror(errno));
    files->log_bytes = (uint64_t)log.st_size;
    files->side_bytes = (uint64_t)side.st_size;
    return 0;
}

/* Go on from result->end (position 0: the beginning, with the least epoch), and set the result anew. @return 0; -errno with a message */
static int scan(struct verify *v, const struct files *files, uint64_t base_offset, unsigned flags, struct mr_segment_scan_result *result)
{
    struct mr_segment_scan_options options = {
        .log = mr_segment_source_fd(files->log_fd, files->log_bytes),
        .base_offset = base_offset,
        .start = result->end,
        .flags = flags | MR_SEGMENT_SCAN_RECORDS | ((v->flags & MR_VERIFY_COMPACTED) != 0 ? MR_SEGMENT_SCAN_COMPACTED : 0),
        .each = check_batch,
        .context = v,
    };
    int rc = 0;

    if (files->side_fd >= 0)
        options.side = mr_segment_source_fd(files->side_fd, files->side_bytes);
    do { /* once more with a larger buffer for every batch that needs one: they only grow */
        options.buffer = v->buffer;
        options.buffer_bytes = v->buffer_bytes;
        mr_segment_scan(&options, result);
        v->report->batches += result->batch_count;
        v->report->records += result->record_count;
        options.start = result->end;
        if (result->stop == MR_SEGMENT_TOO_LARGE)
            rc = mr_verify_grow(v, result->need_bytes);
    } while (rc == 0 && result->stop == MR_SEGMENT_TOO_LARGE);
    if (rc == 0 && (result->stop == MR_SEGMENT_READ_FAILED || result->stop == MR_SEGMENT_REFUSED))
        rc = mr_err(v->err, -result->error, "reading %s at %" PRIu64 ": %s", v->path, result->end.position, strerror(-result->error));
    return rc;
}

/* `bytes` of the sidecar, which lie in one block; behind its end come zeros. @return 0; -errno with a message */
static int read_side(struct verify *v, const struct files *files, uint64_t position, void *to, size_t bytes)
{
    struct mr_segment_source side = mr_segment_source_fd(files->side_fd, files->side_bytes);
    uint64_t block = mr_align_down(position, MR_BLOCK_BYTES);

    int64_t got = side.read(&side, block, v->buffer, MR_BLOCK_BYTES);
    if (got < 0)
        return mr_err(v->err, (int)-got, "reading the sidecar of %s: %s", v->path, strerror((int)-got));
    memset(v->buffer + got, 0, MR_BLOCK_BYTES - (size_t)got);
    memcpy(to, v->buffer + (position - block), bytes);
    return 0;
}

static bool all_zero(const uint8_t *at, size_t bytes)
{
    return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

static int look_for_blank_side(struct verify *v, const struct files *files)
{
    uint8_t header[MR_SIDECAR_HEADER_BYTES] = {1};
    int rc = files->side_fd >= 0 ? read_side(v, files, 0, header, sizeof header) : 0;

    v->side_is_blank = rc == 0 && all_zero(header, sizeof header);
    return rc;
}

/* @return 1: the log has nothing but zeros from `position` on; 0; -errno with a message */
static int is_zero_from(struct verify *v, const struct files *files, uint64_t position)
{
    struct mr_segment_source log = mr_segment_source_fd(files->log_fd, files->log_bytes);
    size_t room = mr_align_down(v->buffer_bytes, MR_BLOCK_BYTES);

    while (position < files->log_bytes) {
        uint64_t from = mr_align_down(position, MR_BLOCK_BYTES);
        int64_t got = log.read(&log, from, v->buffer, room);
        if (got < 0)
            return mr_err(v->err, (int)-got, "reading %s at %" PRIu64 ": %s", v->path, from, strerror((int)-got));
        if (from + (uint64_t)got <= position)
            break; /* it was cut meanwhile */
        if (!all_zero(v->buffer + (position - from), (size_t)got - (size_t)(position - from)))
            return 0;
        position = from + (uint64_t)got;
    }
    return 1;
}

/* Entries of a sidecar come into its file by whole blocks, as batches do, so the last of them may name a batch whose last block is only in a
 * journal. That block is zeros here, and so is all behind it. A file that was cut has whatever it will have. */
static int look_at_end(struct verify *v, struct files *files, const struct mr_segment_scan_result *r, enum live_end *live)
{
    struct mr_sidecar_entry entry = {0};
    bool has_side = files->side_fd >= 0, bad_header = r->stop == MR_SEGMENT_BAD_SIDECAR_HEADER;

    *live = LIVE_BAD;
    int rc = measure(v, files);
    if (rc == 0 && has_side)
        rc = bad_header ? look_for_blank_side(v, files) : read_side(v, files, r->end.side_position, &entry, sizeof entry);
    if (rc != 0)
        return rc;
    if (r->stop == MR_SEGMENT_END_EXACT && files->log_bytes == r->end.position) {
        *live = LIVE_DONE;
    } else if (files->log_bytes % MR_BLOCK_BYTES != 0) {
        *live = LIVE_BAD;
    } else if (!has_side || bad_header || mr_sidecar_is_empty(&entry)) {
        bool is_lawful = has_side ? !bad_header || v->side_is_blank : r->stop == MR_SEGMENT_END_ZEROS || r->stop == MR_SEGMENT_END_EXACT;
        *live = is_lawful ? LIVE_UNVOUCHED : LIVE_BAD;
    } else if (!mr_sidecar_is_cut(&entry) && entry.position == r->end.position) {
        uint64_t last_block = mr_align_down(r->end.position + entry.batch_bytes - 1, MR_BLOCK_BYTES);
        rc = is_zero_from(v, files, mr_max_u64(r->end.position, last_block));
        *live = rc == 1 ? LIVE_UNPLACED : LIVE_BAD;
    }
    return rc < 0 ? rc : 0;
}

/* The blocks of a batch and those of its entry are read one after the other, while both are written: what does not fit together is read
 * again, from there on. It is damage when it stays so. What no entry vouches for is not searched for batches, since those that a search
 * would find were written after their beginning had been read. A segment that is not the newest is waited for, a while, until it is closed. */
static int scan_live(struct verify *v, struct files *files, uint64_t base_offset, bool newest, struct mr_segment_scan_result *result,
                     enum live_end *live)
{
    uint32_t idle = 0; /* tries that found nothing new */
    int rc = 0;

    for (uint32_t tries = 0; rc == 0; tries++) {
        uint64_t before = result->end.position;
        bool is_last = idle >= (*live == LIVE_BAD ? LIVE_BAD_TRIES : LIVE_OPEN_TRIES);
        if (tries > 0)
            usleep(LIVE_PAUSE_US);
        if (tries > 0)
            rc = measure(v, files);
        if (rc == 0)
            rc = scan(v, files, base_offset, is_last && *live == LIVE_BAD ? MR_SEGMENT_SCAN_RESYNC : 0, result);
        if (rc == 0)
            rc = look_at_end(v, files, result, live);
        if (rc != 0 || *live == LIVE_DONE || (newest && *live != LIVE_BAD))
            return rc;
        if (result->end.position == before && is_last)
            return 0;
        idle = result->end.position == before ? idle + 1 : 0;
        if (tries == LIVE_TRIES_MAX) {
            *live = LIVE_UNVOUCHED; /* it still grows, as fast as it is read: here is as good an end as any */
            return 0;
        }
    }
    return rc;
}

int mr_verify_one(struct verify *v, const char *log_path, uint64_t base_offset, bool newest)
{
    struct mr_segment_scan_result result = {.end = {.epoch = v->epoch}};
    enum live_end live = LIVE_DONE;
    struct files files;

    v->path = log_path;
    int rc = open_files(v, log_path, &files);
    if (rc != 0)
        return rc;
    mr_verify_indexes_begin(v, log_path, base_offset);
    if ((v->flags & MR_VERIFY_LIVE) != 0)
        rc = scan_live(v, &files, base_offset, newest, &result, &live);
    else
        rc = look_for_blank_side(v, &files);
    if (rc == 0 && (v->flags & MR_VERIFY_LIVE) == 0)
        rc = scan(v, &files, base_offset, MR_SEGMENT_SCAN_RESYNC, &result);
    if (rc == 0) {
        judge(v, &result, newest, files.log_bytes, live);
        v->report->segments++;
        v->report->bytes += result.end.position;
        v->report->next_offset = result.end.next_offset;
        v->report->epoch = v->epoch = result.end.epoch;
        if (files.side_fd < 0 && result.end.position > 0 && (v->flags & MR_VERIFY_SIDECAR) != 0)
            mr_verify_find(v, log_path, 0, base_offset, false, "it has no sidecar: nothing but their own CRC vouches for its batches");
    }
    mr_verify_indexes_end(v, rc == 0 && result.stop == MR_SEGMENT_END_EXACT);
    close_files(&files);
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

int mr_verify_segment(const char *log_path, unsigned flags, int32_t epoch, mr_verify_each *each, void *context, struct mr_verify_report *report,
                      struct millrace_error *err)
{
    struct verify v = {.flags = flags, .each = each, .context = context, .report = report, .err = err, .epoch = epoch};
    const char *slash = strrchr(log_path, '/');
    uint64_t base_offset;

    memset(report, 0, sizeof *report);
    if (!mr_segment_name_parse(slash != NULL ? slash + 1 : log_path, "log", &base_offset))
        return mr_err(err, EINVAL, "%s: a segment is named by 20 digits and .log", log_path);
    report->first_offset = base_offset;
    report->epoch = epoch;
    bool newest = (flags & MR_VERIFY_ROLLED) == 0 && !has_newer(log_path, slash, base_offset);
    int rc = mr_verify_grow(&v, MR_VERIFY_BUFFER_BYTES);
    if (rc == 0)
        rc = mr_verify_one(&v, log_path, base_offset, newest);
    free(v.buffer);
    return rc;
}
