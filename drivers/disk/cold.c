/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX calls, each finished (short transfers, EINTR) before it returns. A descriptor with O_DIRECT takes whole blocks only, so that reads
 * of any other alignment go through a block-aligned buffer, and such writes through a second, buffered descriptor of the same file: the
 * kernel keeps both views coherent, and fsync covers both. */
#include "drivers/disk/cold.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/base/bits.h"

#define BOUNCE_BYTES (1u << 20)

static bool is_aligned(const void *buffer, size_t bytes, uint64_t position)
{
    return (((uintptr_t)buffer | bytes | position) & (MR_BLOCK_BYTES - 1)) == 0;
}

/** False where direct writes would need more than our blocks give, though open() takes the flag. */
static bool takes_our_blocks(int file)
{
    struct statx info;
    if (statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 || (info.stx_mask & STATX_DIOALIGN) == 0)
        return true; /* an older kernel does not tell: 4096 is what devices have */
    return info.stx_dio_offset_align > 0 && info.stx_dio_offset_align <= MR_BLOCK_BYTES && info.stx_dio_mem_align <= MR_BLOCK_BYTES;
}

int mr_cold_open(struct mr_disk *disk, const char *path, uint32_t flags, struct millrace_error *err)
{
    int mode = O_CLOEXEC | ((flags & MR_DISK_READ_ONLY) != 0 ? O_RDONLY : O_RDWR);
    if ((flags & MR_DISK_CREATE) != 0)
        mode |= O_CREAT | ((flags & MR_DISK_EXCLUSIVE) != 0 ? O_EXCL : 0);
    bool is_direct = (flags & MR_DISK_DIRECT) != 0;
    int file = open(path, mode | (is_direct ? O_DIRECT : 0), 0600);
    if (file < 0 && errno == EINVAL && is_direct) {
        /* Some file systems create the file before they refuse the flag. */
        file = open(path, mode & ~O_EXCL, 0600);
        is_direct = false;
    }
    if (file >= 0 && is_direct && !takes_our_blocks(file)) {
        int status = fcntl(file, F_GETFL);
        if (status < 0 || fcntl(file, F_SETFL, status & ~O_DIRECT) != 0) {
            int rc = errno;
            close(file);
            return mr_err(err, rc, "'%s': cannot switch off direct writes, which this file system takes in larger units than %u bytes: %s",
                          path, MR_BLOCK_BYTES, strerror(rc));
        }
    }
    if (file < 0) {
        int rc = errno;
        const char *what = rc == EMFILE ? ": raise the limit of open files (ulimit -n, LimitNOFILE= in the unit)"
                           : rc == EACCES ? ": the file and its directory must belong to the user that runs millraced"
                           : rc == EROFS  ? ": the file system is mounted read-only, often after an I/O error (see dmesg)"
                                          : "";
        return mr_err(err, rc, "opening '%s': %s%s", path, strerror(rc), what);
    }
    /* Who only reads looks at a block here and there, or asks for a MiB: 128 KiB ahead of each look, at three in each of ten thousand files, took a
     * start seconds. */
    if ((flags & MR_DISK_READ_ONLY) != 0)
        (void)posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    return file;
}

int mr_cold_close(struct mr_disk *disk, int file)
{
    /* Linux frees the descriptor whatever close says; EINTR must not lead to a second close. */
    return close(file) == 0 || errno == EINTR ? 0 : -errno;
}

int64_t mr_cold_size(struct mr_disk *disk, int file)
{
    struct stat info;
    return fstat(file, &info) == 0 ? (int64_t)info.st_size : -errno;
}

int mr_cold_write_zeros(int file, uint64_t position, uint64_t bytes)
{
    static const _Alignas(MR_BLOCK_BYTES) uint8_t zeros[16 * MR_BLOCK_BYTES];
    int64_t size = mr_cold_size(NULL, file);
    if (size < 0)
        return (int)size;
    uint64_t end = position + bytes;
    for (uint64_t at = (uint64_t)size; at < end;) { /* a gap before position is zeros too */
        uint64_t step = mr_min_u64(end - at, sizeof zeros - at % MR_BLOCK_BYTES);
        int64_t done = mr_cold_write(NULL, file, zeros, (size_t)step, at);
        if (done < 0)
            return (int)done;
        at += step;
    }
    return 0;
}

int mr_cold_allocate(struct mr_disk *disk, int file, uint64_t position, uint64_t bytes)
{
    int rc;
    do {
        rc = fallocate(file, 0, (off_t)position, (off_t)bytes) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    return rc == -EOPNOTSUPP || rc == -ENOSYS ? mr_cold_write_zeros(file, position, bytes) : rc;
}

int mr_cold_truncate(struct mr_disk *disk, int file, uint64_t bytes)
{
    int rc;
    do {
        rc = ftruncate(file, (off_t)bytes) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    return rc;
}

static int64_t read_all(int file, uint8_t *buffer, size_t bytes, uint64_t position)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t count = pread(file, buffer + done, bytes - done, (off_t)(position + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        done += (size_t)count;
        if (done % MR_BLOCK_BYTES != 0 && mr_cold_is_direct(NULL, file))
            break; /* the end of the file: the rest would be unaligned, which O_DIRECT refuses */
    }
    return (int64_t)done;
}

static int64_t read_bounced(int file, uint8_t *buffer, size_t bytes, uint64_t position)
{
    size_t room = (size_t)mr_min_u64(mr_align_up(bytes + position % MR_BLOCK_BYTES, MR_BLOCK_BYTES), BOUNCE_BYTES);
    uint8_t *bounce = aligned_alloc(MR_BLOCK_BYTES, room);
    size_t done = 0;
    int64_t rc = bounce == NULL ? -ENOMEM : 0;
    while (rc == 0 && done < bytes) {
        uint64_t skip = (position + done) % MR_BLOCK_BYTES;
        rc = read_all(file, bounce, room, position + done - skip);
        if (rc < 0 || (uint64_t)rc <= skip) {
            rc = rc < 0 ? rc : 1;
            break;
        }
        size_t count = (size_t)mr_min_u64((uint64_t)rc - skip, bytes - done);
        memcpy(buffer + done, bounce + skip, count);
        done += count;
        rc = (size_t)rc < room; /* short: the end of the file */
    }
    free(bounce);
    return rc < 0 ? rc : (int64_t)done;
}

int64_t mr_cold_read(struct mr_disk *disk, int file, void *buffer, size_t bytes, uint64_t position)
{
    if (!is_aligned(buffer, bytes, position) && mr_cold_is_direct(disk, file))
        return read_bounced(file, buffer, bytes, position);
    return read_all(file, buffer, bytes, position);
}

static int64_t write_all(int file, const uint8_t *buffer, size_t bytes, uint64_t position)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t count = pwrite(file, buffer + done, bytes - done, (off_t)(position + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -EIO;
        done += (size_t)count;
    }
    return (int64_t)bytes;
}

int64_t mr_cold_write(struct mr_disk *disk, int file, const void *buffer, size_t bytes, uint64_t position)
{
    if (is_aligned(buffer, bytes, position) || !mr_cold_is_direct(disk, file))
        return write_all(file, buffer, bytes, position);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int buffered = open(path, O_RDWR | O_CLOEXEC);
    if (buffered < 0)
        return -errno;
    int64_t rc = write_all(buffered, buffer, bytes, position);
    close(buffered);
    return rc;
}

int mr_cold_sync(struct mr_disk *disk, int file)
{
    return fsync(file) == 0 ? 0 : -errno; /* never again after an error: the kernel would say 0 and have dropped the pages (D3) */
}

int mr_cold_sync_directory(struct mr_disk *disk, const char *path)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    int rc = fsync(directory) == 0 ? 0 : -errno;
    close(directory);
    return rc;
}

int mr_cold_make_directory(struct mr_disk *disk, const char *path)
{
    return mkdir(path, 0700) == 0 ? 0 : -errno;
}

int mr_cold_remove_directory(struct mr_disk *disk, const char *path)
{
    return rmdir(path) == 0 ? 0 : -errno;
}

int mr_cold_unlink(struct mr_disk *disk, const char *path)
{
    return unlink(path) == 0 ? 0 : -errno;
}

int mr_cold_rename(struct mr_disk *disk, const char *from, const char *to)
{
    return rename(from, to) == 0 ? 0 : -errno;
}

int mr_cold_list(struct mr_disk *disk, const char *path, int (*each)(void *context, const char *name, bool is_directory), void *context)
{
    DIR *directory = opendir(path);
    int rc = 0;
    if (directory == NULL)
        return -errno;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            rc = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        bool is_directory = entry->d_type == DT_DIR;
        if (entry->d_type == DT_UNKNOWN) {
            struct stat info;
            is_directory = fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
        }
        rc = each(context, entry->d_name, is_directory);
    }
    closedir(directory);
    return rc;
}

uint64_t mr_cold_free_bytes(struct mr_disk *disk, const char *path)
{
    struct statvfs info;
    return statvfs(path, &info) == 0 ? (uint64_t)info.f_bavail * info.f_frsize : 0;
}

bool mr_cold_is_direct(struct mr_disk *disk, int file)
{
    int status = fcntl(file, F_GETFL);
    return status >= 0 && (status & O_DIRECT) != 0;
}
