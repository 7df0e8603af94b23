/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that all parts of recovery use: words to the caller, memory until close, whole files. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES (1u << 20)

void mr_recover_say(const struct mr_recovery *recovery, enum mr_recover_level level, const char *format, ...)
{
    char line[MR_RECOVER_PATH_MAX + 512];
    va_list args;

    if (recovery->say == NULL)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    recovery->say(recovery->context, (int)level, line);
}

void *mr_recover_keep(struct mr_recovery *recovery, size_t bytes)
{
    struct mr_keep *keep = calloc(1, mr_align_up(sizeof *keep, 16) + bytes);
    if (keep == NULL)
        return NULL;
    keep->next = recovery->keep;
    recovery->keep = keep;
    return (uint8_t *)keep + mr_align_up(sizeof *keep, 16);
}

int mr_recover_grow(void **array, uint32_t count, uint32_t *room, size_t each_bytes)
{
    if (count < *room)
        return 0;
    uint32_t more = *room == 0 ? 16 : *room * 2;
    void *grown = more > count ? realloc(*array, (size_t)more * each_bytes) : NULL;
    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    *room = more;
    return 0;
}

void mr_segment_path(char path[MR_RECOVER_PATH_MAX], const char *partition_path, uint64_t base_offset, const char *suffix)
{
    snprintf(path, MR_RECOVER_PATH_MAX, "%s/%020llu%s", partition_path, (unsigned long long)base_offset, suffix);
}

int mr_recover_read(struct mr_disk *disk, int file, void *buffer, uint64_t bytes, uint64_t position, uint64_t *got)
{
    uint64_t done = 0;
    while (done < bytes) {
        int64_t n = mr_disk_read(disk, file, (uint8_t *)buffer + done, mr_min_u64(bytes - done, READ_BYTES), position + done);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    *got = done;
    return 0;
}

uint8_t *mr_recover_read_file(struct mr_disk *disk, const char *path, uint64_t *bytes, int *rc)
{
    struct millrace_error err = {0};
    uint8_t *memory = NULL;
    int file = mr_disk_open(disk, path, MR_DISK_READ_ONLY, &err);
    if (file < 0) {
        *rc = file;
        return NULL;
    }
    int64_t size = mr_disk_size(disk, file);
    *rc = size < 0 ? (int)size : 0;
    if (*rc == 0) {
        /* Block-aligned, so that entries in a journal's image are where their type wants them. */
        memory = aligned_alloc(MR_BLOCK_BYTES, mr_align_up((uint64_t)size + 1, MR_BLOCK_BYTES));
        *rc = memory == NULL ? -ENOMEM : mr_recover_read(disk, file, memory, (uint64_t)size, 0, bytes);
    }
    (void)mr_disk_close(disk, file);
    if (*rc != 0) {
        free(memory);
        return NULL;
    }
    memory[*bytes] = 0;
    return memory;
}

int mr_recover_replace_file(struct mr_disk *disk, const char *directory, const char *name, const void *content, size_t bytes,
                            struct millrace_error *err)
{
    char path[MR_RECOVER_PATH_MAX], temporary[MR_RECOVER_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    snprintf(temporary, sizeof temporary, "%s/%s.tmp", directory, name);

    int file = mr_disk_open(disk, temporary, MR_DISK_CREATE, err);
    if (file < 0)
        return file;
    int rc = mr_disk_truncate(disk, file, 0);
    if (rc == 0) {
        int64_t n = mr_disk_write(disk, file, content, bytes, 0);
        rc = n < 0 ? (int)n : 0;
    }
    if (rc == 0)
        rc = mr_disk_sync(disk, file);
    int closed = mr_disk_close(disk, file);
    if (rc == 0)
        rc = closed;
    if (rc == 0)
        rc = mr_disk_rename(disk, temporary, path);
    if (rc == 0)
        rc = mr_disk_sync_directory(disk, directory);
    if (rc != 0)
        return mr_err(err, -rc, "writing '%s' failed: %s; free space or replace the disk, then start again", path, strerror(-rc));
    return 0;
}
