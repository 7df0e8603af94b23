/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/bits.h"
#include "shm/segment/segment.h"

#define CHUNK_BYTES (1u << 20)
#define TRIES_MAX   100u /* to get ahead of retention */

struct export {
    const char *to;
    mr_verify_each *each;
    void *context;
    struct mr_export_report *report;
    struct millrace_error *err;
    int32_t epoch; /* leader epoch at the end of what was copied; -1: nothing was */
    bool stopped; /* a segment was not good to its end: what is behind it has no place */
    bool live;    /* a daemon is writing */
    bool waits;   /* it was stopped, and only because a running daemon has not closed it yet */
};

static int write_all(int fd, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t done = write(fd, bytes, count);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        bytes += done;
        count -= (size_t)done;
    }
    return 0;
}

#define WHOLE UINT64_MAX

/* The first `bytes` bytes, or the WHOLE of a small file, which may have been replaced since it was listed. Of a segment that may be written
 * to now, past the page cache, as it was checked: what lies there may be older.
 * @return 0; -errno with a message; -ENOENT: the file has gone meanwhile, retention took it */
static int copy_file(struct export *x, const char *from, const char *name, uint64_t bytes)
{
    char to[PATH_MAX];
    int rc = 0;

    snprintf(to, sizeof to, "%s/%s", x->to, name);
    int in = open(from, O_RDONLY | O_CLOEXEC | (x->live && bytes != WHOLE ? O_DIRECT : 0));
    if (in < 0 && errno == EINVAL)
        in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return mr_err(x->err, errno, "cannot open '%s': %s", from, strerror(errno));
    struct mr_segment_source source = mr_segment_source_fd(in, bytes);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    uint8_t *chunk = aligned_alloc(MR_BLOCK_BYTES, CHUNK_BYTES);
    if (out < 0 || chunk == NULL)
        rc = out < 0 ? -errno : -ENOMEM;
    for (uint64_t done = 0; rc == 0 && done < bytes;) {
        int64_t got = source.read(&source, done, chunk, CHUNK_BYTES);
        if (got == 0 && bytes == WHOLE)
            break;
        if (got > 0)
            got = (int64_t)mr_min_u64((uint64_t)got, bytes - done);
        rc = got < 0 ? (int)got : got == 0 ? -EIO : write_all(out, chunk, (size_t)got);
        done += got > 0 ? (uint64_t)got : 0;
    }
    if (rc == 0 && fsync(out) != 0)
        rc = -errno;
    free(chunk);
    close(in);
    if (out >= 0)
        close(out);
    return rc != 0 ? mr_err(x->err, -rc, "cannot write '%s': %s", to, strerror(-rc)) : 0;
}

static void find(struct export *x, const char *path, uint64_t offset, bool is_error, const char *reason)
{
    struct mr_verify_finding finding = {path, 0, offset, is_error, reason};

    if (is_error)
        x->report->errors++;
    else
        x->report->warnings++;
    if (x->each != NULL)
        x->each(x->context, &finding);
}

/* Does a daemon run on the data directory that the partition is in? It holds a lock there; asking takes none.
 * @param name what stands behind the partition's directory in `path`: nothing, or a segment's name */
static bool is_in_use(const char *path, const char *name)
{
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char lock[PATH_MAX];
    int directory_bytes = (int)(strlen(path) - strlen(name));

    if (snprintf(lock, sizeof lock, "%.*s%s../.lock", directory_bytes, path, directory_bytes > 0 && *name == 0 ? "/" : "") >= (int)sizeof lock)
        return false;
    int fd = open(lock, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_held = fcntl(fd, F_GETLK, &held) == 0 && held.l_type != F_UNLCK;
    close(fd);
    return is_held;
}

/* @param flags MR_VERIFY_ROLLED: newer ones follow in the list */
static int export_segment(struct export *x, const char *path, unsigned flags)
{
    struct mr_verify_report found;
    const char *slash = strrchr(path, '/'); /* there, if it is not the only one */
    const char *name = slash != NULL ? slash + 1 : path;
    uint64_t base_offset;

    if (x->report->segments > 0 && mr_segment_name_parse(name, "log", &base_offset) && base_offset != x->report->next_offset) {
        x->stopped = true;
        find(x, path, base_offset, true, "the segment before it ends at another offset");
        return 0;
    }
    x->live = is_in_use(path, name);
    flags |= MR_VERIFY_AHEAD | MR_VERIFY_SIDECAR | (x->live ? MR_VERIFY_LIVE : 0);
    int rc = mr_verify_segment(path, flags, x->epoch, x->each, x->context, &found, x->err);
    if (rc == 0)
        rc = copy_file(x, path, name, found.bytes);
    if (rc != 0)
        return rc;
    if (x->report->segments == 0)
        x->report->first_offset = found.first_offset;
    x->epoch = found.epoch;
    x->report->segments++;
    x->report->batches += found.batches;
    x->report->records += found.records;
    x->report->bytes += found.bytes;
    x->report->errors += found.errors;
    x->report->next_offset = found.batches > 0 ? found.next_offset : found.first_offset;
    x->report->warnings += found.warnings;
    x->stopped = found.errors > 0 || !found.is_whole; /* there would be a hole before the next */
    x->waits = found.errors == 0 && found.is_open;
    return 0;
}

static int segments_only(const struct dirent *entry)
{
    uint64_t offset;
    return mr_segment_name_parse(entry->d_name, "log", &offset);
}

static int small_files_only(const struct dirent *entry)
{
    uint64_t offset;
    return mr_segment_name_parse(entry->d_name, "snapshot", &offset) || strcmp(entry->d_name, "leader-epoch-checkpoint") == 0;
}

/* Behind the segments: a snapshot of an offset that was not exported says nothing. */
static int export_small(struct export *x, const char *from, const char *name)
{
    char path[PATH_MAX];
    uint64_t offset;

    if (mr_segment_name_parse(name, "snapshot", &offset) && offset > x->report->next_offset)
        return 0;
    snprintf(path, sizeof path, "%s/%s", from, name);
    int rc = copy_file(x, path, name, WHOLE);
    return rc == -ENOENT ? 0 : rc; /* removed meanwhile: readers rebuild it from the log */
}

/* Names in ascending order: 20 digits each, so the order of their offsets. @return how many, release_names() once; -errno with a message */
static int list_names(struct export *x, const char *from, int (*filter)(const struct dirent *), struct dirent ***entry)
{
    *entry = NULL;
    int count = scandir(from, entry, filter, alphasort);
    return count < 0 ? mr_err(x->err, errno, "cannot read '%s': %s", from, strerror(errno)) : count;
}

static void release_names(struct dirent **entry, int count)
{
    for (int i = 0; i < count; i++)
        free(entry[i]);
    free(entry);
}

/* A copy that ends early must not look like a whole one. */
static void say_left_out(struct export *x, const char *from, const char *name, int count)
{
    char path[PATH_MAX], reason[128];
    uint64_t offset = 0;

    (void)mr_segment_name_parse(name, "log", &offset);
    snprintf(path, sizeof path, "%s/%s", from, name);
    snprintf(reason, sizeof reason, "%d segment%s from here on not copied: the one before %s", count, count == 1 ? "" : "s",
             x->waits ? "is not closed yet" : "is not good to its end");
    find(x, path, offset, !x->waits, reason);
}

static bool has_gone(const char *from, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", from, name);
    return lstat(path, &st) != 0 && errno == ENOENT;
}

enum {
    COPIED = 0,
    OVERTAKEN = 1, /* what was copied cannot be gone on with */
};

/* Retention deletes from the front: when the next segment has gone, so have those that were copied. @return COPIED, OVERTAKEN, or -errno */
static int export_segments(struct export *x, const char *from, bool is_first_try)
{
    struct dirent **entry;
    int rc = 0;

    int count = list_names(x, from, segments_only, &entry);
    if (count < 0)
        return count;
    if (count == 0 && !is_first_try)
        rc = mr_err(x->err, ENOENT, "every segment of '%s' was deleted while it was copied", from);
    for (int i = 0; i < count && rc == 0; i++) {
        char path[PATH_MAX];
        if (x->stopped) {
            say_left_out(x, from, entry[i]->d_name, count - i);
            break;
        }
        snprintf(path, sizeof path, "%s/%s", from, entry[i]->d_name);
        rc = export_segment(x, path, i + 1 < count ? MR_VERIFY_ROLLED : 0);
        if (rc == -ENOENT && has_gone(from, entry[i]->d_name) && (i == 0 || has_gone(from, entry[i - 1]->d_name)))
            rc = OVERTAKEN;
    }
    release_names(entry, count);
    return rc;
}

/* All that was copied, which are the segments in a directory of our own. */
static int discard(struct export *x)
{
    struct dirent **entry;
    int rc = 0;

    int count = list_names(x, x->to, segments_only, &entry);
    if (count < 0)
        return count;
    for (int i = 0; i < count && rc == 0; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", x->to, entry[i]->d_name);
        if (unlink(path) != 0)
            rc = mr_err(x->err, errno, "cannot remove '%s', which retention has overtaken: %s", path, strerror(errno));
    }
    release_names(entry, count);
    *x->report = (struct mr_export_report){0};
    x->epoch = -1;
    return rc;
}

static int export_directory(struct export *x, const char *from)
{
    struct dirent **entry;
    uint32_t tries = 0;

    int rc = export_segments(x, from, true);
    while (rc == OVERTAKEN) {
        if (++tries == TRIES_MAX)
            return mr_err(x->err, EAGAIN, "'%s': retention deletes segments faster than they are copied; raise log.retention.bytes for the while", from);
        rc = discard(x);
        if (rc == 0)
            rc = export_segments(x, from, false);
    }
    if (rc != 0)
        return rc;
    int count = list_names(x, from, small_files_only, &entry);
    if (count < 0)
        return count;
    for (int i = 0; i < count && rc == 0; i++)
        rc = export_small(x, from, entry[i]->d_name);
    release_names(entry, count);
    return rc;
}

int mr_export_make_directory(const char *to, struct millrace_error *err)
{
    if (mkdir(to, 0755) == 0)
        return 0;
    if (errno == EEXIST)
        return mr_err(err, EEXIST, "'%s' is there already: name a directory that is not", to);
    return mr_err(err, errno, "cannot make '%s': %s", to, strerror(errno));
}

int mr_export_partition(const char *from, const char *to, mr_verify_each *each, void *context, struct mr_export_report *report,
                        struct millrace_error *err)
{
    struct export x = {.to = to, .each = each, .context = context, .report = report, .err = err, .epoch = -1};
    struct stat st;

    *report = (struct mr_export_report){0};
    if (stat(from, &st) != 0)
        return mr_err(err, errno, "cannot read '%s': %s", from, strerror(errno));
    int rc = mr_export_make_directory(to, err);
    if (rc != 0)
        return rc;
    rc = S_ISDIR(st.st_mode) ? export_directory(&x, from) : export_segment(&x, from, 0);
    if (rc == -ENOENT)
        (void)rmdir(to); /* deleted while it was copied: an empty directory would look like a copy of it */
    return rc;
}
