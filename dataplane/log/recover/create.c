/* SPDX-License-Identifier: Apache-2.0 */
/* A journal file for one reactor and one start. It gets its name only when block 0 is durable: a name `journal-R.G` never stands for a
 * file whose header is still in the making, so recovery can call a bad header damage. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define ZERO_BYTES (1u << 20)

struct find_spare {
    struct mr_disk *disk;
    const char *directory;
    uint64_t bytes;
    char found[64];
};

static int look_at_spare(void *context, const char *name, bool is_directory)
{
    struct find_spare *find = context;
    if (is_directory || strncmp(name, "journal-spare-", strlen("journal-spare-")) != 0 || strlen(name) >= sizeof find->found)
        return 0;
    char path[MR_RECOVER_PATH_MAX];
    struct millrace_error ignored;
    snprintf(path, sizeof path, "%s/%s", find->directory, name);
    int file = mr_disk_open(find->disk, path, MR_DISK_READ_ONLY, &ignored);
    if (file < 0)
        return 0;
    if (mr_disk_size(find->disk, file) == (int64_t)find->bytes)
        snprintf(find->found, sizeof find->found, "%s", name);
    (void)mr_disk_close(find->disk, file);
    return find->found[0] != '\0';
}

int mr_recover_write_zeros(struct mr_disk *disk, int file, uint64_t bytes)
{
    uint8_t *zeros = calloc(1, ZERO_BYTES);
    int rc = zeros == NULL ? -ENOMEM : mr_disk_allocate(disk, file, 0, bytes);
    for (uint64_t at = 0; rc == 0 && at < bytes; at += ZERO_BYTES) { /* a durable write of 4 KiB takes twice as long into unwritten extents */
        int64_t n = mr_disk_write(disk, file, zeros, mr_min_u64(ZERO_BYTES, bytes - at), at);
        rc = n < 0 ? (int)n : 0;
    }
    free(zeros);
    return rc;
}

static void fill_block(uint8_t block[MR_BLOCK_BYTES], uint32_t reactor, uint64_t generation, uint64_t bytes, uint64_t salt)
{
    struct mr_journal_file header = {
        .magic = MR_JOURNAL_MAGIC,
        .version = MR_JOURNAL_VERSION,
        .reactor = reactor,
        .generation = generation,
        .salt = salt,
        .bytes = bytes,
    };
    header.crc = mr_crc32c(0, &header, offsetof(struct mr_journal_file, crc));
    memset(block, 0, MR_BLOCK_BYTES);
    memcpy(block, &header, sizeof header);
    memcpy(block + MR_JOURNAL_FILE_COPY, &header, sizeof header);
}

int mr_journal_create(struct mr_disk *disk, const char *directory, uint32_t reactor, uint64_t generation, uint64_t bytes, uint64_t salt,
                      struct mr_log_journal *journal, struct millrace_error *err)
{
    struct find_spare find = {.disk = disk, .directory = directory, .bytes = bytes};
    char path[MR_RECOVER_PATH_MAX], before[MR_RECOVER_PATH_MAX];
    uint8_t block[MR_BLOCK_BYTES];
    mr_assert(bytes % MR_BLOCK_BYTES == 0 && bytes > MR_BLOCK_BYTES);

    int rc = mr_disk_list(disk, directory, look_at_spare, &find);
    if (rc < 0)
        return mr_err(err, -rc, "listing the log directory '%s' failed: %s", directory, strerror(-rc));
    bool is_spare = find.found[0] != '\0';
    if (!is_spare)
        snprintf(find.found, sizeof find.found, "journal-spare-%u.%llu", reactor, (unsigned long long)generation);
    snprintf(path, sizeof path, "%s/journal-%u.%llu", directory, reactor, (unsigned long long)generation);
    snprintf(before, sizeof before, "%s/%s", directory, find.found);

    int file = mr_disk_open(disk, before, MR_DISK_CREATE, err);
    if (file < 0)
        return file;
    /* The first start may take its time. A later one finds no spare only soon after a crash, when somebody waits for acks: better the first
     * lap a little slower (unwritten extents, D4) than the start by seconds. */
    rc = is_spare ? 0 : generation <= 1 ? mr_recover_write_zeros(disk, file, bytes) : mr_disk_allocate(disk, file, 0, bytes);
    if (rc == 0) {
        fill_block(block, reactor, generation, bytes, salt);
        int64_t n = mr_disk_write(disk, file, block, sizeof block, 0);
        rc = n < 0 ? (int)n : mr_disk_sync(disk, file);
    }
    int closed = mr_disk_close(disk, file);
    if (rc == 0)
        rc = closed;
    if (rc == 0)
        rc = mr_disk_rename(disk, before, path);
    if (rc == 0)
        rc = mr_disk_sync_directory(disk, directory);
    if (rc == -ENOSPC)
        return mr_err(err, ENOSPC, "no room for the journal '%s' of %llu bytes: free space there, or set millrace.journal.bytes lower", path,
                      (unsigned long long)bytes);
    if (rc != 0)
        return mr_err(err, -rc, "creating the journal '%s' failed: %s", path, strerror(-rc));
    file = mr_disk_open(disk, path, MR_DISK_DIRECT, err);
    if (file < 0)
        return file;
    journal->file = file;
    journal->bytes = bytes;
    journal->salt = salt;
    return 0;
}
