/* SPDX-License-Identifier: Apache-2.0 */
/* Durable writes: O_DIRECT, each with RWF_DSYNC, submitted through one io_uring. Files have names that nobody else uses and lose them as
 * soon as they are open, so that a killed run leaves nothing; "deleting" one is then closing it, where the kernel frees its blocks. */
#include "bench/limits/limits.h"

#include "shm/base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COMMIT_FILE_BYTES (16u << 20)
#define STEP_BYTES        (64ull << 20) /* sustained: allocated at a time */
#define DEPTH_MAX         64u
#define FILES_MAX         64u

struct disk {
    const char *directory;
    struct io_uring ring;
    bool ring_open;
    uint8_t *block; /* what is written, again and again */
    size_t block_bytes;
};

static void disk_release(struct disk *disk)
{
    if (disk->ring_open)
        io_uring_queue_exit(&disk->ring);
    free(disk->block);
    memset(disk, 0, sizeof *disk);
}

static int disk_init(struct disk *disk, const char *directory, size_t block_bytes, struct millrace_error *err)
{
    memset(disk, 0, sizeof *disk);
    disk->directory = directory;
    disk->block_bytes = block_bytes;
    if (posix_memalign((void **)&disk->block, MR_BLOCK_BYTES, block_bytes) != 0)
        return mr_err(err, ENOMEM, "no memory for a write of %zu bytes", block_bytes);
    for (size_t i = 0; i < block_bytes; i++)
        disk->block[i] = (uint8_t)(i * 31 + 7); /* not zeros: nothing below may skip them */
    int rc = io_uring_queue_init(DEPTH_MAX, &disk->ring, 0);
    if (rc != 0) {
        disk_release(disk);
        return mr_err(err, -rc, "io_uring is refused here (%s), the disk's limits need it", strerror(-rc));
    }
    disk->ring_open = true;
    return 0;
}

static int file_open(const struct disk *disk, struct millrace_error *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/millrace-bench-XXXXXX", disk->directory);
    int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return mr_err(err, errno, "cannot make a file for O_DIRECT in '%s': %s; name another with --data", disk->directory, strerror(errno));
    unlink(path);
    return fd;
}

static int file_reserve(int fd, uint64_t from, uint64_t bytes, struct millrace_error *err)
{
    if (fallocate(fd, 0, (off_t)from, (off_t)bytes) != 0)
        return mr_err(err, errno, "cannot allocate %llu MiB for a file of the limits: %s", (unsigned long long)(bytes >> 20), strerror(errno));
    return 0;
}

static void write_queue(struct disk *disk, int fd, uint32_t bytes, uint64_t position)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&disk->ring);
    mr_assert(sqe != NULL); /* the depth is at most that of the ring */
    io_uring_prep_write(sqe, fd, disk->block, bytes, position);
    sqe->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data64(sqe, bytes);
}

/* Submit what is queued and take one completion. */
static int write_wait(struct disk *disk, struct millrace_error *err)
{
    struct io_uring_cqe *cqe;

    int rc = io_uring_submit_and_wait(&disk->ring, 1);
    if (rc >= 0)
        rc = io_uring_wait_cqe(&disk->ring, &cqe);
    if (rc < 0)
        return mr_err(err, -rc, "io_uring in '%s' failed: %s", disk->directory, strerror(-rc));
    int result = cqe->res, wanted = (int)io_uring_cqe_get_data64(cqe);
    io_uring_cqe_seen(&disk->ring, cqe);
    if (result != wanted)
        return mr_err(err, result < 0 ? -result : EIO, "a durable write in '%s' ended after %d of %d bytes: %s", disk->directory,
                      result < 0 ? 0 : result, wanted, result < 0 ? strerror(-result) : "disk full?");
    return 0;
}

int mr_limit_disk_commit(const char *directory, uint64_t duration_ns, struct mr_histogram *latency, struct millrace_error *err)
{
    struct disk disk;
    uint64_t position = 0;

    int rc = disk_init(&disk, directory, 1u << 20, err);
    if (rc != 0)
        return rc;
    int fd = file_open(&disk, err);
    rc = fd < 0 ? fd : file_reserve(fd, 0, COMMIT_FILE_BYTES, err);
    for (uint64_t at = 0; rc == 0 && at < COMMIT_FILE_BYTES; at += disk.block_bytes) {
        write_queue(&disk, fd, (uint32_t)disk.block_bytes, at);
        rc = write_wait(&disk, err);
    }
    uint64_t then = mr_measure_now_ns(), end = then + duration_ns;
    while (rc == 0 && then < end) {
        write_queue(&disk, fd, MR_BLOCK_BYTES, position);
        rc = write_wait(&disk, err);
        position = (position + MR_BLOCK_BYTES) % COMMIT_FILE_BYTES;
        uint64_t now = mr_measure_now_ns();
        if (rc == 0)
            mr_histogram_record(latency, now - then);
        then = now;
    }
    if (fd >= 0)
        close(fd);
    disk_release(&disk);
    return rc;
}

struct mr_limit_stream mr_limit_stream_preallocated(uint32_t depth, uint64_t bytes)
{
    struct mr_limit_stream stream = {.write_bytes = 1u << 20, .depth = depth, .bytes = bytes, .duration_ns = UINT64_MAX, .file_bytes = 1ull << 30};
    return stream;
}

struct mr_limit_stream mr_limit_stream_sustained(uint32_t depth, uint64_t keep_bytes, uint64_t duration_ns)
{
    struct mr_limit_stream stream = {.write_bytes = 1u << 20, .depth = depth, .bytes = UINT64_MAX, .duration_ns = duration_ns,
                                     .sustained = true, .file_bytes = 1ull << 30, .keep_bytes = keep_bytes};
    return stream;
}

/* The files of a stream, oldest first; the last one is being written. */
struct files {
    uint32_t count, keep;
    int fd[FILES_MAX];
    uint64_t reserved; /* of the last */
    uint64_t position; /* in the last */
};

/* Make the next write_bytes of the stream writable. Writes in flight into files that are closed here have long completed: they lie a
 * whole retention back. */
static int files_advance(struct files *files, const struct disk *disk, const struct mr_limit_stream *stream, struct millrace_error *err)
{
    int rc = 0;

    if (files->count == 0 || files->position + stream->write_bytes > stream->file_bytes) {
        if (files->count == files->keep) {
            close(files->fd[0]);
            files->count--;
            memmove(files->fd, files->fd + 1, files->count * sizeof files->fd[0]);
        }
        int fd = file_open(disk, err);
        if (fd < 0)
            return fd;
        files->fd[files->count++] = fd;
        files->position = files->reserved = 0;
    }
    if (files->position + stream->write_bytes > files->reserved) {
        uint64_t step = stream->sustained ? mr_min_u64(STEP_BYTES, stream->file_bytes - files->reserved) : stream->file_bytes;
        rc = file_reserve(files->fd[files->count - 1], files->reserved, step, err);
        files->reserved += step;
    }
    return rc;
}

int mr_limit_disk_stream(const char *directory, const struct mr_limit_stream *stream, double *bytes_per_second, struct millrace_error *err)
{
    struct disk disk;
    struct statvfs space;
    struct files files = {.keep = 1};
    uint64_t started = 0, done = 0;
    uint32_t flying = 0;

    if (stream->depth == 0 || stream->depth > DEPTH_MAX || stream->write_bytes == 0 || stream->write_bytes % MR_BLOCK_BYTES != 0)
        return mr_err(err, EINVAL, "%u writes of %u bytes at a time cannot be driven", stream->depth, stream->write_bytes);
    if (stream->sustained)
        files.keep = (uint32_t)mr_min_u64(stream->keep_bytes / stream->file_bytes + 1, FILES_MAX);
    if (statvfs(directory, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < (files.keep + 1) * stream->file_bytes)
        return mr_err(err, ENOSPC, "the limits need %llu MiB in '%s', there is less: name another directory with --data",
                      (unsigned long long)((files.keep + 1) * stream->file_bytes >> 20), directory);
    int rc = disk_init(&disk, directory, stream->write_bytes, err);
    if (rc != 0)
        return rc;
    if (!stream->sustained) /* the files are there before the clock starts */
        rc = files_advance(&files, &disk, stream, err);
    uint64_t start = mr_measure_now_ns(), now = start;
    while (rc == 0) {
        while (rc == 0 && flying < stream->depth && started < stream->bytes && now - start < stream->duration_ns) {
            rc = files_advance(&files, &disk, stream, err);
            if (rc != 0)
                break;
            write_queue(&disk, files.fd[files.count - 1], stream->write_bytes, files.position);
            files.position += stream->write_bytes;
            started += stream->write_bytes;
            flying++;
        }
        if (rc != 0 || flying == 0)
            break;
        rc = write_wait(&disk, err);
        flying--;
        done += stream->write_bytes;
        now = mr_measure_now_ns();
    }
    *bytes_per_second = now > start ? (double)done * 1e9 / (double)(now - start) : 0;
    disk_release(&disk); /* waits for what is in flight before the files go */
    for (uint32_t i = 0; i < files.count; i++)
        close(files.fd[i]);
    return rc;
}
